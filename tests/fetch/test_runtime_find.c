#include "support.h"

#include "base/os.h"
#include "fetch/runtimes.h"

/* A machine made of empty files. */
typedef struct machine {
    char root[TEST_PATH], own[TEST_PATH], environment[TEST_PATH], home[TEST_PATH];
    px_runtime_roots roots;
} machine;

static int setup(void **state)
{
    machine *const m = calloc(1, sizeof *m);
    test_directory(m->root);
    test_path(m->own, "%s/da*ta/runtimes", m->root); /* a name that is no pattern */
    test_path(m->environment, "%s/venv", m->root);
    test_path(m->home, "%s/home", m->root);
    m->roots = (px_runtime_roots){m->own, m->environment, m->home, m->root};
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    machine *const m = *state;
    test_remove(m->root);
    free(m);
    return 0;
}

/* An empty file at root/path; one that ends with a slash is a directory. */
static void make(const machine *m, const char *path)
{
    char full[TEST_PATH], directory[TEST_PATH];
    test_path(full, "%s/%s", m->root, path);
    test_path(directory, "%.*s", (int)(strrchr(full, '/') - full), full);
    assert_int_equal(px_make_directories(directory, NULL), PHLOX_OK);
    if (full[strlen(full) - 1] != '/') test_write(full, "", 0);
}

/* Writes a line for each place: origin|library|onnxruntime|package|version|onnxruntime's version. */
struct lines {
    const machine *m;
    char text[8192];
    size_t most;
};

static const char *below(const machine *m, const char *path)
{
    return path && strncmp(path, m->root, strlen(m->root)) == 0 ? path + strlen(m->root) + 1 : path;
}

static bool add_line(void *user, const px_runtime_place *place)
{
    struct lines *const lines = user;
    const size_t used = strlen(lines->text);
    snprintf(lines->text + used, sizeof lines->text - used, "%s|%s|%s|%s|%s|%s\n",
             px_runtime_origin_name(place->origin), below(lines->m, place->library),
             place->onnxruntime ? below(lines->m, place->onnxruntime) : "", place->package,
             place->version, place->onnxruntime_version);
    return --lines->most;
}

static void expect(const machine *m, const char *name, const char *directory, const char *wanted)
{
    phlox_error error;
    struct lines lines = {.m = m, .most = 100};
    size_t found = 99, count = 0;
    MUST(px_runtime_find_in(&m->roots, name, directory, add_line, &lines, &found, &error));
    assert_string_equal(lines.text, wanted);
    for (const char *c = wanted; *c; c++) count += *c == '\n';
    assert_int_equal(found, count);
}

static void openvino_is_found_in_order_of_preference(void **state)
{
    machine *const m = *state;
    expect(m, "openvino", NULL, "");
    make(m, "usr/lib/python3/dist-packages/openvino/libs/libopenvino_c.so.2450");
    make(m, "home/.local/lib/python3.11/site-packages/openvino/libs/libopenvino_c.so.2530");
    make(m, "home/.local/lib/python3.11/site-packages/openvino-2025.3.0.dist-info/");
    make(m, "home/.local/lib/python3.11/site-packages/openvino_telemetry-2025.2.0.dist-info/");
    make(m, "opt/intel/openvino_2025.4.0/runtime/lib/intel64/libopenvino_c.so.2540");
    make(m, "opt/intel/openvino_2026.4.1/runtime/lib/intel64/libopenvino_c.so.2026.4.1");
    make(m, "usr/lib64/libopenvino_c.so.2026.2.0");
    make(m, "usr/lib64/libopenvino_c.so.2026.2.0.debug");
    make(m, "venv/lib/python3.12/site-packages/openvino/libs/libopenvino_c.so.2641");
    make(m, "venv/lib/python3.12/site-packages/openvino-2026.4.1.dist-info/");
    make(m, "da*ta/runtimes/openvino/2026.9.0/libopenvino_c.so.2690");
    make(m, "da*ta/runtimes/openvino/2026.9.0/runtime.json");
    make(m, "da*ta/runtimes/openvino/2026.10.0/libopenvino_c.so.2600");
    make(m, "da*ta/runtimes/openvino/2026.10.0/runtime.json");
    make(m, "da*ta/runtimes/openvino/2026.11.0.1-2-0.partial/libopenvino_c.so.2610");
    make(m, "da*ta/runtimes/openvino/2026.11.0.1-2-0.partial/runtime.json");
    make(m, "daXta/runtimes/openvino/9.9.9/libopenvino_c.so.9999");
    expect(m, "openvino", NULL,
           "phlox's folder|da*ta/runtimes/openvino/2026.10.0/libopenvino_c.so.2600||openvino|2026.10.0|\n"
           "phlox's folder|da*ta/runtimes/openvino/2026.9.0/libopenvino_c.so.2690||openvino|2026.9.0|\n"
           "active Python environment|venv/lib/python3.12/site-packages/openvino/libs/"
           "libopenvino_c.so.2641||openvino|2026.4.1|\n"
           "system|usr/lib64/libopenvino_c.so.2026.2.0|||2026.2.0|\n"
           "/opt/intel|opt/intel/openvino_2026.4.1/runtime/lib/intel64/libopenvino_c.so.2026.4.1|||"
           "2026.4.1|\n"
           "/opt/intel|opt/intel/openvino_2025.4.0/runtime/lib/intel64/libopenvino_c.so.2540|||2025.4.0|\n"
           "user's Python|home/.local/lib/python3.11/site-packages/openvino/libs/libopenvino_c.so.2530||"
           "openvino|2025.3.0|\n"
           "system's Python|usr/lib/python3/dist-packages/openvino/libs/libopenvino_c.so.2450|||2024.5.0|\n");
}

static void links_to_one_library_are_one_place(void **state)
{
    machine *const m = *state;
    char path[TEST_PATH];
    make(m, "usr/lib/libopenvino_c.so.2026.4.1");
    assert_int_equal(symlink("libopenvino_c.so.2026.4.1", test_path(path, "%s/usr/lib/libopenvino_c.so", m->root)), 0);
    assert_int_equal(symlink("libopenvino_c.so.2026.4.1", test_path(path, "%s/usr/lib/libopenvino_c.so.2641", m->root)), 0);
    assert_int_equal(symlink("nowhere", test_path(path, "%s/usr/lib/libopenvino_c.so.1111", m->root)), 0);
    expect(m, "openvino", NULL, "system|usr/lib/libopenvino_c.so|||2026.4.1|\n");
}

static void onnxruntime_genai_is_found_with_its_onnxruntime(void **state)
{
    machine *const m = *state;
    make(m, "venv/lib/python3.11/site-packages/onnxruntime_genai/libonnxruntime-genai.so");
    make(m, "venv/lib/python3.11/site-packages/onnxruntime_genai_cuda-0.18.0.dist-info/");
    make(m, "venv/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.32.0");
    make(m, "venv/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime_providers_shared.so");
    make(m, "da*ta/runtimes/onnxruntime-genai-cuda/0.18.0/libonnxruntime-genai.so");
    make(m, "da*ta/runtimes/onnxruntime-genai-cuda/0.18.0/libonnxruntime.so.1.31.1");
    make(m, "da*ta/runtimes/onnxruntime-genai-cuda/0.18.0/runtime.json");
    make(m, "da*ta/runtimes/onnxruntime-genai/0.18.0/libonnxruntime-genai.so");
    make(m, "da*ta/runtimes/onnxruntime-genai/0.18.0/libonnxruntime.so.1.9.0");
    make(m, "da*ta/runtimes/onnxruntime-genai/0.18.0/libonnxruntime.so.1.32.0");
    make(m, "da*ta/runtimes/onnxruntime-genai/0.18.0/runtime.json");
    make(m, "usr/local/lib/libonnxruntime-genai.so");
    expect(m, "onnxruntime-genai", NULL,
           "phlox's folder|da*ta/runtimes/onnxruntime-genai/0.18.0/libonnxruntime-genai.so|"
           "da*ta/runtimes/onnxruntime-genai/0.18.0/libonnxruntime.so.1.32.0|onnxruntime-genai|0.18.0|1.32.0\n"
           "phlox's folder|da*ta/runtimes/onnxruntime-genai-cuda/0.18.0/libonnxruntime-genai.so|"
           "da*ta/runtimes/onnxruntime-genai-cuda/0.18.0/libonnxruntime.so.1.31.1|onnxruntime-genai-cuda|"
           "0.18.0|1.31.1\n"
           "active Python environment|venv/lib/python3.11/site-packages/onnxruntime_genai/"
           "libonnxruntime-genai.so|venv/lib/python3.11/site-packages/onnxruntime_genai/../onnxruntime/capi/"
           "libonnxruntime.so.1.32.0|onnxruntime-genai-cuda|0.18.0|1.32.0\n"
           "system|usr/local/lib/libonnxruntime-genai.so||||\n");
}

static void a_directory_that_is_named_is_the_only_one(void **state)
{
    machine *const m = *state;
    static const struct {
        const char *file, *directory;
    } table[] = {
        {"a/libopenvino_c.so.2641", "a"},
        {"b/runtime/lib/intel64/libopenvino_c.so.2641", "b"},
        {"c/openvino/libs/libopenvino_c.so.2641", "c"},
        {"d/lib/python3.13/site-packages/openvino/libs/libopenvino_c.so.2641", "d"},
        {"e/lib/libopenvino_c.so.2641", "e"},
        {"f/libopenvino_c.so.2641", "f/libopenvino_c.so.2641"},
    };
    make(m, "usr/lib/libopenvino_c.so.2026.1.0");
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        char directory[TEST_PATH], wanted[TEST_PATH];
        make(m, table[i].file);
        test_path(wanted, "given|%s|||2026.4.1|\n", table[i].file);
        expect(m, "openvino", test_path(directory, "%s/%s", m->root, table[i].directory), wanted);
    }
    expect(m, "openvino", "/nowhere", "");
}

static void a_visitor_ends_the_search(void **state)
{
    machine *const m = *state;
    phlox_error error;
    struct lines lines = {.m = m, .most = 1};
    size_t found = 0;
    make(m, "usr/lib/libopenvino_c.so.2641");
    make(m, "usr/lib64/libopenvino_c.so.2630");
    MUST(px_runtime_find_in(&m->roots, "openvino", NULL, add_line, &lines, &found, &error));
    assert_int_equal(found, 1);
    MUST_FAIL(px_runtime_find_in(&m->roots, "tensorrt", NULL, add_line, &lines, &found, &error),
              PHLOX_ERROR_NOT_FOUND, "\"tensorrt\" is no runtime");
}

static void the_newest_own_one_has_its_directory(void **state)
{
    machine *const m = *state;
    phlox_error error;
    char data[TEST_PATH], wanted[TEST_PATH], *directory;
    setenv("XDG_DATA_HOME", test_path(data, "%s/xdg", m->root), 1);
    MUST_FAIL(px_runtime_directory("openvino", NULL, &directory, &error), PHLOX_ERROR_NOT_FOUND,
              "phlox runtime add openvino installs it");
    static const char *const versions[] = {"2026.9.0", "2026.10.0"};
    for (size_t i = 0; i < 2; i++) {
        char path[TEST_PATH];
        make(m, test_path(path, "xdg/phlox/runtimes/openvino/%s/libopenvino_c.so.2641", versions[i]));
        make(m, test_path(path, "xdg/phlox/runtimes/openvino/%s/runtime.json", versions[i]));
    }
    MUST(px_runtime_directory("openvino", NULL, &directory, &error));
    assert_string_equal(directory, test_path(wanted, "%s/phlox/runtimes/openvino/2026.10.0", data));
    free(directory);
    MUST(px_runtime_directory("openvino", "2026.9", &directory, &error));
    assert_string_equal(directory, test_path(wanted, "%s/phlox/runtimes/openvino/2026.9.0", data));
    free(directory);
    MUST_FAIL(px_runtime_directory("openvino", "2026.8", &directory, &error), PHLOX_ERROR_NOT_FOUND,
              "phlox runtime add openvino==2026.8 installs it");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(openvino_is_found_in_order_of_preference), TEST(links_to_one_library_are_one_place),
        TEST(onnxruntime_genai_is_found_with_its_onnxruntime),
        TEST(a_directory_that_is_named_is_the_only_one), TEST(a_visitor_ends_the_search),
        TEST(the_newest_own_one_has_its_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
