#define _GNU_SOURCE
#include "base/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_DEPTH = 32 }; /* of directories in each other: none of ours is that deep */

static phlox_status fail_tree(const char *path, const char *what, phlox_error *error)
{
    const int code = errno;
    return px_fail(error, code == ENOENT ? PHLOX_ERROR_NOT_FOUND : PHLOX_ERROR_IO, "%s: %s: %s%s", path,
                   what, strerror(code),
                   code == ENOSPC || code == EDQUOT ? "; free some space or choose another place" : "");
}

/* ---- walking ------------------------------------------------------------------------------- */

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* NULL, with errno, when it cannot be read. `flags`: O_NOFOLLOW, or 0. */
static DIR *open_directory(int parent, const char *name, int flags)
{
    const int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
    if (descriptor < 0) return NULL;
    DIR *const directory = fdopendir(descriptor);
    if (!directory) close(descriptor);
    return directory;
}

phlox_status px_list_directories(const char *path,
                                 phlox_status (*visit)(void *user, const char *name, phlox_error *error),
                                 void *user, phlox_error *error)
{
    DIR *const directory = open_directory(AT_FDCWD, path, 0);
    if (!directory) return errno == ENOENT ? PHLOX_OK : fail_tree(path, "cannot list", error);
    phlox_status status = PHLOX_OK;
    for (const struct dirent *entry; status == PHLOX_OK && (entry = readdir(directory));) {
        struct stat info;
        if (is_dots(entry->d_name) ||
            fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISDIR(info.st_mode))
            continue;
        status = visit(user, entry->d_name, error);
    }
    closedir(directory);
    return status;
}

static uint64_t add_bytes(int parent, const char *name, int depth)
{
    DIR *const directory = depth < MOST_DEPTH ? open_directory(parent, name, O_NOFOLLOW) : NULL;
    uint64_t bytes = 0;
    if (!directory) return 0;
    for (const struct dirent *entry; (entry = readdir(directory));) {
        struct stat info;
        if (is_dots(entry->d_name) ||
            fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISDIR(info.st_mode)) bytes += add_bytes(dirfd(directory), entry->d_name, depth + 1);
        else if (S_ISREG(info.st_mode)) bytes += (uint64_t)info.st_size;
    }
    closedir(directory);
    return bytes;
}

uint64_t px_tree_bytes(const char *path)
{
    return add_bytes(AT_FDCWD, path, 0);
}

/* Removes what is in a directory, and it; false with errno when it stays. Another process may be removing the
 * same: whoever takes the last of it away succeeds, and for the others it is not there (ENOENT). */
static bool remove_directory(int parent, const char *name, int depth)
{
    DIR *const directory = depth < MOST_DEPTH ? open_directory(parent, name, O_NOFOLLOW) : NULL;
    if (!directory) return false;
    for (const struct dirent *entry; (entry = readdir(directory));) {
        if (is_dots(entry->d_name)) continue;
        const int here = dirfd(directory);
        if (unlinkat(here, entry->d_name, 0) == 0 || errno == ENOENT) continue;
        remove_directory(here, entry->d_name, depth + 1);
    }
    closedir(directory);
    return unlinkat(parent, name, AT_REMOVEDIR) == 0; /* which it is not while something is in it */
}

phlox_status px_remove_tree(const char *path, phlox_error *error)
{
    return remove_directory(AT_FDCWD, path, 0) ? PHLOX_OK : fail_tree(path, "cannot remove", error);
}

/* ---- directories being made ---------------------------------------------------------------- */

static void directory_release(px_out_directory *directory)
{
    if (directory->descriptor >= 0) close(directory->descriptor);
    free(directory->path);
    free(directory->temporary);
    *directory = (px_out_directory){-1, NULL, NULL};
}

/* Whether something is in the way at `path`; an empty directory is not. */
static bool is_taken(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0) return false;
    DIR *const directory = S_ISDIR(info.st_mode) ? opendir(path) : NULL;
    if (!directory) return true;
    bool taken = false;
    for (const struct dirent *entry; !taken && (entry = readdir(directory));)
        taken = !is_dots(entry->d_name);
    closedir(directory);
    return taken;
}

/* The directory, locked as long as the descriptor lives; -1 with errno, EWOULDBLOCK when another process has the
 * lock. */
static int lock_directory(const char *path)
{
    const int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0 || flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
    const int code = errno;
    close(descriptor);
    errno = code;
    return -1;
}

struct leftovers {
    const char *parent, *name; /* of the directory that was to be made; NULL: of any */
    bool (*is_ours)(const char *name); /* NULL: all are */
};

/* NAME.1f-2e-0.partial */
static bool is_leftover(const char *name, const char *of)
{
    const size_t length = strlen(name);
    if (length <= PX_OUT_SUFFIX_LENGTH ||
        strcmp(name + length - PX_OUT_SUFFIX_LENGTH, PX_OUT_SUFFIX) != 0)
        return false;
    size_t begin = length - PX_OUT_SUFFIX_LENGTH;
    while (begin && strchr("0123456789abcdef-", name[begin - 1])) begin--;
    return begin > 1 && name[begin - 1] == '.' &&
           (!of || (strlen(of) == begin - 1 && strncmp(name, of, begin - 1) == 0));
}

static phlox_status remove_leftover(void *user, const char *name, phlox_error *error)
{
    (void)error;
    const struct leftovers *const left = user;
    if (!is_leftover(name, left->name) || (left->is_ours && !left->is_ours(name))) return PHLOX_OK;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", left->parent, name) >= (int)sizeof path) return PHLOX_OK;
    const int descriptor = lock_directory(path);
    if (descriptor < 0) return PHLOX_OK; /* its process lives */
    px_remove_tree(path, NULL);
    close(descriptor);
    return PHLOX_OK;
}

/* Removes what killed processes left of making `path`. */
static void clean(const char *path)
{
    const char *const slash = strrchr(path, '/');
    char *const parent = slash ? px_strdup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    if (slash && !parent) return;
    struct leftovers left = {parent ? parent : ".", slash ? slash + 1 : path, NULL};
    px_list_directories(left.parent, remove_leftover, &left, NULL);
    free(parent);
}

void px_out_directory_clean(const char *parent, bool (*is_ours)(const char *name))
{
    struct leftovers left = {parent, NULL, is_ours};
    px_list_directories(parent, remove_leftover, &left, NULL);
}

static void name_temporary(const char *path, int attempt, char *out, size_t size)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(out, size, "%s.%lx-%lx-%x" PX_OUT_SUFFIX, path, (long)getpid(), now.tv_nsec,
             (unsigned)attempt);
}

/* A directory that was not there before, so that whatever is in it is ours. Another process that cleans may be
 * as quick as to lock or to remove it before it is locked; any other failure stays. */
static phlox_status make_temporary(px_out_directory *directory, size_t size, phlox_error *error)
{
    for (int attempt = 0; attempt < 1000; attempt++) {
        name_temporary(directory->path, attempt, directory->temporary, size);
        if (mkdir(directory->temporary, 0777) != 0) {
            if (errno == EEXIST) continue;
            return fail_tree(directory->temporary, "cannot create the directory", error);
        }
        const int descriptor = lock_directory(directory->temporary);
        const int code = errno;
        struct stat info;
        if (descriptor >= 0 && fstat(descriptor, &info) == 0 && info.st_nlink) {
            directory->descriptor = descriptor;
            return PHLOX_OK;
        }
        if (descriptor >= 0) close(descriptor);
        rmdir(directory->temporary);
        errno = code;
        if (descriptor < 0 && code != EWOULDBLOCK && code != ENOENT) break;
    }
    return fail_tree(directory->temporary, "cannot lock the directory", error);
}

phlox_status px_out_directory_open(px_out_directory *directory, const char *path,
                                   phlox_error *error)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    if (!length) return px_fail(error, PHLOX_ERROR_ARGUMENT, "the name of the output is empty");
    const size_t size = length + 64;
    px_out_directory made = {-1, px_strdup(path, length), malloc(size)};
    phlox_status status = PHLOX_OK;
    if (!made.path || !made.temporary) {
        status = px_fail_memory(error, size);
    } else if (is_taken(made.path)) {
        status = px_fail(error, PHLOX_ERROR_ARGUMENT,
                         "%s: is there already; nothing is overwritten, so name another directory or "
                         "remove this one", made.path);
    } else {
        clean(made.path);
        status = make_temporary(&made, size, error);
    }
    if (status == PHLOX_OK) *directory = made;
    else directory_release(&made);
    return status;
}

phlox_status px_out_directory_commit(px_out_directory *directory, phlox_error *error)
{
    if (fsync(directory->descriptor) != 0) { /* the files in it are flushed */
    }
    if (rename(directory->temporary, directory->path) != 0) {
        const phlox_status status = fail_tree(directory->path, "cannot complete", error);
        px_out_directory_abandon(directory);
        return status;
    }
    directory_release(directory);
    return PHLOX_OK;
}

void px_out_directory_abandon(px_out_directory *directory)
{
    if (directory->temporary) px_remove_tree(directory->temporary, NULL);
    directory_release(directory);
}

/* Where it cannot be removed it stays as what a killed process left; another process that cleans up may be
 * quicker. */
phlox_status px_remove_tree_at_once(const char *path, phlox_error *error)
{
    const size_t size = strlen(path) + 64;
    char *const temporary = malloc(size);
    if (!temporary) return px_fail_memory(error, size);
    name_temporary(path, 0, temporary, size);
    phlox_status status = PHLOX_OK;
    if (rename(path, temporary) != 0) status = fail_tree(path, "cannot remove", error);
    else if (!remove_directory(AT_FDCWD, temporary, 0) && errno != ENOENT)
        status = fail_tree(temporary, "cannot remove", error);
    free(temporary);
    return status;
}

phlox_status px_make_temporary_directory(char **out, phlox_error *error)
{
    const char *const parent = getenv("TMPDIR");
    static const char name[] = "/phlox-XXXXXX";
    const char *const given = parent && parent[0] ? parent : "/tmp";
    const size_t size = strlen(given) + sizeof name;
    char *const path = malloc(size);
    if (!path) return px_fail_memory(error, size);
    snprintf(path, size, "%s%s", given, name);
    if (!mkdtemp(path)) {
        const phlox_status status = fail_tree(path, "cannot create the directory", error);
        free(path);
        return status;
    }
    *out = path;
    return PHLOX_OK;
}
