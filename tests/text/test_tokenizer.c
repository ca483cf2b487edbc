/* Tokenizers against what the tokenizers package makes of the same texts and ids. */
#include "text/golden.h"

/* [text, ids as plain text, ids with control tokens, (ids with the post-processor)] */
static void check_cases(const px_tokenizer *t, json_t *cases)
{
    size_t index;
    json_t *item;
    json_array_foreach(need(cases), index, item) {
        const phlox_text text = json_text(json_array_get(item, 0));
        check_encode(t, text, 0, json_array_get(item, 1));
        check_encode(t, text, PHLOX_TOKENIZE_CONTROL, json_array_get(item, 2));
        if (json_array_size(item) > 3)
            check_encode(t, text, PHLOX_TOKENIZE_CONTROL | PHLOX_TOKENIZE_POST,
                         json_array_get(item, 3));
    }
    assert_true(index > 200);
}

static void assert_text(const px_buffer *got, phlox_text want)
{
    if (got->size != want.size || (want.size > 0 && memcmp(got->data, want.data, want.size) != 0))
        fail_msg("got \"%.*s\", want \"%.*s\"", (int)got->size, got->data, (int)want.size,
                 want.data);
}

/* Whether a piece of a stream ends between characters. */
static bool is_whole(const char *text, size_t size)
{
    size_t start = size - 1;
    while (start > 0 && ((unsigned char)text[start] & 0xc0) == 0x80) start--;
    const unsigned char lead = (unsigned char)text[start];
    return ((unsigned char)text[0] & 0xc0) != 0x80 &&
           size - start == (lead < 0x80 ? 1u : lead < 0xe0 ? 2u : lead < 0xf0 ? 3u : 4u);
}

static void check_decode(const px_tokenizer *t, const px_ids *ids, bool with_control,
                         phlox_text want)
{
    px_buffer all = {0}, pieces = {0};
    px_text_stream *stream = NULL;
    assert_ok(px_tokenizer_decode(t, ids->data, ids->count, with_control, &all, error));
    assert_text(&all, want);
    assert_ok(px_text_stream_create(t, true, with_control, &stream, error));
    for (size_t i = 0; i < ids->count; i++) {
        const size_t before = pieces.size;
        assert_ok(px_text_stream_add(stream, ids->data[i], &pieces, error));
        if (pieces.size > before)
            assert_true(is_whole(pieces.data + before, pieces.size - before));
    }
    assert_ok(px_text_stream_end(stream, &pieces, error));
    assert_text(&pieces, want);
    px_text_stream_free(stream);
    px_buffer_free(&all);
    px_buffer_free(&pieces);
}

/* [ids, text without special tokens, text with them] */
static void check_decodes(const px_tokenizer *t, json_t *cases)
{
    size_t index;
    json_t *item;
    json_array_foreach(need(cases), index, item) {
        px_ids ids = json_ids(json_array_get(item, 0));
        check_decode(t, &ids, false, json_text(json_array_get(item, 1)));
        check_decode(t, &ids, true, json_text(json_array_get(item, 2)));
        px_ids_free(&ids);
    }
    assert_true(index >= 60);
}

static void check_tokenizer(const px_tokenizer *t, const char *name)
{
    char file[64];
    snprintf(file, sizeof file, "%s.cases.json", name);
    json_t *const root = golden_json(file);
    check_cases(t, json_object_get(root, "cases"));
    check_decodes(t, json_object_get(root, "decode"));
    json_decref(root);
}

/* The tokenizer as parsed and as opened from its packed form, which is the same both times. */
static void check_both_forms(px_tokenizer *t, const char *name)
{
    px_buffer packed = {0}, again = {0};
    px_tokenizer *unpacked = NULL;
    check_tokenizer(t, name);
    assert_ok(px_tokenizer_pack(t, &packed, error));
    px_tokenizer_free(t);
    assert_ok(px_tokenizer_unpack(packed.data, packed.size, &unpacked, error));
    check_tokenizer(unpacked, name);
    assert_ok(px_tokenizer_pack(unpacked, &again, error));
    assert_int_equal(packed.size, again.size);
    assert_memory_equal(packed.data, again.data, again.size);
    px_tokenizer_free(unpacked);
    px_buffer_free(&packed);
    px_buffer_free(&again);
}

static void small_tokenizer(void **state)
{
    const char *const name = *state;
    check_both_forms(parse_golden(name), name);
}

static void real_phi3(void **state)
{
    (void)state;
    px_tokenizer *const t = parse_real_phi3();
    assert_int_equal(px_tokenizer_size(t), 32045);
    assert_int_equal(px_tokenizer_control_id(t, "<|assistant|>"), 32001);
    check_both_forms(t, "phi3");
}

static void known_answers(void **state)
{
    (void)state;
    px_tokenizer *const t = parse_real_phi3();
    const bool there = check_known_answers(t);
    px_tokenizer_free(t);
    if (!there) skip();
}

static void flags_and_control_tokens(void **state)
{
    (void)state;
    px_tokenizer *const t = parse_golden("llama");
    const phlox_text text = {"a<|end|>", 8};
    const int32_t end = px_tokenizer_control_id(t, "<|end|>");
    assert_int_equal(px_tokenizer_control_id(t, "<|end|"), -1);
    assert_int_equal(px_tokenizer_control_id(t, ""), -1);
    assert_true(px_tokenizer_is_control(t, end));
    assert_true(px_tokenizer_is_control(t, 2)); /* added though not special */
    assert_false(px_tokenizer_is_control(t, 5));
    assert_false(px_tokenizer_is_control(t, -1));
    assert_false(px_tokenizer_is_control(t, px_tokenizer_size(t)));

    px_ids ids = encode(t, text, 0);
    for (size_t i = 0; i < ids.count; i++) assert_false(px_tokenizer_is_control(t, ids.data[i]));
    px_ids_free(&ids);

    ids = encode(t, text, PHLOX_TOKENIZE_CONTROL);
    assert_int_equal(ids.data[ids.count - 1], end);
    px_ids_free(&ids);

    /* The post-processor's token and the caller's are the same one: it comes once. */
    assert_ok(px_tokenizer_encode(t, text, PHLOX_TOKENIZE_BOS | PHLOX_TOKENIZE_POST, 1, &ids, error));
    assert_int_equal(ids.data[0], 1);
    assert_int_not_equal(ids.data[1], 1);
    px_ids_free(&ids);
    assert_ok(px_tokenizer_encode(t, text, PHLOX_TOKENIZE_BOS, end, &ids, error));
    assert_int_equal(ids.data[0], end);
    assert_int_not_equal(ids.data[1], 1);
    const size_t count = ids.count;
    /* Ids are appended; a failed call leaves what was there. */
    phlox_error error;
    const phlox_text broken = {"ab\xffz", 4};
    assert_int_equal(px_tokenizer_encode(t, broken, PHLOX_TOKENIZE_POST, -1, &ids, &error),
                     PHLOX_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "offset 2"));
    assert_int_equal(ids.count, count);
    px_ids_free(&ids);
    px_tokenizer_free(t);
}

static void invalid_utf8(void **state)
{
    (void)state;
    static const char *const texts[] = {"\x80", "a\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80", "\xf8", "\xf0\x9f\x99", "\xe4\xbdz"};
    px_tokenizer *const t = parse_golden("phi4");
    px_ids ids = {0};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const phlox_text text = {texts[i], strlen(texts[i])};
        assert_int_equal(px_tokenizer_encode(t, text, 0, -1, &ids, NULL), PHLOX_ERROR_ARGUMENT);
        assert_int_equal(ids.count, 0);
    }
    px_ids_free(&ids);
    px_tokenizer_free(t);
}

static void ids_out_of_range(void **state)
{
    (void)state;
    px_tokenizer *const t = parse_golden("phi4");
    px_buffer out = {0};
    const int32_t negative = -1, beyond = px_tokenizer_size(t);
    assert_int_equal(px_tokenizer_decode(t, &negative, 1, true, &out, NULL), PHLOX_ERROR_ARGUMENT);
    assert_ok(px_tokenizer_decode(t, &beyond, 1, true, &out, error));
    assert_int_equal(out.size, 0);
    px_buffer_free(&out);
    px_tokenizer_free(t);
}

/* A stream that goes on behind other tokens keeps its first space. */
static void stream_in_the_middle(void **state)
{
    (void)state;
    px_tokenizer *const t = parse_golden("llama");
    px_ids ids = encode(t, (phlox_text){"the", 3}, 0);
    for (int begins = 0; begins < 2; begins++) {
        px_text_stream *stream = NULL;
        px_buffer out = {0};
        assert_ok(px_text_stream_create(t, begins, false, &stream, error));
        for (size_t i = 0; i < ids.count; i++)
            assert_ok(px_text_stream_add(stream, ids.data[i], &out, error));
        assert_ok(px_text_stream_end(stream, &out, error));
        assert_text(&out, begins ? (phlox_text){"the", 3} : (phlox_text){" the", 4});
        px_text_stream_free(stream);
        px_buffer_free(&out);
    }
    px_ids_free(&ids);
    px_tokenizer_free(t);
}

/* Long texts of the kinds that make naive merging or matching quadratic: this finishes or the
 * test's time limit ends it. */
static void long_texts(void **state)
{
    static const struct {
        const char *unit;
        size_t count;
    } texts[] = {{"a", 1000000}, {" ", 1000000}, {" \n", 300000}, {"\xcc\x81", 300000}, {"ab1 ", 250000}};
    const char *const name = *state;
    px_tokenizer *const t = parse_golden(name);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const size_t unit = strlen(texts[i].unit), size = unit * texts[i].count;
        char *const text = malloc(size);
        assert_non_null(text);
        for (size_t at = 0; at < size; at += unit) memcpy(text + at, texts[i].unit, unit);
        px_ids ids = encode(t, (phlox_text){text, size}, PHLOX_TOKENIZE_CONTROL);
        px_buffer back = {0};
        assert_ok(px_tokenizer_decode(t, ids.data, ids.count, true, &back, error));
        assert_text(&back, (phlox_text){text, size});
        px_buffer_free(&back);
        px_ids_free(&ids);
        free(text);
    }
    px_tokenizer_free(t);
}

#define NAMED(test, what) {#test "_" what, test, NULL, NULL, (void *)(uintptr_t)what}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NAMED(small_tokenizer, "phi4"),
        NAMED(small_tokenizer, "phi4-mini"),
        NAMED(small_tokenizer, "llama"),
        NAMED(small_tokenizer, "llama-metaspace"),
        NAMED(small_tokenizer, "quirks"),
        NAMED(small_tokenizer, "gpt2"),
        cmocka_unit_test(real_phi3),
        cmocka_unit_test(known_answers),
        cmocka_unit_test(flags_and_control_tokens),
        cmocka_unit_test(invalid_utf8),
        cmocka_unit_test(ids_out_of_range),
        cmocka_unit_test(stream_in_the_middle),
        NAMED(long_texts, "llama"),
        NAMED(long_texts, "phi4"),
        NAMED(long_texts, "phi4-mini"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
