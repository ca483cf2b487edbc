#include "device/openvino_model.h"
#include "engine/plan.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_PROMPT = 1024,  /* the plugin's own defaults, as is that sizes go up by 64 */
    MIN_RESPONSE = 128,
    CHUNK = 1024,       /* of a prompt that is longer, unless chunks are kept: */
    REUSED = 256, YEAR_OF_CHOICES = 2026,
    STEP_OF_SIZES = 64,
    TOKENS_OF_A_DRAFT = 8 /* a step that takes so many makes speculation worth a try */
};

/* ---- properties ---------------------------------------------------------------------------- */

static int32_t round_up(int32_t size)
{
    return (size + STEP_OF_SIZES - 1) / STEP_OF_SIZES * STEP_OF_SIZES;
}

phlox_status px_openvino_npu_configure(px_openvino_config *config, const phlox_model_options *user,
                                       phlox_error *error)
{
    static const char *const fixed[][2] = {
        {"NPU_USE_NPUW", "YES"}, {"NPUW_LLM", "YES"}, {"NPUW_LLM_BATCH_DIM", "0"},
        {"NPUW_LLM_SEQ_LEN_DIM", "2"},
    };
    for (size_t i = 0; i < PX_COUNT(fixed); i++)
        PX_TRY(px_openvino_set(config, fixed[i][0], error, "%s", fixed[i][1]));
    const int32_t response = round_up(user->min_response_len ? user->min_response_len : MIN_RESPONSE);
    int32_t prompt = user->max_prompt_len;
    if (!prompt) prompt = user->context_size ? PX_MAX(user->context_size + 1 - response, 1) : MAX_PROMPT;
    PX_TRY(px_openvino_set(config, "NPUW_LLM_MAX_PROMPT_LEN", error, "%" PRId32, round_up(prompt)));
    PX_TRY(px_openvino_set(config, "NPUW_LLM_MIN_RESPONSE_LEN", error, "%" PRId32, response));
    if (user->prefill_hint)
        PX_TRY(px_openvino_set(config, "NPUW_LLM_PREFILL_HINT", error, "%s", user->prefill_hint));
    if (user->generate_hint)
        PX_TRY(px_openvino_set(config, "NPUW_LLM_GENERATE_HINT", error, "%s", user->generate_hint));
    return PHLOX_OK;
}

static size_t number(const px_openvino_config *config, const char *key, size_t otherwise)
{
    const char *const text = px_openvino_get(config, key);
    const unsigned long value = text ? strtoul(text, NULL, 10) : 0;
    return value && value <= 1 << 24 ? value : otherwise;
}

/* Whether prompts are read in chunks whose keys and values the plugin keeps, so that a text that goes on is
 * not read from its beginning. The blocks go by the ids alone, which is not enough where longrope has two
 * sets of factors for them. */
static bool can_reuse(const px_device_model *model, const px_openvino_config *config)
{
    static const char *const words[] = {"NPUW_LLM_ENABLE_PREFIX_CACHING", "NPUW_LLM_PREFILL_CHUNK_SIZE",
                                        "NPUW_LLM_PREFILL_ATTENTION_HINT"};
    const char *const hint = px_openvino_get(config, "NPUW_LLM_PREFILL_HINT");
    const px_desc *const desc = &model->checkpoint->desc;
    for (size_t i = 0; i < PX_COUNT(words); i++) /* who says one thing of it says all */
        if (px_openvino_get(config, words[i])) return false;
    return model->api.year >= YEAR_OF_CHOICES && !(hint && strcmp(hint, "STATIC") == 0) &&
           number(config, "NPUW_LLM_MAX_PROMPT_LEN", MAX_PROMPT) > REUSED &&
           !(desc->longrope && model->npu.capacity > (size_t)desc->original_max_position);
}

/* For longer prompts the plugin has programs for several sizes of the cache. Where a text grows into the next
 * one, OpenVINO 2026.4 leaves the end of its mask as it was, and what it gives is wrong. */
static phlox_status set_one_size(const px_device_model *model, px_openvino_config *config,
                                 phlox_error *error)
{
    static const char key[] = "NPUW_LLM_GENERATE_PYRAMID";
    if (model->api.year < YEAR_OF_CHOICES || px_openvino_get(config, key) ||
        number(config, "NPUW_LLM_MAX_PROMPT_LEN", MAX_PROMPT) <= CHUNK)
        return PHLOX_OK;
    return px_openvino_set(config, key, error, "NO");
}

phlox_status px_openvino_npu_adapt(px_device_model *model, px_openvino_config *config, phlox_error *error)
{
    PX_TRY(set_one_size(model, config, error));
    if (!can_reuse(model, config)) return PHLOX_OK;
    const size_t prompt = number(config, "NPUW_LLM_MAX_PROMPT_LEN", MAX_PROMPT);
    PX_TRY(px_openvino_set(config, "NPUW_LLM_ENABLE_PREFIX_CACHING", error, "YES"));
    PX_TRY(px_openvino_set(config, "NPUW_LLM_PREFILL_CHUNK_SIZE", error, "%d", REUSED));
    PX_TRY(px_openvino_set(config, "NPUW_LLM_PREFIX_CACHING_BLOCK_SIZE", error, "%d", REUSED));
    PX_TRY(px_openvino_set(config, "NPUW_LLM_PREFIX_CACHING_MAX_NUM_BLOCKS", error, "%zu",
                           (prompt + REUSED - 1) / REUSED));
    if (model->is_borrowed) /* other kinds of attention are for the NPU's compiler */
        PX_TRY(px_openvino_set(config, "NPUW_LLM_PREFILL_ATTENTION_HINT", error, "STATIC"));
    model->npu.reuses = true;
    return PHLOX_OK;
}

static const char *const reuse_keys[] = {
    "NPUW_LLM_ENABLE_PREFIX_CACHING", "NPUW_LLM_PREFILL_CHUNK_SIZE", "NPUW_LLM_PREFIX_CACHING_BLOCK_SIZE",
    "NPUW_LLM_PREFIX_CACHING_MAX_NUM_BLOCKS", "NPUW_LLM_PREFILL_ATTENTION_HINT",
};

/* Whether a text has a word, in any case of letters, as a whole. */
static bool has_word(const char *text, const char *word)
{
    const size_t size = strlen(word);
    for (const char *at = text; *at; at++) {
        size_t i = 0;
        while (i < size && tolower((unsigned char)at[i]) == tolower((unsigned char)word[i])) i++;
        const bool begins = at == text || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
        if (i == size && begins && !(isalnum((unsigned char)at[size]) || at[size] == '_')) return true;
    }
    return false;
}

/* A property that the plugin does not take is named in what it says. Else it is the compiler that gave up, perhaps
 * on the programs for chunks; which need less memory than one for the whole prompt. */
bool px_openvino_npu_blames_reuse(const px_openvino_config *config, const char *message)
{
    static const char *const memory[] = {"memory", "bad_alloc", "ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
                                         "ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY"};
    for (size_t i = 0; i < PX_COUNT(reuse_keys); i++)
        if (has_word(message, reuse_keys[i])) return true;
    for (size_t i = 0; i < PX_COUNT(memory); i++)
        if (has_word(message, memory[i])) return false;
    for (size_t i = 0; i < config->count; i++)
        if (has_word(message, config->properties[i].key)) return false;
    return true;
}

void px_openvino_npu_no_reuse(px_device_model *model, px_openvino_config *config)
{
    for (size_t i = 0; i < PX_COUNT(reuse_keys); i++) px_openvino_unset(config, reuse_keys[i]);
    model->npu.reuses = false;
}

void px_openvino_npu_limits(px_device_model *model, const px_openvino_config *config)
{
    px_openvino_npu *const npu = &model->npu;
    const char *const hint = px_openvino_get(config, "NPUW_LLM_PREFILL_HINT");
    npu->max_prompt = number(config, "NPUW_LLM_MAX_PROMPT_LEN", MAX_PROMPT);
    npu->step_tokens = number(config, "NPUW_LLM_MAX_GENERATION_TOKEN_LEN", 1);
    const size_t response = number(config, "NPUW_LLM_MIN_RESPONSE_LEN", MIN_RESPONSE);
    npu->capacity = npu->max_prompt + response - PX_MIN(npu->step_tokens, response);
    npu->chunk_tokens = npu->max_prompt;
    if (!hint || strcmp(hint, "STATIC") != 0)
        npu->chunk_tokens = PX_MIN(npu->max_prompt, number(config, "NPUW_LLM_PREFILL_CHUNK_SIZE", CHUNK));
    const px_desc *const desc = &model->checkpoint->desc;
    px_device_info *const info = &model->info;
    info->most_tokens = npu->max_prompt;
    info->most_context = npu->capacity;
    if (desc->longrope && npu->max_prompt <= (size_t)desc->original_max_position)
        info->most_context = PX_MIN(npu->capacity, (size_t)desc->original_max_position);
    info->last_logits_only = npu->step_tokens < TOKENS_OF_A_DRAFT;
}

/* ---- weights ------------------------------------------------------------------------------- */

#define WORDS "the NPU runs int4 (symmetric, ratio 1.0, groups of 128 or one a row), int8 and floats"

static phlox_status check_words(const phlox_model_options *chosen, phlox_error *error)
{
    if (chosen->weight_format != PHLOX_WEIGHTS_INT4) return PHLOX_OK;
    if (chosen->symmetry == PHLOX_ASYM)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "--asym with int4: " WORDS "; take --sym");
    if (chosen->group_size && chosen->group_size != 128 && chosen->group_size != -1)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "--group-size %d: " WORDS "; take 128 or -1", chosen->group_size);
    if (chosen->ratio > 0 && chosen->ratio < 1)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED, "--ratio %g: " WORDS "; take --ratio 1",
                       chosen->ratio);
    return PHLOX_OK;
}

static bool is_fit(const px_plan_item *item, bool is_mixed)
{
    const int64_t columns = item->tensor->columns;
    if (item->type == PX_WEIGHT_I8) return item->group_size == columns;
    if (item->type != PX_WEIGHT_I4) return true;
    return !is_mixed && item->format.symmetric && !item->minima &&
           (item->group_size == 128 || item->group_size == columns);
}

/* Int4 in some layers and int8 in others is what a ratio below 1 gives. */
static bool is_mixed(const px_plan *plan)
{
    bool has[2] = {false, false};
    for (size_t i = 0; i < plan->count; i++) {
        if (!px_role_is_layered(plan->items[i].tensor->role)) continue;
        has[0] = has[0] || plan->items[i].type == PX_WEIGHT_I4;
        has[1] = has[1] || plan->items[i].type == PX_WEIGHT_I8;
    }
    return has[0] && has[1];
}

phlox_status px_openvino_npu_check(const px_checkpoint *checkpoint, phlox_model_options *chosen,
                                   phlox_error *error)
{
    PX_TRY(check_words(chosen, error));
    if (chosen->weight_format == PHLOX_WEIGHTS_INT4 && chosen->symmetry == PHLOX_SYMMETRY_DEFAULT)
        chosen->symmetry = PHLOX_SYM;
    px_plan plan;
    PX_TRY(px_plan_make(checkpoint, chosen, NULL, &plan, error));
    const bool mixed = is_mixed(&plan);
    const px_plan_item *bad = NULL;
    for (size_t i = 0; i < plan.count && !bad; i++)
        if (!is_fit(&plan.items[i], mixed)) bad = &plan.items[i];
    phlox_status status = PHLOX_OK;
    if (bad)
        status = px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                         "%s: the weights are %s (the first that does not fit is %s): " WORDS
                         "; --weight-format f16 runs them as floats; to round them again: phlox export "
                         "huggingface -m %s --weight-format f32 OUT, and then OUT with --weight-format "
                         "int4 --sym", checkpoint->path, plan.summary, bad->tensor->name,
                         checkpoint->path);
    px_plan_free(&plan);
    return status;
}
