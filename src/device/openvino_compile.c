#include "device/openvino_model.h"

#include <stdio.h>
#include <stdlib.h>

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
    px_monitor_lock(c->monitor);
    while (!c->is_done) {
        px_monitor_unlock(c->monitor);
        goes_on = (!user->progress || user->progress(user->progress_user, &report)) && goes_on;
        px_monitor_lock(c->monitor);
        if (!c->is_done) px_monitor_wait_for(c->monitor, 0.2);
    }
    px_monitor_unlock(c->monitor);
    return goes_on ? PHLOX_OK
                   : px_fail(error, PHLOX_ERROR_CANCELLED, "cancelled while %s", c->model->phase);
}

phlox_status px_openvino_compile_watched(px_device_model *model, const ov_model_t *network,
                                         const px_openvino_config *config,
                                         const phlox_model_options *user, phlox_error *error)
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
    if (c.status != PHLOX_OK) {
        status = c.status;
        if (error) *error = c.error;
    }
    return status;
}
