/* The tokenizer of a checkpoint as the keys of a GGUF file, as llama.cpp's converter writes them. */
#ifndef PX_CHECKPOINT_GGUF_VOCABULARY_H
#define PX_CHECKPOINT_GGUF_VOCABULARY_H

#include "checkpoint/gguf_keys.h"
#include "checkpoint/vocabulary.h"

/* What llama.cpp makes of a tokenizer. */
typedef struct px_gguf_vocabulary {
    const px_checkpoint *checkpoint;
    px_vocabulary read;    /* empty where the checkpoint has no tokenizer */
    const char *model;     /* "llama", "gpt2", "no_vocab" */
    const char *pre;       /* which expression cuts words */
    const char *deviation; /* what llama.cpp does otherwise, so that some texts become other ids; or why it
                            * has no tokenizer; NULL: ids are the same */
    bool named_phi3;       /* control tokens take the white space behind them: in llama.cpp they do so in
                            * models that are called Phi-3 */
    float *scores;         /* [vocab_size], of "llama" */
} px_gguf_vocabulary;

/* `out` is to be freed after a failure as well. */
phlox_status px_gguf_vocabulary_read(const px_checkpoint *checkpoint, px_gguf_vocabulary *out,
                                     phlox_error *error);
void px_gguf_vocabulary_free(px_gguf_vocabulary *vocabulary);

/* All keys that begin with "tokenizer.". Where llama.cpp deviates, tokenizer.json itself is among them. */
void px_gguf_put_vocabulary(px_gguf_keys *keys, const px_gguf_vocabulary *vocabulary);

#endif
