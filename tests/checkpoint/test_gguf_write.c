/* GGUF files that phlox writes: blocks against ggml, stored integers bit for bit, what is read back
 * from them, and what cannot be written. tests/golden/make_gguf_exports.py made the truth. */
#include "checkpoints.h"

#include "base/half.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/gguf_quantize.h"

#define GOLDEN PHLOX_SOURCE_DIR "/tests/golden"

static const px_role layered[] = {PX_QKV, PX_O, PX_GATE_UP, PX_DOWN};

/* ---- help ---------------------------------------------------------------------------------- */

static uint32_t crc32_add(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *const bytes = data;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return ~crc;
}

/* "int4 --sym" */
static phlox_model_options read_words(const char *words)
{
    phlox_model_options options;
    phlox_error error;
    char format[16];
    phlox_model_options_init(&options);
    snprintf(format, sizeof format, "%.*s", (int)strcspn(words, " "), words);
    MUST(phlox_model_options_set(&options, "weight-format", format, &error));
    if (strstr(words, "--sym")) options.symmetry = PHLOX_SYM;
    if (strstr(words, "--all-layers")) options.all_layers = true;
    return options;
}

/* The matrices in the order of the network. Returns how many. */
static size_t list_matrices(const px_checkpoint *checkpoint, const px_tensor **out, size_t most)
{
    size_t count = 0;
    out[count++] = px_checkpoint_tensor(checkpoint, PX_EMBEDDING, 0);
    for (int32_t layer = 0; layer < checkpoint->desc.num_hidden_layers; layer++)
        for (size_t i = 0; i < PX_COUNT(layered); i++)
            out[count++] = px_checkpoint_tensor(checkpoint, layered[i], layer);
    if (!checkpoint->desc.tied_embeddings) out[count++] = px_checkpoint_tensor(checkpoint, PX_LM_HEAD, 0);
    assert_true(count <= most);
    return count;
}

enum { MOST_MATRICES = 64 };

static void check_same_floats(const float *a, const float *b, int32_t count)
{
    assert_int_equal(!a, !b);
    if (a) assert_memory_equal(a, b, (size_t)count * sizeof *a);
}

static void check_same_network(const px_desc *a, const px_desc *b)
{
    assert_int_equal(a->vocab_size, b->vocab_size);
    assert_int_equal(a->hidden_size, b->hidden_size);
    assert_int_equal(a->intermediate_size, b->intermediate_size);
    assert_int_equal(a->num_hidden_layers, b->num_hidden_layers);
    assert_int_equal(a->num_attention_heads, b->num_attention_heads);
    assert_int_equal(a->num_key_value_heads, b->num_key_value_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->rotary_dim, b->rotary_dim);
    assert_int_equal(a->sliding_window, b->sliding_window);
    assert_true(a->rms_norm_eps == b->rms_norm_eps && a->rope_theta == b->rope_theta);
    assert_int_equal(a->tied_embeddings, b->tied_embeddings);
    assert_int_equal(a->max_position, b->max_position);
    assert_int_equal(a->longrope, b->longrope);
    if (a->longrope) assert_int_equal(a->original_max_position, b->original_max_position);
    assert_true(a->rope_scale == b->rope_scale);
    check_same_floats(a->short_factor, b->short_factor, a->rotary_dim / 2);
    check_same_floats(a->long_factor, b->long_factor, a->rotary_dim / 2);
}

static void check_same_ends(const px_desc *a, const px_desc *b)
{
    assert_int_equal(a->bos_id, b->bos_id);
    assert_int_equal(a->eos_count, b->eos_count);
    for (size_t i = 0; i < a->eos_count; i++) assert_true(px_desc_is_eos(b, a->eos_ids[i]));
    assert_int_equal(a->do_sample, b->do_sample);
    if (!a->do_sample) return;
    assert_int_equal(a->top_k, b->top_k);
    assert_true(a->temperature == b->temperature && a->top_p == b->top_p && a->min_p == b->min_p &&
                a->repetition_penalty == b->repetition_penalty);
}

/* ---- blocks -------------------------------------------------------------------------------- */

static void hard_blocks(void **state)
{
    (void)state;
    static const char *const names[] = {"Q8_0", "Q4_0", "Q4_1"};
    size_t size, at = 0, count = 0;
    char *const file = test_read(GOLDEN "/gguf_blocks.bin", &size);
    const px_tensor tensor = {.rows = 1, .columns = PX_GGUF_BLOCK, .name = "weight", .file = "file"};
    const px_export_item item = {.tensor = &tensor};
    for (; at < size; count++) {
        float values[PX_GGUF_BLOCK];
        memcpy(values, file + at, sizeof values);
        at += sizeof values;
        const px_export_rows rows = {.item = &item, .rows = 1, .values = values};
        for (size_t i = 0; i < PX_COUNT(names); i++) {
            const px_gguf_encoding *const encoding = px_gguf_encoding_named(names[i]);
            uint8_t block[64];
            phlox_error error;
            MUST(px_gguf_quantize(encoding, &rows, block, &error));
            if (memcmp(block, file + at, (size_t)encoding->bytes) != 0)
                fail_msg("block %zu: other bytes than ggml's %s", count, names[i]);
            at += (size_t)encoding->bytes;
        }
    }
    assert_int_equal(at, size);
    assert_true(count >= 40);
    free(file);
}

static uint32_t sum_of(const char *path)
{
    px_checkpoint *checkpoint = test_open(path);
    const px_tensor *tensors[MOST_MATRICES];
    const size_t count = list_matrices(checkpoint, tensors, MOST_MATRICES);
    uint32_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum = crc32_add(sum, tensors[i]->data, (size_t)(tensors[i]->rows * tensors[i]->row_bytes));
    px_checkpoint_close(&checkpoint);
    return sum;
}

static void bytes_of_ggml(void **state)
{
    (void)state;
    char directory[TEST_PATH], source[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    size_t size, count = 0;
    char *const list = test_read(GOLDEN "/gguf_exports.txt", &size);
    for (char *line = list, *next; *line; line = next, count++) {
        next = strchr(line, '\n');
        assert_non_null(next);
        *next++ = 0;
        unsigned sum;
        char name[64];
        int used;
        assert_int_equal(sscanf(line, "%x %63s %n", &sum, name, &used), 2);
        const phlox_model_options options = read_words(line + used);
        phlox_error error;
        test_path(source, GOLDEN "/%s", name);
        MUST(phlox_export(source, "gguf", test_path(out, "%s/%zu.gguf", directory, count), &options, NULL, NULL,
                          &error));
        if (sum_of(out) != sum) fail_msg("%s: other bytes than ggml makes", line);
    }
    assert_true(count >= 48);
    free(list);
    test_remove(directory);
}

/* What makes the logits has 8 bits, unless all layers are meant. */
static void which_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *member, *words, *weights;
    } cases[] = {
        {"phi4", "int8", "Q8_0"},
        {"phi4", "int4 --sym", "Q4_0, Q8_0"},
        {"phi4", "int4 --sym --all-layers", "Q4_0"},
        {"phi4-mini", "int4", "Q4_1, Q8_0"},
        {"phi4", "stored", "bf16"},
        {"phi4", "f16", "f16"},
    };
    char directory[TEST_PATH], source[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        const phlox_model_options options = read_words(cases[i].words);
        phlox_export_result result;
        phlox_error error;
        test_path(source, GOLDEN "/family/%s", cases[i].member);
        MUST(phlox_export(source, "gguf", test_path(out, "%s/%zu", directory, i), &options, NULL, &result, &error));
        assert_string_equal(result.weights, cases[i].weights);
        px_checkpoint *checkpoint = test_open(out);
        const bool tied = checkpoint->desc.tied_embeddings;
        const px_tensor *const head = px_checkpoint_tensor(checkpoint, tied ? PX_EMBEDDING : PX_LM_HEAD, 0);
        if (strstr(cases[i].weights, "Q8_0")) assert_string_equal(head->encoding, "Q8_0");
        px_checkpoint_close(&checkpoint);
    }
    test_remove(directory);
}

/* ---- what is read back --------------------------------------------------------------------- */

struct round {
    const char *directory;
    size_t count;
};

static void check_member(const char *path, const char *name, void *user)
{
    struct round *const round = user;
    char out[TEST_PATH];
    phlox_error error;
    test_path(out, "%s/%s.gguf", round->directory, name);
    if (strcmp(name, "head-dim-128") == 0) {
        MUST_FAIL(phlox_export(path, "gguf", out, NULL, NULL, NULL, &error), PHLOX_ERROR_UNSUPPORTED, "head_dim");
        assert_false(test_exists(out));
        return;
    }
    MUST(phlox_export(path, "gguf", out, NULL, NULL, NULL, &error));
    px_checkpoint *source = test_open(path), *made = test_open(out);
    assert_string_equal(made->form, "gguf");
    check_same_network(&source->desc, &made->desc);
    check_same_ends(&source->desc, &made->desc);
    test_same_weights(source, made);
    px_checkpoint_close(&source);
    px_checkpoint_close(&made);
    test_same_logits(path, out);
    round->count++;
}

static void family(void **state)
{
    (void)state;
    char directory[TEST_PATH];
    test_directory(directory);
    struct round round = {directory, 0};
    test_for_each(GOLDEN "/family", check_member, &round);
    assert_true(round.count >= 13);
    test_remove(directory);
}

static void sampling(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    test_copy(GOLDEN "/family/phi4", directory);
    test_write_text(directory, "generation_config.json",
                    "{\"do_sample\": true, \"temperature\": 0.8, \"top_p\": 0.95, \"top_k\": 40, "
                    "\"min_p\": 0.05, \"repetition_penalty\": 1.1, \"eos_token_id\": [121, 127]}");
    phlox_error error;
    MUST(phlox_export(directory, "gguf", test_path(out, "%s/out.gguf", directory), NULL, NULL, NULL, &error));
    px_checkpoint *source = test_open(directory), *made = test_open(out);
    assert_true(made->desc.do_sample);
    check_same_ends(&source->desc, &made->desc);
    px_checkpoint_close(&source);
    px_checkpoint_close(&made);
    test_remove(directory);
}

/* ---- stored integers ----------------------------------------------------------------------- */

struct integers {
    const char *directory;
    size_t exact, rounded;
    char weights[256];
};

static bool is_held(const px_tensor *tensor)
{
    const px_integers *const integers = &tensor->integers;
    const int64_t group = PX_MIN(integers->group_size, tensor->columns);
    return !integers->bits ||
           (integers->half_scales && group % 32 == 0 && tensor->columns % 32 == 0 &&
            (integers->bits == 4 || integers->symmetric));
}

static const char *first_lost(const px_checkpoint *checkpoint)
{
    const px_tensor *tensors[MOST_MATRICES];
    const size_t count = list_matrices(checkpoint, tensors, MOST_MATRICES);
    for (size_t i = 0; i < count; i++)
        if (!is_held(tensors[i])) return tensors[i]->name;
    return NULL;
}

/* Tensors that are held keep every bit, whatever is accepted for the others. */
static void check_held_values(const px_checkpoint *source, const px_checkpoint *made)
{
    const px_tensor *from[MOST_MATRICES], *to[MOST_MATRICES];
    const size_t count = list_matrices(source, from, MOST_MATRICES);
    assert_int_equal(list_matrices(made, to, MOST_MATRICES), count);
    for (size_t i = 0; i < count; i++) {
        float *const wanted = test_load(from[i], from[i]->rows), *const got = test_load(to[i], to[i]->rows);
        const size_t values = (size_t)(from[i]->rows * from[i]->columns);
        if (is_held(from[i])) {
            assert_memory_equal(wanted, got, values * sizeof *got);
        } else {
            float largest = 0;
            for (size_t v = 0; v < values; v++) largest = PX_MAX(largest, fabsf(wanted[v]));
            test_close(to[i]->name, got, wanted, values, (double)largest * (from[i]->integers.bits == 8 ? 0.01 : 0.1));
        }
        free(wanted);
        free(got);
    }
}

static void check_integers(const char *path, const char *name, void *user)
{
    struct integers *const seen = user;
    char out[TEST_PATH];
    phlox_error error;
    phlox_export_result result;
    phlox_export_options words;
    phlox_export_options_init(&words);
    test_path(out, "%s/%s-%zu.gguf", seen->directory, name, seen->exact + seen->rounded);
    px_checkpoint *source = test_open(path);
    const char *const lost = first_lost(source);
    if (lost) {
        MUST_FAIL(phlox_export(path, "gguf", out, NULL, NULL, NULL, &error), PHLOX_ERROR_UNSUPPORTED, lost);
        assert_non_null(strstr(error.message, "--accept-loss"));
        assert_false(test_exists(out));
        words.accept_loss = true;
    }
    MUST(phlox_export(path, "gguf", out, NULL, &words, &result, &error));
    px_checkpoint *made = test_open(out);
    check_same_network(&source->desc, &made->desc);
    check_held_values(source, made);
    if (!lost) test_same_weights(source, made);
    px_checkpoint_close(&made);
    px_checkpoint_close(&source);
    if (!lost) test_same_logits(path, out);
    (*(lost ? &seen->rounded : &seen->exact))++;
    for (char *word = strtok(result.weights, ", "); word; word = strtok(NULL, ", "))
        px_describe_once(seen->weights, sizeof seen->weights, word);
}

static void stored_integers(void **state)
{
    (void)state;
    char directory[TEST_PATH];
    test_directory(directory);
    struct integers seen = {.directory = directory};
    test_for_each(GOLDEN "/openvino", check_integers, &seen);
    test_for_each(GOLDEN "/onnx", check_integers, &seen);
    static const char *const all[] = {"Q4_0", "Q5_0", "Q8_0", "Q4_1", "f32", "f16"};
    for (size_t i = 0; i < PX_COUNT(all); i++)
        if (!strstr(seen.weights, all[i])) fail_msg("no export has %s: %s", all[i], seen.weights);
    assert_true(seen.exact >= 3 && seen.rounded >= 5);
    test_remove(directory);
}

/* A model in which only the matrices of one layer hold integers, made by hand: whole rows as one group, scales
 * of either sign, zero points at both ends. */
static void packed_integers(void **state)
{
    (void)state;
    enum { ROWS = 2, COLUMNS = 64 };
    const px_tensor tensor = {.rows = ROWS, .columns = COLUMNS, .integers = {.half_scales = true}};
    uint64_t seed = 9;
    for (int kind = 0; kind < 6; kind++) {
        const int bits = kind % 3 == 2 ? 8 : 4;
        const bool symmetric = kind % 3 != 1, grouped = kind >= 3;
        const px_export_item item = {.tensor = &tensor, .kept = true,
                                     .format = {bits, symmetric, grouped ? 32 : -1, false}};
        uint8_t q[ROWS * COLUMNS], zeros[] = {8, 8, 8, 8}, out[ROWS * COLUMNS * 2];
        float scales[] = {0.5f, -0.25f, 0x1p-24f, 60000.0f};
        for (int i = 0; i < ROWS * COLUMNS; i++) q[i] = (uint8_t)(test_random(&seed) & (bits == 4 ? 15 : 255));
        if (bits == 8) memset(zeros, 128, sizeof zeros);
        if (!symmetric) memcpy(zeros, (const uint8_t[]){0, 15, 7, 1}, sizeof zeros);
        q[0] = 0;
        q[1] = bits == 4 ? 15 : 255;
        const px_export_rows rows = {.item = &item, .rows = ROWS, .groups = grouped ? 2 : 1, .q = q,
                                     .scales = scales, .zeros = zeros};
        const px_gguf_encoding *const encoding = px_gguf_encoding_named(px_gguf_holds_integers(&item));
        px_gguf_pack(encoding, &rows, out);
        px_tensor made = {.rows = ROWS, .columns = COLUMNS, .data = out};
        px_gguf_describe(encoding, &made);
        float *const got = test_load(&made, made.rows);
        for (int i = 0; i < ROWS * COLUMNS; i++) {
            const int group = grouped ? i / 32 : i / COLUMNS;
            const float wanted = (float)(q[i] - zeros[group]) * scales[group];
            if (got[i] != wanted) fail_msg("kind %d, value %d: %g, not %g", kind, i, (double)got[i], (double)wanted);
        }
        free(got);
    }
}

/* What no block holds. */
static void not_held(void **state)
{
    (void)state;
    const px_tensor narrow = {.rows = 1, .columns = 48, .integers = {.half_scales = true}};
    const px_tensor wide = {.rows = 1, .columns = 64, .integers = {.half_scales = true}};
    const px_tensor fine = {.rows = 1, .columns = 64, .integers = {.half_scales = false}};
    const px_export_item items[] = {
        {.tensor = &narrow, .kept = true, .format = {4, true, -1, false}},
        {.tensor = &wide, .kept = true, .format = {4, true, 16, false}},
        {.tensor = &wide, .kept = true, .format = {8, false, 32, false}},
        {.tensor = &fine, .kept = true, .format = {4, true, 32, false}},
    };
    for (size_t i = 0; i < PX_COUNT(items); i++) assert_null(px_gguf_holds_integers(&items[i]));
}

/* ---- GGUF again ---------------------------------------------------------------------------- */

static const px_gguf_tensor *find(const px_gguf *gguf, const char *name)
{
    for (size_t i = 0; i < gguf->tensor_count; i++)
        if (strcmp(gguf->tensors[i].name, name) == 0) return &gguf->tensors[i];
    return NULL;
}

/* Blocks are copied, whatever they hold. */
static void check_again(const char *path, const char *name, void *user)
{
    const struct round *const round = user;
    char out[TEST_PATH];
    phlox_error error;
    if (strstr(name, ".json")) return; /* beside the fixtures */
    test_path(out, "%s/%s.gguf", round->directory, name);
    MUST(phlox_export(path, "gguf", out, NULL, NULL, NULL, &error));
    px_checkpoint *source = test_open(path), *made = test_open(out);
    size_t size;
    char *const bytes = test_read(out, &size);
    px_gguf gguf;
    MUST(px_gguf_parse((phlox_text){bytes, size}, out, &gguf, &error));
    for (int role = 0; role < PX_ROLES; role++) {
        const int32_t count = px_role_is_layered((px_role)role) ? source->desc.num_hidden_layers : 1;
        for (int32_t layer = 0; layer < count; layer++) {
            const px_tensor *const tensor = px_checkpoint_tensor(source, (px_role)role, layer);
            const px_gguf_tensor *const copy = tensor ? find(&gguf, tensor->name) : NULL;
            if (!tensor) continue;
            assert_non_null(copy);
            const size_t stored = (size_t)(tensor->rows * tensor->row_bytes);
            if (px_role_is_norm((px_role)role)) continue; /* F32 here; values are compared below */
            assert_int_equal(copy->size, stored);
            assert_memory_equal(copy->data, tensor->data, stored);
        }
    }
    check_same_network(&source->desc, &made->desc);
    check_same_ends(&source->desc, &made->desc);
    test_same_weights(source, made);
    assert_int_equal(source->tokenizer_json.size > 0, made->tokenizer_json.size > 0);
    assert_int_equal(source->chat_template.size, made->chat_template.size);
    assert_int_equal(size, gguf.header_size + (size_t)(gguf.tensors[gguf.tensor_count - 1].offset +
                                                       (gguf.tensors[gguf.tensor_count - 1].size + 31) / 32 * 32));
    px_gguf_free(&gguf);
    free(bytes);
    px_checkpoint_close(&source);
    px_checkpoint_close(&made);
}

static void again(void **state)
{
    (void)state;
    char directory[TEST_PATH];
    test_directory(directory);
    struct round round = {directory, 0};
    assert_true(test_for_each(GOLDEN "/gguf", check_again, &round) >= 15);
    /* As floats, all of it is widened. */
    char out[TEST_PATH];
    phlox_model_options options = read_words("f32");
    phlox_export_result result;
    phlox_error error;
    MUST(phlox_export(GOLDEN "/gguf/q4_k_m", "gguf", test_path(out, "%s/wide", directory), &options, NULL, &result,
                      &error));
    assert_string_equal(result.weights, "f32");
    test_same_logits(GOLDEN "/gguf/q4_k_m", out);
    options = read_words("bf16");
    MUST_FAIL(phlox_export(GOLDEN "/gguf/q4_k_m", "gguf", test_path(out, "%s/half", directory), &options, NULL,
                           NULL, &error), PHLOX_ERROR_UNSUPPORTED, "Q4_K");
    phlox_export_options words;
    phlox_export_options_init(&words);
    words.accept_loss = true;
    MUST(phlox_export(GOLDEN "/gguf/q4_k_m", "gguf", out, &options, &words, &result, &error));
    assert_string_equal(result.weights, "bf16");
    test_remove(directory);
}

/* ---- what cannot be written ---------------------------------------------------------------- */

static bool cancel(void *user, const phlox_progress *progress)
{
    (void)user;
    return progress->done == 0;
}

static void refused(void **state)
{
    (void)state;
    char directory[TEST_PATH], out[TEST_PATH];
    test_directory(directory);
    test_path(out, "%s/out.gguf", directory);
    const char *const source = GOLDEN "/family/phi4";
    phlox_error error;
    static const struct {
        const char *format, *option, *value, *says;
    } cases[] = {
        {"int8", "asym", NULL, "asym"},          {"int4", "group-size", "64", "group-size 64"},
        {"int4", "ratio", "0.5", "ratio"},       {"int4", "backup-precision", "int8_sym", "backup-precision"},
        {"int4", "quant-method", "search", "quant-method"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        phlox_model_options options = read_words(cases[i].format);
        MUST(phlox_model_options_set(&options, cases[i].option, cases[i].value, &error));
        MUST_FAIL(phlox_export(source, "gguf", out, &options, NULL, NULL, &error), PHLOX_ERROR_ARGUMENT,
                  cases[i].says);
    }
    phlox_model_options options = read_words("int4");
    options.group_size = 32;
    MUST(phlox_export(source, "gguf", out, &options, NULL, NULL, &error));
    MUST_FAIL(phlox_export(source, "gguf", out, &options, NULL, NULL, &error), PHLOX_ERROR_ARGUMENT,
              "is there already");
    test_remove(out);
    MUST_FAIL(phlox_export(GOLDEN "/family/f16", "gguf", out, &options, NULL, NULL, &error),
              PHLOX_ERROR_UNSUPPORTED, "rows of 48 values");
    options.progress = cancel;
    MUST_FAIL(phlox_export(source, "gguf", out, &options, NULL, NULL, &error), PHLOX_ERROR_CANCELLED, "cancelled");
    MUST_FAIL(phlox_export(GOLDEN "/gguf/q8_0", "gguf", out, &options, NULL, NULL, &error), PHLOX_ERROR_CANCELLED,
              "cancelled");
    assert_int_equal(test_for_each(directory, NULL, NULL), 0);
    test_remove(directory);
}

/* Scales are float16. */
static void too_large(void **state)
{
    (void)state;
    static const struct {
        const char *encoding;
        float fits, is_too_large;
    } cases[] = {{"Q8_0", 8e6f, 9e6f}, {"Q4_0", -5e5f, -6e5f}, {"Q4_1", -65000, -66000}};
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        const px_tensor tensor = {.rows = 1, .columns = PX_GGUF_BLOCK, .name = "big", .file = "file"};
        const px_export_item item = {.tensor = &tensor};
        float values[PX_GGUF_BLOCK] = {0};
        const px_export_rows rows = {.item = &item, .rows = 1, .begin = 7, .values = values};
        const px_gguf_encoding *const encoding = px_gguf_encoding_named(cases[i].encoding);
        uint8_t block[64];
        phlox_error error;
        values[3] = cases[i].fits;
        MUST(px_gguf_quantize(encoding, &rows, block, &error));
        values[3] = cases[i].is_too_large;
        MUST_FAIL(px_gguf_quantize(encoding, &rows, block, &error), PHLOX_ERROR_FORMAT, "big: row 7");
    }
}

/* Of values whose reciprocal is infinite the integers are those of 0. */
static void tiny(void **state)
{
    (void)state;
    static const struct {
        const char *encoding;
        uint8_t begin, byte;
    } cases[] = {{"Q8_0", 2, 0}, {"Q4_0", 2, 0x88}, {"Q4_1", 4, 0}};
    const px_tensor tensor = {.rows = 1, .columns = PX_GGUF_BLOCK, .name = "tiny", .file = "file"};
    const px_export_item item = {.tensor = &tensor};
    float values[PX_GGUF_BLOCK];
    for (int i = 0; i < PX_GGUF_BLOCK; i++) values[i] = (float)i * 1e-41f;
    const px_export_rows rows = {.item = &item, .rows = 1, .values = values};
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        const px_gguf_encoding *const encoding = px_gguf_encoding_named(cases[i].encoding);
        uint8_t block[64];
        phlox_error error;
        MUST(px_gguf_quantize(encoding, &rows, block, &error));
        for (int at = cases[i].begin; at < encoding->bytes; at++) assert_int_equal(block[at], cases[i].byte);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hard_blocks),     cmocka_unit_test(bytes_of_ggml),
        cmocka_unit_test(which_blocks),    cmocka_unit_test(family),
        cmocka_unit_test(sampling),        cmocka_unit_test(stored_integers),
        cmocka_unit_test(packed_integers), cmocka_unit_test(not_held),
        cmocka_unit_test(again),           cmocka_unit_test(refused),
        cmocka_unit_test(too_large),       cmocka_unit_test(tiny),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
