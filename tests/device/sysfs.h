/* Recorded trees of /proc and /sys, tests/golden/sysfs (make_sysfs.py beside it describes them): written
 * to a directory, and their expected readings compared. */
#ifndef PX_TESTS_DEVICE_SYSFS_H
#define PX_TESTS_DEVICE_SYSFS_H

#include "support.h"

#include "base/os.h"
#include "device/meter/meter.h"

/* Writes a file below root with its directories; a newline is added, as sysfs does. */
static inline void sysfs_write(const char *root, const char *path, const char *text)
{
    char full[TEST_PATH], directory[TEST_PATH];
    phlox_error error;
    test_path(full, "%s/%s", root, path);
    test_path(directory, "%s", full);
    *strrchr(directory, '/') = 0;
    MUST(px_make_directories(directory, &error));
    FILE *const file = fopen(full, "w");
    if (!file) fail_msg("cannot create %s", full);
    fprintf(file, "%s\n", text);
    assert_int_equal(fclose(file), 0);
}

static inline void sysfs_remove(const char *root, const char *path)
{
    char full[TEST_PATH];
    test_remove(test_path(full, "%s/%s", root, path));
}

/* Puts a link in the place of whatever is there. */
static inline void sysfs_link(const char *root, const char *path, const char *target)
{
    char full[TEST_PATH], directory[TEST_PATH];
    phlox_error error;
    test_path(full, "%s/%s", root, path);
    test_path(directory, "%s", full);
    *strrchr(directory, '/') = 0;
    MUST(px_make_directories(directory, &error));
    test_remove(full);
    assert_int_equal(symlink(target, full), 0);
}

/* In place; false when an escape is none. */
static inline bool sysfs_unescape(char *text)
{
    char *out = text;
    for (; *text; text++) {
        if (*text != '\\') {
            *out++ = *text;
            continue;
        }
        text++;
        if (*text != 'n' && *text != 't' && *text != '\\') return false;
        *out++ = *text == 'n' ? '\n' : *text == 't' ? '\t' : '\\';
    }
    *out = 0;
    return true;
}

/* Calls `visit` with each line of a section, "[0]". */
static inline void sysfs_lines(const char *name, const char *section,
                               void (*visit)(void *user, char *line), void *user)
{
    char path[TEST_PATH];
    size_t size;
    char *const text = test_read(test_path(path, "%s/tests/golden/sysfs/%s.txt", PHLOX_SOURCE_DIR, name), &size);
    bool inside = false;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        if (line[0] == '[') inside = strcmp(line, section) == 0;
        else if (inside && line[0] != '#') visit(user, line);
    }
    free(text);
}

static inline void sysfs_play_line(void *user, char *line)
{
    char *const blank = strchr(line, ' ');
    assert_non_null(blank);
    *blank = 0;
    char *const what = blank + 1;
    if (what[0] == '=') {
        assert_true(sysfs_unescape(what + 2));
        sysfs_write(user, line, what + 2);
    } else if (what[0] == '-') {
        sysfs_link(user, line, what + 3);
    } else {
        assert_string_equal(what, "!");
        sysfs_remove(user, line);
    }
}

/* Makes the tree what it is at a step: 0 whole, 1 what changes. */
static inline void sysfs_play(const char *root, const char *name, int step)
{
    sysfs_lines(name, step ? "[1]" : "[0]", sysfs_play_line, (void *)(uintptr_t)root);
}

/* ---- readings ------------------------------------------------------------------------------ */

static inline const phlox_unit_reading *sysfs_unit(const px_meter *meter, const char *name)
{
    size_t count;
    const phlox_unit_reading *const units = px_meter_readings(meter, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(units[i].name, name) == 0) return &units[i];
    fail_msg("there is no unit %s", name);
    return NULL;
}

/* The numbers of a reading that may be known, in the order of these names. */
enum { SYSFS_NUMBERS = 8 };
static const char *const sysfs_names[SYSFS_NUMBERS] = {
    "utilisation", "clock", "max_clock", "memory_used", "memory_total", "watts", "joules", "celsius",
};

static inline void sysfs_numbers(const phlox_unit_reading *r, double out[SYSFS_NUMBERS])
{
    const double numbers[SYSFS_NUMBERS] = {r->utilisation, r->clock, r->max_clock, r->memory_used,
                                           r->memory_total, r->watts, r->joules, r->celsius};
    memcpy(out, numbers, sizeof numbers);
}

struct sysfs_expected {
    const px_meter *meter;
    bool known[PHLOX_MOST_UNITS][SYSFS_NUMBERS];
    size_t lines;
};

static inline void sysfs_check_word(const phlox_unit_reading *r, const char *key, const char *value)
{
    static const char *const kinds[] = {"cpu", "gpu", "npu"}, *const scopes[] = {"machine", "user", "process"};
    if (strcmp(key, "kind") == 0) assert_string_equal(value, kinds[r->kind]);
    else if (strcmp(key, "scope") == 0) assert_string_equal(value, scopes[r->scope]);
    else if (strcmp(key, "pci") == 0) assert_string_equal(value, r->pci);
    else if (strcmp(key, "energy_in_cpu") == 0) assert_string_equal(value, r->energy_in_cpu ? "yes" : "no");
    else fail_msg("%s is not a key", key);
}

static inline void sysfs_check_line(void *user, char *line)
{
    struct sysfs_expected *const expected = user;
    char unit[16], key[24], value[64];
    assert_int_equal(sscanf(line, "%15s %23s %63s", unit, key, value), 3);
    size_t count, number = 0;
    const phlox_unit_reading *const r = sysfs_unit(expected->meter, unit);
    const size_t index = (size_t)(r - px_meter_readings(expected->meter, &count));
    expected->lines++;
    while (number < SYSFS_NUMBERS && strcmp(sysfs_names[number], key) != 0) number++;
    if (number == SYSFS_NUMBERS) {
        sysfs_check_word(r, key, value);
        return;
    }
    double numbers[SYSFS_NUMBERS];
    sysfs_numbers(r, numbers);
    const double wanted = strtod(value, NULL);
    if (!(fabs(numbers[number] - wanted) <= 1e-6 * fabs(wanted)))
        fail_msg("%s: %s is %.9g, not %.9g", unit, key, numbers[number], wanted);
    expected->known[index][number] = true;
}

/* Every number of the recording's [expect] is there, and no other. */
static inline void sysfs_check(const px_meter *meter, const char *name)
{
    struct sysfs_expected expected = {.meter = meter};
    sysfs_lines(name, "[expect]", sysfs_check_line, &expected);
    assert_true(expected.lines > 5);
    size_t count;
    const phlox_unit_reading *const units = px_meter_readings(meter, &count);
    for (size_t i = 0; i < count; i++) {
        double numbers[SYSFS_NUMBERS];
        sysfs_numbers(&units[i], numbers);
        for (size_t n = 0; n < SYSFS_NUMBERS; n++)
            if (!expected.known[i][n] && !isnan(numbers[n]))
                fail_msg("%s: %s is %g, and nobody said so", units[i].name, sysfs_names[n], numbers[n]);
    }
}

static inline int sysfs_setup(void **state)
{
    char *const directory = malloc(TEST_PATH);
    test_directory(directory);
    *state = directory;
    return 0;
}

static inline int sysfs_teardown(void **state)
{
    test_remove(*state);
    free(*state);
    return 0;
}

#define SYSFS_TEST(function) cmocka_unit_test_setup_teardown(function, sysfs_setup, sysfs_teardown)

#endif
