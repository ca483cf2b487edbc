#include "cli.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const verdicts[] = {[PHLOX_VERDICT_OK] = "ok", [PHLOX_VERDICT_NOTE] = "note",
                                       [PHLOX_VERDICT_PROBLEM] = "problem"};

struct report {
    json_t *checks; /* NULL: print them */
    char section[32];
    size_t notes, problems;
    bool is_fatal;
};

/* What is given to the program stands on its command line. */
static const char *source_of(const phlox_check *check)
{
    if (strcmp(check->source, "given") == 0) return " (command line)";
    return check->value[0] || !check->source[0] ? "" : "default";
}

static void print_check(struct report *report, const phlox_check *check)
{
    if (strcmp(report->section, check->section) != 0) {
        printf("%s%s\n", report->section[0] ? "\n" : "", check->section);
        snprintf(report->section, sizeof report->section, "%s", check->section);
    }
    printf("  %-8s%s: %s%s\n", verdicts[check->verdict], check->name, check->value, source_of(check));
    if (check->remedy[0]) printf("          -> %s\n", check->remedy);
}

static bool take_check(void *user, const phlox_check *check)
{
    struct report *const report = user;
    report->notes += check->verdict == PHLOX_VERDICT_NOTE;
    report->problems += check->verdict == PHLOX_VERDICT_PROBLEM;
    report->is_fatal |= check->is_fatal;
    if (report->checks)
        json_array_append_new(report->checks,
                              json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "section", check->section, "name",
                                        check->name, "value", check->value, "verdict",
                                        verdicts[check->verdict], "remedy", check->remedy,
                                        "source", check->source, "fatal", check->is_fatal));
    else print_check(report, check);
    return true;
}

/* What only the program can know. */
static void check_terminal(struct report *report)
{
    const char *const term = getenv("TERM");
    const phlox_check output = {"terminal", "output", cli_is_terminal(stdout) ? "a terminal" : "no terminal", "", "",
                                PHLOX_VERDICT_OK, false};
    const phlox_check kind = {"terminal", "TERM", term ? term : "not set", "", "", PHLOX_VERDICT_OK, false};
    take_check(report, &output);
    take_check(report, &kind);
}

static void print_end(const struct report *report)
{
    if (report->is_fatal) puts("\nNothing runs before the problems are mended.");
    else if (report->problems || report->notes)
        printf("\nphlox runs; %zu problems and %zu notes are above.\n", report->problems, report->notes);
    else puts("\nphlox runs, and nothing is missing.");
}

static void print_json(const struct report *report)
{
    const char *const verdict = report->problems ? "problem" : report->notes ? "note" : "ok";
    json_t *const json = json_pack("{s:s, s:b, s:O}", "verdict", verdict, "runs", !report->is_fatal, "checks",
                                   report->checks);
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}

static int run(int argc, char **argv)
{
    const char *root = NULL;
    bool as_json = false;
    const cli_flag flags[] = {
        {.option = {"json", NULL, "one JSON object"}, .is_given = &as_json},
        {.option = {"root", "DIR", "another machine, whose sys, proc, dev and etc are copied there"},
         .value = &root},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_doctor, argc, argv, flags, &args, &code)) return code;
    if (root && !cli_exists(root)) return cli_usage("doctor", "--root %s: there is no such directory", root);
    struct report report = {.checks = as_json ? json_array() : NULL};
    phlox_error error;
    const phlox_status status = phlox_doctor(root, &args.model, take_check, &report, &error);
    if (status == PHLOX_OK) {
        check_terminal(&report);
        if (as_json) print_json(&report);
        else print_end(&report);
    }
    json_decref(report.checks);
    if (status != PHLOX_OK) return cli_fail(&error);
    return report.is_fatal ? EXIT_FAILED : EXIT_OK;
}

const cli_command cli_doctor = {
    "doctor",
    "",
    "everything that a report of a defect needs, with a verdict a line",
    "Takes the options of a model, to say what is in force and whether a --device can be had. Home\n"
    "directories are shown as ~ and no passwords, so that the report can be given to others. Exit code 1\n"
    "when something keeps phlox from running at all.",
    0, 0, true, false, run,
};
