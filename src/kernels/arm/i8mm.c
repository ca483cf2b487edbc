/*
 * Integer weights with q8 activations: usmmla multiplies two rows with two tokens over eight
 * columns. Its lanes are row 0 with token 0, row 0 with token 1, row 1 with token 0, row 1 with
 * token 1. The eight columns are two quads, `quad` and quad + 2, so that zips of whole vectors bring
 * weights and activations into that order. An odd number of tokens would leave half a product empty
 * and goes through usdot, which has the lanes of dotprod.
 */
#include "kernels/arm/neon.h"

enum { SIGNED = 0 };

PX_INLINE int32x4_t dot_lane(int32x4_t dot, uint8x16_t w, int8x16_t x, const int lane)
{
    return PX_LANE(vusdotq_laneq_s32, lane, dot, w, x);
}

#include "kernels/arm/dot_integer.h"

/* ---- pairs of tokens ----------------------------------------------------------------------- */

enum { PAIRS = PX_TOKEN_TILE / 2 };

PX_INLINE uint8x16_t zip1_quads(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}

PX_INLINE uint8x16_t zip2_quads(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}

/* The values of tokens 2 * pair and 2 * pair + 1 of T, twice. */
PX_INLINE uint8x16_t of_pair(token_values values, const int T, const int pair)
{
    const uint64x2_t half = vreinterpretq_u64_u8(values.half[token_half(2 * pair)]);
    const bool upper = token_lane(T, 2 * pair) >= 2;
    return vreinterpretq_u8_u64(upper ? vdupq_laneq_u64(half, 1) : vdupq_laneq_u64(half, 0));
}

/* Quads `quad` and quad + 2 of tokens 2 * pair and 2 * pair + 1. */
PX_INLINE int8x16_t load_pair(const int T, const int8_t *q, const int quad, const int pair)
{
    const int at = quad * T + 2 * pair;
    const uint8_t *const p = (const uint8_t *)q + at / 4 * 16;
    const uint8x16_t a = vld1q_u8(p), b = vld1q_u8(p + 8 * T);
    return vreinterpretq_s8_u8(at % 4 == 0 ? zip1_quads(a, b) : zip2_quads(a, b));
}

/* The same quads of the block at p, from four rows: w[0] of the first two, w[1] of the others. */
PX_INLINE void load_rows(const px_weight_type type, const unsigned char *p, const int quad,
                         uint8x16_t w[2])
{
    const int line = type == PX_WEIGHT_I4 ? quad % 4 : quad;
    const uint8x16_t a = vld1q_u8(p + 64 * line), b = vld1q_u8(p + 64 * (line + 2));
    w[0] = zip1_quads(a, b);
    w[1] = zip2_quads(a, b);
    if (type == PX_WEIGHT_I8) return;
    PX_UNROLL for (int r = 0; r < 2; r++)
        w[r] = quad < 4 ? vandq_u8(w[r], vdupq_n_u8(15)) : vshrq_n_u8(w[r], 4);
}

/* Of four rows, the two of product r, in the lanes where it has them. */
PX_INLINE int32x4_t of_rows(int32x4_t four, const int r)
{
    return r == 0 ? vzip1q_s32(four, four) : vzip2q_s32(four, four);
}

/* As add_minima(), of all tokens, of which T is even. */
PX_INLINE void add_minima_pairs(const int T, const int H, const px_weight *w, int64_t at,
                                int64_t count, const px_token_tile *x,
                                float32x4_t total[4][2][PAIRS])
{
    float32x4_t minimum[4][2];
    PX_UNROLL for (int h = 0; h < H; h++) {
        const float32x4_t four = px_neon_minima(w, at + 4 * h);
        PX_UNROLL for (int r = 0; r < 2; r++)
            minimum[h][r] = vreinterpretq_f32_s32(of_rows(vreinterpretq_s32_f32(four), r));
    }
    for (int64_t b = 0; b < count; b++) {
        const token_values integers = load_tokens(x->sum + b * T, T);
        const token_values scales = load_tokens(x->scale + b * T, T);
        PX_UNROLL for (int pair = 0; pair < T / 2; pair++) {
            const int32x4_t two = vreinterpretq_s32_u8(of_pair(integers, T, pair));
            const float32x4_t scale = vreinterpretq_f32_u8(of_pair(scales, T, pair));
            const float32x4_t sum = vmulq_f32(scale, vcvtq_f32_s32(two));
            PX_UNROLL for (int h = 0; h < H; h++)
                PX_UNROLL for (int r = 0; r < 2; r++)
                    total[h][r][pair] = vfmaq_f32(total[h][r][pair], sum, minimum[h][r]);
        }
    }
}

/* One block of H quarters, from p, and all tokens, of which T is even. */
PX_INLINE void add_block_pairs(const px_weight_type type, const int T, const int H,
                               const unsigned char *p, int32x4_t rest[4][2], const px_token_tile *x,
                               float32x4_t part[4][2][PAIRS])
{
    const token_values sums = load_tokens(x->sum, T);
    int32x4_t dot[4][2][PAIRS];
    PX_UNROLL for (int pair = 0; pair < T / 2; pair++) {
        const int32x4_t sum = vreinterpretq_s32_u8(of_pair(sums, T, pair));
        PX_UNROLL for (int h = 0; h < H; h++)
            PX_UNROLL for (int r = 0; r < 2; r++) dot[h][r][pair] = vmulq_s32(rest[h][r], sum);
    }
    static const int quads[] = {0, 4, 1, 5};
    PX_UNROLL for (int i = 0; i < 4; i++) {
        const int quad = quads[i];
        uint8x16_t w[4][2];
        PX_UNROLL for (int h = 0; h < H; h++) load_rows(type, p + 16 * h, quad, w[h]);
        PX_UNROLL for (int pair = 0; pair < T / 2; pair++) {
            const int8x16_t columns = load_pair(T, x->q8, quad, pair);
            PX_UNROLL for (int h = 0; h < H; h++)
                PX_UNROLL for (int r = 0; r < 2; r++)
                    dot[h][r][pair] = vusmmlaq_s32(dot[h][r][pair], w[h][r], columns);
        }
    }
    const token_values scales = load_tokens(x->scale, T);
    PX_UNROLL for (int pair = 0; pair < T / 2; pair++) {
        const float32x4_t scale = vreinterpretq_f32_u8(of_pair(scales, T, pair));
        PX_UNROLL for (int h = 0; h < H; h++)
            PX_UNROLL for (int r = 0; r < 2; r++)
                part[h][r][pair] =
                    vfmaq_f32(part[h][r][pair], vcvtq_f32_s32(dot[h][r][pair]), scale);
    }
}

/* H quarters of a tile, from `quarter`, and all tokens, of which T is even. */
PX_INLINE void pass_pairs(const px_weight_type type, const int T, const int H, int quarter,
                          const px_weight *w, int64_t row_tile, const px_token_tile *x, float *out,
                          int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p = px_weight_tile(w, row_tile) + 16 * quarter;
    px_token_tile at = *x;
    float32x4_t total[4][2][PAIRS], part[4][2][PAIRS];
    PX_UNROLL for (int h = 0; h < H; h++)
        PX_UNROLL for (int r = 0; r < 2; r++)
            PX_UNROLL for (int pair = 0; pair < T / 2; pair++) total[h][r][pair] = vdupq_n_f32(0);

    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t row = (row_tile * groups + group) * PX_ROW_TILE + 4 * quarter;
        int32x4_t rest[4][2];
        PX_UNROLL for (int h = 0; h < H; h++)
            PX_UNROLL for (int r = 0; r < 2; r++) {
                rest[h][r] = of_rows(group_rest(type, w, row + 4 * h), r);
                PX_UNROLL for (int pair = 0; pair < T / 2; pair++)
                    part[h][r][pair] = vdupq_n_f32(0);
            }
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        if (w->minima != NULL) add_minima_pairs(T, H, w, row, count, &at, total);
        for (int64_t b = 0; b < count; b++) {
            add_block_pairs(type, T, H, p, rest, &at, part);
            p += type == PX_WEIGHT_I4 ? 256 : 512;
            at.q8 += PX_COLUMN_BLOCK * T;
            at.scale += T;
            at.sum += T;
        }
        PX_UNROLL for (int h = 0; h < H; h++) {
            const int32x4_t scales = vreinterpretq_s32_f32(px_neon_scales(w, row + 4 * h));
            PX_UNROLL for (int r = 0; r < 2; r++) {
                const float32x4_t scale = vreinterpretq_f32_s32(of_rows(scales, r));
                PX_UNROLL for (int pair = 0; pair < T / 2; pair++)
                    total[h][r][pair] = vfmaq_f32(total[h][r][pair], part[h][r][pair], scale);
            }
        }
    }
    PX_UNROLL for (int h = 0; h < H; h++)
        PX_UNROLL for (int pair = 0; pair < T / 2; pair++) {
            float *const to = out + 2 * pair * out_stride + 4 * (quarter + h);
            vst1q_f32(to, vuzp1q_f32(total[h][0][pair], total[h][1][pair]));
            vst1q_f32(to + out_stride, vuzp2q_f32(total[h][0][pair], total[h][1][pair]));
        }
}

PX_INLINE void tile(const px_weight_type type, const int T, const px_weight *w, int64_t row_tile,
                    const px_token_tile *x, float *out, int64_t out_stride)
{
    if (T % 2 != 0) {
        passes(type, T, w, row_tile, x, out, out_stride);
        return;
    }
    const int H = T == 2 ? 4 : 2;
    for (int quarter = 0; quarter < 4; quarter += H)
        pass_pairs(type, T, H, quarter, w, row_tile, x, out, out_stride);
}

#include "kernels/tiles.h"

void px_kernels_i8mm(px_kernels *kernels)
{
    kernels->name = "i8mm";
    set_products(kernels);
}
