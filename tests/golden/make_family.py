#!/usr/bin/env python3
"""Makes tests/golden/family: small random checkpoints of every member of the Phi3ForCausalLM family
and the logits that transformers computes for them.

Made with: Python 3.11.7, transformers 4.57.1, torch 2.15.0 (CPU), safetensors 0.8.0, numpy 2.4.6.
Usage:     python make_family.py [OUTPUT_DIRECTORY] [MEMBER...]

Each directory family/<member>/ has the layout of a published checkpoint (config.json,
generation_config.json, safetensors) without a tokenizer, and:
  ids.npy     int32   [n]          the sequence
  logits.npy  float32 [n, vocab]   one forward over the whole sequence
  steps.npy   float32 [n, vocab]   row i: the last position of a fresh forward over ids[:i+1]
All without a KV cache, attention "eager", float32 arithmetic on the stored weights. steps.npy is what
decoding token by token must give. It equals logits.npy except with longrope, where the factors depend on
the length of the whole sequence: rows below original_max_position_embeddings differ.

The weights come from numpy generators with fixed seeds, so they are the same bytes on every machine; the
logits may differ in the last bits with another torch. The script checks what it stores against an
independent forward pass in numpy (below, in float64) and prints evidence that the window and longrope
were applied. It fails when a check fails.
"""

import json
import math
import os
import shutil
import sys
import zlib

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import Phi3Config, Phi3ForCausalLM

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

ORIGINAL = 32  # original_max_position_embeddings of the longrope members
CONTEXT = 128  # max_position_embeddings of all members

AUTO_MAP = {
    "AutoConfig": "configuration_phi3.Phi3Config",
    "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
}


def base_config(name, without=(), **changes):
    """The keys of the published Phi-3 checkpoints, sizes scaled down."""
    config = {
        "_name_or_path": name,
        "architectures": ["Phi3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "auto_map": AUTO_MAP,
        "bos_token_id": 1,
        "embd_pdrop": 0.0,
        "eos_token_id": 120,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "max_position_embeddings": CONTEXT,
        "model_type": "phi3",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "original_max_position_embeddings": CONTEXT,
        "pad_token_id": 120,
        "resid_pdrop": 0.0,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.40.2",
        "use_cache": True,
        "vocab_size": 128,
    }
    config.update(changes)
    return {key: value for key, value in config.items() if key not in without}


def longrope(rotary_dim, seed, spelling="type", name="longrope"):
    """Factors like those of the published checkpoints: short near 1, long growing with the dimension."""
    rng = np.random.default_rng(seed)
    half = rotary_dim // 2
    short = 1.0 + 0.05 * np.arange(half) / half * 10 + rng.uniform(0, 0.05, half)
    long = 1.0 + 24.0 * (np.arange(half) / half) ** 1.5 + rng.uniform(0, 0.5, half)
    return {
        "long_factor": [round(float(x), 4) for x in long],
        "short_factor": [round(float(x), 4) for x in short],
        spelling: name,
    }


def members():
    """name -> (config.json, sequence length, maximal shard size or None)."""
    return {
        # Multi-head attention, window: head_dim 32, three layers.
        "phi3-mini-4k": (base_config(
            "Phi-3-mini-4k-instruct", num_hidden_layers=3, intermediate_size=56,
            sliding_window=11), 40, None),
        # Longrope; the published window is larger than the context.
        "phi3-mini-128k": (base_config(
            "Phi-3-mini-128k-instruct", original_max_position_embeddings=ORIGINAL,
            rope_scaling=longrope(32, 1), sliding_window=262144), 48, None),
        # Grouped-query attention with more than one KV head, window.
        "phi3-medium-4k": (base_config(
            "Phi-3-medium-4k-instruct", hidden_size=128, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=32, sliding_window=11, vocab_size=130, pad_token_id=None,
            transformers_version="4.39.3"), 40, None),
        "phi3-medium-128k": (base_config(
            "Phi-3-medium-128k-instruct", hidden_size=96, num_attention_heads=3, num_key_value_heads=1,
            original_max_position_embeddings=ORIGINAL,
            rope_scaling=longrope(32, 2), sliding_window=131072, pad_token_id=None,
            transformers_version="4.39.3"), 40, None),
        # Head size 96 as published (one head, to stay small).
        "phi35-mini": (base_config(
            "Phi-3.5-mini-instruct", hidden_size=96, num_attention_heads=1, num_key_value_heads=1,
            original_max_position_embeddings=ORIGINAL, rope_scaling=longrope(96, 3),
            sliding_window=262144, transformers_version="4.43.3"), 40, None),
        "phi4": (base_config(
            "microsoft/phi-4", auto_map={}, hidden_size=128, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=32, rope_theta=250000, sliding_window=None, vocab_size=131,
            bos_token_id=127, eos_token_id=130, pad_token_id=129, transformers_version="4.47.0"), 40, None),
        # 3 query heads per KV head and 3/4 of each head rotated, as published; embeddings tied.
        "phi4-mini": (base_config(
            "Phi-4-mini-instruct", auto_map=dict(AUTO_MAP, AutoTokenizer="Xenova/gpt-4o"),
            hidden_size=96, num_attention_heads=3, num_key_value_heads=1, intermediate_size=64,
            original_max_position_embeddings=ORIGINAL, partial_rotary_factor=0.75,
            rope_scaling=longrope(24, 4), sliding_window=262144, tie_word_embeddings=True,
            bos_token_id=199, eos_token_id=199, pad_token_id=199, vocab_size=203, full_attn_mod=1,
            interpolate_factor=1, lm_head_bias=False, mlp_bias=False,
            transformers_version="4.45.0"), 48, None),
        # Several files and an index.
        "sharded": (base_config("Phi-3-mini-4k-instruct", sliding_window=11), 24, 60000),
        "f16": (base_config("Phi-3-mini-4k-instruct", sliding_window=11, torch_dtype="float16"), 24, None),
        "f32": (base_config("Phi-3-mini-4k-instruct", sliding_window=11, torch_dtype="float32",
                            intermediate_size=24), 24, None),
        # The first spelling of longrope, with a window that cuts across both factor sets.
        "longrope-su": (base_config(
            "Phi-3-mini-128k-instruct", original_max_position_embeddings=ORIGINAL, intermediate_size=24,
            rope_scaling=longrope(32, 5, name="su"), sliding_window=9), 36, None),
        # Later spellings, see classic().
        "longrope-rope-type": (base_config(
            "Phi-3.5-mini-instruct", original_max_position_embeddings=ORIGINAL, intermediate_size=24,
            rope_scaling=longrope(32, 6, spelling="rope_type"), sliding_window=262144), 36, None),
        "longrope-rope-parameters": (base_config(
            "Phi-4-mini-instruct", original_max_position_embeddings=ORIGINAL, intermediate_size=24,
            partial_rotary_factor=0.5, tie_word_embeddings=True, sliding_window=262144, dtype="bfloat16",
            rope_parameters=dict(
                longrope(16, 7, spelling="rope_type"), type="longrope", rope_theta=5000.0,
                partial_rotary_factor=0.5, original_max_position_embeddings=ORIGINAL),
            without=("rope_theta", "rope_scaling", "torch_dtype", "_name_or_path"),
            transformers_version="5.23.0"), 36, None),
        # An explicit head_dim (transformers honours the key) of 128, so that the heads together are wider
        # than hidden_size; dtype instead of torch_dtype, as newer versions write it.
        "head-dim-128": (base_config(
            "microsoft/phi-4", head_dim=128, num_attention_heads=2, num_key_value_heads=1,
            intermediate_size=32, rope_theta=250000, dtype="bfloat16", without=("torch_dtype",),
            transformers_version="4.57.1"), 24, None),
    }


def seed_of(name):
    return zlib.crc32(name.encode())


def head_dim_of(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def make_weights(config, rng):
    """float32 tensors by published name. Sizes of the values: attention peaked but not one-hot, logits
    with a standard deviation of 1 to 3, norm weights far from one."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head_dim = head_dim_of(config)
    query = config["num_attention_heads"] * head_dim
    key = config["num_key_value_heads"] * head_dim

    def normal(rows, columns, gain):
        return (rng.standard_normal((rows, columns)) * gain / math.sqrt(columns)).astype(np.float32)

    def norm(size):
        return rng.uniform(0.5, 1.5, size).astype(np.float32)

    tied = config["tie_word_embeddings"]
    weights = {"model.embed_tokens.weight": normal(vocab, hidden, 2.0 if tied else math.sqrt(hidden))}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        weights[prefix + "input_layernorm.weight"] = norm(hidden)
        weights[prefix + "self_attn.qkv_proj.weight"] = np.concatenate(
            [normal(query, hidden, 1.4), normal(key, hidden, 1.4), normal(key, hidden, 1.0)])
        weights[prefix + "self_attn.o_proj.weight"] = normal(hidden, query, 1.5)
        weights[prefix + "post_attention_layernorm.weight"] = norm(hidden)
        weights[prefix + "mlp.gate_up_proj.weight"] = normal(2 * inner, hidden, 1.5)
        weights[prefix + "mlp.down_proj.weight"] = normal(hidden, inner, 1.5)
    weights["model.norm.weight"] = norm(hidden)
    if not tied:
        weights["lm_head.weight"] = normal(vocab, hidden, 2.0)
    return weights


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def classic(config):
    """The same configuration as 4.57.1 takes it. Two later spellings exist; transformers 5.23.0 reads and
    gives the same logits for them:
    - "rope_scaling": {"rope_type": "longrope", ...}; Phi3Config 4.57.1 refuses it (exactly three keys, one
      of them named "type");
    - "rope_parameters" with rope_theta, rope_type, partial_rotary_factor and
      original_max_position_embeddings inside, as transformers 5 saves it; 4.57.1 ignores that key."""
    config = json.loads(json.dumps(config))
    parameters = config.pop("rope_parameters", None)
    if parameters:
        for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
            config[key] = parameters.pop(key, config.get(key))
        config["rope_scaling"] = parameters
    scaling = config["rope_scaling"]
    if scaling and "rope_type" in scaling:
        scaling["type"] = scaling.pop("rope_type")
    return config


def load(directory, **changes):
    """The stored checkpoint in float32 with eager attention."""
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        config = classic(json.load(file))
    config.update(changes)
    model = Phi3ForCausalLM.from_pretrained(
        directory, config=Phi3Config(**config), dtype=torch.float32, attn_implementation="eager")
    assert model.config._attn_implementation == "eager" and model.dtype == torch.float32
    return model.eval()


def forward(model, ids):
    """One forward without a KV cache: [tokens, vocab]."""
    with torch.no_grad():
        tokens = torch.tensor(np.asarray(ids, np.int64))[None]
        return model(input_ids=tokens, use_cache=False).logits[0].numpy()


def stored_weights(directory):
    weights = {}
    for file in sorted(os.listdir(directory)):
        if file.endswith(".safetensors"):
            weights.update(load_file(os.path.join(directory, file)))
    return {name: tensor.to(torch.float32).numpy().astype(np.float64) for name, tensor in weights.items()}


def numpy_forward(config, weights, ids):
    """The same network written down once more, in float64: the formulas the engine is built from."""
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim, hidden = head_dim_of(config), config["hidden_size"]
    tokens = len(ids)

    rotary = int(head_dim * config.get("partial_rotary_factor", 1.0))
    inverse = 1.0 / config["rope_theta"] ** (np.arange(0, rotary, 2) / rotary)
    scale = 1.0
    scaling = config["rope_scaling"]
    if scaling:
        original = config["original_max_position_embeddings"]
        inverse /= np.array(scaling["long_factor" if tokens > original else "short_factor"])
        ratio = config["max_position_embeddings"] / original
        scale = math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0
    angles = np.arange(tokens)[:, None] * inverse[None, :]  # [tokens, rotary / 2]
    cos, sin = np.cos(angles) * scale, np.sin(angles) * scale

    def rotate(x):  # [tokens, heads, head_dim]; pair (d, d + rotary / 2), the rest passes through
        half = rotary // 2
        a, b, rest = x[..., :half], x[..., half:rotary], x[..., rotary:]
        c, s = cos[:, None, :], sin[:, None, :]
        return np.concatenate([a * c - b * s, b * c + a * s, rest], -1)

    def rms_norm(x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weight

    i, j = np.arange(tokens)[:, None], np.arange(tokens)[None, :]
    visible = j <= i
    if config["sliding_window"] is not None:
        visible &= j > i - config["sliding_window"]

    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        qkv = rms_norm(x, weights[prefix + "input_layernorm.weight"]) @ weights[prefix + "self_attn.qkv_proj.weight"].T
        q, k, v = np.split(qkv, [heads * head_dim, (heads + kv_heads) * head_dim], -1)
        q = rotate(q.reshape(tokens, heads, head_dim))
        k = rotate(k.reshape(tokens, kv_heads, head_dim))
        v = v.reshape(tokens, kv_heads, head_dim)
        out = np.empty((tokens, heads, head_dim))
        for head in range(heads):
            group = head // (heads // kv_heads)
            scores = q[:, head] @ k[:, group].T / math.sqrt(head_dim)
            scores = np.where(visible, scores, -np.inf)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = scores / scores.sum(-1, keepdims=True) @ v[:, group]
        x = x + out.reshape(tokens, -1) @ weights[prefix + "self_attn.o_proj.weight"].T
        inner = rms_norm(x, weights[prefix + "post_attention_layernorm.weight"])
        gate, up = np.split(inner @ weights[prefix + "mlp.gate_up_proj.weight"].T, 2, -1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[prefix + "mlp.down_proj.weight"].T
    x = rms_norm(x, weights["model.norm.weight"])
    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return x @ head.T


def largest(difference):
    return float(np.abs(difference).max())


def check_attention(model, ids, config):
    """The probabilities that transformers computed: zero exactly outside the window, and not uniform."""
    with torch.no_grad():
        tokens = torch.tensor(np.asarray(ids, np.int64))[None]
        maps = model(input_ids=tokens, use_cache=False, output_attentions=True).attentions
    maps = np.stack([layer[0].numpy() for layer in maps])  # [layers, heads, n, n]
    n = len(ids)
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    window = config["sliding_window"] if config["sliding_window"] is not None else n
    expected = (j <= i) & (j > i - window)
    assert ((maps > 0).all((0, 1)) == expected).all() and (maps[:, :, ~expected] == 0).all()
    rows = expected.sum(-1)
    top = maps.max(-1)[:, :, rows > 4].mean()
    uniform = (1 / rows[rows > 4]).mean()
    print(f"  keys of the last query: {int(rows[-1])} of {n}; mean top weight {top:.2f} (uniform {uniform:.2f})")
    assert top > 2 * uniform


def check_longrope(model, config, directory, ids, logits, steps):
    """The factor switch, the attention factor, and that they matter."""
    original = config["original_max_position_embeddings"]
    rotary = model.model.rotary_emb
    dim = int(head_dim_of(config) * config.get("partial_rotary_factor", 1.0))
    plain = 1.0 / config["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    for length, key in ((original, "short_factor"), (original + 1, "long_factor"), (original, "short_factor")):
        cos, _ = rotary(torch.zeros(1), torch.arange(length)[None])
        assert cos.shape[-1] == dim
        expected = plain / np.array(config["rope_scaling"][key])
        assert largest(rotary.inv_freq.numpy() / expected - 1) < 1e-6, (length, key)
    ratio = config["max_position_embeddings"] / original
    factor = math.sqrt(1 + math.log(ratio) / math.log(original))
    assert abs(rotary.attention_scaling - factor) < 1e-12
    below = largest(logits[:original] - steps[:original])
    above = largest(logits[original:] - steps[original:])
    off = load(directory, rope_scaling=None)
    print(f"  longrope: rotary dim {dim}, attention factor {factor:.6f}, {original} tokens short, "
          f"{original + 1} tokens long; whole against steps {below:.3f} below, {above:.1e} above; "
          f"against a run without longrope {largest(forward(off, ids) - logits):.3f}")
    assert below > 0.1 and above < 1e-4 and largest(forward(off, ids) - logits) > 0.1


def make(name, config, tokens, shard_size, output):
    print(name)
    directory = os.path.join(output, name)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    rng = np.random.default_rng(seed_of(name))
    spelled, config = config, classic(config)
    weights = make_weights(config, rng)

    model = Phi3ForCausalLM(Phi3Config(**classic(config)))
    missing, unexpected = model.load_state_dict(
        {key: torch.from_numpy(value) for key, value in weights.items()}, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    model.to(DTYPES[config.get("torch_dtype") or config["dtype"]])
    model.save_pretrained(directory, max_shard_size=shard_size or "1GB")
    write_json(os.path.join(directory, "config.json"), spelled)
    generation = {"_from_model_config": True, "bos_token_id": config["bos_token_id"],
                  "eos_token_id": [config["eos_token_id"], 121, 127], "pad_token_id": config["pad_token_id"],
                  "transformers_version": config["transformers_version"]}
    write_json(os.path.join(directory, "generation_config.json"), generation)

    ids = rng.integers(0, config["vocab_size"], tokens)
    model = load(directory)
    logits = forward(model, ids)
    steps = np.stack([forward(model, ids[:n])[-1] for n in range(1, tokens + 1)])
    np.save(os.path.join(directory, "ids.npy"), ids.astype(np.int32))
    np.save(os.path.join(directory, "logits.npy"), logits.astype(np.float32))
    np.save(os.path.join(directory, "steps.npy"), steps.astype(np.float32))

    stored = stored_weights(directory)
    error = max(largest(numpy_forward(config, stored, ids) - logits),
                max(largest(numpy_forward(config, stored, ids[:n])[-1] - steps[n - 1])
                    for n in range(1, tokens + 1)))
    gap = largest(logits - steps)
    print(f"  logits std {logits.std():.2f}; numpy against transformers {error:.1e}; whole against steps {gap:.1e}")
    assert error < 1e-4 and 1.0 < logits.std() < 3.0
    check_attention(model, ids, config)
    if config["rope_scaling"]:
        check_longrope(model, config, directory, ids, logits, steps)
    else:
        assert gap < 1e-4
    window = config["sliding_window"]
    if window is not None and window < tokens:
        for other in (None, window - 1, window + 1):
            change = np.abs(forward(load(directory, sliding_window=other), ids) - logits).max(-1)
            first = int(np.argmax(change > 1e-4))
            print(f"  window {window}: against {other} the logits differ by {change.max():.3f}, first at {first}")
            assert change.max() > 0.05 and first == (window - 1 if other == window - 1 else window)
    size = sum(os.path.getsize(os.path.join(directory, file)) for file in os.listdir(directory))
    print(f"  {size / 1000:.0f} kB: {' '.join(sorted(os.listdir(directory)))}")
    return size


def main():
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    here = os.path.dirname(os.path.abspath(__file__))
    output = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "family")
    chosen = sys.argv[2:]
    total = 0
    for name, (config, tokens, shard_size) in members().items():
        if not chosen or name in chosen:
            total += make(name, config, tokens, shard_size, output)
    print(f"total {total / 1000:.0f} kB")


if __name__ == "__main__":
    main()
