/* Buffers, ids, aligned memory, and the error idiom. */
#include "support.h"

static void sizes_do_not_wrap(void **state)
{
    (void)state;
    assert_true(px_mul(3, 4) == 12);
    assert_true(px_mul(0, SIZE_MAX) == 0);
    assert_true(px_mul(SIZE_MAX, 1) == SIZE_MAX);
    assert_true(px_mul(SIZE_MAX / 2 + 1, 2) == SIZE_MAX);
    assert_true(px_mul((size_t)1 << 32, (size_t)1 << 32) == SIZE_MAX);
    assert_null(px_aligned_alloc(SIZE_MAX));
    assert_null(px_aligned_alloc(SIZE_MAX - 63));
    assert_null(px_strdup("", SIZE_MAX));
    void *nothing = px_calloc(0, 0);
    assert_non_null(nothing);
    free(nothing);
}

static void aligned_and_zeroed(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 300; bytes += 13) {
        unsigned char *memory = px_aligned_alloc(bytes);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 64, 0);
        for (size_t i = 0; i < bytes; i++) assert_int_equal(memory[i], 0);
        memset(memory, 1, bytes);
        px_aligned_free(memory);
    }
    px_aligned_free(NULL);
}

static void buffers_grow(void **state)
{
    (void)state;
    phlox_error error;
    px_buffer buffer = {0};
    uint64_t random = 1;
    unsigned char model[20000];
    size_t size = 0;
    while (size < 19000) {
        unsigned char part[100];
        const size_t count = test_random(&random) % sizeof part;
        for (size_t i = 0; i < count; i++) part[i] = (unsigned char)test_random(&random);
        memcpy(model + size, part, count);
        size += count;
        MUST(px_buffer_add(&buffer, part, count, &error));
        assert_int_equal(buffer.size, size);
        assert_true(buffer.capacity >= size);
    }
    assert_memory_equal(buffer.data, model, size);
    MUST_FAIL(px_buffer_reserve(&buffer, SIZE_MAX, &error), PHLOX_ERROR_MEMORY, "memory");
    assert_int_equal(px_buffer_reserve(&buffer, SIZE_MAX / 2, NULL), PHLOX_ERROR_MEMORY);
    assert_int_equal(buffer.size, size);
    assert_memory_equal(buffer.data, model, size);
    px_buffer_free(&buffer);
    assert_null(buffer.data);
    MUST(px_buffer_add(&buffer, NULL, 0, &error));
    px_buffer_free(&buffer);
}

static void ids_grow(void **state)
{
    (void)state;
    phlox_error error;
    px_ids ids = {0};
    for (int32_t i = 0; i < 5000; i += 5) {
        const int32_t part[] = {i, i + 1, i + 2, i + 3, i + 4};
        MUST(px_ids_add(&ids, part, 5, &error));
    }
    assert_int_equal(ids.count, 5000);
    for (int32_t i = 0; i < 5000; i++) assert_int_equal(ids.data[i], i);
    MUST(px_ids_add(&ids, NULL, 0, &error));
    MUST_FAIL(px_ids_add(&ids, ids.data, SIZE_MAX / 2, &error), PHLOX_ERROR_MEMORY, "memory");
    assert_int_equal(ids.count, 5000);
    px_ids_free(&ids);
}

static void strings(void **state)
{
    (void)state;
    char *copy = px_strdup("abc\0def", 7);
    assert_memory_equal(copy, "abc\0def\0", 8);
    free(copy);
    copy = px_strdup(NULL, 0);
    assert_string_equal(copy, "");
    free(copy);
}

static void errors(void **state)
{
    (void)state;
    phlox_error error = {0};
    assert_int_equal(px_fail(&error, PHLOX_ERROR_IO, "file %s, byte %d", "x", 7), PHLOX_ERROR_IO);
    assert_int_equal(error.code, PHLOX_ERROR_IO);
    assert_string_equal(error.message, "file x, byte 7");
    assert_int_equal(px_fail(NULL, PHLOX_ERROR_IO, "nobody listens"), PHLOX_ERROR_IO);
    assert_int_equal(px_error_prefix(&error, PHLOX_ERROR_IO, "in %s", "y"), PHLOX_ERROR_IO);
    assert_string_equal(error.message, "in y: file x, byte 7");
    assert_int_equal(px_error_prefix(NULL, PHLOX_ERROR_IO, "in y"), PHLOX_ERROR_IO);
    assert_int_equal(px_error_prefix(&error, PHLOX_OK, "in z"), PHLOX_OK);
    assert_string_equal(error.message, "in y: file x, byte 7");

    char longest[3000];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    px_fail(&error, PHLOX_ERROR_FORMAT, "%s", longest);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    assert_string_equal(error.message + sizeof error.message - 4, "...");
    px_error_prefix(&error, PHLOX_ERROR_FORMAT, "%s", longest);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    assert_string_equal(error.message + sizeof error.message - 4, "...");
    for (int i = 0; i < 200; i++) px_error_pass(&error, __FILE__, __LINE__, PHLOX_ERROR_IO);
    assert_true(strlen(error.trace) < sizeof error.trace);

    for (int code = PHLOX_OK; code <= PHLOX_ERROR_INTERNAL; code++) {
        const char *name = phlox_status_name((phlox_status)code);
        assert_true(name[0] && strcmp(name, "unknown") != 0);
        for (int other = PHLOX_OK; other < code; other++)
            assert_string_not_equal(name, phlox_status_name((phlox_status)other));
    }
    assert_non_null(phlox_status_name((phlox_status)99));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_do_not_wrap), cmocka_unit_test(aligned_and_zeroed),
        cmocka_unit_test(buffers_grow),      cmocka_unit_test(ids_grow),
        cmocka_unit_test(strings),           cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
