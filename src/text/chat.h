/* Chat formats of the family, recognised by the literals of the model's template and written from
 * tables: templates are never executed. */
#ifndef PX_TEXT_CHAT_H
#define PX_TEXT_CHAT_H

#include "text/tokenizer.h"

typedef struct px_chat_format px_chat_format; /* constant tables; nothing to free */

/* Names, ending with NULL: one for each distinct published template, e.g. "phi3", "phi3.5",
 * "phi3-medium", "phi4", "phi4-mini". */
const char *const *px_chat_format_names(void);
/* NULL when there is no format of that name. */
const px_chat_format *px_chat_format_by_name(const char *name);
const char *px_chat_format_name(const px_chat_format *format);

/* Recognises a template (Jinja source) by its literals. PHLOX_ERROR_UNSUPPORTED, naming
 * --chat-format, when it is none of the family's. */
phlox_status px_chat_format_recognise(phlox_text jinja, const px_chat_format **out,
                                      phlox_error *error);

/* Appends the ids of a conversation. Control tokens come from the table; the contents of messages
 * are encoded as plain text, so they never give a control token, and otherwise exactly as if the
 * rendered string had been encoded with control tokens recognised. PHLOX_ERROR_ARGUMENT for a role
 * that the format does not have, and for no messages; PHLOX_ERROR_UNSUPPORTED when the tokenizer
 * lacks a control token that the format writes. `bos`: the model's beginning-of-sequence id
 * (-1: none), used where the template writes it. */
phlox_status px_chat_encode(const px_chat_format *format, const px_tokenizer *tokenizer,
                            int32_t bos, const phlox_message *messages, size_t count,
                            bool add_generation_prompt, px_ids *ids, phlox_error *error);

/* Appends the rendered text, as transformers' apply_chat_template(tokenize=False). */
phlox_status px_chat_render(const px_chat_format *format, phlox_text bos_text,
                            const phlox_message *messages, size_t count,
                            bool add_generation_prompt, px_buffer *out, phlox_error *error);

#endif
