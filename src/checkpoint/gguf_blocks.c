#include "checkpoint/gguf_blocks.h"

#include "base/half.h"

#include <string.h>

enum {
    SMALL = 32,  /* columns of a block */
    LARGE = 256, /* of one whose scales are steps */
    NONE = -1
};

static float half_at(const uint8_t *data)
{
    return px_f16_to_f32((uint16_t)(data[0] | data[1] << 8));
}

/* ---- blocks of 32 -------------------------------------------------------------------------- */

/* scale, 32 signed bytes */
static void unpack_q8_0(const uint8_t *block, uint8_t *q)
{
    for (int i = 0; i < SMALL; i++) q[i] = block[2 + i] ^ 0x80;
}

/* 16 bytes: the low nibbles are columns 0 to 15, the high ones 16 to 31 */
static void unpack_nibbles(const uint8_t *nibbles, uint8_t *q)
{
    for (int i = 0; i < SMALL / 2; i++) {
        q[i] = nibbles[i] & 15;
        q[i + SMALL / 2] = nibbles[i] >> 4;
    }
}

/* scale, nibbles */
static void unpack_q4_0(const uint8_t *block, uint8_t *q)
{
    unpack_nibbles(block + 2, q);
}

/* scale, minimum, nibbles */
static void unpack_q4_1(const uint8_t *block, uint8_t *q)
{
    unpack_nibbles(block + 4, q);
}

/* Five bits of a column: nibbles as in Q4_0, the highest bits of all columns in one word. */
static int five_bits(const uint8_t *high, const uint8_t *nibbles, int column)
{
    const int half = column / (SMALL / 2);
    const int low = nibbles[column % (SMALL / 2)] >> 4 * half & 15;
    return low | (high[column / 8] >> column % 8 & 1) << 4;
}

/* scale, 4 bytes of high bits, nibbles; -16 to 15 */
static void unpack_q5_0(const uint8_t *block, uint8_t *q)
{
    for (int i = 0; i < SMALL; i++) q[i] = (uint8_t)(five_bits(block + 2, block + 6, i) + 112);
}

/* scale, minimum, high bits, nibbles; 0 to 31 */
static void unpack_q5_1(const uint8_t *block, uint8_t *q)
{
    for (int i = 0; i < SMALL; i++) q[i] = (uint8_t)five_bits(block + 4, block + 8, i);
}

/* As Q4_0, but a nibble is the index of one of 16 values. */
static void unpack_iq4_nl(const uint8_t *block, uint8_t *q)
{
    static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
    for (int i = 0; i < SMALL / 2; i++) {
        q[i] = (uint8_t)(values[block[2 + i] & 15] + 128);
        q[i + SMALL / 2] = (uint8_t)(values[block[2 + i] >> 4] + 128);
    }
}

/* ---- blocks of 256 ------------------------------------------------------------------------- */

/* Two bits of a column: a run of 128 takes 32 bytes, of which byte j has the columns j, 32 + j, 64 + j,
 * 96 + j. */
static int two_bits(const uint8_t *bytes, int column)
{
    return bytes[column / 128 * 32 + column % 32] >> column % 128 / 32 * 2 & 3;
}

/* 16 bytes: steps of scale and minimum of each 16 columns, 4 bits each; 64 bytes of 2 bits; scale;
 * minimum, which is taken off. */
static void unpack_q2_k(const uint8_t *block, uint8_t *q)
{
    for (int i = 0; i < LARGE; i++) q[i] = (uint8_t)two_bits(block + 16, i);
}

static void steps_q2_k(const uint8_t *block, int8_t *scales, int8_t *minima)
{
    for (int group = 0; group < LARGE / 16; group++) {
        scales[group] = block[group] & 15;
        minima[group] = (int8_t)(block[group] >> 4);
    }
}

/* 32 bytes: bit k of byte j is set where 4 is not taken off column 32 k + j; 64 bytes of 2 bits; 12
 * bytes: steps of 6 bits of each 16 columns; scale. */
static void unpack_q3_k(const uint8_t *block, uint8_t *q)
{
    for (int i = 0; i < LARGE; i++)
        q[i] = (uint8_t)(two_bits(block + 32, i) + (block[i % 32] >> i / 32 & 1 ? 8 : 4));
}

static void steps_q3_k(const uint8_t *block, int8_t *scales, int8_t *minima)
{
    (void)minima;
    const uint8_t *const packed = block + 96;
    for (int group = 0; group < LARGE / 16; group++) {
        const int low = packed[group % 8] >> group / 8 * 4 & 15;
        const int high = packed[8 + group % 4] >> group / 4 * 2 & 3;
        scales[group] = (int8_t)((low | high << 4) - 32);
    }
}

/* Scale; minimum, which is taken off; 12 bytes with the steps of both; for Q5_K 32 bytes: bit k of byte
 * j is the highest of column 32 k + j; 128 bytes of nibbles: a run of 64 columns takes 32, the low
 * nibbles first. */
static void unpack_k(const uint8_t *high, const uint8_t *nibbles, uint8_t *q)
{
    for (int group = 0; group < LARGE / 32; group++) {
        for (int j = 0; j < 32; j++) {
            const int low = nibbles[group / 2 * 32 + j] >> group % 2 * 4 & 15;
            const int top = high ? high[j] >> group & 1 : 0;
            *q++ = (uint8_t)(low | top << 4);
        }
    }
}

static void unpack_q4_k(const uint8_t *block, uint8_t *q)
{
    unpack_k(NULL, block + 16, q);
}

static void unpack_q5_k(const uint8_t *block, uint8_t *q)
{
    unpack_k(block + 16, block + 48, q);
}

/* Of 6 bits. */
static void steps_k(const uint8_t *block, int8_t *scales, int8_t *minima)
{
    const uint8_t *const packed = block + 4;
    for (int group = 0; group < 4; group++) {
        scales[group] = packed[group] & 63;
        minima[group] = packed[4 + group] & 63;
        scales[4 + group] = (int8_t)((packed[8 + group] & 15) | packed[group] >> 6 << 4);
        minima[4 + group] = (int8_t)(packed[8 + group] >> 4 | packed[4 + group] >> 6 << 4);
    }
}

/* 128 bytes of low nibbles: a run of 128 columns takes 64, the low nibbles first; 64 bytes of two high
 * bits; 16 signed steps of 16 columns each; scale. -32 to 31. */
static void unpack_q6_k(const uint8_t *block, uint8_t *q)
{
    for (int i = 0; i < LARGE; i++) {
        const int low = block[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
        q[i] = (uint8_t)((low | two_bits(block + 128, i) << 4) - 32 + 128);
    }
}

static void steps_q6_k(const uint8_t *block, int8_t *scales, int8_t *minima)
{
    (void)minima;
    for (int group = 0; group < LARGE / 16; group++) scales[group] = (int8_t)block[192 + group];
}

/* ---- the list ------------------------------------------------------------------------------ */

static const px_gguf_encoding encodings[] = {
    {"F32", 0, 1, 4, PX_FLOAT_F32, 0, 0, 0, 0, NULL, NULL},
    {"F16", 1, 1, 2, PX_FLOAT_F16, 0, 0, 0, 0, NULL, NULL},
    {"BF16", 30, 1, 2, PX_FLOAT_BF16, 0, 0, 0, 0, NULL, NULL},
    {"Q4_0", 2, SMALL, 18, PX_FLOAT_F32, 4, 32, 0, NONE, unpack_q4_0, NULL},
    {"Q4_1", 3, SMALL, 20, PX_FLOAT_F32, 4, 32, 0, 2, unpack_q4_1, NULL},
    {"Q5_0", 6, SMALL, 22, PX_FLOAT_F32, 8, 32, 0, NONE, unpack_q5_0, NULL},
    {"Q5_1", 7, SMALL, 24, PX_FLOAT_F32, 8, 32, 0, 2, unpack_q5_1, NULL},
    {"Q8_0", 8, SMALL, 34, PX_FLOAT_F32, 8, 32, 0, NONE, unpack_q8_0, NULL},
    {"Q2_K", 10, LARGE, 84, PX_FLOAT_F32, 4, 16, 80, 82, unpack_q2_k, steps_q2_k},
    {"Q3_K", 11, LARGE, 110, PX_FLOAT_F32, 4, 16, 108, NONE, unpack_q3_k, steps_q3_k},
    {"Q4_K", 12, LARGE, 144, PX_FLOAT_F32, 4, 32, 0, 2, unpack_q4_k, steps_k},
    {"Q5_K", 13, LARGE, 176, PX_FLOAT_F32, 8, 32, 0, 2, unpack_q5_k, steps_k},
    {"Q6_K", 14, LARGE, 210, PX_FLOAT_F32, 8, 16, 208, NONE, unpack_q6_k, steps_q6_k},
    {"IQ4_NL", 20, SMALL, 18, PX_FLOAT_F32, 8, 32, 0, NONE, unpack_iq4_nl, NULL},
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

static bool has_minima(const px_gguf_encoding *encoding)
{
    return encoding->minimum_at != NONE;
}

/* The scale of a block, and its minimum, which the larger blocks take off. */
static float scale_of(const px_gguf_encoding *encoding, const uint8_t *block)
{
    return half_at(block + encoding->scale_at);
}

static float minimum_of(const px_gguf_encoding *encoding, const uint8_t *block)
{
    const float minimum = half_at(block + encoding->minimum_at);
    return encoding->steps ? -minimum : minimum;
}

/* Those of the groups; minima may be NULL. */
static void read_scales(const px_gguf_encoding *encoding, const uint8_t *block, float *scales,
                        float *minima)
{
    const int groups = encoding->columns / encoding->group;
    int8_t scale_steps[LARGE / 16] = {1}, minimum_steps[LARGE / 16] = {1};
    if (encoding->steps) encoding->steps(block, scale_steps, minimum_steps);
    for (int group = 0; group < groups; group++)
        scales[group] = scale_of(encoding, block) * (float)scale_steps[group];
    for (int group = 0; minima && group < groups; group++)
        minima[group] = minimum_of(encoding, block) * (float)minimum_steps[group];
}

/* Symmetric or with minima: there are no zero points to write. */
static void read_integers(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q,
                          float *scales, uint8_t *zeros)
{
    (void)zeros;
    const px_gguf_encoding *const encoding = tensor->source;
    const uint8_t *block = row_of(tensor, begin);
    const int64_t blocks = rows * (tensor->columns / encoding->columns);
    for (int64_t i = 0; i < blocks; i++, block += encoding->bytes, q += encoding->columns) {
        encoding->unpack(block, q);
        read_scales(encoding, block, scales, NULL);
        scales += encoding->columns / encoding->group;
    }
}

static void read_minima(const px_tensor *tensor, int64_t begin, int64_t rows, float *minima)
{
    const px_gguf_encoding *const encoding = tensor->source;
    const uint8_t *block = row_of(tensor, begin);
    const int64_t blocks = rows * (tensor->columns / encoding->columns);
    for (int64_t i = 0; i < blocks; i++, block += encoding->bytes) {
        float scales[LARGE / 16];
        read_scales(encoding, block, scales, minima);
        minima += encoding->columns / encoding->group;
    }
}

static void read_steps(const px_tensor *tensor, int64_t begin, int64_t rows, bool of_minima,
                       int8_t *steps, float *scales)
{
    const px_gguf_encoding *const encoding = tensor->source;
    const uint8_t *block = row_of(tensor, begin);
    const int64_t blocks = rows * (tensor->columns / encoding->columns);
    for (int64_t i = 0; i < blocks; i++, block += encoding->bytes) {
        int8_t other[LARGE / 16];
        encoding->steps(block, of_minima ? other : steps, of_minima ? steps : other);
        *scales++ = of_minima ? minimum_of(encoding, block) : scale_of(encoding, block);
        steps += encoding->columns / encoding->group;
    }
}

/* One block as floats, in the order in which ggml rounds. */
static void widen(const px_gguf_encoding *encoding, const uint8_t *block, float *out)
{
    uint8_t q[LARGE];
    float scales[LARGE / 16], minima[LARGE / 16];
    const bool adds = has_minima(encoding);
    const int zero = adds ? 0 : encoding->bits == 4 ? 8 : 128;
    encoding->unpack(block, q);
    read_scales(encoding, block, scales, adds ? minima : NULL);
    for (int i = 0; i < encoding->columns; i++) {
        const int group = i / encoding->group;
        out[i] = scales[group] * (float)(q[i] - zero);
        if (adds) out[i] += minima[group];
    }
}

static void load_rows(const px_tensor *tensor, int64_t begin, int64_t rows, float *out)
{
    const px_gguf_encoding *const encoding = tensor->source;
    const uint8_t *block = row_of(tensor, begin);
    const int64_t blocks = rows * (tensor->columns / encoding->columns);
    for (int64_t i = 0; i < blocks; i++, block += encoding->bytes, out += encoding->columns)
        widen(encoding, block, out);
}

void px_gguf_describe(const px_gguf_encoding *encoding, px_tensor *tensor)
{
    tensor->type = encoding->type;
    tensor->row_bytes = tensor->columns / encoding->columns * encoding->bytes;
    tensor->source = encoding;
    if (encoding->columns == 1) return;
    const bool minima = has_minima(encoding);
    tensor->integers = (px_integers){.bits = encoding->bits,
                                     .symmetric = !minima,
                                     .half_scales = true,
                                     .group_size = encoding->group,
                                     .read = read_integers,
                                     .read_minima = minima ? read_minima : NULL,
                                     .read_steps = encoding->steps ? read_steps : NULL};
    if (minima || encoding->steps) tensor->load = load_rows;
    tensor->encoding = encoding->name;
}
