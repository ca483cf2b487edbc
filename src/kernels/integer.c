#include "kernels/integer.h"

#include <string.h>

#include "base/memory.h"

enum {
    PANEL = 4,           /* tiles of rows whose weights stay in the cache while all tokens pass */
    WIDE_TOKENS = 32,    /* so many pay for unpacking i4 first */
    WIDE_COLUMNS = 18432 /* as many as there is room for */
};

px_token_tile px_activation_tile(const px_activation *x, int64_t token)
{
    const int64_t at = token * px_column_blocks(x->columns);
    px_token_tile tile = {.tokens = PX_MIN(x->tokens - token, PX_TOKEN_TILE)};
    if (x->q8 == NULL) {
        tile.f32 = x->f32 + token * x->f32_stride;
        tile.f32_stride = x->f32_stride;
    } else {
        tile.q8 = x->q8 + at * PX_COLUMN_BLOCK;
        tile.scale = x->q8_scale + at;
        tile.sum = x->q8_sum + at;
    }
    return tile;
}

/* One tile of i4 in the layout of i8. */
static void widen(const px_weight *w, int64_t tile, unsigned char *out)
{
    enum { HALF = 4 * 4 * PX_ROW_TILE };
    const unsigned char *from = px_weight_tile(w, tile);
    for (int64_t block = 0; block < px_column_blocks(w->columns); block++) {
        for (int i = 0; i < HALF; i++) out[i] = from[i] & 15;
        for (int i = 0; i < HALF; i++) out[HALF + i] = from[i] >> 4;
        from += HALF;
        out += 2 * HALF;
    }
}

static const void *scales_from(const px_weight *w, int64_t index)
{
    return (const char *)w->scales + index * (w->half_scales ? 2 : 4);
}

/* All tokens with one tile of i4. */
static void wide_tile(px_tile_fn *wide, const px_weight *w, int64_t tile, const px_activation *x,
                      float *y, int64_t y_stride)
{
    _Alignas(64) unsigned char data[PX_ROW_TILE * WIDE_COLUMNS];
    const int64_t first = px_weight_group_index(w, tile * PX_ROW_TILE, 0);
    px_weight alone = *w;
    alone.row_bytes *= 2;
    alone.data = data;
    alone.scales = scales_from(w, first);
    if (w->zeros != NULL) alone.zeros = w->zeros + first;
    alone.prefetch = 0;
    widen(w, tile, data);
    for (int64_t token = 0; token < x->tokens; token += PX_TOKEN_TILE) {
        const px_token_tile from = px_activation_tile(x, token);
        wide(&alone, 0, 1, &from, y + token * y_stride + tile * PX_ROW_TILE, y_stride);
    }
}

/* Rows [begin, end) of one tile, of which they are a part. */
static void part_of_tile(px_tile_fn *tiles, const px_weight *w, int64_t begin, int64_t end,
                         const px_token_tile *x, float *y, int64_t y_stride)
{
    float out[PX_TOKEN_TILE * PX_ROW_TILE];
    const int64_t tile = begin / PX_ROW_TILE, first = tile * PX_ROW_TILE;
    tiles(w, tile, tile + 1, x, out, PX_ROW_TILE);
    for (int64_t t = 0; t < x->tokens; t++)
        memcpy(y + t * y_stride + begin, out + t * PX_ROW_TILE + (begin - first),
               (size_t)(end - begin) * sizeof *y);
}

void px_integer_matmul(px_tile_fn *tiles, px_tile_fn *wide, const px_weight *w, int64_t row_begin,
                       int64_t row_end, const px_activation *x, float *y, int64_t y_stride)
{
    if (w->group_size < w->columns && w->group_size % PX_COLUMN_BLOCK != 0) {
        px_reference_matmul(w, row_begin, row_end, x, y, y_stride);
        return;
    }
    for (int64_t row = row_begin, next; row < row_end; row = next) {
        const int64_t in_tile = row % PX_ROW_TILE, left = row_end - row;
        const bool whole = in_tile == 0 && left >= PX_ROW_TILE;
        next = row + (whole ? PX_MIN(left / PX_ROW_TILE, PANEL) * PX_ROW_TILE
                            : PX_MIN(left, PX_ROW_TILE - in_tile));
        if (whole && wide && x->tokens >= WIDE_TOKENS && w->columns <= WIDE_COLUMNS) {
            for (; row < next; row += PX_ROW_TILE)
                wide_tile(wide, w, row / PX_ROW_TILE, x, y, y_stride);
            continue;
        }
        for (int64_t token = 0; token < x->tokens; token += PX_TOKEN_TILE) {
            const px_token_tile from = px_activation_tile(x, token);
            float *const to = y + token * y_stride;
            if (whole)
                tiles(w, row / PX_ROW_TILE, next / PX_ROW_TILE, &from, to + row, y_stride);
            else
                part_of_tile(tiles, w, row, next, &from, to, y_stride);
        }
    }
}
