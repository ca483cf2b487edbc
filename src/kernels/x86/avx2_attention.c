/* Attention over a cache of float32 or float16 rows. */
#include "kernels/x86/avx2.h"

#include <string.h>

#include "base/half.h"
#include "base/memory.h"

enum {
    KEYS = 4,             /* cache rows that go together */
    PREFETCH_AHEAD = 4096 /* bytes */
};

PX_INLINE int64_t value_bytes(const px_cache_type type)
{
    return type == PX_CACHE_F32 ? 4 : 2;
}

/* `count` (at most eight) values at p, zeros behind them. */
PX_INLINE __m256 load_values(const px_cache_type type, const unsigned char *p, int64_t count)
{
    if (type == PX_CACHE_F32) return px_avx2_load((const float *)(const void *)p, count);
    if (count >= 8) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
    uint16_t copy[8] = {0};
    memcpy(copy, p, (size_t)count * sizeof *copy);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)copy));
}

/* The rows of one head follow each other for a block of positions only, too briefly for the hardware
 * to get ahead. */
PX_INLINE void prefetch_rows(const unsigned char *p, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)p + PREFETCH_AHEAD + i, _MM_HINT_T0);
}

/* The sum of one row is the same whether it comes alone or with others. */
PX_INLINE void scores_rows(const px_cache_type type, const int rows, const float *q,
                           const unsigned char *key, int64_t head_dim, float scale, float *scores)
{
    const int64_t stride = head_dim * value_bytes(type);
    __m256 sums[KEYS];
    PX_UNROLL for (int j = 0; j < rows; j++) sums[j] = _mm256_setzero_ps();
    for (int64_t i = 0; i < head_dim; i += 8) {
        const __m256 x = px_avx2_load(q + i, head_dim - i);
        PX_UNROLL for (int j = 0; j < rows; j++) {
            const unsigned char *at = key + j * stride + i * value_bytes(type);
            sums[j] = _mm256_fmadd_ps(x, load_values(type, at, head_dim - i), sums[j]);
        }
    }
    PX_UNROLL for (int j = 0; j < rows; j++) scores[j] = scale * px_avx2_sum(sums[j]);
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
    __m256 weight[KEYS];
    PX_UNROLL for (int j = 0; j < rows; j++) weight[j] = _mm256_set1_ps(weights[j]);
    for (int64_t i = 0; i < head_dim; i += 8) {
        const int64_t left = head_dim - i;
        __m256 sum = px_avx2_load(out + i, left);
        PX_UNROLL for (int j = 0; j < rows; j++) {
            const unsigned char *at = value + j * stride + i * value_bytes(type);
            sum = _mm256_fmadd_ps(weight[j], load_values(type, at, left), sum);
        }
        px_avx2_store(out + i, left, sum);
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

static void store_f16(const float *x, void *row, int64_t head_dim)
{
    uint16_t *out = row;
    int64_t i = 0;
    for (; i + 8 <= head_dim; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < head_dim; i++) out[i] = px_f32_to_f16(x[i]);
}

void px_avx2_attention(px_kernels *kernels)
{
    kernels->cache_store[PX_CACHE_F16] = store_f16;
    kernels->attention_scores[PX_CACHE_F32] = scores_f32;
    kernels->attention_scores[PX_CACHE_F16] = scores_f16;
    kernels->attention_mix[PX_CACHE_F32] = mix_f32;
    kernels->attention_mix[PX_CACHE_F16] = mix_f16;
}
