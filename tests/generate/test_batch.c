/* Several sessions in one call: every bit is that of each session alone, the steps of the device are
 * shared, and a failure leaves all of them as they were. */
#include "support.h"

#include "api/model.h"

#define FAMILY PHLOX_SOURCE_DIR "/tests/golden/family"

enum { MOST = 8, ORIGINAL = 32, CONTEXT = 128 };

static phlox_model *open_member(const char *name, phlox_weight_format format)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 2;
    options.weight_format = format;
    if (format == PHLOX_WEIGHTS_INT4) {
        options.group_size = 32;
        options.group_size_fallback = PHLOX_FALLBACK_ADJUST;
    }
    phlox_model *model = NULL;
    phlox_error error;
    char path[TEST_PATH];
    MUST(phlox_model_open(test_path(path, FAMILY "/%s", name), &options, &model, &error));
    return model;
}

static size_t vocab_of(const phlox_model *model)
{
    return (size_t)model->checkpoint->desc.vocab_size;
}

static size_t length_of(const phlox_session *session)
{
    size_t count;
    phlox_session_ids(session, &count);
    return count;
}

static void fill(int32_t *ids, size_t count, size_t vocab, uint64_t *random)
{
    for (size_t i = 0; i < count; i++) ids[i] = (int32_t)(test_random(random) % vocab);
}

/* ---- bits ---------------------------------------------------------------------------------- */

/* Sessions that grow together, each with a twin that grows alone. */
struct pairs {
    phlox_session *together[MOST], *alone[MOST];
    size_t size, vocab;
};

static void create_pairs(struct pairs *p, phlox_model *model, size_t size)
{
    *p = (struct pairs){.size = size, .vocab = vocab_of(model)};
    phlox_error error;
    for (size_t i = 0; i < size; i++) {
        MUST(phlox_session_create(model, &p->together[i], &error));
        MUST(phlox_session_create(model, &p->alone[i], &error));
    }
}

static void close_pairs(struct pairs *p)
{
    for (size_t i = 0; i < p->size; i++) {
        phlox_session_close(&p->together[i]);
        phlox_session_close(&p->alone[i]);
    }
}

/* Now and then a session is cut back, some below the boundary that they had passed. */
static void cut_some(struct pairs *p, uint64_t *random)
{
    phlox_error error;
    for (size_t i = 0; i < p->size; i++) {
        const size_t length = length_of(p->together[i]);
        if (length < CONTEXT - 40 && test_random(random) % 6) continue;
        const size_t kept = test_random(random) % (length + 1);
        MUST(phlox_session_truncate(p->together[i], kept, &error));
        MUST(phlox_session_truncate(p->alone[i], kept, &error));
    }
}

static void append_round(struct pairs *p, int round, uint64_t *random)
{
    int32_t ids[MOST][40];
    const int32_t *pointers[MOST];
    size_t counts[MOST];
    phlox_error error;
    for (size_t i = 0; i < p->size; i++) {
        /* all one token, as when decoding; else a mixture of decoding and prompts */
        counts[i] = round % 2 || test_random(random) % 2 ? 1 : 1 + test_random(random) % 40;
        pointers[i] = ids[i];
        fill(ids[i], counts[i], p->vocab, random);
        MUST(phlox_session_append(p->alone[i], ids[i], counts[i], NULL, NULL, NULL, &error));
    }
    MUST(phlox_session_append_batch(p->together, pointers, counts, p->size, &error));
    for (size_t i = 0; i < p->size; i++) {
        const size_t length = length_of(p->alone[i]);
        size_t got;
        const int32_t *const all = phlox_session_ids(p->together[i], &got);
        assert_int_equal(got, length);
        assert_memory_equal(all, phlox_session_ids(p->alone[i], &got), length * sizeof *all);
        assert_non_null(phlox_session_logits(p->together[i]));
        assert_memory_equal(phlox_session_logits(p->together[i]), phlox_session_logits(p->alone[i]),
                            p->vocab * sizeof(float));
    }
}

static void equal_to_each_alone(void **state)
{
    (void)state;
    static const struct {
        const char *member;
        phlox_weight_format format;
    } cases[] = {
        {"phi4-mini", PHLOX_WEIGHTS_STORED},    /* longrope, tied, grouped queries */
        {"phi4-mini", PHLOX_WEIGHTS_INT4},
        {"phi35-mini", PHLOX_WEIGHTS_INT8},     /* longrope */
        {"phi3-mini-4k", PHLOX_WEIGHTS_STORED}, /* sliding window */
        {"phi4", PHLOX_WEIGHTS_F32},
        {"phi3-medium-4k", PHLOX_WEIGHTS_INT4},
    };
    uint64_t random = 1, recomputes = 0;
    for (size_t c = 0; c < PX_COUNT(cases); c++) {
        phlox_model *model = open_member(cases[c].member, cases[c].format);
        for (size_t size = 1; size <= MOST; size++) {
            struct pairs pairs;
            create_pairs(&pairs, model, size);
            for (int round = 0; round < 12; round++) {
                cut_some(&pairs, &random);
                append_round(&pairs, round, &random);
            }
            for (size_t i = 0; i < size; i++) {
                phlox_statistics a, b;
                phlox_session_statistics(pairs.together[i], &a);
                phlox_session_statistics(pairs.alone[i], &b);
                assert_int_equal(a.prefill_tokens, b.prefill_tokens);
                assert_int_equal(a.decode_tokens, b.decode_tokens);
                assert_int_equal(a.rope_recomputes, b.rope_recomputes);
                assert_int_equal(a.recomputed_tokens, b.recomputed_tokens);
                recomputes += a.rope_recomputes;
            }
            close_pairs(&pairs);
        }
        phlox_model_close(&model);
    }
    assert_true(recomputes > 20); /* the boundary was met */
}

/* ---- steps --------------------------------------------------------------------------------- */

/* The CPU device, watched: steps are counted, one of them fails or cancels a session. */
static struct {
    px_device device;
    px_runtime runtime;
    const px_device *under;
    size_t steps, items, fail_at, cancel_at; /* steps from 1; 0: never */
    phlox_session *cancels;
} watched;

static phlox_status watch_step(px_device_model *model, const px_batch_item *items, size_t count,
                               phlox_error *error)
{
    watched.steps++;
    watched.items += count;
    if (watched.steps == watched.cancel_at) phlox_session_cancel(watched.cancels);
    if (watched.steps == watched.fail_at) {
        *error = (phlox_error){PHLOX_ERROR_DEVICE, "planted", ""};
        return PHLOX_ERROR_DEVICE;
    }
    return watched.under->forward(model, items, count, error);
}

static void watch(const phlox_model *model)
{
    watched.under = model->choice.device;
    watched.device = *model->choice.device;
    watched.device.forward = watch_step;
    watched.runtime = model->runtime;
    watched.runtime.device = &watched.device;
}

static void watch_from_here(void)
{
    watched.steps = watched.items = watched.fail_at = watched.cancel_at = 0;
}

/* Sessions with the first ids of phi4-mini: lengths[i] of them. */
struct truth {
    phlox_model *model;
    test_npy ids, steps;
    phlox_session *sessions[MOST];
    const int32_t *next[MOST];
    size_t size;
};

static void open_truth(struct truth *t, const size_t *lengths, size_t size)
{
    *t = (struct truth){.model = open_member("phi4-mini", PHLOX_WEIGHTS_STORED), .size = size,
                        .ids = test_npy_open(FAMILY "/phi4-mini/ids.npy"),
                        .steps = test_npy_open(FAMILY "/phi4-mini/steps.npy")};
    watch(t->model);
    phlox_error error;
    for (size_t i = 0; i < size; i++) {
        MUST(px_session_create(&watched.runtime, &t->sessions[i], &error));
        if (lengths[i])
            MUST(phlox_session_append(t->sessions[i], t->ids.ints, lengths[i], NULL, NULL, NULL,
                                      &error));
        t->next[i] = t->ids.ints + lengths[i];
    }
    watch_from_here();
}

static void close_truth(struct truth *t)
{
    for (size_t i = 0; i < t->size; i++) phlox_session_close(&t->sessions[i]);
    phlox_model_close(&t->model);
    test_npy_close(&t->ids);
    test_npy_close(&t->steps);
}

/* The logits of a fresh run over the ids that the session has. */
static void check_truth(const struct truth *t, size_t i, size_t length)
{
    assert_int_equal(length_of(t->sessions[i]), length);
    assert_non_null(phlox_session_logits(t->sessions[i]));
    test_close("logits", phlox_session_logits(t->sessions[i]),
               t->steps.floats + (length - 1) * (size_t)t->steps.columns,
               (size_t)t->steps.columns, 2e-4);
}

static void steps_are_shared(void **state)
{
    (void)state;
    static const size_t lengths[MOST] = {0, 1, 5, 10, 12, 20, ORIGINAL, 40};
    static const size_t one[MOST] = {1, 1, 1, 1, 1, 1, 1, 1};
    static const size_t mixed[6] = {3, 1, 9, 1, 2, 4};
    struct truth t;
    phlox_error error;
    open_truth(&t, lengths, MOST);
    MUST(phlox_session_append_batch(t.sessions, t.next, one, 6, &error));
    assert_int_equal(watched.steps, 1);
    assert_int_equal(watched.items, 6);
    for (size_t i = 0; i < 6; i++) t.next[i]++;
    MUST(phlox_session_append_batch(t.sessions, t.next, mixed, 6, &error));
    assert_int_equal(watched.steps, 2);
    assert_int_equal(watched.items, 12);
    for (size_t i = 0; i < 6; i++) check_truth(&t, i, lengths[i] + 1 + mixed[i]);
    /* The one at the boundary computes its 32 tokens again, then both share a step. */
    watch_from_here();
    MUST(phlox_session_append_batch(t.sessions + 6, t.next + 6, one, 2, &error));
    assert_int_equal(watched.steps, 2);
    assert_int_equal(watched.items, 3);
    check_truth(&t, 6, ORIGINAL + 1);
    check_truth(&t, 7, 41);
    close_truth(&t);
}

/* 8 prompts of 48 tokens are more than a step holds. */
static void more_than_a_step_holds(void **state)
{
    (void)state;
    static const size_t none[MOST] = {0};
    size_t counts[MOST];
    struct truth t;
    phlox_error error;
    open_truth(&t, none, MOST);
    const size_t count = PX_MIN((size_t)t.ids.rows, 48), all = MOST * count;
    for (size_t i = 0; i < MOST; i++) counts[i] = count;
    MUST(phlox_session_append_batch(t.sessions, t.next, counts, MOST, &error));
    assert_true(all > watched.runtime.most_tokens);
    assert_int_equal(watched.steps,
                     (all + watched.runtime.most_tokens - 1) / watched.runtime.most_tokens);
    for (size_t i = 0; i < MOST; i++) check_truth(&t, i, count);
    close_truth(&t);
}

/* ---- failures ------------------------------------------------------------------------------ */

enum { TROUBLED = 4 };
static const size_t troubled_lengths[TROUBLED] = {0, 7, ORIGINAL, 40};
static const size_t troubled_counts[TROUBLED] = {1, 3, 1, 2};

/* All as before, and able to go on. */
static void check_untouched(const struct truth *t)
{
    phlox_error error;
    for (size_t i = 0; i < TROUBLED; i++) {
        assert_int_equal(length_of(t->sessions[i]), troubled_lengths[i]);
        assert_null(phlox_session_logits(t->sessions[i]));
    }
    watch_from_here();
    MUST(phlox_session_append_batch(t->sessions, t->next, troubled_counts, TROUBLED, &error));
    for (size_t i = 0; i < TROUBLED; i++)
        check_truth(t, i, troubled_lengths[i] + troubled_counts[i]);
}

static void a_failed_step(void **state)
{
    (void)state;
    for (size_t at = 1; at <= 2; at++) { /* the recomputation, the shared step */
        struct truth t;
        phlox_error error;
        open_truth(&t, troubled_lengths, TROUBLED);
        watched.fail_at = at;
        MUST_FAIL(phlox_session_append_batch(t.sessions, t.next, troubled_counts, TROUBLED, &error),
                  PHLOX_ERROR_DEVICE, "planted");
        assert_int_equal(watched.steps, at);
        check_untouched(&t);
        close_truth(&t);
    }
}

static void cancelled_by_any_session(void **state)
{
    (void)state;
    for (size_t i = 0; i < TROUBLED; i++) {
        struct truth t;
        phlox_error error;
        open_truth(&t, troubled_lengths, TROUBLED);
        phlox_session_cancel(t.sessions[i]); /* nothing runs: forgotten */
        watched.cancel_at = 1;
        watched.cancels = t.sessions[i];
        char words[64];
        snprintf(words, sizeof words, "session %zu of %d", i, TROUBLED);
        MUST_FAIL(phlox_session_append_batch(t.sessions, t.next, troubled_counts, TROUBLED, &error),
                  PHLOX_ERROR_CANCELLED, words);
        assert_int_equal(watched.steps, 1);
        check_untouched(&t);
        close_truth(&t);
    }
}

static void refused(void **state)
{
    (void)state;
    static const size_t lengths[3] = {4, 5, 6}, one[3] = {1, 1, 1}, zero[3] = {1, 0, 1};
    const size_t much[3] = {1, 1, CONTEXT - 5};
    struct truth t;
    phlox_error error;
    open_truth(&t, lengths, 3);
    phlox_session *twice[3] = {t.sessions[0], t.sessions[1], t.sessions[0]};
    phlox_session *mixed[2] = {t.sessions[0], NULL};
    phlox_model *other = open_member("phi4", PHLOX_WEIGHTS_STORED);
    MUST(phlox_session_create(other, &mixed[1], &error));
    int32_t bad[2] = {1, 203}, many[CONTEXT] = {0};
    const int32_t *wrong[3] = {t.next[0], t.next[1], bad + 1}, *full[3] = {t.next[0], t.next[1], many};
    MUST_FAIL(phlox_session_append_batch(t.sessions, t.next, one, 0, &error), PHLOX_ERROR_ARGUMENT,
              "no sessions");
    MUST_FAIL(phlox_session_append_batch(twice, t.next, one, 3, &error), PHLOX_ERROR_ARGUMENT,
              "sessions 0 and 2 are the same");
    MUST_FAIL(phlox_session_append_batch(mixed, t.next, one, 2, &error), PHLOX_ERROR_ARGUMENT,
              "session 1 is of another model");
    MUST_FAIL(phlox_session_append_batch(t.sessions, t.next, zero, 3, &error), PHLOX_ERROR_ARGUMENT,
              "session 1: no tokens");
    MUST_FAIL(phlox_session_append_batch(t.sessions, wrong, one, 3, &error), PHLOX_ERROR_ARGUMENT,
              "session 2: id 203 at place 0");
    MUST_FAIL(phlox_session_append_batch(t.sessions, full, much, 3, &error),
              PHLOX_ERROR_CONTEXT_FULL, "session 2: the session has 6 tokens and 123 more");
    for (size_t i = 0; i < 3; i++) check_truth(&t, i, lengths[i]); /* logits too */
    assert_int_equal(watched.steps, 0);
    phlox_session_close(&mixed[1]);
    phlox_model_close(&other);
    close_truth(&t);
}

/* Ids that generation left to be computed later are part of the next batch. */
static void goes_on_behind_generation(void **state)
{
    (void)state;
    struct pairs p;
    phlox_model *model = open_member("phi4-mini", PHLOX_WEIGHTS_STORED);
    phlox_error error;
    phlox_generate_options options;
    phlox_generate_options_init(&options, model);
    options.max_new_tokens = 3;
    options.ignore_eos = true;
    create_pairs(&p, model, 2);
    uint64_t random = 3;
    append_round(&p, 1, &random);
    for (size_t i = 0; i < 2; i++) {
        MUST(phlox_session_generate(p.together[i], &options, NULL, NULL, NULL, &error));
        MUST(phlox_session_generate(p.alone[i], &options, NULL, NULL, NULL, &error));
    }
    append_round(&p, 1, &random);
    append_round(&p, 0, &random);
    close_pairs(&p);
    phlox_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_to_each_alone),
        cmocka_unit_test(steps_are_shared),
        cmocka_unit_test(more_than_a_step_holds),
        cmocka_unit_test(a_failed_step),
        cmocka_unit_test(cancelled_by_any_session),
        cmocka_unit_test(refused),
        cmocka_unit_test(goes_on_behind_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
