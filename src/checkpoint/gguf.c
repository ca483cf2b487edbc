#include "checkpoint/gguf.h"

#include "checkpoint/config.h"
#include "checkpoint/directory.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_tokenizer.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_VOCAB = 1 << 22, MOST_FILE_NAME = 1024 };

struct gguf {
    px_directory directory;
    char *parent;    /* of the files */
    px_gguf *shards; /* [shard_count]; the first has the metadata */
    size_t shard_count;
    px_gguf_tensors found;
    px_buffer config, generation, tokenizer; /* texts of the files of Hugging Face */
};

static void gguf_close(void *owner)
{
    struct gguf *const form = owner;
    for (size_t i = 0; i < form->shard_count; i++) px_gguf_free(&form->shards[i]);
    px_directory_close(&form->directory);
    px_buffer_free(&form->config);
    px_buffer_free(&form->generation);
    px_buffer_free(&form->tokenizer);
    free(form->parent);
    free(form->shards);
    free(form);
}

/* ---- names of files ------------------------------------------------------------------------ */

/* "name-00002-of-00003.gguf": part 2 of 3. False, and one part, for other names. *base is the length
 * of what stands in front. */
static bool read_part(const char *name, size_t *base, int *part, int *parts)
{
    static const char shape[] = "-#####-of-#####.gguf";
    const size_t length = strlen(name), tail = sizeof shape - 1;
    *base = length;
    *part = *parts = 1;
    if (length < tail) return false;
    const char *const at = name + length - tail;
    for (size_t i = 0; i < tail; i++)
        if (shape[i] == '#' ? !isdigit((unsigned char)at[i]) : at[i] != shape[i]) return false;
    *base = length - tail;
    *part = atoi(at + 1);
    *parts = atoi(at + 10);
    return true;
}

static bool is_gguf_name(const char *name)
{
    const size_t length = strlen(name), suffix = strlen(".gguf");
    return length > suffix && strcmp(name + length - suffix, ".gguf") == 0;
}

/* The GGUF files of a directory. */
struct listing {
    char first[MOST_FILE_NAME]; /* in the order of names */
    char other[MOST_FILE_NAME]; /* of another model than the first */
    size_t count;
};

static bool same_model(const char *a, const char *b)
{
    size_t a_base, b_base;
    int part, a_parts, b_parts;
    const bool a_split = read_part(a, &a_base, &part, &a_parts);
    const bool b_split = read_part(b, &b_base, &part, &b_parts);
    return a_split && b_split && a_parts == b_parts && a_base == b_base &&
           memcmp(a, b, a_base) == 0;
}

static phlox_status visit_name(void *user, const px_dir_entry *entry, phlox_error *error)
{
    struct listing *const listing = user;
    (void)error;
    if (!is_gguf_name(entry->name) || strlen(entry->name) >= MOST_FILE_NAME) return PHLOX_OK;
    listing->count++;
    if (!listing->first[0]) {
        snprintf(listing->first, sizeof listing->first, "%s", entry->name);
        return PHLOX_OK;
    }
    if (!same_model(listing->first, entry->name))
        snprintf(listing->other, sizeof listing->other, "%s", entry->name);
    else if (strcmp(entry->name, listing->first) < 0)
        snprintf(listing->first, sizeof listing->first, "%s", entry->name);
    return PHLOX_OK;
}

static bool has_file(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return px_is_file(path);
}

/* A checkpoint of safetensors with a GGUF beside it is Hugging Face's. */
static bool gguf_detect(const char *path)
{
    if (px_is_directory(path)) {
        struct listing listing = {0};
        px_list_directory(path, visit_name, &listing, NULL);
        return listing.count && !has_file(path, "model.safetensors") &&
               !has_file(path, "model.safetensors.index.json");
    }
    px_map map;
    if (px_map_open(path, &map, NULL) != PHLOX_OK) return false;
    const bool found = px_gguf_has_magic(map.data, map.size);
    px_map_close(&map);
    return found;
}

/* The directory of the files and the name of the first one. */
static phlox_status find_files(struct gguf *form, const char *path, char name[MOST_FILE_NAME],
                               phlox_error *error)
{
    if (px_is_directory(path)) {
        struct listing listing = {0};
        PX_TRY(px_list_directory(path, visit_name, &listing, error));
        if (listing.other[0])
            return px_fail(error, PHLOX_ERROR_ARGUMENT,
                           "%s: GGUF files of several models, %s and %s; name one of them", path,
                           listing.first, listing.other);
        snprintf(name, MOST_FILE_NAME, "%s", listing.first);
        form->parent = px_strdup(path, strlen(path));
    } else {
        const char *const slash = strrchr(path, '/');
        const char *const file = slash ? slash + 1 : path;
        if (strlen(file) >= MOST_FILE_NAME)
            return px_fail(error, PHLOX_ERROR_ARGUMENT, "%s: the name is too long", path);
        snprintf(name, MOST_FILE_NAME, "%s", file);
        form->parent = !slash          ? px_strdup(".", 1)
                       : slash == path ? px_strdup("/", 1)
                                       : px_strdup(path, (size_t)(slash - path));
    }
    return form->parent ? PHLOX_OK : px_fail_memory(error, strlen(path));
}

/* ---- files --------------------------------------------------------------------------------- */

static phlox_status open_shard(struct gguf *form, const char *name, phlox_error *error)
{
    px_dir_file *file;
    PX_TRY(px_directory_file(&form->directory, name, &file, error));
    px_gguf *const shard = &form->shards[form->shard_count];
    PX_TRY(px_gguf_parse(file->bytes, file->path, shard, error));
    file->header_size = shard->header_size;
    form->shard_count++;
    return PHLOX_OK;
}

/* What a part of a split file says of itself. */
static phlox_status check_part(const px_gguf *shard, size_t index, size_t parts,
                               phlox_error *error)
{
    int64_t number, count;
    PX_TRY(px_gguf_int_or(shard, "split.no", 0, UINT16_MAX, 0, &number, error));
    PX_TRY(px_gguf_int_or(shard, "split.count", 0, UINT16_MAX, 0, &count, error));
    if ((count == 0 && parts == 1) || ((size_t)number == index && (size_t)count == parts))
        return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: it says that it is part %" PRId64 " of %" PRId64 ", its name says %zu of "
                   "%zu; download all parts again and keep their names", shard->name, number + 1,
                   count, index + 1, parts);
}

static phlox_status check_total(const struct gguf *form, phlox_error *error)
{
    int64_t total;
    size_t count = 0;
    for (size_t i = 0; i < form->shard_count; i++) count += form->shards[i].tensor_count;
    PX_TRY(px_gguf_int_or(&form->shards[0], "split.tensors.count", 0, INT32_MAX, (int64_t)count,
                          &total, error));
    if ((size_t)total == count) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: the parts should have %" PRId64 " tensors and have %zu; download them again",
                   form->shards[0].name, total, count);
}

/* Opens the file of this name or, if it is a part, all parts. */
static phlox_status open_shards(struct gguf *form, const char *name, phlox_error *error)
{
    size_t base;
    int part, parts;
    const bool is_split = read_part(name, &base, &part, &parts);
    if (parts < 1 || parts > PX_MOST_SHARDS || part < 1 || part > parts)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s/%s: part %d of %d; give parts their names back", form->parent, name,
                       part, parts);
    form->shards = px_calloc((size_t)parts, sizeof *form->shards);
    if (!form->shards) return px_fail_memory(error, (size_t)parts * sizeof *form->shards);
    for (int i = 1; i <= parts; i++) {
        char file[MOST_FILE_NAME + 64];
        snprintf(file, sizeof file, "%s", name);
        if (is_split)
            snprintf(file + base, sizeof file - base, "-%05d-of-%05d.gguf", i, parts);
        PX_TRY(open_shard(form, file, error));
        PX_TRY(check_part(&form->shards[i - 1], (size_t)i - 1, (size_t)parts, error));
    }
    return check_total(form, error);
}

/* ---- tensors ------------------------------------------------------------------------------- */

const char *px_gguf_role_name(px_role role)
{
    static const char *const names[PX_ROLES] = {
        [PX_EMBEDDING] = "token_embd.weight",  [PX_INPUT_NORM] = "attn_norm.weight",
        [PX_QKV] = "attn_qkv.weight",          [PX_O] = "attn_output.weight",
        [PX_POST_NORM] = "ffn_norm.weight",    [PX_GATE_UP] = "ffn_up.weight",
        [PX_DOWN] = "ffn_down.weight",         [PX_FINAL_NORM] = "output_norm.weight",
        [PX_LM_HEAD] = "output.weight",
    };
    return names[role];
}

/* Finds what a tensor is for; PX_ROLES when its name is not one of the architecture's. */
static px_role role_of(const char *name, int64_t *layer)
{
    *layer = 0;
    const bool layered = strncmp(name, "blk.", 4) == 0;
    if (layered) {
        const char *digit = name + 4;
        for (; isdigit((unsigned char)*digit); digit++)
            *layer = PX_MIN(*layer * 10 + (*digit - '0'), INT32_MAX);
        if (digit == name + 4 || *digit != '.') return PX_ROLES;
        name = digit + 1;
    }
    for (int role = 0; role < PX_ROLES; role++)
        if (px_role_is_layered((px_role)role) == layered &&
            strcmp(name, px_gguf_role_name((px_role)role)) == 0)
            return (px_role)role;
    return PX_ROLES;
}

static const px_gguf_tensor *find_tensor(const struct gguf *form, const char *name)
{
    for (size_t i = 0; i < form->shard_count; i++)
        for (size_t t = 0; t < form->shards[i].tensor_count; t++)
            if (strcmp(form->shards[i].tensors[t].name, name) == 0)
                return &form->shards[i].tensors[t];
    return NULL;
}

static phlox_status look_at_tensors(struct gguf *form, phlox_error *error)
{
    const char *const name = form->shards[0].name;
    const px_gguf_tensor *const embedding = find_tensor(form, px_gguf_role_name(PX_EMBEDDING));
    if (!embedding || embedding->dims != 2 || embedding->shape[1] > MOST_VOCAB)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: it has no matrix token_embd.weight; a model's own file is meant, with "
                       "all its parts", name);
    px_gguf_tensors *const found = &form->found;
    found->vocab_size = embedding->shape[1];
    found->tied = !find_tensor(form, px_gguf_role_name(PX_LM_HEAD));
    found->long_factors = find_tensor(form, "rope_factors_long.weight");
    found->short_factors = find_tensor(form, "rope_factors_short.weight");
    if (!found->long_factors != !found->short_factors)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: it has one of rope_factors_long.weight and rope_factors_short.weight; "
                       "both are needed", name);
    return PHLOX_OK;
}

static phlox_status check_shape(const px_tensor *tensor, const px_gguf_tensor *stored,
                                phlox_error *error)
{
    const bool is_norm = px_role_is_norm(tensor->role);
    if (is_norm && stored->encoding->columns > 1)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: tensor %s is %s; norms are floats",
                       tensor->file, stored->name, stored->encoding->name);
    if (stored->dims == (is_norm ? 1 : 2) && stored->shape[0] == tensor->columns &&
        stored->shape[1] == tensor->rows)
        return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: tensor %s has %d dimensions and the shape [%" PRId64 ", %" PRId64
                   "]; the keys make it [%" PRId64 ", %" PRId64 "]", tensor->file, stored->name,
                   stored->dims, stored->shape[1], stored->shape[0], tensor->rows,
                   tensor->columns);
}

static phlox_status place_tensor(px_checkpoint *checkpoint, const px_gguf *shard,
                                 const px_gguf_tensor *stored, phlox_error *error)
{
    int64_t layer;
    const px_role role = role_of(stored->name, &layer);
    if (strncmp(stored->name, "rope_factors_", 13) == 0) return PHLOX_OK;
    if (role == PX_ROLES || layer >= checkpoint->desc.num_hidden_layers)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tensor %s is not part of a phi3 model of %d layers", shard->name,
                       stored->name, checkpoint->desc.num_hidden_layers);
    px_tensor tensor = {.role = role, .layer = (int32_t)layer, .data = stored->data,
                        .mapped = true, .name = stored->name, .file = shard->name};
    px_role_shape(&checkpoint->desc, role, &tensor.rows, &tensor.columns);
    PX_TRY(check_shape(&tensor, stored, error));
    px_gguf_describe(stored->encoding, &tensor);
    px_tensor *const place = &checkpoint->tensors[role][layer];
    if (place->data)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: tensor %s is also in %s", shard->name,
                       stored->name, place->file);
    *place = tensor;
    checkpoint->stored_bytes += stored->size;
    checkpoint->quantized |= stored->encoding->columns > 1;
    if (role == PX_QKV) checkpoint->type = tensor.type;
    return PHLOX_OK;
}

static phlox_status check_complete(const px_checkpoint *checkpoint, phlox_error *error)
{
    px_role role;
    int32_t layer;
    if (!px_checkpoint_lacks(checkpoint, &role, &layer)) return PHLOX_OK;
    char prefix[32] = "";
    if (px_role_is_layered(role)) snprintf(prefix, sizeof prefix, "blk.%d.", layer);
    return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                   "%s: it has no tensor %s%s; download the whole file, or all parts",
                   checkpoint->path, prefix, px_gguf_role_name(role));
}

static phlox_status place_tensors(const struct gguf *form, px_checkpoint *out, phlox_error *error)
{
    for (size_t i = 0; i < form->shard_count; i++)
        for (size_t t = 0; t < form->shards[i].tensor_count; t++)
            PX_TRY(place_tensor(out, &form->shards[i], &form->shards[i].tensors[t], error));
    return check_complete(out, error);
}

/* ---- opening ------------------------------------------------------------------------------- */

static phlox_status check_architecture(const px_gguf *gguf, phlox_error *error)
{
    phlox_text architecture;
    PX_TRY(px_gguf_text_or(gguf, "general.architecture", "missing", &architecture, error));
    if (architecture.size == 4 && memcmp(architecture.data, "phi3", 4) == 0) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: general.architecture is %.*s; phlox runs the Phi-3 family, whose "
                   "architecture is phi3", gguf->name,
                   (int)PX_MIN(architecture.size, (size_t)40), architecture.data);
}

/* Where the vocabulary of llama.cpp does not say all, tokenizer.json may be in the file itself. */
static phlox_status read_tokenizer(struct gguf *form, px_checkpoint *out, phlox_error *error)
{
    const px_gguf *const first = &form->shards[0];
    PX_TRY(px_gguf_text_or(first, "tokenizer.chat_template", "", &out->chat_template, error));
    PX_TRY(px_gguf_text_or(first, "tokenizer.huggingface.json", "", &out->tokenizer_json, error));
    if (out->tokenizer_json.size) return PHLOX_OK;
    PX_TRY(px_gguf_tokenizer(first, form->found.vocab_size, &form->tokenizer, error));
    out->tokenizer_json = (phlox_text){form->tokenizer.data, form->tokenizer.size};
    return PHLOX_OK;
}

/* The files that a checkpoint of Hugging Face has, to go with an export. */
static phlox_status list_beside(const struct gguf *form, px_checkpoint *out, phlox_error *error)
{
    const px_memory_file files[] = {
        {"config.json", {form->config.data, form->config.size}},
        {"generation_config.json", {form->generation.data, form->generation.size}},
        {"tokenizer.json", out->tokenizer_json},
        {"chat_template.jinja", out->chat_template},
    };
    out->beside = px_calloc(PX_COUNT(files), sizeof *out->beside);
    if (!out->beside) return px_fail_memory(error, sizeof files);
    for (size_t i = 0; i < PX_COUNT(files); i++)
        if (files[i].bytes.size) out->beside[out->beside_count++] = files[i];
    return PHLOX_OK;
}

static phlox_status open_files(struct gguf *form, px_checkpoint *out, phlox_error *error)
{
    char name[MOST_FILE_NAME];
    PX_TRY(find_files(form, out->path, name, error));
    form->directory.path = form->parent;
    PX_TRY(px_directory_open(&form->directory, error));
    PX_TRY(open_shards(form, name, error));
    const px_gguf *const first = &form->shards[0];
    PX_TRY(check_architecture(first, error));
    PX_TRY(look_at_tensors(form, error));
    PX_TRY(px_gguf_config(first, &form->found, &form->config, error));
    PX_TRY(px_gguf_generation(first, form->found.vocab_size, &form->generation, error));
    PX_TRY(px_config_parse((phlox_text){form->config.data, form->config.size}, first->name,
                           (phlox_text){form->generation.data, form->generation.size}, first->name,
                           &out->desc, error));
    PX_TRY(px_checkpoint_make_room(out, error));
    PX_TRY(place_tensors(form, out, error));
    PX_TRY(read_tokenizer(form, out, error));
    PX_TRY(list_beside(form, out, error));
    return px_directory_read_state(&form->directory, out, error);
}

static phlox_status gguf_open(const char *path, px_checkpoint *out, phlox_error *error)
{
    struct gguf *const form = px_calloc(1, sizeof *form);
    if (!form) return px_fail_memory(error, sizeof *form);
    out->form = "gguf";
    out->path = path;
    out->owner = form;
    out->close = gguf_close;
    return open_files(form, out, error);
}

const px_form px_form_gguf = {
    .name = "gguf",       .detect = gguf_detect,       .open = gguf_open,
    .write = px_gguf_write, .choose = px_gguf_choose, .holds = px_gguf_holds,
    .nearest = px_gguf_nearest, .is_file = true,
};
