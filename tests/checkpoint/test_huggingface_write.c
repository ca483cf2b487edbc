/* Safetensors that phlox writes: the family byte for byte, other forms widened bit for bit. */
#include "checkpoints.h"

#include "base/json.h"

#define GOLDEN PHLOX_SOURCE_DIR "/tests/golden"

static json_t *config_of(const char *directory)
{
    char path[TEST_PATH];
    json_t *const json = json_load_file(test_path(path, "%s/config.json", directory), 0, NULL);
    assert_non_null(json);
    return json;
}

static const char *type_in(const json_t *config)
{
    const json_t *const type = json_object_get(config, "dtype");
    return json_string_value(type ? type : json_object_get(config, "torch_dtype"));
}

struct round {
    const char *directory;
    size_t count;
};

/* Every tensor has the bytes of the source, and config.json says what they are. */
static void check_member(const char *path, const char *name, void *user)
{
    struct round *const round = user;
    char out[TEST_PATH], file[TEST_PATH];
    phlox_error error;
    test_path(out, "%s/%s", round->directory, name);
    MUST(phlox_export(path, "huggingface", out, NULL, NULL, NULL, &error));
    px_checkpoint *source = test_open(path), *made = test_open(out);
    assert_string_equal(made->form, "huggingface");
    for (int role = 0; role < PX_ROLES; role++) {
        const int32_t count = px_role_is_layered((px_role)role) ? source->desc.num_hidden_layers : 1;
        for (int32_t layer = 0; layer < count; layer++) {
            const px_tensor *const a = px_checkpoint_tensor(source, (px_role)role, layer);
            const px_tensor *const b = px_checkpoint_tensor(made, (px_role)role, layer);
            assert_int_equal(!a, !b);
            if (!a) continue;
            assert_int_equal(a->type, b->type);
            assert_string_equal(a->name, b->name);
            assert_int_equal(a->row_bytes, b->row_bytes);
            assert_memory_equal(a->data, b->data, (size_t)(a->rows * a->row_bytes));
        }
    }
    assert_int_equal(source->desc.eos_count, made->desc.eos_count);
    assert_true(source->desc.rope_scale == made->desc.rope_scale);
    static const char *const types[] = {"float32", "float16", "bfloat16"};
    json_t *const config = config_of(out);
    assert_string_equal(type_in(config), types[source->type]);
    assert_true(test_exists(test_path(file, "%s/generation_config.json", out)));
    json_decref(config);
    px_checkpoint_close(&source);
    px_checkpoint_close(&made);
    round->count++;
}

static void family(void **state)
{
    (void)state;
    char directory[TEST_PATH];
    test_directory(directory);
    struct round round = {directory, 0};
    test_for_each(GOLDEN "/family", check_member, &round);
    assert_true(round.count >= 14);
    test_remove(directory);
}

/* Integers are an error, widened with fp32, and rounded to float16 where that is accepted. */
static void check_form(const char *path, const char *name, void *user)
{
    struct round *const round = user;
    char out[TEST_PATH];
    phlox_error error;
    phlox_model_options options;
    phlox_export_options words;
    phlox_export_result result;
    if (strstr(name, ".json")) return; /* beside the fixtures */
    phlox_model_options_init(&options);
    phlox_export_options_init(&words);
    px_checkpoint *source = test_open(path);
    const bool quantized = source->quantized;
    px_checkpoint_close(&source);
    test_path(out, "%s/%zu", round->directory, round->count);
    if (quantized) {
        MUST_FAIL(phlox_export(path, "huggingface", out, NULL, NULL, NULL, &error), PHLOX_ERROR_UNSUPPORTED,
                  "--accept-loss");
        assert_false(test_exists(out));
    }
    options.weight_format = PHLOX_WEIGHTS_F32;
    MUST(phlox_export(path, "huggingface", out, &options, NULL, &result, &error));
    assert_string_equal(result.weights, "f32");
    test_same_logits(path, out);
    json_t *const config = config_of(out);
    assert_null(json_object_get(config, "quantization_config"));
    assert_string_equal(type_in(config), "float32");
    json_decref(config);
    words.accept_loss = true;
    test_path(out, "%s/%zu-half", round->directory, round->count);
    MUST(phlox_export(path, "huggingface", out, NULL, &words, &result, &error));
    if (quantized) assert_non_null(strstr(result.weights, "f16"));
    round->count++;
}

static void other_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {"openvino", "onnx", "gguf", "gptq"};
    char directory[TEST_PATH], path[TEST_PATH];
    test_directory(directory);
    struct round round = {directory, 0};
    for (size_t i = 0; i < PX_COUNT(forms); i++)
        test_for_each(test_path(path, GOLDEN "/%s", forms[i]), check_form, &round);
    assert_true(round.count >= 35);
    test_remove(directory);
}

static void refused(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH];
    phlox_error error;
    phlox_model_options options;
    phlox_model_options_init(&options);
    test_directory(directory);
    test_path(out, "%s/out", directory);
    options.weight_format = PHLOX_WEIGHTS_INT4;
    MUST_FAIL(phlox_export(GOLDEN "/family/phi4", "huggingface", out, &options, NULL, NULL, &error),
              PHLOX_ERROR_ARGUMENT, "int4");
    options.weight_format = PHLOX_WEIGHTS_INT8;
    MUST_FAIL(phlox_export(GOLDEN "/family/phi4", "huggingface", out, &options, NULL, NULL, &error),
              PHLOX_ERROR_ARGUMENT, "int8");
    assert_int_equal(test_for_each(directory, NULL, NULL), 0);
    test_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(family),
        cmocka_unit_test(other_forms),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
