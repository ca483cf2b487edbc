#include "text/pattern.h"

#include <string.h>

/* White_Space of Unicode, as the inside of a class. PCRE2's own \s also takes U+180E, which
 * Unicode dropped from the white space in version 6.3. */
#define WHITE_SPACE                                                                              \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"  \
    "\\x{205f}\\x{3000}"

enum { MOST_DEPTH = 32, MOST_SOURCE = 16384 };

typedef struct reader {
    const char *text;
    size_t size, at;
    px_buffer *out;
    int depth;
    bool caseless[MOST_DEPTH + 1]; /* by depth of groups */
    char last_letter;              /* the caseless letter just read, else 0 */
    enum { NOTHING, ATOM, GROUP } before; /* what a quantifier would repeat */
} reader;

static phlox_status refuse(const reader *in, const char *what, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "the expression %.*s has %s at byte %zu, which phlox does not translate",
                   (int)PX_MIN(in->size, (size_t)200), in->text, what, in->at);
}

static phlox_status put(reader *in, const char *text, phlox_error *error)
{
    return px_buffer_add(in->out, text, strlen(text), error);
}

static bool sees(const reader *in, const char *word)
{
    const size_t length = strlen(word);
    return in->size - in->at >= length && memcmp(in->text + in->at, word, length) == 0;
}

/* \p{Lu}, \P{L}, \p{^L}: general categories only, since the two engines do not agree on what a
 * script name means. */
static phlox_status property(reader *in, phlox_error *error)
{
    static const char *const categories[] = {
        "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl",
        "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk",
        "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co", "Cs"};
    const char *const start = in->text + in->at;
    const char *const close = memchr(start, '}', PX_MIN(in->size - in->at, (size_t)16));
    if (close == NULL || in->size - in->at < 4 || start[2] != '{')
        return refuse(in, "a property without braces", error);
    const bool negated = start[3] == '^';
    const char *const name = start + 3 + negated;
    for (size_t i = 0; i < PX_COUNT(categories); i++) {
        const size_t length = strlen(categories[i]);
        if ((size_t)(close - name) == length && memcmp(name, categories[i], length) == 0) {
            const size_t whole = (size_t)(close - start) + 1;
            PX_TRY(px_buffer_add(in->out, start, whole, error));
            in->at += whole;
            return PHLOX_OK;
        }
    }
    return refuse(in, "a property that is not a general category", error);
}

/* An escape, inside a class or outside. */
static phlox_status escape(reader *in, bool in_class, phlox_error *error)
{
    if (in->at + 1 >= in->size) return refuse(in, "a lone backslash", error);
    const char c = in->text[in->at + 1];
    if (c == 'p' || c == 'P') return property(in, error);
    if (c == 's')
        PX_TRY(put(in, in_class ? WHITE_SPACE : "[" WHITE_SPACE "]", error));
    else if (c == 'S' && !in_class)
        PX_TRY(put(in, "[^" WHITE_SPACE "]", error));
    else if (c == 'd')
        PX_TRY(put(in, "\\p{Nd}", error));
    else if (c != '\0' && strchr("rnt/'\"|.*+?()[]{}^$\\-#&~", c) != NULL)
        PX_TRY(px_buffer_add(in->out, in->text + in->at, 2, error));
    else
        return refuse(in, "an escape", error);
    in->at += 2;
    return PHLOX_OK;
}

static phlox_status class(reader *in, phlox_error *error)
{
    if (in->caseless[in->depth]) return refuse(in, "a class that ignores case", error);
    PX_TRY(put(in, "[", error));
    in->at++;
    if (in->at < in->size && in->text[in->at] == '^') {
        PX_TRY(put(in, "^", error));
        in->at++;
    }
    for (bool first = true;; first = false) {
        if (in->at >= in->size) return refuse(in, "a class without an end", error);
        const char c = in->text[in->at];
        if (c == ']') {
            if (first) return refuse(in, "an empty class", error);
            break;
        }
        if (c == '[' || sees(in, "&&")) return refuse(in, "a class inside a class", error);
        if (c == '\\') {
            PX_TRY(escape(in, true, error));
        } else {
            PX_TRY(px_buffer_add(in->out, &c, 1, error));
            in->at++;
        }
    }
    in->at++;
    return put(in, "]", error);
}

static phlox_status open_group(reader *in, phlox_error *error)
{
    static const struct {
        const char *text;
        bool caseless;
    } kinds[] = {{"(?:", false}, {"(?i:", true}, {"(?=", false}, {"(?!", false}, {"(?>", false}};
    if (in->depth == MOST_DEPTH) return refuse(in, "too many groups in each other", error);
    bool caseless = in->caseless[in->depth];
    size_t length = 1;
    if (sees(in, "(?")) {
        size_t i = 0;
        while (i < PX_COUNT(kinds) && !sees(in, kinds[i].text)) i++;
        if (i == PX_COUNT(kinds)) return refuse(in, "a group of a kind", error);
        caseless = caseless || kinds[i].caseless;
        length = strlen(kinds[i].text);
    } else if (sees(in, "(*")) {
        return refuse(in, "a verb", error);
    }
    PX_TRY(px_buffer_add(in->out, in->text + in->at, length, error));
    in->at += length;
    in->caseless[++in->depth] = caseless;
    return PHLOX_OK;
}

/* {n}, {n,} and {n,m}. */
static phlox_status interval(reader *in, phlox_error *error)
{
    size_t i = in->at + 1, digits = 0;
    while (i < in->size && in->text[i] >= '0' && in->text[i] <= '9') i++, digits++;
    if (digits == 0 || digits > 3) return refuse(in, "an interval", error);
    if (i < in->size && in->text[i] == ',') {
        for (i++, digits = 0; i < in->size && in->text[i] >= '0' && in->text[i] <= '9'; i++)
            digits++;
        if (digits > 3) return refuse(in, "an interval", error);
    }
    if (i >= in->size || in->text[i] != '}') return refuse(in, "an interval", error);
    i++;
    /* Oniguruma reads {1,3}+ as a repeated group and {2}? as an optional one. */
    if (i < in->size && (in->text[i] == '+' || in->text[i] == '?'))
        return refuse(in, "a mark behind an interval", error);
    PX_TRY(px_buffer_add(in->out, in->text + in->at, i - in->at, error));
    in->at = i;
    return PHLOX_OK;
}

static phlox_status quantifier(reader *in, phlox_error *error)
{
    if (in->before == NOTHING) return refuse(in, "a repetition of nothing", error);
    /* Repeated groups make exponential searches possible; no expression of the family has one. */
    if (in->before == GROUP && in->text[in->at] != '?')
        return refuse(in, "a repeated group", error);
    in->before = NOTHING;
    if (in->text[in->at] == '{') return interval(in, error);
    PX_TRY(px_buffer_add(in->out, in->text + in->at, 1, error));
    in->at++;
    if (in->at < in->size && (in->text[in->at] == '?' || in->text[in->at] == '+')) {
        PX_TRY(px_buffer_add(in->out, in->text + in->at, 1, error));
        in->at++;
    }
    return PHLOX_OK;
}

/* Without regard to case Oniguruma also matches characters that fold to several letters (U+00DF
 * for "ss"); PCRE2 does not. */
static bool folds_together(char first, char second)
{
    static const char *const pairs[] = {"ss", "ff", "fi", "fl", "st"};
    for (size_t i = 0; i < PX_COUNT(pairs); i++)
        if ((first | 0x20) == pairs[i][0] && (second | 0x20) == pairs[i][1]) return true;
    return false;
}

static phlox_status literal(reader *in, phlox_error *error)
{
    const char c = in->text[in->at];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (strchr("]}.^$", c) != NULL) return refuse(in, "a construct", error);
    if (in->caseless[in->depth]) {
        if ((unsigned char)c >= 0x80)
            return refuse(in, "a letter beyond ASCII without case", error);
        if (letter && in->last_letter != 0 && folds_together(in->last_letter, c))
            return refuse(in, "letters that fold together", error);
    }
    in->last_letter = letter ? c : 0;
    in->at++;
    return px_buffer_add(in->out, &c, 1, error);
}

phlox_status px_pattern_translate(phlox_text source, px_buffer *out, phlox_error *error)
{
    reader in = {.text = source.data, .size = source.size, .out = out};
    if (source.size > MOST_SOURCE)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "an expression of %zu bytes; phlox reads at most %d", source.size,
                       MOST_SOURCE);
    while (in.at < in.size) {
        const char c = in.text[in.at];
        if (strchr("*+?{()|[\\", c) != NULL) in.last_letter = 0;
        if (c == '*' || c == '+' || c == '?' || c == '{') {
            PX_TRY(quantifier(&in, error));
        } else if (c == '(') {
            PX_TRY(open_group(&in, error));
            in.before = NOTHING;
        } else if (c == ')') {
            if (in.depth == 0) return refuse(&in, "a lone bracket", error);
            in.depth--;
            in.at++;
            in.before = GROUP;
            PX_TRY(put(&in, ")", error));
        } else if (c == '|') {
            in.at++;
            in.before = NOTHING;
            PX_TRY(put(&in, "|", error));
        } else {
            if (c == '[')
                PX_TRY(class(&in, error));
            else if (c == '\\')
                PX_TRY(escape(&in, false, error));
            else
                PX_TRY(literal(&in, error));
            in.before = ATOM;
        }
    }
    return in.depth == 0 ? PHLOX_OK : refuse(&in, "a group without an end", error);
}
