#include "engine/plan.h"

#include "base/cache.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t default_int4_parameters = 1000000000; /* larger models run as int4 */

static px_weight_type stored_type(px_float_type type)
{
    return type == PX_FLOAT_F32 ? PX_WEIGHT_F32
           : type == PX_FLOAT_F16 ? PX_WEIGHT_F16
                                  : PX_WEIGHT_BF16;
}

static const char *type_name(px_weight_type type)
{
    static const char *const names[PX_WEIGHT_TYPES] = {"f32", "f16", "bf16", "int8", "int4"};
    return names[type];
}

static phlox_status collect(const px_checkpoint *checkpoint, px_plan *plan, phlox_error *error)
{
    static const px_role layered[] = {PX_QKV, PX_O, PX_GATE_UP, PX_DOWN};
    const px_desc *const desc = &checkpoint->desc;
    const size_t most = (size_t)desc->num_hidden_layers * PX_COUNT(layered) + 2;
    plan->items = px_calloc(most, sizeof *plan->items);
    if (!plan->items) return px_fail_memory(error, most * sizeof *plan->items);
    plan->norm_bytes =
        (2 * (size_t)desc->num_hidden_layers + 1) * (size_t)desc->hidden_size * sizeof(float);
    plan->items[plan->count++].tensor = px_checkpoint_tensor(checkpoint, PX_EMBEDDING, 0);
    for (int32_t layer = 0; layer < desc->num_hidden_layers; layer++)
        for (size_t i = 0; i < PX_COUNT(layered); i++)
            plan->items[plan->count++].tensor =
                px_checkpoint_tensor(checkpoint, layered[i], layer);
    if (!desc->tied_embeddings)
        plan->items[plan->count++].tensor = px_checkpoint_tensor(checkpoint, PX_LM_HEAD, 0);
    return PHLOX_OK;
}

/* ---- sensitivity --------------------------------------------------------------------------- */

struct sensitivity {
    const px_tensor *tensor;
    _Atomic uint32_t most; /* bits of a float >= 0, whose order is that of the integers */
};

static phlox_status measure_rows(void *context, int64_t begin, int64_t end, phlox_error *error)
{
    struct sensitivity *const job = context;
    const px_tensor *const tensor = job->tensor;
    const size_t values = (size_t)((end - begin) * tensor->columns);
    float *const buffer = tensor->load ? malloc(values * sizeof *buffer) : NULL;
    if (tensor->load && !buffer) return px_fail_memory(error, values * sizeof *buffer);
    px_float_type type;
    const void *const source = px_tensor_rows(tensor, begin, end - begin, buffer, &type);
    float most = 0;
    px_quant_sensitivity(type, source, end - begin, tensor->columns, &most);
    free(buffer);
    px_tensor_drop(tensor, begin, end - begin);
    uint32_t bits, seen = atomic_load(&job->most);
    memcpy(&bits, &most, sizeof bits);
    while (bits > seen && !atomic_compare_exchange_weak(&job->most, &seen, bits)) continue;
    return PHLOX_OK;
}

static phlox_status measure(const px_plan *plan, const phlox_model_options *options, px_pool *pool,
                            px_quant_layer *layers, phlox_error *error)
{
    for (size_t i = 0; i < plan->count; i++) {
        struct sensitivity job = {.tensor = plan->items[i].tensor};
        PX_TRY(px_pool_try(pool, job.tensor->rows, 64, measure_rows, &job, error));
        const uint32_t bits = atomic_load(&job.most);
        memcpy(&layers[i].sensitivity, &bits, sizeof bits);
        const phlox_progress progress = {"measuring layers", i + 1, plan->count, false};
        if (options->progress && !options->progress(options->progress_user, &progress))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "opening the model was cancelled");
    }
    return PHLOX_OK;
}

/* ---- choosing ------------------------------------------------------------------------------ */

static void finish_item(px_plan_item *item, px_weight_type type, const px_quant_format *format)
{
    const px_tensor *const tensor = item->tensor;
    const uintptr_t odd = (uintptr_t)tensor->data % px_float_size(tensor->type);
    item->type = type;
    item->as_stored = !tensor->integers.bits && !tensor->load && !odd &&
                      type == stored_type(tensor->type);
    const size_t rows = (size_t)px_weight_padded_rows(type, tensor->rows);
    item->bytes[PX_PART_DATA] = rows * (size_t)px_weight_row_bytes(type, tensor->columns);
    if (!format) return;
    item->format = *format;
    item->group_size = format->group_size > 0 ? format->group_size : tensor->columns;
    const size_t groups =
        rows * (size_t)((tensor->columns + item->group_size - 1) / item->group_size);
    item->half_scales = !item->stored_integers || tensor->integers.half_scales;
    item->minima = item->stored_integers && tensor->integers.read_minima;
    item->steps = item->stored_integers && tensor->integers.read_steps;
    const size_t scales = item->steps ? rows * (size_t)(tensor->columns / PX_SUPER_BLOCK) : groups;
    const size_t scale_bytes = scales * (item->half_scales ? sizeof(uint16_t) : sizeof(float));
    item->bytes[PX_PART_SCALES] = scale_bytes;
    item->bytes[PX_PART_ZEROS] = format->symmetric || item->minima ? 0 : groups;
    item->bytes[PX_PART_MINIMA] = item->minima ? scale_bytes : 0;
    item->bytes[PX_PART_SCALE_STEPS] = item->steps ? groups : 0;
    item->bytes[PX_PART_MINIMUM_STEPS] = item->steps && item->minima ? groups : 0;
}

static void finish_stored_integers(px_plan_item *item)
{
    const px_integers *const integers = &item->tensor->integers;
    const px_quant_format format = {integers->bits, integers->symmetric, integers->group_size, false};
    item->stored_integers = true;
    finish_item(item, integers->bits == 4 ? PX_WEIGHT_I4 : PX_WEIGHT_I8, &format);
}

/* Integers that are stored stay what they are: only what else there is takes the format asked for, and
 * those that only the kernels know. */
static phlox_status plan_quantized(const px_quant_options *quant, const phlox_model_options *options,
                                   px_pool *pool, px_plan *plan, phlox_error *error)
{
    px_quant_layer *const layers = px_calloc(plan->count, sizeof *layers);
    if (!layers) return px_fail_memory(error, plan->count * sizeof *layers);
    size_t count = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const px_tensor *const tensor = plan->items[i].tensor;
        if (tensor->integers.bits && !tensor->load) finish_stored_integers(&plan->items[i]);
        else layers[count++] = (px_quant_layer){.name = tensor->name, .rows = tensor->rows,
                                                .columns = tensor->columns,
                                                .is_embedding = tensor->role == PX_EMBEDDING,
                                                .is_head = tensor->role == PX_LM_HEAD};
    }
    phlox_status status = PHLOX_OK;
    if (quant->format == PHLOX_WEIGHTS_INT4 && quant->ratio < 1 && pool)
        status = measure(plan, options, pool, layers, error);
    if (status == PHLOX_OK) status = px_quant_assign(quant, layers, count, error);
    for (size_t i = 0, next = 0; i < plan->count && status == PHLOX_OK; i++) {
        px_plan_item *const item = &plan->items[i];
        if (item->stored_integers) continue;
        const px_quant_format *const format = &layers[next++].format;
        if (format->bits) finish_item(item, format->bits == 4 ? PX_WEIGHT_I4 : PX_WEIGHT_I8, format);
        else finish_item(item, stored_type(item->tensor->type), NULL);
    }
    free(layers);
    return status;
}

static void describe_quantized(const px_quant_options *quant, px_plan *plan)
{
    const bool is_int4 = quant->format == PHLOX_WEIGHTS_INT4;
    const char *const symmetry = quant->symmetric ? "sym" : "asym";
    if (!is_int4) {
        snprintf(plan->summary, sizeof plan->summary, "int8 %s per channel", symmetry);
        return;
    }
    char group[32] = "per channel";
    if (quant->group_size > 0) snprintf(group, sizeof group, "g%lld", (long long)quant->group_size);
    if (quant->search) strcat(group, " search");
    const bool none = quant->backup == PHLOX_BACKUP_NONE;
    const char *const backup = none ? "as stored"
                               : quant->backup == PHLOX_BACKUP_INT8_SYM ? "int8 sym" : "int8";
    if (quant->all_layers && quant->ratio >= 1)
        snprintf(plan->summary, sizeof plan->summary, "int4 %s %s", symmetry, group);
    else if (quant->ratio >= 1)
        snprintf(plan->summary, sizeof plan->summary, "int4 %s %s, embedding and lm_head %s",
                 symmetry, group, backup);
    else
        snprintf(plan->summary, sizeof plan->summary, "int4 %s %s for %g of the weights, rest %s",
                 symmetry, group, quant->ratio, backup);
}

/* Names what every matrix becomes, not the options that led to it: options with the same outcome
 * share a packed file. */
static void name_variant(px_plan *plan)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const px_plan_item *const item = &plan->items[i];
        const int64_t method = item->format.symmetric + 2 * item->format.search +
                               4 * item->stored_integers + 8 * item->minima + 16 * item->steps;
        const int64_t outcome[] = {item->type, item->group_size, method};
        sum += px_checksum(outcome, sizeof outcome, i * sizeof outcome);
    }
    snprintf(plan->variant, sizeof plan->variant, "layout 3, %016llx", (unsigned long long)sum);
}

static phlox_status plan_float(px_weight_type type, px_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) finish_item(&plan->items[i], type, NULL);
    snprintf(plan->summary, sizeof plan->summary, "%s", type_name(type));
    return PHLOX_OK;
}

/* Adds what an item is to "int4 sym g128, int8 asym per channel", unless it stands there. */
static void describe_item(const px_plan_item *item, px_plan *plan)
{
    char text[64];
    if (item->type == PX_WEIGHT_I4 || item->type == PX_WEIGHT_I8)
        px_describe_integers(item->format.bits, item->format.symmetric, item->group_size,
                             item->tensor->columns, text, sizeof text);
    else
        snprintf(text, sizeof text, "%s", type_name(item->type));
    px_describe_once(plan->summary, sizeof plan->summary, text);
}

/* The layers first, embedding and lm_head behind them. */
static void describe_items(px_plan *plan)
{
    for (size_t i = 1; i < plan->count; i++) describe_item(&plan->items[i], plan);
    describe_item(&plan->items[0], plan);
}

static phlox_status plan_as_stored(px_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        px_plan_item *const item = &plan->items[i];
        if (item->tensor->integers.bits) finish_stored_integers(item);
        else finish_item(item, stored_type(item->tensor->type), NULL);
    }
    describe_items(plan);
    return PHLOX_OK;
}

static phlox_status make(const px_checkpoint *checkpoint, const phlox_model_options *options,
                         px_pool *pool, px_plan *plan, phlox_error *error)
{
    PX_TRY(collect(checkpoint, plan, error));
    px_quant_options quant;
    PX_TRY(px_quant_options_resolve(options, &quant, error));
    if (options->weight_format == PHLOX_WEIGHTS_DEFAULT && !checkpoint->quantized &&
        px_desc_parameters(&checkpoint->desc) > default_int4_parameters) {
        phlox_model_options chosen = *options;
        chosen.weight_format = PHLOX_WEIGHTS_INT4;
        chosen.symmetry = PHLOX_SYM;
        chosen.group_size_fallback = PHLOX_FALLBACK_ADJUST;
        PX_TRY(px_quant_options_resolve(&chosen, &quant, error));
    }
    switch (quant.format) {
    case PHLOX_WEIGHTS_F32: return plan_float(PX_WEIGHT_F32, plan);
    case PHLOX_WEIGHTS_F16: return plan_float(PX_WEIGHT_F16, plan);
    case PHLOX_WEIGHTS_BF16: return plan_float(PX_WEIGHT_BF16, plan);
    case PHLOX_WEIGHTS_INT8:
    case PHLOX_WEIGHTS_INT4: break;
    default: return plan_as_stored(plan);
    }
    if (checkpoint->quantized && quant.format == PHLOX_WEIGHTS_INT4 && quant.ratio < 1)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: its weights are integers already, so that a ratio cannot be kept; leave it "
                       "out", checkpoint->path);
    PX_TRY(plan_quantized(&quant, options, pool, plan, error));
    if (!checkpoint->quantized) describe_quantized(&quant, plan);
    else describe_items(plan);
    return PHLOX_OK;
}

phlox_status px_plan_make(const px_checkpoint *checkpoint, const phlox_model_options *options,
                          px_pool *pool, px_plan *out, phlox_error *error)
{
    px_plan plan = {0};
    const phlox_status status = make(checkpoint, options, pool, &plan, error);
    if (status != PHLOX_OK) {
        px_plan_free(&plan);
        return status;
    }
    for (size_t i = 0; i < plan.count; i++) plan.converts |= !plan.items[i].as_stored;
    name_variant(&plan);
    *out = plan;
    return PHLOX_OK;
}

static uint64_t item_bytes(const px_plan_item *item)
{
    uint64_t sum = 0;
    for (int part = 0; part < PX_PARTS; part++) sum += item->bytes[part];
    return sum;
}

uint64_t px_plan_bytes(const px_plan *plan)
{
    uint64_t sum = plan->norm_bytes;
    for (size_t i = 0; i < plan->count; i++) sum += item_bytes(&plan->items[i]);
    return sum;
}

uint64_t px_plan_step_bytes(const px_plan *plan)
{
    const bool has_head = plan->items[plan->count - 1].tensor->role == PX_LM_HEAD;
    return px_plan_bytes(plan) - (has_head ? item_bytes(&plan->items[0]) : 0);
}

void px_plan_free(px_plan *plan)
{
    free(plan->items);
    *plan = (px_plan){0};
}
