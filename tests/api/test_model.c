/* The model handle: what it says of itself, describing without loading, tokens, chat formats. */
#include "support.h"

#include <phlox/tools.h>

#define GOLDEN PHLOX_SOURCE_DIR "/tests/golden"
#define TOKENIZER GOLDEN "/hostile/good-tokenizer"

static phlox_model_options plain(void)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 1;
    return options;
}

static phlox_model *open_model(const char *path, const phlox_model_options *options)
{
    phlox_model *model = NULL;
    phlox_error error;
    MUST(phlox_model_open(path, options, &model, &error));
    return model;
}

static void information(void **state)
{
    (void)state;
    phlox_model_options options = plain();
    options.threads = 2;
    options.context_size = 100;
    phlox_model *model = open_model(GOLDEN "/family/phi4-mini", &options);
    phlox_model_info i;
    phlox_model_get_info(model, &i);
    assert_string_equal(i.form, "huggingface");
    assert_string_equal(i.path, GOLDEN "/family/phi4-mini");
    assert_string_equal(i.device, "cpu");
    assert_string_equal(i.architecture, "Phi3ForCausalLM");
    assert_string_equal(i.stored, "bf16");
    assert_string_equal(i.weights, "bf16");
    assert_string_equal(i.chat_format, "");
    assert_true(i.device_reason[0] && i.kernels[0]);
    assert_true(i.vocab_size == 203 && i.hidden_size == 96 && i.intermediate_size == 64);
    assert_true(i.num_hidden_layers == 2 && i.num_attention_heads == 3);
    assert_true(i.num_key_value_heads == 1 && i.head_dim == 32 && i.rotary_dim == 24);
    assert_true(i.context_size == 100 && i.original_context_size == 32 && i.longrope);
    assert_true(i.tied_embeddings && !i.has_tokenizer && !i.from_cache && i.threads == 2);
    assert_true(i.sliding_window == 262144 && i.rope_theta == 10000);
    assert_true(i.bos_id == 199 && i.eos_count == 3 && i.eos_ids[0] == 199);
    /* embedding, two layers of (qkv, o, gate and up, down, two norms), the last norm */
    const uint64_t layer = 160 * 96 + 96 * 96 + 128 * 96 + 96 * 64 + 2 * 96;
    assert_int_equal(i.parameters, 203 * 96 + 2 * layer + 96);
    assert_int_equal(i.stored_bytes, 2 * i.parameters);
    assert_int_equal(i.kv_bytes_per_token, 2 * 2 * 32 * 4);
    assert_int_equal(i.step_weight_bytes, i.weight_bytes); /* the embedding is lm_head */
    assert_true(i.step_tokens >= 8);
    assert_true(i.load_seconds >= 0);
    assert_int_equal(phlox_memory_needed(model, 10), i.weight_bytes + 10 * i.kv_bytes_per_token);
    assert_int_equal(phlox_memory_needed(model, -1), i.weight_bytes);
    phlox_model_close(&model);
    assert_null(model);
    phlox_model_close(&model);
    phlox_model_close(NULL);
}

/* All but the embedding, of which a token needs one row. */
static void what_a_step_reads(void **state)
{
    (void)state;
    static const phlox_weight_format formats[] = {PHLOX_WEIGHTS_F32, PHLOX_WEIGHTS_F16};
    for (size_t f = 0; f < PX_COUNT(formats); f++) {
        phlox_model_options options = plain();
        options.weight_format = formats[f];
        phlox_model *model = open_model(GOLDEN "/family/phi3-mini-4k", &options);
        phlox_model_info i;
        phlox_model_get_info(model, &i);
        assert_false(i.tied_embeddings);
        const uint64_t embedding = (uint64_t)i.vocab_size * (uint64_t)i.hidden_size * (f ? 2 : 4);
        assert_int_equal(i.step_weight_bytes, i.weight_bytes - embedding);
        phlox_model_close(&model);
    }
}

static void describing_loads_nothing(void **state)
{
    (void)state;
    static const phlox_weight_format formats[] = {PHLOX_WEIGHTS_DEFAULT, PHLOX_WEIGHTS_F32,
                                                  PHLOX_WEIGHTS_INT8, PHLOX_WEIGHTS_INT4};
    for (size_t f = 0; f < PX_COUNT(formats); f++) {
        phlox_model_options options = plain();
        options.weight_format = formats[f];
        if (formats[f] == PHLOX_WEIGHTS_INT4) options.group_size = 32;
        phlox_model *loaded = open_model(GOLDEN "/family/phi4", &options);
        options.describe_only = true;
        phlox_model *described = open_model(GOLDEN "/family/phi4", &options);
        phlox_model_info a, b;
        phlox_model_get_info(loaded, &a);
        phlox_model_get_info(described, &b);
        assert_string_equal(a.weights, b.weights);
        assert_string_equal(a.kernels, b.kernels);
        assert_int_equal(a.kv_bytes_per_token, b.kv_bytes_per_token);
        assert_int_equal(a.parameters, b.parameters);
        assert_int_equal(a.threads, b.threads);
        /* The norms are no matrices: the estimate leaves them out. */
        assert_in_range(b.weight_bytes, a.weight_bytes - 5 * 128 * 4, a.weight_bytes);
        phlox_session *session = NULL;
        phlox_error error;
        MUST_FAIL(phlox_session_create(described, &session, &error), PHLOX_ERROR_ARGUMENT,
                  "describe_only");
        assert_null(session);
        phlox_model_close(&loaded);
        phlox_model_close(&described);
    }
}

static void options_out_of_range(void **state)
{
    (void)state;
    phlox_error error;
    phlox_model *model = NULL;
    phlox_model_options o = plain();
    o.struct_size--;
    MUST_FAIL(phlox_model_open(TOKENIZER, &o, &model, &error), PHLOX_ERROR_ARGUMENT,
              "phlox_model_options_init");
    o = plain();
    o.threads = -1;
    MUST_FAIL(phlox_model_open(TOKENIZER, &o, &model, &error), PHLOX_ERROR_ARGUMENT, "threads");
    o.threads = 1025;
    MUST_FAIL(phlox_model_open(TOKENIZER, &o, &model, &error), PHLOX_ERROR_ARGUMENT, "1025");
    o = plain();
    o.weight_format = (phlox_weight_format)99;
    MUST_FAIL(phlox_model_open(TOKENIZER, &o, &model, &error), PHLOX_ERROR_ARGUMENT, "99");
    o = plain();
    o.kv_cache = (phlox_kv_cache)99;
    MUST_FAIL(phlox_model_open(TOKENIZER, &o, &model, &error), PHLOX_ERROR_ARGUMENT, "kv-cache");
    o = plain();
    o.huge_pages = (phlox_huge_pages)99;
    MUST_FAIL(phlox_model_open(TOKENIZER, &o, &model, &error), PHLOX_ERROR_ARGUMENT, "huge-pages");
    o = plain();
    o.chat_format = "chatty";
    MUST_FAIL(phlox_model_open(TOKENIZER, &o, &model, &error), PHLOX_ERROR_ARGUMENT, "chatty");
    MUST_FAIL(phlox_model_open("/nonexistent/model", NULL, &model, &error), PHLOX_ERROR_NOT_FOUND,
              "/nonexistent/model");
    MUST_FAIL(phlox_model_open("", NULL, &model, &error), PHLOX_ERROR_NOT_FOUND, "");
    assert_int_equal(phlox_model_open("/nonexistent/model", NULL, &model, NULL),
                     PHLOX_ERROR_NOT_FOUND);
    assert_null(model);
}

/* ---- tokens -------------------------------------------------------------------------------- */

static void sizes(void **state)
{
    (void)state;
    const phlox_model_options options = plain();
    phlox_model *model = open_model(TOKENIZER, &options);
    phlox_error error;
    int32_t ids[64];
    size_t count = 0;
    /* "▁the" and four bytes or letters: the number is told whatever the room. */
    const phlox_text text = phlox_text_of("the hello");
    MUST(phlox_tokenize(model, text, 0, NULL, 0, &count, &error));
    assert_in_range(count, 2, 20);
    const size_t all = count;
    for (size_t capacity = 0; capacity <= all + 1; capacity++) {
        memset(ids, 0x55, sizeof ids);
        MUST(phlox_tokenize(model, text, 0, ids, capacity, &count, &error));
        assert_int_equal(count, all);
        assert_int_equal(ids[PX_MIN(capacity, all)], 0x55555555);
    }
    assert_int_equal(ids[0], 272); /* " the" is one token */
    char back[64];
    size_t size = 0;
    MUST(phlox_detokenize(model, ids, all, false, NULL, 0, &size, &error));
    assert_int_equal(size, 9);
    for (size_t capacity = 0; capacity <= 10; capacity++) {
        memset(back, 'x', sizeof back);
        MUST(phlox_detokenize(model, ids, all, false, back, capacity, &size, &error));
        assert_int_equal(size, 9);
        assert_memory_equal(back, "the hello", PX_MIN(capacity, 9));
        assert_int_equal(back[PX_MIN(capacity, 9)], 'x');
    }
    MUST(phlox_tokenize(model, (phlox_text){NULL, 0}, 0, NULL, 0, &count, &error));
    assert_int_equal(count, 0);
    MUST(phlox_detokenize(model, NULL, 0, true, NULL, 0, &size, &error));
    assert_int_equal(size, 0);
    phlox_model_close(&model);
}

static size_t tokenize(const phlox_model *model, const char *text, unsigned flags, int32_t *ids)
{
    size_t count = 0;
    phlox_error error;
    MUST(phlox_tokenize(model, phlox_text_of(text), flags, ids, 64, &count, &error));
    assert_true(count <= 64);
    return count;
}

static void control_tokens(void **state)
{
    (void)state;
    const phlox_model_options options = plain();
    phlox_model *model = open_model(TOKENIZER, &options);
    int32_t ids[64];
    phlox_error error;
    size_t count = tokenize(model, "<|end|>", PHLOX_TOKENIZE_CONTROL, ids);
    assert_true(count == 1 && ids[0] == 274);
    count = tokenize(model, "<|end|> <s> </s> <unk> <|endoftext|>", 0, ids);
    for (size_t i = 0; i < count; i++) assert_true(ids[i] > 2 && ids[i] < 273);
    count = tokenize(model, "", PHLOX_TOKENIZE_BOS, ids);
    assert_true(count == 1 && ids[0] == 1);
    const int32_t mixed[] = {1, 269, 274, 270, 2};
    char text[64];
    size_t size;
    MUST(phlox_detokenize(model, mixed, 5, false, text, sizeof text, &size, &error));
    assert_int_equal(size, 5);
    assert_memory_equal(text, "hello", 5);
    MUST(phlox_detokenize(model, mixed, 5, true, text, sizeof text, &size, &error));
    assert_int_equal(size, 19);
    assert_memory_equal(text, "<s>he<|end|>llo</s>", 19);
    static const int32_t bad[] = {-1, 100000};
    for (size_t i = 0; i < PX_COUNT(bad); i++)
        MUST_FAIL(phlox_detokenize(model, &bad[i], 1, true, text, sizeof text, &size, &error),
                  PHLOX_ERROR_ARGUMENT, i ? "100000" : "-1");
    MUST_FAIL(phlox_tokenize(model, (phlox_text){"ab\xff", 3}, 0, ids, 64, &count, &error),
              PHLOX_ERROR_ARGUMENT, "2");
    phlox_model_close(&model);
}

static void without_a_tokenizer(void **state)
{
    (void)state;
    const phlox_model_options options = plain();
    phlox_model *model = open_model(GOLDEN "/family/f32", &options);
    phlox_error error;
    size_t count = 77;
    const phlox_text text = phlox_text_of("a");
    const phlox_message message = {phlox_text_of("user"), text};
    const int32_t id = 1;
    phlox_perplexity_result result;
    MUST_FAIL(phlox_tokenize(model, text, 0, NULL, 0, &count, &error), PHLOX_ERROR_UNSUPPORTED,
              "tokenizer");
    MUST_FAIL(phlox_detokenize(model, &id, 1, false, NULL, 0, &count, &error),
              PHLOX_ERROR_UNSUPPORTED, "tokenizer");
    MUST_FAIL(phlox_chat_tokenize(model, &message, 1, true, NULL, 0, &count, &error),
              PHLOX_ERROR_UNSUPPORTED, "tokenizer");
    MUST_FAIL(phlox_perplexity(model, text, NULL, NULL, &result, &error), PHLOX_ERROR_UNSUPPORTED,
              "tokenizer");
    assert_int_equal(count, 77); /* untouched */
    phlox_model_close(&model);
}

/* ---- chat ---------------------------------------------------------------------------------- */

static void chat_formats(void **state)
{
    (void)state;
    size_t formats = 0;
    for (const char *const *name = phlox_chat_formats(); *name; name++) {
        phlox_model_options options = plain();
        options.describe_only = true;
        options.chat_format = *name;
        phlox_model *model = open_model(TOKENIZER, &options);
        phlox_model_info info;
        phlox_model_get_info(model, &info);
        assert_string_equal(info.chat_format, *name);
        phlox_model_close(&model);
        formats++;
    }
    assert_true(formats >= 3);
    /* No template, and one that is none of the family's: only who chats hears of it. */
    char directory[TEST_PATH];
    test_directory(directory);
    test_copy(TOKENIZER, directory);
    const phlox_message message = {phlox_text_of("user"), phlox_text_of("hello")};
    for (int kind = 0; kind < 2; kind++) {
        if (kind)
            test_write_text(directory, "chat_template.jinja", "{{ '[INST]' + messages[0]['content'] }}");
        const phlox_model_options options = plain();
        phlox_model *model = open_model(directory, &options);
        phlox_model_info info;
        phlox_model_get_info(model, &info);
        assert_string_equal(info.chat_format, "");
        size_t count;
        phlox_error error;
        MUST_FAIL(phlox_chat_tokenize(model, &message, 1, true, NULL, 0, &count, &error),
                  PHLOX_ERROR_UNSUPPORTED, directory);
        assert_int_equal(phlox_chat_tokenize(model, &message, 1, true, NULL, 0, &count, NULL),
                         PHLOX_ERROR_UNSUPPORTED);
        phlox_model_close(&model);
    }
    test_remove(directory);
}

/* ---- the tokenizer's cache ----------------------------------------------------------------- */

static void take_path(const char *path, const char *name, void *user)
{
    (void)name;
    test_path(user, "%s", path);
}

static void the_packed_tokenizer(void **state)
{
    (void)state;
    char cache[TEST_PATH], directory[TEST_PATH], path[TEST_PATH];
    test_directory(cache);
    test_directory(directory);
    test_copy(TOKENIZER, directory);
    phlox_model_options options = plain();
    options.no_cache = false;
    options.cache_dir = cache;
    int32_t first[64], again[64];
    size_t first_count = 0;
    for (int round = 0; round < 5; round++) {
        phlox_model *model = open_model(directory, &options);
        const size_t count = tokenize(model, "hello <|end|> \xc3\xa9", PHLOX_TOKENIZE_CONTROL,
                                      round ? again : first);
        phlox_model_close(&model);
        if (!round) first_count = count;
        assert_int_equal(count, first_count);
        if (round) assert_memory_equal(first, again, count * sizeof *first);
        assert_int_equal(test_for_each(cache, take_path, path), 1);
        if (round == 1) assert_int_equal(truncate(path, 5000), 0); /* made anew */
        if (round == 2) { /* another tokenizer.json of the same name */
            size_t size;
            char file[TEST_PATH];
            char *bytes = test_read(test_path(file, "%s/tokenizer.json", directory), &size);
            bytes = realloc(bytes, size + 2);
            assert_non_null(bytes);
            memcpy(bytes + size, "\n", 1);
            test_write(file, bytes, size + 1);
            free(bytes);
        }
    }
    /* A cache that cannot be written only costs time. */
    char blocked[TEST_PATH];
    test_write_text(cache, "file", "");
    options.cache_dir = test_path(blocked, "%s/file", cache);
    phlox_model *model = open_model(directory, &options);
    phlox_model_close(&model);
    test_remove(cache);
    test_remove(directory);
}

/* ---- measures ------------------------------------------------------------------------------ */

static bool count_calls(void *user, const phlox_progress *progress)
{
    assert_true(progress->done <= progress->total);
    return ++*(int *)user < 2;
}

static void perplexity(void **state)
{
    (void)state;
    phlox_model_options options = plain();
    options.context_size = 10;
    phlox_model *model = open_model(TOKENIZER, &options);
    const char *const string = "hello the hello the whole hello\n the law";
    int32_t ids[64];
    const size_t count = tokenize(model, string, 0, ids);
    assert_true(count > 21);
    /* By hand: windows of 10 tokens, each from an empty cache. */
    double nll = 0;
    size_t predicted = 0;
    phlox_error error;
    for (size_t begin = 0; begin < count; begin += 10) {
        phlox_session *session = NULL;
        MUST(phlox_session_create(model, &session, &error));
        for (size_t i = begin; i + 1 < PX_MIN(begin + 10, count); i++) {
            MUST(phlox_session_append(session, ids + i, 1, NULL, NULL, NULL, &error));
            const float *logits = phlox_session_logits(session);
            double sum = 0;
            for (int j = 0; j < 288; j++) sum += exp((double)logits[j]);
            nll += log(sum) - (double)logits[ids[i + 1]];
            predicted++;
        }
        phlox_session_close(&session);
    }
    phlox_perplexity_result result;
    MUST(phlox_perplexity(model, phlox_text_of(string), NULL, NULL, &result, &error));
    assert_int_equal(result.tokens, predicted);
    assert_true(fabs(result.mean_nll - nll / (double)predicted) < 1e-4);
    assert_true(fabs(result.perplexity - exp(result.mean_nll)) < 1e-6);
    int calls = 0;
    MUST_FAIL(phlox_perplexity(model, phlox_text_of(string), count_calls, &calls, &result, &error),
              PHLOX_ERROR_CANCELLED, "cancelled");
    assert_int_equal(calls, 2);
    MUST_FAIL(phlox_perplexity(model, phlox_text_of(""), NULL, NULL, &result, &error),
              PHLOX_ERROR_ARGUMENT, "0 tokens");
    MUST_FAIL(phlox_perplexity(model, (phlox_text){"\xff", 1}, NULL, NULL, &result, &error),
              PHLOX_ERROR_ARGUMENT, "0");
    phlox_model_close(&model);
    options.context_size = 1; /* a window in which nothing can be predicted */
    model = open_model(TOKENIZER, &options);
    MUST_FAIL(phlox_perplexity(model, phlox_text_of(string), NULL, NULL, &result, &error),
              PHLOX_ERROR_ARGUMENT, "context");
    phlox_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(information),         cmocka_unit_test(what_a_step_reads),
        cmocka_unit_test(describing_loads_nothing),
        cmocka_unit_test(options_out_of_range), cmocka_unit_test(sizes),
        cmocka_unit_test(control_tokens),      cmocka_unit_test(without_a_tokenizer),
        cmocka_unit_test(chat_formats),        cmocka_unit_test(the_packed_tokenizer),
        cmocka_unit_test(perplexity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
