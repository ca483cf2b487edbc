/*
 * Rotary embeddings of an ONNX graph: where the tables of cosine and sine are, and what frequencies
 * they were made of.
 */
#ifndef PX_CHECKPOINT_ONNX_ROPE_H
#define PX_CHECKPOINT_ONNX_ROPE_H

#include "checkpoint/onnx_graph.h"
#include "model/model.h"

/* The tables of a node: constants, an If that chooses by the length, or (with `positions`) constants in
 * which positions are moved to the long part. Tables that are known already must be the same. */
phlox_status px_onnx_rope_of_values(const px_onnx_source *source, const px_onnx_node *node,
                                    const px_onnx_value *cosine, const px_onnx_value *sine,
                                    const px_onnx_value *positions, px_onnx_rope *rope);
/* Those of a RotaryEmbedding. */
phlox_status px_onnx_rope_of_node(const px_onnx_source *source, const px_onnx_node *node,
                                  px_onnx_rope *rope);

/* One table: cosine and sine [rows, columns] of position * frequency[column], times a scale. */
typedef struct px_onnx_table {
    const float *cosine, *sine;
    int64_t rows, columns;
    bool is_half; /* the values were float16 */
} px_onnx_table;

/* The frequencies that give the table (the angles are followed from row to row and a line is laid through
 * them) and its scale. False when some row is far from them. */
bool px_onnx_table_recover(const px_onnx_table *table, double *frequencies, double *scale);

/* Writes rope_theta and, where the frequencies are not powers of one number, factors into a descriptor
 * whose rotary_dim is set. `long_frequencies` NULL: there is one table. A theta of up to three digits is
 * taken for the exact one when all frequencies are its powers as closely as the tables tell. */
phlox_status px_onnx_rope_describe(const double *frequencies, const double *long_frequencies,
                                   double scale, bool is_half, px_desc *desc, phlox_error *error);

#endif
