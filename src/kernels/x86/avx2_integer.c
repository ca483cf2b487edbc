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

/* Of 16 bits: what passes over in between comes back, since the sum of the 16 products of a lane is at
 * most 16 * 15 * 127. */
PX_INLINE __m256i wide_step(__m256i dot, __m256i x, __m256i w)
{
    return _mm256_add_epi16(dot, _mm256_maddubs_epi16(x, w));
}

PX_INLINE __m256i wide_negative(__m256i dot)
{
    return _mm256_sub_epi16(_mm256_setzero_si256(), dot);
}

PX_INLINE __m256i wide_end(__m256i dot)
{
    return _mm256_madd_epi16(dot, _mm256_set1_epi16(1));
}

#include "kernels/x86/avx2_integer.h"

void px_avx2_integer(px_kernels *kernels)
{
    set_products(kernels);
}
