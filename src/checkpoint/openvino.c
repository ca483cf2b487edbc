#include "checkpoint/openvino.h"

#include "base/os.h"

#include <stdio.h>

static bool openvino_detect(const char *path)
{
    char model[4096];
    snprintf(model, sizeof model, "%s/openvino_model.xml", path);
    return px_is_file(model);
}

static phlox_status openvino_open(const char *path, px_checkpoint *out, phlox_error *error)
{
    (void)out;
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: OpenVINO models are not read yet", path);
}

const px_form px_form_openvino = {"openvino", openvino_detect, openvino_open, px_openvino_write};
