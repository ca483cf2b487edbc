#include "text/encode.h"

phlox_status px_replace(phlox_text text, phlox_text from, phlox_text to, size_t original,
                        px_buffer *out, phlox_error *error)
{
    const size_t most = px_mul(original + PX_MOST_STEP_TEXT, 32), before = out->size;
    size_t copied = 0, at = 0;
    while (text.size - at >= from.size) {
        const char *const hit = memchr(text.data + at, from.data[0],
                                       text.size - at - from.size + 1);
        if (hit == NULL) break;
        at = (size_t)(hit - text.data);
        if (memcmp(hit, from.data, from.size) != 0) {
            at++;
            continue;
        }
        PX_TRY(px_buffer_add(out, text.data + copied, at - copied, error));
        PX_TRY(px_buffer_add(out, to.data, to.size, error));
        at += from.size;
        copied = at;
        if (out->size - before > most)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "the tokenizer makes more than %zu bytes of %zu; its replacements run "
                           "away", most, original);
    }
    return px_buffer_add(out, text.data + copied, text.size - copied, error);
}

static phlox_status run_step(const px_step *step, const char *program_text, phlox_text text,
                             size_t original, px_buffer *out, phlox_error *error)
{
    const phlox_text a = {program_text + step->a.offset, step->a.size};
    const phlox_text b = {program_text + step->b.offset, step->b.size};
    if (step->kind == PX_STEP_REPLACE) return px_replace(text, a, b, original, out, error);
    if (text.size > 0) PX_TRY(px_buffer_add(out, a.data, a.size, error));
    return px_buffer_add(out, text.data, text.size, error);
}

phlox_status px_normalize(const px_program *program, const char *program_text, phlox_text text,
                          px_buffer *out, phlox_error *error)
{
    px_buffer now = {0}, next = {0};
    phlox_status status = px_buffer_add(&now, text.data, text.size, error);
    for (uint32_t i = 0; i < program->count && status == PHLOX_OK; i++) {
        const px_buffer swap = now;
        next.size = 0;
        status = run_step(&program->steps[i], program_text, (phlox_text){now.data, now.size},
                          text.size, &next, error);
        now = next;
        next = swap;
    }
    if (status == PHLOX_OK) status = px_buffer_add(out, now.data, now.size, error);
    px_buffer_free(&now);
    px_buffer_free(&next);
    return status;
}
