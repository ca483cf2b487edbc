/* Which of phlox's devices can drive a unit, and what each of them lacks. */
#include "device/hardware.h"

#include <stdio.h>
#include <string.h>

/* ---- drivers ------------------------------------------------------------------------------- */

static const struct driver {
    px_unit_kind kind;
    px_vendor vendor;
    const char *name;
    int major, minor;     /* of the first Linux that has it; 0: it does not come with Linux */
    const char *firmware; /* directory of its firmware below /lib/firmware; NULL: not looked at */
    uint32_t first, last; /* ids of the units that are meant */
} drivers[] = {
    {PX_UNIT_NPU, PX_VENDOR_INTEL, "intel_vpu", 6, 3, "intel/vpu", 0, UINT32_MAX},
    {PX_UNIT_NPU, PX_VENDOR_AMD, "amdxdna", 6, 14, "amdnpu", 0, UINT32_MAX},
    {PX_UNIT_NPU, PX_VENDOR_QUALCOMM, "fastrpc", 5, 1, NULL, 0, UINT32_MAX},
    {PX_UNIT_GPU, PX_VENDOR_INTEL, "xe", 6, 8, NULL, 0x6400, 0x64ff}, /* Lunar Lake */
    {PX_UNIT_GPU, PX_VENDOR_INTEL, "xe", 6, 8, NULL, 0xb080, 0xb0ff}, /* Panther Lake */
    {PX_UNIT_GPU, PX_VENDOR_INTEL, "xe", 6, 8, NULL, 0xe200, 0xe2ff}, /* Battlemage */
    {PX_UNIT_GPU, PX_VENDOR_INTEL, "i915", 4, 0, NULL, 0, UINT32_MAX},
    {PX_UNIT_GPU, PX_VENDOR_AMD, "amdgpu", 4, 2, NULL, 0, UINT32_MAX},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, "nvidia", 0, 0, NULL, 0, UINT32_MAX},
};

static const struct driver *find_driver(const px_hardware *unit)
{
    for (size_t i = 0; i < PX_COUNT(drivers); i++)
        if (drivers[i].kind == unit->kind && drivers[i].vendor == unit->vendor &&
            unit->device_id >= drivers[i].first && unit->device_id <= drivers[i].last)
            return &drivers[i];
    return NULL;
}

const char *px_hardware_driver(const px_hardware *unit, int *major, int *minor)
{
    const struct driver *const driver = find_driver(unit);
    if (!driver) return NULL;
    *major = driver->major;
    *minor = driver->minor;
    return driver->name;
}

static bool is_meant(const px_hardware *unit, const struct driver *driver)
{
    if (unit->kind == PX_UNIT_GPU && unit->vendor == PX_VENDOR_INTEL) /* either will do, where it knows the GPU */
        return strcmp(unit->driver, "i915") == 0 || strcmp(unit->driver, "xe") == 0;
    return strcmp(unit->driver, driver->name) == 0;
}

static bool is_reserved(const px_hardware *unit)
{
    static const char *const drivers_of_hosts[] = {"vfio-pci", "pci-stub", "pciback"};
    for (size_t i = 0; i < PX_COUNT(drivers_of_hosts); i++)
        if (strcmp(unit->driver, drivers_of_hosts[i]) == 0) return true;
    return false;
}

/* Whether firmware can be seen to be missing: its directory is nowhere. */
static bool lacks_firmware(const px_hardware_list *list, const struct driver *driver)
{
    static const char *const places[] = {"/lib/firmware", "/lib/firmware/updates", "/usr/lib/firmware"};
    if (!driver->firmware || list->system.container[0]) return false;
    for (size_t i = 0; i < PX_COUNT(places); i++)
        if (px_root_exists(list->root, "%s/%s", places[i], driver->firmware)) return false;
    return true;
}

static px_lack lack_of_driver(const px_hardware_list *list, const px_hardware *unit)
{
    const struct driver *const driver = find_driver(unit);
    if (!driver) return PX_LACK_NOTHING;
    if (is_reserved(unit)) return PX_LACK_RESERVED;
    if (unit->driver[0]) return is_meant(unit, driver) ? PX_LACK_NOTHING : PX_LACK_OTHER_DRIVER;
    const bool is_loaded = px_root_exists(list->root, "/sys/module/%s", driver->name);
    if (!is_loaded && driver->major && !px_system_has_kernel(&list->system, driver->major, driver->minor))
        return PX_LACK_KERNEL;
    if (!is_loaded) return PX_LACK_MODULE;
    return lacks_firmware(list, driver) ? PX_LACK_FIRMWARE : PX_LACK_DRIVER;
}

px_lack px_hardware_lack(const px_hardware_list *list, const px_hardware *unit)
{
    if (unit->kind == PX_UNIT_CPU) return PX_LACK_NOTHING;
    if (unit->is_old) return PX_LACK_GENERATION;
    const px_lack lack = lack_of_driver(list, unit);
    if (lack != PX_LACK_NOTHING) return lack;
    if (!unit->has_node) return PX_LACK_NODE;
    if (unit->may_open) return PX_LACK_NOTHING;
    if (!unit->group_may_open) return PX_LACK_RULE;
    return unit->joins_group ? PX_LACK_LOGIN : PX_LACK_PERMISSION;
}

/* ---- libraries in user space --------------------------------------------------------------- */

static bool has_file(const char *root, const char *const *names, size_t count)
{
    static const char *const places[] = {
        "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib",
        "/usr/local/lib", "/usr/local/lib/x86_64-linux-gnu", "/usr/lib/wsl/lib",
        "/usr/lib/x86_64-linux-gnu/intel-opencl", "/usr/lib64/intel-opencl", "/usr/lib/intel-opencl",
        "/etc/OpenCL/vendors",
    };
    for (size_t i = 0; i < PX_COUNT(places); i++)
        for (size_t j = 0; j < count; j++)
            if (px_root_exists(root, "%s/%s", places[i], names[j])) return true;
    return false;
}

/* On this machine the loader knows more places than those, such as /usr/local/nvidia/lib64 of containers. */
static bool has_library(const char *root, const char *const *names, size_t count)
{
    if (has_file(root, names, count)) return true;
    for (size_t i = 0; i < count && !root[0]; i++) {
        px_library *library;
        if (!strstr(names[i], ".so") || px_library_open(names[i], &library, NULL) != PHLOX_OK) continue;
        px_library_close(library);
        return true;
    }
    return false;
}

bool px_hardware_has_library(const px_hardware_list *list, const px_hardware *unit)
{
    static const char *const npu[] = {"libze_intel_npu.so.1", "libze_intel_npu.so", "libze_intel_vpu.so.1"};
    static const char *const gpu[] = {"libze_intel_gpu.so.1", "libigdrcl.so", "intel.icd",
                                      "intel-ocl64.icd"};
    static const char *const cuda[] = {"libcuda.so.1", "libcuda.so"};
    if (unit->vendor == PX_VENDOR_INTEL && unit->kind == PX_UNIT_NPU)
        return has_library(list->root, npu, PX_COUNT(npu));
    if (unit->vendor == PX_VENDOR_INTEL && unit->kind == PX_UNIT_GPU)
        return has_library(list->root, gpu, PX_COUNT(gpu));
    if (unit->vendor == PX_VENDOR_NVIDIA || unit->vendor == PX_VENDOR_MICROSOFT)
        return has_library(list->root, cuda, PX_COUNT(cuda));
    return true;
}

bool px_hardware_has_runtime(const char *root, const char *runtime)
{
    static const char *const openvino[] = {"libopenvino_c.so"};
    static const char *const genai[] = {"libonnxruntime-genai.so"};
    return has_file(root, strcmp(runtime, "openvino") == 0 ? openvino : genai, 1);
}

/* ---- ways ---------------------------------------------------------------------------------- */

enum { ANY = -1 };

/* The best first. */
static const struct way {
    int kind, vendor; /* px_unit_kind, px_vendor or ANY */
    const char *title, *device, *unit;
    const char *package; /* for phlox runtime add; "": none helps */
    px_lack always;      /* what is missing on every machine of this system */
    bool shows_hardware; /* what its runtime lists is there and works; else only what was built in */
    bool needs_library;
} ways[] = {
    {PX_UNIT_CPU, ANY, "native engine", "cpu", "", "", PX_LACK_NOTHING, true, false},
    {PX_UNIT_CPU, ANY, "OpenVINO", "openvino", "CPU", "openvino", PX_LACK_NOTHING, true, false},
    {PX_UNIT_CPU, ANY, "ONNX Runtime GenAI", "ort", "cpu", "onnxruntime-genai", PX_LACK_NOTHING, false, false},
    {PX_UNIT_GPU, PX_VENDOR_INTEL, "OpenVINO", "openvino", "GPU", "openvino", PX_LACK_NOTHING, true, true},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, "ONNX Runtime GenAI, CUDA", "ort", "cuda", "onnxruntime-genai-cuda",
     PX_LACK_NOTHING, false, true},
    {PX_UNIT_GPU, PX_VENDOR_MICROSOFT, "ONNX Runtime GenAI, CUDA", "ort", "cuda", "onnxruntime-genai-cuda",
     PX_LACK_NOTHING, false, true},
    {PX_UNIT_GPU, PX_VENDOR_MICROSOFT, "OpenVINO", "openvino", "GPU", "openvino", PX_LACK_NOTHING, true, false},
    {PX_UNIT_GPU, PX_VENDOR_INTEL, "DirectML", "ort", "dml", "onnxruntime-genai", PX_LACK_WINDOWS, false,
     false},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, "DirectML", "ort", "dml", "onnxruntime-genai", PX_LACK_WINDOWS, false,
     false},
    {PX_UNIT_GPU, PX_VENDOR_AMD, "DirectML", "ort", "dml", "onnxruntime-genai", PX_LACK_WINDOWS, false, false},
    {PX_UNIT_GPU, PX_VENDOR_QUALCOMM, "DirectML", "ort", "dml", "onnxruntime-genai", PX_LACK_WINDOWS, false,
     false},
    {PX_UNIT_GPU, ANY, "Vulkan", "", "", "", PX_LACK_SUPPORT, false, false},
    {PX_UNIT_NPU, PX_VENDOR_INTEL, "OpenVINO", "openvino", "NPU", "openvino", PX_LACK_NOTHING, true, true},
    {PX_UNIT_NPU, PX_VENDOR_AMD, "ONNX Runtime GenAI, RyzenAI", "ort", "RyzenAI", "onnxruntime-genai",
     PX_LACK_SUPPORT, false, false},
    {PX_UNIT_NPU, PX_VENDOR_QUALCOMM, "ONNX Runtime GenAI, QNN", "ort", "QNN", "onnxruntime-genai",
     PX_LACK_SUPPORT, false, false},
    {PX_UNIT_NPU, PX_VENDOR_OTHER, "any runtime", "", "", "", PX_LACK_SUPPORT, false, false},
};

static const px_runtime_seen *find_runtime(const px_runtime_seen *runtimes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(runtimes[i].name, name) == 0) return &runtimes[i];
    return NULL;
}

size_t px_hardware_place(const px_hardware_list *list, const px_hardware *unit)
{
    size_t place = 0;
    for (const px_hardware *other = list->units; other < unit; other++)
        place += other->kind == unit->kind && other->vendor == unit->vendor;
    return place;
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool has_address(const px_hardware_list *list, const char *pci)
{
    for (size_t i = 0; i < list->count; i++)
        if (pci[0] && strcmp(list->units[i].pci, pci) == 0) return true;
    return false;
}

/* The runtime's name for the unit, which is one of this way: by address, else by kind and place. NULL: it does not
 * show it. */
static const px_unit *find_unit(const px_hardware_list *list, const px_hardware *unit,
                                const struct way *way, const px_units *units)
{
    size_t place = px_hardware_place(list, unit);
    for (size_t i = 0; i < units->count; i++)
        if (units->units[i].pci[0] && strcmp(units->units[i].pci, unit->pci) == 0 &&
            begins_with(units->units[i].unit, way->unit))
            return &units->units[i];
    for (size_t i = 0; i < units->count; i++) {
        const px_unit *const shown = &units->units[i];
        if (shown->kind != unit->kind || has_address(list, shown->pci) || !begins_with(shown->unit, way->unit))
            continue;
        if (!place--) return shown;
    }
    return NULL;
}

/* Whether the runtime shows a unit of this way; where it lists no hardware that is one provider for all of them. */
static bool has_way(const struct way *way, const px_units *units)
{
    for (size_t i = 0; i < units->count; i++)
        if (begins_with(units->units[i].unit, way->unit)) return true;
    return false;
}

static void add_problem(const px_hardware_list *list, const px_hardware *unit, px_lack lack,
                        const struct way *way, px_way *out)
{
    if (lack == PX_LACK_NOTHING || out->problem_count == PX_MOST_PROBLEMS) return;
    px_hardware_explain(list, unit, lack, way->title, way->package, "",
                        &out->problems[out->problem_count++]);
}

px_lack px_hardware_start_lack(const px_runtime_seen *seen)
{
    if (seen->has_hung) return PX_LACK_ANSWER;
    if (seen->is_given) return PX_LACK_GIVEN;
    return seen->own[0] ? PX_LACK_START : PX_LACK_START_OTHER;
}

static void add_start_problem(const px_hardware_list *list, const px_hardware *unit, const struct way *way,
                              const px_runtime_seen *seen, px_way *out)
{
    if (out->problem_count == PX_MOST_PROBLEMS) return;
    px_hardware_explain(list, unit, px_hardware_start_lack(seen), way->title,
                        seen->own[0] ? seen->own : way->package, seen->message,
                        &out->problems[out->problem_count++]);
}

static void judge_way(const px_hardware_list *list, const px_hardware *unit, const struct way *way,
                      const px_runtime_seen *seen, px_way *out)
{
    const bool is_native = seen && !seen->runtime, was_asked = seen && seen->was_asked;
    *out = (px_way){.title = way->title, .is_installed = is_native || (seen && seen->is_installed)};
    if (way->device[0])
        snprintf(out->device, sizeof out->device, "%s%s%s", way->device, way->unit[0] ? ":" : "", way->unit);
    const px_unit *shown = NULL;
    if (was_asked && seen->status == PHLOX_OK && !is_native)
        shown = find_unit(list, unit, way, &seen->units);
    out->is_listed = shown || is_native;
    if (shown) snprintf(out->device, sizeof out->device, "%s:%s", way->device, shown->unit);
    px_make_printable(out->device);
    /* What works is not to be argued with, wherever its parts may lie. */
    if (out->is_listed && way->shows_hardware) {
        out->is_usable = true;
        return;
    }
    if (way->always == PX_LACK_WINDOWS || (way->always == PX_LACK_SUPPORT && !shown)) {
        const bool is_old = unit->is_old;
        add_problem(list, unit, is_old ? PX_LACK_GENERATION : way->always, way, out);
        if (is_old || !way->device[0] || way->always == PX_LACK_WINDOWS) return;
        add_problem(list, unit, px_hardware_lack(list, unit), way, out);
        return;
    }
    const px_lack lack = px_hardware_lack(list, unit);
    add_problem(list, unit, lack, way, out);
    if (unit->is_old) return;
    /* NVIDIA's library comes with its driver */
    const bool is_told = unit->vendor == PX_VENDOR_NVIDIA && lack != PX_LACK_NOTHING;
    if (way->needs_library && !is_told && !px_hardware_has_library(list, unit))
        add_problem(list, unit, PX_LACK_LIBRARY, way, out);
    if (!seen) add_problem(list, unit, PX_LACK_BUILD, way, out);
    else if (!out->is_installed) add_problem(list, unit, PX_LACK_RUNTIME, way, out);
    else if (was_asked && seen->status != PHLOX_OK) add_start_problem(list, unit, way, seen, out);
    else if (was_asked && !shown && !out->problem_count)
        add_problem(list, unit,
                    !way->shows_hardware && has_way(way, &seen->units) ? PX_LACK_FIRST : PX_LACK_LISTED, way, out);
    out->is_usable = !out->problem_count;
}

size_t px_hardware_judge(const px_hardware_list *list, size_t index, const px_runtime_seen *runtimes,
                         size_t runtime_count, px_way out[PX_MOST_WAYS])
{
    const px_hardware *const unit = &list->units[index];
    size_t count = 0;
    for (size_t i = 0; i < PX_COUNT(ways) && count < PX_MOST_WAYS; i++) {
        const struct way *const way = &ways[i];
        if (way->kind != (int)unit->kind || (way->vendor != ANY && way->vendor != (int)unit->vendor))
            continue;
        judge_way(list, unit, way, find_runtime(runtimes, runtime_count, way->device), &out[count++]);
    }
    return count;
}

void px_hardware_note(const px_hardware_list *list, size_t index, char *out, size_t size)
{
    const px_hardware *const unit = &list->units[index];
    out[0] = 0;
    if (unit->kind != PX_UNIT_CPU) return;
    if (list->system.is_wsl)
        snprintf(out, size, "WSL passes the GPUs of Windows through, but no NPU: for that, run phlox on Linux "
                            "itself");
    else if (list->system.container[0])
        snprintf(out, size, "in a container (%s) only the units are usable whose nodes it was given: --device "
                            "/dev/dri, --device /dev/accel, --gpus all", list->system.container);
    else if (list->system.is_virtual && list->count == 1)
        snprintf(out, size, "a virtual machine has only the GPUs and NPUs that its host passes through");
}
