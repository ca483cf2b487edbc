/* An ONNX Runtime GenAI directory in memory. The input is a run of files, each as one byte (which of the
 * names below), three bytes of length (little endian) and so many bytes. */
#include "checkpoint/onnx.h"

#include "fuzz/files.h"

static const char *const names[] = {"genai_config.json", "model.onnx", "model.onnx.data", "config.json"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    px_memory_file files[8] = {{NULL, {NULL, 0}}};
    const size_t count =
        fuzz_files_read(data, size, names, PX_COUNT(names), files, PX_COUNT(files));
    px_checkpoint *checkpoint = px_calloc(1, sizeof *checkpoint);
    phlox_error error;
    const phlox_status status =
        checkpoint ? px_onnx_open_memory(files, count, checkpoint, &error) : PHLOX_ERROR_MEMORY;
    for (int role = 0; role < PX_ROLES && status == PHLOX_OK; role++) {
        const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, (px_role)role, 0);
        if (!tensor) continue;
        float *const row = malloc((size_t)tensor->columns * sizeof *row);
        void *const scratch = malloc(px_tensor_scratch(tensor, 1) + 1);
        for (int64_t r = 0; r < tensor->rows && row && scratch; r++)
            px_tensor_load(tensor, r, 1, row, scratch);
        free(row);
        free(scratch);
    }
    px_checkpoint_close(&checkpoint);
    fuzz_files_free(files, count);
    return 0;
}
