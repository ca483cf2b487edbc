/*
 * Which matrix gets which format: the user's options, checked, and NNCF's mixed precision rules.
 */
#include "quant/quant.h"

#include <inttypes.h>

/* The groups that `adjust` falls back to are no smaller (NNCF's min_adjusted_group_size). */
enum { ADJUSTED_GROUP_MIN = 32, DEFAULT_GROUP = 128 };

/* ---- options ------------------------------------------------------------------------------- */

static const char *format_name(phlox_weight_format format)
{
    switch (format) {
    case PHLOX_WEIGHTS_DEFAULT: return "default";
    case PHLOX_WEIGHTS_STORED: return "stored";
    case PHLOX_WEIGHTS_F32: return "f32";
    case PHLOX_WEIGHTS_F16: return "f16";
    case PHLOX_WEIGHTS_BF16: return "bf16";
    case PHLOX_WEIGHTS_INT8: return "int8";
    case PHLOX_WEIGHTS_INT4: return "int4";
    }
    return NULL;
}

static phlox_status check_ranges(const phlox_model_options *options, phlox_error *error)
{
    if (!format_name(options->weight_format))
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "weight-format: there is no format %d",
                       (int)options->weight_format);
    if (options->group_size < -1)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "group-size %" PRId32
                       ": give a number of columns, or -1 for one group a row",
                       options->group_size);
    if (!(options->ratio >= 0 && options->ratio <= 1))
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "ratio %g: give the share of int4 weights, above 0 and at most 1",
                       options->ratio);
    if (options->symmetry < PHLOX_SYMMETRY_DEFAULT || options->symmetry > PHLOX_ASYM)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "sym, asym: there is no choice %d",
                       (int)options->symmetry);
    if (options->backup_precision < PHLOX_BACKUP_DEFAULT ||
        options->backup_precision > PHLOX_BACKUP_NONE)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "backup-precision: there is no choice %d",
                       (int)options->backup_precision);
    if (options->group_size_fallback < PHLOX_FALLBACK_ERROR ||
        options->group_size_fallback > PHLOX_FALLBACK_ADJUST)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "group-size-fallback: there is no choice %d",
                       (int)options->group_size_fallback);
    if (options->quant_method < PHLOX_QUANT_DEFAULT || options->quant_method > PHLOX_QUANT_SEARCH)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "quant-method: there is no choice %d",
                       (int)options->quant_method);
    return PHLOX_OK;
}

static phlox_status fail_pair(const char *option, phlox_weight_format format, const char *why,
                              phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_ARGUMENT, "%s cannot be combined with weight-format %s: %s",
                   option, format_name(format), why);
}

/* What only int4 takes. */
static phlox_status check_no_int4_options(const phlox_model_options *options, phlox_error *error)
{
    const phlox_weight_format format = options->weight_format;
    const bool int8 = format == PHLOX_WEIGHTS_INT8;
    const char *why = int8 ? "int8 is used for every layer, one scale a row"
                           : "it is an option of int4 weights; add weight-format int4";
    if (int8 ? options->group_size > 0 : options->group_size != 0)
        return fail_pair("group-size", format, why, error);
    if (int8 ? options->ratio > 0 && options->ratio < 1 : options->ratio > 0)
        return fail_pair("ratio", format, why, error);
    if (options->backup_precision != PHLOX_BACKUP_DEFAULT)
        return fail_pair("backup-precision", format, why, error);
    if (options->all_layers) return fail_pair("all-layers", format, why, error);
    if (options->group_size_fallback != PHLOX_FALLBACK_ERROR)
        return fail_pair("group-size-fallback", format, why, error);
    if (int8 ? options->quant_method == PHLOX_QUANT_SEARCH
             : options->quant_method != PHLOX_QUANT_DEFAULT)
        return fail_pair("quant-method", format,
                         int8 ? "int8 is always as NNCF rounds it" : why, error);
    if (!int8 && options->symmetry != PHLOX_SYMMETRY_DEFAULT)
        return fail_pair(options->symmetry == PHLOX_SYM ? "sym" : "asym", format,
                         "it is an option of int8 and int4 weights; add one of these", error);
    return PHLOX_OK;
}

phlox_status px_quant_options_resolve(const phlox_model_options *options, px_quant_options *out,
                                      phlox_error *error)
{
    PX_TRY(check_ranges(options, error));
    const bool int4 = options->weight_format == PHLOX_WEIGHTS_INT4;
    if (!int4) PX_TRY(check_no_int4_options(options, error));
    const bool backup_default = options->backup_precision == PHLOX_BACKUP_DEFAULT;
    *out = (px_quant_options){
        .format = options->weight_format,
        .group_size = !int4                 ? -1
                      : options->group_size ? options->group_size
                                            : DEFAULT_GROUP,
        .symmetric = options->symmetry == PHLOX_SYM,
        .ratio = options->ratio > 0 ? options->ratio : 1,
        .backup = backup_default ? PHLOX_BACKUP_INT8_ASYM : options->backup_precision,
        .all_layers = options->all_layers,
        .fallback = options->group_size_fallback,
        .search = options->quant_method == PHLOX_QUANT_SEARCH,
    };
    return PHLOX_OK;
}

/* ---- layers -------------------------------------------------------------------------------- */

static px_quant_format backup_format(const px_quant_options *options)
{
    if (options->backup == PHLOX_BACKUP_NONE) return (px_quant_format){0, false, -1, false};
    return (px_quant_format){8, options->backup == PHLOX_BACKUP_INT8_SYM, -1, false};
}

static bool divides(int64_t group, int64_t columns)
{
    return group == -1 || columns % group == 0;
}

/* The group size that the layer has if it becomes int4, after `adjust`. */
static int64_t int4_group(const px_quant_options *options, const px_quant_layer *layer)
{
    if (divides(options->group_size, layer->columns) || options->fallback != PHLOX_FALLBACK_ADJUST)
        return options->group_size;
    return layer->columns & -layer->columns; /* the largest power of two that divides the row */
}

/* Whether the layer is one of those among which the ratio is divided. The embedding and the head
 * are not, unless all layers are asked for, nor are those for which no group size can be found. */
static bool shares_ratio(const px_quant_options *options, const px_quant_layer *layer)
{
    if ((layer->is_embedding || layer->is_head) && !options->all_layers) return false;
    if (divides(options->group_size, layer->columns)) return true;
    switch (options->fallback) {
    case PHLOX_FALLBACK_ERROR: return true; /* an error only if it is chosen for int4 */
    case PHLOX_FALLBACK_IGNORE: return false;
    case PHLOX_FALLBACK_ADJUST: return int4_group(options, layer) >= ADJUSTED_GROUP_MIN;
    }
    return false;
}

/* Left as stored: in the way of `ignore`, which spares the layer the backup precision too. */
static bool ignored(const px_quant_options *options, const px_quant_layer *layer)
{
    if ((layer->is_embedding || layer->is_head) && !options->all_layers) return false;
    return options->fallback == PHLOX_FALLBACK_IGNORE &&
           !divides(options->group_size, layer->columns);
}

static void make_int4(const px_quant_options *options, px_quant_layer *layer)
{
    layer->format = (px_quant_format){4, options->symmetric, int4_group(options, layer),
                                      options->search};
}

/* Low for layers that int8 damages most. In doubles and with the epsilon, because where that makes
 * two scores equal the order of the graph decides. */
static double score(const px_quant_layer *layer)
{
    return 1 / ((double)layer->sensitivity + 0x1p-23);
}

/* Whether `a` comes before `b`: by score, then by place in the graph, embeddings last. */
static bool precedes(const px_quant_layer *a, const px_quant_layer *b)
{
    const double score_a = score(a), score_b = score(b);
    if (score_a != score_b) return score_a < score_b;
    if (a->is_embedding != b->is_embedding) return b->is_embedding;
    return a < b;
}

/* Makes layers int4 in the order of their scores and stops at the first that would reach the ratio.
 */
static void share_by_score(const px_quant_options *options, px_quant_layer *layers, size_t count)
{
    int64_t total = 0, chosen = 0;
    for (size_t i = 0; i < count; i++)
        if (shares_ratio(options, &layers[i])) total += layers[i].rows * layers[i].columns;
    for (;;) {
        px_quant_layer *next = NULL;
        for (size_t i = 0; i < count; i++) {
            px_quant_layer *layer = &layers[i];
            if (layer->format.bits == 4 || !shares_ratio(options, layer)) continue;
            if (!next || precedes(layer, next)) next = layer;
        }
        if (!next) return;
        chosen += next->rows * next->columns;
        if ((double)chosen / (double)total >= options->ratio) return;
        make_int4(options, next);
    }
}

static phlox_status check_groups(const px_quant_layer *layers, size_t count, phlox_error *error)
{
    for (size_t i = 0; i < count; i++) {
        const px_quant_layer *layer = &layers[i];
        if (!divides(layer->format.group_size, layer->columns))
            return px_fail(error, PHLOX_ERROR_ARGUMENT,
                           "%s: rows of %" PRId64
                           " values cannot be divided into groups of %" PRId64
                           "; choose another group-size, or group-size-fallback ignore or adjust",
                           layer->name, layer->columns, layer->format.group_size);
    }
    return PHLOX_OK;
}

phlox_status px_quant_assign(const px_quant_options *options, px_quant_layer *layers, size_t count,
                             phlox_error *error)
{
    const px_quant_format as_stored = {0, false, -1, false};
    const px_quant_format int8 = {8, options->symmetric, -1, false};
    if (options->format != PHLOX_WEIGHTS_INT4) {
        for (size_t i = 0; i < count; i++)
            layers[i].format = options->format == PHLOX_WEIGHTS_INT8 ? int8 : as_stored;
        return PHLOX_OK;
    }
    for (size_t i = 0; i < count; i++)
        layers[i].format = ignored(options, &layers[i]) ? as_stored : backup_format(options);
    if (options->ratio < 1) {
        share_by_score(options, layers, count);
    } else {
        for (size_t i = 0; i < count; i++)
            if (shares_ratio(options, &layers[i])) make_int4(options, &layers[i]);
    }
    return check_groups(layers, count, error);
}
