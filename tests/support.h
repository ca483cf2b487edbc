/*
 * What the tests of several rooms share: files and temporary directories, .npy fixtures, a small
 * safetensors writer, seeded random numbers, calls that must succeed or fail.
 */
#ifndef PX_TESTS_SUPPORT_H
#define PX_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

enum { TEST_PATH = 1024 };

/* The call must succeed; `error` is a phlox_error of the caller, passed to the call by address. */
#define MUST(call)                                                                               \
    do {                                                                                         \
        if ((call) != PHLOX_OK) fail_msg("%s: %s", #call, error.message);                        \
    } while (0)

/* The call must fail with this code and a message that contains `word`. */
#define MUST_FAIL(call, status, word)                                                            \
    do {                                                                                         \
        memset(&error, 0, sizeof error);                                                         \
        const phlox_status got_ = (call);                                                        \
        if (got_ != (status) || error.code != (status) || !strstr(error.message, word))          \
            fail_msg("%s: %s (%s), expected %s with \"%s\"", #call, phlox_status_name(got_),     \
                     error.message, phlox_status_name(status), word);                            \
    } while (0)

/* ---- random numbers ------------------------------------------------------------------------ */

static inline uint64_t test_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* -1 to 1 */
static inline float test_random_float(uint64_t *state)
{
    return (float)((int32_t)(test_random(state) >> 40) - (1 << 23)) * 0x1p-23f;
}

/* ---- files --------------------------------------------------------------------------------- */

#define TEST_FORMAT __attribute__((format(printf, 2, 3)))

/* A path, which must fit. */
static inline TEST_FORMAT const char *test_path(char out[TEST_PATH], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(out, TEST_PATH, format, arguments);
    va_end(arguments);
    assert_in_range(size, 0, TEST_PATH - 1);
    return out;
}

static inline bool test_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

/* The bytes of a file with a NUL behind them; free() them. */
static inline char *test_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("cannot open %s", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long length = ftell(file);
    assert_true(length >= 0);
    rewind(file);
    char *bytes = malloc((size_t)length + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)length, file), length);
    fclose(file);
    bytes[length] = 0;
    *size = (size_t)length;
    return bytes;
}

static inline void test_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (!file) fail_msg("cannot create %s", path);
    if (size) assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void test_write_text(const char *directory, const char *name, const char *text)
{
    char path[TEST_PATH];
    test_write(test_path(path, "%s/%s", directory, name), text, strlen(text));
}

/* Overwrites bytes in place. */
static inline void test_patch(const char *path, long offset, const void *data, size_t size)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* A new empty directory. */
static inline void test_directory(char out[TEST_PATH])
{
    const char *parent = getenv("TMPDIR");
    test_path(out, "%s/phlox-test-XXXXXX", parent && parent[0] ? parent : "/tmp");
    assert_non_null(mkdtemp(out));
}

static inline void test_remove(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0) return;
    if (S_ISDIR(info.st_mode)) {
        DIR *directory = opendir(path);
        assert_non_null(directory);
        for (const struct dirent *entry; (entry = readdir(directory));) {
            if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
            char child[TEST_PATH];
            test_remove(test_path(child, "%s/%s", path, entry->d_name));
        }
        closedir(directory);
    }
    assert_int_equal(remove(path), 0);
}

/* For tests whose *state is the path of an empty directory. */
static inline int test_make_state(void **state)
{
    char *directory = malloc(TEST_PATH);
    if (!directory) return 1;
    test_directory(directory);
    *state = directory;
    return 0;
}

static inline int test_remove_state(void **state)
{
    test_remove(*state);
    free(*state);
    return 0;
}

#define IN_DIRECTORY(function)                                                              \
    cmocka_unit_test_setup_teardown(function, test_make_state, test_remove_state)

typedef void test_visit(const char *path, const char *name, void *user);

/* Calls `visit` for each entry, ordered by name; the number of entries. */
static inline size_t test_for_each(const char *path, test_visit *visit, void *user)
{
    struct dirent **entries = NULL;
    const int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) return 0;
    size_t visited = 0;
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            char child[TEST_PATH];
            if (visit) visit(test_path(child, "%s/%s", path, entries[i]->d_name),
                             entries[i]->d_name, user);
            visited++;
        }
        free(entries[i]);
    }
    free(entries);
    return visited;
}

static inline void test_copy_one(const char *path, const char *name, void *user)
{
    size_t size;
    char *bytes = test_read(path, &size), to[TEST_PATH];
    test_write(test_path(to, "%s/%s", (const char *)user, name), bytes, size);
    free(bytes);
}

/* Copies the files of a directory over those of another. */
static inline void test_copy(const char *from, char *to)
{
    test_for_each(from, test_copy_one, to);
}

/* ---- .npy ---------------------------------------------------------------------------------- */

typedef struct test_npy {
    char *bytes;
    int64_t rows, columns; /* columns 1 for one dimension */
    const float *floats;   /* of '<f4' */
    const int32_t *ints;   /* of '<i4' */
} test_npy;

static inline test_npy test_npy_open(const char *path)
{
    test_npy npy = {.columns = 1};
    size_t size;
    npy.bytes = test_read(path, &size);
    if (size < 10 || memcmp(npy.bytes, "\x93NUMPY\x01", 7) != 0) fail_msg("%s: no .npy", path);
    const size_t header = (unsigned char)npy.bytes[8] + 256u * (unsigned char)npy.bytes[9];
    assert_true(10 + header <= size);
    const char *shape = strstr(npy.bytes + 10, "'shape': (");
    assert_non_null(shape);
    long long rows = 0, columns = 1;
    assert_true(sscanf(shape, "'shape': (%lld, %lld", &rows, &columns) >= 1);
    npy.rows = rows;
    npy.columns = columns;
    assert_int_equal((size_t)(rows * columns) * 4, size - 10 - header);
    const void *data = npy.bytes + 10 + header;
    if (strstr(npy.bytes + 10, "'<f4'")) npy.floats = data;
    else if (strstr(npy.bytes + 10, "'<i4'")) npy.ints = data;
    else fail_msg("%s: neither <f4 nor <i4", path);
    return npy;
}

static inline void test_npy_close(test_npy *npy)
{
    free(npy->bytes);
    *npy = (test_npy){0};
}

/* ---- safetensors --------------------------------------------------------------------------- */

typedef struct test_tensor {
    char name[64];
    int64_t rows, columns; /* rows 0: one dimension */
    const float *values;
} test_tensor;

/* Writes float32 tensors as directory/model.safetensors. */
static inline void test_safetensors_write(const char *directory, const test_tensor *tensors,
                                          size_t count)
{
    char *header = malloc(count * 256 + 16);
    assert_non_null(header);
    size_t used = 0, offset = 0;
    header[used++] = '{';
    for (size_t i = 0; i < count; i++) {
        const test_tensor *t = &tensors[i];
        const size_t size = (size_t)(PX_MAX(t->rows, 1) * t->columns) * sizeof *t->values;
        char shape[64];
        if (t->rows) snprintf(shape, sizeof shape, "%lld,%lld", (long long)t->rows,
                              (long long)t->columns);
        else snprintf(shape, sizeof shape, "%lld", (long long)t->columns);
        used += (size_t)snprintf(header + used, 256,
                                 "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],"
                                 "\"data_offsets\":[%zu,%zu]}",
                                 i ? "," : "", t->name, shape, offset, offset + size);
        offset += size;
    }
    header[used++] = '}';
    while (used % 8) header[used++] = ' ';
    char path[TEST_PATH];
    FILE *file = fopen(test_path(path, "%s/model.safetensors", directory), "wb");
    assert_non_null(file);
    const uint64_t length = used;
    assert_int_equal(fwrite(&length, 1, sizeof length, file), sizeof length);
    assert_int_equal(fwrite(header, 1, used, file), used);
    for (size_t i = 0; i < count; i++) {
        const size_t values = (size_t)(PX_MAX(tensors[i].rows, 1) * tensors[i].columns);
        assert_int_equal(fwrite(tensors[i].values, sizeof(float), values, file), values);
    }
    assert_int_equal(fclose(file), 0);
    free(header);
}

/* ---- comparing ----------------------------------------------------------------------------- */

/* The largest difference; infinity where one is not a number. */
static inline double test_difference(const float *a, const float *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= most)) most = isnan(difference) ? INFINITY : difference;
    }
    return most;
}

static inline void test_close(const char *what, const float *got, const float *wanted,
                              size_t count, double tolerance)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - (double)wanted[i]) <= tolerance))
            fail_msg("%s: value %zu is %.9g, expected %.9g within %g", what, i, (double)got[i],
                     (double)wanted[i], tolerance);
}

#endif
