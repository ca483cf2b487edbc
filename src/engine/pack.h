/* Row blocks of a tensor, converted to the layout of kernels.h. */
#ifndef PX_ENGINE_PACK_H
#define PX_ENGINE_PACK_H

#include "engine/plan.h"

/* Converts rows [begin, end) of an item that is not as stored. Of integers begin is a multiple of
 * PX_ROW_TILE, and n = px_weight_padded_rows(type, end - begin) rows are written.
 *   parts: where they go, of those n rows as many bytes as item->bytes says of all; what is NULL there
 *   is left out
 * A value that is not finite, or that a float format cannot hold, is PHLOX_ERROR_FORMAT naming file,
 * tensor and place. */
phlox_status px_pack_rows(const px_plan_item *item, int64_t begin, int64_t end,
                          void *const parts[PX_PARTS], phlox_error *error);

#endif
