#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What the command line asked for. */
struct request {
    cli_args args;
    bench_plan plan;
    const char *prompt, *decode, *depth, *batch, *repeats; /* as written */
    const char **formats; /* of --weight-format, each a list */
    size_t format_count;
    const char **devices; /* of --device, each a list */
    size_t device_count;
    const char *compare, *chart, *powercap;
    bool csv, markdown, json, machine, no_machine;
};

/* ---- reading the command line -------------------------------------------------------------- */

enum { MOST_TOKENS = 1 << 24, MOST_REPEATS = 1000, WORD = 32 };

/* Takes the next word of a list separated by commas; false when it is too long. */
static bool next_word(const char **text, char *word)
{
    const size_t size = strcspn(*text, ",");
    if (size >= WORD) return false;
    memcpy(word, *text, size);
    word[size] = 0;
    *text += size;
    return true;
}

/* text NULL: `usual`. */
static bool read_list(const char *text, size_t usual, size_t least, size_t most, bench_list *list)
{
    list->count = 0;
    if (!text) {
        list->values[list->count++] = usual;
        return true;
    }
    for (;; text++) {
        char word[WORD];
        if (list->count == BENCH_LIST || !next_word(&text, word) ||
            !cli_number(word, least, most, &list->values[list->count++]))
            return false;
        if (!*text) return true;
    }
}

static bool has_tokens(const bench_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->values[i]) return true;
    return false;
}

static int bad_list(const char *flag, const char *text, size_t least, size_t most)
{
    return cli_usage("bench", "%s %s: up to %d numbers from %zu to %zu are meant, separated by commas",
                     flag, text, BENCH_LIST, least, most);
}

static int read_plan(struct request *r)
{
    bench_plan *const plan = &r->plan;
    if (!read_list(r->prompt, 512, 0, MOST_TOKENS, &plan->prompts))
        return bad_list("--prompt", r->prompt, 0, MOST_TOKENS);
    if (!read_list(r->decode, 48, 0, MOST_TOKENS, &plan->decodes))
        return bad_list("--decode", r->decode, 0, MOST_TOKENS);
    if (!read_list(r->depth, 0, 0, MOST_TOKENS, &plan->depths))
        return bad_list("--depth", r->depth, 0, MOST_TOKENS);
    if (!read_list(r->batch, 1, 1, BENCH_BATCH, &plan->batches))
        return bad_list("--batch", r->batch, 1, BENCH_BATCH);
    plan->repeats = 5;
    if (r->repeats && !cli_number(r->repeats, 1, MOST_REPEATS, &plan->repeats))
        return cli_usage("bench", "--repeats %s: 1 to %d is meant", r->repeats, MOST_REPEATS);
    if (!has_tokens(&plan->prompts) && !has_tokens(&plan->decodes))
        return cli_usage("bench", "-p 0 and -n 0 leave nothing to measure");
    return EXIT_OK;
}

/* The next word of an option that may be given often, each time a list; "" for one that is too long or empty. Begin with
 * *argument 0 and *text NULL. */
static bool next_of_all(const char *const *arguments, size_t count, size_t *argument, const char **text,
                        char *word)
{
    if (*argument == count) return false;
    if (!*text) *text = arguments[*argument];
    const bool good = next_word(text, word);
    if (good && **text) {
        ++*text;
    } else {
        ++*argument;
        *text = NULL;
    }
    if (!good) *word = 0;
    return true;
}

/* Every format and device is known before the first model is opened. */
static int check_words(const char *name, const char *const *arguments, size_t count)
{
    size_t argument = 0;
    const char *text = NULL;
    char word[WORD];
    while (next_of_all(arguments, count, &argument, &text, word)) {
        phlox_model_options trial;
        phlox_error error;
        phlox_model_options_init(&trial);
        if (!*word) return cli_usage("bench", "--%s: a list of words is meant", name);
        if (phlox_model_options_set(&trial, name, word, &error) != PHLOX_OK)
            return cli_usage("bench", "%s", error.message);
    }
    return EXIT_OK;
}

/* The word for two options of which one would be ignored; NULL when all have a meaning. */
static const char *find_clash(const struct request *r)
{
    if (r->csv + r->markdown + r->json > 1) return "--csv, --markdown and --json exclude each other";
    if (!r->machine) return r->args.count ? NULL : "MODEL is missing";
    if (r->args.count) return "--machine measures the machine and takes no MODEL";
    if (r->csv || r->markdown) return "--machine prints plain text or --json";
    if (r->compare || r->chart || r->no_machine || r->prompt || r->decode || r->depth || r->batch ||
        r->repeats)
        return "--machine measures the machine only: -p, -n, -d, -b, -r, --compare, --chart and "
               "--no-machine have no meaning with it";
    return NULL;
}

/* ---- one model ----------------------------------------------------------------------------- */

/* Everything that is there to report, and what it points into. */
struct session {
    const struct request *request;
    phlox_energy_meter *meter;
    bench_subject **subjects;
    size_t subject_count;
    bench_rows rows;
};

static char *copy_text(const char *text, size_t size)
{
    char *const copy = malloc(size + 1);
    if (!copy) return NULL;
    memcpy(copy, text, size);
    copy[size] = 0;
    return copy;
}

static void free_subject(bench_subject *subject)
{
    if (!subject) return;
    free(subject->model);
    free(subject->label);
    free(subject);
}

/* `format` is the word of --weight-format, or NULL: then the first part of what the weights are. The device stands in
 * front of it where there are several; a format is of interest where it is one of several. */
static char *make_label(const phlox_model_info *info, const char *format, bool several_devices)
{
    char label[160];
    const char *const weights = format ? format : info->weights;
    const int size = (int)strcspn(weights, ",");
    if (several_devices && !format) snprintf(label, sizeof label, "%s", info->device);
    else if (several_devices) snprintf(label, sizeof label, "%s %.*s", info->device, size, weights);
    else snprintf(label, sizeof label, "%.*s", size, weights);
    return copy_text(label, strlen(label));
}

static bool is_cpu(const char *device)
{
    const char *const unit = strchr(device, ':');
    return !unit || strcmp(unit, ":CPU") == 0 || strcmp(unit, ":cpu") == 0;
}

static bench_subject *describe(const phlox_model *model, const phlox_model_options *options,
                               const char *format, bool several_devices)
{
    phlox_model_info i;
    phlox_model_get_info(model, &i);
    bench_subject *const s = calloc(1, sizeof *s);
    if (!s) return NULL;
    const double heads = (double)i.num_attention_heads * i.head_dim;
    const double kv = 2.0 * i.num_key_value_heads * i.head_dim;
    const double hidden = i.hidden_size;
    const char *const name = i.path[0] ? i.path : i.form;
    *s = (bench_subject){
        .model = copy_text(name, strlen(name)),
        .label = make_label(&i, format, several_devices),
        .on_cpu = is_cpu(i.device),
        .is_integer = strncmp(i.weights, "int", 3) == 0 && !options->exact,
        .threads = i.threads,
        .step_tokens = (size_t)i.step_tokens,
        .window = (size_t)i.sliding_window,
        .step_bytes = (double)i.step_weight_bytes,
        .kv_bytes = (double)i.kv_bytes_per_token,
        .layer_macs = i.num_hidden_layers * hidden * (heads + kv + heads + 3.0 * i.intermediate_size),
        .head_macs = hidden * i.vocab_size,
    };
    snprintf(s->weights, sizeof s->weights, "%s", i.weights);
    snprintf(s->kernels, sizeof s->kernels, "%s", i.kernels);
    snprintf(s->device, sizeof s->device, "%s", i.device);
    if (s->model && s->label) return s;
    free_subject(s);
    return NULL;
}

/* Of several formats each takes those options of integers that it has. */
static void leave_out(phlox_model_options *options)
{
    const bool int4 = options->weight_format == PHLOX_WEIGHTS_INT4;
    if (int4) return;
    if (options->weight_format != PHLOX_WEIGHTS_INT8) options->symmetry = PHLOX_SYMMETRY_DEFAULT;
    options->group_size = 0;
    options->ratio = 0;
    options->backup_precision = PHLOX_BACKUP_DEFAULT;
    options->all_layers = false;
    options->group_size_fallback = PHLOX_FALLBACK_ERROR;
    options->quant_method = PHLOX_QUANT_DEFAULT;
}

/* Of several devices each takes the settings of its runtime. */
static void leave_out_settings(phlox_model_options *options, const char *device)
{
    static const char *const words[] = {"openvino", "npu", "gpu", "ort", "cuda", "dml"};
    size_t found = 0;
    while (found < sizeof words / sizeof *words &&
           strncasecmp(device, words[found], strlen(words[found])) != 0)
        found++;
    if (found > 2) options->ov_config_count = 0;
    if (found < 3 || found > 5) options->ort_config_count = 0;
    const char *const unit = strchr(device, ':');
    if (strncasecmp(unit ? unit + 1 : device, "npu", 3) == 0) return;
    options->max_prompt_len = options->min_response_len = 0;
    options->prefill_hint = options->generate_hint = NULL;
}

/* A card of its own has energy of its own, which is not that of the processor packages. */
static bool is_card(void *user, const phlox_unit *unit)
{
    *(bool *)user |= unit->kind == PHLOX_UNIT_GPU && !unit->is_integrated;
    return true;
}

static bool has_energy(const bench_subject *subject)
{
    const char *const unit = strchr(subject->device, ':');
    bool has_card = false;
    if (subject->on_cpu || strcmp(unit, ":NPU") == 0) return true;
    if (strncmp(subject->device, "openvino:GPU", 12) != 0) return false;
    return phlox_devices_list("/", NULL, is_card, &has_card, NULL) == PHLOX_OK && !has_card;
}

static phlox_status keep_subject(struct session *s, bench_subject *subject, phlox_error *error)
{
    bench_subject **const grown =
        realloc(s->subjects, (s->subject_count + 1) * sizeof(bench_subject *));
    if (grown) s->subjects = grown;
    if (grown && subject) {
        grown[s->subject_count++] = subject;
        return PHLOX_OK;
    }
    free_subject(subject);
    return cli_no_memory(sizeof *subject, error);
}

static phlox_status run_one(struct session *s, const char *device, const char *format, bool several_formats,
                            bool several_devices, phlox_error *error)
{
    phlox_model_options options = s->request->args.model;
    phlox_model *model = NULL;
    phlox_status status = PHLOX_OK;
    if (device) status = phlox_model_options_set(&options, "device", device, error);
    if (status == PHLOX_OK && format)
        status = phlox_model_options_set(&options, "weight-format", format, error);
    if (several_formats) leave_out(&options);
    if (several_devices) leave_out_settings(&options, device);
    phlox_reset_peak_memory();
    if (status == PHLOX_OK)
        status = cli_open_model(s->request->args.positionals[0], &options, &model, error);
    if (status == PHLOX_OK)
        status = keep_subject(s, describe(model, &options, format, several_devices), error);
    if (status == PHLOX_OK) {
        const bench_subject *const subject = s->subjects[s->subject_count - 1];
        status = bench_run(model, subject, &s->request->plan, has_energy(subject) ? s->meter : NULL,
                           &s->rows, error);
    }
    phlox_model_close(&model);
    return status;
}

static bool are_several(const char *const *arguments, size_t count)
{
    return count > 1 || (count && strchr(arguments[0], ','));
}

static phlox_status run_formats(struct session *s, const char *device, bool several_devices,
                                phlox_error *error)
{
    const struct request *const r = s->request;
    const bool several = are_several(r->formats, r->format_count);
    if (!r->format_count) return run_one(s, device, NULL, false, several_devices, error);
    size_t argument = 0;
    const char *text = NULL;
    char word[WORD];
    phlox_status status = PHLOX_OK;
    while (status == PHLOX_OK && next_of_all(r->formats, r->format_count, &argument, &text, word))
        status = run_one(s, device, word, several, several_devices, error);
    return status;
}

static phlox_status run_devices(struct session *s, phlox_error *error)
{
    const struct request *const r = s->request;
    const bool several = are_several(r->devices, r->device_count);
    if (!r->device_count) return run_formats(s, NULL, false, error);
    size_t argument = 0;
    const char *text = NULL;
    char word[WORD];
    phlox_status status = PHLOX_OK;
    while (status == PHLOX_OK && next_of_all(r->devices, r->device_count, &argument, &text, word))
        status = run_formats(s, word, several, error);
    return status;
}

/* ---- the command --------------------------------------------------------------------------- */

/* Counters that the user named must be there; others are left out when they are not. */
static phlox_status open_meter(struct session *s, phlox_error *error)
{
    const char *const directory = s->request->powercap;
    const phlox_status status = phlox_energy_meter_open(directory, &s->meter, error);
    if (status == PHLOX_OK || directory) return status;
    if (status != PHLOX_ERROR_NOT_FOUND)
        fprintf(stderr, "phlox: energy is not measured: %s\n", error->message);
    return PHLOX_OK;
}

static int report(const struct session *s, const json_t *old)
{
    const struct request *const r = s->request;
    bench_report whole = {
        .rows = &s->rows,
        .old = old,
        .old_name = r->compare,
        .format = r->json       ? BENCH_JSON
                  : r->csv      ? BENCH_CSV
                  : r->markdown ? BENCH_MARKDOWN
                                : BENCH_TABLE,
    };
    phlox_machine machine;
    phlox_error error;
    /* Behind the tests, so that its memory is not in their peak. */
    if (!r->no_machine) {
        if (phlox_measure_machine(s->subjects[0]->threads, r->args.model.cpu_mask, 0, &machine,
                                  &error) != PHLOX_OK)
            return cli_fail(&error);
        whole.machine = &machine;
    }
    int code = bench_print(&whole);
    if (code == EXIT_OK && r->chart) code = bench_draw(r->chart, &s->rows);
    return code;
}

static int bench_model(const struct request *r)
{
    struct session s = {.request = r};
    phlox_error error;
    json_t *old = NULL;
    phlox_status status = r->compare ? bench_read_old(r->compare, &old, &error) : PHLOX_OK;
    if (status == PHLOX_OK) status = open_meter(&s, &error);
    if (status == PHLOX_OK) status = run_devices(&s, &error);
    /* What was measured before a device or format failed is not lost. */
    int code = status == PHLOX_OK ? EXIT_OK : cli_fail(&error);
    if (status == PHLOX_OK || (s.rows.count && !cli_interrupted())) {
        const int reported = report(&s, old);
        if (code == EXIT_OK) code = reported;
    }
    json_decref(old);
    phlox_energy_meter_close(&s.meter);
    for (size_t i = 0; i < s.rows.count; i++) free(s.rows.rows[i].token_seconds);
    free(s.rows.rows);
    for (size_t i = 0; i < s.subject_count; i++) free_subject(s.subjects[i]);
    free(s.subjects);
    return code;
}

static int bench_machine(const struct request *r)
{
    phlox_machine machine;
    phlox_error error;
    if (phlox_measure_machine(r->args.model.threads, r->args.model.cpu_mask, 0, &machine, &error) !=
        PHLOX_OK)
        return cli_fail(&error);
    return bench_print_machine(&machine, r->json);
}

static int execute(struct request *r)
{
    const char *const clash = find_clash(r);
    if (clash) return cli_usage("bench", "%s", clash);
    int code = read_plan(r);
    if (code == EXIT_OK) code = check_words("weight-format", r->formats, r->format_count);
    if (code == EXIT_OK) code = check_words("device", r->devices, r->device_count);
    if (code != EXIT_OK) return code;
    if (r->machine) return bench_machine(r);
    if (r->chart && !has_tokens(&r->plan.decodes))
        return cli_usage("bench", "--chart draws decoding; -n 0 leaves none");
    return bench_model(r);
}

static int run(int argc, char **argv)
{
    struct request r = {.csv = false};
    const cli_flag flags[] = {
        {.option = {"prompt", "N,...", "tokens of the prompts to time (default 512; 0: none)"},
         .letter = 'p', .value = &r.prompt},
        {.option = {"decode", "N,...", "tokens to decode one by one (default 48; 0: none)"},
         .letter = 'n', .value = &r.decode},
        {.option = {"depth", "N,...", "tokens that are there before (default 0)"},
         .letter = 'd', .value = &r.depth},
        {.option = {"batch", "N,...", "sequences that run together (default 1)"},
         .letter = 'b', .value = &r.batch},
        {.option = {"repeats", "N", "repetitions of each test behind a warm-up (default 5)"},
         .letter = 'r', .value = &r.repeats},
        {.option = {"weight-format", "FORMAT,...", "f32, f16, bf16, int8, int4, stored: one after the other"},
         .list = &r.formats, .list_count = &r.format_count},
        {.option = {"device", "DEVICE,...", "cpu, npu, openvino:GPU.0, ort:cuda, ...: one after the other; may be given often"},
         .list = &r.devices, .list_count = &r.device_count},
        {.option = {"csv", NULL, "comma-separated values"}, .is_given = &r.csv},
        {.option = {"markdown", NULL, "a table in Markdown"}, .is_given = &r.markdown},
        {.option = {"json", NULL, "an array with an object for each test"}, .is_given = &r.json},
        {.option = {"compare", "OLD.json", "ratios to an earlier --json; * marks more than noise"},
         .value = &r.compare},
        {.option = {"chart", "OUT.svg", "draw ms per token over position, and time to first token"},
         .value = &r.chart},
        {.option = {"machine", NULL, "without MODEL: memory bandwidth and multiply peaks"},
         .is_given = &r.machine},
        {.option = {"no-machine", NULL, "do not measure the machine, leave the percentages out"},
         .is_given = &r.no_machine},
        {.option = {"powercap", "DIR", "energy counters (default: /sys/class/powercap if it has any)"},
         .value = &r.powercap},
        {.option = {NULL, NULL, NULL}},
    };
    int code;
    if (cli_parse(&cli_bench, argc, argv, flags, &r.args, &code)) code = execute(&r);
    free((void *)r.formats);
    free((void *)r.devices);
    return code;
}

const cli_command cli_bench = {
    "bench",
    "MODEL | --machine",
    "how fast a model or the machine is",
    "Every combination of the lists is a test, such as pp512 (a prompt of 512 tokens), tg48 (48 tokens\n"
    "one by one), tg48@4000 (behind 4000 others), tg48@512 b4 (in 4 sequences at once). Bytes are those\n"
    "that must at least be read; percentages are of what the machine was measured to reach.",
    0, 1, true, false, run,
};
