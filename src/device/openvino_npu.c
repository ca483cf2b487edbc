#include "device/openvino_model.h"

#include <stdlib.h>

/*
 * The NPU's plugin compiles one program that reads a prompt, of at most max_prompt tokens from position 0 on,
 * and one that takes step_tokens tokens (one, unless the user asks for more) behind it. Its requests share
 * one count of the tokens in the cache, so that a model can have one sequence in it at a time.
 *
 * The plugin takes several tokens from position 0 on for a prompt, all else for a step, and a step's position
 * for the number of tokens before it: what the cache has beyond is overwritten, if the mask hides it. That
 * holds once the cache has moved to the program for steps, which the first step behind a prompt does.
 */

enum { FIRST_YEAR_OF_CUTS = 2026 }; /* of versions in which a step may go back */

/* ---- the request --------------------------------------------------------------------------- */

static void drop(px_device_model *model)
{
    px_openvino_npu *const npu = &model->npu;
    if (npu->request) model->api.infer_request_free(npu->request);
    npu->request = NULL;
    npu->owner = NULL;
    npu->stored = npu->marked = 0;
    npu->is_generating = false;
}

void px_openvino_npu_free(px_device_model *model)
{
    drop(model);
    free(model->npu.numbers);
    model->npu.numbers = NULL;
}

/* Tells a measured time into an average of the newest. */
static void measure(double *seconds, double start, size_t parts)
{
    const double now = (px_seconds() - start) / (double)parts;
    *seconds = *seconds > 0 ? (*seconds + now) / 2 : now;
}

/* Runs `count` ids from position `at` on; the mask has `at` tokens and hides what was behind them. */
static phlox_status run(px_device_model *model, const int32_t *ids, size_t count, size_t at,
                        phlox_error *error)
{
    px_openvino_npu *const npu = &model->npu;
    const size_t before = PX_MAX(at, npu->marked), all = before + count;
    PX_TRY(px_openvino_reserve(&npu->numbers, &npu->numbers_capacity, 2 * count + all, error));
    const px_openvino_inputs in = {.ids = npu->numbers, .positions = npu->numbers + count, .count = count,
                                   .mask = npu->numbers + 2 * count, .mask_count = all};
    for (size_t i = 0; i < count; i++) {
        in.ids[i] = ids[i];
        in.positions[i] = (int64_t)(at + i);
    }
    for (size_t i = 0; i < all; i++) in.mask[i] = i < at || i >= before;
    if (!npu->request) PX_TRY(px_openvino_request(model, &npu->request, error));
    return px_openvino_infer(model, npu->request, &in, error);
}

/* The chunks to compute of a prompt of `count` tokens: not those that the plugin has kept of it. */
static size_t chunks(const px_sequence *sequence, size_t count)
{
    const px_openvino_npu *const npu = &sequence->model->npu;
    const bool has_some = npu->reuses && npu->owner == sequence;
    const size_t known = has_some ? PX_MIN(PX_MIN(sequence->fed, npu->prefilled), count - 1) : 0;
    return (count - known / npu->chunk_tokens * npu->chunk_tokens + npu->chunk_tokens - 1) /
           npu->chunk_tokens;
}

static phlox_status generate(px_device_model *model, const int32_t *ids, size_t count, size_t at,
                             phlox_error *error)
{
    px_openvino_npu *const npu = &model->npu;
    const double start = px_seconds();
    PX_TRY(run(model, ids, count, at, error));
    if (npu->is_generating) measure(&npu->step_seconds, start, 1);
    npu->is_generating = true;
    npu->marked = PX_MAX(npu->marked, at);
    npu->stored = at + count;
    return PHLOX_OK;
}

/* Reads the first `count` ids of a sequence, which then owns the request. */
static phlox_status prefill(px_sequence *sequence, size_t count, phlox_error *error)
{
    px_device_model *const model = sequence->model;
    px_openvino_npu *const npu = &model->npu;
    const double start = px_seconds();
    if (model->api.year < FIRST_YEAR_OF_CUTS) drop(model);
    const size_t parts = chunks(sequence, count);
    npu->owner = sequence;
    npu->prefilled = sequence->fed = count;
    if (count == 1) return generate(model, sequence->ids.data, 1, 0, error);
    npu->marked = 0;
    PX_TRY(run(model, sequence->ids.data, count, 0, error));
    measure(&npu->prefill_seconds, start, parts);
    npu->stored = count;
    npu->is_generating = false;
    return PHLOX_OK;
}

/* ---- what to do ---------------------------------------------------------------------------- */

/* The ids that need not be fed again. */
static size_t kept(const px_sequence *sequence)
{
    const px_device_model *const model = sequence->model;
    const px_openvino_npu *const npu = &model->npu;
    if (npu->owner != sequence) return 0;
    if (sequence->fed == npu->stored) return sequence->fed;
    const bool can_cut = model->api.year >= FIRST_YEAR_OF_CUTS &&
                         (npu->is_generating || npu->stored < npu->capacity);
    return can_cut ? sequence->fed : 0;
}

static size_t steps(const px_openvino_npu *npu, size_t from, size_t to)
{
    return from < to ? (to - from + npu->step_tokens - 1) / npu->step_tokens : 0;
}

/* Whether reading everything again costs less than feeding what is new step by step, as far as both have
 * been measured. */
static bool should_prefill(const px_sequence *sequence, size_t from, size_t end)
{
    enum { FEW = 8 };
    const px_openvino_npu *const npu = &sequence->model->npu;
    const size_t prompt = PX_MIN(end, npu->max_prompt);
    if (!from) return true;
    if (!(npu->step_seconds > 0)) return steps(npu, from, end) > FEW;
    const double again = (double)chunks(sequence, prompt) * npu->prefill_seconds +
                         (double)steps(npu, prompt, end) * npu->step_seconds;
    return again < (double)steps(npu, from, end) * npu->step_seconds;
}

/* The programs take the longrope factors by the largest position of a call. */
static bool has_factors(const px_sequence *sequence, size_t end, bool is_long)
{
    return !is_long || end > (size_t)sequence->model->checkpoint->desc.original_max_position;
}

static phlox_status check_capacity(const px_sequence *sequence, size_t end, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    if (end <= model->npu.capacity) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_CONTEXT_FULL,
                   "openvino:%s: %zu tokens, and the NPU's programs were compiled for %zu; raise "
                   "--max-prompt-len (it is %zu) or --min-response-len", model->unit, end,
                   model->npu.capacity, model->npu.max_prompt);
}

static phlox_status fail_factors(const px_sequence *sequence, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    return px_fail(error, PHLOX_ERROR_CONTEXT_FULL,
                   "openvino:%s: a text of more than %d tokens needs other factors of longrope, which the "
                   "NPU takes for what it reads in one go; raise --max-prompt-len (it is %zu) above that",
                   model->unit, model->checkpoint->desc.original_max_position,
                   model->npu.max_prompt);
}

/* ---- feeding ------------------------------------------------------------------------------- */

/* Lets the cache be cut: by a step behind it whose token is then overwritten. */
static phlox_status make_cuttable(px_sequence *sequence, phlox_error *error)
{
    px_device_model *const model = sequence->model;
    const px_openvino_npu *const npu = &model->npu;
    if (sequence->fed == npu->stored || npu->is_generating) return PHLOX_OK;
    return generate(model, sequence->ids.data, 1, npu->stored, error);
}

/* Feeds ids up to `end` in steps; with `all` the logits of each go to `logits`, else those of the last. */
static phlox_status feed_steps(px_sequence *sequence, size_t end, float *logits, bool all,
                               phlox_error *error)
{
    px_device_model *const model = sequence->model;
    const size_t vocab = (size_t)model->checkpoint->desc.vocab_size;
    while (sequence->fed < end) {
        const size_t count = PX_MIN(end - sequence->fed, model->npu.step_tokens);
        PX_TRY(generate(model, sequence->ids.data + sequence->fed, count, sequence->fed, error));
        sequence->fed += count;
        if (!logits || !(all || sequence->fed == end)) continue;
        PX_TRY(px_openvino_logits(model, model->npu.request, all ? count : 1, 0, logits, error));
        if (all) logits += count * vocab;
    }
    return PHLOX_OK;
}

/* Feeds ids up to `end`, the cheaper way; the logits of the last. */
static phlox_status feed(px_sequence *sequence, size_t end, bool is_long, float *logits,
                         phlox_error *error)
{
    const px_openvino_npu *const npu = &sequence->model->npu;
    size_t from = kept(sequence);
    const size_t prompt = PX_MIN(end, npu->max_prompt);
    if (!has_factors(sequence, from + 1, is_long)) from = 0;
    if (!should_prefill(sequence, from, end)) {
        PX_TRY(make_cuttable(sequence, error));
        return feed_steps(sequence, end, logits, false, error);
    }
    if (!has_factors(sequence, prompt, is_long)) return fail_factors(sequence, error);
    PX_TRY(prefill(sequence, prompt, error));
    if (prompt < end) return feed_steps(sequence, end, logits, false, error);
    return logits ? px_openvino_logits(sequence->model, npu->request, 1, 0, logits, error) : PHLOX_OK;
}

/* Logits of all tokens of an item: a prompt gives those of its last token, a step those of all. */
static phlox_status feed_all(px_sequence *sequence, size_t begin, size_t end, bool is_long,
                             float *logits, phlox_error *error)
{
    const size_t vocab = (size_t)sequence->model->checkpoint->desc.vocab_size;
    const size_t ready = kept(sequence);
    if (ready && ready == begin && has_factors(sequence, ready + 1, is_long)) {
        PX_TRY(make_cuttable(sequence, error));
    } else {
        PX_TRY(feed(sequence, begin + 1, is_long, logits, error));
        logits += vocab;
    }
    return feed_steps(sequence, end, logits, true, error);
}

phlox_status px_openvino_npu_step(px_sequence *sequence, const px_batch_item *item, phlox_error *error)
{
    const size_t end = sequence->ids.count;
    PX_TRY(check_capacity(sequence, end, error));
    if (!item->logits) return PHLOX_OK; /* fed with those whose logits are wanted */
    const phlox_status status =
        item->all_logits
            ? feed_all(sequence, end - item->count, end, item->is_long, item->logits, error)
            : feed(sequence, end, item->is_long, item->logits, error);
    if (status == PHLOX_ERROR_CONTEXT_FULL) return status; /* nothing was fed */
    if (status != PHLOX_OK) { /* nobody knows the request's state */
        drop(sequence->model);
        sequence->fed = 0;
    }
    return status;
}
