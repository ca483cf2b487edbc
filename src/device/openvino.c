#include "device/openvino.h"

#include "device/openvino_model.h"
#include "engine/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ------------------------------------------------------------------------------- */

/* Whether an IR counts a window by the places of keys and not by their positions: exports of phlox count
 * positions with the attention mask, others may not. */
static bool counts_places(const char *xml)
{
    px_map map;
    if (px_map_open(xml, &map, NULL) != PHLOX_OK) return true;
    static const char sum[] = "type=\"CumSum\"";
    bool has_sum = false;
    for (const uint8_t *at = map.data; !has_sum && at; ) {
        at = memchr(at, sum[0], map.size - (size_t)(at - map.data));
        if (!at) break;
        has_sum = map.size - (size_t)(at - map.data) >= sizeof sum - 1 &&
                  memcmp(at, sum, sizeof sum - 1) == 0;
        at++;
    }
    px_map_close(&map);
    return !has_sum;
}

static phlox_status compile_network(px_device_model *model, const ov_model_t *network,
                                    const phlox_model_options *user, phlox_error *error)
{
    px_openvino_config *const config = px_calloc(1, sizeof *config);
    if (!config) return px_fail_memory(error, sizeof *config);
    phlox_status status = px_openvino_configure(config, user, model->unit, error);
    if (status == PHLOX_OK) status = px_openvino_compile_watched(model, network, config, user, error);
    px_openvino_config_free(config);
    free(config);
    return status;
}

static phlox_status load(px_device_model *model, const char *directory,
                         const phlox_model_options *user, phlox_error *error)
{
    const px_openvino_api *const api = &model->api;
    char xml[1280], bin[1280];
    snprintf(xml, sizeof xml, "%s/openvino_model.xml", directory);
    snprintf(bin, sizeof bin, "%s/openvino_model.bin", directory);
    ov_model_t *network = NULL;
    if (api->core_read_model(model->core, xml, bin, &network) != 0)
        return px_openvino_fail(api, error, "%s", xml);
    phlox_status status = px_openvino_input_type(api, network, "input_ids", &model->i64, error);
    if (status == PHLOX_OK)
        status = px_openvino_input_type(api, network, "beam_idx", &model->i32, error);
    px_error_prefix(error, status, "%s", xml);
    if (status == PHLOX_OK) status = compile_network(model, network, user, error);
    api->model_free(network);
    model->window_by_index = counts_places(xml);
    return status;
}

/* ---- what it is ---------------------------------------------------------------------------- */

static phlox_status describe(const px_checkpoint *checkpoint, const phlox_model_options *user,
                             px_device_info *out, phlox_error *error)
{
    px_plan plan;
    PX_TRY(px_plan_make(checkpoint, user, NULL, &plan, error));
    const px_desc *const desc = &checkpoint->desc;
    *out = (px_device_info){
        .weight_bytes = px_plan_bytes(&plan),
        .step_weight_bytes = px_plan_step_bytes(&plan),
        .kv_bytes_per_token = 2 * sizeof(uint16_t) * (uint64_t)desc->num_hidden_layers *
                              (uint64_t)desc->num_key_value_heads * (uint64_t)desc->head_dim,
        .most_tokens = PX_OPENVINO_MOST_TOKENS,
        .kernels = "OpenVINO",
    };
    snprintf(out->weights, sizeof out->weights, "%s", plan.summary);
    px_plan_free(&plan);
    return PHLOX_OK;
}

/* Bytes of a number of the cache, where the compiled model says. */
static double cache_number_bytes(const px_device_model *model)
{
    static const struct {
        const char *word;
        double bytes;
    } types[] = {{"f32", 4}, {"f16", 2}, {"bf16", 2}, {"u8", 1}, {"i8", 1}, {"u4", 0.5}};
    char *text = NULL;
    double bytes = 2;
    if (model->api.compiled_model_get_property(model->compiled, "KV_CACHE_PRECISION", &text) != 0 ||
        !text)
        return bytes;
    for (size_t i = 0; i < PX_COUNT(types); i++)
        if (strcmp(text, types[i].word) == 0) bytes = types[i].bytes;
    model->api.free(text);
    return bytes;
}

static int32_t thread_count(const px_device_model *model)
{
    char *text = NULL;
    if (strcmp(model->unit, "CPU") != 0 ||
        model->api.compiled_model_get_property(model->compiled, "INFERENCE_NUM_THREADS", &text) != 0 ||
        !text)
        return 0;
    const long count = strtol(text, NULL, 10);
    model->api.free(text);
    return (int32_t)PX_MAX(0, PX_MIN(count, 1 << 16));
}

static void describe_opened(px_device_model *model)
{
    px_device_info *const info = &model->info;
    snprintf(info->kernels, sizeof info->kernels, "OpenVINO %.*s",
             (int)strcspn(model->api.version, "-"), model->api.version);
    px_openvino_property(&model->api, model->core, model->unit, "FULL_DEVICE_NAME", info->name,
                         sizeof info->name);
    snprintf(info->weights, sizeof info->weights, "%s", model->exported.weights);
    info->from_cache = model->exported.from_cache;
    info->threads = thread_count(model);
    info->kv_bytes_per_token =
        (uint64_t)((double)info->kv_bytes_per_token / 2 * cache_number_bytes(model));
}

static void openvino_info(const px_device_model *model, px_device_info *out)
{
    *out = model->info;
}

static phlox_status openvino_estimate(const px_checkpoint *checkpoint,
                                      const px_device_options *options, px_device_info *out,
                                      phlox_error *error)
{
    return describe(checkpoint, options->user, out, error);
}

/* ---- models and sequences ------------------------------------------------------------------ */

static phlox_status open_model(px_device_model *model, const px_device_options *options,
                               phlox_error *error)
{
    PX_TRY(describe(model->checkpoint, options->user, &model->info, error));
    px_openvino_name_unit(model, options->unit);
    model->steps = px_monitor_create();
    if (!model->steps) return px_fail_memory(error, 64);
    PX_TRY(px_openvino_start(options->user, &model->api, &model->core, error));
    PX_TRY(px_openvino_check_unit(model, error));
    phlox_export_options words;
    phlox_export_options_init(&words);
    PX_TRY(px_exported_open(model->checkpoint, "openvino", options->user, &words, options->cache_dir,
                            &model->exported, error));
    PX_TRY(load(model, model->exported.path, options->user, error));
    describe_opened(model);
    return PHLOX_OK;
}

static void openvino_close(px_device_model *model)
{
    if (!model) return;
    if (model->compiled) model->api.compiled_model_free(model->compiled);
    if (model->core) model->api.core_free(model->core);
    px_exported_close(&model->exported);
    px_monitor_free(model->steps);
    free(model);
}

static phlox_status openvino_open(const px_checkpoint *checkpoint, const px_device_options *options,
                                  px_device_model **out, phlox_error *error)
{
    px_device_model *const model = px_calloc(1, sizeof *model);
    if (!model) return px_fail_memory(error, sizeof *model);
    model->checkpoint = checkpoint;
    const phlox_status status = open_model(model, options, error);
    if (status != PHLOX_OK) {
        openvino_close(model);
        return status;
    }
    *out = model;
    return PHLOX_OK;
}

static phlox_status openvino_sequence_create(px_device_model *model, px_sequence **out,
                                             phlox_error *error)
{
    px_sequence *const sequence = px_calloc(1, sizeof *sequence);
    if (!sequence) return px_fail_memory(error, sizeof *sequence);
    sequence->model = model;
    *out = sequence;
    return PHLOX_OK;
}

static void openvino_sequence_free(px_sequence *sequence)
{
    if (!sequence) return;
    px_openvino_restart(sequence);
    px_ids_free(&sequence->ids);
    free(sequence->mask);
    free(sequence);
}

static phlox_status forward(px_sequence *sequence, const px_batch_item *item, phlox_error *error)
{
    const size_t length = sequence->ids.count;
    PX_TRY(px_ids_add(&sequence->ids, item->ids, item->count, error));
    const phlox_status status = px_openvino_step(sequence, item, error);
    if (status != PHLOX_OK) sequence->ids.count = length;
    return status;
}

static size_t openvino_truncate(px_sequence *sequence, size_t length)
{
    if (length >= sequence->ids.count) return sequence->ids.count;
    sequence->ids.count = length;
    if (!length) px_openvino_restart(sequence);
    for (size_t i = sequence->entries; sequence->fed > length; ) {
        i--;
        sequence->fed -= sequence->mask[i] != 0;
        sequence->mask[i] = 0;
    }
    return length;
}

static phlox_status openvino_forward(px_device_model *model, const px_batch_item *items, size_t count,
                                     phlox_error *error)
{
    phlox_status status = PHLOX_OK;
    size_t done = 0;
    px_monitor_lock(model->steps);
    while (done < count && status == PHLOX_OK) {
        status = forward(items[done].sequence, &items[done], error);
        done += status == PHLOX_OK;
    }
    for (size_t i = 0; i < done && status != PHLOX_OK; i++)
        openvino_truncate(items[i].sequence, items[i].sequence->ids.count - items[i].count);
    px_monitor_unlock(model->steps);
    return status;
}

static uint64_t openvino_sequence_bytes(const px_sequence *sequence)
{
    return sequence->entries * sequence->model->info.kv_bytes_per_token;
}

const px_device px_device_openvino = {
    .name = "openvino",
    .runtime = "openvino",
    .find = px_openvino_find,
    .list = px_openvino_list,
    .open = openvino_open,
    .close = openvino_close,
    .estimate = openvino_estimate,
    .info = openvino_info,
    .sequence_create = openvino_sequence_create,
    .sequence_free = openvino_sequence_free,
    .forward = openvino_forward,
    .truncate = openvino_truncate,
    .sequence_bytes = openvino_sequence_bytes,
};
