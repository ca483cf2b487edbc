/* Tokenizers that are damaged, hostile or of other kinds, and texts that try to become control
 * tokens. */
#include "text/golden.h"

#include "text/table.h"

/* A file up to where its components begin. */
#define PLAIN "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}"
#define DECODER "\"decoder\":{\"type\":\"ByteLevel\"}"

static phlox_status parse(const char *json, px_tokenizer **out, phlox_error *error)
{
    return px_tokenizer_parse((phlox_text){json, strlen(json)}, "tokenizer.json", out, error);
}

static void bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        phlox_status status;
        const char *says;
    } cases[] = {
        {"", PHLOX_ERROR_FORMAT, "tokenizer.json"},
        {"[]", PHLOX_ERROR_FORMAT, "model"},
        {"{}", PHLOX_ERROR_FORMAT, "model"},
        {"{\"model\":3}", PHLOX_ERROR_FORMAT, "model"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", PHLOX_ERROR_UNSUPPORTED, "Unigram"},
        {"{\"model\":{\"vocab\":{}}}", PHLOX_ERROR_FORMAT, "merges"},
        {"{\"model\":{\"vocab\":{},\"merges\":[]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "empty"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}," DECODER "}", PHLOX_ERROR_FORMAT,
         "same id 0"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}," DECODER "}",
         PHLOX_ERROR_FORMAT, ""},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "\"a\""},
        {"{\"model\":{\"vocab\":{\"a\":1.5},\"merges\":[]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "\"a\""},
        {"{\"model\":{\"vocab\":{\"a\":16777216},\"merges\":[]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "16777215"},
        {"{\"model\":{\"vocab\":{\"a\":99999999999999999999},\"merges\":[]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "\"a\""},
        {"{\"model\":{\"vocab\":{\"a\":1000000},\"merges\":[]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "far beyond"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]}," DECODER "}", PHLOX_ERROR_FORMAT,
         "merge 0 (\"a\" and \"b\")"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"ab\":1},\"merges\":[\"a b\"]}," DECODER "}", PHLOX_ERROR_FORMAT,
         "merge 0"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "merge 0"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "merge 0"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "merge 0"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[3]}," DECODER "}",
         PHLOX_ERROR_FORMAT, "merge 0"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}," DECODER "}",
         PHLOX_ERROR_FORMAT, "unk_token"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}," DECODER "}",
         PHLOX_ERROR_UNSUPPORTED, "dropout"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}," DECODER "}",
         PHLOX_ERROR_UNSUPPORTED, "end_of_word_suffix"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", PHLOX_ERROR_UNSUPPORTED, "decoder"},
        {PLAIN ",\"decoder\":{\"type\":\"CTC\"}}",
         PHLOX_ERROR_UNSUPPORTED, "CTC"},
        {PLAIN ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
         "{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}}", PHLOX_ERROR_UNSUPPORTED, "ByteFallback"},
        {PLAIN ",\"normalizer\":{\"type\":\"NFC\"}," DECODER "}",
         PHLOX_ERROR_UNSUPPORTED, "NFC"},
        {PLAIN ",\"normalizer\":{\"type\":\"Sequence\"}," DECODER "}",
         PHLOX_ERROR_FORMAT, "normalizers"},
        {PLAIN ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":"
         "{\"String\":\"\"},\"content\":\"\"}," DECODER "}",
         PHLOX_ERROR_FORMAT, "empty pattern"},
        {PLAIN ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\","
         "\"normalizers\":[]}]}," DECODER "}", PHLOX_ERROR_UNSUPPORTED, "sequence in a sequence"},
        {PLAIN ",\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"01234567890123456789012345678"
         "90123456789012345678901234567890123456789\"}," DECODER "}", PHLOX_ERROR_UNSUPPORTED,
         "more than 64"},
        {PLAIN ",\"pre_tokenizer\":{\"type\":\"Digits\"}," DECODER "}",
         PHLOX_ERROR_UNSUPPORTED, "Digits"},
        {PLAIN ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":"
         "{\"Regex\":\"(a+)*\"},\"behavior\":\"Isolated\",\"invert\":false}," DECODER "}",
         PHLOX_ERROR_UNSUPPORTED, "repeated group"},
        {PLAIN ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":"
         "{\"Regex\":\"a\"},\"behavior\":\"Contiguous\"}," DECODER "}",
         PHLOX_ERROR_UNSUPPORTED, "Contiguous"},
        {PLAIN ",\"post_processor\":{\"type\":\"BertProcessing\"},"
         DECODER "}", PHLOX_ERROR_UNSUPPORTED, "BertProcessing"},
        {PLAIN ",\"post_processor\":{\"type\":\"TemplateProcessing\","
         "\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{"
         "\"x\":{\"ids\":[7]}}}," DECODER "}",
         PHLOX_ERROR_FORMAT, "post-processor"},
        {PLAIN ",\"added_tokens\":[{\"id\":0,\"content\":\"b\"}],"
         DECODER "}", PHLOX_ERROR_FORMAT, "contradicts"},
        {PLAIN ",\"added_tokens\":[{\"id\":1,\"content\":\"a\"}],"
         DECODER "}", PHLOX_ERROR_FORMAT, "contradicts"},
        {PLAIN ",\"added_tokens\":[{\"id\":1,\"content\":\"b\"},"
         "{\"id\":1,\"content\":\"c\"}]," DECODER "}", PHLOX_ERROR_FORMAT, "contradicts"},
        {PLAIN ",\"added_tokens\":[{\"content\":\"b\"}]," DECODER "}",
         PHLOX_ERROR_FORMAT, "\"b\""},
        {PLAIN ",\"added_tokens\":[3]," DECODER "}",
         PHLOX_ERROR_FORMAT, "content"},
        {PLAIN ",\"added_tokens\":{}," DECODER "}",
         PHLOX_ERROR_FORMAT, "added_tokens"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        px_tokenizer *t = NULL;
        phlox_error error = {0};
        const phlox_status status = parse(cases[i].json, &t, &error);
        if (status != cases[i].status || strstr(error.message, cases[i].says) == NULL || t != NULL)
            fail_msg("%s: status %d, \"%s\"", cases[i].json, (int)status, error.message);
    }
}

/* An added token that appears twice with different ids: the content is known, the id is not. */
static void same_content_two_ids(void **state)
{
    (void)state;
    px_tokenizer *t = NULL;
    assert_int_equal(parse(PLAIN ",\"added_tokens\":["
                           "{\"id\":1,\"content\":\"b\"},{\"id\":2,\"content\":\"b\"}]," DECODER "}",
                           &t, NULL), PHLOX_ERROR_FORMAT);
}

/* Replacements that feed each other: the text does not grow without end. */
static void runaway_replacements(void **state)
{
    (void)state;
    static const char step[] = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":"
                               "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}";
    char json[2048];
    px_tokenizer *t = NULL;
    px_ids ids = {0};
    snprintf(json, sizeof json, PLAIN ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":["
             "%s,%s,%s,%s,%s]}," DECODER "}", step, step, step, step, step);
    assert_ok(parse(json, &t, error));
    assert_int_equal(px_tokenizer_encode(t, PX_TEXT("aaaaaaaaaa"), 0, -1, &ids, NULL),
                     PHLOX_ERROR_UNSUPPORTED);
    assert_int_equal(ids.count, 0);
    px_ids_free(&ids);
    px_tokenizer_free(t);
}

/* Ids without a token are fine; they give no text. */
static void holes(void **state)
{
    (void)state;
    px_tokenizer *t = NULL;
    px_buffer out = {0};
    assert_ok(parse("{\"model\":{\"vocab\":{\"a\":3,\"b\":9},\"merges\":[]},\"added_tokens\":["
                    "{\"id\":20,\"content\":\"<x>\",\"special\":true},{\"id\":20,\"content\":\"<x>\"},"
                    "{\"id\":4,\"content\":\"\"}]," DECODER "}", &t, error));
    assert_int_equal(px_tokenizer_size(t), 21);
    const int32_t ids[] = {0, 3, 4, 20, 9, 19};
    assert_ok(px_tokenizer_decode(t, ids, PX_COUNT(ids), true, &out, error));
    assert_int_equal(out.size, 5);
    assert_memory_equal(out.data, "a<x>b", 5);
    px_buffer_free(&out);
    px_tokenizer_free(t);
}

/* A vocabulary whose merges, characters and whole words are control tokens. */
static const char trap[] =
    "{\"model\":{\"type\":\"BPE\",\"ignore_merges\":%s,\"byte_fallback\":true,\"unk_token\":\"u\","
    "\"vocab\":{\"u\":0,\"<\":1,\"s\":2,\">\":3,\"<s\":4,\"<s>\":5,\"x\":6,\"xx\":7,\"<0x78>\":8,"
    "\"s>\":9},\"merges\":[\"< s\",\"<s >\",\"x x\",\"s >\"]},"
    "\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"special\":true},{\"id\":6,\"content\":\"x\"},"
    "{\"id\":8,\"content\":\"<0x78>\"}]," DECODER "}";

static void text_never_gives_control(void **state)
{
    (void)state;
    static const char *const texts[] = {"<s>", "x", "xx", "s<s>x<s>", "<<s>>", "<0x78>", "\xc3\xa9x"};
    static const char *const ignores[] = {"true", "false"};
    for (size_t m = 0; m < 2; m++) {
        char json[1024];
        px_tokenizer *t = NULL;
        snprintf(json, sizeof json, trap, ignores[m]);
        assert_ok(parse(json, &t, error));
        for (size_t i = 0; i < PX_COUNT(texts); i++) {
            px_ids ids = {0};
            const phlox_text text = {texts[i], strlen(texts[i])};
            assert_ok(px_tokenizer_encode(t, text, 0, -1, &ids, error));
            assert_true(ids.count > 0);
            for (size_t k = 0; k < ids.count; k++)
                if (px_tokenizer_is_control(t, ids.data[k]))
                    fail_msg("\"%s\" gave the control token %d", texts[i], (int)ids.data[k]);
            px_ids_free(&ids);
        }
        /* ... unless the caller asks. */
        px_ids ids = {0};
        assert_ok(px_tokenizer_encode(t, (phlox_text){"<s>", 3}, PHLOX_TOKENIZE_CONTROL, -1, &ids,
                                      error));
        assert_int_equal(ids.count, 1);
        assert_int_equal(ids.data[0], 5);
        px_ids_free(&ids);
        px_tokenizer_free(t);
    }
}

/* Every byte of a packed block is watched, and every cut is noticed. */
static void damaged_blocks(void **state)
{
    (void)state;
    static const char *const names[] = {"quirks", "phi4-mini"};
    for (size_t n = 0; n < PX_COUNT(names); n++) {
        px_tokenizer *const t = parse_golden(names[n]);
        px_tokenizer *other = NULL;
        px_buffer packed = {0};
        assert_ok(px_tokenizer_pack(t, &packed, error));
        px_tokenizer_free(t);
        for (size_t i = 0; i < packed.size; i += i < 1024 ? 1 : 37) {
            packed.data[i] = (char)(packed.data[i] ^ 0x10);
            assert_int_equal(px_tokenizer_unpack(packed.data, packed.size, &other, NULL),
                             PHLOX_ERROR_FORMAT);
            packed.data[i] = (char)(packed.data[i] ^ 0x10);
        }
        for (size_t size = 0; size < packed.size; size += size < 1024 ? 1 : 101)
            assert_int_equal(px_tokenizer_unpack(packed.data, size, &other, NULL),
                             PHLOX_ERROR_FORMAT);
        assert_int_equal(px_tokenizer_unpack(packed.data + 1, packed.size - 1, &other, NULL),
                         PHLOX_ERROR_ARGUMENT);
        assert_null(other);
        px_buffer_free(&packed);
    }
}

/* A block whose checksum is right but whose tables point outside is refused all the same. */
static void lying_blocks(void **state)
{
    (void)state;
    px_tokenizer *const t = parse_golden("phi4");
    px_tokenizer *other = NULL;
    px_buffer packed = {0};
    assert_ok(px_tokenizer_pack(t, &packed, error));
    px_table_header *const h = (px_table_header *)(void *)packed.data;
    const px_table_layout at = px_table_layout_of(h);
    uint32_t *const places[] = {
        &h->raw_root, &h->splitter.count, &h->splitter.steps[0].a.offset, &h->vocab_slots,
        &h->merge_slots, (uint32_t *)&h->unk, &h->post_before, (uint32_t *)&h->post[3],
        &h->decoder.steps[0].kind,
        (uint32_t *)(void *)(packed.data + at.string_offsets + 4),
        (uint32_t *)(void *)(packed.data + at.vocab), (uint32_t *)(void *)(packed.data + at.merges),
        (uint32_t *)(void *)(packed.data + at.merge_index), (uint32_t *)(void *)(packed.data + at.added),
        (uint32_t *)(void *)(packed.data + at.nodes + sizeof(px_node)),
    };
    px_tokenizer_free(t);
    for (size_t i = 0; i < PX_COUNT(places); i++) {
        const uint32_t before = *places[i];
        *places[i] = 0x7ffffff1;
        h->checksum = px_table_checksum(packed.data, packed.size);
        if (px_tokenizer_unpack(packed.data, packed.size, &other, NULL) != PHLOX_ERROR_FORMAT)
            fail_msg("lie %zu was believed", i);
        *places[i] = before;
    }
    h->checksum = px_table_checksum(packed.data, packed.size);
    assert_ok(px_tokenizer_unpack(packed.data, packed.size, &other, error));
    px_tokenizer_free(other);
    px_buffer_free(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files),
        cmocka_unit_test(same_content_two_ids),
        cmocka_unit_test(runaway_replacements),
        cmocka_unit_test(holes),
        cmocka_unit_test(text_never_gives_control),
        cmocka_unit_test(damaged_blocks),
        cmocka_unit_test(lying_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
