/* OpenVINO IR directories: openvino_model.xml and .bin beside the files of Hugging Face. The graph says
 * what is a weight and how it is stored, not the names of its layers, which have changed over time. */
#include "checkpoint/openvino.h"

#include "base/half.h"
#include "checkpoint/directory.h"
#include "checkpoint/openvino_graph.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How much of the file of weights counts in the checkpoint's state, beside its size and time. */
enum { STATE_BYTES = 4096 };

typedef enum element_type { F32, F16, BF16, U8, I8, U4, I4, ELEMENT_TYPES } element_type;

static const struct element {
    const char *name;
    int bits;
} elements[ELEMENT_TYPES] = {{"f32", 32}, {"f16", 16}, {"bf16", 16}, {"u8", 8},
                             {"i8", 8},   {"u4", 4},   {"i4", 4}};

/* A constant, checked: its bytes are in the file. */
struct constant {
    element_type type;
    const uint8_t *data;
    int64_t count; /* values */
};

/* What px_tensor.source of integers and of transposed floats points to. */
struct weight {
    struct constant data, scales, zeros;
    bool has_zeros;
    int64_t groups;
};

/* A constant and the layers that make weights of it. */
struct chain {
    const px_graph_layer *data, *scales, *zeros; /* zeros NULL: none are subtracted */
};

struct openvino {
    px_directory directory;
    px_graph graph;
    const px_dir_file *xml, *bin;
    struct weight *weights; /* one for each matrix */
    size_t weight_count, weight_room;
};

static void openvino_close(void *owner)
{
    struct openvino *const form = owner;
    px_graph_free(&form->graph);
    px_directory_close(&form->directory);
    free(form->weights);
    free(form);
}

/* ---- reading values ------------------------------------------------------------------------ */

static uint8_t nibble(const uint8_t *data, int64_t index)
{
    return index % 2 ? data[index / 2] >> 4 : data[index / 2] & 15;
}

/* Integers as unsigned ones: signed ones have 8 or 128 added, which flips their highest bit. */
static uint8_t unsigned_at(const struct constant *c, int64_t index)
{
    switch (c->type) {
    case U4: return nibble(c->data, index);
    case I4: return nibble(c->data, index) ^ 8;
    case I8: return c->data[index] ^ 128;
    default: return c->data[index];
    }
}

static float float_at(const struct constant *c, int64_t index)
{
    uint32_t word;
    uint16_t half;
    switch (c->type) {
    case F32: memcpy(&word, c->data + 4 * index, sizeof word); return px_float_of_bits(word);
    case F16: memcpy(&half, c->data + 2 * index, sizeof half); return px_f16_to_f32(half);
    case BF16: memcpy(&half, c->data + 2 * index, sizeof half); return px_bf16_to_f32(half);
    case I4: return (float)nibble(c->data, index) - (nibble(c->data, index) >= 8 ? 16 : 0);
    case I8: return (float)(int8_t)c->data[index];
    default: return (float)unsigned_at(c, index);
    }
}

static bool is_signed(element_type type)
{
    return type == I4 || type == I8;
}

/* Zero points count from the same end as the integers of read_integers(). */
static float zero_at(const struct weight *w, int64_t index)
{
    const float shift = !is_signed(w->data.type) ? 0 : w->data.type == I4 ? 8 : 128;
    return (w->has_zeros ? float_at(&w->zeros, w->zeros.count == 1 ? 0 : index) : 0) + shift;
}

static void read_integers(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q,
                          float *scales, uint8_t *zeros)
{
    const struct weight *const w = tensor->source;
    const int64_t first = begin * tensor->columns, count = rows * tensor->columns;
    if (elements[w->data.type].bits == 4 && first % 2 == 0) {
        const uint8_t flip = w->data.type == I4 ? 0x88 : 0;
        const uint8_t *const bytes = w->data.data + first / 2;
        for (int64_t i = 0; i < count / 2; i++) {
            const uint8_t pair = bytes[i] ^ flip;
            q[2 * i] = pair & 15;
            q[2 * i + 1] = pair >> 4;
        }
        if (count % 2) q[count - 1] = unsigned_at(&w->data, first + count - 1);
    } else {
        for (int64_t i = 0; i < count; i++) q[i] = unsigned_at(&w->data, first + i);
    }
    for (int64_t i = 0; i < rows * w->groups; i++) {
        scales[i] = float_at(&w->scales, begin * w->groups + i);
        if (!tensor->integers.symmetric) zeros[i] = (uint8_t)zero_at(w, begin * w->groups + i);
    }
}

/* Floats that are stored as [columns, rows]. */
static void load_transposed(const px_tensor *tensor, int64_t begin, int64_t rows, float *out)
{
    const struct weight *const w = tensor->source;
    for (int64_t c = 0; c < tensor->columns; c++)
        for (int64_t r = 0; r < rows; r++)
            out[r * tensor->columns + c] = float_at(&w->data, c * tensor->rows + begin + r);
}

/* ---- constants ----------------------------------------------------------------------------- */

static bool is_type(const px_graph_layer *layer, const char *type)
{
    return layer && strcmp(layer->type, type) == 0;
}

/* The constant behind a layer, converted or not; NULL when it is none. */
static const px_graph_layer *plain_constant(const px_graph *graph, const px_graph_layer *layer)
{
    if (is_type(layer, "Convert")) layer = px_graph_input(graph, layer, 0);
    return is_type(layer, "Const") ? layer : NULL;
}

/* Follows Convert, Reshape, Multiply and Subtract back to a constant; false when something else is on the
 * way, so that the value depends on the inputs. */
static bool follow(const px_graph *graph, const px_graph_layer *layer, struct chain *out)
{
    enum { MOST_STEPS = 16 };
    *out = (struct chain){0};
    for (int step = 0; step < MOST_STEPS && layer; step++) {
        const px_graph_layer *const first = px_graph_input(graph, layer, 0);
        const px_graph_layer *const second = px_graph_input(graph, layer, 1);
        if (is_type(layer, "Const")) {
            out->data = layer;
            return true;
        }
        if (is_type(layer, "Convert") || is_type(layer, "Reshape")) {
            layer = first;
        } else if (is_type(layer, "Multiply") && !out->scales && !out->zeros) {
            const bool swapped = !plain_constant(graph, second) && plain_constant(graph, first);
            out->scales = plain_constant(graph, swapped ? first : second);
            if (!out->scales) return false;
            layer = swapped ? second : first;
        } else if (is_type(layer, "Subtract") && !out->zeros) {
            out->zeros = plain_constant(graph, second);
            if (!out->zeros) return false;
            layer = first;
        } else {
            return false;
        }
    }
    return false;
}

/* Values of a shape, or -1 where they are too many to count. */
static int64_t values_of(const px_graph_layer *layer)
{
    int64_t count = layer->rank < 0 ? -1 : 1;
    for (int i = 0; i < layer->rank && count >= 0; i++) {
        if (layer->dims[i] && count > INT64_MAX / 8 / layer->dims[i]) return -1;
        count *= layer->dims[i];
    }
    return count;
}

static phlox_status open_constant(const struct openvino *form, const px_graph_layer *layer,
                                  struct constant *out, phlox_error *error)
{
    const char *const path = form->xml->path;
    int type = 0;
    while (type < ELEMENT_TYPES && strcmp(elements[type].name, layer->element) != 0) type++;
    if (type == ELEMENT_TYPES)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: layer %s holds %s, which phlox does not read; export the model again with "
                       "--weight-format int4, int8 or fp16", path, layer->name, layer->element);
    const int64_t count = values_of(layer);
    const uint64_t bits = count < 0 ? 0 : (uint64_t)count * (uint64_t)elements[type].bits;
    if (count < 0 || layer->size < (bits + 7) / 8)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: layer %s has %" PRIu64 " bytes, fewer than its shape needs", path,
                       layer->name, layer->size);
    const uint64_t file = form->bin->bytes.size;
    if (layer->offset > file || layer->size > file - layer->offset)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: layer %s is said to be the bytes %" PRIu64 " to %" PRIu64
                       " of openvino_model.bin, which has %" PRIu64 "; download both again", path,
                       layer->name, layer->offset, layer->offset + layer->size, file);
    *out = (struct constant){(element_type)type,
                             (const uint8_t *)form->bin->bytes.data + layer->offset, count};
    return PHLOX_OK;
}

/* ---- weights ------------------------------------------------------------------------------- */

static phlox_status fail_shape(const struct openvino *form, const px_graph_layer *layer,
                               const px_tensor *tensor, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: layer %s should be %s, [%" PRId64 ", %" PRId64 "] by config.json, and its shape "
                   "is another", form->xml->path, layer->name, px_role_parameter(tensor->role),
                   tensor->rows, tensor->columns);
}

/* Whether all zero points are the one that signed integers have by themselves; where some are not whole
 * numbers that the kernels hold, *bad is true. */
static bool are_central(const struct weight *w, int64_t count, bool *bad)
{
    const float centre = elements[w->data.type].bits == 4 ? 8 : 128;
    bool central = true;
    const int64_t distinct = w->has_zeros && w->zeros.count > 1 ? count : 1;
    for (int64_t i = 0; i < distinct; i++) {
        const float zero = zero_at(w, i);
        central &= zero == centre;
        *bad |= !(zero >= 0 && zero < 2 * centre && zero == floorf(zero));
    }
    return central;
}

static phlox_status open_integers(const struct openvino *form, const struct chain *chain,
                                  struct weight *w, px_tensor *tensor, phlox_error *error)
{
    const char *const path = form->xml->path;
    const px_graph_layer *const data = chain->data;
    if (!chain->scales)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: layer %s has integers without scales", path,
                       data->name);
    const bool grouped = data->rank == 3;
    w->groups = grouped ? data->dims[1] : 1;
    if ((data->rank != 2 && !grouped) || data->dims[0] != tensor->rows ||
        w->data.count != tensor->rows * tensor->columns || w->groups < 1 ||
        tensor->columns % w->groups != 0)
        return fail_shape(form, data, tensor, error);
    PX_TRY(open_constant(form, chain->scales, &w->scales, error));
    if (w->scales.type > BF16 || w->scales.count != tensor->rows * w->groups)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: layer %s: %" PRId64 " scales for %" PRId64 " groups", path,
                       chain->scales->name, w->scales.count, tensor->rows * w->groups);
    if (chain->zeros) {
        w->has_zeros = true;
        PX_TRY(open_constant(form, chain->zeros, &w->zeros, error));
        if (w->zeros.count != 1 && w->zeros.count != tensor->rows * w->groups)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "%s: layer %s: %" PRId64 " zero points for %" PRId64 " groups", path,
                           chain->zeros->name, w->zeros.count, tensor->rows * w->groups);
    }
    bool bad = false;
    tensor->integers = (px_integers){
        .bits = elements[w->data.type].bits,
        .symmetric = are_central(w, tensor->rows * w->groups, &bad),
        .half_scales = w->scales.type == F16,
        .group_size = tensor->columns / w->groups,
        .read = read_integers,
    };
    if (bad)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: layer %s: a zero point is not one of the values of the integers", path,
                       chain->zeros ? chain->zeros->name : data->name);
    tensor->source = w;
    tensor->row_bytes = tensor->columns * tensor->integers.bits / 8;
    return PHLOX_OK;
}

static phlox_status open_floats(const struct openvino *form, const struct chain *chain, bool transposed,
                                const struct weight *w, px_tensor *tensor, phlox_error *error)
{
    static const px_float_type types[] = {[F32] = PX_FLOAT_F32, [F16] = PX_FLOAT_F16, [BF16] = PX_FLOAT_BF16};
    const px_graph_layer *const data = chain->data;
    if (chain->scales || chain->zeros)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: layer %s has floats with scales",
                       form->xml->path, data->name);
    const int64_t first = transposed ? tensor->columns : tensor->rows;
    if (data->rank != 2 || data->dims[0] != first || w->data.count != tensor->rows * tensor->columns)
        return fail_shape(form, data, tensor, error);
    tensor->type = types[w->data.type];
    tensor->row_bytes = tensor->columns * (int64_t)px_float_size(tensor->type);
    if (!transposed) return PHLOX_OK;
    tensor->load = load_transposed;
    tensor->source = w;
    tensor->mapped = false; /* a row is spread over the whole constant */
    return PHLOX_OK;
}

static phlox_status place_matrix(struct openvino *form, px_checkpoint *checkpoint, px_role role,
                                 int32_t layer, const struct chain *chain, bool transposed,
                                 phlox_error *error)
{
    struct weight *const w = &form->weights[form->weight_count++];
    px_tensor tensor = {.role = role, .layer = layer, .mapped = form->bin->map.data != NULL,
                        .name = chain->data->name, .file = form->bin->path};
    px_role_shape(&checkpoint->desc, role, &tensor.rows, &tensor.columns);
    PX_TRY(open_constant(form, chain->data, &w->data, error));
    tensor.data = w->data.data;
    const bool integers = w->data.type > BF16;
    if (integers && transposed)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: layer %s has integers that are transposed",
                       form->xml->path, chain->data->name);
    if (integers) PX_TRY(open_integers(form, chain, w, &tensor, error));
    else PX_TRY(open_floats(form, chain, transposed, w, &tensor, error));
    checkpoint->tensors[role][layer] = tensor;
    checkpoint->quantized |= integers;
    checkpoint->stored_bytes += (uint64_t)(tensor.rows * tensor.row_bytes);
    if (role == PX_QKV) checkpoint->type = tensor.type;
    return PHLOX_OK;
}

static phlox_status place_norm(const struct openvino *form, px_checkpoint *checkpoint, size_t index,
                               const px_graph_layer *layer, phlox_error *error)
{
    static const px_float_type types[] = {[F32] = PX_FLOAT_F32, [F16] = PX_FLOAT_F16, [BF16] = PX_FLOAT_BF16};
    const size_t layers = (size_t)checkpoint->desc.num_hidden_layers;
    if (index > 2 * layers)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: layer %s is one norm too many for %zu layers",
                       form->xml->path, layer->name, layers);
    const px_role role = index == 2 * layers ? PX_FINAL_NORM : index % 2 ? PX_POST_NORM : PX_INPUT_NORM;
    struct constant data;
    PX_TRY(open_constant(form, layer, &data, error));
    if (data.type > BF16)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: layer %s: a norm of %s", form->xml->path,
                       layer->name, layer->element);
    px_tensor *const tensor = &checkpoint->tensors[role][role == PX_FINAL_NORM ? 0 : index / 2];
    *tensor = (px_tensor){
        .role = role,
        .layer = role == PX_FINAL_NORM ? 0 : (int32_t)(index / 2),
        .rows = 1,
        .columns = checkpoint->desc.hidden_size,
        .type = types[data.type],
        .data = data.data,
        .row_bytes = data.count * (int64_t)px_float_size(types[data.type]),
        .name = layer->name,
        .file = form->bin->path,
    };
    checkpoint->stored_bytes += (uint64_t)tensor->row_bytes;
    return PHLOX_OK;
}

/* ---- the network --------------------------------------------------------------------------- */

/* The constant that a Multiply scales a norm's result by: as many values as a token has, where the other
 * side is no constant. NULL: it is another Multiply. */
static const px_graph_layer *norm_constant(const px_graph *graph, const px_graph_layer *layer,
                                           int64_t hidden)
{
    if (!is_type(layer, "Multiply")) return NULL;
    for (size_t side = 0; side < 2; side++) {
        const px_graph_layer *const constant = plain_constant(graph, px_graph_input(graph, layer, side));
        struct chain other;
        if (constant && values_of(constant) == hidden && constant->rank > 0 &&
            constant->dims[constant->rank - 1] == hidden &&
            !follow(graph, px_graph_input(graph, layer, 1 - side), &other))
            return constant;
    }
    return NULL;
}

/*
 * Products with weights depend on each other in a chain, so that in any order of the graph they come as
 * qkv, o, gate_up and down of each layer, and lm_head; so do the norms. A tied lm_head has the embedding's
 * constant.
 */
static phlox_status place_product(struct openvino *form, px_checkpoint *checkpoint, size_t index,
                                  const struct chain *chain, bool transposed, phlox_error *error)
{
    static const px_role roles[] = {PX_QKV, PX_O, PX_GATE_UP, PX_DOWN};
    const size_t layers = (size_t)checkpoint->desc.num_hidden_layers;
    if (index < 4 * layers)
        return place_matrix(form, checkpoint, roles[index % 4], (int32_t)(index / 4), chain, transposed,
                            error);
    if (index > 4 * layers)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: layer %s is one product too many for %zu layers of Phi-3", form->xml->path,
                       chain->data->name, layers);
    if (!checkpoint->desc.tied_embeddings)
        return place_matrix(form, checkpoint, PX_LM_HEAD, 0, chain, transposed, error);
    const px_tensor *const embedding = px_checkpoint_tensor(checkpoint, PX_EMBEDDING, 0);
    const void *const data = (const uint8_t *)form->bin->bytes.data + chain->data->offset;
    if (!embedding || embedding->data == data) return PHLOX_OK; /* none is reported later */
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: layer %s is an lm_head of its own, config.json says that it is the embedding",
                   form->xml->path, chain->data->name);
}

static phlox_status place_all(struct openvino *form, px_checkpoint *checkpoint, phlox_error *error)
{
    const px_graph *const graph = &form->graph;
    const px_desc *const desc = &checkpoint->desc;
    size_t products = 0, norms = 0;
    bool has_embedding = false;
    for (size_t i = 0; i < graph->count; i++) {
        const px_graph_layer *const layer = &graph->layers[graph->order[i]];
        struct chain chain;
        const px_graph_layer *const norm = norm_constant(graph, layer, desc->hidden_size);
        if (norm) {
            PX_TRY(place_norm(form, checkpoint, norms++, norm, error));
        } else if (is_type(layer, "MatMul") && follow(graph, px_graph_input(graph, layer, 1), &chain)) {
            if (layer->transpose_a)
                return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: layer %s transposes what it "
                               "multiplies", form->xml->path, layer->name);
            PX_TRY(place_product(form, checkpoint, products++, &chain, !layer->transpose_b, error));
        } else if (!has_embedding && is_type(layer, "Gather") &&
                   follow(graph, px_graph_input(graph, layer, 0), &chain) && chain.data->rank >= 2 &&
                   chain.data->dims[0] == desc->vocab_size) {
            has_embedding = true;
            PX_TRY(place_matrix(form, checkpoint, PX_EMBEDDING, 0, &chain, false, error));
        }
    }
    const size_t layers = (size_t)desc->num_hidden_layers;
    if (has_embedding && products == 4 * layers + 1 && norms == 2 * layers + 1) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: %s embedding, %zu products with weights and %zu norms; a Phi-3 of %zu layers has "
                   "%zu and %zu", form->xml->path, has_embedding ? "an" : "no", products, norms, layers,
                   4 * layers + 1, 2 * layers + 1);
}

/* ---- opening ------------------------------------------------------------------------------- */

static phlox_status open_files(struct openvino *form, px_checkpoint *out, phlox_error *error)
{
    px_directory *const directory = &form->directory;
    px_dir_file *xml, *bin;
    PX_TRY(px_directory_open(directory, error));
    PX_TRY(px_directory_file(directory, "openvino_model.xml", &xml, error));
    PX_TRY(px_directory_check_json(xml, error));
    PX_TRY(px_directory_file(directory, "openvino_model.bin", &bin, error));
    xml->header_size = xml->bytes.size;
    bin->header_size = PX_MIN(bin->bytes.size, STATE_BYTES);
    form->xml = xml;
    form->bin = bin;
    const phlox_status status = px_directory_read_config(directory, out, error);
    if (status == PHLOX_ERROR_NOT_FOUND)
        px_error_advise(error, status, "it says what openvino_model.xml does not, and is in every export");
    PX_TRY(status);
    form->weight_room = 4 * (size_t)out->desc.num_hidden_layers + 2;
    form->weights = px_calloc(form->weight_room, sizeof *form->weights);
    if (!form->weights) return px_fail_memory(error, form->weight_room * sizeof *form->weights);
    PX_TRY(px_graph_read(xml->bytes, xml->path, &form->graph, error));
    PX_TRY(place_all(form, out, error));
    PX_TRY(px_directory_read_tokenizer(directory, out, error));
    PX_TRY(px_directory_read_beside(directory, out, error));
    return px_directory_read_state(directory, out, error);
}

static phlox_status open_from(px_directory start, px_checkpoint *out, phlox_error *error)
{
    struct openvino *const form = px_calloc(1, sizeof *form);
    if (!form) return px_fail_memory(error, sizeof *form);
    form->directory = start;
    out->form = "openvino";
    out->path = start.path ? start.path : "";
    out->owner = form;
    out->close = openvino_close;
    return open_files(form, out, error);
}

static bool openvino_detect(const char *path)
{
    char model[4096];
    snprintf(model, sizeof model, "%s/openvino_model.xml", path);
    return px_is_file(model);
}

static phlox_status openvino_open(const char *path, px_checkpoint *out, phlox_error *error)
{
    return open_from((px_directory){.path = path}, out, error);
}

phlox_status px_openvino_open_memory(const px_memory_file *files, size_t count, px_checkpoint *out,
                                     phlox_error *error)
{
    return open_from((px_directory){.memory = files, .memory_count = count}, out, error);
}

const px_form px_form_openvino = {"openvino", openvino_detect, openvino_open, px_openvino_write};
