/*
 * The kernels in plain C: what every faster version is compared with, and what runs where there is
 * none. Written to be read; sums are float32 in eight lanes (column modulo 8), added up at the end.
 */
#include "kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/memory.h"

enum { LANES = 8 };

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

/* The integer in a packed row. */
static int packed_value(const px_weight *w, const unsigned char *packed, int64_t column)
{
    if (w->type == PX_WEIGHT_I8) return packed[column];
    const int64_t in_block = column % PX_COLUMN_BLOCK;
    const unsigned char byte = packed[column / PX_COLUMN_BLOCK * 16 + in_block % 16];
    return in_block < 16 ? byte & 15 : byte >> 4;
}

static int zero_point(const px_weight *w, int64_t index)
{
    if (w->zeros != NULL) return w->zeros[index];
    return w->type == PX_WEIGHT_I8 ? 128 : 8;
}

/* Columns begin to end of one row as float32. */
static void load_integers(const px_weight *w, int64_t row, int64_t begin, int64_t end, float *out)
{
    const unsigned char *packed = weight_row(w, row);
    const int64_t first_group = row * px_weight_groups(w);
    for (int64_t c = begin; c < end; c++) {
        const int64_t group = first_group + c / w->group_size;
        const int value = packed_value(w, packed, c) - zero_point(w, group);
        out[c - begin] = (float)value * w->scales[group];
    }
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
    case PX_WEIGHT_I4: load_integers(w, row, begin, end, out); break;
    case PX_WEIGHT_TYPES: break;
    }
}

static float add_lanes(const float lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* The dot product of a dequantized row with float32 activations. */
static float dot_f32(const px_weight *w, int64_t row, const float *x)
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

/* The dot product of an integer row with q8 activations. Blocks and groups cut the columns into
 * spans with one scale each; within a span everything is an exact integer. */
static float dot_q8(const px_weight *w, int64_t row, const int8_t *q, const float *q_scale)
{
    const unsigned char *packed = weight_row(w, row);
    const int64_t first_group = row * px_weight_groups(w);
    float sum = 0;
    for (int64_t begin = 0, end; begin < w->columns; begin = end) {
        const int64_t block = begin / PX_COLUMN_BLOCK, group = begin / w->group_size;
        end = PX_MIN((block + 1) * PX_COLUMN_BLOCK, w->columns);
        end = PX_MIN((group + 1) * w->group_size, end);
        const int zero = zero_point(w, first_group + group);
        int32_t dot = 0;
        for (int64_t c = begin; c < end; c++) dot += (packed_value(w, packed, c) - zero) * q[c];
        sum += (float)dot * (w->scales[first_group + group] * q_scale[block]);
    }
    return sum;
}

void px_reference_matmul(const px_weight *w, int64_t row_begin, int64_t row_end,
                         const px_activation *x, float *y, int64_t y_stride)
{
    const bool integer = w->type == PX_WEIGHT_I8 || w->type == PX_WEIGHT_I4;
    const int64_t blocks = (w->columns + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK;
    for (int64_t t = 0; t < x->tokens; t++) {
        float *out = y + t * y_stride;
        for (int64_t r = row_begin; r < row_end; r++) {
            if (integer && x->q8 != NULL)
                out[r] = dot_q8(w, r, x->q8 + t * blocks * PX_COLUMN_BLOCK,
                                x->q8_scale + t * blocks);
            else
                out[r] = dot_f32(w, r, x->f32 + t * x->f32_stride);
        }
    }
}

static void dequantize(const px_weight *w, int64_t row, float *out)
{
    load_columns(w, row, 0, w->columns, out);
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

static void quantize(const float *x, int64_t columns, int8_t *q, float *scale, int32_t *sum)
{
    for (int64_t begin = 0; begin < columns; begin += PX_COLUMN_BLOCK) {
        const int64_t block = begin / PX_COLUMN_BLOCK;
        quantize_block(x + begin, PX_MIN(PX_COLUMN_BLOCK, columns - begin), q + begin, scale + block,
                       sum + block);
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
    kernels->quantize = quantize;
    kernels->rms_norm = rms_norm;
    kernels->swiglu = swiglu;
    kernels->add = add;
    kernels->rope = rope;
    kernels->cache_store[PX_CACHE_F32] = cache_store_f32;
    kernels->cache_store[PX_CACHE_F16] = cache_store_f16;
    kernels->attention_scores[PX_CACHE_F32] = scores_f32;
    kernels->attention_scores[PX_CACHE_F16] = scores_f16;
    kernels->attention_mix[PX_CACHE_F32] = mix_f32;
    kernels->attention_mix[PX_CACHE_F16] = mix_f16;
    kernels->softmax = softmax;
}
