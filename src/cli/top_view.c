#include "top.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { HISTORY = 512, FRAME_BYTES = 1 << 16 };

/* What a unit did lately: a ring. */
struct history {
    float values[HISTORY];
};

struct view {
    struct history units[PHLOX_MOST_UNITS];
    size_t samples; /* taken so far */
    bool is_utf8, has_colour;
    int columns, rows, row; /* of the screen; the next line's */
    char frame[FRAME_BYTES];
    size_t used;
};

/* ---- writing ------------------------------------------------------------------------------- */

static void put(struct view *view, const char *text)
{
    const size_t length = strlen(text);
    if (length >= FRAME_BYTES - view->used) return;
    memcpy(view->frame + view->used, text, length + 1);
    view->used += length;
}

static void put_colour(struct view *view, const char *colour)
{
    if (view->has_colour) put(view, colour);
}

/* A line of ASCII, cut to the screen; false when the screen is full. */
static bool begin_line(struct view *view)
{
    if (view->row >= view->rows) return false;
    if (view->row++) put(view, "\r\n");
    put(view, "\033[K");
    return true;
}

static void put_cut(struct view *view, int columns, const char *format, ...)
{
    char text[TOP_TEXT + 64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (columns < 0) columns = 0;
    if ((size_t)columns < sizeof text) text[columns] = 0;
    put(view, text);
}

/* ---- bars ---------------------------------------------------------------------------------- */

static void put_bar(struct view *view, float value)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const signs[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
    if (isnan(value)) {
        put(view, " ");
        return;
    }
    const int level = value >= 1 ? 7 : value <= 0 ? 0 : (int)(value * 8);
    put(view, (view->is_utf8 ? blocks : signs)[level]);
}

static const char *colour_of(double utilisation)
{
    return utilisation >= 0.85 ? "\033[31m" : utilisation >= 0.5 ? "\033[33m" : "\033[32m";
}

/* The newest values end at the right edge. */
static void put_history(struct view *view, size_t unit, int columns)
{
    const size_t wide = columns < 0 ? 0 : columns > HISTORY ? HISTORY : (size_t)columns;
    for (size_t i = 0; i < wide; i++) {
        const size_t age = wide - i; /* 1: the newest */
        put_bar(view, age > view->samples ? NAN
                                          : view->units[unit].values[(view->samples - age) % HISTORY]);
    }
}

/* ---- a frame ------------------------------------------------------------------------------- */

static void draw_cores(struct view *view, const phlox_meter *meter)
{
    size_t count;
    const float *const cores = phlox_meter_cores(meter, &count);
    if (!count || !begin_line(view)) return;
    put_cut(view, view->columns, "        ");
    for (size_t i = 0; i < count && (int)i + 8 < view->columns; i++) put_bar(view, cores[i]);
}

static void draw_unit(struct view *view, const phlox_meter *meter, const phlox_unit_reading *r,
                      size_t unit)
{
    char text[TOP_TEXT], share[16] = "   -";
    if (!begin_line(view)) return;
    put_colour(view, "\033[1m");
    put_cut(view, view->columns, "%-7s", r->name);
    put_colour(view, "\033[0m");
    put_cut(view, view->columns - 7, " %s", top_clean(r->full_name, text));
    if (!begin_line(view)) return;
    if (!isnan(r->utilisation)) snprintf(share, sizeof share, "%3.0f%%", r->utilisation * 100);
    put_cut(view, view->columns, "  %s  ", share);
    put_colour(view, colour_of(r->utilisation));
    put_history(view, unit, view->columns - 8);
    put_colour(view, "\033[0m");
    if (r->kind == PHLOX_UNIT_CPU) draw_cores(view, meter);
    if (!begin_line(view)) return;
    put_cut(view, view->columns, "        %s", top_describe(r, "  ", text));
    begin_line(view);
}

static void draw_notes(struct view *view, const phlox_unit_reading *units, size_t count)
{
    char text[TOP_TEXT];
    for (size_t i = 0; i < count; i++)
        if (units[i].absent[0] && begin_line(view))
            put_cut(view, view->columns, "%s: %s", units[i].name, top_clean(units[i].absent, text));
}

static void draw(struct view *view, const phlox_meter *meter, const phlox_unit_reading *units,
                 size_t count, double interval)
{
    cli_screen_size(&view->columns, &view->rows);
    view->row = 0;
    view->used = 0;
    put(view, "\033[H");
    if (begin_line(view)) put_cut(view, view->columns, "phlox top: every %g s, q ends", interval);
    begin_line(view);
    for (size_t i = 0; i < count; i++) draw_unit(view, meter, &units[i], i);
    draw_notes(view, units, count);
    put(view, "\033[J");
    fwrite(view->frame, 1, view->used, stdout);
    fflush(stdout);
}

int top_view(phlox_meter *meter, double interval)
{
    struct view view = {.is_utf8 = cli_is_utf8(), .has_colour = cli_has_colour()};
    size_t count;
    const phlox_unit_reading *units = phlox_meter_sample(meter, &count);
    double next = cli_seconds() + interval;
    draw(&view, meter, units, 0, interval);
    while (!cli_interrupted() && !ferror(stdout)) {
        const int key = cli_screen_key(next - cli_seconds());
        if (key == 'q' || key == 'Q') return EXIT_OK;
        if (cli_seconds() >= next) {
            units = phlox_meter_sample(meter, &count);
            for (size_t i = 0; i < count; i++)
                view.units[i].values[view.samples % HISTORY] = (float)units[i].utilisation;
            view.samples++;
            next = cli_seconds() + interval;
        }
        draw(&view, meter, units, view.samples ? count : 0, interval);
    }
    return cli_interrupted() ? EXIT_INTERRUPTED : EXIT_OK;
}
