/*
 * Weights in pages of 2 MB. A mapped file has pages of the system's own size, mostly 4 KB, and reading
 * it takes the address translation of every one of them; anonymous memory can have pages of 2 MB. So a
 * model starts at once from the mapped file, and behind its first tokens its matrices move, some layers
 * with each step, where memory is free and reading them there was measured to be faster.
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
    int64_t decoded;       /* steps of few tokens so far */
    uint8_t *memory;       /* [size], where the matrices go one after the other */
    size_t size;
    size_t step_bytes;     /* that move behind a step, about */
    uint8_t *place;        /* where the next layer goes */
    int64_t next;          /* layer_count: lm_head */
    atomic_ullong bytes;   /* what moved, as far as the system gave pages of 2 MB */
} px_huge;

/* The weights of an engine, of `layer_count` layers. Only mapped files move. */
void px_huge_init(px_huge *huge, px_weights *weights, int64_t layer_count, px_pool *pool,
                  phlox_huge_pages choice);
/* Behind a step of `tokens` tokens and before the next. */
void px_huge_step(px_huge *huge, int64_t tokens);
/* The weights are not to be used any more. */
void px_huge_free(px_huge *huge);

#endif
