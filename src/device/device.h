/*
 * The seam to what runs the network: the native CPU engine, and the runtimes for CPU, GPU and NPU.
 * A device opens a checkpoint, keeps sequences, and turns tokens into logits. What is special to one
 * backend stays in its file. Above the seam nothing knows where the network runs; below it nothing
 * knows of text, sampling, or of when longrope changes its factors.
 */
#ifndef PX_DEVICE_DEVICE_H
#define PX_DEVICE_DEVICE_H

#include "checkpoint/checkpoint.h"

typedef struct px_device_model px_device_model; /* a model opened on a device */
typedef struct px_sequence px_sequence;         /* its state for one run of tokens */

typedef struct px_device_options {
    const phlox_model_options *user; /* with defaults filled in */
    const char *cache_dir;           /* NULL: use no cache */
    const char *unit;                /* of the device: "NPU" of "openvino:NPU"; "" where there is but one */
} px_device_options;

/* What an opened model is and can do. */
typedef struct px_device_info {
    char kernels[64];     /* "avx2", "OpenVINO 2026.4.1" */
    char name[128];       /* of the unit: "Intel(R) AI Boost"; "" when it is not known */
    char weights[96];     /* "int4 sym g128, embedding and lm_head int8" */
    uint64_t weight_bytes, kv_bytes_per_token;
    uint64_t step_weight_bytes; /* of those that every step reads */
    int32_t threads;      /* 0: the runtime's own affair */
    bool from_cache;      /* nothing had to be converted */
    size_t most_tokens;   /* of one forward() call */
    size_t most_context;  /* tokens of a sequence; 0: no limit of the device's own */
    bool last_logits_only; /* a token more of all_logits costs as much as a step: no drafts */
    uint64_t huge_page_bytes; /* of weights that have moved to pages of 2 MB */
} px_device_info;

typedef enum px_unit_kind { PX_UNIT_CPU, PX_UNIT_GPU, PX_UNIT_NPU } px_unit_kind;

/* A unit that a device can drive. */
typedef struct px_unit {
    char unit[32];      /* as px_device_options has it: "GPU.0" */
    px_unit_kind kind;
    char name[128];     /* "Intel(R) Arc(TM) 140V GPU"; "" when it is not known */
    char driver[64];    /* its version; "" when it is not known */
    char pci[16];       /* "0000:00:02.0"; "" when it is not known */
    uint64_t memory;    /* bytes that it can use; 0: unknown */
} px_unit;

enum { PX_MOST_UNITS = 32 };

/* A device's runtime on this machine. */
typedef struct px_units {
    char library[1024]; /* path of the runtime; "" for the native engine */
    char version[96];   /* of the runtime: "2026.4.1-22982-..." */
    px_unit units[PX_MOST_UNITS];
    size_t count;
} px_units;

/* A part of a step: tokens to append to a sequence. */
typedef struct px_batch_item {
    px_sequence *sequence; /* each at most once in a batch */
    const int32_t *ids;    /* [count], valid ids */
    size_t count;          /* >= 1 */
    bool is_long;          /* longrope: with the long factors */
    float *logits;         /* float32: [vocab] of the last token, or [count, vocab] when all_logits */
    bool all_logits;       /* logits may be NULL: none are computed */
} px_batch_item;

typedef struct px_device {
    const char *name;    /* "cpu", "openvino", "ort" */
    const char *runtime; /* the name of its runtime for phlox runtime: "openvino"; NULL: none is needed */
    /* Whether the runtime seems to be installed, as its library's path; opens nothing. May be NULL when
     * runtime is. */
    bool (*find)(const phlox_model_options *user, char *path, size_t size);
    /* Opens the runtime and lists the units that it can drive. PHLOX_ERROR_NOT_FOUND when it is not
     * installed, PHLOX_ERROR_DEVICE when it does not work; the message says what mends that. */
    phlox_status (*list)(const phlox_model_options *user, px_units *out, phlox_error *error);
    phlox_status (*open)(const px_checkpoint *checkpoint, const px_device_options *options,
                         px_device_model **out, phlox_error *error);
    void (*close)(px_device_model *model);
    /* What open() would give, without loading weights or a runtime. With ratio < 1 the bytes are
     * estimated. */
    phlox_status (*estimate)(const px_checkpoint *checkpoint, const px_device_options *options,
                             px_device_info *out, phlox_error *error);
    void (*info)(const px_device_model *model, px_device_info *out);
    phlox_status (*sequence_create)(px_device_model *model, px_sequence **out, phlox_error *error);
    void (*sequence_free)(px_sequence *sequence);
    /* Says how many tokens the sequence is about to have, over several calls of forward(), so that room is
     * made for them at once. May be NULL. */
    void (*reserve)(px_sequence *sequence, size_t length);
    /* May be called from several threads; steps run one after the other. On failure the sequences
     * keep the length they had. Logits that are not finite are an error. */
    phlox_status (*forward)(px_device_model *model, const px_batch_item *items, size_t count,
                            phlox_error *error);
    /* Cuts a sequence back to `length` tokens, or to none where what the cut needs is gone (a sliding
     * window forgets, some runtimes cannot). Returns how many are left. */
    size_t (*truncate)(px_sequence *sequence, size_t length);
    uint64_t (*sequence_bytes)(const px_sequence *sequence);
} px_device;

/* All devices, the native engine first; ends with NULL. */
const px_device *const *px_device_all(void);

/* The device that a name means, "openvino:NPU" or "npu", and its unit, as options take it. */
phlox_status px_device_by_name(const char *name, const px_device **device, char *unit, size_t size,
                               phlox_error *error);

/* What a unit is by its name: "NPU" is an NPU, "GPU.0", "cuda" and "dml" are GPUs. */
px_unit_kind px_unit_kind_of(const char *unit);

/* The unit's full name, "openvino:NPU" or "cpu". */
void px_device_unit_name(const px_device *device, const char *unit, char *out, size_t size);

/* Settings of a runtime that the device is not one of would be ignored: PHLOX_ERROR_ARGUMENT. `name` is the device's. */
phlox_status px_device_check_settings(const px_device *device, const char *name,
                                      const phlox_model_options *options, phlox_error *error);

/* Options that only another device has would be ignored by a runtime: PHLOX_ERROR_UNSUPPORTED. `is_npu`: those of an
 * NPU are its own. */
phlox_status px_device_check_others(const phlox_model_options *user, const char *name, bool is_npu, phlox_error *error);

#endif
