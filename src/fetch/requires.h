/* What a wheel requires, from its METADATA (PEP 566, PEP 508). */
#ifndef PX_FETCH_REQUIRES_H
#define PX_FETCH_REQUIRES_H

#include "base/error.h"

/* Writes the versions that `metadata` requires of `package`, such as ">=1.31.0", as for
 * px_version_meets(); "" when it names none. Requirements of extras do not count. False when they do not
 * fit. */
bool px_requires(const char *metadata, const char *package, char *out, size_t size);

#endif
