/* What the Arm files share. The neon files are compiled for the AArch64 that every processor has;
 * nothing in the others runs before px_kernels_init has seen their features. */
#ifndef PX_KERNELS_ARM_NEON_H
#define PX_KERNELS_ARM_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/integer.h"

/* Overrides of the entries of the table. */
void px_neon_f32(px_kernels *kernels);
void px_neon_exact(px_kernels *kernels);
void px_neon_integer(px_kernels *kernels);
void px_neon_vector(px_kernels *kernels);
void px_neon_attention(px_kernels *kernels);

/* An instruction that takes lane `lane` of its last operand. Intrinsics want a literal; the lane is
 * a constant once the loops around are unrolled. */
#define PX_LANE(instruction, lane, ...)                                                           \
    ((lane) == 0   ? instruction(__VA_ARGS__, 0)                                                  \
     : (lane) == 1 ? instruction(__VA_ARGS__, 1)                                                  \
     : (lane) == 2 ? instruction(__VA_ARGS__, 2)                                                  \
                   : instruction(__VA_ARGS__, 3))

/* Loads that need no alignment. */
PX_INLINE float32x4_t px_neon_load_f32(const unsigned char *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

PX_INLINE float32x4_t px_neon_load_f16(const unsigned char *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

/* Up to four floats, zeros behind them. */
PX_INLINE float32x4_t px_neon_load(const float *x, int64_t count)
{
    if (count >= 4) return vld1q_f32(x);
    float copy[4] = {0};
    if (count > 0) memcpy(copy, x, (size_t)count * sizeof *x);
    return vld1q_f32(copy);
}

PX_INLINE void px_neon_store(float *x, int64_t count, float32x4_t value)
{
    if (count >= 4) {
        vst1q_f32(x, value);
        return;
    }
    float copy[4];
    vst1q_f32(copy, value);
    memcpy(x, copy, (size_t)count * sizeof *x);
}

/* Floats of four rows of a group, `at` the first one's index. */
PX_INLINE float32x4_t px_neon_floats(const px_weight *w, const void *floats, const int8_t *steps,
                                     int64_t at)
{
    if (!w->half_scales) return vld1q_f32((const float *)floats + at);
    const uint16x4_t half =
        vld1_u16((const uint16_t *)floats + (steps == NULL ? at : px_super_index(w, at)));
    const float32x4_t values = vcvt_f32_f16(vreinterpret_f16_u16(half));
    if (steps == NULL) return values;
    uint32_t four;
    memcpy(&four, steps + at, sizeof four);
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
    return vmulq_f32(values, vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))));
}

PX_INLINE float32x4_t px_neon_scales(const px_weight *w, int64_t at)
{
    return px_neon_floats(w, w->scales, w->scale_steps, at);
}

PX_INLINE float32x4_t px_neon_minima(const px_weight *w, int64_t at)
{
    return px_neon_floats(w, w->minima, w->minimum_steps, at);
}

/* Their zero points. */
PX_INLINE int32x4_t px_neon_zeros(const px_weight_type type, const px_weight *w, int64_t at)
{
    if (w->zeros == NULL) return vdupq_n_s32(px_constant_zero(type, w));
    uint32_t four;
    memcpy(&four, w->zeros + at, sizeof four);
    const uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide)));
}

#endif
