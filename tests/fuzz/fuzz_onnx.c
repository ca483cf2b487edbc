/* An ONNX Runtime GenAI directory in memory. The input is a run of files, each as one byte (which of the
 * names below), three bytes of length (little endian) and so many bytes. */
#include "checkpoint/onnx.h"

#include <stdlib.h>

static const char *const names[] = {"genai_config.json", "model.onnx", "model.onnx.data", "config.json"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    px_memory_file files[8];
    size_t count = 0;
    while (size >= 4 && count < PX_COUNT(files)) {
        const size_t wanted = data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16;
        const size_t length = PX_MIN(wanted, size - 4);
        files[count++] = (px_memory_file){names[data[0] % PX_COUNT(names)],
                                          {(const char *)data + 4, length}};
        data += 4 + length;
        size -= 4 + length;
    }
    px_checkpoint *checkpoint = px_calloc(1, sizeof *checkpoint);
    phlox_error error;
    if (!checkpoint) return 0;
    const phlox_status status = px_onnx_open_memory(files, count, checkpoint, &error);
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
    return 0;
}
