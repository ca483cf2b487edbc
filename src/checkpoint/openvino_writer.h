/*
 * Writes an OpenVINO IR (version 11): openvino_model.xml, a graph of layers and edges, and
 * openvino_model.bin, the bytes of its constants. Layers are added in the order of the graph; the
 * number types and attributes are those of OpenVINO's operation sets
 * (https://docs.openvino.ai, "Available Operation Sets").
 *
 * A failure sticks: after one, every call does nothing, and px_ir_finish() returns it.
 */
#ifndef PX_CHECKPOINT_OPENVINO_WRITER_H
#define PX_CHECKPOINT_OPENVINO_WRITER_H

#include "base/os.h"

typedef enum px_ir_type {
    PX_IR_F32,
    PX_IR_F16,
    PX_IR_BF16,
    PX_IR_I64,
    PX_IR_I32,
    PX_IR_U8,
    PX_IR_I8,
    PX_IR_U4,
    PX_IR_I4,
    PX_IR_BOOLEAN,
    PX_IR_STRING
} px_ir_type;

enum { PX_IR_MOST_DIMS = 5, PX_IR_DYNAMIC = -1, PX_IR_ALIGNMENT = 64 };

typedef struct px_ir_shape {
    int rank;
    int64_t dims[PX_IR_MOST_DIMS]; /* PX_IR_DYNAMIC where it is only known when the graph runs */
} px_ir_shape;

/* What a layer puts out: one of its output ports. */
typedef struct px_ir_value {
    int layer, port;
    px_ir_type type;
    px_ir_shape shape;
} px_ir_value;

typedef struct px_ir {
    px_out_file *bin;
    uint64_t bin_size; /* bytes of constants so far */
    px_buffer layers, edges;
    int count;
    phlox_status status;
    phlox_error *error;
} px_ir;

/* `error` receives the first failure. */
void px_ir_begin(px_ir *ir, px_out_file *bin, phlox_error *error);
/* Frees what px_ir_begin() made; writes openvino_model.xml's text to `xml` when nothing failed.
 * `rt_info`: the elements inside the model's <rt_info>. */
phlox_status px_ir_finish(px_ir *ir, const char *rt_info, px_buffer *xml);
/* Makes the first failure stick. */
void px_ir_fail_memory(px_ir *ir, size_t bytes);

#define PX_IR_SHAPE(...) \
    (px_ir_shape) \
    { \
        (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__} \
    }
static const px_ir_shape px_ir_scalar = {0, {0}};
/* A list of values with its length in front, for the calls below. */
#define PX_IR_VALUES(...) \
    (int)(sizeof((px_ir_value[]){__VA_ARGS__}) / sizeof(px_ir_value)), (px_ir_value[]) { __VA_ARGS__ }

/* Names, types and opsets: "MatMul", "opset1". `name` becomes the layer's name; NULL: one of its own.
 * `data`: the attributes of <data>, such as "axis=\"1\"", or "". */
typedef struct px_ir_op {
    const char *type, *opset, *name, *data;
    const char *outputs; /* tensor names of the first output, "a" or "a,b", or NULL */
    const char *rt_info; /* elements of the layer's <rt_info>, or NULL */
} px_ir_op;

/* Adds a layer with one output. */
px_ir_value px_ir_add(px_ir *ir, const px_ir_op *op, px_ir_type type, px_ir_shape shape, int count,
                      const px_ir_value *inputs);
/* The same with `output_count` outputs, which come with types and shapes and get their places. */
void px_ir_add_many(px_ir *ir, const px_ir_op *op, int output_count, px_ir_value *outputs, int count,
                    const px_ir_value *inputs);

/* A constant whose bytes are given. */
px_ir_value px_ir_const(px_ir *ir, const char *name, px_ir_type type, px_ir_shape shape,
                        const void *data);
/* A constant whose bytes the caller writes to the file from *offset on. */
px_ir_value px_ir_const_place(px_ir *ir, const char *name, px_ir_type type, px_ir_shape shape,
                              uint64_t *offset);
/* A constant whose bytes are in the file at `offset` already. */
px_ir_value px_ir_const_at(px_ir *ir, const char *name, px_ir_type type, px_ir_shape shape,
                           uint64_t offset);
/* Bytes of a constant: two 4-bit values share one. */
uint64_t px_ir_bytes(px_ir_type type, px_ir_shape shape);
/* Bytes of the file that a constant takes with its padding. */
uint64_t px_ir_padded(uint64_t bytes);

#endif
