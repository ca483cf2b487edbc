/* float16 and bfloat16 against their definitions: sign, exponent, fraction, in double precision. */
#include "support.h"

#include "base/half.h"

/* The value of a format with `exponent` bits of exponent and `fraction` bits of fraction. */
static double value_of(uint32_t bits, int exponent, int fraction)
{
    const int bias = (1 << (exponent - 1)) - 1, most = (1 << exponent) - 1;
    const int e = (int)(bits >> fraction) & most;
    const double f = (double)(bits & ((1u << fraction) - 1));
    const double sign = bits >> (exponent + fraction) & 1 ? -1 : 1;
    if (e == most) return f != 0 ? NAN : sign * INFINITY;
    if (e == 0) return sign * ldexp(f, 1 - bias - fraction);
    return sign * ldexp(ldexp(1, fraction) + f, e - bias - fraction);
}

static void check_widen(float got, double wanted, uint32_t bits)
{
    if (isnan(wanted)) assert_true(isnan(got));
    else if (!((double)got == wanted) || !signbit(got) != !signbit(wanted))
        fail_msg("%04x is %g, expected %g", bits, (double)got, wanted);
}

static void widens_every_value(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        check_widen(px_f16_to_f32((uint16_t)bits), value_of(bits, 5, 10), bits);
        check_widen(px_bf16_to_f32((uint16_t)bits), value_of(bits, 8, 7), bits);
    }
}

static void narrows_what_it_widened(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const float half = px_f16_to_f32((uint16_t)bits), brain = px_bf16_to_f32((uint16_t)bits);
        if (isnan(half)) assert_true(isnan(px_f16_to_f32(px_f32_to_f16(half))));
        else assert_int_equal(px_f32_to_f16(half), bits);
        if (isnan(brain)) assert_true(isnan(px_bf16_to_f32(px_f32_to_bf16(brain))));
        else assert_int_equal(px_f32_to_bf16(brain), bits);
    }
}

/* The nearest of two neighbours, the even one in the middle; `above` may be infinity, which stands
 * for the value that would come next. */
static void check_between(uint16_t (*narrow)(float), uint16_t low, double a, double b)
{
    const double middle = (a + b) / 2;
    const float places[] = {(float)middle, nextafterf((float)middle, -INFINITY),
                            nextafterf((float)middle, INFINITY), (float)(a + (b - a) * 0.25),
                            (float)(a + (b - a) * 0.75)};
    for (size_t i = 0; i < PX_COUNT(places); i++) {
        const double x = (double)places[i];
        const double to_a = x - a, to_b = b - x;
        const uint16_t high = (uint16_t)(low + 1);
        const uint16_t wanted = to_a < to_b ? low : to_b < to_a ? high : low % 2 ? high : low;
        if (narrow(places[i]) != wanted)
            fail_msg("%.12g becomes %04x, expected %04x", x, narrow(places[i]), wanted);
        assert_int_equal(narrow(-places[i]), wanted | 0x8000);
    }
}

static void rounds_half_to_even(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7c00; bits++) {
        /* Behind 65504 comes what would be 65536: from the middle on it is infinity. */
        const double next = bits == 0x7bff ? 65536 : value_of(bits + 1, 5, 10);
        check_between(px_f32_to_f16, (uint16_t)bits, value_of(bits, 5, 10), next);
    }
    for (uint32_t bits = 0x0080; bits < 0x7f7f; bits++)
        check_between(px_f32_to_bf16, (uint16_t)bits, value_of(bits, 8, 7),
                      value_of(bits + 1, 8, 7));
}

static void keeps_what_is_no_number(void **state)
{
    (void)state;
    assert_int_equal(px_f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(px_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(px_f32_to_bf16(INFINITY), 0x7f80);
    assert_int_equal(px_f32_to_f16(3e38f), 0x7c00);
    assert_int_equal(px_f32_to_bf16(px_float_of_bits(0x7f7fffff)), 0x7f80);
    /* A NaN whose upper fraction bits are zero must not become infinity. */
    assert_true(isnan(px_f16_to_f32(px_f32_to_f16(px_float_of_bits(0x7f800001)))));
    assert_true(isnan(px_bf16_to_f32(px_f32_to_bf16(px_float_of_bits(0x7f800001)))));
    assert_int_equal(px_f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(px_f32_to_f16(1e-30f), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widens_every_value),
        cmocka_unit_test(narrows_what_it_widened),
        cmocka_unit_test(rounds_half_to_even),
        cmocka_unit_test(keeps_what_is_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
