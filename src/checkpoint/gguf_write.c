/* Writes a checkpoint as a GGUF file of version 3, as llama.cpp's converter and llama-quantize do. */
#include "checkpoint/gguf.h"

#include "base/half.h"
#include "base/os.h"
#include "checkpoint/gguf_metadata.h"
#include "checkpoint/gguf_quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 3, ALIGNMENT = 32, COPY_BYTES = 1 << 22 };

/* A tensor of the file: a matrix, or the floats of a norm or of rotary factors. */
struct place {
    char name[PX_GGUF_NAME_SIZE];
    const px_export_item *item; /* NULL: floats */
    px_role role;
    int32_t layer;
    const float *factors; /* of rotary embeddings; NULL: the norm of the role */
    const px_gguf_encoding *encoding;
    int64_t columns, rows; /* rows 0: one dimension */
    uint64_t offset, size;
};

struct writer {
    px_export *job;
    px_out_file file;
    struct place *places;
    size_t count;
    uint64_t data, end; /* of the file: where the tensors begin and end */
    px_gguf_vocabulary vocabulary;
};

/* ---- what becomes of the weights ----------------------------------------------------------- */

static bool asks_integers(const px_export *job)
{
    return job->asked.weight_format == PHLOX_WEIGHTS_INT8 ||
           job->asked.weight_format == PHLOX_WEIGHTS_INT4;
}

/* Blocks are made here, of floats as they are stored, and not by the rules of NNCF. */
void px_gguf_choose(const px_export *job, phlox_model_options *options)
{
    if (!px_export_asks_floats(job)) px_export_read_stored(options);
}

/* Logits suffer the most from few bits: llama-quantize gives what makes them more as well. */
static const char *blocks_asked_for(const px_export *job, px_role role)
{
    const bool makes_logits =
        role == PX_LM_HEAD || (role == PX_EMBEDDING && job->checkpoint->desc.tied_embeddings);
    if (job->asked.weight_format == PHLOX_WEIGHTS_INT8 || (makes_logits && !job->asked.all_layers))
        return "Q8_0";
    return job->asked.symmetry == PHLOX_SYM ? "Q4_0" : "Q4_1";
}

static void become_blocks(px_export_item *item, const char *encoding)
{
    item->format = (px_quant_format){.bits = 0};
    item->type = PX_FLOAT_F32; /* what they are made of */
    item->encoding = encoding;
}

bool px_gguf_holds(const px_export *job, px_export_item *item)
{
    const px_tensor *const tensor = item->tensor;
    const bool is_blocks = tensor->encoding && px_gguf_encoding_named(tensor->encoding);
    if (strcmp(job->checkpoint->form, "gguf") == 0 && is_blocks && !px_export_asks_floats(job)) {
        item->copied = true;
        item->encoding = tensor->encoding;
        return true;
    }
    if (item->kept) {
        item->encoding = px_gguf_holds_integers(item);
        return item->encoding;
    }
    if (item->format.bits) return false;
    if (asks_integers(job) && !px_export_is_quantized(tensor))
        become_blocks(item, blocks_asked_for(job, tensor->role));
    return true;
}

void px_gguf_nearest(const px_export *job, px_export_item *item, int bits)
{
    (void)job;
    become_blocks(item, bits == 8 ? "Q8_0" : "Q4_1");
    if (item->tensor->columns % PX_GGUF_BLOCK == 0) return;
    item->encoding = NULL;
    item->type = PX_FLOAT_F16;
}

/* llama.cpp takes the sizes of qkv and o from hidden_size. */
static phlox_status check_heads(const px_checkpoint *checkpoint, phlox_error *error)
{
    const px_desc *const desc = &checkpoint->desc;
    if (desc->num_attention_heads * desc->head_dim == desc->hidden_size) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: %d heads of head_dim %d are not the hidden_size %d, and llama.cpp runs no phi3 "
                   "where they are not; export another form", checkpoint->path,
                   (int)desc->num_attention_heads, (int)desc->head_dim, (int)desc->hidden_size);
}

static phlox_status check_words(const px_export *job, phlox_error *error)
{
    const phlox_model_options *const asked = &job->asked;
    px_quant_options quant;
    if (!asks_integers(job)) return PHLOX_OK;
    PX_TRY(px_quant_options_resolve(asked, &quant, error));
    if (asked->weight_format == PHLOX_WEIGHTS_INT8 && asked->symmetry == PHLOX_ASYM)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "asym: 8-bit blocks of GGUF (Q8_0) are symmetric; leave it out");
    if (asked->group_size != 0 && asked->group_size != PX_GGUF_BLOCK)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "group-size %d: blocks of GGUF have 32 columns; leave it out",
                       (int)asked->group_size);
    if ((asked->ratio > 0 && asked->ratio < 1) || asked->backup_precision != PHLOX_BACKUP_DEFAULT ||
        asked->group_size_fallback != PHLOX_FALLBACK_ERROR || asked->quant_method == PHLOX_QUANT_SEARCH)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "GGUF files are quantized as llama.cpp does, without ratio, backup-precision, "
                       "group-size-fallback and quant-method; leave these out");
    return PHLOX_OK;
}

static phlox_status check_columns(const px_export_item *item, phlox_error *error)
{
    const px_tensor *const tensor = item->tensor;
    if (!item->encoding || item->copied || tensor->columns % PX_GGUF_BLOCK == 0) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: tensor %s has rows of %lld values, which blocks of 32 do not divide; use "
                   "--weight-format fp16", tensor->file, tensor->name, (long long)tensor->columns);
}

/* ---- what is in the file ------------------------------------------------------------------- */

static const px_gguf_encoding *encoding_of(const px_export_item *item)
{
    static const char *const floats[] = {"F32", "F16", "BF16"};
    return px_gguf_encoding_named(item->encoding ? item->encoding : floats[item->type]);
}

static struct place *add_place(struct writer *w, const char *name, int64_t rows, int64_t columns,
                               const px_gguf_encoding *encoding)
{
    struct place *const place = &w->places[w->count++];
    *place = (struct place){.encoding = encoding, .rows = rows, .columns = columns, .offset = w->end};
    snprintf(place->name, sizeof place->name, "%s", name);
    place->size = (uint64_t)PX_MAX(rows, 1) * (uint64_t)(columns / encoding->columns) *
                  (uint64_t)encoding->bytes;
    w->end += (place->size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return place;
}

static void add_tensor(void *user, px_role role, int32_t layer)
{
    struct writer *const w = user;
    char name[PX_GGUF_NAME_SIZE] = "";
    const size_t used =
        px_role_is_layered(role) ? (size_t)snprintf(name, sizeof name, "blk.%d.", (int)layer) : 0;
    snprintf(name + used, sizeof name - used, "%s", px_gguf_role_name(role));
    struct place *place;
    if (px_role_is_norm(role)) {
        const int64_t columns = px_checkpoint_tensor(w->job->checkpoint, role, layer)->columns;
        place = add_place(w, name, 0, columns, px_gguf_encoding_named("F32"));
    } else {
        const px_export_item *const item = px_export_find(w->job, role, layer);
        place = add_place(w, name, item->tensor->rows, item->tensor->columns, encoding_of(item));
        place->item = item;
    }
    place->role = role;
    place->layer = layer;
}

static phlox_status list_tensors(struct writer *w, phlox_error *error)
{
    const px_desc *const desc = &w->job->checkpoint->desc;
    const size_t most = px_export_each(w->job, NULL, NULL) + 2;
    w->places = px_calloc(most, sizeof *w->places);
    if (!w->places) return px_fail_memory(error, most * sizeof *w->places);
    px_export_each(w->job, add_tensor, w);
    if (!desc->longrope) return PHLOX_OK;
    const px_gguf_encoding *const f32 = px_gguf_encoding_named("F32");
    add_place(w, "rope_factors_long.weight", 0, desc->rotary_dim / 2, f32)->factors = desc->long_factor;
    add_place(w, "rope_factors_short.weight", 0, desc->rotary_dim / 2, f32)->factors = desc->short_factor;
    return PHLOX_OK;
}

/* That of most of the matrices' bytes. */
static uint32_t file_type_of(const struct writer *w)
{
    const px_gguf_encoding *best = NULL;
    uint64_t most = 0;
    for (size_t i = 0; i < w->count; i++) {
        uint64_t sum = 0;
        for (size_t j = 0; j < w->count && w->places[i].item; j++)
            if (w->places[j].item && w->places[j].encoding == w->places[i].encoding)
                sum += w->places[j].size;
        if (sum <= most) continue;
        most = sum;
        best = w->places[i].encoding;
    }
    return px_gguf_file_type(best->name);
}

/* ---- the header ---------------------------------------------------------------------------- */

static void put_places(px_gguf_keys *header, const struct writer *w)
{
    for (size_t i = 0; i < w->count; i++) {
        const struct place *const place = &w->places[i];
        px_gguf_add_text(header, place->name, strlen(place->name));
        px_gguf_add_u32(header, place->rows ? 2 : 1);
        px_gguf_add_u64(header, (uint64_t)place->columns);
        if (place->rows) px_gguf_add_u64(header, (uint64_t)place->rows);
        px_gguf_add_u32(header, place->encoding->id);
        px_gguf_add_u64(header, place->offset);
    }
}

/* Written when the keys are known, since their number stands in front. */
static phlox_status open_file(struct writer *w, const px_gguf_keys *keys, phlox_error *error)
{
    static const uint8_t zeros[ALIGNMENT];
    px_gguf_keys start = {.error = error}, places = {.error = error};
    px_gguf_add_u32(&start, UINT32_C(0x46554747)); /* "GGUF" */
    px_gguf_add_u32(&start, VERSION);
    px_gguf_add_u64(&start, w->count);
    px_gguf_add_u64(&start, keys->count);
    put_places(&places, w);
    phlox_status status = start.status != PHLOX_OK ? start.status : places.status;
    const uint64_t size = start.bytes.size + keys->bytes.size + places.bytes.size;
    w->data = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (status == PHLOX_OK) status = px_out_open(&w->file, w->job->out, w->data + w->end, error);
    const px_buffer *const parts[] = {&start.bytes, &keys->bytes, &places.bytes};
    uint64_t at = 0;
    for (size_t i = 0; i < PX_COUNT(parts) && status == PHLOX_OK; at += parts[i++]->size)
        status = px_out_write(&w->file, at, parts[i]->data, parts[i]->size, error);
    if (status == PHLOX_OK) status = px_out_write(&w->file, at, zeros, w->data - at, error);
    px_buffer_free(&start.bytes);
    px_buffer_free(&places.bytes);
    return status;
}

/* ---- the tensors --------------------------------------------------------------------------- */

struct filling {
    const px_out_file *file;
    const px_gguf_encoding *encoding;
    uint64_t offset; /* in the file */
};

static phlox_status fill_rows(void *user, const px_export_rows *rows, phlox_error *error)
{
    const struct filling *const filling = user;
    const px_gguf_encoding *const encoding = filling->encoding;
    const size_t row_bytes =
        (size_t)(rows->item->tensor->columns / encoding->columns) * (size_t)encoding->bytes;
    const size_t size = (size_t)rows->rows * row_bytes;
    const uint64_t offset = filling->offset + (uint64_t)rows->begin * row_bytes;
    if (encoding->columns == 1) return px_out_write(filling->file, offset, rows->values, size, error);
    uint8_t *const blocks = malloc(size);
    if (!blocks) return px_fail_memory(error, size);
    phlox_status status = PHLOX_OK;
    if (rows->q) px_gguf_pack(encoding, rows, blocks);
    else status = px_gguf_quantize(encoding, rows, blocks, error);
    if (status == PHLOX_OK) status = px_out_write(filling->file, offset, blocks, size, error);
    free(blocks);
    return status;
}

static phlox_status copy_rows(struct writer *w, const struct place *place, phlox_error *error)
{
    px_export *const job = w->job;
    const px_tensor *const tensor = place->item->tensor;
    const int64_t at_once = PX_MAX(COPY_BYTES / tensor->row_bytes, 1);
    for (int64_t row = 0, now; row < tensor->rows; row += now) {
        now = PX_MIN(tensor->rows - row, at_once);
        PX_TRY(px_out_write(&w->file, w->data + place->offset + (uint64_t)(row * tensor->row_bytes),
                            (const char *)tensor->data + row * tensor->row_bytes,
                            (size_t)(now * tensor->row_bytes), error));
        px_tensor_drop(tensor, row, now);
        job->state.done += (uint64_t)(now * tensor->row_bytes);
        if (job->progress && !job->progress(job->progress_user, &job->state))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "the export was cancelled");
    }
    return PHLOX_OK;
}

static phlox_status fill_floats(struct writer *w, const struct place *place, phlox_error *error)
{
    px_gguf_keys bytes = {.error = error};
    float *norm = NULL;
    if (!place->factors) PX_TRY(px_export_norm(w->job, place->role, place->layer, &norm, error));
    const float *const values = norm ? norm : place->factors;
    for (int64_t i = 0; i < place->columns; i++) px_gguf_add_f32(&bytes, values[i]);
    phlox_status status = bytes.status;
    if (status == PHLOX_OK)
        status = px_out_write(&w->file, w->data + place->offset, bytes.bytes.data, bytes.bytes.size, error);
    px_buffer_free(&bytes.bytes);
    free(norm);
    return status;
}

static phlox_status fill(struct writer *w, phlox_error *error)
{
    static const uint8_t zeros[ALIGNMENT];
    px_export_start(w->job);
    for (size_t i = 0; i < w->count; i++) {
        const struct place *const place = &w->places[i];
        const uint64_t end = place->offset + place->size;
        PX_TRY(px_out_write(&w->file, w->data + end, zeros, (ALIGNMENT - end % ALIGNMENT) % ALIGNMENT, error));
        struct filling filling = {&w->file, place->encoding, w->data + place->offset};
        if (!place->item) PX_TRY(fill_floats(w, place, error));
        else if (place->item->copied) PX_TRY(copy_rows(w, place, error));
        else PX_TRY(px_export_read(w->job, place->item, 0, place->rows, 1, fill_rows, &filling, error));
    }
    return px_out_commit(&w->file, error);
}

/* ---- all of it ----------------------------------------------------------------------------- */

static void write_note(const struct writer *w)
{
    const bool none = strcmp(w->vocabulary.model, "no_vocab") == 0;
    snprintf(w->job->note, w->job->note_size,
             "llama.cpp %s, since it %s; phlox reads the tokenizer.json that is in the file",
             none ? "will take ids only" : "makes other ids of a few texts", w->vocabulary.deviation);
}

static phlox_status write_file(struct writer *w, phlox_error *error)
{
    px_gguf_keys keys = {.error = error};
    PX_TRY(list_tensors(w, error));
    PX_TRY(px_gguf_vocabulary_read(w->job->checkpoint, &w->vocabulary, error));
    px_gguf_put_model(&keys, w->job, &w->vocabulary, file_type_of(w));
    px_gguf_put_vocabulary(&keys, &w->vocabulary);
    phlox_status status = keys.status;
    if (status == PHLOX_OK) status = open_file(w, &keys, error);
    px_buffer_free(&keys.bytes);
    if (w->vocabulary.deviation) write_note(w);
    return status == PHLOX_OK ? fill(w, error) : status;
}

phlox_status px_gguf_write(px_export *job, phlox_error *error)
{
    PX_TRY(check_words(job, error));
    PX_TRY(check_heads(job->checkpoint, error));
    for (size_t i = 0; i < job->count; i++) PX_TRY(check_columns(&job->items[i], error));
    struct writer writer = {.job = job, .file = {.descriptor = -1}};
    const phlox_status status = write_file(&writer, error);
    px_out_abandon(&writer.file);
    px_gguf_vocabulary_free(&writer.vocabulary);
    free(writer.places);
    return status;
}
