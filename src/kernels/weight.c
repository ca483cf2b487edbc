/* Sizes and places of packed matrices. */
#include "kernels/integer.h"

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

bool px_weight_has_halves(const px_weight *weight)
{
    return weight->group_size == PX_HALF_BLOCK && weight->columns % PX_COLUMN_BLOCK == 0;
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

static float float_at(const px_weight *weight, const void *from, const int8_t *steps, int64_t index)
{
    if (!weight->half_scales) return ((const float *)from)[index];
    if (steps == NULL) return px_f16_to_f32(((const uint16_t *)from)[index]);
    const int64_t at = px_super_index(weight, index);
    return px_f16_to_f32(((const uint16_t *)from)[at]) * (float)steps[index];
}

float px_weight_scale(const px_weight *weight, int64_t index)
{
    return float_at(weight, weight->scales, weight->scale_steps, index);
}

float px_weight_minimum(const px_weight *weight, int64_t index)
{
    return float_at(weight, weight->minima, weight->minimum_steps, index);
}

void px_weight_parts(const px_weight *weight, px_place parts[PX_PARTS])
{
    const size_t rows = (size_t)px_weight_padded_rows(weight->type, weight->rows);
    const size_t groups = rows * (size_t)px_weight_groups(weight);
    const size_t scales = weight->scale_steps ? rows * (size_t)(weight->columns / PX_SUPER_BLOCK)
                                              : groups;
    const size_t scale_bytes = scales * (weight->half_scales ? sizeof(uint16_t) : sizeof(float));
    const void *const places[PX_PARTS] = {weight->data, weight->scales, weight->zeros,
                                          weight->minima, weight->scale_steps,
                                          weight->minimum_steps};
    const size_t sizes[PX_PARTS] = {rows * (size_t)weight->row_bytes, scale_bytes, groups,
                                    scale_bytes, groups, groups};
    for (int part = 0; part < PX_PARTS; part++)
        parts[part] = (px_place){places[part], places[part] ? sizes[part] : 0};
}

void px_weight_place(px_weight *weight, const void *const parts[PX_PARTS])
{
    weight->data = parts[PX_PART_DATA];
    weight->scales = parts[PX_PART_SCALES];
    weight->zeros = parts[PX_PART_ZEROS];
    weight->minima = parts[PX_PART_MINIMA];
    weight->scale_steps = parts[PX_PART_SCALE_STEPS];
    weight->minimum_steps = parts[PX_PART_MINIMUM_STEPS];
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
