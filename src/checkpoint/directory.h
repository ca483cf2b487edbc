/* The files of a checkpoint's directory, opened by name, and what every form that derives from
 * Hugging Face keeps in them: the descriptor, the tokenizer, the chat template. */
#ifndef PX_CHECKPOINT_DIRECTORY_H
#define PX_CHECKPOINT_DIRECTORY_H

#include "base/json.h"
#include "base/os.h"
#include "checkpoint/checkpoint.h"

enum { PX_MOST_SHARDS = 4096 };

/* One opened file. */
typedef struct px_dir_file {
    char *path;
    px_map map; /* data is NULL for a file of the built-in model */
    phlox_text bytes;
    size_t header_size; /* leading bytes that the state covers; 0: the state leaves the file out */
} px_dir_file;

typedef struct px_directory {
    const char *path;             /* NULL: the files are in memory */
    const px_memory_file *memory; /* only read while opening */
    size_t memory_count;
    px_dir_file *files; /* in the order of opening; they do not move */
    size_t file_count;
    json_t *tokenizer_config, *special_tokens; /* hold strings that the checkpoint points to */
} px_directory;

/* The path is kept, not copied. */
phlox_status px_directory_open(px_directory *directory, phlox_error *error);
void px_directory_close(px_directory *directory);

/* `name` is that of a file in the directory. PHLOX_ERROR_NOT_FOUND when it is not there. */
phlox_status px_directory_file(px_directory *directory, const char *name, px_dir_file **out,
                               phlox_error *error);
/* The same, but an absent file is *out == NULL. */
phlox_status px_directory_optional(px_directory *directory, const char *name, px_dir_file **out,
                                   phlox_error *error);
/* The file of this name if it was opened, else NULL. */
px_dir_file *px_directory_opened(const px_directory *directory, const char *name);
/* Whether a text is a plain file name, which leads out of no directory. */
bool px_is_plain_name(const char *name);
/* An error unless the file is of a size that JSON files have. */
phlox_status px_directory_check_json(const px_dir_file *file, phlox_error *error);

/* Reads config.json and generation_config.json, and makes room for the tensors. */
phlox_status px_directory_read_config(px_directory *directory, px_checkpoint *out,
                                      phlox_error *error);
/* Reads the files of the tokenizer, as far as there are any. */
phlox_status px_directory_read_tokenizer(px_directory *directory, px_checkpoint *out,
                                         phlox_error *error);
/* Lists the files that describe model and tokenizer: out->beside. */
phlox_status px_directory_read_beside(px_directory *directory, px_checkpoint *out,
                                      phlox_error *error);
/* Describes sizes, times and headers of the files that have a header_size: out->state. */
phlox_status px_directory_read_state(const px_directory *directory, px_checkpoint *out,
                                     phlox_error *error);

#endif
