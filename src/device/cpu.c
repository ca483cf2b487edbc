#include "device/cpu.h"

#include "base/cores.h"
#include "base/os.h"
#include "engine/forward.h"
#include "engine/huge.h"
#include "engine/plan.h"

#include <phlox/tools.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MOST_TOKENS = 256, /* of a step: more gain nothing and delay progress and cancellation */
    CUT_TOKENS = 128   /* that a sequence can be cut back after its window has forgotten others */
};

struct px_device_model {
    const px_checkpoint *checkpoint;
    px_kernels kernels;
    px_weights weights;
    px_huge huge;
    px_engine engine;
    px_pool *pool;
    px_monitor *steps; /* held by the step that runs */
    px_cache_type cache_type;
};

struct px_sequence {
    px_kv_cache cache;
    size_t length;
    size_t window; /* 0: none */
};

/* Rounding the cache only pays where the weights are rounded too. */
static px_cache_type choose_cache_type(px_weight_type qkv, const phlox_model_options *options)
{
    static const px_cache_type given[] = {[PHLOX_KV_F32] = PX_CACHE_F32, [PHLOX_KV_F16] = PX_CACHE_F16,
                                          [PHLOX_KV_INT8] = PX_CACHE_I8, [PHLOX_KV_INT4] = PX_CACHE_I4};
    if (options->kv_cache != PHLOX_KV_DEFAULT) return given[options->kv_cache];
    const bool is_integer = qkv == PX_WEIGHT_I8 || qkv == PX_WEIGHT_I4;
    return is_integer && !options->exact ? PX_CACHE_I8 : PX_CACHE_F32;
}

static int choose_threads(const phlox_model_options *options)
{
    return options->threads ? options->threads : px_core_count();
}

static uint64_t allowed_features(const phlox_model_options *options)
{
    return px_cpu_features() & ~options->cpu_mask;
}

static void choose_kernels(const phlox_model_options *options, px_kernels *kernels)
{
    px_kernels_init(kernels, allowed_features(options));
}

static phlox_status open_model(px_device_model *model, const px_device_options *options,
                               phlox_error *error)
{
    model->steps = px_monitor_create();
    if (!model->steps) return px_fail_memory(error, 64);
    choose_kernels(options->user, &model->kernels);
    PX_TRY(px_pool_create(choose_threads(options->user), &model->pool, error));
    /* The built-in model has no file to look for changes in, and is small. */
    const char *const cache_dir = model->checkpoint->path[0] ? options->cache_dir : NULL;
    PX_TRY(px_weights_load(model->checkpoint, options->user, cache_dir, model->pool,
                           &model->weights, error));
    model->engine = (px_engine){.desc = &model->checkpoint->desc, .weights = &model->weights,
                                .kernels = &model->kernels, .pool = model->pool,
                                .exact = options->user->exact};
    /* the built-in model is a part of the program and stays there */
    px_huge_init(&model->huge, &model->weights, model->checkpoint->desc.num_hidden_layers,
                 model->pool, allowed_features(options->user),
                 model->checkpoint->path[0] ? options->user->huge_pages : PHLOX_HUGE_OFF);
    model->cache_type =
        choose_cache_type(model->weights.layers[0].qkv.type, options->user);
    return PHLOX_OK;
}

static void cpu_close(px_device_model *model)
{
    if (!model) return;
    px_engine_free(&model->engine);
    px_huge_free(&model->huge);
    px_weights_free(&model->weights);
    px_pool_free(model->pool);
    px_monitor_free(model->steps);
    free(model);
}

static phlox_status cpu_open(const px_checkpoint *checkpoint, const px_device_options *options,
                             px_device_model **out, phlox_error *error)
{
    px_device_model *const model = px_calloc(1, sizeof *model);
    if (!model) return px_fail_memory(error, sizeof *model);
    model->checkpoint = checkpoint;
    const phlox_status status = open_model(model, options, error);
    if (status != PHLOX_OK) {
        cpu_close(model);
        return status;
    }
    *out = model;
    return PHLOX_OK;
}

static void cpu_info(const px_device_model *model, px_device_info *out)
{
    *out = (px_device_info){
        .weight_bytes = model->weights.bytes,
        .step_weight_bytes = model->weights.step_bytes,
        .kv_bytes_per_token = px_kv_bytes_per_token(&model->checkpoint->desc, model->cache_type),
        .threads = px_pool_threads(model->pool),
        .from_cache = model->weights.from_cache,
        .most_tokens = MOST_TOKENS,
        .huge_page_bytes = atomic_load(&model->huge.bytes),
    };
    snprintf(out->kernels, sizeof out->kernels, "%s", model->kernels.name);
    snprintf(out->weights, sizeof out->weights, "%s", model->weights.summary);
    phlox_cpu_name(out->name, sizeof out->name);
}

static phlox_status cpu_estimate(const px_checkpoint *checkpoint,
                                 const px_device_options *options, px_device_info *out,
                                 phlox_error *error)
{
    px_plan plan;
    PX_TRY(px_plan_make(checkpoint, options->user, NULL, &plan, error));
    px_kernels kernels;
    choose_kernels(options->user, &kernels);
    px_cache_type cache_type = PX_CACHE_F32;
    for (size_t i = 0; i < plan.count; i++)
        if (plan.items[i].tensor->role == PX_QKV && plan.items[i].tensor->layer == 0)
            cache_type = choose_cache_type(plan.items[i].type, options->user);
    *out = (px_device_info){
        .weight_bytes = px_plan_bytes(&plan),
        .step_weight_bytes = px_plan_step_bytes(&plan),
        .kv_bytes_per_token = px_kv_bytes_per_token(&checkpoint->desc, cache_type),
        .threads = choose_threads(options->user),
        .most_tokens = MOST_TOKENS,
    };
    snprintf(out->kernels, sizeof out->kernels, "%s", kernels.name);
    snprintf(out->weights, sizeof out->weights, "%s", plan.summary);
    phlox_cpu_name(out->name, sizeof out->name);
    px_plan_free(&plan);
    return PHLOX_OK;
}

static phlox_status cpu_sequence_create(px_device_model *model, px_sequence **out,
                                        phlox_error *error)
{
    px_sequence *const sequence = px_calloc(1, sizeof *sequence);
    if (!sequence) return px_fail_memory(error, sizeof *sequence);
    px_kv_init(&sequence->cache, &model->checkpoint->desc, model->cache_type);
    sequence->window = (size_t)model->checkpoint->desc.sliding_window;
    *out = sequence;
    return PHLOX_OK;
}

static void cpu_sequence_free(px_sequence *sequence)
{
    if (!sequence) return;
    px_kv_free(&sequence->cache);
    free(sequence);
}

static size_t fill_tokens(const px_batch_item *item, int64_t vocab, px_step_token *tokens)
{
    for (size_t i = 0; i < item->count; i++) {
        const bool wanted = item->logits && (item->all_logits || i + 1 == item->count);
        tokens[i] = (px_step_token){
            .id = item->ids[i],
            .position = item->sequence->length + i,
            .cache = &item->sequence->cache,
            .is_long = item->is_long,
            .logits = wanted ? item->logits + (item->all_logits ? (int64_t)i * vocab : 0) : NULL,
        };
    }
    return item->count;
}

static bool is_finite(const px_step_token *tokens, size_t count, int64_t vocab)
{
    for (size_t t = 0; t < count; t++) {
        if (!tokens[t].logits) continue;
        for (int64_t i = 0; i < vocab; i++)
            if (!isfinite(tokens[t].logits[i])) return false;
    }
    return true;
}

static phlox_status run_step(px_device_model *model, const px_batch_item *items, size_t count,
                             px_step_token *tokens, phlox_error *error)
{
    const int64_t vocab = model->checkpoint->desc.vocab_size;
    size_t all = 0;
    for (size_t i = 0; i < count; i++) {
        px_sequence *const sequence = items[i].sequence;
        PX_TRY(px_kv_reserve(&sequence->cache, sequence->length + items[i].count, error));
        all += fill_tokens(&items[i], vocab, tokens + all);
    }
    PX_TRY(px_forward(&model->engine, tokens, (int64_t)all, error));
    if (!is_finite(tokens, all, vocab)) {
        PX_TRY(px_weights_check(model->checkpoint, error));
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: the logits are not finite although the weights are: they overflow "
                       "float32; the checkpoint is damaged", model->checkpoint->path);
    }
    for (size_t i = 0; i < count; i++) {
        px_sequence *const sequence = items[i].sequence;
        sequence->length += items[i].count;
        const size_t kept = sequence->window + CUT_TOKENS;
        if (sequence->window && sequence->length > kept)
            px_kv_forget(&sequence->cache, sequence->length - kept);
    }
    return PHLOX_OK;
}

static phlox_status cpu_forward(px_device_model *model, const px_batch_item *items, size_t count,
                                phlox_error *error)
{
    size_t all = 0, most = 0;
    for (size_t i = 0; i < count; i++) {
        all += items[i].count;
        most = PX_MAX(most, items[i].count);
    }
    px_step_token *const tokens = px_calloc(all, sizeof *tokens);
    if (!tokens) return px_fail_memory(error, all * sizeof *tokens);
    px_monitor_lock(model->steps);
    const phlox_status status = run_step(model, items, count, tokens, error);
    px_huge_step(&model->huge, (int64_t)most);
    px_monitor_unlock(model->steps);
    free(tokens);
    return status;
}

static size_t cpu_truncate(px_sequence *sequence, size_t length)
{
    if (length >= sequence->length) return sequence->length;
    /* the next token sees itself and window - 1 before it */
    const size_t first = length + 1 > sequence->window ? length + 1 - sequence->window : 0;
    if (first < sequence->cache.forgotten * PX_KV_BLOCK) length = 0;
    px_kv_truncate(&sequence->cache, length);
    sequence->length = length;
    return length;
}

static uint64_t cpu_sequence_bytes(const px_sequence *sequence)
{
    return px_kv_bytes(&sequence->cache);
}

static phlox_status cpu_list(const phlox_model_options *user, px_units *out, phlox_error *error)
{
    (void)user;
    (void)error;
    *out = (px_units){.count = 1, .units = {{.kind = PX_UNIT_CPU, .memory = px_memory_available()}}};
    phlox_cpu_name(out->units[0].name, sizeof out->units[0].name);
    return PHLOX_OK;
}

const px_device px_device_cpu = {
    .name = "cpu",
    .list = cpu_list,
    .open = cpu_open,
    .close = cpu_close,
    .estimate = cpu_estimate,
    .info = cpu_info,
    .sequence_create = cpu_sequence_create,
    .sequence_free = cpu_sequence_free,
    .forward = cpu_forward,
    .truncate = cpu_truncate,
    .sequence_bytes = cpu_sequence_bytes,
};
