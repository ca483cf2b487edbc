/* The steps of encoding, in their order: added tokens out of the text, normalization,
 * pre-tokenizer, byte pair encoding of each piece. */
#ifndef PX_TEXT_ENCODE_H
#define PX_TEXT_ENCODE_H

#include "text/table.h"

typedef struct px_range {
    size_t start, end; /* bytes */
} px_range;

/* Appends the ids of `text`. Added tokens are recognised where they lie wholly inside one of the
 * ranges (ascending, disjoint); nothing else in the text can give the id of an added token, unless
 * one range covers all of it. */
phlox_status px_encode_ranges(const px_tokenizer *t, phlox_text text, const px_range *ranges,
                              size_t range_count, px_ids *ids, phlox_error *error);

/* Appends the normalized form of `text`; `program_text` is what the program's spans mean. */
phlox_status px_normalize(const px_program *program, const char *program_text, phlox_text text,
                          px_buffer *out, phlox_error *error);
/* Appends `text` with every `from` (not empty) replaced. What comes out of `original` bytes may be
 * no more than 32 times as long: steps that make text grow and grow are UNSUPPORTED. */
phlox_status px_replace(phlox_text text, phlox_text from, phlox_text to, size_t original,
                        px_buffer *out, phlox_error *error);

/* A text cut at added tokens: the parts between them have the id PX_NO_ID. */
typedef struct px_part {
    size_t start, end;
    int32_t id;
} px_part;

typedef struct px_parts {
    px_part *data;
    size_t count, capacity;
} px_parts;

/* Appends the parts of `text`, cut at the tokens of the trie under `root`. */
phlox_status px_added_split(const px_tokenizer *t, uint32_t root, phlox_text text,
                            const px_range *ranges, size_t range_count, px_parts *out,
                            phlox_error *error);

/* Working memory of byte pair encoding. Start from {0}. */
typedef struct px_bpe {
    struct px_symbol *symbols;
    uint64_t *heap;
    size_t capacity; /* symbols */
} px_bpe;

/* Appends the ids of one piece (valid UTF-8). With `guard` no id of an added token comes out,
 * except that of the unknown token. */
phlox_status px_bpe_encode(const px_tokenizer *t, px_bpe *bpe, phlox_text piece, bool guard,
                           px_ids *ids, phlox_error *error);
void px_bpe_free(px_bpe *bpe);

#endif
