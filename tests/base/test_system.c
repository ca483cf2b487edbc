/* What the system says of itself, over small trees of /proc and /sys. */
#include "support.h"

#include "base/os.h"
#include "base/system.h"

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static int setup(void **state)
{
    char *const root = malloc(TEST_PATH);
    test_directory(root);
    *state = root;
    return 0;
}

static int teardown(void **state)
{
    test_remove(*state);
    free(*state);
    return 0;
}

/* Writes a file and the directories above it. */
static void put(const char *root, const char *name, const char *text)
{
    char path[TEST_PATH];
    test_path(path, "%s%s", root, name);
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
    test_write(path, text, strlen(text));
}

/* ---- files below a root -------------------------------------------------------------------- */

static void lines_and_numbers(void **state)
{
    const char *const root = *state;
    char line[8];
    uint64_t number = 7;
    put(root, "/file", "  word \t\nsecond\n");
    assert_true(px_root_line(root, line, sizeof line, "/%s", "file"));
    assert_string_equal(line, "word");
    put(root, "/file", "123456789");
    assert_true(px_root_line(root, line, sizeof line, "/file"));
    assert_string_equal(line, "1234567");
    assert_true(px_root_number(root, &number, "/file") && number == 123456789);
    put(root, "/file", "0x8086\n");
    assert_true(px_root_number(root, &number, "/file") && number == 0x8086);
    static const char *const wrong[] = {"", "\n", "x", "-1", "99999999999999999999"};
    for (size_t i = 0; i < PX_COUNT(wrong); i++) {
        put(root, "/file", wrong[i]);
        assert_false(px_root_number(root, &number, "/file"));
    }
    assert_int_equal(number, 0x8086);
    assert_false(px_root_line(root, line, sizeof line, "/absent"));
    assert_string_equal(line, "");
    char longer[PX_PATH_SIZE + 8];
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = 0;
    assert_false(px_root_line(root, line, sizeof line, "/%s", longer));
    assert_false(px_root_exists(longer, "/file"));
    assert_true(px_root_exists(root, "/file"));
}

static void printable(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"plain \xc3\xa4\xe2\x82\xac", "plain \xc3\xa4\xe2\x82\xac"}, {"\033[2J\177\t", "?[2J??"},
        {"a\xff\xc3", "a??"}, {"\xc2\x9b" "1m", "??1m"}, {"\xe2\x82", "??"}, {"", ""},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char text[32];
        snprintf(text, sizeof text, "%s", cases[i][0]);
        px_make_printable(text);
        assert_string_equal(text, cases[i][1]);
    }
}

/* ---- the system ---------------------------------------------------------------------------- */

static void names_and_kernels(void **state)
{
    const char *const root = *state;
    px_system system;
    px_system_read(root, &system);
    assert_string_equal(system.name, "");
    assert_false(system.is_wsl || system.is_virtual || system.container[0]);
    assert_true(px_system_has_kernel(&system, 99, 0)); /* unknown */
    put(root, "/etc/os-release", "NAME=x\nID='ubuntu'\nPRETTY_NAME=\"Ubuntu 24.04\"\r\nID_LIKE=debian");
    put(root, "/proc/sys/kernel/osrelease", "6.8.0-45-generic\n");
    px_system_read(root, &system);
    assert_string_equal(system.name, "Ubuntu 24.04");
    assert_string_equal(system.id, "ubuntu");
    assert_string_equal(system.like, " ubuntu debian ");
    assert_true(px_system_has_kernel(&system, 6, 8) && px_system_has_kernel(&system, 5, 19));
    assert_false(px_system_has_kernel(&system, 6, 14) || px_system_has_kernel(&system, 7, 0));
    put(root, "/proc/sys/kernel/osrelease", "5.15.153.1-Microsoft-standard-WSL2\n");
    put(root, "/run/systemd/container", "lxc\n");
    put(root, "/sys/class/dmi/id/sys_vendor", "VMware, Inc.\n");
    put(root, "/sys/class/dmi/id/product_name", "VMware7,1\n");
    px_system_read(root, &system);
    assert_true(system.is_wsl && system.is_virtual);
    assert_string_equal(system.container, "lxc");
    assert_string_equal(system.machine, "VMware, Inc. VMware7,1");
}

/* ---- memory -------------------------------------------------------------------------------- */

static void memory(void **state)
{
    const char *const root = *state;
    px_system_memory memory;
    px_system_memory_read(root, &memory);
    assert_true(!memory.total && !memory.group_limit && !memory.huge_pages[0]);
    put(root, "/proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   500 kB\nSwapTotal: 30 kB\n"
                               "SwapFree: 20 kB\n");
    put(root, "/proc/self/limits", "Limit    Soft Limit\nMax locked memory         unlimited  unlimited  bytes\n");
    put(root, "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    px_system_memory_read(root, &memory);
    assert_true(memory.total == 1000 * 1024 && memory.available == 500 * 1024);
    assert_true(memory.swap_total == 30 * 1024 && memory.swap_free == 20 * 1024);
    assert_true(memory.lockable == UINT64_MAX);
    assert_string_equal(memory.huge_pages, "never");
    /* Version 2: the least of a group and those around it. */
    put(root, "/proc/self/cgroup", "0::/a/b\n");
    put(root, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    px_system_memory_read(root, &memory);
    assert_int_equal(memory.group_limit, 0);
    put(root, "/sys/fs/cgroup/a/memory.max", "300000\n");
    put(root, "/sys/fs/cgroup/memory.max", "400000\n");
    px_system_memory_read(root, &memory);
    assert_int_equal(memory.group_limit, 300000);
    /* Version 1. */
    put(root, "/proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n");
    put(root, "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
    px_system_memory_read(root, &memory);
    assert_int_equal(memory.group_limit, 0);
    put(root, "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "200000\n");
    px_system_memory_read(root, &memory);
    assert_int_equal(memory.group_limit, 200000);
}

/* ---- power --------------------------------------------------------------------------------- */

static void battery(const char *root, const char *name, const char *status, const char *capacity)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/class/power_supply/%s/type", name);
    put(root, path, "Battery\n");
    snprintf(path, sizeof path, "/sys/class/power_supply/%s/status", name);
    put(root, path, status);
    snprintf(path, sizeof path, "/sys/class/power_supply/%s/capacity", name);
    put(root, path, capacity);
}

static void expect_power(const char *root, px_power_source source, double percent)
{
    px_power power;
    px_power_read(root, &power);
    assert_int_equal(power.source, source);
    if (!(fabs(power.percent - percent) < 1e-9)) fail_msg("%g percent, expected %g", power.percent, percent);
}

static void power_supplies(void **state)
{
    const char *const root = *state;
    expect_power(root, PX_POWER_UNKNOWN, -1);
    /* A mouse is no battery of the machine. */
    battery(root, "hidpp_battery_0", "Discharging\n", "50\n");
    put(root, "/sys/class/power_supply/hidpp_battery_0/scope", "Device\n");
    expect_power(root, PX_POWER_UNKNOWN, -1);
    battery(root, "BAT0", "Discharging\n", "71\n");
    expect_power(root, PX_POWER_BATTERY, 71);
    put(root, "/sys/class/power_supply/AC/type", "Mains\n");
    put(root, "/sys/class/power_supply/AC/online", "0\n");
    expect_power(root, PX_POWER_BATTERY, 71);
    put(root, "/sys/class/power_supply/AC/online", "1\n");
    expect_power(root, PX_POWER_MAINS, 71);
    /* Charged through USB-C, where the other supply stays offline. */
    put(root, "/sys/class/power_supply/AC/online", "0\n");
    put(root, "/sys/class/power_supply/ucsi-source-psy-1/type", "USB\n");
    put(root, "/sys/class/power_supply/ucsi-source-psy-1/online", "1\n");
    battery(root, "BAT0", "Charging\n", "72\n");
    expect_power(root, PX_POWER_MAINS, 72);
    put(root, "/sys/class/power_supply/ucsi-source-psy-1/online", "0\n");
    battery(root, "BAT0", "Unknown\n", "72\n");
    expect_power(root, PX_POWER_BATTERY, 72);
    battery(root, "BAT0", "Full\n", "100\n");
    expect_power(root, PX_POWER_MAINS, 100);
    /* Two batteries of different sizes: by energy where both tell it. */
    battery(root, "BAT1", "Discharging\n", "20\n");
    expect_power(root, PX_POWER_BATTERY, 60);
    put(root, "/sys/class/power_supply/BAT0/energy_now", "10000000\n");
    put(root, "/sys/class/power_supply/BAT0/energy_full", "10000000\n");
    put(root, "/sys/class/power_supply/BAT1/energy_now", "6000000\n");
    put(root, "/sys/class/power_supply/BAT1/energy_full", "30000000\n");
    expect_power(root, PX_POWER_BATTERY, 40);
    put(root, "/sys/class/power_supply/BAT1/present", "0\n");
    expect_power(root, PX_POWER_MAINS, 100);
    put(root, "/sys/class/power_supply/BAT0/capacity", "1000\n");
    expect_power(root, PX_POWER_MAINS, -1);
    px_power power;
    put(root, "/sys/firmware/acpi/platform_profile", "low-power\n");
    put(root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    put(root, "/sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference", "power\n");
    px_power_read(root, &power);
    assert_string_equal(power.profile, "low-power");
    assert_string_equal(power.governor, "powersave");
    assert_string_equal(power.preference, "power");
}

/* ---- users and disks ----------------------------------------------------------------------- */

static void users_and_disks(void **state)
{
    char path[TEST_PATH];
    px_owner owner;
    px_user user;
    uint64_t left, total;
    put(*state, "/file", "x");
    test_path(path, "%s/file", (char *)*state);
    assert_int_equal(chmod(path, 0640), 0);
    assert_true(px_owner_of(path, &owner));
    assert_int_equal(owner.user, geteuid());
    assert_int_equal(owner.mode, 0640);
    assert_true(px_may_use(path));
    assert_int_equal(chmod(path, 0400), 0);
    assert_int_equal(px_may_use(path), geteuid() == 0);
    px_this_user(&user);
    assert_int_equal(user.user, geteuid());
    bool has_own = false;
    for (size_t i = 0; i < user.count; i++) has_own |= user.groups[i] == getegid();
    assert_true(has_own);
    assert_true(px_disk_space(path, &left, &total) && left <= total && total > 0);
    assert_false(px_owner_of("/nowhere/file", &owner) || px_may_use("/nowhere/file") ||
                 px_disk_space("/nowhere/file", &left, &total));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_and_numbers), TEST(printable),      TEST(names_and_kernels),
        TEST(memory),            TEST(power_supplies), TEST(users_and_disks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
