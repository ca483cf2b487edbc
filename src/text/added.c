/* Finding added tokens: leftmost, longest, and then the rules of each token, as the tokenizers
 * library applies them. */
#include "text/encode.h"

#include "text/utf8.h"

#include <stdlib.h>

static phlox_status add_part(px_parts *parts, px_part part, phlox_error *error)
{
    if (parts->count == parts->capacity) {
        const size_t capacity = parts->capacity + parts->capacity / 2 + 16;
        px_part *const data = realloc(parts->data, px_mul(capacity, sizeof *data));
        if (data == NULL) return px_fail_memory(error, px_mul(capacity, sizeof *data));
        parts->data = data;
        parts->capacity = capacity;
    }
    parts->data[parts->count++] = part;
    return PHLOX_OK;
}

/* The longest token at text[at] that ends at `end` or before; its length, or 0. Tokens end between
 * characters even when a packed table says otherwise. */
static size_t longest_at(const px_tokenizer *t, uint32_t root, const char *text, size_t at,
                         size_t end, uint32_t *added)
{
    size_t length = 0;
    uint32_t node = root;
    for (size_t i = at; i < end; i++) {
        const uint32_t byte = (uint8_t)text[i];
        node = t->nodes[node].child;
        while (node != 0 && t->nodes[node].byte != byte) node = t->nodes[node].sibling;
        if (node == 0) break;
        if (t->nodes[node].added != 0 && (i + 1 == end || ((uint8_t)text[i + 1] & 0xc0) != 0x80)) {
            *added = t->nodes[node].added - 1;
            length = i + 1 - at;
        }
    }
    return length;
}

static bool is_single_word(phlox_text text, size_t start, size_t end)
{
    size_t before = start, after = end;
    if (start > 0 && px_is_word(px_utf8_previous(text.data, &before))) return false;
    return end == text.size || !px_is_word(px_utf8_next(text.data, &after));
}

static size_t spaces_before(phlox_text text, size_t start)
{
    while (start > 0) {
        size_t at = start;
        if (!px_is_space(px_utf8_previous(text.data, &at))) break;
        start = at;
    }
    return start;
}

static size_t spaces_behind(phlox_text text, size_t end)
{
    while (end < text.size) {
        size_t at = end;
        if (!px_is_space(px_utf8_next(text.data, &at))) break;
        end = at;
    }
    return end;
}

phlox_status px_added_split(const px_tokenizer *t, uint32_t root, phlox_text text,
                            const px_range *ranges, size_t range_count, px_parts *out,
                            phlox_error *error)
{
    size_t done = 0; /* end of the last part; a token that took spaces may reach past a match */
    for (size_t r = 0; r < range_count; r++) {
        size_t at = ranges[r].start;
        while (at < ranges[r].end) {
            uint32_t index = 0;
            const size_t length = !t->first_bytes[(uint8_t)text.data[at]] ? 0 :
                longest_at(t, root, text.data, at, ranges[r].end, &index);
            if (length == 0) {
                at++;
                continue;
            }
            size_t start = at, end = at + length;
            const px_added *const added = &t->added[index];
            at = end;
            if ((added->flags & PX_ADDED_SINGLE_WORD) && !is_single_word(text, start, end))
                continue;
            if (added->flags & PX_ADDED_LSTRIP) start = PX_MAX(spaces_before(text, start), done);
            if (added->flags & PX_ADDED_RSTRIP) end = spaces_behind(text, end);
            if (done < start)
                PX_TRY(add_part(out, (px_part){done, start, PX_NO_ID}, error));
            PX_TRY(add_part(out, (px_part){start, end, (int32_t)added->id}, error));
            done = end;
        }
    }
    if (done != text.size)
        PX_TRY(add_part(out, (px_part){done, text.size, PX_NO_ID}, error));
    return PHLOX_OK;
}
