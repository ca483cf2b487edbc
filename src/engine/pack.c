#include "engine/pack.h"

#include "base/half.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* q: unsigned 4-bit values [columns]; blocks of 32 columns as in kernels.h. */
static void pack_nibbles(const uint8_t *q, int64_t columns, uint8_t zero, uint8_t *out)
{
    for (int64_t block = 0; block < columns; block += PX_COLUMN_BLOCK, out += PX_COLUMN_BLOCK / 2) {
        for (int64_t j = 0; j < PX_COLUMN_BLOCK / 2; j++) {
            const int64_t low = block + j, high = low + PX_COLUMN_BLOCK / 2;
            const unsigned first = low < columns ? q[low] : zero;
            const unsigned second = high < columns ? q[high] : zero;
            out[j] = (uint8_t)(first | second << 4);
        }
    }
}

static phlox_status pack_integers(const px_plan_item *item, int64_t begin, int64_t end,
                                  uint8_t *data, float *scales, uint8_t *zeros, phlox_error *error)
{
    const px_tensor *const tensor = item->tensor;
    const int64_t rows = end - begin, columns = tensor->columns;
    const size_t element = px_float_size(tensor->type);
    const char *const source = (const char *)tensor->data + (size_t)(begin * columns) * element;
    uint8_t *const q = malloc((size_t)(rows * columns));
    if (!q) return px_fail_memory(error, (size_t)(rows * columns));
    const phlox_status status = px_quantize_rows(&item->format, tensor->type, source, rows, columns,
                                                 q, scales, zeros, error);
    if (status != PHLOX_OK) {
        free(q);
        return px_error_prefix(error, status, "%s: tensor %s, rows from %" PRId64, tensor->file,
                               tensor->name, begin);
    }
    const bool is_int4 = item->type == PX_WEIGHT_I4;
    const int64_t row_bytes = px_weight_row_bytes(item->type, columns);
    const uint8_t zero = is_int4 ? 8 : 128;
    for (int64_t r = 0; r < rows; r++) {
        uint8_t *const row = q + r * columns, *const out = data + r * row_bytes;
        /* Signed to unsigned: adding the constant zero point. */
        if (item->format.symmetric)
            for (int64_t c = 0; c < columns; c++) row[c] = (uint8_t)(row[c] + zero);
        if (is_int4) {
            pack_nibbles(row, columns, zero, out);
        } else {
            memcpy(out, row, (size_t)columns);
            memset(out + columns, zero, (size_t)(row_bytes - columns));
        }
    }
    free(q);
    return PHLOX_OK;
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
    const size_t in_bytes = columns * px_float_size(tensor->type);
    const size_t out_bytes = (size_t)px_weight_row_bytes(item->type, tensor->columns);
    float *const row = malloc(columns * sizeof *row);
    if (!row) return px_fail_memory(error, columns * sizeof *row);
    phlox_status status = PHLOX_OK;
    for (int64_t r = begin; r < end && status == PHLOX_OK; r++) {
        px_float_load(tensor->type, (const char *)tensor->data + (size_t)r * in_bytes, columns, row);
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
                          float *scales, uint8_t *zeros, phlox_error *error)
{
    if (item->type == PX_WEIGHT_I4 || item->type == PX_WEIGHT_I8)
        return pack_integers(item, begin, end, data, scales, zeros, error);
    return pack_floats(item, begin, end, data, error);
}
