#include "cli.h"

#include <string.h>

const cli_command *const cli_commands[] = {
    &cli_run,   &cli_info,  &cli_tokenize, &cli_detokenize, &cli_logits, &cli_perplexity,
    &cli_compare, &cli_bench, &cli_export, &cli_cache, &cli_runtime,
    &cli_verify, &cli_advise, &cli_devices, &cli_doctor, &cli_top, &cli_version, &cli_help, NULL,
};

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    cli_catch_interrupts();
    for (size_t i = 0; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_finish(cli_commands[i]->run(argc > 1 ? argc - 1 : 1,
                                                   argc > 1 ? argv + 1 : argv));
    return cli_usage(NULL, "%s is not a command", name);
}
