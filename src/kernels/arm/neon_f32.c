/* Float weights. A sum runs in four lanes (column modulo 4), one fused multiply-add a column. */
#include "kernels/arm/neon_lanes.h"

enum { ROWS = 4, TOKENS = 4, FEW_ROWS = 8, PANEL_ROWS = 8 };

/* Columns 8 * part to 8 * part + 7 of the block at p. */
PX_INLINE void load_part(const px_weight_type type, const unsigned char *p, const int part,
                         float32x4_t value[2])
{
    if (type == PX_WEIGHT_F32) {
        value[0] = px_neon_load_f32(p + part * 32);
        value[1] = px_neon_load_f32(p + part * 32 + 16);
        return;
    }
    const uint8x16_t half = vld1q_u8(p + part * 16);
    if (type == PX_WEIGHT_F16) {
        value[0] = vcvt_f32_f16(vreinterpret_f16_u8(vget_low_u8(half)));
        value[1] = vcvt_high_f32_f16(vreinterpretq_f16_u8(half));
        return;
    }
    const uint16x8_t none = vdupq_n_u16(0), bits = vreinterpretq_u16_u8(half);
    value[0] = vreinterpretq_f32_u16(vzip1q_u16(none, bits));
    value[1] = vreinterpretq_f32_u16(vzip2q_u16(none, bits));
}

/* Adds the block of R rows (bytes p[r]) and T tokens (floats x[t]) to sums. */
PX_INLINE void add_block(const px_weight_type type, const int R, const int T,
                         const unsigned char *const *p, const float *const *x, lanes sums[][TOKENS])
{
    PX_UNROLL for (int part = 0; part < 4; part++) {
        float32x4_t x_part[TOKENS][2];
        PX_UNROLL for (int t = 0; t < T; t++) {
            x_part[t][0] = vld1q_f32(x[t] + part * 8);
            x_part[t][1] = vld1q_f32(x[t] + part * 8 + 4);
        }
        PX_UNROLL for (int r = 0; r < R; r++) {
            float32x4_t value[2];
            load_part(type, p[r], part, value);
            PX_UNROLL for (int i = 0; i < 2; i++)
                PX_UNROLL for (int t = 0; t < T; t++)
                    sums[r][t] = vfmaq_f32(sums[r][t], value[i], x_part[t][i]);
        }
    }
}

#include "kernels/float_tiles.h"

void px_neon_f32(px_kernels *kernels)
{
    set_products(kernels);
}
