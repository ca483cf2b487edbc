/* The network of docs/MODEL.md as an OpenVINO graph. */
#ifndef PX_CHECKPOINT_OPENVINO_NETWORK_H
#define PX_CHECKPOINT_OPENVINO_NETWORK_H

#include "checkpoint/openvino_writer.h"
#include "model/model.h"

/* Adds the constant of a parameter and what widens it: a value of type f32 with the shape of the role
 * in model.h; norms have [1, 1, columns]. */
typedef px_ir_value px_ir_weight_fn(void *user, px_ir *ir, px_role role, int32_t layer);

/*
 * Adds all layers, from the inputs input_ids, attention_mask, position_ids [batch, tokens] and
 * beam_idx [batch] to the output logits [batch, tokens, vocab]. Keys and values are states. The
 * operations and their order are those which the plugins of OpenVINO fuse: RMS, RoPE, attention
 * with its cache, products with compressed weights.
 */
void px_ir_add_network(px_ir *ir, const px_desc *desc, px_ir_weight_fn *weight, void *user);

#endif
