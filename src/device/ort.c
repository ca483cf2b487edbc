#include "device/ort.h"

#include "base/cores.h"
#include "device/ort_model.h"
#include "engine/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROMPT_TOKENS = 256,    /* of a call: more gain little, and delay progress and cancellation */
    LEAST_CAPACITY = 1024,  /* tokens that a generator is made for at least, ... */
    CHEAP_CACHE = 1 << 30,  /* ... and those whose keys and values take so many bytes */
    EXACT_LEVEL = 1         /* of MatMulNBits: float32 */
};

/* ---- configuration ------------------------------------------------------------------------- */

static phlox_status read_eos(px_device_model *model, const json_t *config, phlox_error *error)
{
    const json_t *const id = json_object_get(config, "eos_token_id");
    const size_t count = json_is_array(id) ? json_array_size(id) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *const one = json_is_array(id) ? json_array_get(id, i) : id;
        if (!json_is_integer(one)) continue;
        const int32_t value = (int32_t)json_integer_value(one);
        PX_TRY(px_ids_add(&model->eos, &value, 1, error));
    }
    model->lacks_eos = !model->eos.count;
    return model->lacks_eos ? px_ids_add(&model->eos, &(int32_t){0}, 1, error) : PHLOX_OK;
}

static phlox_status read_config(px_device_model *model, const char *path, phlox_error *error)
{
    px_map map;
    PX_TRY(px_map_open(path, &map, error));
    json_t *json = NULL;
    phlox_status status =
        px_json_parse((phlox_text){(const char *)map.data, map.size}, path, false, &json, error);
    px_map_close(&map);
    PX_TRY(status);
    const json_t *const config = json_object_get(json, "model");
    const json_t *const outputs = json_object_get(json_object_get(config, "decoder"), "outputs");
    const char *const logits = json_string_value(json_object_get(outputs, "logits"));
    int64_t length = 0;
    status = px_json_int(config, "context_length", path, 1, INT32_MAX, &length, error);
    if (status == PHLOX_OK)
        status = px_json_bool_or(json_object_get(json, "search"), "past_present_share_buffer", path, true,
                                 &model->shares_buffer, error);
    if (status == PHLOX_OK) status = read_eos(model, config, error);
    model->context_length = (size_t)length;
    snprintf(model->logits, sizeof model->logits, "%s", logits ? logits : "logits");
    json_decref(json);
    return status;
}

/* The session's own options: phlox's, then those of the user. */
static json_t *session_options(const px_device_model *model, const phlox_model_options *user)
{
    json_t *const options = json_pack("{s:i, s:i}", "intra_op_num_threads", (int)model->info.threads,
                                      "log_severity_level", 4);
    /* A provider that reports no type of its own must not leave the network to the CPU. */
    if (!model->provider.device_type)
        json_object_set_new(options, "session.disable_cpu_ep_fallback", json_string("1"));
    for (size_t i = 0; i < user->ort_config_count; i++) {
        char key[256];
        const char *value;
        if (px_ort_setting(user->ort_config[i], key, sizeof key, &value) && px_ort_is_of_session(key))
            json_object_set_new(options, key, json_string(value));
    }
    return options;
}

/* What is laid over genai_config.json. The runtime masks tokens that have the id for padding. */
static char *overlay(const px_device_model *model, const phlox_model_options *user)
{
    json_t *const json =
        json_pack("{s:{s:i, s:{s:o}}}", "model", "pad_token_id", -1, "decoder", "session_options",
                  session_options(model, user));
    /* without one it would take that id in its place, and refuse it */
    if (model->lacks_eos) json_object_set_new(json_object_get(json, "model"), "eos_token_id", json_integer(0));
    char *const text = json_dumps(json, 0);
    json_decref(json);
    return text;
}

static phlox_status configure(px_device_model *model, OgaConfig *config, const phlox_model_options *user,
                              phlox_error *error)
{
    char *const text = overlay(model, user);
    if (!text) return px_fail_memory(error, 256);
    const phlox_status status = px_ort_check(&model->api, model->api.OgaConfigOverlay(config, text),
                                             "ONNX Runtime GenAI's configuration", error);
    free(text);
    PX_TRY(status);
    return px_ort_provider_set(&model->api, config, &model->provider, user, error);
}

/* ---- opening ------------------------------------------------------------------------------- */

static phlox_status create_model(px_device_model *model, const char *directory, const phlox_model_options *user,
                                 phlox_error *error)
{
    const px_ort_api *const api = &model->api;
    OgaConfig *config = NULL;
    PX_TRY(px_ort_check(api, api->OgaCreateConfig(directory, &config), directory, error));
    phlox_status status = configure(model, config, user, error);
    if (status == PHLOX_OK) {
        status = px_ort_check(api, api->OgaCreateModelFromConfig(config, &model->model), model->device, error);
        px_error_advise(error, status, model->provider.advice);
    }
    api->OgaDestroyConfig(config);
    return status;
}

/* Weights as the graph has them, and what keys and values of a token are: still a number of elements. */
static phlox_status describe(const px_checkpoint *checkpoint, const phlox_model_options *user,
                             px_device_info *out, phlox_error *error)
{
    const px_desc *const desc = &checkpoint->desc;
    px_plan plan;
    PX_TRY(px_plan_make(checkpoint, user, NULL, &plan, error));
    out->weight_bytes = px_plan_bytes(&plan);
    out->step_weight_bytes = px_plan_step_bytes(&plan);
    out->kv_bytes_per_token = (uint64_t)2 * (uint64_t)desc->num_hidden_layers *
                              (uint64_t)desc->num_key_value_heads * (uint64_t)desc->head_dim;
    snprintf(out->weights, sizeof out->weights, "%s", plan.summary);
    px_plan_free(&plan);
    out->threads = user->threads ? user->threads : px_core_count();
    out->most_tokens = PROMPT_TOKENS;
    return PHLOX_OK;
}

static void name_unit(px_device_model *model)
{
    px_device_info *const info = &model->info;
    const char *const version = model->api.place.version;
    snprintf(info->kernels, sizeof info->kernels, "ONNX Runtime GenAI%s%.40s", version[0] ? " " : "", version);
    px_units units;
    px_ort_provider_list(&model->api, "", &units);
    for (size_t i = 0; i < units.count; i++)
        if (strcmp(units.units[i].unit, model->provider.name) == 0)
            snprintf(info->name, sizeof info->name, "%s", units.units[i].name);
}

static phlox_status make_choice(px_device_model *model, phlox_error *error)
{
    const px_ort_api *const api = &model->api;
    if (model->continues || !api->OgaCreateTensorFromBuffer || !api->OgaGenerator_SetLogits ||
        !api->OgaGenerator_GenerateNextToken || !api->OgaGenerator_GetNextTokens)
        return PHLOX_OK;
    const size_t vocab = (size_t)model->checkpoint->desc.vocab_size;
    model->choice = px_calloc(vocab, sizeof *model->choice);
    return model->choice ? PHLOX_OK : px_fail_memory(error, vocab * sizeof *model->choice);
}

/* DirectML's attention has no sliding window, so that texts longer than it are not for it. */
static bool lacks_window(const px_desc *desc, const px_ort_provider *provider, size_t length)
{
    const size_t window = (size_t)desc->sliding_window;
    return provider->graph == PHLOX_PROVIDER_DML && window && window < length;
}

/* Tokens of a sequence, of a graph that was made for `length`. */
static size_t most_context(const px_desc *desc, const px_ort_provider *provider, const phlox_model_options *user,
                           size_t length)
{
    const size_t most = lacks_window(desc, provider, length) ? (size_t)desc->sliding_window : length;
    return user->context_size ? PX_MIN(most, (size_t)user->context_size) : most;
}

/* A context that the user asks for is made at once. */
static void set_capacity(px_device_model *model, const phlox_model_options *user)
{
    const px_desc *const desc = &model->checkpoint->desc;
    const size_t asked = (size_t)user->context_size;
    const size_t cheap = (size_t)(CHEAP_CACHE / PX_MAX(model->info.kv_bytes_per_token, 1));
    model->lacks_window = lacks_window(desc, &model->provider, model->context_length);
    model->context_length = most_context(desc, &model->provider, user, model->context_length);
    model->least_capacity = asked ? asked : PX_MAX(LEAST_CAPACITY, cheap);
    model->info.most_context = model->context_length;
}

static phlox_status open_directory(px_device_model *model, const char *directory,
                                   const phlox_model_options *user, phlox_error *error)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/genai_config.json", directory);
    PX_TRY(read_config(model, path, error));
    PX_TRY(create_model(model, directory, user, error));
    PX_TRY(px_ort_provider_check(&model->api, model->model, &model->provider, error));
    const uint64_t numbers = model->info.kv_bytes_per_token;
    PX_TRY(px_ort_probe(model, error));
    PX_TRY(px_ort_check_options(user, model->device, (size_t)(model->info.kv_bytes_per_token / numbers), error));
    PX_TRY(make_choice(model, error));
    set_capacity(model, user);
    return PHLOX_OK;
}

/* The graph of the provider: with --exact one whose integer products are computed in float32, and which is not
 * the one that a directory for ONNX Runtime brings. */
static phlox_export_options words_of(const px_checkpoint *checkpoint, const phlox_model_options *user,
                                     const px_ort_provider *provider)
{
    phlox_export_options words;
    phlox_export_options_init(&words);
    words.provider = provider->graph;
    const bool has_level = checkpoint->quantized || strcmp(checkpoint->form, "onnx") != 0;
    if (user->exact && has_level) words.accuracy_level = EXACT_LEVEL;
    return words;
}

static phlox_status open_exported(px_device_model *model, const px_device_options *options, phlox_error *error)
{
    const phlox_export_options words = words_of(model->checkpoint, options->user, &model->provider);
    PX_TRY(px_ort_check_weights(model->checkpoint, options->user, &words, model->device, error));
    return px_exported_open(model->checkpoint, "onnx", options->user, &words, options->cache_dir,
                            &model->exported, error);
}

/* What the files hold is run as it is. */
static phlox_status describe_exported(px_device_model *model, const phlox_model_options *user,
                                      phlox_error *error)
{
    const phlox_model_options stored = {.weight_format = PHLOX_WEIGHTS_STORED, .threads = user->threads};
    px_checkpoint *checkpoint = NULL;
    PX_TRY(px_checkpoint_open(model->exported.path, &checkpoint, error));
    const phlox_status status = describe(checkpoint, &stored, &model->info, error);
    px_checkpoint_close(&checkpoint);
    snprintf(model->info.weights, sizeof model->info.weights, "%s", model->exported.weights);
    model->info.from_cache = model->exported.from_cache;
    return status;
}

/* Bytes of a number of keys and values; a directory that is used where it lies says it when it runs. */
static size_t kv_bytes(const px_checkpoint *checkpoint, const px_ort_provider *provider)
{
    if (strcmp(checkpoint->form, "onnx") == 0) return 0;
    return provider->graph == PHLOX_PROVIDER_CPU ? sizeof(float) : sizeof(uint16_t);
}

static phlox_status open_model(px_device_model *model, const px_device_options *options, phlox_error *error)
{
    const phlox_model_options *const user = options->user;
    model->steps = px_monitor_create();
    if (!model->steps) return px_fail_memory(error, 64);
    px_ort_provider_of(options->unit, &model->provider);
    snprintf(model->device, sizeof model->device, "ort:%s", options->unit);
    PX_TRY(px_ort_check_options(user, model->device, kv_bytes(model->checkpoint, &model->provider), error));
    PX_TRY(px_ort_api_open(user->ort_library, model->provider.name, &model->api, error));
    PX_TRY(open_exported(model, options, error));
    PX_TRY(describe_exported(model, user, error));
    name_unit(model);
    return open_directory(model, model->exported.path, user, error);
}

static void ort_close(px_device_model *model)
{
    if (!model) return;
    if (model->model) model->api.OgaDestroyModel(model->model);
    px_ort_api_close(&model->api);
    px_exported_close(&model->exported);
    px_ids_free(&model->eos);
    free(model->choice);
    px_monitor_free(model->steps);
    free(model);
}

static phlox_status ort_open(const px_checkpoint *checkpoint, const px_device_options *options,
                             px_device_model **out, phlox_error *error)
{
    px_device_model *const model = px_calloc(1, sizeof *model);
    if (!model) return px_fail_memory(error, sizeof *model);
    model->checkpoint = checkpoint;
    const phlox_status status = open_model(model, options, error);
    if (status != PHLOX_OK) {
        ort_close(model);
        return status;
    }
    *out = model;
    return PHLOX_OK;
}

/* ---- what it is ---------------------------------------------------------------------------- */

static void ort_info(const px_device_model *model, px_device_info *out)
{
    *out = model->info;
}

static phlox_status ort_estimate(const px_checkpoint *checkpoint, const px_device_options *options,
                                 px_device_info *out, phlox_error *error)
{
    px_ort_provider provider;
    char device[48];
    px_ort_provider_of(options->unit, &provider);
    snprintf(device, sizeof device, "ort:%s", options->unit);
    PX_TRY(px_ort_check_options(options->user, device, kv_bytes(checkpoint, &provider), error));
    const phlox_export_options words = words_of(checkpoint, options->user, &provider);
    PX_TRY(px_ort_check_weights(checkpoint, options->user, &words, device, error));
    *out = (px_device_info){0};
    PX_TRY(describe(checkpoint, options->user, out, error));
    out->kv_bytes_per_token *= provider.graph == PHLOX_PROVIDER_CPU ? sizeof(float) : sizeof(uint16_t);
    out->most_context = most_context(&checkpoint->desc, &provider, options->user,
                                     (size_t)checkpoint->desc.max_position);
    snprintf(out->kernels, sizeof out->kernels, "ONNX Runtime GenAI");
    return PHLOX_OK;
}

/*
 * Where a GPU of NVIDIA and a build with CUDA are there, that build is the one that is listed, although another
 * may come first. It also has to be opened first: a process has one ONNX Runtime, and only the one of that build
 * has the provider.
 */
static bool ort_find(const phlox_model_options *user, char *path, size_t size)
{
    px_ort_place place;
    if (px_ort_find(user->ort_library, px_ort_provider_of_machine(""), &place, NULL) != PHLOX_OK) return false;
    snprintf(path, size, "%s", place.genai);
    return true;
}

static phlox_status ort_list(const phlox_model_options *user, px_units *out, phlox_error *error)
{
    px_ort_api api;
    PX_TRY(px_ort_api_open(user->ort_library, px_ort_provider_of_machine(""), &api, error));
    px_ort_provider_list(&api, "", out);
    px_ort_api_close(&api);
    return PHLOX_OK;
}

const px_device px_device_ort = {
    .name = "ort",
    .runtime = PX_ORT_RUNTIME,
    .find = ort_find,
    .list = ort_list,
    .open = ort_open,
    .close = ort_close,
    .estimate = ort_estimate,
    .info = ort_info,
    .sequence_create = px_ort_sequence_create,
    .sequence_free = px_ort_sequence_free,
    .reserve = px_ort_reserve,
    .forward = px_ort_forward,
    .truncate = px_ort_truncate,
    .sequence_bytes = px_ort_sequence_bytes,
};
