#include "checkpoint/safetensors.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };
static const uint64_t most_header_bytes = 100000000; /* the limit of the reference reader */

static const struct dtype {
    const char *name;
    int bits;
} dtypes[] = {
    {"BF16", 16}, {"F16", 16}, {"F32", 32}, {"F64", 64}, {"I8", 8},      {"U8", 8},
    {"I16", 16},  {"U16", 16}, {"I32", 32}, {"U32", 32}, {"I64", 64},    {"U64", 64},
    {"BOOL", 8},  {"F8_E4M3", 8}, {"F8_E5M2", 8},
};

static int dtype_bits(const char *name)
{
    for (size_t i = 0; i < PX_COUNT(dtypes); i++)
        if (strcmp(dtypes[i].name, name) == 0) return dtypes[i].bits;
    return 0;
}

static phlox_status fail_entry(const char *name, const char *tensor, const char *what,
                               phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_FORMAT, "%s: tensor %s: %s; download the file again", name,
                   tensor, what);
}

static bool unsigned_at(const json_t *array, size_t index, uint64_t *out)
{
    const json_t *const value = json_array_get(array, index);
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static phlox_status parse_entry(const char *name, const char *tensor, const json_t *value,
                                const uint8_t *data, uint64_t data_size, px_st_entry *out,
                                phlox_error *error)
{
    px_st_entry entry = {.name = tensor,
                         .dtype = json_string_value(json_object_get(value, "dtype"))};
    const json_t *const shape = json_object_get(value, "shape");
    const json_t *const offsets = json_object_get(value, "data_offsets");
    if (!entry.dtype || !json_is_array(shape) || !json_is_array(offsets))
        return fail_entry(name, tensor, "without dtype, shape or data_offsets", error);
    const int bits = dtype_bits(entry.dtype);
    if (!bits)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: tensor %s: unknown dtype %s", name,
                       tensor, entry.dtype);
    if (json_array_size(shape) > PX_ST_MOST_DIMS)
        return fail_entry(name, tensor, "more than 4 dimensions", error);
    uint64_t bytes = (uint64_t)bits / 8;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        uint64_t size;
        if (!unsigned_at(shape, i, &size))
            return fail_entry(name, tensor, "a size in its shape is not a whole number", error);
        if (size && bytes > UINT64_MAX / 4 / size)
            return fail_entry(name, tensor, "its shape is too large", error);
        bytes *= size;
        entry.shape[entry.dims++] = (int64_t)size;
    }
    uint64_t begin, end;
    if (json_array_size(offsets) != 2 || !unsigned_at(offsets, 0, &begin) ||
        !unsigned_at(offsets, 1, &end))
        return fail_entry(name, tensor, "data_offsets are not two whole numbers", error);
    if (begin > end || end > data_size)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %s: its bytes %" PRIu64 " to %" PRIu64 " are not inside the %"
                       PRIu64 " bytes of data; the file is truncated or damaged, download it again",
                       name, tensor, begin, end, data_size);
    if (end - begin != bytes)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %s: its shape needs %" PRIu64 " bytes, data_offsets give %"
                       PRIu64 "; download the file again", name, tensor, bytes, end - begin);
    entry.data = data + begin;
    entry.size = (size_t)bytes;
    *out = entry;
    return PHLOX_OK;
}

static int by_place(const void *left, const void *right)
{
    const px_st_entry *const a = left, *const b = right;
    if (a->data != b->data) return (uintptr_t)a->data < (uintptr_t)b->data ? -1 : 1;
    return (a->size > b->size) - (a->size < b->size);
}

static phlox_status check_cover(const px_safetensors *st, const char *name, const uint8_t *data,
                                uint64_t size, phlox_error *error)
{
    uint64_t reached = 0;
    for (size_t i = 0; i < st->count; i++) {
        const uint64_t begin = (uint64_t)((const uint8_t *)st->entries[i].data - data);
        if (begin != reached)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s begins at byte %" PRIu64 " of the data, the one before "
                           "it ends at %" PRIu64 ": %s; download the file again", name,
                           st->entries[i].name, begin, reached,
                           begin < reached ? "they overlap" : "there is a hole");
        reached += st->entries[i].size;
    }
    if (reached != size)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: the tensors end at byte %" PRIu64 " of the data, the file has %" PRIu64
                       "; download it again", name, reached, size);
    return PHLOX_OK;
}

static phlox_status parse_entries(phlox_text file, const char *name, px_safetensors *st,
                                  phlox_error *error)
{
    const uint8_t *const data = (const uint8_t *)file.data + st->header_size;
    const uint64_t data_size = file.size - st->header_size;
    st->entries = px_calloc(json_object_size(st->header), sizeof *st->entries);
    if (!st->entries) return px_fail_memory(error, json_object_size(st->header));
    const char *key;
    json_t *value;
    json_object_foreach(st->header, key, value)
    {
        if (strcmp(key, "__metadata__") == 0) continue;
        PX_TRY(parse_entry(name, key, value, data, data_size, &st->entries[st->count], error));
        st->count++;
    }
    qsort(st->entries, st->count, sizeof *st->entries, by_place);
    return check_cover(st, name, data, data_size, error);
}

phlox_status px_safetensors_parse(phlox_text file, const char *name, px_safetensors *out,
                                  phlox_error *error)
{
    if (file.size < LENGTH_BYTES)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: %zu bytes are too short for a safetensors file; download it again",
                       name, file.size);
    uint64_t length = 0;
    for (int i = 0; i < LENGTH_BYTES; i++)
        length |= (uint64_t)(unsigned char)file.data[i] << 8 * i;
    if (length > most_header_bytes || length > file.size - LENGTH_BYTES)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: the header says it has %" PRIu64 " bytes, the file has %zu; it is "
                       "truncated or not a safetensors file, download it again", name, length,
                       file.size);
    px_safetensors st = {.header_size = LENGTH_BYTES + (size_t)length};
    PX_TRY(px_json_parse((phlox_text){file.data + LENGTH_BYTES, (size_t)length}, name, true,
                         &st.header, error));
    const phlox_status status =
        json_is_object(st.header)
            ? parse_entries(file, name, &st, error)
            : px_fail(error, PHLOX_ERROR_FORMAT, "%s: the header is not a JSON object", name);
    if (status != PHLOX_OK) {
        px_safetensors_free(&st);
        return status;
    }
    *out = st;
    return PHLOX_OK;
}

void px_safetensors_free(px_safetensors *safetensors)
{
    json_decref(safetensors->header);
    free(safetensors->entries);
    *safetensors = (px_safetensors){0};
}

bool px_st_is_float(const px_st_entry *entry, px_float_type *type)
{
    if (strcmp(entry->dtype, "BF16") == 0) *type = PX_FLOAT_BF16;
    else if (strcmp(entry->dtype, "F16") == 0) *type = PX_FLOAT_F16;
    else if (strcmp(entry->dtype, "F32") == 0) *type = PX_FLOAT_F32;
    else return false;
    return true;
}
