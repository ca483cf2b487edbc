#include "checkpoint/directory.h"

#include "base/cache.h"
#include "checkpoint/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_JSON_BYTES = 1 << 28, MOST_FILES = PX_MOST_SHARDS + 8 };

phlox_status px_directory_open(px_directory *directory, phlox_error *error)
{
    directory->files = px_calloc(MOST_FILES, sizeof *directory->files);
    return directory->files ? PHLOX_OK
                            : px_fail_memory(error, MOST_FILES * sizeof *directory->files);
}

void px_directory_close(px_directory *directory)
{
    for (size_t i = 0; i < directory->file_count; i++) {
        px_map_close(&directory->files[i].map);
        free(directory->files[i].path);
    }
    json_decref(directory->tokenizer_config);
    json_decref(directory->special_tokens);
    free(directory->files);
}

static phlox_status find_memory(const px_directory *directory, const char *name,
                                phlox_text *out, phlox_error *error)
{
    for (size_t i = 0; i < directory->memory_count; i++) {
        if (strcmp(directory->memory[i].name, name) != 0) continue;
        *out = directory->memory[i].bytes;
        return PHLOX_OK;
    }
    return px_fail(error, PHLOX_ERROR_NOT_FOUND, "the built-in model has no %s", name);
}

phlox_status px_directory_file(px_directory *directory, const char *name, px_dir_file **out,
                               phlox_error *error)
{
    if (directory->file_count == MOST_FILES)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: more than %d files", directory->path,
                       MOST_FILES);
    px_dir_file *const file = &directory->files[directory->file_count];
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

phlox_status px_directory_optional(px_directory *directory, const char *name, px_dir_file **out,
                                   phlox_error *error)
{
    *out = NULL;
    const phlox_status status = px_directory_file(directory, name, out, error);
    return status == PHLOX_ERROR_NOT_FOUND ? PHLOX_OK : status;
}

px_dir_file *px_directory_opened(const px_directory *directory, const char *name)
{
    for (size_t i = 0; i < directory->file_count; i++)
        if (strcmp(strrchr(directory->files[i].path, '/') + 1, name) == 0)
            return &directory->files[i];
    return NULL;
}

phlox_status px_directory_check_json(const px_dir_file *file, phlox_error *error)
{
    if (!file->bytes.size)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: empty; download it again", file->path);
    if (file->bytes.size <= MOST_JSON_BYTES) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT, "%s: %zu bytes are too many for this file",
                   file->path, file->bytes.size);
}

bool px_is_plain_name(const char *name)
{
    return name[0] && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\');
}

/* ---- the descriptor ------------------------------------------------------------------------ */

phlox_status px_directory_read_config(px_directory *directory, px_checkpoint *out,
                                      phlox_error *error)
{
    px_dir_file *config, *generation;
    PX_TRY(px_directory_file(directory, "config.json", &config, error));
    PX_TRY(px_directory_optional(directory, "generation_config.json", &generation, error));
    PX_TRY(px_directory_check_json(config, error));
    if (generation) PX_TRY(px_directory_check_json(generation, error));
    PX_TRY(px_config_parse(config->bytes, config->path,
                           generation ? generation->bytes : (phlox_text){NULL, 0},
                           generation ? generation->path : "", &out->desc, error));
    return px_checkpoint_make_room(out, error);
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
static phlox_status open_json(px_directory *directory, const char *name, json_t **out,
                              phlox_error *error)
{
    px_dir_file *file;
    PX_TRY(px_directory_optional(directory, name, &file, error));
    if (!file) return PHLOX_OK;
    PX_TRY(px_directory_check_json(file, error));
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

phlox_status px_directory_read_tokenizer(px_directory *directory, px_checkpoint *out,
                                         phlox_error *error)
{
    px_dir_file *file;
    PX_TRY(px_directory_optional(directory, "tokenizer.json", &file, error));
    if (file) {
        PX_TRY(px_directory_check_json(file, error));
        out->tokenizer_json = file->bytes;
    }
    PX_TRY(open_json(directory, "tokenizer_config.json", &directory->tokenizer_config, error));
    PX_TRY(open_json(directory, "special_tokens_map.json", &directory->special_tokens, error));
    const json_t *const config = directory->tokenizer_config;
    const json_t *const template = default_template(json_object_get(config, "chat_template"));
    if (json_is_string(template))
        out->chat_template =
            (phlox_text){json_string_value(template), json_string_length(template)};
    out->bos_token = token_content(config, "bos_token");
    if (!out->bos_token)
        out->bos_token = token_content(directory->special_tokens, "bos_token");
    PX_TRY(px_directory_optional(directory, "chat_template.jinja", &file, error));
    if (file) out->chat_template = file->bytes;
    return PHLOX_OK;
}

/* ---- what goes with an export -------------------------------------------------------------- */

phlox_status px_directory_read_beside(px_directory *directory, px_checkpoint *out,
                                      phlox_error *error)
{
    static const char *const names[] = {
        "config.json",       "generation_config.json", "tokenizer.json",  "tokenizer_config.json",
        "added_tokens.json", "special_tokens_map.json", "tokenizer.model", "chat_template.jinja",
    };
    out->beside = px_calloc(PX_COUNT(names), sizeof *out->beside);
    if (!out->beside) return px_fail_memory(error, PX_COUNT(names) * sizeof *out->beside);
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        px_dir_file *file = px_directory_opened(directory, names[i]);
        if (!file) PX_TRY(px_directory_optional(directory, names[i], &file, error));
        if (file) out->beside[out->beside_count++] = (px_memory_file){names[i], file->bytes};
    }
    return PHLOX_OK;
}

/* ---- the state ----------------------------------------------------------------------------- */

/* A change of any shard changes the state: size, time and header. */
phlox_status px_directory_read_state(const px_directory *directory, px_checkpoint *out,
                                     phlox_error *error)
{
    uint64_t sum = 0, bytes = 0, odd = 1; /* odd: tells the shards apart */
    int64_t newest = 0;
    for (size_t i = 0; i < directory->file_count; i++) {
        const px_dir_file *const file = &directory->files[i];
        const size_t header = file->header_size;
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
    out->state = px_strdup(text, strlen(text));
    return out->state ? PHLOX_OK : px_fail_memory(error, strlen(text));
}
