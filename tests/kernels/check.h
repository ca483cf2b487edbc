/*
 * One call site for a kernel: check_run calls it at every feature level of this machine, compares
 * the result with what the test computed from the definition and with the reference, looks for
 * writes outside the output, and with --bench times it.
 *
 * Inputs and outputs lie in guarded memory: the last byte is followed by a page that traps. Inputs
 * are read-only during the call; the bytes in front of an output are checked.
 *
 * Arguments of the test programs:
 *   --quick       fewer cases (emulators)
 *   --bench       times instead; --bench=TEXT only what has TEXT in its name
 *   --force-LEVEL runs that level (avx2, dotprod, ...) whatever the CPU says: proves that an
 *                 emulator traps
 */
#ifndef PX_TESTS_KERNELS_CHECK_H
#define PX_TESTS_KERNELS_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "kernels/kernels.h"

/* ---- options and levels -------------------------------------------------------------------- */

typedef struct check_options {
    bool quick, bench;
    const char *bench_filter;
    uint64_t features;
} check_options;

static check_options options;

/* The sets of features that have kernels of their own, the reference first. */
typedef struct check_level {
    const char *name; /* as in px_kernels */
    uint64_t features;
} check_level;

static const check_level check_levels[] = {
    {"reference", 0},
#if defined(__aarch64__)
    {"neon", PHLOX_CPU_NEON},
    {"dotprod", PHLOX_CPU_NEON | PHLOX_CPU_DOTPROD},
    {"i8mm", PHLOX_CPU_NEON | PHLOX_CPU_DOTPROD | PHLOX_CPU_I8MM},
#else
    {"avx2", PHLOX_CPU_AVX2},
    {"avx-vnni", PHLOX_CPU_AVX2 | PHLOX_CPU_AVX_VNNI},
    {"avx512", PHLOX_CPU_AVX2 | PHLOX_CPU_AVX512},
    {"avx512-vnni", PHLOX_CPU_AVX2 | PHLOX_CPU_AVX512 | PHLOX_CPU_AVX512_VNNI},
#endif
};

static inline void check_arguments(int count, char **arguments)
{
    options.features = px_cpu_features();
    for (int i = 1; i < count; i++) {
        const char *argument = arguments[i];
        if (strcmp(argument, "--quick") == 0) options.quick = true;
        if (strncmp(argument, "--bench", 7) == 0) {
            options.bench = true;
            options.bench_filter = argument[7] == '=' ? argument + 8 : "";
        }
        for (size_t level = 0; level < PX_COUNT(check_levels); level++)
            if (strncmp(argument, "--force-", 8) == 0 &&
                strcmp(argument + 8, check_levels[level].name) == 0)
                options.features |= check_levels[level].features;
    }
}

/* Fills in the table of a level; false when the CPU lacks it. */
static inline bool check_table(size_t level, px_kernels *kernels)
{
    const check_level *l = &check_levels[level];
    if ((options.features & l->features) != l->features) return false;
    px_kernels_init(kernels, l->features);
    assert_string_equal(kernels->name, l->name);
    return true;
}

/* ---- random numbers ------------------------------------------------------------------------ */

static inline uint32_t check_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    const uint32_t mixed = (uint32_t)((*state >> 18 ^ *state) >> 27);
    const uint32_t turn = (uint32_t)(*state >> 59);
    return mixed >> turn | mixed << (-turn & 31);
}

/* -1 to 1 */
static inline float check_random_float(uint64_t *state)
{
    return (float)((int32_t)check_random(state) >> 8) * 0x1p-23f;
}

/* Roughly normal, standard deviation 1. */
static inline float check_random_normal(uint64_t *state)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) sum += check_random_float(state);
    return sum * 0.866f;
}

/* Kinds of float data. */
typedef enum check_data {
    DATA_NORMAL,
    DATA_CONSTANT,    /* every value the maximum */
    DATA_ALTERNATING, /* +1, -1 */
    DATA_ZERO_BLOCKS, /* every second block of 32 zero */
    DATA_OUTLIERS,    /* a few values 100 times as large */
    DATA_DENORMAL,
    DATA_KINDS
} check_data;

static inline void check_fill(check_data kind, uint64_t *state, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        const float normal = check_random_normal(state);
        switch (kind) {
        case DATA_NORMAL: out[i] = normal; break;
        case DATA_CONSTANT: out[i] = 3.0f; break;
        case DATA_ALTERNATING: out[i] = i % 2 ? -1.0f : 1.0f; break;
        case DATA_ZERO_BLOCKS: out[i] = i / 32 % 2 ? 0.0f : normal; break;
        case DATA_OUTLIERS: out[i] = check_random(state) % 97 ? normal : 100 * normal; break;
        case DATA_DENORMAL: out[i] = normal * 0x1p-130f; break;
        case DATA_KINDS: break;
        }
    }
}

/* ---- guarded memory ------------------------------------------------------------------------ */

enum { CANARY = 0xa5 };

typedef struct check_memory {
    unsigned char *map;
    size_t map_size, front, size; /* front: bytes of canaries */
    void *data;
} check_memory;

/* `shift` bytes more at the end move the data to an odd place. */
static inline check_memory check_memory_new(size_t size, size_t shift)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (size + shift + 64 + page - 1) / page * page;
    check_memory m = {.map_size = inner + page, .front = inner - size - shift, .size = size};
    m.map = mmap(NULL, m.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(m.map, MAP_FAILED);
    assert_int_equal(mprotect(m.map + inner, page, PROT_NONE), 0);
    m.data = m.map + m.front;
    memset(m.map, CANARY, m.front);
    return m;
}

static inline void check_memory_free(check_memory *m)
{
    munmap(m->map, m->map_size);
    *m = (check_memory){0};
}

static inline void check_memory_lock(const check_memory *m)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    assert_int_equal(mprotect(m->map, m->map_size - page, PROT_READ), 0);
}

/* A locked copy of `data`. */
static inline check_memory check_input(const void *data, size_t size, size_t shift)
{
    check_memory m = check_memory_new(size, shift);
    if (size > 0) memcpy(m.data, data, size);
    check_memory_lock(&m);
    return m;
}

static inline void check_front(const check_memory *m)
{
    for (size_t i = 0; i < m->front; i++)
        if (m->map[i] != CANARY) fail_msg("a write %zu bytes in front of the output", m->front - i);
}

/* ---- the call site ------------------------------------------------------------------------- */

typedef struct check_case check_case;

/* Calls the kernel on part `part` of `parts` (threads share a case by rows; a function that does not
 * split does everything in part 0) with `out` as its output. */
typedef void check_call(const px_kernels *kernels, const check_case *c, void *out, int part,
                        int parts);

struct check_case {
    char name[96];
    check_call *call;
    const void *arguments;
    size_t out_count;      /* floats */
    const float *initial;  /* [out_count] what is in the output before, NULL: canaries */
    const double *expected;  /* [out_count]; NaN: the value must stay as it was */
    const double *tolerance; /* [out_count] absolute */
    double bytes, macs;      /* of one call, for the bench */
    int max_parts;           /* threads that may share the call */
};

typedef struct check_part {
    const px_kernels *kernels;
    const check_case *c;
    void *out;
    int part, parts;
} check_part;

static inline void *check_run_part(void *argument)
{
    const check_part *p = argument;
    p->c->call(p->kernels, p->c, p->out, p->part, p->parts);
    return NULL;
}

static inline void check_reset(const check_case *c, check_memory *out)
{
    if (c->initial != NULL)
        memcpy(out->data, c->initial, out->size);
    else
        memset(out->data, CANARY, out->size);
}

static inline double check_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline double check_time_once(const px_kernels *kernels, const check_case *c,
                                     check_memory *out, int parts)
{
    pthread_t thread[16];
    check_part part[16];
    check_reset(c, out);
    const double start = check_seconds();
    for (int i = 0; i < parts; i++) {
        part[i] = (check_part){kernels, c, out->data, i, parts};
        if (i > 0) assert_int_equal(pthread_create(&thread[i], NULL, check_run_part, &part[i]), 0);
    }
    check_run_part(&part[0]);
    for (int i = 1; i < parts; i++) pthread_join(thread[i], NULL);
    return check_seconds() - start;
}

/* The best of some runs. What takes the reference minutes it does not do. */
static inline void check_bench(const px_kernels *kernels, const check_case *c, check_memory *out)
{
    const bool slow = c->macs > 1e9 && strcmp(kernels->name, "reference") == 0;
    if (slow || strstr(c->name, options.bench_filter) == NULL) return;
    for (int parts = 1; parts <= PX_MAX(c->max_parts, 1); parts++) {
        double best = INFINITY;
        const double end = check_seconds() + 0.5;
        for (int i = 0; i < 1 || check_seconds() < end; i++)
            best = fmin(best, check_time_once(kernels, c, out, parts));
        printf("%-40s %-11s %d thread%s %10.1f us %8.2f GB/s %8.2f GMAC/s\n", c->name,
               kernels->name, parts, parts > 1 ? "s" : " ", best * 1e6, c->bytes / best * 1e-9,
               c->macs / best * 1e-9);
    }
}

static inline void check_values(const check_case *c, const char *level, const float *out,
                                const float *before)
{
    for (size_t i = 0; i < c->out_count; i++) {
        if (isnan(c->expected[i])) {
            if (memcmp(&out[i], &before[i], sizeof *out) != 0)
                fail_msg("%s %s: value %zu is outside the output and was written", c->name, level,
                         i);
        } else if (!(fabs(out[i] - c->expected[i]) <= c->tolerance[i])) {
            fail_msg("%s %s: value %zu is %.9g, expected %.9g, tolerance %.3g", c->name, level, i,
                     (double)out[i], c->expected[i], c->tolerance[i]);
        }
    }
}

static inline void check_run(const check_case *c)
{
    check_memory before = check_memory_new(c->out_count * sizeof(float), 0);
    check_memory out = check_memory_new(c->out_count * sizeof(float), 0);
    check_memory again = check_memory_new(c->out_count * sizeof(float), 0);
    check_reset(c, &before);
    for (size_t level = 0; level < PX_COUNT(check_levels); level++) {
        px_kernels kernels;
        if (!check_table(level, &kernels)) continue;
        if (options.bench) {
            check_bench(&kernels, c, &out);
            continue;
        }
        check_reset(c, &out);
        c->call(&kernels, c, out.data, 0, 1);
        check_front(&out);
        check_values(c, kernels.name, out.data, before.data);

        const int parts = PX_MIN(c->max_parts, 3);
        check_reset(c, &again);
        for (int part = 0; part < parts; part++) c->call(&kernels, c, again.data, part, parts);
        if (parts > 1 && memcmp(out.data, again.data, out.size) != 0)
            fail_msg("%s %s: the result depends on how the rows are shared", c->name, kernels.name);
    }
    check_memory_free(&before);
    check_memory_free(&out);
    check_memory_free(&again);
}

#endif
