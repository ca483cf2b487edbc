#!/usr/bin/env python3
"""Runs what `phlox export onnx` writes in ONNX Runtime and ONNX Runtime GenAI.

Usage: onnx_exports.py PHLOX [--work DIRECTORY] [--write]; `make test-peers` calls it. Installs onnx, onnxruntime
and onnxruntime-genai in a venv in the work directory.

For the members of tests/golden/family, in many formats and for every execution provider:
- onnx's checker accepts the graph (SimplifiedLayerNormalization, which ONNX Runtime has in the domain of ONNX
  itself, is made known to it);
- ONNX Runtime's CPU provider gives the logits that phlox has when it reads the export: within 1e-4 with
  float32, 0.1 with float16 and 0.5 with activations of 8 bits, the prompt at once and half of it token by
  token. Graphs for DirectML are compared up to their window, which they do not have.
For the built-in model: ONNX Runtime GenAI tokenizes as phlox does and generates the same text.

tests/golden/exports.txt has the checksums of exports that went through this; tests/api/test_export.c
compares with them. --write makes them anew when everything has passed.
"""

import json
import shutil
import sys

from peers import FAMILY, ROOT, arguments, check, checksum, enter_venv, fresh, phlox_logits, phlox_text, run, steps, write_sums

PACKAGES = ("onnx", "onnxruntime", "onnxruntime-genai", "numpy")
MEMBERS = ("phi3-mini-4k", "phi3-mini-128k", "phi3-medium-4k", "phi35-mini", "phi4", "phi4-mini", "head-dim-128",
           "longrope-rope-parameters")
FORMATS = (
    ("fp32", MEMBERS),
    ("fp16", ("phi3-mini-4k", "phi35-mini", "longrope-rope-parameters")),
    ("fp16 --ep cuda", ("phi4", "phi3-mini-128k")),
    ("fp16 --ep dml", ("phi3-mini-4k", "phi4-mini", "phi35-mini")),
    ("int8 --accuracy-level 1", ("phi3-mini-4k", "phi4-mini")),
    ("int8 --sym --ep cuda", ("phi4",)),
    ("int4", ("phi4-mini", "phi3-medium-4k")),
    ("int4 --accuracy-level 1 --all-layers", ("phi4-mini", "phi4")),
    ("int4 --accuracy-level 1 --asym --all-layers", ("phi4-mini", "phi4")),
    ("int4 --accuracy-level 1 --block-size 16", ("phi3-medium-4k",)),
    ("int4 --accuracy-level 1 --block-size -1", ("phi4",)),
    ("int4 --asym --ep cuda", ("phi4-mini",)),
    ("int4 --ep dml", ("phi35-mini", "phi4")),
)
FILES = ("model.onnx", "model.onnx.data")
CACHE = {"tensor(float)": "float32", "tensor(float16)": "float16"}


def export(args, model, words, out):
    run(args.phlox, "export", "onnx", "--model", model, "-p", *words.split(), fresh(out))
    return out


def make_known():
    """ONNX Runtime's own operation in the domain of ONNX."""
    import onnx.defs
    from onnx.defs import OpSchema

    value = lambda name: OpSchema.FormalParameter(name, "T")
    attribute = lambda name, kind: OpSchema.Attribute(name, kind, required=False)
    kinds = OpSchema.AttrType
    onnx.defs.register_schema(OpSchema(
        "SimplifiedLayerNormalization", "", 1, inputs=[value("X"), value("scale")], outputs=[value("Y")],
        type_constraints=[("T", list(CACHE), "")], attributes=[attribute("epsilon", kinds.FLOAT), attribute("axis", kinds.INT),
                                             attribute("stash_type", kinds.INT)]))


def logits(session, ids, pieces):
    import numpy as np

    inputs = {value.name: value for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    past = {name: np.zeros((1, value.shape[1], 0, value.shape[3]), CACHE[value.type])
            for name, value in inputs.items() if name.startswith("past")}
    length, out = 0, []
    for size in pieces:
        feed = {"input_ids": ids[None, length : length + size],
                "attention_mask": np.ones((1, length + size), np.int64), **past}
        if "position_ids" in inputs:
            feed["position_ids"] = np.arange(length, length + size)[None]
        length += size
        results = dict(zip(names, session.run(names, feed)))
        out.append(results["logits"][0].astype(np.float32))
        past = {name: results[name.replace("past_key_values", "present")] for name in past}
    return np.concatenate(out)


def check_export(args, member, words, lines):
    import numpy as np
    import onnx
    import onnxruntime

    directory = export(args, FAMILY / member, words, args.work / "onnx-ours")
    onnx.checker.check_model(directory / "model.onnx")
    config = json.loads((FAMILY / member / "config.json").read_text())
    ids = np.load(FAMILY / member / "ids.npy").astype(np.int64)
    original = config.get("original_max_position_embeddings") or config["max_position_embeddings"]
    if "dml" in words:
        ids = ids[: config.get("sliding_window") or len(ids)]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    is_half = "float16" in session.get_outputs()[0].type
    tolerance = 0.1 if is_half else 1e-4 if "level 1" in words or words.startswith("fp") else 0.5
    short = ids[:original]
    half = len(short) // 2
    for these, pieces in ((ids, [len(ids)]), (short, [half] + [1] * (len(short) - half))):
        wanted = phlox_logits(args, directory, [], these, len(these))
        most = np.abs(logits(session, these, pieces) - wanted).max()
        check(most < tolerance, f"logits differ by {most}")
    lines.append(f"{checksum(directory, *FILES)} onnx {member} {words}")


def check_generation(args, words, own):
    import onnxruntime_genai as genai

    source = fresh(args.work / "onnx-builtin")
    shutil.copytree(ROOT / "models/demo/hf", source)
    out = export(args, source, words, args.work / "onnx-builtin-ours")
    config = genai.Config(str(out))
    config.clear_providers()  # graphs for others run on the CPU here
    model = genai.Model(config)
    tokenizer = genai.Tokenizer(model)
    for prompt in ("What is an NPU?", "Can you introduce yourself?"):
        messages = json.dumps([{"role": "user", "content": prompt}])
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(max_length=128, do_sample=False)
        generator = genai.Generator(model, parameters)
        ids = tokenizer.encode(text)
        generator.append_tokens(ids)
        found = []
        while not generator.is_done() and len(found) < 40:
            generator.generate_next_token()
            found.append(int(generator.get_next_tokens()[0]))
        found = tokenizer.decode(found)
        wanted = phlox_text(args, out, own, prompt, 40)
        check(found.strip() == wanted, f"GenAI: {found!r}, phlox has {wanted!r}")


def main():
    args = arguments(__doc__.splitlines()[0])
    enter_venv(args.work / "venv-onnx", PACKAGES)
    import onnxruntime
    import onnxruntime_genai

    make_known()
    lines = []
    failures = steps((f"{member} {words}", lambda member=member, words=words: check_export(args, member, words, lines))
                     for words, members in FORMATS for member in members)
    failures += steps((f"generation {words}", lambda words=words: check_generation(args, words, []))
                      for words in ("fp32", "fp16", "int8", "int4", "int4 --asym", "fp16 --ep cuda", "int4 --ep dml"))
    print(f"onnxruntime {onnxruntime.__version__}, onnxruntime-genai {onnxruntime_genai.__version__}: {len(lines)} "
          f"exports, {failures} failures")
    if args.write and not failures:
        write_sums("onnx", lines)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
