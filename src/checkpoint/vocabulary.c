#include "checkpoint/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ADDED = 1 << 16 };

phlox_status px_vocabulary_fail_kind(const char *what, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "tokenizer.json: %s, which the tokenizers of the Phi-3 family do not have; export "
                   "a model without tokenizer.json, or remove that file from a copy", what);
}

bool px_json_is_type(const json_t *object, const char *type)
{
    const char *const found = json_string_value(json_object_get(object, "type"));
    return found && strcmp(found, type) == 0;
}

/* Phi-4: a pattern splits the text, then bytes become letters. */
static phlox_status read_byte_level(px_vocabulary *t, const json_t *steps, phlox_error *error)
{
    const json_t *const split = json_array_get(steps, 0), *const level = json_array_get(steps, 1);
    t->pattern = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    const char *const behaviour = json_string_value(json_object_get(split, "behavior"));
    if (json_array_size(steps) != 2 || !px_json_is_type(split, "Split") || !px_json_is_type(level, "ByteLevel") ||
        !t->pattern || !behaviour || json_is_true(json_object_get(level, "use_regex")) ||
        json_is_true(json_object_get(level, "add_prefix_space")))
        return px_vocabulary_fail_kind("its pre_tokenizer is not a Split with a ByteLevel", error);
    t->byte_level = true;
    t->pattern_isolates = strcmp(behaviour, "Isolated") == 0;
    t->pattern_inverts = json_is_true(json_object_get(split, "invert"));
    if (!t->pattern_isolates && strcmp(behaviour, "Removed") != 0)
        return px_vocabulary_fail_kind("its Split neither isolates nor removes", error);
    return PHLOX_OK;
}

static phlox_status read_kind(px_vocabulary *t, phlox_error *error)
{
    const json_t *const before = json_object_get(t->json, "pre_tokenizer");
    const json_t *const normalizer = json_object_get(t->json, "normalizer");
    t->model = json_object_get(t->json, "model");
    if (!px_json_is_type(t->model, "BPE")) return px_vocabulary_fail_kind("its model is not BPE", error);
    if (px_json_is_type(before, "Sequence") && !json_is_object(normalizer))
        return read_byte_level(t, json_object_get(before, "pretokenizers"), error);
    const bool metaspace = px_json_is_type(before, "Metaspace") && !json_is_object(normalizer);
    const json_t *const steps = json_object_get(normalizer, "normalizers");
    const bool prepends = !json_is_object(before) && px_json_is_type(normalizer, "Sequence") &&
                          json_array_size(steps) == 2 && px_json_is_type(json_array_get(steps, 0), "Prepend") &&
                          px_json_is_type(json_array_get(steps, 1), "Replace");
    const char *const scheme = json_string_value(json_object_get(before, "prepend_scheme"));
    if (!json_is_true(json_object_get(t->model, "byte_fallback")) || (!metaspace && !prepends) ||
        (metaspace && (!scheme || json_is_true(json_object_get(before, "split")))))
        return px_vocabulary_fail_kind("it is neither that of Phi-3 nor that of Phi-4", error);
    t->prepend = prepends                        ? PX_PREPEND_ALL
                 : strcmp(scheme, "first") == 0  ? PX_PREPEND_FIRST_BUT_SPACED
                 : strcmp(scheme, "always") == 0 ? PX_PREPEND_ALL_BUT_SPACED
                                                 : PX_PREPEND_NONE;
    return PHLOX_OK;
}

static int compare_added(const void *a, const void *b)
{
    const px_added_token *const one = a, *const other = b;
    return (one->id > other->id) - (one->id < other->id);
}

static phlox_status read_added(px_vocabulary *t, phlox_error *error)
{
    const json_t *const list = json_object_get(t->json, "added_tokens");
    const size_t count = json_array_size(list);
    if (count > MOST_ADDED) return px_vocabulary_fail_kind("it has too many added tokens", error);
    t->added = px_calloc(count + 1, sizeof *t->added);
    if (!t->added) return px_fail_memory(error, count * sizeof *t->added);
    for (; t->added_count < count; t->added_count++) {
        const json_t *const entry = json_array_get(list, t->added_count);
        const json_int_t id = json_integer_value(json_object_get(entry, "id"));
        px_added_token *const token = &t->added[t->added_count];
        *token = (px_added_token){
            .content = json_string_value(json_object_get(entry, "content")),
            .id = (int32_t)id,
            .lstrip = json_is_true(json_object_get(entry, "lstrip")),
            .rstrip = json_is_true(json_object_get(entry, "rstrip")),
            .special = json_is_true(json_object_get(entry, "special")),
        };
        if (!token->content || id < 0 || id >= PX_MOST_TOKENS)
            return px_vocabulary_fail_kind("one of its added tokens lacks content or id", error);
    }
    if (count) qsort(t->added, count, sizeof *t->added, compare_added);
    return PHLOX_OK;
}

/* The vocabulary by id: that of the model; what added tokens are called there does not matter. */
static phlox_status read_tokens(px_vocabulary *t, phlox_error *error)
{
    json_t *const vocab = json_object_get(t->model, "vocab");
    size_t count = 0;
    const char *text;
    json_t *value;
    json_object_foreach(vocab, text, value)
    {
        const json_int_t id = json_integer_value(value);
        if (id >= (json_int_t)count && id < PX_MOST_TOKENS) count = (size_t)id + 1;
    }
    if (t->added_count) count = PX_MAX(count, (size_t)t->added[t->added_count - 1].id + 1);
    if (!count || count > PX_MOST_TOKENS)
        return px_vocabulary_fail_kind("its vocabulary is of an odd size", error);
    t->tokens = px_calloc(count, sizeof *t->tokens);
    if (!t->tokens) return px_fail_memory(error, count * sizeof *t->tokens);
    t->token_count = count;
    json_object_foreach(vocab, text, value)
    {
        const json_int_t id = json_integer_value(value);
        if (id >= 0 && (size_t)id < count) t->tokens[id] = text;
    }
    t->merge_count = json_array_size(json_object_get(t->model, "merges"));
    if (t->merge_count > PX_MOST_TOKENS)
        return px_vocabulary_fail_kind("it has too many merges", error);
    return PHLOX_OK;
}

/* A merge is a pair, or "left right". */
phlox_status px_vocabulary_merge(const px_vocabulary *t, size_t rank, px_merged *out,
                                 phlox_error *error)
{
    const json_t *const merge = json_array_get(json_object_get(t->model, "merges"), rank);
    const char *left = json_string_value(merge), *right = left ? strchr(left, ' ') : NULL;
    size_t size = right ? (size_t)(right - left) : 0;
    if (right) right++;
    if (json_is_array(merge)) {
        left = json_string_value(json_array_get(merge, 0));
        right = json_string_value(json_array_get(merge, 1));
        size = left ? strlen(left) : 0;
    }
    if (!left || !right) return px_vocabulary_fail_kind("a merge is not a pair", error);
    *out = (px_merged){{left, size}, {right, strlen(right)}};
    return PHLOX_OK;
}

int32_t px_vocabulary_id(const px_vocabulary *t, const char *content)
{
    for (size_t i = 0; i < t->added_count && content; i++)
        if (strcmp(t->added[i].content, content) == 0) return t->added[i].id;
    return -1;
}

int32_t px_vocabulary_named(const px_vocabulary *t, const char *key)
{
    const json_t *const token = json_object_get(t->config, key);
    return px_vocabulary_id(
        t, json_string_value(json_is_object(token) ? json_object_get(token, "content") : token));
}

/* ---- all of it ----------------------------------------------------------------------------- */

phlox_status px_vocabulary_read(const px_checkpoint *checkpoint, px_vocabulary *out,
                                phlox_error *error)
{
    *out = (px_vocabulary){.pad = -1};
    PX_TRY(px_json_parse(checkpoint->tokenizer_json, "tokenizer.json", false, &out->json, error));
    PX_TRY(px_checkpoint_json_beside(checkpoint, "tokenizer_config.json", &out->config, error));
    PX_TRY(read_kind(out, error));
    PX_TRY(read_added(out, error));
    PX_TRY(read_tokens(out, error));
    out->pad = px_vocabulary_named(out, "pad_token");
    return PHLOX_OK;
}

void px_vocabulary_free(px_vocabulary *vocabulary)
{
    free(vocabulary->tokens);
    free(vocabulary->added);
    json_decref(vocabulary->json);
    json_decref(vocabulary->config);
}
