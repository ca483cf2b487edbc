#include "checkpoint/gguf_blocks.h"

#include "base/half.h"

#include <string.h>

enum { SMALL = 32, LARGE = 256 }; /* columns of a block */

static float half_at(const uint8_t *data)
{
    return px_f16_to_f32((uint16_t)(data[0] | data[1] << 8));
}

/* ---- integers ------------------------------------------------------------------------------ */

/* scale, 32 signed bytes */
static void unpack_q8_0(const uint8_t *block, uint8_t *q, float *scale)
{
    *scale = half_at(block);
    for (int i = 0; i < SMALL; i++) q[i] = block[2 + i] ^ 0x80;
}

/* scale, 16 bytes: the low nibbles are columns 0 to 15, the high ones 16 to 31 */
static void unpack_q4_0(const uint8_t *block, uint8_t *q, float *scale)
{
    *scale = half_at(block);
    for (int i = 0; i < SMALL / 2; i++) {
        q[i] = block[2 + i] & 15;
        q[i + SMALL / 2] = block[2 + i] >> 4;
    }
}

/* Five bits of a column: nibbles as in Q4_0, the highest bits of all columns in one word. */
static int five_bits(const uint8_t *high, const uint8_t *nibbles, int column)
{
    const int half = column / (SMALL / 2);
    const int low = nibbles[column % (SMALL / 2)] >> 4 * half & 15;
    return low | (high[column / 8] >> column % 8 & 1) << 4;
}

/* scale, 4 bytes of high bits, nibbles; -16 to 15 */
static void unpack_q5_0(const uint8_t *block, uint8_t *q, float *scale)
{
    *scale = half_at(block);
    for (int i = 0; i < SMALL; i++) q[i] = (uint8_t)(five_bits(block + 2, block + 6, i) + 112);
}

/* As Q4_0, but a nibble is the index of one of 16 values. */
static void unpack_iq4_nl(const uint8_t *block, uint8_t *q, float *scale)
{
    static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
    *scale = half_at(block);
    for (int i = 0; i < SMALL / 2; i++) {
        q[i] = (uint8_t)(values[block[2 + i] & 15] + 128);
        q[i + SMALL / 2] = (uint8_t)(values[block[2 + i] >> 4] + 128);
    }
}

/* ---- with a minimum ------------------------------------------------------------------------ */

/* scale, minimum, nibbles */
static void widen_q4_1(const uint8_t *block, float *out)
{
    const float scale = half_at(block), minimum = half_at(block + 2);
    for (int i = 0; i < SMALL / 2; i++) {
        out[i] = scale * (float)(block[4 + i] & 15) + minimum;
        out[i + SMALL / 2] = scale * (float)(block[4 + i] >> 4) + minimum;
    }
}

/* scale, minimum, high bits, nibbles */
static void widen_q5_1(const uint8_t *block, float *out)
{
    const float scale = half_at(block), minimum = half_at(block + 2);
    for (int i = 0; i < SMALL; i++)
        out[i] = scale * (float)five_bits(block + 4, block + 8, i) + minimum;
}

/* ---- blocks of 256 ------------------------------------------------------------------------- */

/* 16 bytes: scale and minimum of each 16 columns, 4 bits each; 64 bytes of 2 bits; what multiplies the
 * scales, what multiplies the minima. A run of 128 columns takes 32 bytes: 2 bits of byte j are the
 * columns j, 32 + j, 64 + j, 96 + j. */
static void widen_q2_k(const uint8_t *block, float *out)
{
    const uint8_t *const q = block + 16;
    const float d = half_at(block + 80), d_minimum = half_at(block + 82);
    for (int i = 0; i < LARGE; i++) {
        const uint8_t both = block[i / 16];
        const float scale = d * (float)(both & 15), minimum = d_minimum * (float)(both >> 4);
        const int two = q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
        out[i] = scale * (float)two - minimum;
    }
}

/* 32 bytes: bit k of byte j is set where 4 is not taken off column 32 k + j; 64 bytes of 2 bits as in
 * Q2_K; 12 bytes: scales of 6 bits of each 16 columns; what multiplies them. */
static void widen_q3_k(const uint8_t *block, float *out)
{
    const uint8_t *const q = block + 32, *const scales = block + 96;
    const float d = half_at(block + 108);
    for (int i = 0; i < LARGE; i++) {
        const int group = i / 16;
        const int low = scales[group % 8] >> group / 8 * 4 & 15;
        const int high = scales[8 + group % 4] >> group / 4 * 2 & 3;
        const int two = q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
        const int three = two - (block[i % 32] >> i / 32 & 1 ? 0 : 4);
        out[i] = d * (float)((low | high << 4) - 32) * (float)three;
    }
}

/* Scale and minimum, 6 bits each, of 32 columns in 12 bytes. */
static void scale_and_minimum(const uint8_t *packed, int group, int *scale, int *minimum)
{
    if (group < 4) {
        *scale = packed[group] & 63;
        *minimum = packed[4 + group] & 63;
        return;
    }
    const int at = group - 4;
    *scale = (packed[8 + at] & 15) | (packed[at] >> 6) << 4;
    *minimum = packed[8 + at] >> 4 | (packed[4 + at] >> 6) << 4;
}

/* What multiplies the scales, what multiplies the minima; 12 bytes of both; for Q5_K 32 bytes: bit k
 * of byte j is the highest of column 32 k + j; 128 bytes of nibbles: a run of 64 columns takes 32, the
 * low nibbles first. */
static void widen_k(const uint8_t *block, const uint8_t *high, const uint8_t *nibbles, float *out)
{
    const float d = half_at(block), d_minimum = half_at(block + 2);
    for (int group = 0; group < LARGE / 32; group++) {
        int scale, minimum;
        scale_and_minimum(block + 4, group, &scale, &minimum);
        const float by = d * (float)scale, less = d_minimum * (float)minimum;
        for (int j = 0; j < 32; j++) {
            int q = nibbles[group / 2 * 32 + j] >> group % 2 * 4 & 15;
            if (high) q |= (high[j] >> group & 1) << 4;
            *out++ = by * (float)q - less;
        }
    }
}

static void widen_q4_k(const uint8_t *block, float *out)
{
    widen_k(block, NULL, block + 16, out);
}

static void widen_q5_k(const uint8_t *block, float *out)
{
    widen_k(block, block + 16, block + 48, out);
}

/* 128 bytes of low nibbles: a run of 128 columns takes 64, the low nibbles first; 64 bytes of 2 high
 * bits as in Q2_K; 16 signed scales of 16 columns each; what multiplies them. */
static void widen_q6_k(const uint8_t *block, float *out)
{
    const uint8_t *const high = block + 128, *const scales = block + 192;
    const float d = half_at(block + 208);
    for (int i = 0; i < LARGE; i++) {
        const int low = block[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
        const int two = high[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
        const float scale = d * (float)(int8_t)scales[i / 16];
        out[i] = scale * (float)((low | two << 4) - 32);
    }
}

/* ---- the list ------------------------------------------------------------------------------ */

static const px_gguf_encoding encodings[] = {
    {"F32", 0, 1, 4, PX_FLOAT_F32, 0, NULL, NULL},
    {"F16", 1, 1, 2, PX_FLOAT_F16, 0, NULL, NULL},
    {"BF16", 30, 1, 2, PX_FLOAT_BF16, 0, NULL, NULL},
    {"Q4_0", 2, SMALL, 18, PX_FLOAT_F32, 4, unpack_q4_0, NULL},
    {"Q4_1", 3, SMALL, 20, PX_FLOAT_F32, 0, NULL, widen_q4_1},
    {"Q5_0", 6, SMALL, 22, PX_FLOAT_F32, 8, unpack_q5_0, NULL},
    {"Q5_1", 7, SMALL, 24, PX_FLOAT_F32, 0, NULL, widen_q5_1},
    {"Q8_0", 8, SMALL, 34, PX_FLOAT_F32, 8, unpack_q8_0, NULL},
    {"Q2_K", 10, LARGE, 84, PX_FLOAT_F32, 0, NULL, widen_q2_k},
    {"Q3_K", 11, LARGE, 110, PX_FLOAT_F32, 0, NULL, widen_q3_k},
    {"Q4_K", 12, LARGE, 144, PX_FLOAT_F32, 0, NULL, widen_q4_k},
    {"Q5_K", 13, LARGE, 176, PX_FLOAT_F32, 0, NULL, widen_q5_k},
    {"Q6_K", 14, LARGE, 210, PX_FLOAT_F32, 0, NULL, widen_q6_k},
    {"IQ4_NL", 20, SMALL, 18, PX_FLOAT_F32, 8, unpack_iq4_nl, NULL},
};

const px_gguf_encoding *px_gguf_encoding_of(uint32_t id)
{
    for (size_t i = 0; i < PX_COUNT(encodings); i++)
        if (encodings[i].id == id) return &encodings[i];
    return NULL;
}

const px_gguf_encoding *px_gguf_encoding_named(const char *name)
{
    for (size_t i = 0; i < PX_COUNT(encodings); i++)
        if (strcmp(encodings[i].name, name) == 0) return &encodings[i];
    return NULL;
}

const char *px_gguf_encoding_name(uint32_t id)
{
    static const char *const others[] = {
        [9] = "Q8_1",     [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
        [19] = "IQ1_S",   [21] = "IQ3_S", [22] = "IQ2_S",   [23] = "IQ4_XS", [24] = "I8",
        [25] = "I16",     [26] = "I32",   [27] = "I64",     [28] = "F64",    [29] = "IQ1_M",
        [34] = "TQ1_0",   [35] = "TQ2_0", [39] = "MXFP4",
    };
    const px_gguf_encoding *const known = px_gguf_encoding_of(id);
    if (known) return known->name;
    return id < PX_COUNT(others) && others[id] ? others[id] : "unknown";
}

static const uint8_t *row_of(const px_tensor *tensor, int64_t row)
{
    return (const uint8_t *)tensor->data + row * tensor->row_bytes;
}

/* Symmetric: there are no zero points to write. */
static void read_integers(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q,
                          float *scales, uint8_t *zeros)
{
    (void)zeros;
    const px_gguf_encoding *const encoding = tensor->source;
    const uint8_t *block = row_of(tensor, begin);
    const int64_t blocks = rows * (tensor->columns / encoding->columns);
    for (int64_t i = 0; i < blocks; i++, block += encoding->bytes, q += encoding->columns)
        encoding->unpack(block, q, &scales[i]);
}

static void load_rows(const px_tensor *tensor, int64_t begin, int64_t rows, float *out)
{
    const px_gguf_encoding *const encoding = tensor->source;
    const uint8_t *block = row_of(tensor, begin);
    const int64_t blocks = rows * (tensor->columns / encoding->columns);
    for (int64_t i = 0; i < blocks; i++, block += encoding->bytes, out += encoding->columns)
        encoding->widen(block, out);
}

void px_gguf_describe(const px_gguf_encoding *encoding, px_tensor *tensor)
{
    tensor->type = encoding->type;
    tensor->row_bytes = tensor->columns / encoding->columns * encoding->bytes;
    tensor->source = encoding;
    if (encoding->unpack)
        tensor->integers = (px_integers){.bits = encoding->bits,
                                         .symmetric = true,
                                         .half_scales = true,
                                         .group_size = encoding->columns,
                                         .read = read_integers};
    if (encoding->widen) tensor->load = load_rows;
    if (encoding->columns > 1) tensor->encoding = encoding->name;
}
