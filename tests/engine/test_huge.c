/* Weights that move to pages of 2 MB are the same weights, layer for layer. */
#include "support.h"

#include "base/os.h"
#include "engine/huge.h"

#include <stdlib.h>

#define GOLDEN PHLOX_SOURCE_DIR "/tests/golden"

struct loaded {
    px_checkpoint *checkpoint;
    px_weights weights;
};

static void load(const char *member, const phlox_model_options *options, const char *cache_dir,
                 px_pool *pool, struct loaded *out)
{
    phlox_error error;
    char path[TEST_PATH];
    test_path(path, GOLDEN "/%s", member);
    MUST(px_checkpoint_open(path, &out->checkpoint, &error));
    MUST(px_weights_load(out->checkpoint, options, cache_dir, pool, &out->weights, &error));
}

static void unload(struct loaded *l)
{
    px_weights_free(&l->weights);
    px_checkpoint_close(&l->checkpoint);
}

static void same_weight(const px_weight *a, const px_weight *b)
{
    px_place ours[PX_PARTS], theirs[PX_PARTS];
    px_weight_parts(a, ours);
    px_weight_parts(b, theirs);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->row_bytes, b->row_bytes);
    assert_int_equal(a->half_scales, b->half_scales);
    for (int part = 0; part < PX_PARTS; part++) {
        assert_int_equal(ours[part].bytes, theirs[part].bytes);
        if (ours[part].bytes)
            assert_memory_equal(ours[part].data, theirs[part].data, ours[part].bytes);
    }
}

static void same_weights(const px_weights *a, const px_weights *b, int64_t layers)
{
    same_weight(&a->embedding, &b->embedding);
    same_weight(&a->lm_head, &b->lm_head);
    for (int64_t i = 0; i < layers; i++) {
        same_weight(&a->layers[i].qkv, &b->layers[i].qkv);
        same_weight(&a->layers[i].o, &b->layers[i].o);
        same_weight(&a->layers[i].gate_up, &b->layers[i].gate_up);
        same_weight(&a->layers[i].down, &b->layers[i].down);
    }
}

static bool lies_in(const px_huge *h, const void *data)
{
    return (const uint8_t *)data >= h->memory && (const uint8_t *)data < h->memory + h->size;
}

static void check_member(const char *member, const phlox_model_options *options, px_pool *pool)
{
    char directory[TEST_PATH];
    test_directory(directory);
    struct loaded moves, stays;
    load(member, options, directory, pool, &moves);
    load(member, options, NULL, pool, &stays);
    const int64_t layers = moves.checkpoint->desc.num_hidden_layers;
    px_huge huge;
    px_huge_init(&huge, &moves.weights, layers, pool, px_cpu_features(), PHLOX_HUGE_ON);
    huge.step_bytes = 1;
    px_huge_step(&huge, 100); /* prefill moves nothing */
    assert_int_equal(huge.state, PX_HUGE_WAITS);
    int64_t steps = 0;
    do {
        px_huge_step(&huge, 1);
        same_weights(&moves.weights, &stays.weights, layers);
        if (huge.state == PX_HUGE_MOVES) assert_int_equal(huge.next, ++steps);
    } while (huge.state != PX_HUGE_RESTS);
    if (!huge.memory) print_message("skipped: no pages of 2 MB here\n");
    if (huge.memory) {
        assert_int_equal(steps, layers);
        assert_true(lies_in(&huge, moves.weights.lm_head.data));
        assert_true(lies_in(&huge, moves.weights.layers[layers - 1].down.data));
        assert_int_equal(lies_in(&huge, moves.weights.embedding.data),
                         moves.checkpoint->desc.tied_embeddings);
        assert_int_equal(atomic_load(&huge.bytes) > 0, true);
    }
    px_huge_free(&huge);
    unload(&moves);
    unload(&stays);
    test_remove(directory);
}

static void moved_weights_are_the_same(void **unused)
{
    (void)unused;
    phlox_error error;
    px_pool *pool = NULL;
    MUST(px_pool_create(2, &pool, &error));
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.cache_limit = (uint64_t)1 << 30;
    static const phlox_weight_format formats[] = {PHLOX_WEIGHTS_STORED, PHLOX_WEIGHTS_INT8,
                                                  PHLOX_WEIGHTS_INT4};
    for (size_t i = 0; i < PX_COUNT(formats); i++) {
        options.weight_format = formats[i];
        if (formats[i] == PHLOX_WEIGHTS_INT4) {
            options.group_size = 32;
            options.group_size_fallback = PHLOX_FALLBACK_ADJUST;
        }
        check_member("family/phi3-mini-4k", &options, pool);
        check_member("family/phi4-mini", &options, pool); /* tied embeddings */
    }
    options.weight_format = PHLOX_WEIGHTS_STORED;
    options.group_size = 0;
    options.group_size_fallback = PHLOX_FALLBACK_ERROR;
    check_member("gguf/q4_1", &options, pool); /* minima */
    check_member("gguf/q5_k_m", &options, pool); /* and steps */
    px_pool_free(pool);
}

static void others_stay(void **unused)
{
    (void)unused;
    phlox_error error;
    px_pool *pool = NULL;
    MUST(px_pool_create(1, &pool, &error));
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.weight_format = PHLOX_WEIGHTS_INT8;
    struct loaded l;
    load("family/phi3-mini-4k", &options, NULL, pool, &l);
    static const phlox_huge_pages choices[] = {PHLOX_HUGE_ON, PHLOX_HUGE_AUTO, PHLOX_HUGE_OFF};
    for (size_t i = 0; i < PX_COUNT(choices); i++) { /* these lie in memory already */
        px_huge huge;
        px_huge_init(&huge, &l.weights, l.checkpoint->desc.num_hidden_layers, pool, 0, choices[i]);
        assert_int_equal(huge.state, PX_HUGE_RESTS);
        px_huge_free(&huge);
    }
    unload(&l);
    px_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moved_weights_are_the_same),
        cmocka_unit_test(others_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
