/* Reading the fixtures that tests/golden/make_text.py made. */
#ifndef TESTS_TEXT_GOLDEN_H
#define TESTS_TEXT_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "text/tokenizer.h"

/* The bytes of a file and its size; NULL when it cannot be opened. Free with free(). */
static inline char *read_path(const char *path, size_t *size)
{
    FILE *const file = fopen(path, "rb");
    if (file == NULL) return NULL;
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long end = ftell(file);
    assert_true(end >= 0);
    rewind(file);
    char *const bytes = malloc((size_t)end + 1);
    assert_non_null(bytes);
    *size = fread(bytes, 1, (size_t)end, file);
    assert_int_equal(*size, end);
    fclose(file);
    return bytes;
}

/* `name` below tests/golden/text. */
static inline char *read_golden(const char *name, size_t *size)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/golden/text/%s", PHLOX_SOURCE_DIR, name);
    char *const bytes = read_path(path, size);
    if (bytes == NULL) fail_msg("cannot open %s", path);
    return bytes;
}

/* `name` in the directory of shared data; NULL when it is not there. */
static inline char *read_shared(const char *name, size_t *size)
{
    char path[1024];
    const char *const directory = getenv("PHLOX_SHARED_DATA");
    if (directory != NULL)
        snprintf(path, sizeof path, "%s/%s", directory, name);
    else
        snprintf(path, sizeof path, "%s/../shared/data/%s", PHLOX_SOURCE_DIR, name);
    return read_path(path, size);
}

#define assert_ok(call)                                                                          \
    do {                                                                                         \
        phlox_error test_error = {0};                                                            \
        phlox_error *const error = &test_error;                                                  \
        if ((call) != PHLOX_OK) fail_msg("%s: %s", #call, test_error.message);                   \
    } while (0)

static inline json_t *golden_json(const char *name)
{
    size_t size = 0;
    char *const bytes = read_golden(name, &size);
    json_t *root = NULL;
    assert_ok(px_json_parse((phlox_text){bytes, size}, name, true, &root, error));
    free(bytes);
    return root;
}

/* A member or item that must be there. */
static inline json_t *need(json_t *value)
{
    assert_non_null(value);
    return value;
}

static inline phlox_text json_text(const json_t *value)
{
    assert_true(json_is_string(value));
    return (phlox_text){json_string_value(value), json_string_length(value)};
}

/* A JSON array of integers. Free with px_ids_free(). */
static inline px_ids json_ids(const json_t *array)
{
    px_ids ids = {0};
    size_t index;
    json_t *item;
    assert_true(json_is_array(array));
    json_array_foreach((json_t *)(uintptr_t)array, index, item) {
        const int32_t id = (int32_t)json_integer_value(item);
        assert_true(json_is_integer(item));
        assert_ok(px_ids_add(&ids, &id, 1, error));
    }
    return ids;
}

static inline void assert_ids(const px_ids *got, const px_ids *want, phlox_text text)
{
    const bool same = got->count == want->count &&
                      (want->count == 0 ||
                       memcmp(got->data, want->data, want->count * sizeof *want->data) == 0);
    if (same) return;
    for (size_t i = 0; i < got->count || i < want->count; i++)
        print_error("%zu: got %d, want %d\n", i, i < got->count ? (int)got->data[i] : -1,
                    i < want->count ? (int)want->data[i] : -1);
    fail_msg("wrong ids for \"%.*s\"", (int)text.size, text.data);
}

static inline px_tokenizer *parse_golden(const char *name)
{
    char file[64];
    size_t size = 0;
    px_tokenizer *tokenizer = NULL;
    snprintf(file, sizeof file, "%s.tokenizer.json", name);
    char *const bytes = read_golden(file, &size);
    assert_ok(px_tokenizer_parse((phlox_text){bytes, size}, file, &tokenizer, error));
    free(bytes); /* everything the tokenizer needs was copied */
    return tokenizer;
}

/* The real Phi-3 tokenizer; skips the test when it is not there. */
static inline px_tokenizer *parse_real_phi3(void)
{
    size_t size = 0;
    px_tokenizer *t = NULL;
    char *const bytes = read_shared("phi3-tokenizer/tokenizer.json", &size);
    if (bytes == NULL) skip();
    assert_ok(px_tokenizer_parse((phlox_text){bytes, size}, "tokenizer.json", &t, error));
    free(bytes);
    return t;
}

static inline px_ids encode(const px_tokenizer *t, phlox_text text, unsigned flags)
{
    px_ids ids = {0};
    assert_ok(px_tokenizer_encode(t, text, flags, -1, &ids, error));
    return ids;
}

static inline void check_encode(const px_tokenizer *t, phlox_text text, unsigned flags,
                                const json_t *want)
{
    px_ids expected = json_ids(want), got = encode(t, text, flags);
    assert_ids(&got, &expected, text);
    px_ids_free(&expected);
    px_ids_free(&got);
}

/* llama.cpp's own texts and ids for Phi-3: texts in one file, ids in another. False where they are absent. */
static inline bool check_known_answers(const px_tokenizer *t)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    size_t texts_size = 0, answers_size = 0;
    char *const texts = read_shared("ggml-vocab-phi-3.gguf.inp", &texts_size);
    char *const answers = read_shared("ggml-vocab-phi-3.gguf.out", &answers_size);
    const bool there = texts && answers;
    if (there) texts[texts_size] = answers[answers_size] = '\0';
    const char *text = texts;
    int count = 0;
    for (char *line = answers; there && line && line < answers + answers_size; count++) {
        const char *const end = strstr(text, mark);
        const phlox_text input = {text, end ? (size_t)(end - text) : strlen(text)};
        char *next = strchr(line, '\n');
        if (next) *next++ = '\0';
        px_ids want = {0}, got = encode(t, input, 0);
        for (char *at = line, *stop;; at = stop) {
            const int32_t id = (int32_t)strtol(at, &stop, 10);
            if (stop == at) break;
            assert_ok(px_ids_add(&want, &id, 1, error));
        }
        assert_ids(&got, &want, input);
        px_ids_free(&want);
        px_ids_free(&got);
        text += input.size + (end ? sizeof mark - 1 : 0);
        line = next;
    }
    if (there) assert_int_equal(count, 46);
    free(texts);
    free(answers);
    return there;
}

#endif
