#include "fetch/requires.h"

#include <string.h>

static char normal(char c)
{
    if (c >= 'A' && c <= 'Z') return (char)(c + 'a' - 'A');
    return c == '_' || c == '.' ? '-' : c;
}

static bool is_name_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* What stands behind the package's name at `text`; NULL when it is another package. */
static const char *behind_name(const char *text, const char *package)
{
    while (*package)
        if (normal(*text++) != normal(*package++)) return NULL;
    return is_name_letter(normal(*text)) ? NULL : text;
}

/* Adds the versions between `at` and `end` to a list. */
static bool add_versions(const char *at, const char *end, char *out, size_t size)
{
    const size_t before = strlen(out);
    size_t used = before;
    if (*at == '[') at += strcspn(at, "]"); /* extras of that package */
    for (; at < end; at++) {
        if (strchr("()] \t", *at)) continue;
        if (used + 3 > size) return false;
        if (used == before && used) out[used++] = ',';
        out[used++] = *at;
    }
    out[used] = 0;
    return true;
}

static bool has_word(const char *text, const char *end, const char *word)
{
    const size_t length = strlen(word);
    for (; (size_t)(end - text) >= length; text++)
        if (memcmp(text, word, length) == 0) return true;
    return false;
}

bool px_requires(const char *metadata, const char *package, char *out, size_t size)
{
    static const char key[] = "Requires-Dist:";
    out[0] = 0;
    for (const char *line = metadata; *line && *line != '\n' && *line != '\r';) { /* up to the text */
        const char *const end = line + strcspn(line, "\r\n");
        if (strncmp(line, key, sizeof key - 1) == 0) {
            const char *at = line + sizeof key - 1;
            at += strspn(at, " \t");
            at = behind_name(at, package);
            const char *const marker = at ? memchr(at, ';', (size_t)(end - at)) : NULL;
            if (at && !(marker && has_word(marker, end, "extra")) &&
                !add_versions(at, marker ? marker : end, out, size))
                return false;
        }
        line = end + (*end == '\r');
        line += *line == '\n';
    }
    return true;
}
