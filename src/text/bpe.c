/* Byte pair encoding with a heap of possible merges: near-linear in the length of the piece, which
 * for Phi-3 is the whole text between two control tokens. The order of merges is by rank, then by
 * position. */
#include "text/encode.h"

#include "text/utf8.h"

#include <stdlib.h>

struct px_symbol {
    uint32_t id; /* REMOVED when merged into the one on its left */
    int32_t previous, next; /* -1: none */
};

#define REMOVED UINT32_MAX

typedef struct word {
    const px_tokenizer *t;
    struct px_symbol *symbols;
    uint64_t *heap; /* rank << 32 | position of the left symbol; smallest first */
    size_t count, heap_count;
    bool guard;
} word;

/* Each character gives at most 4 symbols (its bytes) and the last unknown token one more. Symbols
 * start at most count - 1 pairs, and each of as many merges adds at most two. */
static phlox_status reserve(px_bpe *bpe, size_t symbols, phlox_error *error)
{
    if (symbols <= bpe->capacity) return PHLOX_OK;
    const size_t capacity = symbols + symbols / 2 + 64;
    px_bpe_free(bpe);
    bpe->symbols = malloc(px_mul(capacity, sizeof *bpe->symbols));
    bpe->heap = malloc(px_mul(capacity, 3 * sizeof *bpe->heap));
    if (bpe->symbols == NULL || bpe->heap == NULL) {
        px_bpe_free(bpe);
        return px_fail_memory(error, px_mul(capacity, 36));
    }
    bpe->capacity = capacity;
    return PHLOX_OK;
}

void px_bpe_free(px_bpe *bpe)
{
    free(bpe->symbols);
    free(bpe->heap);
    *bpe = (px_bpe){0};
}

static bool is_guarded(const word *w, int32_t id)
{
    return w->guard && (w->t->flags[id] & PX_TOKEN_ADDED) != 0;
}

static void add_symbol(word *w, int32_t id)
{
    const int32_t at = (int32_t)w->count++;
    w->symbols[at] = (struct px_symbol){(uint32_t)id, at - 1, at + 1};
}

/* The bytes of a character as byte tokens; false when one of them is not in the vocabulary. */
static bool add_bytes(word *w, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const int32_t id = w->t->byte_ids[(uint8_t)text[i]];
        if (id < 0 || is_guarded(w, id)) return false;
    }
    for (size_t i = 0; i < size; i++) add_symbol(w, w->t->byte_ids[(uint8_t)text[i]]);
    return true;
}

/* Characters to symbols. A pending unknown token is only written before the next known character:
 * byte tokens overtake it, as in the tokenizers library. */
static void add_characters(word *w, phlox_text piece)
{
    const px_table_header *const h = w->t->header;
    bool pending = false;
    for (size_t at = 0, end; at < piece.size; at = end) {
        end = at;
        px_utf8_next(piece.data, &end);
        const int32_t id = px_vocab_find(w->t, piece.data + at, end - at);
        if (id >= 0 && !is_guarded(w, id)) {
            if (pending) add_symbol(w, h->unk);
            pending = false;
            add_symbol(w, id);
        } else if (!((h->model_flags & PX_MODEL_BYTE_FALLBACK) &&
                     add_bytes(w, piece.data + at, end - at)) && h->unk >= 0) {
            if (pending && !(h->model_flags & PX_MODEL_FUSE_UNK)) add_symbol(w, h->unk);
            pending = true;
        }
    }
    if (pending) add_symbol(w, h->unk);
    if (w->count > 0) w->symbols[w->count - 1].next = -1;
}

static void sift_down(uint64_t *heap, size_t count, size_t at)
{
    const uint64_t value = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= value) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

static void push(word *w, uint64_t value)
{
    size_t at = w->heap_count++;
    while (at > 0 && w->heap[(at - 1) / 2] > value) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = value;
}

static uint64_t pop(word *w)
{
    const uint64_t top = w->heap[0];
    w->heap[0] = w->heap[--w->heap_count];
    if (w->heap_count > 0) sift_down(w->heap, w->heap_count, 0);
    return top;
}

/* Rank of the merge of symbol `left` with its neighbour, UINT32_MAX when there is none. */
static uint32_t rank_of(const word *w, int32_t left)
{
    const struct px_symbol *const symbol = &w->symbols[left];
    const uint32_t rank = px_merge_find(w->t, symbol->id, w->symbols[symbol->next].id);
    if (rank != UINT32_MAX && is_guarded(w, (int32_t)w->t->merges[rank].result))
        return UINT32_MAX;
    return rank;
}

static void offer(word *w, int32_t left)
{
    const uint32_t rank = rank_of(w, left);
    if (rank != UINT32_MAX) push(w, (uint64_t)rank << 32 | (uint32_t)left);
}

static void merge_all(word *w)
{
    for (size_t i = 0; i + 1 < w->count; i++) {
        const uint32_t rank = rank_of(w, (int32_t)i);
        if (rank != UINT32_MAX) w->heap[w->heap_count++] = (uint64_t)rank << 32 | (uint32_t)i;
    }
    for (size_t i = w->heap_count / 2; i-- > 0;) sift_down(w->heap, w->heap_count, i);
    while (w->heap_count > 0) {
        const uint64_t top = pop(w);
        const int32_t at = (int32_t)(uint32_t)top;
        struct px_symbol *const left = &w->symbols[at];
        if (left->id == REMOVED || left->next < 0) continue;
        /* An entry that has gone stale still counts when its pair now merges into the same token,
         * whatever that merge's own rank. */
        const uint32_t result = w->t->merges[top >> 32].result, rank = rank_of(w, at);
        if (rank == UINT32_MAX || w->t->merges[rank].result != result) continue;
        struct px_symbol *const right = &w->symbols[left->next];
        left->id = result;
        left->next = right->next;
        right->id = REMOVED;
        if (left->next >= 0) w->symbols[left->next].previous = at;
        if (left->previous >= 0) offer(w, left->previous);
        if (left->next >= 0) offer(w, at);
    }
}

phlox_status px_bpe_encode(const px_tokenizer *t, px_bpe *bpe, phlox_text piece, bool guard,
                           px_ids *ids, phlox_error *error)
{
    word w = {.t = t, .guard = guard};
    if (t->header->model_flags & PX_MODEL_IGNORE_MERGES) {
        const int32_t id = px_vocab_find(t, piece.data, piece.size);
        if (id >= 0 && !is_guarded(&w, id)) return px_ids_add(ids, &id, 1, error);
    }
    PX_TRY(reserve(bpe, piece.size + 1, error));
    w.symbols = bpe->symbols;
    w.heap = bpe->heap;
    add_characters(&w, piece);
    merge_all(&w);
    for (int32_t i = w.count > 0 ? 0 : -1; i >= 0; i = w.symbols[i].next) {
        const int32_t id = (int32_t)w.symbols[i].id;
        PX_TRY(px_ids_add(ids, &id, 1, error));
    }
    return PHLOX_OK;
}
