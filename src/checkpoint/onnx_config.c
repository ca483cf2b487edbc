#include "checkpoint/onnx_config.h"

#include "checkpoint/onnx_rope.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SIZE = 1 << 20, MOST_VOCAB = 1 << 22, MOST_POSITION = 1 << 24, MOST_TABLE_ROWS = 8192 };

static const json_t *member(const json_t *object, const char *key)
{
    const json_t *const value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

phlox_status px_onnx_config_names(const json_t *genai, const char *name, const char **filename,
                                  const char **logits, phlox_error *error)
{
    const json_t *const decoder = member(member(genai, "model"), "decoder");
    const json_t *const file = member(decoder, "filename");
    if (member(decoder, "pipeline"))
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: model.decoder.pipeline: a model in several parts, as for NPUs; use an export "
                       "for cpu, cuda or dml", name);
    *filename = json_string_value(file);
    if (!*filename || strlen(*filename) != json_string_length(file) || !px_is_plain_name(*filename))
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: model.decoder.filename is not the name of a file beside it", name);
    *logits = json_string_value(member(member(decoder, "outputs"), "logits"));
    if (!*logits) *logits = "logits";
    return PHLOX_OK;
}

/* ---- sizes --------------------------------------------------------------------------------- */

static phlox_status fail_sizes(const px_onnx_files *files, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_FORMAT,
                   "%s: the shapes of its weights do not fit together as those of a Phi-3",
                   files->model->path);
}

/* That sums of rows are right does not say that each part is. */
static phlox_status check_parts(const px_onnx_files *files, const px_onnx_network *network,
                                const px_desc *desc, phlox_error *error)
{
    const int64_t size = desc->head_dim, queries = desc->num_attention_heads * size;
    const int64_t keys = desc->num_key_value_heads * size;
    for (size_t i = 0; i < network->layer_count; i++) {
        const px_onnx_matrix *const qkv = network->layers[i].qkv.parts;
        const px_onnx_matrix *const gate_up = network->layers[i].gate_up.parts;
        if (gate_up[0].rows != gate_up[1].rows ||
            (network->layers[i].qkv.count == 3 &&
             (qkv[0].rows != queries || qkv[1].rows != keys || qkv[2].rows != keys)))
            return fail_sizes(files, error);
    }
    return PHLOX_OK;
}

/* The sizes that the graph has. All numbers were read from a file: they are checked before use. */
static phlox_status describe_sizes(const px_onnx_files *files, const px_onnx_network *network,
                                   px_desc *desc, phlox_error *error)
{
    const px_onnx_layer *const layer = &network->layers[0];
    const int64_t vocab = network->embedding.parts[0].rows, width = layer->o.parts[0].columns;
    const int64_t intermediate = layer->down.parts[0].columns;
    if (network->heads < 1 || network->heads > MOST_SIZE || network->hidden < 1 ||
        network->hidden > MOST_SIZE || vocab < 1 || vocab > MOST_VOCAB || intermediate < 1 ||
        intermediate > MOST_SIZE || width % network->heads)
        return fail_sizes(files, error);
    const int64_t size = width / network->heads;
    int64_t kv_heads = network->kv_heads;
    if (!kv_heads) kv_heads = layer->qkv.count == 3 ? layer->qkv.parts[1].rows / size : network->heads;
    if (size < 1 || size > MOST_SIZE || kv_heads < 1 || kv_heads > network->heads)
        return fail_sizes(files, error);
    const float scale = (float)(1 / sqrt((double)size));
    if (network->scale != 0 && fabsf(network->scale - scale) > 1e-3f * scale)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: attention is scaled by %g, and for heads of %" PRId64 " it should be %g",
                       files->model->path, (double)network->scale, size, (double)scale);
    desc->vocab_size = (int32_t)vocab;
    desc->hidden_size = (int32_t)network->hidden;
    desc->intermediate_size = (int32_t)intermediate;
    desc->num_hidden_layers = (int32_t)network->layer_count;
    desc->num_attention_heads = (int32_t)network->heads;
    desc->num_key_value_heads = (int32_t)kv_heads;
    desc->head_dim = (int32_t)size;
    desc->rms_norm_eps = network->epsilon;
    const px_onnx_tensor *const cosine = network->rope.cosine;
    if (!cosine || cosine->rank != 2 || cosine->dims[1] < 1 || cosine->dims[1] > size / 2)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: tables of cosine and sine of another shape than heads of %" PRId64 " have",
                       files->model->path, size);
    desc->rotary_dim = (int32_t)(2 * cosine->dims[1]);
    const px_onnx_matrix *const head = &network->lm_head.parts[0];
    const px_onnx_matrix *const embedding = &network->embedding.parts[0];
    desc->tied_embeddings = head->data == embedding->data && head->scales == embedding->scales &&
                            head->zeros == embedding->zeros && head->rows == embedding->rows &&
                            head->row_step == embedding->row_step;
    return check_parts(files, network, desc, error);
}

static bool same_sizes(const px_desc *a, const px_desc *b)
{
    return a->vocab_size == b->vocab_size && a->hidden_size == b->hidden_size &&
           a->intermediate_size == b->intermediate_size &&
           a->num_hidden_layers == b->num_hidden_layers &&
           a->num_attention_heads == b->num_attention_heads &&
           a->num_key_value_heads == b->num_key_value_heads && a->head_dim == b->head_dim &&
           a->rotary_dim == b->rotary_dim;
}

/* ---- rotary embeddings --------------------------------------------------------------------- */

/* The frequencies of rows [first, first + rows) of two tables. */
static phlox_status recover(const px_onnx_files *files, const px_onnx_tensor *cosine,
                            const px_onnx_tensor *sine, int64_t first, int64_t rows, double *frequencies,
                            double *scale, phlox_error *error)
{
    const int64_t columns = cosine->dims[1], total = cosine->dims[0];
    if (!px_onnx_is_float(cosine) || sine->type != cosine->type || cosine->rank != 2 || sine->rank != 2 ||
        sine->dims[0] != total || sine->dims[1] != columns || total < 1 || total > 2 * MOST_POSITION ||
        columns < 1 || columns > MOST_SIZE || first < 0 || rows < 1 || first > total || rows > total - first)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: tables of cosine and sine of different shapes",
                       files->model->path);
    const uint8_t *bytes[2];
    PX_TRY(px_onnx_bytes(files, cosine, total * columns, &bytes[0], error));
    PX_TRY(px_onnx_bytes(files, sine, total * columns, &bytes[1], error));
    const int64_t used = PX_MIN(rows, MOST_TABLE_ROWS), count = used * columns;
    float *const values = px_calloc((size_t)count, 2 * sizeof *values);
    if (!values) return px_fail_memory(error, 2 * (size_t)count * sizeof *values);
    px_onnx_floats(cosine, bytes[0], first * columns, count, values);
    px_onnx_floats(sine, bytes[1], first * columns, count, values + count);
    const px_onnx_table table = {values, values + count, used, columns, cosine->type != PX_ONNX_FLOAT};
    const bool found = px_onnx_table_recover(&table, frequencies, scale);
    free(values);
    if (found) return PHLOX_OK;
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: its tables of cosine and sine are not those of rotary embeddings; put the model's "
                   "config.json beside it", files->model->path);
}

static phlox_status describe_rope(const px_onnx_files *files, const px_onnx_rope *rope, px_desc *desc,
                                  double *frequencies, phlox_error *error)
{
    double *const other = frequencies + desc->rotary_dim / 2;
    const bool is_long = rope->joined || rope->long_cosine;
    const int64_t total = rope->cosine->dims[0];
    double scale, long_scale;
    PX_TRY(recover(files, rope->cosine, rope->sine, 0, rope->joined ? rope->original : total, frequencies,
                   &scale, error));
    long_scale = scale;
    if (rope->joined)
        PX_TRY(recover(files, rope->cosine, rope->sine, rope->original, total - rope->original, other,
                       &long_scale, error));
    if (rope->long_cosine) {
        if (rope->long_cosine->rank != 2 || rope->long_cosine->dims[1] != desc->rotary_dim / 2)
            return fail_sizes(files, error);
        PX_TRY(recover(files, rope->long_cosine, rope->long_sine, 0, rope->long_cosine->dims[0], other,
                       &long_scale, error));
    }
    if (fabs(scale - long_scale) > 1e-3)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: long sequences scale cosine and sine by %g, short ones by %g; phlox has one "
                       "factor for both", files->model->path, long_scale, scale);
    desc->original_max_position = is_long ? (int32_t)PX_MIN(rope->original, MOST_POSITION) : desc->max_position;
    return px_onnx_rope_describe(frequencies, is_long ? other : NULL, scale,
                                 rope->cosine->type != PX_ONNX_FLOAT, desc, error);
}

/* ---- genai_config.json --------------------------------------------------------------------- */

static phlox_status get_eos(const json_t *model, const char *name, px_desc *desc, phlox_error *error)
{
    const json_t *const value = member(model, "eos_token_id");
    const size_t count = json_is_array(value) ? json_array_size(value) : value ? 1 : 0;
    if (count > PX_MOST_EOS)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: %zu eos_token_id, at most %d are possible", name,
                       count, PX_MOST_EOS);
    for (size_t i = 0; i < count; i++) {
        const json_t *const id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= desc->vocab_size)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: eos_token_id: entry %zu is not an id below vocab_size %d", name, i,
                           desc->vocab_size);
        desc->eos_ids[desc->eos_count++] = (int32_t)json_integer_value(id);
    }
    return PHLOX_OK;
}

static phlox_status describe_genai(const json_t *genai, const char *name, int64_t window, px_desc *desc,
                                   phlox_error *error)
{
    const json_t *const model = member(genai, "model"), *const search = member(genai, "search");
    const json_t *const sliding = member(member(model, "decoder"), "sliding_window");
    int64_t bos, position, top_k;
    PX_TRY(px_json_int_or(model, "context_length", name, 1, MOST_POSITION, 4096, &position, error));
    PX_TRY(px_json_int_or(model, "bos_token_id", name, -1, desc->vocab_size - 1, -1, &bos, error));
    if (window <= 0) PX_TRY(px_json_int_or(sliding, "window_size", name, 1, INT32_MAX, 0, &window, error));
    desc->max_position = (int32_t)position;
    desc->bos_id = (int32_t)bos;
    desc->sliding_window = (int32_t)PX_MIN(window, INT32_MAX);
    desc->max_new_tokens = -1;
    PX_TRY(get_eos(model, name, desc, error));
    PX_TRY(px_json_bool_or(search, "do_sample", name, false, &desc->do_sample, error));
    PX_TRY(px_json_real_or(search, "temperature", name, 0, 1e6, 1, &desc->temperature, error));
    PX_TRY(px_json_int_or(search, "top_k", name, 0, INT32_MAX, 50, &top_k, error));
    desc->top_k = (int32_t)top_k;
    PX_TRY(px_json_real_or(search, "top_p", name, 0, 1, 1, &desc->top_p, error));
    PX_TRY(px_json_real_or(search, "min_p", name, 0, 1, 0, &desc->min_p, error));
    return px_json_real_or(search, "repetition_penalty", name, DBL_MIN, 1e6, 1, &desc->repetition_penalty,
                           error);
}

/* ---- all ----------------------------------------------------------------------------------- */

static phlox_status describe_alone(const px_onnx_files *files, const json_t *genai,
                                   const px_onnx_network *network, px_checkpoint *out, phlox_error *error)
{
    px_desc *const desc = &out->desc;
    const char *const name = files->directory->files[0].path; /* genai_config.json is opened first */
    PX_TRY(describe_genai(genai, name, network->window, desc, error));
    double *const frequencies = px_calloc((size_t)desc->rotary_dim, sizeof *frequencies);
    if (!frequencies) return px_fail_memory(error, (size_t)desc->rotary_dim * sizeof *frequencies);
    const phlox_status status = describe_rope(files, &network->rope, desc, frequencies, error);
    free(frequencies);
    PX_TRY(status);
    PX_TRY(px_desc_check(desc, files->model->path, error));
    return px_checkpoint_make_room(out, error);
}

phlox_status px_onnx_config_describe(const px_onnx_files *files, const json_t *genai,
                                     const px_onnx_network *network, px_checkpoint *out, phlox_error *error)
{
    px_desc sizes = {0};
    px_dir_file *config;
    PX_TRY(describe_sizes(files, network, &sizes, error));
    PX_TRY(px_directory_optional(files->directory, "config.json", &config, error));
    if (!config) {
        out->desc = sizes;
        return describe_alone(files, genai, network, out, error);
    }
    PX_TRY(px_directory_read_config(files->directory, out, error));
    if (!same_sizes(&out->desc, &sizes))
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: its sizes are not those of %s; the files are of different models",
                       config->path, files->model->path);
    out->desc.tied_embeddings = sizes.tied_embeddings; /* an export may give lm_head weights of its own */
    return PHLOX_OK;
}
