#include "fetch/runtime_table.h"

#include <string.h>

/* Frontends read what phlox does not give to OpenVINO; the one for its own form is kept, and so are all
 * devices. */
static const px_archive_rule openvino[] = {
    {"openvino/libs/libopenvino_gguf_frontend.so*", NULL},
    {"openvino/libs/libopenvino_jax_frontend.so*", NULL},
    {"openvino/libs/libopenvino_onnx_frontend.so*", NULL},
    {"openvino/libs/libopenvino_paddle_frontend.so*", NULL},
    {"openvino/libs/libopenvino_pytorch_frontend.so*", NULL},
    {"openvino/libs/libopenvino_tensorflow_frontend.so*", NULL},
    {"openvino/libs/libopenvino_tensorflow_lite_frontend.so*", NULL},
    {"openvino/libs/libtbbmalloc_proxy.so*", NULL},
    {"openvino/libs/*.so*", ""},
    {"openvino/libs/cache.json", ""}, /* which kernels suit which GPU */
    {"openvino-*.dist-info/licenses/**", "openvino-"},
};

static const px_archive_rule genai[] = {
    {"onnxruntime_genai/lib*.so*", ""},
    {"onnxruntime_genai/LICENSE", "onnxruntime-genai-"},
    {"onnxruntime_genai/ThirdPartyNotices.txt", "onnxruntime-genai-"},
    {"onnxruntime_genai*.dist-info/licenses/**", "onnxruntime-genai-dist-"},
};

static const px_archive_rule onnxruntime[] = {
    {"onnxruntime/capi/lib*.so*", ""},
    {"onnxruntime/LICENSE", "onnxruntime-"},
    {"onnxruntime/ThirdPartyNotices.txt", "onnxruntime-"},
    {"onnxruntime*.dist-info/licenses/**", "onnxruntime-dist-"},
};

static const px_runtime_kind kinds[] = {
    {"openvino", "openvino", {{"openvino", openvino, PX_COUNT(openvino)}}},
    {"onnxruntime-genai", "onnxruntime-genai",
     {{"onnxruntime-genai", genai, PX_COUNT(genai)}, {"onnxruntime", onnxruntime, PX_COUNT(onnxruntime)}}},
    {"onnxruntime-genai-cuda", "onnxruntime-genai",
     {{"onnxruntime-genai-cuda", genai, PX_COUNT(genai)},
      {"onnxruntime-gpu", onnxruntime, PX_COUNT(onnxruntime)}}},
};

phlox_status px_runtime_kind_of(const char *text, const px_runtime_kind **out, const char **version,
                                phlox_error *error)
{
    const size_t length = strcspn(text, "=");
    for (size_t i = 0; i < PX_COUNT(kinds); i++) {
        if (strlen(kinds[i].name) != length || memcmp(kinds[i].name, text, length) != 0) continue;
        if (text[length] && strncmp(text + length, "==", 2) != 0) break;
        *out = &kinds[i];
        *version = text[length] ? text + length + 2 : NULL;
        return PHLOX_OK;
    }
    return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                   "\"%.100s\" is no runtime; there are openvino, onnxruntime-genai and "
                   "onnxruntime-genai-cuda, each also with a version: openvino==2026.4.1", text);
}
