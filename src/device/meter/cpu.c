/*
 * The CPU, and what the machine has once: memory and the energy of the processor packages.
 *
 * /proc/stat, /proc/meminfo   Documentation/filesystems/proc.rst
 * cpufreq/policyN             Documentation/admin-guide/pm/cpufreq.rst; kHz
 * hwmonN/temp1_input          Documentation/hwmon/sysfs-interface.rst; thousandths of a degree
 */
#include "device/meter/meter.h"

#include "base/memory.h"
#include "base/os.h"
#include "device/meter/rapl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of /proc/stat has up to 220 bytes. */
enum { MOST_CORES = 1024, MOST_POLICIES = 16, STAT_BYTES = 1 << 18, MEMORY_BYTES = 4096 };

/* Ticks of a hardware thread, or of all. Waiting for a disk is a kind of idling, and the one counter here
 * that is known to go backwards. */
struct ticks {
    px_meter_counter busy, idle, waiting;
};

struct cpu {
    px_meter_unit *unit;
    px_meter *meter;
    px_meter_path stat, memory, temperature;
    px_meter_path policies[MOST_POLICIES]; /* where to read a clock */
    size_t policy_count;
    px_rapl *rapl; /* NULL: no counters, and then a reason where there is one */
    double joules;
    char no_energy[sizeof((phlox_unit_reading *)0)->absent];
    double seen; /* when it was sampled last; 0: never */
    struct ticks all, each[MOST_CORES];
    float cores[MOST_CORES]; /* utilisation */
    char text[STAT_BYTES];
};

/* ---- utilisation --------------------------------------------------------------------------- */

static double advance(struct ticks *ticks, const unsigned long long *values)
{
    /* user nice system idle iowait irq softirq steal; guests are in user and nice */
    const uint64_t busy = values[0] + values[1] + values[2] + values[5] + values[6] + values[7];
    const double b = px_meter_advance(&ticks->busy, true, busy);
    const double i = px_meter_advance(&ticks->idle, true, values[3]);
    const double w = px_meter_advance(&ticks->waiting, true, values[4]);
    const double all = b + i + (isnan(w) ? 0 : w);
    return all > 0 ? b / all : (double)NAN;
}

/* A line of /proc/stat; false behind the last one of the CPU. */
static bool read_ticks(struct cpu *cpu, const char *line, size_t *cores)
{
    unsigned number = 0;
    int used = 0;
    unsigned long long v[8] = {0};
    if (strncmp(line, "cpu", 3) != 0) return false;
    const bool is_total = line[3] == ' ';
    if (!is_total && (sscanf(line + 3, "%4u%n", &number, &used) != 1 || number >= MOST_CORES))
        return true;
    if (sscanf(line + 3 + used, " %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
               &v[4], &v[5], &v[6], &v[7]) < 4)
        return true;
    if (is_total) {
        cpu->unit->reading.utilisation = advance(&cpu->all, v);
    } else {
        cpu->cores[number] = (float)advance(&cpu->each[number], v);
        *cores = PX_MAX(*cores, number + 1);
    }
    return true;
}

static void read_utilisation(struct cpu *cpu)
{
    size_t length, cores = 0;
    phlox_error error;
    for (size_t i = 0; i < MOST_CORES; i++) cpu->cores[i] = NAN; /* also those that are switched off */
    if (px_read_text(cpu->stat.text, cpu->text, sizeof cpu->text, &length, &error) != PHLOX_OK) {
        px_meter_say(cpu->unit, "%s", error.message);
    } else {
        const char *line = cpu->text;
        for (const char *end; (end = strchr(line, '\n')) && read_ticks(cpu, line, &cores);)
            line = end + 1;
    }
    px_meter_set_cores(cpu->meter, cpu->cores, cores);
}

/* ---- clock, memory, temperature, energy ---------------------------------------------------- */

static double mean_clock(struct cpu *cpu)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < cpu->policy_count; i++) {
        const double clock = px_meter_number(cpu->policies[i].text, 1e3, NULL);
        if (isnan(clock)) continue;
        sum += clock;
        count++;
    }
    return count ? sum / (double)count : (double)NAN;
}

/* The number of kB behind a key of /proc/meminfo, as bytes; NAN when it is not there. */
static double memory_of(const char *text, const char *key)
{
    const char *const line = strstr(text, key);
    unsigned long long kilobytes;
    if (!line || (line != text && line[-1] != '\n') ||
        sscanf(line + strlen(key), " %llu kB\n", &kilobytes) != 1)
        return (double)NAN;
    return (double)kilobytes * 1024;
}

static void read_memory(struct cpu *cpu)
{
    size_t length;
    if (px_read_text(cpu->memory.text, cpu->text, MEMORY_BYTES, &length, NULL) != PHLOX_OK) return;
    phlox_unit_reading *const r = &cpu->unit->reading;
    r->memory_total = memory_of(cpu->text, "MemTotal:");
    r->memory_used = r->memory_total - memory_of(cpu->text, "MemAvailable:");
}

static void read_energy(struct cpu *cpu)
{
    double joules;
    phlox_error error;
    if (!cpu->rapl) {
        if (cpu->no_energy[0]) px_meter_say(cpu->unit, "%s", cpu->no_energy);
    } else if (px_rapl_read(cpu->rapl, &joules, &error) != PHLOX_OK) {
        px_meter_say(cpu->unit, "%s", error.message);
    } else {
        cpu->unit->energy = joules - cpu->joules;
        cpu->joules = joules;
    }
}

static void sample(void *state, double now, bool is_last)
{
    (void)is_last;
    struct cpu *const cpu = state;
    px_meter_clear(cpu->unit);
    read_utilisation(cpu);
    read_memory(cpu);
    read_energy(cpu);
    cpu->unit->reading.clock = mean_clock(cpu);
    cpu->unit->reading.celsius = px_meter_number(cpu->temperature.text, 1e-3, NULL);
    px_meter_settle(cpu->unit, cpu->seen ? now - cpu->seen : 0);
    cpu->seen = now;
}

/* ---- opening ------------------------------------------------------------------------------- */

struct policy_search {
    struct cpu *cpu;
    size_t count, seen;
};

static bool count_policy(void *user, const char *path)
{
    (void)path;
    ((struct policy_search *)user)->count++;
    return true;
}

/* Keeps MOST_POLICIES of them, evenly spread, and the highest clock of all. */
static bool keep_policy(void *user, const char *path)
{
    struct policy_search *const search = user;
    struct cpu *const cpu = search->cpu;
    const px_meter_path highest = px_meter_join("%s/cpuinfo_max_freq", path);
    const double clock = px_meter_number(highest.text, 1e3, NULL);
    double *const most = &cpu->unit->reading.max_clock;
    if (isnan(*most) || clock > *most) *most = clock;
    const size_t kept = PX_MIN(search->count, MOST_POLICIES);
    if (cpu->policy_count < kept && search->seen == cpu->policy_count * search->count / kept)
        cpu->policies[cpu->policy_count++] = px_meter_join("%s/scaling_cur_freq", path);
    search->seen++;
    return true;
}

static bool visit_thermometer(void *user, const char *path)
{
    struct cpu *const cpu = user;
    char name[16];
    const px_meter_path name_path = px_meter_join("%s/name", path);
    if (!px_meter_line(name_path.text, name, sizeof name) ||
        (strcmp(name, "coretemp") != 0 && strcmp(name, "k10temp") != 0))
        return true;
    cpu->temperature = px_meter_join("%s/temp1_input", path);
    return false;
}

static void find_name(struct cpu *cpu, const char *root)
{
    static const char key[] = "model name\t: ";
    phlox_unit_reading *const r = &cpu->unit->reading;
    const px_meter_path path = px_meter_join("%s/proc/cpuinfo", root);
    size_t length;
    if (!root[0]) {
        phlox_cpu_name(r->full_name, sizeof r->full_name);
    } else if (px_read_text(path.text, cpu->text, MEMORY_BYTES, &length, NULL) == PHLOX_OK) {
        const char *const line = strstr(cpu->text, key);
        if (line)
            snprintf(r->full_name, sizeof r->full_name, "%.*s",
                     (int)strcspn(line + sizeof key - 1, "\n"), line + sizeof key - 1);
    }
}

static phlox_status open_cpu(px_meter *meter, void **state, phlox_error *error)
{
    const char *const root = px_meter_root(meter);
    struct cpu *const cpu = px_calloc(1, sizeof *cpu);
    if (!cpu) return px_fail_memory(error, sizeof *cpu);
    cpu->stat = px_meter_join("%s/proc/stat", root);
    cpu->unit = px_is_file(cpu->stat.text) ? px_meter_add_unit(meter, PHLOX_UNIT_CPU) : NULL;
    if (!cpu->unit) {
        free(cpu);
        return PHLOX_OK;
    }
    cpu->meter = meter;
    cpu->memory = px_meter_join("%s/proc/meminfo", root);
    find_name(cpu, root);
    struct policy_search search = {.cpu = cpu};
    const px_meter_path policies =
        px_meter_join("%s/sys/devices/system/cpu/cpufreq/policy[0-9]*", root);
    px_glob(policies.text, count_policy, &search);
    px_glob(policies.text, keep_policy, &search);
    const px_meter_path hwmon = px_meter_join("%s/sys/class/hwmon/hwmon[0-9]*", root);
    px_glob(hwmon.text, visit_thermometer, cpu);
    phlox_error why;
    const px_meter_path powercap = px_meter_join("%s/sys/class/powercap", root);
    const phlox_status status = px_rapl_open(powercap.text, &cpu->rapl, &why);
    if (status != PHLOX_OK && status != PHLOX_ERROR_NOT_FOUND)
        snprintf(cpu->no_energy, sizeof cpu->no_energy, "%.220s", why.message);
    *state = cpu;
    return PHLOX_OK;
}

static void close_cpu(void *state)
{
    struct cpu *const cpu = state;
    px_rapl_close(cpu->rapl);
    free(cpu);
}

const px_meter_source px_meter_cpu = {open_cpu, sample, close_cpu};
