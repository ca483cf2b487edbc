#!/usr/bin/env python3
"""Runs what `phlox export huggingface` writes in transformers.

Usage: huggingface_exports.py PHLOX [--work DIRECTORY]; `make test-peers` calls it. Installs torch, transformers and
safetensors in a venv in the work directory.

transformers opens the exports with nothing missing and nothing left over, and its logits in float32 are those of
phlox within 1e-3: for the members of tests/golden/family and for OpenVINO, ONNX and GGUF fixtures widened to
float32. For the built-in model its tokenizer gives phlox's ids.
"""

import json
from functools import partial

from peers import FAMILY, ROOT, arguments, check, enter_venv, fresh, phlox_logits, run, steps

PACKAGES = ("torch", "transformers", "numpy")
# Those whose config.json transformers takes.
MEMBERS = ("phi3-mini-4k", "phi3-medium-4k", "phi35-mini", "phi4", "phi4-mini", "f16", "f32", "sharded")
FORMS = ("openvino/int4-sym", "openvino/int4-tied", "onnx/int4-tied", "onnx/int8", "gguf/q4_k_m", "gguf/longrope")


def check_logits(args, path, *words):
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    out = fresh(args.work / "huggingface")
    run(args.phlox, "export", "huggingface", "--model", path, *words, out)
    config = json.loads((out / "config.json").read_text())
    for key in ("auto_map", "_name_or_path"):  # no code from elsewhere
        config.pop(key, None)
    (out / "config.json").write_text(json.dumps(config))
    model, info = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager",
                                                       output_loading_info=True)
    check(not any(info.values()), info)
    ids = np.load(path / "ids.npy").astype(np.int64)
    with torch.no_grad():
        found = model.eval()(torch.from_numpy(ids[None]), use_cache=False).logits[0].numpy()
    most = np.abs(found - phlox_logits(args, path, ("--weight-format", "f32"), ids, len(ids))).max()
    check(most < 1e-3, f"logits differ by {most}")


def check_tokenizer(args):
    from transformers import AutoTokenizer

    out = fresh(args.work / "huggingface")
    run(args.phlox, "export", "huggingface", out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    for text in ("What is an NPU?", "Can you introduce yourself?", "a  b\n\nc"):
        wanted = json.loads(run(args.phlox, "tokenize", out, "--json", text))
        found = tokenizer(text, add_special_tokens=False)["input_ids"]
        check(found == wanted, f"{text!r} becomes {found}, not {wanted}")


def main():
    args = arguments(__doc__.splitlines()[0])
    enter_venv(args.work / "venv-huggingface", PACKAGES)
    import transformers

    lines = [(f"family/{name}", partial(check_logits, args, FAMILY / name)) for name in MEMBERS]
    for name in FORMS:
        path = ROOT / "tests/golden" / name
        lines.append((name, partial(check_logits, args, path, "--weight-format", "f32")))
    lines.append(("tokenizer built-in", partial(check_tokenizer, args)))
    failures = steps(lines)
    print(f"transformers {transformers.__version__}: {failures} failures")
    raise SystemExit(failures > 0)


if __name__ == "__main__":
    main()
