/*
 * GPUs of NVIDIA, through the driver's own library (NVML API Reference Guide), opened when the machine has
 * the driver. Only functions of NVML that its interface keeps, and of those without a value for a GPU that
 * one value is left out.
 */
#include "device/meter/meter.h"

#include "base/memory.h"
#include "base/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what of NVML is used ------------------------------------------------------------------ */

typedef struct nvml_device *nvml_device;

enum { NVML_OK = 0, NVML_GPU_IS_LOST = 15, NVML_CLOCK_GRAPHICS = 0, NVML_TEMPERATURE_GPU = 0 };

typedef struct nvml_utilization {
    unsigned gpu, memory; /* percent of the last sixth of a second to second */
} nvml_utilization;

typedef struct nvml_memory {
    unsigned long long total, free, used; /* bytes; used counts what the driver has reserved */
} nvml_memory;

typedef struct nvml_memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
} nvml_memory_v2;

typedef struct nvml_pci_info {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} nvml_pci_info;

struct nvml {
    px_library *library;
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error_string)(int code);
    int (*count)(unsigned *count);
    int (*handle)(unsigned index, nvml_device *device);
    int (*name)(nvml_device device, char *name, unsigned length);
    int (*pci)(nvml_device device, nvml_pci_info *pci);
    int (*utilization)(nvml_device device, nvml_utilization *utilization);
    /* The rest may be missing: NULL. */
    int (*memory_v2)(nvml_device device, nvml_memory_v2 *memory);
    int (*memory)(nvml_device device, nvml_memory *memory);
    int (*power)(nvml_device device, unsigned *milliwatts);
    int (*energy)(nvml_device device, unsigned long long *millijoules);
    int (*clock)(nvml_device device, int type, unsigned *megahertz);
    int (*max_clock)(nvml_device device, int type, unsigned *megahertz);
    int (*temperature)(nvml_device device, int sensor, unsigned *celsius);
};

static bool load(struct nvml *nvml, const char *path)
{
    if (px_library_open(path, &nvml->library, NULL) != PHLOX_OK) return false;
    const struct {
        const char *name;
        void *function;
        bool is_optional;
    } functions[] = {
        {"nvmlInit_v2", &nvml->init, false},
        {"nvmlShutdown", &nvml->shutdown, false},
        {"nvmlErrorString", &nvml->error_string, false},
        {"nvmlDeviceGetCount_v2", &nvml->count, false},
        {"nvmlDeviceGetHandleByIndex_v2", &nvml->handle, false},
        {"nvmlDeviceGetName", &nvml->name, false},
        {"nvmlDeviceGetPciInfo_v3", &nvml->pci, false},
        {"nvmlDeviceGetUtilizationRates", &nvml->utilization, false},
        {"nvmlDeviceGetMemoryInfo_v2", &nvml->memory_v2, true},
        {"nvmlDeviceGetMemoryInfo", &nvml->memory, true},
        {"nvmlDeviceGetPowerUsage", &nvml->power, true},
        {"nvmlDeviceGetTotalEnergyConsumption", &nvml->energy, true},
        {"nvmlDeviceGetClockInfo", &nvml->clock, true},
        {"nvmlDeviceGetMaxClockInfo", &nvml->max_clock, true},
        {"nvmlDeviceGetTemperature", &nvml->temperature, true},
    };
    bool complete = true;
    for (size_t i = 0; i < PX_COUNT(functions); i++)
        complete &= px_library_function(nvml->library, functions[i].name, functions[i].function) ||
                    functions[i].is_optional;
    return complete;
}

/* ---- the source ---------------------------------------------------------------------------- */

struct gpu {
    px_meter_unit *unit;
    nvml_device device;
    px_meter_path directory; /* of the PCI device */
    px_meter_counter counter; /* of energy */
    double seen;              /* 0: never */
};

struct gpus {
    struct nvml nvml;
    bool is_started;
    struct gpu gpus[PX_METER_DEVICES];
    size_t count;
};

static void close_gpus(void *state)
{
    struct gpus *const gpus = state;
    if (gpus->is_started) gpus->nvml.shutdown();
    px_library_close(gpus->nvml.library);
    free(gpus);
}

static void open_gpu(const struct nvml *nvml, struct gpu *gpu, const char *root,
                     const nvml_pci_info *pci)
{
    phlox_unit_reading *const r = &gpu->unit->reading;
    char name[96];
    unsigned megahertz;
    snprintf(r->vendor, sizeof r->vendor, "NVIDIA");
    snprintf(r->driver, sizeof r->driver, "nvidia");
    snprintf(r->pci, sizeof r->pci, "%04x:%02x:%02x.0", pci->domain & 0xffff, pci->bus & 0xff,
             pci->device & 0xff);
    if (nvml->name(gpu->device, name, sizeof name) == NVML_OK)
        snprintf(r->full_name, sizeof r->full_name, "%.95s", name);
    if (nvml->max_clock && nvml->max_clock(gpu->device, NVML_CLOCK_GRAPHICS, &megahertz) == NVML_OK)
        r->max_clock = megahertz * 1e6;
    gpu->directory = px_meter_join("%s/sys/bus/pci/devices/%s", root, r->pci);
}

static void find_gpus(struct gpus *gpus, px_meter *meter)
{
    const struct nvml *const nvml = &gpus->nvml;
    unsigned count = 0;
    if (nvml->count(&count) != NVML_OK) return;
    for (unsigned i = 0; i < count && gpus->count < PX_METER_DEVICES; i++) {
        struct gpu *const gpu = &gpus->gpus[gpus->count];
        nvml_pci_info pci;
        memset(&pci, 0, sizeof pci);
        if (nvml->handle(i, &gpu->device) != NVML_OK || nvml->pci(gpu->device, &pci) != NVML_OK) continue;
        gpu->unit = px_meter_add_unit(meter, PHLOX_UNIT_GPU);
        if (!gpu->unit) return;
        open_gpu(nvml, gpu, px_meter_root(meter), &pci);
        gpus->count++;
    }
}

/* The library starts the driver, which takes time: it is opened only where the kernel has it, as a module
 * or, under WSL, in the host. */
static bool has_driver(const char *root)
{
    const px_meter_path version = px_meter_join("%s/proc/driver/nvidia/version", root);
    const px_meter_path wsl = px_meter_join("%s/usr/lib/wsl/lib/libnvidia-ml.so.1", root);
    return px_is_file(version.text) || px_is_file(wsl.text);
}

static phlox_status open_gpus(px_meter *meter, void **state, phlox_error *error)
{
    const char *const root = px_meter_root(meter);
    if (!has_driver(root)) return PHLOX_OK;
    struct gpus *const gpus = px_calloc(1, sizeof *gpus);
    if (!gpus) return px_fail_memory(error, sizeof *gpus);
    const px_meter_path path = root[0] ? px_meter_join("%s/usr/lib/libnvidia-ml.so.1", root)
                                       : px_meter_join("libnvidia-ml.so.1");
    gpus->is_started = load(&gpus->nvml, path.text) && gpus->nvml.init() == NVML_OK;
    if (gpus->is_started) find_gpus(gpus, meter);
    if (gpus->count) *state = gpus;
    else close_gpus(gpus);
    return PHLOX_OK;
}

static void read_memory(const struct nvml *nvml, const struct gpu *gpu)
{
    phlox_unit_reading *const r = &gpu->unit->reading;
    nvml_memory_v2 newer = {.version = sizeof newer | 2u << 24};
    nvml_memory older = {0};
    if (nvml->memory_v2 && nvml->memory_v2(gpu->device, &newer) == NVML_OK) {
        r->memory_used = (double)newer.used;
        r->memory_total = (double)newer.total;
    } else if (nvml->memory && nvml->memory(gpu->device, &older) == NVML_OK) {
        r->memory_used = (double)older.used;
        r->memory_total = (double)older.total;
    }
}

static void sample_gpu(const struct nvml *nvml, struct gpu *gpu)
{
    phlox_unit_reading *const r = &gpu->unit->reading;
    nvml_utilization utilization;
    unsigned value;
    unsigned long long millijoules = 0;
    const int code = nvml->utilization(gpu->device, &utilization);
    if (code == NVML_OK) r->utilisation = utilization.gpu * 0.01;
    else px_meter_say(gpu->unit, "%s: NVML tells no utilisation: %s", r->pci, nvml->error_string(code));
    if (code == NVML_GPU_IS_LOST) {
        gpu->counter.is_known = false;
        return;
    }
    read_memory(nvml, gpu);
    if (nvml->power && nvml->power(gpu->device, &value) == NVML_OK) r->watts = value * 1e-3;
    if (nvml->clock && nvml->clock(gpu->device, NVML_CLOCK_GRAPHICS, &value) == NVML_OK)
        r->clock = value * 1e6;
    if (nvml->temperature && nvml->temperature(gpu->device, NVML_TEMPERATURE_GPU, &value) == NVML_OK)
        r->celsius = value;
    const bool known = nvml->energy && nvml->energy(gpu->device, &millijoules) == NVML_OK;
    gpu->unit->energy = px_meter_advance(&gpu->counter, known, millijoules) * 1e-3;
}

static void sample(void *state, double now, bool is_last)
{
    (void)is_last;
    struct gpus *const gpus = state;
    for (size_t i = 0; i < gpus->count; i++) {
        struct gpu *const gpu = &gpus->gpus[i];
        px_meter_clear(gpu->unit);
        if (!px_meter_asleep(gpu->unit, gpu->directory.text)) sample_gpu(&gpus->nvml, gpu);
        px_meter_settle(gpu->unit, gpu->seen ? now - gpu->seen : 0);
        gpu->seen = now;
    }
}

const px_meter_source px_meter_nvidia = {open_gpus, sample, close_gpus};
