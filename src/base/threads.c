#include "base/threads.h"

#include "base/cores.h"
#include "base/os.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { SPINS = 2000 };

struct px_pool {
    int threads;
    px_thread **workers; /* [threads - 1] */
    px_monitor *monitor;
    struct worker *arguments;
    struct share *shares; /* [threads] */
    int cpus[PX_MOST_CPUS]; /* [cpu_count], those of the workers when there are any */
    size_t cpu_count;

    /* The work, written by the caller before `round` is raised. */
    px_range_fn *run;
    void *context;
    int64_t count, grain;
    bool take;

    atomic_uint round;     /* raised for each piece of work */
    atomic_int pending;    /* workers that have not finished this round */
    atomic_int sleepers;   /* workers that wait on the monitor */
    atomic_bool stop;
};

struct worker {
    px_pool *pool;
    int index;
};

/* px_pool_take: a thread's range, of which `next` on is left. */
struct share {
    _Alignas(64) atomic_llong next;
    int64_t end;
};

/* The beginning of a thread's range of the work. */
static int64_t share_begin(const px_pool *pool, int index)
{
    const int64_t grains = (pool->count + pool->grain - 1) / pool->grain;
    return PX_MIN(grains * index / pool->threads * pool->grain, pool->count);
}

/* What is left of a thread's share, piece by piece. */
static void take_from(px_pool *pool, struct share *share)
{
    while (atomic_load(&share->next) < share->end) {
        const int64_t begin = atomic_fetch_add(&share->next, pool->grain);
        if (begin >= share->end) return;
        pool->run(pool->context, begin, PX_MIN(begin + pool->grain, share->end));
    }
}

static void run_share(px_pool *pool, int index)
{
    if (pool->take) {
        for (int i = 0; i < pool->threads; i++)
            take_from(pool, &pool->shares[(index + i) % pool->threads]);
        return;
    }
    const int64_t begin = share_begin(pool, index), end = share_begin(pool, index + 1);
    if (begin < end) pool->run(pool->context, begin, end);
}

static void wait_for_round(px_pool *pool, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->round) != seen) return;
        px_pause();
    }
    px_monitor_lock(pool->monitor);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->round) == seen) px_monitor_wait(pool->monitor);
    atomic_fetch_sub(&pool->sleepers, 1);
    px_monitor_unlock(pool->monitor);
}

static void worker_main(void *argument)
{
    const struct worker *const worker = argument;
    px_pool *const pool = worker->pool;
    if (pool->cpu_count) px_keep_to_cpus(pool->cpus, pool->cpu_count);
    for (unsigned seen = 0;; seen++) {
        wait_for_round(pool, seen);
        if (atomic_load(&pool->stop)) return;
        run_share(pool, worker->index);
        atomic_fetch_sub(&pool->pending, 1);
    }
}

/* A worker counts itself among the sleepers before it looks at `round` under the lock, and the caller
 * raises `round` before it looks at the sleepers: one of the two sees the other. */
static void start_round(px_pool *pool)
{
    atomic_fetch_add(&pool->round, 1);
    if (atomic_load(&pool->sleepers) > 0) {
        px_monitor_lock(pool->monitor);
        px_monitor_wake_all(pool->monitor);
        px_monitor_unlock(pool->monitor);
    }
}

static void run_all(px_pool *pool, int64_t count, int64_t grain, bool take, px_range_fn *run,
                    void *context)
{
    if (count <= 0) return;
    if (pool->threads == 1 || count <= grain) {
        const int64_t size = take ? grain : count;
        for (int64_t begin = 0; begin < count; begin += size)
            run(context, begin, PX_MIN(begin + size, count));
        return;
    }
    pool->run = run;
    pool->context = context;
    pool->count = count;
    pool->grain = grain;
    pool->take = take;
    for (int i = 0; i < pool->threads && take; i++) {
        atomic_store(&pool->shares[i].next, share_begin(pool, i));
        pool->shares[i].end = share_begin(pool, i + 1);
    }
    atomic_store(&pool->pending, pool->threads - 1);
    start_round(pool);
    run_share(pool, 0);
    for (int spins = 0; atomic_load(&pool->pending) > 0; spins++) {
        if (spins < SPINS) px_pause();
        else px_yield();
    }
}

void px_pool_for(px_pool *pool, int64_t count, int64_t grain, px_range_fn *run, void *context)
{
    run_all(pool, count, grain, false, run, context);
}

void px_pool_take(px_pool *pool, int64_t count, int64_t grain, px_range_fn *run, void *context)
{
    run_all(pool, count, grain, true, run, context);
}

struct attempt {
    px_try_fn *run;
    void *context;
    atomic_bool failed;
    phlox_status status; /* written by the one thread that set `failed` */
    phlox_error error;
};

static void attempt_range(void *context, int64_t begin, int64_t end)
{
    struct attempt *const attempt = context;
    if (atomic_load(&attempt->failed)) return;
    phlox_error error = {0};
    const phlox_status status = attempt->run(attempt->context, begin, end, &error);
    if (status == PHLOX_OK || atomic_exchange(&attempt->failed, true)) return;
    attempt->status = status;
    attempt->error = error;
}

phlox_status px_pool_try(px_pool *pool, int64_t count, int64_t grain, px_try_fn *run, void *context,
                         phlox_error *error)
{
    struct attempt attempt = {.run = run, .context = context};
    px_pool_take(pool, count, grain, attempt_range, &attempt);
    if (!atomic_load(&attempt.failed)) return PHLOX_OK;
    if (error) *error = attempt.error;
    return attempt.status;
}

int px_pool_threads(const px_pool *pool)
{
    return pool->threads;
}

phlox_status px_pool_create(int threads, px_pool **out, phlox_error *error)
{
    px_pool *const pool = px_calloc(1, sizeof *pool);
    if (!pool) return px_fail_memory(error, sizeof *pool);
    pool->threads = 1;
    if (threads > 1) pool->cpu_count = px_fast_cpus(threads, pool->cpus); /* of workers only */
    pool->monitor = px_monitor_create();
    pool->workers = px_calloc((size_t)threads, sizeof *pool->workers);
    pool->arguments = px_calloc((size_t)threads, sizeof *pool->arguments);
    pool->shares = px_aligned_alloc((size_t)threads * sizeof *pool->shares);
    phlox_status status = PHLOX_OK;
    if (!pool->monitor || !pool->workers || !pool->arguments || !pool->shares)
        status = px_fail_memory(error, (size_t)threads * sizeof *pool->workers);
    for (int i = 1; i < threads && status == PHLOX_OK; i++) {
        pool->arguments[i] = (struct worker){pool, i};
        pool->workers[i] = px_thread_start(worker_main, &pool->arguments[i]);
        if (pool->workers[i]) pool->threads = i + 1;
        else
            status = px_fail(error, PHLOX_ERROR_MEMORY,
                             "the system refused thread %d of %d; use fewer threads", i, threads);
    }
    if (status != PHLOX_OK) {
        px_pool_free(pool);
        return status;
    }
    *out = pool;
    return PHLOX_OK;
}

void px_pool_free(px_pool *pool)
{
    if (!pool) return;
    if (pool->threads > 1) {
        atomic_store(&pool->stop, true);
        start_round(pool);
        for (int i = 1; i < pool->threads; i++) px_thread_join(pool->workers[i]);
    }
    px_monitor_free(pool->monitor);
    free(pool->workers);
    free(pool->arguments);
    px_aligned_free(pool->shares);
    free(pool);
}
