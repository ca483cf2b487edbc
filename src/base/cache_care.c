#include "base/cache_parts.h"
#include "base/tree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
    const size_t length = px_cache_own_name(found->name);
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
    if (!px_cache_own_name(name)) return PHLOX_OK;
    char *const path = px_cache_join(listing->directory, name);
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
    char *const path = px_cache_join(directory, name);
    char *const real = path ? px_real_path(path) : NULL;
    const bool is = real && strcmp(source, real) == 0;
    free(path);
    free(real);
    return is;
}

phlox_status px_cache_make_room(const char *directory, uint64_t limit, uint64_t needed, const char *source,
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
        char *const path = px_cache_join(directory, listing.entries[i].name);
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
        char *const path = px_cache_join(directory, listing.entries[i].name);
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
    return entry->is_tree ? px_cache_mark_of(path) : px_strdup(path, strlen(path));
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
    const bool sound = file && px_map_open(file, &map, NULL) == PHLOX_OK && !px_cache_check_header(&map);
    free(file);
    const px_cache_header *const header = (const void *)map.data;
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
    px_cache_checking checking;
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
    char *const file = px_cache_mark_of(path);
    px_map map = {0};
    bool sound = file && px_map_open(file, &map, NULL) == PHLOX_OK && !px_cache_check_header(&map);
    if (sound) {
        const px_cache_file mark = px_cache_file_of(map);
        sound = px_cache_is_whole(path, &mark);
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
    bool sound = !px_cache_check_header(&map);
    if (sound) {
        const px_cache_file file = px_cache_file_of(map);
        status = px_cache_check_sections(&file, &walk->checking, &sound, error);
    }
    if (status == PHLOX_OK) {
        if (sound) px_cache_mark_verified(path, &map);
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
    px_out_clean(directory, px_cache_is_partial);
    px_out_directory_clean(directory, px_cache_is_partial);
    return PHLOX_OK;
}
