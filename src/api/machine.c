/* What surrounds a benchmark: the machine's limits, the memory of the process, energy. */
#include "base/cores.h"
#include "base/os.h"
#include "base/threads.h"
#include "device/meter/rapl.h"
#include "kernels/kernels.h"
#include "kernels/probe.h"

#include <stdlib.h>

/* ---- reading ------------------------------------------------------------------------------- */

/* Beyond the caches of a server. */
static const uint64_t usual_memory = UINT64_C(1) << 30;
enum { GRAIN_BYTES = 1 << 21 };

struct reading {
    const px_probes *probes;
    uint64_t *words;
    size_t ahead;
    _Atomic uint64_t sum; /* somebody has to want it */
};

static void fill_range(void *context, int64_t begin, int64_t end)
{
    const struct reading *const r = context;
    for (int64_t i = begin; i < end; i++) r->words[i] = (uint64_t)i;
}

static void read_range(void *context, int64_t begin, int64_t end)
{
    struct reading *const r = context;
    r->sum ^= r->probes->read(r->words + begin, (size_t)(end - begin) * sizeof *r->words, r->ahead);
}

/* What the caller allows, or, when that is 0, the usual amount if memory is not short. */
static size_t choose_bytes(uint64_t memory)
{
    const uint64_t available = px_memory_available() / 4;
    if (!memory) memory = available ? PX_MIN(available, usual_memory) : usual_memory / 4;
    return (size_t)PX_MAX(memory / GRAIN_BYTES, 1) * GRAIN_BYTES;
}

/* Raises *out to the best bytes a second of several distances of prefetching, unless there are no pages
 * of that size. */
static phlox_status measure_reading(px_pool *pool, const px_probes *probes, size_t bytes, bool huge,
                                    double *out, phlox_error *error)
{
    static const size_t distances[] = {1024, 4096, 8192};
    const uint64_t before = px_memory_huge();
    const int64_t words = (int64_t)(bytes / sizeof(uint64_t));
    const int64_t grain = GRAIN_BYTES / sizeof(uint64_t);
    struct reading reading = {.probes = probes, .words = px_pages_alloc(bytes, huge)};
    if (!reading.words) return px_fail_memory(error, bytes);
    px_pool_for(pool, words, grain, fill_range, &reading);
    const bool has_pages = !huge || px_memory_huge() >= before + bytes / 4 * 3;
    for (size_t i = 0; i < PX_COUNT(distances) && has_pages; i++) {
        reading.ahead = distances[i];
        const double start = px_seconds();
        px_pool_for(pool, words, grain, read_range, &reading);
        *out = PX_MAX(*out, (double)bytes / (px_seconds() - start));
    }
    px_pages_free(reading.words, bytes);
    return PHLOX_OK;
}

/* ---- multiplying --------------------------------------------------------------------------- */

static const double run_seconds = 0.03; /* long enough for the clock, short beside a time slice */
enum { MULTIPLY_RUNS = 3 };

struct multiplying {
    const px_multiply_probe *probe;
    int64_t rounds;
    _Atomic int64_t sum;
};

static void multiply(void *context, int64_t begin, int64_t end)
{
    struct multiplying *const m = context;
    for (int64_t i = begin; i < end; i++) m->sum += m->probe->run(m->rounds);
}

/* Raises *out to the best multiply-adds a second of so many threads, if there is a probe. */
static void measure_multiplying(px_pool *pool, const px_multiply_probe *probe, int threads,
                                double *out)
{
    if (!probe->name) return;
    struct multiplying m = {.probe = probe, .rounds = 1000};
    for (int run = 0; run < MULTIPLY_RUNS;) {
        const double start = px_seconds();
        px_pool_for(pool, threads, 1, multiply, &m);
        const double seconds = px_seconds() - start;
        const double done = (double)threads * (double)m.rounds * (double)probe->per_round;
        if (seconds < run_seconds && m.rounds < INT64_MAX / 4) {
            m.rounds *= seconds < run_seconds / 8 ? 4 : 2;
            continue;
        }
        *out = PX_MAX(*out, done / seconds);
        run++;
    }
}

/* Everything is measured in several passes: what disturbs one of them for a while is over later. */
enum { PASSES = 2 };

static phlox_status measure(px_pool *pool, uint64_t features, uint64_t memory, phlox_machine *out,
                            phlox_error *error)
{
    px_probes probes;
    px_probes_init(&probes, features);
    const int threads = px_pool_threads(pool);
    phlox_machine machine = {.cores = px_core_count(), .threads = threads,
                             .int8_kernels = probes.int8.name ? probes.int8.name : "",
                             .f32_kernels = probes.f32.name ? probes.f32.name : ""};
    for (int pass = 0; pass < PASSES; pass++) {
        const size_t bytes = choose_bytes(memory);
        PX_TRY(measure_reading(pool, &probes, bytes, false, &machine.read, error));
        PX_TRY(measure_reading(pool, &probes, bytes, true, &machine.read_huge, error));
        measure_multiplying(pool, &probes.int8, 1, &machine.int8_core);
        measure_multiplying(pool, &probes.int8, threads, &machine.int8);
        measure_multiplying(pool, &probes.f32, 1, &machine.f32_core);
        measure_multiplying(pool, &probes.f32, threads, &machine.f32);
    }
    *out = machine;
    return PHLOX_OK;
}

phlox_status phlox_measure_machine(int32_t threads, uint64_t cpu_mask, uint64_t memory,
                                   phlox_machine *out, phlox_error *error)
{
    if (threads < 0 || threads > 1024)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "threads is %d; 1 to 1024 are meant, 0 for one a core", threads);
    px_pool *pool = NULL;
    PX_TRY(px_pool_create(threads ? threads : px_core_count(), &pool, error));
    const phlox_status status = measure(pool, px_cpu_features() & ~cpu_mask, memory, out, error);
    px_pool_free(pool);
    return status;
}

/* ---- memory and energy --------------------------------------------------------------------- */

bool phlox_get_process_memory(phlox_process_memory *out)
{
    px_memory_use use;
    if (!px_memory_used(&use)) return false;
    *out = (phlox_process_memory){use.peak, use.anonymous, use.shared, use.mapped};
    return true;
}

void phlox_reset_peak_memory(void)
{
    px_memory_reset_peak();
}

struct phlox_energy_meter {
    px_rapl *rapl;
};

phlox_status phlox_energy_meter_open(const char *directory, phlox_energy_meter **out,
                                     phlox_error *error)
{
    phlox_energy_meter *const meter = px_calloc(1, sizeof *meter);
    if (!meter) return px_fail_memory(error, sizeof *meter);
    const phlox_status status =
        px_rapl_open(directory ? directory : "/sys/class/powercap", &meter->rapl, error);
    if (status != PHLOX_OK) {
        free(meter);
        return status;
    }
    *out = meter;
    return PHLOX_OK;
}

phlox_status phlox_energy_meter_read(phlox_energy_meter *meter, double *joules, phlox_error *error)
{
    return px_rapl_read(meter->rapl, joules, error);
}

void phlox_energy_meter_close(phlox_energy_meter **meter)
{
    if (!meter || !*meter) return;
    px_rapl_close((*meter)->rapl);
    free(*meter);
    *meter = NULL;
}
