/* A vector of 8 floats: the `lanes` of exact_tiles.h, float_tiles.h and attention_rows.h. */
#ifndef PX_KERNELS_X86_AVX2_LANES_H
#define PX_KERNELS_X86_AVX2_LANES_H

#include "kernels/x86/avx2.h"

enum { LANES = 8 };

typedef __m256 lanes;

PX_INLINE lanes no_sum(void)
{
    return _mm256_setzero_ps();
}

PX_INLINE lanes spread(float x)
{
    return _mm256_set1_ps(x);
}

PX_INLINE lanes plus(lanes a, lanes b)
{
    return _mm256_add_ps(a, b);
}

/* a * b + c, rounded once. */
PX_INLINE lanes fused(lanes a, lanes b, lanes c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* Their sum, in a fixed order. */
PX_INLINE float add_lanes(lanes sum)
{
    return px_avx2_sum(sum);
}

/* Up to LANES floats, zeros behind them. */
PX_INLINE lanes load_floats(const float *x, int64_t count)
{
    return px_avx2_load(x, count);
}

PX_INLINE void store_floats(float *x, int64_t count, lanes value)
{
    px_avx2_store(x, count, value);
}

/* The scales and the minima of so many rows of a group, `at` the index of the first one's. */
PX_INLINE lanes load_scales(const px_weight *w, int64_t at)
{
    return px_avx2_scales(w, at);
}

PX_INLINE lanes load_minima(const px_weight *w, int64_t at)
{
    return px_avx2_minima(w, at);
}

/* Asks for what is at p. */
PX_INLINE void fetch(const unsigned char *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}

#endif
