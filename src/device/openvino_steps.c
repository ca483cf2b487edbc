#include "device/openvino_model.h"

#include <stdlib.h>

enum { LEAST_HIDDEN = 256 }; /* entries that are worth the work of starting afresh */

void px_openvino_restart(px_sequence *sequence)
{
    if (sequence->request) sequence->model->api.infer_request_free(sequence->request);
    sequence->request = NULL;
    sequence->fed = sequence->entries = 0;
}

/*
 * The network takes the longrope factors by the largest position of a call, the session by the length of
 * the sequence. Where they differ, a token that nobody sees lifts the largest position of the call.
 */
static int64_t position_beyond(const px_sequence *sequence, size_t end, bool is_long)
{
    const size_t limit = (size_t)sequence->model->checkpoint->desc.original_max_position;
    return is_long && end <= limit ? (int64_t)limit : 0;
}

/* A call for the next `count` ids and, at position `beyond` > 0, one more. `numbers`: [2 * (count + 1)] */
static phlox_status call(px_sequence *sequence, size_t count, int64_t beyond, int64_t *numbers,
                         phlox_error *error)
{
    const size_t all = count + (beyond > 0);
    if (!sequence->request) PX_TRY(px_openvino_request(sequence->model, &sequence->request, error));
    PX_TRY(px_openvino_reserve(&sequence->mask, &sequence->capacity, sequence->entries + all, error));
    const px_openvino_inputs in = {.ids = numbers, .positions = numbers + all, .count = all,
                                   .mask = sequence->mask, .mask_count = sequence->entries + all};
    for (size_t i = 0; i < all; i++) {
        const bool is_seen = i < count;
        in.ids[i] = sequence->ids.data[sequence->fed + (is_seen ? i : 0)];
        in.positions[i] = is_seen ? (int64_t)(sequence->fed + i) : beyond;
        in.mask[sequence->entries + i] = is_seen;
    }
    PX_TRY(px_openvino_infer(sequence->model, sequence->request, &in, error));
    sequence->fed += count;
    sequence->entries += all;
    return PHLOX_OK;
}

/* Feeds ids up to `end`, and reads the logits of the last call: of its last token, or of all. */
static phlox_status feed(px_sequence *sequence, size_t end, bool is_long, float *logits, bool all,
                         int64_t *numbers, phlox_error *error)
{
    while (sequence->fed < end) {
        const size_t count = PX_MIN(end - sequence->fed, (size_t)PX_OPENVINO_MOST_TOKENS);
        const int64_t beyond = position_beyond(sequence, sequence->fed + count, is_long);
        PX_TRY(call(sequence, count, beyond, numbers, error));
        if (logits && sequence->fed == end)
            PX_TRY(px_openvino_logits(sequence->model, sequence->request, all ? count : 1, beyond > 0,
                                      logits, error));
    }
    return PHLOX_OK;
}

/* Hidden entries cost memory and time; and in a window that counts them they take the place of others. */
static bool should_restart(const px_sequence *sequence, size_t end)
{
    const px_device_model *const model = sequence->model;
    const size_t hidden = sequence->entries - sequence->fed;
    const size_t window = (size_t)model->checkpoint->desc.sliding_window;
    if (hidden > sequence->fed + LEAST_HIDDEN) return true;
    return hidden && model->window_by_place && end + hidden > window;
}

phlox_status px_openvino_step(px_sequence *sequence, const px_batch_item *item, phlox_error *error)
{
    const size_t end = sequence->ids.count;
    const size_t room = px_mul(2, PX_OPENVINO_MOST_TOKENS + 1);
    int64_t *const numbers = px_calloc(room, sizeof *numbers);
    if (!numbers) return px_fail_memory(error, room * sizeof *numbers);
    phlox_status status = PHLOX_OK;
    if (should_restart(sequence, end)) px_openvino_restart(sequence);
    if (item->all_logits) /* which are those of one call */
        status = feed(sequence, end - item->count, item->is_long, NULL, false, numbers, error);
    if (status == PHLOX_OK)
        status = feed(sequence, end, item->is_long, item->logits, item->all_logits, numbers, error);
    free(numbers);
    if (status != PHLOX_OK) px_openvino_restart(sequence); /* nobody knows its state */
    return status;
}

size_t px_openvino_cut(px_sequence *sequence, size_t length)
{
    if (sequence->model->is_npu) { /* which goes back at its next step */
        sequence->fed = PX_MIN(sequence->fed, length);
        return length;
    }
    if (!length) px_openvino_restart(sequence);
    for (size_t i = sequence->entries; sequence->fed > length;) {
        i--;
        sequence->fed -= sequence->mask[i] != 0;
        sequence->mask[i] = 0;
    }
    return length;
}
