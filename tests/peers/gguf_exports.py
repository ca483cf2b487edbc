#!/usr/bin/env python3
"""Runs what `phlox export gguf` writes in llama.cpp, and compares it with what llama.cpp makes.

Usage: gguf_exports.py PHLOX [--work DIRECTORY]; `make test-peers` calls it. Installs llama-cpp-python, which builds
llama.cpp (it needs a C++ compiler and takes minutes), and gguf in a venv in the work directory.

For the members of tests/golden/family:
- in F32 llama.cpp's logits are those of phlox within 1e-3, as far as the sliding window reaches, which it leaves
  out;
- Q8_0, Q4_0 and Q4_1 files have the tensors, byte for byte, that llama.cpp's llama_model_quantize makes of the F32
  file, and so its logits; both round the activations, so that they are not those of phlox. Widened to F32, the
  same files give phlox's logits within 1e-3.
For each kind of tokenizer llama.cpp's ids are those of phlox for plain text. For the built-in model it generates
the text that phlox generates.
"""

import ctypes
import json
import random
import shutil
from functools import partial

from peers import FAMILY, ROOT, arguments, check, enter_venv, fresh, phlox_logits, run, steps

PACKAGES = ("llama-cpp-python", "gguf", "numpy")
MEMBERS = ("phi3-mini-4k", "phi3-mini-128k", "phi3-medium-4k", "phi3-medium-128k", "phi35-mini", "phi4", "phi4-mini",
           "longrope-su", "f16", "f32")
# Rows of 32 values and more; the number of llama_ftype.
QUANTIZED = {"q8_0": 7, "q4_0": 2, "q4_1": 3}
BLOCKS = ("phi3-medium-4k", "phi4", "phi4-mini")
# How far the logits are away whose deviation is about 2: products of the file's own type round the activations.
NEAR = {"f16": 0.05, "bf16": 0.4}


def export(args, model, out, *words):
    out.unlink(missing_ok=True)
    run(args.phlox, "export", "gguf", "--model", model, *words, out)
    return out


def load(path):
    import llama_cpp

    return llama_cpp.Llama(str(path), n_ctx=512, n_batch=64, n_ubatch=64, n_threads=1, type_k=0, type_v=0,
                           logits_all=True, flash_attn=False, verbose=False)


def llama_logits(path, ids):
    import numpy as np

    model = load(path)
    model.eval([int(i) for i in ids])
    return np.array(model.scores[: len(ids)])


def difference(args, path, model):
    """llama.cpp leaves the sliding window out, and takes the long rotary factors always: sequences are longer than
    the original context, and what lies within the window is compared."""
    import gguf
    import numpy as np

    window = int(gguf.GGUFReader(path).fields["phi3.attention.sliding_window"].contents())
    ids = np.load(model / "ids.npy").astype(np.int64)
    seen = min(len(ids), window or len(ids))
    found = llama_logits(path, ids) - phlox_logits(args, path, (), ids, len(ids))
    return np.abs(found[:seen]).max()


def check_floats(args, member):
    path = export(args, FAMILY / member, args.work / "model.gguf", "--outtype", "f32")
    most = difference(args, path, FAMILY / member)
    check(most < 1e-3, f"logits differ by {most}")
    for kind, near in NEAR.items():
        path = export(args, FAMILY / member, args.work / "model.gguf", "--outtype", kind)
        most = difference(args, path, FAMILY / member)
        check(most < near, f"{kind}: logits differ by {most}")


def quantize(source, target, kind):
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.pure = QUANTIZED[kind], 1, True
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    check(code == 0, f"llama_model_quantize: {code}")


def check_blocks(args, member, kind):
    """--all-layers is what llama.cpp calls pure."""
    import gguf
    import numpy as np

    words = ["--outtype", kind] + ([] if kind == "q8_0" else ["--all-layers"])
    ours = export(args, FAMILY / member, args.work / "ours.gguf", *words)
    theirs = args.work / "theirs.gguf"
    quantize(export(args, FAMILY / member, args.work / "model.gguf", "--outtype", "f32"), theirs, kind)
    a, b = ({t.name: t for t in gguf.GGUFReader(path).tensors} for path in (ours, theirs))
    check(set(a) == set(b), f"tensors {sorted(set(a) ^ set(b))}")
    for name, tensor in b.items():
        check(a[name].tensor_type == tensor.tensor_type, f"{name} is {a[name].tensor_type.name}")
        check(np.array_equal(a[name].data.view(np.uint8), tensor.data.view(np.uint8)), f"{name}: the bytes differ")
    ids = np.load(FAMILY / member / "ids.npy")
    check(np.array_equal(llama_logits(ours, ids), llama_logits(theirs, ids)), "other logits")
    rounded = difference(args, ours, FAMILY / member)
    wide = export(args, ours, args.work / "model.gguf", "--weight-format", "f32")
    exact = difference(args, wide, FAMILY / member)
    check(exact < 1e-3, f"widened, its logits differ by {exact}")
    print(f"        {member} {kind}: llama.cpp is {rounded:.2g} away as it is, {exact:.1g} widened")


# ---- stored integers --------------------------------------------------------------------------


def check_integers(args, model):
    """Integers of other forms, in the blocks that hold them; what no block holds is rounded."""
    import numpy as np

    path = ROOT / "tests/golden" / model
    ours = export(args, path, args.work / "ours.gguf", "--accept-loss")
    check(np.isfinite(llama_logits(ours, np.load(path / "ids.npy"))).all(), "its logits are not finite")
    most = difference(args, export(args, ours, args.work / "model.gguf", "--weight-format", "f32"), path)
    check(most < 1e-3, f"logits differ by {most}")


# ---- tokenizers -------------------------------------------------------------------------------


def texts():
    generator, letters = random.Random(1), "abc The quick, brown\n\n  fox's 123 4567 é ü 漢字 🙂\t#{}"
    for _ in range(200):
        yield "".join(generator.choice(letters) for _ in range(generator.randint(1, 60)))


def check_tokenizer(args, path):
    import llama_cpp

    source = fresh(args.work / "tokenizer")
    shutil.copytree(ROOT / "models/demo/hf", source)
    if path.is_dir():
        shutil.copytree(path, source, dirs_exist_ok=True)
    else:
        (source / "tokenizer_config.json").unlink()
        shutil.copy(path, source / "tokenizer.json")
    out = export(args, source, args.work / "model.gguf")
    model = llama_cpp.Llama(str(out), vocab_only=True, verbose=False)
    for text in texts():
        found = model.tokenize(text.encode(), add_bos=False, special=False)
        wanted = json.loads(run(args.phlox, "tokenize", source, "--json", text))
        check(found == wanted, f"{text!r} becomes {found}, not {wanted}")


# ---- whole models -----------------------------------------------------------------------------

PROMPTS = ("What is an NPU?", "Can you introduce yourself?", "What is int4?")


def check_generation(args, kind):
    """The ids of a greedy answer; the text of the prompt is tokenized by llama.cpp."""
    import numpy as np

    path = export(args, ROOT / "models/demo/hf", args.work / "builtin.gguf", "--outtype", kind)
    model = load(path)
    for prompt in PROMPTS:
        ids = model.tokenize(f"<|user|>\n{prompt}<|end|>\n<|assistant|>\n".encode(), add_bos=True, special=True)
        report = json.loads(run(args.phlox, "run", "-m", path, "--exact", "--no-cache", "--greedy", "--json",
                                "--max-new-tokens", 24, prompt))
        wanted = [token["id"] for token in report["tokens"]]
        model.reset()
        model.eval(ids)
        found = []
        while len(found) < len(wanted):
            found.append(int(np.argmax(model.scores[model.n_tokens - 1])))
            model.eval(found[-1:])
        check(found == wanted, f"{prompt} {found}, phlox has {wanted}")


def main():
    args = arguments(__doc__.splitlines()[0])
    enter_venv(args.work / "venv-gguf", PACKAGES)
    import llama_cpp

    lines = [(f"{member} floats", partial(check_floats, args, member)) for member in MEMBERS]
    for member in BLOCKS:
        lines += [(f"{member} {kind}", partial(check_blocks, args, member, kind)) for kind in QUANTIZED]
    for model in ("openvino/int4-sym", "openvino/int4-tied", "onnx/int4-tied", "onnx/int8", "gguf/q4_k_m"):
        lines.append((f"{model} again", partial(check_integers, args, model)))
    for name in ("phi4", "phi4-mini", "llama"):
        path = ROOT / f"tests/golden/text/{name}.tokenizer.json"
        lines.append((f"tokenizer {name}", partial(check_tokenizer, args, path)))
    lines.append(("tokenizer built-in", partial(check_tokenizer, args, ROOT / "models/demo/hf")))
    for kind in ("f32", "bf16", "q8_0", "q4_0"):
        lines.append((f"generation {kind}", partial(check_generation, args, kind)))
    failures = steps(lines)
    print(f"llama-cpp-python {llama_cpp.__version__}: {failures} failures")
    raise SystemExit(failures > 0)


if __name__ == "__main__":
    main()
