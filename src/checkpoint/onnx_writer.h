/*
 * Writes an ONNX model: the messages of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)
 * in protobuf's wire format, and places for what lies in the file of weights beside it. Nodes are added in
 * the order of the graph; all of ModelProto is held in memory, the weights are not.
 *
 * A failure sticks: after one, every call does nothing, and px_onnx_finish() returns it.
 */
#ifndef PX_CHECKPOINT_ONNX_WRITER_H
#define PX_CHECKPOINT_ONNX_WRITER_H

#include "base/os.h"
#include "checkpoint/onnx_types.h"

enum { PX_ONNX_MOST_NAME = 160 };

typedef struct px_onnx_out {
    px_buffer model;   /* ModelProto, open where its GraphProto has its nodes */
    px_buffer rest;    /* fields of the GraphProto that go behind the nodes */
    size_t graph;      /* where the GraphProto begins */
    const char *file;  /* name of the file of weights */
    uint64_t file_size;
    phlox_status status;
    phlox_error *error;
} px_onnx_out;

/* `error` receives the first failure. */
void px_onnx_begin(px_onnx_out *out, const char *file, phlox_error *error);
/* Closes the model; out->model has its bytes until px_onnx_free(). */
phlox_status px_onnx_finish(px_onnx_out *out);
void px_onnx_free(px_onnx_out *out);

/* Inputs and outputs of the graph: dimensions are numbers, or names where they are not digits:
 * "batch_size,sequence_length,64". */
void px_onnx_add_input(px_onnx_out *out, const char *name, px_onnx_type type, const char *dims);
void px_onnx_add_output(px_onnx_out *out, const char *name, px_onnx_type type, const char *dims);

/* A tensor whose bytes the caller writes to the file of weights, from the offset returned on. */
uint64_t px_onnx_add_initializer(px_onnx_out *out, const char *name, px_onnx_type type, int rank,
                             const int64_t *dims);

/* A node is added between begin and end; inputs and outputs are names, separated by commas, empty for
 * those that are left out; `domain` is "" or "com.microsoft". */
size_t px_onnx_begin_node(px_onnx_out *out, const char *op, const char *domain, const char *name,
                    const char *inputs, const char *outputs);
void px_onnx_end_node(px_onnx_out *out, size_t mark);
void px_onnx_add_int(px_onnx_out *out, const char *attribute, int64_t value);
void px_onnx_add_ints(px_onnx_out *out, const char *attribute, int count, const int64_t *values);
void px_onnx_add_float(px_onnx_out *out, const char *attribute, float value);

/* A Constant node with 64-bit integers; rank 0 for one number, else 1. Its output has its name. */
void px_onnx_add_constant(px_onnx_out *out, const char *name, int rank, int count, const int64_t *values);

/* A branch of an If, an attribute of its node: a graph of constants [rows, columns], which are its outputs
 * in this order. */
typedef struct px_onnx_branch_table {
    const char *name, *node; /* of the output; of the Constant */
    const void *data;
} px_onnx_branch_table;
void px_onnx_add_branch(px_onnx_out *out, const char *attribute, const char *graph, px_onnx_type type,
                    int64_t rows, int64_t columns, int count, const px_onnx_branch_table *tables);

size_t px_onnx_type_size(px_onnx_type type);

#endif
