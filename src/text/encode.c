#include "text/encode.h"

#include "text/utf8.h"

#include <stdlib.h>

enum { MOST_TEXT = 1 << 29 }; /* bytes of one call: positions stay within 32 bits */

/* What one call to encode works with. */
typedef struct job {
    const px_tokenizer *t;
    px_ids *ids;
    bool guard;
    px_bpe bpe;
    px_buffer normal;               /* the normalized segment */
    px_buffer work[PX_MOST_STEPS];  /* what each pre-tokenizer step makes of a piece */
    px_pattern_scratch *scratch[PX_MOST_STEPS];
    px_parts parts, normalized_parts;
} job;

static phlox_status split_piece(job *j, uint32_t step, phlox_text piece, bool first,
                                phlox_error *error);

static phlox_status split_by_pattern(job *j, uint32_t index, phlox_text piece, bool first,
                                     phlox_error *error)
{
    const px_step *const step = &j->t->header->splitter.steps[index];
    const px_pattern *const pattern = j->t->patterns[index];
    if (j->scratch[index] == NULL)
        PX_TRY(px_pattern_scratch_create(pattern, &j->scratch[index], error));
    size_t done = 0, from = 0, last_end = SIZE_MAX;
    while (from <= piece.size) {
        size_t start = 0, end = 0;
        bool found;
        PX_TRY(px_pattern_find(pattern, j->scratch[index], piece, from, &found, &start, &end,
                               error));
        if (!found) break;
        if (start == end && end == last_end) { /* no empty match right behind a match */
            if (from >= piece.size) break;
            px_utf8_next(piece.data, &from);
            continue;
        }
        from = last_end = end;
        if (done < start && !(step->flags & PX_SPLIT_REMOVE_REST))
            PX_TRY(split_piece(j, index + 1, (phlox_text){piece.data + done, start - done},
                               first && done == 0, error));
        if (!(step->flags & PX_SPLIT_REMOVE_MATCH))
            PX_TRY(split_piece(j, index + 1, (phlox_text){piece.data + start, end - start},
                               first && start == 0, error));
        done = end;
    }
    if (step->flags & PX_SPLIT_REMOVE_REST) return PHLOX_OK;
    return split_piece(j, index + 1, (phlox_text){piece.data + done, piece.size - done},
                       first && done == 0, error);
}

static bool starts_with(phlox_text text, phlox_text start)
{
    return text.size >= start.size && memcmp(text.data, start.data, start.size) == 0;
}

static phlox_status metaspace(job *j, uint32_t index, phlox_text piece, bool first,
                              phlox_error *error)
{
    const px_step *const step = &j->t->header->splitter.steps[index];
    const phlox_text mark = px_span_text(j->t, step->a);
    px_buffer *const out = &j->work[index];
    out->size = 0;
    const bool wants = (step->flags & PX_METASPACE_ALWAYS) ||
                       ((step->flags & PX_METASPACE_FIRST) && first);
    if (wants && piece.data[0] != ' ' && !starts_with(piece, mark))
        PX_TRY(px_buffer_add(out, mark.data, mark.size, error));
    PX_TRY(px_replace(piece, PX_TEXT(" "), mark, piece.size, out, error));
    const phlox_text text = {out->data, out->size};
    if (!(step->flags & PX_METASPACE_SPLIT)) return split_piece(j, index + 1, text, first, error);
    size_t done = 0;
    for (size_t at = 1; at <= text.size; at++) {
        const phlox_text rest = {text.data + at, text.size - at};
        if (rest.size > 0 && !starts_with(rest, mark)) continue;
        PX_TRY(split_piece(j, index + 1, (phlox_text){text.data + done, at - done},
                           first && done == 0, error));
        done = at;
    }
    return PHLOX_OK;
}

static phlox_status byte_level(job *j, uint32_t index, phlox_text piece, bool first,
                               phlox_error *error)
{
    px_buffer *const out = &j->work[index];
    out->size = 0;
    PX_TRY(px_buffer_reserve(out, 2 * piece.size, error));
    for (size_t i = 0; i < piece.size; i++)
        out->size += px_utf8_write(px_byte_to_char((uint8_t)piece.data[i]), out->data + out->size);
    return split_piece(j, index + 1, (phlox_text){out->data, out->size}, first, error);
}

static phlox_status prefix_space(job *j, uint32_t index, phlox_text piece, bool first,
                                 phlox_error *error)
{
    px_buffer *const out = &j->work[index];
    if (piece.data[0] == ' ') return split_piece(j, index + 1, piece, first, error);
    out->size = 0;
    PX_TRY(px_buffer_add(out, " ", 1, error));
    PX_TRY(px_buffer_add(out, piece.data, piece.size, error));
    return split_piece(j, index + 1, (phlox_text){out->data, out->size}, first, error);
}

/* Hands a piece to pre-tokenizer step `step` and what comes out to the next; the depth is that of
 * the program. `first`: the piece begins where the text begins. */
static phlox_status split_piece(job *j, uint32_t step, phlox_text piece, bool first,
                                phlox_error *error)
{
    const px_program *const splitter = &j->t->header->splitter;
    if (piece.size == 0) return PHLOX_OK;
    if (step == splitter->count)
        return px_bpe_encode(j->t, &j->bpe, piece, j->guard, j->ids, error);
    switch (splitter->steps[step].kind) {
    case PX_STEP_SPLIT: return split_by_pattern(j, step, piece, first, error);
    case PX_STEP_METASPACE: return metaspace(j, step, piece, first, error);
    case PX_STEP_BYTE_LEVEL: return byte_level(j, step, piece, first, error);
    case PX_STEP_PREFIX_SPACE: return prefix_space(j, step, piece, first, error);
    default:
        return px_fail(error, PHLOX_ERROR_FORMAT, "packed tokenizer: unknown pre-tokenizer step "
                       "%u; remove it from the cache", splitter->steps[step].kind);
    }
}

/* The ranges as offsets into text.data + start, cut to that part; returns how many. */
static size_t ranges_inside(const px_range *ranges, size_t count, size_t start, size_t end,
                            px_range *out)
{
    size_t inside = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t from = PX_MAX(ranges[i].start, start), to = PX_MIN(ranges[i].end, end);
        if (from < to) out[inside++] = (px_range){from - start, to - start};
    }
    return inside;
}

/* A stretch of text without tokens that are matched raw: normalizes it and takes out the tokens
 * that are matched then. When only parts of the text may hold tokens (`guard`), those parts are
 * known after normalization only if that changes nothing. */
static phlox_status encode_segment(job *j, phlox_text whole, px_part part, const px_range *ranges,
                                   size_t range_count, phlox_error *error)
{
    const px_table_header *const h = j->t->header;
    phlox_text text = {whole.data + part.start, part.end - part.start};
    if (h->normalizer.count > 0) {
        j->normal.size = 0;
        PX_TRY(px_normalize(&h->normalizer, j->t->text, text, &j->normal, error));
        text = (phlox_text){j->normal.data, j->normal.size};
    }
    const bool first = part.start == 0;
    const bool known = h->normalizer.count == 0 || !j->guard;
    if (j->t->nodes[h->normalized_root].child == 0 || !known || range_count == 0)
        return split_piece(j, 0, text, first, error);
    px_range *const inside = px_calloc(range_count, sizeof *inside);
    if (inside == NULL) return px_fail_memory(error, px_mul(range_count, sizeof *inside));
    size_t count = 1;
    if (j->guard)
        count = ranges_inside(ranges, range_count, part.start, part.end, inside);
    else
        inside[0] = (px_range){0, text.size};
    j->normalized_parts.count = 0;
    const phlox_status status = px_added_split(j->t, h->normalized_root, text, inside, count,
                                               &j->normalized_parts, error);
    free(inside);
    PX_TRY(status);
    for (size_t i = 0; i < j->normalized_parts.count; i++) {
        const px_part *const p = &j->normalized_parts.data[i];
        if (p->id >= 0)
            PX_TRY(px_ids_add(j->ids, &p->id, 1, error));
        else
            PX_TRY(split_piece(j, 0, (phlox_text){text.data + p->start, p->end - p->start},
                               first && p->start == 0, error));
    }
    return PHLOX_OK;
}

static phlox_status encode_all(job *j, phlox_text text, const px_range *ranges, size_t count,
                               phlox_error *error)
{
    PX_TRY(px_added_split(j->t, j->t->header->raw_root, text, ranges, count, &j->parts, error));
    for (size_t i = 0; i < j->parts.count; i++) {
        const px_part part = j->parts.data[i];
        if (part.id >= 0)
            PX_TRY(px_ids_add(j->ids, &part.id, 1, error));
        else
            PX_TRY(encode_segment(j, text, part, ranges, count, error));
    }
    return PHLOX_OK;
}

phlox_status px_encode_ranges(const px_tokenizer *t, phlox_text text, const px_range *ranges,
                              size_t range_count, px_ids *ids, phlox_error *error)
{
    if (text.size > MOST_TEXT)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "a text of %zu bytes; give at most %d at once", text.size, MOST_TEXT);
    const size_t valid = px_utf8_valid_prefix(text.data, text.size);
    if (valid != text.size)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "the text is not UTF-8: byte 0x%02x at offset %zu; convert it first",
                       (unsigned)(uint8_t)text.data[valid], valid);
    const size_t before = ids->count;
    const bool all = range_count == 1 && ranges[0].start == 0 && ranges[0].end == text.size;
    job j = {.t = t, .ids = ids, .guard = !all};
    const phlox_status status = encode_all(&j, text, ranges, range_count, error);
    if (status != PHLOX_OK) ids->count = before;
    px_bpe_free(&j.bpe);
    px_buffer_free(&j.normal);
    for (size_t i = 0; i < PX_MOST_STEPS; i++) {
        px_buffer_free(&j.work[i]);
        px_pattern_scratch_free(j.scratch[i]);
    }
    free(j.parts.data);
    free(j.normalized_parts.data);
    return status;
}

static phlox_status encode_with_post(const px_tokenizer *t, phlox_text text, unsigned flags,
                                     int32_t bos, px_ids *ids, phlox_error *error)
{
    const px_table_header *const h = t->header;
    const px_range whole = {0, text.size};
    const bool post = (flags & PHLOX_TOKENIZE_POST) != 0;
    const bool posts_bos = post && h->post_before > 0 && h->post[0] == bos;
    if ((flags & PHLOX_TOKENIZE_BOS) && bos >= 0 && !posts_bos)
        PX_TRY(px_ids_add(ids, &bos, 1, error));
    if (post) PX_TRY(px_ids_add(ids, h->post, h->post_before, error));
    PX_TRY(px_encode_ranges(t, text, &whole, (flags & PHLOX_TOKENIZE_CONTROL) != 0, ids, error));
    return post ? px_ids_add(ids, h->post + PX_MOST_POST, h->post_after, error) : PHLOX_OK;
}

phlox_status px_tokenizer_encode(const px_tokenizer *tokenizer, phlox_text text, unsigned flags,
                                 int32_t bos, px_ids *ids, phlox_error *error)
{
    const size_t before = ids->count;
    const phlox_status status = encode_with_post(tokenizer, text, flags, bos, ids, error);
    if (status != PHLOX_OK) ids->count = before;
    return status;
}
