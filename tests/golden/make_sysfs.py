#!/usr/bin/env python3
"""Writes recordings of what /proc and /sys of several machines say, tests/golden/sysfs/*.txt.

A recording is made the other way round: from what the units did (half busy, 1.2 GHz, 5 W) follow the
counters, by the units and paths that the kernel's documentation gives. What they did is written down with
them, for the tests to find again. Colons in names of files keep some systems from checking them out, so a
tree is one text file:

    [0]                    the tree at the first sample
    PATH = TEXT            a file; \\n, \\t and \\\\ are escaped, and a newline ends it
    PATH -> TARGET         a symbolic link
    [1]                    what has changed at the second sample, SECONDS later
    PATH !                 is gone
    [expect]
    UNIT KEY VALUE         every number that is known; all others are not
"""
from pathlib import Path

SECONDS = 2  # between the two samples
HERE = Path(__file__).resolve().parent / "sysfs"


class Recording:
    def __init__(self, about):
        self.about, self.steps, self.expected = about, ({}, {}), []

    def file(self, path, first, second=None):
        self.steps[0][path] = f"= {escape(first)}"
        if second is not None:
            self.steps[1][path] = f"= {escape(second)}"

    def link(self, path, target):
        self.steps[0][path] = f"-> {target}"

    def expect(self, unit, **values):
        self.expected += [f"{unit} {key} {value}" for key, value in values.items()]

    def write(self, name):
        lines = [f"# {self.about}", f"# made by tests/golden/make_sysfs.py; {SECONDS} seconds between the samples"]
        for number, step in enumerate(self.steps):
            lines += [f"[{number}]"] + [f"{path} {what}" for path, what in step.items()]
        lines += ["[expect]"] + self.expected
        (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n")


def escape(text):
    return str(text).replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def cpu(r, name, busy, clock_mhz, max_mhz, watts, dram_watts=None, uncore_watts=None, temperature=None,
        sensor="coretemp"):
    """Two hardware threads; `busy` gives the share of each. Ticks of 10 ms, kHz, kB, microjoules."""
    ticks = 100 * SECONDS
    before, after = [], []
    for start in (1000, 5000):
        before.append([start, 20, 300, 40000, 500, 6, 7, 8, 50, 0])
    for row, share in zip(before, busy):
        work = round(ticks * share)
        row = list(row)
        row[0] += work - work // 4
        row[2] += work // 4
        row[3] += ticks - work
        after.append(row)

    def stat(rows):
        total = [sum(column) for column in zip(*rows)]
        lines = ["cpu  " + " ".join(map(str, total))]
        lines += [f"cpu{i} " + " ".join(map(str, row)) for i, row in enumerate(rows)]
        return "\n".join(lines + ["intr 12345 0 9", "ctxt 777", "btime 1700000000"])

    r.file("proc/stat", stat(before), stat(after))
    r.file("proc/meminfo", "MemTotal:       32000000 kB\nMemFree:         1000000 kB\nMemAvailable:   20000000 kB")
    r.file("proc/cpuinfo", f"processor\t: 0\nmodel name\t: {name}\ncpu MHz\t\t: 800.000")
    for i in range(2):
        policy = f"sys/devices/system/cpu/cpufreq/policy{i}"
        r.file(f"{policy}/cpuinfo_max_freq", (max_mhz - 100 * i) * 1000)
        r.file(f"{policy}/scaling_cur_freq", 800_000, (clock_mhz + (50 if i else -50)) * 1000)
    joules = 0.0
    zones = [("intel-rapl:0", "package-0", watts), ("intel-rapl:0:0", "core", watts / 2),
             ("intel-rapl:0:1", "uncore", uncore_watts), ("intel-rapl:0:2", "dram", dram_watts),
             ("intel-rapl:1", "psys", watts * 2)]
    for zone, zone_name, zone_watts in zones:
        if zone_watts is None:
            continue
        where, start = f"sys/class/powercap/{zone}", 262_143_000_000
        top = 262_143_328_850
        r.file(f"{where}/name", zone_name)
        r.file(f"{where}/max_energy_range_uj", top)
        # The counter begins again between the samples.
        r.file(f"{where}/energy_uj", start, (start + round(zone_watts * SECONDS * 1e6)) % top)
        if zone_name in ("package-0", "dram"):
            joules += zone_watts * SECONDS
    expected = dict(kind="cpu", scope="machine", energy_in_cpu="no", utilisation=sum(busy) / 2,
                    clock=clock_mhz * 1e6, max_clock=max_mhz * 1e6, memory_used=12_000_000 * 1024,
                    memory_total=32_000_000 * 1024, watts=joules / SECONDS, joules=joules)
    if temperature is not None:
        r.file("sys/class/hwmon/hwmon0/name", "nvme")
        r.file("sys/class/hwmon/hwmon0/temp1_input", 99000)
        r.file("sys/class/hwmon/hwmon3/name", sensor)
        r.file("sys/class/hwmon/hwmon3/temp1_input", 40000, temperature * 1000)
        expected["celsius"] = temperature
    r.expect("CPU", **expected)


def device(r, kind, number, driver, pci, ids, extra=""):
    """A card with its PCI device; returns the directories of both."""
    prefix = "card" if kind == "drm" else "accel"
    card = f"sys/class/{kind}/{prefix}{number}"
    directory = f"sys/devices/pci0000:00/{pci}"
    r.link(f"{card}/device", f"../../../devices/pci0000:00/{pci}")
    r.link(f"sys/bus/pci/devices/{pci}", f"../../../devices/pci0000:00/{pci}")
    r.file(f"{directory}/uevent", f"DRIVER={driver}\nPCI_CLASS=38000\nPCI_ID={ids.upper()}\n"
           f"PCI_SUBSYS_ID=1043:1234\nPCI_SLOT_NAME={pci}\nMODALIAS=pci:v00{extra}")
    r.file(f"{directory}/power_state", "D0")
    return card, directory


def client(r, pid, descriptor, node, first, second=None):
    """An open file of a device: its link and its fdinfo."""
    r.link(f"proc/{pid}/fd/{descriptor}", f"/dev/{node}")
    head = "pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t1234\n"
    r.file(f"proc/{pid}/fdinfo/{descriptor}", head + first, None if second is None else head + second)


def other_files(r, pid):
    r.link(f"proc/{pid}/fd/0", "/dev/null")
    r.file(f"proc/{pid}/fdinfo/0", "pos:\t0\nflags:\t0100000\nmnt_id:\t26\nino:\t3")
    r.link(f"proc/{pid}/fd/1", "socket:[12345]")


def i915_client(pci, number, render_ns, video_ns, resident_kib):
    return (f"drm-driver:\ti915\ndrm-client-id:\t{number}\ndrm-pdev:\t{pci}\n"
            f"drm-total-system0:\t{resident_kib * 2} KiB\ndrm-shared-system0:\t0\n"
            f"drm-active-system0:\t0\ndrm-resident-system0:\t{resident_kib} KiB\n"
            "drm-purgeable-system0:\t0\ndrm-total-stolen-system0:\t0\ndrm-resident-stolen-system0:\t0\n"
            f"drm-engine-render:\t{render_ns} ns\ndrm-engine-copy:\t0 ns\n"
            f"drm-engine-video:\t{video_ns} ns\ndrm-engine-capacity-video:\t2\n"
            "drm-engine-video-enhance:\t0 ns\n")


def i915_gpu(r, pci, ids, number, scope="user"):
    """Two processes; the second has its client in two files. Render 0.25 + 0.35 busy, video 0.9 of one of
    two engines."""
    card, directory = device(r, "drm", number, "i915", pci, ids)
    r.file(f"{card}/gt_cur_freq_mhz", 300, 1500)
    r.file(f"{card}/gt_act_freq_mhz", 0, 1450)
    r.file(f"{card}/gt_max_freq_mhz", 2250)
    r.file(f"sys/class/drm/card{number}-eDP-1/status", "connected")
    ns = SECONDS * 10**9
    other_files(r, 100)
    client(r, 100, 5, "dri/renderD128", i915_client(pci, 7, 10**12, 5, 1000),
           i915_client(pci, 7, 10**12 + ns * 25 // 100, 5 + ns * 9 // 10, 3000))
    for descriptor in (9, 11):
        client(r, 2345, descriptor, "dri/renderD128", i915_client(pci, 12, 77, 0, 500),
               i915_client(pci, 12, 77 + ns * 35 // 100, 0, 600))
    r.expect("GPU.0", kind="gpu", scope=scope, energy_in_cpu="yes", pci=pci, utilisation=0.6,
             clock=1450e6, max_clock=2250e6, memory_used=3600 * 1024)


def intel_npu(r, pci, ids, busy, generation):
    """busy: the share of the time with jobs; generation: 6.11, 6.15, or "freq" for the newest names."""
    _, directory = device(r, "accel", 0, "intel_vpu", pci, ids)
    start = 123_456_789
    r.file(f"{directory}/npu_busy_time_us", start, start + round(busy * SECONDS * 1e6))
    r.file(f"{directory}/sched_mode", "HW")
    expected = dict(kind="npu", scope="machine", energy_in_cpu="yes", pci=pci, utilisation=busy)
    if generation != "6.11":
        r.file(f"{directory}/npu_memory_utilization", 0, 2_147_483_648)
        expected |= dict(memory_used=2_147_483_648, clock=1400e6, max_clock=1950e6)
    if generation == "6.15":
        r.file(f"{directory}/npu_current_frequency_mhz", 0, 1400)
        r.file(f"{directory}/npu_max_frequency_mhz", 1950)
    if generation == "freq":
        for name, values in dict(current_freq=(0, 1400), hw_min_freq=(700,), hw_efficient_freq=(1100,),
                                 hw_max_freq=(1950,)).items():
            r.file(f"{directory}/freq/{name}", *values)
    r.expect("NPU", **expected)


def meteor_lake(generation):
    r = Recording(f"Meteor Lake: i915, intel_vpu of Linux {generation}")
    cpu(r, "Intel(R) Core(TM) Ultra 7 155H", (0.25, 0.75), 3200, 4800, 28, dram_watts=None, uncore_watts=9)
    i915_gpu(r, "0000:00:02.0", "8086:7d55", 1)
    r.expect("GPU.0", watts=9, joules=9 * SECONDS)
    intel_npu(r, "0000:00:0b.0", "8086:7d1d", 0.42, generation)
    r.write(f"meteor-lake-{generation}")


def xe_client(pci, number, compute, total, resident_kib, local_kib=None):
    text = f"drm-driver:\txe\ndrm-client-id:\t{number}\ndrm-pdev:\t{pci}\n"
    for region, kib in dict(system=resident_kib, gtt=64, **({} if local_kib is None else dict(vram0=local_kib)),
                            stolen=0).items():
        text += (f"drm-total-{region}:\t{kib * 3} KiB\ndrm-shared-{region}:\t0\n"
                 f"drm-active-{region}:\t{kib} KiB\ndrm-resident-{region}:\t{kib} KiB\n"
                 f"drm-purgeable-{region}:\t0\n")
    for engine, cycles in dict(rcs=5, bcs=0, vcs=0, vecs=0, ccs=compute).items():
        text += f"drm-cycles-{engine}:\t{cycles}\ndrm-total-cycles-{engine}:\t{total}\n"
    return text + "drm-engine-capacity-vcs:\t2\ndrm-engine-capacity-ccs:\t4\n"


def xe_gpu(r, unit, pci, ids, number, share, local_kib=None):
    """Compute: `share` of four engines of one name."""
    _, directory = device(r, "drm", number, "xe", pci, ids)
    freq = f"{directory}/tile0/gt0/freq0"
    r.file(f"{freq}/act_freq", 0, 1950)
    r.file(f"{freq}/cur_freq", 400, 2000)
    r.file(f"{freq}/max_freq", 2050)
    r.file(f"{freq}/rp0_freq", 2100)
    total = 19_200_000 * SECONDS  # the timestamp's own clock, not the GPU's
    second = xe_client(pci, 3, 1000 + round(total * share * 4), 999 + total, 2048, local_kib)
    client(r, 4321, 20 + number, f"dri/renderD{128 + number}", xe_client(pci, 3, 1000, 999, 2048, local_kib),
           second)
    used = (2048 + 64) * 1024 if local_kib is None else local_kib * 1024
    r.expect(unit, kind="gpu", scope="user", pci=pci, utilisation=share, clock=1950e6, max_clock=2050e6,
             memory_used=used)
    return directory


def lunar_lake():
    r = Recording("Lunar Lake: xe, intel_vpu with the directory freq")
    cpu(r, "Intel(R) Core(TM) Ultra 7 258V", (0.1, 0.3), 2500, 4800, 12, uncore_watts=4, temperature=61)
    xe_gpu(r, "GPU.0", "0000:00:02.0", "8086:64a0", 0, 0.8)
    r.expect("GPU.0", energy_in_cpu="yes", watts=4, joules=4 * SECONDS)
    intel_npu(r, "0000:00:0b.0", "8086:643e", 0.95, "freq")
    r.write("lunar-lake")


def arc():
    r = Recording("Arc B580 beside a processor's graphics: xe with hwmon, i915")
    cpu(r, "Intel(R) Core(TM) i7-14700K", (0.5, 0.5), 5000, 5600, 60, uncore_watts=1.5)
    # Cards are numbered as drivers come: the separate one is card0 here.
    directory = xe_gpu(r, "GPU.1", "0000:03:00.0", "8086:e20b", 0, 0.5, local_kib=7_000_000)
    start = 5_000_000_000
    r.file(f"{directory}/hwmon/hwmon5/name", "xe")
    r.file(f"{directory}/hwmon/hwmon5/energy1_input", start, start + 140 * SECONDS * 10**6)
    r.file(f"{directory}/hwmon/hwmon5/energy2_input", start, start + 110 * SECONDS * 10**6)
    r.file(f"{directory}/hwmon/hwmon5/power1_max", 190_000_000)
    r.file(f"{directory}/hwmon/hwmon5/temp2_input", 35_000, 58_000)
    r.file(f"{directory}/hwmon/hwmon5/temp3_input", 70_000)
    r.expect("GPU.1", energy_in_cpu="no", watts=140, joules=140 * SECONDS, celsius=58)
    i915_gpu(r, "0000:00:02.0", "8086:a780", 1)
    r.expect("GPU.0", watts=1.5, joules=1.5 * SECONDS)
    r.write("arc")


def amdgpu(r, unit, pci, ids, number, busy, vram, gtt, integrated, power_file, microwatts):
    """vram, gtt: (used, total) in bytes."""
    _, directory = device(r, "drm", number, "amdgpu", pci, ids)
    r.file(f"{directory}/gpu_busy_percent", 0, round(busy * 100))
    for name, (used, total) in dict(vram=vram, gtt=gtt).items():
        r.file(f"{directory}/mem_info_{name}_used", 0, used)
        r.file(f"{directory}/mem_info_{name}_total", total)
    r.file(f"{directory}/pp_dpm_sclk", "0: 800Mhz *\n1: 1100Mhz \n2: 2900Mhz ", "0: 800Mhz \n1: 1100Mhz *\n2: 2900Mhz ")
    hwmon = f"{directory}/hwmon/hwmon4"
    r.file(f"{hwmon}/name", "amdgpu")
    r.file(f"{hwmon}/{power_file}", 3_000_000, microwatts)
    r.file(f"{hwmon}/temp1_input", 40_000, 52_000)
    r.file(f"{hwmon}/in0_label", "vddgfx")
    if integrated:
        r.file(f"{hwmon}/in1_label", "vddnb")
        clock = 1100e6  # no freq1_input: from the list of levels
    else:
        r.file(f"{hwmon}/freq1_input", 500_000_000, 2_450_000_000)
        clock = 2450e6
    used, total = (vram[0] + gtt[0], vram[1] + gtt[1]) if integrated else vram
    r.expect(unit, kind="gpu", scope="machine", energy_in_cpu="yes" if integrated else "no", pci=pci,
             utilisation=busy, clock=clock, max_clock=2900e6, memory_used=used, memory_total=total,
             watts=microwatts / 1e6, joules=microwatts / 1e6 * SECONDS, celsius=52)


def xdna_client(pci, number, ns, kib):
    return (f"drm-driver:\tamdxdna_accel_driver\ndrm-client-id:\t{number}\ndrm-pdev:\t{pci}\n"
            f"amdxdna_accel_driver-heap-alloc:\t{kib} KiB\namdxdna_accel_driver-internal-alloc:\t8 KiB\n"
            f"amdxdna_accel_driver-external-alloc:\t0 KiB\ndrm-engine-npu-amdxdna:\t{ns} ns\n")


def ryzen_ai():
    r = Recording("Ryzen AI: amdgpu inside and beside the processor, amdxdna")
    cpu(r, "AMD Ryzen AI 9 HX 370", (1, 0.5), 4000, 5150, 33, temperature=72, sensor="k10temp")
    amdgpu(r, "GPU.1", "0000:c4:00.0", "1002:150e", 1, 0.77, (400_000_000, 536_870_912),
           (3_000_000_000, 16_000_000_000), True, "power1_input", 21_000_000)
    amdgpu(r, "GPU.0", "0000:03:00.0", "1002:744c", 0, 0.13, (9_000_000_000, 25_753_026_560),
           (50_000_000, 16_000_000_000), False, "power1_average", 180_500_000)
    pci = "0000:c5:00.1"
    device(r, "accel", 0, "amdxdna", pci, "1022:17f0")
    other_files(r, 900)
    client(r, 900, 6, "accel/accel0", xdna_client(pci, 2, 10**9, 1000),
           xdna_client(pci, 2, 10**9 + SECONDS * 10**9 // 4, 65_536))
    r.expect("NPU", kind="npu", scope="user", energy_in_cpu="yes", pci=pci, utilisation=0.25,
             memory_used=(65_536 + 8) * 1024)
    r.write("ryzen-ai")


def fuzz_seeds():
    """What the three kinds of drivers say, for tests/fuzz/fuzz_fdinfo.c."""
    seeds = HERE.parent.parent / "fuzz" / "corpus" / "fdinfo"
    seeds.mkdir(exist_ok=True)
    (seeds / "i915").write_text(i915_client("0000:00:02.0", 7, 10**12, 5, 1000))
    (seeds / "xe").write_text(xe_client("0000:03:00.0", 3, 1000, 999, 2048, 7_000_000))
    (seeds / "amdxdna").write_text(xdna_client("0000:c5:00.1", 2, 10**9, 1000))
    (seeds / "numbers").write_text("drm-driver: x\ndrm-client-id: 18446744073709551616\n"
                                   "drm-engine-a: 18446744073709551615 ns\ndrm-engine-capacity-a: 0\n"
                                   "drm-memory-a: 18446744073709551615 MiB\ndrm-memory-a: 1 KiB\n")


def main():
    HERE.mkdir(exist_ok=True)
    for generation in ("6.11", "6.15", "freq"):
        meteor_lake(generation)
    lunar_lake()
    arc()
    ryzen_ai()
    fuzz_seeds()


if __name__ == "__main__":
    main()
