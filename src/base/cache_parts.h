/* What the files of the cache share: cache.c reads and writes an entry, cache_tree.c has directories among them,
 * cache_care.c lists, checks and removes. */
#ifndef PX_BASE_CACHE_PARTS_H
#define PX_BASE_CACHE_PARTS_H

#include "base/cache.h"

/* The fields before `verified` are covered by header_checksum, as is the section table. */
typedef struct px_cache_header {
    char magic[8];
    uint32_t version, section_count;
    uint64_t file_size;
    char kind[16];
    char source[1792], state[1536], variant[640]; /* NUL-terminated, cut when longer */
    uint64_t identity; /* checksum of the four key strings, uncut */
    uint64_t header_checksum;
    uint64_t verified; /* 1 after the checksums were checked once */
    char padding[64];
} px_cache_header;

/* ---- names --------------------------------------------------------------------------------- */

char *px_cache_join(const char *directory, const char *name); /* free() it */
/* The name does not depend on the state, so that a stale entry is found and replaced. free() it. */
char *px_cache_path(const char *directory, const px_cache_key *key);
/* Length of the name "kind-32 hexadecimal digits.phlox" that `name` begins with, or 0: the directory
 * may be shared with files that are not ours. */
size_t px_cache_own_name(const char *name);
bool px_cache_is_partial(const char *name); /* of one of ours, left behind or being written */

/* ---- what is in a file --------------------------------------------------------------------- */

/* NULL when the header and the section table are sound, else what is wrong. */
const char *px_cache_check_header(const px_map *map);
px_cache_file px_cache_file_of(px_map map); /* of a sound one */

typedef struct px_cache_checking {
    phlox_progress_fn *report; /* NULL: nobody asks */
    void *user;
    phlox_progress progress;
} px_cache_checking;

/* Checks the checksum of every section. */
phlox_status px_cache_check_sections(const px_cache_file *file, px_cache_checking *checking,
                                     bool *sound, phlox_error *error);
void px_cache_mark_verified(const char *path, const px_map *map);

/* ---- directories --------------------------------------------------------------------------- */

/* The file that says what a directory is: it has the name of the directory that it is in. free() it. */
char *px_cache_mark_of(const char *tree);
/* Whether all files are there and as long as they were. */
bool px_cache_is_whole(const char *tree, const px_cache_file *mark);

/* ---- care ---------------------------------------------------------------------------------- */

/* Removes the longest unused entries until `needed` bytes more fit the limit; never the one at the path
 * `source`, which the new entry is made from. */
phlox_status px_cache_make_room(const char *directory, uint64_t limit, uint64_t needed,
                                const char *source, phlox_error *error);

#endif
