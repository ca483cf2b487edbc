/* The logits of transformers for every member of the family: whole, one token at a time, and
 * mixed around the longrope boundary; with other threads, kernels and float formats. */
#include "family.h"

typedef struct golden {
    const char *name;
    char path[TEST_PATH];
    test_npy ids, logits, steps;
    size_t n, vocab;
} golden;

static golden golden_open(const char *path, const char *name)
{
    golden g = {.name = name};
    char file[TEST_PATH];
    test_path(g.path, "%s", path);
    g.ids = test_npy_open(test_path(file, "%s/ids.npy", path));
    g.logits = test_npy_open(test_path(file, "%s/logits.npy", path));
    g.steps = test_npy_open(test_path(file, "%s/steps.npy", path));
    g.n = (size_t)g.ids.rows;
    g.vocab = (size_t)g.logits.columns;
    assert_int_equal(g.logits.rows, g.ids.rows);
    assert_int_equal(g.steps.rows, g.ids.rows);
    return g;
}

static void golden_close(golden *g)
{
    test_npy_close(&g->ids);
    test_npy_close(&g->logits);
    test_npy_close(&g->steps);
}

typedef void member_test(const golden *g);

static void call_member(const char *path, const char *name, void *user)
{
    golden g = golden_open(path, name);
    (*(member_test **)user)(&g);
    golden_close(&g);
}

static void for_each_member(member_test *test)
{
    assert_true(test_for_each(FAMILY, call_member, &test) >= 10);
}

static const double tolerance = 2e-4;

/* ---- whole, steps, mixed ------------------------------------------------------------------- */

static void check_rows(const golden *g, const char *how, const float *got, const test_npy *wanted,
                       size_t from, size_t to)
{
    char what[200];
    snprintf(what, sizeof what, "%s, %s, rows %zu to %zu", g->name, how, from, to);
    test_close(what, got + from * g->vocab, wanted->floats + from * g->vocab,
               (to - from) * g->vocab, tolerance);
}

static void member_logits(const golden *g)
{
    const phlox_model_options options = family_options();
    phlox_model *model = family_open(g->path, &options);
    assert_int_equal(family_vocab(model), g->vocab);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    const size_t boundary = info.longrope ? (size_t)info.original_context_size : g->n / 2;
    assert_in_range(boundary, 1, g->n - 1);

    float *got = family_whole(model, g->ids.ints, g->n);
    check_rows(g, "whole", got, &g->logits, 0, g->n);
    free(got);
    got = family_run(model, g->ids.ints, g->n, 0, 1);
    check_rows(g, "one by one", got, &g->steps, 0, g->n);
    free(got);
    const size_t heads[] = {1, 2, boundary - 1, boundary, boundary + 1, g->n - 1};
    for (size_t i = 0; i < PX_COUNT(heads); i++) {
        char how[64];
        snprintf(how, sizeof how, "%zu at once, then one by one", heads[i]);
        got = family_run(model, g->ids.ints, g->n, heads[i], 1);
        check_rows(g, how, got, &g->steps, heads[i] - 1, g->n);
        free(got);
        /* The rest in one piece: all of it sees the factors of the whole length. */
        snprintf(how, sizeof how, "%zu at once, then the rest", heads[i]);
        got = family_run(model, g->ids.ints, g->n, heads[i], g->n);
        check_rows(g, how, got, &g->steps, heads[i] - 1, heads[i]);
        check_rows(g, how, got, &g->logits, heads[i], g->n);
        free(got);
    }
    phlox_model_close(&model);
}

static void equals_transformers(void **state)
{
    (void)state;
    for_each_member(member_logits);
}

/* ---- threads, kernels ---------------------------------------------------------------------- */

static float *run_with(const golden *g, phlox_model_options options, size_t head)
{
    phlox_model *model = family_open(g->path, &options);
    float *got = head ? family_run(model, g->ids.ints, g->n, head, 1)
                      : family_whole(model, g->ids.ints, g->n);
    phlox_model_close(&model);
    return got;
}

static void member_threads(const golden *g)
{
    static const phlox_weight_format formats[] = {PHLOX_WEIGHTS_STORED, PHLOX_WEIGHTS_INT8};
    for (size_t f = 0; f < PX_COUNT(formats); f++) {
        for (size_t head = 0; head < g->n; head += g->n / 2 + 1) {
            float *first = NULL;
            for (int32_t threads = 1; threads <= 3; threads++) {
                phlox_model_options options = family_options();
                options.threads = threads;
                options.weight_format = formats[f];
                float *got = run_with(g, options, head);
                if (first && memcmp(first, got, g->n * g->vocab * sizeof *got) != 0)
                    fail_msg("%s: %d threads give other bits than one", g->name, threads);
                if (!first) first = got;
                else free(got);
            }
            free(first);
        }
    }
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    for_each_member(member_threads);
}

/* The batch does not change a bit either: whole equals steps where the factors are the same. */
static void member_batches(const golden *g)
{
    phlox_model_options options = family_options();
    phlox_model *model = family_open(g->path, &options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    float *whole = family_whole(model, g->ids.ints, g->n);
    float *steps = family_run(model, g->ids.ints, g->n, 0, 1);
    const size_t from = info.longrope ? (size_t)info.original_context_size : 0;
    assert_memory_equal(whole + from * g->vocab, steps + from * g->vocab,
                        (g->n - from) * g->vocab * sizeof *whole);
    free(whole);
    free(steps);
    phlox_model_close(&model);
}

static void batches_change_no_bit(void **state)
{
    (void)state;
    for_each_member(member_batches);
}

static void member_kernels(const golden *g)
{
    phlox_model_options options = family_options();
    options.cpu_mask = UINT64_MAX;
    phlox_model *model = family_open(g->path, &options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_string_equal(info.kernels, "reference");
    float *reference = family_whole(model, g->ids.ints, g->n);
    phlox_model_close(&model);
    check_rows(g, "reference", reference, &g->logits, 0, g->n);
    options.cpu_mask = 0;
    float *fast = run_with(g, options, 0);
    test_close(g->name, fast, reference, g->n * g->vocab, 1e-4);
    free(reference);
    free(fast);
}

static void kernels_agree(void **state)
{
    (void)state;
    for_each_member(member_kernels);
}

/* ---- float formats ------------------------------------------------------------------------- */

/* Rounded to nearest even at `fraction` bits behind the leading one, no finer than 2^least. */
static float round_to(float value, int fraction, int least)
{
    if (value == 0) return value;
    int exponent;
    frexp((double)value, &exponent);
    const int unit = PX_MAX(exponent - 1 - fraction, least);
    return (float)ldexp(nearbyint(ldexp((double)value, -unit)), unit);
}

/* The member as float32 checkpoint, its matrices rounded as the format says. */
static void round_member(const golden *g, phlox_weight_format format, char *directory)
{
    char path[TEST_PATH];
    test_copy(g->path, directory);
    size_t size;
    char *bytes = test_read(test_path(path, "%s/model.safetensors", directory), &size);
    assert_true(strstr(bytes + 8, "\"F32\"") != NULL);
    uint64_t header;
    memcpy(&header, bytes, 8);
    for (char *at = bytes + 8; (at = strstr(at, "\"shape\":[")); at++) {
        long long rows, columns, begin, end;
        if (sscanf(at, "\"shape\":[%lld,%lld],\"data_offsets\":[%lld,%lld]", &rows, &columns,
                   &begin, &end) != 4)
            continue; /* a norm */
        for (long long i = begin; i < end; i += 4) {
            float value;
            memcpy(&value, bytes + 8 + header + i, 4);
            value = format == PHLOX_WEIGHTS_F16 ? round_to(value, 10, -24)
                                                : round_to(value, 7, -133);
            memcpy(bytes + 8 + header + i, &value, 4);
        }
    }
    test_write(path, bytes, size);
    free(bytes);
}

static void float_formats(void **state)
{
    (void)state;
    golden g = golden_open(FAMILY "/f32", "f32");
    phlox_model_options options = family_options();
    static const phlox_weight_format narrow[] = {PHLOX_WEIGHTS_F16, PHLOX_WEIGHTS_BF16};
    for (size_t i = 0; i < PX_COUNT(narrow); i++) {
        options.weight_format = narrow[i];
        float *got = run_with(&g, options, 0);
        char directory[TEST_PATH];
        test_directory(directory);
        round_member(&g, narrow[i], directory);
        options.weight_format = PHLOX_WEIGHTS_STORED;
        phlox_model *model = family_open(directory, &options);
        float *wanted = family_whole(model, g.ids.ints, g.n);
        phlox_model_close(&model);
        assert_true(test_difference(wanted, g.logits.floats, g.n * g.vocab) > 1e-4);
        test_close("rounded weights", got, wanted, g.n * g.vocab, tolerance);
        test_remove(directory);
        free(got);
        free(wanted);
    }
    golden_close(&g);
}

/* Wider formats hold what was stored. */
static void wider_formats(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        phlox_weight_format format;
        const char *weights, *stored;
    } cases[] = {
        {"phi3-mini-4k", PHLOX_WEIGHTS_DEFAULT, "bf16", "bf16"},
        {"phi3-mini-4k", PHLOX_WEIGHTS_STORED, "bf16", "bf16"},
        {"phi3-mini-4k", PHLOX_WEIGHTS_BF16, "bf16", "bf16"},
        {"phi3-mini-4k", PHLOX_WEIGHTS_F32, "f32", "bf16"},
        {"f16", PHLOX_WEIGHTS_F32, "f32", "f16"},
        {"f16", PHLOX_WEIGHTS_F16, "f16", "f16"},
        {"f32", PHLOX_WEIGHTS_F32, "f32", "f32"},
        {"sharded", PHLOX_WEIGHTS_F32, "f32", "bf16"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char path[TEST_PATH];
        golden g = golden_open(test_path(path, FAMILY "/%s", cases[i].name), cases[i].name);
        phlox_model_options options = family_options();
        options.weight_format = cases[i].format;
        phlox_model *model = family_open(path, &options);
        phlox_model_info info;
        phlox_model_get_info(model, &info);
        assert_string_equal(info.weights, cases[i].weights);
        assert_string_equal(info.stored, cases[i].stored);
        float *got = family_whole(model, g.ids.ints, g.n);
        check_rows(&g, cases[i].weights, got, &g.logits, 0, g.n);
        free(got);
        phlox_model_close(&model);
        golden_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_transformers),   cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(batches_change_no_bit), cmocka_unit_test(kernels_agree),
        cmocka_unit_test(float_formats),         cmocka_unit_test(wider_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
