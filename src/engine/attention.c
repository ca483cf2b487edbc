#include "engine/attention.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* The query heads that share a key-value head, for the tokens of a sequence, are the members of its
 * attention: member m is head m % group of token m / group. They go in tiles, for which keys and
 * values are read once. */
enum { MEMBERS = PX_TOKEN_TILE, FINE_MEMBERS = PX_TOKEN_TILE / 2 };

/* So few tokens leave each thread alone with its heads; with more all heads are stored first, because
 * tiles of later tokens see them. */
enum { FEW_TOKENS = 8 };

struct member_tile {
    int64_t token;       /* of the step: the first of the sequence */
    int64_t first, count; /* members */
};

/* Of one thread. */
struct room {
    float *scores;   /* [MEMBERS, stride] */
    float *head;     /* [padded head_dim] */
    float *mixed;    /* [MEMBERS, padded head_dim] */
    int8_t *q;       /* the queries of a tile, as in px_activation */
    float *q_scale;
    int32_t *q_sum;
    int8_t *p;       /* the softmax weights of up to FINE_MEMBERS, likewise */
    float *p_scale;
    int32_t *p_sum;
};

struct px_attention {
    const px_desc *desc;
    const px_kernels *kernels;
    px_pool *pool;
    const px_step_token *tokens;
    int64_t count;
    struct member_tile *tiles;
    int64_t tile_count, tile_capacity;
    int64_t group;    /* query heads of a key-value head */
    int64_t rotation; /* values that int4 caches rotate together */
    int64_t padded;   /* head_dim as rows of an integer matrix */
    int64_t stride;   /* positions that a room holds */
    struct room *rooms; /* [threads] */
    float *ones;      /* [padded] */
    /* of the layer that runs */
    int64_t layer;
    float *qkv, *out;
    const float *cosine, *sine;
    atomic_llong next;
};

/* ---- room ---------------------------------------------------------------------------------- */

static void room_free(struct room *room)
{
    void *const all[] = {room->scores, room->head,  room->mixed,   room->q,    room->q_scale,
                         room->q_sum,  room->p,     room->p_scale, room->p_sum};
    for (size_t i = 0; i < PX_COUNT(all); i++) px_aligned_free(all[i]);
    *room = (struct room){0};
}

static phlox_status room_fill(struct room *room, int64_t stride, int64_t dim, int64_t padded,
                              phlox_error *error)
{
    const size_t blocks = (size_t)(dim + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK;
    const size_t keys = (size_t)stride, spans = keys / PX_COLUMN_BLOCK;
    const struct {
        void *place;
        size_t bytes;
    } parts[] = {
        {&room->scores, MEMBERS * keys * sizeof(float)},
        {&room->head, (size_t)padded * sizeof(float)},
        {&room->mixed, MEMBERS * (size_t)padded * sizeof(float)},
        {&room->q, MEMBERS * blocks * PX_COLUMN_BLOCK},
        {&room->q_scale, MEMBERS * blocks * sizeof(float)},
        {&room->q_sum, MEMBERS * blocks * sizeof(int32_t)},
        {&room->p, 2 * FINE_MEMBERS * keys},
        {&room->p_scale, 2 * FINE_MEMBERS * spans * sizeof(float)},
        {&room->p_sum, 2 * FINE_MEMBERS * spans * sizeof(int32_t)},
    };
    for (size_t i = 0; i < PX_COUNT(parts); i++) {
        void *const memory = px_aligned_alloc(parts[i].bytes);
        if (!memory) return px_fail_memory(error, parts[i].bytes);
        memcpy(parts[i].place, &memory, sizeof memory);
    }
    return PHLOX_OK;
}

static void rooms_free(px_attention *a)
{
    for (int i = 0; a->rooms && i < px_pool_threads(a->pool); i++) room_free(&a->rooms[i]);
    a->stride = 0;
}

void px_attention_free(px_attention *a)
{
    if (!a) return;
    rooms_free(a);
    free(a->rooms);
    px_aligned_free(a->ones);
    free(a->tiles);
    free(a);
}

static phlox_status create(px_attention **out, const px_desc *desc, const px_kernels *kernels,
                           px_pool *pool, phlox_error *error)
{
    px_attention *const a = px_calloc(1, sizeof *a);
    if (!a) return px_fail_memory(error, sizeof *a);
    const size_t threads = (size_t)px_pool_threads(pool);
    a->desc = desc;
    a->kernels = kernels;
    a->pool = pool;
    a->group = desc->num_attention_heads / desc->num_key_value_heads;
    a->rotation = desc->head_dim & -desc->head_dim; /* the largest power of two that divides it */
    a->padded = px_weight_padded_rows(PX_WEIGHT_I8, desc->head_dim);
    a->rooms = px_calloc(threads, sizeof *a->rooms);
    a->ones = px_aligned_alloc((size_t)a->padded * sizeof *a->ones);
    if (!a->rooms || !a->ones) {
        px_attention_free(a);
        return px_fail_memory(error, threads * sizeof *a->rooms);
    }
    for (int64_t i = 0; i < a->padded; i++) a->ones[i] = 1;
    *out = a;
    return PHLOX_OK;
}

/* Room for so many positions, from the beginning of a block to the end of one. */
static phlox_status grow(px_attention *a, int64_t positions, phlox_error *error)
{
    if (positions <= a->stride) return PHLOX_OK;
    const int64_t wanted = PX_MAX(positions, a->stride * 2);
    rooms_free(a);
    for (int i = 0; i < px_pool_threads(a->pool); i++) {
        const phlox_status status =
            room_fill(&a->rooms[i], wanted, a->desc->head_dim, a->padded, error);
        if (status != PHLOX_OK) {
            rooms_free(a);
            return status;
        }
    }
    a->stride = wanted;
    return PHLOX_OK;
}

/* ---- the plan of a step -------------------------------------------------------------------- */

/* The positions [first, end) that a token sees. */
static size_t first_seen(const px_desc *desc, size_t position)
{
    const size_t window = (size_t)desc->sliding_window;
    return window && position + 1 > window ? position + 1 - window : 0;
}

static phlox_status add_tile(px_attention *a, struct member_tile tile, phlox_error *error)
{
    if (a->tile_count == a->tile_capacity) {
        const int64_t capacity = PX_MAX(a->tile_capacity * 2, 16);
        struct member_tile *const tiles = realloc(a->tiles, (size_t)capacity * sizeof *tiles);
        if (!tiles) return px_fail_memory(error, (size_t)capacity * sizeof *tiles);
        a->tiles = tiles;
        a->tile_capacity = capacity;
    }
    a->tiles[a->tile_count++] = tile;
    return PHLOX_OK;
}

phlox_status px_attention_plan(px_attention **attention, const px_desc *desc,
                               const px_kernels *kernels, px_pool *pool,
                               const px_step_token *tokens, int64_t count, phlox_error *error)
{
    if (!*attention) PX_TRY(create(attention, desc, kernels, pool, error));
    px_attention *const a = *attention;
    a->tokens = tokens;
    a->count = count;
    a->tile_count = 0;
    int64_t positions = 0;
    for (int64_t token = 0, next; token < count; token = next) {
        next = token + 1;
        while (next < count && tokens[next].cache == tokens[token].cache) next++;
        const int64_t members = (next - token) * a->group;
        for (int64_t m = 0; m < members; m += MEMBERS)
            PX_TRY(add_tile(a, (struct member_tile){token, m, PX_MIN(members - m, MEMBERS)}, error));
        const size_t first = first_seen(desc, tokens[token].position) / PX_KV_BLOCK;
        const size_t blocks = tokens[next - 1].position / PX_KV_BLOCK + 1 - first;
        positions = PX_MAX(positions, (int64_t)(blocks * PX_KV_BLOCK));
    }
    return grow(a, positions, error);
}

/* ---- one tile ------------------------------------------------------------------------------ */

/* One tile of one key-value head. */
struct work {
    const px_attention *a;
    const struct room *room;
    const struct member_tile *tile;
    const px_kv_cache *cache;
    int64_t kv_head;
    size_t first_block, end; /* positions from the beginning of first_block to end */
};

static const px_step_token *member_token(const struct work *w, int64_t i)
{
    return &w->a->tokens[w->tile->token + (w->tile->first + i) / w->a->group];
}

/* Index of the member's head among all heads of all tokens: of its query and its output. */
static int64_t member_head(const struct work *w, int64_t i)
{
    return w->kv_head * w->a->group + (w->tile->first + i) % w->a->group;
}

static const float *member_query(const struct work *w, int64_t i)
{
    const px_desc *const d = w->a->desc;
    const int64_t row = ((int64_t)d->num_attention_heads + 2 * d->num_key_value_heads) * d->head_dim;
    return w->a->qkv + (member_token(w, i) - w->a->tokens) * row + member_head(w, i) * d->head_dim;
}

static float *member_out(const struct work *w, int64_t i)
{
    const px_desc *const d = w->a->desc;
    const int64_t token = member_token(w, i) - w->a->tokens;
    return w->a->out + (token * d->num_attention_heads + member_head(w, i)) * d->head_dim;
}

static float score_scale(const px_desc *desc)
{
    return 1.0f / sqrtf((float)desc->head_dim);
}

/* Scores of a member become softmax weights; positions that it does not see get 0. Returns where in
 * the row those that it sees begin; *count: how many. */
static int64_t weigh(const struct work *w, int64_t i, float *row, int64_t *count)
{
    const size_t position = member_token(w, i)->position, base = w->first_block * PX_KV_BLOCK;
    const int64_t first = (int64_t)(first_seen(w->a->desc, position) - base);
    const int64_t end = (int64_t)(position + 1 - base);
    const int64_t all = (int64_t)((w->end + PX_KV_BLOCK - 1) / PX_KV_BLOCK * PX_KV_BLOCK - base);
    w->a->kernels->softmax(row + first, end - first);
    memset(row, 0, (size_t)first * sizeof *row);
    memset(row + end, 0, (size_t)(all - end) * sizeof *row);
    *count = end - first;
    return first;
}

/* ---- integer caches ------------------------------------------------------------------------ */

static void score_keys(const struct work *w)
{
    const px_attention *const a = w->a;
    const int64_t dim = a->desc->head_dim, members = w->tile->count;
    const struct room *const room = w->room;
    for (int64_t i = 0; i < members; i++) {
        const float *const q = member_query(w, i);
        const float scale = score_scale(a->desc);
        for (int64_t c = 0; c < dim; c++) room->head[c] = q[c] * scale;
        a->kernels->quantize(room->head, dim, (int)i, (int)members, room->q, room->q_scale,
                             room->q_sum);
    }
    const px_token_tile x = {.tokens = members, .q8 = room->q, .scale = room->q_scale,
                             .sum = room->q_sum};
    float *scores = room->scores;
    for (size_t block = w->first_block; block * PX_KV_BLOCK < w->end; block++) {
        const px_weight keys = px_kv_keys(w->cache, a->layer, w->kv_head, block);
        const int64_t rows = (int64_t)PX_MIN(w->end - block * PX_KV_BLOCK, (size_t)PX_KV_BLOCK);
        a->kernels->matmul_tiles[keys.type](&keys, 0, (rows + PX_ROW_TILE - 1) / PX_ROW_TILE, &x,
                                            scores, a->stride);
        scores += PX_KV_BLOCK;
    }
}

/* The scales of the values go to the weights that meet them. */
static void scale_weights(const struct work *w, float *row, int64_t first, int64_t count)
{
    for (int64_t at = first, next; at < first + count; at = next) {
        next = PX_MIN((at / PX_KV_BLOCK + 1) * PX_KV_BLOCK, first + count);
        const float *scales;
        px_kv_values(w->cache, w->a->layer, w->kv_head, w->first_block + (size_t)(at / PX_KV_BLOCK),
                     &scales);
        w->a->kernels->multiply(row + at, scales + at % PX_KV_BLOCK, next - at);
    }
}

/* Members [begin, begin + count), at most FINE_MEMBERS. */
static void mix_values(const struct work *w, int64_t begin, int64_t count)
{
    const px_attention *const a = w->a;
    const struct room *const room = w->room;
    const int64_t dim = a->desc->head_dim, planes = 2 * count, blocks_of_keys = PX_KV_BLOCK / 32;
    const size_t blocks = (w->end + PX_KV_BLOCK - 1) / PX_KV_BLOCK - w->first_block;
    for (int64_t i = 0; i < count; i++) {
        a->kernels->quantize_fine(room->scores + (begin + i) * a->stride,
                                  (int64_t)blocks * PX_KV_BLOCK, (int)i, (int)count, room->p,
                                  room->p_scale, room->p_sum);
        memset(member_out(w, begin + i), 0, (size_t)dim * sizeof(float));
    }
    for (size_t b = 0; b < blocks; b++) {
        const float *scales;
        px_weight values =
            px_kv_values(w->cache, a->layer, w->kv_head, w->first_block + b, &scales);
        values.scales = a->ones;
        const int64_t at = (int64_t)b * blocks_of_keys * planes;
        const px_token_tile x = {.tokens = planes, .q8 = room->p + at * PX_COLUMN_BLOCK,
                                 .scale = room->p_scale + at, .sum = room->p_sum + at};
        a->kernels->matmul_tiles[values.type](&values, 0, a->padded / PX_ROW_TILE, &x, room->mixed,
                                              a->padded);
        for (int64_t i = 0; i < planes; i++)
            a->kernels->add(member_out(w, begin + i / 2), room->mixed + i * a->padded, dim);
    }
}

static void attend_integers(const struct work *w)
{
    score_keys(w);
    for (int64_t i = 0; i < w->tile->count; i++) {
        float *const row = w->room->scores + i * w->a->stride;
        int64_t count;
        const int64_t first = weigh(w, i, row, &count);
        scale_weights(w, row, first, count);
    }
    for (int64_t i = 0; i < w->tile->count; i += FINE_MEMBERS)
        mix_values(w, i, PX_MIN(w->tile->count - i, FINE_MEMBERS));
    for (int64_t i = 0; i < w->tile->count && w->cache->type == PX_CACHE_I4; i++)
        px_hadamard(member_out(w, i), w->a->desc->head_dim, w->a->rotation);
}

/* ---- float caches -------------------------------------------------------------------------- */

static void attend_floats(const struct work *w, int64_t i)
{
    const px_attention *const a = w->a;
    const int64_t dim = a->desc->head_dim;
    const px_cache_type type = w->cache->type;
    const size_t base = w->first_block * PX_KV_BLOCK, end = member_token(w, i)->position + 1;
    const size_t first = first_seen(a->desc, end - 1);
    float *const row = w->room->scores, *const out = member_out(w, i);
    for (size_t p = first, next; p < end; p = next) {
        next = PX_MIN((p / PX_KV_BLOCK + 1) * PX_KV_BLOCK, end);
        a->kernels->attention_scores[type](
            member_query(w, i), px_kv_row(w->cache, a->layer, PX_KEY, w->kv_head, p),
            (int64_t)(next - p), dim, score_scale(a->desc), row + (p - base));
    }
    int64_t count;
    weigh(w, i, row, &count);
    memset(out, 0, (size_t)dim * sizeof *out);
    for (size_t p = first, next; p < end; p = next) {
        next = PX_MIN((p / PX_KV_BLOCK + 1) * PX_KV_BLOCK, end);
        a->kernels->attention_mix[type](row + (p - base),
                                        px_kv_row(w->cache, a->layer, PX_VALUE, w->kv_head, p),
                                        (int64_t)(next - p), dim, out);
    }
}

/* ---- a layer ------------------------------------------------------------------------------- */

/* Rotates the queries and the key of a key-value head for all tokens and stores key and value. */
static void store_head(const px_attention *a, int64_t kv_head)
{
    const px_desc *const d = a->desc;
    const int64_t dim = d->head_dim, heads = d->num_attention_heads, half = d->rotary_dim / 2;
    const int64_t row = (heads + 2 * (int64_t)d->num_key_value_heads) * dim;
    for (int64_t t = 0; t < a->count; t++) {
        const px_step_token *const token = &a->tokens[t];
        float *const q = a->qkv + t * row + kv_head * a->group * dim;
        float *const k = a->qkv + t * row + (heads + kv_head) * dim;
        for (int64_t h = 0; h < a->group; h++)
            a->kernels->rope(q + h * dim, a->cosine + t * half, a->sine + t * half, d->rotary_dim);
        a->kernels->rope(k, a->cosine + t * half, a->sine + t * half, d->rotary_dim);
        if (token->cache->type == PX_CACHE_I4) {
            px_hadamard(q, a->group * dim, a->rotation);
            px_hadamard(k, dim, a->rotation);
            px_hadamard(k + d->num_key_value_heads * dim, dim, a->rotation);
        }
        px_kv_store(token->cache, a->kernels, a->layer, kv_head, token->position, k,
                    k + d->num_key_value_heads * dim);
    }
}

static void store_heads(void *context, int64_t begin, int64_t end)
{
    for (int64_t head = begin; head < end; head++) store_head(context, head);
}

static void attend_tile(const px_attention *a, const struct room *room, int64_t kv_head,
                        const struct member_tile *tile)
{
    struct work w = {.a = a, .room = room, .tile = tile, .kv_head = kv_head,
                     .cache = a->tokens[tile->token].cache};
    w.first_block = first_seen(a->desc, member_token(&w, 0)->position) / PX_KV_BLOCK;
    w.end = member_token(&w, tile->count - 1)->position + 1;
    if (w.cache->type >= PX_CACHE_FLOATS) {
        attend_integers(&w);
        return;
    }
    for (int64_t i = 0; i < tile->count; i++) attend_floats(&w, i);
}

/* A thread takes heads, or tiles of heads, until none is left. */
static void attend(void *context, int64_t thread, int64_t end)
{
    (void)end;
    px_attention *const a = context;
    const bool few = a->count <= FEW_TOKENS;
    const int64_t items = a->desc->num_key_value_heads * (few ? 1 : a->tile_count);
    for (int64_t i; (i = atomic_fetch_add(&a->next, 1)) < items;) {
        if (!few) {
            attend_tile(a, &a->rooms[thread], i / a->tile_count, &a->tiles[i % a->tile_count]);
            continue;
        }
        store_head(a, i);
        for (int64_t t = 0; t < a->tile_count; t++) attend_tile(a, &a->rooms[thread], i, &a->tiles[t]);
    }
}

void px_attention_run(px_attention *a, int64_t layer, float *qkv, const float *cosine,
                      const float *sine, float *out)
{
    a->layer = layer;
    a->qkv = qkv;
    a->out = out;
    a->cosine = cosine;
    a->sine = sine;
    if (a->count > FEW_TOKENS)
        px_pool_for(a->pool, a->desc->num_key_value_heads, 1, store_heads, a);
    atomic_store(&a->next, 0);
    px_pool_for(a->pool, px_pool_threads(a->pool), 1, attend, a);
}
