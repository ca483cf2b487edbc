/* Expressions: cut as Oniguruma cuts, refused where the two engines would differ. */
#include "text/golden.h"

#include "text/pattern.h"

/* [text, bytes of each piece] */
static void check_split(const px_pattern *pattern, phlox_text text, json_t *want)
{
    px_pattern_scratch *scratch = NULL;
    assert_ok(px_pattern_scratch_create(pattern, &scratch, error));
    size_t at = 0, index;
    json_t *length;
    json_array_foreach(want, index, length) {
        bool found = false;
        size_t start = 0, end = 0;
        assert_ok(px_pattern_find(pattern, scratch, text, at, &found, &start, &end, error));
        assert_true(found);
        if (start != at || end - start != (size_t)json_integer_value(length))
            fail_msg("piece %zu of \"%.*s\": got %zu to %zu, want %zu and %d bytes", index,
                     (int)text.size, text.data, start, end, at, (int)json_integer_value(length));
        at = end;
    }
    assert_int_equal(at, text.size);
    px_pattern_scratch_free(scratch);
}

static void splits(void **state)
{
    json_t *const root = golden_json(*state);
    px_pattern *pattern = NULL;
    size_t index;
    json_t *item;
    assert_ok(px_pattern_compile(json_text(json_object_get(root, "expression")), false, &pattern,
                                 error));
    json_array_foreach(need(json_object_get(root, "splits")), index, item)
        check_split(pattern, json_text(json_array_get(item, 0)), json_array_get(item, 1));
    assert_true(index > 200);
    px_pattern_free(pattern);
    json_decref(root);
}

static void refused(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "a{1,3}+", "a{2}?", "a{,3}", "a{", "(a+)*", "(a)+", "(?:a){2}", "[a[b]]", "[a&&b]", "[]a]",
        "[a", "a)", "(a", "\\w", "\\h", "\\1", "\\", "\\p{Han}", "\\p{L", "\\pL", "^a", "a$", ".",
        "(?i:ss)", "(?i:\xc3\x9f)", "(?i:[a-z])", "(?<n>a)", "(?R)", "(*COMMIT)a", "*", "a**", "[\\S]",
        "(?i)a", "a|+"};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        px_pattern *pattern = NULL;
        phlox_error error = {0};
        const phlox_text text = {sources[i], strlen(sources[i])};
        if (px_pattern_compile(text, false, &pattern, &error) == PHLOX_OK)
            fail_msg("%s was taken", sources[i]);
        assert_true(error.code == PHLOX_ERROR_UNSUPPORTED || error.code == PHLOX_ERROR_FORMAT);
        assert_null(pattern);
    }
}

static bool matches(const px_pattern *pattern, const char *string, size_t want_start, size_t want_end)
{
    px_pattern_scratch *scratch = NULL;
    bool found = false;
    size_t start = 0, end = 0;
    assert_ok(px_pattern_scratch_create(pattern, &scratch, error));
    assert_ok(px_pattern_find(pattern, scratch, (phlox_text){string, strlen(string)}, 0, &found,
                              &start, &end, error));
    px_pattern_scratch_free(scratch);
    return found && start == want_start && end == want_end;
}

/* Where PCRE2 alone would differ, or the text is not an expression. */
static void meanings(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        bool literal;
        const char *text;
        size_t start, end;
    } cases[] = {
        {"\\s+", false, "a\xe1\xa0\x8e \xc2\x85", 4, 7}, /* U+180E is no space, U+0085 is */
        {"\\S+", false, " \xe1\xa0\x8e ", 1, 4},
        {"[^\\s]", false, "\xe2\x80\xa8\xe1\xa0\x8e", 3, 6},
        {"(?i:'s)", false, "x'\xc5\xbf", 1, 4}, /* U+017F folds to s */
        {"\\p{^L}", false, "a1", 1, 2},
        {"a.b[", true, "a+b[a.b[", 4, 8},
        {"a{2,3}", false, "aaaa", 0, 3},
        {"b?", false, "ab", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        px_pattern *pattern = NULL;
        const phlox_text text = {cases[i].source, strlen(cases[i].source)};
        assert_ok(px_pattern_compile(text, cases[i].literal, &pattern, error));
        if (!matches(pattern, cases[i].text, cases[i].start, cases[i].end))
            fail_msg("%s on \"%s\"", cases[i].source, cases[i].text);
        px_pattern_free(pattern);
    }
}

/* An expression that backtracks over every pair of positions ends with an error in bounded time. */
static void runaway(void **state)
{
    (void)state;
    px_pattern *pattern = NULL;
    px_pattern_scratch *scratch = NULL;
    enum { SIZE = 200000 };
    char *const text = malloc(SIZE);
    assert_non_null(text);
    memset(text, 'a', SIZE);
    assert_ok(px_pattern_compile((phlox_text){"a*a*a*a*a*[bc]", 14}, false, &pattern, error));
    assert_ok(px_pattern_scratch_create(pattern, &scratch, error));
    bool found;
    size_t start, end;
    assert_int_equal(px_pattern_find(pattern, scratch, (phlox_text){text, SIZE}, 0, &found, &start,
                                     &end, NULL), PHLOX_ERROR_UNSUPPORTED);
    px_pattern_scratch_free(scratch);
    px_pattern_free(pattern);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"splits_phi4", splits, NULL, NULL, (void *)(uintptr_t)"phi4.cases.json"},
        {"splits_phi4_mini", splits, NULL, NULL, (void *)(uintptr_t)"phi4-mini.cases.json"},
        cmocka_unit_test(refused),
        cmocka_unit_test(meanings),
        cmocka_unit_test(runaway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
