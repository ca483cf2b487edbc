/* An OpenVINO IR directory, as optimum-intel writes it: openvino_model.xml, openvino_model.bin, and of the
 * original checkpoint config.json, generation_config.json and the files of the tokenizer. */
#include "checkpoint/openvino.h"

#include "checkpoint/directory.h"
#include "checkpoint/openvino_graph.h"
#include "checkpoint/openvino_tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char xml_name[] = "openvino_model.xml", bin_name[] = "openvino_model.bin";

enum { BIN_HEADER = 4096 }; /* leading bytes of the .bin that the state covers */

struct openvino {
    px_directory directory;
    px_ov_graph graph;
    px_ov_source *sources; /* one for each tensor, in the order of reading */
    size_t source_count;
    px_ov_files files;
};

static void openvino_close(void *owner)
{
    struct openvino *const form = owner;
    px_ov_graph_free(&form->graph);
    px_directory_close(&form->directory);
    free(form->sources);
    free(form);
}

/* ---- tensors ------------------------------------------------------------------------------- */

static px_tensor start_tensor(const px_checkpoint *checkpoint, px_role role, int32_t layer)
{
    px_tensor tensor = {.role = role, .layer = layer};
    px_role_shape(&checkpoint->desc, role, &tensor.rows, &tensor.columns);
    return tensor;
}

static phlox_status read_norm(struct openvino *form, px_checkpoint *out, const px_ov_layer *weight,
                              px_role role, int32_t layer, phlox_error *error)
{
    px_tensor *const tensor = &out->tensors[role][layer];
    *tensor = start_tensor(out, role, layer);
    return px_ov_vector_read(&form->files, weight, tensor, &form->sources[form->source_count++],
                             &out->stored_bytes, error);
}

static phlox_status read_matrix(struct openvino *form, px_checkpoint *out, const px_ov_layer *weight,
                                bool columns_first, px_role role, int32_t layer, phlox_error *error)
{
    px_tensor *const tensor = &out->tensors[role][layer];
    *tensor = start_tensor(out, role, layer);
    PX_TRY(px_ov_tensor_read(&form->files, weight, columns_first, tensor,
                             &form->sources[form->source_count++], &out->stored_bytes, error));
    if (tensor->integers.bits) out->quantized = true;
    else if (role != PX_EMBEDDING) out->type = tensor->type;
    return PHLOX_OK;
}

static phlox_status read_product(struct openvino *form, px_checkpoint *out, const px_ov_layer *product,
                                 px_role role, int32_t layer, phlox_error *error)
{
    const px_ov_layer *const weight = px_ov_input(&form->graph, product, 1);
    return read_matrix(form, out, weight, !product->transpose_b, role, layer, error);
}

/* With tied embeddings lm_head is made of the table's constants. A graph in which it is not has two
 * matrices, whatever config.json says. */
static phlox_status read_head(struct openvino *form, px_checkpoint *out, const px_ov_layer *product,
                              phlox_error *error)
{
    const uint64_t before = out->stored_bytes;
    PX_TRY(read_product(form, out, product, PX_LM_HEAD, 0, error));
    if (!out->desc.tied_embeddings) return PHLOX_OK;
    px_tensor *const head = out->tensors[PX_LM_HEAD];
    const px_tensor *const table = out->tensors[PX_EMBEDDING];
    const px_ov_source *const a = head->source, *const b = table->source;
    if (head->data == table->data && head->type == table->type && !head->load == !table->load &&
        head->integers.bits == table->integers.bits &&
        head->integers.group_size == table->integers.group_size && a->flip == b->flip &&
        a->scales.data == b->scales.data && a->zeros.data == b->zeros.data) {
        *head = (px_tensor){0};
        out->stored_bytes = before;
    } else {
        out->desc.tied_embeddings = false;
    }
    return PHLOX_OK;
}

static phlox_status read_tensors(struct openvino *form, const px_ov_network *network,
                                 px_checkpoint *out, phlox_error *error)
{
    static const px_role roles[] = {PX_QKV, PX_O, PX_GATE_UP, PX_DOWN};
    const int32_t layers = out->desc.num_hidden_layers, inner = out->desc.intermediate_size;
    const px_ov_layer *const *product = network->products, *const *norm = network->norms;
    PX_TRY(read_matrix(form, out, network->table, false, PX_EMBEDDING, 0, error));
    for (int32_t layer = 0; layer < layers; layer++) {
        PX_TRY(read_norm(form, out, *norm++, PX_INPUT_NORM, layer, error));
        PX_TRY(read_norm(form, out, *norm++, PX_POST_NORM, layer, error));
        for (size_t i = 0; i < PX_COUNT(roles); i++)
            PX_TRY(read_product(form, out, *product++, roles[i], layer, error));
        if (!network->factors[layer]) continue;
        px_tensor *const gate_up = &out->tensors[PX_GATE_UP][layer];
        px_ov_source *const source = (px_ov_source *)(uintptr_t)gate_up->source;
        PX_TRY(px_ov_tensor_scale(&form->files, network->factors[layer], inner, gate_up, source,
                                  error));
    }
    PX_TRY(read_norm(form, out, *norm, PX_FINAL_NORM, 0, error));
    return read_head(form, out, *product, error);
}

/* ---- opening ------------------------------------------------------------------------------- */

static phlox_status open_graph(struct openvino *form, px_checkpoint *out, phlox_error *error)
{
    px_dir_file *xml, *bin;
    PX_TRY(px_directory_file(&form->directory, xml_name, &xml, error));
    PX_TRY(px_directory_file(&form->directory, bin_name, &bin, error));
    xml->header_size = xml->bytes.size;
    bin->header_size = PX_MIN(bin->bytes.size, BIN_HEADER);
    PX_TRY(px_ov_graph_parse(xml->bytes, xml->path, bin->bytes.size, &form->graph, error));
    form->files = (px_ov_files){.graph = &form->graph, .xml = xml->path, .bin = bin->path,
                                .data = (const uint8_t *)bin->bytes.data,
                                .mapped = bin->map.data != NULL};
    const size_t count = 6 * (size_t)out->desc.num_hidden_layers + 3;
    form->sources = px_calloc(count, sizeof *form->sources);
    if (!form->sources) return px_fail_memory(error, count * sizeof *form->sources);
    px_ov_network network;
    PX_TRY(px_ov_network_find(&form->graph, xml->path, &out->desc, &network, error));
    const phlox_status status = read_tensors(form, &network, out, error);
    px_ov_network_free(&network);
    return status;
}

static phlox_status open_files(struct openvino *form, px_checkpoint *out, phlox_error *error)
{
    px_directory *const directory = &form->directory;
    PX_TRY(px_directory_open(directory, error));
    const phlox_status status = px_directory_read_config(directory, out, error);
    if (status == PHLOX_ERROR_NOT_FOUND)
        return px_error_advise(error, status, "an OpenVINO model needs the config.json of the "
                                              "checkpoint that it was made from; copy it there");
    PX_TRY(status);
    PX_TRY(open_graph(form, out, error));
    PX_TRY(px_directory_read_tokenizer(directory, out, error));
    PX_TRY(px_directory_read_beside(directory, out, error));
    return px_directory_read_state(directory, out, error);
}

static phlox_status open_from(px_directory start, px_checkpoint *out, phlox_error *error)
{
    struct openvino *const form = px_calloc(1, sizeof *form);
    if (!form) return px_fail_memory(error, sizeof *form);
    form->directory = start;
    out->form = "openvino";
    out->path = start.path ? start.path : "";
    out->owner = form;
    out->close = openvino_close;
    return open_files(form, out, error);
}

static bool openvino_detect(const char *path)
{
    char model[4096];
    snprintf(model, sizeof model, "%s/%s", path, xml_name);
    return px_is_file(model);
}

static phlox_status openvino_open(const char *path, px_checkpoint *out, phlox_error *error)
{
    return open_from((px_directory){.path = path}, out, error);
}

phlox_status px_openvino_open_memory(const px_memory_file *files, size_t count, px_checkpoint *out,
                                     phlox_error *error)
{
    return open_from((px_directory){.memory = files, .memory_count = count}, out, error);
}

const px_form px_form_openvino = {
    .name = "openvino", .detect = openvino_detect, .open = openvino_open, .write = px_openvino_write,
    .choose = px_openvino_choose, .holds = px_openvino_holds, .nearest = px_openvino_nearest,
};
