/* Integers packed into words of 32 bits, as GPTQ and AWQ store them in safetensors: where a value lies
 * and how rows of them are read. */
#ifndef PX_CHECKPOINT_HUGGINGFACE_PACKED_H
#define PX_CHECKPOINT_HUGGINGFACE_PACKED_H

#include "checkpoint/checkpoint.h"

/* The files have a matrix the other way round than px_tensor: a line of words is all of a column. */
typedef enum px_hf_layout {
    PX_HF_GPTQ, /* [columns * bits / 32, rows]: a word holds columns of one row, the lowest bits first */
    PX_HF_AWQ   /* [columns, rows * bits / 32]: a word holds rows of one column, in an order of AWQ's */
} px_hf_layout;

/* px_tensor.source. Scales are [groups, rows], zero points [groups, rows * bits / 32] words that hold
 * rows: of GPTQ in their order, of AWQ as the values do. */
typedef struct px_hf_packed {
    px_hf_layout layout;
    int bits;             /* 4 or 8; AWQ: 4 */
    bool adds_one;        /* zero points are stored less one */
    px_float_type scale_type;
    const uint8_t *words, *zeros, *scales;
    const uint8_t *index; /* int32 [columns]: each one's group; NULL: group_size columns after another */
    int64_t group_size, groups;
} px_hf_packed;

/* Whether every zero point of a matrix of so many rows is the middle one, 8 or 128. */
bool px_hf_packed_is_symmetric(const px_hf_packed *packed, int64_t rows);
/* Fills in how a tensor is read whose rows, columns and data are set. With an index it is widened:
 * integers have their groups in a row. */
void px_hf_packed_describe(const px_hf_packed *packed, px_tensor *tensor);

#endif
