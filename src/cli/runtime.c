#include "cli.h"

#include <jansson.h>
#include <string.h>

/* ---- list ---------------------------------------------------------------------------------- */

static bool print_runtime(void *user, const phlox_runtime *runtime)
{
    char bytes[16];
    printf("%c %-18s %-10s %s", runtime->is_used ? '*' : ' ', runtime->name,
           runtime->version[0] ? runtime->version : "?", runtime->origin);
    if (runtime->package[0] && strcmp(runtime->package, runtime->name) != 0)
        printf(", package %s", runtime->package);
    if (runtime->onnxruntime_version[0]) printf(", ONNX Runtime %s", runtime->onnxruntime_version);
    else if (strcmp(runtime->name, "openvino") != 0) fputs(", no ONNX Runtime beside it", stdout);
    if (runtime->bytes) printf(", %s", cli_bytes(runtime->bytes, bytes));
    printf("\n  %s\n", runtime->library);
    ++*(size_t *)user;
    return true;
}

/* Text that is not UTF-8, as a path may be, becomes null. */
static void set_text(json_t *object, const char *key, const char *text)
{
    json_t *const string = json_string(text);
    json_object_set_new(object, key, string ? string : json_null());
}

static bool add_runtime(void *user, const phlox_runtime *runtime)
{
    json_t *const json = json_object();
    set_text(json, "name", runtime->name);
    set_text(json, "package", runtime->package);
    set_text(json, "version", runtime->version);
    set_text(json, "origin", runtime->origin);
    set_text(json, "library", runtime->library);
    if (runtime->onnxruntime[0]) {
        set_text(json, "onnxruntime", runtime->onnxruntime);
        set_text(json, "onnxruntime_version", runtime->onnxruntime_version);
    }
    if (runtime->bytes) json_object_set_new(json, "bytes", json_integer((json_int_t)runtime->bytes));
    json_object_set_new(json, "used", json_boolean(runtime->is_used));
    json_array_append_new(user, json);
    return true;
}

static phlox_status list(const char *name, bool as_json, phlox_error *error)
{
    if (as_json) {
        json_t *const all = json_array();
        const phlox_status status = phlox_runtime_list(name, add_runtime, all, error);
        if (status == PHLOX_OK) {
            json_dumpf(all, stdout, JSON_INDENT(2));
            putchar('\n');
        }
        json_decref(all);
        return status;
    }
    size_t count = 0;
    const phlox_status status = phlox_runtime_list(name, print_runtime, &count, error);
    if (status == PHLOX_OK && !count)
        printf("none is installed; phlox runtime add %s installs one\n", name ? name : "openvino");
    return status;
}

/* ---- add, rm ------------------------------------------------------------------------------- */

static phlox_status add(const char *name, const phlox_runtime_options *given, phlox_error *error)
{
    cli_progress_bar bar = {0};
    phlox_runtime_options options = *given;
    phlox_runtime_result result;
    char downloaded[16], installed[16];
    options.progress = cli_progress;
    options.progress_user = &bar;
    const phlox_status status = phlox_runtime_add(name, &options, &result, error);
    cli_progress_end(&bar);
    if (status != PHLOX_OK) return status;
    const int length = (int)strcspn(name, "=");
    if (result.was_there)
        printf("%.*s %s is there already: %s\n", length, name, result.version, result.directory);
    else
        printf("%.*s %s: %s downloaded and checked, %s unpacked to %s\n", length, name, result.version,
               cli_bytes(result.downloaded, downloaded), cli_bytes(result.installed, installed),
               result.directory);
    return status;
}

static phlox_status rm(const char *name, phlox_error *error)
{
    size_t removed = 0;
    const phlox_status status = phlox_runtime_remove(name, &removed, error);
    if (status == PHLOX_OK) printf("%zu removed\n", removed);
    return status;
}

static int run(int argc, char **argv)
{
    phlox_runtime_options options;
    phlox_runtime_options_init(&options);
    bool as_json = false;
    const cli_flag flags[] = {
        {.option = {"version", "VERSION", "add: this one (default: the newest final one)"},
         .value = &options.version},
        {.option = {"index-url", "URL", "add: a package index (default: $PIP_INDEX_URL or\n"
                    "                                      https://pypi.org/simple)"},
         .value = &options.index_url},
        {.option = {"offline", NULL, "add: no connection; only an index of files, file:///..."},
         .is_given = &options.offline},
        {.option = {"json", NULL, "list: an array with an object for each runtime"},
         .is_given = &as_json},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_runtime, argc, argv, flags, &args, &code)) return code;
    const char *const action = args.positionals[0];
    const char *const name = args.count > 1 ? args.positionals[1] : NULL;
    const bool lists = strcmp(action, "list") == 0, adds = strcmp(action, "add") == 0;
    phlox_error error;
    phlox_status status;
    if (!lists && !adds && strcmp(action, "rm") != 0)
        return cli_usage("runtime", "%s is none of list, add and rm", action);
    if (!lists && (!name || as_json))
        return cli_usage("runtime", name ? "%s takes no --json" : "%s takes the NAME of a runtime", action);
    if (!adds && (options.version || options.index_url || options.offline))
        return cli_usage("runtime", "%s takes neither --version nor --index-url nor --offline", action);
    if (lists) status = list(name, as_json, &error);
    else if (adds) status = add(name, &options, &error);
    else status = rm(name, &error);
    return status == PHLOX_OK ? EXIT_OK : cli_fail(&error);
}

const cli_command cli_runtime = {
    "runtime",
    "list|add|rm [NAME[==VERSION]]",
    "OpenVINO and ONNX Runtime, which drive GPUs and NPUs",
    "list shows those that the machine has, in phlox's folder, the active Python environment and the\n"
    "system; a star marks the one that phlox takes. add downloads openvino, onnxruntime-genai or\n"
    "onnxruntime-genai-cuda from a Python package index, checks its hash and unpacks its libraries\n"
    "into ~/.local/share/phlox/runtimes; no Python is needed. rm removes what add installed.",
    1, 2, false, false, run,
};
