#include "checkpoint/gguf_scores.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TOKEN = 1024 };

struct scoring {
    const px_vocabulary *v;
    const json_t *ids; /* of tokens */
    const uint8_t *types;
    float *scores;
    uint8_t *has; /* which tokens have a score */
    size_t count;
    float next;
    px_gguf_scores *out;
};

static bool is_joined(const struct scoring *s, json_int_t id)
{
    return id >= 0 && (uint64_t)id < s->count && s->types[id] == PX_GGUF_TOKEN_NORMAL;
}

static bool can_join(const struct scoring *s, json_int_t id)
{
    return id >= 0 && (uint64_t)id < s->count &&
           (s->types[id] == PX_GGUF_TOKEN_NORMAL || s->types[id] == PX_GGUF_TOKEN_BYTE);
}

/* The id of a text of at most MOST_TOKEN bytes, or -1. */
static json_int_t find(const struct scoring *s, const char *text, size_t size)
{
    char key[MOST_TOKEN + 1];
    memcpy(key, text, size);
    key[size] = 0;
    const json_t *const id = json_object_get(s->ids, key);
    return json_is_integer(id) ? json_integer_value(id) : -1;
}

static void give(struct scoring *s, size_t id)
{
    s->scores[id] = s->next--;
    s->has[id] = true;
}

/* A token's score is the place of its first merge among those of all tokens. */
static phlox_status score_merges(struct scoring *s, phlox_error *error)
{
    json_int_t before = -1;
    for (size_t rank = 0; rank < s->v->merge_count; rank++) {
        px_merged merge;
        char text[MOST_TOKEN];
        PX_TRY(px_vocabulary_merge(s->v, rank, &merge, error));
        const size_t size = merge.left.size + merge.right.size;
        if (merge.left.size > MOST_TOKEN || size > MOST_TOKEN)
            return px_vocabulary_fail_kind("a merge is of an odd size", error);
        memcpy(text, merge.left.data, merge.left.size);
        memcpy(text + merge.left.size, merge.right.data, merge.right.size);
        const json_int_t id = find(s, text, size);
        if (!is_joined(s, id)) {
            s->out->ordered = false;
            continue;
        }
        s->out->listed++;
        if (!s->has[id]) give(s, (size_t)id);
        else if (id != before) s->out->ordered = false;
        before = id;
    }
    return PHLOX_OK;
}

/* How many pairs of tokens make a token. */
static void count_pairs(struct scoring *s)
{
    for (size_t id = 0; id < s->v->token_count; id++) {
        const char *const text = s->v->tokens[id];
        const size_t size = text ? strlen(text) : 0;
        if (!text || size > MOST_TOKEN || !is_joined(s, (json_int_t)id)) continue;
        for (size_t at = 1; at < size; at++) {
            if (((unsigned char)text[at] & 0xc0) == 0x80) continue; /* inside a character */
            s->out->possible += can_join(s, find(s, text, at)) &&
                                can_join(s, find(s, text + at, size - at));
        }
    }
}

/* Of what is never joined: as the converter has it. */
static float score_of(uint8_t type)
{
    if (type == PX_GGUF_TOKEN_UNUSED) return -10000;
    return type == PX_GGUF_TOKEN_CONTROL || type == PX_GGUF_TOKEN_USER_DEFINED ? -1000 : 0;
}

phlox_status px_gguf_score(const px_vocabulary *v, const uint8_t *types, size_t count, float *scores,
                           px_gguf_scores *out, phlox_error *error)
{
    *out = (px_gguf_scores){.ordered = true};
    struct scoring s = {.v = v, .ids = json_object_get(v->model, "vocab"), .types = types,
                        .scores = scores, .count = count, .out = out};
    s.has = px_calloc(count, 1);
    if (!s.has) return px_fail_memory(error, count);
    phlox_status status = score_merges(&s, error);
    for (size_t id = 0; id < count && status == PHLOX_OK; id++) {
        if (s.has[id]) continue;
        if (types[id] == PX_GGUF_TOKEN_NORMAL) give(&s, id);
        else scores[id] = score_of(types[id]);
    }
    if (status == PHLOX_OK) count_pairs(&s);
    free(s.has);
    return status;
}
