#include "device/openvino.h"

#include "device/openvino_model.h"
#include "engine/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PATH = 4096 };

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

/* Units that the NPU's plugin uses in its place round as they are told themselves. */
static phlox_status set_exact(const px_device_model *model, const phlox_model_options *user,
                              phlox_error *error)
{
    static const char *const properties[][2] = {{"INFERENCE_PRECISION_HINT", "f32"},
                                                {"DYNAMIC_QUANTIZATION_GROUP_SIZE", "0"}};
    if (!user->exact || !model->is_borrowed) return PHLOX_OK;
    for (size_t i = 0; i < PX_COUNT(properties); i++)
        if (model->api.core_set_property(model->core, "CPU", properties[i][0], properties[i][1]) != 0)
            return px_openvino_fail(&model->api, error, "%s of openvino:CPU", properties[i][0]);
    return PHLOX_OK;
}

static phlox_status read_types(px_device_model *model, const ov_model_t *network, phlox_error *error)
{
    PX_TRY(px_openvino_input_type(&model->api, network, "input_ids", &model->i64, error));
    return px_openvino_input_type(&model->api, network, "beam_idx", &model->i32, error);
}

static phlox_status load(px_device_model *model, px_openvino_config *config,
                         const px_device_options *options, phlox_error *error)
{
    const px_openvino_api *const api = &model->api;
    char xml[MOST_PATH], bin[MOST_PATH];
    snprintf(xml, sizeof xml, "%s/openvino_model.xml", model->exported.path);
    snprintf(bin, sizeof bin, "%s/openvino_model.bin", model->exported.path);
    const px_desc *const desc = &model->checkpoint->desc;
    model->window_by_place = desc->sliding_window && desc->sliding_window < desc->max_position &&
                             counts_places(xml);
    model->info.last_logits_only = model->window_by_place; /* a draft that is wrong costs a restart */
    PX_TRY(set_exact(model, options->user, error));
    ov_model_t *network = NULL;
    if (api->core_read_model(model->core, xml, bin, &network) != 0)
        return px_openvino_fail(api, error, "%s", xml);
    phlox_status status = read_types(model, network, error);
    px_error_prefix(error, status, "%s", xml);
    if (status == PHLOX_OK)
        status = px_openvino_compile_network(model, network, config, options, error);
    api->model_free(network);
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

/* The weights as they will run: an IR that nobody asks other weights of runs as it is. */
static phlox_status choose_weights(const px_checkpoint *checkpoint, bool is_npu,
                                   phlox_model_options *chosen, phlox_error *error)
{
    if (chosen->weight_format == PHLOX_WEIGHTS_DEFAULT && strcmp(checkpoint->form, "openvino") == 0)
        chosen->weight_format = PHLOX_WEIGHTS_STORED;
    return is_npu ? px_openvino_npu_check(checkpoint, chosen, error) : PHLOX_OK;
}

/* The sizes of the NPU's programs. */
static phlox_status estimate_limits(const px_checkpoint *checkpoint, const phlox_model_options *user,
                                    px_device_info *info, phlox_error *error)
{
    px_device_model model = {.checkpoint = checkpoint, .info = *info};
    px_openvino_config *const config = px_calloc(1, sizeof *config);
    if (!config) return px_fail_memory(error, sizeof *config);
    const phlox_status status = px_openvino_configure(config, user, "NPU", error);
    if (status == PHLOX_OK) px_openvino_npu_limits(&model, config);
    px_openvino_config_free(config);
    free(config);
    *info = model.info;
    return status;
}

static phlox_status openvino_estimate(const px_checkpoint *checkpoint,
                                      const px_device_options *options, px_device_info *out,
                                      phlox_error *error)
{
    phlox_model_options chosen = *options->user;
    const bool is_npu = px_openvino_is_npu(options->unit);
    PX_TRY(px_openvino_check_options(options->user, options->unit, error));
    PX_TRY(choose_weights(checkpoint, is_npu, &chosen, error));
    PX_TRY(describe(checkpoint, &chosen, out, error));
    return is_npu ? estimate_limits(checkpoint, &chosen, out, error) : PHLOX_OK;
}

/* ---- models and sequences ------------------------------------------------------------------ */

static phlox_status start(px_device_model *model, px_openvino_config *config,
                          const px_device_options *options, phlox_error *error)
{
    PX_TRY(px_openvino_configure(config, options->user, model->unit, error));
    const char *const others = px_openvino_get(config, "NPUW_DEVICES");
    model->overflow = px_openvino_overflow(config, model->is_npu);
    model->is_borrowed = model->is_npu && others && !strstr(others, "NPU");
    PX_TRY(px_openvino_start(options->user, &model->api, &model->core, error));
    PX_TRY(px_openvino_check_unit(model, error));
    phlox_export_options words;
    phlox_export_options_init(&words);
    PX_TRY(px_exported_open(model->checkpoint, "openvino", options->user, &words, options->cache_dir,
                            &model->exported, error));
    if (model->is_npu) {
        px_openvino_npu_limits(model, config);
        PX_TRY(px_openvino_npu_adapt(model, config, error));
    }
    PX_TRY(load(model, config, options, error));
    if (model->is_npu) px_openvino_npu_limits(model, config);
    return PHLOX_OK;
}

static phlox_status open_model(px_device_model *model, const px_device_options *options,
                               phlox_error *error)
{
    phlox_model_options chosen = *options->user;
    const px_device_options with_chosen = {&chosen, options->cache_dir, options->unit};
    px_openvino_name_unit(model, options->unit);
    model->steps = px_monitor_create();
    px_openvino_config *const config = px_calloc(1, sizeof *config);
    phlox_status status =
        model->steps && config ? PHLOX_OK : px_fail_memory(error, sizeof *config);
    if (status == PHLOX_OK) status = px_openvino_check_options(&chosen, model->unit, error);
    if (status == PHLOX_OK) status = choose_weights(model->checkpoint, model->is_npu, &chosen, error);
    if (status == PHLOX_OK) status = describe(model->checkpoint, &chosen, &model->info, error);
    if (status == PHLOX_OK) status = start(model, config, &with_chosen, error);
    if (status == PHLOX_OK) describe_opened(model);
    if (config) px_openvino_config_free(config);
    free(config);
    return status;
}

static void openvino_close(px_device_model *model)
{
    if (!model) return;
    px_openvino_npu_free(model);
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
    px_sequence *owner = sequence; /* unless a step has given the request to another meanwhile */
    atomic_compare_exchange_strong(&sequence->model->npu.owner, &owner, NULL);
    px_ids_free(&sequence->ids);
    free(sequence->mask);
    free(sequence);
}

static phlox_status forward(px_sequence *sequence, const px_batch_item *item, phlox_error *error)
{
    const size_t length = sequence->ids.count;
    PX_TRY(px_ids_add(&sequence->ids, item->ids, item->count, error));
    const phlox_status status = sequence->model->is_npu ? px_openvino_npu_step(sequence, item, error)
                                                        : px_openvino_step(sequence, item, error);
    if (status != PHLOX_OK) sequence->ids.count = length;
    return status;
}

static size_t openvino_truncate(px_sequence *sequence, size_t length)
{
    if (length >= sequence->ids.count) return sequence->ids.count;
    sequence->ids.count = length;
    return px_openvino_cut(sequence, length);
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
    const px_device_model *const model = sequence->model;
    const size_t entries = !model->is_npu                  ? sequence->entries
                           : model->npu.owner == sequence ? model->npu.capacity
                                                           : 0;
    return entries * model->info.kv_bytes_per_token;
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
