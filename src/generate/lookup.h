/*
 * Prompt lookup: where the last ids of a text stood before, so that what followed there can be drafted
 * here. An index of pairs of ids, chained from the newest place to the oldest: an id is added and taken
 * off again in constant time, and a search compares a bounded number of places.
 */
#ifndef PX_GENERATE_LOOKUP_H
#define PX_GENERATE_LOOKUP_H

#include "base/memory.h"

enum {
    PX_LEAST_MATCH = 2,     /* ids that must be the same */
    PX_MOST_MATCH = 32,     /* longer matches count as this long */
    PX_MOST_PLACES = 1024   /* that a search looks at, the newest first */
};

/* The index of the first `count` ids of a text. Start from {0}. */
typedef struct px_lookup {
    struct px_place *places; /* [capacity] one for each id: where its pair stood before */
    uint32_t *newest;        /* [slots] the last place of each hash of a pair; 0: none */
    size_t count, capacity;  /* there are as many slots as places, a power of two */
} px_lookup;

typedef struct px_match {
    size_t next;   /* the id that followed */
    size_t length; /* of the match; 0: none */
} px_match;

void px_lookup_free(px_lookup *lookup);

/* Brings the index to the first `count` ids; those that it has already must be unchanged. */
phlox_status px_lookup_extend(px_lookup *lookup, const int32_t *ids, size_t count,
                              phlox_error *error);
/* Makes it the index of the first `count` ids, if it has more. */
void px_lookup_truncate(px_lookup *lookup, size_t count);

/* The longest match of the end of the indexed ids with an earlier place; of equal ones the newest. */
px_match px_lookup_find(const px_lookup *lookup, const int32_t *ids);

/* What followed a match, up to `most` ids. Where that runs into the end of the text it goes on with
 * itself, as a period does. Returns their number. */
size_t px_lookup_draft(const px_lookup *lookup, const int32_t *ids, px_match match, size_t most,
                       int32_t *draft);

#endif
