"""phlox itself, through its program: int4 symmetric, groups of 128, embedding and lm_head int8."""

import json
import subprocess
import time

import common


def run(args, prompt, new):
    """One answer of `phlox run`: its statistics, and the seconds that the process took."""
    ids = ",".join(map(str, common.token_ids(prompt)))
    command = [args.program, "run", "-m", args.checkpoint, "--ids", ids, "--ignore-eos", "--json"]
    command += ["--max-new-tokens", str(new), "--weight-format", "int4", "--sym"]
    command += ["--threads", str(args.threads), "--cache-dir", args.weights]
    if args.cpu_mask:
        command += ["--cpu-mask", args.cpu_mask]
    with common.alone(args.lock):
        begin = time.time()
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        seconds = time.time() - begin
    return json.loads(output)["statistics"], seconds


def measure(args):
    short, _ = run(args, common.PROMPT, common.NEW)
    speed = {
        common.PREFILL_TEST: short["prefill_tokens_per_second"],
        common.DECODE_TEST: short["decode_tokens_per_second"],
    }
    if not args.shallow:
        deep, _ = run(args, common.DEPTH, common.NEW)
        speed[common.DEEP_TEST] = deep["decode_tokens_per_second"]
    return speed


def main():
    parser = common.parser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--cpu-mask", help="CPU features not to use")
    args = parser.parse_args()
    if args.action == "version":
        words = subprocess.run([args.program, "version"], check=True, stdout=subprocess.PIPE, text=True)
        common.report(version=words.stdout.splitlines()[0].removeprefix("phlox "))
    elif args.action == "convert":
        run(args, 1, 1)
        common.report()
    elif args.action == "start":
        _, seconds = run(args, common.SHORT, 1)
        common.report(start_seconds=seconds, peak_rss_bytes=common.peak_rss_bytes(children=True))
    else:
        speed = measure(args)
        common.report(tok_per_s=speed, peak_rss_bytes=common.peak_rss_bytes(children=True))


if __name__ == "__main__":
    main()
