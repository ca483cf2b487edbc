#include "text/draft.h"

#include "text/encode.h"

#include <stdlib.h>

/* The tries while they grow. Node 0 means "none", so that it is never used. */
typedef struct trie {
    px_node *nodes;
    size_t count, capacity;
} trie;

static phlox_status new_node(trie *t, uint32_t byte, uint32_t *out, phlox_error *error)
{
    if (t->count == t->capacity) {
        const size_t capacity = t->capacity + t->capacity / 2 + 64;
        px_node *const nodes = realloc(t->nodes, px_mul(capacity, sizeof *nodes));
        if (nodes == NULL) return px_fail_memory(error, px_mul(capacity, sizeof *nodes));
        t->nodes = nodes;
        t->capacity = capacity;
    }
    t->nodes[t->count] = (px_node){.byte = byte};
    *out = (uint32_t)t->count++;
    return PHLOX_OK;
}

/* New siblings go to the end of the list: nodes only point to later ones, as table.c checks.
 * *taken: another token has the same content, and keeps it. */
static phlox_status insert(trie *t, uint32_t root, phlox_text content, uint32_t added,
                           bool *taken, phlox_error *error)
{
    uint32_t node = root;
    for (size_t i = 0; i < content.size; i++) {
        const uint32_t byte = (uint8_t)content.data[i];
        uint32_t child = t->nodes[node].child, last = 0;
        while (child != 0 && t->nodes[child].byte != byte) {
            last = child;
            child = t->nodes[child].sibling;
        }
        if (child == 0) {
            PX_TRY(new_node(t, byte, &child, error));
            if (last != 0)
                t->nodes[last].sibling = child;
            else
                t->nodes[node].child = child;
        }
        node = child;
    }
    *taken = t->nodes[node].added != 0;
    if (!*taken) t->nodes[node].added = added + 1;
    return PHLOX_OK;
}

/* No content may stand for two ids, whichever trie its tokens go to. */
static phlox_status check_contents(const px_draft *draft, phlox_error *error)
{
    trie seen = {0};
    uint32_t unused, root = 0;
    bool taken = false;
    phlox_status status = new_node(&seen, 0, &unused, error);
    if (status == PHLOX_OK) status = new_node(&seen, 0, &root, error);
    for (uint32_t i = 0; i < draft->header.added && status == PHLOX_OK; i++) {
        const phlox_text content = draft->added[i].content;
        status = insert(&seen, root, content, i, &taken, error);
        if (status == PHLOX_OK && taken)
            status = px_fail(error, PHLOX_ERROR_FORMAT,
                             "%s: added token \"%.*s\" has two ids; download it again",
                             draft->name, (int)PX_MIN(content.size, (size_t)60), content.data);
    }
    free(seen.nodes);
    return status;
}

static phlox_status build_tries(px_draft *draft, trie *t, phlox_error *error)
{
    px_table_header *const h = &draft->header;
    uint32_t unused;
    bool taken; /* contents that normalize to the same text: the first counts */
    PX_TRY(new_node(t, 0, &unused, error));
    PX_TRY(new_node(t, 0, &h->raw_root, error));
    PX_TRY(new_node(t, 0, &h->normalized_root, error));
    for (uint32_t i = 0; i < h->added; i++) {
        const px_draft_added *const added = &draft->added[i];
        if (!(added->flags & PX_ADDED_NORMALIZED)) {
            PX_TRY(insert(t, h->raw_root, added->content, i, &taken, error));
            continue;
        }
        px_buffer normal = {0};
        phlox_status status = px_normalize(&h->normalizer, draft->text.data, added->content,
                                           &normal, error);
        if (status == PHLOX_OK && normal.size > 0)
            status = insert(t, h->normalized_root, (phlox_text){normal.data, normal.size}, i,
                            &taken, error);
        px_buffer_free(&normal);
        PX_TRY(status);
    }
    return PHLOX_OK;
}

static uint32_t slots_for(uint64_t count)
{
    uint32_t slots = 2;
    while (slots < 2 * count && slots < UINT32_C(1) << 31) slots *= 2;
    return slots;
}

static bool is_comment(const json_t *merge)
{
    return json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0;
}

static phlox_status count_sections(px_draft *draft, const trie *t, phlox_error *error)
{
    px_table_header *const h = &draft->header;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < h->ids; i++) bytes += draft->tokens[i].text.size;
    if (bytes > UINT32_MAX || json_array_size(draft->merges) > UINT32_MAX / 4 ||
        t->count > UINT32_MAX)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: it is larger than phlox takes",
                       draft->name);
    size_t index, merges = 0;
    json_t *merge;
    json_array_foreach(draft->merges, index, merge) merges += !is_comment(merge);
    h->text_bytes = (uint32_t)draft->text.size;
    h->string_bytes = (uint32_t)bytes;
    h->vocab_slots = slots_for(draft->model_tokens);
    h->merges = (uint32_t)merges;
    h->merge_slots = slots_for(merges);
    h->nodes = (uint32_t)t->count;
    return PHLOX_OK;
}

static phlox_status too_many_collisions(const px_draft *draft, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: its tokens were made to collide in a hash table; download it again",
                   draft->name);
}

static phlox_status fill_tokens(const px_draft *draft, const px_table_layout *at, char *block,
                                phlox_error *error)
{
    const px_table_header *const h = &draft->header;
    char *const strings = block + at->strings;
    uint32_t *const offsets = (uint32_t *)(void *)(block + at->string_offsets);
    uint8_t *const flags = (uint8_t *)block + at->flags;
    uint32_t *const vocab = (uint32_t *)(void *)(block + at->vocab);
    uint32_t end = 0;
    for (uint32_t i = 0; i < h->ids; i++) {
        const px_draft_token *const token = &draft->tokens[i];
        offsets[i] = end;
        if (token->text.size > 0) memcpy(strings + end, token->text.data, token->text.size);
        end += (uint32_t)token->text.size;
        flags[i] = (uint8_t)token->flags;
        if (!(token->flags & PX_TOKEN_MODEL)) continue;
        uint32_t slot = (uint32_t)px_hash_text(token->text.data, token->text.size);
        int probe = 0;
        for (slot &= h->vocab_slots - 1; vocab[slot] != 0; slot = (slot + 1) & (h->vocab_slots - 1))
            if (++probe == PX_MOST_PROBES) return too_many_collisions(draft, error);
        vocab[slot] = i + 1;
    }
    offsets[h->ids] = end;
    return PHLOX_OK;
}

/* "a b" or ["a", "b"]. */
static phlox_status read_merge(const px_draft *draft, const json_t *merge, size_t index,
                               phlox_text *left, phlox_text *right, phlox_error *error)
{
    if (json_is_string(merge)) {
        const char *const text = json_string_value(merge);
        const size_t size = json_string_length(merge);
        const char *const space = memchr(text, ' ', size);
        if (space != NULL && memchr(space + 1, ' ', size - (size_t)(space - text) - 1) == NULL) {
            *left = (phlox_text){text, (size_t)(space - text)};
            *right = (phlox_text){space + 1, size - left->size - 1};
            return PHLOX_OK;
        }
    } else if (json_array_size(merge) == 2 && json_is_string(json_array_get(merge, 0)) &&
               json_is_string(json_array_get(merge, 1))) {
        const json_t *const a = json_array_get(merge, 0), *const b = json_array_get(merge, 1);
        *left = (phlox_text){json_string_value(a), json_string_length(a)};
        *right = (phlox_text){json_string_value(b), json_string_length(b)};
        return PHLOX_OK;
    }
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: merge %zu is neither \"a b\" nor [\"a\", \"b\"]; download it again",
                   draft->name, index);
}

/* Looks up the three tokens of a merge. `joined` is working memory. */
static phlox_status resolve_merge(const px_draft *draft, const px_tokenizer *partial,
                                  const json_t *item, size_t index, px_buffer *joined,
                                  px_merge *out, phlox_error *error)
{
    phlox_text a = {"", 0}, b = {"", 0};
    PX_TRY(read_merge(draft, item, index, &a, &b, error));
    joined->size = 0;
    PX_TRY(px_buffer_add(joined, a.data, a.size, error));
    PX_TRY(px_buffer_add(joined, b.data, b.size, error));
    const int32_t left = px_vocab_find(partial, a.data, a.size);
    const int32_t right = px_vocab_find(partial, b.data, b.size);
    const int32_t result = px_vocab_find(partial, joined->data, joined->size);
    if (left < 0 || right < 0 || result < 0)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: merge %zu (\"%.*s\" and \"%.*s\") names a token that the vocabulary "
                       "lacks; download it again", draft->name, index,
                       (int)PX_MIN(a.size, (size_t)60), a.data, (int)PX_MIN(b.size, (size_t)60),
                       b.data);
    *out = (px_merge){(uint32_t)left, (uint32_t)right, (uint32_t)result};
    return PHLOX_OK;
}

/* Enters merge `rank` in the hash. A pair that is said twice counts with its later rank. */
static phlox_status index_merge(const px_draft *draft, const px_merge *merges, uint32_t rank,
                                uint32_t *slots, phlox_error *error)
{
    const uint32_t mask = draft->header.merge_slots - 1;
    const px_merge *const merge = &merges[rank];
    uint32_t slot = (uint32_t)px_hash_pair(merge->left, merge->right) & mask;
    for (int probe = 0; slots[slot] != 0; slot = (slot + 1) & mask) {
        const px_merge *const other = &merges[slots[slot] - 1];
        if (other->left == merge->left && other->right == merge->right) break;
        if (++probe == PX_MOST_PROBES) return too_many_collisions(draft, error);
    }
    slots[slot] = rank + 1;
    return PHLOX_OK;
}

static phlox_status fill_merges(const px_draft *draft, const px_table_layout *at, char *block,
                                const px_tokenizer *partial, phlox_error *error)
{
    px_merge *const merges = (px_merge *)(void *)(block + at->merges);
    uint32_t *const slots = (uint32_t *)(void *)(block + at->merge_index);
    px_buffer joined = {0};
    phlox_status status = PHLOX_OK;
    uint32_t rank = 0;
    size_t index;
    json_t *item;
    json_array_foreach(draft->merges, index, item) {
        if (is_comment(item)) continue;
        status = resolve_merge(draft, partial, item, index, &joined, &merges[rank], error);
        if (status == PHLOX_OK) status = index_merge(draft, merges, rank++, slots, error);
        if (status != PHLOX_OK) break;
    }
    px_buffer_free(&joined);
    return status;
}

static phlox_status fill(px_draft *draft, const trie *t, const px_table_layout *at, char *block,
                         phlox_error *error)
{
    px_table_header *const h = &draft->header;
    memcpy(h->magic, PX_TABLE_MAGIC, sizeof h->magic);
    h->size = at->size;
    memcpy(block, h, sizeof *h);
    if (draft->text.size > 0) memcpy(block + at->text, draft->text.data, draft->text.size);
    PX_TRY(fill_tokens(draft, at, block, error));
    /* Enough of a tokenizer to look tokens up. */
    const px_tokenizer partial = {
        .header = h,
        .strings = block + at->strings,
        .string_offsets = (const uint32_t *)(const void *)(block + at->string_offsets),
        .vocab = (const uint32_t *)(const void *)(block + at->vocab),
    };
    PX_TRY(fill_merges(draft, at, block, &partial, error));
    px_added *const added = (px_added *)(void *)(block + at->added);
    for (uint32_t i = 0; i < h->added; i++)
        added[i] = (px_added){draft->added[i].id, draft->added[i].flags};
    memcpy(block + at->nodes, t->nodes, t->count * sizeof *t->nodes);
    h->checksum = px_table_checksum(block, (size_t)at->size);
    memcpy(block, h, sizeof *h);
    return PHLOX_OK;
}

phlox_status px_draft_build(px_draft *draft, px_tokenizer **out, phlox_error *error)
{
    trie t = {0};
    char *block = NULL;
    px_table_layout at = {0};
    phlox_status status = check_contents(draft, error);
    if (status == PHLOX_OK) status = build_tries(draft, &t, error);
    if (status == PHLOX_OK) status = count_sections(draft, &t, error);
    if (status == PHLOX_OK) {
        at = px_table_layout_of(&draft->header);
        block = at.size <= SIZE_MAX ? px_calloc((size_t)at.size, 1) : NULL;
        if (block == NULL) status = px_fail_memory(error, at.size);
    }
    if (status == PHLOX_OK) status = fill(draft, &t, &at, block, error);
    free(t.nodes);
    if (status != PHLOX_OK) {
        free(block);
        return status;
    }
    status = px_table_open(block, (size_t)at.size, true, out, error);
    return status == PHLOX_OK ? status : px_error_prefix(error, status, "%s", draft->name);
}
