/* The vocabulary of a GGUF file as the tokenizer.json that it was made from. */
#ifndef PX_CHECKPOINT_GGUF_TOKENIZER_H
#define PX_CHECKPOINT_GGUF_TOKENIZER_H

#include "checkpoint/gguf_file.h"

/*
 * Writes tokenizer.json's text, which gives the ids of the published tokenizer; nothing when the file
 * has no vocabulary.
 *
 * "llama" (Phi-3): the merges are all pairs of tokens that make a token, in the order of the scores,
 * as transformers makes them from a SentencePiece model. "gpt2" (Phi-4, Phi-4-mini): merges are in the
 * file, the expression that cuts words follows from tokenizer.ggml.pre. The file does not say which
 * control tokens take the white space beside them with them: they do as those of the published
 * tokenizers with their names.
 */
phlox_status px_gguf_tokenizer(const px_gguf *gguf, int64_t vocab_size, px_buffer *out,
                               phlox_error *error);

/* The name in tokenizer.ggml.pre of an expression that cuts words; NULL for one that the family does not
 * have. */
const char *px_gguf_pre_of(const char *expression);

#endif
