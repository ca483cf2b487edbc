/* Attention over a cache of float32 or float16 rows. */
#include "kernels/x86/avx512.h"

enum { LANES = 16 };

typedef __m512 lanes;

PX_INLINE lanes no_sum(void)
{
    return _mm512_setzero_ps();
}

PX_INLINE lanes spread(float x)
{
    return _mm512_set1_ps(x);
}

PX_INLINE lanes fused(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

PX_INLINE float add_lanes(lanes sum)
{
    return px_avx512_sum(sum);
}

PX_INLINE lanes load_floats(const float *x, int64_t count)
{
    return px_avx512_load(x, count, 0);
}

PX_INLINE void store_floats(float *x, int64_t count, lanes value)
{
    px_avx512_store(x, count, value);
}

PX_INLINE lanes load_halves(const unsigned char *p, int64_t count)
{
    if (count >= LANES) return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
    uint16_t copy[LANES] = {0};
    memcpy(copy, p, (size_t)count * sizeof *copy);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)copy));
}

#include "kernels/x86/attention_rows.h"

void px_avx512_attention(px_kernels *kernels)
{
    const px_kernels avx2 = *kernels;
    set_attention(kernels);
    /* twice as many lanes to add up for each row: no faster */
    kernels->attention_scores[PX_CACHE_F16] = avx2.attention_scores[PX_CACHE_F16];
}
