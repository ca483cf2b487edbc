/* ONNX Runtime GenAI directories: every weight of the fixtures as NumPy decodes it, and files that are
 * damaged or made to harm. */
#include "checkpoints.h"

#include "base/os.h"
#include "checkpoint/onnx.h"

#include <unistd.h>

#define FIXTURES PHLOX_SOURCE_DIR "/tests/golden/onnx"

/* ---- weights ------------------------------------------------------------------------------- */

static void check_fixture(const char *path, const char *name, void *user)
{
    (void)user;
    static const struct {
        const char *name, *stored;
    } wanted[] = {
        {"fp16-cuda-long", "f16"},
        {"fp16-heads", "f16"},
        {"fp32-tied", "f32"},
        {"int4", "int4 sym g32, f32"},
        {"int4-asym", "int4 asym g32"},
        {"int4-dml-long", "int4 sym g32, f16"},
        {"int4-mixed", "int8 asym g32, int4 asym g32, f16"},
        {"int4-qdq", "int4 sym g32, f16"},
        {"int4-tied", "int4 sym g32"},
        {"int8", "int8 sym g32, int8 sym per channel, f32"},
        {"old", "int4 sym g32, f16"},
        {"old-dml", "int4 sym g32, int4 sym per channel, f16"},
    };
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    MUST(px_checkpoint_open(path, &checkpoint, &error));
    char stored[96];
    px_checkpoint_describe(checkpoint, stored, sizeof stored);
    size_t known = 0;
    while (known < PX_COUNT(wanted) && strcmp(wanted[known].name, name) != 0) known++;
    assert_true(known < PX_COUNT(wanted));
    assert_string_equal(stored, wanted[known].stored);
    test_listed_weights(checkpoint, path);
    px_checkpoint_close(&checkpoint);
}

static void fixtures(void **state)
{
    (void)state;
    assert_int_equal(test_for_each(FIXTURES, check_fixture, NULL), 12);
}

/* Drawn node by node, with names of their own: what is rare is read, or refused by name. */
static void check_variant(const char *path, const char *name, void *user)
{
    (void)user;
    px_checkpoint *checkpoint = NULL;
    phlox_error error = {0};
    char file[TEST_PATH];
    const phlox_status status = px_checkpoint_open(path, &checkpoint, &error);
    if (test_exists(test_path(file, "%s/refused.txt", path))) {
        size_t size;
        char *const word = test_read(file, &size);
        if (status != PHLOX_ERROR_UNSUPPORTED || !strstr(error.message, word))
            fail_msg("%s: %s, expected a refusal with \"%s\"", name,
                     status == PHLOX_OK ? "was read" : error.message, word);
        free(word);
        return;
    }
    if (status != PHLOX_OK) fail_msg("%s: %s", name, error.message);
    test_listed_weights(checkpoint, path);
    /* What the graph says goes before genai_config.json. */
    assert_int_equal(checkpoint->desc.sliding_window, strcmp(name, "window") == 0 ? 7 : 9);
    const bool is_long = strcmp(name, "int64-data") == 0 || strcmp(name, "moved-positions") == 0;
    assert_int_equal(checkpoint->desc.longrope, is_long);
    assert_int_equal(checkpoint->desc.original_max_position, is_long ? 8 : 16);
    if (!checkpoint->desc.longrope) assert_true(checkpoint->desc.rope_theta == 10000);
    px_checkpoint_close(&checkpoint);
}

static void variants(void **state)
{
    (void)state;
    assert_int_equal(test_for_each(PHLOX_SOURCE_DIR "/tests/golden/onnx-variants", check_variant, NULL), 26);
}

/* ---- damage -------------------------------------------------------------------------------- */

enum { GENAI, MODEL, DATA, FILES };

static const char *const names[FILES] = {"genai_config.json", "model.onnx", "model.onnx.data"};

struct files {
    char *bytes[FILES];
    size_t size[FILES];
};

static void read_files(struct files *files, const char *fixture)
{
    char path[TEST_PATH];
    for (int i = 0; i < FILES; i++)
        files->bytes[i] = test_read(test_path(path, FIXTURES "/%s/%s", fixture, names[i]), &files->size[i]);
}

static void free_files(struct files *files)
{
    for (int i = 0; i < FILES; i++) free(files->bytes[i]);
}

/* Opens them, and reads every weight when they open. Nothing lies behind a file's last byte, so that the
 * sanitizers see who reads there. */
static phlox_status open_files(const struct files *files, phlox_error *error)
{
    px_memory_file list[FILES];
    char *copies[FILES];
    for (int i = 0; i < FILES; i++) {
        copies[i] = malloc(files->size[i] + !files->size[i]);
        assert_non_null(copies[i]);
        memcpy(copies[i], files->bytes[i], files->size[i]);
        list[i] = (px_memory_file){names[i], {copies[i], files->size[i]}};
    }
    px_checkpoint *checkpoint = px_calloc(1, sizeof *checkpoint);
    assert_non_null(checkpoint);
    const phlox_status status = px_onnx_open_memory(list, FILES, checkpoint, error);
    for (int role = 0; role < PX_ROLES && status == PHLOX_OK; role++) {
        const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, (px_role)role, 0);
        if (tensor) test_sum(tensor, 2);
    }
    px_checkpoint_close(&checkpoint);
    for (int i = 0; i < FILES; i++) free(copies[i]);
    return status;
}

/* The first `word` behind the first `after`. */
static char *find_bytes(const struct files *files, int which, const char *after, const char *word)
{
    char *at = files->bytes[which];
    const char *const end = at + files->size[which];
    for (int i = 0; i < 2; i++) {
        const char *const wanted = i ? word : after;
        const size_t size = strlen(wanted);
        while (at + size <= end && memcmp(at, wanted, size) != 0) at++;
        if (at + size > end) fail_msg("there is no %s behind %s", wanted, after);
        if (i == 0) at += size;
    }
    return at;
}

/* Bytes are written over others, so that the lengths of the messages around them stay true. A name of a type
 * is known by its tag, which is a quotation mark, and its length. */
static void damage(void **state)
{
    (void)state;
    static const struct {
        int which;
        const char *fixture, *after, *old, *new;
        phlox_status status;
        const char *word;
    } cases[] = {
        {MODEL, "int4", "", "model.onnx.data", "../../etc/shado", PHLOX_ERROR_FORMAT, "not the name"},
        {MODEL, "int4", "", "model.onnx.data", "/etc/shadow/abc", PHLOX_ERROR_FORMAT, "not the name"},
        {MODEL, "int4", "", "model.onnx.data", "..\\etc\\shado.ab", PHLOX_ERROR_FORMAT, "not the name"},
        {MODEL, "int4", "", "model.onnx.data", "model.onnx.dat2", PHLOX_ERROR_NOT_FOUND, "dat2"},
        {MODEL, "int4", "B\x18" "lm_head.MatMul.weight_Q4", "offset\x12\x05", "offset\x12\x05" "99999",
         PHLOX_ERROR_FORMAT, "lm_head.MatMul.weight_Q4"},
        {MODEL, "int4", "B\x18" "lm_head.MatMul.weight_Q4", "offset\x12\x05", "offset\x12\x05" "-9999",
         PHLOX_ERROR_FORMAT, "broken"},
        {MODEL, "int4", "B\x18" "lm_head.MatMul.weight_Q4", "length\x12\x04", "length\x12\x04" "4095",
         PHLOX_ERROR_FORMAT, "lm_head.MatMul.weight_Q4"},
        {MODEL, "int4", "", "\"\x20" "SkipSimplified", "\"\x20" "SkipSimplifier", PHLOX_ERROR_UNSUPPORTED,
         "SkipSimplifier"},
        {MODEL, "int4", "", "\"\x0b" "MatMulNBits", "\"\x0b" "MatMulNBitt", PHLOX_ERROR_UNSUPPORTED,
         "MatMulNBitt"},
        {MODEL, "int4", "", "\"\x13" "GroupQueryAttention", "\"\x13" "GroupQueryAttentiom",
         PHLOX_ERROR_UNSUPPORTED, "GroupQueryAttentiom"},
        {MODEL, "int4", "", "\"\x07" "Sigmoid", "\"\x07" "Sigmoit", PHLOX_ERROR_UNSUPPORTED, "silu"},
        {MODEL, "int4", "\"\x0b" "MatMulNBits", "block_size", "block_siza", PHLOX_ERROR_FORMAT, "shape"},
        {MODEL, "int4", "\"\x0b" "MatMulNBits", "bits\x18\x04", "bits\x18\x03", PHLOX_ERROR_UNSUPPORTED,
         "bits"},
        {MODEL, "int4", "", "do_rotary", "do_rotarz", PHLOX_ERROR_UNSUPPORTED, "not rotated"},
        {MODEL, "int4", "", "softcap\x15", "softcap\x15zzzz", PHLOX_ERROR_UNSUPPORTED, "softcap"},
        {MODEL, "int4-dml-long", "", "\"\x0f" "RotaryEmbedding", "\"\x0f" "RotaryEmbeddinh",
         PHLOX_ERROR_UNSUPPORTED, "RotaryEmbeddinh"},
        {MODEL, "int4-qdq", "", "\"\x10" "DequantizeLinear", "\"\x10" "DequantizeLineal",
         PHLOX_ERROR_UNSUPPORTED, "constant"},
        {MODEL, "fp16-cuda-long", "", "\"\x07" "Greater", "\"\x07" "Greatet", PHLOX_ERROR_UNSUPPORTED, "tables"},
        {MODEL, "fp32-tied", "", "then_branch", "then_brancd", PHLOX_ERROR_UNSUPPORTED, "tables"},
        {GENAI, "int4", "decoder", "\"model.onnx\"", "\"../el.onnx\"", PHLOX_ERROR_FORMAT, "filename"},
        {GENAI, "int4", "decoder", "\"model.onnx\"", "\"m.on\\u0000\"", PHLOX_ERROR_FORMAT, "filename"},
        {GENAI, "int4", "", "\"filename\"", "\"filenama\"", PHLOX_ERROR_FORMAT, "filename"},
        {GENAI, "int4", "", "\"context_length\": 128", "\"context_length\": -28", PHLOX_ERROR_FORMAT,
         "context_length"},
        {GENAI, "int4", "eos_token_id", "120", "999", PHLOX_ERROR_FORMAT, "eos_token_id"},
        {GENAI, "int4", "outputs", "\"logits\": \"logits\"", "\"logits\": \"logitz\"", PHLOX_ERROR_FORMAT,
         "logitz"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        struct files files;
        phlox_error error = {0};
        read_files(&files, cases[i].fixture);
        char *const at = find_bytes(&files, cases[i].which, cases[i].after, cases[i].old);
        memcpy(at, cases[i].new, strlen(cases[i].new));
        const phlox_status status = open_files(&files, &error);
        if (status != cases[i].status || !strstr(error.message, cases[i].word))
            fail_msg("case %zu: status %d, %s", i, status, error.message);
        free_files(&files);
    }
}

/* Whatever is cut off, the answer is an error, not a crash. */
static void truncation(void **state)
{
    (void)state;
    struct files files;
    phlox_error error;
    read_files(&files, "int4-asym");
    assert_int_equal(open_files(&files, &error), PHLOX_OK);
    const size_t model = files.size[MODEL], data = files.size[DATA];
    for (size_t i = 0; i < 400; i++) {
        files.size[MODEL] = i < 200 ? model * i / 200 : model - 1 - (i - 200);
        const phlox_status status = open_files(&files, &error);
        /* What the model's message has behind its graph may be cut off between two fields. */
        if (i < 200) assert_int_equal(status, PHLOX_ERROR_FORMAT);
        else assert_true(status == PHLOX_OK || status == PHLOX_ERROR_FORMAT);
    }
    files.size[MODEL] = model;
    for (size_t i = 0; i < 20; i++) {
        files.size[DATA] = data * i / 20;
        MUST_FAIL(open_files(&files, &error), PHLOX_ERROR_FORMAT, "model.onnx.data");
    }
    free_files(&files);
}

/* ---- models made by hand ------------------------------------------------------------------- */

static void put(px_buffer *out, const void *data, size_t size)
{
    phlox_error error;
    MUST(px_buffer_add(out, data, size, &error));
}

static void put_varint(px_buffer *out, uint64_t value)
{
    do {
        const uint8_t byte = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
        put(out, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_bytes(px_buffer *out, uint32_t field, const void *data, size_t size)
{
    put_varint(out, field << 3 | 2);
    put_varint(out, size);
    put(out, data, size);
}

static void put_text(px_buffer *out, uint32_t field, const char *text)
{
    put_bytes(out, field, text, strlen(text));
}

/* Adds `inner` to `out` as a field, and empties it. */
static void put_message(px_buffer *out, uint32_t field, px_buffer *inner)
{
    put_bytes(out, field, inner->data, inner->size);
    px_buffer_free(inner);
    *inner = (px_buffer){0};
}

static void put_node(px_buffer *graph, const char *type, const char *a, const char *b, const char *result)
{
    px_buffer node = {0};
    put_text(&node, 1, a);
    put_text(&node, 1, b);
    put_text(&node, 2, result);
    put_text(&node, 4, type);
    put_message(graph, 1, &node);
}

static void put_tensor(px_buffer *graph, const char *name, uint64_t rows, uint64_t columns)
{
    px_buffer tensor = {0};
    put_varint(&tensor, 1 << 3), put_varint(&tensor, rows);
    put_varint(&tensor, 1 << 3), put_varint(&tensor, columns);
    put_varint(&tensor, 2 << 3), put_varint(&tensor, 1);
    put_text(&tensor, 8, name);
    put_message(graph, 5, &tensor);
}

/* Opens a model of this graph and empties it. */
static phlox_status open_graph(px_buffer *graph, phlox_error *error)
{
    struct files files;
    read_files(&files, "int4");
    px_buffer model = {0};
    put_message(&model, 7, graph);
    free(files.bytes[MODEL]);
    files.bytes[MODEL] = model.data;
    files.size[MODEL] = model.size;
    const phlox_status status = open_files(&files, error);
    free_files(&files);
    return status;
}

static void shapes(void **state)
{
    (void)state;
    static const uint64_t sizes[][2] = {
        {UINT64_C(1) << 63, 2}, {2, UINT64_C(1) << 63}, {UINT64_C(1) << 32, UINT64_C(1) << 32},
        {UINT64_MAX, UINT64_MAX}, {0, 64}, {UINT64_C(1) << 24, UINT64_C(1) << 24},
    };
    for (size_t i = 0; i < PX_COUNT(sizes); i++) {
        px_buffer graph = {0};
        phlox_error error;
        put_tensor(&graph, "w", sizes[i][0], sizes[i][1]);
        put_tensor(&graph, "norm", sizes[i][0], 1);
        put_node(&graph, "SimplifiedLayerNormalization", "x", "norm", "y");
        put_node(&graph, "MatMul", "y", "w", "logits");
        const phlox_status status = open_graph(&graph, &error);
        assert_true(status == PHLOX_ERROR_FORMAT || status == PHLOX_ERROR_UNSUPPORTED);
    }
}

static void circles(void **state)
{
    (void)state;
    static const char *const types[] = {"Cast", "Gather", "Add", "MatMul", "Transpose", "RMSNormalization"};
    for (size_t i = 0; i < PX_COUNT(types); i++) {
        px_buffer graph = {0};
        phlox_error error;
        put_tensor(&graph, "w", 64, 64);
        put_node(&graph, types[i], "b", "w", "a");
        put_node(&graph, types[i], "a", "w", "b");
        put_node(&graph, "MatMul", "a", i % 2 ? "w" : "b", "logits");
        assert_int_equal(open_graph(&graph, &error), PHLOX_ERROR_UNSUPPORTED);
    }
}

static void two_of_a_name(void **state)
{
    (void)state;
    px_buffer graph = {0};
    phlox_error error;
    put_tensor(&graph, "w", 64, 64);
    put_node(&graph, "MatMul", "x", "w", "logits");
    put_node(&graph, "MatMul", "x", "w", "logits");
    MUST_FAIL(open_graph(&graph, &error), PHLOX_ERROR_FORMAT, "two things are named logits");
}

/* A graph in an attribute of a node of a graph, and so on. */
static void depth(void **state)
{
    (void)state;
    px_buffer graph = {0};
    phlox_error error;
    for (int i = 0; i < 200; i++) {
        px_buffer attribute = {0}, node = {0};
        put_message(&attribute, 6, &graph);
        put_message(&node, 5, &attribute);
        put_message(&graph, 1, &node);
    }
    MUST_FAIL(open_graph(&graph, &error), PHLOX_ERROR_FORMAT, "nested");
}

/* ---- files --------------------------------------------------------------------------------- */

static void links(void **state)
{
    (void)state;
    char directory[TEST_PATH], elsewhere[TEST_PATH], data[TEST_PATH], model[TEST_PATH], to[TEST_PATH];
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    test_directory(directory);
    test_directory(elsewhere);
    test_copy(FIXTURES "/int4", directory);
    test_path(data, "%s/model.onnx.data", directory);
    assert_int_equal(rename(data, test_path(to, "%s/data", elsewhere)), 0);
    assert_int_equal(symlink(to, data), 0);
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_FORMAT, "leaves the directory");
    /* As in the cache of Hugging Face, where all files are links to one directory. */
    test_path(model, "%s/model.onnx", directory);
    assert_int_equal(rename(model, test_path(to, "%s/model", elsewhere)), 0);
    assert_int_equal(symlink(to, model), 0);
    MUST(px_checkpoint_open(directory, &checkpoint, &error));
    px_checkpoint_close(&checkpoint);
    test_remove(directory);
    test_remove(elsewhere);
}

/* config.json is used where it is there, and must be of the same model. */
static void configs(void **state)
{
    (void)state;
    char directory[TEST_PATH], config[TEST_PATH];
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    test_directory(directory);
    test_copy(FIXTURES "/int4", directory);
    test_path(config, "%s/config.json", directory);
    size_t size;
    char *text = test_read(PHLOX_SOURCE_DIR "/tests/golden/family/sharded/config.json", &size);
    MUST(px_write_file(config, text, size, &error));
    free(text);
    MUST(px_checkpoint_open(directory, &checkpoint, &error));
    assert_int_equal(checkpoint->desc.sliding_window, 11);
    assert_int_equal(checkpoint->desc.eos_count, 1); /* genai_config.json has three */
    px_checkpoint_close(&checkpoint);
    text = test_read(PHLOX_SOURCE_DIR "/tests/golden/family/phi4/config.json", &size);
    MUST(px_write_file(config, text, size, &error));
    free(text);
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_FORMAT, "different models");
    test_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixtures),      cmocka_unit_test(variants), cmocka_unit_test(damage),
        cmocka_unit_test(truncation),    cmocka_unit_test(shapes),   cmocka_unit_test(circles),
        cmocka_unit_test(two_of_a_name), cmocka_unit_test(depth),    cmocka_unit_test(links),
        cmocka_unit_test(configs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
