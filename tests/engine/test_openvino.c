/* The logits of transformers for OpenVINO models: whole and one token at a time, from memory and from the
 * cache, as integers and widened to float32. The fixtures are described in golden/make_openvino.py. */
#include "family.h"

#define FIXTURES PHLOX_SOURCE_DIR "/tests/golden/openvino"

static const double tolerance = 1e-3;

static void check(const char *name, const char *path, const phlox_model_options *options, size_t piece,
                  bool from_cache)
{
    char file[TEST_PATH], what[100];
    test_npy ids = test_npy_open(test_path(file, "%s/ids.npy", path));
    test_npy logits = test_npy_open(test_path(file, "%s/logits.npy", path));
    phlox_model *model = family_open(path, options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_string_equal(info.form, "openvino");
    assert_int_equal(info.from_cache, from_cache);
    assert_int_equal(family_vocab(model), logits.columns);
    const size_t n = (size_t)ids.rows, vocab = (size_t)logits.columns;
    /* With longrope the logits of earlier positions are those of other factors. */
    const size_t from = info.longrope && piece < n ? (size_t)info.original_context_size : 0;
    float *const got = family_run(model, ids.ints, n, 0, piece);
    snprintf(what, sizeof what, "%s, %zu at a time%s", name, piece, from_cache ? ", cached" : "");
    test_close(what, got + from * vocab, logits.floats + from * vocab, (n - from) * vocab, tolerance);
    free(got);
    phlox_model_close(&model);
    test_npy_close(&ids);
    test_npy_close(&logits);
}

static void check_fixture(const char *path, const char *name, void *user)
{
    (void)user;
    char cache[TEST_PATH];
    phlox_model_options options = family_options();
    options.exact = true;
    check(name, path, &options, 1000, false);
    check(name, path, &options, 1, false);
    options.weight_format = PHLOX_WEIGHTS_F32;
    check(name, path, &options, 1000, false);
    options.weight_format = PHLOX_WEIGHTS_DEFAULT;
    options.cpu_mask = UINT64_MAX; /* the reference kernels */
    check(name, path, &options, 1000, false);
    options.cpu_mask = 0;
    options.no_cache = false;
    test_directory(cache);
    options.cache_dir = cache;
    check(name, path, &options, 1000, false);
    const bool packed = test_for_each(cache, NULL, NULL) > 0;
    check(name, path, &options, 1000, packed);
    if (strncmp(name, "int", 3) == 0) assert_true(packed);
    test_remove(cache);
}

static void equals_transformers(void **state)
{
    (void)state;
    assert_true(test_for_each(FIXTURES, check_fixture, NULL) >= 10);
}

/* Numbers that are no weights are found when the model is opened. */
static void bad_scale(void **state)
{
    (void)state;
    char directory[TEST_PATH], path[TEST_PATH];
    test_directory(directory);
    test_copy(FIXTURES "/int8-sym", directory);
    size_t size;
    char *const xml = test_read(test_path(path, "%s/openvino_model.xml", directory), &size);
    char *const at = strstr(xml, "o_proj.weight/scale\"");
    assert_non_null(at);
    const char *const offset = strstr(at, "offset=\"");
    assert_non_null(offset);
    const uint16_t infinity = 0x7c00;
    test_patch(test_path(path, "%s/openvino_model.bin", directory), atol(offset + 8), &infinity, 2);
    phlox_model_options options = family_options();
    phlox_model *model = NULL;
    phlox_error error;
    MUST_FAIL(phlox_model_open(directory, &options, &model, &error), PHLOX_ERROR_FORMAT,
              "row 0, group 0 has the scale inf");
    free(xml);
    test_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_transformers),
        cmocka_unit_test(bad_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
