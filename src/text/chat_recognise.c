/*
 * Recognising a chat template. A template is reduced to its signature: the words and string
 * literals of its tags in their order, with literals that are added together joined, and the text
 * between the tags as Jinja (with trim_blocks and lstrip_blocks, as transformers has it) would
 * leave it. Templates that differ in spaces, quotes, brackets, message.role for message['role'] or
 * the marks that trim white space have the same signature; any other difference gives another.
 */
#include "text/chat_format.h"

#include <string.h>

typedef struct scanner {
    const char *text;
    size_t size, at;
    px_buffer *out;
    bool after_string, joins; /* the last word was a literal; a + stands behind it */
    bool after_operator;      /* the last byte was part of an operator such as == */
} scanner;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static bool is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Words are set apart by a space; no literal of the family's templates has one. */
static phlox_status put_word(scanner *s, const char *text, size_t size, bool is_string,
                             phlox_error *error)
{
    if (s->out->size > 0 && !(is_string && s->after_string && s->joins))
        PX_TRY(px_buffer_add(s->out, " ", 1, error));
    s->after_string = is_string;
    s->joins = s->after_operator = false;
    return px_buffer_add(s->out, text, size, error);
}

static phlox_status put_string(scanner *s, phlox_error *error)
{
    const char quote = s->text[s->at++];
    PX_TRY(put_word(s, "", 0, true, error));
    while (s->at < s->size && s->text[s->at] != quote) {
        char c = s->text[s->at++];
        if (c == '\\' && s->at < s->size) {
            c = s->text[s->at++];
            if (c == 'n') c = '\n';
            else if (c == 't') c = '\t';
            else if (c == 'r') c = '\r';
            else if (c != '\\' && c != '\'' && c != '"')
                PX_TRY(px_buffer_add(s->out, "\\", 1, error));
        }
        PX_TRY(px_buffer_add(s->out, &c, 1, error));
    }
    s->at++; /* the closing quote */
    return PHLOX_OK;
}

/* One byte of punctuation; brackets, points and joining signs leave no trace of their own. */
static phlox_status put_mark(scanner *s, char c, const char *close, phlox_error *error)
{
    s->at++;
    const bool closes = c == '-' && s->at + 1 < s->size && memcmp(s->text + s->at, close, 2) == 0;
    if (c == '+' || c == '~') s->joins = true;
    if (c == ']') s->after_string = false; /* message['content'] is not a literal */
    if (is_blank(c) || closes || c == '\0' || strchr("()[].+~", c) != NULL) {
        s->after_operator = false;
        return PHLOX_OK;
    }
    if (s->after_operator) return px_buffer_add(s->out, &c, 1, error);
    PX_TRY(put_word(s, &c, 1, false, error));
    s->after_operator = true;
    return PHLOX_OK;
}

/* The inside of a tag, up to `close` ("}}" or "%}"); reports whether it ends in '-'. */
static phlox_status put_tag(scanner *s, const char *close, bool *trims, phlox_error *error)
{
    *trims = false;
    while (s->at + 1 < s->size && memcmp(s->text + s->at, close, 2) != 0) {
        const char c = s->text[s->at];
        *trims = c == '-';
        if (c == '\'' || c == '"') {
            PX_TRY(put_string(s, error));
        } else if (is_word_byte(c)) {
            const size_t start = s->at;
            while (s->at < s->size && is_word_byte(s->text[s->at])) s->at++;
            PX_TRY(put_word(s, s->text + start, s->at - start, false, error));
        } else {
            PX_TRY(put_mark(s, c, close, error));
        }
    }
    s->at = PX_MIN(s->at + 2, s->size);
    s->after_string = false;
    return PHLOX_OK;
}

/* End of the text before the tag at `open`, without what the tag's trimming takes away. */
static size_t trimmed_end(const scanner *s, size_t start, size_t open)
{
    size_t end = open;
    const char kind = open + 1 < s->size ? s->text[open + 1] : '\0';
    const char mark = open + 2 < s->size ? s->text[open + 2] : '\0';
    if (open == s->size) { /* one newline at the end of a template does not count */
        if (end > start && s->text[end - 1] == '\n') end--;
    } else if (mark == '-') {
        while (end > start && is_blank(s->text[end - 1])) end--;
    } else if (mark != '+' && kind != '{') {
        size_t line = end;
        while (line > start && (s->text[line - 1] == ' ' || s->text[line - 1] == '\t')) line--;
        if (line == 0 || s->text[line - 1] == '\n') end = line;
    }
    return end;
}

static size_t find_tag(const scanner *s, size_t from)
{
    for (size_t i = from; i + 1 < s->size; i++)
        if (s->text[i] == '{' && strchr("{%#", s->text[i + 1]) != NULL && s->text[i + 1] != '\0')
            return i;
    return s->size;
}

phlox_status px_chat_signature(phlox_text jinja, px_buffer *out, phlox_error *error)
{
    scanner s = {.text = jinja.data, .size = jinja.size, .out = out};
    bool trims = false;
    char last = '\0'; /* kind of the tag before the text: '{', '%' or '#' */
    while (s.at < s.size) {
        size_t start = s.at;
        const size_t open = find_tag(&s, start);
        if (trims)
            while (start < open && is_blank(s.text[start])) start++;
        else if ((last == '%' || last == '#') && start < open && s.text[start] == '\n')
            start++;
        const size_t end = trimmed_end(&s, start, open);
        if (end > start) PX_TRY(put_word(&s, s.text + start, end - start, false, error));
        if (open == s.size) break;
        last = s.text[open + 1];
        s.at = open + 2;
        if (s.at < s.size && (s.text[s.at] == '-' || s.text[s.at] == '+')) s.at++;
        if (last == '#') {
            while (s.at + 1 < s.size && memcmp(s.text + s.at, "#}", 2) != 0) s.at++;
            trims = s.text[s.at - 1] == '-';
            s.at = PX_MIN(s.at + 2, s.size);
        } else {
            PX_TRY(put_tag(&s, last == '{' ? "}}" : "%}", &trims, error));
        }
    }
    return PHLOX_OK;
}

phlox_status px_chat_format_recognise(phlox_text jinja, const px_chat_format **out,
                                      phlox_error *error)
{
    px_buffer signature = {0};
    const phlox_status status = px_chat_signature(jinja, &signature, error);
    const px_chat_format *found = NULL;
    for (size_t f = 0; status == PHLOX_OK && f < px_chat_format_count && found == NULL; f++) {
        const px_chat_format *const format = &px_chat_formats[f];
        if (strlen(format->signature) == signature.size && signature.size > 0 &&
            memcmp(format->signature, signature.data, signature.size) == 0)
            found = format;
    }
    px_buffer_free(&signature);
    PX_TRY(status);
    if (found == NULL)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "the model's chat template is none of the Phi-3 family's; name the format "
                       "with --chat-format, or format the prompt yourself and use --raw");
    *out = found;
    return PHLOX_OK;
}
