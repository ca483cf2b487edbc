/*
 * What the units of the machine are doing. A source is a file of this directory: it finds units below a
 * root directory ("" for the machine itself, a recorded tree in tests), reads their counters at every
 * sample, and says what was between the last two. A source that the machine lacks finds no units.
 *
 * A number that cannot be had is NAN, here as in phlox_unit_reading, and `absent` may say why. So it is
 * when a counter has gone backwards, a file cannot be read or the device is gone; the next sample begins
 * from there.
 */
#ifndef PX_DEVICE_METER_METER_H
#define PX_DEVICE_METER_METER_H

#include "base/error.h"

#include <phlox/devices.h>

typedef struct px_meter px_meter;

/* A unit that a source has found. What lasts is set once; a source sets at every sample the numbers in
 * `reading` and `energy`, and calls px_meter_settle(). */
typedef struct px_meter_unit {
    phlox_unit_reading reading;
    double energy; /* joules between the last two samples; NAN when there is no counter */
} px_meter_unit;

typedef struct px_meter_source {
    /* Adds the units that are there, and leaves *state NULL when there are none. Fails for lack of memory
     * only. */
    phlox_status (*open)(px_meter *meter, void **state, phlox_error *error);
    /* `now` in seconds; never twice the same. `is_last`: what must be read seldom is read nonetheless. */
    void (*sample)(void *state, double now, bool is_last);
    void (*close)(void *state);
} px_meter_source;

extern const px_meter_source px_meter_cpu, px_meter_intel_gpu, px_meter_intel_npu, px_meter_amd_gpu,
    px_meter_amd_npu, px_meter_nvidia;

/* ---- for the sources ----------------------------------------------------------------------- */

enum { PX_METER_PATH = 512, PX_METER_DEVICES = 8 }; /* of one source */

const char *px_meter_root(const px_meter *meter);

/* A new unit of this kind, with every number NAN; it lives as long as the meter. NULL when there are
 * PHLOX_MOST_UNITS. */
px_meter_unit *px_meter_add_unit(px_meter *meter, phlox_unit_kind kind);

/* Forgets the numbers of the last sample. */
void px_meter_clear(px_meter_unit *unit);
/* Adds up what was measured over so many seconds: energy from its counter, else from the power. */
void px_meter_settle(px_meter_unit *unit, double seconds);
/* Keeps the first reason that a sample gives. */
void px_meter_say(px_meter_unit *unit, const char *format, ...) PX_PRINTF(2, 3);

/* What the clients of all devices have used (fdinfo.h): shared by the sources of a meter, opened when first
 * asked for, and sampled before them. NULL: no memory. */
struct px_fdinfo *px_meter_fdinfo(px_meter *meter);

/* ---- reading files (files.c) --------------------------------------------------------------- */

/* A path that is cut is one that does not exist. */
typedef struct px_meter_path {
    char text[PX_METER_PATH];
} px_meter_path;

px_meter_path px_meter_join(const char *format, ...) PX_PRINTF(1, 2);

/* Reads a file that is one decimal number; false when that is not what it is. The reason goes to `unit`
 * (NULL: nowhere), unless there is no such file. */
bool px_meter_count(const char *path, uint64_t *out, px_meter_unit *unit);
/* The same times `scale`, as a number or NAN. */
double px_meter_number(const char *path, double scale, px_meter_unit *unit);
/* The first line of a file without blanks at its end; false when it cannot be read or does not fit. */
bool px_meter_line(const char *path, char *line, size_t size);
/* A counter that only grows. */
typedef struct px_meter_counter {
    uint64_t last;
    bool is_known;
} px_meter_counter;

/* How much it has grown since the last time: NAN at first, when it could not be read (`known` false), and
 * when it has gone backwards. */
double px_meter_advance(px_meter_counter *counter, bool known, uint64_t now);

/* A device of the kernel, with its directory below the root. */
typedef struct px_meter_device {
    char directory[PX_METER_PATH]; /* /sys/class/drm/card0/device */
    char card[PX_METER_PATH];      /* /sys/class/drm/card0 */
    char driver[24], pci[16];
    char ids[16];                  /* "8086:7d55" */
} px_meter_device;

/* The devices of a class ("drm", "accel") that one of the drivers (a list that ends with NULL) runs: what
 * their `uevent` says. Returns how many were found, at most PX_METER_DEVICES. */
size_t px_meter_find(const char *root, const char *class, const char *const *drivers,
                     px_meter_device devices[PX_METER_DEVICES]);
/* Copies driver, address and name to the unit. */
void px_meter_name(px_meter_unit *unit, const char *vendor, const char *what,
                   const px_meter_device *device);
/* Whether power management has switched the device off, by `power_state` (Documentation/ABI/testing/
 * sysfs-bus-pci), which may be read without waking it. Then the unit is one that sleeps. */
bool px_meter_asleep(px_meter_unit *unit, const char *device_directory);
/* The first directory below device/hwmon that has the file; "" when there is none. */
px_meter_path px_meter_hwmon(const char *device_directory, const char *file);

/* ---- for the library ----------------------------------------------------------------------- */

/* `root` NULL: this machine. `now`: the time of the first sample. */
phlox_status px_meter_open(const char *root, int64_t pid, double now, px_meter **out,
                           phlox_error *error);
void px_meter_sample(px_meter *meter, double now, bool is_last);
/* In order: the CPU, GPUs, NPUs. */
const phlox_unit_reading *px_meter_readings(const px_meter *meter, size_t *count);
const float *px_meter_core_readings(const px_meter *meter, size_t *count);
void px_meter_close(px_meter *meter); /* NULL is accepted */

/* For the source of the CPU: where it keeps the utilisation of its hardware threads. */
void px_meter_set_cores(px_meter *meter, const float *cores, size_t count);

#endif
