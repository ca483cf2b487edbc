/* What becomes of the weights of an export, and its output as a whole or not at all. */
#ifndef PX_ENGINE_EXPORT_H
#define PX_ENGINE_EXPORT_H

#include "checkpoint/export.h"

typedef struct px_export_order {
    const px_checkpoint *checkpoint;
    const px_form *form; /* one that can be written */
    const phlox_model_options *options;
    const phlox_export_options *words;
    /* To run it: weights become what they would in the native engine, and what the form cannot hold to the
     * last bit is widened to float32 where it has that. Else what the user leaves open is chosen as the form's own tool
     * does, and a loss is an error unless it is accepted. */
    bool for_device;
    bool into; /* `out` is a directory that is there, and the files go right into it */
} px_export_order;

/* Writes to `out`; see phlox_export(). `result` may be NULL. */
phlox_status px_export_run(const px_export_order *order, const char *out, phlox_export_result *result,
                           phlox_error *error);

#endif
