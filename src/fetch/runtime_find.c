#include "fetch/runtimes.h"

#include "base/os.h"
#include "fetch/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PATH = 4096, MOST_WORD = 64 };

#if defined(__x86_64__)
#define MULTIARCH "x86_64-linux-gnu"
#elif defined(__aarch64__)
#define MULTIARCH "aarch64-linux-gnu"
#else
#define MULTIARCH "unknown-linux-gnu"
#endif

/* What the library of a runtime is called and where a wheel has it. */
typedef struct runtime_kind {
    const char *runtime;
    const char *pattern;      /* file names */
    const char *own;          /* below phlox's folder, variants included */
    const char *folder;       /* below site-packages */
    const char *distribution; /* from the library's directory to the wheel's own directory */
} runtime_kind;

static const runtime_kind kinds[] = {
    {"openvino", "libopenvino_c.so*", "/openvino/*", "/openvino/libs", "/../../openvino-*.dist-info"},
    {"onnxruntime-genai", "libonnxruntime-genai.so*", "/onnxruntime-genai*/*", "/onnxruntime_genai",
     "/../onnxruntime_genai*-*.dist-info"},
};

/* Where to look. */
typedef struct spot {
    px_runtime_origin origin;
    const char *path;
    bool is_python; /* the wheel's folder follows */
} spot;

static const spot spots[] = {
    {PX_RUNTIME_GIVEN, "", false},
    {PX_RUNTIME_GIVEN, "/runtime/lib/*", false},
    {PX_RUNTIME_GIVEN, "/lib", false},
    {PX_RUNTIME_GIVEN, "", true},
    {PX_RUNTIME_GIVEN, "/lib/python3*/site-packages", true},
    {PX_RUNTIME_OWN, "", false},
    {PX_RUNTIME_ENVIRONMENT, "/lib/python3*/site-packages", true},
    {PX_RUNTIME_ENVIRONMENT, "/lib", false},
    {PX_RUNTIME_SYSTEM, "/usr/local/lib", false},
    {PX_RUNTIME_SYSTEM, "/usr/local/lib64", false},
    {PX_RUNTIME_SYSTEM, "/usr/local/lib/" MULTIARCH, false},
    {PX_RUNTIME_SYSTEM, "/usr/lib/" MULTIARCH, false},
    {PX_RUNTIME_SYSTEM, "/usr/lib64", false},
    {PX_RUNTIME_SYSTEM, "/usr/lib", false},
    {PX_RUNTIME_INTEL, "/opt/intel/openvino*/runtime/lib/*", false},
    {PX_RUNTIME_USER_PYTHON, "/.local/lib/python3*/site-packages", true},
    {PX_RUNTIME_SYSTEM_PYTHON, "/usr/local/lib/python3*/dist-packages", true},
    {PX_RUNTIME_SYSTEM_PYTHON, "/usr/local/lib/python3*/site-packages", true},
    {PX_RUNTIME_SYSTEM_PYTHON, "/usr/lib/python3*/dist-packages", true},
    {PX_RUNTIME_SYSTEM_PYTHON, "/usr/lib/python3*/site-packages", true},
    {PX_RUNTIME_SYSTEM_PYTHON, "/usr/lib64/python3*/site-packages", true},
};

const char *px_runtime_origin_name(px_runtime_origin origin)
{
    switch (origin) {
    case PX_RUNTIME_GIVEN: return "given";
    case PX_RUNTIME_OWN: return "phlox's folder";
    case PX_RUNTIME_ENVIRONMENT: return "active Python environment";
    case PX_RUNTIME_SYSTEM: return "system";
    case PX_RUNTIME_INTEL: return "/opt/intel";
    case PX_RUNTIME_USER_PYTHON: return "user's Python";
    case PX_RUNTIME_SYSTEM_PYTHON: return "system's Python";
    }
    return "unknown";
}

/* ---- what is found ------------------------------------------------------------------------- */

typedef struct hit {
    px_runtime_origin origin;
    char *path, *real;  /* as found; without links */
    char *onnxruntime;  /* NULL: none */
    char package[MOST_WORD], version[MOST_WORD], onnxruntime_version[MOST_WORD];
} hit;

typedef struct search {
    const runtime_kind *kind;
    px_runtime_origin origin;
    hit *hits;
    size_t count, capacity;
    phlox_status status;
    phlox_error *error;
} search;

static void free_hits(search *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->hits[i].path);
        free(s->hits[i].real);
        free(s->hits[i].onnxruntime);
    }
    free(s->hits);
}

/* The name behind the last slash. */
static const char *name_of(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void copy_word(char out[MOST_WORD], const char *text, size_t size)
{
    snprintf(out, MOST_WORD, "%.*s", (int)PX_MIN(size, (size_t)MOST_WORD), text);
}

/* What stands behind ".so." in a file name; NULL when that is not the name of a library. */
static const char *suffix_of(const char *path)
{
    const char *const name = name_of(path), *const end = strstr(name, ".so");
    if (!end || end[3 + strspn(end + 3, ".0123456789")]) return NULL;
    return end[3] ? end + 4 : "";
}

/* The version that a file's name tells: libonnxruntime.so.1.32.0, or libopenvino_c.so.2641, whose digits
 * are year, release and patch. */
static void version_of_file(const char *path, char out[MOST_WORD])
{
    const char *const suffix = suffix_of(path);
    out[0] = 0;
    if (!suffix) return;
    if (strchr(suffix, '.'))
        copy_word(out, suffix, strlen(suffix));
    else if (strlen(suffix) == 4)
        snprintf(out, MOST_WORD, "20%.2s.%c.%c", suffix, suffix[2], suffix[3]);
}

/* ".../onnxruntime_genai_cuda-0.18.0.dist-info" */
static bool read_distribution(void *user, const char *path)
{
    hit *const found = user;
    const char *const name = name_of(path), *const dash = strchr(name, '-');
    const char *const end = strstr(name, ".dist-info");
    if (!dash || !end || end < dash) return true;
    copy_word(found->package, name, (size_t)(dash - name));
    for (char *c = found->package; *c; c++)
        if (*c == '_') *c = '-';
    copy_word(found->version, dash + 1, (size_t)(end - dash - 1));
    return false;
}

/* ".../openvino/2026.4.1" of phlox's folder. */
static void read_own(hit *found, const char *directory)
{
    const char *const version = name_of(directory);
    if (version == directory) return;
    const char *name = version - 1;
    while (name > directory && name[-1] != '/') name--;
    copy_word(found->package, name, (size_t)(version - 1 - name));
    copy_word(found->version, version, strlen(version));
}

/* Puts a backslash in front of what a pattern would take for more than a letter. */
static void add_escaped(char out[MOST_PATH], const char *text)
{
    size_t used = strlen(out);
    for (; *text && used + 3 < MOST_PATH; text++) {
        if (strchr("*?[\\", *text)) out[used++] = '\\';
        out[used++] = *text;
    }
    out[used] = 0;
}

static void glob_below(const char *directory, const char *pattern,
                       bool (*visit)(void *user, const char *path), void *user)
{
    char path[MOST_PATH] = "";
    add_escaped(path, directory);
    const size_t used = strlen(path);
    if (used + strlen(pattern) >= sizeof path) return;
    memcpy(path + used, pattern, strlen(pattern) + 1);
    px_glob(path, visit, user);
}

static bool take_onnxruntime(void *user, const char *path)
{
    hit *const found = user;
    if (!suffix_of(path)) return true;
    char *const real = px_real_path(path);
    char version[MOST_WORD];
    version_of_file(real ? real : path, version);
    free(real);
    if (found->onnxruntime && px_version_order(version, found->onnxruntime_version) <= 0) return true;
    free(found->onnxruntime);
    found->onnxruntime = px_strdup(path, strlen(path));
    copy_word(found->onnxruntime_version, version, strlen(version));
    return true;
}

/* Fills in what the surroundings of found->path tell. */
static void describe(const runtime_kind *kind, hit *found)
{
    char directory[MOST_PATH], path[MOST_PATH + 32];
    snprintf(directory, sizeof directory, "%.*s", (int)(name_of(found->path) - found->path - 1),
             found->path);
    snprintf(path, sizeof path, "%s/" PX_RUNTIME_MANIFEST, directory);
    if (px_is_file(path)) read_own(found, directory);
    else glob_below(directory, kind->distribution, read_distribution, found);
    if (!found->version[0]) version_of_file(found->real, found->version);
    if (strcmp(kind->runtime, "onnxruntime-genai") != 0) return;
    glob_below(directory, "/libonnxruntime.so*", take_onnxruntime, found);
    if (!found->onnxruntime)
        glob_below(directory, "/../onnxruntime/capi/libonnxruntime.so*", take_onnxruntime, found);
}

/* ---- looking ------------------------------------------------------------------------------- */

static bool is_known(const search *s, const char *real)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->hits[i].real, real) == 0) return true;
    return false;
}

/* Directories that are still being made do not count. */
static bool is_unfinished(const char *path)
{
    const char *const suffix = strstr(path, PX_OUT_SUFFIX "/");
    return suffix != NULL;
}

static phlox_status add_hit(search *s, const char *path)
{
    if (s->count == s->capacity) {
        const size_t capacity = s->capacity * 2 + 8;
        hit *const grown = realloc(s->hits, capacity * sizeof *grown);
        if (!grown) return px_fail_memory(s->error, capacity * sizeof *grown);
        s->hits = grown;
        s->capacity = capacity;
    }
    hit found = {.origin = s->origin, .path = px_strdup(path, strlen(path)),
                 .real = px_real_path(path)};
    if (!found.path || !found.real || is_known(s, found.real)) {
        const bool has_memory = found.path && found.real;
        free(found.path);
        free(found.real);
        return has_memory ? PHLOX_OK : px_fail_memory(s->error, strlen(path));
    }
    describe(s->kind, &found);
    s->hits[s->count++] = found;
    return PHLOX_OK;
}

static bool take_library(void *user, const char *path)
{
    search *const s = user;
    if (strlen(path) >= MOST_PATH || !suffix_of(path) || !px_is_file(path) ||
        (s->origin == PX_RUNTIME_OWN && is_unfinished(path)))
        return true;
    s->status = add_hit(s, path);
    return s->status == PHLOX_OK;
}

static const char *root_of(const px_runtime_roots *roots, px_runtime_origin origin,
                           const char *directory)
{
    switch (origin) {
    case PX_RUNTIME_GIVEN: return directory;
    case PX_RUNTIME_OWN: return roots->own;
    case PX_RUNTIME_ENVIRONMENT: return roots->environment;
    case PX_RUNTIME_USER_PYTHON: return roots->home;
    case PX_RUNTIME_SYSTEM:
    case PX_RUNTIME_INTEL:
    case PX_RUNTIME_SYSTEM_PYTHON: return roots->system;
    }
    return NULL;
}

/* The newest first, a plain runtime before its variants. */
static bool is_before(const hit *a, const hit *b)
{
    const int order = px_version_order(a->version, b->version);
    return order ? order > 0 : strcmp(a->package, b->package) < 0;
}

static void sort_from(search *s, size_t first)
{
    for (size_t i = first + 1; i < s->count; i++) {
        const hit moved = s->hits[i];
        size_t j = i;
        for (; j > first && is_before(&moved, &s->hits[j - 1]); j--) s->hits[j] = s->hits[j - 1];
        s->hits[j] = moved;
    }
}

static void search_origin(search *s, px_runtime_origin origin, const char *root)
{
    const size_t first = s->count;
    s->origin = origin;
    if (origin == PX_RUNTIME_GIVEN && px_is_file(root)) take_library(s, root);
    for (size_t i = 0; i < PX_COUNT(spots) && s->status == PHLOX_OK; i++) {
        char pattern[512];
        if (spots[i].origin != origin) continue;
        snprintf(pattern, sizeof pattern, "%s%s%s/%s", spots[i].path,
                 origin == PX_RUNTIME_OWN ? s->kind->own : "",
                 spots[i].is_python ? s->kind->folder : "", s->kind->pattern);
        glob_below(root, pattern, take_library, s);
    }
    sort_from(s, first);
}

static void visit_hits(const search *s, px_runtime_fn *visit, void *user, size_t *found)
{
    for (size_t i = 0; i < s->count; i++) {
        const hit *const h = &s->hits[i];
        const px_runtime_place place = {h->origin, h->path, h->onnxruntime, h->package, h->version,
                                        h->onnxruntime_version};
        ++*found;
        if (!visit(user, &place)) return;
    }
}

phlox_status px_runtime_find_in(const px_runtime_roots *roots, const char *name, const char *directory,
                                px_runtime_fn *visit, void *user, size_t *found, phlox_error *error)
{
    search s = {.error = error};
    size_t count = 0;
    for (size_t i = 0; i < PX_COUNT(kinds); i++)
        if (strcmp(kinds[i].runtime, name) == 0) s.kind = &kinds[i];
    if (!s.kind)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                       "\"%s\" is no runtime; there are openvino and onnxruntime-genai", name);
    for (int i = PX_RUNTIME_GIVEN; i <= PX_RUNTIME_SYSTEM_PYTHON && s.status == PHLOX_OK; i++) {
        const px_runtime_origin origin = (px_runtime_origin)i;
        const char *const root = root_of(roots, origin, directory);
        if (root && (origin == PX_RUNTIME_GIVEN || !directory)) search_origin(&s, origin, root);
    }
    if (s.status == PHLOX_OK) visit_hits(&s, visit, user, &count);
    free_hits(&s);
    if (s.status == PHLOX_OK && found) *found = count;
    return s.status;
}

phlox_status px_runtime_find(const char *name, const char *directory, px_runtime_fn *visit, void *user,
                             size_t *found, phlox_error *error)
{
    const char *const environment = getenv("VIRTUAL_ENV"), *const conda = getenv("CONDA_PREFIX");
    char *const own = px_runtime_folder();
    const px_runtime_roots roots = {
        .own = own,
        .environment = environment && environment[0] ? environment : conda && conda[0] ? conda : NULL,
        .home = getenv("HOME"),
        .system = "",
    };
    const phlox_status status = px_runtime_find_in(&roots, name, directory, visit, user, found, error);
    free(own);
    return status;
}
