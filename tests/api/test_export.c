/* Exports: the bytes of those that went through the real packages (tests/peers), what comes back from them,
 * and what happens to files when an export cannot be completed. */
#include "checkpoints.h"

#include <math.h>

#define GOLDEN PHLOX_SOURCE_DIR "/tests/golden"

static uint64_t fnv_of(const char *path, uint64_t sum)
{
    size_t size;
    char *const bytes = test_read(path, &size);
    sum = test_fnv(bytes, size, sum);
    free(bytes);
    return sum;
}

/* The words of a line of exports.txt: "int4 --group-size 32 --sym", "fp16 --ep cuda". */
static void read_words(char *words, phlox_model_options *options, phlox_export_options *form)
{
    phlox_model_options_init(options);
    phlox_export_options_init(form);
    phlox_error error;
    const char *name = "weight-format", *word = strtok(words, " ");
    for (; word; word = strtok(NULL, " ")) {
        if (strncmp(word, "--", 2) == 0) {
            name = word + 2;
            if (strcmp(name, "sym") == 0 || strcmp(name, "asym") == 0 || strcmp(name, "all-layers") == 0)
                MUST(phlox_model_options_set(options, name, NULL, &error));
            continue;
        }
        if (strcmp(name, "ep") == 0)
            form->provider = strcmp(word, "cuda") == 0 ? PHLOX_PROVIDER_CUDA : PHLOX_PROVIDER_DML;
        else if (strcmp(name, "accuracy-level") == 0)
            form->accuracy_level = atoi(word);
        else
            MUST(phlox_model_options_set(options, strcmp(name, "block-size") == 0 ? "group-size" : name,
                                         word, &error));
    }
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

/* The export runs as the source does with the same words: every integer is kept, so every bit is where
 * groups are those of the source, too. */
static void check_round_trip(const char *source, const char *out, const phlox_model_options *options,
                             double tolerance)
{
    char path[TEST_PATH];
    test_npy ids = test_npy_open(test_path(path, "%s/ids.npy", source));
    phlox_model_options stored;
    phlox_model_options_init(&stored);
    size_t count, again;
    float *const wanted = logits_of(source, *options, &ids, &count);
    float *const got = logits_of(out, stored, &ids, &again);
    assert_int_equal(count, again);
    double most = 0;
    for (size_t i = 0; i < count; i++) most = PX_MAX(most, fabs((double)wanted[i] - (double)got[i]));
    if (!(most <= tolerance)) fail_msg("%s: logits differ by %g", out, most);
    free(wanted);
    free(got);
    test_npy_close(&ids);
}

/* FNV-1a of the files one behind the other. */
static uint64_t sum_of(const char *form, const char *out)
{
    static const char *const files[][2] = {{"openvino_model.xml", "openvino_model.bin"},
                                           {"model.onnx", "model.onnx.data"}};
    const char *const *const two = files[strcmp(form, "onnx") == 0];
    char path[TEST_PATH];
    const uint64_t sum = fnv_of(test_path(path, "%s/%s", out, two[0]), test_fnv_start);
    return fnv_of(test_path(path, "%s/%s", out, two[1]), sum);
}

/* Integers of the form's own defaults: not those of the same words for running. */
static bool has_own_defaults(const char *form, const phlox_model_options *options,
                             const phlox_export_options *words)
{
    return strcmp(form, "onnx") == 0 && (words->provider != PHLOX_PROVIDER_CPU ||
                                         options->weight_format == PHLOX_WEIGHTS_F16 ||
                                         (options->weight_format == PHLOX_WEIGHTS_INT4 &&
                                          (!options->all_layers || !options->group_size)));
}

static void bytes_of_exports(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH], source[TEST_PATH];
    test_directory(directory);
    size_t size, count = 0;
    char *const list = test_read(GOLDEN "/exports.txt", &size);
    for (char *line = list, *next; *line; line = next, count++) {
        next = strchr(line, '\n');
        assert_non_null(next);
        *next++ = 0;
        unsigned long long sum;
        char form[16], member[64], words[128];
        int used;
        assert_int_equal(sscanf(line, "%llx %15s %63s %n", &sum, form, member, &used), 3);
        snprintf(words, sizeof words, "%s", line + used);
        phlox_model_options options;
        phlox_export_options form_words;
        read_words(words, &options, &form_words);
        phlox_error error;
        test_path(source, GOLDEN "/family/%s", member);
        test_path(out, "%s/%zu", directory, count);
        MUST(phlox_export(source, form, out, &options, &form_words, NULL, &error));
        if (sum_of(form, out) != sum)
            fail_msg("%s %s %s: other bytes than those that the real packages were run with; make "
                     "test-peers", form, member, line + used);
        if (!has_own_defaults(form, &options, &form_words))
            check_round_trip(source, out, &options, strcmp(form, "onnx") == 0 ? 2e-4 : 0);
    }
    assert_true(count >= 50);
    free(list);
    test_remove(directory);
}

/* Every weight of two checkpoints, widened, is the same to the last bit, and integers are integers. */
static void check_same_weights(const char *path, const char *other)
{
    px_checkpoint *one = test_open(path), *two = test_open(other);
    test_same_weights(one, two);
    for (int role = 0; role < PX_ROLES; role++) {
        const int32_t layers = px_role_is_layered((px_role)role) ? one->desc.num_hidden_layers : 1;
        for (int32_t layer = 0; layer < layers; layer++) {
            const px_tensor *const a = px_checkpoint_tensor(one, (px_role)role, layer);
            const px_tensor *const b = px_checkpoint_tensor(two, (px_role)role, layer);
            if (a) assert_true((a->integers.bits > 0) == (b->integers.bits > 0));
        }
    }
    px_checkpoint_close(&one);
    px_checkpoint_close(&two);
}

/* From each form to each: what is stored stays what it is. */
static void between_forms(void **state)
{
    (void)state;
    char directory[TEST_PATH], path[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    static const struct {
        const char *source, *form;
    } cases[] = {
        {"openvino/int4-sym", "onnx"},     {"openvino/int4-asym", "onnx"},
        {"openvino/int4-channel", "onnx"}, {"openvino/int4-tied", "onnx"},
        {"openvino/int8-asym", "onnx"},    {"openvino/int8-sym", "onnx"},
        {"onnx/int4", "onnx"},             {"onnx/int4-asym", "onnx"},
        {"onnx/int4-mixed", "onnx"},       {"onnx/int4-tied", "onnx"},
        {"onnx/int8", "onnx"},             {"onnx/old", "onnx"},
        {"gguf/q4_0", "onnx"},             {"gguf/q8_0", "onnx"},
        {"gguf/f16", "onnx"},              {"onnx/int4-tied", "openvino"},
        {"onnx/fp32-tied", "openvino"},
        {"gguf/q4_0", "openvino"},         {"gguf/q5_0", "openvino"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        phlox_error error;
        test_path(path, GOLDEN "/%s", cases[i].source);
        MUST(phlox_export(path, cases[i].form, test_path(out, "%s/%zu", directory, i), NULL, NULL, NULL, &error));
        check_same_weights(path, out);
    }
    test_remove(directory);
}

/* Forms that have no tokenizer_config.json and config.json get them in an export. */
static void files_beside(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH], path[TEST_PATH];
    test_directory(directory);
    static const char *const wanted[] = {
        "\"tokenizer_class\": \"PreTrainedTokenizerFast\"", "\"bos_token\": \"<s>\"",
        "\"chat_template\": \"{% for message in messages %}", "\"model_max_length\": 128",
    };
    phlox_error error;
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.weight_format = PHLOX_WEIGHTS_F32;
    MUST(phlox_export(GOLDEN "/gguf/vocab-llama", "onnx", test_path(out, "%s/out", directory), &options, NULL,
                      NULL, &error));
    size_t size;
    char *const text = test_read(test_path(path, "%s/tokenizer_config.json", out), &size);
    for (size_t i = 0; i < PX_COUNT(wanted); i++)
        if (!strstr(text, wanted[i])) fail_msg("no %s in %s", wanted[i], text);
    free(text);
    assert_true(test_exists(test_path(path, "%s/config.json", out)));
    assert_true(test_exists(test_path(path, "%s/tokenizer.json", out)));
    test_remove(directory);
}

static void losses_are_named(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    test_path(out, "%s/out", directory);
    static const struct {
        const char *source, *form, *weights;
        phlox_provider provider;
        phlox_weight_format format;
    } cases[] = {
        {"gguf/q4_k_m", "openvino", "int8 asym per channel, int4 asym g32, int8 sym per channel",
         PHLOX_PROVIDER_CPU, PHLOX_WEIGHTS_DEFAULT},
        {"gguf/q4_k_m", "openvino", "int8 asym per channel, int8 sym per channel",
         PHLOX_PROVIDER_CPU, PHLOX_WEIGHTS_INT8},
        {"gguf/q4_k_m", "onnx", "int8 asym per channel, int4 asym g32, int8 sym per channel",
         PHLOX_PROVIDER_CPU, PHLOX_WEIGHTS_DEFAULT},
        {"gguf/q4_0", "onnx", "f16", PHLOX_PROVIDER_CUDA, PHLOX_WEIGHTS_F16},
        {"onnx/int4", "onnx", "int4 sym g32, f16", PHLOX_PROVIDER_CUDA, PHLOX_WEIGHTS_DEFAULT},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char path[TEST_PATH];
        phlox_error error;
        phlox_model_options options;
        phlox_export_options words;
        phlox_export_result result;
        phlox_model_options_init(&options);
        phlox_export_options_init(&words);
        options.weight_format = cases[i].format;
        words.provider = cases[i].provider;
        test_path(path, GOLDEN "/%s", cases[i].source);
        MUST_FAIL(phlox_export(path, cases[i].form, out, &options, &words, NULL, &error),
                  PHLOX_ERROR_UNSUPPORTED, "--accept-loss");
        assert_int_equal(test_for_each(directory, NULL, NULL), 0);
        words.accept_loss = true;
        MUST(phlox_export(path, cases[i].form, out, &options, &words, &result, &error));
        assert_string_equal(result.weights, cases[i].weights);
        test_remove(out);
    }
    test_remove(directory);
}

/* What ONNX Runtime's providers cannot run is refused before anything is written. */
static void onnx_words(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    test_path(out, "%s/out", directory);
    phlox_error error;
    phlox_export_result result;
    phlox_model_options options;
    phlox_export_options words;
    phlox_model_options_init(&options);
    phlox_export_options_init(&words);
    const char *const source = GOLDEN "/family/phi3-mini-4k";
    options.weight_format = PHLOX_WEIGHTS_BF16;
    MUST_FAIL(phlox_export(source, "onnx", out, &options, &words, NULL, &error), PHLOX_ERROR_UNSUPPORTED, "bf16");
    options.weight_format = PHLOX_WEIGHTS_F32;
    words.provider = PHLOX_PROVIDER_CUDA;
    MUST_FAIL(phlox_export(source, "onnx", out, &options, &words, NULL, &error), PHLOX_ERROR_UNSUPPORTED,
              "float16");
    words.accuracy_level = 5;
    MUST_FAIL(phlox_export(source, "onnx", out, &options, &words, NULL, &error), PHLOX_ERROR_ARGUMENT,
              "accuracy-level");
    words = (phlox_export_options){0};
    MUST_FAIL(phlox_export(source, "onnx", out, &options, &words, NULL, &error), PHLOX_ERROR_ARGUMENT,
              "phlox_export_options_init");
    assert_int_equal(test_for_each(directory, NULL, NULL), 0);
    phlox_export_options_init(&words);
    words.provider = PHLOX_PROVIDER_DML;
    options.weight_format = PHLOX_WEIGHTS_DEFAULT;
    MUST(phlox_export(source, "onnx", out, &options, &words, &result, &error));
    assert_string_equal(result.weights, "f16");
    assert_non_null(strstr(result.note, "no sliding window"));
    test_remove(directory);
}

/* Every integer of a role, and every scale but for the rounding to float16. */
static void check_same_integers(const px_tensor *a, const px_tensor *b)
{
    const size_t values = (size_t)(a->rows * a->columns), groups = (size_t)(a->rows * px_tensor_groups(a));
    assert_true(a->integers.bits > 0);
    assert_int_equal(a->integers.bits, b->integers.bits);
    assert_int_equal(a->integers.group_size, b->integers.group_size);
    uint8_t *const q = calloc(2, values), *const zeros = calloc(2, groups);
    float *const scales = calloc(2 * groups, sizeof *scales);
    assert_true(q && zeros && scales);
    phlox_error error;
    MUST(px_tensor_read_integers(a, 0, a->rows, q, scales, zeros, &error));
    MUST(px_tensor_read_integers(b, 0, b->rows, q + values, scales + groups, zeros + groups, &error));
    assert_memory_equal(q, q + values, values);
    assert_memory_equal(zeros, zeros + groups, groups);
    for (size_t i = 0; i < groups; i++)
        assert_true(fabsf(scales[i] - scales[groups + i]) <= 0x1p-11f * fabsf(scales[i]));
    free(q);
    free(zeros);
    free(scales);
}

/* int4 for the CPU has float32 scales, for the GPU float16. */
static void onnx_scales(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    phlox_error error;
    phlox_export_options words;
    phlox_export_options_init(&words);
    words.provider = PHLOX_PROVIDER_CUDA;
    const char *const source = GOLDEN "/onnx/int4-asym";
    test_path(out, "%s/out", directory);
    MUST_FAIL(phlox_export(source, "onnx", out, NULL, &words, NULL, &error), PHLOX_ERROR_UNSUPPORTED, "int4 asym");
    words.accept_loss = true;
    MUST(phlox_export(source, "onnx", out, NULL, &words, NULL, &error));
    px_checkpoint *a = NULL, *b = NULL;
    MUST(px_checkpoint_open(source, &a, &error));
    MUST(px_checkpoint_open(out, &b, &error));
    static const px_role roles[] = {PX_EMBEDDING, PX_QKV, PX_O, PX_GATE_UP, PX_DOWN, PX_LM_HEAD};
    for (size_t i = 0; i < PX_COUNT(roles); i++)
        check_same_integers(px_checkpoint_tensor(a, roles[i], 0), px_checkpoint_tensor(b, roles[i], 0));
    px_checkpoint_close(&a);
    px_checkpoint_close(&b);
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

/* Integers that only the kernels take go out as floats, or as what is asked for; the others of the file
 * stay. */
static void minima_are_widened(void **state)
{
    (void)state;
    static const char *const members[] = {"q4_1", "q5_1", "q2_k", "q3_k_m", "q4_k_m", "q5_k_m"};
    char directory[TEST_PATH], source[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    phlox_model_options int4, f32;
    phlox_model_options_init(&int4);
    f32 = int4;
    f32.weight_format = PHLOX_WEIGHTS_F32;
    int4.weight_format = PHLOX_WEIGHTS_INT4;
    int4.group_size = 32;
    phlox_export_options lossy;
    phlox_export_options_init(&lossy);
    lossy.accept_loss = true;
    for (size_t i = 0; i < PX_COUNT(members); i++) {
        phlox_error error;
        phlox_model_options exact;
        phlox_model_options_init(&exact);
        exact.exact = true;
        test_path(source, GOLDEN "/gguf/%s", members[i]);
        MUST(phlox_export(source, "openvino", test_path(out, "%s/a%zu", directory, i), &f32, NULL, NULL,
                          &error));
        char path[TEST_PATH];
        test_npy ids = test_npy_open(test_path(path, "%s/ids.npy", source));
        size_t count, same;
        float *const wanted = logits_of(source, exact, &ids, &count);
        float *const got = logits_of(out, exact, &ids, &same);
        test_close(members[i], got, wanted, count, 1e-4);
        free(wanted);
        free(got);
        test_npy_close(&ids);
        MUST(phlox_export(source, "openvino", test_path(out, "%s/b%zu", directory, i), &int4, &lossy, NULL,
                          &error));
        check_round_trip(source, out, &int4, 0);
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
        cmocka_unit_test(bytes_of_exports),
        cmocka_unit_test(onnx_words),
        cmocka_unit_test(onnx_scales),
        cmocka_unit_test(again),
        cmocka_unit_test(between_forms),
        cmocka_unit_test(files_beside),
        cmocka_unit_test(losses_are_named),
        cmocka_unit_test(minima_are_widened),
        cmocka_unit_test(nothing_is_left_or_lost),
        cmocka_unit_test(defaults_of_known_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
