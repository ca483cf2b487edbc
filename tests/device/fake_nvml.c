/* Stands for libnvidia-ml.so.1: two GPUs, whose numbers come from the environment at every call. Built
 * once whole and once as an old driver has it, without what came later (FAKE_NVML_OLD). */
#include <stdlib.h>
#include <string.h>

struct utilization {
    unsigned gpu, memory;
};
struct memory {
    unsigned long long total, free, used;
};
struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};
struct pci {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
};

enum { UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, ARGUMENT_VERSION_MISMATCH = 25 };

static int started;
static const char first, second; /* the devices */

/* A number of the environment, FAKE_NVML_<name>. */
static unsigned long long number(const char *name)
{
    const char *const text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

static int check(const void *device)
{
    if (!started) return UNINITIALIZED;
    if (device != &first && device != &second) return INVALID_ARGUMENT;
    return device == &second ? NOT_SUPPORTED : (int)number("FAKE_NVML_ERROR");
}

int nvmlInit_v2(void)
{
    if (getenv("FAKE_NVML_INIT")) return (int)number("FAKE_NVML_INIT");
    started++;
    return 0;
}

int nvmlShutdown(void)
{
    if (!started) abort();
    started--;
    return 0;
}

const char *nvmlErrorString(int code)
{
    return code == 15 ? "GPU is lost" : code == NOT_SUPPORTED ? "Not Supported" : "Unknown Error";
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = 2;
    return started ? 0 : UNINITIALIZED;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, const void **device)
{
    *device = index ? &second : &first;
    return index < 2 ? 0 : INVALID_ARGUMENT;
}

int nvmlDeviceGetName(const void *device, char *name, unsigned length)
{
    strncpy(name, device == &first ? "NVIDIA GeForce RTX 4070" : "NVIDIA T400", length);
    return 0;
}

int nvmlDeviceGetPciInfo_v3(const void *device, struct pci *pci)
{
    const struct pci info = {"0000:01:00.0", 0, device == &first ? 0x01 : 0xc1, 0, 0x278610de, 0,
                             "00000000:01:00.0"};
    *pci = info;
    return 0;
}

int nvmlDeviceGetUtilizationRates(const void *device, struct utilization *out)
{
    out->gpu = (unsigned)number("FAKE_NVML_BUSY");
    out->memory = 99;
    return check(device);
}

int nvmlDeviceGetMemoryInfo(const void *device, struct memory *out)
{
    const struct memory memory = {12000000000, 8500000000, 3500000000};
    *out = memory;
    return check(device);
}

#ifndef FAKE_NVML_OLD

int nvmlDeviceGetMemoryInfo_v2(const void *device, struct memory_v2 *out)
{
    if (out->version != (sizeof *out | 2u << 24)) return ARGUMENT_VERSION_MISMATCH;
    const struct memory_v2 memory = {out->version, 12000000000, 500000000, 8500000000, 3000000000};
    *out = memory;
    return check(device);
}

int nvmlDeviceGetPowerUsage(const void *device, unsigned *milliwatts)
{
    *milliwatts = 95500;
    return check(device);
}

int nvmlDeviceGetTotalEnergyConsumption(const void *device, unsigned long long *millijoules)
{
    *millijoules = number("FAKE_NVML_ENERGY");
    return check(device);
}

int nvmlDeviceGetClockInfo(const void *device, int type, unsigned *megahertz)
{
    *megahertz = type == 0 ? 2475 : 10501;
    return check(device);
}

int nvmlDeviceGetMaxClockInfo(const void *device, int type, unsigned *megahertz)
{
    *megahertz = type == 0 ? 3105 : 10501;
    return check(device);
}

int nvmlDeviceGetTemperature(const void *device, int sensor, unsigned *celsius)
{
    *celsius = sensor == 0 ? 63 : 0;
    return check(device);
}

#endif
