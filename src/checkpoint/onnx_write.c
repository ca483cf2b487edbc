/* Writes a checkpoint as a directory for ONNX Runtime GenAI, as its model builder does: genai_config.json,
 * the graph of onnx_network.c in model.onnx, its weights in model.onnx.data. */
#include "checkpoint/onnx.h"

#include "base/half.h"
#include "checkpoint/export.h"
#include "checkpoint/onnx_genai.h"
#include "checkpoint/onnx_network.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_FILE "model.onnx"
#define DATA_FILE "model.onnx.data"

/* Blocks of MatMulNBits and GatherBlockQuantized are powers of two. */
enum { LEAST_BLOCK = 16, MOST_BLOCK = 256, CHANNEL_BLOCK = 128, DEFAULT_BLOCK = 32 };
/* Floats are stored in columns: so many rows are turned at a time, which makes runs that long. */
enum { TURNED_ROWS = 1024 };

/* Rows of a matrix that are a tensor of their own in the file. */
struct part {
    const px_export_item *item;
    int64_t begin, rows;
    int64_t block;    /* of integers */
    int64_t padded;   /* columns that a row of integers takes */
    bool turned;      /* floats [columns, rows] */
    uint64_t data, scales, zeros; /* where in the file */
};

struct writer {
    px_export *job;
    px_out_file data;
    px_onnx_type io;
    struct part *parts; /* room for what any graph needs */
    size_t count;
    bool tied;
};

/* ---- what becomes of the weights ----------------------------------------------------------- */

static px_onnx_type io_type(const px_export *job)
{
    const phlox_weight_format format = job->asked.weight_format;
    if (format == PHLOX_WEIGHTS_F16) return PX_ONNX_FLOAT16;
    if (format == PHLOX_WEIGHTS_F32) return PX_ONNX_FLOAT;
    return job->words.provider == PHLOX_PROVIDER_CPU ? PX_ONNX_FLOAT : PX_ONNX_FLOAT16;
}

/* The builder's: symmetric int4 in blocks of 32, lm_head too, the embedding as floats. */
void px_onnx_choose(const px_export *job, phlox_model_options *options)
{
    static const uint64_t largest_float = 1000000000;
    const px_desc *const desc = &job->checkpoint->desc;
    const bool is_default = options->weight_format == PHLOX_WEIGHTS_DEFAULT;
    if (job->words.provider == PHLOX_PROVIDER_DML && desc->sliding_window &&
        desc->sliding_window < desc->max_position)
        snprintf(job->note, job->note_size,
                 "the attention of DirectML has no sliding window: answers differ behind %" PRId32
                 " tokens", desc->sliding_window);
    if (!job->checkpoint->quantized && is_default)
        options->weight_format = px_desc_parameters(desc) >= largest_float ? PHLOX_WEIGHTS_INT4
                                                                           : PHLOX_WEIGHTS_STORED;
    if (options->weight_format != PHLOX_WEIGHTS_INT4) return;
    options->all_layers = true;
    if (!options->group_size) {
        options->group_size = DEFAULT_BLOCK;
        options->group_size_fallback = PHLOX_FALLBACK_ADJUST;
    }
    if (options->symmetry == PHLOX_SYMMETRY_DEFAULT) options->symmetry = PHLOX_SYM;
}

/* The block in which an item is written, which divides its groups; 0: there is none. */
static int64_t block_of(const px_export_item *item)
{
    const int64_t group = item->format.group_size, columns = item->tensor->columns;
    int64_t block = group < 0 ? CHANNEL_BLOCK : MOST_BLOCK;
    const bool is_embedding = item->tensor->role == PX_EMBEDDING;
    while (block >= LEAST_BLOCK &&
           ((group > 0 && group % block != 0) || (group < 0 && block > columns) ||
            (is_embedding && columns % block != 0)))
        block /= 2;
    return block >= LEAST_BLOCK ? block : 0;
}

bool px_onnx_holds(const px_export *job, px_export_item *item)
{
    const px_onnx_type io = io_type(job);
    if (item->tensor->role == PX_EMBEDDING && item->format.bits == 4 &&
        !px_export_is_quantized(item->tensor) && !job->asked.all_layers &&
        !job->checkpoint->desc.tied_embeddings)
        item->format = (px_quant_format){.bits = 0};
    if (!item->format.bits) {
        item->type = io == PX_ONNX_FLOAT ? PX_FLOAT_F32 : PX_FLOAT_F16;
        return true;
    }
    if (!block_of(item)) return false;
    /* Where loss is accepted the scales are rounded, which is less of it than integers that are made anew. */
    return io != PX_ONNX_FLOAT16 || px_export_half_scales(item) || job->words.accept_loss;
}

void px_onnx_nearest(const px_export *job, px_export_item *item, int bits)
{
    (void)job;
    const bool grouped = bits == 4 && item->tensor->columns % DEFAULT_BLOCK == 0;
    item->format = (px_quant_format){.bits = bits, .group_size = grouped ? DEFAULT_BLOCK : -1};
}

/* ---- weights in the graph ------------------------------------------------------------------ */

static struct part *add_part(struct writer *writer, px_role role, int32_t layer, int64_t begin,
                             int64_t rows)
{
    struct part *const part = &writer->parts[writer->count++];
    *part = (struct part){.item = px_export_find(writer->job, role, layer), .begin = begin,
                          .rows = rows};
    return part;
}

/* "/model/layers.0/mlp/up_proj/MatMul" -> "model.layers.0.mlp.up_proj.MatMul.weight" */
static void weight_name(const char *path, char *out)
{
    snprintf(out, PX_ONNX_MOST_NAME, "%s.weight", path + 1);
    for (char *c = out; *c; c++)
        if (*c == '/') *c = '.';
}

/* The tensors of integers [rows, blocks, bytes] (lookups: [rows, bytes]), scales and zero points; returns
 * the list of their names, with what comes between the first and the second. */
static void integer_tensors(struct writer *writer, px_onnx_out *out, struct part *part,
                            const char *weight, bool is_lookup, const char *between, char *list,
                            size_t size)
{
    const px_quant_format *const format = &part->item->format;
    const int64_t columns = part->item->tensor->columns;
    part->block = block_of(part->item);
    const int64_t blocks = (columns + part->block - 1) / part->block;
    part->padded = blocks * part->block;
    const int64_t block_bytes = part->block * format->bits / 8;
    const int64_t zero_bytes = (blocks * format->bits + 7) / 8;
    char name[PX_ONNX_MOST_NAME + 16];
    snprintf(name, sizeof name, "%s_Q%d", weight, format->bits);
    part->data = is_lookup
                     ? px_onnx_add_initializer(out, name, PX_ONNX_UINT8, 2,
                                           (int64_t[]){part->rows, blocks * block_bytes})
                     : px_onnx_add_initializer(out, name, PX_ONNX_UINT8, 3,
                                           (int64_t[]){part->rows, blocks, block_bytes});
    const int used = snprintf(list, size, "%s%s,%s_scales", name, between, weight);
    snprintf(name, sizeof name, "%s_scales", weight);
    part->scales = px_onnx_add_initializer(out, name, writer->io, 2, (int64_t[]){part->rows, blocks});
    if (format->symmetric) return;
    snprintf(name, sizeof name, "%s_zero_points", weight);
    part->zeros = px_onnx_add_initializer(out, name, PX_ONNX_UINT8, 2,
                                      (int64_t[]){part->rows, zero_bytes});
    snprintf(list + used, size - (size_t)used, ",%s", name);
}

static int accuracy_level(const px_export *job)
{
    if (job->words.accuracy_level >= 0) return job->words.accuracy_level;
    return job->words.provider == PHLOX_PROVIDER_CPU ? 4 : 0;
}

static void integer_product(struct writer *writer, px_onnx_out *out, const struct part *part,
                            const char *path, const char *inputs, const char *output)
{
    const int level = accuracy_level(writer->job), bits = part->item->format.bits;
    char name[PX_ONNX_MOST_NAME + 8];
    snprintf(name, sizeof name, "%s_Q%d", path, bits);
    const size_t mark = px_onnx_begin_node(out, "MatMulNBits", "com.microsoft", name, inputs, output);
    px_onnx_add_int(out, "K", part->item->tensor->columns);
    px_onnx_add_int(out, "N", part->rows);
    px_onnx_add_int(out, "bits", bits);
    px_onnx_add_int(out, "block_size", part->block);
    if (level) px_onnx_add_int(out, "accuracy_level", level);
    px_onnx_end_node(out, mark);
}

/* The matrix of a tied lm_head comes with the embedding. */
static bool is_there(const struct writer *writer, px_role role)
{
    return role == PX_LM_HEAD && writer->tied;
}

static void add_product(void *user, px_onnx_out *out, px_role role, int32_t layer, int64_t begin,
                        int64_t rows, const char *path, const char *input, const char *output)
{
    struct writer *const writer = user;
    struct part *const part =
        is_there(writer, role) ? &writer->parts[0] : add_part(writer, role, layer, begin, rows);
    char weight[PX_ONNX_MOST_NAME], inputs[5 * PX_ONNX_MOST_NAME];
    weight_name(path, weight);
    const int used = snprintf(inputs, sizeof inputs, "%s,", input);
    char *const list = inputs + used;
    const size_t size = sizeof inputs - (size_t)used;
    if (part->item->format.bits) {
        if (is_there(writer, role))
            snprintf(list, size, part->item->format.symmetric ? "%s_Q%d,%s_scales"
                                                              : "%s_Q%d,%s_scales,%s_zero_points",
                     weight, part->item->format.bits, weight, weight);
        else integer_tensors(writer, out, part, weight, false, "", list, size);
        integer_product(writer, out, part, path, inputs, output);
        return;
    }
    if (!is_there(writer, role)) {
        part->turned = true;
        part->data = px_onnx_add_initializer(out, weight, writer->io, 2,
                                         (int64_t[]){part->item->tensor->columns, rows});
    }
    snprintf(list, size, "%s", weight);
    px_onnx_end_node(out, px_onnx_begin_node(out, "MatMul", "", path, inputs, output));
}

static void integer_lookup(px_onnx_out *out, const struct part *part, const char *inputs,
                           const char *output)
{
    const size_t mark = px_onnx_begin_node(out, "GatherBlockQuantized", "com.microsoft",
                                     "/model/embed_tokens/GatherBlockQuantized", inputs, output);
    px_onnx_add_int(out, "bits", part->item->format.bits);
    px_onnx_add_int(out, "block_size", part->block);
    px_onnx_add_int(out, "gather_axis", 0);
    px_onnx_add_int(out, "quantize_axis", 1);
    px_onnx_end_node(out, mark);
}

/* Integers that are those of lm_head: in another shape. */
static void reshape_tied(px_onnx_out *out, const struct part *part, char *inputs)
{
    const int64_t shape[] = {part->rows, part->padded * part->item->format.bits / 8};
    char data[2 * PX_ONNX_MOST_NAME];
    snprintf(data, sizeof data, "%.*s,/model/constants/INT64/embed_tokens",
             (int)strcspn(inputs, ","), inputs);
    px_onnx_add_constant(out, "/model/constants/INT64/embed_tokens", 1, 2, shape);
    px_onnx_end_node(out, px_onnx_begin_node(out, "Reshape", "", "/model/embed_tokens/Reshape", data,
                                  "/model/embed_tokens/Reshape/output_0"));
    char rest[4 * PX_ONNX_MOST_NAME];
    snprintf(rest, sizeof rest, "%s", inputs + strcspn(inputs, ","));
    snprintf(inputs, 5 * PX_ONNX_MOST_NAME, "/model/embed_tokens/Reshape/output_0%s", rest);
}

static void add_embedding(void *user, px_onnx_out *out, const char *output)
{
    struct writer *const writer = user;
    const px_desc *const desc = &writer->job->checkpoint->desc;
    struct part *const part = add_part(writer, PX_EMBEDDING, 0, 0, desc->vocab_size);
    const char *const weight = writer->tied ? "lm_head.MatMul.weight" : "model.embed_tokens.weight";
    if (part->item->format.bits) {
        char inputs[5 * PX_ONNX_MOST_NAME];
        integer_tensors(writer, out, part, weight, !writer->tied, ",input_ids", inputs,
                        sizeof inputs);
        if (writer->tied) reshape_tied(out, part, inputs);
        integer_lookup(out, part, inputs, output);
        return;
    }
    part->turned = writer->tied;
    const int64_t dims[] = {desc->vocab_size, desc->hidden_size};
    const int64_t turned[] = {desc->hidden_size, desc->vocab_size};
    part->data = px_onnx_add_initializer(out, weight, writer->io, 2, part->turned ? turned : dims);
    const char *inputs = "model.embed_tokens.weight,input_ids";
    if (part->turned) {
        const size_t mark = px_onnx_begin_node(out, "Transpose", "", "/model/embed_tokens/Transpose",
                                         weight, "/model/embed_tokens/Transpose/output_0");
        px_onnx_add_ints(out, "perm", 2, (int64_t[]){1, 0});
        px_onnx_end_node(out, mark);
        inputs = "/model/embed_tokens/Transpose/output_0,input_ids";
    }
    px_onnx_end_node(out, px_onnx_begin_node(out, "Gather", "", "/model/embed_tokens/Gather", inputs, output));
}

/* Writes a small tensor at once. */
static void write_now(struct writer *writer, px_onnx_out *out, const char *name, int rank,
                      const int64_t *dims, const void *data, size_t bytes)
{
    const uint64_t offset = px_onnx_add_initializer(out, name, writer->io, rank, dims);
    if (out->status == PHLOX_OK)
        out->status = px_out_write(&writer->data, offset, data, bytes, out->error);
}

static void add_norm(void *user, px_onnx_out *out, px_role role, int32_t layer, const char *name)
{
    struct writer *const writer = user;
    float *values = NULL;
    if (out->status == PHLOX_OK)
        out->status = px_export_norm(writer->job, role, layer, &values, out->error);
    if (out->status != PHLOX_OK) return;
    const int64_t columns = writer->job->checkpoint->desc.hidden_size;
    if (writer->io == PX_ONNX_FLOAT16) {
        for (int64_t i = 0; i < columns && out->status == PHLOX_OK; i++)
            if (fabsf(values[i]) >= 65519.996f)
                out->status = px_fail(out->error, PHLOX_ERROR_UNSUPPORTED,
                                      "%s: %s is %g in column %" PRId64 ", which float16 cannot hold; use "
                                      "--ep cpu", writer->job->checkpoint->path, name,
                                      (double)values[i], i);
        px_export_narrow(PX_FLOAT_F16, values, (size_t)columns);
    }
    write_now(writer, out, name, 1, &columns, values,
              (size_t)columns * px_onnx_type_size(writer->io));
    free(values);
}

static void add_table(void *user, px_onnx_out *out, const char *name, int64_t rows, int64_t columns,
                      const void *data)
{
    struct writer *const writer = user;
    write_now(writer, out, name, 2, (int64_t[]){rows, columns}, data,
              (size_t)(rows * columns) * px_onnx_type_size(writer->io));
}

/* ---- the bytes ----------------------------------------------------------------------------- */

struct filling {
    const struct writer *writer;
    const struct part *part;
};

static void store_float(px_onnx_type type, float value, char *out)
{
    const uint16_t half = px_f32_to_f16(value);
    if (type == PX_ONNX_FLOAT16) memcpy(out, &half, sizeof half);
    else memcpy(out, &value, sizeof value);
}

/* One row: blocks, their scales and their zero points, each from its group. */
static void lay_row(const struct filling *filling, const px_export_rows *rows, int64_t row,
                    uint8_t *q, char *scales, uint8_t *zeros)
{
    const struct part *const part = filling->part;
    const px_quant_format *const format = &part->item->format;
    const int64_t columns = part->item->tensor->columns, blocks = part->padded / part->block;
    const size_t scale_size = px_onnx_type_size(filling->writer->io);
    memset(q, 0, (size_t)part->padded);
    memcpy(q, rows->q + row * columns, (size_t)columns);
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t group = format->group_size > 0 ? b * part->block / format->group_size : 0;
        const int64_t from = row * rows->groups + group;
        store_float(filling->writer->io, rows->scales[from], scales + (size_t)b * scale_size);
        zeros[b] = rows->zeros[from];
    }
    if (format->bits == 4) {
        px_export_pack_nibbles(q, (size_t)part->padded);
        px_export_pack_nibbles(zeros, (size_t)blocks);
    }
}

/* Scales of integers that are kept may be larger than float16 is. */
static phlox_status check_scales(const struct filling *filling, const px_export_rows *rows,
                                 phlox_error *error)
{
    if (filling->writer->io != PX_ONNX_FLOAT16) return PHLOX_OK;
    for (int64_t i = 0; i < rows->rows * rows->groups; i++)
        if (fabsf(rows->scales[i]) >= 65519.996f)
            return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                           "%s: tensor %s: row %" PRId64 " has the scale %g, which float16 cannot hold; use "
                           "--ep cpu", rows->item->tensor->file, rows->item->tensor->name,
                           rows->begin + i / rows->groups, (double)rows->scales[i]);
    return PHLOX_OK;
}

static phlox_status fill_integers(const struct filling *filling, const px_export_rows *rows,
                                  phlox_error *error)
{
    const struct part *const part = filling->part;
    const px_out_file *const file = &filling->writer->data;
    const int bits = part->item->format.bits;
    PX_TRY(check_scales(filling, rows, error));
    const size_t blocks = (size_t)(part->padded / part->block), count = (size_t)rows->rows;
    const size_t q_bytes = (size_t)part->padded * (size_t)bits / 8;
    const size_t scale_bytes = blocks * px_onnx_type_size(filling->writer->io);
    const size_t zero_bytes = (blocks * (size_t)bits + 7) / 8;
    /* A row is laid out before it is packed, so the last one needs more room. */
    const size_t all_zeros = count * zero_bytes + blocks;
    const size_t bytes = count * (scale_bytes + q_bytes) + (size_t)part->padded + all_zeros;
    char *const memory = malloc(bytes);
    if (!memory) return px_fail_memory(error, bytes);
    char *const scales = memory;
    uint8_t *const zeros = (uint8_t *)memory + count * scale_bytes, *const q = zeros + all_zeros;
    for (size_t r = 0; r < count; r++)
        lay_row(filling, rows, (int64_t)r, q + r * q_bytes, scales + r * scale_bytes,
                zeros + r * zero_bytes);
    const uint64_t before = (uint64_t)(rows->begin - part->begin);
    phlox_status status = px_out_write(file, part->data + before * q_bytes, q, count * q_bytes, error);
    if (status == PHLOX_OK)
        status = px_out_write(file, part->scales + before * scale_bytes, scales,
                              count * scale_bytes, error);
    if (status == PHLOX_OK && !part->item->format.symmetric)
        status = px_out_write(file, part->zeros + before * zero_bytes, zeros, count * zero_bytes,
                              error);
    free(memory);
    return status;
}

/* [rows, columns] of the tensor are a stripe of [columns, rows] in the file. */
static phlox_status fill_turned(const struct filling *filling, const px_export_rows *rows,
                                phlox_error *error)
{
    const struct part *const part = filling->part;
    const size_t columns = (size_t)part->item->tensor->columns, count = (size_t)rows->rows;
    const size_t size = px_onnx_type_size(filling->writer->io);
    char *const run = malloc(count * size);
    if (!run) return px_fail_memory(error, count * size);
    phlox_status status = PHLOX_OK;
    for (size_t c = 0; c < columns && status == PHLOX_OK; c++) {
        const char *from = (const char *)rows->values + c * size;
        if (size == 2)
            for (size_t r = 0; r < count; r++) memcpy(run + 2 * r, from + r * columns * 2, 2);
        else
            for (size_t r = 0; r < count; r++) memcpy(run + 4 * r, from + r * columns * 4, 4);
        const uint64_t at = c * (uint64_t)part->rows + (uint64_t)(rows->begin - part->begin);
        status = px_out_write(&filling->writer->data, part->data + at * size, run, count * size,
                              error);
    }
    free(run);
    return status;
}

static phlox_status fill_rows(void *user, const px_export_rows *rows, phlox_error *error)
{
    const struct filling *const filling = user;
    const struct part *const part = filling->part;
    if (rows->q) return fill_integers(filling, rows, error);
    if (part->turned) return fill_turned(filling, rows, error);
    const uint64_t row = (uint64_t)part->item->tensor->columns * px_onnx_type_size(filling->writer->io);
    return px_out_write(&filling->writer->data,
                        part->data + (uint64_t)(rows->begin - part->begin) * row, rows->values,
                        (size_t)rows->rows * row, error);
}

static phlox_status fill(const struct writer *writer, phlox_error *error)
{
    px_export_start(writer->job);
    for (size_t i = 0; i < writer->count; i++) {
        const struct part *const part = &writer->parts[i];
        struct filling filling = {writer, part};
        PX_TRY(px_export_read(writer->job, part->item, part->begin, part->rows,
                              part->turned ? TURNED_ROWS : 1, fill_rows, &filling, error));
    }
    return PHLOX_OK;
}

/* ---- files --------------------------------------------------------------------------------- */

static phlox_status write_graph(struct writer *writer, phlox_error *error)
{
    const px_desc *const desc = &writer->job->checkpoint->desc;
    const bool is_dml = writer->job->words.provider == PHLOX_PROVIDER_DML;
    const bool has_window = desc->sliding_window && desc->sliding_window < desc->max_position;
    const px_onnx_kind kind = {.io = writer->io, .rotates_apart = px_onnx_rotates_apart(writer->job),
                               .window = has_window && !is_dml ? desc->sliding_window : -1};
    const px_onnx_weight_source weights = {writer, add_norm, add_product, add_embedding, add_table};
    px_onnx_out out;
    px_onnx_begin(&out, DATA_FILE, error);
    px_onnx_add_network(&out, desc, &kind, &weights);
    phlox_status status = px_onnx_finish(&out);
    if (status == PHLOX_OK)
        status = px_export_write_file(writer->job, MODEL_FILE,
                                      (phlox_text){out.model.data, out.model.size}, error);
    px_onnx_free(&out);
    return status;
}

static phlox_status check(const px_export *job, px_onnx_type io, phlox_error *error)
{
    if (job->asked.weight_format == PHLOX_WEIGHTS_BF16)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "bf16 weights run on few of ONNX Runtime's providers; use --weight-format fp16 or "
                       "fp32");
    if (job->words.provider != PHLOX_PROVIDER_CPU && io == PX_ONNX_FLOAT)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "the attention of ONNX Runtime's CUDA and DirectML providers takes float16; use "
                       "--weight-format fp16, or --ep cpu");
    return PHLOX_OK;
}

phlox_status px_onnx_write(px_export *job, phlox_error *error)
{
    enum { PARTS = 3 }; /* of one matrix at most */
    struct writer writer = {.job = job, .data = {.descriptor = -1}, .io = io_type(job),
                            .tied = job->checkpoint->desc.tied_embeddings};
    PX_TRY(check(job, writer.io, error));
    writer.parts = px_calloc(job->count * PARTS, sizeof *writer.parts);
    if (!writer.parts) return px_fail_memory(error, job->count * PARTS * sizeof *writer.parts);
    char path[4096];
    snprintf(path, sizeof path, "%s/" DATA_FILE, job->out);
    phlox_status status = px_export_write_beside(job, error);
    if (status == PHLOX_OK) status = px_onnx_write_genai(job, MODEL_FILE, error);
    if (status == PHLOX_OK) status = px_out_open(&writer.data, path, 0, error);
    if (status == PHLOX_OK) status = write_graph(&writer, error);
    if (status == PHLOX_OK) status = fill(&writer, error);
    if (status == PHLOX_OK) status = px_out_commit(&writer.data, error);
    px_out_abandon(&writer.data);
    free(writer.parts);
    return status;
}
