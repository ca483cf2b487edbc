/* GPTQ and AWQ checkpoints: every weight of the fixtures as NumPy decodes it, what is refused by name, and
 * tensors that do not fit. */
#include "checkpoints.h"

#include "base/json.h"

#define FIXTURES PHLOX_SOURCE_DIR "/tests/golden/gptq"

/* ---- weights ------------------------------------------------------------------------------- */

static const struct {
    const char *name, *stored;
} wanted[] = {
    {"awq", "int4 asym g32, int4 asym per channel, f16"},
    {"int4-asym", "int4 asym g32, int4 asym per channel, bf16"},
    {"int4-desc-act", "int4 desc_act, bf16"},
    {"int4-sym", "int4 sym per channel, int4 sym g128, f16"},
    {"int4-v2", "int4 asym g32, int4 asym per channel, bf16"},
    {"int8", "int8 sym per channel, int8 asym g32, bf16, int8 asym per channel, int4 sym g32"},
};

static void check_fixture(const char *path, const char *name, void *user)
{
    (void)user;
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    char stored[96];
    size_t known = 0;
    MUST(px_checkpoint_open(path, &checkpoint, &error));
    px_checkpoint_describe(checkpoint, stored, sizeof stored);
    while (known < PX_COUNT(wanted) && strcmp(wanted[known].name, name) != 0) known++;
    assert_true(known < PX_COUNT(wanted));
    assert_string_equal(stored, wanted[known].stored);
    assert_string_equal(checkpoint->form, "huggingface");
    assert_true(checkpoint->quantized);
    test_listed_weights(checkpoint, path);
    px_checkpoint_close(&checkpoint);
}

static void fixtures(void **state)
{
    (void)state;
    assert_int_equal(test_for_each(FIXTURES, check_fixture, NULL), PX_COUNT(wanted));
}

/* An export has the same integers, and a config.json that says nothing of how they were quantized. */
static void exports(void **state)
{
    (void)state;
    static const char *const names[] = {"awq", "int4-asym", "int8"};
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        char source[TEST_PATH], directory[TEST_PATH], out[TEST_PATH], file[TEST_PATH];
        phlox_error error;
        phlox_model_options options;
        px_checkpoint *checkpoint = NULL;
        size_t size;
        json_t *before, *after;
        test_directory(directory);
        phlox_model_options_init(&options);
        MUST(phlox_export(test_path(source, FIXTURES "/%s", names[i]), "openvino",
                          test_path(out, "%s/out", directory), &options, NULL, NULL, &error));
        MUST(px_checkpoint_open(out, &checkpoint, &error));
        assert_string_equal(checkpoint->form, "openvino");
        test_listed_weights(checkpoint, source);
        px_checkpoint_close(&checkpoint);
        char *text = test_read(test_path(file, "%s/config.json", source), &size);
        MUST(px_json_parse((phlox_text){text, size}, file, true, &before, &error));
        free(text);
        text = test_read(test_path(file, "%s/config.json", out), &size);
        MUST(px_json_parse((phlox_text){text, size}, file, true, &after, &error));
        free(text);
        assert_int_equal(json_object_del(before, "quantization_config"), 0);
        assert_true(json_equal(before, after));
        json_decref(before);
        json_decref(after);
        test_remove(directory);
    }
}

/* What says how zero points are stored changes the packed weights, and so must change the state. */
static void state_has_the_format(void **state)
{
    (void)state;
    char directory[TEST_PATH], file[TEST_PATH], before[200];
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    size_t size;
    test_directory(directory);
    test_copy(FIXTURES "/int4-v2", directory);
    MUST(px_checkpoint_open(directory, &checkpoint, &error));
    snprintf(before, sizeof before, "%s", strstr(checkpoint->state, "headers"));
    px_checkpoint_close(&checkpoint);
    char *const text = test_read(test_path(file, "%s/config.json", directory), &size);
    for (char *at = text; (at = strstr(at, "gptq_v2"));) memcpy(at, "gptq\"  ", 7), at[7] = ' ';
    test_write(file, text, size);
    free(text);
    MUST(px_checkpoint_open(directory, &checkpoint, &error));
    assert_string_not_equal(strstr(checkpoint->state, "headers"), before);
    px_checkpoint_close(&checkpoint);
    test_remove(directory);
}

/* ---- checkpoints made by hand -------------------------------------------------------------- */

/* One layer of hidden size 32, all zeros but for the index of groups of 16 columns. */
struct entry {
    const char *name, *dtype; /* dtype NULL: the entry is left out */
    int64_t rows, columns;    /* columns 0: one dimension */
};

#define LAYER "model.layers.0."
#define QKV LAYER "self_attn.qkv_proj."

static const struct entry gptq_entries[] = {
    {"model.embed_tokens.weight", "F16", 32, 32},
    {"lm_head.weight", "F16", 32, 32},
    {"model.norm.weight", "F16", 32, 0},
    {LAYER "input_layernorm.weight", "F16", 32, 0},
    {LAYER "post_attention_layernorm.weight", "F16", 32, 0},
    {LAYER "self_attn.o_proj.weight", "F16", 32, 32},
    {LAYER "mlp.gate_up_proj.weight", "F16", 64, 32},
    {LAYER "mlp.down_proj.weight", "F16", 32, 32},
    {QKV "qweight", "I32", 4, 96},
    {QKV "qzeros", "I32", 2, 12},
    {QKV "scales", "F16", 2, 96},
    {QKV "g_idx", "I32", 32, 0},
    {QKV "bias", "F16", 96, 0},
};
enum { ENTRIES = PX_COUNT(gptq_entries) };

/* What is too large to be there has none. */
static int64_t bytes_of(const struct entry *entry)
{
    if (entry->rows > 1 << 20) return 0;
    const int64_t size = strstr(entry->dtype, "64") ? 8 : strstr(entry->dtype, "32") ? 4 : 2;
    return entry->rows * (entry->columns ? entry->columns : 1) * size;
}

/* A word of a tensor that is not as in the others; name NULL: none. */
struct word {
    const char *name;
    int at;
    uint32_t value;
};

static void fill(const struct entry *entry, const struct word *word, char *data)
{
    if (strcmp(entry->name, QKV "g_idx") == 0)
        for (int i = 0; i < entry->rows; i++) data[bytes_of(entry) / entry->rows * i] = (char)(i / 16);
    if (word->name && strcmp(word->name, entry->name) == 0)
        memcpy(data + 4 * word->at, &word->value, sizeof word->value);
}

/* A safetensors file of the entries. */
static px_buffer make_file(const struct entry *entries, const struct word *word)
{
    px_buffer file = {0}, data = {0};
    phlox_error error;
    char line[256];
    uint8_t length[8] = {0};
    MUST(px_buffer_add(&file, length, sizeof length, &error));
    for (int i = 0; i < ENTRIES; i++) {
        if (!entries[i].dtype) continue;
        char columns[32] = "";
        const size_t begin = data.size, bytes = (size_t)bytes_of(&entries[i]);
        if (entries[i].columns) snprintf(columns, sizeof columns, ",%lld", (long long)entries[i].columns);
        snprintf(line, sizeof line, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%lld%s],\"data_offsets\":[%zu,%zu]}",
                 file.size > 8 ? "," : "{", entries[i].name, entries[i].dtype, (long long)entries[i].rows,
                 columns, begin, begin + bytes);
        MUST(px_buffer_add(&file, line, strlen(line), &error));
        char *const zeros = calloc(bytes + 4, 1);
        assert_non_null(zeros);
        if (bytes) fill(&entries[i], word, zeros);
        MUST(px_buffer_add(&data, zeros, bytes, &error));
        free(zeros);
    }
    MUST(px_buffer_add(&file, "}", 1, &error));
    const size_t header = file.size - 8;
    for (int i = 0; i < 8; i++) file.data[i] = (char)(header >> 8 * i & 255);
    MUST(px_buffer_add(&file, data.data, data.size, &error));
    px_buffer_free(&data);
    return file;
}

#define CONFIG                                                                                      \
    "{\"model_type\":\"phi3\",\"vocab_size\":32,\"hidden_size\":32,\"intermediate_size\":32,"         \
    "\"num_hidden_layers\":1,\"num_attention_heads\":2"
#define GPTQ "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":16}"

/* Opens them and reads every weight. The file is in memory of just its size, so that the sanitizers see who
 * reads behind its end. */
static phlox_status open_made(const px_buffer *file, const char *config, const char *beside,
                              char *stored, size_t stored_size, phlox_error *error)
{
    char *const copy = malloc(file->size + !file->size);
    assert_non_null(copy);
    memcpy(copy, file->data, file->size);
    const px_memory_file files[] = {{"config.json", phlox_text_of(config)},
                                    {"model.safetensors", {copy, file->size}},
                                    {beside ? beside : "", phlox_text_of("{\"bits\":4}")}};
    px_checkpoint *checkpoint = NULL;
    bool wide = false;
    phlox_status status = px_checkpoint_open_memory(files, PX_COUNT(files), &checkpoint, error);
    for (int role = 0; role < PX_ROLES && status == PHLOX_OK; role++) {
        const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, (px_role)role, 0);
        if (tensor) test_sum(tensor, 5);
        if (!tensor || !tensor->integers.bits) continue;
        uint8_t q[128 * 32], zeros[128 * 32];
        float scales[128 * 32];
        status = px_tensor_read_integers(tensor, 0, tensor->rows, q, scales, zeros, error);
        wide |= !tensor->integers.half_scales;
    }
    if (status == PHLOX_OK) px_checkpoint_describe(checkpoint, stored, stored_size);
    if (status == PHLOX_OK && wide) px_describe_once(stored, stored_size, "wide scales");
    px_checkpoint_close(&checkpoint);
    free(copy);
    return status;
}

static const struct word no_word;

static phlox_status open_edited(const struct entry *edit, const char *quantization, const struct word *word,
                                char *stored, size_t size, phlox_error *error)
{
    struct entry entries[ENTRIES];
    memcpy(entries, gptq_entries, sizeof entries);
    for (int i = 0; i < ENTRIES && edit; i++)
        if (strcmp(entries[i].name, edit->name) == 0) entries[i] = *edit;
    char config[1000];
    snprintf(config, sizeof config, CONFIG ",\"quantization_config\":%s}", quantization);
    px_buffer file = make_file(entries, word);
    const phlox_status status = open_made(&file, config, NULL, stored, size, error);
    px_buffer_free(&file);
    return status;
}

/* What the table of damage changes is read as it is. */
static void variants(void **state)
{
    (void)state;
    static const struct {
        struct entry edit;
        struct word word;
        const char *stored;
    } cases[] = {
        {{QKV "bias", NULL, 0, 0}, {0}, "int4 asym g16, f16"},
        {{QKV "g_idx", NULL, 0, 0}, {0}, "int4 asym g16, f16"},
        {{QKV "g_idx", "I32", 32, 0}, {QKV "g_idx", 0, 1}, "int4 desc_act, f16"},
        {{QKV "g_idx", "I32", 32, 0}, {QKV "g_idx", 20, 0}, "int4 desc_act, f16"},
        {{QKV "g_idx", "I32", 32, 0}, {QKV "g_idx", 31, 0}, "int4 desc_act, f16"},
        {{QKV "scales", "BF16", 2, 96}, {0}, "int4 asym g16, f16, wide scales"},
        {{QKV "scales", "F32", 2, 96}, {0}, "int4 asym g16, f16, wide scales"},
        {{QKV "bias", "F32", 96, 0}, {QKV "bias", 95, 0x80000000}, "int4 asym g16, f16"}, /* -0 */
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        phlox_error error;
        char stored[100];
        MUST(open_edited(&cases[i].edit, GPTQ, &cases[i].word, stored, sizeof stored, &error));
        assert_string_equal(stored, cases[i].stored);
    }
}

static void damage(void **state)
{
    (void)state;
    static const struct {
        struct entry edit;
        struct word word;
        phlox_status status;
        const char *words[2];
    } cases[] = {
        {{QKV "qweight", "I32", 96, 4}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.qweight", "[4, 96]"}},
        {{QKV "qweight", "I32", 5, 96}, {0}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.qweight", "5 bits"}},
        {{QKV "qweight", "I32", 3, 96}, {0}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.qweight", "3 bits"}},
        {{QKV "qweight", "I32", 2, 96}, {0}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.qweight", "2 bits"}},
        {{QKV "qweight", "I32", 8, 96}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.qzeros", "[2, 24]"}},
        {{QKV "qweight", "I32", 4, 95}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.qweight", "[4, 96]"}},
        {{QKV "qweight", "I32", 384, 0}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.qweight", "[4, 96]"}},
        {{QKV "qweight", "I32", INT64_C(1) << 61, 0}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.qweight", "shape"}},
        {{QKV "qweight", "I32", INT64_MAX, 0}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.qweight", "shape"}},
        {{QKV "qweight", "I64", 4, 96}, {0}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.qweight", "I64"}},
        {{QKV "qweight", "F32", 4, 96}, {0}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.qweight", "F32"}},
        {{QKV "qweight", NULL, 0, 0}, {0}, PHLOX_ERROR_NOT_FOUND, {"qkv_proj", "without its qweight"}},
        {{QKV "qzeros", NULL, 0, 0}, {0}, PHLOX_ERROR_NOT_FOUND, {"qkv_proj", "without its qzeros"}},
        {{QKV "scales", NULL, 0, 0}, {0}, PHLOX_ERROR_NOT_FOUND, {"qkv_proj", "without its scales"}},
        {{QKV "qzeros", "I32", 1, 12}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.qzeros", "[2, 12]"}},
        {{QKV "qzeros", "I32", 2, 11}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.qzeros", "[2, 12]"}},
        {{QKV "qzeros", "F16", 2, 12}, {0}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.qzeros", "F16"}},
        {{QKV "scales", "I32", 2, 96}, {0}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.scales", "I32"}},
        {{QKV "scales", "F16", 0, 96}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.scales", "group"}},
        {{QKV "scales", "F16", 33, 96}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.scales", "group"}},
        {{QKV "scales", "F16", 192, 0}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.scales", "group"}},
        {{QKV "scales", "F16", 2, 95}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.scales", "[2, 96]"}},
        {{QKV "g_idx", "I32", 31, 0}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.g_idx", "[31"}},
        {{QKV "g_idx", "I32", 32, 1}, {0}, PHLOX_ERROR_FORMAT, {"qkv_proj.g_idx", "2 dimensions"}},
        {{QKV "g_idx", "I64", 32, 0}, {0}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.g_idx", "I64"}},
        {{QKV "g_idx", "I32", 32, 0}, {QKV "g_idx", 31, 2}, PHLOX_ERROR_FORMAT, {"qkv_proj.g_idx", "group 2 of 2"}},
        {{QKV "g_idx", "I32", 32, 0}, {QKV "g_idx", 0, 0xffffffff}, PHLOX_ERROR_FORMAT, {"g_idx", "group -1 of 2"}},
        {{QKV "g_idx", NULL, 0, 0}, {QKV "scales", 0, 0x7c00}, PHLOX_ERROR_FORMAT, {"qkv_proj", "scale"}},
        {{QKV "bias", "F16", 96, 0}, {QKV "bias", 0, 1}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.bias", "no biases"}},
        {{QKV "bias", "BF16", 96, 0}, {QKV "bias", 0, 0x7fc0}, PHLOX_ERROR_UNSUPPORTED, {"bias", "no biases"}},
        {{QKV "bias", "I32", 96, 0}, {0}, PHLOX_ERROR_UNSUPPORTED, {"qkv_proj.bias", "I32"}},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        phlox_error error = {0};
        char stored[100];
        const phlox_status status =
            open_edited(&cases[i].edit, GPTQ, &cases[i].word, stored, sizeof stored, &error);
        if (status != cases[i].status || !strstr(error.message, cases[i].words[0]) ||
            !strstr(error.message, cases[i].words[1]))
            fail_msg("case %zu: status %d, %s", i, status, error.message);
    }
}

/* Tensors of other modules, and groups without an index. */
static void strangers(void **state)
{
    (void)state;
    static const struct {
        const char *replaced; /* by this one: */
        struct entry entry;
        phlox_status status;
        const char *word;
    } cases[] = {
        {QKV "bias", {"model.embed_tokens.qweight", "I32", 4, 32}, PHLOX_ERROR_UNSUPPORTED, "embedding"},
        {QKV "bias", {LAYER "mlp.down_proj.qweight", "I32", 4, 32}, PHLOX_ERROR_NOT_FOUND, "without its qzeros"},
        {QKV "bias", {QKV "weight", "F16", 96, 32}, PHLOX_ERROR_FORMAT, "is also in"},
        {QKV "bias", {"model.layers.1.self_attn.qkv_proj.qweight", "I32", 4, 96}, PHLOX_ERROR_UNSUPPORTED, "1 layers"},
        {QKV "bias", {LAYER "mlp.gate_proj.qweight", "I32", 4, 32}, PHLOX_ERROR_UNSUPPORTED, "part of a matrix"},
        {QKV "bias", {"model.norm.bias", "F16", 32, 0}, PHLOX_ERROR_UNSUPPORTED, "model.norm.bias"},
        {QKV "bias", {QKV "other", "F16", 32, 0}, PHLOX_OK, NULL},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        struct entry entries[ENTRIES];
        phlox_error error = {0};
        char stored[100];
        memcpy(entries, gptq_entries, sizeof entries);
        for (int j = 0; j < ENTRIES; j++)
            if (strcmp(entries[j].name, cases[i].replaced) == 0) entries[j] = cases[i].entry;
        px_buffer file = make_file(entries, &no_word);
        const phlox_status status = open_made(&file, CONFIG ",\"quantization_config\":" GPTQ "}", NULL, stored,
                                              sizeof stored, &error);
        if (status != cases[i].status || (cases[i].word && !strstr(error.message, cases[i].word)))
            fail_msg("case %zu: status %d, %s", i, status, error.message);
        px_buffer_free(&file);
    }
}

static void refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *quantization, *word;
    } cases[] = {
        {"{\"bits\":4}", "quant_method"},
        {"{\"quant_method\":7}", "quant_method"},
        {"{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}", "bitsandbytes"},
        {"{\"quant_method\":\"fp8\"}", "fp8"},
        {"{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"}", "compressed-tensors"},
        {"{\"quant_method\":\"gptq\",\"checkpoint_format\":\"marlin\"}", "marlin"},
        {"{\"quant_method\":\"gptq\",\"format\":\"gptq_p\"}", "gptq_p"},
        {"{\"quant_method\":\"gptq\",\"is_marlin_format\":true}", "is_marlin_format"},
        {"{\"quant_method\":\"gptq\",\"rotation\":\"hadamard\"}", "rotation"},
        {"{\"quant_method\":\"gptq\",\"adapter\":{\"name\":\"lora\"}}", "adapter"},
        {"{\"quant_method\":\"awq\",\"version\":\"GEMV\"}", "gemv"},
        {"{\"quant_method\":\"awq\",\"version\":\"gemv_fast\"}", "gemv_fast"},
        {"{\"quant_method\":\"awq\",\"version\":\"exllama\"}", "exllama"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        phlox_error error = {0};
        char stored[100];
        MUST_FAIL(open_edited(NULL, cases[i].quantization, &no_word, stored, sizeof stored, &error),
                  PHLOX_ERROR_UNSUPPORTED, cases[i].word);
    }
}

/* Without quantization_config the file beside config.json says what it is; without it the words of integers
 * mean nothing. */
static void beside(void **state)
{
    (void)state;
    static const char config[] = CONFIG "}";
    phlox_error error;
    char stored[100];
    px_buffer file = make_file(gptq_entries, &no_word);
    MUST(open_made(&file, config, "quantize_config.json", stored, sizeof stored, &error));
    assert_string_equal(stored, "int4 asym g16, f16");
    MUST_FAIL(open_made(&file, config, "quant_config.json", stored, sizeof stored, &error), PHLOX_ERROR_FORMAT,
              "qkv_proj.qweight"); /* of AutoAWQ */
    MUST_FAIL(open_made(&file, config, NULL, stored, sizeof stored, &error), PHLOX_ERROR_UNSUPPORTED, "bias");
    px_buffer_free(&file);
}

static void truncation(void **state)
{
    (void)state;
    px_buffer file = make_file(gptq_entries, &no_word);
    const size_t size = file.size;
    for (size_t i = 1; i < 300; i++) {
        phlox_error error;
        char stored[100];
        file.size = size * i / 300;
        assert_int_equal(open_made(&file, CONFIG ",\"quantization_config\":" GPTQ "}", NULL, stored,
                                   sizeof stored, &error), PHLOX_ERROR_FORMAT);
    }
    px_buffer_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixtures),        cmocka_unit_test(exports),  cmocka_unit_test(state_has_the_format),
        cmocka_unit_test(variants),        cmocka_unit_test(damage),   cmocka_unit_test(strangers),
        cmocka_unit_test(refused_by_name), cmocka_unit_test(beside),   cmocka_unit_test(truncation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
