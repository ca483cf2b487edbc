#include "device/hardware.h"

#include "base/cores.h"
#include "kernels/kernels.h"

#include <phlox/devices.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char pci_devices[] = "/sys/bus/pci/devices";

/* ---- names in a directory ------------------------------------------------------------------ */

enum { MOST_NAMES = 512, NAME_SIZE = 32 };

struct names {
    const char *start; /* of the names that are meant */
    char (*names)[NAME_SIZE];
    size_t count, most;
};

/* Names are shown and become parts of paths: others than those of devices and nodes are passed over. */
static bool keep_name(void *user, const char *name)
{
    static const char plain[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:._-";
    struct names *const names = user;
    if (strncmp(name, names->start, strlen(names->start)) != 0 || strlen(name) >= NAME_SIZE ||
        name[strspn(name, plain)])
        return true;
    snprintf(names->names[names->count++], NAME_SIZE, "%s", name);
    return names->count < names->most;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names that begin with `start`, in order. */
static size_t list_names(const char *root, const char *directory, const char *start,
                         char (*out)[NAME_SIZE], size_t most)
{
    char path[PX_PATH_SIZE];
    struct names names = {.start = start, .names = out, .most = most};
    if (!px_root_path(path, root, "%s", directory)) return 0;
    px_list_names(path, keep_name, &names);
    qsort(out, names.count, sizeof *out, compare_names);
    return names.count;
}

/* The one name of a directory of a PCI device that begins so. */
static bool find_name(const char *root, const char *pci, const char *directory, const char *start,
                      char out[NAME_SIZE])
{
    char path[PX_PATH_SIZE], names[8][NAME_SIZE];
    snprintf(path, sizeof path, "%s/%s/%s", pci_devices, pci, directory);
    if (!list_names(root, path, start, names, PX_COUNT(names))) return false;
    memcpy(out, names[0], NAME_SIZE);
    return true;
}

/* ---- the processor ------------------------------------------------------------------------- */

static bool has_flag(const char *flags, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = flags; (at = strstr(at, name)); at += length) {
        const bool begins = at == flags || isspace((unsigned char)at[-1]);
        if (begins && (!at[length] || isspace((unsigned char)at[length]))) return true;
    }
    return false;
}

/* As kernels/cpu.c asks the processor itself. */
static uint64_t features_of(const char *flags)
{
    static const struct {
        uint64_t feature, needs;
        const char *names[4];
    } rows[] = {
        {PHLOX_CPU_AVX2, 0, {"avx2", "fma", "f16c"}},
        {PHLOX_CPU_AVX_VNNI, PHLOX_CPU_AVX2, {"avx_vnni"}},
        {PHLOX_CPU_AVX512, PHLOX_CPU_AVX2, {"avx512f", "avx512bw", "avx512vl", "avx512dq"}},
        {PHLOX_CPU_AVX512_VNNI, PHLOX_CPU_AVX512, {"avx512_vnni"}},
        {PHLOX_CPU_AVX512_BF16, PHLOX_CPU_AVX512, {"avx512_bf16"}},
        {PHLOX_CPU_NEON, 0, {"asimd"}},
        {PHLOX_CPU_DOTPROD, PHLOX_CPU_NEON, {"asimddp"}},
        {PHLOX_CPU_I8MM, PHLOX_CPU_NEON, {"i8mm"}},
    };
    uint64_t features = 0;
    for (size_t i = 0; i < PX_COUNT(rows); i++) {
        bool has_all = (features & rows[i].needs) == rows[i].needs;
        for (size_t j = 0; j < PX_COUNT(rows[i].names) && rows[i].names[j]; j++)
            has_all &= has_flag(flags, rows[i].names[j]);
        if (has_all) features |= rows[i].feature;
    }
    return features;
}

/* What stands behind "key :" in the text of /proc/cpuinfo. */
static void cpu_value(const char *text, const char *key, char *out, size_t size)
{
    const char *at = strstr(text, key);
    out[0] = 0;
    if (!at) return;
    at += strcspn(at, ":\n");
    if (*at != ':') return;
    at += 1 + strspn(at + 1, " \t");
    snprintf(out, size, "%.*s", (int)PX_MIN(strcspn(at, "\n"), size), at);
    px_make_printable(out);
}

/* The numbers of a list such as "0-7,16-23". */
static size_t read_list(const char *text, int *cpus, size_t most)
{
    size_t count = 0;
    for (char *end; isdigit((unsigned char)*text); text = end) {
        const long first = strtol(text, &end, 10);
        const long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        for (long cpu = first; cpu <= last && cpu < PX_MOST_CPUS && count < most; cpu++)
            cpus[count++] = (int)cpu;
        if (*end == ',') end++;
    }
    return count;
}

static void read_cores(const char *root, px_hardware *cpu)
{
    char path[PX_PATH_SIZE], list[512], nodes[64][NAME_SIZE];
    int cpus[PX_MOST_CPUS];
    px_core cores[PX_MOST_CPUS];
    if (px_root_line(root, list, sizeof list, "/sys/devices/system/cpu/online") &&
        px_root_path(path, root, "/sys/devices/system/cpu")) {
        cpu->threads = (int32_t)read_list(list, cpus, PX_MOST_CPUS);
        cpu->cores = (int32_t)px_cores_find(path, cpus, (size_t)cpu->threads, cores);
    }
    cpu->numa_nodes = (int32_t)list_names(root, "/sys/devices/system/node", "node", nodes, PX_COUNT(nodes));
}

static void add_cpu(px_hardware_list *list)
{
    px_hardware *const cpu = &list->units[list->count++];
    char path[PX_PATH_SIZE], text[8192] = "", flags[4096], vendor[64];
    size_t length;
    *cpu = (px_hardware){.kind = PX_UNIT_CPU, .may_open = true, .is_integrated = true};
    if (px_root_path(path, list->root, "/proc/cpuinfo"))
        px_read_text(path, text, sizeof text, &length, NULL);
    cpu_value(text, "vendor_id", vendor, sizeof vendor);
    cpu_value(text, "model name", cpu->name, sizeof cpu->name);
    cpu_value(text, "flags", flags, sizeof flags);
    if (!flags[0]) cpu_value(text, "Features", flags, sizeof flags);
    cpu->vendor = strcmp(vendor, "GenuineIntel") == 0   ? PX_VENDOR_INTEL
                  : strcmp(vendor, "AuthenticAMD") == 0 ? PX_VENDOR_AMD
                                                        : PX_VENDOR_OTHER;
    static const char *const names[] = {[PX_VENDOR_INTEL] = "Intel", [PX_VENDOR_AMD] = "AMD",
                                        [PX_VENDOR_OTHER] = ""};
    snprintf(cpu->vendor_name, sizeof cpu->vendor_name, "%s", names[cpu->vendor]);
    cpu->features = list->root[0] ? features_of(flags) : px_cpu_features();
    if (!cpu->name[0] && !list->root[0]) phlox_cpu_name(cpu->name, sizeof cpu->name);
    px_system_memory memory;
    px_system_memory_read(list->root, &memory);
    cpu->memory = memory.total;
    read_cores(list->root, cpu);
}

/* ---- nodes in /dev ------------------------------------------------------------------------- */

/* The name and members of a group in /etc/group, "render:x:105:ada,bob"; false when it has no line. */
static bool find_group(const char *root, uint32_t group, char *name, size_t size, char *members,
                       size_t members_size)
{
    char path[PX_PATH_SIZE], line[1024];
    FILE *const file = px_root_path(path, root, "/etc/group") && px_is_file(path) ? fopen(path, "r") : NULL;
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        char word[32];
        int end = 0;
        uint32_t number;
        if (sscanf(line, "%31[^:]:%*[^:]:%" SCNu32 ":%n", word, &number, &end) != 2 || !end) continue;
        if (number != group) continue;
        found = true;
        snprintf(name, size, "%s", word);
        snprintf(members, members_size, "%.*s", (int)strcspn(line + end, "\n"), line + end);
        px_make_printable(name);
    }
    if (file) fclose(file);
    return found;
}

/* The name of a user in /etc/passwd, "ada:x:1000:...". */
static bool find_user(const char *root, uint32_t user, char *name, size_t size)
{
    char path[PX_PATH_SIZE], line[1024];
    FILE *const file = px_root_path(path, root, "/etc/passwd") && px_is_file(path) ? fopen(path, "r") : NULL;
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        char word[64];
        uint32_t number;
        if (sscanf(line, "%63[^:]:%*[^:]:%" SCNu32, word, &number) != 2 || number != user) continue;
        found = true;
        snprintf(name, size, "%s", word);
    }
    if (file) fclose(file);
    return found;
}

static bool is_member(const char *members, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = members; length && *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, name, length) == 0 && (!at[length] || at[length] == ',')) return true;
    return false;
}

static bool is_in(const px_user *user, uint32_t group)
{
    for (size_t i = 0; i < user->count; i++)
        if (user->groups[i] == group) return true;
    return false;
}

/* By the bits of the mode alone, as the system does without access lists. */
static bool mode_permits(const px_owner *owner, const px_user *user)
{
    const uint32_t both = 6;
    if (!user->user) return true;
    if (user->user == owner->user) return (owner->mode >> 6 & both) == both;
    if (is_in(user, owner->group)) return (owner->mode >> 3 & both) == both;
    return (owner->mode & both) == both;
}

static void read_node(const char *root, const px_user *given, px_hardware *unit)
{
    char path[PX_PATH_SIZE], members[1024] = "", name[64] = "";
    px_owner owner;
    px_user self;
    unit->may_open = true;
    if (!unit->node[0] || !px_root_path(path, root, "%s", unit->node)) return;
    unit->has_node = px_owner_of(path, &owner);
    if (!unit->has_node) return;
    if (!given) px_this_user(&self);
    const px_user *const user = given ? given : &self;
    unit->may_open = given ? mode_permits(&owner, user) : px_may_use(path);
    unit->group_may_open = (owner.mode >> 3 & 6) == 6 && owner.group != 0;
    if (!find_group(root, owner.group, unit->group, sizeof unit->group, members, sizeof members))
        snprintf(unit->group, sizeof unit->group, "%" PRIu32, owner.group);
    unit->joins_group = !is_in(user, owner.group) && find_user(root, user->user, name, sizeof name) &&
                        is_member(members, name);
}

/* ---- the PCI bus --------------------------------------------------------------------------- */

enum { ID_INTEL = 0x8086, ID_AMD = 0x1022, ID_ATI = 0x1002, ID_NVIDIA = 0x10de, ID_QUALCOMM = 0x17cb,
       ID_MICROSOFT = 0x1414 };

static const struct {
    uint32_t id;
    px_vendor vendor;
    const char *name;
} vendors[] = {
    {ID_INTEL, PX_VENDOR_INTEL, "Intel"},
    {ID_AMD, PX_VENDOR_AMD, "AMD"},
    {ID_ATI, PX_VENDOR_AMD, "AMD"},
    {ID_NVIDIA, PX_VENDOR_NVIDIA, "NVIDIA"},
    {ID_QUALCOMM, PX_VENDOR_QUALCOMM, "Qualcomm"},
    {ID_MICROSOFT, PX_VENDOR_MICROSOFT, "Microsoft"},
    {0x1af4, PX_VENDOR_OTHER, "Red Hat (virtio)"},
    {0x1234, PX_VENDOR_OTHER, "QEMU"},
    {0x15ad, PX_VENDOR_OTHER, "VMware"},
    {0x80ee, PX_VENDOR_OTHER, "VirtualBox"},
    {0x1a03, PX_VENDOR_OTHER, "ASPEED"},
    {0x102b, PX_VENDOR_OTHER, "Matrox"},
};

/* NPUs by their ids: those of AMD are of the class of signal processors. */
static const struct {
    uint32_t vendor, device;
    const char *generation;
    bool is_old;
} npus[] = {
    {ID_INTEL, 0x7d1d, "Meteor Lake", false},   {ID_INTEL, 0xad1d, "Arrow Lake", false},
    {ID_INTEL, 0x643e, "Lunar Lake", false},    {ID_INTEL, 0xb03e, "Panther Lake", false},
    {ID_INTEL, 0xfd3e, "Wildcat Lake", false},  {ID_INTEL, 0xd71d, "Nova Lake", false},
    {ID_AMD, 0x1502, "XDNA 1", true},           {ID_AMD, 0x17f0, "XDNA 2", false},
};

/* Display controllers are GPUs, and so are accelerators of AMD's graphics; other accelerators are NPUs. */
static bool find_kind(px_hardware *unit, uint32_t class)
{
    for (size_t i = 0; i < PX_COUNT(npus); i++) {
        if (npus[i].vendor != unit->vendor_id || npus[i].device != unit->device_id) continue;
        unit->kind = PX_UNIT_NPU;
        unit->is_old = npus[i].is_old;
        snprintf(unit->generation, sizeof unit->generation, "%s", npus[i].generation);
        return true;
    }
    const bool is_display = class >> 16 == 0x03, is_accelerator = class >> 8 == 0x1200;
    unit->kind = is_display || unit->vendor_id == ID_ATI ? PX_UNIT_GPU : PX_UNIT_NPU;
    return is_display || is_accelerator;
}

/* The largest region for memory that may be fetched ahead, of "start end flags" a line: through it the
 * processor sees the memory of a graphics card, or a part of it. */
static uint64_t window_of(const char *root, const char *pci)
{
    char path[PX_PATH_SIZE], text[2048];
    size_t length;
    uint64_t first, last, flags, most = 0;
    const uint64_t wanted = 0x2200; /* IORESOURCE_MEM, IORESOURCE_PREFETCH */
    if (!px_root_path(path, root, "%s/%s/resource", pci_devices, pci) ||
        px_read_text(path, text, sizeof text, &length, NULL) != PHLOX_OK)
        return 0;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (sscanf(line, "%" SCNx64 " %" SCNx64 " %" SCNx64, &first, &last, &flags) == 3 &&
            (flags & wanted) == wanted && last > first && last - first < UINT64_MAX)
            most = PX_MAX(most, last - first + 1);
    return most;
}

static void read_memory(const char *root, px_hardware *unit)
{
    const char *const pci = unit->pci;
    unit->is_integrated = unit->kind == PX_UNIT_NPU ||
                          (unit->vendor == PX_VENDOR_INTEL && strncmp(pci, "0000:00:", 8) == 0);
    if (unit->is_integrated) return;
    px_root_number(root, &unit->shared_memory, "%s/%s/mem_info_gtt_total", pci_devices, pci);
    if (px_root_number(root, &unit->memory, "%s/%s/mem_info_vram_total", pci_devices, pci) ||
        px_root_number(root, &unit->memory, "%s/%s/tile0/physical_vram_size_bytes", pci_devices, pci))
        return;
    unit->memory = window_of(root, pci);
    unit->memory_is_window = unit->memory > 0;
}

/* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 ..." */
static void read_nvidia(const char *root, px_hardware *unit)
{
    char line[256];
    px_root_line(root, line, sizeof line, "/proc/driver/nvidia/version");
    const char *at = strstr(line, "Kernel Module");
    while (at && *at && !(isdigit((unsigned char)*at) && isspace((unsigned char)at[-1]))) at++;
    if (at && *at)
        snprintf(unit->driver_version, sizeof unit->driver_version, "%.*s", (int)strcspn(at, " "), at);
    char path[PX_PATH_SIZE], text[2048], number[16];
    size_t length;
    if (!px_root_path(path, root, "/proc/driver/nvidia/gpus/%s/information", unit->pci) ||
        px_read_text(path, text, sizeof text, &length, NULL) != PHLOX_OK)
        return; /* as for a GPU that a container was not given */
    cpu_value(text, "Model", unit->name, sizeof unit->name);
    cpu_value(text, "Device Minor", number, sizeof number);
    const uint64_t minor = strtoull(number, NULL, 10);
    if (isdigit((unsigned char)number[0]) && minor < 256)
        snprintf(unit->node, sizeof unit->node, "/dev/nvidia%" PRIu64, minor);
}

/* "/dev/accel/accel0", and the firmware that the driver tells of in debugfs where it has no file of its own. */
static void read_accel(const char *root, px_hardware *unit)
{
    char name[NAME_SIZE];
    if (!find_name(root, unit->pci, "accel", "accel", name)) return;
    snprintf(unit->node, sizeof unit->node, "/dev/accel/%.16s", name);
    if (!unit->firmware[0])
        px_root_line(root, unit->firmware, sizeof unit->firmware, "/sys/kernel/debug/accel/%d/fw_version",
                     atoi(name + strlen("accel")));
}

/* The version of a driver that comes with the kernel. */
static void copy_release(const px_hardware_list *list, px_hardware *unit)
{
    snprintf(unit->driver_version, sizeof unit->driver_version, "%.63s", list->system.kernel);
    px_make_printable(unit->driver_version); /* a character may have been cut */
}

static void read_driver(const px_hardware_list *list, px_hardware *unit)
{
    char name[NAME_SIZE];
    const char *const root = list->root;
    px_root_link(root, unit->driver, sizeof unit->driver, "%s/%s/driver", pci_devices, unit->pci);
    if (!unit->driver[0]) return;
    if (!px_root_line(root, unit->driver_version, sizeof unit->driver_version, "/sys/module/%s/version",
                      unit->driver))
        copy_release(list, unit);
    px_root_line(root, unit->firmware, sizeof unit->firmware, "%s/%s/fw_version", pci_devices, unit->pci);
    if (strcmp(unit->driver, "nvidia") == 0) {
        read_nvidia(root, unit);
    } else if (unit->kind == PX_UNIT_NPU) {
        read_accel(root, unit);
    } else if (find_name(root, unit->pci, "drm", "renderD", name)) {
        snprintf(unit->node, sizeof unit->node, "/dev/dri/%.16s", name);
    }
}

/* What the driver calls it, what pci.ids does, or the ids. */
static void read_name(const px_hardware_list *list, px_hardware *unit)
{
    static const char *const files[] = {"/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"};
    char path[PX_PATH_SIZE];
    if (unit->name[0] ||
        px_root_line(list->root, unit->name, sizeof unit->name, "%s/%s/vbnv", pci_devices, unit->pci))
        return;
    for (size_t i = 0; i < PX_COUNT(files) && !unit->name[0]; i++) {
        px_map map;
        if (!px_root_path(path, list->root, "%s", files[i]) || px_map_open(path, &map, NULL) != PHLOX_OK)
            continue;
        const phlox_text ids = {(const char *)map.data, map.size};
        px_pci_name(ids, unit->vendor_id, unit->device_id, unit->name, sizeof unit->name);
        px_map_close(&map);
    }
    if (unit->name[0]) return;
    snprintf(unit->name, sizeof unit->name, "%s%s%s %s (%04" PRIx32 ":%04" PRIx32 ")", unit->vendor_name,
             unit->generation[0] ? " " : "", unit->generation, unit->kind == PX_UNIT_NPU ? "NPU" : "GPU",
             unit->vendor_id, unit->device_id);
}

/* The GPU of the Windows host, behind one node. */
static void add_host_gpu(px_hardware_list *list, const px_user *user)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->units[i].kind == PX_UNIT_GPU) return;
    px_hardware unit = {.kind = PX_UNIT_GPU, .vendor = PX_VENDOR_MICROSOFT, .vendor_name = "Microsoft",
                        .name = "GPU of the Windows host", .driver = "dxgkrnl", .node = "/dev/dxg"};
    read_node(list->root, user, &unit);
    list->units[list->count++] = unit;
}

static void add_pci(px_hardware_list *list, const px_user *user, const char *pci, px_unit_kind wanted)
{
    uint64_t class, vendor, device;
    const char *const root = list->root;
    if (list->count == PX_MOST_HARDWARE || strlen(pci) >= sizeof list->units[0].pci) return;
    if (!px_root_number(root, &class, "%s/%s/class", pci_devices, pci) ||
        !px_root_number(root, &vendor, "%s/%s/vendor", pci_devices, pci) ||
        !px_root_number(root, &device, "%s/%s/device", pci_devices, pci) || vendor > 0xffff ||
        device > 0xffff || class > 0xffffff)
        return;
    px_hardware unit = {.vendor_id = (uint32_t)vendor, .device_id = (uint32_t)device};
    if (!find_kind(&unit, (uint32_t)class) || unit.kind != wanted) return;
    snprintf(unit.pci, sizeof unit.pci, "%s", pci);
    snprintf(unit.vendor_name, sizeof unit.vendor_name, "%04" PRIx32, unit.vendor_id);
    for (size_t i = 0; i < PX_COUNT(vendors); i++) {
        if (vendors[i].id != unit.vendor_id) continue;
        unit.vendor = vendors[i].vendor;
        snprintf(unit.vendor_name, sizeof unit.vendor_name, "%s", vendors[i].name);
    }
    if (unit.vendor == PX_VENDOR_MICROSOFT) { /* WSL shows the host's GPUs on a bus as well */
        if (!list->system.is_wsl) return;
        add_host_gpu(list, user);
        return;
    }
    read_driver(list, &unit);
    read_name(list, &unit);
    read_memory(root, &unit);
    read_node(root, user, &unit);
    list->units[list->count++] = unit;
}

/* ---- units that are not on it -------------------------------------------------------------- */

/* Chips with Arm cores have GPU and NPU beside them. `class`: "drm" or "accel". */
static void add_platform(px_hardware_list *list, const px_user *user, px_unit_kind kind)
{
    static const struct {
        const char *driver, *vendor, *name;
        px_vendor id;
    } known[] = {
        {"msm", "Qualcomm", "Adreno GPU", PX_VENDOR_QUALCOMM},
        {"panfrost", "Arm", "Mali GPU", PX_VENDOR_OTHER},
        {"panthor", "Arm", "Mali GPU", PX_VENDOR_OTHER},
        {"rocket", "Rockchip", "NPU", PX_VENDOR_OTHER},
    };
    const bool is_npu = kind == PX_UNIT_NPU;
    char directory[64], names[16][NAME_SIZE];
    snprintf(directory, sizeof directory, "/sys/class/%s", is_npu ? "accel" : "drm");
    const size_t count = list_names(list->root, directory, is_npu ? "accel" : "renderD", names, PX_COUNT(names));
    for (size_t i = 0; i < count && list->count < PX_MOST_HARDWARE; i++) {
        char bus[32];
        px_hardware unit = {.kind = kind, .vendor_name = "", .is_integrated = true};
        px_root_link(list->root, bus, sizeof bus, "%s/%s/device/subsystem", directory, names[i]);
        if (strcmp(bus, "platform") != 0) continue;
        px_root_link(list->root, unit.driver, sizeof unit.driver, "%s/%s/device/driver", directory, names[i]);
        snprintf(unit.name, sizeof unit.name, "%s (%s)", is_npu ? "NPU" : "GPU", unit.driver);
        for (size_t j = 0; j < PX_COUNT(known); j++) {
            if (strcmp(known[j].driver, unit.driver) != 0) continue;
            unit.vendor = known[j].id;
            snprintf(unit.vendor_name, sizeof unit.vendor_name, "%s", known[j].vendor);
            snprintf(unit.name, sizeof unit.name, "%s %s", known[j].vendor, known[j].name);
        }
        copy_release(list, &unit);
        snprintf(unit.node, sizeof unit.node, "/dev/%s/%.16s", is_npu ? "accel" : "dri", names[i]);
        read_node(list->root, user, &unit);
        list->units[list->count++] = unit;
    }
}

/* The compute DSP of Qualcomm's chips is reached by a node of fastrpc. */
static void add_hexagon(px_hardware_list *list, const px_user *user)
{
    static const char *const nodes[] = {"/dev/fastrpc-cdsp", "/dev/fastrpc-cdsp-secure"};
    for (size_t i = 0; i < PX_COUNT(nodes) && list->count < PX_MOST_HARDWARE; i++) {
        if (!px_root_exists(list->root, "%s", nodes[i])) continue;
        px_hardware unit = {.kind = PX_UNIT_NPU, .vendor = PX_VENDOR_QUALCOMM, .vendor_name = "Qualcomm",
                            .name = "Qualcomm Hexagon NPU", .driver = "fastrpc", .is_integrated = true};
        snprintf(unit.node, sizeof unit.node, "%s", nodes[i]);
        read_node(list->root, user, &unit);
        list->units[list->count++] = unit;
        return;
    }
}

void px_hardware_find(const char *root, const px_user *user, px_hardware_list *out)
{
    static const px_unit_kind kinds[] = {PX_UNIT_GPU, PX_UNIT_NPU};
    *out = (px_hardware_list){.root = root};
    px_system_read(root, &out->system);
    add_cpu(out);
    char(*const names)[NAME_SIZE] = px_calloc(MOST_NAMES, sizeof *names);
    const size_t count = names ? list_names(root, pci_devices, "", names, MOST_NAMES) : 0;
    for (size_t k = 0; k < PX_COUNT(kinds); k++) {
        for (size_t i = 0; i < count; i++) add_pci(out, user, names[i], kinds[k]);
        if (kinds[k] == PX_UNIT_GPU && px_root_exists(root, "/dev/dxg")) add_host_gpu(out, user);
        add_platform(out, user, kinds[k]);
    }
    add_hexagon(out, user);
    free(names);
}
