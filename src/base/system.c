#include "base/system.h"

#include "base/os.h"

#include <utf8proc.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files below a root -------------------------------------------------------------------- */

static bool join(char out[PX_PATH_SIZE], const char *root, const char *format, va_list arguments)
{
    const size_t used = strlen(root);
    if (used >= PX_PATH_SIZE) return false;
    memcpy(out, root, used + 1);
    const int wanted = vsnprintf(out + used, PX_PATH_SIZE - used, format, arguments);
    return wanted >= 0 && (size_t)wanted < PX_PATH_SIZE - used;
}

bool px_root_path(char out[PX_PATH_SIZE], const char *root, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const bool fits = join(out, root, format, arguments);
    va_end(arguments);
    return fits;
}

void px_make_printable(char *text)
{
    size_t left = strlen(text);
    while (left) {
        utf8proc_int32_t code;
        const utf8proc_ssize_t size =
            utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)left, &code);
        const bool is_control = size > 0 && (code < ' ' || (code >= 0x7f && code < 0xa0));
        if (size <= 0 || is_control) *text = '?';
        if (is_control && size == 2) text[1] = '?';
        const size_t step = size > 0 ? (size_t)size : 1;
        text += step;
        left -= step;
    }
}

static bool read_line(const char *path, char *out, size_t size)
{
    char text[1024];
    size_t length;
    out[0] = 0;
    if (px_read_text(path, text, sizeof text, &length, NULL) != PHLOX_OK) return false;
    text[strcspn(text, "\n")] = 0;
    const char *const begin = text + strspn(text, " \t");
    length = strlen(begin);
    while (length && isspace((unsigned char)begin[length - 1])) length--;
    snprintf(out, size, "%.*s", (int)length, begin);
    px_make_printable(out);
    return out[0];
}

bool px_root_line(const char *root, char *out, size_t size, const char *format, ...)
{
    char path[PX_PATH_SIZE];
    va_list arguments;
    va_start(arguments, format);
    const bool fits = join(path, root, format, arguments);
    va_end(arguments);
    out[0] = 0;
    return fits && read_line(path, out, size);
}

bool px_root_number(const char *root, uint64_t *out, const char *format, ...)
{
    char path[PX_PATH_SIZE], line[64], *end;
    va_list arguments;
    va_start(arguments, format);
    const bool fits = join(path, root, format, arguments);
    va_end(arguments);
    if (!fits || !read_line(path, line, sizeof line) || !isdigit((unsigned char)line[0])) return false;
    errno = 0;
    const uint64_t value = strtoull(line, &end, strncmp(line, "0x", 2) == 0 ? 16 : 10);
    if (errno) return false;
    *out = value;
    return true;
}

bool px_root_link(const char *root, char *out, size_t size, const char *format, ...)
{
    char path[PX_PATH_SIZE], target[PX_PATH_SIZE];
    va_list arguments;
    va_start(arguments, format);
    const bool fits = join(path, root, format, arguments);
    va_end(arguments);
    out[0] = 0;
    if (!fits || !px_read_link(path, target, sizeof target)) return false;
    const char *const slash = strrchr(target, '/');
    snprintf(out, size, "%s", slash ? slash + 1 : target);
    px_make_printable(out);
    return out[0];
}

bool px_root_exists(const char *root, const char *format, ...)
{
    char path[PX_PATH_SIZE];
    px_owner owner;
    va_list arguments;
    va_start(arguments, format);
    const bool fits = join(path, root, format, arguments);
    va_end(arguments);
    return fits && px_owner_of(path, &owner);
}

/* ---- the system ---------------------------------------------------------------------------- */

/* Reads the beginning of a file that has KEY=VALUE or KEY: VALUE a line; "" when there is none. */
static void read_start(const char *root, const char *file, char *out, size_t size)
{
    char path[PX_PATH_SIZE];
    size_t length;
    if (!px_root_path(path, root, "%s", file) ||
        px_read_text(path, out, size, &length, NULL) != PHLOX_OK)
        out[0] = 0;
}

bool px_find_value(const char *text, const char *key, char *out, size_t size)
{
    const size_t length = strlen(key);
    out[0] = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, key, length) != 0) continue;
        const char *value = line + length;
        value += strspn(value, " \t\"'");
        size_t end = strcspn(value, "\n");
        while (end && strchr(" \t\"'\r", value[end - 1])) end--;
        snprintf(out, size, "%.*s", (int)PX_MIN(end, (size_t)4096), value);
        px_make_printable(out);
        return true;
    }
    return false;
}

static bool has_word(const char *text, const char *word)
{
    const size_t length = strlen(word);
    for (; *text; text++) {
        size_t i = 0;
        while (i < length && tolower((unsigned char)text[i]) == word[i]) i++;
        if (i == length) return true;
    }
    return false;
}

static void read_names(const char *root, px_system *out)
{
    char text[4096];
    read_start(root, "/etc/os-release", text, sizeof text);
    if (!text[0]) read_start(root, "/usr/lib/os-release", text, sizeof text);
    px_find_value(text, "PRETTY_NAME=", out->name, sizeof out->name);
    px_find_value(text, "ID=", out->id, sizeof out->id);
    char like[sizeof out->like - sizeof out->id - 3];
    px_find_value(text, "ID_LIKE=", like, sizeof like);
    snprintf(out->like, sizeof out->like, " %s %s ", out->id, like);
    px_root_line(root, out->kernel, sizeof out->kernel, "/proc/sys/kernel/osrelease");
    if (sscanf(out->kernel, "%4d.%4d", &out->major, &out->minor) != 2) out->major = out->minor = 0;
}

static void read_container(const char *root, px_system *out)
{
    if (px_root_line(root, out->container, sizeof out->container, "/run/systemd/container")) return;
    const char *const name = px_root_exists(root, "/.dockerenv")         ? "docker"
                             : px_root_exists(root, "/run/.containerenv") ? "podman"
                                                                          : "";
    snprintf(out->container, sizeof out->container, "%s", name);
}

/* The firmware of a virtual machine names its maker, and the processor says that it is not alone. */
static void read_machine(const char *root, px_system *out)
{
    static const char *const makers[] = {"qemu", "vmware", "innotek", "xen", "amazon ec2",
                                         "google compute", "virtual machine", "parallels"};
    char vendor[48], product[48], processor[8192];
    px_root_line(root, vendor, sizeof vendor, "/sys/class/dmi/id/sys_vendor");
    px_root_line(root, product, sizeof product, "/sys/class/dmi/id/product_name");
    if (vendor[0] || product[0])
        snprintf(out->machine, sizeof out->machine, "%s%s%s", vendor, vendor[0] && product[0] ? " " : "",
                 product);
    else
        px_root_line(root, out->machine, sizeof out->machine, "/proc/device-tree/model");
    for (size_t i = 0; i < PX_COUNT(makers); i++) out->is_virtual |= has_word(out->machine, makers[i]);
    read_start(root, "/proc/cpuinfo", processor, sizeof processor);
    out->is_virtual |= has_word(processor, " hypervisor");
}

void px_system_read(const char *root, px_system *out)
{
    *out = (px_system){.major = 0};
    read_names(root, out);
    out->is_wsl = has_word(out->kernel, "microsoft");
    read_container(root, out);
    read_machine(root, out);
}

bool px_system_has_kernel(const px_system *system, int major, int minor)
{
    return !system->major || system->major > major ||
           (system->major == major && system->minor >= minor);
}

/* ---- memory -------------------------------------------------------------------------------- */

static uint64_t kilobytes(const char *text, const char *key)
{
    char value[32];
    if (!px_find_value(text, key, value, sizeof value)) return 0;
    const uint64_t number = strtoull(value, NULL, 10);
    return number > UINT64_MAX / 1024 ? 0 : number * 1024;
}

/* The smallest limit of a group and those around it. `file`: of version 2 or 1. */
static void limit_by(const char *root, const char *mount, const char *group, const char *file,
                     uint64_t *limit)
{
    char name[512];
    uint64_t value;
    snprintf(name, sizeof name, "%s", group);
    for (char *end = name + strlen(name); end; end = strrchr(name, '/')) {
        *end = 0;
        if (px_root_number(root, &value, "%s%s/%s", mount, name, file) && (!*limit || value < *limit))
            *limit = value;
    }
}

/* Lines of /proc/self/cgroup: "0::/user.slice" of version 2, "4:memory:/docker/abc" of version 1. */
static uint64_t read_limit(const char *root, uint64_t total)
{
    char text[4096], group[512];
    uint64_t limit = 0;
    read_start(root, "/proc/self/cgroup", text, sizeof text);
    if (px_find_value(text, "0::", group, sizeof group))
        limit_by(root, "/sys/fs/cgroup", group, "memory.max", &limit);
    const char *const memory = strstr(text, ":memory:");
    if (memory && px_find_value(memory, ":memory:", group, sizeof group))
        limit_by(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", &limit);
    return limit < total ? limit : 0; /* version 1 has a number near 2^63 where there is no limit */
}

void px_system_memory_read(const char *root, px_system_memory *out)
{
    char text[8192], value[32];
    *out = (px_system_memory){.total = 0};
    read_start(root, "/proc/meminfo", text, sizeof text);
    out->total = kilobytes(text, "MemTotal:");
    out->available = kilobytes(text, "MemAvailable:");
    out->swap_total = kilobytes(text, "SwapTotal:");
    out->swap_free = kilobytes(text, "SwapFree:");
    out->group_limit = read_limit(root, out->total);
    if (px_root_line(root, text, sizeof text, "/sys/kernel/mm/transparent_hugepage/enabled")) {
        const char *const chosen = strchr(text, '[');
        if (chosen)
            snprintf(out->huge_pages, sizeof out->huge_pages, "%.*s", (int)strcspn(chosen + 1, "]"),
                     chosen + 1);
    }
    read_start(root, "/proc/self/limits", text, sizeof text);
    if (px_find_value(text, "Max locked memory", value, sizeof value))
        out->lockable = strncmp(value, "unlimited", 9) == 0 ? UINT64_MAX : strtoull(value, NULL, 10);
}

/* ---- power --------------------------------------------------------------------------------- */

static const char supplies[] = "/sys/class/power_supply";
enum { MOST_SUPPLIES = 64 };

struct power {
    const char *root;
    int seen;
    bool has_mains, is_online, is_discharging, is_fed;
    double now, full;   /* of the batteries that say it, in one unit */
    double percent;     /* the sum of what batteries say of themselves */
    int batteries, measured;
};

static void add_battery(struct power *power, const char *name)
{
    static const char *const units[] = {"energy", "charge"};
    char status[32];
    uint64_t value, now, full;
    const char *const root = power->root;
    if (px_root_number(root, &value, "%s/%s/present", supplies, name) && !value) return;
    px_root_line(root, status, sizeof status, "%s/%s/status", supplies, name);
    power->is_discharging |= strcmp(status, "Discharging") == 0;
    power->is_fed |= strcmp(status, "Charging") == 0 || strcmp(status, "Full") == 0 ||
                     strcmp(status, "Not charging") == 0;
    if (px_root_number(root, &value, "%s/%s/capacity", supplies, name) && value <= 100) {
        power->percent += (double)value;
        power->batteries++;
    }
    for (size_t i = 0; i < PX_COUNT(units); i++) {
        if (!px_root_number(root, &now, "%s/%s/%s_now", supplies, name, units[i]) ||
            !px_root_number(root, &full, "%s/%s/%s_full", supplies, name, units[i]) || !full || now > full)
            continue;
        power->now += (double)now;
        power->full += (double)full;
        power->measured++;
        break;
    }
}

/* Mice and headsets have batteries of the scope "Device". */
static bool add_supply(void *user, const char *name)
{
    struct power *const power = user;
    char type[32], scope[32];
    uint64_t value;
    if (power->seen++ == MOST_SUPPLIES) return false;
    px_root_line(power->root, type, sizeof type, "%s/%s/type", supplies, name);
    px_root_line(power->root, scope, sizeof scope, "%s/%s/scope", supplies, name);
    if (strcmp(scope, "Device") == 0) return true;
    if (strcmp(type, "Battery") == 0) {
        add_battery(power, name);
    } else if (strcmp(type, "Mains") == 0 || strcmp(type, "USB") == 0) {
        if (!px_root_number(power->root, &value, "%s/%s/online", supplies, name)) return true;
        power->has_mains = true;
        power->is_online |= value == 1;
    }
    return true;
}

void px_power_read(const char *root, px_power *out)
{
    struct power power = {.root = root};
    char path[PX_PATH_SIZE];
    *out = (px_power){.percent = -1};
    if (px_root_path(path, root, "%s", supplies)) px_list_names(path, add_supply, &power);
    const bool has_battery = power.batteries || power.is_discharging;
    if (power.is_online) out->source = PX_POWER_MAINS;
    else if (power.is_discharging || (power.has_mains && has_battery && !power.is_fed))
        out->source = PX_POWER_BATTERY;
    else if (power.is_fed) out->source = PX_POWER_MAINS;
    if (power.batteries > 1 && power.measured == power.batteries)
        out->percent = 100 * power.now / power.full;
    else if (power.batteries)
        out->percent = power.percent / power.batteries;
    static const char cpu[] = "/sys/devices/system/cpu/cpu0/cpufreq";
    px_root_line(root, out->profile, sizeof out->profile, "/sys/firmware/acpi/platform_profile");
    px_root_line(root, out->governor, sizeof out->governor, "%s/scaling_governor", cpu);
    px_root_line(root, out->preference, sizeof out->preference, "%s/energy_performance_preference", cpu);
}
