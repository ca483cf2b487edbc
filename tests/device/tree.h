/* Unpacks a machine of tests/golden/hardware (made by make_hardware.py) below a new directory. */
#ifndef PX_TESTS_DEVICE_TREE_H
#define PX_TESTS_DEVICE_TREE_H

#include "support.h"

/* The group of the nodes of a tree: not root's, whoever runs the tests. */
static inline unsigned tree_group(void)
{
    return getegid() ? (unsigned)getegid() : 105;
}

static inline void tree_make_parents(const char *path)
{
    char copy[TEST_PATH];
    test_path(copy, "%s", path);
    for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(copy, 0777);
        *slash = '/';
    }
}

/* Writes a file whose content has \n for ends of lines and @GID@ for the group. */
static inline void tree_write(const char *path, const char *content)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (const char *at = content; *at;) {
        if (strncmp(at, "\\n", 2) == 0) {
            putc('\n', file);
            at += 2;
        } else if (strncmp(at, "@GID@", 5) == 0) {
            fprintf(file, "%u", tree_group());
            at += 5;
        } else {
            putc(*at++, file);
        }
    }
    assert_int_equal(fclose(file), 0);
}

/* One line of a tree, or a change of it: "file PATH CONTENT", "link PATH TARGET", "node PATH MODE". */
static inline void tree_add(const char *root, const char *line)
{
    char kind[8], name[TEST_PATH / 2], path[TEST_PATH];
    int rest = 0;
    assert_int_equal(sscanf(line, "%7s %511s%n", kind, name, &rest), 2);
    if (line[rest] == ' ') rest++;
    tree_make_parents(test_path(path, "%s%s", root, name));
    if (strcmp(kind, "link") == 0) {
        assert_int_equal(symlink(line + rest, path), 0);
        return;
    }
    tree_write(path, strcmp(kind, "node") == 0 ? "" : line + rest);
    if (strcmp(kind, "node") != 0) return;
    if (!getegid()) assert_int_equal(chown(path, (uid_t)-1, tree_group()), 0);
    assert_int_equal(chmod(path, (mode_t)strtoul(line + rest, NULL, 8)), 0);
}

static inline void tree_unpack(const char *name, char root[TEST_PATH])
{
    char path[TEST_PATH];
    size_t size;
    char *const text = test_read(test_path(path, PHLOX_SOURCE_DIR "/tests/golden/hardware/%s.tree", name), &size);
    test_directory(root);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        tree_add(root, line);
    }
    free(text);
}

#endif
