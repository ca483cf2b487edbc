#include "cli.h"

#include <inttypes.h>
#include <jansson.h>

static void print_ids(const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) printf("%s%d", i ? ", " : "", ids[i]);
    putchar('\n');
}

static void print_text(const phlox_model *model, const phlox_model_info *info, int32_t context)
{
    char a[16], b[16], threads[32];
    printf("model           %s (%s)\n", info->path[0] ? info->path : "built-in", info->form);
    const bool is_small = info->parameters < 1000000000;
    printf("architecture    %s, %.2f %s parameters, stored as %s\n", info->architecture,
           (double)info->parameters * (is_small ? 1e-6 : 1e-9), is_small ? "million" : "billion",
           info->stored);
    printf("layers          %d, hidden %d, intermediate %d\n", info->num_hidden_layers,
           info->hidden_size, info->intermediate_size);
    printf("attention       %d heads, %d for keys and values, head size %d, %d of it rotated\n",
           info->num_attention_heads, info->num_key_value_heads, info->head_dim, info->rotary_dim);
    if (info->sliding_window) printf("sliding window  %d\n", info->sliding_window);
    printf("rope            theta %g%s\n", info->rope_theta, info->longrope ? ", longrope" : "");
    printf("context         %d tokens", info->context_size);
    if (info->longrope) printf(", other factors above %d", info->original_context_size);
    printf("\nvocabulary      %d%s%s\n", info->vocab_size, info->tied_embeddings ? ", tied" : "",
           info->has_tokenizer ? "" : ", no tokenizer");
    printf("chat format     %s\n", info->chat_format[0] ? info->chat_format : "none");
    printf("ends at         ");
    print_ids(info->eos_ids, info->eos_count);
    printf("device          %s %s%s: %s\n", info->device, info->kernels,
           cli_threads(info->threads, threads), info->device_reason);
    printf("weights         %s in %s (%s stored)\n", info->weights,
           cli_bytes(info->weight_bytes, a), cli_bytes(info->stored_bytes, b));
    printf("memory          %s at %d tokens of context (%s a token)\n",
           cli_bytes(phlox_memory_needed(model, context), a), context,
           cli_bytes(info->kv_bytes_per_token, b));
}

static int print_json(const phlox_model *model, const phlox_model_info *info, int32_t context)
{
    json_t *const eos = json_array();
    for (size_t i = 0; i < info->eos_count; i++)
        json_array_append_new(eos, json_integer(info->eos_ids[i]));
    json_t *const path = json_string(info->path); /* NULL when the name is not UTF-8 */
    json_t *const json = json_pack(
        "{s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "form", info->form, "path",
        path ? path : json_null(),
        "architecture", info->architecture, "stored", info->stored, "weights", info->weights,
        "chat_format", info->chat_format, "device", info->device, "device_reason",
        info->device_reason, "kernels", info->kernels);
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"parameters", info->parameters},
        {"stored_bytes", info->stored_bytes},
        {"weight_bytes", info->weight_bytes},
        {"kv_bytes_per_token", info->kv_bytes_per_token},
        {"memory_bytes", phlox_memory_needed(model, context)},
        {"memory_context", (uint64_t)context},
        {"vocab_size", (uint64_t)info->vocab_size},
        {"hidden_size", (uint64_t)info->hidden_size},
        {"intermediate_size", (uint64_t)info->intermediate_size},
        {"num_hidden_layers", (uint64_t)info->num_hidden_layers},
        {"num_attention_heads", (uint64_t)info->num_attention_heads},
        {"num_key_value_heads", (uint64_t)info->num_key_value_heads},
        {"head_dim", (uint64_t)info->head_dim},
        {"rotary_dim", (uint64_t)info->rotary_dim},
        {"sliding_window", (uint64_t)info->sliding_window},
        {"context_size", (uint64_t)info->context_size},
        {"original_context_size", (uint64_t)info->original_context_size},
        {"threads", (uint64_t)info->threads},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(json, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    json_object_set_new(json, "rope_theta", json_real(info->rope_theta));
    json_object_set_new(json, "rms_norm_eps", json_real(info->rms_norm_eps));
    json_object_set_new(json, "longrope", json_boolean(info->longrope));
    json_object_set_new(json, "tied_embeddings", json_boolean(info->tied_embeddings));
    json_object_set_new(json, "has_tokenizer", json_boolean(info->has_tokenizer));
    json_object_set_new(json, "eos_ids", eos);
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
    return EXIT_OK;
}

static int run(int argc, char **argv)
{
    const char *context_text = NULL;
    bool as_json = false;
    const cli_flag flags[] = {
        {.option = {"at", "TOKENS", "context to compute the memory for (default: the model's)"},
         .value = &context_text},
        {.option = {"json", NULL, "one JSON object"}, .is_given = &as_json},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_info, argc, argv, flags, &args, &code)) return code;
    args.model.describe_only = true;
    phlox_model *model;
    phlox_error error;
    if (cli_open_model(args.positionals[0], &args.model, &model, &error) != PHLOX_OK)
        return cli_fail(&error);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    size_t context = (size_t)info.context_size;
    if (context_text && !cli_number(context_text, 1, (size_t)info.context_size, &context))
        code = cli_usage("info", "--at %s: 1 to %d is meant", context_text, info.context_size);
    else if (as_json) code = print_json(model, &info, (int32_t)context);
    else print_text(model, &info, (int32_t)context), code = EXIT_OK;
    phlox_model_close(&model);
    return code;
}

const cli_command cli_info = {
    "info", "MODEL", "what a model is, and the memory it needs", NULL, 1, 1, true, false, run,
};
