/*
 * What a model is, from genai_config.json, the graph, and config.json where it is there. The graph says
 * sizes; config.json what else it knows; without it the rest comes from the graph and genai_config.json.
 */
#ifndef PX_CHECKPOINT_ONNX_CONFIG_H
#define PX_CHECKPOINT_ONNX_CONFIG_H

#include "checkpoint/onnx_weights.h"

/* The file of the model, a plain name, and the name of the logits. They live as long as `genai`. */
phlox_status px_onnx_config_names(const json_t *genai, const char *name, const char **filename,
                                  const char **logits, phlox_error *error);

/* Fills out->desc and makes room for the tensors. */
phlox_status px_onnx_config_describe(const px_onnx_files *files, const json_t *genai,
                                     const px_onnx_network *network, px_checkpoint *out,
                                     phlox_error *error);

#endif
