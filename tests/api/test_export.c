/* Exports: the bytes of those that went through the real packages (tests/peers), what comes back from them,
 * and what happens to files when an export cannot be completed. */
#include "support.h"

#include <phlox/tools.h>

#define GOLDEN PHLOX_SOURCE_DIR "/tests/golden"

static uint64_t fnv_of(const char *path, uint64_t sum)
{
    size_t size;
    char *const bytes = test_read(path, &size);
    for (size_t i = 0; i < size; i++) sum = (sum ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    free(bytes);
    return sum;
}

/* "int4 --group-size 32 --sym" */
static phlox_model_options read_words(char *words)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    phlox_error error;
    const char *name = "weight-format", *word = strtok(words, " ");
    for (; word; word = strtok(NULL, " ")) {
        if (strncmp(word, "--", 2) != 0) {
            MUST(phlox_model_options_set(&options, name, word, &error));
            continue;
        }
        name = word + 2;
        if (strcmp(name, "sym") == 0 || strcmp(name, "all-layers") == 0)
            MUST(phlox_model_options_set(&options, name, NULL, &error));
    }
    return options;
}

static float *logits_of(const char *path, phlox_model_options options, const test_npy *ids,
                        size_t *count)
{
    phlox_model *model = NULL;
    phlox_session *session = NULL;
    phlox_model_info info;
    phlox_error error;
    options.no_cache = true;
    options.threads = 2;
    MUST(phlox_model_open(path, &options, &model, &error));
    phlox_model_get_info(model, &info);
    *count = (size_t)ids->rows * (size_t)info.vocab_size;
    float *const logits = malloc(*count * sizeof *logits);
    assert_non_null(logits);
    MUST(phlox_session_create(model, &session, &error));
    MUST(phlox_session_append(session, ids->ints, (size_t)ids->rows, logits, NULL, NULL, &error));
    phlox_session_close(&session);
    phlox_model_close(&model);
    return logits;
}

/* The export runs as the source does with the same words: every integer is kept, so every bit is. */
static void check_round_trip(const char *source, const char *out, const phlox_model_options *options)
{
    char path[TEST_PATH];
    test_npy ids = test_npy_open(test_path(path, "%s/ids.npy", source));
    phlox_model_options stored;
    phlox_model_options_init(&stored);
    size_t count, again;
    float *const wanted = logits_of(source, *options, &ids, &count);
    float *const got = logits_of(out, stored, &ids, &again);
    assert_int_equal(count, again);
    assert_memory_equal(wanted, got, count * sizeof *got);
    free(wanted);
    free(got);
    test_npy_close(&ids);
}

static void openvino_bytes(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH], source[TEST_PATH], path[TEST_PATH];
    test_directory(directory);
    size_t size, count = 0;
    char *const list = test_read(GOLDEN "/exports.txt", &size);
    for (char *line = list, *next; *line; line = next, count++) {
        next = strchr(line, '\n');
        assert_non_null(next);
        *next++ = 0;
        unsigned long long sum;
        char member[64];
        int used;
        assert_int_equal(sscanf(line, "%llx %63s %n", &sum, member, &used), 2);
        char words[128];
        snprintf(words, sizeof words, "%s", line + used);
        const phlox_model_options options = read_words(words);
        phlox_error error;
        test_path(source, GOLDEN "/family/%s", member);
        test_path(out, "%s/%zu", directory, count);
        MUST(phlox_export(source, "openvino", out, &options, NULL, NULL, &error));
        uint64_t got = fnv_of(test_path(path, "%s/openvino_model.xml", out), UINT64_C(0xcbf29ce484222325));
        got = fnv_of(test_path(path, "%s/openvino_model.bin", out), got);
        if (got != sum)
            fail_msg("%s %s: other bytes than those that the real packages were run with; make "
                     "test-peers", member, line + used);
        check_round_trip(source, out, &options);
    }
    assert_true(count >= 20);
    free(list);
    test_remove(directory);
}

/* An export of an export has the same weights, in the same bytes. */
static void again(void **state)
{
    (void)state;
    char directory[TEST_PATH], first[TEST_PATH], second[TEST_PATH], path[TEST_PATH];
    test_directory(directory);
    static const char *const fixtures[] = {"int4-sym", "int4-asym", "int4-channel", "int4-awq",
                                           "int4-tied", "int8-asym", "int8-sym", "by-hand-integers"};
    for (size_t i = 0; i < PX_COUNT(fixtures); i++) {
        phlox_error error;
        phlox_export_result result;
        test_path(path, GOLDEN "/openvino/%s", fixtures[i]);
        MUST(phlox_export(path, "openvino", test_path(first, "%s/a%zu", directory, i), NULL, NULL, NULL, &error));
        MUST(phlox_export(first, "openvino", test_path(second, "%s/b%zu", directory, i), NULL, NULL, &result,
                          &error));
        assert_true(strncmp(result.weights, "int", 3) == 0);
        char one[TEST_PATH], other[TEST_PATH];
        assert_true(fnv_of(test_path(one, "%s/openvino_model.bin", first), 0) ==
                    fnv_of(test_path(other, "%s/openvino_model.bin", second), 0));
        test_npy ids = test_npy_open(test_path(one, "%s/ids.npy", path));
        phlox_model_options options;
        phlox_model_options_init(&options);
        size_t count, same;
        float *const wanted = logits_of(path, options, &ids, &count);
        float *const got = logits_of(second, options, &ids, &same);
        assert_memory_equal(wanted, got, count * sizeof *got);
        free(wanted);
        free(got);
        test_npy_close(&ids);
        /* Asked for as floats, integers are widened. */
        options.weight_format = PHLOX_WEIGHTS_F32;
        MUST(phlox_export(path, "openvino", test_path(first, "%s/c%zu", directory, i), &options, NULL, &result,
                          &error));
        assert_string_equal(result.weights, "f32");
    }
    test_remove(directory);
}

static bool cancel(void *user, const phlox_progress *progress)
{
    (void)user;
    (void)progress;
    return false;
}

static void nothing_is_left_or_lost(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH], path[TEST_PATH];
    test_directory(directory);
    test_path(out, "%s/out", directory);
    phlox_error error;
    phlox_model_options options;
    phlox_model_options_init(&options);
    const char *const source = GOLDEN "/family/phi4";
    MUST_FAIL(phlox_export(source, "gguf2", out, NULL, NULL, NULL, &error), PHLOX_ERROR_ARGUMENT, "gguf2");
    MUST_FAIL(phlox_export(GOLDEN "/none", "openvino", out, NULL, NULL, NULL, &error), PHLOX_ERROR_NOT_FOUND,
              "none");
    options.progress = cancel;
    MUST_FAIL(phlox_export(source, "openvino", out, &options, NULL, NULL, &error), PHLOX_ERROR_CANCELLED,
              "cancelled");
    assert_int_equal(test_for_each(directory, NULL, NULL), 0);
    options.progress = NULL;
    options.weight_format = PHLOX_WEIGHTS_INT4;
    options.group_size = 100;
    MUST_FAIL(phlox_export(source, "openvino", out, &options, NULL, NULL, &error), PHLOX_ERROR_ARGUMENT,
              "group");
    assert_int_equal(test_for_each(directory, NULL, NULL), 0);
    /* What is there already stays. */
    assert_int_equal(mkdir(out, 0777), 0);
    test_write_text(out, "mine.txt", "mine");
    MUST_FAIL(phlox_export(source, "openvino", out, NULL, NULL, NULL, &error), PHLOX_ERROR_ARGUMENT,
              "is there already");
    assert_true(test_exists(test_path(path, "%s/mine.txt", out)));
    test_remove(out);
    test_write_text(directory, "out", "a file");
    MUST_FAIL(phlox_export(source, "openvino", out, NULL, NULL, NULL, &error), PHLOX_ERROR_ARGUMENT,
              "is there already");
    test_remove(out);
    /* A link is no directory to write to, wherever it leads. */
    assert_int_equal(symlink("elsewhere", out), 0);
    MUST_FAIL(phlox_export(source, "openvino", out, NULL, NULL, NULL, &error), PHLOX_ERROR_ARGUMENT,
              "is there already");
    assert_int_equal(remove(out), 0);
    /* An empty directory is taken; it stays when the export fails, and what is called as if an export had
     * left it is not touched. */
    assert_int_equal(mkdir(out, 0777), 0);
    test_path(path, "%s/out.partial", directory);
    assert_int_equal(mkdir(path, 0777), 0);
    test_write_text(path, "openvino_model.bin", "half");
    options = (phlox_model_options){.struct_size = sizeof options, .progress = cancel};
    MUST_FAIL(phlox_export(source, "openvino", out, &options, NULL, NULL, &error), PHLOX_ERROR_CANCELLED,
              "cancelled");
    assert_int_equal(test_for_each(directory, NULL, NULL), 2);
    MUST(phlox_export(source, "openvino", out, NULL, NULL, NULL, &error));
    assert_int_equal(test_for_each(directory, NULL, NULL), 2);
    assert_true(test_exists(test_path(path, "%s/openvino_model.xml", out)));
    assert_true(test_exists(test_path(path, "%s/out.partial/openvino_model.bin", directory)));
    test_remove(directory);
}

/* What optimum-cli takes for a model that it knows. */
static void defaults_of_known_models(void **state)
{
    (void)state;
    char directory[TEST_PATH], source[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    test_path(source, "%s/Phi-3-mini-4k-instruct", directory);
    assert_int_equal(mkdir(source, 0777), 0);
    test_copy(PHLOX_SOURCE_DIR "/models/demo/hf", source);
    phlox_error error;
    phlox_export_result result;
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.weight_format = PHLOX_WEIGHTS_INT4;
    options.threads = 1;
    MUST(phlox_export(source, "openvino", test_path(out, "%s/a", directory), &options, NULL, &result, &error));
    assert_non_null(strstr(result.weights, "int4 asym g64"));
    assert_non_null(strstr(result.note, "scale estimation"));
    options.symmetry = PHLOX_SYM;
    MUST(phlox_export(source, "openvino", test_path(out, "%s/b", directory), &options, NULL, &result, &error));
    assert_non_null(strstr(result.weights, "int4 sym g128"));
    assert_string_equal(result.note, "");
    options = (phlox_model_options){.struct_size = sizeof options};
    MUST(phlox_export(source, "openvino", test_path(out, "%s/c", directory), &options, NULL, &result, &error));
    assert_string_equal(result.weights, "bf16");
    test_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openvino_bytes),
        cmocka_unit_test(again),
        cmocka_unit_test(nothing_is_left_or_lost),
        cmocka_unit_test(defaults_of_known_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
