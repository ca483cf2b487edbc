/* The container and the directory around it, where the hostile set is blind. */
#include "support.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"

#include <fcntl.h>

/* A file of a header (text) and `data` bytes of data, at an address that is a multiple of nothing. */
static phlox_status parse(const char *header, size_t data, px_safetensors *out, char **memory,
                          phlox_error *error)
{
    const uint64_t length = strlen(header);
    const size_t size = 8 + (size_t)length + data;
    *memory = malloc(size + 1);
    assert_non_null(*memory);
    char *const file = *memory + 1;
    memcpy(file, &length, 8);
    memcpy(file + 8, header, (size_t)length);
    for (size_t i = 0; i < data; i++) file[8 + length + i] = (char)i;
    return px_safetensors_parse((phlox_text){file, size}, "x.safetensors", out, error);
}

static void entries_are_in_the_order_of_the_file(void **state)
{
    (void)state;
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[6,14]},"
        "\"empty\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[6,6]},"
        "\"a\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,6]},"
        "\"scalar\":{\"dtype\":\"F8_E4M3\",\"shape\":[],\"data_offsets\":[14,15]}}  ";
    px_safetensors st;
    char *memory;
    phlox_error error;
    MUST(parse(header, 15, &st, &memory, &error));
    assert_int_equal(st.count, 4);
    static const char *const names[] = {"a", "empty", "b", "scalar"};
    static const size_t sizes[] = {6, 0, 8, 1}, offsets[] = {0, 6, 6, 14};
    static const int dims[] = {1, 2, 2, 0};
    const char *const data = memory + 1 + st.header_size;
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(st.entries[i].name, names[i]);
        assert_int_equal(st.entries[i].size, sizes[i]);
        assert_int_equal(st.entries[i].dims, dims[i]);
        assert_ptr_equal(st.entries[i].data, data + offsets[i]);
    }
    assert_string_equal(st.entries[0].dtype, "BF16");
    assert_int_equal(st.entries[2].shape[0], 2);
    assert_int_equal(st.entries[2].shape[1], 1);
    assert_int_equal(st.header_size, 8 + sizeof header - 1);
    px_safetensors_free(&st);
    px_safetensors_free(&st);
    free(memory);
}

static void no_tensor_and_no_data(void **state)
{
    (void)state;
    px_safetensors st;
    char *memory;
    phlox_error error;
    MUST(parse("{}", 0, &st, &memory, &error));
    assert_int_equal(st.count, 0);
    px_safetensors_free(&st);
    free(memory);
    MUST_FAIL(parse("{}", 1, &st, &memory, &error), PHLOX_ERROR_FORMAT, "x.safetensors");
    free(memory);
    MUST_FAIL(parse("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2, &st, &memory,
                    &error), PHLOX_ERROR_FORMAT, "tensor t");
    free(memory);
    /* Five dimensions, and a key twice inside an entry. */
    MUST_FAIL(parse("{\"t\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
                    &st, &memory, &error), PHLOX_ERROR_FORMAT, "tensor t");
    free(memory);
    MUST_FAIL(parse("{\"t\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],"
                    "\"data_offsets\":[0,1]}}", 1, &st, &memory, &error), PHLOX_ERROR_FORMAT,
              "x.safetensors");
    free(memory);
}

/* ---- directories --------------------------------------------------------------------------- */

#define FAMILY PHLOX_SOURCE_DIR "/tests/golden/family"

static void places_every_tensor(void **state)
{
    (void)state;
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    MUST(px_checkpoint_open(FAMILY "/phi4-mini", &checkpoint, &error));
    assert_string_equal(checkpoint->form, "huggingface");
    assert_int_equal(checkpoint->type, PX_FLOAT_BF16);
    assert_true(checkpoint->desc.tied_embeddings);
    assert_null(px_checkpoint_tensor(checkpoint, PX_LM_HEAD, 0));
    assert_int_equal(checkpoint->tokenizer_json.size, 0);
    uint64_t bytes = 0;
    for (int role = 0; role < PX_ROLES; role++) {
        if (role == PX_LM_HEAD) continue;
        for (int32_t layer = 0; layer < (px_role_is_layered((px_role)role) ? 2 : 1); layer++) {
            const px_tensor *t = px_checkpoint_tensor(checkpoint, (px_role)role, layer);
            assert_non_null(t);
            assert_int_equal(t->layer, layer);
            assert_int_equal((int)t->role, role);
            bytes += (uint64_t)(t->rows * t->columns) * 2;
        }
    }
    assert_int_equal(checkpoint->stored_bytes, bytes);
    assert_int_equal(px_desc_parameters(&checkpoint->desc) * 2, bytes);
    px_checkpoint_close(&checkpoint);
    assert_null(checkpoint);
    px_checkpoint_close(&checkpoint);
}

static void what_is_no_checkpoint(void **state)
{
    (void)state;
    char directory[TEST_PATH], path[TEST_PATH];
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    test_directory(directory);
    test_path(path, "%s/none", directory);
    MUST_FAIL(px_checkpoint_open(path, &checkpoint, &error), PHLOX_ERROR_NOT_FOUND, "none");
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_FORMAT,
              "config.json");
    /* Files that would block a reader. */
    assert_int_equal(mkfifo(test_path(path, "%s/config.json", directory), 0600), 0);
    MUST_FAIL(px_checkpoint_open(path, &checkpoint, &error), PHLOX_ERROR_NOT_FOUND, "config.json");
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_FORMAT,
              "config.json");
    remove(path);
    test_copy(FAMILY "/f32", directory);
    remove(test_path(path, "%s/model.safetensors", directory));
    assert_int_equal(mkfifo(path, 0600), 0);
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_IO,
              "model.safetensors: not a regular file");
    remove(path);
    assert_int_equal(mkdir(path, 0700), 0);
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_IO,
              "model.safetensors");
    assert_null(checkpoint);
    test_remove(directory);
}

/* The state, which tells a cache whether its source has changed. */
static void the_state_follows_the_files(void **state)
{
    (void)state;
    char directory[TEST_PATH], path[TEST_PATH];
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    test_directory(directory);
    test_copy(FAMILY "/sharded", directory);
    MUST(px_checkpoint_open(directory, &checkpoint, &error));
    char *const before = px_strdup(checkpoint->state, strlen(checkpoint->state));
    px_checkpoint_close(&checkpoint);
    MUST(px_checkpoint_open(directory, &checkpoint, &error));
    assert_string_equal(checkpoint->state, before);
    px_checkpoint_close(&checkpoint);
    for (int shard = 1; shard <= 3; shard++) {
        test_path(path, "%s/model-0000%d-of-00003.safetensors", directory, shard);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        const struct timespec other[2] = {info.st_atim, {info.st_mtim.tv_sec - shard,
                                                         info.st_mtim.tv_nsec}};
        const struct timespec old[2] = {info.st_atim, info.st_mtim};
        assert_int_equal(utimensat(AT_FDCWD, path, other, 0), 0);
        MUST(px_checkpoint_open(directory, &checkpoint, &error));
        assert_string_not_equal(checkpoint->state, before);
        px_checkpoint_close(&checkpoint);
        assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    }
    MUST(px_checkpoint_open(directory, &checkpoint, &error));
    assert_string_equal(checkpoint->state, before);
    px_checkpoint_close(&checkpoint);
    free(before);
    test_remove(directory);
}

static void from_memory(void **state)
{
    (void)state;
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors"};
    px_memory_file files[3];
    for (size_t i = 0; i < 3; i++) {
        char path[TEST_PATH];
        size_t size;
        char *bytes = test_read(test_path(path, FAMILY "/f16/%s", names[i]), &size);
        files[i] = (px_memory_file){names[i], {bytes, size}};
    }
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    MUST(px_checkpoint_open_memory(files, 3, &checkpoint, &error));
    assert_string_equal(checkpoint->path, "");
    assert_int_equal(checkpoint->type, PX_FLOAT_F16);
    assert_int_equal(checkpoint->desc.hidden_size, 64);
    px_checkpoint_close(&checkpoint);
    MUST_FAIL(px_checkpoint_open_memory(files, 2, &checkpoint, &error), PHLOX_ERROR_NOT_FOUND,
              "model.safetensors");
    MUST_FAIL(px_checkpoint_open_memory(files + 1, 2, &checkpoint, &error), PHLOX_ERROR_NOT_FOUND,
              "config.json");
    for (size_t i = 0; i < 3; i++) free((void *)(uintptr_t)files[i].bytes.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_in_the_order_of_the_file),
        cmocka_unit_test(no_tensor_and_no_data),
        cmocka_unit_test(places_every_tensor),
        cmocka_unit_test(what_is_no_checkpoint),
        cmocka_unit_test(the_state_follows_the_files),
        cmocka_unit_test(from_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
