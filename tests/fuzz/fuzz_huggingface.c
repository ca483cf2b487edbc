/* A whole checkpoint in memory, quantized or not: config, index and shards, tokenizer files. The input is
 * a run of files, each as one byte (which of the names below), three bytes of length (little endian) and
 * so many bytes. */
#include "fuzz/files.h"

static const char *const names[] = {
    "config.json",         "generation_config.json", "model.safetensors",
    "model.safetensors.index.json", "a.safetensors", "b.safetensors",
    "tokenizer.json",      "tokenizer_config.json",  "special_tokens_map.json",
    "chat_template.jinja", "quantize_config.json",   "quant_config.json",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    px_memory_file files[16] = {{NULL, {NULL, 0}}};
    const size_t count =
        fuzz_files_read(data, size, names, PX_COUNT(names), files, PX_COUNT(files));
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    volatile uint8_t sum = 0;
    const phlox_status status = px_checkpoint_open_memory(files, count, &checkpoint, &error);
    for (int role = 0; role < PX_ROLES && status == PHLOX_OK; role++) {
        const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, (px_role)role, 0);
        if (!tensor) continue;
        const size_t values = (size_t)(tensor->rows * tensor->columns);
        float *const weights = malloc(values * sizeof *weights);
        void *const scratch = malloc(px_tensor_scratch(tensor, tensor->rows) + 1);
        if (weights && scratch) px_tensor_load(tensor, 0, tensor->rows, weights, scratch);
        const uint8_t *const bytes = (const uint8_t *)weights;
        for (size_t i = 0; weights && i < values * sizeof *weights; i++) sum = (uint8_t)(sum + bytes[i]);
        free(weights);
        free(scratch);
    }
    px_checkpoint_close(&checkpoint);
    fuzz_files_free(files, count);
    return 0;
}
