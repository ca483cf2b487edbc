/* How far one next-token distribution is from another. */
#ifndef PX_API_COMPARE_H
#define PX_API_COMPARE_H

#include "base/memory.h"

typedef struct px_divergence {
    double kl; /* of the candidate from the reference, nats, never below 0 */
    double reference_log_sum, candidate_log_sum; /* log of the sum of exp(logits) */
    bool same_top; /* the first of the largest logits is the same one */
} px_divergence;

/* logits: [vocab], finite */
px_divergence px_divergence_of(const float *reference, const float *candidate, int32_t vocab);

/* The value below which `share` of the sorted values are, interpolated between neighbours (numpy's
 * "linear"). count >= 1 */
double px_percentile(const double *sorted, size_t count, double share);

#endif
