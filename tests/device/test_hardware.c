/* Units, reasons and remedies of recorded machines (tests/golden/hardware). */
#include "tree.h"

#include "device/hardware.h"
#include "device/openvino_model.h"
#include "device/ort_provider.h"

#include <phlox/devices.h>

/* ---- machines ------------------------------------------------------------------------------ */

struct machine {
    char root[TEST_PATH];
    px_user user;
    px_hardware_list list;
};

static void look(struct machine *m)
{
    px_hardware_find(m->root, &m->user, &m->list);
}

/* As a user of the group that the nodes belong to, or of another one. */
static struct machine *open_machine(const char *name, bool in_group)
{
    struct machine *const m = calloc(1, sizeof *m);
    assert_non_null(m);
    tree_unpack(name, m->root);
    m->user = (px_user){.user = 1000, .groups = {in_group ? tree_group() : tree_group() + 1}, .count = 1};
    look(m);
    return m;
}

static void close_machine(struct machine *m)
{
    test_remove(m->root);
    free(m);
}

/* The `place`th unit of a kind. */
static size_t unit_of(const struct machine *m, px_unit_kind kind, size_t place)
{
    for (size_t i = 0; i < m->list.count; i++)
        if (m->list.units[i].kind == kind && !place--) return i;
    fail_msg("there is no such unit");
    return 0;
}

static const px_hardware *get(const struct machine *m, px_unit_kind kind)
{
    return &m->list.units[unit_of(m, kind, 0)];
}

static size_t count_of(const struct machine *m, px_unit_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < m->list.count; i++) count += m->list.units[i].kind == kind;
    return count;
}

/* ---- runtimes ------------------------------------------------------------------------------ */

enum { NATIVE, OPENVINO, ORT, RUNTIMES };

/* Both are installed and work, and show a CPU. */
static px_runtime_seen *make_runtimes(void)
{
    px_runtime_seen *const seen = calloc(RUNTIMES, sizeof *seen);
    assert_non_null(seen);
    seen[NATIVE] = (px_runtime_seen){.name = "cpu", .title = "native engine", .is_installed = true};
    seen[OPENVINO] = (px_runtime_seen){.name = "openvino", .title = "OpenVINO", .runtime = "openvino",
                                       .is_installed = true, .was_asked = true,
                                       .units = {.units = {{.unit = "CPU"}}, .count = 1}};
    seen[ORT] = (px_runtime_seen){.name = "ort", .title = "ONNX Runtime GenAI",
                                  .runtime = "onnxruntime-genai", .is_installed = true, .was_asked = true,
                                  .units = {.units = {{.unit = "cpu"}}, .count = 1}};
    return seen;
}

static void show_unit(px_runtime_seen *seen, px_unit_kind kind, const char *name, const char *pci)
{
    px_unit *const unit = &seen->units.units[seen->units.count++];
    *unit = (px_unit){.kind = kind};
    snprintf(unit->unit, sizeof unit->unit, "%s", name);
    snprintf(unit->pci, sizeof unit->pci, "%s", pci);
}

/* What the device lists on this machine with a build of ONNX Runtime GenAI that has CUDA. */
static void list_cuda(const struct machine *m, px_runtime_seen *seen)
{
    px_ort_api api = {.place = {.version = "0.18.0"}};
    test_path(api.place.genai, "%s/libonnxruntime-genai.so", m->root);
    test_write_text(m->root, "libonnxruntime-genai-cuda.so", "");
    px_ort_provider_list(&api, m->root, &seen->units);
}

static px_way judge(const struct machine *m, size_t unit, const px_runtime_seen *seen, const char *title)
{
    px_way ways[PX_MOST_WAYS];
    const size_t count = px_hardware_judge(&m->list, unit, seen, RUNTIMES, ways);
    for (size_t i = 0; i < count; i++)
        if (strcmp(ways[i].title, title) == 0) return ways[i];
    fail_msg("%s is no way to drive %s", title, m->list.units[unit].name);
    return ways[0];
}

static void is_usable(const struct machine *m, size_t unit, const px_runtime_seen *seen, const char *title,
                      const char *device)
{
    const px_way way = judge(m, unit, seen, title);
    if (!way.is_usable || way.problem_count)
        fail_msg("%s is not usable: %s", way.device, way.problems[0].reason);
    assert_string_equal(way.device, device);
}

/* The way lacks something: the `place`th of its problems has these words, the last one is the whole remedy. */
static void lacks(const struct machine *m, size_t unit, const px_runtime_seen *seen, const char *title,
                  size_t place, const char *reason, const char *remedy)
{
    const px_way way = judge(m, unit, seen, title);
    assert_false(way.is_usable);
    if (place >= way.problem_count) fail_msg("%s has %zu problems", title, way.problem_count);
    const px_problem *const problem = &way.problems[place];
    if (!strstr(problem->reason, reason)) fail_msg("reason: %s, expected: %s", problem->reason, reason);
    if (strcmp(problem->remedy, remedy) != 0) fail_msg("remedy: %s, expected: %s", problem->remedy, remedy);
    if (strpbrk(problem->reason, "{}")) fail_msg("left in braces: %s", problem->reason);
}

#define LACKS(m, kind, title, place, reason, remedy) \
    lacks(m, unit_of(m, kind, 0), seen, title, place, reason, remedy)

/* ---- Intel --------------------------------------------------------------------------------- */

static void everything_right(void **state)
{
    (void)state;
    struct machine *m = open_machine("meteor-lake", true);
    px_runtime_seen *seen = make_runtimes();
    assert_int_equal(m->list.count, 3);
    const px_hardware *cpu = get(m, PX_UNIT_CPU), *gpu = get(m, PX_UNIT_GPU), *npu = get(m, PX_UNIT_NPU);
    assert_string_equal(cpu->name, "Intel(R) Core(TM) Ultra 7 155H");
    assert_int_equal(cpu->features, PHLOX_CPU_AVX2 | PHLOX_CPU_AVX_VNNI);
    assert_int_equal(cpu->cores, 16);
    assert_int_equal(cpu->threads, 22);
    assert_int_equal(cpu->numa_nodes, 1);
    assert_true(cpu->memory == UINT64_C(32479148) * 1024);
    assert_string_equal(gpu->name, "Meteor Lake-P [Intel Arc Graphics]");
    assert_string_equal(gpu->pci, "0000:00:02.0");
    assert_string_equal(gpu->driver, "i915");
    assert_string_equal(gpu->driver_version, "6.8.0-45-generic");
    assert_string_equal(gpu->node, "/dev/dri/renderD128");
    assert_true(gpu->is_integrated && !gpu->memory && gpu->has_node && gpu->may_open);
    assert_string_equal(npu->name, "Meteor Lake NPU");
    assert_string_equal(npu->generation, "Meteor Lake");
    assert_string_equal(npu->vendor_name, "Intel");
    assert_string_equal(npu->driver, "intel_vpu");
    assert_string_equal(npu->node, "/dev/accel/accel0");
    assert_string_equal(npu->group, "render");
    /* Before the runtime has been asked, what the system shows decides. */
    seen[OPENVINO].was_asked = false;
    is_usable(m, unit_of(m, PX_UNIT_NPU, 0), seen, "OpenVINO", "openvino:NPU");
    seen[OPENVINO].was_asked = true;
    show_unit(&seen[OPENVINO], PX_UNIT_GPU, "GPU", "");
    show_unit(&seen[OPENVINO], PX_UNIT_NPU, "NPU", "");
    is_usable(m, 0, seen, "native engine", "cpu");
    is_usable(m, 0, seen, "OpenVINO", "openvino:CPU");
    is_usable(m, 0, seen, "ONNX Runtime GenAI", "ort:cpu");
    is_usable(m, unit_of(m, PX_UNIT_GPU, 0), seen, "OpenVINO", "openvino:GPU");
    is_usable(m, unit_of(m, PX_UNIT_NPU, 0), seen, "OpenVINO", "openvino:NPU");
    LACKS(m, PX_UNIT_GPU, "DirectML", 0, "DirectML is for Windows only", "use OpenVINO: phlox run --device gpu");
    LACKS(m, PX_UNIT_GPU, "Vulkan", 0, "no engine for Vulkan", "use OpenVINO: phlox run --device gpu");
    free(seen);
    close_machine(m);
}

static void no_permission(void **state)
{
    (void)state;
    struct machine *m = open_machine("meteor-lake", false);
    px_runtime_seen *seen = make_runtimes();
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "you may not open /dev/accel/accel0, which the group render may",
          "sudo usermod -aG render $USER, then log out and in again");
    LACKS(m, PX_UNIT_GPU, "OpenVINO", 0, "/dev/dri/renderD128",
          "sudo usermod -aG render $USER, then log out and in again");
    assert_int_equal(judge(m, unit_of(m, PX_UNIT_NPU, 0), seen, "OpenVINO").problem_count, 1);
    if (!geteuid()) { /* nobody is to join root's group */
        char path[TEST_PATH];
        assert_int_equal(chown(test_path(path, "%s/dev/accel/accel0", m->root), (uid_t)-1, 0), 0);
        look(m);
        const px_way way = judge(m, unit_of(m, PX_UNIT_NPU, 0), seen, "OpenVINO");
        assert_non_null(strstr(way.problems[0].reason, "nobody but root"));
        assert_int_equal(chown(path, (uid_t)-1, tree_group()), 0);
        look(m);
    }
    /* What works is not to be argued with. */
    show_unit(&seen[OPENVINO], PX_UNIT_NPU, "NPU", "");
    is_usable(m, unit_of(m, PX_UNIT_NPU, 0), seen, "OpenVINO", "openvino:NPU");
    seen[OPENVINO].units.count = 1;
    /* Bob has been put into the group since. */
    m->user.user = 1001;
    look(m);
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "this session began before", "log out and in again");
    m->user.user = 0;
    look(m);
    assert_true(get(m, PX_UNIT_NPU)->may_open);
    free(seen);
    close_machine(m);
}

static void only_root_may(void **state)
{
    (void)state;
    struct machine *m = open_machine("meteor-lake-bare", true);
    px_runtime_seen *seen = make_runtimes();
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "nobody but root may open /dev/accel/accel0",
          "echo 'SUBSYSTEM==\"accel\", GROUP=\"render\", MODE=\"0660\"' | sudo tee "
          "/etc/udev/rules.d/70-accel.rules; sudo udevadm control --reload; sudo udevadm trigger -s accel; "
          "sudo usermod -aG render $USER, then log out and in again");
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 1, "NPU driver in user space",
          "download intel-driver-compiler-npu, intel-level-zero-npu and intel-fw-npu from "
          "https://github.com/intel/linux-npu-driver/releases, then: sudo apt install ./intel-*npu_*.deb && "
          "sudo reboot");
    LACKS(m, PX_UNIT_GPU, "OpenVINO", 1, "compute runtime is not installed",
          "sudo apt install intel-opencl-icd");
    seen[OPENVINO].is_installed = seen[OPENVINO].was_asked = false;
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 2, "OpenVINO is not installed", "phlox runtime add openvino");
    free(seen);
    close_machine(m);
}

static void no_driver(void **state)
{
    (void)state;
    px_runtime_seen *seen = make_runtimes();
    struct machine *m = open_machine("meteor-lake-no-module", true);
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "the kernel module intel_vpu is not loaded",
          "sudo modprobe intel_vpu");
    close_machine(m);
    m = open_machine("meteor-lake-old-kernel", true);
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0,
          "Linux 6.2.0-39-generic has no driver intel_vpu for Meteor Lake NPU; it came with Linux 6.3",
          "sudo apt install linux-generic-hwe-$(. /etc/os-release; echo $VERSION_ID) && sudo reboot");
    tree_add(m->root, "file /etc/os-release ID=debian\\n");
    look(m);
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "it came with Linux 6.3",
          "sudo apt install -t $(. /etc/os-release; echo $VERSION_CODENAME)-backports linux-image-amd64 && "
          "sudo reboot");
    tree_add(m->root, "file /etc/os-release ID=nixos\\n");
    look(m);
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "it came with Linux 6.3", "install Linux 6.3 or newer");
    close_machine(m);
    m = open_machine("meteor-lake-no-firmware", true);
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "firmware of Meteor Lake NPU is not in /lib/firmware/intel/vpu",
          "download intel-fw-npu from https://github.com/intel/linux-npu-driver/releases, then: sudo apt "
          "install ./intel-fw-npu_*.deb && sudo reboot");
    tree_add(m->root, "file /lib/firmware/updates/intel/vpu/vpu_37xx_v1.bin ");
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "intel_vpu is loaded but has not taken",
          "look for the reason with: sudo dmesg | grep intel_vpu");
    close_machine(m);
    m = open_machine("meteor-lake-container", true);
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "/dev/accel/accel0 is not in the container",
          "start the container with --device /dev/accel");
    LACKS(m, PX_UNIT_GPU, "OpenVINO", 0, "/dev/dri/renderD128 is not in the container",
          "start the container with --device /dev/dri");
    char note[256];
    px_hardware_note(&m->list, 0, note, sizeof note);
    assert_non_null(strstr(note, "container (docker)"));
    close_machine(m);
    free(seen);
}

static void runtime_fails(void **state)
{
    (void)state;
    struct machine *m = open_machine("meteor-lake", true);
    px_runtime_seen *seen = make_runtimes();
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "OpenVINO does not list Meteor Lake NPU",
          "download intel-driver-compiler-npu, intel-level-zero-npu and intel-fw-npu from "
          "https://github.com/intel/linux-npu-driver/releases, then: sudo apt install ./intel-*npu_*.deb && "
          "sudo reboot");
    LACKS(m, PX_UNIT_GPU, "OpenVINO", 0, "does not list",
          "install a newer one: https://github.com/intel/compute-runtime/releases");
    seen[OPENVINO].status = PHLOX_ERROR_DEVICE;
    snprintf(seen[OPENVINO].message, sizeof seen[OPENVINO].message, "libopenvino.so.2640: {cannot} open \033[2J");
    const px_way way = judge(m, 0, seen, "OpenVINO");
    assert_string_equal(way.problems[0].reason,
                        "OpenVINO does not work: libopenvino.so.2640: {cannot} open ?[2J");
    /* What mends it depends on whose library it is, and on whether it answers. */
    assert_string_equal(way.problems[0].remedy, "phlox runtime add openvino");
    snprintf(seen[OPENVINO].message, sizeof seen[OPENVINO].message, "broken");
    snprintf(seen[OPENVINO].own, sizeof seen[OPENVINO].own, "openvino");
    lacks(m, 0, seen, "OpenVINO", 0, "does not work",
          "phlox runtime rm openvino; phlox runtime add openvino");
    seen[OPENVINO].is_given = true;
    lacks(m, 0, seen, "OpenVINO", 0, "does not work",
          "leave out --openvino-library, or name another library or its directory there");
    seen[ORT].status = PHLOX_ERROR_DEVICE;
    snprintf(seen[ORT].own, sizeof seen[ORT].own, "onnxruntime-genai-cuda");
    lacks(m, 0, seen, "ONNX Runtime GenAI", 0, "does not work",
          "phlox runtime rm onnxruntime-genai-cuda; phlox runtime add onnxruntime-genai-cuda");
    seen[ORT].is_given = true;
    lacks(m, 0, seen, "ONNX Runtime GenAI", 0, "does not work",
          "leave out --ort-library, or name another library or its directory there");
    seen[OPENVINO].has_hung = true;
    lacks(m, 0, seen, "OpenVINO", 0, "does not work",
          "restart the machine; sudo dmesg tells more of drivers that hang");
    memset(seen[OPENVINO].message, 'x', sizeof seen[OPENVINO].message - 1);
    const px_way longer = judge(m, 0, seen, "OpenVINO");
    const size_t length = strlen(longer.problems[0].reason);
    assert_int_equal(length, sizeof longer.problems[0].reason - 1);
    assert_string_equal(longer.problems[0].reason + length - 4, "x...");
    /* A build without the device. */
    px_way ways[PX_MOST_WAYS];
    assert_int_equal(px_hardware_judge(&m->list, unit_of(m, PX_UNIT_NPU, 0), seen, 1, ways), 1);
    assert_non_null(strstr(ways[0].problems[0].reason, "this build of phlox has no device for OpenVINO"));
    free(seen);
    close_machine(m);
}

/* Two graphics of Intel beside each other: by address, or by their order. */
static void several_of_a_kind(void **state)
{
    (void)state;
    struct machine *m = open_machine("meteor-lake", true);
    px_runtime_seen *seen = make_runtimes();
    tree_add(m->root, "link /sys/bus/pci/devices/0000:03:00.0 ../../../devices/0000:03:00.0");
    tree_add(m->root, "file /sys/devices/0000:03:00.0/class 0x030000\\n");
    tree_add(m->root, "file /sys/devices/0000:03:00.0/vendor 0x8086\\n");
    tree_add(m->root, "file /sys/devices/0000:03:00.0/device 0xe20b\\n");
    tree_add(m->root, "link /sys/devices/0000:03:00.0/driver ../../bus/pci/drivers/xe");
    tree_add(m->root, "file /sys/devices/0000:03:00.0/drm/renderD129/dev 226:129\\n");
    tree_add(m->root, "file /sys/devices/0000:03:00.0/tile0/physical_vram_size_bytes 0x300000000\\n");
    tree_add(m->root, "node /dev/dri/renderD129 660");
    look(m);
    const size_t first = unit_of(m, PX_UNIT_GPU, 0), second = unit_of(m, PX_UNIT_GPU, 1);
    assert_string_equal(m->list.units[second].name, "Intel GPU (8086:e20b)");
    assert_true(m->list.units[second].memory == UINT64_C(12) << 30);
    assert_false(m->list.units[second].is_integrated);
    show_unit(&seen[OPENVINO], PX_UNIT_GPU, "GPU.0", "");
    show_unit(&seen[OPENVINO], PX_UNIT_GPU, "GPU.1", "");
    is_usable(m, first, seen, "OpenVINO", "openvino:GPU.0");
    is_usable(m, second, seen, "OpenVINO", "openvino:GPU.1");
    seen[OPENVINO].units.count = 1;
    show_unit(&seen[OPENVINO], PX_UNIT_GPU, "GPU.0", "0000:03:00.0");
    show_unit(&seen[OPENVINO], PX_UNIT_GPU, "GPU.1", "0000:00:02.0");
    is_usable(m, first, seen, "OpenVINO", "openvino:GPU.1");
    is_usable(m, second, seen, "OpenVINO", "openvino:GPU.0");
    free(seen);
    close_machine(m);
}

static void addresses_of_openvino(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{domain: 0 bus: 3 device: 0x0 function: 0}", "0000:03:00.0"},
        {"{domain: 10 bus: 195 device: 0x1f function: 7}", "000a:c3:1f.7"},
        {"{domain: 0 bus: 256 device: 0x0 function: 0}", ""},
        {"{domain: -1 bus: 3 device: 0x0 function: 0}", ""},
        {"{domain: 0 bus: 3", ""},
        {"0000:03:00.0", ""},
        {"", ""},
    };
    char out[16];
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        px_openvino_pci(cases[i][0], out, sizeof out);
        assert_string_equal(out, cases[i][1]);
    }
}

/* ---- AMD, NVIDIA, others ------------------------------------------------------------------- */

static void ryzen(void **state)
{
    (void)state;
    px_runtime_seen *seen = make_runtimes();
    struct machine *m = open_machine("ryzen-ai-300", true);
    const px_hardware *gpu = get(m, PX_UNIT_GPU), *npu = get(m, PX_UNIT_NPU);
    assert_int_equal(get(m, PX_UNIT_CPU)->features,
                     PHLOX_CPU_AVX2 | PHLOX_CPU_AVX_VNNI | PHLOX_CPU_AVX512 | PHLOX_CPU_AVX512_VNNI |
                         PHLOX_CPU_AVX512_BF16);
    assert_string_equal(gpu->name, "Strix [Radeon 880M / 890M]");
    assert_string_equal(gpu->driver, "amdgpu");
    assert_true(gpu->memory == UINT64_C(512) << 20 && gpu->shared_memory == UINT64_C(15) << 30);
    assert_false(gpu->memory_is_window);
    assert_string_equal(npu->name, "RyzenAI-npu4");
    assert_string_equal(npu->generation, "XDNA 2");
    assert_string_equal(npu->firmware, "255.0.5.35");
    assert_string_equal(npu->driver_version, "6.14.2-300.fc41.x86_64");
    assert_true(npu->may_open);
    LACKS(m, PX_UNIT_NPU, "ONNX Runtime GenAI, RyzenAI", 0, "RyzenAI provider",
          "install AMD's Ryzen AI Software, then: phlox run --device ort:RyzenAI --ort-library DIR");
    show_unit(&seen[ORT], PX_UNIT_NPU, "RyzenAI", "");
    is_usable(m, unit_of(m, PX_UNIT_NPU, 0), seen, "ONNX Runtime GenAI, RyzenAI", "ort:RyzenAI");
    tree_add(m->root, "file /proc/sys/kernel/osrelease 6.13.0\\n");
    assert_int_equal(remove(test_path((char[TEST_PATH]){0}, "%s/sys/bus/pci/devices/0000:c4:00.1/driver",
                                      m->root)), 0);
    test_remove(test_path((char[TEST_PATH]){0}, "%s/sys/module/amdxdna", m->root));
    look(m);
    LACKS(m, PX_UNIT_NPU, "ONNX Runtime GenAI, RyzenAI", 0, "it came with Linux 6.14",
          "sudo dnf upgrade kernel && sudo reboot");
    close_machine(m);

    m = open_machine("ryzen-7840u", true);
    assert_string_equal(get(m, PX_UNIT_NPU)->generation, "XDNA 1");
    LACKS(m, PX_UNIT_NPU, "ONNX Runtime GenAI, RyzenAI", 0, "first generation (XDNA 1",
          "use the CPU: phlox run --device cpu");
    assert_int_equal(judge(m, unit_of(m, PX_UNIT_NPU, 0), seen, "ONNX Runtime GenAI, RyzenAI").problem_count, 1);
    close_machine(m);
    free(seen);
}

static void nvidia(void **state)
{
    (void)state;
    static const char way[] = "ONNX Runtime GenAI, CUDA";
    static const char install[] = "sudo apt install nvidia-driver && sudo reboot";
    px_runtime_seen *seen = make_runtimes();
    struct machine *m = open_machine("nvidia-no-driver", true);
    const px_hardware *gpu = get(m, PX_UNIT_GPU);
    assert_string_equal(gpu->name, "AD102 [GeForce RTX 4090]");
    assert_true(gpu->memory == UINT64_C(8) << 30 && gpu->memory_is_window);
    assert_string_equal(gpu->driver, "");
    LACKS(m, PX_UNIT_GPU, way, 0, "no driver has taken AD102 [GeForce RTX 4090]; NVIDIA's is in Debian's", install);
    LACKS(m, PX_UNIT_GPU, "DirectML", 0, "Windows only", "use CUDA: phlox run --device cuda");
    tree_add(m->root, "file /etc/os-release ID=ubuntu\\nID_LIKE=debian\\n");
    look(m);
    LACKS(m, PX_UNIT_GPU, way, 0, "no driver has taken", "sudo ubuntu-drivers install && sudo reboot");
    tree_add(m->root, "file /etc/os-release ID=arch\\n");
    look(m);
    LACKS(m, PX_UNIT_GPU, way, 0, "no driver has taken", "sudo pacman -S nvidia && sudo reboot");
    tree_add(m->root, "file /sys/devices/pci0000:00/0000:00:01.1/0000:01:00.0/resource "
                      "0x0000000000000000 0x000000ffffffffff 0x0000000000040200\\n"
                      "0x0000000000000000 0x000000ffffffffff 0x0000000000002101\\n"
                      "0x000000fa00000000 0x000000fa0fffffff 0x000000000014220c\\n"
                      "0xffffffffffffffff 0x0000000000000000 0x000000000014220c\\n"
                      "0x0000000000000000 0xffffffffffffffff 0x000000000014220c\\n");
    seen[ORT].is_installed = seen[ORT].was_asked = false;
    look(m);
    assert_true(get(m, PX_UNIT_GPU)->memory == UINT64_C(256) << 20);
    /* The library comes with the driver, and one sentence is enough. */
    LACKS(m, PX_UNIT_GPU, way, 1, "CUDA is not installed", "phlox runtime add onnxruntime-genai-cuda");
    seen[ORT].is_installed = seen[ORT].was_asked = true;
    close_machine(m);
    m = open_machine("nvidia-nouveau", true);
    LACKS(m, PX_UNIT_GPU, way, 0, "driven by nouveau, which has no CUDA", install);
    close_machine(m);
    m = open_machine("nvidia", true);
    gpu = get(m, PX_UNIT_GPU);
    assert_string_equal(gpu->name, "NVIDIA GeForce RTX 4090");
    assert_string_equal(gpu->driver_version, "550.54.14");
    assert_string_equal(gpu->node, "/dev/nvidia0");
    LACKS(m, PX_UNIT_GPU, way, 0, "a build without CUDA", "phlox runtime add onnxruntime-genai-cuda");
    list_cuda(m, &seen[ORT]);
    is_usable(m, unit_of(m, PX_UNIT_GPU, 0), seen, way, "ort:cuda");
    const px_way other = judge(m, unit_of(m, PX_UNIT_GPU, 0), seen, "DirectML");
    assert_string_equal(other.device, "ort:dml");
    assert_false(other.is_listed);
    /* That a runtime was built with a provider proves nothing of the machine. */
    tree_add(m->root, "node /dev/nvidia0 600");
    look(m);
    LACKS(m, PX_UNIT_GPU, way, 0, "nobody but root",
          "echo 'SUBSYSTEM==\"drm\", KERNEL==\"renderD*\", GROUP=\"render\", MODE=\"0660\"' | sudo tee "
          "/etc/udev/rules.d/70-render.rules; sudo udevadm control --reload; sudo udevadm trigger -s drm; "
          "sudo usermod -aG render $USER, then log out and in again");
    seen[ORT].is_installed = seen[ORT].was_asked = false;
    LACKS(m, PX_UNIT_GPU, way, 1, "CUDA is not installed", "phlox runtime add onnxruntime-genai-cuda");
    close_machine(m);
    free(seen);
}

/* The runtime has one CUDA for all GPUs, and phlox shows the first. */
static void two_of_nvidia(void **state)
{
    (void)state;
    static const char way[] = "ONNX Runtime GenAI, CUDA";
    px_runtime_seen *seen = make_runtimes();
    struct machine *m = open_machine("nvidia", true);
    tree_add(m->root, "link /sys/bus/pci/devices/0000:02:00.0 ../../../devices/0000:02:00.0");
    tree_add(m->root, "file /sys/devices/0000:02:00.0/class 0x030000\\n");
    tree_add(m->root, "file /sys/devices/0000:02:00.0/vendor 0x10de\\n");
    tree_add(m->root, "file /sys/devices/0000:02:00.0/device 0x2684\\n");
    tree_add(m->root, "link /sys/devices/0000:02:00.0/driver ../../bus/pci/drivers/nvidia");
    tree_add(m->root, "file /proc/driver/nvidia/gpus/0000:02:00.0/information Model: \t NVIDIA T4\\n"
                      "Bus Location: \t 0000:02:00.0\\nDevice Minor: \t 1\\n");
    tree_add(m->root, "node /dev/nvidia1 666");
    look(m);
    const size_t first = unit_of(m, PX_UNIT_GPU, 0), second = unit_of(m, PX_UNIT_GPU, 1);
    lacks(m, second, seen, way, 0, "a build without CUDA", "phlox runtime add onnxruntime-genai-cuda");
    list_cuda(m, &seen[ORT]);
    is_usable(m, first, seen, way, "ort:cuda");
    lacks(m, second, seen, way, 0, "phlox drives the first one through ONNX Runtime GenAI, CUDA",
          "phlox run --device cuda --ort-config device_id=1");
    close_machine(m);
    free(seen);
}

/* A library that is loaded is found by its name, as one is that only the loader knows where to find. */
static void libraries_that_the_loader_finds(void **state)
{
    (void)state;
    const px_hardware gpu = {.kind = PX_UNIT_GPU, .vendor = PX_VENDOR_NVIDIA};
    px_hardware_list *const here = calloc(1, sizeof *here), *const other = calloc(1, sizeof *other);
    char root[TEST_PATH];
    px_library *library;
    phlox_error error;
    assert_non_null(here);
    assert_non_null(other);
    test_directory(root);
    here->root = "";
    other->root = root;
    const bool had_it = px_hardware_has_library(here, &gpu);
    MUST(px_library_open(FAKE_CUDA, &library, &error));
    assert_true(px_hardware_has_library(here, &gpu));
    assert_false(px_hardware_has_library(other, &gpu)); /* of another machine nothing is opened */
    px_library_close(library);
    assert_int_equal(px_hardware_has_library(here, &gpu), had_it);
    test_remove(root);
    free(other);
    free(here);
}

/* Whom a unit is kept for has to be asked to let it go. */
static void kept_for_virtual_machines(void **state)
{
    (void)state;
    px_runtime_seen *seen = make_runtimes();
    struct machine *m = open_machine("meteor-lake", true);
    char path[TEST_PATH];
    assert_int_equal(remove(test_path(path, "%s/sys/bus/pci/devices/0000:00:0b.0/driver", m->root)), 0);
    assert_int_equal(symlink("../../../../bus/pci/drivers/vfio-pci", path), 0);
    test_remove(test_path(path, "%s/sys/devices/pci0000:00/0000:00:0b.0/accel", m->root));
    /* What debugfs says of another device is nothing of a unit without a node. */
    tree_add(m->root, "file /sys/kernel/debug/accel/0/fw_version of-another\\n");
    look(m);
    assert_string_equal(get(m, PX_UNIT_NPU)->node, "");
    assert_string_equal(get(m, PX_UNIT_NPU)->firmware, "");
    LACKS(m, PX_UNIT_NPU, "OpenVINO", 0, "Meteor Lake NPU is kept for virtual machines by vfio-pci",
          "echo intel_vpu | sudo tee /sys/bus/pci/devices/0000:00:0b.0/driver_override; "
          "echo 0000:00:0b.0 | sudo tee /sys/bus/pci/drivers/vfio-pci/unbind; sudo modprobe intel_vpu; "
          "echo 0000:00:0b.0 | sudo tee /sys/bus/pci/drivers_probe");
    close_machine(m);
    m = open_machine("nvidia", true);
    assert_int_equal(remove(test_path(path, "%s/sys/bus/pci/devices/0000:01:00.0/driver", m->root)), 0);
    assert_int_equal(symlink("../../../../bus/pci/drivers/vfio-pci", path), 0);
    look(m);
    LACKS(m, PX_UNIT_GPU, "ONNX Runtime GenAI, CUDA", 0, "kept for virtual machines by vfio-pci",
          "echo nvidia | sudo tee /sys/bus/pci/devices/0000:01:00.0/driver_override; "
          "echo 0000:01:00.0 | sudo tee /sys/bus/pci/drivers/vfio-pci/unbind; sudo modprobe nvidia; "
          "echo 0000:01:00.0 | sudo tee /sys/bus/pci/drivers_probe");
    close_machine(m);
    free(seen);
}

/* The driver tells nothing of a GPU that a container was not given: its node is not that of the first one. */
static void a_gpu_that_the_driver_hides(void **state)
{
    (void)state;
    px_runtime_seen *seen = make_runtimes();
    struct machine *m = open_machine("nvidia", true);
    char path[TEST_PATH];
    test_remove(test_path(path, "%s/proc/driver/nvidia/gpus", m->root));
    look(m);
    assert_string_equal(get(m, PX_UNIT_GPU)->driver_version, "550.54.14");
    assert_string_equal(get(m, PX_UNIT_GPU)->node, "");
    LACKS(m, PX_UNIT_GPU, "ONNX Runtime GenAI, CUDA", 0, "its node in /dev is not there", "sudo nvidia-modprobe -u");
    tree_add(m->root, "file /.dockerenv ");
    look(m);
    LACKS(m, PX_UNIT_GPU, "ONNX Runtime GenAI, CUDA", 0, "its node in /dev is not in the container",
          "start the container with --gpus all");
    close_machine(m);
    free(seen);
}

static void virtual_machines(void **state)
{
    (void)state;
    char note[256];
    px_runtime_seen *seen = make_runtimes();
    struct machine *m = open_machine("virtual", true);
    assert_true(m->list.system.is_virtual && !m->list.system.is_wsl);
    assert_int_equal(m->list.count, 2);
    assert_string_equal(get(m, PX_UNIT_GPU)->name, "QEMU GPU (1234:1111)");
    LACKS(m, PX_UNIT_GPU, "Vulkan", 0, "no engine for Vulkan",
          "use the CPU: phlox run --device cpu");
    close_machine(m);
    m = open_machine("wsl2", true);
    assert_true(m->list.system.is_wsl);
    assert_int_equal(count_of(m, PX_UNIT_GPU), 1);
    assert_string_equal(get(m, PX_UNIT_GPU)->node, "/dev/dxg");
    px_hardware_note(&m->list, 0, note, sizeof note);
    assert_non_null(strstr(note, "no NPU"));
    show_unit(&seen[OPENVINO], PX_UNIT_GPU, "GPU", "0000:73:00.0");
    list_cuda(m, &seen[ORT]);
    is_usable(m, unit_of(m, PX_UNIT_GPU, 0), seen, "OpenVINO", "openvino:GPU");
    is_usable(m, unit_of(m, PX_UNIT_GPU, 0), seen, "ONNX Runtime GenAI, CUDA", "ort:cuda");
    seen[ORT].is_installed = seen[ORT].was_asked = false;
    LACKS(m, PX_UNIT_GPU, "ONNX Runtime GenAI, CUDA", 0, "CUDA is not installed",
          "phlox runtime add onnxruntime-genai-cuda");
    test_remove(test_path((char[TEST_PATH]){0}, "%s/dev/dxg", m->root));
    look(m);
    seen[OPENVINO].units.count = 1;
    LACKS(m, PX_UNIT_GPU, "OpenVINO", 0, "/dev/dxg is not there",
          "on Windows: wsl --update, then wsl --shutdown");
    close_machine(m);
    m = open_machine("nothing", true);
    assert_int_equal(m->list.count, 1);
    assert_string_equal(m->list.units[0].name, "");
    is_usable(m, 0, seen, "native engine", "cpu");
    close_machine(m);
    free(seen);
}

/* Chips with Arm cores: GPU and NPU on no bus. */
static void snapdragon(void **state)
{
    (void)state;
    px_runtime_seen *seen = make_runtimes();
    struct machine *m = open_machine("nothing", true);
    tree_add(m->root, "file /proc/cpuinfo processor\\t: 0\\nFeatures\\t: fp asimd asimddp i8mm\\n");
    tree_add(m->root, "link /sys/class/drm/renderD128/device/subsystem ../../../../bus/platform");
    tree_add(m->root, "link /sys/class/drm/renderD128/device/driver ../../../../bus/platform/drivers/msm");
    tree_add(m->root, "node /dev/dri/renderD128 660");
    tree_add(m->root, "node /dev/fastrpc-cdsp 660");
    look(m);
    assert_int_equal(get(m, PX_UNIT_CPU)->features, PHLOX_CPU_NEON | PHLOX_CPU_DOTPROD | PHLOX_CPU_I8MM);
    assert_string_equal(get(m, PX_UNIT_GPU)->name, "Qualcomm Adreno GPU");
    assert_string_equal(get(m, PX_UNIT_NPU)->name, "Qualcomm Hexagon NPU");
    LACKS(m, PX_UNIT_NPU, "ONNX Runtime GenAI, QNN", 0, "QNN provider",
          "build one, then: phlox run --device ort:QNN --ort-library DIR");
    close_machine(m);
    free(seen);
}

/* ---- pci.ids and hostile trees ------------------------------------------------------------- */

static bool name_in(const char *text, uint32_t vendor, uint32_t device, char out[16])
{
    char *const copy = malloc(strlen(text) ? strlen(text) : 1); /* exactly: reading past it is noticed */
    assert_non_null(copy);
    memcpy(copy, text, strlen(text));
    const bool found = px_pci_name((phlox_text){copy, strlen(text)}, vendor, device, out, 16);
    free(copy);
    return found;
}

static void pci_ids(void **state)
{
    (void)state;
    char name[16];
    static const char text[] = "# 8086  no\n8086  Intel\n\t0001  first\r\n\t\t8086 0002  sub\n\t0002  second "
                               "name that is long\n10de  N\n\t0003  third\n\tffff";
    assert_true(name_in(text, 0x8086, 1, name));
    assert_string_equal(name, "first");
    assert_true(name_in(text, 0x8086, 2, name));
    assert_string_equal(name, "second name tha");
    assert_true(name_in(text, 0x10de, 3, name));
    assert_false(name_in(text, 0x8086, 3, name));
    assert_false(name_in(text, 0x10de, 0xffff, name));
    assert_false(name_in(text, 0x1234, 1, name));
    static const char *const short_texts[] = {"", "\n", "8086", "8086  Intel", "8086  Intel\n", "\t", "8086\n\t",
                                              "8086\n\t0001", "8086\n\t0001 ", "80", "8086\n\t000"};
    for (size_t i = 0; i < PX_COUNT(short_texts); i++) assert_false(name_in(short_texts[i], 0x8086, 1, name));
    assert_true(name_in("8086\n\t0001 \033[2J\xff", 0x8086, 1, name));
    assert_string_equal(name, "?[2J?");
}

static void write_huge(const char *root, const char *path, char filler)
{
    const size_t size = 1 << 20;
    char *const bytes = malloc(size), full[TEST_PATH];
    assert_non_null(bytes);
    memset(bytes, filler, size);
    remove(test_path(full, "%s%s", root, path)); /* it may be a link */
    test_write(full, bytes, size);
    free(bytes);
}

/* Files of 1 MB without an end of line, links in circles, pipes, directories, numbers out of range. */
static void hostile_trees(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/sys/devices/pci0000:00/0000:00:0b.0/class",    "/sys/devices/pci0000:00/0000:00:0b.0/vendor",
        "/sys/devices/pci0000:00/0000:00:0b.0/device",   "/sys/devices/pci0000:00/0000:00:02.0/resource",
        "/sys/devices/pci0000:00/0000:00:02.0/driver",   "/usr/share/misc/pci.ids",
        "/etc/group",        "/etc/passwd",               "/etc/os-release",
        "/proc/cpuinfo",     "/proc/meminfo",             "/proc/sys/kernel/osrelease",
        "/proc/self/limits", "/sys/devices/system/cpu/online",
        "/sys/class/power_supply/BAT0/capacity",          "/sys/class/power_supply/BAT0/type",
        "/sys/bus/pci/devices/0000:00:0b.0",              "/dev/accel/accel0",
        "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
        "/sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq",
    };
    static const char fillers[] = {'A', '0', ' ', ':', '\n', '\0', '\xff', '\t', '9'};
    px_runtime_seen *seen = make_runtimes();
    struct machine *m = open_machine("meteor-lake", true);
    char path[TEST_PATH];
    for (size_t i = 0; i < PX_COUNT(paths); i++) {
        for (size_t j = 0; j < PX_COUNT(fillers); j++) {
            write_huge(m->root, paths[i], fillers[j]);
            look(m);
            px_way ways[PX_MOST_WAYS];
            px_power power;
            for (size_t unit = 0; unit < m->list.count; unit++)
                assert_true(px_hardware_judge(&m->list, unit, seen, RUNTIMES, ways) > 0);
            px_power_read(m->root, &power);
        }
        test_path(path, "%s%s", m->root, paths[i]);
        assert_int_equal(remove(path), 0);
        assert_int_equal(symlink(strrchr(path, '/') + 1, path), 0); /* to itself */
        look(m);
        assert_int_equal(remove(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        look(m);
        assert_int_equal(remove(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        look(m);
        assert_int_equal(get(m, PX_UNIT_CPU)->kind, PX_UNIT_CPU);
    }
    close_machine(m);
    free(seen);
}

/* A driver's name that would control the terminal, a release that is cut in a character, a node of another name. */
static void unprintable_names(void **state)
{
    (void)state;
    struct machine *m = open_machine("meteor-lake", true);
    char path[TEST_PATH], release[70];
    memset(release, 'x', sizeof release);
    memcpy(release + 62, "\xc3\xa4\n", 4);
    test_write(test_path(path, "%s/proc/sys/kernel/osrelease", m->root), release, strlen(release));
    assert_int_equal(remove(test_path(path, "%s/sys/bus/pci/devices/0000:00:02.0/driver", m->root)), 0);
    assert_int_equal(symlink("drivers/i915\033[2J", path), 0);
    test_remove(test_path(path, "%s/sys/devices/pci0000:00/0000:00:0b.0/accel", m->root));
    tree_add(m->root, "file /sys/devices/pci0000:00/0000:00:0b.0/accel/accel\033/dev 261:0\\n");
    look(m);
    assert_string_equal(get(m, PX_UNIT_GPU)->driver, "i915?[2J");
    assert_string_equal(get(m, PX_UNIT_NPU)->node, "");
    assert_int_equal(strlen(get(m, PX_UNIT_NPU)->driver_version), 63);
    assert_int_equal(get(m, PX_UNIT_NPU)->driver_version[62], '?');
    close_machine(m);
}

/* More units than there are places for. */
static void very_many(void **state)
{
    (void)state;
    struct machine *m = open_machine("nothing", true);
    char line[128];
    for (int i = 0; i < 600; i++) {
        snprintf(line, sizeof line, "file /sys/bus/pci/devices/%04x:00:00.0/class 0x030000\\n", i);
        tree_add(m->root, line);
        snprintf(line, sizeof line, "file /sys/bus/pci/devices/%04x:00:00.0/vendor 0x10de\\n", i);
        tree_add(m->root, line);
        snprintf(line, sizeof line, "file /sys/bus/pci/devices/%04x:00:00.0/device 0x2684\\n", i);
        tree_add(m->root, line);
    }
    tree_add(m->root, "file /sys/bus/pci/devices/\033[2J/class 0x030000\\n"); /* no name of a device */
    tree_add(m->root, "file /sys/devices/system/cpu/online 0-99999999999999999999,5-3,7-\\n");
    look(m);
    assert_int_equal(m->list.count, PX_MOST_HARDWARE);
    assert_int_equal(m->list.units[0].threads, 1024);
    close_machine(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_right), cmocka_unit_test(no_permission),
        cmocka_unit_test(only_root_may),    cmocka_unit_test(no_driver),
        cmocka_unit_test(runtime_fails),    cmocka_unit_test(several_of_a_kind),
        cmocka_unit_test(addresses_of_openvino),
        cmocka_unit_test(ryzen),            cmocka_unit_test(nvidia),
        cmocka_unit_test(two_of_nvidia),    cmocka_unit_test(libraries_that_the_loader_finds),
        cmocka_unit_test(kept_for_virtual_machines),
        cmocka_unit_test(a_gpu_that_the_driver_hides),
        cmocka_unit_test(virtual_machines), cmocka_unit_test(snapdragon),
        cmocka_unit_test(pci_ids),          cmocka_unit_test(hostile_trees),
        cmocka_unit_test(very_many),        cmocka_unit_test(unprintable_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
