/*
 * How many tokens to draft. A step of several tokens costs less than as many steps, how much less is
 * measured as the program runs; how often a draft is right is measured by the length of the match it
 * comes from. The choice is the number with the most expected tokens per second. It moves the speed
 * only: whatever is drafted, the text is the same.
 *
 * What speculation may lose is an account in steps of one token: it begins with two, every step pays
 * in a hundredth of its time, every draft that gains pays in its gain (up to a limit) and every one
 * that loses is paid from it. Nothing is drafted that could lose more than there is. So a text on
 * which no draft is ever right takes at most a hundredth longer, and two steps.
 */
#ifndef PX_GENERATE_SPECULATE_H
#define PX_GENERATE_SPECULATE_H

#include "generate/lookup.h"

enum {
    PX_MOST_DRAFT = PHLOX_MAX_DRAFT,
    PX_MOST_STEP = PX_MOST_DRAFT + 1, /* tokens of a step: the last id and the draft behind it */
    PX_MATCH_CLASSES = 8
};

/* What steps of a model cost, shared by its sessions: ratio[n] is the time of a step of n tokens over
 * that of one token; 0: not measured. Start from {0}. */
typedef struct px_step_costs {
    _Atomic double ratio[PX_MOST_STEP + 1];
} px_step_costs;

typedef struct px_speculator {
    px_step_costs *costs;
    double plain_seconds; /* of a step of one token in this session; 0: not measured */
    double credit;        /* steps of one token */
    size_t plain_steps;   /* since the last draft */
    double acceptance[PX_MATCH_CLASSES]; /* of a drafted token, by the length of the match before it */
    size_t judged[PX_MATCH_CLASSES];     /* tokens that say so */
} px_speculator;

/* What came of a step. */
typedef struct px_speculation {
    size_t match;    /* length of the match that the draft came from */
    size_t drafted;  /* 0: a step of one token */
    size_t accepted;
    size_t judged;   /* accepted, and one more when it was refused */
    double seconds;  /* 0: not known */
} px_speculation;

void px_speculator_init(px_speculator *speculator, px_step_costs *costs);

/* How many tokens, at most `most`, to draft behind a match. */
size_t px_speculator_choose(const px_speculator *speculator, size_t match, size_t most);

void px_speculator_learn(px_speculator *speculator, const px_speculation *step);

#endif
