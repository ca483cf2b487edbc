#include "run_stats.h"

#include <stdlib.h>
#include <string.h>

/* What the command line asked for. */
struct request {
    cli_args args;
    const char *model, *system, *ids_text;
    bool raw, as_json, quiet, stats;
    const char **stops;
    size_t stop_count;
};

/* What a run makes. */
struct answer {
    const phlox_model *model;
    bool as_json, is_terminal;
    char *text; /* --json only */
    size_t size, capacity;
    json_t *tokens; /* --json only */
    bool failed, ends_line;
};

/* ---- the prompt ---------------------------------------------------------------------------- */

/* One positional is the prompt for the built-in model, unless it is an existing path. With --ids it
 * is the model. */
static const char *choose_prompt(struct request *request)
{
    const cli_args *const args = &request->args;
    const char *const last = args->count ? args->positionals[args->count - 1] : "-";
    if (request->model) return last;
    if (request->ids_text) {
        request->model = args->count ? last : NULL;
        return "";
    }
    if (args->count == 2 || (args->count == 1 && cli_exists(last)))
        request->model = args->positionals[0];
    return args->count == 1 && request->model ? "-" : last;
}

static phlox_status chat_ids(const phlox_model *model, const struct request *request,
                             phlox_text prompt, int32_t **ids, size_t *count, phlox_error *error)
{
    phlox_message messages[2];
    size_t used = 0;
    if (request->system)
        messages[used++] =
            (phlox_message){phlox_text_of("system"), phlox_text_of(request->system)};
    messages[used++] = (phlox_message){phlox_text_of("user"), prompt};
    phlox_status status = phlox_chat_tokenize(model, messages, used, true, NULL, 0, count, error);
    if (status != PHLOX_OK) return status;
    *ids = malloc((*count + 1) * sizeof **ids);
    if (!*ids) return cli_no_memory(*count * sizeof **ids, error);
    return phlox_chat_tokenize(model, messages, used, true, *ids, *count, count, error);
}

static phlox_status prompt_ids(const phlox_model *model, const struct request *request,
                               phlox_text prompt, int32_t **ids, size_t *count, phlox_error *error)
{
    if (request->ids_text) return cli_read_ids(request->ids_text, ids, count, error);
    if (request->raw)
        return cli_tokenize_text(model, prompt, PHLOX_TOKENIZE_CONTROL | PHLOX_TOKENIZE_POST, ids,
                                 count, error);
    return chat_ids(model, request, prompt, ids, count, error);
}

/* ---- the answer ---------------------------------------------------------------------------- */

/* Text of a token inside an answer. At the beginning of a text a leading space is dropped, so that
 * the token is asked for twice and the second one counts. */
static json_t *token_text(const phlox_model *model, int32_t id)
{
    const int32_t twice[] = {id, id};
    char text[2048];
    size_t first = 0, both = 0;
    if (phlox_detokenize(model, twice, 1, true, NULL, 0, &first, NULL) != PHLOX_OK ||
        phlox_detokenize(model, twice, 2, true, text, sizeof text, &both, NULL) != PHLOX_OK ||
        both > sizeof text)
        return NULL;
    return json_stringn(text + first, both - first);
}

static json_t *token_json(const phlox_model *model, const phlox_token_info *token)
{
    json_t *const json = json_pack("{s:i, s:f}", "id", token->id, "logprob", (double)token->logprob);
    json_t *const text = token_text(model, token->id);
    if (text) json_object_set_new(json, "text", text);
    return json;
}

static bool keep_text(struct answer *answer, phlox_text text)
{
    if (text.size > answer->capacity - answer->size) {
        const size_t capacity = (answer->size + text.size) * 2 + 256;
        char *const grown = realloc(answer->text, capacity);
        if (!grown) return false;
        answer->text = grown;
        answer->capacity = capacity;
    }
    if (text.size) memcpy(answer->text + answer->size, text.data, text.size);
    answer->size += text.size;
    return true;
}

static bool keep_piece(struct answer *answer, const phlox_piece *piece)
{
    if (!keep_text(answer, piece->text)) return false;
    if (piece->token.id < 0) return true;
    json_t *const token = token_json(answer->model, &piece->token);
    if (piece->top_count) {
        json_t *const top = json_array();
        for (size_t i = 0; i < piece->top_count; i++)
            json_array_append_new(top, token_json(answer->model, &piece->top[i]));
        json_object_set_new(token, "top", top);
    }
    return json_array_append_new(answer->tokens, token) == 0;
}

static bool on_piece(void *user, const phlox_piece *piece)
{
    struct answer *const answer = user;
    if (piece->shifted)
        fprintf(stderr, "%sphlox: the context was full: the oldest %zu tokens were dropped\n",
                answer->ends_line ? "" : "\n", piece->shifted);
    if (answer->as_json) {
        answer->failed = !keep_piece(answer, piece);
        return !answer->failed && !cli_interrupted();
    }
    phlox_model_info info;
    phlox_model_get_info(answer->model, &info);
    if (!info.has_tokenizer) {
        if (piece->token.id >= 0) printf("%s%d", answer->size++ ? " " : "", piece->token.id);
        answer->ends_line = false;
    } else if (piece->text.size) {
        fwrite(piece->text.data, 1, piece->text.size, stdout);
        answer->ends_line = piece->text.data[piece->text.size - 1] == '\n';
    }
    answer->failed = fflush(stdout) != 0;
    return !answer->failed && !cli_interrupted();
}

static const char *stop_name(phlox_stop_reason stop)
{
    static const char *const names[] = {"eos", "stop", "length", "context", "cancelled"};
    return names[stop];
}

static void print_statistics(const phlox_model_info *info, const phlox_statistics *s,
                             size_t used)
{
    char threads[32];
    fprintf(stderr, "%s %s%s | %s, %s | context %zu of %d | prefill %llu tokens, "
            "%.1f tok/s | decode %llu tokens, %.1f tok/s", info->device, info->kernels,
            cli_threads(info->threads, threads), info->path[0] ? info->path : info->form, info->weights, used, info->context_size, (unsigned long long)s->prefill_tokens,
            run_rate(s->prefill_tokens, s->prefill_seconds), (unsigned long long)s->decode_tokens,
            run_rate(s->decode_tokens, s->decode_seconds));
    if (s->drafted_tokens)
        fprintf(stderr, " | accepted %llu of %llu drafted", (unsigned long long)s->accepted_tokens,
                (unsigned long long)s->drafted_tokens);
    if (s->rope_recomputes)
        fprintf(stderr, " | longrope recomputed %llu tokens", (unsigned long long)s->recomputed_tokens);
    if (s->context_shifts)
        fprintf(stderr, " | %llu context shifts", (unsigned long long)s->context_shifts);
    phlox_process_memory memory;
    char peak[16];
    if (s->huge_page_bytes)
        fprintf(stderr, " | %s in 2 MB pages", cli_bytes(s->huge_page_bytes, peak));
    if (phlox_get_process_memory(&memory))
        fprintf(stderr, " | peak memory %s", cli_bytes(memory.peak, peak));
    fputc('\n', stderr);
}

static int print_json(const struct answer *answer, const run_stats *stats,
                      const phlox_generate_result *result, size_t prompt_count)
{
    const phlox_model_info *const info = stats->info;
    const phlox_statistics *const s = stats->statistics;
    json_t *const text = json_stringn(answer->text ? answer->text : "", answer->size);
    json_t *const json = json_pack(
        "{s:o, s:s, s:I, s:I, s:O, s:{s:s, s:s, s:s, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I}}",
        "text", text, "stop", stop_name(result->stop), "prompt_tokens", (json_int_t)prompt_count,
        "generated_tokens", (json_int_t)result->tokens, "tokens", answer->tokens, "statistics",
        "device", info->device, "kernels", info->kernels, "weights", info->weights,
        "load_seconds", info->load_seconds, "prefill_tokens_per_second",
        run_rate(s->prefill_tokens, s->prefill_seconds), "decode_tokens_per_second",
        run_rate(s->decode_tokens, s->decode_seconds), "rope_recomputes",
        (json_int_t)s->rope_recomputes, "context_shifts", (json_int_t)s->context_shifts,
        "speculated_steps", (json_int_t)s->speculated_steps, "drafted_tokens",
        (json_int_t)s->drafted_tokens, "accepted_tokens", (json_int_t)s->accepted_tokens,
        "huge_page_bytes", (json_int_t)s->huge_page_bytes);
    if (!json) {
        fputs("phlox: no memory for the answer as JSON\n", stderr);
        return EXIT_FAILED;
    }
    phlox_process_memory memory;
    if (phlox_get_process_memory(&memory))
        json_object_set_new(json_object_get(json, "statistics"), "peak_rss_bytes",
                            json_integer((json_int_t)memory.peak));
    run_stats_json(stats, json_object_get(json, "statistics"));
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(json);
    return EXIT_OK;
}

/* ---- the command --------------------------------------------------------------------------- */

/* Applies the options of the command line. What says outright whether to sample comes last: it
 * decides over what options such as --top-k imply. */
static phlox_status apply_options(const cli_args *args, phlox_generate_options *options,
                                  phlox_error *error)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < args->generate_count; i++) {
            const char *const name = args->generate[i].name;
            const bool decides = strcmp(name, "sample") == 0 || strcmp(name, "greedy") == 0;
            if (decides != (pass == 1)) continue;
            const phlox_status status =
                phlox_generate_options_set(options, name, args->generate[i].value, error);
            if (status != PHLOX_OK) return status;
        }
    }
    return PHLOX_OK;
}

static phlox_status generate(phlox_model *model, phlox_session *session,
                             const struct request *request, phlox_text *stops,
                             struct answer *answer, phlox_generate_result *result,
                             phlox_error *error)
{
    phlox_generate_options options;
    phlox_generate_options_init(&options, model);
    const phlox_status status = apply_options(&request->args, &options, error);
    if (status != PHLOX_OK) return status;
    for (size_t i = 0; i < request->stop_count; i++) stops[i] = phlox_text_of(request->stops[i]);
    options.stop_strings = stops;
    options.stop_count = request->stop_count;
    return phlox_session_generate(session, &options, on_piece, answer, result, error);
}

static int finish(const struct request *request, const phlox_model *model,
                  const phlox_session *session, const struct answer *answer,
                  const phlox_generate_result *result, size_t prompt_count,
                  const phlox_usage_report *usage)
{
    int code = EXIT_OK;
    phlox_model_info info;
    phlox_statistics statistics;
    run_stats stats = {&info, &statistics, usage, 0, result->tokens};
    phlox_model_get_info(model, &info);
    phlox_session_statistics(session, &statistics);
    phlox_session_ids(session, &stats.context_used);
    if (request->as_json) code = print_json(answer, &stats, result, prompt_count);
    else if (!answer->ends_line) putchar('\n');
    fflush(stdout);
    if (!request->quiet && !request->as_json) {
        if (request->stats) run_stats_print(&stats);
        else print_statistics(&info, &statistics, stats.context_used);
    }
    if (result->stop == PHLOX_STOP_CONTEXT) {
        fprintf(stderr, "phlox: the answer ends because the context of %d tokens is full; raise "
                "--context-size, or use --context-shift\n", info.context_size);
        code = EXIT_FAILED;
    }
    if (answer->failed) code = EXIT_FAILED;
    if (cli_interrupted()) code = EXIT_INTERRUPTED;
    return code;
}

static int answer_prompt(struct request *request, phlox_model *model, phlox_text prompt)
{
    phlox_session *session = NULL;
    phlox_error error;
    phlox_generate_result result = {0};
    struct answer answer = {.model = model, .as_json = request->as_json, .ends_line = true,
                            .tokens = json_array()};
    int32_t *ids = NULL;
    size_t count = 0;
    phlox_text *const stops = calloc(request->stop_count + 1, sizeof *stops);
    cli_progress_bar bar = {0};
    phlox_usage *usage = NULL;
    phlox_usage_report report;
    int code = EXIT_FAILED;
    phlox_status status = stops ? phlox_session_create(model, &session, &error)
                                : cli_no_memory(request->stop_count * sizeof *stops, &error);
    cli_cancels(session);
    if (status == PHLOX_OK) status = prompt_ids(model, request, prompt, &ids, &count, &error);
    if (status == PHLOX_OK && !count) {
        code = cli_usage("run", "the prompt is empty");
    } else {
        /* An answer is no worse for not being measured. */
        const bool measures = status == PHLOX_OK && request->stats && (request->as_json || !request->quiet) &&
                              phlox_usage_begin(NULL, &usage, NULL) == PHLOX_OK;
        if (status == PHLOX_OK)
            status = phlox_session_append(session, ids, count, NULL, cli_progress, &bar, &error);
        cli_progress_end(&bar);
        if (status == PHLOX_OK)
            status = generate(model, session, request, stops, &answer, &result, &error);
        phlox_usage_end(&usage, &report);
        code = status == PHLOX_OK ? finish(request, model, session, &answer, &result, count,
                                           measures ? &report : NULL)
                                  : cli_fail(&error);
    }
    cli_cancels(NULL);
    json_decref(answer.tokens);
    free(answer.text);
    free(stops);
    free(ids);
    phlox_session_close(&session);
    return code;
}

/* The word for two options of which one would be ignored; NULL when all have a meaning. */
static const char *find_clash(const struct request *request)
{
    const int prompts = request->args.count - (request->model ? 0 : 1);
    bool sample = false, greedy = false;
    for (int i = 0; i < request->args.generate_count; i++) {
        sample |= strcmp(request->args.generate[i].name, "sample") == 0;
        greedy |= strcmp(request->args.generate[i].name, "greedy") == 0;
    }
    if (sample && greedy) return "--sample and --greedy exclude each other";
    if (request->args.model.chat_format && (request->raw || request->ids_text))
        return "--chat-format has no meaning with --raw and --ids";
    if (request->model && request->args.count > 1) return "with -m there is one prompt";
    if (request->ids_text && prompts > 0) return "--ids takes the place of the prompt";
    if (request->ids_text && request->raw) return "--ids and --raw exclude each other";
    if (request->ids_text && request->system) return "--ids and --system exclude each other";
    if (request->raw && request->system)
        return "--raw and --system exclude each other: a raw prompt has its system message in it";
    return NULL;
}

/* Where it runs and why, before the first token. */
static void print_device(const phlox_model *model)
{
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    fprintf(stderr, "%s%s%s%s: %s\n", info.device, info.device_name[0] ? " (" : "", info.device_name,
            info.device_name[0] ? ")" : "", info.device_reason);
}

static int execute(struct request *request)
{
    phlox_error error;
    phlox_model *model = NULL;
    const char *const given = choose_prompt(request);
    /* A path with a slip in it is not a question for the built-in model. */
    if (!request->model && request->args.count == 1 && strchr(given, '/') && !strpbrk(given, " \t\n"))
        return cli_usage("run", "%s: no such model (a prompt that looks like a path goes behind "
                         "-m MODEL)", given);
    const bool reads = !request->ids_text && strcmp(given, "-") == 0;
    phlox_text prompt = phlox_text_of(given);
    if (reads) {
        if (cli_is_terminal(stdin)) fputs("(prompt, then Ctrl-D)\n", stderr);
        if (cli_read("-", &prompt, &error) != PHLOX_OK) return cli_fail(&error);
    }
    int code;
    if (!request->ids_text && !prompt.size)
        code = cli_usage("run", "the prompt is empty");
    else if (cli_open_model(request->model, &request->args.model, &model, &error) != PHLOX_OK)
        code = cli_fail(&error);
    else {
        if (!request->quiet && !request->as_json) print_device(model);
        code = answer_prompt(request, model, prompt);
    }
    if (reads) free((void *)(uintptr_t)prompt.data);
    phlox_model_close(&model);
    return code;
}

static int run(int argc, char **argv)
{
    struct request request = {.raw = false};
    const cli_flag flags[] = {
        {.option = {"model", "MODEL", "the model to run"}, .letter = 'm', .value = &request.model},
        {.option = {"raw", NULL, "the prompt is formatted already; control tokens in it count"},
         .is_given = &request.raw},
        {.option = {"system", "TEXT", "system message"}, .value = &request.system},
        {.option = {"ids", "1,2,3|@FILE", "the prompt as token ids"}, .value = &request.ids_text},
        {.option = {"stop", "TEXT", "end before this text; may be given often"},
         .list = &request.stops, .list_count = &request.stop_count},
        {.option = {"json", NULL, "one JSON object with text, tokens and statistics"},
         .is_given = &request.as_json},
        {.option = {"stats", NULL, "a table of statistics: speed, and what each unit did and used"},
         .is_given = &request.stats},
        {.option = {"quiet", NULL, "no statistics"}, .letter = 'q', .is_given = &request.quiet},
        {.option = {NULL, NULL, NULL}},
    };
    int code;
    if (cli_parse(&cli_run, argc, argv, flags, &request.args, &code)) {
        const char *const clash = find_clash(&request);
        code = clash ? cli_usage("run", "%s", clash) : execute(&request);
    }
    free((void *)request.stops);
    return code;
}

const cli_command cli_run = {
    "run",
    "[-m MODEL] [MODEL] [PROMPT]",
    "answer a prompt",
    "One argument is the prompt for the built-in model, unless it is an existing path. Without a\n"
    "prompt, or with -, standard input is read byte for byte. The answer goes to standard output,\n"
    "statistics to standard error.",
    0, 2, true, true, run,
};
