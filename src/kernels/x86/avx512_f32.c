/* Float weights. A sum runs in 16 lanes (column modulo 16) with one fused multiply-add a column. */
#include "kernels/x86/avx512_lanes.h"

enum { ROWS = 3, TOKENS = 8, FEW_ROWS = 4, PANEL_ROWS = 12 };

/* Columns 16 * part to 16 * part + 15 of the block at p. */
PX_INLINE __m512 load_part(const px_weight_type type, const unsigned char *p, const int part)
{
    if (type == PX_WEIGHT_F32) return _mm512_loadu_ps(p + part * 64);
    const __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)(p + part * 32));
    if (type == PX_WEIGHT_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* Left alone the compiler loads the activations anew for each row, and loads are what runs out. */
PX_INLINE void add_block(const px_weight_type type, const int R, const int T,
                         const unsigned char *const *p, const float *const *x, lanes sums[][TOKENS])
{
    PX_UNROLL for (int part = 0; part < 2; part++) {
        __m512 value[FEW_ROWS];
        PX_UNROLL for (int r = 0; r < R; r++) value[r] = load_part(type, p[r], part);
        PX_UNROLL for (int t = 0; t < T; t++) {
            __m512 x_part = _mm512_loadu_ps(x[t] + part * 16);
            PX_SUM_NOW(x_part);
            PX_UNROLL for (int r = 0; r < R; r++) {
                sums[r][t] = _mm512_fmadd_ps(value[r], x_part, sums[r][t]);
                PX_SUM_NOW(sums[r][t]);
            }
        }
    }
}

#include "kernels/float_tiles.h"

void px_avx512_f32(px_kernels *kernels)
{
    set_products(kernels);
}
