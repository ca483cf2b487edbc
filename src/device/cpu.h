/* The native engine as a device. */
#ifndef PX_DEVICE_CPU_H
#define PX_DEVICE_CPU_H

#include "device/device.h"

extern const px_device px_device_cpu;

#endif
