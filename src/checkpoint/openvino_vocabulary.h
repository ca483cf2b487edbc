/* The vocabulary, merges and added tokens of a tokenizer in the order and encoding that the operations of
 * openvino_tokenizers take. */
#ifndef PX_CHECKPOINT_OPENVINO_VOCABULARY_H
#define PX_CHECKPOINT_OPENVINO_VOCABULARY_H

#include "checkpoint/vocabulary.h"

/* Strings as the operations take them: one after the other, and where each begins and ends. */
typedef struct px_ov_strings {
    px_buffer bytes;
    int32_t *begins, *ends;
    int32_t count;
} px_ov_strings;

typedef struct px_ov_vocabulary {
    px_vocabulary shared;
    px_ov_strings vocab, left, right, added_strings; /* tokens by id; both sides of the merges */
} px_ov_vocabulary;

/* Reads the tokenizer of a checkpoint that has one. PHLOX_ERROR_UNSUPPORTED when it is of neither of the
 * family's kinds. `out` is to be freed after a failure as well. */
phlox_status px_ov_vocabulary_read(const px_checkpoint *checkpoint, px_ov_vocabulary *out,
                                   phlox_error *error);
void px_ov_vocabulary_free(px_ov_vocabulary *vocabulary);

/* "(a|b)|(c)(?:\s*)": the added tokens, with the blanks around them that belong to them, and a NUL. */
phlox_status px_ov_added_pattern(const px_ov_vocabulary *vocabulary, px_buffer *out,
                                 phlox_error *error);

#endif
