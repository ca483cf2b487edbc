/* The built-in demonstration model: the files of models/demo/hf, embedded by builtin.S. Each begins
 * at a multiple of 64 bytes and is followed by a NUL that does not belong to it. A file that the
 * model does not have is empty. The symbols exist only when PHLOX_HAS_BUILTIN is defined. */
#ifndef PX_API_BUILTIN_H
#define PX_API_BUILTIN_H

#include "checkpoint/checkpoint.h"
#include "device/choose.h"

enum { PX_BUILTIN_MOST = 8 };

/* Lists the embedded files, at most PX_BUILTIN_MOST; their number, 0 when this build has none. */
size_t px_builtin_files(px_memory_file *out);

/* Opens the model at `path`, which must outlive it, or the built-in one when that is NULL. */
phlox_status px_builtin_open_or(const char *path, px_checkpoint **out, phlox_error *error);

/* Opens the built-in model, and says what it is known to answer (models/demo/known.py); the arrays are parts of the
 * program. PHLOX_ERROR_NOT_FOUND when this build has none. */
phlox_status px_builtin_open_known(px_checkpoint **model, px_known_answer *known, phlox_error *error);

#ifdef PHLOX_HAS_BUILTIN

extern const unsigned char px_builtin_known[], px_builtin_known_end[];

/* One line for each embedded file: symbol and file name. */
#define PX_BUILTIN_FILES(FILE)                                                                   \
    FILE(px_builtin_config_json, "config.json")                                                  \
    FILE(px_builtin_generation_config_json, "generation_config.json")                            \
    FILE(px_builtin_model_safetensors, "model.safetensors")                                      \
    FILE(px_builtin_tokenizer_json, "tokenizer.json")                                            \
    FILE(px_builtin_tokenizer_config_json, "tokenizer_config.json")                              \
    FILE(px_builtin_special_tokens_map_json, "special_tokens_map.json")                          \
    FILE(px_builtin_chat_template_jinja, "chat_template.jinja")

#define PX_BUILTIN_DECLARE(symbol, name) extern const unsigned char symbol[], symbol##_end[];
PX_BUILTIN_FILES(PX_BUILTIN_DECLARE)
#undef PX_BUILTIN_DECLARE

#endif
#endif
