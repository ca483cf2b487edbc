"""What every peer shares: the tests, the clock and the report, one line of JSON on standard output."""

import argparse
import contextlib
import json
import sys
import time

try:
    import fcntl
    import resource
except ImportError:  # Windows: no locks and no peak RSS
    fcntl = resource = None

PROMPT = 512  # tokens of the prefill test; decode is timed behind them
NEW = 48  # tokens of a decode test
DEPTH = 4000  # tokens of context before the deep decode test
CONTEXT = 4096  # tokens for which an engine that must know it makes room
SHORT = 13  # tokens of the prompt that the first token follows
CHUNK = 512  # tokens that are appended at once on the way to DEPTH

PREFILL_TEST = f"pp{PROMPT}"
DECODE_TEST = f"tg{NEW}@{PROMPT}"
DEEP_TEST = f"tg{NEW}@{DEPTH}"


def token_ids(count):
    """Ids that every Phi-3 vocabulary has, none of them special, all different up to 29989."""
    return [300 + i * 7919 % 29989 for i in range(count)]


@contextlib.contextmanager
def alone(locks):
    """Holds the lock files while an engine computes, so that the users of a machine take turns."""
    with contextlib.ExitStack() as stack:
        for path in locks:
            fcntl.flock(stack.enter_context(open(path, "a")), fcntl.LOCK_EX)
        if locks:
            time.sleep(0.5)  # whoever watches the locks has stopped other work by then
        yield


def rate(test, tokens, work, locks):
    """Tokens per second of work(), told on standard error too because a run takes minutes."""
    with alone(locks):
        begin = time.perf_counter()
        work()
        tok_per_s = tokens / (time.perf_counter() - begin)
    print(f"{test}: {tok_per_s:.2f} tok/s", file=sys.stderr, flush=True)
    return tok_per_s


def decode(engine):
    for token in token_ids(NEW):
        engine.append([token])


def run_tests(engine, shallow, locks):
    """Tokens per second of each test; shallow leaves out the deep one. What was appended before has made buffers and threads."""
    ids = token_ids(DEPTH)
    speed = {}
    engine.reset()
    speed[PREFILL_TEST] = rate(PREFILL_TEST, PROMPT, lambda: engine.append(ids[:PROMPT]), locks)
    speed[DECODE_TEST] = rate(DECODE_TEST, NEW, lambda: decode(engine), locks)
    if shallow:
        return speed
    engine.reset()
    for begin in range(0, DEPTH, CHUNK):
        with alone(locks):
            engine.append(ids[begin : min(begin + CHUNK, DEPTH)])
    speed[DEEP_TEST] = rate(DEEP_TEST, NEW, lambda: decode(engine), locks)
    return speed


def peak_rss_bytes(children=False):
    if not resource:
        return None
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit


def parser():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("action", choices=["version", "convert", "start", "measure"])
    arguments.add_argument("--checkpoint", help="directory of the Hugging Face form")
    arguments.add_argument("--weights", help="directory of the converted weights")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--spawned-at", type=float, help="when this process was started (start)")
    arguments.add_argument("--shallow", action="store_true", help="without the deep decode test")
    arguments.add_argument("--lock", action="append", default=[], help="file to lock while computing")
    return arguments


def report(**values):
    print(json.dumps(values), flush=True)


def main(engine_class):
    """One action of a peer. The class has version() and convert(checkpoint, weights); an object of it
    append(ids), which computes the logits behind ids, and reset(), which forgets all tokens."""
    args = parser().parse_args()
    if args.action == "version":
        report(version=engine_class.version())
    elif args.action == "convert":
        engine_class.convert(args.checkpoint, args.weights)
        report()
    elif args.action == "start":
        engine_class(args.weights, args.threads).append(token_ids(SHORT))
        report(start_seconds=time.time() - args.spawned_at, peak_rss_bytes=peak_rss_bytes())
    else:
        with alone(args.lock):
            engine = engine_class(args.weights, args.threads)
            engine.append(token_ids(SHORT))
        report(tok_per_s=run_tests(engine, args.shallow, args.lock), peak_rss_bytes=peak_rss_bytes())
