#include "checkpoint/onnx_model.h"

#include "checkpoint/onnx_wire.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 8, MOST_ENTRIES = 1 << 20 };

struct reader {
    px_onnx_model *model;
    const char *name;
    const uint8_t *start;
    phlox_error *error;
    size_t tensor_room, attribute_room, node_room, value_room, graph_room;
    size_t input_room, output_room, result_room;
};

static phlox_status broken(const struct reader *r, const px_wire *wire, const char *what)
{
    return px_fail(r->error, PHLOX_ERROR_FORMAT,
                   "%s: broken at byte %zu, in %s; download it again", r->name,
                   (size_t)(wire->at - r->start), what);
}

/* Makes room for one more and zeroes it. */
static phlox_status grow(const struct reader *r, void **array, size_t *room, size_t count, size_t size)
{
    if (count == MOST_ENTRIES)
        return px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: more than %d of a kind; it is no Phi-3",
                       r->name, MOST_ENTRIES);
    if (count == *room) {
        const size_t wanted = PX_MAX(64, *room + *room / 2);
        void *const grown = realloc(*array, wanted * size);
        if (!grown) return px_fail_memory(r->error, wanted * size);
        *array = grown;
        *room = wanted;
    }
    memset((char *)*array + count * size, 0, size);
    return PHLOX_OK;
}

/* The three members of px_onnx_model and struct reader that make an array. */
#define GROW(r, member, count_member, room_member)                                               \
    grow(r, (void **)&(r)->model->member, &(r)->room_member, (r)->model->count_member,           \
         sizeof *(r)->model->member)

static phlox_text text_of(px_wire wire)
{
    return (phlox_text){(const char *)wire.at, (size_t)(wire.end - wire.at)};
}

static phlox_status add_name(struct reader *r, phlox_text **names, size_t *room, size_t *count,
                             px_wire text)
{
    PX_ONNX_TRY(grow(r, (void **)names, room, *count, sizeof **names));
    (*names)[(*count)++] = text_of(text);
    return PHLOX_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

/* A decimal number, as external_data has offset and length. */
static bool read_number(phlox_text text, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || value > (UINT64_MAX - 9) / 10) return false;
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = value;
    return text.size > 0;
}

static phlox_status read_external(const struct reader *r, px_wire wire, px_onnx_tensor *tensor)
{
    phlox_text key = {"", 0}, value = {"", 0};
    px_wire_field field;
    px_wire_result result;
    while ((result = px_wire_next(&wire, &field)) == PX_WIRE_FIELD) {
        if (field.kind != PX_WIRE_BYTES) continue;
        if (field.number == 1) key = text_of(field.bytes);
        if (field.number == 2) value = text_of(field.bytes);
    }
    bool good = result == PX_WIRE_END;
    if (px_onnx_text_is(key, "location")) tensor->location = value;
    if (px_onnx_text_is(key, "offset")) good &= read_number(value, &tensor->offset);
    if (px_onnx_text_is(key, "length")) {
        good &= read_number(value, &tensor->length);
        tensor->has_length = true;
    }
    return good ? PHLOX_OK : broken(r, &wire, "the place of a tensor's values");
}

static void add_dim(px_onnx_tensor *tensor, uint64_t value)
{
    if (tensor->rank < PX_ONNX_MOST_DIMS) tensor->dims[tensor->rank] = (int64_t)value;
    if (tensor->rank <= PX_ONNX_MOST_DIMS) tensor->rank++;
}

static phlox_status read_tensor(struct reader *r, px_wire wire, size_t *index)
{
    PX_ONNX_TRY(GROW(r, tensors, tensor_count, tensor_room));
    *index = r->model->tensor_count++;
    px_onnx_tensor *const tensor = &r->model->tensors[*index];
    px_wire_field field;
    px_wire_result result;
    while ((result = px_wire_next(&wire, &field)) == PX_WIRE_FIELD) {
        const bool is_bytes = field.kind == PX_WIRE_BYTES, is_varint = field.kind == PX_WIRE_VARINT;
        uint64_t value;
        if (field.number == 1 && is_varint) add_dim(tensor, field.value);
        if (field.number == 1 && is_bytes)
            while (px_wire_varint(&field.bytes, &value)) add_dim(tensor, value);
        if (field.number == 2 && is_varint) tensor->type = (int64_t)field.value;
        if ((field.number == 4 || field.number == 9) && is_bytes) tensor->bytes = text_of(field.bytes);
        if ((field.number == 5 || field.number == 7) && is_bytes) tensor->varints = text_of(field.bytes);
        if (field.number == 8 && is_bytes) tensor->name = text_of(field.bytes);
        if (field.number == 13 && is_bytes) PX_ONNX_TRY(read_external(r, field.bytes, tensor));
        if (field.number == 14 && is_varint) tensor->external = field.value == 1;
    }
    return result == PX_WIRE_END ? PHLOX_OK : broken(r, &wire, "a tensor");
}

/* ---- nodes --------------------------------------------------------------------------------- */

static phlox_status read_graph(struct reader *r, px_wire wire, size_t parent, int depth, size_t *index);

static void add_int(px_onnx_attribute *attribute, uint64_t value)
{
    if (attribute->int_count < PX_ONNX_MOST_INTS) attribute->ints[attribute->int_count] = (int64_t)value;
    if (attribute->int_count <= PX_ONNX_MOST_INTS) attribute->int_count++;
}

static phlox_status read_attribute(struct reader *r, px_wire wire, size_t graph, int depth,
                                   px_onnx_attribute *out)
{
    *out = (px_onnx_attribute){.tensor = PX_ONNX_NONE, .graph = PX_ONNX_NONE};
    px_wire_field field;
    px_wire_result result;
    while ((result = px_wire_next(&wire, &field)) == PX_WIRE_FIELD) {
        const bool is_bytes = field.kind == PX_WIRE_BYTES, is_varint = field.kind == PX_WIRE_VARINT;
        uint64_t value;
        if (field.number == 1 && is_bytes) out->name = text_of(field.bytes);
        if (field.number == 2 && field.kind == PX_WIRE_32) {
            const uint32_t bits = (uint32_t)field.value;
            memcpy(&out->f, &bits, sizeof bits);
        }
        if (field.number == 3 && is_varint) out->i = (int64_t)field.value;
        if (field.number == 5 && is_bytes) PX_ONNX_TRY(read_tensor(r, field.bytes, &out->tensor));
        if (field.number == 6 && is_bytes)
            PX_ONNX_TRY(read_graph(r, field.bytes, graph, depth + 1, &out->graph));
        if (field.number == 8 && is_varint) add_int(out, field.value);
        if (field.number == 8 && is_bytes)
            while (px_wire_varint(&field.bytes, &value)) add_int(out, value);
    }
    return result == PX_WIRE_END ? PHLOX_OK : broken(r, &wire, "an attribute");
}

/* Names and attributes lie one behind the other, also when an attribute is a graph with nodes of its own:
 * attributes are read first into the place that they keep. */
static phlox_status read_node(struct reader *r, px_wire wire, size_t graph, int depth)
{
    px_onnx_model *const model = r->model;
    px_onnx_node node = {.graph = graph, .first_input = model->input_count,
                         .first_output = model->output_count,
                         .first_attribute = model->attribute_count};
    px_wire names = wire;
    px_wire_field field;
    px_wire_result result;
    while ((result = px_wire_next(&names, &field)) == PX_WIRE_FIELD) {
        if (field.kind != PX_WIRE_BYTES) continue;
        if (field.number == 1)
            PX_ONNX_TRY(add_name(r, &model->input_names, &r->input_room, &model->input_count, field.bytes));
        if (field.number == 2)
            PX_ONNX_TRY(add_name(r, &model->output_names, &r->output_room, &model->output_count, field.bytes));
        if (field.number == 3) node.name = text_of(field.bytes);
        if (field.number == 4) node.type = text_of(field.bytes);
        if (field.number == 7) node.domain = text_of(field.bytes);
        if (field.number != 5) continue;
        PX_ONNX_TRY(GROW(r, attributes, attribute_count, attribute_room));
        model->attribute_count++;
    }
    if (result != PX_WIRE_END) return broken(r, &names, "a node");
    node.input_count = model->input_count - node.first_input;
    node.output_count = model->output_count - node.first_output;
    node.attribute_count = model->attribute_count - node.first_attribute;
    PX_ONNX_TRY(GROW(r, nodes, node_count, node_room));
    model->nodes[model->node_count++] = node;
    size_t next = node.first_attribute;
    while (px_wire_next(&wire, &field) == PX_WIRE_FIELD) {
        if (field.number != 5 || field.kind != PX_WIRE_BYTES) continue;
        px_onnx_attribute attribute;
        PX_ONNX_TRY(read_attribute(r, field.bytes, graph, depth, &attribute));
        model->attributes[next++] = attribute;
    }
    return PHLOX_OK;
}

/* ---- graphs -------------------------------------------------------------------------------- */

static phlox_status add_value(struct reader *r, phlox_text name, size_t graph, size_t node,
                              size_t tensor)
{
    PX_ONNX_TRY(GROW(r, values, value_count, value_room));
    r->model->values[r->model->value_count++] = (px_onnx_value){name, graph, node, tensor, 0};
    return PHLOX_OK;
}

/* The name in a ValueInfoProto. */
static phlox_status read_name(const struct reader *r, px_wire wire, px_wire *out)
{
    *out = (px_wire){wire.at, wire.at};
    px_wire_field field;
    px_wire_result result;
    while ((result = px_wire_next(&wire, &field)) == PX_WIRE_FIELD)
        if (field.number == 1 && field.kind == PX_WIRE_BYTES) *out = field.bytes;
    return result == PX_WIRE_END ? PHLOX_OK : broken(r, &wire, "an input or output");
}

static phlox_status read_graph(struct reader *r, px_wire wire, size_t parent, int depth, size_t *index)
{
    px_onnx_model *const model = r->model;
    if (depth > MOST_DEPTH)
        return px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: graphs are nested deeper than %d", r->name,
                       MOST_DEPTH);
    PX_ONNX_TRY(GROW(r, graphs, graph_count, graph_room));
    const size_t graph = *index = model->graph_count++;
    model->graphs[graph] = (px_onnx_graph){.parent = parent, .first_result = model->result_count};
    px_wire results = wire, name;
    px_wire_field field;
    px_wire_result result;
    while (px_wire_next(&results, &field) == PX_WIRE_FIELD) {
        if (field.number != 12 || field.kind != PX_WIRE_BYTES) continue;
        PX_ONNX_TRY(read_name(r, field.bytes, &name));
        PX_ONNX_TRY(add_name(r, &model->result_names, &r->result_room, &model->result_count, name));
        model->graphs[graph].result_count++;
    }
    while ((result = px_wire_next(&wire, &field)) == PX_WIRE_FIELD) {
        if (field.kind != PX_WIRE_BYTES) continue;
        size_t tensor;
        if (field.number == 1) PX_ONNX_TRY(read_node(r, field.bytes, graph, depth));
        if (field.number == 5) {
            PX_ONNX_TRY(read_tensor(r, field.bytes, &tensor));
            PX_ONNX_TRY(add_value(r, model->tensors[tensor].name, graph, PX_ONNX_NONE, tensor));
        }
        if (field.number == 11) {
            PX_ONNX_TRY(read_name(r, field.bytes, &name));
            PX_ONNX_TRY(add_value(r, text_of(name), graph, PX_ONNX_NONE, PX_ONNX_NONE));
        }
    }
    return result == PX_WIRE_END ? PHLOX_OK : broken(r, &wire, "a graph");
}

/* ---- names --------------------------------------------------------------------------------- */

static int compare_texts(phlox_text a, phlox_text b)
{
    const size_t size = PX_MIN(a.size, b.size);
    const int order = size ? memcmp(a.data, b.data, size) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_values(const void *a, const void *b)
{
    const px_onnx_value *const x = a, *const y = b;
    if (x->graph != y->graph) return x->graph < y->graph ? -1 : 1;
    const int order = compare_texts(x->name, y->name);
    if (order) return order;
    /* A tensor stands before the graph's input of the same name, which it is the default of. */
    return (x->tensor == PX_ONNX_NONE) - (y->tensor == PX_ONNX_NONE);
}

static size_t find(const px_onnx_model *model, size_t graph, phlox_text name)
{
    const px_onnx_value wanted = {.name = name, .graph = graph};
    size_t low = 0, high = model->value_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const px_onnx_value *const value = &model->values[middle];
        const int order = value->graph != wanted.graph ? (value->graph < wanted.graph ? -1 : 1)
                                                       : compare_texts(value->name, name);
        if (order == 0) return middle;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return PX_ONNX_NONE;
}

/* In the graph itself, then in those around it. */
static size_t resolve(const px_onnx_model *model, size_t graph, phlox_text name)
{
    while (name.size && graph != PX_ONNX_NONE) {
        const size_t found = find(model, graph, name);
        if (found != PX_ONNX_NONE) return found;
        graph = model->graphs[graph].parent;
    }
    return PX_ONNX_NONE;
}

/* Sorts the values and drops inputs that have a tensor. */
static phlox_status sort_values(const struct reader *r)
{
    px_onnx_model *const model = r->model;
    if (!model->value_count) return PHLOX_OK;
    qsort(model->values, model->value_count, sizeof *model->values, compare_values);
    size_t kept = 1;
    for (size_t i = 1; i < model->value_count; i++) {
        const px_onnx_value *const last = &model->values[kept - 1], *const value = &model->values[i];
        if (last->graph != value->graph || compare_texts(last->name, value->name) != 0) {
            model->values[kept++] = *value;
        } else if (last->tensor == PX_ONNX_NONE || value->tensor != PX_ONNX_NONE ||
                   value->node != PX_ONNX_NONE) {
            return px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: two things are named %.*s", r->name,
                           (int)PX_MIN(value->name.size, 200), value->name.data);
        }
    }
    model->value_count = kept;
    for (size_t i = 0; i < kept; i++) model->values[i].index = i;
    return PHLOX_OK;
}

static phlox_status resolve_all(struct reader *r)
{
    px_onnx_model *const model = r->model;
    for (size_t i = 0; i < model->node_count; i++) {
        const px_onnx_node *const node = &model->nodes[i];
        for (size_t k = 0; k < node->output_count; k++) {
            const phlox_text name = model->output_names[node->first_output + k];
            if (name.size) PX_ONNX_TRY(add_value(r, name, node->graph, i, PX_ONNX_NONE));
        }
    }
    PX_ONNX_TRY(sort_values(r));
    model->inputs = px_calloc(model->input_count + 1, sizeof *model->inputs);
    model->outputs = px_calloc(model->output_count + 1, sizeof *model->outputs);
    model->results = px_calloc(model->result_count + 1, sizeof *model->results);
    if (!model->inputs || !model->outputs || !model->results)
        return px_fail_memory(r->error, model->input_count * sizeof *model->inputs);
    for (size_t i = 0; i < model->node_count; i++) {
        const px_onnx_node *const node = &model->nodes[i];
        for (size_t k = node->first_input; k < node->first_input + node->input_count; k++)
            model->inputs[k] = resolve(model, node->graph, model->input_names[k]);
        for (size_t k = node->first_output; k < node->first_output + node->output_count; k++)
            model->outputs[k] = resolve(model, node->graph, model->output_names[k]);
    }
    for (size_t i = 0; i < model->graph_count; i++)
        for (size_t k = 0; k < model->graphs[i].result_count; k++) {
            const size_t at = model->graphs[i].first_result + k;
            model->results[at] = resolve(model, i, model->result_names[at]);
        }
    return PHLOX_OK;
}

phlox_status px_onnx_model_read(phlox_text file, const char *name, px_onnx_model *out,
                                phlox_error *error)
{
    phlox_error own; /* what failed is kept even when the caller does not want to know */
    const uint8_t *const start = (const uint8_t *)file.data;
    *out = (px_onnx_model){0};
    struct reader r = {.model = out, .name = name, .start = start, .error = error ? error : &own};
    px_wire wire = {start, start ? start + file.size : start};
    px_wire_field field;
    px_wire_result result;
    while ((result = px_wire_next(&wire, &field)) == PX_WIRE_FIELD) {
        if (field.number != 7 || field.kind != PX_WIRE_BYTES) continue;
        size_t graph;
        if (out->graph_count)
            return px_fail(error, PHLOX_ERROR_FORMAT, "%s: has more than one graph", name);
        PX_ONNX_TRY(read_graph(&r, field.bytes, PX_ONNX_NONE, 0, &graph));
    }
    if (result != PX_WIRE_END) return broken(&r, &wire, "the model");
    if (!out->graph_count)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: has no graph; it is no ONNX model", name);
    return resolve_all(&r);
}

void px_onnx_model_free(px_onnx_model *model)
{
    free(model->tensors);
    free(model->attributes);
    free(model->nodes);
    free(model->values);
    free(model->graphs);
    free(model->input_names);
    free(model->output_names);
    free(model->result_names);
    free(model->inputs);
    free(model->outputs);
    free(model->results);
    *model = (px_onnx_model){0};
}

/* ---- asking -------------------------------------------------------------------------------- */

static const px_onnx_value *value_at(const px_onnx_model *model, size_t index)
{
    return index == PX_ONNX_NONE ? NULL : &model->values[index];
}

const px_onnx_value *px_onnx_input(const px_onnx_model *model, const px_onnx_node *node, size_t index)
{
    return node && index < node->input_count ? value_at(model, model->inputs[node->first_input + index]) : NULL;
}

const px_onnx_value *px_onnx_output(const px_onnx_model *model, const px_onnx_node *node, size_t index)
{
    return node && index < node->output_count
               ? value_at(model, model->outputs[node->first_output + index]) : NULL;
}

const px_onnx_node *px_onnx_producer(const px_onnx_model *model, const px_onnx_value *value)
{
    return value && value->node != PX_ONNX_NONE ? &model->nodes[value->node] : NULL;
}

const px_onnx_tensor *px_onnx_constant(const px_onnx_model *model, const px_onnx_value *value)
{
    if (value && value->tensor != PX_ONNX_NONE) return &model->tensors[value->tensor];
    const px_onnx_node *const node = px_onnx_producer(model, value);
    if (!node || !px_onnx_is(node, "Constant")) return NULL;
    const px_onnx_attribute *const attribute = px_onnx_attribute_of(model, node, "value");
    return attribute && attribute->tensor != PX_ONNX_NONE ? &model->tensors[attribute->tensor] : NULL;
}

const px_onnx_attribute *px_onnx_attribute_of(const px_onnx_model *model, const px_onnx_node *node,
                                              const char *name)
{
    for (size_t i = 0; node && i < node->attribute_count; i++) {
        const px_onnx_attribute *const attribute = &model->attributes[node->first_attribute + i];
        if (px_onnx_text_is(attribute->name, name)) return attribute;
    }
    return NULL;
}

int64_t px_onnx_int(const px_onnx_model *model, const px_onnx_node *node, const char *name,
                    int64_t absent)
{
    const px_onnx_attribute *const attribute = px_onnx_attribute_of(model, node, name);
    return attribute ? attribute->i : absent;
}

const px_onnx_value *px_onnx_find(const px_onnx_model *model, phlox_text name)
{
    return value_at(model, resolve(model, 0, name));
}

bool px_onnx_is(const px_onnx_node *node, const char *type)
{
    return node && px_onnx_text_is(node->type, type);
}

bool px_onnx_text_is(phlox_text text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}
