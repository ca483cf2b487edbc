#include "cli.h"

#include <jansson.h>
#include <string.h>

struct verifying {
    bool as_json;
    int tried, failed;
    json_t *list;
};

static void print_trial(const phlox_trial *trial)
{
    printf("%-14s %-5s %s%s%s\n", trial->device, trial->problem[0] ? "NO" : "right",
           trial->name[0] ? trial->name : trial->kind, trial->runtime[0] ? ", " : "", trial->runtime);
    if (trial->problem[0]) {
        printf("%20s %s\n", "", trial->problem);
        return;
    }
    printf("%20s the known answer within %.2g nats, logits within %.2g; reads %.1f GB/s of int4 weights, "
           "%.2f ms a layer beside that; prompts %.0f G weights x tokens a second", "", trial->kl,
           trial->difference, trial->read_rate * 1e-9, trial->layer_seconds * 1e3,
           trial->prompt_rate * 1e-9);
    if (trial->watts > 0) printf("; %.1f W", trial->watts);
    putchar('\n');
}

static json_t *trial_json(const phlox_trial *trial)
{
    json_t *const json = json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:f, s:f, s:s}", "device", trial->device, "kind", trial->kind, "name",
        trial->name, "runtime", trial->runtime, "right", trial->is_right && !trial->problem[0],
        "kl_nats", trial->kl, "logit_difference", trial->difference, "problem", trial->problem);
    if (!json || trial->read_rate <= 0) return json;
    json_object_set_new(json, "read_bytes_per_second", json_real(trial->read_rate));
    json_object_set_new(json, "layer_seconds", json_real(trial->layer_seconds));
    json_object_set_new(json, "prompt_weights_per_second", json_real(trial->prompt_rate));
    if (trial->watts > 0) json_object_set_new(json, "watts", json_real(trial->watts));
    return json;
}

static bool on_trial(void *user, const phlox_trial *trial)
{
    struct verifying *const verifying = user;
    if (cli_interrupted()) return false; /* what it says is that it was */
    verifying->tried++;
    verifying->failed += trial->problem[0] != 0;
    if (verifying->as_json) json_array_append_new(verifying->list, trial_json(trial));
    else print_trial(trial);
    return !cli_interrupted();
}

static int run(int argc, char **argv)
{
    struct verifying verifying = {.as_json = false};
    const cli_flag flags[] = {
        {.option = {"json", NULL, "one JSON array"}, .is_given = &verifying.as_json},
        {.option = {NULL, NULL, NULL}},
    };
    cli_args args;
    int code;
    if (!cli_parse(&cli_verify, argc, argv, flags, &args, &code)) return code;
    const char *const device = args.count ? args.positionals[0] : args.model.device;
    cli_progress_bar bar = {0};
    phlox_error error;
    args.model.progress = cli_progress;
    args.model.progress_user = &bar;
    verifying.list = json_array();
    const phlox_status status = phlox_verify(device, &args.model, on_trial, &verifying, &error);
    cli_progress_end(&bar);
    if (status == PHLOX_OK && verifying.as_json) {
        json_dumpf(verifying.list, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(verifying.list);
    if (status != PHLOX_OK) return cli_fail(&error);
    if (cli_interrupted()) return EXIT_INTERRUPTED;
    if (verifying.failed)
        fprintf(stderr, "phlox: %d of %d devices cannot be used\n", verifying.failed, verifying.tried);
    return verifying.failed ? EXIT_FAILED : EXIT_OK;
}

const cli_command cli_verify = {
    "verify",
    "[DEVICE]",
    "whether devices give the right answer, and how fast they are",
    "A small model whose answer is known runs on DEVICE, or on every unit that phlox can drive here; then two\n"
    "layers as large as Phi-3-mini's are measured. Ends with 1 when a device is wrong or fails.",
    0, 1, true, false, run,
};
