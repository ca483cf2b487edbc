#include "checkpoint/openvino_tensor.h"

#include "checkpoint/openvino_graph.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 64, MOST_CONVERTS = 8 };

/* ---- values -------------------------------------------------------------------------------- */

static bool is_float(px_ov_type type)
{
    return type == PX_OV_F32 || type == PX_OV_F16 || type == PX_OV_BF16;
}

static px_float_type float_type(px_ov_type type)
{
    return type == PX_OV_F32 ? PX_FLOAT_F32 : type == PX_OV_F16 ? PX_FLOAT_F16 : PX_FLOAT_BF16;
}

static bool is_signed(px_ov_type type)
{
    return type == PX_OV_I4 || type == PX_OV_I8;
}

/* Integers of 4 or 8 bits from the one with index `first`, with `flip` added modulo their range. */
static void unpack(px_ov_type type, const uint8_t *data, uint64_t first, size_t count, uint8_t flip,
                   uint8_t *out)
{
    if (px_ov_type_bits(type) == 8) {
        for (size_t i = 0; i < count; i++) out[i] = data[first + i] ^ flip;
        return;
    }
    size_t i = 0;
    if (first % 2 && count) out[i++] = (uint8_t)(data[first / 2] >> 4 ^ flip);
    data += (first + 1) / 2;
    for (; i + 1 < count; i += 2, data++) {
        out[i] = (uint8_t)((*data & 15) ^ flip);
        out[i + 1] = (uint8_t)(*data >> 4 ^ flip);
    }
    if (i < count) out[i] = (uint8_t)((*data & 15) ^ flip);
}

/* Numbers from the one with index `first` as float32, exact. */
static void load_numbers(const px_ov_numbers *numbers, uint64_t first, size_t count, float *out)
{
    const size_t wanted = numbers->one ? PX_MIN(count, 1) : count;
    if (numbers->one) first = 0;
    if (is_float(numbers->type)) {
        const px_float_type type = float_type(numbers->type);
        px_float_load(type, numbers->data + first * px_float_size(type), wanted, out);
    } else {
        const int half = 1 << (px_ov_type_bits(numbers->type) - 1);
        const bool has_sign = is_signed(numbers->type);
        for (size_t i = 0; i < wanted; i++) {
            uint8_t value;
            unpack(numbers->type, numbers->data, first + i, 1, has_sign ? (uint8_t)half : 0, &value);
            out[i] = (float)(value - (has_sign ? half : 0));
        }
    }
    for (size_t i = wanted; i < count; i++) out[i] = out[0];
}

static void read_zeros(const px_ov_source *source, int bits, uint64_t first, size_t count,
                       uint8_t *zeros)
{
    const px_ov_numbers *const numbers = &source->zeros;
    if (!numbers->data) {
        memset(zeros, source->flip, count);
        return;
    }
    if (!numbers->one && px_ov_type_bits(numbers->type) == bits &&
        is_signed(numbers->type) == (source->flip > 0)) {
        unpack(numbers->type, numbers->data, first, count, source->flip, zeros);
        return;
    }
    for (size_t done = 0; done < count; done += BLOCK) {
        float block[BLOCK];
        const size_t size = PX_MIN(count - done, BLOCK);
        load_numbers(numbers, first + done, size, block);
        for (size_t i = 0; i < size; i++) zeros[done + i] = (uint8_t)(block[i] + source->flip);
    }
}

/* What row `row` is multiplied by. */
static float factor_of(const px_ov_source *source, int64_t row)
{
    float factor = 1;
    if (source->factors.data && row >= source->factor_row)
        load_numbers(&source->factors, (uint64_t)(row - source->factor_row), 1, &factor);
    return factor;
}

static void read_integers(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q,
                          float *scales, uint8_t *zeros)
{
    const px_ov_source *const source = tensor->source;
    const px_integers *const integers = &tensor->integers;
    const int64_t groups = px_tensor_groups(tensor);
    const px_ov_type type = integers->bits == 4 ? PX_OV_U4 : PX_OV_U8;
    unpack(type, tensor->data, (uint64_t)(begin * tensor->columns),
           (size_t)(rows * tensor->columns), source->flip, q);
    const uint64_t first = (uint64_t)(begin * groups);
    const size_t count = (size_t)(rows * groups);
    load_numbers(&source->scales, first, count, scales);
    for (int64_t row = 0; row < rows && source->factors.data; row++) {
        const float factor = factor_of(source, begin + row);
        for (int64_t i = 0; i < groups; i++) scales[row * groups + i] *= factor;
    }
    if (!integers->symmetric) read_zeros(source, integers->bits, first, count, zeros);
}

/* Floats that are stored column after column, or are to be multiplied. */
static void load_floats(const px_tensor *tensor, int64_t begin, int64_t rows, float *out)
{
    const px_ov_source *const source = tensor->source;
    const int64_t columns = tensor->columns;
    const size_t size = px_float_size(tensor->type);
    const char *const data = tensor->data;
    if (!source->columns_first)
        px_float_load(tensor->type, data + begin * tensor->row_bytes, (size_t)(rows * columns), out);
    for (int64_t row = 0; row < rows && source->columns_first; row += BLOCK) {
        const int64_t count = PX_MIN(rows - row, BLOCK);
        float block[BLOCK];
        for (int64_t c = 0; c < columns; c++) {
            const int64_t first = c * tensor->rows + begin + row;
            px_float_load(tensor->type, data + first * (int64_t)size, (size_t)count, block);
            for (int64_t r = 0; r < count; r++) out[(row + r) * columns + c] = block[r];
        }
    }
    for (int64_t row = 0; row < rows && source->factors.data; row++) {
        const float factor = factor_of(source, begin + row);
        for (int64_t c = 0; c < columns; c++) out[row * columns + c] *= factor;
    }
}

/* ---- the chain ----------------------------------------------------------------------------- */

/* The constants that a weight is made of. */
struct chain {
    const px_ov_layer *data, *zeros, *scales;
};

static const char *label(const px_ov_files *files, const px_ov_layer *layer)
{
    return px_ov_text(files->graph, layer->name);
}

static phlox_status fail_layer(const px_ov_files *files, const px_ov_layer *weight,
                               const px_ov_layer *layer, phlox_error *error)
{
    if (!layer)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: a layer on the way to weight %s lacks an input",
                       files->xml, label(files, weight));
    const bool is_const = layer->op == PX_OV_CONST;
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: weight %s comes from the %s layer %s%s%s, which phlox does not read; it reads "
                   "i4, u4, i8 and u8 with scales, and f32, f16 and bf16",
                   files->xml, label(files, weight), px_ov_text(files->graph, layer->op_name),
                   label(files, layer), is_const ? " of type " : "",
                   is_const ? px_ov_text(files->graph, layer->type_name) : "");
}

/* Passes over changes of type to floats. */
static const px_ov_layer *behind_converts(const px_ov_files *files, const px_ov_layer *layer)
{
    for (int i = 0; i < MOST_CONVERTS; i++) {
        if (!layer || layer->op != PX_OV_CONVERT || !is_float(layer->type)) break;
        layer = px_ov_input(files->graph, layer, 0);
    }
    return layer;
}

static phlox_status follow(const px_ov_files *files, const px_ov_layer *weight, struct chain *out,
                           phlox_error *error)
{
    const px_ov_graph *const graph = files->graph;
    const px_ov_layer *layer = behind_converts(files, weight);
    if (layer && layer->op == PX_OV_RESHAPE)
        layer = behind_converts(files, px_ov_input(graph, layer, 0));
    if (layer && layer->op == PX_OV_MULTIPLY) {
        const uint64_t port = px_ov_scale_port(graph, layer);
        out->scales = px_ov_const_behind(graph, px_ov_input(graph, layer, port));
        if (!out->scales || !is_float(out->scales->type))
            return fail_layer(files, weight, px_ov_input(graph, layer, port), error);
        layer = px_ov_input(graph, layer, 1 - port);
        if (layer && layer->op == PX_OV_SUBTRACT) {
            out->zeros = px_ov_const_behind(graph, px_ov_input(graph, layer, 1));
            if (!out->zeros) return fail_layer(files, weight, px_ov_input(graph, layer, 1), error);
            layer = px_ov_input(graph, layer, 0);
        }
        layer = behind_converts(files, layer);
    }
    if (!layer || layer->op != PX_OV_CONST) return fail_layer(files, weight, layer, error);
    out->data = layer;
    return PHLOX_OK;
}

static phlox_status fail_shape(const px_ov_files *files, const px_ov_layer *constant,
                               const px_tensor *tensor, phlox_error *error)
{
    char shape[100] = "";
    size_t used = 0;
    for (int i = 0; i < PX_MIN(constant->rank, PX_OV_DIMS); i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRId64, i ? ", " : "",
                                 constant->dims[i]);
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: constant %s has the shape [%s]; config.json makes the weight [%" PRId64
                   ", %" PRId64 "]", files->xml, label(files, constant), shape, tensor->rows,
                   tensor->columns);
}

static px_ov_numbers numbers_of(const px_ov_files *files, const px_ov_layer *constant)
{
    return (px_ov_numbers){files->data + constant->offset, constant->type, constant->elements == 1};
}

/* ---- floats -------------------------------------------------------------------------------- */

static phlox_status read_floats(const px_ov_files *files, const px_ov_layer *constant,
                                bool columns_first, px_tensor *tensor, px_ov_source *source,
                                phlox_error *error)
{
    const int64_t first = columns_first ? tensor->columns : tensor->rows;
    if (constant->rank != 2 || constant->dims[0] != first ||
        constant->elements != tensor->rows * tensor->columns)
        return fail_shape(files, constant, tensor, error);
    tensor->type = float_type(constant->type);
    tensor->row_bytes = tensor->columns * (int64_t)px_float_size(tensor->type);
    source->columns_first = columns_first;
    if (columns_first) {
        tensor->load = load_floats;
        tensor->mapped = false; /* a row is all over the file */
    }
    return PHLOX_OK;
}

/* ---- integers ------------------------------------------------------------------------------ */

/* Whether a constant has a value for each group of each row: [rows, groups, 1], or [rows, 1]. */
static bool fits_groups(const px_ov_layer *constant, const px_ov_layer *data, int64_t groups)
{
    if (constant->elements == 1) return true;
    return constant->rank == data->rank && constant->dims[0] == data->dims[0] &&
           constant->dims[constant->rank - 1] == 1 &&
           constant->elements == data->dims[0] * groups;
}

/* Zero points that are not of the values' own type must be whole numbers of its range. */
static phlox_status check_zeros(const px_ov_files *files, const px_ov_layer *data,
                                const px_ov_layer *zeros, phlox_error *error)
{
    const int bits = px_ov_type_bits(data->type);
    const int low = is_signed(data->type) ? -(1 << (bits - 1)) : 0;
    const px_ov_numbers numbers = numbers_of(files, zeros);
    if (zeros->type == data->type) return PHLOX_OK;
    for (int64_t i = 0; i < zeros->elements; i++) {
        float value;
        load_numbers(&numbers, (uint64_t)i, 1, &value);
        const bool in_range = value >= (float)low && value < (float)(low + (1 << bits));
        if (!in_range || value != (float)(int)value)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "%s: zero point %" PRId64 " of %s is %g, which is no value of %s",
                           files->xml, i, label(files, zeros), (double)value,
                           px_ov_text(files->graph, data->type_name));
    }
    return PHLOX_OK;
}

static phlox_status read_zero_points(const px_ov_files *files, const struct chain *chain,
                                     int64_t groups, px_tensor *tensor, px_ov_source *source,
                                     phlox_error *error)
{
    const px_ov_layer *const zeros = chain->zeros;
    const int bits = tensor->integers.bits, middle = 1 << (bits - 1);
    float value = 0;
    if (zeros) {
        const int zero_bits = px_ov_type_bits(zeros->type);
        if (!is_float(zeros->type) && zero_bits != 4 && zero_bits != 8)
            return fail_layer(files, zeros, zeros, error);
        if (!fits_groups(zeros, chain->data, groups)) return fail_shape(files, zeros, tensor, error);
        PX_TRY(check_zeros(files, chain->data, zeros, error));
        source->zeros = numbers_of(files, zeros);
        load_numbers(&source->zeros, 0, 1, &value);
    }
    const bool is_constant = !zeros || zeros->elements == 1;
    tensor->integers.symmetric = is_constant && (int)value + source->flip == middle;
    return PHLOX_OK;
}

static phlox_status read_groups(const px_ov_files *files, const struct chain *chain,
                                px_tensor *tensor, px_ov_source *source, phlox_error *error)
{
    const px_ov_layer *const data = chain->data, *const scales = chain->scales;
    px_integers *const integers = &tensor->integers;
    const bool grouped = data->rank == 3;
    if ((!grouped && data->rank != 2) || data->dims[0] != tensor->rows || data->dims[1] < 1 ||
        data->elements != tensor->rows * tensor->columns)
        return fail_shape(files, data, tensor, error);
    const int64_t groups = grouped ? data->dims[1] : 1;
    integers->bits = px_ov_type_bits(data->type);
    integers->group_size = tensor->columns / groups;
    integers->read = read_integers;
    integers->half_scales = scales->type == PX_OV_F16;
    if (!fits_groups(scales, data, groups)) return fail_shape(files, scales, tensor, error);
    source->scales = numbers_of(files, scales);
    source->flip = (uint8_t)(is_signed(data->type) ? 1 << (integers->bits - 1) : 0);
    const int64_t row_bits = tensor->columns * integers->bits;
    tensor->row_bytes = PX_MAX(row_bits / 8, 1);
    if (row_bits % 8) tensor->mapped = false; /* rows do not end with a byte */
    return read_zero_points(files, chain, groups, tensor, source, error);
}

/* ---- all kinds ----------------------------------------------------------------------------- */

static void place(const px_ov_files *files, const px_ov_layer *constant, px_tensor *tensor,
                  px_ov_source *source)
{
    tensor->data = files->data + constant->offset;
    tensor->source = source;
    tensor->mapped = files->mapped;
    tensor->name = label(files, constant);
    tensor->file = files->bin;
}

phlox_status px_ov_tensor_read(const px_ov_files *files, const px_ov_layer *layer, bool columns_first,
                               px_tensor *tensor, px_ov_source *source, uint64_t *bytes,
                               phlox_error *error)
{
    struct chain chain = {0};
    PX_TRY(follow(files, layer, &chain, error));
    const px_ov_layer *const data = chain.data;
    place(files, data, tensor, source);
    *bytes += data->size + (chain.scales ? chain.scales->size : 0) +
              (chain.zeros ? chain.zeros->size : 0);
    if (is_float(data->type) && !chain.scales)
        return read_floats(files, data, columns_first, tensor, source, error);
    const int bits = px_ov_type_bits(data->type);
    if ((bits != 4 && bits != 8) || !chain.scales) return fail_layer(files, layer, data, error);
    if (columns_first)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: the integers of %s are stored column by column, which phlox does not read",
                       files->xml, label(files, data));
    return read_groups(files, &chain, tensor, source, error);
}

phlox_status px_ov_vector_read(const px_ov_files *files, const px_ov_layer *layer, px_tensor *tensor,
                               px_ov_source *source, uint64_t *bytes, phlox_error *error)
{
    const px_ov_layer *const constant = px_ov_const_behind(files->graph, layer);
    if (!constant || !is_float(constant->type)) return fail_layer(files, layer, constant, error);
    if (constant->elements != tensor->columns) return fail_shape(files, constant, tensor, error);
    place(files, constant, tensor, source);
    tensor->type = float_type(constant->type);
    tensor->row_bytes = tensor->columns * (int64_t)px_float_size(tensor->type);
    *bytes += constant->size;
    return PHLOX_OK;
}

phlox_status px_ov_tensor_scale(const px_ov_files *files, const px_ov_layer *layer, int64_t row,
                                px_tensor *tensor, px_ov_source *source, phlox_error *error)
{
    const px_ov_layer *const constant = px_ov_const_behind(files->graph, layer);
    if (!constant || !is_float(constant->type)) return fail_layer(files, layer, constant, error);
    if (constant->elements != tensor->rows - row) return fail_shape(files, constant, tensor, error);
    source->factors = numbers_of(files, constant);
    source->factor_row = row;
    tensor->integers.half_scales = false; /* they are products */
    if (tensor->integers.bits) return PHLOX_OK;
    tensor->type = PX_FLOAT_F32;
    tensor->load = load_floats;
    return PHLOX_OK;
}
