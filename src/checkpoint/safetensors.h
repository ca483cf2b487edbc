/* The safetensors container: 8 bytes of header length, a JSON header, then the tensors' bytes.
 * Format and its checks: https://github.com/huggingface/safetensors (README, "Format"). */
#ifndef PX_CHECKPOINT_SAFETENSORS_H
#define PX_CHECKPOINT_SAFETENSORS_H

#include "base/json.h"
#include "quant/quant.h"

enum { PX_ST_MOST_DIMS = 4 };

typedef struct px_st_entry {
    const char *name; /* lives as long as the px_safetensors */
    const char *dtype; /* "BF16" */
    int64_t shape[PX_ST_MOST_DIMS];
    int dims;
    const void *data;
    size_t size; /* bytes */
} px_st_entry;

typedef struct px_safetensors {
    json_t *header;
    px_st_entry *entries; /* in the order of the file */
    size_t count;
    size_t header_size; /* the 8 bytes and the JSON */
} px_safetensors;

/* Reads a file's bytes, which must outlive `out`. `name` is for messages. Checked are the lengths,
 * the JSON, every shape against its byte range, and that the ranges cover the data without hole or
 * overlap. */
phlox_status px_safetensors_parse(phlox_text file, const char *name, px_safetensors *out,
                                  phlox_error *error);
void px_safetensors_free(px_safetensors *safetensors);
/* Whether an entry holds floats of a type that weights have. */
bool px_st_is_float(const px_st_entry *entry, px_float_type *type);

#endif
