/* A runtime that the tests play: see fake_openvino.h. Built as three libraries: whole, with a function
 * missing (FAKE_LACKS), and with the older call to compile only (FAKE_PAIRS). */
#include "device/fake_openvino.h"
#include "device/openvino_api.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

#define DECLARE(type, name, arguments) EXPORT type ov_##name arguments;
PX_OPENVINO_FUNCTIONS(DECLARE)
EXPORT ov_status_e ov_core_compile_model_props(const ov_core_t *, const ov_model_t *, const char *,
                                               size_t, const ov_property_t *, ov_compiled_model_t **);
EXPORT ov_status_e ov_core_compile_model(const ov_core_t *, const ov_model_t *, const char *, size_t,
                                         ov_compiled_model_t **, ...);

enum { MOST_ENTRIES = 4096, MOST_DEVICES = 2, CONTEXT = 256 };

struct ov_core { int unused; };
struct ov_model { int unused; };
struct ov_output_const_port { bool is_beams; };

struct ov_compiled_model {
    bool is_npu;
    size_t max_prompt, capacity;
    size_t stored; /* which all requests of the NPU share */
    bool is_generating;
};

struct ov_tensor {
    ov_element_type_e type;
    size_t count;
    void *data;
    bool is_owned;
};

struct ov_infer_request {
    ov_compiled_model_t *model;
    ov_tensor_t inputs[4]; /* in the order of input_names */
    int64_t ids[MOST_ENTRIES], positions[MOST_ENTRIES], mask[MOST_ENTRIES];
    size_t entries, marked; /* the NPU's: entries whose mask was given since the prompt */
    float *logits;
    size_t rows;
};

static const char *const input_names[] = {"input_ids", "position_ids", "attention_mask", "beam_idx"};

/* The state of a process; a test is one. */
static char message[256];
static int calls;
static bool is_gone;

/* ---- what goes wrong ----------------------------------------------------------------------- */

/* The number behind "word=", 1 for the word alone, 0 when it is not there. */
static int asked(const char *word)
{
    const char *at = getenv("FAKE_OPENVINO");
    const size_t size = strlen(word);
    for (; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, word, size) == 0 && strchr("=,", at[size])) {
            const int number = at[size] == '=' ? atoi(at + size + 1) : 0;
            return number > 0 ? number : 1;
        }
    return 0;
}

/* What stands behind "npu=". */
static void copy_driver(char *out, size_t size)
{
    const char *at = getenv("FAKE_OPENVINO");
    at = at ? strstr(at, "npu=") : NULL;
    snprintf(out, size, "%.*s", at ? (int)strcspn(at + 4, ",") : 0, at ? at + 4 : "");
}

static ov_status_e fails(const char *text)
{
    snprintf(message, sizeof message, "Exception from src/fake.cpp:1:\nCheck 'x' failed at y:\n%s\n\n", text);
    return -1;
}

static FILE *open_note(const char *name, const char *mode)
{
    char path[1024];
    const char *const directory = getenv("FAKE_OPENVINO_DIR");
    if (!directory) return NULL;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return fopen(path, mode);
}

/* ---- the core ------------------------------------------------------------------------------ */

ov_status_e ov_get_openvino_version(ov_version_t *version)
{
    *version = (ov_version_t){asked("old")    ? "2022.3.0-1-old"
                              : asked("2025") ? "2025.2.0-0-fake"
                                              : "2026.4.1-0-fake", "fake"};
    return 0;
}

void ov_version_free(ov_version_t *version)
{
    *version = (ov_version_t){NULL, NULL};
}

const char *ov_get_last_err_msg(void)
{
    return message;
}

void ov_free(const char *text)
{
    free((char *)(uintptr_t)text);
}

ov_status_e ov_core_create(ov_core_t **core)
{
    if (asked("no-core")) return fails("the plugins do not load");
    *core = calloc(1, sizeof **core);
    return *core ? 0 : -1;
}

void ov_core_free(ov_core_t *core)
{
    free(core);
}

ov_status_e ov_core_get_available_devices(const ov_core_t *core, ov_available_devices_t *out)
{
    (void)core;
    *out = (ov_available_devices_t){calloc(MOST_DEVICES, sizeof *out->devices), 0};
    if (!out->devices || is_gone) return 0;
    static char cpu[] = "CPU", npu[] = "NPU";
    out->devices[out->size++] = cpu;
    if (asked("npu")) out->devices[out->size++] = npu;
    return 0;
}

void ov_available_devices_free(ov_available_devices_t *devices)
{
    free(devices->devices);
}

ov_status_e ov_core_get_property(const ov_core_t *core, const char *unit, const char *key,
                                 char **value)
{
    (void)core;
    char text[64] = "";
    if (strcmp(key, "FULL_DEVICE_NAME") == 0) snprintf(text, sizeof text, "Fake %s", unit);
    if (strcmp(key, "NPU_DRIVER_VERSION") == 0) copy_driver(text, sizeof text);
    if (strcmp(key, "NPU_DEVICE_TOTAL_MEM_SIZE") == 0) snprintf(text, sizeof text, "4096");
    if (!text[0]) return fails("no such property");
    *value = strdup(text);
    return *value ? 0 : -1;
}

ov_status_e ov_core_set_property(const ov_core_t *core, const char *unit, ...)
{
    (void)core;
    (void)unit;
    return 0;
}

/* ---- models -------------------------------------------------------------------------------- */

ov_status_e ov_core_read_model(const ov_core_t *core, const char *xml, const char *bin,
                               ov_model_t **model)
{
    (void)core;
    (void)bin;
    FILE *const file = fopen(xml, "rb");
    if (!file) return fails("no such file");
    fclose(file);
    *model = calloc(1, sizeof **model);
    return *model ? 0 : -1;
}

void ov_model_free(ov_model_t *model)
{
    free(model);
}

ov_status_e ov_model_const_input_by_name(const ov_model_t *model, const char *name,
                                         ov_output_const_port_t **port)
{
    (void)model;
    *port = calloc(1, sizeof **port);
    if (!*port) return -1;
    (*port)->is_beams = strcmp(name, "beam_idx") == 0;
    return 0;
}

void ov_output_const_port_free(ov_output_const_port_t *port)
{
    free(port);
}

static ov_element_type_e type_of(bool is_beams)
{
    return (is_beams ? 9 : 10) + (asked("numbers") != 0);
}

#ifndef FAKE_LACKS
ov_status_e ov_port_get_element_type(const ov_output_const_port_t *port, ov_element_type_e *type)
{
    *type = type_of(port->is_beams);
    return 0;
}
#endif

/* Two processes that compile at once: each waits for the other's mark, then both write one file. */
static void meet(const char *cache_dir)
{
    char name[64], path[1024];
    snprintf(name, sizeof name, "compiling-%ld", (long)getpid());
    FILE *note = open_note(name, "w");
    if (note) fclose(note);
    for (int i = 0; i < 3000; i++) {
        note = open_note("compilers", "r"); /* made by the test when it has seen two marks */
        if (note) break;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    if (note) fclose(note);
    snprintf(path, sizeof path, "%s/blob", cache_dir);
    FILE *const blob = fopen(path, "w");
    if (!blob) return;
    fputs("compiled", blob);
    fclose(blob);
}

static ov_status_e fails_for(const char *key)
{
    char text[128];
    snprintf(text, sizeof text, "NotFound: Unsupported property %s.", key);
    return fails(text);
}

static void note_compile(void)
{
    FILE *const note = open_note("compiles", "a");
    if (!note) return;
    fputc('x', note);
    fclose(note);
}

static ov_status_e compile(const char *unit, size_t count, const ov_property_t *properties,
                           ov_compiled_model_t **out)
{
    FILE *const note = open_note("properties", "w");
    size_t prompt = CONTEXT, response = 0;
    const char *cache_dir = NULL, *unknown = NULL;
    bool reuses = false;
    note_compile();
    for (size_t i = 0; i < count; i++) {
        const char *const key = properties[i].key, *const value = properties[i].value;
        if (note) fprintf(note, "%s=%s\n", key, value);
        if (strcmp(key, "NPUW_LLM_MAX_PROMPT_LEN") == 0) prompt = strtoul(value, NULL, 10);
        if (strcmp(key, "NPUW_LLM_MIN_RESPONSE_LEN") == 0) response = strtoul(value, NULL, 10);
        if (strcmp(key, "CACHE_DIR") == 0) cache_dir = value;
        if (strcmp(key, "UNKNOWN") == 0) unknown = key;
        if (strcmp(key, "NPUW_LLM_ENABLE_PREFIX_CACHING") != 0) continue;
        reuses = true;
        if (asked("no-reuse")) unknown = key;
    }
    if (note) fclose(note);
    if (unknown) return fails_for(unknown);
    if (asked("no-memory")) return fails("ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY: no memory is left.");
    if (reuses && (asked("no-chunks") || asked("compile"))) return fails("the compiler gave up on chunks.");
    if (asked("compile")) return fails("the compiler gave up.");
    if (asked("meet")) meet(cache_dir ? cache_dir : "/nowhere");
    calls = 0;
    *out = calloc(1, sizeof **out);
    if (!*out) return -1;
    **out = (ov_compiled_model_t){.is_npu = strcmp(unit, "NPU") == 0, .max_prompt = prompt,
                                  .capacity = prompt + response - 1};
    return 0;
}

#ifndef FAKE_PAIRS
ov_status_e ov_core_compile_model_props(const ov_core_t *core, const ov_model_t *model,
                                        const char *unit, size_t count,
                                        const ov_property_t *properties,
                                        ov_compiled_model_t **out)
{
    (void)core;
    (void)model;
    return compile(unit, count, properties, out);
}
#endif

ov_status_e ov_core_compile_model(const ov_core_t *core, const ov_model_t *model,
                                  const char *unit, size_t count, ov_compiled_model_t **out, ...)
{
    (void)core;
    (void)model;
    ov_property_t properties[PX_OPENVINO_MOST_PROPERTIES];
    if (count % 2 || count / 2 > PX_OPENVINO_MOST_PROPERTIES) return fails("odd properties");
    va_list arguments;
    va_start(arguments, out);
    for (size_t i = 0; i < count / 2; i++) {
        properties[i].key = va_arg(arguments, const char *);
        properties[i].value = va_arg(arguments, const char *);
    }
    va_end(arguments);
    return compile(unit, count / 2, properties, out);
}

void ov_compiled_model_free(ov_compiled_model_t *model)
{
    free(model);
}

ov_status_e ov_compiled_model_get_property(const ov_compiled_model_t *model, const char *key,
                                           char **value)
{
    (void)model;
    if (strcmp(key, "INFERENCE_NUM_THREADS") != 0) return fails("no such property");
    *value = strdup("3");
    return *value ? 0 : -1;
}

/* ---- tensors ------------------------------------------------------------------------------- */

ov_status_e ov_tensor_create_from_host_ptr(ov_element_type_e type, ov_shape_t shape, void *data,
                                           ov_tensor_t **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return -1;
    **out = (ov_tensor_t){.type = type, .count = 1, .data = data};
    for (int64_t i = 0; i < shape.rank; i++) (*out)->count *= (size_t)shape.dims[i];
    return 0;
}

void ov_tensor_free(ov_tensor_t *tensor)
{
    free(tensor);
}

ov_status_e ov_tensor_get_size(const ov_tensor_t *tensor, size_t *size)
{
    *size = tensor->count;
    return 0;
}

ov_status_e ov_tensor_get_byte_size(const ov_tensor_t *tensor, size_t *size)
{
    *size = tensor->count * sizeof(float);
    return 0;
}

ov_status_e ov_tensor_data(const ov_tensor_t *tensor, void **data)
{
    *data = tensor->data;
    return 0;
}

/* ---- requests ------------------------------------------------------------------------------ */

ov_status_e ov_compiled_model_create_infer_request(const ov_compiled_model_t *model,
                                                   ov_infer_request_t **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return -1;
    (*out)->model = (ov_compiled_model_t *)(uintptr_t)model;
    return 0;
}

void ov_infer_request_free(ov_infer_request_t *request)
{
    if (request) free(request->logits);
    free(request);
}

ov_status_e ov_infer_request_set_tensor(ov_infer_request_t *request, const char *name,
                                        const ov_tensor_t *tensor)
{
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(name, input_names[i]) != 0) continue;
        if (tensor->type != type_of(i == 3)) return fails("the tensor has another element type");
        request->inputs[i] = *tensor;
        return 0;
    }
    return fails("no such input");
}

/* The plugin of the NPU: what is a prompt, what is a step, and what is left of the cache. */
static ov_status_e place_on_npu(ov_infer_request_t *request, size_t count, int64_t first)
{
    ov_compiled_model_t *const model = request->model;
    if (count > 1 && first == 0) {
        if (count > model->max_prompt) return fails("Input prompt is longer than MAX_PROMPT_LEN");
        request->entries = request->marked = 0;
        model->stored = 0;
        model->is_generating = false;
        return 0;
    }
    if (asked("2025") && (size_t)first < model->stored && request->entries)
        return fails("a step that goes back");
    if (count > 1) return fails("Input prompt length is greater than MAX_GENERATION_TOKEN_LEN");
    if ((size_t)first < model->stored && !model->is_generating && first)
        request->ids[0] ^= 64; /* the cache moves from the wrong place */
    if ((size_t)first <= model->stored) model->stored = (size_t)first;
    if (model->stored + count > model->capacity) return fails("KV-Cache is full");
    model->is_generating = true;
    request->entries = model->stored;
    return 0;
}

/* Whether the mask, or what is left of the one before, lets old entries be seen. */
static bool shows_old(ov_infer_request_t *request, const int64_t *mask, size_t given)
{
    bool shows = given < request->marked;
    for (size_t i = request->entries; i < given; i++) shows = shows || mask[i];
    if (given > request->marked) request->marked = given;
    return shows;
}

static ov_status_e append(ov_infer_request_t *request)
{
    const size_t count = request->inputs[0].count, all = request->inputs[2].count;
    const int64_t *const ids = request->inputs[0].data, *const positions = request->inputs[1].data;
    const int64_t *const mask = request->inputs[2].data;
    const bool is_npu = request->model->is_npu;
    if (is_npu && place_on_npu(request, count, positions[0]) != 0) return -1;
    if (request->entries + count > MOST_ENTRIES) return fails("full");
    if (!is_npu && all != request->entries + count) return fails("the mask has another length");
    /* a mask of the NPU may be longer: its end is for the tokens, what is between hides old entries */
    if (is_npu && all < request->entries + count) return fails("the mask is too short");
    if (is_npu && shows_old(request, mask, all - count)) request->ids[0] ^= 64;
    for (size_t i = 0; i < request->entries; i++) request->mask[i] = mask[i];
    for (size_t i = 0; i < count; i++) {
        request->ids[request->entries + i] = ids[i];
        request->positions[request->entries + i] = positions[i];
        request->mask[request->entries + i] = mask[all - count + i];
    }
    request->entries += count;
    if (is_npu) request->model->stored = request->entries;
    return 0;
}

static ov_status_e compute(ov_infer_request_t *request, size_t count)
{
    const size_t begin = request->entries - count;
    free(request->logits);
    request->logits = calloc(count * FAKE_VOCAB, sizeof *request->logits);
    if (!request->logits) return -1;
    uint32_t hash = 1;
    for (size_t i = 0; i < request->entries; i++) {
        if (request->mask[i]) hash = fake_hash(hash, request->ids[i], request->positions[i]);
        for (size_t v = 0; i >= begin && v < FAKE_VOCAB; v++)
            request->logits[(i - begin) * FAKE_VOCAB + v] = fake_logit(hash, v);
    }
    request->rows = count;
    return 0;
}

ov_status_e ov_infer_request_infer(ov_infer_request_t *request)
{
    const size_t count = request->inputs[0].count;
    FILE *const note = open_note("calls", "a");
    if (note) {
        const int64_t *const positions = request->inputs[1].data;
        fprintf(note, "%zu@%lld ", count, (long long)positions[0]);
        fclose(note);
    }
    calls++;
    if (calls == asked("gone")) is_gone = true;
    if (is_gone || calls == asked("infer")) return fails("the plugin threw");
    if (append(request) != 0 || compute(request, count) != 0) return -1;
    if (calls == asked("nan")) request->logits[count * FAKE_VOCAB - 1] = NAN;
    return 0;
}

ov_status_e ov_infer_request_get_tensor(const ov_infer_request_t *request, const char *name,
                                        ov_tensor_t **out)
{
    if (strcmp(name, "logits") != 0) return fails("no such output");
    *out = calloc(1, sizeof **out);
    if (!*out) return -1;
    const size_t rows = request->model->is_npu ? 1 : request->rows;
    **out = (ov_tensor_t){.count = rows * FAKE_VOCAB - (asked("short") != 0),
                          .data = request->logits + (request->rows - rows) * FAKE_VOCAB};
    return 0;
}
