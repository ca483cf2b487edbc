/*
 * A checkpoint, whatever its form: a descriptor, tensors by role in their stored encoding, and the
 * tokenizer's files. Nothing is copied: pointers lead into mapped files (or into the program, for
 * the built-in model) and live until px_checkpoint_close().
 *
 * A form is a table of functions in a file of its own; forms.c lists them.
 */
#ifndef PX_CHECKPOINT_CHECKPOINT_H
#define PX_CHECKPOINT_CHECKPOINT_H

#include "base/json.h"
#include "base/threads.h"
#include "model/model.h"
#include "quant/quant.h"

typedef struct px_tensor px_tensor;
typedef struct px_export px_export; /* export.h */
struct px_export_item;

/* Integers of a published quantized model, in groups of columns: w = (q - zero) * scale, or with minima
 * w = q * scale + minimum. */
typedef struct px_integers {
    int bits;           /* 4 or 8; 0: the tensor holds floats */
    bool symmetric;     /* the zero point of q below is 8 or 128 everywhere */
    bool half_scales;   /* every scale and minimum, or what they are steps of, is a float16 */
    int64_t group_size; /* columns in a group, 1 to columns; the last may have fewer */
    /* Unpacks rows [begin, begin + rows), which are only repacked, never rounded.
     *   q:      uint8_t [rows, columns]; signed values of the file have 8 or 128 added
     *   scales: float32 [rows, groups]; may be negative
     *   zeros:  uint8_t [rows, groups]; not written when symmetric or with minima */
    void (*read)(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q, float *scales,
                 uint8_t *zeros);
    /* Their minima, float32 [rows, groups]; NULL: there are none. */
    void (*read_minima)(const px_tensor *tensor, int64_t begin, int64_t rows, float *minima);
    /* NULL, or the scales, or the minima, are steps [rows, groups] of float16 that a row has for 256
     * columns, `scales` [rows, columns / 256]: such a product is exactly what the others read. Groups
     * are 16 or 32 columns then. */
    void (*read_steps)(const px_tensor *tensor, int64_t begin, int64_t rows, bool of_minima,
                       int8_t *steps, float *scales);
} px_integers;

struct px_tensor {
    px_role role;
    int32_t layer;        /* 0 for roles that exist once */
    int64_t rows, columns;
    px_float_type type;   /* of floats: what holds every value exactly */
    px_integers integers;
    /* Widens rows [begin, begin + rows) of an encoding that is neither of these, or not row-major, to
     * float32 [rows, columns]; NULL: `data` is [rows, columns] of `type`, or integers. Beside integers
     * (always where they have minima) it means that only the kernels take these: what asks for a
     * format, or exports, reads the widened values. */
    void (*load)(const px_tensor *tensor, int64_t begin, int64_t rows, float *out);
    const void *data;     /* floats: little endian, row-major; aligned to nothing */
    int64_t row_bytes;    /* of data, as a row's share of all that is stored for the tensor */
    const void *source;   /* what `load` or `integers.read` needs beside it; the form's own */
    bool mapped;          /* data is rows in a file: its pages may be dropped and come back */
    bool whole;           /* a row is all over data: all pages are dropped behind the last one */
    const char *encoding; /* the form's word for it, "Q4_K"; NULL: as type and integers say */
    const char *name;     /* in the file, for messages */
    const char *file;     /* path, for messages */
};

/* Rows [begin, begin + rows) as float32 [rows, columns]: exact but for the one rounding of
 * (q - zero) * scale. `scratch`: px_tensor_scratch() bytes; not used by floats. */
void px_tensor_load(const px_tensor *tensor, int64_t begin, int64_t rows, float *out,
                    void *scratch);
/* Bytes that loading `rows` rows at a time needs. */
size_t px_tensor_scratch(const px_tensor *tensor, int64_t rows);
/* Rows of a tensor without integers as they are stored, or loaded into `buffer` (float32 [rows, columns])
 * where they must be; *type says of what type they are. */
const void *px_tensor_rows(const px_tensor *tensor, int64_t begin, int64_t rows, float *buffer,
                           px_float_type *type);
/* Unpacks rows of integers as integers.read does, and checks that their scales are finite. */
phlox_status px_tensor_read_integers(const px_tensor *tensor, int64_t begin, int64_t rows, uint8_t *q,
                                     float *scales, uint8_t *zeros, phlox_error *error);
/* The minima of such rows, as integers.read_minima gives them, checked likewise. */
phlox_status px_tensor_read_minima(const px_tensor *tensor, int64_t begin, int64_t rows,
                                   float *minima, phlox_error *error);
/* Lets go of the pages of rows that will not be read soon, where they come from a file. */
void px_tensor_drop(const px_tensor *tensor, int64_t begin, int64_t rows);
/* Groups of a row of integers. */
int64_t px_tensor_groups(const px_tensor *tensor);

/* A file whose bytes are in memory; they must outlive what is opened from them. */
typedef struct px_memory_file {
    const char *name; /* "config.json" */
    phlox_text bytes;
} px_memory_file;

typedef struct px_checkpoint {
    const char *form; /* "huggingface", "openvino", "onnx", "built-in" */
    const char *path; /* "" for the built-in model */
    char *state;      /* sizes, times and header checksums of the files: changes when they do */
    px_desc desc;
    px_float_type type;    /* of the matrices that hold floats */
    bool quantized;        /* some matrix holds integers */
    uint64_t stored_bytes; /* of all tensors */
    px_tensor *tensors[PX_ROLES]; /* [num_hidden_layers] for layered roles, else [1]; NULL: absent */
    phlox_text tokenizer_json; /* size 0: the directory has no tokenizer */
    phlox_text chat_template;  /* Jinja source; size 0: none */
    const char *bos_token;     /* content of the beginning-of-sequence token; NULL: none */
    px_memory_file *beside;    /* config.json, tokenizer.json and the like, to go with an export */
    size_t beside_count;
    void *owner;               /* what the form needs to close */
    void (*close)(void *owner);
} px_checkpoint;

/* One published form. */
typedef struct px_form {
    const char *name;
    /* Whether the path looks like this form; reads as little as possible. */
    bool (*detect)(const char *path);
    phlox_status (*open)(const char *path, px_checkpoint *out, phlox_error *error);
    /* Writes the form's files; NULL: phlox cannot. */
    phlox_status (*write)(px_export *job, phlox_error *error);
    /* Fills in what the user left open of the weights' format; a note of the job says where that is not what
     * the form's own tool does. */
    void (*choose)(const px_export *job, phlox_model_options *options);
    /* Whether the form holds the item's integers as they are. May change how the item is to be laid out, and
     * the type of floats. */
    bool (*holds)(const px_export *job, struct px_export_item *item);
    /* Sets the format that the form has for an item which it does not hold, when loss is accepted: `bits`
     * is 4 or 8. */
    void (*nearest)(const px_export *job, struct px_export_item *item, int bits);
    bool is_file; /* what is written is one file, not a directory */
} px_form;

/* The form with this name, or NULL. */
const px_form *px_form_by_name(const char *name);

/* Opens a path with the form that recognises it. PHLOX_ERROR_NOT_FOUND when nothing is there,
 * PHLOX_ERROR_FORMAT when no form knows it. */
phlox_status px_checkpoint_open(const char *path, px_checkpoint **out, phlox_error *error);

/* A Hugging Face checkpoint whose files are in memory already: the built-in model. The list need not
 * outlive the call. */
phlox_status px_checkpoint_open_memory(const px_memory_file *files, size_t count,
                                       px_checkpoint **out, phlox_error *error);

void px_checkpoint_close(px_checkpoint **checkpoint);

/* How the matrices are stored, each encoding once, the layers' first: "int4 sym g128, f16". */
void px_checkpoint_describe(const px_checkpoint *checkpoint, char *out, size_t size);
/* "int4 sym g128", "int8 asym per channel" */
void px_describe_integers(int bits, bool symmetric, int64_t group_size, int64_t columns, char *out,
                          size_t size);
/* How one tensor is stored: "int4 sym g128". */
void px_tensor_describe(const px_tensor *tensor, char *out, size_t size);
/* Adds a word to such a list, unless it is there. */
void px_describe_once(char *list, size_t size, const char *word);
/* A copy that shares all but the list of its tensors, in which those whose integers only the kernels take are
 * floats. It must not outlive the original, nor be closed. */
phlox_status px_checkpoint_widened(const px_checkpoint *checkpoint, px_checkpoint *out,
                                   phlox_error *error);
void px_checkpoint_widened_free(px_checkpoint *checkpoint);
/* Makes room for the tensors that the descriptor asks for. */
phlox_status px_checkpoint_make_room(px_checkpoint *checkpoint, phlox_error *error);
/* Whether a tensor is missing; *role and *layer say which is the first. */
bool px_checkpoint_lacks(const px_checkpoint *checkpoint, px_role *role, int32_t *layer);
/* Parses a JSON file beside the model, "config.json"; *out is NULL when there is none. json_decref() it. */
phlox_status px_checkpoint_json_beside(const px_checkpoint *checkpoint, const char *name, json_t **out,
                                       phlox_error *error);
/* The tensor of a role; NULL for an absent one. */
const px_tensor *px_checkpoint_tensor(const px_checkpoint *checkpoint, px_role role, int32_t layer);

#endif
