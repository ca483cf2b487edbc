"""What the scripts that run exports in real packages share."""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAMILY = ROOT / "tests/golden/family"
SUMS = ROOT / "tests/golden/exports.txt"


class Failure(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failure(what)


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("phlox", type=Path)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache/phlox-peers")
    parser.add_argument("--write", action="store_true", help="make the lines of tests/golden/exports.txt anew")
    args = parser.parse_args()
    args.phlox, args.work = args.phlox.resolve(), args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def enter_venv(directory, packages):
    """Goes on inside the venv, which is made when it is not there."""
    python = directory / "bin/python"
    if Path(sys.prefix).resolve() == directory.resolve():
        return
    mark = directory / "installed.txt"
    if not mark.exists() or mark.read_text() != repr(packages):
        print("installing", *packages, file=sys.stderr)
        venv.create(directory, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        mark.write_text(repr(packages))
    os.execv(python, [str(python), *sys.argv])


def fresh(path):
    shutil.rmtree(path, ignore_errors=True)
    return path


def run(*command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    check(result.returncode == 0, f"{' '.join(map(str, command))}: {result.stderr[-600:]}")
    return result.stdout


def phlox_logits(args, model, words, ids, prefill):
    import numpy as np

    out = args.work / "logits.npy"
    run(args.phlox, "logits", model, *words, "--exact", "--all", "--no-cache", "--prefill", prefill, "--ids",
        ",".join(map(str, ids)), "-o", out)
    return np.load(out)


def phlox_text(args, model, words, prompt, tokens):
    return run(args.phlox, "run", "-m", model, *words, "--exact", "--no-cache", "--greedy", "--quiet",
               "--max-new-tokens", tokens, prompt).rstrip("\n")


def checksum(directory, *files):
    """FNV-1a of the files one behind the other, 64 bits."""
    total = 0xCBF29CE484222325
    for file in files:
        for byte in (directory / file).read_bytes():
            total = (total ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{total:016x}"


def write_sums(form, lines):
    """Lines are "sum form member words"."""
    kept = [line for line in SUMS.read_text().splitlines() if line.split()[1] != form]
    SUMS.write_text("".join(f"{line}\n" for line in sorted(kept + lines, key=lambda line: line.split()[1:])))


def steps(lines):
    """Runs (name, function) pairs, prints how each went, and returns how many failed."""
    failures = 0
    for name, step in lines:
        try:
            step()
            print(f"ok      {name}", flush=True)
        except Failure as failure:
            failures += 1
            print(f"FAILED  {name}: {failure}", flush=True)
    return failures
