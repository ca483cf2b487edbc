#include "kernels/integer.h"

#include <string.h>

#include "base/half.h"
#include "base/memory.h"

enum {
    PANEL = 4,          /* tiles of rows whose weights stay in the cache while all tokens pass */
    TOKEN_BLOCK = 256,  /* most tokens that pass together, of whose activations so many bytes */
    BLOCK_BYTES = 1 << 20, /* stay in the second cache while all rows pass */
    WIDE_TILES = 2,     /* of rows that are unpacked together, so many columns at a time that they */
    WIDE_COLUMNS = 512, /* stay in the first cache */
    WIDE_BLOCKS = WIDE_COLUMNS / PX_COLUMN_BLOCK
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
        tile.sum = x->q8_sum + (x->half_sums ? 2 * at : at);
    }
    return tile;
}

void px_shift_activations(const int8_t *q8, int64_t count, uint8_t *u8)
{
    for (int64_t i = 0; i < count; i++) u8[i] = (uint8_t)(q8[i] + 128);
}

void px_half_sums(const int8_t *q8, int64_t blocks, int64_t tokens, int32_t *sums)
{
    enum { QUADS = PX_HALF_BLOCK / 4 };
    for (int64_t half = 0; half < 2 * blocks; half++, q8 += PX_HALF_BLOCK * tokens, sums += tokens) {
        for (int64_t t = 0; t < tokens; t++) {
            uint32_t pairs = 0; /* two sums of 16 bits, of q8 + 128 */
            for (int64_t quad = 0; quad < QUADS; quad++) {
                uint32_t four;
                memcpy(&four, q8 + (quad * tokens + t) * 4, sizeof four);
                four ^= 0x80808080;
                pairs += (four & 0x00ff00ff) + (four >> 8 & 0x00ff00ff);
            }
            sums[t] = (int32_t)((pairs & 0xffff) + (pairs >> 16)) - PX_HALF_BLOCK * 128;
        }
    }
}

float px_sum_columns(const float *x, int64_t count)
{
    float sum[4] = {0};
    int64_t c = 0;
    for (; c + 4 <= count; c += 4)
        for (int i = 0; i < 4; i++) sum[i] += x[c + i];
    for (; c < count; c++) sum[c % 4] += x[c];
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

enum { GROUPS_MOST = WIDE_TILES * WIDE_BLOCKS * PX_ROW_TILE /* of a panel */ };

/* Some tiles of i4 with some groups of columns unpacked. */
struct panel {
    _Alignas(64) unsigned char data[WIDE_TILES * WIDE_BLOCKS * PX_WIDE_BYTES];
    _Alignas(64) float sums[TOKEN_BLOCK][WIDE_TILES * PX_ROW_TILE];
    float scales[GROUPS_MOST], minima[GROUPS_MOST];
};

/* `count` scales or minima of a matrix, from an index, as floats where they are steps and else as they
 * are. */
static void copy_scales(const px_weight *w, const void *scales, const int8_t *steps, size_t from,
                        size_t count, float *out, size_t at)
{
    const size_t size = w->half_scales ? sizeof(uint16_t) : sizeof(float);
    if (steps == NULL) {
        memcpy((char *)out + at * size, (const char *)scales + from * size, count * size);
        return;
    }
    const size_t together = (size_t)(PX_SUPER_BLOCK / w->group_size) * PX_ROW_TILE;
    float super[PX_ROW_TILE] = {0};
    out += at;
    steps += from;
    for (size_t i = 0; i < count; i += PX_ROW_TILE) {
        if (i % together == 0) {
            const uint16_t *const halves =
                (const uint16_t *)scales + px_super_index(w, (int64_t)(from + i));
            for (int r = 0; r < PX_ROW_TILE; r++) super[r] = px_f16_to_f32(halves[r]);
        }
        for (size_t r = 0; r < PX_ROW_TILE; r++) out[i + r] = super[r] * (float)steps[i + r];
    }
}

/* Where a tile of i4 has the columns of a group. */
static const unsigned char *group_data(const px_weight *w, int64_t tile, int64_t group)
{
    return px_weight_tile(w, tile) + group * w->group_size * PX_ROW_TILE / 2;
}

/* `groups` groups of `tiles` tiles, as a matrix of their own. */
static px_weight unpack(const px_products *products, const px_weight *w, int64_t tile,
                        int64_t tiles, int64_t group, int64_t groups, struct panel *panel)
{
    static const uint8_t no_zeros[WIDE_BLOCKS * PX_ROW_TILE];
    px_weight part = *w;
    part.rows = tiles * PX_ROW_TILE;
    part.columns = PX_MIN(groups * w->group_size, w->columns - group * w->group_size);
    const int64_t blocks = px_column_blocks(part.columns);
    part.row_bytes = blocks * PX_WIDE_BYTES / PX_ROW_TILE;
    part.data = panel->data;
    part.scales = panel->scales;
    part.zeros = NULL;
    if (w->minima != NULL) part.minima = panel->minima;
    if (w->scale_steps != NULL) part.half_scales = false;
    part.scale_steps = part.minimum_steps = NULL;
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const size_t count = (size_t)groups * PX_ROW_TILE;
    for (int64_t i = 0; i < tiles; i++) {
        const size_t from = (size_t)px_weight_group_index(w, (tile + i) * PX_ROW_TILE, group);
        const size_t to = (size_t)i * count;
        copy_scales(w, w->scales, w->scale_steps, from, count, panel->scales, to);
        if (w->minima != NULL)
            copy_scales(w, w->minima, w->minimum_steps, from, count, panel->minima, to);
        products->widen(group_data(w, tile + i, group), blocks, group_blocks,
                        w->minima != NULL ? no_zeros : w->zeros != NULL ? w->zeros + from : NULL,
                        panel->data + i * PX_ROW_TILE * part.row_bytes);
    }
    return part;
}

/* Asks for the share of `index` among `count` of what is behind `p`. */
static void fetch_share(const unsigned char *p, int64_t bytes, int64_t index, int64_t count)
{
    const int64_t lines = bytes / 64, end = lines * (index + 1) / count;
    for (int64_t i = lines * index / count; i < end; i++) __builtin_prefetch(p + 64 * i, 0, 2);
}

/* Some tiles of i4 with all tokens, at most TOKEN_BLOCK. The weights of the next part and the places of
 * the results are fetched meanwhile. */
static void unpack_and_multiply(const px_products *products, const px_weight *w, int64_t tile,
                                int64_t tiles, const px_activation *x, float *y, int64_t y_stride)
{
    struct panel panel;
    const int64_t groups = px_weight_groups(w), step = PX_MAX(WIDE_COLUMNS / w->group_size, 1);
    const size_t row_size = (size_t)(tiles * PX_ROW_TILE) * sizeof *y;
    for (int64_t group = 0; group < groups; group += step) {
        const px_weight part =
            unpack(products, w, tile, tiles, group, PX_MIN(step, groups - group), &panel);
        const bool is_last = group + step >= groups;
        const int64_t block = group * w->group_size / PX_COLUMN_BLOCK;
        const int64_t part_bytes = part.columns * PX_ROW_TILE / 2;
        const unsigned char *const next =
            is_last ? px_weight_tile(w, tile + tiles) : group_data(w, tile, group + step);
        for (int64_t token = 0; token < x->tokens; token += PX_TOKEN_TILE) {
            px_token_tile from = px_activation_tile(x, token);
            float *const to = y + token * y_stride + tile * PX_ROW_TILE;
            from.q8 = (const int8_t *)x->u8 + (from.q8 - x->q8);
            from.q8 += block * PX_COLUMN_BLOCK * from.tokens;
            from.scale += block * from.tokens;
            from.sum += block * from.tokens;
            if (group == 0) memset(panel.sums[token], 0, sizeof panel.sums[0] * PX_TOKEN_TILE);
            for (int64_t i = 0; i < tiles; i++)
                fetch_share(next + i * PX_ROW_TILE * w->row_bytes, part_bytes,
                            token / PX_TOKEN_TILE, (x->tokens + PX_TOKEN_TILE - 1) / PX_TOKEN_TILE);
            for (int64_t t = 0; t < from.tokens && is_last; t++)
                for (size_t at = 0; at < row_size; at += 64)
                    __builtin_prefetch((const char *)(to + t * y_stride) + at, 1);
            products->wide(&part, 0, tiles, &from, panel.sums[token], WIDE_TILES * PX_ROW_TILE);
            for (int64_t t = 0; t < from.tokens && is_last; t++)
                memcpy(to + t * y_stride, panel.sums[token + t], row_size);
        }
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

/* Whether groups are whole blocks of columns, or whole rows. */
static bool has_whole_blocks(const px_weight *w)
{
    return w->group_size == w->columns || w->group_size % PX_COLUMN_BLOCK == 0;
}

static bool has_halves(const px_products *products, const px_weight *w, const px_activation *x)
{
    return products->halves != NULL && px_weight_has_halves(w) && (x->q8 == NULL || x->half_sums);
}

/* Rows with tokens that are at most TOKEN_BLOCK. */
static void token_block(const px_products *products, const px_weight *w, int64_t row_begin,
                        int64_t row_end, const px_activation *x, float *y, int64_t y_stride)
{
    px_tile_fn *const tiles = has_whole_blocks(w) ? products->tiles : products->halves;
    const bool is_wide = products->wide != NULL && x->u8 != NULL && has_whole_blocks(w) &&
                         x->tokens >= PX_MANY_TOKENS && w->group_size <= WIDE_COLUMNS;
    for (int64_t row = row_begin, next; row < row_end; row = next) {
        const int64_t in_tile = row % PX_ROW_TILE, left = row_end - row;
        const bool whole = in_tile == 0 && left >= PX_ROW_TILE;
        const int64_t most = is_wide ? WIDE_TILES : PANEL;
        next = row + (whole ? PX_MIN(left / PX_ROW_TILE, most) * PX_ROW_TILE
                            : PX_MIN(left, PX_ROW_TILE - in_tile));
        const int64_t tile = row / PX_ROW_TILE, end = next / PX_ROW_TILE;
        if (whole && is_wide) {
            unpack_and_multiply(products, w, tile, end - tile, x, y, y_stride);
            continue;
        }
        for (int64_t token = 0; token < x->tokens; token += PX_TOKEN_TILE) {
            const px_token_tile from = px_activation_tile(x, token);
            float *const to = y + token * y_stride;
            if (whole)
                tiles(w, tile, end, &from, to + row, y_stride);
            else
                part_of_tile(tiles, w, row, next, &from, to, y_stride);
        }
    }
}

void px_integer_matmul(const px_products *products, const px_weight *w, int64_t row_begin,
                       int64_t row_end, const px_activation *x, float *y, int64_t y_stride)
{
    if (!has_whole_blocks(w) && !has_halves(products, w, x)) {
        px_reference_matmul(w, row_begin, row_end, x, y, y_stride);
        return;
    }
    const int64_t fit = BLOCK_BYTES / w->columns / PX_TOKEN_TILE * PX_TOKEN_TILE;
    const int64_t most = PX_MAX(PX_MIN(fit, TOKEN_BLOCK), PX_MANY_TOKENS);
    for (int64_t token = 0; token < x->tokens; token += most) {
        const px_token_tile first = px_activation_tile(x, token);
        px_activation block = *x;
        block.tokens = PX_MIN(x->tokens - token, most);
        block.f32 = first.f32;
        block.q8 = first.q8;
        block.q8_scale = first.scale;
        block.q8_sum = first.sum;
        if (x->u8 != NULL) block.u8 += first.q8 - x->q8;
        token_block(products, w, row_begin, row_end, &block, y + token * y_stride, y_stride);
    }
}
