/*
 * ONNX Runtime GenAI, opened at run time: own declarations of those of its C functions that phlox calls,
 * under the library's names. Its telemetry is switched off before it is loaded.
 */
#ifndef PX_DEVICE_ORT_API_H
#define PX_DEVICE_ORT_API_H

#include "base/os.h"
#include "device/device.h"

#define PX_ORT_RUNTIME "onnxruntime-genai" /* its name for phlox runtime */

typedef struct OgaResult OgaResult; /* an error; functions return NULL when all is well */
typedef struct OgaConfig OgaConfig;
typedef struct OgaModel OgaModel;
typedef struct OgaGeneratorParams OgaGeneratorParams;
typedef struct OgaGenerator OgaGenerator;
typedef struct OgaTensor OgaTensor;

/* Types of elements, as OgaTensorGetType() and OgaCreateTensorFromBuffer() have them. */
enum { PX_ORT_FLOAT32 = 1, PX_ORT_FLOAT16 = 10, PX_ORT_BFLOAT16 = 16 };

/* Where the libraries are. */
typedef struct px_ort_place {
    char genai[1024];       /* path of libonnxruntime-genai.so */
    char onnxruntime[1024]; /* path of the libonnxruntime that goes with it; "": the system's */
    char package[64];       /* "onnxruntime-genai-cuda"; "" when nothing tells */
    char version[64];       /* "0.18.0"; "" when nothing tells */
} px_ort_place;

typedef struct px_ort_api {
    px_library *onnxruntime, *genai;
    px_ort_place place;
    char onnxruntime_version[32]; /* "1.32.0" */

    const char *(*OgaResultGetError)(const OgaResult *result);
    void (*OgaDestroyResult)(OgaResult *result);
    void (*OgaDestroyString)(const char *string);

    OgaResult *(*OgaCreateConfig)(const char *path, OgaConfig **out);
    OgaResult *(*OgaConfigClearProviders)(OgaConfig *config);
    OgaResult *(*OgaConfigAppendProvider)(OgaConfig *config, const char *provider);
    OgaResult *(*OgaConfigSetProviderOption)(OgaConfig *config, const char *provider, const char *key,
                                             const char *value);
    OgaResult *(*OgaConfigOverlay)(OgaConfig *config, const char *json);
    void (*OgaDestroyConfig)(OgaConfig *config);

    OgaResult *(*OgaCreateModelFromConfig)(const OgaConfig *config, OgaModel **out);
    OgaResult *(*OgaModelGetDeviceType)(const OgaModel *model, const char **out); /* OgaDestroyString() it */
    void (*OgaDestroyModel)(OgaModel *model);

    OgaResult *(*OgaCreateGeneratorParams)(const OgaModel *model, OgaGeneratorParams **out);
    OgaResult *(*OgaGeneratorParamsSetSearchNumber)(OgaGeneratorParams *params, const char *name,
                                                    double value);
    OgaResult *(*OgaGeneratorParamsSetSearchBool)(OgaGeneratorParams *params, const char *name, bool value);
    void (*OgaDestroyGeneratorParams)(OgaGeneratorParams *params);

    OgaResult *(*OgaCreateGenerator)(const OgaModel *model, const OgaGeneratorParams *params,
                                     OgaGenerator **out);
    OgaResult *(*OgaGenerator_AppendTokens)(OgaGenerator *generator, const int32_t *ids, size_t count);
    OgaResult *(*OgaGenerator_RewindTo)(OgaGenerator *generator, size_t length);
    /* Of the last token, float32 on the CPU whatever the model has; a copy. */
    OgaResult *(*OgaGenerator_GetLogits)(OgaGenerator *generator, OgaTensor **out);
    /* What the graph gave in the last step, in its own type; a copy on the CPU. */
    OgaResult *(*OgaGenerator_GetOutput)(const OgaGenerator *generator, const char *name, OgaTensor **out);
    void (*OgaDestroyGenerator)(OgaGenerator *generator);

    OgaResult *(*OgaTensorGetType)(OgaTensor *tensor, int *out);
    OgaResult *(*OgaTensorGetShapeRank)(OgaTensor *tensor, size_t *out);
    OgaResult *(*OgaTensorGetShape)(OgaTensor *tensor, int64_t *shape, size_t rank);
    OgaResult *(*OgaTensorGetData)(OgaTensor *tensor, void **out);
    void (*OgaDestroyTensor)(OgaTensor *tensor);

    /* May be NULL: older and trimmed builds lack them. */
    void (*OgaSetTelemetryEnabled)(bool enabled);
    OgaResult *(*OgaCreateTensorFromBuffer)(void *data, const int64_t *shape, size_t rank, int type,
                                            OgaTensor **out);
    OgaResult *(*OgaGenerator_SetLogits)(OgaGenerator *generator, OgaTensor *tensor);
    OgaResult *(*OgaGenerator_GenerateNextToken)(OgaGenerator *generator);
    OgaResult *(*OgaGenerator_GetNextTokens)(const OgaGenerator *generator, const int32_t **out,
                                             size_t *count);
} px_ort_api;

/* Finds the libraries without opening them. `given`: what the user named, or NULL. For the provider "cuda" the
 * first place that has it, if there is one, and for every other the first of all: there may be a plain build and
 * one with CUDA. PHLOX_ERROR_NOT_FOUND says how to install them. */
phlox_status px_ort_find(const char *given, const char *provider, px_ort_place *out, phlox_error *error);

/* Whether the build has the provider "cuda". */
bool px_ort_has_cuda(const px_ort_place *place);

/* Opens the libraries that px_ort_find() finds. On failure nothing stays open. */
phlox_status px_ort_api_open(const char *given, const char *provider, px_ort_api *out, phlox_error *error);
void px_ort_api_close(px_ort_api *api);

/* PHLOX_ERROR_DEVICE with the runtime's own sentence behind `what` unless the result is NULL; destroys it. */
phlox_status px_ort_check(const px_ort_api *api, OgaResult *result, const char *what, phlox_error *error);

#endif
