/*
 * Writing a checkpoint in a published form: what the writers of all forms share. A matrix becomes an item,
 * which says what of it goes into the file; rows of items are read here, rounded where they must be, and
 * laid out by the form.
 */
#ifndef PX_CHECKPOINT_EXPORT_H
#define PX_CHECKPOINT_EXPORT_H

#include "checkpoint/checkpoint.h"

#include <phlox/tools.h>

/* What a matrix becomes: integers of `format`, or floats of `type` where it has no bits. */
typedef struct px_export_item {
    const px_tensor *tensor;
    px_quant_format format; /* group_size -1: one group a row */
    px_float_type type;
    bool kept;              /* the integers are the tensor's own, which are never rounded again */
    bool copied;            /* what is stored goes into the file as it is */
    const char *encoding;   /* the form's own word for it, "Q4_0"; NULL: as format and type say */
} px_export_item;

struct px_export {
    const px_checkpoint *checkpoint;
    px_export_item *items; /* in the order of the graph: embedding, layers, lm_head unless tied */
    size_t count;
    phlox_model_options asked;  /* what the user said of the weights */
    phlox_export_options words; /* and of the form */
    px_quant_options quant;     /* with the defaults of the form */
    const char *out;            /* the directory where the files go, which exists; or the file's name */
    char *note;                 /* [note_size] for the user: what to know of the export; "" at first */
    size_t note_size;
    px_pool *pool;
    phlox_progress_fn *progress; /* may be NULL */
    void *progress_user;
    phlox_progress state;       /* of writing weights */
};

/* Rows of an item, for the form to lay out; the arrays may be changed. */
typedef struct px_export_rows {
    const px_export_item *item;
    int64_t begin, rows; /* of the tensor */
    int64_t groups;      /* of a row */
    /* Integers: w = (q - zero) * scale. Else NULL. */
    uint8_t *q;     /* [rows, columns] */
    float *scales;  /* [rows, groups] */
    uint8_t *zeros; /* [rows, groups]: 8 or 128 where symmetric */
    void *values;   /* floats: [rows, columns] of item->type, finite. Else NULL */
} px_export_rows;

/* Is called by several threads at once. */
typedef phlox_status px_export_rows_fn(void *user, const px_export_rows *rows, phlox_error *error);

/* The item of a role, which for a tied lm_head is the embedding. */
px_export_item *px_export_find(const px_export *job, px_role role, int32_t layer);
/* Groups of a row of integers; the last may be shorter. */
int64_t px_export_groups(const px_export_item *item);
/* Calls visit for every tensor, norms too, in the order of the network; a tied lm_head is none. Returns how
 * many there are; visit NULL: only that. */
size_t px_export_each(const px_export *job, void (*visit)(void *user, px_role role, int32_t layer),
                      void *user);
/* Whether every scale is a float16. */
bool px_export_half_scales(const px_export_item *item);
/* Whether an item is stored in a few bits, as integers or otherwise. */
bool px_export_is_quantized(const px_tensor *tensor);

/* Whether the user named a format of floats. */
bool px_export_asks_floats(const px_export *job);
/* For a choose() of a form that has its own rules of rounding: everything is read as it is stored. */
void px_export_read_stored(phlox_model_options *options);

/* Gives rows [begin, begin + rows) to `write`, in blocks that begin and end at multiples of `multiple`
 * behind `begin`, reports progress, and lets go of what was read. */
phlox_status px_export_read(px_export *job, const px_export_item *item, int64_t begin, int64_t rows,
                            int64_t multiple, px_export_rows_fn *write, void *user,
                            phlox_error *error);
/* Sets the progress to 0 of the bytes of all items. */
void px_export_start(px_export *job);
/* Makes float16 or bfloat16 of floats, in place; float32 stays. */
void px_export_narrow(px_float_type type, float *values, size_t count);
/* Two 4-bit values a byte, the first in the low half; in place. Returns the bytes. */
size_t px_export_pack_nibbles(uint8_t *q, size_t count);
/* The weights of a norm, float32 [columns], checked; free() them. */
phlox_status px_export_norm(const px_export *job, px_role role, int32_t layer, float **out,
                            phlox_error *error);
/* Writes the files that go with a model: config.json, the tokenizer and the like. */
phlox_status px_export_write_beside(const px_export *job, phlox_error *error);
/* Writes a JSON file of the directory, with the flags of json_dumps(), and drops the reference to `json`,
 * which may be NULL when there was no memory for it. */
phlox_status px_export_write_json(const px_export *job, const char *name, json_t *json, size_t flags,
                                  phlox_error *error);
/* Writes a file of the directory. */
phlox_status px_export_write_file(const px_export *job, const char *name, phlox_text text,
                                  phlox_error *error);

#endif
