/* phlox top on a terminal: what it draws, how it ends, and that it leaves the terminal as it was. */
#define _XOPEN_SOURCE 700 /* posix_openpt() */
#define _DEFAULT_SOURCE
#include "device/sysfs.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

static const char enters[] = "\033[?1049h", leaves[] = "\033[?1049l", shows_cursor[] = "\033[?25h";
enum { OUTPUT = 1 << 18, PATIENCE = 60 /* seconds; no time is expected */ };

struct terminal {
    int control, line; /* both ends of a pseudo-terminal */
    pid_t program;
    struct termios before;
    char output[OUTPUT];
    size_t used;
};

static void set_size(const struct terminal *t, int columns, int rows)
{
    const struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    assert_int_equal(ioctl(t->control, TIOCSWINSZ, &size), 0);
}

/* Runs `phlox top` on a new terminal, with a value for LC_ALL and one for NO_COLOR (NULL: none). */
static void start(struct terminal *t, const char *root, const char *locale, const char *no_colour)
{
    memset(t, 0, sizeof *t);
    t->control = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(t->control >= 0 && grantpt(t->control) == 0 && unlockpt(t->control) == 0);
    t->line = open(ptsname(t->control), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(t->line >= 0);
    assert_int_equal(tcgetattr(t->line, &t->before), 0);
    set_size(t, 60, 20);
    t->program = fork();
    assert_true(t->program >= 0);
    if (t->program) return;
    setsid();
    ioctl(t->line, TIOCSCTTY, 0);
    for (int i = 0; i < 3; i++) dup2(t->line, i);
    setenv("TERM", "xterm", 1);
    setenv("LC_ALL", locale, 1);
    if (no_colour) setenv("NO_COLOR", no_colour, 1);
    else unsetenv("NO_COLOR");
    execl(PHLOX_PROGRAM, "phlox", "top", "--interval", "0.1", "--root", root, (char *)NULL);
    _exit(127);
}

/* Reads what the program writes until it has written `text`, behind what was read before. */
static void wait_for(struct terminal *t, const char *text)
{
    const size_t from = t->used;
    for (double end = px_seconds() + PATIENCE; !strstr(t->output + from, text);) {
        struct pollfd ready = {.fd = t->control, .events = POLLIN};
        if (px_seconds() > end || t->used == OUTPUT - 1) fail_msg("no \"%s\" in: %s", text, t->output);
        if (poll(&ready, 1, 100) <= 0) continue;
        const ssize_t got = read(t->control, t->output + t->used, OUTPUT - 1 - t->used);
        if (got > 0) t->used += (size_t)got;
    }
}

/* The program ends, with this code; the terminal is as it was. */
static void ends(struct terminal *t, int code)
{
    int status = -1;
    struct termios after;
    wait_for(t, leaves);
    assert_int_equal(waitpid(t->program, &status, 0), t->program);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
    assert_non_null(strstr(t->output, shows_cursor));
    assert_int_equal(tcgetattr(t->line, &after), 0);
    assert_int_equal(after.c_lflag, t->before.c_lflag);
    assert_memory_equal(after.c_cc, t->before.c_cc, sizeof after.c_cc);
    close(t->control);
    close(t->line);
}

static void write_machine(const char *root)
{
    sysfs_play(root, "meteor-lake-6.15", 0);
}

static struct terminal terminal;

static void draws_and_quits(void **state)
{
    struct terminal *const t = &terminal;
    write_machine(*state);
    start(t, *state, "C", "1");
    wait_for(t, enters);
    struct termios during;
    wait_for(t, "NPU");
    assert_int_equal(tcgetattr(t->line, &during), 0);
    assert_false(during.c_lflag & (ICANON | ECHO));
    wait_for(t, "____"); /* a history of four: nothing to do */
    wait_for(t, "GPU.0");
    assert_non_null(strstr(t->output, "Intel(R) Core(TM) Ultra 7 155H"));
    assert_null(strstr(t->output, "\033[3"));  /* colours */
    assert_null(strstr(t->output, "\xe2\x96")); /* blocks */
    assert_int_equal(write(t->control, "xq", 2), 2);
    ends(t, 0);
}

static void unicode_and_colours(void **state)
{
    struct terminal *const t = &terminal;
    write_machine(*state);
    start(t, *state, "C.UTF-8", NULL);
    wait_for(t, "\xe2\x96\x81\xe2\x96\x81\xe2\x96\x81");
    wait_for(t, "\033[32m");
    assert_int_equal(write(t->control, "Q", 1), 1);
    ends(t, 0);
}

static void interrupted(void **state)
{
    struct terminal *const t = &terminal;
    write_machine(*state);
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < PX_COUNT(signals); i++) {
        start(t, *state, "C", NULL);
        wait_for(t, "NPU");
        assert_int_equal(kill(t->program, signals[i]), 0);
        ends(t, 130);
    }
    start(t, *state, "C", NULL);
    wait_for(t, "NPU");
    assert_int_equal(write(t->control, "\x1a\x1c\x03", 3), 3); /* Ctrl-Z and Ctrl-\ do nothing, Ctrl-C */
    ends(t, 130);
}

/* The longest line of the last whole frame, without its escape sequences. */
static size_t widest_line(const char *output)
{
    size_t widest = 0, width = 0;
    const char *frame = output;
    for (const char *next = output; (next = strstr(next, "\033[H")) && strstr(next, "\033[J"); next++)
        frame = next;
    const char *const end = strstr(frame, "\033[J");
    for (; frame < end; frame++) {
        if (*frame == '\033') frame += strcspn(frame, "HJKmhl");
        else if (*frame == '\r' || *frame == '\n') width = 0;
        else if (++width > widest) widest = width;
    }
    return widest;
}

static void resized(void **state)
{
    struct terminal *const t = &terminal;
    write_machine(*state);
    start(t, *state, "C", "1");
    wait_for(t, "155H");
    wait_for(t, "\033[J");
    assert_int_equal(widest_line(t->output), 60);
    static const int sizes[][2] = {{30, 5}, {1, 1}, {200, 60}};
    for (size_t i = 0; i < PX_COUNT(sizes); i++) {
        set_size(t, sizes[i][0], sizes[i][1]);
        for (int frame = 0; frame < 3; frame++) wait_for(t, "\033[H");
        wait_for(t, "\033[J");
        assert_true(widest_line(t->output) <= (size_t)sizes[i][0]);
    }
    assert_int_equal(widest_line(t->output), 200);
    assert_int_equal(write(t->control, "q", 1), 1);
    ends(t, 0);
}

/* Whoever watched has closed the window. */
static void terminal_gone(void **state)
{
    struct terminal *const t = &terminal;
    write_machine(*state);
    start(t, *state, "C", NULL);
    wait_for(t, "NPU");
    close(t->line);
    close(t->control);
    int status = -1;
    assert_int_equal(waitpid(t->program, &status, 0), t->program);
    assert_true(WIFEXITED(status));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYSFS_TEST(draws_and_quits), SYSFS_TEST(unicode_and_colours), SYSFS_TEST(interrupted),
        SYSFS_TEST(resized),         SYSFS_TEST(terminal_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
