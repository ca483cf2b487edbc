#include "checkpoint/gguf_metadata.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

uint32_t px_gguf_file_type(const char *encoding)
{
    static const struct {
        const char *name;
        uint32_t number;
    } types[] = {
        {"F32", 0},   {"F16", 1},   {"Q4_0", 2},  {"Q4_1", 3},  {"Q8_0", 7},  {"Q5_0", 8},    {"Q5_1", 9},
        {"Q2_K", 10}, {"Q3_K", 12}, {"Q4_K", 15}, {"Q5_K", 17}, {"Q6_K", 18}, {"IQ4_NL", 25}, {"BF16", 32},
    };
    for (size_t i = 0; i < PX_COUNT(types); i++)
        if (strcmp(types[i].name, encoding) == 0) return types[i].number;
    return 1024; /* guessed */
}

/* ---- the name ------------------------------------------------------------------------------ */

/* The last part of a path, without ".gguf". */
static phlox_text last_part(const char *path)
{
    static const char suffix[] = ".gguf";
    size_t end = strlen(path);
    while (end && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin && path[begin - 1] != '/') begin--;
    const size_t length = sizeof suffix - 1;
    if (end - begin > length && memcmp(path + end - length, suffix, length) == 0) end -= length;
    return (phlox_text){path + begin, end - begin};
}

/* What config.json remembers, or the name of the directory. */
static void name_of(const px_checkpoint *checkpoint, char *out, size_t size)
{
    phlox_text name = last_part(checkpoint->path);
    json_t *config;
    px_checkpoint_json_beside(checkpoint, "config.json", &config, NULL);
    const char *const remembered = json_string_value(json_object_get(config, "_name_or_path"));
    if (remembered && last_part(remembered).size) name = last_part(remembered);
    if (!name.size || name.data[0] == '.') name = (phlox_text){"phlox", 5};
    snprintf(out, size, "%.*s", (int)PX_MIN(name.size, size - 1), name.data);
    json_decref(config);
}

/* As llama.cpp looks for it. */
static bool is_phi3(const char *name)
{
    for (const char *at = name; *at; at++)
        if (strncasecmp(at, "phi-3", 5) == 0 || strncasecmp(at, "phi3", 4) == 0) return true;
    return false;
}

/* llama.cpp takes white space for a part of control tokens where the model is called Phi-3, and only there;
 * without the tokens that it looks for then it does not open the file. */
static void put_name(px_gguf_keys *keys, const px_export *job, const px_gguf_vocabulary *vocabulary)
{
    static const char prefix[] = "Phi-3 ";
    char text[sizeof prefix + 250];
    memcpy(text, prefix, sizeof prefix);
    name_of(job->checkpoint, text + sizeof prefix - 1, 250);
    const char *name = text + sizeof prefix - 1;
    const bool has_vocabulary = strcmp(vocabulary->model, "no_vocab") != 0;
    if (vocabulary->named_phi3 && !is_phi3(name)) name = text;
    else if (has_vocabulary && !vocabulary->named_phi3 && is_phi3(name)) name = "phlox";
    px_gguf_put_word(keys, "general.name", name);
}

/* ---- the network --------------------------------------------------------------------------- */

static void put_size(px_gguf_keys *keys, const char *key, int32_t value)
{
    px_gguf_put_u32(keys, key, (uint32_t)value);
}

static void put_network(px_gguf_keys *keys, const px_desc *desc)
{
    put_size(keys, "phi3.context_length", desc->max_position);
    put_size(keys, "phi3.rope.scaling.original_context_length",
             desc->longrope ? desc->original_max_position : desc->max_position);
    put_size(keys, "phi3.embedding_length", desc->hidden_size);
    put_size(keys, "phi3.feed_forward_length", desc->intermediate_size);
    put_size(keys, "phi3.block_count", desc->num_hidden_layers);
    put_size(keys, "phi3.attention.head_count", desc->num_attention_heads);
    put_size(keys, "phi3.attention.head_count_kv", desc->num_key_value_heads);
    px_gguf_put_f32(keys, "phi3.attention.layer_norm_rms_epsilon", desc->rms_norm_eps);
    put_size(keys, "phi3.rope.dimension_count", desc->rotary_dim);
    px_gguf_put_f32(keys, "phi3.rope.freq_base", (float)desc->rope_theta);
    put_size(keys, "phi3.attention.sliding_window", desc->sliding_window);
    put_size(keys, "phi3.vocab_size", desc->vocab_size);
    if (desc->longrope) px_gguf_put_f32(keys, "phi3.rope.scaling.attn_factor", desc->rope_scale);
}

/* What generation_config.json says of sampling. */
static void put_sampling(px_gguf_keys *keys, const px_desc *desc)
{
    if (!desc->do_sample) return;
    put_size(keys, "general.sampling.top_k", desc->top_k);
    px_gguf_put_f32(keys, "general.sampling.top_p", (float)desc->top_p);
    px_gguf_put_f32(keys, "general.sampling.min_p", (float)desc->min_p);
    px_gguf_put_f32(keys, "general.sampling.temp", (float)desc->temperature);
    px_gguf_put_f32(keys, "general.sampling.penalty_repeat", (float)desc->repetition_penalty);
}

void px_gguf_put_model(px_gguf_keys *keys, const px_export *job, const px_gguf_vocabulary *vocabulary,
                       uint32_t file_type)
{
    const px_desc *const desc = &job->checkpoint->desc;
    px_gguf_put_word(keys, "general.architecture", "phi3");
    px_gguf_put_word(keys, "general.type", "model");
    put_name(keys, job, vocabulary);
    put_sampling(keys, desc);
    put_network(keys, desc);
    px_gguf_put_u32(keys, "general.file_type", file_type);
    px_gguf_put_u32(keys, "general.quantization_version", 2);
}
