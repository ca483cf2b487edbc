#include "text/chat_format.h"

#include "text/encode.h"
#include "text/utf8.h"

#include <stdlib.h>

static const char *const role_names[PX_ROLE_COUNT] = {"system", "user", "assistant"};

const px_chat_format *px_chat_format_by_name(const char *name)
{
    for (size_t i = 0; i < px_chat_format_count; i++)
        if (strcmp(px_chat_formats[i].name, name) == 0) return &px_chat_formats[i];
    return NULL;
}

const char *px_chat_format_name(const px_chat_format *format)
{
    return format->name;
}

/* A conversation being written: its text, and where that text is the format's own. */
typedef struct writer {
    px_buffer *text;
    px_range *ranges; /* NULL when nobody asks */
    size_t range_count, base; /* base: size of the buffer before the conversation */
} writer;

static phlox_status put_own(writer *w, phlox_text text, phlox_error *error)
{
    if (text.size == 0) return PHLOX_OK;
    const size_t start = w->text->size - w->base;
    PX_TRY(px_buffer_add(w->text, text.data, text.size, error));
    if (w->ranges == NULL) return PHLOX_OK;
    if (w->range_count > 0 && w->ranges[w->range_count - 1].end == start)
        w->ranges[w->range_count - 1].end = start + text.size;
    else
        w->ranges[w->range_count++] = (px_range){start, start + text.size};
    return PHLOX_OK;
}

static phlox_text text_of(const char *string)
{
    return (phlox_text){string, strlen(string)};
}

/* Index of the message's role among those that the format has. */
static phlox_status find_role(const px_chat_format *format, const phlox_message *message,
                              size_t index, px_chat_role *out, phlox_error *error)
{
    char known[64] = "";
    for (int r = 0; r < PX_ROLE_COUNT; r++) {
        if (format->roles[r].before == NULL) continue;
        if (message->role.size == strlen(role_names[r]) &&
            memcmp(message->role.data, role_names[r], message->role.size) == 0) {
            *out = (px_chat_role)r;
            return PHLOX_OK;
        }
        if (known[0] != '\0') strcat(known, ", ");
        strcat(known, role_names[r]);
    }
    return px_fail(error, PHLOX_ERROR_ARGUMENT,
                   "message %zu has the role \"%.*s\"; the chat format %s has %s", index + 1,
                   (int)PX_MIN(message->role.size, (size_t)40), message->role.data, format->name,
                   known);
}

static phlox_status write_message(const px_chat_format *format, const phlox_message *message,
                                  px_chat_role role, writer *w, phlox_error *error)
{
    if (role == PX_ROLE_SYSTEM && format->skips_empty_system && message->content.size == 0)
        return PHLOX_OK;
    const size_t valid = px_utf8_valid_prefix(message->content.data, message->content.size);
    if (valid != message->content.size)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "the text is not UTF-8: byte 0x%02x at offset %zu; convert it first",
                       (unsigned)(uint8_t)message->content.data[valid], valid);
    PX_TRY(put_own(w, text_of(format->roles[role].before), error));
    PX_TRY(px_buffer_add(w->text, message->content.data, message->content.size, error));
    return put_own(w, text_of(format->roles[role].after), error);
}

static phlox_status write_conversation(const px_chat_format *format, phlox_text bos,
                                       const phlox_message *messages, size_t count, bool open,
                                       writer *w, phlox_error *error)
{
    px_chat_role role = PX_ROLE_USER;
    if (count == 0)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "a conversation needs at least one message");
    if (format->bos) PX_TRY(put_own(w, bos, error));
    for (size_t i = 0; i < count; i++) {
        PX_TRY(find_role(format, &messages[i], i, &role, error));
        PX_TRY(write_message(format, &messages[i], role, w, error));
    }
    if (!open) return put_own(w, text_of(format->ending), error);
    if (format->generation == PX_GENERATION_NEVER ||
        (format->generation == PX_GENERATION_UNLESS_ASSISTANT && role == PX_ROLE_ASSISTANT))
        return PHLOX_OK;
    return put_own(w, text_of(format->opening), error);
}

phlox_status px_chat_render(const px_chat_format *format, phlox_text bos_text,
                            const phlox_message *messages, size_t count,
                            bool add_generation_prompt, px_buffer *out, phlox_error *error)
{
    const size_t before = out->size;
    writer w = {.text = out, .base = before};
    const phlox_status status = write_conversation(format, bos_text, messages, count,
                                                   add_generation_prompt, &w, error);
    if (status != PHLOX_OK) out->size = before;
    return status;
}

/* Every "<|...|>" that the format's literals contain must be an added token that is found in the
 * text as it stands; otherwise the model would read its turns as words. */
static phlox_status check_literal(const px_chat_format *format, const px_tokenizer *t,
                                  const char *literal, phlox_error *error)
{
    for (const char *start = strstr(literal, "<|"); start != NULL; start = strstr(start, "<|")) {
        char name[32];
        const char *const stop = strstr(start, "|>");
        const size_t size = stop != NULL ? (size_t)(stop - start) + 2 : 0;
        if (size == 0 || size >= sizeof name) break;
        memcpy(name, start, size);
        name[size] = '\0';
        bool good = false;
        const int32_t id = px_tokenizer_control_id(t, name);
        for (uint32_t i = 0; id >= 0 && i < t->header->added; i++)
            if (t->added[i].id == (uint32_t)id)
                good = !(t->added[i].flags & PX_ADDED_NORMALIZED) ||
                       t->header->normalizer.count == 0;
        if (!good)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "the chat format %s needs the control token %s, which the model's "
                           "tokenizer lacks; name another with --chat-format", format->name, name);
        start += size;
    }
    return PHLOX_OK;
}

static phlox_status check_tokens(const px_chat_format *format, const px_tokenizer *t,
                                 phlox_error *error)
{
    for (int r = 0; r < PX_ROLE_COUNT; r++) {
        if (format->roles[r].before == NULL) continue;
        PX_TRY(check_literal(format, t, format->roles[r].before, error));
        PX_TRY(check_literal(format, t, format->roles[r].after, error));
    }
    PX_TRY(check_literal(format, t, format->opening, error));
    return check_literal(format, t, format->ending, error);
}

phlox_status px_chat_encode(const px_chat_format *format, const px_tokenizer *tokenizer,
                            int32_t bos, const phlox_message *messages, size_t count,
                            bool add_generation_prompt, px_ids *ids, phlox_error *error)
{
    PX_TRY(check_tokens(format, tokenizer, error));
    if (bos >= px_tokenizer_size(tokenizer))
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "the beginning-of-sequence id %d is not an id of the tokenizer", (int)bos);
    const phlox_text bos_text = bos < 0 ? (phlox_text){"", 0} :
                                px_token_text(tokenizer, (uint32_t)bos);
    px_buffer text = {0};
    const size_t most = px_mul(count + 1, 2); /* ranges: two a message, bos and ending */
    writer w = {.text = &text, .ranges = px_calloc(most, sizeof *w.ranges)};
    phlox_status status = w.ranges != NULL ? PHLOX_OK :
                          px_fail_memory(error, px_mul(most, sizeof *w.ranges));
    if (status == PHLOX_OK)
        status = write_conversation(format, bos_text, messages, count, add_generation_prompt, &w,
                                    error);
    if (status == PHLOX_OK)
        status = px_encode_ranges(tokenizer, (phlox_text){text.data, text.size}, w.ranges,
                                  w.range_count, ids, error);
    free(w.ranges);
    px_buffer_free(&text);
    return status;
}
