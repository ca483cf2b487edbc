#include "device/choose.h"

#include "device/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* A reason that is short is said; of a device that failed its command says more. */
static const char *failure_of(const px_trial *trial)
{
    static const char word[] = "failed (phlox verify says why)";
    return trial->is_right && strlen(trial->problem) < 80 ? trial->problem : word;
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
            snprintf(out + used, size - used, "%s%s %s", used ? ", " : "; ", trial->device,
                     failure_of(trial));
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

bool px_trial_can_run(const px_choosing *choosing, const px_checkpoint *checkpoint, px_trial *trial,
                      px_device_info *info)
{
    const px_device *device;
    char unit[32];
    phlox_error error;
    if (!is_candidate(trial)) return false;
    if (px_device_by_name(trial->device, &device, unit, sizeof unit, &error) != PHLOX_OK) return false;
    const px_device_options options = {choosing->user, NULL, unit};
    if (device->estimate(checkpoint, &options, info, &error) != PHLOX_OK) {
        snprintf(trial->problem, sizeof trial->problem, "does not run these weights");
        return false;
    }
    if (trial->kind == PX_UNIT_GPU && trial->memory && info->weight_bytes > trial->memory) {
        snprintf(trial->problem, sizeof trial->problem, "has not the memory for these weights");
        return false;
    }
    return true;
}

/* What the user should know of a device that was not named. */
static void add_context(const px_device_info *info, const px_checkpoint *checkpoint, px_choice *out)
{
    const size_t used = strlen(out->reason);
    if (info->most_context && info->most_context < (size_t)checkpoint->desc.max_position)
        snprintf(out->reason + used, sizeof out->reason - used,
                 "; its context is %zu tokens, --context-size asks for more", info->most_context);
}

static phlox_status pick_runnable(const px_choosing *choosing, const px_checkpoint *checkpoint,
                                  uint64_t step_bytes, px_trial *trials, size_t count, px_choice *out,
                                  phlox_error *error)
{
    px_device_info info = {.threads = 0};
    for (size_t i = 0; i < count; i++) px_trial_can_run(choosing, checkpoint, &trials[i], &info);
    const px_trial *const won =
        px_trials_pick(trials, count, &checkpoint->desc, step_bytes, choosing->user->prefer,
                       choosing->on_battery && choosing->on_battery(), out->reason,
                       sizeof out->reason);
    if (!won)
        return px_fail(error, PHLOX_ERROR_DEVICE,
                       "no device that runs these weights gave the known answer; phlox verify says more");
    px_trial_can_run(choosing, checkpoint, &trials[won - trials], &info);
    PX_TRY(px_device_by_name(won->device, &out->device, out->unit, sizeof out->unit, error));
    add_context(&info, checkpoint, out);
    return px_device_check_settings(out->device, won->device, choosing->user, error);
}

static phlox_status choose_tried(const px_choosing *choosing, const px_checkpoint *checkpoint,
                                 uint64_t step_bytes, px_choice *out, phlox_error *error)
{
    px_trial *trials;
    size_t count;
    const phlox_status status = px_trials(choosing, false, &trials, &count, error);
    if (status == PHLOX_ERROR_NOT_FOUND) {
        snprintf(out->reason, sizeof out->reason, "the native engine: %s",
                 choosing->only_kept ? "no other device was tried yet, and nothing is kept"
                                     : "this build has no model to try other devices with");
        return px_device_check_settings(out->device, "cpu", choosing->user, error);
    }
    PX_TRY(status);
    const phlox_status picked =
        pick_runnable(choosing, checkpoint, step_bytes, trials, count, out, error);
    free(trials);
    return picked;
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
    const px_device_options options = {user, NULL, ""};
    px_device_info info;
    PX_TRY(px_device_cpu.estimate(checkpoint, &options, &info, error));
    const char *const small = px_choose_small(info.step_weight_bytes);
    if (small) {
        snprintf(out->reason, sizeof out->reason, "%s", small);
        return px_device_check_settings(out->device, "cpu", user, error);
    }
    if (!has_runtime(user)) {
        snprintf(out->reason, sizeof out->reason, "the native engine: no other runtime is installed");
        return px_device_check_settings(out->device, "cpu", user, error);
    }
    return choose_tried(choosing, checkpoint, info.step_weight_bytes, out, error);
}
