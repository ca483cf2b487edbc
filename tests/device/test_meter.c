/* Sources of measurements over recorded trees of /proc and /sys: what the recordings say the units did is
 * what is read, and what cannot be read is absent with a reason. */
#include "device/sysfs.h"

static px_meter *open_meter(const char *root, int64_t pid)
{
    px_meter *meter = NULL;
    phlox_error error;
    MUST(px_meter_open(root, pid, 1, &meter, &error));
    return meter;
}

static const char *const recordings[] = {"meteor-lake-6.11", "meteor-lake-6.15", "meteor-lake-freq",
                                         "lunar-lake", "arc", "ryzen-ai"};

static const char npu_directory[] = "sys/devices/pci0000:00/0000:00:0b.0";

static void write_in(const char *root, const char *directory, const char *file, const char *text)
{
    char path[TEST_PATH];
    sysfs_write(root, test_path(path, "%s/%s", directory, file), text);
}

/* ---- what the recordings say ----------------------------------------------------------------- */

static void recorded_machines(void **state)
{
    for (size_t i = 0; i < PX_COUNT(recordings); i++) {
        char root[TEST_PATH];
        test_path(root, "%s/%s", (char *)*state, recordings[i]);
        sysfs_play(root, recordings[i], 0);
        px_meter *const meter = open_meter(root, 0);
        sysfs_play(root, recordings[i], 1);
        px_meter_sample(meter, 3, false);
        sysfs_check(meter, recordings[i]);
        px_meter_close(meter);
    }
}

static void names_and_cores(void **state)
{
    const char *const root = *state;
    sysfs_play(root, "arc", 0);
    px_meter *const meter = open_meter(root, 0);
    sysfs_play(root, "arc", 1);
    px_meter_sample(meter, 3, false);
    size_t count;
    const phlox_unit_reading *const units = px_meter_readings(meter, &count);
    assert_int_equal(count, 3);
    assert_string_equal(units[0].name, "CPU");
    assert_string_equal(units[0].full_name, "Intel(R) Core(TM) i7-14700K");
    assert_string_equal(units[1].name, "GPU.0");
    assert_string_equal(units[1].full_name, "Intel GPU (8086:a780)");
    assert_string_equal(units[1].driver, "i915");
    assert_string_equal(units[2].name, "GPU.1");
    assert_string_equal(units[2].vendor, "Intel");
    assert_string_equal(units[2].driver, "xe");
    const float *const cores = px_meter_core_readings(meter, &count);
    assert_int_equal(count, 2);
    assert_float_equal(cores[0], 0.5, 1e-6);
    assert_float_equal(cores[1], 0.5, 1e-6);
    px_meter_close(meter);
    px_meter_close(NULL);
}

/* Of process 100 alone: render 0.25, and 0.9 of one of two video engines. */
static void one_process(void **state)
{
    const char *const root = *state;
    sysfs_play(root, "meteor-lake-6.15", 0);
    px_meter *const meter = open_meter(root, 100);
    sysfs_play(root, "meteor-lake-6.15", 1);
    px_meter_sample(meter, 3, false);
    const phlox_unit_reading *const gpu = sysfs_unit(meter, "GPU.0");
    assert_int_equal(gpu->scope, PHLOX_SCOPE_PROCESS);
    assert_true(fabs(gpu->utilisation - 0.45) < 1e-6);
    assert_true(gpu->memory_used == 3000.0 * 1024);
    assert_int_equal(sysfs_unit(meter, "NPU")->scope, PHLOX_SCOPE_MACHINE);
    px_meter_close(meter);
}

/* Means over several samples; joules go on from sample to sample. */
static void adds_up(void **state)
{
    const char *const root = *state;
    sysfs_play(root, "meteor-lake-6.11", 0);
    px_meter *const meter = open_meter(root, 0);
    sysfs_play(root, "meteor-lake-6.11", 1);
    px_meter_sample(meter, 3, false);
    px_meter_sample(meter, 3, false); /* no time has passed: nothing happens */
    px_meter_sample(meter, 7, false);
    const phlox_unit_reading *const npu = sysfs_unit(meter, "NPU");
    assert_true(npu->utilisation == 0);
    assert_true(fabs(npu->busy_seconds - 0.84) < 1e-9);
    assert_true(npu->measured_seconds == 6);
    const phlox_unit_reading *const cpu = sysfs_unit(meter, "CPU");
    assert_true(cpu->watts == 0);
    assert_true(fabs(cpu->joules - 56) < 1e-9);
    assert_true(isnan(cpu->utilisation)); /* not a tick has passed */
    assert_true(fabs(cpu->busy_seconds - 1) < 1e-9);
    px_meter_close(meter);
}

/* The driver of the NPU asks for a second between two reads; the last read of all is taken. */
static void npu_is_read_seldom(void **state)
{
    const char *const root = *state;
    sysfs_play(root, "meteor-lake-6.11", 0);
    px_meter *const meter = open_meter(root, 0);
    const phlox_unit_reading *const npu = sysfs_unit(meter, "NPU");
    write_in(root, npu_directory, "npu_busy_time_us", "123556789"); /* 0.1 s more */
    px_meter_sample(meter, 1.5, false);
    assert_true(fabs(npu->utilisation - 0.2) < 1e-9);
    write_in(root, npu_directory, "npu_busy_time_us", "123656789");
    px_meter_sample(meter, 2, false);
    assert_true(fabs(npu->utilisation - 0.2) < 1e-9);
    assert_true(fabs(npu->busy_seconds - 0.1) < 1e-9 && npu->measured_seconds == 0.5);
    px_meter_sample(meter, 2.5, false);
    assert_true(fabs(npu->utilisation - 0.1) < 1e-9);
    write_in(root, npu_directory, "npu_busy_time_us", "123756789");
    px_meter_sample(meter, 2.75, true);
    assert_true(fabs(npu->utilisation - 0.4) < 1e-9);
    assert_true(fabs(npu->busy_seconds - 0.3) < 1e-9 && npu->measured_seconds == 1.75);
    px_meter_close(meter);
}

/* ---- what is not there ----------------------------------------------------------------------- */

static void nothing_there(void **state)
{
    size_t count = 7;
    px_meter *const meter = open_meter(*state, 0);
    px_meter_readings(meter, &count);
    assert_int_equal(count, 0);
    px_meter_sample(meter, 2, true);
    px_meter_core_readings(meter, &count);
    assert_int_equal(count, 0);
    px_meter_close(meter);
}

/* No number is there, and the reason has the word. */
static void is_absent(const px_meter *meter, const char *unit, const char *word)
{
    const phlox_unit_reading *const r = sysfs_unit(meter, unit);
    assert_true(isnan(r->utilisation) && isnan(r->memory_used) && isnan(r->watts));
    if (!strstr(r->absent, word)) fail_msg("%s: \"%s\" lacks \"%s\"", unit, r->absent, word);
}

static void devices_vanish(void **state)
{
    static const char *const machines[] = {"meteor-lake-6.15", "arc", "ryzen-ai"};
    for (size_t m = 0; m < PX_COUNT(machines); m++) {
        char root[TEST_PATH];
        test_path(root, "%s/%s", (char *)*state, machines[m]);
        sysfs_play(root, machines[m], 0);
        px_meter *const meter = open_meter(root, 0);
        sysfs_remove(root, "sys/devices");
        sysfs_remove(root, "proc");
        px_meter_sample(meter, 3, false);
        size_t count;
        const phlox_unit_reading *const units = px_meter_readings(meter, &count);
        assert_true(count == 3 || count == 4);
        for (size_t i = 1; i < count; i++) is_absent(meter, units[i].name, "gone");
        assert_true(isnan(units[0].utilisation));
        assert_non_null(strstr(units[0].absent, "proc/stat"));
        /* They come back: the first sample is only a beginning. */
        sysfs_play(root, machines[m], 0);
        px_meter_sample(meter, 9, false);
        for (size_t i = 0; i < count; i++)
            assert_true(isnan(units[i].utilisation) || strcmp(units[i].driver, "amdgpu") == 0);
        sysfs_play(root, machines[m], 1);
        px_meter_sample(meter, 11, false);
        for (size_t i = 0; i < count; i++) assert_true(units[i].utilisation > 0.1);
        px_meter_close(meter);
    }
}

/* A file that may not be read, in several ways that hold for root too. */
static void unreadable_files(void **state)
{
    static const char *const targets[] = {"npu_busy_time_us" /* a circle */, "/proc/self/mem" /* EIO */,
                                          "/tmp" /* a directory */};
    for (size_t i = 0; i < PX_COUNT(targets); i++) {
        char root[TEST_PATH], path[TEST_PATH];
        test_path(root, "%s/%zu", (char *)*state, i);
        sysfs_play(root, "meteor-lake-6.15", 0);
        px_meter *const meter = open_meter(root, 0);
        sysfs_link(root, test_path(path, "%s/npu_busy_time_us", npu_directory), targets[i]);
        px_meter_sample(meter, 3, false);
        const phlox_unit_reading *const npu = sysfs_unit(meter, "NPU");
        assert_true(isnan(npu->utilisation));
        assert_true(npu->memory_used == 0); /* the rest stays */
        assert_non_null(strstr(npu->absent, "npu_busy_time_us: cannot"));
        px_meter_close(meter);
    }
}

static void forbidden_files(void **state)
{
    const char *const root = *state;
    char path[TEST_PATH];
    sysfs_play(root, "meteor-lake-6.15", 0);
    test_path(path, "%s/sys/class/powercap/intel-rapl:0/energy_uj", root);
    if (chmod(path, 0) != 0 || access(path, R_OK) == 0) skip(); /* root reads everything */
    px_meter *const meter = open_meter(root, 0);
    assert_int_equal(chmod(path, 0600), 0);
    sysfs_play(root, "meteor-lake-6.15", 1);
    assert_int_equal(chmod(path, 0), 0);
    px_meter_sample(meter, 3, false);
    const phlox_unit_reading *const cpu = sysfs_unit(meter, "CPU");
    assert_true(isnan(cpu->watts) && isnan(cpu->joules));
    assert_true(cpu->utilisation == 0.5);
    assert_non_null(strstr(cpu->absent, "root only"));
    px_meter_close(meter);
}

/* The driver of 6.10 has no counter, and no process has the GPU open. */
static void old_drivers(void **state)
{
    const char *const root = *state;
    char path[TEST_PATH];
    sysfs_play(root, "meteor-lake-6.11", 0);
    sysfs_remove(root, test_path(path, "%s/npu_busy_time_us", npu_directory));
    sysfs_remove(root, "proc/100");
    sysfs_remove(root, "proc/2345");
    px_meter *const meter = open_meter(root, 0);
    px_meter_sample(meter, 3, false);
    assert_true(isnan(sysfs_unit(meter, "NPU")->utilisation));
    assert_non_null(strstr(sysfs_unit(meter, "NPU")->absent, "6.11"));
    assert_true(isnan(sysfs_unit(meter, "GPU.0")->utilisation));
    assert_non_null(strstr(sysfs_unit(meter, "GPU.0")->absent, "no process"));
    px_meter_close(meter);
}

/* Whoever had the GPU open has gone: it rests, and its engines are known. */
static void clients_end(void **state)
{
    const char *const root = *state;
    sysfs_play(root, "meteor-lake-6.11", 0);
    px_meter *const meter = open_meter(root, 0);
    sysfs_remove(root, "proc/100");
    sysfs_remove(root, "proc/2345");
    px_meter_sample(meter, 3, false);
    assert_true(sysfs_unit(meter, "GPU.0")->utilisation == 0);
    assert_true(isnan(sysfs_unit(meter, "GPU.0")->memory_used));
    px_meter_close(meter);
}

/* A counter that is less than before says nothing; from there it counts again. */
static void counters_go_backwards(void **state)
{
    const char *const root = *state;
    sysfs_play(root, "arc", 0);
    sysfs_play(root, "meteor-lake-6.11", 0);
    px_meter *const meter = open_meter(root, 0);
    write_in(root, npu_directory, "npu_busy_time_us", "1000");
    static const char energy[] = "sys/devices/pci0000:00/0000:03:00.0/hwmon/hwmon5/energy1_input";
    sysfs_write(root, energy, "7");
    static const char file[] = "drm-driver:\txe\ndrm-client-id:\t3\ndrm-pdev:\t0000:03:00.0\n"
                               "drm-cycles-ccs:\t%d\ndrm-total-cycles-ccs:\t%d\n";
    char text[256];
    snprintf(text, sizeof text, file, 1, 2);
    sysfs_write(root, "proc/4321/fdinfo/20", text);
    sysfs_write(root, "proc/stat", "cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0");
    px_meter_sample(meter, 3, false);
    assert_true(isnan(sysfs_unit(meter, "NPU")->utilisation));
    assert_true(isnan(sysfs_unit(meter, "CPU")->utilisation));
    const phlox_unit_reading *const gpu = sysfs_unit(meter, "GPU.1");
    assert_true(isnan(gpu->utilisation) && isnan(gpu->watts) && isnan(gpu->joules));

    write_in(root, npu_directory, "npu_busy_time_us", "1001000");
    sysfs_write(root, energy, "20000007");
    snprintf(text, sizeof text, file, 31, 102);
    sysfs_write(root, "proc/4321/fdinfo/20", text);
    sysfs_write(root, "proc/stat", "cpu  2 1 1 4 0 1 1 1 0 0\ncpu0 2 1 1 4 0 1 1 1 0 0");
    px_meter_sample(meter, 5, false);
    assert_true(sysfs_unit(meter, "NPU")->utilisation == 0.5);
    assert_true(fabs(sysfs_unit(meter, "GPU.1")->utilisation - 0.3) < 1e-9);
    assert_true(fabs(sysfs_unit(meter, "GPU.1")->joules - 20) < 1e-9);
    /* Waiting went back by one, and idling forward by three. */
    assert_true(sysfs_unit(meter, "CPU")->utilisation == 0.25);
    px_meter_close(meter);
}

/* A device that is switched off is not asked: what would be read is no number, and nobody complains. */
static void sleeping_devices(void **state)
{
    const char *const root = *state;
    sysfs_play(root, "arc", 0);
    static const char arc[] = "sys/devices/pci0000:00/0000:03:00.0";
    px_meter *const meter = open_meter(root, 0);
    write_in(root, arc, "power_state", "D3cold");
    write_in(root, arc, "hwmon/hwmon5/energy1_input", "woken");
    write_in(root, arc, "tile0/gt0/freq0/act_freq", "woken");
    px_meter_sample(meter, 3, false);
    const phlox_unit_reading *const gpu = sysfs_unit(meter, "GPU.1");
    assert_true(gpu->is_asleep && gpu->utilisation == 0 && isnan(gpu->clock) && isnan(gpu->watts));
    assert_string_equal(gpu->absent, "");
    write_in(root, arc, "power_state", "D0");
    px_meter_sample(meter, 5, false);
    assert_false(gpu->is_asleep);
    assert_non_null(strstr(gpu->absent, "woken"));
    px_meter_close(meter);
}

/* What was used in ten minutes of sleep is not of the second after it, by a counter of the card or by RAPL. */
static void power_after_sleep(void **state)
{
    static const struct {
        const char *machine, *unit, *device, *counter;
    } cases[] = {
        {"arc", "GPU.1", "sys/devices/pci0000:00/0000:03:00.0",
         "sys/devices/pci0000:00/0000:03:00.0/hwmon/hwmon5/energy1_input"},
        {"meteor-lake-6.15", "GPU.0", "sys/devices/pci0000:00/0000:00:02.0",
         "sys/class/powercap/intel-rapl:0:1/energy_uj"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char root[TEST_PATH];
        test_path(root, "%s/%zu", (char *)*state, i);
        sysfs_play(root, cases[i].machine, 0);
        px_meter *const meter = open_meter(root, 0);
        const phlox_unit_reading *const gpu = sysfs_unit(meter, cases[i].unit);
        write_in(root, cases[i].device, "power_state", "D0");
        sysfs_write(root, cases[i].counter, "10000000000");
        px_meter_sample(meter, 2, false);
        sysfs_write(root, cases[i].counter, "10005000000");
        px_meter_sample(meter, 3, false);
        assert_true(fabs(gpu->watts - 5) < 1e-6);
        const double before = gpu->joules;
        write_in(root, cases[i].device, "power_state", "D3hot");
        px_meter_sample(meter, 4, false);
        px_meter_sample(meter, 603, false);
        assert_true(gpu->is_asleep && isnan(gpu->watts));
        write_in(root, cases[i].device, "power_state", "D0");
        sysfs_write(root, cases[i].counter, "13005000000");
        px_meter_sample(meter, 604, false);
        assert_true(!gpu->is_asleep && isnan(gpu->watts));
        px_meter_sample(meter, 605, false);
        assert_true(gpu->watts == 0);
        sysfs_write(root, cases[i].counter, "13007000000");
        px_meter_sample(meter, 606, false);
        assert_true(fabs(gpu->watts - 2) < 1e-6);
        assert_true(fabs(gpu->joules - before - 2) < 1e-6);
        px_meter_close(meter);
    }
}

/* As many hardware threads as are kept, with counters as long as they get. */
static void very_many_cores(void **state)
{
    enum { CORES = 1024 };
    const char *const root = *state;
    sysfs_play(root, "meteor-lake-6.11", 0);
    char *const text = malloc(CORES * 256 + 256), *at = text;
    assert_non_null(text);
    at += sprintf(at, "cpu  1 1 1 1 1 1 1 1 0 0\n");
    for (int i = 0; i < CORES; i++)
        at += sprintf(at, "cpu%d 1000000000 1000000000 1000000000 1000000000 1000000000 1000000000 1000000000 "
                      "1000000000 1000000000 1000000000\n", i);
    sysfs_write(root, "proc/stat", text);
    px_meter *const meter = open_meter(root, 0);
    px_meter_sample(meter, 3, false);
    size_t count;
    px_meter_core_readings(meter, &count);
    assert_int_equal(count, CORES);
    px_meter_close(meter);
    free(text);
}

static void more_units_than_fit(void **state)
{
    const char *const root = *state;
    char path[TEST_PATH], text[256];
    for (int i = 0; i < 40; i++) {
        snprintf(text, sizeof text, "DRIVER=%s\nPCI_SLOT_NAME=0000:%02x:00.0", i % 2 ? "amdgpu" : "xe", i);
        sysfs_write(root, test_path(path, "sys/class/drm/card%d/device/uevent", i), text);
        sysfs_write(root, test_path(path, "sys/class/accel/accel%d/device/uevent", i),
                    i % 2 ? "DRIVER=amdxdna" : "DRIVER=intel_vpu");
    }
    px_meter *const meter = open_meter(root, 0);
    px_meter_sample(meter, 3, false);
    size_t count;
    const phlox_unit_reading *const units = px_meter_readings(meter, &count);
    assert_int_equal(count, PHLOX_MOST_UNITS);
    assert_string_equal(units[15].name, "GPU.15");
    px_meter_close(meter);
}

/* ---- hostile contents -------------------------------------------------------------------------- */

static char endless[200000];
static const char *const contents[] = {
    "", "\n\n\n", "-1", "1e400", "18446744073709551615", "18446744073709551616", "0x7f", "nan", "12 34",
    "99999999999999999999999999999999999999999999999999", "\xff\xfe\x80", "cpu cpu cpu", ":::::", endless,
    "cpu  18446744073709551615 18446744073709551615 1 1 1 1 1 1\ncpu99999999999 1 1 1 1\ncpu-1 1 1 1 1\n",
    "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n",
    "drm-driver: xe\ndrm-client-id: 1\ndrm-pdev: 0000:00:02.0\ndrm-cycles-ccs: 1\n"
    "drm-engine-capacity-ccs: 0\ndrm-total-vram0: 18446744073709551615 MiB\n",
    "DRIVER=i915\nDRIVER=\nPCI_ID=\nPCI_SLOT_NAME=0000000000000000000000000000000000000000000",
    "0: 4294967296Mhz *\n1: -1Mhz\n: *\n",
};

struct hostile {
    const char *root, *recording;
    size_t files;
};

static void check_plausible(const px_meter *meter)
{
    size_t count;
    const phlox_unit_reading *const units = px_meter_readings(meter, &count);
    for (size_t i = 0; i < count; i++) {
        double numbers[SYSFS_NUMBERS];
        sysfs_numbers(&units[i], numbers);
        assert_true(isnan(numbers[0]) || (numbers[0] >= 0 && numbers[0] <= 1));
        for (size_t n = 0; n < SYSFS_NUMBERS; n++) assert_false(isinf(numbers[n]));
        assert_non_null(memchr(units[i].absent, 0, sizeof units[i].absent));
    }
}

static void break_file(void *user, char *line)
{
    struct hostile *const hostile = user;
    *strchr(line, ' ') = 0;
    if (line[strlen(line) + 1] != '=') return;
    px_meter *const before = open_meter(hostile->root, 0);
    for (size_t i = 0; i < PX_COUNT(contents); i++) {
        sysfs_write(hostile->root, line, contents[i]);
        px_meter_sample(before, 3 + (double)i, true);
        check_plausible(before);
        px_meter *const after = open_meter(hostile->root, 4321);
        px_meter_sample(after, 3, true);
        check_plausible(after);
        px_meter_close(after);
    }
    px_meter_close(before);
    hostile->files++;
    sysfs_play(hostile->root, hostile->recording, 0);
}

static void hostile_contents(void **state)
{
    static const char *const broken[] = {"lunar-lake", "ryzen-ai"};
    memset(endless, '7', sizeof endless - 1);
    for (size_t i = 0; i < PX_COUNT(broken); i++) {
        char root[TEST_PATH];
        struct hostile hostile = {test_path(root, "%s/%zu", (char *)*state, i), broken[i], 0};
        sysfs_play(root, broken[i], 0);
        sysfs_lines(broken[i], "[0]", break_file, &hostile);
        assert_true(hostile.files > 20);
    }
}

/* ---- this machine ------------------------------------------------------------------------------ */

static void this_machine(void **state)
{
    (void)state;
    if (!px_is_file("/proc/stat")) skip();
    phlox_meter *meter = NULL;
    phlox_error error;
    MUST(phlox_meter_open(NULL, px_process_id(), &meter, &error));
    /* A tick is a hundredth of a second. */
    const double end = px_seconds() + 0.1;
    volatile unsigned work = 0;
    while (px_seconds() < end) work++;
    size_t count;
    const phlox_unit_reading *const units = phlox_meter_sample(meter, &count);
    assert_true(count >= 1);
    assert_string_equal(units[0].name, "CPU");
    assert_true(units[0].utilisation > 0 && units[0].utilisation <= 1);
    assert_true(units[0].memory_used > 0 && units[0].memory_used < units[0].memory_total);
    const float *const cores = phlox_meter_cores(meter, &count);
    assert_true(count >= 1);
    for (size_t i = 0; i < count; i++) assert_true(isnan(cores[i]) || (cores[i] >= 0 && cores[i] <= 1));
    phlox_meter_close(&meter);
    assert_null(meter);
    phlox_meter_close(&meter);
    phlox_meter_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYSFS_TEST(recorded_machines),     SYSFS_TEST(names_and_cores),   SYSFS_TEST(one_process),
        SYSFS_TEST(adds_up),               SYSFS_TEST(npu_is_read_seldom), SYSFS_TEST(nothing_there),
        SYSFS_TEST(devices_vanish),        SYSFS_TEST(unreadable_files),  SYSFS_TEST(forbidden_files),
        SYSFS_TEST(old_drivers),           SYSFS_TEST(clients_end),       SYSFS_TEST(counters_go_backwards),
        SYSFS_TEST(sleeping_devices),      SYSFS_TEST(power_after_sleep),
        SYSFS_TEST(very_many_cores),       SYSFS_TEST(more_units_than_fit), SYSFS_TEST(hostile_contents),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
