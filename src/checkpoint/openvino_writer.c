#include "checkpoint/openvino_writer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The names of a type: of a port's precision, and of an element_type. */
static const struct type_name {
    const char *precision, *element;
    int bits;
} types[] = {
    [PX_IR_F32] = {"FP32", "f32", 32}, [PX_IR_F16] = {"FP16", "f16", 16},
    [PX_IR_BF16] = {"BF16", "bf16", 16}, [PX_IR_I64] = {"I64", "i64", 64}, [PX_IR_I32] = {"I32", "i32", 32},
    [PX_IR_U8] = {"U8", "u8", 8},      [PX_IR_I8] = {"I8", "i8", 8},
    [PX_IR_U4] = {"U4", "u4", 4},      [PX_IR_I4] = {"I4", "i4", 4},
    [PX_IR_BOOLEAN] = {"BOOL", "boolean", 8}, [PX_IR_STRING] = {"STRING", "string", 0},
};

void px_ir_begin(px_ir *ir, px_out_file *bin, phlox_error *error)
{
    *ir = (px_ir){.bin = bin, .error = error};
}

void px_ir_fail_memory(px_ir *ir, size_t bytes)
{
    if (ir->status == PHLOX_OK) ir->status = px_fail_memory(ir->error, bytes);
}

/* ---- text ---------------------------------------------------------------------------------- */

static void add_text(px_ir *ir, px_buffer *buffer, const char *text)
{
    if (ir->status == PHLOX_OK) ir->status = px_buffer_add(buffer, text, strlen(text), ir->error);
}

static void add_format(px_ir *ir, px_buffer *buffer, const char *format, ...) PX_PRINTF(3, 4);

static void add_format(px_ir *ir, px_buffer *buffer, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add_text(ir, buffer, text);
}

static void add_port(px_ir *ir, int id, px_ir_type type, px_ir_shape shape, const char *name)
{
    px_buffer *const out = &ir->layers;
    add_format(ir, out, "\t\t\t\t<port id=\"%d\" precision=\"%s\"", id, types[type].precision);
    if (name) add_format(ir, out, " names=\"%s\"", name);
    if (!shape.rank) {
        add_text(ir, out, " />\n");
        return;
    }
    add_text(ir, out, ">\n");
    for (int i = 0; i < shape.rank; i++)
        add_format(ir, out, "\t\t\t\t\t<dim>%" PRId64 "</dim>\n", shape.dims[i]);
    add_text(ir, out, "\t\t\t\t</port>\n");
}

/* ---- layers -------------------------------------------------------------------------------- */

static void open_layer(px_ir *ir, const px_ir_op *op)
{
    char own[64];
    snprintf(own, sizeof own, "%s_%d", op->type, ir->count);
    add_format(ir, &ir->layers, "\t\t<layer id=\"%d\" name=\"%s\" type=\"%s\" version=\"%s\">\n",
               ir->count, op->name ? op->name : own, op->type, op->opset);
    if (op->data && *op->data) add_format(ir, &ir->layers, "\t\t\t<data %s />\n", op->data);
    if (op->rt_info)
        add_format(ir, &ir->layers, "\t\t\t<rt_info>\n\t\t\t\t%s\n\t\t\t</rt_info>\n", op->rt_info);
}

void px_ir_add_many(px_ir *ir, const px_ir_op *op, int output_count, px_ir_value *outputs, int count,
                    const px_ir_value *inputs)
{
    open_layer(ir, op);
    if (count) add_text(ir, &ir->layers, "\t\t\t<input>\n");
    for (int i = 0; i < count; i++) {
        add_port(ir, i, inputs[i].type, inputs[i].shape, NULL);
        add_format(ir, &ir->edges,
                   "\t\t<edge from-layer=\"%d\" from-port=\"%d\" to-layer=\"%d\" to-port=\"%d\" />\n",
                   inputs[i].layer, inputs[i].port, ir->count, i);
    }
    if (count) add_text(ir, &ir->layers, "\t\t\t</input>\n");
    if (output_count) add_text(ir, &ir->layers, "\t\t\t<output>\n");
    for (int i = 0; i < output_count; i++) {
        outputs[i].layer = ir->count;
        outputs[i].port = count + i;
        add_port(ir, count + i, outputs[i].type, outputs[i].shape, i ? NULL : op->outputs);
    }
    if (output_count) add_text(ir, &ir->layers, "\t\t\t</output>\n");
    add_text(ir, &ir->layers, "\t\t</layer>\n");
    ir->count++;
}

px_ir_value px_ir_add(px_ir *ir, const px_ir_op *op, px_ir_type type, px_ir_shape shape, int count,
                      const px_ir_value *inputs)
{
    px_ir_value value = {.type = type, .shape = shape};
    px_ir_add_many(ir, op, 1, &value, count, inputs);
    return value;
}

/* ---- constants ----------------------------------------------------------------------------- */

uint64_t px_ir_bytes(px_ir_type type, px_ir_shape shape)
{
    uint64_t count = 1;
    for (int i = 0; i < shape.rank; i++) count *= (uint64_t)shape.dims[i];
    return (count * (uint64_t)types[type].bits + 7) / 8;
}

/* An empty constant has its place inside the file all the same. */
uint64_t px_ir_padded(uint64_t bytes)
{
    bytes = PX_MAX(bytes, 1);
    return (bytes + PX_IR_ALIGNMENT - 1) / PX_IR_ALIGNMENT * PX_IR_ALIGNMENT;
}

px_ir_value px_ir_const_at(px_ir *ir, const char *name, px_ir_type type, px_ir_shape shape,
                           uint64_t offset)
{
    char dims[PX_IR_MOST_DIMS * 24] = "", data[256];
    for (int i = 0; i < shape.rank; i++)
        snprintf(dims + strlen(dims), sizeof dims - strlen(dims), "%s%" PRId64, i ? ", " : "",
                 shape.dims[i]);
    snprintf(data, sizeof data,
             "element_type=\"%s\" shape=\"%s\" offset=\"%" PRIu64 "\" size=\"%" PRIu64 "\"",
             types[type].element, dims, offset, px_ir_bytes(type, shape));
    const px_ir_op op = {.type = "Const", .opset = "opset1", .name = name, .data = data};
    return px_ir_add(ir, &op, type, shape, 0, NULL);
}

px_ir_value px_ir_const_place(px_ir *ir, const char *name, px_ir_type type, px_ir_shape shape,
                              uint64_t *offset)
{
    *offset = ir->bin_size;
    ir->bin_size += px_ir_padded(px_ir_bytes(type, shape));
    return px_ir_const_at(ir, name, type, shape, *offset);
}

px_ir_value px_ir_const(px_ir *ir, const char *name, px_ir_type type, px_ir_shape shape,
                        const void *data)
{
    uint64_t offset;
    const px_ir_value value = px_ir_const_place(ir, name, type, shape, &offset);
    const size_t bytes = (size_t)px_ir_bytes(type, shape);
    if (ir->status == PHLOX_OK)
        ir->status = px_out_write(ir->bin, offset, bytes ? data : "", PX_MAX(bytes, 1), ir->error);
    return value;
}

/* ---- the whole ----------------------------------------------------------------------------- */

phlox_status px_ir_finish(px_ir *ir, const char *rt_info, px_buffer *xml)
{
    add_text(ir, xml, "<?xml version=\"1.0\"?>\n<net name=\"phlox\" version=\"11\">\n\t<layers>\n");
    if (ir->status == PHLOX_OK)
        ir->status = px_buffer_add(xml, ir->layers.data, ir->layers.size, ir->error);
    add_text(ir, xml, "\t</layers>\n\t<edges>\n");
    if (ir->status == PHLOX_OK)
        ir->status = px_buffer_add(xml, ir->edges.data, ir->edges.size, ir->error);
    add_text(ir, xml, "\t</edges>\n\t<rt_info>\n");
    add_text(ir, xml, rt_info);
    add_text(ir, xml, "\t</rt_info>\n</net>\n");
    px_buffer_free(&ir->layers);
    px_buffer_free(&ir->edges);
    return ir->status;
}
