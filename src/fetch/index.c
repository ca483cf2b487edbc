#include "fetch/index.h"

#include "base/json.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_FILES = 200000, MOST_NAME = 255, MOST_URL = 4096 };

void px_index_free(px_index *index)
{
    for (size_t i = 0; i < index->count; i++) {
        free(index->files[i].name);
        free(index->files[i].url);
    }
    free(index->files);
    *index = (px_index){0};
}

/* ---- files --------------------------------------------------------------------------------- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Letters that the name of a wheel may have; it never names another directory. */
static bool is_wheel_name(const char *name)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+!-";
    const size_t length = strlen(name);
    return length > 4 && length <= MOST_NAME && name[0] != '.' && strspn(name, letters) == length &&
           strcmp(name + length - 4, ".whl") == 0;
}

/* The 64 digits of a hash in lower case, or "". */
static void take_hash(const char *text, char out[PX_SHA256_TEXT])
{
    size_t i = 0;
    out[0] = 0;
    for (; i < PX_SHA256_TEXT - 1; i++) {
        const int value = hex_value(text[i]);
        if (value < 0) break;
        out[i] = "0123456789abcdef"[value];
    }
    out[i == PX_SHA256_TEXT - 1 && hex_value(text[i]) < 0 ? i : 0] = 0;
}

/* Adds a file, unless it is not a wheel. */
static phlox_status add_file(px_index *index, const char *file, const char *url, const char *hash,
                             uint64_t size, bool is_yanked, phlox_error *error)
{
    const size_t length = strlen(url);
    if (!is_wheel_name(file) || !length || length > MOST_URL) return PHLOX_OK;
    if (index->count == MOST_FILES)
        return px_fail(error, PHLOX_ERROR_FORMAT, "more than %d files in the index", MOST_FILES);
    if (index->count == index->capacity) {
        const size_t capacity = index->capacity * 2 + 64;
        px_index_file *const grown = realloc(index->files, capacity * sizeof *grown);
        if (!grown) return px_fail_memory(error, capacity * sizeof *grown);
        index->files = grown;
        index->capacity = capacity;
    }
    px_index_file *const added = &index->files[index->count];
    *added = (px_index_file){px_strdup(file, strlen(file)), px_strdup(url, length), "", size, is_yanked};
    take_hash(hash, added->sha256);
    index->count++;
    return added->name && added->url ? PHLOX_OK : px_fail_memory(error, length);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static const char *text_or_empty(const json_t *object, const char *key)
{
    const char *const text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static phlox_status read_json(phlox_text page, const char *name, px_index *index, phlox_error *error)
{
    json_t *json;
    PX_TRY(px_json_parse(page, name, false, &json, error));
    const json_t *const files = json_object_get(json, "files");
    phlox_status status = PHLOX_OK;
    if (!json_is_array(files))
        status = px_fail(error, PHLOX_ERROR_FORMAT,
                         "%s: has no list of files; is it the page of a package index?", name);
    for (size_t i = 0; status == PHLOX_OK && i < json_array_size(files); i++) {
        const json_t *const file = json_array_get(files, i);
        const json_t *const yanked = json_object_get(file, "yanked"); /* a word, or true */
        const json_int_t size = json_integer_value(json_object_get(file, "size"));
        status = add_file(index, text_or_empty(file, "filename"), text_or_empty(file, "url"),
                          text_or_empty(json_object_get(file, "hashes"), "sha256"),
                          size > 0 ? (uint64_t)size : 0, json_is_true(yanked) || json_is_string(yanked),
                          error);
    }
    json_decref(json);
    return status;
}

/* ---- HTML ---------------------------------------------------------------------------------- */

struct scanner {
    const char *at, *end;
};

typedef struct anchor {
    char url[MOST_URL + 1], name[MOST_NAME + 1];
    const char *hash;
    bool is_yanked;
} anchor;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static bool starts(const struct scanner *s, const char *text)
{
    const size_t length = strlen(text);
    return (size_t)(s->end - s->at) >= length && memcmp(s->at, text, length) == 0;
}

/* A part of the page. */
typedef struct span {
    const char *data;
    size_t size;
} span;

static bool is_word(span text, const char *word)
{
    if (text.size != strlen(word)) return false;
    for (size_t i = 0; i < text.size; i++)
        if ((text.data[i] >= 'A' && text.data[i] <= 'Z' ? text.data[i] + 'a' - 'A' : text.data[i]) !=
            word[i])
            return false;
    return true;
}

/* The next attribute of a tag; false at the tag's end, which is passed. */
static bool take_attribute(struct scanner *s, span *name, span *value)
{
    while (s->at < s->end && (is_blank(*s->at) || *s->at == '/')) s->at++;
    if (s->at == s->end || *s->at == '>') {
        s->at += s->at < s->end;
        return false;
    }
    *name = (span){s->at, 0};
    do s->at++; /* an equals sign may begin a name */
    while (s->at < s->end && !is_blank(*s->at) && !strchr("=>/", *s->at));
    name->size = (size_t)(s->at - name->data);
    *value = (span){s->at, 0};
    struct scanner v = *s;
    while (v.at < v.end && is_blank(*v.at)) v.at++;
    if (v.at == v.end || *v.at != '=') return true;
    do v.at++;
    while (v.at < v.end && is_blank(*v.at));
    const char quote = v.at < v.end && (*v.at == '"' || *v.at == '\'') ? *v.at++ : 0;
    *value = (span){v.at, 0};
    while (v.at < v.end && (quote ? *v.at != quote : !is_blank(*v.at) && *v.at != '>')) v.at++;
    value->size = (size_t)(v.at - value->data);
    if (quote && v.at < v.end) v.at++;
    s->at = v.at;
    return true;
}

/* The character that a reference such as "&amp;" or "&#43;" stands for, which is then passed; '&' when
 * it is none of the usual ones. */
static char take_reference(struct scanner *s)
{
    static const struct {
        const char *name;
        char c;
    } names[] = {{"&amp;", '&'},   {"&lt;", '<'},    {"&gt;", '>'},   {"&quot;", '"'}, {"&#39;", '\''},
                 {"&#x27;", '\''}, {"&#x2B;", '+'}, {"&#x2b;", '+'}, {"&#43;", '+'}};
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        if (!starts(s, names[i].name)) continue;
        s->at += strlen(names[i].name);
        return names[i].c;
    }
    s->at++;
    return '&';
}

/* Writes the address; one that is too long or has a NUL becomes "". */
static void copy_address(span value, char out[MOST_URL + 1])
{
    struct scanner s = {value.data, value.data + value.size};
    size_t used = 0;
    while (s.at < s.end && used < MOST_URL && *s.at)
        out[used++] = *s.at == '&' ? take_reference(&s) : *s.at++;
    out[s.at < s.end ? 0 : used] = 0;
}

/* The last part of the path, with its percent signs resolved. */
static void copy_file_name(const char *url, char out[MOST_NAME + 1])
{
    const size_t length = strcspn(url, "?");
    size_t begin = length, used = 0;
    while (begin && url[begin - 1] != '/') begin--;
    for (size_t i = begin; i < length && used < MOST_NAME; i++) {
        const bool is_code = url[i] == '%' && i + 2 < length && hex_value(url[i + 1]) >= 0 &&
                             hex_value(url[i + 2]) >= 0;
        out[used++] = is_code ? (char)(hex_value(url[i + 1]) * 16 + hex_value(url[i + 2])) : url[i];
        if (is_code) i += 2;
    }
    out[used] = 0;
}

static void set_address(anchor *a, span value)
{
    copy_address(value, a->url);
    char *const fragment = strchr(a->url, '#');
    if (fragment) {
        const char *const hash = strstr(fragment, "sha256=");
        *fragment = 0;
        if (hash) a->hash = hash + 7;
    }
    copy_file_name(a->url, a->name);
}

/* Reads the tag that begins at '<'. Only <a> matters. */
static phlox_status read_tag(struct scanner *s, anchor *a, px_index *index, phlox_error *error)
{
    span tag = {++s->at, 0}, name, value;
    while (s->at < s->end && !is_blank(*s->at) && !strchr(">/", *s->at)) s->at++;
    tag.size = (size_t)(s->at - tag.data);
    const bool is_anchor = is_word(tag, "a");
    a->url[0] = a->name[0] = 0;
    a->hash = "";
    a->is_yanked = false;
    while (take_attribute(s, &name, &value)) {
        if (is_anchor && is_word(name, "href")) set_address(a, value);
        else if (is_anchor && is_word(name, "data-yanked")) a->is_yanked = true;
    }
    return is_anchor ? add_file(index, a->name, a->url, a->hash, 0, a->is_yanked, error) : PHLOX_OK;
}

static phlox_status read_html(phlox_text page, px_index *index, phlox_error *error)
{
    struct scanner s = {page.data, page.data + page.size};
    anchor *const a = malloc(sizeof *a);
    if (!a) return px_fail_memory(error, sizeof *a);
    phlox_status status = PHLOX_OK;
    while (status == PHLOX_OK && s.at < s.end && (s.at = memchr(s.at, '<', (size_t)(s.end - s.at)))) {
        if (!starts(&s, "<!--")) {
            status = read_tag(&s, a, index, error);
            continue;
        }
        while (s.at < s.end && !starts(&s, "-->")) s.at++;
    }
    free(a);
    return status;
}

phlox_status px_index_read(phlox_text page, const char *name, px_index *out, phlox_error *error)
{
    px_index index = {0};
    size_t first = 0;
    while (first < page.size && is_blank(page.data[first])) first++;
    const phlox_status status = first == page.size      ? PHLOX_OK
                                : page.data[first] == '{' ? read_json(page, name, &index, error)
                                                          : read_html(page, &index, error);
    if (status == PHLOX_OK) *out = index;
    else px_index_free(&index);
    return status;
}
