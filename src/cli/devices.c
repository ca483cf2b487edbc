#include "cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

static const char *const kinds[] = {[PHLOX_UNIT_CPU] = "CPU", [PHLOX_UNIT_GPU] = "GPU",
                                    [PHLOX_UNIT_NPU] = "NPU"};

/* ---- a paragraph for each unit ------------------------------------------------------------- */

static void print_memory(const phlox_unit *unit)
{
    char own[16], shared[16];
    if (unit->kind == PHLOX_UNIT_CPU) {
        if (unit->memory) printf("       memory  %s\n", cli_bytes(unit->memory, own));
    } else if (unit->memory) {
        printf("       memory  %s%s", unit->memory_is_least ? "at least " : "", cli_bytes(unit->memory, own));
        if (unit->memory_is_least) printf(" (what the bus shows of it)");
        if (unit->shared_memory) printf(", and %s of the machine's", cli_bytes(unit->shared_memory, shared));
        putchar('\n');
    } else if (unit->is_integrated) {
        puts("       memory  the machine's");
    }
}

static void print_cpu(const phlox_unit *unit)
{
    if (unit->cores) {
        printf("       cores   %d, hardware threads %d", unit->cores, unit->threads);
        if (unit->numa_nodes > 1) printf(", NUMA nodes %d", unit->numa_nodes);
        putchar('\n');
    }
    fputs("       has    ", stdout);
    for (uint64_t bit = 1; bit; bit <<= 1) {
        const char *const name = unit->cpu_features & bit ? phlox_cpu_feature_name(bit) : NULL;
        if (name) printf(" %s", name);
    }
    puts(unit->cpu_features ? "" : " none of the instruction sets that phlox has kernels for");
}

static void print_driver(const phlox_unit *unit)
{
    printf("       driver  %s", unit->driver[0] ? unit->driver : "none");
    if (unit->driver_version[0]) printf(" %s", unit->driver_version);
    if (unit->firmware[0]) printf(", firmware %s", unit->firmware);
    if (unit->node[0]) printf(", %s", unit->node);
    if (unit->pci[0]) printf(", PCI %s", unit->pci);
    putchar('\n');
}

static void print_runtime(const phlox_unit_runtime *runtime)
{
    printf("  %-3s  %s", runtime->is_usable ? "ok" : "no", runtime->title);
    if (runtime->is_usable) printf(": --device %s", runtime->device);
    putchar('\n');
    for (size_t i = 0; i < runtime->problem_count; i++)
        printf("         %s\n         -> %s\n", runtime->problems[i].reason, runtime->problems[i].remedy);
}

static bool print_unit(void *user, const phlox_unit *unit)
{
    size_t *const count = user;
    printf("%s%s  %s", (*count)++ ? "\n" : "", kinds[unit->kind], unit->name[0] ? unit->name : "unknown");
    if (!strstr(unit->name, unit->generation)) printf(", %s", unit->generation);
    putchar('\n');
    if (unit->kind == PHLOX_UNIT_CPU) print_cpu(unit);
    else print_driver(unit);
    print_memory(unit);
    if (unit->note[0]) printf("       note    %s\n", unit->note);
    for (size_t i = 0; i < unit->runtime_count; i++) print_runtime(&unit->runtimes[i]);
    return true;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static json_t *features_of(const phlox_unit *unit)
{
    json_t *const features = json_array();
    for (uint64_t bit = 1; bit; bit <<= 1) {
        const char *const name = unit->cpu_features & bit ? phlox_cpu_feature_name(bit) : NULL;
        if (name) json_array_append_new(features, json_string(name));
    }
    return features;
}

static json_t *runtimes_of(const phlox_unit *unit)
{
    json_t *const runtimes = json_array();
    for (size_t i = 0; i < unit->runtime_count; i++) {
        const phlox_unit_runtime *const runtime = &unit->runtimes[i];
        json_t *const problems = json_array();
        for (size_t j = 0; j < runtime->problem_count; j++)
            json_array_append_new(problems, json_pack("{s:s, s:s}", "reason", runtime->problems[j].reason,
                                                      "remedy", runtime->problems[j].remedy));
        json_array_append_new(
            runtimes, json_pack("{s:s, s:s, s:b, s:b, s:b, s:o}", "title", runtime->title, "device",
                                runtime->device, "installed", runtime->is_installed, "listed",
                                runtime->is_listed, "usable", runtime->is_usable, "problems", problems));
    }
    return runtimes;
}

static bool add_unit(void *user, const phlox_unit *unit)
{
    json_t *const json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "kind", kinds[unit->kind], "device",
        unit->device, "vendor", unit->vendor, "name", unit->name, "generation", unit->generation, "pci",
        unit->pci, "driver", unit->driver, "driver_version", unit->driver_version, "firmware",
        unit->firmware, "node", unit->node, "note", unit->note);
    json_object_set_new(json, "may_open", json_boolean(unit->may_open));
    json_object_set_new(json, "integrated", json_boolean(unit->is_integrated));
    json_object_set_new(json, "memory_bytes", json_integer((json_int_t)unit->memory));
    json_object_set_new(json, "memory_is_least", json_boolean(unit->memory_is_least));
    json_object_set_new(json, "shared_memory_bytes", json_integer((json_int_t)unit->shared_memory));
    if (unit->kind == PHLOX_UNIT_CPU) {
        json_object_set_new(json, "cores", json_integer(unit->cores));
        json_object_set_new(json, "threads", json_integer(unit->threads));
        json_object_set_new(json, "numa_nodes", json_integer(unit->numa_nodes));
        json_object_set_new(json, "features", features_of(unit));
    }
    json_object_set_new(json, "runtimes", runtimes_of(unit));
    json_array_append_new(user, json);
    return true;
}

static phlox_status print_json(const char *root, const phlox_model_options *options, phlox_error *error)
{
    json_t *const units = json_array();
    const phlox_status status = phlox_devices_list(root, options, add_unit, units, error);
    if (status == PHLOX_OK) {
        json_t *const json = json_pack("{s:O}", "units", units);
        json_dumpf(json, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(json);
    }
    json_decref(units);
    return status;
}

static int run(int argc, char **argv)
{
    const char *root = NULL, *openvino = NULL, *ort = NULL;
    bool as_json = false;
    const cli_flag flags[] = {
        {.option = {"json", NULL, "one JSON object"}, .is_given = &as_json},
        {.option = {"root", "DIR", "another machine, whose sys, proc, dev and etc are copied there"},
         .value = &root},
        {.option = {"openvino-library", "PATH", "libopenvino_c or its directory (default: found)"},
         .value = &openvino},
        {.option = {"ort-library", "PATH", "libonnxruntime-genai or its directory (default: found)"},
         .value = &ort},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_devices, argc, argv, flags, &args, &code)) return code;
    if (root && !cli_exists(root)) return cli_usage("devices", "--root %s: there is no such directory", root);
    args.model.openvino_library = openvino;
    args.model.ort_library = ort;
    phlox_error error;
    size_t count = 0;
    const phlox_status status = as_json ? print_json(root, &args.model, &error)
                                        : phlox_devices_list(root, &args.model, print_unit, &count, &error);
    return status == PHLOX_OK ? EXIT_OK : cli_fail(&error);
}

const cli_command cli_devices = {
    "devices",
    "",
    "the CPU, GPUs and NPUs, what can drive them, and what is missing",
    "A paragraph for each unit: what it is, then a line for each runtime that can drive it. A runtime\n"
    "that cannot is followed by what is missing and, behind ->, what mends it.",
    0, 0, false, false, run,
};
