/* The products of an instruction set from its inlined function tile(): one function for each type and
 * number of tokens, and what chooses among them. Included once, behind the definitions of tile() and
 * UNPACKS_FIRST, and of run_tiles() where PX_RUN_TILES says that there is one. */
#ifndef PX_KERNELS_TILES_H
#define PX_KERNELS_TILES_H

#include "kernels/integer.h"

#if !defined(PX_RUN_TILES)
PX_INLINE void run_tiles(const int type, const int T, const px_weight *w, int64_t begin, int64_t end,
                         const px_token_tile *x, float *out, int64_t out_stride)
{
    for (; begin < end; begin++, out += PX_ROW_TILE) tile(type, T, w, begin, x, out, out_stride);
}
#endif

#define TILE(type, T)                                                                              \
    static void type##_##T(const px_weight *w, int64_t begin, int64_t end, const px_token_tile *x, \
                           float *out, int64_t out_stride)                                         \
    {                                                                                             \
        run_tiles(PX_WEIGHT_##type, T, w, begin, end, x, out, out_stride);                        \
    }
PX_EACH_TILE(TILE, I8)
PX_EACH_TILE(TILE, I4)
PX_EACH_TILE(TILE, WIDE)

static void tiles_i8(const px_weight *w, int64_t begin, int64_t end, const px_token_tile *x,
                     float *out, int64_t out_stride)
{
    static px_tile_fn *const by_tokens[] = PX_TILES(I8);
    by_tokens[x->tokens - 1](w, begin, end, x, out, out_stride);
}

static void tiles_i4(const px_weight *w, int64_t begin, int64_t end, const px_token_tile *x,
                     float *out, int64_t out_stride)
{
    static px_tile_fn *const by_tokens[] = PX_TILES(I4);
    by_tokens[x->tokens - 1](w, begin, end, x, out, out_stride);
}

static void tiles_wide(const px_weight *w, int64_t begin, int64_t end, const px_token_tile *x,
                       float *out, int64_t out_stride)
{
    static px_tile_fn *const by_tokens[] = PX_TILES(WIDE);
    by_tokens[x->tokens - 1](w, begin, end, x, out, out_stride);
}

static void matmul(const px_weight *w, int64_t row_begin, int64_t row_end, const px_activation *x,
                   float *y, int64_t y_stride)
{
    px_tile_fn *tiles = px_exact_tiles(w->type), *wide = NULL;
    if (x->q8 != NULL && w->type == PX_WEIGHT_I8) tiles = tiles_i8;
    if (x->q8 != NULL && w->type == PX_WEIGHT_I4) {
        tiles = tiles_i4;
        wide = UNPACKS_FIRST ? tiles_wide : NULL;
    }
    px_integer_matmul(tiles, wide, w, row_begin, row_end, x, y, y_stride);
}

static void set_products(px_kernels *kernels)
{
    kernels->matmul[PX_WEIGHT_I8] = matmul;
    kernels->matmul[PX_WEIGHT_I4] = matmul;
    kernels->matmul_tiles[PX_WEIGHT_I8] = tiles_i8;
    kernels->matmul_tiles[PX_WEIGHT_I4] = tiles_i4;
}

#endif
