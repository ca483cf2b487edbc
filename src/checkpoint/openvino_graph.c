#include "checkpoint/openvino_graph.h"

#include <errno.h>
#include <expat.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LAYERS = 1 << 20, MOST_EDGES = 1 << 22, MOST_DEPTH = 64, PIECE = 1 << 20 };

struct edge {
    int64_t from, to, to_port; /* ids; later from and to are indices */
};

/* Strings are offsets while they are gathered, since what holds them moves as it grows. */
struct raw_layer {
    px_graph_layer layer;
    size_t name, type, element;
};

struct reader {
    XML_Parser parser;
    const char *name;
    phlox_error *error;
    phlox_status status;
    int depth;
    bool in_net, in_layers, in_edges, in_layer;
    struct raw_layer *layers;
    size_t layer_count, layer_room;
    struct edge *edges;
    size_t edge_count, edge_room;
    px_buffer strings;
};

/* ---- elements ------------------------------------------------------------------------------ */

static void stop(struct reader *r, phlox_status status)
{
    if (r->status == PHLOX_OK) r->status = status;
    XML_StopParser(r->parser, XML_FALSE);
}

static const char *attribute(const XML_Char **attributes, const char *name)
{
    for (; attributes[0]; attributes += 2)
        if (strcmp(attributes[0], name) == 0) return attributes[1];
    return NULL;
}

/* A decimal number of at most 63 bits and nothing else; -1 where it is not one. */
static int64_t number(const char *text)
{
    if (!text || text[0] < '0' || text[0] > '9') return -1;
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    return errno || *end ? -1 : value;
}

static size_t keep(struct reader *r, const char *text)
{
    const size_t offset = r->strings.size;
    if (!text) text = "";
    const phlox_status status = px_buffer_add(&r->strings, text, strlen(text) + 1, r->error);
    if (status != PHLOX_OK) stop(r, status);
    return offset;
}

/* The array with room for one element more, or NULL. */
static void *grow(struct reader *r, void *array, size_t count, size_t *room, size_t size, size_t most,
                  const char *what)
{
    if (count < *room) return array;
    if (count >= most) {
        stop(r, px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: more than %zu %s", r->name, most, what));
        return NULL;
    }
    const size_t wanted = PX_MIN(PX_MAX(256, *room * 2), most);
    void *const grown = realloc(array, wanted * size);
    if (grown) *room = wanted;
    else stop(r, px_fail_memory(r->error, wanted * size));
    return grown;
}

static void add_layer(struct reader *r, const XML_Char **attributes)
{
    const int64_t id = number(attribute(attributes, "id"));
    if (id < 0) {
        stop(r, px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: line %lu: a layer without an id", r->name,
                        (unsigned long)XML_GetCurrentLineNumber(r->parser)));
        return;
    }
    struct raw_layer *const layers = grow(r, r->layers, r->layer_count, &r->layer_room,
                                          sizeof *r->layers, MOST_LAYERS, "layers");
    if (!layers) return;
    r->layers = layers;
    struct raw_layer *const raw = &r->layers[r->layer_count];
    *raw = (struct raw_layer){.layer = {.id = id}};
    raw->name = keep(r, attribute(attributes, "name"));
    raw->type = keep(r, attribute(attributes, "type"));
    raw->element = keep(r, "");
    r->layer_count++;
}

/* "3072, 24, 128" */
static void read_shape(px_graph_layer *layer, const char *text)
{
    layer->rank = 0;
    while (text && *text) {
        char *end;
        errno = 0;
        const long long size = strtoll(text, &end, 10);
        if (end == text || errno || size < 0 || layer->rank == PX_GRAPH_MOST_DIMS) {
            layer->rank = -1;
            return;
        }
        layer->dims[layer->rank++] = size;
        text = end + strspn(end, ", ");
    }
}

static bool is_true(const char *text)
{
    return text && (strcmp(text, "true") == 0 || strcmp(text, "1") == 0);
}

static void add_data(struct reader *r, const XML_Char **attributes)
{
    struct raw_layer *const raw = &r->layers[r->layer_count - 1];
    px_graph_layer *const layer = &raw->layer;
    layer->transpose_a = is_true(attribute(attributes, "transpose_a"));
    layer->transpose_b = is_true(attribute(attributes, "transpose_b"));
    if (strcmp(r->strings.data + raw->type, "Const") != 0) return;
    const int64_t offset = number(attribute(attributes, "offset"));
    const int64_t size = number(attribute(attributes, "size"));
    if (offset < 0 || size < 0) {
        stop(r, px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: layer %s has no offset or size", r->name,
                        r->strings.data + raw->name));
        return;
    }
    layer->offset = (uint64_t)offset;
    layer->size = (uint64_t)size;
    read_shape(layer, attribute(attributes, "shape"));
    raw->element = keep(r, attribute(attributes, "element_type"));
}

static void add_edge(struct reader *r, const XML_Char **attributes)
{
    const struct edge edge = {number(attribute(attributes, "from-layer")),
                              number(attribute(attributes, "to-layer")),
                              number(attribute(attributes, "to-port"))};
    if (edge.from < 0 || edge.to < 0 || edge.to_port < 0) {
        stop(r, px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: line %lu: an edge without its ends", r->name,
                        (unsigned long)XML_GetCurrentLineNumber(r->parser)));
        return;
    }
    struct edge *const edges = grow(r, r->edges, r->edge_count, &r->edge_room, sizeof *r->edges,
                                    MOST_EDGES, "edges");
    if (!edges) return;
    r->edges = edges;
    r->edges[r->edge_count++] = edge;
}

static void XMLCALL element_start(void *user, const XML_Char *element, const XML_Char **attributes)
{
    struct reader *const r = user;
    if (r->status != PHLOX_OK) return;
    switch (++r->depth) {
    case 1: r->in_net = strcmp(element, "net") == 0; break;
    case 2:
        r->in_layers = r->in_net && strcmp(element, "layers") == 0;
        r->in_edges = r->in_net && strcmp(element, "edges") == 0;
        break;
    case 3:
        r->in_layer = r->in_layers && strcmp(element, "layer") == 0;
        if (r->in_layer) add_layer(r, attributes);
        if (r->in_edges && strcmp(element, "edge") == 0) add_edge(r, attributes);
        break;
    case 4:
        if (r->in_layer && strcmp(element, "data") == 0) add_data(r, attributes);
        break;
    case MOST_DEPTH:
        stop(r, px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: nested deeper than %d", r->name, MOST_DEPTH));
        break;
    default: break;
    }
}

static void XMLCALL element_end(void *user, const XML_Char *element)
{
    (void)element;
    struct reader *const r = user;
    r->depth--;
}

static void XMLCALL doctype(void *user, const XML_Char *name, const XML_Char *system,
                            const XML_Char *public, int has_internal)
{
    (void)name, (void)system, (void)public, (void)has_internal;
    struct reader *const r = user;
    stop(r, px_fail(r->error, PHLOX_ERROR_FORMAT,
                    "%s: has a document type, which models do not have", r->name));
}

static phlox_status parse(struct reader *r, phlox_text xml)
{
    for (size_t at = 0; at < xml.size || !at; at += PIECE) {
        const size_t size = PX_MIN(xml.size - at, PIECE);
        const bool last = at + size == xml.size;
        if (XML_Parse(r->parser, xml.data + at, (int)size, last) == XML_STATUS_OK) continue;
        if (r->status != PHLOX_OK) return r->status;
        const enum XML_Error code = XML_GetErrorCode(r->parser);
        if (code == XML_ERROR_NO_MEMORY) return px_fail_memory(r->error, xml.size);
        return px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: line %lu: %s", r->name,
                       (unsigned long)XML_GetCurrentLineNumber(r->parser), XML_ErrorString(code));
    }
    return r->status;
}

/* ---- the graph ----------------------------------------------------------------------------- */

struct place {
    int64_t id;
    size_t index;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *const x = a, *const y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int compare_edges(const void *a, const void *b)
{
    const struct edge *const x = a, *const y = b;
    if (x->to != y->to) return x->to < y->to ? -1 : 1;
    return (x->to_port > y->to_port) - (x->to_port < y->to_port);
}

static const struct place *find(const struct place *places, size_t count, int64_t id)
{
    const struct place key = {id, 0};
    return bsearch(&key, places, count, sizeof *places, compare_places);
}

/* Turns ids into indices. */
static phlox_status resolve_ids(struct reader *r, struct place *places)
{
    for (size_t i = 0; i < r->layer_count; i++) places[i] = (struct place){r->layers[i].layer.id, i};
    qsort(places, r->layer_count, sizeof *places, compare_places);
    for (size_t i = 1; i < r->layer_count; i++)
        if (places[i].id == places[i - 1].id)
            return px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: two layers have the id %" PRId64, r->name,
                           places[i].id);
    for (size_t i = 0; i < r->edge_count; i++) {
        struct edge *const edge = &r->edges[i];
        const struct place *const from = find(places, r->layer_count, edge->from);
        const struct place *const to = find(places, r->layer_count, edge->to);
        if (!from || !to)
            return px_fail(r->error, PHLOX_ERROR_FORMAT,
                           "%s: an edge from layer %" PRId64 " to layer %" PRId64
                           ", one of which is not there", r->name, edge->from, edge->to);
        edge->from = (int64_t)from->index;
        edge->to = (int64_t)to->index;
    }
    if (r->edge_count) qsort(r->edges, r->edge_count, sizeof *r->edges, compare_edges);
    for (size_t i = 1; i < r->edge_count; i++)
        if (compare_edges(&r->edges[i - 1], &r->edges[i]) == 0)
            return px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: two edges lead to port %" PRId64
                           " of layer %s", r->name, r->edges[i].to_port,
                           r->strings.data + r->layers[r->edges[i].to].name);
    return PHLOX_OK;
}

/* Orders the layers so that each comes behind what feeds it. `waits` and `feeds` are zeroed. */
static phlox_status sort(const struct reader *r, px_graph *graph, size_t *waits, size_t *feeds,
                         size_t *fed)
{
    const size_t count = graph->count;
    for (size_t i = 0; i < r->edge_count; i++) feeds[r->edges[i].from + 1]++;
    for (size_t i = 0; i < count; i++) feeds[i + 1] += feeds[i];
    for (size_t i = r->edge_count; i-- > 0;) { /* fills from the end; feeds[i] becomes where i begins */
        const size_t from = (size_t)r->edges[i].from;
        fed[--feeds[from + 1]] = (size_t)r->edges[i].to;
    }
    size_t done = 0, end = 0;
    for (size_t i = 0; i < count; i++) {
        waits[i] = graph->layers[i].input_count;
        if (!waits[i]) graph->order[end++] = i;
    }
    for (; done < end; done++) {
        const size_t layer = graph->order[done];
        const size_t last = layer + 1 < count ? feeds[layer + 2] : r->edge_count;
        for (size_t i = feeds[layer + 1]; i < last; i++)
            if (--waits[fed[i]] == 0) graph->order[end++] = fed[i];
    }
    if (end == count) return PHLOX_OK;
    return px_fail(r->error, PHLOX_ERROR_FORMAT, "%s: its layers feed each other in a circle", r->name);
}

static phlox_status build(struct reader *r, px_graph *graph)
{
    const size_t count = r->layer_count;
    graph->layers = px_calloc(count + 1, sizeof *graph->layers);
    graph->inputs = px_calloc(r->edge_count + 1, sizeof *graph->inputs);
    graph->order = px_calloc(count + 1, sizeof *graph->order);
    struct place *const places = px_calloc(count + 1, sizeof *places);
    size_t *const work = px_calloc(2 * count + 2 + r->edge_count + 1, sizeof *work);
    phlox_status status = PHLOX_OK;
    if (!graph->layers || !graph->inputs || !graph->order || !places || !work)
        status = px_fail_memory(r->error, count * sizeof *graph->layers);
    if (status == PHLOX_OK) status = resolve_ids(r, places);
    if (status == PHLOX_OK) {
        graph->count = count;
        graph->strings = r->strings.data;
        r->strings = (px_buffer){0};
        for (size_t i = 0; i < count; i++) {
            px_graph_layer *const layer = &graph->layers[i];
            *layer = r->layers[i].layer;
            layer->name = graph->strings + r->layers[i].name;
            layer->type = graph->strings + r->layers[i].type;
            layer->element = graph->strings + r->layers[i].element;
        }
        for (size_t i = 0; i < r->edge_count; i++) {
            px_graph_layer *const layer = &graph->layers[r->edges[i].to];
            if (!layer->input_count++) layer->first_input = i;
            graph->inputs[i] = (size_t)r->edges[i].from;
        }
        status = sort(r, graph, work, work + count, work + 2 * count + 2);
    }
    free(places);
    free(work);
    return status;
}

phlox_status px_graph_read(phlox_text xml, const char *name, px_graph *out, phlox_error *error)
{
    phlox_error own; /* what failed is kept even when the caller does not want to know */
    struct reader r = {.name = name, .error = error ? error : &own};
    r.parser = XML_ParserCreate(NULL);
    if (!r.parser) return px_fail_memory(error, xml.size);
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, element_start, element_end);
    XML_SetStartDoctypeDeclHandler(r.parser, doctype);
    px_graph graph = {0};
    phlox_status status = parse(&r, xml);
    XML_ParserFree(r.parser);
    if (status == PHLOX_OK && !r.layer_count)
        status = px_fail(error, PHLOX_ERROR_FORMAT, "%s: has no layers; it is no OpenVINO model", name);
    if (status == PHLOX_OK) status = build(&r, &graph);
    free(r.layers);
    free(r.edges);
    px_buffer_free(&r.strings);
    if (status == PHLOX_OK) *out = graph;
    else px_graph_free(&graph);
    return status;
}

void px_graph_free(px_graph *graph)
{
    free(graph->layers);
    free(graph->inputs);
    free(graph->order);
    free(graph->strings);
    *graph = (px_graph){0};
}

const px_graph_layer *px_graph_input(const px_graph *graph, const px_graph_layer *layer,
                                     size_t index)
{
    if (index >= layer->input_count) return NULL;
    return &graph->layers[graph->inputs[layer->first_input + index]];
}
