/* Attention over a cache of float32 or float16 rows. */
#include "kernels/arm/neon.h"

#include "base/half.h"

enum { KEYS = 4 }; /* cache rows that go together */

PX_INLINE int64_t value_bytes(const px_cache_type type)
{
    return type == PX_CACHE_F32 ? 4 : 2;
}

/* `count` (at most four) values at p, zeros behind them. */
PX_INLINE float32x4_t load_values(const px_cache_type type, const unsigned char *p, int64_t count)
{
    if (count >= 4) return type == PX_CACHE_F32 ? px_neon_load_f32(p) : px_neon_load_f16(p);
    unsigned char copy[16] = {0};
    memcpy(copy, p, (size_t)(count * value_bytes(type)));
    return type == PX_CACHE_F32 ? px_neon_load_f32(copy) : px_neon_load_f16(copy);
}

/* The sum of one row is the same whether it comes alone or with others. */
PX_INLINE void scores_rows(const px_cache_type type, const int rows, const float *q,
                           const unsigned char *key, int64_t head_dim, float scale, float *scores)
{
    const int64_t stride = head_dim * value_bytes(type);
    float32x4_t sums[KEYS];
    PX_UNROLL for (int j = 0; j < rows; j++) sums[j] = vdupq_n_f32(0);
    for (int64_t i = 0; i < head_dim; i += 4) {
        const float32x4_t x = px_neon_load(q + i, head_dim - i);
        PX_UNROLL for (int j = 0; j < rows; j++) {
            const unsigned char *at = key + j * stride + i * value_bytes(type);
            sums[j] = vfmaq_f32(sums[j], x, load_values(type, at, head_dim - i));
        }
    }
    PX_UNROLL for (int j = 0; j < rows; j++) scores[j] = scale * vaddvq_f32(sums[j]);
}

PX_INLINE void scores(const px_cache_type type, const float *q, const unsigned char *key,
                      int64_t keys, int64_t head_dim, float scale, float *out)
{
    const int64_t stride = head_dim * value_bytes(type);
    int64_t j = 0;
    for (; j + KEYS <= keys; j += KEYS)
        scores_rows(type, KEYS, q, key + j * stride, head_dim, scale, out + j);
    for (; j < keys; j++) scores_rows(type, 1, q, key + j * stride, head_dim, scale, out + j);
}

/* The rows are added one after the other: cutting the keys into several calls changes nothing. */
PX_INLINE void mix_rows(const px_cache_type type, const int rows, const float *weights,
                        const unsigned char *value, int64_t head_dim, float *out)
{
    const int64_t stride = head_dim * value_bytes(type);
    for (int64_t i = 0; i < head_dim; i += 4) {
        const int64_t left = head_dim - i;
        float32x4_t sum = px_neon_load(out + i, left);
        PX_UNROLL for (int j = 0; j < rows; j++) {
            const unsigned char *at = value + j * stride + i * value_bytes(type);
            sum = vfmaq_n_f32(sum, load_values(type, at, left), weights[j]);
        }
        px_neon_store(out + i, left, sum);
    }
}

PX_INLINE void mix(const px_cache_type type, const float *weights, const unsigned char *value,
                   int64_t keys, int64_t head_dim, float *out)
{
    const int64_t stride = head_dim * value_bytes(type);
    int64_t j = 0;
    for (; j + KEYS <= keys; j += KEYS)
        mix_rows(type, KEYS, weights + j, value + j * stride, head_dim, out);
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
    kernels->attention_scores[PX_CACHE_F32] = scores_f32;
    kernels->attention_scores[PX_CACHE_F16] = scores_f16;
    kernels->attention_mix[PX_CACHE_F32] = mix_f32;
    kernels->attention_mix[PX_CACHE_F16] = mix_f16;
}
