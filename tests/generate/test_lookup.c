/* Prompt lookup against a search in two loops, while the text grows, is cut back, shifts and repeats. */
#include "support.h"

#include "generate/lookup.h"

enum { MOST = 3000 };

/* By definition: of all earlier places the one whose ids up to it are the same furthest back, the newest
 * of equals. */
static px_match search(const int32_t *ids, size_t count)
{
    px_match best = {0, 0};
    for (size_t place = count ? count - 1 : 0; place-- > 0;) {
        size_t length = 0;
        while (length <= place && length < PX_MOST_MATCH &&
               ids[place - length] == ids[count - 1 - length])
            length++;
        if (length >= PX_LEAST_MATCH && length > best.length) best = (px_match){place + 1, length};
    }
    return best;
}

static void check_at(px_lookup *lookup, const int32_t *ids, size_t count)
{
    phlox_error error;
    MUST(px_lookup_extend(lookup, ids, count, &error));
    assert_int_equal(lookup->count, count);
    const px_match got = px_lookup_find(lookup, ids), wanted = search(ids, count);
    if (got.length != wanted.length || got.next != wanted.next)
        fail_msg("%zu ids: a match of %zu before %zu, expected %zu before %zu", count, got.length,
                 got.next, wanted.length, wanted.next);
}

/* Ids of a small alphabet, with pieces of the text so far in between. */
static size_t add_text(int32_t *ids, size_t count, size_t more, int32_t alphabet, uint64_t *random)
{
    const size_t end = PX_MIN(count + more, (size_t)MOST);
    while (count < end) {
        size_t from = count, length = 1 + test_random(random) % 50;
        if (count && test_random(random) % 3 == 0) from = test_random(random) % count;
        for (; length && count < end; length--, count++)
            ids[count] = from < count ? ids[from++]
                                      : (int32_t)(test_random(random) % (uint64_t)alphabet);
        if (from == count) from = 0;
    }
    return count;
}

static void grows_token_by_token(void **state)
{
    (void)state;
    static const int32_t alphabets[] = {2, 3, 7, 40, 32064};
    static int32_t ids[MOST];
    for (size_t a = 0; a < PX_COUNT(alphabets); a++) {
        uint64_t random = a;
        px_lookup lookup = {0};
        const size_t count = add_text(ids, 0, 900, alphabets[a], &random);
        for (size_t i = 0; i <= count; i++) check_at(&lookup, ids, i);
        px_lookup_free(&lookup);
    }
}

static void cut_back_and_grown_again(void **state)
{
    (void)state;
    static int32_t ids[MOST];
    uint64_t random = 11;
    px_lookup lookup = {0};
    size_t count = 0;
    for (int round = 0; round < 600; round++) {
        if (test_random(&random) % 3 == 0) {
            count = test_random(&random) % (count + 1);
            px_lookup_truncate(&lookup, count);
            px_lookup_truncate(&lookup, count + 10); /* no more than it has */
        } else if (test_random(&random) % 8 == 0 && count) {
            /* What a shift of the context does. */
            const size_t from = test_random(&random) % count;
            const size_t dropped = test_random(&random) % (count - from);
            memmove(ids + from, ids + from + dropped, (count - from - dropped) * sizeof *ids);
            count -= dropped;
            px_lookup_truncate(&lookup, from);
        } else {
            /* Below the number of places that a search looks at, so that the newest are all. */
            const size_t more = PX_MIN(test_random(&random) % 200, PX_MOST_PLACES - count);
            count = add_text(ids, count, more, 5, &random);
        }
        check_at(&lookup, ids, count);
    }
    px_lookup_free(&lookup);
}

static void repetition_and_nothing(void **state)
{
    (void)state;
    static int32_t ids[MOST];
    px_lookup lookup = {0};
    check_at(&lookup, ids, 0);
    for (size_t i = 0; i < MOST; i++) {
        ids[i] = 9;
        check_at(&lookup, ids, i + 1);
    }
    px_match match = px_lookup_find(&lookup, ids);
    assert_true(match.length == PX_MOST_MATCH && match.next == MOST - 1);
    px_lookup_free(&lookup);
    for (int32_t i = 0; i < MOST; i++) ids[i] = i;
    check_at(&lookup, ids, MOST);
    assert_int_equal(px_lookup_find(&lookup, ids).length, 0);
    px_lookup_free(&lookup);
}

/* A match that stands behind more newer places than a search looks at is not found. */
static void bounded(void **state)
{
    (void)state;
    static const size_t repeats[] = {PX_MOST_PLACES - 2, PX_MOST_PLACES - 1, PX_MOST_PLACES};
    static int32_t ids[3 * PX_MOST_PLACES + 100];
    for (size_t r = 0; r < PX_COUNT(repeats); r++) {
        static const int32_t rare[] = {5, 6, 0, 1};
        size_t count = 0;
        for (; count < 4; count++) ids[count] = rare[count];
        for (size_t i = 0; i < repeats[r]; i++, count += 3)
            ids[count] = 0, ids[count + 1] = 1, ids[count + 2] = 2;
        for (size_t i = 0; i < 4; i++) ids[count++] = rare[i];
        px_lookup lookup = {0};
        phlox_error error;
        MUST(px_lookup_extend(&lookup, ids, count, &error));
        const px_match match = px_lookup_find(&lookup, ids);
        const bool is_within = repeats[r] < PX_MOST_PLACES;
        assert_int_equal(match.length, is_within ? 4 : 2);
        assert_int_equal(match.next, is_within ? 4 : count - 5);
        px_lookup_free(&lookup);
    }
}

static void drafts(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 2, 3, 4, 5, 6, 1, 2}, loop[] = {8, 1, 2, 3, 1, 2, 3};
    int32_t draft[9];
    phlox_error error;
    px_lookup lookup = {0};
    MUST(px_lookup_extend(&lookup, ids, PX_COUNT(ids), &error));
    px_match match = px_lookup_find(&lookup, ids);
    assert_int_equal(px_lookup_draft(&lookup, ids, match, 3, draft), 3);
    assert_memory_equal(draft, ((const int32_t[]){3, 4, 5}), 3 * sizeof *draft);
    assert_int_equal(px_lookup_draft(&lookup, ids, match, 9, draft), 9);
    assert_memory_equal(draft, ((const int32_t[]){3, 4, 5, 6, 1, 2, 3, 4, 5}), 9 * sizeof *draft);
    px_lookup_truncate(&lookup, 6);
    match = px_lookup_find(&lookup, ids);
    assert_int_equal(px_lookup_draft(&lookup, ids, match, 3, draft), 0);
    px_lookup_free(&lookup);
    MUST(px_lookup_extend(&lookup, loop, PX_COUNT(loop), &error));
    match = px_lookup_find(&lookup, loop);
    assert_int_equal(px_lookup_draft(&lookup, loop, match, 5, draft), 5);
    assert_memory_equal(draft, ((const int32_t[]){1, 2, 3, 1, 2}), 5 * sizeof *draft);
    px_lookup_free(&lookup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_token_by_token),
        cmocka_unit_test(cut_back_and_grown_again),
        cmocka_unit_test(repetition_and_nothing),
        cmocka_unit_test(bounded),
        cmocka_unit_test(drafts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
