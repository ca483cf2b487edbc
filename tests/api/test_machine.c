/* Measures of the machine and the process: their shape and relations, never a time. */
#include "support.h"

#include <phlox/tools.h>

enum { SMALL = 8 << 20 }; /* for the caches, but quick */

static void machine(void **state)
{
    (void)state;
    phlox_error error;
    phlox_machine one, two;
    MUST(phlox_measure_machine(1, 0, SMALL, &one, &error));
    MUST(phlox_measure_machine(2, ~UINT64_C(0), SMALL, &two, &error));
    assert_true(one.cores >= 1 && one.threads == 1 && two.threads == 2);
    assert_true(one.read > 0 && two.read > 0);
    if (phlox_cpu_features() & PHLOX_CPU_AVX2) {
        assert_true(one.int8_kernels[0] && one.f32_kernels[0]);
        assert_true(one.int8_core > 0 && one.int8 > 0 && one.f32_core > 0 && one.f32 > 0);
    }
    /* Without a vector unit there is no peak, and no zero that looks like one. */
    assert_string_equal(two.int8_kernels, "");
    assert_string_equal(two.f32_kernels, "");
    assert_true(two.int8_core == 0 && two.int8 == 0 && two.f32_core == 0 && two.f32 == 0);
    MUST_FAIL(phlox_measure_machine(-1, 0, SMALL, &one, &error), PHLOX_ERROR_ARGUMENT, "-1");
    MUST_FAIL(phlox_measure_machine(1025, 0, SMALL, &one, &error), PHLOX_ERROR_ARGUMENT, "1025");
}

static void cpu_name(void **state)
{
    (void)state;
    char whole[64], cut[5] = "....";
    phlox_cpu_name(whole, sizeof whole);
    assert_true(strlen(whole) > 4 && whole[0] != ' ');
    phlox_cpu_name(cut, sizeof cut);
    assert_memory_equal(cut, whole, 4);
    assert_int_equal(cut[4], 0);
}

static void process_memory(void **state)
{
    (void)state;
    phlox_process_memory memory;
    if (!phlox_get_process_memory(&memory)) skip();
    assert_true(memory.peak > 0 && memory.mapped > 0 && memory.anonymous > 0);
    phlox_reset_peak_memory();
    assert_true(phlox_get_process_memory(&memory) && memory.peak > 0);
}

static void energy(void **state)
{
    (void)state;
    char root[TEST_PATH], path[TEST_PATH];
    phlox_energy_meter *meter = NULL;
    phlox_error error;
    double joules = -1;
    test_directory(root);
    MUST_FAIL(phlox_energy_meter_open(root, &meter, &error), PHLOX_ERROR_NOT_FOUND, root);
    assert_null(meter);
    mkdir(test_path(path, "%s/intel-rapl:0", root), 0777);
    test_write_text(path, "name", "package-0\n");
    test_write_text(path, "energy_uj", "1000000\n");
    test_write_text(path, "max_energy_range_uj", "262143328850\n");
    MUST(phlox_energy_meter_open(root, &meter, &error));
    test_write_text(path, "energy_uj", "3500000\n");
    MUST(phlox_energy_meter_read(meter, &joules, &error));
    assert_true(joules == 2.5);
    phlox_energy_meter_close(&meter);
    assert_null(meter);
    phlox_energy_meter_close(&meter);
    phlox_energy_meter_close(NULL);
    test_remove(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine),
        cmocka_unit_test(cpu_name),
        cmocka_unit_test(process_memory),
        cmocka_unit_test(energy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
