/*
 * What the OpenVINO device says of a checkpoint that it has not opened, against what opening it gives, with a
 * runtime that the tests play (fake_openvino.c): checkpoints of every form, on a CPU and on an NPU.
 */
#include "device/openvino.h"
#include "engine/family.h"

struct described {
    phlox_model_options options;
    const char *unit;
    size_t taken, refused;
};

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
    const phlox_status status = px_device_openvino.open(checkpoint, &options, &model, &refused);
    const phlox_status estimated = px_device_openvino.estimate(checkpoint, &options, &estimate, &error);
    if (status != estimated)
        fail_msg("%s on %s: open() gives %d (%s), estimate() %d (%s)", name, d->unit, (int)status,
                 status == PHLOX_OK ? "" : refused.message, (int)estimated,
                 estimated == PHLOX_OK ? "" : error.message);
    if (status == PHLOX_OK) {
        px_device_openvino.info(model, &info);
        if (estimate.most_context != info.most_context)
            fail_msg("%s on %s: a context of %zu, estimated as %zu", name, d->unit, info.most_context,
                     estimate.most_context);
    }
    if (status == PHLOX_OK) d->taken++;
    else d->refused++;
    px_device_openvino.close(model);
    px_checkpoint_close(&checkpoint);
}

static void estimates(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        int32_t prompt, response, context;
    } cases[] = {{"CPU", 0, 0, 0}, {"NPU", 0, 0, 0}, {"NPU", 64, 64, 0}, {"NPU", 0, 64, 32}};
    assert_int_equal(setenv("FAKE_OPENVINO", "npu", 1), 0);
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        struct described d = {.options = family_options(), .unit = cases[i].unit};
        d.options.openvino_library = PHLOX_FAKE_OPENVINO "whole";
        d.options.max_prompt_len = cases[i].prompt;
        d.options.min_response_len = cases[i].response;
        d.options.context_size = cases[i].context;
        static const char *const forms[] = {"family", "gguf", "gptq", "openvino", "onnx", "onnx-variants"};
        for (size_t f = 0; f < PX_COUNT(forms); f++) {
            char path[TEST_PATH];
            test_for_each(test_path(path, PHLOX_SOURCE_DIR "/tests/golden/%s", forms[f]), describe_one, &d);
        }
        assert_true(d.taken >= 20);
        assert_int_equal(d.refused > 0, i > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
