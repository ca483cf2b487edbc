/* A GGUF file: the container and all that is made of it, in memory; then the form, from a file. */
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/gguf_tokenizer.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) abort();
}

/* Some rows of a tensor. */
static void load(const px_gguf_tensor *stored)
{
    px_tensor tensor = {.rows = stored->shape[1], .columns = stored->shape[0],
                        .data = stored->data, .name = stored->name};
    if (tensor.columns > 1 << 16) return;
    px_gguf_describe(stored->encoding, &tensor);
    require(tensor.row_bytes * tensor.rows <= (int64_t)stored->size);
    float *const out = malloc((size_t)tensor.columns * sizeof *out);
    void *const scratch = malloc(px_tensor_scratch(&tensor, 1) + 1);
    require(out && scratch);
    for (int64_t row = 0; row < PX_MIN(tensor.rows, 4); row++)
        px_tensor_load(&tensor, row, 1, out, scratch);
    px_tensor_load(&tensor, tensor.rows - 1, 1, out, scratch);
    free(out);
    free(scratch);
}

static const px_gguf_tensor *named(const px_gguf *gguf, const char *name)
{
    for (size_t i = 0; i < gguf->tensor_count; i++)
        if (strcmp(gguf->tensors[i].name, name) == 0) return &gguf->tensors[i];
    return NULL;
}

static void in_memory(const uint8_t *data, size_t size)
{
    px_gguf gguf;
    phlox_error error;
    if (px_gguf_parse((phlox_text){(const char *)data, size}, "fuzz", &gguf, &error) != PHLOX_OK)
        return;
    const uint8_t *reached = data + gguf.header_size;
    for (size_t i = 0; i < gguf.tensor_count; i++) {
        require(gguf.tensors[i].data >= reached && strlen(gguf.tensors[i].name) > 0);
        reached = gguf.tensors[i].data + gguf.tensors[i].size;
        require(reached <= data + size);
        load(&gguf.tensors[i]);
    }
    px_gguf_tensors found = {1 << 20, false, named(&gguf, "rope_factors_long.weight"),
                             named(&gguf, "rope_factors_short.weight")};
    if (!found.short_factors) found.long_factors = NULL;
    px_buffer text = {0};
    if (px_gguf_config(&gguf, &found, &text, &error) == PHLOX_OK) require(text.size > 0);
    text.size = 0;
    px_tokenizer *tokenizer = NULL;
    if (px_gguf_tokenizer(&gguf, 1 << 20, &text, &error) == PHLOX_OK && text.size)
        px_tokenizer_parse((phlox_text){text.data, text.size}, "fuzz", &tokenizer, &error);
    px_tokenizer_free(tokenizer);
    px_buffer_free(&text);
    px_gguf_free(&gguf);
}

static void from_file(const uint8_t *data, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/phlox-fuzz-%ld.gguf", (long)getpid());
    FILE *const file = fopen(path, "wb");
    require(file != NULL);
    const size_t written = size ? fwrite(data, 1, size, file) : 0;
    fclose(file);
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    if (written == size && px_checkpoint_open(path, &checkpoint, &error) == PHLOX_OK)
        px_checkpoint_close(&checkpoint);
    remove(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    in_memory(data, size);
    from_file(data, size);
    return 0;
}
