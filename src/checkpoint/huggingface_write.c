/* Writes a checkpoint as transformers does: safetensors in one file, or in shards with an index. */
#include "checkpoint/huggingface.h"

#include "base/json.h"
#include "base/os.h"
#include "checkpoint/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAME = 96 };
static const uint64_t most_bytes = UINT64_C(5000000000); /* of a shard's tensors */

struct place {
    char name[MOST_NAME];
    const px_export_item *item; /* NULL: a norm */
    const px_tensor *tensor;
    px_float_type type;
    size_t shard;
    uint64_t offset, size; /* in the shard's data */
};

struct writer {
    px_export *job;
    struct place *places;
    size_t count, shards;
    uint64_t total;
};

static const char *dtype_of(px_float_type type)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    return names[type];
}

/* ---- what becomes of the weights ----------------------------------------------------------- */

void px_huggingface_choose(const px_export *job, phlox_model_options *options)
{
    if (!px_export_asks_floats(job)) px_export_read_stored(options);
}

/* Floats only. */
bool px_huggingface_holds(const px_export *job, px_export_item *item)
{
    (void)job;
    return !item->kept && !item->format.bits;
}

void px_huggingface_nearest(const px_export *job, px_export_item *item, int bits)
{
    (void)job;
    (void)bits;
    item->format = (px_quant_format){.bits = 0};
    item->type = PX_FLOAT_F16;
}

static phlox_status check_words(const px_export *job, phlox_error *error)
{
    const phlox_weight_format asked = job->asked.weight_format;
    if (asked != PHLOX_WEIGHTS_INT8 && asked != PHLOX_WEIGHTS_INT4) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_ARGUMENT,
                   "weight-format %s: safetensors for transformers hold floats here; use f32, f16 or bf16, or "
                   "export openvino, onnx or gguf", asked == PHLOX_WEIGHTS_INT8 ? "int8" : "int4");
}

/* ---- what is in the files ------------------------------------------------------------------ */

static void add_tensor(void *user, px_role role, int32_t layer)
{
    struct writer *const w = user;
    struct place *const place = &w->places[w->count++];
    const bool is_norm = px_role_is_norm(role);
    if (px_role_is_layered(role))
        snprintf(place->name, sizeof place->name, "model.layers.%d.%s", (int)layer, px_role_parameter(role));
    else snprintf(place->name, sizeof place->name, "%s", px_role_parameter(role));
    place->tensor = px_checkpoint_tensor(w->job->checkpoint, role, layer);
    if (!is_norm) place->item = px_export_find(w->job, role, layer);
    /* Norms are few, and keep their values. */
    place->type = !is_norm                                            ? place->item->type
                  : w->job->asked.weight_format == PHLOX_WEIGHTS_F32 ? PX_FLOAT_F32
                                                                      : place->tensor->type;
    place->size = (uint64_t)(place->tensor->rows * place->tensor->columns) * px_float_size(place->type);
    w->total += place->size;
}

static phlox_status list_tensors(struct writer *w, phlox_error *error)
{
    const size_t count = px_export_each(w->job, NULL, NULL);
    w->places = px_calloc(count, sizeof *w->places);
    if (!w->places) return px_fail_memory(error, count * sizeof *w->places);
    px_export_each(w->job, add_tensor, w);
    uint64_t used = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct place *const place = &w->places[i];
        if (used && used + place->size > most_bytes) {
            w->shards++;
            used = 0;
        }
        place->shard = w->shards;
        place->offset = used;
        used += place->size;
    }
    w->shards++;
    return PHLOX_OK;
}

static void name_shard(const struct writer *w, size_t shard, char *out, size_t size)
{
    if (w->shards == 1) snprintf(out, size, "model.safetensors");
    else snprintf(out, size, "model-%05zu-of-%05zu.safetensors", shard + 1, w->shards);
}

/* The length of the header, and the header with blanks up to a multiple of 8. */
static phlox_status make_header(const struct writer *w, size_t shard, px_buffer *out, phlox_error *error)
{
    static const char begin[] = "        {\"__metadata__\":{\"format\":\"pt\"}";
    PX_TRY(px_buffer_add(out, begin, sizeof begin - 1, error));
    for (size_t i = 0; i < w->count; i++) {
        const struct place *const place = &w->places[i];
        char text[MOST_NAME + 160], shape[64];
        if (place->shard != shard) continue;
        if (place->item)
            snprintf(shape, sizeof shape, "%" PRId64 ",%" PRId64, place->tensor->rows, place->tensor->columns);
        else snprintf(shape, sizeof shape, "%" PRId64, place->tensor->columns);
        const int used = snprintf(text, sizeof text,
                                  ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%" PRIu64
                                  ",%" PRIu64 "]}", place->name, dtype_of(place->type), shape, place->offset,
                                  place->offset + place->size);
        PX_TRY(px_buffer_add(out, text, (size_t)used, error));
    }
    PX_TRY(px_buffer_add(out, "}", 1, error));
    PX_TRY(px_buffer_add(out, "       ", (8 - out->size % 8) % 8, error));
    const uint64_t length = out->size - 8;
    for (int i = 0; i < 8; i++) out->data[i] = (char)(uint8_t)(length >> 8 * i);
    return PHLOX_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

struct filling {
    const px_out_file *file;
    uint64_t offset, row_bytes;
};

static phlox_status fill_rows(void *user, const px_export_rows *rows, phlox_error *error)
{
    const struct filling *const filling = user;
    return px_out_write(filling->file, filling->offset + (uint64_t)rows->begin * filling->row_bytes,
                        rows->values, (size_t)((uint64_t)rows->rows * filling->row_bytes), error);
}

static phlox_status fill_norm(const struct writer *w, const struct place *place, const px_out_file *file,
                              uint64_t offset, phlox_error *error)
{
    float *values = NULL;
    PX_TRY(px_export_norm(w->job, place->tensor->role, place->tensor->layer, &values, error));
    px_export_narrow(place->type, values, (size_t)place->tensor->columns);
    const phlox_status status = px_out_write(file, offset, values, (size_t)place->size, error);
    free(values);
    return status;
}

static phlox_status fill(const struct writer *w, size_t shard, const px_out_file *file, uint64_t begin,
                         phlox_error *error)
{
    for (size_t i = 0; i < w->count; i++) {
        const struct place *const place = &w->places[i];
        const int64_t rows = place->tensor->rows;
        struct filling filling = {file, begin + place->offset, place->size / (uint64_t)rows};
        if (place->shard != shard) continue;
        if (place->item) PX_TRY(px_export_read(w->job, place->item, 0, rows, 1, fill_rows, &filling, error));
        else PX_TRY(fill_norm(w, place, file, filling.offset, error));
    }
    return PHLOX_OK;
}

static phlox_status write_shard(const struct writer *w, size_t shard, phlox_error *error)
{
    char name[64], path[4096];
    px_buffer header = {0};
    px_out_file file = {.descriptor = -1};
    name_shard(w, shard, name, sizeof name);
    snprintf(path, sizeof path, "%s/%s", w->job->out, name);
    phlox_status status = make_header(w, shard, &header, error);
    if (status == PHLOX_OK) status = px_out_open(&file, path, 0, error);
    if (status == PHLOX_OK) status = px_out_write(&file, 0, header.data, header.size, error);
    if (status == PHLOX_OK) status = fill(w, shard, &file, header.size, error);
    if (status == PHLOX_OK) status = px_out_commit(&file, error);
    px_out_abandon(&file);
    px_buffer_free(&header);
    return status;
}

/* ---- files of JSON ------------------------------------------------------------------------- */

static phlox_status write_index(const struct writer *w, phlox_error *error)
{
    if (w->shards == 1) return PHLOX_OK;
    json_t *const map = json_object();
    for (size_t i = 0; i < w->count; i++) {
        char name[64];
        name_shard(w, w->places[i].shard, name, sizeof name);
        json_object_set_new(map, w->places[i].name, json_string(name));
    }
    json_t *const json = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)w->total,
                                   "weight_map", map);
    return px_export_write_json(w->job, "model.safetensors.index.json", json, JSON_INDENT(2), error);
}

static phlox_status read_config(const px_checkpoint *checkpoint, json_t **out, phlox_error *error)
{
    PX_TRY(px_checkpoint_json_beside(checkpoint, "config.json", out, error));
    if (*out) return PHLOX_OK;
    px_buffer text = {0};
    phlox_status status = px_config_write(&checkpoint->desc, &text, error);
    if (status == PHLOX_OK)
        status = px_json_parse((phlox_text){text.data, text.size}, "config.json", false, out, error);
    px_buffer_free(&text);
    return status;
}

/* The source's, but for what the tensors are now. */
static phlox_status write_config(const struct writer *w, phlox_error *error)
{
    static const char *const names[] = {"float32", "float16", "bfloat16"};
    json_t *config = NULL;
    PX_TRY(read_config(w->job->checkpoint, &config, error));
    const char *const key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype";
    json_object_set_new(config, key, json_string(names[w->places[2].type])); /* qkv of the first layer */
    json_object_set_new(config, "tie_word_embeddings", json_boolean(w->job->checkpoint->desc.tied_embeddings));
    json_object_del(config, "quantization_config");
    json_object_del(config, "compression_config");
    return px_export_write_json(w->job, "config.json", config, JSON_INDENT(2), error);
}

/* ---- all of it ----------------------------------------------------------------------------- */

phlox_status px_huggingface_write(px_export *job, phlox_error *error)
{
    PX_TRY(check_words(job, error));
    struct writer w = {.job = job};
    phlox_status status = list_tensors(&w, error);
    if (status == PHLOX_OK) status = px_export_write_beside(job, error);
    if (status == PHLOX_OK) status = write_config(&w, error);
    if (status == PHLOX_OK) status = write_index(&w, error);
    px_export_start(job);
    for (size_t shard = 0; shard < w.shards && status == PHLOX_OK; shard++)
        status = write_shard(&w, shard, error);
    free(w.places);
    return status;
}
