#include "base/cores.h"

#include "base/memory.h"
#include "base/os.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char system_root[] = "/sys/devices/system/cpu";
static const double worth = 0.6; /* of the fastest core's speed */

/* The number at the beginning of a file; -1 when there is none. */
static int64_t read_number(const char *root, int cpu, const char *name)
{
    char path[512];
    int64_t value;
    snprintf(path, sizeof path, "%s/cpu%d/%s", root, cpu, name);
    FILE *const file = fopen(path, "r");
    if (!file) return -1;
    const bool is_there = fscanf(file, "%" SCNd64, &value) == 1;
    fclose(file);
    return is_there ? value : -1;
}

static int64_t speed_of(const char *root, int cpu)
{
    int64_t speed = read_number(root, cpu, "cpu_capacity");
    if (speed < 0) speed = read_number(root, cpu, "cpufreq/cpuinfo_max_freq");
    return PX_MAX(speed, 0);
}

/* Names the core of a hardware thread: the list of those that share it begins with the lowest. */
static int64_t core_of(const char *root, int cpu)
{
    const int64_t first = read_number(root, cpu, "topology/thread_siblings_list");
    return first < 0 ? cpu : first;
}

static int compare(const void *a, const void *b)
{
    const px_core *const left = a, *const right = b;
    if (left->speed != right->speed) return left->speed > right->speed ? -1 : 1;
    return (left->cpu > right->cpu) - (left->cpu < right->cpu);
}

size_t px_cores_find(const char *root, const int *cpus, size_t count, px_core *cores)
{
    int64_t *const names = px_calloc(count, sizeof *names);
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const int64_t name = names ? core_of(root, cpus[i]) : cpus[i];
        size_t other = 0;
        while (names && other < found && names[other] != name) other++;
        if (names && other < found) continue;
        if (names) names[found] = name;
        cores[found++] = (px_core){cpus[i], speed_of(root, cpus[i])};
    }
    free(names);
    qsort(cores, found, sizeof *cores, compare);
    return found;
}

size_t px_cores_worth(const px_core *cores, size_t count)
{
    size_t number = 0;
    while (number < count && (double)cores[number].speed >= worth * (double)cores[0].speed) number++;
    return number;
}

static size_t find_own(px_core cores[PX_MOST_CPUS])
{
    int cpus[PX_MOST_CPUS];
    return px_cores_find(system_root, cpus, px_allowed_cpus(cpus, PX_MOST_CPUS), cores);
}

int px_core_count(void)
{
    px_core cores[PX_MOST_CPUS];
    const size_t count = find_own(cores);
    return PX_MAX((int)px_cores_worth(cores, count), 1);
}

size_t px_fast_cpus(int threads, int *cpus)
{
    px_core cores[PX_MOST_CPUS];
    const size_t count = find_own(cores), wanted = (size_t)threads;
    if (wanted >= count || cores[0].speed == cores[count - 1].speed) return 0;
    size_t number = 0;
    for (; number < count && cores[number].speed >= cores[wanted - 1].speed; number++)
        cpus[number] = cores[number].cpu;
    return number;
}
