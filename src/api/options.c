/* The option tables: each row names an option, says where its value lives and how to read it. */
#include "base/os.h"
#include "device/device.h"

#include <phlox/tools.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct word {
    const char *name;
    int value;
};

enum kind { SWITCH, INTEGER, REAL, BYTES, STRING, SETTING, WORD, WORD_OR_INTEGER, MASK, SEED };

struct row {
    enum kind kind;
    size_t offset;            /* of the field; of SETTING a list, and its count behind it */
    double least, most;       /* of numbers */
    const struct word *words; /* of words (ends with NULL); of SWITCH: the value it sets */
};

static const struct word formats[] = {
    {"default", PHLOX_WEIGHTS_DEFAULT}, {"stored", PHLOX_WEIGHTS_STORED},
    {"f32", PHLOX_WEIGHTS_F32},   {"fp32", PHLOX_WEIGHTS_F32},   {"f16", PHLOX_WEIGHTS_F16},
    {"fp16", PHLOX_WEIGHTS_F16},  {"bf16", PHLOX_WEIGHTS_BF16},  {"int8", PHLOX_WEIGHTS_INT8},
    {"int4", PHLOX_WEIGHTS_INT4}, {NULL, 0},
};
static const struct word backups[] = {
    {"int8_asym", PHLOX_BACKUP_INT8_ASYM},
    {"int8_sym", PHLOX_BACKUP_INT8_SYM},
    {"none", PHLOX_BACKUP_NONE},
    {NULL, 0},
};
static const struct word fallbacks[] = {
    {"error", PHLOX_FALLBACK_ERROR},
    {"ignore", PHLOX_FALLBACK_IGNORE},
    {"adjust", PHLOX_FALLBACK_ADJUST},
    {NULL, 0},
};
static const struct word caches[] = {
    {"default", PHLOX_KV_DEFAULT}, {"f32", PHLOX_KV_F32},   {"f16", PHLOX_KV_F16},
    {"int8", PHLOX_KV_INT8},       {"int4", PHLOX_KV_INT4}, {NULL, 0},
};
static const struct word pages[] = {
    {"auto", PHLOX_HUGE_AUTO},
    {"on", PHLOX_HUGE_ON},
    {"off", PHLOX_HUGE_OFF},
    {NULL, 0},
};
static const struct word methods[] = {
    {"nncf", PHLOX_QUANT_NNCF},
    {"search", PHLOX_QUANT_SEARCH},
    {NULL, 0},
};
static const struct word preferences[] = {
    {"speed", PHLOX_PREFER_SPEED},
    {"efficiency", PHLOX_PREFER_EFFICIENCY},
    {"quiet", PHLOX_PREFER_QUIET},
    {NULL, 0},
};
static const struct word sym[] = {{"", PHLOX_SYM}}, asym[] = {{"", PHLOX_ASYM}};

static const phlox_option model_options[] = {
    {"weight-format", "f32|f16|bf16|int8|int4|stored",
     "weights as run; default: int4 above one billion parameters, else as stored"},
    {"group-size", "N|-1", "columns that share a scale in int4; -1: a whole row (default 128)"},
    {"sym", NULL, "symmetric integers (no zero points)"},
    {"asym", NULL, "asymmetric integers, the default with int8 and int4"},
    {"ratio", "R", "share of the weights that goes to int4, above 0 up to 1 (default 1)"},
    {"backup-precision", "int8_asym|int8_sym|none", "format of the layers that are not int4"},
    {"all-layers", NULL, "int4 for embedding and lm_head too"},
    {"group-size-fallback", "error|ignore|adjust", "when groups do not divide a row"},
    {"quant-method", "nncf|search", "int4 as NNCF rounds it, or scales searched for less error"},
    {"exact", NULL, "float32 activations and cache, whatever the weights"},
    {"kv-cache", "f32|f16|int8|int4",
     "keys and values (default: int8 with integer weights, else f32)"},
    {"huge-pages", "auto|on|off",
     "move weights to memory in pages of 2 MB (default auto: behind 64 tokens, where that was "
     "measured to be faster)"},
    {"threads", "N", "threads to compute with (default: one for each core but much slower ones)"},
    {"cpu-mask", "NAMES", "CPU features not to use, e.g. avx2 (comma separated, or a number)"},
    {"context-size", "N", "most tokens of a session (default: the model's own)"},
    {"chat-format", "NAME", "chat format, instead of recognising the model's template"},
    {"device", "auto|cpu|npu|gpu|cuda|dml|NAME:UNIT",
     "where to run: openvino:NPU, openvino:GPU.0, ort:cuda, ... (default auto: measured and chosen)"},
    {"prefer", "speed|efficiency|quiet",
     "what auto puts first (default speed, on battery efficiency): efficiency and quiet take the NPU "
     "before the GPU before the CPU"},
    {"ov-config", "KEY=VALUE", "a property for OpenVINO, e.g. PERFORMANCE_HINT=LATENCY; may be given often"},
    {"ort-config", "KEY=VALUE", "an option of ONNX Runtime's provider; may be given often"},
    {"openvino-library", "PATH", "libopenvino_c or its directory (default: found; see phlox runtime)"},
    {"ort-library", "PATH", "libonnxruntime-genai or its directory (default: found)"},
    {"max-prompt-len", "N", "NPU: longest prompt that is read in one go (default 1024)"},
    {"min-response-len", "N", "NPU: tokens that fit behind the longest prompt (default 128)"},
    {"prefill-hint", "DYNAMIC|STATIC", "NPU: in chunks, or the whole length at once"},
    {"generate-hint", "FAST_COMPILE|BEST_PERF", "NPU: compile quickly, or for speed"},
    {"no-cache", NULL, "pack weights into memory; read and write no cache"},
    {"cache-dir", "DIR", "cache of packed weights (default: ~/.cache/phlox)"},
    {"cache-limit", "BYTES", "most bytes in the cache, e.g. 20G (default 32G)"},
};

#define MODEL(field) offsetof(phlox_model_options, field)
#define COUNT_FOLLOWS(list) \
    (MODEL(list##_count) == MODEL(list) + PHLOX_MOST_SETTINGS * sizeof(const char *))
_Static_assert(COUNT_FOLLOWS(ov_config) && COUNT_FOLLOWS(ort_config), "as add_setting() has it");
static const struct row model_rows[PX_COUNT(model_options)] = {
    {WORD, MODEL(weight_format), 0, 0, formats},
    {INTEGER, MODEL(group_size), -1, 1 << 20, NULL},
    {SWITCH, MODEL(symmetry), 0, 0, sym},
    {SWITCH, MODEL(symmetry), 0, 0, asym},
    {REAL, MODEL(ratio), 0, 1, NULL},
    {WORD, MODEL(backup_precision), 0, 0, backups},
    {SWITCH, MODEL(all_layers), 0, 0, NULL},
    {WORD, MODEL(group_size_fallback), 0, 0, fallbacks},
    {WORD, MODEL(quant_method), 0, 0, methods},
    {SWITCH, MODEL(exact), 0, 0, NULL},
    {WORD, MODEL(kv_cache), 0, 0, caches},
    {WORD, MODEL(huge_pages), 0, 0, pages},
    {INTEGER, MODEL(threads), 1, 1024, NULL},
    {MASK, MODEL(cpu_mask), 0, 0, NULL},
    {INTEGER, MODEL(context_size), 1, 1 << 24, NULL},
    {STRING, MODEL(chat_format), 0, 0, NULL},
    {STRING, MODEL(device), 0, 0, NULL},
    {WORD, MODEL(prefer), 0, 0, preferences},
    {SETTING, MODEL(ov_config), 0, 0, NULL},
    {SETTING, MODEL(ort_config), 0, 0, NULL},
    {STRING, MODEL(openvino_library), 0, 0, NULL},
    {STRING, MODEL(ort_library), 0, 0, NULL},
    {INTEGER, MODEL(max_prompt_len), 1, 1 << 20, NULL},
    {INTEGER, MODEL(min_response_len), 1, 1 << 20, NULL},
    {STRING, MODEL(prefill_hint), 0, 0, NULL},
    {STRING, MODEL(generate_hint), 0, 0, NULL},
    {SWITCH, MODEL(no_cache), 0, 0, NULL},
    {STRING, MODEL(cache_dir), 0, 0, NULL},
    {BYTES, MODEL(cache_limit), 0, 0, NULL},
};

static const phlox_option generate_options[] = {
    {"max-new-tokens", "N", "stop after so many tokens (default: until the context is full)"},
    {"sample", NULL, "sample instead of taking the most probable token; see --seed"},
    {"greedy", NULL, "take the most probable token"},
    {"temperature", "T", "sample; above 1 more varied, below 1 more certain; 0 is greedy"},
    {"top-k", "K", "sample from the K most probable tokens; 0: all"},
    {"top-p", "P", "sample from the most probable tokens that together have P"},
    {"min-p", "P", "drop tokens less probable than P times the best"},
    {"repetition-penalty", "X", "make tokens that were seen less probable; 1: off"},
    {"presence-penalty", "X", "subtract X from the logits of generated tokens"},
    {"frequency-penalty", "X", "subtract X for each time a token was generated"},
    {"seed", "N", "same seed, same text (default 0)"},
    {"ignore-eos", NULL, "go on behind end-of-sequence tokens"},
    {"context-shift", NULL, "when the context is full, drop the oldest half and go on"},
    {"context-keep", "N", "tokens at the beginning that a shift keeps"},
    {"top-logprobs", "N", "report the N most probable tokens, up to 20 (--json)"},
    {"speculate", "auto|off|N", "draft up to N tokens a step (at most 7) from text that repeats; the "
                                "answer is the same (default auto: as many as pay)"},
};

#define GENERATE(field) offsetof(phlox_generate_options, field)
static const struct word yes[] = {{"", true}}, no[] = {{"", false}};
static const struct word speculations[] = {{"auto", PHLOX_SPECULATE_AUTO}, {"off", 0}, {NULL, 0}};
static const struct row generate_rows[PX_COUNT(generate_options)] = {
    {INTEGER, GENERATE(max_new_tokens), -1, INT32_MAX, NULL},
    {SWITCH, GENERATE(do_sample), 0, 0, yes},
    {SWITCH, GENERATE(do_sample), 0, 0, no},
    {REAL, GENERATE(temperature), 0, 1e6, NULL},
    {INTEGER, GENERATE(top_k), 0, INT32_MAX, NULL},
    {REAL, GENERATE(top_p), 0, 1, NULL},
    {REAL, GENERATE(min_p), 0, 1, NULL},
    {REAL, GENERATE(repetition_penalty), 1e-6, 1e6, NULL},
    {REAL, GENERATE(presence_penalty), -1e6, 1e6, NULL},
    {REAL, GENERATE(frequency_penalty), -1e6, 1e6, NULL},
    {SEED, GENERATE(seed), 0, 0, NULL},
    {SWITCH, GENERATE(ignore_eos), 0, 0, NULL},
    {SWITCH, GENERATE(context_shift), 0, 0, NULL},
    {INTEGER, GENERATE(context_keep), 0, INT32_MAX, NULL},
    {INTEGER, GENERATE(top_logprobs), 0, PHLOX_MAX_TOP_LOGPROBS, NULL},
    {WORD_OR_INTEGER, GENERATE(speculate), 0, PHLOX_MAX_DRAFT, speculations},
};

const phlox_option *phlox_model_option_table(size_t *count)
{
    *count = PX_COUNT(model_options);
    return model_options;
}

const phlox_option *phlox_generate_option_table(size_t *count)
{
    *count = PX_COUNT(generate_options);
    return generate_options;
}

/* ---- reading values ------------------------------------------------------------------------ */

static phlox_status bad_value(const phlox_option *option, const struct row *row, const char *value,
                              phlox_error *error)
{
    const char *meant = option->argument;
    char range[80];
    if (row->kind == INTEGER || row->kind == REAL) {
        snprintf(range, sizeof range, "a %snumber from %.10g to %.10g",
                 row->kind == INTEGER ? "whole " : "", row->least, row->most);
        meant = range;
    }
    if (row->kind == WORD_OR_INTEGER) {
        snprintf(range, sizeof range, "%s, N from %.10g to %.10g,", option->argument, row->least,
                 row->most);
        meant = range;
    }
    if (row->kind == SEED) meant = "a whole number from 0 up";
    if (row->kind == BYTES) meant = "a number of bytes, or 20G and the like,";
    if (row->kind == MASK) meant = "a list of features that phlox version names";
    return px_fail(error, PHLOX_ERROR_ARGUMENT, "--%s %s: %s is meant", option->name, value, meant);
}

static bool read_number(const char *text, double least, double most, double *out)
{
    return px_read_real(text, out) && *out >= least && *out <= most;
}

static bool read_unsigned(const char *text, uint64_t *out, char **end)
{
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *out = strtoull(text, end, 10);
    return errno == 0;
}

/* Bytes with an optional K, M, G or T (powers of 1024). */
static bool read_bytes(const char *text, uint64_t *out)
{
    static const char suffixes[] = "KMGT";
    char *end;
    if (!read_unsigned(text, out, &end) || !*out) return false;
    const char *const suffix = *end ? strchr(suffixes, *end) : NULL;
    const int shift = suffix ? 10 * (int)(suffix - suffixes + 1) : 0;
    if ((suffix && end[1]) || (!suffix && *end) || *out > UINT64_MAX >> shift) return false;
    *out <<= shift;
    return true;
}

/* Feature names separated by commas, or their bits as a number. */
static bool read_mask(const char *text, uint64_t *out)
{
    if (*text >= '0' && *text <= '9') {
        char *end;
        errno = 0;
        *out = strtoull(text, &end, 0);
        return errno == 0 && !*end;
    }
    *out = 0;
    for (;; text++) {
        const size_t size = strcspn(text, ",");
        uint64_t bit = 1;
        for (; bit; bit <<= 1) {
            const char *const name = phlox_cpu_feature_name(bit);
            if (name && strlen(name) == size && strncmp(name, text, size) == 0) break;
        }
        if (!bit) return false;
        *out |= bit;
        text += size;
        if (!*text) return true;
    }
}

static bool find_word(const struct word *words, const char *text, int *out)
{
    for (; words->name; words++) {
        if (strcmp(words->name, text) != 0) continue;
        *out = words->value;
        return true;
    }
    return false;
}

/* Switches without words are bool fields; the others are enums, or the bool do_sample. */
static void set_switch(const struct row *row, void *field, bool is_bool)
{
    const int value = row->words ? row->words->value : true;
    if (is_bool) *(bool *)field = value != 0;
    else memcpy(field, &value, sizeof value);
}

/* Adds to a list of which the count stands behind its PHLOX_MOST_SETTINGS places. */
static phlox_status add_setting(const phlox_option *option, const char **list, const char *value,
                                phlox_error *error)
{
    const char *const equals = strchr(value, '=');
    size_t *const count = (size_t *)(void *)(list + PHLOX_MOST_SETTINGS);
    if (!equals || equals == value)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "--%s %s: KEY=VALUE is meant", option->name, value);
    if (*count >= PHLOX_MOST_SETTINGS)
        return px_fail(error, PHLOX_ERROR_ARGUMENT, "--%s may be given %d times", option->name,
                       PHLOX_MOST_SETTINGS);
    list[(*count)++] = value;
    return PHLOX_OK;
}

static phlox_status set(const phlox_option *option, const struct row *row, bool switch_is_bool,
                        void *options, const char *value, phlox_error *error)
{
    void *const field = (char *)options + row->offset;
    if (row->kind == SWITCH) {
        set_switch(row, field, switch_is_bool);
        return PHLOX_OK;
    }
    if (!value) return px_fail(error, PHLOX_ERROR_ARGUMENT, "--%s needs a value", option->name);
    if (row->kind == SETTING) return add_setting(option, field, value, error);
    double number;
    int word;
    char *end;
    bool good = true;
    switch (row->kind) {
    case INTEGER:
        good = read_number(value, row->least, row->most, &number) && number == floor(number);
        if (good) *(int32_t *)field = (int32_t)number;
        break;
    case REAL:
        good = read_number(value, row->least, row->most, &number);
        if (good) *(double *)field = number;
        break;
    case WORD_OR_INTEGER:
        good = read_number(value, row->least, row->most, &number) && number == floor(number);
        word = good ? (int)number : 0;
        good = good || find_word(row->words, value, &word);
        if (good) memcpy(field, &word, sizeof word);
        break;
    case WORD:
        good = find_word(row->words, value, &word);
        if (good) memcpy(field, &word, sizeof word);
        break;
    case BYTES: good = read_bytes(value, field); break;
    case MASK: good = read_mask(value, field); break;
    case SEED: good = read_unsigned(value, field, &end) && !*end; break;
    default: *(const char **)field = value; break;
    }
    return good ? PHLOX_OK : bad_value(option, row, value, error);
}

static phlox_status unknown(const char *name, phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_NOT_FOUND, "--%s is not an option", name);
}

phlox_status phlox_model_options_set(phlox_model_options *options, const char *name,
                                     const char *value, phlox_error *error)
{
    for (size_t i = 0; i < PX_COUNT(model_options); i++) {
        if (strcmp(model_options[i].name, name) != 0) continue;
        const struct row *const row = &model_rows[i];
        /* 0 stands for the default of these two and is not a value to give. */
        double number;
        const bool is_zero = value && read_number(value, 0, 0, &number);
        if (row->offset == MODEL(symmetry) && options->symmetry &&
            (int)options->symmetry != row->words->value)
            return px_fail(error, PHLOX_ERROR_ARGUMENT, "--sym and --asym exclude each other");
        if ((row->offset == MODEL(no_cache) && options->cache_dir) ||
            (row->offset == MODEL(cache_dir) && options->no_cache))
            return px_fail(error, PHLOX_ERROR_ARGUMENT,
                           "--no-cache and --cache-dir exclude each other");
        if (row->offset == MODEL(device) && value && strcmp(value, "auto") != 0) {
            const px_device *device;
            char unit[32];
            PX_TRY(px_device_by_name(value, &device, unit, sizeof unit, error));
        }
        if (is_zero && (row->offset == MODEL(ratio) || row->offset == MODEL(group_size)))
            return px_fail(error, PHLOX_ERROR_ARGUMENT, "--%s %s: 0 is no choice; %s is meant", name,
                           value, row->offset == MODEL(ratio) ? "above 0, up to 1" : "-1 or above 0");
        return set(&model_options[i], row, !row->words, options, value, error);
    }
    return unknown(name, error);
}

phlox_status phlox_generate_options_set(phlox_generate_options *options, const char *name,
                                        const char *value, phlox_error *error)
{
    for (size_t i = 0; i < PX_COUNT(generate_options); i++) {
        if (strcmp(generate_options[i].name, name) != 0) continue;
        const size_t offset = generate_rows[i].offset;
        PX_TRY(set(&generate_options[i], &generate_rows[i], true, options, value, error));
        /* Who sets a filter of sampling wants to sample. */
        if (offset == GENERATE(temperature)) options->do_sample = options->temperature > 0;
        if ((offset == GENERATE(top_k) && options->top_k) ||
            (offset == GENERATE(top_p) && options->top_p < 1) ||
            (offset == GENERATE(min_p) && options->min_p > 0))
            options->do_sample = options->temperature > 0;
        return PHLOX_OK;
    }
    return unknown(name, error);
}

/* ---- showing values ------------------------------------------------------------------------ */

static size_t size_of(const struct row *row)
{
    switch (row->kind) {
    case SWITCH: return row->words ? sizeof(int) : sizeof(bool);
    case WORD: return sizeof(int);
    case INTEGER: return sizeof(int32_t);
    case REAL: return sizeof(double);
    case STRING: return sizeof(const char *);
    case SETTING: return PHLOX_MOST_SETTINGS * sizeof(const char *) + sizeof(size_t);
    default: return sizeof(uint64_t);
    }
}

static void show_mask(uint64_t mask, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (uint64_t bit = 1; bit; bit <<= 1) {
        const char *const name = mask & bit ? phlox_cpu_feature_name(bit) : NULL;
        if (name && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? "," : "", name);
    }
}

static void show_settings(const char *const *list, char *text, size_t size)
{
    const size_t count = *(const size_t *)(const void *)(list + PHLOX_MOST_SETTINGS);
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? " " : "", list[i]);
}

static void show(const struct row *row, const void *field, char *text, size_t size)
{
    int word;
    text[0] = 0;
    switch (row->kind) {
    case SWITCH:
        memcpy(&word, row->words ? field : &(int){*(const bool *)field}, sizeof word);
        snprintf(text, size, "%s", word == (row->words ? row->words->value : 1) ? "on" : "off");
        break;
    case WORD:
        memcpy(&word, field, sizeof word);
        for (const struct word *known = row->words; known->name && !text[0]; known++)
            if (known->value == word && word) snprintf(text, size, "%s", known->name);
        break;
    case INTEGER:
        if (*(const int32_t *)field) snprintf(text, size, "%d", *(const int32_t *)field);
        break;
    case REAL:
        if (*(const double *)field > 0) snprintf(text, size, "%g", *(const double *)field);
        break;
    case BYTES:
        if (*(const uint64_t *)field)
            snprintf(text, size, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case MASK: show_mask(*(const uint64_t *)field, text, size); break;
    case SETTING: show_settings(field, text, size); break;
    default: {
        const char *const given = *(const char *const *)field;
        snprintf(text, size, "%s", given ? given : "");
    }
    }
}

phlox_status phlox_model_options_get(const phlox_model_options *options, const char *name, char *text,
                                     size_t size, bool *is_default, phlox_error *error)
{
    phlox_model_options initial;
    phlox_model_options_init(&initial);
    for (size_t i = 0; i < PX_COUNT(model_options); i++) {
        if (strcmp(model_options[i].name, name) != 0) continue;
        const struct row *const row = &model_rows[i];
        const char *const field = (const char *)options + row->offset;
        show(row, field, text, size);
        if (is_default) *is_default = memcmp(field, (char *)&initial + row->offset, size_of(row)) == 0;
        return PHLOX_OK;
    }
    return unknown(name, error);
}
