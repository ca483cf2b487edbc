#include "base/cores.h"

#include "base/memory.h"
#include "base/os.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char system_root[] = "/sys/devices/system/cpu";
static const double worth = 0.6; /* of a core's speed, to share its work */

/* The number at the beginning of a file; -1 when there is none. */
static int64_t read_number(const char *root, int cpu, const char *name)
{
    char path[512], text[64];
    size_t length;
    int64_t value;
    snprintf(path, sizeof path, "%s/cpu%d/%s", root, cpu, name);
    if (px_read_text(path, text, sizeof text, &length, NULL) != PHLOX_OK) return -1;
    return sscanf(text, "%" SCNd64, &value) == 1 ? value : -1;
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

/* The speeds as one file gives them; whether all are given and they differ. */
static bool read_speeds(const char *root, px_core *cores, size_t count, const char *name)
{
    bool differ = false, known = true;
    for (size_t i = 0; i < count; i++) {
        cores[i].speed = read_number(root, cores[i].cpu, name);
        differ |= cores[i].speed != cores[0].speed;
        known &= cores[i].speed > 0;
    }
    return differ && known;
}

/* Systems where both are given have differing capacities, or one capacity for all and the truth in the
 * frequencies. */
static void find_speeds(const char *root, px_core *cores, size_t count)
{
    if (read_speeds(root, cores, count, "cpu_capacity") ||
        read_speeds(root, cores, count, "cpufreq/cpuinfo_max_freq"))
        return;
    for (size_t i = 0; i < count; i++) cores[i].speed = 1;
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
        cores[found++].cpu = cpus[i];
    }
    free(names);
    find_speeds(root, cores, found);
    qsort(cores, found, sizeof *cores, compare);
    return found;
}

size_t px_cores_fast(const px_core *cores, size_t count, size_t threads)
{
    size_t number = 0;
    while (number < count &&
           (double)cores[number].speed >= worth * (double)cores[threads - 1].speed)
        number++;
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
    return count ? (int)px_cores_fast(cores, count, 1) : 1;
}

size_t px_fast_cpus(int threads, int *cpus)
{
    /* as many threads as there are hardware threads leave nothing to choose, and nothing to read */
    if ((size_t)threads >= px_allowed_cpus(cpus, PX_MOST_CPUS)) return 0;
    px_core cores[PX_MOST_CPUS];
    const size_t count = find_own(cores);
    if ((size_t)threads >= count) return 0;
    const size_t number = px_cores_fast(cores, count, (size_t)threads);
    for (size_t i = 0; i < number; i++) cpus[i] = cores[i].cpu;
    return number < count ? number : 0;
}
