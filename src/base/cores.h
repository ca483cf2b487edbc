/* The cores of the processor: hardware threads that share one count once, and where cores differ the
 * fast ones come first. */
#ifndef PX_BASE_CORES_H
#define PX_BASE_CORES_H

#include <stddef.h>
#include <stdint.h>

enum { PX_MOST_CPUS = 1024 };

typedef struct px_core {
    int cpu;       /* its first hardware thread among those that were given */
    int64_t speed; /* the system's measure, to compare; the same for all when it has none */
} px_core;

/* The cores of some hardware threads, the fastest first, then in their order. `root`: where the system
 * describes them, /sys/devices/system/cpu. cores: [count]. Returns how many there are. */
size_t px_cores_find(const char *root, const int *cpus, size_t count, px_core *cores);

/* How many of them, in that order, may share the work of the first `threads`: not those that are much
 * slower, for which the others would wait. */
size_t px_cores_fast(const px_core *cores, size_t count, size_t threads);

/* What this process may use of them without those much slower than the fastest; at least 1. */
int px_core_count(void);

/* Where some cores are much slower than the `threads` fastest, a hardware thread of each of the others.
 * cpus: [PX_MOST_CPUS]. Returns how many; 0: any will do. */
size_t px_fast_cpus(int threads, int *cpus);

#endif
