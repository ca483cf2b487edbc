#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- rows as JSON, which the other formats print from --------------------------------------- */

/* A figure that was not measured is left out. */
static void set_real(json_t *row, const char *key, double value)
{
    if (value > 0 && isfinite(value)) json_object_set_new(row, key, json_real(value));
}

static void set_count(json_t *row, const char *key, uint64_t value)
{
    json_object_set_new(row, key, json_integer((json_int_t)value));
}

static void set_text(json_t *row, const char *key, const char *text)
{
    json_t *const string = json_string(text); /* NULL when it is not UTF-8, as a path may be */
    json_object_set_new(row, key, string ? string : json_null());
}

/* NAN when the row has no such number. */
static double real_of(const json_t *row, const char *key)
{
    const json_t *const value = json_object_get(row, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *const text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static void add_speed(json_t *json, const bench_row *row, const phlox_machine *machine)
{
    const double bytes = bench_bytes_per_token(row->subject, &row->test);
    const double macs = bench_macs_per_token(row->subject, &row->test);
    set_real(json, "tok_per_s", row->mean);
    if (row->deviation >= 0) json_object_set_new(json, "stddev", json_real(row->deviation));
    set_real(json, "best", row->best);
    set_real(json, "median", row->median);
    set_count(json, "repeats", row->repeats);
    set_count(json, "bytes_per_token", (uint64_t)(bytes + 0.5));
    set_real(json, "gb_per_s", row->mean * bytes * 1e-9);
    set_real(json, "gmac_per_s", row->mean * macs * 1e-9);
    if (!machine || !row->subject->on_cpu) return;
    const double peak = row->subject->is_integer ? machine->int8 : machine->f32;
    if (machine->read > 0)
        set_real(json, "percent_of_read_4k", 100 * row->mean * bytes / machine->read);
    if (machine->read_huge > 0)
        set_real(json, "percent_of_read_2m", 100 * row->mean * bytes / machine->read_huge);
    if (peak > 0) set_real(json, "percent_of_multiply", 100 * row->mean * macs / peak);
}

static void add_memory(json_t *json, const bench_row *row)
{
    const phlox_process_memory *const memory = &row->memory;
    if (row->joules > 0) {
        set_real(json, "joules_per_token", row->joules);
        set_real(json, "tokens_per_joule", 1 / row->joules);
    }
    if (!memory->peak) return;
    set_count(json, "peak_rss_bytes", memory->peak);
    set_count(json, "rss_anonymous_bytes", memory->anonymous);
    set_count(json, "rss_shared_bytes", memory->shared);
    set_count(json, "rss_mapped_bytes", memory->mapped);
}

static void add_machine(json_t *json)
{
    char cpu[64], date[32] = "";
    const time_t now = time(NULL);
    const struct tm *const utc = gmtime(&now);
    if (utc) strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", utc);
    phlox_cpu_name(cpu, sizeof cpu);
    set_text(json, "cpu", cpu);
    set_text(json, "version", phlox_version());
    set_text(json, "date", date);
}

static json_t *row_json(const bench_report *report, const bench_row *row)
{
    const bench_subject *const subject = row->subject;
    json_t *const json = json_object();
    char name[BENCH_NAME];
    set_text(json, "test", bench_test_name(&row->test, name));
    set_count(json, "prompt", row->test.prompt);
    set_count(json, "decode", row->test.decode);
    set_count(json, "depth", row->test.depth);
    set_count(json, "batch", row->test.batch);
    add_speed(json, row, report->machine);
    add_memory(json, row);
    set_text(json, "model", subject->model);
    set_text(json, "weights", subject->weights);
    set_text(json, "device", subject->device);
    set_text(json, "kernels", subject->kernels);
    set_count(json, "threads", (uint64_t)subject->threads);
    add_machine(json);
    return json;
}

/* ---- comparing ----------------------------------------------------------------------------- */

phlox_status bench_read_old(const char *path, json_t **out, phlox_error *error)
{
    phlox_text text;
    const phlox_status status = cli_read(path, &text, error);
    if (status != PHLOX_OK) return status;
    json_error_t why;
    json_t *const json = json_loadb(text.data ? text.data : "", text.size, 0, &why);
    free((void *)(uintptr_t)text.data);
    if (json_is_array(json)) {
        *out = json;
        return PHLOX_OK;
    }
    *error = (phlox_error){.code = PHLOX_ERROR_FORMAT};
    if (json)
        snprintf(error->message, sizeof error->message,
                 "%s: not an array of tests as phlox bench --json prints it", path);
    else
        snprintf(error->message, sizeof error->message, "%s: line %d: %s", path, why.line, why.text);
    json_decref(json);
    return error->code;
}

/* The same test of the same weights, if it has a speed: on the same device, or else on any. */
static const json_t *find_old(const json_t *old, const json_t *row)
{
    const json_t *other = NULL;
    size_t i;
    const json_t *candidate;
    json_array_foreach(old, i, candidate) {
        if (strcmp(text_of(candidate, "test"), text_of(row, "test")) == 0 &&
            strcmp(text_of(candidate, "weights"), text_of(row, "weights")) == 0 &&
            real_of(candidate, "tok_per_s") > 0) {
            if (strcmp(text_of(candidate, "device"), text_of(row, "device")) == 0) return candidate;
            if (!other) other = candidate;
        }
    }
    return other;
}

/* Twice the deviation that the difference of two single runs has. Without a deviation nothing is said. */
static void add_old(json_t *row, const json_t *old)
{
    const double before = real_of(old, "tok_per_s"), now = real_of(row, "tok_per_s");
    const double noise = 2 * hypot(real_of(old, "stddev"), real_of(row, "stddev"));
    set_real(row, "old_tok_per_s", before);
    set_real(row, "ratio", now / before);
    if (!isnan(noise))
        json_object_set_new(row, "differs", json_boolean(fabs(now - before) > noise));
}

/* What else differs between two runs is said once. */
static void note_changes(const char *name, const json_t *old, const json_t *row)
{
    static const char *const keys[] = {"model", "kernels", "device", "cpu"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *const before = text_of(old, keys[i]), *const now = text_of(row, keys[i]);
        if (strcmp(before, now) != 0)
            fprintf(stderr, "phlox: %s: %s was \"%.100s\" and is \"%s\" now\n", name, keys[i], before,
                    now);
    }
    const double before = real_of(old, "threads"), now = real_of(row, "threads");
    if (before != now) fprintf(stderr, "phlox: %s: threads were %g and are %g now\n", name, before, now);
}

static void compare(const bench_report *report, json_t *rows)
{
    size_t i, found = 0;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const json_t *const old = find_old(report->old, row);
        if (!old) continue;
        if (!found++) note_changes(report->old_name, old, row);
        add_old(row, old);
    }
    if (!found)
        fprintf(stderr, "phlox: %s has none of these tests with these weights\n", report->old_name);
}

/* ---- tables -------------------------------------------------------------------------------- */

static const struct column {
    const char *title, *key;
    double scale;
    int decimals;
    const char *unit;
    bool always; /* shown though no row has it */
} columns[] = {
    {"tok/s", "tok_per_s", 1, 2, "", true},
    {"+-", "stddev", 1, 2, "", true},
    {"best", "best", 1, 2, "", true},
    {"median", "median", 1, 2, "", true},
    {"GB/s", "gb_per_s", 1, 1, "", true},
    {"of 4k", "percent_of_read_4k", 1, 0, "%", false},
    {"of 2M", "percent_of_read_2m", 1, 0, "%", false},
    {"GMAC/s", "gmac_per_s", 1, 1, "", true},
    {"of peak", "percent_of_multiply", 1, 0, "%", false},
    {"J/token", "joules_per_token", 1, 3, "", false},
    {"token/J", "tokens_per_joule", 1, 3, "", false},
    {"peak MB", "peak_rss_bytes", 1e-6, 0, "", false},
    {"old", "old_tok_per_s", 1, 2, "", false},
    {"ratio", "ratio", 1, 3, "", false},
};
enum { COLUMNS = sizeof columns / sizeof *columns, CELL = 32, TEST_WIDTH = 18, CELL_WIDTH = 9 };

static bool is_shown(const struct column *column, const json_t *rows)
{
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row) if (json_object_get(row, column->key)) return true;
    return column->always;
}

/* A ratio that is more than noise has a mark. */
static const char *cell(const struct column *column, const json_t *row, char *text)
{
    const double value = real_of(row, column->key);
    const bool marks = strcmp(column->key, "ratio") == 0 &&
                       json_is_true(json_object_get(row, "differs"));
    if (isnan(value)) snprintf(text, CELL, "-");
    else snprintf(text, CELL, "%.*f%s%s", column->decimals, value * column->scale, column->unit,
                  marks ? " *" : "");
    return text;
}

/* Whether a row is of another model, weights or kernels than the one before. */
static bool begins_group(const json_t *rows, size_t i)
{
    static const char *const keys[] = {"model", "weights", "device", "kernels", "threads"};
    if (!i) return true;
    const json_t *const before = json_array_get(rows, i - 1), *const row = json_array_get(rows, i);
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        if (!json_equal(json_object_get(before, keys[k]), json_object_get(row, keys[k]))) return true;
    return false;
}

static void print_heading(const json_t *rows, const json_t *row, bool markdown)
{
    char threads[32];
    printf("%s: %s, %s %s%s\n%s", text_of(row, "model"), text_of(row, "weights"),
           text_of(row, "device"), text_of(row, "kernels"), cli_threads((int)real_of(row, "threads"), threads),
           markdown ? "\n" : "");
    if (markdown) fputs("| test |", stdout);
    else printf("%-*s", TEST_WIDTH, "test");
    for (size_t c = 0; c < COLUMNS; c++) {
        if (!is_shown(&columns[c], rows)) continue;
        if (markdown) printf(" %s |", columns[c].title);
        else printf("%*s", CELL_WIDTH, columns[c].title);
    }
    fputs(markdown ? "\n|---|" : "\n", stdout);
    for (size_t c = 0; c < COLUMNS && markdown; c++)
        if (is_shown(&columns[c], rows)) fputs("---:|", stdout);
    if (markdown) putchar('\n');
}

static void print_table(const json_t *rows, bool markdown)
{
    size_t i;
    const json_t *row;
    char text[CELL];
    bool marked = false;
    printf("phlox %s, %s, %s\n", text_of(json_array_get(rows, 0), "version"),
           text_of(json_array_get(rows, 0), "cpu"), text_of(json_array_get(rows, 0), "date"));
    json_array_foreach(rows, i, row) {
        if (begins_group(rows, i)) {
            putchar('\n');
            print_heading(rows, row, markdown);
        }
        if (markdown) printf("| %s |", text_of(row, "test"));
        else printf("%-*s", TEST_WIDTH, text_of(row, "test"));
        for (size_t c = 0; c < COLUMNS; c++) {
            if (!is_shown(&columns[c], rows)) continue;
            if (markdown) printf(" %s |", cell(&columns[c], row, text));
            else printf(" %*s", CELL_WIDTH - 1, cell(&columns[c], row, text));
        }
        putchar('\n');
        marked |= json_is_true(json_object_get(row, "differs"));
    }
    if (marked) puts("\n* differs by more than twice the deviation of both");
}

/* ---- CSV ----------------------------------------------------------------------------------- */

static const char *const csv_keys[] = {
    "test", "prompt", "decode", "depth", "batch", "tok_per_s", "stddev", "best", "median", "repeats",
    "bytes_per_token", "gb_per_s", "percent_of_read_4k", "percent_of_read_2m", "gmac_per_s",
    "percent_of_multiply", "joules_per_token", "tokens_per_joule", "peak_rss_bytes",
    "rss_anonymous_bytes", "rss_shared_bytes", "rss_mapped_bytes", "model", "weights", "device",
    "kernels", "threads", "cpu", "version", "date", "old_tok_per_s", "ratio", "differs",
};

static void print_quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"') putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void print_csv(const json_t *rows)
{
    size_t i;
    const json_t *row;
    for (size_t k = 0; k < sizeof csv_keys / sizeof *csv_keys; k++)
        printf("%s%s", k ? "," : "", csv_keys[k]);
    putchar('\n');
    json_array_foreach(rows, i, row) {
        for (size_t k = 0; k < sizeof csv_keys / sizeof *csv_keys; k++) {
            const json_t *const value = json_object_get(row, csv_keys[k]);
            if (k) putchar(',');
            if (json_is_string(value)) print_quoted(json_string_value(value));
            else if (json_is_integer(value)) printf("%lld", (long long)json_integer_value(value));
            else if (json_is_real(value)) printf("%.9g", json_real_value(value));
            else if (json_is_boolean(value)) fputs(json_is_true(value) ? "true" : "false", stdout);
        }
        putchar('\n');
    }
}

/* ---- printing ------------------------------------------------------------------------------ */

int bench_print(const bench_report *report)
{
    json_t *const rows = json_array();
    for (size_t i = 0; i < report->rows->count; i++)
        json_array_append_new(rows, row_json(report, &report->rows->rows[i]));
    if (json_array_size(rows) != report->rows->count) {
        json_decref(rows);
        fputs("phlox: no memory for the report\n", stderr);
        return EXIT_FAILED;
    }
    if (report->old) compare(report, rows);
    switch (report->format) {
    case BENCH_CSV: print_csv(rows); break;
    case BENCH_JSON:
        json_dumpf(rows, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        break;
    default: print_table(rows, report->format == BENCH_MARKDOWN); break;
    }
    json_decref(rows);
    return EXIT_OK;
}

static void print_peak(const char *what, const char *kernels, double core, double all)
{
    if (core > 0)
        printf("%-17s%8.1f GMAC/s a core, %.1f with all threads (%s)\n", what, core * 1e-9, all * 1e-9,
               kernels);
    else
        printf("%-17s       - (no kernels of this processor's vector instructions)\n", what);
}

int bench_print_machine(const phlox_machine *machine, bool as_json)
{
    json_t *const json = json_object();
    add_machine(json);
    if (!as_json) {
        printf("phlox %s, %s, %s\n%d cores, measured with %d threads\n\n", text_of(json, "version"),
               text_of(json, "cpu"), text_of(json, "date"), machine->cores, machine->threads);
        printf("reading, 4 KB pages%6.1f GB/s\n", machine->read * 1e-9);
        if (machine->read_huge > 0)
            printf("reading, 2 MB pages%6.1f GB/s\n", machine->read_huge * 1e-9);
        else
            puts("reading, 2 MB pages     - (the system gives none)");
        print_peak("int8 multiply", machine->int8_kernels, machine->int8_core, machine->int8);
        print_peak("float32 multiply", machine->f32_kernels, machine->f32_core, machine->f32);
    } else {
        set_count(json, "cores", (uint64_t)machine->cores);
        set_count(json, "threads", (uint64_t)machine->threads);
        set_real(json, "read_gb_per_s_4k", machine->read * 1e-9);
        set_real(json, "read_gb_per_s_2m", machine->read_huge * 1e-9);
        set_text(json, "int8_kernels", machine->int8_kernels);
        set_real(json, "int8_gmac_per_s_core", machine->int8_core * 1e-9);
        set_real(json, "int8_gmac_per_s", machine->int8 * 1e-9);
        set_text(json, "f32_kernels", machine->f32_kernels);
        set_real(json, "f32_gmac_per_s_core", machine->f32_core * 1e-9);
        set_real(json, "f32_gmac_per_s", machine->f32 * 1e-9);
        json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
    }
    json_decref(json);
    return EXIT_OK;
}
