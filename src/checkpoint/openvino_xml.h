/* The graph of an OpenVINO IR as openvino_model.xml has it: layers and edges in arrays, and of their
 * attributes those that lead to the weights. What lies in nested graphs is passed over. */
#ifndef PX_CHECKPOINT_OPENVINO_XML_H
#define PX_CHECKPOINT_OPENVINO_XML_H

#include "base/error.h"

enum { PX_OV_DIMS = 4 };

typedef enum px_ov_type {
    PX_OV_OTHER_TYPE,
    PX_OV_F32,
    PX_OV_F16,
    PX_OV_BF16,
    PX_OV_I8,
    PX_OV_U8,
    PX_OV_I4,
    PX_OV_U4,
    PX_OV_I32,
    PX_OV_I64
} px_ov_type;

typedef enum px_ov_op {
    PX_OV_OTHER_OP,
    PX_OV_CONST,
    PX_OV_CONVERT,
    PX_OV_ADD,
    PX_OV_SUBTRACT,
    PX_OV_MULTIPLY,
    PX_OV_DIVIDE,
    PX_OV_SWISH,
    PX_OV_RESHAPE,
    PX_OV_SHAPE_OF,
    PX_OV_GATHER,
    PX_OV_MATMUL
} px_ov_op;

/* The file's words for layers and types are offsets in px_ov_graph.text; 0: the empty text. */
typedef struct px_ov_layer {
    uint64_t id;
    px_ov_op op;
    uint32_t name, op_name;
    uint32_t first_edge, edge_count; /* into it, in px_ov_graph.edges, ordered by port */

    /* Const: what it holds; Convert: the type that it makes. */
    px_ov_type type;
    uint32_t type_name;
    int rank;                  /* of a Const; -1: it has no shape */
    int64_t dims[PX_OV_DIMS];  /* the first of them */
    int64_t elements;
    uint64_t offset, size;     /* of a Const, in the .bin */

    bool transpose_a, transpose_b; /* MatMul */
} px_ov_layer;

/* Output of a layer to input of another. */
typedef struct px_ov_edge {
    uint64_t from, to; /* indices of layers */
    uint64_t port;     /* of the input: 0, 1, ... */
} px_ov_edge;

typedef struct px_ov_graph {
    px_ov_layer *layers;
    px_ov_edge *edges; /* ordered by `to`, then `port` */
    size_t layer_count, edge_count;
    char *text;
} px_ov_graph;

/* PHLOX_ERROR_FORMAT, with `name` for the file, for what is no IR: XML that is not well-formed or has a
 * document type, layers that share an id, edges to layers that are not there, two edges into one input.
 * Sizes of constants are checked against their shapes and against the `bin_size` bytes of the .bin. */
phlox_status px_ov_graph_parse(phlox_text xml, const char *name, uint64_t bin_size, px_ov_graph *out,
                               phlox_error *error);
void px_ov_graph_free(px_ov_graph *graph);

const char *px_ov_text(const px_ov_graph *graph, uint32_t offset);
/* The layer that feeds an input; NULL when none does. */
const px_ov_layer *px_ov_input(const px_ov_graph *graph, const px_ov_layer *layer, uint64_t port);

/* Bits of an element; 0 for another type. */
int px_ov_type_bits(px_ov_type type);

#endif
