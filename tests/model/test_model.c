/* The descriptor: shapes, counts, rotary tables against double precision, what does not fit. */
#include "support.h"

#include "model/model.h"

static px_desc published(void)
{
    /* microsoft/Phi-3-mini-4k-instruct */
    return (px_desc){.vocab_size = 32064, .hidden_size = 3072, .intermediate_size = 8192,
                     .num_hidden_layers = 32, .num_attention_heads = 32,
                     .num_key_value_heads = 32, .head_dim = 96, .rotary_dim = 96,
                     .rms_norm_eps = 1e-5f, .rope_theta = 10000, .max_position = 4096,
                     .original_max_position = 4096, .rope_scale = 1, .bos_id = 1,
                     .eos_ids = {32000, 32001, 32007}, .eos_count = 3};
}

static void shapes(void **state)
{
    (void)state;
    px_desc desc = published();
    desc.num_key_value_heads = 8;
    static const int64_t wanted[PX_ROLES][2] = {
        [PX_EMBEDDING] = {32064, 3072}, [PX_INPUT_NORM] = {1, 3072}, [PX_QKV] = {48 * 96, 3072},
        [PX_O] = {3072, 3072},          [PX_POST_NORM] = {1, 3072},  [PX_GATE_UP] = {16384, 3072},
        [PX_DOWN] = {3072, 8192},       [PX_FINAL_NORM] = {1, 3072}, [PX_LM_HEAD] = {32064, 3072},
    };
    for (int role = 0; role < PX_ROLES; role++) {
        int64_t rows, columns;
        px_role_shape(&desc, (px_role)role, &rows, &columns);
        assert_int_equal(rows, wanted[role][0]);
        assert_int_equal(columns, wanted[role][1]);
        assert_int_equal(px_role_is_norm((px_role)role), wanted[role][0] == 1);
    }
    assert_false(px_role_is_layered(PX_EMBEDDING));
    assert_false(px_role_is_layered(PX_FINAL_NORM));
    assert_false(px_role_is_layered(PX_LM_HEAD));
    assert_true(px_role_is_layered(PX_INPUT_NORM));
    assert_true(px_role_is_layered(PX_DOWN));
}

static void parameters(void **state)
{
    (void)state;
    px_desc desc = published();
    assert_true(px_desc_parameters(&desc) == 3821079552); /* as published: 3.8 billion */
    desc.tied_embeddings = true;
    assert_true(px_desc_parameters(&desc) == 3821079552 - 32064 * 3072);
}

static void ends(void **state)
{
    (void)state;
    px_desc desc = published();
    assert_true(px_desc_is_eos(&desc, 32000));
    assert_true(px_desc_is_eos(&desc, 32007));
    assert_false(px_desc_is_eos(&desc, 32002));
    desc.eos_count = 2;
    assert_false(px_desc_is_eos(&desc, 32007));
}

static void the_long_regime(void **state)
{
    (void)state;
    px_desc desc = published();
    desc.original_max_position = 32;
    assert_false(px_desc_is_long(&desc, 33));
    desc.longrope = true;
    assert_false(px_desc_is_long(&desc, 0));
    assert_false(px_desc_is_long(&desc, 32));
    assert_true(px_desc_is_long(&desc, 33));
}

static void frequencies(void **state)
{
    (void)state;
    px_desc desc = published();
    desc.rotary_dim = 48;
    float inverse[24], short_factor[24], long_factor[24];
    px_rope_frequencies(&desc, false, inverse);
    for (int i = 0; i < 24; i++) {
        const double wanted = pow(10000, -2.0 * i / 48);
        assert_true(fabs((double)inverse[i] / wanted - 1) < 1e-6);
        short_factor[i] = 1 + 0.01f * (float)i;
        long_factor[i] = 3 + (float)i;
    }
    desc.longrope = true;
    desc.rope_theta = 250000;
    desc.short_factor = short_factor;
    desc.long_factor = long_factor;
    for (int is_long = 0; is_long < 2; is_long++) {
        px_rope_frequencies(&desc, is_long, inverse);
        for (int i = 0; i < 24; i++) {
            const double factor = (double)(is_long ? long_factor[i] : short_factor[i]);
            const double wanted = pow(250000, -2.0 * i / 48) / factor;
            assert_true(fabs((double)inverse[i] / wanted - 1) < 1e-6);
        }
    }
}

static void rotation(void **state)
{
    (void)state;
    px_desc desc = published();
    float inverse[48], cosine[48], sine[48];
    px_rope_frequencies(&desc, false, inverse);
    static const int64_t positions[] = {0, 1, 17, 4095, 131071};
    for (size_t p = 0; p < PX_COUNT(positions); p++) {
        for (int scaled = 0; scaled < 2; scaled++) {
            desc.rope_scale = scaled ? 1.19f : 1;
            px_rope_at(&desc, inverse, positions[p], cosine, sine);
            for (int i = 0; i < 48; i++) {
                /* The angle is rounded to float32, as in transformers. */
                const double angle = (double)((float)positions[p] * inverse[i]);
                const double scale = (double)desc.rope_scale;
                assert_true(fabs((double)cosine[i] - scale * cos(angle)) < 1e-6);
                assert_true(fabs((double)sine[i] - scale * sin(angle)) < 1e-6);
            }
        }
    }
}

static void what_does_not_fit(void **state)
{
    (void)state;
    phlox_error error;
    px_desc desc = published();
    MUST(px_desc_check(&desc, "c.json", &error));
    desc.num_key_value_heads = 5;
    MUST_FAIL(px_desc_check(&desc, "c.json", &error), PHLOX_ERROR_FORMAT, "num_key_value_heads 5");
    static const int32_t dims[] = {0, 1, 47, 98};
    for (size_t i = 0; i < PX_COUNT(dims); i++) {
        desc = published();
        desc.rotary_dim = dims[i];
        MUST_FAIL(px_desc_check(&desc, "c.json", &error), PHLOX_ERROR_FORMAT, "c.json");
    }
    static const float bad[] = {0, -1, INFINITY, NAN};
    float good_factors[48], bad_factors[48];
    for (size_t b = 0; b < PX_COUNT(bad); b++) {
        for (int i = 0; i < 48; i++) good_factors[i] = bad_factors[i] = 1;
        bad_factors[47] = bad[b];
        desc = published();
        desc.longrope = true;
        desc.short_factor = good_factors;
        desc.long_factor = bad_factors;
        MUST_FAIL(px_desc_check(&desc, "c.json", &error), PHLOX_ERROR_FORMAT, "long_factor[47]");
        desc.short_factor = bad_factors;
        desc.long_factor = good_factors;
        MUST_FAIL(px_desc_check(&desc, "c.json", &error), PHLOX_ERROR_FORMAT, "short_factor[47]");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),      cmocka_unit_test(parameters),
        cmocka_unit_test(ends),        cmocka_unit_test(the_long_regime),
        cmocka_unit_test(frequencies), cmocka_unit_test(rotation),
        cmocka_unit_test(what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
