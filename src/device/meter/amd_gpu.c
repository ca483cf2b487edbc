/*
 * GPUs of AMD, with the driver amdgpu (Documentation/gpu/amdgpu/: driver-misc.rst, thermal.rst). In the
 * device's directory:
 *
 * gpu_busy_percent                          percent of the moment
 * mem_info_vram_used, mem_info_vram_total   bytes; of a processor's graphics the part set aside for them
 * mem_info_gtt_used, mem_info_gtt_total     bytes of the machine's memory that they can use
 * pp_dpm_sclk                               clocks of the shaders, a line each: "1: 1200Mhz *" is in force
 * hwmon/power1_average, power1_input        microwatts; a driver has one or the other
 * hwmon/freq1_input                         Hz of the shaders
 * hwmon/temp1_input                         thousandths of a degree
 * hwmon/in1_label                           "vddnb", which graphics inside a processor alone have
 */
#include "device/meter/meter.h"

#include "base/memory.h"
#include "base/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gpu {
    px_meter_unit *unit;
    px_meter_device device;
    px_meter_path clock, power, temperature; /* "" where there is none */
    bool is_integrated;
    double seen; /* 0: never */
};

struct gpus {
    struct gpu gpus[PX_METER_DEVICES];
    size_t count;
};

/* The clock in force, and the highest, of pp_dpm_sclk; NAN where it does not say. */
static void read_levels(const px_meter_device *device, double *current, double *highest)
{
    char text[1024];
    size_t length;
    *current = *highest = (double)NAN;
    const px_meter_path path = px_meter_join("%s/pp_dpm_sclk", device->directory);
    if (px_read_text(path.text, text, sizeof text, &length, NULL) != PHLOX_OK) return;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        unsigned level, megahertz;
        if (sscanf(line, "%9u: %9uMhz", &level, &megahertz) != 2) continue;
        const double clock = megahertz * 1e6;
        if (isnan(*highest) || clock > *highest) *highest = clock;
        if (strchr(line, '*')) *current = clock;
    }
}

static px_meter_path find_sensor(const px_meter_device *device, const char *file)
{
    const px_meter_path hwmon = px_meter_hwmon(device->directory, file);
    return hwmon.text[0] ? px_meter_join("%s/%s", hwmon.text, file) : hwmon;
}

static void open_gpu(struct gpu *gpu)
{
    const px_meter_device *const device = &gpu->device;
    char label[16], name[64];
    px_meter_name(gpu->unit, "AMD", "GPU", device);
    const px_meter_path product = px_meter_join("%s/product_name", device->directory);
    phlox_unit_reading *const r = &gpu->unit->reading;
    if (px_meter_line(product.text, name, sizeof name) && name[0])
        snprintf(r->full_name, sizeof r->full_name, "%s", name);
    gpu->clock = find_sensor(device, "freq1_input");
    gpu->temperature = find_sensor(device, "temp1_input");
    gpu->power = find_sensor(device, "power1_average");
    if (!gpu->power.text[0]) gpu->power = find_sensor(device, "power1_input");
    const px_meter_path voltage = find_sensor(device, "in1_label");
    gpu->is_integrated =
        px_meter_line(voltage.text, label, sizeof label) && strcmp(label, "vddnb") == 0;
    r->energy_in_cpu = gpu->is_integrated; /* its power is that of the whole package */
}

static phlox_status open_gpus(px_meter *meter, void **state, phlox_error *error)
{
    static const char *const drivers[] = {"amdgpu", NULL};
    px_meter_device devices[PX_METER_DEVICES];
    const size_t count = px_meter_find(px_meter_root(meter), "drm", drivers, devices);
    if (!count) return PHLOX_OK;
    struct gpus *const gpus = px_calloc(1, sizeof *gpus);
    if (!gpus) return px_fail_memory(error, sizeof *gpus);
    for (size_t i = 0; i < count; i++) {
        struct gpu *const gpu = &gpus->gpus[gpus->count];
        *gpu = (struct gpu){.unit = px_meter_add_unit(meter, PHLOX_UNIT_GPU), .device = devices[i]};
        if (!gpu->unit) break;
        open_gpu(gpu);
        gpus->count++;
    }
    *state = gpus;
    return PHLOX_OK;
}

static double number(const struct gpu *gpu, const char *file, double scale, bool tells)
{
    const px_meter_path path = px_meter_join("%s/%s", gpu->device.directory, file);
    return px_meter_number(path.text, scale, tells ? gpu->unit : NULL);
}

static void read_memory(const struct gpu *gpu)
{
    phlox_unit_reading *const r = &gpu->unit->reading;
    r->memory_used = number(gpu, "mem_info_vram_used", 1, true);
    r->memory_total = number(gpu, "mem_info_vram_total", 1, false);
    if (!gpu->is_integrated) return;
    r->memory_used += number(gpu, "mem_info_gtt_used", 1, true);
    r->memory_total += number(gpu, "mem_info_gtt_total", 1, false);
}

static void sample_gpu(const struct gpu *gpu)
{
    phlox_unit_reading *const r = &gpu->unit->reading;
    double level, highest;
    if (!px_is_directory(gpu->device.directory)) {
        px_meter_say(gpu->unit, "%s: the device is gone", gpu->device.pci);
        return;
    }
    if (px_meter_asleep(gpu->unit, gpu->device.directory)) return;
    r->utilisation = number(gpu, "gpu_busy_percent", 0.01, true);
    read_memory(gpu);
    read_levels(&gpu->device, &level, &highest);
    r->clock = px_meter_number(gpu->clock.text, 1, NULL);
    if (isnan(r->clock)) r->clock = level;
    if (!isnan(highest)) r->max_clock = highest;
    r->watts = px_meter_number(gpu->power.text, 1e-6, gpu->unit);
    r->celsius = px_meter_number(gpu->temperature.text, 1e-3, NULL);
}

static void sample(void *state, double now, bool is_last)
{
    (void)is_last;
    struct gpus *const gpus = state;
    for (size_t i = 0; i < gpus->count; i++) {
        struct gpu *const gpu = &gpus->gpus[i];
        px_meter_clear(gpu->unit);
        sample_gpu(gpu);
        px_meter_settle(gpu->unit, gpu->seen ? now - gpu->seen : 0);
        gpu->seen = now;
    }
}

const px_meter_source px_meter_amd_gpu = {open_gpus, sample, free};
