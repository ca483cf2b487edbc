#include "engine/pack.h"

#include "base/half.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int64_t item_groups(const px_plan_item *item)
{
    return (item->tensor->columns + item->group_size - 1) / item->group_size;
}

/* Scales of a row. */
static int64_t item_scales(const px_plan_item *item)
{
    return item->steps ? item->tensor->columns / PX_SUPER_BLOCK : item_groups(item);
}

/* Rows that are read at a time: where a row is all over the file, its neighbours are in what was fetched. */
static int64_t rows_at_once(const px_tensor *tensor)
{
    return tensor->whole ? 8 * PX_ROW_TILE : PX_ROW_TILE;
}

/* Quantized rows before they are interleaved, rows_at_once() of them; there is room for everything, used or
 * not. */
struct integers {
    uint8_t *q;     /* [rows, columns] */
    uint32_t flip;  /* makes four of them unsigned: adds the constant zero point to signed ones */
    uint8_t zero;   /* what pads a row, before it is flipped */
    float *scales, *minima;               /* [rows, item_scales()] */
    int8_t *scale_steps, *minimum_steps; /* [rows, groups] */
    uint8_t *zeros;                       /* [rows, groups] */
    float *loaded; /* [rows, columns] of a tensor that must be loaded */
};

/* Columns of one block of one row as eight words of four, what is missing filled with `zero`. */
static inline void load_block(const uint8_t *row, int64_t count, int zero, uint32_t flip,
                              uint32_t words[8])
{
    uint8_t block[PX_COLUMN_BLOCK];
    if (count < PX_COLUMN_BLOCK) {
        memset(block, zero, sizeof block);
        memcpy(block, row, (size_t)count);
        row = block;
    }
    memcpy(words, row, sizeof block);
    for (int i = 0; i < 8; i++) words[i] ^= flip;
}

/* `count` values of each row of a tile, [PX_ROW_TILE, count], as [count, PX_ROW_TILE]. */
static void turn_floats(const px_plan_item *item, const float *from, int64_t count, int64_t tile,
                        void *to)
{
    for (int64_t i = 0; i < count; i++) {
        for (int64_t r = 0; r < PX_ROW_TILE; r++) {
            const int64_t at = (tile * count + i) * PX_ROW_TILE + r;
            if (item->half_scales) ((uint16_t *)to)[at] = px_f32_to_f16(from[r * count + i]);
            else ((float *)to)[at] = from[r * count + i];
        }
    }
}

static void turn_bytes(const void *from, int64_t count, int64_t tile, void *to)
{
    if (!to) return;
    for (int64_t i = 0; i < count; i++)
        for (int64_t r = 0; r < PX_ROW_TILE; r++)
            ((uint8_t *)to)[(tile * count + i) * PX_ROW_TILE + r] =
                ((const uint8_t *)from)[r * count + i];
}

/* A tile of rows, as in kernels.h. */
static void interleave(const struct integers *from, const px_plan_item *item, int64_t tile,
                       void *const parts[PX_PARTS])
{
    enum { LINE = PX_ROW_TILE * 4 };
    const bool is_int4 = item->type == PX_WEIGHT_I4;
    const int64_t columns = item->tensor->columns, groups = item_groups(item);
    const int64_t lines = is_int4 ? 4 : 8;
    uint8_t *data = (uint8_t *)parts[PX_PART_DATA] +
                    tile * PX_ROW_TILE * px_weight_row_bytes(item->type, columns);
    for (int64_t c = 0; c < columns; c += PX_COLUMN_BLOCK, data += lines * LINE) {
        for (int64_t r = 0; r < PX_ROW_TILE; r++) {
            uint32_t words[8];
            load_block(from->q + r * columns + c, columns - c, from->zero, from->flip, words);
            if (is_int4)
                for (int i = 0; i < 4; i++)
                    words[i] = (words[i] & 0x0f0f0f0f) | (words[i + 4] & 0x0f0f0f0f) << 4;
            for (int64_t i = 0; i < lines; i++)
                memcpy(data + i * LINE + r * 4, words + i, sizeof *words);
        }
    }
    const int64_t scales = item_scales(item);
    turn_floats(item, from->scales, scales, tile, parts[PX_PART_SCALES]);
    if (item->minima) turn_floats(item, from->minima, scales, tile, parts[PX_PART_MINIMA]);
    turn_bytes(from->zeros, groups, tile, parts[PX_PART_ZEROS]);
    turn_bytes(from->scale_steps, groups, tile, parts[PX_PART_SCALE_STEPS]);
    turn_bytes(from->minimum_steps, groups, tile, parts[PX_PART_MINIMUM_STEPS]);
}

/* Integers that are stored; where scales are steps, these and what they are steps of. */
static phlox_status read_stored(const px_plan_item *item, int64_t row, int64_t rows,
                                const struct integers *buffer, phlox_error *error)
{
    const px_tensor *const tensor = item->tensor;
    const px_integers *const integers = &tensor->integers;
    PX_TRY(px_tensor_read_integers(tensor, row, rows, buffer->q, buffer->scales, buffer->zeros,
                                   error));
    if (item->minima) PX_TRY(px_tensor_read_minima(tensor, row, rows, buffer->minima, error));
    if (!item->steps) return PHLOX_OK;
    integers->read_steps(tensor, row, rows, false, buffer->scale_steps, buffer->scales);
    if (item->minima)
        integers->read_steps(tensor, row, rows, true, buffer->minimum_steps, buffer->minima);
    return PHLOX_OK;
}

/* Rows as the format has them. */
static phlox_status make_integers(const px_plan_item *item, int64_t row, int64_t rows,
                                  const struct integers *buffer, phlox_error *error)
{
    const px_tensor *const tensor = item->tensor;
    const bool symmetric = item->format.symmetric;
    phlox_status status = PHLOX_OK;
    if (item->stored_integers) return read_stored(item, row, rows, buffer, error);
    px_float_type type;
    const void *const source = px_tensor_rows(tensor, row, rows, buffer->loaded, &type);
    status = px_quantize_rows(&item->format, type, source, rows, tensor->columns, buffer->q,
                              buffer->scales, symmetric ? NULL : buffer->zeros, error);
    if (status != PHLOX_OK)
        return px_error_prefix(error, status, "%s: tensor %s, rows from %" PRId64, tensor->file,
                               tensor->name, row);
    return PHLOX_OK;
}

/* The rows of a buffer that begin with `first`. */
static struct integers rows_from(const struct integers *all, const px_plan_item *item, int64_t first)
{
    const int64_t groups = first * item_groups(item), scales = first * item_scales(item);
    struct integers rows = *all;
    rows.q += first * item->tensor->columns;
    rows.scales += scales;
    rows.minima += scales;
    rows.scale_steps += groups;
    rows.minimum_steps += groups;
    rows.zeros += groups;
    return rows;
}

static phlox_status pack_tiles(const px_plan_item *item, int64_t begin, int64_t end,
                               const struct integers *buffer, void *const parts[PX_PARTS],
                               phlox_error *error)
{
    const int64_t columns = item->tensor->columns, groups = item_groups(item);
    const int64_t scales = item_scales(item), step = rows_at_once(item->tensor);
    for (int64_t row = begin; row < end; row += step) {
        const int64_t rows = PX_MIN(end - row, step);
        PX_TRY(make_integers(item, row, rows, buffer, error));
        const int64_t padded = (rows + PX_ROW_TILE - 1) / PX_ROW_TILE * PX_ROW_TILE;
        const size_t missing = (size_t)(padded - rows);
        memset(buffer->q + rows * columns, buffer->zero, missing * (size_t)columns);
        memset(buffer->zeros + rows * groups, buffer->zero, missing * (size_t)groups);
        memset(buffer->scale_steps + rows * groups, 0, missing * (size_t)groups);
        memset(buffer->minimum_steps + rows * groups, 0, missing * (size_t)groups);
        for (int64_t i = rows * scales; i < padded * scales; i++)
            buffer->scales[i] = buffer->minima[i] = 0;
        for (int64_t first = 0; first < padded; first += PX_ROW_TILE) {
            const struct integers tile = rows_from(buffer, item, first);
            interleave(&tile, item, (row - begin + first) / PX_ROW_TILE, parts);
        }
    }
    return PHLOX_OK;
}

static phlox_status pack_integers(const px_plan_item *item, int64_t begin, int64_t end,
                                  void *const parts[PX_PARTS], phlox_error *error)
{
    const size_t columns = (size_t)item->tensor->columns;
    const size_t rows = (size_t)rows_at_once(item->tensor);
    const size_t groups = rows * (size_t)item_groups(item);
    const size_t scale_bytes = groups * sizeof(float);
    const size_t loaded_bytes = item->tensor->load ? rows * columns * sizeof(float) : 0;
    const size_t bytes = loaded_bytes + 2 * scale_bytes + 3 * groups + rows * columns;
    char *const memory = malloc(bytes);
    if (!memory) return px_fail_memory(error, bytes);
    uint8_t *const rest = (uint8_t *)memory + loaded_bytes + 2 * scale_bytes;
    const bool is_int4 = item->type == PX_WEIGHT_I4;
    const bool is_signed = item->format.symmetric && !item->stored_integers;
    const struct integers buffer = {
        .q = rest + 3 * groups,
        .flip = !is_signed ? 0 : is_int4 ? 0x08080808 : 0x80808080,
        .zero = is_signed ? 0 : is_int4 ? 8 : 128,
        .scales = (float *)(void *)(memory + loaded_bytes),
        .minima = (float *)(void *)(memory + loaded_bytes + scale_bytes),
        .scale_steps = (int8_t *)rest,
        .minimum_steps = (int8_t *)rest + groups,
        .zeros = rest + 2 * groups,
        .loaded = (float *)(void *)memory,
    };
    const phlox_status status = pack_tiles(item, begin, end, &buffer, parts, error);
    free(memory);
    return status;
}

static void store_floats(px_weight_type type, const float *values, size_t count, uint8_t *out)
{
    if (type == PX_WEIGHT_F32) {
        memcpy(out, values, count * sizeof *values);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const uint16_t half =
            type == PX_WEIGHT_F16 ? px_f32_to_f16(values[i]) : px_f32_to_bf16(values[i]);
        memcpy(out + 2 * i, &half, sizeof half);
    }
}

/* The first value that is not finite, or that is not when stored as `type`; count when all are. */
static size_t first_bad(px_weight_type type, const float *values, size_t count)
{
    const float most = type == PX_WEIGHT_F16 ? 65519.996f : INFINITY;
    size_t i = 0;
    while (i < count && fabsf(values[i]) < most) i++;
    return i;
}

static phlox_status pack_floats(const px_plan_item *item, int64_t begin, int64_t end,
                                uint8_t *data, phlox_error *error)
{
    const px_tensor *const tensor = item->tensor;
    const size_t columns = (size_t)tensor->columns;
    const int64_t step = rows_at_once(tensor);
    const size_t out_bytes = (size_t)px_weight_row_bytes(item->type, tensor->columns);
    const size_t values = (size_t)step * columns;
    const size_t bytes = values * sizeof(float) + px_tensor_scratch(tensor, step);
    float *const loaded = malloc(bytes);
    if (!loaded) return px_fail_memory(error, bytes);
    phlox_status status = PHLOX_OK;
    for (int64_t r = begin; r < end && status == PHLOX_OK; r++) {
        const float *const row = loaded + (size_t)((r - begin) % step) * columns;
        if (row == loaded) px_tensor_load(tensor, r, PX_MIN(end - r, step), loaded, loaded + values);
        const size_t bad = first_bad(item->type, row, columns);
        if (bad < columns)
            status = px_fail(error, PHLOX_ERROR_FORMAT,
                             "%s: tensor %s: row %" PRId64 ", column %zu is %g, which %s; download "
                             "the file again%s", tensor->file, tensor->name, r, bad,
                             (double)row[bad],
                             isfinite(row[bad]) ? "float16 cannot hold" : "is not a weight",
                             isfinite(row[bad]) ? " or use --weight-format bf16" : "");
        else
            store_floats(item->type, row, columns, data + (size_t)(r - begin) * out_bytes);
    }
    free(loaded);
    return status;
}

phlox_status px_pack_rows(const px_plan_item *item, int64_t begin, int64_t end,
                          void *const parts[PX_PARTS], phlox_error *error)
{
    if (item->type == PX_WEIGHT_I4 || item->type == PX_WEIGHT_I8)
        return pack_integers(item, begin, end, parts, error);
    return pack_floats(item, begin, end, parts[PX_PART_DATA], error);
}
