/*
 * The tokenizers of the family, exact: SentencePiece-style BPE with byte fallback (Phi-3) and
 * byte-level BPE with a pre-tokenizer expression (Phi-4, Phi-4-mini), read from tokenizer.json.
 *
 * Format: https://huggingface.co/docs/tokenizers (tokenizer.json of version 1.0).
 */
#ifndef PX_TEXT_TOKENIZER_H
#define PX_TEXT_TOKENIZER_H

#include "base/memory.h"

typedef struct px_tokenizer px_tokenizer;

/* Parses tokenizer.json. `name` is used in messages. Everything the tokenizer needs is copied. A
 * file that contradicts itself (two tokens with one id, a merge of unknown tokens) is
 * PHLOX_ERROR_FORMAT; ids without a token are fine. Components that the family does not have are
 * PHLOX_ERROR_UNSUPPORTED. A tokenizer may be used by any number of threads at once. */
phlox_status px_tokenizer_parse(phlox_text json, const char *name, px_tokenizer **out,
                                phlox_error *error);

/* The packed form: one relocatable block of bytes that px_tokenizer_unpack() uses in place, so that
 * a cached tokenizer opens without parsing. */
phlox_status px_tokenizer_pack(const px_tokenizer *tokenizer, px_buffer *out, phlox_error *error);

/* Opens a packed block in place: `data` (8-byte aligned) must outlive the tokenizer. A checksum and
 * every offset are checked; a damaged block is PHLOX_ERROR_FORMAT. */
phlox_status px_tokenizer_unpack(const void *data, size_t size, px_tokenizer **out,
                                 phlox_error *error);

void px_tokenizer_free(px_tokenizer *tokenizer);

/* One past the largest id, added tokens included. */
int32_t px_tokenizer_size(const px_tokenizer *tokenizer);

/* Appends the ids of `text` to `ids`. `flags` are PHLOX_TOKENIZE_*; `bos` is the id that
 * PHLOX_TOKENIZE_BOS puts in front (ignored when -1, and when PHLOX_TOKENIZE_POST does so anyway).
 * With PHLOX_TOKENIZE_CONTROL the ids are those of tokenizers' encode(). Without it no added token
 * is recognised in the text, neither special ones nor others such as Phi-3's "</s>", and nothing
 * else gives the id of one: the only exception is the unknown token of a tokenizer without byte
 * tokens. Invalid UTF-8 is PHLOX_ERROR_ARGUMENT with its offset. When it fails, `ids` is as
 * before. */
phlox_status px_tokenizer_encode(const px_tokenizer *tokenizer, phlox_text text, unsigned flags,
                                 int32_t bos, px_ids *ids, phlox_error *error);

/* Id of an added token by its content, -1 when there is none. */
int32_t px_tokenizer_control_id(const px_tokenizer *tokenizer, const char *content);
/* Whether `id` is an added (control) token. */
bool px_tokenizer_is_control(const px_tokenizer *tokenizer, int32_t id);

/* Appends the text of `ids`, as tokenizers' decode(skip_special_tokens = !with_control): without
 * control tokens those that are special are left out. A negative id is PHLOX_ERROR_ARGUMENT; an id
 * that the vocabulary does not name gives no text (models have rows beyond their tokenizer). */
phlox_status px_tokenizer_decode(const px_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                 bool with_control, px_buffer *out, phlox_error *error);

/*
 * The text stream: ids in, whole characters out. The concatenation of all pieces equals
 * px_tokenizer_decode of all ids (bytes that never become valid UTF-8 come out as U+FFFD, as
 * there). With byte fallback a run of byte tokens comes out when it ends: one bad byte turns all of
 * the run into U+FFFD, so that nothing of it is certain before.
 */
typedef struct px_text_stream px_text_stream;

/* `skip_first_space`: the stream starts a text of its own (as decode does), rather than going on
 * behind other tokens. `tokenizer` must outlive the stream. */
phlox_status px_text_stream_create(const px_tokenizer *tokenizer, bool skip_first_space,
                                   bool with_control, px_text_stream **out, phlox_error *error);
void px_text_stream_free(px_text_stream *stream);
/* Appends the text that became complete with `id` to `out`. */
phlox_status px_text_stream_add(px_text_stream *stream, int32_t id, px_buffer *out,
                                phlox_error *error);
/* Appends what is left, incomplete bytes as U+FFFD. */
phlox_status px_text_stream_end(px_text_stream *stream, px_buffer *out, phlox_error *error);

#endif
