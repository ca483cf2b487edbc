/* Calls to the operating system: files, maps, libraries, clocks, threads. os_posix.c implements them; trees of
 * files are in tree.h. */
#ifndef PX_BASE_OS_H
#define PX_BASE_OS_H

#include "base/memory.h"

/* ---- files --------------------------------------------------------------------------------- */

/* A file mapped for reading. An empty file has data == NULL and size 0. */
typedef struct px_map {
    const uint8_t *data;
    size_t size;
    int64_t modified; /* nanoseconds since 1970 */
    uint64_t device, inode;
} px_map;

/* Maps a regular file. PHLOX_ERROR_NOT_FOUND when there is none, PHLOX_ERROR_IO otherwise. */
phlox_status px_map_open(const char *path, px_map *out, phlox_error *error);
void px_map_close(px_map *map);
/* Tells the system that a part of a map will not be needed soon, so that its pages are dropped. */
void px_map_drop(const void *data, size_t size);

bool px_is_directory(const char *path);
bool px_is_file(const char *path);
/* Creates the directory and its parents. */
phlox_status px_make_directories(const char *path, phlox_error *error);
/* Absolute path without links; the given path when it cannot be resolved. free() it. */
char *px_real_path(const char *path);
phlox_status px_remove_file(const char *path, phlox_error *error);
/* Sets the file's modification time to now; failures are ignored. */
void px_touch(const char *path);

typedef struct px_dir_entry {
    const char *name;
    uint64_t size;
    int64_t modified; /* nanoseconds since 1970 */
} px_dir_entry;

/* Calls visit for each regular file of a directory, in no order; a missing directory has none. The
 * first status other than PHLOX_OK ends the walk and is returned. */
phlox_status px_list_directory(const char *path,
                               phlox_status (*visit)(void *user, const px_dir_entry *entry,
                                                     phlox_error *error),
                               void *user, phlox_error *error);

/* Calls visit with the name of every entry of a directory but "." and "..", in no order, until it returns
 * false; a directory that cannot be read has none. */
void px_list_names(const char *path, bool (*visit)(void *user, const char *name), void *user);

/* Reads a file of /proc or /sys, whose size is not known: up to size - 1 bytes of its beginning, and a NUL
 * behind them. *length == size - 1: there may be more. PHLOX_ERROR_NOT_FOUND when the file, or the device
 * or process that answers for it, is gone. */
phlox_status px_read_text(const char *path, char *text, size_t size, size_t *length,
                          phlox_error *error);

/* The target of a symbolic link, as it is written there; false when there is none or it is longer. */
bool px_read_link(const char *path, char *target, size_t size);

/* Whether this process may read and write what is there, access lists included. */
bool px_may_use(const char *path);

typedef struct px_owner {
    uint32_t user, group, mode; /* the nine bits of permission */
} px_owner;
bool px_owner_of(const char *path, px_owner *out);

enum { PX_MOST_GROUPS = 256 };
typedef struct px_user {
    uint32_t user, groups[PX_MOST_GROUPS];
    size_t count;
} px_user;
void px_this_user(px_user *out); /* of this process */

/* Bytes of the file system that holds `path`; `left` is what this user may fill. */
bool px_disk_space(const char *path, uint64_t *left, uint64_t *total);

/* A file being written under a temporary name beside its final one. */
typedef struct px_out_file {
    int descriptor; /* -1: none */
    char *path, *temporary;
} px_out_file;

enum { PX_OUT_SUFFIX_LENGTH = 8 }; /* of PX_OUT_SUFFIX */
#define PX_OUT_SUFFIX ".partial"

/* Creates the temporary file and reserves `size` bytes on the disk (0: unknown). */
phlox_status px_out_open(px_out_file *file, const char *path, uint64_t size, phlox_error *error);
/* Writes at an offset; may be called from several threads. */
phlox_status px_out_write(const px_out_file *file, uint64_t offset, const void *data, size_t size,
                          phlox_error *error);
/* Flushes to the disk and gives the file its name. After failure the temporary file is gone. */
phlox_status px_out_commit(px_out_file *file, phlox_error *error);
/* Removes the temporary file; harmless after commit. */
void px_out_abandon(px_out_file *file);
/* A whole file at once. */
phlox_status px_write_file(const char *path, const void *data, size_t size, phlox_error *error);
/* Removes temporary files in a directory whose writers have died; of names that is_ours accepts. */
void px_out_clean(const char *directory, bool (*is_ours)(const char *name));
/* Removes what dead writers of `path` left; whether there was any. */
bool px_out_clean_one(const char *path);

/* Overwrites `size` bytes in place of the file that was mapped, or removes it, if it is still the one
 * that has the name; failures are ignored. */
void px_patch_mapped(const char *path, const px_map *map, uint64_t offset, const void *data,
                     size_t size);
void px_remove_mapped(const char *path, const px_map *map);

/* Sets a variable of this process's environment, for libraries that read it when they are opened. Does nothing
 * when it has the value; else no other thread may read the environment meanwhile. */
phlox_status px_environment_set(const char *name, const char *value, phlox_error *error);

/* Reads a decimal number whatever the locale; false unless it is the whole text. */
bool px_read_real(const char *text, double *out);

/* $XDG_CACHE_HOME/phlox or ~/.cache/phlox; free() it. NULL when neither variable is set. */
char *px_cache_home(void);
/* $XDG_DATA_HOME/phlox or ~/.local/share/phlox, likewise. */
char *px_data_home(void);

/* ---- memory -------------------------------------------------------------------------------- */

/* Memory of this process in bytes. */
typedef struct px_memory_use {
    uint64_t peak;                      /* the most that the three were together */
    uint64_t anonymous, shared, mapped; /* allocated; in shared memory; of mapped files */
} px_memory_use;

/* False where the system does not tell. */
bool px_memory_used(px_memory_use *out);
/* Makes the peak what is in use now; where that cannot be done it stays. */
void px_memory_reset_peak(void);
/* Without swapping, and within the limits of the process's control groups; 0: unknown. */
uint64_t px_memory_available(void);
/* What a control group (version 2) and those around it leave below their limits, counting files that
 * can go as free; UINT64_MAX without a limit. `root`: where they are mounted. */
uint64_t px_memory_of_group(const char *root, const char *group);
uint64_t px_memory_huge(void);      /* of this process, anonymous and in 2 MB pages; slow */

/* Zeroed pages of the system's own size, or, where it has them, of 2 MB; aligned to 2 MB. NULL when
 * there is no memory. `bytes` is the same in px_pages_free(). */
void *px_pages_alloc(size_t bytes, bool huge);
void px_pages_free(void *memory, size_t bytes);

/* ---- libraries opened at run time ---------------------------------------------------------- */

typedef struct px_library px_library;

/* `path` with a slash is that file; without one the system looks for it. PHLOX_ERROR_NOT_FOUND when it
 * cannot be loaded, with the system's reason. */
phlox_status px_library_open(const char *path, px_library **out, phlox_error *error);
/* Copies the address of a function to *function, which is a pointer to a function; false, and NULL there,
 * when the library has none of that name. */
bool px_library_function(const px_library *library, const char *name, void *function);
void px_library_close(px_library *library); /* NULL is accepted */

/* The paths that match a pattern with * and ?, in order; each is given to `visit` until it returns false.
 * A backslash makes the next character stand for itself. */
void px_glob(const char *pattern, bool (*visit)(void *user, const char *path), void *user);

/* The version of the C library where that is glibc. */
bool px_glibc_version(int *major, int *minor);

/* ---- time, cores, threads ------------------------------------------------------------------ */

double px_seconds(void); /* monotonic */
int64_t px_process_id(void); /* of this process */
void px_sleep(double seconds); /* or until a signal */
/* The numbers of the hardware threads that this process may use, in order. Returns how many. */
size_t px_allowed_cpus(int *cpus, size_t most);
/* Keeps the calling thread to these; without effect where the system refuses. */
void px_keep_to_cpus(const int *cpus, size_t count);
void px_pause(void);     /* a hint inside a spinning loop */
void px_yield(void);     /* lets another thread have the core */

typedef struct px_thread px_thread;
/* NULL when the system refuses. */
px_thread *px_thread_start(void (*run)(void *argument), void *argument);
void px_thread_join(px_thread *thread); /* frees it */
/* Leaves a thread that does not come back to itself: nobody may join it. */
void px_thread_leave(px_thread *thread);

typedef struct px_monitor px_monitor; /* a mutex with a condition */
px_monitor *px_monitor_create(void);
void px_monitor_free(px_monitor *monitor);
void px_monitor_lock(px_monitor *monitor);
void px_monitor_unlock(px_monitor *monitor);
void px_monitor_wait(px_monitor *monitor);
/* Waits no longer than so many seconds; like px_monitor_wait(), it may return without a reason. */
void px_monitor_wait_for(px_monitor *monitor, double seconds);
void px_monitor_wake_all(px_monitor *monitor);

#endif
