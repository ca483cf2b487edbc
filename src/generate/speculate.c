#include "generate/speculate.h"

#include <stdatomic.h>

static const double first_credit = 2, most_credit = 8; /* steps of one token */
static const double share = 0.01; /* of the time that speculation may lose */
/* How much one more measurement counts, and a guess in measurements. */
static const double plain_weight = 0.125, cost_weight = 0.25, acceptance_weight = 0.0625;
static const double guess_count = 2;

enum { TRIAL_DISTANCE = 16 /* steps of one token between drafts that should not pay */ };

/* Lengths with the same class have their acceptance measured together. */
static size_t class_of(size_t length)
{
    static const size_t begins[PX_MATCH_CLASSES] = {2, 3, 4, 5, 6, 8, 12, 20};
    size_t class = PX_MATCH_CLASSES - 1;
    while (class && length < begins[class]) class--;
    return class;
}

void px_speculator_init(px_speculator *speculator, px_step_costs *costs)
{
    *speculator = (px_speculator){.costs = costs, .credit = first_credit};
    speculator->plain_steps = TRIAL_DISTANCE; /* the first trial need not wait */
    /* Before anything is known, the longer the match the better. */
    static const double guesses[PX_MATCH_CLASSES] = {0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9};
    for (size_t i = 0; i < PX_MATCH_CLASSES; i++) speculator->acceptance[i] = guesses[i];
}

/* Time of a step of n tokens over that of one. Between measured numbers of tokens it is a line, behind
 * the last one too; when none is measured a step of n costs n steps. */
static double cost_of(const double *measured, size_t n)
{
    size_t below = n, above = n;
    while (below > 1 && !(measured[below] > 0)) below--;
    while (above <= PX_MOST_STEP && !(measured[above] > 0)) above++;
    if (below == above) return measured[n];
    const double low = below > 1 ? measured[below] : 1;
    double slope = 1;
    if (above <= PX_MOST_STEP) slope = (measured[above] - low) / (double)(above - below);
    else if (below > 1) slope = (low - 1) / (double)(below - 1);
    return low + PX_MAX(slope, 0) * (double)(n - below);
}

/* Copies the measured costs; the largest measured number of tokens. */
static size_t read_costs(px_step_costs *costs, double *measured)
{
    size_t largest = 1;
    measured[0] = 0;
    measured[1] = 1;
    for (size_t n = 2; n <= PX_MOST_STEP; n++) {
        measured[n] = atomic_load_explicit(&costs->ratio[n], memory_order_relaxed);
        if (measured[n] > 0) largest = n;
    }
    return largest;
}

size_t px_speculator_choose(const px_speculator *s, size_t match, size_t most)
{
    double measured[PX_MOST_STEP + 1];
    /* A step is tried with at most twice the tokens of what is known. */
    const size_t longest = 2 * read_costs(s->costs, measured) - 1;
    most = PX_MIN(PX_MIN(most, longest), (size_t)PX_MOST_DRAFT);
    if (!most || !(s->plain_seconds > 0)) return 0;
    size_t best = 0;
    double best_rate = 1, expected = 1, reached = 1;
    for (size_t drafted = 1; drafted <= most; drafted++) {
        const double cost = cost_of(measured, drafted + 1);
        if (cost - 1 > s->credit) break; /* what is lost when nothing is accepted */
        reached *= s->acceptance[class_of(match + drafted - 1)];
        expected += reached;
        if (expected / cost <= best_rate) continue;
        best_rate = expected / cost;
        best = drafted;
    }
    const bool may_try = s->plain_steps >= TRIAL_DISTANCE && cost_of(measured, 2) - 1 <= s->credit;
    return best || !may_try ? best : 1;
}

static void approach(double *average, double value, double weight)
{
    *average += (value - *average) * weight;
}

static void learn_cost(px_step_costs *costs, size_t tokens, double ratio)
{
    double average = atomic_load_explicit(&costs->ratio[tokens], memory_order_relaxed);
    if (average > 0) approach(&average, ratio, cost_weight);
    else average = ratio;
    atomic_store_explicit(&costs->ratio[tokens], average, memory_order_relaxed);
}

static void learn_acceptance(px_speculator *s, size_t match, bool accepted)
{
    const size_t class = class_of(match);
    const double weight = 1 / (guess_count + (double)++s->judged[class]);
    approach(&s->acceptance[class], accepted, PX_MAX(weight, acceptance_weight));
}

void px_speculator_learn(px_speculator *s, const px_speculation *step)
{
    for (size_t i = 0; i < step->judged; i++)
        learn_acceptance(s, step->match + i, i < step->accepted);
    if (!(step->seconds > 0)) return;
    double gain = 0;
    if (!step->drafted) {
        s->plain_steps++;
        if (!(s->plain_seconds > 0)) s->plain_seconds = step->seconds;
        else approach(&s->plain_seconds, PX_MIN(step->seconds, 2 * s->plain_seconds), plain_weight);
    } else if (s->plain_seconds > 0) {
        s->plain_steps = 0;
        /* More than a step for each token is a disturbance of the machine. */
        const double ratio =
            PX_MIN(step->seconds / s->plain_seconds, (double)(step->drafted + 1));
        gain = (double)(step->accepted + 1) - ratio;
        learn_cost(s->costs, step->drafted + 1, ratio);
    }
    if (!(s->plain_seconds > 0)) return;
    s->credit += gain + share * step->seconds / s->plain_seconds;
    s->credit = PX_MIN(s->credit, most_credit);
}
