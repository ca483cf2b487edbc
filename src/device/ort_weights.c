#include "checkpoint/export.h"
#include "device/ort_provider.h"
#include "engine/plan.h"

#include <string.h>

/* Whether a graph holds a matrix: integers as they are, or floats. Those of this graph are float16, so that
 * integers which it lacks cannot become floats. */
static bool holds(const px_export *job, const px_form *form, const px_plan_item *planned)
{
    if (!px_export_is_quantized(planned->tensor)) return true;
    px_export_item item = {.tensor = planned->tensor, .format = planned->format,
                           .kept = planned->stored_integers};
    if (item.format.group_size == item.tensor->columns) item.format.group_size = -1;
    return item.kept && form->holds(job, &item);
}

static phlox_status check(const px_export *job, const px_form *form, const char *device, phlox_error *error)
{
    px_plan plan;
    PX_TRY(px_plan_make(job->checkpoint, &job->asked, NULL, &plan, error));
    const px_tensor *bad = NULL;
    for (size_t i = 0; i < plan.count && !bad; i++)
        if (!holds(job, form, &plan.items[i])) bad = plan.items[i].tensor;
    px_plan_free(&plan);
    if (!bad) return PHLOX_OK;
    char stored[64];
    px_tensor_describe(bad, stored, sizeof stored);
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: tensor %s is %s, which the graph of %s does not hold to the last bit, nor as float16, "
                   "which its floats are; --device cpu and ort:cpu run it", bad->file, bad->name, stored, device);
}

phlox_status px_ort_check_weights(const px_checkpoint *checkpoint, const phlox_model_options *user,
                                  const phlox_export_options *words, const char *device, phlox_error *error)
{
    const bool asks_stored =
        user->weight_format == PHLOX_WEIGHTS_DEFAULT || user->weight_format == PHLOX_WEIGHTS_STORED;
    const bool is_in_place = strcmp(checkpoint->form, "onnx") == 0 && asks_stored && words->accuracy_level < 0;
    if (words->provider == PHLOX_PROVIDER_CPU || is_in_place) return PHLOX_OK;
    px_checkpoint widened;
    PX_TRY(px_checkpoint_widened(checkpoint, &widened, error));
    const px_export job = {.checkpoint = &widened, .asked = *user, .words = *words};
    const phlox_status status = check(&job, px_form_by_name("onnx"), device, error);
    px_checkpoint_widened_free(&widened);
    return status;
}
