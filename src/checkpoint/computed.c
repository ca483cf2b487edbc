#include "checkpoint/computed.h"

#include "base/half.h"
#include "checkpoint/config.h"

#include <math.h>
#include <stdlib.h>

enum { GROUP = 128 };

/* Four bits that look like chance. */
static unsigned nibble(uint64_t seed)
{
    return (unsigned)(seed * UINT64_C(0x9E3779B97F4A7C15) >> 60);
}

/* A scale that keeps the network's values near 1, whatever its size: the root mean square of the integers -8 to 7 is
 * about 4.6. */
static float scale_of(const px_tensor *tensor)
{
    const float wanted = 0.2f / sqrtf((float)tensor->columns);
    return px_f16_to_f32(px_f32_to_f16(wanted));
}

static void read_integers(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q, float *scales,
                          uint8_t *zeros)
{
    (void)zeros;
    const int64_t columns = tensor->columns, groups = columns / GROUP;
    const uint64_t seed = (uint64_t)tensor->role * 131 + (uint64_t)tensor->layer * 7;
    for (int64_t row = 0; row < rows; row++) {
        const uint64_t start = (seed + (uint64_t)(begin + row)) * UINT64_C(0xD6E8FEB86659FD93);
        for (int64_t i = 0; i < columns; i++) q[row * columns + i] = (uint8_t)nibble(start + (uint64_t)i);
        for (int64_t i = 0; i < groups; i++) scales[row * groups + i] = scale_of(tensor);
    }
}

static void load_floats(const px_tensor *tensor, int64_t begin, int64_t rows, float *out)
{
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < tensor->columns; i++)
            out[row * tensor->columns + i] =
                (float)((int)nibble((uint64_t)((begin + row) * 8191 + i)) - 8) * 0x1p-3f;
}

static void place(const px_desc *desc, px_role role, int32_t layer, const float *ones, px_tensor *out)
{
    *out = (px_tensor){.role = role, .layer = layer, .name = px_role_parameter(role), .file = "computed",
                       .data = ones, .type = PX_FLOAT_F32};
    px_role_shape(desc, role, &out->rows, &out->columns);
    out->row_bytes = out->columns * (int64_t)sizeof(float);
    if (px_role_is_norm(role)) return;
    if (px_role_is_layered(role)) {
        out->integers = (px_integers){.bits = 4, .symmetric = true, .half_scales = true,
                                      .group_size = GROUP, .read = read_integers};
        out->row_bytes = out->columns / 2 + out->columns / GROUP * 2;
    } else {
        out->type = PX_FLOAT_F16;
        out->load = load_floats;
        out->row_bytes = out->columns * 2;
    }
}

static phlox_status fill(px_checkpoint *checkpoint, phlox_text config, phlox_error *error)
{
    px_desc *const desc = &checkpoint->desc;
    PX_TRY(px_config_parse(config, "config.json", (phlox_text){0}, "", desc, error));
    if (desc->hidden_size % GROUP || desc->intermediate_size % GROUP ||
        desc->num_attention_heads * desc->head_dim % GROUP)
        return px_fail(error, PHLOX_ERROR_INTERNAL, "a computed checkpoint has groups of %d columns", GROUP);
    float *const ones = px_calloc((size_t)desc->hidden_size, sizeof *ones);
    checkpoint->owner = ones;
    checkpoint->close = free;
    checkpoint->beside = px_calloc(1, sizeof *checkpoint->beside);
    checkpoint->state = px_strdup("", 0);
    if (!ones || !checkpoint->beside || !checkpoint->state) return px_fail_memory(error, sizeof *ones);
    for (int32_t i = 0; i < desc->hidden_size; i++) ones[i] = 1;
    checkpoint->beside[checkpoint->beside_count++] = (px_memory_file){"config.json", config};
    PX_TRY(px_checkpoint_make_room(checkpoint, error));
    for (int role = 0; role < PX_ROLES; role++) {
        if (role == PX_LM_HEAD && desc->tied_embeddings) continue;
        const int32_t count = px_role_is_layered((px_role)role) ? desc->num_hidden_layers : 1;
        for (int32_t layer = 0; layer < count; layer++) {
            px_tensor *const tensor = &checkpoint->tensors[role][layer];
            place(desc, (px_role)role, layer, ones, tensor);
            checkpoint->stored_bytes += (uint64_t)tensor->rows * (uint64_t)tensor->row_bytes;
        }
    }
    return PHLOX_OK;
}

phlox_status px_checkpoint_computed(phlox_text config, px_checkpoint **out, phlox_error *error)
{
    px_checkpoint *checkpoint = px_calloc(1, sizeof *checkpoint);
    if (!checkpoint) return px_fail_memory(error, sizeof *checkpoint);
    checkpoint->form = "computed";
    checkpoint->path = "";
    checkpoint->type = PX_FLOAT_F16;
    checkpoint->quantized = true;
    const phlox_status status = fill(checkpoint, config, error);
    if (status == PHLOX_OK) *out = checkpoint;
    else px_checkpoint_close(&checkpoint);
    return status;
}
