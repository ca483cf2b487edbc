/* Vocabularies of GGUF files: the ids must be those of the tokenizer.json that they were made of. */
#include "text/golden.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/gguf_tokenizer.h"

/* ---- fixtures ------------------------------------------------------------------------------ */

static void check_fixture(const char *name, unsigned with_bos)
{
    char path[1024];
    px_checkpoint *checkpoint = NULL;
    px_tokenizer *t = NULL;
    snprintf(path, sizeof path, "%s/tests/golden/gguf/%s", PHLOX_SOURCE_DIR, name);
    assert_ok(px_checkpoint_open(path, &checkpoint, error));
    assert_non_null(strstr(checkpoint->chat_template.data, "<|assistant|>"));
    assert_ok(px_tokenizer_parse(checkpoint->tokenizer_json, name, &t, error));
    strcat(path, ".json");
    json_t *const cases = need(json_load_file(path, JSON_ALLOW_NUL, NULL));
    size_t index;
    json_t *item;
    json_array_foreach(cases, index, item) {
        const phlox_text text = json_text(json_array_get(item, 0));
        check_encode(t, text, 0, json_array_get(item, 1));
        check_encode(t, text, PHLOX_TOKENIZE_CONTROL, json_array_get(item, 2));
    }
    assert_true(index > 100);
    px_ids ids = encode(t, (phlox_text){"a", 1}, PHLOX_TOKENIZE_CONTROL | PHLOX_TOKENIZE_POST);
    assert_int_equal(ids.count, 1 + with_bos);
    if (with_bos) assert_int_equal(ids.data[0], checkpoint->desc.bos_id);
    px_ids_free(&ids);
    json_decref(cases);
    px_tokenizer_free(t);
    px_checkpoint_close(&checkpoint);
}

static void llama(void **state)
{
    (void)state;
    check_fixture("vocab-llama", 1);
}

static void phi4(void **state)
{
    (void)state;
    check_fixture("vocab-phi4", 0);
}

static void phi4_mini(void **state)
{
    (void)state;
    check_fixture("vocab-phi4-mini", 0);
}

/* ---- the real one -------------------------------------------------------------------------- */

/* Free with px_buffer_free(). */
static px_buffer json_of(phlox_text file)
{
    px_gguf gguf;
    px_buffer json = {0};
    assert_ok(px_gguf_parse(file, "vocabulary", &gguf, error));
    assert_ok(px_gguf_tokenizer(&gguf, 32064, &json, error));
    px_gguf_free(&gguf);
    return json;
}

static px_tokenizer *tokenizer_of(phlox_text file)
{
    px_buffer json = json_of(file);
    px_tokenizer *t = NULL;
    assert_ok(px_tokenizer_parse((phlox_text){json.data, json.size}, "vocabulary", &t, error));
    px_buffer_free(&json);
    return t;
}

/* llama.cpp's own vocabulary file of Phi-3, and the ids that it keeps for it. */
static void known_answers(void **state)
{
    (void)state;
    size_t size = 0;
    char *const file = read_shared("ggml-vocab-phi-3.gguf", &size);
    if (!file) skip();
    px_tokenizer *const t = tokenizer_of((phlox_text){file, size});
    const bool there = check_known_answers(t);
    px_tokenizer_free(t);
    free(file);
    if (!there) skip();
}

/* A GGUF file of keys, written by hand. */
static void put(px_buffer *file, const void *data, size_t size)
{
    assert_ok(px_buffer_add(file, data, size, error));
}

static void put_u32(px_buffer *file, uint32_t number)
{
    put(file, &number, 4);
}

static void put_u64(px_buffer *file, uint64_t number)
{
    put(file, &number, 8);
}

static void put_text(px_buffer *file, const char *text, size_t size)
{
    put_u64(file, size);
    put(file, text, size);
}

static void put_array(px_buffer *file, const char *key, px_gguf_type items, uint64_t count)
{
    put_text(file, key, strlen(key));
    put_u32(file, PX_GGUF_ARRAY);
    put_u32(file, (uint32_t)items);
    put_u64(file, count);
}

enum { TOKENS = 32064 };

/* The real tokenizer.json as llama.cpp's converter would write it: the scores are those of the file
 * that comes with llama.cpp, whose vocabulary is the same. */
static void write_real(const json_t *root, const px_gguf *scores, px_buffer *file)
{
    const char *texts[TOKENS] = {0};
    int32_t types[TOKENS];
    const char *key;
    json_t *value;
    size_t index;
    for (int i = 0; i < TOKENS; i++) types[i] = 5;
    json_object_foreach(json_object_get(json_object_get(root, "model"), "vocab"), key, value) {
        const json_int_t id = json_integer_value(value);
        texts[id] = key;
        types[id] = id >= 3 && id < 259 ? 6 : 1;
    }
    json_array_foreach(json_object_get(root, "added_tokens"), index, value) {
        const json_int_t id = json_integer_value(json_object_get(value, "id"));
        texts[id] = json_string_value(json_object_get(value, "content"));
        types[id] = json_is_true(json_object_get(value, "special")) ? 3 : 4;
    }
    put(file, "GGUF\3\0\0\0", 8);
    put_u64(file, 0);
    put_u64(file, 5);
    put_text(file, "tokenizer.ggml.model", 20);
    put_u32(file, PX_GGUF_STRING);
    put_text(file, "llama", 5);
    put_text(file, "tokenizer.ggml.bos_token_id", 27);
    put_u32(file, PX_GGUF_U32);
    put_u32(file, 1);
    put_array(file, "tokenizer.ggml.tokens", PX_GGUF_STRING, TOKENS);
    for (int i = 0; i < TOKENS; i++) {
        const char *const text = texts[i] ? texts[i] : "[PAD]";
        put_text(file, text, strlen(text));
    }
    put_array(file, "tokenizer.ggml.token_type", PX_GGUF_I32, TOKENS);
    put(file, types, sizeof types);
    put_array(file, "tokenizer.ggml.scores", PX_GGUF_F32, TOKENS);
    put(file, px_gguf_find(scores, "tokenizer.ggml.scores")->data, sizeof(float) * TOKENS);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* Words, blanks, characters of many kinds and control tokens. */
static size_t random_text(uint64_t *state, char *out)
{
    static const char *const pieces[] = {
        "the", " of", "Hello", " world", "isn't", "1234", "  ", "\n", "\t", " \n\n", "é", "你好", "🙂",
        "ß", "▁", "▁▁", "<0x0A>", "<|end|>", "<|user|>", "<|assistant|>", "<s>", "</s>", "<unk>",
        "<|endoftext|>", "<|image|>", "<|placeholder3|>", "<|", "|>", "aaaaaaa", "int main(void)",
        "==", "....", "http://", "Привет", "한국", "\xc2\xa0", "     ", "\r\n"};
    size_t size = 0;
    for (uint64_t n = next_random(state) % 24; n > 0; n--) {
        const char *const piece = pieces[next_random(state) % PX_COUNT(pieces)];
        memcpy(out + size, piece, strlen(piece));
        size += strlen(piece);
        if (next_random(state) % 2) out[size++] = (char)(' ' + next_random(state) % 95);
    }
    return size;
}

static const json_t *merges_of(const json_t *root)
{
    return need(json_object_get(json_object_get(root, "model"), "merges"));
}

/* All merges in their order: ranks that are the same in most texts would not show in a few. */
static void check_merges(const json_t *wanted, phlox_text file)
{
    px_buffer json = json_of(file);
    json_t *root = NULL, *merge;
    size_t index;
    assert_ok(px_json_parse((phlox_text){json.data, json.size}, "made", true, &root, error));
    assert_int_equal(json_array_size(merges_of(root)), json_array_size(merges_of(wanted)));
    json_array_foreach((json_t *)(uintptr_t)merges_of(root), index, merge) {
        char text[256];
        snprintf(text, sizeof text, "%s %s", json_string_value(json_array_get(merge, 0)),
                 json_string_value(json_array_get(merge, 1)));
        assert_string_equal(text, json_string_value(json_array_get(merges_of(wanted), index)));
    }
    json_decref(root);
    px_buffer_free(&json);
}

static void real_tokenizer(void **state)
{
    (void)state;
    size_t size = 0, scores_size = 0;
    char *const json = read_shared("phi3-tokenizer/tokenizer.json", &size);
    char *const scores_file = read_shared("ggml-vocab-phi-3.gguf", &scores_size);
    if (!json || !scores_file) skip();
    json_t *root = NULL;
    px_gguf scores;
    px_buffer file = {0};
    px_tokenizer *wanted = NULL;
    assert_ok(px_json_parse((phlox_text){json, size}, "tokenizer.json", true, &root, error));
    assert_ok(px_gguf_parse((phlox_text){scores_file, scores_size}, "scores", &scores, error));
    write_real(root, &scores, &file);
    assert_ok(px_tokenizer_parse((phlox_text){json, size}, "tokenizer.json", &wanted, error));
    check_merges(root, (phlox_text){file.data, file.size});
    px_tokenizer *const t = tokenizer_of((phlox_text){file.data, file.size});

    /* What the tokenizers package makes of texts, then more texts in both. */
    json_t *const cases = golden_json("phi3.cases.json");
    size_t index;
    json_t *item;
    json_array_foreach(need(json_object_get(cases, "cases")), index, item) {
        const phlox_text text = json_text(json_array_get(item, 0));
        check_encode(t, text, 0, json_array_get(item, 1));
        check_encode(t, text, PHLOX_TOKENIZE_CONTROL, json_array_get(item, 2));
    }
    assert_true(index > 400);
    uint64_t seed = 5;
    for (int i = 0; i < 5000; i++) {
        char buffer[1024];
        const phlox_text text = {buffer, random_text(&seed, buffer)};
        const unsigned flags =
            i % 3 == 0 ? 0 : PHLOX_TOKENIZE_CONTROL | (i % 3 == 1 ? PHLOX_TOKENIZE_POST : 0);
        px_ids want = encode(wanted, text, flags), got = encode(t, text, flags);
        assert_ids(&got, &want, text);
        px_ids_free(&want);
        px_ids_free(&got);
    }
    json_decref(cases);
    json_decref(root);
    px_tokenizer_free(t);
    px_tokenizer_free(wanted);
    px_gguf_free(&scores);
    px_buffer_free(&file);
    free(json);
    free(scores_file);
}

/* Phi-3's turns take the white space behind them with them; where there is an image token, they are
 * those of Phi-3-vision and do not. The file says neither. */
static void control_tokens_of_phi3(void **state)
{
    (void)state;
    size_t size = 0;
    char *const file = read_shared("ggml-vocab-phi-3.gguf", &size);
    if (!file) skip();
    px_tokenizer *const t = tokenizer_of((phlox_text){file, size});
    static const struct {
        const char *text;
        size_t count;
    } cases[] = {{"<|end|>\n<|user|>", 2}, {"<|user|>\n \n<|assistant|>", 2}, {"</s>\n<|end|>", 2},
                 {"<|endoftext|>\n<|end|>", 4}, {"<s>\n<|end|>", 4}};
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        px_ids ids = encode(t, (phlox_text){cases[i].text, strlen(cases[i].text)},
                            PHLOX_TOKENIZE_CONTROL);
        assert_int_equal(ids.count, cases[i].count);
        px_ids_free(&ids);
    }
    px_tokenizer_free(t);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama),         cmocka_unit_test(phi4),
        cmocka_unit_test(phi4_mini),     cmocka_unit_test(known_answers),
        cmocka_unit_test(real_tokenizer), cmocka_unit_test(control_tokens_of_phi3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
