/* What the files of this room share: a group of weights, a block of it at a time. */
#ifndef PX_QUANT_GROUP_H
#define PX_QUANT_GROUP_H

#include "base/half.h"
#include "quant/quant.h"

enum { BLOCK = 64 };

/* A float16 as float32, in a form that vectorises: the exponent is rebased by a product, which is
 * exact and normalises subnormals. */
static inline float px_f16_exact(uint16_t bits)
{
    const uint32_t magnitude = (uint32_t)(bits & 0x7fffu) << 13;
    const uint32_t special = (bits & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0;
    const uint32_t value = px_bits_of_float(px_float_of_bits(magnitude) * 0x1p112f);
    return px_float_of_bits(value | special | (uint32_t)(bits & 0x8000u) << 16);
}

/* `count` <= BLOCK values from a pointer of any alignment; the rest of the block `out`
 * becomes zero. */
void px_load_block(px_float_type type, const unsigned char *source, size_t count, float *out);

/* A group of a row: `count` values at `source`, of any alignment. */
typedef struct weight_group {
    px_float_type type;
    const unsigned char *source;
    size_t count;
} weight_group;

typedef struct value_range {
    float low, high;
    bool finite;
} value_range;

/* How a group becomes integers: clamp(x / scale + zero, low, high), rounded half to even. */
typedef struct group_params {
    float scale; /* the integers come from this one, what is stored is its float16 */
    float zero;  /* the zero point; 0 when symmetric */
    float low, high;
} group_params;

/* A block of BLOCK values. */
void px_quantize_block(const group_params *params, const float *restrict x, uint8_t *restrict q);

/* The scale, a float16, and zero point that make the squared error of int4 small, never larger than it
 * is with `nncf`. The scale of `nncf` must be one that float16 holds. */
group_params px_search_int4(const weight_group *group, value_range range, bool symmetric,
                            group_params nncf);

#endif
