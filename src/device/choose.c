#include "device/cpu.h"

const px_device *px_device_choose(const char **reason)
{
    *reason = "the native engine; this build has no GPU or NPU device";
    return &px_device_cpu;
}
