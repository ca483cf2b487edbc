/* A whole OpenVINO model in memory. The input is a run of files, each as one byte (which of the names
 * below), three bytes of length (little endian) and so many bytes. */
#include "checkpoint/openvino.h"

#include "fuzz/files.h"

static const char *const names[] = {"config.json", "openvino_model.xml", "openvino_model.bin"};

enum { MOST_VALUES = 1 << 20 };

static void read_tensor(const px_tensor *tensor)
{
    const int64_t rows = PX_MIN(tensor->rows, 64);
    if (rows * tensor->columns > MOST_VALUES) return;
    float *const out = malloc((size_t)(rows * tensor->columns) * sizeof *out);
    void *const scratch = malloc(px_tensor_scratch(tensor, rows) + 1);
    if (out && scratch) {
        px_tensor_load(tensor, 0, rows, out, scratch);
        px_tensor_load(tensor, tensor->rows - rows, rows, out, scratch);
    }
    free(out);
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    px_memory_file files[PX_COUNT(names)] = {{NULL, {NULL, 0}}};
    const size_t count =
        fuzz_files_read(data, size, names, PX_COUNT(names), files, PX_COUNT(files));
    px_checkpoint *checkpoint = px_calloc(1, sizeof *checkpoint);
    phlox_error error;
    if (checkpoint && px_openvino_open_memory(files, count, checkpoint, &error) == PHLOX_OK)
        for (int role = 0; role < PX_ROLES; role++)
            if (px_checkpoint_tensor(checkpoint, (px_role)role, 0))
                read_tensor(px_checkpoint_tensor(checkpoint, (px_role)role, 0));
    px_checkpoint_close(&checkpoint);
    fuzz_files_free(files, count);
    return 0;
}
