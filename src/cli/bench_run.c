#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- counting ------------------------------------------------------------------------------ */

const char *bench_test_name(const bench_test *test, char *name)
{
    char depth[32] = "", batch[32] = "";
    if (test->depth) snprintf(depth, sizeof depth, "@%zu", test->depth);
    if (test->batch > 1) snprintf(batch, sizeof batch, " b%zu", test->batch);
    snprintf(name, BENCH_NAME, "%s%zu%s%s", test->prompt ? "pp" : "tg",
             test->prompt ? test->prompt : test->decode, depth, batch);
    return name;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Positions whose keys and values `tokens` tokens read that end a context of `end`. */
static double positions_read(const bench_subject *subject, size_t end, size_t tokens)
{
    return (double)(subject->window ? least(end, subject->window + tokens - 1) : end);
}

double bench_bytes_per_token(const bench_subject *subject, const bench_test *test)
{
    const size_t tokens = test->prompt ? test->prompt : test->decode;
    const size_t piece = test->prompt ? subject->step_tokens : 1;
    double positions = 0; /* that one sequence reads */
    for (size_t done = 0, count; done < tokens; done += count) {
        count = least(piece, tokens - done);
        positions += positions_read(subject, test->depth + done + count, count);
    }
    const size_t all = tokens * test->batch;
    const size_t steps = test->prompt ? (all + piece - 1) / piece : tokens;
    return (subject->step_bytes * (double)steps +
            subject->kv_bytes * positions * (double)test->batch) / (double)all;
}

/* A prompt wants logits once, behind its last token. */
double bench_macs_per_token(const bench_subject *subject, const bench_test *test)
{
    return subject->layer_macs + subject->head_macs / (double)(test->prompt ? test->prompt : 1);
}

static int compare_values(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_values);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* ---- one repetition ------------------------------------------------------------------------ */

struct bench {
    const bench_subject *subject;
    bool is_first;
    bench_test *tests;
    size_t test_count;
    phlox_session *sessions[BENCH_BATCH];
    size_t session_count;
    int32_t *ids;    /* as many as the longest test has, and some for each session to begin elsewhere */
    double *seconds; /* [repeats, decode], of single tokens */
    bool recomputes; /* longrope changed its factors in a repetition */
    double joules;   /* of the repetitions */
    phlox_energy_meter *meter;
    cli_progress_bar bar;
};

/* Appends `count` ids to each of the first `batch` sessions, which have `position` ids. */
static phlox_status append(struct bench *b, size_t batch, size_t position, size_t count,
                           phlox_error *error)
{
    if (batch == 1)
        return phlox_session_append(b->sessions[0], b->ids + position, count, NULL, NULL, NULL,
                                    error);
    const int32_t *ids[BENCH_BATCH];
    size_t counts[BENCH_BATCH];
    for (size_t i = 0; i < batch; i++) {
        ids[i] = b->ids + position + i;
        counts[i] = count;
    }
    return phlox_session_append_batch(b->sessions, ids, counts, batch, error);
}

static phlox_status check_interrupted(phlox_error *error)
{
    if (!cli_interrupted()) return PHLOX_OK;
    *error = (phlox_error){.code = PHLOX_ERROR_CANCELLED};
    snprintf(error->message, sizeof error->message, "interrupted");
    return error->code;
}

/* Brings the first `batch` sessions to their first `depth` ids. Cutting back leaves the last of them to
 * be computed: where a sliding window has forgotten what it saw, all of them are. */
static phlox_status go_to_depth(struct bench *b, size_t batch, size_t depth, phlox_error *error)
{
    phlox_status status = PHLOX_OK;
    for (size_t i = 0; i < batch && status == PHLOX_OK; i++) {
        size_t length;
        phlox_session_ids(b->sessions[i], &length);
        length = least(length, depth ? depth - 1 : 0);
        status = phlox_session_truncate(b->sessions[i], length, error);
        if (status == PHLOX_OK && depth)
            status = phlox_session_append(b->sessions[i], b->ids + length + i, depth - length, NULL,
                                          cli_progress, &b->bar, error);
    }
    cli_progress_end(&b->bar);
    return status == PHLOX_OK ? check_interrupted(error) : status;
}

static phlox_status run_timed(struct bench *b, const bench_test *test, double *seconds,
                              double *token_seconds, phlox_error *error)
{
    phlox_status status = PHLOX_OK;
    const double start = cli_seconds();
    if (test->prompt) {
        status = append(b, test->batch, test->depth, test->prompt, error);
    } else {
        double before = start;
        for (size_t i = 0; i < test->decode && status == PHLOX_OK; i++) {
            status = append(b, test->batch, test->depth + i, 1, error);
            const double now = cli_seconds();
            token_seconds[i] = now - before;
            before = now;
            if (status == PHLOX_OK) status = check_interrupted(error);
        }
    }
    *seconds = cli_seconds() - start;
    return status == PHLOX_OK ? check_interrupted(error) : status;
}

static phlox_status read_meter(struct bench *b, double *joules, phlox_error *error)
{
    *joules = 0;
    return b->meter ? phlox_energy_meter_read(b->meter, joules, error) : PHLOX_OK;
}

static uint64_t count_recomputes(const struct bench *b)
{
    phlox_statistics statistics;
    phlox_session_statistics(b->sessions[0], &statistics);
    return statistics.rope_recomputes;
}

/* Runs the test once: its seconds, those of each token that it decodes, and its energy. */
static phlox_status run_once(struct bench *b, const bench_test *test, double *seconds,
                             double *token_seconds, phlox_error *error)
{
    double joules_before, joules;
    phlox_status status = go_to_depth(b, test->batch, test->depth, error);
    const uint64_t recomputes_before = count_recomputes(b);
    if (status == PHLOX_OK) status = read_meter(b, &joules_before, error);
    if (status == PHLOX_OK) status = run_timed(b, test, seconds, token_seconds, error);
    if (status == PHLOX_OK) status = read_meter(b, &joules, error);
    if (status != PHLOX_OK) return status;
    b->joules += joules - joules_before;
    b->recomputes |= count_recomputes(b) > recomputes_before;
    return PHLOX_OK;
}

static bool report_progress(struct bench *b, const char *name, size_t done, size_t all)
{
    const phlox_progress progress = {.what = name, .done = done, .total = all};
    return cli_progress(&b->bar, &progress);
}

/* ---- one test ------------------------------------------------------------------------------ */

static void sum_up(bench_row *row, double *rates)
{
    double sum = 0, squares = 0;
    row->best = 0;
    for (size_t i = 0; i < row->repeats; i++) {
        sum += rates[i];
        row->best = fmax(row->best, rates[i]);
    }
    row->mean = sum / (double)row->repeats;
    for (size_t i = 0; i < row->repeats; i++)
        squares += (rates[i] - row->mean) * (rates[i] - row->mean);
    row->deviation = row->repeats > 1 ? sqrt(squares / (double)(row->repeats - 1)) : -1;
    row->median = bench_median(rates, row->repeats);
}

/* Each token's median over the repetitions; the seconds are those of run_once(). */
static bool keep_latencies(const struct bench *b, bench_row *row)
{
    const size_t decode = row->test.decode;
    row->token_seconds = calloc(decode + 1, sizeof *row->token_seconds);
    double *const values = calloc(row->repeats, sizeof *values);
    if (values && row->token_seconds) {
        for (size_t i = 0; i < decode; i++) {
            for (size_t r = 0; r < row->repeats; r++) values[r] = b->seconds[r * decode + i];
            row->token_seconds[i] = bench_median(values, row->repeats);
        }
    }
    free(values);
    return values && row->token_seconds;
}

/* The repetitions, behind one that does not count. rates: [repeats] */
static phlox_status repeat(struct bench *b, bench_row *row, double *rates, phlox_error *error)
{
    const bench_test *const test = &row->test;
    const double tokens = (double)((test->prompt + test->decode) * test->batch);
    char name[BENCH_NAME];
    double seconds;
    bench_test_name(test, name);
    phlox_status status = run_once(b, test, &seconds, b->seconds, error);
    b->recomputes = false;
    b->joules = 0;
    for (size_t r = 0; r < row->repeats && status == PHLOX_OK; r++) {
        report_progress(b, name, r + 1, row->repeats + 1);
        status = run_once(b, test, &seconds, b->seconds + r * test->decode, error);
        rates[r] = tokens / seconds;
    }
    cli_progress_end(&b->bar);
    if (status != PHLOX_OK) return status;
    row->joules = b->joules / (tokens * (double)row->repeats);
    if (b->recomputes)
        fprintf(stderr, "phlox: %s passes the context where longrope changes its factors: its "
                "figures contain computing the cache again\n", name);
    return PHLOX_OK;
}

static phlox_status run_test(struct bench *b, const bench_test *test, size_t repeats,
                             bench_rows *rows, phlox_error *error)
{
    bench_row row = {.subject = b->subject, .test = *test, .repeats = repeats};
    double *const rates = calloc(repeats, sizeof *rates);
    phlox_status status = rates ? repeat(b, &row, rates, error)
                                : cli_no_memory(repeats * sizeof *rates, error);
    if (status == PHLOX_OK) {
        sum_up(&row, rates);
        if (!phlox_get_process_memory(&row.memory)) row.memory = (phlox_process_memory){0};
        bench_row *const grown = realloc(rows->rows, (rows->count + 1) * sizeof *grown);
        if (grown) rows->rows = grown;
        if (!grown || !keep_latencies(b, &row)) {
            free(row.token_seconds);
            status = cli_no_memory(sizeof *grown, error);
        } else {
            rows->rows[rows->count++] = row;
        }
    }
    free(rates);
    return status;
}

/* ---- all tests ----------------------------------------------------------------------------- */

static size_t length_of(const bench_test *test)
{
    return test->depth + test->prompt + test->decode;
}

/* What does not fit the context is left out, and said once for all weight formats. */
static void add_test(struct bench *b, const bench_test *test, size_t context)
{
    if (!(test->prompt + test->decode)) return;
    if (length_of(test) <= context) {
        b->tests[b->test_count++] = *test;
        return;
    }
    if (!b->is_first) return;
    char name[BENCH_NAME];
    fprintf(stderr, "phlox: %s is left out: the context holds %zu tokens\n",
            bench_test_name(test, name), context);
}

static phlox_status list_tests(struct bench *b, const bench_plan *plan, size_t context,
                               phlox_error *error)
{
    const size_t room = plan->depths.count * plan->batches.count *
                        (plan->prompts.count + plan->decodes.count);
    b->tests = calloc(room, sizeof *b->tests);
    if (!b->tests) return cli_no_memory(room * sizeof *b->tests, error);
    for (size_t d = 0; d < plan->depths.count; d++) {
        for (size_t i = 0; i < plan->batches.count; i++) {
            bench_test test = {.depth = plan->depths.values[d], .batch = plan->batches.values[i]};
            for (size_t k = 0; k < plan->prompts.count; k++) {
                test.prompt = plan->prompts.values[k];
                add_test(b, &test, context);
            }
            test.prompt = 0;
            for (size_t k = 0; k < plan->decodes.count; k++) {
                test.decode = plan->decodes.values[k];
                add_test(b, &test, context);
            }
        }
    }
    if (b->test_count) return PHLOX_OK;
    *error = (phlox_error){.code = PHLOX_ERROR_ARGUMENT};
    snprintf(error->message, sizeof error->message,
             "no test fits the context of %zu tokens; choose smaller -p, -n and -d", context);
    return error->code;
}

/* Ids, sessions and room for the largest of the tests. */
static phlox_status prepare(struct bench *b, phlox_model *model, const bench_plan *plan,
                            phlox_error *error)
{
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    phlox_status status = list_tests(b, plan, (size_t)info.context_size, error);
    if (status != PHLOX_OK) return status;
    size_t length = 0, decode = 0, batch = 0;
    for (size_t i = 0; i < b->test_count; i++) {
        const bench_test *const test = &b->tests[i];
        length = most(length, length_of(test));
        decode = most(decode, test->decode);
        batch = most(batch, test->batch);
    }
    const size_t count = length + batch, cells = plan->repeats * decode + 1;
    b->ids = calloc(count, sizeof *b->ids);
    b->seconds = calloc(cells, sizeof *b->seconds);
    if (!b->ids || !b->seconds) return cli_no_memory((count + cells) * sizeof *b->seconds, error);
    for (size_t i = 0; i < count; i++) /* any ids do */
        b->ids[i] = (int32_t)((i * 7919 + 3) % (size_t)info.vocab_size);
    while (b->session_count < batch && status == PHLOX_OK) {
        status = phlox_session_create(model, &b->sessions[b->session_count], error);
        b->session_count += status == PHLOX_OK;
    }
    return status;
}

phlox_status bench_run(phlox_model *model, const bench_subject *subject, const bench_plan *plan,
                       phlox_energy_meter *meter, bench_rows *rows, phlox_error *error)
{
    struct bench b = {.subject = subject, .is_first = !rows->count, .meter = meter};
    phlox_status status = prepare(&b, model, plan, error);
    if (status == PHLOX_OK) cli_cancels(b.sessions[0]);
    for (size_t i = 0; i < b.test_count && status == PHLOX_OK; i++)
        status = run_test(&b, &b.tests[i], plan->repeats, rows, error);
    cli_cancels(NULL);
    for (size_t i = 0; i < b.session_count; i++) phlox_session_close(&b.sessions[i]);
    free(b.tests);
    free(b.ids);
    free(b.seconds);
    return status;
}
