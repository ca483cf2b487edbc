/*
 * Rows of matrices as the blocks of ggml: 32 columns of a row that share a float16 scale, to the last bit what
 * ggml's own reference functions (quantize_row_q8_0_ref and its neighbours) make of floats.
 */
#ifndef PX_CHECKPOINT_GGUF_QUANTIZE_H
#define PX_CHECKPOINT_GGUF_QUANTIZE_H

#include "checkpoint/export.h"
#include "checkpoint/gguf_blocks.h"

enum { PX_GGUF_BLOCK = 32 };

/* Q8_0, Q4_0 and Q4_1 are made of floats; Q8_0, Q4_0 and Q5_0 of integers. */

/* The blocks of rows of finite floats. PHLOX_ERROR_FORMAT, with the row and the first column of the block,
 * where a scale or a minimum is more than float16 holds. */
phlox_status px_gguf_quantize(const px_gguf_encoding *encoding, const px_export_rows *rows,
                              uint8_t *out, phlox_error *error);
/* The blocks of rows of integers, which px_gguf_holds_integers() takes: nothing is rounded. */
void px_gguf_pack(const px_gguf_encoding *encoding, const px_export_rows *rows, uint8_t *out);

/* The encoding that holds an item's stored integers exactly; NULL: none does. Q4_0 for symmetric int4, Q8_0
 * for symmetric int8; of int4 with zero points q - zero is in -15 to 15, which Q5_0 holds. */
const char *px_gguf_holds_integers(const px_export_item *item);

#endif
