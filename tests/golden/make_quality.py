#!/usr/bin/env python3
"""Makes tests/golden/quality: small checkpoints that are hard to quantize, as trained ones are and plain
random weights are not.

Made with: Python 3.11.7, numpy 2.4.6.
Usage:     python make_quality.py [OUTPUT_DIRECTORY] [KIND...]

Each directory quality/<kind>/ has config.json, model.safetensors in bfloat16 and ids.npy, int32 [n], a
sequence that is longer than a block of the cache.

  outliers  Two channels of the residual stream are 100 times as large as the others and nearly the same
            for every token. A neuron of the first layer writes them, fed by a channel in which all
            embeddings agree. The gains of the norms behind it bring the other channels back to their
            size and leave the two at some 25 times (qkv, gate_up, lm_head). Each later layer has a key
            channel (of the slowest rotary pair), a value channel and a neuron that read them and are
            large and nearly constant themselves: outliers in the cache and in the inputs of o_proj and
            down_proj.
  tails     Rows of all matrices but the embedding are drawn from Student's t with 2 or 3 degrees of
            freedom, all of one size.
  zeros     A quarter of the groups of 32 columns of every row are 1e-6, 1e-7, 1e-8 of a normal row, or
            zero. Some rows are zero, among them those of a whole block of neurons, so that the input of
            down_proj has a block of zeros. The rows of values and of up are 2^-12 of their size and what
            reads them (o_proj, down_proj) is 2^12 of it: their groups are near zero and matter, and so
            are values in the cache and the inputs of these matrices.

What such a checkpoint does to a format says nothing when it would do the same to any small change. The
script runs each in float64 and fails unless a random change of the inputs of all matrices by a thousandth
moves the logits by little (KL divergence), the logits are peaked (a few nats of entropy), attention is
neither uniform nor one-hot, and the outliers are where and as large as described.
"""

import json
import math
import os
import struct
import sys
import zlib

import numpy as np

HIDDEN, INNER, VOCAB, LAYERS = 128, 128, 128, 3
HEADS, KV_HEADS, HEAD_DIM = 2, 1, 64
TOKENS = 96
THETA, EPSILON = 10000.0, 1e-5
QUERY, KEY = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM

CONFIG = {
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 120,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "max_position_embeddings": 128,
    "model_type": "phi3",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "original_max_position_embeddings": 128,
    "pad_token_id": 120,
    "rms_norm_eps": EPSILON,
    "rope_scaling": None,
    "rope_theta": THETA,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": VOCAB,
}

EMBEDDING, HEAD, FINAL_NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
INPUT_NORM, POST_NORM = "input_layernorm.weight", "post_attention_layernorm.weight"
QKV, O = "self_attn.qkv_proj.weight", "self_attn.o_proj.weight"
GATE_UP, DOWN = "mlp.gate_up_proj.weight", "mlp.down_proj.weight"


def name_of(layer, part):
    return f"model.layers.{layer}.{part}"


# ---- the weights -----------------------------------------------------------------------------------

RESIDUAL = 0.4  # of o_proj and down_proj: as in trained networks a layer adds little to the stream


def make_plain(rng, draw):
    """Weights by published name; draw(rows, columns) has a standard deviation of 1. Attention peaked but
    not one-hot, logits with a standard deviation of 2, norm weights far from one."""

    def matrix(rows, columns, gain):
        return draw(rows, columns) * gain / math.sqrt(columns)

    def norm():
        return rng.uniform(0.5, 1.5, HIDDEN)

    weights = {EMBEDDING: rng.standard_normal((VOCAB, HIDDEN))}
    for layer in range(LAYERS):
        weights[name_of(layer, INPUT_NORM)] = norm()
        weights[name_of(layer, QKV)] = np.concatenate(
            [matrix(QUERY, HIDDEN, 1.4), matrix(KEY, HIDDEN, 1.4), matrix(KEY, HIDDEN, 1.0)])
        weights[name_of(layer, O)] = matrix(HIDDEN, QUERY, RESIDUAL)
        weights[name_of(layer, POST_NORM)] = norm()
        weights[name_of(layer, GATE_UP)] = matrix(2 * INNER, HIDDEN, 1.5)
        weights[name_of(layer, DOWN)] = matrix(HIDDEN, INNER, RESIDUAL)
    weights[FINAL_NORM] = norm()
    weights[HEAD] = matrix(VOCAB, HIDDEN, 2.0)
    return weights


CONSTANT = 5  # the channel in which embeddings agree
OUTLIERS = {37: 1.0, 52: -0.7}  # channels of one block of 32, and their size
STREAM, NORMED = 120.0, 25.0  # the first, times the others: in the stream, behind a norm
NEURON, KEY_CHANNEL, VALUE_CHANNEL = 70, 31, 45
KEY_SIZE, VALUE_SIZE, NEURON_SIZE = 60.0, 12.0, 40.0  # where others are about 1


def rounded(value):
    """To two digits, so that the last bits of another machine's sums change no weight."""
    return float(f"{value:.1e}")


def size_of(x):
    return math.sqrt((x * x).mean())


def fit(weights, ids, name, norm=None):
    """The size of the other channels in an input of a matrix; with the name of the norm before it, that
    norm is scaled so that they have the size 1 and the outliers NORMED."""
    seen, channels = {}, list(OUTLIERS)
    forward(weights, ids, seen=seen)
    others = size_of(np.delete(seen[name], channels, 1))
    if norm:
        gain = weights[norm]
        gain /= rounded(others)
        for channel in channels:
            now = np.abs(seen[name][:, channel]).mean() / others
            gain[channel] *= rounded(abs(OUTLIERS[channel]) * NORMED / now)
    return others


def make_outliers(rng, ids):
    weights = make_plain(rng, lambda rows, columns: rng.standard_normal((rows, columns)))
    channels = list(OUTLIERS)
    embedding = weights[EMBEDDING]
    embedding[:, channels] *= 0.1
    embedding /= np.sqrt((embedding**2).mean(-1, keepdims=True))
    embedding[:, CONSTANT] = 3.0
    for layer in range(LAYERS):
        for part in (O, DOWN):
            weights[name_of(layer, part)][channels] *= 0.1

    # The first layer: silu(4) * 4 in a neuron, from the constant, and from there into the stream.
    gate_up, down = weights[name_of(0, GATE_UP)], weights[name_of(0, DOWN)]
    seen = {}
    forward(weights, ids, seen=seen)
    constant = rounded(seen[name_of(0, GATE_UP)][:, CONSTANT].mean())
    gate_up[[NEURON, INNER + NEURON]] = 0
    gate_up[[NEURON, INNER + NEURON], CONSTANT] = 4.0 / constant
    down[:, NEURON] *= 0.1
    others = rounded(size_of(seen[0, "stream"]))
    for channel, size in OUTLIERS.items():
        down[channel, NEURON] = size * STREAM * others / 15.7

    # What reads the stream behind it.
    first = channels[0]

    def read(norm, part):
        weights[part][:, channels] *= 0.4 * math.sqrt(HIDDEN) / NORMED
        fit(weights, ids, part, norm)

    for layer in range(1, LAYERS):
        qkv, gate_up = weights[name_of(layer, QKV)], weights[name_of(layer, GATE_UP)]
        read(name_of(layer, INPUT_NORM), name_of(layer, QKV))
        qkv[QUERY + KEY_CHANNEL, first] = KEY_SIZE / NORMED
        qkv[QUERY + KEY + VALUE_CHANNEL, first] = VALUE_SIZE / NORMED
        for head in range(HEADS):
            weights[name_of(layer, O)][:, head * HEAD_DIM + VALUE_CHANNEL] *= 0.2
        read(name_of(layer, POST_NORM), name_of(layer, GATE_UP))
        gate_up[[NEURON, INNER + NEURON]] *= 0.1
        gate_up[[NEURON, INNER + NEURON], first] = math.sqrt(NEURON_SIZE) / NORMED
        weights[name_of(layer, DOWN)][:, NEURON] *= 0.2
    read(FINAL_NORM, HEAD)
    return weights


def make_tails(rng, ids):
    def draw(rows, columns):
        freedom = np.where(np.arange(rows) % 2 == 0, 2.0, 3.0)[:, None]
        values = rng.standard_t(np.broadcast_to(freedom, (rows, columns)))
        return values / np.sqrt((values**2).mean(-1, keepdims=True))

    return make_plain(rng, draw)


GROUP = 32
TINY = 2.0**-12


def make_zeros(rng, ids):
    def draw(rows, columns):
        values = rng.standard_normal((rows, columns))
        kinds = rng.choice([1.0, 1e-6, 1e-7, 1e-8, 0.0], (rows, columns // GROUP),
                           p=[0.75, 0.0625, 0.0625, 0.0625, 0.0625])
        return values * np.repeat(kinds, GROUP, 1) / math.sqrt(0.75)

    weights = make_plain(rng, draw)
    for layer in range(LAYERS):
        qkv, gate_up = weights[name_of(layer, QKV)], weights[name_of(layer, GATE_UP)]
        qkv[QUERY + KEY:] *= TINY
        weights[name_of(layer, O)] /= TINY
        gate_up[INNER:] *= TINY
        weights[name_of(layer, DOWN)] /= TINY
        qkv[[3, QUERY + 7, QUERY + KEY + 11]] = 0
        gate_up[[5, INNER + 9]] = 0
    weights[name_of(1, GATE_UP)][INNER - GROUP:INNER] = 0
    return weights


KINDS = {"outliers": make_outliers, "tails": make_tails, "zeros": make_zeros}


# ---- files -----------------------------------------------------------------------------------------


def to_bfloat16(values):
    """The bits, rounded half to even."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def from_bfloat16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, bits in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(bits.shape),
                        "data_offsets": [offset, offset + bits.nbytes]}
        offset += bits.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for bits in tensors.values():
            file.write(bits.tobytes())


# ---- the network, in float64 -----------------------------------------------------------------------


def forward(weights, ids, change=None, seen=None):
    """Logits. change(x): what is put in the place of an input of a matrix. seen: a dictionary that gets
    these inputs, keys, values and the attention probabilities."""

    def multiply(x, name):
        if seen is not None:
            seen[name] = x
        return (change(x) if change else x) @ weights[name].T

    def rms_norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * weights[name]

    tokens, half = len(ids), HEAD_DIM // 2
    angles = np.arange(tokens)[:, None] / THETA ** (np.arange(half) / half)[None, :]
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def rotate(x):
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * c - b * s, b * c + a * s], -1)

    x = weights[EMBEDDING][ids]
    visible = np.tril(np.ones((tokens, tokens), bool))
    for layer in range(LAYERS):
        qkv = multiply(rms_norm(x, name_of(layer, INPUT_NORM)), name_of(layer, QKV))
        q, k, v = np.split(qkv, [QUERY, QUERY + KEY], -1)
        q = rotate(q.reshape(tokens, HEADS, HEAD_DIM))
        k = rotate(k.reshape(tokens, KV_HEADS, HEAD_DIM))
        v = v.reshape(tokens, KV_HEADS, HEAD_DIM)
        out = np.empty((tokens, HEADS, HEAD_DIM))
        for head in range(HEADS):
            group = head // (HEADS // KV_HEADS)
            scores = np.where(visible, q[:, head] @ k[:, group].T / math.sqrt(HEAD_DIM), -np.inf)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            out[:, head] = scores @ v[:, group]
            if seen is not None:
                seen[layer, "attention", head] = scores
        if seen is not None:
            seen[layer, "keys"], seen[layer, "values"] = k[:, 0], v[:, 0]
        x = x + multiply(out.reshape(tokens, -1), name_of(layer, O))
        inner = multiply(rms_norm(x, name_of(layer, POST_NORM)), name_of(layer, GATE_UP))
        gate, up = np.split(inner, 2, -1)
        x = x + multiply(gate / (1 + np.exp(-gate)) * up, name_of(layer, DOWN))
        if seen is not None:
            seen[layer, "stream"] = x
    return multiply(rms_norm(x, FINAL_NORM), HEAD)


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def divergence(reference, candidate):
    p, q = log_softmax(reference), log_softmax(candidate)
    return (np.exp(p) * (p - q)).sum(-1)


# ---- checks ----------------------------------------------------------------------------------------


def ratio_of(x, channels):
    """How large these channels are beside the others, and how much they change between tokens."""
    size = np.abs(x[:, channels])
    rest = np.sqrt((np.delete(x, channels, 1) ** 2).mean())
    return size.mean() / rest, (x[:, channels].std(0) / size.mean(0)).max()


def check(kind, weights, ids):
    seen = {}
    logits = forward(weights, ids, seen=seen)
    rng = np.random.default_rng(1)
    moved = forward(weights, ids, change=lambda x: x * (1 + 1e-3 * rng.standard_normal(x.shape)))
    condition = divergence(logits, moved).mean()
    p = log_softmax(logits)
    entropy = -(np.exp(p) * p).sum(-1).mean()
    maps = [seen[layer, "attention", head] for layer in range(LAYERS) for head in range(HEADS)]
    top = np.mean([m[TOKENS // 2:].max(-1).mean() for m in maps])
    print(f"  entropy {entropy:.2f} nats, logits std {logits.std():.2f}, top attention {top:.2f}, "
          f"inputs changed by a thousandth: KL {condition:.1e}")
    if kind == "outliers":
        check_outliers(seen)
    assert 1.5 < entropy < 3.6 and 0.1 < top < 0.7 and condition < 2e-4


def check_outliers(seen):
    channels = list(OUTLIERS)
    for layer in range(LAYERS):
        if layer > 0:
            places = {"keys": (seen[layer, "keys"], [KEY_CHANNEL]),
                      "values": (seen[layer, "values"], [VALUE_CHANNEL]),
                      "down": (seen[name_of(layer, DOWN)], [NEURON]),
                      "qkv": (seen[name_of(layer, QKV)], channels),
                      "gate_up": (seen[name_of(layer, GATE_UP)], channels)}
            for place, (x, at) in places.items():
                size, change = ratio_of(x, at)
                print(f"  layer {layer}: {place} {size:.0f} times the others, changing by {change:.2f}")
                assert 8 < size < 60 and change < 0.3
        size, change = ratio_of(seen[layer, "stream"], channels)
        print(f"  layer {layer}: stream {size:.0f} times the others, changing by {change:.2f}")
        assert 40 < size < 140 and change < 0.3


def make(kind, output):
    print(kind)
    directory = os.path.join(output, kind)
    os.makedirs(directory, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    ids = rng.integers(0, VOCAB, TOKENS)
    bits = {name: to_bfloat16(values) for name, values in KINDS[kind](rng, ids).items()}
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        file.write(json.dumps(CONFIG, indent=2) + "\n")
    write_safetensors(os.path.join(directory, "model.safetensors"), bits)
    np.save(os.path.join(directory, "ids.npy"), ids.astype(np.int32))
    check(kind, {name: from_bfloat16(value) for name, value in bits.items()}, ids)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    output = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "quality")
    for kind in sys.argv[2:] or KINDS:
        make(kind, output)


if __name__ == "__main__":
    main()
