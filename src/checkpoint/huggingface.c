/* A Hugging Face checkpoint directory, as microsoft/Phi-3-mini-4k-instruct publishes it: config.json,
 * generation_config.json, safetensors in one file or in shards with an index, tokenizer.json,
 * tokenizer_config.json, special_tokens_map.json, chat_template.jinja. */
#include "checkpoint/huggingface.h"

#include "base/cache.h"
#include "checkpoint/config.h"
#include "checkpoint/safetensors.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHARDS = 4096, MOST_JSON_BYTES = 1 << 28 };

/* One opened file, in the order of opening. */
struct file {
    char *path;
    px_map map; /* data is NULL for a file of the built-in model */
    phlox_text bytes;
    px_safetensors safetensors; /* of a shard */
};

struct directory {
    const char *path;              /* NULL: the built-in model */
    const px_memory_file *memory;  /* only read while opening */
    size_t memory_count;
    struct file *files;            /* [MOST_SHARDS + 8] */
    size_t file_count;
    json_t *tokenizer_config, *special_tokens; /* hold strings that the checkpoint points to */
};

static phlox_status find_memory(const struct directory *directory, const char *name,
                                phlox_text *out, phlox_error *error)
{
    for (size_t i = 0; i < directory->memory_count; i++) {
        if (strcmp(directory->memory[i].name, name) != 0) continue;
        *out = directory->memory[i].bytes;
        return PHLOX_OK;
    }
    return px_fail(error, PHLOX_ERROR_NOT_FOUND, "the built-in model has no %s", name);
}

static phlox_status open_file(struct directory *directory, const char *name, struct file **out,
                              phlox_error *error)
{
    struct file *const file = &directory->files[directory->file_count];
    const size_t size = strlen(name) + (directory->path ? strlen(directory->path) : 8) + 2;
    char *const path = malloc(size);
    if (!path) return px_fail_memory(error, size);
    snprintf(path, size, "%s/%s", directory->path ? directory->path : "built-in", name);
    phlox_status status;
    if (directory->path) {
        status = px_map_open(path, &file->map, error);
        file->bytes = (phlox_text){(const char *)file->map.data, file->map.size};
    } else {
        status = find_memory(directory, name, &file->bytes, error);
    }
    if (status != PHLOX_OK) {
        free(path);
        return status;
    }
    file->path = path;
    directory->file_count++;
    *out = file;
    return PHLOX_OK;
}

/* Like open_file, but an absent file is an empty one (*out == NULL). */
static phlox_status open_optional(struct directory *directory, const char *name, struct file **out,
                                  phlox_error *error)
{
    *out = NULL;
    const phlox_status status = open_file(directory, name, out, error);
    return status == PHLOX_ERROR_NOT_FOUND ? PHLOX_OK : status;
}

static phlox_status check_json_size(const struct file *file, phlox_error *error)
{
    if (!file->bytes.size)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: empty; download it again", file->path);
    if (file->bytes.size <= MOST_JSON_BYTES) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT, "%s: %zu bytes are too many for this file",
                   file->path, file->bytes.size);
}

static void directory_close(void *owner)
{
    struct directory *const directory = owner;
    for (size_t i = 0; i < directory->file_count; i++) {
        struct file *const file = &directory->files[i];
        px_safetensors_free(&file->safetensors);
        px_map_close(&file->map);
        free(file->path);
    }
    json_decref(directory->tokenizer_config);
    json_decref(directory->special_tokens);
    free(directory->files);
    free(directory);
}

/* ---- tensors ------------------------------------------------------------------------------- */

static const struct role_name {
    const char *name;
    px_role role;
} model_names[] = {
    {"model.embed_tokens.weight", PX_EMBEDDING},
    {"model.norm.weight", PX_FINAL_NORM},
    {"lm_head.weight", PX_LM_HEAD},
}, layer_names[] = {
    {"input_layernorm.weight", PX_INPUT_NORM},
    {"self_attn.qkv_proj.weight", PX_QKV},
    {"self_attn.o_proj.weight", PX_O},
    {"post_attention_layernorm.weight", PX_POST_NORM},
    {"mlp.gate_up_proj.weight", PX_GATE_UP},
    {"mlp.down_proj.weight", PX_DOWN},
};

/* Finds what a tensor is for; PX_ROLES when its name is not one of the family's. */
static px_role role_of(const char *name, int64_t *layer)
{
    *layer = 0;
    for (size_t i = 0; i < PX_COUNT(model_names); i++)
        if (strcmp(name, model_names[i].name) == 0) return model_names[i].role;
    static const char prefix[] = "model.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return PX_ROLES;
    const char *digit = name + sizeof prefix - 1;
    if (!isdigit((unsigned char)*digit)) return PX_ROLES;
    for (; isdigit((unsigned char)*digit); digit++)
        *layer = PX_MIN(*layer * 10 + (*digit - '0'), INT32_MAX);
    if (*digit != '.') return PX_ROLES;
    for (size_t i = 0; i < PX_COUNT(layer_names); i++)
        if (strcmp(digit + 1, layer_names[i].name) == 0) return layer_names[i].role;
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

static bool float_type_of(const char *dtype, px_float_type *out)
{
    if (strcmp(dtype, "BF16") == 0) *out = PX_FLOAT_BF16;
    else if (strcmp(dtype, "F16") == 0) *out = PX_FLOAT_F16;
    else if (strcmp(dtype, "F32") == 0) *out = PX_FLOAT_F32;
    else return false;
    return true;
}

static phlox_status place_tensor(px_checkpoint *checkpoint, const struct file *file,
                                 const px_st_entry *entry, phlox_error *error)
{
    const px_desc *const desc = &checkpoint->desc;
    int64_t layer;
    const px_role role = role_of(entry->name, &layer);
    if (role == PX_LM_HEAD && desc->tied_embeddings) return PHLOX_OK;
    if (would_matter(desc, entry->name, layer))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tensor %s is not part of a Phi3ForCausalLM of %d layers", file->path,
                       entry->name, desc->num_hidden_layers);
    if (role == PX_ROLES) return PHLOX_OK;
    px_tensor tensor = {.role = role, .layer = (int32_t)layer, .data = entry->data,
                        .mapped = file->map.data != NULL, .name = entry->name,
                        .file = file->path};
    if (!float_type_of(entry->dtype, &tensor.type))
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
static phlox_status open_shard(struct directory *directory, px_checkpoint *checkpoint,
                               const char *name, const json_t *map, struct file **out,
                               phlox_error *error)
{
    struct file *file;
    PX_TRY(open_file(directory, name, &file, error));
    PX_TRY(px_safetensors_parse(file->bytes, file->path, &file->safetensors, error));
    for (size_t i = 0; i < file->safetensors.count; i++) {
        const px_st_entry *const entry = &file->safetensors.entries[i];
        const char *const shard = json_string_value(json_object_get(map, entry->name));
        if (!map || (shard && strcmp(shard, name) == 0))
            PX_TRY(place_tensor(checkpoint, file, entry, error));
    }
    *out = file;
    return PHLOX_OK;
}

/* A shard is named by the index: it must be a plain file name. */
static bool is_plain_name(const json_t *value)
{
    const char *const name = json_string_value(value);
    return name && name[0] && name[0] != '.' && strlen(name) == json_string_length(value) &&
           !strchr(name, '/') && !strchr(name, '\\');
}

static phlox_status open_indexed(struct directory *directory, px_checkpoint *checkpoint,
                                 const struct file *index, const json_t *map, phlox_error *error)
{
    const size_t first = directory->file_count;
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
    {
        const char *const name = json_string_value(value);
        if (!is_plain_name(value))
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s is in %s, which is not the name of a file beside it",
                           index->path, tensor, name ? name : "no file");
        struct file *shard = NULL;
        for (size_t i = first; i < directory->file_count && !shard; i++)
            if (strcmp(strrchr(directory->files[i].path, '/') + 1, name) == 0)
                shard = &directory->files[i];
        if (!shard) {
            if (directory->file_count - first >= MOST_SHARDS)
                return px_fail(error, PHLOX_ERROR_FORMAT, "%s: more than %d shards", index->path,
                               MOST_SHARDS);
            PX_TRY(open_shard(directory, checkpoint, name, map, &shard, error));
        }
        if (!json_object_get(shard->safetensors.header, tensor))
            return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                           "%s: tensor %s should be in %s and is not there; download both again",
                           index->path, tensor, name);
    }
    return PHLOX_OK;
}

static phlox_status open_tensors(struct directory *directory, px_checkpoint *checkpoint,
                                 phlox_error *error)
{
    struct file *file, *index;
    phlox_status status =
        open_shard(directory, checkpoint, "model.safetensors", NULL, &file, error);
    if (status != PHLOX_ERROR_NOT_FOUND) return status;
    PX_TRY(open_optional(directory, "model.safetensors.index.json", &index, error));
    if (!index)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                       "%s: neither model.safetensors nor model.safetensors.index.json is there; "
                       "download the whole checkpoint", checkpoint->path);
    PX_TRY(check_json_size(index, error));
    json_t *json;
    PX_TRY(px_json_parse(index->bytes, index->path, true, &json, error));
    const json_t *const map = json_object_get(json, "weight_map");
    if (json_is_object(map)) status = open_indexed(directory, checkpoint, index, map, error);
    else status = px_fail(error, PHLOX_ERROR_FORMAT, "%s: without a weight_map", index->path);
    json_decref(json);
    return status;
}

static phlox_status check_complete(const px_checkpoint *checkpoint, phlox_error *error)
{
    for (int role = 0; role < PX_ROLES; role++) {
        if (role == PX_LM_HEAD && checkpoint->desc.tied_embeddings) continue;
        const bool layered = px_role_is_layered((px_role)role);
        const int32_t count = layered ? checkpoint->desc.num_hidden_layers : 1;
        for (int32_t layer = 0; layer < count; layer++) {
            if (px_checkpoint_tensor(checkpoint, (px_role)role, layer)) continue;
            char name[128] = "";
            for (size_t i = 0; i < PX_COUNT(model_names); i++)
                if ((int)model_names[i].role == role)
                    snprintf(name, sizeof name, "%s", model_names[i].name);
            for (size_t i = 0; i < PX_COUNT(layer_names); i++)
                if ((int)layer_names[i].role == role)
                    snprintf(name, sizeof name, "model.layers.%d.%s", layer, layer_names[i].name);
            return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                           "%s: tensor %s is in no .safetensors file (model.safetensors or its "
                           "shards); download the whole checkpoint",
                           checkpoint->path[0] ? checkpoint->path : "built-in", name);
        }
    }
    return PHLOX_OK;
}

/* ---- tokenizer files ----------------------------------------------------------------------- */

/* The template is a text, or a list of named ones of which "default" is meant. */
static const json_t *default_template(const json_t *value)
{
    if (!json_is_array(value)) return value;
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)value, i, entry)
    {
        const char *const name = json_string_value(json_object_get(entry, "name"));
        if (name && strcmp(name, "default") == 0) return json_object_get(entry, "template");
    }
    return NULL;
}

/* A JSON file beside the weights; *out stays NULL when there is none. */
static phlox_status open_json(struct directory *directory, const char *name, json_t **out,
                              phlox_error *error)
{
    struct file *file;
    PX_TRY(open_optional(directory, name, &file, error));
    if (!file) return PHLOX_OK;
    PX_TRY(check_json_size(file, error));
    PX_TRY(px_json_parse(file->bytes, file->path, false, out, error));
    if (json_is_object(*out)) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT, "%s: not a JSON object", file->path);
}

/* A special token is a text or an object with its content. */
static const char *token_content(const json_t *object, const char *key)
{
    const json_t *const token = json_object_get(object, key);
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

static phlox_status read_tokenizer(struct directory *directory, px_checkpoint *checkpoint,
                                   phlox_error *error)
{
    struct file *file;
    PX_TRY(open_optional(directory, "tokenizer.json", &file, error));
    if (file) {
        PX_TRY(check_json_size(file, error));
        checkpoint->tokenizer_json = file->bytes;
    }
    PX_TRY(open_json(directory, "tokenizer_config.json", &directory->tokenizer_config, error));
    PX_TRY(open_json(directory, "special_tokens_map.json", &directory->special_tokens, error));
    const json_t *const config = directory->tokenizer_config;
    const json_t *const template = default_template(json_object_get(config, "chat_template"));
    if (json_is_string(template))
        checkpoint->chat_template =
            (phlox_text){json_string_value(template), json_string_length(template)};
    checkpoint->bos_token = token_content(config, "bos_token");
    if (!checkpoint->bos_token)
        checkpoint->bos_token = token_content(directory->special_tokens, "bos_token");
    PX_TRY(open_optional(directory, "chat_template.jinja", &file, error));
    if (file) checkpoint->chat_template = file->bytes;
    return PHLOX_OK;
}

/* ---- opening ------------------------------------------------------------------------------- */

/* A change of any shard changes the state: size, time and header. */
static phlox_status describe_state(const struct directory *directory, px_checkpoint *checkpoint,
                                   phlox_error *error)
{
    uint64_t sum = 0, bytes = 0, odd = 1; /* odd: tells the shards apart */
    int64_t newest = 0;
    for (size_t i = 0; i < directory->file_count; i++) {
        const struct file *const file = &directory->files[i];
        const size_t header = file->safetensors.header_size;
        if (!header) continue;
        sum += px_checksum(file->bytes.data, header, 0) * odd +
               (uint64_t)file->map.modified * (odd + 2);
        odd += 4;
        bytes += file->bytes.size;
        newest = PX_MAX(newest, file->map.modified);
    }
    char text[128];
    snprintf(text, sizeof text, "%" PRIu64 " bytes, modified %" PRId64 ", headers %016" PRIx64,
             bytes, newest, sum);
    checkpoint->state = px_strdup(text, strlen(text));
    return checkpoint->state ? PHLOX_OK : px_fail_memory(error, strlen(text));
}

static phlox_status open_directory(struct directory *directory, px_checkpoint *out,
                                   phlox_error *error)
{
    struct file *config, *generation;
    directory->files = px_calloc(MOST_SHARDS + 8, sizeof *directory->files);
    if (!directory->files) return px_fail_memory(error, MOST_SHARDS * sizeof *directory->files);
    PX_TRY(open_file(directory, "config.json", &config, error));
    PX_TRY(open_optional(directory, "generation_config.json", &generation, error));
    PX_TRY(check_json_size(config, error));
    if (generation) PX_TRY(check_json_size(generation, error));
    PX_TRY(px_config_parse(config->bytes, config->path,
                           generation ? generation->bytes : (phlox_text){NULL, 0},
                           generation ? generation->path : "", &out->desc, error));
    for (int role = 0; role < PX_ROLES; role++) {
        const size_t count =
            px_role_is_layered((px_role)role) ? (size_t)out->desc.num_hidden_layers : 1;
        out->tensors[role] = px_calloc(count, sizeof **out->tensors);
        if (!out->tensors[role]) return px_fail_memory(error, count * sizeof **out->tensors);
    }
    PX_TRY(open_tensors(directory, out, error));
    PX_TRY(check_complete(out, error));
    PX_TRY(read_tokenizer(directory, out, error));
    return describe_state(directory, out, error);
}

static phlox_status open_from(struct directory start, const char *form, px_checkpoint *out,
                              phlox_error *error)
{
    struct directory *const directory = px_calloc(1, sizeof *directory);
    if (!directory) return px_fail_memory(error, sizeof *directory);
    *directory = start;
    out->form = form;
    out->path = start.path ? start.path : "";
    out->owner = directory;
    out->close = directory_close;
    return open_directory(directory, out, error);
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
    return open_from((struct directory){.path = path}, "huggingface", out, error);
}

phlox_status px_huggingface_open_memory(const px_memory_file *files, size_t count,
                                        px_checkpoint *out, phlox_error *error)
{
    return open_from((struct directory){.memory = files, .memory_count = count}, "built-in", out,
                     error);
}

const px_form px_form_huggingface = {"huggingface", huggingface_detect, huggingface_open};
