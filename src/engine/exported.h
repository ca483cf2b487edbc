/* A checkpoint in the form that a runtime reads: where it lies, or as an export that is kept in the cache. */
#ifndef PX_ENGINE_EXPORTED_H
#define PX_ENGINE_EXPORTED_H

#include "checkpoint/checkpoint.h"

#include <phlox/tools.h>

typedef struct px_exported {
    char *path;        /* of the directory */
    bool is_temporary; /* px_exported_close() removes it */
    bool from_cache;   /* nothing had to be made: it lay there, or in the cache */
    char weights[96];  /* "int4 sym g128, embedding and lm_head int8" */
} px_exported;

/*
 * `form`: "openvino" or "onnx", as `words` (of phlox_export()) ask for. A checkpoint of that form is used in place
 * where `options` ask for no other weights and `words` for no accuracy level; whether it is one that the device takes is for the caller to know. Of
 * others the weights become what they would in the native engine; what the form cannot hold to the last bit is
 * widened to float32. `cache_dir` NULL: a temporary directory. Reports progress as `options` say.
 */
phlox_status px_exported_open(const px_checkpoint *checkpoint, const char *form,
                              const phlox_model_options *options, const phlox_export_options *words,
                              const char *cache_dir, px_exported *out, phlox_error *error);
void px_exported_close(px_exported *exported); /* {0} is accepted */

#endif
