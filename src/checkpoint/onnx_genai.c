#include "checkpoint/onnx_genai.h"

bool px_onnx_rotates_apart(const px_export *job)
{
    return job->words.provider == PHLOX_PROVIDER_DML ||
           job->checkpoint->desc.rotary_dim % 16 != 0;
}

/* pad_token_id of the source's config.json, else the first id that ends a text. */
static int64_t pad_id(const px_checkpoint *checkpoint)
{
    int64_t pad = checkpoint->desc.eos_count ? checkpoint->desc.eos_ids[0] : 0;
    json_t *config;
    if (px_checkpoint_json_beside(checkpoint, "config.json", &config, NULL) != PHLOX_OK) return pad;
    const json_t *const id = json_object_get(config, "pad_token_id");
    if (json_is_integer(id) && json_integer_value(id) >= 0 &&
        json_integer_value(id) < checkpoint->desc.vocab_size)
        pad = json_integer_value(id);
    json_decref(config);
    return pad;
}

static json_t *providers(phlox_provider provider)
{
    if (provider == PHLOX_PROVIDER_CUDA)
        return json_pack("[{s:{s:s}}]", "cuda", "enable_cuda_graph", "0");
    if (provider == PHLOX_PROVIDER_DML)
        return json_pack("[{s:{s:s}}]", "dml", "enable_graph_capture", "1");
    return json_array();
}

static json_t *decoder(const px_export *job, const char *model)
{
    const px_desc *const desc = &job->checkpoint->desc;
    json_t *const inputs = json_pack("{s:s, s:s, s:s, s:s}", "input_ids", "input_ids",
                                     "attention_mask", "attention_mask", "past_key_names",
                                     "past_key_values.%d.key", "past_value_names",
                                     "past_key_values.%d.value");
    if (px_onnx_rotates_apart(job))
        json_object_set_new(inputs, "position_ids", json_string("position_ids"));
    return json_pack("{s:{s:s, s:o}, s:s, s:i, s:i, s:o, s:{s:s, s:s, s:s}, s:i, s:i, s:i}",
                     "session_options", "log_id", "onnxruntime-genai", "provider_options",
                     providers(job->words.provider), "filename", model, "head_size",
                     desc->head_dim, "hidden_size", desc->hidden_size, "inputs", inputs, "outputs",
                     "logits", "logits", "present_key_names", "present.%d.key",
                     "present_value_names", "present.%d.value", "num_attention_heads",
                     desc->num_attention_heads, "num_hidden_layers", desc->num_hidden_layers,
                     "num_key_value_heads", desc->num_key_value_heads);
}

/* The runtime allocates keys and values of max_length tokens at once, 50 GB of float16 for Phi-3-mini-128k:
 * a program that says nothing gets a context of usual size, and may ask for more. */
enum { MAX_LENGTH = 4096 };

static json_t *search(const px_desc *desc)
{
    return json_pack("{s:f, s:b, s:b, s:f, s:i, s:i, s:i, s:i, s:i, s:b, s:f, s:f, s:i, s:f}",
                     "diversity_penalty", 0.0, "do_sample", (int)desc->do_sample, "early_stopping",
                     1, "length_penalty", 1.0, "max_length",
                     PX_MIN(desc->max_position, MAX_LENGTH), "min_length", 0,
                     "no_repeat_ngram_size", 0, "num_beams", 1, "num_return_sequences", 1,
                     "past_present_share_buffer", 1, "repetition_penalty",
                     desc->repetition_penalty, "temperature", desc->temperature, "top_k",
                     desc->top_k, "top_p", desc->top_p);
}

static json_t *eos_ids(const px_desc *desc)
{
    json_t *const ids = json_array();
    for (size_t i = 0; i < desc->eos_count; i++)
        json_array_append_new(ids, json_integer(desc->eos_ids[i]));
    return ids;
}

phlox_status px_onnx_write_genai(const px_export *job, const char *model, phlox_error *error)
{
    const px_desc *const desc = &job->checkpoint->desc;
    json_t *const json = json_pack(
        "{s:{s:i, s:o, s:o, s:I, s:s, s:i}, s:o}", "model", "context_length", desc->max_position,
        "decoder", decoder(job, model), "eos_token_id", eos_ids(desc), "pad_token_id",
        (json_int_t)pad_id(job->checkpoint), "type", "phi3", "vocab_size", desc->vocab_size,
        "search", search(desc));
    if (desc->bos_id >= 0)
        json_object_set_new(json_object_get(json, "model"), "bos_token_id",
                            json_integer(desc->bos_id));
    return px_export_write_json(job, "genai_config.json", json,
                                JSON_INDENT(4) | JSON_REAL_PRECISION(9), error);
}
