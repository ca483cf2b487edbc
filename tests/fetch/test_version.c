#include "support.h"

#include "fetch/version.h"

static px_version read_version(const char *text)
{
    px_version version;
    if (!px_version_read(text, strlen(text), &version)) fail_msg("%s is not read", text);
    return version;
}

/* The order of PEP 440, oldest first; what stands on one line is the same version. */
static void versions_are_ordered_as_pep_440_says(void **state)
{
    (void)state;
    static const char *const table[][4] = {
        {"0.9.2"}, {"1.0.dev456"}, {"1.0a1"}, {"1.0a2.dev456"}, {"1.0a12.dev456"}, {"1.0a12", "1.0.alpha-12"},
        {"1.0b1.dev456"}, {"1.0b2", "1.0_BETA.2"}, {"1.0b2.post345.dev456"}, {"1.0b2.post345", "1.0b2-345"}, {"1.0b3", "1.0.b.3"}, {"1.0b4.post0", "1.0-beta-4.post."},
        {"1.0rc1.dev456"}, {"1.0rc1", "1.0c1", "1.0-preview1", "1.0pre1"},
        {"1.0", "1.0.0", "v1", "01.0"}, {"1.0+abc.5"}, {"1.0+abc.7"}, {"1.0+5", "1.0.0+05"}, {"1.0+5.1"}, {"1.0+12"},
        {"1.0.post456.dev34"}, {"1.0.post456", "1.0-456", "1.0.r456", "1.0rev456"}, {"1.0.15"}, {"1.1.dev1"},
        {"1.1"}, {"1.2"}, {"1.10"}, {"2026.4.1"}, {"2026.10"}, {"1!0.1"},
    };
    for (size_t i = 0; i < PX_COUNT(table); i++)
        for (size_t j = 0; j < PX_COUNT(table); j++)
            for (size_t m = 0; m < 4 && table[i][m]; m++)
                for (size_t n = 0; n < 4 && table[j][n]; n++) {
                    const px_version a = read_version(table[i][m]), b = read_version(table[j][n]);
                    const int got = px_version_compare(&a, &b), want = (i > j) - (i < j);
                    if ((got > 0) - (got < 0) != want)
                        fail_msg("%s and %s: %d", table[i][m], table[j][n], got);
                }
}

static void what_is_no_version_is_refused(void **state)
{
    (void)state;
    static const char *const table[] = {"", "a", "1.", ".1", "1..2", "1.0x", "1.0+", "1.0+a..b", "1.0+a b", "1 ",
        "1!", "1.0a1b2", "1.0+a.", "1.0dev1dev2", "1234567890123456789", "1.2.3.4.5.6.7.8.9.10.11.12.13"};
    px_version version;
    for (size_t i = 0; i < PX_COUNT(table); i++)
        if (px_version_read(table[i], strlen(table[i]), &version)) fail_msg("%s is read", table[i]);
    assert_true(px_version_order("1.0", "latest") > 0);
    assert_true(px_version_order("", "0") < 0);
    assert_int_equal(px_version_order("", ""), 0);
}

static void final_versions_are_told_from_others(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_final;
    } table[] = {{"1.0", true}, {"1.0.post1", true}, {"1.0+cu12", true}, {"1.0rc1", false},
                 {"1.0.dev1", false}, {"1.0.post1.dev1", false}};
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        const px_version version = read_version(table[i].text);
        assert_int_equal(px_version_is_final(&version), table[i].is_final);
    }
}

static void requirements_are_met_as_pep_440_says(void **state)
{
    (void)state;
    static const struct {
        const char *version, *list;
        bool meets;
    } table[] = {
        {"1.32.0", ">=1.31.0", true}, {"1.30.9", ">=1.31.0", false}, {"1.31", ">=1.31.0", true},
        {"1.32.0", "", true}, {"1.32.0", ">= 1.31.0 , <2", true}, {"2.0", ">=1.31,<2", false},
        {"1.32.0", "==1.32.*", true}, {"1.33.0", "==1.32.*", false}, {"1.32.5", "!=1.32.*", false},
        {"1.32.0", "!=1.32.1", true}, {"1.32.0", "~=1.31", true}, {"2.0", "~=1.31", false},
        {"1.31.7", "~=1.31.2", true}, {"1.32.0", "~=1.31.2", false}, {"1.32.0", "~=1", false},
        {"1.32.0+cu12", "==1.32.0", true}, {"1.32.0", "==1.32.0+cu12", false}, {"1.32.0+cu12", "==1.32.0+cu12", true},
        {"2.0rc1", "<2", false}, {"2.0rc1", "<2.0rc2", true}, {"1.31.post1", ">1.31", false}, {"1.31.1", ">1.31", true},
        {"1.0", ">=", false}, {"1.0", "1.0", false}, {"1.0", "=1.0", false}, {"1.0", ">>1.0", false},
        {"1.0", ">=0.*", false}, {"1.0", "===1.0", true}, {"1.0", ">=x", false},
    };
    for (size_t i = 0; i < PX_COUNT(table); i++) {
        const px_version version = read_version(table[i].version);
        if (px_version_meets(&version, table[i].list) != table[i].meets)
            fail_msg("%s \"%s\" is not %d", table[i].version, table[i].list, table[i].meets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_ordered_as_pep_440_says),
        cmocka_unit_test(what_is_no_version_is_refused),
        cmocka_unit_test(final_versions_are_told_from_others),
        cmocka_unit_test(requirements_are_met_as_pep_440_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
