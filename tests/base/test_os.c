/* Files: maps, atomic writing, directories, and inputs that are no files. */
#include "support.h"

#include "base/os.h"

#include <fcntl.h>

static void maps(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    phlox_error error;
    px_map map;
    MUST_FAIL(px_map_open(test_path(path, "%s/none", directory), &map, &error),
              PHLOX_ERROR_NOT_FOUND, "none");
    test_write(test_path(path, "%s/some", directory), "12345", 5);
    MUST_FAIL(px_map_open(test_path(path, "%s/some/below", directory), &map, &error),
              PHLOX_ERROR_NOT_FOUND, "some/below");
    MUST(px_map_open(test_path(path, "%s/some", directory), &map, &error));
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "12345", 5);
    assert_true(map.modified > INT64_C(1000000000) * 1000000000);
    px_map_drop(map.data, map.size);
    assert_memory_equal(map.data, "12345", 5);
    px_map_close(&map);
    assert_null(map.data);
    test_write(test_path(path, "%s/empty", directory), "", 0);
    MUST(px_map_open(path, &map, &error));
    assert_true(map.size == 0 && !map.data);
    px_map_close(&map);
}

static void what_is_no_file(void **state)
{
    char *const directory = *state, fifo[TEST_PATH], loop[TEST_PATH];
    phlox_error error;
    px_map map;
    MUST_FAIL(px_map_open(directory, &map, &error), PHLOX_ERROR_IO, "not a regular file");
    assert_int_equal(mkfifo(test_path(fifo, "%s/fifo", directory), 0600), 0);
    MUST_FAIL(px_map_open(fifo, &map, &error), PHLOX_ERROR_IO, "not a regular file");
    MUST_FAIL(px_map_open("/dev/zero", &map, &error), PHLOX_ERROR_IO, "/dev/zero");
    assert_int_equal(symlink("loop", test_path(loop, "%s/loop", directory)), 0);
    MUST_FAIL(px_map_open(loop, &map, &error), PHLOX_ERROR_IO, "loop");
    assert_false(px_is_file(fifo));
    assert_false(px_is_file(directory));
    assert_true(px_is_directory(directory));
    assert_false(px_is_directory(fifo));
}

static void unreadable(void **state)
{
    if (geteuid() == 0) skip(); /* root reads everything */
    char *const directory = *state, path[TEST_PATH];
    phlox_error error;
    px_map map;
    test_write(test_path(path, "%s/secret", directory), "x", 1);
    assert_int_equal(chmod(path, 0), 0);
    MUST_FAIL(px_map_open(path, &map, &error), PHLOX_ERROR_IO, "secret");
    assert_int_equal(chmod(directory, 0500), 0);
    px_out_file file;
    MUST_FAIL(px_out_open(&file, test_path(path, "%s/new", directory), 0, &error), PHLOX_ERROR_IO,
              "new");
    assert_int_equal(chmod(directory, 0700), 0);
}

static void writes_whole_files_or_none(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    phlox_error error;
    px_out_file file;
    const mode_t mask = umask(027);
    MUST(px_out_open(&file, test_path(path, "%s/out", directory), 100, &error));
    assert_false(test_exists(path));
    MUST(px_out_write(&file, 5, "world", 5, &error));
    MUST(px_out_write(&file, 0, "hello", 5, &error));
    MUST(px_out_commit(&file, &error));
    umask(mask);
    px_out_abandon(&file);
    size_t size;
    char *bytes = test_read(path, &size);
    assert_int_equal(size, 100); /* what was reserved */
    assert_memory_equal(bytes, "helloworld\0", 11);
    free(bytes);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(test_for_each(directory, NULL, NULL), 1);

    /* Abandoned: the old file stays. */
    MUST(px_out_open(&file, path, 0, &error));
    MUST(px_out_write(&file, 0, "other", 5, &error));
    assert_int_equal(test_for_each(directory, NULL, NULL), 2);
    px_out_abandon(&file);
    assert_int_equal(file.descriptor, -1);
    assert_int_equal(test_for_each(directory, NULL, NULL), 1);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 100);

    MUST_FAIL(px_out_open(&file, test_path(path, "%s/none/out", directory), 0, &error),
              PHLOX_ERROR_NOT_FOUND, "none/out");
    /* Over a directory: fails and leaves nothing behind. */
    assert_int_equal(mkdir(test_path(path, "%s/sub", directory), 0700), 0);
    MUST(px_out_open(&file, path, 0, &error));
    MUST_FAIL(px_out_commit(&file, &error), PHLOX_ERROR_IO, "sub");
    assert_int_equal(test_for_each(directory, NULL, NULL), 2);
}

static void no_space(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    phlox_error error;
    px_out_file file = {-1, NULL, NULL};
    const uint64_t huge = UINT64_C(1) << 60;
    MUST_FAIL(px_out_open(&file, test_path(path, "%s/huge", directory), huge, &error),
              PHLOX_ERROR_IO, "1152921504606846976");
    assert_int_equal(test_for_each(directory, NULL, NULL), 0);
    px_out_file full = {open("/dev/full", O_WRONLY), NULL, NULL};
    if (full.descriptor < 0) skip();
    char name[] = "full";
    full.path = name;
    MUST_FAIL(px_out_write(&full, 0, "x", 1, &error), PHLOX_ERROR_IO, "free some space");
    close(full.descriptor);
}

static bool is_dead_or_alive(const char *name)
{
    return strncmp(name, "dead", 4) == 0 || strncmp(name, "alive", 5) == 0;
}

static void cleans_what_the_dead_left(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    phlox_error error;
    px_out_file alive;
    MUST(px_out_open(&alive, test_path(path, "%s/alive", directory), 0, &error));
    test_write_text(directory, "dead.abcdef" PX_OUT_SUFFIX, "left behind");
    test_write_text(directory, "bystander", "stays");
    test_write_text(directory, "not" PX_OUT_SUFFIX ".really", "stays");
    test_write_text(directory, "movie" PX_OUT_SUFFIX, "somebody else's");
    px_out_clean(directory, is_dead_or_alive);
    assert_int_equal(test_for_each(directory, NULL, NULL), 4);
    assert_false(test_exists(test_path(path, "%s/dead.abcdef" PX_OUT_SUFFIX, directory)));
    MUST(px_out_write(&alive, 0, "x", 1, &error));
    MUST(px_out_commit(&alive, &error));
    assert_true(test_exists(test_path(path, "%s/alive", directory)));
    px_out_clean("/nonexistent/place", is_dead_or_alive);
}

static void directories(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    phlox_error error;
    MUST(px_make_directories(test_path(path, "%s/a/b//c/", directory), &error));
    assert_true(px_is_directory(test_path(path, "%s/a/b/c", directory)));
    MUST(px_make_directories(path, &error));
    MUST(px_make_directories("/", &error));
    test_write_text(directory, "file", "x");
    assert_int_not_equal(px_make_directories(test_path(path, "%s/file", directory), NULL), 0);
    MUST_FAIL(px_make_directories(path, &error), PHLOX_ERROR_IO, "file");
    assert_int_not_equal(px_make_directories(test_path(path, "%s/file/x", directory), NULL), 0);
    assert_int_not_equal(px_make_directories("", NULL), 0);

    char *real = px_real_path(test_path(path, "%s/a/../a/b", directory));
    assert_non_null(real);
    assert_null(strstr(real, ".."));
    assert_true(px_is_directory(real));
    free(real);
    real = px_real_path("/nonexistent/../x");
    assert_string_equal(real, "/nonexistent/../x");
    free(real);
}

struct seen {
    int files;
    uint64_t bytes;
};

static phlox_status see(void *user, const px_dir_entry *entry, phlox_error *error)
{
    struct seen *const seen = user;
    seen->files++;
    seen->bytes += entry->size;
    return strcmp(entry->name, "stop") ? PHLOX_OK
                                       : px_fail(error, PHLOX_ERROR_CANCELLED, "stopped");
}

static void lists_regular_files(void **state)
{
    char *const directory = *state, path[TEST_PATH];
    phlox_error error;
    struct seen seen = {0};
    MUST(px_list_directory(test_path(path, "%s/none", directory), see, &seen, &error));
    assert_int_equal(seen.files, 0);
    test_write_text(directory, "a", "12");
    test_write_text(directory, "b", "345");
    mkdir(test_path(path, "%s/sub", directory), 0700);
    mkfifo(test_path(path, "%s/fifo", directory), 0600);
    MUST(px_list_directory(directory, see, &seen, &error));
    assert_int_equal(seen.files, 2);
    assert_int_equal(seen.bytes, 5);
    test_write_text(directory, "stop", "");
    MUST_FAIL(px_list_directory(directory, see, &seen, &error), PHLOX_ERROR_CANCELLED, "stopped");
    test_path(path, "%s/a", directory);
    MUST_FAIL(px_list_directory(path, see, &seen, &error), PHLOX_ERROR_NOT_FOUND, "a");
    MUST(px_remove_file(path, &error));
    MUST_FAIL(px_remove_file(path, &error), PHLOX_ERROR_NOT_FOUND, "a");
    px_touch(path);
    px_patch_mapped(path, &(px_map){0}, 0, "x", 1);
    assert_false(test_exists(path));
}

/* Only the file that was mapped is changed or removed, not a new one of its name. */
static void touches_only_what_was_mapped(void **state)
{
    char *const directory = *state, path[TEST_PATH], other[TEST_PATH];
    phlox_error error;
    px_map map, again;
    test_path(path, "%s/mapped", directory);
    test_write_text(directory, "mapped", "old");
    MUST(px_map_open(path, &map, &error));
    px_patch_mapped(path, &map, 1, "x", 1);
    MUST(px_map_open(path, &again, &error));
    assert_memory_equal(again.data, "oxd", 3);
    px_map_close(&again);
    test_write_text(directory, "new", "new");
    rename(test_path(other, "%s/new", directory), path);
    px_patch_mapped(path, &map, 1, "x", 1);
    px_remove_mapped(path, &map);
    MUST(px_map_open(path, &again, &error));
    assert_memory_equal(again.data, "new", 3);
    px_remove_mapped(path, &again);
    assert_false(test_exists(path));
    px_map_close(&map);
    px_map_close(&again);
}

static void reads_numbers(void **state)
{
    (void)state;
    double value;
    assert_true(px_read_real("-0.75e1", &value) && value == -7.5);
    static const char *const wrong[] = {"", " 1", "0x10", "1,5", "1 ", "nan", "inf", "-"};
    for (size_t i = 0; i < PX_COUNT(wrong); i++) assert_false(px_read_real(wrong[i], &value));
}

static void the_c_library_has_a_version(void **state)
{
    (void)state;
    int major = 0, minor = 0;
    if (!px_glibc_version(&major, &minor)) skip();
    assert_int_equal(major, 2);
    assert_true(minor >= 17);
}

static void set_or_not(const char *variable, const char *value)
{
    if (value) setenv(variable, value, 1);
    else unsetenv(variable);
}

/* The directory `home` gives with `variable` and HOME set to each pair. */
static void check_home(char *home(void), const char *variable, const char *usual)
{
    static const char *const cases[][3] = {
        {"/given", "/home", "/given/phlox"}, {"relative", "/home", NULL}, {"", "/home", NULL},
        {NULL, "/home", NULL},               {"/given", NULL, "/given/phlox"},
    };
    static const char *const nothing[][2] = {{NULL, NULL}, {NULL, ""}};
    const char *const old[] = {getenv(variable), getenv("HOME")};
    char *kept[2];
    for (size_t i = 0; i < 2; i++) kept[i] = old[i] ? px_strdup(old[i], strlen(old[i])) : NULL;
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        set_or_not(variable, cases[i][0]);
        set_or_not("HOME", cases[i][1]);
        char *const found = home();
        assert_string_equal(found, cases[i][2] ? cases[i][2] : usual);
        free(found);
    }
    for (size_t i = 0; i < PX_COUNT(nothing); i++) {
        set_or_not(variable, nothing[i][0]);
        set_or_not("HOME", nothing[i][1]);
        assert_null(home());
    }
    set_or_not(variable, kept[0]);
    set_or_not("HOME", kept[1]);
    for (size_t i = 0; i < 2; i++) free(kept[i]);
}

static void home_directories(void **state)
{
    (void)state;
    check_home(px_cache_home, "XDG_CACHE_HOME", "/home/.cache/phlox");
    check_home(px_data_home, "XDG_DATA_HOME", "/home/.local/share/phlox");
}

/* ---- memory -------------------------------------------------------------------------------- */

static void memory_of_groups(void **state)
{
    (void)state;
    char root[TEST_PATH], inner[TEST_PATH];
    test_directory(root);
    assert_true(px_memory_of_group(root, "/a/b") == UINT64_MAX);
    test_path(inner, "%s/a", root);
    mkdir(inner, 0700);
    test_write_text(inner, "memory.max", "3000\n");
    assert_true(px_memory_of_group(root, "/a") == UINT64_MAX); /* what is in use is not said */
    test_write_text(inner, "memory.current", "1900\n");
    assert_int_equal(px_memory_of_group(root, "/a"), 1100);
    test_write_text(inner, "memory.stat",
                    "anon 900\nfile 1000\ninactive_file 600\nactive_file 300\n");
    assert_int_equal(px_memory_of_group(root, "/a"), 2000);
    assert_int_equal(px_memory_of_group(root, "/a/b"), 2000); /* of the group around it */
    test_path(inner, "%s/a/b", root);
    mkdir(inner, 0700);
    test_write_text(inner, "memory.max", "max\n");
    test_write_text(inner, "memory.current", "800\n");
    assert_int_equal(px_memory_of_group(root, "/a/b"), 2000);
    test_write_text(inner, "memory.max", "700\n");
    assert_int_equal(px_memory_of_group(root, "/a/b"), 0);
    test_write_text(root, "memory.max", "1000\n");
    test_write_text(root, "memory.current", "500\n");
    assert_int_equal(px_memory_of_group(root, "/"), 500);
    assert_int_equal(px_memory_of_group(root, ""), 500);
    assert_int_equal(px_memory_of_group(root, "/a"), 500);
    test_remove(root);
}

/* Pages count when they are written to, not before, and no longer once they are freed. */
static void memory_in_use(void **state)
{
    (void)state;
    enum { SIZE = 48 << 20, SLACK = 8 << 20 };
    px_memory_use before, reserved, used, after;
    if (!px_memory_used(&before)) skip();
    assert_true(before.peak >= before.mapped && before.mapped > 0);
    assert_true(px_memory_available() > 0);
    for (int huge = 0; huge < 2; huge++) {
        px_memory_reset_peak();
        px_memory_used(&before);
        unsigned char *memory = px_pages_alloc(SIZE - 5, huge == 1);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % (2 << 20), 0);
        px_memory_used(&reserved);
        assert_true(reserved.anonymous < before.anonymous + SLACK);
        for (size_t i = 0; i < SIZE - 5; i += 4096) {
            assert_int_equal(memory[i], 0);
            memory[i] = 1;
        }
        memory[SIZE - 6] = 1;
        px_memory_used(&used);
        assert_true(used.anonymous + SLACK > before.anonymous + SIZE);
        if (!huge) assert_true(px_memory_huge() < SIZE);
        px_pages_free(memory, SIZE - 5);
        px_memory_used(&after);
        assert_true(after.anonymous < before.anonymous + SLACK);
        assert_true(after.peak + SLACK >= used.anonymous);
    }
    const uint64_t peak = after.peak;
    px_memory_reset_peak();
    px_memory_used(&after);
    assert_true(after.peak <= peak);
    assert_null(px_pages_alloc(SIZE_MAX - 5, false));
    px_pages_free(NULL, SIZE);
}

static void libraries_are_opened(void **state)
{
    (void)state;
    px_library *library = NULL;
    phlox_error error;
    double (*cosine)(double) = NULL;
    void (*absent)(void) = NULL;
    assert_int_equal(px_library_open("libm.so.6", &library, &error), PHLOX_OK);
    assert_true(px_library_function(library, "cos", &cosine));
    assert_true(cosine(0) == 1);
    assert_false(px_library_function(library, "no_such_function", &absent));
    assert_null(absent);
    px_library_close(library);
    px_library_close(NULL);
    assert_int_equal(px_library_open("/nowhere/libnothing.so", &library, &error), PHLOX_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "/nowhere/libnothing.so"));
}

static bool count_path(void *user, const char *path)
{
    assert_non_null(strstr(path, "/tests/base/test_"));
    return ++*(size_t *)user < 2;
}

static void patterns_find_paths(void **state)
{
    (void)state;
    size_t count = 0;
    px_glob(PHLOX_SOURCE_DIR "/tests/base/test_*.c", count_path, &count);
    assert_int_equal(count, 2);
    px_glob("/nowhere/*", count_path, &count);
    assert_int_equal(count, 2);
}

struct names {
    size_t count, most;
    bool has_file, has_directory;
};

static bool keep_name(void *user, const char *name)
{
    struct names *const names = user;
    names->has_file |= strcmp(name, "file") == 0;
    names->has_directory |= strcmp(name, "directory") == 0;
    return ++names->count < names->most;
}

static void names_of_every_kind(void **state)
{
    char path[TEST_PATH];
    struct names names = {.most = 10};
    test_write_text(*state, "file", "x");
    assert_int_equal(mkdir(test_path(path, "%s/directory", (char *)*state), 0777), 0);
    assert_int_equal(symlink("/nowhere", test_path(path, "%s/link", (char *)*state)), 0);
    px_list_names(*state, keep_name, &names);
    assert_int_equal(names.count, 3);
    assert_true(names.has_file && names.has_directory);
    names = (struct names){.most = 2};
    px_list_names(*state, keep_name, &names);
    assert_int_equal(names.count, 2);
    names = (struct names){.most = 2};
    px_list_names(test_path(path, "%s/absent", (char *)*state), keep_name, &names);
    px_list_names(test_path(path, "%s/file", (char *)*state), keep_name, &names);
    assert_int_equal(names.count, 0);

    char target[9], shorter[8];
    assert_true(px_read_link(test_path(path, "%s/link", (char *)*state), target, sizeof target));
    assert_string_equal(target, "/nowhere");
    assert_false(px_read_link(path, shorter, sizeof shorter));
    assert_false(px_read_link(test_path(path, "%s/file", (char *)*state), target, sizeof target));
}

static void texts_of_unknown_size(void **state)
{
    char path[TEST_PATH], text[6];
    size_t length = 77;
    phlox_error error;
    test_path(path, "%s/file", (char *)*state);
    static const char *const contents[] = {"", "12\n", "12345", "1234567"};
    static const char *const read[] = {"", "12\n", "12345", "12345"};
    for (size_t i = 0; i < PX_COUNT(contents); i++) {
        test_write_text(*state, "file", contents[i]);
        MUST(px_read_text(path, text, sizeof text, &length, &error));
        assert_int_equal(length, strlen(read[i]));
        assert_string_equal(text, read[i]);
    }
    MUST_FAIL(px_read_text("/nowhere/file", text, sizeof text, &length, &error),
              PHLOX_ERROR_NOT_FOUND, "/nowhere/file");
    MUST_FAIL(px_read_text(*state, text, sizeof text, &length, &error), PHLOX_ERROR_IO, "cannot read");
    assert_int_equal(length, 5);
    char status[4096];
    MUST(px_read_text("/proc/self/stat", status, sizeof status, &length, &error));
    assert_int_equal(strtoll(status, NULL, 10), px_process_id());
}

static void waits_end(void **state)
{
    (void)state;
    px_monitor *const monitor = px_monitor_create();
    assert_non_null(monitor);
    const double before = px_seconds();
    px_monitor_lock(monitor);
    while (px_seconds() < before + 0.01) px_monitor_wait_for(monitor, 0.01);
    px_monitor_unlock(monitor);
    px_monitor_free(monitor);
}

static void environment(void **state)
{
    (void)state;
    phlox_error error;
    unsetenv("PHLOX_TEST_VARIABLE");
    MUST(px_environment_set("PHLOX_TEST_VARIABLE", "1", &error));
    const char *const first = getenv("PHLOX_TEST_VARIABLE");
    assert_string_equal(first, "1");
    MUST(px_environment_set("PHLOX_TEST_VARIABLE", "1", &error));
    assert_ptr_equal(getenv("PHLOX_TEST_VARIABLE"), first); /* it was left alone */
    MUST(px_environment_set("PHLOX_TEST_VARIABLE", "0", &error));
    assert_string_equal(getenv("PHLOX_TEST_VARIABLE"), "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(maps), IN_DIRECTORY(what_is_no_file), IN_DIRECTORY(unreadable),
        IN_DIRECTORY(writes_whole_files_or_none), IN_DIRECTORY(no_space),
        IN_DIRECTORY(cleans_what_the_dead_left), IN_DIRECTORY(directories),
        IN_DIRECTORY(lists_regular_files), IN_DIRECTORY(home_directories),
        cmocka_unit_test(the_c_library_has_a_version), IN_DIRECTORY(touches_only_what_was_mapped),
        IN_DIRECTORY(reads_numbers), IN_DIRECTORY(memory_of_groups), IN_DIRECTORY(memory_in_use),
        IN_DIRECTORY(names_of_every_kind), IN_DIRECTORY(texts_of_unknown_size),
        cmocka_unit_test(waits_end), cmocka_unit_test(libraries_are_opened),
        cmocka_unit_test(patterns_find_paths), cmocka_unit_test(environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
