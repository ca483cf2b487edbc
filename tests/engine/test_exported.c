/* What a runtime of a device gets to read: every weight to the last bit, in place, from the cache, or in a directory
 * that goes. */
#include "checkpoints.h"

#include "engine/exported.h"

#define GOLDEN PHLOX_SOURCE_DIR "/tests/golden/"

struct asking {
    phlox_model_options options;
    phlox_export_options words;
    px_exported exported;
};

static struct asking ask(void)
{
    struct asking asking;
    phlox_model_options_init(&asking.options);
    asking.options.cache_limit = UINT64_C(1) << 30;
    phlox_export_options_init(&asking.words);
    return asking;
}

static phlox_status export_one(struct asking *asking, const char *path, const char *form,
                               const char *cache, phlox_error *error)
{
    px_checkpoint *checkpoint = test_open(path);
    const phlox_status status = px_exported_open(checkpoint, form, &asking->options, &asking->words,
                                                 cache, &asking->exported, error);
    px_checkpoint_close(&checkpoint);
    return status;
}

/* Whatever is stored, in the network's own formats or in K-quants, keeps its values in both forms. */
static void nothing_is_lost(void **state)
{
    static const char *const paths[] = {GOLDEN "family/phi3-mini-4k", GOLDEN "family/longrope-su",
                                        GOLDEN "gguf/q4_k_m/model.gguf", GOLDEN "gguf/q5_0/model.gguf",
                                        GOLDEN "gptq/int4-asym"};
    phlox_error error;
    for (size_t i = 0; i < PX_COUNT(paths); i++) {
        if (!test_exists(paths[i])) fail_msg("%s is not there", paths[i]);
        for (int onnx = 0; onnx < 2; onnx++) {
            struct asking asking = ask();
            MUST(export_one(&asking, paths[i], onnx ? "onnx" : "openvino", *state, &error));
            assert_false(asking.exported.from_cache);
            assert_true(asking.exported.weights[0]);
            px_checkpoint *a = test_open(paths[i]), *b = test_open(asking.exported.path);
            test_same_weights(a, b);
            px_checkpoint_close(&a);
            px_checkpoint_close(&b);
            px_exported_close(&asking.exported);
        }
    }
}

static void the_cache_keeps_them(void **state)
{
    static const char path[] = GOLDEN "family/phi3-mini-4k";
    struct asking asking = ask();
    phlox_error error;
    char first[TEST_PATH], weights[96];
    asking.options.weight_format = PHLOX_WEIGHTS_INT4;
    asking.options.symmetry = PHLOX_SYM;
    asking.options.group_size = 8;
    MUST(export_one(&asking, path, "openvino", *state, &error));
    test_path(first, "%s", asking.exported.path);
    memcpy(weights, asking.exported.weights, sizeof weights);
    assert_string_equal(weights, "int4 sym g8, embedding and lm_head int8");
    px_exported_close(&asking.exported);
    assert_true(test_exists(first));
    MUST(export_one(&asking, path, "openvino", *state, &error));
    assert_true(asking.exported.from_cache);
    assert_string_equal(asking.exported.path, first);
    assert_string_equal(asking.exported.weights, weights);
    px_exported_close(&asking.exported);
    /* Other weights, another provider: another directory. */
    asking.options.group_size = -1;
    MUST(export_one(&asking, path, "openvino", *state, &error));
    assert_false(asking.exported.from_cache);
    px_exported_close(&asking.exported);
    asking.words.provider = PHLOX_PROVIDER_CUDA;
    MUST(export_one(&asking, path, "onnx", *state, &error));
    assert_false(asking.exported.from_cache);
    px_exported_close(&asking.exported);
    assert_int_equal(test_for_each(*state, NULL, NULL), 3);
}

static void in_place_or_for_a_while(void **state)
{
    static const char path[] = GOLDEN "openvino/int4-sym";
    struct asking asking = ask();
    phlox_error error;
    MUST(export_one(&asking, path, "openvino", *state, &error));
    assert_string_equal(asking.exported.path, path);
    assert_true(asking.exported.from_cache);
    px_exported_close(&asking.exported);
    assert_true(test_exists(path));
    assert_int_equal(test_for_each(*state, NULL, NULL), 0);
    setenv("TMPDIR", *state, 1);
    MUST(export_one(&asking, path, "onnx", NULL, &error));
    char directory[TEST_PATH];
    test_path(directory, "%s", asking.exported.path);
    assert_int_equal(strncmp(directory, *state, strlen(*state)), 0);
    assert_true(test_exists(directory));
    px_exported_close(&asking.exported);
    px_exported_close(&asking.exported);
    assert_false(test_exists(directory));
    unsetenv("TMPDIR");
}

static bool refuse(void *user, const phlox_progress *progress)
{
    (void)user, (void)progress;
    return false;
}

static void failures_leave_nothing(void **state)
{
    struct asking asking = ask();
    phlox_error error;
    asking.options.progress = refuse;
    MUST_FAIL(export_one(&asking, GOLDEN "family/phi3-mini-4k", "openvino", *state, &error),
              PHLOX_ERROR_CANCELLED, "");
    assert_int_equal(test_for_each(*state, NULL, NULL), 0);
    asking.options.progress = NULL;
    asking.options.cache_limit = 1000;
    MUST_FAIL(export_one(&asking, GOLDEN "family/phi3-mini-4k", "openvino", *state, &error),
              PHLOX_ERROR_ARGUMENT, "--cache-limit");
    assert_int_equal(test_for_each(*state, NULL, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(nothing_is_lost), IN_DIRECTORY(the_cache_keeps_them),
        IN_DIRECTORY(in_place_or_for_a_while), IN_DIRECTORY(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
