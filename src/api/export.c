#include "api/builtin.h"
#include "engine/export.h"

#include <inttypes.h>

void phlox_export_options_init(phlox_export_options *options)
{
    *options = (phlox_export_options){.struct_size = sizeof *options, .accuracy_level = -1};
}

static phlox_status check_words(const phlox_export_options *words, phlox_error *error)
{
    if (words->struct_size != sizeof *words)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "phlox_export_options was not set up by phlox_export_options_init()");
    if (words->provider < PHLOX_PROVIDER_CPU || words->provider > PHLOX_PROVIDER_DML)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "provider is %d; 0 to 2 are meant",
                       (int)words->provider);
    if (words->accuracy_level < -1 || words->accuracy_level > 4)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "accuracy-level is %" PRId32 "; 0 to 4 are meant, -1 for the default",
                       words->accuracy_level);
    return PHLOX_OK;
}

phlox_status phlox_export(const char *path, const char *form_name, const char *out,
                          const phlox_model_options *options, const phlox_export_options *words,
                          phlox_export_result *result, phlox_error *error)
{
    phlox_model_options asked;
    phlox_export_options said;
    if (options) asked = *options;
    else phlox_model_options_init(&asked);
    if (words) said = *words;
    else phlox_export_options_init(&said);
    PX_TRY(check_words(&said, error));
    const px_form *const form = px_form_by_name(form_name);
    if (!form || !form->write)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "%s is no form that phlox writes; use openvino, onnx, gguf or "
                       "huggingface",
                       form_name);
    px_checkpoint *checkpoint = NULL;
    PX_TRY(px_builtin_open_or(path, &checkpoint, error));
    const px_export_order order = {
        .checkpoint = checkpoint, .form = form, .options = &asked, .words = &said};
    const phlox_status status = px_export_run(&order, out, result, error);
    px_checkpoint_close(&checkpoint);
    return status;
}
