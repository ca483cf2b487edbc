/* A run of files as the input of a fuzz target: each is one byte (which of the names), three bytes of length
 * (little endian) and so many bytes. */
#ifndef PX_TESTS_FUZZ_FILES_H
#define PX_TESTS_FUZZ_FILES_H

#include "checkpoint/checkpoint.h"

#include <stdlib.h>
#include <string.h>

/* Every file gets memory of exactly its size, so that reading past its end is noticed. At most `most` of
 * them; free them with fuzz_files_free(). */
static inline size_t fuzz_files_read(const uint8_t *data, size_t size, const char *const *names,
                                     size_t name_count, px_memory_file *files, size_t most)
{
    size_t count = 0;
    while (size >= 4 && count < most) {
        const size_t wanted = data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16;
        const size_t length = PX_MIN(wanted, size - 4);
        char *const bytes = malloc(length ? length : 1);
        if (!bytes) break;
        memcpy(bytes, data + 4, length);
        files[count++] = (px_memory_file){names[data[0] % name_count], {bytes, length}};
        data += 4 + length;
        size -= 4 + length;
    }
    return count;
}

static inline void fuzz_files_free(px_memory_file *files, size_t count)
{
    for (size_t i = 0; i < count; i++) free((void *)(uintptr_t)files[i].bytes.data);
}

#endif
