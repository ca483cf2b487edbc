/* A checkpoint without files: matrices of any size whose weights are computed when they are read, to measure a device
 * with. What such a network answers means nothing; it is finite, and the same every time. */
#ifndef PX_CHECKPOINT_COMPUTED_H
#define PX_CHECKPOINT_COMPUTED_H

#include "checkpoint/checkpoint.h"

/* `config` is the text of a config.json and must outlive the checkpoint. The layers' matrices are int4, symmetric, in
 * groups of 128, which must divide their columns; embedding and lm_head are float16. */
phlox_status px_checkpoint_computed(phlox_text config, px_checkpoint **out, phlox_error *error);

#endif
