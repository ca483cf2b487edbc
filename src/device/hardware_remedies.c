/*
 * What is missing, in a sentence, and the command that mends it: one row for each (kind, vendor, what is
 * missing, where phlox runs), the first that fits counts. To know another case, add a row.
 *
 * Words in braces stand for what is so on this machine: {unit} its name, {driver} and {since} the kernel's
 * driver for it and the version of Linux that it came with, {bound} the driver that has it now, {kernel}, {pci},
 * {node}, {group}, {place} among the units of its kind and vendor, from 0 on, {runtime}, {package} for phlox
 * runtime, {option} that names its library, and {message} of the runtime.
 */
#include "device/hardware.h"

#include <stdio.h>
#include <string.h>

enum { ANY = -1 };

enum place { ANYWHERE, CONTAINER, WSL, UBUNTU, DEBIAN };

struct row {
    int kind, vendor; /* px_unit_kind, px_vendor or ANY */
    px_lack lack;
    enum place place;
    const char *reason;
    const char *remedy;             /* on every system, or where it is none of: */
    const char *apt, *dnf, *pacman; /* on those with these package managers; NULL: remedy */
};

#define NPU_RELEASES "https://github.com/intel/linux-npu-driver/releases"
#define NPU_PACKAGES "download intel-driver-compiler-npu, intel-level-zero-npu and intel-fw-npu from " \
                     NPU_RELEASES
#define NVIDIA_DEBIAN "sudo apt install nvidia-driver && sudo reboot"
#define NPU_INSTALL NPU_PACKAGES ", then: sudo apt install ./intel-*npu_*.deb && sudo reboot"

/* Loading a driver does not take a unit from another one. */
#define REBIND "echo {driver} | sudo tee /sys/bus/pci/devices/{pci}/driver_override; " \
               "echo {pci} | sudo tee /sys/bus/pci/drivers/{bound}/unbind; sudo modprobe {driver}; " \
               "echo {pci} | sudo tee /sys/bus/pci/drivers_probe"

static const struct row rows[] = {
    /* ---- what nobody can mend -------------------------------------------------------------------- */
    {ANY, PX_VENDOR_AMD, PX_LACK_GENERATION, ANYWHERE,
     "{unit} is of the first generation (XDNA 1: Ryzen 7040, 8040 and 200): AMD's runtimes run language "
     "models on XDNA 2 (Ryzen AI 300) and later only",
     "use the CPU: phlox run --device cpu", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_GENERATION, ANYWHERE, "{unit} is of a generation that no runtime supports",
     "use the CPU: phlox run --device cpu", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_INTEL, PX_LACK_WINDOWS, ANYWHERE, "{runtime} is for Windows only",
     "use OpenVINO: phlox run --device gpu", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_WINDOWS, ANYWHERE, "{runtime} is for Windows only",
     "use CUDA: phlox run --device cuda", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_WINDOWS, ANYWHERE, "{runtime} is for Windows only",
     "use the CPU: phlox run --device cpu", NULL, NULL, NULL},
    {PX_UNIT_NPU, PX_VENDOR_QUALCOMM, PX_LACK_SUPPORT, ANYWHERE,
     "{unit} needs a build of ONNX Runtime GenAI with Qualcomm's QNN provider, which the package index has "
     "for Windows on Arm only",
     "build one, then: phlox run --device ort:QNN --ort-library DIR", NULL, NULL, NULL},
    {PX_UNIT_NPU, PX_VENDOR_AMD, PX_LACK_SUPPORT, ANYWHERE,
     "{unit} needs a build of ONNX Runtime GenAI with AMD's RyzenAI provider, which the package index does "
     "not have",
     "install AMD's Ryzen AI Software, then: phlox run --device ort:RyzenAI --ort-library DIR", NULL, NULL,
     NULL},
    {PX_UNIT_GPU, PX_VENDOR_INTEL, PX_LACK_SUPPORT, ANYWHERE, "phlox has no engine for {runtime}",
     "use OpenVINO: phlox run --device gpu", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_SUPPORT, ANYWHERE, "phlox has no engine for {runtime}",
     "use CUDA: phlox run --device cuda", NULL, NULL, NULL},
    {PX_UNIT_GPU, ANY, PX_LACK_SUPPORT, ANYWHERE, "phlox has no engine for {runtime}",
     "use the CPU: phlox run --device cpu", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_SUPPORT, ANYWHERE, "phlox has no way to drive {unit} through {runtime}",
     "use the CPU: phlox run --device cpu", NULL, NULL, NULL},

    /* ---- the kernel's driver --------------------------------------------------------------------- */
    {ANY, PX_VENDOR_NVIDIA, PX_LACK_MODULE, WSL, "the NVIDIA driver of the Windows host does not show {unit}",
     "install NVIDIA's driver on Windows, then: wsl --shutdown", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_MODULE, CONTAINER, "NVIDIA's driver is not loaded on the host",
     "install NVIDIA's driver and its container toolkit on the host, then start the container with --gpus all",
     NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_MODULE, UBUNTU, "no driver has taken {unit}",
     "sudo ubuntu-drivers install && sudo reboot", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_MODULE, DEBIAN,
     "no driver has taken {unit}; NVIDIA's is in Debian's component non-free", NVIDIA_DEBIAN, NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_MODULE, ANYWHERE, "no driver has taken {unit}",
     "install NVIDIA's driver: https://www.nvidia.com/drivers", NULL, "sudo dnf install akmod-nvidia && sudo reboot",
     "sudo pacman -S nvidia && sudo reboot"},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_OTHER_DRIVER, UBUNTU,
     "{unit} is driven by {bound}, which has no CUDA", "sudo ubuntu-drivers install && sudo reboot", NULL, NULL,
     NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_OTHER_DRIVER, DEBIAN,
     "{unit} is driven by {bound}, which has no CUDA; NVIDIA's driver is in Debian's component non-free",
     NVIDIA_DEBIAN, NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_OTHER_DRIVER, ANYWHERE,
     "{unit} is driven by {bound}, which has no CUDA",
     "install NVIDIA's driver: https://www.nvidia.com/drivers", NULL, "sudo dnf install akmod-nvidia && sudo reboot",
     "sudo pacman -S nvidia && sudo reboot"},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_DRIVER, ANYWHERE,
     "NVIDIA's driver is loaded but has not taken {unit}",
     "look for the reason with: sudo dmesg | grep -i nvrm", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_KERNEL, CONTAINER,
     "the host's Linux {kernel} has no driver {driver} for {unit}; it came with Linux {since}",
     "install Linux {since} or newer on the host", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_KERNEL, UBUNTU,
     "Linux {kernel} has no driver {driver} for {unit}; it came with Linux {since}",
     "sudo apt install linux-generic-hwe-$(. /etc/os-release; echo $VERSION_ID) && sudo reboot", NULL, NULL,
     NULL},
    {ANY, ANY, PX_LACK_KERNEL, DEBIAN,
     "Linux {kernel} has no driver {driver} for {unit}; it came with Linux {since}",
     "sudo apt install -t $(. /etc/os-release; echo $VERSION_CODENAME)-backports linux-image-amd64 && sudo "
     "reboot", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_KERNEL, ANYWHERE,
     "Linux {kernel} has no driver {driver} for {unit}; it came with Linux {since}",
     "install Linux {since} or newer", NULL, "sudo dnf upgrade kernel && sudo reboot", "sudo pacman -Syu && sudo reboot"},
    {ANY, ANY, PX_LACK_MODULE, CONTAINER, "the kernel module {driver} is not loaded on the host",
     "on the host: sudo modprobe {driver}", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_MODULE, ANYWHERE, "the kernel module {driver} is not loaded",
     "sudo modprobe {driver}", NULL, NULL, NULL},
    {PX_UNIT_NPU, PX_VENDOR_INTEL, PX_LACK_FIRMWARE, ANYWHERE,
     "{driver} is loaded, but the firmware of {unit} is not in /lib/firmware/intel/vpu",
     "download intel-fw-npu from " NPU_RELEASES " and reboot",
     "download intel-fw-npu from " NPU_RELEASES
     ", then: sudo apt install ./intel-fw-npu_*.deb && sudo reboot",
     "sudo dnf install linux-firmware && sudo reboot", "sudo pacman -S linux-firmware && sudo reboot"},
    {ANY, ANY, PX_LACK_FIRMWARE, UBUNTU, "{driver} is loaded, but the firmware of {unit} is not installed",
     "sudo apt install linux-firmware && sudo reboot", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_FIRMWARE, ANYWHERE, "{driver} is loaded, but the firmware of {unit} is not installed",
     "install linux-firmware and reboot", NULL,
     "sudo dnf install linux-firmware && sudo reboot", "sudo pacman -S linux-firmware && sudo reboot"},
    {ANY, ANY, PX_LACK_DRIVER, ANYWHERE, "{driver} is loaded but has not taken {unit}",
     "look for the reason with: sudo dmesg | grep {driver}", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_OTHER_DRIVER, ANYWHERE, "{unit} is driven by {bound} in place of {driver}", REBIND, NULL,
     NULL, NULL},
    {ANY, ANY, PX_LACK_RESERVED, ANYWHERE, "{unit} is kept for virtual machines by {bound}", REBIND, NULL, NULL,
     NULL},

    /* ---- the node in /dev ------------------------------------------------------------------------ */
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_NODE, CONTAINER, "{node} is not in the container",
     "start the container with --gpus all", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_NODE, ANYWHERE, "{node} is not there", "sudo nvidia-modprobe -u",
     NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_MICROSOFT, PX_LACK_NODE, ANYWHERE, "WSL shows a GPU, but {node} is not there",
     "on Windows: wsl --update, then wsl --shutdown", NULL, NULL, NULL},
    {PX_UNIT_NPU, ANY, PX_LACK_NODE, CONTAINER, "{node} is not in the container",
     "start the container with --device /dev/accel", NULL, NULL, NULL},
    {PX_UNIT_GPU, ANY, PX_LACK_NODE, CONTAINER, "{node} is not in the container",
     "start the container with --device /dev/dri", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_NODE, ANYWHERE, "{driver} has made no node in /dev for {unit}",
     "look for the reason with: sudo dmesg | grep {driver}", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_RULE, CONTAINER, "nobody but root may open {node} in the container",
     "on the host give it to a group, such as render, then start the container with --group-add render", NULL,
     NULL, NULL},
    {PX_UNIT_NPU, ANY, PX_LACK_RULE, ANYWHERE, "nobody but root may open {node}",
     "echo 'SUBSYSTEM==\"accel\", GROUP=\"render\", MODE=\"0660\"' | sudo tee "
     "/etc/udev/rules.d/70-accel.rules; sudo udevadm control --reload; sudo udevadm trigger -s accel; "
     "sudo usermod -aG render $USER, then log out and in again",
     NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_RULE, ANYWHERE, "nobody but root may open {node}",
     "echo 'SUBSYSTEM==\"drm\", KERNEL==\"renderD*\", GROUP=\"render\", MODE=\"0660\"' | sudo tee "
     "/etc/udev/rules.d/70-render.rules; sudo udevadm control --reload; sudo udevadm trigger -s drm; "
     "sudo usermod -aG render $USER, then log out and in again",
     NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_PERMISSION, CONTAINER, "you may not open {node}, which the group {group} may",
     "start the container with --group-add {group}", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_PERMISSION, ANYWHERE, "you may not open {node}, which the group {group} may",
     "sudo usermod -aG {group} $USER, then log out and in again", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_LOGIN, ANYWHERE,
     "you are in the group {group}, which may open {node}, but this session began before that",
     "log out and in again", NULL, NULL, NULL},

    /* ---- the vendor's library -------------------------------------------------------------------- */
    {PX_UNIT_GPU, PX_VENDOR_INTEL, PX_LACK_LIBRARY, ANYWHERE,
     "Intel's compute runtime is not installed: intel-opencl-icd (libigdrcl), which OpenVINO needs, and for "
     "Level Zero libze-intel-gpu1, which was intel-level-zero-gpu (libze_intel_gpu)",
     "install Intel's compute runtime: https://github.com/intel/compute-runtime/releases",
     "sudo apt install intel-opencl-icd",
     "sudo dnf install intel-compute-runtime", "sudo pacman -S intel-compute-runtime"},
    {PX_UNIT_NPU, PX_VENDOR_INTEL, PX_LACK_LIBRARY, ANYWHERE,
     "Intel's NPU driver in user space (libze_intel_npu, the NPU compiler) is not installed", NPU_PACKAGES,
     NPU_INSTALL, NULL, "sudo pacman -S intel-npu-driver"},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_LIBRARY, CONTAINER, "libcuda.so.1 is not in the container",
     "start the container with --gpus all", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_LIBRARY, UBUNTU, "libcuda.so.1 is not installed",
     "sudo ubuntu-drivers install", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_LIBRARY, DEBIAN, "libcuda.so.1 is not installed",
     "sudo apt install libcuda1", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_LIBRARY, ANYWHERE, "libcuda.so.1 is not installed",
     "install NVIDIA's driver: https://www.nvidia.com/drivers", NULL,
     "sudo dnf install xorg-x11-drv-nvidia-cuda", "sudo pacman -S nvidia-utils"},
    {PX_UNIT_GPU, PX_VENDOR_MICROSOFT, PX_LACK_LIBRARY, ANYWHERE,
     "the Windows host passes no CUDA through (/usr/lib/wsl/lib/libcuda.so.1)",
     "if it has an NVIDIA GPU, install NVIDIA's driver on Windows, then: wsl --shutdown", NULL, NULL, NULL},

    /* ---- the runtime ----------------------------------------------------------------------------- */
    {ANY, ANY, PX_LACK_BUILD, ANYWHERE, "this build of phlox has no device for {runtime}",
     "use the CPU: phlox run --device cpu", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_RUNTIME, ANYWHERE, "{runtime} is not installed", "phlox runtime add {package}", NULL,
     NULL, NULL},
    {ANY, ANY, PX_LACK_ANSWER, ANYWHERE, "{runtime} does not work: {message}",
     "restart the machine; sudo dmesg tells more of drivers that hang", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_GIVEN, ANYWHERE, "{runtime} does not work: {message}",
     "leave out {option}, or name another library or its directory there", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_START, ANYWHERE, "{runtime} does not work: {message}",
     "phlox runtime rm {package}; phlox runtime add {package}", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_START_OTHER, ANYWHERE, "{runtime} does not work: {message}",
     "phlox runtime add {package}", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_NVIDIA, PX_LACK_LISTED, ANYWHERE,
     "the installed ONNX Runtime GenAI is a build without CUDA",
     "phlox runtime add onnxruntime-genai-cuda", NULL, NULL, NULL},
    {PX_UNIT_GPU, PX_VENDOR_INTEL, PX_LACK_LISTED, ANYWHERE,
     "{runtime} does not list {unit}, although driver and node are there; its compute runtime may be too old",
     "install a newer one: https://github.com/intel/compute-runtime/releases", NULL, NULL, NULL},
    {PX_UNIT_NPU, PX_VENDOR_INTEL, PX_LACK_LISTED, ANYWHERE,
     "{runtime} does not list {unit}, although driver and node are there; its driver in user space may be "
     "too old", NPU_PACKAGES, NPU_INSTALL, NULL, NULL},
    {ANY, ANY, PX_LACK_FIRST, ANYWHERE,
     "phlox drives the first one through {runtime}, unless it is told which",
     "phlox run --device cuda --ort-config device_id={place}", NULL, NULL, NULL},
    {ANY, ANY, PX_LACK_LISTED, ANYWHERE, "{runtime} does not list {unit}",
     "phlox runtime rm {package}; phlox runtime add {package}", NULL, NULL, NULL},
};

/* ---- filling in ---------------------------------------------------------------------------- */

struct word {
    const char *name, *value;
};

/* Copies `text` with the words in braces replaced, cut to `size`. */
static void fill_in(const char *text, const struct word *words, size_t count, char *out, size_t size)
{
    size_t used = 0;
    while (*text && used + 1 < size) {
        const size_t plain = strcspn(text, "{");
        used += (size_t)snprintf(out + used, size - used, "%.*s", (int)plain, text);
        text += plain;
        if (!*text || used >= size) break;
        const size_t length = strcspn(text, "}") + 1;
        for (size_t i = 0; i < count; i++)
            if (strlen(words[i].name) == length - 2 && strncmp(words[i].name, text + 1, length - 2) == 0)
                used += (size_t)snprintf(out + used, size - used, "%s", words[i].value);
        text += length;
    }
    if (used >= size) memcpy(out + size - 4, "...", 4);
    px_make_printable(out);
}

static bool fits(const struct row *row, const px_hardware_list *list, const px_hardware *unit, px_lack lack)
{
    const px_system *const system = &list->system;
    const bool is_here = row->place == ANYWHERE || (row->place == CONTAINER && system->container[0]) ||
                         (row->place == WSL && system->is_wsl) ||
                         (row->place == UBUNTU && strcmp(system->id, "ubuntu") == 0) ||
                         (row->place == DEBIAN && strcmp(system->id, "debian") == 0);
    return row->lack == lack && is_here && (row->kind == ANY || row->kind == (int)unit->kind) &&
           (row->vendor == ANY || row->vendor == (int)unit->vendor);
}

/* The command for the package manager of the system. */
static const char *choose_remedy(const struct row *row, const px_system *system)
{
    const struct {
        const char *id, *command;
    } families[] = {
        {" debian ", row->apt}, {" ubuntu ", row->apt}, {" fedora ", row->dnf},
        {" rhel ", row->dnf},   {" arch ", row->pacman},
    };
    for (size_t i = 0; i < PX_COUNT(families); i++)
        if (families[i].command && strstr(system->like, families[i].id)) return families[i].command;
    return row->remedy;
}

void px_hardware_explain(const px_hardware_list *list, const px_hardware *unit, px_lack lack,
                         const char *title, const char *package, const char *message, px_problem *out)
{
    int major = 0, minor = 0;
    char since[16], place[16];
    const char *const driver = px_hardware_driver(unit, &major, &minor);
    snprintf(since, sizeof since, "%d.%d", major, minor);
    snprintf(place, sizeof place, "%zu", px_hardware_place(list, unit));
    const struct word words[] = {
        {"unit", unit->name},
        {"driver", driver ? driver : unit->driver},
        {"since", since},
        {"bound", unit->driver},
        {"kernel", list->system.kernel},
        {"node", unit->node[0] ? unit->node : "its node in /dev"},
        {"pci", unit->pci},
        {"group", unit->group},
        {"place", place},
        {"runtime", title},
        {"package", package},
        {"option", strcmp(package, "openvino") == 0 ? "--openvino-library" : "--ort-library"},
        {"message", message},
    };
    *out = (px_problem){.reason = ""};
    for (size_t i = 0; i < PX_COUNT(rows); i++) {
        if (!fits(&rows[i], list, unit, lack)) continue;
        fill_in(rows[i].reason, words, PX_COUNT(words), out->reason, sizeof out->reason);
        fill_in(choose_remedy(&rows[i], &list->system), words, PX_COUNT(words), out->remedy,
                sizeof out->remedy);
        return;
    }
}
