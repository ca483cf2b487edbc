/* What the units of the machine are doing, on the clock of the system. */
#include "api/meter.h"

#include "base/memory.h"
#include "base/os.h"

#include <stdlib.h>

phlox_status phlox_meter_open(const char *root, int64_t pid, phlox_meter **out, phlox_error *error)
{
    phlox_meter *const meter = px_calloc(1, sizeof *meter);
    if (!meter) return px_fail_memory(error, sizeof *meter);
    const phlox_status status = px_meter_open(root, pid, px_seconds(), &meter->meter, error);
    if (status != PHLOX_OK) {
        free(meter);
        return status;
    }
    *out = meter;
    return PHLOX_OK;
}

const phlox_unit_reading *phlox_meter_sample(phlox_meter *meter, size_t *count)
{
    px_meter_sample(meter->meter, px_seconds(), false);
    return px_meter_readings(meter->meter, count);
}

const float *phlox_meter_cores(const phlox_meter *meter, size_t *count)
{
    return px_meter_core_readings(meter->meter, count);
}

void phlox_meter_close(phlox_meter **meter)
{
    if (!meter || !*meter) return;
    px_meter_close((*meter)->meter);
    free(*meter);
    *meter = NULL;
}
