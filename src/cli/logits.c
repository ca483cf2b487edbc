#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* ---- .npy ---------------------------------------------------------------------------------- */

/* The header of a little-endian float32 array in C order, version 1.0 of numpy's format; padded so
 * that the data begins at a multiple of 64. rows 0: one dimension. Returns its size. */
static size_t npy_header(size_t rows, size_t columns, char *out, size_t size)
{
    char shape[64];
    if (rows) snprintf(shape, sizeof shape, "(%zu, %zu)", rows, columns);
    else snprintf(shape, sizeof shape, "(%zu,)", columns);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    const int used = snprintf(out + 10, size - 10,
                              "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", shape);
    const size_t end = (10 + (size_t)used + 1 + 63) / 64 * 64;
    memset(out + 10 + used, ' ', end - 10 - (size_t)used);
    out[end - 1] = '\n';
    out[8] = (char)((end - 10) & 0xff);
    out[9] = (char)((end - 10) >> 8);
    return end;
}

struct array {
    const float *data;
    size_t rows, columns;
};

static bool write_npy(FILE *file, const void *user)
{
    const struct array *const a = user;
    char header[192];
    const size_t header_size = npy_header(a->rows, a->columns, header, sizeof header);
    const size_t count = (a->rows ? a->rows : 1) * a->columns;
    return fwrite(header, 1, header_size, file) == header_size &&
           fwrite(a->data, sizeof *a->data, count, file) == count;
}

/* ---- the command --------------------------------------------------------------------------- */

/* all: [count, vocab], or NULL for the last position only. */
static phlox_status compute(phlox_session *session, const int32_t *ids, size_t count,
                            size_t prefill, size_t vocab, float *all, phlox_error *error)
{
    cli_progress_bar bar = {0};
    cli_cancels(session);
    phlox_status status = PHLOX_OK;
    for (size_t i = 0, size; i < count && status == PHLOX_OK; i += size) {
        size = i ? 1 : prefill;
        status = phlox_session_append(session, ids + i, size, all ? all + i * vocab : NULL,
                                      cli_progress, &bar, error);
    }
    cli_cancels(NULL);
    cli_progress_end(&bar);
    return status;
}

static int run(int argc, char **argv)
{
    const char *ids_text = NULL, *output = NULL, *prefill_text = NULL;
    bool want_all = false;
    const cli_flag flags[] = {
        {.option = {"ids", "1,2,3|@FILE", "token ids to compute"}, .value = &ids_text},
        {.option = {"prefill", "N", "the first N ids at once, the rest one by one"},
         .value = &prefill_text},
        {.option = {"all", NULL, "logits of every position, not only the last"},
         .is_given = &want_all},
        {.option = {"output", "OUT.npy", "where to write them; -: standard output"}, .letter = 'o', .value = &output},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_logits, argc, argv, flags, &args, &code)) return code;
    if (!ids_text || !output) return cli_usage("logits", "--ids and -o are needed");

    phlox_model *model = NULL;
    phlox_session *session = NULL;
    phlox_error error;
    int32_t *ids = NULL;
    float *all = NULL;
    size_t count = 0, prefill = 0, vocab = 0;
    phlox_status status = cli_read_ids(ids_text, &ids, &count, &error);
    if (status == PHLOX_OK) {
        prefill = count;
        if (prefill_text && !cli_number(prefill_text, 1, count, &prefill)) {
            free(ids);
            return cli_usage("logits", "--prefill %s: 1 to %zu is meant", prefill_text, count);
        }
        status = cli_open_model(args.positionals[0], &args.model, &model, &error);
    }
    if (status == PHLOX_OK) status = phlox_session_create(model, &session, &error);
    if (status == PHLOX_OK) {
        phlox_model_info info;
        phlox_model_get_info(model, &info);
        vocab = (size_t)info.vocab_size;
        all = want_all ? calloc(count, vocab * sizeof *all) : NULL;
        if (want_all && !all) {
            fprintf(stderr, "phlox: no memory for the logits of %zu tokens\n", count);
            status = PHLOX_ERROR_MEMORY;
            code = EXIT_FAILED;
        } else {
            status = compute(session, ids, count, prefill, vocab, all, &error);
            code = status == PHLOX_OK ? EXIT_OK : cli_fail(&error);
        }
    } else {
        code = cli_fail(&error);
    }
    if (status == PHLOX_OK) {
        const struct array array = {all ? all : phlox_session_logits(session), all ? count : 0, vocab};
        code = cli_write_file(output, write_npy, &array);
    }
    free(all);
    free(ids);
    phlox_session_close(&session);
    phlox_model_close(&model);
    return code;
}

const cli_command cli_logits = {
    "logits",
    "MODEL --ids 1,2,3|@FILE -o OUT.npy",
    "logits of token ids as a NumPy file",
    "Writes float32 [vocab] of the last position, or [tokens, vocab] with --all.",
    1, 1, true, false, run,
};
