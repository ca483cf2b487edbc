#include "engine/export.h"

#include "base/cores.h"
#include "base/tree.h"
#include "engine/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* As floats that hold every value. */
static bool widen(const px_export *job, const px_form *form, px_export_item *item)
{
    px_export_item widened = {.tensor = item->tensor, .type = PX_FLOAT_F32};
    if (!form->holds(job, &widened) || widened.format.bits || widened.type != PX_FLOAT_F32) return false;
    *item = widened;
    return true;
}

static phlox_status fill_item(const px_export *job, const px_form *form, bool widens,
                              px_export_item *item, phlox_error *error)
{
    if (keeps_values(job, form, item) || (widens && widen(job, form, item))) return PHLOX_OK;
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

static phlox_status write_into(px_export *job, const px_form *form, const char *out,
                               phlox_error *error)
{
    job->out = out;
    return form->write(job, error);
}

static phlox_status write_directory(px_export *job, const px_form *form, const char *out,
                                    phlox_error *error)
{
    px_out_directory directory;
    PX_TRY(px_out_directory_open(&directory, out, error));
    phlox_status status = write_into(job, form, directory.temporary, error);
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
    return write_into(job, form, out, error);
}

static phlox_status write_plan(px_export *job, const px_export_order *order, const px_plan *plan,
                               const char *out, phlox_export_result *result, phlox_error *error)
{
    const px_form *const form = order->form;
    job->count = plan->count;
    job->items = px_calloc(plan->count, sizeof *job->items);
    if (!job->items) return px_fail_memory(error, plan->count * sizeof *job->items);
    phlox_status status = PHLOX_OK;
    for (size_t i = 0; i < plan->count && status == PHLOX_OK; i++) {
        job->items[i] = from_plan(&plan->items[i]);
        status = fill_item(job, form, order->for_device, &job->items[i], error);
    }
    if (status == PHLOX_OK) {
        describe(job, plan, result);
        status = order->into         ? write_into(job, form, out, error)
                 : form->is_file ? write_file(job, form, out, error)
                                 : write_directory(job, form, out, error);
    }
    free(job->items);
    return status;
}

static phlox_status write_job(px_export *job, const px_export_order *order, const char *out,
                              phlox_export_result *result, phlox_error *error)
{
    phlox_model_options options = job->asked;
    if (!order->for_device) order->form->choose(job, &options);
    PX_TRY(px_quant_options_resolve(&options, &job->quant, error));
    PX_TRY(px_pool_create(options.threads ? options.threads : px_core_count(), &job->pool, error));
    px_plan plan = {0};
    phlox_status status = px_plan_make(job->checkpoint, &options, job->pool, &plan, error);
    if (status == PHLOX_OK) status = write_plan(job, order, &plan, out, result, error);
    px_plan_free(&plan);
    px_pool_free(job->pool);
    return status;
}

phlox_status px_export_run(const px_export_order *order, const char *out, phlox_export_result *result,
                           phlox_error *error)
{
    phlox_export_result made = {.note = ""};
    px_checkpoint widened;
    PX_TRY(px_checkpoint_widened(order->checkpoint, &widened, error));
    px_export job = {
        .checkpoint = &widened,
        .asked = *order->options,
        .words = *order->words,
        .note = made.note,
        .note_size = sizeof made.note,
        .progress = order->options->progress,
        .progress_user = order->options->progress_user,
    };
    const phlox_status status = write_job(&job, order, out, &made, error);
    px_checkpoint_widened_free(&widened);
    if (status == PHLOX_OK && result) *result = made;
    return status;
}
