#include "api/builtin.h"
#include "base/cores.h"
#include "base/tree.h"
#include "checkpoint/export.h"
#include "engine/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void phlox_export_options_init(phlox_export_options *options)
{
    *options = (phlox_export_options){.struct_size = sizeof *options, .accuracy_level = -1};
}

/* ---- what becomes of the weights ----------------------------------------------------------- */

static px_export_item from_plan(const px_plan_item *planned)
{
    px_export_item item = {.tensor = planned->tensor, .format = planned->format,
                           .kept = planned->stored_integers};
    item.type = planned->type == PX_WEIGHT_F32   ? PX_FLOAT_F32
                : planned->type == PX_WEIGHT_F16 ? PX_FLOAT_F16
                                                 : PX_FLOAT_BF16;
    if (item.kept && item.format.group_size == item.tensor->columns) item.format.group_size = -1;
    return item;
}

/* Whether nothing is lost but what the user gave away by the words for weights of floats. */
static bool keeps_values(const px_export *job, const px_form *form, px_export_item *item)
{
    const bool widened = !item->format.bits && item->type == PX_FLOAT_F32 &&
                         job->asked.weight_format == PHLOX_WEIGHTS_F32;
    if (!form->holds(job, item)) return false;
    return item->copied || item->kept || widened || !px_export_is_quantized(item->tensor);
}

/* To what the user asked for, else to the groups that are stored, else to what the form has. */
static void round_again(const px_export *job, const px_form *form, px_export_item *item)
{
    const px_tensor *const tensor = item->tensor;
    const int64_t group = item->format.group_size;
    const int stored_bits = tensor->row_bytes * 8 < tensor->columns * 5 ? 4 : 8;
    const int bits = item->format.bits ? item->format.bits : stored_bits;
    const bool fits = item->kept ? bits == 4 && (group < 0 || tensor->columns % group == 0)
                                 : item->format.bits || px_export_asks_floats(job);
    item->kept = false;
    if (!fits || !form->holds(job, item)) form->nearest(job, item, bits);
}

static phlox_status fill_item(const px_export *job, const px_form *form, px_export_item *item,
                              phlox_error *error)
{
    if (keeps_values(job, form, item)) return PHLOX_OK;
    const px_tensor *const tensor = item->tensor;
    char stored[64];
    px_tensor_describe(tensor, stored, sizeof stored);
    if (!job->words.accept_loss)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tensor %s is %s, which %s does not keep to the last bit; --accept-loss rounds "
                       "it again, --weight-format fp32%s writes it widened", tensor->file, tensor->name,
                       stored, form->name,
                       job->words.provider != PHLOX_PROVIDER_CPU ? " with --ep cpu" : "");
    round_again(job, form, item);
    return PHLOX_OK;
}

/* Where the form has words of its own for what weights become, these; else what the plan says. */
static void describe(const px_export *job, const px_plan *plan, phlox_export_result *result)
{
    bool same = true;
    char list[sizeof result->weights] = "";
    for (size_t i = 0; i < job->count; i++) {
        const px_export_item *const item = &job->items[(i + 1) % job->count]; /* the layers first */
        static const char *const types[] = {"f32", "f16", "bf16"};
        char text[64];
        if (item->encoding) snprintf(text, sizeof text, "%s", item->encoding);
        else if (!item->format.bits) snprintf(text, sizeof text, "%s", types[item->type]);
        else
            px_describe_integers(item->format.bits, item->format.symmetric,
                                 item->format.group_size > 0 ? item->format.group_size
                                                             : item->tensor->columns,
                                 item->tensor->columns, text, sizeof text);
        px_describe_once(list, sizeof list, text);
        const px_export_item planned = from_plan(&plan->items[(i + 1) % job->count]);
        same &= !item->encoding && item->format.bits == planned.format.bits &&
                (item->format.bits || item->type == planned.type);
    }
    snprintf(result->weights, sizeof result->weights, "%s", same ? plan->summary : list);
}

/* ---- writing ------------------------------------------------------------------------------- */

static phlox_status write_directory(px_export *job, const px_form *form, const char *out,
                                    phlox_error *error)
{
    px_out_directory directory;
    PX_TRY(px_out_directory_open(&directory, out, error));
    job->out = directory.temporary;
    phlox_status status = form->write(job, error);
    if (status == PHLOX_OK) status = px_out_directory_commit(&directory, error);
    else px_out_directory_abandon(&directory);
    return status;
}

static phlox_status write_file(px_export *job, const px_form *form, const char *out,
                               phlox_error *error)
{
    if (px_is_file(out) || px_is_directory(out))
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "%s is there already; remove it or choose another name", out);
    job->out = out;
    return form->write(job, error);
}

static phlox_status write_plan(px_export *job, const px_form *form, const px_plan *plan,
                               const char *out, phlox_export_result *result, phlox_error *error)
{
    job->count = plan->count;
    job->items = px_calloc(plan->count, sizeof *job->items);
    if (!job->items) return px_fail_memory(error, plan->count * sizeof *job->items);
    phlox_status status = PHLOX_OK;
    for (size_t i = 0; i < plan->count && status == PHLOX_OK; i++) {
        job->items[i] = from_plan(&plan->items[i]);
        status = fill_item(job, form, &job->items[i], error);
    }
    if (status == PHLOX_OK) {
        describe(job, plan, result);
        status = form->is_file ? write_file(job, form, out, error)
                               : write_directory(job, form, out, error);
    }
    free(job->items);
    return status;
}

static phlox_status export_checkpoint(px_export *job, const px_form *form, const char *out,
                                      phlox_export_result *result, phlox_error *error)
{
    phlox_model_options options = job->asked;
    form->choose(job, &options);
    PX_TRY(px_quant_options_resolve(&options, &job->quant, error));
    PX_TRY(px_pool_create(options.threads ? options.threads : px_core_count(), &job->pool, error));
    px_plan plan = {0};
    phlox_status status = px_plan_make(job->checkpoint, &options, job->pool, &plan, error);
    if (status == PHLOX_OK) status = write_plan(job, form, &plan, out, result, error);
    px_plan_free(&plan);
    px_pool_free(job->pool);
    return status;
}

static phlox_status check_words(const phlox_export_options *words, phlox_error *error)
{
    if (words->struct_size != sizeof *words)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "phlox_export_options was not set up by phlox_export_options_init()");
    if (words->provider < PHLOX_PROVIDER_CPU || words->provider > PHLOX_PROVIDER_DML)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "provider is %d; 0 to 2 are meant",
                       (int)words->provider);
    if (words->accuracy_level < -1 || words->accuracy_level > 4)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "accuracy-level is %" PRId32 "; 0 to 4 are meant, -1 for the default",
                       words->accuracy_level);
    return PHLOX_OK;
}

phlox_status phlox_export(const char *path, const char *form_name, const char *out,
                          const phlox_model_options *options, const phlox_export_options *words,
                          phlox_export_result *result, phlox_error *error)
{
    px_export job = {.out = NULL};
    if (options) job.asked = *options;
    else phlox_model_options_init(&job.asked);
    if (words) job.words = *words;
    else phlox_export_options_init(&job.words);
    PX_TRY(check_words(&job.words, error));
    job.progress = job.asked.progress;
    job.progress_user = job.asked.progress_user;
    const px_form *const form = px_form_by_name(form_name);
    if (!form || !form->write)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "%s is no form that phlox writes; use openvino, onnx, gguf or "
                       "huggingface",
                       form_name);
    px_checkpoint *checkpoint = NULL;
    PX_TRY(px_builtin_open_or(path, &checkpoint, error));
    phlox_export_result made = {.note = ""};
    px_checkpoint_widen(checkpoint);
    job.checkpoint = checkpoint;
    job.note = made.note;
    job.note_size = sizeof made.note;
    const phlox_status status = export_checkpoint(&job, form, out, &made, error);
    px_checkpoint_close(&checkpoint);
    if (status == PHLOX_OK && result) *result = made;
    return status;
}
