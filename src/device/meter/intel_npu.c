/*
 * NPUs of Intel, with the driver intel_vpu (drivers/accel/ivpu/ivpu_sysfs.c, "DOC: npu_*"). In the
 * device's directory:
 *
 * npu_busy_time_us           Linux 6.11: microseconds with jobs submitted, since the driver was loaded
 * npu_memory_utilization     6.15: bytes of the driver's buffers that are in memory
 * npu_current_frequency_mhz, npu_max_frequency_mhz  6.15: MHz; the first is 0 while the NPU is idle
 * freq/current_freq, freq/hw_max_freq  the newer names of those two
 *
 * None of them wakes the device. Reading takes a lock of the driver that submitting takes too: it asks
 * for a second between two reads.
 */
#include "device/meter/meter.h"

#include "base/memory.h"
#include "base/os.h"

#include <math.h>
#include <stdlib.h>

/* A little less than a second, for a caller that reads once a second and is early. */
static const double least_seconds = 0.9;

struct npu {
    px_meter_unit *unit;
    px_meter_device device;
    px_meter_path busy, memory, clock;
    px_meter_counter counter;
    double seen; /* 0: never */
    unsigned samples;
};

struct npus {
    struct npu npus[PX_METER_DEVICES];
    size_t count;
};

/* One of two names of a file. */
static px_meter_path choose(const px_meter_device *device, const char *newer, const char *older)
{
    const px_meter_path path = px_meter_join("%s/%s", device->directory, newer);
    return px_is_file(path.text) ? path : px_meter_join("%s/%s", device->directory, older);
}

static phlox_status open_npus(px_meter *meter, void **state, phlox_error *error)
{
    static const char *const drivers[] = {"intel_vpu", NULL};
    px_meter_device devices[PX_METER_DEVICES];
    const size_t count = px_meter_find(px_meter_root(meter), "accel", drivers, devices);
    if (!count) return PHLOX_OK;
    struct npus *const npus = px_calloc(1, sizeof *npus);
    if (!npus) return px_fail_memory(error, sizeof *npus);
    for (size_t i = 0; i < count; i++) {
        struct npu *const npu = &npus->npus[npus->count];
        *npu = (struct npu){.unit = px_meter_add_unit(meter, PHLOX_UNIT_NPU), .device = devices[i]};
        if (!npu->unit) break;
        const px_meter_device *const device = &npu->device;
        px_meter_name(npu->unit, "Intel", "NPU", device);
        npu->unit->reading.energy_in_cpu = true;
        npu->busy = px_meter_join("%s/npu_busy_time_us", device->directory);
        npu->memory = px_meter_join("%s/npu_memory_utilization", device->directory);
        npu->clock = choose(device, "freq/current_freq", "npu_current_frequency_mhz");
        npu->unit->reading.max_clock = px_meter_number(
            choose(device, "freq/hw_max_freq", "npu_max_frequency_mhz").text, 1e6, NULL);
        npus->count++;
    }
    *state = npus;
    return PHLOX_OK;
}

static void sample_npu(struct npu *npu, double now)
{
    const double seconds = npu->seen ? now - npu->seen : 0;
    phlox_unit_reading *const r = &npu->unit->reading;
    uint64_t microseconds = 0;
    px_meter_clear(npu->unit);
    const bool known = px_meter_count(npu->busy.text, &microseconds, npu->unit);
    const double busy = px_meter_advance(&npu->counter, known, microseconds) * 1e-6;
    if (seconds > 0) r->utilisation = busy / seconds;
    r->memory_used = px_meter_number(npu->memory.text, 1, NULL);
    r->clock = px_meter_number(npu->clock.text, 1e6, NULL);
    if (!known)
        px_meter_say(npu->unit, px_is_directory(npu->device.directory)
                                    ? "%s: intel_vpu counts no busy time; Linux 6.11 or newer does"
                                    : "%s: the device is gone",
                     npu->device.pci);
    px_meter_settle(npu->unit, seconds);
    npu->seen = now;
    npu->samples++;
}

static void sample(void *state, double now, bool is_last)
{
    struct npus *const npus = state;
    for (size_t i = 0; i < npus->count; i++) {
        struct npu *const npu = &npus->npus[i];
        /* The first two are needed to know anything. */
        if (npu->samples < 2 || is_last || now - npu->seen >= least_seconds) sample_npu(npu, now);
    }
}

const px_meter_source px_meter_intel_npu = {open_npus, sample, free};
