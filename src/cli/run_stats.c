#include "run_stats.h"

#include "top.h"

#include <math.h>

double run_rate(uint64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

static void print_speed(const phlox_statistics *s)
{
    fprintf(stderr, "prefill      %llu tokens, %.1f tok/s\n", (unsigned long long)s->prefill_tokens,
            run_rate(s->prefill_tokens, s->prefill_seconds));
    fprintf(stderr, "decode       %llu tokens, %.1f tok/s\n", (unsigned long long)s->decode_tokens,
            run_rate(s->decode_tokens, s->decode_seconds));
    if (s->drafted_tokens)
        fprintf(stderr, "drafted      %llu tokens, of which %llu were right\n",
                (unsigned long long)s->drafted_tokens, (unsigned long long)s->accepted_tokens);
    if (s->first_token_seconds > 0)
        fprintf(stderr, "first token  after %.1f ms\n", s->first_token_seconds * 1e3);
    if (s->rope_recomputes)
        fprintf(stderr, "longrope     recomputed %llu tokens\n", (unsigned long long)s->recomputed_tokens);
    if (s->context_shifts)
        fprintf(stderr, "context      shifted %llu times\n", (unsigned long long)s->context_shifts);
}

static void print_usage(const phlox_usage_report *usage, size_t generated)
{
    char text[TOP_TEXT];
    for (size_t i = 0; i < usage->count; i++) {
        const phlox_unit_reading *const r = &usage->units[i];
        const char *const rest = top_describe(r, ", ", text);
        if (isnan(r->utilisation)) fprintf(stderr, "%-13s%s\n", r->name, rest[0] ? rest : "not measured");
        else fprintf(stderr, "%-13s%.1f %% busy%s%s%s\n", r->name, r->utilisation * 100,
                     r->scope == PHLOX_SCOPE_PROCESS ? " for phlox" : "", rest[0] ? ", " : "", rest);
    }
    if (isnan(usage->joules)) return;
    fprintf(stderr, "energy       %.2f J, %.1f W (%s)", usage->joules, usage->watts, usage->measured);
    if (usage->joules > 0 && generated)
        fprintf(stderr, ", %.3g tokens/J", (double)generated / usage->joules);
    fputc('\n', stderr);
}

void run_stats_print(const run_stats *stats)
{
    const phlox_model_info *const info = stats->info;
    phlox_process_memory memory;
    char bytes[16];
    fprintf(stderr, "device       %s%s%s%s, %s, %d threads\n", info->device,
            info->device_name[0] ? " (" : "", info->device_name, info->device_name[0] ? ")" : "",
            info->kernels, info->threads);
    fprintf(stderr, "model        %s, %s\n", info->path[0] ? info->path : info->form, info->weights);
    fprintf(stderr, "context      %zu of %d tokens\n", stats->context_used, info->context_size);
    print_speed(stats->statistics);
    if (stats->statistics->huge_page_bytes)
        fprintf(stderr, "2 MB pages   %s\n", cli_bytes(stats->statistics->huge_page_bytes, bytes));
    if (phlox_get_process_memory(&memory))
        fprintf(stderr, "peak memory  %s\n", cli_bytes(memory.peak, bytes));
    if (stats->usage) print_usage(stats->usage, stats->generated);
}

void run_stats_json(const run_stats *stats, json_t *statistics)
{
    const phlox_usage_report *const usage = stats->usage;
    if (stats->info->device_name[0])
        json_object_set_new(statistics, "device_name", json_string(stats->info->device_name));
    if (stats->statistics->first_token_seconds > 0)
        json_object_set_new(statistics, "first_token_seconds",
                            json_real(stats->statistics->first_token_seconds));
    if (!usage) return;
    json_t *const units = json_array();
    for (size_t i = 0; i < usage->count; i++) json_array_append_new(units, top_unit_json(&usage->units[i]));
    json_object_set_new(statistics, "measured_seconds", json_real(usage->seconds));
    json_object_set_new(statistics, "units", units);
    if (isnan(usage->joules)) return;
    json_object_set_new(statistics, "joules", json_real(usage->joules));
    json_object_set_new(statistics, "watts", json_real(usage->watts));
    json_object_set_new(statistics, "joules_of", json_string(usage->measured));
    if (usage->joules > 0 && stats->generated)
        json_object_set_new(statistics, "tokens_per_joule",
                            json_real((double)stats->generated / usage->joules));
}
