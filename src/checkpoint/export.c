#include "checkpoint/export.h"

#include "base/half.h"
#include "base/json.h"
#include "base/os.h"
#include "checkpoint/config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A thread takes so many values at a time; between slices of so many blocks progress is reported. */
enum { BLOCK_VALUES = 1 << 19, SLICE_BLOCKS = 32 };

px_export_item *px_export_find(const px_export *job, px_role role, int32_t layer)
{
    if (role == PX_LM_HEAD && job->checkpoint->desc.tied_embeddings) role = PX_EMBEDDING;
    for (size_t i = 0; i < job->count; i++) {
        const px_tensor *const tensor = job->items[i].tensor;
        if (tensor->role == role && tensor->layer == layer) return &job->items[i];
    }
    return NULL;
}

size_t px_export_each(const px_export *job, void (*visit)(void *user, px_role role, int32_t layer),
                      void *user)
{
    static const px_role roles[] = {PX_INPUT_NORM, PX_QKV, PX_O, PX_POST_NORM, PX_GATE_UP, PX_DOWN};
    const px_desc *const desc = &job->checkpoint->desc;
    const size_t layers = (size_t)desc->num_hidden_layers;
    const size_t count = PX_COUNT(roles) * layers + 2 + !desc->tied_embeddings;
    if (!visit) return count;
    visit(user, PX_EMBEDDING, 0);
    for (int32_t layer = 0; layer < desc->num_hidden_layers; layer++)
        for (size_t i = 0; i < PX_COUNT(roles); i++) visit(user, roles[i], layer);
    visit(user, PX_FINAL_NORM, 0);
    if (!desc->tied_embeddings) visit(user, PX_LM_HEAD, 0);
    return count;
}

int64_t px_export_groups(const px_export_item *item)
{
    const int64_t size = item->format.group_size;
    return size > 0 ? (item->tensor->columns + size - 1) / size : 1;
}

bool px_export_half_scales(const px_export_item *item)
{
    return !item->kept || item->tensor->integers.half_scales;
}

bool px_export_is_quantized(const px_tensor *tensor)
{
    return tensor->integers.bits || (tensor->load && tensor->encoding);
}

bool px_export_asks_floats(const px_export *job)
{
    const phlox_weight_format asked = job->asked.weight_format;
    return asked == PHLOX_WEIGHTS_F32 || asked == PHLOX_WEIGHTS_F16 || asked == PHLOX_WEIGHTS_BF16;
}

void px_export_read_stored(phlox_model_options *options)
{
    const phlox_model_options given = *options;
    *options = (phlox_model_options){.struct_size = given.struct_size, .threads = given.threads,
                                     .weight_format = PHLOX_WEIGHTS_STORED,
                                     .progress = given.progress, .progress_user = given.progress_user};
}

/* ---- rows ---------------------------------------------------------------------------------- */

struct reading {
    const px_export_item *item;
    int64_t first_row; /* of the slice */
    px_export_rows_fn *write;
    void *user;
};

/* The user's own integers, or such as the format asks for. */
static phlox_status read_integers(const px_export_rows *rows, float *loaded, void *scratch,
                                  phlox_error *error)
{
    const px_tensor *const tensor = rows->item->tensor;
    const px_quant_format *const format = &rows->item->format;
    const uint8_t middle = format->bits == 4 ? 8 : 128;
    if (format->symmetric) memset(rows->zeros, middle, (size_t)(rows->rows * rows->groups));
    if (rows->item->kept)
        return px_tensor_read_integers(tensor, rows->begin, rows->rows, rows->q, rows->scales,
                                       rows->zeros, error);
    px_float_type type = PX_FLOAT_F32;
    const void *source = loaded;
    if (tensor->integers.bits) px_tensor_load(tensor, rows->begin, rows->rows, loaded, scratch);
    else source = px_tensor_rows(tensor, rows->begin, rows->rows, loaded, &type);
    const phlox_status status =
        px_quantize_rows(format, type, source, rows->rows, tensor->columns, rows->q, rows->scales,
                         format->symmetric ? NULL : rows->zeros, error);
    if (status != PHLOX_OK)
        return px_error_prefix(error, status, "%s: tensor %s, rows from %" PRId64, tensor->file,
                               tensor->name, rows->begin);
    if (format->symmetric)
        for (int64_t i = 0; i < rows->rows * tensor->columns; i++)
            rows->q[i] = (rows->q[i] + middle) & (2 * middle - 1);
    return PHLOX_OK;
}

/* Each value is written behind where it is read. */
void px_export_narrow(px_float_type type, float *values, size_t count)
{
    if (type == PX_FLOAT_F32) return;
    for (size_t i = 0; i < count; i++) {
        const uint16_t half =
            type == PX_FLOAT_F16 ? px_f32_to_f16(values[i]) : px_f32_to_bf16(values[i]);
        memcpy((char *)values + i * sizeof half, &half, sizeof half);
    }
}

static phlox_status read_floats(const px_export_rows *rows, void *scratch, phlox_error *error)
{
    const px_tensor *const tensor = rows->item->tensor;
    const px_float_type type = rows->item->type;
    float *const values = rows->values;
    px_tensor_load(tensor, rows->begin, rows->rows, values, scratch);
    const float most = type == PX_FLOAT_F16 ? 65519.996f : INFINITY;
    const int64_t count = rows->rows * tensor->columns;
    for (int64_t i = 0; i < count; i++) {
        if (fabsf(values[i]) < most) continue;
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %s: row %" PRId64 ", column %" PRId64 " is %g, which %s",
                       tensor->file, tensor->name, rows->begin + i / tensor->columns,
                       i % tensor->columns, (double)values[i],
                       isfinite(values[i]) ? "float16 cannot hold; use --weight-format fp32"
                                           : "is not a weight; download the file again");
    }
    px_export_narrow(type, values, (size_t)count);
    return PHLOX_OK;
}

static phlox_status read_block(void *context, int64_t begin, int64_t end, phlox_error *error)
{
    const struct reading *const job = context;
    const px_export_item *const item = job->item;
    const px_tensor *const tensor = item->tensor;
    const bool is_integer = item->format.bits > 0;
    px_export_rows rows = {.item = item, .begin = job->first_row + begin, .rows = end - begin};
    const size_t count = (size_t)(rows.rows * tensor->columns);
    if (is_integer) rows.groups = px_export_groups(item);
    const size_t groups = (size_t)(rows.rows * rows.groups);
    const bool loads = !is_integer || (!item->kept && (tensor->load || tensor->integers.bits));
    const size_t loaded = loads ? count * sizeof(float) : 0;
    const size_t scratch = px_tensor_scratch(tensor, rows.rows);
    const size_t integers = is_integer ? groups * (sizeof(float) + 1) + count : 0;
    const size_t bytes = loaded + scratch + sizeof(float) + integers;
    char *const memory = malloc(bytes);
    if (!memory) return px_fail_memory(error, bytes);
    float *const values = (float *)(void *)memory;
    char *const spare = memory + loaded;
    phlox_status status;
    if (is_integer) {
        rows.scales = (float *)(void *)(spare + (scratch + sizeof(float) - 1) / sizeof(float) * sizeof(float));
        rows.zeros = (uint8_t *)(rows.scales + groups);
        rows.q = rows.zeros + groups;
        status = read_integers(&rows, values, spare, error);
    } else {
        rows.values = values;
        status = read_floats(&rows, spare, error);
    }
    if (status == PHLOX_OK) status = job->write(job->user, &rows, error);
    free(memory);
    px_tensor_drop(tensor, rows.begin, rows.rows);
    return status;
}

phlox_status px_export_read(px_export *job, const px_export_item *item, int64_t begin, int64_t rows,
                            int64_t multiple, px_export_rows_fn *write, void *user,
                            phlox_error *error)
{
    const px_tensor *const tensor = item->tensor;
    struct reading reading = {item, begin, write, user};
    const int64_t block = PX_MAX(BLOCK_VALUES / tensor->columns / multiple, 1) * multiple;
    for (int64_t now; reading.first_row < begin + rows; reading.first_row += now) {
        now = PX_MIN(begin + rows - reading.first_row, SLICE_BLOCKS * block);
        PX_TRY(px_pool_try(job->pool, now, block, read_block, &reading, error));
        job->state.done += (uint64_t)(now * tensor->row_bytes);
        if (job->progress && !job->progress(job->progress_user, &job->state))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "the export was cancelled");
    }
    return PHLOX_OK;
}

void px_export_start(px_export *job)
{
    job->state = (phlox_progress){.what = "writing weights", .is_bytes = true};
    for (size_t i = 0; i < job->count; i++)
        job->state.total += (uint64_t)(job->items[i].tensor->rows * job->items[i].tensor->row_bytes);
}

size_t px_export_pack_nibbles(uint8_t *q, size_t count)
{
    for (size_t i = 0; i + 1 < count; i += 2) q[i / 2] = (uint8_t)((q[i] & 15) | q[i + 1] << 4);
    if (count % 2) q[count / 2] = q[count - 1] & 15;
    return (count + 1) / 2;
}

phlox_status px_export_norm(const px_export *job, px_role role, int32_t layer, float **out,
                            phlox_error *error)
{
    const px_tensor *const tensor = px_checkpoint_tensor(job->checkpoint, role, layer);
    const size_t columns = (size_t)tensor->columns;
    float *const values = malloc(columns * sizeof *values);
    if (!values) return px_fail_memory(error, columns * sizeof *values);
    px_tensor_load(tensor, 0, 1, values, NULL);
    for (size_t i = 0; i < columns; i++) {
        if (isfinite(values[i])) continue;
        const double value = (double)values[i];
        free(values);
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %s: column %zu is %g, which is not a weight; download the file again",
                       tensor->file, tensor->name, i, value);
    }
    *out = values;
    return PHLOX_OK;
}

/* ---- files --------------------------------------------------------------------------------- */

phlox_status px_export_write_file(const px_export *job, const char *name, phlox_text text,
                                  phlox_error *error)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", job->out, name);
    return px_write_file(path, text.data, text.size, error);
}

phlox_status px_export_write_json(const px_export *job, const char *name, json_t *json, size_t flags,
                                  phlox_error *error)
{
    char *const text = json ? json_dumps(json, flags) : NULL;
    json_decref(json);
    if (!text) return px_fail_memory(error, sizeof *job);
    const phlox_status status =
        px_export_write_file(job, name, (phlox_text){text, strlen(text)}, error);
    free(text);
    return status;
}

/* Forms that need no config.json have none to copy. */
static phlox_status write_missing_config(const px_export *job, phlox_error *error)
{
    px_buffer text = {0};
    phlox_status status = px_config_write(&job->checkpoint->desc, &text, error);
    if (status == PHLOX_OK)
        status = px_export_write_file(job, "config.json", (phlox_text){text.data, text.size}, error);
    px_buffer_free(&text);
    return status;
}

/* The content of an added token of tokenizer.json. */
static const char *find_token(const json_t *tokenizer, int32_t id)
{
    size_t i;
    json_t *token;
    json_array_foreach (json_object_get(tokenizer, "added_tokens"), i, token)
        if (json_integer_value(json_object_get(token, "id")) == id)
            return json_string_value(json_object_get(token, "content"));
    return NULL;
}

static void set_text(json_t *object, const char *key, const char *text, size_t size)
{
    if (text && size) json_object_set_new(object, key, json_stringn(text, size));
}

/* What programs want beside a tokenizer.json. */
static phlox_status write_missing_tokenizer_config(const px_export *job, phlox_error *error)
{
    const px_checkpoint *const checkpoint = job->checkpoint;
    const px_desc *const desc = &checkpoint->desc;
    json_t *tokenizer = NULL;
    PX_TRY(px_json_parse(checkpoint->tokenizer_json, "tokenizer.json", false, &tokenizer, error));
    const char *const bos = desc->bos_id >= 0 ? find_token(tokenizer, desc->bos_id) : NULL;
    const char *const eos = desc->eos_count ? find_token(tokenizer, desc->eos_ids[0]) : NULL;
    json_t *const json = json_pack("{s:s, s:b, s:i}", "tokenizer_class", "PreTrainedTokenizerFast",
                                   "clean_up_tokenization_spaces", 0, "model_max_length",
                                   desc->max_position);
    set_text(json, "bos_token", bos, bos ? strlen(bos) : 0);
    set_text(json, "eos_token", eos, eos ? strlen(eos) : 0);
    set_text(json, "chat_template", checkpoint->chat_template.data, checkpoint->chat_template.size);
    json_decref(tokenizer);
    return px_export_write_json(job, "tokenizer_config.json", json, JSON_INDENT(2), error);
}

phlox_status px_export_write_beside(const px_export *job, phlox_error *error)
{
    const px_checkpoint *const checkpoint = job->checkpoint;
    bool has_config = false, has_tokenizer_config = checkpoint->tokenizer_json.size == 0;
    for (size_t i = 0; i < checkpoint->beside_count; i++) {
        const px_memory_file *const file = &checkpoint->beside[i];
        has_config |= strcmp(file->name, "config.json") == 0;
        has_tokenizer_config |= strcmp(file->name, "tokenizer_config.json") == 0;
        PX_TRY(px_export_write_file(job, file->name, file->bytes, error));
    }
    if (!has_config) PX_TRY(write_missing_config(job, error));
    return has_tokenizer_config ? PHLOX_OK : write_missing_tokenizer_config(job, error);
}
