#include "checkpoint/checkpoint.h"

#include <stdlib.h>

void px_checkpoint_close(px_checkpoint **checkpoint)
{
    px_checkpoint *const closed = *checkpoint;
    *checkpoint = NULL;
    if (!closed) return;
    for (int role = 0; role < PX_ROLES; role++) free(closed->tensors[role]);
    if (closed->close) closed->close(closed->owner);
    px_desc_free(&closed->desc);
    free(closed->state);
    free(closed);
}

const px_tensor *px_checkpoint_tensor(const px_checkpoint *checkpoint, px_role role, int32_t layer)
{
    const px_tensor *const tensors = checkpoint->tensors[role];
    return tensors && tensors[layer].data ? &tensors[layer] : NULL;
}
