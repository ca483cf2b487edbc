#include "checkpoint/gguf_quantize.h"

#include "base/half.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* False where float16 cannot hold the value. */
static bool put_half(uint8_t *out, float value)
{
    const uint16_t half = px_f32_to_f16(value);
    out[0] = (uint8_t)half;
    out[1] = (uint8_t)(half >> 8);
    return (half & 0x7c00) != 0x7c00;
}

/* What values are multiplied by; 0 for scales so small that float16 makes them 0 as well. */
static float inverse_of(float scale)
{
    const float inverse = scale != 0 ? 1 / scale : 0;
    return isfinite(inverse) ? inverse : 0;
}

/* Low nibbles are the columns 0 to 15, high ones 16 to 31. */
static void put_nibbles(const uint8_t *q, uint8_t *out)
{
    for (int i = 0; i < PX_GGUF_BLOCK / 2; i++)
        out[i] = (uint8_t)((q[i] & 15) | (q[i + PX_GGUF_BLOCK / 2] & 15) << 4);
}

/* ---- from floats --------------------------------------------------------------------------- */

static bool quantize_q8_0(const float *values, uint8_t *block)
{
    float most = 0;
    for (int i = 0; i < PX_GGUF_BLOCK; i++) most = PX_MAX(most, fabsf(values[i]));
    const float scale = most / 127, inverse = inverse_of(scale);
    for (int i = 0; i < PX_GGUF_BLOCK; i++)
        block[2 + i] = (uint8_t)(int8_t)roundf(values[i] * inverse);
    return put_half(block, scale);
}

/* The value of largest magnitude, the first of equal ones, becomes -8. */
static bool quantize_q4_0(const float *values, uint8_t *block)
{
    float largest = 0;
    for (int i = 0; i < PX_GGUF_BLOCK; i++)
        if (fabsf(values[i]) > fabsf(largest)) largest = values[i];
    const float scale = largest / -8, inverse = inverse_of(scale);
    uint8_t q[PX_GGUF_BLOCK];
    for (int i = 0; i < PX_GGUF_BLOCK; i++)
        q[i] = (uint8_t)PX_MIN(15, (int)(values[i] * inverse + 8.5f));
    put_nibbles(q, block + 2);
    return put_half(block, scale);
}

static bool quantize_q4_1(const float *values, uint8_t *block)
{
    float least = values[0], most = values[0];
    for (int i = 1; i < PX_GGUF_BLOCK; i++) {
        if (values[i] < least) least = values[i]; /* of zeros the first, whatever its sign */
        if (values[i] > most) most = values[i];
    }
    const float scale = (most - least) / 15, inverse = inverse_of(scale);
    if (!put_half(block, scale) || !put_half(block + 2, least)) return false;
    uint8_t q[PX_GGUF_BLOCK];
    for (int i = 0; i < PX_GGUF_BLOCK; i++)
        q[i] = (uint8_t)PX_MIN(15, (int)((values[i] - least) * inverse + 0.5f));
    put_nibbles(q, block + 4);
    return true;
}

/* ---- from integers ------------------------------------------------------------------------- */

static void pack_q8_0(const uint8_t *q, uint8_t zero, uint8_t *block)
{
    for (int i = 0; i < PX_GGUF_BLOCK; i++) block[2 + i] = (uint8_t)(q[i] - zero);
}

static void pack_q4_0(const uint8_t *q, uint8_t zero, uint8_t *block)
{
    (void)zero; /* 8, as in the block */
    put_nibbles(q, block + 2);
}

/* Five bits of q - zero + 16: nibbles behind a word of the highest bits. */
static void pack_q5_0(const uint8_t *q, uint8_t zero, uint8_t *block)
{
    uint8_t five[PX_GGUF_BLOCK];
    memset(block + 2, 0, 4);
    for (int i = 0; i < PX_GGUF_BLOCK; i++) {
        five[i] = (uint8_t)(q[i] - zero + 16);
        block[2 + i / 8] |= (uint8_t)((five[i] >> 4 & 1) << i % 8);
    }
    put_nibbles(five, block + 6);
}

/* ---- the list ------------------------------------------------------------------------------ */

static const struct maker {
    const char *name;
    bool (*quantize)(const float *values, uint8_t *block); /* false: float16 cannot hold the scale */
    void (*pack)(const uint8_t *q, uint8_t zero, uint8_t *block); /* but for the scale */
} makers[] = {
    {"Q8_0", quantize_q8_0, pack_q8_0},
    {"Q4_0", quantize_q4_0, pack_q4_0},
    {"Q4_1", quantize_q4_1, NULL},
    {"Q5_0", NULL, pack_q5_0},
};

static const struct maker *maker_of(const px_gguf_encoding *encoding)
{
    for (size_t i = 0; i < PX_COUNT(makers); i++)
        if (strcmp(makers[i].name, encoding->name) == 0) return &makers[i];
    return NULL;
}

phlox_status px_gguf_quantize(const px_gguf_encoding *encoding, const px_export_rows *rows,
                              uint8_t *out, phlox_error *error)
{
    const struct maker *const maker = maker_of(encoding);
    const px_tensor *const tensor = rows->item->tensor;
    const int64_t blocks = tensor->columns / PX_GGUF_BLOCK;
    const float *values = rows->values;
    for (int64_t i = 0; i < rows->rows * blocks; i++, values += PX_GGUF_BLOCK, out += encoding->bytes)
        if (!maker->quantize(values, out))
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s: row %" PRId64 ", columns from %" PRId64
                           ": values too large for the float16 scales of %s; use --weight-format bf16",
                           tensor->file, tensor->name, rows->begin + i / blocks,
                           i % blocks * PX_GGUF_BLOCK, encoding->name);
    return PHLOX_OK;
}

void px_gguf_pack(const px_gguf_encoding *encoding, const px_export_rows *rows, uint8_t *out)
{
    const struct maker *const maker = maker_of(encoding);
    const int64_t columns = rows->item->tensor->columns, size = rows->item->format.group_size;
    const int64_t group_size = size > 0 ? size : columns;
    const uint8_t *q = rows->q;
    for (int64_t row = 0; row < rows->rows; row++) {
        const float *const scales = rows->scales + row * rows->groups;
        const uint8_t *const zeros = rows->zeros + row * rows->groups;
        for (int64_t c = 0; c < columns; c += PX_GGUF_BLOCK) {
            const int64_t group = c / group_size;
            put_half(out, scales[group]);
            maker->pack(q + c, zeros[group], out);
            out += encoding->bytes;
        }
        q += columns;
    }
}

const char *px_gguf_holds_integers(const px_export_item *item)
{
    const px_quant_format *const format = &item->format;
    const int64_t size = format->group_size > 0 ? format->group_size : item->tensor->columns;
    if (item->tensor->columns % PX_GGUF_BLOCK || size % PX_GGUF_BLOCK || !px_export_half_scales(item))
        return NULL;
    if (format->bits == 4) return format->symmetric ? "Q4_0" : "Q5_0";
    return format->symmetric ? "Q8_0" : NULL;
}
