/* Models in other forms than that of Hugging Face give the logits of transformers with their weights as they
 * are stored: unpacked into memory, from the cache, and with integer activations nearly. */
#include "family.h"

#include "engine/plan.h"

#define GGUF PHLOX_SOURCE_DIR "/tests/golden/gguf"

/* ---- logits -------------------------------------------------------------------------------- */

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

static void gguf(void **state)
{
    (void)state;
    static const char *const members[] = {"q4_1", "q5_1", "q2_k", "q3_k_m", "q4_k_m", "q5_k_m"};
    const phlox_model_options integers = family_options();
    char cache[TEST_PATH], member[TEST_PATH];
    test_directory(cache);
    for (size_t i = 0; i < PX_COUNT(members); i++) {
        check_fixture(test_path(member, GGUF "/%s", members[i]), members[i], cache);
        /* int8 activations cost up to 0.25 of logits whose standard deviation is 2, as with Q8_0 */
        check(member, &integers, 0.4, false);
    }
    test_remove(cache);
}

static void onnx(void **state)
{
    (void)state;
    char cache[TEST_PATH];
    test_directory(cache);
    assert_int_equal(test_for_each(PHLOX_SOURCE_DIR "/tests/golden/onnx", check_fixture, cache), 12);
    test_remove(cache);
}

static void gptq(void **state)
{
    (void)state;
    char cache[TEST_PATH];
    test_directory(cache);
    assert_int_equal(test_for_each(PHLOX_SOURCE_DIR "/tests/golden/gptq", check_fixture, cache), 6);
    test_remove(cache);
}

/* ---- formats ------------------------------------------------------------------------------- */

/* A format that is asked for is for what holds no integers; these stay as they are. */
static void integers_are_not_rounded_again(void **state)
{
    (void)state;
    static const struct {
        const char *path, *wanted;
    } cases[] = {
        {"openvino/int8-asym", "int8 asym per channel"},
        {"openvino/int8-sym", "int8 sym per channel"},
        {"openvino/fp16", "int4 asym g32, embedding"},
        {"gptq/int4-asym", "int4 asym g32, int4 asym per channel, int8 asym per channel"},
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
    MUST_FAIL(phlox_model_open(PHLOX_SOURCE_DIR "/tests/golden/openvino/int8-asym", &options, &model, &error),
              PHLOX_ERROR_UNSUPPORTED, "ratio");
}

/* ---- the table of docs/FORMATS.md ---------------------------------------------------------- */

/* Form and encoding, and what the fixtures say of it. */
struct row {
    char form[16], encoding[40], runs[48];
    bool read, written;
};

struct table {
    struct row rows[96];
    size_t count;
    bool written; /* what is added now was written by phlox */
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *const x = a, *const y = b;
    const int order = strcmp(x->form, y->form);
    return order ? order : strcmp(x->encoding, y->encoding);
}

/* "int4 sym g32" as "int4 sym, grouped": the size of the groups does not matter. */
static void name_encoding(const px_tensor *tensor, char *out, size_t size)
{
    px_tensor_describe(tensor, out, size);
    char *const group = strrchr(out, ' ');
    if (tensor->encoding || !tensor->integers.bits) return;
    if (group && group[1] == 'g') snprintf(group, size - (size_t)(group - out), ", grouped");
    else if (strstr(out, " per channel")) strcpy(strstr(out, " per channel"), ", per channel");
}

static void add_item(struct table *table, const char *form, const px_plan_item *item)
{
    static const char *const types[] = {"f32", "f16", "bf16", "int8", "int4"};
    struct row row = {.encoding = ""};
    snprintf(row.form, sizeof row.form, "%s", form);
    name_encoding(item->tensor, row.encoding, sizeof row.encoding);
    snprintf(row.runs, sizeof row.runs, "%s, %s", types[item->type],
             item->stored_integers                             ? "the same integers"
             : item->tensor->load && item->tensor->encoding ? "widened without loss"
                                                               : "as stored");
    size_t i = 0;
    while (i < table->count && compare_rows(&table->rows[i], &row) != 0) i++;
    if (i == table->count) {
        assert_true(table->count < PX_COUNT(table->rows));
        table->rows[table->count++] = row;
    }
    assert_string_equal(table->rows[i].runs, row.runs);
    table->rows[i].read = true;
    table->rows[i].written |= table->written;
}

static void add_fixture(const char *path, const char *name, void *user)
{
    struct table *const table = user;
    phlox_model_options options = family_options();
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    if (strstr(name, ".json")) return; /* beside the fixtures */
    MUST(px_checkpoint_open(path, &checkpoint, &error));
    px_plan plan;
    options.weight_format = PHLOX_WEIGHTS_STORED;
    MUST(px_plan_make(checkpoint, &options, NULL, &plan, &error));
    for (size_t i = 0; i < plan.count; i++) add_item(table, checkpoint->form, &plan.items[i]);
    px_plan_free(&plan);
    px_checkpoint_close(&checkpoint);
}

/* Exports with these words, read again. */
static void add_exports(struct table *table, const char *directory)
{
    static const struct {
        const char *form, *member;
        phlox_weight_format format;
        phlox_symmetry symmetry;
        int32_t group;
    } exports[] = {
        {"openvino", "f32", PHLOX_WEIGHTS_F32, PHLOX_SYMMETRY_DEFAULT, 0},
        {"openvino", "f16", PHLOX_WEIGHTS_F16, PHLOX_SYMMETRY_DEFAULT, 0},
        {"openvino", "phi4", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"openvino", "phi4", PHLOX_WEIGHTS_INT8, PHLOX_SYM, 0},
        {"openvino", "phi4", PHLOX_WEIGHTS_INT8, PHLOX_ASYM, 0},
        {"openvino", "phi4-mini", PHLOX_WEIGHTS_INT4, PHLOX_SYM, 32},
        {"openvino", "phi4-mini", PHLOX_WEIGHTS_INT4, PHLOX_ASYM, 32},
        {"openvino", "phi4-mini", PHLOX_WEIGHTS_INT4, PHLOX_SYM, -1},
        {"openvino", "phi4-mini", PHLOX_WEIGHTS_INT4, PHLOX_ASYM, -1},
        {"onnx", "f32", PHLOX_WEIGHTS_F32, PHLOX_SYMMETRY_DEFAULT, 0},
        {"onnx", "f16", PHLOX_WEIGHTS_F16, PHLOX_SYMMETRY_DEFAULT, 0},
        {"onnx", "phi4", PHLOX_WEIGHTS_INT8, PHLOX_SYM, 0},
        {"onnx", "phi4", PHLOX_WEIGHTS_INT8, PHLOX_ASYM, 0},
        {"onnx", "phi4-mini", PHLOX_WEIGHTS_INT4, PHLOX_SYM, 32},
        {"onnx", "phi4-mini", PHLOX_WEIGHTS_INT4, PHLOX_ASYM, 32},
        {"huggingface", "f32", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"huggingface", "f16", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"huggingface", "phi4", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"gguf", "f32", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"gguf", "f16", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"gguf", "phi4", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"gguf", "phi4", PHLOX_WEIGHTS_INT8, PHLOX_SYM, 0},
        {"gguf", "phi4", PHLOX_WEIGHTS_INT4, PHLOX_SYM, 0},
        {"gguf", "phi4", PHLOX_WEIGHTS_INT4, PHLOX_ASYM, 0},
        {"gguf", "../openvino/int4-tied", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"gguf", "../gguf/q2_k", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0}, /* copied */
        {"gguf", "../gguf/q3_k_m", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"gguf", "../gguf/q4_k_m", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"gguf", "../gguf/q5_k_m", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"gguf", "../gguf/q5_1", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
        {"gguf", "../gguf/iq4_nl", PHLOX_WEIGHTS_STORED, PHLOX_SYMMETRY_DEFAULT, 0},
    };
    table->written = true;
    for (size_t i = 0; i < PX_COUNT(exports); i++) {
        char source[TEST_PATH], out[TEST_PATH];
        phlox_error error;
        phlox_model_options options;
        phlox_model_options_init(&options);
        options.weight_format = exports[i].format;
        options.symmetry = exports[i].symmetry;
        options.group_size = exports[i].group;
        MUST(phlox_export(test_path(source, FAMILY "/%s", exports[i].member), exports[i].form,
                          test_path(out, "%s/%zu", directory, i), &options, NULL, NULL, &error));
        add_fixture(out, "export", table);
    }
    table->written = false;
}

static size_t print_table(struct table *table, char *out, size_t size)
{
    qsort(table->rows, table->count, sizeof *table->rows, compare_rows);
    size_t used = (size_t)snprintf(out, size, "| form | encoding | read | written | runs as |\n"
                                              "|---|---|---|---|---|\n");
    for (size_t i = 0; i < table->count; i++) {
        const struct row *const row = &table->rows[i];
        used += (size_t)snprintf(out + used, size - used, "| %s | %s | %s | %s | %s |\n", row->form,
                                 row->encoding, row->read ? "yes" : "", row->written ? "yes" : "",
                                 row->runs);
        assert_true(used < size);
    }
    return used;
}

/* The table in the documentation is this one. `--table` prints it. */
static char *make_table(void)
{
    enum { SIZE = 1 << 14 };
    static const char *const roots[] = {"family", "gptq", "openvino", "gguf", "onnx"};
    struct table *const table = px_calloc(1, sizeof *table);
    char path[TEST_PATH], *const text = malloc(SIZE);
    assert_non_null(table);
    assert_non_null(text);
    for (size_t i = 0; i < PX_COUNT(roots); i++)
        assert_true(test_for_each(test_path(path, PHLOX_SOURCE_DIR "/tests/golden/%s", roots[i]),
                                  add_fixture, table) > 0);
    test_directory(path);
    add_exports(table, path);
    test_remove(path);
    print_table(table, text, SIZE);
    free(table);
    return text;
}

static void table_of_formats(void **state)
{
    (void)state;
    size_t size;
    char *const table = make_table();
    char *const page = test_read(PHLOX_SOURCE_DIR "/docs/FORMATS.md", &size);
    if (!strstr(page, table))
        fail_msg("docs/FORMATS.md has another table than test_forms --table prints:\n%s", table);
    free(table);
    free(page);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--table") == 0) {
        char *const table = make_table();
        fputs(table, stdout);
        free(table);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf),
        cmocka_unit_test(onnx),
        cmocka_unit_test(gptq),
        cmocka_unit_test(table_of_formats),
        cmocka_unit_test(integers_are_not_rounded_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
