/*
 * int8 and int4 through the engine. The truth is a float32 checkpoint that this test writes: every
 * matrix quantized by px_quantize_rows (which tests/quant compares with NNCF) and dequantized here
 * from its definition. The engine on it, in float32, must give the logits of the quantized model.
 */
#include "family.h"

#include "checkpoint/checkpoint.h"

typedef struct option_set {
    const char *name;
    phlox_weight_format format;
    phlox_symmetry symmetry;
    int32_t group_size;
    double ratio;
    phlox_backup_precision backup;
    bool all_layers;
    phlox_group_fallback fallback;
    phlox_quant_method method;
    const char *weights; /* what info says */
} option_set;

static const option_set sets[] = {
    {.name = "int8", .format = PHLOX_WEIGHTS_INT8, .weights = "int8 asym per channel"},
    {.name = "int8 sym", .format = PHLOX_WEIGHTS_INT8, .symmetry = PHLOX_SYM,
     .weights = "int8 sym per channel"},
    {.name = "g32 asym", .format = PHLOX_WEIGHTS_INT4, .group_size = 32,
     .weights = "int4 asym g32, embedding and lm_head int8"},
    {.name = "g32 sym", .format = PHLOX_WEIGHTS_INT4, .group_size = 32, .symmetry = PHLOX_SYM,
     .weights = "int4 sym g32, embedding and lm_head int8"},
    {.name = "per channel sym", .format = PHLOX_WEIGHTS_INT4, .group_size = -1,
     .symmetry = PHLOX_SYM, .weights = "int4 sym per channel, embedding and lm_head int8"},
    {.name = "per channel asym, all", .format = PHLOX_WEIGHTS_INT4, .group_size = -1,
     .symmetry = PHLOX_ASYM, .all_layers = true, .weights = "int4 asym per channel"},
    {.name = "half", .format = PHLOX_WEIGHTS_INT4, .group_size = 32, .ratio = 0.5,
     .weights = "int4 asym g32 for 0.5 of the weights, rest int8"},
    {.name = "half, backup sym", .format = PHLOX_WEIGHTS_INT4, .group_size = 16, .ratio = 0.5,
     .symmetry = PHLOX_SYM, .backup = PHLOX_BACKUP_INT8_SYM,
     .weights = "int4 sym g16 for 0.5 of the weights, rest int8 sym"},
    {.name = "no backup", .format = PHLOX_WEIGHTS_INT4, .group_size = 8,
     .backup = PHLOX_BACKUP_NONE, .weights = "int4 asym g8, embedding and lm_head as stored"},
    {.name = "all", .format = PHLOX_WEIGHTS_INT4, .group_size = 32, .all_layers = true,
     .weights = "int4 asym g32"},
    {.name = "search", .format = PHLOX_WEIGHTS_INT4, .group_size = 32, .symmetry = PHLOX_SYM,
     .method = PHLOX_QUANT_SEARCH, .weights = "int4 sym g32 search, embedding and lm_head int8"},
    {.name = "search, half", .format = PHLOX_WEIGHTS_INT4, .group_size = 8, .ratio = 0.5,
     .method = PHLOX_QUANT_SEARCH,
     .weights = "int4 asym g8 search for 0.5 of the weights, rest int8"},
    {.name = "adjusted", .format = PHLOX_WEIGHTS_INT4, .group_size = 128, .symmetry = PHLOX_SYM,
     .fallback = PHLOX_FALLBACK_ADJUST, .weights = "int4 sym g128, embedding and lm_head int8"},
    {.name = "ignored", .format = PHLOX_WEIGHTS_INT4, .group_size = 64,
     .fallback = PHLOX_FALLBACK_IGNORE, .weights = "int4 asym g64, embedding and lm_head int8"},
};

/* Sizes divided by 32: 128 and 32, 96 and 64 (tied), and 64 and 24, where only 8 divides all. */
static const struct member {
    const char *name;
    int64_t divisor; /* of all columns */
} members[] = {{"phi4", 32}, {"phi4-mini", 32}, {"f32", 8}, {"f16", 16}};

static phlox_model_options options_of(const option_set *set)
{
    phlox_model_options options = family_options();
    options.weight_format = set->format;
    options.symmetry = set->symmetry;
    options.group_size = set->group_size;
    options.ratio = set->ratio;
    options.backup_precision = set->backup;
    options.all_layers = set->all_layers;
    options.group_size_fallback = set->fallback;
    options.quant_method = set->method;
    return options;
}

static bool suits(const option_set *set, const struct member *member)
{
    return set->group_size <= 0 || set->fallback || member->divisor % set->group_size == 0;
}

/* ---- the truth ----------------------------------------------------------------------------- */

static float *dequantize(const px_quant_format *format, const px_tensor *t)
{
    const int64_t group = format->group_size > 0 ? format->group_size : t->columns;
    const size_t count = (size_t)(t->rows * t->columns);
    float *const values = malloc(count * sizeof *values);
    assert_non_null(values);
    if (!format->bits) {
        px_float_load(t->type, t->data, count, values);
        return values;
    }
    const int64_t groups = t->columns / group;
    uint8_t *const q = malloc(count), *const zeros = malloc((size_t)(t->rows * groups));
    float *const scales = malloc((size_t)(t->rows * groups) * sizeof *scales);
    phlox_error error;
    MUST(px_quantize_rows(format, t->type, t->data, t->rows, t->columns, q, scales, zeros, &error));
    for (int64_t r = 0; r < t->rows; r++) {
        for (int64_t c = 0; c < t->columns; c++) {
            const int64_t i = r * t->columns + c, g = r * groups + c / group;
            const int integer = format->symmetric ? (int)(int8_t)q[i] : (int)q[i] - (int)zeros[g];
            values[i] = scales[g] * (float)integer;
        }
    }
    free(q);
    free(zeros);
    free(scales);
    return values;
}

enum { MOST_TENSORS = 64 };

typedef struct truth {
    px_checkpoint *checkpoint;
    const px_tensor *source[MOST_TENSORS];
    px_quant_layer layers[MOST_TENSORS]; /* of the matrices, which come first */
    size_t matrices, count;
} truth;

static void collect(truth *t)
{
    static const px_role layered[] = {PX_QKV, PX_O, PX_GATE_UP, PX_DOWN};
    static const px_role norms[] = {PX_INPUT_NORM, PX_POST_NORM};
    const px_desc *d = &t->checkpoint->desc;
    t->source[t->count++] = px_checkpoint_tensor(t->checkpoint, PX_EMBEDDING, 0);
    for (int32_t layer = 0; layer < d->num_hidden_layers; layer++)
        for (size_t i = 0; i < PX_COUNT(layered); i++)
            t->source[t->count++] = px_checkpoint_tensor(t->checkpoint, layered[i], layer);
    if (!d->tied_embeddings)
        t->source[t->count++] = px_checkpoint_tensor(t->checkpoint, PX_LM_HEAD, 0);
    t->matrices = t->count;
    for (int32_t layer = 0; layer < d->num_hidden_layers; layer++)
        for (size_t i = 0; i < PX_COUNT(norms); i++)
            t->source[t->count++] = px_checkpoint_tensor(t->checkpoint, norms[i], layer);
    t->source[t->count++] = px_checkpoint_tensor(t->checkpoint, PX_FINAL_NORM, 0);
}

static void assign(truth *t, const phlox_model_options *options)
{
    px_quant_options quant;
    phlox_error error;
    MUST(px_quant_options_resolve(options, &quant, &error));
    for (size_t i = 0; i < t->matrices; i++) {
        const px_tensor *s = t->source[i];
        t->layers[i] = (px_quant_layer){.name = s->name, .rows = s->rows, .columns = s->columns,
                                        .is_embedding = s->role == PX_EMBEDDING,
                                        .is_head = s->role == PX_LM_HEAD};
        px_quant_sensitivity(s->type, s->data, s->rows, s->columns, &t->layers[i].sensitivity);
    }
    MUST(px_quant_assign(&quant, t->layers, t->matrices, &error));
}

static void write_truth(const char *path, const phlox_model_options *options, char *directory)
{
    truth t = {0};
    phlox_error error;
    MUST(px_checkpoint_open(path, &t.checkpoint, &error));
    collect(&t);
    assign(&t, options);
    test_tensor tensors[MOST_TENSORS];
    float *values[MOST_TENSORS];
    for (size_t i = 0; i < t.count; i++) {
        const px_tensor *s = t.source[i];
        const px_quant_format stored = {0, false, -1, false};
        values[i] = dequantize(i < t.matrices ? &t.layers[i].format : &stored, s);
        tensors[i] = (test_tensor){.rows = i < t.matrices ? s->rows : 0, .columns = s->columns,
                                   .values = values[i]};
        snprintf(tensors[i].name, sizeof tensors[i].name, "%s", s->name);
    }
    char from[TEST_PATH], to[TEST_PATH];
    size_t size;
    char *config = test_read(test_path(from, "%s/config.json", path), &size);
    test_write(test_path(to, "%s/config.json", directory), config, size);
    free(config);
    test_safetensors_write(directory, tensors, t.count);
    for (size_t i = 0; i < t.count; i++) free(values[i]);
    px_checkpoint_close(&t.checkpoint);
}

/* ---- comparing ----------------------------------------------------------------------------- */

static double deviation(const float *values, size_t count)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) sum += (double)values[i];
    for (size_t i = 0; i < count; i++) squares += pow((double)values[i] - sum / (double)count, 2);
    return sqrt(squares / (double)count);
}

static double root_mean_square(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum / (double)count);
}

static float *run_options(const char *path, phlox_model_options options, const test_npy *ids,
                          const char *weights)
{
    phlox_model *model = family_open(path, &options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    if (weights) assert_string_equal(info.weights, weights);
    float *logits = family_whole(model, ids->ints, (size_t)ids->rows);
    phlox_model_close(&model);
    return logits;
}

/* The last bits of a float decide how an activation is rounded to 8 bits, so kernels part where one
 * is in the middle; where none is, they agree. */
static void check_kernels(const char *what, const float *fast, const float *reference, size_t rows,
                          size_t columns, double spread)
{
    const double difference = root_mean_square(fast, reference, rows * columns);
    if (!(difference < 0.03 * spread))
        fail_msg("%s: the kernels differ by %g of %g", what, difference, spread);
    double least = INFINITY;
    for (size_t i = 0; i < rows; i++)
        least = fmin(least, test_difference(fast + i * columns, reference + i * columns, columns));
    if (!(least < 1e-4)) fail_msg("%s: the kernels differ by %g everywhere", what, least);
}

static void check_set(const char *name, const option_set *set)
{
    char path[TEST_PATH], file[TEST_PATH], directory[TEST_PATH], what[256];
    snprintf(what, sizeof what, "%s, %s", name, set->name);
    test_path(path, FAMILY "/%s", name);
    test_npy ids = test_npy_open(test_path(file, "%s/ids.npy", path));
    test_npy golden = test_npy_open(test_path(file, "%s/logits.npy", path));
    const size_t count = (size_t)(golden.rows * golden.columns);
    phlox_model_options options = options_of(set);
    test_directory(directory);
    write_truth(path, &options, directory);
    float *wanted = run_options(directory, family_options(), &ids, "f32");
    assert_true(test_difference(wanted, golden.floats, count) > 1e-3); /* it is quantized */

    options.exact = true;
    float *exact = run_options(path, options, &ids, set->weights);
    test_close(what, exact, wanted, count, 1e-3);
    free(exact);
    options.cpu_mask = UINT64_MAX;
    exact = run_options(path, options, &ids, set->weights);
    test_close(what, exact, wanted, count, 1e-3);
    free(exact);

    /* Activations of 8 bits cost a little, far less than the spread of the logits. */
    options.exact = false;
    float *reference = run_options(path, options, &ids, set->weights);
    options.cpu_mask = 0;
    float *fast = run_options(path, options, &ids, set->weights);
    const double spread = deviation(wanted, count), error = root_mean_square(fast, wanted, count);
    if (!(error > 0 && error < 0.06 * spread))
        fail_msg("%s: 8-bit activations change the logits by %g of %g", what, error, spread);
    check_kernels(what, fast, reference, (size_t)golden.rows, (size_t)golden.columns, spread);
    free(reference);
    free(fast);
    free(wanted);
    test_remove(directory);
    test_npy_close(&ids);
    test_npy_close(&golden);
}

static void equals_dequantized_weights(void **state)
{
    (void)state;
    int checked = 0;
    for (size_t m = 0; m < PX_COUNT(members); m++)
        for (size_t s = 0; s < PX_COUNT(sets); s++)
            if (suits(&sets[s], &members[m])) {
                check_set(members[m].name, &sets[s]);
                checked++;
            }
    assert_true(checked >= 36);
}

static void refused(void **state)
{
    (void)state;
    phlox_error error;
    phlox_model *model = NULL;
    phlox_model_options options = family_options();
    options.weight_format = PHLOX_WEIGHTS_INT4;
    MUST_FAIL(phlox_model_open(FAMILY "/f32", &options, &model, &error), PHLOX_ERROR_ARGUMENT,
              "128");
    options.weight_format = PHLOX_WEIGHTS_F16;
    options.group_size = 64;
    MUST_FAIL(phlox_model_open(FAMILY "/f32", &options, &model, &error), PHLOX_ERROR_ARGUMENT,
              "group-size");
    options = family_options();
    options.all_layers = true;
    MUST_FAIL(phlox_model_open(FAMILY "/f32", &options, &model, &error), PHLOX_ERROR_ARGUMENT,
              "all-layers");
    options.weight_format = PHLOX_WEIGHTS_INT8;
    MUST_FAIL(phlox_model_open(FAMILY "/f32", &options, &model, &error), PHLOX_ERROR_ARGUMENT,
              "all-layers");
    assert_null(model);
}

/* A weight that float16 cannot hold, and one that is no number, in every format. */
static void values_that_cannot_be_held(void **state)
{
    (void)state;
    static const struct {
        float value;
        phlox_weight_format format;
        const char *word; /* NULL: opens */
    } cases[] = {
        {70000, PHLOX_WEIGHTS_F16, "float16"}, {-70000, PHLOX_WEIGHTS_F16, "row 3"},
        {70000, PHLOX_WEIGHTS_BF16, NULL},     {65519, PHLOX_WEIGHTS_F16, NULL},
        {1e9f, PHLOX_WEIGHTS_INT4, "row 3"},   {1e9f, PHLOX_WEIGHTS_INT8, "row 3"},
        {NAN, PHLOX_WEIGHTS_F16, "row 3"},     {NAN, PHLOX_WEIGHTS_INT8, "row 3"},
        {INFINITY, PHLOX_WEIGHTS_INT4, "row 3"}, {NAN, PHLOX_WEIGHTS_STORED, "row 3"},
        {-INFINITY, PHLOX_WEIGHTS_F32, "row 3"}, {NAN, PHLOX_WEIGHTS_BF16, "row 3"},
    };
    char directory[TEST_PATH], path[TEST_PATH];
    test_directory(directory);
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        test_copy(FAMILY "/f32", directory);
        size_t size;
        char *bytes = test_read(test_path(path, "%s/model.safetensors", directory), &size);
        uint64_t header;
        memcpy(&header, bytes, 8);
        const char *entry = strstr(bytes + 8, "model.layers.1.mlp.down_proj.weight");
        long long begin = -1;
        assert_int_equal(sscanf(strstr(entry, "data_offsets"), "data_offsets\":[%lld", &begin), 1);
        /* Row 3, column 5 of [64, 24]. */
        test_patch(path, (long)(8 + header) + (long)begin + 4 * (3 * 24 + 5), &cases[i].value, 4);
        free(bytes);
        phlox_model_options options = family_options();
        options.weight_format = cases[i].format;
        if (cases[i].format == PHLOX_WEIGHTS_INT4) options.group_size = 8;
        phlox_model *model = NULL;
        phlox_error error;
        if (cases[i].word) {
            MUST_FAIL(phlox_model_open(directory, &options, &model, &error), PHLOX_ERROR_FORMAT,
                      cases[i].word);
            assert_non_null(strstr(error.message, "model.layers.1.mlp.down_proj.weight"));
            assert_non_null(strstr(error.message, "model.safetensors"));
        } else {
            MUST(phlox_model_open(directory, &options, &model, &error));
            phlox_model_close(&model);
        }
    }
    test_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_dequantized_weights),
        cmocka_unit_test(refused),
        cmocka_unit_test(values_that_cannot_be_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
