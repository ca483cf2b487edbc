#include "checkpoint/gguf_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_DEPTH = 4, /* arrays of arrays of arrays of arrays */
    MOST_VALUES = 1 << 16,
    MOST_TENSORS = 1 << 16,
    MOST_KEY = 1 << 16, /* bytes; the format's own limit */
    MOST_ALIGNMENT = 1 << 20,
    DEFAULT_ALIGNMENT = 32,
    HEADER_BYTES = 24,
    LEAST_VALUE = 8 + 4 + 1,        /* bytes of a key of no length with its value */
    LEAST_TENSOR = 8 + 4 + 8 + 4 + 8 /* and of the place of a tensor */
};

static uint64_t load(const uint8_t *data, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value |= (uint64_t)data[i] << 8 * i;
    return value;
}

/* A file being read from its beginning. */
struct reader {
    const uint8_t *data;
    uint64_t size, at;
    const char *name;
};

static phlox_status fail_short(const struct reader *r, const char *what, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: byte %" PRIu64 ": the file ends inside %s; it is truncated or damaged, "
                   "download it again", r->name, r->at, what);
}

/* `count` things of `size` bytes each; *out stays in the file. */
static phlox_status take(struct reader *r, uint64_t count, uint64_t size, const char *what,
                         const uint8_t **out, phlox_error *error)
{
    if (size && count > (r->size - r->at) / size) return fail_short(r, what, error);
    *out = r->data + r->at;
    r->at += count * size;
    return PHLOX_OK;
}

static phlox_status take_number(struct reader *r, size_t size, const char *what, uint64_t *out,
                                phlox_error *error)
{
    const uint8_t *data = NULL;
    PX_TRY(take(r, 1, size, what, &data, error));
    *out = load(data, size);
    return PHLOX_OK;
}

static phlox_status take_text(struct reader *r, const char *what, phlox_text *out,
                              phlox_error *error)
{
    uint64_t size;
    const uint8_t *data = NULL;
    PX_TRY(take_number(r, 8, what, &size, error));
    PX_TRY(take(r, size, 1, what, &data, error));
    *out = (phlox_text){(const char *)data, (size_t)size};
    return PHLOX_OK;
}

/* ---- metadata ------------------------------------------------------------------------------ */

/* Bytes of a value of a type; 0 where they vary. */
static size_t size_of(px_gguf_type type)
{
    static const uint8_t sizes[PX_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return sizes[type];
}

static phlox_status take_type(struct reader *r, px_gguf_type *out, phlox_error *error)
{
    uint64_t number;
    const uint64_t at = r->at;
    PX_TRY(take_number(r, 4, "the type of a value", &number, error));
    if (number >= PX_GGUF_TYPES)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: byte %" PRIu64 ": a value has the type %" PRIu64 "; GGUF has 0 to %d. "
                       "The file is damaged, download it again", r->name, at, number,
                       PX_GGUF_TYPES - 1);
    *out = (px_gguf_type)number;
    return PHLOX_OK;
}

static phlox_status skip_items(struct reader *r, px_gguf_type type, uint64_t count, int depth,
                               phlox_error *error)
{
    const uint8_t *unused;
    if (size_of(type)) return take(r, count, size_of(type), "a value", &unused, error);
    /* Every item has bytes of its own, so that the file's end ends this. */
    for (uint64_t i = 0; i < count; i++) {
        phlox_text text;
        px_gguf_type items;
        uint64_t inner;
        if (type == PX_GGUF_STRING) {
            PX_TRY(take_text(r, "a text", &text, error));
            continue;
        }
        if (depth == MOST_DEPTH)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: byte %" PRIu64 ": arrays nested deeper than %d levels; the file is "
                           "damaged", r->name, r->at, MOST_DEPTH);
        PX_TRY(take_type(r, &items, error));
        PX_TRY(take_number(r, 8, "an array", &inner, error));
        PX_TRY(skip_items(r, items, inner, depth + 1, error));
    }
    return PHLOX_OK;
}

static phlox_status read_value(struct reader *r, px_gguf_value *out, phlox_error *error)
{
    PX_TRY(take_text(r, "a key", &out->key, error));
    if (!out->key.size || out->key.size >= MOST_KEY)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: byte %" PRIu64 ": a key of %zu bytes; the file is damaged, download it "
                       "again", r->name, r->at, out->key.size);
    PX_TRY(take_type(r, &out->type, error));
    out->count = 1;
    if (out->type == PX_GGUF_ARRAY) {
        PX_TRY(take_type(r, &out->items, error));
        PX_TRY(take_number(r, 8, "an array", &out->count, error));
        out->data = r->data + r->at;
        return skip_items(r, out->items, out->count, 1, error);
    }
    out->data = r->data + r->at;
    return skip_items(r, out->type, 1, 0, error);
}

static int compare_texts(phlox_text a, phlox_text b)
{
    const int order = memcmp(a.data, b.data, PX_MIN(a.size, b.size));
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int by_key(const void *left, const void *right)
{
    const px_gguf_value *const a = left, *const b = right;
    return compare_texts(a->key, b->key);
}

static phlox_status read_values(struct reader *r, px_gguf *gguf, size_t count, phlox_error *error)
{
    gguf->values = px_calloc(count + 1, sizeof *gguf->values);
    if (!gguf->values) return px_fail_memory(error, count * sizeof *gguf->values);
    for (; gguf->value_count < count; gguf->value_count++)
        PX_TRY(read_value(r, &gguf->values[gguf->value_count], error));
    qsort(gguf->values, count, sizeof *gguf->values, by_key);
    for (size_t i = 1; i < count; i++)
        if (by_key(&gguf->values[i - 1], &gguf->values[i]) == 0)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: the key %.*s is there twice; the file is damaged, download it again",
                           r->name, (int)PX_MIN(gguf->values[i].key.size, (size_t)80),
                           gguf->values[i].key.data);
    return PHLOX_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

static phlox_status read_shape(struct reader *r, px_gguf_tensor *out, phlox_error *error)
{
    uint64_t dims, size, elements = 1;
    PX_TRY(take_number(r, 4, "a tensor's shape", &dims, error));
    if (dims < 1 || dims > PX_GGUF_MOST_DIMS)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %s has %" PRIu64 " dimensions; 1 to %d are possible. The file is "
                       "damaged, download it again", r->name, out->name, dims, PX_GGUF_MOST_DIMS);
    out->dims = (int)dims;
    for (int i = 0; i < PX_GGUF_MOST_DIMS; i++) out->shape[i] = 1;
    for (int i = 0; i < out->dims; i++) {
        PX_TRY(take_number(r, 8, "a tensor's shape", &size, error));
        /* Encodings have at most 4 bytes an element. */
        if (!size || size > (uint64_t)INT64_MAX / 4 / elements)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s: dimension %d is %" PRIu64 ", which no file holds; it is "
                           "damaged, download it again", r->name, out->name, i, size);
        out->shape[i] = (int64_t)size;
        elements *= size;
    }
    return PHLOX_OK;
}

static phlox_status read_encoding(struct reader *r, px_gguf_tensor *out, phlox_error *error)
{
    uint64_t number;
    PX_TRY(take_number(r, 4, "a tensor's encoding", &number, error));
    out->encoding = px_gguf_encoding_of((uint32_t)number);
    if (!out->encoding)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tensor %s has encoding %" PRIu64 " (%s), which phlox does not read; take "
                       "a file of the kinds F16, Q8_0, Q4_0 or Q4_K_M", r->name, out->name, number,
                       px_gguf_encoding_name((uint32_t)number));
    const int64_t columns = out->shape[0], block = out->encoding->columns;
    if (columns % block)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %s has rows of %" PRId64 " values, %s has blocks of %" PRId64
                       "; the file is damaged, download it again", r->name, out->name, columns,
                       out->encoding->name, block);
    out->size = (uint64_t)(columns / block) * (uint64_t)out->encoding->bytes;
    for (int i = 1; i < out->dims; i++) out->size *= (uint64_t)out->shape[i];
    return PHLOX_OK;
}

static phlox_status read_tensor(struct reader *r, px_gguf_tensor *out, phlox_error *error)
{
    phlox_text name;
    PX_TRY(take_text(r, "a tensor's name", &name, error));
    if (!name.size || name.size >= sizeof out->name || memchr(name.data, 0, name.size))
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: byte %" PRIu64 ": a tensor's name has %zu bytes; names have 1 to %zu "
                       "without a NUL. The file is damaged, download it again", r->name, r->at,
                       name.size, sizeof out->name - 1);
    memcpy(out->name, name.data, name.size);
    PX_TRY(read_shape(r, out, error));
    PX_TRY(read_encoding(r, out, error));
    return take_number(r, 8, "a tensor's place", &out->offset, error);
}

static int by_offset(const void *left, const void *right)
{
    const px_gguf_tensor *const a = left, *const b = right;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

static int by_name(const void *left, const void *right)
{
    const px_gguf_tensor *const a = left, *const b = right;
    return strcmp(a->name, b->name);
}

static phlox_status place_tensors(const struct reader *r, px_gguf *gguf, uint64_t alignment,
                                  phlox_error *error)
{
    const uint64_t size = r->size - gguf->header_size;
    uint64_t reached = 0;
    qsort(gguf->tensors, gguf->tensor_count, sizeof *gguf->tensors, by_name);
    for (size_t i = 1; i < gguf->tensor_count; i++)
        if (by_name(&gguf->tensors[i - 1], &gguf->tensors[i]) == 0)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s is there twice; the file is damaged, download it again",
                           r->name, gguf->tensors[i].name);
    qsort(gguf->tensors, gguf->tensor_count, sizeof *gguf->tensors, by_offset);
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        px_gguf_tensor *const tensor = &gguf->tensors[i];
        if (tensor->offset > size || tensor->size > size - tensor->offset)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s has %" PRIu64 " bytes at %" PRIu64 " of the data, the file "
                           "has %" PRIu64 " there; it is truncated or damaged, download it again",
                           r->name, tensor->name, tensor->size, tensor->offset, size);
        if (tensor->offset % alignment || tensor->offset < reached)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s begins at byte %" PRIu64 " of the data, which %s; the file "
                           "is damaged, download it again", r->name, tensor->name, tensor->offset,
                           tensor->offset % alignment ? "is not aligned" : "lies in another tensor");
        tensor->data = r->data + gguf->header_size + tensor->offset;
        reached = tensor->offset + tensor->size;
    }
    return PHLOX_OK;
}

static phlox_status read_tensors(struct reader *r, px_gguf *gguf, size_t count, phlox_error *error)
{
    int64_t alignment;
    PX_TRY(px_gguf_int_or(gguf, "general.alignment", 1, MOST_ALIGNMENT, DEFAULT_ALIGNMENT,
                          &alignment, error));
    if (alignment & (alignment - 1))
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: general.alignment is %" PRId64 ", which is no power of two; the file is "
                       "damaged, download it again", r->name, alignment);
    gguf->tensors = px_calloc(count + 1, sizeof *gguf->tensors);
    if (!gguf->tensors) return px_fail_memory(error, count * sizeof *gguf->tensors);
    for (; gguf->tensor_count < count; gguf->tensor_count++)
        PX_TRY(read_tensor(r, &gguf->tensors[gguf->tensor_count], error));
    const uint64_t step = (uint64_t)alignment;
    const uint64_t padding = (step - r->at % step) % step;
    gguf->header_size = (size_t)(r->at + PX_MIN(padding, r->size - r->at));
    return place_tensors(r, gguf, step, error);
}

/* ---- the file ------------------------------------------------------------------------------ */

bool px_gguf_has_magic(const void *data, size_t size)
{
    return size >= 4 && memcmp(data, "GGUF", 4) == 0;
}

static phlox_status read_counts(struct reader *r, size_t *tensors, size_t *values,
                                phlox_error *error)
{
    uint64_t version, tensor_count, value_count;
    if (!px_gguf_has_magic(r->data, r->size))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: it does not begin with \"GGUF\"; download it "
                       "again", r->name);
    r->at = 4;
    PX_TRY(take_number(r, 4, "the header", &version, error));
    if (version != 2 && version != 3)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: GGUF of version %" PRIu64 "%s; phlox reads 2 and 3, little endian",
                       r->name, version,
                       version && !(version & 0xffff) ? ", big endian by the look of it" : "");
    PX_TRY(take_number(r, 8, "the header", &tensor_count, error));
    PX_TRY(take_number(r, 8, "the header", &value_count, error));
    const uint64_t left = r->size - HEADER_BYTES;
    if (tensor_count > PX_MIN((uint64_t)MOST_TENSORS, left / LEAST_TENSOR) ||
        value_count > PX_MIN((uint64_t)MOST_VALUES, left / LEAST_VALUE))
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: the header counts %" PRIu64 " tensors and %" PRIu64 " keys, too many for "
                       "its %" PRIu64 " bytes; it is truncated or damaged, download it again",
                       r->name, tensor_count, value_count, r->size);
    *tensors = (size_t)tensor_count;
    *values = (size_t)value_count;
    return PHLOX_OK;
}

phlox_status px_gguf_parse(phlox_text file, const char *name, px_gguf *out, phlox_error *error)
{
    struct reader r = {.data = (const uint8_t *)file.data, .size = file.size, .name = name};
    px_gguf gguf = {.name = name};
    size_t tensors = 0, values = 0;
    phlox_status status = read_counts(&r, &tensors, &values, error);
    if (status == PHLOX_OK) status = read_values(&r, &gguf, values, error);
    if (status == PHLOX_OK) status = read_tensors(&r, &gguf, tensors, error);
    if (status != PHLOX_OK) {
        px_gguf_free(&gguf);
        return status;
    }
    *out = gguf;
    return PHLOX_OK;
}

void px_gguf_free(px_gguf *gguf)
{
    free(gguf->values);
    free(gguf->tensors);
    *gguf = (px_gguf){0};
}

/* ---- values -------------------------------------------------------------------------------- */

const px_gguf_value *px_gguf_find(const px_gguf *gguf, const char *key)
{
    if (!gguf->value_count) return NULL;
    const px_gguf_value wanted = {.key = {key, strlen(key)}};
    return bsearch(&wanted, gguf->values, gguf->value_count, sizeof wanted, by_key);
}

static phlox_status fail_value(const px_gguf *gguf, const char *key, const char *what,
                               phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: the key %s %s; the file is damaged or not of this family", gguf->name, key,
                   what);
}

/* False for what is no integer. Numbers beyond 2^63 come out as INT64_MAX. */
static bool integer_of(const px_gguf_value *value, int64_t *out)
{
    const size_t size = size_of(value->type);
    const uint64_t bits = size ? load(value->data, size) : 0;
    switch (value->type) {
    case PX_GGUF_U8:
    case PX_GGUF_U16:
    case PX_GGUF_U32:
    case PX_GGUF_U64: *out = (int64_t)PX_MIN(bits, (uint64_t)INT64_MAX); return true;
    case PX_GGUF_I8: *out = (int8_t)bits; return true;
    case PX_GGUF_I16: *out = (int16_t)bits; return true;
    case PX_GGUF_I32: *out = (int32_t)bits; return true;
    case PX_GGUF_I64: *out = (int64_t)bits; return true;
    default: return false;
    }
}

phlox_status px_gguf_int(const px_gguf *gguf, const char *key, int64_t least, int64_t most,
                         int64_t *out, phlox_error *error)
{
    const px_gguf_value *const value = px_gguf_find(gguf, key);
    int64_t number;
    if (!value) return fail_value(gguf, key, "is missing", error);
    if (!integer_of(value, &number)) return fail_value(gguf, key, "is not a whole number", error);
    if (number < least || number > most)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: %s is %" PRId64 ", outside of %" PRId64 " to %" PRId64, gguf->name, key,
                       number, least, most);
    *out = number;
    return PHLOX_OK;
}

phlox_status px_gguf_int_or(const px_gguf *gguf, const char *key, int64_t least, int64_t most,
                            int64_t absent, int64_t *out, phlox_error *error)
{
    if (px_gguf_find(gguf, key)) return px_gguf_int(gguf, key, least, most, out, error);
    *out = absent;
    return PHLOX_OK;
}

phlox_status px_gguf_real_or(const px_gguf *gguf, const char *key, double least, double most,
                             double absent, double *out, phlox_error *error)
{
    const px_gguf_value *const value = px_gguf_find(gguf, key);
    double number = absent;
    int64_t integer;
    if (value && value->type == PX_GGUF_F32) {
        float single;
        memcpy(&single, value->data, sizeof single);
        number = (double)single;
    } else if (value && value->type == PX_GGUF_F64) {
        memcpy(&number, value->data, sizeof number);
    } else if (value) {
        if (!integer_of(value, &integer)) return fail_value(gguf, key, "is not a number", error);
        number = (double)integer;
    }
    if (value && !(number >= least && number <= most))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: %s is %g, outside of %g to %g", gguf->name,
                       key, number, least, most);
    *out = number;
    return PHLOX_OK;
}

phlox_status px_gguf_bool_or(const px_gguf *gguf, const char *key, bool absent, bool *out,
                             phlox_error *error)
{
    const px_gguf_value *const value = px_gguf_find(gguf, key);
    if (value && value->type != PX_GGUF_BOOL)
        return fail_value(gguf, key, "is not true or false", error);
    *out = value ? value->data[0] != 0 : absent;
    return PHLOX_OK;
}

phlox_status px_gguf_text_or(const px_gguf *gguf, const char *key, const char *absent,
                             phlox_text *out, phlox_error *error)
{
    const px_gguf_value *const value = px_gguf_find(gguf, key);
    *out = (phlox_text){absent, strlen(absent)};
    if (!value) return PHLOX_OK;
    if (value->type != PX_GGUF_STRING) return fail_value(gguf, key, "is not a text", error);
    *out = (phlox_text){(const char *)value->data + 8, (size_t)load(value->data, 8)};
    return PHLOX_OK;
}

phlox_status px_gguf_array(const px_gguf *gguf, const char *key, px_gguf_type items,
                           const px_gguf_value **out, phlox_error *error)
{
    *out = px_gguf_find(gguf, key);
    if (*out && ((*out)->type != PX_GGUF_ARRAY || (*out)->items != items))
        return fail_value(gguf, key, "is not an array of the type that it should have", error);
    return PHLOX_OK;
}

phlox_status px_gguf_strings(const px_gguf_value *array, phlox_text **out, phlox_error *error)
{
    phlox_text *const texts = px_calloc((size_t)array->count + 1, sizeof *texts);
    if (!texts) return px_fail_memory(error, px_mul((size_t)array->count, sizeof *texts));
    const uint8_t *at = array->data;
    for (uint64_t i = 0; i < array->count; i++) {
        texts[i] = (phlox_text){(const char *)at + 8, (size_t)load(at, 8)};
        at += 8 + texts[i].size;
    }
    *out = texts;
    return PHLOX_OK;
}

int32_t px_gguf_i32_at(const px_gguf_value *array, uint64_t index)
{
    return (int32_t)load(array->data + 4 * index, 4);
}

float px_gguf_f32_at(const px_gguf_value *array, uint64_t index)
{
    float value;
    memcpy(&value, array->data + 4 * index, sizeof value);
    return value;
}
