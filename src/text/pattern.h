/* Pre-tokenizer expressions: written for Oniguruma, run by PCRE2. Constructs that the two read
 * differently are rewritten where an equal form exists and refused otherwise. */
#ifndef PX_TEXT_PATTERN_H
#define PX_TEXT_PATTERN_H

#include "base/memory.h"

typedef struct px_pattern px_pattern;
typedef struct px_pattern_scratch px_pattern_scratch; /* one thread's working memory */

/* Rewrites an expression for PCRE2, appending to `out`. PHLOX_ERROR_UNSUPPORTED names the byte. */
phlox_status px_pattern_translate(phlox_text source, px_buffer *out, phlox_error *error);

/* Compiles `source`: a literal string or an expression. Free with px_pattern_free(). */
phlox_status px_pattern_compile(phlox_text source, bool literal, px_pattern **out,
                                phlox_error *error);
void px_pattern_free(px_pattern *pattern);

phlox_status px_pattern_scratch_create(const px_pattern *pattern, px_pattern_scratch **out,
                                       phlox_error *error);
void px_pattern_scratch_free(px_pattern_scratch *scratch);

/* The first match in text (valid UTF-8) that begins at or after `from`; *found says whether there
 * is one. Time and memory are bounded: an expression that needs too many steps is
 * PHLOX_ERROR_UNSUPPORTED. */
phlox_status px_pattern_find(const px_pattern *pattern, px_pattern_scratch *scratch,
                             phlox_text text, size_t from, bool *found, size_t *start,
                             size_t *end, phlox_error *error);

#endif
