#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages ------------------------------------------------------------------------------ */

int cli_fail(const phlox_error *error)
{
    fprintf(stderr, "phlox: %s\n", error->message);
    if (error->trace[0]) fprintf(stderr, "  (%s: %s)\n", phlox_status_name(error->code), error->trace);
    if (error->code == PHLOX_ERROR_CANCELLED) return EXIT_INTERRUPTED;
    return error->code == PHLOX_ERROR_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

phlox_status cli_no_memory(size_t bytes, phlox_error *error)
{
    *error = (phlox_error){.code = PHLOX_ERROR_MEMORY};
    snprintf(error->message, sizeof error->message, "no memory for %zu bytes", bytes);
    return error->code;
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("phlox: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "; phlox help%s%s explains\n", command ? " " : "", command ? command : "");
    return EXIT_USAGE;
}

int cli_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    perror("phlox: standard output");
    return code == EXIT_OK ? EXIT_FAILED : code;
}

const char *cli_bytes(uint64_t bytes, char *text)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1000 && unit < 4; unit++) value /= 1000;
    snprintf(text, 16, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
    return text;
}

const char *cli_threads(int threads, char *text)
{
    text[0] = 0;
    if (threads) snprintf(text, 32, ", %d threads", threads);
    return text;
}

bool cli_number(const char *text, size_t least, size_t most, size_t *out)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || value < least || value > most) return false;
    *out = (size_t)value;
    return true;
}

/* ---- help ---------------------------------------------------------------------------------- */

static void print_option(const phlox_option *option, char letter, FILE *out)
{
    char left[80];
    const int used = snprintf(left, sizeof left, "  %c%c%s--%s", letter ? '-' : ' ',
                              letter ? letter : ' ', letter ? ", " : "  ", option->name);
    if (option->argument && used > 0 && (size_t)used < sizeof left)
        snprintf(left + used, sizeof left - (size_t)used, " %s", option->argument);
    fprintf(out, "%-38s%s%s\n", left, strlen(left) > 37 ? "\n                                      " : "",
            option->help);
}

static const cli_flag *find_flag(const cli_flag *flags, const char *name, size_t length,
                                 char letter)
{
    for (; flags->option.name; flags++) {
        if (letter ? flags->letter == letter
                   : strlen(flags->option.name) == length &&
                         memcmp(flags->option.name, name, length) == 0)
            return flags;
    }
    return NULL;
}

/* A flag of the command takes the place of an option of that name. */
static void print_table(const char *title, const phlox_option *table, size_t count,
                        const cli_flag *flags, FILE *out)
{
    fprintf(out, "\n%s\n", title);
    for (size_t i = 0; i < count; i++)
        if (!find_flag(flags, table[i].name, strlen(table[i].name), 0))
            print_option(&table[i], 0, out);
}

void cli_print_help(const cli_command *command, const cli_flag *flags, FILE *out)
{
    fprintf(out, "phlox %s%s%s\n\n%s\n", command->name, command->positionals[0] ? " " : "",
            command->positionals, command->summary);
    if (command->text) fprintf(out, "%s\n", command->text);
    fputs("\nOptions\n", out);
    for (const cli_flag *flag = flags; flag->option.name; flag++)
        print_option(&flag->option, flag->letter, out);
    static const phlox_option help = {"help", NULL, "this text"};
    print_option(&help, 'h', out);
    size_t count;
    if (command->takes_generate) {
        const phlox_option *const table = phlox_generate_option_table(&count);
        print_table("Generation (defaults: the model's generation_config)", table, count, flags, out);
    }
    if (command->takes_model) {
        const phlox_option *const table = phlox_model_option_table(&count);
        print_table("Model", table, count, flags, out);
        fputs("\nChat formats:", out);
        for (const char *const *name = phlox_chat_formats(); *name; name++)
            fprintf(out, " %s", *name);
        putc('\n', out);
    }
}

/* ---- parsing ------------------------------------------------------------------------------- */

static const phlox_option *find_option(const phlox_option *table, size_t count, const char *name,
                                       size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
            return &table[i];
    return NULL;
}

static bool set_flag(const cli_flag *flag, const char *value)
{
    if (flag->is_given) *flag->is_given = true;
    if (flag->value) *flag->value = value;
    if (!flag->list) return true;
    const char **const grown =
        realloc((void *)*flag->list, (*flag->list_count + 1) * sizeof **flag->list);
    if (!grown) return false;
    *flag->list = grown;
    grown[(*flag->list_count)++] = value;
    return true;
}

struct parser {
    const cli_command *command;
    const cli_flag *flags;
    cli_args *args;
    int argc, next;
    char **argv;
    int code;
};

/* The value of an option: behind '=', or the next argument. NULL after an error. */
static const char *take_value(struct parser *p, const char *name, const char *attached)
{
    if (attached) return attached;
    if (p->next < p->argc) return p->argv[p->next++];
    p->code = cli_usage(p->command->name, "--%s needs a value", name);
    return NULL;
}

/* Keeps a setting for when the model's defaults are known; a wrong value is found now. */
static phlox_status keep_setting(cli_args *args, const char *name, const char *value,
                                 phlox_error *error)
{
    phlox_generate_options trial = {.struct_size = sizeof trial};
    const phlox_status status = phlox_generate_options_set(&trial, name, value, error);
    if (status != PHLOX_OK) return status;
    if (args->generate_count == MOST_SETTINGS) {
        error->code = PHLOX_ERROR_ARGUMENT;
        snprintf(error->message, sizeof error->message, "too many options");
        return error->code;
    }
    args->generate[args->generate_count].name = name;
    args->generate[args->generate_count++].value = value;
    return PHLOX_OK;
}

static bool unknown_option(struct parser *p, const char *text)
{
    p->code = cli_usage(p->command->name,
                        "unknown option %s (put -- in front of a text that begins with -)", text);
    return false;
}

static bool parse_option(struct parser *p, const char *text)
{
    const bool is_long = text[1] == '-';
    const char *const name = text + (is_long ? 2 : 1);
    const char *const equals = is_long ? strchr(name, '=') : NULL;
    const size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const char letter = is_long ? 0 : name[0];
    if (!is_long && length != 1) return unknown_option(p, text);
    if ((is_long && length == 4 && memcmp(name, "help", 4) == 0) || letter == 'h') {
        cli_print_help(p->command, p->flags, stdout);
        p->code = cli_finish(EXIT_OK);
        return false;
    }
    const cli_flag *const flag = find_flag(p->flags, name, length, letter);
    const phlox_option *option = flag ? &flag->option : NULL, *model = NULL, *generate = NULL;
    size_t count;
    if (!option && is_long && p->command->takes_model) {
        const phlox_option *const table = phlox_model_option_table(&count);
        option = model = find_option(table, count, name, length);
    }
    if (!option && is_long && p->command->takes_generate) {
        const phlox_option *const table = phlox_generate_option_table(&count);
        option = generate = find_option(table, count, name, length);
    }
    if (!option) return unknown_option(p, text);
    const char *value = NULL;
    if (option->argument && !(value = take_value(p, option->name, equals ? equals + 1 : NULL)))
        return false;
    if (!option->argument && equals) {
        p->code = cli_usage(p->command->name, "--%s takes no value", option->name);
        return false;
    }
    phlox_error error;
    if (flag && !set_flag(flag, value)) {
        fputs("phlox: no memory for the command line\n", stderr);
        p->code = EXIT_FAILED;
        return false;
    }
    if ((model &&
         phlox_model_options_set(&p->args->model, option->name, value, &error) != PHLOX_OK) ||
        (generate && keep_setting(p->args, option->name, value, &error) != PHLOX_OK)) {
        p->code = cli_usage(p->command->name, "%s", error.message);
        return false;
    }
    return true;
}

bool cli_parse(const cli_command *command, int argc, char **argv, const cli_flag *flags,
               cli_args *args, int *code)
{
    struct parser p = {command, flags, args, argc, 1, argv, EXIT_OK};
    *args = (cli_args){.count = 0};
    phlox_model_options_init(&args->model);
    bool only_positionals = false;
    while (p.next < argc) {
        const char *const text = argv[p.next++];
        if (!only_positionals && strcmp(text, "--") == 0) {
            only_positionals = true;
        } else if (!only_positionals && text[0] == '-' && text[1]) {
            if (!parse_option(&p, text)) {
                *code = p.code;
                return false;
            }
        } else if (args->count == command->most) {
            *code = cli_usage(command->name, "\"%s\" is one argument too many", text);
            return false;
        } else {
            args->positionals[args->count++] = text;
        }
    }
    if (args->count >= command->least) return true;
    *code = cli_usage(command->name, "phlox %s %s: an argument is missing", command->name,
                      command->positionals);
    return false;
}
