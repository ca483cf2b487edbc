/* genai_config.json of an export: what ONNX Runtime GenAI is to know of a graph and of sampling
 * (https://onnxruntime.ai/docs/genai/reference/config.html). */
#ifndef PX_CHECKPOINT_ONNX_GENAI_H
#define PX_CHECKPOINT_ONNX_GENAI_H

#include "checkpoint/export.h"

/* Whether rotation comes before attention, with position_ids: DirectML's GroupQueryAttention does not
 * rotate; the others rotate pairs in eights. */
bool px_onnx_rotates_apart(const px_export *job);

/* `model`: the name of the graph's file. */
phlox_status px_onnx_write_genai(const px_export *job, const char *model, phlox_error *error);

#endif
