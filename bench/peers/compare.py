#!/usr/bin/env python3
"""Runs phlox and its peers on the same weights, in alternation, and prints their speeds and ratios.

Usage: compare.py --phlox PROGRAM [options]; README.md beside this file explains. Needs Python 3.10 with
venv, a C++ compiler and CMake for the peers that come as source, and 40 GB of disk. What it installs and
converts stays in the work directory for the next time.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import common
import machine
import table
from contestants import CONTESTANTS, VENVS

HERE = Path(__file__).resolve().parent


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def venv_python(directory):
    return directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(name, work):
    """A venv with the packages, made when it is not there or they have changed."""
    directory, wanted = work / f"venv-{name}", VENVS[name]
    mark, state = directory / "installed.txt", repr(wanted)
    if mark.exists() and mark.read_text() == state:
        return venv_python(directory)
    say(f"installing {' '.join(wanted.packages)}")
    venv.create(directory, with_pip=True, clear=True)
    environment = os.environ | {"CMAKE_ARGS": wanted.cmake_args}
    environment.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count()))
    # Without the cache, which would give one venv what another has built with other flags.
    command = [venv_python(directory), "-m", "pip", "install", "--quiet", "--no-cache-dir", *wanted.packages]
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    mark.write_text(state)
    return venv_python(directory)


def without_window(checkpoint, work):
    """A directory with the same checkpoint, but for the sliding window in its configuration."""
    config = json.loads((checkpoint / "config.json").read_text())
    if config.get("sliding_window") is None:
        return checkpoint
    directory = work / "checkpoint-without-window"
    directory.mkdir(exist_ok=True)
    for source in checkpoint.iterdir():
        target = directory / source.name
        if source.name != "config.json" and not target.exists():
            target.symlink_to(source.resolve())
    (directory / "config.json").write_text(json.dumps(config | {"sliding_window": None}, indent=2))
    return directory


class Runner:
    """Starts the scripts of the contestants and reads the line that they print."""

    def __init__(self, args, checkpoint, plain_checkpoint):
        self.args = args
        self.checkpoint = checkpoint
        self.plain_checkpoint = plain_checkpoint
        (args.work / "logs").mkdir(exist_ok=True)

    def python(self, contestant):
        return install(contestant.venv, self.args.work) if contestant.venv else sys.executable

    def run(self, contestant, action, *options):
        """The report of one action, with the whole process's time and the peak of its memory."""
        checkpoint = self.checkpoint if contestant.window else self.plain_checkpoint
        command = [self.python(contestant), HERE / contestant.script, action]
        command += ["--checkpoint", checkpoint, "--weights", self.args.work / contestant.weights]
        command += ["--threads", str(self.args.threads), *contestant.options, *options]
        if contestant.script == "peer_phlox.py":
            command += ["--program", self.args.phlox]
        environment = os.environ | contestant.environment | {"HF_HUB_OFFLINE": "1"}
        log = self.args.work / "logs" / f"{contestant.weights}-{contestant.isa}-{action}.log"
        with open(log, "a") as errors:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True)
            begin = time.time()
            output = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
        if status != 0 or not output.strip():
            raise RuntimeError(f"{contestant.name}: {action} failed, see {log}")
        processor = usage.ru_utime + usage.ru_stime
        whole = {"seconds": time.time() - begin, "processor_seconds": processor}
        whole["process_peak_rss_bytes"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return json.loads(output.splitlines()[-1]) | whole

    def convert(self, contestant):
        """Makes the weights when they are not there; the cost of it is kept beside them."""
        weights = self.args.work / contestant.weights
        kept = weights / "conversion.json"
        if not kept.exists():
            say(f"{contestant.name}: making {weights.name}")
            weights.mkdir(exist_ok=True)
            with common.alone(self.args.lock):
                report = self.run(contestant, "convert")
            size = sum(path.stat().st_size for path in weights.rglob("*") if path.is_file())
            kept.write_text(json.dumps(report | {"bytes": size}))
        return json.loads(kept.read_text())

    def round(self, contestant, shallow):
        """One start and one measurement, shallow without the deep test. A start is short and not locked by the script itself, so that
        waiting for the locks is not counted."""
        with common.alone(self.args.lock):
            start = self.run(contestant, "start", "--spawned-at", str(time.time()))
        locks = [word for lock in self.args.lock for word in ("--lock", lock)]
        measured = self.run(contestant, "measure", *locks, *(["--shallow"] if shallow else []))
        return {
            "start_seconds": start["start_seconds"],
            "peak_rss_bytes": measured["peak_rss_bytes"],
            "tok_per_s": measured["tok_per_s"],
        }


def prepare(runner, contestant):
    """The entry of a contestant in the results, or None when it cannot be installed or converted."""
    try:
        version = runner.run(contestant, "version")["version"]
        conversion = runner.convert(contestant)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        say(f"left out: {error}")
        return None
    entry = {"name": contestant.name, "isa": contestant.isa, "version": version, "note": contestant.note}
    return entry | {"conversion": conversion, "rounds": []}


def chosen(args, has_window):
    names = args.contestants.split(",") if args.contestants else None
    for contestant in CONTESTANTS:
        if contestant.isa not in args.isa.split(",") or (contestant.window and not has_window):
            continue
        if names is None or {contestant.name, f"{contestant.name}/{contestant.isa}"} & set(names):
            yield contestant


def save(results, args):
    text = json.dumps(results, indent=2) + "\n"
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.with_suffix(".json").write_text(text)
    args.output.with_suffix(".md").write_text(table.markdown(results))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phlox", type=Path, required=True, help="the program")
    parser.add_argument("--checkpoint", type=Path, help="Hugging Face form (default: random weights)")
    parser.add_argument("--work", type=Path, help="directory for venvs and weights")
    parser.add_argument("--output", type=Path, help="results without the ending .json or .md")
    parser.add_argument("--isa", default="native,avx2", help="groups to run (default: both)")
    parser.add_argument("--contestants", help="such as phlox,OpenVINO/avx2 (default: all)")
    parser.add_argument("--repeats", type=int, default=int(os.environ.get("REPEATS", 3)))
    parser.add_argument("--deep-rounds", type=int, default=1, help="last rounds, with decode at depth (default 1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--lock", action="append", default=[], help="file to lock while an engine computes")
    args = parser.parse_args()
    args.phlox = args.phlox.resolve()
    args.work = (args.work or Path.home() / ".cache/phlox-peers").resolve()
    args.output = args.output or HERE.parent / "results" / f"{time.strftime('%Y-%m-%d')}-peers"
    return args


def main():
    args = parse_arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.checkpoint or args.work / "checkpoint"
    if not args.checkpoint and not (checkpoint / "config.json").exists():
        say("writing a checkpoint of random weights")
        script = HERE.parent / "random_phi3.py"
        subprocess.run([install("native", args.work), script, checkpoint], check=True)
    plain = without_window(checkpoint, args.work)
    runner = Runner(args, checkpoint, plain)
    prepared = [(c, prepare(runner, c)) for c in chosen(args, has_window=plain != checkpoint)]
    running = [(contestant, entry) for contestant, entry in prepared if entry]
    results = machine.describe() | {
        "threads": args.threads,
        "checkpoint": args.checkpoint.name if args.checkpoint else "random weights, sizes of Phi-3-mini-4k",
        "contestants": [entry for _, entry in running],
    }
    for number in range(args.repeats):
        for contestant, entry in running:
            say(f"round {number + 1} of {args.repeats}: {contestant.name}, {contestant.isa}")
            entry["rounds"].append(runner.round(contestant, number < args.repeats - args.deep_rounds))
            save(results, args)
    print(table.markdown(results))


if __name__ == "__main__":
    main()
