#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool write_to(FILE *file, cli_write_fn *write, const void *user)
{
    return write(file, user) && fflush(file) == 0;
}

static bool write_file(const char *path, const char *mode, cli_write_fn *write, const void *user)
{
    FILE *const file = fopen(path, mode);
    if (!file) return false;
    const bool good = write_to(file, write, user);
    const int code = errno;
    if (fclose(file) != 0) return false;
    errno = code;
    return good;
}

int cli_write_file(const char *path, cli_write_fn *write, const void *user)
{
    const bool is_stdout = strcmp(path, "-") == 0;
    const size_t length = strlen(path) + 16;
    char *const temporary = malloc(length);
    bool good = temporary != NULL;
    if (good && is_stdout) {
        good = write_to(stdout, write, user);
    } else if (good && cli_is_special(path)) {
        good = write_file(path, "wb", write, user);
    } else if (good) {
        snprintf(temporary, length, "%s.partial", path);
        good = write_file(temporary, "wbx", write, user) && rename(temporary, path) == 0;
        if (!good && errno != EEXIST) { /* somebody else's file of that name stays */
            const int code = errno;
            remove(temporary);
            errno = code;
        }
    }
    if (!good && !is_stdout) /* cli_finish() tells of standard output */
        fprintf(stderr, "phlox: %s%s: cannot write: %s\n", path,
                errno == EEXIST ? ".partial" : "", strerror(errno));
    free(temporary);
    return good ? EXIT_OK : EXIT_FAILED;
}
