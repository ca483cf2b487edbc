/* The meter behind the public one, for what samples it. */
#ifndef PX_API_METER_H
#define PX_API_METER_H

#include "device/meter/meter.h"

struct phlox_meter {
    px_meter *meter;
};

#endif
