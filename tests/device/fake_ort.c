/* See fake_ort.h. Built twice: with FAKE_LACKS it is an older library without OgaGenerator_RewindTo. */
#include "fake_ort.h"

#include "base/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef struct OgaResult {
    char text[256];
} OgaResult;

typedef struct OgaConfig {
    char provider[64];
    char overlay[4096];
} OgaConfig;

typedef struct OgaModel {
    OgaConfig config;
    int32_t pad;
    long calls; /* that append */
} OgaModel;

typedef struct OgaGeneratorParams {
    size_t max_length;
} OgaGeneratorParams;

typedef struct OgaGenerator {
    OgaModel *model;
    size_t max_length, length, step; /* step: tokens of the last one */
    int32_t ids[FAKE_CONTEXT], next;
    bool is_long[FAKE_CONTEXT], is_masked[FAKE_CONTEXT];
    bool is_computed; /* what follows `next` */
    float given[FAKE_VOCAB];
} OgaGenerator;

typedef struct OgaTensor {
    int type;
    int64_t rows;
    void *data;
} OgaTensor;

static OgaResult *throw(const char *text)
{
    OgaResult *const result = calloc(1, sizeof *result);
    if (result) snprintf(result->text, sizeof result->text, "%s", text);
    return result;
}

/* The value of an option of the session, "" without it. */
static const char *option(const OgaConfig *config, const char *key, char value[128])
{
    char name[64];
    snprintf(name, sizeof name, "\"session.fake.%s\": \"", key);
    const char *const at = strstr(config->overlay, name);
    value[0] = 0;
    if (at) sscanf(at + strlen(name), "%127[^\"]", value);
    return value;
}

static bool has(const OgaModel *model, const char *key)
{
    char value[128];
    return option(&model->config, key, value)[0];
}

static long number(const OgaModel *model, const char *key, long absent)
{
    char value[128];
    return option(&model->config, key, value)[0] ? strtol(value, NULL, 10) : absent;
}

/* ---- results and strings ------------------------------------------------------------------- */

EXPORT const char *OgaResultGetError(const OgaResult *result);
EXPORT void OgaDestroyResult(OgaResult *result);
EXPORT void OgaDestroyString(const char *string);

const char *OgaResultGetError(const OgaResult *result)
{
    return result->text;
}

void OgaDestroyResult(OgaResult *result)
{
    free(result);
}

void OgaDestroyString(const char *string)
{
    free((char *)(uintptr_t)string);
}

/* ---- configuration and model --------------------------------------------------------------- */

EXPORT OgaResult *OgaCreateConfig(const char *path, OgaConfig **out);
EXPORT OgaResult *OgaConfigClearProviders(OgaConfig *config);
EXPORT OgaResult *OgaConfigAppendProvider(OgaConfig *config, const char *provider);
EXPORT OgaResult *OgaConfigSetProviderOption(OgaConfig *config, const char *provider, const char *key,
                                             const char *value);
EXPORT OgaResult *OgaConfigOverlay(OgaConfig *config, const char *json);
EXPORT void OgaDestroyConfig(OgaConfig *config);
EXPORT OgaResult *OgaCreateModelFromConfig(const OgaConfig *config, OgaModel **out);
EXPORT OgaResult *OgaModelGetDeviceType(const OgaModel *model, const char **out);
EXPORT void OgaDestroyModel(OgaModel *model);

OgaResult *OgaCreateConfig(const char *path, OgaConfig **out)
{
    if (!path[0]) return throw("no such directory");
    *out = calloc(1, sizeof **out);
    return *out ? NULL : throw("no memory");
}

OgaResult *OgaConfigClearProviders(OgaConfig *config)
{
    config->provider[0] = 0;
    return NULL;
}

OgaResult *OgaConfigAppendProvider(OgaConfig *config, const char *provider)
{
    snprintf(config->provider, sizeof config->provider, "%s", provider);
    return NULL;
}

OgaResult *OgaConfigSetProviderOption(OgaConfig *config, const char *provider, const char *key, const char *value)
{
    if (strcmp(config->provider, provider) != 0) return throw("no such provider");
    if (strcmp(key, "device_id") == 0 && value[0]) return NULL;
    return throw("Unknown provider option");
}

OgaResult *OgaConfigOverlay(OgaConfig *config, const char *json)
{
    if (strlen(json) >= sizeof config->overlay) return throw("overlay is too long");
    snprintf(config->overlay, sizeof config->overlay, "%s", json);
    return NULL;
}

void OgaDestroyConfig(OgaConfig *config)
{
    free(config);
}

OgaResult *OgaCreateModelFromConfig(const OgaConfig *config, OgaModel **out)
{
    char sentence[128];
    if (option(config, "create", sentence)[0]) return throw(sentence);
    OgaModel *const model = calloc(1, sizeof *model);
    if (!model) return throw("no memory");
    model->config = *config;
    model->pad = FAKE_PAD;
    const char *const pad = strstr(config->overlay, "\"pad_token_id\": ");
    if (pad) model->pad = (int32_t)strtol(pad + 16, NULL, 10);
    *out = model;
    return NULL;
}

OgaResult *OgaModelGetDeviceType(const OgaModel *model, const char **out)
{
    char type[128];
    if (!option(&model->config, "device", type)[0]) snprintf(type, sizeof type, "CPU");
    *out = strdup(type);
    return NULL;
}

void OgaDestroyModel(OgaModel *model)
{
    free(model);
}

/* ---- generators ---------------------------------------------------------------------------- */

EXPORT OgaResult *OgaCreateGeneratorParams(const OgaModel *model, OgaGeneratorParams **out);
EXPORT OgaResult *OgaGeneratorParamsSetSearchNumber(OgaGeneratorParams *params, const char *name, double value);
EXPORT OgaResult *OgaGeneratorParamsSetSearchBool(OgaGeneratorParams *params, const char *name, bool value);
EXPORT void OgaDestroyGeneratorParams(OgaGeneratorParams *params);
EXPORT OgaResult *OgaCreateGenerator(OgaModel *model, const OgaGeneratorParams *params, OgaGenerator **out);
EXPORT OgaResult *OgaGenerator_AppendTokens(OgaGenerator *generator, const int32_t *ids, size_t count);
EXPORT OgaResult *OgaGenerator_RewindTo(OgaGenerator *generator, size_t length);
EXPORT OgaResult *OgaGenerator_GetLogits(OgaGenerator *generator, OgaTensor **out);
EXPORT OgaResult *OgaGenerator_GetOutput(const OgaGenerator *generator, const char *name, OgaTensor **out);
EXPORT OgaResult *OgaGenerator_SetLogits(OgaGenerator *generator, OgaTensor *tensor);
EXPORT OgaResult *OgaGenerator_GenerateNextToken(OgaGenerator *generator);
EXPORT OgaResult *OgaGenerator_GetNextTokens(const OgaGenerator *generator, const int32_t **out, size_t *count);
EXPORT void OgaDestroyGenerator(OgaGenerator *generator);

OgaResult *OgaCreateGeneratorParams(const OgaModel *model, OgaGeneratorParams **out)
{
    (void)model;
    *out = calloc(1, sizeof **out);
    return *out ? NULL : throw("no memory");
}

OgaResult *OgaGeneratorParamsSetSearchNumber(OgaGeneratorParams *params, const char *name, double value)
{
    if (strcmp(name, "max_length") == 0) params->max_length = (size_t)value;
    return NULL;
}

OgaResult *OgaGeneratorParamsSetSearchBool(OgaGeneratorParams *params, const char *name, bool value)
{
    (void)params;
    return strcmp(name, "do_sample") == 0 && !value ? NULL : throw("Unknown search option");
}

void OgaDestroyGeneratorParams(OgaGeneratorParams *params)
{
    free(params);
}

OgaResult *OgaCreateGenerator(OgaModel *model, const OgaGeneratorParams *params, OgaGenerator **out)
{
    if (!params->max_length || params->max_length > FAKE_CONTEXT)
        return throw("max_length cannot be greater than model context_length");
    OgaGenerator *const generator = calloc(1, sizeof *generator);
    if (!generator) return throw("no memory");
    generator->model = model;
    generator->max_length = params->max_length;
    *out = generator;
    return NULL;
}

/* Computes tokens behind what is there: by the factors of the length that it then has. */
static void compute(OgaGenerator *generator, const int32_t *ids, size_t count)
{
    const size_t begin = generator->length;
    generator->length += count;
    generator->step = count;
    for (size_t i = begin; i < generator->length; i++) {
        generator->ids[i] = ids[i - begin];
        generator->is_long[i] = generator->length > FAKE_ORIGINAL;
        generator->is_masked[i] = !begin && generator->ids[i] == generator->model->pad;
    }
    generator->is_computed = true;
}

static OgaResult *check_call(OgaModel *model)
{
    const long call = ++model->calls;
    if (call >= number(model, "vanishes", call + 1)) return throw("887A0005: The GPU device instance has been removed.\n");
    if (call == number(model, "append_fails", -1)) return throw("Non-zero status code returned while running a node.");
    return NULL;
}

OgaResult *OgaGenerator_AppendTokens(OgaGenerator *generator, const int32_t *ids, size_t count)
{
    if (!count) return throw("input_ids is empty");
    if (generator->length + count > generator->max_length)
        return throw("input_ids size + current sequence length exceeds max length");
    if (generator->length && has(generator->model, "no_append"))
        return throw("Continuous decoding is not supported on the selected device type (DirectML).");
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= FAKE_VOCAB) return throw("indices element out of data bounds");
    compute(generator, ids, count);
    return check_call(generator->model);
}

#ifndef FAKE_LACKS
OgaResult *OgaGenerator_RewindTo(OgaGenerator *generator, size_t length)
{
    if (has(generator->model, "no_rewind")) return throw("RewindTo is currently not supported");
    if (length > generator->length) return throw("Cannot rewind to a greater length");
    generator->length = length;
    generator->step = 0;
    return NULL;
}
#endif

static uint64_t state_at(const OgaGenerator *generator, size_t at)
{
    uint64_t state = 0;
    for (size_t i = 0; i <= at; i++)
        if (!generator->is_masked[i]) state = fake_hash(state, generator->ids[i], generator->is_long[i]);
    return state;
}

static OgaResult *make_tensor(int type, int64_t rows, OgaTensor **out)
{
    OgaTensor *const tensor = calloc(1, sizeof *tensor);
    if (!tensor) return throw("no memory");
    *tensor = (OgaTensor){type, rows, calloc((size_t)rows * FAKE_VOCAB, sizeof(float))};
    *out = tensor;
    return NULL;
}

static void fill_row(const OgaGenerator *generator, size_t at, OgaTensor *tensor, size_t row)
{
    const uint64_t state = state_at(generator, at);
    const bool is_nan = generator->ids[at] == number(generator->model, "nan_at", -1);
    for (size_t v = 0; v < FAKE_VOCAB; v++) {
        const float logit = is_nan ? NAN : fake_logit(state, (int32_t)v);
        if (tensor->type == 1) ((float *)tensor->data)[row * FAKE_VOCAB + v] = logit;
        else ((uint16_t *)tensor->data)[row * FAKE_VOCAB + v] = px_f32_to_f16(logit);
    }
}

/* Of the last token of the step that is not the one for padding. */
OgaResult *OgaGenerator_GetLogits(OgaGenerator *generator, OgaTensor **out)
{
    if (!generator->is_computed) {
        compute(generator, &generator->next, 1);
        OgaResult *const result = check_call(generator->model);
        if (result) return result;
    }
    if (!generator->length || !generator->step) return throw("no logits");
    size_t at = generator->length - 1;
    while (at > generator->length - generator->step && generator->ids[at] == generator->model->pad) at--;
    OgaResult *const result = make_tensor(1, 1, out);
    if (!result) fill_row(generator, at, *out, 0);
    return result;
}

OgaResult *OgaGenerator_GetOutput(const OgaGenerator *generator, const char *name, OgaTensor **out)
{
    if (strcmp(name, "logits") != 0) return throw("Generator output was not found.");
    if (!generator->step) return throw("no logits");
    const size_t rows = has(generator->model, "last_only") ? 1 : generator->step;
    OgaResult *const result = make_tensor(has(generator->model, "half") ? 10 : 1, (int64_t)rows, out);
    for (size_t i = 0; !result && i < rows; i++) fill_row(generator, generator->length - rows + i, *out, i);
    return result;
}

OgaResult *OgaGenerator_SetLogits(OgaGenerator *generator, OgaTensor *tensor)
{
    if (!generator->is_computed) return throw("logits are not computed yet");
    memcpy(generator->given, tensor->data, sizeof generator->given);
    return NULL;
}

OgaResult *OgaGenerator_GenerateNextToken(OgaGenerator *generator)
{
    int32_t best = 0;
    for (int32_t v = 1; v < FAKE_VOCAB; v++)
        if (generator->given[v] > generator->given[best]) best = v;
    generator->next = best;
    if (best == FAKE_EOS || generator->length == generator->max_length) return NULL; /* done: nothing is appended */
    generator->is_computed = false;
    return NULL;
}

OgaResult *OgaGenerator_GetNextTokens(const OgaGenerator *generator, const int32_t **out, size_t *count)
{
    *out = &generator->next;
    *count = 1;
    return NULL;
}

void OgaDestroyGenerator(OgaGenerator *generator)
{
    free(generator);
}

/* ---- tensors ------------------------------------------------------------------------------- */

EXPORT OgaResult *OgaCreateTensorFromBuffer(void *data, const int64_t *shape, size_t rank, int type, OgaTensor **out);
EXPORT OgaResult *OgaTensorGetType(OgaTensor *tensor, int *out);
EXPORT OgaResult *OgaTensorGetShapeRank(OgaTensor *tensor, size_t *out);
EXPORT OgaResult *OgaTensorGetShape(OgaTensor *tensor, int64_t *shape, size_t rank);
EXPORT OgaResult *OgaTensorGetData(OgaTensor *tensor, void **out);
EXPORT void OgaDestroyTensor(OgaTensor *tensor);

OgaResult *OgaCreateTensorFromBuffer(void *data, const int64_t *shape, size_t rank, int type, OgaTensor **out)
{
    if (rank != 3 || shape[0] != 1 || shape[1] != 1 || shape[2] != FAKE_VOCAB || type != 1)
        return throw("a tensor of another shape");
    OgaResult *const result = make_tensor(1, 1, out);
    if (!result) memcpy((*out)->data, data, FAKE_VOCAB * sizeof(float));
    return result;
}

OgaResult *OgaTensorGetType(OgaTensor *tensor, int *out)
{
    *out = tensor->type;
    return NULL;
}

OgaResult *OgaTensorGetShapeRank(OgaTensor *tensor, size_t *out)
{
    (void)tensor;
    *out = 3;
    return NULL;
}

OgaResult *OgaTensorGetShape(OgaTensor *tensor, int64_t *shape, size_t rank)
{
    const int64_t own[] = {1, tensor->rows, FAKE_VOCAB};
    for (size_t i = 0; i < rank; i++) shape[i] = own[i];
    return NULL;
}

OgaResult *OgaTensorGetData(OgaTensor *tensor, void **out)
{
    *out = tensor->data;
    return NULL;
}

void OgaDestroyTensor(OgaTensor *tensor)
{
    if (!tensor) return;
    free(tensor->data);
    free(tensor);
}
