"""Writes tests/golden/hardware/NAME.tree: machines as their /proc, /sys, /dev and /etc show them, in the form
that the kernel's documentation and sources give these files. Names of PCI devices have colons, which some
systems cannot check out, so a tree is one text: each line is

    file PATH CONTENT      with \\n for the ends of lines
    link PATH TARGET
    node PATH MODE         a file that stands for a device node; its group is that of the tests

and @GID@ in a content is the number of that group.

    python3 tests/golden/make_hardware.py
"""

import os

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hardware")

UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n'
FEDORA = 'NAME="Fedora Linux"\nVERSION="41"\nID=fedora\nPRETTY_NAME="Fedora Linux 41 (Workstation)"\n'
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian\n'

PCI_IDS = (
    "# a part of the list\n"
    "1002  Advanced Micro Devices, Inc. [AMD/ATI]\n"
    "\t150e  Strix [Radeon 880M / 890M]\n"
    "10de  NVIDIA Corporation\n"
    "\t2684  AD102 [GeForce RTX 4090]\n"
    "\t\t10de 16f4  a card of NVIDIA's own\n"
    "8086  Intel Corporation\n"
    "\t7d1d  Meteor Lake NPU\n"
    "\t7d55  Meteor Lake-P [Intel Arc Graphics]\n"
    "C 03  Display controller\n"
)

NVRM = ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n"
        "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n")
MODEL = ("Model: \t\t NVIDIA GeForce RTX 4090\nIRQ:   \t\t 95\nBus Type: \t PCIe\nBus Location: \t 0000:01:00.0\n"
         "Device Minor: \t 0\n")

INTEL_FLAGS = "fpu sse4_2 fma f16c avx avx2 avx_vnni"
ZEN5_FLAGS = "fpu sse4_2 fma f16c avx avx2 avx512f avx512dq avx512bw avx512vl avx512_bf16 avx512_vnni avx_vnni"


class Tree:
    def __init__(self):
        self.lines = {}

    def file(self, path, content):
        self.lines[path] = "file %s %s" % (path, content.replace("\n", "\\n"))

    def link(self, path, target):
        self.lines[path] = "link %s %s" % (path, target)

    def node(self, path, mode):
        self.lines[path] = "node %s %o" % (path, mode)

    def drop(self, start):
        self.lines = {p: line for p, line in self.lines.items() if not p.startswith(start)}

    def write(self, name):
        with open(os.path.join(OUT, name + ".tree"), "w", newline="\n") as out:
            out.write("".join(self.lines[p] + "\n" for p in sorted(self.lines)))


def system(tree, release, os_release, vendor, name, flags, cores, siblings):
    """cores: numbers of hardware threads of each core; siblings: their maximal frequency in kHz."""
    tree.file("/proc/sys/kernel/osrelease", release + "\n")
    tree.file("/etc/os-release", os_release)
    tree.file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000::/home/ada:/bin/bash\n"
                             "bob:x:1001:1001::/home/bob:/bin/bash\n")
    tree.file("/etc/group", "root:x:0:\nvideo:x:44:ada\nrender:x:@GID@:bob\n")
    tree.file("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: %s\ncpu family\t: 6\nmodel name\t: %s\nflags\t\t: %s\n"
              % (vendor, name, flags))
    tree.file("/proc/meminfo", "MemTotal:       32479148 kB\nMemFree:         1234567 kB\nMemAvailable:   "
                               "24123456 kB\nSwapTotal:       8388604 kB\nSwapFree:        8388604 kB\n")
    tree.file("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    tree.file("/proc/self/limits", "Limit                     Soft Limit           Hard Limit           Units\n"
                                   "Max locked memory         67108864             67108864             bytes\n")
    cpu = 0
    for threads, speed in zip(cores, siblings):
        first, last = cpu, cpu + threads - 1
        for number in range(first, last + 1):
            base = "/sys/devices/system/cpu/cpu%d/" % number
            tree.file(base + "topology/thread_siblings_list", "%d%s\n" % (first, "-%d" % last if last > first else ""))
            tree.file(base + "cpufreq/cpuinfo_max_freq", "%d\n" % speed)
        cpu = last + 1
    tree.file("/sys/devices/system/cpu/online", "0-%d\n" % (cpu - 1))
    tree.file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    tree.file("/sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference", "balance_performance\n")
    tree.file("/sys/devices/system/node/node0/cpulist", "0-%d\n" % (cpu - 1))


def pci(tree, address, kind, vendor, device, driver=None, bus="pci0000:00"):
    """The device lies in /sys/devices, and /sys/bus/pci/devices has a link to it."""
    home = "/sys/devices/%s/%s" % (bus, address)
    up = "../" * bus.count("/")
    tree.link("/sys/bus/pci/devices/" + address, "../../../devices/%s/%s" % (bus, address))
    tree.file(home + "/class", "0x%06x\n" % kind)
    tree.file(home + "/vendor", "0x%04x\n" % vendor)
    tree.file(home + "/device", "0x%04x\n" % device)
    if driver:
        tree.link(home + "/driver", up + "../../../bus/pci/drivers/" + driver)
        tree.file("/sys/module/%s/refcnt" % driver, "0\n")
    return home


def battery(tree, status, percent, online):
    tree.file("/sys/class/power_supply/AC/type", "Mains\n")
    tree.file("/sys/class/power_supply/AC/online", "%d\n" % online)
    base = "/sys/class/power_supply/BAT0/"
    for name, value in (("type", "Battery"), ("present", "1"), ("status", status), ("capacity", percent),
                        ("energy_now", percent * 570000), ("energy_full", 57000000)):
        tree.file(base + name, "%s\n" % value)
    tree.file("/sys/firmware/acpi/platform_profile", "balanced\n")


def meteor_lake():
    tree = Tree()
    system(tree, "6.8.0-45-generic", UBUNTU, "GenuineIntel", "Intel(R) Core(TM) Ultra 7 155H", INTEL_FLAGS,
           [2] * 6 + [1] * 10, [4800000] * 6 + [3800000] * 8 + [2500000] * 2)
    tree.file("/sys/class/dmi/id/sys_vendor", "LENOVO\n")
    tree.file("/sys/class/dmi/id/product_name", "21KC\n")
    tree.file("/usr/share/misc/pci.ids", PCI_IDS)
    battery(tree, "Discharging", 71, 0)
    pci(tree, "0000:00:00.0", 0x060000, 0x8086, 0x7d01)
    gpu = pci(tree, "0000:00:02.0", 0x030000, 0x8086, 0x7d55, "i915")
    tree.file(gpu + "/drm/card0/dev", "226:0\n")
    tree.file(gpu + "/drm/renderD128/dev", "226:128\n")
    tree.file(gpu + "/resource", "0x0000005018000000 0x0000005018ffffff 0x0000000000140204\n"
                                 "0x0000004000000000 0x000000400fffffff 0x000000000014220c\n")
    npu = pci(tree, "0000:00:0b.0", 0x120000, 0x8086, 0x7d1d, "intel_vpu")
    tree.file(npu + "/accel/accel0/dev", "261:0\n")
    tree.node("/dev/dri/renderD128", 0o660)
    tree.node("/dev/accel/accel0", 0o660)
    tree.file("/lib/firmware/intel/vpu/vpu_37xx_v1.bin", "")
    lib = "/usr/lib/x86_64-linux-gnu/"
    for name in ("libze_intel_gpu.so.1", "libze_intel_npu.so.1", "libopenvino_c.so", "intel-opencl/libigdrcl.so"):
        tree.file(lib + name, "")
    tree.file("/etc/OpenCL/vendors/intel.icd", lib + "intel-opencl/libigdrcl.so\n")
    return tree


def ryzen_ai(device, name):
    tree = Tree()
    system(tree, "6.14.2-300.fc41.x86_64", FEDORA, "AuthenticAMD", name, ZEN5_FLAGS, [2] * 12,
           [5100000] * 4 + [3300000] * 8)
    tree.file("/usr/share/hwdata/pci.ids", PCI_IDS)
    battery(tree, "Charging", 40, 1)
    bus = "pci0000:00/0000:00:08.1"
    gpu = pci(tree, "0000:c3:00.0", 0x038000, 0x1002, 0x150e, "amdgpu", bus)
    tree.file(gpu + "/drm/renderD128/dev", "226:128\n")
    tree.file(gpu + "/mem_info_vram_total", "536870912\n")
    tree.file(gpu + "/mem_info_gtt_total", "16106127360\n")
    npu = pci(tree, "0000:c4:00.1", 0x118000, 0x1022, device, "amdxdna", "pci0000:00/0000:00:08.2")
    tree.file(npu + "/accel/accel0/dev", "261:0\n")
    tree.file(npu + "/vbnv", "RyzenAI-npu1\n" if device == 0x1502 else "RyzenAI-npu4\n")
    tree.file(npu + "/fw_version", "255.0.5.35\n")
    tree.node("/dev/dri/renderD128", 0o666)
    tree.node("/dev/accel/accel0", 0o666)
    return tree


def nvidia(release, driver):
    tree = Tree()
    system(tree, release, DEBIAN, "AuthenticAMD", "AMD Ryzen 9 7950X 16-Core Processor", ZEN5_FLAGS, [2] * 16,
           [5700000] * 16)
    tree.file("/usr/share/misc/pci.ids", PCI_IDS)
    gpu = pci(tree, "0000:01:00.0", 0x030000, 0x10de, 0x2684, driver, "pci0000:00/0000:00:01.1")
    tree.file(gpu + "/resource", "0x00000000f5000000 0x00000000f5ffffff 0x0000000000040200\n"
                                 "0x000000fa00000000 0x000000fbffffffff 0x000000000014220c\n"
                                 "0x0000000000000000 0x0000000000000000 0x0000000000000000\n")
    return tree


def write_all():
    os.makedirs(OUT, exist_ok=True)
    meteor_lake().write("meteor-lake")

    tree = meteor_lake()  # the module is there, but not loaded
    tree.drop("/sys/module/intel_vpu")
    tree.drop("/sys/devices/pci0000:00/0000:00:0b.0/driver")
    tree.drop("/sys/devices/pci0000:00/0000:00:0b.0/accel")
    tree.drop("/dev/accel")
    tree.write("meteor-lake-no-module")

    tree.file("/proc/sys/kernel/osrelease", "6.2.0-39-generic\n")  # a kernel from before
    tree.write("meteor-lake-old-kernel")

    tree = meteor_lake()  # loaded, but the firmware is missing
    tree.drop("/sys/devices/pci0000:00/0000:00:0b.0/driver")
    tree.drop("/sys/devices/pci0000:00/0000:00:0b.0/accel")
    tree.drop("/dev/accel")
    tree.drop("/lib/firmware")
    tree.write("meteor-lake-no-firmware")

    tree = meteor_lake()  # nothing of Intel in user space, and nodes for root alone
    tree.drop("/usr/lib/")
    tree.drop("/etc/OpenCL")
    tree.node("/dev/dri/renderD128", 0o600)
    tree.node("/dev/accel/accel0", 0o600)
    tree.write("meteor-lake-bare")

    tree = meteor_lake()  # sysfs is the host's, the nodes are not there
    tree.drop("/dev/")
    tree.file("/.dockerenv", "")
    tree.write("meteor-lake-container")

    ryzen_ai(0x17f0, "AMD Ryzen AI 9 HX 370 w/ Radeon 890M").write("ryzen-ai-300")
    ryzen_ai(0x1502, "AMD Ryzen 7 7840U w/ Radeon 780M Graphics").write("ryzen-7840u")

    nvidia("6.1.0-26-amd64", None).write("nvidia-no-driver")
    nvidia("6.1.0-26-amd64", "nouveau").write("nvidia-nouveau")

    tree = nvidia("6.1.0-26-amd64", "nvidia")
    tree.file("/proc/driver/nvidia/version", NVRM)
    tree.file("/proc/driver/nvidia/gpus/0000:01:00.0/information", MODEL)
    tree.file("/sys/module/nvidia/version", "550.54.14\n")
    tree.node("/dev/nvidia0", 0o666)
    tree.file("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "")
    tree.write("nvidia")

    tree = Tree()
    system(tree, "6.1.0-26-cloud-amd64", DEBIAN, "GenuineIntel", "Intel(R) Xeon(R) Processor",
           INTEL_FLAGS + " hypervisor", [1, 1], [0, 0])
    tree.file("/sys/class/dmi/id/sys_vendor", "QEMU\n")
    pci(tree, "0000:00:02.0", 0x030000, 0x1234, 0x1111, "bochs-drm")
    tree.write("virtual")

    tree = Tree()
    system(tree, "5.15.153.1-microsoft-standard-WSL2", UBUNTU, "GenuineIntel", "Intel(R) Core(TM) Ultra 7 155H",
           INTEL_FLAGS + " hypervisor", [2, 2], [0, 0])
    pci(tree, "73a1:00:00.0", 0x030200, 0x1414, 0x008e, "dxgkrnl", "LNXSYSTM:00/VMBUS:00/pci73a1:00")
    tree.node("/dev/dxg", 0o666)
    tree.file("/usr/lib/wsl/lib/libcuda.so.1", "")
    tree.write("wsl2")

    Tree().write("nothing")


def write_seeds():
    """The files of some trees as tests/fuzz/fuzz_hardware.c reads them: the place of the name, three bytes of
    length and the bytes, eight files a seed."""
    here = os.path.dirname(os.path.abspath(__file__))
    corpus = os.path.join(here, "..", "fuzz", "corpus", "hardware")
    with open(os.path.join(here, "..", "fuzz", "fuzz_hardware.c")) as source:
        listed = source.read().split("names[] = {")[1].split("};")[0]
    names = [("/sys/bus/pci/devices/" if part.startswith("PCI") else "") + part.split('"')[1]
             for part in listed.replace("\n", " ").split(",") if '"' in part]
    os.makedirs(corpus, exist_ok=True)
    machines = {"meteor-lake": meteor_lake(), "ryzen": ryzen_ai(0x17f0, "AMD Ryzen AI 9 HX 370"),
                "nvidia": nvidia("6.1.0-26-amd64", "nvidia")}
    nvidia_files = {"/proc/driver/nvidia/version": NVRM, "/proc/driver/nvidia/gpus/0000:00:02.0/information": MODEL}
    for machine, tree in sorted(machines.items()):
        files = {}
        for line in tree.lines.values():
            kind, path, content = (line + " ").split(" ", 2)
            if kind == "file":
                files[path] = content.rstrip(" ").replace("\\n", "\n").replace("@GID@", "105").encode()
        if machine == "nvidia":
            files.update({path: text.encode() for path, text in nvidia_files.items()})
        found = [(place, files[name]) for place, name in enumerate(names) if name in files]
        for first in range(0, len(found), 8):
            seed = b"".join(bytes([place]) + len(content).to_bytes(3, "little") + content
                            for place, content in found[first:first + 8])
            with open(os.path.join(corpus, "%s-%d" % (machine, first // 8)), "wb") as out:
                out.write(seed)


write_all()
write_seeds()
