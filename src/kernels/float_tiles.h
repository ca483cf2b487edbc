/*
 * The products of float weights of an instruction set. Included once, behind what it has to offer:
 *   the lanes                   of x86/avx2_lanes.h, x86/avx512_lanes.h or arm/neon_lanes.h
 *   add_block(type, R, T, p, x, sums)
 *                               adds the products of 32 columns of R rows (bytes p[r]) and T tokens
 *                               (floats x[t]) to sums[r][t], whose order depends on the column only
 *   ROWS, TOKENS                a tile of many tokens, as the registers allow
 *   FEW_ROWS                    rows of a tile of fewer tokens
 *   PANEL_ROWS                  a multiple of both
 */
#ifndef PX_KERNELS_FLOAT_TILES_H
#define PX_KERNELS_FLOAT_TILES_H

#include <string.h>

#include "base/memory.h"

enum {
    MOST_ROWS = ROWS > FEW_ROWS ? (int)ROWS : (int)FEW_ROWS,
    PANEL_BYTES = 1 << 17 /* weights that stay in the cache for all tokens */
};

/* Bytes of a block of 32 columns. */
PX_INLINE int64_t block_bytes(const px_weight_type type)
{
    return type == PX_WEIGHT_F32 ? 128 : 64;
}

/* The last columns, fewer than 32, through zeroed copies. */
PX_INLINE void add_tail(const px_weight_type type, const int R, const int T, int64_t columns,
                        const unsigned char *const *p, const float *const *x, lanes sums[][TOKENS])
{
    unsigned char w_copy[MOST_ROWS][128];
    float x_copy[TOKENS][PX_COLUMN_BLOCK];
    const unsigned char *w_at[MOST_ROWS];
    const float *x_at[TOKENS];
    const int64_t size = columns * block_bytes(type) / PX_COLUMN_BLOCK;
    for (int r = 0; r < R; r++) {
        memset(w_copy[r], 0, sizeof w_copy[r]);
        memcpy(w_copy[r], p[r], (size_t)size);
        w_at[r] = w_copy[r];
    }
    for (int t = 0; t < T; t++) {
        memset(x_copy[t], 0, sizeof x_copy[t]);
        memcpy(x_copy[t], x[t], (size_t)columns * sizeof x_copy[t][0]);
        x_at[t] = x_copy[t];
    }
    add_block(type, R, T, w_at, x_at, sums);
}

/* y of rows row.. row + R and tokens token.. token + T. Few tokens wait for the weights: they fetch
 * those of the next tile. */
PX_INLINE void tile(const px_weight_type type, const int R, const int T, const px_weight *w,
                    int64_t row, const px_activation *x, int64_t token, float *y, int64_t y_stride)
{
    const int64_t columns = w->columns;
    const unsigned char *p[MOST_ROWS];
    const float *x_at[TOKENS];
    lanes sums[MOST_ROWS][TOKENS];
    PX_UNROLL for (int r = 0; r < R; r++) {
        p[r] = (const unsigned char *)w->data + (row + r) * w->row_bytes;
        PX_UNROLL for (int t = 0; t < T; t++) sums[r][t] = no_sum();
    }
    PX_UNROLL for (int t = 0; t < T; t++) x_at[t] = x->f32 + (token + t) * x->f32_stride;

    for (int64_t c = 0; c + PX_COLUMN_BLOCK <= columns; c += PX_COLUMN_BLOCK) {
        add_block(type, R, T, p, x_at, sums);
        PX_UNROLL for (int r = 0; r < R; r++) {
            p[r] += block_bytes(type);
            if (T < TOKENS) fetch(p[r] + R * w->row_bytes);
        }
        PX_UNROLL for (int t = 0; t < T; t++) x_at[t] += PX_COLUMN_BLOCK;
    }
    if (columns % PX_COLUMN_BLOCK > 0)
        add_tail(type, R, T, columns % PX_COLUMN_BLOCK, p, x_at, sums);
    PX_UNROLL for (int r = 0; r < R; r++)
        PX_UNROLL for (int t = 0; t < T; t++)
            y[(token + t) * y_stride + row + r] = add_lanes(sums[r][t]);
}

/* Rows row_begin.. row_end of T tokens. */
PX_INLINE void strip(const px_weight_type type, const int T, const px_weight *w, int64_t row_begin,
                     int64_t row_end, const px_activation *x, int64_t token, float *y,
                     int64_t y_stride)
{
    const int R = T == TOKENS ? ROWS : FEW_ROWS;
    int64_t row = row_begin;
    for (; row + R <= row_end; row += R) tile(type, R, T, w, row, x, token, y, y_stride);
    for (; row < row_end; row++) tile(type, 1, T, w, row, x, token, y, y_stride);
}

/* The same of all tokens. What is left of them is 4, 2 and 1. */
PX_INLINE void panel(const px_weight_type type, const px_weight *w, int64_t row_begin,
                     int64_t row_end, const px_activation *x, float *y, int64_t y_stride)
{
    int64_t token = 0;
    for (; token + TOKENS <= x->tokens; token += TOKENS)
        strip(type, TOKENS, w, row_begin, row_end, x, token, y, y_stride);
    const int64_t rest = x->tokens - token;
    if (TOKENS > 4 && rest & 4) {
        strip(type, 4, w, row_begin, row_end, x, token, y, y_stride);
        token += 4;
    }
    if (rest & 2) {
        strip(type, 2, w, row_begin, row_end, x, token, y, y_stride);
        token += 2;
    }
    if (rest & 1) strip(type, 1, w, row_begin, row_end, x, token, y, y_stride);
}

typedef void panel_fn(const px_weight *w, int64_t row_begin, int64_t row_end,
                      const px_activation *x, float *y, int64_t y_stride);

#define PANEL_FUNCTION(name, type)                                                                 \
    static void name(const px_weight *w, int64_t row_begin, int64_t row_end,                       \
                     const px_activation *x, float *y, int64_t y_stride)                           \
    {                                                                                              \
        panel(type, w, row_begin, row_end, x, y, y_stride);                                        \
    }

PANEL_FUNCTION(panel_f32, PX_WEIGHT_F32)
PANEL_FUNCTION(panel_f16, PX_WEIGHT_F16)
PANEL_FUNCTION(panel_bf16, PX_WEIGHT_BF16)

static void matmul(const px_weight *w, int64_t row_begin, int64_t row_end, const px_activation *x,
                   float *y, int64_t y_stride)
{
    static panel_fn *const panels[] = {panel_f32, panel_f16, panel_bf16};
    const int64_t fit = PANEL_BYTES / PX_MAX(w->row_bytes, 1) / PANEL_ROWS;
    const int64_t rows = PX_MAX(fit, 1) * PANEL_ROWS;
    for (int64_t row = row_begin; row < row_end; row += rows)
        panels[w->type](w, row, PX_MIN(row + rows, row_end), x, y, y_stride);
}

static void set_products(px_kernels *kernels)
{
    kernels->matmul[PX_WEIGHT_F32] = matmul;
    kernels->matmul[PX_WEIGHT_F16] = matmul;
    kernels->matmul[PX_WEIGHT_BF16] = matmul;
}

#endif
