"""The results as Markdown: medians over the rounds, and phlox's ratio to each peer."""

from statistics import median

from common import DECODE_TEST, DEEP_TEST, DEPTH, NEW, PREFILL_TEST, PROMPT

TESTS = {
    PREFILL_TEST: f"prefill {PROMPT}",
    DECODE_TEST: f"decode behind {PROMPT}",
    DEEP_TEST: f"decode behind {DEPTH}",
}
PHLOX = "phlox"


def row(cells):
    return "| " + " | ".join(cells) + " |\n"


def header(cells):
    return row(cells) + row(["---"] + ["---:"] * (len(cells) - 1))


def spread(values):
    """The median, and the lowest and highest of several."""
    values = list(values)
    if not values:
        return ""
    text = f"{median(values):.3g}"
    return text if len(values) == 1 else f"{text} ({min(values):.3g} to {max(values):.3g})"


def speeds(entry, test):
    """One figure a round; the deep test is not in every round."""
    return [turn["tok_per_s"][test] for turn in entry["rounds"] if test in turn["tok_per_s"]]


def speed_table(entries):
    text = header(["", *TESTS.values(), "first token, s", "peak RSS, GB"])
    for entry in entries:
        rounds = entry["rounds"]
        cells = [spread(speeds(entry, test)) for test in TESTS]
        cells.append(spread([turn["start_seconds"] for turn in rounds]))
        cells.append(f"{max(turn['peak_rss_bytes'] for turn in rounds) / 1e9:.2f}")
        text += row([entry["name"], *cells])
    return text


def ratio_table(entries):
    """phlox divided by a peer, round by round, because a machine drifts; then the median."""
    own = next((entry for entry in entries if entry["name"] == PHLOX), None)
    peers = [entry for entry in entries if not entry["name"].startswith(PHLOX)]
    if not own or not peers:
        return ""
    text = header(["phlox / peer", *TESTS.values()])
    for peer in peers:
        pairs = {test: zip(speeds(own, test), speeds(peer, test)) for test in TESTS}
        text += row([peer["name"], *(spread([a / b for a, b in pairs[test]]) for test in TESTS)])
    return text + "\n"


def conversion_table(entries):
    text = header(["conversion", "s", "processor s", "peak RSS, GB", "size, GB"])
    seen = []
    for entry in entries:
        cost = entry["conversion"]
        if cost in seen:
            continue
        seen.append(cost)
        seconds = cost["seconds"]
        cells = [f"{seconds:.0f}" if seconds else "", f"{cost['processor_seconds']:.0f}"]
        cells += [f"{cost['process_peak_rss_bytes'] / 1e9:.1f}", f"{cost['bytes'] / 1e9:.2f}"]
        text += row([entry["name"], *cells])
    return text


def markdown(results):
    entries = [entry for entry in results["contestants"] if entry["rounds"]]
    rounds = len(entries[0]["rounds"]) if entries else 0
    text = f"# phlox and its peers, {results['date']}\n\n"
    text += f"Machine: {results['cores']} cores of {results['cpu']} ({' '.join(results['flags'])}), "
    text += f"{results['memory_bytes'] / 2**30:.0f} GiB, {results['system']}"
    text += ", virtual" if results["hypervisor"] else ""
    text += f". {results['threads']} threads. Weights: {results['checkpoint']}.\n"
    text += f"tok/s, {NEW} tokens a decode test; medians of {rounds} rounds in alternation (lowest to highest).\n\n"
    for isa in dict.fromkeys(entry["isa"] for entry in entries):
        group = [entry for entry in entries if entry["isa"] == isa]
        text += f"## {isa}\n\n{speed_table(group)}\n{ratio_table(group)}"
        text += "".join(f"- {e['name']} {e['version']}: {e['note']}\n" for e in group) + "\n"
    return text + conversion_table(entries)
