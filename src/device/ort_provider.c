#include "device/ort_provider.h"

#include "base/system.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Those that GenAI knows by name; others it passes on to ONNX Runtime. */
static const px_ort_provider providers[] = {
    {"cpu", "CPU", PHLOX_PROVIDER_CPU, PX_UNIT_CPU, "every build has it"},
    {"cuda", "CUDA", PHLOX_PROVIDER_CUDA, PX_UNIT_GPU,
     "phlox runtime add onnxruntime-genai-cuda installs a build that has it; it needs an NVIDIA GPU with its "
     "driver, and the libraries of CUDA and cuDNN"},
    {"DML", "DirectML", PHLOX_PROVIDER_DML, PX_UNIT_GPU,
     "DirectML is a part of Windows, where the package onnxruntime-genai-directml has it; elsewhere take "
     "--device openvino:GPU or cuda"},
    {"QNN", "QnnWithSharedMemory", PHLOX_PROVIDER_CPU, PX_UNIT_NPU,
     "builds for Snapdragon on Windows have it, and it runs models that were compiled for it"},
    {"OpenVINO", "OpenVINO", PHLOX_PROVIDER_CPU, PX_UNIT_GPU,
     "--device openvino:UNIT drives the same units without it"},
    {"WebGPU", "WebGPU", PHLOX_PROVIDER_CUDA, PX_UNIT_GPU,
     "builds of ONNX Runtime with WebGPU have it"},
    {"NvTensorRtRtx", "NvTensorRtRtx", PHLOX_PROVIDER_CUDA, PX_UNIT_GPU,
     "builds for NVIDIA RTX have it, which Windows ML brings"},
    {"RyzenAI", "RyzenAI", PHLOX_PROVIDER_CPU, PX_UNIT_NPU,
     "AMD's Ryzen AI Software brings a build that has it, and models that were made for it"},
    {"AMDGPU", "AMDGPU", PHLOX_PROVIDER_CUDA, PX_UNIT_GPU, "AMD's builds for its GPUs have it"},
    {"VitisAI", NULL, PHLOX_PROVIDER_CPU, PX_UNIT_NPU,
     "AMD's Ryzen AI Software brings a build that has it"},
};

static bool is_word(const char *a, const char *b)
{
    while (*a && tolower((unsigned char)*a) == tolower((unsigned char)*b)) a++, b++;
    return !*a && !*b;
}

void px_ort_provider_of(const char *unit, px_ort_provider *out)
{
    for (size_t i = 0; i < PX_COUNT(providers); i++) {
        if (!is_word(unit, providers[i].name)) continue;
        *out = providers[i];
        return;
    }
    *out = (px_ort_provider){.name = unit, .graph = PHLOX_PROVIDER_CPU, .kind = PX_UNIT_GPU,
                             .advice = "phlox devices lists the providers of this machine"};
}

bool px_ort_is_cpu(const px_ort_provider *provider)
{
    return is_word(provider->name, "cpu");
}

bool px_ort_is_of_session(const char *key)
{
    return strncmp(key, "session.", 8) == 0;
}

bool px_ort_setting(const char *setting, char *key, size_t size, const char **value)
{
    const size_t length = strcspn(setting, "=");
    if (!length || length >= size || !setting[length]) return false;
    snprintf(key, size, "%.*s", (int)length, setting);
    *value = setting + length + 1;
    return true;
}

/* ---- options that are for others ------------------------------------------------------------ */

static phlox_status check_kv_cache(const phlox_model_options *user, const char *device, size_t kv_bytes,
                                   phlox_error *error)
{
    static const char *const words[] = {[PHLOX_KV_F32] = "f32", [PHLOX_KV_F16] = "f16",
                                        [PHLOX_KV_INT8] = "int8", [PHLOX_KV_INT4] = "int4"};
    const phlox_kv_cache asked = user->kv_cache;
    const bool can_be = asked == PHLOX_KV_DEFAULT || (asked == PHLOX_KV_F32 && kv_bytes != sizeof(uint16_t)) ||
                        (asked == PHLOX_KV_F16 && kv_bytes != sizeof(float));
    if (can_be) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "--kv-cache %s: %s keeps keys and values as %s; leave it out",
                   words[asked], device,
                   !kv_bytes                   ? "the graph has them, float32 or float16"
                   : kv_bytes == sizeof(float) ? "float32"
                                               : "float16");
}

phlox_status px_ort_check_options(const phlox_model_options *user, const char *device, size_t kv_bytes,
                                  phlox_error *error)
{
    if (!user->device || strcmp(user->device, "auto") == 0) return PHLOX_OK;
    PX_TRY(px_device_check_others(user, device, false, error));
    return check_kv_cache(user, device, kv_bytes, error);
}

/* ---- configuration ------------------------------------------------------------------------- */

phlox_status px_ort_provider_set(const px_ort_api *api, OgaConfig *config, const px_ort_provider *provider,
                                 const phlox_model_options *user, phlox_error *error)
{
    const char *const what = "ONNX Runtime GenAI's configuration";
    const bool is_cpu = px_ort_is_cpu(provider);
    PX_TRY(px_ort_check(api, api->OgaConfigClearProviders(config), what, error));
    if (!is_cpu) PX_TRY(px_ort_check(api, api->OgaConfigAppendProvider(config, provider->name), what, error));
    for (size_t i = 0; i < user->ort_config_count; i++) {
        char key[256];
        const char *value;
        if (!px_ort_setting(user->ort_config[i], key, sizeof key, &value))
            return px_fail(error, PHLOX_ERROR_ARGUMENT,
                           "--ort-config %s: KEY=VALUE is meant, an option of the provider, or one of the "
                           "session, session.KEY=VALUE", user->ort_config[i]);
        if (px_ort_is_of_session(key)) continue;
        if (is_cpu)
            return px_fail(error, PHLOX_ERROR_ARGUMENT,
                           "--ort-config %s: ONNX Runtime's CPU provider has no options; those of the session "
                           "are session.KEY=VALUE", user->ort_config[i]);
        PX_TRY(px_ort_check(api, api->OgaConfigSetProviderOption(config, provider->name, key, value), what,
                            error));
    }
    return PHLOX_OK;
}

phlox_status px_ort_provider_check(const px_ort_api *api, const OgaModel *model,
                                   const px_ort_provider *provider, phlox_error *error)
{
    const char *type = NULL;
    PX_TRY(px_ort_check(api, api->OgaModelGetDeviceType(model, &type), "ONNX Runtime GenAI", error));
    phlox_status status = PHLOX_OK;
    if (provider->device_type && strcmp(type, provider->device_type) != 0)
        status = px_fail(error, PHLOX_ERROR_DEVICE,
                         "ort:%s was asked for, but ONNX Runtime GenAI runs the model on %s (%s%s%s); %s",
                         provider->name, type, api->place.genai, api->place.version[0] ? ", version " : "",
                         api->place.version, provider->advice);
    api->OgaDestroyString(type);
    return status;
}

/* ---- units --------------------------------------------------------------------------------- */

/* What the driver says of each of its GPUs; false when that cannot be a path. */
static bool nvidia_pattern(const char *root, char out[PX_PATH_SIZE])
{
    return px_root_path(out, root, "/proc/driver/nvidia/gpus/*/information");
}

/* Windows passes its GPUs on to WSL without a driver and its files: only CUDA's library shows that there is one. */
static bool has_wsl_cuda(const char *root)
{
    return px_root_exists(root, "/usr/lib/wsl/lib/libcuda.so.1");
}

static bool take_any(void *user, const char *path)
{
    (void)path;
    *(bool *)user = true;
    return false;
}

const char *px_ort_provider_of_machine(const char *root)
{
    char pattern[PX_PATH_SIZE];
    bool has_gpu = has_wsl_cuda(root);
    if (!has_gpu && nvidia_pattern(root, pattern)) px_glob(pattern, take_any, &has_gpu);
    return has_gpu ? "cuda" : "cpu";
}

static void add_unit(px_units *out, const px_ort_provider *provider)
{
    px_unit *const unit = &out->units[out->count++];
    *unit = (px_unit){.kind = provider->kind};
    snprintf(unit->unit, sizeof unit->unit, "%s", provider->name);
    if (provider->kind != PX_UNIT_CPU) return;
    phlox_cpu_name(unit->name, sizeof unit->name);
    unit->memory = px_memory_available();
}

/* "Model: NVIDIA H100" and "Bus Location: 0000:00:02.0" of what the driver says of a GPU. */
static void read_nvidia(const char *path, px_unit *unit)
{
    char text[4096];
    size_t length;
    if (px_read_text(path, text, sizeof text, &length, NULL) != PHLOX_OK) return;
    px_find_value(text, "Model:", unit->name, sizeof unit->name);
    px_find_value(text, "Bus Location:", unit->pci, sizeof unit->pci);
}

static bool add_nvidia(void *user, const char *path)
{
    px_units *const out = user;
    px_ort_provider cuda;
    px_ort_provider_of("cuda", &cuda);
    add_unit(out, &cuda);
    read_nvidia(path, &out->units[out->count - 1]);
    return false; /* the provider drives the first one, unless an option names another */
}

static void add_cuda(px_units *out, const char *root)
{
    const size_t before = out->count;
    char pattern[PX_PATH_SIZE];
    px_ort_provider cuda;
    if (nvidia_pattern(root, pattern)) px_glob(pattern, add_nvidia, out);
    if (out->count > before || !has_wsl_cuda(root)) return;
    px_ort_provider_of("cuda", &cuda);
    add_unit(out, &cuda);
}

void px_ort_provider_list(const px_ort_api *api, const char *root, px_units *out)
{
    *out = (px_units){0};
    snprintf(out->library, sizeof out->library, "%s", api->place.genai);
    snprintf(out->version, sizeof out->version, "%.40s%s%s", api->place.version,
             api->onnxruntime_version[0] ? " with ONNX Runtime " : "", api->onnxruntime_version);
    px_ort_provider cpu;
    px_ort_provider_of("cpu", &cpu);
    add_unit(out, &cpu);
    if (px_ort_has_cuda(&api->place)) add_cuda(out, root);
}
