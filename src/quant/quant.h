/*
 * Number formats: how a group of weights becomes int4 or int8, and which layers get which.
 * Formulas and choices are NNCF's weight compression (nncf 3.4, data-free) to the last bit, as
 * `optimum-cli export openvino --weight-format` applies it. Beside it int4 has a search of its own.
 */
#ifndef PX_QUANT_QUANT_H
#define PX_QUANT_QUANT_H

#include "base/error.h"

/* What becomes of one matrix. */
typedef struct px_quant_format {
    int bits; /* 4, 8; 0: left as stored */
    bool symmetric;
    int64_t group_size; /* columns in a group; -1: the whole row */
    bool search; /* int4: scales and zero points of small squared error (search.c), not NNCF's */
} px_quant_format;

/* Source element types. */
typedef enum px_float_type { PX_FLOAT_F32, PX_FLOAT_F16, PX_FLOAT_BF16 } px_float_type;

size_t px_float_size(px_float_type type);
/* `count` source values as float32, exact; `source` may have any alignment. */
void px_float_load(px_float_type type, const void *source, size_t count, float *out);

/*
 * Quantizes rows [rows, columns] of `source` (any alignment). NNCF's integers come from the float32
 * scale, before it is rounded for storage; those of a search from the scale as stored, and no group
 * has a larger squared error than with NNCF's. A symmetric scale has a sign: NNCF's value of largest
 * magnitude in a group becomes -8 or -128, so the scale is negative where that value is positive.
 *   q:      [rows, columns] int8_t values stored as bytes: symmetric -8..7 or -128..127,
 *           asymmetric 0..15 or 0..255 (as uint8_t)
 *   scales: float32 [rows, groups], the value NNCF stores: rounded to float16 and widened again
 *   zeros:  uint8_t [rows, groups]; only written when asymmetric
 * A value is scale * q, or scale * (q - zero).
 * Returns PHLOX_ERROR_FORMAT and the row and column when a value is not finite, or when a scale is
 * more than float16 holds (NNCF would store infinity). The caller adds the tensor's name in front.
 * Groups that do not divide the columns, and bits other than 4 and 8, are PHLOX_ERROR_INTERNAL.
 */
phlox_status px_quantize_rows(const px_quant_format *format, px_float_type type, const void *source,
                              int64_t rows, int64_t columns, uint8_t *q, float *scales,
                              uint8_t *zeros, phlox_error *error);

/*
 * The sensitivity by which NNCF orders layers for `ratio`: the maximum over rows of the mean
 * squared error of int8 asymmetric per-channel quantization. Rows may be given in several calls (a
 * row whole): start from *error_max = 0; calls over parts of a matrix combine by the maximum.
 * Infinity when a value is not finite. The sum is added up as NNCF's numpy code does, to the last
 * bit; its OpenVINO code adds in an order that depends on the machine and differs in the last bits.
 */
void px_quant_sensitivity(px_float_type type, const void *source, int64_t rows, int64_t columns,
                          float *error_max);

/* The options of `phlox_model_options`, checked and with the defaults filled in. */
typedef struct px_quant_options {
    phlox_weight_format format; /* int8 or int4 */
    int64_t group_size;         /* -1: per channel */
    bool symmetric;
    double ratio;
    phlox_backup_precision backup;
    bool all_layers;
    phlox_group_fallback fallback;
    bool search; /* int4 */
} px_quant_options;

/*
 * From the user's options; PHLOX_ERROR_ARGUMENT for a value out of range and for a pair that makes
 * no sense (naming both). int8 takes sym and asym, and of the rest only what says nothing new
 * (group size -1, ratio 1); the float formats, stored and default take none of the options.
 */
phlox_status px_quant_options_resolve(const phlox_model_options *options, px_quant_options *out,
                                      phlox_error *error);

/* One matrix of the network in the order of the graph: embedding first, then each layer's qkv_proj,
 * o_proj, gate_up_proj, down_proj, then lm_head. */
typedef struct px_quant_layer {
    const char *name; /* for messages */
    int64_t rows, columns;
    bool is_embedding;
    bool is_head;           /* the last matrix product; absent when tied to the embedding */
    float sensitivity;      /* only read when ratio < 1: px_quant_sensitivity of the whole matrix */
    px_quant_format format; /* filled in by px_quant_assign */
} px_quant_layer;

/*
 * Chooses the format of every layer as NNCF does. int8: all layers. int4: the embedding and the
 * head get the backup precision unless `all_layers`; the others share the ratio. ratio 1 makes them
 * all int4; below, layers become int4 in descending order of sensitivity until the next one would
 * reach the ratio, and the rest get the backup precision. A row that groups do not divide: see
 * phlox_group_fallback; such a layer counts in the ratio only if it can become int4. Other formats:
 * bits 0. PHLOX_ERROR_ARGUMENT, naming the layer, when groups do not divide the row of a layer
 * chosen for int4 and the fallback is `error`.
 */
phlox_status px_quant_assign(const px_quant_options *options, px_quant_layer *layers, size_t count,
                             phlox_error *error);

#endif
