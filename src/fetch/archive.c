#include "fetch/archive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the part of libarchive's interface that is used --------------------------------------- */

/* Its numbers are part of the stable ABI of libarchive.so.13. */
enum {
    ARCHIVE_EOF = 1,
    ARCHIVE_OK = 0,
    ARCHIVE_WARN = -20,

    AE_IFMT = 0170000,
    AE_IFREG = 0100000,
    AE_IFDIR = 0040000
};

typedef struct archive archive;
typedef struct archive_entry archive_entry;

struct px_archiver {
    px_library *library;
    archive *(*read_new)(void);
    int (*read_support_zip)(archive *a);
    int (*read_open_filename)(archive *a, const char *path, size_t block);
    int (*read_next_header)(archive *a, archive_entry **entry);
    int64_t (*read_data)(archive *a, void *data, size_t size); /* ssize_t */
    int (*read_free)(archive *a);
    const char *(*error_string)(archive *a);
    const char *(*pathname_utf8)(archive_entry *entry);
    unsigned (*filetype)(archive_entry *entry); /* mode_t */
    int64_t (*size)(archive_entry *entry);
    int (*size_is_set)(archive_entry *entry);
    const char *(*hardlink_utf8)(archive_entry *entry);
};

static bool load(px_archiver *a)
{
    const struct {
        const char *name;
        void *function;
    } table[] = {
        {"archive_read_new", &a->read_new},
        {"archive_read_support_format_zip_seekable", &a->read_support_zip},
        {"archive_read_open_filename", &a->read_open_filename},
        {"archive_read_next_header", &a->read_next_header},
        {"archive_read_data", &a->read_data},
        {"archive_read_free", &a->read_free},
        {"archive_error_string", &a->error_string},
        {"archive_entry_pathname_utf8", &a->pathname_utf8},
        {"archive_entry_filetype", &a->filetype},
        {"archive_entry_size", &a->size},
        {"archive_entry_size_is_set", &a->size_is_set},
        {"archive_entry_hardlink_utf8", &a->hardlink_utf8},
    };
    for (size_t i = 0; i < PX_COUNT(table); i++)
        if (!px_library_function(a->library, table[i].name, table[i].function)) return false;
    return true;
}

phlox_status px_archiver_open(px_archiver **out, phlox_error *error)
{
    px_archiver *const a = calloc(1, sizeof *a);
    phlox_error why;
    if (!a) return px_fail_memory(error, sizeof *a);
    const bool is_there = px_library_open("libarchive.so.13", &a->library, &why) == PHLOX_OK;
    if (is_there && load(a)) {
        *out = a;
        return PHLOX_OK;
    }
    const phlox_status status =
        is_there ? px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "unpacking needs libarchive 3.3 or newer, and that of the system is older")
                 : px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "unpacking needs libarchive, which cannot be opened (%.300s); on Debian: apt "
                           "install libarchive13", why.message);
    if (is_there) px_library_close(a->library);
    free(a);
    return status;
}

void px_archiver_close(px_archiver *archiver)
{
    if (!archiver) return;
    px_library_close(archiver->library);
    free(archiver);
}

/* ---- patterns ------------------------------------------------------------------------------ */

static const char *name_of(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool px_archive_match(const char *pattern, const char *path, const char **rest)
{
    const char *p = pattern, *s = path, *star = NULL, *retry = NULL;
    while (*s) {
        if (p[0] == '*' && p[1] == '*') {
            if (rest) *rest = s;
            return !p[2];
        }
        if (*p == '*') {
            star = ++p;
            retry = s;
        } else if (*p == *s) {
            p++, s++;
        } else if (star && *retry != '/') { /* the last star takes one more */
            p = star;
            s = ++retry;
        } else {
            return false;
        }
    }
    while (*p == '*' && p[1] != '*') p++;
    if (rest) *rest = name_of(path);
    return !*p;
}

/* ---- members ------------------------------------------------------------------------------- */

typedef struct walk {
    px_archiver *archiver;
    const char *path;
    const px_archive_limits *limits;
    archive *reader;
    size_t members;
    phlox_error *error;
} walk;

static phlox_status fail_archive(const walk *w, const char *what)
{
    const char *const why = w->archiver->error_string(w->reader);
    return px_fail(w->error, PHLOX_ERROR_FORMAT, "%s: %s: %s; the file is damaged", w->path, what,
                   why ? why : "unknown reason");
}

static phlox_status walk_open(walk *w)
{
    px_archiver *const a = w->archiver;
    w->reader = a->read_new();
    if (!w->reader) return px_fail_memory(w->error, sizeof *w);
    if (a->read_support_zip(w->reader) != ARCHIVE_OK ||
        a->read_open_filename(w->reader, w->path, (size_t)1 << 20) != ARCHIVE_OK) {
        const phlox_status status = fail_archive(w, "cannot be read as a zip file");
        a->read_free(w->reader);
        return status;
    }
    return PHLOX_OK;
}

/* Whether a path stays below the directory it is unpacked to. */
static bool is_inside(const char *path)
{
    if (path[0] == '/' || strchr(path, '\\') || strchr(path, ':')) return false;
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        const size_t length = strcspn(part, "/");
        if (length == 2 && memcmp(part, "..", 2) == 0) return false;
    }
    return path[0] != 0;
}

typedef struct member {
    const char *path;
    uint64_t size;
    bool is_file; /* not a directory */
} member;

/* The next member; *more is false at the end. */
static phlox_status walk_next(walk *w, member *out, bool *more)
{
    px_archiver *const a = w->archiver;
    archive_entry *entry;
    const int code = a->read_next_header(w->reader, &entry);
    *more = code != ARCHIVE_EOF;
    if (!*more) return PHLOX_OK;
    if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return fail_archive(w, "its list of members ends early");
    if (++w->members > w->limits->members)
        return px_fail(w->error, PHLOX_ERROR_FORMAT, "%s: more than %zu members", w->path, w->limits->members);
    const char *const path = a->pathname_utf8(entry);
    if (!path || !is_inside(path))
        return px_fail(w->error, PHLOX_ERROR_FORMAT,
                       "%s: a member is called \"%.200s\", which leads out of the archive; nothing is "
                       "unpacked", w->path, path ? path : "?");
    const unsigned type = a->filetype(entry) & AE_IFMT;
    if ((type != AE_IFREG && type != AE_IFDIR) || a->hardlink_utf8(entry))
        return px_fail(w->error, PHLOX_ERROR_FORMAT,
                       "%s: the member %.200s is a link or a special file; nothing is unpacked", w->path,
                       path);
    const int64_t size = a->size_is_set(entry) ? a->size(entry) : 0;
    *out = (member){path, size > 0 ? (uint64_t)size : 0, type == AE_IFREG};
    return PHLOX_OK;
}

/* Reads the data of the member at which the walk stands; the bytes must be as many as it says. */
typedef phlox_status take_fn(void *user, uint64_t offset, const void *data, size_t size,
                             phlox_error *error);

static phlox_status walk_data(const walk *w, const member *m, take_fn *take, void *user)
{
    enum { PIECE = 1 << 18 };
    char *const piece = malloc(PIECE);
    if (!piece) return px_fail_memory(w->error, PIECE);
    phlox_status status = PHLOX_OK;
    uint64_t offset = 0;
    int64_t got;
    while (status == PHLOX_OK && (got = w->archiver->read_data(w->reader, piece, PIECE)) != 0) {
        if (got < 0) status = fail_archive(w, m->path);
        else if ((uint64_t)got > m->size - offset)
            status = px_fail(w->error, PHLOX_ERROR_FORMAT, "%s: the member %.200s is longer than it says",
                             w->path, m->path);
        else status = take(user, offset, piece, (size_t)got, w->error);
        if (got > 0) offset += (uint64_t)got;
    }
    free(piece);
    if (status == PHLOX_OK && offset != m->size)
        return px_fail(w->error, PHLOX_ERROR_FORMAT,
                       "%s: the member %.200s has %llu bytes in place of %llu; the file is damaged", w->path,
                       m->path, (unsigned long long)offset, (unsigned long long)m->size);
    return status;
}

static phlox_status check_size(const walk *w, const member *m, uint64_t *total)
{
    if (m->size > w->limits->member || m->size > w->limits->total - *total)
        return px_fail(w->error, PHLOX_ERROR_FORMAT,
                       "%s: with the member %.200s of %llu bytes it is larger than expected; nothing is "
                       "unpacked", w->path, m->path, (unsigned long long)m->size);
    *total += m->size;
    return PHLOX_OK;
}

/* ---- unpacking ----------------------------------------------------------------------------- */

typedef struct unpacking {
    walk walk;
    const px_archive_rule *rules;
    size_t rule_count;
    const char *directory;
    phlox_progress_fn *progress;
    void *progress_user;
    phlox_progress done;
    size_t count;
    px_out_file file;
} unpacking;

/* The name that a member's file gets; false when it is left out. */
static bool choose_name(const unpacking *u, const member *m, char *out, size_t size)
{
    const char *rest;
    for (size_t i = 0; m->is_file && i < u->rule_count; i++) {
        const px_archive_rule *const rule = &u->rules[i];
        if (!px_archive_match(rule->pattern, m->path, &rest)) continue;
        if (!rule->prefix) return false;
        const size_t prefix = strlen(rule->prefix);
        const int wanted = snprintf(out, size, "%s%s", rule->prefix, rest);
        if (wanted < 0 || (size_t)wanted >= size) out[0] = 0; /* refused by whoever uses it */
        for (char *c = out[0] ? out + prefix : out; *c; c++)
            if (*c == '/') *c = '-';
        return true;
    }
    return false;
}

static phlox_status write_part(void *user, uint64_t offset, const void *data, size_t size,
                               phlox_error *error)
{
    unpacking *const u = user;
    PX_TRY(px_out_write(&u->file, offset, data, size, error));
    u->done.done += size;
    if (u->progress && !u->progress(u->progress_user, &u->done))
        return px_fail(error, PHLOX_ERROR_CANCELLED, "cancelled");
    return PHLOX_OK;
}

static phlox_status unpack_member(unpacking *u, const member *m, const char *name)
{
    phlox_error *const error = u->walk.error;
    char path[4096];
    const int wanted = snprintf(path, sizeof path, "%s/%s", u->directory, name);
    if (!name[0] || name[0] == '.' || wanted < 0 || (size_t)wanted >= sizeof path)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: the member %.200s cannot have a file of its name",
                       u->walk.path, m->path);
    if (px_is_file(path))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: two members would become %s", u->walk.path, name);
    PX_TRY(px_out_open(&u->file, path, m->size, error));
    const phlox_status status = walk_data(&u->walk, m, write_part, u);
    if (status != PHLOX_OK) {
        px_out_abandon(&u->file);
        return status;
    }
    u->count++;
    return px_out_commit(&u->file, error);
}

/* Goes through the members: to check them all and add up the sizes, or to unpack. */
static phlox_status pass(unpacking *u, bool writes, uint64_t *total)
{
    char name[256];
    member m;
    bool more;
    *total = 0;
    u->walk.members = 0;
    phlox_status status = walk_open(&u->walk);
    if (status != PHLOX_OK) return status;
    while ((status = walk_next(&u->walk, &m, &more)) == PHLOX_OK && more) {
        if (!choose_name(u, &m, name, sizeof name)) continue;
        status = check_size(&u->walk, &m, total);
        if (status == PHLOX_OK && writes) status = unpack_member(u, &m, name);
        if (status != PHLOX_OK) break;
    }
    u->walk.archiver->read_free(u->walk.reader);
    return status;
}

phlox_status px_archive_unpack(px_archiver *archiver, const char *path, const px_archive_rule *rules,
                               size_t rule_count, const char *directory,
                               const px_archive_limits *limits, phlox_progress_fn *progress,
                               void *progress_user, const char *what, size_t *count,
                               phlox_error *error)
{
    unpacking u = {.walk = {.archiver = archiver, .path = path, .limits = limits, .error = error},
                   .rules = rules, .rule_count = rule_count, .directory = directory,
                   .progress = progress, .progress_user = progress_user, .file = {.descriptor = -1}};
    uint64_t total;
    PX_TRY(pass(&u, false, &total));
    u.done = (phlox_progress){what, 0, total, true};
    PX_TRY(pass(&u, true, &total));
    *count = u.count;
    return PHLOX_OK;
}

static phlox_status add_part(void *user, uint64_t offset, const void *data, size_t size,
                             phlox_error *error)
{
    (void)offset;
    return px_buffer_add(user, data, size, error);
}

phlox_status px_archive_read(px_archiver *archiver, const char *path, const char *pattern,
                             const px_archive_limits *limits, px_buffer *out, phlox_error *error)
{
    walk w = {.archiver = archiver, .path = path, .limits = limits, .error = error};
    px_buffer text = {0};
    uint64_t total = 0;
    member m;
    bool more, found = false;
    PX_TRY(walk_open(&w));
    phlox_status status;
    while (!found && (status = walk_next(&w, &m, &more)) == PHLOX_OK && more) {
        if (!m.is_file || !px_archive_match(pattern, m.path, NULL)) continue;
        found = true;
        status = check_size(&w, &m, &total);
        if (status == PHLOX_OK) status = walk_data(&w, &m, add_part, &text);
    }
    archiver->read_free(w.reader);
    if (status == PHLOX_OK && !found)
        status = px_fail(error, PHLOX_ERROR_NOT_FOUND, "%s: has no member %s", path, pattern);
    if (status == PHLOX_OK) status = px_buffer_reserve(&text, 1, error);
    if (status != PHLOX_OK) {
        px_buffer_free(&text);
        return status;
    }
    text.data[text.size] = 0;
    *out = text;
    return PHLOX_OK;
}
