#include "device/openvino_model.h"
#include "engine/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- inputs -------------------------------------------------------------------------------- */

/* Gives the request an input that lies in our memory, which must stay until it has run. */
static phlox_status set_input(const px_device_model *model, ov_infer_request_t *request,
                              const char *name, ov_element_type_e type, ov_shape_t shape, void *data,
                              phlox_error *error)
{
    const px_openvino_api *const api = &model->api;
    ov_tensor_t *tensor = NULL;
    phlox_status status = PHLOX_OK;
    if (api->tensor_create_from_host_ptr(type, shape, data, &tensor) != 0 ||
        api->infer_request_set_tensor(request, name, tensor) != 0)
        status = px_openvino_fail(api, error, "the input %s", name);
    if (tensor) api->tensor_free(tensor);
    return status;
}

static phlox_status set_inputs(const px_device_model *model, ov_infer_request_t *request,
                               const px_openvino_inputs *in, int32_t *beam, phlox_error *error)
{
    int64_t tokens[] = {1, (int64_t)in->count}, entries[] = {1, (int64_t)in->mask_count}, one[] = {1};
    const ov_shape_t of_tokens = {2, tokens};
    PX_TRY(set_input(model, request, "input_ids", model->i64, of_tokens, in->ids, error));
    PX_TRY(set_input(model, request, "position_ids", model->i64, of_tokens, in->positions, error));
    PX_TRY(set_input(model, request, "attention_mask", model->i64, (ov_shape_t){2, entries}, in->mask,
                     error));
    return set_input(model, request, "beam_idx", model->i32, (ov_shape_t){1, one}, beam, error);
}

/* ---- running ------------------------------------------------------------------------------- */

/* Whether the unit is still there: a driver that was restarted, or a card that was taken out, is not. */
static bool has_vanished(const px_device_model *model)
{
    ov_available_devices_t devices = {NULL, 0};
    if (model->is_borrowed || strchr(model->unit, ':')) return false; /* others do the work */
    if (model->api.core_get_available_devices(model->core, &devices) != 0) return true;
    const size_t size = strlen(model->unit);
    bool is_there = false;
    for (size_t i = 0; i < devices.size; i++)
        is_there = is_there || strncmp(devices.devices[i], model->unit, size) == 0;
    model->api.available_devices_free(&devices);
    return !is_there;
}

phlox_status px_openvino_infer(const px_device_model *model, ov_infer_request_t *request,
                               const px_openvino_inputs *in, phlox_error *error)
{
    int32_t beam = 0;
    PX_TRY(set_inputs(model, request, in, &beam, error));
    if (model->api.infer_request_infer(request) == 0) return PHLOX_OK;
    const phlox_status status = px_openvino_fail(&model->api, error,
                                                 "openvino:%s failed at the token %lld", model->unit,
                                                 (long long)in->positions[0]);
    if (has_vanished(model))
        px_error_advise(error, status, "the unit is not there any more; phlox devices shows those that are");
    return status;
}

phlox_status px_openvino_request(const px_device_model *model, ov_infer_request_t **out,
                                 phlox_error *error)
{
    if (model->api.compiled_model_create_infer_request(model->compiled, out) == 0) return PHLOX_OK;
    *out = NULL;
    return px_openvino_fail(&model->api, error, "a request of openvino:%s", model->unit);
}

/* ---- logits -------------------------------------------------------------------------------- */

static phlox_status copy_rows(const px_device_model *model, const ov_tensor_t *tensor, size_t count,
                              size_t behind, float *out, phlox_error *error)
{
    const px_openvino_api *const api = &model->api;
    const size_t vocab = (size_t)model->checkpoint->desc.vocab_size;
    size_t size = 0, bytes = 0;
    void *data = NULL;
    if (api->tensor_get_size(tensor, &size) != 0 || api->tensor_get_byte_size(tensor, &bytes) != 0 ||
        api->tensor_data(tensor, &data) != 0)
        return px_openvino_fail(api, error, "the logits");
    const size_t rows = size / vocab;
    if (size % vocab != 0 || bytes != size * sizeof(float) || rows < count + behind)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: the model gives %zu logits of %zu bytes in all, and float32 logits of the "
                       "last %zu positions, %zu each, are needed; export it anew with phlox export "
                       "openvino", model->exported.path, size, bytes, count + behind, vocab);
    memcpy(out, (const float *)data + (rows - behind - count) * vocab, count * vocab * sizeof(float));
    for (size_t i = 0; i < count * vocab; i++) {
        if (isfinite(out[i])) continue;
        PX_TRY(px_weights_check(model->checkpoint, error));
        return px_fail(error, PHLOX_ERROR_DEVICE,
                       "openvino:%s: the logits are not finite although the weights are: %s", model->unit,
                       model->overflow);
    }
    return PHLOX_OK;
}

phlox_status px_openvino_logits(const px_device_model *model, const ov_infer_request_t *request,
                                size_t count, size_t behind, float *out, phlox_error *error)
{
    ov_tensor_t *tensor = NULL;
    if (model->api.infer_request_get_tensor(request, "logits", &tensor) != 0)
        return px_openvino_fail(&model->api, error, "the logits");
    const phlox_status status = copy_rows(model, tensor, count, behind, out, error);
    model->api.tensor_free(tensor);
    return status;
}

/* ---- buffers ------------------------------------------------------------------------------- */

phlox_status px_openvino_reserve(int64_t **numbers, size_t *capacity, size_t count, phlox_error *error)
{
    if (count <= *capacity) return PHLOX_OK;
    const size_t grown = PX_MAX(count, *capacity + *capacity / 2 + 256);
    int64_t *const larger = realloc(*numbers, px_mul(grown, sizeof *larger));
    if (!larger) return px_fail_memory(error, px_mul(grown, sizeof *larger));
    *numbers = larger;
    *capacity = grown;
    return PHLOX_OK;
}
