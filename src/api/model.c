#include "api/model.h"

#include "api/builtin.h"
#include "api/devices.h"
#include "base/cores.h"

#include <phlox/devices.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *px_cache_directory(const char *given)
{
    return given ? px_strdup(given, strlen(given)) : px_cache_home();
}

phlox_text phlox_text_of(const char *string)
{
    return (phlox_text){string, string ? strlen(string) : 0};
}

void phlox_model_options_init(phlox_model_options *options)
{
    *options = (phlox_model_options){.struct_size = sizeof *options};
}

phlox_status px_check_options(const phlox_model_options *o, phlox_error *error)
{
    if (o->struct_size != sizeof *o)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "phlox_model_options was not set up by phlox_model_options_init()");
    if (o->threads < 0 || o->threads > 1024)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "threads is %d; 1 to 1024 are meant, 0 for one a core", o->threads);
    if (o->context_size < 0)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "context-size is %d; a positive number is meant, 0 for the model's own",
                       o->context_size);
    if (o->kv_cache < PHLOX_KV_DEFAULT || o->kv_cache > PHLOX_KV_INT4)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "kv-cache is %d, which is no phlox_kv_cache",
                       (int)o->kv_cache);
    if (o->prefer < PHLOX_PREFER_DEFAULT || o->prefer > PHLOX_PREFER_QUIET)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "prefer is %d, which is no phlox_preference",
                       (int)o->prefer);
    if (o->ov_config_count > PHLOX_MOST_SETTINGS || o->ort_config_count > PHLOX_MOST_SETTINGS)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "ov_config and ort_config hold %d settings",
                       PHLOX_MOST_SETTINGS);
    if (o->max_prompt_len < 0 || o->max_prompt_len > 1 << 20 || o->min_response_len < 0 ||
        o->min_response_len > 1 << 20)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "max-prompt-len and min-response-len are %d and %d; up to %d are meant, 0 for the default",
                       o->max_prompt_len, o->min_response_len, 1 << 20);
    if (o->huge_pages < PHLOX_HUGE_AUTO || o->huge_pages > PHLOX_HUGE_OFF)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "huge-pages is %d, which is no phlox_huge_pages",
                       (int)o->huge_pages);
    return PHLOX_OK;
}

/* ---- tokenizer and chat format ------------------------------------------------------------- */

/* Packs a tokenizer that was just parsed, for the next start. A cache that cannot be written only
 * costs time, so failures are not errors. */
static void cache_tokenizer(const px_tokenizer *tokenizer, const char *directory, uint64_t limit,
                            const px_cache_key *key)
{
    px_buffer packed = {0};
    px_cache_section section = {.name = "tokenizer"};
    px_cache_writer *writer = NULL;
    if (px_tokenizer_pack(tokenizer, &packed, NULL) == PHLOX_OK) {
        section.size = packed.size;
        if (px_cache_create(directory, limit, key, &section, 1, &writer, NULL) == PHLOX_OK) {
            if (px_cache_write(writer, 0, 0, packed.data, packed.size, NULL) == PHLOX_OK)
                px_cache_commit(writer, NULL);
            else
                px_cache_abandon(writer);
        }
    }
    px_buffer_free(&packed);
}

static phlox_status open_cached_tokenizer(phlox_model *model, const char *directory,
                                          const px_cache_key *key)
{
    px_cache_file *const file = px_calloc(1, sizeof *file);
    if (!file) return PHLOX_ERROR_MEMORY;
    phlox_status status = px_cache_open(directory, key, NULL, NULL, file, NULL);
    if (status == PHLOX_OK && file->count == 1)
        status = px_tokenizer_unpack(px_cache_data(file, 0), file->sections[0].size,
                                     &model->tokenizer, NULL);
    if (status == PHLOX_OK && model->tokenizer) {
        model->tokenizer_file = file;
        return PHLOX_OK;
    }
    px_cache_close(file);
    free(file);
    return PHLOX_ERROR_NOT_FOUND;
}

static phlox_status open_tokenizer(phlox_model *model, const phlox_model_options *options,
                                   const char *cache_dir, phlox_error *error)
{
    const px_checkpoint *const checkpoint = model->checkpoint;
    const phlox_text json = checkpoint->tokenizer_json;
    if (!json.size) return PHLOX_OK;
    char name[1024], state[64];
    snprintf(name, sizeof name, "%s/tokenizer.json", model->path);
    snprintf(state, sizeof state, "%zu bytes, checksum %016" PRIx64, json.size,
             px_checksum(json.data, json.size, 0));
    char *const source = px_real_path(model->path);
    if (!source) return px_fail_memory(error, strlen(model->path));
    const px_cache_key key = {"tokenizer", source, state, "tokenizer 1"};
    phlox_status status =
        cache_dir ? open_cached_tokenizer(model, cache_dir, &key) : PHLOX_ERROR_NOT_FOUND;
    if (status != PHLOX_OK) {
        status = px_tokenizer_parse(json, name, &model->tokenizer, error);
        if (status == PHLOX_OK && cache_dir)
            cache_tokenizer(model->tokenizer, cache_dir, options->cache_limit, &key);
    }
    free(source);
    return status;
}

static phlox_status choose_chat_format(phlox_model *model, const char *name, phlox_error *error)
{
    if (name) {
        model->chat_format = px_chat_format_by_name(name);
        if (model->chat_format) return PHLOX_OK;
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "chat-format %s is not one of phlox's; phlox help run lists them", name);
    }
    if (!model->checkpoint->chat_template.size) {
        px_fail(&model->chat_error, PHLOX_ERROR_UNSUPPORTED,
                "%s: the model has no chat template; choose one with --chat-format or give a "
                "formatted prompt with --raw", model->path);
        return PHLOX_OK;
    }
    /* A template that is none of the family's only matters to those who chat. */
    const phlox_status status = px_chat_format_recognise(model->checkpoint->chat_template,
                                                         &model->chat_format, &model->chat_error);
    px_error_prefix(&model->chat_error, status, "%s", model->path);
    return PHLOX_OK;
}

/* The ids of generation_config, and the tokens that close a turn or a text: some published
 * configurations name only one of them, and generation would run past the end of the answer. */
static phlox_status collect_eos(phlox_model *model, phlox_error *error)
{
    const px_desc *const desc = &model->checkpoint->desc;
    PX_TRY(px_ids_add(&model->eos, desc->eos_ids, desc->eos_count, error));
    if (!model->tokenizer) return PHLOX_OK;
    static const char *const ending[] = {"<|end|>", "<|im_end|>", "<|endoftext|>"};
    for (size_t i = 0; i < PX_COUNT(ending); i++) {
        const int32_t id = px_tokenizer_control_id(model->tokenizer, ending[i]);
        if (id >= 0 && id < desc->vocab_size && !px_desc_is_eos(desc, id))
            PX_TRY(px_ids_add(&model->eos, &id, 1, error));
    }
    return PHLOX_OK;
}

static phlox_status open_text(phlox_model *model, const phlox_model_options *options,
                              const char *cache_dir, phlox_error *error)
{
    const px_desc *const desc = &model->checkpoint->desc;
    PX_TRY(open_tokenizer(model, options, cache_dir, error));
    model->bos = desc->bos_id;
    if (model->tokenizer) {
        const int32_t size = px_tokenizer_size(model->tokenizer);
        if (size > desc->vocab_size)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s/tokenizer.json has ids up to %d, config.json's vocab_size is %d: "
                           "they do not belong together", model->path, size - 1, desc->vocab_size);
        if (model->checkpoint->bos_token) {
            const int32_t id =
                px_tokenizer_control_id(model->tokenizer, model->checkpoint->bos_token);
            if (id >= 0) model->bos = id;
        }
    }
    PX_TRY(choose_chat_format(model, options->chat_format, error));
    return collect_eos(model, error);
}

/* ---- opening and closing ------------------------------------------------------------------- */

/* A runtime that hangs in its drivers must not hang phlox. */
static phlox_status list_patiently(const px_device *device, const phlox_model_options *user, px_units *out,
                                   phlox_error *error)
{
    px_runtime_seen *const seen = px_calloc(1, sizeof *seen);
    if (!seen) return px_fail_memory(error, sizeof *seen);
    px_runtime_ask(device, user, 30, seen);
    const phlox_status status = seen->status;
    *out = seen->units;
    if (status != PHLOX_OK) px_fail(error, status, "%s", seen->message);
    free(seen);
    return status;
}

static bool is_on_battery(void)
{
    phlox_power power;
    phlox_power_state(NULL, &power);
    return power.source == PHLOX_POWER_BATTERY;
}

px_choosing px_choosing_of(const phlox_model_options *options, const char *cache_dir)
{
    return (px_choosing){.user = options, .cache_dir = cache_dir, .version = phlox_version(),
                         .on_battery = is_on_battery,
                         .open_known = px_builtin_open_known, .list = list_patiently};
}

static phlox_status choose_device(phlox_model *model, const phlox_model_options *options,
                                  const char *cache_dir, phlox_error *error)
{
    if (options->device && strcmp(options->device, "auto") != 0) {
        snprintf(model->choice.reason, sizeof model->choice.reason, "asked for");
        PX_TRY(px_device_by_name(options->device, &model->choice.device, model->choice.unit,
                                 sizeof model->choice.unit, error));
        return px_device_check_settings(model->choice.device, options->device, options, error);
    }
    px_choosing choosing = px_choosing_of(options, cache_dir);
    choosing.only_kept = options->no_cache;
    return px_choose(&choosing, model->checkpoint, &model->choice, error);
}

/* Tokens that a session may have: what was asked for, else what model and device can. */
static phlox_status choose_context(const phlox_model *model, const phlox_model_options *options,
                                   size_t *out, phlox_error *error)
{
    const size_t most = (size_t)model->checkpoint->desc.max_position;
    const size_t of_device = model->device_info.most_context;
    *out = options->context_size ? (size_t)options->context_size : most;
    if (!of_device || *out <= of_device) return PHLOX_OK;
    if (options->context_size)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "context-size is %d, %s has room for %zu tokens; ask for less, or for programs of other "
                       "sizes (--max-prompt-len, --min-response-len)",
                       options->context_size, model->device_name, of_device);
    *out = of_device;
    return PHLOX_OK;
}

static phlox_status open_device(phlox_model *model, const phlox_model_options *options,
                                const char *cache_dir, phlox_error *error)
{
    const px_device *const device = model->choice.device;
    phlox_model_options with = *options;
    if (options->prefer == PHLOX_PREFER_QUIET && !options->threads)
        with.threads = PX_MAX(px_core_count() / 2, 1);
    const px_device_options device_options = {&with, cache_dir, model->choice.unit};
    px_device_unit_name(device, model->choice.unit, model->device_name, sizeof model->device_name);
    if (options->describe_only)
        return device->estimate(model->checkpoint, &device_options, &model->device_info, error);
    PX_TRY(device->open(model->checkpoint, &device_options, &model->device_model, error));
    device->info(model->device_model, &model->device_info);
    return PHLOX_OK;
}

static phlox_status open_parts(phlox_model *model, const char *path,
                               const phlox_model_options *options, const char *directory,
                               phlox_error *error)
{
    const char *const cache_dir = options->no_cache ? NULL : directory;
    PX_TRY(px_builtin_open_or(path ? model->path : NULL, &model->checkpoint, error));
    px_checkpoint_describe(model->checkpoint, model->stored, sizeof model->stored);
    const px_desc *const desc = &model->checkpoint->desc;
    if (options->context_size > desc->max_position)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "context-size is %d, the model was made for at most %d tokens",
                       options->context_size, desc->max_position);
    PX_TRY(open_text(model, options, path ? cache_dir : NULL, error));
    PX_TRY(choose_device(model, options, directory, error));
    PX_TRY(open_device(model, options, cache_dir, error));
    size_t context;
    PX_TRY(choose_context(model, options, &context, error));
    model->runtime = (px_runtime){
        .desc = desc,
        .device = model->choice.device,
        .model = model->device_model,
        .tokenizer = model->tokenizer,
        .eos = &model->eos,
        .context_size = context,
        .most_tokens = model->device_info.most_tokens,
        .no_drafts = model->device_info.last_logits_only,
        .step_costs = &model->step_costs,
    };
    return PHLOX_OK;
}

phlox_status phlox_model_open(const char *path, const phlox_model_options *options,
                              phlox_model **out, phlox_error *error)
{
    const double start = px_seconds();
    phlox_model_options chosen;
    if (options) chosen = *options;
    else phlox_model_options_init(&chosen);
    PX_TRY(px_check_options(&chosen, error));
    if (!chosen.cache_limit) chosen.cache_limit = PX_CACHE_LIMIT;
    phlox_model *model = px_calloc(1, sizeof *model);
    const char *const name = path ? path : "built-in model";
    if (model) model->path = px_strdup(name, strlen(name));
    if (!model || !model->path) {
        phlox_model_close(&model);
        return px_fail_memory(error, sizeof *model);
    }
    char *const directory = px_cache_directory(chosen.cache_dir);
    const phlox_status status = open_parts(model, path, &chosen, directory, error);
    free(directory);
    if (status != PHLOX_OK) {
        phlox_model_close(&model);
        return status;
    }
    model->load_seconds = px_seconds() - start;
    *out = model;
    return PHLOX_OK;
}

void phlox_model_close(phlox_model **model)
{
    phlox_model *const closed = model ? *model : NULL;
    if (!closed) return;
    *model = NULL;
    if (closed->device_model) closed->choice.device->close(closed->device_model);
    px_tokenizer_free(closed->tokenizer);
    if (closed->tokenizer_file) px_cache_close(closed->tokenizer_file);
    free(closed->tokenizer_file);
    px_ids_free(&closed->eos);
    px_checkpoint_close(&closed->checkpoint);
    free(closed->path);
    free(closed);
}

void phlox_model_get_info(const phlox_model *model, phlox_model_info *info)
{
    const px_checkpoint *const checkpoint = model->checkpoint;
    const px_desc *const desc = &checkpoint->desc;
    *info = (phlox_model_info){
        .form = checkpoint->form,
        .path = checkpoint->path,
        .device = model->device_name,
        .device_name = model->device_info.name,
        .device_reason = model->choice.reason,
        .kernels = model->device_info.kernels,
        .weights = model->device_info.weights,
        .stored = model->stored,
        .chat_format = model->chat_format ? px_chat_format_name(model->chat_format) : "",
        .architecture = "Phi3ForCausalLM",
        .parameters = px_desc_parameters(desc),
        .stored_bytes = checkpoint->stored_bytes,
        .weight_bytes = model->device_info.weight_bytes,
        .kv_bytes_per_token = model->device_info.kv_bytes_per_token,
        .step_weight_bytes = model->device_info.step_weight_bytes,
        .step_tokens = (int32_t)model->device_info.most_tokens,
        .vocab_size = desc->vocab_size,
        .hidden_size = desc->hidden_size,
        .intermediate_size = desc->intermediate_size,
        .num_hidden_layers = desc->num_hidden_layers,
        .num_attention_heads = desc->num_attention_heads,
        .num_key_value_heads = desc->num_key_value_heads,
        .head_dim = desc->head_dim,
        .rotary_dim = desc->rotary_dim,
        .sliding_window = desc->sliding_window,
        .context_size = (int32_t)model->runtime.context_size,
        .original_context_size = desc->original_max_position,
        .rope_theta = desc->rope_theta,
        .rms_norm_eps = (double)desc->rms_norm_eps,
        .longrope = desc->longrope,
        .tied_embeddings = desc->tied_embeddings,
        .has_tokenizer = model->tokenizer != NULL,
        .eos_ids = model->eos.data,
        .eos_count = model->eos.count,
        .bos_id = model->bos,
        .threads = model->device_info.threads,
        .load_seconds = model->load_seconds,
        .from_cache = model->device_info.from_cache,
    };
}
