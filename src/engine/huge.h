/*
 * Weights in pages of 2 MB. A mapped file has pages of the system's own size, mostly 4 KB, and reading
 * it takes the address translation of every one of them; anonymous memory can have pages of 2 MB. So a
 * model starts at once from the mapped file, and after some tokens its matrices move, a few layers with
 * each step, where memory is free and reading them there was measured to be faster. Then the model is no
 * longer shared with other processes that map the file.
 */
#ifndef PX_ENGINE_HUGE_H
#define PX_ENGINE_HUGE_H

#include "engine/weights.h"

#include <stdatomic.h>

typedef struct px_huge {
    px_weights *weights;
    px_pool *pool;
    int64_t layer_count;
    enum { PX_HUGE_WAITS, PX_HUGE_MOVES, PX_HUGE_RESTS } state;
    bool is_asked;         /* by the user: without a measurement */
    uint64_t features;     /* PHLOX_CPU_*, for the measurement */
    uint64_t before;       /* bytes that the process had in such pages */
    int64_t decoded;       /* steps of few tokens so far */
    uint8_t *memory;       /* [size], where the matrices go one after the other */
    size_t size;
    size_t step_bytes;     /* that move behind a step, about */
    uint8_t *place;        /* where the next layer goes */
    int64_t next;          /* layer_count: lm_head */
    atomic_ullong bytes;   /* what moved in the end, as far as the system gave pages of 2 MB */
} px_huge;

/* The weights of an engine, of `layer_count` layers; what is in memory already stays. features: the
 * PHLOX_CPU_* that may be used. */
void px_huge_init(px_huge *huge, px_weights *weights, int64_t layer_count, px_pool *pool,
                  uint64_t features, phlox_huge_pages choice);
/* Behind a step of at most `tokens` tokens of a sequence and before the next. */
void px_huge_step(px_huge *huge, int64_t tokens);
/* The weights are not to be used any more. */
void px_huge_free(px_huge *huge);

#endif
