#!/usr/bin/env python3
"""Makes tests/golden/openvino: OpenVINO IR directories as optimum-cli writes them, of small checkpoints of
tests/golden/family, and what transformers computes with their weights.

Made with: Python 3.11.7, optimum-intel 2.2.0, nncf 3.4.0, openvino 2026.4.1, transformers 5.5.4, torch
2.15.0 (CPU), numpy 2.4.6.
Usage:     python make_openvino.py [OUTPUT_DIRECTORY]

Each openvino/<name>/ has openvino_model.xml and .bin, config.json and generation_config.json, and:
  tensors.txt  a line for every matrix: its parameter's name, rows, columns, and the FNV-1a sum (64 bits) of
               its weights, dequantized by the definition to float32 [rows, columns]
  ids.npy      int32 [n]
  logits.npy   float32 [n, vocab]: transformers in float32 with those weights, whole, without a cache
"old" is made from an export by hand, as exports of 2024 were: symmetric int4 as u4 with one zero point of 8,
scales of float32. The script decodes the constants by itself and checks that OpenVINO's CPU plugin, which
reads the graph in its own way, gives the same logits; it fails where they differ by more than 1e-3. An export
to fp16 also rounds the rotary frequencies, so that OpenVINO differs by some hundredths there.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from transformers import AutoConfig, Phi3ForCausalLM

HERE = Path(__file__).resolve().parent
FAMILY = HERE / "family"
EXPORTS = {
    "int4-ratio": ("phi4-mini", "int4 --group-size 32 --ratio 0.6 --sym"),
    "int4-asym-all": ("phi4-mini", "int4 --group-size 32 --all-layers"),
    "int4-channel": ("phi35-mini", "int4 --group-size -1 --sym --backup-precision int8_sym"),
    "int8": ("phi3-medium-4k", "int8"),
    "fp16": ("phi3-mini-128k", "fp16"),
}
EXACT = {"KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "INFERENCE_PRECISION_HINT": "f32"}


def export(member, words, out):
    tool = Path(sys.executable).with_name("optimum-cli")
    command = [tool, "export", "openvino", "--model", member, "--task", "text-generation-with-past"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run([*command, "--weight-format", *words.split(), out], check=True, env=environment,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


# ---- constants, by the definition -------------------------------------------------------------


def read_constants(directory):
    """Name -> (type, shape, bytes) of every constant that has to do with a weight."""
    text = (directory / "openvino_model.xml").read_text()
    data = (directory / "openvino_model.bin").read_bytes()
    pattern = (
        r'<layer [^>]*name="self\.([a-z_.0-9]+?)\.(?:_openvino_orig_)?weight([^"]*)" type="Const"[^>]*>\s*'
        r'<data element_type="(\w+)" shape="([^"]*)" offset="(\d+)" size="(\d+)"'
    )
    found = {}
    for name, part, kind, shape, offset, size in re.findall(pattern, text):
        dims = [int(x) for x in shape.split(", ")] if shape else []
        found[name + part.replace("_compressed", "")] = (kind, dims, data[int(offset) : int(offset) + int(size)])
    return found


def values(constant):
    kind, dims, data = constant
    raw = np.frombuffer(data, np.uint8)
    if kind in ("i4", "u4"):
        pairs = np.stack([raw & 15, raw >> 4], 1).reshape(-1)[: int(np.prod(dims))].astype(np.int32)
        out = np.where(pairs >= 8, pairs - 16, pairs) if kind == "i4" else pairs
    elif kind == "bf16":
        out = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        out = np.frombuffer(data, {"i8": np.int8, "u8": np.uint8, "f16": np.float16, "f32": np.float32}[kind])
    return out.astype(np.float32).reshape(dims)


def dequantize(constants, name):
    weight = values(constants[name])
    if name + "/zero_point" in constants:
        weight = weight - values(constants[name + "/zero_point"])
    if name + "/scale" in constants:
        weight = weight * values(constants[name + "/scale"])
    return np.ascontiguousarray(weight.reshape(weight.shape[0], -1))


def fnv(data):
    total = 0xCBF29CE484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return total


# ---- logits -----------------------------------------------------------------------------------


def transformers_logits(member, weights, ids):
    config = AutoConfig.from_pretrained(member, trust_remote_code=False)
    config._attn_implementation = "eager"
    model = Phi3ForCausalLM.from_pretrained(member, config=config, dtype=torch.float32).eval()
    state = model.state_dict()
    for name, weight in weights.items():
        key = name + ".weight"
        assert state[key].shape == weight.shape, (key, state[key].shape, weight.shape)
        state[key].copy_(torch.from_numpy(weight))
    with torch.no_grad():
        return model(torch.from_numpy(ids.astype(np.int64))[None], use_cache=False).logits[0].numpy()


def openvino_logits(directory, ids):
    request = ov.Core().compile_model(directory / "openvino_model.xml", "CPU", EXACT).create_infer_request()
    count = len(ids)
    request.infer({
        "input_ids": ids.astype(np.int64)[None],
        "attention_mask": np.ones((1, count), np.int64),
        "position_ids": np.arange(count)[None],
        "beam_idx": np.zeros(1, np.int32),
    })
    return request.get_tensor("logits").data[0]


# ---- an older export --------------------------------------------------------------------------


def make_old(directory, out):
    """i4 [-> Convert f16 -> Multiply f16 ... -> Convert f32] becomes u4 -> Convert -> Subtract(8) -> Multiply,
    all of it in float32."""
    model = ov.Core().read_model(directory / "openvino_model.xml")
    constants = read_constants(directory)
    for node in model.get_ordered_ops():
        match = re.fullmatch(r"self\.(.*)\.(?:_openvino_orig_)?weight", node.get_friendly_name())
        if not match or node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.i4:
            continue
        name = match[1]
        kind, dims, data = constants[name]
        unsigned = np.frombuffer(data, np.uint8) ^ 0x88
        tensor = ov.Tensor(unsigned, ov.Shape(dims), ov.Type.u4)
        source = ops.constant(tensor, shared_memory=False)
        source.set_friendly_name(f"self.{name}.weight")
        zero = ops.constant(ov.Tensor(np.array([0x08], np.uint8), ov.Shape([1] * len(dims)), ov.Type.u4), shared_memory=False)
        zero.set_friendly_name(f"self.{name}.weight/zero_point")
        shifted = ops.subtract(ops.convert(source, "f32"), ops.convert(zero, "f32"))
        scale = ops.constant(values(constants[name + "/scale"]))
        scale.set_friendly_name(f"self.{name}.weight/scale")
        scaled = ops.multiply(shifted, scale)
        last = node.output(0)
        while True:  # to the Convert to float32 that feeds the product
            user = next(iter(last.get_target_inputs())).get_node()
            if user.get_type_name() == "Reshape":
                scaled = ops.reshape(scaled, np.array([dims[0], -1], np.int64), False)
            last = user.output(0)
            if user.get_type_name() == "Convert" and last.get_element_type() == ov.Type.f32:
                break
        for target in last.get_target_inputs():
            target.replace_source_output(scaled.output(0))
    model.validate_nodes_and_infer_types()
    out.mkdir(parents=True)
    ov.save_model(model, out / "openvino_model.xml", compress_to_fp16=False)


# ---- all --------------------------------------------------------------------------------------


def finish(member, directory, ids):
    constants = read_constants(directory)
    names = [name for name in constants if "/" not in name and "norm" not in name]
    weights = {name: dequantize(constants, name) for name in names}
    lines = [f"{name}.weight {w.shape[0]} {w.shape[1]} {fnv(w.tobytes()):016x}\n" for name, w in weights.items()]
    (directory / "tensors.txt").write_text("".join(lines))
    logits = transformers_logits(member, weights, ids)
    np.save(directory / "ids.npy", ids.astype(np.int32))
    np.save(directory / "logits.npy", logits.astype(np.float32))
    for file in ("config.json", "generation_config.json"):
        shutil.copy(member / file, directory / file)
    difference = np.abs(openvino_logits(directory, ids) - logits).max()
    print(f"{directory.name}: {len(weights)} matrices, OpenVINO differs by {difference:.1e} of {np.abs(logits).max():.1f}")
    assert difference < (0.1 if directory.name == "fp16" else 1e-3)


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "openvino")
    shutil.rmtree(out, ignore_errors=True)
    for name, (member, words) in EXPORTS.items():
        export(FAMILY / member, words, out / name)
        for file in (out / name).iterdir():
            if file.name not in ("openvino_model.xml", "openvino_model.bin"):
                file.unlink()
        finish(FAMILY / member, out / name, np.load(FAMILY / member / "ids.npy"))
    scratch = out / "scratch"
    export(FAMILY / "phi4", "int4 --group-size 32 --sym", scratch)
    make_old(scratch, out / "old")
    shutil.rmtree(scratch)
    finish(FAMILY / "phi4", out / "old", np.load(FAMILY / "phi4" / "ids.npy"))


if __name__ == "__main__":
    main()
