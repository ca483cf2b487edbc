/*
 * The descriptor of a Phi-3 family network: hyperparameters, roles and shapes of its tensors, rotary
 * tables, special tokens. Everything that makes one member differ from another is a field here; the
 * code to the right never asks for names. The network itself is described in docs/MODEL.md.
 */
#ifndef PX_MODEL_MODEL_H
#define PX_MODEL_MODEL_H

#include "base/memory.h"

enum { PX_MOST_EOS = 32 };

typedef struct px_desc {
    int32_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
    int32_t num_attention_heads, num_key_value_heads, head_dim;
    int32_t rotary_dim;     /* leading values of a head that are rotated; even */
    int32_t sliding_window; /* key j is visible to query i when i - window < j <= i; 0: all j <= i */
    float rms_norm_eps;
    double rope_theta;
    bool tied_embeddings;   /* lm_head is the embedding matrix */

    int32_t max_position;          /* max_position_embeddings */
    bool longrope;
    int32_t original_max_position; /* sequences longer than this use the long factors */
    float *short_factor, *long_factor; /* [rotary_dim / 2], owned; NULL without longrope */
    float rope_scale;              /* multiplies cosine and sine (mscale); 1 without longrope */

    int32_t bos_id;                /* -1: none */
    int32_t eos_ids[PX_MOST_EOS];
    size_t eos_count;

    /* generation_config.json */
    bool do_sample;
    int32_t top_k, max_new_tokens; /* -1: not given */
    double temperature, top_p, min_p, repetition_penalty;
} px_desc;

/* What a tensor is for. Shapes [rows, columns]; norms have one row. */
typedef enum px_role {
    PX_EMBEDDING,   /* [vocab, hidden] */
    PX_INPUT_NORM,  /* [1, hidden] */
    PX_QKV,         /* [(heads + 2 kv_heads) * head_dim, hidden]: all queries, keys, values */
    PX_O,           /* [hidden, heads * head_dim] */
    PX_POST_NORM,   /* [1, hidden]: post_attention_layernorm */
    PX_GATE_UP,     /* [2 * intermediate, hidden]: all of gate, then all of up */
    PX_DOWN,        /* [hidden, intermediate] */
    PX_FINAL_NORM,  /* [1, hidden] */
    PX_LM_HEAD,     /* [vocab, hidden]; absent when tied */
    PX_ROLES
} px_role;

bool px_role_is_norm(px_role role);
bool px_role_is_layered(px_role role); /* once for each layer, else once for the model */
/* The parameter's name in transformers, "lm_head.weight"; of layered roles without its beginning,
 * "model.layers.7.". */
const char *px_role_parameter(px_role role);
void px_role_shape(const px_desc *desc, px_role role, int64_t *rows, int64_t *columns);

/* Checks that the numbers fit together; `name` is the file to blame. */
phlox_status px_desc_check(const px_desc *desc, const char *name, phlox_error *error);
void px_desc_free(px_desc *desc);

/* Weights of the network, tied ones counted once. */
uint64_t px_desc_parameters(const px_desc *desc);
/* Whether `id` ends a sequence. */
bool px_desc_is_eos(const px_desc *desc, int32_t id);

/* Whether a sequence of `length` tokens uses the long factors. Always false without longrope. */
bool px_desc_is_long(const px_desc *desc, size_t length);

/* Inverse frequencies [rotary_dim / 2] of one regime: 1 / (factor[i] * theta^(2i / rotary_dim)), in
 * float32 as transformers computes them (modeling_rope_utils._compute_longrope_parameters). */
void px_rope_frequencies(const px_desc *desc, bool is_long, float *inverse);

/* cosine, sine [rotary_dim / 2] at a position, times rope_scale. */
void px_rope_at(const px_desc *desc, const float *inverse, int64_t position, float *cosine,
                float *sine);

#endif
