#include "top.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* What the command line asked for. */
struct request {
    cli_args args;
    const char *interval_text, *root;
    bool once, as_json;
    double interval; /* seconds */
};

static const double least_interval = 0.1, most_interval = 3600;

/* ---- words --------------------------------------------------------------------------------- */

static void add(char *text, const char *between, const char *format, ...)
{
    const size_t used = strlen(text);
    char part[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(part, sizeof part, format, arguments);
    va_end(arguments);
    snprintf(text + used, TOP_TEXT - used, "%s%s", used ? between : "", part);
}

const char *top_describe(const phlox_unit_reading *r, const char *between, char *text)
{
    char used[16], total[16];
    text[0] = 0;
    if (r->is_asleep) add(text, between, "asleep");
    if (!isnan(r->clock) && !isnan(r->max_clock))
        add(text, between, "%.2f of %.2f GHz", r->clock * 1e-9, r->max_clock * 1e-9);
    else if (!isnan(r->clock)) add(text, between, "%.2f GHz", r->clock * 1e-9);
    if (!isnan(r->memory_used) && !isnan(r->memory_total))
        add(text, between, "%s of %s", cli_bytes((uint64_t)r->memory_used, used),
            cli_bytes((uint64_t)r->memory_total, total));
    else if (!isnan(r->memory_used))
        add(text, between, "%s in use", cli_bytes((uint64_t)r->memory_used, used));
    if (!isnan(r->watts)) add(text, between, "%.1f W", r->watts);
    if (!isnan(r->celsius)) add(text, between, "%.0f C", r->celsius);
    return text;
}

const char *top_clean(const char *name, char *text)
{
    size_t used = 0;
    for (; *name && used < TOP_TEXT - 1; name++) text[used++] = *name >= ' ' && *name <= '~' ? *name : '?';
    text[used] = 0;
    return text;
}

/* ---- one sample ---------------------------------------------------------------------------- */

static void print_notes(const phlox_unit_reading *units, size_t count)
{
    char text[TOP_TEXT];
    for (size_t i = 0; i < count; i++)
        if (units[i].absent[0])
            fprintf(stderr, "phlox: %s: %s\n", units[i].name, top_clean(units[i].absent, text));
}

static int print_text(const phlox_unit_reading *units, size_t count)
{
    char text[TOP_TEXT];
    for (size_t i = 0; i < count; i++) {
        const phlox_unit_reading *const r = &units[i];
        printf("%-6s", r->name);
        if (isnan(r->utilisation)) printf("     - ");
        else printf("%5.1f %%", r->utilisation * 100);
        printf("  %s", top_clean(r->full_name, text));
        if (r->pci[0]) printf(", %s", top_clean(r->pci, text));
        const char *const rest = top_describe(r, ", ", text);
        printf("%s%s\n", rest[0] ? ", " : "", rest);
    }
    fflush(stdout);
    print_notes(units, count);
    return EXIT_OK;
}

static void set_number(json_t *json, const char *key, double value)
{
    if (!isnan(value)) json_object_set_new(json, key, json_real(value));
}

/* Bytes and Hz are whole numbers. */
static void set_count(json_t *json, const char *key, double value)
{
    if (!isnan(value)) json_object_set_new(json, key, json_integer((json_int_t)value));
}

json_t *top_unit_json(const phlox_unit_reading *r)
{
    static const char *const kinds[] = {"cpu", "gpu", "npu"};
    static const char *const scopes[] = {"machine", "user", "process"};
    char text[TOP_TEXT];
    json_t *const json = json_pack("{s:s, s:s, s:s}", "name", r->name, "kind", kinds[r->kind], "full_name",
                                   top_clean(r->full_name, text));
    if (r->vendor[0]) json_object_set_new(json, "vendor", json_string(r->vendor));
    if (r->pci[0]) json_object_set_new(json, "pci", json_string(top_clean(r->pci, text)));
    if (r->driver[0]) json_object_set_new(json, "driver", json_string(r->driver));
    if (r->is_asleep) json_object_set_new(json, "asleep", json_true());
    json_object_set_new(json, "scope", json_string(scopes[r->scope]));
    set_number(json, "utilisation", r->utilisation);
    set_count(json, "clock_hz", r->clock);
    set_count(json, "max_clock_hz", r->max_clock);
    set_count(json, "memory_used_bytes", r->memory_used);
    set_count(json, "memory_total_bytes", r->memory_total);
    set_number(json, "watts", r->watts);
    set_number(json, "joules", r->joules);
    if (!isnan(r->joules)) json_object_set_new(json, "energy_in_cpu", json_boolean(r->energy_in_cpu));
    set_number(json, "celsius", r->celsius);
    if (r->absent[0]) json_object_set_new(json, "absent", json_string(top_clean(r->absent, text)));
    return json;
}

static json_t *cores_json(const phlox_meter *meter)
{
    size_t count;
    const float *const cores = phlox_meter_cores(meter, &count);
    json_t *const list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, isnan(cores[i]) ? json_null() : json_real((double)cores[i]));
    return list;
}

static int print_json(const phlox_meter *meter, const phlox_unit_reading *units, size_t count,
                      double seconds)
{
    json_t *const list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *const unit = top_unit_json(&units[i]);
        if (units[i].kind == PHLOX_UNIT_CPU) json_object_set_new(unit, "cores", cores_json(meter));
        json_array_append_new(list, unit);
    }
    json_t *const json = json_pack("{s:f, s:o}", "seconds", seconds, "units", list);
    if (!json) {
        fputs("phlox: no memory for the sample as JSON\n", stderr);
        return EXIT_FAILED;
    }
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(json);
    return EXIT_OK;
}

static int print_once(phlox_meter *meter, const struct request *request)
{
    const double start = cli_seconds();
    if (!cli_sleep(request->interval)) return EXIT_INTERRUPTED;
    size_t count;
    const phlox_unit_reading *const units = phlox_meter_sample(meter, &count);
    return request->as_json ? print_json(meter, units, count, cli_seconds() - start)
                            : print_text(units, count);
}

/* ---- the command --------------------------------------------------------------------------- */

static bool read_interval(struct request *request)
{
    const char *const text = request->interval_text;
    char *end;
    request->interval = 1;
    if (!text) return true;
    if (!text[0] || text[strspn(text, "0123456789.")]) return false;
    request->interval = strtod(text, &end);
    return !*end && request->interval >= least_interval && request->interval <= most_interval;
}

static int watch(const struct request *request)
{
    phlox_error error;
    phlox_meter *meter = NULL;
    if (phlox_meter_open(request->root, 0, &meter, &error) != PHLOX_OK) return cli_fail(&error);
    int code = EXIT_OK;
    if (!request->once && !request->as_json && cli_screen_begin()) {
        code = top_view(meter, request->interval);
        cli_screen_end();
    } else {
        code = print_once(meter, request);
    }
    phlox_meter_close(&meter);
    return code;
}

static int run(int argc, char **argv)
{
    struct request request = {.once = false};
    const cli_flag flags[] = {
        {.option = {"interval", "SECONDS", "between two samples, 0.1 to 3600 (1)"},
         .letter = 'i', .value = &request.interval_text},
        {.option = {"once", NULL, "print one sample and end"}, .is_given = &request.once},
        {.option = {"json", NULL, "print one sample as JSON and end"}, .is_given = &request.as_json},
        {.option = {"root", "DIR", "where /proc and /sys are, as of a recorded machine (/)"},
         .value = &request.root},
        {.option = {NULL, NULL, NULL}},
    };
    int code;
    if (!cli_parse(&cli_top, argc, argv, flags, &request.args, &code)) return code;
    if (!read_interval(&request))
        return cli_usage("top", "--interval %s: 0.1 to 3600 is meant", request.interval_text);
    if (request.root && !cli_exists(request.root)) {
        fprintf(stderr, "phlox: --root %s: there is no such directory\n", request.root);
        return EXIT_FAILED;
    }
    return watch(&request);
}

const cli_command cli_top = {
    "top",
    "",
    "how busy CPU, GPUs and NPUs are",
    "Utilisation, clock, memory and power of every unit, once a second, until q or Ctrl-C. What the\n"
    "machine does not tell is left out. Where standard output is no terminal one sample is printed.",
    0, 0, false, false, run,
};
