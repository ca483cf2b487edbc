/* A report of everything that matters for running models here, a verdict a line. */
#include "api/devices.h"
#include "api/model.h"
#include "base/cache.h"
#include "base/cores.h"
#include "kernels/kernels.h"

#include <phlox/devices.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct doctor {
    const char *root;    /* "": this machine */
    const phlox_model_options *options;
    const px_machine_units *machine;
    phlox_check_fn *visit;
    void *user;
    const char *section;
    bool is_over;        /* visit has returned false */
};

/* ---- one line ------------------------------------------------------------------------------ */

enum { TEXT_SIZE = 2048 };

static bool ends_a_path(char c)
{
    return !c || strchr("/:; \"'", c);
}

/* Copies a text with the user's directory as ~ and what stands in front of @ in addresses as ***. */
static void hide(const char *text, char out[TEXT_SIZE])
{
    const char *const home = getenv("HOME");
    const size_t length = home ? strlen(home) : 0;
    size_t used = 0;
    for (const char *at = text; *at && used + 8 < TEXT_SIZE;) {
        if (length > 1 && strncmp(at, home, length) == 0 && ends_a_path(at[length])) {
            out[used++] = '~';
            at += length;
        } else if (strncmp(at, "://", 3) == 0) {
            const size_t host = strcspn(at + 3, "/ ?#\"'");
            size_t user = host;
            while (user && at[3 + user - 1] != '@') user--;
            used += (size_t)snprintf(out + used, 7, "://%s", user ? "***" : "");
            at += 3 + (user ? user - 1 : 0);
        } else {
            out[used++] = *at++;
        }
    }
    out[used] = 0;
    px_make_printable(out);
}

PX_PRINTF(6, 7)
static void say(struct doctor *doctor, phlox_verdict verdict, bool is_fatal, const char *name,
                const char *remedy, const char *format, ...)
{
    char value[TEXT_SIZE], shown[TEXT_SIZE], mended[TEXT_SIZE];
    if (doctor->is_over) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    hide(value, shown);
    hide(remedy, mended);
    const phlox_check check = {doctor->section, name, shown, mended, "", verdict, is_fatal};
    doctor->is_over = !doctor->visit(doctor->user, &check);
}

/* Of the functions below, each of which has its `doctor`. */
#define OK(name, ...) say(doctor, PHLOX_VERDICT_OK, false, name, "", __VA_ARGS__)
#define NOTE(name, remedy, ...) say(doctor, PHLOX_VERDICT_NOTE, false, name, remedy, __VA_ARGS__)
#define PROBLEM(name, remedy, ...) say(doctor, PHLOX_VERDICT_PROBLEM, false, name, remedy, __VA_ARGS__)
#define FATAL(name, remedy, ...) say(doctor, PHLOX_VERDICT_PROBLEM, true, name, remedy, __VA_ARGS__)

/* 1234567890 as "1.23 GB" */
static const char *bytes(uint64_t value, char text[16])
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double amount = (double)value;
    size_t unit = 0;
    for (; amount >= 1000 && unit + 1 < PX_COUNT(units); unit++) amount /= 1000;
    snprintf(text, 16, unit ? "%.2f %s" : "%.0f %s", amount, units[unit]);
    return text;
}

/* ---- system and processor ------------------------------------------------------------------ */

static void check_system(struct doctor *doctor)
{
    const px_system *const system = &doctor->machine->hardware.system;
    const char *const kind = system->is_wsl         ? "Windows Subsystem for Linux"
                             : system->container[0] ? "container"
                             : system->is_virtual   ? "virtual machine"
                                                    : "no virtual machine or container";
    doctor->section = "system";
    OK("system", "%s", system->name[0] ? system->name : "unknown");
    OK("kernel", "%s", system->kernel[0] ? system->kernel : "unknown");
    OK("machine", "%s", system->machine[0] ? system->machine : "unknown");
    OK("inside", "%s%s%s", kind, system->container[0] ? ": " : "", system->container);
}

static void name_features(uint64_t features, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (uint64_t bit = 1; bit; bit <<= 1) {
        const char *const name = features & bit ? phlox_cpu_feature_name(bit) : NULL;
        if (name && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? " " : "", name);
    }
    if (!used) snprintf(out, size, "none");
}

static void check_processor(struct doctor *doctor)
{
    const px_hardware *const cpu = &doctor->machine->hardware.units[0];
    char features[128];
    px_kernels kernels;
    const uint64_t used = cpu->features & ~doctor->options->cpu_mask;
    doctor->section = "processor";
    OK("name", "%s", cpu->name[0] ? cpu->name : "unknown");
    OK("cores", "%d, hardware threads %d, NUMA nodes %d", cpu->cores, cpu->threads, cpu->numa_nodes);
    if (!doctor->root[0])
        OK("threads used", "%d", doctor->options->threads ? doctor->options->threads : px_core_count());
    name_features(cpu->features, features, sizeof features);
    if (cpu->features) OK("features", "%s", features);
    else NOTE("features", "use a processor with AVX2", "none that phlox has kernels for: it will be slow");
    if (cpu->features & doctor->options->cpu_mask) {
        name_features(cpu->features & doctor->options->cpu_mask, features, sizeof features);
        NOTE("hidden features", "leave out --cpu-mask", "%s", features);
    }
    if (!doctor->root[0]) {
        px_kernels_init(&kernels, used);
        OK("kernels", "%s", kernels.name);
    }
}

/* ---- memory and power ---------------------------------------------------------------------- */

static const uint64_t least_memory = UINT64_C(64) << 20; /* what the built-in model needs, and some */

static void check_memory(struct doctor *doctor)
{
    px_system_memory memory;
    char a[16], b[16];
    px_system_memory_read(doctor->root, &memory);
    doctor->section = "memory";
    const uint64_t available = doctor->root[0] ? memory.available : px_memory_available();
    if (!memory.total) NOTE("memory", "", "unknown: there is no /proc/meminfo");
    else if (available < least_memory)
        FATAL("memory", "close other programs", "%s, of which %s are available: too little for any model",
              bytes(memory.total, a), bytes(available, b));
    else OK("memory", "%s, of which %s are available", bytes(memory.total, a), bytes(available, b));
    if (memory.group_limit) OK("limit of the control group", "%s", bytes(memory.group_limit, a));
    else OK("limit of the control group", "none");
    if (memory.swap_total) OK("swap", "%s, %s free", bytes(memory.swap_total, a), bytes(memory.swap_free, b));
    else OK("swap", "none");
    if (strcmp(memory.huge_pages, "never") == 0)
        NOTE("pages of 2 MB", "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
             "never: reading weights takes longer than it needs to");
    else OK("pages of 2 MB", "%s", memory.huge_pages[0] ? memory.huge_pages : "unknown");
    if (memory.lockable == UINT64_MAX) OK("memory that may be locked", "all");
    else OK("memory that may be locked", "%s", bytes(memory.lockable, a));
}

static void check_power(struct doctor *doctor)
{
    phlox_power power;
    char percent[32] = "";
    phlox_power_state(doctor->root, &power);
    const bool is_alone = power.source == PHLOX_POWER_BATTERY;
    if (power.percent >= 0)
        snprintf(percent, sizeof percent, ", %sat %.0f %%", is_alone ? "" : "battery ", power.percent);
    doctor->section = "power";
    if (is_alone)
        NOTE("supply", "plug the machine in for full speed", "battery%s", percent);
    else OK("supply", "%s%s", power.source == PHLOX_POWER_MAINS ? "mains" : "unknown (no battery)", percent);
    if (strcmp(power.profile, "low-power") == 0 || strcmp(power.profile, "quiet") == 0)
        NOTE("profile of the platform", "powerprofilesctl set balanced", "%s", power.profile);
    else if (power.profile[0]) OK("profile of the platform", "%s", power.profile);
    if (power.governor[0]) OK("governor", "%s", power.governor);
    if (strcmp(power.preference, "power") == 0)
        NOTE("preference", "powerprofilesctl set balanced", "%s", power.preference);
    else if (power.preference[0]) OK("preference", "%s", power.preference);
}

/* ---- runtimes and units -------------------------------------------------------------------- */

static bool show_place(void *user, const phlox_runtime *runtime)
{
    struct doctor *const doctor = user;
    OK("found", "%s %s in %s%s: %s", runtime->name, runtime->version, runtime->origin,
       runtime->is_used ? ", which is taken" : "", runtime->library);
    return !doctor->is_over;
}

static void check_runtimes(struct doctor *doctor)
{
    const px_hardware_list *const list = &doctor->machine->hardware;
    char remedy[96];
    doctor->section = "runtimes";
    for (size_t i = 0; i < doctor->machine->runtime_count; i++) {
        const px_runtime_seen *const seen = &doctor->machine->runtimes[i];
        const char *const library = seen->units.library[0] ? seen->units.library : seen->library;
        snprintf(remedy, sizeof remedy, "phlox runtime add %s", seen->runtime ? seen->runtime : "");
        if (!seen->runtime) OK(seen->title, "built in, %s", phlox_version());
        else if (!seen->is_installed) NOTE(seen->title, remedy, "not installed");
        else if (!seen->was_asked) OK(seen->title, "installed");
        else if (seen->status == PHLOX_OK) OK(seen->title, "%s, %s", seen->units.version, library);
        else {
            px_problem problem;
            px_hardware_explain(list, &list->units[0], px_hardware_start_lack(seen), seen->title,
                                seen->own[0] ? seen->own : seen->runtime, seen->message, &problem);
            PROBLEM(seen->title, problem.remedy, "%s: %s", library, seen->message);
        }
    }
    if (!doctor->root[0]) phlox_runtime_list(NULL, show_place, doctor, NULL);
}

/* Whether `device`, as --device has it, means `way`: "openvino:GPU" is the first of several. */
static bool is_asked_for(const char *device, const px_way *way)
{
    const size_t length = strlen(device);
    return way->device[0] && strncmp(way->device, device, length) == 0 &&
           (!way->device[length] || way->device[length] == '.');
}

/* The way that `asked` means, one that works where there is one; NULL: none. */
static const px_way *find_way(const px_way *ways, size_t count, const char *asked)
{
    const px_way *found = NULL;
    for (size_t i = 0; i < count; i++)
        if (asked[0] && is_asked_for(asked, &ways[i]) && (!found || (ways[i].is_usable && !found->is_usable)))
            found = &ways[i];
    return found;
}

/* A device that was asked for: "" when none was; whether a unit is meant by it, and one of these works. */
struct wish {
    char device[64];
    bool is_found, is_met;
};

static void look_for(const px_machine_units *machine, struct wish *wish)
{
    for (size_t i = 0; i < machine->hardware.count; i++) {
        px_way ways[PX_MOST_WAYS];
        const size_t count =
            px_hardware_judge(&machine->hardware, i, machine->runtimes, machine->runtime_count, ways);
        const px_way *const way = find_way(ways, count, wish->device);
        wish->is_found |= way != NULL;
        wish->is_met |= way && way->is_usable;
    }
}

static void check_unit(struct doctor *doctor, size_t index, const struct wish *wish)
{
    static const char *const kinds[] = {[PX_UNIT_CPU] = "CPU", [PX_UNIT_GPU] = "GPU", [PX_UNIT_NPU] = "NPU"};
    const px_machine_units *const machine = doctor->machine;
    const px_hardware *const unit = &machine->hardware.units[index];
    px_way ways[PX_MOST_WAYS];
    char usable[256] = "", note[256];
    size_t used = 0;
    const size_t count =
        px_hardware_judge(&machine->hardware, index, machine->runtimes, machine->runtime_count, ways);
    for (size_t i = 0; i < count; i++)
        if (ways[i].is_usable && used < sizeof usable)
            used += (size_t)snprintf(usable + used, sizeof usable - used, "%s%s", used ? ", " : ": usable as ",
                                     ways[i].device);
    const px_way *const wanted = wish->is_met ? NULL : find_way(ways, count, wish->device);
    const px_problem *const problem = count && ways[0].problem_count ? &ways[0].problems[0] : NULL;
    if (wanted && wanted->problem_count)
        FATAL(kinds[unit->kind], wanted->problems[0].remedy, "%s, asked for as %s: %s", unit->name, wish->device,
              wanted->problems[0].reason);
    else if (used || !problem) OK(kinds[unit->kind], "%s%s", unit->name, usable);
    else NOTE(kinds[unit->kind], problem->remedy, "%s: %s", unit->name, problem->reason);
    if (unit->driver[0])
        OK("driver", "%s %s%s%s", unit->driver, unit->driver_version, unit->firmware[0] ? ", firmware " : "",
           unit->firmware);
    px_hardware_note(&machine->hardware, index, note, sizeof note);
    if (note[0]) NOTE("besides", "", "%s", note);
}

/* OpenVINO's NPU pipeline runs on other devices where that property says so. */
static bool has_stand_in(const phlox_model_options *options)
{
    for (size_t i = 0; i < options->ov_config_count; i++)
        if (strncmp(options->ov_config[i], "NPUW_DEVICES=", 13) == 0) return true;
    return false;
}

static void check_units(struct doctor *doctor)
{
    const char *const given = doctor->options->device;
    const px_device *device = NULL;
    char unit[32];
    phlox_error error;
    struct wish wish = {.device = ""};
    doctor->section = "units";
    if (given && strcmp(given, "auto") != 0) {
        if (px_device_by_name(given, &device, unit, sizeof unit, &error) == PHLOX_OK)
            px_device_unit_name(device, unit, wish.device, sizeof wish.device);
        else FATAL("device", "phlox devices", "%s", error.message);
    }
    if (strcmp(wish.device, "openvino:NPU") == 0 && has_stand_in(doctor->options)) {
        OK("device", "%s, played by what --ov-config NPUW_DEVICES names", wish.device);
        wish.device[0] = 0;
    }
    look_for(doctor->machine, &wish);
    for (size_t i = 0; i < doctor->machine->hardware.count; i++) check_unit(doctor, i, &wish);
    if (wish.device[0] && !wish.is_found)
        FATAL("device", "phlox devices", "%s is none of the units that the system shows", wish.device);
}

/* ---- cache, environment, options ----------------------------------------------------------- */

static bool add_entry(void *user, const phlox_cache_entry *entry)
{
    *(uint64_t *)user += entry->bytes;
    return true;
}

/* The nearest place above that is there. */
static void find_parent(char *path)
{
    while (path[0] && !px_root_exists("", "%s", path)) {
        char *const slash = strrchr(path, '/');
        if (!slash) memcpy(path, ".", 2);
        else if (slash == path) path[1] = 0;
        else *slash = 0;
    }
}

static void check_directory(struct doctor *doctor, const char *directory)
{
    const uint64_t little = UINT64_C(3) << 30; /* a model of 3.8 billion parameters as int4 takes 2.1 GB */
    const uint64_t limit = doctor->options->cache_limit ? doctor->options->cache_limit : PX_CACHE_LIMIT;
    static const char advice[] = "give --cache-dir DIR, or --no-cache";
    uint64_t used = 0, left, total;
    char a[16], b[16], path[PX_PATH_SIZE];
    phlox_error error;
    snprintf(path, sizeof path, "%s", directory);
    find_parent(path);
    if (!px_is_directory(path)) {
        PROBLEM("directory", advice, "%s: %s is no directory", directory, path);
        return;
    }
    const char *const state = px_is_directory(directory) ? "" : " (not made yet)";
    if (px_may_use(path)) OK("directory", "%s%s", directory, state);
    else PROBLEM("directory", advice, "%s: you may not write there", directory);
    if (px_cache_list(directory, add_entry, &used, &error) == PHLOX_OK)
        OK("size", "%s of at most %s", bytes(used, a), bytes(limit, b));
    else PROBLEM("size", advice, "%s", error.message);
    if (!px_disk_space(path, &left, &total)) return;
    if (left < little)
        NOTE("free space", "free some, or give --cache-dir DIR on another disk", "%s of %s", bytes(left, a),
             bytes(total, b));
    else OK("free space", "%s of %s", bytes(left, a), bytes(total, b));
}

static void check_cache(struct doctor *doctor)
{
    doctor->section = "cache";
    char *const directory = px_cache_directory(doctor->options->cache_dir);
    if (doctor->options->no_cache) OK("directory", "none: --no-cache");
    else if (directory) check_directory(doctor, directory);
    else NOTE("directory", "set HOME, or give --cache-dir DIR",
              "none: neither HOME nor XDG_CACHE_HOME is set; every start converts the weights");
    free(directory);
}

static bool is_utf8(const char *locale)
{
    for (; *locale; locale++)
        if (strncmp(locale, "UTF-8", 5) == 0 || strncmp(locale, "utf8", 4) == 0 ||
            strncmp(locale, "UTF8", 4) == 0 || strncmp(locale, "utf-8", 5) == 0)
            return true;
    return false;
}

static void check_environment(struct doctor *doctor)
{
    static const char *const locales[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    static const char *const names[] = {
        "NO_COLOR", "HF_HOME", "HF_ENDPOINT", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
        "ORT_LIB_PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "OMP_NUM_THREADS", "VIRTUAL_ENV",
        "CUDA_VISIBLE_DEVICES", "OPENVINO_LOG_LEVEL", "DISABLE_OPENVINO_GENAI_NPU_L0", "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL", "HTTPS_PROXY", "https_proxy", "NO_PROXY",
    };
    const char *locale = NULL;
    doctor->section = "environment";
    for (size_t i = 0; i < PX_COUNT(locales) && !(locale && locale[0]); i++) locale = getenv(locales[i]);
    if (!locale || !locale[0]) locale = "C";
    if (is_utf8(locale)) OK("locale", "%s", locale);
    else NOTE("locale", "export LC_ALL=C.UTF-8", "%s: phlox writes UTF-8, which the terminal may show wrongly",
              locale);
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        const char *const value = getenv(names[i]);
        if (value) OK(names[i], "%s", value);
    }
}

static void check_options(struct doctor *doctor)
{
    size_t count;
    const phlox_option *const table = phlox_model_option_table(&count);
    char value[TEXT_SIZE], shown[TEXT_SIZE];
    bool is_default;
    for (size_t i = 0; i < count && !doctor->is_over; i++) {
        if (phlox_model_options_get(doctor->options, table[i].name, value, sizeof value, &is_default, NULL) !=
            PHLOX_OK)
            continue;
        hide(value, shown);
        const phlox_check check = {"options", table[i].name, shown, "", is_default ? "default" : "given",
                                   PHLOX_VERDICT_OK, false};
        doctor->is_over = !doctor->visit(doctor->user, &check);
    }
}

phlox_status phlox_doctor(const char *root, const phlox_model_options *options, phlox_check_fn *visit,
                          void *user, phlox_error *error)
{
    phlox_model_options initial;
    phlox_model_options_init(&initial);
    px_machine_units *machine;
    PX_TRY(px_machine_units_find(root, options, &machine, error));
    struct doctor made = {.root = machine->hardware.root, .options = options ? options : &initial,
                          .machine = machine, .visit = visit, .user = user, .section = "phlox"};
    struct doctor *const doctor = &made;
    OK("version", "%s", phlox_version());
    check_system(doctor);
    check_processor(doctor);
    check_memory(doctor);
    check_power(doctor);
    check_runtimes(doctor);
    check_units(doctor);
    check_cache(doctor);
    check_environment(doctor);
    check_options(doctor);
    free(machine);
    return PHLOX_OK;
}
