/*
 * Files of /proc, /sys and /etc, and pci.ids: the input is a run of files (files.h), each in the place of one of
 * a machine with a GPU and an NPU, in a temporary directory. Whatever they hold, the units have printable names
 * and every way to drive one is usable or says why not.
 */
#include "device/hardware.h"
#include "files.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PCI "/sys/bus/pci/devices/"

/* New names go to the end: seeds hold their places. */
static const char *const names[] = {
    "/usr/share/misc/pci.ids", PCI "0000:00:02.0/class", PCI "0000:00:02.0/vendor", PCI "0000:00:02.0/device",
    PCI "0000:00:02.0/resource", PCI "0000:00:0b.0/class", PCI "0000:00:0b.0/vendor",
    PCI "0000:00:0b.0/device", PCI "0000:00:0b.0/vbnv", PCI "0000:00:0b.0/fw_version", "/etc/group",
    "/etc/passwd", "/etc/os-release", "/proc/cpuinfo", "/proc/meminfo", "/proc/self/cgroup",
    "/proc/self/limits", "/proc/sys/kernel/osrelease", "/proc/driver/nvidia/version",
    "/proc/driver/nvidia/gpus/0000:00:02.0/information", "/sys/devices/system/cpu/online",
    "/sys/class/power_supply/BAT0/type", "/sys/class/power_supply/BAT0/capacity",
    "/sys/class/power_supply/BAT0/status", "/sys/class/dmi/id/sys_vendor",
    "/sys/kernel/mm/transparent_hugepage/enabled",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char root[128]; /* made with the first input, removed at the end */

static void must(bool condition)
{
    if (!condition) abort();
}

static void full_path(char out[256], const char *name)
{
    must(snprintf(out, 256, "%s%s", root, name) < 256);
}

static void write_bytes(const char *name, phlox_text bytes)
{
    char path[256];
    full_path(path, name);
    FILE *const file = fopen(path, "wb");
    must(file != NULL);
    if (bytes.size) must(fwrite(bytes.data, 1, bytes.size, file) == bytes.size);
    must(fclose(file) == 0);
}

static void make_parents(const char *name)
{
    char path[256];
    full_path(path, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
}

/* Removes files and then, from the longest name up, directories. */
static void clean(void)
{
    char path[256];
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        full_path(path, names[i]);
        unlink(path);
    }
    static const char *const links[] = {PCI "0000:00:02.0/driver", PCI "0000:00:0b.0/driver"};
    for (size_t i = 0; i < PX_COUNT(links); i++) {
        full_path(path, links[i]);
        unlink(path);
    }
    for (int round = 0; round < 8; round++)
        for (size_t i = 0; i < PX_COUNT(names); i++) {
            full_path(path, names[i]);
            for (char *slash; (slash = strrchr(path, '/')) && slash > path + strlen(root);) {
                *slash = 0;
                rmdir(path);
            }
        }
    rmdir(root);
}

static void prepare(void)
{
    snprintf(root, sizeof root, "/dev/shm/phlox-fuzz-XXXXXX");
    if (!mkdtemp(root)) {
        snprintf(root, sizeof root, "/tmp/phlox-fuzz-XXXXXX");
        must(mkdtemp(root) != NULL);
    }
    char path[256];
    for (size_t i = 0; i < PX_COUNT(names); i++) make_parents(names[i]);
    full_path(path, PCI "0000:00:02.0/driver");
    must(symlink("../drivers/nvidia", path) == 0);
    full_path(path, PCI "0000:00:0b.0/driver");
    must(symlink("../drivers/intel_vpu", path) == 0);
    atexit(clean);
}

/* What a file is when the input has none for it. */
static void reset(void)
{
    static const char *const usual[] = {
        "8086  Intel\n\t7d1d  NPU\n10de  NVIDIA\n\t2684  RTX\n", "0x030000\n", "0x10de\n", "0x2684\n", "",
        "0x120000\n", "0x8086\n", "0x7d1d\n",
    };
    for (size_t i = 0; i < PX_COUNT(names); i++)
        write_bytes(names[i], phlox_text_of(i < PX_COUNT(usual) ? usual[i] : ""));
}

static void require_printable(const char *text)
{
    char copy[2048];
    must(strlen(text) < sizeof copy);
    memcpy(copy, text, strlen(text) + 1);
    px_make_printable(copy);
    must(strcmp(copy, text) == 0);
}

static void check(const px_hardware_list *list)
{
    px_way ways[PX_MOST_WAYS];
    must(list->count >= 1 && list->count <= PX_MOST_HARDWARE);
    for (size_t i = 0; i < list->count; i++) {
        require_printable(list->units[i].name);
        require_printable(list->units[i].driver_version);
        require_printable(list->units[i].firmware);
        const size_t count = px_hardware_judge(list, i, NULL, 0, ways);
        must(count > 0);
        for (size_t j = 0; j < count; j++) {
            must(ways[j].is_usable == !ways[j].problem_count);
            for (size_t k = 0; k < ways[j].problem_count; k++) {
                must(ways[j].problems[k].reason[0] && ways[j].problems[k].remedy[0]);
                require_printable(ways[j].problems[k].reason);
                require_printable(ways[j].problems[k].remedy);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    px_memory_file files[8];
    const px_user user = {.user = 1000, .groups = {1000}, .count = 1};
    if (!root[0]) prepare();
    reset();
    const size_t count = fuzz_files_read(data, size, names, PX_COUNT(names), files, PX_COUNT(files));
    for (size_t i = 0; i < count; i++) {
        write_bytes(files[i].name, files[i].bytes);
        char name[64];
        px_pci_name(files[i].bytes, 0x8086, 0x7d1d, name, sizeof name);
    }
    fuzz_files_free(files, count);
    px_hardware_list list;
    px_system_memory memory;
    px_power power;
    px_hardware_find(root, &user, &list);
    check(&list);
    px_system_memory_read(root, &memory);
    must(memory.group_limit <= memory.total);
    px_power_read(root, &power);
    must(power.percent <= 100);
    require_printable(power.profile);
    return 0;
}
