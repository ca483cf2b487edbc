/*
 * NPUs of AMD, with the driver amdxdna (Documentation/accel/amdxdna/amdnpu.rst). It has no counters in
 * sysfs. Newer ones tell the work of their clients in fdinfo ("drm-engine-npu-amdxdna" and what is
 * allocated); before that there is only an ioctl, which wakes the device.
 */
#include "device/meter/meter.h"

#include "base/memory.h"
#include "base/os.h"
#include "device/meter/fdinfo.h"

#include <math.h>
#include <stdlib.h>

struct npu {
    px_meter_unit *unit;
    px_meter_device device;
    double seen; /* 0: never */
};

struct npus {
    const px_fdinfo *fdinfo; /* of the meter */
    struct npu npus[PX_METER_DEVICES];
    size_t count;
};

static phlox_status open_npus(px_meter *meter, void **state, phlox_error *error)
{
    static const char *const drivers[] = {"amdxdna", "amdxdna_accel_driver", NULL};
    px_meter_device devices[PX_METER_DEVICES];
    const size_t count = px_meter_find(px_meter_root(meter), "accel", drivers, devices);
    if (!count) return PHLOX_OK;
    struct npus *const npus = px_calloc(1, sizeof *npus);
    if (!npus) return px_fail_memory(error, sizeof *npus);
    npus->fdinfo = px_meter_fdinfo(meter);
    for (size_t i = 0; i < count; i++) {
        struct npu *const npu = &npus->npus[npus->count];
        *npu = (struct npu){.unit = px_meter_add_unit(meter, PHLOX_UNIT_NPU), .device = devices[i]};
        if (!npu->unit) break;
        px_meter_name(npu->unit, "AMD", "NPU", &npu->device);
        npu->unit->reading.energy_in_cpu = true;
        npus->count++;
    }
    *state = npus;
    return PHLOX_OK;
}

static void read_use(const struct npus *npus, const struct npu *npu)
{
    phlox_unit_reading *const r = &npu->unit->reading;
    if (!npus->fdinfo) return;
    const px_fdinfo_use use = px_fdinfo_of(npus->fdinfo, npu->device.pci);
    r->scope = use.is_one_process ? PHLOX_SCOPE_PROCESS : PHLOX_SCOPE_USER;
    r->utilisation = use.utilisation;
    r->memory_used = use.system;
    if (isnan(use.utilisation))
        px_meter_say(npu->unit, use.has_clients
                                    ? "%s: this amdxdna counts no work of its clients; newer ones do"
                                    : "%s: utilisation is known by process only, and no process that may be "
                                      "looked at has used it", r->pci);
}

static void sample(void *state, double now, bool is_last)
{
    (void)is_last;
    struct npus *const npus = state;
    for (size_t i = 0; i < npus->count; i++) {
        struct npu *const npu = &npus->npus[i];
        px_meter_clear(npu->unit);
        if (!px_is_directory(npu->device.directory))
            px_meter_say(npu->unit, "%s: the device is gone", npu->device.pci);
        else if (!px_meter_asleep(npu->unit, npu->device.directory))
            read_use(npus, npu);
        px_meter_settle(npu->unit, npu->seen ? now - npu->seen : 0);
        npu->seen = now;
    }
}

const px_meter_source px_meter_amd_npu = {open_npus, sample, free};
