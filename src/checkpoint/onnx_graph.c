#include "checkpoint/onnx_graph.h"

#include "checkpoint/onnx_rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct walk {
    const px_onnx_source *source;
    const px_onnx_model *model;
    px_onnx_network *network;
};

/* A norm: what is normalized is one value, or the sum of two. */
struct norm {
    const px_onnx_node *node;
    const px_onnx_tensor *weight;
    const px_onnx_value *a, *b; /* b NULL: a alone */
    const px_onnx_value *sum;   /* of both; NULL where nothing else uses it */
    float epsilon;
};

/* ---- small steps --------------------------------------------------------------------------- */

static const px_onnx_value *skip(const px_onnx_model *model, const px_onnx_value *value)
{
    enum { MOST_STEPS = 8 };
    for (int i = 0; i < MOST_STEPS; i++) {
        const px_onnx_node *const node = px_onnx_producer(model, value);
        if (!px_onnx_is(node, "Cast") && !px_onnx_is(node, "Identity")) break;
        value = px_onnx_input(model, node, 0);
    }
    return value;
}

/* The node behind a value and what does not change its numbers. */
static const px_onnx_node *node_behind(const struct walk *w, const px_onnx_value *value)
{
    return px_onnx_producer(w->model, skip(w->model, value));
}

static const px_onnx_value *input(const struct walk *w, const px_onnx_node *node, size_t index)
{
    return skip(w->model, px_onnx_input(w->model, node, index));
}

/* Wherever the walk finds something else than what must be there. */
static phlox_status unexpected(const struct walk *w, const px_onnx_node *node, const char *wanted)
{
    if (node && (px_onnx_is(node, "Add") || px_onnx_is(node, "Concat")))
        return px_onnx_refuse(w->source, node, "a bias or an adapter, which the family does not have");
    if (node) return px_onnx_refuse(w->source, node, wanted);
    return px_fail(w->source->error, PHLOX_ERROR_UNSUPPORTED, "%s: %s, and there is no node",
                   w->source->path, wanted);
}

static bool is_product(const px_onnx_node *node)
{
    return px_onnx_is(node, "MatMul") || px_onnx_is(node, "MatMulNBits");
}

/* The product behind a value, added to the stack. */
static phlox_status take_product(const struct walk *w, const px_onnx_value *value, px_onnx_stack *out,
                                 const px_onnx_node **node)
{
    *node = node_behind(w, value);
    if (!is_product(*node)) return unexpected(w, *node, "a product with a weight should be here");
    return px_onnx_product(w->source, *node, &out->parts[out->count++]);
}

/* ---- norms --------------------------------------------------------------------------------- */

/* The value of a float constant of one element in the file itself. */
static bool scalar(const px_onnx_tensor *tensor, float *out)
{
    if (!tensor || tensor->type != PX_ONNX_FLOAT || tensor->external || tensor->bytes.size != 4)
        return false;
    memcpy(out, tensor->bytes.data, sizeof *out);
    return true;
}

static bool is_number(const struct walk *w, const px_onnx_node *node, size_t index, float wanted)
{
    float number;
    return scalar(px_onnx_constant(w->model, input(w, node, index)), &number) && number == wanted;
}

/* x * x */
static bool is_square(const struct walk *w, const px_onnx_node *node, const px_onnx_value *x)
{
    if (input(w, node, 0) != x) return false;
    return px_onnx_is(node, "Pow") ? is_number(w, node, 1, 2)
                                   : px_onnx_is(node, "Mul") && input(w, node, 1) == x;
}

/* sqrt(mean(x * x) + epsilon) */
static bool is_rms(const struct walk *w, const px_onnx_node *node, const px_onnx_value *x, float *epsilon)
{
    if (!px_onnx_is(node, "Sqrt")) return false;
    const px_onnx_node *const sum = node_behind(w, px_onnx_input(w->model, node, 0));
    if (!px_onnx_is(sum, "Add")) return false;
    const px_onnx_node *const mean = node_behind(w, px_onnx_input(w->model, sum, 0));
    const px_onnx_node *const square =
        px_onnx_is(mean, "ReduceMean") ? node_behind(w, px_onnx_input(w->model, mean, 0)) : NULL;
    return is_square(w, square, x) &&
           scalar(px_onnx_constant(w->model, px_onnx_input(w->model, sum, 1)), epsilon);
}

/* x / rms, or x * (1 / rms). */
static bool is_normalized(const struct walk *w, const px_onnx_node *node, struct norm *out)
{
    if (px_onnx_is(node, "Div")) {
        out->a = input(w, node, 0);
        return is_rms(w, node_behind(w, px_onnx_input(w->model, node, 1)), out->a, &out->epsilon);
    }
    for (size_t side = 0; px_onnx_is(node, "Mul") && side < 2; side++) {
        const px_onnx_node *const inverse = node_behind(w, px_onnx_input(w->model, node, side));
        const bool divides = px_onnx_is(inverse, "Div");
        if (divides ? !is_number(w, inverse, 0, 1) : !px_onnx_is(inverse, "Reciprocal")) continue;
        out->a = input(w, node, 1 - side);
        return is_rms(w, node_behind(w, px_onnx_input(w->model, inverse, divides ? 1 : 0)), out->a,
                      &out->epsilon);
    }
    return false;
}

static bool read_primitives(const struct walk *w, const px_onnx_node *node, struct norm *out)
{
    for (size_t side = 0; px_onnx_is(node, "Mul") && side < 2; side++) {
        out->weight = px_onnx_constant(w->model, input(w, node, side));
        if (out->weight)
            return is_normalized(w, node_behind(w, px_onnx_input(w->model, node, 1 - side)), out);
    }
    return false;
}

static phlox_status read_norm(const struct walk *w, const px_onnx_value *value, struct norm *out)
{
    const px_onnx_model *const model = w->model;
    const px_onnx_node *const node = node_behind(w, value);
    *out = (struct norm){.node = node};
    const bool skips = px_onnx_is(node, "SkipSimplifiedLayerNormalization");
    const bool fused = skips || px_onnx_is(node, "SimplifiedLayerNormalization") ||
                       px_onnx_is(node, "RMSNormalization");
    if (fused) {
        const px_onnx_attribute *const epsilon = px_onnx_attribute_of(model, node, "epsilon");
        out->epsilon = epsilon ? epsilon->f : skips ? 1e-12f : 1e-5f;
        out->weight = px_onnx_constant(model, px_onnx_input(model, node, skips ? 2 : 1));
        out->a = input(w, node, 0);
        if (skips) out->b = input(w, node, 1);
        if (skips) out->sum = px_onnx_output(model, node, 3);
        if (skips && px_onnx_input(model, node, 3))
            return px_onnx_refuse(w->source, node, "a bias; the family has none");
    } else if (!read_primitives(w, node, out)) {
        return unexpected(w, node, "a norm (SimplifiedLayerNormalization) should be here");
    }
    if (!skips) {
        const px_onnx_node *const add = px_onnx_producer(model, out->a);
        out->sum = out->a;
        if (px_onnx_is(add, "Add")) {
            out->a = input(w, add, 0);
            out->b = input(w, add, 1);
        }
    }
    if (!out->weight || !out->a || !px_onnx_is_float(out->weight) || out->weight->rank != 1 ||
        (w->network->hidden && out->weight->dims[0] != w->network->hidden) ||
        (w->network->final_norm && out->epsilon != w->network->epsilon))
        return px_onnx_refuse(w->source, node, "a weight or an epsilon that is not that of the other norms");
    return PHLOX_OK;
}

/* The one of two addends that is a product; *other is the residual stream. */
static const px_onnx_value *product_side(const struct walk *w, const struct norm *norm,
                                         const px_onnx_value **other)
{
    const bool first = is_product(px_onnx_producer(w->model, norm->a));
    *other = first ? norm->b : norm->a;
    return first ? norm->a : norm->b;
}

/* ---- attention ----------------------------------------------------------------------------- */

/* A query or key: rotated by a node of its own, where attention does not rotate. Shapes may be changed
 * on the way, and heads repeated or joined with those of the cache. */
static phlox_status take_head(const struct walk *w, const px_onnx_value *value, bool rotates,
                              px_onnx_stack *out, const px_onnx_node **node)
{
    enum { MOST_STEPS = 24 };
    const px_onnx_model *const model = w->model;
    const px_onnx_node *behind = node_behind(w, value);
    bool rotated = false;
    for (int step = 0; step < MOST_STEPS && behind; step++) {
        size_t next = 0;
        if (px_onnx_is(behind, "RotaryEmbedding") && rotates && !rotated) {
            PX_ONNX_TRY(px_onnx_rope_of_node(w->source, behind, &w->network->rope));
            rotated = true;
        } else if (px_onnx_is(behind, "Concat") && behind->input_count == 2) {
            next = 1; /* behind the keys or values of the cache */
        } else if (!px_onnx_is(behind, "Reshape") && !px_onnx_is(behind, "Transpose") &&
                   !px_onnx_is(behind, "Expand") && !px_onnx_is(behind, "Unsqueeze")) {
            break;
        }
        value = px_onnx_input(model, behind, next);
        behind = node_behind(w, value);
    }
    if (rotates && !rotated) return unexpected(w, behind, "a RotaryEmbedding should be here");
    return take_product(w, value, out, node);
}

/* Q, K and V of three products must be of one input. */
static phlox_status take_three(const struct walk *w, const px_onnx_node *attention, bool rotates,
                               px_onnx_stack *out, const px_onnx_value **x)
{
    for (size_t i = 0; i < 3; i++) {
        const px_onnx_node *product;
        PX_ONNX_TRY(take_head(w, px_onnx_input(w->model, attention, i), rotates && i < 2, out, &product));
        if (i > 0 && input(w, product, 0) != *x)
            return px_onnx_refuse(w->source, product, "multiplies something else than the query's product");
        *x = input(w, product, 0);
    }
    return PHLOX_OK;
}

static phlox_status check_number(const struct walk *w, const px_onnx_node *node, int64_t *known, int64_t value)
{
    if (w->network->layer_count > 0 && *known != value)
        return px_onnx_refuse(w->source, node, "heads or a window that other layers do not have");
    *known = value;
    return PHLOX_OK;
}

static phlox_status read_numbers(const struct walk *w, const px_onnx_node *node)
{
    const px_onnx_model *const model = w->model;
    px_onnx_network *const network = w->network;
    const px_onnx_attribute *const scale = px_onnx_attribute_of(model, node, "scale");
    const px_onnx_attribute *const softcap = px_onnx_attribute_of(model, node, "softcap");
    PX_ONNX_TRY(check_number(w, node, &network->heads, px_onnx_int(model, node, "num_heads", 0)));
    PX_ONNX_TRY(check_number(w, node, &network->kv_heads, px_onnx_int(model, node, "kv_num_heads", 0)));
    PX_ONNX_TRY(check_number(w, node, &network->window, px_onnx_int(model, node, "local_window_size", -1)));
    if (px_onnx_int(model, node, "rotary_interleaved", 0) != 0)
        return px_onnx_refuse(w->source, node, "interleaved rotary embeddings");
    if (softcap && softcap->f != 0) return px_onnx_refuse(w->source, node, "a softcap");
    if (px_onnx_int(model, node, "smooth_softmax", 0) > 0)
        return px_onnx_refuse(w->source, node, "smooth_softmax, a sink of its own");
    const float factor = scale ? scale->f : 0;
    if (network->layer_count > 0 && factor != network->scale)
        return px_onnx_refuse(w->source, node, "a scale that other layers do not have");
    network->scale = factor;
    return PHLOX_OK;
}

static phlox_status read_grouped(const struct walk *w, const px_onnx_node *node, px_onnx_stack *out,
                                 const px_onnx_value **x)
{
    const px_onnx_model *const model = w->model;
    for (size_t i = 11; i < node->input_count; i++)
        if (px_onnx_input(model, node, i))
            return px_onnx_refuse(w->source, node, "a sink, scales of the cache or norms of queries");
    if (px_onnx_input(model, node, 10)) return px_onnx_refuse(w->source, node, "an attention bias");
    const bool rotates = px_onnx_int(model, node, "do_rotary", 0) != 0;
    if (rotates)
        PX_ONNX_TRY(px_onnx_rope_of_values(w->source, node, px_onnx_input(model, node, 7),
                                      px_onnx_input(model, node, 8), px_onnx_input(model, node, 9),
                                      &w->network->rope));
    if (px_onnx_input(model, node, 1)) return take_three(w, node, !rotates, out, x);
    const px_onnx_node *product;
    if (!rotates) return px_onnx_refuse(w->source, node, "packed queries and keys that are not rotated");
    PX_ONNX_TRY(take_product(w, px_onnx_input(model, node, 0), out, &product));
    *x = input(w, product, 0);
    return PHLOX_OK;
}

static phlox_status read_attention(const struct walk *w, const px_onnx_value *value, px_onnx_stack *out,
                                   const px_onnx_value **x)
{
    const px_onnx_node *const node = node_behind(w, value);
    const bool grouped = px_onnx_is(node, "GroupQueryAttention");
    const bool multi = px_onnx_is(node, "MultiHeadAttention"), fused = px_onnx_is(node, "Attention");
    if (!grouped && !multi && !fused)
        return unexpected(w, node, "GroupQueryAttention or MultiHeadAttention should be here");
    PX_ONNX_TRY(read_numbers(w, node));
    if (grouped) return read_grouped(w, node, out, x);
    if (fused)
        return px_onnx_refuse(w->source, node, "rotates by tables that are not in the file; export for cpu, "
                                               "or in another precision");
    if (px_onnx_input(w->model, node, 3)) return px_onnx_refuse(w->source, node, "a bias");
    return take_three(w, node, true, out, x);
}

/* ---- layers -------------------------------------------------------------------------------- */

static bool is_silu(const struct walk *w, const px_onnx_node *node, const px_onnx_value **x)
{
    const px_onnx_attribute *const alpha = px_onnx_attribute_of(w->model, node, "alpha");
    if (px_onnx_is(node, "QuickGelu") && alpha && alpha->f == 1) {
        *x = input(w, node, 0);
        return true;
    }
    for (size_t side = 0; px_onnx_is(node, "Mul") && side < 2; side++) {
        const px_onnx_node *const sigmoid = node_behind(w, px_onnx_input(w->model, node, side));
        *x = input(w, node, 1 - side);
        if (px_onnx_is(sigmoid, "Sigmoid") && input(w, sigmoid, 0) == *x) return true;
    }
    return false;
}

/* down(silu(gate(x)) * up(x)): *x. */
static phlox_status read_mlp(const struct walk *w, const px_onnx_value *value, px_onnx_layer *layer,
                             const px_onnx_value **x)
{
    const px_onnx_node *down, *gate, *up;
    const px_onnx_value *gate_value = NULL;
    PX_ONNX_TRY(take_product(w, value, &layer->down, &down));
    const px_onnx_node *const product = node_behind(w, px_onnx_input(w->model, down, 0));
    if (!px_onnx_is(product, "Mul")) return unexpected(w, product, "silu(gate) * up should be here");
    const bool first = is_silu(w, node_behind(w, px_onnx_input(w->model, product, 0)), &gate_value);
    if (!first && !is_silu(w, node_behind(w, px_onnx_input(w->model, product, 1)), &gate_value))
        return px_onnx_refuse(w->source, product, "silu(gate) * up should be here");
    PX_ONNX_TRY(take_product(w, gate_value, &layer->gate_up, &gate));
    PX_ONNX_TRY(take_product(w, px_onnx_input(w->model, product, first ? 1 : 0), &layer->gate_up, &up));
    *x = input(w, gate, 0);
    if (*x != input(w, up, 0)) return px_onnx_refuse(w->source, up, "gate and up are of different inputs");
    return PHLOX_OK;
}

static phlox_status add_layer(const struct walk *w, px_onnx_layer **out)
{
    px_onnx_network *const network = w->network;
    if (network->layer_count == PX_ONNX_MOST_LAYERS)
        return px_fail(w->source->error, PHLOX_ERROR_FORMAT,
                       "%s: more than %d layers, or nodes that feed each other in a circle",
                       w->source->path, PX_ONNX_MOST_LAYERS);
    if (network->layer_count == network->layer_room) {
        const size_t room = PX_MAX(8, 2 * network->layer_room);
        px_onnx_layer *const grown = realloc(network->layers, room * sizeof *grown);
        if (!grown) return px_fail_memory(w->source->error, room * sizeof *grown);
        network->layers = grown;
        network->layer_room = room;
    }
    *out = &network->layers[network->layer_count];
    **out = (px_onnx_layer){0};
    return PHLOX_OK;
}

/* The layer whose result `after` normalizes; *after becomes its first norm. */
static phlox_status read_layer(const struct walk *w, struct norm *after)
{
    px_onnx_layer *layer = NULL;
    struct norm post, first;
    const px_onnx_value *x, *residual, *before;
    const px_onnx_node *o;
    PX_ONNX_TRY(add_layer(w, &layer));
    PX_ONNX_TRY(read_mlp(w, product_side(w, after, &residual), layer, &x));
    PX_ONNX_TRY(read_norm(w, x, &post));
    if (!post.b) return px_onnx_refuse(w->source, post.node, "nothing is added to the residual stream");
    if (residual != post.sum)
        return px_onnx_refuse(w->source, after->node, "the residual stream comes from elsewhere");
    PX_ONNX_TRY(take_product(w, product_side(w, &post, &before), &layer->o, &o));
    PX_ONNX_TRY(read_attention(w, px_onnx_input(w->model, o, 0), &layer->qkv, &x));
    PX_ONNX_TRY(read_norm(w, x, &first));
    if (before != (first.b ? first.sum : first.a))
        return px_onnx_refuse(w->source, post.node, "the residual stream comes from elsewhere");
    layer->input_norm = first.weight;
    layer->post_norm = post.weight;
    w->network->layer_count++;
    *after = first;
    return PHLOX_OK;
}

/* The last position's hidden state may be taken before lm_head. */
static const px_onnx_value *skip_pruning(const struct walk *w, const px_onnx_value *value)
{
    for (int i = 0; i < 4; i++) {
        const px_onnx_node *const node = px_onnx_producer(w->model, value);
        if (!px_onnx_is(node, "Unsqueeze") && !px_onnx_is(node, "Gather") && !px_onnx_is(node, "Slice"))
            break;
        value = input(w, node, 0);
    }
    return value;
}

static phlox_status read_network(const struct walk *w, const px_onnx_value *logits)
{
    px_onnx_network *const network = w->network;
    const px_onnx_node *head;
    struct norm norm;
    PX_ONNX_TRY(take_product(w, logits, &network->lm_head, &head));
    PX_ONNX_TRY(read_norm(w, skip_pruning(w, input(w, head, 0)), &norm));
    network->final_norm = norm.weight;
    network->hidden = norm.weight->dims[0];
    network->epsilon = norm.epsilon;
    while (norm.b) PX_ONNX_TRY(read_layer(w, &norm));
    for (size_t i = 0; i < network->layer_count / 2; i++) {
        const px_onnx_layer kept = network->layers[i];
        network->layers[i] = network->layers[network->layer_count - 1 - i];
        network->layers[network->layer_count - 1 - i] = kept;
    }
    const px_onnx_node *const gather = px_onnx_producer(w->model, norm.a);
    if (!px_onnx_is(gather, "Gather") && !px_onnx_is(gather, "GatherBlockQuantized"))
        return unexpected(w, gather, "the embedding (Gather) should be here");
    network->embedding.count = 1;
    return px_onnx_embedding(w->source, gather, network->hidden, &network->embedding.parts[0]);
}

phlox_status px_onnx_network_read(const px_onnx_source *source, phlox_text logits, px_onnx_network *out)
{
    *out = (px_onnx_network){.window = -1};
    const struct walk w = {source, source->model, out};
    const px_onnx_value *const value = px_onnx_find(source->model, logits);
    if (!value || value->node == PX_ONNX_NONE)
        return px_fail(source->error, PHLOX_ERROR_FORMAT, "%s: no node makes the output %.*s",
                       source->path, (int)PX_MIN(logits.size, 200), logits.data);
    PX_ONNX_TRY(read_network(&w, value));
    if (out->layer_count) return PHLOX_OK;
    return px_fail(source->error, PHLOX_ERROR_UNSUPPORTED, "%s: has no layers", source->path);
}

void px_onnx_network_free(px_onnx_network *network)
{
    free(network->layers);
    *network = (px_onnx_network){0};
}
