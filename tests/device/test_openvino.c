/*
 * OpenVINO itself, where PHLOX_TEST_OPENVINO names its library or directory: the logits of transformers
 * for every member of the family, text of the built-in model, and what sequences can do. Without it these
 * tests are skipped; test_openvino_faults.c plays the runtime.
 */
#include "engine/family.h"

static const double exact_tolerance = 1e-4;

static const char *library(void)
{
    const char *const path = getenv("PHLOX_TEST_OPENVINO");
    if (!path || !path[0]) skip();
    return path;
}

static phlox_model_options options_for(const char *device)
{
    phlox_model_options options = family_options();
    options.device = device;
    options.openvino_library = library();
    options.exact = true;
    return options;
}

/* ---- the golden logits --------------------------------------------------------------------- */

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
    return g;
}

static void golden_close(golden *g)
{
    test_npy_close(&g->ids);
    test_npy_close(&g->logits);
    test_npy_close(&g->steps);
}

static void check_rows(const golden *g, const char *how, const float *got, const test_npy *wanted,
                       size_t from, size_t to)
{
    char what[200];
    snprintf(what, sizeof what, "%s, %s, rows %zu to %zu", g->name, how, from, to);
    test_close(what, got + from * g->vocab, wanted->floats + from * g->vocab, (to - from) * g->vocab,
               exact_tolerance);
}

/* Whole, one by one, three at a time, and in two pieces around the longrope boundary. */
static void check_member(const char *path, const char *name, void *user)
{
    (void)user;
    golden g = golden_open(path, name);
    const phlox_model_options options = options_for("openvino:CPU");
    phlox_model *model = family_open(g.path, &options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    const size_t boundary = info.longrope ? (size_t)info.original_context_size : g.n / 2;
    float *got = family_whole(model, g.ids.ints, g.n);
    check_rows(&g, "whole", got, &g.logits, 0, g.n);
    free(got);
    got = family_run(model, g.ids.ints, g.n, 0, 1);
    check_rows(&g, "one by one", got, &g.steps, 0, g.n);
    free(got);
    got = family_run(model, g.ids.ints, g.n, 0, 3);
    for (size_t i = 2; i < g.n; i += 3) check_rows(&g, "three at a time", got, &g.steps, i, i + 1);
    free(got);
    got = family_run(model, g.ids.ints, g.n, boundary - 1, g.n);
    check_rows(&g, "two pieces", got, &g.logits, boundary, g.n);
    free(got);
    phlox_model_close(&model);
    golden_close(&g);
}

static void equals_transformers(void **state)
{
    (void)state;
    library();
    assert_true(test_for_each(FAMILY, check_member, NULL) >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
