/*
 * phlox: Phi-3, locally, on any AI PC.
 *
 * Three handles: a model (weights, tokenizer, chat format), a session (one timeline of tokens with
 * its cache) and, between them, text. The shortest useful program is examples/hello.c.
 *
 * Ownership. What a function creates through a `T **out`, the caller frees with the matching
 * close function, which sets the pointer to NULL; NULL is accepted there. Pointers returned inside
 * structs belong to the handle they came from and live as long as it. Arguments are only read
 * during the call unless a comment says otherwise.
 *
 * Text is UTF-8, given as pointer and length, never assumed to end in a NUL.
 *
 * Errors. Functions that can fail return a phlox_status, PHLOX_OK (0) on success, and describe the
 * failure in `error` when it is not NULL: what went wrong, where (file, tensor, offset, value) and
 * what to do. On failure output arguments are left untouched unless a comment says otherwise. The
 * library never prints and never exits.
 *
 * Threads. A model may be used by any number of threads at once. A session belongs to one thread
 * at a time; only phlox_session_cancel() may be called from any thread, or from a signal handler,
 * while another call runs on it. Steps of sessions of one model run one after the other. A model
 * must outlive its sessions.
 */
#ifndef PHLOX_PHLOX_H
#define PHLOX_PHLOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(PHLOX_STATIC)
#define PHLOX_API
#elif defined(_WIN32)
#define PHLOX_API __declspec(dllimport)
#else
#define PHLOX_API __attribute__((visibility("default")))
#endif

#define PHLOX_VERSION "0.1.0"

/* ---- errors -------------------------------------------------------------------------------- */

typedef enum phlox_status {
    PHLOX_OK = 0,
    PHLOX_ERROR_ARGUMENT,     /* an argument or option is out of its range, or two contradict */
    PHLOX_ERROR_MEMORY,       /* the system has no memory left */
    PHLOX_ERROR_IO,           /* reading or writing failed, no space left */
    PHLOX_ERROR_NOT_FOUND,    /* a file, a tensor or an id that should be there is not */
    PHLOX_ERROR_FORMAT,       /* a file breaks the rules of its format */
    PHLOX_ERROR_UNSUPPORTED,  /* valid, but not something phlox does */
    PHLOX_ERROR_CONTEXT_FULL, /* more tokens than the context holds */
    PHLOX_ERROR_CANCELLED,    /* a callback or phlox_session_cancel() asked to stop */
    PHLOX_ERROR_DEVICE,       /* the device or its runtime failed */
    PHLOX_ERROR_INTERNAL      /* a defect of phlox */
} phlox_status;

typedef struct phlox_error {
    phlox_status code;
    char message[1024]; /* one sentence, NUL-terminated */
    char trace[512];    /* debug builds: file:line of the way up; else empty */
} phlox_error;

/* A short constant name such as "format"; never NULL. */
PHLOX_API const char *phlox_status_name(phlox_status status);

/* ---- text and progress --------------------------------------------------------------------- */

typedef struct phlox_text {
    const char *data; /* UTF-8; may be NULL when size is 0 */
    size_t size;      /* bytes */
} phlox_text;

/* A C string as text; NULL gives the empty text. */
PHLOX_API phlox_text phlox_text_of(const char *string);

typedef struct phlox_progress {
    const char *what;       /* what is being done, e.g. "packing weights" */
    uint64_t done, total;   /* bytes or tokens; total 0: nobody knows how much there is to do */
    bool is_bytes;
} phlox_progress;

/* Called from the thread of the call it reports on. Return false to cancel that call, which then
 * fails with PHLOX_ERROR_CANCELLED. */
typedef bool phlox_progress_fn(void *user, const phlox_progress *progress);

/* ---- model --------------------------------------------------------------------------------- */

typedef struct phlox_model phlox_model;

typedef enum phlox_weight_format {
    PHLOX_WEIGHTS_DEFAULT = 0, /* above one billion float parameters: int4 sym group 128 with int8
                                  embedding and lm_head; smaller or already quantized: as stored */
    PHLOX_WEIGHTS_STORED,
    PHLOX_WEIGHTS_F32,
    PHLOX_WEIGHTS_F16,
    PHLOX_WEIGHTS_BF16,
    PHLOX_WEIGHTS_INT8,
    PHLOX_WEIGHTS_INT4
} phlox_weight_format;

typedef enum phlox_symmetry { PHLOX_SYMMETRY_DEFAULT = 0, PHLOX_SYM, PHLOX_ASYM } phlox_symmetry;

typedef enum phlox_backup_precision {
    PHLOX_BACKUP_DEFAULT = 0, /* int8_asym */
    PHLOX_BACKUP_INT8_ASYM,
    PHLOX_BACKUP_INT8_SYM,
    PHLOX_BACKUP_NONE         /* layers that are not 4-bit stay as stored */
} phlox_backup_precision;

typedef enum phlox_group_fallback {
    PHLOX_FALLBACK_ERROR = 0, /* a row that groups do not divide is an error */
    PHLOX_FALLBACK_IGNORE,    /* ... leaves the layer as stored */
    PHLOX_FALLBACK_ADJUST     /* ... takes the largest power of two >= 32 that divides it, else int8 */
} phlox_group_fallback;

/* How keys and values are cached. int8 and int4 are read by integer products. */
typedef enum phlox_kv_cache {
    PHLOX_KV_DEFAULT = 0, /* int8 where the weights are integers, f32 with exact or float weights */
    PHLOX_KV_F32,
    PHLOX_KV_F16,
    PHLOX_KV_INT8,        /* keys: a scale for 32 values; values: one for a head */
    PHLOX_KV_INT4
} phlox_kv_cache;

/* Whether weights move from the mapped file, which processes share, to memory in pages of 2 MB. */
typedef enum phlox_huge_pages {
    PHLOX_HUGE_AUTO = 0, /* behind 64 tokens, where half as much memory again is free and reading was
                            measured to be faster */
    PHLOX_HUGE_ON,       /* behind the first token, where the system gives such pages */
    PHLOX_HUGE_OFF
} phlox_huge_pages;

typedef enum phlox_quant_method {
    PHLOX_QUANT_DEFAULT = 0, /* nncf */
    PHLOX_QUANT_NNCF,        /* int4 exactly as NNCF rounds it */
    PHLOX_QUANT_SEARCH       /* int4 scales searched for the least squared error */
} phlox_quant_method;

/* What "auto" puts first among the devices that gave the right answer. */
typedef enum phlox_preference {
    PHLOX_PREFER_DEFAULT = 0, /* speed; efficiency on battery */
    PHLOX_PREFER_SPEED,       /* the fastest measured decode */
    PHLOX_PREFER_EFFICIENCY,  /* NPU before GPU before CPU */
    PHLOX_PREFER_QUIET        /* likewise, and half the CPU's cores */
} phlox_preference;

enum { PHLOX_MOST_SETTINGS = 32 }; /* of ov_config and of ort_config */

typedef struct phlox_model_options {
    size_t struct_size; /* set by the initialiser */
    /* Where. "cpu" is the native engine; "openvino:UNIT" (CPU, GPU, GPU.1, NPU), "npu" and "gpu" for short;
     * "ort:PROVIDER" (cpu, cuda, dml or any that the installed build has), "cuda" and "dml" for short. NULL or
     * "auto": chosen, and the reason said. A device that is asked for by name and fails is an error. */
    const char *device;
    phlox_preference prefer;
    const char *ov_config[PHLOX_MOST_SETTINGS];  /* "KEY=VALUE", properties for OpenVINO */
    size_t ov_config_count;
    const char *ort_config[PHLOX_MOST_SETTINGS]; /* "KEY=VALUE", options of ONNX Runtime's provider */
    size_t ort_config_count;
    const char *openvino_library; /* libopenvino_c or its directory; NULL: found in the usual places */
    const char *ort_library;      /* libonnxruntime-genai or its directory; NULL likewise */
    /* NPU: its programs are compiled for fixed sizes. 0: defaults (1024 and 128, or what context_size
     * asks for); NULL: the plugin's. */
    int32_t max_prompt_len, min_response_len;
    const char *prefill_hint, *generate_hint;    /* "DYNAMIC", "STATIC"; "FAST_COMPILE", "BEST_PERF" */
    /* Weights; the words and meanings of `optimum-cli export openvino`. */
    phlox_weight_format weight_format;
    int32_t group_size; /* 0: default (128 for int4, -1 for int8); -1: one group a row */
    phlox_symmetry symmetry;
    double ratio; /* share of the weights that goes to int4, 0 < ratio <= 1; 0: default (1) */
    phlox_backup_precision backup_precision;
    bool all_layers;
    phlox_group_fallback group_size_fallback;
    phlox_quant_method quant_method;
    /* Running. */
    bool describe_only;       /* load no weights: information and tokens, but no sessions */
    bool exact;           /* float32 activations and cache, whatever the weights */
    phlox_kv_cache kv_cache;
    phlox_huge_pages huge_pages;
    int32_t threads;      /* 0: one for each core that the process may use, but much slower ones */
    uint64_t cpu_mask;    /* PHLOX_CPU_* features to hide; they are only ever taken away */
    int32_t context_size; /* most tokens of a session; 0: what the model was trained for */
    const char *chat_format; /* NULL: recognised from the model's template; see tools.h */
    /* The cache of packed weights. */
    bool no_cache;           /* pack into memory, read and write no cache */
    const char *cache_dir;   /* NULL: $XDG_CACHE_HOME/phlox or ~/.cache/phlox */
    uint64_t cache_limit;    /* bytes, 0: default (32 GiB); the longest unused files go first */
    phlox_progress_fn *progress; /* may be NULL */
    void *progress_user;
    uint64_t reserved[8];
} phlox_model_options;

PHLOX_API void phlox_model_options_init(phlox_model_options *options);

/* Opens the model at `path` (NULL: the built-in demonstration model). `options` may be NULL. */
PHLOX_API phlox_status phlox_model_open(const char *path, const phlox_model_options *options,
                                        phlox_model **out, phlox_error *error);
PHLOX_API void phlox_model_close(phlox_model **model);

typedef struct phlox_model_info {
    const char *form;        /* "huggingface", "built-in" */
    const char *path;        /* as given, or "" */
    const char *device;      /* "cpu", "openvino:NPU" */
    const char *device_name; /* what it is: "Intel(R) AI Boost"; "" when that is not known */
    const char *device_reason; /* a sentence: why this device */
    const char *kernels;     /* "avx512-vnni", "avx2", "OpenVINO 2026.4.1", ... */
    const char *weights;     /* e.g. "int4 sym g128, embedding and lm_head int8" */
    const char *stored;      /* encoding of the file: "bf16" */
    const char *chat_format; /* name, or "" when there is none */
    const char *architecture; /* "Phi3ForCausalLM" */
    uint64_t parameters;     /* weights of the network, tied ones counted once */
    uint64_t stored_bytes, weight_bytes; /* in the files; as run */
    uint64_t kv_bytes_per_token;
    uint64_t step_weight_bytes; /* what a step must read: all weights but the embedding's other rows */
    int32_t step_tokens;     /* most tokens that share a step */
    int32_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
    int32_t num_attention_heads, num_key_value_heads, head_dim, rotary_dim;
    int32_t sliding_window;            /* 0: none */
    int32_t context_size, original_context_size; /* longrope switches above the second */
    double rope_theta, rms_norm_eps;
    bool longrope, tied_embeddings, has_tokenizer;
    const int32_t *eos_ids;
    size_t eos_count;
    int32_t bos_id, threads; /* bos_id: -1 when there is none */
    double load_seconds;
    bool from_cache;         /* packed weights were found in the cache */
} phlox_model_info;

/* Fills `info`, whose pointers live as long as the model. */
PHLOX_API void phlox_model_get_info(const phlox_model *model, phlox_model_info *info);

/* ---- tokens -------------------------------------------------------------------------------- */

enum {
    PHLOX_TOKENIZE_CONTROL = 1, /* control tokens written in the text count as such (--raw) */
    PHLOX_TOKENIZE_BOS = 2,     /* put the beginning-of-sequence token in front */
    PHLOX_TOKENIZE_POST = 4     /* add what the tokenizer's post-processor adds */
};

/* Ids of `text`: *count becomes the number of ids; up to `capacity` of them are written to ids (NULL
 * allowed when capacity is 0). Without PHLOX_TOKENIZE_CONTROL no text gives a control
 * token. Invalid UTF-8 is PHLOX_ERROR_ARGUMENT naming the offset. */
PHLOX_API phlox_status phlox_tokenize(const phlox_model *model, phlox_text text, unsigned flags,
                                      int32_t *ids, size_t capacity, size_t *count,
                                      phlox_error *error);

/* Text of `ids`: *size becomes the number of bytes; up to `capacity` are written, without
 * a NUL. Control tokens are left out unless with_control. */
PHLOX_API phlox_status phlox_detokenize(const phlox_model *model, const int32_t *ids, size_t count,
                                        bool with_control, char *text, size_t capacity,
                                        size_t *size, phlox_error *error);

typedef struct phlox_message {
    phlox_text role;    /* "system", "user", "assistant" */
    phlox_text content; /* plain text: control tokens written in it stay text */
} phlox_message;

/* Ids of a conversation in the model's chat format, with the opening of the assistant's turn when
 * add_generation_prompt. Sizes as in phlox_tokenize(). */
PHLOX_API phlox_status phlox_chat_tokenize(const phlox_model *model, const phlox_message *messages,
                                           size_t message_count, bool add_generation_prompt,
                                           int32_t *ids, size_t capacity, size_t *count,
                                           phlox_error *error);

/* ---- session ------------------------------------------------------------------------------- */

typedef struct phlox_session phlox_session;

PHLOX_API phlox_status phlox_session_create(phlox_model *model, phlox_session **out,
                                            phlox_error *error);
PHLOX_API void phlox_session_close(phlox_session **session);

/* Tokens so far. The array lives until the next call on the session. */
PHLOX_API const int32_t *phlox_session_ids(const phlox_session *session, size_t *count);

/* Cuts the session back to its first `count` tokens. */
PHLOX_API phlox_status phlox_session_truncate(phlox_session *session, size_t count,
                                              phlox_error *error);

/* Appends ids (count >= 1) and computes the logits after the last one, or, when `all` is given,
 * after each: all is float32 [count, vocab_size], owned by the caller. `progress` may be NULL.
 * When it fails the session keeps the tokens it had before. */
PHLOX_API phlox_status phlox_session_append(phlox_session *session, const int32_t *ids,
                                            size_t count, float *all, phlox_progress_fn *progress,
                                            void *progress_user, phlox_error *error);

/* Appends counts[i] >= 1 ids to sessions[i], for session_count >= 1 sessions: different ones, all of
 * one model. The tokens of all share the steps of the device, so that weights are read once for all of
 * them; each session's logits are then, bit for bit, those of appending to it alone. Stopping one of
 * the sessions stops the call. When it fails every session keeps the tokens it had before. */
PHLOX_API phlox_status phlox_session_append_batch(phlox_session *const *sessions,
                                                  const int32_t *const *ids, const size_t *counts,
                                                  size_t session_count, phlox_error *error);

/* Logits after the last token: float32 [vocab_size]. NULL while the session is empty, was cut, or
 * its last call generated or failed. The array lives until the next call on the session. */
PHLOX_API const float *phlox_session_logits(const phlox_session *session);

/* Stops the call that runs on the session at its next token. Harmless, and forgotten, when none
 * runs: every call begins without a request to stop. */
PHLOX_API void phlox_session_cancel(phlox_session *session);

typedef struct phlox_statistics {
    uint64_t prefill_tokens, decode_tokens;
    double prefill_seconds, decode_seconds;
    uint64_t rope_recomputes;  /* times the cache was rebuilt for the other longrope factors */
    uint64_t recomputed_tokens;
    uint64_t context_shifts;
    uint64_t kv_bytes;         /* memory of this session's cache */
    uint64_t speculated_steps; /* decode steps that had drafted tokens in them */
    uint64_t drafted_tokens, accepted_tokens; /* accepted: drafted, and right */
    uint64_t huge_page_bytes;  /* of the model's weights that are in pages of 2 MB */
    double first_token_seconds; /* of the last generation: from the beginning of the append before it to its
                                   first token; 0: none yet */
} phlox_statistics;

PHLOX_API void phlox_session_statistics(const phlox_session *session, phlox_statistics *out);

/* ---- generation ---------------------------------------------------------------------------- */

enum { PHLOX_MAX_TOP_LOGPROBS = 20, PHLOX_MAX_DRAFT = 7, PHLOX_SPECULATE_AUTO = -1 };

typedef struct phlox_token_info {
    int32_t id;
    float logprob; /* natural logarithm, of the distribution before temperature and penalties */
} phlox_token_info;

typedef struct phlox_piece {
    phlox_text text;        /* whole characters only; may be empty while one is incomplete */
    phlox_token_info token; /* the token that this call reports; id -1 in a last call that only
                               brings text still held when the generation was cancelled */
    const phlox_token_info *top; /* the most probable tokens, best first */
    size_t top_count;
    size_t shifted;         /* > 0: before this token so many old tokens were dropped from the context */
} phlox_piece;

/* Called once for each token, with the text that became complete. Return false to stop. */
typedef bool phlox_piece_fn(void *user, const phlox_piece *piece);

typedef enum phlox_stop_reason {
    PHLOX_STOP_EOS = 0,   /* one of the end-of-sequence ids */
    PHLOX_STOP_STRING,    /* one of the stop strings, which is not part of the text */
    PHLOX_STOP_LENGTH,    /* max_new_tokens reached */
    PHLOX_STOP_CONTEXT,   /* the context is full and context_shift is off */
    PHLOX_STOP_CANCELLED  /* the callback or phlox_session_cancel() */
} phlox_stop_reason;

typedef struct phlox_generate_options {
    size_t struct_size;     /* set by the initialiser */
    int32_t max_new_tokens; /* -1: until the context is full */
    bool do_sample;         /* false: greedy */
    double temperature;     /* >= 0; 0 is greedy */
    int32_t top_k;          /* 0: off */
    double top_p, min_p;    /* 1 and 0: off */
    double repetition_penalty; /* 1: off; divides positive, multiplies negative logits of seen tokens */
    double presence_penalty, frequency_penalty; /* 0: off; of tokens generated by this call */
    uint64_t seed;          /* same seed, same text */
    const phlox_text *stop_strings;
    size_t stop_count;
    bool ignore_eos;
    bool context_shift;     /* when full, drop the oldest half after context_keep instead of ending */
    int32_t context_keep;
    int32_t top_logprobs;   /* 0 to PHLOX_MAX_TOP_LOGPROBS; reported in each piece */
    int32_t speculate;      /* most tokens that a step drafts from text that repeats, up to
                               PHLOX_MAX_DRAFT; 0: none; PHLOX_SPECULATE_AUTO: as many as pay. What
                               is generated does not depend on it */
    uint64_t reserved[8];
} phlox_generate_options;

/* The defaults of the model's generation_config. */
PHLOX_API void phlox_generate_options_init(phlox_generate_options *options,
                                           const phlox_model *model);

typedef struct phlox_generate_result {
    phlox_stop_reason stop;
    size_t tokens;          /* generated, an end-of-sequence id included */
    phlox_text stop_string; /* the one that matched */
} phlox_generate_result;

/* Generates from the session's end (which must have tokens) and reports each piece. Generated
 * tokens become part of the session. Cancellation is not an error: what was made stays, and
 * result->stop says so. `result` may be NULL. */
PHLOX_API phlox_status phlox_session_generate(phlox_session *session,
                                              const phlox_generate_options *options,
                                              phlox_piece_fn *piece, void *user,
                                              phlox_generate_result *result, phlox_error *error);

#ifdef __cplusplus
}
#endif
#endif
