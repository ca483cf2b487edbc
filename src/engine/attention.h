/* Attention of one layer over the caches of a step's sequences. A token's result does not depend on
 * what else is in the step. */
#ifndef PX_ENGINE_ATTENTION_H
#define PX_ENGINE_ATTENTION_H

#include "base/threads.h"
#include "engine/kv_cache.h"

/* One token of a step. Tokens of a sequence follow each other in order of position. */
typedef struct px_step_token {
    int32_t id;
    size_t position;
    px_kv_cache *cache; /* with room for `position` */
    bool is_long;       /* longrope: the long factors */
    float *logits;      /* float32 [vocab_size] to fill, or NULL */
} px_step_token;

typedef struct px_attention px_attention; /* room for a step, and its plan */

void px_attention_free(px_attention *attention);

/* Prepares for a step; *attention may be NULL or that of an earlier step. */
phlox_status px_attention_plan(px_attention **attention, const px_desc *desc,
                               const px_kernels *kernels, px_pool *pool,
                               const px_step_token *tokens, int64_t count, phlox_error *error);

/* One layer of the planned step. Rotates queries and keys by cosine and sine [tokens, rotary_dim / 2],
 * stores keys and values and attends.
 *   qkv: [tokens, (heads + 2 kv_heads) * head_dim]; queries and keys are rotated in place
 *   out: [tokens, heads * head_dim] */
void px_attention_run(px_attention *attention, int64_t layer, float *qkv, const float *cosine,
                      const float *sine, float *out);

#endif
