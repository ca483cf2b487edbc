/* What the AVX-512 files share. Nothing in them runs before px_kernels_init has seen PHLOX_CPU_AVX512
 * (F, BW, DQ and VL). */
#ifndef PX_KERNELS_X86_AVX512_H
#define PX_KERNELS_X86_AVX512_H

#include "kernels/x86/avx2.h"

/* Overrides of the entries of AVX2. */
void px_avx512_f32(px_kernels *kernels);

PX_INLINE float px_avx512_sum(__m512 v)
{
    return px_avx2_sum(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

#endif
