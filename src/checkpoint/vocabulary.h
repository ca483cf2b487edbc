/* The tokenizer of a checkpoint as writers of other forms need it: its kind, its tokens by id, its merges and
 * added tokens, from tokenizer.json and tokenizer_config.json. */
#ifndef PX_CHECKPOINT_VOCABULARY_H
#define PX_CHECKPOINT_VOCABULARY_H

#include "base/json.h"
#include "checkpoint/checkpoint.h"

enum { PX_MOST_TOKENS = 1 << 22 };

/* One of the tokens that are found in a text before anything else. */
typedef struct px_added_token {
    const char *content;
    int32_t id;
    bool lstrip, rstrip, special;
} px_added_token;

/* Which pieces of a text get a U+2581 in front; byte-level vocabularies have no such mark. */
typedef enum px_prepend {
    PX_PREPEND_NONE,
    PX_PREPEND_ALL,
    PX_PREPEND_ALL_BUT_SPACED,
    PX_PREPEND_FIRST_BUT_SPACED
} px_prepend;

typedef struct px_vocabulary {
    json_t *json;   /* tokenizer.json */
    json_t *config; /* tokenizer_config.json, or NULL */
    const json_t *model;
    bool byte_level; /* tokens are bytes written as letters, as in GPT-2 */
    px_prepend prepend;
    const char *pattern; /* of the pre-tokenizer, with byte_level */
    bool pattern_isolates, pattern_inverts;
    px_added_token *added; /* by id */
    size_t added_count;
    const char **tokens;   /* of the model by id, as they are written; NULL: none */
    size_t token_count;    /* one past the largest id, added tokens included */
    size_t merge_count;
    int32_t pad; /* -1: none */
} px_vocabulary;

/* Two tokens that become one; not terminated. */
typedef struct px_merged {
    phlox_text left, right;
} px_merged;

/* Reads the tokenizer of a checkpoint that has one. PHLOX_ERROR_UNSUPPORTED when it is of neither of the
 * family's kinds. `out` is to be freed after a failure as well. */
phlox_status px_vocabulary_read(const px_checkpoint *checkpoint, px_vocabulary *out,
                                phlox_error *error);
void px_vocabulary_free(px_vocabulary *vocabulary);

/* The merge of a rank. */
phlox_status px_vocabulary_merge(const px_vocabulary *vocabulary, size_t rank, px_merged *out,
                                 phlox_error *error);
/* The id of an added token, or -1. */
int32_t px_vocabulary_id(const px_vocabulary *vocabulary, const char *content);
/* The id of a token that tokenizer_config.json names, "eos_token", or -1. */
int32_t px_vocabulary_named(const px_vocabulary *vocabulary, const char *key);
bool px_json_is_type(const json_t *object, const char *type);
/* PHLOX_ERROR_UNSUPPORTED: the tokenizer is not one of the family's. */
phlox_status px_vocabulary_fail_kind(const char *what, phlox_error *error);

#endif
