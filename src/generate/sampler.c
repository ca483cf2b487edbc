#include "generate/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct candidate {
    int32_t id;
    float logit;
};

struct px_sampler {
    phlox_generate_options options;
    int32_t vocab;
    uint64_t random;              /* state of splitmix64 */
    float *logits;                /* [vocab] with penalties */
    struct candidate *candidates; /* [vocab] */
    double *weights;              /* [vocab] */
    int32_t *counts;              /* [vocab] how often this generation made each id */
};

static phlox_status check_options(const phlox_generate_options *o, phlox_error *error)
{
    const char *const wrong =
        !(o->temperature >= 0) || isinf(o->temperature) ? "temperature: 0 or more"
        : o->top_k < 0                                  ? "top-k: 0 or more"
        : !(o->top_p >= 0 && o->top_p <= 1)             ? "top-p: 0 to 1"
        : !(o->min_p >= 0 && o->min_p <= 1)             ? "min-p: 0 to 1"
        : !(o->repetition_penalty > 0) || isinf(o->repetition_penalty)
            ? "repetition-penalty: above 0"
        : !isfinite(o->presence_penalty) || !isfinite(o->frequency_penalty)
            ? "presence-penalty, frequency-penalty: a number"
        : o->top_logprobs < 0 || o->top_logprobs > PHLOX_MAX_TOP_LOGPROBS ? "top-logprobs: 0 to 20"
                                                                          : NULL;
    if (!wrong) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_ARGUMENT, "a generation option is out of its range (%s)",
                   wrong);
}

phlox_status px_sampler_create(const phlox_generate_options *options, int32_t vocab,
                               px_sampler **out, phlox_error *error)
{
    PX_TRY(check_options(options, error));
    px_sampler *const sampler = px_calloc(1, sizeof *sampler);
    if (!sampler) return px_fail_memory(error, sizeof *sampler);
    const size_t n = (size_t)vocab;
    sampler->options = *options;
    sampler->vocab = vocab;
    sampler->random = options->seed;
    sampler->logits = px_calloc(n, sizeof *sampler->logits);
    sampler->candidates = px_calloc(n, sizeof *sampler->candidates);
    sampler->weights = px_calloc(n, sizeof *sampler->weights);
    sampler->counts = px_calloc(n, sizeof *sampler->counts);
    if (!sampler->logits || !sampler->candidates || !sampler->weights || !sampler->counts) {
        px_sampler_free(sampler);
        return px_fail_memory(error, n * 28);
    }
    *out = sampler;
    return PHLOX_OK;
}

void px_sampler_free(px_sampler *sampler)
{
    if (!sampler) return;
    free(sampler->logits);
    free(sampler->candidates);
    free(sampler->weights);
    free(sampler->counts);
    free(sampler);
}

/* Uniform in [0, 1): splitmix64 (Steele, Lea, Flood 2014), upper 53 bits. */
static double next_random(px_sampler *sampler)
{
    uint64_t z = sampler->random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* Copies the logits and applies the penalties, each seen id once. */
static void penalise(px_sampler *s, const float *logits, const int32_t *seen, size_t seen_count,
                     size_t generated)
{
    const phlox_generate_options *const o = &s->options;
    memcpy(s->logits, logits, (size_t)s->vocab * sizeof *logits);
    if (o->repetition_penalty != 1) {
        const float penalty = (float)o->repetition_penalty;
        for (size_t i = 0; i < seen_count; i++) {
            const float raw = logits[seen[i]];
            s->logits[seen[i]] = raw < 0 ? raw * penalty : raw / penalty;
        }
    }
    if (o->presence_penalty == 0 && o->frequency_penalty == 0) return;
    const int32_t *const made = seen + seen_count - generated;
    for (size_t i = 0; i < generated; i++) s->counts[made[i]]++;
    for (size_t i = 0; i < generated; i++) {
        const int32_t count = s->counts[made[i]];
        if (count) s->logits[made[i]] -= (float)(o->presence_penalty + o->frequency_penalty * count);
        s->counts[made[i]] = 0;
    }
}

static int32_t best_of(const float *logits, int32_t vocab)
{
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Ties go to the smaller id, so that the order is one. */
static bool before(struct candidate a, struct candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sink(struct candidate *heap, size_t count, size_t i)
{
    const struct candidate moved = heap[i];
    for (size_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], moved)) break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

/* Takes the best candidate off the heap and keeps it at the heap's old end. */
static struct candidate pop(struct candidate *heap, size_t count)
{
    const struct candidate top = heap[0];
    heap[0] = heap[count - 1];
    heap[count - 1] = top;
    sink(heap, count - 1, 0);
    return top;
}

/* Weights of the candidates in descending order until the filters are met; their number. The ids
 * stand, best first, from the end of s->candidates backwards. */
static size_t filter(px_sampler *s)
{
    const phlox_generate_options *const o = &s->options;
    const size_t n = (size_t)s->vocab;
    if (!o->top_k && o->top_p >= 1 && o->min_p <= 0) { /* no filter: any order will do */
        const double most = s->logits[best_of(s->logits, s->vocab)];
        for (size_t i = 0; i < n; i++) {
            s->candidates[n - 1 - i].id = (int32_t)i;
            s->weights[i] = exp((s->logits[i] - most) / o->temperature);
        }
        return n;
    }
    for (size_t i = 0; i < n; i++)
        s->candidates[i] = (struct candidate){(int32_t)i, s->logits[i]};
    for (size_t i = n / 2; i-- > 0;) sink(s->candidates, n, i);
    const double best = s->candidates[0].logit;
    const size_t most = o->top_k ? PX_MIN((size_t)o->top_k, n) : n;

    double total = 0; /* of what top-p takes its share: after top-k */
    if (most == n)
        for (size_t i = 0; i < n; i++) total += exp((s->logits[i] - best) / o->temperature);
    size_t kept = 0;
    double sum = 0;
    while (kept < most) {
        const double weight = exp((pop(s->candidates, n - kept).logit - best) / o->temperature);
        if (kept && weight < o->min_p && most == n) break;
        s->weights[kept++] = weight;
        sum += weight;
        if (most == n && sum >= o->top_p * total) break;
    }
    if (most == n) return kept;
    /* top-p and min-p look at the probabilities that top-k left. */
    size_t share = 0;
    for (double part = 0; share < kept && (!share || part < o->top_p * sum); share++)
        part += s->weights[share];
    while (share > 1 && s->weights[share - 1] < o->min_p) share--;
    return share;
}

int32_t px_sampler_next(px_sampler *s, const float *logits, const int32_t *seen, size_t seen_count,
                        size_t generated)
{
    penalise(s, logits, seen, seen_count, generated);
    if (!s->options.do_sample || s->options.temperature == 0) return best_of(s->logits, s->vocab);
    const size_t kept = filter(s);
    double sum = 0;
    for (size_t i = 0; i < kept; i++) sum += s->weights[i];
    double place = next_random(s) * sum;
    size_t i = 0;
    while (i + 1 < kept && place >= s->weights[i]) place -= s->weights[i++];
    return s->candidates[(size_t)s->vocab - 1 - i].id;
}

double px_log_sum_exp(const float *logits, int32_t vocab)
{
    const float best = logits[best_of(logits, vocab)];
    double sum = 0;
    for (int32_t i = 0; i < vocab; i++) sum += exp((double)logits[i] - best);
    return best + log(sum);
}

void px_logprobs(const float *logits, int32_t vocab, int32_t id, phlox_token_info *token,
                 phlox_token_info *top, size_t top_count)
{
    const double log_sum = px_log_sum_exp(logits, vocab);
    *token = (phlox_token_info){id, (float)(logits[id] - log_sum)};
    size_t count = 0;
    for (int32_t i = 0; i < vocab && top_count; i++) {
        const float logprob = (float)(logits[i] - log_sum);
        if (count == top_count && logprob <= top[count - 1].logprob) continue;
        size_t place = count < top_count ? count++ : count - 1;
        for (; place > 0 && top[place - 1].logprob < logprob; place--) top[place] = top[place - 1];
        top[place] = (phlox_token_info){i, logprob};
    }
}
