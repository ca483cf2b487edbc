/* How many tokens to draft, on a clock that the test turns: what is lost where no draft is right stays
 * within the bound, and where drafts are right the choice comes near the best. `--bench MODEL [CPU-MASK
 * [DEPTH]]` times steps of 1 to 8 tokens instead, and generation whose drafts are always right, or wrong. */
#include "support.h"

#include "base/os.h"
#include "generate/session.h"

#include <phlox/tools.h>

/* Seconds of a step of n tokens: t[1] is 1. */
typedef struct machine {
    const char *name;
    double seconds[PX_MOST_STEP + 1];
} machine;

static const machine machines[] = {
    {"memory bound", {0, 1, 1.02, 1.04, 1.06, 1.08, 1.1, 1.12, 1.14}},
    {"in between", {0, 1, 1.1, 1.25, 1.5, 1.9, 2.3, 2.7, 3.1}},
    {"a step up", {0, 1, 1.1, 1.15, 1.2, 2, 2.1, 2.15, 2.2}},
    {"compute bound", {0, 1, 1.8, 2.6, 3.4, 4.2, 5, 5.8, 6.6}},
    {"no gain", {0, 1, 2, 3, 4, 5, 6, 7, 8}},
};

/* A text: how often there is a match, of which length, and how often a drafted token is right. */
typedef struct text {
    double matches, right;
    size_t length;
} text;

typedef struct run {
    px_step_costs costs;
    px_speculator speculator;
    uint64_t random;
    double seconds, tokens, noise;
    size_t drafted, steps;
} run;

static double chance(uint64_t *random)
{
    return (double)(test_random(random) >> 11) * 0x1p-53;
}

static run begin(uint64_t seed)
{
    return (run){.random = seed};
}

/* A step: `forced` tokens are drafted, or as many as the speculator chooses (-1). */
static void step(run *r, const machine *m, const text *t, int forced)
{
    px_speculation s = {.match = t->length};
    if (chance(&r->random) < t->matches)
        s.drafted = forced >= 0 ? (size_t)forced
                                : px_speculator_choose(&r->speculator, t->length, PX_MOST_DRAFT);
    assert_true(s.drafted <= PX_MOST_DRAFT);
    while (s.accepted < s.drafted && chance(&r->random) < t->right) s.accepted++;
    s.judged = PX_MIN(s.accepted + 1, s.drafted);
    s.seconds = m->seconds[s.drafted + 1];
    if (r->noise > 0) s.seconds *= 1 + r->noise * chance(&r->random);
    r->seconds += s.seconds;
    r->tokens += (double)(s.accepted + 1);
    r->drafted += s.drafted;
    r->steps++;
    px_speculator_learn(&r->speculator, &s);
}

static void play(run *r, const machine *m, const text *t, double tokens, int forced)
{
    if (!r->speculator.costs) px_speculator_init(&r->speculator, &r->costs);
    const double end = r->tokens + tokens;
    while (r->tokens < end) step(r, m, t, forced);
}

/* At most a hundredth and two steps are lost, whatever the machine, however long the text. */
static void nothing_is_right(void **state)
{
    (void)state;
    static const double lengths[] = {20, 100, 1000, 20000};
    for (size_t m = 0; m < PX_COUNT(machines); m++) {
        for (size_t i = 0; i < PX_COUNT(lengths); i++) {
            for (size_t match = PX_LEAST_MATCH; match <= PX_MOST_MATCH; match += 6) {
                run r = begin(i);
                const text never = {0.9, 0, match};
                play(&r, &machines[m], &never, lengths[i], -1);
                if (r.seconds > 1.011 * r.tokens + 2)
                    fail_msg("%s, %g tokens, matches of %zu: %g steps' time", machines[m].name,
                             r.tokens, match, r.seconds);
                assert_true(r.drafted > 0); /* it is tried now and then */
            }
        }
    }
}

/* Where drafts are right, at most a tenth more than with the best constant number. */
static void near_the_best(void **state)
{
    (void)state;
    static const double rights[] = {0.3, 0.5, 0.7, 0.9, 1};
    for (size_t m = 0; m < PX_COUNT(machines); m++) {
        for (size_t i = 0; i < PX_COUNT(rights); i++) {
            const text t = {1, rights[i], 6};
            double best = INFINITY;
            for (int forced = 0; forced <= PX_MOST_DRAFT; forced++) {
                run r = begin(1);
                play(&r, &machines[m], &t, 20000, forced);
                best = PX_MIN(best, r.seconds / r.tokens);
            }
            run r = begin(1);
            play(&r, &machines[m], &t, 3000, -1);
            if (r.seconds / r.tokens > 1.1 * best)
                fail_msg("%s, %g right: %g a token, the best is %g", machines[m].name, rights[i],
                         r.seconds / r.tokens, best);
        }
    }
}

/* A text that repeats for a while, and not for a while. */
static void changing_text(void **state)
{
    (void)state;
    static const text copies = {1, 0.97, 25}, talks = {0.3, 0.1, 3};
    for (size_t m = 0; m < PX_COUNT(machines); m++) {
        run r = begin(2);
        double copied = 0;
        for (int round = 0; round < 40; round++) {
            const double before = r.seconds;
            play(&r, &machines[m], round % 2 ? &copies : &talks, 200, -1);
            if (round % 2) copied += r.seconds - before;
        }
        assert_true(r.seconds <= 1.01 * r.tokens + 2);
        /* On the copies most of what the machine allows is gained. */
        const double best = machines[m].seconds[PX_MOST_STEP] / PX_MOST_STEP;
        if (copied > 20 * 200 * (0.15 + 1.2 * best))
            fail_msg("%s: %g a copied token, the best is %g", machines[m].name, copied / 4000, best);
    }
}

/* Times that scatter, and now and then a step that takes fifty times as long. */
static void disturbances(void **state)
{
    (void)state;
    static const text never = {1, 0, 10}, copies = {1, 0.97, 25};
    for (size_t m = 0; m < 3; m++) {
        machine slow = machines[m];
        for (int n = 1; n <= PX_MOST_STEP; n++) slow.seconds[n] *= 50;
        run r = begin(m), plain = begin(m);
        r.noise = plain.noise = 0.5;
        for (int i = 0; i < 50; i++) {
            play(&r, &machines[m], &never, 40, -1);
            play(&plain, &machines[m], &never, 40, 0);
            play(&r, &slow, &never, 1, -1);
            play(&plain, &slow, &never, 1, 0);
        }
        assert_true(r.seconds <= 1.05 * plain.seconds);
        const double before = r.seconds, tokens = r.tokens;
        play(&r, &machines[m], &copies, 1000, -1);
        assert_true((r.seconds - before) / (r.tokens - tokens) < 0.8);
    }
}

static void starts_carefully(void **state)
{
    (void)state;
    px_step_costs costs = {0};
    px_speculator s;
    px_speculator_init(&s, &costs);
    assert_int_equal(px_speculator_choose(&s, 30, 7), 0); /* what one token costs is not known */
    const px_speculation plain = {.seconds = 0.1};
    px_speculator_learn(&s, &plain);
    assert_int_equal(px_speculator_choose(&s, 30, 7), 1); /* two tokens could cost two steps */
    assert_int_equal(px_speculator_choose(&s, 30, 0), 0);
    px_speculation good = {.match = 30, .drafted = 1, .accepted = 1, .judged = 1, .seconds = 0.11};
    px_speculator_learn(&s, &good);
    assert_int_equal(px_speculator_choose(&s, 30, 7), 3); /* at most twice what is known */
    assert_int_equal(px_speculator_choose(&s, 30, 2), 2);
    good = (px_speculation){30, 3, 3, 3, 0.13};
    px_speculator_learn(&s, &good);
    assert_int_equal(px_speculator_choose(&s, 30, 7), 7);
    /* Another session of the model knows the costs, once it knows its own step. */
    px_speculator other;
    px_speculator_init(&other, &costs);
    assert_int_equal(px_speculator_choose(&other, 30, 7), 0);
    px_speculator_learn(&other, &plain);
    assert_int_equal(px_speculator_choose(&other, 30, 7), 7);
    /* A step of unknown time, as one that filled the cache again, teaches no cost. */
    const px_speculation unknown = {.match = 30, .drafted = 7, .accepted = 0, .judged = 1};
    const double credit = other.credit;
    px_speculator_learn(&other, &unknown);
    assert_true(other.credit == credit);
}

/* ---- the bench ----------------------------------------------------------------------------- */

enum { ROUNDS = 9, NEW_TOKENS = 64 };

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The best and the median of steps of n tokens behind what the session has, the numbers taking turns. */
static void bench_costs(phlox_session *session, size_t vocab)
{
    static double seconds[PX_MOST_STEP + 1][ROUNDS];
    float *all = calloc(PX_MOST_STEP * vocab, sizeof *all);
    assert_non_null(all);
    size_t depth;
    phlox_session_ids(session, &depth);
    phlox_error error;
    for (int round = -1; round < ROUNDS; round++) {
        for (size_t n = 1; n <= PX_MOST_STEP; n++) {
            int32_t ids[PX_MOST_STEP];
            for (size_t i = 0; i < n; i++) ids[i] = (int32_t)(11 + 37 * i);
            const double start = px_seconds();
            MUST(phlox_session_append(session, ids, n, all, NULL, NULL, &error));
            if (round >= 0) seconds[n][round] = px_seconds() - start;
            MUST(phlox_session_truncate(session, depth, &error));
        }
    }
    for (size_t n = 1; n <= PX_MOST_STEP; n++) {
        qsort(seconds[n], ROUNDS, sizeof seconds[n][0], compare);
        printf("%zu tokens: %7.2f ms, %.2f steps; median %7.2f ms\n", n, 1e3 * seconds[n][0],
               seconds[n][0] / seconds[1][0], 1e3 * seconds[n][ROUNDS / 2]);
    }
    free(all);
}

struct known {
    const int32_t *ids; /* what follows the prompt of `count` ids */
    size_t count;
    bool lie;
};

static size_t draft_known(void *user, const px_ids *ids, size_t most, int32_t *draft, size_t *match)
{
    const struct known *const known = user;
    memcpy(draft, known->ids + (ids->count - known->count), most * sizeof *draft);
    if (known->lie) draft[0] = draft[0] == 5 ? 6 : 5;
    *match = 10;
    return most;
}

/* Generation behind what the session has, with drafts of up to `most` tokens (-1: as many as pay; 0:
 * none, to see what the right ones are). They are right, or `lie` at the first. */
static void bench_drafts(phlox_model *model, phlox_session *session, int32_t most, bool lie,
                         int32_t *made)
{
    phlox_generate_options options;
    phlox_generate_options_init(&options, model);
    options.do_sample = false;
    options.ignore_eos = true;
    options.max_new_tokens = NEW_TOKENS;
    options.speculate = most;
    struct known known = {.ids = made, .lie = lie};
    phlox_session_ids(session, &known.count);
    session->draft = most ? draft_known : NULL;
    session->draft_user = &known;
    px_speculator_init(&session->speculator, session->runtime->step_costs);
    phlox_error error;
    phlox_statistics before, after;
    phlox_session_statistics(session, &before);
    const double start = px_seconds();
    MUST(phlox_session_generate(session, &options, NULL, NULL, NULL, &error));
    const double seconds = px_seconds() - start;
    phlox_session_statistics(session, &after);
    if (most) assert_memory_equal(session->ids.data + known.count, made, NEW_TOKENS * sizeof *made);
    else memcpy(made, session->ids.data + known.count, NEW_TOKENS * sizeof *made);
    printf("%2d drafted, %s: %6.2f tok/s, %llu of %llu accepted\n", most, lie ? "wrong" : "right",
           NEW_TOKENS / seconds,
           (unsigned long long)(after.accepted_tokens - before.accepted_tokens),
           (unsigned long long)(after.drafted_tokens - before.drafted_tokens));
    MUST(phlox_session_truncate(session, known.count, &error));
}

static int bench(const char *path, const char *mask, size_t depth)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    phlox_error error;
    if (mask[0]) MUST(phlox_model_options_set(&options, "cpu-mask", mask, &error));
    phlox_model *model = NULL;
    MUST(phlox_model_open(strcmp(path, "built-in") ? path : NULL, &options, &model, &error));
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    printf("%s, %d threads, %s, behind %zu tokens\n", info.kernels, info.threads, info.weights,
           depth);
    int32_t *ids = calloc(depth, sizeof *ids), made[NEW_TOKENS];
    assert_non_null(ids);
    for (size_t i = 0; i < depth; i++) ids[i] = (int32_t)(3 + i * 37 % 1000);
    phlox_session *session = NULL;
    MUST(phlox_session_create(model, &session, &error));
    MUST(phlox_session_append(session, ids, depth, NULL, NULL, NULL, &error));
    bench_costs(session, (size_t)info.vocab_size);
    static const struct {
        int32_t most;
        bool lie;
    } runs[] = {{0, false}, {1, false}, {3, false}, {5, false}, {7, false}, {-1, false},
                {0, false}, {-1, true}, {0, false}, {-1, true}};
    for (size_t i = 0; i < PX_COUNT(runs); i++)
        bench_drafts(model, session, runs[i].most, runs[i].lie, made);
    phlox_session_close(&session);
    phlox_model_close(&model);
    free(ids);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--bench") == 0)
        return bench(argv[2], argc > 3 ? argv[3] : "", argc > 4 ? strtoul(argv[4], NULL, 10) : 32);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_right),
        cmocka_unit_test(near_the_best),
        cmocka_unit_test(changing_text),
        cmocka_unit_test(disturbances),
        cmocka_unit_test(starts_carefully),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
