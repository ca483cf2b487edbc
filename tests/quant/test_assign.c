/*
 * Which layer gets which format, against NNCF on exported networks, and the rules for options.
 */
#include "golden.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

enum { LAYERS_MAX = 32 };

/* ---- against NNCF -------------------------------------------------------------------------- */

typedef struct network {
    char names[LAYERS_MAX][49];
    px_quant_layer layers[LAYERS_MAX];
    int count;
} network;

static void read_layers(golden_reader *reader, px_float_type type, network *net)
{
    assert_true(net->count > 0 && net->count <= LAYERS_MAX);
    for (int i = 0; i < net->count; i++) {
        px_quant_layer *layer = &net->layers[i];
        memcpy(net->names[i], golden_bytes(reader, 48), 48);
        net->names[i][48] = 0;
        layer->name = net->names[i];
        layer->rows = golden_int(reader);
        layer->columns = golden_int(reader);
        layer->is_embedding = golden_int(reader) != 0;
        layer->is_head = golden_int(reader) != 0;
        layer->sensitivity = 0;
        const unsigned char *values =
            golden_bytes(reader, (size_t)(layer->rows * layer->columns) * px_float_size(type));
        px_quant_sensitivity(type, values, layer->rows, layer->columns, &layer->sensitivity);
    }
    assert_true(net->layers[0].is_embedding);
}

/* Returns how many layers became int4. */
static int check_case(golden_reader *reader, const char *name, network *net)
{
    phlox_model_options options = {0};
    options.weight_format = golden_int(reader) ? PHLOX_WEIGHTS_INT4 : PHLOX_WEIGHTS_INT8;
    options.symmetry = golden_int(reader) ? PHLOX_SYM : PHLOX_ASYM;
    options.group_size = golden_int(reader);
    options.backup_precision = (phlox_backup_precision)golden_int(reader);
    options.all_layers = golden_int(reader) != 0;
    options.group_size_fallback = (phlox_group_fallback)golden_int(reader);
    const bool fails = golden_int(reader) != 0;
    memcpy(&options.ratio, golden_bytes(reader, sizeof options.ratio), sizeof options.ratio);
    if (options.weight_format == PHLOX_WEIGHTS_INT8)
        options.backup_precision = PHLOX_BACKUP_DEFAULT;

    px_quant_options resolved;
    phlox_error error;
    assert_int_equal(px_quant_options_resolve(&options, &resolved, &error), PHLOX_OK);
    const phlox_status status = px_quant_assign(&resolved, net->layers, (size_t)net->count, &error);
    if (status != (fails ? PHLOX_ERROR_ARGUMENT : PHLOX_OK))
        fail_msg("%s, group %d, ratio %g, all layers %d, fallback %d: status %d", name,
                 (int)options.group_size, options.ratio, options.all_layers,
                 (int)options.group_size_fallback, (int)status);
    int int4 = 0;
    for (int i = 0; i < net->count; i++) {
        const px_quant_format *format = &net->layers[i].format;
        const unsigned char *expected = golden_bytes(reader, 4); /* int8, int8, int16 */
        const int bits = expected[0], symmetric = expected[1];
        const int group = (int16_t)(expected[2] | expected[3] << 8);
        if (fails) continue;
        int4 += bits == 4;
        if (format->bits != bits || format->symmetric != symmetric || format->group_size != group)
            fail_msg("%s, %s, sym %d, group %d, ratio %g, backup %d, all layers %d, fallback %d: "
                     "%d %d %d is not %d %d %d",
                     name, net->layers[i].name, options.symmetry, (int)options.group_size,
                     options.ratio, (int)options.backup_precision, options.all_layers,
                     (int)options.group_size_fallback, format->bits, format->symmetric,
                     (int)format->group_size, bits, symmetric, group);
    }
    return int4;
}

static void chooses_as_nncf(void **state)
{
    (void)state;
    golden_reader reader = golden_open("quant/layers.bin");
    const int networks = golden_int(&reader);
    assert_true(networks > 0);
    for (int i = 0; i < networks; i++) {
        network net;
        char name[25] = {0};
        memcpy(name, golden_bytes(&reader, 24), 24);
        const px_float_type type = (px_float_type)golden_int(&reader);
        net.count = golden_int(&reader);
        const int cases = golden_int(&reader);
        read_layers(&reader, type, &net);
        int int4 = 0;
        for (int k = 0; k < cases; k++) int4 += check_case(&reader, name, &net);
        assert_true(int4 > 0 && int4 < cases * net.count);
    }
    golden_close(&reader);
}

/* Equal scores keep the order of the graph, in which embeddings come after the matrix products. */
static void breaks_ties_by_order(void **state)
{
    (void)state;
    px_quant_layer layers[4] = {
        {.name = "embed", .rows = 64, .columns = 128, .is_embedding = true, .sensitivity = 1e-26f},
        {.name = "a", .rows = 64, .columns = 128, .sensitivity = 3e-26f},
        {.name = "b", .rows = 64, .columns = 128, .sensitivity = 9e-26f},
        {.name = "head", .rows = 64, .columns = 128, .is_head = true, .sensitivity = 2e-26f}};
    px_quant_options options = {PHLOX_WEIGHTS_INT4,  128, true, 0.51, PHLOX_BACKUP_INT8_ASYM, true,
                                PHLOX_FALLBACK_ERROR, false};
    assert_int_equal(px_quant_assign(&options, layers, 4, NULL), PHLOX_OK);
    const int expected[] = {8, 4, 4, 8};
    for (int i = 0; i < 4; i++) assert_int_equal(layers[i].format.bits, expected[i]);
    layers[0].sensitivity = 1; /* and a real difference decides before the order does */
    assert_int_equal(px_quant_assign(&options, layers, 4, NULL), PHLOX_OK);
    const int by_score[] = {4, 4, 8, 8};
    for (int i = 0; i < 4; i++) assert_int_equal(layers[i].format.bits, by_score[i]);
    options.ratio = 0.5; /* the layer that would reach the ratio exactly stays out */
    assert_int_equal(px_quant_assign(&options, layers, 4, NULL), PHLOX_OK);
    const int exact[] = {4, 8, 8, 8};
    for (int i = 0; i < 4; i++) assert_int_equal(layers[i].format.bits, exact[i]);
}

static void names_the_layer_that_groups_do_not_divide(void **state)
{
    (void)state;
    px_quant_layer layers[2] = {{.name = "fits", .rows = 8, .columns = 256},
                                {.name = "model.layers.3.down_proj", .rows = 8, .columns = 200}};
    const px_quant_options options = {
        PHLOX_WEIGHTS_INT4, 128, true, 1, PHLOX_BACKUP_INT8_ASYM, false, PHLOX_FALLBACK_ERROR, false};
    phlox_error error;
    assert_int_equal(px_quant_assign(&options, layers, 2, &error), PHLOX_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "model.layers.3.down_proj"));
    assert_non_null(strstr(error.message, "200"));
    assert_non_null(strstr(error.message, "128"));
}

/* The two formats that are made for every layer alike. */
static void other_formats_have_no_choice(void **state)
{
    (void)state;
    px_quant_layer layers[2] = {{.name = "embed", .rows = 8, .columns = 60, .is_embedding = true},
                                {.name = "a", .rows = 8, .columns = 60}};
    px_quant_options options = {PHLOX_WEIGHTS_BF16,  -1, false, 1, PHLOX_BACKUP_INT8_ASYM, false,
                                PHLOX_FALLBACK_ERROR, false};
    assert_int_equal(px_quant_assign(&options, layers, 2, NULL), PHLOX_OK);
    assert_int_equal(layers[0].format.bits, 0);
    assert_int_equal(layers[1].format.bits, 0);
    options.format = PHLOX_WEIGHTS_INT8;
    assert_int_equal(px_quant_assign(&options, layers, 2, NULL), PHLOX_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(layers[i].format.bits, 8);
        assert_false(layers[i].format.symmetric);
        assert_int_equal(layers[i].format.group_size, -1);
    }
}

/* ---- options ------------------------------------------------------------------------------- */

static void fills_in_defaults(void **state)
{
    (void)state;
    phlox_model_options options = {.weight_format = PHLOX_WEIGHTS_INT4};
    px_quant_options resolved;
    assert_int_equal(px_quant_options_resolve(&options, &resolved, NULL), PHLOX_OK);
    assert_int_equal(resolved.format, PHLOX_WEIGHTS_INT4);
    assert_int_equal(resolved.group_size, 128);
    assert_false(resolved.symmetric);
    assert_true(resolved.ratio == 1);
    assert_int_equal(resolved.backup, PHLOX_BACKUP_INT8_ASYM);
    assert_false(resolved.all_layers);
    assert_int_equal(resolved.fallback, PHLOX_FALLBACK_ERROR);
    assert_false(resolved.search);

    options = (phlox_model_options){.weight_format = PHLOX_WEIGHTS_INT4,
                                    .group_size = -1,
                                    .symmetry = PHLOX_SYM,
                                    .ratio = 0.25,
                                    .all_layers = true,
                                    .backup_precision = PHLOX_BACKUP_NONE,
                                    .group_size_fallback = PHLOX_FALLBACK_ADJUST,
                                    .quant_method = PHLOX_QUANT_SEARCH};
    assert_int_equal(px_quant_options_resolve(&options, &resolved, NULL), PHLOX_OK);
    assert_int_equal(resolved.group_size, -1);
    assert_true(resolved.symmetric);
    assert_true(resolved.ratio == 0.25);
    assert_int_equal(resolved.backup, PHLOX_BACKUP_NONE);
    assert_true(resolved.all_layers);
    assert_int_equal(resolved.fallback, PHLOX_FALLBACK_ADJUST);
    assert_true(resolved.search);
    options.quant_method = PHLOX_QUANT_NNCF;
    assert_int_equal(px_quant_options_resolve(&options, &resolved, NULL), PHLOX_OK);
    assert_false(resolved.search);

    options = (phlox_model_options){.weight_format = PHLOX_WEIGHTS_INT8};
    assert_int_equal(px_quant_options_resolve(&options, &resolved, NULL), PHLOX_OK);
    assert_int_equal(resolved.group_size, -1);
    assert_false(resolved.symmetric);
    options = (phlox_model_options){
        .weight_format = PHLOX_WEIGHTS_INT8, .group_size = -1, .symmetry = PHLOX_SYM, .ratio = 1,
        .quant_method = PHLOX_QUANT_NNCF};
    assert_int_equal(px_quant_options_resolve(&options, &resolved, NULL), PHLOX_OK);
    assert_int_equal(resolved.group_size, -1);
    assert_true(resolved.symmetric);
    options = (phlox_model_options){.weight_format = PHLOX_WEIGHTS_F16};
    assert_int_equal(px_quant_options_resolve(&options, &resolved, NULL), PHLOX_OK);
    assert_int_equal(resolved.format, PHLOX_WEIGHTS_F16);
}

/* Refused with a message that has both words. */
static void refused(phlox_model_options options, const char *word, const char *other)
{
    px_quant_options resolved;
    phlox_error error;
    assert_int_equal(px_quant_options_resolve(&options, &resolved, &error), PHLOX_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, word));
    assert_non_null(strstr(error.message, other));
}

static void refuses_pairs_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        phlox_weight_format format;
        const char *name;
    } formats[] = {{PHLOX_WEIGHTS_INT8, "weight-format int8"},
                   {PHLOX_WEIGHTS_F16, "weight-format f16"},
                   {PHLOX_WEIGHTS_F32, "weight-format f32"},
                   {PHLOX_WEIGHTS_BF16, "weight-format bf16"},
                   {PHLOX_WEIGHTS_STORED, "weight-format stored"},
                   {PHLOX_WEIGHTS_DEFAULT, "weight-format default"}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const phlox_model_options plain = {.weight_format = formats[i].format};
        phlox_model_options options = plain;
        options.group_size = 64;
        refused(options, "group-size", formats[i].name);
        options = plain;
        options.ratio = 0.6;
        refused(options, "ratio", formats[i].name);
        options = plain;
        options.backup_precision = PHLOX_BACKUP_INT8_ASYM;
        refused(options, "backup-precision", formats[i].name);
        options = plain;
        options.all_layers = true;
        refused(options, "all-layers", formats[i].name);
        options = plain;
        options.group_size_fallback = PHLOX_FALLBACK_IGNORE;
        refused(options, "group-size-fallback", formats[i].name);
        options = plain;
        options.quant_method = PHLOX_QUANT_SEARCH;
        refused(options, "quant-method", formats[i].name);
        if (formats[i].format == PHLOX_WEIGHTS_INT8) continue;
        options = plain;
        options.symmetry = PHLOX_ASYM;
        refused(options, "asym", formats[i].name);
        options = plain;
        options.group_size = -1;
        refused(options, "group-size", formats[i].name);
    }
}

static void refuses_values_out_of_range(void **state)
{
    (void)state;
    const phlox_model_options plain = {.weight_format = PHLOX_WEIGHTS_INT4};
    phlox_model_options options = plain;
    options.group_size = -2;
    refused(options, "group-size", "-2");
    static const double ratios[] = {-0.1, 1.0000001, 2, INFINITY, NAN};
    for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++) {
        options = plain;
        options.ratio = ratios[i];
        refused(options, "ratio", "at most 1");
    }
    options = plain;
    options.symmetry = (phlox_symmetry)3;
    refused(options, "sym", "3");
    options = plain;
    options.backup_precision = (phlox_backup_precision)4;
    refused(options, "backup-precision", "4");
    options = plain;
    options.group_size_fallback = (phlox_group_fallback)3;
    refused(options, "group-size-fallback", "3");
    options = plain;
    options.quant_method = (phlox_quant_method)3;
    refused(options, "quant-method", "3");
    options = plain;
    options.weight_format = (phlox_weight_format)7;
    refused(options, "weight-format", "7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses_as_nncf),
        cmocka_unit_test(breaks_ties_by_order),
        cmocka_unit_test(names_the_layer_that_groups_do_not_divide),
        cmocka_unit_test(other_formats_have_no_choice),
        cmocka_unit_test(fills_in_defaults),
        cmocka_unit_test(refuses_pairs_that_make_no_sense),
        cmocka_unit_test(refuses_values_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
