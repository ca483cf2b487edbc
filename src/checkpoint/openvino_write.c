/* Writes a checkpoint as an OpenVINO IR directory, as `optimum-cli export openvino` does: integers,
 * scales and zero points of NNCF, the graph of openvino_network.c. */
#include "checkpoint/openvino.h"

#include "base/json.h"
#include "checkpoint/export.h"
#include "checkpoint/openvino_network.h"
#include "checkpoint/openvino_tokenizer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the parts of a matrix are in the file. */
struct place {
    uint64_t data, scales, zeros;
};

struct writer {
    px_export *job;
    px_out_file bin;
    struct place *places; /* [job->count] */
    bool plain;           /* nothing is quantized: float constants are float16 all over */
};

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
    const int64_t groups = px_export_groups(item);
    const bool grouped = format->group_size > 0;
    const px_ir_shape shape = grouped ? PX_IR_SHAPE(rows, groups, columns / groups)
                                      : PX_IR_SHAPE(rows, columns);
    const px_ir_shape scales = grouped ? PX_IR_SHAPE(rows, groups, 1) : PX_IR_SHAPE(rows, 1);
    const px_ir_type unsigned_type = format->bits == 4 ? PX_IR_U4 : PX_IR_U8;
    const px_ir_type signed_type = format->bits == 4 ? PX_IR_I4 : PX_IR_I8;
    const px_ir_type scale_type = px_export_half_scales(item) ? PX_IR_F16 : PX_IR_F32;
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
    const px_ir_shape shape = PX_IR_SHAPE(1, 1, tensor->columns);
    float *values = NULL;
    if (ir->status == PHLOX_OK)
        ir->status = px_export_norm(writer->job, role, layer, &values, ir->error);
    const px_ir_value value = px_ir_const(ir, NULL, PX_IR_F32, shape, values);
    free(values);
    return value;
}

static px_ir_value add_weight(void *user, px_ir *ir, px_role role, int32_t layer)
{
    struct writer *const writer = user;
    if (px_role_is_norm(role)) return norm_weight(writer, ir, role, layer);
    const bool tied = role == PX_LM_HEAD && writer->job->checkpoint->desc.tied_embeddings;
    const px_export_item *const item = px_export_find(writer->job, role, layer);
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
    const px_out_file *bin;
    const struct place *place;
};

static phlox_status fill_integers(const struct filling *filling, const px_export_rows *rows,
                                  phlox_error *error)
{
    const px_export_item *const item = rows->item;
    const struct place *const place = filling->place;
    const bool is_int4 = item->format.bits == 4;
    const size_t count = (size_t)(rows->rows * item->tensor->columns);
    const size_t scale_count = (size_t)(rows->rows * rows->groups);
    const uint64_t before = (uint64_t)(rows->begin * item->tensor->columns);
    const uint64_t scales_before = (uint64_t)(rows->begin * rows->groups);
    if (item->format.symmetric) /* signed */
        for (size_t i = 0; i < count; i++) rows->q[i] ^= is_int4 ? 8 : 128;
    const size_t bytes = is_int4 ? px_export_pack_nibbles(rows->q, count) : count;
    PX_TRY(px_out_write(filling->bin, place->data + (is_int4 ? before / 2 : before), rows->q, bytes,
                        error));
    if (!item->format.symmetric) {
        const size_t zero_bytes =
            is_int4 ? px_export_pack_nibbles(rows->zeros, scale_count) : scale_count;
        PX_TRY(px_out_write(filling->bin,
                            place->zeros + (is_int4 ? scales_before / 2 : scales_before),
                            rows->zeros, zero_bytes, error));
    }
    const px_float_type scale_type = px_export_half_scales(item) ? PX_FLOAT_F16 : PX_FLOAT_F32;
    const size_t scale_size = px_float_size(scale_type);
    px_export_narrow(scale_type, rows->scales, scale_count);
    return px_out_write(filling->bin, place->scales + scales_before * scale_size, rows->scales,
                        scale_count * scale_size, error);
}

static phlox_status fill_rows(void *user, const px_export_rows *rows, phlox_error *error)
{
    const struct filling *const filling = user;
    if (rows->q) return fill_integers(filling, rows, error);
    const uint64_t columns = (uint64_t)rows->item->tensor->columns;
    const size_t size = px_float_size(rows->item->type);
    return px_out_write(filling->bin, filling->place->data + (uint64_t)rows->begin * columns * size,
                        rows->values, (size_t)rows->rows * columns * size, error);
}

/* Rows are taken in pairs, so that two 4-bit values of a byte are never in two blocks. */
static phlox_status fill(const struct writer *writer, phlox_error *error)
{
    px_export *const job = writer->job;
    px_export_start(job);
    for (size_t i = 0; i < job->count; i++) {
        struct filling filling = {&writer->bin, &writer->places[i]};
        PX_TRY(px_export_read(job, &job->items[i], 0, job->items[i].tensor->rows, 2, fill_rows,
                              &filling, error));
    }
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
    char rt_info[1024];
    px_ir ir;
    px_buffer xml = {0};
    px_ir_begin(&ir, &writer->bin, error);
    px_ir_add_network(&ir, &writer->job->checkpoint->desc, add_weight, writer);
    describe(writer, rt_info, sizeof rt_info);
    phlox_status status = px_ir_finish(&ir, rt_info, &xml);
    if (status == PHLOX_OK) status = fill(writer, error);
    if (status == PHLOX_OK) status = px_out_commit(&writer->bin, error);
    if (status == PHLOX_OK)
        status = px_export_write_file(writer->job, "openvino_model.xml",
                                      (phlox_text){xml.data, xml.size}, error);
    px_buffer_free(&xml);
    return status;
}

phlox_status px_openvino_write(px_export *job, phlox_error *error)
{
    struct writer writer = {.job = job, .bin = {.descriptor = -1}, .plain = true};
    for (size_t i = 0; i < job->count; i++) writer.plain &= !job->items[i].format.bits;
    writer.places = px_calloc(job->count, sizeof *writer.places);
    if (!writer.places) return px_fail_memory(error, job->count * sizeof *writer.places);
    char path[4096];
    snprintf(path, sizeof path, "%s/openvino_model.bin", job->out);
    phlox_status status = px_export_write_beside(job, error);
    if (status == PHLOX_OK && job->checkpoint->tokenizer_json.size)
        status = px_openvino_write_tokenizer(job->checkpoint, job->out, error);
    if (status == PHLOX_OK) status = px_out_open(&writer.bin, path, 0, error);
    if (status == PHLOX_OK) status = write_model(&writer, error);
    px_out_abandon(&writer.bin);
    free(writer.places);
    return status;
}

/* ---- what becomes of the weights ----------------------------------------------------------- */

/* What `optimum-cli export openvino --weight-format int4` chooses for a model of this name when nothing
 * else is asked for (optimum-intel 2.2, _DEFAULT_4BIT_WQ_CONFIGS), and what of it phlox leaves out. */
static const struct known {
    const char *name;
    int32_t group_size;
    const char *left_out;
} known[] = {
    {"Phi-3-mini-4k-instruct", 64, "scale estimation, which needs a dataset"},
    {"Phi-3.5-mini-instruct", 64, "AWQ"},
    {"Phi-4-mini-instruct", 64, "AWQ"},
    {"Phi-4-reasoning", 64, NULL},
};

/* By the last part of a path. */
static const struct known *find_known(const char *path)
{
    size_t end = strlen(path);
    while (end && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin && path[begin - 1] != '/') begin--;
    for (size_t i = 0; i < PX_COUNT(known); i++)
        if (strlen(known[i].name) == end - begin &&
            strncmp(path + begin, known[i].name, end - begin) == 0)
            return &known[i];
    return NULL;
}

/* By the name of the directory, or by the one that config.json remembers. */
static const struct known *recognise(const px_checkpoint *checkpoint)
{
    const struct known *found = find_known(checkpoint->path);
    json_t *config;
    if (found || px_checkpoint_json_beside(checkpoint, "config.json", &config, NULL) != PHLOX_OK)
        return found;
    const char *const name = json_string_value(json_object_get(config, "_name_or_path"));
    if (name) found = find_known(name);
    json_decref(config);
    return found;
}

static bool says_nothing_else(const phlox_model_options *o)
{
    return !o->group_size && o->symmetry == PHLOX_SYMMETRY_DEFAULT && o->ratio <= 0 &&
           o->backup_precision == PHLOX_BACKUP_DEFAULT && !o->all_layers &&
           o->group_size_fallback == PHLOX_FALLBACK_ERROR;
}

/* Without a format: int8 from a billion parameters on, as optimum does, else the floats that are there. */
void px_openvino_choose(const px_export *job, phlox_model_options *options)
{
    static const uint64_t largest_float = 1000000000;
    if (job->checkpoint->quantized) return;
    if (options->weight_format == PHLOX_WEIGHTS_DEFAULT)
        options->weight_format = px_desc_parameters(&job->checkpoint->desc) >= largest_float
                                     ? PHLOX_WEIGHTS_INT8
                                     : PHLOX_WEIGHTS_STORED;
    if (options->weight_format != PHLOX_WEIGHTS_INT4 || !says_nothing_else(options)) return;
    const struct known *const found = recognise(job->checkpoint);
    if (!found) return;
    options->group_size = found->group_size;
    if (found->left_out)
        snprintf(job->note, job->note_size,
                 "for %s optimum-cli adds %s; these are groups of %d without it", found->name, found->left_out, (int)found->group_size);
}

/* Groups of one length. */
bool px_openvino_holds(const px_export *job, px_export_item *item)
{
    (void)job;
    const int64_t group = item->format.group_size;
    return !item->format.bits || group < 0 || item->tensor->columns % group == 0;
}

/* int4 in groups of 32 where these divide a row, else a row at once. */
void px_openvino_nearest(const px_export *job, px_export_item *item, int bits)
{
    (void)job;
    const bool grouped = bits == 4 && item->tensor->columns % 32 == 0;
    item->format = (px_quant_format){.bits = bits, .group_size = grouped ? 32 : -1};
}
