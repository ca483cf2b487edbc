/* What the tests of checkpoints share: opening one, its weights as floats, comparing two, and comparing one
 * with the sums that a script of tests/golden made. */
#ifndef PX_TESTS_CHECKPOINTS_H
#define PX_TESTS_CHECKPOINTS_H

#include "support.h"

#include "checkpoint/checkpoint.h"

#include <phlox/tools.h>

static inline px_checkpoint *test_open(const char *path)
{
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    MUST(px_checkpoint_open(path, &checkpoint, &error));
    return checkpoint;
}

/* All weights, `step` rows at a time: how a row is reached may depend on where one begins. free() them. */
static inline float *test_load(const px_tensor *tensor, int64_t step)
{
    float *const weights = malloc((size_t)(tensor->rows * tensor->columns) * sizeof *weights);
    void *const scratch = malloc(px_tensor_scratch(tensor, step) + 1);
    assert_non_null(weights);
    assert_non_null(scratch);
    for (int64_t row = 0; row < tensor->rows; row += step)
        px_tensor_load(tensor, row, PX_MIN(step, tensor->rows - row), weights + row * tensor->columns,
                       scratch);
    free(scratch);
    return weights;
}

/* Every weight of every tensor, norms too, is the same to the last bit. */
static inline void test_same_weights(const px_checkpoint *a, const px_checkpoint *b)
{
    for (int role = 0; role < PX_ROLES; role++) {
        const int32_t count = px_role_is_layered((px_role)role) ? a->desc.num_hidden_layers : 1;
        for (int32_t layer = 0; layer < count; layer++) {
            const px_tensor *const x = px_checkpoint_tensor(a, (px_role)role, layer);
            const px_tensor *const y = px_checkpoint_tensor(b, (px_role)role, layer);
            assert_int_equal(!x, !y);
            if (!x) continue;
            assert_int_equal(x->rows, y->rows);
            assert_int_equal(x->columns, y->columns);
            float *const one = test_load(x, x->rows), *const other = test_load(y, y->rows);
            if (memcmp(one, other, (size_t)(x->rows * x->columns) * sizeof *one) != 0)
                fail_msg("%s: %s has other weights than in %s", b->path, y->name, a->path);
            free(one);
            free(other);
        }
    }
}

/* Both run 8 ids in float32 with the same result, bit for bit. */
static inline float *test_logits(const char *path, size_t *count)
{
    static const int32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6};
    phlox_model *model = NULL;
    phlox_session *session = NULL;
    phlox_model_options options;
    phlox_model_info info;
    phlox_error error;
    phlox_model_options_init(&options);
    options.no_cache = options.exact = true;
    options.threads = 2;
    options.weight_format = PHLOX_WEIGHTS_F32;
    MUST(phlox_model_open(path, &options, &model, &error));
    phlox_model_get_info(model, &info);
    *count = PX_COUNT(ids) * (size_t)info.vocab_size;
    float *const logits = malloc(*count * sizeof *logits);
    assert_non_null(logits);
    MUST(phlox_session_create(model, &session, &error));
    MUST(phlox_session_append(session, ids, PX_COUNT(ids), logits, NULL, NULL, &error));
    phlox_session_close(&session);
    phlox_model_close(&model);
    return logits;
}

static inline void test_same_logits(const char *a, const char *b)
{
    size_t count, other;
    float *const wanted = test_logits(a, &count), *const got = test_logits(b, &other);
    assert_int_equal(count, other);
    if (memcmp(wanted, got, count * sizeof *got) != 0) fail_msg("%s: other logits than %s", b, a);
    free(wanted);
    free(got);
}

/* ---- tensors.txt --------------------------------------------------------------------------- */

static inline const px_tensor *test_find(const px_checkpoint *checkpoint, const char *name)
{
    int layer = 0, used = 0;
    const bool layered = sscanf(name, "model.layers.%d.%n", &layer, &used) == 1;
    for (int role = 0; role < PX_ROLES; role++)
        if (px_role_is_layered((px_role)role) == layered &&
            strcmp(px_role_parameter((px_role)role), name + (layered ? used : 0)) == 0)
            return px_checkpoint_tensor(checkpoint, (px_role)role, layer);
    return NULL;
}

/* FNV-1a, 64 bits. */
static inline uint64_t test_fnv(const void *data, size_t size, uint64_t sum)
{
    const unsigned char *const bytes = data;
    for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static const uint64_t test_fnv_start = UINT64_C(0xcbf29ce484222325);

static inline uint64_t test_sum(const px_tensor *tensor, int64_t step)
{
    float *const weights = test_load(tensor, step);
    const uint64_t sum = test_fnv(weights, (size_t)(tensor->rows * tensor->columns) * sizeof *weights,
                                  test_fnv_start);
    free(weights);
    return sum;
}

/* All matrices are those of the directory's tensors.txt: parameter, rows, columns, sum. */
static inline void test_listed_weights(const px_checkpoint *checkpoint, const char *directory)
{
    char file[TEST_PATH];
    size_t size, count = 0;
    char *const lines = test_read(test_path(file, "%s/tensors.txt", directory), &size);
    for (char *line = lines; *line; line = strchr(line, '\n') + 1, count++) {
        char parameter[128];
        long long rows, columns;
        unsigned long long sum;
        assert_int_equal(sscanf(line, "%127s %lld %lld %llx", parameter, &rows, &columns, &sum), 4);
        const px_tensor *const tensor = test_find(checkpoint, parameter);
        if (!tensor) fail_msg("%s: %s is absent", directory, parameter);
        assert_int_equal(tensor->rows, rows);
        assert_int_equal(tensor->columns, columns);
        if (test_sum(tensor, tensor->rows) != sum || test_sum(tensor, 3) != sum)
            fail_msg("%s: %s has other weights", directory, parameter);
    }
    assert_int_equal(count, 4 * checkpoint->desc.num_hidden_layers + 1 + !checkpoint->desc.tied_embeddings);
    free(lines);
}

#endif
