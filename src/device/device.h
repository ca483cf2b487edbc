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

/* ---- proof and measurement (choose_trial.c) ------------------------------------------------ */

/* What a small model answers, as transformers computes it in float32. Little endian. */
typedef struct px_known_answer {
    const int32_t *ids;  /* [prompt + steps - 1]: a prompt, then the first ids of the greedy answer */
    size_t prompt, steps;
    const float *logits; /* [steps, vocab]: behind the prompt, and behind each of those ids */
    phlox_text large;    /* config.json of the network that is measured; size 0: two layers of Phi-3-mini's size */
} px_known_answer;

/* What became of trying a device. */
typedef struct px_trial {
    char device[64];     /* "openvino:NPU" */
    char name[128];      /* "Intel(R) AI Boost" */
    char runtime[96];    /* "OpenVINO 2026.4.1"; the instruction set of the native engine */
    px_unit_kind kind;
    bool is_right;       /* every best id is the known one, and the distributions are close */
    double kl;           /* largest Kullback-Leibler divergence from the known one, nats */
    double difference;   /* largest of the logits */
    /* Of a decode step: seconds that a layer takes whatever its size, and bytes of int4 weights read a second; of a
     * prompt: weights times tokens a second. 0: not measured. */
    double layer_seconds, read_rate, prompt_rate;
    double watts;        /* of the processor packages while the large model decoded; 0: not measurable */
    uint64_t memory;     /* bytes that the unit can use; 0: unknown */
    phlox_status status; /* of the problem */
    char problem[1024];  /* why it is none to run on; "" when it is one */
} px_trial;

/* Runs the known answer of `model` on a device, and measures there how fast decoding is: of this small model, and
 * of one whose matrices are as large as Phi-3-mini's. Whatever fails is the trial's problem. The user's progress may
 * cancel it. */
void px_trial_run(const px_device *device, const char *unit, const px_checkpoint *model,
                  const px_known_answer *known, const phlox_model_options *user, px_trial *out);

/* Seconds that a step of a network is expected to take, with `step_bytes` of weights to read, and a token of a
 * prompt; of a trial that measured. */
double px_trial_step_seconds(const px_trial *trial, const px_desc *desc, uint64_t step_bytes);
double px_trial_prompt_seconds(const px_trial *trial, const px_desc *desc);

/* ---- trials that are kept (choose_kept.c), and choosing (choose_auto.c) -------------------- */

/* What a choice depends on beside the checkpoint. */
typedef struct px_choosing {
    const phlox_model_options *user;
    const char *cache_dir; /* where trials are kept; NULL: nowhere */
    bool only_kept;        /* nothing is tried: what is not kept is not known */
    bool (*on_battery)(void); /* asked when it matters; NULL: no */
    const char *version;   /* of phlox: another one tries anew */
    /* Opens the model of the known answer; fails where this build has none. */
    phlox_status (*open_known)(px_checkpoint **model, px_known_answer *known, phlox_error *error);
    /* As px_device.list, for runtimes that hang; NULL: that. */
    phlox_status (*list)(const px_device *device, const phlox_model_options *user, px_units *out,
                         phlox_error *error);
} px_choosing;

/* Trials of every unit that phlox can drive on this machine, from the cache where runtimes, drivers and settings are
 * still those of then; `anew`: in any case. The native engine is the first; free(*trials). */
phlox_status px_trials(const px_choosing *choosing, bool anew, px_trial **trials, size_t *count,
                       phlox_error *error);

/* Tries one unit anew, and puts what became of it among the kept trials, where there are any. */
phlox_status px_trial_again(const px_choosing *choosing, const px_device *device, const char *unit,
                            px_trial *out, phlox_error *error);

/* Whether the tried unit can run this model: the device looks at its weights, which must fit its memory. Why not becomes
 * the trial's problem; else *info says what the model would be there. */
bool px_trial_can_run(const px_choosing *choosing, const px_checkpoint *checkpoint, px_trial *trial,
                      px_device_info *info);

/* Settings of a runtime that the device is not one of would be ignored: PHLOX_ERROR_ARGUMENT. `name` is the device's. */
phlox_status px_device_check_settings(const px_device *device, const char *name,
                                      const phlox_model_options *options, phlox_error *error);

typedef struct px_choice {
    const px_device *device;
    char unit[32];
    char reason[512]; /* a sentence */
} px_choice;

/* The trial that wins for a network whose steps read `step_bytes` of weights, and why; NULL when no device is
 * right. */
const px_trial *px_trials_pick(const px_trial *trials, size_t count, const px_desc *desc,
                               uint64_t step_bytes, phlox_preference prefer, bool on_battery,
                               char *reason, size_t size);

/* Whether a network is so small that no other device gains anything: what is said of it, or NULL. */
const char *px_choose_small(uint64_t step_bytes);

/* Chooses the device for a checkpoint: the native engine where there is no other runtime, or where the model is too
 * small to gain from one; else what px_trials_pick() says. */
phlox_status px_choose(const px_choosing *choosing, const px_checkpoint *checkpoint, px_choice *out,
                       phlox_error *error);

#endif
