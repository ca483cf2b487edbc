/* Opening a checkpoint under some options and running ids through it. */
#ifndef PX_TESTS_ENGINE_FAMILY_H
#define PX_TESTS_ENGINE_FAMILY_H

#include "support.h"

#include <phlox/tools.h>

#define FAMILY PHLOX_SOURCE_DIR "/tests/golden/family"

static inline phlox_model_options family_options(void)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 2;
    return options;
}

static inline phlox_model *family_open(const char *path, const phlox_model_options *options)
{
    phlox_model *model = NULL;
    phlox_error error;
    MUST(phlox_model_open(path, options, &model, &error));
    return model;
}

static inline int32_t family_vocab(const phlox_model *model)
{
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    return info.vocab_size;
}

/* Logits [n, vocab] of a fresh session, free() them: the first `head` ids at once (row head - 1 is
 * all that is known of them), then pieces of `piece` ids. */
static inline float *family_run(phlox_model *model, const int32_t *ids, size_t n, size_t head,
                                size_t piece)
{
    const size_t vocab = (size_t)family_vocab(model);
    float *const logits = calloc(n * vocab, sizeof *logits);
    assert_non_null(logits);
    phlox_session *session = NULL;
    phlox_error error;
    MUST(phlox_session_create(model, &session, &error));
    size_t done = 0;
    if (head) {
        MUST(phlox_session_append(session, ids, head, NULL, NULL, NULL, &error));
        memcpy(logits + (head - 1) * vocab, phlox_session_logits(session), vocab * sizeof *logits);
        done = head;
    }
    while (done < n) {
        const size_t count = PX_MIN(piece, n - done);
        MUST(phlox_session_append(session, ids + done, count, logits + done * vocab, NULL, NULL,
                                  &error));
        done += count;
        assert_memory_equal(logits + (done - 1) * vocab, phlox_session_logits(session),
                            vocab * sizeof *logits);
    }
    phlox_session_close(&session);
    return logits;
}

/* All logits of one forward over all ids. */
static inline float *family_whole(phlox_model *model, const int32_t *ids, size_t n)
{
    return family_run(model, ids, n, 0, n);
}

#endif
