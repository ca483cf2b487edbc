/* The network of docs/MODEL.md as an ONNX graph, in the nodes and names of onnxruntime-genai's model
 * builder. */
#ifndef PX_CHECKPOINT_ONNX_NETWORK_H
#define PX_CHECKPOINT_ONNX_NETWORK_H

#include "checkpoint/onnx_writer.h"
#include "model/model.h"

/* What differs between execution providers. */
typedef struct px_onnx_kind {
    px_onnx_type io;     /* float or float16: of everything that is not an integer */
    bool rotates_apart;  /* DirectML: RotaryEmbedding outside of attention, with position_ids, and queries,
                          * keys and values apart */
    int32_t window;      /* local_window_size; -1: none */
} px_onnx_kind;

/* Where a network gets its weights from. */
typedef struct px_onnx_weight_source {
    void *user;
    /* Adds the initializer of a norm, float or float16 [columns]. */
    void (*norm)(void *user, px_onnx_out *out, px_role role, int32_t layer, const char *name);
    /* Adds the product of `input` with rows [begin, begin + rows) of a matrix: the node `path` and what it
     * needs. `output` names the result. */
    void (*product)(void *user, px_onnx_out *out, px_role role, int32_t layer, int64_t begin,
                    int64_t rows, const char *path, const char *input, const char *output);
    /* Adds the lookup of input_ids in the embedding. */
    void (*embedding)(void *user, px_onnx_out *out, const char *output);
    /* Adds the initializer of a rotary table [rows, columns] with the bytes of `data`. */
    void (*table)(void *user, px_onnx_out *out, const char *name, int64_t rows, int64_t columns,
                  const void *data);
} px_onnx_weight_source;

/*
 * Adds all nodes, from input_ids, attention_mask [batch, tokens] and past_key_values.N.key|value to logits
 * [batch, tokens, vocab] and present.N.key|value. With longrope, an If chooses the rotary tables by the
 * length of the mask; where the rotation is apart, both tables are one behind the other and the positions
 * move.
 */
void px_onnx_add_network(px_onnx_out *out, const px_desc *desc, const px_onnx_kind *kind,
                         const px_onnx_weight_source *weights);

#endif
