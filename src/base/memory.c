#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

size_t px_mul(size_t count, size_t size)
{
    return size && count > SIZE_MAX / size ? SIZE_MAX : count * size;
}

void *px_calloc(size_t count, size_t size)
{
    return calloc(count ? count : 1, size ? size : 1);
}

void *px_aligned_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX - 64) return NULL;
    const size_t rounded = PX_MAX((bytes + 63) & ~(size_t)63, (size_t)64);
    void *const memory = aligned_alloc(64, rounded);
    if (memory) memset(memory, 0, rounded);
    return memory;
}

void px_aligned_free(void *memory)
{
    free(memory);
}

phlox_status px_buffer_reserve(px_buffer *buffer, size_t size, phlox_error *error)
{
    if (size <= buffer->capacity - buffer->size) return PHLOX_OK;
    if (size > SIZE_MAX / 2 - buffer->size) return px_fail_memory(error, size);
    const size_t capacity = PX_MAX(buffer->size + size, buffer->capacity + buffer->capacity / 2);
    char *const data = realloc(buffer->data, capacity);
    if (!data) return px_fail_memory(error, capacity);
    buffer->data = data;
    buffer->capacity = capacity;
    return PHLOX_OK;
}

phlox_status px_buffer_add(px_buffer *buffer, const void *data, size_t size, phlox_error *error)
{
    if (!size) return PHLOX_OK;
    PX_TRY(px_buffer_reserve(buffer, size, error));
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return PHLOX_OK;
}

void px_buffer_free(px_buffer *buffer)
{
    free(buffer->data);
    *buffer = (px_buffer){0};
}

phlox_status px_ids_add(px_ids *ids, const int32_t *data, size_t count, phlox_error *error)
{
    if (!count) return PHLOX_OK;
    if (count > ids->capacity - ids->count) {
        if (count > SIZE_MAX / 16 - ids->count) return px_fail_memory(error, count);
        const size_t capacity = PX_MAX(ids->count + count, ids->capacity + ids->capacity / 2);
        int32_t *const grown = realloc(ids->data, capacity * sizeof *grown);
        if (!grown) return px_fail_memory(error, capacity * sizeof *grown);
        ids->data = grown;
        ids->capacity = capacity;
    }
    memcpy(ids->data + ids->count, data, count * sizeof *data);
    ids->count += count;
    return PHLOX_OK;
}

void px_ids_free(px_ids *ids)
{
    free(ids->data);
    *ids = (px_ids){0};
}

char *px_strdup(const char *text, size_t size)
{
    char *const copy = size < SIZE_MAX ? malloc(size + 1) : NULL;
    if (!copy) return NULL;
    if (size) memcpy(copy, text, size);
    copy[size] = 0;
    return copy;
}
