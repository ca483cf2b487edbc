#include "device/choose.h"

#include "base/cache.h"

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
    char data[16384];
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

/* What a file of the system says; of a node, whether this user may open it. */
static bool add_path(void *user, const char *path)
{
    char text[128] = "";
    size_t length;
    const bool is_node = strncmp(path, "/dev/", 5) == 0;
    if (!is_node) px_read_text(path, text, sizeof text, &length, NULL);
    add(user, "%s %s\n", path, is_node ? px_may_use(path) ? "open" : "closed" : text);
    return true;
}

static bool add_file(void *user, const char *path)
{
    px_map map;
    if (px_map_open(path, &map, NULL) != PHLOX_OK) return true;
    add(user, "%s %zu %" PRId64 "\n", path, map.size, map.modified);
    px_map_close(&map);
    return true;
}

static void add_library(struct text *state, const px_device *device, const phlox_model_options *user)
{
    char path[1024];
    if (device->find && device->find(user, path, sizeof path)) add_file(state, path);
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
    /* of drivers in user space */
    static const char *const libraries[] = {"libze_*.so*", "libigdrcl.so*", "libcuda.so*", "intel-opencl/*.so"};
    static const char *const places[] = {"/usr/lib", "/usr/lib64", "/usr/lib/*-linux-gnu", "/usr/local/lib",
                                         "/usr/lib/wsl/lib"};
    char cpu[128];
    phlox_cpu_name(cpu, sizeof cpu);
    add(state, "%s %zu %s %" PRIx64 "\n", choosing->version, sizeof(px_trial), cpu,
                    phlox_cpu_features());
    for (const px_device *const *device = px_device_all(); *device; device++)
        add_library(state, *device, choosing->user);
    for (size_t i = 0; i < PX_COUNT(drivers); i++) px_glob(drivers[i], add_path, state);
    for (size_t i = 0; i < PX_COUNT(libraries) * PX_COUNT(places); i++) {
        char pattern[64];
        snprintf(pattern, sizeof pattern, "%s/%s", places[i % PX_COUNT(places)],
                 libraries[i / PX_COUNT(places)]);
        px_glob(pattern, add_file, state);
    }
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
    bool anew;        /* also what killed phlox when it was tried last */
    bool is_passing;  /* something failed that has nothing to do with a device: memory, the disk */
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

/* A driver that ends the process when it is tried must not end every one: while a device is tried, or a runtime opened, a
 * locked file says so, and one that nobody locks tells of such an end. Returns false then. */
static bool mark(const struct trying *trying, const char *name, px_out_file *file)
{
    const char *const directory = trying->choosing->cache_dir;
    char path[4096];
    *file = (px_out_file){.descriptor = -1};
    if (!directory || px_make_directories(directory, NULL) != PHLOX_OK ||
        snprintf(path, sizeof path, "%s/trying-%s", directory, name) >= (int)sizeof path)
        return true;
    if (px_out_clean_one(path) && !trying->anew) return false;
    px_out_open(file, path, 0, NULL);
    return true;
}

/* A trial that did not take place, or did not get as far. */
static px_trial *add_failure(struct trying *trying, const char *name, phlox_status status, const char *problem)
{
    px_trial *const trial = &trying->trials[trying->count++];
    *trial = (px_trial){.status = status};
    snprintf(trial->device, sizeof trial->device, "%s", name);
    snprintf(trial->problem, sizeof trial->problem, "%s", problem);
    return trial;
}

static const char killed[] = "phlox was killed while it tried this device; phlox verify tries it again";

static phlox_status try_unit(struct trying *trying, const px_device *device, const char *unit,
                             px_unit_kind kind, phlox_error *error)
{
    if (trying->count == MOST_TRIALS) return PHLOX_OK;
    char name[64];
    px_out_file file;
    px_device_unit_name(device, unit, name, sizeof name);
    PX_TRY(report(trying, name, error));
    if (!mark(trying, name, &file)) {
        add_failure(trying, name, PHLOX_ERROR_DEVICE, killed)->kind = kind;
        return PHLOX_OK;
    }
    px_trial *const trial = &trying->trials[trying->count++];
    px_trial_run(device, unit, trying->model, &trying->known, trying->choosing->user, trial);
    px_out_abandon(&file);
    trial->kind = kind;
    trying->is_passing |= trial->status == PHLOX_ERROR_IO || trial->status == PHLOX_ERROR_MEMORY;
    if (trial->status == PHLOX_ERROR_CANCELLED)
        return px_fail(error, PHLOX_ERROR_CANCELLED, "trying the devices was cancelled");
    return report(trying, name, error);
}

/* A runtime that does not work is a trial that failed; one that is not installed is none. */
static phlox_status list_units(struct trying *trying, const px_device *device, px_units *units,
                               phlox_error *error)
{
    const px_choosing *const choosing = trying->choosing;
    phlox_error problem;
    px_out_file file;
    units->count = 0;
    PX_TRY(report(trying, device->name, error));
    if (!mark(trying, device->name, &file)) {
        if (trying->count < MOST_TRIALS) add_failure(trying, device->name, PHLOX_ERROR_DEVICE, killed);
        return PHLOX_OK;
    }
    const phlox_status status = device->runtime && choosing->list
                                    ? choosing->list(device, choosing->user, units, &problem)
                                    : device->list(choosing->user, units, &problem);
    px_out_abandon(&file);
    if (status == PHLOX_OK) return PHLOX_OK;
    units->count = 0;
    if (status != PHLOX_ERROR_NOT_FOUND && trying->count < MOST_TRIALS)
        add_failure(trying, device->name, status, problem.message);
    return PHLOX_OK;
}

static phlox_status try_device(struct trying *trying, const px_device *device, px_units *units,
                               phlox_error *error)
{
    char path[1024];
    if (device->find && !device->find(trying->choosing->user, path, sizeof path)) return PHLOX_OK;
    PX_TRY(list_units(trying, device, units, error));
    for (size_t i = 0; i < units->count; i++) {
        const px_unit *const unit = &units->units[i];
        const size_t before = trying->count;
        PX_TRY(try_unit(trying, device, unit->unit, unit->kind, error));
        if (trying->count == before) break;
        px_trial *const trial = &trying->trials[before];
        trial->memory = unit->memory;
        if (!trial->name[0]) memcpy(trial->name, unit->name, sizeof trial->name);
    }
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

struct keeping {
    struct text state, variant;
    px_cache_key key;
};

static void name_key(const px_choosing *choosing, struct keeping *out)
{
    out->state.size = out->variant.size = 0;
    describe_machine(choosing, &out->state);
    describe_settings(choosing->user, &out->variant);
    out->key = (px_cache_key){"trials", "this machine", out->state.data, out->variant.data};
}

phlox_status px_trials(const px_choosing *choosing, bool anew, px_trial **trials, size_t *count,
                       phlox_error *error)
{
    struct trying trying = {.choosing = choosing, .anew = anew,
                            .trials = px_calloc(MOST_TRIALS, sizeof *trying.trials)};
    struct keeping *const keeping = px_calloc(1, sizeof *keeping);
    phlox_status status = PHLOX_OK;
    if (!trying.trials || !keeping) status = px_fail_memory(error, MOST_TRIALS * sizeof *trying.trials);
    if (status == PHLOX_OK) {
        name_key(choosing, keeping);
        if (anew || !choosing->cache_dir || !read_kept(choosing, &keeping->key, trying.trials, &trying.count)) {
            trying.count = 0;
            if (choosing->only_kept)
                status = px_fail(error, PHLOX_ERROR_NOT_FOUND, "nothing is known of other devices yet");
            else status = try_all(&trying, error);
            if (status == PHLOX_OK && choosing->cache_dir && !trying.is_passing)
                keep(choosing, &keeping->key, trying.trials, trying.count);
        }
    }
    free(keeping);
    if (status != PHLOX_OK) {
        free(trying.trials);
        return status;
    }
    *trials = trying.trials;
    *count = trying.count;
    return PHLOX_OK;
}

/* Puts a trial in the place of the kept one of this device. */
static void keep_again(const px_choosing *choosing, const px_trial *trial)
{
    px_trial *const trials = px_calloc(MOST_TRIALS, sizeof *trials);
    struct keeping *const keeping = px_calloc(1, sizeof *keeping);
    size_t count = 0;
    if (trials && keeping) {
        name_key(choosing, keeping);
        if (read_kept(choosing, &keeping->key, trials, &count)) {
            for (size_t i = 0; i < count; i++)
                if (strcmp(trials[i].device, trial->device) == 0) trials[i] = *trial;
            keep(choosing, &keeping->key, trials, count);
        }
    }
    free(trials);
    free(keeping);
}

phlox_status px_trial_again(const px_choosing *choosing, const px_device *device, const char *unit,
                            px_trial *out, phlox_error *error)
{
    px_trial trials[1];
    struct trying trying = {.choosing = choosing, .anew = true, .trials = trials};
    PX_TRY(choosing->open_known(&trying.model, &trying.known, error));
    const phlox_status status = try_unit(&trying, device, unit, px_unit_kind_of(unit), error);
    px_checkpoint_close(&trying.model);
    PX_TRY(status);
    *out = trials[0];
    if (choosing->cache_dir && !trying.is_passing) keep_again(choosing, out);
    return PHLOX_OK;
}
