/* The AVX2 entries of the table. */
#include "kernels/x86/avx2.h"

#include <string.h>

#include "base/half.h"

static const unsigned char *weight_row(const px_weight *w, int64_t row)
{
    return (const unsigned char *)w->data + row * w->row_bytes;
}

static void dequantize_f16(const px_weight *w, int64_t row, float *out)
{
    const unsigned char *data = weight_row(w, row);
    int64_t c = 0;
    for (; c + 8 <= w->columns; c += 8) {
        const __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(data + c * 2));
        _mm256_storeu_ps(out + c, _mm256_cvtph_ps(half));
    }
    for (; c < w->columns; c++) {
        uint16_t half;
        memcpy(&half, data + c * 2, sizeof half);
        out[c] = px_f16_to_f32(half);
    }
}

void px_kernels_avx2(px_kernels *kernels)
{
    kernels->name = "avx2";
    kernels->dequantize[PX_WEIGHT_F16] = dequantize_f16;
    px_avx2_f32(kernels);
    px_avx2_exact(kernels);
    px_avx2_integer(kernels);
    px_avx2_vector(kernels);
    px_avx2_attention(kernels);
}
