/* What the units did over a span, over recorded trees and on this machine; time to the first token. */
#include "device/sysfs.h"

static phlox_meter *open_meter(const char *root)
{
    phlox_meter *meter = NULL;
    phlox_error error;
    MUST(phlox_meter_open(root, 0, &meter, &error));
    return meter;
}

static void wait_for_samples(void)
{
    for (const double end = px_seconds() + 0.35; px_seconds() < end;) px_yield();
}

/* Ends a span in which the recording went from its first step to its second, and energy before it. */
static void play_span(const char *root, const char *recording, phlox_usage_report *report)
{
    phlox_usage *usage = NULL;
    phlox_error error;
    sysfs_play(root, recording, 0);
    phlox_meter *meter = open_meter(root);
    sysfs_write(root, "sys/class/powercap/intel-rapl:0/energy_uj", "262143200000");
    MUST(phlox_usage_begin(meter, &usage, &error));
    sysfs_play(root, recording, 1);
    wait_for_samples();
    phlox_usage_end(&usage, report);
    assert_null(usage);
    phlox_meter_close(&meter);
}

/* Energy counts once: that of a processor's GPU and NPU is inside the package's. Of the CPU's, 0.2 J were
 * before the span. */
static void energy_of_a_span(void **state)
{
    const char *const root = *state;
    phlox_usage_report report;
    play_span(root, "arc", &report);
    assert_int_equal(report.count, 3);
    assert_true(report.seconds > 0.3);
    assert_true(fabs(report.units[0].joules - 119.8) < 1e-6);
    assert_true(fabs(report.units[1].joules - 3) < 1e-6);
    assert_true(fabs(report.units[2].joules - 280) < 1e-6);
    assert_true(fabs(report.joules - 399.8) < 1e-6);
    assert_true(fabs(report.watts * report.seconds - 399.8) < 1e-3);
    assert_string_equal(report.measured, "CPU, GPU.1");
    /* Ticks passed in one of the samples only, and what is unknown does not lower the mean. */
    assert_true(fabs(report.units[0].utilisation - 0.5) < 1e-6);
    assert_true(report.units[2].utilisation > 0 && report.units[2].utilisation < 0.5 + 1e-9);
    assert_true(report.units[2].clock > 0 && report.units[2].clock < 1950e6 + 1);
    assert_true(report.units[2].memory_used == 7000000.0 * 1024);
}

/* The NPU is read at both ends, however short the span. */
static void npu_of_a_short_span(void **state)
{
    const char *const root = *state;
    phlox_usage *usage = NULL;
    phlox_usage_report report;
    phlox_error error;
    sysfs_play(root, "meteor-lake-6.15", 0);
    phlox_meter *meter = open_meter(root);
    size_t count;
    phlox_meter_sample(meter, &count);
    phlox_meter_sample(meter, &count);
    MUST(phlox_usage_begin(meter, &usage, &error));
    const double start = px_seconds();
    sysfs_write(root, "sys/devices/pci0000:00/0000:00:0b.0/npu_busy_time_us", "123457789"); /* 1 ms more */
    while (px_seconds() < start + 0.002) px_yield();
    phlox_usage_end(&usage, &report);
    const phlox_unit_reading *const npu = &report.units[2];
    assert_string_equal(npu->name, "NPU");
    assert_true(npu->busy_seconds > 0 && npu->busy_seconds < 0.00101);
    assert_true(npu->utilisation > 0 && npu->utilisation <= 0.55);
    phlox_meter_close(&meter);
}

static void nothing_measured(void **state)
{
    phlox_usage *usage = NULL;
    phlox_usage_report report;
    phlox_error error;
    phlox_meter *meter = open_meter(*state);
    MUST(phlox_usage_begin(meter, &usage, &error));
    phlox_usage_end(&usage, &report);
    assert_int_equal(report.count, 0);
    assert_true(isnan(report.joules) && isnan(report.watts));
    assert_string_equal(report.measured, "");
    MUST(phlox_usage_begin(meter, &usage, &error));
    phlox_usage_end(&usage, NULL);
    phlox_usage_end(&usage, NULL);
    phlox_usage_end(NULL, &report);
    phlox_meter_close(&meter);
}

static void this_machine(void **state)
{
    (void)state;
    if (!px_is_file("/proc/stat")) skip();
    phlox_usage *usage = NULL;
    phlox_usage_report report;
    phlox_error error;
    MUST(phlox_usage_begin(NULL, &usage, &error));
    wait_for_samples();
    phlox_usage_end(&usage, &report);
    assert_true(report.count >= 1);
    assert_true(report.units[0].utilisation > 0 && report.units[0].utilisation <= 1);
    assert_true(report.units[0].measured_seconds <= report.seconds + 1e-6);
}

static bool keep_first(void *user, const phlox_piece *piece)
{
    (void)piece;
    double *const first = user;
    if (*first == 0) *first = px_seconds();
    return true;
}

/* From the beginning of the append, the prefill in it, to the first piece. */
static void first_token(void **state)
{
    (void)state;
#ifndef PHLOX_HAS_BUILTIN
    skip();
#endif
    phlox_model *model = NULL;
    phlox_session *session = NULL;
    phlox_model_options options;
    phlox_generate_options generate;
    phlox_statistics statistics;
    phlox_error error;
    phlox_model_options_init(&options);
    options.device = "cpu";
    MUST(phlox_model_open(NULL, &options, &model, &error));
    MUST(phlox_session_create(model, &session, &error));
    phlox_session_statistics(session, &statistics);
    assert_true(statistics.first_token_seconds == 0);
    phlox_generate_options_init(&generate, model);
    generate.max_new_tokens = 3;
    generate.ignore_eos = true;
    const int32_t ids[] = {5, 6, 7, 8, 9, 10};
    for (int round = 0; round < 2; round++) {
        double first = 0;
        const double start = px_seconds();
        MUST(phlox_session_append(session, ids, PX_COUNT(ids), NULL, NULL, NULL, &error));
        MUST(phlox_session_generate(session, &generate, keep_first, &first, NULL, &error));
        phlox_session_statistics(session, &statistics);
        assert_true(statistics.first_token_seconds > 0);
        assert_true(statistics.first_token_seconds <= first - start);
        if (!round) assert_true(statistics.first_token_seconds >= statistics.prefill_seconds);
    }
    /* Going on without a new prompt counts from the call. */
    double first = 0;
    const double start = px_seconds();
    MUST(phlox_session_generate(session, &generate, keep_first, &first, NULL, &error));
    phlox_session_statistics(session, &statistics);
    assert_true(statistics.first_token_seconds > 0 && statistics.first_token_seconds <= first - start);
    phlox_session_close(&session);
    phlox_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYSFS_TEST(energy_of_a_span), SYSFS_TEST(npu_of_a_short_span), SYSFS_TEST(nothing_measured),
        cmocka_unit_test(this_machine), cmocka_unit_test(first_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
