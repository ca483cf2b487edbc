#!/usr/bin/env python3
"""Makes tests/golden/openvino: small members of tests/golden/family as OpenVINO IR directories, exported
by the real optimum-cli, and what they hold and compute.

Made with: Python 3.11.7, openvino 2026.4.1, optimum 2.3.0, optimum-intel 2.2.0, nncf 3.4.0,
transformers 5.5.4, torch 2.15.0 (CPU), numpy 2.4.6.
Usage:     python make_openvino.py [OUTPUT_DIRECTORY] [NAME...]

Each directory openvino/<name>/ has openvino_model.xml and .bin, config.json and generation_config.json as
exported, and:
  ids.npy      int32   [n]         a sequence
  logits.npy   float32 [n, vocab]  one forward of transformers over it, float32, attention "eager", with
                                   the weights exactly as the .bin dequantizes
  tensors.txt  a line for each weight: its name in transformers; bits (0: floats); 1 when the zero point
               is in the middle; columns in a group; 1 when scales are float16; CRC-32 of the values as
               uint8 (signed ones + 8 or + 128), of the scales as float32 and of the zero points as uint8;
               of floats the CRC-32 of the values as float32, 0 and 0
Weights are found here by their names in the XML, and decoded by numpy.

Members are cut to few layers and VOCAB tokens, and their XML files lose what no reader needs: white space,
dimensions of ports, names of layers that hold no weights and of inner tensors, rt_info.
Those named "by-hand" are what older versions of the tools, and other tools, are known to write.

The script fails when OpenVINO's CPU plugin in float32 (on the very files that are stored) differs from the
logits by more than 1e-3 (5e-3 with fp16, which rounds rotary frequencies), and prints how far it is off,
also when it decodes token by token. There it keeps rotated keys: with longrope they stay as the factors at
their time made them, so that the positions behind original_max_position_embeddings differ by design.
"""

import json
import os
import re
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import openvino as ov
import torch
import transformers
from openvino import opset13 as ops
from optimum.commands.optimum_cli import main as optimum_cli
from safetensors.torch import load_file, save_file
from transformers import Phi3Config, Phi3ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
FAMILY = os.path.join(HERE, "family")

INT4 = ["--weight-format", "int4", "--group-size", "32", "--group-size-fallback", "adjust"]

VOCAB, TOKENS = 64, 20  # 36 tokens with longrope

# name -> (member, layers kept, arguments of optimum-cli, change by hand)
FIXTURES = {
    "int4-sym": ("phi3-medium-4k", 1, INT4 + ["--sym", "--ratio", "0.6"], None),
    "int4-asym": ("f32", 2, INT4, None),
    "int4-channel": ("f32", 1, ["--weight-format", "int4", "--group-size", "-1", "--sym"], None),
    "int4-awq": ("f32", 1, ["--weight-format", "int4", "--group-size", "8", "--awq"], None),
    "int4-tied": ("phi4-mini", 1, INT4 + ["--all-layers"], None),
    "int8-asym": ("f32", 1, ["--weight-format", "int8"], None),
    "int8-sym": ("f32", 1, ["--weight-format", "int8", "--sym"], None),
    "fp16": ("f16", 1, ["--weight-format", "fp16"], None),
    "by-hand-integers": ("f32", 1, INT4 + ["--sym"], "integers"),
    "by-hand-columns": ("f32", 1, ["--weight-format", "fp32"], "columns"),
}


# ---- exporting ------------------------------------------------------------------------------------


def edit_json(path, **changes):
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    content.update(changes)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)


def cut(member, layers, directory):
    """A member with its first layers and tokens only."""
    shutil.copytree(os.path.join(FAMILY, member), directory)
    ends = {"bos_token_id": 1, "eos_token_id": VOCAB - 1, "pad_token_id": VOCAB - 1}
    edit_json(os.path.join(directory, "config.json"), num_hidden_layers=layers, vocab_size=VOCAB, **ends)
    edit_json(os.path.join(directory, "generation_config.json"), **ends)
    path = os.path.join(directory, "model.safetensors")
    kept = {}
    for name, value in load_file(path).items():
        parts = name.split(".")
        if parts[1] == "layers" and int(parts[2]) >= layers:
            continue
        kept[name] = value[:VOCAB].clone() if "embed_tokens" in name or "lm_head" in name else value
    save_file(kept, path, {"format": "pt"})


def export(member, layers, arguments, directory):
    with tempfile.TemporaryDirectory() as work:
        source = os.path.join(work, "source")
        cut(member, layers, source)
        sys.argv = ["optimum-cli", "export", "openvino", "--model", source, "--task",
                    "text-generation-with-past", *arguments, directory]
        optimum_cli()
    keep = {"openvino_model.xml", "openvino_model.bin", "config.json", "generation_config.json"}
    for file in os.listdir(directory):
        if file not in keep:
            os.remove(os.path.join(directory, file))


def shorten(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r">\s+<", "><", text)
    text = re.sub(r"<rt_info>.*?</rt_info>", "", text.split("</edges>")[0]) + "</edges></net>\n"
    names = r'names="(?:input_ids|attention_mask|position_ids|beam_idx|[^"]*\blogits\b[^"]*)"'
    text = re.sub(r" (?!" + names + r')names="[^"]*"', "", text)
    text = re.sub(r"<dim>-?\d+</dim>", "", text).replace("></port>", " />")
    text = re.sub(r'<layer id="(\d+)" name="(?![^"]*(?:self\.|awq_mul/scale|input_ids|attention_mask|position_ids|'
                  r'beam_idx))[^"]*"', r'<layer id="\1" name="\1"', text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# ---- by hand --------------------------------------------------------------------------------------


def weight_chains(model):
    """(data constant, Multiply) of every compressed weight."""
    for op in list(model.get_ordered_ops()):
        if op.get_type_name() != "Multiply" or "fq_weights" not in op.get_friendly_name():
            continue
        data = op.input_value(0).get_node()
        while data.get_type_name() != "Constant":
            data = data.input_value(0).get_node()
        yield data, op


def replace(multiply, name, data, zeros, scales):
    value = ops.convert(data, "f32" if scales.dtype == np.float32 else "f16")
    kind = value.get_element_type()
    if zeros is not None:
        value = ops.subtract(value, ops.convert(zeros, kind) if zeros.get_element_type() != kind else zeros)
    scale = ops.constant(scales)
    scale.set_friendly_name(name + "/scale")
    data.set_friendly_name(name)
    if zeros is not None:
        zeros.set_friendly_name(name + "/zero_point")
    value = ops.multiply(value, scale)
    value.set_friendly_name(name + "/fq_weights_1")
    if kind == ov.Type.f32:
        value = ops.convert(value, "f32")
    for target in list(multiply.output(0).get_target_inputs()):
        target.replace_source_output(value.output(0))


def packed(values, kind):
    """Integers as a constant."""
    if kind in (ov.Type.u8, ov.Type.i8):
        return ops.constant(values.astype(np.uint8 if kind == ov.Type.u8 else np.int8))
    flat = (values & 15).astype(np.uint8).reshape(-1)
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    tensor = ov.Tensor(kind, ov.Shape(list(values.shape)))
    tensor.data.reshape(-1)[:] = (flat[0::2] | flat[1::2] << 4).view(tensor.data.dtype)
    return ops.constant(tensor, shared_memory=False)


def float_products(model):
    """(constant, MatMul) of float32 weights."""
    for op in list(model.get_ordered_ops()):
        if op.get_type_name() == "MatMul" and "self." in op.input_value(1).get_node().get_friendly_name():
            yield op.input_value(1).get_node(), op


def change_columns(model, held):
    """Every second product has its weights as [columns, rows], by turns float32 and bfloat16."""
    for index, (constant, product) in enumerate(float_products(model)):
        name = constant.get_friendly_name()
        if index % 2:
            continue
        values = np.ascontiguousarray(held[name].T)
        data = ops.constant(values, dtype=ov.Type.bf16 if index % 4 else ov.Type.f32)
        data.set_friendly_name(name + "/columns")
        weight = ops.convert(data, "f32") if index % 4 else data
        new = ops.matmul(product.input_value(0), weight, False, False)
        for target in list(product.output(0).get_target_inputs()):
            target.replace_source_output(new.output(0))


def change_integers(model, held):
    """int4: by turns unsigned with the one zero point 8, as NNCF wrote symmetric weights in 2024, and signed
    with zero points and scales that float16 does not hold. int8: by turns float zero points, and signed."""
    rng = np.random.default_rng(5)
    for index, (constant, multiply) in enumerate(weight_chains(model)):
        name, scales = constant.get_friendly_name(), held[constant.get_friendly_name() + "/scale"]
        values, four = held[name], constant.get_element_type() == ov.Type.i4
        fine = scales.astype(np.float32) * rng.uniform(0.99, 1.01, scales.shape).astype(np.float32)
        if four and index % 2:
            replace(multiply, name, packed(values + 8, ov.Type.u4), packed(np.array([8]), ov.Type.u4),
                    scales.astype(np.float16))
        elif four:
            replace(multiply, name, packed(values, ov.Type.i4), packed(rng.integers(-3, 4, scales.shape), ov.Type.i4),
                    fine)
        elif index % 2:
            zeros = held[name + "/zero_point"] - 128
            replace(multiply, name, packed(values - 128, ov.Type.i8), packed(zeros, ov.Type.i8), fine)
        else:
            zeros = ops.constant(held[name + "/zero_point"].astype(np.float32))
            replace(multiply, name, packed(values, ov.Type.u8), zeros, fine)


def change(directory, how):
    held = read_constants(directory)
    model = ov.Core().read_model(os.path.join(directory, "openvino_model.xml"))
    {"columns": change_columns, "integers": change_integers}[how](model, held)
    model.validate_nodes_and_infer_types()
    with tempfile.TemporaryDirectory() as work:
        ov.save_model(model, os.path.join(work, "openvino_model.xml"), compress_to_fp16=False)
        for file in os.listdir(work):
            shutil.copy(os.path.join(work, file), os.path.join(directory, file))


# ---- reading, by names ----------------------------------------------------------------------------


def constants(directory):
    """name -> attributes of all constants."""
    root = ElementTree.parse(os.path.join(directory, "openvino_model.xml")).getroot()
    return {layer.get("name"): layer.find("data").attrib
            for layer in root.find("layers") if layer.get("type") == "Const"}


def decode(raw, element, shape):
    count = int(np.prod(shape, dtype=np.int64))
    if element in ("i4", "u4"):
        pairs = np.frombuffer(raw, np.uint8)
        values = np.stack([pairs & 15, pairs >> 4], -1).reshape(-1)[:count].astype(np.int64)
        if element == "i4":
            values = (values ^ 8) - 8
    elif element == "bf16":
        values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        kinds = {"i8": np.int8, "u8": np.uint8, "f16": np.float16, "f32": np.float32}
        values = np.frombuffer(raw, kinds[element]).copy()
        if element in ("i8", "u8"):
            values = values.astype(np.int64)
    return values.reshape(shape)


def read_constants(directory):
    attributes = constants(directory)
    with open(os.path.join(directory, "openvino_model.bin"), "rb") as file:
        data = file.read()
    out = {}
    for name, at in attributes.items():
        if at["element_type"] not in ("i4", "u4", "i8", "u8", "f16", "f32", "bf16"):
            continue
        shape = [int(part) for part in at["shape"].split(",")] if at["shape"] else []
        begin = int(at["offset"])
        out[name] = decode(data[begin:begin + int(at["size"])], at["element_type"], shape)
    return out


def crc(values, kind):
    return f"{zlib.crc32(np.ascontiguousarray(values.astype(kind)).tobytes()):08x}"


def read_weights(directory):
    """The state of transformers, and the lines of tensors.txt."""
    held, attributes = read_constants(directory), constants(directory)
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    matrices = ["model.embed_tokens"]
    for layer in range(config["num_hidden_layers"]):
        matrices += [f"model.layers.{layer}.{part}" for part in (
            "self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")]
    if not config["tie_word_embeddings"]:
        matrices.append("lm_head")
    state, lines = {}, []
    for matrix in matrices:
        key = next(name for name in held
                   if re.fullmatch(rf"self\.{re.escape(matrix)}\.(_openvino_orig_weight|weight)(_compressed)?"
                                   r"(/columns)?", name))
        values = held[key]
        if key.endswith("/columns"):
            values = values.T
        scales = held.get(key + "/scale")
        if scales is None:
            weight = values.astype(np.float32)
            lines.append(f"{matrix}.weight 0 0 0 0 {crc(weight, '<f4')} 0 0")
        else:
            element = attributes[key]["element_type"]
            bits, middle = (4, 8) if element in ("i4", "u4") else (8, 128)
            zeros = held.get(key + "/zero_point", np.zeros([1] * values.ndim))
            weight = ((values - zeros).astype(np.float32) * scales.astype(np.float32))
            weight = weight.reshape(weight.shape[0], -1)
            shift = middle if element in ("i4", "i8") else 0
            symmetric = zeros.size == 1 and int(zeros.flat[0]) + shift == middle
            group = values.shape[-1]
            q, z = values + shift, np.broadcast_to(zeros + shift, scales.shape)
            half = attributes[key + "/scale"]["element_type"] == "f16"
            lines.append(f"{matrix}.weight {bits} {int(symmetric)} {group} {int(half)} {crc(q, np.uint8)} "
                         f"{crc(scales, '<f4')} {'0' if symmetric else crc(z, np.uint8)}")
        state[matrix + ".weight"] = weight
    names = ["model.norm"] + [f"model.layers.{layer}.{part}" for layer in range(config["num_hidden_layers"])
                              for part in ("input_layernorm", "post_attention_layernorm")]
    norm_constants(directory, held, config, state)
    for name in names:
        lines.append(f"{name}.weight 0 0 0 0 {crc(state[name + '.weight'], '<f4')} 0 0")
    # What AWQ multiplies the input of down_proj by goes into its columns; phlox has it in the rows of up.
    for name, factor in held.items():
        found = re.search(r"layers\.(\d+)\..*awq_mul/scale$", name)
        if found:
            layer = found[1]
            state[f"model.layers.{layer}.mlp.down_proj.weight"] *= factor.reshape(1, -1)
            up = f"model.layers.{layer}.mlp.gate_up_proj.weight "
            at = next(i for i, line in enumerate(lines) if line.startswith(up))
            key = next(k for k in held if f"layers.{layer}.mlp.gate_up_proj" in k and k.endswith("/scale"))
            scales = held[key].astype(np.float32).copy()
            rows = scales.shape[0] // 2
            scales[rows:] *= factor.astype(np.float32).reshape([rows] + [1] * (scales.ndim - 1))
            parts = lines[at].split()
            parts[4], parts[6] = "0", crc(scales, "<f4")
            lines[at] = " ".join(parts)
    return config, state, lines


def norm_constants(directory, held, config, state):
    """Weights of norms have no telling names: they are found by their values in the member."""
    hidden = config["hidden_size"]
    member = os.path.join(FAMILY, MEMBER_OF[os.path.basename(directory)])
    source = {}
    for file in os.listdir(member):
        if file.endswith(".safetensors"):
            source.update(load_file(os.path.join(member, file)))
    vectors = [value.reshape(-1).astype(np.float32) for value in held.values()
               if value.size == hidden and value.dtype in (np.float32, np.float16)]
    for name, value in source.items():
        if not name.endswith("norm.weight") or (".layers." in name and int(name.split(".")[2]) >= config["num_hidden_layers"]):
            continue
        wanted = value.to(torch.float32).numpy()
        best = min(vectors, key=lambda vector: np.abs(vector - wanted).max())
        assert np.abs(best - wanted).max() < 2e-3, name
        state[name] = best


MEMBER_OF = {name: entry[0] for name, entry in FIXTURES.items()}


# ---- computing ------------------------------------------------------------------------------------


def truth(config, state, ids):
    config = json.loads(json.dumps(config))
    model = Phi3ForCausalLM._from_config(Phi3Config(**config), attn_implementation="eager",
                                         dtype=torch.float32).eval()
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}
    missing, surplus = model.load_state_dict(tensors, strict=False)
    assert not surplus and set(missing) <= {"lm_head.weight"}, (missing, surplus)
    if missing:
        model.tie_weights()

    def forward(part):
        with torch.no_grad():
            return model(input_ids=torch.tensor(part.astype(np.int64))[None], use_cache=False).logits[0].numpy()

    return forward(ids), np.stack([forward(ids[:n])[-1] for n in range(1, len(ids) + 1)])


def run_openvino(directory, ids, sizes):
    core = ov.Core()
    model = core.compile_model(core.read_model(os.path.join(directory, "openvino_model.xml")), "CPU", {
        "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "INFERENCE_PRECISION_HINT": "f32"})
    request, out, past = model.create_infer_request(), [], 0
    for size in sizes:
        part = ids[past:past + size].astype(np.int64)[None]
        past += size
        request.infer({"input_ids": part, "attention_mask": np.ones((1, past), np.int64),
                       "position_ids": np.arange(past - size, past)[None], "beam_idx": np.zeros(1, np.int32)})
        out.append(request.get_tensor("logits").data[0].copy())
    return np.concatenate(out)


def make(name, output):
    member, layers, arguments, by_hand = FIXTURES[name]
    directory = os.path.join(output, name)
    shutil.rmtree(directory, ignore_errors=True)
    export(member, layers, arguments, directory)
    if by_hand:
        change(directory, by_hand)
    shorten(os.path.join(directory, "openvino_model.xml"))
    assert ("--awq" in arguments) == any("awq_mul" in constant for constant in constants(directory))
    config, state, lines = read_weights(directory)
    longrope = (config.get("rope_parameters") or {}).get("rope_type") == "longrope"
    ids = np.load(os.path.join(FAMILY, member, "ids.npy"))[:36 if longrope else TOKENS] % VOCAB
    logits, steps = truth(config, state, ids)
    np.save(os.path.join(directory, "ids.npy"), ids.astype(np.int32))
    np.save(os.path.join(directory, "logits.npy"), logits.astype(np.float32))
    with open(os.path.join(directory, "tensors.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    whole = np.abs(run_openvino(directory, ids, [len(ids)]) - logits).max()
    decoded = np.abs(run_openvino(directory, ids, [1] * len(ids)) - steps).max(-1)
    boundary = config["original_max_position_embeddings"] if longrope else len(ids)
    size = sum(os.path.getsize(os.path.join(directory, file)) for file in os.listdir(directory))
    print(f"{name}: {member}, {size / 1000:.0f} kB; logits up to {np.abs(logits).max():.1f}, "
          f"std {logits.std():.2f}; OpenVINO differs by {whole:.1e}, token by token by "
          f"{decoded[:boundary].max():.1e}" +
          (f", from position {boundary} on by {decoded[boundary:].max():.1e}" if longrope else ""), flush=True)
    assert max(whole, decoded[:boundary].max()) < (5e-3 if "fp16" in arguments else 1e-3)
    return size


def main():
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    arguments = sys.argv[1:]
    output = os.path.abspath(arguments[0]) if arguments else os.path.join(HERE, "openvino")
    total = 0
    for name in arguments[1:] or FIXTURES:
        total += make(name, output)
    print(f"total {total / 1000:.0f} kB")


if __name__ == "__main__":
    main()
