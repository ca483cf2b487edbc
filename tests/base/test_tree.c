/* Directories made as a whole, and what killed processes leave of them. */
#define _GNU_SOURCE
#include "support.h"

#include "base/os.h"
#include "base/tree.h"

#include <errno.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- locks that fail ----------------------------------------------------------------------- */

static int lock_error, locks; /* errno of the locks to come, 0: none fails; how many were asked for */

/* In the place of the C library's. */
int flock(int descriptor, int operation)
{
    locks++;
    if (!lock_error) return (int)syscall(SYS_flock, descriptor, operation);
    errno = lock_error;
    return -1;
}

static void what_cannot_be_locked_is_not_left(void **state)
{
    char *const directory = *state, out[TEST_PATH];
    phlox_error error;
    px_out_directory made;
    test_path(out, "%s/out", directory);
    lock_error = ENOLCK; /* as on some network file systems */
    locks = 0;
    const phlox_status status = px_out_directory_open(&made, out, &error);
    const int tried = locks;
    lock_error = EWOULDBLOCK; /* another process always has it */
    const phlox_status held = px_out_directory_open(&made, out, NULL);
    lock_error = 0;
    assert_int_equal(status, PHLOX_ERROR_IO);
    assert_non_null(strstr(error.message, "cannot lock the directory: No locks"));
    assert_int_equal(tried, 1);
    assert_int_equal(held, PHLOX_ERROR_IO);
    assert_int_equal(test_for_each(directory, NULL, NULL), 0);
}

/* ---- directories --------------------------------------------------------------------------- */

static void whole_or_not_there(void **state)
{
    char *const directory = *state, out[TEST_PATH], inside[TEST_PATH];
    phlox_error error;
    px_out_directory made;
    test_path(out, "%s/out", directory);
    MUST(px_out_directory_open(&made, out, &error));
    assert_false(test_exists(out));
    assert_int_equal(mkdir(test_path(inside, "%s/deep", made.temporary), 0777), 0);
    test_write_text(inside, "file", "12345");
    assert_int_equal(px_tree_bytes(directory), 5);
    MUST(px_out_directory_commit(&made, &error));
    assert_true(test_exists(test_path(inside, "%s/deep/file", out)));
    MUST_FAIL(px_out_directory_open(&made, out, &error), PHLOX_ERROR_ARGUMENT, "is there already");
    test_path(out, "%s/other", directory);
    MUST(px_out_directory_open(&made, out, &error));
    test_write_text(made.temporary, "file", "1");
    px_out_directory_abandon(&made);
    px_out_directory_abandon(&made);
    assert_int_equal(test_for_each(directory, NULL, NULL), 1);
}

/* A child makes a directory and is gone without a word; another one still works on it. */
static void leftovers_go(void **state)
{
    char *const directory = *state, out[TEST_PATH], foreign[TEST_PATH];
    phlox_error error;
    px_out_directory made, second;
    test_path(out, "%s/out", directory);
    MUST(px_out_directory_open(&made, out, &error));
    const pid_t child = fork();
    if (!child) {
        if (px_out_directory_open(&second, out, NULL) == PHLOX_OK)
            test_write_text(second.temporary, "file", "1");
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(mkdir(test_path(foreign, "%s/out.notours.partial", directory), 0777), 0);
    assert_int_equal(test_for_each(directory, NULL, NULL), 3);
    MUST(px_out_directory_open(&second, out, &error));
    assert_int_equal(test_for_each(directory, NULL, NULL), 3); /* two that live and the foreign one */
    MUST(px_out_directory_commit(&made, &error));
    px_out_directory_abandon(&second);
    assert_true(test_exists(foreign));
}

static phlox_status count_name(void *user, const char *name, phlox_error *error)
{
    (void)name, (void)error;
    ++*(int *)user;
    return PHLOX_OK;
}

static void of_two_that_make_one_directory_the_first_wins(void **state)
{
    const char *const parent = *state;
    char path[TEST_PATH], file[TEST_PATH];
    phlox_error error;
    px_out_directory made, other;
    test_path(path, "%s/2026.4.1", parent);
    MUST(px_out_directory_open(&made, path, &error));
    MUST(px_out_directory_open(&other, path, &error));
    test_write_text(made.temporary, "a", "1");
    test_write_text(other.temporary, "a", "2");
    px_out_directory_clean(parent, NULL); /* both are alive */
    assert_int_equal(test_for_each(parent, NULL, NULL), 2);
    MUST(px_out_directory_commit(&made, &error));
    MUST_FAIL(px_out_directory_commit(&other, &error), PHLOX_ERROR_IO, "cannot complete");
    px_out_directory_abandon(&other);
    assert_int_equal(test_for_each(parent, NULL, NULL), 1);

    assert_int_equal(mkdir(test_path(file, "%s/2025.1.0.1f-2-3.partial", parent), 0700), 0);
    test_write_text(file, "b", "3");
    test_write_text(parent, "file.partial", "4");
    px_out_directory_clean(parent, NULL);
    assert_false(test_exists(file));
    assert_true(test_exists(test_path(file, "%s/file.partial", parent)));
    px_out_directory_clean("/nowhere", NULL);

    MUST(px_remove_tree_at_once(path, &error));
    assert_int_equal(test_for_each(parent, NULL, NULL), 1);
    MUST_FAIL(px_remove_tree_at_once(path, &error), PHLOX_ERROR_NOT_FOUND, "cannot remove");
}

/* What one process has put aside to remove, another takes for a leftover. */
static void of_two_that_remove_one_directory_both_succeed(void **state)
{
    enum { ROUNDS = 60, FILES = 8 };
    const char *const parent = *state;
    char path[TEST_PATH], deep[TEST_PATH], name[16];
    phlox_error error;
    test_path(path, "%s/2026.4.1", parent);
    const pid_t child = fork();
    assert_true(child >= 0);
    while (!child) px_out_directory_clean(parent, NULL); /* until it is killed */
    for (int round = 0; round < ROUNDS; round++) {
        MUST(px_make_directories(test_path(deep, "%s/deep/er", path), &error));
        for (int i = 0; i < FILES; i++) {
            snprintf(name, sizeof name, "%d", i);
            test_write_text(path, name, "1");
            test_write_text(deep, name, "1");
        }
        const phlox_status status = px_remove_tree_at_once(path, &error);
        if (status != PHLOX_OK) kill(child, SIGKILL);
        if (status != PHLOX_OK) fail_msg("round %d: %s", round, error.message);
    }
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    px_out_directory_clean(parent, NULL);
    assert_int_equal(test_for_each(parent, NULL, NULL), 0);
}

static void links_are_not_followed(void **state)
{
    char *const directory = *state, tree[TEST_PATH], target[TEST_PATH], link[TEST_PATH];
    phlox_error error;
    assert_int_equal(mkdir(test_path(tree, "%s/tree", directory), 0777), 0);
    assert_int_equal(mkdir(test_path(target, "%s/target", directory), 0777), 0);
    test_write_text(target, "precious", "12345678");
    assert_int_equal(symlink(target, test_path(link, "%s/link", tree)), 0);
    int count = 0;
    MUST(px_list_directories(tree, count_name, &count, &error));
    assert_int_equal(count, 0);
    assert_int_equal(px_tree_bytes(tree), 0);
    MUST(px_remove_tree(tree, &error));
    assert_false(test_exists(tree));
    assert_true(test_exists(test_path(link, "%s/precious", target)));
    assert_int_equal(symlink(target, test_path(link, "%s/link", directory)), 0);
    MUST_FAIL(px_remove_tree(link, &error), PHLOX_ERROR_IO, "cannot remove");
    assert_true(test_exists(test_path(link, "%s/precious", target)));
    MUST_FAIL(px_remove_tree(tree, &error), PHLOX_ERROR_NOT_FOUND, "tree");
    MUST(px_list_directories(tree, count_name, &count, &error));
}

static void temporary_directories(void **state)
{
    setenv("TMPDIR", *state, 1);
    phlox_error error;
    char *path = NULL;
    MUST(px_make_temporary_directory(&path, &error));
    assert_int_equal(test_for_each(*state, NULL, NULL), 1);
    test_write_text(path, "file", "1");
    MUST(px_remove_tree(path, &error));
    free(path);
    unsetenv("TMPDIR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_cannot_be_locked_is_not_left), IN_DIRECTORY(whole_or_not_there),
        IN_DIRECTORY(leftovers_go), IN_DIRECTORY(of_two_that_make_one_directory_the_first_wins),
        IN_DIRECTORY(of_two_that_remove_one_directory_both_succeed),
        IN_DIRECTORY(links_are_not_followed), IN_DIRECTORY(temporary_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
