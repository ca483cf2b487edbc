/*
 * Integer weights with q8 activations in NEON, for processors without dotprod: smlal multiplies
 * eight weights, four of each of two rows, with four columns of a token and adds in 16 bits.
 * int4: the products of the 8 quads of a block add up there, to at most 8 * 15 * 127 in a lane and
 * twice that in a pair. int8: those of two quads fit, at most 2 * 128 * 127; sadalp adds their
 * pairs in 32 bits.
 */
#include "kernels/arm/neon.h"

enum { SIGNED = 1 };

/* Of rows 0 and 1, and of rows 2 and 3: 16-bit lanes for int4, 32-bit for int8. */
typedef struct dots {
    int32x4_t rows[2];
} dots;

PX_INLINE int pass_tokens(const int T)
{
    return T <= 4 ? T : (T + 1) / 2;
}

PX_INLINE int pass_quarters(const int N)
{
    return N <= 2 ? 4 : 2;
}

PX_INLINE dots dot_begin(int32x4_t rest, int32x4_t sum, const int lane)
{
    (void)rest, (void)sum, (void)lane;
    return (dots){{vdupq_n_s32(0), vdupq_n_s32(0)}};
}

/* The same four columns of a token four times. */
PX_INLINE int8x16_t load_quad(const int T, const int8_t *q, const int quad, const int t)
{
    const int at = quad * T + t; /* a block is a whole number of vectors */
    const int32x4_t four = vreinterpretq_s32_s8(vld1q_s8(q + at / 4 * 16));
    return vreinterpretq_s8_s32(PX_LANE(vdupq_laneq_s32, at % 4, four));
}

PX_INLINE dots dot_add(const px_weight_type type, const int T, dots dot, const uint8x16_t w[2],
                       const int8_t *q, const int quad[2], const int t)
{
    int16x8_t low = vreinterpretq_s16_s32(dot.rows[0]), high = vreinterpretq_s16_s32(dot.rows[1]);
    PX_UNROLL for (int i = 0; i < 2; i++) {
        const int8x16_t rows = vreinterpretq_s8_u8(w[i]), x = load_quad(T, q, quad[i], t);
        if (type == PX_WEIGHT_I8 && i == 0) {
            low = vmull_s8(vget_low_s8(rows), vget_low_s8(x));
            high = vmull_high_s8(rows, x);
        } else {
            low = vmlal_s8(low, vget_low_s8(rows), vget_low_s8(x));
            high = vmlal_high_s8(high, rows, x);
        }
    }
    if (type == PX_WEIGHT_I8)
        return (dots){{vpadalq_s16(dot.rows[0], low), vpadalq_s16(dot.rows[1], high)}};
    return (dots){{vreinterpretq_s32_s16(low), vreinterpretq_s32_s16(high)}};
}

PX_INLINE int32x4_t dot_end(const px_weight_type type, dots dot, int32x4_t rest, int32x4_t sum,
                            const int lane)
{
    int32x4_t exact;
    if (type == PX_WEIGHT_I4)
        exact = vpaddlq_s16(vpaddq_s16(vreinterpretq_s16_s32(dot.rows[0]),
                                       vreinterpretq_s16_s32(dot.rows[1])));
    else
        exact = vpaddq_s32(dot.rows[0], dot.rows[1]);
    return PX_LANE(vmlaq_laneq_s32, lane, exact, rest, sum);
}

#include "kernels/arm/neon_integer.h"

PX_INLINE void tile(const px_weight_type type, const int T, const px_weight *w, int64_t row_tile,
                    const px_token_tile *x, float *out, int64_t out_stride)
{
    passes(type, T, w, row_tile, x, out, out_stride);
}

#include "kernels/tiles.h"

void px_neon_integer(px_kernels *kernels)
{
    set_products(kernels);
}
