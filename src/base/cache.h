/*
 * The cache directory: files made from other files, each with a header, an identity and named
 * sections with checksums. It knows nothing of what the sections hold.
 *
 * A file's name comes from (kind, source, variant), its identity also says which state of the source
 * it was made from: when the source has changed, the old file is found, recognised as stale and made
 * anew. Files are written under a temporary name and renamed when complete.
 *
 * An entry may also be a directory of that name, which has such a file in it.
 *
 * Layout, little endian: struct header (4096 bytes), struct section [count], then the sections, each
 * aligned to 4096 bytes.
 */
#ifndef PX_BASE_CACHE_H
#define PX_BASE_CACHE_H

#include "base/os.h"

#include <phlox/tools.h>

typedef struct px_cache_key {
    const char *kind;    /* "weights", "tokenizer" */
    const char *source;  /* what it is made from, e.g. a path */
    const char *state;   /* size, time, hash of that source: a change makes the file stale */
    const char *variant; /* options that the contents depend on */
} px_cache_key;

typedef struct px_cache_section {
    char name[40];
    uint64_t offset; /* filled in by px_cache_create() */
    uint64_t size;
    uint64_t checksum;
} px_cache_section;

/* ---- reading ------------------------------------------------------------------------------- */

typedef struct px_cache_file {
    px_map map;
    const px_cache_section *sections;
    size_t count;
} px_cache_file;

/* Opens the file of `key` in `directory`. PHLOX_ERROR_NOT_FOUND when there is none, or when it was
 * stale or damaged and has been removed. The first opening after writing checks every checksum, which
 * `progress` (may be NULL) can watch and cancel. */
phlox_status px_cache_open(const char *directory, const px_cache_key *key,
                           phlox_progress_fn *progress, void *progress_user, px_cache_file *out,
                           phlox_error *error);
void px_cache_close(px_cache_file *file);
/* The bytes of section `index`, which must exist. */
const void *px_cache_data(const px_cache_file *file, size_t index);

/* ---- writing ------------------------------------------------------------------------------- */

typedef struct px_cache_writer px_cache_writer;

/* Begins a file with these sections (names and sizes; offsets are filled in). Removes the longest
 * unused files when the directory would pass `limit` bytes. */
phlox_status px_cache_create(const char *directory, uint64_t limit, const px_cache_key *key,
                             px_cache_section *sections, size_t count, px_cache_writer **out,
                             phlox_error *error);
/* Writes a part of a section; offsets are multiples of 8 and so are sizes, but for the last part.
 * May be called from several threads for different parts; every byte is written exactly once. */
phlox_status px_cache_write(px_cache_writer *writer, size_t section, uint64_t offset,
                            const void *data, size_t size, phlox_error *error);
/* Completes the file and frees the writer, also on failure. */
phlox_status px_cache_commit(px_cache_writer *writer, phlox_error *error);
void px_cache_abandon(px_cache_writer *writer); /* NULL is accepted */

/* ---- directories --------------------------------------------------------------------------- */

/* Fills a new directory; it is given its name when this succeeds. */
typedef phlox_status px_cache_fill_fn(void *user, const char *directory, phlox_error *error);

/* The directory of `key` among the entries: used as it is when it was made from this state of the source,
 * else made anew, which `fill` does (NULL: it begins empty and grows later). `bytes` is what that will need.
 * *was_there (may be NULL) says which it was. free(*path). */
phlox_status px_cache_tree_open(const char *directory, uint64_t limit, const px_cache_key *key,
                                uint64_t bytes, px_cache_fill_fn *fill, void *user, char **path,
                                bool *was_there, phlox_error *error);

/* ---- care ---------------------------------------------------------------------------------- */

phlox_status px_cache_list(const char *directory, phlox_cache_fn *visit, void *user,
                           phlox_error *error);
phlox_status px_cache_verify(const char *directory, phlox_progress_fn *progress,
                             void *progress_user, size_t *checked, size_t *damaged,
                             phlox_error *error);
phlox_status px_cache_remove(const char *directory, const char *name, size_t *removed,
                             phlox_error *error);

/* Sum of a position-dependent mix of the 8-byte words: parts may be added in any order. `position`
 * is the offset of the first byte, a multiple of 8; the last word is padded with zeros. */
uint64_t px_checksum(const void *data, size_t size, uint64_t position);

#endif
