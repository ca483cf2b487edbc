#include "api/model.h"
#include "base/cache.h"
#include "generate/sampler.h"

#include "phlox_commit.h"

#include <math.h>
#include <stdlib.h>

const char *phlox_version(void)
{
    return PHLOX_VERSION " (" PHLOX_COMMIT ")";
}

const char *const *phlox_chat_formats(void)
{
    return px_chat_format_names();
}

uint64_t phlox_memory_needed(const phlox_model *model, int32_t context)
{
    const px_device_info *const info = &model->device_info;
    return info->weight_bytes + info->kv_bytes_per_token * (uint64_t)PX_MAX(context, 0);
}

/* ---- perplexity ---------------------------------------------------------------------------- */

struct measure {
    phlox_model *model;
    phlox_session *session;
    float *logits; /* [PX_MEASURE_PIECE, vocab] */
    phlox_progress_fn *progress;
    void *user;
    phlox_progress done;
    double nll;
    size_t predicted;
};

/* One window of ids from an empty cache. */
static phlox_status measure_window(struct measure *m, const int32_t *ids, size_t count,
                                   phlox_error *error)
{
    const int32_t vocab = m->model->checkpoint->desc.vocab_size;
    PX_TRY(px_session_truncate(m->session, 0, error));
    for (size_t begin = 0; begin < count; begin += PX_MEASURE_PIECE) {
        const size_t size = PX_MIN(count - begin, (size_t)PX_MEASURE_PIECE);
        PX_TRY(px_session_append(m->session, ids + begin, size, m->logits, NULL, NULL, error));
        for (size_t i = 0; i < size && begin + i + 1 < count; i++) {
            const float *const logits = m->logits + i * (size_t)vocab;
            m->nll += px_log_sum_exp(logits, vocab) - logits[ids[begin + i + 1]];
            m->predicted++;
        }
        m->done.done += size;
        if (m->progress && !m->progress(m->user, &m->done))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "cancelled");
    }
    return PHLOX_OK;
}

static phlox_status measure_ids(struct measure *m, const px_ids *ids, phlox_error *error)
{
    const size_t window = PX_MIN(m->model->runtime.context_size, (size_t)PX_MEASURE_WINDOW);
    const size_t vocab = (size_t)m->model->checkpoint->desc.vocab_size;
    if (ids->count < 2)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "the text has %zu tokens; at least 2 are needed to predict one", ids->count);
    if (window < 2)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "a context of 1 token predicts nothing; raise --context-size");
    m->logits = malloc(px_mul(PX_MEASURE_PIECE * sizeof *m->logits, vocab));
    if (!m->logits) return px_fail_memory(error, PX_MEASURE_PIECE * sizeof *m->logits * vocab);
    m->done = (phlox_progress){.what = "measuring perplexity", .total = ids->count};
    for (size_t begin = 0; begin < ids->count; begin += window)
        PX_TRY(measure_window(m, ids->data + begin, PX_MIN(window, ids->count - begin), error));
    return PHLOX_OK;
}

phlox_status phlox_perplexity(phlox_model *model, phlox_text text, phlox_progress_fn *progress,
                              void *progress_user, phlox_perplexity_result *out,
                              phlox_error *error)
{
    if (!model->tokenizer)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: the model has no tokenizer.json, which reading a text needs",
                       model->path);
    struct measure m = {.model = model, .progress = progress, .user = progress_user};
    px_ids ids = {0};
    phlox_status status = phlox_session_create(model, &m.session, error);
    if (status == PHLOX_OK)
        status = px_tokenizer_encode(model->tokenizer, text, 0, -1, &ids, error);
    if (status == PHLOX_OK) status = measure_ids(&m, &ids, error);
    px_ids_free(&ids);
    px_session_free(m.session);
    free(m.logits);
    if (status != PHLOX_OK) return status;
    const double mean = m.nll / (double)m.predicted;
    *out = (phlox_perplexity_result){exp(mean), mean, m.predicted};
    return PHLOX_OK;
}

/* ---- cache --------------------------------------------------------------------------------- */

static phlox_status find_directory(const char *given, char **out, phlox_error *error)
{
    *out = px_cache_directory(given);
    if (*out) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                   "neither HOME nor XDG_CACHE_HOME is set; name the cache with --cache-dir");
}

phlox_status phlox_cache_list(const char *dir, phlox_cache_fn *visit, void *user,
                              phlox_error *error)
{
    char *directory;
    PX_TRY(find_directory(dir, &directory, error));
    const phlox_status status = px_cache_list(directory, visit, user, error);
    free(directory);
    return status;
}

phlox_status phlox_cache_verify(const char *dir, phlox_progress_fn *progress, void *progress_user,
                                size_t *checked, size_t *damaged, phlox_error *error)
{
    char *directory;
    PX_TRY(find_directory(dir, &directory, error));
    const phlox_status status =
        px_cache_verify(directory, progress, progress_user, checked, damaged, error);
    free(directory);
    return status;
}

phlox_status phlox_cache_remove(const char *dir, const char *name, size_t *removed,
                                phlox_error *error)
{
    char *directory;
    PX_TRY(find_directory(dir, &directory, error));
    const phlox_status status = px_cache_remove(directory, name, removed, error);
    free(directory);
    return status;
}
