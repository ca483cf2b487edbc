/* phlox_compare against its definition in plain loops over the logits of sessions. */
#include "engine/family.h"

#include "api/compare.h"

/* ---- one position -------------------------------------------------------------------------- */

/* The distribution of logits, in the widest type there is. */
static void softmax(const float *logits, int32_t vocab, long double *p)
{
    long double sum = 0;
    for (int32_t i = 0; i < vocab; i++) sum += p[i] = expl((long double)logits[i]);
    for (int32_t i = 0; i < vocab; i++) p[i] /= sum;
}

static double definition(const float *a, const float *b, int32_t vocab, bool *same_top)
{
    long double p[256], q[256], kl = 0;
    assert_true(vocab <= 256);
    softmax(a, vocab, p);
    softmax(b, vocab, q);
    for (int32_t i = 0; i < vocab; i++) kl += p[i] * logl(p[i] / q[i]);
    int32_t first = 0, second = 0;
    for (int32_t i = 0; i < vocab; i++) {
        if (a[i] > a[first]) first = i;
        if (b[i] > b[second]) second = i;
    }
    *same_top = first == second;
    return (double)kl;
}

static void divergence(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (int trial = 0; trial < 200; trial++) {
        float a[256], b[256];
        const int32_t vocab = 1 + (int32_t)(test_random(&random) % 256);
        const float spread = (float)(trial % 20), apart = powf(10, (float)(trial % 9) - 7);
        for (int32_t i = 0; i < vocab; i++) {
            a[i] = spread * test_random_float(&random) - 3;
            b[i] = a[i] + apart * test_random_float(&random) + 7;
        }
        bool same;
        const double wanted = definition(a, b, vocab, &same);
        const px_divergence found = px_divergence_of(a, b, vocab);
        assert_true(fabs(found.kl - wanted) <= 1e-13 + 1e-12 * wanted);
        assert_int_equal(found.same_top, same);
    }
    /* Known values: p = (3/4, 1/4), q = (1/4, 3/4); both ways the divergence is ln(3) / 2. */
    const float three = logf(3), left[] = {three, 0}, right[] = {0, three}, even[] = {5, 5};
    assert_true(fabs(px_divergence_of(left, right, 2).kl - log(3) / 2) < 1e-7);
    /* ... and from an even q it is ln 2 - H(p), not what the other direction gives. */
    const double entropy = 0.75 * log(4.0 / 3) + 0.25 * log(4);
    assert_true(fabs(px_divergence_of(left, even, 2).kl - (log(2) - entropy)) < 1e-7);
    assert_true(fabs(px_divergence_of(even, left, 2).kl - 0.5 * log(4.0 / 3)) < 1e-7);
    assert_true(px_divergence_of(left, left, 2).kl == 0);
    /* Of equal logits the first counts. */
    assert_true(px_divergence_of(even, left, 2).same_top);
    assert_false(px_divergence_of(even, right, 2).same_top);
    /* Logits far beyond what exp() takes. */
    const float far[] = {3000, 0, -3000}, near[] = {2999, 0, -3000};
    assert_true(px_divergence_of(far, near, 3).kl == 0);
    assert_true(fabs(px_divergence_of(far, (float[]){0, 3000, 0}, 3).kl - 3000) < 1e-9);
}

static void percentile(void **state)
{
    (void)state;
    const double values[] = {1, 2, 4, 8, 16};
    assert_true(px_percentile(values, 5, 0) == 1 && px_percentile(values, 5, 1) == 16);
    assert_true(px_percentile(values, 5, 0.5) == 4 && px_percentile(values, 4, 0.5) == 3);
    assert_true(fabs(px_percentile(values, 5, 0.99) - 15.68) < 1e-12);
    assert_true(px_percentile(values, 1, 0.99) == 1);
}

/* ---- models -------------------------------------------------------------------------------- */

static phlox_compare_result compare(phlox_model *a, phlox_model *b, const int32_t *ids, size_t count)
{
    phlox_error error;
    phlox_compare_result result;
    MUST(phlox_compare(a, b, ids, count, NULL, NULL, &result, &error));
    return result;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Each window is one forward here; phlox_compare cuts it into pieces. */
static void check(phlox_model *a, phlox_model *b, const int32_t *ids, size_t count, size_t window)
{
    const size_t vocab = (size_t)family_vocab(a);
    double *const kl = calloc(count, sizeof *kl), sum = 0, nll[2] = {0};
    size_t agreed = 0, predicted = 0;
    assert_non_null(kl);
    for (size_t begin = 0; begin < count; begin += window) {
        const size_t size = PX_MIN(window, count - begin);
        float *const p = family_whole(a, ids + begin, size), *const q = family_whole(b, ids + begin, size);
        for (size_t i = 0; i < size; i++) {
            const float *const sides[] = {p + i * vocab, q + i * vocab};
            const px_divergence d = px_divergence_of(sides[0], sides[1], (int32_t)vocab);
            sum += kl[begin + i] = d.kl;
            agreed += d.same_top;
            if (i + 1 == size) continue;
            for (int side = 0; side < 2; side++) {
                long double total = 0;
                for (size_t v = 0; v < vocab; v++) total += expl((long double)sides[side][v]);
                nll[side] += (double)(logl(total) - (long double)sides[side][ids[begin + i + 1]]);
            }
            predicted++;
        }
        free(p);
        free(q);
    }
    qsort(kl, count, sizeof *kl, ascending);
    const phlox_compare_result r = compare(a, b, ids, count);
    assert_int_equal(r.positions, count);
    assert_int_equal(r.reference.tokens, predicted);
    assert_int_equal(r.candidate.tokens, predicted);
    assert_true(kl[count - 1] > 0 && r.kl_max == kl[count - 1]);
    assert_true(fabs(r.kl_mean - sum / (double)count) < 1e-12);
    assert_true(r.kl_median == px_percentile(kl, count, 0.5));
    assert_true(r.kl_p99 == px_percentile(kl, count, 0.99));
    assert_true(r.top1_agreement == (double)agreed / (double)count);
    assert_true(fabs(r.reference.mean_nll - nll[0] / (double)predicted) < 1e-9);
    assert_true(fabs(r.candidate.mean_nll - nll[1] / (double)predicted) < 1e-9);
    assert_true(fabs(r.candidate.perplexity - exp(nll[1] / (double)predicted)) < 1e-6);
    free(kl);
}

static void equals_definition(void **state)
{
    (void)state;
    phlox_model_options options = family_options(), int8 = family_options();
    int8.weight_format = PHLOX_WEIGHTS_INT8;
    options.context_size = 15; /* 40 ids are windows of 15, 15 and 10 */
    phlox_model *a = family_open(FAMILY "/phi3-mini-4k", &options);
    phlox_model *b = family_open(FAMILY "/phi3-mini-4k", &int8);
    test_npy ids = test_npy_open(FAMILY "/phi3-mini-4k/ids.npy");
    const size_t count = (size_t)ids.rows;
    check(a, b, ids.ints, count, 15);
    check(b, a, ids.ints, count, 15);
    check(a, b, ids.ints, 31, 15); /* a last window of one token */
    /* The reference comes first. */
    assert_true(compare(a, b, ids.ints, count).kl_mean != compare(b, a, ids.ints, count).kl_mean);
    /* A model is itself. */
    const phlox_compare_result same = compare(a, a, ids.ints, count);
    assert_true(same.kl_max == 0 && same.top1_agreement == 1);
    assert_true(same.reference.perplexity == same.candidate.perplexity);
    test_npy_close(&ids);
    phlox_model_close(&a);
    phlox_model_close(&b);
}

#ifdef PHLOX_HAS_BUILTIN
static void long_text(void **state)
{
    (void)state;
    static const char text[] = "phlox runs Phi-3 on your own computer. What is an NPU? ";
    phlox_model_options options = family_options(), int8 = family_options();
    int8.weight_format = PHLOX_WEIGHTS_INT8;
    phlox_model *a = family_open(NULL, &options), *b = family_open(NULL, &int8);
    char many[40 * sizeof text] = "";
    for (int i = 0; i < 40; i++) strcat(many, text);
    int32_t ids[2000];
    size_t count;
    phlox_error error;
    MUST(phlox_tokenize(a, phlox_text_of(many), 0, ids, 2000, &count, &error));
    assert_true(count > 600 && count < 1100); /* two windows of several pieces */
    const phlox_compare_result r = compare(a, b, ids, count);
    phlox_perplexity_result alone;
    MUST(phlox_perplexity(a, phlox_text_of(many), NULL, NULL, &alone, &error));
    assert_int_equal(alone.tokens, r.reference.tokens);
    assert_true(fabs(alone.mean_nll - r.reference.mean_nll) < 1e-9);
    MUST(phlox_perplexity(b, phlox_text_of(many), NULL, NULL, &alone, &error));
    assert_true(fabs(alone.mean_nll - r.candidate.mean_nll) < 1e-9);
    assert_true(r.positions == count && r.kl_mean > 0 && r.kl_mean < 0.1);
    assert_true(r.kl_median <= r.kl_p99 && r.kl_p99 <= r.kl_max);
    phlox_model_close(&a);
    phlox_model_close(&b);
}
#endif

/* ---- refused ------------------------------------------------------------------------------- */

static bool stop(void *user, const phlox_progress *progress)
{
    size_t *const calls = user;
    assert_true(progress->done <= progress->total);
    return ++*calls < 2;
}

static void refused(void **state)
{
    (void)state;
    phlox_model_options options = family_options();
    options.context_size = 8;
    phlox_model *a = family_open(FAMILY "/phi3-mini-4k", &options);
    phlox_model *b = family_open(FAMILY "/phi3-medium-4k", &options);
    options.context_size = 1;
    phlox_model *short_one = family_open(FAMILY "/phi3-mini-4k", &options);
    const int32_t ids[20] = {1, 2, 3}, outside[] = {1, 128};
    phlox_compare_result r = {.positions = 77};
    phlox_error error;
    size_t calls = 0;
    MUST_FAIL(phlox_compare(a, b, ids, 3, NULL, NULL, &r, &error), PHLOX_ERROR_ARGUMENT, "130");
    MUST_FAIL(phlox_compare(a, a, ids, 1, NULL, NULL, &r, &error), PHLOX_ERROR_ARGUMENT, "at least 2");
    MUST_FAIL(phlox_compare(a, short_one, ids, 3, NULL, NULL, &r, &error), PHLOX_ERROR_ARGUMENT,
              "context");
    MUST_FAIL(phlox_compare(a, a, outside, 2, NULL, NULL, &r, &error), PHLOX_ERROR_ARGUMENT, "128");
    MUST_FAIL(phlox_compare(a, a, ids, 20, stop, &calls, &r, &error), PHLOX_ERROR_CANCELLED, "");
    assert_int_equal(calls, 2);
    assert_int_equal(r.positions, 77);
    phlox_model_close(&a);
    phlox_model_close(&b);
    phlox_model_close(&short_one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(divergence),
        cmocka_unit_test(percentile),
        cmocka_unit_test(equals_definition),
#ifdef PHLOX_HAS_BUILTIN
        cmocka_unit_test(long_text),
#endif
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
