/*
 * Opening cache files. The input is written under the name of one key in a temporary directory, as
 * it stands and with its header's checksum put right, so that what lies behind that check is reached.
 * A file that is accepted must be readable from end to end.
 */
#include "base/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, COUNT_OFFSET = 12, SIZE_OFFSET = 16, IDENTITY_OFFSET = 4008, SUM_OFFSET = 4016 };

static const px_cache_key key = {"fuzz", "source", "state", "variant"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct place {
    char directory[256], path[512];
    uint64_t identity; /* of the key, as a header has it */
};

static bool take_name(void *user, const phlox_cache_entry *entry)
{
    struct place *const found = user;
    snprintf(found->path, sizeof found->path, "%s/%s", found->directory, entry->name);
    return false;
}

static void must(bool condition)
{
    if (!condition) abort();
}

/* The directory, and the name and identity of the key, from a file that is written once. */
static struct place prepare(void)
{
    struct place made = {.directory = "/dev/shm/phlox-fuzz-XXXXXX"};
    if (!mkdtemp(made.directory)) {
        snprintf(made.directory, sizeof made.directory, "/tmp/phlox-fuzz-XXXXXX");
        must(mkdtemp(made.directory) != NULL);
    }
    px_cache_section section = {.name = "s", .size = 8};
    px_cache_writer *writer = NULL;
    must(px_cache_create(made.directory, UINT64_MAX, &key, &section, 1, &writer, NULL) == PHLOX_OK);
    must(px_cache_write(writer, 0, 0, "12345678", 8, NULL) == PHLOX_OK);
    must(px_cache_commit(writer, NULL) == PHLOX_OK);
    must(px_cache_list(made.directory, take_name, &made, NULL) == PHLOX_OK);
    px_map map;
    must(px_map_open(made.path, &map, NULL) == PHLOX_OK && map.size > PAGE);
    memcpy(&made.identity, map.data + IDENTITY_OFFSET, sizeof made.identity);
    px_map_close(&map);
    must(px_remove_file(made.path, NULL) == PHLOX_OK);
    return made;
}

static struct place place; /* made with the first input, removed at the end */

static void leave(void)
{
    rmdir(place.directory);
}

static void try_file(const uint8_t *data, size_t size)
{
    FILE *const file = fopen(place.path, "wb");
    must(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
    px_cache_file opened;
    if (px_cache_open(place.directory, &key, NULL, NULL, &opened, NULL) == PHLOX_OK) {
        volatile uint8_t sum = 0;
        for (size_t i = 0; i < opened.count; i++) {
            const uint8_t *const bytes = px_cache_data(&opened, i);
            for (uint64_t j = 0; j < opened.sections[i].size; j++) sum = (uint8_t)(sum + bytes[j]);
            must(strlen(opened.sections[i].name) < sizeof opened.sections[i].name);
        }
        px_cache_close(&opened);
    } else {
        must(!px_is_file(place.path)); /* removed, to be made anew */
        return;
    }
    size_t checked = 0, damaged = 0;
    must(px_cache_verify(place.directory, NULL, NULL, &checked, &damaged, NULL) == PHLOX_OK);
    must(checked == 1);
    px_remove_file(place.path, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 8 * PAGE) return 0;
    if (!place.path[0]) {
        place = prepare();
        atexit(leave);
    }
    try_file(data, size);
    if (size >= PAGE) {
        uint8_t *const copy = malloc(size);
        must(copy != NULL);
        memcpy(copy, data, size);
        memcpy(copy, "PHLOXPK\0\1\0\0", COUNT_OFFSET);
        const uint64_t length = size;
        memcpy(copy + SIZE_OFFSET, &length, sizeof length);
        memcpy(copy + IDENTITY_OFFSET, &place.identity, sizeof place.identity);
        uint32_t count;
        memcpy(&count, copy + COUNT_OFFSET, sizeof count);
        const uint64_t table = (uint64_t)count * sizeof(px_cache_section);
        if (table <= size - PAGE) {
            const uint64_t sum =
                px_checksum(copy, SUM_OFFSET, 0) + px_checksum(copy + PAGE, (size_t)table, PAGE);
            memcpy(copy + SUM_OFFSET, &sum, sizeof sum);
        }
        try_file(copy, size);
        free(copy);
    }
    return 0;
}
