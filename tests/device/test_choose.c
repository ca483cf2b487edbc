/* Names of devices, trials and what they are kept for, and which device wins. */
#include "support.h"

#include "api/builtin.h"
#include "base/os.h"
#include "checkpoint/computed.h"
#include "device/choose.h"

#include <fcntl.h>

/* ---- names --------------------------------------------------------------------------------- */

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *device, *unit;
    } good[] = {
        {"cpu", "cpu", ""},          {"CPU", "cpu", ""},         {"npu", "openvino", "NPU"},
        {"gpu", "openvino", "GPU"},  {"openvino:GPU.1", "openvino", "GPU.1"},
        {"cuda", "ort", "cuda"},     {"dml", "ort", "dml"},      {"ort:QNN", "ort", "QNN"},
        {"OpenVINO:CPU", "openvino", "CPU"},
    };
    phlox_error error;
    const px_device *device;
    char unit[32], full[64];
    for (size_t i = 0; i < PX_COUNT(good); i++) {
        MUST(px_device_by_name(good[i].name, &device, unit, sizeof unit, &error));
        assert_string_equal(device->name, good[i].device);
        assert_string_equal(unit, good[i].unit);
    }
    static const char *const bad[] = {"", "abacus", "openvino", "openvino:", "ort", "cpu:0", "npu:1", ":NPU",
                                      "openvino:a-unit-whose-name-is-far-too-long-to-be-one"};
    for (size_t i = 0; i < PX_COUNT(bad); i++)
        MUST_FAIL(px_device_by_name(bad[i], &device, unit, sizeof unit, &error), PHLOX_ERROR_ARGUMENT,
                  "phlox devices");
    px_device_unit_name(px_device_all()[0], "", full, sizeof full);
    assert_string_equal(full, "cpu");
    MUST(px_device_by_name("npu", &device, unit, sizeof unit, &error));
    px_device_unit_name(device, unit, full, sizeof full);
    assert_string_equal(full, "openvino:NPU");
    assert_int_equal(px_unit_kind_of("NPU"), PX_UNIT_NPU);
    assert_int_equal(px_unit_kind_of("QNN"), PX_UNIT_NPU);
    assert_int_equal(px_unit_kind_of("GPU.0"), PX_UNIT_GPU);
    assert_int_equal(px_unit_kind_of("cuda"), PX_UNIT_GPU);
    assert_int_equal(px_unit_kind_of("cpu"), PX_UNIT_CPU);
    assert_int_equal(px_unit_kind_of(""), PX_UNIT_CPU);
}

/* ---- picking ------------------------------------------------------------------------------- */

/* Of a network without layers only reading weights counts: the rate is bytes of a step times steps a second. */
static px_trial trial_of(const char *device, px_unit_kind kind, double rate)
{
    px_trial trial = {.kind = kind, .is_right = true, .read_rate = rate};
    snprintf(trial.device, sizeof trial.device, "%s", device);
    return trial;
}

static const char *pick(const px_trial *trials, size_t count, phlox_preference prefer, bool on_battery,
                        char reason[512])
{
    const px_desc desc = {.num_hidden_layers = 0};
    const px_trial *const won =
        px_trials_pick(trials, count, &desc, 1000, prefer, on_battery, reason, 512);
    return won ? won->device : "none";
}

static void the_right_one_wins(void **state)
{
    (void)state;
    char reason[512];
    px_trial trials[] = {
        trial_of("cpu", PX_UNIT_CPU, 10000),          trial_of("openvino:CPU", PX_UNIT_CPU, 8000),
        trial_of("openvino:GPU.0", PX_UNIT_GPU, 30000), trial_of("openvino:NPU", PX_UNIT_NPU, 16000),
    };
    enum { ALL = 4 };
    assert_string_equal(pick(trials, ALL, PHLOX_PREFER_DEFAULT, false, reason), "openvino:GPU.0");
    assert_non_null(strstr(reason, "the fastest"));
    assert_non_null(strstr(reason, "about 30 tok/s; cpu 10, openvino:CPU 8, openvino:NPU 16"));
    assert_string_equal(pick(trials, ALL, PHLOX_PREFER_SPEED, true, reason), "openvino:GPU.0");
    assert_string_equal(pick(trials, ALL, PHLOX_PREFER_EFFICIENCY, false, reason), "openvino:NPU");
    assert_string_equal(pick(trials, ALL, PHLOX_PREFER_QUIET, false, reason), "openvino:NPU");
    /* On battery the NPU must be half as fast as the fastest. */
    assert_string_equal(pick(trials, ALL, PHLOX_PREFER_DEFAULT, true, reason), "openvino:NPU");
    assert_non_null(strstr(reason, "battery"));
    trials[3].read_rate = 14000;
    assert_string_equal(pick(trials, ALL, PHLOX_PREFER_DEFAULT, true, reason), "openvino:GPU.0");
    assert_string_equal(pick(trials, ALL, PHLOX_PREFER_EFFICIENCY, true, reason), "openvino:NPU");
    /* A tie goes to what is more efficient, and to the native engine among equals. */
    trials[3].read_rate = 29500;
    assert_string_equal(pick(trials, ALL, PHLOX_PREFER_SPEED, false, reason), "openvino:NPU");
    trials[1].read_rate = 10100;
    assert_string_equal(pick(trials, 2, PHLOX_PREFER_SPEED, false, reason), "cpu");
    assert_string_equal(pick(trials, 2, PHLOX_PREFER_EFFICIENCY, false, reason), "cpu");
    trials[1].read_rate = 11000;
    assert_string_equal(pick(trials, 2, PHLOX_PREFER_SPEED, false, reason), "openvino:CPU");
}

static void the_wrong_never_win(void **state)
{
    (void)state;
    char reason[512];
    px_trial trials[] = {
        trial_of("cpu", PX_UNIT_CPU, 10000),
        trial_of("openvino:GPU.0", PX_UNIT_GPU, 90000),
        trial_of("ort:cuda", PX_UNIT_GPU, 0),
    };
    trials[1].is_right = false;
    strcpy(trials[1].problem, "gives wrong results");
    strcpy(trials[2].problem, "has no driver");
    assert_string_equal(pick(trials, 3, PHLOX_PREFER_EFFICIENCY, true, reason), "cpu");
    assert_non_null(strstr(reason, "openvino:GPU.0 failed (phlox verify says why)"));
    assert_non_null(strstr(reason, "ort:cuda has no driver"));
    assert_string_equal(pick(trials + 1, 2, PHLOX_PREFER_SPEED, false, reason), "none");
    assert_string_equal(pick(trials, 0, PHLOX_PREFER_SPEED, false, reason), "none");
}

/* ---- trials -------------------------------------------------------------------------------- */

static int opened; /* models of the known answer */

/* Small, so that trials are quick where sanitizers watch. */
static const char large[] =
    "{\"architectures\":[\"Phi3ForCausalLM\"],\"model_type\":\"phi3\",\"hidden_size\":256,"
    "\"intermediate_size\":512,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":4,\"vocab_size\":512,\"max_position_embeddings\":4096,"
    "\"original_max_position_embeddings\":4096,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
    "\"rope_scaling\":null,\"sliding_window\":null,\"tie_word_embeddings\":true,\"hidden_act\":\"silu\","
    "\"bos_token_id\":1,\"eos_token_id\":2,\"torch_dtype\":\"float16\"}";

static phlox_status open_known(px_checkpoint **model, px_known_answer *known, phlox_error *error)
{
    opened++;
    PX_TRY(px_builtin_open_known(model, known, error));
    known->large = phlox_text_of(large);
    return PHLOX_OK;
}

static phlox_model_options options_of(const char *runtimes)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.cache_limit = UINT64_C(1) << 30;
    options.threads = 2;
    options.openvino_library = runtimes;
    options.ort_library = "/nowhere";
    return options;
}

static void a_device_is_tried(void **state)
{
    (void)state;
#ifndef PHLOX_HAS_BUILTIN
    skip();
#endif
    phlox_error error;
    px_checkpoint *model = NULL;
    px_known_answer known;
    const phlox_model_options options = options_of("/nowhere");
    px_trial trial;
    MUST(open_known(&model, &known, &error));
    px_trial_run(px_device_all()[0], "", model, &known, &options, &trial);
    assert_string_equal(trial.problem, "");
    assert_true(trial.is_right && trial.kl < 1e-6 && trial.difference < 1e-3);
    assert_true(trial.layer_seconds > 0 && trial.read_rate > 0 && trial.prompt_rate > 0);
    assert_true(px_trial_step_seconds(&trial, &model->desc, 1 << 20) > 0);
    assert_true(px_trial_step_seconds(&trial, &model->desc, 1 << 24) >
                px_trial_step_seconds(&trial, &model->desc, 1 << 20));
    assert_true(px_trial_prompt_seconds(&trial, &model->desc) > 0);
    /* An id that should have been probable, or that should have been the best. */
    const size_t vocab = (size_t)model->desc.vocab_size, count = known.steps * vocab;
    float *const logits = malloc(count * sizeof *logits);
    assert_non_null(logits);
    for (int wrong = 0; wrong < 2; wrong++) {
        memcpy(logits, known.logits, count * sizeof *logits);
        size_t best = 0;
        float *const last = logits + count - vocab;
        for (size_t i = 1; i < vocab; i++)
            if (last[i] > last[best]) best = i;
        last[(best + 1) % vocab] = last[best] + (wrong ? 0.01f : -2);
        px_known_answer other = known;
        other.logits = logits;
        px_trial_run(px_device_all()[0], "", model, &other, &options, &trial);
        assert_false(trial.is_right);
        assert_non_null(strstr(trial.problem, "gives wrong results"));
    }
    free(logits);
    px_checkpoint_close(&model);
}

/* ---- choosing ------------------------------------------------------------------------------ */

/* A file that is a library by its name only. */
static void plant_library(const char *directory)
{
    test_write_text(directory, "libopenvino_c.so.9999", "no library");
}

static void trials_are_kept(void **state)
{
#ifndef PHLOX_HAS_BUILTIN
    skip();
#endif
    char cache[TEST_PATH], path[TEST_PATH];
    phlox_error error;
    plant_library(*state);
    phlox_model_options options = options_of(*state);
    px_choosing choosing = {.user = &options, .version = "1", .open_known = open_known,
                            .cache_dir = test_path(cache, "%s/cache", (char *)*state)};
    px_trial *trials;
    size_t count;
    opened = 0;
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    assert_int_equal(count, 2);
    assert_string_equal(trials[0].device, "cpu");
    assert_true(trials[0].is_right && !trials[0].problem[0]);
    assert_string_equal(trials[1].device, "openvino");
    assert_true(!trials[1].is_right && trials[1].problem[0]);
    free(trials);
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    free(trials);
    assert_int_equal(count, 2);
    assert_int_equal(opened, 1);
    /* Another phlox, another setting, a changed library, or the wish: anew. */
    choosing.version = "2";
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    free(trials);
    assert_int_equal(opened, 2);
    options.ov_config[options.ov_config_count++] = "NUM_STREAMS=1";
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    free(trials);
    assert_int_equal(opened, 3);
    test_write(test_path(path, "%s/libopenvino_c.so.9999", (char *)*state), "another library", 15);
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    free(trials);
    assert_int_equal(opened, 4);
    MUST(px_trials(&choosing, true, &trials, &count, &error));
    free(trials);
    assert_int_equal(opened, 5);
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    free(trials);
    assert_int_equal(opened, 5);
}

/* A driver that ended the process that tried it is not tried at the next start. */
static void a_trial_that_killed_is_remembered(void **state)
{
#ifndef PHLOX_HAS_BUILTIN
    skip();
#endif
    phlox_error error;
    phlox_model_options options = options_of("/nowhere");
    const px_choosing choosing = {.user = &options, .version = "1", .open_known = open_known,
                                  .cache_dir = *state};
    px_trial *trials;
    size_t count;
    test_write_text(*state, "trying-cpu.1f-2e-0" PX_OUT_SUFFIX, "");
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    assert_int_equal(count, 1);
    assert_string_equal(trials[0].device, "cpu");
    assert_non_null(strstr(trials[0].problem, "killed"));
    free(trials);
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    assert_non_null(strstr(trials[0].problem, "killed"));
    free(trials);
    /* Who asks for it gets it tried, at once. */
    test_write_text(*state, "trying-cpu.1f-2e-0" PX_OUT_SUFFIX, "");
    MUST(px_trials(&choosing, true, &trials, &count, &error));
    assert_string_equal(trials[0].problem, "");
    free(trials);
    assert_int_equal(test_for_each(*state, NULL, NULL), 1); /* the trials */
}

/* A runtime that ends the process when it is opened. */
static void a_library_that_killed_is_remembered(void **state)
{
#ifndef PHLOX_HAS_BUILTIN
    skip();
#endif
    char cache[TEST_PATH];
    phlox_error error;
    plant_library(*state);
    phlox_model_options options = options_of(*state);
    const px_choosing choosing = {.user = &options, .version = "1", .open_known = open_known,
                                  .cache_dir = test_path(cache, "%s/cache", (char *)*state)};
    px_trial *trials;
    size_t count;
    assert_int_equal(mkdir(cache, 0777), 0);
    test_write_text(cache, "trying-openvino.1f-2e-0" PX_OUT_SUFFIX, "");
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    assert_int_equal(count, 2);
    assert_string_equal(trials[1].device, "openvino");
    assert_non_null(strstr(trials[1].problem, "killed"));
    free(trials);
}

static bool refuse_second(void *user, const phlox_progress *progress)
{
    return strcmp(progress->what, "trying cpu") != 0 || ++*(int *)user < 2;
}

/* What was cancelled, or failed for want of memory or disk, says nothing of a device. */
static void what_passes_is_not_kept(void **state)
{
#ifndef PHLOX_HAS_BUILTIN
    skip();
#endif
    phlox_error error;
    int reports = 0;
    phlox_model_options options = options_of("/nowhere");
    options.progress = refuse_second;
    options.progress_user = &reports;
    px_choosing choosing = {.user = &options, .version = "1", .open_known = open_known, .cache_dir = *state};
    px_trial *trials;
    size_t count;
    MUST_FAIL(px_trials(&choosing, false, &trials, &count, &error), PHLOX_ERROR_CANCELLED, "cancelled");
    assert_int_equal(test_for_each(*state, NULL, NULL), 0);
    options.progress = NULL;
    choosing.only_kept = true;
    MUST_FAIL(px_trials(&choosing, false, &trials, &count, &error), PHLOX_ERROR_NOT_FOUND, "known");
    choosing.only_kept = false;
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    free(trials);
    choosing.only_kept = true;
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    free(trials);
    /* One device anew takes its place among them. */
    px_trial again;
    opened = 0;
    MUST(px_trial_again(&choosing, px_device_all()[0], "", &again, &error));
    assert_true(again.is_right);
    MUST(px_trials(&choosing, false, &trials, &count, &error));
    assert_true(trials[0].read_rate == again.read_rate);
    assert_int_equal(opened, 1);
    free(trials);
}

static void a_device_must_hold_the_model(void **state)
{
    (void)state;
    phlox_error error;
    phlox_model_options options = options_of("/nowhere");
    const px_choosing choosing = {.user = &options, .version = "1", .open_known = open_known};
    px_checkpoint *checkpoint = NULL;
    px_device_info info;
    px_trial trial = trial_of("openvino:GPU.0", PX_UNIT_GPU, 1000);
    MUST(px_checkpoint_open(PHLOX_SOURCE_DIR "/tests/golden/family/phi3-mini-4k", &checkpoint, &error));
    assert_true(px_trial_can_run(&choosing, checkpoint, &trial, &info));
    assert_true(info.weight_bytes > 1000);
    trial.memory = info.weight_bytes;
    assert_true(px_trial_can_run(&choosing, checkpoint, &trial, &info));
    trial.memory = info.weight_bytes - 1;
    assert_false(px_trial_can_run(&choosing, checkpoint, &trial, &info));
    assert_non_null(strstr(trial.problem, "memory"));
    assert_false(px_trial_can_run(&choosing, checkpoint, &trial, &info));
    px_checkpoint_close(&checkpoint);
    /* asymmetric int4, which NPUs do not run */
    px_trial npu = trial_of("openvino:NPU", PX_UNIT_NPU, 1000), gpu = trial_of("openvino:GPU.0", PX_UNIT_GPU, 1000);
    MUST(px_checkpoint_open(PHLOX_SOURCE_DIR "/tests/golden/openvino/int4-asym", &checkpoint, &error));
    assert_false(px_trial_can_run(&choosing, checkpoint, &npu, &info));
    assert_non_null(strstr(npu.problem, "does not run these weights"));
    assert_true(px_trial_can_run(&choosing, checkpoint, &gpu, &info));
    px_checkpoint_close(&checkpoint);
}

/* Settings that nothing would read. */
static void settings_have_their_device(void **state)
{
    (void)state;
    phlox_error error;
    phlox_model_options options = options_of("/nowhere");
    const px_device *device;
    char unit[32];
    MUST(px_device_by_name("npu", &device, unit, sizeof unit, &error));
    options.ov_config[options.ov_config_count++] = "A=1";
    MUST(px_device_check_settings(device, "npu", &options, &error));
    MUST_FAIL(px_device_check_settings(px_device_all()[0], "cpu", &options, &error), PHLOX_ERROR_ARGUMENT,
              "--ov-config A=1");
    options.ort_config[options.ort_config_count++] = "B=1";
    MUST_FAIL(px_device_check_settings(device, "npu", &options, &error), PHLOX_ERROR_ARGUMENT,
              "--ort-config B=1");
    px_checkpoint *checkpoint = NULL;
    px_choice choice;
    const px_choosing choosing = {.user = &options, .version = "1", .open_known = open_known};
    MUST(px_checkpoint_open(PHLOX_SOURCE_DIR "/tests/golden/family/phi3-mini-4k", &checkpoint, &error));
    MUST_FAIL(px_choose(&choosing, checkpoint, &choice, &error), PHLOX_ERROR_ARGUMENT, "--ov-config A=1");
    px_checkpoint_close(&checkpoint);
}

static void without_a_runtime_nothing_is_tried(void **state)
{
    phlox_error error;
    phlox_model_options options = options_of("/nowhere");
    const px_choosing choosing = {.user = &options, .version = "1", .open_known = open_known};
    px_checkpoint *checkpoint = NULL;
    px_choice choice;
    MUST(px_checkpoint_open(PHLOX_SOURCE_DIR "/tests/golden/family/phi3-mini-4k", &checkpoint, &error));
    opened = 0;
    MUST(px_choose(&choosing, checkpoint, &choice, &error));
    assert_string_equal(choice.device->name, "cpu");
    assert_string_equal(choice.unit, "");
    assert_non_null(strstr(choice.reason, "small"));
    plant_library(*state);
    options.openvino_library = *state;
    MUST(px_choose(&choosing, checkpoint, &choice, &error));
    assert_string_equal(choice.device->name, "cpu");
    assert_non_null(strstr(choice.reason, "small"));
    /* One that is large enough is not tried either where there is no runtime. */
    static const char big[] =
        "{\"architectures\":[\"Phi3ForCausalLM\"],\"model_type\":\"phi3\",\"hidden_size\":3072,"
        "\"intermediate_size\":8192,\"num_hidden_layers\":2,\"num_attention_heads\":32,"
        "\"num_key_value_heads\":32,\"vocab_size\":512,\"max_position_embeddings\":4096,"
        "\"original_max_position_embeddings\":4096,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
        "\"rope_scaling\":null,\"sliding_window\":null,\"tie_word_embeddings\":true,\"hidden_act\":\"silu\","
        "\"bos_token_id\":1,\"eos_token_id\":2,\"torch_dtype\":\"float16\"}";
    px_checkpoint *large_one = NULL;
    MUST(px_checkpoint_computed(phlox_text_of(big), &large_one, &error));
    options.openvino_library = "/nowhere";
    MUST(px_choose(&choosing, large_one, &choice, &error));
    assert_non_null(strstr(choice.reason, "no other runtime"));
    px_checkpoint_close(&large_one);
    options.describe_only = true;
    MUST(px_choose(&choosing, checkpoint, &choice, &error));
    assert_string_equal(choice.device->name, "cpu");
    assert_int_equal(opened, 0);
    px_checkpoint_close(&checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names), cmocka_unit_test(the_right_one_wins),
        cmocka_unit_test(the_wrong_never_win), cmocka_unit_test(a_device_is_tried),
        IN_DIRECTORY(trials_are_kept), IN_DIRECTORY(a_trial_that_killed_is_remembered),
        IN_DIRECTORY(a_library_that_killed_is_remembered), IN_DIRECTORY(what_passes_is_not_kept),
        cmocka_unit_test(a_device_must_hold_the_model),
        cmocka_unit_test(settings_have_their_device),
        IN_DIRECTORY(without_a_runtime_nothing_is_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
