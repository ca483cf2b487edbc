#include "device/cpu.h"
#include "device/openvino.h"
#include "device/ort.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const px_device *const devices[] = {&px_device_cpu, &px_device_openvino, &px_device_ort, NULL};

const px_device *const *px_device_all(void)
{
    return devices;
}

/* ---- names --------------------------------------------------------------------------------- */

/* Words for short. */
static const struct {
    const char *word, *device, *unit;
} words[] = {
    {"gpu", "openvino", "GPU"},
    {"npu", "openvino", "NPU"},
    {"cuda", "ort", "cuda"},
    {"dml", "ort", "dml"},
};

static bool is_word(const char *text, size_t size, const char *word)
{
    if (strlen(word) != size) return false;
    for (size_t i = 0; i < size; i++)
        if (tolower((unsigned char)text[i]) != tolower((unsigned char)word[i])) return false;
    return true;
}

static const px_device *find(const char *name, size_t size)
{
    for (const px_device *const *device = devices; *device; device++)
        if (is_word(name, size, (*device)->name)) return *device;
    return NULL;
}

phlox_status px_device_by_name(const char *name, const px_device **device, char *unit, size_t size,
                               phlox_error *error)
{
    const size_t length = strcspn(name, ":");
    const char *part = name[length] ? name + length + 1 : "";
    const px_device *found = find(name, length);
    for (size_t i = 0; i < PX_COUNT(words) && !name[length]; i++) {
        if (!is_word(name, length, words[i].word)) continue;
        found = find(words[i].device, strlen(words[i].device));
        part = words[i].unit;
    }
    if (found && !found->runtime == !*part && strlen(part) < size) {
        *device = found;
        snprintf(unit, size, "%s", part);
        for (char *at = unit; found == &px_device_openvino && *at; at++) /* as it writes them itself */
            *at = (char)toupper((unsigned char)*at);
        return PHLOX_OK;
    }
    return px_fail(error, PHLOX_ERROR_ARGUMENT,
                   "--device %s is not known; cpu, npu, gpu, cuda, dml, openvino:UNIT (CPU, GPU.0, NPU) and "
                   "ort:PROVIDER are, phlox devices lists those of this machine", name);
}

px_unit_kind px_unit_kind_of(const char *unit)
{
    static const char *const npus[] = {"NPU", "QNN", "RyzenAI", "VitisAI"};
    for (size_t i = 0; i < PX_COUNT(npus); i++)
        if (is_word(unit, strcspn(unit, "."), npus[i])) return PX_UNIT_NPU;
    return !*unit || is_word(unit, strcspn(unit, "."), "CPU") ? PX_UNIT_CPU : PX_UNIT_GPU;
}

void px_device_unit_name(const px_device *device, const char *unit, char *out, size_t size)
{
    snprintf(out, size, *unit ? "%s:%s" : "%s", device->name, unit);
}

phlox_status px_device_check_settings(const px_device *device, const char *name,
                                      const phlox_model_options *options, phlox_error *error)
{
    const bool is_openvino = strcmp(device->name, "openvino") == 0;
    const bool is_ort = strcmp(device->name, "ort") == 0;
    const bool of_openvino = options->ov_config_count && !is_openvino;
    const bool of_npu = options->max_prompt_len || options->min_response_len || options->prefill_hint ||
                        options->generate_hint;
    if (!device->runtime && of_npu && options->device && is_word(options->device, 3, device->name))
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "--max-prompt-len, --min-response-len, --prefill-hint and --generate-hint are for an NPU; "
                       "leave them out with --device %s", name);
    if (!of_openvino && !(options->ort_config_count && !is_ort)) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_ARGUMENT,
                   "--%s-config %s means nothing to --device %s; leave it out or name another device",
                   of_openvino ? "ov" : "ort",
                   of_openvino ? options->ov_config[0] : options->ort_config[0], name);
}

phlox_status px_device_check_others(const phlox_model_options *user, const char *name, bool is_npu, phlox_error *error)
{
    const struct {
        const char *option, *owner;
        bool is_given;
    } others[] = {
        {"huge-pages", "phlox's own engine (--device cpu)", user->huge_pages != PHLOX_HUGE_AUTO},
        {"cpu-mask", "phlox's own engine (--device cpu)", user->cpu_mask != 0},
        {"max-prompt-len", "an NPU (--device openvino:NPU)", !is_npu && user->max_prompt_len},
        {"min-response-len", "an NPU (--device openvino:NPU)", !is_npu && user->min_response_len},
        {"prefill-hint", "an NPU (--device openvino:NPU)", !is_npu && user->prefill_hint},
        {"generate-hint", "an NPU (--device openvino:NPU)", !is_npu && user->generate_hint},
    };
    for (size_t i = 0; i < PX_COUNT(others); i++)
        if (others[i].is_given)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "--%s is for %s, and %s does not have it; leave it out",
                           others[i].option, others[i].owner, name);
    return PHLOX_OK;
}
