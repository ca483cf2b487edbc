#include "device/openvino_api.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEND "phlox runtime add openvino installs one that works"

enum { OLDEST_YEAR = 2023 };

/* ---- opening ------------------------------------------------------------------------------- */

/* Fills in what the library has; the name of the first function that it lacks, or NULL. */
static const char *find_functions(const px_library *library, px_openvino_api *api)
{
    const char *missing = NULL;
#define FIND(type, name, arguments) \
    if (!px_library_function(library, "ov_" #name, &api->name) && !missing) missing = "ov_" #name;
    PX_OPENVINO_FUNCTIONS(FIND)
#undef FIND
    const bool takes_list =
        px_library_function(library, "ov_core_compile_model_props", &api->core_compile_model_props);
    const bool takes_pairs =
        px_library_function(library, "ov_core_compile_model", &api->core_compile_model);
    return missing || takes_list || takes_pairs ? missing : "ov_core_compile_model";
}

static void read_version(px_openvino_api *api)
{
    ov_version_t version = {NULL, NULL};
    snprintf(api->version, sizeof api->version, "unknown");
    if (!api->get_openvino_version || !api->version_free) return;
    if (api->get_openvino_version(&version) != 0 || !version.build_number) return;
    snprintf(api->version, sizeof api->version, "%s", version.build_number);
    api->version_free(&version);
    if (sscanf(api->version, "%d.%d", &api->year, &api->release) != 2) api->year = 0;
}

static phlox_status check(const px_library *library, px_openvino_api *api, phlox_error *error)
{
    const char *const missing = find_functions(library, api);
    read_version(api);
    if (missing)
        return px_fail(error, PHLOX_ERROR_DEVICE,
                       "%s, OpenVINO of version %s, has no function %s; " MEND, api->path,
                       api->version, missing);
    if (api->year < OLDEST_YEAR)
        return px_fail(error, PHLOX_ERROR_DEVICE,
                       "%s is OpenVINO of version %s, and phlox needs %d.0 or newer; " MEND,
                       api->path, api->version, OLDEST_YEAR);
    return PHLOX_OK;
}

phlox_status px_openvino_api_open(const char *path, px_openvino_api *out, phlox_error *error)
{
    px_openvino_api api = {.year = 0};
    px_library *library = NULL;
    phlox_error reason = {.code = PHLOX_OK};
    snprintf(api.path, sizeof api.path, "%s", path);
    if (px_library_open(path, &library, &reason) != PHLOX_OK)
        return px_fail(error, px_is_file(path) ? PHLOX_ERROR_DEVICE : PHLOX_ERROR_NOT_FOUND,
                       "OpenVINO's library does not load: %s; " MEND, reason.message);
    const phlox_status status = check(library, &api, error);
    if (status != PHLOX_OK) {
        px_library_close(library);
        return status;
    }
    *out = api;
    return PHLOX_OK;
}

/* ---- errors -------------------------------------------------------------------------------- */

/* Whether a line of a message says where in OpenVINO's source it was thrown, and nothing else. */
static bool is_place(const char *line, size_t size)
{
    static const char *const beginnings[] = {"Exception from ", "Check '", "Check \""};
    for (size_t i = 0; i < PX_COUNT(beginnings); i++)
        if (size >= strlen(beginnings[i]) &&
            memcmp(line, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return size == 0;
}

/* What a message says, without the places, on one line. */
static void tidy(const char *message, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    while (*message && used + 1 < size) {
        while (*message == ' ') message++;
        const size_t length = strcspn(message, "\r\n");
        if (!is_place(message, length)) {
            const int wanted = snprintf(out + used, size - used, "%s%.*s", used ? " " : "",
                                        (int)PX_MIN(length, size), message);
            used += (size_t)PX_MAX(wanted, 0);
        }
        message += length;
        message += strspn(message, "\r\n");
    }
    if (used >= size) used = size - 1;
    while (used && strchr(" .;:", out[used - 1])) out[--used] = 0;
}

phlox_status px_openvino_fail(const px_openvino_api *api, phlox_error *error, const char *format,
                              ...)
{
    char what[256], said[640];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    const char *const message = api->get_last_err_msg();
    tidy(message ? message : "", said, sizeof said);
    return px_fail(error, PHLOX_ERROR_DEVICE, "%s: OpenVINO %d.%d says: %s", what, api->year,
                   api->release, said[0] ? said : "nothing");
}

/* ---- calls in two forms, and short ones ---------------------------------------------------- */

phlox_status px_openvino_compile(const px_openvino_api *api, const ov_core_t *core,
                                 const ov_model_t *model, const char *unit,
                                 const ov_property_t *properties, size_t count,
                                 ov_compiled_model_t **out, phlox_error *error)
{
    ov_status_e status;
    if (api->core_compile_model_props) {
        status = api->core_compile_model_props(core, model, unit, count, properties, out);
    } else {
        /* It reads as many as their number says; what stands behind them is not looked at. */
        ov_property_t p[PX_OPENVINO_MOST_PROPERTIES] = {{NULL, NULL}};
        memcpy(p, properties, count * sizeof *properties);
#define PAIR(i) p[i].key, p[i].value
#define PAIRS_4(i) PAIR(i), PAIR((i) + 1), PAIR((i) + 2), PAIR((i) + 3)
#define PAIRS_16(i) PAIRS_4(i), PAIRS_4((i) + 4), PAIRS_4((i) + 8), PAIRS_4((i) + 12)
        status = api->core_compile_model(core, model, unit, 2 * count, out, PAIRS_16(0),
                                         PAIRS_16(16), PAIRS_16(32), PAIRS_16(48));
    }
    return status == 0 ? PHLOX_OK
                       : px_openvino_fail(api, error, "compiling for openvino:%s", unit);
}

phlox_status px_openvino_input_type(const px_openvino_api *api, const ov_model_t *model,
                                    const char *input, ov_element_type_e *out, phlox_error *error)
{
    ov_output_const_port_t *port = NULL;
    if (api->model_const_input_by_name(model, input, &port) != 0)
        return px_openvino_fail(api, error, "the input %s", input);
    const ov_status_e status = api->port_get_element_type(port, out);
    api->output_const_port_free(port);
    return status == 0 ? PHLOX_OK
                       : px_openvino_fail(api, error, "the element type of the input %s", input);
}

bool px_openvino_property(const px_openvino_api *api, const ov_core_t *core, const char *unit,
                          const char *key, char *out, size_t size)
{
    char *value = NULL;
    out[0] = 0;
    if (api->core_get_property(core, unit, key, &value) != 0 || !value) return false;
    snprintf(out, size, "%s", value);
    api->free(value);
    return true;
}
