/* What `phlox run --stats` says of an answer. */
#ifndef PX_CLI_RUN_STATS_H
#define PX_CLI_RUN_STATS_H

#include "cli.h"

#include <jansson.h>

typedef struct run_stats {
    const phlox_model_info *info;
    const phlox_statistics *statistics;
    const phlox_usage_report *usage; /* NULL: not measured */
    size_t context_used;
    size_t generated; /* tokens */
} run_stats;

double run_rate(uint64_t tokens, double seconds);

/* The table, to standard error. */
void run_stats_print(const run_stats *stats);
/* Adds what was measured to the object "statistics". */
void run_stats_json(const run_stats *stats, json_t *statistics);

#endif
