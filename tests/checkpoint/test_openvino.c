/* OpenVINO IR directories: every weight of the fixtures as NumPy decodes it, and files that are damaged or
 * made to harm. */
#include "support.h"

#include "checkpoint/openvino.h"

#define FIXTURES PHLOX_SOURCE_DIR "/tests/golden/openvino"

static uint64_t fnv(const void *data, size_t size)
{
    const unsigned char *const bytes = data;
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    return sum;
}

/* ---- weights ------------------------------------------------------------------------------- */

static const px_tensor *find(const px_checkpoint *checkpoint, const char *name)
{
    int layer = 0, used = 0;
    const bool layered = sscanf(name, "model.layers.%d.%n", &layer, &used) == 1;
    for (int role = 0; role < PX_ROLES; role++)
        if (px_role_is_layered((px_role)role) == layered &&
            strcmp(px_role_parameter((px_role)role), name + (layered ? used : 0)) == 0)
            return px_checkpoint_tensor(checkpoint, (px_role)role, layer);
    return NULL;
}

/* `step` rows at a time, since how a row is reached may depend on where one begins. */
static uint64_t sum_of(const px_tensor *tensor, int64_t step)
{
    const size_t size = (size_t)(tensor->rows * tensor->columns);
    float *const weights = malloc(size * sizeof *weights);
    void *const scratch = malloc(px_tensor_scratch(tensor, step) + 1);
    assert_non_null(weights);
    assert_non_null(scratch);
    for (int64_t row = 0; row < tensor->rows; row += step)
        px_tensor_load(tensor, row, PX_MIN(step, tensor->rows - row), weights + row * tensor->columns,
                       scratch);
    const uint64_t sum = fnv(weights, size * sizeof *weights);
    free(weights);
    free(scratch);
    return sum;
}

static void check_fixture(const char *path, const char *name, void *user)
{
    (void)user;
    static const struct {
        const char *name, *stored;
    } wanted[] = {
        {"fp16", "f16"},
        {"int4-asym-all", "int4 asym g32"},
        {"int4-channel", "int4 sym per channel, int8 sym per channel"},
        {"int4-ratio", "int8 asym per channel, int4 sym g32"},
        {"int8", "int8 asym per channel"},
        {"old", "int4 sym g32, int4 sym per channel, int8 asym per channel"},
    };
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    MUST(px_checkpoint_open(path, &checkpoint, &error));
    char stored[96], file[TEST_PATH];
    px_checkpoint_describe(checkpoint, stored, sizeof stored);
    size_t known = 0;
    while (known < PX_COUNT(wanted) && strcmp(wanted[known].name, name) != 0) known++;
    assert_true(known < PX_COUNT(wanted));
    assert_string_equal(stored, wanted[known].stored);
    size_t size, count = 0;
    char *const lines = test_read(test_path(file, "%s/tensors.txt", path), &size);
    for (char *line = lines; *line; line = strchr(line, '\n') + 1, count++) {
        char parameter[128];
        long long rows, columns;
        unsigned long long sum;
        assert_int_equal(sscanf(line, "%127s %lld %lld %llx", parameter, &rows, &columns, &sum), 4);
        const px_tensor *const tensor = find(checkpoint, parameter);
        if (!tensor) fail_msg("%s: %s is absent", name, parameter);
        assert_int_equal(tensor->rows, rows);
        assert_int_equal(tensor->columns, columns);
        if (sum_of(tensor, tensor->rows) != sum || sum_of(tensor, 3) != sum)
            fail_msg("%s: %s has other weights", name, parameter);
    }
    assert_int_equal(count, 4 * checkpoint->desc.num_hidden_layers + 1 + !checkpoint->desc.tied_embeddings);
    free(lines);
    px_checkpoint_close(&checkpoint);
}

static void fixtures(void **state)
{
    (void)state;
    assert_int_equal(test_for_each(FIXTURES, check_fixture, NULL), 6);
}

/* ---- damage -------------------------------------------------------------------------------- */

enum { XML, BIN, CONFIG, FILES };

static const char *const names[FILES] = {"openvino_model.xml", "openvino_model.bin", "config.json"};

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

/* Opens them, and reads every weight when they open. */
static phlox_status open_files(const struct files *files, phlox_error *error)
{
    px_memory_file list[FILES];
    for (int i = 0; i < FILES; i++)
        list[i] = (px_memory_file){names[i], {files->bytes[i], files->size[i]}};
    px_checkpoint *checkpoint = px_calloc(1, sizeof *checkpoint);
    assert_non_null(checkpoint);
    const phlox_status status = px_openvino_open_memory(list, FILES, checkpoint, error);
    for (int role = 0; role < PX_ROLES && status == PHLOX_OK; role++) {
        const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, (px_role)role, 0);
        if (tensor) sum_of(tensor, 2);
    }
    px_checkpoint_close(&checkpoint);
    return status;
}

/* Replaces the first `old` behind the first `after`. */
static void edit(struct files *files, int which, const char *after, const char *old, const char *new)
{
    char *const from = strstr(files->bytes[which], after);
    if (!from) fail_msg("there is no %s", after);
    char *const at = strstr(from, old);
    if (!at) fail_msg("there is no %s behind %s", old, after);
    const size_t before = (size_t)(at - files->bytes[which]), cut = strlen(old), added = strlen(new);
    char *const edited = malloc(files->size[which] - cut + added + 1);
    assert_non_null(edited);
    memcpy(edited, files->bytes[which], before);
    memcpy(edited + before, new, added);
    memcpy(edited + before + added, at + cut, files->size[which] - before - cut + 1);
    free(files->bytes[which]);
    files->bytes[which] = edited;
    files->size[which] += added - cut;
}

#define QKV "name=\"self.model.layers.0.self_attn.qkv_proj._openvino_orig_weight\""

static void damage(void **state)
{
    (void)state;
    static const struct {
        const char *after, *old, *new;
        phlox_status status;
        const char *word;
    } cases[] = {
        {"<net", "<net", "<!DOCTYPE net [<!ENTITY a \"b\">]>\n<net", PHLOX_ERROR_FORMAT, "document type"},
        {"<net", "<layers>", "<layer>", PHLOX_ERROR_FORMAT, "line"},
        {QKV, "offset=\"", "offset=\"9999999999", PHLOX_ERROR_FORMAT, "qkv_proj"},
        {QKV, "offset=\"", "offset=\"9223372036854775807\" x=\"", PHLOX_ERROR_FORMAT, "qkv_proj"},
        {QKV, "offset=\"", "offset=\"99999999999999999999999", PHLOX_ERROR_FORMAT, "offset"},
        {QKV, "offset=\"", "offset=\"-", PHLOX_ERROR_FORMAT, "offset"},
        {QKV, "size=\"", "size=\"0\" x=\"", PHLOX_ERROR_FORMAT, "fewer"},
        {QKV, "size=\"", "size=\"9223372036854775807\" x=\"", PHLOX_ERROR_FORMAT, "openvino_model.bin"},
        {QKV, "shape=\"", "shape=\"9223372036854775807, ", PHLOX_ERROR_FORMAT, "shape"},
        {QKV, "shape=\"", "shape=\"2, ", PHLOX_ERROR_FORMAT, "shape"},
        {QKV, "shape=\"", "shape=\"-1, ", PHLOX_ERROR_FORMAT, "shape"},
        {QKV, "shape=\"", "shape=\"1,1,1,1,1,1,1,1,1,", PHLOX_ERROR_FORMAT, "shape"},
        {QKV, "element_type=\"u8\"", "element_type=\"nf4\"", PHLOX_ERROR_UNSUPPORTED, "nf4"},
        {QKV, "element_type=\"u8\"", "element_type=\"f16\"", PHLOX_ERROR_FORMAT, "fewer"},
        {"<layers>", "id=\"1\"", "id=\"0\"", PHLOX_ERROR_FORMAT, "two layers"},
        {"<layers>", "id=\"1\"", "id=\"one\"", PHLOX_ERROR_FORMAT, "without an id"},
        {"<edges>", "from-layer=\"", "from-layer=\"999999", PHLOX_ERROR_FORMAT, "not there"},
        {"<edges>", "to-layer=\"", "to-layer=\"x", PHLOX_ERROR_FORMAT, "ends"},
        {"<edges>", "<edges>", "<edges><edge from-layer=\"30\" from-port=\"9\" to-layer=\"30\" "
                               "to-port=\"99\" />", PHLOX_ERROR_FORMAT, "circle"},
        {"transpose_b=\"true\"", "transpose_b=\"true\"", "transpose_b=\"false\"", PHLOX_ERROR_UNSUPPORTED,
         "transposed"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        struct files files;
        phlox_error error;
        read_files(&files, "int4-ratio");
        edit(&files, XML, cases[i].after, cases[i].old, cases[i].new);
        MUST_FAIL(open_files(&files, &error), cases[i].status, cases[i].word);
        free_files(&files);
    }
}

static void configs_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new;
        phlox_status status;
        const char *word;
    } cases[] = {
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", PHLOX_ERROR_FORMAT, "shape"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", PHLOX_ERROR_UNSUPPORTED, "lm_head"},
        {"\"intermediate_size\": 64", "\"intermediate_size\": 32", PHLOX_ERROR_FORMAT, "shape"},
        {"\"vocab_size\": 203", "\"vocab_size\": 204", PHLOX_ERROR_FORMAT, "no embedding"},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        struct files files;
        phlox_error error;
        read_files(&files, "int4-ratio");
        edit(&files, CONFIG, "{", cases[i].old, cases[i].new);
        MUST_FAIL(open_files(&files, &error), cases[i].status, cases[i].word);
        free_files(&files);
    }
}

/* Whatever is cut off, the answer is an error, not a crash. */
static void truncation(void **state)
{
    (void)state;
    struct files files;
    phlox_error error;
    read_files(&files, "int4-asym-all");
    assert_int_equal(open_files(&files, &error), PHLOX_OK);
    const size_t xml = files.size[XML], bin = files.size[BIN];
    for (size_t i = 0; i < 60; i++) {
        files.size[XML] = i < 40 ? xml * i / 40 : xml - 1 - (i - 40) * 7;
        const bool only_blanks = strspn(files.bytes[XML] + files.size[XML], " \n") + files.size[XML] == xml;
        if (!only_blanks) assert_int_equal(open_files(&files, &error), PHLOX_ERROR_FORMAT);
    }
    files.size[XML] = xml;
    for (size_t i = 0; i < 20; i++) {
        files.size[BIN] = bin * i / 20;
        assert_int_equal(open_files(&files, &error), PHLOX_ERROR_FORMAT);
        assert_non_null(strstr(error.message, "openvino_model.bin"));
    }
    free_files(&files);
}

static void depth(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    struct files files;
    phlox_error error;
    read_files(&files, "int8");
    char *const text = malloc(3 * DEPTH + 1);
    assert_non_null(text);
    for (int i = 0; i < DEPTH; i++) memcpy(text + 3 * i, "<a>", 3);
    text[3 * DEPTH] = 0;
    edit(&files, XML, "<net", "<layers>", text);
    MUST_FAIL(open_files(&files, &error), PHLOX_ERROR_FORMAT, "nested");
    free(text);
    free_files(&files);
}

static void missing_files(void **state)
{
    (void)state;
    char directory[TEST_PATH], path[TEST_PATH];
    test_directory(directory);
    test_copy(FIXTURES "/int8", directory);
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    assert_int_equal(remove(test_path(path, "%s/config.json", directory)), 0);
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_NOT_FOUND, "config.json");
    assert_int_equal(remove(test_path(path, "%s/openvino_model.bin", directory)), 0);
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_NOT_FOUND,
              "openvino_model.bin");
    test_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixtures),   cmocka_unit_test(damage), cmocka_unit_test(configs_that_do_not_fit),
        cmocka_unit_test(truncation), cmocka_unit_test(depth),  cmocka_unit_test(missing_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
