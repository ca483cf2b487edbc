/*
 * What every format costs, as KL divergence from float32 in thousandths of a nat: on the built-in
 * model and on the checkpoints of tests/golden/make_quality.py, which have what makes trained models
 * hard. Causes apart: the rounding of the weights (float32 activations and cache), of the activations
 * (against float32 activations with the same weights), and of the cache (float32 weights and
 * activations, because among rounded activations a change of the cache moves all later roundings and
 * the divergence is mostly theirs); then all together.
 *
 * Bounds are one and a half times the mean that was measured and twice the largest value;
 * `test_quality --print` shows these. docs/SPEED.md has the table and what follows from it.
 */
#include "engine/family.h"

#include "api/compare.h"

#define QUALITY PHLOX_SOURCE_DIR "/tests/golden/quality"

static bool prints; /* what is measured */

typedef struct cost {
    double mean, most; /* thousandths of a nat */
} cost;

/* ---- formats ------------------------------------------------------------------------------- */

typedef struct recipe {
    const char *name;
    phlox_weight_format weights;
    phlox_symmetry symmetry;
    int32_t group_size;
    phlox_quant_method method;
} recipe;

#define INT4(group, size)                                                                           \
    {"int4 sym " group, PHLOX_WEIGHTS_INT4, PHLOX_SYM, size, PHLOX_QUANT_DEFAULT},                   \
    {"int4 asym " group, PHLOX_WEIGHTS_INT4, PHLOX_ASYM, size, PHLOX_QUANT_DEFAULT},                 \
    {"int4 sym " group " search", PHLOX_WEIGHTS_INT4, PHLOX_SYM, size, PHLOX_QUANT_SEARCH},          \
    {"int4 asym " group " search", PHLOX_WEIGHTS_INT4, PHLOX_ASYM, size, PHLOX_QUANT_SEARCH}

enum { FIRST_INTEGER = 2, FIRST_INT4 = 4, FORMATS = 20 };

static const recipe formats[FORMATS] = {
    {"f16", PHLOX_WEIGHTS_F16, PHLOX_SYMMETRY_DEFAULT, 0, PHLOX_QUANT_DEFAULT},
    {"bf16", PHLOX_WEIGHTS_BF16, PHLOX_SYMMETRY_DEFAULT, 0, PHLOX_QUANT_DEFAULT},
    {"int8 sym", PHLOX_WEIGHTS_INT8, PHLOX_SYM, 0, PHLOX_QUANT_DEFAULT},
    {"int8 asym", PHLOX_WEIGHTS_INT8, PHLOX_ASYM, 0, PHLOX_QUANT_DEFAULT},
    INT4("g32", 32),
    INT4("g64", 64),
    INT4("g128", 128),
    INT4("a row", -1),
};

static const struct {
    const char *name;
    phlox_kv_cache type;
} caches[] = {{"f16 cache", PHLOX_KV_F16}, {"int8 cache", PHLOX_KV_INT8},
              {"int4 cache", PHLOX_KV_INT4}};

enum { INT8_CACHE = 1, CACHES = PX_COUNT(caches) };

/* ---- bounds -------------------------------------------------------------------------------- */

typedef struct fixture {
    const char *name; /* NULL: the built-in model */
    cost caches[CACHES];
    cost activations[2]; /* int8 weights, int4 weights */
    cost weights[FORMATS]; /* rows: f16 and bf16; int8; int4 in groups of 32, 64, 128 and a row */
    /* what was read and measured */
    char path[TEST_PATH];
    int32_t *ids;
    size_t n, vocab;
    float *reference; /* logits of float32 everywhere */
    double rounding[FORMATS]; /* the mean cost of the weights */
} fixture;

static fixture fixtures[] = {
    {
        .name = "outliers",
        .caches = {{0.0005, 0.023}, {1.2, 8.3}, {33, 420}},
        .activations = {{6, 47}, {6.2, 140}},
        .weights = {
            {0.0005, 0.0005}, {0, 0},
            {2.8, 18}, {2.2, 12},
            {270, 1700}, {220, 3200}, {240, 1800}, {180, 1100},
            {270, 1700}, {310, 2700}, {230, 1800}, {240, 1800},
            {350, 2900}, {320, 2900}, {280, 1600}, {300, 1700},
            {350, 2900}, {320, 2900}, {280, 1600}, {300, 1700},
        },
    },
    {
        .name = "tails",
        .caches = {{0.0005, 0.0005}, {0.067, 0.4}, {13, 77}},
        .activations = {{0.6, 3.8}, {0.61, 3.3}},
        .weights = {
            {0.0005, 0.0005}, {0, 0},
            {2.9, 12}, {1.5, 6},
            {200, 740}, {110, 440}, {160, 560}, {110, 580},
            {270, 870}, {180, 620}, {230, 1100}, {160, 610},
            {400, 1600}, {260, 930}, {310, 1100}, {240, 780},
            {400, 1600}, {260, 930}, {310, 1100}, {240, 780},
        },
    },
    {
        .name = "zeros",
        .caches = {{0.0005, 0.0005}, {0.05, 0.32}, {13, 110}},
        .activations = {{0.56, 1.9}, {0.6, 2.8}},
        .weights = {
            {0.0005, 0.0012}, {0, 0},
            {2.2, 11}, {2.9, 14},
            {63, 300}, {59, 490}, {56, 250}, {53, 310},
            {77, 530}, {84, 670}, {66, 270}, {69, 340},
            {86, 310}, {90, 410}, {79, 380}, {77, 390},
            {86, 310}, {90, 410}, {79, 380}, {77, 390},
        },
    },
    {
        .name = NULL,
        .caches = {{0.0006, 0.013}, {0.33, 3.3}, {95, 2400}},
        .activations = {{0.86, 13}, {0.99, 19}},
        .weights = {
            {0.0005, 0.0005}, {0, 0},
            {1.2, 16}, {0.93, 6.8},
            {130, 1600}, {92, 840}, {120, 1300}, {98, 1500},
            {120, 1300}, {110, 860}, {120, 1900}, {130, 800},
            {160, 1200}, {160, 1800}, {150, 2000}, {150, 2200},
            {180, 3000}, {180, 1700}, {170, 1200}, {160, 1100},
        },
    },
};

/* ---- measuring ----------------------------------------------------------------------------- */

static const char *name_of(const fixture *f)
{
    return f->name ? f->name : "built-in";
}

static phlox_model_options options_of(const recipe *how, bool exact, phlox_kv_cache cache)
{
    phlox_model_options options = family_options();
    options.weight_format = how ? how->weights : PHLOX_WEIGHTS_F32;
    if (how) {
        options.symmetry = how->symmetry;
        options.group_size = how->group_size;
        options.quant_method = how->method;
    }
    options.exact = exact;
    options.kv_cache = cache;
    return options;
}

/* Logits, free() them. */
static float *run(const fixture *f, const phlox_model_options *options)
{
    phlox_model *model = family_open(f->name ? f->path : NULL, options);
    float *const logits = family_whole(model, f->ids, f->n);
    phlox_model_close(&model);
    return logits;
}

static cost cost_of(const fixture *f, const float *reference, const float *candidate)
{
    cost sum = {0};
    for (size_t i = 0; i < f->n; i++) {
        const double kl = 1000 * px_divergence_of(reference + i * f->vocab, candidate + i * f->vocab,
                                                  (int32_t)f->vocab).kl;
        sum.mean += kl / (double)f->n;
        sum.most = PX_MAX(sum.most, kl);
    }
    return sum;
}

/* False, with a message, when one of the two is above its bound. */
static bool within(const fixture *f, const char *what, const char *cause, cost got, cost bound)
{
    const bool good = got.mean <= bound.mean && got.most <= bound.most;
    if (prints || !good)
        print_message("%-8s %-22s %-11s %10.3g (most %9.3g)%s\n", name_of(f), what, cause, got.mean,
                      got.most, good ? "" : " ABOVE ITS BOUND");
    if (!good) print_message("%43s %10.3g (most %9.3g)\n", "bound", bound.mean, bound.most);
    return good;
}

static cost add(cost a, cost b)
{
    return (cost){a.mean + b.mean, a.most + b.most};
}

/* ---- fixtures ------------------------------------------------------------------------------ */

static void read_ids(fixture *f)
{
    char path[TEST_PATH];
    test_npy ids = test_npy_open(test_path(path, "%s/ids.npy", f->path));
    f->n = (size_t)ids.rows;
    f->ids = malloc(f->n * sizeof *f->ids);
    assert_non_null(f->ids);
    memcpy(f->ids, ids.ints, f->n * sizeof *f->ids);
    test_npy_close(&ids);
}

static void read_text(fixture *f, const phlox_model *model)
{
    static const char text[] =
        "<|system|>You are a helpful AI assistant.<|end|><|user|>Can you introduce yourself?<|end|>"
        "<|assistant|>phlox runs Phi-3 on your own computer. The weights of a language model are "
        "numbers, and most of the time that a token takes is spent reading them from memory. Smaller "
        "numbers are read faster, so the weights are rounded to four or eight bits.<|end|>"
        "<|user|>What is lost?<|end|><|assistant|>Little, where every group of weights has a scale of "
        "its own. A few large values in a group cost the small ones their precision.";
    enum { ROOM = sizeof text };
    phlox_error error;
    f->ids = malloc(ROOM * sizeof *f->ids);
    assert_non_null(f->ids);
    MUST(phlox_tokenize(model, phlox_text_of(text), 0, f->ids, ROOM, &f->n, &error));
}

/* Mean entropy in nats. */
static double entropy_of(const fixture *f)
{
    double sum = 0;
    float *const even = calloc(f->vocab, sizeof *even);
    assert_non_null(even);
    for (size_t i = 0; i < f->n; i++) {
        /* log V is the cross entropy with the even distribution. */
        const double kl = px_divergence_of(f->reference + i * f->vocab, even, (int32_t)f->vocab).kl;
        sum += log((double)f->vocab) - kl;
    }
    free(even);
    return sum / (double)f->n;
}

static void open_fixture(fixture *f)
{
    if (f->name) test_path(f->path, QUALITY "/%s", f->name);
    const phlox_model_options options = options_of(NULL, true, PHLOX_KV_F32);
    phlox_model *model = family_open(f->name ? f->path : NULL, &options);
    f->vocab = (size_t)family_vocab(model);
    if (f->name) read_ids(f);
    else read_text(f, model);
    assert_in_range(f->n, 65, 511); /* more than a block of the cache */
    f->reference = family_whole(model, f->ids, f->n);
    phlox_model_close(&model);
    /* Between nearly even distributions every divergence is small. */
    const double entropy = entropy_of(f);
    if (entropy < 1 || entropy > 3.5) fail_msg("%s: entropy %g", name_of(f), entropy);
}

static int open_fixtures(void **state)
{
    (void)state;
    for (size_t i = 0; i < PX_COUNT(fixtures); i++) {
#ifndef PHLOX_HAS_BUILTIN
        if (!fixtures[i].name) continue;
#endif
        open_fixture(&fixtures[i]);
    }
    return 0;
}

static int close_fixtures(void **state)
{
    (void)state;
    for (size_t i = 0; i < PX_COUNT(fixtures); i++) {
        free(fixtures[i].ids);
        free(fixtures[i].reference);
    }
    return 0;
}

/* ---- tests --------------------------------------------------------------------------------- */

static bool check_cache(const fixture *f, size_t cache)
{
    const phlox_model_options options = options_of(NULL, true, caches[cache].type);
    float *const logits = run(f, &options);
    const bool good = within(f, "f32", caches[cache].name, cost_of(f, f->reference, logits),
                             f->caches[cache]);
    free(logits);
    return good;
}

static bool check_integers(const fixture *f, size_t index, const float *exact)
{
    const recipe *const how = &formats[index];
    const cost activations = f->activations[index >= FIRST_INT4];
    phlox_model_options options = options_of(how, false, PHLOX_KV_F32);
    float *logits = run(f, &options);
    bool good = within(f, how->name, "activations", cost_of(f, exact, logits), activations);
    free(logits);
    options.kv_cache = PHLOX_KV_DEFAULT;
    logits = run(f, &options);
    const cost bound = add(add(f->weights[index], activations), f->caches[INT8_CACHE]);
    good &= within(f, how->name, "all", cost_of(f, f->reference, logits), bound);
    free(logits);
    return good;
}

static bool check_format(fixture *f, size_t index)
{
    const phlox_model_options options = options_of(&formats[index], true, PHLOX_KV_F32);
    float *const logits = run(f, &options);
    const cost rounding = cost_of(f, f->reference, logits);
    f->rounding[index] = rounding.mean;
    bool good = within(f, formats[index].name, "weights", rounding, f->weights[index]);
    if (index >= FIRST_INTEGER) good &= check_integers(f, index, logits);
    free(logits);
    return good;
}

static void caches_within_bounds(void **state)
{
    (void)state;
    bool good = true;
    for (size_t i = 0; i < PX_COUNT(fixtures); i++)
        for (size_t cache = 0; fixtures[i].n && cache < CACHES; cache++)
            good &= check_cache(&fixtures[i], cache);
    assert_true(good);
}

static void formats_within_bounds(void **state)
{
    (void)state;
    bool good = true;
    for (size_t i = 0; i < PX_COUNT(fixtures); i++)
        for (size_t index = 0; fixtures[i].n && index < FORMATS; index++)
            good &= check_format(&fixtures[i], index);
    assert_true(good);
}

/* The gain of the search is less than what a bound leaves room for. On one checkpoint and format chance
 * decides as much as the search, so that this is a mean over all; after formats_within_bounds. */
static void search_pays(void **state)
{
    (void)state;
    static const struct {
        phlox_symmetry symmetry;
        double most;
    } cases[] = {{PHLOX_SYM, 0.88}, {PHLOX_ASYM, 0.91}};
    for (size_t c = 0; c < PX_COUNT(cases); c++) {
        double sum = 0;
        size_t count = 0;
        for (size_t i = 0; i < PX_COUNT(fixtures); i++) {
            const fixture *const f = &fixtures[i];
            for (size_t index = FIRST_INT4; f->name && index < FORMATS; index++) {
                if (formats[index].symmetry != cases[c].symmetry ||
                    formats[index].method != PHLOX_QUANT_SEARCH)
                    continue;
                sum += log(f->rounding[index] / f->rounding[index - 2]); /* NNCF's comes two before */
                count++;
            }
        }
        const double ratio = exp(sum / (double)count);
        if (prints) print_message("search/nncf, %s: %.3f\n", c ? "asym" : "sym", ratio);
        if (!(ratio <= cases[c].most)) fail_msg("the search costs %g times what NNCF costs", ratio);
    }
}

/* int8, the default of int4, and float weights, without the best instruction sets one after the
 * other. */
static bool check_level(const fixture *f, uint64_t mask)
{
    static const size_t chosen[] = {2, 12};
    bool good = true;
    phlox_model_options options = options_of(NULL, true, PHLOX_KV_F32);
    options.cpu_mask = mask;
    float *logits = run(f, &options);
    good &= within(f, "f32", "kernels", cost_of(f, f->reference, logits), (cost){1e-5, 1e-4});
    free(logits);
    for (size_t i = 0; i < PX_COUNT(chosen); i++) {
        const size_t index = chosen[i];
        options = options_of(&formats[index], false, PHLOX_KV_DEFAULT);
        options.cpu_mask = mask;
        logits = run(f, &options);
        const cost parts = add(f->weights[index], f->activations[index >= FIRST_INT4]);
        good &= within(f, formats[index].name, "all", cost_of(f, f->reference, logits),
                       add(parts, f->caches[INT8_CACHE]));
        free(logits);
    }
    return good;
}

static void levels_within_bounds(void **state)
{
    (void)state;
    bool good = true;
    /* Features are bits in the order in which sets of instructions build on each other. */
    uint64_t shown = phlox_cpu_features();
    do {
        uint64_t best = 0;
        for (uint64_t bit = 1; bit && bit <= shown; bit <<= 1)
            if (shown & bit) best = bit;
        shown &= ~best;
        for (size_t i = 0; i < PX_COUNT(fixtures); i++)
            if (fixtures[i].n) good &= check_level(&fixtures[i], ~shown);
    } while (shown);
    assert_true(good);
}

int main(int argc, char **argv)
{
    prints = argc == 2 && strcmp(argv[1], "--print") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caches_within_bounds),
        cmocka_unit_test(formats_within_bounds),
        cmocka_unit_test(search_pays),
        cmocka_unit_test(levels_within_bounds),
    };
    return cmocka_run_group_tests(tests, open_fixtures, close_fixtures);
}
