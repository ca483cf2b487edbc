/* The option tables: every option from text, the field that it sets and no other, what is refused. */
#include "support.h"

#include <phlox/tools.h>

/* Sets an option and checks that only the field at `offset` changed, to these bytes. */
static void check_field(const char *name, const char *value, const void *before, const void *after,
                        size_t total, size_t offset, const void *wanted, size_t size)
{
    const char *const old = before, *const now = after;
    for (size_t i = 0; i < total; i++)
        if ((i < offset || i >= offset + size) && old[i] != now[i])
            fail_msg("--%s %s: byte %zu changed, which is not its own", name, value ? value : "", i);
    if (memcmp(now + offset, wanted, size) != 0)
        fail_msg("--%s %s: wrong value", name, value ? value : "");
}

typedef struct option_case {
    const char *name, *value;
    size_t offset, size;
    int64_t integer;
    double real;
    enum { AS_INT32, AS_UINT64, AS_REAL, AS_BOOL, AS_STRING, AS_SETTING } kind;
} option_case;

#define MODEL(field) offsetof(phlox_model_options, field)
#define GENERATE(field) offsetof(phlox_generate_options, field)

static const option_case model_cases[] = {
    {"weight-format", "f32", MODEL(weight_format), 4, PHLOX_WEIGHTS_F32, 0, AS_INT32},
    {"weight-format", "fp32", MODEL(weight_format), 4, PHLOX_WEIGHTS_F32, 0, AS_INT32},
    {"weight-format", "f16", MODEL(weight_format), 4, PHLOX_WEIGHTS_F16, 0, AS_INT32},
    {"weight-format", "fp16", MODEL(weight_format), 4, PHLOX_WEIGHTS_F16, 0, AS_INT32},
    {"weight-format", "bf16", MODEL(weight_format), 4, PHLOX_WEIGHTS_BF16, 0, AS_INT32},
    {"weight-format", "int8", MODEL(weight_format), 4, PHLOX_WEIGHTS_INT8, 0, AS_INT32},
    {"weight-format", "int4", MODEL(weight_format), 4, PHLOX_WEIGHTS_INT4, 0, AS_INT32},
    {"weight-format", "stored", MODEL(weight_format), 4, PHLOX_WEIGHTS_STORED, 0, AS_INT32},
    {"group-size", "64", MODEL(group_size), 4, 64, 0, AS_INT32},
    {"group-size", "-1", MODEL(group_size), 4, -1, 0, AS_INT32},
    {"sym", NULL, MODEL(symmetry), 4, PHLOX_SYM, 0, AS_INT32},
    {"asym", NULL, MODEL(symmetry), 4, PHLOX_ASYM, 0, AS_INT32},
    {"ratio", "0.75", MODEL(ratio), 8, 0, 0.75, AS_REAL},
    {"ratio", "1", MODEL(ratio), 8, 0, 1, AS_REAL},
    {"backup-precision", "int8_asym", MODEL(backup_precision), 4, PHLOX_BACKUP_INT8_ASYM, 0, AS_INT32},
    {"backup-precision", "int8_sym", MODEL(backup_precision), 4, PHLOX_BACKUP_INT8_SYM, 0, AS_INT32},
    {"backup-precision", "none", MODEL(backup_precision), 4, PHLOX_BACKUP_NONE, 0, AS_INT32},
    {"all-layers", NULL, MODEL(all_layers), sizeof(bool), 1, 0, AS_BOOL},
    {"group-size-fallback", "ignore", MODEL(group_size_fallback), 4, PHLOX_FALLBACK_IGNORE, 0, AS_INT32},
    {"group-size-fallback", "adjust", MODEL(group_size_fallback), 4, PHLOX_FALLBACK_ADJUST, 0, AS_INT32},
    {"group-size-fallback", "error", MODEL(group_size_fallback), 4, PHLOX_FALLBACK_ERROR, 0, AS_INT32},
    {"quant-method", "nncf", MODEL(quant_method), 4, PHLOX_QUANT_NNCF, 0, AS_INT32},
    {"quant-method", "search", MODEL(quant_method), 4, PHLOX_QUANT_SEARCH, 0, AS_INT32},
    {"exact", NULL, MODEL(exact), sizeof(bool), 1, 0, AS_BOOL},
    {"kv-cache", "f32", MODEL(kv_cache), 4, PHLOX_KV_F32, 0, AS_INT32},
    {"kv-cache", "f16", MODEL(kv_cache), 4, PHLOX_KV_F16, 0, AS_INT32},
    {"kv-cache", "int8", MODEL(kv_cache), 4, PHLOX_KV_INT8, 0, AS_INT32},
    {"kv-cache", "int4", MODEL(kv_cache), 4, PHLOX_KV_INT4, 0, AS_INT32},
    {"huge-pages", "auto", MODEL(huge_pages), 4, PHLOX_HUGE_AUTO, 0, AS_INT32},
    {"huge-pages", "on", MODEL(huge_pages), 4, PHLOX_HUGE_ON, 0, AS_INT32},
    {"huge-pages", "off", MODEL(huge_pages), 4, PHLOX_HUGE_OFF, 0, AS_INT32},
    {"threads", "3", MODEL(threads), 4, 3, 0, AS_INT32},
    {"cpu-mask", "avx2", MODEL(cpu_mask), 8, PHLOX_CPU_AVX2, 0, AS_UINT64},
    {"cpu-mask", "avx512-vnni,avx2,neon", MODEL(cpu_mask), 8,
     PHLOX_CPU_AVX512_VNNI | PHLOX_CPU_AVX2 | PHLOX_CPU_NEON, 0, AS_UINT64},
    {"cpu-mask", "0x1f", MODEL(cpu_mask), 8, 31, 0, AS_UINT64},
    {"context-size", "4096", MODEL(context_size), 4, 4096, 0, AS_INT32},
    {"chat-format", "phi3", MODEL(chat_format), sizeof(char *), 0, 0, AS_STRING},
    {"device", "openvino:NPU", MODEL(device), sizeof(char *), 0, 0, AS_STRING},
    {"prefer", "speed", MODEL(prefer), 4, PHLOX_PREFER_SPEED, 0, AS_INT32},
    {"prefer", "efficiency", MODEL(prefer), 4, PHLOX_PREFER_EFFICIENCY, 0, AS_INT32},
    {"prefer", "quiet", MODEL(prefer), 4, PHLOX_PREFER_QUIET, 0, AS_INT32},
    {"ov-config", "NUM_STREAMS=1", MODEL(ov_config), MODEL(ov_config_count), 0, 0, AS_SETTING},
    {"ort-config", "device_index=1", MODEL(ort_config), MODEL(ort_config_count), 0, 0, AS_SETTING},
    {"openvino-library", "/opt/ov", MODEL(openvino_library), sizeof(char *), 0, 0, AS_STRING},
    {"ort-library", "/opt/ort", MODEL(ort_library), sizeof(char *), 0, 0, AS_STRING},
    {"max-prompt-len", "2048", MODEL(max_prompt_len), 4, 2048, 0, AS_INT32},
    {"min-response-len", "256", MODEL(min_response_len), 4, 256, 0, AS_INT32},
    {"prefill-hint", "STATIC", MODEL(prefill_hint), sizeof(char *), 0, 0, AS_STRING},
    {"generate-hint", "BEST_PERF", MODEL(generate_hint), sizeof(char *), 0, 0, AS_STRING},
    {"no-cache", NULL, MODEL(no_cache), sizeof(bool), 1, 0, AS_BOOL},
    {"cache-dir", "/some/where", MODEL(cache_dir), sizeof(char *), 0, 0, AS_STRING},
    {"cache-limit", "12345", MODEL(cache_limit), 8, 12345, 0, AS_UINT64},
    {"cache-limit", "20G", MODEL(cache_limit), 8, INT64_C(20) << 30, 0, AS_UINT64},
    {"cache-limit", "7K", MODEL(cache_limit), 8, 7 << 10, 0, AS_UINT64},
    {"cache-limit", "3M", MODEL(cache_limit), 8, 3 << 20, 0, AS_UINT64},
    {"cache-limit", "1T", MODEL(cache_limit), 8, INT64_C(1) << 40, 0, AS_UINT64},
};

static const option_case generate_cases[] = {
    {"max-new-tokens", "17", GENERATE(max_new_tokens), 4, 17, 0, AS_INT32},
    {"max-new-tokens", "-1", GENERATE(max_new_tokens), 4, -1, 0, AS_INT32},
    {"sample", NULL, GENERATE(do_sample), sizeof(bool), 1, 0, AS_BOOL},
    {"greedy", NULL, GENERATE(do_sample), sizeof(bool), 0, 0, AS_BOOL},
    {"repetition-penalty", "1.25", GENERATE(repetition_penalty), 8, 0, 1.25, AS_REAL},
    {"presence-penalty", "-0.5", GENERATE(presence_penalty), 8, 0, -0.5, AS_REAL},
    {"frequency-penalty", "0.5", GENERATE(frequency_penalty), 8, 0, 0.5, AS_REAL},
    {"seed", "18446744073709551615", GENERATE(seed), 8, -1, 0, AS_UINT64},
    {"ignore-eos", NULL, GENERATE(ignore_eos), sizeof(bool), 1, 0, AS_BOOL},
    {"context-shift", NULL, GENERATE(context_shift), sizeof(bool), 1, 0, AS_BOOL},
    {"context-keep", "4", GENERATE(context_keep), 4, 4, 0, AS_INT32},
    {"top-logprobs", "20", GENERATE(top_logprobs), 4, 20, 0, AS_INT32},
    {"speculate", "auto", GENERATE(speculate), 4, PHLOX_SPECULATE_AUTO, 0, AS_INT32},
    {"speculate", "off", GENERATE(speculate), 4, 0, 0, AS_INT32},
    {"speculate", "7", GENERATE(speculate), 4, PHLOX_MAX_DRAFT, 0, AS_INT32},
};

static void check_case(const option_case *c, const void *before, const void *after, size_t total)
{
    const int32_t small = (int32_t)c->integer;
    const uint64_t large = (uint64_t)c->integer;
    const bool flag = c->integer != 0;
    const void *const wanted = c->kind == AS_INT32    ? (const void *)&small
                               : c->kind == AS_UINT64 ? (const void *)&large
                               : c->kind == AS_BOOL   ? (const void *)&flag
                               : c->kind == AS_REAL   ? (const void *)&c->real
                                                      : (const void *)&c->value;
    check_field(c->name, c->value, before, after, total, c->offset, wanted, c->size);
}

/* `size` is where the count stands. */
static void check_setting(const option_case *c, const phlox_model_options *after)
{
    const char *const *const list = (const void *)((const char *)after + c->offset);
    const size_t count = *(const size_t *)(const void *)((const char *)after + c->size);
    assert_true(count >= 1);
    assert_string_equal(list[count - 1], c->value);
}

static void settings_may_be_given_often(void **state)
{
    (void)state;
    phlox_model_options options;
    phlox_error error;
    phlox_model_options_init(&options);
    MUST(phlox_model_options_set(&options, "ov-config", "A=1", &error));
    MUST(phlox_model_options_set(&options, "ov-config", "B=", &error));
    MUST(phlox_model_options_set(&options, "ort-config", "C=3", &error));
    assert_int_equal(options.ov_config_count, 2);
    assert_int_equal(options.ort_config_count, 1);
    assert_string_equal(options.ov_config[0], "A=1");
    assert_string_equal(options.ov_config[1], "B=");
    MUST_FAIL(phlox_model_options_set(&options, "ov-config", "A", &error), PHLOX_ERROR_ARGUMENT, "KEY=VALUE");
    MUST_FAIL(phlox_model_options_set(&options, "ov-config", "=1", &error), PHLOX_ERROR_ARGUMENT, "KEY=VALUE");
    for (int i = 2; i < PHLOX_MOST_SETTINGS; i++)
        MUST(phlox_model_options_set(&options, "ov-config", "A=1", &error));
    MUST_FAIL(phlox_model_options_set(&options, "ov-config", "A=1", &error), PHLOX_ERROR_ARGUMENT, "32");
}

static void model_options(void **state)
{
    (void)state;
    phlox_error error;
    for (size_t i = 0; i < PX_COUNT(model_cases); i++) {
        phlox_model_options before, after;
        memset(&before, 0, sizeof before);
        phlox_model_options_init(&before);
        assert_int_equal(before.struct_size, sizeof before);
        memcpy(&after, &before, sizeof after);
        MUST(phlox_model_options_set(&after, model_cases[i].name, model_cases[i].value, &error));
        if (model_cases[i].kind == AS_SETTING) check_setting(&model_cases[i], &after);
        else check_case(&model_cases[i], &before, &after, sizeof after);
    }
}

static void generate_options(void **state)
{
    (void)state;
    phlox_error error;
    for (size_t i = 0; i < PX_COUNT(generate_cases); i++) {
        phlox_generate_options before, after;
        memset(&before, 0x11, sizeof before);
        before.do_sample = strcmp(generate_cases[i].name, "greedy") == 0;
        memcpy(&after, &before, sizeof after);
        MUST(phlox_generate_options_set(&after, generate_cases[i].name, generate_cases[i].value,
                                        &error));
        check_case(&generate_cases[i], &before, &after, sizeof after);
    }
}

/* Numbers that only sampling reads also turn it on. */
static void sampling_numbers(void **state)
{
    (void)state;
    phlox_error error;
    phlox_generate_options o = {.struct_size = sizeof o, .temperature = 1, .top_p = 1};
    MUST(phlox_generate_options_set(&o, "top-k", "40", &error));
    assert_true(o.do_sample && o.top_k == 40);
    MUST(phlox_generate_options_set(&o, "temperature", "0", &error));
    assert_true(!o.do_sample && o.temperature == 0);
    MUST(phlox_generate_options_set(&o, "top-p", "0.5", &error));
    assert_true(!o.do_sample && o.top_p == 0.5);
    MUST(phlox_generate_options_set(&o, "temperature", "0.7", &error));
    assert_true(o.do_sample && o.temperature == 0.7);
    MUST(phlox_generate_options_set(&o, "greedy", NULL, &error));
    assert_false(o.do_sample);
    MUST(phlox_generate_options_set(&o, "min-p", "0.05", &error));
    assert_true(o.do_sample && o.min_p == 0.05);
}

static void every_option_is_tested(void **state)
{
    (void)state;
    for (int table = 0; table < 2; table++) {
        size_t count;
        const phlox_option *options =
            table ? phlox_generate_option_table(&count) : phlox_model_option_table(&count);
        const option_case *const cases = table ? generate_cases : model_cases;
        const size_t tested = table ? PX_COUNT(generate_cases) : PX_COUNT(model_cases);
        assert_true(count > 10);
        for (size_t i = 0; i < count; i++) {
            assert_true(options[i].help && strlen(options[i].help) > 10);
            assert_null(strchr(options[i].help, '\n'));
            bool found = table && (!strcmp(options[i].name, "temperature") ||
                                   !strncmp(options[i].name, "top-", 4) ||
                                   !strcmp(options[i].name, "min-p"));
            for (size_t c = 0; c < tested; c++) {
                if (strcmp(cases[c].name, options[i].name) != 0) continue;
                found = true;
                assert_int_equal(options[i].argument != NULL, cases[c].value != NULL);
            }
            if (!found) fail_msg("--%s is not tested", options[i].name);
            for (size_t other = 0; other < i; other++)
                assert_string_not_equal(options[i].name, options[other].name);
        }
    }
}

static void bad_values(void **state)
{
    (void)state;
    static const char *const model_bad[][2] = {
        {"weight-format", "int3"}, {"weight-format", ""}, {"weight-format", "F32"},
        {"group-size", "0"}, {"group-size", "-2"}, {"group-size", "1.5"}, {"group-size", "abc"},
        {"group-size", ""}, {"group-size", "64x"}, {"group-size", "99999999999"},
        {"ratio", "0"}, {"ratio", "1.01"}, {"ratio", "-0.5"}, {"ratio", "nan"}, {"ratio", "inf"},
        {"ratio", "0.5%"}, {"backup-precision", "int4"}, {"group-size-fallback", "maybe"},
        {"threads", "0"}, {"threads", "-1"}, {"threads", "1025"}, {"threads", "many"},
        {"cpu-mask", "avx"}, {"cpu-mask", "avx2,"}, {"cpu-mask", ",avx2"}, {"cpu-mask", ""},
        {"cpu-mask", "avx2 "}, {"cpu-mask", "12x"}, {"context-size", "0"}, {"context-size", "-5"},
        {"context-size", "1e30"}, {"cache-limit", "0"}, {"cache-limit", "-1"},
        {"cache-limit", "5X"}, {"cache-limit", "5GG"}, {"cache-limit", "99999999999999999999"},
        {"cache-limit", "99999999999G"}, {"cache-limit", "G"}, {"cache-limit", ""},
    };
    static const char *const generate_bad[][2] = {
        {"max-new-tokens", "-2"}, {"max-new-tokens", "ten"}, {"temperature", "-1"},
        {"temperature", "nan"}, {"temperature", "inf"}, {"top-k", "-1"}, {"top-k", "2.5"},
        {"top-p", "1.1"}, {"top-p", "-0.1"}, {"min-p", "2"}, {"repetition-penalty", "0"},
        {"seed", "-1"}, {"seed", "18446744073709551616"}, {"seed", "1.5"}, {"seed", ""},
        {"context-keep", "-1"}, {"top-logprobs", "21"}, {"top-logprobs", "-1"},
        {"speculate", "8"}, {"speculate", "-1"}, {"speculate", "1.5"}, {"speculate", "on"},
        {"speculate", ""},
    };
    phlox_error error;
    for (size_t i = 0; i < PX_COUNT(model_bad); i++) {
        phlox_model_options before, after;
        memset(&before, 0, sizeof before);
        phlox_model_options_init(&before);
        memcpy(&after, &before, sizeof after);
        MUST_FAIL(phlox_model_options_set(&after, model_bad[i][0], model_bad[i][1], &error),
                  PHLOX_ERROR_ARGUMENT, model_bad[i][0]);
        if (memcmp(&before, &after, offsetof(phlox_model_options, cpu_mask)) != 0)
            fail_msg("--%s %s changed something", model_bad[i][0], model_bad[i][1]);
    }
    for (size_t i = 0; i < PX_COUNT(generate_bad); i++) {
        phlox_generate_options o = {.struct_size = sizeof o};
        MUST_FAIL(phlox_generate_options_set(&o, generate_bad[i][0], generate_bad[i][1], &error),
                  PHLOX_ERROR_ARGUMENT, generate_bad[i][0]);
        assert_int_equal(phlox_generate_options_set(&o, generate_bad[i][0], generate_bad[i][1], NULL),
                         PHLOX_ERROR_ARGUMENT);
    }
    phlox_model_options m;
    phlox_generate_options g = {.struct_size = sizeof g};
    phlox_model_options_init(&m);
    MUST_FAIL(phlox_model_options_set(&m, "threads", NULL, &error), PHLOX_ERROR_ARGUMENT, "value");
    MUST_FAIL(phlox_model_options_set(&m, "ratio", NULL, &error), PHLOX_ERROR_ARGUMENT, "value");
    MUST_FAIL(phlox_model_options_set(&m, "temperature", "1", &error), PHLOX_ERROR_NOT_FOUND,
              "temperature");
    MUST_FAIL(phlox_generate_options_set(&g, "threads", "1", &error), PHLOX_ERROR_NOT_FOUND,
              "threads");
    MUST_FAIL(phlox_generate_options_set(&g, "", "1", &error), PHLOX_ERROR_NOT_FOUND, "option");
}

static void features(void **state)
{
    (void)state;
    int named = 0;
    for (int bit = 0; bit < 64; bit++) {
        const char *name = phlox_cpu_feature_name(UINT64_C(1) << bit);
        if (!name) continue;
        named++;
        phlox_model_options o;
        phlox_error error;
        phlox_model_options_init(&o);
        MUST(phlox_model_options_set(&o, "cpu-mask", name, &error));
        assert_true(o.cpu_mask == UINT64_C(1) << bit);
    }
    assert_int_equal(named, 8);
    assert_null(phlox_cpu_feature_name(0));
    assert_null(phlox_cpu_feature_name(3));
    assert_int_equal(phlox_cpu_features() & ~UINT64_C(0xff), 0);
    assert_int_equal(strncmp(phlox_version(), PHLOX_VERSION " (", strlen(PHLOX_VERSION) + 2), 0);
    assert_int_equal(phlox_text_of("abc").size, 3);
    assert_true(!phlox_text_of(NULL).data && !phlox_text_of(NULL).size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_options),    cmocka_unit_test(generate_options),
        cmocka_unit_test(sampling_numbers), cmocka_unit_test(every_option_is_tested),
        cmocka_unit_test(bad_values),       cmocka_unit_test(features),
        cmocka_unit_test(settings_may_be_given_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
