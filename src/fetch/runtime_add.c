#include "fetch/runtimes.h"

#include "base/json.h"
#include "base/tree.h"
#include "fetch/download.h"
#include "fetch/index.h"
#include "fetch/requires.h"
#include "fetch/runtime_table.h"
#include "fetch/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PATH = 4096 };

static const uint64_t most_page = (uint64_t)64 << 20, most_wheel = (uint64_t)4 << 30;
static const px_archive_limits limits = {(uint64_t)4 << 30, (uint64_t)16 << 30, 100000};

/* One package on its way. */
typedef struct parcel {
    const px_runtime_package *package;
    px_index index;
    char *page;             /* the address of its page */
    char *url;              /* of the wheel */
    px_wheel_choice choice;
    px_out_file wheel;      /* never gets a name of its own */
    uint64_t size;
    char what[96];          /* for the progress */
} parcel;

typedef struct job {
    const px_runtime_request *request;
    const px_runtime_kind *kind;
    const char *exact;      /* the version that is asked for; NULL: the newest */
    const char *index_url;
    unsigned schemes;
    char *folder;           /* of all versions of this runtime */
    px_downloader *downloader;
    px_archiver *archiver;
    parcel parcels[PX_RUNTIME_PACKAGES];
    size_t count;
    phlox_error *error;
} job;

/* ---- the index ----------------------------------------------------------------------------- */

static phlox_status choose_index(job *j)
{
    const char *const variable = getenv("PIP_INDEX_URL");
    const char *const given = j->request->index_url;
    j->index_url = given ? given : variable && variable[0] ? variable : PX_RUNTIME_INDEX;
    const unsigned scheme = px_url_scheme(j->index_url);
    j->schemes = scheme | (j->request->offline ? 0 : PX_SCHEME_HTTPS);
    if (!scheme || (j->request->offline && scheme != PX_SCHEME_FILE)) {
        char *const shown = px_url_without_secrets(j->index_url);
        const phlox_status status =
            scheme ? px_fail(j->error, PHLOX_ERROR_ARGUMENT,
                             "--offline refuses the network, and the index is %s; name one of files with "
                             "--index-url file:///...", shown ? shown : "")
                   : px_fail(j->error, PHLOX_ERROR_ARGUMENT,
                             "\"%s\" is no address of an index; one begins with https://, http:// or "
                             "file:///", shown ? shown : "");
        free(shown);
        return status;
    }
    return PHLOX_OK;
}

/* The page of a package; in an index of files it is index.html in the package's directory. */
static phlox_status read_page(job *j, parcel *p)
{
    phlox_error *const error = j->error;
    char url[MOST_PATH];
    size_t length = strlen(j->index_url);
    while (length && j->index_url[length - 1] == '/') length--;
    const int wanted = snprintf(url, sizeof url, "%.*s/%s/%s", (int)length, j->index_url, p->package->name,
                                px_url_scheme(j->index_url) == PX_SCHEME_FILE ? "index.html" : "");
    if (wanted < 0 || (size_t)wanted >= sizeof url)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "the address of the index is too long");
    const px_transfer transfer = {
        .url = url, .schemes = j->schemes, .most = most_page, .what = "reading the index",
        .accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1",
        .progress = j->request->progress, .progress_user = j->request->progress_user};
    px_buffer page;
    const phlox_status status = px_download_page(j->downloader, &transfer, &page, &p->page, error);
    if (status == PHLOX_ERROR_NOT_FOUND)
        return px_error_advise(error, status, "the index has no such package");
    PX_TRY(status);
    char *const shown = px_url_without_secrets(url);
    const phlox_status read =
        px_index_read((phlox_text){page.data, page.size}, shown ? shown : "", &p->index, error);
    free(shown);
    px_buffer_free(&page);
    return read;
}

static px_platform this_platform(void)
{
#if defined(__x86_64__)
    px_platform platform = {"x86_64", 0, 0};
#elif defined(__aarch64__)
    px_platform platform = {"aarch64", 0, 0};
#else
    px_platform platform = {"another processor", 0, 0};
#endif
    if (!px_glibc_version(&platform.glibc_major, &platform.glibc_minor)) platform.glibc_major = 0;
    return platform;
}

static phlox_status choose_wheel(job *j, parcel *p, const char *exact, const char *requirement)
{
    phlox_error *const error = j->error;
    const px_platform platform = this_platform();
    PX_TRY(read_page(j, p));
    PX_TRY(px_index_choose(&p->index, p->package->name, exact, requirement, &platform, &p->choice, error));
    if (!p->choice.file->sha256[0])
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: the index gives no SHA-256 for it, so that it cannot be checked; use another "
                       "index", p->choice.file->name);
    PX_TRY(px_url_resolve(j->downloader, p->page, p->choice.file->url, &p->url, error));
    if (j->request->offline && px_url_scheme(p->url) != PX_SCHEME_FILE)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "--offline refuses the network, and the index has %s elsewhere",
                       p->choice.file->name);
    return PHLOX_OK;
}

static phlox_status fetch_wheel(job *j, parcel *p)
{
    phlox_error *const error = j->error;
    char path[MOST_PATH];
    const px_index_file *const file = p->choice.file;
    if (file->size > most_wheel)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: of %llu bytes; more than is ever expected",
                       file->name, (unsigned long long)file->size);
    snprintf(path, sizeof path, "%s/wheel", j->folder);
    snprintf(p->what, sizeof p->what, "downloading %s %s", p->package->name, p->choice.version);
    PX_TRY(px_out_open(&p->wheel, path, file->size, error));
    const px_transfer transfer = {
        .url = p->url, .schemes = j->schemes, .most = file->size ? file->size : most_wheel,
        .sha256 = file->sha256, .size = file->size, .what = p->what,
        .progress = j->request->progress, .progress_user = j->request->progress_user};
    return px_download_file(j->downloader, &transfer, &p->wheel, &p->size, error);
}

/* Fetches the second package in the version that the first one requires. */
static phlox_status fetch_required(job *j)
{
    phlox_error *const error = j->error;
    parcel *const first = &j->parcels[0], *const second = &j->parcels[1];
    static const px_archive_limits small = {1 << 24, 1 << 24, 100000};
    char requirement[256];
    px_buffer metadata;
    second->package = &j->kind->packages[1];
    j->count = 2;
    PX_TRY(px_archive_read(j->archiver, first->wheel.temporary, "*.dist-info/METADATA", &small, &metadata,
                           error));
    const bool fits = px_requires(metadata.data, second->package->name, requirement, sizeof requirement);
    px_buffer_free(&metadata);
    if (!fits)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: what it requires of %s is too long",
                       first->choice.file->name, second->package->name);
    PX_TRY(choose_wheel(j, second, NULL, requirement));
    return fetch_wheel(j, second);
}

/* ---- the folder ---------------------------------------------------------------------------- */

static bool is_wheel_left_over(const char *name)
{
    return strncmp(name, "wheel.", 6) == 0;
}

static phlox_status open_folder(job *j)
{
    char *const own = px_runtime_folder();
    if (!own)
        return px_fail(j->error, PHLOX_ERROR_NOT_FOUND,
                       "neither HOME nor XDG_DATA_HOME is set, so there is no place for runtimes");
    const size_t size = strlen(own) + strlen(j->kind->name) + 2;
    j->folder = malloc(size);
    if (j->folder) snprintf(j->folder, size, "%s/%s", own, j->kind->name);
    free(own);
    return j->folder ? PHLOX_OK : px_fail_memory(j->error, size);
}

static phlox_status clean_folder(job *j)
{
    phlox_error *const error = j->error;
    PX_TRY(px_make_directories(j->folder, error));
    px_out_clean(j->folder, is_wheel_left_over);
    px_out_directory_clean(j->folder, NULL);
    return PHLOX_OK;
}

/* Makes room where a directory of the version is damaged, so that nothing is downloaded in vain. */
static phlox_status remove_damaged(const job *j, const char *version)
{
    char path[MOST_PATH];
    snprintf(path, sizeof path, "%s/%s", j->folder, version);
    if (!px_is_directory(path)) return PHLOX_OK;
    const phlox_status status = px_remove_tree_at_once(path, j->error);
    return status == PHLOX_ERROR_NOT_FOUND ? PHLOX_OK : status; /* another process was quicker */
}

/* Whether `version` is installed; then the result is filled in. */
static bool is_installed(const job *j, const char *version, px_runtime_result *out)
{
    char *directory = NULL;
    if (px_runtime_directory(j->kind->name, version, &directory, NULL) != PHLOX_OK) return false;
    const char *const name = strrchr(directory, '/') + 1;
    *out = (px_runtime_result){.was_there = true};
    snprintf(out->version, sizeof out->version, "%.63s", name);
    snprintf(out->directory, sizeof out->directory, "%.1023s", directory);
    out->installed = px_tree_bytes(directory);
    free(directory);
    return true;
}

static json_t *describe_parcel(const parcel *p)
{
    char *const url = px_url_without_secrets(p->url);
    json_t *const json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "name", p->package->name, "version",
                                   p->choice.version, "file", p->choice.file->name, "url", url ? url : "",
                                   "sha256", p->choice.file->sha256, "bytes", (json_int_t)p->size);
    free(url);
    return json;
}

static phlox_status write_manifest(const job *j, const char *directory, uint64_t installed)
{
    char path[MOST_PATH];
    json_t *const packages = json_array();
    for (size_t i = 0; i < j->count; i++)
        json_array_append_new(packages, describe_parcel(&j->parcels[i]));
    json_t *const json = json_pack("{s:s, s:s, s:I, s:o}", "runtime", j->kind->name, "version",
                                   j->parcels[0].choice.version, "bytes", (json_int_t)installed,
                                   "packages", packages);
    char *const text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (!text) return px_fail_memory(j->error, 1024);
    snprintf(path, sizeof path, "%s/" PX_RUNTIME_MANIFEST, directory);
    const phlox_status status = px_write_file(path, text, strlen(text), j->error);
    free(text);
    return status;
}

struct library {
    bool is_there, has_onnxruntime;
};

static bool take_library(void *user, const px_runtime_place *place)
{
    *(struct library *)user = (struct library){true, place->onnxruntime != NULL};
    return false;
}

/* A package may change in what it holds; a runtime that cannot be found again is no runtime. */
static phlox_status check_libraries(const job *j, const char *directory)
{
    phlox_error *const error = j->error;
    struct library library = {false, false};
    PX_TRY(px_runtime_find(j->kind->library, directory, take_library, &library, NULL, error));
    for (size_t i = 0; i < j->count; i++)
        if (i == 0 ? !library.is_there : !library.has_onnxruntime)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "%s: the library is not where phlox expects it; try an older version, %s==VERSION",
                           j->parcels[i].choice.file->name, j->kind->name);
    return PHLOX_OK;
}

static phlox_status fill_directory(job *j, const char *directory, uint64_t *installed)
{
    phlox_error *const error = j->error;
    for (size_t i = 0; i < j->count; i++) {
        const parcel *const p = &j->parcels[i];
        size_t count = 0;
        PX_TRY(px_error_prefix(error,
                               px_archive_unpack(j->archiver, p->wheel.temporary, p->package->rules,
                                                 p->package->rule_count, directory, &limits,
                                                 j->request->progress, j->request->progress_user,
                                                 "unpacking", &count, error),
                               "%s", p->choice.file->name));
    }
    PX_TRY(check_libraries(j, directory));
    *installed = px_tree_bytes(directory);
    return write_manifest(j, directory, *installed);
}

/* Unpacks what was fetched. Another process may be quicker; then its result is as good. */
static phlox_status install(job *j, px_runtime_result *out)
{
    const char *const version = j->parcels[0].choice.version;
    char path[MOST_PATH];
    px_out_directory directory;
    snprintf(path, sizeof path, "%s/%s", j->folder, version);
    uint64_t installed = 0, downloaded = 0;
    phlox_status status = px_out_directory_open(&directory, path, j->error);
    if (status == PHLOX_OK) {
        status = fill_directory(j, directory.temporary, &installed);
        if (status == PHLOX_OK) status = px_out_directory_commit(&directory, j->error);
        else px_out_directory_abandon(&directory);
    }
    if (status != PHLOX_OK) return is_installed(j, version, out) ? PHLOX_OK : status;
    for (size_t i = 0; i < j->count; i++) downloaded += j->parcels[i].size;
    *out = (px_runtime_result){.downloaded = downloaded, .installed = installed};
    snprintf(out->version, sizeof out->version, "%s", version);
    snprintf(out->directory, sizeof out->directory, "%.1023s", path);
    return PHLOX_OK;
}

/* ---- adding -------------------------------------------------------------------------------- */

static phlox_status run(job *j, px_runtime_result *out)
{
    phlox_error *const error = j->error;
    parcel *const first = &j->parcels[0];
    PX_TRY(open_folder(j));
    if (j->exact && is_installed(j, j->exact, out)) return PHLOX_OK;
    PX_TRY(choose_index(j));
    PX_TRY(px_downloader_open(&j->downloader, error));
    PX_TRY(px_archiver_open(&j->archiver, error));
    first->package = &j->kind->packages[0];
    j->count = 1;
    PX_TRY(choose_wheel(j, first, j->exact, ""));
    if (is_installed(j, first->choice.version, out)) return PHLOX_OK;
    PX_TRY(remove_damaged(j, first->choice.version));
    PX_TRY(clean_folder(j));
    PX_TRY(fetch_wheel(j, first));
    if (j->kind->packages[1].name) PX_TRY(fetch_required(j));
    return install(j, out);
}

static void close_job(job *j)
{
    for (size_t i = 0; i < PX_RUNTIME_PACKAGES; i++) {
        px_out_abandon(&j->parcels[i].wheel);
        px_index_free(&j->parcels[i].index);
        free(j->parcels[i].page);
        free(j->parcels[i].url);
    }
    px_archiver_close(j->archiver);
    px_downloader_close(j->downloader);
    free(j->folder);
}

phlox_status px_runtime_add(const px_runtime_request *request, px_runtime_result *out,
                            phlox_error *error)
{
    job j = {.request = request, .error = error};
    const char *version;
    PX_TRY(px_runtime_kind_of(request->name, &j.kind, &version, error));
    if (version && request->version && strcmp(version, request->version) != 0)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "both version %s and version %s are asked for", version,
                       request->version);
    j.exact = version ? version : request->version;
    px_version wanted;
    if (j.exact && !px_version_read(j.exact, strlen(j.exact), &wanted))
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "\"%.100s\" is not a version; one looks like 2026.4.1",
                       j.exact);
    for (size_t i = 0; i < PX_RUNTIME_PACKAGES; i++) j.parcels[i].wheel.descriptor = -1;
    px_runtime_result result = {.was_there = false};
    const phlox_status status = run(&j, &result);
    close_job(&j);
    if (status == PHLOX_OK) *out = result;
    return status;
}

/* ---- removing ------------------------------------------------------------------------------ */

struct removal {
    const char *folder, *version; /* of all versions; the one that is meant, NULL: all */
    size_t count;
};

/* Whatever is in it: what is damaged is to go as well. */
static phlox_status remove_version(void *user, const char *name, phlox_error *error)
{
    struct removal *const removal = user;
    char path[MOST_PATH];
    px_version read;
    if (!px_version_read(name, strlen(name), &read) ||
        (removal->version && px_version_order(name, removal->version) != 0) ||
        snprintf(path, sizeof path, "%s/%s", removal->folder, name) >= (int)sizeof path)
        return PHLOX_OK;
    const phlox_status status = px_remove_tree_at_once(path, error);
    if (status == PHLOX_ERROR_NOT_FOUND) return PHLOX_OK; /* another process was quicker */
    removal->count += status == PHLOX_OK;
    return status;
}

phlox_status px_runtime_remove(const char *name, size_t *removed, phlox_error *error)
{
    job j = {.error = error};
    const char *version;
    PX_TRY(px_runtime_kind_of(name, &j.kind, &version, error));
    PX_TRY(open_folder(&j));
    struct removal removal = {.folder = j.folder, .version = version};
    const phlox_status status = px_list_directories(j.folder, remove_version, &removal, error);
    px_out_clean(j.folder, is_wheel_left_over);
    px_out_directory_clean(j.folder, NULL);
    free(j.folder);
    PX_TRY(status);
    if (!removal.count) return px_runtime_fail_absent(j.kind->name, version, error);
    *removed = removal.count;
    return PHLOX_OK;
}
