#include "text/table.h"

#include "text/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t place(uint64_t *end, uint64_t count, uint64_t size)
{
    const uint64_t at = *end;
    *end = (at + count * size + 7) & ~UINT64_C(7); /* 32-bit counts: cannot overflow */
    return at;
}

px_table_layout px_table_layout_of(const px_table_header *h)
{
    px_table_layout layout;
    uint64_t end = (sizeof *h + 7) & ~(uint64_t)7;
    layout.text = place(&end, h->text_bytes, 1);
    layout.strings = place(&end, h->string_bytes, 1);
    layout.string_offsets = place(&end, (uint64_t)h->ids + 1, sizeof(uint32_t));
    layout.flags = place(&end, h->ids, 1);
    layout.vocab = place(&end, h->vocab_slots, sizeof(uint32_t));
    layout.merges = place(&end, h->merges, sizeof(px_merge));
    layout.merge_index = place(&end, h->merge_slots, sizeof(uint32_t));
    layout.added = place(&end, h->added, sizeof(px_added));
    layout.nodes = place(&end, h->nodes, sizeof(px_node));
    layout.size = end;
    return layout;
}

uint64_t px_table_checksum(const void *block, size_t size)
{
    const size_t skip = offsetof(px_table_header, ids);
    const char *at = (const char *)block + skip;
    uint64_t lanes[4] = {1, 2, 3, 4}, word;
    size_t left = size - skip;
    for (size_t lane = 0; left >= 8; at += 8, left -= 8, lane = (lane + 1) & 3) {
        memcpy(&word, at, 8);
        lanes[lane] = (lanes[lane] ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        lanes[lane] ^= lanes[lane] >> 29;
    }
    uint64_t sum = px_hash_text(at, left) ^ size;
    for (size_t lane = 0; lane < 4; lane++) sum = px_hash_mix(sum ^ lanes[lane]);
    return sum;
}

int32_t px_vocab_find(const px_tokenizer *t, const char *text, size_t size)
{
    const uint32_t mask = t->header->vocab_slots - 1;
    uint32_t slot = (uint32_t)px_hash_text(text, size) & mask;
    for (int probe = 0; probe < PX_MOST_PROBES; probe++, slot = (slot + 1) & mask) {
        const uint32_t entry = t->vocab[slot];
        if (entry == 0) break;
        const phlox_text token = px_token_text(t, entry - 1);
        if (token.size == size && memcmp(token.data, text, size) == 0) return (int32_t)entry - 1;
    }
    return PX_NO_ID;
}

uint32_t px_merge_find(const px_tokenizer *t, uint32_t left, uint32_t right)
{
    const uint32_t mask = t->header->merge_slots - 1;
    uint32_t slot = (uint32_t)px_hash_pair(left, right) & mask;
    for (int probe = 0; probe < PX_MOST_PROBES; probe++, slot = (slot + 1) & mask) {
        const uint32_t entry = t->merge_index[slot];
        if (entry == 0) break;
        const px_merge *const merge = &t->merges[entry - 1];
        if (merge->left == left && merge->right == right) return entry - 1;
    }
    return UINT32_MAX;
}

/* Printable bytes stand for themselves, the 68 others for U+0100 and up in their order. */
uint32_t px_byte_to_char(uint8_t byte)
{
    if (byte <= 0x20) return 0x100u + byte;
    if (byte >= 0x7f && byte <= 0xa0) return 0x121u + (byte - 0x7fu);
    if (byte == 0xad) return 0x143u;
    return byte;
}

int px_char_to_byte(uint32_t c)
{
    if (c >= 0x100) {
        if (c <= 0x120) return (int)(c - 0x100);
        if (c <= 0x142) return (int)(c - 0x121 + 0x7f);
        return c == 0x143 ? 0xad : -1;
    }
    return px_byte_to_char((uint8_t)c) == c ? (int)c : -1;
}

static bool is_power_of_two(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static phlox_status damaged(const char *what, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "packed tokenizer: %s; the file is damaged, remove it from the cache", what);
}

static bool programs_fit(const px_table_header *h)
{
    const px_program *const programs[] = {&h->normalizer, &h->splitter, &h->decoder};
    for (size_t p = 0; p < PX_COUNT(programs); p++) {
        if (programs[p]->count > PX_MOST_STEPS) return false;
        for (uint32_t i = 0; i < programs[p]->count; i++) {
            const px_step *const step = &programs[p]->steps[i];
            const px_span spans[] = {step->a, step->b};
            if (step->kind > PX_STEP_DECODE_BYTES) return false;
            for (size_t s = 0; s < PX_COUNT(spans); s++)
                if ((uint64_t)spans[s].offset + spans[s].size > h->text_bytes ||
                    (step->kind != PX_STEP_SPLIT && spans[s].size > PX_MOST_STEP_TEXT))
                    return false;
            if ((step->kind == PX_STEP_REPLACE || step->kind == PX_STEP_METASPACE ||
                 step->kind == PX_STEP_STRIP) && step->a.size == 0)
                return false;
        }
    }
    return true;
}

static bool header_fits(const px_table_header *h)
{
    if (h->ids == 0 || h->ids > PX_MOST_IDS || !is_power_of_two(h->vocab_slots) ||
        !is_power_of_two(h->merge_slots) || h->nodes < 2 || h->raw_root >= h->nodes ||
        h->normalized_root >= h->nodes || h->unk < PX_NO_ID || h->unk >= (int32_t)h->ids ||
        h->post_before > PX_MOST_POST || h->post_after > PX_MOST_POST)
        return false;
    for (uint32_t i = 0; i < PX_COUNT(h->post); i++)
        if (h->post[i] < 0 || h->post[i] >= (int32_t)h->ids) return false;
    return h->decoder.count > 0 && programs_fit(h);
}

/* No span cuts a character, so that what steps insert and look for is UTF-8. */
static bool spans_are_utf8(const px_tokenizer *t)
{
    const px_table_header *const h = t->header;
    const px_program *const programs[] = {&h->normalizer, &h->splitter, &h->decoder};
    for (size_t p = 0; p < PX_COUNT(programs); p++) {
        for (uint32_t i = 0; i < programs[p]->count; i++) {
            const phlox_text a = px_span_text(t, programs[p]->steps[i].a);
            const phlox_text b = px_span_text(t, programs[p]->steps[i].b);
            if (px_utf8_valid_prefix(a.data, a.size) != a.size ||
                px_utf8_valid_prefix(b.data, b.size) != b.size)
                return false;
        }
    }
    return true;
}

/* Every index inside the sections stays inside them, and strings are UTF-8. */
static bool sections_fit(const px_tokenizer *t)
{
    const px_table_header *const h = t->header;
    if (t->string_offsets[0] != 0 || t->string_offsets[h->ids] != h->string_bytes) return false;
    for (uint32_t i = 0; i < h->ids; i++)
        if (t->string_offsets[i] > t->string_offsets[i + 1]) return false;
    for (uint32_t i = 0; i < h->ids; i++) {
        const uint32_t start = t->string_offsets[i];
        if (start < h->string_bytes && ((uint8_t)t->strings[start] & 0xc0) == 0x80) return false;
    }
    for (uint32_t i = 0; i < h->vocab_slots; i++)
        if (t->vocab[i] > h->ids) return false;
    for (uint32_t i = 0; i < h->merges; i++)
        if (t->merges[i].left >= h->ids || t->merges[i].right >= h->ids ||
            t->merges[i].result >= h->ids)
            return false;
    for (uint32_t i = 0; i < h->merge_slots; i++)
        if (t->merge_index[i] > h->merges) return false;
    for (uint32_t i = 0; i < h->added; i++)
        if (t->added[i].id >= h->ids) return false;
    for (uint32_t i = 0; i < h->nodes; i++) {
        const px_node *const node = &t->nodes[i];
        if ((node->child != 0 && node->child <= i) || (node->sibling != 0 && node->sibling <= i) ||
            node->child >= h->nodes || node->sibling >= h->nodes || node->added > h->added ||
            node->byte > 255)
            return false;
    }
    return px_utf8_valid_prefix(t->strings, h->string_bytes) == h->string_bytes &&
           spans_are_utf8(t);
}

static void attach(px_tokenizer *t, const char *block)
{
    const px_table_layout at = px_table_layout_of(t->header);
    t->text = block + at.text;
    t->strings = block + at.strings;
    t->string_offsets = (const uint32_t *)(const void *)(block + at.string_offsets);
    t->flags = (const uint8_t *)block + at.flags;
    t->vocab = (const uint32_t *)(const void *)(block + at.vocab);
    t->merges = (const px_merge *)(const void *)(block + at.merges);
    t->merge_index = (const uint32_t *)(const void *)(block + at.merge_index);
    t->added = (const px_added *)(const void *)(block + at.added);
    t->nodes = (const px_node *)(const void *)(block + at.nodes);
}

/* What is worked out again at every start: byte tokens, first bytes, expressions. */
static phlox_status prepare(px_tokenizer *t, phlox_error *error)
{
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", i);
        t->byte_ids[i] = px_vocab_find(t, name, 6);
    }
    const uint32_t roots[] = {t->header->raw_root, t->header->normalized_root};
    for (size_t r = 0; r < PX_COUNT(roots); r++)
        for (uint32_t n = t->nodes[roots[r]].child; n != 0; n = t->nodes[n].sibling)
            t->first_bytes[t->nodes[n].byte] = (t->nodes[n].byte & 0xc0) != 0x80;
    const px_program *const splitter = &t->header->splitter;
    for (uint32_t i = 0; i < splitter->count; i++) {
        const px_step *const step = &splitter->steps[i];
        if (step->kind != PX_STEP_SPLIT) continue;
        PX_TRY(px_pattern_compile(px_span_text(t, step->a), (step->flags & PX_SPLIT_LITERAL) != 0,
                                  &t->patterns[i], error));
    }
    return PHLOX_OK;
}

static phlox_status check_and_attach(px_tokenizer *t, const void *block, size_t size,
                                     phlox_error *error)
{
    const px_table_header *const h = block;
    if (size < sizeof *h || memcmp(h->magic, PX_TABLE_MAGIC, sizeof h->magic) != 0)
        return damaged("it does not begin as one", error);
    if (h->size != size || px_table_layout_of(h).size != size)
        return damaged("its size is not what its header says", error);
    if (h->checksum != px_table_checksum(block, size))
        return damaged("its checksum is wrong", error);
    if (!header_fits(h)) return damaged("its header is wrong", error);
    t->header = h;
    attach(t, block);
    if (!sections_fit(t)) return damaged("a table points outside", error);
    return prepare(t, error);
}

phlox_status px_table_open(void *block, size_t size, bool own, px_tokenizer **out,
                           phlox_error *error)
{
    px_tokenizer *const t = px_calloc(1, sizeof *t);
    if (t == NULL) {
        if (own) free(block);
        return px_fail_memory(error, sizeof *t);
    }
    if (own) t->owned = block;
    const phlox_status status = check_and_attach(t, block, size, error);
    if (status != PHLOX_OK) {
        px_tokenizer_free(t);
        return status;
    }
    *out = t;
    return PHLOX_OK;
}

phlox_status px_tokenizer_pack(const px_tokenizer *tokenizer, px_buffer *out, phlox_error *error)
{
    return px_buffer_add(out, tokenizer->header, (size_t)tokenizer->header->size, error);
}

phlox_status px_tokenizer_unpack(const void *data, size_t size, px_tokenizer **out,
                                 phlox_error *error)
{
    if ((uintptr_t)data % 8 != 0)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "packed tokenizer: the block must begin at a multiple of 8 bytes");
    /* The block is only read: without `own` nothing writes to it. */
    return px_table_open((void *)(uintptr_t)data, size, false, out, error);
}

void px_tokenizer_free(px_tokenizer *tokenizer)
{
    if (tokenizer == NULL) return;
    for (size_t i = 0; i < PX_MOST_STEPS; i++) px_pattern_free(tokenizer->patterns[i]);
    free(tokenizer->owned);
    free(tokenizer);
}

int32_t px_tokenizer_size(const px_tokenizer *tokenizer)
{
    return (int32_t)tokenizer->header->ids;
}

int32_t px_tokenizer_control_id(const px_tokenizer *tokenizer, const char *content)
{
    const size_t size = strlen(content);
    for (uint32_t i = 0; i < tokenizer->header->added; i++) {
        const phlox_text text = px_token_text(tokenizer, tokenizer->added[i].id);
        if (text.size == size && memcmp(text.data, content, size) == 0)
            return (int32_t)tokenizer->added[i].id;
    }
    return PX_NO_ID;
}

bool px_tokenizer_is_control(const px_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && id < px_tokenizer_size(tokenizer) &&
           (tokenizer->flags[id] & PX_TOKEN_ADDED) != 0;
}
