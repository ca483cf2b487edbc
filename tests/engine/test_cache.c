/* Packed weights in the cache: found again, made anew when anything changed, the same logits. */
#include "family.h"

#include <fcntl.h>

struct place {
    char source[TEST_PATH], cache[TEST_PATH];
    test_npy ids;
    float *wanted; /* logits of int8 packed into memory */
    size_t bytes;
};

static phlox_model_options int8(const struct place *p)
{
    phlox_model_options options = family_options();
    options.no_cache = false;
    options.cache_dir = p->cache;
    options.weight_format = PHLOX_WEIGHTS_INT8;
    return options;
}

/* Opens, and checks whether something was converted. The logits (free). */
static float *run_options(const struct place *p, const phlox_model_options *options, bool found)
{
    phlox_model *model = family_open(p->source, options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    if (info.from_cache != found) fail_msg("from_cache is %d", info.from_cache);
    float *logits = family_whole(model, p->ids.ints, (size_t)p->ids.rows);
    phlox_model_close(&model);
    return logits;
}

static void check_open(const struct place *p, bool found)
{
    const phlox_model_options options = int8(p);
    float *logits = run_options(p, &options, found);
    assert_memory_equal(logits, p->wanted, p->bytes);
    free(logits);
}

static void take_path(const char *path, const char *name, void *user)
{
    (void)name;
    test_path(user, "%s", path);
}

static void found_again(void **state)
{
    const struct place *p = *state;
    check_open(p, false);
    check_open(p, true);
    check_open(p, true);
    assert_int_equal(test_for_each(p->cache, NULL, NULL), 1);
    /* What is run as stored needs no cache. */
    phlox_model_options options = int8(p);
    options.weight_format = PHLOX_WEIGHTS_STORED;
    free(run_options(p, &options, false));
    assert_int_equal(test_for_each(p->cache, NULL, NULL), 1);
    options = int8(p);
    options.no_cache = true;
    free(run_options(p, &options, false));
    assert_int_equal(test_for_each(p->cache, NULL, NULL), 1);
}

static void every_option_has_its_own(void **state)
{
    const struct place *p = *state;
    phlox_model_options sets[9];
    for (size_t i = 0; i < PX_COUNT(sets); i++) {
        sets[i] = int8(p);
        if (i >= 3) {
            sets[i].weight_format = PHLOX_WEIGHTS_INT4;
            sets[i].group_size = 32;
        }
    }
    sets[1].symmetry = PHLOX_SYM;
    sets[2].weight_format = PHLOX_WEIGHTS_F32;
    sets[4].symmetry = PHLOX_SYM;
    sets[5].group_size = -1;
    sets[6].ratio = 0.5;
    sets[7].all_layers = true;
    sets[8].backup_precision = PHLOX_BACKUP_INT8_SYM;
    float *logits[PX_COUNT(sets)];
    for (size_t i = 0; i < PX_COUNT(sets); i++) {
        logits[i] = run_options(p, &sets[i], false);
        phlox_model_options memory = sets[i];
        memory.no_cache = true;
        memory.threads = 1;
        float *other = run_options(p, &memory, false);
        assert_memory_equal(other, logits[i], p->bytes);
        free(other);
    }
    assert_int_equal(test_for_each(p->cache, NULL, NULL), PX_COUNT(sets));
    for (size_t i = 0; i < PX_COUNT(sets); i++) {
        float *again = run_options(p, &sets[i], true);
        assert_memory_equal(again, logits[i], p->bytes);
        free(again);
        for (size_t other = 0; other < i; other++)
            if (memcmp(logits[i], logits[other], p->bytes) == 0)
                fail_msg("the option sets %zu and %zu give the same", other, i);
    }
    for (size_t i = 0; i < PX_COUNT(sets); i++) free(logits[i]);
    /* Threads, kernels and the context do not change the weights. */
    phlox_model_options same = int8(p);
    same.threads = 3;
    same.cpu_mask = UINT64_MAX;
    same.exact = true;
    same.context_size = 64;
    free(run_options(p, &same, true));
}

static void a_changed_source_is_packed_anew(void **state)
{
    const struct place *p = *state;
    check_open(p, false);
    check_open(p, true);
    char path[TEST_PATH];
    struct stat info;
    assert_int_equal(stat(test_path(path, "%s/model.safetensors", p->source), &info), 0);
    const struct timespec later[2] = {{info.st_mtim.tv_sec + 10, 0}, {info.st_mtim.tv_sec + 10, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
    check_open(p, false);
    check_open(p, true);
    assert_int_equal(test_for_each(p->cache, NULL, NULL), 1);
    /* Other weights of the same size. */
    test_copy(FAMILY "/sharded", (char *)(uintptr_t)p->source);
    remove(path);
    const phlox_model_options options = int8(p);
    float *logits = run_options(p, &options, false);
    assert_memory_not_equal(logits, p->wanted, p->bytes);
    free(logits);
}

static void damage_is_repaired(void **state)
{
    const struct place *p = *state;
    char path[TEST_PATH];
    check_open(p, false);
    assert_int_equal(test_for_each(p->cache, take_path, path), 1);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    for (int kind = 0; kind < 5; kind++) {
        const uint64_t zero = 0;
        size_t size;
        char *bytes = test_read(path, &size);
        const char wrong = (char)(bytes[size / 2] ^ 1), header_wrong = (char)(bytes[30] ^ 1);
        free(bytes);
        if (kind == 0) assert_int_equal(truncate(path, info.st_size - 1), 0);
        if (kind == 1) assert_int_equal(truncate(path, 0), 0);
        if (kind == 2) test_patch(path, 30, &header_wrong, 1);
        if (kind == 3) test_write(path, "something else", 14);
        if (kind == 4) { /* damaged before its first use */
            test_patch(path, (long)(size / 2), &wrong, 1);
            test_patch(path, 4024, &zero, sizeof zero);
        }
        check_open(p, false);
        check_open(p, true);
    }
    /* In use already: `cache verify` finds it. */
    size_t size, checked, damaged;
    char *bytes = test_read(path, &size);
    const char wrong = (char)(bytes[size / 2] ^ 1);
    free(bytes);
    test_patch(path, (long)(size / 2), &wrong, 1);
    phlox_error error;
    MUST(phlox_cache_verify(p->cache, NULL, NULL, &checked, &damaged, &error));
    assert_true(checked == 1 && damaged == 1);
    check_open(p, false);
}

static void no_room(void **state)
{
    const struct place *p = *state;
    phlox_model_options options = int8(p);
    options.cache_limit = 1000;
    phlox_model *model = NULL;
    phlox_error error;
    MUST_FAIL(phlox_model_open(p->source, &options, &model, &error), PHLOX_ERROR_ARGUMENT,
              "--cache-limit");
    char path[TEST_PATH];
    test_write_text(p->cache, "file", "");
    options = int8(p);
    options.cache_dir = test_path(path, "%s/file", p->cache);
    MUST_FAIL(phlox_model_open(p->source, &options, &model, &error), PHLOX_ERROR_IO, "file");
    assert_null(model);
}

static bool stop_at_once(void *user, const phlox_progress *progress)
{
    assert_true(progress->done <= progress->total && progress->what[0]);
    ++*(int *)user;
    return false;
}

static void cancelled_conversions_leave_nothing(void **state)
{
    const struct place *p = *state;
    phlox_model_options options = int8(p);
    int calls = 0;
    options.progress = stop_at_once;
    options.progress_user = &calls;
    phlox_model *model = NULL;
    phlox_error error;
    MUST_FAIL(phlox_model_open(p->source, &options, &model, &error), PHLOX_ERROR_CANCELLED,
              "cancelled");
    assert_int_equal(calls, 1);
    assert_int_equal(test_for_each(p->cache, NULL, NULL), 0);
    options.weight_format = PHLOX_WEIGHTS_INT4;
    options.group_size = 32;
    options.ratio = 0.5;
    MUST_FAIL(phlox_model_open(p->source, &options, &model, &error), PHLOX_ERROR_CANCELLED,
              "cancelled");
    options.ratio = 0;
    options.no_cache = true;
    MUST_FAIL(phlox_model_open(p->source, &options, &model, &error), PHLOX_ERROR_CANCELLED,
              "cancelled");
    check_open(p, false);
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    test_directory(p->source);
    test_directory(p->cache);
    test_copy(FAMILY "/phi4", p->source);
    char path[TEST_PATH];
    p->ids = test_npy_open(test_path(path, "%s/ids.npy", p->source));
    p->bytes = (size_t)p->ids.rows * 131 * sizeof(float);
    phlox_model_options options = int8(p);
    options.no_cache = true;
    p->wanted = run_options(p, &options, false);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    test_remove(p->source);
    test_remove(p->cache);
    test_npy_close(&p->ids);
    free(p->wanted);
    free(p);
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(found_again),        TEST(every_option_has_its_own),
        TEST(damage_is_repaired), TEST(a_changed_source_is_packed_anew),
        TEST(no_room),            TEST(cancelled_conversions_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
