#include "kernels/integer.h"

#include <string.h>

#include "base/memory.h"

/* Tiles of rows whose weights stay in the cache while all tokens pass. */
enum { PANEL = 4 };

static px_token_tile token_tile(const px_activation *x, int64_t token)
{
    const int64_t at = token * px_column_blocks(x->columns);
    if (x->q8 == NULL)
        return (px_token_tile){.f32 = x->f32 + token * x->f32_stride, .f32_stride = x->f32_stride};
    return (px_token_tile){.q8 = x->q8 + at * PX_COLUMN_BLOCK, .scale = x->q8_scale + at,
                           .sum = x->q8_sum + at};
}

void px_integer_matmul(px_tile_fn *const *tiles, const px_weight *w, int64_t row_begin,
                       int64_t row_end, const px_activation *x, float *y, int64_t y_stride)
{
    if (w->group_size < w->columns && w->group_size % PX_COLUMN_BLOCK != 0) {
        px_reference_matmul(w, row_begin, row_end, x, y, y_stride);
        return;
    }
    const int64_t tile_end = (row_end + PX_ROW_TILE - 1) / PX_ROW_TILE;
    for (int64_t panel = row_begin / PX_ROW_TILE; panel < tile_end; panel += PANEL) {
        const int64_t panel_end = PX_MIN(panel + PANEL, tile_end);
        for (int64_t token = 0; token < x->tokens; token += PX_TOKEN_TILE) {
            const px_token_tile from = token_tile(x, token);
            const int64_t tokens = PX_MIN(x->tokens - token, PX_TOKEN_TILE);
            for (int64_t tile = panel; tile < panel_end; tile++) {
                _Alignas(64) float out[PX_TOKEN_TILE * PX_ROW_TILE];
                tiles[tokens - 1](w, tile, &from, out);
                const int64_t first = tile * PX_ROW_TILE;
                const int64_t begin = PX_MAX(first, row_begin);
                const int64_t end = PX_MIN(first + PX_ROW_TILE, row_end);
                for (int64_t t = 0; t < tokens; t++)
                    memcpy(y + (token + t) * y_stride + begin,
                           out + t * PX_ROW_TILE + (begin - first),
                           (size_t)(end - begin) * sizeof *y);
            }
        }
    }
}
