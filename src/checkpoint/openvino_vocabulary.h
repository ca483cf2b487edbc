/* What the graphs of a tokenizer are made of: the vocabulary, merges and added tokens of a tokenizer.json, in
 * the order and encoding that the operations of openvino_tokenizers take. */
#ifndef PX_CHECKPOINT_OPENVINO_VOCABULARY_H
#define PX_CHECKPOINT_OPENVINO_VOCABULARY_H

#include "base/json.h"
#include "checkpoint/checkpoint.h"

enum { PX_OV_MOST_TOKENS = 1 << 22 };

/* One of the tokens that are found in a text before anything else. */
typedef struct px_ov_added {
    const char *content;
    int32_t id;
    bool lstrip, rstrip, special;
} px_ov_added;

/* Strings as the operations take them: one after the other, and where each begins and ends. */
typedef struct px_ov_strings {
    px_buffer bytes;
    int32_t *begins, *ends;
    int32_t count;
} px_ov_strings;

/* Which pieces of a text get a U+2581 in front; byte-level vocabularies have no such mark. */
typedef enum px_ov_prepend {
    PX_OV_NONE,
    PX_OV_ALL,
    PX_OV_ALL_BUT_SPACED,
    PX_OV_FIRST_BUT_SPACED
} px_ov_prepend;

typedef struct px_ov_vocabulary {
    json_t *json;   /* tokenizer.json */
    json_t *config; /* tokenizer_config.json, or NULL */
    const json_t *model;
    bool byte_level; /* tokens are bytes written as letters, as in GPT-2 */
    px_ov_prepend prepend;
    const char *pattern; /* of the pre-tokenizer, with byte_level */
    bool pattern_isolates, pattern_inverts;
    px_ov_added *added; /* by id */
    size_t added_count;
    px_ov_strings vocab, left, right, added_strings; /* tokens by id; both sides of the merges */
    int32_t pad;                                     /* -1: none */
} px_ov_vocabulary;

/* Reads the tokenizer of a checkpoint that has one. PHLOX_ERROR_UNSUPPORTED when it is of neither of the
 * family's kinds. `out` is to be freed after a failure as well. */
phlox_status px_ov_vocabulary_read(const px_checkpoint *checkpoint, px_ov_vocabulary *out,
                                   phlox_error *error);
void px_ov_vocabulary_free(px_ov_vocabulary *vocabulary);

/* The id of an added token, or -1. */
int32_t px_ov_id(const px_ov_vocabulary *vocabulary, const char *content);
/* "(a|b)|(c)(?:\s*)": the added tokens, with the blanks around them that belong to them, and a NUL. */
phlox_status px_ov_added_pattern(const px_ov_vocabulary *vocabulary, px_buffer *out,
                                 phlox_error *error);
bool px_ov_is_type(const json_t *object, const char *type);
/* PHLOX_ERROR_UNSUPPORTED: the tokenizer is not one of the family's. */
phlox_status px_ov_fail_kind(const char *what, phlox_error *error);

#endif
