/*
 * OpenVINO itself, where PHLOX_TEST_OPENVINO names its library or the directory of it: the logits of
 * transformers for every member of the family, the text of the built-in model, and what sequences can do;
 * on the CPU, and through the NPU's plugin with the CPU behind it. Without it these tests are skipped;
 * test_openvino_faults.c plays the runtime.
 */
#include "device/openvino.h"
#include "engine/family.h"

/* Seen: 2e-5; and where the NPU's plugin rounds float32 weights to float16, 1e-3. */
static const double exact_tolerance = 1e-4, rounded_tolerance = 4e-3;

static const char *library(void)
{
    const char *const path = getenv("PHLOX_TEST_OPENVINO");
    if (!path || !path[0]) skip();
    return path;
}

static phlox_model_options options_for_cpu(void)
{
    phlox_model_options options = family_options();
    options.device = "openvino:CPU";
    options.openvino_library = library();
    options.exact = true;
    return options;
}

/* The NPU's plugin, which splits the network and gives the parts to the CPU. */
static phlox_model_options options_for_npu(void)
{
    phlox_model_options options = options_for_cpu();
    options.device = "openvino:NPU";
    options.ov_config[options.ov_config_count++] = "NPUW_DEVICES=CPU";
    options.ov_config[options.ov_config_count++] = "NPUW_ONLINE_PIPELINE=NONE";
    options.max_prompt_len = 64;
    options.min_response_len = 64;
    return options;
}

static phlox_session *new_session(phlox_model *model)
{
    phlox_session *session = NULL;
    phlox_error error;
    MUST(phlox_session_create(model, &session, &error));
    return session;
}

static void append(phlox_session *session, const int32_t *ids, size_t count)
{
    phlox_error error;
    MUST(phlox_session_append(session, ids, count, NULL, NULL, NULL, &error));
}

/* ---- the golden logits --------------------------------------------------------------------- */

typedef struct golden {
    const char *name;
    char path[TEST_PATH];
    test_npy ids, logits, steps;
    size_t n, vocab;
    double tolerance;
    phlox_model *model;
    size_t boundary; /* longrope changes its factors behind so many tokens; or about half of them */
} golden;

static golden golden_open(const char *path, const char *name, const phlox_model_options *options)
{
    golden g = {.name = name, .tolerance = exact_tolerance};
    char file[TEST_PATH];
    test_path(g.path, "%s", path);
    g.ids = test_npy_open(test_path(file, "%s/ids.npy", path));
    g.logits = test_npy_open(test_path(file, "%s/logits.npy", path));
    g.steps = test_npy_open(test_path(file, "%s/steps.npy", path));
    g.n = (size_t)g.ids.rows;
    g.vocab = (size_t)g.logits.columns;
    g.model = family_open(g.path, options);
    phlox_model_info info;
    phlox_model_get_info(g.model, &info);
    assert_non_null(strstr(info.kernels, "OpenVINO 20"));
    g.boundary = info.longrope ? (size_t)info.original_context_size : g.n / 2;
    return g;
}

static void golden_close(golden *g)
{
    phlox_model_close(&g->model);
    test_npy_close(&g->ids);
    test_npy_close(&g->logits);
    test_npy_close(&g->steps);
}

static void check_rows(const golden *g, const char *how, const float *got, const test_npy *wanted,
                       size_t from, size_t to)
{
    char what[200];
    snprintf(what, sizeof what, "%s, %s, rows %zu to %zu", g->name, how, from, to);
    test_close(what, got + from * g->vocab, wanted->floats + from * g->vocab, (to - from) * g->vocab,
               g->tolerance);
}

/* The logits after `count` ids, which are those of a run that ends there. */
static void check_last(const golden *g, const char *how, const phlox_session *session, size_t count)
{
    char what[200];
    snprintf(what, sizeof what, "%s, %s, %zu ids", g->name, how, count);
    const float *const logits = phlox_session_logits(session);
    assert_non_null(logits);
    test_close(what, logits, g->steps.floats + (count - 1) * g->vocab, g->vocab, g->tolerance);
}

static void check_pieces(const golden *g, size_t piece)
{
    char how[64];
    snprintf(how, sizeof how, "%zu at a time", piece);
    phlox_session *session = new_session(g->model);
    for (size_t done = 0; done < g->n;) {
        const size_t count = PX_MIN(piece, g->n - done);
        append(session, g->ids.ints + done, count);
        done += count;
        check_last(g, how, session, done);
    }
    phlox_session_close(&session);
}

/* Two sequences in turns; the second is three ids behind. */
static void check_turns(const golden *g)
{
    phlox_session *const first = new_session(g->model), *const second = new_session(g->model);
    append(first, g->ids.ints, 5);
    append(second, g->ids.ints, 2);
    for (size_t i = 5; i < 9; i++) {
        append(first, g->ids.ints + i, 1);
        append(second, g->ids.ints + i - 3, 1);
        check_last(g, "the first of two", first, i + 1);
        check_last(g, "the second of two", second, i - 2);
    }
    phlox_session *closed = first;
    phlox_session_close(&closed);
    append(second, g->ids.ints + 6, 2);
    check_last(g, "the one that is left", second, 8);
    closed = second;
    phlox_session_close(&closed);
}

/* Cuts to every kind of place and goes on: behind a prompt, inside it, behind single tokens, to nothing. */
static void check_cuts(const golden *g)
{
    static const size_t cuts[] = {11, 10, 6, 5, 1, 0};
    phlox_error error;
    phlox_session *session = new_session(g->model);
    for (size_t c = 0; c < PX_COUNT(cuts); c++) {
        size_t count;
        phlox_session_ids(session, &count);
        if (count < 10) append(session, g->ids.ints + count, 10 - count);
        append(session, g->ids.ints + 10, 1);
        append(session, g->ids.ints + 11, 1);
        check_last(g, "before a cut", session, 12);
        MUST(phlox_session_truncate(session, cuts[c], &error));
        append(session, g->ids.ints + cuts[c], 1);
        check_last(g, "after a cut", session, cuts[c] + 1);
        append(session, g->ids.ints + cuts[c] + 1, 3);
        check_last(g, "and on", session, cuts[c] + 4);
        MUST(phlox_session_truncate(session, PX_MIN(cuts[c], (size_t)10), &error));
    }
    phlox_session_close(&session);
    session = new_session(g->model);
    append(session, g->ids.ints, 12);
    MUST(phlox_session_truncate(session, 7, &error));
    append(session, g->ids.ints + 7, 1);
    check_last(g, "cut inside the prompt", session, 8);
    phlox_session_close(&session);
}

/* A cut to where longrope has its other factors, and beyond that place again in one go. */
static void check_crossing(const golden *g)
{
    phlox_error error;
    phlox_session *session = new_session(g->model);
    append(session, g->ids.ints, g->n - 2);
    append(session, g->ids.ints + g->n - 2, 1);
    for (size_t back = 1; back <= 9; back += 8) {
        MUST(phlox_session_truncate(session, g->boundary - back, &error));
        append(session, g->ids.ints + g->boundary - back, back + 1);
        check_last(g, "cut and across the boundary", session, g->boundary + 1);
    }
    phlox_session_close(&session);
}

static void check_sequences(const golden *g)
{
    check_crossing(g);
    const size_t pieces[] = {1, 3, g->boundary - 1, g->boundary, g->boundary + 1, g->n};
    for (size_t i = 0; i < PX_COUNT(pieces); i++) check_pieces(g, pieces[i]);
    check_turns(g);
    check_cuts(g);
}

static void check_on_cpu(const char *path, const char *name, void *user)
{
    (void)user;
    const phlox_model_options options = options_for_cpu();
    golden g = golden_open(path, name, &options);
    float *got = family_whole(g.model, g.ids.ints, g.n);
    check_rows(&g, "whole", got, &g.logits, 0, g.n);
    free(got);
    got = family_run(g.model, g.ids.ints, g.n, 0, 1);
    check_rows(&g, "all one by one", got, &g.steps, 0, g.n);
    free(got);
    got = family_run(g.model, g.ids.ints, g.n, g.boundary - 1, g.n);
    check_rows(&g, "in two", got, &g.logits, g.boundary, g.n);
    free(got);
    check_sequences(&g);
    golden_close(&g);
}

static void cpu_equals_transformers(void **state)
{
    (void)state;
    library();
    assert_true(test_for_each(FAMILY, check_on_cpu, NULL) >= 10);
}

static void check_on_npu(const char *path, const char *name, void *user)
{
    (void)user;
    const phlox_model_options options = options_for_npu();
    golden g = golden_open(path, name, &options);
    if (strcmp(name, "f32") == 0) g.tolerance = rounded_tolerance;
    float *got = family_run(g.model, g.ids.ints, g.boundary, 0, g.boundary);
    check_rows(&g, "whole", got, &g.steps, 0, g.boundary);
    free(got);
    got = family_run(g.model, g.ids.ints, g.n, 0, 1);
    check_rows(&g, "all one by one", got, &g.steps, 0, g.n);
    free(got);
    check_sequences(&g);
    golden_close(&g);
}

static void npu_equals_transformers(void **state)
{
    (void)state;
    library();
    assert_true(test_for_each(FAMILY, check_on_npu, NULL) >= 10);
}

/* ---- exports of others --------------------------------------------------------------------- */

/* The IRs of optimum-intel, used in place: a cut in a window that their graph counts by places. */
static void check_export(const char *path, const char *name, void *user)
{
    (void)user;
    char file[TEST_PATH];
    test_npy ids = test_npy_open(test_path(file, "%s/ids.npy", path));
    const phlox_model_options options = options_for_cpu();
    phlox_model_options native = family_options();
    native.exact = true;
    phlox_model *const models[] = {family_open(path, &options), family_open(path, &native)};
    phlox_session *const sessions[] = {new_session(models[0]), new_session(models[1])};
    phlox_error error;
    const size_t n = (size_t)ids.rows, vocab = (size_t)family_vocab(models[0]);
    /* that one has the frequencies of its rotary embedding as float16 */
    const double tolerance = strcmp(name, "fp16") == 0 ? 1e-2 : exact_tolerance;
    assert_true(n >= 20);
    for (size_t cut = n - 1; cut > 5; cut -= 4) {
        for (size_t i = 0; i < 2; i++) {
            size_t count;
            phlox_session_ids(sessions[i], &count);
            append(sessions[i], ids.ints + count, n - count);
        }
        test_close(name, phlox_session_logits(sessions[0]), phlox_session_logits(sessions[1]), vocab,
                   tolerance);
        for (size_t i = 0; i < 2; i++) MUST(phlox_session_truncate(sessions[i], cut, &error));
    }
    for (size_t i = 0; i < 2; i++) {
        phlox_session *session = sessions[i];
        phlox_model *model = models[i];
        phlox_session_close(&session);
        phlox_model_close(&model);
    }
    test_npy_close(&ids);
}

static void exports_of_others(void **state)
{
    (void)state;
    library();
    assert_true(test_for_each(PHLOX_SOURCE_DIR "/tests/golden/openvino", check_export, NULL) >= 10);
}

/* ---- the built-in model -------------------------------------------------------------------- */

static phlox_model *open_builtin(const phlox_model_options *options)
{
    phlox_model *model = NULL;
    phlox_error error;
    MUST(phlox_model_open(NULL, options, &model, &error));
    return model;
}

typedef struct told {
    char text[2048];
    size_t size;
} told;

static bool tell(void *user, const phlox_piece *piece)
{
    told *const t = user;
    assert_true(t->size + piece->text.size < sizeof t->text);
    memcpy(t->text + t->size, piece->text.data, piece->text.size);
    t->size += piece->text.size;
    return true;
}

static void ask(const phlox_model_options *options, const char *question, told *out)
{
    phlox_model *model = open_builtin(options);
    phlox_session *session = new_session(model);
    phlox_error error;
    const phlox_message message = {phlox_text_of("user"), phlox_text_of(question)};
    int32_t ids[64];
    size_t count;
    MUST(phlox_chat_tokenize(model, &message, 1, true, ids, PX_COUNT(ids), &count, &error));
    assert_true(count <= PX_COUNT(ids));
    append(session, ids, count);
    phlox_generate_options generate;
    phlox_generate_options_init(&generate, model);
    generate.max_new_tokens = 60;
    *out = (told){.size = 0};
    MUST(phlox_session_generate(session, &generate, tell, out, NULL, &error));
    assert_true(out->size > 20);
    phlox_session_close(&session);
    phlox_model_close(&model);
}

static void tells_the_same(void **state)
{
    (void)state;
    phlox_model_options native = family_options(), cpu = options_for_cpu(), npu = options_for_npu();
    native.exact = true;
    static const char *const questions[] = {"Who are you?", "What is an NPU?", "Tell me about Phi-3."};
    for (size_t i = 0; i < PX_COUNT(questions); i++) {
        told wanted, got;
        ask(&native, questions[i], &wanted);
        ask(&cpu, questions[i], &got);
        assert_string_equal(got.text, wanted.text);
        ask(&npu, questions[i], &got);
        assert_string_equal(got.text, wanted.text);
    }
}

/* ---- longer than the NPU's programs -------------------------------------------------------- */

enum { LONG = 190 };

static void make_ids(int32_t *ids, size_t count, int32_t vocab)
{
    uint64_t random = 7;
    for (size_t i = 0; i < count; i++) ids[i] = (int32_t)(test_random(&random) % (uint64_t)vocab);
}

/* The native engine's logits of all positions. */
static float *native_logits(const int32_t *ids, size_t *vocab)
{
    phlox_model_options options = family_options();
    options.exact = true;
    phlox_model *model = open_builtin(&options);
    *vocab = (size_t)family_vocab(model);
    float *const logits = family_whole(model, ids, LONG);
    phlox_model_close(&model);
    return logits;
}

/* A prompt of 150 in a program for 64, a text that goes on in pieces, a cut far back, and the end. */
static void goes_beyond_the_prompt(void **state)
{
    (void)state;
    phlox_model_options options = options_for_npu();
    options.min_response_len = 128;
    phlox_model *model = open_builtin(&options);
    int32_t ids[LONG + 10];
    size_t vocab, count;
    make_ids(ids, LONG + 10, family_vocab(model));
    float *const wanted = native_logits(ids, &vocab);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_int_equal(info.context_size, 64 + 128 - 1);
    phlox_session *session = new_session(model);
    static const size_t ends[] = {150, 151, 160, LONG};
    for (size_t i = 0; i < PX_COUNT(ends); i++) {
        phlox_session_ids(session, &count);
        append(session, ids + count, ends[i] - count);
        test_close("beyond the prompt", phlox_session_logits(session), wanted + (ends[i] - 1) * vocab,
                   vocab, exact_tolerance);
    }
    phlox_error error;
    MUST(phlox_session_truncate(session, 100, &error));
    append(session, ids + 100, 50);
    test_close("after a cut", phlox_session_logits(session), wanted + 149 * vocab, vocab,
               exact_tolerance);
    MUST_FAIL(phlox_session_append(session, ids + 150, 50, NULL, NULL, NULL, &error),
              PHLOX_ERROR_CONTEXT_FULL, "191");
    append(session, ids + 150, 1);
    test_close("after an error", phlox_session_logits(session), wanted + 150 * vocab, vocab,
               exact_tolerance);
    phlox_session_close(&session);
    phlox_model_close(&model);
    /* whoever asks for more context than the programs hold is told which words help */
    options.context_size = 300;
    MUST_FAIL(phlox_model_open(NULL, &options, &model, &error), PHLOX_ERROR_ARGUMENT, "--max-prompt-len");
    free(wanted);
}

/* A conversation whose prompts are read in chunks that the plugin keeps. */
static void goes_on(void **state)
{
    (void)state;
    phlox_model_options options = options_for_npu();
    options.max_prompt_len = 384;
    phlox_model *model = open_builtin(&options);
    enum { ALL = 440 };
    int32_t ids[ALL];
    size_t count;
    make_ids(ids, ALL, family_vocab(model));
    phlox_model_options native = family_options();
    native.exact = true;
    phlox_model *const other = open_builtin(&native);
    phlox_session *session = new_session(model), *const expected = new_session(other);
    static const size_t ends[] = {60, 61, 300, 301, 360, 370, 383, 420, ALL};
    for (size_t i = 0; i < PX_COUNT(ends); i++) {
        phlox_session_ids(session, &count);
        append(session, ids + count, ends[i] - count);
        append(expected, ids + count, ends[i] - count);
        test_close("a conversation", phlox_session_logits(session), phlox_session_logits(expected),
                   (size_t)family_vocab(model), exact_tolerance);
    }
    phlox_session *closed = expected;
    phlox_session_close(&closed);
    phlox_session_close(&session);
    phlox_model_close(&model);
    model = other;
    phlox_model_close(&model);
}

/* Below the session, which knows that this model was made for 128 tokens: a prompt, and then tokens one by
 * one. Their logits, [count - prompt, vocab]. */
static float *deep_logits(px_device_model *model, const int32_t *ids, size_t prompt, size_t count,
                          size_t vocab)
{
    phlox_error error;
    px_sequence *sequence = NULL;
    float *const logits = calloc((count - prompt) * vocab, sizeof *logits);
    assert_non_null(logits);
    MUST(px_device_openvino.sequence_create(model, &sequence, &error));
    px_device_info info;
    px_device_openvino.info(model, &info);
    for (size_t done = 0, piece; done < count; done += piece) {
        piece = done < prompt ? PX_MIN(prompt - done, info.most_tokens) : 1;
        const px_batch_item item = {
            .sequence = sequence, .ids = ids + done, .count = piece,
            .logits = done < prompt ? NULL : logits + (done - prompt) * vocab};
        MUST(px_device_openvino.forward(model, &item, 1, &error));
    }
    px_device_openvino.sequence_free(sequence);
    return logits;
}

/* A text that grows beyond a size for which the plugin would have a program of its own, behind a longer one. */
static void grows(void **state)
{
    (void)state;
    enum { PROMPT = 1000, COUNT = 1180, LONGER = 1400, ALL = 1420, VOCAB = 131 };
    phlox_error error;
    phlox_model_options users[2] = {options_for_cpu(), options_for_npu()};
    users[1].max_prompt_len = 1472;
    px_checkpoint *checkpoint = NULL;
    MUST(px_checkpoint_open(FAMILY "/phi4", &checkpoint, &error));
    int32_t ids[ALL];
    make_ids(ids, ALL, VOCAB);
    float *grown[2];
    for (int i = 0; i < 2; i++) {
        const px_device_options options = {.user = &users[i], .unit = i ? "NPU" : "CPU"};
        px_device_model *model = NULL;
        MUST(px_device_openvino.open(checkpoint, &options, &model, &error));
        free(deep_logits(model, ids, LONGER, ALL, VOCAB));
        grown[i] = deep_logits(model, ids, PROMPT, COUNT, VOCAB);
        px_device_openvino.close(model);
    }
    test_close("a text that grows", grown[1], grown[0], (COUNT - PROMPT) * VOCAB, exact_tolerance);
    free(grown[0]);
    free(grown[1]);
    px_checkpoint_close(&checkpoint);
}

/* Steps of several tokens, which give logits of each. */
static void takes_several_at_a_time(void **state)
{
    (void)state;
    phlox_model_options options = options_for_npu();
    options.min_response_len = 128;
    options.ov_config[options.ov_config_count++] = "NPUW_LLM_MAX_GENERATION_TOKEN_LEN=8";
    phlox_model *model = open_builtin(&options);
    int32_t ids[LONG];
    size_t vocab;
    make_ids(ids, LONG, family_vocab(model));
    float *const wanted = native_logits(ids, &vocab), *const got = calloc(20 * vocab, sizeof *got);
    phlox_session *session = new_session(model);
    phlox_error error;
    append(session, ids, 100);
    test_close("by steps of 8", phlox_session_logits(session), wanted + 99 * vocab, vocab,
               exact_tolerance);
    MUST(phlox_session_append(session, ids + 100, 20, got, NULL, NULL, &error));
    test_close("all of them", got, wanted + 100 * vocab, 20 * vocab, exact_tolerance);
    MUST(phlox_session_truncate(session, 105, &error));
    MUST(phlox_session_append(session, ids + 105, 11, got, NULL, NULL, &error));
    test_close("after a cut", got, wanted + 105 * vocab, 11 * vocab, exact_tolerance);
    phlox_session_close(&session);
    phlox_model_close(&model);
    free(wanted);
    free(got);
}

/* The logits behind a text of which the second half is read in steps, [vocab]; free() them. */
static float *stepped_logits(const phlox_model_options *options, size_t *vocab, phlox_status *status)
{
    phlox_error error;
    int32_t ids[100];
    phlox_model *model = open_builtin(options);
    phlox_session *session = new_session(model);
    *vocab = (size_t)family_vocab(model);
    make_ids(ids, PX_COUNT(ids), (int32_t)*vocab);
    float *const logits = calloc(*vocab, sizeof *logits);
    assert_non_null(logits);
    *status = phlox_session_append(session, ids, PX_COUNT(ids), NULL, NULL, NULL, &error);
    if (*status == PHLOX_OK) memcpy(logits, phlox_session_logits(session), *vocab * sizeof *logits);
    phlox_session_close(&session);
    phlox_model_close(&model);
    return logits;
}

/* With a cache of integers the plugin fails or gives wrong logits. What it compiled for that is not what a run
 * without it finds in phlox's cache. */
static void properties_that_spoil(void **state)
{
    (void)state;
    char cache[TEST_PATH];
    size_t vocab;
    phlox_status status;
    test_directory(cache);
    phlox_model_options options = options_for_npu();
    float *const wanted = stepped_logits(&options, &vocab, &status);
    assert_int_equal(status, PHLOX_OK);
    options.no_cache = false;
    options.cache_dir = cache;
    options.ov_config[options.ov_config_count++] = "KV_CACHE_PRECISION=u8";
    float *const spoilt = stepped_logits(&options, &vocab, &status);
    assert_true(status != PHLOX_OK || memcmp(spoilt, wanted, vocab * sizeof *wanted) != 0);
    options.ov_config_count--;
    float *const got = stepped_logits(&options, &vocab, &status);
    assert_int_equal(status, PHLOX_OK);
    test_close("behind one that was spoilt", got, wanted, vocab, exact_tolerance);
    free(wanted);
    free(spoilt);
    free(got);
    test_remove(cache);
}

/* Without --exact: bf16 or float16 arithmetic and cache. What was seen, with bf16, is 0.1. */
static void default_settings(void **state)
{
    (void)state;
    phlox_model_options options = options_for_cpu();
    options.exact = false;
    int32_t ids[LONG];
    size_t vocab;
    phlox_model *model = open_builtin(&options);
    make_ids(ids, LONG, family_vocab(model));
    float *const wanted = native_logits(ids, &vocab), *const got = family_whole(model, ids, LONG);
    test_close("default settings", got, wanted, LONG * vocab, 0.5);
    phlox_model_close(&model);
    free(wanted);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_equals_transformers),
        cmocka_unit_test(npu_equals_transformers),
        cmocka_unit_test(exports_of_others),
        cmocka_unit_test(tells_the_same),
        cmocka_unit_test(goes_beyond_the_prompt),
        cmocka_unit_test(goes_on),
        cmocka_unit_test(grows),
        cmocka_unit_test(takes_several_at_a_time),
        cmocka_unit_test(properties_that_spoil),
        cmocka_unit_test(default_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
