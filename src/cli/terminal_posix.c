/* The program's own calls to the system: terminal, clock, signals. */
#define _DEFAULT_SOURCE /* ioctl() of the terminal's size */
#include "cli.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
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

static void restore_screen(void);

static void on_interrupt(int number)
{
    if (interrupted) {
        restore_screen();
        _exit(EXIT_INTERRUPTED);
    }
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

bool cli_sleep(double seconds)
{
    const double end = cli_seconds() + seconds;
    for (double left = seconds; left > 0 && !interrupted; left = end - cli_seconds()) {
        const struct timespec time = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
        if (nanosleep(&time, NULL) != 0 && errno != EINTR) break;
    }
    return !interrupted;
}

/* ---- the whole screen ---------------------------------------------------------------------- */

static const char enter_screen[] = "\033[?1049h\033[?25l", leave_screen[] = "\033[?25h\033[?1049l";

/* What a signal handler must be able to put back. */
static volatile sig_atomic_t has_screen, has_keys, is_resized;
static struct termios saved_terminal;

/* For signal handlers too. */
static void restore_screen(void)
{
    if (has_screen && write(STDOUT_FILENO, leave_screen, sizeof leave_screen - 1) < 0) { /* it is gone */
    }
    if (has_keys) tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
    has_screen = has_keys = 0;
}

static void on_resize(int number)
{
    (void)number;
    is_resized = 1;
}

/* Keys come one by one and are not shown. Those that would stop the process or end it with a core dump,
 * and leave the terminal as it is, do nothing. */
static void take_keys(void)
{
    if (isatty(STDIN_FILENO) != 1 || tcgetattr(STDIN_FILENO, &saved_terminal) != 0) return;
    struct termios keys = saved_terminal;
    keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    keys.c_cc[VMIN] = 0;
    keys.c_cc[VTIME] = 0;
    keys.c_cc[VQUIT] = keys.c_cc[VSUSP] = _POSIX_VDISABLE;
    has_keys = 1;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &keys) != 0) has_keys = 0;
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(number, &action, NULL);
}

bool cli_screen_begin(void)
{
    const char *const term = getenv("TERM");
    if (!cli_is_terminal(stdout) || !term || !term[0] || strcmp(term, "dumb") == 0) return false;
    handle(SIGWINCH, on_resize);
    handle(SIGQUIT, on_interrupt);
    handle(SIGTSTP, SIG_IGN);
    take_keys();
    has_screen = 1;
    fputs(enter_screen, stdout);
    fflush(stdout);
    return true;
}

void cli_screen_end(void)
{
    fflush(stdout);
    restore_screen();
    handle(SIGTSTP, SIG_DFL);
    handle(SIGWINCH, SIG_DFL);
}

void cli_screen_size(int *columns, int *rows)
{
    struct winsize size;
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row;
    *columns = known ? size.ws_col : 80;
    *rows = known ? size.ws_row : 24;
}

int cli_screen_key(double seconds)
{
    const double end = cli_seconds() + seconds;
    struct pollfd keys = {.fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN};
    for (double left = seconds; left > 0 && !interrupted && !is_resized; left = end - cli_seconds()) {
        const int ready = poll(&keys, 1, (int)(left * 1000) + 1);
        if (ready <= 0) continue;
        unsigned char key;
        if (read(STDIN_FILENO, &key, 1) == 1) return key;
        keys.fd = -1; /* the terminal has hung up */
    }
    is_resized = 0;
    return 0;
}

bool cli_is_utf8(void)
{
    const locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (!locale) return false;
    const bool is_utf8 = strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
    freelocale(locale);
    return is_utf8;
}

/* ---- progress ------------------------------------------------------------------------------ */

enum { BAR_CELLS = 30 };

bool cli_has_colour(void)
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
    const bool colour = cli_has_colour();
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
