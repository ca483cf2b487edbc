#include "checkpoint/gguf_tokenizer.h"

#include "text/table.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_TOKEN_BYTES = 1024, MOST_PROBES = 1024 };

/* tokenizer.ggml.token_type */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, BYTE = 6 };

/* The published pre-tokenizer expressions of microsoft/phi-4 and microsoft/Phi-4-mini-instruct, in
 * JSON, by their names in llama.cpp. */
static const struct words {
    const char *pre, *expression;
    bool ignore_merges;
} known_words[] = {
    {"dbrx",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"
     " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+",
     false},
    {"gpt-4o",
     "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*"
     "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
     "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+"
     "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
     "\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|"
     "\\\\s+(?!\\\\S)|\\\\s+",
     true},
};

/* A merge of two tokens to a third. */
struct merge {
    uint32_t left, right, result;
    float score; /* of the result */
};

struct vocabulary {
    const px_gguf *gguf;
    phlox_text *tokens; /* [count] */
    uint32_t count;
    uint8_t *types;              /* [count] */
    const px_gguf_value *scores; /* "llama" only */
    int64_t unknown, bos;        /* ids; -1: none */
    bool is_llama;
    uint32_t *slots, mask; /* hash of the model's tokens: id + 1 */
    px_buffer *out;
};

/* ---- writing ------------------------------------------------------------------------------- */

static phlox_status put_text(struct vocabulary *v, const char *text, phlox_error *error)
{
    return px_buffer_add(v->out, text, strlen(text), error);
}

static phlox_status put_number(struct vocabulary *v, int64_t number, phlox_error *error)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, number);
    return put_text(v, text, error);
}

/* A part of a JSON string; the text is UTF-8. */
static phlox_status put_escaped(struct vocabulary *v, phlox_text text, phlox_error *error)
{
    size_t done = 0;
    for (size_t i = 0; i < text.size; i++) {
        const unsigned char c = (unsigned char)text.data[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        char escape[8];
        snprintf(escape, sizeof escape, "\\u%04x", c);
        PX_TRY(px_buffer_add(v->out, text.data + done, i - done, error));
        PX_TRY(put_text(v, escape, error));
        done = i + 1;
    }
    return px_buffer_add(v->out, text.data + done, text.size - done, error);
}

static phlox_status put_string(struct vocabulary *v, phlox_text text, phlox_error *error)
{
    PX_TRY(put_text(v, "\"", error));
    PX_TRY(put_escaped(v, text, error));
    return put_text(v, "\"", error);
}

/* ---- the vocabulary ------------------------------------------------------------------------ */

/* Whether text can become this token; control tokens are only found by their names. */
static bool is_of_model(const struct vocabulary *v, uint32_t id)
{
    return v->types[id] == NORMAL || v->types[id] == BYTE || (int64_t)id == v->unknown;
}

static bool is_added(const struct vocabulary *v, uint32_t id)
{
    return v->types[id] == CONTROL || v->types[id] == USER_DEFINED || (int64_t)id == v->unknown;
}

static phlox_status fail_token(const struct vocabulary *v, uint32_t id, const char *what,
                               phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: tokenizer.ggml.tokens: token %" PRIu32 " %s; the file is damaged, download "
                   "it again", v->gguf->name, id, what);
}

/* The id of a token of the model, -1 when there is none. */
static int64_t find(const struct vocabulary *v, const char *text, size_t size)
{
    uint32_t slot = (uint32_t)px_hash_text(text, size) & v->mask;
    for (; v->slots[slot]; slot = (slot + 1) & v->mask) {
        const phlox_text token = v->tokens[v->slots[slot] - 1];
        if (token.size == size && memcmp(token.data, text, size) == 0) return v->slots[slot] - 1;
    }
    return -1;
}

static phlox_status enter(struct vocabulary *v, uint32_t id, phlox_error *error)
{
    const phlox_text token = v->tokens[id];
    uint32_t slot = (uint32_t)px_hash_text(token.data, token.size) & v->mask;
    for (int probe = 0; v->slots[slot]; slot = (slot + 1) & v->mask) {
        const phlox_text other = v->tokens[v->slots[slot] - 1];
        if (other.size == token.size && memcmp(other.data, token.data, token.size) == 0)
            return fail_token(v, id, "is there twice", error);
        if (++probe == MOST_PROBES)
            return fail_token(v, id, "was made to collide with others in a hash table", error);
    }
    v->slots[slot] = id + 1;
    return PHLOX_OK;
}

static phlox_status check_tokens(struct vocabulary *v, phlox_error *error)
{
    uint32_t slots = 2;
    while (slots < 2 * v->count) slots *= 2;
    v->slots = px_calloc(slots, sizeof *v->slots);
    if (!v->slots) return px_fail_memory(error, slots * sizeof *v->slots);
    v->mask = slots - 1;
    for (uint32_t id = 0; id < v->count; id++) {
        if (!is_of_model(v, id) && !is_added(v, id)) continue;
        const phlox_text token = v->tokens[id];
        if (token.size > MOST_TOKEN_BYTES)
            return fail_token(v, id, "is longer than 1024 bytes", error);
        if (memchr(token.data, 0, token.size) ||
            px_utf8_valid_prefix(token.data, token.size) != token.size)
            return fail_token(v, id, "is not UTF-8", error);
        if (is_of_model(v, id)) PX_TRY(enter(v, id, error));
    }
    return PHLOX_OK;
}

static phlox_status put_vocab(struct vocabulary *v, phlox_error *error)
{
    const char *before = "";
    PX_TRY(put_text(v, "\"vocab\":{", error));
    for (uint32_t id = 0; id < v->count; id++) {
        if (!is_of_model(v, id)) continue;
        PX_TRY(put_text(v, before, error));
        PX_TRY(put_string(v, v->tokens[id], error));
        PX_TRY(put_text(v, ":", error));
        PX_TRY(put_number(v, id, error));
        before = ",";
    }
    return put_text(v, "}", error);
}

/* ---- control tokens ------------------------------------------------------------------------ */

static bool is_named(phlox_text token, const char *name)
{
    return token.size == strlen(name) && memcmp(token.data, name, token.size) == 0;
}

static bool is_one_of(phlox_text token, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_named(token, names[i])) return true;
    return false;
}

static bool has_added(const struct vocabulary *v, const char *name)
{
    for (uint32_t id = 0; id < v->count; id++)
        if (is_added(v, id) && is_named(v->tokens[id], name)) return true;
    return false;
}

/* Which published tokenizer the names of the control tokens are of. */
struct habits {
    bool lstrip;
    bool is_vision;
};

/* Whether a control token takes the white space behind it with it: all do but these. */
static bool strips_behind(const struct habits *habits, phlox_text token)
{
    static const char *const plain[] = {"<unk>", "<s>", "<|endoftext|>", "<|endofprompt|>"};
    static const char *const vision[] = {"<|system|>", "<|user|>", "<|end|>"};
    if (habits->lstrip) return true;
    if (habits->is_vision && is_one_of(token, vision, PX_COUNT(vision))) return false;
    return !is_one_of(token, plain, PX_COUNT(plain));
}

static phlox_status put_added(struct vocabulary *v, phlox_error *error)
{
    /* Phi-4's tokens take the white space on both sides. Phi-3-vision, the only one with an image
     * token, has turns that keep it. */
    const struct habits habits = {.lstrip = !v->is_llama && has_added(v, "<|im_start|>"),
                                  .is_vision = v->is_llama && has_added(v, "<|image|>")};
    const char *before = "";
    PX_TRY(put_text(v, "\"added_tokens\":[", error));
    for (uint32_t id = 0; id < v->count; id++) {
        if (!is_added(v, id) || !v->tokens[id].size) continue;
        PX_TRY(put_text(v, before, error));
        PX_TRY(put_text(v, "{\"id\":", error));
        PX_TRY(put_number(v, id, error));
        PX_TRY(put_text(v, ",\"content\":", error));
        PX_TRY(put_string(v, v->tokens[id], error));
        PX_TRY(put_text(v, ",\"single_word\":false,\"normalized\":false", error));
        PX_TRY(put_text(v, habits.lstrip ? ",\"lstrip\":true" : ",\"lstrip\":false", error));
        PX_TRY(put_text(v, strips_behind(&habits, v->tokens[id]) ? ",\"rstrip\":true"
                                                                 : ",\"rstrip\":false", error));
        PX_TRY(put_text(v, v->types[id] == USER_DEFINED ? ",\"special\":false}"
                                                        : ",\"special\":true}", error));
        before = ",";
    }
    return put_text(v, "]", error);
}

/* ---- merges -------------------------------------------------------------------------------- */

static int by_rank(const void *left, const void *right)
{
    const struct merge *const a = left, *const b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->result != b->result) return a->result < b->result ? -1 : 1;
    if (a->left != b->left) return a->left < b->left ? -1 : 1;
    return (a->right > b->right) - (a->right < b->right);
}

/* Adds the ways to make a token of two. */
static phlox_status add_merges(struct vocabulary *v, uint32_t result, px_buffer *merges,
                               phlox_error *error)
{
    const phlox_text token = v->tokens[result];
    const float score = px_gguf_f32_at(v->scores, result);
    if (isnan(score)) return fail_token(v, result, "has a score that is not a number", error);
    for (size_t at = 1; at < token.size; at++) {
        if ((token.data[at] & 0xc0) == 0x80) continue; /* inside a character */
        const int64_t left = find(v, token.data, at);
        const int64_t right = left < 0 ? -1 : find(v, token.data + at, token.size - at);
        if (right < 0) continue;
        const struct merge merge = {(uint32_t)left, (uint32_t)right, result, score};
        PX_TRY(px_buffer_add(merges, &merge, sizeof merge, error));
    }
    return PHLOX_OK;
}

static phlox_status put_merges(struct vocabulary *v, const struct merge *merges, size_t count,
                               phlox_error *error)
{
    PX_TRY(put_text(v, ",\"merges\":[", error));
    for (size_t i = 0; i < count; i++) {
        PX_TRY(put_text(v, i ? ",[" : "[", error));
        PX_TRY(put_string(v, v->tokens[merges[i].left], error));
        PX_TRY(put_text(v, ",", error));
        PX_TRY(put_string(v, v->tokens[merges[i].right], error));
        PX_TRY(put_text(v, "]", error));
    }
    return put_text(v, "]", error);
}

static phlox_status put_merges_by_score(struct vocabulary *v, phlox_error *error)
{
    /* Phi-3 has two for each token. */
    const size_t most = (16 * (size_t)v->count + 4096) * sizeof(struct merge);
    px_buffer merges = {0};
    phlox_status status = PHLOX_OK;
    for (uint32_t id = 0; id < v->count && status == PHLOX_OK && merges.size <= most; id++)
        if (v->types[id] == NORMAL) status = add_merges(v, id, &merges, error);
    const size_t count = merges.size / sizeof(struct merge);
    if (status == PHLOX_OK && merges.size > most)
        status = px_fail(error, PHLOX_ERROR_FORMAT,
                         "%s: its tokens can be put together from others in more than %zu ways, which "
                         "those of no Phi-3 can", v->gguf->name, most / sizeof(struct merge));
    struct merge *const list = (struct merge *)(void *)merges.data;
    if (count) qsort(list, count, sizeof *list, by_rank);
    if (status == PHLOX_OK) status = put_merges(v, list, count, error);
    px_buffer_free(&merges);
    return status;
}

static phlox_status put_merges_of_file(struct vocabulary *v, phlox_error *error)
{
    const px_gguf_value *array;
    phlox_text *merges = NULL;
    PX_TRY(px_gguf_array(v->gguf, "tokenizer.ggml.merges", PX_GGUF_STRING, &array, error));
    if (!array)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: the key tokenizer.ggml.merges is missing; download the file again",
                       v->gguf->name);
    PX_TRY(px_gguf_strings(array, &merges, error));
    phlox_status status = put_text(v, ",\"merges\":[", error);
    for (uint64_t i = 0; i < array->count && status == PHLOX_OK; i++) {
        if (memchr(merges[i].data, 0, merges[i].size) ||
            px_utf8_valid_prefix(merges[i].data, merges[i].size) != merges[i].size)
            status = px_fail(error, PHLOX_ERROR_FORMAT,
                             "%s: tokenizer.ggml.merges: merge %" PRIu64 " is not UTF-8; download "
                             "the file again", v->gguf->name, i);
        if (status == PHLOX_OK && i) status = put_text(v, ",", error);
        if (status == PHLOX_OK) status = put_string(v, merges[i], error);
    }
    free(merges);
    return status == PHLOX_OK ? put_text(v, "]", error) : status;
}

/* ---- the two kinds ------------------------------------------------------------------------- */

static phlox_status put_post(struct vocabulary *v, bool absent, phlox_error *error)
{
    bool add_bos;
    PX_TRY(px_gguf_bool_or(v->gguf, "tokenizer.ggml.add_bos_token", absent, &add_bos, error));
    if (!add_bos || v->bos < 0 || !is_added(v, (uint32_t)v->bos)) return PHLOX_OK;
    PX_TRY(put_text(v, ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
                       "{\"SpecialToken\":{\"id\":\"bos\",\"type_id\":0}},"
                       "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":["
                       "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"
                       "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],"
                       "\"special_tokens\":{\"bos\":{\"id\":\"bos\",\"ids\":[", error));
    PX_TRY(put_number(v, v->bos, error));
    PX_TRY(put_text(v, "],\"tokens\":[", error));
    PX_TRY(put_string(v, v->tokens[v->bos], error));
    return put_text(v, "]}}}", error);
}

static phlox_status put_llama(struct vocabulary *v, phlox_error *error)
{
    bool prefix;
    PX_TRY(px_gguf_bool_or(v->gguf, "tokenizer.ggml.add_space_prefix", true, &prefix, error));
    PX_TRY(put_text(v, ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[", error));
    if (prefix) PX_TRY(put_text(v, "{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"},", error));
    PX_TRY(put_text(v, "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                       "\"content\":\"\\u2581\"}]},\"pre_tokenizer\":null", error));
    PX_TRY(put_post(v, true, error));
    PX_TRY(put_text(v, ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                       "\"pattern\":{\"String\":\"\\u2581\"},\"content\":\" \"},"
                       "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}", error));
    if (prefix)
        PX_TRY(put_text(v, ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}", error));
    PX_TRY(put_text(v, "]},\"model\":{\"type\":\"BPE\",\"fuse_unk\":true,"
                       "\"byte_fallback\":true,", error));
    if (v->unknown >= 0) {
        PX_TRY(put_text(v, "\"unk_token\":", error));
        PX_TRY(put_string(v, v->tokens[v->unknown], error));
        PX_TRY(put_text(v, ",", error));
    }
    PX_TRY(put_vocab(v, error));
    PX_TRY(put_merges_by_score(v, error));
    return put_text(v, "}", error);
}

/* Whether a text is what these letters stand for in JSON, where backslashes are doubled. */
static bool is_unescaped(const char *text, const char *escaped)
{
    for (; *escaped; escaped++, text++) {
        if (*escaped != *text) return false;
        if (*escaped == '\\') escaped++;
    }
    return !*text;
}

const char *px_gguf_pre_of(const char *expression)
{
    for (size_t i = 0; i < PX_COUNT(known_words) && expression; i++)
        if (is_unescaped(expression, known_words[i].expression)) return known_words[i].pre;
    return NULL;
}

static phlox_status put_gpt2(struct vocabulary *v, phlox_error *error)
{
    phlox_text pre;
    const struct words *words = NULL;
    PX_TRY(px_gguf_text_or(v->gguf, "tokenizer.ggml.pre", "default", &pre, error));
    for (size_t i = 0; i < PX_COUNT(known_words); i++)
        if (is_named(pre, known_words[i].pre)) words = &known_words[i];
    if (!words)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tokenizer.ggml.pre is %.*s; the family has dbrx (Phi-4) and gpt-4o "
                       "(Phi-4-mini)", v->gguf->name, (int)PX_MIN(pre.size, (size_t)40), pre.data);
    PX_TRY(put_text(v, ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
                       "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"invert\":false,"
                       "\"pattern\":{\"Regex\":\"", error));
    PX_TRY(put_text(v, words->expression, error));
    PX_TRY(put_text(v, "\"}},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                       "\"trim_offsets\":true,\"use_regex\":false}]}", error));
    PX_TRY(put_post(v, false, error));
    PX_TRY(put_text(v, ",\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                       "\"trim_offsets\":true,\"use_regex\":true},"
                       "\"model\":{\"type\":\"BPE\",\"ignore_merges\":", error));
    PX_TRY(put_text(v, words->ignore_merges ? "true," : "false,", error));
    PX_TRY(put_vocab(v, error));
    PX_TRY(put_merges_of_file(v, error));
    return put_text(v, "}", error);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* An array of the vocabulary beside the tokens. */
static phlox_status get_column(const struct vocabulary *v, const char *key, px_gguf_type items,
                               const px_gguf_value **out, phlox_error *error)
{
    PX_TRY(px_gguf_array(v->gguf, key, items, out, error));
    if (*out && (*out)->count == v->count) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: %s has %" PRIu64 " items for %" PRIu32 " tokens; the file is damaged, "
                   "download it again", v->gguf->name, key, *out ? (*out)->count : 0, v->count);
}

/* Some converters left "<|end|>" and the like among the words. */
static bool looks_like_control(phlox_text token)
{
    return token.size > 4 && memcmp(token.data, "<|", 2) == 0 &&
           memcmp(token.data + token.size - 2, "|>", 2) == 0;
}

static phlox_status read_columns(struct vocabulary *v, phlox_error *error)
{
    const px_gguf_value *types;
    PX_TRY(get_column(v, "tokenizer.ggml.token_type", PX_GGUF_I32, &types, error));
    if (v->is_llama) PX_TRY(get_column(v, "tokenizer.ggml.scores", PX_GGUF_F32, &v->scores, error));
    v->types = px_calloc(v->count, 1);
    if (!v->types) return px_fail_memory(error, v->count);
    for (uint32_t id = 0; id < v->count; id++) {
        const int32_t type = px_gguf_i32_at(types, id);
        v->types[id] = (uint8_t)(type >= 0 && type <= BYTE ? type : 0);
        if (type == NORMAL && looks_like_control(v->tokens[id])) v->types[id] = CONTROL;
    }
    const int64_t most = (int64_t)v->count - 1;
    /* Without the key SentencePiece's unknown token is its first. */
    PX_TRY(px_gguf_int_or(v->gguf, "tokenizer.ggml.unknown_token_id", 0, most,
                          v->is_llama ? 0 : -1, &v->unknown, error));
    if (!v->is_llama) v->unknown = -1;
    return px_gguf_int_or(v->gguf, "tokenizer.ggml.bos_token_id", 0, most, -1, &v->bos, error);
}

static phlox_status write_all(struct vocabulary *v, phlox_error *error)
{
    PX_TRY(read_columns(v, error));
    PX_TRY(check_tokens(v, error));
    PX_TRY(put_text(v, "{\"version\":\"1.0\",", error));
    PX_TRY(put_added(v, error));
    PX_TRY(v->is_llama ? put_llama(v, error) : put_gpt2(v, error));
    return put_text(v, "}", error);
}

phlox_status px_gguf_tokenizer(const px_gguf *gguf, int64_t vocab_size, px_buffer *out,
                               phlox_error *error)
{
    phlox_text model;
    const px_gguf_value *tokens;
    PX_TRY(px_gguf_text_or(gguf, "tokenizer.ggml.model", "none", &model, error));
    PX_TRY(px_gguf_array(gguf, "tokenizer.ggml.tokens", PX_GGUF_STRING, &tokens, error));
    if (is_named(model, "none") || is_named(model, "no_vocab")) return PHLOX_OK;
    const bool is_llama = is_named(model, "llama");
    if (!is_llama && !is_named(model, "gpt2"))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tokenizer.ggml.model is %.*s; the family has llama and gpt2", gguf->name,
                       (int)PX_MIN(model.size, (size_t)40), model.data);
    if (!tokens || !tokens->count || tokens->count > (uint64_t)vocab_size)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tokenizer.ggml.tokens has %" PRIu64 " tokens, token_embd.weight %" PRId64
                       " rows; the file is damaged, download it again", gguf->name,
                       tokens ? tokens->count : 0, vocab_size);
    struct vocabulary v = {.gguf = gguf, .count = (uint32_t)tokens->count, .is_llama = is_llama,
                           .out = out};
    phlox_status status = px_gguf_strings(tokens, &v.tokens, error);
    if (status == PHLOX_OK) status = write_all(&v, error);
    free(v.tokens);
    free(v.types);
    free(v.slots);
    return status;
}
