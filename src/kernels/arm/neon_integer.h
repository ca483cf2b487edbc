/*
 * Integer weights with q8 activations: what the instruction sets share. A vector has four columns
 * of each of four rows, a quarter of a tile. A tile is walked in passes of as many quarters and
 * tokens as the registers hold. The zero point goes through the block sums.
 * The including file defines before
 *   SIGNED            whether products take signed weights: then the top bit of int8 is flipped
 *   pass_tokens(T)    tokens of a pass, T or half of that
 *   pass_quarters(N)  quarters of a pass of N tokens
 *   dots              the products of a quarter and one token while they add up
 *   dots dot_begin(rest, sum, lane)
 *   dots dot_add(type, T, dots, w, q, quad, t)  adds those of two vectors of weights, w[i] with
 *                     quad[i] of token t in the block q of T tokens
 *   int32x4_t dot_end(type, dots, rest, sum, lane)  their sums
 * where dot_begin or dot_end adds rest * sum[lane]: what is missing for each unit of a block sum.
 */
#ifndef PX_KERNELS_ARM_NEON_INTEGER_H
#define PX_KERNELS_ARM_NEON_INTEGER_H

#include "kernels/arm/neon.h"

/* N 32-bit values, one a token; px_lane() and px_half() say where that of a token is. */
typedef struct token_values {
    uint8x16_t half[2];
} token_values;

PX_INLINE token_values load_tokens(const void *p, const int N)
{
    const uint8_t *const bytes = p;
    token_values values;
    if (N == 1) {
        uint32_t one;
        memcpy(&one, p, sizeof one);
        values.half[0] = vreinterpretq_u8_u32(vdupq_n_u32(one));
    } else if (N < 4) {
        values.half[0] = vcombine_u8(vld1_u8(bytes), vld1_u8(bytes + 4 * (N - 2)));
    } else {
        values.half[0] = vld1q_u8(bytes);
    }
    values.half[1] = N > 4 ? vld1q_u8(bytes + 4 * (N - 4)) : values.half[0];
    return values;
}

PX_INLINE int token_half(const int t)
{
    return t / 4;
}

PX_INLINE int token_lane(const int N, const int t)
{
    if (t >= 4) return t - (N - 4);
    return N == 3 && t == 2 ? 3 : t;
}

/* Two vectors of weights and the quads of columns that they meet. p: the block, from four rows. */
PX_INLINE void load_weights(const px_weight_type type, const unsigned char *p, const int step,
                            uint8x16_t w[2], int quad[2])
{
    if (type == PX_WEIGHT_I4) {
        const uint8x16_t line = vld1q_u8(p + 64 * step);
        w[0] = vandq_u8(line, vdupq_n_u8(15));
        w[1] = vshrq_n_u8(line, 4);
        quad[0] = step;
        quad[1] = step + 4;
        return;
    }
    PX_UNROLL for (int i = 0; i < 2; i++) {
        quad[i] = 2 * step + i;
        w[i] = vld1q_u8(p + 64 * quad[i]);
        if (SIGNED) w[i] = veorq_u8(w[i], vdupq_n_u8(128));
    }
}

/* What the products of four rows lack for each unit of a block sum: zero point and flip. */
PX_INLINE int32x4_t group_rest(const px_weight_type type, const px_weight *w, int64_t at)
{
    const int32x4_t flipped = vdupq_n_s32(SIGNED && type == PX_WEIGHT_I8 ? 128 : 0);
    return vsubq_s32(flipped, px_neon_zeros(type, w, at));
}

/* One block of H quarters, from p, and N of its T tokens, from `first`. */
PX_INLINE void add_block(const px_weight_type type, const int T, const int H, const int N,
                         const int first, const unsigned char *p, const int32x4_t *rest,
                         const px_token_tile *x, float32x4_t part[4][PX_TOKEN_TILE])
{
    const token_values sum = load_tokens(x->sum + first, N);
    dots dot[4][PX_TOKEN_TILE];
    PX_UNROLL for (int h = 0; h < H; h++)
        PX_UNROLL for (int t = 0; t < N; t++)
            dot[h][t] = dot_begin(rest[h], vreinterpretq_s32_u8(sum.half[token_half(t)]),
                                  token_lane(N, t));
    PX_UNROLL for (int step = 0; step < 4; step++) {
        PX_UNROLL for (int h = 0; h < H; h++) {
            uint8x16_t w[2];
            int quad[2];
            load_weights(type, p + 16 * h, step, w, quad);
            PX_UNROLL for (int t = 0; t < N; t++)
                dot[h][t] = dot_add(type, T, dot[h][t], w, x->q8, quad, first + t);
        }
    }
    const token_values scale = load_tokens(x->scale + first, N);
    PX_UNROLL for (int h = 0; h < H; h++)
        PX_UNROLL for (int t = 0; t < N; t++) {
            const int lane = token_lane(N, t), half = token_half(t);
            const int32x4_t exact =
                dot_end(type, dot[h][t], rest[h], vreinterpretq_s32_u8(sum.half[half]), lane);
            part[h][t] = PX_LANE(vfmaq_laneq_f32, lane, part[h][t], vcvtq_f32_s32(exact),
                                 vreinterpretq_f32_u8(scale.half[half]));
        }
}

/* Adds to the totals what `count` blocks owe to the minima of their group, whose first index is `at`:
 * these times the sums of the activations. */
PX_INLINE void add_minima(const int T, const int H, const int N, const int first,
                          const px_weight *w, int64_t at, int64_t count, const px_token_tile *x,
                          float32x4_t total[4][PX_TOKEN_TILE])
{
    float32x4_t minimum[4];
    PX_UNROLL for (int h = 0; h < H; h++) minimum[h] = px_neon_minima(w, at + 4 * h);
    for (int64_t b = 0; b < count; b++) {
        const token_values integers = load_tokens(x->sum + b * T + first, N);
        const token_values scale = load_tokens(x->scale + b * T + first, N);
        float32x4_t sum[2];
        PX_UNROLL for (int i = 0; i < 2; i++)
            sum[i] = vmulq_f32(vreinterpretq_f32_u8(scale.half[i]),
                               vcvtq_f32_s32(vreinterpretq_s32_u8(integers.half[i])));
        PX_UNROLL for (int h = 0; h < H; h++)
            PX_UNROLL for (int t = 0; t < N; t++)
                total[h][t] = PX_LANE(vfmaq_laneq_f32, token_lane(N, t), total[h][t], minimum[h],
                                      sum[token_half(t)]);
    }
}

/* H quarters of a tile, from `quarter`, and N of its T tokens, from `first`. */
PX_INLINE void pass(const px_weight_type type, const int T, const int H, const int N, int quarter,
                    const int first, const px_weight *w, int64_t row_tile, const px_token_tile *x,
                    float *out, int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p = px_weight_tile(w, row_tile) + 16 * quarter;
    px_token_tile at = *x;
    float32x4_t total[4][PX_TOKEN_TILE];
    PX_UNROLL for (int h = 0; h < H; h++)
        PX_UNROLL for (int t = 0; t < N; t++) total[h][t] = vdupq_n_f32(0);

    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t row = (row_tile * groups + group) * PX_ROW_TILE + 4 * quarter;
        int32x4_t rest[4];
        float32x4_t part[4][PX_TOKEN_TILE];
        PX_UNROLL for (int h = 0; h < H; h++) {
            rest[h] = group_rest(type, w, row + 4 * h);
            PX_UNROLL for (int t = 0; t < N; t++) part[h][t] = vdupq_n_f32(0);
        }
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        if (w->minima != NULL) add_minima(T, H, N, first, w, row, count, &at, total);
        for (int64_t b = 0; b < count; b++) {
            add_block(type, T, H, N, first, p, rest, &at, part);
            p += type == PX_WEIGHT_I4 ? 256 : 512;
            at.q8 += PX_COLUMN_BLOCK * T;
            at.scale += T;
            at.sum += T;
        }
        PX_UNROLL for (int h = 0; h < H; h++) {
            const float32x4_t scale = px_neon_scales(w, row + 4 * h);
            PX_UNROLL for (int t = 0; t < N; t++)
                total[h][t] = vfmaq_f32(total[h][t], part[h][t], scale);
        }
    }
    PX_UNROLL for (int h = 0; h < H; h++)
        PX_UNROLL for (int t = 0; t < N; t++)
            vst1q_f32(out + (first + t) * out_stride + 4 * (quarter + h), total[h][t]);
}

/* Two vectors of weights of half a block, of which there are two. */
PX_INLINE void load_half(const px_weight_type type, const unsigned char *p, const int half,
                         const int step, uint8x16_t w[2], int quad[2])
{
    PX_UNROLL for (int i = 0; i < 2; i++) {
        const int line = 2 * step + i;
        quad[i] = 4 * half + line;
        w[i] = vld1q_u8(p + 64 * (type == PX_WEIGHT_I4 ? line : quad[i]));
        if (type == PX_WEIGHT_I4)
            w[i] = half == 0 ? vandq_u8(w[i], vdupq_n_u8(15)) : vshrq_n_u8(w[i], 4);
        else if (SIGNED)
            w[i] = veorq_u8(w[i], vdupq_n_u8(128));
    }
}

/* As pass(), of a tile in groups of half a block: each has its own sums. */
PX_INLINE void half_pass(const px_weight_type type, const int T, const int H, const int N,
                         int quarter, const int first, const px_weight *w, int64_t row_tile,
                         const px_token_tile *x, float *out, int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns);
    const unsigned char *p = px_weight_tile(w, row_tile) + 16 * quarter;
    int64_t row = row_tile * 2 * blocks * PX_ROW_TILE + 4 * quarter;
    px_token_tile at = *x;
    float32x4_t total[4][PX_TOKEN_TILE];
    PX_UNROLL for (int h = 0; h < H; h++)
        PX_UNROLL for (int t = 0; t < N; t++) total[h][t] = vdupq_n_f32(0);
    for (int64_t b = 0; b < blocks; b++) {
        const token_values x_scale = load_tokens(at.scale + first, N);
        PX_UNROLL for (int half = 0; half < 2; half++) {
            const token_values sum = load_tokens(at.sum + first, N);
            if (w->minima != NULL) add_minima(T, H, N, first, w, row, 1, &at, total);
            PX_UNROLL for (int h = 0; h < H; h++) {
                const int32x4_t rest = group_rest(type, w, row + 4 * h);
                const float32x4_t scale = px_neon_scales(w, row + 4 * h);
                dots dot[PX_TOKEN_TILE];
                PX_UNROLL for (int t = 0; t < N; t++)
                    dot[t] = dot_begin(rest, vreinterpretq_s32_u8(sum.half[token_half(t)]),
                                       token_lane(N, t));
                PX_UNROLL for (int step = 0; step < 2; step++) {
                    uint8x16_t value[2];
                    int quad[2];
                    load_half(type, p + 16 * h, half, step, value, quad);
                    PX_UNROLL for (int t = 0; t < N; t++)
                        dot[t] = dot_add(type, T, dot[t], value, at.q8, quad, first + t);
                }
                PX_UNROLL for (int t = 0; t < N; t++) {
                    const int lane = token_lane(N, t), of = token_half(t);
                    const int32x4_t exact =
                        dot_end(type, dot[t], rest, vreinterpretq_s32_u8(sum.half[of]), lane);
                    const float32x4_t part =
                        PX_LANE(vmulq_laneq_f32, lane, vcvtq_f32_s32(exact),
                                vreinterpretq_f32_u8(x_scale.half[of]));
                    total[h][t] = vfmaq_f32(total[h][t], part, scale);
                }
            }
            at.sum += T;
            row += PX_ROW_TILE;
        }
        p += type == PX_WEIGHT_I4 ? 256 : 512;
        at.q8 += PX_COLUMN_BLOCK * T;
        at.scale += T;
    }
    PX_UNROLL for (int h = 0; h < H; h++)
        PX_UNROLL for (int t = 0; t < N; t++)
            vst1q_f32(out + (first + t) * out_stride + 4 * (quarter + h), total[h][t]);
}

PX_INLINE void half_tile(const px_weight_type type, const int T, const px_weight *w,
                         int64_t row_tile, const px_token_tile *x, float *out, int64_t out_stride)
{
    const int N = pass_tokens(T), H = pass_quarters(N);
    for (int quarter = 0; quarter < 4; quarter += H) {
        half_pass(type, T, H, N, quarter, 0, w, row_tile, x, out, out_stride);
        if (N < T) half_pass(type, T, H, T - N, quarter, N, w, row_tile, x, out, out_stride);
    }
}

/* All passes of a tile. */
PX_INLINE void passes(const px_weight_type type, const int T, const px_weight *w, int64_t row_tile,
                      const px_token_tile *x, float *out, int64_t out_stride)
{
    const int N = pass_tokens(T), H = pass_quarters(N);
    for (int quarter = 0; quarter < 4; quarter += H) {
        pass(type, T, H, N, quarter, 0, w, row_tile, x, out, out_stride);
        if (N < T) pass(type, T, H, T - N, quarter, N, w, row_tile, x, out, out_stride);
    }
}

#endif
