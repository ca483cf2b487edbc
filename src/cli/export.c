#include "cli.h"

#include <string.h>
#include <strings.h>

/* Flags of optimum-cli whose methods run the model over a text, or round differently. */
struct refused {
    const char *dataset, *samples, *statistics, *metric, *mode;
    bool awq, scale_estimation, gptq, lora;
};

static int refuse(const char *flag)
{
    return cli_usage("export", "--%s needs a dataset to run the model on, which phlox does not do; leave "
                               "it out for the data-free quantization, or try --quant-method search",
                     flag);
}

/* EXIT_OK when nothing was asked for that cannot be had. */
static int check_refused(const struct refused *r)
{
    if (r->dataset) return refuse("dataset");
    if (r->samples) return refuse("num-samples");
    if (r->statistics) return refuse("quantization-statistics-path");
    if (r->scale_estimation) return refuse("scale-estimation");
    if (r->gptq) return refuse("gptq");
    if (r->lora) return refuse("lora-correction");
    if (r->mode) return refuse("quant-mode");
    if (r->metric && strcmp(r->metric, "weight_quantization_error") != 0)
        return refuse("sensitivity-metric");
    if (r->awq)
        return cli_usage("export", "--awq changes weights to make room for others, which phlox does not "
                                   "do; leave it out, or try --quant-method search");
    return EXIT_OK;
}

static int check_task(const char *task)
{
    static const char *const tasks[] = {"auto", "text-generation-with-past", "text-generation"};
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        if (!task || strcmp(task, tasks[i]) == 0) return EXIT_OK;
    return cli_usage("export", "--task %s: phlox exports for text-generation-with-past", task);
}

/* ---- words of the other forms' own tools --------------------------------------------------- */

struct words {
    const char *precision, *block_size, *outtype, *provider, *accuracy_level;
};

static bool set(phlox_model_options *options, const char *name, const char *value, int *code)
{
    phlox_error error;
    if (phlox_model_options_set(options, name, value, &error) == PHLOX_OK) return true;
    *code = cli_fail(&error);
    return false;
}

/* llama.cpp's types of a file: "q4_0". */
static bool set_outtype(phlox_model_options *options, const char *name, int *code)
{
    static const struct {
        const char *name, *format, *symmetry;
    } types[] = {
        {"auto", "default", NULL}, {"f32", "f32", NULL},   {"f16", "f16", NULL},
        {"bf16", "bf16", NULL},    {"q8_0", "int8", "sym"}, {"q4_0", "int4", "sym"},
        {"q4_1", "int4", "asym"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcasecmp(name, types[i].name) == 0)
            return set(options, "weight-format", types[i].format, code) &&
                   (!types[i].symmetry || set(options, types[i].symmetry, NULL, code));
    *code = cli_usage("export", "--outtype %s: auto, f32, f16, bf16, q8_0, q4_0 or q4_1 is meant", name);
    return false;
}

static bool set_provider(phlox_export_options *words, const char *name, int *code)
{
    static const char *const names[] = {"cpu", "cuda", "dml"};
    for (int i = 0; i < 3; i++) {
        if (strcasecmp(name, names[i]) != 0) continue;
        words->provider = (phlox_provider)i;
        return true;
    }
    *code = cli_usage("export", "--ep %s: cpu, cuda or dml is meant", name);
    return false;
}

static bool set_accuracy(phlox_export_options *words, const char *level, int *code)
{
    if (level[0] >= '0' && level[0] <= '4' && !level[1]) {
        words->accuracy_level = level[0] - '0';
        return true;
    }
    *code = cli_usage("export", "--accuracy-level %s: a number from 0 to 4 is meant", level);
    return false;
}

static int take_words(const struct words *words, phlox_model_options *options,
                      phlox_export_options *form)
{
    int code = EXIT_OK;
    if (words->precision && !set(options, "weight-format", words->precision, &code)) return code;
    if (words->block_size && !set(options, "group-size", words->block_size, &code)) return code;
    if (words->outtype && !set_outtype(options, words->outtype, &code)) return code;
    if (words->provider && !set_provider(form, words->provider, &code)) return code;
    if (words->accuracy_level && !set_accuracy(form, words->accuracy_level, &code)) return code;
    return code;
}

/* ---- the command --------------------------------------------------------------------------- */

static int export_model(const char *model, const char *form, const char *out,
                        phlox_model_options *options, const phlox_export_options *words)
{
    cli_progress_bar bar = {0};
    options->progress = cli_progress;
    options->progress_user = &bar;
    phlox_export_result result;
    phlox_error error;
    const double start = cli_seconds();
    const phlox_status status = phlox_export(model, form, out, options, words, &result, &error);
    cli_progress_end(&bar);
    if (status != PHLOX_OK) return cli_fail(&error);
    fprintf(stderr, "%s: %s, %.1f s\n", out, result.weights, cli_seconds() - start);
    if (result.note[0]) fprintf(stderr, "phlox: note: %s\n", result.note);
    return EXIT_OK;
}

static int run(int argc, char **argv)
{
    const char *model = NULL, *task = NULL;
    bool trusts = false;
    struct refused refused = {0};
    struct words words = {0};
    phlox_export_options form;
    phlox_export_options_init(&form);
    const cli_flag flags[] = {
        {.option = {"model", "MODEL", "what to export (default: the built-in model)"},
         .letter = 'm', .value = &model},
        {.option = {"task", "NAME", "text-generation-with-past, which is also the default"},
         .value = &task},
        {.option = {"trust-remote-code", NULL, "accepted; no code of a checkpoint is ever run"},
         .is_given = &trusts},
        {.option = {"accept-loss", NULL, "round what the form cannot hold as it is stored"},
         .is_given = &form.accept_loss},
        {.option = {"ep", "cpu|cuda|dml", "onnx: execution provider that the graph is for"},
         .letter = 'e', .value = &words.provider},
        {.option = {"precision", "int4|int8|fp16|fp32", "onnx: the same as --weight-format"},
         .letter = 'p', .value = &words.precision},
        {.option = {"block-size", "N", "onnx: the same as --group-size"},
         .value = &words.block_size},
        {.option = {"accuracy-level", "0..4", "onnx: of the products with integers (default 4 with cpu)"},
         .value = &words.accuracy_level},
        {.option = {"outtype", "auto|f32|f16|bf16|q8_0|q4_0|q4_1", "gguf: what the weights become"},
         .value = &words.outtype},
        {.option = {"dataset", "NAME", "refused, as are the flags below"},
         .value = &refused.dataset},
        {.option = {"num-samples", "N", "needs a dataset"}, .value = &refused.samples},
        {.option = {"quantization-statistics-path", "DIR", "needs a dataset"},
         .value = &refused.statistics},
        {.option = {"sensitivity-metric", "NAME", "only weight_quantization_error, the default"},
         .value = &refused.metric},
        {.option = {"quant-mode", "NAME", "needs a dataset"}, .value = &refused.mode},
        {.option = {"awq", NULL, "changes weights before they are rounded"},
         .is_given = &refused.awq},
        {.option = {"scale-estimation", NULL, "needs a dataset"},
         .is_given = &refused.scale_estimation},
        {.option = {"gptq", NULL, "needs a dataset"}, .is_given = &refused.gptq},
        {.option = {"lora-correction", NULL, "needs a dataset"}, .is_given = &refused.lora},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_export, argc, argv, flags, &args, &code)) return code;
    code = check_refused(&refused);
    if (code == EXIT_OK) code = check_task(task);
    if (code == EXIT_OK) code = take_words(&words, &args.model, &form);
    if (code != EXIT_OK) return code;
    const bool builtin = !model || (strcmp(model, "built-in") == 0 && !cli_exists(model));
    return export_model(builtin ? NULL : model, args.positionals[0], args.positionals[1],
                        &args.model, &form);
}

const cli_command cli_export = {
    "export",
    "FORM OUT",
    "write a model in another published form",
    "FORM is one of\n"
    "  openvino     a directory for OpenVINO, optimum's OVModelForCausalLM and OpenVINO GenAI; the words\n"
    "               are those of optimum-cli export openvino\n"
    "  onnx         a directory for ONNX Runtime GenAI\n"
    "  gguf         a file for llama.cpp and what is built on it\n"
    "  huggingface  a directory of safetensors for transformers\n"
    "OUT must not exist; it appears when it is complete.",
    2, 2, true, false, run,
};
