#include "checkpoint/openvino_vocabulary.h"

#include "text/table.h"
#include "text/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ADDED = 1 << 16 };

phlox_status px_ov_fail_kind(const char *what, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "tokenizer.json: %s, which the tokenizers of the Phi-3 family do not have; export "
                   "a model without tokenizer.json, or remove that file from a copy", what);
}

bool px_ov_is_type(const json_t *object, const char *type)
{
    const char *const found = json_string_value(json_object_get(object, "type"));
    return found && strcmp(found, type) == 0;
}

/* Phi-4: a pattern splits the text, then bytes become letters. */
static phlox_status read_byte_level(px_ov_vocabulary *t, const json_t *steps, phlox_error *error)
{
    const json_t *const split = json_array_get(steps, 0), *const level = json_array_get(steps, 1);
    t->pattern = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    const char *const behaviour = json_string_value(json_object_get(split, "behavior"));
    if (json_array_size(steps) != 2 || !px_ov_is_type(split, "Split") || !px_ov_is_type(level, "ByteLevel") ||
        !t->pattern || !behaviour || json_is_true(json_object_get(level, "use_regex")) ||
        json_is_true(json_object_get(level, "add_prefix_space")))
        return px_ov_fail_kind("its pre_tokenizer is not a Split with a ByteLevel", error);
    t->byte_level = true;
    t->pattern_isolates = strcmp(behaviour, "Isolated") == 0;
    t->pattern_inverts = json_is_true(json_object_get(split, "invert"));
    if (!t->pattern_isolates && strcmp(behaviour, "Removed") != 0)
        return px_ov_fail_kind("its Split neither isolates nor removes", error);
    return PHLOX_OK;
}

static phlox_status read_kind(px_ov_vocabulary *t, phlox_error *error)
{
    const json_t *const before = json_object_get(t->json, "pre_tokenizer");
    const json_t *const normalizer = json_object_get(t->json, "normalizer");
    t->model = json_object_get(t->json, "model");
    if (!px_ov_is_type(t->model, "BPE")) return px_ov_fail_kind("its model is not BPE", error);
    if (px_ov_is_type(before, "Sequence") && !json_is_object(normalizer))
        return read_byte_level(t, json_object_get(before, "pretokenizers"), error);
    const bool metaspace = px_ov_is_type(before, "Metaspace") && !json_is_object(normalizer);
    const json_t *const steps = json_object_get(normalizer, "normalizers");
    const bool prepends = !json_is_object(before) && px_ov_is_type(normalizer, "Sequence") &&
                          json_array_size(steps) == 2 && px_ov_is_type(json_array_get(steps, 0), "Prepend") &&
                          px_ov_is_type(json_array_get(steps, 1), "Replace");
    const char *const scheme = json_string_value(json_object_get(before, "prepend_scheme"));
    if (!json_is_true(json_object_get(t->model, "byte_fallback")) || (!metaspace && !prepends) ||
        (metaspace && (!scheme || json_is_true(json_object_get(before, "split")))))
        return px_ov_fail_kind("it is neither that of Phi-3 nor that of Phi-4", error);
    t->prepend = prepends                        ? PX_OV_ALL
                 : strcmp(scheme, "first") == 0  ? PX_OV_FIRST_BUT_SPACED
                 : strcmp(scheme, "always") == 0 ? PX_OV_ALL_BUT_SPACED
                                                 : PX_OV_NONE;
    return PHLOX_OK;
}

static int compare_added(const void *a, const void *b)
{
    const px_ov_added *const one = a, *const other = b;
    return (one->id > other->id) - (one->id < other->id);
}

static phlox_status read_added(px_ov_vocabulary *t, phlox_error *error)
{
    const json_t *const list = json_object_get(t->json, "added_tokens");
    const size_t count = json_array_size(list);
    if (count > MOST_ADDED) return px_ov_fail_kind("it has too many added tokens", error);
    t->added = px_calloc(count + 1, sizeof *t->added);
    if (!t->added) return px_fail_memory(error, count * sizeof *t->added);
    for (; t->added_count < count; t->added_count++) {
        const json_t *const entry = json_array_get(list, t->added_count);
        const json_int_t id = json_integer_value(json_object_get(entry, "id"));
        px_ov_added *const token = &t->added[t->added_count];
        *token = (px_ov_added){
            .content = json_string_value(json_object_get(entry, "content")),
            .id = (int32_t)id,
            .lstrip = json_is_true(json_object_get(entry, "lstrip")),
            .rstrip = json_is_true(json_object_get(entry, "rstrip")),
            .special = json_is_true(json_object_get(entry, "special")),
        };
        if (!token->content || id < 0 || id >= PX_OV_MOST_TOKENS)
            return px_ov_fail_kind("one of its added tokens lacks content or id", error);
    }
    if (count) qsort(t->added, count, sizeof *t->added, compare_added);
    return PHLOX_OK;
}

static phlox_status strings_begin(px_ov_strings *strings, size_t count, phlox_error *error)
{
    strings->begins = px_calloc(count + 1, sizeof *strings->begins);
    strings->ends = px_calloc(count + 1, sizeof *strings->ends);
    if (!strings->begins || !strings->ends)
        return px_fail_memory(error, count * sizeof *strings->ends);
    return PHLOX_OK;
}

static phlox_status strings_add(px_ov_strings *strings, const char *data, size_t size,
                                phlox_error *error)
{
    if (strings->bytes.size + size > INT32_MAX) return px_ov_fail_kind("it is too large", error);
    strings->begins[strings->count] = (int32_t)strings->bytes.size;
    PX_TRY(px_buffer_add(&strings->bytes, data, size, error));
    strings->ends[strings->count++] = (int32_t)strings->bytes.size;
    return PHLOX_OK;
}

static void strings_free(px_ov_strings *strings)
{
    px_buffer_free(&strings->bytes);
    free(strings->begins);
    free(strings->ends);
}

/* A token's text as bytes; *size is its length in and out. Never longer than it was. */
static phlox_status plain_bytes(const px_ov_vocabulary *t, const char *text, size_t *size, char *out,
                                phlox_error *error)
{
    if (!t->byte_level) {
        memcpy(out, text, *size);
        return PHLOX_OK;
    }
    size_t used = 0;
    for (size_t at = 0; at < *size;) {
        const int byte = px_char_to_byte(px_utf8_next(text, &at));
        if (byte < 0) return px_ov_fail_kind("a token has a letter that stands for no byte", error);
        out[used++] = (char)byte;
    }
    *size = used;
    return PHLOX_OK;
}

static phlox_status add_plain(const px_ov_vocabulary *t, px_ov_strings *strings, const char *text,
                              size_t size, phlox_error *error)
{
    char *const bytes = malloc(size + 1);
    if (!bytes) return px_fail_memory(error, size);
    phlox_status status = plain_bytes(t, text, &size, bytes, error);
    if (status == PHLOX_OK) status = strings_add(strings, bytes, size, error);
    free(bytes);
    return status;
}

/* The vocabulary by id: that of the model, and added tokens as they are written. */
static phlox_status read_vocab(px_ov_vocabulary *t, phlox_error *error)
{
    json_t *const vocab = json_object_get(t->model, "vocab");
    size_t count = 0;
    const char *text;
    json_t *value;
    json_object_foreach(vocab, text, value)
    {
        const json_int_t id = json_integer_value(value);
        if (id >= (json_int_t)count && id < PX_OV_MOST_TOKENS) count = (size_t)id + 1;
    }
    if (t->added_count) count = PX_MAX(count, (size_t)t->added[t->added_count - 1].id + 1);
    if (!count || count > PX_OV_MOST_TOKENS) return px_ov_fail_kind("its vocabulary is of an odd size", error);
    const char **const texts = px_calloc(count, sizeof *texts);
    if (!texts) return px_fail_memory(error, count * sizeof *texts);
    phlox_status status = strings_begin(&t->vocab, count, error);
    json_object_foreach(vocab, text, value)
    {
        const json_int_t id = json_integer_value(value);
        if (id >= 0 && (size_t)id < count) texts[id] = text;
    }
    size_t next = 0;
    for (size_t id = 0; id < count && status == PHLOX_OK; id++) {
        while (next < t->added_count && (size_t)t->added[next].id < id) next++;
        const bool is_added = next < t->added_count && (size_t)t->added[next].id == id;
        const char *const token = is_added ? t->added[next].content : texts[id] ? texts[id] : "";
        status = is_added ? strings_add(&t->vocab, token, strlen(token), error)
                          : add_plain(t, &t->vocab, token, strlen(token), error);
    }
    free(texts);
    return status;
}

/* A merge is a pair, or "left right". */
static phlox_status read_merges(px_ov_vocabulary *t, phlox_error *error)
{
    const json_t *const merges = json_object_get(t->model, "merges");
    const size_t count = json_array_size(merges);
    if (count > PX_OV_MOST_TOKENS) return px_ov_fail_kind("it has too many merges", error);
    PX_TRY(strings_begin(&t->left, count, error));
    PX_TRY(strings_begin(&t->right, count, error));
    for (size_t i = 0; i < count; i++) {
        const json_t *const merge = json_array_get(merges, i);
        const char *left = json_string_value(merge), *right = left ? strchr(left, ' ') : NULL;
        size_t size = right ? (size_t)(right - left) : 0;
        if (right) right++;
        if (json_is_array(merge)) {
            left = json_string_value(json_array_get(merge, 0));
            right = json_string_value(json_array_get(merge, 1));
            size = left ? strlen(left) : 0;
        }
        if (!left || !right) return px_ov_fail_kind("a merge is not a pair", error);
        PX_TRY(add_plain(t, &t->left, left, size, error));
        PX_TRY(add_plain(t, &t->right, right, strlen(right), error));
    }
    PX_TRY(strings_begin(&t->added_strings, t->added_count, error));
    for (size_t i = 0; i < t->added_count; i++)
        PX_TRY(strings_add(&t->added_strings, t->added[i].content, strlen(t->added[i].content), error));
    return PHLOX_OK;
}

int32_t px_ov_id(const px_ov_vocabulary *t, const char *content)
{
    for (size_t i = 0; i < t->added_count && content; i++)
        if (strcmp(t->added[i].content, content) == 0) return t->added[i].id;
    return -1;
}

/* ---- the added tokens as a pattern --------------------------------------------------------- */

/* Longer tokens first where one begins like another: by content, the greatest first. */
static int compare_contents(const void *a, const void *b)
{
    const px_ov_added *const x = *(const px_ov_added *const *)a;
    const px_ov_added *const y = *(const px_ov_added *const *)b;
    return -strcmp(x->content, y->content);
}

phlox_status px_ov_added_pattern(const px_ov_vocabulary *t, px_buffer *out, phlox_error *error)
{
    const px_ov_added **const order = px_calloc(t->added_count + 1, sizeof *order);
    if (!order) return px_fail_memory(error, t->added_count * sizeof *order);
    for (size_t i = 0; i < t->added_count; i++) order[i] = &t->added[i];
    if (t->added_count) qsort(order, t->added_count, sizeof *order, compare_contents);
    phlox_status status = PHLOX_OK;
    for (int kind = 0; kind < 4 && status == PHLOX_OK; kind++) {
        bool any = false;
        for (size_t i = 0; i < t->added_count && status == PHLOX_OK; i++) {
            if (order[i]->lstrip != (kind & 2) / 2 || order[i]->rstrip != (kind & 1)) continue;
            char before[32];
            snprintf(before, sizeof before, "%s%s", any || !out->size ? "" : "|",
                     any ? "|" : kind & 2 ? "(?:\\s*)(" : "(");
            status = px_buffer_add(out, before, strlen(before), error);
            for (const char *c = order[i]->content; *c && status == PHLOX_OK; c++) {
                if (*c > ' ' && *c < 127 && !isalnum((unsigned char)*c)) status = px_buffer_add(out, "\\", 1, error);
                if (status == PHLOX_OK) status = px_buffer_add(out, c, 1, error);
            }
            any = true;
        }
        const char *const after = kind & 1 ? ")(?:\\s*)" : ")";
        if (any && status == PHLOX_OK) status = px_buffer_add(out, after, strlen(after), error);
    }
    free(order);
    return status == PHLOX_OK ? px_buffer_add(out, "", 1, error) : status;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static phlox_status parse_beside(const px_checkpoint *checkpoint, const char *name, json_t **out,
                                 phlox_error *error)
{
    for (size_t i = 0; i < checkpoint->beside_count; i++)
        if (strcmp(checkpoint->beside[i].name, name) == 0)
            return px_json_parse(checkpoint->beside[i].bytes, name, false, out, error);
    return PHLOX_OK;
}

phlox_status px_ov_vocabulary_read(const px_checkpoint *checkpoint, px_ov_vocabulary *out,
                                   phlox_error *error)
{
    *out = (px_ov_vocabulary){.pad = -1};
    PX_TRY(px_json_parse(checkpoint->tokenizer_json, "tokenizer.json", false, &out->json, error));
    PX_TRY(parse_beside(checkpoint, "tokenizer_config.json", &out->config, error));
    PX_TRY(read_kind(out, error));
    PX_TRY(read_added(out, error));
    PX_TRY(read_vocab(out, error));
    PX_TRY(read_merges(out, error));
    const json_t *const pad = json_object_get(out->config, "pad_token");
    out->pad = px_ov_id(out, json_string_value(json_is_object(pad) ? json_object_get(pad, "content") : pad));
    return PHLOX_OK;
}

void px_ov_vocabulary_free(px_ov_vocabulary *vocabulary)
{
    strings_free(&vocabulary->vocab);
    strings_free(&vocabulary->left);
    strings_free(&vocabulary->right);
    strings_free(&vocabulary->added_strings);
    free(vocabulary->added);
    json_decref(vocabulary->json);
    json_decref(vocabulary->config);
}
