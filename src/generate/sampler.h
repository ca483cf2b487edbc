/* From logits to the next token. The order of the filters is that of transformers: repetition
 * penalty, temperature, top-k, top-p, min-p. */
#ifndef PX_GENERATE_SAMPLER_H
#define PX_GENERATE_SAMPLER_H

#include "base/memory.h"

typedef struct px_sampler px_sampler;

/* Checks the options; `vocab` is the number of logits. */
phlox_status px_sampler_create(const phlox_generate_options *options, int32_t vocab,
                               px_sampler **out, phlox_error *error);
void px_sampler_free(px_sampler *sampler);

/* Chooses the next id. seen: all ids of the session, of which the last `generated` were made by this
 * generation. logits: [vocab], not changed. */
int32_t px_sampler_next(px_sampler *sampler, const float *logits, const int32_t *seen,
                        size_t seen_count, size_t generated);

/* log(sum of exp(logits)), so that logits[id] minus it is a log-probability. logits: [vocab] */
double px_log_sum_exp(const float *logits, int32_t vocab);

/* Log-probabilities before temperature and penalties: of `id`, and of the best `top_count`. */
void px_logprobs(const float *logits, int32_t vocab, int32_t id, phlox_token_info *token,
                 phlox_token_info *top, size_t top_count);

#endif
