/* Versions of Python packages, as PEP 440 writes and orders them. */
#ifndef PX_FETCH_VERSION_H
#define PX_FETCH_VERSION_H

#include "base/error.h"

enum { PX_VERSION_PARTS = 12, PX_VERSION_LOCAL = 64 };

typedef struct px_version {
    uint64_t epoch, release[PX_VERSION_PARTS]; /* 2026.4.1; parts that are not written are 0 */
    int parts;                                 /* that are written */
    char pre;                                  /* 'a', 'b', 'c' (rc); 0: none */
    bool has_post, has_dev;
    uint64_t pre_number, post, dev;
    char local[PX_VERSION_LOCAL]; /* behind the plus, in lower case, parts joined by dots; "": none */
} px_version;

/* Reads `size` bytes, all of them; false when they are no version, or one of more or larger numbers
 * than fit. */
bool px_version_read(const char *text, size_t size, px_version *out);

/* Below 0 when a is the older one, 0 when they are the same. */
int px_version_compare(const px_version *a, const px_version *b);

/* Neither a pre-release nor one for developers. */
bool px_version_is_final(const px_version *version);

/* The same for texts; what is no version is older than every version. */
int px_version_order(const char *a, const char *b);

/* Whether a version meets all of a list such as ">=1.31.0, !=1.31.5, <2". Operators: == (also with .*),
 * !=, <=, >=, <, >, ~= and ===. A list that cannot be read is met by nothing. */
bool px_version_meets(const px_version *version, const char *list);

#endif
