/* JSON by jansson, with what real checkpoints contain: integers beyond 64 bits (read as real), NaN
 * (read as the text "NaN", so that it is no number where one is needed) and Infinity (read as the
 * largest double), NUL escapes. */
#ifndef PX_BASE_JSON_H
#define PX_BASE_JSON_H

#include "base/error.h"

#include <jansson.h>

/* Parses `text`; `name` is for messages, which give line and column. The caller owns *out
 * (json_decref). Nesting beyond 100 levels, duplicate keys where reject_duplicates, trailing bytes
 * and invalid UTF-8 are PHLOX_ERROR_FORMAT. */
phlox_status px_json_parse(phlox_text text, const char *name, bool reject_duplicates, json_t **out,
                           phlox_error *error);

/* Members of an object, checked. `name` is for messages. Absent and null give the default where
 * there is one (the functions named _or), else PHLOX_ERROR_FORMAT naming the key. */
phlox_status px_json_int(const json_t *object, const char *key, const char *name, int64_t least,
                         int64_t most, int64_t *out, phlox_error *error);
phlox_status px_json_int_or(const json_t *object, const char *key, const char *name, int64_t least,
                            int64_t most, int64_t absent, int64_t *out, phlox_error *error);
phlox_status px_json_real_or(const json_t *object, const char *key, const char *name, double least,
                             double most, double absent, double *out, phlox_error *error);
phlox_status px_json_bool_or(const json_t *object, const char *key, const char *name, bool absent,
                             bool *out, phlox_error *error);

#endif
