"""Writes a Phi-3 checkpoint of the Hugging Face form as one GGUF file, bit by bit (bfloat16)."""

import json
import struct
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType

OUTER_TENSORS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_TENSORS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    """The GGUF name of a tensor: model.layers.7.mlp.down_proj.weight is blk.7.ffn_down.weight."""
    if name in OUTER_TENSORS:
        return OUTER_TENSORS[name]
    _, _, layer, role = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{LAYER_TENSORS[role]}.weight"


def tensors(checkpoint):
    """Yields name, shape and the uint16 words of every tensor, in the order of the files."""
    for path in sorted(checkpoint.glob("*.safetensors")):
        with open(path, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
        data = np.memmap(path, np.uint8, "r", offset=8 + size)
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if entry["dtype"] != "BF16":
                raise SystemExit(f"{path}: {name} is {entry['dtype']}; only bfloat16 is converted")
            begin, end = entry["data_offsets"]
            yield gguf_name(name), entry["shape"], data[begin:end].view(np.uint16)


def add_sizes(writer, config):
    heads = config["num_attention_heads"]
    writer.add_name("peer")  # "phi3" would make the loaders look for the tokens of its chat format
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_rope_scaling_orig_ctx_len(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_sliding_window(config["sliding_window"] or 0)
    writer.add_file_type(32)  # mostly bfloat16


def add_placeholder_vocabulary(writer, size):
    """A vocabulary of byte tokens and numbered words: the engines are fed with ids only."""
    special = ["<unk>", "<s>", "</s>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [f"w{i}" for i in range(size - len(special) - len(byte_tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(special + byte_tokens + words)
    writer.add_token_scores([float(-i) for i in range(size)])
    writer.add_token_types(
        [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
        + [TokenType.BYTE] * len(byte_tokens)
        + [TokenType.NORMAL] * len(words)
    )
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_gguf(checkpoint, path):
    config = json.loads((Path(checkpoint) / "config.json").read_text())
    writer = GGUFWriter(path, "phi3")
    add_sizes(writer, config)
    add_placeholder_vocabulary(writer, config["vocab_size"])
    found = list(tensors(Path(checkpoint)))
    for name, shape, words in found:
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), words.size * 4)
        else:
            writer.add_tensor_info(
                name, shape, np.dtype(np.uint16), words.nbytes, raw_dtype=GGMLQuantizationType.BF16
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, shape, words in found:
        is_vector = len(shape) == 1
        writer.write_tensor_data((words.astype(np.uint32) << 16).view(np.float32) if is_vector else words)
    writer.close()
