#include "checkpoint/onnx_matrix.h"

#include <inttypes.h>

static const int64_t most_size = 1 << 24; /* of rows and of columns */

bool px_onnx_is_float(const px_onnx_tensor *tensor)
{
    return tensor->type == PX_ONNX_FLOAT || tensor->type == PX_ONNX_FLOAT16 ||
           tensor->type == PX_ONNX_BFLOAT16;
}

static int bits_of(const px_onnx_tensor *tensor)
{
    switch (tensor->type) {
    case PX_ONNX_INT4:
    case PX_ONNX_UINT4: return 4;
    case PX_ONNX_INT8:
    case PX_ONNX_UINT8: return 8;
    default: return 0;
    }
}

phlox_status px_onnx_refuse(const px_onnx_source *source, const px_onnx_node *node, const char *what)
{
    return px_fail(source->error, PHLOX_ERROR_UNSUPPORTED, "%s: node %.*s (%.*s): %s", source->path,
                   (int)PX_MIN(node->name.size, 160), node->name.data,
                   (int)PX_MIN(node->type.size, 60), node->type.data, what);
}

static phlox_status fail_shape(const px_onnx_source *source, const px_onnx_node *node)
{
    return px_fail(source->error, PHLOX_ERROR_FORMAT,
                   "%s: node %.*s: its weight does not have the shape that its attributes say",
                   source->path, (int)PX_MIN(node->name.size, 160), node->name.data);
}

static bool is_size(int64_t value)
{
    return value >= 1 && value <= most_size;
}

/* Whether the values of a shape are `count`; a shape may have them in any number of dimensions. */
static bool has_count(const px_onnx_tensor *tensor, int64_t count)
{
    if (tensor->rank > PX_ONNX_MOST_DIMS) return false;
    int64_t values = 1;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->dims[i] < 1 || tensor->dims[i] > count || values > count / tensor->dims[i]) return false;
        values *= tensor->dims[i];
    }
    return values == count;
}

static phlox_status check_counts(const px_onnx_source *source, const px_onnx_matrix *matrix)
{
    const bool packed = matrix->scales && bits_of(matrix->data) == 8 && matrix->bits == 4;
    const int64_t zero_bytes =
        matrix->zeros && bits_of(matrix->zeros) == 8 && matrix->bits == 4 ? matrix->zero_count / 2
                                                                        : matrix->zero_count;
    if (!has_count(matrix->data, packed ? matrix->count / 2 : matrix->count) ||
        (matrix->scales && !has_count(matrix->scales, matrix->scale_count)) ||
        (matrix->zeros && !has_count(matrix->zeros, zero_bytes)))
        return fail_shape(source, matrix->node);
    return PHLOX_OK;
}

/* ---- floats and DequantizeLinear ----------------------------------------------------------- */

/* Stored [columns, rows], or the other way round where `transposed`. */
static bool place_plain(px_onnx_matrix *out, bool transposed)
{
    const px_onnx_tensor *const data = out->data;
    if (data->rank != 2 || !is_size(data->dims[0]) || !is_size(data->dims[1])) return false;
    out->rows = data->dims[transposed ? 0 : 1];
    out->columns = data->dims[transposed ? 1 : 0];
    out->row_step = transposed ? out->columns : 1;
    out->column_step = transposed ? 1 : out->rows;
    out->count = out->rows * out->columns;
    return true;
}

static bool is_swap(const px_onnx_model *model, const px_onnx_node *node)
{
    const px_onnx_attribute *const perm = px_onnx_attribute_of(model, node, "perm");
    return !perm || (perm->int_count == 2 && perm->ints[0] == 1 && perm->ints[1] == 0);
}

/* x of INT4, UINT4, INT8 or UINT8; blocks along the columns, or one for all of a row. */
static phlox_status place_dequantized(const px_onnx_source *source, const px_onnx_node *node,
                                      bool transposed, px_onnx_matrix *out)
{
    const px_onnx_model *const model = source->model;
    out->data = px_onnx_constant(model, px_onnx_input(model, node, 0));
    out->scales = px_onnx_constant(model, px_onnx_input(model, node, 1));
    const px_onnx_value *const zeros = px_onnx_input(model, node, 2);
    out->zeros = px_onnx_constant(model, zeros);
    if (!out->data || !out->scales || (zeros && !out->zeros))
        return px_onnx_refuse(source, node, "dequantizes what is no constant");
    out->bits = bits_of(out->data);
    if (!out->bits || !px_onnx_is_float(out->scales) || (out->zeros && out->zeros->type != out->data->type))
        return px_onnx_refuse(source, node, "integers of another type than INT4, UINT4, INT8 or UINT8");
    const bool is_signed = out->data->type == PX_ONNX_INT4 || out->data->type == PX_ONNX_INT8;
    out->zero = is_signed ? 1 << (out->bits - 1) : 0;
    if (!place_plain(out, transposed)) return fail_shape(source, node);
    int64_t axis = px_onnx_int(model, node, "axis", 1);
    if (axis < 0) axis += 2;
    const int64_t column_axis = transposed ? 1 : 0, block = px_onnx_int(model, node, "block_size", 0);
    if (block < 0 || (block == 0 ? axis != 1 - column_axis : axis != column_axis))
        return px_onnx_refuse(source, node, "scales that are not of groups of a row");
    out->block = block == 0 ? out->columns : PX_MIN(block, out->columns);
    const int64_t blocks = (out->columns + out->block - 1) / out->block;
    out->scale_row = transposed ? blocks : 1;
    out->scale_block = transposed ? 1 : out->rows;
    out->scale_count = out->rows * blocks;
    out->zero_row = out->scale_row;
    out->zero_block = out->scale_block;
    out->zero_count = out->scale_count;
    return check_counts(source, out);
}

/* Follows Transpose and DequantizeLinear to a constant. */
static phlox_status place_operand(const px_onnx_source *source, const px_onnx_value *value,
                                  bool transposed, px_onnx_matrix *out)
{
    enum { MOST_STEPS = 8 };
    const px_onnx_model *const model = source->model;
    for (int step = 0; step < MOST_STEPS; step++) {
        out->data = px_onnx_constant(model, value);
        if (out->data) break;
        const px_onnx_node *const node = px_onnx_producer(model, value);
        if (px_onnx_is(node, "DequantizeLinear")) return place_dequantized(source, node, transposed, out);
        if (!px_onnx_is(node, "Transpose") || !is_swap(model, node)) break;
        transposed = !transposed;
        value = px_onnx_input(model, node, 0);
    }
    if (!out->data) return px_onnx_refuse(source, out->node, "its weight is not a constant that phlox reads");
    if (!px_onnx_is_float(out->data))
        return px_onnx_refuse(source, out->node, "its weight is neither floats nor integers with scales");
    return place_plain(out, transposed) ? PHLOX_OK : fail_shape(source, out->node);
}

phlox_status px_onnx_plain_matrix(const px_onnx_source *source, const px_onnx_node *node,
                                  const px_onnx_value *value, px_onnx_matrix *out)
{
    *out = (px_onnx_matrix){.node = node};
    return place_operand(source, value, false, out);
}

/* ---- MatMulNBits --------------------------------------------------------------------------- */

/* B is uint8 [rows, blocks, block * bits / 8]: a row's blocks one behind the other, the last padded. */
static phlox_status place_packed(const px_onnx_source *source, int64_t block, px_onnx_matrix *out)
{
    if (!is_size(out->rows) || !is_size(out->columns) || !is_size(block) || block % 2 ||
        (out->bits != 4 && out->bits != 8))
        return fail_shape(source, out->node);
    if (out->data->type != PX_ONNX_UINT8)
        return px_onnx_refuse(source, out->node, "its weight is not of type UINT8");
    if (!px_onnx_is_float(out->scales) ||
        (out->zeros && !px_onnx_is_float(out->zeros) && out->zeros->type != PX_ONNX_UINT8))
        return px_onnx_refuse(source, out->node, "scales or zero points of a type that phlox does not read");
    const int64_t blocks = (out->columns + block - 1) / block;
    out->block = PX_MIN(block, out->columns);
    out->row_step = blocks * block;
    out->column_step = 1;
    out->count = out->rows * out->row_step;
    out->zero = 1 << (out->bits - 1);
    out->scale_row = blocks;
    out->scale_block = 1;
    out->scale_count = out->rows * blocks;
    const bool packs_zeros = out->zeros && out->zeros->type == PX_ONNX_UINT8 && out->bits == 4;
    out->zero_row = packs_zeros ? (blocks + 1) / 2 * 2 : blocks;
    out->zero_block = 1;
    out->zero_count = out->rows * out->zero_row;
    return check_counts(source, out);
}

static phlox_status place_n_bits(const px_onnx_source *source, px_onnx_matrix *out)
{
    const px_onnx_model *const model = source->model;
    const px_onnx_node *const node = out->node;
    out->data = px_onnx_constant(model, px_onnx_input(model, node, 1));
    out->scales = px_onnx_constant(model, px_onnx_input(model, node, 2));
    const px_onnx_value *const zeros = px_onnx_input(model, node, 3);
    const px_onnx_value *const index = px_onnx_input(model, node, 4);
    out->zeros = px_onnx_constant(model, zeros);
    if (!out->data || !out->scales || (zeros && !out->zeros))
        return px_onnx_refuse(source, node, "its weight is not a constant");
    if (px_onnx_input(model, node, 5)) return px_onnx_refuse(source, node, "a bias; the family has none");
    if (px_onnx_int(model, node, "weight_prepacked", 0) != 0)
        return px_onnx_refuse(source, node, "its weight is laid out for one kind of GPU "
                                            "(weight_prepacked); export without that option");
    out->rows = px_onnx_int(model, node, "N", 0);
    out->columns = px_onnx_int(model, node, "K", 0);
    const int64_t bits = px_onnx_int(model, node, "bits", 4);
    if (bits != 4 && bits != 8) return px_onnx_refuse(source, node, "bits are neither 4 nor 8");
    out->bits = (int)bits;
    PX_ONNX_TRY(place_packed(source, px_onnx_int(model, node, "block_size", 0), out));
    if (!index) return PHLOX_OK;
    out->index = px_onnx_constant(model, index);
    if (!out->index || out->index->type != PX_ONNX_INT32)
        return px_onnx_refuse(source, node, "g_idx is no constant of type INT32");
    /* It may go on behind the last column, to the end of the last block. */
    out->index_count = has_count(out->index, out->columns) ? out->columns : out->row_step;
    return has_count(out->index, out->index_count) ? PHLOX_OK : fail_shape(source, node);
}

phlox_status px_onnx_product(const px_onnx_source *source, const px_onnx_node *node, px_onnx_matrix *out)
{
    *out = (px_onnx_matrix){.node = node};
    if (px_onnx_is(node, "MatMulNBits")) return place_n_bits(source, out);
    return place_operand(source, px_onnx_input(source->model, node, 1), false, out);
}

/* ---- embeddings ---------------------------------------------------------------------------- */

static phlox_status place_quantized_rows(const px_onnx_source *source, int64_t columns,
                                         px_onnx_matrix *out)
{
    const px_onnx_model *const model = source->model;
    const px_onnx_node *const node = out->node;
    const px_onnx_value *data = px_onnx_input(model, node, 0);
    const px_onnx_node *const reshape = px_onnx_producer(model, data);
    if (px_onnx_is(reshape, "Reshape")) data = px_onnx_input(model, reshape, 0); /* lm_head's bytes */
    out->data = px_onnx_constant(model, data);
    out->scales = px_onnx_constant(model, px_onnx_input(model, node, 2));
    const px_onnx_value *const zeros = px_onnx_input(model, node, 3);
    out->zeros = px_onnx_constant(model, zeros);
    if (!out->data || !out->scales || (zeros && !out->zeros) || out->data->rank < 2)
        return px_onnx_refuse(source, node, "its weight is not a constant");
    if (px_onnx_int(model, node, "gather_axis", 0) != 0 || px_onnx_int(model, node, "quantize_axis", 1) != 1)
        return px_onnx_refuse(source, node, "scales that are not of groups of a row");
    out->rows = out->data->dims[0];
    out->columns = columns;
    const int64_t block = px_onnx_int(model, node, "block_size", 128);
    const int64_t bits = px_onnx_int(model, node, "bits", 4);
    if (bits != 4 && bits != 8) return px_onnx_refuse(source, node, "bits are neither 4 nor 8");
    out->bits = (int)bits;
    if (out->data->type == PX_ONNX_UINT8) return place_packed(source, block, out);
    const px_onnx_tensor *const zero_points = out->zeros;
    if (bits_of(out->data) != 4 || columns % 2 || (zero_points && zero_points->type != out->data->type) ||
        !px_onnx_is_float(out->scales) || !is_size(block) || !is_size(out->rows) || !is_size(columns))
        return px_onnx_refuse(source, node, "integers of a type that phlox does not read");
    out->bits = 4;
    const int64_t blocks = (columns + block - 1) / block;
    out->block = PX_MIN(block, columns);
    out->row_step = columns;
    out->column_step = 1;
    out->count = out->rows * columns;
    out->zero = out->data->type == PX_ONNX_INT4 ? 8 : 0;
    out->scale_row = out->zero_row = blocks;
    out->scale_block = out->zero_block = 1;
    out->scale_count = out->zero_count = out->rows * blocks;
    return check_counts(source, out);
}

phlox_status px_onnx_embedding(const px_onnx_source *source, const px_onnx_node *node, int64_t columns,
                               px_onnx_matrix *out)
{
    *out = (px_onnx_matrix){.node = node};
    if (px_onnx_is(node, "GatherBlockQuantized")) PX_ONNX_TRY(place_quantized_rows(source, columns, out));
    else PX_ONNX_TRY(place_operand(source, px_onnx_input(source->model, node, 0), true, out));
    return out->columns == columns ? PHLOX_OK : fail_shape(source, node);
}
