/* Cores as Linux describes them: a hybrid laptop, a server with two threads a core, a machine that says
 * nothing. */
#include "support.h"

#include "base/cores.h"
#include "base/os.h"

#include <sys/stat.h>

static void put(const char *root, int cpu, const char *directory, const char *name, const char *text)
{
    char path[TEST_PATH];
    test_path(path, "%s/cpu%d", root, cpu);
    mkdir(path, 0700);
    test_path(path, "%s/cpu%d/%s", root, cpu, directory);
    mkdir(path, 0700);
    test_write_text(path, name, text);
}

/* Hardware threads 2 * i and 2 * i + 1 share a core where `pairs`. */
static void put_cpu(const char *root, int cpu, bool pairs, const char *frequency)
{
    char siblings[TEST_PATH];
    if (pairs) test_path(siblings, "%d-%d\n", cpu / 2 * 2, cpu / 2 * 2 + 1);
    else test_path(siblings, "%d\n", cpu);
    put(root, cpu, "topology", "thread_siblings_list", siblings);
    if (frequency) put(root, cpu, "cpufreq", "cpuinfo_max_freq", frequency);
}

/* A Core Ultra 7 155H: six fast cores of two threads, two of them faster, eight of one, and two slow. */
static void hybrid(void **state)
{
    const char *root = *state;
    int cpus[22];
    px_core cores[22];
    for (int i = 0; i < 22; i++) {
        cpus[i] = i;
        put_cpu(root, i, i < 12, i / 2 == 2 || i / 2 == 3 ? "4800000\n"
                                 : i < 12                 ? "4500000\n"
                                 : i < 20                 ? "3800000\n"
                                                          : "2500000\n");
    }
    static const int order[] = {4, 6, 0, 2, 8, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21};
    assert_int_equal(px_cores_find(root, cpus, 22, cores), PX_COUNT(order));
    for (size_t i = 0; i < PX_COUNT(order); i++) assert_int_equal(cores[i].cpu, order[i]);
    assert_int_equal(cores[0].speed, 4800000);
    assert_int_equal(px_cores_fast(cores, PX_COUNT(order), 1), 14);
    assert_int_equal(px_cores_fast(cores, PX_COUNT(order), 12), 16);

    /* a capacity that is the same for all says nothing */
    for (int i = 0; i < 22; i++) put(root, i, ".", "cpu_capacity", "1024\n");
    assert_int_equal(px_cores_find(root, cpus, 22, cores), PX_COUNT(order));
    for (size_t i = 0; i < PX_COUNT(order); i++) assert_int_equal(cores[i].cpu, order[i]);
    assert_int_equal(px_cores_fast(cores, PX_COUNT(order), 1), 14);

    /* only second threads, and a slow core, may be used */
    static const int few[] = {1, 3, 21};
    assert_int_equal(px_cores_find(root, few, 3, cores), 3);
    assert_int_equal(cores[0].cpu, 1);
    assert_int_equal(cores[2].cpu, 21);
    assert_int_equal(px_cores_fast(cores, 3, 1), 2);

    /* capacities that differ are taken */
    put(root, 21, ".", "cpu_capacity", "1025\n");
    assert_int_equal(px_cores_find(root, few, 3, cores), 3);
    assert_int_equal(cores[0].cpu, 21);
    assert_int_equal(px_cores_fast(cores, 3, 1), 3);
}

static void server(void **state)
{
    const char *root = *state;
    static const int cpus[] = {0, 1, 2, 3, 6};
    px_core cores[5];
    for (int i = 0; i < 8; i++) put_cpu(root, i, true, NULL);
    put(root, 0, ".", "cpu_capacity", "1024\n");
    assert_int_equal(px_cores_find(root, cpus, 5, cores), 3);
    for (size_t i = 0; i < 3; i++) assert_int_equal(cores[i].cpu, cpus[2 * i]);
    assert_int_equal(px_cores_fast(cores, 3, 1), 3); /* one that tells its speed says nothing */
}

static void unknown(void **state)
{
    const char *root = *state;
    static const int cpus[] = {0, 1, 5};
    px_core cores[3];
    assert_int_equal(px_cores_find(root, cpus, 3, cores), 3);
    assert_int_equal(cores[2].cpu, 5);
    assert_int_equal(px_cores_fast(cores, 3, 2), 3);
    put(root, 1, "topology", "thread_siblings_list", "nothing\n");
    assert_int_equal(px_cores_find(root, cpus, 3, cores), 3);
}

static void this_machine(void **state)
{
    (void)state;
    int cpus[PX_MOST_CPUS];
    const size_t allowed = px_allowed_cpus(cpus, PX_MOST_CPUS);
    assert_true(allowed >= 1);
    for (size_t i = 1; i < allowed; i++) assert_true(cpus[i] > cpus[i - 1]);
    assert_in_range(px_core_count(), 1, allowed);
    assert_int_equal(px_allowed_cpus(cpus, 1), 1);
    px_keep_to_cpus(cpus, 1);
    assert_int_equal(px_allowed_cpus(cpus, PX_MOST_CPUS), 1);
    assert_int_equal(px_core_count(), 1);
    assert_int_equal(px_fast_cpus(1, cpus), 0);
}

static int set_up(void **state)
{
    char *const root = malloc(TEST_PATH);
    assert_non_null(root);
    test_directory(root);
    *state = root;
    return 0;
}

static int tear_down(void **state)
{
    test_remove(*state);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hybrid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(server, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown, set_up, tear_down),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
