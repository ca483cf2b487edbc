/*
 * The encodings of tensors in GGUF files: floats, and blocks of columns of one row that share scales.
 * All of these are read as integers. Those that only the kernels take, with minima or scales that are
 * products, are also widened to float32, as their definition in ggml computes it.
 */
#ifndef PX_CHECKPOINT_GGUF_BLOCKS_H
#define PX_CHECKPOINT_GGUF_BLOCKS_H

#include "checkpoint/checkpoint.h"

typedef struct px_gguf_encoding {
    const char *name; /* "Q4_K" */
    uint32_t id;      /* in the file */
    int32_t columns;  /* of a block */
    int32_t bytes;    /* of a block */
    px_float_type type; /* of floats, which are blocks of one column */
    int bits;           /* 4, 8: integers; 0: none */
    int32_t group;      /* columns of a group of these */
    int16_t scale_at;   /* bytes into a block: its scale, a float16, */
    int16_t minimum_at; /* and its minimum; -1: none, they are symmetric */
    /* Integers: q [columns], with 8 or 128 added unless there are minima. */
    void (*unpack)(const uint8_t *block, uint8_t *q);
    /* What a group's scale and minimum are multiples of the block's, [groups]; minima left alone where
     * there are none. NULL: a block is a group. */
    void (*steps)(const uint8_t *block, int8_t *scales, int8_t *minima);
} px_gguf_encoding;

/* NULL for one that phlox does not read. */
const px_gguf_encoding *px_gguf_encoding_of(uint32_t id);
/* By its name, "Q4_0"; NULL for one that phlox does not know. */
const px_gguf_encoding *px_gguf_encoding_named(const char *name);
/* ggml's name for any encoding; "unknown" for a number without one. */
const char *px_gguf_encoding_name(uint32_t id);
/* Describes how the values are held: all of the tensor's fields that follow from the encoding and the
 * columns. */
void px_gguf_describe(const px_gguf_encoding *encoding, px_tensor *tensor);

#endif
