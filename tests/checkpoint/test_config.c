/* config.json and generation_config.json: the descriptor of each family member, defaults, and
 * values that the hostile set does not try. */
#include "support.h"

#include "checkpoint/config.h"

static phlox_status parse(const char *config, const char *generation, px_desc *out,
                          phlox_error *error)
{
    return px_config_parse(phlox_text_of(config), "config.json", phlox_text_of(generation),
                           "generation_config.json", out, error);
}

static px_desc member(const char *name)
{
    char path[TEST_PATH];
    size_t size, generation_size;
    char *const config =
        test_read(test_path(path, PHLOX_SOURCE_DIR "/tests/golden/family/%s/config.json", name),
                  &size);
    char *const generation = test_read(
        test_path(path, PHLOX_SOURCE_DIR "/tests/golden/family/%s/generation_config.json", name),
        &generation_size);
    px_desc desc = {0};
    phlox_error error;
    MUST(parse(config, generation, &desc, &error));
    free(config);
    free(generation);
    return desc;
}

/* What make_family.py wrote down, in the words of the descriptor. */
static const struct wanted {
    const char *name;
    int32_t vocab, hidden, inner, layers, heads, kv_heads, head_dim, rotary, window, original, bos;
    int32_t eos;
    double theta;
    bool longrope, tied;
} members[] = {
    {"phi3-mini-4k", 128, 64, 56, 3, 2, 2, 32, 32, 11, 128, 1, 120, 1e4, false, false},
    {"phi3-mini-128k", 128, 64, 48, 2, 2, 2, 32, 32, 262144, 32, 1, 120, 1e4, true, false},
    {"phi3-medium-4k", 130, 128, 32, 2, 4, 2, 32, 32, 11, 128, 1, 120, 1e4, false, false},
    {"phi3-medium-128k", 128, 96, 48, 2, 3, 1, 32, 32, 131072, 32, 1, 120, 1e4, true, false},
    {"phi35-mini", 128, 96, 48, 2, 1, 1, 96, 96, 262144, 32, 1, 120, 1e4, true, false},
    {"phi4", 131, 128, 32, 2, 4, 2, 32, 32, 0, 128, 127, 130, 250000, false, false},
    {"phi4-mini", 203, 96, 64, 2, 3, 1, 32, 24, 262144, 32, 199, 199, 1e4, true, true},
    {"head-dim-128", 128, 64, 32, 2, 2, 1, 128, 128, 0, 128, 1, 120, 250000, false, false},
    {"longrope-su", 128, 64, 24, 2, 2, 2, 32, 32, 9, 32, 1, 120, 1e4, true, false},
    {"longrope-rope-type", 128, 64, 24, 2, 2, 2, 32, 32, 262144, 32, 1, 120, 1e4, true, false},
    {"longrope-rope-parameters", 128, 64, 24, 2, 2, 2, 32, 16, 262144, 32, 1, 120, 5000, true,
     true},
};

static void written_and_read_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < PX_COUNT(members); i++) {
        px_desc d = member(members[i].name), again = {0};
        px_buffer text = {0};
        phlox_error error;
        MUST(px_config_write(&d, &text, &error));
        MUST(px_config_parse((phlox_text){text.data, text.size}, "config.json", (phlox_text){NULL, 0}, "",
                             &again, &error));
        const size_t half = (size_t)d.rotary_dim / 2 * sizeof(float);
        if (d.longrope) {
            assert_memory_equal(d.short_factor, again.short_factor, half);
            assert_memory_equal(d.long_factor, again.long_factor, half);
        }
        float inverse[2][64];
        for (int is_long = 0; is_long < 2; is_long++) {
            px_rope_frequencies(&d, is_long, inverse[0]);
            px_rope_frequencies(&again, is_long, inverse[1]);
            assert_memory_equal(inverse[0], inverse[1], half);
        }
        const int32_t one[] = {d.vocab_size, d.hidden_size, d.intermediate_size, d.num_hidden_layers,
                               d.num_attention_heads, d.num_key_value_heads, d.head_dim, d.rotary_dim,
                               d.sliding_window, d.max_position, d.original_max_position, d.bos_id,
                               (int32_t)d.eos_count, d.eos_ids[0], d.longrope, d.tied_embeddings};
        const int32_t other[] = {
            again.vocab_size, again.hidden_size, again.intermediate_size, again.num_hidden_layers,
            again.num_attention_heads, again.num_key_value_heads, again.head_dim, again.rotary_dim,
            again.sliding_window, again.max_position, again.original_max_position, again.bos_id,
            (int32_t)again.eos_count, again.eos_ids[0], again.longrope, again.tied_embeddings};
        assert_memory_equal(one, other, sizeof one);
        assert_true(d.rms_norm_eps == again.rms_norm_eps && d.rope_scale == again.rope_scale);
        px_buffer_free(&text);
        px_desc_free(&d);
        px_desc_free(&again);
    }
}

static void family(void **state)
{
    (void)state;
    for (size_t i = 0; i < PX_COUNT(members); i++) {
        const struct wanted *w = &members[i];
        px_desc d = member(w->name);
        const int32_t got[] = {d.vocab_size, d.hidden_size, d.intermediate_size,
                               d.num_hidden_layers, d.num_attention_heads, d.num_key_value_heads,
                               d.head_dim, d.rotary_dim, d.sliding_window,
                               d.original_max_position, d.bos_id, d.eos_ids[0]};
        const int32_t *const wanted = &w->vocab;
        for (size_t j = 0; j < PX_COUNT(got); j++)
            if (got[j] != wanted[j])
                fail_msg("%s: number %zu is %d, not %d", w->name, j, got[j], wanted[j]);
        assert_true(d.rope_theta == w->theta && d.longrope == w->longrope);
        assert_true(d.tied_embeddings == w->tied && d.max_position == 128);
        assert_true(d.eos_count == 3 && d.eos_ids[1] == 121 && d.eos_ids[2] == 127);
        assert_true(d.rms_norm_eps == 1e-5f && d.max_new_tokens == -1 && !d.do_sample);
        /* sqrt(1 + ln(128 / 32) / ln(32)) */
        const double scale = w->longrope ? 1.1832159566199232 : 1;
        assert_true(fabs((double)d.rope_scale - scale) < 1e-6);
        assert_int_equal(d.short_factor != NULL, w->longrope);
        px_desc_free(&d);
    }
}

static void longrope_factors(void **state)
{
    (void)state;
    px_desc d = member("phi4-mini");
    assert_true(d.long_factor[0] == 1.2152f && d.long_factor[11] == 22.1301f);
    assert_true(d.short_factor[0] == 1.0472f && d.short_factor[11] == 1.4822f);
    px_desc_free(&d);
    px_desc_free(&d);
}

#define SMALL                                                                                    \
    "\"model_type\":\"phi3\",\"vocab_size\":100,\"hidden_size\":64,\"intermediate_size\":32,"     \
    "\"num_hidden_layers\":2,\"num_attention_heads\":4"

static void defaults(void **state)
{
    (void)state;
    px_desc d;
    phlox_error error;
    MUST(parse("{" SMALL "}", NULL, &d, &error));
    assert_int_equal(d.num_key_value_heads, 4);
    assert_int_equal(d.head_dim, 16);
    assert_int_equal(d.rotary_dim, 16);
    assert_int_equal(d.max_position, 4096);
    assert_int_equal(d.original_max_position, 4096);
    assert_int_equal(d.sliding_window, 0);
    assert_int_equal(d.bos_id, -1);
    assert_int_equal(d.eos_count, 0);
    assert_true(d.rope_theta == 10000 && d.rope_scale == 1 && d.rms_norm_eps == 1e-5f);
    assert_false(d.tied_embeddings || d.longrope || d.do_sample);
    assert_true(d.temperature == 1 && d.top_p == 1 && d.min_p == 0 && d.repetition_penalty == 1);
    assert_int_equal(d.top_k, 50); /* transformers' default */
    px_desc_free(&d);
}

static void generation(void **state)
{
    (void)state;
    px_desc d;
    phlox_error error;
    MUST(parse("{" SMALL ",\"eos_token_id\":7,\"bos_token_id\":1}",
               "{\"do_sample\":true,\"temperature\":0.7,\"top_k\":20,\"top_p\":0.9,\"min_p\":0.05,"
               "\"repetition_penalty\":1.1,\"max_new_tokens\":77,\"eos_token_id\":[3,4],"
               "\"bos_token_id\":2}", &d, &error));
    assert_true(d.do_sample && d.temperature == 0.7 && d.top_k == 20 && d.top_p == 0.9);
    assert_true(d.min_p == 0.05 && d.repetition_penalty == 1.1 && d.max_new_tokens == 77);
    assert_true(d.eos_count == 2 && d.eos_ids[0] == 3 && d.eos_ids[1] == 4 && d.bos_id == 2);
    px_desc_free(&d);
    /* Without its own, config.json's count. */
    MUST(parse("{" SMALL ",\"eos_token_id\":7}", "{\"eos_token_id\":null}", &d, &error));
    assert_true(d.eos_count == 1 && d.eos_ids[0] == 7);
    px_desc_free(&d);
    static const char *const bad[] = {
        "{\"temperature\":-1}", "{\"temperature\":\"hot\"}", "{\"temperature\":NaN}",
        "{\"top_k\":-1}", "{\"top_k\":1.5}", "{\"top_p\":1.01}", "{\"min_p\":-0.1}",
        "{\"repetition_penalty\":0}", "{\"max_new_tokens\":0}", "{\"do_sample\":1}",
        "{\"eos_token_id\":100}", "{\"eos_token_id\":[1,true]}", "{\"bos_token_id\":100}", "[]",
    };
    for (size_t i = 0; i < PX_COUNT(bad); i++)
        MUST_FAIL(parse("{" SMALL "}", bad[i], &d, &error), PHLOX_ERROR_FORMAT,
                  "generation_config.json");
}

static void many_ends(void **state)
{
    (void)state;
    char text[600] = "{" SMALL ",\"eos_token_id\":[";
    for (int i = 0; i < PX_MOST_EOS; i++) strcat(text, i ? ",9" : "9");
    px_desc d;
    phlox_error error;
    const size_t length = strlen(text);
    strcpy(text + length, "]}");
    MUST(parse(text, NULL, &d, &error));
    assert_int_equal(d.eos_count, PX_MOST_EOS);
    px_desc_free(&d);
    strcpy(text + length, ",9]}");
    MUST_FAIL(parse(text, NULL, &d, &error), PHLOX_ERROR_FORMAT, "33 eos_token_id");
}

static void longrope_scales(void **state)
{
    (void)state;
    static const char *const lists = "\"long_factor\":[1,2,3,4,5,6,7,8],"
                                     "\"short_factor\":[1,1,1,1,1,1,1,1],\"type\":\"longrope\"";
    static const struct {
        const char *keys, *rope;
        double scale;
        int32_t original;
    } cases[] = {
        {"\"max_position_embeddings\":64,\"original_max_position_embeddings\":64", "", 1, 64},
        {"\"max_position_embeddings\":32,\"original_max_position_embeddings\":64", "", 1, 64},
        {"\"max_position_embeddings\":131072,\"original_max_position_embeddings\":4096", "",
         1.1902380714238083, 4096},
        {"\"max_position_embeddings\":64", ",\"original_max_position_embeddings\":8",
         1.4142135623730951, 8},
        {"\"max_position_embeddings\":64,\"original_max_position_embeddings\":16",
         ",\"attention_factor\":1.5", 1.5, 16},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char text[800];
        snprintf(text, sizeof text, "{" SMALL ",%s,\"rope_scaling\":{%s%s}}", cases[i].keys, lists,
                 cases[i].rope);
        px_desc d;
        phlox_error error;
        MUST(parse(text, NULL, &d, &error));
        assert_true(d.longrope);
        assert_int_equal(d.original_max_position, cases[i].original);
        assert_true(fabs((double)d.rope_scale - cases[i].scale) < 1e-6);
        px_desc_free(&d);
    }
}

static void what_is_not_of_the_family(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *word;
        phlox_status status;
    } bad[] = {
        {"\"attention_bias\":true", "attention_bias", PHLOX_ERROR_UNSUPPORTED},
        {"\"architectures\":[\"Phi3SmallForCausalLM\"]", "Phi3Small", PHLOX_ERROR_UNSUPPORTED},
        {"\"architectures\":[7]", "architectures", PHLOX_ERROR_UNSUPPORTED},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", "linear", PHLOX_ERROR_UNSUPPORTED},
        {"\"head_dim\":0", "head_dim", PHLOX_ERROR_FORMAT},
        {"\"head_dim\":15", "15", PHLOX_ERROR_FORMAT},
        {"\"head_dim\":\"16\"", "head_dim", PHLOX_ERROR_FORMAT},
        {"\"num_key_value_heads\":8", "num_key_value_heads", PHLOX_ERROR_FORMAT},
        {"\"max_position_embeddings\":1e15", "max_position_embeddings", PHLOX_ERROR_FORMAT},
    };
    for (size_t i = 0; i < PX_COUNT(bad); i++) {
        char text[800];
        snprintf(text, sizeof text, "{" SMALL ",%s}", bad[i].keys);
        px_desc d = {0};
        phlox_error error;
        MUST_FAIL(parse(text, NULL, &d, &error), bad[i].status, bad[i].word);
        assert_true(!d.short_factor && !d.long_factor);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(family),
        cmocka_unit_test(written_and_read_again),          cmocka_unit_test(longrope_factors),
        cmocka_unit_test(defaults),        cmocka_unit_test(generation),
        cmocka_unit_test(many_ends),       cmocka_unit_test(longrope_scales),
        cmocka_unit_test(what_is_not_of_the_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
