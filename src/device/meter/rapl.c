#include "device/meter/rapl.h"

#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PACKAGES = 64, MOST_PARTS = 8, MOST_ZONES = 2 * MOST_PACKAGES, PATH_SIZE = 512 };

struct zone {
    char path[PATH_SIZE]; /* of energy_uj */
    uint64_t range;       /* the largest value of the counter */
    uint64_t seen;        /* its last value */
};

struct px_rapl {
    struct zone zones[MOST_ZONES];
    size_t count;
    uint64_t microjoules;
};

/* The first line of a file, without its end. */
static phlox_status read_line(const char *path, char *line, size_t size, phlox_error *error)
{
    FILE *const file = fopen(path, "r");
    if (!file)
        return px_fail(error, errno == ENOENT || errno == ENOTDIR ? PHLOX_ERROR_NOT_FOUND
                                                                  : PHLOX_ERROR_IO,
                       "%s: cannot open: %s%s", path, strerror(errno),
                       errno == EACCES ? "; the energy counters are for root only" : "");
    const bool good = fgets(line, (int)size, file) != NULL;
    fclose(file);
    if (!good) return px_fail(error, PHLOX_ERROR_IO, "%s: cannot read", path);
    line[strcspn(line, "\n")] = 0;
    return PHLOX_OK;
}

static phlox_status read_count(const char *path, uint64_t *out, phlox_error *error)
{
    char line[64], *end;
    PX_TRY(read_line(path, line, sizeof line, error));
    errno = 0;
    const uint64_t value = strtoull(line, &end, 10);
    if (errno || end == line || *end || line[0] < '0' || line[0] > '9')
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: \"%s\" is no count of microjoules", path,
                       line);
    *out = value;
    return PHLOX_OK;
}

/* Whether the zone is there and its name begins with `wanted`. */
static bool is_zone(const char *zone, const char *wanted)
{
    char path[PATH_SIZE + 32], name[64];
    snprintf(path, sizeof path, "%s/name", zone);
    return read_line(path, name, sizeof name, NULL) == PHLOX_OK &&
           strncmp(name, wanted, strlen(wanted)) == 0;
}

static phlox_status add_zone(px_rapl *rapl, const char *zone, phlox_error *error)
{
    char path[PATH_SIZE + 32];
    if (rapl->count == MOST_ZONES) return PHLOX_OK;
    struct zone *const added = &rapl->zones[rapl->count];
    snprintf(path, sizeof path, "%s/max_energy_range_uj", zone);
    PX_TRY(read_count(path, &added->range, error));
    const int size = snprintf(added->path, sizeof added->path, "%s/energy_uj", zone);
    if (size < 0 || (size_t)size >= sizeof added->path)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "%s: the path is too long", zone);
    PX_TRY(read_count(added->path, &added->seen, error));
    rapl->count++;
    return PHLOX_OK;
}

/* Adds the packages, when `whole`, and those of their parts that have this name. The numbers of zones may
 * have gaps. */
static phlox_status find_zones(px_rapl *rapl, const char *directory, bool whole, const char *part_name,
                               phlox_error *error)
{
    char zone[PATH_SIZE];
    for (int package = 0; package < MOST_PACKAGES; package++) {
        snprintf(zone, sizeof zone, "%s/intel-rapl:%d", directory, package);
        if (!is_zone(zone, "package-")) continue;
        if (whole) PX_TRY(add_zone(rapl, zone, error));
        for (int part = 0; part < MOST_PARTS; part++) {
            snprintf(zone, sizeof zone, "%s/intel-rapl:%d:%d", directory, package, part);
            if (is_zone(zone, part_name)) PX_TRY(add_zone(rapl, zone, error));
        }
    }
    if (rapl->count) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_NOT_FOUND, "%s has no energy counter of %s (intel-rapl:N)", directory,
                   whole ? "a processor package" : "graphics");
}

static phlox_status open_zones(const char *directory, bool whole, const char *part_name, px_rapl **out,
                               phlox_error *error)
{
    px_rapl *const rapl = px_calloc(1, sizeof *rapl);
    if (!rapl) return px_fail_memory(error, sizeof *rapl);
    const phlox_status status = find_zones(rapl, directory, whole, part_name, error);
    if (status != PHLOX_OK) {
        free(rapl);
        return status;
    }
    *out = rapl;
    return PHLOX_OK;
}

phlox_status px_rapl_open(const char *directory, px_rapl **out, phlox_error *error)
{
    return open_zones(directory, true, "dram", out, error);
}

phlox_status px_rapl_open_graphics(const char *directory, px_rapl **out, phlox_error *error)
{
    return open_zones(directory, false, "uncore", out, error);
}

phlox_status px_rapl_read(px_rapl *rapl, double *joules, phlox_error *error)
{
    for (size_t i = 0; i < rapl->count; i++) {
        struct zone *const zone = &rapl->zones[i];
        uint64_t now;
        PX_TRY(read_count(zone->path, &now, error));
        if (now >= zone->seen) rapl->microjoules += now - zone->seen;
        else rapl->microjoules += now + (zone->range > zone->seen ? zone->range - zone->seen : 0);
        zone->seen = now;
    }
    *joules = (double)rapl->microjoules * 1e-6;
    return PHLOX_OK;
}

void px_rapl_close(px_rapl *rapl)
{
    free(rapl);
}
