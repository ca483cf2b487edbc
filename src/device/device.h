/*
 * The seam to what runs the network: the native CPU engine here, runtimes for GPU and NPU later.
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
} px_device_options;

/* What an opened model is and can do. */
typedef struct px_device_info {
    const char *kernels;  /* "avx2"; constant */
    char weights[96];     /* "int4 sym g128, embedding and lm_head int8" */
    uint64_t weight_bytes, kv_bytes_per_token;
    uint64_t step_weight_bytes; /* of those that every step reads */
    int32_t threads;
    bool from_cache;      /* nothing had to be converted */
    size_t most_tokens;   /* of one forward() call */
    uint64_t huge_page_bytes; /* of weights that have moved to pages of 2 MB */
} px_device_info;

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
    const char *name; /* "cpu" */
    phlox_status (*open)(const px_checkpoint *checkpoint, const px_device_options *options,
                         px_device_model **out, phlox_error *error);
    void (*close)(px_device_model *model);
    /* What open() would give, without loading weights. With ratio < 1 the bytes are estimated. */
    phlox_status (*estimate)(const px_checkpoint *checkpoint, const px_device_options *options,
                             px_device_info *out, phlox_error *error);
    void (*info)(const px_device_model *model, px_device_info *out);
    phlox_status (*sequence_create)(px_device_model *model, px_sequence **out, phlox_error *error);
    void (*sequence_free)(px_sequence *sequence);
    /* May be called from several threads; steps run one after the other. On failure the sequences
     * keep the length they had. Logits that are not finite are an error. */
    phlox_status (*forward)(px_device_model *model, const px_batch_item *items, size_t count,
                            phlox_error *error);
    /* Cuts a sequence back to `length` tokens, or to none where what the cut needs is gone (a sliding
     * window forgets). Returns how many are left. */
    size_t (*truncate)(px_sequence *sequence, size_t length);
    uint64_t (*sequence_bytes)(const px_sequence *sequence);
} px_device;

/* Chooses the device for a checkpoint; *reason (constant) says why. */
const px_device *px_device_choose(const char **reason);

#endif
