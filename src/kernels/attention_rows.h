/*
 * Attention over a cache of float32 or float16 rows. Included once, behind what it has to offer:
 *   the lanes                   of x86/avx2_lanes.h, x86/avx512_lanes.h or arm/neon_lanes.h
 *   load_halves(p, count)       up to LANES float16 values, zeros behind them
 */
#ifndef PX_KERNELS_ATTENTION_ROWS_H
#define PX_KERNELS_ATTENTION_ROWS_H

enum {
    KEYS = 4,             /* cache rows that go together */
    PREFETCH_AHEAD = 4096 /* bytes */
};

PX_INLINE int64_t value_bytes(const px_cache_type type)
{
    return type == PX_CACHE_F32 ? 4 : 2;
}

/* `count` (at most LANES) values at p, zeros behind them. */
PX_INLINE lanes load_values(const px_cache_type type, const unsigned char *p, int64_t count)
{
    if (type == PX_CACHE_F32) return load_floats((const float *)(const void *)p, count);
    return load_halves(p, count);
}

/* The rows of one head follow each other for a block of positions only, too briefly for the hardware
 * to get ahead. */
PX_INLINE void prefetch_rows(const unsigned char *p, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += 64) fetch(p + PREFETCH_AHEAD + i);
}

/* The sum of one row is the same whether it comes alone or with others. */
PX_INLINE void scores_rows(const px_cache_type type, const int rows, const float *q,
                           const unsigned char *key, int64_t head_dim, float scale, float *scores)
{
    const int64_t stride = head_dim * value_bytes(type);
    lanes sums[KEYS];
    PX_UNROLL for (int j = 0; j < rows; j++) sums[j] = no_sum();
    for (int64_t i = 0; i < head_dim; i += LANES) {
        const lanes x = load_floats(q + i, head_dim - i);
        PX_UNROLL for (int j = 0; j < rows; j++) {
            const unsigned char *at = key + j * stride + i * value_bytes(type);
            sums[j] = fused(x, load_values(type, at, head_dim - i), sums[j]);
        }
    }
    PX_UNROLL for (int j = 0; j < rows; j++) scores[j] = scale * add_lanes(sums[j]);
}

PX_INLINE void scores(const px_cache_type type, const float *q, const unsigned char *key,
                      int64_t keys, int64_t head_dim, float scale, float *out)
{
    const int64_t stride = head_dim * value_bytes(type);
    int64_t j = 0;
    for (; j + KEYS <= keys; j += KEYS) {
        prefetch_rows(key + j * stride, KEYS * stride);
        scores_rows(type, KEYS, q, key + j * stride, head_dim, scale, out + j);
    }
    for (; j < keys; j++) scores_rows(type, 1, q, key + j * stride, head_dim, scale, out + j);
}

/* The rows are added one after the other: cutting the keys into several calls changes nothing. */
PX_INLINE void mix_rows(const px_cache_type type, const int rows, const float *weights,
                        const unsigned char *value, int64_t head_dim, float *out)
{
    const int64_t stride = head_dim * value_bytes(type);
    lanes weight[KEYS];
    PX_UNROLL for (int j = 0; j < rows; j++) weight[j] = spread(weights[j]);
    for (int64_t i = 0; i < head_dim; i += LANES) {
        const int64_t left = head_dim - i;
        lanes sum = load_floats(out + i, left);
        PX_UNROLL for (int j = 0; j < rows; j++) {
            const unsigned char *at = value + j * stride + i * value_bytes(type);
            sum = fused(weight[j], load_values(type, at, left), sum);
        }
        store_floats(out + i, left, sum);
    }
}

PX_INLINE void mix(const px_cache_type type, const float *weights, const unsigned char *value,
                   int64_t keys, int64_t head_dim, float *out)
{
    const int64_t stride = head_dim * value_bytes(type);
    int64_t j = 0;
    for (; j + KEYS <= keys; j += KEYS) {
        prefetch_rows(value + j * stride, KEYS * stride);
        mix_rows(type, KEYS, weights + j, value + j * stride, head_dim, out);
    }
    for (; j < keys; j++) mix_rows(type, 1, weights + j, value + j * stride, head_dim, out);
}

static void scores_f32(const float *q, const void *key, int64_t keys, int64_t head_dim, float scale,
                       float *out)
{
    scores(PX_CACHE_F32, q, key, keys, head_dim, scale, out);
}

static void scores_f16(const float *q, const void *key, int64_t keys, int64_t head_dim, float scale,
                       float *out)
{
    scores(PX_CACHE_F16, q, key, keys, head_dim, scale, out);
}

static void mix_f32(const float *weights, const void *value, int64_t keys, int64_t head_dim,
                    float *out)
{
    mix(PX_CACHE_F32, weights, value, keys, head_dim, out);
}

static void mix_f16(const float *weights, const void *value, int64_t keys, int64_t head_dim,
                    float *out)
{
    mix(PX_CACHE_F16, weights, value, keys, head_dim, out);
}

static void set_attention(px_kernels *kernels)
{
    kernels->attention_scores[PX_CACHE_F32] = scores_f32;
    kernels->attention_scores[PX_CACHE_F16] = scores_f16;
    kernels->attention_mix[PX_CACHE_F32] = mix_f32;
    kernels->attention_mix[PX_CACHE_F16] = mix_f16;
}

#endif
