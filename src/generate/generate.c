#include "generate/generate.h"

#include "base/os.h"
#include "generate/sampler.h"
#include "text/utf8.h"

#include <string.h>

struct generation {
    phlox_session *session;
    const phlox_generate_options *options;
    phlox_piece_fn *piece;
    void *user;
    px_sampler *sampler;
    px_text_stream *stream; /* NULL without a tokenizer */
    px_buffer held;         /* text not reported yet: it may begin a stop string */
    size_t tokens, shifted;
    size_t kept; /* of the generated tokens, those that shifts have left in the session */
    px_speculation step; /* the last one, not learned from yet */
    phlox_generate_result result;
};

/* ---- stop strings -------------------------------------------------------------------------- */

/* Place of the first stop string in the held text; its size when there is none. */
static size_t find_stop(const struct generation *g, phlox_text *found)
{
    size_t place = g->held.size;
    for (size_t i = 0; i < g->options->stop_count; i++) {
        const phlox_text stop = g->options->stop_strings[i];
        for (size_t at = 0; at + stop.size <= g->held.size && at < place; at++) {
            if (memcmp(g->held.data + at, stop.data, stop.size) != 0) continue;
            place = at;
            *found = stop;
        }
    }
    return place;
}

/* How much of the held text's end may be the beginning of a stop string. */
static size_t possible_stop(const struct generation *g)
{
    size_t most = 0;
    for (size_t i = 0; i < g->options->stop_count; i++) {
        const phlox_text stop = g->options->stop_strings[i];
        for (size_t size = PX_MIN(stop.size - 1, g->held.size); size > most; size--)
            if (memcmp(g->held.data + g->held.size - size, stop.data, size) == 0) most = size;
    }
    return most;
}

/* ---- reporting ----------------------------------------------------------------------------- */

/* Reports the first `size` bytes of the held text with a token; false: the callback wants to stop. */
static bool report(struct generation *g, size_t size, const phlox_token_info *token,
                   const phlox_token_info *top, size_t top_count)
{
    const phlox_piece piece = {
        .text = {g->held.data, size},
        .token = *token,
        .top = top,
        .top_count = top_count,
        .shifted = g->shifted,
    };
    const bool go_on = !g->piece || g->piece(g->user, &piece);
    g->shifted = 0;
    g->held.size -= size;
    if (g->held.size) memmove(g->held.data, g->held.data + size, g->held.size);
    return go_on;
}

/* Adds a token's text to the held text; at the last token also what the stream still has. */
static phlox_status hold_text(struct generation *g, int32_t id, bool is_last, phlox_error *error)
{
    if (!g->stream) return PHLOX_OK;
    PX_TRY(px_text_stream_add(g->stream, id, &g->held, error));
    return is_last ? px_text_stream_end(g->stream, &g->held, error) : PHLOX_OK;
}

/* ---- speculation --------------------------------------------------------------------------- */

static size_t look_up(phlox_session *session, size_t most, int32_t *draft, size_t *match)
{
    const px_ids *const ids = &session->ids;
    if (px_lookup_extend(&session->lookup, ids->data, ids->count, NULL) != PHLOX_OK) return 0;
    const px_match found = px_lookup_find(&session->lookup, ids->data);
    *match = found.length;
    return px_lookup_draft(&session->lookup, ids->data, found, most, draft);
}

/* Drafts what may follow the last id. Returns the number of tokens; `match` is the length of the match
 * that they come from. */
static size_t make_draft(const struct generation *g, int32_t *draft, size_t *match)
{
    phlox_session *const session = g->session;
    const phlox_generate_options *const o = g->options;
    size_t most = px_session_most_draft(session);
    if (o->speculate > 0) most = PX_MIN(most, (size_t)o->speculate);
    /* The last token's logits are not wanted. */
    if (o->max_new_tokens >= 0) most = PX_MIN(most, (size_t)o->max_new_tokens - g->tokens - 1);
    *match = 0;
    if (!most) return 0;
    const size_t count =
        session->draft ? session->draft(session->draft_user, &session->ids, most, draft, match)
                       : look_up(session, most, draft, match);
    if (o->speculate > 0) return count;
    return px_speculator_choose(&session->speculator, *match, count);
}

/* Makes session->logits those after the last id: from what was computed ahead, or in a step. */
static phlox_status next_logits(struct generation *g, phlox_error *error)
{
    phlox_session *const session = g->session;
    if (!g->options->speculate) return px_session_catch_up(session, error);
    if (px_session_follow(session)) {
        g->step.accepted = g->step.judged = session->ahead.used;
        return PHLOX_OK;
    }
    if (g->step.judged < g->step.drafted) g->step.judged++;
    px_speculator_learn(&session->speculator, &g->step);
    int32_t draft[PX_MOST_DRAFT];
    size_t match;
    const size_t count = make_draft(g, draft, &match);
    const double before = session->statistics.decode_seconds;
    PX_TRY(px_session_speculate(session, draft, count, error));
    g->step = (px_speculation){
        .match = match,
        .drafted = session->ahead.count,
        .seconds = session->statistics.decode_seconds - before,
    };
    return PHLOX_OK;
}

/* ---- the loop ------------------------------------------------------------------------------ */

static bool is_eos(const struct generation *g, int32_t id)
{
    const px_ids *const eos = g->session->runtime->eos;
    for (size_t i = 0; i < eos->count && !g->options->ignore_eos; i++)
        if (eos->data[i] == id) return true;
    return false;
}

static phlox_status make_room(struct generation *g, phlox_error *error)
{
    phlox_session *const session = g->session;
    const size_t context = session->runtime->context_size, count = session->ids.count;
    if (count < context) return PHLOX_OK;
    const size_t keep = (size_t)PX_MAX(g->options->context_keep, 0);
    if (!g->options->context_shift || keep + 2 > count)
        return px_fail(error, PHLOX_ERROR_CONTEXT_FULL,
                       "the context of %zu tokens is full and nothing more can be generated; raise "
                       "--context-size or use --context-shift", context);
    const size_t dropped = PX_MAX((count - keep) / 2, (size_t)1);
    const size_t prompt = count - g->kept, behind = keep + dropped;
    g->kept -= behind - PX_MIN(PX_MAX(prompt, keep), behind);
    px_session_drop(session, keep, dropped);
    session->statistics.context_shifts++;
    g->shifted += dropped;
    return PHLOX_OK;
}

/* Whether this token is the last whatever it says, and why. */
static bool ends_here(struct generation *g, int32_t id)
{
    const phlox_generate_options *const o = g->options;
    const size_t context = g->session->runtime->context_size;
    if (is_eos(g, id)) g->result.stop = PHLOX_STOP_EOS;
    else if (o->max_new_tokens >= 0 && g->tokens >= (size_t)o->max_new_tokens)
        g->result.stop = PHLOX_STOP_LENGTH;
    else if (!o->context_shift && g->session->ids.count >= context)
        g->result.stop = PHLOX_STOP_CONTEXT;
    else return false;
    return true;
}

/* One token; *done when it was the last. */
static phlox_status step(struct generation *g, bool *done, phlox_error *error)
{
    phlox_session *const session = g->session;
    const int32_t vocab = session->runtime->desc->vocab_size;
    PX_TRY(make_room(g, error));
    PX_TRY(next_logits(g, error));
    const int32_t id = px_sampler_next(g->sampler, session->logits, session->ids.data,
                                       session->ids.count, g->kept);
    phlox_token_info token, top[PHLOX_MAX_TOP_LOGPROBS];
    const size_t top_count = PX_MIN((size_t)g->options->top_logprobs, (size_t)vocab);
    px_logprobs(session->logits, vocab, id, &token, top, top_count);
    PX_TRY(px_session_push(session, id, error));
    if (!g->tokens) session->statistics.first_token_seconds = px_seconds() - session->appended;
    g->tokens++;
    g->kept++;

    *done = ends_here(g, id);
    PX_TRY(hold_text(g, id, *done, error));
    phlox_text stop = {NULL, 0};
    const size_t place = find_stop(g, &stop);
    size_t size = *done ? g->held.size : g->held.size - possible_stop(g);
    if (stop.size) {
        g->result.stop = PHLOX_STOP_STRING;
        g->result.stop_string = stop;
        *done = true;
        size = place;
    }
    if (!report(g, size, &token, top, top_count) && !*done) {
        g->result.stop = PHLOX_STOP_CANCELLED;
        *done = true;
    }
    return PHLOX_OK;
}

static phlox_status run(struct generation *g, phlox_error *error)
{
    bool done = g->options->max_new_tokens == 0;
    if (done) g->result.stop = PHLOX_STOP_LENGTH;
    while (!done) {
        if (atomic_load(&g->session->cancelled)) {
            const phlox_token_info none = {-1, 0};
            g->result.stop = PHLOX_STOP_CANCELLED;
            if (g->stream) PX_TRY(px_text_stream_end(g->stream, &g->held, error));
            if (g->held.size) report(g, g->held.size, &none, NULL, 0);
            return PHLOX_OK;
        }
        const phlox_status status = step(g, &done, error);
        /* Cancelled inside a step: the loop ends as if it had been between two. */
        if (status == PHLOX_ERROR_CANCELLED && atomic_load(&g->session->cancelled)) continue;
        PX_TRY(status);
    }
    return PHLOX_OK;
}

static phlox_status check(const phlox_session *session, const phlox_generate_options *options,
                          phlox_error *error)
{
    if (!session->ids.count)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "the session has no tokens to generate from; append a prompt first");
    if (options->max_new_tokens < -1)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "max-new-tokens is %d; -1, 0 or more are meant",
                       options->max_new_tokens);
    if (options->speculate < PHLOX_SPECULATE_AUTO || options->speculate > PHLOX_MAX_DRAFT)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "speculate is %d; -1 (auto) to %d are meant",
                       options->speculate, PHLOX_MAX_DRAFT);
    if (options->stop_count && !session->runtime->tokenizer)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "stop strings need a tokenizer and the model has none");
    for (size_t i = 0; i < options->stop_count; i++) {
        const phlox_text stop = options->stop_strings[i];
        if (!stop.size) return px_fail(error, PHLOX_ERROR_ARGUMENT, "stop string %zu is empty", i);
        const size_t valid = px_utf8_valid_prefix(stop.data, stop.size);
        if (valid < stop.size)
            return px_fail(error, PHLOX_ERROR_ARGUMENT,
                           "stop string %zu is not UTF-8 at byte %zu; it would split a character", i,
                           valid);
    }
    return PHLOX_OK;
}

phlox_status px_generate(phlox_session *session, const phlox_generate_options *options,
                         phlox_piece_fn *piece, void *user, phlox_generate_result *result,
                         phlox_error *error)
{
    PX_TRY(check(session, options, error));
    struct generation g = {.session = session, .options = options, .piece = piece, .user = user};
    phlox_status status =
        px_sampler_create(options, session->runtime->desc->vocab_size, &g.sampler, error);
    /* Behind a control token the answer is a text of its own; elsewhere it goes on. */
    const px_tokenizer *const tokenizer = session->runtime->tokenizer;
    if (status == PHLOX_OK && tokenizer) {
        const int32_t last = session->ids.data[session->ids.count - 1];
        status = px_text_stream_create(tokenizer, px_tokenizer_is_control(tokenizer, last), false,
                                       &g.stream, error);
    }
    if (!session->appended) session->appended = px_seconds();
    if (status == PHLOX_OK) status = run(&g, error);
    session->appended = 0;
    px_speculator_learn(&session->speculator, &g.step);
    px_session_forget_ahead(session);
    px_sampler_free(g.sampler);
    px_text_stream_free(g.stream);
    px_buffer_free(&g.held);
    if (status != PHLOX_OK) return status;
    g.result.tokens = g.tokens;
    if (result) *result = g.result;
    return PHLOX_OK;
}
