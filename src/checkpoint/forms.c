#include "base/os.h"
#include "checkpoint/gguf.h"
#include "checkpoint/huggingface.h"
#include "checkpoint/onnx.h"
#include "checkpoint/openvino.h"

#include <string.h>

static const px_form *const forms[] = {
    &px_form_openvino,
    &px_form_gguf,
    &px_form_onnx,
    &px_form_huggingface,
};

const px_form *px_form_by_name(const char *name)
{
    for (size_t i = 0; i < PX_COUNT(forms); i++)
        if (strcmp(forms[i]->name, name) == 0) return forms[i];
    return NULL;
}

static phlox_status finish_open(px_checkpoint *checkpoint, phlox_status status,
                                px_checkpoint **out)
{
    if (status == PHLOX_OK) *out = checkpoint;
    else px_checkpoint_close(&checkpoint);
    return status;
}

phlox_status px_checkpoint_open(const char *path, px_checkpoint **out, phlox_error *error)
{
    if (!px_is_directory(path) && !px_is_file(path))
        return px_fail(error, PHLOX_ERROR_NOT_FOUND, "%s: no such file or directory", path);
    const px_form *form = NULL;
    for (size_t i = 0; i < PX_COUNT(forms) && !form; i++)
        if (forms[i]->detect(path)) form = forms[i];
    if (!form)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: not a model that phlox reads; give the directory of a Hugging Face "
                       "checkpoint, with config.json and model.safetensors in it, of an OpenVINO "
                       "export, with openvino_model.xml, or of ONNX Runtime GenAI, with "
                       "genai_config.json; or a .gguf file", path);
    px_checkpoint *const checkpoint = px_calloc(1, sizeof *checkpoint);
    if (!checkpoint) return px_fail_memory(error, sizeof *checkpoint);
    return finish_open(checkpoint, form->open(path, checkpoint, error), out);
}

phlox_status px_checkpoint_open_memory(const px_memory_file *files, size_t count,
                                       px_checkpoint **out, phlox_error *error)
{
    px_checkpoint *const checkpoint = px_calloc(1, sizeof *checkpoint);
    if (!checkpoint) return px_fail_memory(error, sizeof *checkpoint);
    return finish_open(checkpoint, px_huggingface_open_memory(files, count, checkpoint, error),
                       out);
}
