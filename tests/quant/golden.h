/* Reading the fixtures that tests/golden/make_quant.py made; a file that is too short fails the
 * test. */
#ifndef TESTS_QUANT_GOLDEN_H
#define TESTS_QUANT_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct golden_reader {
    unsigned char *bytes;
    size_t size, at;
} golden_reader;

/* `name` below tests/golden. */
static inline golden_reader golden_open(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/golden/%s", PHLOX_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("cannot open %s", path);
    golden_reader reader = {NULL, 0, 0};
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long size = ftell(file);
    assert_true(size > 0);
    rewind(file);
    reader.size = (size_t)size;
    reader.bytes = malloc(reader.size);
    assert_non_null(reader.bytes);
    assert_int_equal(fread(reader.bytes, 1, reader.size, file), reader.size);
    fclose(file);
    return reader;
}

/* The whole file must have been read. */
static inline void golden_close(golden_reader *reader)
{
    assert_int_equal(reader->at, reader->size);
    free(reader->bytes);
}

static inline const unsigned char *golden_bytes(golden_reader *reader, size_t count)
{
    assert_true(count <= reader->size - reader->at);
    const unsigned char *bytes = reader->bytes + reader->at;
    reader->at += count;
    return bytes;
}

static inline int32_t golden_int(golden_reader *reader)
{
    int32_t value;
    memcpy(&value, golden_bytes(reader, sizeof value), sizeof value);
    return value;
}

#endif
