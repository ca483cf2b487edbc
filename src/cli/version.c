#include "cli.h"

static void print_features(const char *title, uint64_t features)
{
    printf("%s", title);
    for (uint64_t bit = 1; bit; bit <<= 1) {
        const char *const name = phlox_cpu_feature_name(bit);
        if (name && (features & bit)) printf(" %s", name);
    }
    puts(features ? "" : " none");
}

static int run(int argc, char **argv)
{
    static const cli_flag flags[] = {{.option = {NULL, NULL, NULL}}};
    cli_args args;
    int code;
    if (!cli_parse(&cli_version, argc, argv, flags, &args, &code)) return code;
    printf("phlox %s\n", phlox_version());
    print_features("CPU features:", phlox_cpu_features());
    return EXIT_OK;
}

const cli_command cli_version = {
    "version", "", "version, commit, and the CPU features found", NULL, 0, 0, false, false, run,
};
