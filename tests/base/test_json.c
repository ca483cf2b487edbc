/* JSON with what real checkpoints contain, and what must be refused. */
#include "support.h"

#include "base/json.h"

#include <float.h>

static phlox_status parse(const char *text, json_t **out, phlox_error *error)
{
    /* A copy of exactly its size, so that reading behind it is noticed. */
    const size_t size = strlen(text);
    char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, text, size);
    const phlox_status status = px_json_parse((phlox_text){copy, size}, "some.json", true, out,
                                              error);
    free(copy);
    return status;
}

static json_t *must_parse(const char *text)
{
    json_t *json = NULL;
    phlox_error error;
    MUST(parse(text, &json, &error));
    assert_non_null(json);
    return json;
}

static double number_of(const char *text)
{
    json_t *array = must_parse(text);
    const json_t *value = json_array_get(array, 0);
    assert_true(json_is_number(value));
    const double number = json_number_value(value);
    json_decref(array);
    return number;
}

static void numbers(void **state)
{
    (void)state;
    assert_true(number_of("[0]") == 0);
    assert_true(number_of("[-0.5e-3]") == -0.5e-3);
    assert_true(number_of("[999999999999999999]") == 999999999999999999.0);
    assert_true(number_of("[1000000000000000019884624838656]") == 1e30);
    assert_true(number_of("[-1000000000000000019884624838656]") == -1e30);
    assert_true(number_of("[ 9223372036854775808 ]") == 9223372036854775808.0);
    assert_true(number_of("[123456789012345678901234567890e-10]") == 12345678901234567890.123);
    assert_true(number_of("[123456789012345678901234567890.5]") == 123456789012345678901234567890.5);
    assert_true(number_of("[Infinity]") == DBL_MAX);
    assert_true(number_of("[-Infinity]") == -DBL_MAX);
    json_t *small = must_parse("[-999999999999999999, 7]");
    assert_true(json_integer_value(json_array_get(small, 0)) == -999999999999999999);
    assert_true(json_is_integer(json_array_get(small, 1)));
    json_decref(small);
}

static void nan_is_no_number(void **state)
{
    (void)state;
    json_t *json = must_parse("{\"a\": NaN, \"b\": [NaN,NaN], \"NaN\": \"NaN -Infinity Infinity\"}");
    assert_false(json_is_number(json_object_get(json, "a")));
    assert_int_equal(json_array_size(json_object_get(json, "b")), 2);
    /* Inside strings nothing is replaced, not even digits. */
    assert_string_equal(json_string_value(json_object_get(json, "NaN")), "NaN -Infinity Infinity");
    json_decref(json);
    json = must_parse("[\"1234567890123456789012345 [[[ \\\" NaN \\\\\", \"\\\\\"]");
    assert_string_equal(json_string_value(json_array_get(json, 0)),
                        "1234567890123456789012345 [[[ \" NaN \\");
    json_decref(json);
}

static void nul_escapes(void **state)
{
    (void)state;
    json_t *json = must_parse("[\"a\\u0000b\"]");
    assert_int_equal(json_string_length(json_array_get(json, 0)), 3);
    assert_memory_equal(json_string_value(json_array_get(json, 0)), "a\0b", 3);
    json_decref(json);
}

static void depth(void **state)
{
    (void)state;
    char text[256];
    memset(text, '[', 100);
    memset(text + 100, ']', 100);
    text[200] = 0;
    json_decref(must_parse(text));
    memset(text, '[', 101);
    memset(text + 101, ']', 101);
    text[202] = 0;
    phlox_error error;
    json_t *json = NULL;
    MUST_FAIL(parse(text, &json, &error), PHLOX_ERROR_FORMAT, "100");
    assert_null(json);
    /* Siblings are no depth. */
    char *wide = malloc(3 * 1000 + 3);
    assert_non_null(wide);
    strcpy(wide, "[");
    for (int i = 0; i < 1000; i++) strcpy(wide + 1 + 3 * i, i < 999 ? "[]," : "[]]");
    json_decref(must_parse(wide));
    free(wide);
}

static void duplicates(void **state)
{
    (void)state;
    phlox_error error;
    json_t *json = NULL;
    const phlox_text text = phlox_text_of("{\"a\":1,\"a\":2}");
    MUST_FAIL(px_json_parse(text, "some.json", true, &json, &error), PHLOX_ERROR_FORMAT,
              "some.json");
    MUST(px_json_parse(text, "some.json", false, &json, &error));
    assert_int_equal(json_integer_value(json_object_get(json, "a")), 2); /* the last, as in Python */
    json_decref(json);
}

static void refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", " ", "[", "]", "{", "}", "[1,]", "{\"a\":1,}", "[1 2]", "[01]", "[+1]", "[.5]", "[1.]",
        "[nan]", "[NAN]", "[NaN5]", "[5NaN]", "[Infinit]", "[1Infinity]", "[--Infinity]",
        "[1eInfinity]", "[-NaN]", "[infinity]", "{NaN:1}", "{Infinity:1}", "{1:1}", "'a'", "[\"a]",
        "[\"\\\"]", "[\"\\x\"]", "[\"\xff\"]", "[\"\xed\xa0\x80\"]", "[\"\\ud800\"]", "[1]x",
        "[1][2]", "/**/[1]", "[1] // c", "\xef\xbb\xbf[1]", "[1e999]", "tru", "[\"\x01\"]",
        "[12345678901234567890123.]", "[1234567890123456789012345e]", "[-]", "[--5]",
        "[0000000000000000000000000001]",
    };
    for (size_t i = 0; i < PX_COUNT(bad); i++) {
        phlox_error error = {0};
        json_t *json = NULL;
        const phlox_status status = parse(bad[i], &json, &error);
        if (status != PHLOX_ERROR_FORMAT || !strstr(error.message, "some.json"))
            fail_msg("%s: %s (%s)", bad[i], phlox_status_name(status), error.message);
        assert_null(json);
        assert_int_equal(parse(bad[i], &json, NULL), PHLOX_ERROR_FORMAT);
    }
    phlox_error error;
    json_t *json = NULL;
    MUST_FAIL(px_json_parse((phlox_text){"[1\0]", 4}, "x", true, &json, &error),
              PHLOX_ERROR_FORMAT, "x");
    MUST_FAIL(px_json_parse((phlox_text){NULL, 0}, "x", true, &json, &error), PHLOX_ERROR_FORMAT,
              "x");
    MUST_FAIL(parse("[1,\n  2,\n  oops]", &json, &error), PHLOX_ERROR_FORMAT, "line 3");
}

static void members(void **state)
{
    (void)state;
    json_t *json = must_parse("{\"i\":7,\"f\":7.0,\"h\":7.5,\"n\":null,\"s\":\"7\",\"t\":true,"
                              "\"big\":1e30,\"long\":100000000000000000000,\"neg\":-3,\"nan\":NaN,"
                              "\"inf\":Infinity}");
    phlox_error error;
    int64_t i = -1;
    MUST(px_json_int(json, "i", "c.json", 0, 10, &i, &error));
    assert_int_equal(i, 7);
    MUST(px_json_int(json, "f", "c.json", 7, 7, &i, &error));
    assert_int_equal(i, 7);
    MUST(px_json_int(json, "neg", "c.json", -3, 0, &i, &error));
    assert_int_equal(i, -3);
    MUST_FAIL(px_json_int(json, "i", "c.json", 8, 10, &i, &error), PHLOX_ERROR_FORMAT, "\"i\"");
    MUST_FAIL(px_json_int(json, "i", "c.json", 0, 6, &i, &error), PHLOX_ERROR_FORMAT, "6");
    MUST_FAIL(px_json_int(json, "h", "c.json", 0, 10, &i, &error), PHLOX_ERROR_FORMAT, "h");
    MUST_FAIL(px_json_int(json, "n", "c.json", 0, 10, &i, &error), PHLOX_ERROR_FORMAT, "missing");
    MUST_FAIL(px_json_int(json, "absent", "c.json", 0, 10, &i, &error), PHLOX_ERROR_FORMAT,
              "absent");
    MUST_FAIL(px_json_int(json, "s", "c.json", 0, 10, &i, &error), PHLOX_ERROR_FORMAT, "c.json");
    MUST_FAIL(px_json_int(json, "t", "c.json", 0, 10, &i, &error), PHLOX_ERROR_FORMAT, "t");
    MUST_FAIL(px_json_int(json, "nan", "c.json", 0, 10, &i, &error), PHLOX_ERROR_FORMAT, "nan");
    MUST_FAIL(px_json_int(json, "big", "c.json", 0, 10, &i, &error), PHLOX_ERROR_FORMAT, "1");
    MUST_FAIL(px_json_int(json, "inf", "c.json", INT64_MIN, 10, &i, &error), PHLOX_ERROR_FORMAT,
              "inf");
    MUST(px_json_int(json, "long", "c.json", 0, INT64_MAX, &i, &error));
    assert_true(i == INT64_MAX);
    MUST(px_json_int_or(json, "n", "c.json", 0, 10, 42, &i, &error));
    assert_int_equal(i, 42);
    MUST_FAIL(px_json_int_or(json, "s", "c.json", 0, 10, 42, &i, &error), PHLOX_ERROR_FORMAT, "s");

    double r = -1;
    MUST(px_json_real_or(json, "h", "c.json", 0, 10, 1, &r, &error));
    assert_true(r == 7.5);
    MUST(px_json_real_or(json, "absent", "c.json", 0, 10, 1.25, &r, &error));
    assert_true(r == 1.25);
    MUST(px_json_real_or(NULL, "absent", "c.json", 0, 10, 2.25, &r, &error));
    assert_true(r == 2.25);
    MUST_FAIL(px_json_real_or(json, "nan", "c.json", 0, 10, 1, &r, &error), PHLOX_ERROR_FORMAT,
              "nan");
    MUST_FAIL(px_json_real_or(json, "inf", "c.json", 0, 1e300, 1, &r, &error), PHLOX_ERROR_FORMAT,
              "inf");
    bool b = false;
    MUST(px_json_bool_or(json, "t", "c.json", false, &b, &error));
    assert_true(b);
    MUST(px_json_bool_or(json, "n", "c.json", true, &b, &error));
    assert_true(b);
    MUST_FAIL(px_json_bool_or(json, "i", "c.json", true, &b, &error), PHLOX_ERROR_FORMAT, "i");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),    cmocka_unit_test(nan_is_no_number),
        cmocka_unit_test(nul_escapes), cmocka_unit_test(depth),
        cmocka_unit_test(duplicates), cmocka_unit_test(refuses),
        cmocka_unit_test(members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
