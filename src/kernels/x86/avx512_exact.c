/*
 * Integer weights with float32 activations: the lanes of a vector are the 16 rows of a tile. The bits
 * of an integer below those of 2^23 make the float 2^23 + q, from which 2^23 + zero leaves q - zero,
 * exactly.
 */
#include "kernels/x86/avx512_lanes.h"

enum { EXPONENT = 0x4b000000 /* of 2^23 */ };

typedef __m512 zeros;

PX_INLINE int parts(const int T)
{
    return T <= 5 ? 4 : 2;
}

PX_INLINE zeros load_zeros(const px_weight_type type, const px_weight *w, int64_t at)
{
    __m512i zero = _mm512_set1_epi32(px_constant_zero(type, w));
    if (w->zeros != NULL)
        zero = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(w->zeros + at)));
    return _mm512_castsi512_ps(_mm512_or_si512(zero, _mm512_set1_epi32(EXPONENT)));
}

/* Column k of each quad of the line, q - zero; its bits begin at `shift`. */
PX_INLINE lanes take_column(const px_weight_type type, __m512i line, const int shift, zeros zero)
{
    enum { AND_OR = 0xea }; /* of vpternlogd: (a & b) | c */
    const __m512i mask = _mm512_set1_epi32(type == PX_WEIGHT_I4 ? 15 : 255);
    const __m512i value = shift == 0 ? line : _mm512_srli_epi32(line, shift);
    const __m512i bits =
        _mm512_ternarylogic_epi32(value, mask, _mm512_set1_epi32(EXPONENT), AND_OR);
    return _mm512_sub_ps(_mm512_castsi512_ps(bits), zero);
}

PX_INLINE void add_block(const px_weight_type type, const int T, const int k, const int K,
                         const int first, const int end, const unsigned char *p, int64_t prefetch,
                         zeros zero, const float *const *x, lanes part[4][PX_TOKEN_TILE])
{
    const int lines = type == PX_WEIGHT_I4 ? 4 : 8;
    PX_UNROLL for (int quad = first; quad < end; quad++) {
        const __m512i line = _mm512_loadu_si512(p + quad % lines * 64);
        if (k == 0 && quad < lines)
            _mm_prefetch((const char *)p + 64 * quad + prefetch, _MM_HINT_T0);
        PX_UNROLL for (int i = 0; i < K; i++) {
            const int shift = 8 * (k + i) + (quad >= lines ? 4 : 0);
            const lanes value = take_column(type, line, shift, zero);
            PX_UNROLL for (int t = 0; t < T; t++) {
                const lanes column = _mm512_set1_ps(x[t][4 * quad + k + i]);
                part[i][t] = _mm512_fmadd_ps(value, column, part[i][t]);
                PX_SUM_NOW(part[i][t]);
            }
        }
    }
}

#include "kernels/exact_tiles.h"

void px_avx512_exact(px_kernels *kernels)
{
    set_products(kernels);
}
