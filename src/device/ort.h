/* ONNX Runtime GenAI as a device: "ort", with the execution providers of the installed build as its units. */
#ifndef PX_DEVICE_ORT_H
#define PX_DEVICE_ORT_H

#include "device/device.h"

extern const px_device px_device_ort;

#endif
