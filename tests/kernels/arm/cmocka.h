/*
 * What check.h and the kernel tests use of cmocka, for the cross-compiled build, which has no
 * libraries for the other processor. A failure ends the program; everything else is as in cmocka.
 */
#ifndef PX_TESTS_KERNELS_ARM_CMOCKA_H
#define PX_TESTS_KERNELS_ARM_CMOCKA_H

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*function)(void **state);
};

static jmp_buf cmocka_skipped;

#define cmocka_unit_test(function) {#function, function}
#define skip() longjmp(cmocka_skipped, 1)
#define fail_msg(...)                                                                             \
    (printf("%s:%d: ", __FILE__, __LINE__), printf(__VA_ARGS__), puts(""), exit(1))

#define cmocka_expect(condition, text)                                                            \
    ((condition) ? (void)0 : (void)fail_msg("%s does not hold", text))
#define assert_true(value) cmocka_expect(value, #value)
#define assert_null(value) cmocka_expect((value) == NULL, #value " == NULL")
#define assert_non_null(value) cmocka_expect((value) != NULL, #value " != NULL")
#define assert_ptr_not_equal(a, b)                                                                \
    cmocka_expect((const void *)(a) != (const void *)(b), #a " != " #b)
#define assert_int_equal(a, b) cmocka_expect((uintmax_t)(a) == (uintmax_t)(b), #a " == " #b)
#define assert_string_equal(a, b) cmocka_expect(strcmp(a, b) == 0, #a " equals " #b)
#define assert_memory_equal(a, b, size)                                                           \
    cmocka_expect(memcmp(a, b, size) == 0, #a " and " #b " have the same bytes")

#define cmocka_run_group_tests(tests, setup, teardown)                                            \
    cmocka_run(tests, sizeof(tests) / sizeof((tests)[0]))

static inline const char *cmocka_run_one(const struct CMUnitTest *test)
{
    void *state = NULL;
    if (setjmp(cmocka_skipped) != 0) return "[  SKIPPED ]";
    test->function(&state);
    return "[       OK ]";
}

static inline int cmocka_run(const struct CMUnitTest *tests, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("[ RUN      ] %s\n", tests[i].name);
        fflush(stdout);
        printf("%s %s\n", cmocka_run_one(&tests[i]), tests[i].name);
    }
    puts("[  PASSED  ]");
    return 0;
}

#endif
