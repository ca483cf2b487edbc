#include "generate/session.h"

#include "base/os.h"

#include <stdlib.h>
#include <string.h>

phlox_status px_session_create(const px_runtime *runtime, phlox_session **out, phlox_error *error)
{
    phlox_session *const session = px_calloc(1, sizeof *session);
    if (!session) return px_fail_memory(error, sizeof *session);
    session->runtime = runtime;
    px_speculator_init(&session->speculator, runtime->step_costs);
    const size_t vocab = (size_t)runtime->desc->vocab_size;
    session->logits = px_calloc(vocab, sizeof *session->logits);
    phlox_status status =
        session->logits ? PHLOX_OK : px_fail_memory(error, vocab * sizeof *session->logits);
    if (status == PHLOX_OK)
        status = runtime->device->sequence_create(runtime->model, &session->sequence, error);
    if (status != PHLOX_OK) {
        px_session_free(session);
        return status;
    }
    *out = session;
    return PHLOX_OK;
}

void px_session_free(phlox_session *session)
{
    if (!session) return;
    session->runtime->device->sequence_free(session->sequence);
    px_ids_free(&session->ids);
    px_lookup_free(&session->lookup);
    free(session->ahead.logits);
    free(session->logits);
    free(session);
}

void px_session_cut_cache(phlox_session *session, size_t length)
{
    const bool has_ahead = session->ahead.used < session->ahead.count;
    session->ahead.count = session->ahead.used = 0;
    if (length >= session->cached && !has_ahead) return;
    session->cached = session->runtime->device->truncate(session->sequence,
                                                         PX_MIN(session->cached, length));
}

void px_session_reserve(const phlox_session *session)
{
    const px_device *const device = session->runtime->device;
    if (device->reserve) device->reserve(session->sequence, session->ids.count);
}

size_t px_session_choose_rope(phlox_session *session)
{
    const bool is_long = px_desc_is_long(session->runtime->desc, session->ids.count);
    const size_t dropped = is_long != session->is_long ? session->cached : 0;
    if (is_long != session->is_long) px_session_cut_cache(session, 0);
    session->is_long = is_long;
    return dropped;
}

phlox_status px_session_check_ids(const phlox_session *session, const int32_t *ids, size_t count,
                                  phlox_error *error)
{
    const px_runtime *const runtime = session->runtime;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= runtime->desc->vocab_size)
            return px_fail(error, PHLOX_ERROR_ARGUMENT,
                           "id %d at place %zu is not in the vocabulary of %d", ids[i], i,
                           runtime->desc->vocab_size);
    }
    if (count > runtime->context_size - session->ids.count)
        return px_fail(error, PHLOX_ERROR_CONTEXT_FULL,
                       "the session has %zu tokens and %zu more do not fit its context of %zu; "
                       "shorten the text or raise --context-size", session->ids.count, count,
                       runtime->context_size);
    return PHLOX_OK;
}

/* Brings the cache to the end of the ids. `all` gets the logits from id `first` on. */
static phlox_status fill_cache(phlox_session *session, size_t first, float *all,
                            phlox_progress_fn *progress, void *progress_user, phlox_error *error)
{
    const px_runtime *const runtime = session->runtime;
    const size_t end = session->ids.count, vocab = (size_t)runtime->desc->vocab_size;
    phlox_progress report = {.what = "reading the prompt", .total = end - session->cached};
    while (session->cached < end) {
        if (atomic_load(&session->cancelled))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "cancelled after %llu of %llu tokens",
                           (unsigned long long)report.done, (unsigned long long)report.total);
        /* Logits are wanted of whole items only: of all tokens from `first` on, or of the last. */
        const size_t stop = all && session->cached < first ? first : end;
        const size_t count = PX_MIN(stop - session->cached, runtime->most_tokens);
        const bool in_all = all && session->cached >= first;
        const bool is_last = session->cached + count == end;
        const px_batch_item item = {
            .sequence = session->sequence,
            .ids = session->ids.data + session->cached,
            .count = count,
            .is_long = session->is_long,
            .logits = in_all    ? all + (session->cached - first) * vocab
                      : is_last ? session->logits
                                : NULL,
            .all_logits = in_all,
        };
        PX_TRY(runtime->device->forward(runtime->model, &item, 1, error));
        session->cached += count;
        if (in_all && is_last)
            memcpy(session->logits, all + (end - 1 - first) * vocab, vocab * sizeof *all);
        report.done += count;
        if (progress && !progress(progress_user, &report))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "cancelled after %llu of %llu tokens",
                           (unsigned long long)report.done, (unsigned long long)report.total);
    }
    session->has_logits = true;
    return PHLOX_OK;
}

void px_session_count(phlox_session *session, size_t count, size_t dropped, double seconds)
{
    const bool is_decode = count == 1 && session->ids.count > 1;
    phlox_statistics *const s = &session->statistics;
    s->rope_recomputes += dropped > 0;
    s->recomputed_tokens += dropped;
    *(is_decode ? &s->decode_tokens : &s->prefill_tokens) += count;
    *(is_decode ? &s->decode_seconds : &s->prefill_seconds) += seconds;
}

/* fill_cache() with the clock. */
static phlox_status compute(phlox_session *session, size_t first, float *all,
                            phlox_progress_fn *progress, void *progress_user, phlox_error *error)
{
    const double start = px_seconds();
    const size_t dropped = px_session_choose_rope(session);
    const size_t count = session->ids.count - session->cached;
    px_session_reserve(session);
    PX_TRY(fill_cache(session, first, all, progress, progress_user, error));
    px_session_count(session, count, dropped, px_seconds() - start);
    return PHLOX_OK;
}

phlox_status px_session_append(phlox_session *session, const int32_t *ids, size_t count, float *all,
                               phlox_progress_fn *progress, void *progress_user,
                               phlox_error *error)
{
    if (!count) return px_fail(error, PHLOX_ERROR_ARGUMENT, "no tokens to append");
    PX_TRY(px_session_check_ids(session, ids, count, error));
    const size_t before = session->ids.count;
    PX_TRY(px_ids_add(&session->ids, ids, count, error));
    session->has_logits = false;
    const phlox_status status = compute(session, before, all, progress, progress_user, error);
    if (status == PHLOX_OK) return PHLOX_OK;
    session->ids.count = before;
    px_session_cut_cache(session, before);
    return status;
}

phlox_status px_session_push(phlox_session *session, int32_t id, phlox_error *error)
{
    PX_TRY(px_session_check_ids(session, &id, 1, error));
    PX_TRY(px_ids_add(&session->ids, &id, 1, error));
    session->has_logits = false;
    return PHLOX_OK;
}

phlox_status px_session_catch_up(phlox_session *session, phlox_error *error)
{
    if (session->has_logits) return PHLOX_OK;
    if (!session->ids.count)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "the session has no tokens to go on from");
    px_session_cut_cache(session, session->ids.count - 1);
    return compute(session, session->ids.count, NULL, NULL, NULL, error);
}

/* ---- what is computed ahead ---------------------------------------------------------------- */

size_t px_session_most_draft(const phlox_session *session)
{
    const px_runtime *const runtime = session->runtime;
    const size_t count = session->ids.count;
    if (runtime->no_drafts || session->cached + 1 != count || count + 1 >= runtime->context_size ||
        px_desc_is_long(runtime->desc, count) != session->is_long)
        return 0;
    size_t most = PX_MIN(runtime->context_size - 1 - count, (size_t)PX_MOST_DRAFT);
    while (px_desc_is_long(runtime->desc, count + most) != session->is_long) most--;
    return most;
}

/* The step of the last id and a draft behind it. */
static phlox_status compute_ahead(phlox_session *session, const int32_t *draft, size_t count,
                                  phlox_error *error)
{
    const px_runtime *const runtime = session->runtime;
    const size_t vocab = (size_t)runtime->desc->vocab_size;
    px_ahead *const ahead = &session->ahead;
    if (!ahead->logits) ahead->logits = px_calloc(px_mul(PX_MOST_STEP, vocab), sizeof(float));
    if (!ahead->logits) return px_fail_memory(error, PX_MOST_STEP * vocab * sizeof(float));
    int32_t ids[PX_MOST_STEP] = {session->ids.data[session->cached]};
    memcpy(ids + 1, draft, count * sizeof *draft);
    const px_batch_item item = {
        .sequence = session->sequence,
        .ids = ids,
        .count = 1 + count,
        .is_long = session->is_long,
        .logits = ahead->logits,
        .all_logits = true,
    };
    PX_TRY(runtime->device->forward(runtime->model, &item, 1, error));
    memcpy(ahead->ids, draft, count * sizeof *draft);
    ahead->count = count;
    session->cached++;
    session->has_logits = true;
    memcpy(session->logits, ahead->logits, vocab * sizeof *ahead->logits);
    return PHLOX_OK;
}

phlox_status px_session_speculate(phlox_session *session, const int32_t *draft, size_t count,
                                  phlox_error *error)
{
    px_session_forget_ahead(session);
    const double start = px_seconds();
    /* When it fails a step without the draft may do: memory was short, or logits not finite. */
    if (!count || compute_ahead(session, draft, count, NULL) != PHLOX_OK)
        return px_session_catch_up(session, error);
    phlox_statistics *const s = &session->statistics;
    s->speculated_steps++;
    s->drafted_tokens += count;
    s->decode_tokens++;
    s->decode_seconds += px_seconds() - start;
    return PHLOX_OK;
}

bool px_session_follow(phlox_session *session)
{
    px_ahead *const ahead = &session->ahead;
    const px_ids *const ids = &session->ids;
    const size_t vocab = (size_t)session->runtime->desc->vocab_size;
    if (session->has_logits) return true;
    if (ahead->used == ahead->count || session->cached + 1 != ids->count ||
        ids->data[session->cached] != ahead->ids[ahead->used])
        return false;
    ahead->used++;
    session->cached++;
    session->statistics.decode_tokens++;
    session->statistics.accepted_tokens++;
    session->has_logits = true;
    memcpy(session->logits, ahead->logits + ahead->used * vocab, vocab * sizeof *ahead->logits);
    return true;
}

void px_session_forget_ahead(phlox_session *session)
{
    px_session_cut_cache(session, session->cached);
}

/* ---- cutting ------------------------------------------------------------------------------- */

phlox_status px_session_truncate(phlox_session *session, size_t count, phlox_error *error)
{
    if (count > session->ids.count)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "cannot cut a session of %zu tokens to its first %zu", session->ids.count,
                       count);
    if (count == session->ids.count) return PHLOX_OK;
    session->ids.count = count;
    session->has_logits = false;
    px_lookup_truncate(&session->lookup, count);
    px_session_cut_cache(session, count);
    return PHLOX_OK;
}

void px_session_drop(phlox_session *session, size_t from, size_t count)
{
    px_ids *const ids = &session->ids;
    memmove(ids->data + from, ids->data + from + count,
            (ids->count - from - count) * sizeof *ids->data);
    ids->count -= count;
    session->has_logits = false;
    px_lookup_truncate(&session->lookup, from);
    px_session_cut_cache(session, from);
}
