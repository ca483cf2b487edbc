/* OpenVINO IR directories, as optimum-intel writes them; see checkpoint.h. */
#ifndef PX_CHECKPOINT_OPENVINO_H
#define PX_CHECKPOINT_OPENVINO_H

#include "checkpoint/checkpoint.h"

extern const px_form px_form_openvino;

/* px_form.write. */
phlox_status px_openvino_write(const px_export *job, phlox_error *error);

#endif
