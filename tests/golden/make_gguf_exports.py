#!/usr/bin/env python3
"""Makes tests/golden/gguf_exports.txt and gguf_blocks.bin: what ggml makes of weights, which `phlox export gguf`
must make of them too. The gguf package agrees but for the sign of scales that are 0.

Made with: Python 3.11, llama-cpp-python 0.3.36, gguf 0.19.0, numpy 2.4.6.
Usage:     python make_gguf_exports.py

gguf_exports.txt: "CRC-32, checkpoint, words" a line. The sum is of the bytes of all matrices, embedding first,
then those of each layer, then lm_head unless tied. In Q4_0 and Q4_1 files what makes the logits is Q8_0.
gguf_blocks.bin: blocks of 32 values that are hard to round: float32 [32], then the bytes of Q8_0, Q4_0, Q4_1.
"""
import ctypes
import json
import pathlib
import struct
import zlib

import gguf
import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as Q

OUT = pathlib.Path(__file__).resolve().parent
BLOCKS = ("family/phi3-medium-4k", "family/phi4", "family/phi4-mini", "quality/outliers", "quality/tails",
          "quality/zeros")
FLOATS = ("family/f16", "family/f32", "family/phi3-mini-4k", "family/sharded")
WORDS = {"int8": Q.Q8_0, "int4 --sym": Q.Q4_0, "int4": Q.Q4_1, "f32": Q.F32, "f16": Q.F16, "bf16": Q.BF16}
LAYER = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")


def ggml():
    path = pathlib.Path(llama_cpp.__file__).parent / "lib/libggml-base.so"
    function = ctypes.CDLL(str(path)).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    return function


def quantize(values, kind):
    known = gguf.quants.quantize(values, kind)
    if kind in (Q.F32, Q.F16, Q.BF16):
        return known
    values = np.ascontiguousarray(values, np.float32)
    out = np.zeros_like(known)
    assert ggml()(int(kind), values.ctypes.data, out.ctypes.data, 0, *values.shape, None) == out.nbytes
    assert np.array_equal(*(gguf.quants.dequantize(x, kind) for x in (known, out)))
    return out


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + x for x in entry["data_offsets"])
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[entry["dtype"]]).astype(np.float32)
        yield name, values.reshape(entry["shape"])


def sum_of(directory, words):
    config = json.loads((directory / "config.json").read_text())
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors.update(read_safetensors(path))
    tied, kind = config["tie_word_embeddings"], WORDS[words]
    logits = Q.Q8_0 if kind in (Q.Q4_0, Q.Q4_1) else kind
    order = [("model.embed_tokens", logits if tied else kind)]
    order += [(f"model.layers.{i}.{name}", kind) for i in range(config["num_hidden_layers"]) for name in LAYER]
    order += [] if tied else [("lm_head", logits)]
    crc = 0
    for name, kind in order:
        crc = zlib.crc32(np.ascontiguousarray(quantize(tensors[name + ".weight"], kind)).tobytes(), crc)
    return crc


def hard_blocks():
    rng = np.random.default_rng(7)
    spread = np.linspace(-1, 1, 32)
    yield np.zeros(32)
    yield np.full(32, 0.7)
    yield np.full(32, -0.7)
    yield np.where(np.arange(32) == 5, 3.0, 0)
    yield np.where(np.arange(32) % 2, 1.0, -1.0)  # the first of the largest gives the sign
    yield np.where(np.arange(32) % 2, -1.0, 1.0)
    yield np.append(np.arange(31) / 2 - 8, 127)  # halves, which Q8_0 rounds away from zero
    yield np.append(-np.arange(31) / 2, 127)
    yield np.append(np.arange(31) / 2 - 8, -8)  # halves of Q4_0
    yield np.append(np.arange(31) / 2, 15)  # halves of Q4_1
    for size in (6e4, 1, 1e-3, 1e-5, 4e-6, 5e-7, 1e-7, 1e-9, 1e-20, 1e-30):  # scales become subnormal, then 0
        yield spread * size
        yield rng.standard_normal(32) * size / 5
        yield np.abs(rng.standard_normal(32)) * size / 5


def main():
    lines = []
    for words, kind in WORDS.items():
        for name in BLOCKS + (FLOATS if kind in (Q.F32, Q.F16, Q.BF16) else ()):
            lines.append(f"{sum_of(OUT / name, words):08x} {name} {words}\n")
    (OUT / "gguf_exports.txt").write_text("".join(lines), encoding="utf-8")
    with open(OUT / "gguf_blocks.bin", "wb") as file:
        for block in hard_blocks():
            values = block.astype(np.float32)
            file.write(values.astype("<f4").tobytes())
            for kind in (Q.Q8_0, Q.Q4_0, Q.Q4_1):
                file.write(quantize(values[None], kind).tobytes())
    print(len(lines), "exports")


if __name__ == "__main__":
    main()
