#include "generate/lookup.h"

#include <stdlib.h>

enum { LEAST_CAPACITY = 1024 };

/* Place i is the pair of the ids i - 1 and i. The first id makes none, so that 0 can mean no place. */
struct px_place {
    uint32_t slot, before;
};

void px_lookup_free(px_lookup *lookup)
{
    free(lookup->places);
    free(lookup->newest);
    *lookup = (px_lookup){0};
}

static uint32_t slot_of(const px_lookup *lookup, int32_t first, int32_t second)
{
    const uint64_t pair = (uint64_t)(uint32_t)first << 32 | (uint32_t)second;
    const uint64_t mixed = (pair ^ pair >> 29) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(mixed >> 32 & (lookup->capacity - 1));
}

static void add_place(px_lookup *lookup, const int32_t *ids)
{
    const size_t i = lookup->count++;
    if (!i) return;
    const uint32_t slot = slot_of(lookup, ids[i - 1], ids[i]);
    lookup->places[i] = (struct px_place){slot, lookup->newest[slot]};
    lookup->newest[slot] = (uint32_t)i;
}

/* More places, and slots to go with them: the index begins anew. */
static phlox_status grow(px_lookup *lookup, size_t count, phlox_error *error)
{
    size_t capacity = PX_MAX(lookup->capacity, (size_t)LEAST_CAPACITY);
    while (capacity < count) capacity *= 2;
    px_lookup grown = {
        .places = px_calloc(capacity, sizeof *grown.places),
        .newest = px_calloc(capacity, sizeof *grown.newest),
        .capacity = capacity,
    };
    if (!grown.places || !grown.newest) {
        px_lookup_free(&grown);
        return px_fail_memory(error, px_mul(capacity, sizeof *grown.places));
    }
    px_lookup_free(lookup);
    *lookup = grown;
    return PHLOX_OK;
}

phlox_status px_lookup_extend(px_lookup *lookup, const int32_t *ids, size_t count,
                              phlox_error *error)
{
    if (count > lookup->capacity) PX_TRY(grow(lookup, count, error));
    while (lookup->count < count) add_place(lookup, ids);
    return PHLOX_OK;
}

void px_lookup_truncate(px_lookup *lookup, size_t count)
{
    while (lookup->count > count) {
        const size_t i = --lookup->count;
        if (i) lookup->newest[lookup->places[i].slot] = lookup->places[i].before;
    }
}

/* How many ids up to `place` are those up to `last`. */
static size_t common_length(const int32_t *ids, size_t place, size_t last)
{
    const size_t most = PX_MIN(place + 1, (size_t)PX_MOST_MATCH);
    size_t length = 0;
    while (length < most && ids[place - length] == ids[last - length]) length++;
    return length;
}

px_match px_lookup_find(const px_lookup *lookup, const int32_t *ids)
{
    px_match best = {0, 0};
    if (lookup->count < 2) return best;
    const size_t last = lookup->count - 1;
    size_t place = lookup->places[last].before;
    for (int i = 0; place && i < PX_MOST_PLACES; i++, place = lookup->places[place].before) {
        /* Only who has the id in front of the best match too can be longer. */
        if (place < best.length || ids[place - best.length] != ids[last - best.length]) continue;
        const size_t length = common_length(ids, place, last);
        if (length < PX_LEAST_MATCH || length <= best.length) continue;
        best = (px_match){place + 1, length};
        if (length == PX_MOST_MATCH) break;
    }
    return best;
}

size_t px_lookup_draft(const px_lookup *lookup, const int32_t *ids, px_match match, size_t most,
                       int32_t *draft)
{
    if (!match.length) return 0;
    const size_t behind = lookup->count - match.next; /* ids that followed; at least one */
    for (size_t i = 0; i < most; i++) draft[i] = i < behind ? ids[match.next + i] : draft[i - behind];
    return most;
}
