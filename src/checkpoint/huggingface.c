/* A Hugging Face checkpoint directory, as microsoft/Phi-3-mini-4k-instruct publishes it: config.json,
 * generation_config.json, safetensors in one file or in shards with an index, tokenizer.json,
 * tokenizer_config.json, special_tokens_map.json, chat_template.jinja. */
#include "checkpoint/huggingface.h"

#include "checkpoint/huggingface_quantized.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One file of tensors. */
struct shard {
    const px_dir_file *file;
    px_safetensors safetensors;
};

struct huggingface {
    px_directory directory;
    struct shard *shards; /* [PX_MOST_SHARDS] */
    size_t shard_count;
    px_hf_quantized quantized;
};

static void huggingface_close(void *owner)
{
    struct huggingface *const form = owner;
    for (size_t i = 0; i < form->shard_count; i++)
        px_safetensors_free(&form->shards[i].safetensors);
    px_directory_close(&form->directory);
    px_hf_quantized_free(&form->quantized);
    free(form->shards);
    free(form);
}

/* ---- tensors ------------------------------------------------------------------------------- */

/* Finds the module that a tensor belongs to, by the role of its weight, and the tensor's name in it;
 * PX_ROLES when it is none of the family's. */
static px_role role_of(const char *name, int64_t *layer, const char **suffix)
{
    *layer = 0;
    static const char prefix[] = "model.layers.";
    const bool layered = strncmp(name, prefix, sizeof prefix - 1) == 0;
    if (layered) {
        const char *digit = name + sizeof prefix - 1;
        if (!isdigit((unsigned char)*digit)) return PX_ROLES;
        for (; isdigit((unsigned char)*digit); digit++)
            *layer = PX_MIN(*layer * 10 + (*digit - '0'), INT32_MAX);
        if (*digit != '.') return PX_ROLES;
        name = digit + 1;
    }
    for (int role = 0; role < PX_ROLES; role++) {
        const char *const parameter = px_role_parameter((px_role)role);
        const size_t length = (size_t)(strrchr(parameter, '.') + 1 - parameter);
        if (px_role_is_layered((px_role)role) != layered || strncmp(name, parameter, length) != 0) continue;
        *suffix = name + length;
        return (px_role)role;
    }
    return PX_ROLES;
}

/* Whether a tensor that has no role would change the results. Others (old exports carry the rotary
 * buffers) are passed over, as transformers does. */
static bool would_matter(const px_desc *desc, const char *name, int64_t layer)
{
    const size_t length = strlen(name), suffix = strlen(".bias");
    return layer >= desc->num_hidden_layers ||
           (length > suffix && strcmp(name + length - suffix, ".bias") == 0);
}

/* Whether it is of a matrix that the published checkpoints have in one with others: GPTQModel 7 splits. */
static bool is_split(const char *name)
{
    static const char *const modules[] = {".q_proj.", ".k_proj.", ".v_proj.", ".gate_proj.", ".up_proj."};
    for (size_t i = 0; i < PX_COUNT(modules); i++)
        if (strstr(name, modules[i])) return true;
    return false;
}

static phlox_status place_tensor(struct huggingface *form, px_checkpoint *checkpoint,
                                 const px_dir_file *file, const px_st_entry *entry, phlox_error *error)
{
    const px_desc *const desc = &checkpoint->desc;
    int64_t layer;
    const char *suffix;
    px_role role = role_of(entry->name, &layer, &suffix);
    if (role != PX_ROLES && strcmp(suffix, "weight") != 0) {
        bool taken = false;
        if (layer < desc->num_hidden_layers)
            PX_TRY(px_hf_quantized_take(&form->quantized, file, entry, suffix, role, (int32_t)layer, &taken,
                                        error));
        if (taken) return PHLOX_OK;
        role = PX_ROLES;
    }
    if (role == PX_LM_HEAD && desc->tied_embeddings) return PHLOX_OK;
    if (would_matter(desc, entry->name, layer))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tensor %s is not part of a Phi3ForCausalLM of %d layers", file->path,
                       entry->name, desc->num_hidden_layers);
    if (role == PX_ROLES && is_split(entry->name))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tensor %s is part of a matrix; phlox reads qkv_proj and gate_up_proj as Phi-3 is "
                       "published", file->path, entry->name);
    if (role == PX_ROLES) return PHLOX_OK;
    px_tensor tensor = {.role = role, .layer = (int32_t)layer, .data = entry->data,
                        .mapped = file->map.data != NULL, .name = entry->name,
                        .file = file->path};
    if (!px_st_is_float(entry, &tensor.type))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tensor %s is %s; weights are BF16, F16 or F32", file->path,
                       entry->name, entry->dtype);
    px_role_shape(desc, role, &tensor.rows, &tensor.columns);
    const bool is_norm = px_role_is_norm(role);
    if (entry->dims != (is_norm ? 1 : 2) || entry->shape[entry->dims - 1] != tensor.columns ||
        (!is_norm && entry->shape[0] != tensor.rows))
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tensor %s has %d dimensions and the shape [%" PRId64 ", %" PRId64
                       "]; config.json makes it [%" PRId64 ", %" PRId64 "]",
                       file->path, entry->name, entry->dims, entry->shape[0], entry->shape[1],
                       tensor.rows, tensor.columns);
    tensor.row_bytes = tensor.columns * (int64_t)px_float_size(tensor.type);
    px_tensor *const place = &checkpoint->tensors[role][layer];
    if (place->data)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: tensor %s is also in %s", file->path,
                       entry->name, place->file);
    *place = tensor;
    checkpoint->stored_bytes += entry->size;
    if (role == PX_QKV) checkpoint->type = tensor.type;
    return PHLOX_OK;
}

/* Opens a shard and places its tensors; with an index, those that it says are in this shard. */
static phlox_status open_shard(struct huggingface *form, px_checkpoint *checkpoint,
                               const char *name, const json_t *map, struct shard **out,
                               phlox_error *error)
{
    px_dir_file *file;
    PX_TRY(px_directory_file(&form->directory, name, &file, error));
    struct shard *const shard = &form->shards[form->shard_count];
    PX_TRY(px_safetensors_parse(file->bytes, file->path, &shard->safetensors, error));
    form->shard_count++;
    shard->file = file;
    file->header_size = shard->safetensors.header_size;
    for (size_t i = 0; i < shard->safetensors.count; i++) {
        const px_st_entry *const entry = &shard->safetensors.entries[i];
        const char *const place = json_string_value(json_object_get(map, entry->name));
        if (!map || (place && strcmp(place, name) == 0))
            PX_TRY(place_tensor(form, checkpoint, file, entry, error));
    }
    *out = shard;
    return PHLOX_OK;
}

/* A shard is named by the index: it must be a plain file name. */
static bool is_plain_name(const json_t *value)
{
    const char *const name = json_string_value(value);
    return name && strlen(name) == json_string_length(value) && px_is_plain_name(name);
}

static phlox_status open_indexed(struct huggingface *form, px_checkpoint *checkpoint,
                                 const px_dir_file *index, const json_t *map, phlox_error *error)
{
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
    {
        const char *const name = json_string_value(value);
        if (!is_plain_name(value))
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s is in %s, which is not the name of a file beside it",
                           index->path, tensor, name ? name : "no file");
        struct shard *shard = NULL;
        for (size_t i = 0; i < form->shard_count && !shard; i++)
            if (strcmp(strrchr(form->shards[i].file->path, '/') + 1, name) == 0)
                shard = &form->shards[i];
        if (!shard) {
            if (form->shard_count == PX_MOST_SHARDS)
                return px_fail(error, PHLOX_ERROR_FORMAT, "%s: more than %d shards", index->path,
                               PX_MOST_SHARDS);
            PX_TRY(open_shard(form, checkpoint, name, map, &shard, error));
        }
        if (!json_object_get(shard->safetensors.header, tensor))
            return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                           "%s: tensor %s should be in %s and is not there; download both again",
                           index->path, tensor, name);
    }
    return PHLOX_OK;
}

static phlox_status open_tensors(struct huggingface *form, px_checkpoint *checkpoint,
                                 phlox_error *error)
{
    struct shard *shard;
    px_dir_file *index;
    phlox_status status = open_shard(form, checkpoint, "model.safetensors", NULL, &shard, error);
    if (status != PHLOX_ERROR_NOT_FOUND) return status;
    PX_TRY(px_directory_optional(&form->directory, "model.safetensors.index.json", &index, error));
    if (!index && form->quantized.weights_name)
        status = open_shard(form, checkpoint, form->quantized.weights_name, NULL, &shard, error);
    if (status != PHLOX_ERROR_NOT_FOUND) return status;
    if (!index)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                       "%s: neither model.safetensors nor model.safetensors.index.json is there; "
                       "download the whole checkpoint", checkpoint->path);
    PX_TRY(px_directory_check_json(index, error));
    json_t *json;
    PX_TRY(px_json_parse(index->bytes, index->path, true, &json, error));
    const json_t *const map = json_object_get(json, "weight_map");
    if (json_is_object(map)) status = open_indexed(form, checkpoint, index, map, error);
    else status = px_fail(error, PHLOX_ERROR_FORMAT, "%s: without a weight_map", index->path);
    json_decref(json);
    return status;
}

static phlox_status check_complete(const px_checkpoint *checkpoint, phlox_error *error)
{
    px_role role;
    int32_t layer;
    if (!px_checkpoint_lacks(checkpoint, &role, &layer)) return PHLOX_OK;
    char prefix[32] = "";
    if (px_role_is_layered(role)) snprintf(prefix, sizeof prefix, "model.layers.%d.", layer);
    return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                   "%s: tensor %s%s is in no .safetensors file (model.safetensors or its shards); "
                   "download the whole checkpoint",
                   checkpoint->path[0] ? checkpoint->path : "built-in", prefix,
                   px_role_parameter(role));
}

/* ---- opening ------------------------------------------------------------------------------- */

static phlox_status open_files(struct huggingface *form, px_checkpoint *out, phlox_error *error)
{
    PX_TRY(px_directory_open(&form->directory, error));
    form->shards = px_calloc(PX_MOST_SHARDS, sizeof *form->shards);
    if (!form->shards) return px_fail_memory(error, PX_MOST_SHARDS * sizeof *form->shards);
    PX_TRY(px_directory_read_config(&form->directory, out, error));
    PX_TRY(px_hf_quantized_open(&form->directory, &out->desc, &form->quantized, error));
    PX_TRY(open_tensors(form, out, error));
    PX_TRY(px_hf_quantized_place(&form->quantized, out, error));
    PX_TRY(check_complete(out, error));
    PX_TRY(px_directory_read_tokenizer(&form->directory, out, error));
    PX_TRY(px_directory_read_beside(&form->directory, out, error));
    PX_TRY(px_hf_quantized_mend(&form->quantized, out, error));
    return px_directory_read_state(&form->directory, out, error);
}

static phlox_status open_from(px_directory start, const char *name, px_checkpoint *out,
                              phlox_error *error)
{
    struct huggingface *const form = px_calloc(1, sizeof *form);
    if (!form) return px_fail_memory(error, sizeof *form);
    form->directory = start;
    out->form = name;
    out->path = start.path ? start.path : "";
    out->owner = form;
    out->close = huggingface_close;
    return open_files(form, out, error);
}

static bool huggingface_detect(const char *path)
{
    char config[4096];
    if (!px_is_directory(path)) return false;
    snprintf(config, sizeof config, "%s/config.json", path);
    return px_is_file(config);
}

static phlox_status huggingface_open(const char *path, px_checkpoint *out, phlox_error *error)
{
    return open_from((px_directory){.path = path}, "huggingface", out, error);
}

phlox_status px_huggingface_open_memory(const px_memory_file *files, size_t count,
                                        px_checkpoint *out, phlox_error *error)
{
    return open_from((px_directory){.memory = files, .memory_count = count}, "built-in", out,
                     error);
}

const px_form px_form_huggingface = {
    .name = "huggingface",
    .detect = huggingface_detect,
    .open = huggingface_open,
    .write = px_huggingface_write,
    .choose = px_huggingface_choose,
    .holds = px_huggingface_holds,
    .nearest = px_huggingface_nearest,
};
