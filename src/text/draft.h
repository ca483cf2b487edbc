/* A tokenizer between tokenizer.json and its table: what parsing collects and building packs. */
#ifndef PX_TEXT_DRAFT_H
#define PX_TEXT_DRAFT_H

#include "base/json.h"
#include "text/table.h"

typedef struct px_draft_token {
    phlox_text text; /* inside the JSON tree; size 0: no token has this id */
    uint32_t flags;  /* PX_TOKEN_* */
} px_draft_token;

typedef struct px_draft_added {
    phlox_text content;
    uint32_t id, flags; /* PX_ADDED_* */
} px_draft_added;

typedef struct px_draft {
    const char *name;       /* for messages */
    px_table_header header; /* model flags, unk, post and programs are filled by parsing */
    px_buffer text;         /* what the programs' spans mean */
    px_draft_token *tokens; /* [header.ids] */
    uint32_t model_tokens;
    px_draft_added *added;  /* [header.added] */
    const json_t *merges;   /* array */
} px_draft;

/* Members of an object as text. FORMAT names the key when it is not a string. */
phlox_status px_draft_string(const px_draft *draft, const json_t *object, const char *key,
                             phlox_text *out, phlox_error *error);
/* A member whose key is itself a string of the document; NULL when there is none. */
const json_t *px_draft_member(const json_t *object, phlox_text key);
/* The "type" of a component; "" when it has none. */
phlox_text px_draft_type(const json_t *component);
bool px_text_is(phlox_text text, const char *word);

/* Read the members normalizer, pre_tokenizer, decoder and post_processor into the header. */
phlox_status px_draft_programs(px_draft *draft, const json_t *root, phlox_error *error);
phlox_status px_draft_post(px_draft *draft, const json_t *processor, phlox_error *error);

/* Packs the draft into a block and opens it. */
phlox_status px_draft_build(px_draft *draft, px_tokenizer **out, phlox_error *error);

#endif
