/* What phlox takes from which packages. */
#ifndef PX_FETCH_RUNTIME_TABLE_H
#define PX_FETCH_RUNTIME_TABLE_H

#include "fetch/archive.h"

enum { PX_RUNTIME_PACKAGES = 2 };

typedef struct px_runtime_package {
    const char *name; /* in the index */
    const px_archive_rule *rules;
    size_t rule_count;
} px_runtime_package;

typedef struct px_runtime_kind {
    const char *name;
    const char *library; /* the runtime that px_runtime_find() knows: without the variant */
    /* The version is that of the first; the second is what the first one requires. */
    px_runtime_package packages[PX_RUNTIME_PACKAGES];
} px_runtime_kind;

/* The kind at the beginning of "NAME" or "NAME==VERSION"; *version becomes what stands behind "==", or
 * NULL. PHLOX_ERROR_NOT_FOUND, with the names that there are. */
phlox_status px_runtime_kind_of(const char *text, const px_runtime_kind **out, const char **version,
                                phlox_error *error);

#endif
