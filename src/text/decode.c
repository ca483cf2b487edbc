/* Ids to text. Decoding is the stream run over all ids, so that the two cannot differ. */
#include "text/table.h"

#include "text/encode.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <stdlib.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

struct px_text_stream {
    const px_tokenizer *t;
    bool with_control, first; /* first: no token yet, and the text begins here */
    uint32_t strip;           /* characters that the start may still lose */
    px_buffer bytes;          /* a run of byte tokens, or an incomplete character */
    px_buffer piece, swap;    /* the token at work */
};

static void start_stream(px_text_stream *s, const px_tokenizer *t, bool begins, bool with_control)
{
    const px_program *const decoder = &t->header->decoder;
    *s = (px_text_stream){.t = t, .with_control = with_control, .first = begins};
    for (uint32_t i = 0; i < decoder->count; i++)
        if (begins && decoder->steps[i].kind == PX_STEP_STRIP) s->strip = decoder->steps[i].flags;
}

static void stop_stream(px_text_stream *s)
{
    px_buffer_free(&s->bytes);
    px_buffer_free(&s->piece);
    px_buffer_free(&s->swap);
}

/* Whether the decoder has a step of a kind, and which. */
static const px_step *find_step(const px_tokenizer *t, px_step_kind kind)
{
    const px_program *const decoder = &t->header->decoder;
    for (uint32_t i = 0; i < decoder->count; i++)
        if (decoder->steps[i].kind == (uint32_t)kind) return &decoder->steps[i];
    return NULL;
}

/* Text that is ready, less what the start loses. */
static phlox_status emit(px_text_stream *s, phlox_text text, px_buffer *out, phlox_error *error)
{
    if (s->strip > 0 && text.size > 0) {
        const phlox_text mark = px_span_text(s->t, find_step(s->t, PX_STEP_STRIP)->a);
        while (s->strip > 0 && text.size >= mark.size &&
               memcmp(text.data, mark.data, mark.size) == 0) {
            text = (phlox_text){text.data + mark.size, text.size - mark.size};
            s->strip--;
        }
        if (text.size > 0) s->strip = 0;
    }
    return px_buffer_add(out, text.data, text.size, error);
}

/* Value of "<0xHH>", -1 when it is another token. */
static int byte_value(phlox_text text)
{
    if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        const char c = text.data[i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
                          c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0 && !(i == 3 && c == '+')) return -1;
        value = value * 16 + PX_MAX(digit, 0);
    }
    return value;
}

/* The end of a run of byte tokens: text when all of it is UTF-8, else one U+FFFD for each byte. */
static phlox_status flush_run(px_text_stream *s, px_buffer *out, phlox_error *error)
{
    const size_t size = s->bytes.size;
    s->bytes.size = 0;
    if (px_utf8_valid_prefix(s->bytes.data, size) == size)
        return emit(s, (phlox_text){s->bytes.data, size}, out, error);
    for (size_t i = 0; i < size; i++)
        PX_TRY(emit(s, PX_TEXT(REPLACEMENT), out, error));
    return PHLOX_OK;
}

static phlox_status add_piece(px_text_stream *s, phlox_text token, px_buffer *out,
                              phlox_error *error)
{
    const px_program *const decoder = &s->t->header->decoder;
    const size_t original = token.size;
    for (uint32_t i = 0; i < decoder->count && decoder->steps[i].kind == PX_STEP_REPLACE; i++) {
        const px_step *const step = &decoder->steps[i];
        s->swap.size = 0;
        PX_TRY(px_replace(token, px_span_text(s->t, step->a), px_span_text(s->t, step->b),
                          original, &s->swap, error));
        const px_buffer swap = s->piece;
        s->piece = s->swap;
        s->swap = swap;
        token = (phlox_text){s->piece.data, s->piece.size};
    }
    const int byte = find_step(s->t, PX_STEP_BYTE_FALLBACK) != NULL ? byte_value(token) : -1;
    if (byte >= 0) return px_buffer_add(&s->bytes, &(char){(char)byte}, 1, error);
    PX_TRY(flush_run(s, out, error));
    return emit(s, token, out, error);
}

static phlox_status add_metaspace(px_text_stream *s, const px_step *step, phlox_text token,
                                  px_buffer *out, phlox_error *error)
{
    const bool drops = s->first && (step->flags & (PX_METASPACE_FIRST | PX_METASPACE_ALWAYS));
    const phlox_text space = {" ", drops ? 0 : 1};
    return px_replace(token, px_span_text(s->t, step->a), space, token.size, out, error);
}

/* Byte-level characters to bytes; a token with any other character is taken as it stands. */
static phlox_status token_bytes(px_text_stream *s, phlox_text token, phlox_error *error)
{
    const size_t before = s->bytes.size;
    PX_TRY(px_buffer_reserve(&s->bytes, token.size, error));
    for (size_t at = 0; at < token.size;) {
        const int byte = px_char_to_byte(px_utf8_next(token.data, &at));
        if (byte < 0) {
            s->bytes.size = before;
            return px_buffer_add(&s->bytes, token.data, token.size, error);
        }
        s->bytes.data[s->bytes.size++] = (char)byte;
    }
    return PHLOX_OK;
}

/* Writes the characters that are complete and keeps the rest; at the `end` nothing is kept. */
static phlox_status emit_characters(px_text_stream *s, bool end, px_buffer *out,
                                    phlox_error *error)
{
    size_t at = 0, length;
    while (at < s->bytes.size) {
        const px_utf8_kind kind = px_utf8_look(s->bytes.data + at, s->bytes.size - at, &length);
        if (kind == PX_UTF8_INCOMPLETE && !end) break;
        if (kind == PX_UTF8_VALID)
            PX_TRY(px_buffer_add(out, s->bytes.data + at, length, error));
        else
            PX_TRY(px_buffer_add(out, REPLACEMENT, 3, error));
        at += length;
    }
    if (at == 0) return PHLOX_OK;
    memmove(s->bytes.data, s->bytes.data + at, s->bytes.size - at);
    s->bytes.size -= at;
    return PHLOX_OK;
}

phlox_status px_text_stream_add(px_text_stream *s, int32_t id, px_buffer *out, phlox_error *error)
{
    if (id < 0)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "token id %" PRId32 "; ids begin at 0", id);
    if (id >= px_tokenizer_size(s->t) || s->t->flags[id] == 0) return PHLOX_OK;
    if ((s->t->flags[id] & PX_TOKEN_SPECIAL) && !s->with_control) return PHLOX_OK;
    const phlox_text token = px_token_text(s->t, (uint32_t)id);
    const px_step *const step = &s->t->header->decoder.steps[0];
    phlox_status status;
    if (step->kind == PX_STEP_DECODE_BYTES) {
        status = token_bytes(s, token, error);
        if (status == PHLOX_OK) status = emit_characters(s, false, out, error);
    } else if (step->kind == PX_STEP_METASPACE) {
        status = add_metaspace(s, step, token, out, error);
    } else {
        status = add_piece(s, token, out, error);
    }
    s->first = false;
    return status;
}

phlox_status px_text_stream_end(px_text_stream *s, px_buffer *out, phlox_error *error)
{
    if (s->t->header->decoder.steps[0].kind == PX_STEP_DECODE_BYTES)
        return emit_characters(s, true, out, error);
    return flush_run(s, out, error);
}

phlox_status px_text_stream_create(const px_tokenizer *tokenizer, bool skip_first_space,
                                   bool with_control, px_text_stream **out, phlox_error *error)
{
    px_text_stream *const stream = px_calloc(1, sizeof *stream);
    if (stream == NULL) return px_fail_memory(error, sizeof *stream);
    start_stream(stream, tokenizer, skip_first_space, with_control);
    *out = stream;
    return PHLOX_OK;
}

void px_text_stream_free(px_text_stream *stream)
{
    if (stream == NULL) return;
    stop_stream(stream);
    free(stream);
}

phlox_status px_tokenizer_decode(const px_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                 bool with_control, px_buffer *out, phlox_error *error)
{
    const size_t before = out->size;
    px_text_stream stream;
    start_stream(&stream, tokenizer, true, with_control);
    phlox_status status = PHLOX_OK;
    for (size_t i = 0; i < count && status == PHLOX_OK; i++)
        status = px_text_stream_add(&stream, ids[i], out, error);
    if (status == PHLOX_OK) status = px_text_stream_end(&stream, out, error);
    if (status != PHLOX_OK) out->size = before;
    stop_stream(&stream);
    return status;
}
