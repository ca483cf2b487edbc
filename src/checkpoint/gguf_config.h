/* The keys of a GGUF file as the config.json of the checkpoint that it was made from. */
#ifndef PX_CHECKPOINT_GGUF_CONFIG_H
#define PX_CHECKPOINT_GGUF_CONFIG_H

#include "checkpoint/gguf_file.h"

/* What the keys leave to the tensors. */
typedef struct px_gguf_tensors {
    int64_t vocab_size;
    bool tied;
    const px_gguf_tensor *long_factors, *short_factors; /* both or neither */
} px_gguf_tensors;

/* Writes config.json's text, which px_config_parse() takes and transformers too. */
phlox_status px_gguf_config(const px_gguf *gguf, const px_gguf_tensors *tensors, px_buffer *out,
                            phlox_error *error);
/* The same of generation_config.json. */
phlox_status px_gguf_generation(const px_gguf *gguf, int64_t vocab_size, px_buffer *out,
                                phlox_error *error);

#endif
