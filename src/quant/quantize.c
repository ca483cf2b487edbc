/*
 * The formulas. Two passes over a group: its range, then its integers, a block of BLOCK values at a
 * time; the loops over a block have a constant length so that every compiler vectorises them.
 *
 * All arithmetic is float32 with one rounding per operation, as NNCF's (this room is compiled
 * without contraction to fused multiply-add).
 */
#include "quant/group.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { LEAF = 128, LANES = 8 };

/* NNCF's guard for empty groups: no scale is smaller (the float32 machine epsilon). */
#define SCALE_MIN 0x1p-23f

/* Adding this to |x| < 2^22 leaves x, rounded half to even, in the low mantissa bits. */
#define ROUND_MAGIC 0x1.8p23f

/* ---- range --------------------------------------------------------------------------------- */

/*
 * The least and the greatest value of a group are found on integers that sort as the values do: the
 * bit pattern, with the magnitude inverted when the sign is set. Reductions over integers vectorise
 * where those over floats may not, and infinities and NaN are the outermost integers.
 */
static inline int32_t key32(uint32_t bits)
{
    return (int32_t)(bits ^ (0x7fffffffu & (0u - (bits >> 31))));
}

static inline int16_t key16(uint16_t bits)
{
    return (int16_t)(uint16_t)(bits ^ (0x7fffu & (0u - (uint32_t)(bits >> 15))));
}

static void range_block32(const uint32_t *restrict bits, int32_t *restrict low,
                          int32_t *restrict high)
{
    int32_t least = *low, greatest = *high;
    for (int i = 0; i < BLOCK; i++) {
        const int32_t key = key32(bits[i]);
        least = key < least ? key : least;
        greatest = key > greatest ? key : greatest;
    }
    *low = least;
    *high = greatest;
}

static void range_block16(const uint16_t *restrict bits, int16_t *restrict low,
                          int16_t *restrict high)
{
    int16_t least = *low, greatest = *high;
    for (int i = 0; i < BLOCK; i++) {
        const int16_t key = key16(bits[i]);
        least = key < least ? key : least;
        greatest = key > greatest ? key : greatest;
    }
    *low = least;
    *high = greatest;
}

static value_range range_f32(const unsigned char *source, size_t count)
{
    int32_t low = INT32_MAX, high = INT32_MIN;
    for (size_t done = 0; done < count; done += BLOCK) {
        uint32_t bits[BLOCK];
        const size_t left = count - done, take = left < BLOCK ? left : BLOCK;
        memcpy(bits, source + done * 4, take * 4);
        for (size_t i = take; i < BLOCK; i++) bits[i] = bits[0];
        range_block32(bits, &low, &high);
    }
    const int32_t infinity = key32(0x7f800000u), negative_infinity = key32(0xff800000u);
    return (value_range){px_float_of_bits((uint32_t)key32((uint32_t)low)),
                         px_float_of_bits((uint32_t)key32((uint32_t)high)),
                         low > negative_infinity && high < infinity};
}

static value_range range_16(px_float_type type, const unsigned char *source, size_t count)
{
    int16_t low = INT16_MAX, high = INT16_MIN;
    for (size_t done = 0; done < count; done += BLOCK) {
        uint16_t bits[BLOCK];
        const size_t left = count - done, take = left < BLOCK ? left : BLOCK;
        memcpy(bits, source + done * 2, take * 2);
        for (size_t i = take; i < BLOCK; i++) bits[i] = bits[0];
        range_block16(bits, &low, &high);
    }
    const bool half = type == PX_FLOAT_F16;
    const uint16_t infinity = half ? 0x7c00u : 0x7f80u;
    const uint16_t least = (uint16_t)key16((uint16_t)low);
    const uint16_t greatest = (uint16_t)key16((uint16_t)high);
    return (value_range){half ? px_f16_exact(least) : px_bf16_to_f32(least),
                         half ? px_f16_exact(greatest) : px_bf16_to_f32(greatest),
                         low > key16((uint16_t)(infinity | 0x8000u)) && high < key16(infinity)};
}

static value_range find_range(px_float_type type, const unsigned char *source, size_t count)
{
    return type == PX_FLOAT_F32 ? range_f32(source, count) : range_16(type, source, count);
}

/* ---- scale and integers -------------------------------------------------------------------- */

static group_params params_of_range(int bits, bool symmetric, value_range range)
{
    group_params params = {.zero = 0};
    if (symmetric) {
        /* The end of larger magnitude becomes the most negative integer, so the scale is negative
         * where the largest magnitude is a positive value. */
        const float levels = bits == 4 ? 8.0f : 128.0f, magnitude = fabsf(range.low);
        params.scale = (magnitude >= range.high ? magnitude : -range.high) / levels;
        params.low = -levels;
        params.high = levels - 1;
    } else {
        const float low = range.low < 0 ? range.low : 0, high = range.high > 0 ? range.high : 0;
        params.high = bits == 4 ? 15.0f : 255.0f;
        params.scale = (high - low) / params.high;
        params.zero = low; /* becomes the zero point below, when the scale is final */
    }
    if (fabsf(params.scale) < SCALE_MIN) params.scale = SCALE_MIN;
    if (!symmetric) {
        const float zero = -rintf(params.zero / params.scale);
        params.zero = zero < 0 ? 0 : zero > params.high ? params.high : zero;
    }
    return params;
}

void px_quantize_block(const group_params *params, const float *restrict x, uint8_t *restrict q)
{
    const float scale = params->scale, zero = params->zero;
    const float low = params->low, high = params->high;
    for (int i = 0; i < BLOCK; i++) {
        float level = x[i] / scale;
        level += zero;
        level = level < low ? low : level;
        level = level > high ? high : level;
        q[i] = (uint8_t)px_bits_of_float(level + ROUND_MAGIC);
    }
}

static void quantize_group(const group_params *params, px_float_type type,
                           const unsigned char *source, size_t count, uint8_t *q)
{
    float x[BLOCK];
    const size_t size = px_float_size(type);
    size_t done = 0;
    for (; count - done >= BLOCK; done += BLOCK) {
        px_load_block(type, source + done * size, BLOCK, x);
        px_quantize_block(params, x, q + done);
    }
    if (done < count) {
        uint8_t rest[BLOCK];
        px_load_block(type, source + done * size, count - done, x);
        px_quantize_block(params, x, rest);
        memcpy(q + done, rest, count - done);
    }
}

/* The message for a group that holds an infinity or NaN: where the first one is. */
static phlox_status fail_not_finite(px_float_type type, const unsigned char *group, int64_t row,
                                    int64_t column, int64_t count, phlox_error *error)
{
    const size_t size = px_float_size(type);
    float value = NAN;
    for (int64_t i = 0; i < count; i++) {
        px_float_load(type, group + (size_t)i * size, 1, &value);
        if (!isfinite(value)) {
            column += i;
            break;
        }
    }
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "row %" PRId64 ", column %" PRId64 ": %s cannot be quantized; the weights are "
                   "damaged: download or convert the checkpoint again",
                   row, column,
                   isnan(value) ? "NaN"
                   : value < 0  ? "-infinity"
                                : "infinity");
}

phlox_status px_quantize_rows(const px_quant_format *format, px_float_type type, const void *source,
                              int64_t rows, int64_t columns, uint8_t *q, float *scales,
                              uint8_t *zeros, phlox_error *error)
{
    const int64_t group = format->group_size == -1 ? columns : format->group_size;
    if ((format->bits != 4 && format->bits != 8) || group < 1 || columns % group != 0)
        return px_fail(error, PHLOX_ERROR_INTERNAL,
                       "cannot quantize rows of %" PRId64
                       " columns to %d bits in groups of %" PRId64,
                       columns, format->bits, format->group_size);
    const unsigned char *from = source;
    const size_t group_bytes = (size_t)group * px_float_size(type);
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t column = 0; column < columns; column += group) {
            const value_range range = find_range(type, from, (size_t)group);
            if (!range.finite) return fail_not_finite(type, from, row, column, group, error);
            group_params params = params_of_range(format->bits, format->symmetric, range);
            *scales = px_f16_to_f32(px_f32_to_f16(params.scale));
            if (!isfinite(*scales))
                return px_fail(error, PHLOX_ERROR_FORMAT,
                               "row %" PRId64 ", columns %" PRId64 " to %" PRId64
                               ": the values from "
                               "%g to %g need the scale %g, more than float16 holds (65504); use "
                               "--weight-format bf16 or f32",
                               row, column, column + group - 1, (double)range.low,
                               (double)range.high, (double)params.scale);
            if (format->search && format->bits == 4) {
                const weight_group whole = {type, from, (size_t)group};
                params = px_search_int4(&whole, range, format->symmetric, params);
                *scales = px_f16_to_f32(px_f32_to_f16(params.scale));
            }
            quantize_group(&params, type, from, (size_t)group, q);
            if (!format->symmetric) *zeros++ = (uint8_t)params.zero;
            scales++;
            from += group_bytes;
            q += group;
        }
    }
    return PHLOX_OK;
}

/* ---- sensitivity --------------------------------------------------------------------------- */

/* Squared error of `count` <= BLOCK values; the rest of the block is whatever padding gives. */
static void error_block(const group_params *params, px_float_type type, const unsigned char *source,
                        size_t count, float *restrict squares)
{
    float x[BLOCK];
    uint8_t q[BLOCK];
    px_load_block(type, source, count, x);
    px_quantize_block(params, x, q);
    const int32_t zero = (int32_t)params->zero;
    const float scale = params->scale;
    for (int i = 0; i < BLOCK; i++) {
        const float restored = (float)(q[i] - zero) * scale;
        const float difference = restored - x[i];
        squares[i] = difference * difference;
    }
}

/* Sum of squared errors in the order of numpy's pairwise summation: halves, down to at most 128
 * values, which eight accumulators add up. */
static float error_sum(const group_params *params, px_float_type type, const unsigned char *source,
                       size_t count)
{
    const size_t size = px_float_size(type);
    if (count > LEAF) {
        const size_t half = count / 2 / LANES * LANES;
        const float first = error_sum(params, type, source, half);
        return first + error_sum(params, type, source + half * size, count - half);
    }
    float squares[LEAF], lanes[LANES] = {0};
    for (size_t done = 0; done < count; done += BLOCK)
        error_block(params, type, source + done * size, count - done < BLOCK ? count - done : BLOCK,
                    squares + done);
    size_t done = 0;
    for (; done + LANES <= count; done += LANES)
        for (size_t lane = 0; lane < LANES; lane++) lanes[lane] += squares[done + lane];
    float sum = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
    for (; done < count; done++) sum += squares[done];
    return sum;
}

void px_quant_sensitivity(px_float_type type, const void *source, int64_t rows, int64_t columns,
                          float *error_max)
{
    const unsigned char *from = source;
    for (int64_t row = 0; row < rows; row++) {
        const value_range range = find_range(type, from, (size_t)columns);
        if (!range.finite) {
            *error_max = INFINITY;
            return;
        }
        const group_params params = params_of_range(8, false, range);
        const float mean = error_sum(&params, type, from, (size_t)columns) / (float)columns;
        if (mean > *error_max) *error_max = mean;
        from += (size_t)columns * px_float_size(type);
    }
}
