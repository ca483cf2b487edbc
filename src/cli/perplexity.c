#include "cli.h"

#include <stdlib.h>

static int run(int argc, char **argv)
{
    static const cli_flag flags[] = {{.option = {NULL, NULL, NULL}}};
    cli_args args;
    int code;
    if (!cli_parse(&cli_perplexity, argc, argv, flags, &args, &code)) return code;
    phlox_model *model = NULL;
    phlox_error error;
    phlox_text text = {NULL, 0};
    phlox_perplexity_result result;
    phlox_status status = cli_read(args.positionals[1], &text, &error);
    if (status == PHLOX_OK)
        status = cli_open_model(args.positionals[0], &args.model, &model, &error);
    if (status == PHLOX_OK) {
        cli_progress_bar bar = {0};
        status = phlox_perplexity(model, text, cli_progress, &bar, &result, &error);
        cli_progress_end(&bar);
    }
    if (status == PHLOX_OK)
        printf("perplexity %.4f over %zu tokens (%.5f nats a token)\n", result.perplexity,
               result.tokens, result.mean_nll);
    free((void *)(uintptr_t)text.data);
    phlox_model_close(&model);
    return status == PHLOX_OK ? EXIT_OK : cli_fail(&error);
}

const cli_command cli_perplexity = {
    "perplexity",
    "MODEL FILE|-",
    "how well a model predicts a text",
    "Windows of the context size, at most 2048 tokens, each from an empty cache.",
    2, 2, true, false, run,
};
