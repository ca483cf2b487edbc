/* The text of /proc/PID/fdinfo, by the keys and units of Documentation/gpu/drm-usage-stats.rst. */
#include "device/sysfs.h"

#include "device/meter/fdinfo.h"

static bool parse(const char *text, px_fdinfo_client *out)
{
    /* Memory of exactly its size, so that reading past the end is noticed. */
    const size_t length = strlen(text);
    char *const copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    const bool good = px_fdinfo_parse(copy, length, out);
    free(copy);
    return good;
}

static void whole_client(void **state)
{
    (void)state;
    px_fdinfo_client client;
    assert_true(parse("pos:\t0\ndrm-driver:\ti915\ndrm-pdev:\t0000:00:02.0\ndrm-client-id:\t 42 \n"
                      "drm-engine-render:\t9288864723 ns\ndrm-engine-capacity-video:\t2\n"
                      "drm-engine-video:\t20 ns\ndrm-cycles-rcs: 5\ndrm-total-cycles-rcs: 9\n"
                      "drm-maxfreq-rcs: 2000 MHz\n"
                      "drm-total-vram0:\t10 MiB\ndrm-resident-vram0:\t7 KiB\ndrm-memory-gtt: 9\n"
                      "drm-resident-stolen:\t3 KiB\ndrm-total-stolen:\t4 KiB\n",
                      &client));
    assert_string_equal(client.driver, "i915");
    assert_string_equal(client.pci, "0000:00:02.0");
    assert_int_equal(client.id, 42);
    assert_int_equal(client.engine_count, 3);
    assert_string_equal(client.engines[0].name, "render");
    assert_true(client.engines[0].has_busy && !client.engines[0].has_cycles);
    assert_true(client.engines[0].busy == UINT64_C(9288864723));
    assert_int_equal(client.engines[1].capacity, 2);
    assert_int_equal(client.engines[1].busy, 20);
    assert_true(client.engines[2].has_cycles && client.engines[2].has_total);
    assert_int_equal(client.engines[2].cycles, 5);
    assert_int_equal(client.engines[2].total, 9);
    assert_int_equal(client.region_count, 3);
    assert_int_equal(client.regions[0].bytes, 7 * 1024); /* resident counts, whatever the order */
    assert_int_equal(client.regions[1].bytes, 9);
    assert_int_equal(client.regions[2].bytes, 3 * 1024);
}

static void no_client(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "\n", "pos:\t0\nflags:\t02\n", "drm-driver:\txe\n", "drm-client-id:\t1\n",
        "drm-driver:\txe\ndrm-client-id:\t1", /* the second line is not whole */
        "drm-driver:\t\ndrm-client-id:\t1\n", "drm-driver:\txe\ndrm-client-id:\t-1\n",
        "drm-driver:\txe\ndrm-client-id:\t99999999999999999999\n",
        "drm-driver:\tanamethatislongerthanthefieldforit\ndrm-client-id:\t1\n",
    };
    px_fdinfo_client client;
    for (size_t i = 0; i < PX_COUNT(texts); i++) assert_false(parse(texts[i], &client));
}

/* A value that is none, or has another unit, is not there. */
static void odd_values(void **state)
{
    (void)state;
    px_fdinfo_client client;
    assert_true(parse("drm-driver:\txe\ndrm-client-id:\t18446744073709551615\n"
                      "drm-engine-a:\t5\ndrm-engine-b:\t5 us\ndrm-engine-c:\tns\ndrm-engine-d:\t-5 ns\n"
                      "drm-engine-:\t5 ns\ndrm-engine-capacity-e:\t0\n"
                      "drm-resident-a:\t5 GiB\ndrm-resident-b:\t18446744073709551615 KiB\n"
                      "drm-resident-c:\t\ndrm-resident-:\t5\n",
                      &client));
    assert_true(client.id == UINT64_MAX);
    for (size_t i = 0; i < client.engine_count; i++) assert_false(client.engines[i].has_busy);
    assert_int_equal(client.engines[client.engine_count - 1].capacity, 1);
    assert_int_equal(client.region_count, 0);
}

static void more_than_fits(void **state)
{
    (void)state;
    char text[20000];
    size_t used = (size_t)snprintf(text, sizeof text, "drm-driver:\txe\ndrm-client-id:\t1\n");
    for (int i = 0; i < 200; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "drm-engine-e%d:\t%d ns\ndrm-resident-r%d:\t%d\n", i, i, i, i);
    px_fdinfo_client client;
    assert_true(parse(text, &client));
    assert_int_equal(client.engine_count, PX_FDINFO_ENGINES);
    assert_int_equal(client.region_count, PX_FDINFO_REGIONS);
    assert_int_equal(client.engines[15].busy, 15);
}

/* ---- clients of a machine ---------------------------------------------------------------------- */

static const char pci[] = "0000:00:02.0";

static void write_client(const char *root, int pid, int descriptor, int id, int busy)
{
    char path[TEST_PATH], text[256];
    sysfs_link(root, test_path(path, "proc/%d/fd/%d", pid, descriptor), "/dev/dri/renderD128");
    snprintf(text, sizeof text, "drm-driver:\ti915\ndrm-client-id:\t%d\ndrm-pdev:\t%s\n"
             "drm-engine-render:\t%d ns", id, pci, busy);
    sysfs_write(root, test_path(path, "proc/%d/fdinfo/%d", pid, descriptor), text);
}

static double busy_of(const px_fdinfo *fdinfo)
{
    return px_fdinfo_of(fdinfo, pci).utilisation;
}

/* New ones are found after five seconds, and count from their second sample on; the gone are forgotten. */
static void clients_come_and_go(void **state)
{
    const char *const root = *state;
    px_fdinfo *fdinfo = NULL;
    phlox_error error;
    MUST(px_fdinfo_open(root, 0, &fdinfo, &error));
    px_fdinfo_sample(fdinfo, 1);
    assert_true(isnan(busy_of(fdinfo)) && !px_fdinfo_of(fdinfo, pci).has_clients);
    write_client(root, 7, 3, 1, 1000);
    px_fdinfo_sample(fdinfo, 2);
    assert_true(isnan(busy_of(fdinfo)));
    px_fdinfo_sample(fdinfo, 6);
    assert_true(isnan(busy_of(fdinfo)) && px_fdinfo_of(fdinfo, pci).has_clients);
    write_client(root, 7, 3, 1, 250001000);
    px_fdinfo_sample(fdinfo, 7);
    assert_true(fabs(busy_of(fdinfo) - 0.25) < 1e-9);
    sysfs_remove(root, "proc/7");
    px_fdinfo_sample(fdinfo, 8);
    assert_true(busy_of(fdinfo) == 0);
    /* The same process with another client in the same file. */
    write_client(root, 7, 3, 2, 500000000);
    px_fdinfo_sample(fdinfo, 9);
    assert_true(isnan(busy_of(fdinfo)));
    assert_true(isnan(px_fdinfo_of(fdinfo, "0000:03:00.0").utilisation));
    px_fdinfo_close(fdinfo);
    px_fdinfo_close(NULL);
}

/* Beyond the tables' ends the rest is left out. */
static void thousands_of_clients(void **state)
{
    const char *const root = *state;
    for (int i = 0; i < 1200; i++) write_client(root, 1 + i / 100, i % 100, i, 0);
    px_fdinfo *fdinfo = NULL;
    phlox_error error;
    MUST(px_fdinfo_open(root, 0, &fdinfo, &error));
    px_fdinfo_sample(fdinfo, 1);
    px_fdinfo_sample(fdinfo, 2);
    assert_true(busy_of(fdinfo) == 0);
    px_fdinfo_close(fdinfo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_client),  cmocka_unit_test(no_client),      cmocka_unit_test(odd_values),
        cmocka_unit_test(more_than_fits), SYSFS_TEST(clients_come_and_go), SYSFS_TEST(thousands_of_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
