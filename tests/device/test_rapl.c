/* Energy counters, over a tree like that of /sys/class/powercap (Documentation/power/powercap of the
 * kernel): one directory a zone, `name`, `energy_uj` and `max_energy_range_uj` in microjoules. The tree is
 * made here because colons in names of files keep some systems from checking it out. */
#include "support.h"

#include "device/meter/rapl.h"

static void write_count(const char *root, const char *zone, const char *file, const char *value)
{
    char directory[TEST_PATH], path[TEST_PATH];
    mkdir(test_path(directory, "%s/%s", root, zone), 0777);
    FILE *out = fopen(test_path(path, "%s/%s", directory, file), "w");
    assert_non_null(out);
    fprintf(out, "%s\n", value);
    assert_int_equal(fclose(out), 0);
}

static void write_zone(const char *root, const char *zone, const char *name, const char *energy,
                       const char *range)
{
    write_count(root, zone, "name", name);
    write_count(root, zone, "energy_uj", energy);
    write_count(root, zone, "max_energy_range_uj", range);
}

static double joules_of(px_rapl *rapl)
{
    double joules = -1;
    phlox_error error;
    MUST(px_rapl_read(rapl, &joules, &error));
    return joules;
}

/* What a laptop with one package has: everything but package and memory would count twice. */
static void adds_packages_and_memory(void **state)
{
    const char *const root = *state;
    char path[TEST_PATH];
    mkdir(test_path(path, "%s/intel-rapl", root), 0777); /* the control type: no counter */
    write_count(root, "intel-rapl", "enabled", "1");
    write_zone(root, "intel-rapl:0", "package-0", "262143328850", "262143328850");
    write_zone(root, "intel-rapl:0:0", "core", "5000000", "262143328850");
    write_zone(root, "intel-rapl:0:1", "uncore", "5000000", "262143328850");
    write_zone(root, "intel-rapl:0:2", "dram", "1000000", "65712999613");
    write_zone(root, "intel-rapl:1", "psys", "7000000", "262143328850");
    write_zone(root, "intel-rapl-mmio:0", "package-0", "262143328850", "262143328850");
    px_rapl *rapl = NULL;
    phlox_error error;
    MUST(px_rapl_open(root, &rapl, &error));
    assert_true(joules_of(rapl) == 0);
    write_count(root, "intel-rapl:0:2", "energy_uj", "1250000");
    assert_true(joules_of(rapl) == 0.25);
    static const char *const others[] = {"intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:1",
                                         "intel-rapl-mmio:0"};
    for (size_t i = 0; i < PX_COUNT(others); i++)
        write_count(root, others[i], "energy_uj", "9000000");
    assert_true(joules_of(rapl) == 0.25);
    /* The package's counter was at its end and begins again. */
    write_count(root, "intel-rapl:0", "energy_uj", "3000000");
    assert_true(joules_of(rapl) == 3.25);
    write_count(root, "intel-rapl:0", "energy_uj", "13000000");
    assert_true(joules_of(rapl) == 13.25);
    px_rapl_close(rapl);
    px_rapl_close(NULL);
}

/* Graphics inside the package, as on processors of Intel for laptops and desktops. */
static void graphics_alone(void **state)
{
    const char *const root = *state;
    px_rapl *rapl = NULL;
    phlox_error error;
    write_zone(root, "intel-rapl:0", "package-0", "0", "262143328850");
    write_zone(root, "intel-rapl:0:0", "core", "0", "262143328850");
    write_zone(root, "intel-rapl:0:2", "dram", "0", "65712999613");
    MUST_FAIL(px_rapl_open_graphics(root, &rapl, &error), PHLOX_ERROR_NOT_FOUND, "graphics");
    write_zone(root, "intel-rapl:0:1", "uncore", "262143328850", "262143328850");
    MUST(px_rapl_open_graphics(root, &rapl, &error));
    static const char *const others[] = {"intel-rapl:0", "intel-rapl:0:0", "intel-rapl:0:2"};
    for (size_t i = 0; i < PX_COUNT(others); i++)
        write_count(root, others[i], "energy_uj", "9000000");
    write_count(root, "intel-rapl:0:1", "energy_uj", "750000");
    assert_true(joules_of(rapl) == 0.75);
    px_rapl_close(rapl);
}

static void begins_again_in_the_middle(void **state)
{
    const char *const root = *state;
    write_zone(root, "intel-rapl:0", "package-0", "900000", "1000000");
    px_rapl *rapl = NULL;
    phlox_error error;
    MUST(px_rapl_open(root, &rapl, &error));
    static const char *const values[] = {"400000", "300000", "1000000", "0", "0", "999999"};
    static const double sums[] = {0.5, 1.4, 2.1, 2.1, 2.1, 3.099999};
    for (size_t i = 0; i < PX_COUNT(values); i++) {
        write_count(root, "intel-rapl:0", "energy_uj", values[i]);
        assert_true(fabs(joules_of(rapl) - sums[i]) < 1e-9);
    }
    px_rapl_close(rapl);
}

/* Two sockets, one of two dies, and a gap in the numbers. */
static void several_packages(void **state)
{
    const char *const root = *state;
    static const char *const zones[] = {"intel-rapl:0", "intel-rapl:1", "intel-rapl:3"};
    static const char *const names[] = {"package-0-die-0", "package-0-die-1", "package-1"};
    for (size_t i = 0; i < PX_COUNT(zones); i++)
        write_zone(root, zones[i], names[i], "0", "262143328850");
    write_zone(root, "intel-rapl:3:0", "dram", "0", "262143328850");
    px_rapl *rapl = NULL;
    phlox_error error;
    MUST(px_rapl_open(root, &rapl, &error));
    for (size_t i = 0; i < PX_COUNT(zones); i++)
        write_count(root, zones[i], "energy_uj", "1000000");
    write_count(root, "intel-rapl:3:0", "energy_uj", "500000");
    assert_true(joules_of(rapl) == 3.5);
    px_rapl_close(rapl);
}

static void absent_or_damaged(void **state)
{
    const char *const root = *state;
    char path[TEST_PATH];
    px_rapl *rapl = NULL;
    phlox_error error;
    MUST_FAIL(px_rapl_open(root, &rapl, &error), PHLOX_ERROR_NOT_FOUND, root);
    MUST_FAIL(px_rapl_open(test_path(path, "%s/absent", root), &rapl, &error),
              PHLOX_ERROR_NOT_FOUND, "absent");
    write_zone(root, "intel-rapl:0", "psys", "0", "1000");
    MUST_FAIL(px_rapl_open(root, &rapl, &error), PHLOX_ERROR_NOT_FOUND, "package");
    write_count(root, "intel-rapl:0", "name", "package-0");
    static const char *const damaged[] = {"", "-1", "x", "12 joules", "0x10", "1.5",
                                          "99999999999999999999999"};
    for (size_t i = 0; i < PX_COUNT(damaged); i++) {
        write_count(root, "intel-rapl:0", "energy_uj", damaged[i]);
        MUST_FAIL(px_rapl_open(root, &rapl, &error), PHLOX_ERROR_FORMAT, "energy_uj");
    }
    write_count(root, "intel-rapl:0", "energy_uj", "5");
    write_count(root, "intel-rapl:0", "max_energy_range_uj", "many");
    MUST_FAIL(px_rapl_open(root, &rapl, &error), PHLOX_ERROR_FORMAT, "max_energy_range_uj");
    write_count(root, "intel-rapl:0", "max_energy_range_uj", "1000");
    MUST(px_rapl_open(root, &rapl, &error));
    test_path(path, "%s/intel-rapl:0/energy_uj", root);
    if (chmod(path, 0) == 0 && access(path, R_OK) != 0) { /* not as root */
        double joules = -1;
        MUST_FAIL(px_rapl_read(rapl, &joules, &error), PHLOX_ERROR_IO, "root only");
        assert_true(joules == -1);
    }
    assert_int_equal(remove(path), 0);
    double joules = -1;
    MUST_FAIL(px_rapl_read(rapl, &joules, &error), PHLOX_ERROR_NOT_FOUND, "energy_uj");
    px_rapl_close(rapl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(adds_packages_and_memory), IN_DIRECTORY(graphics_alone),
        IN_DIRECTORY(begins_again_in_the_middle), IN_DIRECTORY(several_packages),
        IN_DIRECTORY(absent_or_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
