#include "base/json.h"

#include "base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MOST_DEPTH = 100, MOST_DIGITS = 18 /* that always fit 64 bits */ };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* End of the string that begins at text[i] == '"', or size when it has none. */
static size_t skip_string(const char *text, size_t size, size_t i)
{
    for (i++; i < size; i++) {
        if (text[i] == '\\') i++;
        else if (text[i] == '"') return i + 1;
    }
    return size;
}

/* Whether the number at text[i] is an integer of more digits than 64 bits hold. */
static bool is_long_integer(const char *text, size_t size, size_t i, size_t *end)
{
    size_t j = i + (text[i] == '-');
    const size_t first = j;
    while (j < size && is_digit(text[j])) j++;
    *end = j;
    return j - first > MOST_DIGITS && !(j < size && strchr(".eE", text[j]));
}

static bool starts(const char *text, size_t size, size_t i, const char *word)
{
    const size_t length = strlen(word);
    return size - i >= length && memcmp(text + i, word, length) == 0;
}

/* Whether the token that ends at `end` stands where the key of an object does. */
static bool is_key(phlox_text text, size_t end)
{
    while (end < text.size && memchr(" \t\r\n", text.data[end], 4)) end++;
    return end < text.size && text.data[end] == ':';
}

/* Copies `text` with the tokens that JSON proper lacks put in forms that jansson reads. Checks the
 * depth on the way, since jansson's own limit is too deep for a small stack. */
static phlox_status normalise(phlox_text text, const char *name, px_buffer *out,
                              phlox_error *error)
{
    if (!text.size) return PHLOX_OK;
    const char *const data = text.data;
    size_t copied = 0, i = 0;
    int depth = 0;
    while (i < text.size) {
        const char c = data[i];
        const char *replacement = NULL;
        size_t end = i + 1;
        if (c == '"') {
            i = skip_string(data, text.size, i);
            continue;
        }
        if (c == '[' || c == '{') {
            if (++depth > MOST_DEPTH)
                return px_fail(error, PHLOX_ERROR_FORMAT,
                               "%s: JSON nested deeper than %d levels at byte %zu; "
                               "the file is damaged", name, MOST_DEPTH, i);
        } else if (c == ']' || c == '}') {
            depth--;
        } else if (c == 'N' && starts(data, text.size, i, "NaN") && !is_key(text, i + 3)) {
            replacement = "\"NaN\"", end = i + 3;
        } else if (c == 'I' && starts(data, text.size, i, "Infinity")) {
            replacement = "1.7976931348623157e308", end = i + 8;
        } else if (c == '-' && starts(data, text.size, i, "-Infinity")) {
            replacement = "-1.7976931348623157e308", end = i + 9;
        } else if (is_digit(c) || (c == '-' && i + 1 < text.size && is_digit(data[i + 1]))) {
            if (is_long_integer(data, text.size, i, &end)) {
                PX_TRY(px_buffer_add(out, data + copied, end - copied, error));
                PX_TRY(px_buffer_add(out, ".0", 2, error));
                copied = end;
            } else {
                while (end < text.size && (is_digit(data[end]) || strchr(".eE+-", data[end])))
                    end++;
            }
        }
        if (replacement) {
            PX_TRY(px_buffer_add(out, data + copied, i - copied, error));
            PX_TRY(px_buffer_add(out, replacement, strlen(replacement), error));
            copied = end;
        }
        i = end;
    }
    return px_buffer_add(out, data + copied, text.size - copied, error);
}

phlox_status px_json_parse(phlox_text text, const char *name, bool reject_duplicates, json_t **out,
                           phlox_error *error)
{
    px_buffer buffer = {0};
    /* jansson passes over a NUL behind a number. */
    const char *const nul = text.size ? memchr(text.data, 0, text.size) : NULL;
    if (nul)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: not valid JSON: byte %td is a NUL; download the file again", name,
                       nul - text.data);
    const phlox_status status = normalise(text, name, &buffer, error);
    if (status != PHLOX_OK) {
        px_buffer_free(&buffer);
        return status;
    }
    json_error_t json_error;
    json_t *const json =
        json_loadb(buffer.data ? buffer.data : "", buffer.size,
                   JSON_ALLOW_NUL | JSON_DECODE_ANY | (reject_duplicates ? JSON_REJECT_DUPLICATES : 0),
                   &json_error);
    px_buffer_free(&buffer);
    if (!json)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: not valid JSON at line %d, column %d: %s; download the file again",
                       name, json_error.line, json_error.column, json_error.text);
    *out = json;
    return PHLOX_OK;
}

static phlox_status wrong_type(const char *key, const char *name, const char *wanted,
                               phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_FORMAT, "%s: \"%s\" is not %s; the file is damaged or not of "
                   "this family", name, key, wanted);
}

phlox_status px_json_int(const json_t *object, const char *key, const char *name, int64_t least,
                         int64_t most, int64_t *out, phlox_error *error)
{
    const json_t *const value = json_object_get(object, key);
    if (!value || json_is_null(value))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: the key \"%s\" is missing", name, key);
    const double real = json_number_value(value);
    if (!json_is_number(value) || (json_is_real(value) && real != floor(real)))
        return wrong_type(key, name, "a whole number", error);
    const int64_t integer = json_is_integer(value) ? json_integer_value(value)
                            : fabs(real) < 0x1p62  ? (int64_t)real
                            : real < 0             ? INT64_MIN
                                                   : INT64_MAX;
    if (integer < least || integer > most)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: \"%s\" is %.17g, outside of %" PRId64 " to %" PRId64, name, key,
                       json_number_value(value), least, most);
    *out = integer;
    return PHLOX_OK;
}

phlox_status px_json_int_or(const json_t *object, const char *key, const char *name, int64_t least,
                            int64_t most, int64_t absent, int64_t *out, phlox_error *error)
{
    const json_t *const value = json_object_get(object, key);
    if (value && !json_is_null(value))
        return px_json_int(object, key, name, least, most, out, error);
    *out = absent;
    return PHLOX_OK;
}

phlox_status px_json_real_or(const json_t *object, const char *key, const char *name, double least,
                             double most, double absent, double *out, phlox_error *error)
{
    const json_t *const value = json_object_get(object, key);
    if (!value || json_is_null(value)) {
        *out = absent;
        return PHLOX_OK;
    }
    if (!json_is_number(value)) return wrong_type(key, name, "a number", error);
    const double real = json_number_value(value);
    if (!(real >= least && real <= most))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: \"%s\" is %.17g, outside of %g to %g", name,
                       key, real, least, most);
    *out = real;
    return PHLOX_OK;
}

phlox_status px_json_bool_or(const json_t *object, const char *key, const char *name, bool absent,
                             bool *out, phlox_error *error)
{
    const json_t *const value = json_object_get(object, key);
    if (value && !json_is_null(value) && !json_is_boolean(value))
        return wrong_type(key, name, "true or false", error);
    *out = value && !json_is_null(value) ? json_is_true(value) : absent;
    return PHLOX_OK;
}
