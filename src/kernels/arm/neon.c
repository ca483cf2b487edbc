/* The NEON entries of the table. */
#include "kernels/arm/neon.h"

#include "base/half.h"

static void dequantize_f16(const px_weight *w, int64_t row, float *out)
{
    const unsigned char *data = (const unsigned char *)w->data + row * w->row_bytes;
    int64_t c = 0;
    for (; c + 4 <= w->columns; c += 4) vst1q_f32(out + c, px_neon_load_f16(data + c * 2));
    for (; c < w->columns; c++) {
        uint16_t half;
        memcpy(&half, data + c * 2, sizeof half);
        out[c] = px_f16_to_f32(half);
    }
}

void px_kernels_neon(px_kernels *kernels)
{
    kernels->name = "neon";
    kernels->dequantize[PX_WEIGHT_F16] = dequantize_f16;
    px_neon_f32(kernels);
    px_neon_exact(kernels);
    px_neon_integer(kernels);
    px_neon_vector(kernels);
    px_neon_attention(kernels);
}
