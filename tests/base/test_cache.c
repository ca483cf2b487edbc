/* The cache directory: writing and reading, staleness, every kind of damage, the limit, care. */
#include "support.h"

#include "base/cache.h"

#include <fcntl.h>

enum { PAGE = 4096, VERIFIED = 4024 /* offset of the header's flag */ };

static const uint64_t no_limit = UINT64_C(1) << 40;

static void fill(uint8_t *data, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++) data[i] = (uint8_t)(test_random(&seed) >> 7);
}

static px_cache_key key_of(const char *source)
{
    return (px_cache_key){"weights", source, "state 1", "variant 1"};
}

/* A file of two sections: 10000 bytes in parts, and 13. */
static void make(const char *directory, const px_cache_key *key, uint64_t limit)
{
    uint8_t data[10000];
    fill(data, sizeof data, 1);
    px_cache_section sections[] = {{.name = "first", .size = sizeof data},
                                   {.name = "second", .size = 13}};
    px_cache_writer *writer = NULL;
    phlox_error error;
    MUST(px_cache_create(directory, limit, key, sections, 2, &writer, &error));
    assert_int_equal(sections[0].offset % PAGE, 0);
    assert_int_equal(sections[1].offset % PAGE, 0);
    MUST(px_cache_write(writer, 0, 5000, data + 5000, 5000, &error));
    MUST(px_cache_write(writer, 1, 0, data, 13, &error));
    MUST(px_cache_write(writer, 0, 0, data, 5000, &error));
    MUST(px_cache_commit(writer, &error));
}

static phlox_status open_it(const char *directory, const px_cache_key *key, phlox_error *error)
{
    px_cache_file file;
    const phlox_status status = px_cache_open(directory, key, NULL, NULL, &file, error);
    if (status != PHLOX_OK) return status;
    uint8_t data[10000];
    fill(data, sizeof data, 1);
    assert_int_equal(file.count, 2);
    assert_string_equal(file.sections[1].name, "second");
    assert_int_equal(file.sections[0].size, sizeof data);
    assert_memory_equal(px_cache_data(&file, 0), data, sizeof data);
    assert_memory_equal(px_cache_data(&file, 1), data, 13);
    assert_int_equal((uintptr_t)px_cache_data(&file, 1) % PAGE, 0);
    px_cache_close(&file);
    px_cache_close(&file);
    return PHLOX_OK;
}

static void take_path(const char *path, const char *name, void *user)
{
    (void)name;
    test_path(user, "%s", path);
}

/* The path of the only file. */
static const char *only_file(const char *directory, char out[TEST_PATH])
{
    assert_int_equal(test_for_each(directory, take_path, out), 1);
    return out;
}

static void writes_and_reads(void **state)
{
    char *const directory = *state, path[TEST_PATH], below[TEST_PATH];
    const px_cache_key key = key_of("/some/model");
    phlox_error error;
    test_path(below, "%s/is/made", directory);
    MUST_FAIL(open_it(below, &key, &error), PHLOX_ERROR_NOT_FOUND, "");
    make(below, &key, no_limit);
    MUST(open_it(below, &key, &error));
    MUST(open_it(below, &key, &error));
    make(below, &key, no_limit);
    MUST(open_it(below, &key, &error));
    only_file(below, path);
    const px_cache_key other = key_of("/other/model");
    MUST_FAIL(open_it(below, &other, &error), PHLOX_ERROR_NOT_FOUND, "");
    assert_int_equal(test_for_each(below, NULL, NULL), 1);
    make(below, &other, no_limit);
    assert_int_equal(test_for_each(below, NULL, NULL), 2);
    MUST(open_it(below, &key, &error));
}

/* A changed state replaces the file; other options make a second one. */
static void stale(void **state)
{
    char *const directory = *state;
    px_cache_key key = key_of("/some/model");
    phlox_error error;
    make(directory, &key, no_limit);
    px_cache_key options = key;
    options.variant = "variant 2";
    MUST_FAIL(open_it(directory, &options, &error), PHLOX_ERROR_NOT_FOUND, "");
    make(directory, &options, no_limit);
    key.state = "state 2";
    MUST_FAIL(open_it(directory, &key, &error), PHLOX_ERROR_NOT_FOUND, "stale");
    assert_int_equal(test_for_each(directory, NULL, NULL), 1);
    make(directory, &key, no_limit);
    MUST(open_it(directory, &key, &error));
    MUST(open_it(directory, &options, &error));
    /* Long keys are cut in the header, and still told apart. */
    char long_source[5000];
    memset(long_source, 'x', sizeof long_source - 1);
    long_source[sizeof long_source - 1] = 0;
    const px_cache_key long_key = key_of(long_source);
    make(directory, &long_key, no_limit);
    MUST(open_it(directory, &long_key, &error));
    long_source[sizeof long_source - 2] = 'y';
    MUST_FAIL(open_it(directory, &long_key, &error), PHLOX_ERROR_NOT_FOUND, "");
}

static void damage_is_noticed(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    const px_cache_key key = key_of("/some/model");
    phlox_error error;
    /* Any byte of the header before the flag, of the section table, and of the data before the first
     * use. */
    for (long place = 0; place < PAGE + 128; place += place < 64 ? 1 : 61) {
        if (place >= VERIFIED && place < PAGE) continue;
        make(directory, &key, no_limit);
        MUST(open_it(directory, &key, &error));
        size_t size;
        char *bytes = test_read(only_file(directory, path), &size);
        const char wrong = (char)(bytes[place] ^ 0x40);
        free(bytes);
        test_patch(path, place, &wrong, 1);
        px_cache_file file;
        if (px_cache_open(directory, &key, NULL, NULL, &file, &error) == PHLOX_OK)
            fail_msg("byte %ld changed and not noticed", place);
        assert_int_equal(error.code, PHLOX_ERROR_NOT_FOUND);
        assert_false(test_exists(path));
    }
    static const long data[] = {2 * PAGE, 2 * PAGE + 9999, 5 * PAGE, 5 * PAGE + 12};
    for (size_t i = 0; i < PX_COUNT(data); i++) {
        make(directory, &key, no_limit);
        size_t size;
        char *bytes = test_read(only_file(directory, path), &size);
        const char wrong = (char)(bytes[data[i]] ^ 1);
        free(bytes);
        test_patch(path, data[i], &wrong, 1);
        MUST_FAIL(open_it(directory, &key, &error), PHLOX_ERROR_NOT_FOUND, "damaged");
        assert_false(test_exists(path));
    }
}

static void cut_and_foreign_files(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    const px_cache_key key = key_of("/some/model");
    phlox_error error;
    static const off_t sizes[] = {0, 1, 8, PAGE - 1, PAGE, PAGE + 64, 3 * PAGE, 6 * PAGE - 1,
                                  6 * PAGE + 1, 7 * PAGE};
    for (size_t i = 0; i < PX_COUNT(sizes); i++) {
        make(directory, &key, no_limit);
        struct stat info;
        assert_int_equal(stat(only_file(directory, path), &info), 0);
        assert_int_equal(info.st_size, 6 * PAGE);
        assert_int_equal(truncate(path, sizes[i]), 0);
        MUST_FAIL(open_it(directory, &key, &error), PHLOX_ERROR_NOT_FOUND, "made anew");
        assert_false(test_exists(path));
    }
    make(directory, &key, no_limit);
    char zeros[2 * PAGE] = {0};
    test_write(only_file(directory, path), zeros, sizeof zeros);
    MUST_FAIL(open_it(directory, &key, &error), PHLOX_ERROR_NOT_FOUND, "not a phlox cache file");
}

static uint64_t flag_of(const char *path)
{
    size_t size;
    char *bytes = test_read(path, &size);
    uint64_t flag;
    memcpy(&flag, bytes + VERIFIED, sizeof flag);
    free(bytes);
    return flag;
}

static void first_use_verifies(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    const px_cache_key key = key_of("/some/model");
    phlox_error error;
    make(directory, &key, no_limit);
    assert_int_equal(flag_of(only_file(directory, path)), 0);
    MUST(open_it(directory, &key, &error));
    assert_int_equal(flag_of(path), 1);
    /* Later uses trust the file; verify does not. */
    const char wrong = 0x55;
    test_patch(path, 2 * PAGE + 100, &wrong, 1);
    px_cache_file file;
    MUST(px_cache_open(directory, &key, NULL, NULL, &file, &error));
    px_cache_close(&file);
    size_t checked = 9, damaged = 9;
    MUST(px_cache_verify(directory, NULL, NULL, &checked, &damaged, &error));
    assert_int_equal(checked, 1);
    assert_int_equal(damaged, 1);
    assert_false(test_exists(path));
}

struct listed {
    int count, stop_at;
    char names[4][128];
    uint64_t bytes;
};

static bool list_one(void *user, const phlox_cache_entry *entry)
{
    struct listed *const listed = user;
    assert_true(listed->count < 4);
    snprintf(listed->names[listed->count++], 128, "%s %s", entry->kind, entry->source);
    listed->bytes += entry->bytes;
    assert_true(entry->used > 0);
    return listed->count != listed->stop_at;
}

static void set_age(const char *path, int seconds)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    const struct timespec times[2] = {{info.st_mtim.tv_sec - seconds, 0},
                                      {info.st_mtim.tv_sec - seconds, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void age_by_source(const char *path, const char *name, void *user)
{
    (void)name;
    size_t size;
    char *bytes = test_read(path, &size);
    if (size > PAGE && strstr(bytes + 40, user)) set_age(path, 1000);
    free(bytes);
}

static void lists_verifies_removes(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    phlox_error error;
    struct listed listed = {0};
    MUST(px_cache_list(directory, list_one, &listed, &error));
    assert_int_equal(listed.count, 0);
    const px_cache_key young = key_of("/young"), old = key_of("/old");
    make(directory, &young, no_limit);
    make(directory, &old, no_limit);
    test_write_text(directory, "bystander.txt", "stays");
    char word[] = "/old";
    test_for_each(directory, age_by_source, word);
    MUST(px_cache_list(directory, list_one, &listed, &error));
    assert_int_equal(listed.count, 2);
    assert_string_equal(listed.names[0], "weights /old");
    assert_string_equal(listed.names[1], "weights /young");
    assert_int_equal(listed.bytes, 12 * PAGE);
    listed = (struct listed){.stop_at = 1};
    MUST(px_cache_list(directory, list_one, &listed, &error));
    assert_int_equal(listed.count, 1);

    static const char broken[] = "weights-00000000000000000000000000000000.phlox";
    test_write_text(directory, broken, "no header");
    set_age(test_path(path, "%s/%s", directory, broken), 5000);
    listed = (struct listed){0};
    MUST(px_cache_list(directory, list_one, &listed, &error));
    assert_string_equal(listed.names[0], "damaged ");
    size_t checked, damaged, removed;
    MUST(px_cache_verify(directory, NULL, NULL, &checked, &damaged, &error));
    assert_int_equal(checked, 3);
    assert_int_equal(damaged, 1);
    assert_false(test_exists(path));

    MUST_FAIL(px_cache_remove(directory, "nobody", &removed, &error), PHLOX_ERROR_NOT_FOUND,
              "nobody");
    MUST_FAIL(px_cache_remove(directory, "bystander.txt", &removed, &error), PHLOX_ERROR_NOT_FOUND,
              "bystander");
    test_write_text(directory, "weights-ffffffffffffffffffffffffffffffff.phlox.1-2-0" PX_OUT_SUFFIX,
                    "left behind");
    MUST(px_cache_remove(directory, NULL, &removed, &error));
    assert_int_equal(removed, 2);
    MUST(px_cache_remove(directory, NULL, &removed, &error));
    assert_int_equal(removed, 0);
    assert_string_equal(strrchr(only_file(directory, path), '/'), "/bystander.txt");
}

static bool refuse(void *user, const phlox_progress *progress)
{
    (void)user;
    assert_true(progress->done <= progress->total);
    return false;
}

static void verify_can_be_cancelled(void **state)
{
    char *const directory = *state;
    const px_cache_key key = key_of("/a");
    phlox_error error;
    make(directory, &key, no_limit);
    size_t checked, damaged;
    MUST_FAIL(px_cache_verify(directory, refuse, NULL, &checked, &damaged, &error),
              PHLOX_ERROR_CANCELLED, "cancelled");
}

static void the_limit_evicts(void **state)
{
    char *const directory = *state;
    phlox_error error;
    const px_cache_key a = key_of("/aaaa"), b = key_of("/bbbb"), c = key_of("/cccc");
    make(directory, &a, no_limit);
    make(directory, &b, no_limit);
    char old[] = "/bbbb";
    test_for_each(directory, age_by_source, old);
    make(directory, &c, 12 * PAGE); /* room for two */
    MUST(open_it(directory, &a, &error));
    MUST_FAIL(open_it(directory, &b, &error), PHLOX_ERROR_NOT_FOUND, "");
    MUST(open_it(directory, &c, &error));
    /* A use makes a file the youngest. */
    char both[] = "/";
    test_for_each(directory, age_by_source, both);
    MUST(open_it(directory, &a, &error));
    make(directory, &b, 13 * PAGE);
    MUST(open_it(directory, &a, &error));
    MUST_FAIL(open_it(directory, &c, &error), PHLOX_ERROR_NOT_FOUND, "");
    /* What can never fit removes nothing. */
    px_cache_section section = {.name = "large", .size = 20 * PAGE};
    px_cache_writer *writer = NULL;
    MUST_FAIL(px_cache_create(directory, 13 * PAGE, &c, &section, 1, &writer, &error),
              PHLOX_ERROR_ARGUMENT, "--cache-limit");
    assert_null(writer);
    assert_int_equal(test_for_each(directory, NULL, NULL), 2);
}

static void partial_files(void **state)
{
    char *const directory = *state;
    const px_cache_key key = key_of("/a");
    phlox_error error;
    px_cache_section section = {.name = "one", .size = 100};
    px_cache_writer *writer = NULL, *other = NULL;
    test_write_text(directory, "weights-0123456789abcdef0123456789abcdef.phlox.a-b-0" PX_OUT_SUFFIX,
                    "of a dead writer");
    MUST(px_cache_create(directory, no_limit, &key, &section, 1, &writer, &error));
    assert_int_equal(test_for_each(directory, NULL, NULL), 1);
    /* A second writer of the same file leaves the first alone. */
    MUST(px_cache_create(directory, no_limit, &key, &section, 1, &other, &error));
    assert_int_equal(test_for_each(directory, NULL, NULL), 2);
    MUST_FAIL(px_cache_open(directory, &key, NULL, NULL, &(px_cache_file){0}, &error),
              PHLOX_ERROR_NOT_FOUND, "");
    px_cache_abandon(other);
    px_cache_abandon(NULL);
    uint8_t data[100] = {7};
    MUST_FAIL(px_cache_write(writer, 0, 8, data, 100, &error), PHLOX_ERROR_INTERNAL, "one");
    MUST_FAIL(px_cache_write(writer, 0, 4, data, 8, &error), PHLOX_ERROR_INTERNAL, "one");
    MUST(px_cache_write(writer, 0, 0, data, 100, &error));
    MUST(px_cache_commit(writer, &error));
    px_cache_file file;
    MUST(px_cache_open(directory, &key, NULL, NULL, &file, &error));
    assert_memory_equal(px_cache_data(&file, 0), data, 100);
    px_cache_close(&file);
    assert_int_equal(test_for_each(directory, NULL, NULL), 1);
}

/* A directory that others use as well: nothing of theirs is listed, verified, evicted or removed. */
static void files_of_others_stay(void **state)
{
    char *const directory = *state;
    static const char *const others[] = {
        "movie.mkv.partial", "notes.phlox", "weights-0.phlox", "weights-xyz.phlox.1-2-3.partial",
        "weights-0123456789abcdef0123456789abcdeg.phlox",
        "weights-0123456789abcdef0123456789abcdef.phlox.old",
    };
    for (size_t i = 0; i < PX_COUNT(others); i++) test_write_text(directory, others[i], "theirs");
    phlox_error error;
    const px_cache_key key = key_of("/a");
    px_cache_section section = {.name = "one", .size = 5000};
    px_cache_writer *writer;
    MUST(px_cache_create(directory, 16384, &key, &section, 1, &writer, &error));
    px_cache_abandon(writer);
    size_t checked, damaged, removed;
    MUST(px_cache_verify(directory, NULL, NULL, &checked, &damaged, &error));
    assert_int_equal(checked + damaged, 0);
    MUST(px_cache_remove(directory, NULL, &removed, &error));
    assert_int_equal(removed, 0);
    assert_int_equal(test_for_each(directory, NULL, NULL), PX_COUNT(others));
}

static void no_directory(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    const px_cache_key key = key_of("/a");
    phlox_error error;
    px_cache_section section = {.name = "one", .size = 100};
    px_cache_writer *writer = NULL;
    test_write_text(directory, "file", "");
    test_path(path, "%s/file", directory);
    MUST_FAIL(px_cache_create(path, no_limit, &key, &section, 1, &writer, &error), PHLOX_ERROR_IO,
              "file");
    assert_int_not_equal(px_cache_create("", no_limit, &key, &section, 1, &writer, NULL), PHLOX_OK);
    section.size = UINT64_C(1) << 50;
    MUST_FAIL(px_cache_create(directory, UINT64_MAX, &key, &section, 1, &writer, &error),
              PHLOX_ERROR_IO, "bytes");
    assert_null(writer);
    assert_int_equal(test_for_each(directory, NULL, NULL), 1);
}

/* ---- checksum ------------------------------------------------------------------------------ */

static void the_checksum_adds_up(void **state)
{
    (void)state;
    uint8_t data[1003];
    fill(data, sizeof data, 3);
    const uint64_t whole = px_checksum(data, sizeof data, 0);
    uint64_t random = 5;
    for (int round = 0; round < 50; round++) {
        const size_t a = test_random(&random) % 125 * 8, b = test_random(&random) % 125 * 8;
        const size_t low = PX_MIN(a, b), high = PX_MAX(a, b);
        const uint64_t sum = px_checksum(data + high, sizeof data - high, high) +
                             px_checksum(data, low, 0) +
                             px_checksum(data + low, high - low, low);
        assert_true(sum == whole);
    }
    /* Every bit counts, and so does the place. */
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] ^= (uint8_t)(1 << i % 8);
        assert_true(px_checksum(data, sizeof data, 0) != whole);
        data[i] ^= (uint8_t)(1 << i % 8);
    }
    assert_true(px_checksum(data, 8, 0) != px_checksum(data, 8, 8));
    assert_true(px_checksum(data, 0, 0) == 0);
}

struct parts {
    px_cache_writer *writer;
    const uint8_t *data;
    uint64_t begin, step;
    bool failed;
};

static void write_parts(void *argument)
{
    struct parts *const parts = argument;
    for (uint64_t at = parts->begin; at < 10000; at += parts->step) {
        const size_t size = (size_t)PX_MIN(UINT64_C(64), 10000 - at);
        if (px_cache_write(parts->writer, 0, at, parts->data + at, size, NULL) != PHLOX_OK)
            parts->failed = true;
    }
}

static void threads_write_one_file(void **state)
{
    char *const directory = *state;
    const px_cache_key key = key_of("/a");
    phlox_error error;
    uint8_t data[10000];
    fill(data, sizeof data, 1);
    px_cache_section sections[] = {{.name = "first", .size = sizeof data},
                                   {.name = "second", .size = 13}};
    struct parts parts[3];
    px_thread *threads[3];
    px_cache_writer *writer = NULL;
    MUST(px_cache_create(directory, no_limit, &key, sections, 2, &writer, &error));
    for (int i = 0; i < 3; i++) {
        parts[i] = (struct parts){writer, data, 64 * (uint64_t)i, 64 * 3, false};
        threads[i] = px_thread_start(write_parts, &parts[i]);
        assert_non_null(threads[i]);
    }
    for (int i = 0; i < 3; i++) px_thread_join(threads[i]);
    for (int i = 0; i < 3; i++) assert_false(parts[i].failed);
    MUST(px_cache_write(writer, 1, 0, data, 13, &error));
    MUST(px_cache_commit(writer, &error));
    MUST(open_it(directory, &key, &error));
}

/* ---- directories --------------------------------------------------------------------------- */

struct filling {
    int times;
    bool fails;
    const char *rival; /* what another process makes meanwhile */
};

static phlox_status fill_tree(void *user, const char *directory, phlox_error *error)
{
    struct filling *const filling = user;
    filling->times++;
    char below[TEST_PATH];
    assert_int_equal(mkdir(test_path(below, "%s/below", directory), 0777), 0);
    test_write_text(directory, "model.xml", "12345");
    test_write_text(below, "model.bin", "1234567890");
    if (filling->rival) {
        struct filling other = {0};
        const px_cache_key key = {"export", "/model", "state 1", "int4"};
        char *path;
        assert_int_equal(px_cache_tree_open(filling->rival, no_limit, &key, 0, fill_tree, &other, &path, NULL,
                                            error), PHLOX_OK);
        free(path);
    }
    return filling->fails ? px_fail(error, PHLOX_ERROR_UNSUPPORTED, "no counterpart") : PHLOX_OK;
}

static phlox_status open_tree(const char *directory, const px_cache_key *key, struct filling *filling,
                              char out[TEST_PATH], phlox_error *error)
{
    char *path = NULL;
    bool was_there;
    const int before = filling->times;
    const phlox_status status =
        px_cache_tree_open(directory, no_limit, key, 15, fill_tree, filling, &path, &was_there, error);
    if (status != PHLOX_OK) return status;
    assert_int_equal(was_there, filling->times == before);
    test_path(out, "%s", path);
    free(path);
    char file[TEST_PATH];
    assert_true(test_exists(test_path(file, "%s/below/model.bin", out)));
    return PHLOX_OK;
}

static void trees(void **state)
{
    char *const directory = *state, path[TEST_PATH], again[TEST_PATH];
    px_cache_key key = {"export", "/model", "state 1", "int4"};
    phlox_error error;
    struct filling filling = {0};
    MUST(open_tree(directory, &key, &filling, path, &error));
    MUST(open_tree(directory, &key, &filling, again, &error));
    assert_string_equal(path, again);
    assert_int_equal(filling.times, 1);
    /* A changed source replaces it, other options make a second one. */
    key.state = "state 2";
    test_write_text(path, "old", "");
    MUST(open_tree(directory, &key, &filling, again, &error));
    assert_string_equal(path, again);
    assert_int_equal(filling.times, 2);
    assert_false(test_exists(test_path(again, "%s/old", path)));
    key.variant = "int8";
    MUST(open_tree(directory, &key, &filling, again, &error));
    assert_string_not_equal(path, again);
    struct listed listed = {0};
    MUST(px_cache_list(directory, list_one, &listed, &error));
    assert_int_equal(listed.count, 2);
    assert_string_equal(listed.names[0], "export /model");
    assert_int_equal(listed.bytes, 2 * (15 + 3 * PAGE));
    /* One whose mark is gone is damaged. */
    assert_int_equal(remove(test_path(again, "%s%s", path, strrchr(path, '/'))), 0);
    size_t checked, damaged, removed;
    MUST(px_cache_verify(directory, NULL, NULL, &checked, &damaged, &error));
    assert_int_equal(checked, 2);
    assert_int_equal(damaged, 1);
    assert_false(test_exists(path));
    MUST(px_cache_remove(directory, NULL, &removed, &error));
    assert_int_equal(removed, 1);
    assert_int_equal(test_for_each(directory, NULL, NULL), 0);
}

/* A file that is cut or gone is as if nothing were there; what killed processes left goes; what is made from an entry
 * does not push that one out. */
static void trees_that_are_damaged(void **state)
{
    char *const directory = *state, path[TEST_PATH], file[TEST_PATH], again[TEST_PATH];
    const px_cache_key key = {"export", "/model", "state 1", "int4"};
    phlox_error error;
    struct filling filling = {0};
    MUST(open_tree(directory, &key, &filling, path, &error));
    for (int i = 0; i < 2; i++) {
        test_path(file, "%s/below/model.bin", path);
        assert_int_equal(i ? remove(file) : truncate(file, 3), 0);
        MUST(open_tree(directory, &key, &filling, again, &error));
        assert_int_equal(filling.times, 2 + i);
    }
    assert_int_equal(truncate(file, 3), 0);
    size_t checked, damaged, removed;
    MUST(px_cache_verify(directory, NULL, NULL, &checked, &damaged, &error));
    assert_int_equal(damaged, 1);
    assert_false(test_exists(path));
    /* left behind, and somebody else's */
    char partial[TEST_PATH], foreign[TEST_PATH];
    assert_int_equal(mkdir(test_path(partial, "%s.1f-2e-0" PX_OUT_SUFFIX, path), 0777), 0);
    assert_int_equal(mkdir(test_path(foreign, "%s/other.1f-2e-0" PX_OUT_SUFFIX, directory), 0777), 0);
    const px_cache_key other = {"export", "/model", "state 1", "int8"};
    MUST(open_tree(directory, &other, &filling, again, &error));
    assert_false(test_exists(partial));
    assert_int_equal(mkdir(partial, 0777), 0);
    MUST(px_cache_remove(directory, NULL, &removed, &error));
    assert_false(test_exists(partial));
    assert_true(test_exists(foreign));
    /* compiled from an export: the export stays although both together are too much */
    MUST(open_tree(directory, &key, &filling, path, &error));
    char *const real = px_real_path(path), *compiled = NULL;
    const px_cache_key made = {"compiled", real, "state 1", "NPU"};
    MUST(px_cache_tree_open(directory, 3 * PAGE, &made, 2 * PAGE, NULL, NULL, &compiled, NULL, &error));
    assert_true(test_exists(path));
    test_write_text(compiled, "blob", "grows");
    free(compiled);
    bool was_there;
    MUST(px_cache_tree_open(directory, 3 * PAGE, &made, 0, NULL, NULL, &compiled, &was_there, &error));
    assert_true(was_there);
    free(compiled);
    free(real);
}

static void trees_are_whole_or_not_there(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    px_cache_key key = {"export", "/model", "state 1", "int4"};
    phlox_error error;
    struct filling failing = {.fails = true};
    MUST_FAIL(open_tree(directory, &key, &failing, path, &error), PHLOX_ERROR_UNSUPPORTED, "counterpart");
    assert_int_equal(test_for_each(directory, NULL, NULL), 0);
    /* Two processes at once: the second finds what the first made. */
    struct filling late = {.rival = directory};
    MUST(open_tree(directory, &key, &late, path, &error));
    assert_int_equal(test_for_each(directory, NULL, NULL), 1);
    /* Files and directories share the limit, and the longest unused go. */
    const px_cache_key file = key_of("/young");
    make(directory, &file, 6 * PAGE + 100);
    assert_false(test_exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(writes_and_reads), IN_DIRECTORY(stale), IN_DIRECTORY(damage_is_noticed),
        IN_DIRECTORY(cut_and_foreign_files), IN_DIRECTORY(first_use_verifies),
        IN_DIRECTORY(lists_verifies_removes), IN_DIRECTORY(verify_can_be_cancelled),
        IN_DIRECTORY(the_limit_evicts), IN_DIRECTORY(partial_files), IN_DIRECTORY(no_directory),
        IN_DIRECTORY(files_of_others_stay), IN_DIRECTORY(trees),
        IN_DIRECTORY(trees_are_whole_or_not_there), IN_DIRECTORY(trees_that_are_damaged),
        IN_DIRECTORY(threads_write_one_file), cmocka_unit_test(the_checksum_adds_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
