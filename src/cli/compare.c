#include "cli.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct request {
    const char *paths[2]; /* reference, candidate */
    phlox_model_options options[2];
    const char *file, *ids, *random, *seed;
    bool is_raw, as_json;
};

struct opened {
    phlox_model *models[2];
    phlox_model_info info[2];
};

/* ---- the command line ---------------------------------------------------------------------- */

/* Where "--with" is; argc when it is not there. */
static int find_with(int argc, char **argv)
{
    int i = 1;
    while (i < argc && strcmp(argv[i], "--with") != 0 && strcmp(argv[i], "--") != 0) i++;
    return i < argc && strcmp(argv[i], "--with") == 0 ? i : argc;
}

/* Takes over what says how to run, not what the numbers become. */
static void inherit(phlox_model_options *to, const phlox_model_options *from)
{
    if (!to->threads) to->threads = from->threads;
    if (!to->context_size) to->context_size = from->context_size;
    if (to->no_cache || to->cache_dir || to->cache_limit) return;
    to->no_cache = from->no_cache;
    to->cache_dir = from->cache_dir;
    to->cache_limit = from->cache_limit;
}

static bool parse(int argc, char **argv, struct request *request, int *code)
{
    bool again = false;
    const cli_flag flags[] = {
        {.option = {"with", NULL, "what follows is the candidate, what stands before it the reference"},
         .is_given = &again},
        {.option = {"file", "FILE|-", "the text; standard input when there are no ids"},
         .letter = 'f', .value = &request->file},
        {.option = {"raw", NULL, "control tokens written in the text count as such"},
         .is_given = &request->is_raw},
        {.option = {"ids", "1,2,3|@FILE", "token ids in place of a text"}, .value = &request->ids},
        {.option = {"random", "N", "N random token ids in place of a text"},
         .value = &request->random},
        {.option = {"seed", "N", "other random ids (default 0)"}, .value = &request->seed},
        {.option = {"json", NULL, "one JSON object"}, .is_given = &request->as_json},
        {.option = {NULL, NULL, NULL}},
    };
    static const cli_command behind = {
        "compare", "MODEL [OPTIONS] --with [CANDIDATE] [OPTIONS]", "", NULL, 0, 1, true, false, NULL};
    const int with = find_with(argc, argv);
    cli_args first, second = {.count = 0};
    phlox_model_options_init(&second.model);
    if (!cli_parse(&cli_compare, with, argv, flags, &first, code)) return false;
    if (with < argc && !cli_parse(&behind, argc - with, argv + with, flags, &second, code))
        return false;
    if (again || first.count + second.count > 2) {
        *code = cli_usage("compare", again ? "--with is given twice"
                                           : "there are three models; two can be compared");
        return false;
    }
    request->paths[0] = first.positionals[0];
    request->paths[1] = second.count      ? second.positionals[0]
                        : first.count > 1 ? first.positionals[1]
                                          : first.positionals[0];
    phlox_model_options none;
    phlox_model_options_init(&none);
    request->options[0] = with < argc ? first.model : none;
    request->options[1] = with < argc ? second.model : first.model;
    inherit(&request->options[0], &request->options[1]);
    inherit(&request->options[1], &request->options[0]);
    if (request->options[0].weight_format == PHLOX_WEIGHTS_DEFAULT) {
        request->options[0].weight_format = PHLOX_WEIGHTS_STORED;
        request->options[0].exact = true;
    }
    return true;
}

/* What contradicts itself before anything is opened. */
static int check(const struct request *r, size_t *random, size_t *seed)
{
    if ((r->file != NULL) + (r->ids != NULL) + (r->random != NULL) > 1)
        return cli_usage("compare", "--file, --ids and --random exclude each other");
    if (r->is_raw && (r->ids || r->random)) return cli_usage("compare", "--raw belongs to a text");
    if (r->seed && !r->random) return cli_usage("compare", "--seed belongs to --random");
    if (r->random && !cli_number(r->random, 2, 10000000, random))
        return cli_usage("compare", "--random %s: 2 to 10000000 is meant", r->random);
    if (r->seed && !cli_number(r->seed, 0, SIZE_MAX, seed))
        return cli_usage("compare", "--seed %s: a whole number from 0 up is meant", r->seed);
    return EXIT_OK;
}

/* ---- the ids ------------------------------------------------------------------------------- */

static phlox_status random_ids(size_t count, uint64_t seed, int32_t vocab, int32_t **ids,
                               phlox_error *error)
{
    *ids = malloc(count * sizeof **ids);
    if (!*ids) return cli_no_memory(count * sizeof **ids, error);
    for (size_t i = 0; i < count; i++) { /* splitmix64 */
        uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
        z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
        (*ids)[i] = (int32_t)((z ^ z >> 31) % (uint64_t)vocab);
    }
    return PHLOX_OK;
}

static phlox_status fail(phlox_error *error, const char *sentence)
{
    *error = (phlox_error){.code = PHLOX_ERROR_ARGUMENT};
    snprintf(error->message, sizeof error->message, "%s", sentence);
    return error->code;
}

/* The text as both models read it, which must be the same. */
static phlox_status text_ids(const struct opened *opened, const struct request *request,
                             int32_t **ids, size_t *count, phlox_error *error)
{
    const unsigned flags = request->is_raw ? PHLOX_TOKENIZE_CONTROL : 0;
    for (int i = 0; i < 2; i++)
        if (!opened->info[i].has_tokenizer)
            return fail(error, "a model without tokenizer.json reads no text; give --ids or --random");
    phlox_text text = {NULL, 0};
    int32_t *other = NULL;
    size_t other_count = 0;
    phlox_status status = cli_read(request->file ? request->file : "-", &text, error);
    if (status == PHLOX_OK)
        status = cli_tokenize_text(opened->models[0], text, flags, ids, count, error);
    if (status == PHLOX_OK)
        status = cli_tokenize_text(opened->models[1], text, flags, &other, &other_count, error);
    if (status == PHLOX_OK &&
        (*count != other_count || memcmp(*ids, other, *count * sizeof **ids) != 0))
        status = fail(error, "the two models turn the text into different tokens; only models that "
                             "share a vocabulary can be compared");
    free(other);
    free((void *)(uintptr_t)text.data);
    return status;
}

/* ---- the answer ---------------------------------------------------------------------------- */

static const char *path_of(const phlox_model_info *info)
{
    return info->path[0] ? info->path : "built-in";
}

static void print_side(const char *role, const phlox_model_info *info, bool exact)
{
    printf("%-12s%s: %s%s, %s\n", role, path_of(info), info->weights, exact ? ", exact" : "",
           info->kernels);
}

static void print_table(const struct request *request, const struct opened *opened,
                        const phlox_compare_result *r)
{
    const double change = r->candidate.perplexity / r->reference.perplexity - 1;
    print_side("reference", &opened->info[0], request->options[0].exact);
    print_side("candidate", &opened->info[1], request->options[1].exact);
    printf("positions   %zu\n\n", r->positions);
    printf("KL divergence (nats)      mean      median        99 %%         max\n");
    printf("                    %10.3g  %10.3g  %10.3g  %10.3g\n", r->kl_mean, r->kl_median,
           r->kl_p99, r->kl_max);
    printf("same top token      %10.2f %%\n", 100 * r->top1_agreement);
    printf("perplexity          %10.4f  %10.4f  (%+.2f %%) over %zu tokens\n",
           r->reference.perplexity, r->candidate.perplexity, 100 * change, r->reference.tokens);
}

static json_t *json_side(const phlox_model_info *info, bool exact,
                         const phlox_perplexity_result *perplexity)
{
    json_t *const path = json_string(path_of(info)); /* NULL when the name is not UTF-8 */
    return json_pack("{s:o, s:s, s:b, s:s, s:s, s:f, s:f}", "model", path ? path : json_null(),
                     "weights", info->weights, "exact", (int)exact, "device", info->device,
                     "kernels", info->kernels, "perplexity", perplexity->perplexity, "mean_nll",
                     perplexity->mean_nll);
}

static void print_json(const struct request *request, const struct opened *opened,
                       const phlox_compare_result *r)
{
    json_t *const json = json_pack(
        "{s:o, s:o, s:I, s:I, s:{s:f, s:f, s:f, s:f}, s:f}", "reference",
        json_side(&opened->info[0], request->options[0].exact, &r->reference), "candidate",
        json_side(&opened->info[1], request->options[1].exact, &r->candidate), "positions",
        (json_int_t)r->positions, "predicted", (json_int_t)r->reference.tokens, "kl", "mean",
        r->kl_mean, "median", r->kl_median, "p99", r->kl_p99, "max", r->kl_max, "top1_agreement",
        r->top1_agreement);
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}

/* ---- the command --------------------------------------------------------------------------- */

static phlox_status open_both(struct request *request, struct opened *opened, phlox_error *error)
{
    for (int i = 0; i < 2; i++) {
        const phlox_status status =
            cli_open_model(request->paths[i], &request->options[i], &opened->models[i], error);
        if (status != PHLOX_OK) return status;
        phlox_model_get_info(opened->models[i], &opened->info[i]);
    }
    return PHLOX_OK;
}

static int run(int argc, char **argv)
{
    struct request request = {.as_json = false};
    struct opened opened = {.models = {NULL}};
    size_t random = 0, seed = 0, count = 0;
    int code;
    if (!parse(argc, argv, &request, &code)) return code;
    code = check(&request, &random, &seed);
    if (code != EXIT_OK) return code;
    phlox_error error;
    phlox_compare_result result;
    int32_t *ids = NULL;
    phlox_status status = open_both(&request, &opened, &error);
    if (status == PHLOX_OK && random) {
        count = random;
        status = random_ids(count, seed, opened.info[0].vocab_size, &ids, &error);
    } else if (status == PHLOX_OK && request.ids) {
        status = cli_read_ids(request.ids, &ids, &count, &error);
    } else if (status == PHLOX_OK) {
        status = text_ids(&opened, &request, &ids, &count, &error);
    }
    if (status == PHLOX_OK) {
        cli_progress_bar bar = {0};
        status = phlox_compare(opened.models[0], opened.models[1], ids, count, cli_progress, &bar,
                               &result, &error);
        cli_progress_end(&bar);
    }
    code = status == PHLOX_OK ? EXIT_OK : cli_fail(&error);
    if (status == PHLOX_OK)
        (request.as_json ? print_json : print_table)(&request, &opened, &result);
    free(ids);
    phlox_model_close(&opened.models[0]);
    phlox_model_close(&opened.models[1]);
    return code;
}

const cli_command cli_compare = {
    "compare",
    "MODEL [CANDIDATE] [OPTIONS] | MODEL [OPTIONS] --with [CANDIDATE] [OPTIONS]",
    "what a weight format, or another model, changes",
    "KL divergence and agreement of the next-token distributions over a text, and both perplexities.\n"
    "The options are those of the candidate; the reference is MODEL as stored, with float32\n"
    "activations and cache. With --with the options before it are the reference's, which is then\n"
    "as exact as they say; threads, context and cache hold for both.",
    1, 2, true, false, run,
};
