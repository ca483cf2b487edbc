#include "device/openvino_model.h"
#include "fetch/runtimes.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the library --------------------------------------------------------------------------- */

struct finding {
    char *path;
    size_t size;
};

static bool take_first(void *user, const px_runtime_place *place)
{
    const struct finding *const finding = user;
    snprintf(finding->path, finding->size, "%s", place->library);
    return false;
}

bool px_openvino_find(const phlox_model_options *user, char *path, size_t size)
{
    struct finding finding = {path, size};
    size_t found = 0;
    return px_runtime_find("openvino", user->openvino_library, take_first, &finding, &found, NULL) ==
               PHLOX_OK && found;
}

static phlox_status open_library(const phlox_model_options *user, px_openvino_api *api,
                                 phlox_error *error)
{
    char path[sizeof api->path];
    if (px_openvino_find(user, path, sizeof path)) return px_openvino_api_open(path, api, error);
    if (user->openvino_library)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                       "--openvino-library %s: there is no libopenvino_c in it", user->openvino_library);
    return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                   "OpenVINO is not installed; phlox runtime add openvino installs it");
}

phlox_status px_openvino_start(const phlox_model_options *user, px_openvino_api *api, ov_core_t **core,
                               phlox_error *error)
{
    PX_TRY(open_library(user, api, error));
    if (api->core_create(core) == 0) return PHLOX_OK;
    *core = NULL;
    const phlox_status status = px_openvino_fail(api, error, "%s does not start", api->path);
    return px_error_advise(error, status, "phlox runtime add openvino installs one that works");
}

/* ---- units --------------------------------------------------------------------------------- */

static uint64_t memory_of(const px_openvino_api *api, const ov_core_t *core, const char *unit,
                          px_unit_kind kind)
{
    char text[32];
    if (kind == PX_UNIT_CPU) return px_memory_available();
    const char *const key =
        kind == PX_UNIT_NPU ? "NPU_DEVICE_TOTAL_MEM_SIZE" : "GPU_DEVICE_TOTAL_MEM_SIZE";
    return px_openvino_property(api, core, unit, key, text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}

/* "{domain: 0 bus: 3 device: 0x0 function: 0}" as the system writes addresses, "0000:03:00.0". */
void px_openvino_pci(const char *text, char *out, size_t size)
{
    unsigned domain, bus, device, function;
    out[0] = 0;
    if (sscanf(text, "{domain: %8u bus: %8u device: %8x function: %8u}", &domain, &bus, &device, &function) == 4 &&
        domain <= 0xffff && bus <= 0xff && device <= 0x1f && function <= 7)
        snprintf(out, size, "%04x:%02x:%02x.%x", domain, bus, device, function);
}

static void describe_unit(const px_openvino_api *api, const ov_core_t *core, const char *name,
                          px_unit *out)
{
    *out = (px_unit){.kind = strncmp(name, "NPU", 3) == 0   ? PX_UNIT_NPU
                             : strncmp(name, "GPU", 3) == 0 ? PX_UNIT_GPU
                                                            : PX_UNIT_CPU};
    char pci[96];
    snprintf(out->unit, sizeof out->unit, "%s", name);
    px_openvino_property(api, core, name, "FULL_DEVICE_NAME", out->name, sizeof out->name);
    if (px_openvino_property(api, core, name, "DEVICE_PCI_INFO", pci, sizeof pci))
        px_openvino_pci(pci, out->pci, sizeof out->pci);
    if (out->kind != PX_UNIT_CPU)
        px_openvino_property(api, core, name,
                             out->kind == PX_UNIT_NPU ? "NPU_DRIVER_VERSION" : "DRIVER_VERSION",
                             out->driver, sizeof out->driver);
    out->memory = memory_of(api, core, name, out->kind);
}

static phlox_status list_units(const px_openvino_api *api, const ov_core_t *core, px_units *out,
                               phlox_error *error)
{
    ov_available_devices_t devices = {NULL, 0};
    if (api->core_get_available_devices(core, &devices) != 0)
        return px_openvino_fail(api, error, "the list of units");
    *out = (px_units){.count = PX_MIN(devices.size, (size_t)PX_MOST_UNITS)};
    snprintf(out->library, sizeof out->library, "%s", api->path);
    snprintf(out->version, sizeof out->version, "%s", api->version);
    for (size_t i = 0; i < out->count; i++)
        describe_unit(api, core, devices.devices[i], &out->units[i]);
    api->available_devices_free(&devices);
    return PHLOX_OK;
}

phlox_status px_openvino_list(const phlox_model_options *user, px_units *out, phlox_error *error)
{
    px_openvino_api api;
    ov_core_t *core = NULL;
    PX_TRY(px_openvino_start(user, &api, &core, error));
    const phlox_status status = list_units(&api, core, out, error);
    api.core_free(core);
    return status;
}

void px_openvino_name_unit(px_device_model *model, const char *unit)
{
    size_t i = 0;
    for (; unit[i] && i + 1 < sizeof model->unit; i++)
        model->unit[i] = (char)toupper((unsigned char)unit[i]);
    model->unit[i] = 0;
    model->is_npu = px_openvino_is_npu(unit);
}

bool px_openvino_is_npu(const char *unit)
{
    static const char npu[] = "NPU";
    size_t i = 0;
    while (npu[i] && toupper((unsigned char)unit[i]) == npu[i]) i++;
    return !npu[i] && (!unit[i] || unit[i] == '.');
}

void px_openvino_driver(const px_device_model *model, char *out, size_t size)
{
    const char *const key = model->is_npu ? "NPU_DRIVER_VERSION" : "DRIVER_VERSION";
    px_openvino_property(&model->api, model->core, model->unit, key, out, size);
}

/* Whether the unit, or one of its kind, is among those that are there. Names that combine several, as
 * "AUTO:GPU,CPU" does, are OpenVINO's affair. */
static bool is_listed(const px_units *units, const char *unit)
{
    const size_t size = strlen(unit);
    bool is_plain = false;
    static const char *const kinds[] = {"CPU", "GPU", "NPU"};
    for (size_t i = 0; i < PX_COUNT(kinds); i++)
        is_plain = is_plain || (strncmp(unit, kinds[i], 3) == 0 && (!unit[3] || unit[3] == '.'));
    for (size_t i = 0; i < units->count; i++)
        if (strncmp(units->units[i].unit, unit, size) == 0 &&
            (!units->units[i].unit[size] || units->units[i].unit[size] == '.'))
            return true;
    return !is_plain;
}

static const char *advice(const px_device_model *model)
{
    if (model->is_npu)
        return "an NPU needs its kernel driver (a device in /dev/accel that you may open), Intel's user-mode "
               "driver and Level Zero; phlox devices says what is missing";
    return "phlox devices shows the units that it finds, and what others lack";
}

phlox_status px_openvino_check_unit(const px_device_model *model, phlox_error *error)
{
    if (model->is_borrowed) return PHLOX_OK;
    px_units *const units = px_calloc(1, sizeof *units);
    if (!units) return px_fail_memory(error, sizeof *units);
    phlox_status status = list_units(&model->api, model->core, units, error);
    if (status == PHLOX_OK && !is_listed(units, model->unit))
        status = px_fail(error, PHLOX_ERROR_DEVICE,
                         "openvino:%s: OpenVINO %d.%d (%s) finds no such unit that it can drive; %s",
                         model->unit, model->api.year, model->api.release, model->api.path,
                         advice(model));
    free(units);
    return status;
}
