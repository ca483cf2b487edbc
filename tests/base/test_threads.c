/* The pool: every index exactly once, ranges as promised, for many shapes of work. */
#include "support.h"

#include "base/cores.h"
#include "base/os.h"
#include "base/threads.h"

#include <stdatomic.h>
#include <time.h>

enum { MOST = 4096 };

struct work {
    int64_t count, grain;
    bool take, whole; /* whole: one call may cover everything */
    atomic_int hits[MOST];
    atomic_int calls, bad;
};

static void mark(void *context, int64_t begin, int64_t end)
{
    struct work *const work = context;
    atomic_fetch_add(&work->calls, 1);
    const bool all = begin == 0 && end == work->count;
    if (begin < 0 || begin >= end || end > work->count || begin % work->grain ||
        (end != work->count && end % work->grain) ||
        (work->take && !all && end - begin > work->grain)) {
        atomic_fetch_add(&work->bad, 1);
        return;
    }
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&work->hits[i], 1);
}

static void run_one(px_pool *pool, int64_t count, int64_t grain, bool take)
{
    static struct work work;
    work.count = count;
    work.grain = grain;
    work.take = take;
    atomic_store(&work.calls, 0);
    atomic_store(&work.bad, 0);
    for (int64_t i = 0; i < MOST; i++) atomic_store(&work.hits[i], 0);
    (take ? px_pool_take : px_pool_for)(pool, count, grain, mark, &work);
    assert_int_equal(atomic_load(&work.bad), 0);
    for (int64_t i = 0; i < MOST; i++)
        if (atomic_load(&work.hits[i]) != (i < count))
            fail_msg("%lld of %lld, grain %lld, %d threads: run %d times", (long long)i,
                     (long long)count, (long long)grain, px_pool_threads(pool),
                     atomic_load(&work.hits[i]));
    if (!take) assert_true(atomic_load(&work.calls) <= px_pool_threads(pool));
}

static void every_index_once(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, 7, 16, 17, 63, 64, 65, 1000, MOST};
    static const int64_t grains[] = {1, 2, 3, 8, 16, 64, 5000};
    for (int threads = 1; threads <= 5; threads++) {
        px_pool *pool = NULL;
        phlox_error error;
        MUST(px_pool_create(threads, &pool, &error));
        assert_int_equal(px_pool_threads(pool), threads);
        for (size_t c = 0; c < PX_COUNT(counts); c++)
            for (size_t g = 0; g < PX_COUNT(grains); g++) {
                run_one(pool, counts[c], grains[g], false);
                run_one(pool, counts[c], grains[g], true);
            }
        px_pool_free(pool);
    }
}

/* Row blocks bound the memory of a conversion, also when one thread does it. */
static void take_gives_one_grain_at_a_time(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        px_pool *pool = NULL;
        phlox_error error;
        MUST(px_pool_create(threads, &pool, &error));
        static struct work work;
        work.count = 1000;
        work.grain = 64;
        work.take = true;
        atomic_store(&work.calls, 0);
        px_pool_take(pool, work.count, work.grain, mark, &work);
        assert_int_equal(atomic_load(&work.calls), (1000 + 63) / 64);
        px_pool_free(pool);
    }
}

/* Rounds that follow each other at once and rounds after which the workers have gone to sleep. */
static void many_rounds(void **state)
{
    (void)state;
    px_pool *pool = NULL;
    phlox_error error;
    MUST(px_pool_create(3, &pool, &error));
    for (int round = 0; round < 2000; round++) {
        static struct work work;
        work.count = 9;
        work.grain = 1;
        work.take = round % 2 == 1;
        atomic_store(&work.hits[round % 9], 0);
        (work.take ? px_pool_take : px_pool_for)(pool, 9, 1, mark, &work);
        assert_int_equal(atomic_load(&work.hits[round % 9]), 1);
        for (int i = 0; i < 9; i++) atomic_store(&work.hits[i], 0);
        if (round % 200 == 0) nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    px_pool_free(pool);
    px_pool_free(NULL);
}

struct meeting {
    px_monitor *monitor;
    int arrived;
};

static void arrive(void *argument)
{
    struct meeting *const meeting = argument;
    px_monitor_lock(meeting->monitor);
    meeting->arrived++;
    px_monitor_wake_all(meeting->monitor);
    while (meeting->arrived < 3) px_monitor_wait(meeting->monitor);
    px_monitor_unlock(meeting->monitor);
}

static void threads_meet_at_a_monitor(void **state)
{
    (void)state;
    struct meeting meeting = {px_monitor_create(), 0};
    assert_non_null(meeting.monitor);
    px_thread *a = px_thread_start(arrive, &meeting), *b = px_thread_start(arrive, &meeting);
    assert_non_null(a);
    assert_non_null(b);
    arrive(&meeting);
    px_thread_join(a);
    px_thread_join(b);
    assert_int_equal(meeting.arrived, 3);
    px_monitor_free(meeting.monitor);
    px_monitor_free(NULL);
    assert_true(px_core_count() >= 1);
    const double start = px_seconds();
    assert_true(px_seconds() >= start);
}

static phlox_status fail_at(void *context, int64_t begin, int64_t end, phlox_error *error)
{
    const int64_t *const at = context;
    return *at >= begin && *at < end
               ? px_fail(error, PHLOX_ERROR_FORMAT, "from %d", (int)begin)
               : PHLOX_OK;
}

static void the_first_failure_is_returned(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        px_pool *pool = NULL;
        phlox_error error = {0};
        int64_t nowhere = -1, somewhere = 57;
        assert_int_equal(px_pool_create(threads, &pool, &error), PHLOX_OK);
        assert_int_equal(px_pool_try(pool, 100, 10, fail_at, &nowhere, &error), PHLOX_OK);
        assert_int_equal(px_pool_try(pool, 100, 10, fail_at, &somewhere, &error), PHLOX_ERROR_FORMAT);
        assert_int_equal(error.code, PHLOX_ERROR_FORMAT);
        assert_non_null(strstr(error.message, "from "));
        assert_int_equal(px_pool_try(pool, 100, 10, fail_at, &somewhere, NULL), PHLOX_ERROR_FORMAT);
        px_pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_once),
        cmocka_unit_test(take_gives_one_grain_at_a_time),
        cmocka_unit_test(many_rounds),
        cmocka_unit_test(threads_meet_at_a_monitor),
        cmocka_unit_test(the_first_failure_is_returned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
