/* Integer weights with q8 activations: sdot adds four products to each of four lanes. */
#include "kernels/arm/neon.h"

enum { SIGNED = 1 };

PX_INLINE int32x4_t dot_lane(int32x4_t dot, uint8x16_t w, int8x16_t x, const int lane)
{
    return PX_LANE(vdotq_laneq_s32, lane, dot, vreinterpretq_s8_u8(w), x);
}

#include "kernels/arm/dot_integer.h"

PX_INLINE void tile(const px_weight_type type, const int T, const px_weight *w, int64_t row_tile,
                    const px_token_tile *x, float *out, int64_t out_stride)
{
    passes(type, T, w, row_tile, x, out, out_stride);
}

#include "kernels/tiles.h"

void px_kernels_dotprod(px_kernels *kernels)
{
    kernels->name = "dotprod";
    set_products(kernels);
}
