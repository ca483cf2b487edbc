/* The rules for threads of phlox.h: one model, several threads with their own sessions, tokenizing
 * beside them, and cancelling from another thread. For the thread sanitizer above all. */
#include "support.h"

#include <phlox/tools.h>

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define GOLDEN PHLOX_SOURCE_DIR "/tests/golden"

enum { THREADS = 4 };

static void start_all(void *(*run)(void *), void *arguments, size_t size)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, (char *)arguments + i * size), 0);
    for (size_t i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static phlox_model *open_model(const char *path)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 2;
    phlox_model *model = NULL;
    phlox_error error;
    MUST(phlox_model_open(path, &options, &model, &error));
    return model;
}

/* ---- sessions beside each other ------------------------------------------------------------ */

struct runner {
    phlox_model *model;
    const test_npy *ids, *steps;
    size_t piece;
    char failure[1100]; /* cmocka's assertions belong to the main thread */
};

static void *run_steps(void *argument)
{
    struct runner *const r = argument;
    const size_t vocab = (size_t)r->steps->columns;
    phlox_session *session = NULL;
    phlox_error error = {0};
    if (phlox_session_create(r->model, &session, &error) != PHLOX_OK) {
        snprintf(r->failure, sizeof r->failure, "%s", error.message);
        return NULL;
    }
    for (size_t done = 0; done < (size_t)r->ids->rows && !r->failure[0];) {
        const size_t count = PX_MIN(r->piece, (size_t)r->ids->rows - done);
        if (phlox_session_append(session, r->ids->ints + done, count, NULL, NULL, NULL, &error))
            snprintf(r->failure, sizeof r->failure, "%s", error.message);
        done += count;
        const float *const logits = phlox_session_logits(session);
        if (logits && test_difference(logits, r->steps->floats + (done - 1) * vocab, vocab) > 2e-4)
            snprintf(r->failure, sizeof r->failure, "wrong logits after %zu tokens", done);
    }
    phlox_session_close(&session);
    return NULL;
}

static void sessions(void **state)
{
    (void)state;
    static const char *const members[] = {"phi4-mini", "phi3-mini-4k"};
    for (size_t m = 0; m < PX_COUNT(members); m++) {
        char path[TEST_PATH];
        test_npy ids = test_npy_open(test_path(path, GOLDEN "/family/%s/ids.npy", members[m]));
        test_npy steps = test_npy_open(test_path(path, GOLDEN "/family/%s/steps.npy", members[m]));
        phlox_model *model = open_model(test_path(path, GOLDEN "/family/%s", members[m]));
        struct runner runners[THREADS];
        for (size_t i = 0; i < THREADS; i++)
            runners[i] = (struct runner){model, &ids, &steps, i ? 2 * i : 1, ""};
        start_all(run_steps, runners, sizeof *runners);
        for (size_t i = 0; i < THREADS; i++) assert_string_equal(runners[i].failure, "");
        phlox_model_close(&model);
        test_npy_close(&ids);
        test_npy_close(&steps);
    }
}

/* ---- batches beside each other --------------------------------------------------------------- */

enum { BATCH = 3 };

/* Every session of a batch has another length; all take one more id a round. */
static void *run_batches(void *argument)
{
    struct runner *const r = argument;
    const size_t vocab = (size_t)r->steps->columns;
    phlox_session *sessions[BATCH] = {NULL};
    phlox_error error = {0};
    phlox_status status = PHLOX_OK;
    const size_t first[BATCH] = {1, 1 + r->piece, 30}, one[BATCH] = {1, 1, 1};
    for (size_t i = 0; i < BATCH && status == PHLOX_OK; i++) {
        status = phlox_session_create(r->model, &sessions[i], &error);
        if (status == PHLOX_OK)
            status = phlox_session_append(sessions[i], r->ids->ints, first[i], NULL, NULL, NULL,
                                          &error);
    }
    for (size_t round = 0; round < 8 && status == PHLOX_OK; round++) {
        const int32_t *ids[BATCH];
        for (size_t i = 0; i < BATCH; i++) ids[i] = r->ids->ints + first[i] + round;
        status = phlox_session_append_batch(sessions, ids, one, BATCH, &error);
        for (size_t i = 0; i < BATCH && status == PHLOX_OK; i++) {
            const float *const row = r->steps->floats + (first[i] + round) * vocab;
            if (test_difference(phlox_session_logits(sessions[i]), row, vocab) > 2e-4)
                snprintf(r->failure, sizeof r->failure, "wrong logits in session %zu, round %zu", i,
                         round);
        }
    }
    if (status != PHLOX_OK) snprintf(r->failure, sizeof r->failure, "%s", error.message);
    for (size_t i = 0; i < BATCH; i++) phlox_session_close(&sessions[i]);
    return NULL;
}

static void batches(void **state)
{
    (void)state;
    test_npy ids = test_npy_open(GOLDEN "/family/phi4-mini/ids.npy");
    test_npy steps = test_npy_open(GOLDEN "/family/phi4-mini/steps.npy");
    phlox_model *model = open_model(GOLDEN "/family/phi4-mini");
    struct runner runners[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        runners[i] = (struct runner){model, &ids, &steps, 2 * i, ""};
    start_all(run_batches, runners, sizeof *runners);
    for (size_t i = 0; i < THREADS; i++) assert_string_equal(runners[i].failure, "");
    phlox_model_close(&model);
    test_npy_close(&ids);
    test_npy_close(&steps);
}

/* ---- tokenizing beside generating ---------------------------------------------------------- */

struct mixed {
    phlox_model *model;
    char text[300];
    int32_t ids[64];
    size_t count;
    bool failed;
};

static void *run_mixed(void *argument)
{
    struct mixed *const m = argument;
    size_t size;
    for (int round = 0; round < 10; round++) {
        const phlox_text text = phlox_text_of("hello the law \xe6\x97\xa5<|end|>");
        m->failed |= phlox_tokenize(m->model, text, PHLOX_TOKENIZE_CONTROL, m->ids, 64, &m->count,
                                    NULL) != PHLOX_OK;
        m->failed |= phlox_detokenize(m->model, m->ids, m->count, true, m->text, sizeof m->text,
                                      &size, NULL) != PHLOX_OK;
        phlox_model_info info;
        phlox_model_get_info(m->model, &info);
        phlox_session *session = NULL;
        phlox_generate_options options;
        phlox_generate_options_init(&options, m->model);
        options.max_new_tokens = 4;
        options.ignore_eos = true;
        m->failed |= phlox_session_create(m->model, &session, NULL) != PHLOX_OK ||
                     phlox_session_append(session, m->ids, m->count, NULL, NULL, NULL, NULL) ||
                     phlox_session_generate(session, &options, NULL, NULL, NULL, NULL);
        const int32_t *const all = phlox_session_ids(session, &size);
        if (!m->failed) memcpy(m->ids, all, size * sizeof *all);
        m->count = size;
        phlox_session_close(&session);
    }
    return NULL;
}

static void tokens_and_text(void **state)
{
    (void)state;
    phlox_model *model = open_model(GOLDEN "/hostile/good-tokenizer");
    struct mixed *const mixed = calloc(THREADS, sizeof *mixed);
    assert_non_null(mixed);
    for (size_t i = 0; i < THREADS; i++) mixed[i].model = model;
    start_all(run_mixed, mixed, sizeof *mixed);
    for (size_t i = 0; i < THREADS; i++) {
        assert_false(mixed[i].failed);
        assert_int_equal(mixed[i].count, mixed[0].count);
        assert_memory_equal(mixed[i].ids, mixed[0].ids, mixed[0].count * sizeof(int32_t));
    }
    free(mixed);
    phlox_model_close(&model);
}

/* ---- cancelling ---------------------------------------------------------------------------- */

struct endless {
    phlox_session *session;
    const phlox_generate_options *options;
    phlox_generate_result result;
    phlox_status status;
    atomic_int pieces;
};

static bool count_piece(void *user, const phlox_piece *piece)
{
    (void)piece;
    atomic_fetch_add(&((struct endless *)user)->pieces, 1);
    return true;
}

static void *run_endless(void *argument)
{
    struct endless *const e = argument;
    e->status = phlox_session_generate(e->session, e->options, count_piece, e, &e->result, NULL);
    return NULL;
}

static void cancel_from_another_thread(void **state)
{
    (void)state;
    phlox_model *model = open_model(GOLDEN "/hostile/good");
    phlox_generate_options options;
    phlox_generate_options_init(&options, model);
    options.ignore_eos = true;
    options.context_shift = true; /* without an end */
    const int32_t prompt[] = {1, 3};
    for (int round = 0; round < 5; round++) {
        struct endless e = {.options = &options, .status = PHLOX_ERROR_INTERNAL};
        phlox_error error;
        pthread_t thread;
        MUST(phlox_session_create(model, &e.session, &error));
        MUST(phlox_session_append(e.session, prompt, 2, NULL, NULL, NULL, &error));
        assert_int_equal(pthread_create(&thread, NULL, run_endless, &e), 0);
        while (atomic_load(&e.pieces) < 20 * round + 1) nanosleep(&(struct timespec){0, 10000}, NULL);
        phlox_session_cancel(e.session);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(e.status, PHLOX_OK);
        assert_int_equal(e.result.stop, PHLOX_STOP_CANCELLED);
        assert_true(e.result.tokens >= (size_t)(20 * round + 1));
        phlox_session_close(&e.session);
    }
    phlox_model_close(&model);
}

struct repeated {
    phlox_session *sessions[2];
    atomic_int calls;
    atomic_bool stop;
    phlox_status last;
    bool wrong;
};

/* Appends to both and cuts them back until a call is cancelled. */
static void *run_repeated(void *argument)
{
    struct repeated *const r = argument;
    static const int32_t prompt[] = {1, 3, 5, 7, 9, 11, 13, 15};
    const int32_t *const ids[2] = {prompt, prompt + 2};
    static const size_t counts[2] = {8, 6};
    do {
        r->last = phlox_session_append_batch(r->sessions, ids, counts, 2, NULL);
        for (int i = 0; i < 2; i++) {
            size_t count;
            phlox_session_ids(r->sessions[i], &count);
            r->wrong |= count != (r->last == PHLOX_OK ? counts[i] : 0);
            r->wrong |= phlox_session_truncate(r->sessions[i], 0, NULL) != PHLOX_OK;
        }
        atomic_fetch_add(&r->calls, 1);
    } while (r->last == PHLOX_OK && !atomic_load(&r->stop));
    return NULL;
}

/* A request may come at any moment of a call, or between two: the call is done or cancelled, for both
 * sessions alike. */
static void cancel_a_batch(void **state)
{
    (void)state;
    phlox_model *model = open_model(GOLDEN "/family/phi4-mini");
    for (int round = 0; round < 5; round++) {
        struct repeated r = {.last = PHLOX_ERROR_INTERNAL};
        phlox_error error;
        pthread_t thread;
        for (int i = 0; i < 2; i++) MUST(phlox_session_create(model, &r.sessions[i], &error));
        assert_int_equal(pthread_create(&thread, NULL, run_repeated, &r), 0);
        while (atomic_load(&r.calls) < 3) nanosleep(&(struct timespec){0, 10000}, NULL);
        for (int i = 0; i < 200; i++) {
            phlox_session_cancel(r.sessions[round % 2]);
            nanosleep(&(struct timespec){0, 10000}, NULL);
        }
        atomic_store(&r.stop, true);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(r.last == PHLOX_OK || r.last == PHLOX_ERROR_CANCELLED);
        assert_false(r.wrong);
        for (int i = 0; i < 2; i++) phlox_session_close(&r.sessions[i]);
    }
    phlox_model_close(&model);
}

/* ---- opening ------------------------------------------------------------------------------- */

struct opener {
    const char *cache;
    float logits[131];
    char failure[1100];
};

static void *run_open(void *argument)
{
    struct opener *const o = argument;
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.cache_dir = o->cache;
    options.threads = 2;
    options.weight_format = PHLOX_WEIGHTS_INT8;
    phlox_error error = {0};
    for (int round = 0; round < 3; round++) {
        phlox_model *model = NULL;
        phlox_session *session = NULL;
        const int32_t ids[] = {5, 6, 7};
        if (phlox_model_open(GOLDEN "/family/phi4", &options, &model, &error) ||
            phlox_session_create(model, &session, &error) ||
            phlox_session_append(session, ids, 3, NULL, NULL, NULL, &error))
            snprintf(o->failure, sizeof o->failure, "%s", error.message);
        else
            memcpy(o->logits, phlox_session_logits(session), sizeof o->logits);
        phlox_session_close(&session);
        phlox_model_close(&model);
    }
    return NULL;
}

/* All at once on an empty cache: whoever is last writes the file that stays. */
static void opening_at_the_same_time(void **state)
{
    (void)state;
    char cache[TEST_PATH];
    test_directory(cache);
    const mode_t mask = umask(022);
    struct opener *const openers = calloc(THREADS, sizeof *openers);
    assert_non_null(openers);
    for (size_t i = 0; i < THREADS; i++) openers[i].cache = cache;
    start_all(run_open, openers, sizeof *openers);
    for (size_t i = 0; i < THREADS; i++) {
        assert_string_equal(openers[i].failure, "");
        assert_memory_equal(openers[i].logits, openers[0].logits, sizeof openers[0].logits);
    }
    free(openers);
    assert_int_equal(test_for_each(cache, NULL, NULL), 1);
    assert_int_equal(umask(mask), 022); /* nobody touched it */
    test_remove(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions),
        cmocka_unit_test(batches),
        cmocka_unit_test(tokens_and_text),
        cmocka_unit_test(cancel_from_another_thread),
        cmocka_unit_test(cancel_a_batch),
        cmocka_unit_test(opening_at_the_same_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
