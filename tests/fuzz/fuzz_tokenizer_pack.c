/* A packed tokenizer. Size and checksum are put right first, so that the input gets past them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = " Hello <|end|>\n1234 w\xc3\xb6rld's \xf0\x9f\x99\x82<s>";
    char *const block = malloc(size + 1); /* aligned for any type */
    px_tokenizer *t = NULL;
    if (block == NULL) return 0;
    memcpy(block, data, size);
    if (size >= sizeof(px_table_header)) {
        px_table_header *const header = (px_table_header *)(void *)block;
        memcpy(header->magic, PX_TABLE_MAGIC, sizeof header->magic);
        header->size = size;
        header->checksum = px_table_checksum(block, size);
    }
    if (px_tokenizer_unpack(block, size, &t, NULL) == PHLOX_OK) {
        px_ids ids = {0};
        px_buffer out = {0};
        (void)px_tokenizer_encode(t, (phlox_text){text, sizeof text - 1}, 7, 0, &ids, NULL);
        (void)px_tokenizer_encode(t, (phlox_text){text, sizeof text - 1}, 0, 0, &ids, NULL);
        for (int32_t id = 0; id < 100; id++) (void)px_ids_add(&ids, &id, 1, NULL);
        (void)px_tokenizer_decode(t, ids.data, ids.count, true, &out, NULL);
        (void)px_tokenizer_control_id(t, "<|end|>");
        px_ids_free(&ids);
        px_buffer_free(&out);
        px_tokenizer_free(t);
    }
    free(block);
    return 0;
}
