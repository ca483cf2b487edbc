/* The program's own calls to the system: terminal, clock, signals. */
#define _POSIX_C_SOURCE 200809L
#include "cli.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bool cli_is_terminal(FILE *stream)
{
    return isatty(fileno(stream)) == 1;
}

bool cli_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool cli_is_special(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && !S_ISREG(info.st_mode);
}

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The signal handler's state is the one thing a handler can reach. */
static volatile sig_atomic_t interrupted;
static phlox_session *_Atomic cancelled_session;

static void on_interrupt(int number)
{
    if (interrupted) _exit(EXIT_INTERRUPTED);
    (void)number;
    interrupted = 1;
    phlox_session *const session = atomic_load(&cancelled_session);
    if (session) phlox_session_cancel(session);
}

void cli_catch_interrupts(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* A file size limit is an error of the write that meets it. */
    struct sigaction ignore;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGXFSZ, &ignore, NULL);
    /* nohup has it ignored, and that is to stay. */
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
}

bool cli_interrupted(void)
{
    return interrupted;
}

void cli_cancels(phlox_session *session)
{
    atomic_store(&cancelled_session, session);
    if (session && interrupted) phlox_session_cancel(session);
}

/* ---- progress ------------------------------------------------------------------------------ */

enum { BAR_CELLS = 30 };

static bool has_colour(void)
{
    const char *const no_colour = getenv("NO_COLOR"), *const term = getenv("TERM");
    return !(no_colour && no_colour[0]) && !(term && strcmp(term, "dumb") == 0);
}

static void draw(const cli_progress_bar *bar, const phlox_progress *progress, double now)
{
    if (!progress->total) { /* nobody knows how long it takes */
        fprintf(stderr, "\r\033[K%s, %.0f s", progress->what, now - bar->start);
        fflush(stderr);
        return;
    }
    const double share = (double)progress->done / (double)progress->total;
    const int filled = (int)(share * BAR_CELLS);
    char cells[BAR_CELLS + 1], done[16], total[16];
    for (int i = 0; i < BAR_CELLS; i++) cells[i] = i < filled ? '#' : '.';
    cells[BAR_CELLS] = 0;
    const bool colour = has_colour();
    fprintf(stderr, "\r\033[K%s [%s%s%s] %3d%%", progress->what, colour ? "\033[32m" : "", cells,
            colour ? "\033[0m" : "", (int)(share * 100));
    if (progress->is_bytes)
        fprintf(stderr, " %s of %s", cli_bytes(progress->done, done),
                cli_bytes(progress->total, total));
    else
        fprintf(stderr, " %llu of %llu", (unsigned long long)progress->done,
                (unsigned long long)progress->total);
    if (share > 0.01) fprintf(stderr, ", %.0f s left", (now - bar->start) * (1 - share) / share);
    fflush(stderr);
}

bool cli_progress(void *user, const phlox_progress *progress)
{
    cli_progress_bar *const bar = user;
    const double now = cli_seconds();
    if (bar->what != progress->what) {
        cli_progress_end(bar);
        *bar = (cli_progress_bar){.start = now, .what = progress->what};
    }
    if (now - bar->start > 1 && now - bar->drawn > 0.1 && cli_is_terminal(stderr)) {
        draw(bar, progress, now);
        bar->drawn = now;
        bar->is_shown = true;
    }
    return !interrupted;
}

void cli_progress_end(cli_progress_bar *bar)
{
    if (bar->is_shown) fputs("\r\033[K", stderr);
    bar->is_shown = false;
}
