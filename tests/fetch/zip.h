/* Writes small zip files, without compression, with whatever names and kinds of members a test wants. */
#ifndef PX_TESTS_FETCH_ZIP_H
#define PX_TESTS_FETCH_ZIP_H

#include "support.h"

typedef struct test_member {
    const char *name, *data;
    unsigned mode; /* 0: a regular file */
} test_member;

static inline uint32_t test_crc(const char *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

/* Adds numbers, little endian: for each of `widths` ("2" or "4" bytes) one argument of unsigned. */
static inline void test_add_numbers(px_buffer *out, const char *widths, ...)
{
    va_list arguments;
    va_start(arguments, widths);
    for (; *widths; widths++) {
        const unsigned value = va_arg(arguments, unsigned);
        for (int i = 0; i < *widths - '0'; i++) {
            const char byte = (char)(value >> 8 * i);
            assert_int_equal(px_buffer_add(out, &byte, 1, NULL), PHLOX_OK);
        }
    }
    va_end(arguments);
}

/* The bytes of a zip file; px_buffer_free() them. */
static inline px_buffer test_zip(const test_member *members, size_t count)
{
    px_buffer out = {0}, list = {0};
    for (size_t i = 0; i < count; i++) {
        const test_member *const m = &members[i];
        const unsigned name = (unsigned)strlen(m->name), size = (unsigned)strlen(m->data);
        const unsigned crc = test_crc(m->data, size), mode = m->mode ? m->mode : 0100644;
        const unsigned offset = (unsigned)out.size;
        test_add_numbers(&out, "42222244422", 0x04034b50u, 10u, 0x800u, 0u, 0u, 0x21u, crc, size, size,
                         name, 0u);
        px_buffer_add(&out, m->name, name, NULL);
        px_buffer_add(&out, m->data, size, NULL);
        test_add_numbers(&list, "422222244422222", 0x02014b50u, 0x31eu, 10u, 0x800u, 0u, 0u, 0x21u, crc,
                         size, size, name, 0u, 0u, 0u, 0u);
        test_add_numbers(&list, "44", mode << 16, offset);
        px_buffer_add(&list, m->name, name, NULL);
    }
    const unsigned begin = (unsigned)out.size;
    px_buffer_add(&out, list.data, list.size, NULL);
    test_add_numbers(&out, "42222442", 0x06054b50u, 0u, 0u, (unsigned)count, (unsigned)count,
                     (unsigned)list.size, begin, 0u);
    px_buffer_free(&list);
    return out;
}

static inline void test_zip_write(const char *path, const test_member *members, size_t count)
{
    px_buffer zip = test_zip(members, count);
    test_write(path, zip.data, zip.size);
    px_buffer_free(&zip);
}

#endif
