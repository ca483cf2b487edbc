/*
 * What the dotprod and the i8mm file share: products of four columns of four rows with those of one
 * token, which is a lane of a vector. The including file defines SIGNED (neon_integer.h) and
 *   dot_lane(dot, w, x, lane)  adds those products to the four lanes of dot
 */
#ifndef PX_KERNELS_ARM_DOT_INTEGER_H
#define PX_KERNELS_ARM_DOT_INTEGER_H

#include "kernels/arm/neon.h"

typedef int32x4_t dots;

PX_INLINE int pass_tokens(const int T)
{
    return T;
}

PX_INLINE int pass_quarters(const int N)
{
    return N <= 2 ? 4 : N <= 4 ? 2 : 1;
}

PX_INLINE dots dot_begin(int32x4_t rest, int32x4_t sum, const int lane)
{
    return PX_LANE(vmulq_laneq_s32, lane, rest, sum);
}

PX_INLINE dots dot_add(const px_weight_type type, const int T, dots dot, const uint8x16_t w[2],
                       const int8_t *q, const int quad[2], const int t)
{
    (void)type;
    PX_UNROLL for (int i = 0; i < 2; i++) {
        const int at = quad[i] * T + t; /* a block is a whole number of vectors */
        dot = dot_lane(dot, w[i], vld1q_s8(q + at / 4 * 16), at % 4);
    }
    return dot;
}

PX_INLINE int32x4_t dot_end(const px_weight_type type, dots dot, int32x4_t rest, int32x4_t sum,
                            const int lane)
{
    (void)type, (void)rest, (void)sum, (void)lane;
    return dot;
}

#include "kernels/arm/neon_integer.h"

#endif
