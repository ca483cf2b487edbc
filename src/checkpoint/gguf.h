/* GGUF files of the phi3 architecture, as llama.cpp's converter writes them; see checkpoint.h. */
#ifndef PX_CHECKPOINT_GGUF_H
#define PX_CHECKPOINT_GGUF_H

#include "checkpoint/checkpoint.h"

extern const px_form px_form_gguf;

#endif
