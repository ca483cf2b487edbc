/* What the AVX-512 files share. Nothing in them runs before px_kernels_init has seen PHLOX_CPU_AVX512
 * (F, BW, DQ and VL). */
#ifndef PX_KERNELS_X86_AVX512_H
#define PX_KERNELS_X86_AVX512_H

#include "kernels/x86/avx2.h"

/* Overrides of the entries of AVX2. */
void px_avx512_f32(px_kernels *kernels);
void px_avx512_exact(px_kernels *kernels);
void px_avx512_vector(px_kernels *kernels);
void px_avx512_attention(px_kernels *kernels);

/* Floats of the 16 rows of a group, `at` the first one's index. */
PX_INLINE __m512 px_avx512_floats(const px_weight *w, const void *floats, const int8_t *steps,
                                  int64_t at)
{
    if (!w->half_scales) return _mm512_loadu_ps((const float *)floats + at);
    const uint16_t *const half =
        (const uint16_t *)floats + (steps == NULL ? at : px_super_index(w, at));
    const __m512 values = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)half));
    if (steps == NULL) return values;
    const __m128i sixteen = _mm_loadu_si128((const __m128i *)(const void *)(steps + at));
    return _mm512_mul_ps(values, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen)));
}

PX_INLINE __m512 px_avx512_scales(const px_weight *w, int64_t at)
{
    return px_avx512_floats(w, w->scales, w->scale_steps, at);
}

PX_INLINE __m512 px_avx512_minima(const px_weight *w, int64_t at)
{
    return px_avx512_floats(w, w->minima, w->minimum_steps, at);
}

PX_INLINE float px_avx512_sum(__m512 v)
{
    return px_avx2_sum(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

/* Up to 16 floats, `rest` behind them; copied for the reason of px_avx2_load. */
PX_INLINE __m512 px_avx512_load(const float *x, int64_t count, float rest)
{
    if (count >= 16) return _mm512_loadu_ps(x);
    float copy[16];
    _mm512_storeu_ps(copy, _mm512_set1_ps(rest));
    memcpy(copy, x, (size_t)count * sizeof *x);
    return _mm512_loadu_ps(copy);
}

PX_INLINE void px_avx512_store(float *x, int64_t count, __m512 value)
{
    if (count >= 16) {
        _mm512_storeu_ps(x, value);
        return;
    }
    float copy[16];
    _mm512_storeu_ps(copy, value);
    memcpy(x, copy, (size_t)count * sizeof *x);
}

#endif
