/* Attention over a cache of float32 or float16 rows. */
#include "kernels/x86/avx512_lanes.h"

PX_INLINE lanes load_halves(const unsigned char *p, int64_t count)
{
    if (count >= LANES) return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
    uint16_t copy[LANES] = {0};
    memcpy(copy, p, (size_t)count * sizeof *copy);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)copy));
}

#include "kernels/attention_rows.h"

void px_avx512_attention(px_kernels *kernels)
{
    const px_kernels avx2 = *kernels;
    set_attention(kernels);
    /* twice as many lanes to add up for each row: no faster */
    kernels->attention_scores[PX_CACHE_F16] = avx2.attention_scores[PX_CACHE_F16];
}
