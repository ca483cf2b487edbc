/*
 * phlox tools: what surrounds running a model. Option tables, the cache, measures, features.
 * The rules of phlox.h hold here as well.
 */
#ifndef PHLOX_TOOLS_H
#define PHLOX_TOOLS_H

#include <phlox/phlox.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- options ------------------------------------------------------------------------------- */

/* One option of phlox_model_options or phlox_generate_options: the command line, the help text and
 * bindings are generated from these tables. */
typedef struct phlox_option {
    const char *name;     /* "group-size" */
    const char *argument; /* "N|-1", what to show in the help; NULL for a switch */
    const char *help;     /* one line */
} phlox_option;

PHLOX_API const phlox_option *phlox_model_option_table(size_t *count);
PHLOX_API const phlox_option *phlox_generate_option_table(size_t *count);

/* Sets the option called `name` from text; `value` is ignored for a switch. Strings are kept as
 * pointers: they must live as long as the options. Unknown names are PHLOX_ERROR_NOT_FOUND,
 * values out of range PHLOX_ERROR_ARGUMENT. */
PHLOX_API phlox_status phlox_model_options_set(phlox_model_options *options, const char *name,
                                               const char *value, phlox_error *error);
PHLOX_API phlox_status phlox_generate_options_set(phlox_generate_options *options,
                                                  const char *name, const char *value,
                                                  phlox_error *error);

/* The value of the option called `name` as text, cut to `size` bytes with a NUL: "int4", "on", or "" where
 * the default is to be found. *is_default (may be NULL): whether it is what phlox_model_options_init()
 * gives. PHLOX_ERROR_NOT_FOUND for unknown names. */
PHLOX_API phlox_status phlox_model_options_get(const phlox_model_options *options, const char *name,
                                               char *text, size_t size, bool *is_default,
                                               phlox_error *error);

/* ---- features ------------------------------------------------------------------------------ */

enum {
    PHLOX_CPU_AVX2 = 1, /* AVX2, FMA and F16C together */
    PHLOX_CPU_AVX_VNNI = 2,
    PHLOX_CPU_AVX512 = 4, /* F, BW, VL, DQ */
    PHLOX_CPU_AVX512_VNNI = 8,
    PHLOX_CPU_AVX512_BF16 = 16,
    PHLOX_CPU_NEON = 32,
    PHLOX_CPU_DOTPROD = 64,
    PHLOX_CPU_I8MM = 128
};

PHLOX_API uint64_t phlox_cpu_features(void); /* what this machine has and the system enables */
/* The name of one feature bit, "avx2"; NULL for bits without a meaning. */
PHLOX_API const char *phlox_cpu_feature_name(uint64_t bit);
PHLOX_API const char *phlox_version(void);   /* "0.1.0 (commit)" */

/* The names that phlox_model_options.chat_format takes; ends with NULL. */
PHLOX_API const char *const *phlox_chat_formats(void);

/* ---- export -------------------------------------------------------------------------------- */

/* What only some forms know. */
typedef enum phlox_provider { PHLOX_PROVIDER_CPU, PHLOX_PROVIDER_CUDA, PHLOX_PROVIDER_DML } phlox_provider;

typedef struct phlox_export_options {
    size_t struct_size; /* set by the initialiser */
    /* Where the form has no counterpart of a stored encoding that keeps every value, round again: to the
     * weight format asked for, or to what the form has that is near. Else that is an error. */
    bool accept_loss;
    phlox_provider provider; /* onnx: the execution provider that the graph is for */
    int32_t accuracy_level;  /* onnx: of MatMulNBits, 0 to 4; -1: 4 for the CPU, else 0 */
} phlox_export_options;

PHLOX_API void phlox_export_options_init(phlox_export_options *options);

typedef struct phlox_export_result {
    char weights[96]; /* what they have become: "int4 sym g128, embedding and lm_head int8" */
    char note[256];   /* where it is not what the form's own tool would do by default; else "" */
} phlox_export_result;

/*
 * Writes the model at `path` (NULL: the built-in one) in another published form to `out`, which must not
 * exist or be an empty directory, and which appears when it is complete. Forms: "openvino", "onnx", "gguf" (a
 * file), "huggingface".
 *
 * Of `options` (NULL: all defaults) those count that say what the weights become, `threads` and
 * `progress`. What they leave open is as the form's own tool has it: for OpenVINO models from a billion
 * parameters on become int8 and others stay floats, and int4 by itself takes the group size that
 * `optimum-cli export openvino` takes for the model; in GGUF files floats stay floats, int8 is Q8_0, int4 is
 * Q4_1 or, symmetric, Q4_0. Integers that are stored stay as they are; a form
 * that cannot hold them is PHLOX_ERROR_UNSUPPORTED, naming the tensor. `words` and `result` may be NULL.
 */
PHLOX_API phlox_status phlox_export(const char *path, const char *form, const char *out,
                                    const phlox_model_options *options,
                                    const phlox_export_options *words, phlox_export_result *result,
                                    phlox_error *error);

/* ---- measures ------------------------------------------------------------------------------ */

typedef struct phlox_perplexity_result {
    double perplexity, mean_nll; /* exp(mean_nll); natural logarithms a token */
    size_t tokens;               /* predicted ones */
} phlox_perplexity_result;

/* Perplexity of a text in windows of the context size (at most 2048 tokens), each from an empty
 * cache; the first token of a window is not predicted. */
PHLOX_API phlox_status phlox_perplexity(phlox_model *model, phlox_text text,
                                        phlox_progress_fn *progress, void *progress_user,
                                        phlox_perplexity_result *out, phlox_error *error);

typedef struct phlox_compare_result {
    size_t positions; /* next-token distributions compared: one behind every token */
    /* Kullback-Leibler divergence of the candidate from the reference, sum of p log(p / q), in nats;
     * the 99th percentile is interpolated between its neighbours in order. */
    double kl_mean, kl_median, kl_p99, kl_max;
    double top1_agreement; /* share of the positions at which both put the same token first */
    phlox_perplexity_result reference, candidate;
} phlox_compare_result;

/* Compares what two models expect behind every one of `ids` (at least 2), in windows as
 * phlox_perplexity() has them, of the smaller context. Models whose vocabularies differ in size are
 * PHLOX_ERROR_ARGUMENT; whether the ids mean the same to both is for the caller to know. */
PHLOX_API phlox_status phlox_compare(phlox_model *reference, phlox_model *candidate,
                                     const int32_t *ids, size_t count, phlox_progress_fn *progress,
                                     void *progress_user, phlox_compare_result *out,
                                     phlox_error *error);

/* Memory in bytes that running needs with `context` tokens cached. */
PHLOX_API uint64_t phlox_memory_needed(const phlox_model *model, int32_t context);

/* ---- the machine --------------------------------------------------------------------------- */

/* The processor's own name, cut to `size` bytes with a NUL; the architecture where it has none. */
PHLOX_API void phlox_cpu_name(char *name, size_t size);

/* Limits of the machine, best of several runs. A figure that could not be had is 0. */
typedef struct phlox_machine {
    int32_t cores, threads; /* that the process may use, without much slower ones; that were used */
    const char *int8_kernels;   /* instruction set of the peaks: "avx512-vnni"; "" when there are none */
    const char *f32_kernels;
    /* Reading memory with all threads, bytes a second, in pages of the system's own size and of 2 MB.
     * The second is 0 where the system gives no such pages. */
    double read, read_huge;
    /* Multiply-adds a second of one thread and of all. */
    double int8_core, int8, f32_core, f32;
} phlox_machine;

/* Measures for some seconds, with `threads` threads (0: one for each core) and without the PHLOX_CPU_*
 * features of cpu_mask. `memory` bytes are read, which must be far more than the caches hold; 0: 1 GB,
 * or a quarter of what is available. */
PHLOX_API phlox_status phlox_measure_machine(int32_t threads, uint64_t cpu_mask, uint64_t memory,
                                             phlox_machine *out, phlox_error *error);

/* Memory of this process in bytes: the peak of the sum, and what is allocated, in shared memory and of
 * mapped files now. */
typedef struct phlox_process_memory {
    uint64_t peak, anonymous, shared, mapped;
} phlox_process_memory;

/* False where the system does not tell; then *out is untouched. */
PHLOX_API bool phlox_get_process_memory(phlox_process_memory *out);
/* The peak counts from here on, where the system can do that. */
PHLOX_API void phlox_reset_peak_memory(void);

typedef struct phlox_energy_meter phlox_energy_meter;

/* Counts the energy of the processor packages and their memory, of everything that runs on them.
 * `directory` NULL: /sys/class/powercap. PHLOX_ERROR_NOT_FOUND where the machine has no counters. */
PHLOX_API phlox_status phlox_energy_meter_open(const char *directory, phlox_energy_meter **out,
                                               phlox_error *error);
/* Joules since the meter was opened. To be read once a minute or more often: counters begin again. */
PHLOX_API phlox_status phlox_energy_meter_read(phlox_energy_meter *meter, double *joules,
                                               phlox_error *error);
PHLOX_API void phlox_energy_meter_close(phlox_energy_meter **meter);

/* ---- cache --------------------------------------------------------------------------------- */

typedef struct phlox_cache_entry {
    const char *name;   /* file name inside the cache directory */
    const char *kind;   /* "weights", "tokenizer" */
    const char *source; /* what it was made from */
    uint64_t bytes;
    int64_t used;       /* seconds since 1970 of the last use */
} phlox_cache_entry;

typedef bool phlox_cache_fn(void *user, const phlox_cache_entry *entry);

/* Calls `visit` for every entry, longest unused first. dir NULL: the default directory. */
PHLOX_API phlox_status phlox_cache_list(const char *dir, phlox_cache_fn *visit, void *user,
                                        phlox_error *error);
/* Checks every checksum; a damaged entry is removed and counted in *damaged. */
PHLOX_API phlox_status phlox_cache_verify(const char *dir, phlox_progress_fn *progress,
                                          void *progress_user, size_t *checked, size_t *damaged,
                                          phlox_error *error);
/* Removes the entry called `name`, or all when NULL; *removed counts them. */
PHLOX_API phlox_status phlox_cache_remove(const char *dir, const char *name, size_t *removed,
                                          phlox_error *error);

#ifdef __cplusplus
}
#endif
#endif
