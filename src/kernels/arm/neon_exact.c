/* Integer weights with float32 activations: the lanes of a vector are four rows of a tile. */
#include "kernels/arm/neon_lanes.h"

typedef int32x4_t zeros;

PX_INLINE int parts(const int T)
{
    return T <= 4 ? 4 : 2;
}

PX_INLINE zeros load_zeros(const px_weight_type type, const px_weight *w, int64_t at)
{
    return px_neon_zeros(type, w, at);
}

/* Column k of each quad of four rows, q - zero. line: four columns of each row. */
PX_INLINE lanes take_column(uint8x16_t line, const int k, zeros zero)
{
    const uint32x4_t quads = vreinterpretq_u32_u8(line);
    uint32x4_t value = vandq_u32(quads, vdupq_n_u32(255));
    if (k == 1) value = vandq_u32(vshrq_n_u32(quads, 8), vdupq_n_u32(255));
    if (k == 2) value = vandq_u32(vshrq_n_u32(quads, 16), vdupq_n_u32(255));
    if (k == 3) value = vshrq_n_u32(quads, 24);
    return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(value), zero));
}

PX_INLINE void add_block(const px_weight_type type, const int T, const int k, const int K,
                         const int first, const int end, const unsigned char *p, int64_t prefetch,
                         zeros zero, const float *const *x, lanes part[4][PX_TOKEN_TILE])
{
    (void)prefetch;
    const int lines = type == PX_WEIGHT_I4 ? 4 : 8;
    PX_UNROLL for (int quad = first; quad < end; quad++) {
        uint8x16_t line = vld1q_u8(p + quad % lines * 64);
        if (type == PX_WEIGHT_I4)
            line = quad < lines ? vandq_u8(line, vdupq_n_u8(15)) : vshrq_n_u8(line, 4);
        lanes value[4];
        PX_UNROLL for (int i = 0; i < K; i++) value[i] = take_column(line, k + i, zero);
        PX_UNROLL for (int t = 0; t < T; t++) {
            const float32x4_t columns = vld1q_f32(x[t] + 4 * quad);
            PX_UNROLL for (int i = 0; i < K; i++)
                part[i][t] = PX_LANE(vfmaq_laneq_f32, k + i, part[i][t], value[i], columns);
        }
    }
}

#include "kernels/exact_tiles.h"

void px_neon_exact(px_kernels *kernels)
{
    set_products(kernels);
}
