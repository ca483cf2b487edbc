/*
 * GPUs of Intel, with the drivers i915 and xe.
 *
 * fdinfo                        Documentation/gpu/drm-usage-stats.rst: the only counters of work that are
 *                               not for root alone
 * card0/gt_act_freq_mhz, gt_max_freq_mhz           i915; MHz, 0 in RC6
 * card0/device/tile0/gt0/freq0/act_freq, max_freq  xe, Documentation/gpu/xe (GT frequency); MHz
 * hwmon/energy1_input, energy2_input  Documentation/ABI/testing/sysfs-driver-intel-{i915,xe}-hwmon:
 *                               microjoules of the card, of the package; separate GPUs only
 * powercap "uncore"             of those inside a processor
 */
#include "device/meter/meter.h"

#include "base/memory.h"
#include "base/os.h"
#include "device/meter/fdinfo.h"
#include "device/meter/rapl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct gpu {
    px_meter_unit *unit;
    px_meter_device device;
    px_meter_path clock, energy, temperature; /* "" where there is none */
    px_meter_counter counter;                 /* of energy */
    double seen;                              /* 0: never */
};

struct gpus {
    px_fdinfo *fdinfo; /* of the meter */
    px_rapl *rapl;     /* for the first one inside the processor; NULL: not measured */
    size_t integrated; /* which */
    double joules;     /* of rapl at the last sample; NAN: none to go on from */
    struct gpu gpus[PX_METER_DEVICES];
    size_t count;
};

static px_meter_path first_of(const px_meter_path *paths, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (px_is_file(paths[i].text)) return paths[i];
    return (px_meter_path){""};
}

static px_meter_path find_clock(const px_meter_device *device, bool highest)
{
    const char *const name = highest ? "max" : "act", *const other = highest ? "RP0" : "cur";
    const px_meter_path paths[] = {
        px_meter_join("%s/tile0/gt0/freq0/%s_freq", device->directory, name),
        px_meter_join("%s/tile0/gt0/freq0/%s_freq", device->directory, highest ? "rp0" : other),
        px_meter_join("%s/gt_%s_freq_mhz", device->card, name),
        px_meter_join("%s/gt_%s_freq_mhz", device->card, other),
    };
    return first_of(paths, PX_COUNT(paths));
}

/* Separate GPUs have an energy counter; where there are two, the first is the whole card's. */
static void find_sensors(struct gpu *gpu)
{
    static const char *const energies[] = {"energy1_input", "energy2_input"};
    static const char *const temperatures[] = {"temp2_input", "temp1_input"}; /* xe: 2 is the package */
    for (size_t i = 0; i < PX_COUNT(energies) && !gpu->energy.text[0]; i++) {
        const px_meter_path hwmon = px_meter_hwmon(gpu->device.directory, energies[i]);
        if (hwmon.text[0]) gpu->energy = px_meter_join("%s/%s", hwmon.text, energies[i]);
    }
    for (size_t i = 0; i < PX_COUNT(temperatures) && !gpu->temperature.text[0]; i++) {
        const px_meter_path hwmon = px_meter_hwmon(gpu->device.directory, temperatures[i]);
        if (hwmon.text[0]) gpu->temperature = px_meter_join("%s/%s", hwmon.text, temperatures[i]);
    }
}

static phlox_status open_gpus(px_meter *meter, void **state, phlox_error *error)
{
    static const char *const drivers[] = {"i915", "xe", NULL};
    px_meter_device devices[PX_METER_DEVICES];
    const size_t count = px_meter_find(px_meter_root(meter), "drm", drivers, devices);
    if (!count) return PHLOX_OK;
    struct gpus *const gpus = px_calloc(1, sizeof *gpus);
    if (!gpus) return px_fail_memory(error, sizeof *gpus);
    gpus->fdinfo = px_meter_fdinfo(meter);
    gpus->joules = (double)NAN;
    for (size_t i = 0; i < count; i++) {
        struct gpu *const gpu = &gpus->gpus[gpus->count];
        *gpu = (struct gpu){.unit = px_meter_add_unit(meter, PHLOX_UNIT_GPU), .device = devices[i]};
        if (!gpu->unit) break;
        px_meter_name(gpu->unit, "Intel", "GPU", &gpu->device);
        gpu->clock = find_clock(&gpu->device, false);
        gpu->unit->reading.max_clock =
            px_meter_asleep(gpu->unit, gpu->device.directory)
                ? (double)NAN
                : px_meter_number(find_clock(&gpu->device, true).text, 1e6, NULL);
        find_sensors(gpu);
        gpu->unit->reading.energy_in_cpu = !gpu->energy.text[0];
        if (!gpu->energy.text[0] && !gpus->rapl) {
            const px_meter_path powercap = px_meter_join("%s/sys/class/powercap", px_meter_root(meter));
            px_rapl_open_graphics(powercap.text, &gpus->rapl, NULL);
            gpus->integrated = gpus->count;
        }
        gpus->count++;
    }
    *state = gpus;
    return PHLOX_OK;
}

static void read_use(const struct gpus *gpus, struct gpu *gpu)
{
    phlox_unit_reading *const r = &gpu->unit->reading;
    if (!gpus->fdinfo) return;
    const px_fdinfo_use use = px_fdinfo_of(gpus->fdinfo, gpu->device.pci);
    r->scope = use.is_one_process ? PHLOX_SCOPE_PROCESS : PHLOX_SCOPE_USER;
    r->utilisation = use.utilisation;
    r->memory_used = isnan(use.local) ? use.system : use.local;
    if (isnan(use.utilisation) && !use.has_clients)
        px_meter_say(gpu->unit, "%s: utilisation is known by process only, and no process that may be "
                     "looked at has used it%s", r->pci, use.is_one_process ? "" : "; root may look at all");
}

static bool has_rapl(const struct gpus *gpus, const struct gpu *gpu)
{
    return !gpu->energy.text[0] && gpus->rapl && gpu == &gpus->gpus[gpus->integrated];
}

static void read_energy(struct gpus *gpus, struct gpu *gpu)
{
    uint64_t microjoules = 0;
    if (gpu->energy.text[0]) {
        const bool known = px_meter_count(gpu->energy.text, &microjoules, gpu->unit);
        gpu->unit->energy = px_meter_advance(&gpu->counter, known, microjoules) * 1e-6;
    } else if (has_rapl(gpus, gpu)) {
        const double before = gpus->joules;
        if (px_rapl_read(gpus->rapl, &gpus->joules, NULL) != PHLOX_OK) gpus->joules = (double)NAN;
        gpu->unit->energy = gpus->joules - before;
    }
}

/* What is used until the counter is read again is not of one sample. */
static void forget_energy(struct gpus *gpus, struct gpu *gpu)
{
    gpu->counter.is_known = false;
    if (has_rapl(gpus, gpu)) gpus->joules = (double)NAN;
}

/* Files that a card had and has no longer. */
static bool is_gone(const struct gpu *gpu)
{
    return !px_is_directory(gpu->device.directory);
}

static void sample(void *state, double now, bool is_last)
{
    (void)is_last;
    struct gpus *const gpus = state;
    for (size_t i = 0; i < gpus->count; i++) {
        struct gpu *const gpu = &gpus->gpus[i];
        px_meter_clear(gpu->unit);
        if (is_gone(gpu)) {
            px_meter_say(gpu->unit, "%s: the device is gone", gpu->device.pci);
            forget_energy(gpus, gpu);
        } else if (px_meter_asleep(gpu->unit, gpu->device.directory)) {
            forget_energy(gpus, gpu);
        } else {
            read_use(gpus, gpu);
            gpu->unit->reading.clock = px_meter_number(gpu->clock.text, 1e6, gpu->unit);
            gpu->unit->reading.celsius = px_meter_number(gpu->temperature.text, 1e-3, NULL);
            read_energy(gpus, gpu);
        }
        px_meter_settle(gpu->unit, gpu->seen ? now - gpu->seen : 0);
        gpu->seen = now;
    }
}

static void close_gpus(void *state)
{
    struct gpus *const gpus = state;
    px_rapl_close(gpus->rapl);
    free(gpus);
}

const px_meter_source px_meter_intel_gpu = {open_gpus, sample, close_gpus};
