/*
 * The kernels in plain C: what every faster version is compared with, and what runs where there is
 * none. Written to be read. Sums over float weights run in eight lanes (column modulo 8), added up at
 * the end; those over integer weights are the same to the bit on every instruction set.
 */
#include "kernels/integer.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"

enum {
    LANES = 8,
    LINE = PX_ROW_TILE * 4 /* bytes from four columns of an integer row to the next four */
};

/* The weights may lie at any even address: every load goes through memcpy. */
static uint16_t load_u16(const unsigned char *p)
{
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static const unsigned char *weight_row(const px_weight *w, int64_t row)
{
    return (const unsigned char *)w->data + row * w->row_bytes;
}

/* Columns begin to end, all of one group and one block, of one row: q - zero. */
static void load_integers(const px_weight *w, int64_t row, int64_t begin, int64_t end, int *out)
{
    const int64_t group = px_weight_group_index(w, row, begin / w->group_size);
    const int zero = w->zeros != NULL ? w->zeros[group] : px_constant_zero(w->type, w);
    const int64_t first = begin / PX_COLUMN_BLOCK * PX_COLUMN_BLOCK;
    const int64_t half = first + PX_COLUMN_BLOCK / 2;
    bool high;
    const unsigned char *const block =
        (const unsigned char *)w->data + px_weight_offset(w, row, first, &high);
    for (int64_t c = begin; c < end; c++) {
        int q;
        if (w->type == PX_WEIGHT_I8)
            q = block[(c - first) / 4 * LINE + c % 4];
        else if (c < half)
            q = block[(c - first) / 4 * LINE + c % 4] & 15;
        else
            q = block[(c - half) / 4 * LINE + c % 4] >> 4;
        out[c - begin] = q - zero;
    }
}

/* The end of what begins at a column and lies in one block and one group. */
static int64_t span_end(const px_weight *w, int64_t begin)
{
    const int64_t block_end = (begin / PX_COLUMN_BLOCK + 1) * PX_COLUMN_BLOCK;
    const int64_t group_end = (begin / w->group_size + 1) * w->group_size;
    return PX_MIN(PX_MIN(block_end, group_end), w->columns);
}

static bool ends_group(const px_weight *w, int64_t end)
{
    return end % w->group_size == 0 || end == w->columns;
}

static void load_columns(const px_weight *w, int64_t row, int64_t begin, int64_t end, float *out)
{
    const unsigned char *data = weight_row(w, row);
    switch (w->type) {
    case PX_WEIGHT_F32: memcpy(out, data + begin * 4, (size_t)(end - begin) * 4); break;
    case PX_WEIGHT_F16:
        for (int64_t c = begin; c < end; c++)
            out[c - begin] = px_f16_to_f32(load_u16(data + c * 2));
        break;
    case PX_WEIGHT_BF16:
        for (int64_t c = begin; c < end; c++)
            out[c - begin] = px_bf16_to_f32(load_u16(data + c * 2));
        break;
    case PX_WEIGHT_I8:
    case PX_WEIGHT_I4:
    case PX_WEIGHT_TYPES: break;
    }
}

static float add_lanes(const float lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* The dot product of a row of floats with float32 activations. */
static float dot_floats(const px_weight *w, int64_t row, const float *x)
{
    float lane[LANES] = {0};
    for (int64_t begin = 0; begin < w->columns; begin += PX_COLUMN_BLOCK) {
        const int64_t end = PX_MIN(begin + PX_COLUMN_BLOCK, w->columns);
        float value[PX_COLUMN_BLOCK] = {0};
        load_columns(w, row, begin, end, value);
        for (int64_t c = begin; c < end; c++) lane[c % LANES] += value[c - begin] * x[c];
    }
    return add_lanes(lane);
}

/* The scale and the minimum of a row in the group of a column. */
static float row_scale(const px_weight *w, int64_t row, int64_t column)
{
    return px_weight_scale(w, px_weight_group_index(w, row, column / w->group_size));
}

static float row_minimum(const px_weight *w, int64_t row, int64_t column)
{
    return px_weight_minimum(w, px_weight_group_index(w, row, column / w->group_size));
}

static float add_parts(const float part[4])
{
    return (part[0] + part[2]) + (part[1] + part[3]);
}

/* The dot product of an integer row with float32 activations. */
static float dot_exact(const px_weight *w, int64_t row, const float *x)
{
    float total = 0, part[4] = {0}, sum[4] = {0};
    for (int64_t begin = 0, end; begin < w->columns; begin = end) {
        end = span_end(w, begin);
        int value[PX_COLUMN_BLOCK];
        load_integers(w, row, begin, end, value);
        for (int64_t c = begin; c < end; c++) {
            part[c % 4] = fmaf((float)value[c - begin], x[c], part[c % 4]);
            sum[c % 4] += x[c];
        }
        if (!ends_group(w, end)) continue;
        if (w->minima != NULL) total = fmaf(add_parts(sum), row_minimum(w, row, begin), total);
        total = fmaf(add_parts(part), row_scale(w, row, begin), total);
        memset(part, 0, sizeof part);
        memset(sum, 0, sizeof sum);
    }
    return total;
}

/* The dot products of an integer row with a tile of T tokens. Blocks and groups cut the columns into
 * spans with one scale each; within a span everything is an exact integer. */
static void dot_q8(const px_weight *w, int64_t row, const px_token_tile *x, float *total)
{
    const int64_t T = x->tokens;
    float part[PX_TOKEN_TILE] = {0};
    memset(total, 0, (size_t)T * sizeof *total);
    for (int64_t begin = 0, end; begin < w->columns; begin = end) {
        end = span_end(w, begin);
        int value[PX_COLUMN_BLOCK];
        load_integers(w, row, begin, end, value);
        const float minimum = w->minima != NULL ? row_minimum(w, row, begin) : 0;
        for (int64_t t = 0; t < T; t++) {
            const float x_scale = x->scale[begin / PX_COLUMN_BLOCK * T + t];
            int32_t dot = 0, sum = 0;
            for (int64_t c = begin; c < end; c++) {
                const int q8 = x->q8[(c / 4 * T + t) * 4 + c % 4];
                dot += value[c - begin] * q8;
                sum += q8;
            }
            part[t] = fmaf((float)dot, x_scale, part[t]);
            if (w->minima != NULL) total[t] = fmaf(x_scale * (float)sum, minimum, total[t]);
        }
        if (!ends_group(w, end)) continue;
        const float scale = row_scale(w, row, begin);
        for (int64_t t = 0; t < T; t++) total[t] = fmaf(part[t], scale, total[t]);
        memset(part, 0, sizeof part);
    }
}

static void matmul_tiles(const px_weight *w, int64_t begin, int64_t end, const px_token_tile *x,
                         float *out, int64_t out_stride)
{
    for (int64_t r = begin * PX_ROW_TILE; r < end * PX_ROW_TILE; r++, out++) {
        float total[PX_TOKEN_TILE];
        dot_q8(w, r, x, total);
        for (int64_t t = 0; t < x->tokens; t++) out[t * out_stride] = total[t];
    }
}

static void matmul_q8(const px_weight *w, int64_t row_begin, int64_t row_end,
                      const px_activation *x, float *y, int64_t y_stride)
{
    for (int64_t token = 0; token < x->tokens; token += PX_TOKEN_TILE) {
        const px_token_tile tile = px_activation_tile(x, token);
        for (int64_t r = row_begin; r < row_end; r++) {
            float total[PX_TOKEN_TILE];
            dot_q8(w, r, &tile, total);
            for (int64_t t = 0; t < tile.tokens; t++) y[(token + t) * y_stride + r] = total[t];
        }
    }
}

void px_reference_matmul(const px_weight *w, int64_t row_begin, int64_t row_end,
                         const px_activation *x, float *y, int64_t y_stride)
{
    const bool integer = w->type == PX_WEIGHT_I8 || w->type == PX_WEIGHT_I4;
    if (integer && x->q8 != NULL) {
        matmul_q8(w, row_begin, row_end, x, y, y_stride);
        return;
    }
    for (int64_t t = 0; t < x->tokens; t++) {
        const float *const in = x->f32 + t * x->f32_stride;
        float *const out = y + t * y_stride;
        for (int64_t r = row_begin; r < row_end; r++)
            out[r] = integer ? dot_exact(w, r, in) : dot_floats(w, r, in);
    }
}

static void dequantize(const px_weight *w, int64_t row, float *out)
{
    load_columns(w, row, 0, w->columns, out);
}

static void dequantize_integers(const px_weight *w, int64_t row, float *out)
{
    for (int64_t begin = 0, end; begin < w->columns; begin = end) {
        end = span_end(w, begin);
        int value[PX_COLUMN_BLOCK];
        load_integers(w, row, begin, end, value);
        const float scale = row_scale(w, row, begin);
        for (int64_t c = begin; c < end; c++) out[c] = (float)value[c - begin] * scale;
        if (w->minima == NULL) continue;
        const float minimum = row_minimum(w, row, begin);
        for (int64_t c = begin; c < end; c++) out[c] += minimum;
    }
}

/* One block of at most 32 values. */
static void quantize_block(const float *x, int64_t count, int8_t *q, float *scale, int32_t *sum)
{
    memset(q, 0, PX_COLUMN_BLOCK);
    *sum = 0;
    uint32_t largest = 0; /* of the magnitudes' bits, which order as the magnitudes do, NaN last */
    for (int64_t i = 0; i < count; i++)
        largest = PX_MAX(largest, px_bits_of_float(x[i]) & 0x7fffffffu);

    *scale = px_float_of_bits(largest) / 127.0f;
    if (!(*scale <= FLT_MAX)) { /* not a number or infinite: let the product become NaN */
        *scale = NAN;
        return;
    }
    if (*scale < FLT_MIN) {
        *scale = 0;
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        q[i] = (int8_t)nearbyintf(x[i] / *scale);
        *sum += q[i];
    }
}

static void quantize(const float *x, int64_t columns, int token, int tokens, int8_t *q,
                     float *scale, int32_t *sum)
{
    for (int64_t block = 0; block < px_column_blocks(columns); block++) {
        const int64_t begin = block * PX_COLUMN_BLOCK, at = block * tokens + token;
        int8_t integer[PX_COLUMN_BLOCK];
        quantize_block(x + begin, PX_MIN(PX_COLUMN_BLOCK, columns - begin), integer, scale + at,
                       sum + at);
        for (int64_t quad = 0; quad < PX_COLUMN_BLOCK / 4; quad++)
            memcpy(q + ((block * 8 + quad) * tokens + token) * 4, integer + 4 * quad, 4);
    }
}

static void quantize_fine(const float *x, int64_t columns, int token, int tokens, int8_t *q,
                          float *scale, int32_t *sum)
{
    for (int64_t block = 0; block < px_column_blocks(columns); block++) {
        const int64_t begin = block * PX_COLUMN_BLOCK;
        const int64_t count = PX_MIN(PX_COLUMN_BLOCK, columns - begin);
        int8_t integer[PX_COLUMN_BLOCK];
        float rest[PX_COLUMN_BLOCK];
        memcpy(rest, x + begin, (size_t)count * sizeof *rest);
        for (int64_t i = 0; i < 2; i++) {
            const int64_t at = (block * tokens + token) * 2 + i;
            quantize_block(rest, count, integer, scale + at, sum + at);
            for (int64_t quad = 0; quad < PX_COLUMN_BLOCK / 4; quad++)
                memcpy(q + (((block * 8 + quad) * tokens + token) * 2 + i) * 4, integer + 4 * quad, 4);
            for (int64_t c = 0; c < count; c++)
                rest[c] = fmaf(-(float)integer[c], scale[at], rest[c]);
        }
    }
}

static void rms_norm(const float *x, const float *gain, int64_t n, float epsilon, float *out)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    const float inverse = 1.0f / sqrtf((float)(sum / (double)n) + epsilon);
    for (int64_t i = 0; i < n; i++) out[i] = x[i] * inverse * gain[i];
}

static void swiglu(const float *gate, const float *up, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void add(float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] += y[i];
}

static void multiply(float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] *= y[i];
}

static void rope(float *x, const float *cosine, const float *sine, int64_t rotary_dim)
{
    const int64_t half = rotary_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[half + i];
        x[i] = a * cosine[i] - b * sine[i];
        x[half + i] = b * cosine[i] + a * sine[i];
    }
}

static void cache_store_f32(const float *x, void *row, int64_t head_dim)
{
    memcpy(row, x, (size_t)head_dim * sizeof *x);
}

static void cache_store_f16(const float *x, void *row, int64_t head_dim)
{
    uint16_t *out = row;
    for (int64_t i = 0; i < head_dim; i++) out[i] = px_f32_to_f16(x[i]);
}

static void scores_f32(const float *q, const void *key, int64_t keys, int64_t head_dim, float scale,
                       float *scores)
{
    const float *k = key;
    for (int64_t j = 0; j < keys; j++, k += head_dim) {
        float lane[LANES] = {0};
        for (int64_t i = 0; i < head_dim; i++) lane[i % LANES] += q[i] * k[i];
        scores[j] = scale * add_lanes(lane);
    }
}

static void scores_f16(const float *q, const void *key, int64_t keys, int64_t head_dim, float scale,
                       float *scores)
{
    const uint16_t *k = key;
    for (int64_t j = 0; j < keys; j++, k += head_dim) {
        float lane[LANES] = {0};
        for (int64_t i = 0; i < head_dim; i++) lane[i % LANES] += q[i] * px_f16_to_f32(k[i]);
        scores[j] = scale * add_lanes(lane);
    }
}

static void mix_f32(const float *weights, const void *value, int64_t keys, int64_t head_dim,
                    float *out)
{
    const float *v = value;
    for (int64_t j = 0; j < keys; j++, v += head_dim)
        for (int64_t i = 0; i < head_dim; i++) out[i] += weights[j] * v[i];
}

static void mix_f16(const float *weights, const void *value, int64_t keys, int64_t head_dim,
                    float *out)
{
    const uint16_t *v = value;
    for (int64_t j = 0; j < keys; j++, v += head_dim)
        for (int64_t i = 0; i < head_dim; i++) out[i] += weights[j] * px_f16_to_f32(v[i]);
}

static void softmax(float *x, int64_t n)
{
    float largest = -INFINITY;
    for (int64_t i = 0; i < n; i++) largest = PX_MAX(largest, x[i]);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - largest);
        sum += x[i];
    }
    const float inverse = (float)(1.0 / sum);
    for (int64_t i = 0; i < n; i++) x[i] *= inverse;
}

void px_kernels_reference(px_kernels *kernels)
{
    kernels->name = "reference";
    for (int type = 0; type < PX_WEIGHT_TYPES; type++) {
        kernels->matmul[type] = px_reference_matmul;
        kernels->dequantize[type] = dequantize;
    }
    kernels->dequantize[PX_WEIGHT_I8] = dequantize_integers;
    kernels->dequantize[PX_WEIGHT_I4] = dequantize_integers;
    kernels->matmul_q8[PX_WEIGHT_I8] = px_reference_matmul;
    kernels->matmul_q8[PX_WEIGHT_I4] = px_reference_matmul;
    kernels->matmul_tiles[PX_WEIGHT_I8] = matmul_tiles;
    kernels->matmul_tiles[PX_WEIGHT_I4] = matmul_tiles;
    kernels->quantize = quantize;
    kernels->quantize_fine = quantize_fine;
    kernels->rms_norm = rms_norm;
    kernels->swiglu = swiglu;
    kernels->add = add;
    kernels->multiply = multiply;
    kernels->rope = rope;
    kernels->cache_store[PX_CACHE_F32] = cache_store_f32;
    kernels->cache_store[PX_CACHE_F16] = cache_store_f16;
    kernels->attention_scores[PX_CACHE_F32] = scores_f32;
    kernels->attention_scores[PX_CACHE_F16] = scores_f16;
    kernels->attention_mix[PX_CACHE_F32] = mix_f32;
    kernels->attention_mix[PX_CACHE_F16] = mix_f16;
    kernels->softmax = softmax;
}
