/*
 * What the clients of GPUs and NPUs have used, from /proc/PID/fdinfo/FD (Documentation/gpu/
 * drm-usage-stats.rst). Every open file of a device tells of its client: busy nanoseconds or cycles of
 * each engine, and bytes in each region of memory. Several files may be of one client (drm-client-id on
 * drm-pdev), which then counts once. Only the files of processes that the caller may trace can be read:
 * its own user's, or for root all.
 */
#ifndef PX_DEVICE_METER_FDINFO_H
#define PX_DEVICE_METER_FDINFO_H

#include "base/error.h"

enum { PX_FDINFO_NAME = 24, PX_FDINFO_ENGINES = 16, PX_FDINFO_REGIONS = 16 };

typedef struct px_fdinfo_engine {
    char name[PX_FDINFO_NAME]; /* "rcs", "compute", "npu-amdxdna" */
    bool has_busy, has_cycles, has_total;
    uint64_t busy;          /* nanoseconds */
    uint64_t cycles, total; /* that it was busy; that have passed */
    uint64_t capacity;      /* engines of this name, at least 1 */
} px_fdinfo_engine;

typedef struct px_fdinfo_region {
    char name[PX_FDINFO_NAME]; /* "vram0", "system" */
    uint64_t bytes;
    int rank;                  /* of the key that said so */
} px_fdinfo_region;

/* The text of one file. */
typedef struct px_fdinfo_client {
    char driver[PX_FDINFO_NAME], pci[PX_FDINFO_NAME]; /* "" where it is not told */
    uint64_t id;
    bool has_id;
    px_fdinfo_engine engines[PX_FDINFO_ENGINES];
    px_fdinfo_region regions[PX_FDINFO_REGIONS];
    size_t engine_count, region_count;
} px_fdinfo_client;

/* Reads the lines of a file that are whole; false when it is not that of a client of a device. */
bool px_fdinfo_parse(const char *text, size_t length, px_fdinfo_client *out);

typedef struct px_fdinfo px_fdinfo;

/* `root` as for a meter; `pid` 0: every process. */
phlox_status px_fdinfo_open(const char *root, int64_t pid, px_fdinfo **out, phlox_error *error);
/* Reads the files of all clients. Which files there are is looked up again every second of one process,
 * and every five seconds of all. */
void px_fdinfo_sample(px_fdinfo *fdinfo, double now);

/* What all clients of a device have used. */
typedef struct px_fdinfo_use {
    bool has_clients;
    bool is_one_process;
    double utilisation; /* of the busiest engine, between the last two samples; a client counts from its
                           second sample on. NAN before any client was seen */
    double local, system; /* bytes in memory of the device's own, and of the machine; what clients share
                             counts for each. NAN where no client tells */
} px_fdinfo_use;

/* `pci`: the device's address. */
px_fdinfo_use px_fdinfo_of(const px_fdinfo *fdinfo, const char *pci);

void px_fdinfo_close(px_fdinfo *fdinfo); /* NULL is accepted */

#endif
