#include "checkpoint/huggingface_quantized.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const part_names[PX_HF_PARTS] = {"qweight", "qzeros", "scales", "g_idx"};

/* ---- what the configuration says ----------------------------------------------------------- */

/* A text in lower case; *out is empty where there is none. */
static void get_word(const json_t *object, const char *key, char *out, size_t size)
{
    snprintf(out, size, "%s", json_is_string(json_object_get(object, key))
                                  ? json_string_value(json_object_get(object, key))
                                  : "");
    for (; *out; out++) *out = (char)tolower((unsigned char)*out);
}

static bool is_set(const json_t *object, const char *key)
{
    const json_t *const value = json_object_get(object, key);
    return value && !json_is_null(value) && !json_is_false(value);
}

static phlox_status refuse(const char *name, const char *key, const char *word, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: the weights are quantized, with the %s \"%s\"; phlox reads gptq (formats gptq and "
                   "gptq_v2) and awq (gemm). Use one of these, or the float checkpoint and "
                   "--weight-format", name, key, word);
}

/* How the integers are packed: `checkpoint_format` of AutoGPTQ, `format` of GPTQModel, `version` of AutoAWQ. */
static phlox_status read_format(const json_t *config, const char *name, px_hf_quantized *out,
                                phlox_error *error)
{
    static const char *const keys[] = {"checkpoint_format", "format", "version"};
    char format[64] = "";
    const char *key = keys[0];
    for (size_t i = 0; i < PX_COUNT(keys) && !*format; i++)
        get_word(config, key = keys[i], format, sizeof format);
    if (is_set(config, "is_marlin_format")) return refuse(name, "is_marlin_format", "true", error);
    if (is_set(config, "rotation")) return refuse(name, "key", "rotation", error);
    if (is_set(config, "adapter")) return refuse(name, "key", "adapter", error);
    if (out->method == PX_HF_METHOD_AWQ && (!*format || strcmp(format, "gemm") == 0)) return PHLOX_OK;
    if (out->method == PX_HF_METHOD_GPTQ && (!*format || strcmp(format, "gptq") == 0)) {
        out->adds_one = true;
        return PHLOX_OK;
    }
    if (out->method == PX_HF_METHOD_GPTQ && strcmp(format, "gptq_v2") == 0) return PHLOX_OK;
    return refuse(name, key, format, error);
}

/* AutoGPTQ names its file by bits and groups unless it is told to. */
static phlox_status name_weights(const json_t *config, px_hf_quantized *out, phlox_error *error)
{
    char name[256];
    const char *const base = json_string_value(json_object_get(config, "model_file_base_name"));
    if (base) snprintf(name, sizeof name, "%s.safetensors", base);
    else
        snprintf(name, sizeof name, "gptq_model-%" PRId64 "bit-%" PRId64 "g.safetensors",
                 (int64_t)json_integer_value(json_object_get(config, "bits")),
                 (int64_t)json_integer_value(json_object_get(config, "group_size")));
    if (!px_is_plain_name(name)) return PHLOX_OK;
    out->weights_name = px_strdup(name, strlen(name));
    return out->weights_name ? PHLOX_OK : px_fail_memory(error, sizeof name);
}

/* `method`: what it is where no quant_method is named; NULL: it must be. */
static phlox_status read_method(const json_t *config, const char *name, const char *method,
                                px_hf_quantized *out, phlox_error *error)
{
    char word[64];
    get_word(config, "quant_method", word, sizeof word);
    if (!*word && method) snprintf(word, sizeof word, "%s", method);
    if (strcmp(word, "gptq") == 0) out->method = PX_HF_METHOD_GPTQ;
    else if (strcmp(word, "awq") == 0) out->method = PX_HF_METHOD_AWQ;
    else return refuse(name, "quant_method", word, error);
    PX_TRY(name_weights(config, out, error));
    return read_format(config, name, out, error);
}

static phlox_status read_beside(px_directory *directory, const char *name, const char *method,
                                px_hf_quantized *out, phlox_error *error)
{
    px_dir_file *file;
    json_t *json;
    PX_TRY(px_directory_optional(directory, name, &file, error));
    if (!file) return PHLOX_OK;
    PX_TRY(px_directory_check_json(file, error));
    PX_TRY(px_json_parse(file->bytes, file->path, false, &json, error));
    file->header_size = file->bytes.size; /* it says how integers are read, so that the state has it */
    const phlox_status status = read_method(json, file->path, method, out, error);
    json_decref(json);
    return status;
}

static phlox_status read_config(px_directory *directory, px_hf_quantized *out, phlox_error *error)
{
    px_dir_file *const file = px_directory_opened(directory, "config.json");
    json_t *json;
    PX_TRY(px_json_parse(file->bytes, file->path, false, &json, error));
    const json_t *config = json_object_get(json, "quantization_config");
    if (!json_is_object(config)) config = json_object_get(json, "compression_config");
    phlox_status status = PHLOX_OK;
    if (json_is_object(config)) {
        file->header_size = file->bytes.size;
        status = read_method(config, file->path, NULL, out, error);
    }
    json_decref(json);
    if (status != PHLOX_OK || out->method) return status;
    PX_TRY(read_beside(directory, "quantize_config.json", "gptq", out, error));
    if (out->method) return PHLOX_OK;
    return read_beside(directory, "quant_config.json", "awq", out, error);
}

phlox_status px_hf_quantized_open(px_directory *directory, const px_desc *desc, px_hf_quantized *out,
                                  phlox_error *error)
{
    PX_TRY(read_config(directory, out, error));
    for (int role = 0; role < PX_ROLES && out->method; role++) {
        const size_t count = px_role_is_layered((px_role)role) ? (size_t)desc->num_hidden_layers : 1;
        out->modules[role] = px_calloc(count, sizeof *out->modules[role]);
        if (!out->modules[role]) return px_fail_memory(error, count * sizeof *out->modules[role]);
    }
    return PHLOX_OK;
}

void px_hf_quantized_free(px_hf_quantized *quantized)
{
    for (int role = 0; role < PX_ROLES; role++) free(quantized->modules[role]);
    free(quantized->weights_name);
    free(quantized->config);
    *quantized = (px_hf_quantized){0};
}

/* ---- gathering ----------------------------------------------------------------------------- */

/* AutoGPTQ writes a bias of zeros for modules without one. */
static phlox_status check_bias(const px_dir_file *file, const px_st_entry *entry, phlox_error *error)
{
    enum { RUN = 256 };
    px_float_type type;
    if (!px_st_is_float(entry, &type))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: tensor %s is %s; a bias is BF16, F16 or F32",
                       file->path, entry->name, entry->dtype);
    const size_t size = px_float_size(type), count = entry->size / size;
    for (size_t done = 0; done < count; done += RUN) {
        float values[RUN];
        const size_t run = PX_MIN(count - done, RUN);
        px_float_load(type, (const char *)entry->data + done * size, run, values);
        for (size_t i = 0; i < run; i++)
            if (!(values[i] == 0))
                return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                               "%s: tensor %s has the value %g; the family has no biases", file->path,
                               entry->name, (double)values[i]);
    }
    return PHLOX_OK;
}

phlox_status px_hf_quantized_take(px_hf_quantized *quantized, const px_dir_file *file,
                                  const px_st_entry *entry, const char *suffix, px_role role,
                                  int32_t layer, bool *taken, phlox_error *error)
{
    *taken = false;
    if (!quantized->method || px_role_is_norm(role)) return PHLOX_OK;
    if (strcmp(suffix, "bias") == 0) {
        *taken = true;
        return check_bias(file, entry, error);
    }
    int part = 0;
    while (part < PX_HF_PARTS && strcmp(suffix, part_names[part]) != 0) part++;
    if (part == PX_HF_PARTS) return PHLOX_OK;
    if (role == PX_EMBEDDING)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: tensor %s: an embedding of integers, which phlox does not read", file->path,
                       entry->name);
    px_hf_module *const module = &quantized->modules[role][layer];
    if (module->parts[part])
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: tensor %s is also in %s", file->path, entry->name,
                       module->files[part]->path);
    module->parts[part] = entry;
    module->files[part] = file;
    *taken = true;
    return PHLOX_OK;
}

/* ---- a matrix ------------------------------------------------------------------------------ */

static phlox_status fail_part(const px_hf_module *module, px_hf_part part, phlox_status status,
                              const char *what, phlox_error *error)
{
    return px_fail(error, status, "%s: tensor %s %s", module->files[part]->path, module->parts[part]->name,
                   what);
}

/* Checks a part's type and shape; columns 0: it has one dimension. */
static phlox_status check_part(const px_hf_module *module, px_hf_part part, int64_t rows, int64_t columns,
                               phlox_error *error)
{
    const px_st_entry *const entry = module->parts[part];
    px_float_type type;
    const bool right = part == PX_HF_SCALES ? px_st_is_float(entry, &type) : strcmp(entry->dtype, "I32") == 0;
    if (!right)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "%s: tensor %s is %s; phlox reads %s",
                       module->files[part]->path, entry->name, entry->dtype,
                       part == PX_HF_SCALES ? "BF16, F16 and F32 here" : "I32 here");
    const bool fits = columns ? entry->dims == 2 && entry->shape[1] == columns : entry->dims == 1;
    if (fits && entry->shape[0] == rows) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: tensor %s has %d dimensions and the shape [%" PRId64 ", %" PRId64 "]; it should be [%"
                   PRId64 ", %" PRId64 "]", module->files[part]->path, entry->name, entry->dims,
                   entry->shape[0], entry->shape[1], rows, columns);
}

static phlox_status check_present(const px_hf_module *module, phlox_error *error)
{
    px_hf_part any = PX_HF_WORDS;
    while (!module->parts[any]) any++;
    for (px_hf_part part = PX_HF_WORDS; part < PX_HF_INDEX; part++)
        if (!module->parts[part])
            return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                           "%s: tensor %s is there without its %s; download the whole checkpoint",
                           module->files[any]->path, module->parts[any]->name, part_names[part]);
    return PHLOX_OK;
}

/* The bits of a value follow from how many words a column takes. */
static phlox_status find_bits(const px_hf_module *module, const px_tensor *tensor, px_hf_packed *packed,
                              phlox_error *error)
{
    const px_st_entry *const words = module->parts[PX_HF_WORDS];
    packed->bits = 4;
    if (packed->layout == PX_HF_GPTQ && words->dims == 2 && words->shape[0] <= tensor->columns) {
        const int64_t bits = words->shape[0] * 32 / tensor->columns;
        if (bits == 2 || bits == 3 || (bits > 4 && bits < 8)) {
            char what[64];
            snprintf(what, sizeof what, "has %" PRId64 " bits; phlox reads 4 and 8", bits);
            return fail_part(module, PX_HF_WORDS, PHLOX_ERROR_UNSUPPORTED, what, error);
        }
        if (bits == 8) packed->bits = 8;
    }
    const int64_t each = 32 / packed->bits, rows = tensor->rows, columns = tensor->columns;
    if (columns % each || rows % each)
        return fail_part(module, PX_HF_WORDS, PHLOX_ERROR_UNSUPPORTED,
                         "is of a matrix whose sizes are no multiples of the values in a word", error);
    if (packed->layout == PX_HF_AWQ) return check_part(module, PX_HF_WORDS, columns, rows / each, error);
    return check_part(module, PX_HF_WORDS, columns / each, rows, error);
}

static uint32_t index_at(const px_hf_packed *packed, int64_t column)
{
    uint32_t group;
    memcpy(&group, packed->index + 4 * column, sizeof group);
    return group;
}

/* Groups of so many columns one behind the other need no index. */
static phlox_status read_index(const px_hf_module *module, const px_tensor *tensor, px_hf_packed *packed,
                               phlox_error *error)
{
    PX_TRY(check_part(module, PX_HF_INDEX, tensor->columns, 0, error));
    packed->index = module->parts[PX_HF_INDEX]->data;
    int64_t size = 0;
    while (size < tensor->columns && index_at(packed, size) == 0) size++;
    bool in_order = size && (tensor->columns + size - 1) / size == packed->groups;
    for (int64_t column = 0; column < tensor->columns; column++) {
        const uint32_t group = index_at(packed, column);
        in_order = in_order && group == column / size;
        if (group >= packed->groups)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: tensor %s: column %" PRId64 " is in group %" PRId32 " of %" PRId64
                           "; download the file again", module->files[PX_HF_INDEX]->path,
                           module->parts[PX_HF_INDEX]->name, column, (int32_t)group, packed->groups);
    }
    if (in_order) packed->index = NULL;
    packed->group_size = size;
    return PHLOX_OK;
}

static phlox_status find_groups(const px_hf_module *module, const px_tensor *tensor, px_hf_packed *packed,
                                phlox_error *error)
{
    const px_st_entry *const scales = module->parts[PX_HF_SCALES];
    packed->groups = scales->dims == 2 ? scales->shape[0] : 0;
    if (packed->groups < 1 || packed->groups > tensor->columns)
        return fail_part(module, PX_HF_SCALES, PHLOX_ERROR_FORMAT,
                         "does not have a scale for every group of columns", error);
    PX_TRY(check_part(module, PX_HF_SCALES, packed->groups, tensor->rows, error));
    PX_TRY(check_part(module, PX_HF_ZEROS, packed->groups, tensor->rows * packed->bits / 32, error));
    px_st_is_float(scales, &packed->scale_type);
    if (module->parts[PX_HF_INDEX]) return read_index(module, tensor, packed, error);
    if (tensor->columns % packed->groups)
        return fail_part(module, PX_HF_SCALES, PHLOX_ERROR_FORMAT,
                         "has groups that do not divide the columns, and there is no g_idx", error);
    packed->group_size = tensor->columns / packed->groups;
    return PHLOX_OK;
}

static phlox_status open_module(const px_hf_quantized *quantized, px_hf_module *module, px_tensor *tensor,
                                phlox_error *error)
{
    PX_TRY(check_present(module, error));
    px_hf_packed *const packed = &module->packed;
    packed->layout = quantized->method == PX_HF_METHOD_AWQ ? PX_HF_AWQ : PX_HF_GPTQ;
    packed->adds_one = quantized->adds_one;
    PX_TRY(find_bits(module, tensor, packed, error));
    PX_TRY(find_groups(module, tensor, packed, error));
    packed->words = module->parts[PX_HF_WORDS]->data;
    packed->zeros = module->parts[PX_HF_ZEROS]->data;
    packed->scales = module->parts[PX_HF_SCALES]->data;
    tensor->data = packed->words;
    tensor->mapped = module->files[PX_HF_WORDS]->map.data != NULL;
    tensor->name = module->parts[PX_HF_WORDS]->name;
    tensor->file = module->files[PX_HF_WORDS]->path;
    px_hf_packed_describe(packed, tensor);
    return PHLOX_OK;
}

static phlox_status place_module(const px_hf_quantized *quantized, px_hf_module *module, px_role role,
                                 int32_t layer, px_checkpoint *checkpoint, phlox_error *error)
{
    px_tensor tensor = {.role = role, .layer = layer};
    px_role_shape(&checkpoint->desc, role, &tensor.rows, &tensor.columns);
    PX_TRY(open_module(quantized, module, &tensor, error));
    px_tensor *const place = &checkpoint->tensors[role][layer];
    if (place->data)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: tensor %s is also in %s, as %s", tensor.file,
                       tensor.name, place->file, place->name);
    *place = tensor;
    for (int part = 0; part < PX_HF_PARTS; part++)
        if (module->parts[part]) checkpoint->stored_bytes += module->parts[part]->size;
    checkpoint->quantized = true;
    return PHLOX_OK;
}

phlox_status px_hf_quantized_place(px_hf_quantized *quantized, px_checkpoint *checkpoint, phlox_error *error)
{
    for (int role = 0; role < PX_ROLES && quantized->method; role++) {
        if (role == PX_LM_HEAD && checkpoint->desc.tied_embeddings) continue;
        const int32_t count = px_role_is_layered((px_role)role) ? checkpoint->desc.num_hidden_layers : 1;
        for (int32_t layer = 0; layer < count; layer++) {
            px_hf_module *const module = &quantized->modules[role][layer];
            bool any = false;
            for (int part = 0; part < PX_HF_PARTS; part++) any |= module->parts[part] != NULL;
            if (any) PX_TRY(place_module(quantized, module, (px_role)role, layer, checkpoint, error));
        }
    }
    return PHLOX_OK;
}

/* ---- what goes with an export -------------------------------------------------------------- */

phlox_status px_hf_quantized_mend(px_hf_quantized *quantized, px_checkpoint *checkpoint, phlox_error *error)
{
    for (size_t i = 0; i < checkpoint->beside_count && quantized->method; i++) {
        px_memory_file *const file = &checkpoint->beside[i];
        json_t *json;
        if (strcmp(file->name, "config.json") != 0) continue;
        PX_TRY(px_json_parse(file->bytes, file->name, false, &json, error));
        json_object_del(json, "quantization_config");
        json_object_del(json, "compression_config");
        quantized->config = json_dumps(json, JSON_INDENT(2));
        json_decref(json);
        if (!quantized->config) return px_fail_memory(error, file->bytes.size);
        file->bytes = phlox_text_of(quantized->config);
    }
    return PHLOX_OK;
}
