/*
 * The OpenVINO device, inside: a model compiled for one unit, and sequences, each on an infer request of
 * its own, whose state is the cache of keys and values. The C interface cannot cut that state back or
 * reset it: tokens that are dropped stay in it, hidden by the attention mask, and a new request starts
 * empty. Since the ids of a sequence are kept, a request can always be filled again.
 */
#ifndef PX_DEVICE_OPENVINO_MODEL_H
#define PX_DEVICE_OPENVINO_MODEL_H

#include "device/device.h"
#include "device/openvino_api.h"
#include "engine/exported.h"

struct px_device_model {
    const px_checkpoint *checkpoint;
    px_exported exported; /* the network's files */
    px_openvino_api api;
    ov_core_t *core;
    ov_compiled_model_t *compiled;
    px_monitor *steps; /* held by the step that runs */
    px_device_info info;
    char unit[64], phase[96]; /* "GPU.0", "compiling for openvino:GPU.0" */
    ov_element_type_e i64, i32;
    bool is_npu;
    bool window_by_index; /* a sliding window that counts hidden entries too */
};

struct px_sequence {
    px_device_model *model;
    ov_infer_request_t *request; /* NULL: none yet, or its state was not known any more */
    px_ids ids;                  /* all of the sequence */
    size_t fed;                  /* the first so many are in the request's cache, ... */
    int64_t *mask;               /* [entries] ... where these are 1; 0: what was dropped */
    size_t entries, capacity;
};

/* ---- openvino_units.c ---------------------------------------------------------------------- */

bool px_openvino_find(const phlox_model_options *user, char *path, size_t size);
phlox_status px_openvino_list(const phlox_model_options *user, px_units *out, phlox_error *error);
/* Opens the library and starts a core; core_free() it. */
phlox_status px_openvino_start(const phlox_model_options *user, px_openvino_api *api, ov_core_t **core,
                               phlox_error *error);
/* Takes the name of a unit, "gpu.0", as OpenVINO writes it. */
void px_openvino_name_unit(px_device_model *model, const char *unit);
/* Fails unless the unit is there. */
phlox_status px_openvino_check_unit(const px_device_model *model, phlox_error *error);

/* ---- openvino_config.c --------------------------------------------------------------------- */

/* Properties to compile with, each key once. Start from {0}. */
typedef struct px_openvino_config {
    ov_property_t properties[PX_OPENVINO_MOST_PROPERTIES];
    size_t count;
} px_openvino_config;

/* Sets a property, whatever it was. */
phlox_status px_openvino_set(px_openvino_config *config, const char *key, phlox_error *error,
                             const char *format, ...) PX_PRINTF(4, 5);
/* The value of a key, or NULL. */
const char *px_openvino_get(const px_openvino_config *config, const char *key);
/* What phlox sets for the unit, and what the user set over it. */
phlox_status px_openvino_configure(px_openvino_config *config, const phlox_model_options *user,
                                   const char *unit, phlox_error *error);
void px_openvino_config_free(px_openvino_config *config);

/* ---- openvino_compile.c -------------------------------------------------------------------- */

/* Compiles model->compiled, and reports that it does. */
phlox_status px_openvino_compile_watched(px_device_model *model, const ov_model_t *network,
                                         const px_openvino_config *config,
                                         const phlox_model_options *user, phlox_error *error);

/* ---- openvino_request.c -------------------------------------------------------------------- */

/* Tokens for one call of the network, behind those that were fed, and the logits that are wanted. */
typedef struct px_openvino_call {
    size_t count;      /* of tokens: ids[fed], ... */
    int64_t beyond;    /* > 0: one more token at this position, which the others do not see */
    float *logits;     /* of the last token, or of all; NULL: none */
    bool all_logits;
} px_openvino_call;

/* Makes the call; what it appends counts as fed. After an error the request's state is gone. */
phlox_status px_openvino_call_network(px_sequence *sequence, const px_openvino_call *call,
                                      phlox_error *error);
/* Drops the request: its successor starts empty. */
void px_openvino_restart(px_sequence *sequence);

/* ---- openvino_steps.c ---------------------------------------------------------------------- */

enum { PX_OPENVINO_MOST_TOKENS = 256 }; /* of a step on CPU and GPU; their logits all come back */

/* Appends an item's tokens, which are in sequence->ids already, on a unit that takes any shape. */
phlox_status px_openvino_step(px_sequence *sequence, const px_batch_item *item, phlox_error *error);

#endif
