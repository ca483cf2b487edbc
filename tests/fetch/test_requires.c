#include "support.h"

#include "fetch/requires.h"

static void versions_that_a_wheel_requires(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *wanted;
    } table[] = {
        {"Name: x\nRequires-Dist: onnxruntime>=1.31.0\nRequires-Dist: numpy<3\n", ">=1.31.0"},
        {"Requires-Dist: numpy\r\nRequires-Dist: OnnxRuntime (>=1.31.0, <2) ; python_version > '3'\r\n", ">=1.31.0,<2"},
        {"Requires-Dist: onnxruntime[extra] ~=1.31\n", "~=1.31"},
        {"Requires-Dist: onnxruntime>=1\nRequires-Dist:onnxruntime !=1.5", ">=1,!=1.5"},
        {"Requires-Dist: onnxruntime", ""},
        {"Requires-Dist: onnxruntime-gpu>=1.31.0\n", ""},
        {"Requires-Dist: onnxruntime>=1; extra == 'gpu'\n", ""},
        {"Name: x\n\nRequires-Dist: onnxruntime>=1\n", ""}, /* behind the headers */
        {"", ""},
        {"Requires-Dist:", ""},
    };
    char out[64];
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        assert_true(px_requires(table[i].metadata, "onnxruntime", out, sizeof out));
        assert_string_equal(out, table[i].wanted);
    }
    assert_false(px_requires("Requires-Dist: onnxruntime>=1.31.0\n", "onnxruntime", out, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(versions_that_a_wheel_requires)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
