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

/* Rows that are read at a time: where a row is all over the file, its neighbours are in what was fetched. */
static int64_t rows_at_once(const px_tensor *tensor)
{
    return tensor->whole ? 8 * PX_ROW_TILE : PX_ROW_TILE;
}

/* Quantized rows before they are interleaved, rows_at_once() of them. */
struct integers {
    uint8_t *q;     /* [rows, columns] */
    uint32_t flip;  /* makes four of them unsigned: adds the constant zero point to signed ones */
    uint8_t zero;   /* what pads a row, before it is flipped */
    float *scales;  /* [rows, groups] */
    uint8_t *zeros; /* [rows, groups], also when symmetric */
    float *loaded;  /* [rows, columns] of a tensor that must be loaded */
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

/* The tile that begins with row `first`, as in kernels.h. */
static void interleave(const struct integers *from, const px_plan_item *item, int64_t first,
                       uint8_t *data, void *scales, uint8_t *zeros)
{
    enum { LINE = PX_ROW_TILE * 4 };
    const bool is_int4 = item->type == PX_WEIGHT_I4;
    const int64_t columns = item->tensor->columns, groups = item_groups(item);
    const int64_t lines = is_int4 ? 4 : 8;
    for (int64_t c = 0; c < columns; c += PX_COLUMN_BLOCK, data += lines * LINE) {
        for (int64_t r = 0; r < PX_ROW_TILE; r++) {
            uint32_t words[8];
            load_block(from->q + (first + r) * columns + c, columns - c, from->zero, from->flip, words);
            if (is_int4)
                for (int i = 0; i < 4; i++)
                    words[i] = (words[i] & 0x0f0f0f0f) | (words[i + 4] & 0x0f0f0f0f) << 4;
            for (int64_t i = 0; i < lines; i++)
                memcpy(data + i * LINE + r * 4, words + i, sizeof *words);
        }
    }
    for (int64_t group = 0; group < groups; group++) {
        for (int64_t r = 0; r < PX_ROW_TILE; r++) {
            const int64_t to = group * PX_ROW_TILE + r, at = (first + r) * groups + group;
            if (item->half_scales) ((uint16_t *)scales)[to] = px_f32_to_f16(from->scales[at]);
            else ((float *)scales)[to] = from->scales[at];
            if (zeros) zeros[to] = from->zeros[at];
        }
    }
}

/* Rows as the format has them. */
static phlox_status make_integers(const px_plan_item *item, int64_t row, int64_t rows,
                                  const struct integers *buffer, phlox_error *error)
{
    const px_tensor *const tensor = item->tensor;
    const bool symmetric = item->format.symmetric;
    phlox_status status = PHLOX_OK;
    if (item->stored_integers)
        return px_tensor_read_integers(tensor, row, rows, buffer->q, buffer->scales, buffer->zeros,
                                       error);
    px_float_type type;
    const void *const source = px_tensor_rows(tensor, row, rows, buffer->loaded, &type);
    status = px_quantize_rows(&item->format, type, source, rows, tensor->columns, buffer->q,
                              buffer->scales, symmetric ? NULL : buffer->zeros, error);
    if (status != PHLOX_OK)
        return px_error_prefix(error, status, "%s: tensor %s, rows from %" PRId64, tensor->file,
                               tensor->name, row);
    return PHLOX_OK;
}

static phlox_status pack_tiles(const px_plan_item *item, int64_t begin, int64_t end,
                               const struct integers *buffer, uint8_t *data, char *scales,
                               uint8_t *zeros, phlox_error *error)
{
    const int64_t columns = item->tensor->columns, groups = item_groups(item);
    const int64_t step = rows_at_once(item->tensor);
    const size_t scale_size = item->half_scales ? sizeof(uint16_t) : sizeof(float);
    for (int64_t row = begin; row < end; row += step) {
        const int64_t rows = PX_MIN(end - row, step);
        PX_TRY(make_integers(item, row, rows, buffer, error));
        const int64_t padded = (rows + PX_ROW_TILE - 1) / PX_ROW_TILE * PX_ROW_TILE;
        memset(buffer->q + rows * columns, buffer->zero, (size_t)((padded - rows) * columns));
        memset(buffer->zeros + rows * groups, buffer->zero, (size_t)((padded - rows) * groups));
        for (int64_t i = rows * groups; i < padded * groups; i++) buffer->scales[i] = 0;
        for (int64_t first = 0; first < padded; first += PX_ROW_TILE) {
            interleave(buffer, item, first, data, scales, zeros);
            data += PX_ROW_TILE * px_weight_row_bytes(item->type, columns);
            scales += (size_t)(PX_ROW_TILE * groups) * scale_size;
            if (zeros) zeros += PX_ROW_TILE * groups;
        }
    }
    return PHLOX_OK;
}

static phlox_status pack_integers(const px_plan_item *item, int64_t begin, int64_t end,
                                  uint8_t *data, void *scales, uint8_t *zeros, phlox_error *error)
{
    const size_t columns = (size_t)item->tensor->columns, groups = (size_t)item_groups(item);
    const size_t rows = (size_t)rows_at_once(item->tensor);
    const size_t scale_bytes = rows * groups * sizeof(float);
    const size_t loaded_bytes = item->tensor->load ? rows * columns * sizeof(float) : 0;
    const size_t bytes = loaded_bytes + scale_bytes + rows * (groups + columns);
    char *const memory = malloc(bytes);
    if (!memory) return px_fail_memory(error, bytes);
    uint8_t *const zeros_memory = (uint8_t *)memory + loaded_bytes + scale_bytes;
    const bool is_int4 = item->type == PX_WEIGHT_I4;
    const bool is_signed = item->format.symmetric && !item->stored_integers;
    const struct integers buffer = {
        .q = zeros_memory + rows * groups,
        .flip = !is_signed ? 0 : is_int4 ? 0x08080808 : 0x80808080,
        .zero = is_signed ? 0 : is_int4 ? 8 : 128,
        .scales = (float *)(void *)(memory + loaded_bytes),
        .zeros = zeros_memory,
        .loaded = (float *)(void *)memory,
    };
    const phlox_status status = pack_tiles(item, begin, end, &buffer, data, scales,
                                           item->format.symmetric ? NULL : zeros, error);
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

phlox_status px_pack_rows(const px_plan_item *item, int64_t begin, int64_t end, uint8_t *data,
                          void *scales, uint8_t *zeros, phlox_error *error)
{
    if (item->type == PX_WEIGHT_I4 || item->type == PX_WEIGHT_I8)
        return pack_integers(item, begin, end, data, scales, zeros, error);
    return pack_floats(item, begin, end, data, error);
}
