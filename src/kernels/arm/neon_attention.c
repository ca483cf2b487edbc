/* Attention over a cache of float32 or float16 rows. */
#include "kernels/arm/neon_lanes.h"

#include "base/half.h"

PX_INLINE lanes load_halves(const unsigned char *p, int64_t count)
{
    if (count >= LANES) return px_neon_load_f16(p);
    unsigned char copy[2 * LANES] = {0};
    memcpy(copy, p, (size_t)count * 2);
    return px_neon_load_f16(copy);
}

#include "kernels/attention_rows.h"

static void store_f16(const float *x, void *row, int64_t head_dim)
{
    uint16_t *out = row;
    int64_t i = 0;
    for (; i + 4 <= head_dim; i += 4)
        vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    for (; i < head_dim; i++) out[i] = px_f32_to_f16(x[i]);
}

void px_neon_attention(px_kernels *kernels)
{
    kernels->cache_store[PX_CACHE_F16] = store_f16;
    set_attention(kernels);
}
