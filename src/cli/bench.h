/* What the files of `phlox bench` share: bench.c reads the command line, bench_run.c measures,
 * bench_report.c prints, bench_chart.c draws. */
#ifndef PX_CLI_BENCH_H
#define PX_CLI_BENCH_H

#include "cli.h"

#include <jansson.h>

/* ---- what is measured ---------------------------------------------------------------------- */

enum { BENCH_LIST = 16, BENCH_BATCH = 64 };

typedef struct bench_list {
    size_t values[BENCH_LIST], count;
} bench_list;

typedef struct bench_plan {
    bench_list prompts, decodes, depths, batches; /* every combination is a test; 0 tokens: none */
    size_t repeats;
} bench_plan;

/* Either a prompt of `prompt` tokens or `decode` tokens one by one, behind `depth` tokens, in each of
 * `batch` sequences. */
typedef struct bench_test {
    size_t prompt, decode, depth, batch;
} bench_test;

/* A model as it was opened; outlives it. */
typedef struct bench_subject {
    char *model, *label; /* its path or "built-in"; the weight format as it was asked for, and the device where
                            there are several */
    char weights[96], kernels[64], device[64];
    bool on_cpu;         /* what the machine's memory and processor reach is the limit */
    bool is_integer;     /* the matrices multiply integers */
    int32_t threads;
    size_t step_tokens, window; /* window 0: none */
    double step_bytes, kv_bytes;
    double layer_macs, head_macs; /* multiply-adds of a token in the layers, and in lm_head */
} bench_subject;

typedef struct bench_row {
    const bench_subject *subject;
    bench_test test;
    size_t repeats;
    double mean, deviation, best, median; /* tokens a second; deviation < 0: one repetition has none */
    double *token_seconds;                /* [test.decode]: of each token, median of the repetitions */
    double joules;                        /* a token; 0: not measured */
    phlox_process_memory memory;          /* peak 0: not known */
} bench_row;

typedef struct bench_rows {
    bench_row *rows;
    size_t count;
} bench_rows;

enum { BENCH_NAME = 96 };
/* "pp512", "tg48@4000", "tg48@512 b4"; name: [BENCH_NAME] */
const char *bench_test_name(const bench_test *test, char *name);

/* The least bytes that must be read, and the multiply-adds of matrices, for each token of a test. */
double bench_bytes_per_token(const bench_subject *subject, const bench_test *test);
double bench_macs_per_token(const bench_subject *subject, const bench_test *test);

/* Runs every test of the plan and adds its rows. `meter` may be NULL. */
phlox_status bench_run(phlox_model *model, const bench_subject *subject, const bench_plan *plan,
                       phlox_energy_meter *meter, bench_rows *rows, phlox_error *error);
/* The median of count >= 1 values, which are put in order. */
double bench_median(double *values, size_t count);

/* ---- what is printed ----------------------------------------------------------------------- */

typedef enum bench_format { BENCH_TABLE, BENCH_CSV, BENCH_MARKDOWN, BENCH_JSON } bench_format;

typedef struct bench_report {
    const bench_rows *rows;
    const phlox_machine *machine; /* NULL: not measured */
    const json_t *old;            /* the array of an earlier --json; NULL: none */
    const char *old_name;
    bench_format format;
} bench_report;

/* Prints to standard output; notes go to standard error. */
int bench_print(const bench_report *report);
int bench_print_machine(const phlox_machine *machine, bool as_json);
/* Reads what --json printed. */
phlox_status bench_read_old(const char *path, json_t **out, phlox_error *error);

/* Latency of tokens over their position and the time to the first token, as SVG. */
int bench_draw(const char *path, const bench_rows *rows);

#endif
