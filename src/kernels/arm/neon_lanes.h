/* A vector of four floats: the `lanes` of exact_tiles.h, float_tiles.h and attention_rows.h. */
#ifndef PX_KERNELS_ARM_NEON_LANES_H
#define PX_KERNELS_ARM_NEON_LANES_H

#include "kernels/arm/neon.h"

enum { LANES = 4 };

typedef float32x4_t lanes;

PX_INLINE lanes no_sum(void)
{
    return vdupq_n_f32(0);
}

PX_INLINE lanes spread(float x)
{
    return vdupq_n_f32(x);
}

PX_INLINE lanes plus(lanes a, lanes b)
{
    return vaddq_f32(a, b);
}

/* a * b + c, rounded once. */
PX_INLINE lanes fused(lanes a, lanes b, lanes c)
{
    return vfmaq_f32(c, a, b);
}

/* Their sum, in a fixed order. */
PX_INLINE float add_lanes(lanes sum)
{
    return vaddvq_f32(sum);
}

/* Up to LANES floats, zeros behind them. */
PX_INLINE lanes load_floats(const float *x, int64_t count)
{
    return px_neon_load(x, count);
}

PX_INLINE void store_floats(float *x, int64_t count, lanes value)
{
    px_neon_store(x, count, value);
}

/* The scales and the minima of so many rows of a group, `at` the index of the first one's. */
PX_INLINE lanes load_scales(const px_weight *w, int64_t at)
{
    return px_neon_scales(w, at);
}

PX_INLINE lanes load_minima(const px_weight *w, int64_t at)
{
    return px_neon_minima(w, at);
}

/* Would ask for what is at p, but a distance that nobody measured would be a guess. */
PX_INLINE void fetch(const unsigned char *p)
{
    (void)p;
}

#endif
