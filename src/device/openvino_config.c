#include "device/openvino_model.h"

#include "device/openvino.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a list of keys and values ------------------------------------------------------------- */

/* Its index, or the count when there is none. */
static size_t find(const px_openvino_config *config, const char *key)
{
    size_t i = 0;
    while (i < config->count && strcmp(config->properties[i].key, key) != 0) i++;
    return i;
}

/* Key and value are one piece of memory, the key first. */
static void put(px_openvino_config *config, char *key, const char *value)
{
    const size_t i = find(config, key);
    if (i < config->count) free((char *)(uintptr_t)config->properties[i].key);
    else config->count++;
    config->properties[i] = (ov_property_t){key, value};
}

phlox_status px_openvino_set(px_openvino_config *config, const char *key, phlox_error *error,
                             const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    const size_t key_size = strlen(key) + 1, size = (size_t)PX_MAX(length, 0) + 1;
    char *const pair = malloc(key_size + size);
    if (!pair) return px_fail_memory(error, key_size + size);
    memcpy(pair, key, key_size);
    va_start(arguments, format);
    vsnprintf(pair + key_size, size, format, arguments);
    va_end(arguments);
    put(config, pair, pair + key_size);
    return PHLOX_OK;
}

const char *px_openvino_get(const px_openvino_config *config, const char *key)
{
    const size_t i = find(config, key);
    return i < config->count ? config->properties[i].value : NULL;
}

void px_openvino_unset(px_openvino_config *config, const char *key)
{
    const size_t i = find(config, key);
    if (i == config->count) return;
    free((char *)(uintptr_t)config->properties[i].key);
    config->properties[i] = config->properties[--config->count];
}

char *px_openvino_config_text(const px_openvino_config *config, const char *unit, const char *word)
{
    size_t size = strlen(unit) + strlen(word) + sizeof "; ; ";
    for (size_t i = 0; i < config->count; i++)
        size += strlen(config->properties[i].key) + strlen(config->properties[i].value) + sizeof "=; ";
    char *const text = malloc(size);
    if (!text) return NULL;
    size_t used = (size_t)snprintf(text, size, "%s; %s; ", unit, word);
    for (size_t i = 0; i < config->count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s=%s; ", config->properties[i].key,
                                 (const char *)config->properties[i].value);
    return text;
}

void px_openvino_config_free(px_openvino_config *config)
{
    for (size_t i = 0; i < config->count; i++)
        free((char *)(uintptr_t)config->properties[i].key);
    config->count = 0;
}

/* ---- what is not for the unit --------------------------------------------------------------- */

static bool is_integer(phlox_kv_cache kv_cache)
{
    return kv_cache == PHLOX_KV_INT8 || kv_cache == PHLOX_KV_INT4;
}

phlox_status px_openvino_check_options(const phlox_model_options *user, const char *unit, phlox_error *error)
{
    if (!user->device || strcmp(user->device, "auto") == 0) return PHLOX_OK;
    const bool is_npu = px_openvino_is_npu(unit);
    char name[64];
    px_device_unit_name(&px_device_openvino, unit, name, sizeof name);
    PX_TRY(px_device_check_others(user, name, is_npu, error));
    if (is_npu && is_integer(user->kv_cache))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "--kv-cache %s: openvino:%s keeps keys and values as float16, or with --kv-cache f32 as "
                       "float32; leave it out", user->kv_cache == PHLOX_KV_INT8 ? "int8" : "int4", unit);
    return PHLOX_OK;
}

/* ---- what is set --------------------------------------------------------------------------- */

/* Of integers the NPU's plugin makes a cache that it cannot fill: OpenVINO 2026.4 fails at the first token,
 * or gives logits that are not finite. */
static phlox_status set_kv_cache(px_openvino_config *config, const phlox_model_options *user, bool is_npu,
                                 phlox_error *error)
{
    static const char *const words[] = {[PHLOX_KV_F32] = "f32", [PHLOX_KV_F16] = "f16",
                                        [PHLOX_KV_INT8] = "u8", [PHLOX_KV_INT4] = "u4"};
    if (user->kv_cache == PHLOX_KV_DEFAULT && !user->exact) return PHLOX_OK;
    const phlox_kv_cache kv_cache = user->kv_cache == PHLOX_KV_DEFAULT ? PHLOX_KV_F32 : user->kv_cache;
    if (is_npu && is_integer(kv_cache)) return PHLOX_OK;
    return px_openvino_set(config, "KV_CACHE_PRECISION", error, "%s", words[kv_cache]);
}

static phlox_status set_defaults(px_openvino_config *config, const phlox_model_options *user,
                                 const char *unit, phlox_error *error)
{
    const bool is_cpu = strcmp(unit, "CPU") == 0, is_npu = strncmp(unit, "NPU", 3) == 0;
    PX_TRY(px_openvino_set(config, "PERFORMANCE_HINT", error, "LATENCY"));
    if (is_cpu || strncmp(unit, "GPU", 3) == 0)
        PX_TRY(px_openvino_set(config, "NUM_STREAMS", error, "1"));
    if (is_cpu && user->threads)
        PX_TRY(px_openvino_set(config, "INFERENCE_NUM_THREADS", error, "%d", user->threads));
    PX_TRY(set_kv_cache(config, user, is_npu, error));
    if (is_npu) return px_openvino_npu_configure(config, user, error);
    if (!user->exact) return PHLOX_OK;
    PX_TRY(px_openvino_set(config, "INFERENCE_PRECISION_HINT", error, "f32"));
    return px_openvino_set(config, "DYNAMIC_QUANTIZATION_GROUP_SIZE", error, "0");
}

/* Words of OpenVINO GenAI for properties of the NPU's plugin. */
static const char *plugin_key(const char *key)
{
    static const char *const keys[][2] = {
        {"MAX_PROMPT_LEN", "NPUW_LLM_MAX_PROMPT_LEN"}, {"MIN_RESPONSE_LEN", "NPUW_LLM_MIN_RESPONSE_LEN"},
        {"PREFILL_HINT", "NPUW_LLM_PREFILL_HINT"}, {"GENERATE_HINT", "NPUW_LLM_GENERATE_HINT"},
    };
    for (size_t i = 0; i < PX_COUNT(keys); i++)
        if (strcmp(key, keys[i][0]) == 0) return keys[i][1];
    return key;
}

static phlox_status set_users(px_openvino_config *config, const phlox_model_options *user,
                              phlox_error *error)
{
    for (size_t i = 0; i < PX_MIN(user->ov_config_count, (size_t)PHLOX_MOST_SETTINGS); i++) {
        const char *const text = user->ov_config[i], *const equals = text ? strchr(text, '=') : NULL;
        if (!equals || equals == text)
            return px_fail(error, PHLOX_ERROR_ARGUMENT, "--ov-config %s: KEY=VALUE is meant",
                           text ? text : "");
        char key[128];
        snprintf(key, sizeof key, "%.*s", (int)PX_MIN((size_t)(equals - text), sizeof key), text);
        PX_TRY(px_openvino_set(config, plugin_key(key), error, "%s", equals + 1));
    }
    return PHLOX_OK;
}

phlox_status px_openvino_configure(px_openvino_config *config, const phlox_model_options *user,
                                   const char *unit, phlox_error *error)
{
    PX_TRY(set_defaults(config, user, unit, error));
    return set_users(config, user, error);
}

const char *px_openvino_overflow(const px_openvino_config *config, bool is_npu)
{
    const char *const cache = px_openvino_get(config, "KV_CACHE_PRECISION");
    const char *const precision = px_openvino_get(config, "INFERENCE_PRECISION_HINT");
    if (is_npu && cache && strcmp(cache, "f32") != 0 && strcmp(cache, "f16") != 0)
        return "the NPU's plugin keeps keys and values as float16 or float32; leave out --ov-config "
               "KV_CACHE_PRECISION";
    if (is_npu)
        return "they overflow float16, which the NPU computes with; --device cpu computes with float32";
    if (!precision || strcmp(precision, "f32") != 0)
        return "they overflow what the unit computes with; --ov-config INFERENCE_PRECISION_HINT=f32 makes "
               "that float32";
    return "they overflow what the unit computes with; try --device cpu";
}
