/*
 * Sequences on ONNX Runtime GenAI. The runtime's generator holds keys and values; the ids are kept here as
 * well, so that a generator whose state is not known any more, or that has become too small, is made anew.
 *
 * What its interface would have one believe, and what is done about it:
 * - It masks tokens that have the id for padding, wherever they stand; open() gives it one that no token has.
 * - It allocates max_length tokens at once: a generator is made for what is there and about as much again, and
 *   when that is full, all is computed once more in a larger one.
 * - The graph chooses the longrope factors of a step by the length behind it. Steps of a long sequence
 *   therefore end behind the original context: ids wait until there are enough of them, or, where logits are
 *   wanted before, others are put behind them, which do not change what stands before, and taken off again.
 * - DirectML does not append behind what is there. One token at a time goes in as the runtime's own choice, by
 *   logits that leave it no other; more are computed anew.
 */
#include "device/ort_logits.h"

#include <stdlib.h>
#include <string.h>

enum {
    STEP_TOKENS = 256,   /* of a step: bounds the logits, which the graph gives for every token */
    MOST_DOUBLED = 4096, /* tokens up to which a generator has room for as many again */
    CHOICE_SPEEDUP = 32  /* tokens that are computed together while one is computed alone */
};

/* ---- generators ---------------------------------------------------------------------------- */

static void drop(px_sequence *sequence)
{
    if (sequence->generator) sequence->model->api.OgaDestroyGenerator(sequence->generator);
    sequence->generator = NULL;
    sequence->filled = sequence->capacity = 0;
}

static size_t choose_capacity(const px_device_model *model, size_t length)
{
    const size_t most = model->context_length;
    if (!model->shares_buffer) return most;
    const size_t more = PX_MAX(PX_MIN(length, (size_t)MOST_DOUBLED), length / 4);
    return PX_MIN(PX_MAX(length + more, model->least_capacity), most);
}

static phlox_status set_search(const px_ort_api *api, OgaGeneratorParams *params, size_t capacity,
                               const char *what, phlox_error *error)
{
    /* of the search only SelectTop is used, and that where a token is to be chosen for the runtime */
    static const struct {
        const char *name;
        double value;
    } numbers[] = {{"min_length", 0}, {"num_beams", 1}, {"repetition_penalty", 1}, {"no_repeat_ngram_size", 0}};
    PX_TRY(px_ort_check(api, api->OgaGeneratorParamsSetSearchNumber(params, "max_length", (double)capacity),
                        what, error));
    for (size_t i = 0; i < PX_COUNT(numbers); i++)
        PX_TRY(px_ort_check(
            api, api->OgaGeneratorParamsSetSearchNumber(params, numbers[i].name, numbers[i].value), what, error));
    return px_ort_check(api, api->OgaGeneratorParamsSetSearchBool(params, "do_sample", false), what, error);
}

static phlox_status make_generator(px_sequence *sequence, size_t capacity, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    const px_ort_api *const api = &model->api;
    drop(sequence);
    OgaGeneratorParams *params = NULL;
    PX_TRY(px_ort_check(api, api->OgaCreateGeneratorParams(model->model, &params), model->device, error));
    phlox_status status = set_search(api, params, capacity, model->device, error);
    if (status == PHLOX_OK)
        status = px_ort_check(api, api->OgaCreateGenerator(model->model, params, &sequence->generator),
                              model->device, error);
    api->OgaDestroyGeneratorParams(params);
    if (status == PHLOX_OK) sequence->capacity = capacity;
    return status;
}

/* After a failure the generator's state is not known. */
static phlox_status append(px_sequence *sequence, const int32_t *ids, size_t count, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    const phlox_status status = px_ort_check(
        &model->api, model->api.OgaGenerator_AppendTokens(sequence->generator, ids, count), model->device, error);
    if (status == PHLOX_OK) sequence->filled += count;
    return status;
}

/* Keeps the first `length` ids in the generator, or none where it cannot. */
static void rewind_to(px_sequence *sequence, size_t length)
{
    const px_device_model *const model = sequence->model;
    if (length >= sequence->filled) return;
    if (!model->rewinds || !length ||
        px_ort_check(&model->api, model->api.OgaGenerator_RewindTo(sequence->generator, length), model->device,
                     NULL) != PHLOX_OK) {
        drop(sequence);
        return;
    }
    sequence->filled = length;
}

/* ---- steps --------------------------------------------------------------------------------- */

/* What is wanted of the ids that are not in the generator yet. */
struct wanted {
    size_t first;  /* id from which on logits are wanted */
    float *logits; /* [ids.count - first, vocab]; NULL: none are, and first is ids.count */
};

/* The tokens behind which the steps of a sequence must end; 0: any. */
static size_t least_length(const px_sequence *sequence)
{
    return sequence->is_long ? (size_t)sequence->model->checkpoint->desc.original_max_position + 1 : 0;
}

/* Appends `count` ids of the sequence and, for a length that the graph needs, `filler` others, which go again. */
static phlox_status append_with(px_sequence *sequence, size_t count, size_t filler, phlox_error *error)
{
    const int32_t *const ids = sequence->ids.data + sequence->filled;
    if (!filler) return append(sequence, ids, count, error);
    int32_t *const padded = px_calloc(count + filler, sizeof *padded);
    if (!padded) return px_fail_memory(error, (count + filler) * sizeof *padded);
    memcpy(padded, ids, count * sizeof *padded);
    const phlox_status status = append(sequence, padded, count + filler, error);
    free(padded);
    return status;
}

/* One step, as large as it may be. */
static phlox_status step(px_sequence *sequence, const struct wanted *wanted, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    const size_t begin = sequence->filled, left = sequence->ids.count - begin, least = least_length(sequence);
    const size_t missing = least > begin ? least - begin : 0;
    const bool is_each = model->last_only && wanted->first + 1 < sequence->ids.count; /* a step for each row */
    size_t most = model->continues ? PX_MAX(STEP_TOKENS, missing) : left;
    if (is_each) most = wanted->first > begin ? PX_MIN(most, wanted->first - begin) : 1;
    const size_t count = PX_MIN(left, most), filler = missing > count ? missing - count : 0;
    if (is_each && (filler || !model->continues))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: this model gives logits of a step's last token only; those of %zu tokens of this text "
                       "cannot be had, another device has them", model->device,
                       sequence->ids.count - wanted->first);
    PX_TRY(append_with(sequence, count, filler, error));
    if (wanted->first < begin + count) {
        const size_t first = PX_MAX(wanted->first, begin), vocab = (size_t)model->checkpoint->desc.vocab_size;
        PX_TRY(px_ort_logits(model, sequence->generator, count + filler, first - begin, count,
                             wanted->logits + (first - wanted->first) * vocab, error));
    }
    rewind_to(sequence, begin + count);
    return PHLOX_OK;
}

/* ---- one token as the runtime's choice ----------------------------------------------------- */

static bool can_choose(const px_sequence *sequence)
{
    const px_device_model *const model = sequence->model;
    const size_t left = sequence->ids.count - sequence->filled;
    if (!model->choice || CHOICE_SPEEDUP * (left - 1) > sequence->ids.count) return false;
    /* behind an id that ends a text the runtime's search appends nothing */
    for (size_t i = sequence->filled; i < sequence->ids.count; i++)
        for (size_t e = 0; e < model->eos.count; e++)
            if (sequence->ids.data[i] == model->eos.data[e]) return false;
    return true;
}

static phlox_status choose_token(px_sequence *sequence, int32_t id, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    const px_ort_api *const api = &model->api;
    const int64_t shape[] = {1, 1, model->checkpoint->desc.vocab_size};
    OgaTensor *tensor = NULL;
    model->choice[id] = 1;
    phlox_status status = px_ort_check(
        api, api->OgaCreateTensorFromBuffer(model->choice, shape, PX_COUNT(shape), PX_ORT_FLOAT32, &tensor),
        model->device, error);
    if (status == PHLOX_OK)
        status = px_ort_check(api, api->OgaGenerator_SetLogits(sequence->generator, tensor), model->device, error);
    if (status == PHLOX_OK)
        status = px_ort_check(api, api->OgaGenerator_GenerateNextToken(sequence->generator), model->device, error);
    model->choice[id] = 0;
    if (tensor) api->OgaDestroyTensor(tensor);
    const int32_t *chosen = NULL;
    size_t count = 0;
    if (status == PHLOX_OK)
        status = px_ort_check(api, api->OgaGenerator_GetNextTokens(sequence->generator, &chosen, &count),
                              model->device, error);
    if (status == PHLOX_OK && (count != 1 || chosen[0] != id))
        status = px_fail(error, PHLOX_ERROR_DEVICE, "%s: the runtime chose another token than the one it was given",
                         model->device);
    return status;
}

/* A step of one token; asking for its logits is what runs it. */
static phlox_status step_by_choice(px_sequence *sequence, const struct wanted *wanted, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    const size_t at = sequence->filled, vocab = (size_t)model->checkpoint->desc.vocab_size;
    float *const logits = at >= wanted->first ? wanted->logits + (at - wanted->first) * vocab : NULL;
    PX_TRY(choose_token(sequence, sequence->ids.data[at], error));
    PX_TRY(px_ort_last_logits(model, sequence->generator, logits, error));
    sequence->filled++;
    return PHLOX_OK;
}

/* ---- filling ------------------------------------------------------------------------------- */

static phlox_status make_room(px_sequence *sequence, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    const size_t length = PX_MAX(sequence->ids.count, least_length(sequence));
    if (sequence->generator && length <= sequence->capacity) return PHLOX_OK;
    if (length > model->context_length)
        return px_fail(error, PHLOX_ERROR_CONTEXT_FULL,
                       "%s: %zu tokens do not fit a context of %zu%s", model->device, length,
                       model->context_length,
                       model->lacks_window ? ", the model's sliding window, which DirectML does not have: behind "
                                             "it answers would be wrong; other devices have it"
                                           : "");
    const size_t expected = PX_MIN(sequence->expected, model->context_length);
    return make_generator(sequence, choose_capacity(model, PX_MAX(length, expected)), error);
}

static phlox_status fill(px_sequence *sequence, const struct wanted *wanted, phlox_error *error)
{
    const px_device_model *const model = sequence->model;
    if (!model->continues && sequence->filled && !can_choose(sequence)) drop(sequence);
    PX_TRY(make_room(sequence, error));
    /* a generator that cannot go back is gone behind a step that was the last one */
    while (sequence->generator && sequence->filled < sequence->ids.count)
        PX_TRY(!model->continues && sequence->filled ? step_by_choice(sequence, wanted, error)
                                                     : step(sequence, wanted, error));
    return PHLOX_OK;
}

/* Ids whose logits nobody wants wait for others where a step of them alone would be wrong, or in vain. */
static bool may_wait(const px_sequence *sequence)
{
    return !sequence->model->continues || sequence->ids.count < least_length(sequence);
}

static void cut(px_sequence *sequence, size_t length)
{
    rewind_to(sequence, length);
    sequence->ids.count = PX_MIN(sequence->ids.count, length);
}

static phlox_status forward_item(const px_batch_item *item, phlox_error *error)
{
    px_sequence *const sequence = item->sequence;
    const size_t before = sequence->ids.count;
    PX_TRY(px_ids_add(&sequence->ids, item->ids, item->count, error));
    sequence->is_long = item->is_long;
    if (!item->logits && may_wait(sequence)) return PHLOX_OK;
    const size_t last = sequence->ids.count - 1;
    const struct wanted wanted = {
        !item->logits ? sequence->ids.count : item->all_logits ? before : last, item->logits};
    const phlox_status status = fill(sequence, &wanted, error);
    if (status == PHLOX_OK) return PHLOX_OK;
    drop(sequence);
    cut(sequence, before);
    return status;
}

phlox_status px_ort_forward(px_device_model *model, const px_batch_item *items, size_t count,
                            phlox_error *error)
{
    px_monitor_lock(model->steps);
    phlox_status status = PHLOX_OK;
    size_t done = 0;
    while (status == PHLOX_OK && done < count) {
        status = forward_item(&items[done], error);
        done += status == PHLOX_OK;
    }
    for (size_t i = 0; status != PHLOX_OK && i < done; i++)
        cut(items[i].sequence, items[i].sequence->ids.count - items[i].count);
    px_monitor_unlock(model->steps);
    return status;
}

/* ---- the rest of a sequence's life --------------------------------------------------------- */

phlox_status px_ort_sequence_create(px_device_model *model, px_sequence **out, phlox_error *error)
{
    px_sequence *const sequence = px_calloc(1, sizeof *sequence);
    if (!sequence) return px_fail_memory(error, sizeof *sequence);
    sequence->model = model;
    *out = sequence;
    return PHLOX_OK;
}

void px_ort_sequence_free(px_sequence *sequence)
{
    if (!sequence) return;
    px_monitor_lock(sequence->model->steps);
    drop(sequence);
    px_monitor_unlock(sequence->model->steps);
    px_ids_free(&sequence->ids);
    free(sequence);
}

void px_ort_reserve(px_sequence *sequence, size_t length)
{
    sequence->expected = length;
}

/* Where the generator cannot go back, all goes: the ids come again, in steps that report progress. */
size_t px_ort_truncate(px_sequence *sequence, size_t length)
{
    px_monitor_lock(sequence->model->steps);
    if (length < sequence->ids.count) {
        const bool was_filled = sequence->filled > 0;
        cut(sequence, length);
        if (was_filled && !sequence->filled) sequence->ids.count = 0;
    }
    const size_t left = sequence->ids.count;
    px_monitor_unlock(sequence->model->steps);
    return left;
}

uint64_t px_ort_sequence_bytes(const px_sequence *sequence)
{
    const px_device_model *const model = sequence->model;
    return (model->shares_buffer ? sequence->capacity : sequence->filled) * model->info.kv_bytes_per_token;
}

/* ---- a new model --------------------------------------------------------------------------- */

/* Whether two tokens give two rows of logits, and whether a third one may follow and go again. */
static phlox_status probe(px_sequence *sequence, phlox_error *error)
{
    px_device_model *const model = sequence->model;
    static const int32_t ids[3] = {0};
    PX_TRY(make_generator(sequence, PX_MIN(model->context_length, 8), error));
    PX_TRY(append(sequence, ids, 2, error));
    int64_t rows;
    size_t bytes;
    PX_TRY(px_ort_logits_of_step(model, sequence->generator, &rows, &bytes, error));
    model->last_only = rows != 2;
    model->info.kv_bytes_per_token *= bytes; /* keys and values are of the type that logits have */
    model->continues = append(sequence, ids, 1, NULL) == PHLOX_OK;
    if (model->continues) rewind_to(sequence, 1);
    model->rewinds = sequence->filled == 1;
    model->info.last_logits_only = model->last_only || !model->rewinds; /* a wrong draft would cost everything */
    return PHLOX_OK;
}

phlox_status px_ort_probe(px_device_model *model, phlox_error *error)
{
    px_sequence sequence = {.model = model};
    model->continues = model->rewinds = true;
    const phlox_status status = probe(&sequence, error);
    drop(&sequence);
    return status;
}
