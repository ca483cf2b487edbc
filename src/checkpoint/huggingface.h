/* The Hugging Face form; see checkpoint.h. */
#ifndef PX_CHECKPOINT_HUGGINGFACE_H
#define PX_CHECKPOINT_HUGGINGFACE_H

#include "checkpoint/checkpoint.h"

extern const px_form px_form_huggingface;

/* See px_checkpoint_open_memory(). On failure `out` is to be closed as well. */
phlox_status px_huggingface_open_memory(const px_memory_file *files, size_t count,
                                        px_checkpoint *out, phlox_error *error);

#endif
