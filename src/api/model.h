/* What is behind the public model handle. */
#ifndef PX_API_MODEL_H
#define PX_API_MODEL_H

#include "base/cache.h"
#include "device/choose.h"
#include "generate/session.h"
#include "text/chat.h"

struct phlox_model {
    px_checkpoint *checkpoint;
    px_cache_file *tokenizer_file; /* the packed tokenizer, when it came from the cache */
    px_tokenizer *tokenizer;       /* NULL: none */
    const px_chat_format *chat_format; /* NULL: none, or not recognised */
    phlox_error chat_error;        /* why chat_format is NULL */
    px_choice choice;              /* of the device, and why */
    char device_name[64];          /* "openvino:NPU" */
    px_device_model *device_model;
    px_device_info device_info;
    px_ids eos;                    /* ids that end a generation */
    int32_t bos;                   /* -1: none */
    px_runtime runtime;
    px_step_costs step_costs;
    char *path;
    char stored[96];
    double load_seconds;
};

/* Measures go through a text in windows of at most so many tokens, each from an empty cache, and hold
 * the logits of so many at once. */
enum { PX_MEASURE_WINDOW = 2048, PX_MEASURE_PIECE = 128 };

#define PX_CACHE_LIMIT (UINT64_C(32) << 30) /* bytes, where the user says nothing */

/* Whether every field is in its range; of options without a limit for the cache too. */
phlox_status px_check_options(const phlox_model_options *options, phlox_error *error);

/* What choosing a device depends on, as this machine is now; options and directory must outlive it. */
px_choosing px_choosing_of(const phlox_model_options *options, const char *cache_dir);

/* The directory given, or the default one; free() it. NULL when there is none. */
char *px_cache_directory(const char *given);

#endif
