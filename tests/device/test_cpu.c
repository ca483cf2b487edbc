/* The seam to the native engine: a batch of sequences gives, bit for bit, what each gives alone. */
#include "base/os.h"
#include "device/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMBER PHLOX_SOURCE_DIR "/tests/golden/family/"

enum { SEQUENCES = 3, LENGTH = 20 };

struct opened {
    px_checkpoint *checkpoint;
    px_device_model *model;
    px_device_info info;
};

static struct opened open_member(const char *path, const phlox_model_options *user)
{
    struct opened o;
    phlox_error error;
    const px_device_options options = {user, NULL, ""};
    assert_int_equal(px_checkpoint_open(path, &o.checkpoint, &error), PHLOX_OK);
    assert_int_equal(px_device_cpu.open(o.checkpoint, &options, &o.model, &error), PHLOX_OK);
    px_device_cpu.info(o.model, &o.info);
    return o;
}

static void close_member(struct opened *o)
{
    px_device_cpu.close(o->model);
    px_checkpoint_close(&o->checkpoint);
}

static void fill_ids(int32_t ids[SEQUENCES][LENGTH], int32_t vocab)
{
    uint32_t random = 1;
    for (int s = 0; s < SEQUENCES; s++)
        for (int i = 0; i < LENGTH; i++) {
            random = random * 1664525 + 1013904223;
            ids[s][i] = (int32_t)(random >> 8) % vocab;
        }
}

/* Each sequence alone: logits of every position, [LENGTH, vocab]. */
static float *alone(struct opened *o, const int32_t *ids)
{
    const size_t vocab = (size_t)o->checkpoint->desc.vocab_size;
    float *const logits = calloc(LENGTH * vocab, sizeof *logits);
    px_sequence *sequence;
    assert_int_equal(px_device_cpu.sequence_create(o->model, &sequence, NULL), PHLOX_OK);
    const px_batch_item item = {sequence, ids, LENGTH, false, logits, true};
    assert_int_equal(px_device_cpu.forward(o->model, &item, 1, NULL), PHLOX_OK);
    px_device_cpu.sequence_free(sequence);
    return logits;
}

static void batch_equals_alone(const char *path, const phlox_model_options *user)
{
    struct opened o = open_member(path, user);
    const size_t vocab = (size_t)o.checkpoint->desc.vocab_size;
    int32_t ids[SEQUENCES][LENGTH];
    fill_ids(ids, (int32_t)vocab);
    px_sequence *sequences[SEQUENCES];
    float *expected[SEQUENCES], *const logits = calloc(SEQUENCES * vocab, sizeof *logits);
    size_t done[SEQUENCES] = {0};
    for (int s = 0; s < SEQUENCES; s++) {
        expected[s] = alone(&o, ids[s]);
        assert_int_equal(px_device_cpu.sequence_create(o.model, &sequences[s], NULL), PHLOX_OK);
    }
    /* Steps in which every sequence has another number of tokens: 1, 2 and 3. */
    for (int step = 0; step < 6; step++) {
        px_batch_item items[SEQUENCES];
        for (size_t s = 0; s < SEQUENCES; s++) {
            items[s] = (px_batch_item){sequences[s], ids[s] + done[s], s + 1, false,
                                       logits + s * vocab, false};
            done[s] += s + 1;
        }
        assert_int_equal(px_device_cpu.forward(o.model, items, SEQUENCES, NULL), PHLOX_OK);
        for (size_t s = 0; s < SEQUENCES; s++)
            assert_memory_equal(logits + s * vocab, expected[s] + (done[s] - 1) * vocab,
                                vocab * sizeof *logits);
    }
    /* Cut one back and go on: the same logits again. */
    px_device_cpu.truncate(sequences[2], 4);
    const px_batch_item again = {sequences[2], ids[2] + 4, 5, false, logits, false};
    assert_int_equal(px_device_cpu.forward(o.model, &again, 1, NULL), PHLOX_OK);
    assert_memory_equal(logits, expected[2] + 8 * vocab, vocab * sizeof *logits);
    assert_true(px_device_cpu.sequence_bytes(sequences[2]) > 0);
    for (int s = 0; s < SEQUENCES; s++) {
        free(expected[s]);
        px_device_cpu.sequence_free(sequences[s]);
    }
    free(logits);
    close_member(&o);
}

static void test_batches(void **state)
{
    (void)state;
    phlox_model_options user;
    phlox_model_options_init(&user);
    batch_equals_alone(MEMBER "phi3-mini-4k", &user);
    batch_equals_alone(MEMBER "phi4", &user);
    user.weight_format = PHLOX_WEIGHTS_INT4;
    user.group_size = 32;
    user.group_size_fallback = PHLOX_FALLBACK_ADJUST;
    batch_equals_alone(MEMBER "phi3-medium-4k", &user);
    user.threads = 1;
    batch_equals_alone(MEMBER "phi4-mini", &user);
}

static void test_estimate(void **state)
{
    (void)state;
    phlox_model_options user;
    phlox_model_options_init(&user);
    user.weight_format = PHLOX_WEIGHTS_INT8;
    struct opened o = open_member(MEMBER "phi3-mini-4k", &user);
    px_device_info estimate;
    const px_device_options options = {&user, NULL, ""};
    assert_int_equal(px_device_cpu.estimate(o.checkpoint, &options, &estimate, NULL), PHLOX_OK);
    assert_int_equal(estimate.weight_bytes, o.info.weight_bytes);
    assert_int_equal(estimate.step_weight_bytes, o.info.step_weight_bytes);
    assert_int_equal(estimate.kv_bytes_per_token, o.info.kv_bytes_per_token);
    assert_string_equal(estimate.weights, o.info.weights);
    assert_string_equal(estimate.kernels, o.info.kernels);
    assert_int_equal(estimate.threads, o.info.threads);
    close_member(&o);
}

static void test_not_finite(void **state)
{
    (void)state;
    phlox_model_options user;
    phlox_model_options_init(&user);
    struct opened o = open_member(MEMBER "f32", &user);
    px_sequence *sequence;
    const size_t vocab = (size_t)o.checkpoint->desc.vocab_size;
    float *const logits = calloc(vocab, sizeof *logits);
    assert_int_equal(px_device_cpu.sequence_create(o.model, &sequence, NULL), PHLOX_OK);
    /* Weights that are finite and overflow on the way: the largest norms. */
    float *const norm = calloc((size_t)o.checkpoint->desc.hidden_size, sizeof *norm);
    for (int32_t i = 0; i < o.checkpoint->desc.hidden_size; i++) norm[i] = 3e38f;
    px_tensor *const final_norm = &o.checkpoint->tensors[PX_FINAL_NORM][0];
    px_device_cpu.sequence_free(sequence);
    px_device_cpu.close(o.model);
    final_norm->data = norm;
    final_norm->type = PX_FLOAT_F32;
    const px_device_options options = {&user, NULL, ""};
    phlox_error error;
    assert_int_equal(px_device_cpu.open(o.checkpoint, &options, &o.model, &error), PHLOX_OK);
    assert_int_equal(px_device_cpu.sequence_create(o.model, &sequence, NULL), PHLOX_OK);
    const int32_t id = 1;
    const px_batch_item item = {sequence, &id, 1, false, logits, false};
    assert_int_equal(px_device_cpu.forward(o.model, &item, 1, &error), PHLOX_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "not finite"));
    px_device_cpu.sequence_free(sequence);
    close_member(&o);
    free(norm);
    free(logits);
}

/* A window of 11 forgets blocks of the cache; what is computed stays the same, also after a cut that needs
 * none of them, and a cut that does is refused. */
static void test_window(void **state)
{
    (void)state;
    enum { TOKENS = 500, CUT = 450 };
    phlox_model_options user;
    phlox_model_options_init(&user);
    for (int kv = PHLOX_KV_F32; kv <= PHLOX_KV_INT4; kv++) {
        user.kv_cache = (phlox_kv_cache)kv;
        struct opened o = open_member(MEMBER "phi3-mini-4k", &user);
        assert_int_equal(o.checkpoint->desc.sliding_window, 11);
        const size_t vocab = (size_t)o.checkpoint->desc.vocab_size;
        float *const whole = calloc(vocab, sizeof *whole), *const cut = calloc(vocab, sizeof *cut);
        int32_t ids[TOKENS];
        for (int i = 0; i < TOKENS; i++) ids[i] = (i * 37 + i / 7) % (int32_t)vocab;
        px_sequence *sequence;
        assert_int_equal(px_device_cpu.sequence_create(o.model, &sequence, NULL), PHLOX_OK);
        px_batch_item item = {sequence, ids, TOKENS, false, whole, false};
        assert_int_equal(px_device_cpu.forward(o.model, &item, 1, NULL), PHLOX_OK);
        const uint64_t bytes = px_device_cpu.sequence_bytes(sequence);
        assert_true(bytes < TOKENS / 2 * o.info.kv_bytes_per_token);

        assert_int_equal(px_device_cpu.truncate(sequence, CUT), CUT);
        for (int i = CUT; i < TOKENS; i++) {
            const px_batch_item one = {sequence, ids + i, 1, false, cut, false};
            assert_int_equal(px_device_cpu.forward(o.model, &one, 1, NULL), PHLOX_OK);
        }
        assert_memory_equal(whole, cut, vocab * sizeof *whole);

        assert_int_equal(px_device_cpu.truncate(sequence, 100), 0);
        assert_int_equal(px_device_cpu.sequence_bytes(sequence), 0);
        assert_int_equal(px_device_cpu.forward(o.model, &item, 1, NULL), PHLOX_OK);
        assert_memory_equal(whole, cut, vocab * sizeof *whole);
        px_device_cpu.sequence_free(sequence);
        free(whole);
        free(cut);
        close_member(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
