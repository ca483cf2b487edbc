/* Functions of one vector: quantizing activations, norm, SwiGLU, softmax, rotary embedding. */
#include "kernels/x86/avx2.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"

/* One block of `count` (1 to 32) values, zeros behind them. */
PX_INLINE void load_block(const float *x, int64_t count, __m256 value[4])
{
    for (int i = 0; i < 4; i++)
        value[i] = count > 8 * i ? px_avx2_load(x + 8 * i, count - 8 * i) : _mm256_setzero_ps();
}

/* As quantize_block of the reference; returns the integers and leaves in `value` what they miss. */
PX_INLINE __m256i quantize_block(__m256 value[4], float *scale, int32_t *sum)
{
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        const __m256i bits = _mm256_castps_si256(value[i]);
        largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)));
    }
    __m128i most =
        _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    most = _mm_max_epi32(most, _mm_unpackhi_epi64(most, most));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 1));
    *scale = _mm_cvtss_f32(_mm_castsi128_ps(most)) / 127.0f;

    const bool finite = *scale <= FLT_MAX;
    if (!finite || *scale < FLT_MIN) {
        *scale = finite ? 0 : NAN;
        *sum = 0;
        if (!finite)
            for (int i = 0; i < 4; i++) value[i] = _mm256_set1_ps(NAN);
        return _mm256_setzero_si256();
    }
    __m256i integer[4];
    __m256i total = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        integer[i] = _mm256_cvtps_epi32(_mm256_div_ps(value[i], _mm256_set1_ps(*scale)));
        total = _mm256_add_epi32(total, integer[i]);
        value[i] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(integer[i]), _mm256_set1_ps(*scale), value[i]);
    }
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(integer[0], integer[1]),
                                              _mm256_packs_epi32(integer[2], integer[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* packs work in halves */
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    half = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 1));
    *sum = _mm_cvtsi128_si32(half);
    return _mm256_permutevar8x32_epi32(packed, order);
}

/* The integers of a block as those of one of `tokens`. */
PX_INLINE void store_quads(int8_t *q, int tokens, __m256i integers)
{
    int32_t quads[8];
    _mm256_storeu_si256((__m256i *)(void *)quads, integers);
    PX_UNROLL for (int i = 0; i < 8; i++) memcpy(q + 4 * i * tokens, &quads[i], 4);
}

static void quantize(const float *x, int64_t columns, int token, int tokens, int8_t *q,
                     float *scale, int32_t *sum)
{
    scale += token;
    sum += token;
    q += 4 * token;
    for (int64_t begin = 0; begin < columns; begin += PX_COLUMN_BLOCK) {
        __m256 value[4];
        load_block(x + begin, PX_MIN(PX_COLUMN_BLOCK, columns - begin), value);
        const __m256i integers = quantize_block(value, scale, sum);
        if (tokens == 1) _mm256_storeu_si256((__m256i *)(void *)q, integers);
        else store_quads(q, tokens, integers);
        q += PX_COLUMN_BLOCK * tokens;
        scale += tokens;
        sum += tokens;
    }
}

static void quantize_fine(const float *x, int64_t columns, int token, int tokens, int8_t *q,
                          float *scale, int32_t *sum)
{
    scale += 2 * token;
    sum += 2 * token;
    q += 8 * token;
    for (int64_t begin = 0; begin < columns; begin += PX_COLUMN_BLOCK) {
        __m256 value[4];
        load_block(x + begin, PX_MIN(PX_COLUMN_BLOCK, columns - begin), value);
        store_quads(q, 2 * tokens, quantize_block(value, scale, sum));
        store_quads(q + 4, 2 * tokens, quantize_block(value, scale + 1, sum + 1));
        q += PX_COLUMN_BLOCK * 2 * tokens;
        scale += 2 * tokens;
        sum += 2 * tokens;
    }
}

static void rms_norm(const float *x, const float *gain, int64_t n, float epsilon, float *out)
{
    __m256 sums[4];
    for (int k = 0; k < 4; k++) sums[k] = _mm256_setzero_ps();
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int k = 0; k < 4; k++) {
            const __m256 value = _mm256_loadu_ps(x + i + 8 * k);
            sums[k] = _mm256_fmadd_ps(value, value, sums[k]);
        }
    for (; i < n; i += 8) {
        const __m256 value = px_avx2_load(x + i, n - i);
        sums[0] = _mm256_fmadd_ps(value, value, sums[0]);
    }
    const float sum = px_avx2_sum(
        _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
    const __m256 inverse = _mm256_set1_ps(1.0f / sqrtf(sum / (float)n + epsilon));
    for (i = 0; i < n; i += 8) {
        const __m256 value = _mm256_mul_ps(px_avx2_load(x + i, n - i), inverse);
        px_avx2_store(out + i, n - i, _mm256_mul_ps(value, px_avx2_load(gain + i, n - i)));
    }
}

/*
 * exp(x), relative error below 2e-7, with the infinity, the zeros, the subnormal results and the NaN
 * that expf has. x = n ln2 + r with |r| <= ln2 / 2; the polynomial is the Taylor series of exp(r) to
 * the seventh power; 2^n goes in as two factors because n runs from -151 to 129.
 */
PX_INLINE __m256 exponential(__m256 x)
{
    /* the operand order lets a NaN through */
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), _mm256_max_ps(_mm256_set1_ps(-104.5f), x));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), x); /* ln2 in two parts */
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
    static const float inverse_factorial[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120,
                                              1.0f / 24,   1.0f / 6,   0.5f};
    __m256 sum = _mm256_set1_ps(inverse_factorial[0]);
    PX_UNROLL for (int i = 1; i < 6; i++)
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(inverse_factorial[i]));
    sum = _mm256_fmadd_ps(_mm256_mul_ps(sum, r), r, r);
    sum = _mm256_add_ps(sum, _mm256_set1_ps(1.0f));

    const __m256i power = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(power, 1), rest = _mm256_sub_epi32(power, half);
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i b = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(sum, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}

static void swiglu(const float *gate, const float *up, int64_t n, float *out)
{
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 x = px_avx2_load(gate + i, n - i);
        const __m256 divisor = _mm256_add_ps(one, exponential(_mm256_xor_ps(x, sign)));
        const __m256 value = _mm256_mul_ps(_mm256_div_ps(x, divisor), px_avx2_load(up + i, n - i));
        px_avx2_store(out + i, n - i, value);
    }
}

/* Up to eight floats with `rest` behind them. */
PX_INLINE __m256 load_filled(const float *x, int64_t count, float rest)
{
    if (count >= 8) return _mm256_loadu_ps(x);
    float copy[8] = {rest, rest, rest, rest, rest, rest, rest, rest};
    memcpy(copy, x, (size_t)count * sizeof *x);
    return _mm256_loadu_ps(copy);
}

static void softmax(float *x, int64_t n)
{
    __m256 most = _mm256_set1_ps(-INFINITY);
    for (int64_t i = 0; i < n; i += 8)
        most = _mm256_max_ps(most, load_filled(x + i, n - i, -INFINITY));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    four = _mm_max_ss(four, _mm_movehdup_ps(four));
    const __m256 largest = _mm256_set1_ps(_mm_cvtss_f32(four));

    __m256 sums = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += 8) {
        /* what fills the last eight up becomes zero: exp(-infinity) */
        const __m256 value = load_filled(x + i, n - i, -INFINITY);
        const __m256 power = exponential(_mm256_sub_ps(value, largest));
        px_avx2_store(x + i, n - i, power);
        sums = _mm256_add_ps(sums, power);
    }
    const __m256 inverse = _mm256_set1_ps(1.0f / px_avx2_sum(sums));
    for (int64_t i = 0; i < n; i += 8)
        px_avx2_store(x + i, n - i, _mm256_mul_ps(px_avx2_load(x + i, n - i), inverse));
}

static void add(float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i += 8) {
        const int64_t left = n - i;
        const __m256 sum = _mm256_add_ps(px_avx2_load(x + i, left), px_avx2_load(y + i, left));
        px_avx2_store(x + i, left, sum);
    }
}

static void multiply(float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i += 8) {
        const int64_t left = n - i;
        const __m256 product = _mm256_mul_ps(px_avx2_load(x + i, left), px_avx2_load(y + i, left));
        px_avx2_store(x + i, left, product);
    }
}

static void rope(float *x, const float *cosine, const float *sine, int64_t rotary_dim)
{
    const int64_t half = rotary_dim / 2;
    for (int64_t i = 0; i < half; i += 8) {
        const int64_t left = half - i;
        const __m256 a = px_avx2_load(x + i, left), b = px_avx2_load(x + half + i, left);
        const __m256 c = px_avx2_load(cosine + i, left), s = px_avx2_load(sine + i, left);
        px_avx2_store(x + i, left, _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s)));
        px_avx2_store(x + half + i, left, _mm256_add_ps(_mm256_mul_ps(b, c), _mm256_mul_ps(a, s)));
    }
}

void px_avx2_vector(px_kernels *kernels)
{
    kernels->quantize = quantize;
    kernels->quantize_fine = quantize_fine;
    kernels->rms_norm = rms_norm;
    kernels->swiglu = swiglu;
    kernels->softmax = softmax;
    kernels->add = add;
    kernels->multiply = multiply;
    kernels->rope = rope;
}
