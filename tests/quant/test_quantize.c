/*
 * Integers, zero points and scales against NNCF's, from all three source types, and what is
 * refused.
 */
#include "golden.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

/* ---- loading ------------------------------------------------------------------------------- */

static void loads_every_16_bit_value(void **state)
{
    (void)state;
    enum { COUNT = 65536 };
    static unsigned char source[COUNT * 2 + 1];
    static float loaded[COUNT];
    unsigned char *unaligned = source + 1;
    for (uint32_t i = 0; i < COUNT; i++) memcpy(unaligned + i * 2, &(uint16_t){(uint16_t)i}, 2);

    px_float_load(PX_FLOAT_BF16, unaligned, COUNT, loaded);
    for (uint32_t i = 0; i < COUNT; i++) assert_int_equal(px_bits_of_float(loaded[i]), i << 16);

    px_float_load(PX_FLOAT_F16, unaligned, COUNT, loaded);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(px_bits_of_float(loaded[i]), px_bits_of_float(px_f16_to_f32((uint16_t)i)));
}

static void loads_lengths_that_are_no_multiple(void **state)
{
    (void)state;
    float source[200], loaded[201];
    for (int i = 0; i < 200; i++) source[i] = (float)i + 0.5f;
    for (size_t count = 0; count <= 200; count++) {
        loaded[count] = -1;
        px_float_load(PX_FLOAT_F32, source, count, loaded);
        assert_memory_equal(loaded, source, count * sizeof *source);
        assert_true(loaded[count] == -1);
    }
    assert_int_equal(px_float_size(PX_FLOAT_F32), 4);
    assert_int_equal(px_float_size(PX_FLOAT_F16), 2);
    assert_int_equal(px_float_size(PX_FLOAT_BF16), 2);
}

/* ---- against NNCF -------------------------------------------------------------------------- */

typedef struct matrix {
    char name[25];
    px_float_type type;
    int64_t rows, columns;
    const unsigned char *values;
} matrix;

static void check_case(golden_reader *reader, const matrix *m)
{
    const px_quant_format format = {.bits = golden_int(reader),
                                    .symmetric = golden_int(reader) != 0,
                                    .group_size = golden_int(reader)};
    const size_t count = (size_t)(m->rows * m->columns);
    const int64_t group = format.group_size == -1 ? m->columns : format.group_size;
    const size_t groups = count / (size_t)group;
    const unsigned char *expected_q =
        golden_bytes(reader, format.bits == 4 ? (count + 1) / 2 : count);
    const unsigned char *expected_scales = golden_bytes(reader, groups * 2);
    const unsigned char *expected_zeros = format.symmetric ? NULL : golden_bytes(reader, groups);

    uint8_t *q = malloc(count), *zeros = malloc(groups);
    float *scales = malloc(groups * sizeof *scales);
    assert_true(q && zeros && scales);
    phlox_error error;
    assert_int_equal(px_quantize_rows(&format, m->type, m->values, m->rows, m->columns, q, scales,
                                      format.symmetric ? NULL : zeros, &error),
                     PHLOX_OK);
    for (size_t i = 0; i < count; i++) {
        int expected = expected_q[format.bits == 4 ? i / 2 : i];
        if (format.bits == 4) {
            expected = i % 2 ? expected >> 4 : expected & 15;
            if (format.symmetric && expected > 7) expected |= 0xf0;
        }
        if (q[i] != expected)
            fail_msg("%s, type %d, %d bits, symmetric %d, groups of %d, value %zu: %d is not %d",
                     m->name, (int)m->type, format.bits, format.symmetric, (int)format.group_size,
                     i, q[i], expected);
    }
    for (size_t i = 0; i < groups; i++) {
        uint16_t bits;
        memcpy(&bits, expected_scales + i * 2, 2);
        if (px_bits_of_float(scales[i]) != px_bits_of_float(px_f16_to_f32(bits)))
            fail_msg("%s, type %d, %d bits, symmetric %d, groups of %d, scale %zu: %g is not %g",
                     m->name, (int)m->type, format.bits, format.symmetric, (int)format.group_size,
                     i, (double)scales[i], (double)px_f16_to_f32(bits));
        if (expected_zeros) assert_int_equal(zeros[i], expected_zeros[i]);
    }
    free(q);
    free(zeros);
    free(scales);
}

/* The same number, in one call and row by row. */
static void check_sensitivity(const matrix *m, float expected)
{
    float whole = 0, by_rows = 0;
    px_quant_sensitivity(m->type, m->values, m->rows, m->columns, &whole);
    if (whole != expected)
        fail_msg("%s, type %d: sensitivity %.9g is not %.9g", m->name, (int)m->type, (double)whole,
                 (double)expected);
    const size_t row_bytes = (size_t)m->columns * px_float_size(m->type);
    for (int64_t row = 0; row < m->rows; row++)
        px_quant_sensitivity(m->type, m->values + (size_t)row * row_bytes, 1, m->columns, &by_rows);
    assert_true(by_rows == whole);
}

static void equals_nncf(void **state)
{
    (void)state;
    golden_reader reader = golden_open("quant/matrices.bin");
    const int matrices = golden_int(&reader);
    assert_true(matrices > 0);
    for (int i = 0; i < matrices; i++) {
        matrix m = {.rows = 0};
        memcpy(m.name, golden_bytes(&reader, 24), 24);
        m.type = (px_float_type)golden_int(&reader);
        m.rows = golden_int(&reader);
        m.columns = golden_int(&reader);
        const int cases = golden_int(&reader);
        float sensitivity;
        memcpy(&sensitivity, golden_bytes(&reader, 4), 4);
        m.values = golden_bytes(&reader, (size_t)(m.rows * m.columns) * px_float_size(m.type));
        for (int k = 0; k < cases; k++) check_case(&reader, &m);
        check_sensitivity(&m, sensitivity);
    }
    golden_close(&reader);
}

/* ---- what is refused ----------------------------------------------------------------------- */

static phlox_status quantize(px_quant_format format, px_float_type type, const void *source,
                             int64_t rows, int64_t columns, phlox_error *error)
{
    uint8_t q[1024], zeros[1024];
    float scales[1024];
    assert_true(rows * columns <= 1024);
    return px_quantize_rows(&format, type, source, rows, columns, q, scales, zeros, error);
}

static void refuses_values_that_are_not_finite(void **state)
{
    (void)state;
    static const px_quant_format formats[] = {
        {4, true, 32, false}, {4, false, 32, false}, {4, true, -1, false}, {8, true, -1, false}, {8, false, -1, false}};
    static const uint32_t bad[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00000u, 0x7fff0000u};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
            float wide[3 * 96];
            uint16_t brain[3 * 96], half[3 * 96];
            for (int i = 0; i < 3 * 96; i++) wide[i] = (float)(i % 7 - 3);
            wide[2 * 96 + 71] = px_float_of_bits(bad[b]);
            for (int i = 0; i < 3 * 96; i++) {
                brain[i] = px_f32_to_bf16(wide[i]);
                half[i] = px_f32_to_f16(wide[i]);
            }
            const void *sources[] = {wide, half, brain};
            for (int type = 0; type < 3; type++) {
                phlox_error error;
                assert_int_equal(
                    quantize(formats[f], (px_float_type)type, sources[type], 3, 96, &error),
                    PHLOX_ERROR_FORMAT);
                assert_non_null(strstr(error.message, "row 2, column 71"));
                assert_int_equal(
                    quantize(formats[f], (px_float_type)type, sources[type], 2, 96, &error),
                    PHLOX_OK);
                float sensitivity = 0;
                px_quant_sensitivity((px_float_type)type, sources[type], 3, 96, &sensitivity);
                assert_true(isinf(sensitivity));
            }
        }
    }
}

static void refuses_scales_that_float16_does_not_hold(void **state)
{
    (void)state;
    float row[64] = {0};
    phlox_error error;
    const px_quant_format sym4 = {4, true, 32, false}, asym8 = {8, false, -1, false}, sym8 = {8, true, -1, false};
    row[40] = 8 * 65519.0f;
    assert_int_equal(quantize(sym4, PX_FLOAT_F32, row, 1, 64, &error), PHLOX_OK);
    row[40] = 8 * 65520.0f; /* rounds to infinity */
    assert_int_equal(quantize(sym4, PX_FLOAT_F32, row, 1, 64, &error), PHLOX_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "row 0, columns 32 to 63"));
    assert_int_equal(quantize(sym8, PX_FLOAT_F32, row, 1, 64, &error), PHLOX_OK);
    row[0] = -3e38f;
    row[1] = 3e38f; /* the range itself overflows */
    assert_int_equal(quantize(asym8, PX_FLOAT_F32, row, 1, 64, &error), PHLOX_ERROR_FORMAT);
    float sensitivity = 0;
    px_quant_sensitivity(PX_FLOAT_F32, row, 1, 64, &sensitivity);
}

static void refuses_groups_that_do_not_divide(void **state)
{
    (void)state;
    const float row[64] = {0};
    static const px_quant_format formats[] = {{4, true, 48, false}, {4, true, 0, false},  {4, true, -2, false},
                                              {5, true, 32, false}, {0, true, -1, false}, {4, true, 128, false}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        assert_int_equal(quantize(formats[i], PX_FLOAT_F32, row, 1, 64, NULL),
                         PHLOX_ERROR_INTERNAL);
    assert_int_equal(quantize((px_quant_format){4, true, -1, false}, PX_FLOAT_F32, row, 1, 0, NULL),
                     PHLOX_ERROR_INTERNAL);
    assert_int_equal(quantize((px_quant_format){4, true, 32, false}, PX_FLOAT_F32, row, 0, 64, NULL),
                     PHLOX_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_every_16_bit_value),
        cmocka_unit_test(loads_lengths_that_are_no_multiple),
        cmocka_unit_test(equals_nncf),
        cmocka_unit_test(refuses_values_that_are_not_finite),
        cmocka_unit_test(refuses_scales_that_float16_does_not_hold),
        cmocka_unit_test(refuses_groups_that_do_not_divide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
