#include "device/openvino_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void px_openvino_restart(px_sequence *sequence)
{
    if (sequence->request) sequence->model->api.infer_request_free(sequence->request);
    sequence->request = NULL;
    sequence->fed = sequence->entries = 0;
}

/* ---- inputs -------------------------------------------------------------------------------- */

static phlox_status reserve(px_sequence *sequence, size_t entries, phlox_error *error)
{
    if (entries <= sequence->capacity) return PHLOX_OK;
    const size_t capacity = PX_MAX(entries, sequence->capacity + sequence->capacity / 2 + 256);
    int64_t *const mask = realloc(sequence->mask, px_mul(capacity, sizeof *mask));
    if (!mask) return px_fail_memory(error, px_mul(capacity, sizeof *mask));
    sequence->mask = mask;
    sequence->capacity = capacity;
    return PHLOX_OK;
}

/* Gives the request an input that lies in our memory, which must stay until it has run. */
static phlox_status set_input(const px_sequence *sequence, const char *name, ov_element_type_e type,
                              void *data, int64_t count, phlox_error *error)
{
    const px_openvino_api *const api = &sequence->model->api;
    int64_t dims[] = {1, count};
    const bool is_beams = type == sequence->model->i32;
    const ov_shape_t shape = is_beams ? (ov_shape_t){1, dims} : (ov_shape_t){2, dims};
    ov_tensor_t *tensor = NULL;
    ov_status_e status = api->tensor_create_from_host_ptr(type, shape, data, &tensor);
    if (status == 0) status = api->infer_request_set_tensor(sequence->request, name, tensor);
    if (status != 0) px_openvino_fail(api, error, "the input %s", name);
    if (tensor) api->tensor_free(tensor);
    return status == 0 ? PHLOX_OK : PHLOX_ERROR_DEVICE;
}

static phlox_status set_inputs(px_sequence *sequence, const px_openvino_call *call, int64_t *ids,
                               int64_t *positions, int32_t *beams, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    const size_t count = call->count + (call->beyond > 0), all = sequence->entries + count;
    for (size_t i = 0; i < call->count; i++) {
        ids[i] = sequence->ids.data[sequence->fed + i];
        positions[i] = (int64_t)(sequence->fed + i);
        sequence->mask[sequence->entries + i] = 1;
    }
    if (call->beyond > 0) {
        ids[call->count] = ids[0];
        positions[call->count] = call->beyond;
        sequence->mask[all - 1] = 0;
    }
    PX_TRY(set_input(sequence, "input_ids", model->i64, ids, (int64_t)count, error));
    PX_TRY(set_input(sequence, "position_ids", model->i64, positions, (int64_t)count, error));
    PX_TRY(set_input(sequence, "attention_mask", model->i64, sequence->mask, (int64_t)all, error));
    return set_input(sequence, "beam_idx", model->i32, beams, 1, error);
}

/* ---- logits -------------------------------------------------------------------------------- */

static phlox_status copy_logits(const px_sequence *sequence, const px_openvino_call *call,
                                const ov_tensor_t *tensor, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    const px_openvino_api *const api = &model->api;
    const size_t vocab = (size_t)model->checkpoint->desc.vocab_size;
    const size_t count = call->count + (call->beyond > 0);
    size_t size = 0, bytes = 0;
    void *data = NULL;
    if (api->tensor_get_size(tensor, &size) != 0 || api->tensor_get_byte_size(tensor, &bytes) != 0 ||
        api->tensor_data(tensor, &data) != 0)
        return px_openvino_fail(api, error, "the logits");
    const size_t rows = size / vocab, wanted = call->all_logits ? call->count : 1;
    const size_t first = rows == count ? call->count - wanted : 0;
    const bool is_enough = rows == count || (rows == 1 && wanted == 1 && !(call->beyond > 0));
    if (size % vocab != 0 || bytes != size * sizeof(float) || !is_enough)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: the model gives %zu logits of %zu bytes for %zu tokens, and float32 logits "
                       "of all positions, %zu each, are needed; export it anew with "
                       "phlox export openvino", model->checkpoint->path, size, bytes, count, vocab);
    memcpy(call->logits, (const float *)data + first * vocab, wanted * vocab * sizeof(float));
    for (size_t i = 0; i < wanted * vocab; i++)
        if (!isfinite(call->logits[i]))
            return px_fail(error, PHLOX_ERROR_DEVICE,
                           "openvino:%s: the logits of the tokens from %zu on are not finite; where the "
                           "unit computes with float16, --ov-config INFERENCE_PRECISION_HINT=f32 helps",
                           model->unit, sequence->fed);
    return PHLOX_OK;
}

static phlox_status get_logits(const px_sequence *sequence, const px_openvino_call *call,
                               phlox_error *error)
{
    const px_openvino_api *const api = &sequence->model->api;
    if (!call->logits) return PHLOX_OK;
    ov_tensor_t *tensor = NULL;
    if (api->infer_request_get_tensor(sequence->request, "logits", &tensor) != 0)
        return px_openvino_fail(api, error, "the logits");
    const phlox_status status = copy_logits(sequence, call, tensor, error);
    api->tensor_free(tensor);
    return status;
}

/* ---- the call ------------------------------------------------------------------------------ */

/* Whether the unit is still there: a driver that was restarted, or a card that was taken out, is not. */
static bool has_vanished(const px_device_model *model)
{
    ov_available_devices_t devices = {NULL, 0};
    if (model->api.core_get_available_devices(model->core, &devices) != 0) return false;
    const size_t size = strcspn(model->unit, ".");
    bool is_there = strchr(model->unit, ':') || model->is_npu; /* which may run on other units */
    for (size_t i = 0; i < devices.size; i++)
        is_there = is_there || strncmp(devices.devices[i], model->unit, size) == 0;
    model->api.available_devices_free(&devices);
    return !is_there;
}

static phlox_status infer(const px_sequence *sequence, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    if (model->api.infer_request_infer(sequence->request) == 0) return PHLOX_OK;
    const phlox_status status = px_openvino_fail(&model->api, error,
                                                 "openvino:%s failed behind %zu tokens", model->unit,
                                                 sequence->fed);
    if (has_vanished(model))
        px_error_advise(error, status, "the unit is not there any more: phlox devices shows those that are");
    return status;
}

static phlox_status call_network(px_sequence *sequence, const px_openvino_call *call, int64_t *inputs,
                                 phlox_error *error)
{
    const px_openvino_api *const api = &sequence->model->api;
    const size_t count = call->count + (call->beyond > 0);
    int32_t beams = 0;
    if (!sequence->request &&
        api->compiled_model_create_infer_request(sequence->model->compiled, &sequence->request) != 0)
        return px_openvino_fail(api, error, "a request of openvino:%s", sequence->model->unit);
    PX_TRY(reserve(sequence, sequence->entries + count, error));
    PX_TRY(set_inputs(sequence, call, inputs, inputs + count, &beams, error));
    PX_TRY(infer(sequence, error));
    PX_TRY(get_logits(sequence, call, error));
    sequence->fed += call->count;
    sequence->entries += count;
    return PHLOX_OK;
}

phlox_status px_openvino_call_network(px_sequence *sequence, const px_openvino_call *call,
                                      phlox_error *error)
{
    const size_t numbers = px_mul(call->count + 1, 2);
    int64_t *const inputs = px_calloc(numbers, sizeof *inputs);
    if (!inputs) return px_fail_memory(error, px_mul(numbers, sizeof *inputs));
    const phlox_status status = call_network(sequence, call, inputs, error);
    free(inputs);
    if (status != PHLOX_OK) px_openvino_restart(sequence);
    return status;
}
