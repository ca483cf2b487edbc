/* What the files of `phlox top` share, and run_stats.c uses: top.c reads the command line and prints one
 * sample, top_view.c draws on the terminal. */
#ifndef PX_CLI_TOP_H
#define PX_CLI_TOP_H

#include "cli.h"

#include <jansson.h>

enum { TOP_TEXT = 256 };

/* Clock, memory, power and temperature of a unit, as far as they are known, separated by `between`;
 * text: [TOP_TEXT] */
const char *top_describe(const phlox_unit_reading *reading, const char *between, char *text);
/* What comes from drivers, without characters that a terminal might obey; text: [TOP_TEXT] */
const char *top_clean(const char *name, char *text);

/* A reading as JSON, without what is not known. */
json_t *top_unit_json(const phlox_unit_reading *reading);

/* Draws until somebody ends it; the exit code. */
int top_view(phlox_meter *meter, double interval);

#endif
