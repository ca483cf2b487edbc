/* The sampler against a plain one that is written here from the definitions: which ids can be
 * drawn, and how often they are. */
#include "support.h"

#include "generate/sampler.h"

enum { VOCAB = 40, DRAWS = 20000 };

static phlox_generate_options plain(void)
{
    return (phlox_generate_options){.struct_size = sizeof(phlox_generate_options),
                                    .do_sample = true, .temperature = 1, .top_p = 1,
                                    .repetition_penalty = 1};
}

static void random_logits(uint64_t seed, float *logits)
{
    for (int i = 0; i < VOCAB; i++) logits[i] = 4 * test_random_float(&seed);
}

typedef struct history {
    int32_t ids[32];
    size_t count, generated;
} history;

/* ---- the definitions ----------------------------------------------------------------------- */

static void penalise(const phlox_generate_options *o, const history *h, const float *logits,
                     float *out)
{
    for (int id = 0; id < VOCAB; id++) {
        bool seen = false;
        int made = 0;
        for (size_t i = 0; i < h->count; i++) {
            seen |= h->ids[i] == id;
            made += h->ids[i] == id && i >= h->count - h->generated;
        }
        out[id] = logits[id];
        if (seen && out[id] > 0) out[id] /= (float)o->repetition_penalty;
        else if (seen) out[id] *= (float)o->repetition_penalty;
        if (made) out[id] -= (float)(o->presence_penalty + o->frequency_penalty * made);
    }
}

static int better(const float *logits, int a, int b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* Probability of every id: temperature, top-k, top-p of what is left, min-p of the best. */
static void distribution(const phlox_generate_options *o, const history *h, const float *raw,
                         double *p)
{
    float logits[VOCAB];
    int order[VOCAB];
    penalise(o, h, raw, logits);
    for (int i = 0; i < VOCAB; i++) {
        int place = 0;
        for (int j = 0; j < VOCAB; j++) place += j != i && better(logits, j, i);
        order[place] = i;
    }
    int kept = o->top_k ? PX_MIN(o->top_k, VOCAB) : VOCAB;
    double weight[VOCAB], total = 0, before = 0;
    for (int i = 0; i < kept; i++) {
        weight[i] = exp(((double)logits[order[i]] - (double)logits[order[0]]) / o->temperature);
        total += weight[i];
    }
    int share = 0;
    for (; share < kept && (share == 0 || before < o->top_p * total); share++)
        before += weight[share];
    for (kept = share; kept > 1 && weight[kept - 1] < o->min_p * weight[0];) kept--;
    total = 0;
    for (int i = 0; i < kept; i++) total += weight[i];
    for (int i = 0; i < VOCAB; i++) p[i] = 0;
    for (int i = 0; i < kept; i++) p[order[i]] = weight[i] / total;
}

/* ---- drawing ------------------------------------------------------------------------------- */

static void check_distribution(const char *name, const phlox_generate_options *o, const history *h,
                               const float *logits)
{
    double p[VOCAB];
    int drawn[VOCAB] = {0};
    distribution(o, h, logits, p);
    px_sampler *sampler = NULL;
    phlox_error error;
    MUST(px_sampler_create(o, VOCAB, &sampler, &error));
    for (int i = 0; i < DRAWS; i++) {
        const int32_t id = px_sampler_next(sampler, logits, h->ids, h->count, h->generated);
        assert_in_range(id, 0, VOCAB - 1);
        drawn[id]++;
    }
    px_sampler_free(sampler);
    for (int id = 0; id < VOCAB; id++) {
        const double wanted = p[id] * DRAWS, spread = sqrt(wanted * (1 - p[id]));
        if (p[id] == 0 ? drawn[id] != 0 : fabs(drawn[id] - wanted) > 5 * spread + 2)
            fail_msg("%s: %d drawn %d times, expected %g", name, id, drawn[id], wanted);
    }
}

static void draws_what_is_defined(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double temperature, top_p, min_p, repetition, presence, frequency;
        int32_t top_k;
    } cases[] = {
        {"plain", 1, 1, 0, 1, 0, 0, 0},
        {"hot", 3, 1, 0, 1, 0, 0, 0},
        {"cold", 0.3, 1, 0, 1, 0, 0, 0},
        {"coldest", 1e-6, 1, 0, 1, 0, 0, 0},
        {"top-k 1", 1, 1, 0, 1, 0, 0, 1},
        {"top-k 5", 1.5, 1, 0, 1, 0, 0, 5},
        {"top-k all", 1, 1, 0, 1, 0, 0, VOCAB},
        {"top-k more than all", 1, 1, 0, 1, 0, 0, 1000},
        {"top-p 0", 1, 0, 0, 1, 0, 0, 0},
        {"top-p 0.5", 1.5, 0.5, 0, 1, 0, 0, 0},
        {"top-p 0.95", 1, 0.95, 0, 1, 0, 0, 0},
        {"min-p 0.1", 1, 1, 0.1, 1, 0, 0, 0},
        {"min-p 1", 1, 1, 1, 1, 0, 0, 0},
        {"min-p and heat", 2, 1, 0.2, 1, 0, 0, 0},
        {"top-k and top-p", 2, 0.6, 0, 1, 0, 0, 8},
        {"top-k and min-p", 1, 1, 0.3, 1, 0, 0, 12},
        {"top-p and min-p", 1.3, 0.8, 0.15, 1, 0, 0, 0},
        {"all three", 1.7, 0.9, 0.1, 1, 0, 0, 20},
        {"repetition", 1, 1, 0, 1.5, 0, 0, 0},
        {"repetition below 1", 1, 1, 0, 0.7, 0, 0, 10},
        {"presence", 1, 1, 0, 1, 1.5, 0, 0},
        {"frequency", 1, 1, 0, 1, 0, 0.6, 0},
        {"negative frequency", 1, 1, 0, 1, 0, -0.5, 0},
        {"everything", 1.2, 0.9, 0.02, 1.2, 0.4, 0.3, 25},
    };
    const history h = {{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3}, 16, 9};
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        phlox_generate_options o = plain();
        o.temperature = cases[i].temperature;
        o.top_p = cases[i].top_p;
        o.min_p = cases[i].min_p;
        o.top_k = cases[i].top_k;
        o.repetition_penalty = cases[i].repetition;
        o.presence_penalty = cases[i].presence;
        o.frequency_penalty = cases[i].frequency;
        o.seed = 100 + i;
        float logits[VOCAB];
        random_logits(i, logits);
        check_distribution(cases[i].name, &o, &h, logits);
    }
}

static int32_t next_of(const phlox_generate_options *o, const float *logits, const history *h)
{
    px_sampler *sampler = NULL;
    phlox_error error;
    MUST(px_sampler_create(o, VOCAB, &sampler, &error));
    const int32_t id = px_sampler_next(sampler, logits, h->ids, h->count, h->generated);
    px_sampler_free(sampler);
    return id;
}

static void ties_go_to_the_smaller_id(void **state)
{
    (void)state;
    const history none = {{0}, 0, 0};
    float logits[VOCAB];
    for (int i = 0; i < VOCAB; i++) logits[i] = -1;
    logits[7] = logits[12] = logits[30] = 2;
    phlox_generate_options o = plain();
    o.do_sample = false;
    assert_int_equal(next_of(&o, logits, &none), 7);
    o.do_sample = true;
    o.temperature = 0;
    assert_int_equal(next_of(&o, logits, &none), 7);
    o.temperature = 1;
    o.top_k = 2;
    check_distribution("two of three", &o, &none, logits);
    o.top_k = 0;
    o.min_p = 1;
    check_distribution("three of three", &o, &none, logits);
    for (int i = 0; i < VOCAB; i++) logits[i] = 0.25f;
    o.min_p = 0;
    check_distribution("all the same", &o, &none, logits);
    o.top_p = 0.51;
    check_distribution("half of the same", &o, &none, logits);
}

static void greedy_heeds_the_penalties(void **state)
{
    (void)state;
    float logits[VOCAB];
    random_logits(5, logits);
    logits[10] = 5;
    logits[11] = 4.9f;
    phlox_generate_options o = plain();
    o.do_sample = false;
    const history h = {{10, 3, 10}, 3, 1};
    assert_int_equal(next_of(&o, logits, &h), 10);
    o.repetition_penalty = 1.1;
    assert_int_equal(next_of(&o, logits, &h), 11);
    o.repetition_penalty = 1;
    o.presence_penalty = 0.2;
    assert_int_equal(next_of(&o, logits, &h), 11);
    const history prompt = {{10, 10, 3}, 3, 1}; /* not generated, only seen */
    assert_int_equal(next_of(&o, logits, &prompt), 10);
    o.presence_penalty = 0;
    o.frequency_penalty = 0.06;
    assert_int_equal(next_of(&o, logits, &h), 10);
    const history twice = {{3, 10, 10}, 3, 2};
    assert_int_equal(next_of(&o, logits, &twice), 11);
    /* A negative logit is multiplied. */
    for (int i = 0; i < VOCAB; i++) logits[i] = -3;
    logits[1] = -1;
    logits[2] = -1.05f;
    o = plain();
    o.do_sample = false;
    o.repetition_penalty = 1.1;
    const history one = {{1}, 1, 0};
    assert_int_equal(next_of(&o, logits, &one), 2);
}

static void same_seed_same_ids(void **state)
{
    (void)state;
    float logits[VOCAB];
    random_logits(9, logits);
    phlox_generate_options o = plain();
    const history none = {{0}, 0, 0};
    int32_t first[50];
    for (int round = 0; round < 3; round++) {
        o.seed = round < 2 ? 77 : 78;
        px_sampler *sampler = NULL;
        phlox_error error;
        MUST(px_sampler_create(&o, VOCAB, &sampler, &error));
        int same = 0;
        for (int i = 0; i < 50; i++) {
            const int32_t id = px_sampler_next(sampler, logits, none.ids, 0, 0);
            if (round == 0) first[i] = id;
            same += first[i] == id;
        }
        px_sampler_free(sampler);
        if (round < 2) assert_int_equal(same, 50);
        else assert_true(same < 50);
    }
    px_sampler_free(NULL);
}

static void log_probabilities(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        float logits[VOCAB];
        random_logits(seed, logits);
        /* Large offsets and outliers do not overflow. */
        for (int i = 0; i < VOCAB; i++) logits[i] += seed % 2 ? 1000 : -1000;
        if (seed > 15) logits[5] += 300;
        logits[20] = logits[21] = logits[22];
        double most = -INFINITY, sum = 0;
        for (int i = 0; i < VOCAB; i++) most = fmax(most, (double)logits[i]);
        for (int i = 0; i < VOCAB; i++) sum += exp((double)logits[i] - most);
        for (size_t count = 0; count <= 20; count += 5) {
            phlox_token_info token = {0}, top[PHLOX_MAX_TOP_LOGPROBS + 1];
            top[count] = (phlox_token_info){-7, -7};
            const int32_t id = (int32_t)seed;
            px_logprobs(logits, VOCAB, id, &token, top, count);
            assert_int_equal(token.id, id);
            const double wanted = (double)logits[id] - most - log(sum);
            assert_true(fabs((double)token.logprob - wanted) <= 1e-4);
            assert_true(top[count].id == -7);
            bool used[VOCAB] = {false};
            for (size_t place = 0; place < count; place++) {
                int best = -1;
                for (int i = 0; i < VOCAB; i++)
                    if (!used[i] && (best < 0 || logits[i] > logits[best])) best = i;
                used[best] = true;
                assert_int_equal(top[place].id, best);
                assert_true(fabs((double)top[place].logprob -
                                 ((double)logits[best] - most - log(sum))) <= 1e-4);
            }
        }
    }
    /* More than there are. */
    const float two[] = {1, 3};
    phlox_token_info token, top[2];
    px_logprobs(two, 2, 0, &token, top, 2);
    assert_true(top[0].id == 1 && top[1].id == 0);
    assert_true(fabs((double)token.logprob + 2.1269280110429727) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_what_is_defined),      cmocka_unit_test(ties_go_to_the_smaller_id),
        cmocka_unit_test(greedy_heeds_the_penalties), cmocka_unit_test(same_seed_same_ids),
        cmocka_unit_test(log_probabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
