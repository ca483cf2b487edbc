/* The chart: ms per token over position for each device and weight format, and the time to the first token. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In pixels: the picture, the plot of the lines, what stands beside it. */
enum {
    WIDTH = 960, HEIGHT = 480,
    LEFT = 70, RIGHT = 650, TOP = 70, BOTTOM = 400,
    SIDE_LEFT = 710, SIDE_RIGHT = 930, SIDE_STEP = 44, SAMPLE = 34, BAR_HEIGHT = 14
};
enum { STYLES = 6, MOST_TICKS = 8 };

/* Colours that colour-blind readers tell apart, and dashes for print in grey. What the first block
 * draws on white the second redraws for a dark page. */
static const char style[] =
    "<style>\n"
    "text { font-family: system-ui, \"DejaVu Sans\", sans-serif; font-size: 13px; fill: #24292f; }\n"
    ".title { font-size: 16px; font-weight: bold; }\n"
    ".note { font-size: 12px; fill: #57606a; }\n"
    ".paper { fill: #ffffff; }\n"
    ".axis { stroke: #57606a; fill: none; }\n"
    ".grid { stroke: #d8dee4; fill: none; }\n"
    ".line { fill: none; stroke-width: 2; stroke-linejoin: round; }\n"
    ".c0 { stroke: #0072b2; } .c1 { stroke: #d55e00; stroke-dasharray: 7 3; }\n"
    ".c2 { stroke: #009e73; stroke-dasharray: 2 3; } .c3 { stroke: #aa4499; stroke-dasharray: 9 3 2 3; }\n"
    ".c4 { stroke: #b58900; } .c5 { stroke: #56b4e9; stroke-dasharray: 7 3; }\n"
    ".b0 { fill: #0072b2; } .b1 { fill: #d55e00; } .b2 { fill: #009e73; }\n"
    ".b3 { fill: #aa4499; } .b4 { fill: #b58900; } .b5 { fill: #56b4e9; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "text { fill: #e6edf3; } .note { fill: #9198a1; } .paper { fill: #0d1117; }\n"
    ".axis { stroke: #9198a1; } .grid { stroke: #30363d; }\n"
    ".c0 { stroke: #4aa8e0; } .c1 { stroke: #ff8c42; } .c2 { stroke: #2fd3a5; }\n"
    ".c3 { stroke: #d98cd0; } .c4 { stroke: #e3b341; } .c5 { stroke: #a5d8ff; }\n"
    ".b0 { fill: #4aa8e0; } .b1 { fill: #ff8c42; } .b2 { fill: #2fd3a5; }\n"
    ".b3 { fill: #d98cd0; } .b4 { fill: #e3b341; } .b5 { fill: #a5d8ff; }\n"
    "}\n</style>\n";

struct point {
    double position, milliseconds;
};

struct series {
    const bench_subject *subject;
    struct point *points; /* in order of position */
    size_t count;
    double first_token;   /* seconds; 0: not measured */
    size_t prompt;
};

struct chart {
    struct series *series; /* one a subject */
    size_t count;
    double most_position, most_milliseconds, most_first;
};

/* ---- what to draw -------------------------------------------------------------------------- */

static int compare_points(const void *a, const void *b)
{
    const double x = ((const struct point *)a)->position, y = ((const struct point *)b)->position;
    return (x > y) - (x < y);
}

/* The decoding of one sequence gives points, the first prompt the time to the first token. */
static bool add_row(struct series *series, const bench_row *row)
{
    const bench_test *const test = &row->test;
    if (test->batch != 1) return true;
    if (test->prompt) {
        if (test->depth || series->prompt) return true;
        series->prompt = test->prompt;
        series->first_token = (double)test->prompt / row->median;
        return true;
    }
    struct point *const grown =
        realloc(series->points, (series->count + test->decode) * sizeof *grown);
    if (!grown) return false;
    series->points = grown;
    for (size_t i = 0; i < test->decode; i++)
        grown[series->count++] =
            (struct point){(double)(test->depth + i), row->token_seconds[i] * 1e3};
    return true;
}

static bool collect(const bench_rows *rows, struct chart *chart)
{
    chart->series = calloc(rows->count + 1, sizeof *chart->series);
    bool good = chart->series != NULL;
    for (size_t i = 0; i < rows->count && good; i++) {
        const bench_row *const row = &rows->rows[i];
        if (!chart->count || chart->series[chart->count - 1].subject != row->subject)
            chart->series[chart->count++].subject = row->subject;
        good = add_row(&chart->series[chart->count - 1], row);
    }
    for (size_t i = 0; i < chart->count && good; i++) {
        struct series *const s = &chart->series[i];
        if (s->count) qsort(s->points, s->count, sizeof *s->points, compare_points);
        for (size_t k = 0; k < s->count; k++) {
            chart->most_position = fmax(chart->most_position, s->points[k].position);
            chart->most_milliseconds = fmax(chart->most_milliseconds, s->points[k].milliseconds);
        }
        chart->most_first = fmax(chart->most_first, s->first_token);
    }
    return good;
}

/* ---- drawing ------------------------------------------------------------------------------- */

/* Text of a path or format may hold what XML gives a meaning, and bytes it has no place for. */
static void put_text(const char *text, FILE *file)
{
    for (; *text; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte == '&') fputs("&amp;", file);
        else if (byte == '<') fputs("&lt;", file);
        else if (byte == '>') fputs("&gt;", file);
        else putc(byte < 0x20 || byte > 0x7e ? '?' : byte, file);
    }
}

/* 1, 2 or 5 times a power of ten, so that `most` is at most so many steps. */
static double nice_step(double most, int ticks)
{
    if (!(most > 0)) return 1;
    const double power = pow(10, floor(log10(most / ticks)));
    static const double steps[] = {1, 2, 5, 10};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (most <= steps[i] * power * ticks) return steps[i] * power;
    return 10 * power;
}

struct axis {
    double step, end; /* of values; the last tick is the end */
};

static struct axis axis_of(double most, int ticks)
{
    const double step = nice_step(most, ticks);
    return (struct axis){step, step * fmax(ceil(most / step), 1)};
}

static double x_of(const struct axis *axis, double value)
{
    return LEFT + (RIGHT - LEFT) * value / axis->end;
}

static double y_of(const struct axis *axis, double value)
{
    return BOTTOM - (BOTTOM - TOP) * value / axis->end;
}

static void draw_axes(const struct axis *x, const struct axis *y, FILE *file)
{
    for (int i = 0; i * y->step <= y->end * 1.0001; i++) {
        const double at = y_of(y, i * y->step);
        fprintf(file, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", LEFT, at, RIGHT);
        fprintf(file, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 8, at + 4.5,
                i * y->step);
    }
    for (int i = 0; i * x->step <= x->end * 1.0001; i++) {
        const double at = x_of(x, i * x->step);
        fprintf(file, "<path class=\"axis\" d=\"M%.1f %dv5\"/>\n", at, BOTTOM);
        fprintf(file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", at, BOTTOM + 21,
                i * x->step);
    }
    fprintf(file, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, BOTTOM, RIGHT);
    fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">position (tokens before)</text>\n",
            (LEFT + RIGHT) / 2, BOTTOM + 44);
    fprintf(file, "<text transform=\"translate(20 %d) rotate(-90)\" text-anchor=\"middle\">"
            "ms per token</text>\n", (TOP + BOTTOM) / 2);
}

static void draw_line(const struct series *series, size_t style_index, const struct axis *x,
                      const struct axis *y, FILE *file)
{
    if (!series->count) return;
    fprintf(file, "<path class=\"line c%zu\" d=\"", style_index);
    for (size_t i = 0; i < series->count; i++)
        fprintf(file, "%c%.1f %.1f", i ? 'L' : 'M', x_of(x, series->points[i].position),
                y_of(y, series->points[i].milliseconds));
    /* a single point is a short line */
    fprintf(file, "%s\"/>\n", series->count == 1 ? "h4" : "");
}

/* Beside the plot: the line of each series, its name, and below it the bar of its first token. */
static void draw_legend(const struct chart *chart, FILE *file)
{
    const bool has_first = chart->most_first > 0;
    if (has_first) {
        fprintf(file, "<text class=\"title\" x=\"%d\" y=\"28\">Time to first token</text>\n", SIDE_LEFT);
        fprintf(file, "<text class=\"note\" x=\"%d\" y=\"48\">prompt of %zu tokens, weights loaded"
                "</text>\n", SIDE_LEFT, chart->series[0].prompt);
    }
    for (size_t i = 0; i < chart->count; i++) {
        const struct series *const s = &chart->series[i];
        const int y = TOP + 14 + SIDE_STEP * (int)i;
        fprintf(file, "<path class=\"line c%zu\" d=\"M%d %dh%d\"/>\n<text x=\"%d\" y=\"%d\">", i % STYLES,
                SIDE_LEFT, y - 4, SAMPLE, SIDE_LEFT + SAMPLE + 8, y);
        put_text(s->subject->label, file);
        fputs("</text>\n", file);
        if (!has_first) continue;
        const double width = (SIDE_RIGHT - SIDE_LEFT) * s->first_token / chart->most_first;
        const bool is_short = s->first_token < 1;
        fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.3g %s</text>\n", SIDE_RIGHT, y,
                s->first_token * (is_short ? 1e3 : 1), is_short ? "ms" : "s");
        fprintf(file, "<rect class=\"b%zu\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n",
                i % STYLES, SIDE_LEFT, y + 6, fmax(width, 1), BAR_HEIGHT);
    }
}

static bool is_of_one_device(const struct chart *chart)
{
    for (size_t i = 1; i < chart->count; i++)
        if (strcmp(chart->series[i].subject->device, chart->series[0].subject->device) != 0) return false;
    return true;
}

static void draw_titles(const struct chart *chart, FILE *file)
{
    const bench_subject *const subject = chart->series[0].subject;
    const char *const slash = strrchr(subject->model, '/');
    char cpu[64], threads[32];
    phlox_cpu_name(cpu, sizeof cpu);
    fprintf(file, "<text class=\"title\" x=\"%d\" y=\"28\">", LEFT);
    put_text(slash && slash[1] ? slash + 1 : subject->model, file);
    fprintf(file, ": latency of a token</text>\n<text class=\"note\" x=\"%d\" y=\"48\">", LEFT);
    put_text(cpu, file);
    if (!is_of_one_device(chart)) fputs(", phlox ", file);
    else
        fprintf(file, ", %s %s%s, phlox ", subject->device, subject->kernels,
                cli_threads(subject->threads, threads));
    put_text(phlox_version(), file);
    fputs("</text>\n", file);
}

static bool write_svg(FILE *file, const void *user)
{
    const struct chart *const chart = user;
    const struct axis x = axis_of(chart->most_position, MOST_TICKS);
    const struct axis y = axis_of(chart->most_milliseconds, MOST_TICKS);
    fprintf(file, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\">\n<title>Latency of a token over its position</title>\n%s"
            "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", WIDTH, HEIGHT, WIDTH, HEIGHT, style,
            WIDTH, HEIGHT);
    draw_titles(chart, file);
    draw_axes(&x, &y, file);
    for (size_t i = 0; i < chart->count; i++)
        draw_line(&chart->series[i], i % STYLES, &x, &y, file);
    draw_legend(chart, file);
    fputs("</svg>\n", file);
    return !ferror(file);
}

int bench_draw(const char *path, const bench_rows *rows)
{
    struct chart chart = {0};
    int code = EXIT_FAILED;
    if (collect(rows, &chart)) code = cli_write_file(path, write_svg, &chart);
    else fputs("phlox: no memory for the chart\n", stderr);
    for (size_t i = 0; i < chart.count; i++) free(chart.series[i].points);
    free(chart.series);
    return code;
}
