#include "api/builtin.h"
#include "base/cores.h"
#include "base/json.h"
#include "base/os.h"
#include "engine/plan.h"

#include <phlox/tools.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- defaults ------------------------------------------------------------------------------ */

/* What `optimum-cli export openvino --weight-format int4` chooses for a model of this name when nothing
 * else is asked for (optimum-intel 2.2, _DEFAULT_4BIT_WQ_CONFIGS), and what of it phlox leaves out. */
static const struct known {
    const char *name;
    int32_t group_size;
    const char *left_out;
} known[] = {
    {"Phi-3-mini-4k-instruct", 64, "scale estimation, which needs a dataset"},
    {"Phi-3.5-mini-instruct", 64, "AWQ"},
    {"Phi-4-mini-instruct", 64, "AWQ"},
    {"Phi-4-reasoning", 64, NULL},
};

/* By the last part of a path. */
static const struct known *find_known(const char *path)
{
    size_t end = strlen(path);
    while (end && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin && path[begin - 1] != '/') begin--;
    for (size_t i = 0; i < PX_COUNT(known); i++)
        if (strlen(known[i].name) == end - begin &&
            strncmp(path + begin, known[i].name, end - begin) == 0)
            return &known[i];
    return NULL;
}

/* By the name of the directory, or by the one that config.json remembers. */
static const struct known *recognise(const px_checkpoint *checkpoint)
{
    const struct known *found = find_known(checkpoint->path);
    for (size_t i = 0; i < checkpoint->beside_count && !found; i++) {
        json_t *config = NULL;
        if (strcmp(checkpoint->beside[i].name, "config.json") != 0 ||
            px_json_parse(checkpoint->beside[i].bytes, "config.json", true, &config, NULL) != PHLOX_OK)
            continue;
        const char *const name = json_string_value(json_object_get(config, "_name_or_path"));
        if (name) found = find_known(name);
        json_decref(config);
    }
    return found;
}

static bool says_nothing_else(const phlox_model_options *o)
{
    return !o->group_size && o->symmetry == PHLOX_SYMMETRY_DEFAULT && o->ratio <= 0 &&
           o->backup_precision == PHLOX_BACKUP_DEFAULT && !o->all_layers &&
           o->group_size_fallback == PHLOX_FALLBACK_ERROR;
}

/* Fills in what the user left open. Without a format: int8 from a billion parameters on, as optimum
 * does, else the floats that are there. */
static void choose_defaults(const px_checkpoint *checkpoint, phlox_model_options *options,
                            phlox_export_result *result)
{
    static const uint64_t largest_float = 1000000000;
    if (checkpoint->quantized) return;
    if (options->weight_format == PHLOX_WEIGHTS_DEFAULT)
        options->weight_format = px_desc_parameters(&checkpoint->desc) >= largest_float
                                     ? PHLOX_WEIGHTS_INT8
                                     : PHLOX_WEIGHTS_STORED;
    if (options->weight_format != PHLOX_WEIGHTS_INT4 || !says_nothing_else(options)) return;
    const struct known *const found = recognise(checkpoint);
    if (!found) return;
    options->group_size = found->group_size;
    if (found->left_out)
        snprintf(result->note, sizeof result->note,
                 "for %s optimum-cli adds %s; these are groups of %d without it", found->name,
                 found->left_out, (int)found->group_size);
}

/* ---- writing ------------------------------------------------------------------------------- */

static phlox_status fill_items(const px_plan *plan, px_export_item *items, phlox_error *error)
{
    for (size_t i = 0; i < plan->count; i++) {
        const px_plan_item *const item = &plan->items[i];
        const bool integers = item->type == PX_WEIGHT_I4 || item->type == PX_WEIGHT_I8;
        items[i] = (px_export_item){.tensor = item->tensor, .format = item->format};
        items[i].type = item->type == PX_WEIGHT_F32   ? PX_FLOAT_F32
                        : item->type == PX_WEIGHT_F16 ? PX_FLOAT_F16
                                                      : PX_FLOAT_BF16;
        const int64_t group = item->format.group_size;
        if (item->stored_integers && group == item->tensor->columns)
            items[i].format.group_size = -1;
        if (integers && group > 0 && item->tensor->columns % group != 0)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "%s: tensor %s: rows of %" PRId64 " values in groups of %" PRId64
                           ": the last group is shorter, which this form cannot hold",
                           item->tensor->file, item->tensor->name, item->tensor->columns, group);
    }
    return PHLOX_OK;
}

static phlox_status write_plan(const px_checkpoint *checkpoint, const px_form *form,
                               const phlox_model_options *options, const px_plan *plan,
                               const char *out, px_pool *pool, phlox_error *error)
{
    px_export_item *const items = px_calloc(plan->count, sizeof *items);
    if (!items) return px_fail_memory(error, plan->count * sizeof *items);
    px_out_directory directory = {.path = NULL};
    px_export job = {.checkpoint = checkpoint, .items = items, .count = plan->count, .pool = pool,
                     .progress = options->progress, .progress_user = options->progress_user};
    phlox_status status = fill_items(plan, items, error);
    if (status == PHLOX_OK) status = px_quant_options_resolve(options, &job.quant, error);
    if (status == PHLOX_OK) status = px_out_directory_open(&directory, out, error);
    if (status == PHLOX_OK) {
        job.directory = directory.temporary;
        status = form->write(&job, error);
        if (status == PHLOX_OK) status = px_out_directory_commit(&directory, error);
        else px_out_directory_abandon(&directory);
    }
    free(items);
    return status;
}

static phlox_status export_checkpoint(const px_checkpoint *checkpoint, const px_form *form,
                                      phlox_model_options *options, const char *out,
                                      phlox_export_result *result, phlox_error *error)
{
    choose_defaults(checkpoint, options, result);
    px_pool *pool;
    PX_TRY(px_pool_create(options->threads ? options->threads : px_core_count(), &pool, error));
    px_plan plan = {0};
    phlox_status status = px_plan_make(checkpoint, options, pool, &plan, error);
    if (status == PHLOX_OK) {
        snprintf(result->weights, sizeof result->weights, "%s", plan.summary);
        status = write_plan(checkpoint, form, options, &plan, out, pool, error);
    }
    px_plan_free(&plan);
    px_pool_free(pool);
    return status;
}

phlox_status phlox_export(const char *path, const char *form_name, const char *out,
                          const phlox_model_options *options, phlox_export_result *result,
                          phlox_error *error)
{
    phlox_model_options chosen;
    if (options) chosen = *options;
    else phlox_model_options_init(&chosen);
    const px_form *const form = px_form_by_name(form_name);
    if (!form || !form->write)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "%s is no form that phlox writes; use openvino",
                       form_name);
    px_checkpoint *checkpoint = NULL;
    PX_TRY(px_builtin_open_or(path, &checkpoint, error));
    phlox_export_result made = {.note = ""};
    const phlox_status status = export_checkpoint(checkpoint, form, &chosen, out, &made, error);
    px_checkpoint_close(&checkpoint);
    if (status == PHLOX_OK && result) *result = made;
    return status;
}
