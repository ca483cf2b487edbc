/*
 * The Phi-3 in an ONNX graph, found by walking back from the logits: what feeds what says which weight
 * is which, not the names. A node on that way which is not part of the network is an error.
 */
#ifndef PX_CHECKPOINT_ONNX_GRAPH_H
#define PX_CHECKPOINT_ONNX_GRAPH_H

#include "checkpoint/onnx_matrix.h"

enum { PX_ONNX_MOST_PARTS = 3, PX_ONNX_MOST_LAYERS = 1024 };

/* Matrices stacked by rows. */
typedef struct px_onnx_stack {
    px_onnx_matrix parts[PX_ONNX_MOST_PARTS];
    int count;
} px_onnx_stack;

typedef struct px_onnx_layer {
    px_onnx_stack qkv, o, gate_up, down;
    const px_onnx_tensor *input_norm, *post_norm; /* [hidden], floats */
} px_onnx_layer;

/* Tables of cosine and sine; the long ones NULL without longrope. */
typedef struct px_onnx_rope {
    const px_onnx_tensor *cosine, *sine, *long_cosine, *long_sine;
    bool joined;      /* cosine and sine hold the short table and the long one behind it */
    int64_t original; /* longer sequences use the long tables */
} px_onnx_rope;

typedef struct px_onnx_network {
    px_onnx_layer *layers;
    size_t layer_count, layer_room;
    px_onnx_stack embedding, lm_head;
    const px_onnx_tensor *final_norm;
    int64_t hidden, heads, kv_heads; /* kv_heads 0: the graph does not say */
    int64_t window;                  /* local_window_size; -1: none */
    float epsilon;
    float scale;                     /* of attention; 0: the graph does not say */
    px_onnx_rope rope;
} px_onnx_network;

/* `logits` is the name of the output. On failure, too, the network is to be freed. */
phlox_status px_onnx_network_read(const px_onnx_source *source, phlox_text logits,
                                  px_onnx_network *out);
void px_onnx_network_free(px_onnx_network *network);

#endif
