#include "checkpoint/checkpoint.h"

#include "base/os.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void px_checkpoint_close(px_checkpoint **checkpoint)
{
    px_checkpoint *const closed = *checkpoint;
    *checkpoint = NULL;
    if (!closed) return;
    for (int role = 0; role < PX_ROLES; role++) free(closed->tensors[role]);
    if (closed->close) closed->close(closed->owner);
    px_desc_free(&closed->desc);
    free(closed->state);
    free(closed->beside);
    free(closed);
}

void px_describe_once(char *list, size_t size, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = list; *at; at += strspn(at, ", ")) {
        const size_t here = strcspn(at, ",");
        if (here == length && strncmp(at, word, length) == 0) return;
        at += here;
    }
    const size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used ? ", " : "", word);
}

void px_describe_integers(int bits, bool symmetric, int64_t group_size, int64_t columns, char *out,
                          size_t size)
{
    char group[32] = "per channel";
    if (group_size < columns) snprintf(group, sizeof group, "g%lld", (long long)group_size);
    snprintf(out, size, "int%d %s %s", bits, symmetric ? "sym" : "asym", group);
}

void px_tensor_describe(const px_tensor *tensor, char *out, size_t size)
{
    static const char *const floats[] = {"f32", "f16", "bf16"};
    const px_integers *const integers = &tensor->integers;
    if (tensor->encoding) snprintf(out, size, "%s", tensor->encoding);
    else if (integers->bits)
        px_describe_integers(integers->bits, integers->symmetric, integers->group_size,
                             tensor->columns, out, size);
    else snprintf(out, size, "%s", floats[tensor->type]);
}

void px_checkpoint_describe(const px_checkpoint *checkpoint, char *out, size_t size)
{
    static const px_role matrices[] = {PX_QKV, PX_O, PX_GATE_UP, PX_DOWN, PX_EMBEDDING, PX_LM_HEAD};
    *out = 0;
    for (size_t i = 0; i < PX_COUNT(matrices); i++) {
        const int32_t count =
            px_role_is_layered(matrices[i]) ? checkpoint->desc.num_hidden_layers : 1;
        for (int32_t layer = 0; layer < count; layer++) {
            const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, matrices[i], layer);
            if (!tensor) continue;
            char text[64];
            px_tensor_describe(tensor, text, sizeof text);
            px_describe_once(out, size, text);
        }
    }
}

phlox_status px_checkpoint_make_room(px_checkpoint *checkpoint, phlox_error *error)
{
    for (int role = 0; role < PX_ROLES; role++) {
        const size_t count =
            px_role_is_layered((px_role)role) ? (size_t)checkpoint->desc.num_hidden_layers : 1;
        checkpoint->tensors[role] = px_calloc(count, sizeof **checkpoint->tensors);
        if (!checkpoint->tensors[role])
            return px_fail_memory(error, count * sizeof **checkpoint->tensors);
    }
    return PHLOX_OK;
}

phlox_status px_checkpoint_widened(const px_checkpoint *checkpoint, px_checkpoint *out,
                                   phlox_error *error)
{
    px_checkpoint copy = *checkpoint;
    copy.close = NULL;
    memset(copy.tensors, 0, sizeof copy.tensors);
    phlox_status status = px_checkpoint_make_room(&copy, error);
    for (int role = 0; role < PX_ROLES && status == PHLOX_OK; role++) {
        px_tensor *const tensors = copy.tensors[role];
        if (!checkpoint->tensors[role]) continue;
        const int32_t count = px_role_is_layered((px_role)role) ? copy.desc.num_hidden_layers : 1;
        memcpy(tensors, checkpoint->tensors[role], (size_t)count * sizeof *tensors);
        for (int32_t layer = 0; layer < count; layer++)
            if (tensors[layer].load) tensors[layer].integers = (px_integers){0};
    }
    *out = copy;
    if (status != PHLOX_OK) px_checkpoint_widened_free(out);
    return status;
}

void px_checkpoint_widened_free(px_checkpoint *checkpoint)
{
    for (int role = 0; role < PX_ROLES; role++) {
        free(checkpoint->tensors[role]);
        checkpoint->tensors[role] = NULL;
    }
}

bool px_checkpoint_lacks(const px_checkpoint *checkpoint, px_role *role, int32_t *layer)
{
    for (int r = 0; r < PX_ROLES; r++) {
        if (r == PX_LM_HEAD && checkpoint->desc.tied_embeddings) continue;
        const int32_t count =
            px_role_is_layered((px_role)r) ? checkpoint->desc.num_hidden_layers : 1;
        for (int32_t l = 0; l < count; l++) {
            if (px_checkpoint_tensor(checkpoint, (px_role)r, l)) continue;
            *role = (px_role)r;
            *layer = l;
            return true;
        }
    }
    return false;
}

phlox_status px_checkpoint_json_beside(const px_checkpoint *checkpoint, const char *name, json_t **out,
                                       phlox_error *error)
{
    *out = NULL;
    for (size_t i = 0; i < checkpoint->beside_count; i++)
        if (strcmp(checkpoint->beside[i].name, name) == 0)
            return px_json_parse(checkpoint->beside[i].bytes, name, false, out, error);
    return PHLOX_OK;
}

const px_tensor *px_checkpoint_tensor(const px_checkpoint *checkpoint, px_role role, int32_t layer)
{
    const px_tensor *const tensors = checkpoint->tensors[role];
    return tensors && tensors[layer].data ? &tensors[layer] : NULL;
}

void px_tensor_drop(const px_tensor *tensor, int64_t begin, int64_t rows)
{
    if (!tensor->mapped || (tensor->whole && begin + rows < tensor->rows)) return;
    const int64_t first = tensor->whole ? 0 : begin;
    px_map_drop((const char *)tensor->data + first * tensor->row_bytes,
                (size_t)((begin + rows - first) * tensor->row_bytes));
}

int64_t px_tensor_groups(const px_tensor *tensor)
{
    return (tensor->columns + tensor->integers.group_size - 1) / tensor->integers.group_size;
}

const void *px_tensor_rows(const px_tensor *tensor, int64_t begin, int64_t rows, float *buffer,
                           px_float_type *type)
{
    *type = tensor->load ? PX_FLOAT_F32 : tensor->type;
    if (!tensor->load) return (const char *)tensor->data + begin * tensor->row_bytes;
    tensor->load(tensor, begin, rows, buffer);
    return buffer;
}

size_t px_tensor_scratch(const px_tensor *tensor, int64_t rows)
{
    if (!tensor->integers.bits) return 0;
    const size_t groups = (size_t)px_tensor_groups(tensor);
    return (size_t)rows * (groups * (sizeof(float) + 1) + (size_t)tensor->columns);
}

/* Of rows from `begin`: scales, or what `what` says. */
static phlox_status check_finite(const px_tensor *tensor, int64_t begin, int64_t rows,
                                 const float *scales, const char *what, phlox_error *error)
{
    const int64_t groups = px_tensor_groups(tensor);
    for (int64_t i = 0; i < rows * groups; i++)
        if (!isfinite(scales[i]))
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s: row %" PRId64 ", group %" PRId64 " has the %s %g; "
                           "download the file again", tensor->file, tensor->name, begin + i / groups,
                           i % groups, what, (double)scales[i]);
    return PHLOX_OK;
}

phlox_status px_tensor_read_integers(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q,
                                     float *scales, uint8_t *zeros, phlox_error *error)
{
    tensor->integers.read(tensor, begin, rows, q, scales, zeros);
    return check_finite(tensor, begin, rows, scales, "scale", error);
}

phlox_status px_tensor_read_minima(const px_tensor *tensor, int64_t begin, int64_t rows,
                                   float *minima, phlox_error *error)
{
    tensor->integers.read_minima(tensor, begin, rows, minima);
    return check_finite(tensor, begin, rows, minima, "minimum", error);
}

void px_tensor_load(const px_tensor *tensor, int64_t begin, int64_t rows, float *out,
                    void *scratch)
{
    const px_integers *const integers = &tensor->integers;
    if (tensor->load) {
        tensor->load(tensor, begin, rows, out);
        return;
    }
    if (!integers->bits) {
        const char *const source = (const char *)tensor->data + begin * tensor->row_bytes;
        px_float_load(tensor->type, source, (size_t)(rows * tensor->columns), out);
        return;
    }
    const int64_t groups = px_tensor_groups(tensor);
    float *const scales = scratch;
    uint8_t *const zeros = (uint8_t *)(scales + rows * groups);
    const uint8_t *q = zeros + rows * groups;
    memset(zeros, integers->bits == 4 ? 8 : 128, (size_t)(rows * groups));
    integers->read(tensor, begin, rows, (uint8_t *)(uintptr_t)q, scales, zeros);
    for (int64_t i = 0; i < rows * groups; i++) {
        const int64_t first = i % groups * integers->group_size;
        const int64_t count = PX_MIN(integers->group_size, tensor->columns - first);
        for (int64_t c = 0; c < count; c++) *out++ = (float)(*q++ - zeros[i]) * scales[i];
    }
}
