/* What the commands share: arguments, messages, progress, interruption. One file a command; each
 * uses the public headers only. */
#ifndef PX_CLI_CLI_H
#define PX_CLI_CLI_H

#include <phlox/devices.h>

#include <stdio.h>

/* Exit codes; docs/phlox.1 lists them. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* ---- arguments ----------------------------------------------------------------------------- */

enum { MOST_POSITIONALS = 2, MOST_SETTINGS = 64 };

/* A flag of one command, beside the option tables of the library. Exactly one target is set. */
typedef struct cli_flag {
    phlox_option option;
    char letter;        /* also -x; 0: none */
    bool *is_given;     /* a switch */
    const char **value; /* takes a value */
    const char ***list; /* may be given often; the caller frees the list */
    size_t *list_count;
} cli_flag;

typedef struct cli_args {
    const char *positionals[MOST_POSITIONALS];
    int count;
    phlox_model_options model;
    struct {
        const char *name, *value;
    } generate[MOST_SETTINGS]; /* to apply over the model's defaults */
    int generate_count;
} cli_args;

typedef struct cli_command {
    const char *name;
    const char *positionals; /* for the usage line */
    const char *summary;     /* one line for the list of commands */
    const char *text;        /* more, for its own help; NULL: none */
    int least, most;         /* positionals */
    bool takes_model, takes_generate; /* which option tables apply */
    int (*run)(int argc, char **argv);
} cli_command;

extern const cli_command cli_run, cli_info, cli_tokenize, cli_detokenize, cli_logits,
    cli_perplexity, cli_compare, cli_bench, cli_export, cli_cache, cli_runtime,
    cli_verify, cli_advise, cli_devices, cli_doctor, cli_top, cli_version, cli_help;

/* All commands, ending with NULL. */
extern const cli_command *const cli_commands[];

/* Parses argv (from the command's name on). Returns false after an error or after printing help;
 * *code is then the exit code. `flags` ends with an entry whose name is NULL. */
bool cli_parse(const cli_command *command, int argc, char **argv, const cli_flag *flags,
               cli_args *args, int *code);
void cli_print_help(const cli_command *command, const cli_flag *flags, FILE *out);

/* ---- messages ------------------------------------------------------------------------------ */

/* Describes the lack of memory for `bytes` in `error`; PHLOX_ERROR_MEMORY. */
phlox_status cli_no_memory(size_t bytes, phlox_error *error);
/* Prints "phlox: message" and returns the exit code of the error. */
int cli_fail(const phlox_error *error);
/* A wrong use of the command: prints the sentence and how to get help; EXIT_USAGE. */
int cli_usage(const char *command, const char *format, ...);
/* Ends standard output: EXIT_FAILED with a message when something could not be written. */
int cli_finish(int code);
/* Reads a decimal number from least to most and nothing else. */
bool cli_number(const char *text, size_t least, size_t most, size_t *out);
/* 1234567890 as "1.23 GB"; text: [16] */
const char *cli_bytes(uint64_t bytes, char *text);
/* ", 2 threads", or nothing where threads are the runtime's own affair (0); text: [32] */
const char *cli_threads(int threads, char *text);

/* ---- input --------------------------------------------------------------------------------- */

/* Opens the model of a positional or -m; NULL and "built-in" are the built-in model, unless a file
 * of that name exists. Shows progress; interruptible. */
phlox_status cli_open_model(const char *path, phlox_model_options *options, phlox_model **out,
                            phlox_error *error);
bool cli_exists(const char *path);
/* Whether `path` is there and is a device, a pipe or a link: written in place, never replaced. */
bool cli_is_special(const char *path);
/* Reads a file, "-" being standard input, byte for byte. free(out->data). */
phlox_status cli_read(const char *path, phlox_text *out, phlox_error *error);
/* Reads "1,2,3" or "@FILE" (separated by commas or blanks). free(*ids). */
phlox_status cli_read_ids(const char *text, int32_t **ids, size_t *count, phlox_error *error);

/* Ids of a text, in memory that the caller frees. */
phlox_status cli_tokenize_text(const phlox_model *model, phlox_text text, unsigned flags,
                               int32_t **ids, size_t *count, phlox_error *error);

/* ---- output -------------------------------------------------------------------------------- */

/* Writes the content of a file; false on failure, with errno set. */
typedef bool cli_write_fn(FILE *file, const void *user);

/* Writes a file under a temporary name first, so that it is whole or not there; "-" is standard
 * output. Prints why it failed; returns the exit code. */
int cli_write_file(const char *path, cli_write_fn *write, const void *user);

/* ---- terminal and interruption ------------------------------------------------------------- */

bool cli_is_terminal(FILE *stream);
double cli_seconds(void);
/* From here on the first SIGINT, SIGTERM or SIGHUP cancels, the second ends the process. */
void cli_catch_interrupts(void);
bool cli_interrupted(void);
/* The session that an interruption cancels; NULL: none. */
void cli_cancels(phlox_session *session);

/* Waits; false once interrupted. */
bool cli_sleep(double seconds);
/* Whether standard output takes UTF-8, and whether colours are wanted (NO_COLOR, TERM=dumb). */
bool cli_is_utf8(void);
bool cli_has_colour(void);

/* Takes the whole screen of the terminal on standard output, until cli_screen_end() or a signal that ends
 * the process; false when it is none, or one that cannot place the cursor. */
bool cli_screen_begin(void);
void cli_screen_end(void);
void cli_screen_size(int *columns, int *rows);
/* Waits for a key: its character; 0 when the time is over, the size has changed or there was an
 * interruption. */
int cli_screen_key(double seconds);

/* A progress bar on standard error, if it is a terminal, for what takes over a second. `user` is a
 * cli_progress_bar that starts as {0}. Returns false once interrupted. */
typedef struct cli_progress_bar {
    double start, drawn;
    const char *what;
    bool is_shown;
} cli_progress_bar;
bool cli_progress(void *user, const phlox_progress *progress);
/* Clears what is shown. */
void cli_progress_end(cli_progress_bar *bar);

#endif
