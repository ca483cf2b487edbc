#include "api/model.h"

#include <string.h>

static phlox_status need_tokenizer(const phlox_model *model, phlox_error *error)
{
    if (model->tokenizer) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: the model has no tokenizer.json, so only token ids can be used",
                   model->path);
}

/* Hands ids to the caller and frees them. */
static phlox_status give_ids(phlox_status status, px_ids *found, int32_t *ids, size_t capacity,
                             size_t *count)
{
    if (status == PHLOX_OK) {
        const size_t copied = PX_MIN(found->count, capacity);
        if (copied) memcpy(ids, found->data, copied * sizeof *ids);
        *count = found->count;
    }
    px_ids_free(found);
    return status;
}

phlox_status phlox_tokenize(const phlox_model *model, phlox_text text, unsigned flags, int32_t *ids,
                            size_t capacity, size_t *count, phlox_error *error)
{
    PX_TRY(need_tokenizer(model, error));
    px_ids found = {0};
    const phlox_status status =
        px_tokenizer_encode(model->tokenizer, text, flags, model->bos, &found, error);
    return give_ids(status, &found, ids, capacity, count);
}

phlox_status phlox_detokenize(const phlox_model *model, const int32_t *ids, size_t count,
                              bool with_control, char *text, size_t capacity, size_t *size,
                              phlox_error *error)
{
    PX_TRY(need_tokenizer(model, error));
    const int32_t vocab = model->checkpoint->desc.vocab_size;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= vocab)
            return px_fail(error, PHLOX_ERROR_ARGUMENT,
                           "id %d at place %zu is not in the vocabulary of %d", ids[i], i, vocab);
    }
    px_buffer found = {0};
    const phlox_status status =
        px_tokenizer_decode(model->tokenizer, ids, count, with_control, &found, error);
    if (status == PHLOX_OK) {
        const size_t copied = PX_MIN(found.size, capacity);
        if (copied) memcpy(text, found.data, copied);
        *size = found.size;
    }
    px_buffer_free(&found);
    return status;
}

phlox_status phlox_chat_tokenize(const phlox_model *model, const phlox_message *messages,
                                 size_t message_count, bool add_generation_prompt, int32_t *ids,
                                 size_t capacity, size_t *count, phlox_error *error)
{
    PX_TRY(need_tokenizer(model, error));
    if (!model->chat_format) {
        if (error) *error = model->chat_error;
        return model->chat_error.code;
    }
    px_ids found = {0};
    const phlox_status status =
        px_chat_encode(model->chat_format, model->tokenizer, model->bos, messages, message_count,
                       add_generation_prompt, &found, error);
    return give_ids(status, &found, ids, capacity, count);
}
