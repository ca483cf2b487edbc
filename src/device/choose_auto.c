#include "device/device.h"

#include "base/cache.h"
#include "device/cpu.h"

#include <phlox/tools.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TRIALS = 64 };

/* ---- what trials depend on ----------------------------------------------------------------- */

/* A text that is cut where it does not fit. */
struct text {
    char data[4096];
    size_t size;
};

static PX_PRINTF(2, 3) void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const size_t room = sizeof text->data - text->size;
    const int written = vsnprintf(text->data + text->size, room, format, arguments);
    va_end(arguments);
    if (written > 0) text->size += PX_MIN((size_t)written, room - 1);
}

static bool add_path(void *user, const char *path)
{
    char text[128] = "";
    size_t length;
    px_read_text(path, text, sizeof text, &length, NULL);
    add(user, "%s %s\n", path, text);
    return true;
}

static void add_library(struct text *state, const px_device *device, const phlox_model_options *user)
{
    char path[1024];
    px_map map;
    if (!device->find || !device->find(user, path, sizeof path)) return;
    if (px_map_open(path, &map, NULL) != PHLOX_OK) return;
    add(state, "%s %zu %" PRId64 "\n", path, map.size, map.modified);
    px_map_close(&map);
}

/* Runtimes, drivers, device nodes, the processor and phlox itself: what of them is another asks for other trials. */
static void describe_machine(const px_choosing *choosing, struct text *state)
{
    static const char *const drivers[] = {
        "/proc/sys/kernel/osrelease",      "/sys/module/i915/srcversion",
        "/sys/module/xe/srcversion",       "/sys/module/intel_vpu/srcversion",
        "/sys/module/amdgpu/srcversion",   "/sys/module/amdxdna/srcversion",
        "/sys/module/nvidia/version",      "/dev/dri/renderD*",
        "/dev/accel/accel*",               "/dev/nvidia[0-9]*",
    };
    char cpu[128];
    phlox_cpu_name(cpu, sizeof cpu);
    add(state, "%s %zu %s %" PRIx64 "\n", choosing->version, sizeof(px_trial), cpu,
                    phlox_cpu_features());
    for (const px_device *const *device = px_device_all(); *device; device++)
        add_library(state, *device, choosing->user);
    for (size_t i = 0; i < PX_COUNT(drivers); i++) px_glob(drivers[i], add_path, state);
}

/* The user's settings of devices. */
static void describe_settings(const phlox_model_options *user, struct text *variant)
{
    add(variant, "%d %d %d %" PRIx64, (int)user->exact, (int)user->kv_cache, user->threads,
                    user->cpu_mask);
    for (size_t i = 0; i < user->ov_config_count; i++)
        add(variant, " %s", user->ov_config[i]);
    for (size_t i = 0; i < user->ort_config_count; i++)
        add(variant, " %s", user->ort_config[i]);
}

/* ---- trying -------------------------------------------------------------------------------- */

struct trying {
    const px_choosing *choosing;
    px_checkpoint *model;
    px_known_answer known;
    px_trial *trials; /* [MOST_TRIALS] */
    size_t count;
};

static phlox_status report(const struct trying *trying, const char *device, phlox_error *error)
{
    const phlox_model_options *const user = trying->choosing->user;
    char what[96];
    snprintf(what, sizeof what, "trying %s", device);
    const phlox_progress progress = {.what = what};
    if (!user->progress || user->progress(user->progress_user, &progress)) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_CANCELLED, "trying the devices was cancelled");
}

/* A driver that ends the process when it is tried must not end every one: while a device is tried a locked file says
 * so, and one that nobody locks tells of such an end. */
static void mark_path(const px_choosing *choosing, const char *device, char *out, size_t size)
{
    if (!choosing->cache_dir || px_make_directories(choosing->cache_dir, NULL) != PHLOX_OK) return;
    snprintf(out, size, "%s/trying-%s", choosing->cache_dir, device);
}

static phlox_status try_unit(struct trying *trying, const px_device *device, const px_unit *unit,
                             phlox_error *error)
{
    if (trying->count == MOST_TRIALS) return PHLOX_OK;
    px_trial *const trial = &trying->trials[trying->count++];
    px_out_file mark = {.descriptor = -1};
    char name[64], path[4096] = "";
    px_device_unit_name(device, unit->unit, name, sizeof name);
    PX_TRY(report(trying, name, error));
    mark_path(trying->choosing, name, path, sizeof path);
    if (path[0] && px_out_clean_one(path)) {
        *trial = (px_trial){.problem = "phlox was killed while it tried this device; phlox verify tries it again"};
        memcpy(trial->device, name, sizeof name);
    } else {
        if (path[0]) px_out_open(&mark, path, 0, NULL);
        px_trial_run(device, unit->unit, trying->model, &trying->known, trying->choosing->user, trial);
        px_out_abandon(&mark);
    }
    trial->kind = unit->kind;
    if (!trial->name[0]) memcpy(trial->name, unit->name, sizeof trial->name);
    return PHLOX_OK;
}

/* A runtime that does not work is a trial that failed; one that is not installed is none. */
static phlox_status try_device(struct trying *trying, const px_device *device, px_units *units,
                               phlox_error *error)
{
    char path[1024];
    phlox_error problem;
    if (device->find && !device->find(trying->choosing->user, path, sizeof path)) return PHLOX_OK;
    const phlox_status status = device->list(trying->choosing->user, units, &problem);
    if (status == PHLOX_ERROR_NOT_FOUND) return PHLOX_OK;
    if (status != PHLOX_OK) {
        if (trying->count == MOST_TRIALS) return PHLOX_OK;
        px_trial *const trial = &trying->trials[trying->count++];
        *trial = (px_trial){.is_right = false};
        snprintf(trial->device, sizeof trial->device, "%s", device->name);
        snprintf(trial->problem, sizeof trial->problem, "%s", problem.message);
        return PHLOX_OK;
    }
    for (size_t i = 0; i < units->count; i++)
        PX_TRY(try_unit(trying, device, &units->units[i], error));
    return PHLOX_OK;
}

static phlox_status try_all(struct trying *trying, phlox_error *error)
{
    PX_TRY(trying->choosing->open_known(&trying->model, &trying->known, error));
    px_units *const units = px_calloc(1, sizeof *units);
    phlox_status status = units ? PHLOX_OK : px_fail_memory(error, sizeof *units);
    for (const px_device *const *device = px_device_all(); *device && status == PHLOX_OK; device++)
        status = try_device(trying, *device, units, error);
    free(units);
    px_checkpoint_close(&trying->model);
    return status;
}

/* ---- keeping ------------------------------------------------------------------------------- */

static void keep(const px_choosing *choosing, const px_cache_key *key, const px_trial *trials,
                 size_t count)
{
    px_cache_section section = {.name = "trials", .size = count * sizeof *trials};
    px_cache_writer *writer = NULL;
    if (px_cache_create(choosing->cache_dir, choosing->user->cache_limit, key, &section, 1, &writer,
                        NULL) != PHLOX_OK)
        return;
    if (px_cache_write(writer, 0, 0, trials, section.size, NULL) == PHLOX_OK)
        px_cache_commit(writer, NULL);
    else
        px_cache_abandon(writer);
}

static bool read_kept(const px_choosing *choosing, const px_cache_key *key, px_trial *trials,
                      size_t *count)
{
    px_cache_file file;
    if (px_cache_open(choosing->cache_dir, key, NULL, NULL, &file, NULL) != PHLOX_OK) return false;
    const size_t bytes = file.count == 1 ? (size_t)file.sections[0].size : 0;
    const bool good = bytes && bytes % sizeof *trials == 0 && bytes <= MOST_TRIALS * sizeof *trials;
    if (good) memcpy(trials, px_cache_data(&file, 0), bytes);
    *count = bytes / sizeof *trials;
    px_cache_close(&file);
    return good;
}

phlox_status px_trials(const px_choosing *choosing, bool anew, px_trial **trials, size_t *count,
                       phlox_error *error)
{
    struct trying trying = {.choosing = choosing,
                            .trials = px_calloc(MOST_TRIALS, sizeof *trying.trials)};
    if (!trying.trials) return px_fail_memory(error, MOST_TRIALS * sizeof *trying.trials);
    struct text state = {.size = 0}, variant = {.size = 0};
    describe_machine(choosing, &state);
    describe_settings(choosing->user, &variant);
    const px_cache_key key = {"trials", "this machine", state.data, variant.data};
    phlox_status status = PHLOX_OK;
    if (anew || !choosing->cache_dir || !read_kept(choosing, &key, trying.trials, &trying.count)) {
        trying.count = 0;
        status = try_all(&trying, error);
        if (status == PHLOX_OK && choosing->cache_dir)
            keep(choosing, &key, trying.trials, trying.count);
    }
    if (status != PHLOX_OK) {
        free(trying.trials);
        return status;
    }
    *trials = trying.trials;
    *count = trying.count;
    return PHLOX_OK;
}

/* ---- picking ------------------------------------------------------------------------------- */

static bool is_candidate(const px_trial *trial)
{
    return trial->is_right && !trial->problem[0] && trial->read_rate > 0;
}

/* NPU before GPU before CPU. */
static int efficiency(const px_trial *trial)
{
    static const int order[] = {[PX_UNIT_CPU] = 0, [PX_UNIT_GPU] = 1, [PX_UNIT_NPU] = 2};
    return order[trial->kind];
}

static const double tie = 0.05, slow = 0.5;

/* Whether `a` goes before `b`, which stands earlier in the list. On battery a unit that uses less goes first as long
 * as it is not less than half as fast as the fastest. */
static bool goes_before(const px_trial *a, double seconds_a, const px_trial *b, double seconds_b,
                        phlox_preference prefer, double fastest)
{
    const bool is_efficiency = prefer == PHLOX_PREFER_EFFICIENCY || prefer == PHLOX_PREFER_QUIET;
    const bool a_slow = !is_efficiency && seconds_a * slow > fastest;
    const bool b_slow = !is_efficiency && seconds_b * slow > fastest;
    const bool is_ladder = is_efficiency || prefer == PHLOX_PREFER_DEFAULT;
    if (is_ladder && a_slow != b_slow) return b_slow;
    if (is_ladder && efficiency(a) != efficiency(b)) return efficiency(a) > efficiency(b);
    const bool is_tie = seconds_a < seconds_b * (1 + tie) && seconds_b < seconds_a * (1 + tie);
    if (is_tie) return efficiency(a) > efficiency(b);
    return seconds_a < seconds_b;
}

static void list_others(const px_trial *trials, size_t count, const px_trial *won, const px_desc *desc,
                        uint64_t step_bytes, char *out, size_t size)
{
    *out = 0;
    for (size_t i = 0; i < count; i++) {
        const px_trial *const trial = &trials[i];
        const size_t used = strlen(out);
        if (trial == won) continue;
        if (is_candidate(trial))
            snprintf(out + used, size - used, "%s%s %.3g", used ? ", " : "; ", trial->device,
                     1 / px_trial_step_seconds(trial, desc, step_bytes));
        else
            snprintf(out + used, size - used, "%s%s failed (phlox verify %s says why)",
                     used ? ", " : "; ", trial->device, trial->device);
    }
}

const px_trial *px_trials_pick(const px_trial *trials, size_t count, const px_desc *desc,
                               uint64_t step_bytes, phlox_preference prefer, bool on_battery,
                               char *reason, size_t size)
{
    const px_trial *won = NULL;
    double fastest = 0, best = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_candidate(&trials[i])) continue;
        const double seconds = px_trial_step_seconds(&trials[i], desc, step_bytes);
        if (!fastest || seconds < fastest) fastest = seconds;
    }
    /* The word for "on battery, and nothing was said". */
    const phlox_preference rule =
        prefer == PHLOX_PREFER_DEFAULT && !on_battery ? PHLOX_PREFER_SPEED : prefer;
    for (size_t i = 0; i < count; i++) {
        if (!is_candidate(&trials[i])) continue;
        const double seconds = px_trial_step_seconds(&trials[i], desc, step_bytes);
        if (won && !goes_before(&trials[i], seconds, won, best, rule, fastest)) continue;
        won = &trials[i];
        best = seconds;
    }
    if (!won) return NULL;
    static const char *const rules[] = {
        [PHLOX_PREFER_DEFAULT] = "the most efficient that is fast enough on battery",
        [PHLOX_PREFER_SPEED] = "the fastest",
        [PHLOX_PREFER_EFFICIENCY] = "the most efficient",
        [PHLOX_PREFER_QUIET] = "the quietest",
    };
    char others[320];
    list_others(trials, count, won, desc, step_bytes, others, sizeof others);
    snprintf(reason, size, "%s of those that gave the known answer, about %.3g tok/s%s", rules[rule],
             1 / best, others);
    return won;
}

/* ---- choosing ------------------------------------------------------------------------------ */

static const uint64_t small_bytes = UINT64_C(64) << 20; /* weights of a step: other units cost more than they win */

const char *px_choose_small(uint64_t step_bytes)
{
    return step_bytes < small_bytes ? "the native engine: a model this small gains nothing elsewhere" : NULL;
}

static bool has_runtime(const phlox_model_options *user)
{
    char path[1024];
    for (const px_device *const *device = px_device_all(); *device; device++)
        if ((*device)->find && (*device)->find(user, path, sizeof path)) return true;
    return false;
}

static phlox_status choose_tried(const px_choosing *choosing, const px_checkpoint *checkpoint,
                                 uint64_t step_bytes, px_choice *out, phlox_error *error)
{
    px_trial *trials;
    size_t count;
    const phlox_status status = px_trials(choosing, false, &trials, &count, error);
    if (status == PHLOX_ERROR_NOT_FOUND) {
        snprintf(out->reason, sizeof out->reason,
                 "the native engine: this build has no model to try other devices with");
        return PHLOX_OK;
    }
    PX_TRY(status);
    const px_trial *const won =
        px_trials_pick(trials, count, &checkpoint->desc, step_bytes, choosing->user->prefer,
                       choosing->on_battery, out->reason, sizeof out->reason);
    const phlox_status named =
        won ? px_device_by_name(won->device, &out->device, out->unit, sizeof out->unit, error)
            : px_fail(error, PHLOX_ERROR_DEVICE, "no device gave the known answer; phlox verify says more");
    free(trials);
    return named;
}

phlox_status px_choose(const px_choosing *choosing, const px_checkpoint *checkpoint, px_choice *out,
                       phlox_error *error)
{
    const phlox_model_options *const user = choosing->user;
    *out = (px_choice){.device = &px_device_cpu};
    if (user->describe_only) {
        snprintf(out->reason, sizeof out->reason, "the native engine: nothing was tried, as nothing is run");
        return PHLOX_OK;
    }
    if (!has_runtime(user)) {
        snprintf(out->reason, sizeof out->reason, "the native engine: no other runtime is installed");
        return PHLOX_OK;
    }
    const px_device_options options = {user, NULL, ""};
    px_device_info info;
    PX_TRY(px_device_cpu.estimate(checkpoint, &options, &info, error));
    const char *const small = px_choose_small(info.step_weight_bytes);
    if (small) {
        snprintf(out->reason, sizeof out->reason, "%s", small);
        return PHLOX_OK;
    }
    return choose_tried(choosing, checkpoint, info.step_weight_bytes, out, error);
}
