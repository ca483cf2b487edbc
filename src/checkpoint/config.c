#include "checkpoint/config.h"

#include "base/json.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SIZE = 1 << 20, MOST_VOCAB = 1 << 22, MOST_LAYERS = 1024, MOST_POSITION = 1 << 24 };

static phlox_status get_size(const json_t *config, const char *key, const char *name, int64_t most,
                             int32_t *out, phlox_error *error)
{
    int64_t value;
    PX_TRY(px_json_int(config, key, name, 1, most, &value, error));
    *out = (int32_t)value;
    return PHLOX_OK;
}

static phlox_status get_size_or(const json_t *config, const char *key, const char *name,
                                int64_t most, int32_t absent, int32_t *out, phlox_error *error)
{
    int64_t value;
    PX_TRY(px_json_int_or(config, key, name, 1, most, absent, &value, error));
    *out = (int32_t)value;
    return PHLOX_OK;
}

/* What would change the network and is not part of the family. */
static phlox_status check_architecture(const json_t *config, const char *name, phlox_error *error)
{
    const char *const type = json_string_value(json_object_get(config, "model_type"));
    if (!type || strcmp(type, "phi3") != 0)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: model_type is %s; phlox runs the Phi3ForCausalLM family, whose "
                       "model_type is phi3", name, type ? type : "missing");
    const json_t *const architecture =
        json_array_get(json_object_get(config, "architectures"), 0);
    if (architecture && strcmp(json_is_string(architecture) ? json_string_value(architecture) : "",
                               "Phi3ForCausalLM") != 0)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: architectures names %s; phlox runs Phi3ForCausalLM", name,
                       json_is_string(architecture) ? json_string_value(architecture) : "no text");
    const json_t *const activation = json_object_get(config, "hidden_act");
    if (activation && (!json_is_string(activation) ||
                       strcmp(json_string_value(activation), "silu") != 0))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: hidden_act is not silu", name);
    bool bias;
    PX_TRY(px_json_bool_or(config, "attention_bias", name, false, &bias, error));
    if (bias)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: attention_bias is true; the family has no biases", name);
    return PHLOX_OK;
}

static phlox_status get_factors(const json_t *rope, const char *key, const char *name,
                                int32_t count, float **out, phlox_error *error)
{
    const json_t *const array = json_object_get(rope, key);
    if (json_array_size(array) != (size_t)count)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: rope_scaling.%s has %zu numbers, the rotated part of a head needs %d",
                       name, key, json_array_size(array), count);
    float *const factors = px_calloc((size_t)count, sizeof *factors);
    if (!factors) return px_fail_memory(error, (size_t)count * sizeof *factors);
    *out = factors;
    for (int32_t i = 0; i < count; i++) {
        const json_t *const value = json_array_get(array, (size_t)i);
        if (!json_is_number(value))
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: rope_scaling.%s[%d] is not a finite number", name, key, i);
        factors[i] = (float)json_number_value(value);
    }
    return PHLOX_OK;
}

/* mscale of longrope: transformers' _compute_longrope_parameters. */
static float usual_rope_scale(const px_desc *desc)
{
    const double factor = (double)desc->max_position / desc->original_max_position;
    return factor <= 1 ? 1 : (float)sqrt(1 + log(factor) / log(desc->original_max_position));
}

static phlox_status get_rope_scale(const json_t *rope, const char *name, const px_desc *desc,
                                   float *out, phlox_error *error)
{
    double given;
    PX_TRY(px_json_real_or(rope, "attention_factor", name, 0, 1e6, -1, &given, error));
    *out = given >= 0 ? (float)given : usual_rope_scale(desc);
    return PHLOX_OK;
}

static phlox_status parse_rope(const json_t *config, const char *name, px_desc *desc,
                               phlox_error *error)
{
    const json_t *rope = json_object_get(config, "rope_scaling");
    const json_t *const parameters = json_object_get(config, "rope_parameters");
    if (json_is_object(parameters)) rope = parameters; /* since transformers 5 */
    if (rope && !json_is_null(rope) && !json_is_object(rope))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: rope_scaling is not an object", name);

    double theta, partial;
    PX_TRY(px_json_real_or(config, "rope_theta", name, 1, 1e12, 10000, &theta, error));
    PX_TRY(px_json_real_or(rope, "rope_theta", name, 1, 1e12, theta, &desc->rope_theta, error));
    PX_TRY(px_json_real_or(config, "partial_rotary_factor", name, 0, 1, 1, &partial, error));
    PX_TRY(px_json_real_or(rope, "partial_rotary_factor", name, 0, 1, partial, &partial, error));
    desc->rotary_dim = (int32_t)(desc->head_dim * partial);
    PX_TRY(get_size_or(config, "original_max_position_embeddings", name, MOST_POSITION,
                       desc->max_position, &desc->original_max_position, error));
    PX_TRY(get_size_or(rope, "original_max_position_embeddings", name, MOST_POSITION,
                       desc->original_max_position, &desc->original_max_position, error));
    desc->rope_scale = 1;

    const json_t *type = json_object_get(rope, "rope_type");
    if (!type) type = json_object_get(rope, "type");
    if (json_object_get(rope, "long_factor") && (!type || json_is_null(type)))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: rope_scaling has no rope_type", name);
    if (!type || json_is_null(type)) return PHLOX_OK;
    const char *const word = json_is_string(type) ? json_string_value(type) : "";
    if (strcmp(word, "default") == 0) return PHLOX_OK;
    /* "su" and "yarn" are what the first configurations called it. */
    if (strcmp(word, "longrope") != 0 && strcmp(word, "su") != 0 && strcmp(word, "yarn") != 0)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: rope_scaling type \"%s\"; the family uses longrope", name, word);
    desc->longrope = true;
    if (desc->original_max_position < 2)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: original_max_position_embeddings is %d; longrope needs 2 or more", name,
                       desc->original_max_position);
    const int32_t count = desc->rotary_dim / 2;
    PX_TRY(get_factors(rope, "short_factor", name, count, &desc->short_factor, error));
    PX_TRY(get_factors(rope, "long_factor", name, count, &desc->long_factor, error));
    return get_rope_scale(rope, name, desc, &desc->rope_scale, error);
}

/* An id or a list of ids; absent leaves the descriptor as it is. */
static phlox_status get_eos(const json_t *object, const char *name, px_desc *desc,
                            phlox_error *error)
{
    const json_t *const value = json_object_get(object, "eos_token_id");
    if (!value || json_is_null(value)) return PHLOX_OK;
    const size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count > PX_MOST_EOS)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: %zu eos_token_id, at most %d are possible",
                       name, count, PX_MOST_EOS);
    desc->eos_count = 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *const id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= desc->vocab_size)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: eos_token_id: entry %zu is not an id below vocab_size %d", name, i,
                           desc->vocab_size);
        desc->eos_ids[desc->eos_count++] = (int32_t)json_integer_value(id);
    }
    return PHLOX_OK;
}

static phlox_status parse_config(const json_t *config, const char *name, px_desc *desc,
                                 phlox_error *error)
{
    if (!json_is_object(config))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: not a JSON object", name);
    PX_TRY(check_architecture(config, name, error));
    PX_TRY(get_size(config, "vocab_size", name, MOST_VOCAB, &desc->vocab_size, error));
    PX_TRY(get_size(config, "hidden_size", name, MOST_SIZE, &desc->hidden_size, error));
    PX_TRY(get_size(config, "intermediate_size", name, MOST_SIZE, &desc->intermediate_size, error));
    PX_TRY(get_size(config, "num_hidden_layers", name, MOST_LAYERS, &desc->num_hidden_layers,
                    error));
    PX_TRY(get_size(config, "num_attention_heads", name, MOST_SIZE, &desc->num_attention_heads,
                    error));
    const int32_t heads = desc->num_attention_heads;
    PX_TRY(get_size_or(config, "num_key_value_heads", name, heads, heads,
                       &desc->num_key_value_heads, error));
    const bool has_head_dim = json_is_number(json_object_get(config, "head_dim"));
    if (!has_head_dim && desc->hidden_size % heads)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: hidden_size %d is not a multiple of num_attention_heads %d", name,
                       desc->hidden_size, heads);
    PX_TRY(get_size_or(config, "head_dim", name, 1 << 14, PX_MAX(desc->hidden_size / heads, 1),
                       &desc->head_dim, error));
    PX_TRY(get_size_or(config, "max_position_embeddings", name, MOST_POSITION, 4096,
                       &desc->max_position, error));
    int64_t window, bos;
    PX_TRY(px_json_int_or(config, "sliding_window", name, 1, INT32_MAX, 0, &window, error));
    desc->sliding_window = (int32_t)window;
    double epsilon;
    PX_TRY(px_json_real_or(config, "rms_norm_eps", name, 0, 1, 1e-5, &epsilon, error));
    desc->rms_norm_eps = (float)epsilon;
    PX_TRY(px_json_bool_or(config, "tie_word_embeddings", name, false, &desc->tied_embeddings,
                           error));
    PX_TRY(px_json_int_or(config, "bos_token_id", name, -1, desc->vocab_size - 1, -1, &bos, error));
    desc->bos_id = (int32_t)bos;
    PX_TRY(get_eos(config, name, desc, error));
    PX_TRY(parse_rope(config, name, desc, error));
    return px_desc_check(desc, name, error);
}

static phlox_status parse_generation(const json_t *config, const char *name, px_desc *desc,
                                     phlox_error *error)
{
    if (config && !json_is_object(config))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: not a JSON object", name);
    int64_t bos, top_k, tokens;
    PX_TRY(get_eos(config, name, desc, error));
    PX_TRY(px_json_int_or(config, "bos_token_id", name, -1, desc->vocab_size - 1, desc->bos_id,
                          &bos, error));
    desc->bos_id = (int32_t)bos;
    PX_TRY(px_json_bool_or(config, "do_sample", name, false, &desc->do_sample, error));
    PX_TRY(px_json_real_or(config, "temperature", name, 0, 1e6, 1, &desc->temperature, error));
    PX_TRY(px_json_int_or(config, "top_k", name, 0, INT32_MAX, 50, &top_k, error));
    desc->top_k = (int32_t)top_k;
    PX_TRY(px_json_real_or(config, "top_p", name, 0, 1, 1, &desc->top_p, error));
    PX_TRY(px_json_real_or(config, "min_p", name, 0, 1, 0, &desc->min_p, error));
    PX_TRY(px_json_real_or(config, "repetition_penalty", name, DBL_MIN, 1e6, 1,
                           &desc->repetition_penalty, error));
    PX_TRY(px_json_int_or(config, "max_new_tokens", name, 1, INT32_MAX, -1, &tokens, error));
    desc->max_new_tokens = (int32_t)tokens;
    return PHLOX_OK;
}

phlox_status px_config_parse(phlox_text config, const char *config_name, phlox_text generation,
                             const char *generation_name, px_desc *out, phlox_error *error)
{
    json_t *config_json = NULL, *generation_json = NULL;
    px_desc desc = {.bos_id = -1};
    phlox_status status = px_json_parse(config, config_name, false, &config_json, error);
    if (status == PHLOX_OK && generation.size)
        status = px_json_parse(generation, generation_name, false, &generation_json, error);
    if (status == PHLOX_OK) status = parse_config(config_json, config_name, &desc, error);
    if (status == PHLOX_OK)
        status = parse_generation(generation_json, generation_name, &desc, error);
    json_decref(config_json);
    json_decref(generation_json);
    if (status != PHLOX_OK) {
        px_desc_free(&desc);
        return status;
    }
    *out = desc;
    return PHLOX_OK;
}

/* ---- writing ------------------------------------------------------------------------------- */

static json_t *factors_of(const px_desc *desc, const float *factors)
{
    json_t *const array = json_array();
    for (int32_t i = 0; i < desc->rotary_dim / 2; i++)
        json_array_append_new(array, json_real((double)factors[i]));
    return array;
}

static json_t *rope_of(const px_desc *desc)
{
    if (!desc->longrope) return json_null();
    json_t *const rope = json_pack("{s:s, s:o, s:o}", "type", "longrope", "short_factor",
                                   factors_of(desc, desc->short_factor), "long_factor",
                                   factors_of(desc, desc->long_factor));
    /* transformers knows the usual one and refuses a dictionary with more than these three keys. */
    if (desc->rope_scale != usual_rope_scale(desc))
        json_object_set_new(rope, "attention_factor", json_real((double)desc->rope_scale));
    return rope;
}

static json_t *eos_of(const px_desc *desc)
{
    json_t *const array = json_array();
    for (size_t i = 0; i < desc->eos_count; i++)
        json_array_append_new(array, json_integer(desc->eos_ids[i]));
    return array;
}

/* Readers cut the product with head_dim to a whole number. */
static double partial_of(const px_desc *desc)
{
    const double exact = (double)desc->rotary_dim / desc->head_dim;
    return (int32_t)(desc->head_dim * exact) == desc->rotary_dim
               ? exact
               : (desc->rotary_dim + 0.5) / desc->head_dim;
}

phlox_status px_config_write(const px_desc *desc, px_buffer *out, phlox_error *error)
{
    json_t *const json = json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:o, s:b, s:s, s:o}",
        "architectures", "Phi3ForCausalLM", "model_type", "phi3", "vocab_size", desc->vocab_size,
        "hidden_size", desc->hidden_size, "intermediate_size", desc->intermediate_size,
        "num_hidden_layers", desc->num_hidden_layers, "num_attention_heads", desc->num_attention_heads,
        "num_key_value_heads", desc->num_key_value_heads, "head_dim", desc->head_dim,
        "max_position_embeddings", desc->max_position, "original_max_position_embeddings",
        desc->original_max_position, "partial_rotary_factor", partial_of(desc), "rope_theta",
        desc->rope_theta, "rms_norm_eps", (double)desc->rms_norm_eps, "rope_scaling", rope_of(desc),
        "tie_word_embeddings", (int)desc->tied_embeddings, "hidden_act", "silu", "eos_token_id",
        eos_of(desc));
    if (!json) return px_fail_memory(error, sizeof *desc);
    if (desc->sliding_window)
        json_object_set_new(json, "sliding_window", json_integer(desc->sliding_window));
    if (desc->bos_id >= 0) json_object_set_new(json, "bos_token_id", json_integer(desc->bos_id));
    json_object_set_new(json, "pad_token_id", json_null()); /* transformers has one beyond small vocabularies */
    char *const text = json_dumps(json, JSON_INDENT(2));
    json_decref(json);
    if (!text) return px_fail_memory(error, sizeof *desc);
    const phlox_status status = px_buffer_add(out, text, strlen(text), error);
    free(text);
    return status;
}
