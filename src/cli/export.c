#include "cli.h"

#include <string.h>

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

static int export_model(const char *model, const char *form, const char *out,
                        phlox_model_options *options)
{
    cli_progress_bar bar = {0};
    options->progress = cli_progress;
    options->progress_user = &bar;
    phlox_export_result result;
    phlox_error error;
    const double start = cli_seconds();
    const phlox_status status = phlox_export(model, form, out, options, &result, &error);
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
    const cli_flag flags[] = {
        {.option = {"model", "MODEL", "what to export (default: the built-in model)"},
         .letter = 'm', .value = &model},
        {.option = {"task", "NAME", "text-generation-with-past, which is also the default"},
         .value = &task},
        {.option = {"trust-remote-code", NULL, "accepted; no code of a checkpoint is ever run"},
         .is_given = &trusts},
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
    if (code != EXIT_OK) return code;
    const bool builtin = !model || (strcmp(model, "built-in") == 0 && !cli_exists(model));
    return export_model(builtin ? NULL : model, args.positionals[0], args.positionals[1],
                        &args.model);
}

const cli_command cli_export = {
    "export",
    "FORM OUT",
    "write a model in another published form",
    "FORM is openvino: the directory OUT can be loaded by OpenVINO, by optimum's OVModelForCausalLM and\n"
    "by OpenVINO GenAI. The words are those of optimum-cli export openvino. OUT must not exist; it\n"
    "appears when it is complete.",
    2, 2, true, false, run,
};
