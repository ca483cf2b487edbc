/* The weights of a model as the kernels read them: mapped from the checkpoint where they stay as
 * stored, else packed into the cache (or memory) and mapped from there. */
#ifndef PX_ENGINE_WEIGHTS_H
#define PX_ENGINE_WEIGHTS_H

#include "base/cache.h"
#include "base/threads.h"
#include "checkpoint/checkpoint.h"
#include "kernels/kernels.h"

enum { PX_PREFETCH_AHEAD = 8192 /* bytes */ };

typedef struct px_layer_weights {
    const float *input_norm, *post_norm; /* [hidden] */
    px_weight qkv, o, gate_up, down;     /* shapes: px_role in model.h */
} px_layer_weights;

typedef struct px_weights {
    px_weight embedding, lm_head; /* the same when tied */
    const float *final_norm;      /* [hidden] */
    px_layer_weights *layers;     /* [num_hidden_layers] */
    float *norms;                 /* what the norms point into */
    px_cache_file file;           /* packed weights in the cache, or ... */
    void *memory;                 /* ... in memory; both absent when all are as stored */
    uint64_t bytes;               /* of all matrices and norms */
    uint64_t step_bytes;          /* of those that every step reads */
    bool from_cache;              /* nothing was converted */
    char summary[96];             /* "int4 sym g128, embedding and lm_head int8" */
} px_weights;

/* Loads every tensor of the checkpoint, which must outlive `out`, in the format that the options ask
 * for. cache_dir NULL: pack into memory. */
phlox_status px_weights_load(const px_checkpoint *checkpoint, const phlox_model_options *options,
                             const char *cache_dir, px_pool *pool, px_weights *out,
                             phlox_error *error);
void px_weights_free(px_weights *weights);

/* PHLOX_ERROR_FORMAT naming the first tensor with a value that is not finite. */
phlox_status px_weights_check(const px_checkpoint *checkpoint, phlox_error *error);

#endif
