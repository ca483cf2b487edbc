#define _GNU_SOURCE
#include "base/os.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

/* ---- files --------------------------------------------------------------------------------- */

static phlox_status fail_io(const char *path, const char *what, phlox_error *error)
{
    const int code = errno;
    const phlox_status status = code == ENOENT || code == ENOTDIR ? PHLOX_ERROR_NOT_FOUND
                                : code == ENOMEM                  ? PHLOX_ERROR_MEMORY
                                                                  : PHLOX_ERROR_IO;
    return px_fail(error, status, "%s: %s: %s%s", path, what, strerror(code),
                   code == ENOSPC || code == EDQUOT || code == EFBIG
                       ? "; free some space or choose another place"
                       : "");
}

static int64_t modified_of(const struct stat *info)
{
    return (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
}

phlox_status px_map_open(const char *path, px_map *out, phlox_error *error)
{
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return fail_io(path, "cannot open", error);
    struct stat info;
    if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(descriptor);
        return px_fail(error, PHLOX_ERROR_IO, "%s: not a regular file", path);
    }
    px_map map = {.size = (size_t)info.st_size, .modified = modified_of(&info),
                  .device = (uint64_t)info.st_dev, .inode = (uint64_t)info.st_ino};
    if (map.size) {
        void *const data = mmap(NULL, map.size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data == MAP_FAILED) {
            const phlox_status status = fail_io(path, "cannot map", error);
            close(descriptor);
            return status;
        }
        map.data = data;
    }
    close(descriptor);
    *out = map;
    return PHLOX_OK;
}

void px_map_close(px_map *map)
{
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
    *map = (px_map){0};
}

void px_map_drop(const void *data, size_t size)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)data + page - 1) & ~(page - 1);
    const uintptr_t end = ((uintptr_t)data + size) & ~(page - 1);
    if (end > begin) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

bool px_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool px_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

phlox_status px_make_directories(const char *path, phlox_error *error)
{
    if (!path[0])
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "the name of a directory is empty; give one");
    char *const copy = px_strdup(path, strlen(path));
    if (!copy) return px_fail_memory(error, strlen(path));
    phlox_status status = PHLOX_OK;
    for (char *slash = copy + 1; status == PHLOX_OK; slash++) {
        slash = strchr(slash, '/');
        if (slash) *slash = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            status = fail_io(copy, "cannot create the directory", error);
        if (!slash) break;
        *slash = '/';
    }
    if (status == PHLOX_OK && !px_is_directory(copy))
        status = px_fail(error, PHLOX_ERROR_IO, "%s: not a directory", copy);
    free(copy);
    return status;
}

char *px_real_path(const char *path)
{
    char *const real = realpath(path, NULL);
    return real ? real : px_strdup(path, strlen(path));
}

phlox_status px_remove_file(const char *path, phlox_error *error)
{
    return unlink(path) == 0 ? PHLOX_OK : fail_io(path, "cannot remove", error);
}

void px_touch(const char *path)
{
    if (utimensat(AT_FDCWD, path, NULL, 0) != 0) return; /* only the order of eviction suffers */
}

phlox_status px_list_directory(const char *path,
                               phlox_status (*visit)(void *user, const px_dir_entry *entry,
                                                     phlox_error *error),
                               void *user, phlox_error *error)
{
    DIR *const directory = opendir(path);
    if (!directory) return errno == ENOENT ? PHLOX_OK : fail_io(path, "cannot list", error);
    phlox_status status = PHLOX_OK;
    for (const struct dirent *entry; status == PHLOX_OK && (entry = readdir(directory));) {
        struct stat info;
        if (fstatat(dirfd(directory), entry->d_name, &info, 0) != 0 || !S_ISREG(info.st_mode))
            continue;
        const px_dir_entry found = {entry->d_name, (uint64_t)info.st_size, modified_of(&info)};
        status = visit(user, &found, error);
    }
    closedir(directory);
    return status;
}

void px_list_names(const char *path, bool (*visit)(void *user, const char *name), void *user)
{
    DIR *const directory = opendir(path);
    if (!directory) return;
    for (const struct dirent *entry; (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (!visit(user, entry->d_name)) break;
    }
    closedir(directory);
}

/* What a file of /proc or /sys says when its device or process is gone. */
static phlox_status fail_read(const char *path, const char *what, phlox_error *error)
{
    if (errno == ENODEV || errno == ENXIO || errno == ESRCH)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND, "%s: %s: %s", path, what, strerror(errno));
    return fail_io(path, what, error);
}

phlox_status px_read_text(const char *path, char *text, size_t size, size_t *length,
                          phlox_error *error)
{
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return fail_read(path, "cannot open", error);
    size_t used = 0;
    ssize_t got = 1;
    while (got > 0 && used < size - 1) {
        got = read(descriptor, text + used, size - 1 - used);
        if (got < 0 && errno == EINTR) got = 1;
        else if (got > 0) used += (size_t)got;
    }
    const phlox_status status = got < 0 ? fail_read(path, "cannot read", error) : PHLOX_OK;
    close(descriptor);
    if (status != PHLOX_OK) return status;
    text[used] = 0;
    *length = used;
    return PHLOX_OK;
}

bool px_read_link(const char *path, char *target, size_t size)
{
    const ssize_t length = readlink(path, target, size);
    if (length < 0 || (size_t)length >= size) return false;
    target[length] = 0;
    return true;
}

bool px_may_use(const char *path)
{
    return faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) == 0;
}

bool px_owner_of(const char *path, px_owner *out)
{
    struct stat info;
    if (stat(path, &info) != 0) return false;
    *out = (px_owner){(uint32_t)info.st_uid, (uint32_t)info.st_gid, (uint32_t)info.st_mode & 0777};
    return true;
}

void px_this_user(px_user *out)
{
    gid_t groups[PX_MOST_GROUPS];
    *out = (px_user){.user = (uint32_t)geteuid()};
    const int count = getgroups(PX_MOST_GROUPS - 1, groups);
    for (int i = 0; i < count; i++) out->groups[out->count++] = (uint32_t)groups[i];
    out->groups[out->count++] = (uint32_t)getegid();
}

bool px_disk_space(const char *path, uint64_t *left, uint64_t *total)
{
    struct statvfs info;
    if (statvfs(path, &info) != 0) return false;
    *left = (uint64_t)info.f_bavail * info.f_frsize;
    *total = (uint64_t)info.f_blocks * info.f_frsize;
    return true;
}

/* Creates a file of a new name beside `path` and locks it; -1 when that fails. The lock lives as long
 * as the descriptor: px_out_clean() tells dead writers by it, and may be as quick as to remove the
 * file before it is locked. */
static int create_temporary(const char *path, char *out, size_t size)
{
    for (int attempt = 0; attempt < 1000; attempt++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        snprintf(out, size, "%s.%lx-%lx-%x" PX_OUT_SUFFIX, path, (long)getpid(), now.tv_nsec,
                 (unsigned)attempt);
        const int descriptor = open(out, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor < 0 && errno == EEXIST) continue;
        if (descriptor < 0) return -1;
        struct stat info;
        const bool taken = flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (!taken && fstat(descriptor, &info) == 0 && info.st_nlink) return descriptor;
        close(descriptor);
    }
    errno = EEXIST;
    return -1;
}

phlox_status px_out_open(px_out_file *file, const char *path, uint64_t size, phlox_error *error)
{
    const size_t length = strlen(path) + 64;
    px_out_file made = {-1, px_strdup(path, strlen(path)), malloc(length)};
    phlox_status status = PHLOX_OK;
    if (!made.path || !made.temporary) {
        status = px_fail_memory(error, length);
    } else {
        made.descriptor = create_temporary(path, made.temporary, length);
        if (made.descriptor < 0) {
            status = fail_io(path, "cannot create", error);
            free(made.temporary);
            made.temporary = NULL;
        }
    }
    if (status == PHLOX_OK && size) {
        const int code = posix_fallocate(made.descriptor, 0, (off_t)size);
        if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
            errno = code;
            char what[64];
            snprintf(what, sizeof what, "cannot reserve %" PRIu64 " bytes", size);
            status = fail_io(path, what, error);
        }
    }
    if (status != PHLOX_OK) {
        px_out_abandon(&made);
        return status;
    }
    *file = made;
    return PHLOX_OK;
}

phlox_status px_out_write(const px_out_file *file, uint64_t offset, const void *data, size_t size,
                          phlox_error *error)
{
    const char *bytes = data;
    while (size) {
        const ssize_t written = pwrite(file->descriptor, bytes, size, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail_io(file->path, "cannot write", error);
        bytes += written;
        offset += (uint64_t)written;
        size -= (size_t)written;
    }
    return PHLOX_OK;
}

static void out_release(px_out_file *file)
{
    if (file->descriptor >= 0) close(file->descriptor);
    free(file->path);
    free(file->temporary);
    *file = (px_out_file){-1, NULL, NULL};
}

phlox_status px_out_commit(px_out_file *file, phlox_error *error)
{
    phlox_status status = PHLOX_OK;
    if (fsync(file->descriptor) != 0 ||
        rename(file->temporary, file->path) != 0)
        status = fail_io(file->path, "cannot complete", error);
    if (status == PHLOX_OK) out_release(file);
    else px_out_abandon(file);
    return status;
}

void px_out_abandon(px_out_file *file)
{
    if (file->temporary) unlink(file->temporary);
    out_release(file);
}

phlox_status px_write_file(const char *path, const void *data, size_t size, phlox_error *error)
{
    px_out_file file = {.descriptor = -1};
    PX_TRY(px_out_open(&file, path, size, error));
    const phlox_status status = px_out_write(&file, 0, data, size, error);
    if (status == PHLOX_OK) return px_out_commit(&file, error);
    px_out_abandon(&file);
    return status;
}

/* Removes a temporary file that nobody has locked. */
static bool remove_if_dead(const char *path)
{
    const int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return false;
    const bool is_dead = flock(descriptor, LOCK_EX | LOCK_NB) == 0 && unlink(path) == 0;
    close(descriptor);
    return is_dead;
}

static bool remove_one(void *user, const char *path)
{
    *(bool *)user |= remove_if_dead(path);
    return true;
}

bool px_out_clean_one(const char *path)
{
    char pattern[4096];
    bool found = false;
    size_t used = 0;
    for (; *path && used + 32 < sizeof pattern; path++) {
        if (strchr("*?[\\", *path)) pattern[used++] = '\\';
        pattern[used++] = *path;
    }
    snprintf(pattern + used, sizeof pattern - used, ".*" PX_OUT_SUFFIX);
    px_glob(pattern, remove_one, &found);
    return found;
}

struct cleaning {
    const char *directory;
    bool (*is_ours)(const char *name);
};

static phlox_status clean_one(void *user, const px_dir_entry *entry, phlox_error *error)
{
    (void)error;
    const struct cleaning *const cleaning = user;
    const size_t length = strlen(entry->name);
    if (length < PX_OUT_SUFFIX_LENGTH ||
        strcmp(entry->name + length - PX_OUT_SUFFIX_LENGTH, PX_OUT_SUFFIX) != 0 ||
        !cleaning->is_ours(entry->name))
        return PHLOX_OK;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", cleaning->directory, entry->name);
    remove_if_dead(path);
    return PHLOX_OK;
}

void px_out_clean(const char *directory, bool (*is_ours)(const char *name))
{
    struct cleaning cleaning = {directory, is_ours};
    px_list_directory(directory, clean_one, &cleaning, NULL);
}

static bool is_same(const struct stat *info, const px_map *map)
{
    return (uint64_t)info->st_dev == map->device && (uint64_t)info->st_ino == map->inode;
}

void px_patch_mapped(const char *path, const px_map *map, uint64_t offset, const void *data,
                     size_t size)
{
    const int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    struct stat info;
    if (fstat(descriptor, &info) == 0 && is_same(&info, map) &&
        pwrite(descriptor, data, size, (off_t)offset) < 0) { /* nothing depends on it */
    }
    close(descriptor);
}

void px_remove_mapped(const char *path, const px_map *map)
{
    struct stat info;
    if (stat(path, &info) == 0 && is_same(&info, map)) unlink(path);
}

bool px_read_real(const char *text, double *out)
{
    if (text[strspn(text, "+-.0123456789eE")]) return false; /* no blanks, no hexadecimal, no words */
    const locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain) return false;
    const locale_t before = uselocale(plain);
    char *end;
    *out = strtod(text, &end);
    uselocale(before);
    freelocale(plain);
    return end != text && !*end;
}

phlox_status px_environment_set(const char *name, const char *value, phlox_error *error)
{
    const char *const before = getenv(name);
    if (before && strcmp(before, value) == 0) return PHLOX_OK;
    return setenv(name, value, 1) == 0 ? PHLOX_OK : px_fail_memory(error, strlen(name) + strlen(value));
}

/* $VARIABLE/phlox, where it is an absolute path, or $HOME/usual/phlox. */
static char *home_for(const char *variable, const char *usual)
{
    const char *const given = getenv(variable), *const home = getenv("HOME");
    const bool is_given = given && given[0] == '/';
    if (!is_given && !(home && home[0])) return NULL;
    const char *const base = is_given ? given : home;
    const size_t size = strlen(base) + strlen(usual) + 16;
    char *const path = malloc(size);
    if (path) snprintf(path, size, "%s%s/phlox", base, is_given ? "" : usual);
    return path;
}

char *px_cache_home(void)
{
    return home_for("XDG_CACHE_HOME", "/.cache");
}

char *px_data_home(void)
{
    return home_for("XDG_DATA_HOME", "/.local/share");
}

/* ---- libraries opened at run time ---------------------------------------------------------- */

/* A handle of dlopen() is a pointer to this incomplete type. */
phlox_status px_library_open(const char *path, px_library **out, phlox_error *error)
{
    *out = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return *out ? PHLOX_OK : px_fail(error, PHLOX_ERROR_NOT_FOUND, "%s", dlerror());
}

bool px_library_function(const px_library *library, const char *name, void *function)
{
    void *const address = dlsym((void *)(uintptr_t)library, name);
    memcpy(function, &address, sizeof address);
    return address;
}

void px_library_close(px_library *library)
{
    if (library) dlclose(library);
}

bool px_glibc_version(int *major, int *minor)
{
#ifdef __GLIBC__
    return sscanf(gnu_get_libc_version(), "%d.%d", major, minor) == 2;
#else
    (void)major, (void)minor;
    return false;
#endif
}

void px_glob(const char *pattern, bool (*visit)(void *user, const char *path), void *user)
{
    glob_t found = {.gl_pathc = 0};
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc && visit(user, found.gl_pathv[i]); i++) continue;
    globfree(&found);
}

/* ---- memory -------------------------------------------------------------------------------- */

/* The number behind `key`, such as "VmHWM:", in a file; false when it is not there. */
static bool read_value(const char *path, const char *key, uint64_t *value)
{
    FILE *const file = fopen(path, "re");
    if (!file) return false;
    char line[256];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        const size_t length = strlen(key);
        found = strncmp(line, key, length) == 0 && sscanf(line + length, "%" SCNu64, value) == 1;
    }
    fclose(file);
    return found;
}

static bool read_kilobytes(const char *path, const char *key, uint64_t *bytes)
{
    if (!read_value(path, key, bytes)) return false;
    *bytes *= 1024;
    return true;
}

bool px_memory_used(px_memory_use *out)
{
    static const char status[] = "/proc/self/status";
    px_memory_use use = {0};
    if (!read_kilobytes(status, "VmHWM:", &use.peak) ||
        !read_kilobytes(status, "RssAnon:", &use.anonymous) ||
        !read_kilobytes(status, "RssShmem:", &use.shared) ||
        !read_kilobytes(status, "RssFile:", &use.mapped))
        return false;
    *out = use;
    return true;
}

void px_memory_reset_peak(void)
{
    const int descriptor = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    if (write(descriptor, "5", 1) < 0) { /* then the peak stays */
    }
    close(descriptor);
}

/* One number of a control group. */
static bool read_group(const char *root, const char *group, const char *file, const char *key,
                       uint64_t *value)
{
    char path[1024];
    snprintf(path, sizeof path, "%s%s/%s", root, group, file);
    return read_value(path, key, value);
}

uint64_t px_memory_of_group(const char *root, const char *group)
{
    char name[512];
    uint64_t least = UINT64_MAX, limit, used, idle, active;
    snprintf(name, sizeof name, "%s", group);
    for (char *end = name + strlen(name); end; end = strrchr(name, '/')) {
        *end = 0;
        if (!read_group(root, name, "memory.max", "", &limit) ||
            !read_group(root, name, "memory.current", "", &used))
            continue;
        if (read_group(root, name, "memory.stat", "inactive_file ", &idle) &&
            read_group(root, name, "memory.stat", "active_file ", &active))
            used = used > idle + active ? used - idle - active : 0;
        const uint64_t left = limit > used ? limit - used : 0;
        if (left < least) least = left;
    }
    return least;
}

uint64_t px_memory_available(void)
{
    uint64_t bytes;
    if (!read_kilobytes("/proc/meminfo", "MemAvailable:", &bytes)) return 0;
    char group[512];
    FILE *const file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(group, sizeof group, file)) {
        if (strncmp(group, "0::", 3) != 0) continue;
        group[strcspn(group, "\n")] = 0;
        const uint64_t left = px_memory_of_group("/sys/fs/cgroup", group + 3);
        if (left < bytes) bytes = left;
        break;
    }
    if (file) fclose(file);
    return bytes ? bytes : 1;
}

uint64_t px_memory_huge(void)
{
    uint64_t bytes;
    return read_kilobytes("/proc/self/smaps_rollup", "AnonHugePages:", &bytes) ? bytes : 0;
}

static const size_t huge_page = (size_t)2 << 20;

/* What is in front of the first whole 2 MB is given back, so that the rest is a map of its own. */
void *px_pages_alloc(size_t bytes, bool huge)
{
    const size_t size = (bytes + huge_page - 1) & ~(huge_page - 1);
    if (size < bytes || size + huge_page < size) return NULL;
    char *const map = mmap(NULL, size + huge_page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return NULL;
    char *const memory = (char *)(((uintptr_t)map + huge_page - 1) & ~(huge_page - 1));
    const size_t before = (size_t)(memory - map);
    if (before) munmap(map, before);
    munmap(memory + size, huge_page - before);
    madvise(memory, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE); /* the sizes are only wishes */
    return memory;
}

void px_pages_free(void *memory, size_t bytes)
{
    if (memory) munmap(memory, (bytes + huge_page - 1) & ~(huge_page - 1));
}

/* ---- time, cores, threads ------------------------------------------------------------------ */

double px_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int64_t px_process_id(void)
{
    return getpid();
}

void px_sleep(double seconds)
{
    const time_t whole = (time_t)seconds;
    const struct timespec wait = {whole, (long)((seconds - (double)whole) * 1e9)};
    nanosleep(&wait, NULL);
}

size_t px_allowed_cpus(int *cpus, size_t most)
{
    size_t count = 0;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        CPU_ZERO(&allowed);
        for (long i = 0; i < sysconf(_SC_NPROCESSORS_ONLN); i++) CPU_SET((size_t)i, &allowed);
    }
    for (int i = 0; i < CPU_SETSIZE && count < most; i++)
        if (CPU_ISSET((size_t)i, &allowed)) cpus[count++] = i;
    return count;
}

void px_keep_to_cpus(const int *cpus, size_t count)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t i = 0; i < count; i++) CPU_SET((size_t)cpus[i], &set);
    sched_setaffinity(0, sizeof set, &set); /* a wish */
}

void px_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* `yield` does nothing on most processors */
#endif
}

void px_yield(void)
{
    sched_yield();
}

struct px_thread {
    pthread_t id;
    void (*run)(void *);
    void *argument;
    _Atomic bool is_over; /* set by whichever comes first, its end or that it is left; the second frees */
};

static void *thread_main(void *argument)
{
    px_thread *const thread = argument;
    thread->run(thread->argument);
    if (atomic_exchange(&thread->is_over, true)) free(thread);
    return NULL;
}

px_thread *px_thread_start(void (*run)(void *argument), void *argument)
{
    px_thread *const thread = malloc(sizeof *thread);
    if (!thread) return NULL;
    thread->run = run;
    thread->argument = argument;
    atomic_init(&thread->is_over, false);
    if (pthread_create(&thread->id, NULL, thread_main, thread) == 0) return thread;
    free(thread);
    return NULL;
}

void px_thread_join(px_thread *thread)
{
    pthread_join(thread->id, NULL);
    free(thread);
}

void px_thread_leave(px_thread *thread)
{
    pthread_detach(thread->id);
    if (atomic_exchange(&thread->is_over, true)) free(thread);
}

struct px_monitor {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
};

px_monitor *px_monitor_create(void)
{
    px_monitor *const monitor = malloc(sizeof *monitor);
    if (!monitor) return NULL;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&monitor->mutex, NULL);
    pthread_cond_init(&monitor->condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return monitor;
}

void px_monitor_free(px_monitor *monitor)
{
    if (!monitor) return;
    pthread_cond_destroy(&monitor->condition);
    pthread_mutex_destroy(&monitor->mutex);
    free(monitor);
}

void px_monitor_lock(px_monitor *monitor)
{
    pthread_mutex_lock(&monitor->mutex);
}

void px_monitor_unlock(px_monitor *monitor)
{
    pthread_mutex_unlock(&monitor->mutex);
}

void px_monitor_wait(px_monitor *monitor)
{
    pthread_cond_wait(&monitor->condition, &monitor->mutex);
}

void px_monitor_wait_for(px_monitor *monitor, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t nanoseconds = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += (time_t)(nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    pthread_cond_timedwait(&monitor->condition, &monitor->mutex, &until);
}

void px_monitor_wake_all(px_monitor *monitor)
{
    pthread_cond_broadcast(&monitor->condition);
}
