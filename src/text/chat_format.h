/* The table of chat formats. */
#ifndef PX_TEXT_CHAT_FORMAT_H
#define PX_TEXT_CHAT_FORMAT_H

#include "text/chat.h"

typedef enum px_chat_role {
    PX_ROLE_SYSTEM,
    PX_ROLE_USER,
    PX_ROLE_ASSISTANT,
    PX_ROLE_COUNT
} px_chat_role;

typedef enum px_chat_generation {
    PX_GENERATION_NEVER,           /* the user's turn already opens the assistant's */
    PX_GENERATION_ASKED,
    PX_GENERATION_UNLESS_ASSISTANT /* ... and the last message is not the assistant's */
} px_chat_generation;

struct px_chat_format {
    const char *name;
    const char *signature; /* see chat_recognise.c */
    struct {
        const char *before, *after; /* of the content; NULL: the format lacks the role */
    } roles[PX_ROLE_COUNT];
    const char *opening;   /* of the assistant's turn */
    const char *ending;    /* when no turn is opened; "" for none */
    px_chat_generation generation;
    bool bos;              /* begins with the beginning-of-sequence token */
    bool skips_empty_system;
};

extern const px_chat_format px_chat_formats[];
extern const size_t px_chat_format_count;

/* Appends the signature of a template. */
phlox_status px_chat_signature(phlox_text jinja, px_buffer *out, phlox_error *error);

#endif
