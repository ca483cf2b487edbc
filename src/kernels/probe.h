/* Loops that do nothing but read, or nothing but multiply and add: what they reach is the limit of the
 * machine for the kernels. phlox_measure_machine() times them. */
#ifndef PX_KERNELS_PROBE_H
#define PX_KERNELS_PROBE_H

#include <phlox/tools.h>

/* A loop of multiply-adds that depend on each other as little as those of a kernel. Every factor is
 * 1, so that what it returns, the sum over its accumulators, counts them (tests use that; a long run
 * overflows). */
typedef struct px_multiply_probe {
    const char *name;   /* the instruction set, "avx2"; NULL: no probe */
    int64_t per_round;  /* multiply-adds */
    int64_t (*run)(int64_t rounds);
} px_multiply_probe;

enum { PX_READ_BLOCK = 64 };

typedef struct px_probes {
    /* Reads `bytes` bytes, a multiple of PX_READ_BLOCK at that alignment, and asks for those `ahead`
     * bytes further on. Returns the exclusive or of all 64-bit words. */
    uint64_t (*read)(const void *data, size_t bytes, size_t ahead);
    px_multiply_probe int8, f32;
} px_probes;

/* The probes of the best instruction sets among `features`. */
void px_probes_init(px_probes *probes, uint64_t features);

/* What the instruction-set files offer: each overrides some of the probes. */
#if defined(__x86_64__)
void px_probes_avx2(px_probes *probes);
void px_probes_avxvnni(px_probes *probes);
void px_probes_avx512(px_probes *probes);
void px_probes_avx512vnni(px_probes *probes);
#endif

#endif
