/* The entries of the table that need no more of AVX-512 than F, BW, DQ and VL. */
#include "kernels/x86/avx512.h"

void px_kernels_avx512(px_kernels *kernels)
{
    kernels->name = "avx512";
    px_avx512_f32(kernels);
    px_avx512_exact(kernels);
    px_avx512_vector(kernels);
    px_avx512_attention(kernels);
}
