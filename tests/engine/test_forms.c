/* Models in other forms than that of Hugging Face give the logits of transformers with their weights as they
 * are stored: unpacked into memory, from the cache, and with integer activations nearly. */
#include "family.h"

static double largest_difference(const float *a, const float *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = PX_MAX(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static void check(const char *path, const phlox_model_options *options, double tolerance,
                  bool from_cache)
{
    char file[TEST_PATH];
    test_npy ids = test_npy_open(test_path(file, "%s/ids.npy", path));
    test_npy logits = test_npy_open(test_path(file, "%s/logits.npy", path));
    phlox_model *model = family_open(path, options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_int_equal(info.from_cache, from_cache);
    const size_t n = (size_t)ids.rows;
    float *const got = family_run(model, ids.ints, n, 0, n);
    const double most = largest_difference(got, logits.floats, n * (size_t)logits.columns);
    if (!(most <= tolerance)) fail_msg("%s: logits differ by %g", path, most);
    free(got);
    phlox_model_close(&model);
    test_npy_close(&ids);
    test_npy_close(&logits);
}

static void check_fixture(const char *path, const char *name, void *user)
{
    (void)name;
    const char *const cache = user;
    phlox_model_options options = family_options();
    options.exact = true;
    check(path, &options, 1e-3, false);
    options.no_cache = false;
    options.cache_dir = cache;
    check(path, &options, 1e-3, false);
    phlox_model_info info;
    phlox_model *const model = family_open(path, &options);
    phlox_model_get_info(model, &info);
    const bool packs = info.from_cache;
    phlox_model *closed = model;
    phlox_model_close(&closed);
    check(path, &options, 1e-3, packs);
    options.weight_format = PHLOX_WEIGHTS_F32;
    options.no_cache = true;
    check(path, &options, 1e-3, false);
}

static void openvino(void **state)
{
    (void)state;
    char cache[TEST_PATH];
    test_directory(cache);
    assert_int_equal(test_for_each(PHLOX_SOURCE_DIR "/tests/golden/openvino", check_fixture, cache), 6);
    test_remove(cache);
}

/* A format that is asked for is for what holds no integers; these stay as they are. */
static void integers_are_not_rounded_again(void **state)
{
    (void)state;
    static const struct {
        const char *path, *wanted;
    } cases[] = {
        {"openvino/int8", "int8 asym per channel"},
        {"openvino/int4-ratio", "int8 asym per channel, int4 sym g32"},
        {"openvino/fp16", "int4 asym g32, embedding"},
        {"gguf/q4_0", "int4 sym g32"},
        {"gguf/q4_k_m", "int4 asym g32, int8 sym per channel, int8 asym per channel"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char path[TEST_PATH];
        phlox_model_options options = family_options();
        options.weight_format = PHLOX_WEIGHTS_INT4;
        options.group_size = 32;
        options.group_size_fallback = PHLOX_FALLBACK_ADJUST;
        phlox_model *model =
            family_open(test_path(path, PHLOX_SOURCE_DIR "/tests/golden/%s", cases[i].path), &options);
        phlox_model_info info;
        phlox_model_get_info(model, &info);
        if (strncmp(info.weights, cases[i].wanted, strlen(cases[i].wanted)) != 0)
            fail_msg("%s: %s", cases[i].path, info.weights);
        phlox_model_close(&model);
    }
    phlox_model_options options = family_options();
    options.weight_format = PHLOX_WEIGHTS_INT4;
    options.ratio = 0.5;
    phlox_model *model = NULL;
    phlox_error error;
    MUST_FAIL(phlox_model_open(PHLOX_SOURCE_DIR "/tests/golden/openvino/int8", &options, &model, &error),
              PHLOX_ERROR_UNSUPPORTED, "ratio");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openvino),
        cmocka_unit_test(integers_are_not_rounded_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
