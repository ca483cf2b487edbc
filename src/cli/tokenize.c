#include "cli.h"

#include <stdlib.h>
#include <string.h>

static phlox_status open_described(cli_args *args, phlox_model **model, phlox_error *error)
{
    args->model.describe_only = true;
    return cli_open_model(args->positionals[0], &args->model, model, error);
}

static void print_ids(const int32_t *ids, size_t count, bool as_json)
{
    if (as_json) putchar('[');
    for (size_t i = 0; i < count; i++) printf("%s%d", i ? (as_json ? ", " : " ") : "", ids[i]);
    puts(as_json ? "]" : "");
}

static int run_tokenize(int argc, char **argv)
{
    bool raw = false, bos = false, as_json = false;
    const cli_flag flags[] = {
        {.option = {"raw", NULL, "control tokens written in the text count as such"},
         .is_given = &raw},
        {.option = {"bos", NULL, "put the beginning-of-sequence token in front"}, .is_given = &bos},
        {.option = {"json", NULL, "one JSON array"}, .is_given = &as_json},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_tokenize, argc, argv, flags, &args, &code)) return code;
    const char *const given = args.count > 1 ? args.positionals[1] : "-";
    const bool reads = strcmp(given, "-") == 0;
    phlox_model *model = NULL;
    phlox_error error;
    phlox_text text = phlox_text_of(reads ? NULL : given);
    int32_t *ids = NULL;
    size_t count;
    phlox_status status = open_described(&args, &model, &error);
    if (status == PHLOX_OK && reads) status = cli_read("-", &text, &error);
    if (status == PHLOX_OK)
        status = cli_tokenize_text(model, text,
                                   (raw ? PHLOX_TOKENIZE_CONTROL : 0u) |
                                       (bos ? PHLOX_TOKENIZE_BOS : 0u),
                                   &ids, &count, &error);
    if (status == PHLOX_OK) print_ids(ids, count, as_json);
    free(ids);
    if (reads) free((void *)(uintptr_t)text.data);
    phlox_model_close(&model);
    return status == PHLOX_OK ? EXIT_OK : cli_fail(&error);
}

static int run_detokenize(int argc, char **argv)
{
    bool raw = false;
    const cli_flag flags[] = {
        {.option = {"raw", NULL, "write control tokens too"}, .is_given = &raw},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_detokenize, argc, argv, flags, &args, &code)) return code;
    phlox_model *model = NULL;
    phlox_error error;
    int32_t *ids = NULL;
    size_t count, size = 0;
    char *text = NULL;
    phlox_status status = open_described(&args, &model, &error);
    if (status == PHLOX_OK)
        status = cli_read_ids(args.count > 1 ? args.positionals[1] : "@-", &ids, &count, &error);
    if (status == PHLOX_OK)
        status = phlox_detokenize(model, ids, count, raw, NULL, 0, &size, &error);
    if (status == PHLOX_OK && !(text = malloc(size + 1)))
        status = cli_no_memory(size, &error);
    if (status == PHLOX_OK)
        status = phlox_detokenize(model, ids, count, raw, text, size, &size, &error);
    if (status == PHLOX_OK) {
        fwrite(text, 1, size, stdout);
        if (cli_is_terminal(stdout)) putchar('\n');
    }
    free(text);
    free(ids);
    phlox_model_close(&model);
    return status == PHLOX_OK ? EXIT_OK : cli_fail(&error);
}

const cli_command cli_tokenize = {
    "tokenize",
    "MODEL [TEXT|-]",
    "token ids of a text",
    "Without TEXT, or with -, reads standard input byte for byte.",
    1, 2, true, false, run_tokenize,
};

const cli_command cli_detokenize = {
    "detokenize",
    "MODEL [IDS|@FILE]",
    "text of token ids",
    "IDS are numbers separated by commas or blanks; without them, standard input is read.",
    1, 2, true, false, run_detokenize,
};
