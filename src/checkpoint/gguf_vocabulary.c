#include "checkpoint/gguf_vocabulary.h"

#include "checkpoint/gguf_scores.h"
#include "checkpoint/gguf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what llama.cpp makes of it ------------------------------------------------------------ */

static bool is_exempt(const char *content)
{
    static const char *const names[] = {"<unk>", "<s>", "<|endoftext|>"};
    for (size_t i = 0; i < PX_COUNT(names); i++)
        if (strcmp(content, names[i]) == 0) return true;
    return false;
}

/* llama.cpp has the white space behind go with all control tokens but these, or with none: as what closes a
 * turn has it. */
static void find_strips(px_gguf_vocabulary *out)
{
    const px_vocabulary *const v = &out->read;
    static const char *const needed[] = {"<unk>", "<s>", "</s>", "<|endoftext|>"};
    bool any = false, all = true, odd = false;
    const int32_t end = px_vocabulary_id(v, "<|end|>");
    for (size_t i = 0; i < v->added_count; i++) {
        const px_added_token *const token = &v->added[i];
        const bool exempt = is_exempt(token->content);
        odd |= token->lstrip || (token->rstrip && exempt);
        any |= token->rstrip && !exempt;
        all &= token->rstrip || exempt;
        if (token->id == end) out->named_phi3 = token->rstrip;
    }
    if (end < 0) out->named_phi3 = any;
    out->named_phi3 &= strcmp(out->model, "llama") == 0;
    for (size_t i = 0; i < PX_COUNT(needed); i++)
        out->named_phi3 &= px_vocabulary_id(v, needed[i]) >= 0;
    if ((odd || any != out->named_phi3 || (any && !all)) && !out->deviation)
        out->deviation = "keeps white space beside some control tokens that take it along";
}

static const char *wanted_pattern(const px_vocabulary *v)
{
    const bool cuts = v->pattern_isolates != v->pattern_inverts;
    return cuts ? v->pattern : NULL;
}

static bool has_unlike_prefix(const px_vocabulary *v)
{
    return v->prepend != PX_PREPEND_ALL && v->prepend != PX_PREPEND_NONE;
}

/* "<0x0A>" */
static bool is_byte(const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    return strlen(text) == 6 && strncmp(text, "<0x", 3) == 0 && strchr(digits, text[3]) &&
           strchr(digits, text[4]) && text[5] == '>';
}

/* The type of each id. */
static uint8_t *types_of(const px_gguf_vocabulary *t, size_t count)
{
    const px_vocabulary *const v = &t->read;
    uint8_t *const types = px_calloc(count, 1);
    if (!types) return NULL;
    for (size_t id = 0; id < count; id++) {
        const char *const text = id < v->token_count ? v->tokens[id] : NULL;
        types[id] = !text                                ? PX_GGUF_TOKEN_UNUSED
                    : !v->byte_level && is_byte(text) ? PX_GGUF_TOKEN_BYTE
                                                         : PX_GGUF_TOKEN_NORMAL;
    }
    for (size_t i = 0; i < v->added_count; i++) {
        const char *const content = v->added[i].content;
        const size_t size = strlen(content);
        /* As the converter does for vocabularies of this kind. */
        const bool looks = v->byte_level && size > 4 && strncmp(content, "<|", 2) == 0 &&
                           strcmp(content + size - 2, "|>") == 0;
        types[v->added[i].id] = v->added[i].special || looks ? PX_GGUF_TOKEN_CONTROL
                                                             : PX_GGUF_TOKEN_USER_DEFINED;
    }
    return types;
}

static int64_t unknown_of(const px_vocabulary *v)
{
    const char *const text = json_string_value(json_object_get(v->model, "unk_token"));
    const json_t *const id = text ? json_object_get(json_object_get(v->model, "vocab"), text) : NULL;
    return json_is_integer(id) ? json_integer_value(id) : px_vocabulary_id(v, text);
}

static phlox_status score(px_gguf_vocabulary *out, size_t count, phlox_error *error)
{
    px_gguf_scores found = {0};
    uint8_t *const types = types_of(out, count);
    out->scores = px_calloc(count, sizeof *out->scores);
    const phlox_status status =
        types && out->scores ? px_gguf_score(&out->read, types, count, out->scores, &found, error)
                             : px_fail_memory(error, count * sizeof *out->scores);
    free(types);
    if (status == PHLOX_OK && (!found.ordered || found.listed != found.possible))
        out->deviation = "joins any two tokens that make a third one, where tokenizer.json lists fewer "
                         "merges";
    return status;
}

phlox_status px_gguf_vocabulary_read(const px_checkpoint *checkpoint, px_gguf_vocabulary *out,
                                     phlox_error *error)
{
    *out = (px_gguf_vocabulary){.checkpoint = checkpoint, .model = "no_vocab", .read = {.pad = -1}};
    if (!checkpoint->tokenizer_json.size) return PHLOX_OK;
    px_vocabulary *const v = &out->read;
    const size_t count = (size_t)checkpoint->desc.vocab_size;
    phlox_status status = px_vocabulary_read(checkpoint, v, error);
    if (status == PHLOX_ERROR_UNSUPPORTED || (status == PHLOX_OK && v->token_count > count)) {
        px_vocabulary_free(v);
        *v = (px_vocabulary){.pad = -1};
        out->deviation = "has no tokenizer of this kind";
        return PHLOX_OK;
    }
    if (status != PHLOX_OK) return status;
    out->pre = v->byte_level ? px_gguf_pre_of(wanted_pattern(v)) : "default";
    if (!out->pre) {
        out->deviation = "has no tokenizer that cuts words by this expression";
        return PHLOX_OK;
    }
    out->model = v->byte_level ? "gpt2" : "llama";
    if (!v->byte_level) status = score(out, count, error);
    if (status == PHLOX_OK && has_unlike_prefix(v) && !out->deviation)
        out->deviation = "puts a blank in front of every piece of a text";
    find_strips(out);
    return status;
}

void px_gguf_vocabulary_free(px_gguf_vocabulary *vocabulary)
{
    px_vocabulary_free(&vocabulary->read);
    free(vocabulary->scores);
}

/* ---- ids ----------------------------------------------------------------------------------- */

static void put_id(px_gguf_keys *keys, const char *key, int64_t id)
{
    if (id >= 0) px_gguf_put_u32(keys, key, (uint32_t)id);
}

/* The first end of a text is that of tokenizer_config.json, the second closes a turn. */
static void put_ends(px_gguf_keys *keys, const px_gguf_vocabulary *t)
{
    static const char *const names[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id"};
    static const char *const turns[] = {"<|end|>", "<|im_end|>"};
    const px_desc *const desc = &t->checkpoint->desc;
    int64_t ids[PX_MOST_EOS + 1 + PX_COUNT(turns)];
    size_t count = 0, used = 0;
    ids[count++] = px_vocabulary_named(&t->read, "eos_token");
    if (ids[0] < 0 && desc->eos_count) ids[0] = desc->eos_ids[0];
    for (size_t i = 0; i < PX_COUNT(turns); i++) {
        const int32_t id = px_vocabulary_id(&t->read, turns[i]);
        if (id >= 0 && px_desc_is_eos(desc, id)) ids[count++] = id;
    }
    for (size_t i = 0; i < desc->eos_count; i++) ids[count++] = desc->eos_ids[i];
    for (size_t i = 0; i < count && used < PX_COUNT(names); i++) {
        bool again = ids[i] < 0;
        for (size_t j = 0; j < i; j++) again |= ids[j] == ids[i];
        if (!again) put_id(keys, names[used++], ids[i]);
    }
}

/* Whether the post-processor puts the beginning-of-sequence token in front. */
static bool adds_bos(const px_vocabulary *v, int64_t bos)
{
    const json_t *processor = json_object_get(v->json, "post_processor");
    const json_t *const list = json_object_get(processor, "processors");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (px_json_is_type(json_array_get(list, i), "TemplateProcessing"))
            processor = json_array_get(list, i);
    if (!px_json_is_type(processor, "TemplateProcessing")) return false;
    const json_t *const first = json_array_get(json_object_get(processor, "single"), 0);
    const char *const name =
        json_string_value(json_object_get(json_object_get(first, "SpecialToken"), "id"));
    const json_t *const known = json_object_get(processor, "special_tokens");
    const json_t *const ids = json_object_get(name ? json_object_get(known, name) : NULL, "ids");
    const json_t *const id = json_array_get(ids, 0);
    return json_is_integer(id) && json_integer_value(id) == bos;
}

/* ---- keys ---------------------------------------------------------------------------------- */

static const px_added_token *added_of(const px_vocabulary *v, size_t id, size_t *next)
{
    while (*next < v->added_count && (size_t)v->added[*next].id < id) ++*next;
    return *next < v->added_count && (size_t)v->added[*next].id == id ? &v->added[*next] : NULL;
}

static void put_tokens(px_gguf_keys *keys, const px_gguf_vocabulary *t, size_t count)
{
    const px_vocabulary *const v = &t->read;
    size_t next = 0;
    px_gguf_put_array(keys, "tokenizer.ggml.tokens", PX_GGUF_STRING, count);
    for (size_t id = 0; id < count; id++) {
        const px_added_token *const added = added_of(v, id, &next);
        const char *const text = added ? added->content : id < v->token_count ? v->tokens[id] : NULL;
        char pad[32];
        if (!text) snprintf(pad, sizeof pad, "[PAD%zu]", id);
        px_gguf_add_text(keys, text ? text : pad, strlen(text ? text : pad));
    }
    uint8_t *const types = types_of(t, count);
    if (!types && keys->status == PHLOX_OK) keys->status = px_fail_memory(keys->error, count);
    const int64_t unknown = unknown_of(v);
    if (types && unknown >= 0 && unknown < (int64_t)count && types[unknown] == PX_GGUF_TOKEN_NORMAL)
        types[unknown] = PX_GGUF_TOKEN_UNKNOWN;
    px_gguf_put_array(keys, "tokenizer.ggml.token_type", PX_GGUF_I32, count);
    for (size_t id = 0; id < count && types; id++) px_gguf_add_u32(keys, types[id]);
    free(types);
}

static void put_scores(px_gguf_keys *keys, const px_gguf_vocabulary *t, size_t count)
{
    px_gguf_put_array(keys, "tokenizer.ggml.scores", PX_GGUF_F32, count);
    for (size_t id = 0; id < count; id++) px_gguf_add_f32(keys, t->scores[id]);
    put_id(keys, "tokenizer.ggml.unknown_token_id", unknown_of(&t->read));
    if (t->read.prepend == PX_PREPEND_NONE)
        px_gguf_put_bool(keys, "tokenizer.ggml.add_space_prefix", false);
}

/* "left right" */
static void put_merges(px_gguf_keys *keys, const px_vocabulary *v)
{
    px_gguf_put_array(keys, "tokenizer.ggml.merges", PX_GGUF_STRING, v->merge_count);
    px_buffer text = {0};
    for (size_t rank = 0; rank < v->merge_count && keys->status == PHLOX_OK; rank++) {
        px_merged merge;
        text.size = 0;
        keys->status = px_vocabulary_merge(v, rank, &merge, keys->error);
        const phlox_text parts[] = {merge.left, {" ", 1}, merge.right};
        for (size_t i = 0; i < PX_COUNT(parts) && keys->status == PHLOX_OK; i++)
            keys->status = px_buffer_add(&text, parts[i].data, parts[i].size, keys->error);
        px_gguf_add_text(keys, text.data, text.size);
    }
    px_buffer_free(&text);
}

void px_gguf_put_vocabulary(px_gguf_keys *keys, const px_gguf_vocabulary *t)
{
    const px_checkpoint *const checkpoint = t->checkpoint;
    const px_vocabulary *const v = &t->read;
    const size_t count = (size_t)checkpoint->desc.vocab_size;
    int64_t bos = px_vocabulary_id(v, checkpoint->bos_token);
    if (bos < 0) bos = checkpoint->desc.bos_id;
    px_gguf_put_word(keys, "tokenizer.ggml.model", t->model);
    if (strcmp(t->model, "no_vocab") != 0) {
        px_gguf_put_word(keys, "tokenizer.ggml.pre", t->pre);
        put_tokens(keys, t, count);
        if (t->scores) put_scores(keys, t, count);
        else put_merges(keys, v);
        px_gguf_put_bool(keys, "tokenizer.ggml.add_bos_token", adds_bos(v, bos));
    }
    put_id(keys, "tokenizer.ggml.bos_token_id", bos);
    put_ends(keys, t);
    put_id(keys, "tokenizer.ggml.padding_token_id", v->pad);
    if (checkpoint->chat_template.size)
        px_gguf_put_text(keys, "tokenizer.chat_template", checkpoint->chat_template);
    if (t->deviation)
        px_gguf_put_text(keys, "tokenizer.huggingface.json", checkpoint->tokenizer_json);
}
