#!/usr/bin/env python3
"""Makes tests/golden/onnx: ONNX Runtime GenAI directories as its model builder writes them, of small
checkpoints of tests/golden/family, and what transformers computes with their weights.

Made with: Python 3.11.7, onnxruntime-genai 0.18.0, onnxruntime 1.32.0, onnx 1.23.2, transformers 5.5.4,
torch 2.15.0 (CPU), numpy 2.4.6.
Usage:     [OLD_PYTHON=PATH] python make_onnx.py [NAME...]

"old" and "old-dml" are made by builder 0.2.0 of May 2024 (with onnxruntime 1.18.1, onnx 1.16.2,
transformers 4.41.2), run by OLD_PYTHON; without it they are kept. It knows a Phi-3 by its context of 4096,
which is changed to that of the small checkpoints. It writes no window anywhere.
Where genai_config.json does not have a window that matters, config.json lies beside it, as in what Microsoft
publishes.

Each onnx/<name>/ has genai_config.json, model.onnx and model.onnx.data, and:
  tensors.txt  a line for every matrix: its parameter's name, rows, columns, and the FNV-1a sum (64 bits) of
               its weights, dequantized by the definition to float32 [rows, columns]
  ids.npy      int32 [n]
  logits.npy   float32 [n, vocab]: transformers in float32 with those weights, whole, without a cache
The script decodes the weights by itself, by the names of nodes, and fails where ONNX Runtime's CPU provider can
run the graph and is further than 5e-3 (float16: 5e-2) from transformers; up to the window of genai_config.json, since builder
0.18 writes local_window_size -1 into the graph.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from transformers import AutoConfig, Phi3ForCausalLM

HERE = Path(__file__).resolve().parent
FAMILY = HERE / "family"
EXPORTS = {  # name: member, precision, execution provider, extra options
    "fp16-cuda-long": ("phi3-mini-128k", "fp16", "cuda", ""),
    "fp16-heads": ("f32", "fp16", "cpu", ""),  # MultiHeadAttention
    "fp32-tied": ("longrope-rope-parameters", "fp32", "cpu", ""),
    "int4": ("sharded", "int4", "cpu", "accuracy_level=1"),
    "int4-asym": ("phi3-medium-128k", "int4", "cpu", "accuracy_level=1 is_symmetric=false op_types_to_quantize=MatMul/Gather"),
    "int4-dml-long": ("phi35-mini", "int4", "dml", ""),
    "int4-mixed": ("sharded", "int4", "dml", "algo_config=k_quant_mixed"),
    "int4-qdq": ("sharded", "int4", "NvTensorRtRtx", ""),
    "int4-tied": ("phi4-mini", "int4", "cpu", "accuracy_level=1 shared_embeddings=true op_types_to_quantize=MatMul/Gather"),
    "int8": ("f32", "int8", "cpu", "accuracy_level=1"),
    "old": ("sharded", "int4", "cuda", ""),
    "old-dml": ("f32", "int4", "dml", ""),
}
TOKENIZER = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}


def build(member, precision, provider, options, out):
    """The builder wants a tokenizer; what it is does not matter, and it does not stay."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "model"
        shutil.copytree(member, source)
        (source / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        (source / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        if out.name.startswith("old"):
            command = [os.environ["OLD_PYTHON"], "-c", OLD]
            config = json.loads((source / "config.json").read_text())
            config.pop("auto_map", None)
            (source / "config.json").write_text(json.dumps(config))
        command += ["-i", source, "-o", out, "-p", precision, "-e", provider, "-c", scratch + "/cache"]
        if options:
            command += ["--extra_options", *options.split()]
        done = subprocess.run(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
    keep(out)


OLD = """
import importlib.util, pathlib
path = pathlib.Path(importlib.util.find_spec("onnxruntime_genai").origin).parent / "models/builder.py"
source = path.read_text().replace("max_position_embeddings == 4096", "max_position_embeddings == 128")
exec(compile(source, str(path), "exec"), {"__name__": "__main__"})
"""


def keep(out):
    for file in out.iterdir():
        if file.name not in ("genai_config.json", "model.onnx", "model.onnx.data"):
            file.unlink()


# ---- weights, by the definition ---------------------------------------------------------------


def nibbles(raw, shape):
    raw = np.frombuffer(raw, np.uint8)
    return np.stack([raw & 15, raw >> 4], 1).reshape(-1)[: int(np.prod(shape))].reshape(shape).astype(np.int32)


class Graph:
    def __init__(self, directory):
        model = onnx.load(directory / "model.onnx")
        self.tensors = {t.name: t for t in model.graph.initializer}
        self.nodes = list(model.graph.node)
        self.producers = {o: n for n in self.nodes for o in n.output}

    def integers(self, name):
        """The numbers as stored, and what is added to count from 0."""
        tensor = self.tensors[name]
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        shape = list(tensor.dims)
        if kind in ("INT4", "UINT4"):
            values = nibbles(tensor.raw_data, shape)
            return np.where(values >= 8, values - 16, values) if kind == "INT4" else values
        return numpy_helper.to_array(tensor).astype(np.int32)

    def floats(self, name):
        return numpy_helper.to_array(self.tensors[name]).astype(np.float32)

    def n_bits(self, data, scales, zeros, rows, columns, bits, block):
        blocks = -(-columns // block)
        raw = self.tensors[data].raw_data
        q = nibbles(raw, (rows, blocks * block)) if bits == 4 else np.frombuffer(raw, np.uint8).reshape(rows, -1).astype(np.int32)
        z = np.full((rows, blocks), 1 << (bits - 1))
        if zeros and bits == 4:
            z = nibbles(self.tensors[zeros].raw_data, (rows, (blocks + 1) // 2 * 2))[:, :blocks]
        elif zeros:
            z = np.frombuffer(self.tensors[zeros].raw_data, np.uint8).reshape(rows, blocks).astype(np.int32)
        s = self.floats(scales).reshape(rows, blocks)
        spread = lambda x: np.repeat(x, block, 1)[:, :columns]
        return (q[:, :columns] - spread(z)).astype(np.float32) * spread(s)

    def weight(self, node, columns=None):
        get = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        names = [*node.input, "", "", ""]
        if node.op_type == "MatMulNBits":
            return self.n_bits(names[1], names[2], names[3], get["N"], get["K"], get["bits"], get["block_size"])
        if node.op_type == "GatherBlockQuantized":
            data = names[0] if names[0] in self.tensors else self.producers[names[0]].input[0]
            if onnx.TensorProto.DataType.Name(self.tensors[data].data_type) == "UINT8":
                rows = self.tensors[data].dims[0]
                return self.n_bits(data, names[2], names[3], rows, columns, get["bits"], get["block_size"])
            spread = lambda x: np.repeat(x, get["block_size"], 1)[:, :columns]
            q = self.integers(data)
            z = self.integers(names[3]) if names[3] else np.zeros(self.floats(names[2]).shape, np.int32)
            return (q - spread(z)).astype(np.float32) * spread(self.floats(names[2]))
        name, transposed = (names[0], False) if node.op_type == "Gather" else (names[1], True)
        if name not in self.tensors and self.producers[name].op_type == "Transpose":
            name, transposed = self.producers[name].input[0], not transposed
        if name in self.tensors:
            weight = self.floats(name)
        else:
            dequantize = self.producers[name]
            size = {a.name: a.i for a in dequantize.attribute}
            assert dequantize.op_type == "DequantizeLinear" and size["axis"] == 0
            scales = np.repeat(self.floats(dequantize.input[1]), size["block_size"], 0)
            q = self.integers(dequantize.input[0])
            if len(dequantize.input) > 2:
                q = q - np.repeat(self.integers(dequantize.input[2]), size["block_size"], 0)[: len(q)]
            weight = q.astype(np.float32) * scales[: len(q)]
        return np.ascontiguousarray(weight.T if transposed else weight)

    def weights(self, config):
        parts = {}
        for node in self.nodes:
            found = re.match(r"/model/(layers\.\d+)/(attn|mlp)/(\w+_proj)/MatMul", node.name)
            if found:
                parts[found[1], found[3]] = self.weight(node)
            elif node.name.startswith("/lm_head/MatMul"):
                parts["lm_head"] = self.weight(node)
            elif re.match("/model/embed_tokens/Gather", node.name):
                parts["embed"] = self.weight(node, config.hidden_size)
        out = {"model.embed_tokens": parts["embed"]}
        for i in range(config.num_hidden_layers):
            take = lambda name, i=i: parts[f"layers.{i}", name]
            qkv = (f"layers.{i}", "qkv_proj") in parts
            base = f"model.layers.{i}."
            out[base + "self_attn.qkv_proj"] = take("qkv_proj") if qkv else np.concatenate([take(c + "_proj") for c in "qkv"])
            out[base + "self_attn.o_proj"] = take("o_proj")
            out[base + "mlp.gate_up_proj"] = np.concatenate([take("gate_proj"), take("up_proj")])
            out[base + "mlp.down_proj"] = take("down_proj")
        out["lm_head"] = parts["lm_head"]
        return out

    def norms(self, config):
        out = {}
        for i in range(config.num_hidden_layers):
            for part in ("input_layernorm", "post_attention_layernorm"):
                out[f"model.layers.{i}.{part}"] = self.floats(f"model.layers.{i}.{part}.weight")
        out["model.norm"] = self.floats(f"model.layers.{config.num_hidden_layers}.final_norm_layernorm.weight")
        return out


def fnv(data):
    total = 0xCBF29CE484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return total


# ---- logits -----------------------------------------------------------------------------------


def transformers_logits(member, weights, ids):
    config = AutoConfig.from_pretrained(member, trust_remote_code=False)
    config._attn_implementation = "eager"
    config.tie_word_embeddings = False
    model = Phi3ForCausalLM.from_pretrained(member, config=config, dtype=torch.float32).eval()
    state = model.state_dict()
    for name, weight in weights.items():
        key = name + ".weight"
        assert state[key].shape == weight.shape, (key, state[key].shape, weight.shape)
        state[key].copy_(torch.from_numpy(np.array(weight)))
    with torch.no_grad():
        return model(torch.from_numpy(ids.astype(np.int64))[None], use_cache=False).logits[0].numpy()


def runtime_logits(directory, ids):
    options = ort.SessionOptions()
    # Products behind DequantizeLinear would round activations to 8 bits by default.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = ort.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    count = len(ids)
    given = {"input_ids": ids.astype(np.int64)[None], "attention_mask": np.ones((1, count), np.int64),
             "position_ids": np.arange(count)[None]}
    decoder = json.loads((directory / "genai_config.json").read_text())["model"]["decoder"]
    feeds = {}
    for value in session.get_inputs():
        kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16}.get(value.type)
        shape = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
        feeds[value.name] = given[value.name] if value.name in given else np.zeros(shape, kind)
    logits = session.run(["logits"], feeds)[0][0]
    return logits.astype(np.float32), 5e-2 if logits.dtype == np.float16 else 5e-3


# ---- all --------------------------------------------------------------------------------------


def finish(member, directory):
    config = AutoConfig.from_pretrained(member)
    ids = np.load(member / "ids.npy")
    graph = Graph(directory)
    weights = graph.weights(config)
    tied = np.array_equal(weights["lm_head"], weights["model.embed_tokens"])
    logits = transformers_logits(member, weights | graph.norms(config), ids)
    if tied:
        del weights["lm_head"]
    lines = [f"{name}.weight {w.shape[0]} {w.shape[1]} {fnv(w.tobytes()):016x}\n" for name, w in weights.items()]
    (directory / "tensors.txt").write_text("".join(lines))
    np.save(directory / "ids.npy", ids.astype(np.int32))
    np.save(directory / "logits.npy", logits.astype(np.float32))
    decoder = json.loads((directory / "genai_config.json").read_text())["model"]["decoder"]
    if "sliding_window" not in decoder and (config.sliding_window or len(ids)) < len(ids):
        shutil.copy(member / "config.json", directory / "config.json")
    seen = decoder.get("sliding_window", {}).get("window_size", config.sliding_window or len(ids))
    try:
        found, tolerance = runtime_logits(directory, ids)
        difference = np.abs(found - logits).max(1)
        said = f"ONNX Runtime differs by {difference[:seen].max():.1e} in the window, {difference.max():.1e} in all"
        if difference[:seen].max() > tolerance:
            sys.exit(f"{directory.name}: {said}")
    except Exception as problem:  # graphs for other providers
        said = f"not run: {str(problem)[:120]!r}"
    print(f"{directory.name}: {len(weights)} matrices, logits up to {np.abs(logits).max():.1f}; {said}", flush=True)


def seed(name):
    """A fixture as fuzz_onnx.c reads it."""
    out = b""
    for i, file in enumerate(("genai_config.json", "model.onnx", "model.onnx.data", "config.json")):
        path = HERE / "onnx" / name / file
        if path.exists():
            data = path.read_bytes()
            out += bytes([i]) + len(data).to_bytes(3, "little") + data
    corpus = HERE.parent / "fuzz" / "corpus" / "onnx"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / name).write_bytes(out)


def main():
    for name in sys.argv[1:] or EXPORTS:
        if name.startswith("old") and "OLD_PYTHON" not in os.environ:
            continue
        member, precision, provider, options = EXPORTS[name]
        out = HERE / "onnx" / name
        shutil.rmtree(out, ignore_errors=True)
        build(FAMILY / member, precision, provider, options, out)
        finish(FAMILY / member, out)
        if name in ("int4-asym", "int4-dml-long", "int4-qdq"):
            seed(name)


if __name__ == "__main__":
    main()
