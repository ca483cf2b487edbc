/*
 * int4 by search against exhaustive search: every float16 that may be a scale, every zero point, the
 * nearest integers, all in double. And never a larger error than NNCF's integers have.
 */
#include "support.h"

#include "base/half.h"
#include "quant/quant.h"

enum { MOST = 3000 };

/* ---- errors -------------------------------------------------------------------------------- */

/* The squared error of one group as px_quantize_rows leaves it. */
static double error_of(bool symmetric, bool search, px_float_type type, const void *source,
                       const float *values, int64_t count)
{
    const px_quant_format format = {4, symmetric, -1, search};
    static uint8_t q[MOST];
    uint8_t zero = 0;
    float scale;
    phlox_error error;
    MUST(px_quantize_rows(&format, type, source, 1, count, q, &scale, symmetric ? NULL : &zero,
                          &error));
    assert_true(scale != 0 && px_f16_to_f32(px_f32_to_f16(scale)) == scale);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!symmetric) assert_true(q[i] <= 15 && zero <= 15);
        const int integer = symmetric ? (int8_t)q[i] : q[i] - zero;
        if (symmetric) assert_true(integer >= -8 && integer <= 7);
        const double difference = (double)values[i] - (double)scale * integer;
        sum += difference * difference;
    }
    return sum;
}

static double error_with(const float *values, int64_t count, double scale, int low, int high)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const double q = fmin(fmax(rint((double)values[i] / scale), low), high);
        const double difference = (double)values[i] - scale * q;
        sum += difference * difference;
    }
    return sum;
}

/* The least error there is: scales from the largest magnitude / `most` up to all of it, every float16
 * or every so many. */
static double least_error(bool symmetric, const float *values, int64_t count, double most,
                          int every)
{
    double largest = 0, least = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)values[i]));
        least += (double)values[i] * (double)values[i];
    }
    const uint16_t first = PX_MAX(px_f32_to_f16((float)(largest / most)), 1);
    const uint16_t last = px_f32_to_f16((float)largest);
    for (int bits = first; bits <= last; bits += every)
        for (int zero = symmetric ? 7 : 0; zero <= (symmetric ? 8 : 15); zero++)
            least = fmin(least, error_with(values, count, (double)px_f16_to_f32((uint16_t)bits), -zero,
                                           15 - zero));
    return least;
}

/* ---- groups -------------------------------------------------------------------------------- */

enum { NORMAL, STUDENT, OUTLIERS, UNIFORM, SHIFTED, POSITIVE, KINDS };

static double normal(uint64_t *random)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += (double)(test_random(random) >> 11) * 0x1p-53;
    return sum;
}

static void fill(int kind, int64_t count, uint64_t *random, float *out)
{
    for (int64_t i = 0; i < count; i++) {
        const double x = normal(random);
        switch (kind) {
        case STUDENT: /* two degrees of freedom */
            out[i] = (float)(0.02 * x / sqrt(0.5 * (pow(normal(random), 2) + pow(normal(random), 2))));
            break;
        case OUTLIERS: out[i] = (float)(test_random(random) % 32 ? 0.02 * x : 2 * x); break;
        case UNIFORM: out[i] = 0.05f * test_random_float(random); break;
        case SHIFTED: out[i] = (float)(0.02 * x + 0.02); break;
        case POSITIVE: out[i] = (float)(0.02 * fabs(x) + 0.01); break;
        default: out[i] = (float)(0.02 * x);
        }
    }
}

/* How many times the least error one group and many together may have; docs/SPEED.md states it. */
static void check_kind(bool symmetric, int kind, int64_t count, int trials)
{
    const double most_each = count < 32 ? 2.5 : 1.3, most_mean = count < 32 ? 1.05 : 1.01;
    uint64_t random = (uint64_t)(1000 * kind + count);
    double search_sum = 0, least_sum = 0, nncf_sum = 0, worst = 1;
    for (int trial = 0; trial < trials; trial++) {
        float values[128];
        fill(kind, count, &random, values);
        const double nncf = error_of(symmetric, false, PX_FLOAT_F32, values, values, count);
        const double search = error_of(symmetric, true, PX_FLOAT_F32, values, values, count);
        const double least = least_error(symmetric, values, count, 25, 1);
        if (!(search <= nncf))
            fail_msg("kind %d, %d values: %g is more than NNCF's %g", kind, (int)count, search, nncf);
        assert_true(search >= least * (1 - 1e-9));
        worst = fmax(worst, search / least);
        search_sum += search;
        least_sum += least;
        nncf_sum += nncf;
    }
    if (!(worst <= most_each && search_sum <= most_mean * least_sum))
        fail_msg("sym %d, kind %d, %d values: %.4f times the least error, in one group %.3f times",
                 symmetric, kind, (int)count, search_sum / least_sum, worst);
    assert_true(search_sum < 0.995 * nncf_sum); /* it is worth it */
}

static void near_the_optimum(void **state)
{
    (void)state;
    for (int symmetric = 0; symmetric < 2; symmetric++)
        for (int kind = 0; kind < KINDS; kind++) {
            check_kind(symmetric, kind, 16, symmetric ? 40 : 10);
            check_kind(symmetric, kind, 32, symmetric ? 40 : 10);
            check_kind(symmetric, kind, 128, symmetric ? 10 : 4);
        }
}

/* Long rows with heavy tails are best clipped hard: down to a 40th of the largest magnitude here. */
static void long_rows(void **state)
{
    (void)state;
    enum { LONG = 3000 };
    static float row[LONG];
    uint64_t random = 5;
    for (int kind = 0; kind < KINDS; kind++) {
        fill(kind, LONG, &random, row);
        const double nncf = error_of(true, false, PX_FLOAT_F32, row, row, LONG);
        const double search = error_of(true, true, PX_FLOAT_F32, row, row, LONG);
        const double least = least_error(true, row, LONG, 100, 8);
        assert_true(search <= nncf);
        if (!(search <= 1.01 * least))
            fail_msg("kind %d: %g times the least error", kind, search / least);
        const double asym = error_of(false, false, PX_FLOAT_F32, row, row, LONG);
        assert_true(error_of(false, true, PX_FLOAT_F32, row, row, LONG) <= asym);
        if (kind == NORMAL) assert_true(search < 0.7 * nncf);
    }
}

/* Where the float16 scales are few steps apart a search still gains. */
static void near_zero(void **state)
{
    (void)state;
    uint64_t random = 9;
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        double nncf_sum = 0, search_sum = 0;
        for (int trial = 0; trial < 400; trial++) {
            float values[32];
            fill(NORMAL, 32, &random, values);
            for (int64_t i = 0; i < 32; i++) values[i] *= 5e-5f; /* to 1e-6 */
            const double nncf = error_of(symmetric, false, PX_FLOAT_F32, values, values, 32);
            const double search = error_of(symmetric, true, PX_FLOAT_F32, values, values, 32);
            assert_true(search <= nncf);
            nncf_sum += nncf;
            search_sum += search;
        }
        assert_true(search_sum < 0.8 * nncf_sum);
    }
}

/* Magnitudes from where float16 ends to where it begins, signs, single values, zeros. */
static void every_magnitude(void **state)
{
    (void)state;
    uint64_t random = 6;
    for (int exponent = -50; exponent <= 12; exponent++) {
        for (int trial = 0; trial < 40; trial++) {
            float values[32], turned[32];
            const int64_t count = 1 + (int64_t)(test_random(&random) % 32);
            fill(trial % KINDS, count, &random, values);
            for (int64_t i = 0; i < count; i++) {
                values[i] = trial % 3 == 2 && i % 2 ? 0 : ldexpf(values[i], exponent);
                turned[i] = -values[i];
            }
            for (int symmetric = 0; symmetric < 2; symmetric++) {
                const double nncf = error_of(symmetric, false, PX_FLOAT_F32, values, values, count);
                const double search = error_of(symmetric, true, PX_FLOAT_F32, values, values, count);
                assert_true(search <= nncf);
                /* The other sign is as good where float16 is fine enough. */
                const double other = error_of(symmetric, true, PX_FLOAT_F32, turned, turned, count);
                if (symmetric && exponent > -5 && count > 4)
                    assert_true(fabs(other - search) <= 1e-6 * search);
            }
        }
    }
    const float zeros[64] = {0}, one[] = {-0.37f}, same[] = {3, 3, 3, 3}, steps[] = {-7, 8, 1, 3};
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        assert_true(error_of(symmetric, true, PX_FLOAT_F32, zeros, zeros, 64) == 0);
        assert_true(error_of(symmetric, true, PX_FLOAT_F32, one, one, 1) < 1e-5);
        assert_true(error_of(symmetric, true, PX_FLOAT_F32, same, same, 4) < 1e-5);
        assert_true(error_of(symmetric, true, PX_FLOAT_F32, steps, steps, 4) == 0);
    }
}

/* The same values from every type, at any address; a group alone is what it is in its matrix. */
static void sources_and_groups(void **state)
{
    (void)state;
    enum { ROWS = 5, COLUMNS = 192, COUNT = ROWS * COLUMNS };
    float wide[COUNT];
    uint16_t half[COUNT], brain[COUNT];
    unsigned char shifted[2 * COUNT + 1];
    uint64_t random = 7;
    for (int i = 0; i < COUNT; i++) {
        brain[i] = px_f32_to_bf16(0.5f * test_random_float(&random));
        if ((px_bf16_to_f32(brain[i]) < 0x1p-10f && px_bf16_to_f32(brain[i]) > -0x1p-10f)) brain[i] = 0;
        wide[i] = px_bf16_to_f32(brain[i]);
        half[i] = px_f32_to_f16(wide[i]);
        assert_true(px_f16_to_f32(half[i]) == wide[i]);
    }
    memcpy(shifted + 1, brain, sizeof brain);
    const void *const sources[] = {wide, half, brain, shifted + 1};
    static const px_float_type types[] = {PX_FLOAT_F32, PX_FLOAT_F16, PX_FLOAT_BF16, PX_FLOAT_BF16};
    static const int64_t groups[] = {8, 32, 48, 64, 96, -1};
    for (size_t g = 0; g < PX_COUNT(groups); g++)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            const px_quant_format format = {4, symmetric, groups[g], true};
            const int64_t group = groups[g] < 0 ? COLUMNS : groups[g];
            uint8_t q[4][COUNT], zeros[4][COUNT] = {{0}};
            float scales[4][COUNT];
            phlox_error error;
            for (int s = 0; s < 4; s++) {
                MUST(px_quantize_rows(&format, types[s], sources[s], ROWS, COLUMNS, q[s], scales[s],
                                      symmetric ? NULL : zeros[s], &error));
                const size_t count = (size_t)(COUNT / group);
                assert_memory_equal(q[s], q[0], COUNT);
                assert_memory_equal(scales[s], scales[0], count * sizeof **scales);
                assert_memory_equal(zeros[s], zeros[0], count);
            }
            const px_quant_format alone = {4, symmetric, -1, true};
            for (int64_t i = 0; i < COUNT / group; i++) {
                uint8_t one[COUNT], zero = 0;
                float scale;
                MUST(px_quantize_rows(&alone, PX_FLOAT_F32, wide + i * group, 1, group, one, &scale,
                                      symmetric ? NULL : &zero, &error));
                assert_memory_equal(one, q[0] + i * group, group);
                assert_true(scale == scales[0][i] && zero == zeros[0][i]);
            }
        }
}

static void refused(void **state)
{
    (void)state;
    float row[32] = {0};
    uint8_t q[32], zero;
    float scale;
    phlox_error error;
    const px_quant_format sym = {4, true, -1, true}, asym = {4, false, -1, true};
    row[9] = 8 * 65520.0f;
    MUST_FAIL(px_quantize_rows(&sym, PX_FLOAT_F32, row, 1, 32, q, &scale, NULL, &error),
              PHLOX_ERROR_FORMAT, "65504");
    row[9] = NAN;
    MUST_FAIL(px_quantize_rows(&asym, PX_FLOAT_F32, row, 1, 32, q, &scale, &zero, &error),
              PHLOX_ERROR_FORMAT, "column 9");
    row[9] = 8 * 65504.0f; /* the largest scale */
    MUST(px_quantize_rows(&sym, PX_FLOAT_F32, row, 1, 32, q, &scale, NULL, &error));
    assert_true(scale == -65504 && q[9] == (uint8_t)-8);
}

/* int8 has no search. */
static void int8_is_nncf(void **state)
{
    (void)state;
    float row[64];
    uint64_t random = 8;
    fill(NORMAL, 64, &random, row);
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        uint8_t q[2][64], zeros[2] = {0};
        float scales[2];
        phlox_error error;
        for (int search = 0; search < 2; search++) {
            const px_quant_format format = {8, symmetric, -1, search};
            MUST(px_quantize_rows(&format, PX_FLOAT_F32, row, 1, 64, q[search], &scales[search],
                                  symmetric ? NULL : &zeros[search], &error));
        }
        assert_memory_equal(q[0], q[1], 64);
        assert_true(scales[0] == scales[1] && zeros[0] == zeros[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_the_optimum), cmocka_unit_test(long_rows),
        cmocka_unit_test(near_zero),        cmocka_unit_test(every_magnitude),
        cmocka_unit_test(sources_and_groups), cmocka_unit_test(refused),
        cmocka_unit_test(int8_is_nncf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
