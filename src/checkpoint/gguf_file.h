/*
 * The GGUF container, versions 2 and 3, little endian: a header, metadata (keys with values), the
 * names and places of the tensors, their bytes.
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
#ifndef PX_CHECKPOINT_GGUF_FILE_H
#define PX_CHECKPOINT_GGUF_FILE_H

#include "base/memory.h"
#include "checkpoint/gguf_blocks.h"

enum { PX_GGUF_MOST_DIMS = 4, PX_GGUF_NAME_SIZE = 64 /* of a tensor, with its NUL, as in ggml */ };

/* The numbers are those of the file. */
typedef enum px_gguf_type {
    PX_GGUF_U8,
    PX_GGUF_I8,
    PX_GGUF_U16,
    PX_GGUF_I16,
    PX_GGUF_U32,
    PX_GGUF_I32,
    PX_GGUF_F32,
    PX_GGUF_BOOL,
    PX_GGUF_STRING,
    PX_GGUF_ARRAY,
    PX_GGUF_U64,
    PX_GGUF_I64,
    PX_GGUF_F64,
    PX_GGUF_TYPES
} px_gguf_type;

typedef struct px_gguf_value {
    phlox_text key;
    px_gguf_type type;
    px_gguf_type items;  /* type of an array's items */
    uint64_t count;      /* of an array's items */
    const uint8_t *data; /* the value, or the first item of an array; aligned to nothing */
} px_gguf_value;

typedef struct px_gguf_tensor {
    char name[PX_GGUF_NAME_SIZE];
    const px_gguf_encoding *encoding;
    int dims;
    int64_t shape[PX_GGUF_MOST_DIMS]; /* the columns first; 1 behind the last dimension */
    uint64_t offset, size;            /* in the data, in bytes */
    const uint8_t *data;
} px_gguf_tensor;

typedef struct px_gguf {
    const char *name; /* of the file, for messages */
    px_gguf_value *values;
    size_t value_count;
    px_gguf_tensor *tensors; /* in the order of their places */
    size_t tensor_count;
    size_t header_size; /* bytes in front of the data */
} px_gguf;

/* Reads a file's bytes, which must outlive `out`, as must `name`. Checked are every count and length
 * against what is left of the file, that keys and tensors are there once, and that each tensor lies
 * in the data, aligned, over no other. An encoding that gguf_blocks.h lacks is
 * PHLOX_ERROR_UNSUPPORTED. */
phlox_status px_gguf_parse(phlox_text file, const char *name, px_gguf *out, phlox_error *error);
void px_gguf_free(px_gguf *gguf);

/* Whether a file begins like one. */
bool px_gguf_has_magic(const void *data, size_t size);

/* The value of a key, or NULL. */
const px_gguf_value *px_gguf_find(const px_gguf *gguf, const char *key);

/* Values of a type, checked: another type or a number out of range is PHLOX_ERROR_FORMAT, and so is
 * an absent key where there is no default (the functions named _or have one). */
phlox_status px_gguf_int(const px_gguf *gguf, const char *key, int64_t least, int64_t most,
                         int64_t *out, phlox_error *error);
phlox_status px_gguf_int_or(const px_gguf *gguf, const char *key, int64_t least, int64_t most,
                            int64_t absent, int64_t *out, phlox_error *error);
phlox_status px_gguf_real_or(const px_gguf *gguf, const char *key, double least, double most,
                             double absent, double *out, phlox_error *error);
phlox_status px_gguf_bool_or(const px_gguf *gguf, const char *key, bool absent, bool *out,
                             phlox_error *error);
/* Size 0 when absent; data points into the file. */
phlox_status px_gguf_text_or(const px_gguf *gguf, const char *key, const char *absent,
                             phlox_text *out, phlox_error *error);

/* An array of items of one type; *out is NULL when the key is absent. */
phlox_status px_gguf_array(const px_gguf *gguf, const char *key, px_gguf_type items,
                           const px_gguf_value **out, phlox_error *error);
/* The items of an array of strings, [count] to be freed; they point into the file. */
phlox_status px_gguf_strings(const px_gguf_value *array, phlox_text **out, phlox_error *error);
int32_t px_gguf_i32_at(const px_gguf_value *array, uint64_t index);
float px_gguf_f32_at(const px_gguf_value *array, uint64_t index);

#endif
