/*
 * Chosen members of a zip file (a wheel is one), by libarchive, which is opened at run time. An archive
 * that has a link, an absolute path or ".." anywhere is refused as a whole, before anything is written.
 */
#ifndef PX_FETCH_ARCHIVE_H
#define PX_FETCH_ARCHIVE_H

#include "base/os.h"

typedef struct px_archiver px_archiver;

/* PHLOX_ERROR_UNSUPPORTED, naming the package, where the system has no libarchive. */
phlox_status px_archiver_open(px_archiver **out, phlox_error *error);
void px_archiver_close(px_archiver *archiver); /* NULL is accepted */

/* What becomes of the members whose path matches a pattern; the first rule that does counts, and what
 * none matches is left out. */
typedef struct px_archive_rule {
    const char *pattern; /* * stands for anything but '/', a ** at the end for anything */
    const char *prefix;  /* of the file's name; NULL: the members are left out. Behind it comes what **
                            matched, with '-' in place of '/', or else the last part of the path */
} px_archive_rule;

/* Whether a path matches; *rest (may be NULL) becomes what ** matched, or else the last part. */
bool px_archive_match(const char *pattern, const char *path, const char **rest);

typedef struct px_archive_limits {
    uint64_t member, total; /* bytes that a member may have, and all that are unpacked */
    size_t members;         /* of the archive */
} px_archive_limits;

/* Writes the members that `rules` choose as files of a directory, without directories of their own. Two
 * of one name are PHLOX_ERROR_FORMAT; *count becomes the number of files. What was written before a
 * failure stays. */
phlox_status px_archive_unpack(px_archiver *archiver, const char *path, const px_archive_rule *rules,
                               size_t rule_count, const char *directory,
                               const px_archive_limits *limits, phlox_progress_fn *progress,
                               void *progress_user, const char *what, size_t *count,
                               phlox_error *error);

/* Reads the one member that matches a pattern, followed by a NUL that is not counted.
 * PHLOX_ERROR_NOT_FOUND when none does. */
phlox_status px_archive_read(px_archiver *archiver, const char *path, const char *pattern,
                             const px_archive_limits *limits, px_buffer *out, phlox_error *error);

#endif
