/*
 * Integer weights with q8 activations: the 16 rows of a tile are the lanes of a vector. The zero
 * point goes through the block sums: a lane of `zero` is -zero in its lower 16 bits and 0 above, a
 * block sum fits the lower 16 bits, so that vpdpwssd adds -zero * sum.
 */
#include "kernels/x86/avx512.h"

enum { ONE_TILE = 4 /* tokens: more take two tiles of rows together */ };

PX_INLINE __m512i load512(const void *p)
{
    return _mm512_loadu_si512(p);
}

PX_INLINE __m512i broadcast(const void *p)
{
    int32_t value;
    memcpy(&value, p, sizeof value);
    return _mm512_set1_epi32(value);
}

/* The zero points of a group, `at` its first index. */
PX_INLINE __m512i group_zero(const int type, const px_weight *w, int64_t at)
{
    const __m512i low = _mm512_set1_epi32(0xffff);
    if (w->zeros == NULL)
        return _mm512_and_si512(low, _mm512_set1_epi32(-px_constant_zero(type, w)));
    const __m128i zero = _mm_loadu_si128((const __m128i *)(const void *)(w->zeros + at));
    const __m512i wide = _mm512_cvtepu8_epi32(zero);
    return _mm512_and_si512(low, _mm512_sub_epi32(_mm512_setzero_si512(), wide));
}

/* Adds to the totals of R tiles of rows what `count` blocks owe to the minima of a group: these times
 * the sums of the activations. */
PX_INLINE void add_minima(const int R, const int T, const px_weight *w, int64_t row_tile,
                          int64_t group, int64_t count, const float *x_scale, const int32_t *x_sum,
                          __m512 total[][PX_TOKEN_TILE])
{
    __m512 minimum[2];
    PX_UNROLL for (int i = 0; i < R; i++) {
        const int64_t at = ((row_tile + i) * px_weight_groups(w) + group) * PX_ROW_TILE;
        minimum[i] = px_avx512_minima(w, at);
    }
    for (int64_t b = 0; b < count; b++, x_scale += T, x_sum += T) {
        PX_UNROLL for (int t = 0; t < T; t++) {
            const __m512 sum = _mm512_mul_ps(_mm512_set1_ps(x_scale[t]),
                                             _mm512_cvtepi32_ps(broadcast(x_sum + t)));
            PX_UNROLL for (int i = 0; i < R; i++)
                total[i][t] = _mm512_fmadd_ps(sum, minimum[i], total[i][t]);
        }
    }
}

PX_INLINE void tile(const int type, const int T, const px_weight *w, int64_t row_tile,
                    const px_token_tile *x, float *out, int64_t out_stride)
{
    const int lines = type == PX_WEIGHT_I4 ? 4 : 8;
    const __m512i nibble = _mm512_set1_epi8(15);
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p = px_weight_tile(w, row_tile);
    const int8_t *q = x->q8;
    const float *x_scale = x->scale;
    const int32_t *x_sum = x->sum;
    __m512 total[PX_TOKEN_TILE];
    PX_UNROLL for (int t = 0; t < T; t++) total[t] = _mm512_setzero_ps();

    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t at = (row_tile * groups + group) * PX_ROW_TILE;
        const __m512i zero = group_zero(type, w, at);
        __m512 part[PX_TOKEN_TILE];
        PX_UNROLL for (int t = 0; t < T; t++) part[t] = _mm512_setzero_ps();
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        if (w->minima != NULL)
            add_minima(1, T, w, row_tile, group, count, x_scale, x_sum, &total);
        for (int64_t b = 0; b < count; b++) {
            __m512i dot[PX_TOKEN_TILE], more[PX_TOKEN_TILE];
            PX_UNROLL for (int t = 0; t < T; t++) {
                dot[t] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), zero, broadcast(x_sum + t));
                if (T == 1) more[t] = _mm512_setzero_si512();
            }
            PX_UNROLL for (int line = 0; line < lines; line++) {
                const __m512i value = load512(p + 64 * line);
                _mm_prefetch((const char *)p + 64 * line + w->prefetch, _MM_HINT_T0);
                const int8_t *const x_low = q + 4 * T * line;
                if (type != PX_WEIGHT_I4) {
                    PX_UNROLL for (int t = 0; t < T; t++) {
                        if (T == 1 && line % 2)
                            more[t] = _mm512_dpbusd_epi32(more[t], value, broadcast(x_low + 4 * t));
                        else
                            dot[t] = _mm512_dpbusd_epi32(dot[t], value, broadcast(x_low + 4 * t));
                    }
                    continue;
                }
                const int8_t *const x_high = x_low + 16 * T;
                const __m512i low = _mm512_and_si512(value, nibble);
                const __m512i high = _mm512_and_si512(_mm512_srli_epi16(value, 4), nibble);
                PX_UNROLL for (int t = 0; t < T; t++)
                    dot[t] = _mm512_dpbusd_epi32(dot[t], low, broadcast(x_low + 4 * t));
                PX_UNROLL for (int t = 0; t < T; t++) {
                    if (T == 1)
                        more[t] = _mm512_dpbusd_epi32(more[t], high, broadcast(x_high + 4 * t));
                    else
                        dot[t] = _mm512_dpbusd_epi32(dot[t], high, broadcast(x_high + 4 * t));
                }
            }
            PX_UNROLL for (int t = 0; t < T; t++) {
                if (T == 1) dot[t] = _mm512_add_epi32(dot[t], more[t]);
                part[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]), _mm512_set1_ps(x_scale[t]),
                                          part[t]);
            }
            p += 64 * lines;
            q += PX_COLUMN_BLOCK * T;
            x_scale += T;
            x_sum += T;
        }
        const __m512 scale = px_avx512_scales(w, at);
        PX_UNROLL for (int t = 0; t < T; t++) total[t] = _mm512_fmadd_ps(part[t], scale, total[t]);
    }
    PX_UNROLL for (int t = 0; t < T; t++) _mm512_storeu_ps(out + t * out_stride, total[t]);
}

/* Two tiles of rows with many tokens: the activations are loaded once for both, and 16 sums hide the
 * latency of the products. */
PX_INLINE void two_tiles(const int type, const int T, const px_weight *w, int64_t row_tile,
                         const px_token_tile *x, float *out, int64_t out_stride)
{
    const int lines = type == PX_WEIGHT_I4 ? 4 : 8;
    const __m512i nibble = _mm512_set1_epi8(15);
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p[2] = {px_weight_tile(w, row_tile), px_weight_tile(w, row_tile + 1)};
    const int8_t *q = x->q8;
    const float *x_scale = x->scale;
    const int32_t *x_sum = x->sum;
    __m512 total[2][PX_TOKEN_TILE];
    PX_UNROLL for (int i = 0; i < 2; i++)
        PX_UNROLL for (int t = 0; t < T; t++) total[i][t] = _mm512_setzero_ps();

    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        __m512i zero[2];
        __m512 part[2][PX_TOKEN_TILE];
        PX_UNROLL for (int i = 0; i < 2; i++) {
            zero[i] = group_zero(type, w, ((row_tile + i) * groups + group) * PX_ROW_TILE);
            PX_UNROLL for (int t = 0; t < T; t++) part[i][t] = _mm512_setzero_ps();
        }
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        if (w->minima != NULL)
            add_minima(2, T, w, row_tile, group, count, x_scale, x_sum, total);
        for (int64_t b = 0; b < count; b++) {
            __m512i dot[2][PX_TOKEN_TILE];
            PX_UNROLL for (int t = 0; t < T; t++) {
                const __m512i sum = broadcast(x_sum + t);
                PX_UNROLL for (int i = 0; i < 2; i++)
                    dot[i][t] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), zero[i], sum);
            }
            PX_UNROLL for (int line = 0; line < lines; line++) {
                __m512i low[2], high[2];
                PX_UNROLL for (int i = 0; i < 2; i++) {
                    low[i] = load512(p[i] + 64 * line);
                    _mm_prefetch((const char *)p[i] + 64 * line + w->prefetch, _MM_HINT_T0);
                    if (type != PX_WEIGHT_I4) continue;
                    high[i] = _mm512_and_si512(_mm512_srli_epi16(low[i], 4), nibble);
                    low[i] = _mm512_and_si512(low[i], nibble);
                }
                const int8_t *const x_low = q + 4 * T * line;
                PX_UNROLL for (int t = 0; t < T; t++) {
                    const __m512i four = broadcast(x_low + 4 * t);
                    PX_UNROLL for (int i = 0; i < 2; i++) {
                        dot[i][t] = _mm512_dpbusd_epi32(dot[i][t], low[i], four);
                        PX_SUM_NOW(dot[i][t]);
                    }
                }
                if (type != PX_WEIGHT_I4) continue;
                PX_UNROLL for (int t = 0; t < T; t++) {
                    const __m512i four = broadcast(x_low + 16 * T + 4 * t);
                    PX_UNROLL for (int i = 0; i < 2; i++) {
                        dot[i][t] = _mm512_dpbusd_epi32(dot[i][t], high[i], four);
                        PX_SUM_NOW(dot[i][t]);
                    }
                }
            }
            PX_UNROLL for (int t = 0; t < T; t++) {
                const __m512 scale = _mm512_set1_ps(x_scale[t]);
                PX_UNROLL for (int i = 0; i < 2; i++)
                    part[i][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][t]), scale, part[i][t]);
            }
            PX_UNROLL for (int i = 0; i < 2; i++) p[i] += 64 * lines;
            q += PX_COLUMN_BLOCK * T;
            x_scale += T;
            x_sum += T;
        }
        PX_UNROLL for (int i = 0; i < 2; i++) {
            const int64_t at = ((row_tile + i) * groups + group) * PX_ROW_TILE;
            const __m512 scale = px_avx512_scales(w, at);
            PX_UNROLL for (int t = 0; t < T; t++)
                total[i][t] = _mm512_fmadd_ps(part[i][t], scale, total[i][t]);
        }
    }
    PX_UNROLL for (int i = 0; i < 2; i++)
        PX_UNROLL for (int t = 0; t < T; t++)
            _mm512_storeu_ps(out + t * out_stride + PX_ROW_TILE * i, total[i][t]);
}

/* A tile in groups of half a block: each has its own sums. */
PX_INLINE void half_tile(const int type, const int T, const px_weight *w, int64_t row_tile,
                         const px_token_tile *x, float *out, int64_t out_stride)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    const int64_t blocks = px_column_blocks(w->columns);
    const unsigned char *p = px_weight_tile(w, row_tile);
    const int8_t *q = x->q8;
    const float *x_scale = x->scale;
    const int32_t *x_sum = x->sum;
    int64_t group = 0, at = row_tile * 2 * blocks * PX_ROW_TILE;
    __m512 total[PX_TOKEN_TILE];
    PX_UNROLL for (int t = 0; t < T; t++) total[t] = _mm512_setzero_ps();
    for (int64_t b = 0; b < blocks; b++, x_scale += T) {
        PX_UNROLL for (int half = 0; half < 2; half++) {
            const __m512i zero = group_zero(type, w, at);
            __m512i dot[PX_TOKEN_TILE];
            PX_UNROLL for (int t = 0; t < T; t++)
                dot[t] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), zero, broadcast(x_sum + t));
            PX_UNROLL for (int line = 0; line < 4; line++) {
                __m512i value = load512(p + 64 * line);
                if (type == PX_WEIGHT_I8 || half == 0)
                    _mm_prefetch((const char *)p + 64 * line + w->prefetch, _MM_HINT_T0);
                if (type == PX_WEIGHT_I4 && half == 1) value = _mm512_srli_epi16(value, 4);
                if (type == PX_WEIGHT_I4) value = _mm512_and_si512(value, nibble);
                PX_UNROLL for (int t = 0; t < T; t++)
                    dot[t] = _mm512_dpbusd_epi32(dot[t], value, broadcast(q + 4 * (line * T + t)));
            }
            if (w->minima != NULL) add_minima(1, T, w, row_tile, group, 1, x_scale, x_sum, &total);
            const __m512 scale = px_avx512_scales(w, at);
            PX_UNROLL for (int t = 0; t < T; t++) {
                const __m512 part =
                    _mm512_mul_ps(_mm512_cvtepi32_ps(dot[t]), _mm512_set1_ps(x_scale[t]));
                total[t] = _mm512_fmadd_ps(part, scale, total[t]);
            }
            if (type == PX_WEIGHT_I8 || half == 1) p += 256;
            q += PX_HALF_BLOCK * T;
            x_sum += T;
            at += PX_ROW_TILE;
            group++;
        }
    }
    PX_UNROLL for (int t = 0; t < T; t++) _mm512_storeu_ps(out + t * out_stride, total[t]);
}

/* ---- many tokens --------------------------------------------------------------------------- */

static void widen(const unsigned char *i4, int64_t blocks, int64_t group_blocks,
                  const uint8_t *zeros, unsigned char *wide)
{
    const __m512i nibble = _mm512_set1_epi8(15), bias = _mm512_set1_epi8(-128);
    __m512i zero = _mm512_set1_epi8(8);
    for (int64_t block = 0; block < blocks; block++, i4 += 256, wide += PX_WIDE_BYTES) {
        if (zeros != NULL && block % group_blocks == 0) {
            const __m128i rows = _mm_loadu_si128((const __m128i *)(const void *)zeros);
            zero = _mm512_mullo_epi32(_mm512_cvtepu8_epi32(rows), _mm512_set1_epi32(0x01010101));
            zeros += PX_ROW_TILE;
        }
        __m512i sum = _mm512_setzero_si512();
        for (int at = 0; at < 256; at += 64) {
            const __m512i line = load512(i4 + at);
            const __m512i low = _mm512_sub_epi8(_mm512_and_si512(line, nibble), zero);
            const __m512i high = _mm512_sub_epi8(
                _mm512_and_si512(_mm512_srli_epi16(line, 4), nibble), zero);
            _mm512_storeu_si512(wide + at, low);
            _mm512_storeu_si512(wide + 256 + at, high);
            sum = _mm512_dpbusd_epi32(sum, bias, low);
            sum = _mm512_dpbusd_epi32(sum, bias, high);
        }
        _mm512_storeu_si512(wide + 64 * PX_WIDE_LINE,
                            _mm512_sub_epi32(_mm512_setzero_si512(), sum));
    }
}

/* R tiles of rows. */
PX_INLINE void wide_tiles(const int R, const int T, const px_weight *w, int64_t row_tile,
                          const px_token_tile *x, float *out, int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p[2];
    const int8_t *u8 = x->q8;
    const float *x_scale = x->scale;
    const int32_t *x_sum = x->sum;
    __m512 total[2][PX_TOKEN_TILE];
    PX_UNROLL for (int i = 0; i < R; i++) {
        p[i] = px_weight_tile(w, row_tile + i);
        PX_UNROLL for (int t = 0; t < T; t++)
            total[i][t] = _mm512_loadu_ps(out + t * out_stride + PX_ROW_TILE * i);
    }

    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        __m512 part[2][PX_TOKEN_TILE];
        PX_UNROLL for (int i = 0; i < R; i++)
            PX_UNROLL for (int t = 0; t < T; t++) part[i][t] = _mm512_setzero_ps();
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        if (w->minima != NULL)
            add_minima(R, T, w, row_tile, group, count, x_scale, x_sum, total);
        for (int64_t b = 0; b < count; b++) {
            __m512i dot[2][PX_TOKEN_TILE];
            PX_UNROLL for (int i = 0; i < R; i++)
                PX_UNROLL for (int t = 0; t < T; t++) dot[i][t] = load512(p[i] + 64 * PX_WIDE_LINE);
            PX_UNROLL for (int line = 0; line < PX_WIDE_LINE; line++) {
                __m512i value[2];
                PX_UNROLL for (int i = 0; i < R; i++) value[i] = load512(p[i] + 64 * line);
                PX_UNROLL for (int t = 0; t < T; t++) {
                    const __m512i four = broadcast(u8 + 4 * T * line + 4 * t);
                    PX_UNROLL for (int i = 0; i < R; i++) {
                        dot[i][t] = _mm512_dpbusd_epi32(dot[i][t], four, value[i]);
                        PX_SUM_NOW(dot[i][t]);
                    }
                }
            }
            PX_UNROLL for (int t = 0; t < T; t++) {
                const __m512 scale = _mm512_set1_ps(x_scale[t]);
                PX_UNROLL for (int i = 0; i < R; i++)
                    part[i][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][t]), scale, part[i][t]);
            }
            PX_UNROLL for (int i = 0; i < R; i++) p[i] += PX_WIDE_BYTES;
            u8 += PX_COLUMN_BLOCK * T;
            x_scale += T;
            x_sum += T;
        }
        PX_UNROLL for (int i = 0; i < R; i++) {
            const int64_t at = ((row_tile + i) * groups + group) * PX_ROW_TILE;
            const __m512 scale = px_avx512_scales(w, at);
            PX_UNROLL for (int t = 0; t < T; t++)
                total[i][t] = _mm512_fmadd_ps(part[i][t], scale, total[i][t]);
        }
    }
    PX_UNROLL for (int i = 0; i < R; i++)
        PX_UNROLL for (int t = 0; t < T; t++)
            _mm512_storeu_ps(out + t * out_stride + PX_ROW_TILE * i, total[i][t]);
}

PX_INLINE void run_tiles(const int type, const int T, const px_weight *w, int64_t begin, int64_t end,
                         const px_token_tile *x, float *out, int64_t out_stride)
{
    const bool wide = type == PX_WEIGHT_WIDE;
    const bool two = wide || (T > ONE_TILE && !px_is_half(type));
    for (; two && begin + 2 <= end; begin += 2, out += 2 * PX_ROW_TILE) {
        if (wide) wide_tiles(2, T, w, begin, x, out, out_stride);
        else two_tiles(type, T, w, begin, x, out, out_stride);
    }
    for (; begin < end; begin++, out += PX_ROW_TILE) {
        if (wide) wide_tiles(1, T, w, begin, x, out, out_stride);
        else if (px_is_half(type))
            half_tile(px_type_of_half(type), T, w, begin, x, out, out_stride);
        else tile(type, T, w, begin, x, out, out_stride);
    }
}

#define PX_RUN_TILES
#define PX_WIDE
#include "kernels/tiles.h"

void px_kernels_avx512vnni(px_kernels *kernels)
{
    kernels->name = "avx512-vnni";
    set_products(kernels);
}
