/*
 * The graph of an OpenVINO IR (version 10 or 11) as an XML text describes it: layers, what feeds them,
 * and where the constants are in the file of weights. Bodies of loops and branches are passed over.
 */
#ifndef PX_CHECKPOINT_OPENVINO_GRAPH_H
#define PX_CHECKPOINT_OPENVINO_GRAPH_H

#include "base/memory.h"

enum { PX_GRAPH_MOST_DIMS = 8 };

typedef struct px_graph_layer {
    int64_t id;
    const char *name, *type; /* live as long as the graph */
    /* Of constants. */
    const char *element; /* "i4"; "" elsewhere */
    int rank;            /* -1: more than PX_GRAPH_MOST_DIMS, or a number that is none */
    int64_t dims[PX_GRAPH_MOST_DIMS];
    uint64_t offset, size;
    /* Of MatMul. */
    bool transpose_a, transpose_b;
    /* What feeds it: px_graph.inputs[first_input] and so on, in the order of its ports. */
    size_t first_input, input_count;
} px_graph_layer;

typedef struct px_graph {
    px_graph_layer *layers;
    size_t count;
    size_t *inputs; /* indices of layers */
    size_t *order;  /* indices of all layers, each behind those that feed it */
    char *strings;
} px_graph;

/* Reads `xml`; `name` is for messages. Refused are a document type (entities could make a small text
 * large), nesting deeper than 64, edges from or to nothing, an id or a port used twice, and cycles. */
phlox_status px_graph_read(phlox_text xml, const char *name, px_graph *out, phlox_error *error);
void px_graph_free(px_graph *graph);

/* The layer behind input `index`, or NULL. */
const px_graph_layer *px_graph_input(const px_graph *graph, const px_graph_layer *layer,
                                     size_t index);

#endif
