/* Integer weights with float32 activations: the lanes of a vector are 8 rows of a tile. */
#include "kernels/x86/avx2_lanes.h"

typedef __m256i zeros;

PX_INLINE int parts(const int T)
{
    return T <= 2 ? 4 : 1;
}

PX_INLINE zeros load_zeros(const px_weight_type type, const px_weight *w, int64_t at)
{
    if (w->zeros == NULL) return _mm256_set1_epi32(px_constant_zero(type, w));
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(w->zeros + at)));
}

/* Columns 4 * quad + k of a block, of 8 rows: q - zero. p: the block, from the half of the rows. */
PX_INLINE lanes load_column(const px_weight_type type, const unsigned char *p, const int quad,
                             const int k, zeros zero)
{
    const int lines = type == PX_WEIGHT_I4 ? 4 : 8, shift = 8 * k + (quad >= lines ? 4 : 0);
    const __m256i line = _mm256_loadu_si256((const __m256i *)(const void *)(p + quad % lines * 64));
    const __m256i mask = _mm256_set1_epi32(type == PX_WEIGHT_I4 ? 15 : 255);
    const __m256i value = _mm256_and_si256(_mm256_srli_epi32(line, shift), mask);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(value, zero));
}

PX_INLINE void add_block(const px_weight_type type, const int T, const int k, const int K,
                         const int first, const int end, const unsigned char *p, int64_t prefetch,
                         zeros zero, const float *const *x, lanes part[4][PX_TOKEN_TILE])
{
    PX_UNROLL for (int quad = first; quad < end; quad++) {
        if (K == 4 && quad < (type == PX_WEIGHT_I4 ? 4 : 8))
            _mm_prefetch((const char *)p + 64 * quad + prefetch, _MM_HINT_T0);
        PX_UNROLL for (int i = 0; i < K; i++) {
            const lanes value = load_column(type, p, quad, k + i, zero);
            PX_UNROLL for (int t = 0; t < T; t++)
                part[i][t] = _mm256_fmadd_ps(value, _mm256_broadcast_ss(x[t] + 4 * quad + k + i),
                                             part[i][t]);
        }
    }
}

#include "kernels/exact_tiles.h"

void px_avx2_exact(px_kernels *kernels)
{
    set_products(kernels);
}
