#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <inttypes.h>
#include <pcre2.h>
#include <stdlib.h>

struct px_pattern {
    pcre2_code *code;
};

struct px_pattern_scratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
};

static phlox_status compile(phlox_text text, uint32_t options, pcre2_code **out,
                            phlox_error *error)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_code *const compiled = pcre2_compile((PCRE2_SPTR)text.data, text.size, options, &code,
                                               &offset, NULL);
    if (compiled == NULL) {
        char message[160] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        return px_fail(error, PHLOX_ERROR_FORMAT, "expression \"%.*s\": %s at byte %zu",
                       (int)PX_MIN(text.size, (size_t)200), text.data, message, (size_t)offset);
    }
    /* Without executable memory matching is only slower. */
    (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    *out = compiled;
    return PHLOX_OK;
}

phlox_status px_pattern_compile(phlox_text source, bool literal, px_pattern **out,
                                phlox_error *error)
{
    px_buffer translated = {0};
    phlox_text text = source;
    uint32_t options = PCRE2_UTF | PCRE2_LITERAL;
    if (!literal) {
        options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
        const phlox_status status = px_pattern_translate(source, &translated, error);
        if (status != PHLOX_OK) {
            px_buffer_free(&translated);
            return status;
        }
        text = (phlox_text){translated.data != NULL ? translated.data : "", translated.size};
    }
    pcre2_code *code = NULL;
    phlox_status status = compile(text, options, &code, error);
    px_buffer_free(&translated);
    if (status != PHLOX_OK) return status;
    px_pattern *const pattern = px_calloc(1, sizeof *pattern);
    if (pattern == NULL) {
        pcre2_code_free(code);
        return px_fail_memory(error, sizeof *pattern);
    }
    pattern->code = code;
    *out = pattern;
    return PHLOX_OK;
}

void px_pattern_free(px_pattern *pattern)
{
    if (pattern == NULL) return;
    pcre2_code_free(pattern->code);
    free(pattern);
}

phlox_status px_pattern_scratch_create(const px_pattern *pattern, px_pattern_scratch **out,
                                       phlox_error *error)
{
    px_pattern_scratch *const scratch = px_calloc(1, sizeof *scratch);
    if (scratch != NULL) {
        scratch->match = pcre2_match_data_create_from_pattern(pattern->code, NULL);
        scratch->context = pcre2_match_context_create(NULL);
    }
    if (scratch == NULL || scratch->match == NULL || scratch->context == NULL) {
        px_pattern_scratch_free(scratch);
        return px_fail_memory(error, sizeof *scratch);
    }
    *out = scratch;
    return PHLOX_OK;
}

void px_pattern_scratch_free(px_pattern_scratch *scratch)
{
    if (scratch == NULL) return;
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->context);
    free(scratch);
}

/* Expressions of the family take a few steps for each character of the longest run, so the limit,
 * which stands for "hundreds for each", only stops the runaway ones. */
static void set_limits(px_pattern_scratch *scratch, size_t size)
{
    const size_t steps = px_mul(size, 256);
    const uint32_t limit = steps > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)steps + 1000000;
    pcre2_set_match_limit(scratch->context, limit);
    pcre2_set_depth_limit(scratch->context, limit);
    pcre2_set_heap_limit(scratch->context, UINT32_C(1) << 20); /* KiB */
}

phlox_status px_pattern_find(const px_pattern *pattern, px_pattern_scratch *scratch,
                             phlox_text text, size_t from, bool *found, size_t *start,
                             size_t *end, phlox_error *error)
{
    const PCRE2_SPTR subject = (PCRE2_SPTR)text.data;
    set_limits(scratch, text.size);
    int rc = pcre2_match(pattern->code, subject, text.size, from, PCRE2_NO_UTF_CHECK,
                         scratch->match, scratch->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* a very long run: the interpreter uses the heap */
        rc = pcre2_match(pattern->code, subject, text.size, from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match, scratch->context);
    *found = rc >= 0;
    if (rc >= 0) {
        const PCRE2_SIZE *const offsets = pcre2_get_ovector_pointer(scratch->match);
        *start = offsets[0];
        *end = offsets[1];
        return PHLOX_OK;
    }
    if (rc == PCRE2_ERROR_NOMATCH) return PHLOX_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return px_fail_memory(error, text.size);
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "the tokenizer's expression needs too many steps on a text of %zu bytes "
                   "(PCRE2 error %d); give the text in smaller pieces", text.size, rc);
}
