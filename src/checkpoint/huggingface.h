/* The Hugging Face form; see checkpoint.h. */
#ifndef PX_CHECKPOINT_HUGGINGFACE_H
#define PX_CHECKPOINT_HUGGINGFACE_H

#include "checkpoint/export.h"

extern const px_form px_form_huggingface;

/* See px_checkpoint_open_memory(). On failure `out` is to be closed as well. */
phlox_status px_huggingface_open_memory(const px_memory_file *files, size_t count,
                                        px_checkpoint *out, phlox_error *error);

/* huggingface_write.c */
phlox_status px_huggingface_write(px_export *job, phlox_error *error);
void px_huggingface_choose(const px_export *job, phlox_model_options *options);
bool px_huggingface_holds(const px_export *job, px_export_item *item);
void px_huggingface_nearest(const px_export *job, px_export_item *item, int bits);

#endif
