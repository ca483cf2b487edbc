#include "text/draft.h"

#include <inttypes.h>
#include <stdlib.h>

bool px_text_is(phlox_text text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

static phlox_text text_of(const json_t *string)
{
    return (phlox_text){json_string_value(string), json_string_length(string)};
}

phlox_status px_draft_string(const px_draft *draft, const json_t *object, const char *key,
                             phlox_text *out, phlox_error *error)
{
    const json_t *const member = json_object_get(object, key);
    if (!json_is_string(member))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: \"%s\" is not a string; download it again",
                       draft->name, key);
    *out = text_of(member);
    return PHLOX_OK;
}

const json_t *px_draft_member(const json_t *object, phlox_text key)
{
    /* Strings from JSON end in a NUL; keys hold none. */
    return memchr(key.data, '\0', key.size) == NULL ? json_object_get(object, key.data) : NULL;
}

phlox_text px_draft_type(const json_t *component)
{
    const json_t *const type = json_object_get(component, "type");
    return json_is_string(type) ? text_of(type) : (phlox_text){"", 0};
}

/* How a token is shown in a message. */
#define SHOWN(text) (int)PX_MIN((text).size, (size_t)60), (text).data

static phlox_status check_id(const px_draft *draft, const json_t *value, phlox_text token,
                             phlox_error *error)
{
    const json_int_t id = json_integer_value(value);
    if (!json_is_integer(value) || id < 0 || id >= PX_MOST_IDS)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: token \"%.*s\" has the id %.17g, which is not an integer from 0 to %d; "
                       "download it again", draft->name, SHOWN(token), json_number_value(value),
                       PX_MOST_IDS - 1);
    return PHLOX_OK;
}

/* Finds the number of ids and makes room for them. Holes are fine, but not so many that a small
 * file asks for a lot of memory. */
static phlox_status size_up(px_draft *draft, json_t *vocab, const json_t *added,
                            phlox_error *error)
{
    json_int_t most = -1;
    const char *key;
    json_t *value;
    size_t index;
    json_object_foreach(vocab, key, value) {
        const phlox_text token = {key, strlen(key)};
        PX_TRY(check_id(draft, value, token, error));
        most = PX_MAX(most, json_integer_value(value));
    }
    json_array_foreach(added, index, value) {
        phlox_text content;
        PX_TRY(px_draft_string(draft, value, "content", &content, error));
        const json_t *const id = json_object_get(value, "id");
        PX_TRY(check_id(draft, id, content, error));
        most = PX_MAX(most, json_integer_value(id));
    }
    const size_t count = json_object_size(vocab) + json_array_size(added);
    if (count == 0)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: the vocabulary is empty", draft->name);
    if ((uint64_t)most > 16 * (uint64_t)count + 65536)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: id %" JSON_INTEGER_FORMAT " is far beyond the %zu tokens of the file; "
                       "download it again", draft->name, most, count);
    draft->header.ids = (uint32_t)most + 1;
    draft->tokens = px_calloc(draft->header.ids, sizeof *draft->tokens);
    draft->added = px_calloc(json_array_size(added) + 1, sizeof *draft->added);
    if (draft->tokens == NULL || draft->added == NULL)
        return px_fail_memory(error, px_mul(draft->header.ids, sizeof *draft->tokens));
    return PHLOX_OK;
}

static phlox_status read_vocab(px_draft *draft, json_t *vocab, phlox_error *error)
{
    for (void *at = json_object_iter(vocab); at != NULL; at = json_object_iter_next(vocab, at)) {
        const char *const key = json_object_iter_key(at);
        const phlox_text token = {key, strlen(key)};
        const json_int_t id = json_integer_value(json_object_iter_value(at));
        px_draft_token *const entry = &draft->tokens[id];
        if (entry->flags != 0)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tokens \"%.*s\" and \"%.*s\" have the same id %" JSON_INTEGER_FORMAT
                           "; download it again", draft->name, SHOWN(entry->text), SHOWN(token),
                           id);
        *entry = (px_draft_token){token, PX_TOKEN_MODEL};
        draft->model_tokens++;
    }
    return PHLOX_OK;
}

static phlox_status read_added_flags(const px_draft *draft, const json_t *item,
                                     px_draft_added *added, bool *special, phlox_error *error)
{
    bool lstrip, rstrip, single_word, normalized;
    PX_TRY(px_json_bool_or(item, "special", draft->name, false, special, error));
    PX_TRY(px_json_bool_or(item, "lstrip", draft->name, false, &lstrip, error));
    PX_TRY(px_json_bool_or(item, "rstrip", draft->name, false, &rstrip, error));
    PX_TRY(px_json_bool_or(item, "single_word", draft->name, false, &single_word, error));
    PX_TRY(px_json_bool_or(item, "normalized", draft->name, !*special, &normalized, error));
    added->flags = (lstrip ? PX_ADDED_LSTRIP : 0u) | (rstrip ? PX_ADDED_RSTRIP : 0u) |
                   (single_word ? PX_ADDED_SINGLE_WORD : 0u) |
                   (normalized ? PX_ADDED_NORMALIZED : 0u);
    return PHLOX_OK;
}

static phlox_status read_added(px_draft *draft, const json_t *list, json_t *vocab,
                               phlox_error *error)
{
    size_t index;
    json_t *item;
    json_array_foreach(list, index, item) {
        px_draft_added added = {0};
        bool special;
        PX_TRY(px_draft_string(draft, item, "content", &added.content, error));
        PX_TRY(read_added_flags(draft, item, &added, &special, error));
        added.id = (uint32_t)json_integer_value(json_object_get(item, "id"));
        if (added.content.size == 0) continue;
        if (added.content.size > PX_MOST_ADDED_BYTES)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "%s: added token %u has %zu bytes; phlox takes at most %d",
                           draft->name, added.id, added.content.size, PX_MOST_ADDED_BYTES);
        px_draft_token *const entry = &draft->tokens[added.id];
        const json_t *const known = px_draft_member(vocab, added.content);
        const bool same = entry->text.size == added.content.size &&
                          memcmp(entry->text.data, added.content.data, added.content.size) == 0;
        if ((entry->flags != 0 && !same) || (known != NULL && !same))
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: added token \"%.*s\" with id %u contradicts the vocabulary "
                           "(\"%.*s\"); download it again", draft->name, SHOWN(added.content),
                           added.id, SHOWN(entry->text));
        if (entry->flags & PX_TOKEN_ADDED) continue; /* said twice */
        entry->text = added.content;
        entry->flags |= PX_TOKEN_ADDED | (special ? PX_TOKEN_SPECIAL : 0u);
        draft->added[draft->header.added++] = added;
    }
    return PHLOX_OK;
}

/* Options of the model that would change what it does are refused rather than ignored. */
static phlox_status read_model_options(px_draft *draft, const json_t *model, phlox_error *error)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < PX_COUNT(affixes); i++) {
        const json_t *const affix = json_object_get(model, affixes[i]);
        if (affix != NULL && !json_is_null(affix) && json_string_length(affix) != 0)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "%s: the model's %s is not something phlox does", draft->name,
                           affixes[i]);
    }
    if (json_number_value(json_object_get(model, "dropout")) != 0)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: the model's dropout is not something phlox does", draft->name);
    bool fallback, fuse, ignore;
    PX_TRY(px_json_bool_or(model, "byte_fallback", draft->name, false, &fallback, error));
    PX_TRY(px_json_bool_or(model, "fuse_unk", draft->name, false, &fuse, error));
    PX_TRY(px_json_bool_or(model, "ignore_merges", draft->name, false, &ignore, error));
    draft->header.model_flags = (fallback ? PX_MODEL_BYTE_FALLBACK : 0u) |
                                (fuse ? PX_MODEL_FUSE_UNK : 0u) |
                                (ignore ? PX_MODEL_IGNORE_MERGES : 0u);
    return PHLOX_OK;
}

static phlox_status read_unk(px_draft *draft, const json_t *model, const json_t *vocab,
                             phlox_error *error)
{
    draft->header.unk = PX_NO_ID;
    const json_t *const unk = json_object_get(model, "unk_token");
    if (unk == NULL || json_is_null(unk)) return PHLOX_OK;
    const json_t *const id = json_is_string(unk) ? px_draft_member(vocab, text_of(unk)) : NULL;
    if (id == NULL)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: the unk_token is not in the vocabulary; download it again",
                       draft->name);
    draft->header.unk = (int32_t)json_integer_value(id);
    return PHLOX_OK;
}

static phlox_status read_all(px_draft *draft, const json_t *root, phlox_error *error)
{
    const json_t *const model = json_object_get(root, "model");
    json_t *const vocab = json_object_get(model, "vocab");
    const json_t *const added = json_object_get(root, "added_tokens");
    const phlox_text type = px_draft_type(model);
    if (!json_is_object(model) || (added != NULL && !json_is_null(added) && !json_is_array(added)))
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: it has no \"model\" or its \"added_tokens\" are not a list; "
                       "download it again", draft->name);
    if (type.size != 0 && !px_text_is(type, "BPE"))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: a model of type \"%.*s\"; the tokenizers of the family are BPE",
                       draft->name, SHOWN(type));
    draft->merges = json_object_get(model, "merges");
    if (!json_is_object(vocab) || !json_is_array(draft->merges))
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: the model has no \"vocab\" or no \"merges\"; download it again",
                       draft->name);
    PX_TRY(size_up(draft, vocab, added, error));
    PX_TRY(read_vocab(draft, vocab, error));
    PX_TRY(read_added(draft, added, vocab, error));
    PX_TRY(read_model_options(draft, model, error));
    PX_TRY(read_unk(draft, model, vocab, error));
    PX_TRY(px_draft_programs(draft, root, error));
    return px_draft_post(draft, json_object_get(root, "post_processor"), error);
}

phlox_status px_tokenizer_parse(phlox_text json, const char *name, px_tokenizer **out,
                                phlox_error *error)
{
    json_t *root = NULL;
    PX_TRY(px_json_parse(json, name, true, &root, error));
    px_draft draft = {.name = name};
    phlox_status status = read_all(&draft, root, error);
    if (status == PHLOX_OK) status = px_draft_build(&draft, out, error);
    free(draft.tokens);
    free(draft.added);
    px_buffer_free(&draft.text);
    json_decref(root);
    return status;
}
