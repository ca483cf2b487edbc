/* The products of integer weights with q8 activations of an instruction set, from its inlined functions
 * tile() and half_tile(), for groups of half a block. Included once, behind them. PX_RUN_TILES: the
 * including file has its own run_tiles(). PX_WIDE: which knows PX_WEIGHT_WIDE, and there is widen(). */
#ifndef PX_KERNELS_TILES_H
#define PX_KERNELS_TILES_H

#include "kernels/integer.h"

#if !defined(PX_RUN_TILES)
PX_INLINE void run_tiles(const int type, const int T, const px_weight *w, int64_t begin, int64_t end,
                         const px_token_tile *x, float *out, int64_t out_stride)
{
    for (; begin < end; begin++, out += PX_ROW_TILE) {
        if (px_is_half(type)) half_tile(px_type_of_half(type), T, w, begin, x, out, out_stride);
        else tile(type, T, w, begin, x, out, out_stride);
    }
}
#endif

PX_TILE_FUNCTIONS(I8)
PX_TILE_FUNCTIONS(I4)
PX_TILE_FUNCTIONS(I8_HALF)
PX_TILE_FUNCTIONS(I4_HALF)
#if defined(PX_WIDE)
PX_TILE_FUNCTIONS(WIDE)
static const px_products products_i4 = {
    .tiles = tiles_I4, .halves = tiles_I4_HALF, .wide = tiles_WIDE, .widen = widen};
#else
static const px_products products_i4 = {.tiles = tiles_I4, .halves = tiles_I4_HALF};
#endif
static const px_products products_i8 = {.tiles = tiles_I8, .halves = tiles_I8_HALF};

static void matmul(const px_weight *w, int64_t row_begin, int64_t row_end, const px_activation *x,
                   float *y, int64_t y_stride)
{
    const px_products *const products = w->type == PX_WEIGHT_I8 ? &products_i8 : &products_i4;
    px_integer_matmul(products, w, row_begin, row_end, x, y, y_stride);
}

static void set_products(px_kernels *kernels)
{
    kernels->matmul_q8[PX_WEIGHT_I8] = matmul;
    kernels->matmul_q8[PX_WEIGHT_I4] = matmul;
    kernels->wants_u8 = products_i4.wide != NULL;
    kernels->matmul_tiles[PX_WEIGHT_I8] = tiles_I8;
    kernels->matmul_tiles[PX_WEIGHT_I4] = tiles_I4;
}

#endif
