/* ONNX Runtime GenAI directories: genai_config.json, an ONNX model with its values in a file beside it,
 * and the files of the tokenizer. */
#include "checkpoint/onnx.h"

#include "checkpoint/onnx_config.h"
#include "checkpoint/onnx_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct onnx {
    px_directory directory;
    json_t *genai;
    px_onnx_model model;
    px_onnx_network network;
    px_onnx_files files;
    px_onnx_weight *weights; /* one for each matrix */
    char *names;             /* of the tensors, each with a NUL */
    size_t weight_count, name_bytes;
};

static void onnx_close(void *owner)
{
    struct onnx *const form = owner;
    json_decref(form->genai);
    px_onnx_network_free(&form->network);
    px_onnx_model_free(&form->model);
    px_directory_close(&form->directory);
    free(form->weights);
    free(form->names);
    free(form);
}

/* ---- tensors ------------------------------------------------------------------------------- */

enum { MOST_NAME = 160 }; /* bytes of a tensor's name that are kept for messages */

static const char *keep_name(struct onnx *form, phlox_text name)
{
    char *const kept = form->names + form->name_bytes;
    form->name_bytes += (size_t)snprintf(kept, MOST_NAME, "%.*s", (int)PX_MIN(name.size, MOST_NAME - 1),
                                         name.data) + 1;
    return kept;
}

static phlox_status place_matrix(struct onnx *form, px_checkpoint *out, px_role role, int32_t layer,
                                 const px_onnx_stack *stack, phlox_error *error)
{
    px_tensor tensor = {.role = role, .layer = layer, .file = form->files.model->path};
    px_role_shape(&out->desc, role, &tensor.rows, &tensor.columns);
    tensor.name = keep_name(form, stack->parts[0].data->name);
    PX_TRY(px_onnx_open_weight(&form->files, stack, &form->weights[form->weight_count++], &tensor,
                               &out->stored_bytes, error));
    out->tensors[role][layer] = tensor;
    out->quantized |= tensor.integers.bits > 0;
    if (role == PX_QKV) out->type = tensor.type;
    return PHLOX_OK;
}

static phlox_status place_norm(struct onnx *form, px_checkpoint *out, px_role role, int32_t layer,
                               const px_onnx_tensor *norm, phlox_error *error)
{
    const px_float_type type = norm->type == PX_ONNX_FLOAT     ? PX_FLOAT_F32
                               : norm->type == PX_ONNX_FLOAT16 ? PX_FLOAT_F16
                                                               : PX_FLOAT_BF16;
    const uint8_t *bytes;
    const int64_t hidden = out->desc.hidden_size;
    PX_TRY(px_onnx_bytes(&form->files, norm, hidden, &bytes, error));
    px_tensor *const tensor = &out->tensors[role][layer];
    *tensor = (px_tensor){.role = role, .layer = layer, .rows = 1, .columns = hidden, .type = type,
                          .data = bytes, .row_bytes = hidden * (int64_t)px_float_size(type),
                          .name = keep_name(form, norm->name), .file = form->files.model->path};
    out->stored_bytes += (uint64_t)tensor->row_bytes;
    return PHLOX_OK;
}

static phlox_status place_all(struct onnx *form, px_checkpoint *out, phlox_error *error)
{
    const px_onnx_network *const network = &form->network;
    const size_t matrices = 4 * network->layer_count + 2, norms = 2 * network->layer_count + 1;
    form->weights = px_calloc(matrices, sizeof *form->weights);
    form->names = px_calloc(matrices + norms, MOST_NAME);
    if (!form->weights || !form->names) return px_fail_memory(error, matrices * sizeof *form->weights);
    PX_TRY(place_matrix(form, out, PX_EMBEDDING, 0, &network->embedding, error));
    for (int32_t i = 0; i < out->desc.num_hidden_layers; i++) {
        const px_onnx_layer *const layer = &network->layers[i];
        PX_TRY(place_norm(form, out, PX_INPUT_NORM, i, layer->input_norm, error));
        PX_TRY(place_matrix(form, out, PX_QKV, i, &layer->qkv, error));
        PX_TRY(place_matrix(form, out, PX_O, i, &layer->o, error));
        PX_TRY(place_norm(form, out, PX_POST_NORM, i, layer->post_norm, error));
        PX_TRY(place_matrix(form, out, PX_GATE_UP, i, &layer->gate_up, error));
        PX_TRY(place_matrix(form, out, PX_DOWN, i, &layer->down, error));
    }
    PX_TRY(place_norm(form, out, PX_FINAL_NORM, 0, network->final_norm, error));
    if (out->desc.tied_embeddings) return PHLOX_OK;
    return place_matrix(form, out, PX_LM_HEAD, 0, &network->lm_head, error);
}

/* ---- opening ------------------------------------------------------------------------------- */

static phlox_status open_model(struct onnx *form, phlox_error *error)
{
    px_directory *const directory = &form->directory;
    const char *filename, *logits;
    px_dir_file *config, *file;
    PX_TRY(px_directory_file(directory, "genai_config.json", &config, error));
    PX_TRY(px_directory_check_json(config, error));
    PX_TRY(px_json_parse(config->bytes, config->path, false, &form->genai, error));
    PX_TRY(px_onnx_config_names(form->genai, config->path, &filename, &logits, error));
    PX_TRY(px_directory_file(directory, filename, &file, error));
    config->header_size = config->bytes.size;
    /* Tables of longrope make the file large, and say nothing that its beginning, size and time do not. */
    file->header_size = PX_MIN(file->bytes.size, (size_t)1 << 20);
    form->files = (px_onnx_files){directory, file};
    PX_TRY(px_onnx_model_read(file->bytes, file->path, &form->model, error));
    const px_onnx_source source = {&form->model, file->path, error};
    return px_onnx_network_read(&source, phlox_text_of(logits), &form->network);
}

static phlox_status open_files(struct onnx *form, px_checkpoint *out, phlox_error *error)
{
    px_directory *const directory = &form->directory;
    PX_TRY(px_directory_open(directory, error));
    PX_TRY(open_model(form, error));
    PX_TRY(px_onnx_config_describe(&form->files, form->genai, &form->network, out, error));
    PX_TRY(place_all(form, out, error));
    PX_TRY(px_directory_read_tokenizer(directory, out, error));
    PX_TRY(px_directory_read_beside(directory, out, error));
    return px_directory_read_state(directory, out, error);
}

static phlox_status open_from(px_directory start, px_checkpoint *out, phlox_error *error)
{
    struct onnx *const form = px_calloc(1, sizeof *form);
    if (!form) return px_fail_memory(error, sizeof *form);
    form->directory = start;
    out->form = "onnx";
    out->path = start.path ? start.path : "";
    out->owner = form;
    out->close = onnx_close;
    phlox_error own; /* the walk keeps what failed even when the caller does not want to know */
    return open_files(form, out, error ? error : &own);
}

static bool onnx_detect(const char *path)
{
    char config[4096];
    snprintf(config, sizeof config, "%s/genai_config.json", path);
    return px_is_file(config);
}

static phlox_status onnx_open(const char *path, px_checkpoint *out, phlox_error *error)
{
    return open_from((px_directory){.path = path}, out, error);
}

phlox_status px_onnx_open_memory(const px_memory_file *files, size_t count, px_checkpoint *out,
                                 phlox_error *error)
{
    return open_from((px_directory){.memory = files, .memory_count = count}, out, error);
}

const px_form px_form_onnx = {
    .name = "onnx", .detect = onnx_detect, .open = onnx_open, .write = px_onnx_write,
    .choose = px_onnx_choose, .holds = px_onnx_holds, .nearest = px_onnx_nearest,
};
