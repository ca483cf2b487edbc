#include "checkpoint/gguf_config.h"

#include "base/json.h"
#include "base/os.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SIZE = 1 << 20, MOST_LAYERS = 1024, MOST_POSITION = 1 << 24, MOST_HEAD = 1 << 14 };

/* A config.json being written. The first failure stays. */
struct config {
    const px_gguf *gguf;
    json_t *json;
    phlox_status status;
    phlox_error *error;
};

static void put(struct config *c, const char *key, json_t *value)
{
    if (json_object_set_new(c->json, key, value) != 0 && c->status == PHLOX_OK)
        c->status = px_fail_memory(c->error, sizeof key);
}

static int64_t copy_int(struct config *c, const char *from, int64_t most, const char *to)
{
    int64_t value = 1;
    if (c->status == PHLOX_OK)
        c->status = px_gguf_int(c->gguf, from, 1, most, &value, c->error);
    put(c, to, json_integer(value));
    return value;
}

static int64_t copy_int_or(struct config *c, const char *from, int64_t least, int64_t most,
                           int64_t absent, const char *to)
{
    int64_t value = absent;
    if (c->status == PHLOX_OK)
        c->status = px_gguf_int_or(c->gguf, from, least, most, absent, &value, c->error);
    if (to) put(c, to, json_integer(value));
    return value;
}

static double get_real_or(struct config *c, const char *from, double least, double most,
                          double absent)
{
    double value = absent;
    if (c->status == PHLOX_OK)
        c->status = px_gguf_real_or(c->gguf, from, least, most, absent, &value, c->error);
    return value;
}

/* The shortest decimal number that is this float. */
static double shortest_of(double value)
{
    char text[32];
    double shortest = value;
    for (int digits = 1; digits < 10; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (px_read_real(text, &shortest) && (float)shortest == (float)value) return shortest;
    }
    return value;
}

static void copy_sizes(struct config *c)
{
    copy_int(c, "phi3.embedding_length", MOST_SIZE, "hidden_size");
    copy_int(c, "phi3.feed_forward_length", MOST_SIZE, "intermediate_size");
    copy_int(c, "phi3.block_count", MOST_LAYERS, "num_hidden_layers");
    copy_int(c, "phi3.context_length", MOST_POSITION, "max_position_embeddings");
    const int64_t heads = copy_int(c, "phi3.attention.head_count", MOST_SIZE,
                                   "num_attention_heads");
    copy_int_or(c, "phi3.attention.head_count_kv", 1, heads, heads, "num_key_value_heads");
    const double epsilon =
        get_real_or(c, "phi3.attention.layer_norm_rms_epsilon", 0, 1, 1e-5);
    put(c, "rms_norm_eps", json_real(shortest_of(epsilon)));
}

static int64_t number_of(const struct config *c, const char *key)
{
    return json_integer_value(json_object_get(c->json, key));
}

/* Files from before the key was written rely on what their readers knew: the window of
 * Phi-3-mini-4k and Phi-3-medium-4k. */
static int64_t window_without_key(const struct config *c)
{
    const int64_t layers = number_of(c, "num_hidden_layers");
    const bool is_4k = number_of(c, "max_position_embeddings") == 4096;
    return is_4k && (layers == 32 || layers == 40) ? 2047 : 0;
}

static void copy_attention(struct config *c)
{
    const int64_t window = copy_int_or(c, "phi3.attention.sliding_window", 0, INT32_MAX,
                                       window_without_key(c), NULL);
    put(c, "sliding_window", window ? json_integer(window) : json_null());
    const int64_t heads = number_of(c, "num_attention_heads");
    const int64_t equal = PX_MAX(number_of(c, "hidden_size") / PX_MAX(heads, 1), 1);
    const int64_t head_dim =
        copy_int_or(c, "phi3.attention.key_length", 1, MOST_HEAD, equal, NULL);
    const int64_t value_dim =
        copy_int_or(c, "phi3.attention.value_length", 1, MOST_HEAD, head_dim, NULL);
    if (value_dim != head_dim && c->status == PHLOX_OK)
        c->status = px_fail(c->error, PHLOX_ERROR_UNSUPPORTED,
                            "%s: values of heads have another size than keys; the family's are "
                            "equal", c->gguf->name);
    if (px_gguf_find(c->gguf, "phi3.attention.key_length"))
        put(c, "head_dim", json_integer(head_dim));
    const int64_t rotated =
        copy_int_or(c, "phi3.rope.dimension_count", 2, head_dim, head_dim, NULL);
    /* Readers multiply and cut off what is behind the point. */
    double partial = (double)rotated / (double)head_dim;
    if ((int64_t)((double)head_dim * partial) < rotated) partial = nextafter(partial, 2);
    put(c, "partial_rotary_factor", json_real(partial));
    put(c, "rope_theta", json_real(get_real_or(c, "phi3.rope.freq_base", 1, 1e12, 10000)));
}

static json_t *factors(struct config *c, const px_gguf_tensor *tensor)
{
    if (c->status == PHLOX_OK &&
        (tensor->dims != 1 || strcmp(tensor->encoding->name, "F32") != 0))
        c->status = px_fail(c->error, PHLOX_ERROR_FORMAT,
                            "%s: tensor %s has %d dimensions and is %s; rotary factors are a row of "
                            "F32", c->gguf->name, tensor->name, tensor->dims,
                            tensor->encoding->name);
    json_t *const array = json_array();
    if (c->status != PHLOX_OK) return array;
    for (int64_t i = 0; i < PX_MIN(tensor->shape[0], (int64_t)MOST_HEAD); i++) {
        float value;
        memcpy(&value, tensor->data + 4 * i, sizeof value);
        /* json_real() refuses what is not finite; the reader of the array says so. */
        json_array_append_new(array, isfinite(value) ? json_real((double)value) : json_null());
    }
    return array;
}

static void copy_rope(struct config *c, const px_gguf_tensors *tensors)
{
    phlox_text type = {"none", 4};
    if (c->status == PHLOX_OK)
        c->status = px_gguf_text_or(c->gguf, "phi3.rope.scaling.type", "none", &type, c->error);
    const bool is_known = (type.size == 4 && memcmp(type.data, "none", 4) == 0) ||
                          (type.size == 8 && memcmp(type.data, "longrope", 8) == 0);
    if (!is_known && c->status == PHLOX_OK)
        c->status = px_fail(c->error, PHLOX_ERROR_UNSUPPORTED,
                            "%s: phi3.rope.scaling.type is %.*s; the family uses longrope",
                            c->gguf->name, (int)PX_MIN(type.size, (size_t)40), type.data);
    const int64_t context = number_of(c, "max_position_embeddings");
    const int64_t original = copy_int_or(c, "phi3.rope.scaling.original_context_length", 1,
                                         MOST_POSITION, context,
                                         "original_max_position_embeddings");
    put(c, "rope_scaling", json_null());
    if (!tensors->long_factors && original < context && c->status == PHLOX_OK)
        c->status = px_fail(c->error, PHLOX_ERROR_UNSUPPORTED,
                            "%s: its context is longer than the original one, but it has no "
                            "rope_factors_long.weight; take a file of a newer converter",
                            c->gguf->name);
    if (!tensors->long_factors) return;
    json_t *const scaling = json_object();
    put(c, "rope_scaling", scaling);
    json_object_set_new(scaling, "type", json_string("longrope"));
    json_object_set_new(scaling, "short_factor", factors(c, tensors->short_factors));
    json_object_set_new(scaling, "long_factor", factors(c, tensors->long_factors));
    const double ratio = (double)context / (double)original;
    const double usual =
        ratio > 1 && original > 1 ? sqrt(1 + log(ratio) / log((double)original)) : 1;
    const double given = get_real_or(c, "phi3.rope.scaling.attn_factor", 0, 1e6, usual);
    /* transformers knows the usual one and refuses a dictionary with more than these three keys. */
    if (fabs(given - usual) > 1e-6) json_object_set_new(scaling, "attention_factor", json_real(given));
}

static int64_t id_of(struct config *c, const char *key, int64_t vocab_size)
{
    return copy_int_or(c, key, 0, vocab_size - 1, -1, NULL);
}

/* What ends a text, a turn, a message. */
static json_t *ends_of(struct config *c, int64_t vocab_size)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    json_t *const ends = json_array();
    for (size_t i = 0; i < PX_COUNT(keys); i++) {
        const int64_t id = id_of(c, keys[i], vocab_size);
        bool is_new = id >= 0;
        for (size_t j = 0; j < json_array_size(ends); j++)
            is_new &= json_integer_value(json_array_get(ends, j)) != id;
        if (is_new) json_array_append_new(ends, json_integer(id));
    }
    return ends;
}

static void copy_ids(struct config *c, int64_t vocab_size)
{
    const int64_t bos = id_of(c, "tokenizer.ggml.bos_token_id", vocab_size);
    const int64_t pad = id_of(c, "tokenizer.ggml.padding_token_id", vocab_size);
    put(c, "bos_token_id", bos < 0 ? json_null() : json_integer(bos));
    put(c, "pad_token_id", pad < 0 ? json_null() : json_integer(pad));
    put(c, "eos_token_id", ends_of(c, vocab_size));
}

static phlox_status finish(struct config *c, px_buffer *out)
{
    char *const text = c->status == PHLOX_OK ? json_dumps(c->json, JSON_INDENT(2)) : NULL;
    if (text) c->status = px_buffer_add(out, text, strlen(text), c->error);
    else if (c->status == PHLOX_OK) c->status = px_fail_memory(c->error, sizeof *c);
    free(text);
    json_decref(c->json);
    return c->status;
}

phlox_status px_gguf_config(const px_gguf *gguf, const px_gguf_tensors *tensors, px_buffer *out,
                            phlox_error *error)
{
    struct config c = {.gguf = gguf, .json = json_object(), .error = error};
    if (!c.json) return px_fail_memory(error, sizeof c);
    put(&c, "architectures", json_pack("[s]", "Phi3ForCausalLM"));
    put(&c, "model_type", json_string("phi3"));
    put(&c, "hidden_act", json_string("silu"));
    put(&c, "vocab_size", json_integer(tensors->vocab_size));
    put(&c, "tie_word_embeddings", json_boolean(tensors->tied));
    copy_sizes(&c);
    copy_attention(&c);
    copy_rope(&c, tensors);
    copy_ids(&c, tensors->vocab_size);
    return finish(&c, out);
}

static void copy_sampling(struct config *c)
{
    static const struct {
        const char *key, *name;
        double least, most;
    } reals[] = {
        {"general.sampling.temp", "temperature", 0, 1e6},
        {"general.sampling.top_p", "top_p", 0, 1},
        {"general.sampling.min_p", "min_p", 0, 1},
        {"general.sampling.penalty_repeat", "repetition_penalty", DBL_MIN, 1e6},
    };
    bool samples = px_gguf_find(c->gguf, "general.sampling.top_k");
    if (samples) copy_int_or(c, "general.sampling.top_k", 0, INT32_MAX, 0, "top_k");
    for (size_t i = 0; i < PX_COUNT(reals); i++) {
        if (!px_gguf_find(c->gguf, reals[i].key)) continue;
        const double value = get_real_or(c, reals[i].key, reals[i].least, reals[i].most, 1);
        put(c, reals[i].name, json_real(shortest_of(value)));
        samples = true;
    }
    if (samples) put(c, "do_sample", json_true());
}

phlox_status px_gguf_generation(const px_gguf *gguf, int64_t vocab_size, px_buffer *out,
                                phlox_error *error)
{
    struct config c = {.gguf = gguf, .json = json_object(), .error = error};
    if (!c.json) return px_fail_memory(error, sizeof c);
    const int64_t bos = id_of(&c, "tokenizer.ggml.bos_token_id", vocab_size);
    json_t *const ends = ends_of(&c, vocab_size);
    if (bos >= 0) put(&c, "bos_token_id", json_integer(bos));
    if (json_array_size(ends)) put(&c, "eos_token_id", ends);
    else json_decref(ends);
    copy_sampling(&c);
    return finish(&c, out);
}
