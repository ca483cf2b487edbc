/* What the AVX2 files share. All of them are compiled with -mavx2 -mfma -mf16c and nothing in them
 * runs before px_kernels_init has seen PHLOX_CPU_AVX2. */
#ifndef PX_KERNELS_X86_AVX2_H
#define PX_KERNELS_X86_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/integer.h"

/* Overrides of the entries of the table. */
void px_avx2_f32(px_kernels *kernels);
void px_avx2_exact(px_kernels *kernels);
void px_avx2_integer(px_kernels *kernels);
void px_avx2_vector(px_kernels *kernels);
void px_avx2_attention(px_kernels *kernels);

/* Makes the compiler have this sum now. Left alone it computes the products of a whole tile first, which
 * do not fit the registers, and adds them up from memory. */
#define PX_SUM_NOW(vector) __asm__("" : "+v"(vector))

PX_INLINE float px_avx2_sum(__m256 v)
{
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Floats of 8 rows of a group, `at` the first one's index. */
PX_INLINE __m256 px_avx2_floats(const px_weight *w, const void *floats, const int8_t *steps, int64_t at)
{
    if (!w->half_scales) return _mm256_loadu_ps((const float *)floats + at);
    const uint16_t *const half =
        (const uint16_t *)floats + (steps == NULL ? at : px_super_index(w, at));
    const __m256 values = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)half));
    if (steps == NULL) return values;
    const __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(steps + at));
    return _mm256_mul_ps(values, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight)));
}

PX_INLINE __m256 px_avx2_scales(const px_weight *w, int64_t at)
{
    return px_avx2_floats(w, w->scales, w->scale_steps, at);
}

PX_INLINE __m256 px_avx2_minima(const px_weight *w, int64_t at)
{
    return px_avx2_floats(w, w->minima, w->minimum_steps, at);
}

/* Up to eight floats, zeros behind them. Tails are copied, not loaded through a mask: a masked load
 * at the end of a page is slow, and emulators read behind it. */
PX_INLINE __m256 px_avx2_load(const float *x, int64_t count)
{
    if (count >= 8) return _mm256_loadu_ps(x);
    float copy[8] = {0};
    if (count > 0) memcpy(copy, x, (size_t)count * sizeof *x);
    return _mm256_loadu_ps(copy);
}

PX_INLINE void px_avx2_store(float *x, int64_t count, __m256 value)
{
    if (count >= 8) {
        _mm256_storeu_ps(x, value);
        return;
    }
    float copy[8];
    _mm256_storeu_ps(copy, value);
    memcpy(x, copy, (size_t)count * sizeof *x);
}

#endif
