#include "engine/weights.h"

#include "engine/pack.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t checked_bytes = 256 << 20; /* larger checkpoints are not checked when opened */

/* A part of a packed item is a section, where there is any. */
static size_t part_bytes(const px_plan_item *item, int part)
{
    return item->as_stored ? 0 : item->bytes[part];
}

/* Where packed parts go: a file of the cache, or one block of memory. */
struct sink {
    px_cache_writer *writer;
    uint8_t *memory;
    px_cache_section *sections; /* [count]; offsets into memory when there is no writer */
    size_t count;
};

/* ---- converting ---------------------------------------------------------------------------- */

/* A thread takes a block of rows at a time; between slices progress is reported. Blocks begin with a
 * tile of rows. */
enum { BLOCK_BYTES = 1 << 20, SLICE_BLOCKS = 32, ROW_GRAIN = PX_ROW_TILE };

struct conversion {
    const px_plan_item *item;
    struct sink *sink;
    size_t first_section;
    int64_t first_row; /* of the slice */
};

static phlox_status put(struct sink *sink, size_t section, size_t offset, const void *data,
                        size_t size, phlox_error *error)
{
    if (sink->writer) return px_cache_write(sink->writer, section, offset, data, size, error);
    memcpy(sink->memory + sink->sections[section].offset + offset, data, size);
    return PHLOX_OK;
}

static phlox_status convert_block(const struct conversion *job, int64_t begin, int64_t end,
                                  phlox_error *error)
{
    const px_plan_item *const item = job->item;
    const size_t all = (size_t)px_weight_padded_rows(item->type, item->tensor->rows);
    const size_t rows = (size_t)px_weight_padded_rows(item->type, end - begin);
    size_t offset[PX_PARTS + 1] = {0}, from[PX_PARTS], size[PX_PARTS];
    for (int part = 0; part < PX_PARTS; part++) {
        const size_t row = part_bytes(item, part) / all;
        from[part] = row * (size_t)begin;
        size[part] = row * rows;
        offset[part + 1] = offset[part] + ((size[part] + 63) & ~(size_t)63);
    }
    uint8_t *const block = px_aligned_alloc(offset[PX_PARTS]);
    if (!block) return px_fail_memory(error, offset[PX_PARTS]);
    void *parts[PX_PARTS];
    for (int part = 0; part < PX_PARTS; part++) parts[part] = size[part] ? block + offset[part] : NULL;
    phlox_status status = px_pack_rows(item, begin, end, parts, error);
    size_t section = job->first_section;
    for (int part = 0; part < PX_PARTS && status == PHLOX_OK; part++) {
        if (!size[part]) continue;
        status = put(job->sink, section++, from[part], block + offset[part], size[part], error);
    }
    px_aligned_free(block);
    px_tensor_drop(item->tensor, begin, end - begin);
    return status;
}

static phlox_status convert_rows(void *context, int64_t begin, int64_t end, phlox_error *error)
{
    const struct conversion *const job = context;
    return convert_block(job, job->first_row + begin, job->first_row + end, error);
}

/* Converts one item; progress->done grows by its bytes. */
static phlox_status convert_item(const px_plan_item *item, size_t first_section,
                                 const phlox_model_options *options, px_pool *pool,
                                 struct sink *sink, phlox_progress *progress, phlox_error *error)
{
    struct conversion job = {.item = item, .sink = sink, .first_section = first_section};
    const int64_t row_bytes = item->tensor->row_bytes;
    const int64_t block = PX_MAX(BLOCK_BYTES / row_bytes / ROW_GRAIN, 1) * ROW_GRAIN;
    for (int64_t size; job.first_row < item->tensor->rows; job.first_row += size) {
        size = PX_MIN(item->tensor->rows - job.first_row, SLICE_BLOCKS * block);
        PX_TRY(px_pool_try(pool, size, block, convert_rows, &job, error));
        progress->done += (uint64_t)(size * row_bytes);
        if (options->progress && !options->progress(options->progress_user, progress))
            return px_fail(error, PHLOX_ERROR_CANCELLED, "opening the model was cancelled");
    }
    return PHLOX_OK;
}

static phlox_status convert(const px_plan *plan, const phlox_model_options *options, px_pool *pool,
                            struct sink *sink, phlox_error *error)
{
    phlox_progress progress = {.what = "packing weights", .is_bytes = true};
    for (size_t i = 0; i < plan->count; i++) {
        const px_tensor *const tensor = plan->items[i].tensor;
        if (!plan->items[i].as_stored)
            progress.total += (uint64_t)(tensor->rows * tensor->row_bytes);
    }
    size_t section = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const px_plan_item *const item = &plan->items[i];
        if (item->as_stored) continue;
        PX_TRY(convert_item(item, section, options, pool, sink, &progress, error));
        for (int part = 0; part < PX_PARTS; part++) section += part_bytes(item, part) > 0;
    }
    return PHLOX_OK;
}

/* ---- the packed form ----------------------------------------------------------------------- */

static phlox_status list_sections(const px_plan *plan, struct sink *sink, phlox_error *error)
{
    const size_t most = plan->count * PX_PARTS;
    sink->sections = px_calloc(most, sizeof *sink->sections);
    if (!sink->sections) return px_fail_memory(error, most * sizeof *sink->sections);
    static const char *const names[PX_PARTS] = {"data",   "scales",      "zeros",
                                                "minima", "scale steps", "minimum steps"};
    uint64_t offset = 0;
    for (size_t i = 0; i < plan->count; i++) {
        for (int part = 0; part < PX_PARTS; part++) {
            const size_t size = part_bytes(&plan->items[i], part);
            if (!size) continue;
            px_cache_section *const section = &sink->sections[sink->count++];
            snprintf(section->name, sizeof section->name, "%d.%d.%s",
                     (int)plan->items[i].tensor->role, plan->items[i].tensor->layer, names[part]);
            section->size = size;
            section->offset = offset;
            offset += (size + 63) & ~(uint64_t)63;
        }
    }
    return PHLOX_OK;
}

static bool sections_match(const px_cache_file *file, const struct sink *sink)
{
    if (file->count != sink->count) return false;
    for (size_t i = 0; i < sink->count; i++) {
        if (strcmp(file->sections[i].name, sink->sections[i].name) != 0 ||
            file->sections[i].size != sink->sections[i].size)
            return false;
    }
    return true;
}

static phlox_status pack_to_memory(const px_plan *plan, const phlox_model_options *options,
                                   px_pool *pool, struct sink *sink, px_weights *out,
                                   phlox_error *error)
{
    const px_cache_section *const last = &sink->sections[sink->count - 1];
    const size_t bytes = (size_t)(last->offset + last->size);
    out->memory = sink->memory = px_aligned_alloc(bytes);
    if (!out->memory) return px_fail_memory(error, bytes);
    return convert(plan, options, pool, sink, error);
}

static phlox_status pack_to_cache(const px_checkpoint *checkpoint, const px_plan *plan,
                                  const phlox_model_options *options, const char *cache_dir,
                                  px_pool *pool, struct sink *sink, px_weights *out,
                                  phlox_error *error)
{
    char *const source = px_real_path(checkpoint->path);
    if (!source) return px_fail_memory(error, strlen(checkpoint->path));
    const px_cache_key key = {"weights", source, checkpoint->state, plan->variant};
    phlox_status status = px_cache_open(cache_dir, &key, options->progress, options->progress_user,
                                        &out->file, error);
    if (status == PHLOX_ERROR_CANCELLED) {
        free(source);
        return status;
    }
    if (status == PHLOX_OK && sections_match(&out->file, sink)) {
        out->from_cache = true;
        free(source);
        return PHLOX_OK;
    }
    px_cache_close(&out->file);
    status = px_cache_create(cache_dir, options->cache_limit, &key, sink->sections, sink->count,
                             &sink->writer, error);
    if (status == PHLOX_OK) {
        status = convert(plan, options, pool, sink, error);
        if (status == PHLOX_OK) status = px_cache_commit(sink->writer, error);
        else px_cache_abandon(sink->writer);
    }
    if (status == PHLOX_ERROR_IO || status == PHLOX_ERROR_NOT_FOUND)
        px_error_advise(error, status, "name another place with --cache-dir or use --no-cache");
    if (status == PHLOX_OK) {
        status = px_cache_open(cache_dir, &key, options->progress, options->progress_user,
                               &out->file, error);
        if (status == PHLOX_ERROR_NOT_FOUND)
            status = px_fail(error, PHLOX_ERROR_IO,
                             "%s: the packed weights were removed while they were opened; start "
                             "again, with a larger --cache-limit if another start made room",
                             cache_dir);
    }
    free(source);
    return status;
}

static const void *section_data(const px_weights *weights, const struct sink *sink, size_t index)
{
    if (weights->memory) return (const char *)weights->memory + sink->sections[index].offset;
    return px_cache_data(&weights->file, index);
}

static px_weight *place_of(px_weights *weights, const px_tensor *tensor)
{
    px_layer_weights *const layer = &weights->layers[tensor->layer];
    switch (tensor->role) {
    case PX_EMBEDDING: return &weights->embedding;
    case PX_LM_HEAD: return &weights->lm_head;
    case PX_QKV: return &layer->qkv;
    case PX_O: return &layer->o;
    case PX_GATE_UP: return &layer->gate_up;
    default: return &layer->down;
    }
}

static void bind(const px_plan *plan, const struct sink *sink, px_weights *weights)
{
    size_t section = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const px_plan_item *const item = &plan->items[i];
        px_weight weight = {.type = item->type, .rows = item->tensor->rows,
                            .columns = item->tensor->columns,
                            .group_size = item->group_size ? item->group_size
                                                           : item->tensor->columns,
                            .row_bytes = px_weight_row_bytes(item->type, item->tensor->columns),
                            .prefetch = PX_PREFETCH_AHEAD};
        if (item->as_stored) {
            weight.data = item->tensor->data;
        } else {
            const void *parts[PX_PARTS];
            for (int part = 0; part < PX_PARTS; part++)
                parts[part] = item->bytes[part] ? section_data(weights, sink, section++) : NULL;
            weight.half_scales = item->half_scales;
            px_weight_place(&weight, parts);
        }
        *place_of(weights, item->tensor) = weight;
    }
}

/* ---- norms --------------------------------------------------------------------------------- */

static phlox_status load_norm(const px_checkpoint *checkpoint, px_role role, int32_t layer,
                              float *out, phlox_error *error)
{
    const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, role, layer);
    px_tensor_load(tensor, 0, 1, out, NULL);
    for (int64_t i = 0; i < tensor->columns; i++) {
        if (!isfinite(out[i]))
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s: column %" PRId64 " is %g, which is not a weight; "
                           "download the file again", tensor->file, tensor->name, i,
                           (double)out[i]);
    }
    return PHLOX_OK;
}

static phlox_status load_norms(const px_checkpoint *checkpoint, px_weights *out,
                               phlox_error *error)
{
    const size_t hidden = (size_t)checkpoint->desc.hidden_size;
    const int32_t layers = checkpoint->desc.num_hidden_layers;
    const size_t count = (2 * (size_t)layers + 1) * hidden;
    out->norms = px_aligned_alloc(count * sizeof *out->norms);
    if (!out->norms) return px_fail_memory(error, count * sizeof *out->norms);
    float *norm = out->norms;
    for (int32_t i = 0; i < layers; i++, norm += 2 * hidden) {
        PX_TRY(load_norm(checkpoint, PX_INPUT_NORM, i, norm, error));
        PX_TRY(load_norm(checkpoint, PX_POST_NORM, i, norm + hidden, error));
        out->layers[i].input_norm = norm;
        out->layers[i].post_norm = norm + hidden;
    }
    out->final_norm = norm;
    return load_norm(checkpoint, PX_FINAL_NORM, 0, norm, error);
}

/* ---- checking ------------------------------------------------------------------------------ */

static phlox_status check_tensor(const px_tensor *tensor, float *row, phlox_error *error)
{
    const size_t columns = (size_t)tensor->columns;
    for (int64_t r = 0; r < tensor->rows; r++) {
        px_tensor_load(tensor, r, 1, row, NULL);
        for (size_t c = 0; c < columns; c++) {
            if (!isfinite(row[c]))
                return px_fail(error, PHLOX_ERROR_FORMAT,
                               "%s: tensor %s: row %" PRId64 ", column %zu is %g, which is not a "
                               "weight; download the file again", tensor->file, tensor->name, r, c,
                               (double)row[c]);
        }
    }
    return PHLOX_OK;
}

phlox_status px_weights_check(const px_checkpoint *checkpoint, phlox_error *error)
{
    const px_desc *const desc = &checkpoint->desc;
    const int64_t widest = PX_MAX(PX_MAX(desc->hidden_size, desc->intermediate_size),
                                  (int64_t)desc->num_attention_heads * desc->head_dim);
    float *const row = px_calloc((size_t)widest, sizeof *row);
    if (!row) return px_fail_memory(error, (size_t)widest * sizeof *row);
    phlox_status status = PHLOX_OK;
    for (int role = 0; role < PX_ROLES && status == PHLOX_OK; role++) {
        const int32_t count = px_role_is_layered((px_role)role) ? desc->num_hidden_layers : 1;
        for (int32_t layer = 0; layer < count && status == PHLOX_OK; layer++) {
            const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, (px_role)role, layer);
            if (tensor && !tensor->integers.bits) status = check_tensor(tensor, row, error);
        }
    }
    free(row);
    return status;
}

/* ---- loading ------------------------------------------------------------------------------- */

static phlox_status load_planned(const px_checkpoint *checkpoint, const px_plan *plan,
                                 const phlox_model_options *options, const char *cache_dir,
                                 px_pool *pool, struct sink *sink, px_weights *out,
                                 phlox_error *error)
{
    PX_TRY(list_sections(plan, sink, error));
    if (plan->converts && cache_dir)
        PX_TRY(pack_to_cache(checkpoint, plan, options, cache_dir, pool, sink, out, error));
    else if (plan->converts)
        PX_TRY(pack_to_memory(plan, options, pool, sink, out, error));
    /* What is packed was checked on the way. What is as stored is checked where that is quick; in
     * large checkpoints it shows in the logits. */
    bool keeps = false;
    for (size_t i = 0; i < plan->count; i++) keeps |= plan->items[i].as_stored;
    if (keeps && checkpoint->stored_bytes <= checked_bytes)
        PX_TRY(px_weights_check(checkpoint, error));
    bind(plan, sink, out);
    out->bytes = px_plan_bytes(plan);
    out->step_bytes = px_plan_step_bytes(plan);
    if (checkpoint->desc.tied_embeddings) out->lm_head = out->embedding;
    snprintf(out->summary, sizeof out->summary, "%s", plan->summary);
    return PHLOX_OK;
}

phlox_status px_weights_load(const px_checkpoint *checkpoint, const phlox_model_options *options,
                             const char *cache_dir, px_pool *pool, px_weights *out,
                             phlox_error *error)
{
    px_weights weights = {0};
    px_plan plan = {0};
    struct sink sink = {0};
    const size_t layers = (size_t)checkpoint->desc.num_hidden_layers;
    weights.layers = px_calloc(layers, sizeof *weights.layers);
    phlox_status status = weights.layers ? PHLOX_OK : px_fail_memory(error, layers);
    if (status == PHLOX_OK) status = load_norms(checkpoint, &weights, error);
    if (status == PHLOX_OK) status = px_plan_make(checkpoint, options, pool, &plan, error);
    if (status == PHLOX_OK)
        status = load_planned(checkpoint, &plan, options, cache_dir, pool, &sink, &weights, error);
    free(sink.sections);
    px_plan_free(&plan);
    if (status != PHLOX_OK) {
        px_weights_free(&weights);
        return status;
    }
    *out = weights;
    return PHLOX_OK;
}

void px_weights_free(px_weights *weights)
{
    px_cache_close(&weights->file);
    px_aligned_free(weights->memory);
    px_aligned_free(weights->norms);
    free(weights->layers);
    *weights = (px_weights){0};
}
