#include "base/cache.h"
#include "device/openvino_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a compile that is watched -------------------------------------------------------------- */

/* A compile that runs on a thread of its own, so that this one can tell of the time it takes. */
struct compiling {
    px_device_model *model;
    const ov_model_t *network;
    const px_openvino_config *config;
    px_monitor *monitor;
    bool is_done;
    phlox_status status;
    phlox_error error;
};

static void compile(void *user)
{
    struct compiling *const c = user;
    c->status = px_openvino_compile(&c->model->api, c->model->core, c->network, c->model->unit,
                                    c->config->properties, c->config->count, &c->model->compiled,
                                    &c->error);
    px_monitor_lock(c->monitor);
    c->is_done = true;
    px_monitor_wake_all(c->monitor);
    px_monitor_unlock(c->monitor);
}

/* Nothing stops a compile: a request to cancel is heard, and obeyed when it is over. */
static phlox_status watch(struct compiling *c, const phlox_model_options *user, phlox_error *error)
{
    const phlox_progress report = {.what = c->model->phase};
    bool goes_on = true;
    bool is_done = false;
    while (!is_done) {
        goes_on = (!user->progress || user->progress(user->progress_user, &report)) && goes_on;
        px_monitor_lock(c->monitor);
        if (!c->is_done) px_monitor_wait_for(c->monitor, 0.2);
        is_done = c->is_done;
        px_monitor_unlock(c->monitor);
    }
    return goes_on ? PHLOX_OK
                   : px_fail(error, PHLOX_ERROR_CANCELLED, "cancelled while %s", c->model->phase);
}

static phlox_status compile_watched(px_device_model *model, const ov_model_t *network,
                                    const px_openvino_config *config, const phlox_model_options *user,
                                    phlox_error *error)
{
    struct compiling c = {.model = model, .network = network, .config = config};
    snprintf(model->phase, sizeof model->phase, "compiling for openvino:%s", model->unit);
    c.monitor = px_monitor_create();
    if (!c.monitor) return px_fail_memory(error, sizeof c);
    px_thread *const thread = px_thread_start(compile, &c);
    if (!thread) compile(&c);
    phlox_status status = watch(&c, user, error);
    if (thread) px_thread_join(thread);
    px_monitor_free(c.monitor);
    if (status == PHLOX_OK && c.status != PHLOX_OK) {
        status = c.status;
        if (error) *error = c.error;
    }
    return status;
}

/* ---- the cache of what is compiled ---------------------------------------------------------- */

static phlox_status open_cache(const px_device_model *model, const px_openvino_config *config,
                               const px_device_options *options, char **path, phlox_error *error)
{
    char state[512], driver[64];
    px_openvino_driver(model, driver, sizeof driver);
    snprintf(state, sizeof state, "OpenVINO %s, driver %s, %s", model->api.version, driver,
             model->checkpoint->state);
    const bool is_exact = options->user->exact && model->is_borrowed; /* said to the units, not here */
    char *const variant = px_openvino_config_text(config, model->unit, is_exact ? "exact" : "");
    char *const source = px_real_path(model->exported.path);
    const px_cache_key key = {"compiled", source, state, variant};
    const phlox_status status =
        source && variant
            ? px_cache_tree_open(options->cache_dir, options->user->cache_limit, &key,
                                 model->info.weight_bytes, NULL, NULL, path, NULL, error)
            : px_fail_memory(error, strlen(model->exported.path));
    free(source);
    free(variant);
    return status;
}

/* A directory for what the plugin compiles, which it fills and reads. Another driver, another version and
 * another state of the weights begin with an empty one; and so does another set of properties, since the
 * plugin takes what it finds there for its own whatever it was compiled with. Without a cache, or where the
 * user names a directory, there is none. */
static phlox_status set_cache(const px_device_model *model, px_openvino_config *config,
                              const px_device_options *options, phlox_error *error)
{
    const bool is_cpu = strcmp(model->unit, "CPU") == 0;
    if (is_cpu || !options->cache_dir || model->exported.is_temporary) return PHLOX_OK;
    char *path = NULL;
    PX_TRY(open_cache(model, config, options, &path, error));
    const phlox_status status = px_openvino_set(config, "CACHE_DIR", error, "%s", path);
    free(path);
    return status;
}

static phlox_status compile_cached(px_device_model *model, const ov_model_t *network,
                                   px_openvino_config *config, const px_device_options *options,
                                   phlox_error *error)
{
    if (px_openvino_get(config, "CACHE_DIR"))
        return compile_watched(model, network, config, options->user, error);
    PX_TRY(set_cache(model, config, options, error));
    const phlox_status status = compile_watched(model, network, config, options->user, error);
    px_openvino_unset(config, "CACHE_DIR"); /* it is for just these properties */
    return status;
}

/* Prompts in chunks that are kept are not everywhere: where compiling fails for them it goes without. */
phlox_status px_openvino_compile_network(px_device_model *model, const ov_model_t *network,
                                         px_openvino_config *config, const px_device_options *options,
                                         phlox_error *error)
{
    phlox_error first, again;
    phlox_status status = compile_cached(model, network, config, options, &first);
    if (status == PHLOX_ERROR_DEVICE && model->npu.reuses &&
        px_openvino_npu_blames_reuse(config, first.message)) {
        px_openvino_npu_no_reuse(model, config);
        status = compile_cached(model, network, config, options, &again);
        if (status == PHLOX_ERROR_CANCELLED) first = again;
    }
    if (status != PHLOX_OK && error) *error = first;
    return status == PHLOX_OK ? PHLOX_OK : first.code;
}
