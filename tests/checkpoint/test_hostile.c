/* Every case of tests/golden/hostile: malformed checkpoints get a clear error, odd ones that are
 * valid give the right logits. The manifest is described in make_hostile.py. */
#include "support.h"

#include <phlox/phlox.h>

#include <jansson.h>

#define HOSTILE PHLOX_SOURCE_DIR "/tests/golden/hostile"

static void write_generated(const char *directory, const json_t *generate)
{
    const json_t *const prefix = json_object_get(generate, "prefix");
    const json_t *const suffix = json_object_get(generate, "suffix");
    const char *const repeat = json_string_value(json_object_get(generate, "repeat"));
    const json_int_t times = json_integer_value(json_object_get(generate, "times"));
    char path[TEST_PATH];
    FILE *file = fopen(
        test_path(path, "%s/%s", directory, json_string_value(json_object_get(generate, "file"))),
        "wb");
    assert_non_null(file);
    fwrite(json_string_value(prefix), 1, json_string_length(prefix), file);
    for (json_int_t i = 0; i < times; i++) fputs(repeat, file);
    fwrite(json_string_value(suffix), 1, json_string_length(suffix), file);
    assert_int_equal(fclose(file), 0);
}

static void build(const json_t *entry, char *directory)
{
    const char *const name = json_string_value(json_object_get(entry, "name"));
    const char *const base = json_string_value(json_object_get(entry, "base"));
    const json_t *const generate = json_object_get(entry, "generate");
    char from[TEST_PATH];
    if (base) test_copy(test_path(from, HOSTILE "/%s", base), directory);
    test_copy(test_path(from, HOSTILE "/%s", name), directory);
    if (generate) write_generated(directory, generate);
}

/* Opens the directory and computes logits; `all` receives them (free) when ids are there. */
static phlox_status compute(const char *directory, const test_npy *ids, float **all,
                            phlox_error *error)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 1;
    phlox_model *model = NULL;
    phlox_session *session = NULL;
    phlox_status status = phlox_model_open(directory, &options, &model, error);
    if (status != PHLOX_OK) {
        assert_null(model);
        return status;
    }
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    *all = calloc((size_t)(ids->rows * info.vocab_size), sizeof **all);
    assert_non_null(*all);
    status = phlox_session_create(model, &session, error);
    if (status == PHLOX_OK)
        status = phlox_session_append(session, ids->ints, (size_t)ids->rows, *all, NULL, NULL,
                                      error);
    phlox_session_close(&session);
    phlox_model_close(&model);
    return status;
}

/* What is wrong with the outcome of a case; the number of complaints. */
static int check_case(const json_t *entry)
{
    const char *const name = json_string_value(json_object_get(entry, "name"));
    const char *const expect = json_string_value(json_object_get(entry, "expect"));
    char directory[TEST_PATH], path[TEST_PATH];
    test_directory(directory);
    build(entry, directory);
    test_path(path, "%s/ids.npy", directory);
    test_npy ids = test_npy_open(test_exists(path) ? path : HOSTILE "/good/ids.npy");
    float *all = NULL;
    phlox_error error = {0};
    const phlox_status status = compute(directory, &ids, &all, &error);
    int wrong = 0;
    if (!strcmp(expect, "ok") && status != PHLOX_OK) {
        print_error("%s should open: %s\n", name, error.message);
        wrong++;
    } else if (!strcmp(expect, "ok")) {
        test_npy logits = test_npy_open(test_path(path, "%s/logits.npy", directory));
        const double most =
            test_difference(all, logits.floats, (size_t)(logits.rows * logits.columns));
        if (!(most <= 1e-3)) {
            print_error("%s: the logits differ by %g\n", name, most);
            wrong++;
        }
        test_npy_close(&logits);
    } else if (!strcmp(expect, "error")) {
        if (status == PHLOX_OK || error.code != status) {
            print_error("%s should fail\n", name);
            wrong++;
        }
        size_t i;
        json_t *word;
        json_array_foreach(json_object_get(entry, "words"), i, word)
        {
            if (status == PHLOX_OK || strstr(error.message, json_string_value(word))) continue;
            print_error("%s: \"%s\" lacks %s\n", name, error.message, json_string_value(word));
            wrong++;
        }
        if (status == PHLOX_ERROR_INTERNAL || status == PHLOX_ERROR_MEMORY) {
            print_error("%s: %s\n", name, error.message);
            wrong++;
        }
    } else {
        assert_string_equal(expect, "any");
    }
    free(all);
    test_npy_close(&ids);
    test_remove(directory);
    return wrong;
}

static json_t *manifest;

static int check_group(const char *group)
{
    size_t i, cases = 0;
    int wrong = 0;
    json_t *entry;
    json_array_foreach(manifest, i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "group")), group) != 0) continue;
        wrong += check_case(entry);
        cases++;
    }
    assert_true(cases > 5);
    return wrong;
}

#define GROUP(group)                                                                             \
    static void group(void **state)                                                              \
    {                                                                                            \
        (void)state;                                                                             \
        assert_int_equal(check_group(#group), 0);                                                \
    }

GROUP(safetensors)
GROUP(index)
GROUP(weights)
GROUP(config)
GROUP(tokenizer)
GROUP(valid)

/* A case of a group that no test runs would go unnoticed. */
static void every_group_is_run(void **state)
{
    (void)state;
    static const char *const groups[] = {"safetensors", "index", "weights", "config", "tokenizer",
                                         "valid"};
    size_t i;
    json_t *entry;
    json_array_foreach(manifest, i, entry)
    {
        const char *const group = json_string_value(json_object_get(entry, "group"));
        bool known = false;
        for (size_t g = 0; g < PX_COUNT(groups); g++) known |= !strcmp(group, groups[g]);
        if (!known) fail_msg("the group %s is not run", group);
    }
}

static int setup(void **state)
{
    (void)state;
    json_error_t error;
    manifest = json_load_file(HOSTILE "/manifest.json", JSON_ALLOW_NUL, &error);
    return manifest ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(manifest);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_group_is_run), cmocka_unit_test(safetensors),
        cmocka_unit_test(index),              cmocka_unit_test(weights),
        cmocka_unit_test(config),             cmocka_unit_test(tokenizer),
        cmocka_unit_test(valid),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
