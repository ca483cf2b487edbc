#include "api/compare.h"

#include "api/model.h"
#include "generate/sampler.h"

#include <math.h>
#include <stdlib.h>

/* ---- one position -------------------------------------------------------------------------- */

static int32_t top_of(const float *logits, int32_t vocab)
{
    int32_t top = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[top]) top = i;
    return top;
}

px_divergence px_divergence_of(const float *reference, const float *candidate, int32_t vocab)
{
    const double p_sum = px_log_sum_exp(reference, vocab), q_sum = px_log_sum_exp(candidate, vocab);
    double kl = 0;
    for (int32_t i = 0; i < vocab; i++) {
        const double log_p = (double)reference[i] - p_sum, log_q = (double)candidate[i] - q_sum;
        kl += exp(log_p) * (log_p - log_q);
    }
    /* Between distributions that are nearly equal rounding can win over the divergence. */
    return (px_divergence){fmax(kl, 0), p_sum, q_sum,
                           top_of(reference, vocab) == top_of(candidate, vocab)};
}

double px_percentile(const double *sorted, size_t count, double share)
{
    const double place = share * (double)(count - 1);
    const size_t below = (size_t)place;
    if (below + 1 >= count) return sorted[count - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

/* ---- a text -------------------------------------------------------------------------------- */

enum { REFERENCE, CANDIDATE, SIDES };

struct comparison {
    phlox_session *sessions[SIDES];
    float *logits[SIDES]; /* [PX_MEASURE_PIECE, vocab] */
    double nll[SIDES];
    double *kl;           /* [positions] */
    int32_t vocab;
    size_t positions, agreed, predicted;
    phlox_progress_fn *progress;
    void *user;
    phlox_progress done;
};

/* Ids from `begin` on that are in a window together; ids[size] follows the last of them when `last`
 * is false. */
static void compare_piece(struct comparison *c, const int32_t *ids, size_t size, bool last)
{
    for (size_t i = 0; i < size; i++) {
        const float *const p = c->logits[REFERENCE] + i * (size_t)c->vocab;
        const float *const q = c->logits[CANDIDATE] + i * (size_t)c->vocab;
        const px_divergence found = px_divergence_of(p, q, c->vocab);
        c->kl[c->positions++] = found.kl;
        c->agreed += found.same_top;
        if (last && i + 1 == size) continue;
        c->nll[REFERENCE] += found.reference_log_sum - (double)p[ids[i + 1]];
        c->nll[CANDIDATE] += found.candidate_log_sum - (double)q[ids[i + 1]];
        c->predicted++;
    }
}

/* One window of ids from empty caches. */
static phlox_status compare_window(struct comparison *c, const int32_t *ids, size_t count,
                                   phlox_error *error)
{
    for (int side = 0; side < SIDES; side++)
        PX_TRY(phlox_session_truncate(c->sessions[side], 0, error));
    for (size_t begin = 0, size; begin < count; begin += size) {
        size = PX_MIN(count - begin, (size_t)PX_MEASURE_PIECE);
        for (int side = 0; side < SIDES; side++)
            PX_TRY(phlox_session_append(c->sessions[side], ids + begin, size, c->logits[side], NULL,
                                        NULL, error));
        compare_piece(c, ids + begin, size, begin + size == count);
        c->done.done += size;
        if (c->progress && !c->progress(c->user, &c->done))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "cancelled");
    }
    return PHLOX_OK;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(struct comparison *c, phlox_compare_result *out)
{
    const double predicted = (double)c->predicted, positions = (double)c->positions;
    double sum = 0;
    for (size_t i = 0; i < c->positions; i++) sum += c->kl[i];
    qsort(c->kl, c->positions, sizeof *c->kl, ascending);
    const double p = c->nll[REFERENCE] / predicted, q = c->nll[CANDIDATE] / predicted;
    *out = (phlox_compare_result){
        .positions = c->positions,
        .kl_mean = sum / positions,
        .kl_median = px_percentile(c->kl, c->positions, 0.5),
        .kl_p99 = px_percentile(c->kl, c->positions, 0.99),
        .kl_max = c->kl[c->positions - 1],
        .top1_agreement = (double)c->agreed / positions,
        .reference = {exp(p), p, c->predicted},
        .candidate = {exp(q), q, c->predicted},
    };
}

static phlox_status compare_all(struct comparison *c, phlox_model *const models[SIDES],
                                const int32_t *ids, size_t count, phlox_error *error)
{
    size_t window = PX_MEASURE_WINDOW;
    for (int side = 0; side < SIDES; side++)
        window = PX_MIN(window, models[side]->runtime.context_size);
    if (count < 2)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "there are %zu tokens to compare on; at least 2 are needed", count);
    if (window < 2)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "a context of 1 token predicts nothing; raise --context-size");
    c->kl = malloc(px_mul(count, sizeof *c->kl));
    if (!c->kl) return px_fail_memory(error, px_mul(count, sizeof *c->kl));
    for (int side = 0; side < SIDES; side++) {
        const size_t bytes = px_mul(PX_MEASURE_PIECE * sizeof(float), (size_t)c->vocab);
        c->logits[side] = malloc(bytes);
        if (!c->logits[side]) return px_fail_memory(error, bytes);
        PX_TRY(phlox_session_create(models[side], &c->sessions[side], error));
    }
    c->done = (phlox_progress){.what = "comparing", .total = count};
    for (size_t begin = 0; begin < count; begin += window)
        PX_TRY(compare_window(c, ids + begin, PX_MIN(window, count - begin), error));
    return PHLOX_OK;
}

phlox_status phlox_compare(phlox_model *reference, phlox_model *candidate, const int32_t *ids,
                           size_t count, phlox_progress_fn *progress, void *progress_user,
                           phlox_compare_result *out, phlox_error *error)
{
    phlox_model *const models[SIDES] = {reference, candidate};
    struct comparison c = {.progress = progress, .user = progress_user};
    c.vocab = reference->checkpoint->desc.vocab_size;
    if (candidate->checkpoint->desc.vocab_size != c.vocab)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "%s has %d tokens in its vocabulary and %s has %d; only models that share one "
                       "can be compared", reference->path, c.vocab, candidate->path,
                       candidate->checkpoint->desc.vocab_size);
    const phlox_status status = compare_all(&c, models, ids, count, error);
    if (status == PHLOX_OK) summarise(&c, out);
    for (int side = 0; side < SIDES; side++) {
        phlox_session_close(&c.sessions[side]);
        free(c.logits[side]);
    }
    free(c.kl);
    return status;
}
