/*
 * The OpenVINO device with a runtime that the test plays (fake_openvino.c): what goes wrong with
 * libraries, units, compiles and calls, what the runtime is asked for, and that sequences stay right
 * through all of it.
 */
#include "base/os.h"
#include "device/fake_openvino.h"
#include "device/openvino.h"
#include "engine/family.h"

#include <sys/wait.h>
#include <time.h>

#define WHOLE PHLOX_FAKE_OPENVINO "whole"
#define LACKS PHLOX_FAKE_OPENVINO "lacks"
#define PAIRS PHLOX_FAKE_OPENVINO "pairs"

enum { LENGTH = 40, CALLS = 4096 };

static char notes[TEST_PATH]; /* the directory of the running test */
static int32_t ids[LENGTH * 4];

static int set_up(void **state)
{
    (void)state;
    test_directory(notes);
    assert_int_equal(setenv("FAKE_OPENVINO_DIR", notes, 1), 0);
    uint64_t random = 3;
    for (size_t i = 0; i < PX_COUNT(ids); i++) ids[i] = (int32_t)(test_random(&random) % FAKE_VOCAB);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unsetenv("FAKE_OPENVINO");
    test_remove(notes);
    return 0;
}

static void play(const char *what)
{
    assert_int_equal(setenv("FAKE_OPENVINO", what, 1), 0);
}

static phlox_model_options options_for(const char *device, const char *library)
{
    phlox_model_options options = family_options();
    options.device = device;
    options.openvino_library = library;
    return options;
}

static phlox_status try_open(const phlox_model_options *options, phlox_error *error)
{
    phlox_model *model = NULL;
    const phlox_status status = phlox_model_open(FAMILY "/f32", options, &model, error);
    phlox_model_close(&model);
    return status;
}

static void append(phlox_session *session, const int32_t *more, size_t count)
{
    phlox_error error;
    MUST(phlox_session_append(session, more, count, NULL, NULL, NULL, &error));
}

/* The logits behind `count` ids. */
static void check(const phlox_session *session, size_t count)
{
    uint32_t hash = 1;
    for (size_t i = 0; i < count; i++) hash = fake_hash(hash, ids[i], (int64_t)i);
    const float *const logits = phlox_session_logits(session);
    assert_non_null(logits);
    for (size_t v = 0; v < FAKE_VOCAB; v++)
        if (logits[v] != fake_logit(hash, v))
            fail_msg("after %zu ids logit %zu is %g, not %g", count, v, (double)logits[v],
                     (double)fake_logit(hash, v));
}

static phlox_session *new_session(phlox_model *model)
{
    phlox_session *session = NULL;
    phlox_error error;
    MUST(phlox_session_create(model, &session, &error));
    return session;
}

/* What the library noted in a file; free() it. */
static char *note(const char *name)
{
    char path[TEST_PATH];
    size_t size;
    return test_read(test_path(path, "%s/%s", notes, name), &size);
}

/* ---- the library --------------------------------------------------------------------------- */

static void bad_libraries(void **state)
{
    (void)state;
    phlox_error error;
    phlox_model_options options = options_for("openvino:CPU", LACKS);
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_DEVICE, "ov_port_get_element_type");
    assert_non_null(strstr(error.message, LACKS));
    assert_non_null(strstr(error.message, "2026.4.1"));
    assert_non_null(strstr(error.message, "phlox runtime add openvino"));
    options.openvino_library = WHOLE;
    play("old");
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_DEVICE, "2022.3");
    assert_non_null(strstr(error.message, "phlox runtime add openvino"));
    play("no-core");
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_DEVICE, "the plugins do not load");
    assert_null(strstr(error.message, "Exception"));
    assert_null(strstr(error.message, "Check"));
    play("");
    options.openvino_library = notes; /* which has no library, ... */
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_NOT_FOUND, notes);
    test_write_text(notes, "libopenvino_c.so", "text"); /* ... or one that is none */
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_DEVICE, "does not load");
}

static void units(void **state)
{
    (void)state;
    phlox_error error;
    phlox_model_options options = options_for("openvino:CPU", WHOLE);
    px_units *const found = calloc(1, sizeof *found);
    assert_non_null(found);
    MUST(px_device_openvino.list(&options, found, &error));
    assert_int_equal(found->count, 1);
    assert_string_equal(found->units[0].unit, "CPU");
    assert_int_equal(found->units[0].kind, PX_UNIT_CPU);
    play("npu=1.2.3");
    MUST(px_device_openvino.list(&options, found, &error));
    assert_int_equal(found->count, 2);
    assert_string_equal(found->units[1].unit, "NPU");
    assert_int_equal(found->units[1].kind, PX_UNIT_NPU);
    assert_string_equal(found->units[1].name, "Fake NPU");
    assert_string_equal(found->units[1].driver, "1.2.3");
    assert_int_equal(found->units[1].memory, 4096);
    assert_string_equal(found->version, "2026.4.1-0-fake");
    char path[TEST_PATH];
    assert_true(px_device_openvino.find(&options, path, sizeof path));
    assert_string_equal(path, WHOLE "/libopenvino_c.so");
    assert_string_equal(found->library, path);
    free(found);
    const px_device *device = NULL;
    char unit[32];
    MUST(px_device_by_name("openvino:gpu.1", &device, unit, sizeof unit, &error));
    assert_ptr_equal(device, &px_device_openvino);
    assert_string_equal(unit, "GPU.1");
    play("");
    options.device = "npu";
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_DEVICE, "/dev/accel");
    options.device = "openvino:GPU.1";
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_DEVICE, "phlox devices");
}

/* ---- compiling ----------------------------------------------------------------------------- */

static bool stops(void *user, const phlox_progress *progress)
{
    int *const reports = user;
    if (strncmp(progress->what, "compiling", 9) != 0) return true;
    assert_int_equal(progress->total, 0);
    ++*reports;
    return false;
}

static void compiles_fail(void **state)
{
    (void)state;
    phlox_error error;
    phlox_model_options options = options_for("openvino:CPU", WHOLE);
    play("compile");
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_DEVICE, "the compiler gave up");
    assert_non_null(strstr(error.message, "openvino:CPU"));
    play("");
    options.ov_config[options.ov_config_count++] = "UNKNOWN=1";
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_DEVICE, "Unsupported property UNKNOWN");
    options.ov_config[0] = "=1";
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_ARGUMENT, "KEY=VALUE");
    options.ov_config_count = 0;
    int reports = 0;
    options.progress = stops;
    options.progress_user = &reports;
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_CANCELLED, "compiling");
    assert_true(reports > 0);
}

/* The properties with which phlox adds what not every plugin can are left out where that may have been it: once,
 * and what was said of them first is what counts. */
static void compiles_again(void **state)
{
    (void)state;
    static const struct {
        const char *plays, *setting;
        size_t compiles;
        const char *said; /* NULL: it works */
    } cases[] = {
        {"npu", NULL, 1, NULL},
        {"npu,no-reuse", NULL, 2, NULL},
        {"npu,no-chunks", NULL, 2, NULL},
        {"npu,compile", NULL, 2, "the compiler gave up on chunks"},
        {"npu,no-reuse,compile", NULL, 2, "Unsupported property NPUW_LLM_ENABLE_PREFIX_CACHING"},
        {"npu,no-memory", NULL, 1, "no memory is left"},
        {"npu", "UNKNOWN=1", 1, "Unsupported property UNKNOWN"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        phlox_error error;
        phlox_model_options options = options_for("openvino:NPU", WHOLE);
        test_write_text(notes, "compiles", "");
        play(cases[i].plays);
        if (cases[i].setting) options.ov_config[options.ov_config_count++] = cases[i].setting;
        if (cases[i].said) MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_DEVICE, cases[i].said);
        else MUST(try_open(&options, &error));
        char *const compiles = note("compiles");
        assert_int_equal(strlen(compiles), cases[i].compiles);
        free(compiles);
    }
    /* who has given up does not wait for another */
    int reports = 0;
    phlox_error error;
    phlox_model_options options = options_for("openvino:NPU", WHOLE);
    options.progress = stops;
    options.progress_user = &reports;
    test_write_text(notes, "compiles", "");
    play("npu,compile");
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_CANCELLED, "compiling");
    char *const compiles = note("compiles");
    assert_int_equal(strlen(compiles), 1);
    free(compiles);
}

/* Opens with the options and compares the properties that the library was given, in order. */
static void check_properties(const phlox_model_options *options, const char *wanted)
{
    phlox_error error;
    MUST(try_open(options, &error));
    char *const given = note("properties");
    assert_string_equal(given, wanted);
    free(given);
}

static void properties(void **state)
{
    (void)state;
    phlox_model_options options = options_for("openvino:CPU", WHOLE);
    options.threads = 0;
    check_properties(&options, "PERFORMANCE_HINT=LATENCY\nNUM_STREAMS=1\n");
    options.threads = 2;
    options.kv_cache = PHLOX_KV_INT8;
    check_properties(&options, "PERFORMANCE_HINT=LATENCY\nNUM_STREAMS=1\nINFERENCE_NUM_THREADS=2\n"
                               "KV_CACHE_PRECISION=u8\n");
    options.kv_cache = PHLOX_KV_DEFAULT;
    options.exact = true;
    options.ov_config[options.ov_config_count++] = "PERFORMANCE_HINT=THROUGHPUT";
    options.ov_config[options.ov_config_count++] = "ANY=a=b";
    check_properties(&options, "PERFORMANCE_HINT=THROUGHPUT\nNUM_STREAMS=1\nINFERENCE_NUM_THREADS=2\n"
                               "KV_CACHE_PRECISION=f32\nINFERENCE_PRECISION_HINT=f32\n"
                               "DYNAMIC_QUANTIZATION_GROUP_SIZE=0\nANY=a=b\n");
    play("npu");
    options = options_for("npu", WHOLE);
    options.prefill_hint = "STATIC";
    options.generate_hint = "BEST_PERF";
    static const char *const fixed = "PERFORMANCE_HINT=LATENCY\nNPU_USE_NPUW=YES\nNPUW_LLM=YES\n"
                                     "NPUW_LLM_BATCH_DIM=0\nNPUW_LLM_SEQ_LEN_DIM=2\n";
    char wanted[1024];
    snprintf(wanted, sizeof wanted, "%sNPUW_LLM_MAX_PROMPT_LEN=1024\nNPUW_LLM_MIN_RESPONSE_LEN=128\n"
             "NPUW_LLM_PREFILL_HINT=STATIC\nNPUW_LLM_GENERATE_HINT=BEST_PERF\n", fixed);
    check_properties(&options, wanted);
    options.prefill_hint = options.generate_hint = NULL; /* prompts in chunks, which are kept, ... */
    char *const plain = strstr(wanted, "NPUW_LLM_PREFILL_HINT");
    strcpy(plain, "NPUW_LLM_ENABLE_PREFIX_CACHING=YES\nNPUW_LLM_PREFILL_CHUNK_SIZE=256\n"
                  "NPUW_LLM_PREFIX_CACHING_BLOCK_SIZE=256\nNPUW_LLM_PREFIX_CACHING_MAX_NUM_BLOCKS=4\n");
    check_properties(&options, wanted);
    play("npu,no-reuse"); /* ... unless the plugin cannot */
    *plain = 0;
    check_properties(&options, wanted);
    play("npu");
    static const struct {
        phlox_kv_cache asked;
        const char *given;
    } caches[] = {{PHLOX_KV_F32, "KV_CACHE_PRECISION=f32\n"}, {PHLOX_KV_F16, "KV_CACHE_PRECISION=f16\n"}};
    options.max_prompt_len = 256;
    for (size_t i = 0; i < PX_COUNT(caches); i++) {
        options.kv_cache = caches[i].asked;
        snprintf(wanted, sizeof wanted, "PERFORMANCE_HINT=LATENCY\n%s%sNPUW_LLM_MAX_PROMPT_LEN=256\n"
                 "NPUW_LLM_MIN_RESPONSE_LEN=128\n", caches[i].given, strchr(fixed, '\n') + 1);
        check_properties(&options, wanted);
    }
    options = options_for("npu", WHOLE);
    options.max_prompt_len = 2048;
    options.prefill_hint = "STATIC";
    snprintf(wanted, sizeof wanted, "%sNPUW_LLM_MAX_PROMPT_LEN=2048\nNPUW_LLM_MIN_RESPONSE_LEN=128\n"
             "NPUW_LLM_PREFILL_HINT=STATIC\nNPUW_LLM_GENERATE_PYRAMID=NO\n", fixed);
    check_properties(&options, wanted);
    options = options_for("npu", WHOLE);
    options.max_prompt_len = 100;
    options.ov_config[options.ov_config_count++] = "MIN_RESPONSE_LEN=28"; /* a word of OpenVINO GenAI */
    snprintf(wanted, sizeof wanted, "%sNPUW_LLM_MAX_PROMPT_LEN=128\nNPUW_LLM_MIN_RESPONSE_LEN=28\n", fixed);
    check_properties(&options, wanted);
    options = options_for("npu", WHOLE);
    options.context_size = 128;
    options.min_response_len = 64;
    snprintf(wanted, sizeof wanted, "%sNPUW_LLM_MAX_PROMPT_LEN=128\nNPUW_LLM_MIN_RESPONSE_LEN=64\n", fixed);
    check_properties(&options, wanted);
}

static void refuses(phlox_model_options options, const char *word)
{
    phlox_error error;
    for (int i = 0; i < 2; i++) { /* describing a model is as good as opening it */
        options.describe_only = i;
        MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_UNSUPPORTED, word);
        assert_non_null(strstr(error.message, "leave it out"));
        assert_non_null(strstr(error.message, options.device));
    }
}

/* Options that the named device would not heed. */
static void options_of_others(void **state)
{
    (void)state;
    static const struct {
        phlox_model_options options;
        const char *word;
        bool is_of_npu;
    } cases[] = {
        {{.max_prompt_len = 64}, "--max-prompt-len", true},
        {{.min_response_len = 64}, "--min-response-len", true},
        {{.prefill_hint = "STATIC"}, "--prefill-hint", true},
        {{.generate_hint = "BEST_PERF"}, "--generate-hint", true},
        {{.huge_pages = PHLOX_HUGE_OFF}, "--huge-pages", false},
        {{.huge_pages = PHLOX_HUGE_ON}, "--huge-pages", false},
        {{.cpu_mask = 1}, "--cpu-mask", false},
    };
    play("npu");
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        phlox_error error;
        px_checkpoint *checkpoint = NULL;
        phlox_model_options options = options_for("openvino:CPU", WHOLE);
        options.max_prompt_len = cases[i].options.max_prompt_len;
        options.min_response_len = cases[i].options.min_response_len;
        options.prefill_hint = cases[i].options.prefill_hint;
        options.generate_hint = cases[i].options.generate_hint;
        options.huge_pages = cases[i].options.huge_pages;
        options.cpu_mask = cases[i].options.cpu_mask;
        refuses(options, cases[i].word);
        /* a device that is tried or chosen is not named */
        static const char *const unnamed[] = {NULL, "auto"};
        MUST(px_checkpoint_open(FAMILY "/f32", &checkpoint, &error));
        for (size_t u = 0; u < PX_COUNT(unnamed); u++) {
            options.device = unnamed[u];
            const px_device_options tried = {.user = &options, .unit = "CPU"};
            px_device_model *model = NULL;
            MUST(px_device_openvino.open(checkpoint, &tried, &model, &error));
            px_device_openvino.close(model);
        }
        px_checkpoint_close(&checkpoint);
        options.device = "openvino:NPU";
        if (cases[i].is_of_npu) MUST(try_open(&options, &error));
        else refuses(options, cases[i].word);
    }
}

static void caches_of_the_npu(void **state)
{
    (void)state;
    phlox_error error;
    play("npu");
    phlox_model_options options = options_for("openvino:NPU", WHOLE);
    options.kv_cache = PHLOX_KV_INT8;
    refuses(options, "--kv-cache int8: openvino:NPU keeps keys and values as float16");
    options.kv_cache = PHLOX_KV_INT4;
    refuses(options, "--kv-cache int4");
    options.kv_cache = PHLOX_KV_INT8; /* where it is not named it works with what it has */
    options.device = "auto";
    px_checkpoint *checkpoint = NULL;
    px_device_model *model = NULL;
    const px_device_options tried = {.user = &options, .unit = "NPU"};
    MUST(px_checkpoint_open(FAMILY "/f32", &checkpoint, &error));
    MUST(px_device_openvino.open(checkpoint, &tried, &model, &error));
    px_device_openvino.close(model);
    px_checkpoint_close(&checkpoint);
    char *const given = note("properties");
    assert_null(strstr(given, "KV_CACHE_PRECISION"));
    free(given);
}

/* The directory that the plugin was given to keep what it compiles; "" for none. */
static void read_cache_dir(char out[TEST_PATH])
{
    char *const given = note("properties");
    const char *const at = strstr(given, "CACHE_DIR=");
    test_path(out, "%.*s", at ? (int)strcspn(at + 10, "\n") : 0, at ? at + 10 : "");
    free(given);
}

static void keeps_compiles(void **state)
{
    (void)state;
    phlox_error error;
    char cache[TEST_PATH], first[TEST_PATH], again[TEST_PATH], blob[TEST_PATH];
    test_directory(cache);
    phlox_model_options options = options_for("npu", WHOLE);
    options.no_cache = false;
    options.cache_dir = cache;
    play("npu=1");
    MUST(try_open(&options, &error));
    read_cache_dir(first);
    assert_true(strncmp(first, cache, strlen(cache)) == 0);
    test_write_text(first, "blob", "of driver 1");
    MUST(try_open(&options, &error));
    read_cache_dir(again);
    assert_string_equal(again, first);
    assert_true(test_exists(test_path(blob, "%s/blob", first)));
    char others[3][TEST_PATH]; /* nor do other properties, whoever sets them; they have one of their own each */
    options.ov_config[options.ov_config_count++] = "KV_CACHE_PRECISION=u8";
    MUST(try_open(&options, &error));
    read_cache_dir(others[0]);
    options.ov_config_count = 0;
    options.generate_hint = "BEST_PERF";
    MUST(try_open(&options, &error));
    read_cache_dir(others[1]);
    options.generate_hint = NULL;
    play("npu=1,no-reuse"); /* what the plugin does not take is not among them */
    MUST(try_open(&options, &error));
    read_cache_dir(others[2]);
    play("npu=1");
    for (size_t i = 0; i < PX_COUNT(others); i++) {
        assert_false(test_exists(test_path(blob, "%s/blob", others[i])));
        for (size_t j = 0; j < i; j++) assert_string_not_equal(others[i], others[j]);
    }
    MUST(try_open(&options, &error));
    read_cache_dir(again);
    assert_string_equal(again, first);
    assert_true(test_exists(test_path(blob, "%s/blob", first)));
    play("npu=2"); /* another driver never sees it */
    MUST(try_open(&options, &error));
    read_cache_dir(again);
    assert_false(test_exists(test_path(blob, "%s/blob", again)));
    options.ov_config[options.ov_config_count++] = "CACHE_DIR=/theirs";
    MUST(try_open(&options, &error));
    read_cache_dir(again);
    assert_string_equal(again, "/theirs");
    test_remove(cache);
}

static void see_compiler(const char *path, const char *name, void *user)
{
    (void)path;
    if (strncmp(name, "compiling-", 10) == 0) ++*(int *)user;
}

/* Opens the model in a process of its own. */
static pid_t open_elsewhere(const phlox_model_options *options)
{
    const pid_t child = fork();
    if (child) return child;
    phlox_error error;
    const phlox_status status = try_open(options, &error);
    if (status != PHLOX_OK) fprintf(stderr, "%s\n", error.message);
    _exit(status != PHLOX_OK);
}

/* Two processes export and compile one model into one cache at the same time. */
static void two_processes(void **state)
{
    (void)state;
    char cache[TEST_PATH], directory[TEST_PATH], blob[TEST_PATH];
    test_directory(cache);
    phlox_model_options options = options_for("npu", WHOLE);
    options.no_cache = false;
    options.cache_dir = cache;
    play("npu=1,meet");
    const pid_t children[] = {open_elsewhere(&options), open_elsewhere(&options)};
    int seen = 0;
    for (int i = 0; i < 3000 && seen < 2; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        seen = 0;
        test_for_each(notes, see_compiler, &seen);
    }
    test_write_text(notes, "compilers", "");
    assert_int_equal(seen, 2);
    for (size_t i = 0; i < 2; i++) {
        int result;
        assert_int_equal(waitpid(children[i], &result, 0), children[i]);
        assert_int_equal(result, 0);
    }
    read_cache_dir(directory);
    assert_true(test_exists(test_path(blob, "%s/blob", directory)));
    play("npu=1");
    phlox_error error;
    MUST(try_open(&options, &error));
    test_remove(cache);
}

/* ---- calls --------------------------------------------------------------------------------- */

static phlox_model *open_model(const phlox_model_options *options)
{
    return family_open(FAMILY "/f32", options);
}

/* The older call to compile, and the older numbers of types: the same logits. */
static void older_interfaces(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        const phlox_model_options options = options_for("openvino:CPU", i ? PAIRS : WHOLE);
        play(i ? "" : "numbers");
        phlox_model *model = open_model(&options);
        phlox_session *session = new_session(model);
        append(session, ids, 10);
        check(session, 10);
        append(session, ids + 10, 1);
        check(session, 11);
        char *const given = note("properties");
        assert_string_equal(given, "PERFORMANCE_HINT=LATENCY\nNUM_STREAMS=1\nINFERENCE_NUM_THREADS=2\n");
        free(given);
        phlox_session_close(&session);
        phlox_model_close(&model);
    }
}

static void calls_fail(const char *device, const char *setting, const char *what, phlox_status status,
                       const char *word)
{
    phlox_error error;
    char words[64];
    snprintf(words, sizeof words, "npu,%s", what);
    play(words);
    phlox_model_options options = options_for(device, WHOLE);
    if (setting) options.ov_config[options.ov_config_count++] = setting;
    phlox_model *model = open_model(&options);
    phlox_session *session = new_session(model);
    append(session, ids, 8);
    append(session, ids + 8, 1);
    MUST_FAIL(phlox_session_append(session, ids + 9, 1, NULL, NULL, NULL, &error), status, word);
    size_t count;
    phlox_session_ids(session, &count);
    assert_int_equal(count, 9);
    assert_non_null(strstr(error.message, device));
    if (strncmp(what, "gone", 4) != 0) { /* the next call is as if nothing had been */
        append(session, ids + 9, 1);
        check(session, 10);
    }
    phlox_session_close(&session);
    phlox_model_close(&model);
}

static void failing_calls(void **state)
{
    (void)state;
    static const char *const devices[] = {"openvino:CPU", "openvino:NPU"};
    for (size_t i = 0; i < PX_COUNT(devices); i++) {
        calls_fail(devices[i], NULL, "infer=3", PHLOX_ERROR_DEVICE, "the plugin threw");
        calls_fail(devices[i], NULL, "nan=3", PHLOX_ERROR_DEVICE,
                   i ? "--device cpu" : "--ov-config INFERENCE_PRECISION_HINT=f32");
    }
    calls_fail(devices[0], "INFERENCE_PRECISION_HINT=f32", "nan=3", PHLOX_ERROR_DEVICE, "try --device cpu");
    calls_fail(devices[1], "KV_CACHE_PRECISION=u8", "nan=3", PHLOX_ERROR_DEVICE,
               "leave out --ov-config KV_CACHE_PRECISION");
}

static void vanished_unit(void **state)
{
    (void)state;
    calls_fail("openvino:NPU", NULL, "gone=3", PHLOX_ERROR_DEVICE, "phlox devices");
}

static void other_logits(void **state)
{
    (void)state;
    phlox_error error;
    play("short");
    const phlox_model_options options = options_for("openvino:CPU", WHOLE);
    phlox_model *model = open_model(&options);
    phlox_session *session = new_session(model);
    MUST_FAIL(phlox_session_append(session, ids, 2, NULL, NULL, NULL, &error), PHLOX_ERROR_UNSUPPORTED,
              "phlox export openvino");
    phlox_session_close(&session);
    phlox_model_close(&model);
}

/* ---- sequences ----------------------------------------------------------------------------- */

/* Appends, cuts and turns at random, all of it right. */
static void walk(phlox_model *model, size_t most)
{
    phlox_error error;
    phlox_session *sessions[2] = {new_session(model), new_session(model)};
    uint64_t random = 11;
    for (int i = 0; i < 300; i++) {
        phlox_session *const session = sessions[test_random(&random) % 3 == 0];
        size_t count;
        phlox_session_ids(session, &count);
        const size_t more = 1 + test_random(&random) % (i % 3 ? 2 : 30);
        if (count + more > most || test_random(&random) % 5 == 0) {
            MUST(phlox_session_truncate(session, test_random(&random) % (count + 1), &error));
            continue;
        }
        append(session, ids + count, more);
        check(session, count + more);
    }
    phlox_session_close(&sessions[0]);
    phlox_session_close(&sessions[1]);
}

static void sequences_on_cpu(void **state)
{
    (void)state;
    const phlox_model_options options = options_for("openvino:CPU", WHOLE);
    phlox_model *model = open_model(&options);
    walk(model, 120);
    phlox_model_close(&model);
}

static void sequences_on_npu(void **state)
{
    (void)state;
    static const char *const versions[] = {"npu", "npu,2025"};
    for (size_t i = 0; i < PX_COUNT(versions); i++) {
        play(versions[i]);
        phlox_model_options options = options_for("npu", WHOLE);
        options.max_prompt_len = 64;
        options.min_response_len = 64;
        phlox_model *model = open_model(&options);
        walk(model, 127);
        phlox_model_close(&model);
    }
}

struct guests {
    phlox_model *model;
    bool is_well;
};

/* Sessions that begin, tell their size and end. */
static void come_and_go(void *user)
{
    struct guests *const guests = user;
    for (int i = 0; guests->is_well && i < 200; i++) {
        phlox_session *session = NULL;
        phlox_statistics statistics;
        guests->is_well = phlox_session_create(guests->model, &session, NULL) == PHLOX_OK &&
                          phlox_session_append(session, ids, 3, NULL, NULL, NULL, NULL) == PHLOX_OK &&
                          phlox_session_truncate(session, 2, NULL) == PHLOX_OK;
        if (guests->is_well) phlox_session_statistics(session, &statistics);
        phlox_session_close(&session);
    }
}

/* Beside them others stay right, on another thread. */
static void sequences_on_threads(void **state)
{
    (void)state;
    static const char *const devices[] = {"openvino:CPU", "openvino:NPU"};
    for (size_t i = 0; i < PX_COUNT(devices); i++) {
        play("npu");
        const phlox_model_options options = options_for(devices[i], WHOLE);
        phlox_model *model = open_model(&options);
        struct guests guests = {model, true};
        px_thread *const thread = px_thread_start(come_and_go, &guests);
        assert_non_null(thread);
        walk(model, 127);
        px_thread_join(thread);
        assert_true(guests.is_well);
        phlox_model_close(&model);
    }
}

/* What is dropped stays hidden in the request until it is more than what is kept. */
static void starts_afresh(void **state)
{
    (void)state;
    phlox_error error;
    const phlox_model_options options = options_for("openvino:CPU", WHOLE);
    phlox_model *model = open_model(&options);
    phlox_session *session = new_session(model);
    append(session, ids, 20);
    for (int i = 0; i < 10; i++) {
        append(session, ids + 20, 80);
        check(session, 100);
        MUST(phlox_session_truncate(session, 20, &error));
    }
    char *const calls = note("calls");
    size_t restarts = 0;
    for (const char *at = calls; (at = strstr(at, "@0 ")); at++) restarts++;
    assert_in_range(restarts, 2, 4);
    free(calls);
    phlox_session_close(&session);
    phlox_model_close(&model);
}

/* A prompt in a program that is smaller, and what is too long. */
static void limits_of_the_npu(void **state)
{
    (void)state;
    phlox_error error;
    play("npu");
    phlox_model_options options = options_for("npu", WHOLE);
    options.max_prompt_len = 64;
    options.min_response_len = 60; /* of which the plugin makes 64 */
    phlox_model *model = open_model(&options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_int_equal(info.context_size, 127);
    assert_string_equal(info.device, "openvino:NPU");
    assert_string_equal(info.device_name, "Fake NPU");
    assert_string_equal(info.kernels, "OpenVINO 2026.4.1");
    phlox_model_options describe = options; /* which needs no runtime */
    describe.describe_only = true;
    describe.openvino_library = notes;
    phlox_model *described = open_model(&describe);
    phlox_model_get_info(described, &info);
    assert_int_equal(info.context_size, 127);
    phlox_model_close(&described);
    phlox_session *session = new_session(model);
    append(session, ids, 70);
    check(session, 70);
    char *const calls = note("calls");
    assert_string_equal(calls, "64@0 1@64 1@65 1@66 1@67 1@68 1@69 ");
    free(calls);
    float *const all = calloc(57 * FAKE_VOCAB, sizeof *all);
    MUST(phlox_session_append(session, ids + 70, 57, all, NULL, NULL, &error));
    check(session, 127);
    MUST_FAIL(phlox_session_append(session, ids, 1, NULL, NULL, NULL, &error),
              PHLOX_ERROR_CONTEXT_FULL, "127");
    free(all);
    phlox_session_close(&session);
    phlox_model_close(&model);
}

static void weights_of_the_npu(void **state)
{
    (void)state;
    phlox_error error;
    play("npu");
    phlox_model_options options = options_for("npu", WHOLE);
    options.weight_format = PHLOX_WEIGHTS_INT4;
    options.group_size_fallback = PHLOX_FALLBACK_ADJUST;
    options.symmetry = PHLOX_ASYM;
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_UNSUPPORTED, "--sym");
    options.symmetry = PHLOX_SYMMETRY_DEFAULT;
    options.group_size = 32;
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_UNSUPPORTED, "--group-size");
    options.group_size = -1;
    options.ratio = 0.5;
    MUST_FAIL(try_open(&options, &error), PHLOX_ERROR_UNSUPPORTED, "--ratio");
    options.ratio = 0;
    phlox_model *model = open_model(&options); /* symmetric without being asked */
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_non_null(strstr(info.weights, "int4 sym"));
    phlox_model_close(&model);
    options = options_for("npu", WHOLE);
    model = NULL;
    MUST_FAIL(phlox_model_open(PHLOX_SOURCE_DIR "/tests/golden/openvino/int4-asym", &options, &model,
                               &error),
              PHLOX_ERROR_UNSUPPORTED, "--weight-format f16");
    assert_non_null(strstr(error.message, "phlox export huggingface"));
    options.weight_format = PHLOX_WEIGHTS_F16;
    MUST(phlox_model_open(PHLOX_SOURCE_DIR "/tests/golden/openvino/int4-asym", &options, &model, &error));
    phlox_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(bad_libraries),     TEST(units),           TEST(compiles_fail),    TEST(compiles_again),
        TEST(properties),
        TEST(keeps_compiles),    TEST(two_processes),   TEST(older_interfaces), TEST(failing_calls),
        TEST(other_logits),      TEST(sequences_on_cpu), TEST(sequences_on_npu), TEST(sequences_on_threads), TEST(starts_afresh),
        TEST(limits_of_the_npu), TEST(weights_of_the_npu), TEST(options_of_others), TEST(caches_of_the_npu),
        TEST(vanished_unit), /* last: it stays away */
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
