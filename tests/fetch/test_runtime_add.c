/* Runtimes are installed from an index of files that the test makes. */
#include "zip.h"

#include "base/os.h"
#include "fetch/archive.h"
#include "fetch/download.h"
#include "fetch/runtimes.h"
#include "fetch/sha256.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#if defined(__aarch64__)
#define TAG "manylinux_2_17_aarch64"
#else
#define TAG "manylinux_2_17_x86_64"
#endif

typedef struct bench {
    char root[TEST_PATH], index[TEST_PATH], url[TEST_PATH], folder[TEST_PATH];
    px_buffer page; /* of the package that is being made */
} bench;

static bool has_libraries(void)
{
    px_downloader *downloader;
    px_archiver *archiver;
    if (px_downloader_open(&downloader, NULL) != PHLOX_OK) return false;
    px_downloader_close(downloader);
    if (px_archiver_open(&archiver, NULL) != PHLOX_OK) return false;
    px_archiver_close(archiver);
    int major, minor;
    return px_glibc_version(&major, &minor);
}

static int setup(void **state)
{
    bench *const b = calloc(1, sizeof *b);
    char data[TEST_PATH];
    *state = b;
    test_directory(b->root);
    test_path(b->index, "%s/index", b->root);
    test_path(b->url, "file://%s", b->index);
    test_path(b->folder, "%s/data/phlox/runtimes", b->root);
    setenv("XDG_DATA_HOME", test_path(data, "%s/data", b->root), 1);
    return 0;
}

static int teardown(void **state)
{
    bench *const b = *state;
    test_remove(b->root);
    px_buffer_free(&b->page);
    free(b);
    return 0;
}

static bench *begin(void **state)
{
    if (!has_libraries()) skip();
    return *state;
}

/* ---- an index ------------------------------------------------------------------------------ */

static void digest_of(const px_buffer *bytes, char text[PX_SHA256_TEXT])
{
    px_sha256 hash;
    px_sha256_begin(&hash);
    px_sha256_add(&hash, bytes->data, bytes->size);
    px_sha256_end(&hash, text);
}

enum { GOOD, YANKED, WRONG_HASH, NO_HASH, TRUNCATED };

static void add_text(px_buffer *buffer, const char *text)
{
    assert_int_equal(px_buffer_add(buffer, text, strlen(text), NULL), PHLOX_OK);
}

/* Adds a wheel of `members` to the page of `package`, as NAME.whl beside it. */
static void add_wheel(bench *b, const char *package, const char *name, int what,
                      const test_member *members, size_t count)
{
    char path[TEST_PATH], text[PX_SHA256_TEXT], row[1024];
    px_buffer zip = test_zip(members, count);
    digest_of(&zip, text);
    if (what == WRONG_HASH) text[5] = text[5] == '0' ? '1' : '0';
    if (what == TRUNCATED) zip.size -= 10;
    test_path(path, "%s/%s", b->index, package);
    assert_int_equal(px_make_directories(path, NULL), PHLOX_OK);
    test_write(test_path(path, "%s/%s/%s.whl", b->index, package, name), zip.data, zip.size);
    px_buffer_free(&zip);
    snprintf(row, sizeof row, "<a href=\"%s.whl%s%s\"%s>%s.whl</a>\n", name,
             what == NO_HASH ? "" : "#sha256=", what == NO_HASH ? "" : text,
             what == YANKED ? " data-yanked=\"broken\"" : "", name);
    if (!b->page.size) add_text(&b->page, "<!DOCTYPE html><html><body>\n");
    add_text(&b->page, row);
}

/* Writes the page and begins another one. */
static void finish_page(bench *b, const char *package)
{
    char path[TEST_PATH];
    test_write(test_path(path, "%s/%s/index.html", b->index, package), b->page.data, b->page.size);
    b->page.size = 0;
}

static const test_member openvino[] = {
    {"openvino/__init__.py", "raise SystemExit", 0},
    {"openvino/libs/libopenvino_c.so.2641", "c", 0},
    {"openvino/libs/libopenvino.so.2641", "core", 0},
    {"openvino/libs/libopenvino_pytorch_frontend.so.2641", "left out", 0},
    {"openvino/include/openvino/openvino.hpp", "left out", 0},
    {"openvino-2026.4.1.dist-info/licenses/LICENSE", "licence", 0},
    {"openvino-2026.4.1.dist-info/METADATA", "Name: openvino\n", 0},
};

static void add_openvino(bench *b, const char *version, const char *tag, int what)
{
    char name[256];
    snprintf(name, sizeof name, "openvino-%s-cp313-cp313-%s", version, tag);
    add_wheel(b, "openvino", name, what, openvino, PX_COUNT(openvino));
}

static void make_openvino(bench *b)
{
    add_openvino(b, "2026.4.0", TAG, GOOD);
    add_openvino(b, "2026.10.0", "win_amd64", GOOD);
    add_openvino(b, "2026.4.1", TAG, GOOD);
    add_openvino(b, "2026.4.2", TAG, YANKED);
    add_openvino(b, "2026.5.0rc1", TAG, GOOD);
    finish_page(b, "openvino");
}

/* ---- checks -------------------------------------------------------------------------------- */

static phlox_status add(const bench *b, const char *name, px_runtime_result *out, phlox_error *error)
{
    const px_runtime_request request = {.name = name, .index_url = b->url, .offline = true};
    return px_runtime_add(&request, out, error);
}

static void add_name(const char *path, const char *name, void *user)
{
    (void)path;
    strcat(user, name);
    strcat(user, " ");
}

/* The names in a directory of the folder. */
static void expect_names(const bench *b, const char *directory, const char *wanted)
{
    char names[2048] = "", path[TEST_PATH];
    test_for_each(test_path(path, "%s/%s", b->folder, directory), add_name, names);
    assert_string_equal(names, wanted);
}

static void a_runtime_is_added_and_removed(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    px_runtime_result result;
    size_t removed = 0;
    char wanted[TEST_PATH], *text, path[TEST_PATH];
    make_openvino(b);
    MUST(add(b, "openvino", &result, &error));
    assert_string_equal(result.version, "2026.4.1"); /* the newest that is final and runs here */
    assert_string_equal(result.directory, test_path(wanted, "%s/openvino/2026.4.1", b->folder));
    assert_false(result.was_there);
    assert_true(result.downloaded > 500);
    expect_names(b, "openvino", "2026.4.1 ");
    expect_names(b, "openvino/2026.4.1",
                 "libopenvino.so.2641 libopenvino_c.so.2641 openvino-LICENSE runtime.json ");
    size_t size;
    text = test_read(test_path(path, "%s/runtime.json", result.directory), &size);
    assert_non_null(strstr(text, "\"version\": \"2026.4.1\""));
    assert_non_null(strstr(text, "/openvino/openvino-2026.4.1-cp313-cp313-" TAG ".whl\""));
    free(text);

    MUST(add(b, "openvino", &result, &error));
    assert_true(result.was_there);
    assert_int_equal(result.downloaded, 0);
    MUST(add(b, "openvino==2026.4.0", &result, &error));
    assert_false(result.was_there);
    MUST(add(b, "openvino==2026.5.0rc1", &result, &error));
    expect_names(b, "openvino", "2026.4.0 2026.4.1 2026.5.0rc1 ");

    MUST(px_runtime_remove("openvino==2026.4.0", &removed, &error));
    assert_int_equal(removed, 1);
    expect_names(b, "openvino", "2026.4.1 2026.5.0rc1 ");
    MUST(px_runtime_remove("openvino", &removed, &error));
    assert_int_equal(removed, 2);
    expect_names(b, "openvino", "");
    MUST_FAIL(px_runtime_remove("openvino", &removed, &error), PHLOX_ERROR_NOT_FOUND, "phlox runtime add openvino");
}

/* A runtime whose library or manifest has gone is none; it is removed, and replaced. */
static void a_damaged_runtime_is_removed_or_replaced(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    px_runtime_result result;
    size_t removed = 0;
    static const char *const files[] = {"libopenvino_c.so.2641", "runtime.json"};
    make_openvino(b);
    for (size_t i = 0; i < PX_COUNT(files); i++) {
        char path[TEST_PATH];
        MUST(add(b, "openvino", &result, &error));
        assert_int_equal(unlink(test_path(path, "%s/%s", result.directory, files[i])), 0);
        MUST(add(b, i ? "openvino==2026.4.1" : "openvino", &result, &error));
        assert_false(result.was_there);
        expect_names(b, "openvino", "2026.4.1 ");
        expect_names(b, "openvino/2026.4.1",
                     "libopenvino.so.2641 libopenvino_c.so.2641 openvino-LICENSE runtime.json ");
        assert_int_equal(unlink(path), 0);
        MUST_FAIL(px_runtime_remove("openvino==2026.4.0", &removed, &error), PHLOX_ERROR_NOT_FOUND, "is not in");
        MUST(px_runtime_remove(i ? "openvino" : "openvino==2026.4.1", &removed, &error));
        assert_int_equal(removed, 1);
        expect_names(b, "openvino", "");
    }
    /* What is no version is not phlox's. */
    char foreign[TEST_PATH];
    assert_int_equal(mkdir(test_path(foreign, "%s/openvino/notes", b->folder), 0700), 0);
    MUST_FAIL(px_runtime_remove("openvino", &removed, &error), PHLOX_ERROR_NOT_FOUND, "phlox runtime add openvino");
    expect_names(b, "openvino", "notes ");
}

static void what_is_wrong_is_said_and_leaves_nothing(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    px_runtime_result result;
    static const test_member evil[] = {{"../../libopenvino_c.so.2641", "c", 0}},
                             other[] = {{"openvino/lib/libopenvino_c.so.2641", "c", 0}};
    make_openvino(b);
    add_openvino(b, "1.0", TAG, WRONG_HASH);
    add_openvino(b, "2.0", TAG, TRUNCATED);
    add_openvino(b, "3.0", TAG, NO_HASH);
    add_wheel(b, "openvino", "openvino-4.0-py3-none-" TAG, GOOD, evil, 1);
    add_wheel(b, "openvino", "openvino-5.0-py3-none-" TAG, GOOD, other, 1);
    add_openvino(b, "6.0", "manylinux_2_99_riscv64", GOOD);
    add_openvino(b, "7.0", TAG, YANKED);
    finish_page(b, "openvino");
    static const struct {
        const char *name;
        phlox_status status;
        const char *message;
    } table[] = {
        {"openvino==1.0", PHLOX_ERROR_FORMAT, "its SHA-256 is"},
        {"openvino==2.0", PHLOX_ERROR_FORMAT, "its SHA-256 is"},
        {"openvino==3.0", PHLOX_ERROR_FORMAT, "the index gives no SHA-256"},
        {"openvino==4.0", PHLOX_ERROR_FORMAT, "leads out of the archive"},
        {"openvino==5.0", PHLOX_ERROR_UNSUPPORTED, "the library is not where phlox expects it"},
        {"openvino==6.0", PHLOX_ERROR_NOT_FOUND, "there are: manylinux_2_99_riscv64"},
        {"openvino==7.0", PHLOX_ERROR_NOT_FOUND, "was withdrawn"},
        {"openvino==8.0", PHLOX_ERROR_NOT_FOUND, "there is no openvino 8.0"},
        {"openvino==new", PHLOX_ERROR_ARGUMENT, "\"new\" is not a version"},
        {"openvino=1.0", PHLOX_ERROR_NOT_FOUND, "is no runtime"},
        {"../openvino", PHLOX_ERROR_NOT_FOUND, "is no runtime"},
        {"tensorrt", PHLOX_ERROR_NOT_FOUND, "there are openvino, onnxruntime-genai and"},
        {"onnxruntime-genai", PHLOX_ERROR_NOT_FOUND, "the index has no such package"},
    };
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        MUST_FAIL(add(b, table[i].name, &result, &error), table[i].status, table[i].message);
        expect_names(b, "openvino", "");
    }
    px_runtime_request request = {.name = "openvino==1.0", .version = "2.0", .index_url = b->url};
    MUST_FAIL(px_runtime_add(&request, &result, &error), PHLOX_ERROR_ARGUMENT, "both version 1.0 and version 2.0");
    request = (px_runtime_request){.name = "openvino", .offline = true, .index_url = "https://user:secret@host/simple"};
    MUST_FAIL(px_runtime_add(&request, &result, &error), PHLOX_ERROR_ARGUMENT, "the index is https://***@host/simple");
    add_text(&b->page, "<a href=\"https://host.invalid/openvino-1.0-py3-none-" TAG ".whl#sha256="
                       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\">x</a>");
    finish_page(b, "openvino");
    MUST_FAIL(add(b, "openvino", &result, &error), PHLOX_ERROR_ARGUMENT, "the index has openvino-1.0-py3-none-" TAG ".whl elsewhere");
    request.index_url = "/simple";
    MUST_FAIL(px_runtime_add(&request, &result, &error), PHLOX_ERROR_ARGUMENT, "\"/simple\" is no address");
}

static void onnxruntime_genai_brings_what_it_requires(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    px_runtime_result result;
    static const test_member genai[] = {
        {"onnxruntime_genai/libonnxruntime-genai.so", "genai", 0}, {"onnxruntime_genai/LICENSE", "L", 0},
        {"onnxruntime_genai/onnxruntime_genai.cpython-313-x86_64-linux-gnu.so", "left out", 0},
        {"onnxruntime_genai-0.18.0.dist-info/METADATA",
         "Metadata-Version: 2.1\nRequires-Dist: onnxruntime>=1.31.0\n\nText", 0}};
    static const test_member ort[] = {{"onnxruntime/capi/libonnxruntime.so.1.31.1", "ort", 0},
                                      {"onnxruntime/LICENSE", "L", 0},
                                      {"onnxruntime/capi/onnxruntime_pybind11_state.so", "left out", 0}};
    add_wheel(b, "onnxruntime-genai", "onnxruntime_genai-0.18.0-cp313-cp313-" TAG, GOOD, genai, PX_COUNT(genai));
    finish_page(b, "onnxruntime-genai");
    add_wheel(b, "onnxruntime", "onnxruntime-1.30.0-cp313-cp313-" TAG, GOOD, ort, PX_COUNT(ort));
    finish_page(b, "onnxruntime");
    MUST_FAIL(add(b, "onnxruntime-genai", &result, &error), PHLOX_ERROR_NOT_FOUND,
              "there is no final version of onnxruntime that is >=1.31.0; the newest is 1.30.0");
    expect_names(b, "onnxruntime-genai", "");
    add_wheel(b, "onnxruntime", "onnxruntime-1.30.0-cp313-cp313-" TAG, GOOD, ort, PX_COUNT(ort));
    add_wheel(b, "onnxruntime", "onnxruntime-1.31.1-cp313-cp313-" TAG, GOOD, ort, PX_COUNT(ort));
    finish_page(b, "onnxruntime");
    MUST(add(b, "onnxruntime-genai", &result, &error));
    expect_names(b, "onnxruntime-genai/0.18.0", "libonnxruntime-genai.so libonnxruntime.so.1.31.1 "
                 "onnxruntime-LICENSE onnxruntime-genai-LICENSE runtime.json ");
}

struct cancelling {
    const char *what;
    bool was_seen;
};

static bool cancel_at(void *user, const phlox_progress *progress)
{
    struct cancelling *const c = user;
    if (strncmp(progress->what, c->what, strlen(c->what)) != 0) return true;
    c->was_seen = true;
    return false;
}

static void adding_is_cancelled_anywhere(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    px_runtime_result result;
    static const char *const steps[] = {"reading the index", "downloading openvino", "unpacking"};
    make_openvino(b);
    for (size_t i = 0; i < PX_COUNT(steps); i++) {
        struct cancelling c = {steps[i], false};
        const px_runtime_request request = {.name = "openvino", .index_url = b->url, .progress = cancel_at,
                                            .progress_user = &c};
        MUST_FAIL(px_runtime_add(&request, &result, &error), PHLOX_ERROR_CANCELLED, "cancelled");
        assert_true(c.was_seen);
        expect_names(b, "openvino", "");
    }
}

static bool die(void *user, const phlox_progress *progress)
{
    if (strcmp(progress->what, "unpacking") == 0 && progress->done > 1) _exit(*(int *)user);
    return true;
}

/* What a process leaves that ends in the middle is never taken for a runtime, and goes. */
static void a_killed_process_leaves_nothing_that_counts(void **state)
{
    bench *const b = begin(state);
    phlox_error error;
    px_runtime_result result;
    make_openvino(b);
    int code = 7, status = 0;
    const px_runtime_request request = {.name = "openvino", .index_url = b->url, .progress = die,
                                        .progress_user = &code};
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        px_runtime_add(&request, &result, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == code);
    char path[TEST_PATH], *directory;
    assert_int_equal(test_for_each(test_path(path, "%s/openvino", b->folder), NULL, NULL), 2);
    assert_int_equal(px_runtime_directory("openvino", NULL, &directory, &error), PHLOX_ERROR_NOT_FOUND);
    MUST(add(b, "openvino==2026.4.0", &result, &error));
    expect_names(b, "openvino", "2026.4.0 ");
}

/* A limit on the size of files stands for a disk that is full. */
static void a_full_disk_leaves_nothing(void **state)
{
    bench *const b = begin(state);
    make_openvino(b);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit limit = {100, 100};
        px_runtime_result result;
        phlox_error error = {.code = PHLOX_OK};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        const phlox_status status = add(b, "openvino", &result, &error);
        _exit(status == PHLOX_ERROR_IO && strstr(error.message, "free some space") ? 3 : 4);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
    expect_names(b, "openvino", "");
}

/* Every one of many processes at once succeeds, and there is one whole runtime. */
static void processes_that_add_at_once_do_not_meet(void **state)
{
    enum { PROCESSES = 6 };
    bench *const b = begin(state);
    make_openvino(b);
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            px_runtime_result result;
            phlox_error error;
            const phlox_status status = add(b, "openvino", &result, &error);
            if (status != PHLOX_OK) fprintf(stderr, "%s\n", error.message);
            _exit(status == PHLOX_OK ? 0 : 1);
        }
    }
    int failed = 0;
    for (int i = 0; i < PROCESSES; i++) {
        int status = 1;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        failed += status != 0;
    }
    assert_int_equal(failed, 0);
    expect_names(b, "openvino", "2026.4.1 ");
    expect_names(b, "openvino/2026.4.1",
                 "libopenvino.so.2641 libopenvino_c.so.2641 openvino-LICENSE runtime.json ");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_runtime_is_added_and_removed), TEST(a_damaged_runtime_is_removed_or_replaced),
        TEST(what_is_wrong_is_said_and_leaves_nothing),
        TEST(onnxruntime_genai_brings_what_it_requires), TEST(adding_is_cancelled_anywhere),
        TEST(a_killed_process_leaves_nothing_that_counts), TEST(a_full_disk_leaves_nothing),
        TEST(processes_that_add_at_once_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
