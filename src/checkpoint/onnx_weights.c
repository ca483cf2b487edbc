#include "checkpoint/onnx_weights.h"

#include "base/half.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How much of a file of weights counts in the checkpoint's state, beside its size and time. */
enum { STATE_BYTES = 4096 };

static int value_bits(const px_onnx_tensor *tensor)
{
    switch (tensor->type) {
    case PX_ONNX_FLOAT:
    case PX_ONNX_INT32: return 32;
    case PX_ONNX_FLOAT16:
    case PX_ONNX_BFLOAT16: return 16;
    case PX_ONNX_INT4:
    case PX_ONNX_UINT4: return 4;
    case PX_ONNX_INT8:
    case PX_ONNX_UINT8: return 8;
    default: return 64;
    }
}

/* ---- files --------------------------------------------------------------------------------- */

/* Whether a file really lies where the model's directory or the model's file does. */
static phlox_status check_place(const px_onnx_files *files, const px_dir_file *file, phlox_error *error)
{
    if (!files->directory->path) return PHLOX_OK;
    char *const real = px_real_path(file->path), *const model = px_real_path(files->model->path);
    char *const directory = px_real_path(files->directory->path);
    const char *const end = real ? strrchr(real, '/') : NULL;
    const char *const model_end = model ? strrchr(model, '/') : NULL;
    bool inside = false;
    if (end && directory)
        inside = (size_t)(end - real) == strlen(directory) &&
                 strncmp(real, directory, (size_t)(end - real)) == 0;
    if (end && model_end)
        inside |= end - real == model_end - model && strncmp(real, model, (size_t)(end - real)) == 0;
    free(real);
    free(model);
    free(directory);
    if (inside) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT, "%s: a link that leaves the directory; put the file itself there",
                   file->path);
}

static phlox_status external_file(const px_onnx_files *files, const px_onnx_tensor *tensor,
                                  const px_dir_file **out, phlox_error *error)
{
    char name[256];
    const phlox_text location = tensor->location;
    snprintf(name, sizeof name, "%.*s", (int)PX_MIN(location.size, sizeof name - 1), location.data);
    if (strlen(name) != location.size || !px_is_plain_name(name))
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %.*s is in %s, which is not the name of a file beside it",
                       files->model->path, (int)PX_MIN(tensor->name.size, 160), tensor->name.data, name);
    px_directory *const directory = files->directory;
    for (size_t i = 0; i < directory->file_count; i++) {
        *out = &directory->files[i];
        if (strcmp(strrchr((*out)->path, '/') + 1, name) == 0) return PHLOX_OK;
    }
    px_dir_file *file;
    PX_TRY(px_directory_file(directory, name, &file, error));
    PX_TRY(check_place(files, file, error));
    file->header_size = PX_MIN(file->bytes.size, STATE_BYTES);
    *out = file;
    return PHLOX_OK;
}

phlox_status px_onnx_bytes(const px_onnx_files *files, const px_onnx_tensor *tensor, int64_t count,
                           const uint8_t **out, phlox_error *error)
{
    const uint64_t needed = ((uint64_t)count * (uint64_t)value_bits(tensor) + 7) / 8;
    if (!tensor->external) {
        *out = (const uint8_t *)tensor->bytes.data;
        if (tensor->bytes.size == needed) return PHLOX_OK;
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %.*s has %zu bytes, its shape needs %" PRIu64, files->model->path,
                       (int)PX_MIN(tensor->name.size, 160), tensor->name.data, tensor->bytes.size, needed);
    }
    const px_dir_file *file;
    PX_TRY(external_file(files, tensor, &file, error));
    const uint64_t size = file->bytes.size, offset = tensor->offset;
    if (offset < size && needed <= size - offset && (!tensor->has_length || tensor->length == needed)) {
        *out = (const uint8_t *)file->bytes.data + offset;
        return PHLOX_OK;
    }
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: tensor %.*s needs %" PRIu64 " bytes from byte %" PRIu64 " on; %s has %" PRIu64
                   "; download both again", files->model->path, (int)PX_MIN(tensor->name.size, 160),
                   tensor->name.data, needed, offset, file->path, size);
}

/* ---- reading values ------------------------------------------------------------------------ */

static float float_at(int64_t type, const uint8_t *data, int64_t index)
{
    uint32_t word;
    uint16_t half;
    if (type == PX_ONNX_FLOAT) {
        memcpy(&word, data + 4 * index, sizeof word);
        return px_float_of_bits(word);
    }
    memcpy(&half, data + 2 * index, sizeof half);
    return type == PX_ONNX_FLOAT16 ? px_f16_to_f32(half) : px_bf16_to_f32(half);
}

void px_onnx_floats(const px_onnx_tensor *tensor, const uint8_t *bytes, int64_t first, int64_t count,
                    float *out)
{
    for (int64_t i = 0; i < count; i++) out[i] = float_at(tensor->type, bytes, first + i);
}

static uint8_t integer_at(const uint8_t *data, int bits, int64_t index)
{
    if (bits == 8) return data[index];
    return index % 2 ? data[index / 2] >> 4 : data[index / 2] & 15;
}

/* What makes signed integers unsigned ones: 8 or 128 is added, which flips their highest bit. */
static uint8_t flip_of(const px_onnx_tensor *data)
{
    return data->type == PX_ONNX_INT4 ? 8 : data->type == PX_ONNX_INT8 ? 128 : 0;
}

static float zero_at(const px_onnx_part *part, int64_t row, int64_t block)
{
    const px_onnx_matrix *const m = &part->matrix;
    if (!m->zeros) return (float)m->zero;
    const int64_t index = row * m->zero_row + block * m->zero_block;
    if (px_onnx_is_float(m->zeros)) return float_at(m->zeros->type, part->zeros, index);
    return (float)(integer_at(part->zeros, m->bits, index) ^ flip_of(m->zeros));
}

static float scale_at(const px_onnx_part *part, int64_t row, int64_t block)
{
    const px_onnx_matrix *const m = &part->matrix;
    return float_at(m->scales->type, part->scales, row * m->scale_row + block * m->scale_block);
}

/* The part of a row, which becomes the row in that part; *run: how many of `rows` it has from there. */
static const px_onnx_part *part_of(const px_onnx_weight *weight, int64_t *row, int64_t rows, int64_t *run)
{
    const px_onnx_part *part = weight->parts;
    while (*row >= part->matrix.rows) *row -= part++->matrix.rows;
    *run = PX_MIN(rows, part->matrix.rows - *row);
    return part;
}

/* Rows outside, or columns outside where those lie further from each other. */
static void unpack(const px_onnx_part *part, int64_t row, int64_t rows, int shift, uint8_t *q)
{
    const px_onnx_matrix *const m = &part->matrix;
    const uint8_t flip = flip_of(m->data);
    if (m->column_step == 1 && m->bits == 4 && m->row_step % 2 == 0 && m->columns % 2 == 0) {
        for (int64_t r = 0; r < rows; r++) {
            const uint8_t *const bytes = part->data + (row + r) * m->row_step / 2;
            for (int64_t i = 0; i < m->columns / 2; i++, q += 2) {
                q[0] = (uint8_t)(((bytes[i] & 15) ^ flip) + shift);
                q[1] = (uint8_t)((bytes[i] >> 4 ^ flip) + shift);
            }
        }
        return;
    }
    for (int64_t c = 0; c < m->columns; c++)
        for (int64_t r = 0; r < rows; r++) {
            const int64_t index = (row + r) * m->row_step + c * m->column_step;
            q[r * m->columns + c] = (uint8_t)((integer_at(part->data, m->bits, index) ^ flip) + shift);
        }
}

static void read_integers(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q,
                          float *scales, uint8_t *zeros)
{
    const int64_t group = tensor->integers.group_size, groups = px_tensor_groups(tensor);
    int64_t run;
    for (int64_t done = 0; done < rows; done += run) {
        int64_t row = begin + done;
        const px_onnx_part *const part = part_of(tensor->source, &row, rows - done, &run);
        const int shift = tensor->integers.bits == part->matrix.bits ? 0 : 128 - 8;
        unpack(part, row, run, shift, q + done * tensor->columns);
        for (int64_t r = 0; r < run; r++) {
            const int64_t at = (done + r) * groups;
            for (int64_t g = 0; g < groups; g++) {
                const int64_t block = g * group / part->matrix.block;
                scales[at + g] = scale_at(part, row + r, block);
                if (!tensor->integers.symmetric)
                    zeros[at + g] = (uint8_t)(zero_at(part, row + r, block) + (float)shift);
            }
        }
    }
}

/* One part's rows as floats; integers among floats are dequantized. */
static void load_part(const px_onnx_part *part, int64_t row, int64_t rows, float *out)
{
    const px_onnx_matrix *const m = &part->matrix;
    for (int64_t c = 0; c < m->columns; c++)
        for (int64_t r = 0; r < rows; r++) {
            const int64_t index = (row + r) * m->row_step + c * m->column_step;
            float *const value = &out[r * m->columns + c];
            if (!m->scales) {
                *value = float_at(m->data->type, part->data, index);
                continue;
            }
            const int q = integer_at(part->data, m->bits, index) ^ flip_of(m->data);
            const int64_t block = c / m->block;
            *value = ((float)q - zero_at(part, row + r, block)) * scale_at(part, row + r, block);
        }
}

static void load_floats(const px_tensor *tensor, int64_t begin, int64_t rows, float *out)
{
    int64_t run;
    for (int64_t done = 0; done < rows; done += run) {
        int64_t row = begin + done;
        const px_onnx_part *const part = part_of(tensor->source, &row, rows - done, &run);
        load_part(part, row, run, out + done * tensor->columns);
    }
}

/* ---- opening ------------------------------------------------------------------------------- */

/* Whether all zero points are the one that signed integers have by themselves; false with an error where
 * one is not a value that the integers have. */
static phlox_status check_zeros(const px_onnx_files *files, const px_onnx_part *part, bool *symmetric,
                                phlox_error *error)
{
    const px_onnx_matrix *const m = &part->matrix;
    const float centre = m->bits == 4 ? 8 : 128;
    const int64_t blocks = (m->columns + m->block - 1) / m->block, rows = m->zeros ? m->rows : 1;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t b = 0; b < blocks; b++) {
            const float zero = zero_at(part, r, b);
            *symmetric &= zero == centre;
            if (!(zero >= 0 && zero < 2 * centre && zero == floorf(zero)))
                return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                               "%s: node %.*s: row %" PRId64 " has the zero point %g, which is not one of "
                               "the values of its integers", files->model->path,
                               (int)PX_MIN(m->node->name.size, 160), m->node->name.data, r, (double)zero);
        }
    return PHLOX_OK;
}

/* Column k must be in group k / block. */
static phlox_status check_index(const px_onnx_files *files, const px_onnx_matrix *m, phlox_error *error)
{
    const uint8_t *at;
    PX_TRY(px_onnx_bytes(files, m->index, m->index_count, &at, error));
    for (int64_t k = 0; k < m->columns; k++, at += 4) {
        const uint32_t group = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        if (group == (uint32_t)(k / m->block)) continue;
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: node %.*s: g_idx has column %" PRId64 " in group %" PRIu32 ", an order of its own; "
                       "export a checkpoint that was quantized without desc_act", files->model->path,
                       (int)PX_MIN(m->node->name.size, 160), m->node->name.data, k, group);
    }
    return PHLOX_OK;
}

static phlox_status open_part(const px_onnx_files *files, const px_onnx_matrix *matrix,
                              px_onnx_part *part, uint64_t *stored_bytes, phlox_error *error)
{
    part->matrix = *matrix;
    if (matrix->index) PX_TRY(check_index(files, matrix, error));
    const bool packed = matrix->bits == 4 && value_bits(matrix->data) == 8;
    PX_TRY(px_onnx_bytes(files, matrix->data, packed ? matrix->count / 2 : matrix->count, &part->data, error));
    const int bits = matrix->bits ? matrix->bits : value_bits(matrix->data);
    *stored_bytes += (uint64_t)matrix->count * (uint64_t)bits / 8;
    if (matrix->scales) PX_TRY(px_onnx_bytes(files, matrix->scales, matrix->scale_count, &part->scales, error));
    if (!matrix->zeros) return PHLOX_OK;
    const bool packs = matrix->bits == 4 && value_bits(matrix->zeros) == 8;
    return px_onnx_bytes(files, matrix->zeros, packs ? matrix->zero_count / 2 : matrix->zero_count,
                         &part->zeros, error);
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static phlox_status join_integers(const px_onnx_files *files, const px_onnx_weight *weight,
                                  px_tensor *tensor, phlox_error *error)
{
    px_integers integers = {.bits = 4, .symmetric = true, .half_scales = true, .read = read_integers};
    for (int i = 0; i < weight->count; i++) {
        const px_onnx_part *const part = &weight->parts[i];
        integers.bits = PX_MAX(integers.bits, part->matrix.bits);
        integers.half_scales &= part->matrix.scales->type == PX_ONNX_FLOAT16;
        integers.group_size = common_divisor(part->matrix.block, integers.group_size);
        PX_TRY(check_zeros(files, part, &integers.symmetric, error));
    }
    tensor->integers = integers;
    tensor->row_bytes = (tensor->columns * integers.bits + 7) / 8;
    return PHLOX_OK;
}

static px_float_type float_type(const px_onnx_tensor *tensor)
{
    return tensor->type == PX_ONNX_FLOAT     ? PX_FLOAT_F32
           : tensor->type == PX_ONNX_FLOAT16 ? PX_FLOAT_F16
                                             : PX_FLOAT_BF16;
}

static void join_floats(const px_onnx_weight *weight, px_tensor *tensor)
{
    const px_onnx_part *const first = &weight->parts[0];
    tensor->type = float_type(first->matrix.data);
    for (int i = 0; i < weight->count; i++) {
        const px_onnx_matrix *const m = &weight->parts[i].matrix;
        if (m->scales || float_type(m->data) != tensor->type) tensor->type = PX_FLOAT_F32;
    }
    tensor->row_bytes = tensor->columns * (int64_t)px_float_size(tensor->type);
    if (weight->count > 1 || first->matrix.column_step != 1) tensor->load = load_floats;
}

phlox_status px_onnx_open_weight(const px_onnx_files *files, const px_onnx_stack *stack,
                                 px_onnx_weight *weight, px_tensor *tensor, uint64_t *stored_bytes,
                                 phlox_error *error)
{
    int64_t rows = 0;
    bool integers = true, fits = true;
    weight->count = stack->count;
    for (int i = 0; i < stack->count; i++) {
        const px_onnx_matrix *const m = &stack->parts[i];
        PX_TRY(open_part(files, m, &weight->parts[i], stored_bytes, error));
        rows += m->rows;
        fits &= m->columns == tensor->columns;
        integers &= m->scales != NULL;
    }
    const px_onnx_matrix *const first = &stack->parts[0];
    if (!fits || rows != tensor->rows)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: node %.*s: %s should be [%" PRId64 ", %" PRId64 "], and is [%" PRId64
                       ", %" PRId64 "]", files->model->path, (int)PX_MIN(first->node->name.size, 160),
                       first->node->name.data, px_role_parameter(tensor->role), tensor->rows,
                       tensor->columns, rows, first->columns);
    tensor->data = weight->parts[0].data;
    tensor->source = weight;
    if (integers) return join_integers(files, weight, tensor, error);
    join_floats(weight, tensor);
    return PHLOX_OK;
}
