/* What the units did while something ran: a thread samples them, and the first and the last sample give
 * what was used between. */
#include "api/meter.h"

#include "base/memory.h"
#include "base/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double interval = 0.1; /* seconds */

/* What a reading does not add up itself. */
struct sums {
    double clock, clock_seconds; /* the integral of the clock, and how long it was known */
    double memory;               /* the most; NAN: never known */
};

struct phlox_usage {
    phlox_meter *meter, *own; /* own: opened here, or NULL */
    px_thread *thread;        /* NULL: the system has none left, and two samples must do */
    px_monitor *monitor;
    bool ends;
    double start, sampled;
    phlox_unit_reading first[PHLOX_MOST_UNITS];
    struct sums sums[PHLOX_MOST_UNITS];
};

static const phlox_unit_reading *sample(phlox_usage *usage, bool is_last, size_t *count)
{
    const double now = px_seconds(), seconds = now - usage->sampled;
    px_meter *const meter = usage->meter->meter;
    px_meter_sample(meter, now, is_last);
    usage->sampled = now;
    const phlox_unit_reading *const units = px_meter_readings(meter, count);
    for (size_t i = 0; i < *count; i++) {
        struct sums *const sums = &usage->sums[i];
        if (!isnan(units[i].clock)) {
            sums->clock += units[i].clock * seconds;
            sums->clock_seconds += seconds;
        }
        if (isnan(sums->memory) || units[i].memory_used > sums->memory) sums->memory = units[i].memory_used;
    }
    return units;
}

static void run(void *argument)
{
    phlox_usage *const usage = argument;
    size_t count;
    px_monitor_lock(usage->monitor);
    while (!usage->ends) {
        const double left = usage->sampled + interval - px_seconds();
        if (left > 0) px_monitor_wait_for(usage->monitor, left);
        else sample(usage, false, &count);
    }
    px_monitor_unlock(usage->monitor);
}

static void release(phlox_usage *usage)
{
    px_monitor_free(usage->monitor);
    phlox_meter_close(&usage->own);
    free(usage);
}

phlox_status phlox_usage_begin(phlox_meter *meter, phlox_usage **out, phlox_error *error)
{
    phlox_usage *const usage = px_calloc(1, sizeof *usage);
    if (!usage) return px_fail_memory(error, sizeof *usage);
    usage->monitor = px_monitor_create();
    phlox_status status = usage->monitor ? PHLOX_OK : px_fail_memory(error, 64);
    if (status == PHLOX_OK && !meter)
        status = phlox_meter_open(NULL, px_process_id(), &usage->own, error);
    if (status != PHLOX_OK) {
        release(usage);
        return status;
    }
    usage->meter = meter ? meter : usage->own;
    size_t count;
    usage->sampled = px_seconds();
    const phlox_unit_reading *const units = sample(usage, true, &count);
    if (count) memcpy(usage->first, units, count * sizeof *units);
    for (size_t i = 0; i < PHLOX_MOST_UNITS; i++) usage->sums[i] = (struct sums){.memory = (double)NAN};
    usage->start = usage->sampled;
    usage->thread = px_thread_start(run, usage);
    *out = usage;
    return PHLOX_OK;
}

/* What a unit did since the first sample. */
static void summarise(phlox_unit_reading *unit, const phlox_unit_reading *first, const struct sums *sums,
                      double seconds)
{
    unit->busy_seconds -= first->busy_seconds;
    unit->measured_seconds -= first->measured_seconds;
    unit->utilisation =
        unit->measured_seconds > 0 ? unit->busy_seconds / unit->measured_seconds : (double)NAN;
    unit->clock = sums->clock_seconds > 0 ? sums->clock / sums->clock_seconds : (double)NAN;
    unit->memory_used = sums->memory;
    if (!isnan(first->joules)) unit->joules -= first->joules;
    unit->watts = seconds > 0 ? unit->joules / seconds : (double)NAN;
}

static void add_energy(phlox_usage_report *report, const phlox_unit_reading *unit)
{
    if (unit->energy_in_cpu || isnan(unit->joules)) return;
    const size_t used = strlen(report->measured);
    snprintf(report->measured + used, sizeof report->measured - used, "%s%s", used ? ", " : "", unit->name);
    report->joules = isnan(report->joules) ? unit->joules : report->joules + unit->joules;
}

void phlox_usage_end(phlox_usage **usage, phlox_usage_report *report)
{
    if (!usage || !*usage) return;
    phlox_usage *const u = *usage;
    px_monitor_lock(u->monitor);
    u->ends = true;
    px_monitor_wake_all(u->monitor);
    px_monitor_unlock(u->monitor);
    if (u->thread) px_thread_join(u->thread);
    if (report) {
        const phlox_unit_reading *const units = sample(u, true, &report->count);
        report->seconds = u->sampled - u->start;
        report->joules = (double)NAN;
        report->measured[0] = 0;
        for (size_t i = 0; i < report->count; i++) {
            report->units[i] = units[i];
            summarise(&report->units[i], &u->first[i], &u->sums[i], report->seconds);
            add_energy(report, &report->units[i]);
        }
        report->watts = report->seconds > 0 ? report->joules / report->seconds : (double)NAN;
    }
    release(u);
    *usage = NULL;
}
