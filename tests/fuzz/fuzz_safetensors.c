/* The safetensors container. What is accepted must hold what it promises: every tensor inside the
 * data, no two over each other, nothing left over. */
#include "checkpoint/safetensors.h"

#include "base/memory.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    px_safetensors st;
    phlox_error error;
    const phlox_text file = {(const char *)data, size};
    if (px_safetensors_parse(file, "fuzz", &st, &error) != PHLOX_OK) return 0;
    uint64_t covered = 0;
    const uint8_t *end = data + st.header_size;
    for (size_t i = 0; i < st.count; i++) {
        const px_st_entry *const entry = &st.entries[i];
        require(entry->data == end && entry->dims <= PX_ST_MOST_DIMS && entry->dtype[0]);
        uint64_t elements = 1;
        for (int d = 0; d < entry->dims; d++) {
            require(entry->shape[d] >= 0);
            elements *= (uint64_t)entry->shape[d];
        }
        require(entry->size % PX_MAX(elements, UINT64_C(1)) == 0);
        end = (const uint8_t *)entry->data + entry->size;
        covered += entry->size;
    }
    require(end == data + size && covered == size - st.header_size);
    px_safetensors_free(&st);
    return 0;
}
