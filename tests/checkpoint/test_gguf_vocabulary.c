/* The tokenizer in GGUF files that phlox writes: what llama.cpp reads of it gives the ids of the tokenizer.json
 * that it was made from, and where it cannot, phlox still does. */
#include "support.h"
#include "text/golden.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/gguf_tokenizer.h"
#include "text/utf8.h"

#include <phlox/tools.h>

#define HOSTILE PHLOX_SOURCE_DIR "/tests/golden/hostile"
#define DEMO PHLOX_SOURCE_DIR "/models/demo/hf"

/* An export, and its keys. */
struct made {
    char directory[TEST_PATH], path[TEST_PATH];
    char *bytes;
    px_gguf gguf;
    phlox_export_result result;
};

/* The built-in model with another tokenizer.json, in a directory of this name. */
static struct made export_with(const char *tokenizer, const char *name)
{
    struct made made;
    char source[TEST_PATH], file[TEST_PATH];
    size_t size;
    phlox_error error;
    test_directory(made.directory);
    assert_int_equal(mkdir(test_path(source, "%s/%s", made.directory, name), 0777), 0);
    test_copy(DEMO, source);
    if (tokenizer) {
        test_path(file, PHLOX_SOURCE_DIR "/tests/golden/text/%s.tokenizer.json", tokenizer);
        char *const json = test_read(file, &size);
        test_write_text(source, "tokenizer.json", json);
        assert_int_equal(remove(test_path(file, "%s/tokenizer_config.json", source)), 0);
        free(json);
    }
    MUST(phlox_export(source, "gguf", test_path(made.path, "%s/out.gguf", made.directory), NULL, NULL, &made.result,
                      &error));
    made.bytes = test_read(made.path, &size);
    MUST(px_gguf_parse((phlox_text){made.bytes, size}, made.path, &made.gguf, &error));
    return made;
}

static void made_free(struct made *made)
{
    px_gguf_free(&made->gguf);
    free(made->bytes);
    test_remove(made->directory);
}

static bool text_is(const struct made *made, const char *key, const char *wanted)
{
    phlox_text text;
    phlox_error error;
    MUST(px_gguf_text_or(&made->gguf, key, "", &text, &error));
    return text.size == strlen(wanted) && memcmp(text.data, wanted, text.size) == 0;
}

static int32_t type_of(const struct made *made, uint64_t id)
{
    return px_gguf_i32_at(px_gguf_find(&made->gguf, "tokenizer.ggml.token_type"), id);
}

/* What llama.cpp has to go by. */
static px_tokenizer *tokenizer_of_keys(const struct made *made)
{
    px_buffer json = {0};
    px_tokenizer *t = NULL;
    phlox_error error;
    MUST(px_gguf_tokenizer(&made->gguf, 1 << 20, &json, &error));
    MUST(px_tokenizer_parse((phlox_text){json.data, json.size}, made->path, &t, &error));
    px_buffer_free(&json);
    return t;
}

static void check_cases(const char *name, const px_tokenizer *keys, const px_tokenizer *whole)
{
    char file[64];
    snprintf(file, sizeof file, "%s.cases.json", name);
    json_t *const root = golden_json(file), *item;
    size_t index;
    json_array_foreach(need(json_object_get(root, "cases")), index, item) {
        const phlox_text text = json_text(json_array_get(item, 0));
        if (keys) check_encode(keys, text, 0, json_array_get(item, 1));
        check_encode(whole, text, 0, json_array_get(item, 1));
        check_encode(whole, text, PHLOX_TOKENIZE_CONTROL, json_array_get(item, 2));
    }
    assert_true(index > 200);
    json_decref(root);
}

static void kinds(void **state)
{
    (void)state;
    static const struct {
        const char *name, *model, *pre, *note;
        bool is_phi3; /* llama.cpp looks for Phi-3's control tokens in models of that name, and only in those */
        bool keys;    /* alone they give the ids of plain text */
    } cases[] = {
        {"llama", "llama", "default", "fewer merges", false, true},
        {"llama-metaspace", "llama", "default", "fewer merges", true, false},
        {"phi4", "gpt2", "dbrx", "white space", false, true},
        {"phi4-mini", "gpt2", "gpt-4o", "white space", false, true},
        {"gpt2", "no_vocab", "", "no tokenizer of this kind", true, false},
        {"quirks", "no_vocab", "", "no tokenizer of this kind", true, false},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        struct made made = export_with(cases[i].name, "phi3-model");
        if (!text_is(&made, "tokenizer.ggml.model", cases[i].model)) fail_msg("%s", cases[i].name);
        assert_true(text_is(&made, "tokenizer.ggml.pre", cases[i].pre));
        if (!strstr(made.result.note, cases[i].note)) fail_msg("%s: %s", cases[i].name, made.result.note);
        px_checkpoint *checkpoint = NULL;
        phlox_error error;
        MUST(px_checkpoint_open(made.path, &checkpoint, &error));
        px_tokenizer *whole = NULL, *keys = cases[i].keys ? tokenizer_of_keys(&made) : NULL;
        MUST(px_tokenizer_parse(checkpoint->tokenizer_json, cases[i].name, &whole, &error));
        check_cases(cases[i].name, keys, whole);
        assert_true(text_is(&made, "general.name", cases[i].is_phi3 ? "phi3-model" : "phlox"));
        px_tokenizer_free(whole);
        px_tokenizer_free(keys);
        px_checkpoint_close(&checkpoint);
        made_free(&made);
    }
}

/* The built-in model's: SentencePiece's kind, but trained as BPE. */
static void built_in(void **state)
{
    (void)state;
    struct made made = export_with(NULL, "demo");
    assert_true(text_is(&made, "general.name", "Phi-3 demo"));
    assert_true(text_is(&made, "tokenizer.ggml.model", "llama"));
    assert_non_null(strstr(made.result.note, "fewer merges"));
    bool bos;
    int64_t id;
    phlox_error error;
    MUST(px_gguf_bool_or(&made.gguf, "tokenizer.ggml.add_bos_token", false, &bos, &error));
    assert_true(bos);
    static const struct {
        const char *key;
        int64_t id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", 1},     {"tokenizer.ggml.eos_token_id", 2032},
               {"tokenizer.ggml.eot_token_id", 2039},  {"tokenizer.ggml.eom_token_id", 2033},
               {"tokenizer.ggml.unknown_token_id", 0}, {"tokenizer.ggml.padding_token_id", 2032}};
    for (size_t i = 0; i < PX_COUNT(ids); i++) {
        MUST(px_gguf_int(&made.gguf, ids[i].key, 0, 4096, &id, &error));
        assert_int_equal(id, ids[i].id);
    }
    /* <unk> is special, </s> is not, <0x00>, a word, <|end|> */
    static const int32_t types[][2] = {{0, 3}, {2, 4}, {3, 6}, {258, 6}, {400, 1}, {2039, 3}};
    for (size_t i = 0; i < PX_COUNT(types); i++) assert_int_equal(type_of(&made, (uint64_t)types[i][0]), types[i][1]);
    px_tokenizer *const keys = tokenizer_of_keys(&made);
    px_tokenizer *wanted = NULL;
    size_t size;
    char *const json = test_read(DEMO "/tokenizer.json", &size);
    MUST(px_tokenizer_parse((phlox_text){json, size}, "tokenizer.json", &wanted, &error));
    static const char *const texts[] = {"What is an NPU?", "Can you introduce yourself?", "Phlox, phlox  phlox.\n",
                                        "<|user|>\nHello<|end|>\n<|assistant|>\n"};
    for (size_t i = 0; i < PX_COUNT(texts); i++) {
        const phlox_text text = {texts[i], strlen(texts[i])};
        px_ids want = encode(wanted, text, PHLOX_TOKENIZE_CONTROL | PHLOX_TOKENIZE_POST);
        px_ids got = encode(keys, text, PHLOX_TOKENIZE_CONTROL | PHLOX_TOKENIZE_POST);
        assert_ids(&got, &want, text);
        px_ids_free(&want);
        px_ids_free(&got);
    }
    px_tokenizer_free(keys);
    px_tokenizer_free(wanted);
    free(json);
    made_free(&made);
}

/* ---- the real one -------------------------------------------------------------------------- */

enum { VOCAB = 32064, HIDDEN = 32 };

/* A model of one small layer with the vocabulary of Phi-3. */
static void write_model(const char *directory)
{
    float *const values = calloc((size_t)VOCAB * HIDDEN, sizeof *values);
    assert_non_null(values);
    const test_tensor tensors[] = {
        {"model.embed_tokens.weight", VOCAB, HIDDEN, values},
        {"model.norm.weight", 0, HIDDEN, values},
        {"model.layers.0.input_layernorm.weight", 0, HIDDEN, values},
        {"model.layers.0.post_attention_layernorm.weight", 0, HIDDEN, values},
        {"model.layers.0.self_attn.qkv_proj.weight", 3 * HIDDEN, HIDDEN, values},
        {"model.layers.0.self_attn.o_proj.weight", HIDDEN, HIDDEN, values},
        {"model.layers.0.mlp.gate_up_proj.weight", 2 * HIDDEN, HIDDEN, values},
        {"model.layers.0.mlp.down_proj.weight", HIDDEN, HIDDEN, values},
    };
    test_safetensors_write(directory, tensors, PX_COUNT(tensors));
    test_write_text(directory, "config.json",
                    "{\"architectures\": [\"Phi3ForCausalLM\"], \"model_type\": \"phi3\", \"vocab_size\": 32064,"
                    " \"hidden_size\": 32, \"intermediate_size\": 32, \"num_hidden_layers\": 1,"
                    " \"num_attention_heads\": 1, \"tie_word_embeddings\": true, \"bos_token_id\": 1,"
                    " \"eos_token_id\": [32000, 32001, 32007]}");
    free(values);
}

static bool is_character(phlox_text token)
{
    size_t at = 0;
    px_utf8_next(token.data, &at);
    return at == token.size;
}

/* Of two tokens the same is better as in the scores of the published tokenizer.model, which llama.cpp keeps; that
 * of single characters does not matter, since nothing becomes one. */
static void check_scores(const px_gguf *made)
{
    size_t size = 0, count = 0;
    px_gguf known;
    phlox_text *tokens = NULL;
    char *const bytes = read_shared("ggml-vocab-phi-3.gguf", &size);
    assert_non_null(bytes);
    assert_ok(px_gguf_parse((phlox_text){bytes, size}, "known", &known, error));
    assert_ok(px_gguf_strings(px_gguf_find(made, "tokenizer.ggml.tokens"), &tokens, error));
    const px_gguf_value *const wanted = px_gguf_find(&known, "tokenizer.ggml.scores");
    const px_gguf_value *const got = px_gguf_find(made, "tokenizer.ggml.scores");
    const px_gguf_value *const types = px_gguf_find(made, "tokenizer.ggml.token_type");
    for (uint64_t id = 0, before = 0; id < VOCAB; id++) {
        if (px_gguf_i32_at(types, id) != 1 || is_character(tokens[id])) continue;
        const float a = px_gguf_f32_at(wanted, before), b = px_gguf_f32_at(wanted, id);
        if (count && a != b)
            assert_int_equal(a < b, px_gguf_f32_at(got, before) < px_gguf_f32_at(got, id));
        before = id;
        count++;
    }
    assert_true(count > 25000);
    free(tokens);
    px_gguf_free(&known);
    free(bytes);
}

static void real_phi3(void **state)
{
    (void)state;
    size_t size = 0;
    char *const json = read_shared("phi3-tokenizer/tokenizer.json", &size);
    if (!json) skip();
    char source[TEST_PATH];
    struct made made;
    phlox_error error;
    test_directory(made.directory);
    assert_int_equal(mkdir(test_path(source, "%s/Phi-3-mini", made.directory), 0777), 0);
    write_model(source);
    char path[TEST_PATH];
    test_write(test_path(path, "%s/tokenizer.json", source), json, size);
    free(json);
    MUST(phlox_export(source, "gguf", test_path(made.path, "%s/out.gguf", made.directory), NULL, NULL, &made.result,
                      &error));
    assert_null(strstr(made.result.note, "merges"));
    made.bytes = test_read(made.path, &size);
    MUST(px_gguf_parse((phlox_text){made.bytes, size}, made.path, &made.gguf, &error));
    assert_int_equal(px_gguf_find(&made.gguf, "tokenizer.ggml.tokens")->count, VOCAB);
    assert_int_equal(type_of(&made, VOCAB - 1), 5);
    px_tokenizer *const t = tokenizer_of_keys(&made);
    assert_true(check_known_answers(t));
    check_scores(&made.gguf);
    json_t *const root = golden_json("phi3.cases.json"), *item;
    size_t index;
    json_array_foreach(need(json_object_get(root, "cases")), index, item)
        check_encode(t, json_text(json_array_get(item, 0)), 0, json_array_get(item, 1));
    assert_true(index > 400);
    json_decref(root);
    px_tokenizer_free(t);
    made_free(&made);
}

/* Published Phi-3 vocabularies need nothing beside what llama.cpp reads. */
static void exact_vocabulary(void **state)
{
    (void)state;
    struct made made = {.bytes = NULL};
    phlox_error error;
    size_t size;
    test_directory(made.directory);
    MUST(phlox_export(PHLOX_SOURCE_DIR "/tests/golden/gguf/vocab-llama", "gguf",
                      test_path(made.path, "%s/out.gguf", made.directory), NULL, NULL, &made.result, &error));
    assert_string_equal(made.result.note, "");
    made.bytes = test_read(made.path, &size);
    MUST(px_gguf_parse((phlox_text){made.bytes, size}, made.path, &made.gguf, &error));
    assert_null(px_gguf_find(&made.gguf, "tokenizer.huggingface.json"));
    made_free(&made);
}

/* More tokens than rows of the embedding. */
static void too_many_tokens(void **state)
{
    (void)state;
    char source[TEST_PATH], out[TEST_PATH];
    phlox_export_result result;
    phlox_error error;
    test_directory(source);
    test_copy(PHLOX_SOURCE_DIR "/tests/golden/family/phi4", source);
    size_t size;
    char *const json = test_read(PHLOX_SOURCE_DIR "/tests/golden/text/llama.tokenizer.json", &size);
    test_write_text(source, "tokenizer.json", json);
    free(json);
    MUST(phlox_export(source, "gguf", test_path(out, "%s/out", source), NULL, NULL, &result, &error));
    assert_non_null(strstr(result.note, "ids only"));
    test_remove(source);
}

struct hostile {
    const char *directory;
    size_t written, refused;
};

/* Tokenizers that phlox itself would not take: a file, or an error and no file. */
static void check_hostile(const char *path, const char *name, void *user)
{
    struct hostile *const seen = user;
    char source[TEST_PATH], out[TEST_PATH];
    phlox_error error;
    if (strncmp(name, "tokenizer-", 10) != 0) return;
    assert_int_equal(mkdir(test_path(source, "%s/%s", seen->directory, name), 0777), 0);
    test_copy(HOSTILE "/good", source);
    test_copy(HOSTILE "/good-tokenizer", source);
    test_copy(path, source); /* only what differs is there */
    test_path(out, "%s/%s.gguf", seen->directory, name);
    const phlox_status status = phlox_export(source, "gguf", out, NULL, NULL, NULL, &error);
    assert_int_equal(status == PHLOX_OK, test_exists(out));
    (*(status == PHLOX_OK ? &seen->written : &seen->refused))++;
}

static void hostile_tokenizers(void **state)
{
    (void)state;
    char directory[TEST_PATH];
    test_directory(directory);
    struct hostile seen = {.directory = directory};
    test_for_each(HOSTILE, check_hostile, &seen);
    assert_true(seen.written + seen.refused >= 15 && seen.refused >= 1);
    test_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),     cmocka_unit_test(built_in),        cmocka_unit_test(exact_vocabulary),
        cmocka_unit_test(real_phi3), cmocka_unit_test(too_many_tokens),
        cmocka_unit_test(hostile_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
