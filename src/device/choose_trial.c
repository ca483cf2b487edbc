#include "device/choose.h"

#include "base/os.h"
#include "checkpoint/computed.h"
#include "device/meter/rapl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The matrices of Phi-3-mini, two layers of them: 113 MB of int4, which is more than the caches of a laptop hold, and
 * is made and compiled in a second or two. The vocabulary is small: lm_head is one matrix more, no other kind. */
static const char large_config[] =
    "{\"architectures\":[\"Phi3ForCausalLM\"],\"model_type\":\"phi3\",\"hidden_size\":3072,"
    "\"intermediate_size\":8192,\"num_hidden_layers\":2,\"num_attention_heads\":32,"
    "\"num_key_value_heads\":32,\"vocab_size\":512,\"max_position_embeddings\":4096,"
    "\"original_max_position_embeddings\":4096,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
    "\"rope_scaling\":null,\"sliding_window\":null,\"tie_word_embeddings\":true,\"hidden_act\":\"silu\","
    "\"bos_token_id\":1,\"eos_token_id\":2,\"torch_dtype\":\"float16\"}";

enum {
    PROMPT = 128,    /* tokens of the large model's prompt */
    SMALL_STEPS = 16, LARGE_STEPS = 8,
    NPU_PROMPT = 128 /* programs for an NPU are compiled for this, which is quicker than for what is usual */
};

static const double most_kl = 0.01; /* nats: beyond what float16 and a cache of 8 bits do, far below a mistake */

/* A model opened on a device, with one sequence. */
struct opened {
    const px_device *device;
    px_device_model *model;
    px_sequence *sequence;
    px_device_info info;
    float *logits; /* [vocab] */
};

/* What the user said of the device holds here too; what was said of the model does not. */
static phlox_model_options options_of(const phlox_model_options *user, const char *unit)
{
    phlox_model_options options = *user;
    options.weight_format = PHLOX_WEIGHTS_DEFAULT;
    options.group_size = 0;
    options.symmetry = PHLOX_SYMMETRY_DEFAULT;
    options.ratio = 0;
    options.backup_precision = PHLOX_BACKUP_DEFAULT;
    options.all_layers = false;
    options.group_size_fallback = PHLOX_FALLBACK_ERROR;
    options.quant_method = PHLOX_QUANT_DEFAULT;
    options.context_size = 0;
    options.chat_format = NULL;
    options.max_prompt_len = options.min_response_len =
        px_unit_kind_of(unit) == PX_UNIT_NPU ? NPU_PROMPT : 0;
    return options;
}

static void close_it(struct opened *opened)
{
    if (opened->sequence) opened->device->sequence_free(opened->sequence);
    if (opened->model) opened->device->close(opened->model);
    free(opened->logits);
}

static phlox_status open_it(const px_device *device, const char *unit, const px_checkpoint *checkpoint,
                            const phlox_model_options *user, struct opened *out, phlox_error *error)
{
    const phlox_model_options options = options_of(user, unit);
    const px_device_options device_options = {&options, NULL, unit};
    const size_t vocab = (size_t)checkpoint->desc.vocab_size;
    *out = (struct opened){.device = device, .logits = px_calloc(vocab, sizeof(float))};
    phlox_status status =
        out->logits ? device->open(checkpoint, &device_options, &out->model, error)
                    : px_fail_memory(error, vocab * sizeof(float));
    if (status == PHLOX_OK) {
        device->info(out->model, &out->info);
        status = device->sequence_create(out->model, &out->sequence, error);
    }
    if (status != PHLOX_OK) close_it(out);
    return status;
}

static phlox_status append(struct opened *opened, const int32_t *ids, size_t count, phlox_error *error)
{
    for (size_t done = 0, part; done < count; done += part) {
        part = PX_MIN(count - done, opened->info.most_tokens);
        const px_batch_item item = {.sequence = opened->sequence, .ids = ids + done, .count = part,
                                    .logits = opened->logits};
        PX_TRY(opened->device->forward(opened->model, &item, 1, error));
    }
    return PHLOX_OK;
}

static int by_size(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The median of single steps. */
static phlox_status time_steps(struct opened *opened, size_t steps, double *out, phlox_error *error)
{
    double seconds[SMALL_STEPS];
    for (size_t i = 0; i < steps; i++) {
        const int32_t id = (int32_t)(3 + i);
        const double start = px_seconds();
        PX_TRY(append(opened, &id, 1, error));
        seconds[i] = px_seconds() - start;
    }
    qsort(seconds, steps, sizeof *seconds, by_size);
    *out = seconds[steps / 2];
    return PHLOX_OK;
}

/* ---- the known answer ---------------------------------------------------------------------- */

static int32_t best_of(const float *logits, size_t vocab)
{
    size_t best = 0;
    for (size_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

static double log_sum(const float *logits, size_t vocab)
{
    double most = (double)logits[0], sum = 0;
    for (size_t i = 1; i < vocab; i++) most = fmax(most, (double)logits[i]);
    for (size_t i = 0; i < vocab; i++) sum += exp((double)logits[i] - most);
    return most + log(sum);
}

static void compare(const float *known, const float *got, size_t vocab, px_trial *out)
{
    const double known_sum = log_sum(known, vocab), got_sum = log_sum(got, vocab);
    double kl = 0, difference = 0;
    for (size_t i = 0; i < vocab; i++) {
        const double p = (double)known[i] - known_sum, q = (double)got[i] - got_sum;
        kl += exp(p) * (p - q);
        difference = fmax(difference, fabs((double)known[i] - (double)got[i]));
    }
    out->kl = fmax(out->kl, kl);
    out->difference = fmax(out->difference, difference);
    out->is_right &= kl <= most_kl && best_of(known, vocab) == best_of(got, vocab);
}

static phlox_status check_answer(struct opened *opened, size_t vocab, const px_known_answer *known,
                                 px_trial *out, phlox_error *error)
{
    out->is_right = true;
    PX_TRY(append(opened, known->ids, known->prompt, error));
    for (size_t step = 0;; step++) {
        compare(known->logits + step * vocab, opened->logits, vocab, out);
        if (step + 1 == known->steps) break;
        PX_TRY(append(opened, known->ids + known->prompt + step, 1, error));
    }
    if (!out->is_right)
        return px_fail(error, PHLOX_ERROR_DEVICE,
                       "gives wrong results: a known answer differs by %.3g nats (%.2g are allowed), logits by "
                       "%.3g; update its driver and runtime, or report this with the output of phlox doctor",
                       out->kl, most_kl, out->difference);
    return PHLOX_OK;
}

/* ---- trials -------------------------------------------------------------------------------- */

static phlox_status try_small(const px_device *device, const char *unit, const px_checkpoint *model,
                              const px_known_answer *known, const phlox_model_options *user,
                              px_trial *out, phlox_error *error)
{
    struct opened opened;
    PX_TRY(open_it(device, unit, model, user, &opened, error));
    snprintf(out->name, sizeof out->name, "%s", opened.info.name);
    snprintf(out->runtime, sizeof out->runtime, "%s", opened.info.kernels);
    phlox_status status =
        check_answer(&opened, (size_t)model->desc.vocab_size, known, out, error);
    double step = 0;
    if (status == PHLOX_OK) status = time_steps(&opened, SMALL_STEPS, &step, error);
    out->layer_seconds = step / model->desc.num_hidden_layers;
    close_it(&opened);
    return status;
}

/* The energy of a GPU may be that of a card of its own, which is not in the packages. */
static phlox_status time_with_energy(struct opened *opened, double *step, px_trial *out,
                                     phlox_error *error)
{
    px_rapl *rapl = NULL;
    double joules = 0;
    const bool can_measure = out->kind != PX_UNIT_GPU &&
                             px_rapl_open("/sys/class/powercap", &rapl, NULL) == PHLOX_OK;
    const double start = px_seconds();
    const phlox_status status = time_steps(opened, LARGE_STEPS, step, error);
    if (can_measure && px_rapl_read(rapl, &joules, NULL) == PHLOX_OK)
        out->watts = joules / (px_seconds() - start);
    px_rapl_close(rapl);
    return status;
}

/* A prompt twice: the first may have to warm up. Of the small model a step is all overhead, the same for a layer of
 * any size; of this one the rest is reading weights. */
static phlox_status measure_large(struct opened *opened, const px_checkpoint *checkpoint, px_trial *out,
                                  phlox_error *error)
{
    double token = 0, step = 0;
    int32_t ids[PROMPT];
    for (int32_t i = 0; i < PROMPT; i++) ids[i] = 3 + i;
    for (int pass = 0; pass < 2; pass++) {
        opened->device->sequence_free(opened->sequence);
        opened->sequence = NULL;
        PX_TRY(opened->device->sequence_create(opened->model, &opened->sequence, error));
        const double start = px_seconds();
        PX_TRY(append(opened, ids, PROMPT, error));
        token = (px_seconds() - start) / PROMPT;
    }
    PX_TRY(time_with_energy(opened, &step, out, error));
    const double overhead = out->layer_seconds * checkpoint->desc.num_hidden_layers;
    out->read_rate = (double)checkpoint->stored_bytes / fmax(step - overhead, step / 10);
    out->prompt_rate = (double)px_desc_parameters(&checkpoint->desc) / token;
    return PHLOX_OK;
}

static phlox_status try_large(const px_device *device, const char *unit, const px_known_answer *known,
                              const phlox_model_options *user, px_trial *out, phlox_error *error)
{
    static const phlox_text usual = {large_config, sizeof large_config - 1};
    px_checkpoint *checkpoint = NULL;
    struct opened opened;
    PX_TRY(px_checkpoint_computed(known->large.size ? known->large : usual, &checkpoint, error));
    phlox_status status = open_it(device, unit, checkpoint, user, &opened, error);
    if (status == PHLOX_OK) {
        status = measure_large(&opened, checkpoint, out, error);
        close_it(&opened);
    }
    px_checkpoint_close(&checkpoint);
    return status;
}

static void start(const px_device *device, const char *unit, px_trial *out)
{
    *out = (px_trial){.kind = px_unit_kind_of(unit)};
    px_device_unit_name(device, unit, out->device, sizeof out->device);
}

static void finish(px_trial *out, phlox_status status, const phlox_error *error)
{
    out->status = status;
    if (status != PHLOX_OK) snprintf(out->problem, sizeof out->problem, "%s", error->message);
}

void px_trial_run(const px_device *device, const char *unit, const px_checkpoint *model,
                  const px_known_answer *known, const phlox_model_options *user, px_trial *out)
{
    phlox_error error;
    start(device, unit, out);
    phlox_status status = try_small(device, unit, model, known, user, out, &error);
    const phlox_progress progress = {.what = "measuring"};
    if (status == PHLOX_OK && user->progress && !user->progress(user->progress_user, &progress))
        status = px_fail(&error, PHLOX_ERROR_CANCELLED, "the trial was cancelled");
    if (status == PHLOX_OK) status = try_large(device, unit, known, user, out, &error);
    finish(out, status, &error);
}

double px_trial_step_seconds(const px_trial *trial, const px_desc *desc, uint64_t step_bytes)
{
    return trial->layer_seconds * desc->num_hidden_layers + (double)step_bytes / trial->read_rate;
}

double px_trial_prompt_seconds(const px_trial *trial, const px_desc *desc)
{
    return (double)px_desc_parameters(desc) / trial->prompt_rate;
}
