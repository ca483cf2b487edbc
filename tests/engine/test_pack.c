/* The packed layout against the definition in kernels.h, element by element. */
#include "support.h"

#include "engine/pack.h"

#include "base/half.h"

/* Element (row, column) of a packed integer matrix, by the words of kernels.h. */
static int element(px_weight_type type, const uint8_t *data, int64_t columns, int64_t row,
                   int64_t column)
{
    const int64_t blocks = (columns + 31) / 32, block = row / 16 * blocks + column / 32;
    const int64_t in_line = row % 16 * 4 + column % 4;
    if (type == PX_WEIGHT_I8) return data[block * 512 + column % 32 / 4 * 64 + in_line];
    const uint8_t byte = data[block * 256 + column % 16 / 4 * 64 + in_line];
    return column % 32 < 16 ? byte & 15 : byte >> 4;
}

static px_plan_item item_of(px_weight_type type, px_quant_format format, const px_tensor *tensor)
{
    return (px_plan_item){.tensor = tensor, .type = type, .format = format, .half_scales = true,
                          .group_size = format.group_size > 0 ? format.group_size
                                                              : tensor->columns};
}

static void check_integers(int bits, bool symmetric, int64_t columns, int64_t group, int64_t end)
{
    enum { ROWS = 37, BEGIN = 16, MOST = 40000 };
    static float source[MOST];
    static uint8_t q[MOST], data[MOST], zeros[MOST], wanted_zeros[MOST];
    static uint16_t scales[MOST];
    static float wanted_scales[MOST];
    assert_true(ROWS * (columns + 31) < MOST);
    uint64_t random = (uint64_t)(columns * 100 + group * 4 + bits);
    for (int64_t i = 0; i < ROWS * columns; i++) source[i] = test_random_float(&random);
    const px_tensor tensor = {.rows = ROWS, .columns = columns, .type = PX_FLOAT_F32,
                              .data = source, .row_bytes = columns * (int64_t)sizeof *source,
                              .name = "t", .file = "f"};
    const px_quant_format format = {bits, symmetric, group, false};
    const px_weight_type type = bits == 4 ? PX_WEIGHT_I4 : PX_WEIGHT_I8;
    const px_plan_item item = item_of(type, format, &tensor);
    const int64_t rows = end - BEGIN, padded_rows = (rows + 15) / 16 * 16;
    const int64_t row_bytes = px_weight_row_bytes(type, columns);
    const int64_t groups = columns / (group > 0 ? group : columns), padded = (columns + 31) / 32 * 32;
    assert_int_equal(row_bytes, bits == 4 ? padded / 2 : padded);
    phlox_error error;
    memset(data, 0xa5, sizeof data);
    void *const parts[PX_PARTS] = {[PX_PART_DATA] = data, [PX_PART_SCALES] = scales,
                                   [PX_PART_ZEROS] = symmetric ? NULL : zeros};
    MUST(px_pack_rows(&item, BEGIN, end, parts, &error));
    MUST(px_quantize_rows(&format, PX_FLOAT_F32, source + BEGIN * columns, rows, columns, q,
                          wanted_scales, wanted_zeros, &error));
    const int constant = bits == 4 ? 8 : 128;
    for (int64_t r = 0; r < padded_rows; r++) {
        for (int64_t c = 0; c < padded; c++) {
            int wanted = constant; /* padding */
            if (r < rows && c < columns)
                wanted = symmetric ? (int)(int8_t)q[r * columns + c] + constant
                                   : (int)q[r * columns + c];
            const int got = element(type, data, columns, r, c);
            if (got != wanted)
                fail_msg("int%d, %lld columns: (%lld, %lld) is %d, expected %d", bits,
                         (long long)columns, (long long)r, (long long)c, got, wanted);
        }
    }
    assert_int_equal(data[padded_rows * row_bytes], 0xa5);
    for (int64_t r = 0; r < padded_rows; r++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t at = (r / 16 * groups + g) * 16 + r % 16;
            assert_true(px_f16_to_f32(scales[at]) == (r < rows ? wanted_scales[r * groups + g] : 0));
            if (!symmetric && r < rows) assert_int_equal(zeros[at], wanted_zeros[r * groups + g]);
        }
}

static void integers(void **state)
{
    (void)state;
    static const int64_t columns[] = {1, 7, 15, 16, 17, 31, 32, 33, 40, 48, 63, 64, 96, 100, 1000};
    static const int64_t groups[] = {-1, 1, 4, 5, 8, 16, 20, 32, 50};
    for (size_t c = 0; c < PX_COUNT(columns); c++)
        for (size_t g = 0; g < PX_COUNT(groups); g++)
            for (int kind = 0; kind < 4; kind++)
                for (int64_t end = 31; end <= 33; end++)
                    if (groups[g] < 0 || columns[c] % groups[g] == 0)
                        check_integers(kind & 1 ? 4 : 8, kind & 2, columns[c], groups[g], end);
}

/* ---- integers that are stored -------------------------------------------------------------- */

enum { STORED_ROWS = 19, STORED_COLUMNS = 512, STORED_GROUP = 32, STORED_GROUPS = 16, STORED_SUPERS = 2 };

static int stored_integer(int64_t row, int64_t column)
{
    return (int)(row * 7 + column * 5) % 16;
}

static int stored_step(int64_t row, int64_t group, bool of_minimum)
{
    return (int)(of_minimum ? row * 7 + group : row * 5 - group * 8) % 128;
}

/* What those of a row from a group on are steps of. */
static float stored_super(int64_t row, int64_t group, bool of_minimum)
{
    return (of_minimum ? -0.25f : 0.125f) * (float)(1 + row % 3 + group / (STORED_GROUPS / STORED_SUPERS));
}

static float stored_scale(int64_t row, int64_t group)
{
    return stored_super(row, group, false) * (float)stored_step(row, group, false);
}

static float stored_minimum(int64_t row, int64_t group)
{
    return stored_super(row, group, true) * (float)stored_step(row, group, true);
}

static void read_stored(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q,
                        float *scales, uint8_t *zeros)
{
    (void)tensor, (void)zeros;
    for (int64_t row = begin; row < begin + rows; row++) {
        for (int64_t c = 0; c < STORED_COLUMNS; c++) *q++ = (uint8_t)stored_integer(row, c);
        for (int64_t g = 0; g < STORED_GROUPS; g++) *scales++ = stored_scale(row, g);
    }
}

static void read_stored_minima(const px_tensor *tensor, int64_t begin, int64_t rows, float *minima)
{
    (void)tensor;
    for (int64_t row = begin; row < begin + rows; row++)
        for (int64_t g = 0; g < STORED_GROUPS; g++) *minima++ = stored_minimum(row, g);
}

static void read_stored_steps(const px_tensor *tensor, int64_t begin, int64_t rows, bool of_minima,
                              int8_t *steps, float *scales)
{
    (void)tensor;
    for (int64_t row = begin; row < begin + rows; row++)
        for (int64_t g = 0; g < STORED_GROUPS; g++) {
            *steps++ = (int8_t)stored_step(row, g, of_minima);
            if (g % (STORED_GROUPS / STORED_SUPERS) == 0) *scales++ = stored_super(row, g, of_minima);
        }
}

static void read_bad_minima(const px_tensor *tensor, int64_t begin, int64_t rows, float *minima)
{
    read_stored_minima(tensor, begin, rows, minima);
    if (begin <= 17 && begin + rows > 17) minima[(17 - begin) * STORED_GROUPS + 1] = INFINITY;
}

static float stored_float(const void *values, bool half, int64_t at)
{
    return half ? px_f16_to_f32(((const uint16_t *)values)[at]) : ((const float *)values)[at];
}

/* All parts that a tile may have, packed; half_scales, or steps of these. */
static void check_stored(int bits, bool half, bool steps)
{
    enum { PADDED = 32 };
    px_tensor tensor = {.rows = STORED_ROWS, .columns = STORED_COLUMNS, .name = "t", .file = "f",
                        .integers = {.bits = bits, .group_size = STORED_GROUP, .read = read_stored,
                                     .read_minima = read_stored_minima,
                                     .read_steps = read_stored_steps}};
    px_plan_item item = item_of(bits == 4 ? PX_WEIGHT_I4 : PX_WEIGHT_I8,
                                (px_quant_format){.bits = bits, .group_size = STORED_GROUP}, &tensor);
    item.stored_integers = item.minima = true;
    item.half_scales = half;
    item.steps = steps;
    static uint8_t data[PADDED * STORED_COLUMNS];
    float scales[PADDED * STORED_GROUPS], minima[PADDED * STORED_GROUPS];
    int8_t scale_steps[PADDED * STORED_GROUPS], minimum_steps[PADDED * STORED_GROUPS];
    void *const parts[PX_PARTS] = {
        [PX_PART_DATA] = data, [PX_PART_SCALES] = scales, [PX_PART_MINIMA] = minima,
        [PX_PART_SCALE_STEPS] = steps ? scale_steps : NULL,
        [PX_PART_MINIMUM_STEPS] = steps ? minimum_steps : NULL};
    phlox_error error;
    MUST(px_pack_rows(&item, 0, STORED_ROWS, parts, &error));
    for (int64_t r = 0; r < PADDED; r++) {
        const bool is_row = r < STORED_ROWS;
        for (int64_t c = 0; is_row && c < STORED_COLUMNS; c++)
            assert_int_equal(element(item.type, data, STORED_COLUMNS, r, c), stored_integer(r, c));
        for (int64_t g = 0; g < STORED_GROUPS; g++) {
            const int64_t super = g / (STORED_GROUPS / STORED_SUPERS);
            const int64_t at = (r / 16 * STORED_GROUPS + g) * 16 + r % 16;
            const int64_t from = steps ? (r / 16 * STORED_SUPERS + super) * 16 + r % 16 : at;
            const float scale = stored_float(scales, half, from) * (float)(steps ? scale_steps[at] : 1);
            const float least = stored_float(minima, half, from) * (float)(steps ? minimum_steps[at] : 1);
            assert_true(scale == (is_row ? stored_scale(r, g) : 0));
            assert_true(least == (is_row ? stored_minimum(r, g) : 0));
        }
    }
    tensor.integers.read_minima = read_bad_minima;
    MUST_FAIL(px_pack_rows(&item, 0, STORED_ROWS, parts, &error), PHLOX_ERROR_FORMAT,
              "row 17, group 1 has the minimum inf");
}

static void stored_integers(void **state)
{
    (void)state;
    for (int bits = 4; bits <= 8; bits += 4) {
        check_stored(bits, false, false);
        check_stored(bits, true, false);
        check_stored(bits, true, true);
    }
}

static void floats(void **state)
{
    (void)state;
    enum { ROWS = 6, COLUMNS = 37 };
    uint16_t source[ROWS * COLUMNS + 1];
    uint64_t random = 7;
    for (size_t i = 0; i < PX_COUNT(source); i++)
        source[i] = px_f32_to_bf16(test_random_float(&random));
    /* At an address that is no multiple of the element. */
    uint8_t bytes[sizeof source + 1];
    memcpy(bytes + 1, source, sizeof source);
    const px_tensor tensor = {.rows = ROWS, .columns = COLUMNS, .type = PX_FLOAT_BF16,
                              .data = bytes + 1, .row_bytes = COLUMNS * sizeof *source,
                              .name = "t", .file = "f"};
    static const px_weight_type types[] = {PX_WEIGHT_F32, PX_WEIGHT_F16, PX_WEIGHT_BF16};
    for (size_t t = 0; t < PX_COUNT(types); t++) {
        const px_plan_item item = {.tensor = &tensor, .type = types[t]};
        float out[4 * COLUMNS];
        phlox_error error;
        void *const parts[PX_PARTS] = {[PX_PART_DATA] = out};
        MUST(px_pack_rows(&item, 2, 6, parts, &error));
        const size_t size = types[t] == PX_WEIGHT_F32 ? 4 : 2;
        assert_int_equal(px_weight_row_bytes(types[t], COLUMNS), COLUMNS * size);
        for (size_t i = 0; i < PX_COUNT(out); i++) {
            const float value = px_bf16_to_f32(source[2 * COLUMNS + i]);
            uint16_t half;
            memcpy(&half, (char *)out + i * 2, 2);
            if (types[t] == PX_WEIGHT_F32) assert_true(out[i] == value);
            if (types[t] == PX_WEIGHT_F16) assert_int_equal(half, px_f32_to_f16(value));
            if (types[t] == PX_WEIGHT_BF16) assert_int_equal(half, source[2 * COLUMNS + i]);
        }
    }
}

static void groups_and_bytes(void **state)
{
    (void)state;
    const px_weight weight = {.columns = 100, .group_size = 32};
    assert_int_equal(px_weight_groups(&weight), 4);
    assert_int_equal(px_weight_row_bytes(PX_WEIGHT_I8, 100), 128);
    assert_int_equal(px_weight_row_bytes(PX_WEIGHT_I4, 100), 64);
    assert_int_equal(px_weight_row_bytes(PX_WEIGHT_I4, 32), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),
        cmocka_unit_test(stored_integers),
        cmocka_unit_test(floats),
        cmocka_unit_test(groups_and_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
