/* The tokenizer of a tokenizer.json as the two graphs that OpenVINO GenAI runs, in the operations of
 * openvino_tokenizers. */
#ifndef PX_CHECKPOINT_OPENVINO_TOKENIZER_H
#define PX_CHECKPOINT_OPENVINO_TOKENIZER_H

#include "checkpoint/checkpoint.h"

/* Writes openvino_tokenizer.xml/.bin and openvino_detokenizer.xml/.bin to the directory. A tokenizer that
 * is of neither of the family's kinds is PHLOX_ERROR_UNSUPPORTED. */
phlox_status px_openvino_write_tokenizer(const px_checkpoint *checkpoint, const char *directory,
                                         phlox_error *error);

#endif
