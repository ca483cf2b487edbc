#!/usr/bin/env python3
"""Writes a checkpoint with the sizes of Phi-3-mini-4k and random weights, in the Hugging Face form.

Usage: random_phi3.py DIRECTORY [--size full|tiny] [--tokenizer DIRECTORY]

Speed does not depend on the weights' values, so this stands in for the real model where that cannot be
had: 3.82 billion parameters in bfloat16, 7.6 GB. The values are normal with deviation 0.02 from one fixed
seed, the norms are 1. The tokenizer is a placeholder of bytes and numbered words unless --tokenizer names
a directory with a real one. Needs numpy.
"""

import argparse
import json
import shutil
import struct
from pathlib import Path

import numpy as np

CONFIG = {
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "embd_pdrop": 0.0,
    "eos_token_id": 32000,
    "hidden_act": "silu",
    "hidden_size": 3072,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "model_type": "phi3",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "original_max_position_embeddings": 4096,
    "pad_token_id": 32000,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "sliding_window": 2047,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.2",
    "use_cache": True,
    "vocab_size": 32064,
}
TINY = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 4}
GENERATION = {"bos_token_id": 1, "eos_token_id": [32000, 32001, 32007], "pad_token_id": 32000}
ADDED_FROM = 32000  # ids of the tokens that the tokenizer adds to its vocabulary
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


def tensor_shapes(config):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head_size = hidden // config["num_attention_heads"]
    qkv = hidden + 2 * config["num_key_value_heads"] * head_size
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        yield name + "input_layernorm.weight", (hidden,)
        yield name + "mlp.down_proj.weight", (hidden, inner)
        yield name + "mlp.gate_up_proj.weight", (2 * inner, hidden)
        yield name + "post_attention_layernorm.weight", (hidden,)
        yield name + "self_attn.o_proj.weight", (hidden, hidden)
        yield name + "self_attn.qkv_proj.weight", (qkv, hidden)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (config["vocab_size"], hidden)


def bfloat16_words(random, shape):
    if len(shape) == 1:
        return np.full(shape, 0x3F80, np.uint16)
    values = random.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    return ((values.view(np.uint32) + 0x8000) >> 16).astype(np.uint16)


def write_shard(path, shapes, random):
    """One safetensors file; returns its bytes of weights."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in shapes:
            file.write(bfloat16_words(random, shape).tobytes())
    return offset


def write_weights(directory, config):
    random = np.random.default_rng(1)
    shapes = list(tensor_shapes(config))
    middle = len(shapes) * 2 // 3
    weight_map, total = {}, 0
    for number, part in enumerate([shapes[:middle], shapes[middle:]], start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        total += write_shard(directory / file, part, random)
        weight_map |= {name: file for name, _ in part}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def placeholder_tokenizer(vocab_size):
    special = ["<unk>", "<s>", "</s>"]
    pieces = special + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += [f"w{i}" for i in range(ADDED_FROM - len(pieces))]
    added = dict(enumerate(special)) | {
        i: "<|endoftext|>" if i == ADDED_FROM else f"<|placeholder{i - ADDED_FROM}|>"
        for i in range(ADDED_FROM, vocab_size)
    }
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": text} | flags for i, text in added.items()],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": [],
        },
    }


def write_tokenizer(directory, vocab_size, source):
    if source:
        for name in TOKENIZER_FILES:
            shutil.copy(source / name, directory)
        return
    names = {"bos_token": "<s>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": "<unk>"}
    settings = names | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096}
    (directory / "tokenizer.json").write_text(json.dumps(placeholder_tokenizer(vocab_size)))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "special_tokens_map.json").write_text(json.dumps(names))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--size", choices=["full", "tiny"], default="full")
    parser.add_argument("--tokenizer", type=Path, help="directory with a tokenizer to copy")
    args = parser.parse_args()
    config = CONFIG | (TINY | {"num_hidden_layers": 3} if args.size == "tiny" else {})
    args.directory.mkdir(parents=True, exist_ok=True)
    write_weights(args.directory, config)
    write_tokenizer(args.directory, config["vocab_size"], args.tokenizer)
    (args.directory / "generation_config.json").write_text(json.dumps(GENERATION))
    # Last, because a directory with a config.json is a complete checkpoint.
    (args.directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
