/*
 * The OpenVINO device, inside: a model compiled for one unit, and sequences. The state of an infer request
 * is the cache of keys and values, which the C interface cannot cut back or reset. On CPU and GPU each
 * sequence has a request of its own; tokens that are dropped stay in it, hidden by the attention mask, and
 * a new request starts empty. On the NPU all sequences share one request. The ids of a sequence are kept,
 * so that a request can always be filled again.
 */
#ifndef PX_DEVICE_OPENVINO_MODEL_H
#define PX_DEVICE_OPENVINO_MODEL_H

#include "device/device.h"
#include "device/openvino_api.h"
#include "engine/exported.h"

#include <stdatomic.h>

/* What the NPU's plugin keeps: one sequence, for which all requests of a model have one counter. */
typedef struct px_openvino_npu {
    size_t max_prompt;      /* tokens of one prefill */
    size_t capacity;        /* tokens of a sequence */
    size_t chunk_tokens;    /* a prefill takes as long as so many tokens, or a multiple */
    size_t step_tokens;     /* most tokens of a call behind the prefill */
    ov_infer_request_t *request;
    /* Whose tokens are in the request; NULL: nobody's. Steps set it; a sequence that goes or is asked for its
     * size does not wait for them. */
    _Atomic(px_sequence *) owner;
    bool reuses;            /* chunks of prompts are kept by the plugin, ... */
    size_t prefilled;       /* ... and of so many of the owner's first tokens */
    size_t stored;          /* tokens that the request has, ... */
    size_t marked;          /* ... and how many entries of its mask may be set */
    bool is_generating;     /* they have moved from the prefill's cache to that of generation */
    double prefill_seconds, step_seconds; /* of a call, the least measured; 0: not yet */
    int64_t *numbers;       /* inputs: [numbers_capacity] */
    size_t numbers_capacity;
} px_openvino_npu;

struct px_device_model {
    const px_checkpoint *checkpoint;
    px_exported exported; /* the network's files */
    px_openvino_api api;
    ov_core_t *core;
    ov_compiled_model_t *compiled;
    px_monitor *steps; /* held by the step that runs */
    px_device_info info;
    char unit[64], phase[96]; /* "GPU.0", "compiling for openvino:GPU.0" */
    const char *overflow; /* what logits that are not finite come from, and what helps */
    ov_element_type_e i64, i32;
    bool is_npu;
    bool is_borrowed;     /* the NPU's plugin works on other units, as NPUW_DEVICES=CPU asks */
    bool window_by_place; /* a sliding window that counts hidden entries too */
    px_openvino_npu npu;
};

struct px_sequence {
    px_device_model *model;
    px_ids ids;      /* all of the sequence */
    size_t fed;      /* the first so many are in the cache of the request */
    /* On CPU and GPU a sequence has a request of its own: */
    ov_infer_request_t *request; /* NULL: none yet, or its state was not known any more */
    int64_t *mask;               /* [entries] of its cache: 1, or 0 where it was dropped */
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
bool px_openvino_is_npu(const char *unit);
/* An address on the PCI bus, as OpenVINO writes it, in the system's form; "" when it is none. */
void px_openvino_pci(const char *text, char *out, size_t size);
/* The version of the unit's driver, or "". */
void px_openvino_driver(const px_device_model *model, char *out, size_t size);
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
void px_openvino_unset(px_openvino_config *config, const char *key);
/* The value of a key, or NULL. */
const char *px_openvino_get(const px_openvino_config *config, const char *key);
/* Two words and the properties, as a key of the cache has them: "NPU; exact; KEY=VALUE; ". free() it; NULL
 * without memory. */
char *px_openvino_config_text(const px_openvino_config *config, const char *unit, const char *word);
/* Fails for options of the user that the unit has no use for, where they name it: one that is chosen or tried may
 * be given what is for others. */
phlox_status px_openvino_check_options(const phlox_model_options *user, const char *unit, phlox_error *error);
/* What phlox sets for the unit, and what the user set over it. */
phlox_status px_openvino_configure(px_openvino_config *config, const phlox_model_options *user,
                                   const char *unit, phlox_error *error);
/* What logits that are not finite come from with these properties, and what helps. */
const char *px_openvino_overflow(const px_openvino_config *config, bool is_npu);
void px_openvino_config_free(px_openvino_config *config);

/* ---- openvino_compile.c -------------------------------------------------------------------- */

/* Compiles model->compiled, and reports that it does. What the plugin compiles is kept in phlox's cache, or
 * where the user's CACHE_DIR says. May take back from `config` what the plugin cannot. */
phlox_status px_openvino_compile_network(px_device_model *model, const ov_model_t *network,
                                         px_openvino_config *config, const px_device_options *options,
                                         phlox_error *error);

/* ---- openvino_request.c -------------------------------------------------------------------- */

/* Inputs of one call of the network; the arrays must stay as they are while it runs. */
typedef struct px_openvino_inputs {
    int64_t *ids, *positions; /* [count] */
    size_t count;
    int64_t *mask;            /* [mask_count]: what was there before, and the tokens */
    size_t mask_count;
} px_openvino_inputs;

phlox_status px_openvino_request(const px_device_model *model, ov_infer_request_t **out,
                                 phlox_error *error);
phlox_status px_openvino_infer(const px_device_model *model, ov_infer_request_t *request,
                               const px_openvino_inputs *in, phlox_error *error);
/* The logits of the last `count` positions but for `behind` ones behind them; float32 [count, vocab]. */
phlox_status px_openvino_logits(const px_device_model *model, const ov_infer_request_t *request,
                                size_t count, size_t behind, float *out, phlox_error *error);
/* Makes room in a buffer that grows. */
phlox_status px_openvino_reserve(int64_t **numbers, size_t *capacity, size_t count, phlox_error *error);

/* ---- openvino_steps.c, openvino_npu.c, openvino_npu_config.c -------------------------------- */

enum { PX_OPENVINO_MOST_TOKENS = 256 }; /* of a step on CPU and GPU; their logits all come back */

/* Appends an item's tokens, which are the last of sequence->ids. After an error nothing of the sequence is
 * in a cache. */
phlox_status px_openvino_step(px_sequence *sequence, const px_batch_item *item, phlox_error *error);
phlox_status px_openvino_npu_step(px_sequence *sequence, const px_batch_item *item, phlox_error *error);
/* Drops what is in the cache beyond `length` ids. */
size_t px_openvino_cut(px_sequence *sequence, size_t length);
/* Leaves nothing in the cache; its request goes. */
void px_openvino_restart(px_sequence *sequence);

/* Fails when the NPU does not run such weights, and says which it does. Fills in `chosen` what the user left
 * open. */
phlox_status px_openvino_npu_check(const px_checkpoint *checkpoint, phlox_model_options *chosen,
                                   phlox_error *error);
/* Sets the properties for the NPU. */
phlox_status px_openvino_npu_configure(px_openvino_config *config, const phlox_model_options *user,
                                       phlox_error *error);
/* Sets what depends on the version, such as that the plugin keeps what it computed of prompts; and takes
 * that back. */
phlox_status px_openvino_npu_adapt(px_device_model *model, px_openvino_config *config, phlox_error *error);
/* Whether a compile that failed with this message may have failed for that. */
bool px_openvino_npu_blames_reuse(const px_openvino_config *config, const char *message);
void px_openvino_npu_no_reuse(px_device_model *model, px_openvino_config *config);
/* Reads from the properties what the plugin will hold. */
void px_openvino_npu_limits(px_device_model *model, const px_openvino_config *config);
void px_openvino_npu_free(px_device_model *model);

#endif
