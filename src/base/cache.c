#include "base/cache_parts.h"

#include "base/tree.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX ".phlox"
#define ENDS(field) (memchr(field, 0, sizeof(field)) != NULL)

enum { VERSION = 1, PAGE = 4096, MOST_SECTIONS = 1 << 16 };

static const char magic[8] = "PHLOXPK";

_Static_assert(sizeof(px_cache_header) == PAGE, "the header fills a page");
_Static_assert(sizeof(px_cache_section) == 64, "a section entry has 64 bytes");

uint64_t px_checksum(const void *data, size_t size, uint64_t position)
{
    const uint64_t step = UINT64_C(0x9E3779B97F4A7C15), scramble = UINT64_C(0xD6E8FEB86659FD93);
    const unsigned char *bytes = data;
    uint64_t salt = position / 8 * step, sum = 0;
    for (; size >= 8; size -= 8, bytes += 8, salt += step) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        word = (word ^ salt) * scramble;
        sum += (word ^ word >> 32) * scramble;
    }
    if (size) {
        uint64_t word = 0;
        memcpy(&word, bytes, size);
        word = (word ^ salt) * scramble;
        sum += (word ^ word >> 32) * scramble;
    }
    return sum;
}

static uint64_t string_sum(const char *text, uint64_t seed)
{
    return px_checksum(text, strlen(text), seed * 4096) + strlen(text);
}

static uint64_t identity_of(const px_cache_key *key)
{
    return string_sum(key->kind, 1) + string_sum(key->source, 2) + string_sum(key->state, 3) +
           string_sum(key->variant, 4);
}

char *px_cache_join(const char *directory, const char *name)
{
    const size_t size = strlen(directory) + strlen(name) + 2;
    char *const path = malloc(size);
    if (path) snprintf(path, size, "%s/%s", directory, name);
    return path;
}

char *px_cache_path(const char *directory, const px_cache_key *key)
{
    const uint64_t a =
        string_sum(key->kind, 11) + string_sum(key->source, 12) + string_sum(key->variant, 13);
    const uint64_t b =
        string_sum(key->kind, 21) ^ string_sum(key->source, 22) ^ string_sum(key->variant, 23);
    char name[80];
    snprintf(name, sizeof name, "%.16s-%016" PRIx64 "%016" PRIx64 SUFFIX, key->kind, a, b);
    return px_cache_join(directory, name);
}

size_t px_cache_own_name(const char *name)
{
    const size_t kind = strspn(name, "abcdefghijklmnopqrstuvwxyz");
    if (!kind || name[kind] != '-') return 0;
    const size_t digits = strspn(name + kind + 1, "0123456789abcdef"), suffix = strlen(SUFFIX);
    if (digits != 32 || strncmp(name + kind + 33, SUFFIX, suffix) != 0) return 0;
    return kind + 33 + suffix;
}

bool px_cache_is_partial(const char *name)
{
    const size_t length = px_cache_own_name(name);
    return length && name[length] == '.';
}

static uint64_t header_sum(const px_cache_header *header, const px_cache_section *sections)
{
    return px_checksum(header, offsetof(px_cache_header, header_checksum), 0) +
           px_checksum(sections, header->section_count * sizeof *sections, PAGE);
}

const char *px_cache_check_header(const px_map *map)
{
    const px_cache_header *const header = (const void *)map->data;
    if (map->size < PAGE || memcmp(header->magic, magic, sizeof magic) != 0)
        return "not a phlox cache file";
    if (header->version != VERSION) return "of another version";
    if (header->file_size != map->size) return "not as long as its header says";
    if (header->section_count > MOST_SECTIONS ||
        map->size - PAGE < header->section_count * sizeof(px_cache_section))
        return "without room for its section table";
    const px_cache_section *const sections = (const void *)(map->data + PAGE);
    if (header->header_checksum != header_sum(header, sections)) return "damaged in its header";
    if (!ENDS(header->kind) || !ENDS(header->source)) return "damaged in its key";
    for (size_t i = 0; i < header->section_count; i++) {
        if (!ENDS(sections[i].name) || sections[i].offset % PAGE || sections[i].offset > map->size ||
            sections[i].size > map->size - sections[i].offset)
            return "damaged in its section table";
    }
    return NULL;
}

enum { CHECK_BYTES = 64 << 20 /* between two reports */ };

phlox_status px_cache_check_sections(const px_cache_file *file, px_cache_checking *checking,
                                     bool *sound, phlox_error *error)
{
    *sound = true;
    for (size_t i = 0; i < file->count && *sound; i++) {
        const char *const data = px_cache_data(file, i);
        uint64_t sum = 0;
        for (uint64_t at = 0, part; at < file->sections[i].size; at += part) {
            part = PX_MIN(file->sections[i].size - at, (uint64_t)CHECK_BYTES);
            sum += px_checksum(data + at, part, at);
            checking->progress.done += part;
            if (checking->report && !checking->report(checking->user, &checking->progress))
                return px_fail(error, PHLOX_ERROR_CANCELLED, "checking the cache was cancelled");
        }
        *sound = sum == file->sections[i].checksum;
    }
    return PHLOX_OK;
}

px_cache_file px_cache_file_of(px_map map)
{
    const px_cache_header *const header = (const void *)map.data;
    return (px_cache_file){map, (const void *)(map.data + PAGE), header->section_count};
}

void px_cache_mark_verified(const char *path, const px_map *map)
{
    const uint64_t yes = 1;
    px_patch_mapped(path, map, offsetof(px_cache_header, verified), &yes, sizeof yes);
}

/* *wrong: NULL when the file is good, else what is the matter with it. */
static phlox_status check_file(const char *path, const px_cache_key *key, const px_map *map,
                               px_cache_checking *checking, const char **wrong, phlox_error *error)
{
    *wrong = px_cache_check_header(map);
    if (*wrong) return PHLOX_OK;
    const px_cache_header *const header = (const void *)map->data;
    if (header->identity != identity_of(key)) *wrong = "stale";
    if (*wrong || header->verified) return PHLOX_OK;
    const px_cache_file file = px_cache_file_of(*map);
    bool sound;
    checking->progress.total = map->size;
    PX_TRY(px_cache_check_sections(&file, checking, &sound, error));
    if (sound) px_cache_mark_verified(path, map);
    else *wrong = "damaged";
    return PHLOX_OK;
}

static phlox_status open_path(const char *path, const px_cache_key *key,
                              px_cache_checking *checking, px_cache_file *out, phlox_error *error)
{
    px_map map;
    const char *wrong = NULL;
    PX_TRY(px_map_open(path, &map, error));
    const phlox_status status = check_file(path, key, &map, checking, &wrong, error);
    if (status == PHLOX_OK && !wrong) {
        *out = px_cache_file_of(map);
        px_touch(path);
        return PHLOX_OK;
    }
    if (wrong) px_remove_mapped(path, &map);
    px_map_close(&map);
    if (status != PHLOX_OK) return status;
    return px_fail(error, PHLOX_ERROR_NOT_FOUND, "%s: %s; it is made anew", path, wrong);
}

phlox_status px_cache_open(const char *directory, const px_cache_key *key,
                           phlox_progress_fn *progress, void *progress_user, px_cache_file *out,
                           phlox_error *error)
{
    char *const path = px_cache_path(directory, key);
    if (!path) return px_fail_memory(error, strlen(directory));
    px_cache_checking checking = {progress, progress_user, {.what = "checking", .is_bytes = true}};
    const phlox_status status = open_path(path, key, &checking, out, error);
    free(path);
    return status;
}

void px_cache_close(px_cache_file *file)
{
    px_map_close(&file->map);
    *file = (px_cache_file){0};
}

const void *px_cache_data(const px_cache_file *file, size_t index)
{
    return file->map.data + file->sections[index].offset;
}

/* ---- writing ------------------------------------------------------------------------------- */

struct px_cache_writer {
    px_out_file file;
    px_cache_header header;
    px_cache_section *sections;
    _Atomic uint64_t *checksums; /* [section_count] */
};

static uint64_t page_up(uint64_t offset)
{
    return (offset + PAGE - 1) / PAGE * PAGE;
}

static void copy_cut(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static void writer_free(px_cache_writer *writer)
{
    free(writer->sections);
    free((void *)writer->checksums);
    free(writer);
}

phlox_status px_cache_create(const char *directory, uint64_t limit, const px_cache_key *key,
                             px_cache_section *sections, size_t count, px_cache_writer **out,
                             phlox_error *error)
{
    if (count > MOST_SECTIONS)
        return px_fail(error, PHLOX_ERROR_INTERNAL, "%zu cache sections", count);
    uint64_t end = page_up(PAGE + count * sizeof *sections);
    for (size_t i = 0; i < count; i++) {
        sections[i].offset = end;
        end = page_up(end + sections[i].size);
    }
    PX_TRY(px_make_directories(directory, error));
    px_out_clean(directory, px_cache_is_partial);
    PX_TRY(px_cache_make_room(directory, limit, end, key->source, error));

    px_cache_writer *const writer = px_calloc(1, sizeof *writer);
    char *const path = px_cache_path(directory, key);
    phlox_status status = PHLOX_OK;
    if (writer) {
        writer->file.descriptor = -1;
        writer->sections = px_calloc(count, sizeof *sections);
        writer->checksums = px_calloc(count, sizeof *writer->checksums);
    }
    if (!writer || !path || !writer->sections || !writer->checksums)
        status = px_fail_memory(error, count * sizeof *sections);
    if (status == PHLOX_OK) status = px_out_open(&writer->file, path, end, error);
    free(path);
    if (status != PHLOX_OK) {
        if (writer) writer_free(writer);
        return status;
    }
    if (count) memcpy(writer->sections, sections, count * sizeof *sections);
    px_cache_header *const header = &writer->header;
    memcpy(header->magic, magic, sizeof magic);
    header->version = VERSION;
    header->section_count = (uint32_t)count;
    header->file_size = end;
    header->identity = identity_of(key);
    copy_cut(header->kind, sizeof header->kind, key->kind);
    copy_cut(header->source, sizeof header->source, key->source);
    copy_cut(header->state, sizeof header->state, key->state);
    copy_cut(header->variant, sizeof header->variant, key->variant);
    *out = writer;
    return PHLOX_OK;
}

phlox_status px_cache_write(px_cache_writer *writer, size_t section, uint64_t offset,
                            const void *data, size_t size, phlox_error *error)
{
    const px_cache_section *const target = &writer->sections[section];
    if (offset % 8 || offset > target->size || size > target->size - offset)
        return px_fail(error, PHLOX_ERROR_INTERNAL, "cache section %s: part %" PRIu64 "+%zu of %"
                       PRIu64, target->name, offset, size, target->size);
    atomic_fetch_add(&writer->checksums[section], px_checksum(data, size, offset));
    return px_out_write(&writer->file, target->offset + offset, data, size, error);
}

static phlox_status finish(px_cache_writer *writer, phlox_error *error)
{
    px_cache_header *const header = &writer->header;
    const size_t count = header->section_count;
    for (size_t i = 0; i < count; i++)
        writer->sections[i].checksum = atomic_load(&writer->checksums[i]);
    header->header_checksum = header_sum(header, writer->sections);
    PX_TRY(px_out_write(&writer->file, PAGE, writer->sections, count * sizeof *writer->sections,
                        error));
    PX_TRY(px_out_write(&writer->file, 0, header, sizeof *header, error));
    /* The last section is padded to a page, so that the file has the length of its header. */
    const char zero = 0;
    const px_cache_section *const last = count ? &writer->sections[count - 1] : NULL;
    if (!last || last->offset + last->size < header->file_size)
        PX_TRY(px_out_write(&writer->file, header->file_size - 1, &zero, 1, error));
    return px_out_commit(&writer->file, error);
}

phlox_status px_cache_commit(px_cache_writer *writer, phlox_error *error)
{
    const phlox_status status = finish(writer, error);
    px_out_abandon(&writer->file);
    writer_free(writer);
    return status;
}

void px_cache_abandon(px_cache_writer *writer)
{
    if (!writer) return;
    px_out_abandon(&writer->file);
    writer_free(writer);
}
