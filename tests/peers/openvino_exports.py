#!/usr/bin/env python3
"""Runs what `phlox export openvino` writes in the real packages, and compares it with what they write.

Usage: openvino_exports.py PHLOX [--work DIRECTORY] [--write]; `make test-peers` calls it. Installs openvino,
openvino-genai, optimum-intel with nncf and tokenizers in a venv in the work directory (about 8 GB).

For the members of tests/golden/family, in many formats:
- every integer, scale and zero point equals that of `optimum-cli export openvino` with the same words, byte
  for byte, and the same layers have them;
- the CPU plugin fuses every norm, rotary embedding, attention with its cache and compressed product, and
  its logits equal those of phlox (float32 cache, no dynamic quantization) within 1e-4, the prompt at once
  and half of it token by token;
- the LLM path of the NPU plugin, run on the CPU, is as near to them as with optimum's export.
For the built-in model: OVModelForCausalLM and LLMPipeline generate the text that phlox generates. For each
kind of tokenizer: the graphs give the ids of openvino_tokenizers' converter.

tests/golden/exports.txt has the checksums of exports that went through this; tests/api/test_export.c
compares with them. --write makes it anew when everything has passed.
"""

import collections
import json
import os
import random
import re
import shutil
import sys
from pathlib import Path

from peers import (FAMILY, ROOT, Failure, arguments, check, checksum, enter_venv, fresh, phlox_logits, phlox_text, run,
                   steps, write_sums)

TEXT = ROOT / "tests/golden/text"
PACKAGES = ("openvino", "openvino-genai", "openvino-tokenizers", "optimum-intel[openvino,nncf]", "tokenizers")

MEMBERS = ("phi3-mini-4k", "phi3-mini-128k", "phi3-medium-4k", "phi35-mini", "phi4", "phi4-mini", "head-dim-128")
# phi4-mini: its rows of 96 and 64 values can be divided into groups of 32.
FORMATS = (
    ("fp32", MEMBERS),
    ("fp16", ("phi3-mini-4k", "phi4-mini")),
    ("bf16", ("phi3-medium-4k",)),
    ("int8", ("phi3-mini-4k", "phi3-medium-4k", "phi4-mini")),
    ("int8 --sym", ("phi4",)),
    ("int4 --group-size -1 --sym", ("phi3-mini-4k", "phi35-mini")),
    ("int4 --group-size 32 --sym", ("phi4-mini", "phi4", "phi3-medium-4k")),
    ("int4 --group-size 32 --ratio 0.6 --sym", ("phi4-mini", "phi4")),
    ("int4 --group-size 32 --ratio 0.8", ("phi4-mini", "phi3-medium-4k")),
    ("int4 --group-size 32 --all-layers", ("phi4-mini", "phi4")),
    ("int4 --group-size 32 --ratio 0.5 --backup-precision int8_sym", ("phi4",)),
    ("int4 --group-size 32 --group-size-fallback adjust", ("phi3-mini-4k",)),
    ("int4 --group-size 64 --group-size-fallback ignore", ("phi4-mini",)),
)
FILES = ("openvino_model.xml", "openvino_model.bin")
EXACT = {"KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "INFERENCE_PRECISION_HINT": "f32"}
NPU = {
    "NPU_USE_NPUW": "YES",
    "NPUW_LLM": "YES",
    "NPUW_DEVICES": "CPU",
    "NPUW_ONLINE_PIPELINE": "NONE",
    "NPUW_LLM_MAX_PROMPT_LEN": "64",
    "NPUW_LLM_MIN_RESPONSE_LEN": "64",
}


def export(args, member, words, out):
    run(args.phlox, "export", "openvino", "--model", member, "--task", "text-generation-with-past",
        "--weight-format", *words.split(), fresh(out))
    return out


def optimum(member, words, out):
    tool = Path(sys.executable).with_name("optimum-cli")
    os.environ["HF_HUB_OFFLINE"] = "1"
    run(tool, "export", "openvino", "--model", member, "--task", "text-generation-with-past", "--weight-format",
        *words.split(), fresh(out))
    return out


# ---- weights ----------------------------------------------------------------------------------


def constants(directory):
    """Name of the layer's part -> (type, shape, bytes) of every weight."""
    text = (directory / "openvino_model.xml").read_text()
    data = (directory / "openvino_model.bin").read_bytes()
    pattern = (
        r'<layer [^>]*name="self\.([a-z_.0-9]+?)\.(?:_openvino_orig_)?weight([^"]*)" type="Const"[^>]*>\s*'
        r'<data element_type="(\w+)" shape="([^"]*)" offset="(\d+)" size="(\d+)"'
    )
    found = {}
    for name, part, kind, shape, offset, size in re.findall(pattern, text):
        part = part.replace("_compressed", "")
        found.setdefault(name + part, (kind, shape, data[int(offset) : int(offset) + int(size)]))
    return found


def same_bytes(ours, theirs):
    """Whether two constants are equal; what fills the last byte of an odd number of 4-bit values is not."""
    (kind, shape, a), b = ours, theirs[2]
    count = 1
    for size in shape.split(", "):
        count *= int(size)
    if kind.endswith("4") and count % 2:
        a, b = (x[:-1] + bytes([x[-1] & 15]) for x in (a, b))
    return a == b


def compare_weights(ours, theirs):
    a, b = ({name: value for name, value in constants(x).items() if "norm" not in name} for x in (ours, theirs))
    if not any(name.startswith("lm_head") for name in b):  # tied: optimum has one set of constants
        a = {name: value for name, value in a.items() if not name.startswith("lm_head")}
    check(set(a) == set(b) and len(b) > 4, f"weights {sorted(set(a) ^ set(b))[:6]}")
    for name, value in b.items():
        check(a[name][:2] == value[:2], f"{name} is {a[name][:2]}, optimum has {value[:2]}")
        check(same_bytes(a[name], value), f"{name}: the bytes differ")


# ---- running ----------------------------------------------------------------------------------


def fused(compiled):
    return collections.Counter(op.get_rt_info()["layerType"].astype(str) for op in compiled.get_runtime_model().get_ops())


def check_fused(compiled, layers):
    counts = fused(compiled)
    wanted = {
        "RMS": 2 * layers + 1,
        "RoPE": 2 * layers,
        "ScaledDotProductAttention": layers,
        "FullyConnected": 4 * layers + 1,
        "MatMul": 1,  # of the rotary frequencies
    }
    for kind, count in wanted.items():
        check(counts[kind] == count, f"{counts[kind]} {kind} in the runtime model, not {count}")


def logits(compiled, ids, pieces):
    import numpy as np

    request, past, out = compiled.create_infer_request(), 0, []
    for size in pieces:
        past += size
        request.infer({
            "input_ids": ids[past - size : past][None],
            "attention_mask": np.ones((1, past), np.int64),
            "position_ids": np.arange(past - size, past)[None],
            "beam_idx": np.zeros(1, np.int32),
        })
        out.append(request.get_tensor("logits").data[0][-size:].copy())
    return np.concatenate(out)


def plain(words):
    """phlox's own words for what optimum calls otherwise."""
    return ["--weight-format", *words.replace("fp32", "f32").replace("fp16", "f16").split()]


def check_logits(args, core, member, words, directory):
    import numpy as np

    config = json.loads((member / "config.json").read_text())
    ids = np.load(member / "ids.npy").astype(np.int64)
    original = config.get("original_max_position_embeddings") or len(ids)
    ids = ids[: min(len(ids), original)]  # beyond it keys in the cache stay as they are, by design
    compiled = core.compile_model(directory / "openvino_model.xml", "CPU", EXACT)
    check_fused(compiled, config["num_hidden_layers"])
    half = len(ids) // 2
    wanted = phlox_logits(args, member, plain(words), ids, half)
    for pieces in ([len(ids)], [half] + [1] * (len(ids) - half)):
        most = np.abs(logits(compiled, ids, pieces) - wanted).max()
        check(most < 1e-4, f"logits differ by {most}")
    return ids, wanted


def check_npu(core, ours, theirs, ids, wanted):
    """The path computes with float16: ours may deviate as much as optimum's export does."""
    import numpy as np

    half = len(ids) // 2
    found = []
    for directory in (ours, theirs):
        compiled = core.compile_model(directory / "openvino_model.xml", "NPU", NPU)
        out = logits(compiled, ids, [half] + [1] * 8)[-9:]
        found.append(np.abs(out - wanted[half - 1 : half + 8]).max())
    check(found[0] < 1.5 * found[1], f"NPUW: logits are off by {found[0]}, those of optimum's export by {found[1]}")


# ---- whole models -----------------------------------------------------------------------------


def check_generation(args, work):
    import openvino_genai
    from optimum.intel import OVModelForCausalLM

    prompts = ("What is an NPU?", "Can you introduce yourself?")
    source = fresh(work / "builtin")
    shutil.copytree(ROOT / "models/demo/hf", source)
    exact = {name: value for name, value in EXACT.items()}
    for words in ("fp32", "int8", "int4 --group-size 64 --sym"):
        out = export(args, source, words, work / "builtin-ov")
        pipeline = openvino_genai.LLMPipeline(str(out), "CPU", **exact)
        settings = openvino_genai.GenerationConfig()
        settings.max_new_tokens = 40
        for prompt in prompts:
            wanted = phlox_text(args, source, plain(words), prompt, 40)
            found = str(pipeline.generate(prompt, settings))
            check(found == wanted, f"LLMPipeline, {words}: {found!r}, phlox has {wanted!r}")
        model = OVModelForCausalLM.from_pretrained(out, ov_config=exact)
        check_causal(args, model, source, plain(words))


def check_causal(args, model, source, words):
    import torch

    ids = [int(x) for x in run(args.phlox, "tokenize", source, "What is an NPU?").replace(",", " ").split()]
    found = model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0, len(ids) :].tolist()
    report = json.loads(run(args.phlox, "run", "-m", source, *words, "--exact", "--no-cache",
                            "--greedy", "--json", "--max-new-tokens", 16, "--ids", ",".join(map(str, ids))))
    wanted = [token["id"] for token in report["tokens"]]
    check(found[: len(wanted)] == wanted, f"OVModelForCausalLM: {found}, phlox has {wanted}")


# ---- tokenizers -------------------------------------------------------------------------------


def texts_for(tokenizer):
    special = [token["content"] for token in tokenizer["added_tokens"]]
    generator, letters = random.Random(1), "abc The quick, brown\n\n  fox's 123 4567 é ü 漢字 🙂\t#{}"
    for _ in range(300):
        pieces = generator.randint(1, 60)
        yield "".join(generator.choice(special) if generator.random() < 0.05 else generator.choice(letters)
                      for _ in range(pieces))


def check_tokenizer(args, core, name, path, work):
    from openvino_tokenizers import convert_tokenizer
    from transformers import PreTrainedTokenizerFast

    source = fresh(work / "tokenizer")
    source.mkdir()
    for file in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(ROOT / "models/demo/hf" / file, source)
    shutil.copy(path, source / "tokenizer.json")
    out = work / "tokenizer-ov"
    run(args.phlox, "export", "openvino", "-m", source, fresh(out))
    official = convert_tokenizer(PreTrainedTokenizerFast(tokenizer_file=str(path)), with_detokenizer=True)
    ours = [core.compile_model(out / f"openvino_{kind}.xml", "CPU") for kind in ("tokenizer", "detokenizer")]
    theirs = [core.compile_model(model, "CPU") for model in official]
    for text in texts_for(json.loads(path.read_text())):
        a, b = (model[0]([text])["input_ids"] for model in (ours, theirs))
        check(a.shape == b.shape and (a == b).all(), f"{name}: {text!r} becomes {a}, not {b}")
        a, b = (list(model[1](b)["string_output"]) for model in (ours, theirs))
        check(a == b, f"{name}: {text!r} comes back as {a}, not {b}")


# ---- all --------------------------------------------------------------------------------------


def check_exports(args, core):
    lines, failures = [], 0
    for words, members in FORMATS:
        for name in members:
            try:
                ours = export(args, FAMILY / name, words, args.work / "ours")
                ids, wanted = check_logits(args, core, FAMILY / name, words, ours)
                if words != "bf16":
                    theirs = optimum(FAMILY / name, words, args.work / "theirs")
                if words.startswith("int"):
                    compare_weights(ours, theirs)
                if words in ("fp32", "int8 --sym", "int4 --group-size -1 --sym"):
                    check_npu(core, ours, theirs, ids, wanted)
                lines.append(f"{checksum(ours, *FILES)} openvino {name} {words}")
                print(f"ok      {name} {words}", flush=True)
            except Failure as failure:
                failures += 1
                print(f"FAILED  {name} {words}: {failure}", flush=True)
    return lines, failures


def main():
    args = arguments(__doc__.splitlines()[0])
    enter_venv(args.work / "venv-test", PACKAGES)
    import openvino
    import openvino_tokenizers  # noqa: F401, registers the operations

    core = openvino.Core()
    lines, failures = check_exports(args, core)
    rest = [("generation", lambda: check_generation(args, args.work))]
    tokenizers = [(name, TEXT / f"{name}.tokenizer.json") for name in ("phi4", "phi4-mini", "llama")]
    tokenizers.append(("built-in", ROOT / "models/demo/hf/tokenizer.json"))
    for name, path in tokenizers:
        rest.append((f"tokenizer {name}", lambda name=name, path=path: check_tokenizer(args, core, name, path, args.work)))
    failures += steps(rest)
    print(f"openvino {openvino.__version__}: {len(lines)} exports, {failures} failures")
    if args.write and not failures:
        write_sums("openvino", lines)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
