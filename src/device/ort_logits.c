#include "device/ort_logits.h"

#include "base/half.h"
#include "engine/weights.h"

#include <math.h>
#include <string.h>

struct tensor {
    OgaTensor *handle;
    void *data;
    int type;
    int64_t rows; /* of [1, rows, vocab] */
};

static phlox_status read_tensor(const px_device_model *model, struct tensor *tensor, phlox_error *error)
{
    const px_ort_api *const api = &model->api;
    size_t rank = 0;
    int64_t shape[3] = {0};
    PX_TRY(px_ort_check(api, api->OgaTensorGetType(tensor->handle, &tensor->type), model->device, error));
    PX_TRY(px_ort_check(api, api->OgaTensorGetShapeRank(tensor->handle, &rank), model->device, error));
    if (rank == PX_COUNT(shape))
        PX_TRY(px_ort_check(api, api->OgaTensorGetShape(tensor->handle, shape, rank), model->device, error));
    const int32_t vocab = model->checkpoint->desc.vocab_size;
    if (rank != PX_COUNT(shape) || shape[0] != 1 || shape[1] < 1 || shape[2] != vocab)
        return px_fail(error, PHLOX_ERROR_DEVICE,
                       "%s: logits have %zu dimensions, [%lld, %lld, %lld]; [1, tokens, %d] are meant",
                       model->device, rank, (long long)shape[0], (long long)shape[1], (long long)shape[2], vocab);
    if (tensor->type != PX_ORT_FLOAT32 && tensor->type != PX_ORT_FLOAT16 && tensor->type != PX_ORT_BFLOAT16)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: logits are of ONNX type %d; float32, float16 and bfloat16 are read", model->device,
                       tensor->type);
    tensor->rows = shape[1];
    return px_ort_check(api, api->OgaTensorGetData(tensor->handle, &tensor->data), model->device, error);
}

/* All that the graph gave in the last step, or those of the last token. OgaDestroyTensor() the handle. */
static phlox_status open_tensor(const px_device_model *model, OgaGenerator *generator, bool all,
                                struct tensor *tensor, phlox_error *error)
{
    const px_ort_api *const api = &model->api;
    *tensor = (struct tensor){.handle = NULL};
    PX_TRY(px_ort_check(api,
                        all ? api->OgaGenerator_GetOutput(generator, model->logits, &tensor->handle)
                            : api->OgaGenerator_GetLogits(generator, &tensor->handle),
                        model->device, error));
    const phlox_status status = read_tensor(model, tensor, error);
    if (status != PHLOX_OK) api->OgaDestroyTensor(tensor->handle);
    return status;
}

static void widen(const struct tensor *tensor, size_t from, size_t count, float *out)
{
    const uint16_t *const halves = (const uint16_t *)tensor->data + from;
    if (tensor->type == PX_ORT_FLOAT32)
        memcpy(out, (const float *)tensor->data + from, count * sizeof *out);
    else if (tensor->type == PX_ORT_FLOAT16)
        for (size_t i = 0; i < count; i++) out[i] = px_f16_to_f32(halves[i]);
    else
        for (size_t i = 0; i < count; i++) out[i] = px_bf16_to_f32(halves[i]);
}

static phlox_status check_finite(const px_device_model *model, const float *logits, size_t count,
                                 phlox_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (isfinite(logits[i])) continue;
        PX_TRY(px_weights_check(model->checkpoint, error));
        return px_fail(error, PHLOX_ERROR_DEVICE,
                       "%s: the logits are not finite although the weights are: they overflow what the "
                       "provider computes with; try --device cpu", model->device);
    }
    return PHLOX_OK;
}

/* Rows [from, to) of the `rows` that there should be. */
static phlox_status take(const px_device_model *model, const struct tensor *tensor, size_t rows, size_t from,
                         size_t to, float *out, phlox_error *error)
{
    const size_t vocab = (size_t)model->checkpoint->desc.vocab_size;
    if (tensor->rows != (int64_t)rows)
        return px_fail(error, PHLOX_ERROR_DEVICE, "%s: there are %lld rows of logits, %zu are meant",
                       model->device, (long long)tensor->rows, rows);
    widen(tensor, from * vocab, (to - from) * vocab, out);
    return check_finite(model, out, (to - from) * vocab, error);
}

phlox_status px_ort_logits(const px_device_model *model, OgaGenerator *generator, size_t count, size_t first,
                           size_t end, float *out, phlox_error *error)
{
    /* one row need not be copied with all the others */
    if (end == count && first + 1 == end) return px_ort_last_logits(model, generator, out, error);
    struct tensor tensor;
    PX_TRY(open_tensor(model, generator, true, &tensor, error));
    const phlox_status status = take(model, &tensor, count, first, end, out, error);
    model->api.OgaDestroyTensor(tensor.handle);
    return status;
}

phlox_status px_ort_last_logits(const px_device_model *model, OgaGenerator *generator, float *out,
                                phlox_error *error)
{
    struct tensor tensor;
    PX_TRY(open_tensor(model, generator, false, &tensor, error));
    const phlox_status status = out ? take(model, &tensor, 1, 0, 1, out, error) : PHLOX_OK;
    model->api.OgaDestroyTensor(tensor.handle);
    return status;
}

phlox_status px_ort_logits_of_step(const px_device_model *model, OgaGenerator *generator, int64_t *rows,
                                   size_t *bytes, phlox_error *error)
{
    struct tensor tensor;
    PX_TRY(open_tensor(model, generator, true, &tensor, error));
    *rows = tensor.rows;
    *bytes = tensor.type == PX_ORT_FLOAT32 ? sizeof(float) : sizeof(uint16_t);
    model->api.OgaDestroyTensor(tensor.handle);
    return PHLOX_OK;
}
