/* Several sessions of one model in one call: their new ids share the steps of the device. */
#include "generate/session.h"

#include "base/os.h"

#include <stdlib.h>

/* What a call knows of one of its sessions. */
struct member {
    phlox_session *session;
    size_t before;  /* ids that it had */
    size_t dropped; /* ids to compute again with the other longrope factors */
    size_t count;   /* ids to compute */
    size_t in_step; /* ids of the step that runs */
    double seconds; /* of what it computed on its own */
};

struct batch {
    const px_runtime *runtime;
    struct member *members; /* [size] */
    px_batch_item *items;   /* [size] */
    size_t size;
};

static phlox_status check(phlox_session *const *sessions, const int32_t *const *ids,
                          const size_t *counts, size_t session_count, phlox_error *error)
{
    if (!session_count) return px_fail(error, PHLOX_ERROR_ARGUMENT, "no sessions to append to");
    for (size_t i = 0; i < session_count; i++) {
        if (sessions[i]->runtime != sessions[0]->runtime)
            return px_fail(error, PHLOX_ERROR_ARGUMENT,
                           "session %zu is of another model than session 0; a batch has one model",
                           i);
        for (size_t other = 0; other < i; other++) {
            if (sessions[other] == sessions[i])
                return px_fail(error, PHLOX_ERROR_ARGUMENT,
                               "sessions %zu and %zu are the same; join their tokens", other, i);
        }
        if (!counts[i])
            return px_fail(error, PHLOX_ERROR_ARGUMENT, "session %zu: no tokens to append", i);
        const phlox_status status = px_session_check_ids(sessions[i], ids[i], counts[i], error);
        if (status != PHLOX_OK) return px_error_prefix(error, status, "session %zu", i);
    }
    return PHLOX_OK;
}

static phlox_status check_cancelled(const struct batch *batch, phlox_error *error)
{
    for (size_t i = 0; i < batch->size; i++) {
        if (atomic_load(&batch->members[i].session->cancelled))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "cancelled by session %zu of %zu", i,
                           batch->size);
    }
    return PHLOX_OK;
}

/* One session's cache up to its new ids, with the factors of its new length. Usually it is there. */
static phlox_status catch_up(struct batch *batch, struct member *member, phlox_error *error)
{
    phlox_session *const session = member->session;
    const px_runtime *const runtime = batch->runtime;
    member->dropped = px_session_choose_rope(session);
    member->count = session->ids.count - session->cached;
    px_session_reserve(session);
    const double start = px_seconds();
    while (session->cached < member->before) {
        PX_TRY(check_cancelled(batch, error));
        const px_batch_item item = {
            .sequence = session->sequence,
            .ids = session->ids.data + session->cached,
            .count = PX_MIN(member->before - session->cached, runtime->most_tokens),
            .is_long = session->is_long,
        };
        PX_TRY(runtime->device->forward(runtime->model, &item, 1, error));
        session->cached += item.count;
    }
    member->seconds = px_seconds() - start;
    return PHLOX_OK;
}

/* Of each session what is left, as far as a step has room for it. Returns the number of items. */
static size_t fill_step(struct batch *batch)
{
    size_t room = batch->runtime->most_tokens, used = 0;
    for (size_t i = 0; i < batch->size; i++) {
        const phlox_session *const session = batch->members[i].session;
        const size_t left = session->ids.count - session->cached, count = PX_MIN(left, room);
        batch->members[i].in_step = count;
        room -= count;
        if (!count) continue;
        batch->items[used++] = (px_batch_item){
            .sequence = session->sequence,
            .ids = session->ids.data + session->cached,
            .count = count,
            .is_long = session->is_long,
            .logits = count == left ? session->logits : NULL,
        };
    }
    return used;
}

static phlox_status compute(struct batch *batch, phlox_error *error)
{
    const px_runtime *const runtime = batch->runtime;
    for (size_t i = 0; i < batch->size; i++) PX_TRY(catch_up(batch, &batch->members[i], error));
    const double start = px_seconds();
    for (size_t count; (count = fill_step(batch)) > 0;) {
        PX_TRY(check_cancelled(batch, error));
        PX_TRY(runtime->device->forward(runtime->model, batch->items, count, error));
        for (size_t i = 0; i < batch->size; i++)
            batch->members[i].session->cached += batch->members[i].in_step;
    }
    const double seconds = px_seconds() - start;
    for (size_t i = 0; i < batch->size; i++) {
        const struct member *const member = &batch->members[i];
        member->session->has_logits = true;
        px_session_count(member->session, member->count, member->dropped,
                         member->seconds + seconds);
    }
    return PHLOX_OK;
}

static phlox_status append(struct batch *batch, const int32_t *const *ids, const size_t *counts,
                           phlox_error *error)
{
    for (size_t i = 0; i < batch->size; i++)
        PX_TRY(px_ids_add(&batch->members[i].session->ids, ids[i], counts[i], error));
    for (size_t i = 0; i < batch->size; i++) batch->members[i].session->has_logits = false;
    return compute(batch, error);
}

phlox_status px_session_append_batch(phlox_session *const *sessions, const int32_t *const *ids,
                                     const size_t *counts, size_t session_count,
                                     phlox_error *error)
{
    PX_TRY(check(sessions, ids, counts, session_count, error));
    struct batch batch = {
        .runtime = sessions[0]->runtime,
        .members = px_calloc(session_count, sizeof *batch.members),
        .items = px_calloc(session_count, sizeof *batch.items),
        .size = session_count,
    };
    phlox_status status = PHLOX_OK;
    if (!batch.members || !batch.items) {
        status = px_fail_memory(error, px_mul(session_count, sizeof *batch.items));
    } else {
        for (size_t i = 0; i < session_count; i++)
            batch.members[i] =
                (struct member){.session = sessions[i], .before = sessions[i]->ids.count};
        status = append(&batch, ids, counts, error);
        for (size_t i = 0; i < session_count && status != PHLOX_OK; i++) {
            sessions[i]->ids.count = batch.members[i].before;
            px_session_cut_cache(sessions[i], batch.members[i].before);
        }
    }
    free(batch.members);
    free(batch.items);
    return status;
}
