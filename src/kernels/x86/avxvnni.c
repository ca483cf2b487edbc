/* Integer weights with q8 activations in AVX-VNNI: vpdpbusd adds four products to each lane. */
#include "kernels/x86/avx2.h"

PX_INLINE int dot_offset(const int type)
{
    (void)type;
    return 0;
}

PX_INLINE __m256i dot_step(const int type, __m256i dot, __m256i value, __m256i x)
{
    (void)type;
    return _mm256_dpbusd_avx_epi32(dot, value, x);
}

PX_INLINE __m256i dot_end(const int type, __m256i dot, __m256i zero, __m256i sum)
{
    (void)type;
    return _mm256_dpwssd_avx_epi32(dot, zero, sum);
}

PX_INLINE __m256i wide_step(__m256i dot, __m256i x, __m256i w)
{
    return _mm256_dpbusd_avx_epi32(dot, x, w);
}

PX_INLINE __m256i wide_negative(__m256i dot)
{
    return _mm256_sub_epi32(_mm256_setzero_si256(), dot);
}

PX_INLINE __m256i wide_end(__m256i dot)
{
    return dot;
}

#include "kernels/x86/avx2_integer.h"

void px_kernels_avxvnni(px_kernels *kernels)
{
    kernels->name = "avx-vnni";
    set_products(kernels);
}
