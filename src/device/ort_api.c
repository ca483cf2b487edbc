#include "device/ort_api.h"

#include "fetch/runtimes.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- finding ------------------------------------------------------------------------------- */

struct finding {
    px_ort_place *out;
    bool wants_cuda, has_any;
};

static bool take_place(void *user, const px_runtime_place *place)
{
    struct finding *const finding = user;
    px_ort_place found;
    snprintf(found.genai, sizeof found.genai, "%s", place->library);
    snprintf(found.onnxruntime, sizeof found.onnxruntime, "%s", place->onnxruntime ? place->onnxruntime : "");
    snprintf(found.package, sizeof found.package, "%s", place->package);
    snprintf(found.version, sizeof found.version, "%s", place->version);
    const bool is_best = !finding->wants_cuda || px_ort_has_cuda(&found);
    if (is_best || !finding->has_any) *finding->out = found;
    finding->has_any = true;
    return !is_best;
}

bool px_ort_has_cuda(const px_ort_place *place)
{
    const char *const slash = strrchr(place->genai, '/');
    const int length = slash ? (int)(slash - place->genai) : 1;
    char path[1200];
    snprintf(path, sizeof path, "%.*s/libonnxruntime-genai-cuda.so", length, slash ? place->genai : ".");
    return px_is_file(path);
}

phlox_status px_ort_find(const char *given, const char *provider, px_ort_place *out, phlox_error *error)
{
    struct finding finding = {.out = out, .wants_cuda = strcmp(provider, "cuda") == 0};
    PX_TRY(px_runtime_find(PX_ORT_RUNTIME, given, take_place, &finding, NULL, error));
    const bool found = finding.has_any;
    if (found) return PHLOX_OK;
    if (given)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                       "--ort-library %s: there is no libonnxruntime-genai.so; name the library or its "
                       "directory, or install it with phlox runtime add " PX_ORT_RUNTIME, given);
    return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                   "ONNX Runtime GenAI is not installed; phlox runtime add " PX_ORT_RUNTIME
                   " installs it, --ort-library names one that lies elsewhere");
}

/* ---- opening ------------------------------------------------------------------------------- */

#define FUNCTION(name) {#name, offsetof(px_ort_api, name)}

static const struct function {
    const char *name;
    size_t offset;
} needed[] = {
    FUNCTION(OgaResultGetError), FUNCTION(OgaDestroyResult), FUNCTION(OgaDestroyString),
    FUNCTION(OgaCreateConfig), FUNCTION(OgaConfigClearProviders), FUNCTION(OgaConfigAppendProvider),
    FUNCTION(OgaConfigSetProviderOption), FUNCTION(OgaConfigOverlay), FUNCTION(OgaDestroyConfig),
    FUNCTION(OgaCreateModelFromConfig), FUNCTION(OgaModelGetDeviceType), FUNCTION(OgaDestroyModel),
    FUNCTION(OgaCreateGeneratorParams), FUNCTION(OgaGeneratorParamsSetSearchNumber),
    FUNCTION(OgaGeneratorParamsSetSearchBool), FUNCTION(OgaDestroyGeneratorParams),
    FUNCTION(OgaCreateGenerator), FUNCTION(OgaGenerator_AppendTokens), FUNCTION(OgaGenerator_RewindTo),
    FUNCTION(OgaGenerator_GetLogits), FUNCTION(OgaGenerator_GetOutput), FUNCTION(OgaDestroyGenerator),
    FUNCTION(OgaTensorGetType), FUNCTION(OgaTensorGetShapeRank), FUNCTION(OgaTensorGetShape),
    FUNCTION(OgaTensorGetData), FUNCTION(OgaDestroyTensor),
}, optional[] = {
    FUNCTION(OgaSetTelemetryEnabled), FUNCTION(OgaCreateTensorFromBuffer), FUNCTION(OgaGenerator_SetLogits),
    FUNCTION(OgaGenerator_GenerateNextToken), FUNCTION(OgaGenerator_GetNextTokens),
};

/* The whole interface of ONNX Runtime hangs on this; phlox asks it for its version only. */
typedef struct OrtApiBase {
    const void *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} OrtApiBase;

static void read_version(px_ort_api *api)
{
    const OrtApiBase *(*get_base)(void) = NULL;
    if (px_library_function(api->onnxruntime, "OrtGetApiBase", &get_base))
        snprintf(api->onnxruntime_version, sizeof api->onnxruntime_version, "%s",
                 get_base()->GetVersionString());
}

/*
 * GenAI looks for ONNX Runtime among the libraries that are loaded, by the names libonnxruntime.so and
 * libonnxruntime.so.1, before it searches: the file of a Python wheel has only a full version in its name,
 * but is known by the second one once it is open.
 */
static phlox_status open_onnxruntime(px_ort_api *api, phlox_error *error)
{
    const px_ort_place *const place = &api->place;
    const char *const path = place->onnxruntime[0] ? place->onnxruntime : "libonnxruntime.so.1";
    const phlox_status status = px_library_open(path, &api->onnxruntime, error);
    if (status == PHLOX_OK || place->onnxruntime[0]) return status;
    return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                   "%s has no libonnxruntime.so beside it, and the system has none; phlox runtime add "
                   PX_ORT_RUNTIME " installs both", place->genai);
}

static phlox_status take_functions(px_ort_api *api, phlox_error *error)
{
    for (size_t i = 0; i < PX_COUNT(needed); i++) {
        if (!px_library_function(api->genai, needed[i].name, (char *)api + needed[i].offset))
            return px_fail(error, PHLOX_ERROR_DEVICE,
                           "%s%s%s lacks the function %s, so it is of a version that phlox cannot use "
                           "(0.18 is known to work); phlox runtime add " PX_ORT_RUNTIME
                           " installs one that it can", api->place.genai,
                           api->place.version[0] ? ", version " : "", api->place.version, needed[i].name);
    }
    for (size_t i = 0; i < PX_COUNT(optional); i++)
        px_library_function(api->genai, optional[i].name, (char *)api + optional[i].offset);
    return PHLOX_OK;
}

static phlox_status open_libraries(px_ort_api *api, phlox_error *error)
{
    /* Read once, when the libraries start. Their function alone is not enough: it leaves an uploader, a
     * persistent device id and a database of events. */
    PX_TRY(px_environment_set("ORT_DISABLE_TELEMETRY", "1", error));
    PX_TRY(open_onnxruntime(api, error));
    PX_TRY(px_library_open(api->place.genai, &api->genai, error));
    PX_TRY(take_functions(api, error));
    read_version(api);
    if (api->OgaSetTelemetryEnabled) api->OgaSetTelemetryEnabled(false);
    return PHLOX_OK;
}

phlox_status px_ort_api_open(const char *given, const char *provider, px_ort_api *out, phlox_error *error)
{
    *out = (px_ort_api){0};
    PX_TRY(px_ort_find(given, provider, &out->place, error));
    const phlox_status status = open_libraries(out, error);
    if (status == PHLOX_OK) return PHLOX_OK;
    /* that a library cannot be loaded does not mean that it is not there */
    if (error && status == PHLOX_ERROR_NOT_FOUND) error->code = PHLOX_ERROR_DEVICE;
    return px_error_prefix(error, PHLOX_ERROR_DEVICE, "ONNX Runtime GenAI");
}

/*
 * OgaShutdown() is not called: it ends the runtime for everybody in the process, and others may use it. Nor
 * are the libraries closed: GenAI takes itself down as it is unloaded and waits there for threads that cannot
 * end before the loader has done. They stay for the next model, and go with the process.
 */
void px_ort_api_close(px_ort_api *api)
{
    *api = (px_ort_api){0};
}

phlox_status px_ort_check(const px_ort_api *api, OgaResult *result, const char *what, phlox_error *error)
{
    if (!result) return PHLOX_OK;
    char sentence[768];
    snprintf(sentence, sizeof sentence, "%s", api->OgaResultGetError(result));
    api->OgaDestroyResult(result);
    size_t length = strlen(sentence);
    for (size_t i = 0; i < length; i++)
        if (iscntrl((unsigned char)sentence[i])) sentence[i] = ' ';
    while (length && (sentence[length - 1] == ' ' || sentence[length - 1] == '.')) sentence[--length] = 0;
    return px_fail(error, PHLOX_ERROR_DEVICE, "%s: %s", what, sentence);
}
