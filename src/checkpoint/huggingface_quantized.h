/* Quantized checkpoints in the layout of Hugging Face: what quantization_config says, and the tensors that
 * a matrix is made of. GPTQ of 4 and 8 bits (gptq and gptq_v2) and AWQ (gemm). Which matrices are
 * integers, of how many bits and in which groups is said by the tensors alone: a file may mix them. */
#ifndef PX_CHECKPOINT_HUGGINGFACE_QUANTIZED_H
#define PX_CHECKPOINT_HUGGINGFACE_QUANTIZED_H

#include "checkpoint/directory.h"
#include "checkpoint/huggingface_packed.h"
#include "checkpoint/safetensors.h"

typedef enum px_hf_method { PX_HF_FLOATS, PX_HF_METHOD_GPTQ, PX_HF_METHOD_AWQ } px_hf_method;

typedef enum px_hf_part { PX_HF_WORDS, PX_HF_ZEROS, PX_HF_SCALES, PX_HF_INDEX, PX_HF_PARTS } px_hf_part;

/* The tensors of a matrix, which need not be in one file. */
typedef struct px_hf_module {
    const px_st_entry *parts[PX_HF_PARTS]; /* NULL: absent */
    const px_dir_file *files[PX_HF_PARTS];
    px_hf_packed packed;
} px_hf_module;

typedef struct px_hf_quantized {
    px_hf_method method;
    bool adds_one;                   /* zero points are stored less one: GPTQ before its second format */
    char *weights_name;              /* what AutoGPTQ calls the file where it isn't model.safetensors */
    px_hf_module *modules[PX_ROLES]; /* [num_hidden_layers] or [1]; NULL without a method */
    char *config;                    /* config.json of the floats that the integers stand for */
} px_hf_quantized;

/* Reads quantization_config of config.json, or the files where it used to be, and makes room.
 * PHLOX_ERROR_UNSUPPORTED, by name, for what is not read. px_hf_quantized_free() also after failure. */
phlox_status px_hf_quantized_open(px_directory *directory, const px_desc *desc, px_hf_quantized *out,
                                  phlox_error *error);
void px_hf_quantized_free(px_hf_quantized *quantized);
/* Offers a tensor of a matrix that is not its weight; `suffix` is its name behind the module's. *taken: it is
 * part of an integer matrix, or a bias of nothing but zeros. */
phlox_status px_hf_quantized_take(px_hf_quantized *quantized, const px_dir_file *file,
                                  const px_st_entry *entry, const char *suffix, px_role role,
                                  int32_t layer, bool *taken, phlox_error *error);
/* Makes tensors of all that was taken. */
phlox_status px_hf_quantized_place(px_hf_quantized *quantized, px_checkpoint *checkpoint,
                                   phlox_error *error);
/* Takes what says how the weights are quantized out of the config.json that goes with an export. */
phlox_status px_hf_quantized_mend(px_hf_quantized *quantized, px_checkpoint *checkpoint,
                                  phlox_error *error);

#endif
