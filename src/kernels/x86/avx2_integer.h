/*
 * Integer weights with q8 activations in 256-bit vectors: what the AVX2 and the AVX-VNNI file share.
 * Each half of a tile, 8 rows, is the lanes of a vector. The including file defines before
 *   int dot_offset(type)            what its products take off the weights themselves
 *   __m256i dot_step(type, dot, value, x)  adds 32 products of unsigned weights and activations
 *   __m256i dot_end(type, dot, zero, sum)  the lanes of a block in 32 bits, with what zero * sum adds
 * where the lanes of `zero` are dot_offset - zero point in their lower 16 bits and 0 above, so that
 * vpmaddwd or vpdpwssd multiply it with a block sum, which fits 16 bits. For PX_WEIGHT_WIDE
 *   __m256i wide_step(dot, x, w)    adds 32 products of unsigned activations and signed weights
 *   __m256i wide_negative(dot)      changes the sign of every sum
 *   __m256i wide_end(dot)           the lanes of a block in 32 bits
 */
#ifndef PX_KERNELS_X86_AVX2_INTEGER_H
#define PX_KERNELS_X86_AVX2_INTEGER_H

#include "kernels/x86/avx2.h"

enum { PASS_TOKENS = 4 /* with both halves of a tile in registers */ };

PX_INLINE __m256i load256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

PX_INLINE __m256i broadcast(const void *p)
{
    int32_t value;
    memcpy(&value, p, sizeof value);
    return _mm256_set1_epi32(value);
}

/* The zero points of 8 rows of a group, `at` the first one's index. */
PX_INLINE __m256i group_zero(const int type, const px_weight *w, int64_t at)
{
    __m256i zero = _mm256_set1_epi32(px_constant_zero(type, w));
    if (w->zeros != NULL)
        zero = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(w->zeros + at)));
    const __m256i rest = _mm256_sub_epi32(_mm256_set1_epi32(dot_offset(type)), zero);
    return _mm256_and_si256(_mm256_set1_epi32(0xffff), rest);
}

/* Adds to the totals what `count` blocks of N of T tokens owe to the minima of their group, whose first
 * index is `at`: these times the sums of the activations. */
PX_INLINE void add_minima(const int T, const int N, const px_weight *w, int64_t at, int64_t count,
                          const float *x_scale, const int32_t *x_sum, __m256 total[2][PASS_TOKENS])
{
    __m256 minimum[2];
    PX_UNROLL for (int h = 0; h < 2; h++) minimum[h] = px_avx2_minima(w, at + 8 * h);
    for (int64_t b = 0; b < count; b++, x_scale += T, x_sum += T) {
        PX_UNROLL for (int t = 0; t < N; t++) {
            const __m256 sum = _mm256_mul_ps(_mm256_broadcast_ss(x_scale + t),
                                             _mm256_cvtepi32_ps(broadcast(x_sum + t)));
            PX_UNROLL for (int h = 0; h < 2; h++)
                total[h][t] = _mm256_fmadd_ps(sum, minimum[h], total[h][t]);
        }
    }
}

/* Adds the products of the line at p. x: its columns of N tokens; x_high: those of the high nibbles. */
PX_INLINE void add_line(const int type, const int N, const unsigned char *p,
                        const int8_t *x, const int8_t *x_high, __m256i dot[2][PASS_TOKENS])
{
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low[2], high[2];
    PX_UNROLL for (int h = 0; h < 2; h++) {
        low[h] = load256(p + 32 * h);
        if (type != PX_WEIGHT_I4) continue;
        high[h] = _mm256_and_si256(_mm256_srli_epi16(low[h], 4), nibble);
        low[h] = _mm256_and_si256(low[h], nibble);
    }
    PX_UNROLL for (int t = 0; t < N; t++) {
        const __m256i four = broadcast(x + 4 * t);
        PX_UNROLL for (int h = 0; h < 2; h++) {
            dot[h][t] = dot_step(type, dot[h][t], low[h], four);
            PX_SUM_NOW(dot[h][t]);
        }
    }
    if (type != PX_WEIGHT_I4) return;
    PX_UNROLL for (int t = 0; t < N; t++) {
        const __m256i four = broadcast(x_high + 4 * t);
        PX_UNROLL for (int h = 0; h < 2; h++) {
            dot[h][t] = dot_step(type, dot[h][t], high[h], four);
            PX_SUM_NOW(dot[h][t]);
        }
    }
}

/* N of T tokens, from `first`. */
PX_INLINE void pass(const int type, const int T, const int N, const int first, const px_weight *w,
                    int64_t row_tile, const px_token_tile *x, float *out, int64_t out_stride)
{
    const int lines = type == PX_WEIGHT_I4 ? 4 : 8;
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p = px_weight_tile(w, row_tile);
    const int8_t *q = x->q8 + 4 * first;
    const float *x_scale = x->scale + first;
    const int32_t *x_sum = x->sum + first;
    __m256 total[2][PASS_TOKENS];
    PX_UNROLL for (int h = 0; h < 2; h++)
        PX_UNROLL for (int t = 0; t < N; t++) total[h][t] = _mm256_setzero_ps();

    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t at = (row_tile * groups + group) * PX_ROW_TILE;
        __m256i zero[2];
        __m256 part[2][PASS_TOKENS];
        PX_UNROLL for (int h = 0; h < 2; h++) {
            zero[h] = group_zero(type, w, at + 8 * h);
            PX_UNROLL for (int t = 0; t < N; t++) part[h][t] = _mm256_setzero_ps();
        }
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        if (w->minima != NULL) add_minima(T, N, w, at, count, x_scale, x_sum, total);
        for (int64_t b = 0; b < count; b++) {
            __m256i dot[2][PASS_TOKENS];
            PX_UNROLL for (int h = 0; h < 2; h++)
                PX_UNROLL for (int t = 0; t < N; t++) dot[h][t] = _mm256_setzero_si256();
            PX_UNROLL for (int line = 0; line < lines; line++) {
                if (first == 0)
                    _mm_prefetch((const char *)p + 64 * line + w->prefetch, _MM_HINT_T0);
                const int8_t *const x_low = q + 4 * T * line;
                add_line(type, N, p + 64 * line, x_low, x_low + 16 * T, dot);
            }
            PX_UNROLL for (int t = 0; t < N; t++) {
                const __m256i sum = broadcast(x_sum + t);
                const __m256 scale = _mm256_broadcast_ss(x_scale + t);
                PX_UNROLL for (int h = 0; h < 2; h++) {
                    const __m256i exact = dot_end(type, dot[h][t], zero[h], sum);
                    part[h][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(exact), scale, part[h][t]);
                }
            }
            p += 64 * lines;
            q += PX_COLUMN_BLOCK * T;
            x_scale += T;
            x_sum += T;
        }
        PX_UNROLL for (int h = 0; h < 2; h++) {
            const __m256 scale = px_avx2_scales(w, at + 8 * h);
            PX_UNROLL for (int t = 0; t < N; t++)
                total[h][t] = _mm256_fmadd_ps(part[h][t], scale, total[h][t]);
        }
    }
    PX_UNROLL for (int h = 0; h < 2; h++)
        PX_UNROLL for (int t = 0; t < N; t++)
            _mm256_storeu_ps(out + (first + t) * out_stride + 8 * h, total[h][t]);
}

/* N of T tokens, from `first`, of a tile in groups of half a block: each has its own sums. */
PX_INLINE void half_pass(const int type, const int T, const int N, const int first,
                         const px_weight *w, int64_t row_tile, const px_token_tile *x, float *out,
                         int64_t out_stride)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    const int64_t blocks = px_column_blocks(w->columns);
    const unsigned char *p = px_weight_tile(w, row_tile);
    const int8_t *q = x->q8 + 4 * first;
    const float *x_scale = x->scale + first;
    const int32_t *x_sum = x->sum + first;
    int64_t at = row_tile * 2 * blocks * PX_ROW_TILE;
    __m256 total[2][PASS_TOKENS];
    PX_UNROLL for (int h = 0; h < 2; h++)
        PX_UNROLL for (int t = 0; t < N; t++) total[h][t] = _mm256_setzero_ps();
    for (int64_t b = 0; b < blocks; b++, x_scale += T) {
        PX_UNROLL for (int half = 0; half < 2; half++) {
            __m256i dot[2][PASS_TOKENS];
            PX_UNROLL for (int h = 0; h < 2; h++)
                PX_UNROLL for (int t = 0; t < N; t++) dot[h][t] = _mm256_setzero_si256();
            PX_UNROLL for (int line = 0; line < 4; line++) {
                if (first == 0 && (type == PX_WEIGHT_I8 || half == 0))
                    _mm_prefetch((const char *)p + 64 * line + w->prefetch, _MM_HINT_T0);
                PX_UNROLL for (int h = 0; h < 2; h++) {
                    __m256i value = load256(p + 64 * line + 32 * h);
                    if (type == PX_WEIGHT_I4 && half == 1) value = _mm256_srli_epi16(value, 4);
                    if (type == PX_WEIGHT_I4) value = _mm256_and_si256(value, nibble);
                    PX_UNROLL for (int t = 0; t < N; t++)
                        dot[h][t] =
                            dot_step(type, dot[h][t], value, broadcast(q + 4 * (line * T + t)));
                }
            }
            if (w->minima != NULL) add_minima(T, N, w, at, 1, x_scale, x_sum, total);
            PX_UNROLL for (int h = 0; h < 2; h++) {
                const __m256i zero = group_zero(type, w, at + 8 * h);
                const __m256 scale = px_avx2_scales(w, at + 8 * h);
                PX_UNROLL for (int t = 0; t < N; t++) {
                    const __m256i exact = dot_end(type, dot[h][t], zero, broadcast(x_sum + t));
                    const __m256 part = _mm256_mul_ps(_mm256_cvtepi32_ps(exact),
                                                      _mm256_broadcast_ss(x_scale + t));
                    total[h][t] = _mm256_fmadd_ps(part, scale, total[h][t]);
                }
            }
            if (type == PX_WEIGHT_I8 || half == 1) p += 256;
            q += PX_HALF_BLOCK * T;
            x_sum += T;
            at += PX_ROW_TILE;
        }
    }
    PX_UNROLL for (int h = 0; h < 2; h++)
        PX_UNROLL for (int t = 0; t < N; t++)
            _mm256_storeu_ps(out + (first + t) * out_stride + 8 * h, total[h][t]);
}

PX_INLINE void half_tile(const int type, const int T, const px_weight *w, int64_t row_tile,
                         const px_token_tile *x, float *out, int64_t out_stride)
{
    const int N = T <= PASS_TOKENS ? T : (T + 1) / 2;
    half_pass(type, T, N, 0, w, row_tile, x, out, out_stride);
    if (N < T) half_pass(type, T, T - N, N, w, row_tile, x, out, out_stride);
}

PX_INLINE void tile(const int type, const int T, const px_weight *w, int64_t row_tile,
                    const px_token_tile *x, float *out, int64_t out_stride)
{
    const int N = T <= PASS_TOKENS ? T : (T + 1) / 2;
    pass(type, T, N, 0, w, row_tile, x, out, out_stride);
    if (N < T) pass(type, T, T - N, N, w, row_tile, x, out, out_stride);
}

/* ---- many tokens --------------------------------------------------------------------------- */

static void widen(const unsigned char *i4, int64_t blocks, int64_t group_blocks,
                  const uint8_t *zeros, unsigned char *wide)
{
    const __m256i nibble = _mm256_set1_epi8(15), bias = _mm256_set1_epi8(-128);
    const __m256i spread = _mm256_set1_epi32(0x01010101);
    __m256i zero[2] = {_mm256_set1_epi8(8), _mm256_set1_epi8(8)};
    for (int64_t block = 0; block < blocks; block++, i4 += 256, wide += PX_WIDE_BYTES) {
        if (zeros != NULL && block % group_blocks == 0) {
            for (int h = 0; h < 2; h++) {
                const __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(zeros + 8 * h));
                zero[h] = _mm256_mullo_epi32(_mm256_cvtepu8_epi32(eight), spread);
            }
            zeros += PX_ROW_TILE;
        }
        for (int h = 0; h < 2; h++) {
            __m256i sum = _mm256_setzero_si256();
            for (int at = 32 * h; at < 256; at += 64) {
                const __m256i line = load256(i4 + at);
                const __m256i low = _mm256_sub_epi8(_mm256_and_si256(line, nibble), zero[h]);
                const __m256i high = _mm256_sub_epi8(
                    _mm256_and_si256(_mm256_srli_epi16(line, 4), nibble), zero[h]);
                _mm256_storeu_si256((__m256i *)(void *)(wide + at), low);
                _mm256_storeu_si256((__m256i *)(void *)(wide + 256 + at), high);
                sum = wide_step(sum, bias, low);
                sum = wide_step(sum, bias, high);
            }
            _mm256_storeu_si256((__m256i *)(void *)(wide + 64 * PX_WIDE_LINE + 32 * h),
                                wide_negative(sum));
        }
    }
}

/* N of T tokens, from `first`. */
PX_INLINE void wide_pass(const int T, const int N, const int first, const px_weight *w,
                         int64_t row_tile, const px_token_tile *x, float *out, int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p = px_weight_tile(w, row_tile);
    const int8_t *u8 = x->q8 + 4 * first;
    const float *x_scale = x->scale + first;
    const int32_t *x_sum = x->sum + first;
    __m256 total[2][PASS_TOKENS];
    PX_UNROLL for (int h = 0; h < 2; h++)
        PX_UNROLL for (int t = 0; t < N; t++)
            total[h][t] = _mm256_loadu_ps(out + (first + t) * out_stride + 8 * h);

    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t at = (row_tile * groups + group) * PX_ROW_TILE;
        __m256 part[2][PASS_TOKENS];
        PX_UNROLL for (int h = 0; h < 2; h++)
            PX_UNROLL for (int t = 0; t < N; t++) part[h][t] = _mm256_setzero_ps();
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        if (w->minima != NULL) add_minima(T, N, w, at, count, x_scale, x_sum, total);
        for (int64_t b = 0; b < count; b++) {
            __m256i dot[2][PASS_TOKENS];
            PX_UNROLL for (int h = 0; h < 2; h++)
                PX_UNROLL for (int t = 0; t < N; t++) dot[h][t] = load256(p + 64 * PX_WIDE_LINE + 32 * h);
            PX_UNROLL for (int line = 0; line < PX_WIDE_LINE; line++) {
                const __m256i value[2] = {load256(p + 64 * line), load256(p + 64 * line + 32)};
                PX_UNROLL for (int t = 0; t < N; t++) {
                    const __m256i four = broadcast(u8 + 4 * T * line + 4 * t);
                    PX_UNROLL for (int h = 0; h < 2; h++) {
                        dot[h][t] = wide_step(dot[h][t], four, value[h]);
                        PX_SUM_NOW(dot[h][t]);
                    }
                }
            }
            PX_UNROLL for (int t = 0; t < N; t++) {
                const __m256 scale = _mm256_broadcast_ss(x_scale + t);
                PX_UNROLL for (int h = 0; h < 2; h++)
                    part[h][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(wide_end(dot[h][t])), scale, part[h][t]);
            }
            p += PX_WIDE_BYTES;
            u8 += PX_COLUMN_BLOCK * T;
            x_scale += T;
            x_sum += T;
        }
        PX_UNROLL for (int h = 0; h < 2; h++) {
            const __m256 scale = px_avx2_scales(w, at + 8 * h);
            PX_UNROLL for (int t = 0; t < N; t++)
                total[h][t] = _mm256_fmadd_ps(part[h][t], scale, total[h][t]);
        }
    }
    PX_UNROLL for (int h = 0; h < 2; h++)
        PX_UNROLL for (int t = 0; t < N; t++)
            _mm256_storeu_ps(out + (first + t) * out_stride + 8 * h, total[h][t]);
}

PX_INLINE void run_tiles(const int type, const int T, const px_weight *w, int64_t begin, int64_t end,
                         const px_token_tile *x, float *out, int64_t out_stride)
{
    for (; begin < end; begin++, out += PX_ROW_TILE) {
        if (px_is_half(type)) {
            half_tile(px_type_of_half(type), T, w, begin, x, out, out_stride);
            continue;
        }
        if (type != PX_WEIGHT_WIDE) {
            tile(type, T, w, begin, x, out, out_stride);
            continue;
        }
        const int N = T <= PASS_TOKENS ? T : (T + 1) / 2;
        wide_pass(T, N, 0, w, begin, x, out, out_stride);
        if (N < T) wide_pass(T, T - N, N, w, begin, x, out, out_stride);
    }
}

#define PX_RUN_TILES
#define PX_WIDE
#include "kernels/tiles.h"

#endif
