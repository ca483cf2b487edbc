/* One weight of an OpenVINO IR: from the layer that makes it back to the constants it is made of. */
#ifndef PX_CHECKPOINT_OPENVINO_TENSOR_H
#define PX_CHECKPOINT_OPENVINO_TENSOR_H

#include "checkpoint/checkpoint.h"
#include "checkpoint/openvino_xml.h"

/* Numbers beside the weights: scales, zero points, factors. */
typedef struct px_ov_numbers {
    const uint8_t *data; /* NULL: none */
    px_ov_type type;
    bool one; /* a single one for all */
} px_ov_numbers;

/* px_tensor.source. */
typedef struct px_ov_source {
    px_ov_numbers scales;
    px_ov_numbers zeros;   /* of the values as the file has them */
    uint8_t flip;          /* 8 or 128, added to values that have a sign */
    bool columns_first;    /* floats are stored as [columns, rows] */
    px_ov_numbers factors; /* [rows - factor_row]: rows from factor_row on are multiplied by these */
    int64_t factor_row;
} px_ov_source;

/* The files that an IR is in. */
typedef struct px_ov_files {
    const px_ov_graph *graph;
    const char *xml, *bin; /* paths, for messages */
    const uint8_t *data;   /* of the .bin */
    bool mapped;
} px_ov_files;

/* Fills in a tensor whose role, rows and columns are set; `layer` makes the weight, transposed when it is
 * [columns, rows]. *bytes grows by what is stored. PHLOX_ERROR_UNSUPPORTED for an encoding that phlox
 * does not read. */
phlox_status px_ov_tensor_read(const px_ov_files *files, const px_ov_layer *layer, bool columns_first,
                               px_tensor *tensor, px_ov_source *source, uint64_t *bytes,
                               phlox_error *error);
/* A vector of weights, whatever its rank. */
phlox_status px_ov_vector_read(const px_ov_files *files, const px_ov_layer *layer, px_tensor *tensor,
                               px_ov_source *source, uint64_t *bytes, phlox_error *error);
/* Multiplies the rows from `row` on by the constant behind `layer`, which has a value for each. */
phlox_status px_ov_tensor_scale(const px_ov_files *files, const px_ov_layer *layer, int64_t row,
                                px_tensor *tensor, px_ov_source *source, phlox_error *error);

#endif
