#include "checkpoint/onnx_network.h"

#include "checkpoint/export.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct network {
    px_onnx_out *out;
    const px_desc *desc;
    const px_onnx_kind *kind;
    const px_onnx_weight_source *weights;
    const char *positions; /* where the rotation is apart */
};

typedef char name[PX_ONNX_MOST_NAME];

#define MASK "/model/attn_mask_reformat/attn_mask_subgraph"
#define ONE "/model/constants/INT64/1"
#define ONES "/model/constants/INT64/[1]"
#define ORIGINAL "/model/constants/INT64/original_max_position_embeddings"

/* A node without attributes. */
static void node(struct network *net, const char *op, const char *path, const char *inputs,
                 const char *output)
{
    px_onnx_end_node(net->out, px_onnx_begin_node(net->out, op, "", path, inputs, output));
}

static void node_with(struct network *net, const char *op, const char *path, const char *inputs,
                      const char *output, const char *attribute, int64_t value)
{
    const size_t mark = px_onnx_begin_node(net->out, op, "", path, inputs, output);
    px_onnx_add_int(net->out, attribute, value);
    px_onnx_end_node(net->out, mark);
}

/* ---- before the layers --------------------------------------------------------------------- */

/* seqlens_k: the number of valid tokens of each sequence less one; and the length of the mask. */
static void add_lengths(struct network *net)
{
    const int64_t one = 1;
    px_onnx_add_constant(net->out, ONES, 1, 1, &one);
    px_onnx_add_constant(net->out, ONE, 0, 1, &one);
    node_with(net, "ReduceSum", MASK "/ReduceSum", "attention_mask," ONES,
              MASK "/ReduceSum/output_0", "keepdims", 0);
    node(net, "Sub", MASK "/Sub", MASK "/ReduceSum/output_0," ONES, MASK "/Sub/output_0");
    node_with(net, "Cast", MASK "/Sub/Cast", MASK "/Sub/output_0", MASK "/Sub/Cast/output_0", "to",
              PX_ONNX_INT32);
    node(net, "Shape", MASK "/Shape", "attention_mask", MASK "/Shape/output_0");
    node_with(net, "Gather", MASK "/Gather", MASK "/Shape/output_0," ONE, MASK "/Gather/output_0",
              "axis", 0);
    node_with(net, "Cast", MASK "/Gather/Cast", MASK "/Gather/output_0",
              MASK "/Gather/Cast/output_0", "to", PX_ONNX_INT32);
}

/* Cosines and sines [rows, rotary_dim / 2] of positions [0, rows) with the factors of one regime, as values
 * of type `io`. `inverse` has room for 3 * rotary_dim / 2 floats. */
static void fill_tables(const px_desc *desc, px_onnx_type io, bool is_long, int64_t rows,
                        float *inverse, char *cosines, char *sines)
{
    const size_t half = (size_t)desc->rotary_dim / 2, size = px_onnx_type_size(io);
    float *const row = inverse + half; /* [2, half] */
    px_rope_frequencies(desc, is_long, inverse);
    for (int64_t position = 0; position < rows; position++) {
        for (size_t i = 0; i < half; i++) {
            /* The angle is a float as in transformers; in double the functions of every C library round to
             * the same floats. */
            const double angle = (double)((float)position * inverse[i]);
            row[i] = (float)cos(angle) * desc->rope_scale;
            row[half + i] = (float)sin(angle) * desc->rope_scale;
        }
        if (io == PX_ONNX_FLOAT16) px_export_narrow(PX_FLOAT_F16, row, 2 * half);
        memcpy(cosines + (size_t)position * half * size, row, half * size);
        memcpy(sines + (size_t)position * half * size, (char *)row + half * size, half * size);
    }
}

static void add_choice(struct network *net, int64_t short_rows, int64_t long_rows, int64_t columns,
                       const char *const data[4])
{
    px_onnx_out *const out = net->out;
    const int64_t original = net->desc->original_max_position;
    px_onnx_add_constant(out, ORIGINAL, 0, 1, &original);
    node(net, "Greater", "/model/rope_caches_subgraph/Greater", MASK "/Gather/output_0," ORIGINAL,
         "/model/rope_caches_subgraph/Greater/output_0");
    const size_t mark = px_onnx_begin_node(out, "If", "", "/model/rope_caches_subgraph/If",
                                     "/model/rope_caches_subgraph/Greater/output_0",
                                     "cos_cache,sin_cache");
    const px_onnx_branch_table large[] = {{"cos_cache_large", "/large/cos_cache/Constant", data[2]},
                                          {"sin_cache_large", "/large/sin_cache/Constant", data[3]}};
    const px_onnx_branch_table small[] = {{"cos_cache_small", "/small/cos_cache/Constant", data[0]},
                                          {"sin_cache_small", "/small/sin_cache/Constant", data[1]}};
    px_onnx_add_branch(out, "then_branch", "large_rope_caches_graph", net->kind->io, long_rows, columns,
                   2, large);
    px_onnx_add_branch(out, "else_branch", "small_rope_caches_graph", net->kind->io, short_rows,
                   columns, 2, small);
    px_onnx_end_node(out, mark);
}

/* Moves all positions to the second table when one is behind the original context. */
static void move_positions(struct network *net)
{
    const int64_t original = net->desc->original_max_position;
    px_onnx_add_constant(net->out, ORIGINAL, 0, 1, &original);
#define MOVE "/model/pos_ids_reformat"
    node_with(net, "ReduceMax", MOVE "/ReduceMax", "position_ids", MOVE "/ReduceMax/output_0",
              "keepdims", 0);
    node(net, "GreaterOrEqual", MOVE "/GreaterOrEqual", MOVE "/ReduceMax/output_0," ORIGINAL,
         MOVE "/GreaterOrEqual/output_0");
    node_with(net, "Cast", MOVE "/Cast", MOVE "/GreaterOrEqual/output_0", MOVE "/Cast/output_0",
              "to", PX_ONNX_INT64);
    node(net, "Mul", MOVE "/Mul", MOVE "/Cast/output_0," ORIGINAL, MOVE "/Mul/output_0");
    node(net, "Add", MOVE "/Add_1", MOVE "/Mul/output_0,position_ids", MOVE "/Add_1/output_0");
    net->positions = MOVE "/Add_1/output_0";
}

/* The rotary tables cos_cache and sin_cache [positions, rotary_dim / 2]. */
static void add_tables(struct network *net)
{
    const px_desc *const desc = net->desc;
    px_onnx_out *const out = net->out;
    const int64_t columns = desc->rotary_dim / 2;
    const int64_t long_rows = desc->longrope ? desc->max_position : 0;
    const int64_t short_rows = desc->longrope ? desc->original_max_position : desc->max_position;
    const size_t row = (size_t)columns * px_onnx_type_size(net->kind->io);
    const size_t rows = (size_t)(short_rows + long_rows);
    const size_t bytes = 2 * rows * row + 3 * (size_t)columns * sizeof(float);
    char *const memory = out->status == PHLOX_OK ? malloc(bytes) : NULL;
    if (!memory) {
        if (out->status == PHLOX_OK) out->status = px_fail_memory(out->error, bytes);
        return;
    }
    float *const inverse = (float *)(void *)memory;
    char *const cosines = (char *)(inverse + 3 * columns), *const sines = cosines + rows * row;
    const size_t first = (size_t)short_rows * row;
    fill_tables(desc, net->kind->io, false, short_rows, inverse, cosines, sines);
    if (desc->longrope)
        fill_tables(desc, net->kind->io, true, long_rows, inverse, cosines + first, sines + first);
    if (desc->longrope && !net->kind->rotates_apart) {
        add_choice(net, short_rows, long_rows, columns,
                   (const char *[]){cosines, sines, cosines + first, sines + first});
    } else {
        net->weights->table(net->weights->user, out, "cos_cache", (int64_t)rows, columns, cosines);
        net->weights->table(net->weights->user, out, "sin_cache", (int64_t)rows, columns, sines);
        if (desc->longrope) move_positions(net);
    }
    free(memory);
}

/* ---- layers -------------------------------------------------------------------------------- */

/* The first norm has nothing to add. */
static void add_first_norm(struct network *net, const char *input)
{
    px_onnx_out *const out = net->out;
    const char *const weight = "model.layers.0.input_layernorm.weight";
    net->weights->norm(net->weights->user, out, PX_INPUT_NORM, 0, weight);
    name inputs;
    snprintf(inputs, sizeof inputs, "%s,%s", input, weight);
    const size_t mark = px_onnx_begin_node(out, "SimplifiedLayerNormalization", "",
                                     "/model/layers.0/input_layernorm/LayerNorm", inputs,
                                     "/model/layers.0/input_layernorm/output_0");
    px_onnx_add_float(out, "epsilon", net->desc->rms_norm_eps);
    px_onnx_add_int(out, "axis", -1);
    px_onnx_add_int(out, "stash_type", 1);
    px_onnx_end_node(out, mark);
}

/* Adds `skip` to the residual stream and normalises the sum: `normed`; the stream becomes the sum. */
static void add_norm(struct network *net, px_role role, int32_t layer, const char *what,
                     char *stream, const char *skip, char *normed)
{
    px_onnx_out *const out = net->out;
    name weight, path;
    char inputs[3 * PX_ONNX_MOST_NAME], outputs[2 * PX_ONNX_MOST_NAME];
    const bool is_last = role == PX_FINAL_NORM;
    snprintf(weight, sizeof weight, "model.layers.%" PRId32 ".%s.weight", layer, what);
    net->weights->norm(net->weights->user, out, role, is_last ? 0 : layer, weight);
    snprintf(path, sizeof path, "/model/layers.%" PRId32 "/%s/SkipLayerNorm", layer, what);
    snprintf(inputs, sizeof inputs, "%s,%s,%s", stream, skip, weight);
    snprintf(normed, sizeof(name), "/model/layers.%" PRId32 "/%s/output_0", layer, what);
    snprintf(stream, sizeof(name), "/model/layers.%" PRId32 "/%s/output_3", layer, what);
    snprintf(outputs, sizeof outputs, is_last ? "%s" : "%s,,,%s", normed, stream);
    const size_t mark = px_onnx_begin_node(out, "SkipSimplifiedLayerNormalization", "com.microsoft", path,
                                     inputs, outputs);
    px_onnx_add_float(out, "epsilon", net->desc->rms_norm_eps);
    px_onnx_end_node(out, mark);
}

/* A product of a layer, called for its path: "attn/qkv_proj". `output` receives the name of the result. */
static void product(struct network *net, px_role role, int32_t layer, const char *what,
                    int64_t begin, int64_t rows, const char *input, char *output)
{
    name path;
    snprintf(path, sizeof path, "/model/layers.%" PRId32 "/%s/MatMul", layer, what);
    snprintf(output, sizeof(name), "/model/layers.%" PRId32 "/%s/MatMul/output_0", layer, what);
    net->weights->product(net->weights->user, net->out, role, layer, begin, rows, path, input,
                          output);
}

static void rotate(struct network *net, int32_t layer, const char *what, int32_t heads,
                   char *value)
{
    const px_desc *const desc = net->desc;
    const bool is_partial = desc->rotary_dim != desc->head_dim;
    name path;
    char inputs[3 * PX_ONNX_MOST_NAME];
    snprintf(path, sizeof path, "/model/layers.%" PRId32 "/attn/%s/RotaryEmbedding", layer, what);
    snprintf(inputs, sizeof inputs, "%s,%s,cos_cache,sin_cache", value, net->positions);
    snprintf(value, sizeof(name), "/model/layers.%" PRId32 "/attn/%s/RotaryEmbedding/output_0", layer,
             what);
    const size_t mark =
        px_onnx_begin_node(net->out, "RotaryEmbedding", "com.microsoft", path, inputs, value);
    px_onnx_add_int(net->out, "interleaved", 0);
    px_onnx_add_int(net->out, "num_heads", is_partial ? heads : 0);
    px_onnx_add_int(net->out, "rotary_embedding_dim", is_partial ? desc->rotary_dim : 0);
    px_onnx_end_node(net->out, mark);
}

/* Three values, or one that has queries, keys and values of a token behind each other. */
static void add_values(struct network *net, int32_t layer, const char *normed, char *list,
                       size_t size)
{
    const px_desc *const desc = net->desc;
    const int64_t queries = (int64_t)desc->num_attention_heads * desc->head_dim;
    const int64_t keys = (int64_t)desc->num_key_value_heads * desc->head_dim;
    name q, k, v;
    if (!net->kind->rotates_apart) {
        product(net, PX_QKV, layer, "attn/qkv_proj", 0, queries + 2 * keys, normed, q);
        snprintf(list, size, "%s,,", q);
        return;
    }
    product(net, PX_QKV, layer, "attn/q_proj", 0, queries, normed, q);
    product(net, PX_QKV, layer, "attn/k_proj", queries, keys, normed, k);
    product(net, PX_QKV, layer, "attn/v_proj", queries + keys, keys, normed, v);
    rotate(net, layer, "q_rotary", desc->num_attention_heads, q);
    rotate(net, layer, "k_rotary", desc->num_key_value_heads, k);
    snprintf(list, size, "%s,%s,%s", q, k, v);
}

static void add_attention(struct network *net, int32_t layer, const char *normed, char *output)
{
    const px_desc *const desc = net->desc;
    px_onnx_out *const out = net->out;
    name path, value;
    char list[3 * PX_ONNX_MOST_NAME], inputs[5 * PX_ONNX_MOST_NAME], outputs[2 * PX_ONNX_MOST_NAME];
    add_values(net, layer, normed, list, sizeof list);
    snprintf(inputs, sizeof inputs,
             "%s,past_key_values.%" PRId32 ".key,past_key_values.%" PRId32 ".value," MASK
             "/Sub/Cast/output_0," MASK "/Gather/Cast/output_0,%s",
             list, layer, layer, net->kind->rotates_apart ? "," : "cos_cache,sin_cache");
    snprintf(path, sizeof path, "/model/layers.%" PRId32 "/attn/GroupQueryAttention", layer);
    snprintf(value, sizeof value, "/model/layers.%" PRId32 "/attn/GroupQueryAttention/output_0", layer);
    snprintf(outputs, sizeof outputs, "%s,present.%" PRId32 ".key,present.%" PRId32 ".value", value,
             layer, layer);
    const size_t mark =
        px_onnx_begin_node(out, "GroupQueryAttention", "com.microsoft", path, inputs, outputs);
    px_onnx_add_int(out, "num_heads", desc->num_attention_heads);
    px_onnx_add_int(out, "kv_num_heads", desc->num_key_value_heads);
    px_onnx_add_float(out, "scale", (float)(1 / sqrt((double)desc->head_dim)));
    px_onnx_add_int(out, "local_window_size", net->kind->window);
    px_onnx_add_int(out, "do_rotary", !net->kind->rotates_apart);
    px_onnx_add_int(out, "rotary_interleaved", 0);
    px_onnx_end_node(out, mark);
    product(net, PX_O, layer, "attn/o_proj", 0, desc->hidden_size, value, output);
}

static void add_mlp(struct network *net, int32_t layer, const char *normed, char *output)
{
    const int64_t rows = net->desc->intermediate_size;
    name gate, up, path, sigmoid, silu, both;
    char inputs[2 * PX_ONNX_MOST_NAME];
    product(net, PX_GATE_UP, layer, "mlp/gate_proj", 0, rows, normed, gate);
    product(net, PX_GATE_UP, layer, "mlp/up_proj", rows, rows, normed, up);
    snprintf(path, sizeof path, "/model/layers.%" PRId32 "/mlp/act_fn/Sigmoid", layer);
    snprintf(sigmoid, sizeof sigmoid, "/model/layers.%" PRId32 "/mlp/act_fn/Sigmoid/output_0", layer);
    node(net, "Sigmoid", path, gate, sigmoid);
    snprintf(path, sizeof path, "/model/layers.%" PRId32 "/mlp/act_fn/Mul", layer);
    snprintf(silu, sizeof silu, "/model/layers.%" PRId32 "/mlp/act_fn/Mul/output_0", layer);
    snprintf(inputs, sizeof inputs, "%s,%s", gate, sigmoid);
    node(net, "Mul", path, inputs, silu);
    snprintf(path, sizeof path, "/model/layers.%" PRId32 "/mlp/Mul", layer);
    snprintf(both, sizeof both, "/model/layers.%" PRId32 "/mlp/Mul/output_0", layer);
    snprintf(inputs, sizeof inputs, "%s,%s", silu, up);
    node(net, "Mul", path, inputs, both);
    product(net, PX_DOWN, layer, "mlp/down_proj", 0, net->desc->hidden_size, both, output);
}

static void add_layers(struct network *net, char *normed)
{
    const int32_t layers = net->desc->num_hidden_layers;
    name stream = "/model/embed_tokens/output_0", skip;
    net->weights->embedding(net->weights->user, net->out, stream);
    add_first_norm(net, stream);
    snprintf(normed, sizeof(name), "/model/layers.0/input_layernorm/output_0");
    for (int32_t layer = 0; layer < layers; layer++) {
        if (layer)
            add_norm(net, PX_INPUT_NORM, layer, "input_layernorm", stream, skip, normed);
        add_attention(net, layer, normed, skip);
        add_norm(net, PX_POST_NORM, layer, "post_attention_layernorm", stream, skip, normed);
        add_mlp(net, layer, normed, skip);
    }
    add_norm(net, PX_FINAL_NORM, layers, "final_norm_layernorm", stream, skip, normed);
}

/* ---- inputs and outputs -------------------------------------------------------------------- */

static void add_cache(struct network *net, int32_t layer, const char *what)
{
    name label;
    char dims[80];
    const px_desc *const desc = net->desc;
    snprintf(label, sizeof label, "past_key_values.%" PRId32 ".%s", layer, what);
    snprintf(dims, sizeof dims, "batch_size,%" PRId32 ",past_sequence_length,%" PRId32,
             desc->num_key_value_heads, desc->head_dim);
    px_onnx_add_input(net->out, label, net->kind->io, dims);
    snprintf(label, sizeof label, "present.%" PRId32 ".%s", layer, what);
    snprintf(dims, sizeof dims, "batch_size,%" PRId32 ",total_sequence_length,%" PRId32,
             desc->num_key_value_heads, desc->head_dim);
    px_onnx_add_output(net->out, label, net->kind->io, dims);
}

static void add_interface(struct network *net)
{
    char dims[64];
    px_onnx_add_input(net->out, "input_ids", PX_ONNX_INT64, "batch_size,sequence_length");
    px_onnx_add_input(net->out, "attention_mask", PX_ONNX_INT64, "batch_size,total_sequence_length");
    if (net->kind->rotates_apart)
        px_onnx_add_input(net->out, "position_ids", PX_ONNX_INT64, "batch_size,sequence_length");
    snprintf(dims, sizeof dims, "batch_size,sequence_length,%" PRId32, net->desc->vocab_size);
    px_onnx_add_output(net->out, "logits", net->kind->io, dims);
    for (int32_t layer = 0; layer < net->desc->num_hidden_layers; layer++) {
        add_cache(net, layer, "key");
        add_cache(net, layer, "value");
    }
}

void px_onnx_add_network(px_onnx_out *out, const px_desc *desc, const px_onnx_kind *kind,
                         const px_onnx_weight_source *weights)
{
    struct network net = {out, desc, kind, weights, "position_ids"};
    name normed;
    add_interface(&net);
    add_lengths(&net);
    add_tables(&net);
    add_layers(&net, normed);
    weights->product(weights->user, out, PX_LM_HEAD, 0, 0, desc->vocab_size, "/lm_head/MatMul",
                     normed, "logits");
}
