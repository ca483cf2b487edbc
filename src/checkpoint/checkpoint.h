/*
 * A checkpoint, whatever its form: a descriptor, tensors by role in their stored encoding, and the
 * tokenizer's files. Nothing is copied: pointers lead into mapped files (or into the program, for
 * the built-in model) and live until px_checkpoint_close().
 *
 * A form is a table of functions in a file of its own; forms.c lists them.
 */
#ifndef PX_CHECKPOINT_CHECKPOINT_H
#define PX_CHECKPOINT_CHECKPOINT_H

#include "model/model.h"
#include "quant/quant.h"

typedef struct px_tensor {
    px_role role;
    int32_t layer;        /* 0 for roles that exist once */
    int64_t rows, columns;
    px_float_type type;
    const void *data;     /* [rows, columns], little endian, row-major; aligned to nothing */
    bool mapped;          /* from a file: its pages may be dropped and come back */
    const char *name;     /* in the file, for messages */
    const char *file;     /* path, for messages */
} px_tensor;

typedef struct px_checkpoint {
    const char *form; /* "huggingface", "built-in" */
    const char *path; /* "" for the built-in model */
    char *state;      /* sizes, times and header checksums of the files: changes when they do */
    px_desc desc;
    px_float_type type;    /* of the matrices */
    uint64_t stored_bytes; /* of all tensors */
    px_tensor *tensors[PX_ROLES]; /* [num_hidden_layers] for layered roles, else [1]; NULL: absent */
    phlox_text tokenizer_json; /* size 0: the directory has no tokenizer */
    phlox_text chat_template;  /* Jinja source; size 0: none */
    const char *bos_token;     /* content of the beginning-of-sequence token; NULL: none */
    void *owner;               /* what the form needs to close */
    void (*close)(void *owner);
} px_checkpoint;

/* One published form. */
typedef struct px_form {
    const char *name;
    /* Whether the path looks like this form; reads as little as possible. */
    bool (*detect)(const char *path);
    phlox_status (*open)(const char *path, px_checkpoint *out, phlox_error *error);
} px_form;

/* Opens a path with the form that recognises it. PHLOX_ERROR_NOT_FOUND when nothing is there,
 * PHLOX_ERROR_FORMAT when no form knows it. */
phlox_status px_checkpoint_open(const char *path, px_checkpoint **out, phlox_error *error);

/* A Hugging Face checkpoint whose files are in memory already: the built-in model. The bytes must
 * outlive the checkpoint, the list need not. */
typedef struct px_memory_file {
    const char *name; /* "config.json" */
    phlox_text bytes;
} px_memory_file;
phlox_status px_checkpoint_open_memory(const px_memory_file *files, size_t count,
                                       px_checkpoint **out, phlox_error *error);

void px_checkpoint_close(px_checkpoint **checkpoint);

/* The tensor of a role; NULL for an absent one. */
const px_tensor *px_checkpoint_tensor(const px_checkpoint *checkpoint, px_role role, int32_t layer);

#endif
