/*
 * Which device: every one is tried with a known answer and measured, what became of that is kept, and one wins.
 */
#ifndef PX_DEVICE_CHOOSE_H
#define PX_DEVICE_CHOOSE_H

#include "device/device.h"

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
