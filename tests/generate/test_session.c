/* Sessions: growing, cutting back, crossing the longrope boundary in both directions, limits,
 * cancellation. The truth is steps.npy of a family member: what a fresh run over any beginning of the
 * ids gives. */
#include "chain.h"

enum { ORIGINAL = 32 };

static phlox_model *model; /* phi4-mini: longrope above 32 tokens */
static test_npy ids, steps;
static size_t n, vocab;

static phlox_session *new_session(phlox_model *of)
{
    phlox_session *session = NULL;
    phlox_error error;
    MUST(phlox_session_create(of, &session, &error));
    return session;
}

static void append(phlox_session *session, size_t from, size_t count)
{
    phlox_error error;
    MUST(phlox_session_append(session, ids.ints + from, count, NULL, NULL, NULL, &error));
}

static void check_logits(const phlox_session *session, size_t length)
{
    size_t count;
    phlox_session_ids(session, &count);
    assert_int_equal(count, length);
    const float *logits = phlox_session_logits(session);
    assert_non_null(logits);
    char what[64];
    snprintf(what, sizeof what, "%zu tokens", length);
    test_close(what, logits, steps.floats + (length - 1) * vocab, vocab, 2e-4);
}

static void truncate_to(phlox_session *session, size_t length)
{
    phlox_error error;
    MUST(phlox_session_truncate(session, length, &error));
    size_t count;
    const int32_t *got = phlox_session_ids(session, &count);
    assert_int_equal(count, length);
    if (length) assert_memory_equal(got, ids.ints, length * sizeof *got);
}

static void cut_and_grown_again(void **state)
{
    (void)state;
    phlox_session *session = new_session(model);
    assert_null(phlox_session_logits(session));
    uint64_t random = 1;
    size_t length = 0;
    for (int round = 0; round < 60; round++) {
        if (length && test_random(&random) % 2) {
            length = test_random(&random) % length;
            truncate_to(session, length);
            assert_null(phlox_session_logits(session));
        }
        const size_t wanted = 1 + test_random(&random) % (round % 3 ? 5 : 40);
        const size_t count = PX_MIN(wanted, n - length);
        if (!count) continue;
        append(session, length, count);
        length += count;
        check_logits(session, length);
    }
    phlox_session_close(&session);
}

/* Every bit of a session that was cut back and grown again is that of a fresh one. */
static void equal_to_a_fresh_run(void **state)
{
    (void)state;
    static const size_t cuts[] = {0, 1, 20, ORIGINAL - 1, ORIGINAL, ORIGINAL + 1, 40};
    for (size_t i = 0; i < PX_COUNT(cuts); i++) {
        for (size_t end = cuts[i] + 1; end <= n; end += 5) {
            phlox_session *session = new_session(model), *fresh = new_session(model);
            append(session, 0, n);
            truncate_to(session, cuts[i]);
            append(session, cuts[i], end - cuts[i]);
            append(fresh, 0, end);
            assert_memory_equal(phlox_session_logits(session), phlox_session_logits(fresh),
                                vocab * sizeof(float));
            phlox_session_close(&session);
            phlox_session_close(&fresh);
        }
    }
}

static void statistics(void **state)
{
    (void)state;
    phlox_session *session = new_session(model);
    phlox_statistics s;
    phlox_session_statistics(session, &s);
    assert_true(!s.prefill_tokens && !s.decode_tokens && !s.kv_bytes);
    append(session, 0, 30);
    append(session, 30, 1);
    append(session, 31, 1);
    phlox_session_statistics(session, &s);
    assert_int_equal(s.prefill_tokens, 30);
    assert_int_equal(s.decode_tokens, 2);
    assert_int_equal(s.rope_recomputes, 0);
    append(session, 32, 1); /* the 33rd: everything again with the long factors */
    phlox_session_statistics(session, &s);
    assert_int_equal(s.rope_recomputes, 1);
    assert_int_equal(s.recomputed_tokens, ORIGINAL);
    assert_int_equal(s.decode_tokens, 2);
    assert_int_equal(s.prefill_tokens, 30 + 33);
    append(session, 33, 1);
    phlox_session_statistics(session, &s);
    assert_int_equal(s.rope_recomputes, 1);
    truncate_to(session, 20);
    append(session, 20, 2);
    phlox_session_statistics(session, &s);
    assert_int_equal(s.rope_recomputes, 2);
    assert_int_equal(s.recomputed_tokens, ORIGINAL + 20);
    assert_int_equal(s.prefill_tokens, 30 + 33 + 22);
    assert_int_equal(s.decode_tokens, 3);
    assert_int_equal(s.context_shifts, 0);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_true(s.kv_bytes >= 22 * info.kv_bytes_per_token);
    phlox_session_close(&session);
    /* From nothing to beyond the boundary nothing is computed twice. */
    session = new_session(model);
    append(session, 0, n);
    phlox_session_statistics(session, &s);
    assert_int_equal(s.rope_recomputes, 0);
    assert_int_equal(s.prefill_tokens, n);
    phlox_session_close(&session);
}

static int32_t best_of(const float *row)
{
    int32_t best = 0;
    for (int32_t i = 1; i < (int32_t)vocab; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

/* Generation catches up with what truncation left undone. */
static void generates_behind_a_cut(void **state)
{
    (void)state;
    for (size_t length = 1; length < n; length += 3) {
        phlox_session *session = new_session(model);
        append(session, 0, n);
        truncate_to(session, length);
        phlox_generate_options options;
        phlox_generate_options_init(&options, model);
        options.max_new_tokens = 1;
        phlox_error error;
        MUST(phlox_session_generate(session, &options, NULL, NULL, NULL, &error));
        size_t count;
        const int32_t *got = phlox_session_ids(session, &count);
        assert_int_equal(count, length + 1);
        assert_int_equal(got[length], best_of(steps.floats + (length - 1) * vocab));
        phlox_session_close(&session);
    }
}

static void sessions_do_not_disturb_each_other(void **state)
{
    (void)state;
    phlox_session *a = new_session(model), *b = new_session(model);
    for (size_t i = 0; i < n; i++) {
        append(a, i, 1);
        if (i % 2) append(b, i / 2, 1);
        check_logits(a, i + 1);
        if (i % 2) check_logits(b, i / 2 + 1);
    }
    phlox_session_close(&a);
    phlox_session_close(&b);
}

static void refused(void **state)
{
    (void)state;
    phlox_session *session = new_session(model);
    phlox_error error;
    append(session, 0, 5);
    static const int32_t bad[][2] = {{-1, 0}, {203, 0}, {INT32_MIN, 0}, {INT32_MAX, 0}, {0, 203}};
    for (size_t i = 0; i < PX_COUNT(bad); i++) {
        char word[32];
        snprintf(word, sizeof word, "id %d at place %d", bad[i][i == 4], i == 4);
        MUST_FAIL(phlox_session_append(session, bad[i], 2, NULL, NULL, NULL, &error),
                  PHLOX_ERROR_ARGUMENT, word);
    }
    MUST_FAIL(phlox_session_append(session, NULL, 0, NULL, NULL, NULL, &error),
              PHLOX_ERROR_ARGUMENT, "no tokens");
    MUST_FAIL(phlox_session_truncate(session, 6, &error), PHLOX_ERROR_ARGUMENT, "6");
    check_logits(session, 5); /* as before */
    truncate_to(session, 5);
    check_logits(session, 5);
    phlox_session_cancel(session); /* nothing runs: harmless */
    append(session, 5, 1);
    check_logits(session, 6);
    phlox_session_close(&session);
    phlox_session_close(&session);
    phlox_session_close(NULL);
}

static void a_full_context(void **state)
{
    (void)state;
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 1;
    options.context_size = 40;
    phlox_model *small = NULL;
    phlox_error error;
    const char *const path = PHLOX_SOURCE_DIR "/tests/golden/family/phi4-mini";
    MUST(phlox_model_open(path, &options, &small, &error));
    phlox_session *session = new_session(small);
    MUST_FAIL(phlox_session_append(session, ids.ints, 41, NULL, NULL, NULL, &error),
              PHLOX_ERROR_CONTEXT_FULL, "41 more do not fit its context of 40");
    append(session, 0, 30);
    MUST_FAIL(phlox_session_append(session, ids.ints + 30, 11, NULL, NULL, NULL, &error),
              PHLOX_ERROR_CONTEXT_FULL, "the session has 30 tokens and 11 more");
    check_logits(session, 30);
    append(session, 30, 10);
    check_logits(session, 40);
    phlox_session_close(&session);
    phlox_model_close(&small);
    options.context_size = 129;
    MUST_FAIL(phlox_model_open(path, &options, &small, &error), PHLOX_ERROR_ARGUMENT, "128");
    options.context_size = -1;
    MUST_FAIL(phlox_model_open(path, &options, &small, &error), PHLOX_ERROR_ARGUMENT, "-1");
}

/* ---- cancelling a prompt ------------------------------------------------------------------- */

typedef struct watcher {
    phlox_session *session;
    int calls, refuse_at, cancel_at; /* 0: never */
    uint64_t done;
} watcher;

static bool watch(void *user, const phlox_progress *progress)
{
    watcher *const w = user;
    w->calls++;
    assert_true(progress->done > w->done && progress->done <= progress->total);
    assert_true(progress->what[0] && !progress->is_bytes);
    w->done = progress->done;
    if (w->calls == w->cancel_at) phlox_session_cancel(w->session);
    return w->calls != w->refuse_at;
}

static void a_prompt_can_be_cancelled(void **state)
{
    (void)state;
    chain c = chain_new();
    chain_text(&c, "abcdefghij", -1);
    chain_write(&c, 4096, "{}", false);
    phlox_model *long_model = chain_open(&c, 0);
    phlox_session *session = chain_session(long_model, "abc");
    const float before = phlox_session_logits(session)[chain_byte('d')];
    int32_t many[1500];
    for (size_t i = 0; i < PX_COUNT(many); i++) many[i] = chain_byte((char)('a' + i % 10));
    phlox_error error;
    for (int kind = 0; kind < 2; kind++) {
        watcher w = {.session = session};
        *(kind ? &w.cancel_at : &w.refuse_at) = 2;
        MUST_FAIL(phlox_session_append(session, many, PX_COUNT(many), NULL, watch, &w, &error),
                  PHLOX_ERROR_CANCELLED, "1500");
        assert_int_equal(w.calls, 2);
        size_t count;
        phlox_session_ids(session, &count);
        assert_int_equal(count, 3);
        /* It goes on from the tokens that it had. */
        const int32_t next = chain_byte('c');
        MUST(phlox_session_truncate(session, 2, &error));
        MUST(phlox_session_append(session, &next, 1, NULL, NULL, NULL, &error));
        assert_true(phlox_session_logits(session)[chain_byte('d')] == before);
    }
    watcher w = {.session = session};
    MUST(phlox_session_append(session, many, PX_COUNT(many), NULL, watch, &w, &error));
    assert_true(w.calls > 2 && w.done == 1500);
    phlox_session_close(&session);
    phlox_model_close(&long_model);
    chain_free(&c);
}

/* A failed call leaves nothing behind in the cache, on either side of the boundary. */
static void goes_on_after_a_failure(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 10, ORIGINAL - 2, ORIGINAL, ORIGINAL + 3};
    for (size_t i = 0; i < PX_COUNT(lengths); i++) {
        phlox_session *session = new_session(model);
        append(session, 0, lengths[i]);
        watcher w = {.session = session, .refuse_at = 1};
        phlox_error error;
        MUST_FAIL(phlox_session_append(session, ids.ints, 8, NULL, watch, &w, &error),
                  PHLOX_ERROR_CANCELLED, "cancelled after");
        append(session, lengths[i], 2);
        check_logits(session, lengths[i] + 2);
        phlox_session_close(&session);
    }
}

static int setup(void **state)
{
    (void)state;
    const char *const path = PHLOX_SOURCE_DIR "/tests/golden/family/phi4-mini";
    char file[TEST_PATH];
    ids = test_npy_open(test_path(file, "%s/ids.npy", path));
    steps = test_npy_open(test_path(file, "%s/steps.npy", path));
    n = (size_t)steps.rows;
    vocab = (size_t)steps.columns;
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 2;
    phlox_error error;
    MUST(phlox_model_open(path, &options, &model, &error));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    phlox_model_close(&model);
    test_npy_close(&ids);
    test_npy_close(&steps);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_and_grown_again),
        cmocka_unit_test(equal_to_a_fresh_run),
        cmocka_unit_test(statistics),
        cmocka_unit_test(generates_behind_a_cut),
        cmocka_unit_test(sessions_do_not_disturb_each_other),
        cmocka_unit_test(refused),
        cmocka_unit_test(a_full_context),
        cmocka_unit_test(a_prompt_can_be_cancelled),
        cmocka_unit_test(goes_on_after_a_failure),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
