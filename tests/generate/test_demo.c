/* The demonstration model: its greedy answers are those of transformers, token for token and letter
 * for letter, from its directory and as the built-in model. models/demo/expected.py made them. */
#include "support.h"

#include <phlox/tools.h>

#include <jansson.h>

#define DEMO PHLOX_SOURCE_DIR "/models/demo"

typedef struct answer {
    char *text;
    size_t size;
} answer;

static bool collect(void *user, const phlox_piece *piece)
{
    answer *const a = user;
    a->text = realloc(a->text, a->size + piece->text.size + 1);
    assert_non_null(a->text);
    if (piece->text.size) memcpy(a->text + a->size, piece->text.data, piece->text.size);
    a->size += piece->text.size;
    a->text[a->size] = 0;
    return true;
}

static void check_ids(const char *name, const char *what, const json_t *wanted, const int32_t *got,
                      size_t count)
{
    const size_t most = PX_MIN(json_array_size(wanted), count);
    for (size_t i = 0; i < most; i++)
        if (json_integer_value(json_array_get(wanted, i)) != got[i])
            fail_msg("%s: %s %zu is %d, expected %d", name, what, i, got[i],
                     (int)json_integer_value(json_array_get(wanted, i)));
    if (json_array_size(wanted) != count)
        fail_msg("%s: %zu of %s, expected %zu", name, count, what, json_array_size(wanted));
}

static phlox_text text_of(const json_t *object, const char *key)
{
    const json_t *const value = json_object_get(object, key);
    return (phlox_text){json_string_value(value), json_string_length(value)};
}

static size_t tokenize_prompt(const phlox_model *model, const json_t *entry, int32_t *ids,
                              size_t capacity)
{
    const json_t *const list = json_object_get(entry, "messages");
    size_t count = 0;
    phlox_error error;
    if (json_is_true(json_object_get(entry, "raw"))) {
        MUST(phlox_tokenize(model, text_of(entry, "prompt"),
                            PHLOX_TOKENIZE_CONTROL | PHLOX_TOKENIZE_POST, ids, capacity, &count,
                            &error));
        return count;
    }
    phlox_message messages[32];
    size_t i;
    json_t *message;
    assert_true(json_array_size(list) <= PX_COUNT(messages));
    json_array_foreach((json_t *)(uintptr_t)list, i, message)
        messages[i] = (phlox_message){text_of(message, "role"), text_of(message, "content")};
    MUST(phlox_chat_tokenize(model, messages, i, true, ids, capacity, &count, &error));
    return count;
}

static void check_case(phlox_model *model, int32_t most_new, const json_t *entry)
{
    const char *const name = json_string_value(json_object_get(entry, "name"));
    enum { MOST = 4096 };
    int32_t *const ids = calloc(MOST, sizeof *ids);
    assert_non_null(ids);
    const size_t prompt = tokenize_prompt(model, entry, ids, MOST);
    assert_true(prompt <= MOST);
    check_ids(name, "prompt id", json_object_get(entry, "prompt_ids"), ids, prompt);
    const json_t *const wanted = json_object_get(entry, "ids");
    phlox_session *session = NULL;
    phlox_error error;
    MUST(phlox_session_create(model, &session, &error));
    MUST(phlox_session_append(session, ids, prompt, NULL, NULL, NULL, &error));
    phlox_generate_options options;
    phlox_generate_options_init(&options, model);
    options.do_sample = false;
    options.max_new_tokens = most_new;
    answer a = {0};
    MUST(phlox_session_generate(session, &options, collect, &a, NULL, &error));
    size_t count;
    const int32_t *const all = phlox_session_ids(session, &count);
    check_ids(name, "generated id", wanted, all + prompt, count - prompt);
    const phlox_text text = text_of(entry, "text");
    if (a.size != text.size || memcmp(a.text ? a.text : "", text.data, text.size) != 0)
        fail_msg("%s: \"%s\", expected \"%s\"", name, a.text ? a.text : "", text.data);
    free(a.text);
    free(ids);
    phlox_session_close(&session);
}

static void check_model(const char *path)
{
    if (!test_exists(DEMO "/expected.json")) skip();
    json_error_t json_error;
    json_t *const expected = json_load_file(DEMO "/expected.json", 0, &json_error);
    if (!expected) fail_msg("expected.json: %s", json_error.text);
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 2;
    options.weight_format = PHLOX_WEIGHTS_F32;
    phlox_model *model = NULL;
    phlox_error error;
    MUST(phlox_model_open(path, &options, &model, &error));
    const json_t *const cases = json_object_get(expected, "cases");
    assert_true(json_array_size(cases) >= 5);
    const int32_t most_new =
        (int32_t)json_integer_value(json_object_get(expected, "max_new_tokens"));
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)cases, i, entry)
        check_case(model, most_new, entry);
    phlox_model_close(&model);
    json_decref(expected);
}

static void of_the_directory(void **state)
{
    (void)state;
    if (!test_exists(DEMO "/hf/model.safetensors")) skip();
    check_model(DEMO "/hf");
}

static void built_in(void **state)
{
    (void)state;
#ifdef PHLOX_HAS_BUILTIN
    check_model(NULL);
#else
    phlox_model *model = NULL;
    phlox_error error;
    MUST_FAIL(phlox_model_open(NULL, NULL, &model, &error), PHLOX_ERROR_NOT_FOUND, "built-in");
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_the_directory),
        cmocka_unit_test(built_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
