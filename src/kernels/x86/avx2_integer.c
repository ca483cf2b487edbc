/*
 * Integer weights with q8 activations in AVX2.
 *
 * int4: vpmaddubsw gives pairs of products; those of the 8 quads of a block add up in 16 bits, to at
 * most 8 * 2 * 15 * 127. int8: flipping the top bit takes 128 off the weights; the product is |w|
 * times x with the sign of w, at most 2 * 128 * 127 for a pair, which is then widened at once.
 */
#include "kernels/x86/avx2.h"

PX_INLINE int dot_offset(const int type)
{
    return type == PX_WEIGHT_I8 ? 128 : 0;
}

PX_INLINE __m256i dot_step(const int type, __m256i dot, __m256i value, __m256i x)
{
    if (type != PX_WEIGHT_I8) return _mm256_add_epi16(dot, _mm256_maddubs_epi16(value, x));
    const __m256i w = _mm256_xor_si256(value, _mm256_set1_epi8(-128));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

PX_INLINE __m256i dot_end(const int type, __m256i dot, __m256i zero, __m256i sum)
{
    if (type != PX_WEIGHT_I8) dot = _mm256_madd_epi16(dot, _mm256_set1_epi16(1));
    return _mm256_add_epi32(dot, _mm256_madd_epi16(zero, sum));
}

#include "kernels/x86/avx2_integer.h"

/* In the layout of i8; the zero points stay apart. */
static void widen(const unsigned char *i4, int64_t blocks, int64_t group_blocks,
                  const uint8_t *zeros, unsigned char *out)
{
    enum { HALF = PX_ROW_TILE * PX_COLUMN_BLOCK / 2 };
    (void)group_blocks;
    (void)zeros;
    for (; blocks > 0; blocks--, i4 += HALF, out += 2 * HALF) {
        for (int i = 0; i < HALF; i++) out[i] = i4[i] & 15;
        for (int i = 0; i < HALF; i++) out[HALF + i] = i4[i] >> 4;
    }
}

#define PX_WIDE .block_bytes = 8 * 64
#include "kernels/tiles.h"

void px_avx2_integer(px_kernels *kernels)
{
    set_products(kernels);
}
