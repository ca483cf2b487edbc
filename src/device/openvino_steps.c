#include "device/openvino_model.h"

enum { LEAST_HIDDEN = 256 }; /* entries that are worth the work of starting afresh */

/*
 * The network takes the longrope factors by the largest position of a call, the session by the length of
 * the sequence. Where they differ, a token that nobody sees lifts the largest position of the call.
 */
static int64_t position_beyond(const px_sequence *sequence, size_t end, bool is_long)
{
    const size_t limit = (size_t)sequence->model->checkpoint->desc.original_max_position;
    return is_long && end <= limit ? (int64_t)limit : 0;
}

/* Hidden entries cost memory and time; and in a window that counts them they are in the place of others. */
static bool should_restart(const px_sequence *sequence, size_t end)
{
    const px_device_model *const model = sequence->model;
    const size_t hidden = sequence->entries - sequence->fed;
    const size_t window = (size_t)model->checkpoint->desc.sliding_window;
    if (hidden > sequence->fed + LEAST_HIDDEN) return true;
    return hidden && model->window_by_index && window && end + hidden > window;
}

/* Feeds ids up to `end`; the logits wanted are those of the last call. */
static phlox_status feed(px_sequence *sequence, size_t end, const px_batch_item *item,
                         float *logits, phlox_error *error)
{
    while (sequence->fed < end) {
        const size_t count = PX_MIN(end - sequence->fed, (size_t)PX_OPENVINO_MOST_TOKENS);
        const size_t stop = sequence->fed + count;
        const px_openvino_call call = {
            .count = count,
            .beyond = position_beyond(sequence, stop, item->is_long),
            .logits = stop == end ? logits : NULL,
            .all_logits = item->all_logits,
        };
        PX_TRY(px_openvino_call_network(sequence, &call, error));
    }
    return PHLOX_OK;
}

phlox_status px_openvino_step(px_sequence *sequence, const px_batch_item *item, phlox_error *error)
{
    const size_t end = sequence->ids.count, begin = end - item->count;
    if (should_restart(sequence, end)) px_openvino_restart(sequence);
    /* all logits are those of one call */
    if (item->all_logits) PX_TRY(feed(sequence, begin, item, NULL, error));
    return feed(sequence, end, item, item->logits, error);
}
