/*
 * The products of integer weights with float32 activations of an instruction set. The lanes of a vector
 * are rows of a tile. A sum has four parts, by the column modulo 4; K of them at a time pass over a
 * group, so that those of all tokens stay in registers. Included once, behind what it has to offer:
 *   the lanes                   of x86/avx2_lanes.h, x86/avx512_lanes.h or arm/neon_lanes.h
 *   zeros                       the type of a vector of zero points
 *   parts(T)                    K for so many tokens: 4, 2 or 1
 *   load_zeros(type, w, at)     the zero points of a group
 *   add_block(type, T, k, K, quad, end, p, prefetch, zero, x, part)
 *                               adds columns k to k + K of each of the quads `quad` to `end` of the
 *                               block at p, with x[t], the token's columns, to part[0 to K - 1][t]
 */
#ifndef PX_KERNELS_EXACT_TILES_H
#define PX_KERNELS_EXACT_TILES_H

#include "kernels/integer.h"

enum { QUADS = PX_COLUMN_BLOCK / 4 };

/* One group: `count` blocks at p, of which the last has `tail` columns when that is not 0, or only the
 * quads `quad` to `end` of one. Part k of token t goes to sums[k][t]. */
PX_INLINE void add_group(const px_weight_type type, const int T, const int k, const int K,
                         const int quad, const int end, const unsigned char *p, int64_t prefetch,
                         zeros zero, const float *const *x, int64_t count, int64_t tail,
                         lanes sums[4][PX_TOKEN_TILE])
{
    const float *x_at[PX_TOKEN_TILE];
    lanes part[4][PX_TOKEN_TILE];
    PX_UNROLL for (int t = 0; t < T; t++) x_at[t] = x[t];
    PX_UNROLL for (int i = 0; i < K; i++)
        PX_UNROLL for (int t = 0; t < T; t++) part[i][t] = no_sum();
    for (int64_t b = 0; b < count - (tail > 0); b++) {
        add_block(type, T, k, K, quad, end, p, prefetch, zero, x_at, part);
        PX_UNROLL for (int t = 0; t < T; t++) x_at[t] += PX_COLUMN_BLOCK;
        p += type == PX_WEIGHT_I4 ? 256 : 512;
    }
    if (tail > 0) { /* the columns that are not there meet zeros */
        float copy[PX_TOKEN_TILE][PX_COLUMN_BLOCK];
        for (int t = 0; t < T; t++) {
            memset(copy[t], 0, sizeof copy[t]);
            memcpy(copy[t], x_at[t], (size_t)tail * sizeof copy[t][0]);
            x_at[t] = copy[t];
        }
        add_block(type, T, k, K, quad, end, p, prefetch, zero, x_at, part);
    }
    PX_UNROLL for (int i = 0; i < K; i++)
        PX_UNROLL for (int t = 0; t < T; t++) sums[k + i][t] = part[i][t];
}

/* All parts of a group, whose index is `at`, added to the totals; x: its `columns`, from where its block
 * begins. */
PX_INLINE void whole_group(const px_weight_type type, const int T, const int quad, const int end,
                           const px_weight *w, int64_t at, const unsigned char *p,
                           const float *const *x, int64_t count, int64_t tail, int64_t columns,
                           lanes total[PX_TOKEN_TILE])
{
    const zeros zero = load_zeros(type, w, at);
    lanes sums[4][PX_TOKEN_TILE];
    if (parts(T) == 4)
        add_group(type, T, 0, 4, quad, end, p, w->prefetch, zero, x, count, tail, sums);
    else if (parts(T) == 2)
        PX_UNROLL for (int k = 0; k < 4; k += 2)
            add_group(type, T, k, 2, quad, end, p, w->prefetch, zero, x, count, tail, sums);
    else
        PX_UNROLL for (int k = 0; k < 4; k++)
            add_group(type, T, k, 1, quad, end, p, w->prefetch, zero, x, count, tail, sums);
    if (w->minima != NULL) {
        const lanes minimum = load_minima(w, at);
        PX_UNROLL for (int t = 0; t < T; t++)
            total[t] = fused(spread(px_sum_columns(x[t] + 4 * quad, columns)), minimum, total[t]);
    }
    const lanes scale = load_scales(w, at);
    PX_UNROLL for (int t = 0; t < T; t++) {
        const lanes sum = plus(plus(sums[0][t], sums[2][t]), plus(sums[1][t], sums[3][t]));
        total[t] = fused(sum, scale, total[t]);
    }
}

/* The rows of a tile from `first`, as many as there are lanes. */
PX_INLINE void part_of_rows(const px_weight_type type, const int T, const px_weight *w,
                            int64_t row_tile, int first, const px_token_tile *x, float *out,
                            int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p = px_weight_tile(w, row_tile) + 4 * first;
    const float *x_at[PX_TOKEN_TILE];
    lanes total[PX_TOKEN_TILE];
    PX_UNROLL for (int t = 0; t < T; t++) {
        x_at[t] = x->f32 + t * x->f32_stride;
        total[t] = no_sum();
    }
    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t at = (row_tile * groups + group) * PX_ROW_TILE + first;
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        const int64_t tail = left == 0 ? w->columns % PX_COLUMN_BLOCK : 0;
        const int64_t columns = count * PX_COLUMN_BLOCK - (tail > 0 ? PX_COLUMN_BLOCK - tail : 0);
        whole_group(type, T, 0, QUADS, w, at, p, x_at, count, tail, columns, total);
        PX_UNROLL for (int t = 0; t < T; t++) x_at[t] += count * PX_COLUMN_BLOCK;
        p += count * (type == PX_WEIGHT_I4 ? 256 : 512);
    }
    PX_UNROLL for (int t = 0; t < T; t++) store_floats(out + t * out_stride + first, LANES, total[t]);
}

/* The same of a tile in groups of half a block. */
PX_INLINE void half_part_of_rows(const px_weight_type type, const int T, const px_weight *w,
                                 int64_t row_tile, int first, const px_token_tile *x, float *out,
                                 int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns);
    const unsigned char *p = px_weight_tile(w, row_tile) + 4 * first;
    int64_t at = row_tile * 2 * blocks * PX_ROW_TILE + first;
    const float *x_at[PX_TOKEN_TILE];
    lanes total[PX_TOKEN_TILE];
    PX_UNROLL for (int t = 0; t < T; t++) {
        x_at[t] = x->f32 + t * x->f32_stride;
        total[t] = no_sum();
    }
    for (int64_t b = 0; b < blocks; b++) {
        PX_UNROLL for (int half = 0; half < 2; half++, at += PX_ROW_TILE)
            whole_group(type, T, half * QUADS / 2, (half + 1) * QUADS / 2, w, at, p, x_at, 1, 0,
                        PX_HALF_BLOCK, total);
        PX_UNROLL for (int t = 0; t < T; t++) x_at[t] += PX_COLUMN_BLOCK;
        p += type == PX_WEIGHT_I4 ? 256 : 512;
    }
    PX_UNROLL for (int t = 0; t < T; t++) store_floats(out + t * out_stride + first, LANES, total[t]);
}

PX_INLINE void run_tiles(const int type, const int T, const px_weight *w, int64_t begin,
                         int64_t end, const px_token_tile *x, float *out, int64_t out_stride)
{
    for (; begin < end; begin++, out += PX_ROW_TILE)
        for (int first = 0; first < PX_ROW_TILE; first += LANES) {
            if (px_is_half(type))
                half_part_of_rows(px_type_of_half(type), T, w, begin, first, x, out, out_stride);
            else part_of_rows((px_weight_type)type, T, w, begin, first, x, out, out_stride);
        }
}

PX_TILE_FUNCTIONS(I8)
PX_TILE_FUNCTIONS(I4)
PX_TILE_FUNCTIONS(I8_HALF)
PX_TILE_FUNCTIONS(I4_HALF)

static void matmul(const px_weight *w, int64_t row_begin, int64_t row_end, const px_activation *x,
                   float *y, int64_t y_stride)
{
    const bool is_int8 = w->type == PX_WEIGHT_I8;
    const px_products products = {.tiles = is_int8 ? tiles_I8 : tiles_I4,
                                  .halves = is_int8 ? tiles_I8_HALF : tiles_I4_HALF};
    px_integer_matmul(&products, w, row_begin, row_end, x, y, y_stride);
}

static void set_products(px_kernels *kernels)
{
    kernels->matmul[PX_WEIGHT_I8] = matmul;
    kernels->matmul[PX_WEIGHT_I4] = matmul;
}

#endif
