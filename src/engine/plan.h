/* What becomes of each matrix of a checkpoint under the user's options. */
#ifndef PX_ENGINE_PLAN_H
#define PX_ENGINE_PLAN_H

#include "base/threads.h"
#include "checkpoint/checkpoint.h"
#include "kernels/kernels.h"

typedef struct px_plan_item {
    const px_tensor *tensor;
    px_weight_type type;
    bool as_stored;         /* mapped from the checkpoint, nothing to convert */
    bool stored_integers;   /* those of the checkpoint, repacked */
    px_quant_format format; /* of i8 and i4 */
    int64_t group_size;     /* columns in a group, of i8 and i4 */
    bool half_scales;
    bool minima;            /* of the stored integers, in place of zero points */
    bool steps;             /* scales, and minima, of the stored integers are steps */
    size_t bytes[PX_PARTS];
} px_plan_item;

typedef struct px_plan {
    px_plan_item *items; /* in the order of the graph: embedding, layers, lm_head unless tied */
    size_t count;
    bool converts;       /* some item is not as stored */
    size_t norm_bytes;   /* of all norms, which run as f32 */
    char variant[48];    /* names the outcome, for the cache */
    char summary[96];
} px_plan;

/* With `ratio` below 1 the choice of layers depends on the weights, which are then read once; pool
 * NULL: they are not read and the choice is only good for sizes. */
phlox_status px_plan_make(const px_checkpoint *checkpoint, const phlox_model_options *options,
                          px_pool *pool, px_plan *out, phlox_error *error);
/* Bytes of all matrices and norms as run. */
uint64_t px_plan_bytes(const px_plan *plan);
/* Bytes that every step reads: those without the embedding, of which it needs single rows, unless it is
 * lm_head as well. */
uint64_t px_plan_step_bytes(const px_plan *plan);
void px_plan_free(px_plan *plan);

#endif
