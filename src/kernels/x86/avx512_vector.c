/* Functions of one vector that gain from 16 lanes. */
#include "kernels/x86/avx512.h"

#include <math.h>

/*
 * exp(x) as in avx2_vector.c: the same polynomial. The power of two goes in with vscalefps, which
 * takes any exponent and rounds subnormal results once.
 */
PX_INLINE __m512 exponential(__m512 x)
{
    /* the operand order lets a NaN through */
    x = _mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-104.5f), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x); /* ln2 in two parts */
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    static const float inverse_factorial[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120,
                                              1.0f / 24,   1.0f / 6,   0.5f};
    __m512 sum = _mm512_set1_ps(inverse_factorial[0]);
    PX_UNROLL for (int i = 1; i < 6; i++)
        sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(inverse_factorial[i]));
    sum = _mm512_fmadd_ps(_mm512_mul_ps(sum, r), r, r);
    return _mm512_scalef_ps(_mm512_add_ps(sum, _mm512_set1_ps(1.0f)), n);
}

static void swiglu(const float *gate, const float *up, int64_t n, float *out)
{
    const __m512 one = _mm512_set1_ps(1.0f), none = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 x = px_avx512_load(gate + i, n - i, 0);
        const __m512 divisor = _mm512_add_ps(one, exponential(_mm512_sub_ps(none, x)));
        const __m512 up_part = px_avx512_load(up + i, n - i, 0);
        px_avx512_store(out + i, n - i, _mm512_mul_ps(_mm512_div_ps(x, divisor), up_part));
    }
}

static void softmax(float *x, int64_t n)
{
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (int64_t i = 0; i < n; i += 16)
        most = _mm512_max_ps(most, px_avx512_load(x + i, n - i, -INFINITY));
    const __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(most));

    __m512 sums[4]; /* one would grow to where it loses what is added */
    PX_UNROLL for (int k = 0; k < 4; k++) sums[k] = _mm512_setzero_ps();
    for (int64_t begin = 0; begin < n; begin += 64)
        PX_UNROLL for (int k = 0; k < 4; k++) {
            const int64_t i = begin + 16 * k, left = n - i;
            if (left <= 0) continue;
            /* what fills the last 16 up becomes zero: exp(-infinity) */
            const __m512 value = px_avx512_load(x + i, left, -INFINITY);
            const __m512 power = exponential(_mm512_sub_ps(value, largest));
            px_avx512_store(x + i, left, power);
            sums[k] = _mm512_add_ps(sums[k], power);
        }
    const __m512 sum =
        _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    const __m512 inverse = _mm512_set1_ps(1.0f / px_avx512_sum(sum));
    for (int64_t i = 0; i < n; i += 16)
        px_avx512_store(x + i, n - i, _mm512_mul_ps(px_avx512_load(x + i, n - i, 0), inverse));
}

void px_avx512_vector(px_kernels *kernels)
{
    kernels->swiglu = swiglu;
    kernels->softmax = softmax;
}
