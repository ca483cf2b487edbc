#!/usr/bin/env python3
"""Makes tests/golden/onnx-variants: small ONNX Runtime GenAI directories, drawn node by node, with what the
model builder writes only with rare options, or what a Phi-3 does not have.

Made with: Python 3.11.7, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
Usage:     python make_onnx_variants.py

Each onnx-variants/<name>/ has genai_config.json and model.onnx (one also model.onnx.data), and either
  tensors.txt  as in make_onnx.py: the variant is read, with these weights
  refused.txt  what the refusal says
No node and no tensor has a name of the builder's. The weights are seeded; their integers, scales and zero
points are known here, so tensors.txt does not depend on how a variant stores them. For what is read, the
script fails where ONNX Runtime's CPU provider computes something else (1e-3) than with the same weights as
floats in plain products.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from make_onnx import fnv
from onnx import TensorProto, helper, numpy_helper

OUT = Path(__file__).resolve().parent / "onnx-variants"
HIDDEN, HEADS, KV_HEADS, SIZE, MIDDLE, VOCAB, CONTEXT = 16, 1, 1, 16, 48, 8, 16
ROWS = {"qkv": (HEADS + 2 * KV_HEADS) * SIZE, "o": HIDDEN, "gate": MIDDLE, "up": MIDDLE, "down": HIDDEN}
COLUMNS = {"qkv": HIDDEN, "o": HEADS * SIZE, "gate": HIDDEN, "up": HIDDEN, "down": MIDDLE}
BLOCK = 16


def pack(q):
    """Two values a byte, the first in the low half; an odd row is padded with a zero."""
    q = np.pad(q, [(0, 0)] * (q.ndim - 1) + [(0, q.shape[-1] % 2)])
    return (q[..., ::2] | q[..., 1::2] << 4).astype(np.uint8)


class Weight:
    """w = (q - zero) * scale"""

    def __init__(self, seed, rows, columns, bits, centred):
        random = np.random.default_rng(seed)
        middle = 1 << (bits - 1)
        self.bits, self.rows, self.columns, self.blocks = bits, rows, columns, columns // BLOCK
        self.q = random.integers(0, 2 * middle, (rows, columns)).astype(np.uint8)
        self.scale = random.uniform(0.5, 1.5, (rows, self.blocks)).astype(np.float32) * np.float32(0.2 / middle)
        self.zero = random.integers(0, 2 * middle, self.scale.shape).astype(np.uint8)
        if centred:
            self.zero[:] = middle

    def floats(self):
        spread = lambda x: np.repeat(x, BLOCK, 1)
        return (self.q.astype(np.float32) - spread(self.zero)) * spread(self.scale)


class Drawing:
    """`how` has the words of the variant; `plain` draws the same weights as floats in plain products."""

    def __init__(self, how, plain):
        self.how, self.plain = how, plain
        self.nodes, self.tensors, self.count, self.external = [], [], 0, b""
        self.weights = {}
        self.vocab = HIDDEN if "square" in how else VOCAB

    def name(self):
        self.count += 1
        return f"v{self.count}"

    def tensor(self, array, kind=None, dims=None, outside=False):
        tensor = TensorProto(name=self.name(), data_type=kind or helper.np_dtype_to_tensor_dtype(array.dtype))
        tensor.dims.extend(dims or array.shape)
        raw = np.ascontiguousarray(array).tobytes()
        if outside:
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "model.onnx.data"), ("offset", len(self.external)), ("length", len(raw))):
                tensor.external_data.add(key=key, value=str(value))
            self.external += raw
        else:
            tensor.raw_data = raw
        self.tensors.append(tensor)
        return tensor.name

    def node(self, op, inputs, outputs=1, domain="", **attributes):
        names = outputs if isinstance(outputs, list) else [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=self.name(), domain=domain, **attributes))
        return names[0]

    # ---- products and the embedding

    def zeros(self, weight):
        if "float-zeros" in self.how:
            zero = weight.zero.astype(np.float32)
            zero.flat[3] += self.how["float-zeros"]
            return self.tensor(zero)
        if "zeros" not in self.how:
            return ""
        return self.tensor(pack(weight.zero) if weight.bits == 4 else weight.zero)

    def n_bits(self, x, weight, role):
        packed = pack(weight.q) if weight.bits == 4 else weight.q
        kind = TensorProto.INT8 if "signed-bytes" in self.how else None
        inputs = [x, self.tensor(packed.reshape(weight.rows, weight.blocks, -1), kind), self.tensor(weight.scale),
                  self.zeros(weight)]
        if "g_idx" in self.how and role != "lm_head":
            index = (np.arange(weight.columns) // BLOCK).astype(np.int32)
            if self.how["g_idx"] == "order" and weight.columns > 20:
                index[[3, 20]] = index[[20, 3]]
            inputs.append(self.tensor(index, outside=role != "down"))
        if self.how.get("bias") == "input" and role == "o":
            inputs += [""] * (5 - len(inputs)) + [self.tensor(np.ones(weight.rows, np.float32))]
        attributes = {"weight_prepacked": 1} if "prepacked" in self.how else {}
        return self.node("MatMulNBits", inputs, domain="com.microsoft", K=weight.columns, N=weight.rows, bits=weight.bits,
                         block_size=BLOCK, accuracy_level=1, **attributes)

    def dequantized(self, x, weight):
        """As pre-quantized models have it: [N, K], blocks along the last axis, then turned."""
        data = self.tensor(pack(weight.q), TensorProto.UINT4, (weight.rows, weight.columns))
        zero = self.tensor(pack(weight.zero.reshape(1, -1)), TensorProto.UINT4, weight.zero.shape)
        value = self.node("DequantizeLinear", [data, self.tensor(weight.scale), zero], axis=-1, block_size=BLOCK)
        return self.node("MatMul", [x, self.node("Transpose", [value], perm=[1, 0])])

    def product(self, x, role, layer=0):
        rows, columns = (self.vocab, HIDDEN) if role == "lm_head" else (ROWS[role], COLUMNS[role])
        centred = not {"zeros", "float-zeros", "dequantized"} & set(self.how)
        weight = Weight([layer, *role.encode()], rows, columns, self.how.get("bits", 4), centred)
        self.weights[role, layer] = weight.floats()
        if role == "lm_head" and "square" in self.how:
            self.weights[role, layer] = self.weights["embed", 0].T.copy()
            y = self.node("MatMul", [x, self.table])
        elif self.plain:
            y = self.node("MatMul", [x, self.tensor(weight.floats().T)])
        elif "dequantized" in self.how:
            y = self.dequantized(x, weight)
        else:
            y = self.n_bits(x, weight, role)
        if self.how.get("bias") == role:
            y = self.node("Add", [y, self.tensor(np.ones(rows, np.float32))])
        if self.how.get("lora") == role:
            low = self.node("MatMul", [x, self.tensor(np.ones((columns, 2), np.float32))])
            y = self.node("Add", [y, self.node("MatMul", [low, self.tensor(np.ones((2, rows), np.float32))])])
        return y

    def embedding(self, out):
        kind = self.how.get("gather")
        weight = Weight([99], self.vocab, HIDDEN, 4, False)
        self.weights["embed", 0] = weight.floats()
        if self.plain or not kind:
            self.table = self.tensor(weight.floats())
            return self.node("Gather", [self.table, "input_ids"], out)
        flip = 8 if kind == TensorProto.INT4 else 0
        inputs = [self.tensor(pack(weight.q ^ flip), kind, weight.q.shape), "input_ids", self.tensor(weight.scale),
                  self.tensor(pack((weight.zero ^ flip).reshape(1, -1)), kind, weight.zero.shape)]
        return self.node("GatherBlockQuantized", inputs, out, domain="com.microsoft", gather_axis=0, quantize_axis=1,
                         block_size=BLOCK, bits=4)

    # ---- the rest

    def tables(self, stretch=1.0, rows=CONTEXT):
        angles = np.arange(rows)[:, None] * 10000.0 ** (-np.arange(SIZE // 2) * 2 / SIZE)[None] / stretch
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def choice(self):
        """longrope's, with the threshold in int64_data, as helper.make_tensor writes it."""
        branches = {}
        for branch, stretch, rows in (("then_branch", 2.0, CONTEXT), ("else_branch", 1.0, CONTEXT // 2)):
            names = [self.name(), self.name()]
            constants = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(t))
                         for n, t in zip(names, self.tables(stretch, rows))]
            results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, SIZE // 2]) for n in names]
            branches[branch] = helper.make_graph(constants, self.name(), [], results)
        limit = self.node("Constant", [], value=helper.make_tensor("", TensorProto.INT64, [], [CONTEXT // 2]))
        names = [self.name(), self.name()]
        self.node("If", [self.node("Greater", [self.total, limit])], names, **branches)
        return names

    def joined(self):
        """longrope's tables one behind the other; attention rotates by positions that move to the second."""
        limit = self.tensor(np.array(CONTEXT // 2, np.int64))
        last = self.node("ReduceMax", ["position_ids"], keepdims=0)
        behind = self.node("Cast", [self.node("GreaterOrEqual", [last, limit])], to=TensorProto.INT64)
        self.positions = [self.node("Add", [self.node("Mul", [behind, limit]), "position_ids"])]
        pairs = zip(self.tables(1.0, CONTEXT // 2), self.tables(2.0))
        return [self.tensor(np.concatenate(pair)) for pair in pairs]

    def lengths(self):
        one = self.tensor(np.array([1], np.int64))
        first = self.tensor(np.array(1, np.int64))
        total = self.node("Gather", [self.node("Shape", ["attention_mask"]), first], axis=0)
        sums = self.node("ReduceSum", ["attention_mask", one], keepdims=0)
        self.total = total
        self.lengths_of = [self.node("Cast", [self.node("Sub", [sums, one])], to=TensorProto.INT32),
                           self.node("Cast", [total], to=TensorProto.INT32)]
        self.positions = []
        if "moved" in self.how:
            self.rope = self.joined()
            return
        self.rope = self.choice() if "int64_data" in self.how else [self.tensor(t) for t in self.tables()]

    def attention(self, x, layer):
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        present = [f"present.{layer}.key", f"present.{layer}.value"]
        if "attention" in self.how:
            weight = self.tensor(np.ones((HIDDEN, ROWS["qkv"]), np.float32))
            return self.node("Attention", [x, weight, self.tensor(np.zeros(ROWS["qkv"], np.float32))], domain="com.microsoft",
                             num_heads=HEADS, do_rotary=1, unidirectional=1)
        attributes = {"num_heads": HEADS, "kv_num_heads": KV_HEADS, "do_rotary": 1, **self.how.get("attributes", {})}
        if self.how.get("scales", [None] * 2)[layer]:
            attributes["scale"] = self.how["scales"][layer]
        qkv = self.product(x, "qkv", layer)
        out = [self.name(), *present]
        return self.node("GroupQueryAttention", [qkv, "", "", *past, *self.lengths_of, *self.rope, *self.positions], out,
                         domain="com.microsoft", **attributes)

    def norm_weight(self):
        return self.tensor((1 + np.arange(HIDDEN) / 64).astype(np.float32))

    def norm(self, x):
        if "norm" not in self.how:
            return self.node("SimplifiedLayerNormalization", [x, self.norm_weight()], epsilon=1e-5, axis=-1, stash_type=1)
        float_of = lambda value: self.tensor(np.array(value, np.float32))
        power, above = self.how["norm"]
        square = self.node("Pow", [x, float_of(power)])
        mean = self.node("ReduceMean", [square, self.tensor(np.array([-1], np.int64))])
        root = self.node("Sqrt", [self.node("Add", [mean, float_of(1e-5)])])
        inverse = self.node("Div", [float_of(above), root])
        return self.node("Mul", [self.node("Mul", [x, inverse]), self.norm_weight()])

    def draw(self):
        self.lengths()
        x = self.embedding([self.name()])
        layers = self.how.get("layers", 1)
        for layer in range(layers):
            x = self.node("Add", [x, self.product(self.attention(self.norm(x), layer), "o", layer)])
            y = self.norm(x)
            gate, up = self.product(y, "gate", layer), self.product(y, "up", layer)
            both = self.node("Mul", [self.node("Mul", [gate, self.node("Sigmoid", [gate])]), up])
            x = self.node("Add", [x, self.product(both, "down", layer)])
        logits = self.product(self.norm(x), "lm_head")
        self.nodes[-1].output[0] = "answers"
        value = helper.make_tensor_value_info
        kinds = lambda name, length: [value(f"{name}.{i}.{part}", TensorProto.FLOAT, ["b", KV_HEADS, length, SIZE])
                                      for i in range(layers) for part in ("key", "value")]
        inputs = [value("input_ids", TensorProto.INT64, ["b", "s"]), value("attention_mask", TensorProto.INT64, ["b", "t"])]
        if self.positions:
            inputs.append(value("position_ids", TensorProto.INT64, ["b", "s"]))
        outputs = [value("answers", TensorProto.FLOAT, ["b", "s", self.vocab])]
        graph = helper.make_graph(self.nodes, "g", inputs + kinds("past_key_values", "p"), outputs + kinds("present", "t"),
                                  self.tensors)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def parameters(self):
        out = {"model.embed_tokens": self.weights["embed", 0]}
        for i in range(self.how.get("layers", 1)):
            base = f"model.layers.{i}."
            out[base + "self_attn.qkv_proj"] = self.weights["qkv", i]
            out[base + "self_attn.o_proj"] = self.weights["o", i]
            out[base + "mlp.gate_up_proj"] = np.concatenate([self.weights["gate", i], self.weights["up", i]])
            out[base + "mlp.down_proj"] = self.weights["down", i]
        out["lm_head"] = self.weights["lm_head", 0]
        return out


READ = {
    "names": {},
    "int8-zeros": {"bits": 8, "zeros": True},
    "float-zeros": {"float-zeros": 0},
    "g-idx": {"g_idx": "trivial"},
    "gather-int4": {"gather": TensorProto.INT4},
    "gather-uint4": {"gather": TensorProto.UINT4},
    "dequantized-rows": {"dequantized": True},
    "window": {"attributes": {"local_window_size": 7}},
    "norm-primitives": {"norm": (2, 1)},
    "int64-data": {"int64_data": True},
    "moved-positions": {"moved": True},
    "square-table": {"square": True},
}
REFUSED = {
    "bias-qkv": ({"bias": "qkv"}, "a bias or an adapter"),
    "bias-o": ({"bias": "o"}, "a bias or an adapter"),
    "bias-down": ({"bias": "down"}, "a bias or an adapter"),
    "bias-input": ({"bias": "input"}, "a bias"),
    "lora-down": ({"lora": "down"}, "a bias or an adapter"),
    "g-idx-order": ({"g_idx": "order"}, "g_idx"),
    "prepacked": ({"prepacked": True}, "weight_prepacked"),
    "float-zeros-between": ({"float-zeros": 0.5}, "zero point"),
    "signed-bytes": ({"signed-bytes": True}, "UINT8"),
    "attention": ({"attention": True}, "(Attention)"),
    "norm-power": ({"norm": (3, 1)}, "norm"),
    "norm-above": ({"norm": (2, 2)}, "norm"),
    "smooth-softmax": ({"attributes": {"smooth_softmax": 1}}, "smooth_softmax"),
    "scale-of-last-layer": ({"layers": 2, "scales": [None, 2.0]}, "scale"),
}


def logits(model, external, layers):
    if external:
        (OUT / "model.onnx.data").write_bytes(external)
    (OUT / "model.onnx").write_bytes(model.SerializeToString())
    session = ort.InferenceSession(OUT / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(1).integers(0, VOCAB, (1, 12))
    feeds = {"input_ids": ids, "attention_mask": np.ones((1, 12), np.int64)}
    if "position_ids" in [value.name for value in session.get_inputs()]:
        feeds["position_ids"] = np.arange(12)[None]
    for i in range(layers):
        for part in ("key", "value"):
            feeds[f"past_key_values.{i}.{part}"] = np.zeros((1, KV_HEADS, 0, SIZE), np.float32)
    out = session.run(["answers"], feeds)[0]
    for file in OUT.glob("model.onnx*"):
        file.unlink()
    return out


def write(name, how):
    drawing = Drawing(how, False)
    model = drawing.draw()
    out = OUT / name
    out.mkdir()
    (out / "model.onnx").write_bytes(model.SerializeToString())
    if drawing.external:
        (out / "model.onnx.data").write_bytes(drawing.external)
    decoder = {"filename": "model.onnx", "outputs": {"logits": "answers"}, "sliding_window": {"window_size": 9}}
    genai = {"model": {"type": "phi3", "context_length": CONTEXT, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": VOCAB,
                       "decoder": decoder}, "search": {}}
    (out / "genai_config.json").write_text(json.dumps(genai, separators=(",", ":")) + "\n")
    return out, drawing, model


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    for name, how in READ.items():
        out, drawing, model = write(name, how)
        lines = [f"{key}.weight {w.shape[0]} {w.shape[1]} {fnv(w.tobytes()):016x}\n" for key, w in drawing.parameters().items()]
        (out / "tensors.txt").write_text("".join(lines))
        same = {key: value for key, value in how.items() if key != "norm"}
        found = logits(model, drawing.external, 1)
        wanted = logits(Drawing(same, True).draw(), b"", 1)
        difference = np.abs(found - wanted).max()
        print(f"{name}: logits up to {np.abs(wanted).max():.1f}, ONNX Runtime differs by {difference:.1e}")
        assert difference < 1e-3
    for name, (how, word) in REFUSED.items():
        out = write(name, how)[0]
        (out / "refused.txt").write_text(word)


if __name__ == "__main__":
    main()
