/*
 * Attention and its caches against the definition in double precision: every cache type, with and
 * without shared key-value heads and a window, at every instruction-set level. Each token's result has
 * the same bits however a sequence is cut into steps, and integer caches give those of the reference.
 */
#include "support.h"

#include "engine/attention.h"

#include "base/half.h"

enum { TOKENS = 150, MOST_HEADS = 12, MOST_DIM = 96 };

struct shape {
    int32_t heads, kv_heads, dim, rotary, window;
};

static const struct shape shapes[] = {
    {2, 2, 96, 96, 0},  {2, 2, 96, 96, 41}, {6, 2, 32, 24, 0}, {4, 1, 40, 40, 0},
    {12, 1, 16, 16, 67}, {3, 3, 20, 8, 100}, {2, 1, 64, 0, 1},
};

/* Tokens of a sequence before they are rotated: [TOKENS, (heads + 2 kv_heads) * dim]. */
struct input {
    px_desc desc;
    int64_t row;
    float *qkv, *cosine, *sine;
};

static struct input make_input(const struct shape *shape, bool outliers)
{
    struct input in = {.desc = {.num_attention_heads = shape->heads,
                                .num_key_value_heads = shape->kv_heads, .head_dim = shape->dim,
                                .rotary_dim = shape->rotary, .sliding_window = shape->window,
                                .num_hidden_layers = 2}};
    in.row = (int64_t)(shape->heads + 2 * shape->kv_heads) * shape->dim;
    in.qkv = px_calloc((size_t)(TOKENS * in.row), sizeof(float));
    in.cosine = px_calloc(TOKENS * MOST_DIM, sizeof(float));
    in.sine = px_calloc(TOKENS * MOST_DIM, sizeof(float));
    uint64_t random = (uint64_t)(shape->heads * 1000 + shape->dim);
    for (int64_t i = 0; i < TOKENS * in.row; i++) {
        in.qkv[i] = 2 * test_random_float(&random);
        if (outliers && i % in.row % shape->dim == 5) in.qkv[i] *= 20;
    }
    for (int64_t i = 0; i < TOKENS * (int64_t)(shape->rotary / 2); i++) {
        const double angle = 3.2 * (double)test_random_float(&random);
        in.cosine[i] = (float)cos(angle);
        in.sine[i] = (float)sin(angle);
    }
    return in;
}

static void free_input(struct input *in)
{
    free(in->qkv);
    free(in->cosine);
    free(in->sine);
}

static double rotated(const struct input *in, int64_t token, const float *head, int64_t i)
{
    const int64_t half = in->desc.rotary_dim / 2;
    if (i >= 2 * half) return (double)head[i];
    const double c = (double)in->cosine[token * half + i % half];
    const double s = (double)in->sine[token * half + i % half];
    return i < half ? (double)head[i] * c - (double)head[i + half] * s
                    : (double)head[i] * c + (double)head[i - half] * s;
}

/* [TOKENS, heads * dim] */
static double *define(const struct input *in)
{
    const px_desc *const d = &in->desc;
    const int64_t dim = d->head_dim, heads = d->num_attention_heads, kv = d->num_key_value_heads;
    double *const out = calloc((size_t)(TOKENS * heads * dim), sizeof *out);
    for (int64_t t = 0; t < TOKENS; t++) {
        for (int64_t h = 0; h < heads; h++) {
            const int64_t shared = h / (heads / kv);
            double score[TOKENS], most = -INFINITY, sum = 0;
            const int64_t first = d->sliding_window && t + 1 > d->sliding_window
                                      ? t + 1 - d->sliding_window : 0;
            for (int64_t j = first; j <= t; j++) {
                score[j] = 0;
                for (int64_t i = 0; i < dim; i++)
                    score[j] += rotated(in, t, in->qkv + t * in->row + h * dim, i) *
                                rotated(in, j, in->qkv + j * in->row + (heads + shared) * dim, i);
                score[j] /= sqrt((double)dim);
                most = fmax(most, score[j]);
            }
            for (int64_t j = first; j <= t; j++) sum += score[j] = exp(score[j] - most);
            for (int64_t j = first; j <= t; j++)
                for (int64_t i = 0; i < dim; i++)
                    out[(t * heads + h) * dim + i] +=
                        score[j] / sum *
                        (double)in->qkv[j * in->row + (heads + kv + shared) * dim + i];
        }
    }
    return out;
}

/* Runs layer 1 in steps of the given sizes, in turn, beside a second sequence of other tokens. */
static float *compute(const struct input *in, const px_kernels *kernels, px_pool *pool,
                      px_cache_type type, const int *sizes, size_t count, bool forget)
{
    const px_desc *const d = &in->desc;
    const int64_t width = (int64_t)d->num_attention_heads * d->head_dim;
    const int64_t half = d->rotary_dim / 2;
    phlox_error error;
    px_kv_cache cache, other;
    px_kv_init(&cache, d, type);
    px_kv_init(&other, d, type);
    px_attention *attention = NULL;
    float *const out = calloc((size_t)(TOKENS * width), sizeof *out);
    float *const qkv = calloc((size_t)((TOKENS + 3) * in->row), sizeof *qkv);
    float *const rotation = calloc((size_t)((TOKENS + 3) * 2 * (half + 1)), sizeof *rotation);
    float *const mixed = calloc((size_t)((TOKENS + 3) * width), sizeof *mixed);
    size_t beside = 0;
    for (int64_t done = 0, n, step = 0; done < TOKENS; done += n, step++) {
        n = PX_MIN(sizes[(size_t)step % count], TOKENS - done);
        px_step_token tokens[TOKENS + 3];
        const int64_t extra = count > 1 ? step % 4 : 0;
        float *const cosine = rotation, *const sine = rotation + (TOKENS + 3) * half;
        for (int64_t i = 0; i < n + extra; i++) {
            const bool own = i < n;
            const int64_t from = own ? done + i : TOKENS - 1 - i % TOKENS;
            tokens[i] = (px_step_token){.position = own ? (size_t)(done + i) : beside++,
                                        .cache = own ? &cache : &other};
            memcpy(qkv + i * in->row, in->qkv + from * in->row, (size_t)in->row * sizeof *qkv);
            memcpy(cosine + i * half, in->cosine + from * half, (size_t)half * sizeof *cosine);
            memcpy(sine + i * half, in->sine + from * half, (size_t)half * sizeof *sine);
        }
        MUST(px_kv_reserve(&cache, (size_t)(done + n), &error));
        MUST(px_kv_reserve(&other, beside, &error));
        MUST(px_attention_plan(&attention, d, kernels, pool, tokens, n + extra, &error));
        px_attention_run(attention, 1, qkv, cosine, sine, mixed);
        memcpy(out + done * width, mixed, (size_t)(n * width) * sizeof *out);
        if (forget && d->sliding_window && done + n > d->sliding_window)
            px_kv_forget(&cache, (size_t)(done + n - d->sliding_window));
    }
    if (forget && d->sliding_window && d->sliding_window < TOKENS - PX_KV_BLOCK) {
        assert_true(cache.forgotten > 0);
        assert_int_equal(px_kv_bytes(&cache), (cache.block_count - cache.forgotten) * cache.block_bytes);
    }
    px_attention_free(attention);
    px_kv_free(&cache);
    px_kv_free(&other);
    free(qkv);
    free(rotation);
    free(mixed);
    return out;
}

/* Root of the mean squared error over that of the values. */
static double relative_error(const double *expected, const float *got, int64_t count)
{
    double error = 0, square = 0;
    for (int64_t i = 0; i < count; i++) {
        error += ((double)got[i] - expected[i]) * ((double)got[i] - expected[i]);
        square += expected[i] * expected[i];
    }
    return sqrt(error / square);
}

static const uint64_t levels[] = {
    0, PHLOX_CPU_AVX2, PHLOX_CPU_AVX2 | PHLOX_CPU_AVX_VNNI,
    PHLOX_CPU_AVX2 | PHLOX_CPU_AVX512 | PHLOX_CPU_AVX512_VNNI,
};

/* The functions around the integer products differ in the last bits between levels (exp). */
static void check_type(const struct input *in, const double *expected, px_cache_type type,
                       double bound, px_pool *pool)
{
    static const int whole[] = {TOKENS}, ones[] = {1}, mixed[] = {3, 1, 8, 2, 13, 5, 64, 7, 4, 6};
    const int64_t count = TOKENS * (int64_t)in->desc.num_attention_heads * in->desc.head_dim;
    for (size_t level = 0; level < PX_COUNT(levels); level++) {
        if ((px_cpu_features() & levels[level]) != levels[level]) continue;
        px_kernels kernels;
        px_kernels_init(&kernels, levels[level]);
        float *const at_once = compute(in, &kernels, pool, type, whole, 1, false);
        float *const single = compute(in, &kernels, pool, type, ones, 1, true);
        float *const cut = compute(in, &kernels, pool, type, mixed, PX_COUNT(mixed), true);
        assert_memory_equal(at_once, single, (size_t)count * sizeof *at_once);
        assert_memory_equal(at_once, cut, (size_t)count * sizeof *at_once);
        const double error = relative_error(expected, at_once, count);
        if (!(error < bound))
            fail_msg("%s, cache type %d, %d heads of %d: relative error %g, at most %g expected",
                     kernels.name, (int)type, in->desc.num_attention_heads, in->desc.head_dim,
                     error, bound);
        free(at_once);
        free(single);
        free(cut);
    }
}

static void run_shapes(bool outliers)
{
    /* f32, f16, i8, i4 */
    static const double plain[] = {1e-6, 6e-4, 0.01, 0.2}, rough[] = {5e-6, 8e-3, 0.06, 0.55};
    phlox_error error;
    px_pool *pool;
    MUST(px_pool_create(3, &pool, &error));
    for (size_t i = 0; i < PX_COUNT(shapes); i++) {
        struct input in = make_input(&shapes[i], outliers);
        double *const expected = define(&in);
        for (int type = 0; type < PX_CACHE_TYPES; type++)
            check_type(&in, expected, (px_cache_type)type, (outliers ? rough : plain)[type], pool);
        free(expected);
        free_input(&in);
    }
    px_pool_free(pool);
}

static void plain_values(void **state)
{
    (void)state;
    run_shapes(false);
}

static void outlier_dimensions(void **state)
{
    (void)state;
    run_shapes(true);
}

/* A value that is not finite shows wherever it is seen, and nowhere once it is cut away. */
static void not_finite(void **state)
{
    (void)state;
    phlox_error error;
    px_pool *pool;
    MUST(px_pool_create(1, &pool, &error));
    struct input in = make_input(&shapes[0], false);
    px_kernels kernels;
    px_kernels_init(&kernels, px_cpu_features());
    for (int type = PX_CACHE_I8; type < PX_CACHE_TYPES; type++) {
        px_kv_cache cache;
        px_kv_init(&cache, &in.desc, (px_cache_type)type);
        px_attention *attention = NULL;
        float out[2 * MOST_DIM];
        MUST(px_kv_reserve(&cache, 3, &error));
        for (size_t position = 0; position < 3; position++) {
            float qkv[6 * MOST_DIM];
            memcpy(qkv, in.qkv, sizeof qkv);
            if (position == 1) qkv[5 * MOST_DIM + 7] = NAN; /* a value of the second head */
            const px_step_token token = {.position = position == 2 ? 1 : position, .cache = &cache};
            if (position == 2) px_kv_truncate(&cache, 1);
            MUST(px_attention_plan(&attention, &in.desc, &kernels, pool, &token, 1, &error));
            px_attention_run(attention, 0, qkv, in.cosine, in.sine, out);
            assert_true(isfinite(out[0]));
            assert_int_equal(isnan(out[MOST_DIM + 7]), position == 1);
        }
        px_attention_free(attention);
        px_kv_free(&cache);
    }
    free_input(&in);
    px_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_values),
        cmocka_unit_test(outlier_dimensions),
        cmocka_unit_test(not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
