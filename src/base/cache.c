#include "base/cache.h"

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

/* The fields before `verified` are covered by header_checksum, as is the section table. */
struct header {
    char magic[8];
    uint32_t version, section_count;
    uint64_t file_size;
    char kind[16];
    char source[1792], state[1536], variant[640]; /* NUL-terminated, cut when longer */
    uint64_t identity; /* checksum of the four key strings, uncut */
    uint64_t header_checksum;
    uint64_t verified; /* 1 after the checksums were checked once */
    char padding[64];
};
_Static_assert(sizeof(struct header) == PAGE, "the header fills a page");
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

static char *join(const char *directory, const char *name)
{
    const size_t size = strlen(directory) + strlen(name) + 2;
    char *const path = malloc(size);
    if (path) snprintf(path, size, "%s/%s", directory, name);
    return path;
}

/* The name does not depend on the state, so that a stale file is found and replaced. */
static char *path_of(const char *directory, const px_cache_key *key)
{
    const uint64_t a =
        string_sum(key->kind, 11) + string_sum(key->source, 12) + string_sum(key->variant, 13);
    const uint64_t b =
        string_sum(key->kind, 21) ^ string_sum(key->source, 22) ^ string_sum(key->variant, 23);
    char name[80];
    snprintf(name, sizeof name, "%.16s-%016" PRIx64 "%016" PRIx64 SUFFIX, key->kind, a, b);
    return join(directory, name);
}

/* Length of the name "kind-32 hexadecimal digits.phlox" that `name` begins with, or 0: the directory
 * may be shared with files that are not ours. */
static size_t own_name(const char *name)
{
    const size_t kind = strspn(name, "abcdefghijklmnopqrstuvwxyz");
    if (!kind || name[kind] != '-') return 0;
    const size_t digits = strspn(name + kind + 1, "0123456789abcdef"), suffix = strlen(SUFFIX);
    if (digits != 32 || strncmp(name + kind + 33, SUFFIX, suffix) != 0) return 0;
    return kind + 33 + suffix;
}

static bool is_own_partial(const char *name)
{
    const size_t length = own_name(name);
    return length && name[length] == '.';
}

static uint64_t header_sum(const struct header *header, const px_cache_section *sections)
{
    return px_checksum(header, offsetof(struct header, header_checksum), 0) +
           px_checksum(sections, header->section_count * sizeof *sections, PAGE);
}

/* NULL when the header and the section table are sound, else what is wrong. */
static const char *check_header(const px_map *map)
{
    const struct header *const header = (const void *)map->data;
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

struct checking {
    phlox_progress_fn *report; /* NULL: nobody asks */
    void *user;
    phlox_progress progress;
};

/* Checks the checksum of every section. */
static phlox_status check_sections(const px_cache_file *file, struct checking *checking,
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

static px_cache_file file_of(px_map map)
{
    const struct header *const header = (const void *)map.data;
    return (px_cache_file){map, (const void *)(map.data + PAGE), header->section_count};
}

static void mark_verified(const char *path, const px_map *map)
{
    const uint64_t yes = 1;
    px_patch_mapped(path, map, offsetof(struct header, verified), &yes, sizeof yes);
}

/* *wrong: NULL when the file is good, else what is the matter with it. */
static phlox_status check_file(const char *path, const px_cache_key *key, const px_map *map,
                               struct checking *checking, const char **wrong, phlox_error *error)
{
    *wrong = check_header(map);
    if (*wrong) return PHLOX_OK;
    const struct header *const header = (const void *)map->data;
    if (header->identity != identity_of(key)) *wrong = "stale";
    if (*wrong || header->verified) return PHLOX_OK;
    const px_cache_file file = file_of(*map);
    bool sound;
    checking->progress.total = map->size;
    PX_TRY(check_sections(&file, checking, &sound, error));
    if (sound) mark_verified(path, map);
    else *wrong = "damaged";
    return PHLOX_OK;
}

static phlox_status open_path(const char *path, const px_cache_key *key,
                              struct checking *checking, px_cache_file *out, phlox_error *error)
{
    px_map map;
    const char *wrong = NULL;
    PX_TRY(px_map_open(path, &map, error));
    const phlox_status status = check_file(path, key, &map, checking, &wrong, error);
    if (status == PHLOX_OK && !wrong) {
        *out = file_of(map);
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
    char *const path = path_of(directory, key);
    if (!path) return px_fail_memory(error, strlen(directory));
    struct checking checking = {progress, progress_user, {.what = "checking", .is_bytes = true}};
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
    struct header header;
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

static phlox_status make_room(const char *directory, uint64_t limit, uint64_t needed, const char *source,
                              phlox_error *error);

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
    px_out_clean(directory, is_own_partial);
    PX_TRY(make_room(directory, limit, end, key->source, error));

    px_cache_writer *const writer = px_calloc(1, sizeof *writer);
    char *const path = path_of(directory, key);
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
    struct header *const header = &writer->header;
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
    struct header *const header = &writer->header;
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

/* ---- directories --------------------------------------------------------------------------- */

/* The file that says what a directory is: it has the name of the directory that it is in. */
static char *mark_of(const char *tree)
{
    return join(tree, strrchr(tree, '/') + 1);
}

/* Its section: bytes of the other files where they are those of the beginning, 0 where they grow. */
static phlox_status write_mark(const char *directory, const px_cache_key *key, bool grows,
                               phlox_error *error)
{
    const uint64_t bytes = grows ? 0 : px_tree_bytes(directory);
    px_cache_section section = {.name = "bytes", .size = sizeof bytes};
    px_cache_writer *writer = NULL;
    PX_TRY(px_cache_create(directory, UINT64_MAX, key, &section, 1, &writer, error));
    const phlox_status status = px_cache_write(writer, 0, 0, &bytes, sizeof bytes, error);
    if (status == PHLOX_OK) return px_cache_commit(writer, error);
    px_cache_abandon(writer);
    return status;
}

/* Whether all files are there and as long as they were. */
static bool is_whole(const char *tree, const px_cache_file *mark)
{
    uint64_t bytes;
    if (mark->count != 1 || mark->sections[0].size != sizeof bytes) return false;
    memcpy(&bytes, px_cache_data(mark, 0), sizeof bytes);
    return !bytes || px_tree_bytes(tree) == bytes + mark->map.size;
}

static bool is_current(const char *path, const px_cache_key *key)
{
    px_cache_file mark;
    if (px_cache_open(path, key, NULL, NULL, &mark, NULL) != PHLOX_OK) return false;
    const bool whole = is_whole(path, &mark);
    px_cache_close(&mark);
    return whole;
}

static phlox_status make_tree(const char *path, const px_cache_key *key, px_cache_fill_fn *fill,
                              void *user, phlox_error *error)
{
    px_out_directory made;
    PX_TRY(px_out_directory_open(&made, path, error));
    phlox_status status = fill ? fill(user, made.temporary, error) : PHLOX_OK;
    if (status == PHLOX_OK) status = write_mark(made.temporary, key, !fill, error);
    if (status == PHLOX_OK) return px_out_directory_commit(&made, error);
    px_out_directory_abandon(&made);
    return status;
}

phlox_status px_cache_tree_open(const char *directory, uint64_t limit, const px_cache_key *key,
                                uint64_t bytes, px_cache_fill_fn *fill, void *user, char **path,
                                bool *was_there, phlox_error *error)
{
    char *const tree = path_of(directory, key);
    if (!tree) return px_fail_memory(error, strlen(directory));
    bool is_there = is_current(tree, key);
    if (was_there) *was_there = is_there;
    phlox_status status = PHLOX_OK;
    if (!is_there) {
        status = px_make_directories(directory, error);
        px_out_directory_clean(directory, is_own_partial);
        if (status == PHLOX_OK) status = make_room(directory, limit, bytes, key->source, error);
        if (status == PHLOX_OK && px_is_directory(tree) && !is_current(tree, key))
            status = px_remove_tree_at_once(tree, error);
        if (status == PHLOX_OK) status = make_tree(tree, key, fill, user, error);
        /* another process may have been faster */
        if (status != PHLOX_OK && is_current(tree, key)) status = PHLOX_OK;
    }
    if (status == PHLOX_OK) *path = tree;
    else free(tree);
    return status;
}

/* ---- care ---------------------------------------------------------------------------------- */

struct listing {
    struct entry {
        char *name;
        uint64_t size;
        int64_t modified;
        bool is_tree;
    } *entries;
    size_t count, capacity;
    const char *directory;
};

static phlox_status add_entry(struct listing *listing, const px_dir_entry *found, bool is_tree,
                              phlox_error *error)
{
    const size_t length = own_name(found->name);
    if (!length || found->name[length]) return PHLOX_OK;
    if (listing->count == listing->capacity) {
        const size_t capacity = listing->capacity * 2 + 16;
        struct entry *const grown = realloc(listing->entries, capacity * sizeof *grown);
        if (!grown) return px_fail_memory(error, capacity * sizeof *grown);
        listing->entries = grown;
        listing->capacity = capacity;
    }
    char *const name = px_strdup(found->name, length);
    if (!name) return px_fail_memory(error, length);
    listing->entries[listing->count++] =
        (struct entry){name, found->size, found->modified, is_tree};
    return PHLOX_OK;
}

static phlox_status add_file(void *user, const px_dir_entry *found, phlox_error *error)
{
    return add_entry(user, found, false, error);
}

static phlox_status find_mark(void *user, const px_dir_entry *found, phlox_error *error)
{
    (void)error;
    px_dir_entry *const entry = user;
    if (strcmp(found->name, entry->name) == 0) entry->modified = found->modified;
    return PHLOX_OK;
}

static phlox_status add_tree(void *user, const char *name, phlox_error *error)
{
    struct listing *const listing = user;
    if (!own_name(name)) return PHLOX_OK;
    char *const path = join(listing->directory, name);
    if (!path) return px_fail_memory(error, strlen(name));
    px_dir_entry found = {.name = name, .size = px_tree_bytes(path)};
    phlox_status status = px_list_directory(path, find_mark, &found, error);
    free(path);
    if (status == PHLOX_OK) status = add_entry(listing, &found, true, error);
    return status;
}

static int longest_unused_first(const void *left, const void *right)
{
    const struct entry *const a = left, *const b = right;
    return (a->modified > b->modified) - (a->modified < b->modified);
}

static void listing_free(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++) free(listing->entries[i].name);
    free(listing->entries);
}

static phlox_status list(const char *directory, struct listing *out, phlox_error *error)
{
    *out = (struct listing){.directory = directory};
    phlox_status status = px_list_directory(directory, add_file, out, error);
    if (status == PHLOX_OK) status = px_list_directories(directory, add_tree, out, error);
    if (status != PHLOX_OK) {
        listing_free(out);
        return status;
    }
    if (out->count)
        qsort(out->entries, out->count, sizeof *out->entries, longest_unused_first);
    return PHLOX_OK;
}

static phlox_status remove_entry(const char *path, const struct entry *entry, phlox_error *error)
{
    return entry->is_tree ? px_remove_tree_at_once(path, error) : px_remove_file(path, error);
}

/* An entry that the new one is made from stays. */
static bool is_source(const char *source, const char *directory, const char *name)
{
    char *const path = join(directory, name);
    char *const real = path ? px_real_path(path) : NULL;
    const bool is = real && strcmp(source, real) == 0;
    free(path);
    free(real);
    return is;
}

static phlox_status make_room(const char *directory, uint64_t limit, uint64_t needed, const char *source,
                              phlox_error *error)
{
    if (needed > limit)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "%s: the entry needs %" PRIu64 " bytes and the cache may hold %" PRIu64
                       "; raise --cache-limit or use --no-cache", directory, needed, limit);
    struct listing listing;
    PX_TRY(list(directory, &listing, error));
    uint64_t sum = needed;
    for (size_t i = 0; i < listing.count; i++) sum += listing.entries[i].size;
    for (size_t i = 0; i < listing.count && sum > limit; i++) {
        if (is_source(source, directory, listing.entries[i].name)) continue;
        char *const path = join(directory, listing.entries[i].name);
        if (path && remove_entry(path, &listing.entries[i], NULL) == PHLOX_OK) sum -= listing.entries[i].size;
        free(path);
    }
    listing_free(&listing);
    return PHLOX_OK;
}

/* Calls `visit` with the path and entry of each file; owns the loop that list and verify share. */
static phlox_status for_each(const char *directory,
                             phlox_status (*visit)(void *user, const char *path,
                                                   const struct entry *entry, phlox_error *error),
                             void *user, phlox_error *error)
{
    struct listing listing;
    PX_TRY(list(directory, &listing, error));
    phlox_status status = PHLOX_OK;
    for (size_t i = 0; i < listing.count && status == PHLOX_OK; i++) {
        char *const path = join(directory, listing.entries[i].name);
        status = path ? visit(user, path, &listing.entries[i], error)
                      : px_fail_memory(error, strlen(directory));
        free(path);
    }
    listing_free(&listing);
    return status;
}

/* The file that has the header of an entry; free() it. */
static char *header_of(const char *path, const struct entry *entry)
{
    return entry->is_tree ? mark_of(path) : px_strdup(path, strlen(path));
}

struct list_walk {
    phlox_cache_fn *visit;
    void *user;
    bool stopped;
};

static phlox_status list_one(void *user, const char *path, const struct entry *entry,
                             phlox_error *error)
{
    (void)error;
    struct list_walk *const walk = user;
    if (walk->stopped) return PHLOX_OK;
    px_map map = {0};
    char *const file = header_of(path, entry);
    const bool sound = file && px_map_open(file, &map, NULL) == PHLOX_OK && !check_header(&map);
    free(file);
    const struct header *const header = (const void *)map.data;
    const phlox_cache_entry found = {
        .name = entry->name,
        .kind = sound ? header->kind : "damaged",
        .source = sound ? header->source : "",
        .bytes = entry->size,
        .used = entry->modified / 1000000000,
    };
    walk->stopped = !walk->visit(walk->user, &found);
    px_map_close(&map);
    return PHLOX_OK;
}

phlox_status px_cache_list(const char *directory, phlox_cache_fn *visit, void *user,
                           phlox_error *error)
{
    struct list_walk walk = {visit, user, false};
    return for_each(directory, list_one, &walk, error);
}

struct verify_walk {
    struct checking checking;
    size_t checked, damaged;
};

static phlox_status add_size(void *user, const char *path, const struct entry *entry,
                             phlox_error *error)
{
    (void)path, (void)error;
    ((struct verify_walk *)user)->checking.progress.total += entry->size;
    return PHLOX_OK;
}

/* Of a directory the mark is checked, and what it says of the files. */
static phlox_status verify_tree(struct verify_walk *walk, const char *path, phlox_error *error)
{
    char *const file = mark_of(path);
    px_map map = {0};
    bool sound = file && px_map_open(file, &map, NULL) == PHLOX_OK && !check_header(&map);
    if (sound) {
        const px_cache_file mark = file_of(map);
        sound = is_whole(path, &mark);
    }
    free(file);
    px_map_close(&map);
    walk->checked++;
    walk->damaged += !sound;
    return sound ? PHLOX_OK : px_remove_tree_at_once(path, error);
}

static phlox_status verify_one(void *user, const char *path, const struct entry *entry,
                               phlox_error *error)
{
    struct verify_walk *const walk = user;
    if (entry->is_tree) return verify_tree(walk, path, error);
    px_map map = {0};
    phlox_status status = px_map_open(path, &map, error);
    if (status == PHLOX_ERROR_NOT_FOUND) return PHLOX_OK; /* another process removed it */
    PX_TRY(status);
    bool sound = !check_header(&map);
    if (sound) {
        const px_cache_file file = file_of(map);
        status = check_sections(&file, &walk->checking, &sound, error);
    }
    if (status == PHLOX_OK) {
        if (sound) mark_verified(path, &map);
        else px_remove_mapped(path, &map);
        walk->checked++;
        walk->damaged += !sound;
    }
    px_map_close(&map);
    return status;
}

phlox_status px_cache_verify(const char *directory, phlox_progress_fn *progress,
                             void *progress_user, size_t *checked, size_t *damaged,
                             phlox_error *error)
{
    struct verify_walk walk = {
        .checking = {progress, progress_user, {.what = "checking", .is_bytes = true}}};
    PX_TRY(for_each(directory, add_size, &walk, error));
    PX_TRY(for_each(directory, verify_one, &walk, error));
    *checked = walk.checked;
    *damaged = walk.damaged;
    return PHLOX_OK;
}

struct remove_walk {
    const char *name; /* NULL: all */
    size_t removed;
};

static phlox_status remove_one(void *user, const char *path, const struct entry *entry,
                               phlox_error *error)
{
    struct remove_walk *const walk = user;
    if (walk->name && strcmp(walk->name, entry->name) != 0) return PHLOX_OK;
    PX_TRY(remove_entry(path, entry, error));
    walk->removed++;
    return PHLOX_OK;
}

phlox_status px_cache_remove(const char *directory, const char *name, size_t *removed,
                             phlox_error *error)
{
    struct remove_walk walk = {name, 0};
    PX_TRY(for_each(directory, remove_one, &walk, error));
    *removed = walk.removed;
    if (name && !walk.removed)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                       "%s: no cache entry is called %s; phlox cache ls lists them", directory,
                       name);
    px_out_clean(directory, is_own_partial);
    px_out_directory_clean(directory, is_own_partial);
    return PHLOX_OK;
}
