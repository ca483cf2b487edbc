/*
 * ONNX Runtime GenAI's own CPU provider, where PHLOX_TEST_ORT names the runtime (a library or its directory);
 * else everything is skipped. Truth: the logits of transformers for the members of the family, and the native
 * engine's greedy text of the built-in model. (Under AddressSanitizer the runtime's exceptions need
 * LD_PRELOAD=libstdc++.so.6: the program is C, and the sanitizer looks for them when it starts.)
 */
#include "engine/family.h"

#include "api/model.h"
#include "device/ort.h"
#include "device/ort_model.h"

#include <jansson.h>

static const double exact_bound = 2e-4; /* of the logits, which are about 8: 1.5e-5 was seen */

static const char *runtime_path(void)
{
    const char *const path = getenv("PHLOX_TEST_ORT");
    return path && path[0] ? path : NULL;
}

static phlox_model_options ort_options(const char *device)
{
    phlox_model_options options = family_options();
    options.device = device;
    options.ort_library = runtime_path();
    return options;
}

/* ---- the members of the family ------------------------------------------------------------- */

typedef struct member {
    char name[64];
    test_npy ids, logits, steps;
    size_t n, vocab;
    phlox_model *model;
    size_t boundary; /* of longrope, else the middle */
} member;

static member member_open(const char *path, const char *name, const phlox_model_options *options)
{
    member m = {.model = family_open(path, options)};
    char file[TEST_PATH];
    snprintf(m.name, sizeof m.name, "%s", name);
    m.ids = test_npy_open(test_path(file, "%s/ids.npy", path));
    m.logits = test_npy_open(test_path(file, "%s/logits.npy", path));
    m.steps = test_npy_open(test_path(file, "%s/steps.npy", path));
    m.n = (size_t)m.ids.rows;
    m.vocab = (size_t)m.logits.columns;
    phlox_model_info info;
    phlox_model_get_info(m.model, &info);
    m.boundary = info.longrope ? (size_t)info.original_context_size : m.n / 2;
    assert_string_equal(info.device, options->device);
    return m;
}

static void member_close(member *m)
{
    test_npy_close(&m->ids);
    test_npy_close(&m->logits);
    test_npy_close(&m->steps);
    phlox_model_close(&m->model);
}

static void check_rows(const member *m, const char *how, const float *got, const test_npy *wanted, size_t from,
                       size_t to)
{
    char what[200];
    snprintf(what, sizeof what, "%s, %s, rows %zu to %zu", m->name, how, from, to);
    test_close(what, got + from * m->vocab, wanted->floats + from * m->vocab, (to - from) * m->vocab,
               exact_bound);
}

/* Everything at once, in pieces, and across the longrope boundary. */
static void check_member(const member *m, const char *how)
{
    static const size_t pieces[] = {1, 3};
    float *got = family_whole(m->model, m->ids.ints, m->n);
    check_rows(m, how, got, &m->logits, 0, m->n);
    free(got);
    const size_t heads[] = {1, m->boundary - 1, m->boundary, m->boundary + 1};
    for (size_t i = 0; i < PX_COUNT(heads); i++) {
        got = family_run(m->model, m->ids.ints, m->n, heads[i], 1);
        check_rows(m, how, got, &m->steps, heads[i] - 1, m->n);
        free(got);
        /* the rest at once: all of it sees the factors of the whole length */
        got = family_run(m->model, m->ids.ints, m->n, heads[i], m->n);
        check_rows(m, how, got, &m->steps, heads[i] - 1, heads[i]);
        check_rows(m, how, got, &m->logits, heads[i], m->n);
        free(got);
    }
    for (size_t i = 0; i < PX_COUNT(pieces); i++) {
        phlox_model *const model = m->model;
        const size_t most = model->runtime.most_tokens;
        model->runtime.most_tokens = pieces[i]; /* the whole, in pieces that know how long it becomes */
        got = family_whole(model, m->ids.ints, m->n);
        model->runtime.most_tokens = most;
        check_rows(m, how, got, &m->logits, 0, m->n);
        free(got);
    }
}

static void visit_member(const char *path, const char *name, void *user)
{
    (void)user;
    const phlox_model_options options = ort_options("ort:cpu");
    member m = member_open(path, name, &options);
    check_member(&m, "as it is");
    /* generators that are too small again and again */
    m.model->device_model->least_capacity = 4;
    check_member(&m, "growing");
    member_close(&m);
}

static void equals_transformers(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    assert_true(test_for_each(FAMILY, visit_member, NULL) >= 10);
}

/* What is done for runtimes that append nothing behind what is there, on one that would. */
static void visit_choosing(const char *path, const char *name, void *user)
{
    (void)user;
    const phlox_model_options options = ort_options("ort:cpu");
    member m = member_open(path, name, &options);
    px_device_model *const device = m.model->device_model;
    device->continues = device->rewinds = false;
    check_member(&m, "anew each time");
    device->choice = px_calloc(m.vocab, sizeof *device->choice);
    assert_non_null(device->choice);
    check_member(&m, "by the runtime's choice");
    member_close(&m);
}

static void goes_on_by_the_runtimes_choice(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    test_for_each(FAMILY, visit_choosing, NULL);
}

/* ---- sessions ------------------------------------------------------------------------------ */

typedef struct timeline {
    phlox_session *session;
    size_t length;
} timeline;

/* Cuts back, or not, and appends. */
static void change(const member *m, timeline *t, uint64_t *random)
{
    phlox_error error;
    if (t->length && test_random(random) % 2) {
        t->length = test_random(random) % t->length;
        MUST(phlox_session_truncate(t->session, t->length, &error));
    }
    const size_t wanted = 1 + test_random(random) % (test_random(random) % 3 ? 5 : 40);
    const size_t count = PX_MIN(wanted, m->n - t->length);
    if (!count) return;
    MUST(phlox_session_append(t->session, m->ids.ints + t->length, count, NULL, NULL, NULL, &error));
    t->length += count;
    test_close("a session", phlox_session_logits(t->session), m->steps.floats + (t->length - 1) * m->vocab,
               m->vocab, exact_bound);
}

static void interleave(const member *m, uint64_t seed)
{
    timeline lines[3] = {{0}};
    phlox_error error;
    for (size_t i = 0; i < PX_COUNT(lines); i++) MUST(phlox_session_create(m->model, &lines[i].session, &error));
    for (int round = 0; round < 150; round++) change(m, &lines[test_random(&seed) % PX_COUNT(lines)], &seed);
    for (size_t i = 0; i < PX_COUNT(lines); i++) phlox_session_close(&lines[i].session);
}

static void sessions_do_not_disturb_each_other(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    static const char *const names[] = {"phi4-mini", "phi3-mini-4k"};
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        char path[TEST_PATH];
        const phlox_model_options options = ort_options("ort:cpu");
        member m = member_open(test_path(path, FAMILY "/%s", names[i]), names[i], &options);
        interleave(&m, 1);
        m.model->device_model->least_capacity = 4;
        interleave(&m, 2);
        m.model->device_model->rewinds = false;
        interleave(&m, 3);
        m.model->device_model->continues = false;
        interleave(&m, 4);
        member_close(&m);
    }
}

/* ---- the length at which real models change ------------------------------------------------- */

/* phi4-mini with the original context of the real one. */
static void make_long_member(char directory[TEST_PATH])
{
    char path[TEST_PATH];
    test_directory(directory);
    test_copy(FAMILY "/phi4-mini", directory);
    json_t *const config = json_load_file(test_path(path, "%s/config.json", directory), 0, NULL);
    assert_non_null(config);
    json_object_set_new(config, "original_max_position_embeddings", json_integer(4096));
    json_object_set_new(config, "max_position_embeddings", json_integer(16384));
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);
}

static void crosses_4096_tokens(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    /* a length to cut back to, then tokens to append */
    static const size_t steps[][2] = {{0, 4094}, {4094, 1}, {4095, 1}, {4096, 1}, {4097, 1}, {4098, 40},
                                      {4090, 3}, {4093, 100}, {0, 4300}, {4100, 1}, {50, 4100}};
    static int32_t ids[4400];
    uint64_t random = 1;
    for (size_t i = 0; i < PX_COUNT(ids); i++) ids[i] = (int32_t)(test_random(&random) % 203);
    char directory[TEST_PATH];
    make_long_member(directory);
    const phlox_model_options native = family_options(), ort = ort_options("ort:cpu");
    phlox_model *models[] = {family_open(directory, &native), family_open(directory, &ort)};
    phlox_session *sessions[2] = {NULL};
    phlox_error error;
    for (int m = 0; m < 2; m++) MUST(phlox_session_create(models[m], &sessions[m], &error));
    for (size_t i = 0; i < PX_COUNT(steps); i++) {
        for (int m = 0; m < 2; m++) {
            MUST(phlox_session_truncate(sessions[m], steps[i][0], &error));
            MUST(phlox_session_append(sessions[m], ids + steps[i][0], steps[i][1], NULL, NULL, NULL, &error));
        }
        char what[64];
        snprintf(what, sizeof what, "%zu tokens behind %zu", steps[i][1], steps[i][0]);
        test_close(what, phlox_session_logits(sessions[1]), phlox_session_logits(sessions[0]), 203, exact_bound);
    }
    for (int m = 0; m < 2; m++) {
        phlox_session_close(&sessions[m]);
        phlox_model_close(&models[m]);
    }
    test_remove(directory);
}

/* ---- integers ------------------------------------------------------------------------------ */

/* The largest difference of ort:cpu from the native engine with --exact, of the same weights. */
static double difference(const char *path, phlox_model_options options, const int32_t *ids, size_t n)
{
    phlox_model *ort = family_open(path, &options);
    options.device = "cpu";
    options.exact = true;
    phlox_model *native = family_open(path, &options);
    float *const a = family_whole(native, ids, n), *const b = family_whole(ort, ids, n);
    double most = 0;
    for (size_t i = 0; i < n * (size_t)family_vocab(ort); i++) most = PX_MAX(most, fabs((double)a[i] - (double)b[i]));
    free(a);
    free(b);
    phlox_model_close(&native);
    phlox_model_close(&ort);
    return most;
}

static void integers_near_the_native_engine(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    static const int32_t ids[] = {1, 5, 9, 2, 6, 120, 3, 100, 77, 64, 120, 120, 8};
    static const phlox_weight_format formats[] = {PHLOX_WEIGHTS_INT8, PHLOX_WEIGHTS_INT4};
    for (size_t f = 0; f < PX_COUNT(formats); f++) {
        for (int exact = 0; exact < 2; exact++) {
            phlox_model_options options = ort_options("ort:cpu");
            options.weight_format = formats[f];
            if (formats[f] == PHLOX_WEIGHTS_INT4) {
                options.group_size = 32;
                options.group_size_fallback = PHLOX_FALLBACK_IGNORE;
            }
            options.symmetry = PHLOX_SYM;
            options.exact = exact;
            /* without --exact activations are rounded to int8: 0.32 was seen, as with the native engine */
            const double most = difference(FAMILY "/phi3-mini-4k", options, ids, PX_COUNT(ids));
            if (!(most <= (exact ? exact_bound : 0.5)))
                fail_msg("int%d%s: logits differ by %g", f ? 4 : 8, exact ? ", exact" : "", most);
        }
    }
}

/* A directory for the runtime is used where it lies, but for products that are to be exact. */
static void directories_where_they_lie(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    static const int32_t ids[] = {1, 5, 9, 2, 6, 120, 3};
    char parent[TEST_PATH], path[TEST_PATH];
    test_directory(parent);
    test_path(path, "%s/int4", parent);
    phlox_model_options options = family_options();
    options.weight_format = PHLOX_WEIGHTS_INT4;
    options.group_size = 32;
    options.group_size_fallback = PHLOX_FALLBACK_IGNORE;
    phlox_error error;
    MUST(phlox_export(FAMILY "/phi3-mini-4k", "onnx", path, &options, NULL, NULL, &error));
    double most[2];
    for (int exact = 0; exact < 2; exact++) {
        options = ort_options("ort:cpu");
        options.exact = exact;
        phlox_model *model = family_open(path, &options);
        phlox_model_info info;
        phlox_model_get_info(model, &info);
        assert_int_equal(info.from_cache, !exact);
        assert_non_null(strstr(info.weights, "int4"));
        phlox_model_close(&model);
        most[exact] = difference(path, options, ids, PX_COUNT(ids));
    }
    /* a directory that is used where it lies says what its cache is when it runs */
    phlox_model *model = NULL;
    options = ort_options("ort:cpu");
    options.kv_cache = PHLOX_KV_F16;
    MUST_FAIL(phlox_model_open(path, &options, &model, &error), PHLOX_ERROR_UNSUPPORTED,
              "--kv-cache f16: ort:cpu keeps keys and values as float32");
    options.kv_cache = PHLOX_KV_F32;
    model = family_open(path, &options);
    phlox_model_close(&model);
    if (!(most[1] <= exact_bound && most[0] > 10 * exact_bound && most[0] <= 0.5))
        fail_msg("logits differ by %g, exact by %g", most[0], most[1]);
    test_remove(parent);
}

/* ---- the built-in model -------------------------------------------------------------------- */

#ifdef PHLOX_HAS_BUILTIN
static bool keep_text(void *user, const phlox_piece *piece)
{
    char *const text = user;
    strncat(text, piece->text.data ? piece->text.data : "", PX_MIN(piece->text.size, 4000 - strlen(text)));
    return true;
}

static void answer(const char *device, const char *question, bool exact, char *text)
{
    phlox_model_options options = ort_options(device);
    options.exact = exact;
    phlox_model *model = family_open(NULL, &options);
    phlox_session *session = NULL;
    phlox_error error;
    int32_t ids[512];
    size_t count;
    const phlox_message message = {phlox_text_of("user"), phlox_text_of(question)};
    MUST(phlox_chat_tokenize(model, &message, 1, true, ids, PX_COUNT(ids), &count, &error));
    MUST(phlox_session_create(model, &session, &error));
    MUST(phlox_session_append(session, ids, count, NULL, NULL, NULL, &error));
    phlox_generate_options generate;
    phlox_generate_options_init(&generate, model);
    generate.do_sample = false;
    generate.max_new_tokens = 80;
    text[0] = 0;
    MUST(phlox_session_generate(session, &generate, keep_text, text, NULL, &error));
    phlox_session_close(&session);
    phlox_model_close(&model);
}

static void same_text_as_the_native_engine(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    static const char *const questions[] = {"Introduce yourself.", "What is an NPU?", "What is Phi-3?"};
    for (size_t i = 0; i < PX_COUNT(questions); i++) {
        for (int exact = 0; exact < 2; exact++) {
            char native[4096], ort[4096];
            answer("cpu", questions[i], exact, native);
            answer("ort:cpu", questions[i], exact, ort);
            assert_true(strlen(native) > 10);
            assert_string_equal(ort, native);
        }
    }
}
#endif

/* ---- what the runtime is asked, and does not do -------------------------------------------- */

static void refusals_are_passed_on(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    static const struct {
        const char *device, *word;
    } cases[] = {
        {"ort:cuda", "phlox runtime add onnxruntime-genai-cuda"},
        {"cuda", "phlox runtime add onnxruntime-genai-cuda"},
        {"ort:dml", "onnxruntime-genai-directml"},
        {"ort:QNN", "QNN"},
        {"ort:OpenVINO", "--device openvino:UNIT"},
        {"ort:WebGPU", "WebGPU"},
        {"ort:NvTensorRtRtx", "RTX"},
        {"ort:RyzenAI", "Ryzen AI Software"},
        {"ort:VitisAI", "Ryzen AI Software"},
        {"ort:AMDGPU", "AMD"},
        {"ort:CPUExecutionProvider", "ort:CPUExecutionProvider"},
        {"ort:nonsense", "Unknown provider name 'nonsense'"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        const phlox_model_options options = ort_options(cases[i].device);
        phlox_model *model = NULL;
        phlox_error error;
        MUST_FAIL(phlox_model_open(FAMILY "/phi4-mini", &options, &model, &error), PHLOX_ERROR_DEVICE,
                  cases[i].word);
        assert_null(model);
    }
}

static void lists_the_cpu(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    const phlox_model_options options = ort_options("ort:cpu");
    px_units units;
    phlox_error error;
    MUST(px_device_ort.list(&options, &units, &error));
    assert_true(units.count >= 1);
    assert_string_equal(units.units[0].unit, "cpu");
    assert_int_equal(units.units[0].kind, PX_UNIT_CPU);
    assert_non_null(strstr(units.version, " with ONNX Runtime 1."));
    assert_true(test_exists(units.library));
    char found[TEST_PATH];
    assert_true(px_device_ort.find(&options, found, sizeof found));
    assert_string_equal(found, units.library);
}

/* The runtime of the wheel keeps a device id and a database of events there unless it is told not to. */
static void leaves_nothing_behind(void **state)
{
    (void)state;
    if (!runtime_path()) skip();
    char home[TEST_PATH];
    test_directory(home);
    assert_int_equal(setenv("HOME", home, 1), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", home, 1), 0);
    unsetenv("ORT_DISABLE_TELEMETRY");
    const phlox_model_options options = ort_options("ort:cpu");
    phlox_model *model = family_open(FAMILY "/phi4-mini", &options);
    const int32_t id = 1;
    free(family_whole(model, &id, 1));
    phlox_model_close(&model);
    assert_int_equal(test_for_each(home, NULL, NULL), 0);
    test_remove(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_nothing_behind), /* first: the runtime reads the environment once */
        cmocka_unit_test(equals_transformers),
        cmocka_unit_test(goes_on_by_the_runtimes_choice),
        cmocka_unit_test(sessions_do_not_disturb_each_other),
        cmocka_unit_test(crosses_4096_tokens),
        cmocka_unit_test(integers_near_the_native_engine),
        cmocka_unit_test(directories_where_they_lie),
#ifdef PHLOX_HAS_BUILTIN
        cmocka_unit_test(same_text_as_the_native_engine),
#endif
        cmocka_unit_test(refusals_are_passed_on),
        cmocka_unit_test(lists_the_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
