/* Finds the weights of a Phi-3 network in the graph of an OpenVINO IR, by what depends on what: names
 * differ from one version of the tools to the next.
 *
 * All products with constant weights lie on one chain: qkv, o, gate_up, down of each layer, then lm_head.
 * So the number of them that a value has behind it, at most, says where in the network it stands. */
#ifndef PX_CHECKPOINT_OPENVINO_GRAPH_H
#define PX_CHECKPOINT_OPENVINO_GRAPH_H

#include "checkpoint/openvino_xml.h"
#include "model/model.h"

/* Layers whose output is a weight, in the order of the network. */
typedef struct px_ov_network {
    const px_ov_layer *table;     /* of the embedding */
    const px_ov_layer **products; /* [4 * layers + 1]: the MatMul; the weight is its input 1 */
    const px_ov_layer **norms;    /* [2 * layers + 1] */
    const px_ov_layer **factors;  /* [layers]: what AWQ multiplies the input of down_proj by; NULL: nothing */
} px_ov_network;

/* `name` is that of the file. PHLOX_ERROR_UNSUPPORTED for a graph that computes something else. */
phlox_status px_ov_network_find(const px_ov_graph *graph, const char *name, const px_desc *desc,
                                px_ov_network *out, phlox_error *error);
void px_ov_network_free(px_ov_network *network);

/* The constant that a value is, but for a change of type; NULL when it is something else. */
const px_ov_layer *px_ov_const_behind(const px_ov_graph *graph, const px_ov_layer *layer);
/* The input of a Multiply that scales the other: the constant of fewer values. */
uint64_t px_ov_scale_port(const px_ov_graph *graph, const px_ov_layer *multiply);

#endif
