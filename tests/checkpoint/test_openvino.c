/* OpenVINO IR directories: every weight of every fixture as make_openvino.py decoded it, and files that
 * are damaged, hostile or of another network. */
#include "support.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/openvino.h"

#define FIXTURES PHLOX_SOURCE_DIR "/tests/golden/openvino"

/* ---- what the fixtures hold ---------------------------------------------------------------- */

static uint32_t crc32_of(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
    }
    return ~crc;
}

/* The tensor with a name of transformers. */
static const px_tensor *find_tensor(const px_checkpoint *checkpoint, const char *name)
{
    int layer = 0, used = 0;
    const bool layered = sscanf(name, "model.layers.%d.%n", &layer, &used) == 1 && used;
    for (int role = 0; role < PX_ROLES; role++)
        if (px_role_is_layered((px_role)role) == layered &&
            strcmp(px_role_parameter((px_role)role), name + used) == 0)
            return px_checkpoint_tensor(checkpoint, (px_role)role, layer);
    return NULL;
}

/* Integers, read in pieces of 1, 2, 3, ... rows. */
static void read_pieces(const px_tensor *tensor, uint8_t *q, float *scales, uint8_t *zeros)
{
    const int64_t groups = px_tensor_groups(tensor);
    for (int64_t row = 0, piece = 1; row < tensor->rows; row += piece++) {
        const int64_t rows = PX_MIN(piece, tensor->rows - row);
        tensor->integers.read(tensor, row, rows, q + row * tensor->columns, scales + row * groups,
                              zeros + row * groups);
    }
}

static void check_integers(const px_tensor *tensor, const char *what, const unsigned crcs[3])
{
    const int64_t groups = px_tensor_groups(tensor);
    const size_t values = (size_t)(tensor->rows * tensor->columns);
    const size_t count = (size_t)(tensor->rows * groups);
    for (int pieces = 0; pieces < 2; pieces++) {
        uint8_t *q = calloc(values, 1), *zeros = calloc(count, 1);
        float *scales = calloc(count, sizeof *scales);
        assert_true(q && zeros && scales);
        if (pieces) read_pieces(tensor, q, scales, zeros);
        else tensor->integers.read(tensor, 0, tensor->rows, q, scales, zeros);
        if (crc32_of(q, values) != crcs[0] || crc32_of(scales, count * sizeof *scales) != crcs[1] ||
            (!tensor->integers.symmetric && crc32_of(zeros, count) != crcs[2]))
            fail_msg("%s: values %08x, scales %08x, zero points %08x", what, crc32_of(q, values),
                     crc32_of(scales, count * sizeof *scales), crc32_of(zeros, count));
        free(q);
        free(zeros);
        free(scales);
    }
}

static void check_floats(const px_tensor *tensor, const char *what, unsigned crc)
{
    float *const values = calloc((size_t)(tensor->rows * tensor->columns), sizeof *values);
    assert_non_null(values);
    for (int64_t row = 0, piece = 1; row < tensor->rows; row += piece++) {
        const int64_t rows = PX_MIN(piece, tensor->rows - row);
        px_tensor_load(tensor, row, rows, values + row * tensor->columns, NULL);
    }
    const uint32_t got = crc32_of(values, (size_t)(tensor->rows * tensor->columns) * sizeof *values);
    if (got != crc) fail_msg("%s: floats %08x, expected %08x", what, got, crc);
    free(values);
}

static px_checkpoint *open_directory(const char *path)
{
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    MUST(px_checkpoint_open(path, &checkpoint, &error));
    assert_string_equal(checkpoint->form, "openvino");
    return checkpoint;
}

/* Every line of tensors.txt; the number of lines. */
static int check_tensors(const px_checkpoint *checkpoint, const char *path)
{
    char list[TEST_PATH], name[128];
    FILE *const file = fopen(test_path(list, "%s/tensors.txt", path), "r");
    assert_non_null(file);
    int bits, symmetric, half, lines = 0;
    long group;
    unsigned crcs[3];
    while (fscanf(file, "%127s %d %d %ld %d %x %x %x", name, &bits, &symmetric, &group, &half, &crcs[0],
                  &crcs[1], &crcs[2]) == 8) {
        char what[400];
        snprintf(what, sizeof what, "%s: %s", path, name);
        const px_tensor *const tensor = find_tensor(checkpoint, name);
        if (!tensor) fail_msg("%s is not there", what);
        if (tensor->integers.bits != bits) fail_msg("%s has %d bits", what, tensor->integers.bits);
        if (!bits) {
            check_floats(tensor, what, crcs[0]);
        } else {
            assert_int_equal(tensor->integers.symmetric, symmetric);
            assert_int_equal(tensor->integers.group_size, group);
            assert_int_equal(tensor->integers.half_scales, half);
            check_integers(tensor, what, crcs);
        }
        lines++;
    }
    assert_true(feof(file));
    fclose(file);
    return lines;
}

static void check_fixture(const char *path, const char *name, void *user)
{
    (void)name, (void)user;
    px_checkpoint *checkpoint = open_directory(path);
    const int lines = check_tensors(checkpoint, path);
    int tensors = 0;
    for (int role = 0; role < PX_ROLES; role++)
        for (int32_t layer = 0; layer < checkpoint->desc.num_hidden_layers; layer++)
            if (layer == 0 || px_role_is_layered((px_role)role))
                tensors += px_checkpoint_tensor(checkpoint, (px_role)role, layer) != NULL;
    assert_int_equal(tensors, lines);
    px_checkpoint_close(&checkpoint);
}

static void every_weight(void **state)
{
    (void)state;
    assert_true(test_for_each(FIXTURES, check_fixture, NULL) >= 10);
}

static void describes(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        bool quantized, tied;
    } cases[] = {
        {"int4-channel", "int4 sym per channel, int8 asym per channel", true, false},
        {"int4-tied", "int4 asym g32", true, true},
        {"int8-sym", "int8 sym per channel", true, false},
        {"fp16", "f16", false, false},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char path[TEST_PATH], text[200];
        px_checkpoint *checkpoint = open_directory(test_path(path, FIXTURES "/%s", cases[i].name));
        px_checkpoint_describe(checkpoint, text, sizeof text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(checkpoint->quantized, cases[i].quantized);
        assert_int_equal(checkpoint->desc.tied_embeddings, cases[i].tied);
        assert_int_equal(px_checkpoint_tensor(checkpoint, PX_LM_HEAD, 0) == NULL, cases[i].tied);
        px_checkpoint_close(&checkpoint);
    }
}

/* ---- a fixture that is edited -------------------------------------------------------------- */

enum { XML, BIN, CONFIG, FILES };

/* A model whose files are in memory. */
struct edited {
    px_memory_file files[FILES];
    char *bytes[FILES]; /* with a NUL behind them */
    size_t count;
};

static struct edited edit_begin(const char *fixture)
{
    static const char *const names[FILES] = {"openvino_model.xml", "openvino_model.bin", "config.json"};
    struct edited e = {.count = FILES};
    for (int i = 0; i < FILES; i++) {
        char path[TEST_PATH];
        size_t size;
        e.bytes[i] = test_read(test_path(path, FIXTURES "/%s/%s", fixture, names[i]), &size);
        e.files[i] = (px_memory_file){names[i], {e.bytes[i], size}};
    }
    return e;
}

static void edit_end(struct edited *e)
{
    for (int i = 0; i < FILES; i++) free(e->bytes[i]);
}

/* Replaces the first `from` behind the first `after` (NULL: anywhere). */
static void edit(struct edited *e, int file, const char *after, const char *from, const char *to)
{
    char *const old = e->bytes[file];
    char *start = after ? strstr(old, after) : old;
    char *const at = start ? strstr(start, from) : NULL;
    if (!at) fail_msg("no \"%s\" behind \"%s\"", from, after ? after : "");
    const size_t size = e->files[file].bytes.size - strlen(from) + strlen(to);
    char *const bytes = malloc(size + 1);
    assert_non_null(bytes);
    const size_t before = (size_t)(at - old), rest = before + strlen(from);
    memcpy(bytes, old, before);
    memcpy(bytes + before, to, strlen(to));
    memcpy(bytes + before + strlen(to), old + rest, e->files[file].bytes.size - rest + 1);
    free(old);
    e->bytes[file] = bytes;
    e->files[file].bytes = (phlox_text){bytes, size};
}

static phlox_status open_edited(const struct edited *e, px_checkpoint **out, phlox_error *error)
{
    px_checkpoint *checkpoint = px_calloc(1, sizeof *checkpoint);
    assert_non_null(checkpoint);
    const phlox_status status = px_openvino_open_memory(e->files, e->count, checkpoint, error);
    if (status == PHLOX_OK && out) *out = checkpoint;
    else px_checkpoint_close(&checkpoint);
    return status;
}

/* The fixture with one change fails with this. */
static void must_fail(const char *fixture, int file, const char *after, const char *from,
                      const char *to, phlox_status status, const char *word)
{
    struct edited e = edit_begin(fixture);
    phlox_error error;
    edit(&e, file, after, from, to);
    MUST_FAIL(open_edited(&e, NULL, &error), status, word);
    edit_end(&e);
}

#define QKV "qkv_proj.weight\""
#define NOT_FORMAT PHLOX_ERROR_UNSUPPORTED

/* ---- damaged ------------------------------------------------------------------------------- */

static void truncated(void **state)
{
    (void)state;
    struct edited e = edit_begin("int4-asym");
    phlox_error error;
    const phlox_text xml = e.files[XML].bytes, bin = e.files[BIN].bytes;
    for (size_t i = 0; i < 200; i++) {
        /* A copy of just that size, so that reading on is noticed. */
        const size_t size = i * (xml.size - 10) / 200;
        char *const part = malloc(size + 1);
        assert_non_null(part);
        memcpy(part, xml.data, size);
        e.files[XML].bytes = (phlox_text){part, size};
        MUST_FAIL(open_edited(&e, NULL, &error), PHLOX_ERROR_FORMAT, "openvino_model.xml");
        free(part);
    }
    e.files[XML].bytes = xml;
    for (size_t i = 0; i < 50; i++) {
        e.files[BIN].bytes.size = i * (bin.size - 1) / 49;
        MUST_FAIL(open_edited(&e, NULL, &error), PHLOX_ERROR_FORMAT, "openvino_model.bin has");
    }
    e.files[BIN].bytes = bin;
    MUST(open_edited(&e, NULL, &error));
    for (int missing = 0; missing < FILES; missing++) {
        struct edited without = e;
        without.files[missing].name = "other";
        MUST_FAIL(open_edited(&without, NULL, &error), PHLOX_ERROR_NOT_FOUND,
                  e.files[missing].name);
    }
    edit_end(&e);
}

static void mutated(void **state)
{
    (void)state;
    uint64_t random = 7;
    int opened = 0;
    for (int round = 0; round < 400; round++) {
        struct edited e = edit_begin(round % 2 ? "int4-tied" : "by-hand-integers");
        const int changes = 1 + (int)(test_random(&random) % 3);
        for (int i = 0; i < changes; i++) {
            const uint64_t at = test_random(&random) % e.files[XML].bytes.size;
            e.bytes[XML][at] = "0123456789-\"<>/ afiuMG"[test_random(&random) % 22];
        }
        px_checkpoint *checkpoint = NULL;
        phlox_error error = {0};
        if (open_edited(&e, &checkpoint, &error) == PHLOX_OK) {
            for (int role = 0; role < PX_ROLES; role++) {
                const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, (px_role)role, 0);
                if (!tensor) continue;
                const size_t scratch = px_tensor_scratch(tensor, tensor->rows);
                float *const out = calloc((size_t)(tensor->rows * tensor->columns), sizeof *out);
                void *const memory = malloc(scratch + 1);
                assert_true(out && memory);
                px_tensor_load(tensor, 0, tensor->rows, out, memory);
                free(memory);
                free(out);
            }
            px_checkpoint_close(&checkpoint);
            opened++;
        } else {
            assert_true(error.message[0]);
            assert_int_not_equal(error.code, PHLOX_ERROR_INTERNAL);
        }
        edit_end(&e);
    }
    assert_in_range(opened, 1, 399);
}

/* ---- hostile XML --------------------------------------------------------------------------- */

static char *repeated(const char *text, size_t times)
{
    const size_t size = strlen(text);
    char *const out = malloc(times * size + 1);
    assert_non_null(out);
    for (size_t i = 0; i < times; i++) memcpy(out + i * size, text, size);
    out[times * size] = 0;
    return out;
}

static void hostile_xml(void **state)
{
    (void)state;
    const phlox_status format = PHLOX_ERROR_FORMAT;
    must_fail("int8-sym", XML, NULL, "<net ",
              "<!DOCTYPE net [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">"
              "<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><net x=\"&c;\" ", format, "document type");
    must_fail("int8-sym", XML, NULL, "<net ",
              "<!DOCTYPE net SYSTEM \"file:///etc/passwd\"><net ", format, "document type");
    must_fail("int8-sym", XML, NULL, "<net ", "<html ", format, "begins with <html>");
    char *deep = repeated("<a>", 100000);
    must_fail("int8-sym", XML, NULL, "<layers>", deep, format, "nested deeper");
    free(deep);
    char *many = repeated("<layer id=\"1\" type=\"Const\"/>", 1 << 19);
    must_fail("int8-sym", XML, "<layers>", "<layer ", many, format, "more than 262144 layers");
    free(many);
    must_fail("int8-sym", XML, NULL, "<layer id=\"1\"", "<layer id=\"0\"", format, "two layers");
    must_fail("int8-sym", XML, NULL, "<layer id=\"1\"", "<layer id=\"-1\"", format, "without id");
    must_fail("int8-sym", XML, NULL, "<layer id=\"1\"", "<layer", format, "without id");
    must_fail("int8-sym", XML, "<edges>", "to-layer=\"", "to-layer=\"9999", format, "not there");
    must_fail("int8-sym", XML, "<edges>", "to-port=\"", "to-port=\"99999999999999999999", format,
              "lacks a number");
    struct edited e = edit_begin("int8-sym");
    phlox_error error;
    edit(&e, XML, NULL, "</layers>", "</layers><other><layer/></other><edges></edges>");
    MUST(open_edited(&e, NULL, &error));
    edit_end(&e);
}

static void hostile_constants(void **state)
{
    (void)state;
    /* Put before the value, or, with x=", in its place. */
    static const struct {
        const char *attribute, *value, *word;
    } cases[] = {
        {"offset=\"", "18446744073709551615\" x=\"", "at offset 18446744073709551615"},
        {"offset=\"", "18446744073709551616\" x=\"", "make sense"},
        {"offset=\"", "9", "bytes at offset 9"},
        {"offset=\"", "-", "make sense"},
        {"offset=\"", "0x", "make sense"},
        {"size=\"", "18446744073709551615\" x=\"", "18446744073709551615 bytes at offset"},
        {"size=\"", "12287\" x=\"", "its shape makes 12288"},
        {"shape=\"", "9223372036854775807, ", "make sense"},
        {"shape=\"", "4294967296, 4294967296, ", "make sense"},
        {"shape=\"", "?, ", "make sense"},
        {"shape=\"", ",", "make sense"},
        {"shape=\"", "2, ", "its shape makes 24576"},
        {"shape=\"", "0, 18446744073709551615, ", "its shape makes 0"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char to[100];
        snprintf(to, sizeof to, "%s%s", cases[i].attribute, cases[i].value);
        must_fail("int8-sym", XML, QKV, cases[i].attribute, to, PHLOX_ERROR_FORMAT, cases[i].word);
    }
    /* Empty and one-dimensional weights of the right size. */
    must_fail("int8-sym", XML, QKV, "shape=\"192, 64\"", "shape=\"12288\"", PHLOX_ERROR_FORMAT,
              "config.json makes the weight [192, 64]");
    must_fail("int8-sym", XML, QKV, "shape=\"192, 64\"", "shape=\"64, 192\"", PHLOX_ERROR_FORMAT,
              "config.json makes the weight [192, 64]");
    must_fail("int8-sym", XML, "qkv_proj.weight/scale\"", "shape=\"192, 1\"",
              "shape=\"1, 192\"", PHLOX_ERROR_FORMAT, "has the shape [1, 192]");
}

/* ---- another graph ------------------------------------------------------------------------- */

static void unsupported(void **state)
{
    (void)state;
    must_fail("int4-asym", XML, QKV, "element_type=\"u4\"", "element_type=\"nf4\"", NOT_FORMAT,
              "of type nf4, which phlox does not read");
    must_fail("int4-asym", XML, QKV, "element_type=\"u4\"", "element_type=\"f4e2m1\"", NOT_FORMAT,
              "of type f4e2m1");
    must_fail("int4-asym", XML, QKV, "type=\"Multiply\"", "type=\"FakeConvert\"", NOT_FORMAT,
              "comes from the FakeConvert layer");
    must_fail("int4-asym", XML, QKV, "transpose_b=\"true\"", "transpose_b=\"false\"", NOT_FORMAT,
              "column by column");
    must_fail("int4-asym", XML, QKV, "type=\"MatMul\"", "type=\"Other\"", NOT_FORMAT,
              "which no Phi-3 has there");
    must_fail("int4-asym", XML, "lm_head.weight\"", "type=\"MatMul\"", "type=\"Other\"",
              PHLOX_ERROR_FORMAT, "8 products with weights");
    must_fail("int4-asym", CONFIG, NULL, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
              PHLOX_ERROR_FORMAT, "is one more than the 5");
    must_fail("int4-asym", CONFIG, NULL, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
              PHLOX_ERROR_FORMAT, "makes them 13");
    must_fail("int4-asym", CONFIG, NULL, "\"vocab_size\": 64", "\"vocab_size\": 65",
              PHLOX_ERROR_FORMAT, "no table of token embeddings [65, 64]");
    must_fail("int4-asym", CONFIG, NULL, "\"intermediate_size\": 24", "\"intermediate_size\": 25",
              PHLOX_ERROR_FORMAT, "config.json makes the weight [50, 64]");
    must_fail("int4-asym", CONFIG, NULL, "\"model_type\": \"phi3\"", "\"model_type\": \"llama\"",
              NOT_FORMAT, "llama");
}

/* ---- the graph counts, not its order or names ---------------------------------------------- */

/* Layers in the file the other way round. */
static void reverse_layers(struct edited *e)
{
    char *const text = e->bytes[XML], *const end = strstr(text, "</layers>");
    char *const begin = strstr(text, "<layer ");
    assert_true(begin && end);
    char *const copy = malloc((size_t)(end - begin));
    assert_non_null(copy);
    memcpy(copy, begin, (size_t)(end - begin));
    char *out = begin;
    for (const char *last = copy + (end - begin); last > copy;) {
        const char *first = last - 1;
        while (first > copy && strncmp(first, "<layer ", 7) != 0) first--;
        memcpy(out, first, (size_t)(last - first));
        out += last - first;
        last = first;
    }
    free(copy);
}

static void any_order(void **state)
{
    (void)state;
    struct edited e = edit_begin("int4-asym");
    phlox_error error;
    px_checkpoint *checkpoint = NULL;
    reverse_layers(&e);
    MUST(open_edited(&e, &checkpoint, &error));
    assert_int_equal(check_tensors(checkpoint, FIXTURES "/int4-asym"), 15);
    px_checkpoint_close(&checkpoint);
    edit_end(&e);
}

/* An edge of the file: the ids of two layers and the input. */
static void add_edge(struct edited *e, const char *from, const char *to, int port)
{
    char text[200];
    snprintf(text, sizeof text,
             "<edges><edge from-layer=\"%s\" from-port=\"0\" to-layer=\"%s\" to-port=\"%d\" />", from,
             to, port);
    edit(e, XML, NULL, "<edges>", text);
}

/* The id of the layer behind a text that has this type. */
static const char *id_behind(const struct edited *e, const char *after, const char *type, char out[16])
{
    const char *at = strstr(e->bytes[XML], after);
    assert_non_null(at);
    const char *const found = strstr(at, type);
    assert_non_null(found);
    at = found;
    while (strncmp(at, "<layer id=\"", 11) != 0) at--;
    assert_int_equal(sscanf(at + 11, "%15[0-9]", out), 1);
    return out;
}

static void cycles(void **state)
{
    (void)state;
    char head[16], first[16];
    phlox_error error;
    struct edited e = edit_begin("int4-asym");
    id_behind(&e, "lm_head.weight\"", "type=\"MatMul\"", head);
    id_behind(&e, QKV, "type=\"MatMul\"", first);
    add_edge(&e, head, first, 5);
    MUST_FAIL(open_edited(&e, NULL, &error), PHLOX_ERROR_FORMAT, "depends on itself");
    edit_end(&e);
    e = edit_begin("int4-asym");
    add_edge(&e, first, first, 5);
    MUST_FAIL(open_edited(&e, NULL, &error), PHLOX_ERROR_FORMAT, "depends on itself");
    edit_end(&e);
    e = edit_begin("int4-asym");
    add_edge(&e, head, first, 1);
    MUST_FAIL(open_edited(&e, NULL, &error), PHLOX_ERROR_FORMAT, "two edges into its input 1");
    edit_end(&e);
}

/* Other networks whose weights have the same shapes. */
static void other_networks(void **state)
{
    (void)state;
    phlox_error error;
    /* A bias. */
    struct edited e = edit_begin("int4-asym");
    edit(&e, XML, QKV, "type=\"Multiply\"", "type=\"Multiplied\"");
    MUST_FAIL(open_edited(&e, NULL, &error), PHLOX_ERROR_UNSUPPORTED, "Multiplied");
    edit_end(&e);
    /* A norm that adds its weights. */
    e = edit_begin("int4-asym");
    char *const embedding = strstr(e.bytes[XML], "type=\"ReduceMean\"");
    assert_non_null(embedding);
    char *const scaled = strstr(embedding, "type=\"Multiply\"");
    assert_non_null(scaled);
    char *const gamma = strstr(scaled + 1, "type=\"Multiply\"");
    assert_non_null(gamma);
    memcpy(gamma, "type=\"Subtract\"", 15);
    MUST_FAIL(open_edited(&e, NULL, &error), PHLOX_ERROR_UNSUPPORTED,
              "is Subtract with the constant");
    edit_end(&e);
    /* The factors of AWQ in front of the activation, where they are not those of up. */
    e = edit_begin("int4-awq");
    edit(&e, XML, NULL, "type=\"Swish\"", "type=\"Swash\"");
    MUST_FAIL(open_edited(&e, NULL, &error), PHLOX_ERROR_UNSUPPORTED,
              "which no Phi-3 has there");
    edit_end(&e);
}

/* Zero points that are floats must be whole and in the range of the values. */
static void odd_zero_points(void **state)
{
    (void)state;
    static const float odd[] = {0.5f, -1, 256, NAN, INFINITY, -INFINITY, 1e30f};
    struct edited e = edit_begin("by-hand-integers");
    phlox_error error;
    char *const name = strstr(e.bytes[XML], "element_type=\"f32\" shape=\"64, 1\"");
    assert_non_null(name);
    const char *const offset = strstr(name, "offset=\"");
    assert_non_null(offset);
    for (size_t i = 0; i < PX_COUNT(odd); i++) {
        memcpy(e.bytes[BIN] + atol(offset + 8), &odd[i], 4);
        MUST_FAIL(open_edited(&e, NULL, &error), PHLOX_ERROR_UNSUPPORTED, "which is no value of u8");
    }
    edit_end(&e);
}

/* config.json says tied, the graph has two matrices: the graph is right. */
static void tied_by_name_only(void **state)
{
    (void)state;
    struct edited e = edit_begin("int8-sym");
    phlox_error error;
    px_checkpoint *checkpoint = NULL;
    edit(&e, CONFIG, NULL, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    MUST(open_edited(&e, &checkpoint, &error));
    assert_false(checkpoint->desc.tied_embeddings);
    check_tensors(checkpoint, FIXTURES "/int8-sym");
    px_checkpoint_close(&checkpoint);
    edit_end(&e);
}

/* Links are followed; the names of the files are fixed. The state knows when a file has changed. */
static void links_and_state(void **state)
{
    (void)state;
    static const char *const names[] = {"openvino_model.xml", "openvino_model.bin", "config.json"};
    char directory[TEST_PATH], from[TEST_PATH], to[TEST_PATH];
    test_directory(directory);
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        test_path(from, FIXTURES "/int8-sym/%s", names[i]);
        assert_int_equal(symlink(from, test_path(to, "%s/%s", directory, names[i])), 0);
    }
    px_checkpoint *checkpoint = open_directory(directory);
    char *const first = px_strdup(checkpoint->state, strlen(checkpoint->state));
    assert_non_null(first);
    px_checkpoint_close(&checkpoint);
    size_t size;
    for (size_t i = 0; i < 2; i++) {
        char *const bytes = test_read(test_path(to, "%s/%s", directory, names[i]), &size);
        assert_int_equal(unlink(to), 0);
        if (i) bytes[100] ^= 1;
        else *(strstr(bytes, "<net name=\"") + 11) = 'X';
        test_write(to, bytes, size);
        checkpoint = open_directory(directory);
        assert_string_not_equal(checkpoint->state, first);
        px_checkpoint_close(&checkpoint);
        free(bytes);
    }
    free(first);
    test_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_weight),      cmocka_unit_test(describes),
        cmocka_unit_test(truncated),         cmocka_unit_test(mutated),
        cmocka_unit_test(hostile_xml),       cmocka_unit_test(hostile_constants),
        cmocka_unit_test(unsupported),       cmocka_unit_test(any_order),
        cmocka_unit_test(cycles),            cmocka_unit_test(other_networks),
        cmocka_unit_test(odd_zero_points),   cmocka_unit_test(tied_by_name_only),
        cmocka_unit_test(links_and_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
