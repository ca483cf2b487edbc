#include "checkpoint/huggingface_packed.h"

#include <string.h>

/* Rows and columns that are unpacked at a time: a line of the cache has 16 words. */
enum { BLOCK_ROWS = 64, BLOCK_COLUMNS = 64 };

struct block {
    int64_t row, rows, column, columns;
    int64_t skip; /* rows in front of the first that are in its words */
    uint8_t q[BLOCK_ROWS][BLOCK_COLUMNS];
};

static uint32_t word_at(const uint8_t *data, int64_t index)
{
    uint32_t word;
    memcpy(&word, data + 4 * index, sizeof word);
    return word;
}

/* ---- values -------------------------------------------------------------------------------- */

/* The values of a word as bytes, the lowest bits first. */
static void spread(uint32_t word, int bits, uint8_t *out)
{
    if (bits == 8) {
        memcpy(out, &word, sizeof word);
        return;
    }
    uint64_t wide = word;
    wide = (wide | wide << 16) & UINT64_C(0x0000ffff0000ffff);
    wide = (wide | wide << 8) & UINT64_C(0x00ff00ff00ff00ff);
    wide = (wide | wide << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    memcpy(out, &wide, sizeof wide);
}

static void unpack_gptq(const px_hf_packed *packed, int64_t rows, struct block *block)
{
    const int64_t each = 32 / packed->bits;
    for (int64_t c = 0; c < block->columns; c += each) {
        const int64_t first = (block->column + c) / each * rows + block->row;
        for (int64_t r = 0; r < block->rows; r++)
            spread(word_at(packed->words, first + r), packed->bits, &block->q[r][c]);
    }
}

static void unpack_awq(const px_hf_packed *packed, int64_t rows, struct block *block)
{
    enum { EACH = 8 };
    static const int order[EACH] = {0, 2, 4, 6, 1, 3, 5, 7};
    const int64_t words = (block->skip + block->rows + EACH - 1) / EACH;
    for (int64_t c = 0; c < block->columns; c++) {
        const int64_t first = (block->column + c) * (rows / EACH) + block->row / EACH;
        for (int64_t i = 0; i < words; i++) {
            uint8_t values[EACH];
            spread(word_at(packed->words, first + i), 4, values);
            for (int j = 0; j < EACH; j++) block->q[EACH * i + order[j]][c] = values[j];
        }
    }
}

/* A block from there on, of no more rows than these. */
static void unpack(const px_tensor *tensor, int64_t row, int64_t rows, int64_t column, struct block *block)
{
    const px_hf_packed *const packed = tensor->source;
    block->row = row;
    block->skip = packed->layout == PX_HF_AWQ ? row % 8 : 0;
    block->rows = PX_MIN(rows, BLOCK_ROWS - block->skip);
    block->column = column;
    block->columns = PX_MIN(tensor->columns - column, BLOCK_COLUMNS);
    if (packed->layout == PX_HF_AWQ) unpack_awq(packed, tensor->rows, block);
    else unpack_gptq(packed, tensor->rows, block);
}

/* ---- zero points and scales ---------------------------------------------------------------- */

/* What is added to a word of zero points: one to each, and what is carried stays in the word. That is how
 * GPTQModel reads the files, and how it writes a zero point 0: as the word less so much. */
static uint32_t zeros_step(const px_hf_packed *packed)
{
    if (!packed->adds_one) return 0;
    return packed->bits == 4 ? 0x11111111 : 0x01010101;
}

/* Where a word of AWQ has the value `i` of its eight. */
static int awq_shift(int64_t i)
{
    return (int)(i % 2 * 16 + i / 2 * 4);
}

static uint8_t zero_at(const px_hf_packed *packed, int64_t rows, int64_t row, int64_t group)
{
    const int64_t each = 32 / packed->bits;
    const uint32_t word = word_at(packed->zeros, group * (rows / each) + row / each) + zeros_step(packed);
    const int shift = packed->layout == PX_HF_AWQ ? awq_shift(row % each) : (int)(row % each) * packed->bits;
    return (uint8_t)(word >> shift & ((1u << packed->bits) - 1));
}

bool px_hf_packed_is_symmetric(const px_hf_packed *packed, int64_t rows)
{
    const uint32_t middle = (packed->bits == 4 ? 0x88888888 : 0x80808080) - zeros_step(packed);
    const int64_t count = packed->groups * (rows * packed->bits / 32);
    for (int64_t i = 0; i < count; i++)
        if (word_at(packed->zeros, i) != middle) return false;
    return true;
}

static float scale_at(const px_hf_packed *packed, int64_t rows, int64_t row, int64_t group)
{
    float scale;
    const size_t place = (size_t)(group * rows + row) * px_float_size(packed->scale_type);
    px_float_load(packed->scale_type, packed->scales + place, 1, &scale);
    return scale;
}

/* ---- rows ---------------------------------------------------------------------------------- */

static void read_integers(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q, float *scales,
                          uint8_t *zeros)
{
    const px_hf_packed *const packed = tensor->source;
    struct block block;
    for (int64_t column = 0; column < tensor->columns; column += BLOCK_COLUMNS)
        for (int64_t row = 0; row < rows; row += block.rows) {
            unpack(tensor, begin + row, rows - row, column, &block);
            for (int64_t r = 0; r < block.rows; r++)
                memcpy(q + (row + r) * tensor->columns + column, block.q[block.skip + r],
                       (size_t)block.columns);
        }
    for (int64_t group = 0; group < packed->groups; group++)
        for (int64_t r = 0; r < rows; r++) {
            scales[r * packed->groups + group] = scale_at(packed, tensor->rows, begin + r, group);
            if (!tensor->integers.symmetric)
                zeros[r * packed->groups + group] = zero_at(packed, tensor->rows, begin + r, group);
        }
}

/* Turns the integers of a row into weights. A product with a float16 or bfloat16 is exact. */
static void scale_row(const px_tensor *tensor, int64_t row, float *weights)
{
    enum { MOST = 256 };
    const px_hf_packed *const packed = tensor->source;
    float scales[MOST], zeros[MOST];
    for (int64_t first = 0; first < packed->groups; first += MOST) {
        const int64_t count = PX_MIN(packed->groups - first, MOST);
        for (int64_t i = 0; i < count; i++) {
            scales[i] = scale_at(packed, tensor->rows, row, first + i);
            zeros[i] = zero_at(packed, tensor->rows, row, first + i);
        }
        for (int64_t c = 0; c < tensor->columns; c++) {
            const int64_t i = (int64_t)word_at(packed->index, c) - first;
            if (i >= 0 && i < count) weights[c] = (weights[c] - zeros[i]) * scales[i];
        }
    }
}

static void load_rows(const px_tensor *tensor, int64_t begin, int64_t rows, float *out)
{
    struct block block;
    for (int64_t column = 0; column < tensor->columns; column += BLOCK_COLUMNS)
        for (int64_t row = 0; row < rows; row += block.rows) {
            unpack(tensor, begin + row, rows - row, column, &block);
            for (int64_t r = 0; r < block.rows; r++)
                for (int64_t c = 0; c < block.columns; c++)
                    out[(row + r) * tensor->columns + column + c] = block.q[block.skip + r][c];
        }
    for (int64_t row = 0; row < rows; row++)
        scale_row(tensor, begin + row, out + row * tensor->columns);
}

void px_hf_packed_describe(const px_hf_packed *packed, px_tensor *tensor)
{
    tensor->source = packed;
    tensor->row_bytes = tensor->columns * packed->bits / 8;
    tensor->whole = true;
    if (packed->index) {
        tensor->type = PX_FLOAT_F32;
        tensor->load = load_rows;
        tensor->encoding = packed->bits == 4 ? "int4 desc_act" : "int8 desc_act";
        return;
    }
    tensor->integers = (px_integers){.bits = packed->bits,
                                     .symmetric = px_hf_packed_is_symmetric(packed, tensor->rows),
                                     .half_scales = packed->scale_type == PX_FLOAT_F16,
                                     .group_size = packed->group_size,
                                     .read = read_integers};
}
