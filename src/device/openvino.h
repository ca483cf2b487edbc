/* OpenVINO's runtime as a device, opened at run time: "openvino:CPU", "openvino:GPU.0", "openvino:NPU". */
#ifndef PX_DEVICE_OPENVINO_H
#define PX_DEVICE_OPENVINO_H

#include "device/device.h"

extern const px_device px_device_openvino;

#endif
