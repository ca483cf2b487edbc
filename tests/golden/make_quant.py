#!/usr/bin/env python3
"""Makes tests/golden/quant: what NNCF makes of small matrices, and which layers of small Phi-3 networks
it makes int4.

Made with: Python 3.11.7, nncf 3.4.0, openvino 2026.4.1, optimum 2.3.0, optimum-intel 2.2.0,
           transformers 4.57.1, torch 2.15.0 (CPU), numpy 2.4.6.
Usage:     python make_quant.py [OUTPUT_DIRECTORY]

matrices.bin  Each matrix is the weight of a one-layer OpenVINO network that nncf.compress_weights
              compresses; integers, zero points and float16 scales are read back from the result. Matrices
              of 10000 values and more go through NNCF's OpenVINO code, smaller ones through numpy; the
              script fails unless both give the same for the large ones.
layers.bin    Small random Phi3ForCausalLM checkpoints, exported as optimum-cli does and compressed with
              many option sets; the format of each layer is read back.

All numbers are little-endian; names are padded with NUL.
  matrices.bin: int32 matrices, then for each: char name[24], int32 type (0 f32, 1 f16, 2 bf16), rows,
    columns, cases, float32 sensitivity (NNCF's numpy code), the values; then for each case: int32 bits,
    symmetric, group size, integers (4 bits: two in a byte, low half first), scales (float16), zero
    points (uint8, asymmetric only).
  layers.bin: int32 networks, then for each: char name[24], int32 type, layers, cases; for each layer:
    char name[48], int32 rows, columns, is embedding, is head, the values; for each case: int32 int4
    (else int8), symmetric, group size, backup (1 int8_asym, 2 int8_sym, 3 none), all layers, fallback
    (0 error, 1 ignore, 2 adjust), fails, float64 ratio, and for each layer int8 bits, symmetric, int16
    group size (zeros when it fails).
"""

import os
import re
import struct
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")

import nncf
import numpy as np
import openvino as ov
import torch
import transformers
from nncf import BackupMode, CompressWeightsMode
from nncf.quantization.advanced_parameters import GroupSizeFallbackMode
from nncf.quantization.advanced_parameters import AdvancedCompressionParameters
from nncf.quantization.algorithms.weight_compression.config import WeightCompressionConfig
from nncf.quantization.algorithms.weight_compression.weight_lowering import get_integer_quantization_error
from nncf.tensor import Tensor
from openvino import opset13 as opset
from optimum.exporters.openvino import main_export
from transformers import Phi3Config, Phi3ForCausalLM

F32, F16, BF16 = 0, 1, 2
NUMPY_ONLY = "NNCF_DISABLE_OPTIMIZED_COMPRESSION"
MODES = {
    (4, 1): CompressWeightsMode.INT4_SYM,
    (4, 0): CompressWeightsMode.INT4_ASYM,
    (8, 1): CompressWeightsMode.INT8_SYM,
    (8, 0): CompressWeightsMode.INT8_ASYM,
}
ELEMENTS = {ov.Type.i4: (4, 1), ov.Type.u4: (4, 0), ov.Type.i8: (8, 1), ov.Type.u8: (8, 0)}


# ---- values of the three source types ------------------------------------------------------------


def to_type(values, kind):
    """float32 values that `kind` holds exactly."""
    if kind == F16:
        return values.astype(np.float16).astype(np.float32)
    if kind == BF16:
        return torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    return values


def raw(values, kind):
    if kind == F16:
        return values.astype(np.float16).tobytes()
    if kind == BF16:
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.tobytes()


def constant(values, kind):
    element = {F32: ov.Type.f32, F16: ov.Type.f16, BF16: ov.Type.bf16}[kind]
    made = opset.constant(values, dtype=element)
    assert (made.get_data(dtype=np.float32) == values).all()
    return made


# ---- matrices ------------------------------------------------------------------------------------


def make_matrices():
    rng = np.random.default_rng(20)
    normal = rng.standard_normal((40, 256)) * 0.02
    heavy = rng.standard_t(2, (6, 384)) * 0.02

    special = rng.standard_normal((24, 128)) * 0.05
    special[0] = 0
    special[1] = -np.abs(special[1])
    special[2] = np.abs(special[2])
    special[3] = 0.3
    special[4] = -0.3
    special[5, 0::2], special[5, 1::2] = 0.25, -0.25  # the two ends are equal
    special[6] = -0.0
    special[7, 32:64] = 0
    special[8] *= 1e-38  # denormal as float32 and bfloat16, zero as float16
    special[9] = rng.integers(-3, 4, 128) * 2.0**-24  # denormal as float16
    special[10] *= 1e-6  # scales below the guard
    special[11] = rng.choice([-1, 1], 128) * 2.0**-20  # int4 scales of exactly 2^-23
    special[12] *= 2e-5  # scales that are denormal float16
    special[13, 5] = 40
    special[14, 77] = -40
    special[15] *= 65504 / np.abs(special[15]).max()
    special[16, 0], special[16, 1:] = 1, 0
    special[17, 0], special[17, 1:] = -1, 0
    special[18] = 2 + special[18]  # far from zero: the range is widened to it
    special[19] = -2 + special[19]
    special[20] = np.linspace(-1, 1, 128)
    special[21] = np.linspace(-1, 0.999, 128)
    special[22] = rng.integers(0, 2, 128) * 0.75
    special[23] *= 100

    ties = rng.integers(-16, 17, (16, 128)) / 16  # halves of the int4 step
    ties[:, ::32] = -1
    ties[8:] = -ties[8:]
    ties[4:8] = rng.integers(0, 31, (4, 128)) / 2  # halves of the asymmetric step 1
    ties[4:8, ::32], ties[4:8, 1::32] = 15, 0
    ties[12:] = rng.integers(0, 511, (4, 128)) / 2 - 100
    ties[12:, 0], ties[12:, 1] = 155, -100

    huge = rng.standard_normal((4, 64))
    huge /= np.abs(huge).max(axis=1)[:, None]
    huge *= np.array([65504, 65519, 30000, 1])[:, None] * 8  # scales near the end of float16

    odd = rng.standard_normal((9, 100)) * 0.02
    narrow = rng.standard_normal((5, 7))
    wide = rng.standard_normal((2, 1003)) * 0.02
    for kind in (F32, F16, BF16):
        yield "normal", kind, normal, (128,)
        yield "heavy", kind, heavy, (32, 64, 128, -1)
        yield "special", kind, special, (32, 128, -1)
        yield "ties", kind, ties, (32, 128)
        yield "odd", kind, odd, (-1,)
        yield "narrow", kind, narrow, (7, 1, -1)
        yield "wide", kind, wide, (-1,)
        if kind != F16:
            yield "huge", kind, huge * (1 if kind == F32 else 65280 / 65519), (64,)


def integers(node, bits, count):
    """The low bytes of a Constant's integers."""
    data = node.data.reshape(-1).view(np.uint8)
    if bits == 8:
        return data.copy()
    data = np.stack([data & 15, data >> 4], 1).reshape(-1)[:count]
    if node.get_element_type() == ov.Type.i4:
        data = (data ^ 8) - 8  # wraps to 0xf8 .. 0x07
    return data


def compress(values, kind, bits, symmetric, group):
    """What nncf.compress_weights stores: integers [rows, columns], float16 scales, zero points."""
    rows, columns = values.shape
    parameter = opset.parameter([-1, columns], ov.Type.f32, name="x")
    weight = constant(values, kind)
    weight.set_friendly_name("weight")
    used = weight if kind == F32 else opset.convert(weight, ov.Type.f32)
    model = ov.Model([opset.matmul(parameter, used, False, True)], [parameter])
    options = {} if bits == 8 else {"group_size": group, "all_layers": True, "ratio": 1.0}
    model = nncf.compress_weights(model, mode=MODES[bits, symmetric], **options)
    found = {op.get_friendly_name(): op for op in model.get_ops() if op.get_type_name() == "Constant"}
    q, scale, zero = found["weight"], found["weight/scale"], found.get("weight/zero_point")
    assert scale.get_element_type() == ov.Type.f16 and (zero is None) == bool(symmetric)
    assert ELEMENTS[q.get_element_type()] == (bits, symmetric)
    zero = None if zero is None else integers(zero, bits, scale.data.size)
    return integers(q, bits, values.size), scale.data.reshape(-1).copy(), zero


def sensitivity(values, kind):
    weight = values.astype(np.float16) if kind == F16 else values
    found = []
    for numpy_only in (False, True):
        set_numpy_only(numpy_only)
        found.append(
            get_integer_quantization_error(Tensor(weight), (1,), WeightCompressionConfig(), "max_mean")
        )
    set_numpy_only(False)
    # OpenVINO adds up in an order that depends on the machine.
    assert abs(found[0] - found[1]) <= 1e-6 * abs(found[1]), found
    return found[1]


def set_numpy_only(on):
    if on:
        os.environ[NUMPY_ONLY] = "1"
    else:
        os.environ.pop(NUMPY_ONLY, None)


def write_matrices(path):
    records = []
    for name, kind, values, groups in make_matrices():
        with np.errstate(all="ignore"):
            values = to_type(np.ascontiguousarray(values, np.float32), kind)
        assert np.isfinite(values).all(), name
        rows, columns = values.shape
        cases = [(4, 1, g) for g in groups]
        if name != "huge":
            cases += [(4, 0, g) for g in groups] + [(8, 1, -1), (8, 0, -1)]
        record = struct.pack("<24s4if", name.encode(), kind, rows, columns, len(cases),
                             sensitivity(values, kind)) + raw(values, kind)
        for bits, symmetric, group in cases:
            q, scales, zeros = compress(values, kind, bits, symmetric, group)
            if values.size >= 10000:
                set_numpy_only(True)
                for ours, theirs in zip((q, scales, zeros), compress(values, kind, bits, symmetric, group)):
                    assert (ours is None) == (theirs is None)
                    assert ours is None or (ours == theirs).all(), "OpenVINO and numpy disagree"
                set_numpy_only(False)
            assert np.isfinite(scales).all(), (name, kind)
            flat = q
            if bits == 4:
                flat = np.append(flat & 15, np.zeros(flat.size % 2, np.uint8))
                flat = flat[0::2] | flat[1::2] << 4
            record += struct.pack("<3i", bits, symmetric, group) + flat.tobytes()
            record += scales.tobytes() + (b"" if zeros is None else zeros.tobytes())
        records.append(record)
    with open(path, "wb") as file:
        file.write(struct.pack("<i", len(records)) + b"".join(records))


# ---- layers --------------------------------------------------------------------------------------

NETWORKS = {  # name: source type, tied, hidden, intermediate, layers, group sizes
    "plain": (F16, False, 32, 64, 3, (32,)),
    "tied": (BF16, True, 32, 64, 2, (32, 16)),
    "uneven": (F16, False, 24, 96, 1, (64,)),
    "uneven_tied": (BF16, True, 24, 96, 1, (64, 32)),
}
TORCH_TYPES = {F32: torch.float32, F16: torch.float16, BF16: torch.bfloat16}
BACKUPS = {1: BackupMode.INT8_ASYM, 2: BackupMode.INT8_SYM, 3: BackupMode.NONE}
FALLBACKS = {
    0: GroupSizeFallbackMode.ERROR,
    1: GroupSizeFallbackMode.IGNORE,
    2: GroupSizeFallbackMode.ADJUST,
}


def export(name, directory):
    kind, tied, hidden, intermediate, layers, _ = NETWORKS[name]
    config = Phi3Config(
        vocab_size=40, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        original_max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=tied,
    )
    model = Phi3ForCausalLM(config)
    rng = np.random.default_rng(len(name))
    with torch.no_grad():
        for parameter in model.parameters():
            spread = np.exp(rng.uniform(-1, 1)) * 0.02
            parameter.copy_(torch.from_numpy(rng.standard_normal(tuple(parameter.shape)) * spread))
    model = model.to(TORCH_TYPES[kind])
    source, target = os.path.join(directory, "hf"), os.path.join(directory, "ov")
    model.save_pretrained(source)
    main_export(source, target, task="text-generation-with-past", stateful=True, convert_tokenizer=False)
    weights = {}
    for key, value in model.state_dict().items():
        if value.ndim == 2 and not (tied and key == "lm_head.weight"):
            weights[key.removesuffix(".weight")] = value.float().numpy()
    return os.path.join(target, "openvino_model.xml"), weights


def formats_of(model, weights):
    """bits, symmetric, group size of every layer of a compressed network."""
    found = {}
    for op in model.get_ops():
        match = re.fullmatch(r"self\.(.*)\.(weight|_openvino_orig_weight)", op.get_friendly_name())
        if op.get_type_name() != "Constant" or not match or match[1] not in weights:
            continue
        shape, element = list(op.shape), op.get_element_type()
        bits, symmetric = ELEMENTS.get(element, (0, 0))
        found[match[1]] = (bits, symmetric, shape[2] if len(shape) == 3 else -1)
    assert set(found) == set(weights), (sorted(found), sorted(weights))
    return [found[name] for name in weights]


def layer_cases(groups, uneven):
    for group in groups:
        for ratio in (0.2, 0.5, 0.6, 0.8, 1.0):
            for all_layers in (0, 1):
                for backup in (1, 2, 3):
                    for fallback in (0, 1, 2) if uneven else (0,):
                        if fallback and backup != 1 and ratio != 1:
                            continue
                        symmetric = (backup + all_layers + int(ratio * 10)) % 2
                        yield 1, symmetric, group, backup, all_layers, fallback, ratio
    for symmetric in (0, 1):
        yield 1, symmetric, -1, 1, 0, 0, 0.6
        yield 1, symmetric, -1, 1, 1, 2, 1.0
        yield 0, symmetric, -1, 1, 0, 0, 1.0


def run_case(xml, weights, case):
    int4, symmetric, group, backup, all_layers, fallback, ratio = case
    options = {}
    if int4:
        options = {
            "group_size": group,
            "ratio": ratio,
            "all_layers": bool(all_layers),
            "backup_mode": BACKUPS[backup],
            "advanced_parameters": AdvancedCompressionParameters(group_size_fallback_mode=FALLBACKS[fallback]),
        }
    model = ov.Core().read_model(xml)
    try:
        model = nncf.compress_weights(model, mode=MODES[4 if int4 else 8, symmetric], **options)
    except nncf.InvalidGroupSizeError:
        return 1, [(0, 0, 0)] * len(weights)
    return 0, formats_of(model, weights)


def write_layers(path):
    data = struct.pack("<i", len(NETWORKS))
    for name, (kind, _, _, _, _, groups) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as directory:
            xml, weights = export(name, directory)
            cases = list(layer_cases(groups, name.startswith("uneven")))
            data += struct.pack("<24s3i", name.encode(), kind, len(weights), len(cases))
            for layer, values in weights.items():
                data += struct.pack("<48s4i", layer.encode(), *values.shape,
                                    "embed" in layer, "lm_head" in layer)
                data += raw(np.ascontiguousarray(values), kind)
            for case in cases:
                fails, formats = run_case(xml, weights, case)
                data += struct.pack("<7id", *case[:6], fails, case[6])
                for one in formats:
                    data += struct.pack("<bbh", *one)
    with open(path, "wb") as file:
        file.write(data)


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "quant")
    os.makedirs(out, exist_ok=True)
    versions = nncf.__version__, ov.__version__.split("-")[0], transformers.__version__, np.__version__
    print("nncf %s, openvino %s, transformers %s, numpy %s" % versions)
    nncf.set_log_level(40)
    write_matrices(os.path.join(out, "matrices.bin"))
    write_layers(os.path.join(out, "layers.bin"))


if __name__ == "__main__":
    main()
