/*
 * Energy from the powercap interface of Linux (RAPL, of Intel and AMD processors). Below
 * /sys/class/powercap every zone is a directory: intel-rapl:N for a package or the whole platform,
 * intel-rapl:N:M for a part of it. `name` says which it is, `energy_uj` counts microjoules and begins
 * again at 0 behind `max_energy_range_uj`.
 *
 * Added up are the packages ("package-0", "package-0-die-1") and their memory ("dram"). The other parts
 * ("core", "uncore") are inside the package, and "psys" has everything in it once more. On processors of
 * Intel with graphics "uncore" is those.
 *
 * Documentation/power/powercap/powercap.rst, Documentation/ABI/testing/sysfs-class-powercap.
 */
#ifndef PX_DEVICE_METER_RAPL_H
#define PX_DEVICE_METER_RAPL_H

#include "base/error.h"

typedef struct px_rapl px_rapl;

/* `directory` is usually /sys/class/powercap. PHLOX_ERROR_NOT_FOUND when there is no package in it;
 * PHLOX_ERROR_IO when a counter may not be read, as for users other than root. */
phlox_status px_rapl_open(const char *directory, px_rapl **out, phlox_error *error);

/* The same for the graphics inside the packages alone. */
phlox_status px_rapl_open_graphics(const char *directory, px_rapl **out, phlox_error *error);

/* Joules since px_rapl_open(). Counters begin again after some minutes under load: of two reads with a
 * longer time between them one round or more may be missing. */
phlox_status px_rapl_read(px_rapl *rapl, double *joules, phlox_error *error);

void px_rapl_close(px_rapl *rapl); /* NULL is accepted */

#endif
