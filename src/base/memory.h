/* Memory: sizes are checked for overflow before they are multiplied, arrays grow by half, and
 * everything the kernels read is aligned to 64 bytes. */
#ifndef PX_BASE_MEMORY_H
#define PX_BASE_MEMORY_H

#include "base/error.h"

#define PX_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PX_MIN(a, b) ((a) < (b) ? (a) : (b))
#define PX_MAX(a, b) ((a) > (b) ? (a) : (b))

/* count * size, or SIZE_MAX (which no allocation grants) when that overflows. */
size_t px_mul(size_t count, size_t size);

/* Zeroed memory for count elements of `size` bytes; NULL when there is none. Free with free(). */
void *px_calloc(size_t count, size_t size);

/* 64-byte aligned, zeroed memory; a multiple of 64 bytes is reserved. Free with px_aligned_free(). */
void *px_aligned_alloc(size_t bytes);
void px_aligned_free(void *memory);

/* A growing run of bytes. Start from {0}; after a failed call it is as before. */
typedef struct px_buffer {
    char *data;
    size_t size, capacity;
} px_buffer;

phlox_status px_buffer_add(px_buffer *buffer, const void *data, size_t size, phlox_error *error);
/* Makes room for `size` more bytes behind buffer->size. */
phlox_status px_buffer_reserve(px_buffer *buffer, size_t size, phlox_error *error);
void px_buffer_free(px_buffer *buffer);

/* A growing array of ids. Start from {0}. */
typedef struct px_ids {
    int32_t *data;
    size_t count, capacity;
} px_ids;

phlox_status px_ids_add(px_ids *ids, const int32_t *data, size_t count, phlox_error *error);
void px_ids_free(px_ids *ids);

/* A copy with a NUL behind it; free with free(). NULL when there is no memory. */
char *px_strdup(const char *text, size_t size);

#endif
