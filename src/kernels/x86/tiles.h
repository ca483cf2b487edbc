/* The matmul of an instruction set from its inlined function tile(): one function for each type and
 * number of tokens, and the table that chooses. Included once, behind the definition of tile(). */
#ifndef PX_KERNELS_X86_TILES_H
#define PX_KERNELS_X86_TILES_H

#include "kernels/x86/avx2.h"

#define TILE(type, T)                                                                              \
    static void type##_##T(const px_weight *w, int64_t row_tile, const px_token_tile *x,          \
                           float *out)                                                            \
    {                                                                                             \
        tile(PX_WEIGHT_##type, T, w, row_tile, x, out);                                           \
    }
PX_EACH_TILE(TILE, I8)
PX_EACH_TILE(TILE, I4)

static void matmul(const px_weight *w, int64_t row_begin, int64_t row_end, const px_activation *x,
                   float *y, int64_t y_stride)
{
    static px_tile_fn *const i8[] = PX_TILES(I8), *const i4[] = PX_TILES(I4);
    px_tile_fn *const *const tiles = w->type == PX_WEIGHT_I8 ? i8 : i4;
    px_integer_matmul(x->q8 != NULL ? tiles : px_avx2_exact_tiles(w->type), w, row_begin, row_end, x,
                      y, y_stride);
}

#endif
