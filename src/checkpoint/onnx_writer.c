#include "checkpoint/onnx_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* Field numbers of onnx.proto. */
enum {
    MODEL_IR_VERSION = 1, MODEL_PRODUCER = 2, MODEL_PRODUCER_VERSION = 3, MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    OPSET_DOMAIN = 1, OPSET_VERSION = 2,
    GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12,
    NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_OP = 4, NODE_ATTRIBUTE = 5, NODE_DOMAIN = 7,
    ATTRIBUTE_NAME = 1, ATTRIBUTE_FLOAT = 2, ATTRIBUTE_INT = 3, ATTRIBUTE_TENSOR = 5,
    ATTRIBUTE_GRAPH = 6, ATTRIBUTE_INTS = 8, ATTRIBUTE_TYPE = 20,
    TYPE_FLOAT = 1, TYPE_INT = 2, TYPE_TENSOR = 4, TYPE_GRAPH = 5, TYPE_INTS = 7,
    TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9, TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION = 14, LOCATION_EXTERNAL = 1,
    ENTRY_KEY = 1, ENTRY_VALUE = 2,
    VALUE_NAME = 1, VALUE_TYPE = 2, TYPE_OF_TENSOR = 1, ELEMENT_TYPE = 1, ELEMENT_SHAPE = 2,
    SHAPE_DIM = 1, DIM_VALUE = 1, DIM_NAME = 2
};

/* What onnxruntime-genai's model builder writes. */
enum { IR_VERSION = 10, OPSET = 21, MICROSOFT_OPSET = 1 };

/* Large tensors begin at pages, so that they can be mapped. */
enum { ALIGNMENT = 64, PAGE = 4096, LARGE = 1 << 20 };

/* ---- the wire format ----------------------------------------------------------------------- */

static void add(px_onnx_out *out, px_buffer *to, const void *data, size_t size)
{
    if (out->status == PHLOX_OK) out->status = px_buffer_add(to, data, size, out->error);
}

static size_t varint(uint64_t value, uint8_t *bytes)
{
    size_t count = 0;
    for (; value > 127; value >>= 7) bytes[count++] = (uint8_t)(value | 128);
    bytes[count++] = (uint8_t)value;
    return count;
}

static void add_varint(px_onnx_out *out, px_buffer *to, uint64_t value)
{
    uint8_t bytes[10];
    const size_t count = varint(value, bytes);
    add(out, to, bytes, count);
}

static void add_tag(px_onnx_out *out, px_buffer *to, int field, int wire)
{
    add_varint(out, to, (uint64_t)field << 3 | (uint64_t)wire);
}

static void add_int(px_onnx_out *out, px_buffer *to, int field, int64_t value)
{
    add_tag(out, to, field, WIRE_VARINT);
    add_varint(out, to, (uint64_t)value);
}

static void add_bytes(px_onnx_out *out, px_buffer *to, int field, const void *data, size_t size)
{
    add_tag(out, to, field, WIRE_BYTES);
    add_varint(out, to, size);
    add(out, to, data, size);
}

static void add_text(px_onnx_out *out, px_buffer *to, int field, const char *text)
{
    add_bytes(out, to, field, text, strlen(text));
}

/* A message begins with one byte for its length; when it ends it moves behind the bytes that this takes. */
static size_t begin(px_onnx_out *out, px_buffer *to, int field)
{
    add_tag(out, to, field, WIRE_BYTES);
    add(out, to, "", 1);
    return to->size;
}

static void end(px_onnx_out *out, px_buffer *to, size_t mark)
{
    if (out->status != PHLOX_OK) return;
    uint8_t bytes[10];
    const size_t size = to->size - mark, count = varint(size, bytes);
    add(out, to, bytes, count - 1); /* room */
    if (out->status != PHLOX_OK) return;
    memmove(to->data + mark + count - 1, to->data + mark, size);
    memcpy(to->data + mark - 1, bytes, count);
}

/* ---- the model ----------------------------------------------------------------------------- */

size_t px_onnx_type_size(px_onnx_type type)
{
    return type == PX_ONNX_UINT8 ? 1 : type == PX_ONNX_FLOAT16 ? 2 : type == PX_ONNX_INT64 ? 8 : 4;
}

static void add_opset(px_onnx_out *out, const char *domain, int64_t version)
{
    const size_t mark = begin(out, &out->model, MODEL_OPSET);
    add_text(out, &out->model, OPSET_DOMAIN, domain);
    add_int(out, &out->model, OPSET_VERSION, version);
    end(out, &out->model, mark);
}

void px_onnx_begin(px_onnx_out *out, const char *file, phlox_error *error)
{
    *out = (px_onnx_out){.file = file, .error = error};
    add_int(out, &out->model, MODEL_IR_VERSION, IR_VERSION);
    add_text(out, &out->model, MODEL_PRODUCER, "phlox");
    add_opset(out, "", OPSET);
    add_opset(out, "com.microsoft", MICROSOFT_OPSET);
    out->graph = begin(out, &out->model, MODEL_GRAPH);
}

phlox_status px_onnx_finish(px_onnx_out *out)
{
    add_text(out, &out->model, GRAPH_NAME, "main_graph");
    add(out, &out->model, out->rest.data, out->rest.size);
    end(out, &out->model, out->graph);
    return out->status;
}

void px_onnx_free(px_onnx_out *out)
{
    px_buffer_free(&out->model);
    px_buffer_free(&out->rest);
}

static void add_dim(px_onnx_out *out, px_buffer *to, const char *text, size_t length)
{
    const size_t mark = begin(out, to, SHAPE_DIM);
    if (text[0] >= '0' && text[0] <= '9') add_int(out, to, DIM_VALUE, strtoll(text, NULL, 10));
    else add_bytes(out, to, DIM_NAME, text, length);
    end(out, to, mark);
}

/* ValueInfoProto. */
static void add_value(px_onnx_out *out, px_buffer *to, int field, const char *name,
                      px_onnx_type type, const char *dims)
{
    const size_t value = begin(out, to, field);
    add_text(out, to, VALUE_NAME, name);
    const size_t of_value = begin(out, to, VALUE_TYPE), tensor = begin(out, to, TYPE_OF_TENSOR);
    add_int(out, to, ELEMENT_TYPE, type);
    const size_t shape = begin(out, to, ELEMENT_SHAPE);
    for (const char *dim = dims;; dim++) {
        const size_t length = strcspn(dim, ",");
        add_dim(out, to, dim, length);
        dim += length;
        if (!*dim) break;
    }
    end(out, to, shape);
    end(out, to, tensor);
    end(out, to, of_value);
    end(out, to, value);
}

void px_onnx_add_input(px_onnx_out *out, const char *name, px_onnx_type type, const char *dims)
{
    add_value(out, &out->rest, GRAPH_INPUT, name, type, dims);
}

void px_onnx_add_output(px_onnx_out *out, const char *name, px_onnx_type type, const char *dims)
{
    add_value(out, &out->rest, GRAPH_OUTPUT, name, type, dims);
}

static void add_entry(px_onnx_out *out, const char *key, const char *value)
{
    const size_t mark = begin(out, &out->rest, TENSOR_EXTERNAL);
    add_text(out, &out->rest, ENTRY_KEY, key);
    add_text(out, &out->rest, ENTRY_VALUE, value);
    end(out, &out->rest, mark);
}

uint64_t px_onnx_add_initializer(px_onnx_out *out, const char *name, px_onnx_type type, int rank,
                             const int64_t *dims)
{
    uint64_t bytes = px_onnx_type_size(type);
    for (int i = 0; i < rank; i++) bytes *= (uint64_t)dims[i];
    const uint64_t alignment = bytes >= LARGE ? PAGE : ALIGNMENT;
    const uint64_t offset = (out->file_size + alignment - 1) / alignment * alignment;
    out->file_size = offset + bytes;
    px_buffer *const to = &out->rest;
    const size_t mark = begin(out, to, GRAPH_INITIALIZER);
    for (int i = 0; i < rank; i++) add_int(out, to, TENSOR_DIMS, dims[i]);
    add_int(out, to, TENSOR_TYPE, type);
    add_text(out, to, TENSOR_NAME, name);
    char text[24];
    add_entry(out, "location", out->file);
    snprintf(text, sizeof text, "%llu", (unsigned long long)offset);
    add_entry(out, "offset", text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    add_entry(out, "length", text);
    add_int(out, to, TENSOR_LOCATION, LOCATION_EXTERNAL);
    end(out, to, mark);
    return offset;
}

/* ---- nodes --------------------------------------------------------------------------------- */

static void add_list(px_onnx_out *out, int field, const char *names)
{
    if (!*names) return;
    for (const char *name = names;; name++) {
        const size_t length = strcspn(name, ",");
        add_bytes(out, &out->model, field, name, length);
        name += length;
        if (!*name) break;
    }
}

size_t px_onnx_begin_node(px_onnx_out *out, const char *op, const char *domain, const char *name,
                    const char *inputs, const char *outputs)
{
    const size_t mark = begin(out, &out->model, GRAPH_NODE);
    add_list(out, NODE_INPUT, inputs);
    add_list(out, NODE_OUTPUT, outputs);
    add_text(out, &out->model, NODE_NAME, name);
    add_text(out, &out->model, NODE_OP, op);
    if (*domain) add_text(out, &out->model, NODE_DOMAIN, domain);
    return mark;
}

void px_onnx_end_node(px_onnx_out *out, size_t mark)
{
    end(out, &out->model, mark);
}

static size_t begin_attribute(px_onnx_out *out, const char *name, int type)
{
    const size_t mark = begin(out, &out->model, NODE_ATTRIBUTE);
    add_text(out, &out->model, ATTRIBUTE_NAME, name);
    add_int(out, &out->model, ATTRIBUTE_TYPE, type);
    return mark;
}

void px_onnx_add_int(px_onnx_out *out, const char *attribute, int64_t value)
{
    const size_t mark = begin_attribute(out, attribute, TYPE_INT);
    add_int(out, &out->model, ATTRIBUTE_INT, value);
    px_onnx_end_node(out, mark);
}

void px_onnx_add_ints(px_onnx_out *out, const char *attribute, int count, const int64_t *values)
{
    const size_t mark = begin_attribute(out, attribute, TYPE_INTS);
    for (int i = 0; i < count; i++) add_int(out, &out->model, ATTRIBUTE_INTS, values[i]);
    px_onnx_end_node(out, mark);
}

void px_onnx_add_float(px_onnx_out *out, const char *attribute, float value)
{
    const size_t mark = begin_attribute(out, attribute, TYPE_FLOAT);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint8_t bytes[] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                             (uint8_t)(bits >> 24)};
    add_tag(out, &out->model, ATTRIBUTE_FLOAT, WIRE_FIXED32);
    add(out, &out->model, bytes, sizeof bytes);
    px_onnx_end_node(out, mark);
}

/* The attribute `value` of a Constant: its TensorProto up to the bytes, which come next. */
static void begin_tensor(px_onnx_out *out, px_onnx_type type, int rank, const int64_t *dims,
                         size_t bytes, size_t *attribute, size_t *tensor)
{
    *attribute = begin_attribute(out, "value", TYPE_TENSOR);
    *tensor = begin(out, &out->model, ATTRIBUTE_TENSOR);
    for (int i = 0; i < rank; i++) add_int(out, &out->model, TENSOR_DIMS, dims[i]);
    add_int(out, &out->model, TENSOR_TYPE, type);
    add_tag(out, &out->model, TENSOR_RAW, WIRE_BYTES);
    add_varint(out, &out->model, bytes);
}

void px_onnx_add_constant(px_onnx_out *out, const char *name, int rank, int count, const int64_t *values)
{
    size_t attribute, tensor;
    const int64_t dim = count;
    const size_t node = px_onnx_begin_node(out, "Constant", "", name, "", name);
    begin_tensor(out, PX_ONNX_INT64, rank, &dim, (size_t)count * 8, &attribute, &tensor);
    for (int i = 0; i < count; i++) {
        uint8_t bytes[8];
        for (int b = 0; b < 8; b++) bytes[b] = (uint8_t)((uint64_t)values[i] >> 8 * b);
        add(out, &out->model, bytes, sizeof bytes);
    }
    px_onnx_end_node(out, tensor);
    px_onnx_end_node(out, attribute);
    px_onnx_end_node(out, node);
}

static void add_table(px_onnx_out *out, px_onnx_type type, const int64_t *dims,
                      const px_onnx_branch_table *table)
{
    size_t attribute, tensor;
    const size_t bytes = (size_t)dims[0] * (size_t)dims[1] * px_onnx_type_size(type);
    const size_t node = px_onnx_begin_node(out, "Constant", "", table->node, "", table->name);
    begin_tensor(out, type, 2, dims, bytes, &attribute, &tensor);
    add(out, &out->model, table->data, bytes);
    px_onnx_end_node(out, tensor);
    px_onnx_end_node(out, attribute);
    px_onnx_end_node(out, node);
}

void px_onnx_add_branch(px_onnx_out *out, const char *attribute, const char *graph, px_onnx_type type,
                    int64_t rows, int64_t columns, int count, const px_onnx_branch_table *tables)
{
    const int64_t dims[] = {rows, columns};
    char text[48];
    snprintf(text, sizeof text, "%lld,%lld", (long long)rows, (long long)columns);
    const size_t mark = begin_attribute(out, attribute, TYPE_GRAPH);
    const size_t body = begin(out, &out->model, ATTRIBUTE_GRAPH);
    for (int i = 0; i < count; i++) add_table(out, type, dims, &tables[i]);
    add_text(out, &out->model, GRAPH_NAME, graph);
    for (int i = 0; i < count; i++)
        add_value(out, &out->model, GRAPH_OUTPUT, tables[i].name, type, text);
    px_onnx_end_node(out, body);
    px_onnx_end_node(out, mark);
}
