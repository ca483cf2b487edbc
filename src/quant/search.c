/*
 * int4 by search. Of a group x the integers q and the scale d shall make sum (x - d q)^2 small. For
 * given integers the best scale is d = sum x q / sum q^2, and the error that remains is
 * sum x^2 - F with F = (sum x q)^2 / sum q^2. So many scales are tried for the integers that they
 * give, and the integers with the largest F win, with their own best scale.
 *
 * Here the zero point is a number z from 0 to 15 for symmetric weights too: integers from -z to
 * 15 - z. z = 8 is a positive scale, and z = 7 a negative one with its signs turned round.
 */
#include "quant/group.h"

#include <math.h>

enum { TRIALS = 8, LEVELS = 15 };

/* Adding and subtracting this rounds |x| < 2^22 half to even. */
#define ROUND_MAGIC 0x1.8p23f

/* Inverse scales are tried in runs of TRIALS, from FIRST times the one that clips nothing up. The
 * next run, RUN times as far, follows while the best is at the end: long rows with heavy tails are
 * clipped hard. At last a run in small steps goes over what is around the best. */
#define FIRST 0.93f
#define RUN 1.5f
#define STEP 1.0519896f      /* STEP^TRIALS = RUN */
#define FINE_STEP 1.0128f
#define FINE_FIRST 0.956445f /* FINE_STEP^-((TRIALS - 1) / 2) */

enum { MOST_RUNS = 6 };

struct search {
    const weight_group *group;
    value_range range;
    bool is_sparse; /* a few values outweigh all others: their ratio decides, at any level */
};

struct found {
    float gain;    /* F */
    float inverse; /* of the scale */
    int zero;
};

/* One set of trials side by side, so that they fill the lanes of vectors. */
struct trials {
    float inverse[TRIALS];  /* of the scale */
    float products[TRIALS]; /* sum of x q */
    float squares[TRIALS];  /* sum of q^2 */
};

/* ---- trials -------------------------------------------------------------------------------- */

static inline void add_value(float x, float inverse, float low, float high, float *product,
                             float *square)
{
    float level = x * inverse;
    level = level < low ? low : level;
    level = level > high ? high : level;
    const float q = level + ROUND_MAGIC - ROUND_MAGIC;
    *product += x * q;
    *square += q * q;
}

/* Four values, so that the sums are loaded and stored once for them. */
static void add_values(const float *restrict x, float low, float high,
                       struct trials *restrict trials)
{
    const float a = x[0], b = x[1], c = x[2], d = x[3];
    for (int i = 0; i < TRIALS; i++) {
        const float inverse = trials->inverse[i];
        float product = trials->products[i], square = trials->squares[i];
        add_value(a, inverse, low, high, &product, &square);
        add_value(b, inverse, low, high, &product, &square);
        add_value(c, inverse, low, high, &product, &square);
        add_value(d, inverse, low, high, &product, &square);
        trials->products[i] = product;
        trials->squares[i] = square;
    }
}

/* Tries `first`, `first` * step and so on. Returns the trial that was best when it beats *best, which
 * then becomes it; else -1. */
static int try_inverses(const weight_group *g, int zero, float first, float step,
                        struct found *best)
{
    struct trials trials = {.products = {0}};
    for (int i = 0; i < TRIALS; i++, first *= step) trials.inverse[i] = first;
    const size_t size = px_float_size(g->type);
    const float low = (float)-zero, high = (float)(LEVELS - zero);
    for (size_t done = 0; done < g->count; done += BLOCK) {
        float x[BLOCK];
        const size_t count = g->count - done < BLOCK ? g->count - done : BLOCK;
        px_load_block(g->type, g->source + done * size, count, x);
        for (size_t i = 0; i < count; i += 4) add_values(x + i, low, high, &trials);
    }
    int index = -1;
    for (int i = 0; i < TRIALS; i++) {
        const float product = trials.products[i], square = trials.squares[i];
        if (!(product > 0)) continue;
        const float gain = product * product / square;
        if (!(gain > best->gain)) continue;
        *best = (struct found){gain, square / product, zero};
        index = i;
    }
    return index;
}

static struct found try_zero(const struct search *s, int zero)
{
    struct found best = {.zero = zero};
    const float low = zero ? s->range.low / (float)-zero : 0;
    const float high = zero < LEVELS ? s->range.high / (float)(LEVELS - zero) : 0;
    const float full = low > high ? low : high; /* the scale that clips nothing */
    if (!(full > 0)) return best;
    const float first = FIRST / full;
    float inverse = first;
    for (int run = 0; run < MOST_RUNS; run++, inverse *= RUN)
        if (try_inverses(s->group, zero, inverse, STEP, &best) < TRIALS - 2) break;
    if (s->is_sparse) {
        try_inverses(s->group, zero, first / RUN, STEP, &best);
        try_inverses(s->group, zero, first / (RUN * RUN), STEP, &best);
    }
    return best;
}

/* ---- the group ----------------------------------------------------------------------------- */

static double error_values(const group_params *params, double stored, const float *restrict x,
                           size_t count)
{
    double squares[4] = {0};
    for (size_t i = 0; i < count; i += 4) {
        for (int lane = 0; lane < 4; lane++) {
            float level = x[i + lane] / params->scale;
            level += params->zero;
            level = level < params->low ? params->low : level;
            level = level > params->high ? params->high : level;
            const float q = level + ROUND_MAGIC - ROUND_MAGIC - params->zero;
            const double difference = (double)x[i + lane] - stored * (double)q;
            squares[lane] += difference * difference;
        }
    }
    return (squares[0] + squares[1]) + (squares[2] + squares[3]);
}

/* The squared error that is left when the scale is stored as a float16. */
static double error_of(const weight_group *g, const group_params *params)
{
    const size_t size = px_float_size(g->type);
    const double stored = (double)px_f16_to_f32(px_f32_to_f16(params->scale));
    double sum = 0;
    for (size_t done = 0; done < g->count; done += BLOCK) {
        float x[BLOCK];
        const size_t count = g->count - done < BLOCK ? g->count - done : BLOCK;
        px_load_block(g->type, g->source + done * size, count, x);
        sum += error_values(params, stored, x, count);
    }
    return sum;
}

static float square_sum(const weight_group *g)
{
    const size_t size = px_float_size(g->type);
    float sums[8] = {0};
    for (size_t done = 0; done < g->count; done += BLOCK) {
        float x[BLOCK];
        const size_t count = g->count - done < BLOCK ? g->count - done : BLOCK;
        px_load_block(g->type, g->source + done * size, count, x);
        for (size_t i = 0; i < BLOCK; i += 8)
            for (int lane = 0; lane < 8; lane++) sums[lane] += x[i + lane] * x[i + lane];
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/* When both signs are as good, the one that has a level more for the largest magnitude. */
static struct found search_symmetric(const struct search *s, bool prefers_negative)
{
    const struct found negative = try_zero(s, 7), positive = try_zero(s, 8);
    if (negative.gain == positive.gain) return prefers_negative ? negative : positive;
    return negative.gain > positive.gain ? negative : positive;
}

/* From NNCF's zero point on, in the direction in which the error falls. */
static struct found search_asymmetric(const struct search *s, int zero)
{
    struct found best = try_zero(s, zero);
    for (int direction = -1; direction <= 1; direction += 2) {
        for (int z = zero + direction; z >= 0 && z <= LEVELS; z += direction) {
            const struct found next = try_zero(s, z);
            if (next.gain <= best.gain) break;
            best = next;
        }
        if (best.zero != zero) break;
    }
    return best;
}

static group_params params_of(const struct found *found, bool symmetric, float scale)
{
    if (symmetric)
        return (group_params){.scale = found->zero == 7 ? -scale : scale, .low = -8, .high = 7};
    return (group_params){.scale = scale, .zero = (float)found->zero, .high = LEVELS};
}

group_params px_search_int4(const weight_group *g, value_range range, bool symmetric,
                            group_params nncf)
{
    const float largest = range.high > -range.low ? range.high : -range.low;
    /* Half the smallest float16: no scale is better than zeros. */
    if (!(largest > 0x1p-25f)) return nncf;
    const struct search s = {g, range, square_sum(g) < 4 * largest * largest};
    struct found best = symmetric ? search_symmetric(&s, nncf.scale < 0)
                                  : search_asymmetric(&s, (int)nncf.zero);
    if (!(best.gain > 0)) return nncf;
    try_inverses(g, best.zero, best.inverse * FINE_FIRST, FINE_STEP, &best);

    const float scale = px_f16_to_f32(px_f32_to_f16(1 / best.inverse));
    if (!(scale > 0) || !isfinite(scale)) return nncf;
    const group_params params = params_of(&best, symmetric, scale);
    return error_of(g, &params) < error_of(g, &nncf) ? params : nncf;
}
