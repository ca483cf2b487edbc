/*
 * The matrices of an ONNX graph: what a product or an embedding has for a weight, and how its values
 * lie. Every layout is strides: value (row, column) is at row * row_step + column * column_step.
 */
#ifndef PX_CHECKPOINT_ONNX_MATRIX_H
#define PX_CHECKPOINT_ONNX_MATRIX_H

#include "checkpoint/onnx_model.h"

/* A model and what errors about it say. */
typedef struct px_onnx_source {
    const px_onnx_model *model;
    const char *path;
    phlox_error *error;
} px_onnx_source;

typedef struct px_onnx_matrix {
    const px_onnx_node *node; /* whose weight it is */
    const px_onnx_tensor *data, *scales, *zeros; /* scales NULL: floats; zeros NULL: all are zero */
    int64_t rows, columns;
    int64_t row_step, column_step, count;
    /* Of integers: */
    int bits;
    int zero;          /* where zeros are NULL: as unsigned integers count */
    int64_t block;     /* columns that share a scale */
    int64_t scale_row, scale_block, scale_count;
    int64_t zero_row, zero_block, zero_count;
    const px_onnx_tensor *index; /* the group of each column (g_idx); NULL: they are in order */
    int64_t index_count;
} px_onnx_matrix;

/* Of a MatMul with a constant on its right, or a MatMulNBits. */
phlox_status px_onnx_product(const px_onnx_source *source, const px_onnx_node *node,
                             px_onnx_matrix *out);
/* Of a Gather or GatherBlockQuantized along rows of `columns` values. */
phlox_status px_onnx_embedding(const px_onnx_source *source, const px_onnx_node *node,
                               int64_t columns, px_onnx_matrix *out);
/* A constant [columns, rows], without anything that scales it. */
phlox_status px_onnx_plain_matrix(const px_onnx_source *source, const px_onnx_node *node,
                                  const px_onnx_value *value, px_onnx_matrix *out);

bool px_onnx_is_float(const px_onnx_tensor *tensor);
/* PHLOX_ERROR_UNSUPPORTED: the node, its type, and `what` about it. */
phlox_status px_onnx_refuse(const px_onnx_source *source, const px_onnx_node *node, const char *what);

#endif
