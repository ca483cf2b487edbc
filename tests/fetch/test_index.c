#include "support.h"

#include "fetch/index.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* Reads a page and writes a line for each file: name|url|hash|size|yanked. */
static void expect(const char *page, const char *wanted)
{
    px_index index = {0};
    phlox_error error;
    char text[4096] = "";
    MUST(px_index_read((phlox_text){page, strlen(page)}, "page", &index, &error));
    for (size_t i = 0; i < index.count; i++) {
        const px_index_file *const f = &index.files[i];
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s|%s|%.4s|%llu|%d\n", f->name, f->url,
                 f->sha256, (unsigned long long)f->size, f->is_yanked);
    }
    assert_string_equal(text, wanted);
    px_index_free(&index);
}

static void json_pages(void **state)
{
    (void)state;
    expect(" {\"meta\":{\"api-version\":\"1.0\"},\"name\":\"a\",\"files\":["
           "{\"filename\":\"a-1.0-py3-none-any.whl\",\"url\":\"https://h/x/a-1.0-py3-none-any.whl\","
           "\"hashes\":{\"sha256\":\"" HASH_A "\"},\"requires-python\":\">=3.8\",\"size\":123,\"yanked\":false},"
           "{\"filename\":\"a-1.1-py3-none-any.whl\",\"url\":\"../a\",\"hashes\":{\"sha256\":\"AB\"},\"yanked\":\"bad\"},"
           "{\"filename\":\"a-1.2-py3-none-any.whl\",\"url\":\"b\",\"hashes\":{},\"yanked\":true,\"size\":-4},"
           "{\"filename\":\"a-1.0.tar.gz\",\"url\":\"c\",\"hashes\":{}},"
           "{\"filename\":\"../a-1.3-py3-none-any.whl\",\"url\":\"d\"},"
           "{\"filename\":\"a-1.4-py3-none-any.whl\"},{\"url\":\"e\"},7,null]}",
           "a-1.0-py3-none-any.whl|https://h/x/a-1.0-py3-none-any.whl|aaaa|123|0\n"
           "a-1.1-py3-none-any.whl|../a||0|1\n"
           "a-1.2-py3-none-any.whl|b||0|1\n");
    px_index index;
    phlox_error error;
    MUST_FAIL(px_index_read((phlox_text){"{\"files\":{}}", 12}, "page", &index, &error),
              PHLOX_ERROR_FORMAT, "page: has no list of files");
    MUST_FAIL(px_index_read((phlox_text){"{\"files\":", 9}, "page", &index, &error),
              PHLOX_ERROR_FORMAT, "page: not valid JSON");
}

static void html_pages(void **state)
{
    (void)state;
    expect("<!DOCTYPE html><html><head><link href=\"a-0.1-py3-none-any.whl\"></head><body>\n"
           "<a href=\"https://h/p/a-1.0-py3-none-any.whl#sha256=" HASH_A "\" "
           "data-requires-python=\"&gt;=3.8\">a-1.0-py3-none-any.whl</a><br/>\n"
           "<!-- <a href=\"a-1.1-py3-none-any.whl\"> -->\n"
           "<A data-yanked HREF='../a-1.2-py3-none-any.whl?x=1&amp;y=2#md5=00'>text</A>\n"
           "<a data-yanked=\"bad > worse\" href = a-1.3-py3-none-any.whl#sha256=" HASH_B ">x</a>\n"
           "<a href=\"a-1.4%2Bcu12-py3-none-any.whl#sha256=" HASH_B "0\">x</a>\n"
           "<a href=\"a-1.0.tar.gz\">x</a><a>no address</a><abbr href=\"a-1.5-py3-none-any.whl\">"
           "<a href=\"a-1.6-py3-none-any.whl",
           "a-1.0-py3-none-any.whl|https://h/p/a-1.0-py3-none-any.whl|aaaa|0|0\n"
           "a-1.2-py3-none-any.whl|../a-1.2-py3-none-any.whl?x=1&y=2||0|1\n"
           "a-1.3-py3-none-any.whl|a-1.3-py3-none-any.whl|bbbb|0|1\n"
           "a-1.4+cu12-py3-none-any.whl|a-1.4%2Bcu12-py3-none-any.whl||0|0\n"
           "a-1.6-py3-none-any.whl|a-1.6-py3-none-any.whl||0|0\n");
    expect("", "");
    expect("<html>no links</html>", "");
}

static void platforms(void **state)
{
    (void)state;
    static const struct {
        const char *tag, *machine;
        int minor;
        bool runs;
    } table[] = {
        {"manylinux_2_28_x86_64", "x86_64", 28, true},   {"manylinux_2_28_x86_64", "x86_64", 36, true},
        {"manylinux_2_28_x86_64", "x86_64", 27, false},  {"manylinux_2_28_aarch64", "x86_64", 36, false},
        {"manylinux_2_34_aarch64", "aarch64", 34, true}, {"manylinux2014_x86_64", "x86_64", 17, true},
        {"manylinux2014_x86_64", "x86_64", 16, false},   {"manylinux2010_x86_64", "x86_64", 12, true},
        {"manylinux1_x86_64", "x86_64", 5, true},        {"linux_x86_64", "x86_64", 5, true},
        {"linux_x86_64", "x86_64", 0, true},             {"manylinux_2_17_x86_64.manylinux2014_x86_64", "x86_64", 17, true},
        {"manylinux_2_40_x86_64.manylinux2014_x86_64", "x86_64", 17, true}, {"musllinux_1_2_x86_64", "x86_64", 36, false},
        {"win_amd64", "x86_64", 36, false},              {"macosx_11_0_arm64", "x86_64", 36, false},
        {"any", "x86_64", 36, false},                    {"manylinux_3_1_x86_64", "x86_64", 36, false},
        {"manylinux_2_x86_64", "x86_64", 36, false},     {"", "x86_64", 36, false},
        {"manylinux_2_28_x86_64x", "x86_64", 36, false}, {"linux_", "x86_64", 36, false},
    };
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        const px_platform here = {table[i].machine, 2, table[i].minor};
        if (px_platform_runs(&here, table[i].tag, strlen(table[i].tag)) != table[i].runs)
            fail_msg("%s on %s with glibc 2.%d is not %d", table[i].tag, table[i].machine, table[i].minor,
                     table[i].runs);
    }
    const px_platform other = {"x86_64", 0, 0};
    assert_false(px_platform_runs(&other, "linux_x86_64", 12));
}

/* ---- choosing ------------------------------------------------------------------------------ */

static const char *const names[] = {
    "my_lib-1.9.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    "my_lib-1.10.0-1-cp310-cp310-manylinux_2_28_x86_64.whl",
    "my_lib-1.10.0-1-cp39-cp39-manylinux_2_28_x86_64.whl",
    "my_lib-1.10.0-1-cp314-cp314t-manylinux_2_28_x86_64.whl",
    "my_lib-1.10.0-1-cp313-cp313-manylinux_2_28_x86_64.whl",
    "my_lib-1.10.0-1-cp313-cp313-manylinux_2_35_aarch64.whl",
    "my_lib-1.10.0-1-cp313-cp313-win_amd64.whl",
    "my_lib-1.10.0-cp315-cp315-manylinux_2_28_x86_64.whl",
    "my_lib-1.11.0-cp313-cp313-win_amd64.whl",
    "my_lib-1.11.0-cp313-cp313-manylinux_2_39_x86_64.whl",
    "my_lib-1.12.0-cp313-cp313-manylinux_2_28_x86_64.whl", /* yanked */
    "my_lib-1.13.0rc1-cp313-cp313-manylinux_2_28_x86_64.whl",
    "my_lib-1.13.0.dev5-cp313-cp313-manylinux_2_28_x86_64.whl",
    "my_lib-2.0.0-cp313-cp313-manylinux_2_28_x86_64.manylinux2014_x86_64.whl",
    "my_lib-nonsense-cp313-cp313-manylinux_2_28_x86_64.whl",
    "my_lib_extra-9.0.0-cp313-cp313-manylinux_2_28_x86_64.whl",
    "my_lib-9.0.0-manylinux_2_28_x86_64.whl",
    "my_lib-9.0.0-1-2-cp313-cp313-manylinux_2_28_x86_64.whl",
};

static void make_index(px_index *index)
{
    *index = (px_index){calloc(PX_COUNT(names), sizeof *index->files), PX_COUNT(names), PX_COUNT(names)};
    for (size_t i = 0; i < PX_COUNT(names); i++)
        index->files[i] = (px_index_file){strdup(names[i]), strdup("x"), HASH_A, 1,
                                          strstr(names[i], "-1.12.0-") != NULL};
}

static void the_newest_that_runs_is_chosen(void **state)
{
    (void)state;
    static const struct {
        const char *package, *exact, *requirement, *wanted, *version;
        int minor;
    } table[] = {
        {"my-lib", NULL, "", "my_lib-2.0.0-cp313-cp313-manylinux_2_28_x86_64.manylinux2014_x86_64.whl", "2.0.0", 17},
        {"My.Lib", NULL, "<2", "my_lib-1.10.0-1-cp313-cp313-manylinux_2_28_x86_64.whl", "1.10.0", 36},
        {"my_lib", NULL, "<2", "my_lib-1.11.0-cp313-cp313-manylinux_2_39_x86_64.whl", "1.11.0", 39},
        {"my-lib", "1.9", "", "my_lib-1.9.0-cp311-cp311-manylinux_2_28_x86_64.whl", "1.9.0", 36},
        {"my-lib", "1.13.0rc1", "", "my_lib-1.13.0rc1-cp313-cp313-manylinux_2_28_x86_64.whl", "1.13.0rc1", 36},
        {"my-lib-extra", NULL, ">=1", "my_lib_extra-9.0.0-cp313-cp313-manylinux_2_28_x86_64.whl", "9.0.0", 36},
    };
    px_index index;
    phlox_error error;
    make_index(&index);
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        const px_platform here = {"x86_64", 2, table[i].minor};
        px_wheel_choice choice;
        MUST(px_index_choose(&index, table[i].package, table[i].exact, table[i].requirement, &here,
                             &choice, &error));
        assert_string_equal(choice.file->name, table[i].wanted);
        assert_string_equal(choice.version, table[i].version);
    }
    px_index_free(&index);
}

static void a_choice_that_fails_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *package, *exact, *requirement, *message;
    } table[] = {
        {"my-lib", "1.11.0", "", "my-lib 1.11.0 has no wheel for this machine (Linux on x86_64 with glibc "
                                 "2.36); there are: win_amd64, manylinux_2_39_x86_64"},
        {"my-lib", "1.12", "", "my-lib 1.12 was withdrawn by those who published it; the newest is 2.0.0"},
        {"my-lib", "7", "", "there is no my-lib 7; the newest is 2.0.0"},
        {"my-lib", NULL, ">3", "there is no final version of my-lib that is >3; the newest is 2.0.0"},
        {"other", NULL, "", "there is no final version of other; the index has no wheel of it"},
    };
    px_index index;
    phlox_error error;
    px_wheel_choice choice;
    const px_platform here = {"x86_64", 2, 36}, musl = {"x86_64", 0, 0};
    make_index(&index);
    for (size_t i = 0; i < PX_COUNT(table); i++)
        MUST_FAIL(px_index_choose(&index, table[i].package, table[i].exact, table[i].requirement, &here,
                                  &choice, &error), PHLOX_ERROR_NOT_FOUND, table[i].message);
    MUST_FAIL(px_index_choose(&index, "my-lib", NULL, "", &musl, &choice, &error), PHLOX_ERROR_NOT_FOUND,
              "(Linux on x86_64 without glibc)");
    MUST_FAIL(px_index_choose(&index, "my-lib", "latest", "", &here, &choice, &error),
              PHLOX_ERROR_ARGUMENT, "\"latest\" is not a version");
    px_index_free(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_pages), cmocka_unit_test(html_pages), cmocka_unit_test(platforms),
        cmocka_unit_test(the_newest_that_runs_is_chosen), cmocka_unit_test(a_choice_that_fails_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
