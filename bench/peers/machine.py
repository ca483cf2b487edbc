"""The machine and the day, as they stand in the results."""

import os
import platform
import time
from pathlib import Path

# What decides which kernels the engines choose.
FLAGS = "avx2 fma f16c avx_vnni avx512f avx512bw avx512vl avx512_vbmi2 avx512_vnni avx512_bf16 avx512_fp16 amx_int8 amx_bf16 asimddp i8mm bf16 sve"


def first_value(path, key):
    """The value of the first line `key : value` of a file of /proc, or None."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def describe():
    cpuinfo = "/proc/cpuinfo"
    found = (first_value(cpuinfo, "flags") or first_value(cpuinfo, "Features") or "").split()
    memory = (first_value("/proc/meminfo", "MemTotal") or "0").split()[0]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": first_value(cpuinfo, "model name") or platform.processor(),
        "family_model_stepping": [first_value(cpuinfo, key) for key in ("cpu family", "model", "stepping")],
        "flags": [flag for flag in FLAGS.split() if flag in found],
        "cores": os.cpu_count(),
        "hypervisor": "hypervisor" in found,
        "memory_bytes": int(memory) * 1024,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
