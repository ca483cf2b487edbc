/* Devices that are tried, and what is advised by what that measured. */
#include "api/builtin.h"
#include "api/model.h"
#include "base/os.h"

#include <phlox/devices.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static phlox_status take_options(const phlox_model_options *given, phlox_model_options *out,
                                 phlox_error *error)
{
    if (given) *out = *given;
    else phlox_model_options_init(out);
    if (!out->cache_limit) out->cache_limit = PX_CACHE_LIMIT;
    return px_check_options(out, error);
}

static const char *kind_name(px_unit_kind kind)
{
    static const char *const names[] = {[PX_UNIT_CPU] = "CPU", [PX_UNIT_GPU] = "GPU",
                                        [PX_UNIT_NPU] = "NPU"};
    return names[kind];
}

/* ---- trials -------------------------------------------------------------------------------- */

static bool show(const px_trial *trial, phlox_trial_fn *visit, void *user)
{
    const phlox_trial shown = {
        .device = trial->device, .kind = kind_name(trial->kind), .name = trial->name,
        .runtime = trial->runtime, .is_right = trial->is_right, .kl = trial->kl,
        .difference = trial->difference, .layer_seconds = trial->layer_seconds,
        .read_rate = trial->read_rate, .prompt_rate = trial->prompt_rate, .watts = trial->watts,
        .problem = trial->problem,
    };
    return visit(user, &shown);
}

static phlox_status verify_one(const char *name, const px_choosing *choosing, phlox_trial_fn *visit,
                               void *user, phlox_error *error)
{
    const px_device *device;
    char unit[32];
    PX_TRY(px_device_by_name(name, &device, unit, sizeof unit, error));
    PX_TRY(px_device_check_settings(device, name, choosing->user, error));
    px_trial *const trial = px_calloc(1, sizeof *trial);
    if (!trial) return px_fail_memory(error, sizeof *trial);
    const phlox_status status = px_trial_again(choosing, device, unit, trial, error);
    if (status == PHLOX_OK) show(trial, visit, user);
    free(trial);
    return status;
}

static phlox_status verify_all(const px_choosing *choosing, phlox_trial_fn *visit, void *user,
                               phlox_error *error)
{
    px_trial *trials;
    size_t count;
    PX_TRY(px_trials(choosing, true, &trials, &count, error));
    for (size_t i = 0; i < count && show(&trials[i], visit, user); i++) continue;
    free(trials);
    return PHLOX_OK;
}

phlox_status phlox_verify(const char *device, const phlox_model_options *options,
                          phlox_trial_fn *visit, void *user, phlox_error *error)
{
    phlox_model_options chosen;
    PX_TRY(take_options(options, &chosen, error));
    char *const cache_dir = chosen.no_cache ? NULL : px_cache_directory(chosen.cache_dir);
    const px_choosing choosing = px_choosing_of(&chosen, cache_dir);
    const phlox_status status = device ? verify_one(device, &choosing, visit, user, error)
                                       : verify_all(&choosing, visit, user, error);
    free(cache_dir);
    return status;
}

/* ---- advice -------------------------------------------------------------------------------- */

/* The formats that a checkpoint of floats may take; one of integers keeps what it has. */
static const struct {
    phlox_weight_format format;
    phlox_symmetry symmetry;
    const char *option;
} formats[] = {
    {PHLOX_WEIGHTS_DEFAULT, PHLOX_SYMMETRY_DEFAULT, ""},
    {PHLOX_WEIGHTS_INT8, PHLOX_SYMMETRY_DEFAULT, "--weight-format int8"},
    {PHLOX_WEIGHTS_F16, PHLOX_SYMMETRY_DEFAULT, "--weight-format f16"},
};

struct advising {
    const px_checkpoint *checkpoint;
    const px_trial *trials;
    const px_trial *best;
    size_t count;
    int32_t context;
    uint64_t available;
    phlox_advice_fn *visit;
    void *user;
};

/* The sizes are those of the native engine: other devices get the same weights. */
static phlox_status estimate(const px_checkpoint *checkpoint, const phlox_model_options *options,
                             size_t format, px_device_info *out, phlox_error *error)
{
    phlox_model_options with = *options;
    with.weight_format = formats[format].format;
    with.symmetry = formats[format].symmetry;
    const px_device_options device_options = {&with, NULL, ""};
    return px_device_all()[0]->estimate(checkpoint, &device_options, out, error);
}

static bool advise_one(const struct advising *a, const px_trial *trial, size_t format,
                       const px_device_info *info)
{
    const px_desc *const desc = &a->checkpoint->desc;
    phlox_advice advice = {.device = trial->device, .name = trial->name, .weights = info->weights,
                           .option = formats[format].option, .problem = trial->problem};
    if (!trial->problem[0]) {
        const double step = px_trial_step_seconds(trial, desc, info->step_weight_bytes);
        advice.decode = 1 / step;
        advice.prefill = 1 / px_trial_prompt_seconds(trial, desc);
        advice.joules = trial->watts * step;
        advice.memory = info->weight_bytes + info->kv_bytes_per_token * (uint64_t)a->context;
        advice.fits = !a->available || advice.memory <= a->available;
        advice.is_best = trial == a->best && format == 0;
    }
    return a->visit(a->user, &advice);
}

/* The best device first, then as tried, those that failed last. */
static bool advise_format(const struct advising *a, size_t format, const px_device_info *info)
{
    if (a->best && !advise_one(a, a->best, format, info)) return false;
    for (size_t i = 0; i < a->count; i++)
        if (&a->trials[i] != a->best && !a->trials[i].problem[0] &&
            !advise_one(a, &a->trials[i], format, info))
            return false;
    for (size_t i = 0; i < a->count && format == 0; i++)
        if (a->trials[i].problem[0] && !advise_one(a, &a->trials[i], format, info)) return false;
    return true;
}

static phlox_status advise_all(struct advising *a, const phlox_model_options *options, bool on_battery,
                               char *reason, size_t size, phlox_error *error)
{
    const size_t most = a->checkpoint->quantized ? 1 : PX_COUNT(formats);
    for (size_t format = 0; format < most; format++) {
        px_device_info info;
        PX_TRY(estimate(a->checkpoint, options, format, &info, error));
        const char *const small = px_choose_small(info.step_weight_bytes);
        if (format == 0 && small && a->count && !a->trials[0].problem[0]) {
            a->best = &a->trials[0];
            snprintf(reason, size, "%s", small);
        } else if (format == 0) {
            a->best = px_trials_pick(a->trials, a->count, &a->checkpoint->desc, info.step_weight_bytes,
                                     options->prefer, on_battery, reason, size);
        }
        if (!advise_format(a, format, &info)) break;
    }
    if (!a->best) snprintf(reason, size, "no device gave the known answer");
    return PHLOX_OK;
}

phlox_status phlox_advise(const char *path, const phlox_model_options *options, int32_t context,
                          phlox_advice_fn *visit, void *user, char *reason, size_t size,
                          phlox_error *error)
{
    phlox_model_options chosen;
    PX_TRY(take_options(options, &chosen, error));
    px_checkpoint *checkpoint = NULL;
    px_trial *trials = NULL;
    PX_TRY(px_builtin_open_or(path, &checkpoint, error));
    char *const cache_dir = chosen.no_cache ? NULL : px_cache_directory(chosen.cache_dir);
    const px_choosing choosing = px_choosing_of(&chosen, cache_dir);
    struct advising advising = {.checkpoint = checkpoint, .visit = visit, .user = user,
                                .available = px_memory_available(),
                                .context = PX_MIN(context ? context : 4096, checkpoint->desc.max_position)};
    phlox_status status = px_trials(&choosing, false, &trials, &advising.count, error);
    advising.trials = trials;
    if (status == PHLOX_OK)
        status = advise_all(&advising, &chosen, choosing.on_battery(), reason, size, error);
    free(trials);
    free(cache_dir);
    px_checkpoint_close(&checkpoint);
    return status;
}
