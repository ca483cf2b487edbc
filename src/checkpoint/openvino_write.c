/* Writes a checkpoint as an OpenVINO IR directory, as `optimum-cli export openvino` does: integers,
 * scales and zero points of NNCF, the graph of openvino_network.c. */
#include "checkpoint/openvino.h"

#include "base/half.h"
#include "checkpoint/config.h"
#include "checkpoint/openvino_network.h"
#include "checkpoint/openvino_tokenizer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A thread takes so many rows of a matrix at a time, an even number, so that pairs of 4-bit values do
 * not cross from one to the next; between slices progress is reported. */
enum { BLOCK_VALUES = 1 << 19, SLICE_BLOCKS = 32 };

/* Where the parts of a matrix are in the file. */
struct place {
    uint64_t data, scales, zeros;
};

struct writer {
    const px_export *job;
    px_out_file bin;
    struct place *places; /* [job->count] */
    bool plain;           /* nothing is quantized: float constants are float16 all over */
};

static const px_export_item *find_item(const struct writer *writer, px_role role, int32_t layer)
{
    for (size_t i = 0; i < writer->job->count; i++) {
        const px_tensor *const tensor = writer->job->items[i].tensor;
        if (tensor->role == role && tensor->layer == layer) return &writer->job->items[i];
    }
    return NULL;
}

static int64_t item_groups(const px_export_item *item)
{
    const int64_t size = item->format.group_size;
    return size > 0 ? item->tensor->columns / size : 1;
}

static bool half_scales(const px_export_item *item)
{
    return !item->tensor->integers.bits || item->tensor->integers.half_scales;
}

/* ---- the graph ----------------------------------------------------------------------------- */

static px_ir_value op(px_ir *ir, const char *type, const char *name, const char *data,
                      const char *rt_info, px_ir_type out, px_ir_shape shape, int count,
                      const px_ir_value *inputs)
{
    const px_ir_op description = {.type = type, .opset = "opset1", .name = name, .data = data,
                                  .rt_info = rt_info};
    return px_ir_add(ir, &description, out, shape, count, inputs);
}

static px_ir_value widened(px_ir *ir, px_ir_value x, const char *rt_info)
{
    return op(ir, "Convert", NULL, "destination_type=\"f32\"", rt_info, PX_IR_F32, x.shape, 1, &x);
}

static const char decompression[] = "<attribute name=\"decompression\" version=\"0\" />";

/* A constant for the bytes at `offset`; a tied lm_head has its own constants for the embedding's. */
static px_ir_value constant(px_ir *ir, const char *name, px_ir_type type, px_ir_shape shape,
                            uint64_t *offset, bool again)
{
    return again ? px_ir_const_at(ir, name, type, shape, *offset)
                 : px_ir_const_place(ir, name, type, shape, offset);
}

static px_ir_value float_weight(px_ir *ir, const px_export_item *item, const char *name,
                                struct place *place, bool again)
{
    const px_ir_shape shape = PX_IR_SHAPE(item->tensor->rows, item->tensor->columns);
    const px_ir_type type = item->type == PX_FLOAT_F32   ? PX_IR_F32
                            : item->type == PX_FLOAT_F16 ? PX_IR_F16
                                                         : PX_IR_BF16;
    const px_ir_value value = constant(ir, name, type, shape, &place->data, again);
    return type == PX_IR_F32 ? value : widened(ir, value, decompression);
}

static px_ir_value integer_weight(px_ir *ir, const px_export_item *item, const char *name,
                                  struct place *place, bool again)
{
    const px_quant_format *const format = &item->format;
    const int64_t rows = item->tensor->rows, columns = item->tensor->columns;
    const int64_t groups = item_groups(item);
    const bool grouped = format->group_size > 0;
    const px_ir_shape shape = grouped ? PX_IR_SHAPE(rows, groups, columns / groups)
                                      : PX_IR_SHAPE(rows, columns);
    const px_ir_shape scales = grouped ? PX_IR_SHAPE(rows, groups, 1) : PX_IR_SHAPE(rows, 1);
    const px_ir_type unsigned_type = format->bits == 4 ? PX_IR_U4 : PX_IR_U8;
    const px_ir_type signed_type = format->bits == 4 ? PX_IR_I4 : PX_IR_I8;
    const px_ir_type scale_type = half_scales(item) ? PX_IR_F16 : PX_IR_F32;
    const char *const float_name = scale_type == PX_IR_F16 ? "destination_type=\"f16\""
                                                           : "destination_type=\"f32\"";
    char part[192];
    px_ir_value value = constant(ir, name, format->symmetric ? signed_type : unsigned_type, shape,
                                 &place->data, again);
    value = op(ir, "Convert", NULL, float_name, NULL, scale_type, shape, 1, &value);
    if (!format->symmetric) {
        snprintf(part, sizeof part, "%s/zero_point", name);
        px_ir_value zero = constant(ir, part, unsigned_type, scales, &place->zeros, again);
        zero = op(ir, "Convert", NULL, float_name, NULL, scale_type, scales, 1, &zero);
        snprintf(part, sizeof part, "%s/zero_point/subtract", name);
        value = op(ir, "Subtract", part, "auto_broadcast=\"numpy\"", NULL, scale_type, shape, 2,
                   (px_ir_value[]){value, zero});
    }
    snprintf(part, sizeof part, "%s/scale", name);
    const px_ir_value scale = constant(ir, part, scale_type, scales, &place->scales, again);
    snprintf(part, sizeof part, "%s/fq_weights_1", name);
    value = op(ir, "Multiply", part, "auto_broadcast=\"numpy\"", NULL, scale_type, shape, 2,
               (px_ir_value[]){value, scale});
    if (grouped) {
        const int64_t whole[] = {rows, columns};
        const px_ir_value to = px_ir_const(ir, NULL, PX_IR_I64, PX_IR_SHAPE(2), whole);
        value = op(ir, "Reshape", NULL, "special_zero=\"false\"", NULL, scale_type,
                   PX_IR_SHAPE(rows, columns), 2, (px_ir_value[]){value, to});
    }
    return scale_type == PX_IR_F16 ? widened(ir, value, NULL) : value;
}

static px_ir_value norm_weight(const struct writer *writer, px_ir *ir, px_role role, int32_t layer)
{
    const px_tensor *const tensor = px_checkpoint_tensor(writer->job->checkpoint, role, layer);
    const size_t columns = (size_t)tensor->columns;
    const px_ir_shape shape = PX_IR_SHAPE(1, 1, tensor->columns);
    float *const values = malloc(columns * sizeof *values);
    if (!values) {
        px_ir_fail_memory(ir, columns * sizeof *values);
        return (px_ir_value){.shape = shape};
    }
    px_tensor_load(tensor, 0, 1, values, NULL);
    for (size_t i = 0; i < columns; i++)
        if (!isfinite(values[i]) && ir->status == PHLOX_OK)
            ir->status = px_fail(ir->error, PHLOX_ERROR_FORMAT,
                                 "%s: tensor %s: column %zu is %g, which is not a weight; download "
                                 "the file again", tensor->file, tensor->name, i, (double)values[i]);
    const px_ir_value value = px_ir_const(ir, NULL, PX_IR_F32, shape, values);
    free(values);
    return value;
}

static px_ir_value add_weight(void *user, px_ir *ir, px_role role, int32_t layer)
{
    struct writer *const writer = user;
    if (px_role_is_norm(role)) return norm_weight(writer, ir, role, layer);
    const bool tied = role == PX_LM_HEAD && writer->job->checkpoint->desc.tied_embeddings;
    const px_export_item *const item = find_item(writer, tied ? PX_EMBEDDING : role, layer);
    struct place *const place = &writer->places[item - writer->job->items];
    char name[160];
    if (px_role_is_layered(role))
        snprintf(name, sizeof name, "self.model.layers.%d.%s", layer, px_role_parameter(role));
    else
        snprintf(name, sizeof name, "self.%s", px_role_parameter(role));
    return item->format.bits ? integer_weight(ir, item, name, place, tied)
                             : float_weight(ir, item, name, place, tied);
}

/* ---- the bytes ----------------------------------------------------------------------------- */

struct filling {
    const struct writer *writer;
    const px_export_item *item;
    const struct place *place;
    int64_t first_row; /* of the slice */
};

/* Two 4-bit values a byte, the first in the low half; in place. */
static size_t pack_nibbles(uint8_t *q, size_t count)
{
    for (size_t i = 0; i + 1 < count; i += 2) q[i / 2] = (uint8_t)((q[i] & 15) | q[i + 1] << 4);
    if (count % 2) q[count / 2] = q[count - 1] & 15;
    return (count + 1) / 2;
}

static phlox_status fill_integers(const struct filling *job, int64_t begin, int64_t rows,
                                  uint8_t *q, float *scales, uint8_t *zeros, float *loaded,
                                  phlox_error *error)
{
    const px_export_item *const item = job->item;
    const px_tensor *const tensor = item->tensor;
    const px_quant_format *const format = &item->format;
    const int64_t groups = item_groups(item);
    const size_t count = (size_t)(rows * tensor->columns), scale_count = (size_t)(rows * groups);
    if (tensor->integers.bits) {
        PX_TRY(px_tensor_read_integers(tensor, begin, rows, q, scales, zeros, error));
        if (format->symmetric)
            for (size_t i = 0; i < count; i++) q[i] ^= format->bits == 4 ? 8 : 128;
    } else {
        px_float_type type;
        const void *const source = px_tensor_rows(tensor, begin, rows, loaded, &type);
        const phlox_status status =
            px_quantize_rows(format, type, source, rows, tensor->columns, q, scales,
                             format->symmetric ? NULL : zeros, error);
        if (status != PHLOX_OK)
            return px_error_prefix(error, status, "%s: tensor %s, rows from %" PRId64, tensor->file,
                                   tensor->name, begin);
    }
    const px_out_file *const bin = &job->writer->bin;
    const bool is_int4 = format->bits == 4;
    const size_t bytes = is_int4 ? pack_nibbles(q, count) : count;
    const uint64_t values_before = (uint64_t)(begin * tensor->columns);
    const uint64_t scales_before = (uint64_t)(begin * groups);
    PX_TRY(px_out_write(bin, job->place->data + (is_int4 ? values_before / 2 : values_before), q,
                        bytes, error));
    if (!format->symmetric) {
        const size_t zero_bytes = is_int4 ? pack_nibbles(zeros, scale_count) : scale_count;
        PX_TRY(px_out_write(bin, job->place->zeros + (is_int4 ? scales_before / 2 : scales_before),
                            zeros, zero_bytes, error));
    }
    if (!half_scales(item))
        return px_out_write(bin, job->place->scales + scales_before * sizeof *scales, scales,
                            scale_count * sizeof *scales, error);
    uint16_t *const halves = (uint16_t *)scales; /* each is written behind where it is read */
    for (size_t i = 0; i < scale_count; i++) {
        const uint16_t half = px_f32_to_f16(scales[i]);
        memcpy(halves + i, &half, sizeof half);
    }
    return px_out_write(bin, job->place->scales + scales_before * sizeof *halves, halves,
                        scale_count * sizeof *halves, error);
}

static phlox_status fill_floats(const struct filling *job, int64_t begin, int64_t rows,
                                float *loaded, void *scratch, phlox_error *error)
{
    const px_tensor *const tensor = job->item->tensor;
    const px_float_type type = job->item->type;
    const size_t count = (size_t)(rows * tensor->columns), size = px_float_size(type);
    px_tensor_load(tensor, begin, rows, loaded, scratch);
    const float most = type == PX_FLOAT_F16 ? 65519.996f : INFINITY;
    for (size_t i = 0; i < count; i++) {
        if (fabsf(loaded[i]) < most) {
            /* Each is written behind where it is read. */
            const uint16_t value =
                type == PX_FLOAT_F16 ? px_f32_to_f16(loaded[i]) : px_f32_to_bf16(loaded[i]);
            if (type != PX_FLOAT_F32) memcpy((char *)loaded + 2 * i, &value, sizeof value);
            continue;
        }
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %s: row %" PRId64 ", column %" PRId64 " is %g, which %s",
                       tensor->file, tensor->name, begin + (int64_t)i / tensor->columns,
                       (int64_t)i % tensor->columns, (double)loaded[i],
                       isfinite(loaded[i]) ? "float16 cannot hold; use --weight-format fp32"
                                           : "is not a weight; download the file again");
    }
    return px_out_write(&job->writer->bin,
                        job->place->data + (uint64_t)(begin * tensor->columns) * size, loaded,
                        count * size, error);
}

static phlox_status fill_block(const struct filling *job, int64_t begin, int64_t rows,
                               phlox_error *error)
{
    const px_export_item *const item = job->item;
    const px_tensor *const tensor = item->tensor;
    const bool is_integer = item->format.bits > 0;
    const size_t count = (size_t)(rows * tensor->columns);
    const size_t groups = is_integer ? (size_t)(rows * item_groups(item)) : 0;
    const size_t loaded = !is_integer || tensor->load ? count * sizeof(float) : 0;
    const size_t rest = is_integer ? groups * (sizeof(float) + 1) + count
                                   : px_tensor_scratch(tensor, rows);
    const size_t bytes = loaded + rest;
    char *const memory = malloc(bytes);
    if (!memory) return px_fail_memory(error, bytes);
    float *const scales = (float *)(void *)(memory + loaded);
    uint8_t *const zeros = (uint8_t *)(scales + groups);
    const phlox_status status =
        is_integer ? fill_integers(job, begin, rows, zeros + groups, scales, zeros,
                                   (float *)(void *)memory, error)
                   : fill_floats(job, begin, rows, (float *)(void *)memory, scales, error);
    free(memory);
    px_tensor_drop(tensor, begin, rows);
    return status;
}

static phlox_status fill_rows(void *context, int64_t begin, int64_t end, phlox_error *error)
{
    const struct filling *const job = context;
    return fill_block(job, job->first_row + begin, end - begin, error);
}

static phlox_status fill_item(const struct writer *writer, size_t index, phlox_progress *progress,
                              phlox_error *error)
{
    const px_export *const job = writer->job;
    const px_export_item *const item = &job->items[index];
    const px_tensor *const tensor = item->tensor;
    struct filling filling = {.writer = writer, .item = item, .place = &writer->places[index]};
    const int64_t block = PX_MAX(BLOCK_VALUES / tensor->columns / 2, 1) * 2;
    for (int64_t rows; filling.first_row < tensor->rows; filling.first_row += rows) {
        rows = PX_MIN(tensor->rows - filling.first_row, SLICE_BLOCKS * block);
        PX_TRY(px_pool_try(job->pool, rows, block, fill_rows, &filling, error));
        progress->done += (uint64_t)(rows * tensor->row_bytes);
        if (job->progress && !job->progress(job->progress_user, progress))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "the export was cancelled");
    }
    return PHLOX_OK;
}

static phlox_status fill(const struct writer *writer, phlox_error *error)
{
    const px_export *const job = writer->job;
    phlox_progress progress = {.what = "writing weights", .is_bytes = true};
    for (size_t i = 0; i < job->count; i++)
        progress.total += (uint64_t)(job->items[i].tensor->rows * job->items[i].tensor->row_bytes);
    for (size_t i = 0; i < job->count; i++) PX_TRY(fill_item(writer, i, &progress, error));
    return PHLOX_OK;
}

/* ---- files --------------------------------------------------------------------------------- */

/* Of stored integers: what the layers' int4 matrices are, or int8 where there are none. */
static void find_stored_mode(const struct writer *writer, bool *is_int4, bool *symmetric,
                             int64_t *group_size)
{
    *is_int4 = false;
    *group_size = -1;
    for (size_t i = 0; i < writer->job->count && !*is_int4; i++) {
        const px_quant_format *const format = &writer->job->items[i].format;
        if (!px_role_is_layered(writer->job->items[i].tensor->role) || !format->bits) continue;
        *is_int4 = format->bits == 4;
        *symmetric = format->symmetric;
        *group_size = format->group_size;
    }
}

/* What the plugins read: the group size decides how the NPU prefills; the scale keeps float16
 * activations of GPUs from overflowing. */
static void describe(const struct writer *writer, char *out, size_t size)
{
    const px_quant_options *const quant = &writer->job->quant;
    bool is_int4 = quant->format == PHLOX_WEIGHTS_INT4, symmetric = quant->symmetric;
    int64_t group_size = is_int4 ? quant->group_size : -1;
    if (writer->job->checkpoint->quantized) find_stored_mode(writer, &is_int4, &symmetric, &group_size);
    const char *const symmetry = symmetric ? "sym" : "asym";
    int used = 0;
    if (!writer->plain) {
        static const char *const backups[] = {"int8_asym", "int8_asym", "int8_sym", "none"};
        used = snprintf(out, size,
                        "\t\t<nncf>\n\t\t\t<weight_compression>\n"
                        "\t\t\t\t<mode value=\"%s_%s\" />\n\t\t\t\t<group_size value=\"%" PRId64
                        "\" />\n\t\t\t\t<ratio value=\"%g\" />\n\t\t\t\t<all_layers value=\"%s\" />\n"
                        "\t\t\t\t<backup_mode value=\"%s\" />\n"
                        "\t\t\t</weight_compression>\n\t\t</nncf>\n",
                        is_int4 ? "int4" : "int8", symmetry, group_size, quant->ratio, quant->all_layers ? "True" : "False",
                        backups[quant->backup]);
    }
    snprintf(out + used, size - (size_t)used,
             "\t\t<runtime_options>\n\t\t\t<ACTIVATIONS_SCALE_FACTOR value=\"8.0\" />\n%s"
             "\t\t</runtime_options>\n",
             writer->plain ? "\t\t\t<KV_CACHE_PRECISION value=\"f16\" />\n" : "");
}

static phlox_status write_model(struct writer *writer, phlox_error *error)
{
    const px_export *const job = writer->job;
    char rt_info[1024];
    px_ir ir;
    px_buffer xml = {0};
    px_ir_begin(&ir, &writer->bin, error);
    px_ir_add_network(&ir, &job->checkpoint->desc, add_weight, writer);
    describe(writer, rt_info, sizeof rt_info);
    phlox_status status = px_ir_finish(&ir, rt_info, &xml);
    if (status == PHLOX_OK) status = fill(writer, error);
    if (status == PHLOX_OK) status = px_out_commit(&writer->bin, error);
    char path[4096];
    snprintf(path, sizeof path, "%s/openvino_model.xml", job->directory);
    if (status == PHLOX_OK) status = px_write_file(path, xml.data, xml.size, error);
    px_buffer_free(&xml);
    return status;
}

/* Forms that need no config.json have none to copy. */
static phlox_status write_missing_config(const px_export *job, phlox_error *error)
{
    for (size_t i = 0; i < job->checkpoint->beside_count; i++)
        if (strcmp(job->checkpoint->beside[i].name, "config.json") == 0) return PHLOX_OK;
    char path[4096];
    px_buffer text = {0};
    snprintf(path, sizeof path, "%s/config.json", job->directory);
    phlox_status status = px_config_write(&job->checkpoint->desc, &text, error);
    if (status == PHLOX_OK) status = px_write_file(path, text.data, text.size, error);
    px_buffer_free(&text);
    return status;
}

phlox_status px_openvino_write(const px_export *job, phlox_error *error)
{
    struct writer writer = {.job = job, .bin = {.descriptor = -1}, .plain = true};
    for (size_t i = 0; i < job->count; i++) writer.plain &= !job->items[i].format.bits;
    writer.places = px_calloc(job->count, sizeof *writer.places);
    if (!writer.places) return px_fail_memory(error, job->count * sizeof *writer.places);
    char path[4096];
    phlox_status status = PHLOX_OK;
    for (size_t i = 0; i < job->checkpoint->beside_count && status == PHLOX_OK; i++) {
        const px_memory_file *const file = &job->checkpoint->beside[i];
        snprintf(path, sizeof path, "%s/%s", job->directory, file->name);
        status = px_write_file(path, file->bytes.data, file->bytes.size, error);
    }
    if (status == PHLOX_OK) status = write_missing_config(job, error);
    if (status == PHLOX_OK && job->checkpoint->tokenizer_json.size)
        status = px_openvino_write_tokenizer(job->checkpoint, job->directory, error);
    snprintf(path, sizeof path, "%s/openvino_model.bin", job->directory);
    if (status == PHLOX_OK) status = px_out_open(&writer.bin, path, 0, error);
    if (status == PHLOX_OK) status = write_model(&writer, error);
    px_out_abandon(&writer.bin);
    free(writer.places);
    return status;
}
