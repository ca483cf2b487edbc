/*
 * The page of a package in a Python package index (the simple repository API: HTML of PEP 503, JSON of
 * PEP 691), and the choice of a wheel from it. Nothing here touches files or the network.
 */
#ifndef PX_FETCH_INDEX_H
#define PX_FETCH_INDEX_H

#include "fetch/sha256.h"
#include "fetch/version.h"

typedef struct px_index_file {
    char *name;   /* "openvino-2026.4.1-22982-cp313-cp313-manylinux_2_28_x86_64.whl" */
    char *url;    /* as written: may be relative to the page; without the fragment */
    char sha256[PX_SHA256_TEXT]; /* in lower case; "": the page gives none */
    uint64_t size; /* bytes; 0: the page does not tell */
    bool is_yanked;
} px_index_file;

typedef struct px_index {
    px_index_file *files; /* only what is named like a wheel */
    size_t count, capacity;
} px_index;

/* Reads a page; `name` is for messages. JSON is recognised by its first character. */
phlox_status px_index_read(phlox_text page, const char *name, px_index *out, phlox_error *error);
void px_index_free(px_index *index);

/* What a machine can load. */
typedef struct px_platform {
    const char *machine; /* "x86_64", "aarch64" */
    int glibc_major, glibc_minor; /* 0: another C library */
} px_platform;

/* Whether a platform tag of a wheel is for this platform: "manylinux_2_28_x86_64",
 * "manylinux2014_x86_64", "linux_x86_64"; tags may be joined by dots. */
bool px_platform_runs(const px_platform *platform, const char *tag, size_t size);

enum { PX_INDEX_VERSION = 64 };

typedef struct px_wheel_choice {
    const px_index_file *file;      /* of the index */
    char version[PX_INDEX_VERSION]; /* as the file's name has it */
} px_wheel_choice;

/*
 * Chooses the wheel of `package` with the newest version that meets `requirement` (as for
 * px_version_meets(); "": any) and that `platform` can load. Since only the C libraries in it are
 * wanted, every Python will do; the newest is taken. Yanked files do not count, and neither do versions
 * that are not final, unless `exact` names one: only that version counts then. PHLOX_ERROR_NOT_FOUND,
 * with what there is, when none is left.
 */
phlox_status px_index_choose(const px_index *index, const char *package, const char *exact,
                             const char *requirement, const px_platform *platform,
                             px_wheel_choice *out, phlox_error *error);

#endif
