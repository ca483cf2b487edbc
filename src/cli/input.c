#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static phlox_status fail(phlox_error *error, phlox_status code, const char *what, const char *why)
{
    error->code = code;
    error->trace[0] = 0;
    snprintf(error->message, sizeof error->message, "%s: %s", what, why);
    return code;
}

phlox_status cli_open_model(const char *path, phlox_model_options *options, phlox_model **out,
                            phlox_error *error)
{
    if (path && !*path) return fail(error, PHLOX_ERROR_ARGUMENT, "MODEL", "the path is empty");
    const bool built_in = !path || (strcmp(path, "built-in") == 0 && !cli_exists(path));
    cli_progress_bar bar = {0};
    options->progress = cli_progress;
    options->progress_user = &bar;
    const phlox_status status = phlox_model_open(built_in ? NULL : path, options, out, error);
    cli_progress_end(&bar);
    return status;
}

phlox_status cli_read(const char *path, phlox_text *out, phlox_error *error)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    const char *const name = is_stdin ? "standard input" : path;
    FILE *const file = is_stdin ? stdin : fopen(path, "rb");
    if (!file) return fail(error, PHLOX_ERROR_IO, path, strerror(errno));
    char *data = NULL;
    size_t size = 0, capacity = 0, got;
    do {
        if (capacity - size < 4096) {
            capacity = capacity * 2 + 65536;
            char *const grown = realloc(data, capacity);
            if (!grown) {
                free(data);
                if (!is_stdin) fclose(file);
                return fail(error, PHLOX_ERROR_MEMORY, name, "no memory to read it");
            }
            data = grown;
        }
        errno = 0;
        got = fread(data + size, 1, capacity - size, file);
        size += got;
    } while (got && !cli_interrupted());
    const bool failed = ferror(file) && !cli_interrupted();
    const int code = errno;
    if (!is_stdin) fclose(file);
    if (failed || cli_interrupted()) {
        free(data);
        return cli_interrupted() ? fail(error, PHLOX_ERROR_CANCELLED, name, "interrupted")
                                 : fail(error, PHLOX_ERROR_IO, name, strerror(code));
    }
    *out = (phlox_text){data, size};
    return PHLOX_OK;
}

static phlox_status parse_ids(phlox_text text, int32_t **ids, size_t *count, phlox_error *error)
{
    int32_t *const found = malloc((text.size / 2 + 1) * sizeof *found);
    if (!found) return fail(error, PHLOX_ERROR_MEMORY, "ids", "no memory");
    size_t n = 0, i = 0;
    while (i < text.size) {
        const size_t begin = i;
        int64_t value = 0;
        while (i < text.size && text.data[i] >= '0' && text.data[i] <= '9' && value <= INT32_MAX)
            value = value * 10 + (text.data[i++] - '0');
        const bool ends =
            i == text.size || (text.data[i] && strchr(", \t\r\n[]", text.data[i]) != NULL);
        if (!ends || value > INT32_MAX) {
            char place[64];
            snprintf(place, sizeof place, "ids: byte %zu", value > INT32_MAX ? begin : i);
            free(found);
            return fail(error, PHLOX_ERROR_ARGUMENT, place,
                        value > INT32_MAX ? "a number this large is not a token id"
                                          : "numbers separated by commas or blanks are meant");
        }
        if (i > begin) found[n++] = (int32_t)value;
        i++;
    }
    if (!n) {
        free(found);
        return fail(error, PHLOX_ERROR_ARGUMENT, "ids", "there are none");
    }
    *ids = found;
    *count = n;
    return PHLOX_OK;
}

phlox_status cli_read_ids(const char *text, int32_t **ids, size_t *count, phlox_error *error)
{
    if (text[0] != '@') return parse_ids(phlox_text_of(text), ids, count, error);
    phlox_text file;
    phlox_status status = cli_read(text + 1, &file, error);
    if (status != PHLOX_OK) return status;
    status = parse_ids(file, ids, count, error);
    free((void *)(uintptr_t)file.data);
    return status;
}

phlox_status cli_tokenize_text(const phlox_model *model, phlox_text text, unsigned flags,
                               int32_t **ids, size_t *count, phlox_error *error)
{
    phlox_status status = phlox_tokenize(model, text, flags, NULL, 0, count, error);
    if (status != PHLOX_OK) return status;
    *ids = malloc((*count + 1) * sizeof **ids);
    if (!*ids) return fail(error, PHLOX_ERROR_MEMORY, "ids", "no memory");
    return phlox_tokenize(model, text, flags, *ids, *count, count, error);
}
