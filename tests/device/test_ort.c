/*
 * The ONNX Runtime device against a runtime that is played by fake_ort.c: sessions give the logits that the whole
 * of their tokens has, whatever the runtime can and cannot, and its faults are errors that say what to do.
 */
#include "engine/family.h"

#include "api/model.h"
#include "device/fake_ort.h"
#include "device/ort.h"
#include "device/ort_model.h"
#include "device/tree.h"

#define MEMBER FAMILY "/longrope-su"

static phlox_model_options fake_options(const char *const *settings, size_t count)
{
    phlox_model_options options = family_options();
    options.device = "ort:cpu";
    options.ort_library = FAKE_ORT;
    options.ort_config_count = count;
    for (size_t i = 0; i < count; i++) options.ort_config[i] = settings[i];
    return options;
}

/* ---- logits -------------------------------------------------------------------------------- */

/* Of a text of `length` ids, those of places [from, length): all of it has the factors of its length. */
static void check(const char *what, const float *got, const int32_t *ids, size_t from, size_t length)
{
    const bool is_long = length > FAKE_ORIGINAL;
    uint64_t state = 0;
    for (size_t i = 0; i < length; i++) {
        state = fake_hash(state, ids[i], is_long);
        for (int32_t v = 0; i >= from && v < FAKE_VOCAB; v++) {
            const float wanted = fake_logit(state, v), value = got[(i - from) * FAKE_VOCAB + (size_t)v];
            if (memcmp(&value, &wanted, sizeof value) != 0)
                fail_msg("%s: logit %d behind place %zu of %zu is %g, expected %g", what, v, i, length,
                         (double)value, (double)wanted);
        }
    }
}

typedef struct timeline {
    phlox_session *session;
    int32_t ids[FAKE_CONTEXT];
    size_t length;
} timeline;

static void append(const char *what, timeline *t, size_t count, bool all, uint64_t *random)
{
    static float rows[FAKE_CONTEXT * FAKE_VOCAB];
    phlox_error error;
    for (size_t i = 0; i < count; i++) {
        /* the ids for padding and for ending a text are among them often */
        const uint64_t r = test_random(random);
        t->ids[t->length + i] = r % 5 ? (int32_t)(r >> 8 & 127) : FAKE_PAD;
    }
    MUST(phlox_session_append(t->session, t->ids + t->length, count, all ? rows : NULL, NULL, NULL, &error));
    t->length += count;
    if (all) check(what, rows, t->ids, t->length - count, t->length);
    check(what, phlox_session_logits(t->session), t->ids, t->length - 1, t->length);
}

static void change(const char *what, timeline *t, bool all, uint64_t *random)
{
    phlox_error error;
    if (t->length && test_random(random) % 3 == 0) {
        t->length = test_random(random) % t->length;
        MUST(phlox_session_truncate(t->session, t->length, &error));
    }
    const size_t most = test_random(random) % 3 ? 4 : 50, wanted = 1 + test_random(random) % most;
    const size_t count = PX_MIN(wanted, FAKE_CONTEXT - t->length);
    if (count) append(what, t, count, all && test_random(random) % 2, random);
}

/* Sessions of one model in turn; pieces of `most_tokens`; generators made for `least` tokens at first. */
static void run_sessions(const char *what, phlox_model *model, bool all, size_t most_tokens, size_t least)
{
    uint64_t random = most_tokens * 1000 + least;
    timeline lines[3] = {{.length = 0}};
    phlox_error error;
    model->runtime.most_tokens = most_tokens;
    model->device_model->least_capacity = least;
    for (size_t i = 0; i < PX_COUNT(lines); i++) MUST(phlox_session_create(model, &lines[i].session, &error));
    for (int round = 0; round < 300; round++)
        change(what, &lines[test_random(&random) % PX_COUNT(lines)], all, &random);
    for (size_t i = 0; i < PX_COUNT(lines); i++) phlox_session_close(&lines[i].session);
}

static void logits_whatever_the_runtime_can(void **state)
{
    (void)state;
    static const struct {
        const char *what, *settings[2];
        bool all;    /* logits of every token can be had where the text is long */
        bool drafts; /* are worth while */
    } cases[] = {
        {"all is well", {NULL}, true, true},
        {"float16", {"session.fake.half=1"}, true, true},
        {"no rewind", {"session.fake.no_rewind=1"}, true, false},
        {"DirectML", {"session.fake.no_append=1", "session.fake.no_rewind=1"}, true, false},
        {"last logits", {"session.fake.last_only=1"}, false, false},
        {"last logits, DirectML", {"session.fake.last_only=1", "session.fake.no_append=1"}, false, false},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        const size_t count = !cases[i].settings[0] ? 0 : cases[i].settings[1] ? 2 : 1;
        const phlox_model_options options = fake_options(cases[i].settings, count);
        phlox_model *model = family_open(MEMBER, &options);
        assert_int_equal(model->device_info.last_logits_only, !cases[i].drafts);
        run_sessions(cases[i].what, model, cases[i].all, 256, 1024);
        run_sessions(cases[i].what, model, cases[i].all, 7, 1024);
        run_sessions(cases[i].what, model, cases[i].all, 256, 4);
        run_sessions(cases[i].what, model, cases[i].all, 3, 4);
        phlox_model_close(&model);
    }
}

static void last_logits_of_a_short_text(void **state)
{
    (void)state;
    static const char *const settings[] = {"session.fake.last_only=1"};
    const phlox_model_options options = fake_options(settings, 1);
    phlox_model *model = family_open(MEMBER, &options);
    timeline t = {.length = 0};
    uint64_t random = 1;
    phlox_error error;
    static float rows[FAKE_CONTEXT * FAKE_VOCAB];
    MUST(phlox_session_create(model, &t.session, &error));
    append("a short text", &t, 20, true, &random);
    append("its end", &t, 3, true, &random);
    model->runtime.most_tokens = 2;
    const int32_t more[FAKE_ORIGINAL] = {0};
    MUST_FAIL(phlox_session_append(t.session, more, FAKE_ORIGINAL, rows, NULL, NULL, &error),
              PHLOX_ERROR_UNSUPPORTED, "logits of a step's last token only");
    phlox_session_close(&t.session);
    phlox_model_close(&model);
    /* nor where nothing can be appended */
    static const char *const both[] = {"session.fake.last_only=1", "session.fake.no_append=1"};
    const phlox_model_options without = fake_options(both, 2);
    model = family_open(MEMBER, &without);
    t = (timeline){.length = 0};
    MUST(phlox_session_create(model, &t.session, &error));
    MUST_FAIL(phlox_session_append(t.session, more, 3, rows, NULL, NULL, &error), PHLOX_ERROR_UNSUPPORTED,
              "logits of a step's last token only");
    append("one token", &t, 1, true, &random);
    append("its end", &t, 3, false, &random);
    phlox_session_close(&t.session);
    phlox_model_close(&model);
}

/* Keys and values are not allocated for the whole context. */
static void memory_grows_with_the_text(void **state)
{
    (void)state;
    const phlox_model_options options = fake_options(NULL, 0);
    phlox_model *model = family_open(MEMBER, &options);
    phlox_model_info info;
    phlox_statistics statistics;
    phlox_model_get_info(model, &info);
    assert_int_equal(info.kv_bytes_per_token, 2 * 2 * 64 * sizeof(float));
    model->device_model->least_capacity = 8;
    timeline t = {.length = 0};
    uint64_t random = 1;
    phlox_error error;
    MUST(phlox_session_create(model, &t.session, &error));
    static const size_t lengths[] = {3, 8, 9, 20}, capacities[] = {8, 8, 18, 40};
    for (size_t i = 0; i < PX_COUNT(lengths); i++) {
        append("growing", &t, lengths[i] - t.length, false, &random);
        phlox_session_statistics(t.session, &statistics);
        assert_int_equal(statistics.kv_bytes, capacities[i] * info.kv_bytes_per_token);
    }
    /* of a text that comes in pieces all is known at once */
    MUST(phlox_session_truncate(t.session, 0, &error));
    t.length = 0;
    model->runtime.most_tokens = 2;
    append("in pieces", &t, 25, false, &random);
    phlox_session_statistics(t.session, &statistics);
    assert_int_equal(statistics.kv_bytes, 50 * info.kv_bytes_per_token);
    phlox_session_close(&t.session);
    phlox_model_close(&model);
}

/* What a cut has lost comes again from the session, which counts it and reports progress. */
static void what_is_lost_is_read_again(void **state)
{
    (void)state;
    static const char *const settings[] = {"session.fake.no_rewind=1"};
    for (size_t count = 0; count < 2; count++) {
        const phlox_model_options options = fake_options(settings, count);
        phlox_model *model = family_open(MEMBER, &options);
        timeline t = {.length = 0};
        uint64_t random = 1;
        phlox_error error;
        phlox_statistics statistics;
        MUST(phlox_session_create(model, &t.session, &error));
        append("before", &t, 10, false, &random);
        MUST(phlox_session_truncate(t.session, 5, &error));
        t.length = 5;
        append("after", &t, 3, false, &random);
        phlox_session_statistics(t.session, &statistics);
        assert_int_equal(statistics.prefill_tokens, 10 + (count ? 5 + 3 : 3));
        phlox_session_close(&t.session);
        phlox_model_close(&model);
    }
}

/* ---- faults -------------------------------------------------------------------------------- */

static void fails_to_open(const phlox_model_options *options, phlox_status status, const char *word)
{
    phlox_model *model = NULL;
    phlox_error error;
    MUST_FAIL(phlox_model_open(MEMBER, options, &model, &error), status, word);
    assert_null(model);
}

static void libraries_that_cannot_be_used(void **state)
{
    (void)state;
    char directory[TEST_PATH];
    test_directory(directory);
    phlox_model_options options = fake_options(NULL, 0);
    options.ort_library = directory;
    fails_to_open(&options, PHLOX_ERROR_NOT_FOUND, "phlox runtime add onnxruntime-genai");
    test_write_text(directory, "libonnxruntime.so.1.99.0", "no library");
    test_write_text(directory, "libonnxruntime-genai.so", "no library");
    fails_to_open(&options, PHLOX_ERROR_DEVICE, "libonnxruntime.so.1.99.0");
    options.ort_library = LACKING_ORT;
    fails_to_open(&options, PHLOX_ERROR_DEVICE, "lacks the function OgaGenerator_RewindTo");
    fails_to_open(&options, PHLOX_ERROR_DEVICE, "phlox runtime add onnxruntime-genai");
    test_remove(directory);
}

static void the_device_that_was_asked_for(void **state)
{
    (void)state;
    static const char *const cuda[] = {"session.fake.device=CUDA", "device_id=0"};
    static const char *const unknown[] = {"device_id=0", "nothing=1"};
    phlox_model_options options = fake_options(cuda, 2);
    options.device = "ort:CUDA";
    phlox_model *model = family_open(MEMBER, &options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_string_equal(info.device, "ort:CUDA");
    phlox_model_close(&model);
    /* a provider that left the model to the CPU */
    options = fake_options(NULL, 0);
    options.device = "ort:cuda";
    fails_to_open(&options, PHLOX_ERROR_DEVICE, "ort:cuda was asked for, but ONNX Runtime GenAI runs the model on CPU");
    options.device = "ort:dml";
    fails_to_open(&options, PHLOX_ERROR_DEVICE, "onnxruntime-genai-directml");
    options = fake_options(cuda, 1);
    fails_to_open(&options, PHLOX_ERROR_DEVICE, "runs the model on CUDA");
    options = fake_options(unknown, 2);
    options.device = "ort:cuda";
    fails_to_open(&options, PHLOX_ERROR_DEVICE, "Unknown provider option");
    options.device = "ort:cpu";
    fails_to_open(&options, PHLOX_ERROR_ARGUMENT, "CPU provider has no options");
}

/* Options that the named device would not heed, whether the model is opened or only described. */
static void options_of_others(void **state)
{
    (void)state;
    static const char *const half[] = {"session.fake.half=1"};
    static const struct {
        phlox_model_options options;
        const char *word;
        bool is_seen_late; /* when the graph runs */
    } cases[] = {
        {{.max_prompt_len = 64}, "--max-prompt-len", false},
        {{.min_response_len = 64}, "--min-response-len", false},
        {{.prefill_hint = "STATIC"}, "--prefill-hint", false},
        {{.generate_hint = "BEST_PERF"}, "--generate-hint", false},
        {{.huge_pages = PHLOX_HUGE_OFF}, "--huge-pages", false},
        {{.cpu_mask = 1}, "--cpu-mask", false},
        {{.kv_cache = PHLOX_KV_INT8}, "--kv-cache int8: ort:cpu keeps keys and values as float32", false},
        {{.kv_cache = PHLOX_KV_F16}, "--kv-cache f16: ort:cpu keeps keys and values as float32", false},
        {{.kv_cache = PHLOX_KV_F32, .ort_config_count = 1}, "--kv-cache f32: ort:cpu keeps keys and values as float16",
         true},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        phlox_error error;
        px_checkpoint *checkpoint = NULL;
        px_device_model *model = NULL;
        phlox_model_options options = fake_options(half, cases[i].options.ort_config_count);
        options.max_prompt_len = cases[i].options.max_prompt_len;
        options.min_response_len = cases[i].options.min_response_len;
        options.prefill_hint = cases[i].options.prefill_hint;
        options.generate_hint = cases[i].options.generate_hint;
        options.huge_pages = cases[i].options.huge_pages;
        options.cpu_mask = cases[i].options.cpu_mask;
        options.kv_cache = cases[i].options.kv_cache;
        fails_to_open(&options, PHLOX_ERROR_UNSUPPORTED, cases[i].word);
        options.describe_only = true;
        if (!cases[i].is_seen_late) fails_to_open(&options, PHLOX_ERROR_UNSUPPORTED, cases[i].word);
        options.device = "auto"; /* one that is tried or chosen is not named */
        const px_device_options tried = {.user = &options, .unit = "cpu"};
        MUST(px_checkpoint_open(MEMBER, &checkpoint, &error));
        MUST(px_device_ort.open(checkpoint, &tried, &model, &error));
        px_device_ort.close(model);
        px_checkpoint_close(&checkpoint);
    }
    phlox_model_options options = fake_options(NULL, 0);
    options.kv_cache = PHLOX_KV_F32;
    phlox_model *model = family_open(MEMBER, &options);
    phlox_model_close(&model);
}

/* The member's window is 9 tokens. */
static void directml_has_no_window(void **state)
{
    (void)state;
    static const char *const settings[] = {"session.fake.device=DirectML", "session.fake.no_append=1"};
    phlox_model_options options = fake_options(settings, 2);
    options.device = "dml";
    phlox_model *model = family_open(MEMBER, &options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_string_equal(info.device, "ort:dml");
    assert_int_equal(info.context_size, 9);
    phlox_session *session = NULL;
    phlox_error error;
    static const int32_t ids[10] = {1, 2, 3};
    float rows[9 * FAKE_VOCAB];
    MUST(phlox_session_create(model, &session, &error));
    MUST_FAIL(phlox_session_append(session, ids, 10, NULL, NULL, NULL, &error), PHLOX_ERROR_CONTEXT_FULL, "9");
    MUST(phlox_session_append(session, ids, 9, rows, NULL, NULL, &error));
    check("in the window", rows, ids, 0, 9);
    phlox_session_close(&session);
    phlox_model_close(&model);
    options.context_size = 64;
    MUST_FAIL(phlox_model_open(MEMBER, &options, &model, &error), PHLOX_ERROR_ARGUMENT, "64");
}

static void a_model_that_cannot_be_made(void **state)
{
    (void)state;
    static const char *const settings[] = {"session.fake.create=The device has no memory left."};
    phlox_model_options options = fake_options(settings, 1);
    options.device = "ort:cuda";
    fails_to_open(&options, PHLOX_ERROR_DEVICE, "The device has no memory left; phlox runtime add");
}

/* The probe of open() appends twice, so that the call of this number is one of the text. */
static void an_append_that_fails(void **state)
{
    (void)state;
    for (int n = 3; n < 9; n++) {
        char setting[64];
        snprintf(setting, sizeof setting, "session.fake.append_fails=%d", n);
        const char *const settings[] = {setting};
        const phlox_model_options options = fake_options(settings, 1);
        phlox_model *model = family_open(MEMBER, &options);
        timeline t = {.length = 0};
        uint64_t random = 1;
        phlox_error error;
        MUST(phlox_session_create(model, &t.session, &error));
        for (int call = 3; call < n; call++) append("before", &t, 11, false, &random);
        const int32_t ids[] = {1, 2, 3};
        MUST_FAIL(phlox_session_append(t.session, ids, 3, NULL, NULL, NULL, &error), PHLOX_ERROR_DEVICE,
                  "ort:cpu: Non-zero status code returned while running a node");
        size_t count;
        phlox_session_ids(t.session, &count);
        assert_int_equal(count, t.length);
        append("after", &t, 2, true, &random);
        phlox_session_close(&t.session);
        phlox_model_close(&model);
    }
}

static void a_device_that_vanishes(void **state)
{
    (void)state;
    static const char *const settings[] = {"session.fake.vanishes=5"};
    const phlox_model_options options = fake_options(settings, 1);
    phlox_model *model = family_open(MEMBER, &options);
    timeline t = {.length = 0};
    uint64_t random = 1;
    phlox_error error;
    MUST(phlox_session_create(model, &t.session, &error));
    append("before", &t, 5, false, &random);
    append("before", &t, 5, false, &random);
    for (int i = 0; i < 3; i++) {
        const int32_t id = 1;
        MUST_FAIL(phlox_session_append(t.session, &id, 1, NULL, NULL, NULL, &error), PHLOX_ERROR_DEVICE,
                  "The GPU device instance has been removed");
    }
    phlox_session_close(&t.session);
    phlox_model_close(&model);
}

/* In the middle of an answer, on the way that DirectML needs. */
static void an_answer_that_breaks_off(void **state)
{
    (void)state;
    static const char *const settings[] = {"session.fake.no_append=1", "session.fake.append_fails=6"};
    const phlox_model_options options = fake_options(settings, 2);
    phlox_model *model = family_open(MEMBER, &options);
    timeline t = {.length = 0};
    uint64_t random = 1;
    phlox_error error;
    size_t appended = 0;
    MUST(phlox_session_create(model, &t.session, &error));
    append("before", &t, 5, false, &random);
    for (; appended < 4; appended++) {
        const int32_t id = (int32_t)appended;
        if (phlox_session_append(t.session, &id, 1, NULL, NULL, NULL, &error) != PHLOX_OK) break;
        t.ids[t.length++] = id;
    }
    assert_int_equal(error.code, PHLOX_ERROR_DEVICE);
    assert_int_equal(appended, 3);
    append("after", &t, 1, false, &random);
    phlox_session_close(&t.session);
    phlox_model_close(&model);
}

static void logits_that_are_not_finite(void **state)
{
    (void)state;
    static const char *const settings[] = {"session.fake.nan_at=77"};
    const phlox_model_options options = fake_options(settings, 1);
    phlox_model *model = family_open(MEMBER, &options);
    phlox_session *session = NULL;
    phlox_error error;
    const int32_t ids[] = {1, 77, 3};
    float rows[3 * FAKE_VOCAB];
    MUST(phlox_session_create(model, &session, &error));
    MUST_FAIL(phlox_session_append(session, ids, 3, rows, NULL, NULL, &error), PHLOX_ERROR_DEVICE, "not finite");
    MUST_FAIL(phlox_session_append(session, ids, 2, NULL, NULL, NULL, &error), PHLOX_ERROR_DEVICE, "not finite");
    MUST(phlox_session_append(session, ids, 1, rows, NULL, NULL, &error));
    check("behind it", rows, ids, 0, 1);
    phlox_session_close(&session);
    phlox_model_close(&model);
}

/* ---- what it says of itself ---------------------------------------------------------------- */

static void lists_what_the_build_has(void **state)
{
    (void)state;
    const phlox_model_options options = fake_options(NULL, 0);
    px_units units;
    phlox_error error;
    char path[TEST_PATH];
    MUST(px_device_ort.list(&options, &units, &error));
    assert_int_equal(units.count, 1);
    assert_string_equal(units.units[0].unit, "cpu");
    assert_non_null(strstr(units.version, "with ONNX Runtime 1.99.0"));
    assert_true(px_device_ort.find(&options, path, sizeof path));
    assert_string_equal(path, units.library);
}

/* Makes a build below the folder of runtimes; files that nobody opens. */
static void make_build(const char *folder, const char *package, bool has_cuda)
{
    char path[TEST_PATH];
    phlox_error error;
    MUST(px_make_directories(test_path(path, "%s/%s/0.18.0", folder, package), &error));
    test_write_text(path, "libonnxruntime-genai.so", "");
    test_write_text(path, "libonnxruntime.so.1.32.0", "");
    test_write_text(path, "runtime.json", "{}");
    if (has_cuda) test_write_text(path, "libonnxruntime-genai-cuda.so", "");
}

static void of_two_builds_that_with_the_provider(void **state)
{
    (void)state;
    char data[TEST_PATH], folder[TEST_PATH], path[TEST_PATH];
    phlox_error error;
    px_ort_place place;
    test_directory(data);
    setenv("XDG_DATA_HOME", data, 1);
    test_path(folder, "%s/phlox/runtimes", data);
    make_build(folder, "onnxruntime-genai", false);
    MUST(px_ort_find(NULL, "cuda", &place, &error));
    assert_string_equal(place.package, "onnxruntime-genai");
    assert_false(px_ort_has_cuda(&place));
    make_build(folder, "onnxruntime-genai-cuda", true);
    MUST(px_ort_find(NULL, "cpu", &place, &error));
    assert_string_equal(place.package, "onnxruntime-genai");
    MUST(px_ort_find(NULL, "WebGPU", &place, &error));
    assert_string_equal(place.package, "onnxruntime-genai");
    MUST(px_ort_find(NULL, "cuda", &place, &error));
    assert_string_equal(place.package, "onnxruntime-genai-cuda");
    assert_string_equal(place.version, "0.18.0");
    assert_true(px_ort_has_cuda(&place));
    assert_string_equal(place.genai,
                        test_path(path, "%s/onnxruntime-genai-cuda/0.18.0/libonnxruntime-genai.so", folder));
    assert_non_null(strstr(place.onnxruntime, "onnxruntime-genai-cuda/0.18.0/libonnxruntime.so.1.32.0"));
    unsetenv("XDG_DATA_HOME");
    test_remove(data);
}

/* CUDA is listed where the build has it and the system shows a GPU of NVIDIA, or WSL CUDA's library. */
static void lists_cuda_where_a_gpu_is(void **state)
{
    (void)state;
    static const struct {
        const char *machine, *provider, *pci;
    } cases[] = {{"nvidia", "cuda", "0000:01:00.0"}, {"wsl2", "cuda", ""}, {"meteor-lake", "cpu", NULL},
                 {"nvidia-no-driver", "cpu", NULL}};
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char root[TEST_PATH];
        px_units units;
        px_ort_api api = {.place = {.version = "0.18.0"}};
        tree_unpack(cases[i].machine, root);
        assert_string_equal(px_ort_provider_of_machine(root), cases[i].provider);
        test_path(api.place.genai, "%s/libonnxruntime-genai.so", root);
        px_ort_provider_list(&api, root, &units);
        assert_int_equal(units.count, 1); /* of a plain build */
        test_write_text(root, "libonnxruntime-genai-cuda.so", "");
        px_ort_provider_list(&api, root, &units);
        assert_int_equal(units.count, cases[i].pci ? 2 : 1);
        if (cases[i].pci) {
            assert_string_equal(units.units[1].unit, "cuda");
            assert_string_equal(units.units[1].pci, cases[i].pci);
            assert_int_equal(units.units[1].kind, PX_UNIT_GPU);
        }
        test_remove(root);
    }
}

static void describes_without_the_runtime(void **state)
{
    (void)state;
    phlox_model_options options = fake_options(NULL, 0);
    options.ort_library = "/nowhere";
    options.describe_only = true;
    phlox_model *model = family_open(MEMBER, &options);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_string_equal(info.device, "ort:cpu");
    assert_int_equal(info.kv_bytes_per_token, 2 * 2 * 64 * sizeof(float));
    assert_true(info.weight_bytes > 0);
    phlox_model_close(&model);
}

struct described {
    phlox_model_options options;
    const char *unit;
    size_t taken, refused;
};

/* What is refused could not have been exported. */
static void check_export(const char *path, const struct described *d)
{
    phlox_error error;
    char parent[TEST_PATH], out[TEST_PATH];
    px_ort_provider provider;
    phlox_export_options words;
    phlox_model_options options = d->options;
    if (options.weight_format == PHLOX_WEIGHTS_DEFAULT) options.weight_format = PHLOX_WEIGHTS_STORED;
    phlox_export_options_init(&words);
    px_ort_provider_of(d->unit, &provider);
    words.provider = provider.graph;
    test_directory(parent);
    MUST_FAIL(phlox_export(path, "onnx", test_path(out, "%s/out", parent), &options, &words, NULL, &error),
              PHLOX_ERROR_UNSUPPORTED, "does not keep to the last bit");
    test_remove(parent);
}

/* Opens a checkpoint that is there, and compares with what is said of it without that. */
static void describe_one(const char *path, const char *name, void *user)
{
    struct described *const d = user;
    phlox_error refused, error;
    px_checkpoint *checkpoint = NULL;
    px_device_model *model = NULL;
    px_device_info info, estimate = {.most_context = 0};
    if (px_checkpoint_open(path, &checkpoint, &error) != PHLOX_OK) return; /* a tokenizer */
    const px_device_options options = {.user = &d->options, .unit = d->unit};
    phlox_status status = px_device_ort.open(checkpoint, &options, &model, &refused);
    /* the played runtime has its own vocabulary, and says so when all else is done */
    const bool is_strange = status == PHLOX_ERROR_DEVICE && checkpoint->desc.vocab_size != FAKE_VOCAB;
    if (is_strange) status = PHLOX_OK;
    const phlox_status estimated = px_device_ort.estimate(checkpoint, &options, &estimate, &error);
    if (status != estimated)
        fail_msg("%s on %s: open() gives %d (%s), estimate() %d (%s)", name, d->unit, (int)status,
                 status == PHLOX_OK ? "" : refused.message, (int)estimated,
                 estimated == PHLOX_OK ? "" : error.message);
    if (status == PHLOX_OK && !is_strange) {
        px_device_ort.info(model, &info);
        if (estimate.most_context != info.most_context)
            fail_msg("%s on %s: a context of %zu, estimated as %zu", name, d->unit, info.most_context,
                     estimate.most_context);
    }
    if (status == PHLOX_OK) d->taken++;
    else d->refused++;
    if (status != PHLOX_OK) {
        assert_non_null(strstr(refused.message, "--device cpu and ort:cpu run it"));
        check_export(path, d);
    }
    px_device_ort.close(model);
    px_checkpoint_close(&checkpoint);
}

static void estimates(void **state)
{
    (void)state;
    static const struct {
        const char *unit, *setting;
        int32_t context;
        phlox_weight_format format;
        bool refuses;
    } cases[] = {
        {"cpu", NULL, 0, PHLOX_WEIGHTS_DEFAULT, false},
        {"cpu", NULL, 16, PHLOX_WEIGHTS_DEFAULT, false},
        {"cuda", "session.fake.device=CUDA", 0, PHLOX_WEIGHTS_DEFAULT, true},
        {"cuda", "session.fake.device=CUDA", 0, PHLOX_WEIGHTS_F16, true},
        {"cuda", "session.fake.device=CUDA", 0, PHLOX_WEIGHTS_INT8, true},
        {"dml", "session.fake.device=DirectML", 0, PHLOX_WEIGHTS_DEFAULT, true},
        {"dml", "session.fake.device=DirectML", 5, PHLOX_WEIGHTS_DEFAULT, true},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        struct described d = {.options = fake_options(&cases[i].setting, cases[i].setting != NULL),
                              .unit = cases[i].unit};
        d.options.device = NULL;
        d.options.context_size = cases[i].context;
        d.options.weight_format = cases[i].format;
        static const char *const forms[] = {"family", "gguf", "gptq", "openvino", "onnx", "onnx-variants"};
        for (size_t f = 0; f < PX_COUNT(forms); f++) {
            char path[TEST_PATH];
            test_for_each(test_path(path, PHLOX_SOURCE_DIR "/tests/golden/%s", forms[f]), describe_one, &d);
        }
        assert_true(d.taken >= 20);
        assert_int_equal(d.refused > 0, cases[i].refuses);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_whatever_the_runtime_can),
        cmocka_unit_test(last_logits_of_a_short_text),
        cmocka_unit_test(memory_grows_with_the_text),
        cmocka_unit_test(what_is_lost_is_read_again),
        cmocka_unit_test(libraries_that_cannot_be_used),
        cmocka_unit_test(the_device_that_was_asked_for),
        cmocka_unit_test(options_of_others),
        cmocka_unit_test(directml_has_no_window),
        cmocka_unit_test(a_model_that_cannot_be_made),
        cmocka_unit_test(an_append_that_fails),
        cmocka_unit_test(a_device_that_vanishes),
        cmocka_unit_test(an_answer_that_breaks_off),
        cmocka_unit_test(logits_that_are_not_finite),
        cmocka_unit_test(lists_what_the_build_has),
        cmocka_unit_test(of_two_builds_that_with_the_provider),
        cmocka_unit_test(lists_cuda_where_a_gpu_is),
        cmocka_unit_test(describes_without_the_runtime),
        cmocka_unit_test(estimates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
