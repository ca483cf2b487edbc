#!/usr/bin/env python3
"""Makes tests/golden/gguf: small random GGUF files of the phi3 architecture in every encoding that
phlox reads, what their tensors are when dequantized, the logits that transformers computes for them,
and vocabularies with what the tokenizers package makes of texts.

Made with: Python 3.11, gguf 0.19.0, llama-cpp-python 0.3.36, transformers 4.57.1, tokenizers 0.22.2,
torch 2.15.0 (CPU), numpy 2.4.6.
Usage:     python make_gguf.py

gguf/<member>/ has one model:
  *.gguf        one file, or the parts of one
  tensors.json  for each tensor the CRC-32 of its values as float32, by gguf.quants.dequantize
  ids.npy       int32   [n]         a sequence
  logits.npy    float32 [n, vocab]  transformers, one forward in float32 on those values
Quantized members are made by llama.cpp's own llama_model_quantize, from the member f16 and from one of
256 columns that is not kept. The script runs each in llama.cpp with a float32 cache: its values widened
to F32 must give the same logits; of the file itself it prints how far they are away (products with
quantized weights round the activations to 8 bits).

gguf/<vocabulary>.json: [text, ids as plain text, ids with control tokens] for the models
vocab-llama, vocab-phi4, vocab-phi4-mini. Their truth is a tokenizer.json, of the first with the merges
that transformers' own generate_merges() makes of the scores.

tests/fuzz/corpus/gguf has seeds.
"""
import ctypes
import json
import os
import pathlib
import shutil
import tempfile
import zlib

import gguf
import llama_cpp
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from tokenizers import Tokenizer
from transformers import Phi3Config, Phi3ForCausalLM
from transformers.convert_slow_tokenizer import generate_merges

import make_text
from make_family import base_config, forward, head_dim_of, largest, longrope, make_weights, seed_of

OUT = pathlib.Path(__file__).resolve().parent / "gguf"
CONTEXT, ORIGINAL = 128, 32

# Numbers of llama_ftype.
QUANTIZED = {"f16": {"q8_0": 7, "q4_0": 2, "q4_1": 3, "q5_0": 8, "q5_1": 9, "iq4_nl": 25},
             "wide": {"q2_k": 10, "q3_k_m": 12, "q4_k_m": 15, "q5_k_m": 17}}

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight", "input_layernorm.weight": "attn_norm.weight",
    "self_attn.qkv_proj.weight": "attn_qkv.weight", "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight", "mlp.gate_up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight"}


def to_gguf(name):
    if not name.startswith("model.layers."):
        return NAMES[name]
    layer, rest = name[len("model.layers."):].split(".", 1)
    return "blk.%s.%s" % (layer, NAMES[rest])


def members():
    """name -> (config, type of the matrices, number of tensors in a part). K-quants have blocks of 256
    columns; llama.cpp gives narrower rows (of ffn_down here) another encoding."""
    ids = dict(vocab_size=64, bos_token_id=1, eos_token_id=2, pad_token_id=None)
    one = dict(num_hidden_layers=1, num_key_value_heads=1, intermediate_size=32, **ids)
    mini = "Phi-3-mini-4k-instruct"
    return {
        "f16": (base_config(mini, **dict(one, intermediate_size=64)), Q.F16, 0),
        "wide": (base_config(mini, hidden_size=256, num_attention_heads=8, **dict(one, vocab_size=32)),
                 Q.F16, 0),
        "window": (base_config("Phi-3-medium-4k-instruct", num_attention_heads=4,
                               num_key_value_heads=2, intermediate_size=32, sliding_window=11,
                               num_hidden_layers=1, **ids), Q.BF16, 0),
        "longrope": (base_config("Phi-4-mini-instruct", hidden_size=96, num_attention_heads=3,
                                 num_key_value_heads=1, intermediate_size=64, num_hidden_layers=1,
                                 original_max_position_embeddings=ORIGINAL,
                                 partial_rotary_factor=0.75, rope_scaling=longrope(24, 4),
                                 sliding_window=262144, tie_word_embeddings=True, **ids), Q.Q8_0, 0),
        "split": (base_config(mini, intermediate_size=32, num_hidden_layers=2, **ids), Q.Q4_0, 5),
        "v2": (base_config(mini, **dict(one, hidden_size=32, num_attention_heads=1)), Q.F32, 0),
    }


# ---- writing ------------------------------------------------------------------------------------

def write_keys(w, config):
    w.add_name(config["_name_or_path"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_dimension_count(int(head_dim_of(config) * config.get("partial_rotary_factor", 1.0)))
    w.add_rope_freq_base(config["rope_theta"])
    w.add_sliding_window(config["sliding_window"] or 0)
    w.add_vocab_size(config["vocab_size"])
    if "head_dim" in config:
        w.add_key_length(config["head_dim"])
        w.add_value_length(config["head_dim"])
    if config["rope_scaling"]:
        ratio = config["max_position_embeddings"] / config["original_max_position_embeddings"]
        w.add_rope_scaling_attn_factors(
            float(np.sqrt(1 + np.log(ratio) / np.log(config["original_max_position_embeddings"]))))


def write_model(path, config, kind, part=0, vocabulary=None):
    w = gguf.GGUFWriter(str(path), "phi3", split_max_tensors=part)
    write_keys(w, config)
    if vocabulary:
        vocabulary(w)
    else:
        w.add_tokenizer_model("no_vocab")
        w.add_bos_token_id(config["bos_token_id"])
        w.add_eos_token_id(config["eos_token_id"])
    weights = make_weights(config, np.random.default_rng(seed_of(path.parent.name)))
    for name, value in weights.items():
        raw = kind if value.ndim == 2 else Q.F32
        w.add_tensor(to_gguf(name), gguf.quants.quantize(value, raw), raw_dtype=raw)
    if config["rope_scaling"]:
        for length in ("long", "short"):
            w.add_tensor("rope_factors_%s.weight" % length,
                         np.array(config["rope_scaling"][length + "_factor"], np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def quantize(source, target, kind):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = kind, 1
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(),
                                          ctypes.byref(params)) == 0


# ---- the truth ----------------------------------------------------------------------------------

def dequantized(directory):
    values, kinds = {}, {}
    for path in sorted(directory.glob("*.gguf")):
        for t in gguf.GGUFReader(path).tensors:
            shape = tuple(int(n) for n in reversed(t.shape))
            values[t.name] = gguf.quants.dequantize(t.data, t.tensor_type).reshape(shape)
            kinds.setdefault(t.tensor_type.name, []).append(t.name)
            assert values[t.name].dtype == np.float32
    return values, kinds


def transformers_logits(config, values, ids):
    config = {k: v for k, v in config.items() if k not in ("torch_dtype", "auto_map")}
    model = Phi3ForCausalLM(Phi3Config(**config, attn_implementation="eager")).eval()
    names = {to_gguf(n): n for n, _ in model.named_parameters()}
    state = {names[n]: torch.from_numpy(v.copy()) for n, v in values.items()
             if not n.startswith("rope_factors")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    return forward(model.to(torch.float32), ids)


def llama_logits(path, ids, context):
    """llama.cpp uses the long factors when its context is longer than the original one."""
    model = llama_cpp.Llama(str(path), n_ctx=context, n_batch=64, n_ubatch=64, n_threads=1, type_k=0,
                            type_v=0, logits_all=True, flash_attn=False, verbose=False)
    model.eval([int(i) for i in ids])
    return np.array(model.scores[:len(ids)])


def finish(directory, config, tokens):
    ids = np.random.default_rng(seed_of("ids" + directory.name)).integers(0, config["vocab_size"], tokens)
    values, kinds = dequantized(directory)
    logits = transformers_logits(config, values, ids)
    np.save(directory / "ids.npy", ids.astype(np.int32))
    np.save(directory / "logits.npy", logits.astype(np.float32))
    sums = {n: zlib.crc32(np.ascontiguousarray(v, "<f4").tobytes()) for n, v in values.items()}
    with open(directory / "tensors.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(sums, indent=0, sort_keys=True) + "\n")
    size = sum(f.stat().st_size for f in directory.iterdir())
    text = ", ".join("%s %d" % (k, len(v)) for k, v in sorted(kinds.items()))
    print(f"{directory.name}: {size / 1000:.0f} kB; {text}; logits std {logits.std():.2f}")
    return ids, logits


def widen(directory, config, values, path):
    """The same model in F32."""
    w = gguf.GGUFWriter(str(path), "phi3")
    write_keys(w, config)
    w.add_tokenizer_model("no_vocab")
    for name, value in values.items():
        w.add_tensor(name, value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def compare(directory, config, ids, logits):
    """llama.cpp leaves the sliding window out."""
    count = min(len(ids), config["sliding_window"] or len(ids))
    with tempfile.TemporaryDirectory() as temporary:
        path = os.path.join(temporary, "f32.gguf")
        widen(directory, config, dequantized(directory)[0], path)
        exact = largest(llama_logits(path, ids, CONTEXT)[:count] - logits[:count])
    own = llama_logits(sorted(directory.glob("*.gguf"))[0], ids, CONTEXT)
    print(f"  llama.cpp is {exact:.1e} away in F32, {largest(own[:count] - logits[:count]):.1e} as it is")
    assert exact < 1e-3, directory.name


def make(name, config, write):
    directory = OUT / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    write(directory)
    ids, logits = finish(directory, config, 40 if config["rope_scaling"] else 24)
    compare(directory, config, ids, logits)


def models():
    for name, (config, kind, part) in members().items():
        make(name, config, lambda to: write_model(to / "model.gguf", config, kind, part))
        if name == "v2":
            with open(OUT / name / "model.gguf", "r+b") as file:
                file.seek(4)
                file.write(b"\2")
    for base, kinds in QUANTIZED.items():
        source = OUT / base / "model.gguf"
        for name, kind in kinds.items():
            make(name, members()[base][0], lambda to: quantize(source, to / "model.gguf", kind))
    shutil.rmtree(OUT / "wide")


# ---- vocabularies -------------------------------------------------------------------------------

def published(d, lstrip=False, keeps=("<unk>", "<s>", "<|endoftext|>")):
    """The flags of the published control tokens."""
    for token in d["added_tokens"]:
        token["lstrip"] = lstrip
        token["rstrip"] = lstrip or token["content"] not in keeps
    return d


def scored(d):
    """A tokenizer.json of the llama kind, its merges made of scores as transformers does; the scores
    are the order of the tokens that have two characters or more."""
    vocab = d["model"]["vocab"]
    order = [t for t, i in sorted(vocab.items(), key=lambda item: item[1])]
    special = {"<unk>", "<s>", "</s>"} | {"<0x%02X>" % i for i in range(256)}
    scores = {t: 0.0 if t in special else -float(i) for i, t in enumerate(order)}
    pairs = generate_merges({t: i for t, i in vocab.items()},
                            {t: s for t, s in scores.items() if t not in special})
    d["model"]["merges"] = [list(pair) for pair in pairs]
    return scores


def vocabulary_of(d, kind, pre, scores=None, bos=None):
    vocab, added = d["model"]["vocab"], {t["id"]: t for t in d["added_tokens"]}
    texts = dict((i, t) for t, i in vocab.items())
    texts.update((i, t["content"]) for i, t in added.items())
    count = max(texts) + 1
    types = []
    for i in range(count):
        text = texts.get(i)
        types.append(5 if text is None else 3 if i in added and added[i]["special"] else
                     4 if i in added else 6 if kind == "llama" and i - 3 in range(256) else 1)

    def write(w):
        w.add_tokenizer_model(kind)
        w.add_tokenizer_pre(pre)
        w.add_token_list([texts.get(i, "[PAD%d]" % i) for i in range(count)])
        w.add_token_types(types)
        if kind == "llama":
            w.add_token_scores([scores.get(texts.get(i), -1000.0) for i in range(count)])
            w.add_unk_token_id(0)
            w.add_add_bos_token(True)
        else:
            w.add_token_merges([m if isinstance(m, str) else " ".join(m)
                                for m in d["model"]["merges"]])
        w.add_bos_token_id(bos)
        w.add_eos_token_id(bos)
        w.add_chat_template("{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + "
                            "message['content'] + '<|end|>\n' }}{% endfor %}{% if "
                            "add_generation_prompt and messages[-1]['role'] != 'assistant' %}"
                            "{{- '<|assistant|>\n' -}}{% endif %}")
    return write, count


def vocabulary(name, d, kind, pre, bos, scores=None):
    directory = OUT / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    write, count = vocabulary_of(d, kind, pre, scores, bos)
    config = base_config("Phi-3-mini-4k-instruct", hidden_size=32, num_attention_heads=1,
                         num_key_value_heads=1, intermediate_size=32, num_hidden_layers=1,
                         vocab_size=count, tie_word_embeddings=True, bos_token_id=bos,
                         eos_token_id=bos, pad_token_id=None)
    write_model(directory / "model.gguf", config, Q.Q4_0, 0, write)
    t, plain = Tokenizer.from_str(json.dumps(d)), make_text.without_added(d)
    control = [a["content"] for a in d["added_tokens"]][:8] + ["<|end|>"]
    lines = [[text, plain.encode(text, add_special_tokens=False).ids,
              t.encode(text, add_special_tokens=False).ids]
             for text in make_text.texts(seed_of(name), 60, sorted(set(control)))[::2]]
    text = "[\n%s\n]\n" % ",\n".join(json.dumps(line, separators=(",", ":")) for line in lines)
    (OUT / (name + ".json")).write_text(text, encoding="utf-8")
    size = (OUT / (name + ".json")).stat().st_size + (directory / "model.gguf").stat().st_size
    print(f"{name}: {size / 1000:.0f} kB, {len(lines)} texts")


def vocabularies():
    d = published(make_text.llama(False, True))
    vocabulary("vocab-llama", d, "llama", "default", 1, scored(d))
    d = published(make_text.phi4(), lstrip=True)
    vocabulary("vocab-phi4", d, "gpt2", "dbrx", d["added_tokens"][1]["id"])
    d = published(make_text.phi4_mini())
    vocabulary("vocab-phi4-mini", d, "gpt2", "gpt-4o", d["added_tokens"][0]["id"])


# ---- seeds for fuzzing --------------------------------------------------------------------------

def seeds():
    """A whole model, vocabularies of a few tokens, a tensor of every encoding; some kB each."""
    directory = OUT.parents[1] / "fuzz/corpus/gguf"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    tiny = base_config("Phi-3-mini-4k-instruct", hidden_size=32, num_attention_heads=1,
                       num_key_value_heads=1, intermediate_size=32, num_hidden_layers=1, vocab_size=16,
                       bos_token_id=1, eos_token_id=2, tie_word_embeddings=True)
    scaled = dict(tiny, rope_scaling=longrope(32, 4), original_max_position_embeddings=ORIGINAL)
    added = [make_text.added(i, t) for i, t in enumerate(["<unk>", "<s>", "<|end|>"])]
    llama = {"<unk>": 0, **{"<0x%02X>" % i: i + 3 for i in range(4)}, "a": 7, "b": 8, "ab": 9, "aba": 10}
    gpt2 = {"a": 3, "b": 4, "ab": 5}
    scores = {t: -float(i) for t, i in llama.items()}
    kinds = {
        "model": (tiny, None), "longrope": (scaled, None),
        "llama": (tiny, vocabulary_of({"model": {"vocab": llama}, "added_tokens": added}, "llama",
                                      "default", scores, 1)[0]),
        "gpt2": (tiny, vocabulary_of({"model": {"vocab": gpt2, "merges": ["a b"]},
                                      "added_tokens": added}, "gpt2", "gpt-4o", None, 1)[0]),
    }
    for name, (config, write) in kinds.items():
        write_model(directory / name, config, Q.Q4_0, 0, write)
    w = gguf.GGUFWriter(str(directory / "encodings"), "phi3")
    rng = np.random.default_rng(5)
    for kind in (Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K,
                 Q.Q6_K, Q.IQ4_NL):
        block, size = gguf.GGML_QUANT_SIZES[kind]
        bytes_ = rng.integers(0, 256, (2, 256 // block * size), dtype=np.uint8)
        w.add_tensor(kind.name, bytes_, raw_shape=bytes_.shape, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    torch.set_num_threads(1)
    seeds()
    models()
    vocabularies()
    print("total %.0f kB" % (sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file()) / 1000))


if __name__ == "__main__":
    main()
