#include "device/meter/meter.h"

#include "base/memory.h"
#include "device/meter/fdinfo.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const px_meter_source *const sources[] = {
    &px_meter_cpu,      &px_meter_intel_gpu, &px_meter_amd_gpu,
    &px_meter_nvidia,   &px_meter_intel_npu, &px_meter_amd_npu,
};

struct px_meter {
    char root[PX_METER_PATH];
    int64_t pid;
    void *states[PX_COUNT(sources)];
    px_fdinfo *fdinfo; /* NULL: no source needs it */
    px_meter_unit units[PHLOX_MOST_UNITS];
    size_t order[PHLOX_MOST_UNITS]; /* of what is shown */
    phlox_unit_reading readings[PHLOX_MOST_UNITS];
    size_t count;
    const float *cores; /* of the CPU's source */
    size_t core_count;
    double now; /* of the last sample */
};

/* ---- for the sources ----------------------------------------------------------------------- */

const char *px_meter_root(const px_meter *meter)
{
    return meter->root;
}

px_meter_unit *px_meter_add_unit(px_meter *meter, phlox_unit_kind kind)
{
    if (meter->count == PHLOX_MOST_UNITS) return NULL;
    px_meter_unit *const unit = &meter->units[meter->count++];
    px_meter_clear(unit);
    unit->reading.kind = kind;
    unit->reading.max_clock = unit->reading.joules = (double)NAN;
    return unit;
}

px_fdinfo *px_meter_fdinfo(px_meter *meter)
{
    if (!meter->fdinfo) px_fdinfo_open(meter->root, meter->pid, &meter->fdinfo, NULL);
    return meter->fdinfo;
}

void px_meter_set_cores(px_meter *meter, const float *cores, size_t count)
{
    meter->cores = cores;
    meter->core_count = count;
}

void px_meter_clear(px_meter_unit *unit)
{
    phlox_unit_reading *const r = &unit->reading;
    r->utilisation = r->clock = r->memory_used = r->memory_total = r->watts = r->celsius = (double)NAN;
    r->absent[0] = 0;
    r->is_asleep = false;
    unit->energy = (double)NAN;
}

void px_meter_settle(px_meter_unit *unit, double seconds)
{
    phlox_unit_reading *const r = &unit->reading;
    if (r->utilisation > 1) r->utilisation = 1; /* two clocks never agree exactly */
    if (!(seconds > 0)) return;
    if (!isnan(unit->energy) && isnan(r->watts)) r->watts = unit->energy / seconds;
    const double energy = isnan(unit->energy) ? r->watts * seconds : unit->energy;
    if (!isnan(energy)) r->joules = isnan(r->joules) ? energy : r->joules + energy;
    if (isnan(r->utilisation)) return;
    r->busy_seconds += r->utilisation * seconds;
    r->measured_seconds += seconds;
}

void px_meter_say(px_meter_unit *unit, const char *format, ...)
{
    char *const text = unit->reading.absent;
    if (text[0]) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof unit->reading.absent, format, arguments);
    va_end(arguments);
}

/* ---- names and order ----------------------------------------------------------------------- */

/* By kind, then by address; PCI addresses of one length compare as text. */
static bool comes_before(const phlox_unit_reading *a, const phlox_unit_reading *b)
{
    return a->kind != b->kind ? a->kind < b->kind : strcmp(a->pci, b->pci) < 0;
}

static size_t count_kind(const px_meter *meter, phlox_unit_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < meter->count; i++) count += meter->units[i].reading.kind == kind;
    return count;
}

static void name_units(px_meter *meter)
{
    static const char *const names[] = {"CPU", "GPU", "NPU"};
    size_t numbers[PX_COUNT(names)] = {0};
    for (size_t i = 0; i < meter->count; i++) {
        size_t place = i;
        for (; place && comes_before(&meter->units[i].reading,
                                     &meter->units[meter->order[place - 1]].reading);
             place--)
            meter->order[place] = meter->order[place - 1];
        meter->order[place] = i;
    }
    for (size_t i = 0; i < meter->count; i++) {
        phlox_unit_reading *const r = &meter->units[meter->order[i]].reading;
        const bool has_number = r->kind == PHLOX_UNIT_GPU || count_kind(meter, r->kind) > 1;
        if (has_number) snprintf(r->name, sizeof r->name, "%s.%zu", names[r->kind], numbers[r->kind]++);
        else snprintf(r->name, sizeof r->name, "%s", names[r->kind]);
    }
}

static void publish(px_meter *meter)
{
    for (size_t i = 0; i < meter->count; i++)
        meter->readings[i] = meter->units[meter->order[i]].reading;
}

/* ---- for the library ----------------------------------------------------------------------- */

static void sample(px_meter *meter, double now, bool is_last)
{
    if (meter->fdinfo) px_fdinfo_sample(meter->fdinfo, now);
    for (size_t i = 0; i < PX_COUNT(sources); i++)
        if (meter->states[i]) sources[i]->sample(meter->states[i], now, is_last);
    meter->now = now;
    publish(meter);
}

phlox_status px_meter_open(const char *root, int64_t pid, double now, px_meter **out,
                           phlox_error *error)
{
    size_t length = root ? strlen(root) : 0;
    while (length && root[length - 1] == '/') length--;
    if (length >= PX_METER_PATH)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "%.60s...: the path is too long", root);
    px_meter *const meter = px_calloc(1, sizeof *meter);
    if (!meter) return px_fail_memory(error, sizeof *meter);
    if (length) memcpy(meter->root, root, length);
    meter->pid = pid;
    for (size_t i = 0; i < PX_COUNT(sources); i++) {
        const phlox_status status = sources[i]->open(meter, &meter->states[i], error);
        if (status == PHLOX_OK) continue;
        px_meter_close(meter);
        return status;
    }
    name_units(meter);
    sample(meter, now, true);
    *out = meter;
    return PHLOX_OK;
}

void px_meter_sample(px_meter *meter, double now, bool is_last)
{
    if (now > meter->now) sample(meter, now, is_last);
}

const phlox_unit_reading *px_meter_readings(const px_meter *meter, size_t *count)
{
    *count = meter->count;
    return meter->readings;
}

const float *px_meter_core_readings(const px_meter *meter, size_t *count)
{
    *count = meter->core_count;
    return meter->cores;
}

void px_meter_close(px_meter *meter)
{
    if (!meter) return;
    for (size_t i = 0; i < PX_COUNT(sources); i++)
        if (meter->states[i]) sources[i]->close(meter->states[i]);
    px_fdinfo_close(meter->fdinfo);
    free(meter);
}
