#include "checkpoint/openvino_graph.h"

#include <inttypes.h>
#include <stdlib.h>

enum { PRODUCTS = 4 }; /* in a layer: qkv, o, gate_up, down */
enum { OFF = -1 };     /* the place of what does not depend on the embedding */
enum { MOST_STEPS = 8 }; /* from a weight to its constant */

/* What is known of a layer's output. */
struct node {
    int32_t place; /* how many products with weights lie behind it; OFF */
    uint32_t next; /* the input to be visited next */
    bool open, done, constant;
};

struct search {
    const px_ov_graph *graph;
    const char *name;
    const px_desc *desc;
    struct node *nodes;
    px_ov_network *found;
    phlox_error *error;
};

static const char *label(const struct search *search, const px_ov_layer *layer)
{
    return px_ov_text(search->graph, layer->name);
}

const px_ov_layer *px_ov_const_behind(const px_ov_graph *graph, const px_ov_layer *layer)
{
    for (int i = 0; i < MOST_STEPS && layer && layer->op == PX_OV_CONVERT; i++)
        layer = px_ov_input(graph, layer, 0);
    return layer && layer->op == PX_OV_CONST ? layer : NULL;
}

uint64_t px_ov_scale_port(const px_ov_graph *graph, const px_ov_layer *multiply)
{
    const px_ov_layer *const a = px_ov_const_behind(graph, px_ov_input(graph, multiply, 0));
    const px_ov_layer *const b = px_ov_const_behind(graph, px_ov_input(graph, multiply, 1));
    return a && (!b || a->elements < b->elements) ? 0 : 1;
}

static const struct node *node_of(const struct search *search, const px_ov_layer *layer)
{
    return &search->nodes[layer - search->graph->layers];
}

/* ---- what a layer is for ------------------------------------------------------------------- */

/* Whether a constant value has as many elements as the embedding's table. */
static bool is_table(const struct search *search, const px_ov_layer *layer)
{
    const px_ov_graph *const graph = search->graph;
    for (int i = 0; i < MOST_STEPS && layer && layer->op != PX_OV_CONST; i++) {
        const bool scales = layer->op == PX_OV_MULTIPLY;
        if (!scales && layer->op != PX_OV_CONVERT && layer->op != PX_OV_RESHAPE &&
            layer->op != PX_OV_SUBTRACT)
            return false;
        layer = px_ov_input(graph, layer, scales ? 1 - px_ov_scale_port(graph, layer) : 0);
    }
    int64_t rows, columns;
    px_role_shape(search->desc, PX_EMBEDDING, &rows, &columns);
    return layer && layer->op == PX_OV_CONST && layer->rank >= 2 && layer->elements == rows * columns;
}

static phlox_status see_gather(struct search *search, const px_ov_layer *layer, struct node *node)
{
    const px_ov_layer *const table = px_ov_input(search->graph, layer, 0);
    const px_ov_layer *const ids = px_ov_input(search->graph, layer, 1);
    if (node->place != OFF || !table || !ids || !node_of(search, table)->constant ||
        node_of(search, ids)->constant || !is_table(search, table))
        return PHLOX_OK;
    if (search->found->table && search->found->table != table)
        return px_fail(search->error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: layers %s and %s are both tables of token embeddings", search->name,
                       label(search, search->found->table), label(search, table));
    search->found->table = table;
    node->place = 0;
    return PHLOX_OK;
}

static phlox_status see_product(struct search *search, const px_ov_layer *layer, struct node *node)
{
    const px_ov_layer *const a = px_ov_input(search->graph, layer, 0);
    const px_ov_layer *const b = px_ov_input(search->graph, layer, 1);
    if (!a || !b)
        return px_fail(search->error, PHLOX_ERROR_FORMAT, "%s: the product %s lacks an input",
                       search->name, label(search, layer));
    if (node->place == OFF || !(node_of(search, a)->constant || node_of(search, b)->constant))
        return PHLOX_OK;
    if (node_of(search, a)->constant || layer->transpose_a)
        return px_fail(search->error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: the product %s has its weights on the left", search->name,
                       label(search, layer));
    const int32_t most = PRODUCTS * search->desc->num_hidden_layers;
    if (node->place > most)
        return px_fail(search->error, PHLOX_ERROR_FORMAT,
                       "%s: the product %s is one more than the %d that config.json's "
                       "num_hidden_layers makes", search->name, label(search, layer), most + 1);
    const px_ov_layer **const slot = &search->found->products[node->place];
    if (*slot)
        return px_fail(search->error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: the products %s and %s stand side by side; a Phi-3 has one for query, "
                       "key and value, one for gate and up, and no adapters", search->name,
                       label(search, *slot), label(search, layer));
    *slot = layer;
    node->place++;
    return PHLOX_OK;
}

/* The place of a vector of weights in front of which `place` products lie. */
static const px_ov_layer **vector_slot(const struct search *search, const px_ov_layer *layer,
                                       const px_ov_layer *value, int32_t place, int64_t elements)
{
    const px_desc *const desc = search->desc;
    const int32_t within = place % PRODUCTS, index = place / PRODUCTS;
    if (layer->op != PX_OV_MULTIPLY) return NULL;
    if (elements == desc->hidden_size && within == 0) return &search->found->norms[2 * index];
    if (elements == desc->hidden_size && within == 2) return &search->found->norms[2 * index + 1];
    /* Behind the activation a factor is as good as one on the rows of up. */
    if (elements == desc->intermediate_size && within == 3 &&
        (value->op == PX_OV_SWISH || value->op == PX_OV_MULTIPLY))
        return &search->found->factors[index];
    return NULL;
}

/* Arithmetic on the chain with a constant: of one value (the epsilon of a norm, say), or a vector of
 * weights. */
static phlox_status see_arithmetic(struct search *search, const px_ov_layer *layer,
                                   const struct node *node)
{
    const px_ov_layer *const inputs[] = {px_ov_input(search->graph, layer, 0),
                                         px_ov_input(search->graph, layer, 1)};
    if (node->place == OFF) return PHLOX_OK;
    for (int i = 0; i < 2; i++) {
        if (!inputs[i] || !inputs[1 - i] || !node_of(search, inputs[i])->constant) continue;
        const px_ov_layer *const constant = px_ov_const_behind(search->graph, inputs[i]);
        if (constant && constant->elements == 1) continue;
        const px_ov_layer **const slot =
            constant ? vector_slot(search, layer, inputs[1 - i], node->place, constant->elements)
                     : NULL;
        if (!slot)
            return px_fail(search->error, PHLOX_ERROR_UNSUPPORTED,
                           "%s: layer %s is %s with the constant %s, which no Phi-3 has there",
                           search->name, label(search, layer),
                           px_ov_text(search->graph, layer->op_name), label(search, inputs[i]));
        if (*slot)
            return px_fail(search->error, PHLOX_ERROR_UNSUPPORTED,
                           "%s: the constants %s and %s scale the same values", search->name,
                           label(search, *slot), label(search, inputs[i]));
        *slot = inputs[i];
    }
    return PHLOX_OK;
}

/* All inputs of the layer have been seen. */
static phlox_status see(struct search *search, const px_ov_layer *layer, struct node *node)
{
    node->place = OFF;
    node->constant = layer->op == PX_OV_CONST || layer->edge_count > 0;
    for (uint32_t i = 0; i < layer->edge_count; i++) {
        const px_ov_edge *const edge = &search->graph->edges[layer->first_edge + i];
        const struct node *const input = &search->nodes[edge->from];
        node->place = PX_MAX(node->place, input->place);
        node->constant &= input->constant;
    }
    switch (layer->op) {
    case PX_OV_GATHER: return see_gather(search, layer, node);
    case PX_OV_MATMUL: return see_product(search, layer, node);
    case PX_OV_ADD:
    case PX_OV_SUBTRACT:
    case PX_OV_DIVIDE:
    case PX_OV_MULTIPLY: return see_arithmetic(search, layer, node);
    case PX_OV_SHAPE_OF: node->place = OFF; break; /* depends on no value */
    default: break;
    }
    return PHLOX_OK;
}

/* ---- the walk ------------------------------------------------------------------------------ */

/* Sees a layer after all that it depends on. `stack` has room for every layer. */
static phlox_status visit(struct search *search, uint32_t first, uint32_t *stack)
{
    const px_ov_graph *const graph = search->graph;
    size_t depth = 0;
    stack[depth++] = first;
    search->nodes[first].open = true;
    while (depth) {
        const uint32_t top = stack[depth - 1];
        const px_ov_layer *const layer = &graph->layers[top];
        struct node *const node = &search->nodes[top];
        if (node->next < layer->edge_count) {
            const uint32_t from = (uint32_t)graph->edges[layer->first_edge + node->next++].from;
            struct node *const input = &search->nodes[from];
            if (input->open)
                return px_fail(search->error, PHLOX_ERROR_FORMAT,
                               "%s: layer %s depends on itself", search->name,
                               label(search, layer));
            if (input->done) continue;
            input->open = true;
            stack[depth++] = from;
            continue;
        }
        const phlox_status status = see(search, layer, node);
        if (status != PHLOX_OK) return status;
        node->open = false;
        node->done = true;
        depth--;
    }
    return PHLOX_OK;
}

static phlox_status check_complete(const struct search *search)
{
    const px_ov_network *const found = search->found;
    const int32_t layers = search->desc->num_hidden_layers;
    if (!found->table)
        return px_fail(search->error, PHLOX_ERROR_FORMAT,
                       "%s: no table of token embeddings [%d, %d], as config.json makes it",
                       search->name, search->desc->vocab_size, search->desc->hidden_size);
    for (int32_t i = 0; i < PRODUCTS * layers + 1; i++)
        if (!found->products[i])
            return px_fail(search->error, PHLOX_ERROR_FORMAT,
                           "%s: %d products with weights follow each other; config.json's "
                           "num_hidden_layers makes them %d", search->name, i, PRODUCTS * layers + 1);
    for (int32_t i = 0; i < 2 * layers + 1; i++)
        if (!found->norms[i])
            return px_fail(search->error, PHLOX_ERROR_FORMAT,
                           "%s: the norm in front of product %d has no weights of hidden_size %d",
                           search->name, 2 * i, search->desc->hidden_size);
    return PHLOX_OK;
}

static phlox_status walk(struct search *search)
{
    const size_t count = search->graph->layer_count;
    phlox_error *const error = search->error;
    uint32_t *const stack = px_calloc(count, sizeof *stack);
    if (!stack) return px_fail_memory(error, count * sizeof *stack);
    phlox_status status = PHLOX_OK;
    for (size_t i = 0; i < count && status == PHLOX_OK; i++)
        if (!search->nodes[i].done) status = visit(search, (uint32_t)i, stack);
    free(stack);
    return status == PHLOX_OK ? check_complete(search) : status;
}

phlox_status px_ov_network_find(const px_ov_graph *graph, const char *name, const px_desc *desc,
                                px_ov_network *out, phlox_error *error)
{
    const size_t layers = (size_t)desc->num_hidden_layers, count = graph->layer_count;
    struct search search = {.graph = graph, .name = name, .desc = desc, .found = out, .error = error,
                            .nodes = px_calloc(count, sizeof *search.nodes)};
    *out = (px_ov_network){.products = px_calloc(PRODUCTS * layers + 1, sizeof *out->products),
                           .norms = px_calloc(2 * layers + 1, sizeof *out->norms),
                           .factors = px_calloc(layers, sizeof *out->factors)};
    phlox_status status = PHLOX_OK;
    if (!search.nodes || !out->products || !out->norms || !out->factors)
        status = px_fail_memory(error, count * sizeof *search.nodes);
    if (status == PHLOX_OK) status = walk(&search);
    free(search.nodes);
    if (status != PHLOX_OK) px_ov_network_free(out);
    return status;
}

void px_ov_network_free(px_ov_network *network)
{
    free(network->products);
    free(network->norms);
    free(network->factors);
    *network = (px_ov_network){0};
}
