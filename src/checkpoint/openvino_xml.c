#include "checkpoint/openvino_xml.h"

#include "base/memory.h"

#include <expat.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_XML_BYTES = 1 << 28,
    MOST_LAYERS = 1 << 18,
    MOST_EDGES = 1 << 20,
    MOST_DEPTH = 256
};

/* Where the parser stands: the elements around it that matter, by depth. */
enum { NET, SECTION, ITEM, DETAIL };

struct parsing {
    XML_Parser expat;
    px_ov_graph *graph;
    const char *name;
    size_t layer_room, edge_room;
    px_buffer text;
    int depth;          /* open elements */
    bool in_layers, in_edges, in_layer;
    phlox_status status;
    phlox_error *error;
};

/* Ends the parse; the first failure counts. */
#define STOP(parsing, code, ...)                                                                 \
    do {                                                                                         \
        if ((parsing)->status == PHLOX_OK)                                                       \
            (parsing)->status = px_fail((parsing)->error, code, __VA_ARGS__);                    \
        XML_StopParser((parsing)->expat, XML_FALSE);                                             \
    } while (0)

/* ---- words --------------------------------------------------------------------------------- */

static const struct {
    const char *word;
    int bits;
} types[] = {
    [PX_OV_OTHER_TYPE] = {"", 0}, [PX_OV_F32] = {"f32", 32}, [PX_OV_F16] = {"f16", 16},
    [PX_OV_BF16] = {"bf16", 16},  [PX_OV_I8] = {"i8", 8},    [PX_OV_U8] = {"u8", 8},
    [PX_OV_I4] = {"i4", 4},       [PX_OV_U4] = {"u4", 4},    [PX_OV_I32] = {"i32", 32},
    [PX_OV_I64] = {"i64", 64},
};

static const char *const ops[] = {
    [PX_OV_OTHER_OP] = "",           [PX_OV_CONST] = "Const",       [PX_OV_CONVERT] = "Convert",
    [PX_OV_ADD] = "Add",             [PX_OV_SUBTRACT] = "Subtract", [PX_OV_MULTIPLY] = "Multiply",
    [PX_OV_DIVIDE] = "Divide",       [PX_OV_SWISH] = "Swish",       [PX_OV_RESHAPE] = "Reshape",
    [PX_OV_SHAPE_OF] = "ShapeOf",    [PX_OV_GATHER] = "Gather",     [PX_OV_MATMUL] = "MatMul",
};

int px_ov_type_bits(px_ov_type type)
{
    return types[type].bits;
}

static px_ov_type type_of(const char *word)
{
    for (size_t i = 1; i < PX_COUNT(types); i++)
        if (strcmp(types[i].word, word) == 0) return (px_ov_type)i;
    return PX_OV_OTHER_TYPE;
}

static px_ov_op op_of(const char *word)
{
    for (size_t i = 1; i < PX_COUNT(ops); i++)
        if (strcmp(ops[i], word) == 0) return (px_ov_op)i;
    return PX_OV_OTHER_OP;
}

/* The value of an attribute; NULL without it. */
static const char *attribute(const char **attributes, const char *key)
{
    for (; *attributes; attributes += 2)
        if (strcmp(attributes[0], key) == 0) return attributes[1];
    return NULL;
}

/* A decimal number at *text, which moves behind it; false when there is none that fits. */
static bool read_number(const char **text, uint64_t *out)
{
    const char *at = *text;
    uint64_t value = 0;
    if (*at < '0' || *at > '9') return false;
    for (; *at >= '0' && *at <= '9'; at++) {
        const uint64_t digit = (uint64_t)(*at - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *text = at;
    *out = value;
    return true;
}

static bool whole_number(const char *text, uint64_t *out)
{
    return text && read_number(&text, out) && !*text;
}

/* "128, 4, 32"; the empty text is a scalar. False for anything else and for 2^60 elements and more. */
static bool read_shape(const char *text, px_ov_layer *layer)
{
    layer->rank = 0;
    layer->elements = 1;
    text += strspn(text, " ");
    while (*text) {
        uint64_t size;
        if (!read_number(&text, &size)) return false;
        if (layer->elements && size > (UINT64_C(1) << 60) / (uint64_t)layer->elements) return false;
        if (layer->rank < PX_OV_DIMS) layer->dims[layer->rank] = (int64_t)size;
        layer->rank++;
        layer->elements *= (int64_t)size;
        text += strspn(text, " ");
        if (*text != ',') break;
        text++;
        text += strspn(text, " ");
        if (!*text) return false;
    }
    return !*text;
}

/* ---- layers and edges ---------------------------------------------------------------------- */

static uint32_t keep(struct parsing *parsing, const char *word)
{
    if (!word || !*word || parsing->status != PHLOX_OK) return 0;
    const uint32_t offset = (uint32_t)parsing->text.size;
    const phlox_status status =
        px_buffer_add(&parsing->text, word, strlen(word) + 1, parsing->error);
    if (status == PHLOX_OK) return offset;
    parsing->status = status;
    XML_StopParser(parsing->expat, XML_FALSE);
    return 0;
}

/* Room for one more element of an array; false, and the parse is over, when there is none. */
static bool grow(struct parsing *parsing, void **array, size_t count, size_t *room, size_t size,
                 size_t most, const char *what)
{
    if (count < *room) return true;
    if (count == most) {
        STOP(parsing, PHLOX_ERROR_FORMAT, "%s: more than %zu %s; this is no Phi-3", parsing->name,
             most, what);
        return false;
    }
    const size_t wanted = PX_MIN(most, *room + *room / 2 + 256);
    void *const grown = realloc(*array, wanted * size);
    if (!grown) {
        if (parsing->status == PHLOX_OK)
            parsing->status = px_fail_memory(parsing->error, wanted * size);
        XML_StopParser(parsing->expat, XML_FALSE);
        return false;
    }
    *array = grown;
    *room = wanted;
    return true;
}

static void add_layer(struct parsing *parsing, const char **attributes)
{
    px_ov_graph *const graph = parsing->graph;
    void *array = graph->layers;
    if (!grow(parsing, &array, graph->layer_count, &parsing->layer_room, sizeof *graph->layers,
              MOST_LAYERS, "layers"))
        return;
    graph->layers = array;
    px_ov_layer layer = {.rank = -1};
    const char *const type = attribute(attributes, "type");
    if (!whole_number(attribute(attributes, "id"), &layer.id) || !type) {
        STOP(parsing, PHLOX_ERROR_FORMAT, "%s: line %lu: a layer without id or type",
             parsing->name, (unsigned long)XML_GetCurrentLineNumber(parsing->expat));
        return;
    }
    layer.op = op_of(type);
    layer.name = keep(parsing, attribute(attributes, "name"));
    layer.op_name = keep(parsing, type);
    graph->layers[graph->layer_count++] = layer;
    parsing->in_layer = true;
}

static void add_edge(struct parsing *parsing, const char **attributes)
{
    px_ov_graph *const graph = parsing->graph;
    void *array = graph->edges;
    if (!grow(parsing, &array, graph->edge_count, &parsing->edge_room, sizeof *graph->edges,
              MOST_EDGES, "edges"))
        return;
    graph->edges = array;
    px_ov_edge edge;
    if (!whole_number(attribute(attributes, "from-layer"), &edge.from) ||
        !whole_number(attribute(attributes, "to-layer"), &edge.to) ||
        !whole_number(attribute(attributes, "to-port"), &edge.port)) {
        STOP(parsing, PHLOX_ERROR_FORMAT, "%s: line %lu: an edge lacks a number", parsing->name,
             (unsigned long)XML_GetCurrentLineNumber(parsing->expat));
        return;
    }
    graph->edges[graph->edge_count++] = edge;
}

/* The <data> of a Const. */
static void read_const(struct parsing *parsing, px_ov_layer *layer, const char **attributes)
{
    const char *const shape = attribute(attributes, "shape");
    const char *const type = attribute(attributes, "element_type");
    if (!shape || !type || !read_shape(shape, layer) ||
        !whole_number(attribute(attributes, "offset"), &layer->offset) ||
        !whole_number(attribute(attributes, "size"), &layer->size)) {
        STOP(parsing, PHLOX_ERROR_FORMAT,
             "%s: line %lu: the constant %s has no element_type, shape, offset and size that make "
             "sense", parsing->name, (unsigned long)XML_GetCurrentLineNumber(parsing->expat),
             parsing->text.data + layer->name);
        return;
    }
    layer->type = type_of(type);
    layer->type_name = keep(parsing, type);
}

static void read_data(struct parsing *parsing, const char **attributes)
{
    px_ov_layer *const layer = &parsing->graph->layers[parsing->graph->layer_count - 1];
    if (layer->op == PX_OV_CONST) {
        read_const(parsing, layer, attributes);
    } else if (layer->op == PX_OV_CONVERT) {
        const char *const type = attribute(attributes, "destination_type");
        layer->type = type_of(type ? type : "");
        layer->type_name = keep(parsing, type);
    } else if (layer->op == PX_OV_MATMUL) {
        const char *const a = attribute(attributes, "transpose_a");
        const char *const b = attribute(attributes, "transpose_b");
        layer->transpose_a = a && (strcmp(a, "true") == 0 || strcmp(a, "1") == 0);
        layer->transpose_b = b && (strcmp(b, "true") == 0 || strcmp(b, "1") == 0);
    }
}

/* ---- expat --------------------------------------------------------------------------------- */

static void XMLCALL start_element(void *user, const char *element, const char **attributes)
{
    struct parsing *const parsing = user;
    const int depth = parsing->depth++;
    if (depth == MOST_DEPTH) {
        STOP(parsing, PHLOX_ERROR_FORMAT, "%s: elements are nested deeper than %d", parsing->name,
             MOST_DEPTH);
    } else if (depth == NET && strcmp(element, "net") != 0) {
        STOP(parsing, PHLOX_ERROR_FORMAT, "%s: begins with <%.60s>; an OpenVINO model has <net>",
             parsing->name, element);
    } else if (depth == SECTION) {
        parsing->in_layers = strcmp(element, "layers") == 0;
        parsing->in_edges = strcmp(element, "edges") == 0;
    } else if (depth == ITEM) {
        parsing->in_layer = false;
        if (parsing->in_layers && strcmp(element, "layer") == 0) add_layer(parsing, attributes);
        if (parsing->in_edges && strcmp(element, "edge") == 0) add_edge(parsing, attributes);
    } else if (depth == DETAIL && parsing->in_layer && strcmp(element, "data") == 0) {
        read_data(parsing, attributes);
    }
}

static void XMLCALL end_element(void *user, const char *element)
{
    (void)element;
    ((struct parsing *)user)->depth--;
}

/* Entities are declared in a document type; without one there is nothing to expand. */
static void XMLCALL start_doctype(void *user, const char *name, const char *system,
                                  const char *public, int internal)
{
    (void)name, (void)system, (void)public, (void)internal;
    struct parsing *const parsing = user;
    STOP(parsing, PHLOX_ERROR_FORMAT,
         "%s: has a document type, which no OpenVINO model has; phlox does not read such a file",
         parsing->name);
}

static phlox_status run(struct parsing *parsing, phlox_text xml)
{
    XML_SetUserData(parsing->expat, parsing);
    XML_SetElementHandler(parsing->expat, start_element, end_element);
    XML_SetStartDoctypeDeclHandler(parsing->expat, start_doctype);
    /* All at once: expat looks at a long element anew with every piece that it is given. */
    const enum XML_Status status = XML_Parse(parsing->expat, xml.data, (int)xml.size, 1);
    if (parsing->status != PHLOX_OK || status == XML_STATUS_OK) return parsing->status;
    return px_fail(parsing->error, PHLOX_ERROR_FORMAT,
                   "%s: line %lu: %s; copy the model again", parsing->name,
                   (unsigned long)XML_GetCurrentLineNumber(parsing->expat),
                   XML_ErrorString(XML_GetErrorCode(parsing->expat)));
}

/* ---- the graph ----------------------------------------------------------------------------- */

struct place {
    uint64_t id;
    uint32_t index;
};

static int by_id(const void *a, const void *b)
{
    const uint64_t x = ((const struct place *)a)->id, y = ((const struct place *)b)->id;
    return (x > y) - (x < y);
}

static int by_target(const void *a, const void *b)
{
    const px_ov_edge *const x = a, *const y = b;
    if (x->to != y->to) return x->to < y->to ? -1 : 1;
    return (x->port > y->port) - (x->port < y->port);
}

static bool to_index(const struct place *places, size_t count, uint64_t *id)
{
    const struct place key = {.id = *id};
    const struct place *const found = bsearch(&key, places, count, sizeof key, by_id);
    if (found) *id = found->index;
    return found != NULL;
}

static phlox_status link_edges(px_ov_graph *graph, const char *name, struct place *places,
                               phlox_error *error)
{
    const size_t count = graph->layer_count;
    for (size_t i = 0; i < count; i++) places[i] = (struct place){graph->layers[i].id, (uint32_t)i};
    qsort(places, count, sizeof *places, by_id);
    for (size_t i = 1; i < count; i++)
        if (places[i].id == places[i - 1].id)
            return px_fail(error, PHLOX_ERROR_FORMAT, "%s: two layers have the id %" PRIu64, name,
                           places[i].id);
    for (size_t i = 0; i < graph->edge_count; i++) {
        px_ov_edge *const edge = &graph->edges[i];
        const uint64_t from = edge->from, to = edge->to;
        if (!to_index(places, count, &edge->from) || !to_index(places, count, &edge->to))
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: an edge leads from layer %" PRIu64 " to layer %" PRIu64
                           ", and one of them is not there", name, from, to);
    }
    if (graph->edge_count)
        qsort(graph->edges, graph->edge_count, sizeof *graph->edges, by_target);
    for (size_t i = 0; i < graph->edge_count; i++) {
        const px_ov_edge *const edge = &graph->edges[i];
        px_ov_layer *const layer = &graph->layers[edge->to];
        if (!layer->edge_count++) layer->first_edge = (uint32_t)i;
        else if (edge[-1].port == edge->port)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: layer %s has two edges into its input %" PRIu64, name,
                           px_ov_text(graph, layer->name), edge->port);
    }
    return PHLOX_OK;
}

static phlox_status check_consts(const px_ov_graph *graph, const char *name, uint64_t bin_size,
                                 phlox_error *error)
{
    for (size_t i = 0; i < graph->layer_count; i++) {
        const px_ov_layer *const layer = &graph->layers[i];
        if (layer->op != PX_OV_CONST) continue;
        const char *const label = px_ov_text(graph, layer->name);
        if (layer->rank < 0)
            return px_fail(error, PHLOX_ERROR_FORMAT, "%s: the constant %s has no <data>", name,
                           label);
        if (layer->offset > bin_size || layer->size > bin_size - layer->offset)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: the constant %s is %" PRIu64 " bytes at offset %" PRIu64
                           ", but openvino_model.bin has %" PRIu64 " bytes; copy both files again",
                           name, label, layer->size, layer->offset, bin_size);
        const uint64_t bits = (uint64_t)px_ov_type_bits(layer->type);
        const uint64_t elements = (uint64_t)layer->elements;
        const uint64_t bytes = elements / 8 * bits + (elements % 8 * bits + 7) / 8;
        if (bits && layer->size != bytes)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: the constant %s is %" PRIu64 " bytes; its shape makes %" PRIu64,
                           name, label, layer->size, bytes);
    }
    return PHLOX_OK;
}

phlox_status px_ov_graph_parse(phlox_text xml, const char *name, uint64_t bin_size, px_ov_graph *out,
                               phlox_error *error)
{
    if (!xml.size || xml.size > MOST_XML_BYTES)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: %zu bytes are %s for this file", name,
                       xml.size, xml.size ? "too many" : "too few");
    *out = (px_ov_graph){0};
    struct parsing parsing = {.expat = XML_ParserCreate(NULL), .graph = out, .name = name,
                              .error = error};
    if (!parsing.expat) return px_fail_memory(error, 4096);
    phlox_status status = px_buffer_add(&parsing.text, "", 1, error);
    if (status == PHLOX_OK) status = run(&parsing, xml);
    XML_ParserFree(parsing.expat);
    out->text = parsing.text.data;
    if (status == PHLOX_OK && !out->layer_count)
        status = px_fail(error, PHLOX_ERROR_FORMAT, "%s: without layers", name);
    if (status == PHLOX_OK) {
        struct place *const places = px_calloc(out->layer_count, sizeof *places);
        status = places ? link_edges(out, name, places, error)
                        : px_fail_memory(error, out->layer_count * sizeof *places);
        free(places);
    }
    if (status == PHLOX_OK) status = check_consts(out, name, bin_size, error);
    if (status != PHLOX_OK) px_ov_graph_free(out);
    return status;
}

void px_ov_graph_free(px_ov_graph *graph)
{
    free(graph->layers);
    free(graph->edges);
    free(graph->text);
    *graph = (px_ov_graph){0};
}

const char *px_ov_text(const px_ov_graph *graph, uint32_t offset)
{
    return graph->text + offset;
}

const px_ov_layer *px_ov_input(const px_ov_graph *graph, const px_ov_layer *layer, uint64_t port)
{
    for (uint32_t i = 0; i < layer->edge_count; i++) {
        const px_ov_edge *const edge = &graph->edges[layer->first_edge + i];
        if (edge->port >= port)
            return edge->port == port ? &graph->layers[edge->from] : NULL;
    }
    return NULL;
}
