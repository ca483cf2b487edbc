/* Units, power and the report through the public functions, and runtimes that fail or do not answer. */
#include "support.h"

#include "api/devices.h"
#include "device/tree.h"

#include <phlox/devices.h>

/* ---- runtimes ------------------------------------------------------------------------------ */

static phlox_status list_one(const phlox_model_options *user, px_units *out, phlox_error *error)
{
    (void)error;
    *out = (px_units){.version = "1.2", .count = 1, .units = {{.unit = "NPU", .kind = PX_UNIT_NPU}}};
    snprintf(out->library, sizeof out->library, "%s", user->openvino_library);
    return PHLOX_OK;
}

static phlox_status list_nothing(const phlox_model_options *user, px_units *out, phlox_error *error)
{
    (void)user;
    (void)out;
    return px_fail(error, PHLOX_ERROR_DEVICE, "libwrong.so has no ov_core_create");
}

/* The test's way to tell a runtime that hangs to go on. */
static px_monitor *gate;
static bool is_open, is_through, has_options;

static phlox_status list_never(const phlox_model_options *user, px_units *out, phlox_error *error)
{
    (void)out;
    (void)error;
    px_monitor_lock(gate);
    while (!is_open) px_monitor_wait(gate);
    has_options = user->ort_library && strcmp(user->ort_library, "/x") == 0;
    is_through = true;
    px_monitor_wake_all(gate);
    px_monitor_unlock(gate);
    return PHLOX_OK;
}

static void asked_runtimes(void **state)
{
    (void)state;
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.openvino_library = "/some/where";
    px_runtime_seen *const seen = calloc(1, sizeof *seen);
    assert_non_null(seen);
    const px_device works = {.name = "openvino", .runtime = "openvino", .list = list_one};
    px_runtime_ask(&works, &options, 60, seen);
    assert_true(seen->was_asked);
    assert_int_equal(seen->status, PHLOX_OK);
    assert_int_equal(seen->units.count, 1);
    assert_string_equal(seen->units.library, "/some/where");
    const px_device fails = {.name = "openvino", .runtime = "openvino", .list = list_nothing};
    px_runtime_ask(&fails, &options, 60, seen);
    assert_int_equal(seen->status, PHLOX_ERROR_DEVICE);
    assert_string_equal(seen->message, "libwrong.so has no ov_core_create");
    free(seen);
}

static void a_runtime_hangs(void **state)
{
    (void)state;
    gate = px_monitor_create();
    assert_non_null(gate);
    phlox_model_options options;
    phlox_model_options_init(&options);
    char library[] = "/x";
    options.ort_library = library;
    px_runtime_seen *const seen = calloc(1, sizeof *seen);
    assert_non_null(seen);
    const px_device hangs = {.name = "ort", .runtime = "onnxruntime-genai", .list = list_never};
    px_runtime_ask(&hangs, &options, 0.05, seen);
    assert_int_equal(seen->status, PHLOX_ERROR_DEVICE);
    assert_non_null(strstr(seen->message, "it has not answered"));
    assert_true(seen->has_hung);
    memset(library, 'y', strlen(library));
    free(seen);
    px_monitor_lock(gate);
    is_open = true;
    px_monitor_wake_all(gate);
    while (!is_through) px_monitor_wait(gate);
    px_monitor_unlock(gate);
    px_monitor_free(gate);
    assert_true(has_options); /* of its own, whatever became of the caller's */
}

/* ---- the list ------------------------------------------------------------------------------ */

struct seen_units {
    size_t count, most;
    phlox_unit_kind kinds[8];
    char names[8][64];
    char cpu_device[32];
};

static bool keep_unit(void *user, const phlox_unit *unit)
{
    struct seen_units *const seen = user;
    seen->kinds[seen->count] = unit->kind;
    snprintf(seen->names[seen->count++], sizeof seen->names[0], "%s", unit->name);
    if (unit->kind == PHLOX_UNIT_CPU)
        snprintf(seen->cpu_device, sizeof seen->cpu_device, "%s", unit->device);
    assert_true(unit->runtime_count > 0);
    for (size_t i = 0; i < unit->runtime_count; i++) {
        const phlox_unit_runtime *const runtime = &unit->runtimes[i];
        assert_true(runtime->is_usable == !runtime->problem_count);
        for (size_t j = 0; j < runtime->problem_count; j++)
            assert_true(runtime->problems[j].reason[0] && runtime->problems[j].remedy[0]);
    }
    return seen->count < seen->most;
}

static void lists_units(void **state)
{
    (void)state;
    char root[TEST_PATH];
    phlox_error error;
    struct seen_units seen = {.most = 8};
    tree_unpack("meteor-lake", root);
    MUST(phlox_devices_list(root, NULL, keep_unit, &seen, &error));
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.kinds[1], PHLOX_UNIT_GPU);
    assert_int_equal(seen.kinds[2], PHLOX_UNIT_NPU);
    assert_string_equal(seen.names[2], "Meteor Lake NPU");
    assert_string_equal(seen.cpu_device, "cpu");
    seen = (struct seen_units){.most = 1};
    MUST(phlox_devices_list(root, NULL, keep_unit, &seen, &error));
    assert_int_equal(seen.count, 1);
    phlox_power power;
    phlox_power_state(root, &power);
    assert_int_equal(power.source, PHLOX_POWER_BATTERY);
    assert_true(power.percent == 71);
    assert_string_equal(power.profile, "balanced");
    assert_string_equal(power.preference, "balance_performance");
    test_remove(root);
    /* This machine, whatever it is, has a CPU. */
    seen = (struct seen_units){.most = 1};
    MUST(phlox_devices_list(NULL, NULL, keep_unit, &seen, &error));
    assert_int_equal(seen.kinds[0], PHLOX_UNIT_CPU);
    assert_string_equal(seen.cpu_device, "cpu");
    phlox_power_state(NULL, &power);
    assert_true(power.percent >= -1 && power.percent <= 100);
}

/* ---- the report ---------------------------------------------------------------------------- */

struct report {
    size_t count, problems;
    bool is_fatal;
    char wanted[64], value[512], remedy[512], source[16]; /* of the first line of that name */
    phlox_verdict verdict;
};

static bool keep_check(void *user, const phlox_check *check)
{
    struct report *const report = user;
    report->count++;
    report->problems += check->verdict == PHLOX_VERDICT_PROBLEM;
    report->is_fatal |= check->is_fatal;
    assert_true(check->section[0] && check->name[0]);
    if (strcmp(check->name, report->wanted) != 0 || report->value[0]) return true;
    snprintf(report->value, sizeof report->value, "%s", check->value);
    snprintf(report->remedy, sizeof report->remedy, "%s", check->remedy);
    snprintf(report->source, sizeof report->source, "%s", check->source);
    report->verdict = check->verdict;
    return true;
}

static struct report ask_doctor(const char *root, const phlox_model_options *options, const char *name)
{
    struct report report = {.count = 0};
    phlox_error error;
    snprintf(report.wanted, sizeof report.wanted, "%s", name);
    MUST(phlox_doctor(root, options, keep_check, &report, &error));
    return report;
}

static void reports(void **state)
{
    (void)state;
    char root[TEST_PATH], path[TEST_PATH];
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.threads = 3;
    options.ov_config[options.ov_config_count++] = "A=1";
    options.ov_config[options.ov_config_count++] = "B=2";
    options.cpu_mask = PHLOX_CPU_AVX_VNNI;
    tree_unpack("meteor-lake", root);
    struct report report = ask_doctor(root, &options, "supply");
    assert_string_equal(report.value, "battery, at 71 %");
    assert_int_equal(report.verdict, PHLOX_VERDICT_NOTE);
    report = ask_doctor(root, &options, "threads");
    assert_string_equal(report.value, "3");
    assert_string_equal(report.source, "given");
    report = ask_doctor(root, &options, "ov-config");
    assert_string_equal(report.value, "A=1 B=2");
    report = ask_doctor(root, &options, "weight-format");
    assert_string_equal(report.value, "");
    assert_string_equal(report.source, "default");
    report = ask_doctor(root, &options, "hidden features");
    assert_string_equal(report.value, "avx-vnni");
    report = ask_doctor(root, &options, "memory");
    assert_string_equal(report.value, "33.26 GB, of which 24.70 GB are available");
    /* A device of which there is none. */
    options.device = "no such device";
    report = ask_doctor(root, &options, "device");
    assert_true(report.is_fatal);
    assert_non_null(strstr(report.value, "no such device"));
    options.device = NULL;
    /* Too little memory for anything. */
    test_write_text(test_path(path, "%s/proc", root), "meminfo", "MemTotal: 65536 kB\nMemAvailable: 1024 kB\n");
    report = ask_doctor(root, &options, "memory");
    assert_true(report.is_fatal);
    assert_string_equal(report.remedy, "close other programs");
    test_remove(root);
    tree_unpack("nothing", root);
    report = ask_doctor(root, NULL, "memory");
    assert_false(report.is_fatal);
    assert_int_equal(report.verdict, PHLOX_VERDICT_NOTE);
    test_remove(root);
    assert_true(ask_doctor(NULL, NULL, "kernels").value[0]);
}

static void hides_what_is_private(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"https://user:secret@host/simple", "https://***@host/simple"},
        {"https://user:a@b@host/x https://t@c", "https://***@host/x https://***@c"},
        {"https://host/a@b", "https://host/a@b"},
        {"/home/ada/lib:/home/ada:/home/adam/lib", "~/lib:~:/home/adam/lib"},
        {"file:///home/ada/x", "file://~/x"},
        {"\033[2J", "?[2J"},
        {"://", "://"},
        {"", ""},
    };
    char *const home = px_strdup(getenv("HOME") ? getenv("HOME") : "", strlen(getenv("HOME") ? getenv("HOME") : ""));
    setenv("HOME", "/home/ada", 1);
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        setenv("PIP_INDEX_URL", cases[i][0], 1);
        const struct report report = ask_doctor(NULL, NULL, "PIP_INDEX_URL");
        if (strcmp(report.value, cases[i][1]) != 0)
            fail_msg("%s becomes %s, expected %s", cases[i][0], report.value, cases[i][1]);
    }
    char *const longer = malloc(100000);
    assert_non_null(longer);
    memset(longer, ':', 99999);
    memcpy(longer + 99999 - 3, "//", 3);
    setenv("PIP_INDEX_URL", longer, 1);
    assert_true(ask_doctor(NULL, NULL, "PIP_INDEX_URL").value[0] == ':');
    free(longer);
    unsetenv("PIP_INDEX_URL");
    setenv("HOME", home, 1);
    free(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_runtimes), cmocka_unit_test(a_runtime_hangs),
        cmocka_unit_test(lists_units),    cmocka_unit_test(reports),
        cmocka_unit_test(hides_what_is_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
