/* The units of the machine and what can drive them: the system's view, and that of each runtime. */
#include "api/devices.h"

#include "fetch/runtimes.h"

#include <phlox/devices.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- asking a runtime ---------------------------------------------------------------------- */

/* Opening a runtime opens drivers, and those of a unit that hangs may never answer. */
static const double usual_patience = 30;

/* Lives as long as the later of its two sides: the thread that asks, and who waits for it. */
struct asking {
    const px_device *device;
    phlox_model_options options;
    char *libraries[2]; /* copies that the options point to */
    px_units units;
    phlox_error error;
    phlox_status status;
    px_monitor *monitor;
    bool is_done, is_left;
};

static void asking_free(struct asking *asking)
{
    for (size_t i = 0; i < PX_COUNT(asking->libraries); i++) free(asking->libraries[i]);
    px_monitor_free(asking->monitor);
    free(asking);
}

static void ask(void *argument)
{
    struct asking *const asking = argument;
    const phlox_status status = asking->device->list(&asking->options, &asking->units, &asking->error);
    px_monitor_lock(asking->monitor);
    asking->status = status;
    asking->is_done = true;
    const bool is_left = asking->is_left;
    px_monitor_wake_all(asking->monitor);
    px_monitor_unlock(asking->monitor);
    if (is_left) asking_free(asking);
}

static struct asking *asking_create(const px_device *device, const phlox_model_options *options)
{
    struct asking *const asking = px_calloc(1, sizeof *asking);
    if (!asking) return NULL;
    const char *const given[] = {options->openvino_library, options->ort_library};
    bool is_whole = true;
    for (size_t i = 0; i < PX_COUNT(given); i++) {
        asking->libraries[i] = given[i] ? px_strdup(given[i], strlen(given[i])) : NULL;
        is_whole &= !given[i] == !asking->libraries[i];
    }
    asking->device = device;
    asking->monitor = px_monitor_create();
    phlox_model_options_init(&asking->options);
    asking->options.openvino_library = asking->libraries[0];
    asking->options.ort_library = asking->libraries[1];
    if (is_whole && asking->monitor) return asking;
    asking_free(asking);
    return NULL;
}

/* Waits for the thread; false when it has not answered in time, and is then left to itself. */
static bool wait_for(struct asking *asking, double patience)
{
    const double end = px_seconds() + patience;
    px_monitor_lock(asking->monitor);
    for (double now = px_seconds(); !asking->is_done && now < end; now = px_seconds())
        px_monitor_wait_for(asking->monitor, end - now);
    const bool is_done = asking->is_done;
    asking->is_left = !is_done;
    px_monitor_unlock(asking->monitor);
    return is_done;
}

void px_runtime_ask(const px_device *device, const phlox_model_options *options, double patience,
                    px_runtime_seen *seen)
{
    struct asking *const asking = asking_create(device, options);
    px_thread *const thread = asking ? px_thread_start(ask, asking) : NULL;
    seen->was_asked = true;
    seen->status = PHLOX_ERROR_DEVICE;
    if (!thread) {
        snprintf(seen->message, sizeof seen->message, "no memory to ask it");
        if (asking) asking_free(asking);
        return;
    }
    if (!wait_for(asking, patience)) {
        seen->has_hung = true;
        snprintf(seen->message, sizeof seen->message, "it has not answered for %.0f seconds; a driver hangs",
                 patience);
        px_thread_leave(thread);
        return;
    }
    px_thread_join(thread);
    seen->status = asking->status;
    seen->units = asking->units;
    if (asking->status != PHLOX_OK)
        snprintf(seen->message, sizeof seen->message, "%.*s", (int)sizeof seen->message - 1,
                 asking->error.message);
    asking_free(asking);
}

static const char *title_of(const char *runtime)
{
    static const struct {
        const char *runtime, *title;
    } titles[] = {{"openvino", "OpenVINO"}, {"onnxruntime-genai", "ONNX Runtime GenAI"}};
    for (size_t i = 0; i < PX_COUNT(titles); i++)
        if (strcmp(titles[i].runtime, runtime) == 0) return titles[i].title;
    return runtime;
}

/* The library that the user names for a runtime; NULL: it is looked for. */
static const char *given_library(const phlox_model_options *options, const char *runtime)
{
    return strcmp(runtime, "openvino") == 0 ? options->openvino_library : options->ort_library;
}

/* The NAME of a library in NAME/VERSION/ of phlox's folder of runtimes. */
static void find_own(px_runtime_seen *seen)
{
    char *const folder = px_runtime_folder();
    const size_t length = folder ? strlen(folder) : 0;
    if (length && strncmp(seen->library, folder, length) == 0 && seen->library[length] == '/') {
        const char *const name = seen->library + length + 1;
        memcpy(seen->own, name, PX_MIN(strcspn(name, "/"), sizeof seen->own - 1));
    }
    free(folder);
}

/* `is_here`: the machine is this one, so that its runtimes can be opened. One that was named is asked in any
 * case: that it is not there is for it to say. */
static void see_runtime(const px_device *device, const phlox_model_options *options, const char *root,
                        bool is_here, px_runtime_seen *out)
{
    *out = (px_runtime_seen){.name = device->name, .runtime = device->runtime};
    out->title = device->runtime ? title_of(device->runtime) : "native engine";
    if (!device->runtime) {
        out->is_installed = true;
        return;
    }
    const char *const given = given_library(options, device->runtime);
    if (!is_here) out->is_installed = px_hardware_has_runtime(root, device->runtime);
    else out->is_installed = device->find(options, out->library, sizeof out->library) || given;
    out->is_given = given != NULL;
    find_own(out);
    if (is_here && given && !out->library[0])
        snprintf(out->library, sizeof out->library, "%s", given);
    if (is_here && out->is_installed) px_runtime_ask(device, options, usual_patience, out);
}

phlox_status px_machine_units_find(const char *root, const phlox_model_options *options,
                                   px_machine_units **out, phlox_error *error)
{
    phlox_model_options initial;
    phlox_model_options_init(&initial);
    if (!options) options = &initial;
    px_machine_units *const made = px_calloc(1, sizeof *made);
    if (!made) return px_fail_memory(error, sizeof *made);
    const bool is_here = !root || strcmp(root, "/") == 0 || !root[0];
    const px_device *const *device = px_device_all();
    px_hardware_find(is_here ? "" : root, NULL, &made->hardware);
    for (; *device && made->runtime_count < PX_MOST_RUNTIMES; device++)
        see_runtime(*device, options, root, is_here, &made->runtimes[made->runtime_count++]);
    *out = made;
    return PHLOX_OK;
}

/* ---- the list ------------------------------------------------------------------------------ */

static bool visit_unit(const px_machine_units *machine, size_t index, phlox_unit_fn *visit, void *user)
{
    static const phlox_unit_kind kinds[] = {[PX_UNIT_CPU] = PHLOX_UNIT_CPU, [PX_UNIT_GPU] = PHLOX_UNIT_GPU,
                                            [PX_UNIT_NPU] = PHLOX_UNIT_NPU};
    const px_hardware *const unit = &machine->hardware.units[index];
    px_way ways[PX_MOST_WAYS];
    phlox_unit_runtime runtimes[PX_MOST_WAYS];
    phlox_problem problems[PX_MOST_WAYS][PX_MOST_PROBLEMS];
    char note[256];
    const char *best = "";
    const size_t count =
        px_hardware_judge(&machine->hardware, index, machine->runtimes, machine->runtime_count, ways);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < ways[i].problem_count; j++)
            problems[i][j] = (phlox_problem){ways[i].problems[j].reason, ways[i].problems[j].remedy};
        runtimes[i] = (phlox_unit_runtime){ways[i].title, ways[i].device, ways[i].is_installed,
                                           ways[i].is_listed, ways[i].is_usable, problems[i],
                                           ways[i].problem_count};
        if (!*best && ways[i].is_usable) best = ways[i].device;
    }
    px_hardware_note(&machine->hardware, index, note, sizeof note);
    const phlox_unit shown = {
        .kind = kinds[unit->kind], .device = best, .vendor = unit->vendor_name, .name = unit->name,
        .generation = unit->generation, .pci = unit->pci, .driver = unit->driver,
        .driver_version = unit->driver_version, .firmware = unit->firmware, .node = unit->node,
        .note = note, .may_open = unit->may_open, .is_integrated = unit->is_integrated,
        .memory = unit->memory, .memory_is_least = unit->memory_is_window,
        .shared_memory = unit->shared_memory, .cores = unit->cores, .threads = unit->threads,
        .numa_nodes = unit->numa_nodes, .cpu_features = unit->features, .runtimes = runtimes,
        .runtime_count = count,
    };
    return visit(user, &shown);
}

phlox_status phlox_devices_list(const char *root, const phlox_model_options *options, phlox_unit_fn *visit,
                                void *user, phlox_error *error)
{
    px_machine_units *machine;
    PX_TRY(px_machine_units_find(root, options, &machine, error));
    for (size_t i = 0; i < machine->hardware.count && visit_unit(machine, i, visit, user); i++) continue;
    free(machine);
    return PHLOX_OK;
}

void phlox_power_state(const char *root, phlox_power *out)
{
    static const phlox_power_source sources[] = {[PX_POWER_UNKNOWN] = PHLOX_POWER_UNKNOWN,
                                                 [PX_POWER_MAINS] = PHLOX_POWER_MAINS,
                                                 [PX_POWER_BATTERY] = PHLOX_POWER_BATTERY};
    px_power power;
    px_power_read(root ? root : "", &power);
    *out = (phlox_power){.source = sources[power.source], .percent = power.percent};
    memcpy(out->profile, power.profile, sizeof out->profile);
    memcpy(out->governor, power.governor, sizeof out->governor);
    memcpy(out->preference, power.preference, sizeof out->preference);
}
