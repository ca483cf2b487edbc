#include "cli.h"

#include <string.h>

static void print_overview(void)
{
    puts("phlox: Phi-3, locally, on any AI PC\n\nCommands");
    for (size_t i = 0; cli_commands[i]; i++)
        printf("  %-12s%s\n", cli_commands[i]->name, cli_commands[i]->summary);
    puts("\nphlox help COMMAND explains one. MODEL is the directory of a Hugging Face checkpoint, of\n"
         "an OpenVINO export or for ONNX Runtime GenAI, a GGUF file, or built-in for the small\n"
         "demonstration model inside the program.\n\n"
         "  phlox run \"What is an NPU?\"            ask the demonstration model\n"
         "  phlox run -m DIR \"What is an NPU?\"     ask the model in DIR");
    puts("\nExit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted");
}

static int run(int argc, char **argv)
{
    if (argc > 2) return cli_usage(NULL, "\"%s\" is one argument too many", argv[2]);
    if (argc < 2) {
        print_overview();
        return EXIT_OK;
    }
    for (size_t i = 0; cli_commands[i]; i++) {
        if (strcmp(cli_commands[i]->name, argv[1]) != 0) continue;
        if (cli_commands[i] == &cli_help) break;
        char *arguments[] = {argv[1], (char[]){"--help"}, NULL};
        return cli_commands[i]->run(2, arguments);
    }
    if (strcmp(argv[1], "help") == 0 || argv[1][0] == '-') {
        print_overview();
        return EXIT_OK;
    }
    return cli_usage(NULL, "%s is not a command", argv[1]);
}

const cli_command cli_help = {"help", "[COMMAND]", "how to use phlox", NULL, 0, 1, false, false, run};
