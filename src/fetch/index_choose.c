#include "fetch/index.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names of wheels ----------------------------------------------------------------------- */

typedef struct span {
    const char *data;
    size_t size;
} span;

/* distribution-version[-build]-python-abi-platform.whl */
typedef struct wheel {
    span distribution, version, python, abi, platform;
    uint64_t build; /* its number; 0: none */
} wheel;

static bool read_wheel(const char *name, wheel *out)
{
    span parts[6];
    size_t count = 0;
    const char *const end = name + strlen(name) - 4; /* ".whl" */
    for (const char *at = name;; at++) {
        const char *const first = at;
        while (at < end && *at != '-') at++;
        if (count == 6) return false;
        parts[count++] = (span){first, (size_t)(at - first)};
        if (at >= end) break;
    }
    if (count < 5) return false;
    const span *const tags = parts + count - 3;
    *out = (wheel){parts[0], parts[1], tags[0], tags[1], tags[2], 0};
    if (count == 6) out->build = strtoull(parts[2].data, NULL, 10);
    return out->version.size < PX_INDEX_VERSION;
}

/* Of the names of packages capitals and the kind of separator do not count. */
static bool is_same_package(span distribution, const char *package)
{
    size_t i = 0;
    for (; i < distribution.size && package[i]; i++) {
        char a = distribution.data[i], b = package[i];
        if (a >= 'A' && a <= 'Z') a = (char)(a + 'a' - 'A');
        if (b >= 'A' && b <= 'Z') b = (char)(b + 'a' - 'A');
        if (a == '_' || a == '.') a = '-';
        if (b == '_' || b == '.') b = '-';
        if (a != b) return false;
    }
    return i == distribution.size && !package[i];
}

/* The newest Python first; what is for every one of Python 3 before it, and builds without its global
 * lock behind those with it. */
static unsigned long rank_python(const wheel *w)
{
    if (w->abi.size == 4 && memcmp(w->abi.data, "abi3", 4) == 0) return 2000;
    if (w->python.size >= 3 && memcmp(w->python.data, "py3", 3) == 0) return 2000;
    if (w->python.size < 4 || memcmp(w->python.data, "cp3", 3) != 0) return 0;
    const unsigned long minor = strtoul(w->python.data + 3, NULL, 10);
    return PX_MIN(minor, 999ul) + (w->abi.size && w->abi.data[w->abi.size - 1] == 't' ? 0 : 1000);
}

/* ---- platforms ----------------------------------------------------------------------------- */

/* "x86_64" at the end of a tag whose first `used` bytes are read. */
static bool is_machine(const px_platform *platform, const char *tag, size_t size, size_t used)
{
    return size - used == strlen(platform->machine) &&
           memcmp(tag + used, platform->machine, size - used) == 0;
}

static bool runs_one(const px_platform *platform, const char *tag, size_t size)
{
    static const struct {
        const char *prefix;
        int minor; /* of glibc 2 */
    } older[] = {{"manylinux1_", 5}, {"manylinux2010_", 12}, {"manylinux2014_", 17}, {"linux_", 0}};
    char text[64];
    int major, minor, used = 0;
    if (size >= sizeof text || !platform->glibc_major) return false;
    memcpy(text, tag, size);
    text[size] = 0;
    if (sscanf(text, "manylinux_%3d_%3d_%n", &major, &minor, &used) == 2 && used)
        return (platform->glibc_major > major ||
                (platform->glibc_major == major && platform->glibc_minor >= minor)) &&
               is_machine(platform, text, size, (size_t)used);
    for (size_t i = 0; i < PX_COUNT(older); i++) {
        const size_t length = strlen(older[i].prefix);
        if (size > length && memcmp(text, older[i].prefix, length) == 0)
            return (platform->glibc_major > 2 || platform->glibc_minor >= older[i].minor) &&
                   is_machine(platform, text, size, length);
    }
    return false;
}

bool px_platform_runs(const px_platform *platform, const char *tag, size_t size)
{
    const char *const end = tag + size;
    while (tag < end) {
        const char *const dot = memchr(tag, '.', (size_t)(end - tag));
        const size_t length = dot ? (size_t)(dot - tag) : (size_t)(end - tag);
        if (runs_one(platform, tag, length)) return true;
        tag += length + (dot != NULL);
    }
    return false;
}

/* ---- choosing ------------------------------------------------------------------------------ */

typedef struct candidate {
    const px_index_file *file;
    wheel wheel;
    px_version version;
} candidate;

typedef struct choice {
    const char *package, *requirement;
    const px_version *exact; /* NULL: none */
    const px_platform *platform;
    candidate best;       /* file NULL: none */
    candidate elsewhere;  /* the newest that other machines can load */
    candidate newest;     /* of the package's versions, whatever they are */
    bool has_yanked;      /* one that is yanked would do */
} choice;

static bool is_better(const candidate *a, const candidate *b)
{
    if (!b->file) return true;
    const int order = px_version_compare(&a->version, &b->version);
    if (order) return order > 0;
    if (a->wheel.build != b->wheel.build) return a->wheel.build > b->wheel.build;
    return rank_python(&a->wheel) > rank_python(&b->wheel);
}

static void consider(choice *c, const px_index_file *file)
{
    candidate found = {.file = file};
    if (!read_wheel(file->name, &found.wheel) ||
        !is_same_package(found.wheel.distribution, c->package) ||
        !px_version_read(found.wheel.version.data, found.wheel.version.size, &found.version))
        return;
    const bool is_wanted = c->exact ? px_version_compare(&found.version, c->exact) == 0
                                    : px_version_is_final(&found.version) &&
                                          px_version_meets(&found.version, c->requirement);
    if (!file->is_yanked && is_better(&found, &c->newest)) c->newest = found;
    if (!is_wanted) return;
    if (file->is_yanked) {
        c->has_yanked = true;
        return;
    }
    const bool runs = px_platform_runs(c->platform, found.wheel.platform.data, found.wheel.platform.size);
    candidate *const place = runs ? &c->best : &c->elsewhere;
    if (is_better(&found, place)) *place = found;
}

/* Adds a platform tag to a list of words, once. */
static void add_tag(char *list, size_t size, span tag)
{
    const size_t used = strlen(list);
    for (const char *at = list; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
        const size_t length = strcspn(at, ", ");
        if (length == tag.size && memcmp(at, tag.data, length) == 0) return;
    }
    if (used + tag.size + 3 < size)
        snprintf(list + used, size - used, "%s%.*s", used ? ", " : "", (int)tag.size, tag.data);
}

static phlox_status fail_platform(const choice *c, const px_index *index, phlox_error *error)
{
    char tags[512] = "";
    for (size_t i = 0; i < index->count; i++) {
        candidate other = {.file = &index->files[i]};
        if (!other.file->is_yanked && read_wheel(other.file->name, &other.wheel) &&
            is_same_package(other.wheel.distribution, c->package) &&
            px_version_read(other.wheel.version.data, other.wheel.version.size, &other.version) &&
            px_version_compare(&other.version, &c->elsewhere.version) == 0)
            add_tag(tags, sizeof tags, other.wheel.platform);
    }
    char glibc[48] = "without glibc";
    if (c->platform->glibc_major)
        snprintf(glibc, sizeof glibc, "with glibc %d.%d", c->platform->glibc_major,
                 c->platform->glibc_minor);
    return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                   "%s %.*s has no wheel for this machine (Linux on %s %s); there are: %s", c->package,
                   (int)c->elsewhere.wheel.version.size, c->elsewhere.wheel.version.data,
                   c->platform->machine, glibc, tags);
}

/* Nothing is left: says why. */
static phlox_status fail_choice(const choice *c, const px_index *index, const char *exact,
                                phlox_error *error)
{
    const span newest = c->newest.wheel.version;
    char known[160] = "; the index has no wheel of it";
    if (c->newest.file)
        snprintf(known, sizeof known, "; the newest is %.*s", (int)newest.size, newest.data);
    if (c->elsewhere.file) return fail_platform(c, index, error);
    if (c->has_yanked)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                       "%s %s was withdrawn by those who published it%s", c->package,
                       exact ? exact : c->requirement, known);
    if (exact)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND, "there is no %s %s%s", c->package, exact, known);
    return px_fail(error, PHLOX_ERROR_NOT_FOUND, "there is no final version of %s%s%s%s", c->package,
                   c->requirement[0] ? " that is " : "", c->requirement, known);
}

phlox_status px_index_choose(const px_index *index, const char *package, const char *exact,
                             const char *requirement, const px_platform *platform,
                             px_wheel_choice *out, phlox_error *error)
{
    px_version wanted;
    if (exact && !px_version_read(exact, strlen(exact), &wanted))
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "\"%s\" is not a version; one looks like 2026.4.1", exact);
    choice c = {.package = package, .requirement = requirement, .exact = exact ? &wanted : NULL,
                .platform = platform};
    for (size_t i = 0; i < index->count; i++) consider(&c, &index->files[i]);
    if (!c.best.file) return fail_choice(&c, index, exact, error);
    out->file = c.best.file;
    snprintf(out->version, sizeof out->version, "%.*s", (int)c.best.wheel.version.size,
             c.best.wheel.version.data);
    return PHLOX_OK;
}
