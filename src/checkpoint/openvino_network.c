#include "checkpoint/openvino_network.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ANY PX_IR_DYNAMIC

struct network {
    px_ir *ir;
    const px_desc *desc;
    px_ir_weight_fn *weight;
    void *user;
    px_ir_value zero, one, two, three, last, first_axis; /* i64: scalar 0; [1] 1, 2, 3, -1, 0 */
    px_ir_value batch;                       /* i64 [1] */
    px_ir_value beams;                       /* i32 [batch] */
    px_ir_value mask;                        /* f32 [batch, 1, tokens, keys] */
    px_ir_value cosine, sine;                /* f32 [batch, 1, tokens, rotary_dim] */
    px_ir_value square, epsilon, unit;       /* f32 [1, 1, 1], of the norms */
    px_ir_value minus;                       /* f32 [1, 1, 1, 1]: -1 */
    px_ir_value scale;                       /* f32: of attention scores */
    px_ir_value split_heads, split_kv_heads; /* i64 [4]: shapes [0, 0, heads, head_dim] */
    px_ir_value swap;                        /* i64 [4]: heads before tokens, and back */
    px_ir_value join_heads;                  /* i64 [3]: [0, 0, heads * head_dim] */
};

/* C leaves open which argument of a call is evaluated first. So that every compiler numbers the layers in
 * the same way, no call below has two arguments that add layers. */

/* ---- short forms --------------------------------------------------------------------------- */

static px_ir_value op(struct network *net, const char *type, const char *opset, const char *data,
                      px_ir_type out, px_ir_shape shape, int count, const px_ir_value *inputs)
{
    const px_ir_op description = {.type = type, .opset = opset, .data = data};
    return px_ir_add(net->ir, &description, out, shape, count, inputs);
}

/* An operation on numbers of one type, whose shape is that of its first operand. */
static px_ir_value binary(struct network *net, const char *type, px_ir_value a, px_ir_value b)
{
    return op(net, type, "opset1", "auto_broadcast=\"numpy\"", a.type, a.shape, PX_IR_VALUES(a, b));
}

static px_ir_value convert(struct network *net, px_ir_value x, px_ir_type type, const char *element)
{
    char data[64];
    snprintf(data, sizeof data, "destination_type=\"%s\"", element);
    return op(net, "Convert", "opset1", data, type, x.shape, PX_IR_VALUES(x));
}

static px_ir_value integers(struct network *net, int count, const int64_t *values)
{
    return px_ir_const(net->ir, NULL, PX_IR_I64, PX_IR_SHAPE(count), values);
}

static px_ir_value integer(struct network *net, int64_t value)
{
    return px_ir_const(net->ir, NULL, PX_IR_I64, px_ir_scalar, &value);
}

static px_ir_value real(struct network *net, px_ir_shape shape, float value)
{
    return px_ir_const(net->ir, NULL, PX_IR_F32, shape, &value);
}

static px_ir_value unsqueeze(struct network *net, px_ir_value x, px_ir_value axis, px_ir_shape shape)
{
    return op(net, "Unsqueeze", "opset1", NULL, x.type, shape, PX_IR_VALUES(x, axis));
}

static px_ir_value reshape(struct network *net, px_ir_value x, px_ir_value to, px_ir_shape shape)
{
    return op(net, "Reshape", "opset1", "special_zero=\"true\"", x.type, shape, PX_IR_VALUES(x, to));
}

static px_ir_value transpose(struct network *net, px_ir_value x, px_ir_value order,
                             px_ir_shape shape)
{
    return op(net, "Transpose", "opset1", NULL, x.type, shape, PX_IR_VALUES(x, order));
}

static px_ir_value join(struct network *net, int axis, px_ir_shape shape, int count,
                        const px_ir_value *parts)
{
    char data[32];
    snprintf(data, sizeof data, "axis=\"%d\"", axis);
    return op(net, "Concat", "opset1", data, parts[0].type, shape, count, parts);
}

/* One number of a shape: [1], where that is of rank 1. */
static px_ir_value dimension(struct network *net, px_ir_value shape, px_ir_value index)
{
    const px_ir_shape out = index.shape;
    return op(net, "Gather", "opset8", "batch_dims=\"0\"", PX_IR_I64, out,
              PX_IR_VALUES(shape, index, net->zero));
}

static px_ir_value shape_of(struct network *net, px_ir_value x)
{
    return op(net, "ShapeOf", "opset3", "output_type=\"i64\"", PX_IR_I64, PX_IR_SHAPE(x.shape.rank),
              PX_IR_VALUES(x));
}

/* Columns [begin, end) of the last axis of a value of four. */
static px_ir_value columns(struct network *net, px_ir_value x, int64_t begin, int64_t end)
{
    px_ir_shape shape = x.shape;
    shape.dims[3] = end - begin;
    const px_ir_value from = integers(net, 1, &begin), to = integers(net, 1, &end);
    return op(net, "Slice", "opset8", NULL, x.type, shape,
              PX_IR_VALUES(x, from, to, net->one, net->three));
}

static px_ir_value product(struct network *net, px_ir_value x, px_role role, int32_t layer)
{
    const px_ir_value weight = net->weight(net->user, net->ir, role, layer);
    const px_ir_shape shape = PX_IR_SHAPE(ANY, ANY, weight.shape.dims[0]);
    return op(net, "MatMul", "opset1", "transpose_a=\"false\" transpose_b=\"true\"", PX_IR_F32,
              shape, PX_IR_VALUES(x, weight));
}

/* ---- inputs and what all layers share ------------------------------------------------------ */

static px_ir_value parameter(struct network *net, const char *name, px_ir_type type,
                             const char *element, int rank)
{
    char data[64];
    snprintf(data, sizeof data, "shape=\"%s\" element_type=\"%s\"", rank == 1 ? "?" : "?,?", element);
    const px_ir_op description = {.type = "Parameter", .opset = "opset1", .name = name,
                                  .data = data, .outputs = name};
    const px_ir_shape shape = {rank, {ANY, ANY}};
    return px_ir_add(net->ir, &description, type, shape, 0, NULL);
}

static void add_constants(struct network *net)
{
    const px_desc *const desc = net->desc;
    const int64_t values[] = {0, 1, 2, 3, -1}, swap[] = {0, 2, 1, 3};
    const int64_t heads[] = {0, 0, desc->num_attention_heads, desc->head_dim};
    const int64_t kv_heads[] = {0, 0, desc->num_key_value_heads, desc->head_dim};
    const int64_t joined[] = {0, 0, (int64_t)desc->num_attention_heads * desc->head_dim};
    net->zero = integer(net, 0);
    net->first_axis = integers(net, 1, &values[0]);
    net->one = integers(net, 1, &values[1]);
    net->two = integers(net, 1, &values[2]);
    net->three = integers(net, 1, &values[3]);
    net->last = integers(net, 1, &values[4]);
    net->swap = integers(net, 4, swap);
    net->split_heads = integers(net, 4, heads);
    net->split_kv_heads = integers(net, 4, kv_heads);
    net->join_heads = integers(net, 3, joined);
    net->square = real(net, PX_IR_SHAPE(1, 1, 1), 2);
    net->epsilon = real(net, PX_IR_SHAPE(1, 1, 1), desc->rms_norm_eps);
    net->unit = real(net, PX_IR_SHAPE(1, 1, 1), 1);
    net->minus = real(net, PX_IR_SHAPE(1, 1, 1, 1), -1);
    net->scale = real(net, px_ir_scalar, (float)(1 / sqrt((double)desc->head_dim)));
}

/*
 * 0 where a token sees a key, a large negative number elsewhere. Causal by index. The window goes by
 * the positions of keys, counted by the mask: caches of a fixed size have holes in which an index says
 * nothing.
 */
static void add_mask(struct network *net, px_ir_value ids, px_ir_value attention,
                     px_ir_value positions)
{
    const px_ir_value index = integer(net, 1), step = integer(net, 1);
    const px_ir_value all = dimension(net, shape_of(net, attention), index);
    const px_ir_value tokens = dimension(net, shape_of(net, ids), index);
    const px_ir_value past = binary(net, "Subtract", all, tokens);
    const char *const i64 = "output_type=\"i64\"";
    const px_ir_value keys =
        op(net, "Range", "opset4", i64, PX_IR_I64, PX_IR_SHAPE(ANY), PX_IR_VALUES(net->zero, all, step));
    px_ir_value queries =
        op(net, "Range", "opset4", i64, PX_IR_I64, PX_IR_SHAPE(ANY), PX_IR_VALUES(past, all, step));
    queries = unsqueeze(net, queries, net->one, PX_IR_SHAPE(ANY, 1));
    const char *const numpy = "auto_broadcast=\"numpy\"";
    px_ir_value seen = op(net, "LessEqual", "opset1", numpy, PX_IR_BOOLEAN, PX_IR_SHAPE(ANY, ANY),
                          PX_IR_VALUES(keys, queries));
    const int64_t middle[] = {1, 2};
    const px_ir_value axes = integers(net, 2, middle);
    const px_ir_value valid = unsqueeze(net, convert(net, attention, PX_IR_BOOLEAN, "boolean"), axes,
                                        PX_IR_SHAPE(ANY, 1, 1, ANY));
    const px_ir_shape whole = PX_IR_SHAPE(ANY, 1, ANY, ANY);
    seen = op(net, "LogicalAnd", "opset1", numpy, PX_IR_BOOLEAN, whole, PX_IR_VALUES(seen, valid));
    if (net->desc->sliding_window) {
        const px_ir_value window = integer(net, net->desc->sliding_window);
        const px_ir_value ended = op(net, "CumSum", "opset3", "exclusive=\"true\" reverse=\"false\"",
                                     PX_IR_I64, attention.shape, PX_IR_VALUES(attention, index));
        const px_ir_value key_at = unsqueeze(net, ended, axes, PX_IR_SHAPE(ANY, 1, 1, ANY));
        const int64_t outer[] = {1, 3};
        const px_ir_value sides = integers(net, 2, outer);
        const px_ir_value query_at = unsqueeze(net, binary(net, "Subtract", positions, window), sides,
                                               PX_IR_SHAPE(ANY, 1, ANY, 1));
        const px_ir_value near = op(net, "Greater", "opset1", numpy, PX_IR_BOOLEAN, whole,
                                    PX_IR_VALUES(key_at, query_at));
        seen = op(net, "LogicalAnd", "opset1", numpy, PX_IR_BOOLEAN, whole, PX_IR_VALUES(seen, near));
    }
    const px_ir_value pass = real(net, px_ir_scalar, 0), stop = real(net, px_ir_scalar, -65504);
    net->mask = op(net, "Select", "opset1", numpy, PX_IR_F32, whole, PX_IR_VALUES(seen, pass, stop));
}

static px_ir_value frequencies(struct network *net, bool is_long)
{
    const int64_t half = net->desc->rotary_dim / 2;
    float *const inverse = px_calloc((size_t)half, sizeof *inverse);
    if (!inverse) {
        px_ir_fail_memory(net->ir, (size_t)half * sizeof *inverse);
        return net->scale;
    }
    px_rope_frequencies(net->desc, is_long, inverse);
    const px_ir_value value =
        px_ir_const(net->ir, NULL, PX_IR_F32, PX_IR_SHAPE(1, half, 1), inverse);
    free(inverse);
    return value;
}

/* The rotary tables of the tokens. With longrope the largest position of a call says which factors its
 * tokens get; keys in the cache stay as they are. */
static void add_rope(struct network *net, px_ir_value positions)
{
    const px_desc *const desc = net->desc;
    const int64_t half = desc->rotary_dim / 2;
    px_ir_value inverse = frequencies(net, false);
    if (desc->longrope) {
        const px_ir_value other = frequencies(net, true);
        const int64_t both[] = {0, 1};
        const px_ir_value limit = integer(net, desc->original_max_position);
        const px_ir_value largest = op(net, "ReduceMax", "opset1", "keep_dims=\"false\"", PX_IR_I64,
                                       px_ir_scalar, PX_IR_VALUES(positions, integers(net, 2, both)));
        const px_ir_value is_long = op(net, "GreaterEqual", "opset1", "auto_broadcast=\"numpy\"",
                                       PX_IR_BOOLEAN, px_ir_scalar, PX_IR_VALUES(largest, limit));
        inverse = op(net, "Select", "opset1", "auto_broadcast=\"numpy\"", PX_IR_F32, inverse.shape,
                     PX_IR_VALUES(is_long, other, inverse));
    }
    px_ir_value at = unsqueeze(net, positions, net->one, PX_IR_SHAPE(ANY, 1, ANY));
    at = convert(net, at, PX_IR_F32, "f32");
    px_ir_value angles = op(net, "MatMul", "opset1", "transpose_a=\"false\" transpose_b=\"false\"",
                            PX_IR_F32, PX_IR_SHAPE(ANY, half, ANY), PX_IR_VALUES(inverse, at));
    const int64_t order[] = {0, 2, 1};
    angles = transpose(net, angles, integers(net, 3, order), PX_IR_SHAPE(ANY, ANY, half));
    angles = join(net, -1, PX_IR_SHAPE(ANY, ANY, 2 * half), PX_IR_VALUES(angles, angles));
    px_ir_value *const tables[] = {&net->cosine, &net->sine};
    const px_ir_value scale = real(net, PX_IR_SHAPE(1, 1, 1), desc->rope_scale);
    for (int i = 0; i < 2; i++) {
        px_ir_value table = op(net, i ? "Sin" : "Cos", "opset1", NULL, PX_IR_F32, angles.shape,
                               PX_IR_VALUES(angles));
        if (desc->longrope) table = binary(net, "Multiply", table, scale);
        *tables[i] = unsqueeze(net, table, net->one, PX_IR_SHAPE(ANY, 1, ANY, 2 * half));
    }
}

/* ---- a layer ------------------------------------------------------------------------------- */

static px_ir_value norm(struct network *net, px_ir_value x, px_role role, int32_t layer)
{
    const px_ir_shape one = PX_IR_SHAPE(ANY, ANY, 1);
    const px_ir_value squares = binary(net, "Power", x, net->square);
    px_ir_value mean = op(net, "ReduceMean", "opset1", "keep_dims=\"true\"", PX_IR_F32, one,
                          PX_IR_VALUES(squares, net->last));
    mean = binary(net, "Add", mean, net->epsilon);
    const px_ir_value root = op(net, "Sqrt", "opset1", NULL, PX_IR_F32, one, PX_IR_VALUES(mean));
    const px_ir_value inverse =
        op(net, "Divide", "opset1", "auto_broadcast=\"numpy\" m_pythondiv=\"true\"", PX_IR_F32, one,
           PX_IR_VALUES(net->unit, root));
    const px_ir_value gain = net->weight(net->user, net->ir, role, layer);
    return binary(net, "Multiply", binary(net, "Multiply", x, inverse), gain);
}

/* x: [batch, heads, tokens, head_dim]. */
static px_ir_value rotate(struct network *net, px_ir_value x)
{
    const int64_t head = net->desc->head_dim, size = net->desc->rotary_dim, half = size / 2;
    px_ir_shape shape = x.shape;
    const px_ir_value rest = size < head ? columns(net, x, size, head) : x;
    if (size < head) x = columns(net, x, 0, size);
    shape.dims[3] = size;
    const px_ir_value first = columns(net, x, 0, half), second = columns(net, x, half, size);
    const px_ir_value negated = binary(net, "Multiply", second, net->minus);
    const px_ir_value turned = join(net, -1, shape, PX_IR_VALUES(negated, first));
    const px_ir_value straight = binary(net, "Multiply", x, net->cosine);
    const px_ir_value crossed = binary(net, "Multiply", turned, net->sine);
    const px_ir_value rotated = binary(net, "Add", straight, crossed);
    shape.dims[3] = head;
    return size < head ? join(net, -1, shape, PX_IR_VALUES(rotated, rest)) : rotated;
}

/* Appends to the state of keys or values and gives it whole: [batch, kv_heads, keys, head_dim]. */
static px_ir_value cached(struct network *net, px_ir_value x, const char *what, int32_t layer)
{
    const px_desc *const desc = net->desc;
    const int64_t kv_heads = desc->num_key_value_heads, head = desc->head_dim;
    const px_ir_shape shape = PX_IR_SHAPE(ANY, kv_heads, ANY, head);
    char id[96], data[256];
    snprintf(id, sizeof id, "variable_id=\"past_key_values.%d.%spresent.%d.%s\"", layer, what, layer,
             what);
    snprintf(data, sizeof data,
             "%s variable_type=\"f32\" variable_shape=\"?,%" PRId64 ",?,%" PRId64 "\"", id, kv_heads,
             head);
    const int64_t sizes[] = {kv_heads, 0, head};
    const px_ir_value empty_shape =
        join(net, 0, PX_IR_SHAPE(4), PX_IR_VALUES(net->batch, integers(net, 3, sizes)));
    const px_ir_value empty = op(net, "Broadcast", "opset3", "mode=\"numpy\"", PX_IR_F32, shape,
                                 PX_IR_VALUES(real(net, px_ir_scalar, 0), empty_shape));
    px_ir_value state = op(net, "ReadValue", "opset6", data, PX_IR_F32, shape, PX_IR_VALUES(empty));
    state = op(net, "Gather", "opset8", "batch_dims=\"0\"", PX_IR_F32, shape,
               PX_IR_VALUES(state, net->beams, net->zero));
    state = join(net, -2, shape, PX_IR_VALUES(state, x));
    op(net, "Assign", "opset6", id, PX_IR_F32, shape, PX_IR_VALUES(state));
    return state;
}

/* Grouped-query attention: each head of keys and values for `heads / kv_heads` heads of queries. */
static px_ir_value repeated(struct network *net, px_ir_value x)
{
    const px_desc *const desc = net->desc;
    const int64_t heads = desc->num_attention_heads, kv_heads = desc->num_key_value_heads;
    const int64_t head = desc->head_dim, times = heads / kv_heads;
    if (times == 1) return x;
    const int64_t wide[] = {1, 1, times, 1, 1}, narrow[] = {0, heads, -1, head};
    x = unsqueeze(net, x, net->two, PX_IR_SHAPE(ANY, kv_heads, 1, ANY, head));
    x = op(net, "Broadcast", "opset3", "mode=\"bidirectional\"", PX_IR_F32,
           PX_IR_SHAPE(ANY, kv_heads, times, ANY, head), PX_IR_VALUES(x, integers(net, 5, wide)));
    return reshape(net, x, integers(net, 4, narrow), PX_IR_SHAPE(ANY, heads, ANY, head));
}

static px_ir_value attention(struct network *net, px_ir_value x, int32_t layer)
{
    const px_desc *const desc = net->desc;
    const int64_t heads = desc->num_attention_heads, kv_heads = desc->num_key_value_heads;
    const int64_t head = desc->head_dim;
    const int64_t sizes[] = {heads * head, kv_heads * head, kv_heads * head};
    const px_ir_op split = {.type = "VariadicSplit", .opset = "opset1"};
    px_ir_value parts[3];
    for (int i = 0; i < 3; i++)
        parts[i] = (px_ir_value){.type = PX_IR_F32, .shape = PX_IR_SHAPE(ANY, ANY, sizes[i])};
    const px_ir_value qkv = product(net, x, PX_QKV, layer);
    const px_ir_value axis = integer(net, 2), lengths = integers(net, 3, sizes);
    px_ir_add_many(net->ir, &split, 3, parts, PX_IR_VALUES(qkv, axis, lengths));
    for (int i = 0; i < 3; i++) {
        const int64_t count = i ? kv_heads : heads;
        parts[i] = reshape(net, parts[i], i ? net->split_kv_heads : net->split_heads,
                           PX_IR_SHAPE(ANY, ANY, count, head));
        parts[i] = transpose(net, parts[i], net->swap, PX_IR_SHAPE(ANY, count, ANY, head));
    }
    const px_ir_value query = rotate(net, parts[0]);
    const px_ir_value key = repeated(net, cached(net, rotate(net, parts[1]), "key", layer));
    const px_ir_value value = repeated(net, cached(net, parts[2], "value", layer));
    const px_ir_value mixed =
        op(net, "ScaledDotProductAttention", "opset13", "causal=\"false\"", PX_IR_F32, query.shape,
           PX_IR_VALUES(query, key, value, net->mask, net->scale));
    const px_ir_value rows = transpose(net, mixed, net->swap, PX_IR_SHAPE(ANY, ANY, heads, head));
    return product(net, reshape(net, rows, net->join_heads, PX_IR_SHAPE(ANY, ANY, heads * head)),
                   PX_O, layer);
}

static px_ir_value mlp(struct network *net, px_ir_value x, int32_t layer)
{
    const int64_t size = net->desc->intermediate_size, sizes[] = {size, size};
    const px_ir_op split = {.type = "VariadicSplit", .opset = "opset1"};
    const px_ir_value half = {.type = PX_IR_F32, .shape = PX_IR_SHAPE(ANY, ANY, size)};
    px_ir_value parts[2] = {half, half};
    const px_ir_value both = product(net, x, PX_GATE_UP, layer);
    const px_ir_value axis = integer(net, -1), lengths = integers(net, 2, sizes);
    px_ir_add_many(net->ir, &split, 2, parts, PX_IR_VALUES(both, axis, lengths));
    const px_ir_value gate =
        op(net, "Swish", "opset4", NULL, PX_IR_F32, half.shape, PX_IR_VALUES(parts[0]));
    return product(net, binary(net, "Multiply", parts[1], gate), PX_DOWN, layer);
}

void px_ir_add_network(px_ir *ir, const px_desc *desc, px_ir_weight_fn *weight, void *user)
{
    struct network net = {.ir = ir, .desc = desc, .weight = weight, .user = user};
    const px_ir_value ids = parameter(&net, "input_ids", PX_IR_I64, "i64", 2);
    const px_ir_value valid = parameter(&net, "attention_mask", PX_IR_I64, "i64", 2);
    const px_ir_value positions = parameter(&net, "position_ids", PX_IR_I64, "i64", 2);
    net.beams = parameter(&net, "beam_idx", PX_IR_I32, "i32", 1);
    add_constants(&net);
    net.batch = dimension(&net, shape_of(&net, ids), net.first_axis);
    add_mask(&net, ids, valid, positions);
    add_rope(&net, positions);
    const px_ir_value table = weight(user, ir, PX_EMBEDDING, 0);
    px_ir_value x = op(&net, "Gather", "opset8", "batch_dims=\"0\"", PX_IR_F32,
                       PX_IR_SHAPE(ANY, ANY, desc->hidden_size),
                       PX_IR_VALUES(table, convert(&net, ids, PX_IR_I32, "i32"), net.zero));
    for (int32_t layer = 0; layer < desc->num_hidden_layers; layer++) {
        x = binary(&net, "Add", x, attention(&net, norm(&net, x, PX_INPUT_NORM, layer), layer));
        x = binary(&net, "Add", x, mlp(&net, norm(&net, x, PX_POST_NORM, layer), layer));
    }
    x = norm(&net, x, PX_FINAL_NORM, 0);
    const px_ir_value head = weight(user, ir, PX_LM_HEAD, 0);
    const px_ir_op product_op = {.type = "MatMul", .opset = "opset1",
                                 .data = "transpose_a=\"false\" transpose_b=\"true\"",
                                 .outputs = "logits"};
    const px_ir_value logits = px_ir_add(ir, &product_op, PX_IR_F32,
                                         PX_IR_SHAPE(ANY, ANY, desc->vocab_size), PX_IR_VALUES(x, head));
    const px_ir_op result = {.type = "Result", .opset = "opset1", .name = "logits/sink"};
    px_ir_add_many(ir, &result, 0, NULL, PX_IR_VALUES(logits));
}
