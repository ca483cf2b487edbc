/* Sizes and places of packed matrices. */
#include "kernels/kernels.h"

#include "base/half.h"

static int64_t padded_columns(int64_t columns)
{
    return (columns + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK * PX_COLUMN_BLOCK;
}

int64_t px_weight_padded_rows(px_weight_type type, int64_t rows)
{
    if (type != PX_WEIGHT_I8 && type != PX_WEIGHT_I4) return rows;
    return (rows + PX_ROW_TILE - 1) / PX_ROW_TILE * PX_ROW_TILE;
}

int64_t px_weight_offset(const px_weight *weight, int64_t row, int64_t column, bool *high)
{
    const int64_t tile = row / PX_ROW_TILE, block = column / PX_COLUMN_BLOCK;
    const int64_t blocks = padded_columns(weight->columns) / PX_COLUMN_BLOCK;
    const int64_t in_block = column % PX_COLUMN_BLOCK;
    const int64_t lines = weight->type == PX_WEIGHT_I4 ? 4 : 8;
    *high = in_block / 4 >= lines;
    const int64_t line = (tile * blocks + block) * lines + in_block / 4 % lines;
    return (line * PX_ROW_TILE + row % PX_ROW_TILE) * 4 + in_block % 4;
}

int64_t px_weight_groups(const px_weight *weight)
{
    return (weight->columns + weight->group_size - 1) / weight->group_size;
}

int64_t px_weight_group_index(const px_weight *weight, int64_t row, int64_t group)
{
    const int64_t tile = row / PX_ROW_TILE;
    return (tile * px_weight_groups(weight) + group) * PX_ROW_TILE + row % PX_ROW_TILE;
}

float px_weight_scale(const px_weight *weight, int64_t index)
{
    if (weight->half_scales) return px_f16_to_f32(((const uint16_t *)weight->scales)[index]);
    return ((const float *)weight->scales)[index];
}

int64_t px_weight_row_bytes(px_weight_type type, int64_t columns)
{
    switch (type) {
    case PX_WEIGHT_F32: return columns * 4;
    case PX_WEIGHT_F16:
    case PX_WEIGHT_BF16: return columns * 2;
    case PX_WEIGHT_I8: return padded_columns(columns);
    case PX_WEIGHT_I4: return padded_columns(columns) / 2;
    case PX_WEIGHT_TYPES: break;
    }
    return 0;
}
