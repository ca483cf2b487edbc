/* Float weights. A sum runs in eight lanes (column modulo 8) with one fused multiply-add a column. */
#include "kernels/x86/avx2_lanes.h"

enum { ROWS = 3, TOKENS = 4, FEW_ROWS = 4, PANEL_ROWS = 12 };

/* Columns 8 * part to 8 * part + 7 of the block at p. */
PX_INLINE __m256 load_part(const px_weight_type type, const unsigned char *p, const int part)
{
    if (type == PX_WEIGHT_F32) return _mm256_loadu_ps((const float *)(const void *)(p + part * 32));
    const __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(p + part * 16));
    if (type == PX_WEIGHT_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

PX_INLINE void add_block(const px_weight_type type, const int R, const int T,
                         const unsigned char *const *p, const float *const *x, lanes sums[][TOKENS])
{
    PX_UNROLL for (int part = 0; part < 4; part++) {
        __m256 value[FEW_ROWS];
        PX_UNROLL for (int r = 0; r < R; r++) value[r] = load_part(type, p[r], part);
        PX_UNROLL for (int t = 0; t < T; t++) {
            const __m256 x_part = _mm256_loadu_ps(x[t] + part * 8);
            PX_UNROLL for (int r = 0; r < R; r++)
                sums[r][t] = _mm256_fmadd_ps(value[r], x_part, sums[r][t]);
        }
    }
}

#include "kernels/float_tiles.h"

void px_avx2_f32(px_kernels *kernels)
{
    set_products(kernels);
}
