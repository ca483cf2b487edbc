/*
 * An ONNX model as arrays: nodes, what feeds them, and tensors with the place of their values. The
 * bodies of branches are graphs of their own in the same arrays. Names lead into the file's bytes.
 */
#ifndef PX_CHECKPOINT_ONNX_MODEL_H
#define PX_CHECKPOINT_ONNX_MODEL_H

#include "base/memory.h"
#include "checkpoint/onnx_types.h"

#define PX_ONNX_NONE SIZE_MAX

/* PX_TRY for functions that have the error in a struct. */
#define PX_ONNX_TRY(call)                                                                        \
    do {                                                                                         \
        const phlox_status px_onnx_status = (call);                                              \
        if (px_onnx_status != PHLOX_OK) return px_onnx_status;                                   \
    } while (0)

enum { PX_ONNX_MOST_DIMS = 8, PX_ONNX_MOST_INTS = 8 };

typedef struct px_onnx_tensor {
    phlox_text name;
    int64_t type; /* px_onnx_type, or another number */
    int rank;     /* more than PX_ONNX_MOST_DIMS where it has more; the surplus is not kept */
    int64_t dims[PX_ONNX_MOST_DIMS];
    phlox_text bytes;         /* values in the model's file: raw, or floats one after the other */
    phlox_text varints;       /* integers that are not raw */
    bool external;            /* values are in another file: */
    phlox_text location;      /* its name */
    uint64_t offset, length;
    bool has_length;
} px_onnx_tensor;

typedef struct px_onnx_attribute {
    phlox_text name;
    int64_t i;
    float f;
    size_t tensor, graph; /* PX_ONNX_NONE: none */
    int64_t ints[PX_ONNX_MOST_INTS];
    int int_count;        /* may be more than are kept */
} px_onnx_attribute;

typedef struct px_onnx_node {
    phlox_text name, type, domain;
    size_t graph;
    size_t first_input, input_count;   /* in px_onnx_model.inputs */
    size_t first_output, output_count; /* in px_onnx_model.outputs */
    size_t first_attribute, attribute_count;
} px_onnx_node;

/* What a name stands for: the result of a node, a tensor of the file, or an input of the graph. */
typedef struct px_onnx_value {
    phlox_text name;
    size_t graph, node, tensor;
    size_t index; /* in px_onnx_model.values */
} px_onnx_value;

typedef struct px_onnx_graph {
    size_t parent;
    size_t first_result, result_count; /* in px_onnx_model.results: its outputs, in order */
} px_onnx_graph;

typedef struct px_onnx_model {
    px_onnx_tensor *tensors;
    px_onnx_attribute *attributes;
    px_onnx_node *nodes;
    px_onnx_value *values; /* sorted by graph and name */
    px_onnx_graph *graphs; /* the first is the model's */
    phlox_text *input_names, *output_names, *result_names;
    size_t *inputs, *outputs, *results; /* values; PX_ONNX_NONE for "", and for no value of the name */
    size_t tensor_count, attribute_count, node_count, value_count, graph_count;
    size_t input_count, output_count, result_count;
} px_onnx_model;

/* Reads a ModelProto; `name` is for messages. Refused are nesting of more than 8 graphs, a million of
 * anything, a name that stands for two things, and whatever is cut off. */
phlox_status px_onnx_model_read(phlox_text file, const char *name, px_onnx_model *out,
                                phlox_error *error);
void px_onnx_model_free(px_onnx_model *model);

/* No node (NULL) has no type, no inputs, no outputs and no attributes. */

/* The value behind an input or an output; NULL when there is none. */
const px_onnx_value *px_onnx_input(const px_onnx_model *model, const px_onnx_node *node, size_t index);
const px_onnx_value *px_onnx_output(const px_onnx_model *model, const px_onnx_node *node, size_t index);
/* The node that makes a value; NULL for NULL, tensors and inputs. */
const px_onnx_node *px_onnx_producer(const px_onnx_model *model, const px_onnx_value *value);
/* The tensor of a value: of the file, or of a Constant; NULL when it depends on more. */
const px_onnx_tensor *px_onnx_constant(const px_onnx_model *model, const px_onnx_value *value);
const px_onnx_attribute *px_onnx_attribute_of(const px_onnx_model *model, const px_onnx_node *node,
                                              const char *name);
int64_t px_onnx_int(const px_onnx_model *model, const px_onnx_node *node, const char *name,
                    int64_t absent);
/* The value with a name in the model's graph, or NULL. */
const px_onnx_value *px_onnx_find(const px_onnx_model *model, phlox_text name);
bool px_onnx_is(const px_onnx_node *node, const char *type);
bool px_onnx_text_is(phlox_text text, const char *word);

#endif
