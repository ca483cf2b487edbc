/* A pool of threads that run one function together. Between two runs they spin briefly, since the
 * next one usually follows at once, and then sleep. Where some cores are much slower than others, the
 * threads that the pool starts keep to the fast ones; the caller stays where the system has it. */
#ifndef PX_BASE_THREADS_H
#define PX_BASE_THREADS_H

#include "base/error.h"

typedef struct px_pool px_pool;

/* `threads` counts the caller: 1 starts none. */
phlox_status px_pool_create(int threads, px_pool **out, phlox_error *error);
void px_pool_free(px_pool *pool);
int px_pool_threads(const px_pool *pool);

typedef void px_range_fn(void *context, int64_t begin, int64_t end);

/* Cuts 0..count into one contiguous range a thread, each a multiple of `grain` but for the last, and
 * runs them; returns when all are done. One caller at a time. */
void px_pool_for(px_pool *pool, int64_t count, int64_t grain, px_range_fn *run, void *context);

/* Like px_pool_for, but a thread takes its range in pieces of `grain`, and then those that are left of
 * the others': for work whose pieces differ, or threads on unequal cores. */
void px_pool_take(px_pool *pool, int64_t count, int64_t grain, px_range_fn *run, void *context);

/* What may fail; `error` is of that range alone. */
typedef phlox_status px_try_fn(void *context, int64_t begin, int64_t end, phlox_error *error);

/* Like px_pool_take. Behind the first failure no further piece begins; it is returned. */
phlox_status px_pool_try(px_pool *pool, int64_t count, int64_t grain, px_try_fn *run, void *context,
                         phlox_error *error);

#endif
