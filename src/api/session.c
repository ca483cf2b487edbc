#include "api/model.h"
#include "base/os.h"
#include "generate/generate.h"

phlox_status phlox_session_create(phlox_model *model, phlox_session **out, phlox_error *error)
{
    if (!model->device_model)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "%s: the model was opened with describe_only and has no weights",
                       model->path);
    return px_session_create(&model->runtime, out, error);
}

void phlox_session_close(phlox_session **session)
{
    if (!session) return;
    px_session_free(*session);
    *session = NULL;
}

const int32_t *phlox_session_ids(const phlox_session *session, size_t *count)
{
    *count = session->ids.count;
    return session->ids.data;
}

phlox_status phlox_session_truncate(phlox_session *session, size_t count, phlox_error *error)
{
    return px_session_truncate(session, count, error);
}

phlox_status phlox_session_append(phlox_session *session, const int32_t *ids, size_t count,
                                  float *all, phlox_progress_fn *progress, void *progress_user,
                                  phlox_error *error)
{
    atomic_store(&session->cancelled, false);
    session->appended = px_seconds();
    return px_session_append(session, ids, count, all, progress, progress_user, error);
}

phlox_status phlox_session_append_batch(phlox_session *const *sessions, const int32_t *const *ids,
                                        const size_t *counts, size_t session_count,
                                        phlox_error *error)
{
    for (size_t i = 0; i < session_count; i++) {
        atomic_store(&sessions[i]->cancelled, false);
        sessions[i]->appended = px_seconds();
    }
    return px_session_append_batch(sessions, ids, counts, session_count, error);
}

const float *phlox_session_logits(const phlox_session *session)
{
    return session->has_logits ? session->logits : NULL;
}

void phlox_session_cancel(phlox_session *session)
{
    atomic_store(&session->cancelled, true);
}

void phlox_session_statistics(const phlox_session *session, phlox_statistics *out)
{
    *out = session->statistics;
    const px_runtime *const runtime = session->runtime;
    px_device_info info;
    runtime->device->info(runtime->model, &info);
    out->huge_page_bytes = info.huge_page_bytes;
    out->kv_bytes = runtime->device->sequence_bytes(session->sequence);
}

void phlox_generate_options_init(phlox_generate_options *options, const phlox_model *model)
{
    const px_desc *const desc = &model->checkpoint->desc;
    *options = (phlox_generate_options){
        .struct_size = sizeof *options,
        .max_new_tokens = desc->max_new_tokens,
        .do_sample = desc->do_sample,
        .temperature = desc->temperature,
        .top_k = desc->top_k,
        .top_p = desc->top_p,
        .min_p = desc->min_p,
        .repetition_penalty = desc->repetition_penalty,
        .speculate = PHLOX_SPECULATE_AUTO,
    };
}

phlox_status phlox_session_generate(phlox_session *session, const phlox_generate_options *options,
                                    phlox_piece_fn *piece, void *user,
                                    phlox_generate_result *result, phlox_error *error)
{
    if (options->struct_size != sizeof *options)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "phlox_generate_options was not set up by "
                       "phlox_generate_options_init()");
    atomic_store(&session->cancelled, false);
    return px_generate(session, options, piece, user, result, error);
}
