/* Writing single rows and columns of integer matrices: how the cache of attention grows. Plain C that
 * compilers vectorise, the same for every instruction set. */
#include "kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"

enum { LINE = PX_ROW_TILE * 4 };

/* max|x| as bits: magnitudes order as their bits do, infinity and NaN last. */
static uint32_t largest(const float *x, int64_t count)
{
    uint32_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return most;
}

/* The scale for integers from -levels to levels. NaN where a value is not finite, which shows in the
 * logits; 0 where all are (nearly) 0. */
static float scale_for(uint32_t most, float levels)
{
    const float scale = px_float_of_bits(most) / levels;
    return !(scale <= FLT_MAX) ? NAN : scale < FLT_MIN ? 0 : scale;
}

/* q = zero + x / scale, rounded half to even by adding 1.5 * 2^23. */
static void integers(const float *x, int64_t count, float scale, float zero, uint8_t *q)
{
    const float inverse = scale > 0 ? 1 / scale : 0;
    for (int64_t i = 0; i < count; i++) {
        const float level = inverse > 0 ? x[i] * inverse : 0;
        q[i] = (uint8_t)px_bits_of_float(level + zero + 0x1.8p23f);
    }
}

static float levels_of(px_weight_type type)
{
    return type == PX_WEIGHT_I4 ? 7.0f : 127.0f;
}

static float zero_of(px_weight_type type)
{
    return type == PX_WEIGHT_I4 ? 8.0f : 128.0f;
}

void px_store_row(px_weight_type type, int64_t columns, int64_t row, const float *x, void *data,
                  float *scales)
{
    const int64_t lines = type == PX_WEIGHT_I4 ? 4 : 8, slot = row % PX_ROW_TILE;
    const int64_t blocks = (columns + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK;
    const int64_t first = row / PX_ROW_TILE * blocks;
    unsigned char *to = (unsigned char *)data + first * lines * LINE + slot * 4;
    for (int64_t b = 0; b < blocks; b++, to += lines * LINE) {
        const int64_t count = PX_MIN(columns - b * PX_COLUMN_BLOCK, PX_COLUMN_BLOCK);
        float block[PX_COLUMN_BLOCK] = {0};
        memcpy(block, x + b * PX_COLUMN_BLOCK, (size_t)count * sizeof *block);
        const float scale = scale_for(largest(block, PX_COLUMN_BLOCK), levels_of(type));
        scales[(first + b) * PX_ROW_TILE + slot] = scale;
        uint8_t q[PX_COLUMN_BLOCK];
        integers(block, PX_COLUMN_BLOCK, scale, zero_of(type), q);
        uint32_t words[8];
        memcpy(words, q, sizeof words);
        for (int64_t line = 0; line < lines; line++) {
            const uint32_t word =
                type == PX_WEIGHT_I4 ? words[line] | words[line + 4] << 4 : words[line];
            memcpy(to + line * LINE, &word, sizeof word);
        }
    }
}

void px_store_column(px_weight_type type, int64_t rows, int64_t columns, int64_t column,
                     const float *x, void *data, float *scale)
{
    const int64_t tile_bytes = PX_ROW_TILE * px_weight_row_bytes(type, columns);
    const px_weight w = {.type = type, .rows = rows, .columns = columns};
    bool high;
    unsigned char *to = (unsigned char *)data + px_weight_offset(&w, 0, column, &high);
    const unsigned shift = high ? 4 : 0, kept = type == PX_WEIGHT_I8 ? 0 : high ? 0x0f : 0xf0;
    *scale = scale_for(largest(x, rows), levels_of(type));
    for (int64_t row = 0; row < rows; row += PX_ROW_TILE, to += tile_bytes) {
        const int64_t count = PX_MIN(rows - row, PX_ROW_TILE);
        uint8_t q[PX_ROW_TILE];
        integers(x + row, count, *scale, zero_of(type), q);
        for (int64_t i = 0; i < count; i++)
            to[4 * i] = (unsigned char)((to[4 * i] & kept) | (unsigned)q[i] << shift);
    }
}

void px_hadamard(float *x, int64_t n, int64_t size)
{
    const float scale = 1.0f / sqrtf((float)size);
    for (int64_t step = 1; step < size; step *= 2) {
        for (int64_t begin = 0; begin < n; begin += 2 * step) {
            for (int64_t i = begin; i < begin + step; i++) {
                const float a = x[i], b = x[i + step];
                x[i] = a + b;
                x[i + step] = a - b;
            }
        }
    }
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
}
