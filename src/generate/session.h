/*
 * A session: one timeline of tokens on a device, and what the device must not know: when the other
 * longrope factors apply. The logits after any token equal those of a fresh run over the whole
 * sequence; when a sequence passes the original context (or is cut back below it), its cache is
 * computed again with the factors of its length.
 */
#ifndef PX_GENERATE_SESSION_H
#define PX_GENERATE_SESSION_H

#include "device/device.h"
#include "generate/speculate.h"
#include "text/tokenizer.h"

#include <stdatomic.h>

/* What the sessions of a model share. */
typedef struct px_runtime {
    const px_desc *desc;
    const px_device *device;
    px_device_model *model;
    const px_tokenizer *tokenizer; /* NULL: none */
    const px_ids *eos;             /* ids that end a generation */
    size_t context_size, most_tokens;
    bool no_drafts;                /* the device has logits of the last token only */
    px_step_costs *step_costs;
} px_runtime;

/* Proposes up to `most` ids that may follow and says how long the match is that they come from; their
 * number. */
typedef size_t px_draft_fn(void *user, const px_ids *ids, size_t most, int32_t *draft,
                           size_t *match);

/* What was computed ahead of the ids: while used < count the device's cache has the rest of the draft
 * behind the `cached` ids. Lives inside a generation only. */
typedef struct px_ahead {
    int32_t ids[PX_MOST_DRAFT];
    size_t count, used; /* the first `used` have become ids */
    float *logits;      /* [1 + PX_MOST_DRAFT, vocab]: before the draft, and after each id of it */
} px_ahead;

struct phlox_session {
    const px_runtime *runtime;
    px_sequence *sequence;
    px_ids ids;
    size_t cached;     /* the first so many ids are in the device's cache, ... */
    bool is_long;      /* ... with these longrope factors */
    bool has_logits;
    float *logits;     /* [vocab] after the last id */
    atomic_bool cancelled;
    px_ahead ahead;
    px_lookup lookup; /* of a beginning of the ids */
    px_speculator speculator;
    px_draft_fn *draft; /* NULL: prompt lookup; tests put theirs here */
    void *draft_user;
    double appended; /* when the last append began; 0: there was none since the last generation */
    phlox_statistics statistics;
};

phlox_status px_session_create(const px_runtime *runtime, phlox_session **out, phlox_error *error);
void px_session_free(phlox_session *session);

/* See phlox_session_append(). */
phlox_status px_session_append(phlox_session *session, const int32_t *ids, size_t count, float *all,
                               phlox_progress_fn *progress, void *progress_user,
                               phlox_error *error);
/* See phlox_session_append_batch(); batch.c. */
phlox_status px_session_append_batch(phlox_session *const *sessions, const int32_t *const *ids,
                                     const size_t *counts, size_t session_count,
                                     phlox_error *error);
/* Appends an id without computing anything; the next call that needs logits catches up. */
phlox_status px_session_push(phlox_session *session, int32_t id, phlox_error *error);
/* Makes session->logits those after the last id. */
phlox_status px_session_catch_up(phlox_session *session, phlox_error *error);

/* Most tokens of a draft behind the last id: it ends before the context is full and before the longrope
 * factors change, and waits until the ids before the last one are in the cache. */
size_t px_session_most_draft(const phlox_session *session);
/* px_session_catch_up() that computes a draft of what may follow in the same step, if the device can:
 * session->ahead.count says so. */
phlox_status px_session_speculate(phlox_session *session, const int32_t *draft, size_t count,
                                  phlox_error *error);
/* Makes session->logits those after the last id if they are there: the draft foresaw it. */
bool px_session_follow(phlox_session *session);
/* Forgets what was computed ahead. */
void px_session_forget_ahead(phlox_session *session);

phlox_status px_session_truncate(phlox_session *session, size_t count, phlox_error *error);
/* Drops the ids [from, from + count); what follows is computed again when needed. */
void px_session_drop(phlox_session *session, size_t from, size_t count);

/* ---- what session.c and batch.c share ------------------------------------------------------ */

/* Whether ids are in the vocabulary and fit behind those of the session. */
phlox_status px_session_check_ids(const phlox_session *session, const int32_t *ids, size_t count,
                                  phlox_error *error);
/* Keeps at most the first `length` ids in the device's cache. */
void px_session_cut_cache(phlox_session *session, size_t length);
/* Tells the device how long the sequence is about to be. */
void px_session_reserve(const phlox_session *session);
/* Takes the longrope factors of all ids. When they are others, the cache is dropped: returns how many ids
 * were in it. */
size_t px_session_choose_rope(phlox_session *session);
/* Adds `count` computed ids to the statistics: one behind others is a decoded one. `dropped` of them
 * were computed again because the longrope factors switched, which makes all of them prefill. */
void px_session_count(phlox_session *session, size_t count, size_t dropped, double seconds);

#endif
