/*
 * The values of matrices of an ONNX model: where they lie in its files, checked, and how they are read
 * as a px_tensor has them.
 */
#ifndef PX_CHECKPOINT_ONNX_WEIGHTS_H
#define PX_CHECKPOINT_ONNX_WEIGHTS_H

#include "checkpoint/directory.h"
#include "checkpoint/onnx_graph.h"

typedef struct px_onnx_files {
    px_directory *directory;
    const px_dir_file *model;
} px_onnx_files;

/* The bytes of a tensor of `count` values of its type. External values lie in a file beside the model's,
 * named without a directory; a link may lead to the directory where the model's file really is, as in
 * the cache of Hugging Face, and nowhere else. */
phlox_status px_onnx_bytes(const px_onnx_files *files, const px_onnx_tensor *tensor, int64_t count,
                           const uint8_t **out, phlox_error *error);
/* `count` floats from the `first` on, of a tensor of floats. */
void px_onnx_floats(const px_onnx_tensor *tensor, const uint8_t *bytes, int64_t first, int64_t count,
                    float *out);

/* A part of a px_tensor's rows. */
typedef struct px_onnx_part {
    px_onnx_matrix matrix;
    const uint8_t *data, *scales, *zeros;
} px_onnx_part;

/* What px_tensor.source points to. */
typedef struct px_onnx_weight {
    px_onnx_part parts[PX_ONNX_MOST_PARTS];
    int count;
} px_onnx_weight;

/* Fills `weight` and what `tensor` has for reading; its role, layer, rows and columns are set. Parts that
 * are stored in different ways become what holds them all exactly. */
phlox_status px_onnx_open_weight(const px_onnx_files *files, const px_onnx_stack *stack,
                                 px_onnx_weight *weight, px_tensor *tensor, uint64_t *stored_bytes,
                                 phlox_error *error);

#endif
