#!/usr/bin/env python3
"""Makes tests/golden/gptq: GPTQ and AWQ checkpoints of small members of tests/golden/family, packed by the
tools that publish them, and what transformers computes with their weights.

Made with: Python 3.11.7, gptqmodel 7.7.0, transformers 5.24.0, torch 2.15.0 (CPU), safetensors 0.8.0, numpy
2.4.6; and OLD_PYTHON with auto-gptq 0.7.1, autoawq 0.2.9, transformers 4.51.3.
Usage:     GPTQMODEL_CPU_WORKERS=2 OLD_PYTHON=PATH python make_gptq.py [NAME...]

Each gptq/<name>/ is a checkpoint without a tokenizer, and has:
  tensors.txt  a line for every matrix: its parameter's name, rows, columns, and the FNV-1a sum (64 bits) of
               its weights, dequantized by the definition to float32 [rows, columns]
  ids.npy      int32 [n]
  logits.npy   float32 [n, vocab]: transformers in float32 with those weights, whole, without a cache
The weights are those that the tool itself dequantizes (with its scales widened to float32, since it would
round to float16), and those that the NumPy code below decodes from the files; they must be the same.

int4-sym, awq: AutoGPTQ and AutoAWQ; the others: GPTQModel. awq is a whole run of AutoAWQ; the others are
rounded here and packed by the tool's linear module (GPTQModel 7 splits gate_up_proj when it runs itself).
int4-asym has zero points 0, which the first format of GPTQ stores as -1 with a borrow from the next.
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
import torch
from safetensors.torch import load_file, save, save_file

HERE = Path(__file__).resolve().parent
FAMILY = HERE / "family"
FIXTURES = {  # name: member, layers that are kept, bits, group size, symmetric, format
    "int4-sym": ("head-dim-128", 2, 4, 128, True, "gptq"),
    "int4-asym": ("head-dim-128", 1, 4, 32, False, "gptq"),
    "int4-v2": ("head-dim-128", 1, 4, 32, False, "gptq_v2"),
    "int4-desc-act": ("phi4-mini", 1, 4, 32, False, "gptq"),
    "int8": ("head-dim-128", 2, 8, -1, True, "gptq"),
    "awq": ("phi3-medium-4k", 1, 4, 32, False, "gemm"),
}
# What GPTQModel's `dynamic` says of single modules: False, or what differs.
DYNAMIC = {
    "int8": {
        "-:model.layers.0.self_attn.o_proj": {},
        "+:model.layers.1.*": {"group_size": 32, "sym": False},
        "+:lm_head": {"bits": 4, "group_size": 32},
    },
}
MATRICES = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


def settings(fixture, module):
    """Bits, group size and symmetric of a module; None: it holds floats."""
    if module == "lm_head" and fixture != "int8" or module != "lm_head" and module.split(".")[-1] not in MATRICES:
        return None
    _, _, bits, group_size, symmetric, _ = FIXTURES[fixture]
    given = {"bits": bits, "group_size": group_size, "sym": symmetric}
    for pattern, changes in DYNAMIC.get(fixture, {}).items():
        if re.match(pattern[2:], module):
            if pattern[0] == "-":
                return None
            given |= changes
    return given["bits"], given["group_size"], given["sym"]


def layer_of(name):
    return int(name.split(".")[2]) if name.startswith("model.layers.") else 0


# ---- packing ----------------------------------------------------------------------------------


def round_to_nearest(weight, bits, groups, index, symmetric):
    """Scales and zero points [rows, groups], and the weights that their integers stand for."""
    most = 2**bits - 1
    scales = torch.zeros(weight.shape[0], groups)
    zeros = torch.zeros(weight.shape[0], groups)
    rounded = torch.zeros_like(weight)
    for g in range(groups):
        columns = index == g
        low = weight[:, columns].min(1).values.clamp(max=0)
        high = weight[:, columns].max(1).values.clamp(min=0)
        if symmetric:
            high = torch.maximum(-low, high)
            low = -high
        if not symmetric and g == 0:
            low[::5] = 0  # the values below are cut off; the zero point is 0
        scale = ((high - low) / most).half().float()
        zero = torch.round(-low / scale) if not symmetric else torch.full_like(scale, (most + 1) / 2)
        q = torch.clamp(torch.round(weight[:, columns] / scale[:, None]) + zero[:, None], 0, most)
        scales[:, g], zeros[:, g] = scale, zero
        rounded[:, columns] = (q - zero[:, None]) * scale[:, None]
    return scales, zeros, rounded


def linear_of(weight):
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data = weight
    return linear


def pack_gptqmodel(setting, form, weight, index):
    from gptqmodel import QuantizeConfig
    from gptqmodel.nn_modules.qlinear import PackableQuantLinear
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module, convert_gptq_v2_to_v1_format_module

    bits, group_size, symmetric = setting
    rows, columns = weight.shape
    module = TorchLinear(bits=bits, group_size=group_size, sym=symmetric, desc_act=False, in_features=columns,
                         out_features=rows, bias=False, pack_dtype=torch.int32, register_buffers=True)
    scales, zeros, rounded = round_to_nearest(weight, bits, int(index.max()) + 1, index, symmetric)
    module.pack_original(linear=linear_of(rounded), scales=scales, zeros=zeros, g_idx=index)
    if form == "gptq":
        convert_gptq_v2_to_v1_format_module(module, QuantizeConfig(bits=bits))
    stored = {key: getattr(module, key).clone().contiguous() for key in ("qweight", "qzeros", "scales", "g_idx")}
    if form == "gptq":
        convert_gptq_v1_to_v2_format_module(module, bits, torch.int32)
    module.scales = module.scales.float()
    dequantized = PackableQuantLinear.dequantize_weight(module).T.contiguous()
    assert torch.equal(dequantized, rounded)
    return stored, dequantized


def pack_autogptq(setting, form, weight, index):
    from auto_gptq.nn_modules.qlinear.qlinear_cuda_old import QuantLinear

    bits, group_size, symmetric = setting
    rows, columns = weight.shape
    module = QuantLinear(bits, min(group_size, columns), columns, rows, True)
    scales, zeros, rounded = round_to_nearest(weight, bits, int(index.max()) + 1, index, symmetric)
    linear = linear_of(rounded)
    module.pack(linear, scales, zeros, index)
    module.scales = module.scales.half()
    stored = {key: tensor.clone().contiguous() for key, tensor in module.state_dict().items()}
    module.scales, module.bias = module.scales.float(), module.bias.float()
    dequantized = module(torch.eye(columns)).T.contiguous()
    assert torch.equal(dequantized, rounded) and stored["bias"].dtype == torch.float16
    return stored, dequantized


def index_of(fixture, setting, columns, module):
    group_size = setting[1] if setting[1] > 0 else columns
    index = torch.arange(columns, dtype=torch.int32) // group_size
    if fixture != "int4-desc-act":
        return index
    order = np.random.default_rng(len(module)).permutation(columns)
    return index[torch.from_numpy(np.argsort(order))].contiguous()


def config_of(fixture):
    _, _, bits, group_size, symmetric, form = FIXTURES[fixture]
    if fixture == "int4-sym":
        from auto_gptq import BaseQuantizeConfig

        return BaseQuantizeConfig(bits=bits, group_size=group_size, sym=symmetric, desc_act=False).to_dict()
    from gptqmodel import QuantizeConfig

    config = QuantizeConfig(bits=bits, group_size=group_size, sym=symmetric, format=form,
                            desc_act=fixture == "int4-desc-act", lm_head=fixture == "int8",
                            dynamic=DYNAMIC.get(fixture)).to_dict()
    config.pop("meta")
    return config


def pack(fixture, out, scratch):
    """A checkpoint, and beside it the weights that the tool dequantizes."""
    member, layers, _, _, _, form = FIXTURES[fixture]
    tensors, weights = {}, {}
    for name, tensor in load_file(FAMILY / member / "model.safetensors").items():
        module = name.removesuffix(".weight")
        setting = settings(fixture, module)
        if layer_of(name) >= layers:
            continue
        if not setting:
            tensors[name] = tensor.half() if fixture == "int4-sym" else tensor
            weights[name] = tensors[name].float()
            continue
        tool = pack_autogptq if fixture == "int4-sym" else pack_gptqmodel
        index = index_of(fixture, setting, tensor.shape[1], module)
        parts, weights[name] = tool(setting, form, tensor.float(), index)
        tensors |= {f"{module}.{part}": value for part, value in parts.items()}
    save_file(weights, scratch)
    config = json.loads((FAMILY / member / "config.json").read_text()) | {"num_hidden_layers": layers}
    quantization = config_of(fixture)
    if fixture == "int4-sym":  # as it was before there was quantization_config
        (out / "quantize_config.json").write_text(json.dumps(quantization, indent=2) + "\n")
        save_file(tensors, out / "gptq_model-4bit-128g.safetensors", metadata={"format": "pt"})
    elif fixture == "int4-v2":  # parts of a matrix in two files
        config["quantization_config"] = quantization
        save_shards(tensors, out)
    else:
        config["quantization_config"] = quantization
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def save_shards(tensors, out):
    names = [f"model-{i + 1:05}-of-00002.safetensors" for i in range(2)]
    place = {name: names[name.endswith((".scales", "norm.weight"))] for name in tensors}
    for file in names:
        save_file({n: t for n, t in tensors.items() if place[n] == file}, out / file, metadata={"format": "pt"})
    size = sum(t.nbytes for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(place.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def run_autoawq(fixture, out, scratch):
    """The whole tool, with random ids to calibrate on."""
    from awq import AutoAWQForCausalLM
    from awq.utils.packing_utils import dequantize_gemm
    from transformers import AutoTokenizer

    member, layers, bits, group_size, _, _ = FIXTURES[fixture]
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "model"
        shutil.copytree(FAMILY / member, source)
        config = json.loads((source / "config.json").read_text()) | {"num_hidden_layers": layers}
        config.pop("auto_map", None)
        (source / "config.json").write_text(json.dumps(config))
        (source / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        (source / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
        torch.manual_seed(1)
        model = AutoAWQForCausalLM.from_pretrained(str(source), device_map="cpu", torch_dtype=torch.float16,
                                                   safetensors=True)
        rng = np.random.default_rng(1)
        model.quantize(AutoTokenizer.from_pretrained(source), calib_data=[rng.integers(0, 120, 64).tolist() for _ in range(16)],
                       quant_config={"zero_point": True, "q_group_size": group_size, "w_bit": bits, "version": "GEMM"},
                       max_calib_samples=16, max_calib_seq_len=64)
        model.save_quantized(str(out), safetensors=True)
    tensors, weights = load_file(out / "model.safetensors"), {}
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            weights[name] = tensor.float()
        elif name.endswith(".qweight"):
            module = name.removesuffix(".qweight")
            size = tensor.shape[0] // tensors[module + ".scales"].shape[0]
            weights[module + ".weight"] = dequantize_gemm(tensor, tensors[module + ".qzeros"], tensors[module + ".scales"].float(),
                                                          bits, size).T.contiguous()
    save_file(weights, scratch)


TOKENIZER = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}


# ---- the definition ---------------------------------------------------------------------------


def fields(words, bits):
    """[..., n] int32 -> [..., n, 32 / bits], the lowest bits first."""
    words = words.view(np.uint32)[..., None]
    return (words >> np.arange(0, 32, bits, dtype=np.uint32) & np.uint32(2**bits - 1)).astype(np.int64)


def decode(form, bits, parts):
    """The weights of a matrix [rows, columns] from its tensors."""
    scales = parts["scales"].astype(np.float32)
    if form == "gemm":
        order = [0, 4, 1, 5, 2, 6, 3, 7]  # where the values of eight rows are
        q = fields(parts["qweight"], 4)[..., order].reshape(parts["qweight"].shape[0], -1)
        zeros = fields(parts["qzeros"], 4)[..., order].reshape(scales.shape)
        index = np.arange(len(q)) // (len(q) // len(scales))
    else:
        q = fields(parts["qweight"], bits)
        q = q.transpose(0, 2, 1).reshape(-1, q.shape[1])
        words = parts["qzeros"].view(np.uint32)
        if form == "gptq":
            words = words + np.uint32(0x11111111 if bits == 4 else 0x01010101)
        zeros = fields(words.view(np.int32), bits).reshape(scales.shape)
        index = parts["g_idx"]
    return ((q - zeros[index]).astype(np.float32) * scales[index]).T.copy()


def decode_all(fixture, directory):
    stored = {}
    for file in sorted(directory.glob("*.safetensors")):
        stored |= load_file(file)
    weights = {}
    for name, tensor in stored.items():
        module, part = name.rsplit(".", 1)
        if part == "weight":
            weights[name] = tensor.float().numpy()
        elif part == "qweight":
            weights[module + ".weight"] = decode(FIXTURES[fixture][5], settings(fixture, module)[0], {
                p: stored[f"{module}.{p}"].numpy() for p in ("qweight", "qzeros", "scales", "g_idx") if f"{module}.{p}" in stored})
    return weights


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


# ---- all --------------------------------------------------------------------------------------


def finish(fixture, out, scratch):
    sys.path.insert(0, str(HERE))
    from make_family import forward, load

    member = FAMILY / FIXTURES[fixture][0]
    weights, tool = decode_all(fixture, out), load_file(scratch)
    assert weights.keys() == tool.keys()
    for name in weights:
        assert np.array_equal(weights[name], tool[name].numpy()), name
    ids = np.load(member / "ids.npy")
    assert np.abs(forward(load(str(member)), ids) - np.load(member / "logits.npy")).max() < 1e-4
    model = load(str(member), num_hidden_layers=FIXTURES[fixture][1])
    ids = ids[:24]
    original = forward(model, ids)
    state = model.state_dict()
    for name, weight in weights.items():
        state[name].copy_(torch.from_numpy(weight))
    logits = forward(model, ids)
    tied = model.config.tie_word_embeddings
    matrices = [n for n in weights if weights[n].ndim == 2 and not (tied and n == "lm_head.weight")]
    (out / "tensors.txt").write_text("".join(
        f"{name} {weights[name].shape[0]} {weights[name].shape[1]} {fnv(weights[name].tobytes()):016x}\n" for name in matrices))
    np.save(out / "ids.npy", ids.astype(np.int32))
    np.save(out / "logits.npy", logits.astype(np.float32))
    size = sum(f.stat().st_size for f in out.iterdir())
    print(f"{fixture}: {len(matrices)} matrices, {size} bytes, logits up to {np.abs(logits).max():.1f}, "
          f"{np.abs(logits - original).max():.2f} from those of the floats", flush=True)


def seed(name):
    """A checkpoint of one layer with random words, as fuzz_huggingface.c reads it: a byte that says which of
    its names, the length, the file."""
    method, bits, form, group_size = SEEDS[name]
    rng, size = np.random.default_rng(len(name)), 32
    config = {"model_type": "phi3", "vocab_size": size, "hidden_size": size, "intermediate_size": size,
              "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}
    quantization = {"quant_method": method, "bits": bits, "group_size": group_size, "version" if method == "awq" else "checkpoint_format": form}
    if name != "beside":
        config["quantization_config"] = quantization
    layer = {"self_attn.qkv_proj": 3 * size, "self_attn.o_proj": size, "mlp.gate_up_proj": 2 * size, "mlp.down_proj": size}
    tensors = {f"{n}.weight": torch.ones(size, dtype=torch.float16)
               for n in ("model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm")}
    for module in ("model.embed_tokens", "lm_head"):
        tensors[module + ".weight"] = torch.from_numpy(rng.standard_normal((size, size)).astype(np.float16))
    for module, rows in layer.items():
        shape = (size, rows // 8) if method == "awq" else (size * bits // 32, rows)
        index = torch.arange(size, dtype=torch.int32) // group_size
        parts = {"qweight": torch.from_numpy(rng.integers(-2**31, 2**31, shape, np.int32)),
                 "qzeros": torch.from_numpy(rng.integers(-2**31, 2**31, (size // group_size, rows * bits // 32), np.int32)),
                 "scales": torch.from_numpy(rng.standard_normal((size // group_size, rows)).astype(np.float16))}
        if method == "gptq":
            parts |= {"g_idx": index.flip(0) if name == "order" else index, "bias": torch.zeros(rows, dtype=torch.float16)}
        tensors |= {f"model.layers.0.{module}.{part}": value.contiguous() for part, value in parts.items()}
    files = {0: json.dumps(config).encode(), 2: save(tensors)}
    if name == "beside":
        files[10] = json.dumps(quantization).encode()
    out = b"".join(bytes([i]) + len(data).to_bytes(3, "little") + data for i, data in files.items())
    (HERE.parent / "fuzz" / "corpus" / "huggingface" / ("gptq-" + name)).write_bytes(out)


SEEDS = {  # name: method, bits, format, group size
    "beside": ("gptq", 4, "gptq", 16),
    "order": ("gptq", 4, "gptq_v2", 16),
    "int8": ("gptq", 8, "gptq", 32),
    "awq": ("awq", 4, "gemm", 16),
}


def main():
    if sys.argv[1:2] == ["--tool"]:
        fixture, out, scratch = sys.argv[2], Path(sys.argv[3]), sys.argv[4]
        (run_autoawq if fixture == "awq" else pack)(fixture, out, scratch)
        return
    for fixture in sys.argv[1:] or FIXTURES:
        out = HERE / "gptq" / fixture
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        python = os.environ["OLD_PYTHON"] if fixture in ("int4-sym", "awq") else sys.executable
        with tempfile.TemporaryDirectory() as directory:
            scratch = directory + "/weights.safetensors"
            done = subprocess.run([python, __file__, "--tool", fixture, out, scratch], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            finish(fixture, out, scratch)
    for name in SEEDS:
        seed(name)


if __name__ == "__main__":
    main()
