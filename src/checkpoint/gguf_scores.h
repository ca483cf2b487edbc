/*
 * Scores of a SentencePiece vocabulary from the merges of a tokenizer.json. SentencePiece joins the two
 * neighbours that make the token with the best score; BPE those that make the merge with the best rank. Where
 * every pair of tokens that makes a token is a merge, and those of one token follow each other, both are the
 * same. So it is in the tokenizers that were made from SentencePiece models: Phi-3's get the scores of its
 * tokenizer.model back.
 */
#ifndef PX_CHECKPOINT_GGUF_SCORES_H
#define PX_CHECKPOINT_GGUF_SCORES_H

#include "checkpoint/vocabulary.h"

/* tokenizer.ggml.token_type */
typedef enum px_gguf_token_type {
    PX_GGUF_TOKEN_NORMAL = 1,
    PX_GGUF_TOKEN_UNKNOWN,
    PX_GGUF_TOKEN_CONTROL,
    PX_GGUF_TOKEN_USER_DEFINED,
    PX_GGUF_TOKEN_UNUSED,
    PX_GGUF_TOKEN_BYTE
} px_gguf_token_type;

/* Merges and what SentencePiece would join. They do the same when all that is possible is listed, in order. */
typedef struct px_gguf_scores {
    size_t listed, possible;
    bool ordered;
} px_gguf_scores;

/* types, scores: [count]. Added tokens get -1000, unused ids -10000, bytes 0. */
phlox_status px_gguf_score(const px_vocabulary *vocabulary, const uint8_t *types, size_t count,
                           float *scores, px_gguf_scores *out, phlox_error *error);

#endif
