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

/* Quantized rows before they are interleaved. */
struct integers {
    uint8_t *q;     /* [PX_ROW_TILE, columns] */
    uint32_t flip;  /* makes four of them unsigned: adds the constant zero point to signed ones */
    uint8_t zero;   /* what pads a row, before it is flipped */
    float *scales;  /* [PX_ROW_TILE, groups] */
    uint8_t *zeros; /* [PX_ROW_TILE, groups], also when symmetric */
    float *loaded;  /* [PX_ROW_TILE, columns] of a tensor that must be loaded */
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

/* One tile of rows, as in kernels.h. */
static void interleave(const struct integers *from, const px_plan_item *item, uint8_t *data,
                       void *scales, uint8_t *zeros)
{
    enum { LINE = PX_ROW_TILE * 4 };
    const bool is_int4 = item->type == PX_WEIGHT_I4;
    const int64_t columns = item->tensor->columns, groups = item_groups(item);
    const int64_t lines = is_int4 ? 4 : 8;
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
    for (int64_t group = 0; group < groups; group++) {
        for (int64_t r = 0; r < PX_ROW_TILE; r++) {
            const int64_t to = group * PX_ROW_TILE + r, at = r * groups + group;
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
    const size_t scale_size = item->half_scales ? sizeof(uint16_t) : sizeof(float);
    for (int64_t row = begin; row < end; row += PX_ROW_TILE) {
        const int64_t rows = PX_MIN(end - row, PX_ROW_TILE);
        PX_TRY(make_integers(item, row, rows, buffer, error));
        const int64_t missing = PX_ROW_TILE - rows;
        memset(buffer->q + rows * columns, buffer->zero, (size_t)(missing * columns));
        memset(buffer->zeros + rows * groups, buffer->zero, (size_t)(missing * groups));
        for (int64_t i = rows * groups; i < PX_ROW_TILE * groups; i++) buffer->scales[i] = 0;
        interleave(buffer, item, data, scales, zeros);
        data += PX_ROW_TILE * px_weight_row_bytes(item->type, columns);
        scales += (size_t)(PX_ROW_TILE * groups) * scale_size;
        if (zeros) zeros += PX_ROW_TILE * groups;
    }
    return PHLOX_OK;
}

static phlox_status pack_integers(const px_plan_item *item, int64_t begin, int64_t end,
                                  uint8_t *data, void *scales, uint8_t *zeros, phlox_error *error)
{
    const size_t columns = (size_t)item->tensor->columns, groups = (size_t)item_groups(item);
    const size_t scale_bytes = PX_ROW_TILE * groups * sizeof(float);
    const size_t loaded_bytes = item->tensor->load ? PX_ROW_TILE * columns * sizeof(float) : 0;
    const size_t bytes = loaded_bytes + scale_bytes + PX_ROW_TILE * (groups + columns);
    char *const memory = malloc(bytes);
    if (!memory) return px_fail_memory(error, bytes);
    uint8_t *const zeros_memory = (uint8_t *)memory + loaded_bytes + scale_bytes;
    const bool is_int4 = item->type == PX_WEIGHT_I4;
    const bool is_signed = item->format.symmetric && !item->stored_integers;
    const struct integers buffer = {
        .q = zeros_memory + PX_ROW_TILE * groups,
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
    const size_t out_bytes = (size_t)px_weight_row_bytes(item->type, tensor->columns);
    const size_t bytes = columns * sizeof(float) + px_tensor_scratch(tensor, 1);
    float *const row = malloc(bytes);
    if (!row) return px_fail_memory(error, bytes);
    phlox_status status = PHLOX_OK;
    for (int64_t r = begin; r < end && status == PHLOX_OK; r++) {
        px_tensor_load(tensor, r, 1, row, row + columns);
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
    free(row);
    return status;
}

phlox_status px_pack_rows(const px_plan_item *item, int64_t begin, int64_t end, uint8_t *data,
                          void *scales, uint8_t *zeros, phlox_error *error)
{
    if (item->type == PX_WEIGHT_I4 || item->type == PX_WEIGHT_I8)
        return pack_integers(item, begin, end, data, scales, zeros, error);
    return pack_floats(item, begin, end, data, error);
}
