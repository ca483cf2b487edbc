/* The network, from ids to logits, for a step of tokens of one or several sequences. docs/MODEL.md
 * is the same in prose. */
#ifndef PX_ENGINE_FORWARD_H
#define PX_ENGINE_FORWARD_H

#include "engine/attention.h"
#include "engine/weights.h"

/* What does not change between steps. */
typedef struct px_engine {
    const px_desc *desc;
    const px_weights *weights;
    const px_kernels *kernels;
    px_pool *pool;
    bool exact; /* float32 activations also for integer weights */
    struct px_scratch *scratch; /* grows with the longest step; owned, px_engine_free() */
    px_attention *attention;    /* likewise */
} px_engine;

/* Computes the step: keys and values go to the caches. Errors: memory. */
phlox_status px_forward(px_engine *engine, const px_step_token *tokens, int64_t count,
                        phlox_error *error);
void px_engine_free(px_engine *engine);

#endif
