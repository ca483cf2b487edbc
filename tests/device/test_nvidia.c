/* The source of NVIDIA GPUs over fake_nvml.c, in place of the driver's library. */
#include "device/sysfs.h"

static const char library[] = "usr/lib/libnvidia-ml.so.1";

static px_meter *open_machine(const char *root, const char *nvml)
{
    px_meter *meter = NULL;
    phlox_error error;
    sysfs_write(root, "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86");
    sysfs_link(root, library, nvml);
    MUST(px_meter_open(root, 0, 1, &meter, &error));
    return meter;
}

static void set(const char *name, const char *value)
{
    assert_int_equal(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

static int setup(void **state)
{
    set("FAKE_NVML_BUSY", "0");
    set("FAKE_NVML_ENERGY", "1000000");
    set("FAKE_NVML_ERROR", NULL);
    set("FAKE_NVML_INIT", NULL);
    return sysfs_setup(state);
}

static void whole_library(void **state)
{
    px_meter *const meter = open_machine(*state, FAKE_NVML);
    set("FAKE_NVML_BUSY", "87");
    set("FAKE_NVML_ENERGY", "1180500");
    px_meter_sample(meter, 3, false);
    const phlox_unit_reading *const gpu = sysfs_unit(meter, "GPU.0");
    assert_string_equal(gpu->full_name, "NVIDIA GeForce RTX 4070");
    assert_string_equal(gpu->vendor, "NVIDIA");
    assert_string_equal(gpu->pci, "0000:01:00.0");
    assert_int_equal(gpu->scope, PHLOX_SCOPE_MACHINE);
    assert_false(gpu->energy_in_cpu);
    static const double wanted[SYSFS_NUMBERS] = {0.87, 2475e6, 3105e6, 3e9, 12e9, 95.5, 180.5, 63};
    double numbers[SYSFS_NUMBERS];
    sysfs_numbers(gpu, numbers);
    for (size_t i = 0; i < SYSFS_NUMBERS; i++)
        if (!(fabs(numbers[i] - wanted[i]) <= 1e-9 * wanted[i]))
            fail_msg("%s is %g, not %g", sysfs_names[i], numbers[i], wanted[i]);

    /* The other one is too old to tell anything. */
    const phlox_unit_reading *const old = sysfs_unit(meter, "GPU.1");
    assert_string_equal(old->pci, "0000:c1:00.0");
    sysfs_numbers(old, numbers);
    for (size_t i = 0; i < SYSFS_NUMBERS; i++) assert_true(isnan(numbers[i]));
    assert_non_null(strstr(old->absent, "Not Supported"));
    px_meter_close(meter);
}

/* A counter of energy that begins again, as after the driver was loaded anew: power goes on. */
static void energy_begins_again(void **state)
{
    px_meter *const meter = open_machine(*state, FAKE_NVML);
    set("FAKE_NVML_ENERGY", "5");
    px_meter_sample(meter, 2, false);
    assert_true(fabs(sysfs_unit(meter, "GPU.0")->joules - 95.5) < 1e-9);
    set("FAKE_NVML_ENERGY", "2005");
    px_meter_sample(meter, 3, false);
    assert_true(fabs(sysfs_unit(meter, "GPU.0")->joules - 97.5) < 1e-9);
    px_meter_close(meter);
}

static void old_library(void **state)
{
    px_meter *const meter = open_machine(*state, FAKE_NVML_OLD);
    set("FAKE_NVML_BUSY", "50");
    px_meter_sample(meter, 3, false);
    const phlox_unit_reading *const gpu = sysfs_unit(meter, "GPU.0");
    assert_true(gpu->utilisation == 0.5);
    assert_true(gpu->memory_used == 3.5e9 && gpu->memory_total == 12e9);
    assert_true(isnan(gpu->watts) && isnan(gpu->joules) && isnan(gpu->clock) && isnan(gpu->celsius));
    px_meter_close(meter);
}

static void lost_gpu(void **state)
{
    px_meter *const meter = open_machine(*state, FAKE_NVML);
    set("FAKE_NVML_ERROR", "15");
    px_meter_sample(meter, 3, false);
    const phlox_unit_reading *const gpu = sysfs_unit(meter, "GPU.0");
    assert_true(isnan(gpu->utilisation) && isnan(gpu->memory_used) && isnan(gpu->watts));
    assert_non_null(strstr(gpu->absent, "GPU is lost"));
    px_meter_close(meter);
}

static void sleeping_gpu(void **state)
{
    sysfs_write(*state, "sys/bus/pci/devices/0000:01:00.0/power_state", "D3cold");
    set("FAKE_NVML_BUSY", "50");
    px_meter *const meter = open_machine(*state, FAKE_NVML);
    px_meter_sample(meter, 3, false);
    const phlox_unit_reading *const gpu = sysfs_unit(meter, "GPU.0");
    assert_true(gpu->is_asleep && gpu->utilisation == 0 && isnan(gpu->memory_used));
    px_meter_close(meter);
}

/* No library, one that is none, one without NVML's functions, one that cannot start. */
static void no_library(void **state)
{
    const char *const root = *state;
    static const char *const libraries[] = {"/nowhere/libnvidia-ml.so.1", "/proc/self/stat", "libm.so.6",
                                            FAKE_NVML};
    set("FAKE_NVML_INIT", "9");
    for (size_t i = 0; i < PX_COUNT(libraries); i++) {
        px_meter *const meter = open_machine(root, libraries[i]);
        size_t count = 7;
        px_meter_readings(meter, &count);
        assert_int_equal(count, 0);
        px_meter_close(meter);
    }
    /* Without the driver the library is not opened. */
    set("FAKE_NVML_INIT", NULL);
    px_meter *meter = open_machine(root, FAKE_NVML);
    size_t count = 0;
    px_meter_readings(meter, &count);
    assert_int_equal(count, 2);
    px_meter_close(meter);
    sysfs_remove(root, "proc/driver");
    phlox_error error;
    MUST(px_meter_open(root, 0, 1, &meter, &error));
    px_meter_readings(meter, &count);
    assert_int_equal(count, 0);
    px_meter_close(meter);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, sysfs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(whole_library), TEST(energy_begins_again), TEST(old_library),
        TEST(lost_gpu),      TEST(sleeping_gpu),        TEST(no_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
