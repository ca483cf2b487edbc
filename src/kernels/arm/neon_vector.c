/* Functions of one vector: quantizing activations, norm, SwiGLU, softmax, rotary embedding. */
#include "kernels/arm/neon.h"

#include <float.h>
#include <math.h>

#include "base/half.h"
#include "base/memory.h"

/* One block of `count` (1 to 32) values, as quantize_block of the reference; the integers. */
PX_INLINE int8x16x2_t quantize_block(const float *x, int64_t count, float *scale, int32_t *sum)
{
    float32x4_t value[8];
    uint32x4_t largest = vdupq_n_u32(0); /* the magnitudes' bits order as they do, NaN last */
    PX_UNROLL for (int i = 0; i < 8; i++) {
        value[i] = count > 4 * i ? px_neon_load(x + 4 * i, count - 4 * i) : vdupq_n_f32(0);
        largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(value[i])));
    }
    *scale = px_float_of_bits(vmaxvq_u32(largest)) / 127.0f;

    const bool finite = *scale <= FLT_MAX;
    if (!finite || *scale < FLT_MIN) {
        *scale = finite ? 0 : NAN;
        *sum = 0;
        return (int8x16x2_t){{vdupq_n_s8(0), vdupq_n_s8(0)}};
    }
    int16x8_t integer[4];
    PX_UNROLL for (int i = 0; i < 4; i++) {
        const float32x4_t divisor = vdupq_n_f32(*scale);
        const int32x4_t low = vcvtnq_s32_f32(vdivq_f32(value[2 * i], divisor));
        const int32x4_t high = vcvtnq_s32_f32(vdivq_f32(value[2 * i + 1], divisor));
        integer[i] = vcombine_s16(vmovn_s32(low), vmovn_s32(high));
    }
    *sum = vaddlvq_s16(
        vaddq_s16(vaddq_s16(integer[0], integer[1]), vaddq_s16(integer[2], integer[3])));
    return (int8x16x2_t){{vcombine_s8(vmovn_s16(integer[0]), vmovn_s16(integer[1])),
                          vcombine_s8(vmovn_s16(integer[2]), vmovn_s16(integer[3]))}};
}

static void quantize(const float *x, int64_t columns, int token, int tokens, int8_t *q,
                     float *scale, int32_t *sum)
{
    scale += token;
    sum += token;
    q += 4 * token;
    for (int64_t begin = 0; begin < columns; begin += PX_COLUMN_BLOCK) {
        const int8x16x2_t integers =
            quantize_block(x + begin, PX_MIN(PX_COLUMN_BLOCK, columns - begin), scale, sum);
        int8_t quads[PX_COLUMN_BLOCK];
        vst1q_s8(quads, integers.val[0]);
        vst1q_s8(quads + 16, integers.val[1]);
        PX_UNROLL for (int i = 0; i < 8; i++) memcpy(q + 4 * i * tokens, quads + 4 * i, 4);
        q += PX_COLUMN_BLOCK * tokens;
        scale += tokens;
        sum += tokens;
    }
}

static void rms_norm(const float *x, const float *gain, int64_t n, float epsilon, float *out)
{
    float32x4_t sums[4];
    for (int k = 0; k < 4; k++) sums[k] = vdupq_n_f32(0);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 4; k++) {
            const float32x4_t value = vld1q_f32(x + i + 4 * k);
            sums[k] = vfmaq_f32(sums[k], value, value);
        }
    for (; i < n; i += 4) {
        const float32x4_t value = px_neon_load(x + i, n - i);
        sums[0] = vfmaq_f32(sums[0], value, value);
    }
    const float sum =
        vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])));
    const float32x4_t inverse = vdupq_n_f32(1.0f / sqrtf(sum / (float)n + epsilon));
    for (i = 0; i < n; i += 4) {
        const float32x4_t value = vmulq_f32(px_neon_load(x + i, n - i), inverse);
        px_neon_store(out + i, n - i, vmulq_f32(value, px_neon_load(gain + i, n - i)));
    }
}

/*
 * exp(x), relative error below 2e-7, with the infinity, the zeros, the subnormal results and the
 * NaN that expf has. x = n ln2 + r with |r| <= ln2 / 2; the polynomial is the Taylor series of
 * exp(r) to the seventh power; 2^n goes in as two factors because n runs from -151 to 129.
 */
PX_INLINE float32x4_t exponential(float32x4_t x)
{
    x = vminq_f32(vdupq_n_f32(89.0f), vmaxq_f32(vdupq_n_f32(-104.5f), x)); /* a NaN stays */
    const float32x4_t n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(0x1.715476p+0f)));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0x1.62e4p-1f)); /* ln2 in two parts */
    r = vfmsq_f32(r, n, vdupq_n_f32(0x1.7f7d1cp-20f));
    static const float inverse_factorial[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120,
                                              1.0f / 24,   1.0f / 6,   0.5f};
    float32x4_t sum = vdupq_n_f32(inverse_factorial[0]);
    PX_UNROLL for (int i = 1; i < 6; i++)
        sum = vfmaq_f32(vdupq_n_f32(inverse_factorial[i]), sum, r);
    sum = vfmaq_f32(r, vmulq_f32(sum, r), r);
    sum = vaddq_f32(sum, vdupq_n_f32(1.0f));

    const int32x4_t power = vcvtq_s32_f32(n), half = vshrq_n_s32(power, 1);
    const int32x4_t bias = vdupq_n_s32(127);
    const int32x4_t a = vshlq_n_s32(vaddq_s32(half, bias), 23);
    const int32x4_t b = vshlq_n_s32(vaddq_s32(vsubq_s32(power, half), bias), 23);
    return vmulq_f32(vmulq_f32(sum, vreinterpretq_f32_s32(a)), vreinterpretq_f32_s32(b));
}

static void swiglu(const float *gate, const float *up, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i += 4) {
        const float32x4_t x = px_neon_load(gate + i, n - i);
        const float32x4_t divisor = vaddq_f32(vdupq_n_f32(1.0f), exponential(vnegq_f32(x)));
        const float32x4_t value = vmulq_f32(vdivq_f32(x, divisor), px_neon_load(up + i, n - i));
        px_neon_store(out + i, n - i, value);
    }
}

/* Up to four floats with minus infinity behind them. */
PX_INLINE float32x4_t load_filled(const float *x, int64_t count)
{
    if (count >= 4) return vld1q_f32(x);
    float copy[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    memcpy(copy, x, (size_t)count * sizeof *x);
    return vld1q_f32(copy);
}

static void softmax(float *x, int64_t n)
{
    float32x4_t most = vdupq_n_f32(-INFINITY);
    for (int64_t i = 0; i < n; i += 4) most = vmaxq_f32(most, load_filled(x + i, n - i));
    const float32x4_t largest = vdupq_n_f32(vmaxvq_f32(most));

    float64x2_t sum = vdupq_n_f64(0);
    for (int64_t i = 0; i < n; i += 4) {
        /* what fills the last four up becomes zero: exp(-infinity) */
        const float32x4_t power = exponential(vsubq_f32(load_filled(x + i, n - i), largest));
        px_neon_store(x + i, n - i, power);
        sum = vaddq_f64(sum, vaddq_f64(vcvt_f64_f32(vget_low_f32(power)), vcvt_high_f64_f32(power)));
    }
    const float32x4_t inverse = vdupq_n_f32((float)(1.0 / vaddvq_f64(sum)));
    for (int64_t i = 0; i < n; i += 4)
        px_neon_store(x + i, n - i, vmulq_f32(px_neon_load(x + i, n - i), inverse));
}

static void add(float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i += 4) {
        const float32x4_t sum = vaddq_f32(px_neon_load(x + i, n - i), px_neon_load(y + i, n - i));
        px_neon_store(x + i, n - i, sum);
    }
}

static void rope(float *x, const float *cosine, const float *sine, int64_t rotary_dim)
{
    const int64_t half = rotary_dim / 2;
    for (int64_t i = 0; i < half; i += 4) {
        const int64_t left = half - i;
        const float32x4_t a = px_neon_load(x + i, left), b = px_neon_load(x + half + i, left);
        const float32x4_t c = px_neon_load(cosine + i, left), s = px_neon_load(sine + i, left);
        px_neon_store(x + i, left, vsubq_f32(vmulq_f32(a, c), vmulq_f32(b, s)));
        px_neon_store(x + half + i, left, vaddq_f32(vmulq_f32(b, c), vmulq_f32(a, s)));
    }
}

void px_neon_vector(px_kernels *kernels)
{
    kernels->quantize = quantize;
    kernels->rms_norm = rms_norm;
    kernels->swiglu = swiglu;
    kernels->softmax = softmax;
    kernels->add = add;
    kernels->rope = rope;
}
