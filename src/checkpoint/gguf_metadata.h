/* The keys of a GGUF file that describe the model, as llama.cpp's converter writes them. */
#ifndef PX_CHECKPOINT_GGUF_METADATA_H
#define PX_CHECKPOINT_GGUF_METADATA_H

#include "checkpoint/export.h"
#include "checkpoint/gguf_vocabulary.h"

/* The number in general.file_type of a file whose matrices mostly have this encoding. */
uint32_t px_gguf_file_type(const char *encoding);

/* "general.*" and "phi3.*". */
void px_gguf_put_model(px_gguf_keys *keys, const px_export *job, const px_gguf_vocabulary *vocabulary,
                       uint32_t file_type);

#endif
