#include "zip.h"

#include "fetch/archive.h"

static const px_archive_limits limits = {1000, 2000, 20};

typedef struct bench {
    px_archiver *archiver;
    char directory[TEST_PATH], zip[TEST_PATH], out[TEST_PATH];
} bench;

static int setup(void **state)
{
    bench *const b = calloc(1, sizeof *b);
    *state = b;
    if (px_archiver_open(&b->archiver, NULL) != PHLOX_OK) return 0; /* every test skips */
    test_directory(b->directory);
    test_path(b->zip, "%s/a.whl", b->directory);
    test_path(b->out, "%s/out", b->directory);
    return mkdir(b->out, 0700);
}

static int teardown(void **state)
{
    bench *const b = *state;
    if (b->archiver) test_remove(b->directory);
    px_archiver_close(b->archiver);
    free(b);
    return 0;
}

static bench *begin(void **state)
{
    bench *const b = *state;
    if (!b->archiver) skip();
    return b;
}

static phlox_status unpack(bench *b, const px_archive_rule *rules, size_t count, phlox_error *error)
{
    size_t unpacked = 0;
    return px_archive_unpack(b->archiver, b->zip, rules, count, b->out, &limits, NULL, NULL, "unpacking",
                             &unpacked, error);
}

static void add_name(const char *path, const char *name, void *user)
{
    (void)path;
    strcat(user, name);
    strcat(user, " ");
}

/* The files that are there, by name. */
static void expect_files(const bench *b, const char *wanted)
{
    char names[1024] = "";
    test_for_each(b->out, add_name, names);
    assert_string_equal(names, wanted);
}

static void chosen_members_become_files(void **state)
{
    bench *const b = begin(state);
    static const test_member members[] = {
        {"lib/", "", 0040755}, {"lib/libone.so.1", "one", 0}, {"lib/libtwo.so.1", "second", 0},
        {"lib/deep/libthree.so", "three", 0}, {"lib/one.py", "import os", 0}, {"a-1.dist-info/licenses/LICENSE", "L", 0},
        {"a-1.dist-info/licenses/more/NOTICE", "N", 0}, {"a-1.dist-info/METADATA", "Name: a\n", 0}, {"empty.so", "", 0},
    };
    static const px_archive_rule rules[] = {
        {"lib/libtwo.so*", NULL}, {"lib/*.so*", ""}, {"empty.so", ""}, {"a-*.dist-info/licenses/**", "a-"}};
    phlox_error error;
    test_zip_write(b->zip, members, PX_COUNT(members));
    size_t count = 0;
    MUST(px_archive_unpack(b->archiver, b->zip, rules, PX_COUNT(rules), b->out, &limits, NULL, NULL,
                           "unpacking", &count, &error));
    assert_int_equal(count, 4);
    expect_files(b, "a-LICENSE a-more-NOTICE empty.so libone.so.1 ");
    char path[TEST_PATH];
    size_t size;
    char *const text = test_read(test_path(path, "%s/libone.so.1", b->out), &size);
    assert_string_equal(text, "one");
    free(text);
    px_buffer metadata;
    MUST(px_archive_read(b->archiver, b->zip, "a-*.dist-info/METADATA", &limits, &metadata, &error));
    assert_string_equal(metadata.data, "Name: a\n");
    px_buffer_free(&metadata);
    MUST_FAIL(px_archive_read(b->archiver, b->zip, "b-*", &limits, &metadata, &error),
              PHLOX_ERROR_NOT_FOUND, "has no member b-*");
}

static void evil_members_refuse_the_archive(void **state)
{
    bench *const b = begin(state);
    static const px_archive_rule rules[] = {{"lib/*", ""}};
    static const struct {
        test_member member;
        const char *message;
    } table[] = {
        {{"/lib/x", "x", 0}, "\"/lib/x\", which leads out"},
        {{"../x", "x", 0}, "which leads out"},
        {{"lib/../../x", "x", 0}, "which leads out"},
        {{"lib/..", "x", 0}, "which leads out"},
        {{"lib\\..\\x", "x", 0}, "which leads out"},
        {{"c:/x", "x", 0}, "which leads out"},
        {{"lib/link", "/etc/passwd", 0120777}, "is a link or a special file"},
        {{"elsewhere/link", "/etc/passwd", 0120777}, "is a link or a special file"},
        {{"lib/.hidden", "x", 0}, "cannot have a file of its name"},
    };
    phlox_error error;
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        const test_member members[] = {table[i].member, {"lib/good", "good", 0}};
        test_zip_write(b->zip, members, 2);
        MUST_FAIL(unpack(b, rules, 1, &error), PHLOX_ERROR_FORMAT, table[i].message);
        expect_files(b, "");
        char path[TEST_PATH];
        assert_false(test_exists(test_path(path, "%s/x", b->directory)));
    }
}

static void sizes_are_limited(void **state)
{
    bench *const b = begin(state);
    static const px_archive_rule rules[] = {{"lib/*", ""}};
    char data[1002];
    memset(data, 'x', sizeof data);
    data[1001] = 0;
    phlox_error error;
    const test_member large[] = {{"lib/a", data, 0}}, unread[] = {{"other", data, 0}, {"lib/a", "a", 0}},
                      many[] = {{"lib/a", data + 1, 0}, {"lib/b", data + 1, 0}, {"lib/c", "c", 0}};
    test_zip_write(b->zip, large, 1);
    MUST_FAIL(unpack(b, rules, 1, &error), PHLOX_ERROR_FORMAT, "larger than expected");
    test_zip_write(b->zip, many, 3);
    MUST_FAIL(unpack(b, rules, 1, &error), PHLOX_ERROR_FORMAT, "larger than expected");
    expect_files(b, "");
    test_zip_write(b->zip, unread, 2);
    MUST(unpack(b, rules, 1, &error));
    expect_files(b, "a ");
    test_member crowd[21];
    for (size_t i = 0; i < 21; i++) crowd[i] = (test_member){"x", "", 0};
    test_zip_write(b->zip, crowd, 21);
    MUST_FAIL(unpack(b, rules, 1, &error), PHLOX_ERROR_FORMAT, "more than 20 members");
    const test_member twice[] = {{"lib/b", "1", 0}, {"lib/b", "2", 0}};
    test_zip_write(b->zip, twice, 2);
    MUST_FAIL(unpack(b, rules, 1, &error), PHLOX_ERROR_FORMAT, "two members would become b");
}

static void damage_is_noticed(void **state)
{
    bench *const b = begin(state);
    static const px_archive_rule rules[] = {{"lib/*", ""}};
    static const test_member members[] = {{"lib/a", "some bytes", 0}, {"lib/b", "some more", 0}};
    phlox_error error;
    px_buffer zip = test_zip(members, 2);
    for (size_t size = 0; size < zip.size; size += 7) { /* cut anywhere */
        test_write(b->zip, zip.data, size);
        if (unpack(b, rules, 1, &error) == PHLOX_OK) fail_msg("%zu bytes are enough", size);
        assert_true(error.message[0]);
        test_remove(b->out);
        mkdir(b->out, 0700);
    }
    zip.data[30 + 5] ^= 1; /* a byte of the first member */
    test_write(b->zip, zip.data, zip.size);
    MUST_FAIL(unpack(b, rules, 1, &error), PHLOX_ERROR_FORMAT, "the file is damaged");
    expect_files(b, "");
    px_buffer_free(&zip);
    test_write(b->zip, "no zip file", 11);
    MUST_FAIL(unpack(b, rules, 1, &error), PHLOX_ERROR_FORMAT, "a.whl");
}

static bool cancel(void *user, const phlox_progress *progress)
{
    (void)user;
    assert_int_equal(progress->total, 19);
    return false;
}

static void unpacking_is_cancelled(void **state)
{
    bench *const b = begin(state);
    static const px_archive_rule rules[] = {{"lib/*", ""}};
    static const test_member members[] = {{"lib/a", "some bytes", 0}, {"lib/b", "some more", 0}};
    phlox_error error;
    size_t count;
    test_zip_write(b->zip, members, 2);
    MUST_FAIL(px_archive_unpack(b->archiver, b->zip, rules, 1, b->out, &limits, cancel, NULL, "unpacking",
                                &count, &error), PHLOX_ERROR_CANCELLED, "cancelled");
    expect_files(b, "");
}

static void patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *path, *rest; /* NULL: no match */
    } table[] = {
        {"a/b", "a/b", "b"}, {"a/b", "a/bc", NULL}, {"a/b", "a", NULL}, {"*", "abc", "abc"}, {"*", "a/b", NULL},
        {"a/*", "a/b", "b"}, {"a/*", "a/b/c", NULL}, {"a/*.so*", "a/x.so.1", "x.so.1"}, {"a/*.so*", "a/x.py", NULL},
        {"*/b", "a/b", "b"}, {"*/b", "x/y/b", NULL}, {"*-*/c", "a-b-c/c", "c"}, {"*ab", "aab", "aab"},
        {"a/**", "a/b/c", "b/c"}, {"a/**", "a/", NULL}, {"a*/**", "abc/d", "d"}, {"a", "", NULL}, {"", "", ""}, {"*", "", ""},
    };
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        const char *rest = NULL;
        const bool got = px_archive_match(table[i].pattern, table[i].path, &rest);
        if (got != (table[i].rest != NULL) || (got && strcmp(rest, table[i].rest) != 0))
            fail_msg("%s and %s: %d, %s", table[i].pattern, table[i].path, got, got ? rest : "");
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(chosen_members_become_files), TEST(evil_members_refuse_the_archive), TEST(sizes_are_limited),
        TEST(damage_is_noticed), TEST(unpacking_is_cancelled), cmocka_unit_test(patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
