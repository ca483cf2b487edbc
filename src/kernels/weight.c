/* Sizes of packed matrices. */
#include "kernels/kernels.h"

int64_t px_weight_groups(const px_weight *weight)
{
    return (weight->columns + weight->group_size - 1) / weight->group_size;
}

int64_t px_weight_row_bytes(px_weight_type type, int64_t columns)
{
    const int64_t padded = (columns + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK * PX_COLUMN_BLOCK;
    switch (type) {
    case PX_WEIGHT_F32: return columns * 4;
    case PX_WEIGHT_F16:
    case PX_WEIGHT_BF16: return columns * 2;
    case PX_WEIGHT_I8: return padded;
    case PX_WEIGHT_I4: return padded / 2;
    case PX_WEIGHT_TYPES: break;
    }
    return 0;
}
