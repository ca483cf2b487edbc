#include "cli.h"

#include <jansson.h>
#include <string.h>

struct advising {
    bool as_json;
    json_t *list;
    char option[64]; /* of the format that the last lines were about; begins with a byte that no option has */
};

static void print_advice(struct advising *advising, const phlox_advice *advice)
{
    char memory[16];
    if (strcmp(advising->option, advice->option) != 0) {
        printf("%s%s%s%s%s\n", advising->option[0] == '?' ? "" : "\n", advice->weights,
               advice->option[0] ? " (" : " (default", advice->option, ")");
        snprintf(advising->option, sizeof advising->option, "%s", advice->option);
    }
    if (advice->problem[0]) {
        printf("  %-14s cannot be used: %s\n", advice->device, advice->problem);
        return;
    }
    printf("%s %-14s decode %6.1f tok/s   prefill %7.1f tok/s   memory %9s%s", advice->is_best ? "*" : " ",
           advice->device, advice->decode, advice->prefill, cli_bytes(advice->memory, memory),
           advice->fits ? "" : ", more than is free");
    if (advice->joules > 0) printf("   %.2f J a token", advice->joules);
    putchar('\n');
}

static json_t *advice_json(const phlox_advice *advice)
{
    json_t *const json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "device", advice->device, "name",
                                   advice->name, "weights", advice->weights, "option", advice->option,
                                   "problem", advice->problem, "best", advice->is_best);
    if (!json || advice->problem[0]) return json;
    json_object_set_new(json, "decode_tokens_per_second", json_real(advice->decode));
    json_object_set_new(json, "prefill_tokens_per_second", json_real(advice->prefill));
    json_object_set_new(json, "memory_bytes", json_integer((json_int_t)advice->memory));
    json_object_set_new(json, "fits", json_boolean(advice->fits));
    if (advice->joules > 0) json_object_set_new(json, "joules_per_token", json_real(advice->joules));
    return json;
}

static bool on_advice(void *user, const phlox_advice *advice)
{
    struct advising *const advising = user;
    if (advising->as_json) json_array_append_new(advising->list, advice_json(advice));
    else print_advice(advising, advice);
    return !cli_interrupted();
}

static void finish(struct advising *advising, const char *reason)
{
    if (!advising->as_json) {
        printf("\n* %s.\nThe rates are expected ones, from two layers of Phi-3-mini's size that were measured on "
               "each device (phlox verify); phlox bench --device measures the model itself.\n", reason);
        return;
    }
    json_t *const json = json_pack("{s:s, s:O}", "reason", reason, "advice", advising->list);
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(json);
}

static int run(int argc, char **argv)
{
    struct advising advising = {.option = "?"};
    const char *context_text = NULL;
    const cli_flag flags[] = {
        {.option = {"at", "TOKENS", "context to compute the memory for (default 4096)"},
         .value = &context_text},
        {.option = {"json", NULL, "one JSON object"}, .is_given = &advising.as_json},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_advise, argc, argv, flags, &args, &code)) return code;
    size_t context = 0;
    if (context_text && !cli_number(context_text, 1, 1 << 24, &context))
        return cli_usage("advise", "--at %s: a number of tokens is meant", context_text);
    const char *const path = args.positionals[0];
    const bool built_in = strcmp(path, "built-in") == 0 && !cli_exists(path);
    cli_progress_bar bar = {0};
    char reason[512];
    phlox_error error;
    args.model.progress = cli_progress;
    args.model.progress_user = &bar;
    advising.list = json_array();
    const phlox_status status =
        phlox_advise(built_in ? NULL : path, &args.model, (int32_t)context, on_advice, &advising, reason,
                     sizeof reason, &error);
    cli_progress_end(&bar);
    if (status == PHLOX_OK) finish(&advising, reason);
    json_decref(advising.list);
    return status == PHLOX_OK ? EXIT_OK : cli_fail(&error);
}

const cli_command cli_advise = {
    "advise",
    "MODEL",
    "which device and weight format to take on this machine",
    "Every device that phlox can drive here is tried once (phlox verify); what that measured, and the sizes of\n"
    "the model in each format, give the rates, memory and energy to expect.",
    1, 1, true, false, run,
};
