/* float16 (IEEE 754 binary16) and bfloat16 to and from float32, exact; conversions to the narrow
 * formats round half to even as numpy and torch do. */
#ifndef PX_BASE_HALF_H
#define PX_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float px_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t px_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float px_bf16_to_f32(uint16_t bits)
{
    return px_float_of_bits((uint32_t)bits << 16);
}

static inline uint16_t px_f32_to_bf16(float value)
{
    const uint32_t bits = px_bits_of_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40); /* quiet NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float px_f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t rest = half & 0x7fffu;
    if (rest >= 0x7c00u) /* infinity and NaN */
        return px_float_of_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    if (rest < 0x0400u) { /* zero and subnormal: the mantissa counts units of 2^-24 */
        const float magnitude = (float)rest * 0x1p-24f;
        return px_float_of_bits(sign | px_bits_of_float(magnitude));
    }
    return px_float_of_bits(sign | ((rest << 13) + 0x38000000u));
}

static inline uint16_t px_f32_to_f16(float value)
{
    const uint32_t bits = px_bits_of_float(value);
    const uint32_t sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (rest >> 13 & 0x3ffu));
    if (rest >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds past 65504 */
    if (rest < 0x38800000u) { /* subnormal: adding 0.5 lets the float unit round at 2^-24 */
        const float shifted = px_float_of_bits(rest) + 0.5f;
        return (uint16_t)(sign | (px_bits_of_float(shifted) - 0x3f000000u));
    }
    return (uint16_t)(sign | (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1)) >> 13);
}

#endif
