/* What devices.c and doctor.c share: the machine's units and runtimes, looked at once. */
#ifndef PX_API_DEVICES_H
#define PX_API_DEVICES_H

#include "device/hardware.h"

enum { PX_MOST_RUNTIMES = 8 };

typedef struct px_machine_units {
    px_hardware_list hardware;
    px_runtime_seen runtimes[PX_MOST_RUNTIMES];
    size_t runtime_count;
} px_machine_units;

/* `root` NULL: this machine, whose runtimes are asked. free() it. */
phlox_status px_machine_units_find(const char *root, const phlox_model_options *options,
                                   px_machine_units **out, phlox_error *error);

/* Opens the runtime of a device and keeps what it lists, or why it does not, in *seen. After so many seconds
 * without an answer it is left to itself, in a thread that goes on. */
void px_runtime_ask(const px_device *device, const phlox_model_options *options, double patience,
                    px_runtime_seen *seen);

#endif
