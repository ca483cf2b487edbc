#include "engine/huge.h"

#include "kernels/probe.h"

#include <math.h>
#include <string.h>

enum {
    FEW_TOKENS = 8,        /* of a sequence: more are prefill */
    FIRST_STEP = 64,       /* decode steps before anything moves by itself: moving has a price, which a
                              short answer does not earn back */
    STEP_BYTES = 128 << 20, /* that move behind a step */
    TRIALS = 3,
    ALIGNMENT = 64
};

static const double worthwhile = 1.03; /* times as fast */

/* ---- the parts of a matrix ----------------------------------------------------------------- */

static size_t padded(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

static size_t weight_bytes(const px_weight *w)
{
    px_place parts[PX_PARTS];
    px_weight_parts(w, parts);
    size_t bytes = 0;
    for (int i = 0; i < PX_PARTS; i++) bytes += padded(parts[i].bytes);
    return bytes;
}

enum { LAYER_WEIGHTS = 4 };

/* The matrices of a layer, or lm_head alone behind the last. Returns how many. */
static int list_weights(const px_huge *h, int64_t layer, px_weight *weights[LAYER_WEIGHTS])
{
    if (layer == h->layer_count) {
        weights[0] = &h->weights->lm_head;
        return 1;
    }
    px_layer_weights *const l = &h->weights->layers[layer];
    weights[0] = &l->qkv;
    weights[1] = &l->o;
    weights[2] = &l->gate_up;
    weights[3] = &l->down;
    return LAYER_WEIGHTS;
}

static size_t layer_bytes(const px_huge *h, int64_t layer)
{
    px_weight *weights[LAYER_WEIGHTS];
    size_t bytes = 0;
    for (int i = list_weights(h, layer, weights); i-- > 0;) bytes += weight_bytes(weights[i]);
    return bytes;
}

/* ---- copying ------------------------------------------------------------------------------- */

/* The matrix as it is when its parts lie at `place`, one after the other. */
static px_weight placed(const px_weight *w, uint8_t *place)
{
    px_place parts[PX_PARTS];
    px_weight_parts(w, parts);
    const void *places[PX_PARTS];
    for (int i = 0; i < PX_PARTS; i++) {
        places[i] = parts[i].bytes ? place : NULL;
        place += padded(parts[i].bytes);
    }
    px_weight moved = *w;
    px_weight_place(&moved, places);
    return moved;
}

struct copy {
    uint8_t *to;
    const uint8_t *from;
};

static void copy_range(void *context, int64_t begin, int64_t end)
{
    const struct copy *const copy = context;
    memcpy(copy->to + begin, copy->from + begin, (size_t)(end - begin));
}

static void copy_parts(const px_huge *h, const px_weight *w, uint8_t *place)
{
    enum { GRAIN = 1 << 16 };
    px_place parts[PX_PARTS];
    px_weight_parts(w, parts);
    for (int i = 0; i < PX_PARTS; i++) {
        struct copy copy = {place, parts[i].data};
        px_pool_for(h->pool, (int64_t)parts[i].bytes, GRAIN, copy_range, &copy);
        place += padded(parts[i].bytes);
    }
}

/* The kernels read `moved` from now on, and the file's pages are let go. */
static void switch_to(px_weights *all, px_weight *w, const px_weight *moved)
{
    px_place parts[PX_PARTS];
    px_weight_parts(w, parts);
    const bool is_tied = w == &all->lm_head && all->embedding.data == w->data;
    *w = *moved;
    if (is_tied) all->embedding = *moved;
    for (int i = 0; i < PX_PARTS; i++) px_map_drop(parts[i].data, parts[i].bytes);
}

/* Layers [first, end), for which `place` is where the first one goes. Returns what is behind them. */
static uint8_t *move(px_huge *h, int64_t first, int64_t end, uint8_t *place, bool copies,
                     bool switches)
{
    for (int64_t layer = first; layer < end; layer++) {
        px_weight *weights[LAYER_WEIGHTS];
        const int count = list_weights(h, layer, weights);
        for (int i = 0; i < count; i++) {
            const size_t bytes = weight_bytes(weights[i]);
            const px_weight moved = placed(weights[i], place);
            if (copies) copy_parts(h, weights[i], place);
            if (switches) switch_to(h->weights, weights[i], &moved);
            place += bytes;
        }
    }
    return place;
}

/* ---- measuring ----------------------------------------------------------------------------- */

struct reading {
    const px_probes *probes;
    const uint8_t *data;
    _Atomic uint64_t sum; /* so that nothing is left out */
};

static void read_range(void *context, int64_t begin, int64_t end)
{
    struct reading *const r = context;
    r->sum ^= r->probes->read(r->data + begin, (size_t)(end - begin), PX_PREFETCH_AHEAD);
}

/* Seconds that reading the matrices of layers [0, end) takes, where they are, or moved to `place`. */
static double read_layers(const px_huge *h, const px_probes *probes, int64_t end, uint8_t *place)
{
    enum { GRAIN = 1 << 16 };
    const double start = px_seconds();
    for (int64_t layer = 0; layer < end; layer++) {
        px_weight *weights[LAYER_WEIGHTS];
        const int count = list_weights(h, layer, weights);
        for (int i = 0; i < count; i++) {
            const px_weight w = place ? placed(weights[i], place) : *weights[i];
            const size_t bytes = weight_bytes(weights[i]);
            const uintptr_t at = ((uintptr_t)w.data + PX_READ_BLOCK - 1) & ~(uintptr_t)(PX_READ_BLOCK - 1);
            struct reading reading = {.probes = probes, .data = (const uint8_t *)at};
            const int64_t whole = w.rows * w.row_bytes / PX_READ_BLOCK - 1;
            px_pool_for(h->pool, whole * PX_READ_BLOCK, GRAIN, read_range, &reading);
            if (place) place += bytes;
        }
    }
    return px_seconds() - start;
}

static bool is_faster(const px_huge *h, int64_t end)
{
    px_probes probes;
    px_probes_init(&probes, h->features);
    double mapped = INFINITY, moved = INFINITY;
    for (int i = 0; i < TRIALS; i++) {
        mapped = fmin(mapped, read_layers(h, &probes, end, NULL));
        moved = fmin(moved, read_layers(h, &probes, end, h->memory));
    }
    return mapped >= moved * worthwhile;
}

/* ---- behind a step ------------------------------------------------------------------------- */

static void rest(px_huge *h)
{
    px_pages_free(h->memory, h->size);
    h->memory = NULL;
    h->state = PX_HUGE_RESTS;
}

/* The end of the layers that move together when `first` is the first of them. */
static int64_t layers_of_step(const px_huge *h, int64_t first)
{
    size_t bytes = 0;
    while (first <= h->layer_count && bytes < h->step_bytes) bytes += layer_bytes(h, first++);
    return first;
}

static void begin(px_huge *h)
{
    h->state = PX_HUGE_RESTS;
    if (!h->is_asked && px_memory_available() < h->size + h->size / 2) return;
    h->before = px_memory_huge();
    h->memory = px_pages_alloc(h->size, true);
    if (!h->memory) return;
    const int64_t end = layers_of_step(h, 0);
    uint8_t *const behind = move(h, 0, end, h->memory, true, false);
    const bool has_pages = px_memory_huge() >= h->before + (uint64_t)(behind - h->memory) / 4 * 3;
    if (!has_pages || (!h->is_asked && !is_faster(h, end))) {
        rest(h);
        return;
    }
    move(h, 0, end, h->memory, false, true);
    h->place = behind;
    h->next = end;
    h->state = PX_HUGE_MOVES;
}

void px_huge_init(px_huge *huge, px_weights *weights, int64_t layer_count, px_pool *pool,
                  uint64_t features, phlox_huge_pages choice)
{
    *huge = (px_huge){.weights = weights, .pool = pool, .layer_count = layer_count,
                      .features = features, .step_bytes = STEP_BYTES,
                      .is_asked = choice == PHLOX_HUGE_ON};
    for (int64_t layer = 0; layer <= layer_count; layer++) huge->size += layer_bytes(huge, layer);
    const bool is_large = huge->size >= huge->step_bytes || huge->is_asked;
    if (choice == PHLOX_HUGE_OFF || weights->memory || !is_large) huge->state = PX_HUGE_RESTS;
}

void px_huge_step(px_huge *h, int64_t tokens)
{
    if (h->state == PX_HUGE_RESTS) return;
    if (h->state == PX_HUGE_WAITS) {
        h->decoded += tokens <= FEW_TOKENS;
        if (h->decoded < (h->is_asked ? 1 : FIRST_STEP)) return;
        begin(h);
    } else {
        const int64_t end = layers_of_step(h, h->next);
        h->place = move(h, h->next, end, h->place, true, true);
        h->next = end;
    }
    if (h->state != PX_HUGE_MOVES || h->next <= h->layer_count) return;
    h->state = PX_HUGE_RESTS;
    const uint64_t huge = px_memory_huge();
    atomic_store(&h->bytes, huge > h->before ? PX_MIN(huge - h->before, h->size) : 0);
}

void px_huge_free(px_huge *h)
{
    rest(h);
}
