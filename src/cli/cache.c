#include "cli.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

static bool print_entry(void *user, const phlox_cache_entry *entry)
{
    char bytes[16], day[32] = "";
    const time_t used = (time_t)entry->used;
    const struct tm *const local = localtime(&used);
    if (local) strftime(day, sizeof day, "%Y-%m-%d %H:%M", local);
    printf("%-10s %10s  used %s  %s\n           from %s\n", entry->kind,
           cli_bytes(entry->bytes, bytes), day, entry->name, entry->source);
    *(uint64_t *)user += entry->bytes;
    return true;
}

static phlox_status list(const char *directory, phlox_error *error)
{
    uint64_t total = 0;
    char bytes[16];
    const phlox_status status = phlox_cache_list(directory, print_entry, &total, error);
    if (status == PHLOX_OK) printf("total      %10s\n", cli_bytes(total, bytes));
    return status;
}

static phlox_status verify(const char *directory, bool *found_damage, phlox_error *error)
{
    cli_progress_bar bar = {0};
    size_t checked = 0, damaged = 0;
    const phlox_status status =
        phlox_cache_verify(directory, cli_progress, &bar, &checked, &damaged, error);
    cli_progress_end(&bar);
    if (status == PHLOX_OK)
        printf("%zu checked, %zu damaged%s\n", checked, damaged,
               damaged ? " and removed; they are made anew when needed" : "");
    *found_damage = damaged > 0;
    return status;
}

static int run(int argc, char **argv)
{
    const char *directory = NULL;
    bool all = false, found_damage = false;
    const cli_flag flags[] = {
        {.option = {"cache-dir", "DIR", "the cache (default: ~/.cache/phlox)"},
         .value = &directory},
        {.option = {"all", NULL, "rm: every entry"}, .is_given = &all},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_cache, argc, argv, flags, &args, &code)) return code;
    const char *const action = args.positionals[0];
    const char *const name = args.count > 1 ? args.positionals[1] : NULL;
    const bool removes = strcmp(action, "rm") == 0;
    if (!removes && (name || all))
        return cli_usage("cache", "%s takes neither a NAME nor --all", action);
    phlox_error error;
    phlox_status status;
    if (strcmp(action, "ls") == 0) {
        status = list(directory, &error);
    } else if (strcmp(action, "verify") == 0) {
        status = verify(directory, &found_damage, &error);
    } else if (removes) {
        if (!name == !all) return cli_usage("cache", "rm takes a NAME or --all");
        size_t removed = 0;
        status = phlox_cache_remove(directory, name, &removed, &error);
        if (status == PHLOX_OK) printf("%zu removed\n", removed);
    } else {
        return cli_usage("cache", "%s is none of ls, verify and rm", action);
    }
    if (status != PHLOX_OK) return cli_fail(&error);
    return found_damage ? EXIT_FAILED : EXIT_OK;
}

const cli_command cli_cache = {
    "cache",
    "ls|verify|rm [NAME]",
    "the cache of packed weights and tokenizers",
    "ls lists the entries, longest unused first; verify checks every checksum and removes what is\n"
    "damaged; rm removes one entry or, with --all, every one.",
    1, 2, false, false, run,
};
