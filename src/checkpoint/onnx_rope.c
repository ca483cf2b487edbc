#include "checkpoint/onnx_rope.h"

#include "checkpoint/onnx_wire.h"

#include <math.h>
#include <string.h>

/* ---- in the graph -------------------------------------------------------------------------- */

/* An integer constant of one element. */
static bool integer(const px_onnx_tensor *tensor, int64_t *out)
{
    if (!tensor || tensor->external || tensor->rank > 1 || (tensor->rank == 1 && tensor->dims[0] != 1))
        return false;
    const uint8_t *const bytes = (const uint8_t *)tensor->bytes.data;
    const size_t size = tensor->type == PX_ONNX_INT64 ? 8 : tensor->type == PX_ONNX_INT32 ? 4 : 0;
    uint64_t value = 0;
    if (size && tensor->varints.size) {
        const uint8_t *const varints = (const uint8_t *)tensor->varints.data;
        px_wire wire = {varints, varints + tensor->varints.size};
        if (tensor->bytes.size || !px_wire_varint(&wire, &value) || wire.at != wire.end) return false;
    } else {
        if (!size || tensor->bytes.size != size) return false;
        for (size_t i = 0; i < size; i++) value |= (uint64_t)bytes[i] << 8 * i;
    }
    *out = (int64_t)value;
    return *out > 0 && *out < INT32_MAX;
}

/* The length up to which the short table is used: of Greater(length, n), or of GreaterOrEqual(position, n),
 * which is the same n. */
static bool threshold(const px_onnx_model *model, const px_onnx_node *node, int64_t *out)
{
    const bool greater = px_onnx_is(node, "Greater") || px_onnx_is(node, "GreaterOrEqual");
    return greater && integer(px_onnx_constant(model, px_onnx_input(model, node, 1)), out);
}

/* Follows the first or the second input back to where positions are compared. */
static bool find_threshold(const px_onnx_model *model, const px_onnx_value *value, int depth, int64_t *out)
{
    const px_onnx_node *const node = px_onnx_producer(model, value);
    if (!node || depth == 0) return false;
    if (threshold(model, node, out)) return true;
    for (size_t i = 0; i < PX_MIN(node->input_count, 2); i++)
        if (find_threshold(model, px_onnx_input(model, node, i), depth - 1, out)) return true;
    return false;
}

static const px_onnx_tensor *branch_result(const px_onnx_model *model, const px_onnx_node *node,
                                           const char *branch, const px_onnx_value *value)
{
    const px_onnx_attribute *const attribute = px_onnx_attribute_of(model, node, branch);
    if (!attribute || attribute->graph == PX_ONNX_NONE) return NULL;
    const px_onnx_graph *const graph = &model->graphs[attribute->graph];
    for (size_t i = 0; i < graph->result_count; i++) {
        const size_t index = model->results[graph->first_result + i];
        if (px_onnx_output(model, node, i) == value && index != PX_ONNX_NONE)
            return px_onnx_constant(model, &model->values[index]);
    }
    return NULL;
}

static bool read_tables(const px_onnx_model *model, const px_onnx_value *cosine, const px_onnx_value *sine,
                        const px_onnx_value *positions, px_onnx_rope *out)
{
    enum { MOST_DEPTH = 8 };
    const px_onnx_node *const choice = px_onnx_producer(model, cosine);
    if (px_onnx_is(choice, "If") && px_onnx_producer(model, sine) == choice) {
        out->cosine = branch_result(model, choice, "else_branch", cosine);
        out->sine = branch_result(model, choice, "else_branch", sine);
        out->long_cosine = branch_result(model, choice, "then_branch", cosine);
        out->long_sine = branch_result(model, choice, "then_branch", sine);
        const px_onnx_node *const condition = px_onnx_producer(model, px_onnx_input(model, choice, 0));
        return out->cosine && out->sine && out->long_cosine && out->long_sine &&
               threshold(model, condition, &out->original);
    }
    out->cosine = px_onnx_constant(model, cosine);
    out->sine = px_onnx_constant(model, sine);
    out->joined = find_threshold(model, positions, MOST_DEPTH, &out->original);
    return out->cosine && out->sine;
}

phlox_status px_onnx_rope_of_values(const px_onnx_source *source, const px_onnx_node *node,
                                    const px_onnx_value *cosine, const px_onnx_value *sine,
                                    const px_onnx_value *positions, px_onnx_rope *rope)
{
    px_onnx_rope found = {0};
    if (!read_tables(source->model, cosine, sine, positions, &found))
        return px_onnx_refuse(source, node, "tables of cosine and sine that phlox does not find");
    if (rope->cosine &&
        (rope->cosine != found.cosine || rope->sine != found.sine || rope->long_cosine != found.long_cosine ||
         rope->long_sine != found.long_sine || rope->joined != found.joined || rope->original != found.original))
        return px_onnx_refuse(source, node, "tables of cosine and sine that other layers do not have");
    *rope = found;
    return PHLOX_OK;
}

phlox_status px_onnx_rope_of_node(const px_onnx_source *source, const px_onnx_node *node,
                                  px_onnx_rope *rope)
{
    const px_onnx_model *const model = source->model;
    /* The order of inputs is another since RotaryEmbedding is an operator of ONNX itself. */
    const bool own = px_onnx_text_is(node->domain, "com.microsoft");
    if (px_onnx_int(model, node, "interleaved", 0) != 0)
        return px_onnx_refuse(source, node, "interleaved rotary embeddings");
    return px_onnx_rope_of_values(source, node, px_onnx_input(model, node, own ? 2 : 1),
                                  px_onnx_input(model, node, own ? 3 : 2),
                                  px_onnx_input(model, node, own ? 1 : 3), rope);
}

/* ---- in the tables ------------------------------------------------------------------------- */

static const double pi = 3.14159265358979323846;

/* The slope of the angles of one column, by least squares through 0. */
static bool recover_column(const px_onnx_table *table, int64_t column, int64_t rows, double *out)
{
    double products = 0, squares = 0, slope = 0;
    for (int64_t p = 1; p < rows; p++) {
        const int64_t at = p * table->columns + column;
        const double wanted = slope * (double)p;
        const double angle = atan2((double)table->sine[at], (double)table->cosine[at]);
        const double turned = angle + 2 * pi * round((wanted - angle) / (2 * pi));
        products += turned * (double)p;
        squares += (double)p * (double)p;
        slope = products / squares;
    }
    *out = slope;
    return slope > 0 && isfinite(slope);
}

bool px_onnx_table_recover(const px_onnx_table *table, double *frequencies, double *scale)
{
    enum { MOST_ROWS = 8192 }; /* the angles of more say nothing new */
    const int64_t rows = PX_MIN(table->rows, MOST_ROWS);
    const double tolerance = table->is_half ? 4e-3 : 4e-3 / 8;
    double sum = 0;
    if (rows < 2) return false;
    for (int64_t i = 0; i < rows * table->columns; i++)
        sum += hypot((double)table->cosine[i], (double)table->sine[i]);
    *scale = sum / (double)(rows * table->columns);
    if (!(*scale > 0 && *scale < 100)) return false;
    for (int64_t c = 0; c < table->columns; c++) {
        if (!recover_column(table, c, rows, &frequencies[c])) return false;
        for (int64_t p = 0; p < rows; p++) {
            const double angle = frequencies[c] * (double)p;
            const int64_t at = p * table->columns + c;
            if (!(fabs(table->cosine[at] - *scale * cos(angle)) < tolerance * *scale &&
                  fabs(table->sine[at] - *scale * sin(angle)) < tolerance * *scale))
                return false;
        }
    }
    return true;
}

/* The number whose powers theta^(-2i / dim) the frequencies are; 0 when they are not. */
static double find_theta(const double *frequencies, int32_t dim, double tolerance)
{
    const int32_t half = dim / 2;
    if (half < 2 || fabs(frequencies[0] - 1) > tolerance) return 0;
    const double theta = pow(frequencies[half - 1], -(double)dim / (2.0 * (half - 1)));
    if (!(theta > 1 && theta < 1e12)) return 0;
    const double unit = pow(10, floor(log10(theta)) - 2), rounded = round(theta / unit) * unit;
    const double candidates[] = {rounded, theta};
    for (size_t k = 0; k < PX_COUNT(candidates); k++) {
        double most = 0;
        for (int32_t i = 0; i < half; i++)
            most = PX_MAX(most, fabs(frequencies[i] - pow(candidates[k], -2.0 * i / dim)));
        if (most <= tolerance) return candidates[k];
    }
    return 0;
}

static phlox_status make_factors(const double *frequencies, const px_desc *desc, float **out,
                                 phlox_error *error)
{
    const int32_t half = desc->rotary_dim / 2;
    *out = px_calloc((size_t)half, sizeof **out);
    if (!*out) return px_fail_memory(error, (size_t)half * sizeof **out);
    for (int32_t i = 0; i < half; i++)
        (*out)[i] = (float)(1 / (frequencies[i] * pow(desc->rope_theta, 2.0 * i / desc->rotary_dim)));
    return PHLOX_OK;
}

phlox_status px_onnx_rope_describe(const double *frequencies, const double *long_frequencies, double scale,
                                   bool is_half, px_desc *desc, phlox_error *error)
{
    const double tolerance = is_half ? 1e-5 : 1e-6;
    const double theta = find_theta(frequencies, desc->rotary_dim, tolerance);
    desc->rope_scale = 1;
    desc->rope_theta = theta > 0 ? theta : 10000;
    if (theta > 0 && !long_frequencies && fabs(scale - 1) < 1e-3) return PHLOX_OK;
    /* The scale by transformers' rule, where it is that one. */
    const double stretch = (double)desc->max_position / desc->original_max_position;
    const double rule = stretch <= 1 ? 1 : sqrt(1 + log(stretch) / log(desc->original_max_position));
    desc->rope_scale = (float)(fabs(scale - rule) < 1e-3 ? rule : scale);
    desc->longrope = true;
    PX_TRY(make_factors(frequencies, desc, &desc->short_factor, error));
    return make_factors(long_frequencies ? long_frequencies : frequencies, desc, &desc->long_factor, error);
}
