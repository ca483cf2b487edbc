/* OpenVINO IR directories, as optimum-intel writes them; see checkpoint.h. */
#ifndef PX_CHECKPOINT_OPENVINO_H
#define PX_CHECKPOINT_OPENVINO_H

#include "checkpoint/checkpoint.h"

extern const px_form px_form_openvino;

/* A directory whose files are in memory; they must outlive the checkpoint. On failure `out` is to be
 * closed as well. */
phlox_status px_openvino_open_memory(const px_memory_file *files, size_t count, px_checkpoint *out,
                                     phlox_error *error);

/* The functions of px_form that write. */
phlox_status px_openvino_write(px_export *job, phlox_error *error);
void px_openvino_choose(const px_export *job, phlox_model_options *options);
bool px_openvino_holds(const px_export *job, struct px_export_item *item);
void px_openvino_nearest(const px_export *job, struct px_export_item *item, int bits);

#endif
