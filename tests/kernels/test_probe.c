/* The probes read every byte and do as many multiply-adds as they say: a benchmark divides by them. */
#include "support.h"

#include "kernels/kernels.h"
#include "kernels/probe.h"

/* Every set of features that this CPU allows, from nothing to all. */
static size_t feature_sets(uint64_t *sets)
{
    static const uint64_t hidden[] = {
        ~UINT64_C(0), PHLOX_CPU_AVX_VNNI | PHLOX_CPU_AVX512, PHLOX_CPU_AVX512,
        PHLOX_CPU_AVX_VNNI | PHLOX_CPU_AVX512_VNNI, PHLOX_CPU_AVX_VNNI, 0};
    for (size_t i = 0; i < PX_COUNT(hidden); i++) sets[i] = px_cpu_features() & ~hidden[i];
    return PX_COUNT(hidden);
}

static void every_word_is_read(void **state)
{
    (void)state;
    enum { WORDS = 8 * 67 };
    uint64_t *const words = px_aligned_alloc(WORDS * sizeof *words), random = 1, sets[8];
    for (size_t i = 0; i < WORDS; i++) words[i] = test_random(&random);
    const size_t count = feature_sets(sets);
    for (size_t s = 0; s < count; s++) {
        px_probes probes;
        px_probes_init(&probes, sets[s]);
        for (size_t size = 0; size <= WORDS; size += 8) {
            uint64_t expected = 0;
            for (size_t i = 0; i < size; i++) expected ^= words[i];
            assert_true(probes.read(words, size * sizeof *words, 4096) == expected);
        }
    }
    px_aligned_free(words);
}

static void check_count(const px_multiply_probe *probe)
{
    if (!probe->name) return;
    assert_true(probe->per_round > 0);
    for (int64_t rounds = 0; rounds < 100; rounds += 33)
        assert_int_equal(probe->run(rounds), rounds * probe->per_round);
}

static void multiply_adds_are_counted(void **state)
{
    (void)state;
    uint64_t sets[8];
    const size_t count = feature_sets(sets);
    for (size_t s = 0; s < count; s++) {
        px_probes probes;
        px_probes_init(&probes, sets[s]);
        assert_int_equal(probes.int8.name != NULL, (sets[s] & PHLOX_CPU_AVX2) != 0);
        assert_int_equal(probes.f32.name != NULL, (sets[s] & PHLOX_CPU_AVX2) != 0);
        check_count(&probes.int8);
        check_count(&probes.f32);
    }
}

/* The peak is that of the kernels that run. */
static void named_as_the_kernels(void **state)
{
    (void)state;
    uint64_t sets[8];
    const size_t count = feature_sets(sets);
    for (size_t s = 0; s < count; s++) {
        px_probes probes;
        px_kernels kernels;
        px_probes_init(&probes, sets[s]);
        px_kernels_init(&kernels, sets[s]);
        /* AVX-512 alone has nothing of its own for int8. */
        const bool floats = strcmp(kernels.name, "avx512") == 0;
        const char *const name = floats ? probes.f32.name : probes.int8.name;
        if (name) assert_string_equal(name, kernels.name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_word_is_read),
        cmocka_unit_test(multiply_adds_are_counted),
        cmocka_unit_test(named_as_the_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
