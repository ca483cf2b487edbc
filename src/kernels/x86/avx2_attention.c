/* Attention over a cache of float32 or float16 rows. */
#include "kernels/x86/avx2_lanes.h"

#include "base/half.h"

PX_INLINE lanes load_halves(const unsigned char *p, int64_t count)
{
    if (count >= LANES) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
    uint16_t copy[LANES] = {0};
    memcpy(copy, p, (size_t)count * sizeof *copy);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)copy));
}

#include "kernels/attention_rows.h"

static void store_f16(const float *x, void *row, int64_t head_dim)
{
    uint16_t *out = row;
    int64_t i = 0;
    for (; i + 8 <= head_dim; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < head_dim; i++) out[i] = px_f32_to_f16(x[i]);
}

void px_avx2_attention(px_kernels *kernels)
{
    kernels->cache_store[PX_CACHE_F16] = store_f16;
    set_attention(kernels);
}
