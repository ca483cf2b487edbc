/* ONNX Runtime GenAI directories, as its model builder writes them; see checkpoint.h. */
#ifndef PX_CHECKPOINT_ONNX_H
#define PX_CHECKPOINT_ONNX_H

#include "checkpoint/checkpoint.h"

extern const px_form px_form_onnx;

/* A directory whose files are in memory, as px_checkpoint_open_memory() has them. On failure `out` is to
 * be closed as well. */
phlox_status px_onnx_open_memory(const px_memory_file *files, size_t count, px_checkpoint *out,
                                 phlox_error *error);

/* The functions of px_form that write. */
phlox_status px_onnx_write(px_export *job, phlox_error *error);
void px_onnx_choose(const px_export *job, phlox_model_options *options);
bool px_onnx_holds(const px_export *job, struct px_export_item *item);
void px_onnx_nearest(const px_export *job, struct px_export_item *item, int bits);

#endif
