/* The functions of one vector and of the attention. */
#include "kernels/check.h"

#include "base/half.h"

/* Sizes that the model has (96, 128, 3072, 8192) and ones that fit nothing. */
static const int64_t sizes[] = {1,  2,  7,   8,   9,   15,  16,  31,  32,   33,  48,
                                64, 96, 100, 128, 255, 256, 301, 512, 3072, 8192};

static const double tiny = (double)FLT_MIN;

static double *allocate(size_t count)
{
    double *memory = px_calloc(count, sizeof *memory);
    assert_non_null(memory);
    return memory;
}

static check_memory random_input(int64_t count, check_data kind, uint64_t *state)
{
    float *values = px_calloc((size_t)count, sizeof *values);
    assert_non_null(values);
    check_fill(kind, state, (size_t)count, values);
    const check_memory m = check_input(values, (size_t)count * sizeof *values, 0);
    free(values);
    return m;
}

/* ---- functions of vectors ------------------------------------------------------------------ */

/* What a call of any of them takes; in place where the output starts as x. */
typedef struct vectors {
    int64_t n;
    const float *x, *y, *z;
    bool in_place;
} vectors;

typedef void define_fn(const vectors *v, double *expected, double *tolerance);

/* Checks a function into another vector or, with in_place, over x. */
static void run_vectors(const char *name, check_call *call, define_fn *define, const vectors *v,
                        double bytes)
{
    double *expected = allocate((size_t)v->n), *tolerance = allocate((size_t)v->n);
    define(v, expected, tolerance);
    check_case c = {.call = call,
                    .arguments = v,
                    .out_count = (size_t)v->n,
                    .initial = v->in_place ? v->x : NULL,
                    .expected = expected,
                    .tolerance = tolerance,
                    .bytes = bytes * (double)v->n};
    snprintf(c.name, sizeof c.name, "%s %" PRId64 "%s", name, v->n, v->in_place ? " in place" : "");
    check_run(&c);
    free(expected);
    free(tolerance);
}

/* Every size and kind of data, into another vector (unless `only_in_place`) and in place. */
static void run_all(const char *name, check_call *call, define_fn *define, bool only_in_place,
                    double bytes)
{
    uint64_t state = 23;
    for (size_t i = 0; i < PX_COUNT(sizes); i++)
        for (int kind = 0; kind < DATA_KINDS; kind++)
            for (int in_place = only_in_place; in_place < 2; in_place++) {
                if (options.bench && (sizes[i] != 8192 || kind > 0)) continue;
                check_memory x = random_input(sizes[i], (check_data)kind, &state);
                check_memory y = random_input(sizes[i], DATA_NORMAL, &state);
                const vectors v = {sizes[i], x.data, y.data, NULL, in_place != 0};
                run_vectors(name, call, define, &v, bytes);
                check_memory_free(&x);
                check_memory_free(&y);
            }
}

static void call_rms_norm(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const vectors *v = c->arguments;
    (void)parts;
    if (part == 0) k->rms_norm(v->in_place ? out : v->x, v->y, v->n, 1e-5f, out);
}

static void define_rms_norm(const vectors *v, double *expected, double *tolerance)
{
    double sum = 0;
    for (int64_t i = 0; i < v->n; i++) sum += (double)v->x[i] * (double)v->x[i];
    const double inverse = 1 / sqrt(sum / (double)v->n + (double)1e-5f);
    for (int64_t i = 0; i < v->n; i++) {
        expected[i] = (double)v->x[i] * inverse * (double)v->y[i];
        tolerance[i] = fabs(expected[i]) * 1e-6 + tiny;
    }
}

static void test_rms_norm(void **unused)
{
    (void)unused;
    run_all("rms_norm", call_rms_norm, define_rms_norm, false, 12);
}

static void call_swiglu(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const vectors *v = c->arguments;
    (void)parts;
    if (part == 0) k->swiglu(v->in_place ? out : v->x, v->y, v->n, out);
}

static void define_swiglu(const vectors *v, double *expected, double *tolerance)
{
    for (int64_t i = 0; i < v->n; i++) {
        const double x = (double)v->x[i];
        expected[i] = x / (1 + exp(-x)) * (double)v->y[i];
        /* exp(-x) beyond float32 is infinite, and x / infinity zero */
        tolerance[i] = x < -88 ? 1e-35 : fabs(expected[i]) * 1e-6 + tiny;
    }
}

static void test_swiglu(void **unused)
{
    (void)unused;
    run_all("swiglu", call_swiglu, define_swiglu, false, 12);
}

static void call_softmax(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const vectors *v = c->arguments;
    (void)parts;
    if (part == 0) k->softmax(out, v->n);
}

static void define_softmax(const vectors *v, double *expected, double *tolerance)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < v->n; i++) largest = fmax(largest, (double)v->x[i]);
    for (int64_t i = 0; i < v->n; i++) sum += exp((double)v->x[i] - largest);
    for (int64_t i = 0; i < v->n; i++) {
        /* the difference is rounded to float32 before the exponential */
        const double difference = (double)v->x[i] - largest;
        expected[i] = exp(difference) / sum;
        tolerance[i] = expected[i] * (2e-6 + fabs(difference) * 0x1p-24) + tiny;
    }
}

static void test_softmax(void **unused)
{
    (void)unused;
    run_all("softmax", call_softmax, define_softmax, true, 8);
}

/* Masked scores and very different ones. */
static void test_softmax_extremes(void **unused)
{
    (void)unused;
    if (options.bench) return;
    for (size_t level = 0; level < PX_COUNT(check_levels); level++) {
        px_kernels k;
        if (!check_table(level, &k)) continue;
        float x[11] = {1e30f, -INFINITY, 1e30f, -1e30f, 0, 1, -INFINITY, 3, 1e30f, -5, 1e30f};
        k.softmax(x, 11);
        for (int i = 0; i < 11; i++)
            assert_true(x[i] == (i == 0 || i == 2 || i == 8 || i == 10 ? 0.25f : 0.0f));
        float one = -1e9f;
        k.softmax(&one, 1);
        assert_true(one == 1.0f);
        float y[3] = {1, NAN, 2};
        k.softmax(y, 3);
        for (int i = 0; i < 3; i++) assert_true(isnan(y[i]));
    }
}

/* exp over the whole range of float32, through swiglu: silu(x) = x / (1 + exp(-x)). */
static void test_swiglu_range(void **unused)
{
    (void)unused;
    if (options.bench) return;
    enum { COUNT = 4096 };
    static float x[COUNT], ones[COUNT];
    for (int round = 0; round < (options.quick ? 2 : 40); round++) {
        for (int i = 0; i < COUNT; i++) {
            x[i] = -110.0f + (float)(i * 40 + round) * (220.0f / (COUNT * 40));
            ones[i] = 1.0f;
        }
        const vectors v = {COUNT, x, ones, NULL, false};
        run_vectors("swiglu range", call_swiglu, define_swiglu, &v, 12);
    }
}

static void call_add(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const vectors *v = c->arguments;
    (void)parts;
    if (part == 0) k->add(out, v->y, v->n);
}

static void define_add(const vectors *v, double *expected, double *tolerance)
{
    for (int64_t i = 0; i < v->n; i++) {
        expected[i] = (double)(v->x[i] + v->y[i]);
        tolerance[i] = 0;
    }
}

static void test_add(void **unused)
{
    (void)unused;
    run_all("add", call_add, define_add, true, 12);
}

static void call_rope(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const vectors *v = c->arguments;
    (void)parts;
    if (part == 0) k->rope(out, v->y, v->z, v->n);
}

static void define_rope(const vectors *v, double *expected, double *tolerance)
{
    const int64_t half = v->n / 2;
    for (int64_t i = 0; i < half; i++) {
        const double a = (double)v->x[i], b = (double)v->x[half + i];
        const double cosine = (double)v->y[i], sine = (double)v->z[i];
        expected[i] = a * cosine - b * sine;
        expected[half + i] = b * cosine + a * sine;
        tolerance[i] = tolerance[half + i] = (fabs(a) + fabs(b)) * 2e-7 + tiny;
    }
}

static void test_rope(void **unused)
{
    (void)unused;
    uint64_t state = 29;
    for (int64_t dim = 2; dim <= 256; dim += dim < 40 ? 2 : 24) {
        if (options.bench && dim != 88) continue;
        check_memory x = random_input(dim, DATA_NORMAL, &state);
        check_memory y = random_input(dim / 2, DATA_NORMAL, &state);
        check_memory z = random_input(dim / 2, DATA_NORMAL, &state);
        const vectors v = {dim, x.data, y.data, z.data, true};
        run_vectors("rope", call_rope, define_rope, &v, 12);
        check_memory_free(&x);
        check_memory_free(&y);
        check_memory_free(&z);
    }
}

/* ---- quantize ------------------------------------------------------------------------------ */

static float *allocate_floats(size_t count)
{
    float *memory = px_calloc(count, sizeof *memory);
    assert_non_null(memory);
    return memory;
}

/* Quantizes as one token of a tile, whose other tokens must stay as they are. out: integers, scales,
 * sums. */
static void quantize_in_tile(const px_kernels *k, const vectors *v, int token, int tokens, float *out)
{
    const size_t blocks = (size_t)(v->n + 31) / 32, all = blocks * (size_t)tokens;
    check_memory memory[] = {check_memory_new(all * 32, 0), check_memory_new(all * 4, 0),
                             check_memory_new(all * 4, 0)};
    for (size_t i = 0; i < 3; i++) memset(memory[i].data, CANARY, memory[i].size);
    k->quantize(v->x, v->n, token, tokens, memory[0].data, memory[1].data, memory[2].data);
    for (size_t i = 0; i < 3; i++) {
        check_front(&memory[i]);
        const unsigned char *const bytes = memory[i].data;
        for (size_t at = 0; at < memory[i].size; at++)
            if (at / 4 % (size_t)tokens != (size_t)token) assert_int_equal(bytes[at], CANARY);
    }
    const int8_t *const q = memory[0].data;
    const float *const scale = memory[1].data;
    const int32_t *const sum = memory[2].data;
    for (size_t i = 0; i < blocks * 32; i++)
        *out++ = q[(i / 4 * (size_t)tokens + (size_t)token) * 4 + i % 4];
    for (size_t b = 0; b < blocks; b++) *out++ = scale[b * (size_t)tokens + (size_t)token];
    for (size_t b = 0; b < blocks; b++) *out++ = (float)sum[b * (size_t)tokens + (size_t)token];
    for (size_t i = 0; i < 3; i++) check_memory_free(&memory[i]);
}

/* The three outputs as floats: integers, scales, sums. */
static void call_quantize(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const vectors *v = c->arguments;
    const size_t blocks = (size_t)(v->n + 31) / 32;
    (void)parts;
    if (part != 0) return;
    if (options.bench) { /* straight into the output, which is large enough */
        unsigned char *bytes = out;
        k->quantize(v->x, v->n, 0, 1, (int8_t *)bytes, (float *)(void *)(bytes + blocks * 32),
                    (int32_t *)(void *)(bytes + blocks * 36));
        return;
    }
    float *const again = allocate_floats(blocks * 34);
    for (int tokens = 1; tokens <= PX_TOKEN_TILE; tokens++) {
        quantize_in_tile(k, v, (int)(v->n % tokens), tokens, again);
        if (tokens == 1) memcpy(out, again, blocks * 34 * sizeof *again);
        assert_memory_equal(out, again, blocks * 34 * sizeof *again);
    }
    free(again);
}

/* By definition, exactly: q is x / scale rounded, ties to even. */
static void define_quantize(const vectors *v, double *expected)
{
    const int64_t blocks = (v->n + 31) / 32;
    for (int64_t b = 0; b < blocks; b++) {
        double largest = 0, sum = 0;
        for (int64_t i = b * 32; i < PX_MIN(v->n, b * 32 + 32); i++)
            largest = fmax(largest, fabs((double)v->x[i]));
        float scale = (float)largest / 127;
        if (scale < FLT_MIN) scale = 0;
        for (int64_t i = b * 32; i < b * 32 + 32; i++) {
            expected[i] = 0;
            if (i >= v->n || scale == 0) continue;
            const float quotient = v->x[i] / scale;
            double q = floor((double)quotient);
            const double rest = (double)quotient - q;
            if (rest > 0.5 || (rest == 0.5 && fmod(q, 2) != 0)) q += 1;
            expected[i] = q;
            sum += q;
        }
        expected[blocks * 32 + b] = (double)scale;
        expected[blocks * 33 + b] = sum;
    }
}

static void run_quantize(const float *x, int64_t n)
{
    const size_t count = (size_t)((n + 31) / 32) * 34;
    const vectors v = {n, x, NULL, NULL, false};
    double *expected = allocate(count), *tolerance = allocate(count);
    define_quantize(&v, expected);
    check_case c = {.call = call_quantize,
                    .arguments = &v,
                    .out_count = count,
                    .expected = expected,
                    .tolerance = tolerance,
                    .bytes = (double)n * 5.25};
    snprintf(c.name, sizeof c.name, "quantize %" PRId64, n);
    check_run(&c);
    free(expected);
    free(tolerance);
}

static void test_quantize(void **unused)
{
    (void)unused;
    uint64_t state = 31;
    for (size_t i = 0; i < PX_COUNT(sizes); i++)
        for (int kind = 0; kind < DATA_KINDS; kind++) {
            if (options.bench && (sizes[i] != 8192 || kind > 0)) continue;
            check_memory x = random_input(sizes[i], (check_data)kind, &state);
            run_quantize(x.data, sizes[i]);
            check_memory_free(&x);
        }
    if (options.bench) return;
    /* ties, and a scale on either side of the smallest normal float */
    float ties[64];
    for (int i = 0; i < 64; i++) ties[i] = (float)i - 31.5f;
    ties[0] = 127.0f;
    ties[32] = -127.0f;
    run_quantize(ties, 64);
    float edge[64] = {0};
    edge[3] = 126.9f * FLT_MIN;
    edge[40] = 127.1f * FLT_MIN;
    edge[41] = -60.0f * FLT_MIN;
    run_quantize(edge, 64);
    static const float large[] = {FLT_MAX, -FLT_MAX, 1e38f, 1.0f};
    run_quantize(large, 4);
}

/* The sum of the two tokens is x to 15 bits, and both are what quantize makes of their share. */
static void test_quantize_fine(void **unused)
{
    (void)unused;
    if (options.bench) return;
    enum { COLUMNS = 100, BLOCKS = 4, TOKENS = 3 };
    uint64_t state = 47;
    for (size_t level = 0; level < PX_COUNT(check_levels); level++) {
        px_kernels k;
        if (!check_table(level, &k)) continue;
        for (int kind = 0; kind < DATA_KINDS; kind++) {
            float x[COLUMNS], rest[COLUMNS], scale[2 * TOKENS * BLOCKS], one_scale[BLOCKS];
            int8_t q[2 * TOKENS * BLOCKS * 32], one[BLOCKS * 32];
            int32_t sum[2 * TOKENS * BLOCKS], one_sum[BLOCKS];
            check_fill((check_data)kind, &state, COLUMNS, x);
            for (int t = 0; t < TOKENS; t++) k.quantize_fine(x, COLUMNS, t, TOKENS, q, scale, sum);
            memcpy(rest, x, sizeof rest);
            for (int plane = 0; plane < 2; plane++) {
                k.quantize(rest, COLUMNS, 0, 1, one, one_scale, one_sum);
                for (int c = 0; c < BLOCKS * 32; c++)
                    for (int t = 0; t < TOKENS; t++)
                        assert_int_equal(q[(c / 4 * 2 * TOKENS + 2 * t + plane) * 4 + c % 4], one[c]);
                for (int b = 0; b < BLOCKS * TOKENS; b++) {
                    const int at = b / TOKENS * 2 * TOKENS + b % TOKENS * 2 + plane;
                    assert_true(scale[at] == one_scale[b / TOKENS]);
                    assert_int_equal(sum[at], one_sum[b / TOKENS]);
                }
                for (int c = 0; c < COLUMNS; c++)
                    rest[c] = fmaf(-(float)one[c], one_scale[c / 32], rest[c]);
            }
            for (int c = 0; c < COLUMNS && kind != DATA_DENORMAL; c++)
                assert_true(fabsf(rest[c]) <= scale[c / 32 * 2 * TOKENS] * (0.5f / 127 / 2 * 1.02f));
        }
    }
}

static void test_multiply(void **unused)
{
    (void)unused;
    if (options.bench) return;
    uint64_t state = 53;
    for (size_t level = 0; level < PX_COUNT(check_levels); level++) {
        px_kernels k;
        if (!check_table(level, &k)) continue;
        for (int64_t n = 1; n <= 40; n++) {
            float x[41], y[40], product[40];
            check_fill(DATA_NORMAL, &state, 41, x);
            check_fill(DATA_NORMAL, &state, 40, y);
            const float behind = x[n];
            for (int64_t i = 0; i < n; i++) product[i] = x[i] * y[i];
            k.multiply(x, y, n);
            assert_memory_equal(x, product, (size_t)n * sizeof *x);
            assert_true(x[n] == behind);
        }
    }
}

/* ---- integer caches ------------------------------------------------------------------------ */

/* Integer (row, column) by the words of px_weight, less the zero point. */
static int stored(const px_weight *w, const unsigned char *data, int64_t row, int64_t column)
{
    bool high;
    const unsigned char byte = data[px_weight_offset(w, row, column, &high)];
    if (w->type == PX_WEIGHT_I8) return byte - 128;
    return (high ? byte >> 4 : byte & 15) - 8;
}

/* Rows and columns, written in any order, are x to half a step, and no others change. */
static void test_store(void **unused)
{
    (void)unused;
    if (options.bench) return;
    enum { MOST = 128, PLACES = 64 };
    uint64_t state = 59;
    static const int64_t dims[] = {1, 7, 16, 20, 32, 40, 96, 128};
    for (size_t i = 0; i < 2 * PX_COUNT(dims); i++) {
        const int64_t dim = dims[i / 2], blocks = (dim + 31) / 32;
        const px_weight_type type = i % 2 ? PX_WEIGHT_I4 : PX_WEIGHT_I8;
        const float levels = i % 2 ? 7 : 127;
        static unsigned char keys[PLACES * MOST], values[MOST * PLACES];
        static float x[PLACES][MOST], key_scales[PLACES * 4], value_scales[PLACES];
        memset(keys, CANARY, sizeof keys);
        memset(values, CANARY, sizeof values);
        for (int64_t n = 0; n < PLACES; n++) {
            const int64_t at = n * 29 % PLACES;
            check_fill((check_data)(n % (DATA_KINDS - 1)), &state, (size_t)dim, x[at]);
            px_store_row(type, dim, at, x[at], keys, key_scales);
            px_store_column(type, dim, PLACES, at, x[at], values, value_scales + at);
        }
        const px_weight k = {.type = type, .rows = PLACES, .columns = dim};
        const px_weight v = {.type = type, .rows = dim, .columns = PLACES};
        for (int64_t at = 0; at < PLACES; at++) {
            float most = 0;
            for (int64_t c = 0; c < dim; c++) most = fmaxf(most, fabsf(x[at][c]));
            assert_true(value_scales[at] == most / levels);
            for (int64_t c = 0; c < dim; c++) {
                const float scale =
                    key_scales[(at / 16 * blocks + c / 32) * PX_ROW_TILE + at % PX_ROW_TILE];
                assert_true(scale <= value_scales[at]);
                const float key = (float)stored(&k, keys, at, c) * scale;
                const float value = (float)stored(&v, values, c, at) * value_scales[at];
                assert_true(fabsf(key - x[at][c]) <= scale * 0.5001f);
                assert_true(fabsf(value - x[at][c]) <= value_scales[at] * 0.5001f);
            }
        }
        /* rows that only pad are left alone */
        for (int64_t row = dim; row < (dim + 15) / 16 * 16; row++) {
            bool high;
            assert_int_equal(values[px_weight_offset(&v, row, 3, &high)], CANARY);
        }
    }
    static const float bad[] = {1, INFINITY, 2}, none[] = {0, -0.0f, 1e-40f};
    unsigned char data[512];
    float scale[16];
    px_store_row(PX_WEIGHT_I8, 3, 0, bad, data, scale);
    assert_true(isnan(scale[0]));
    px_store_column(PX_WEIGHT_I8, 3, 32, 0, none, data, scale);
    assert_true(scale[0] == 0);
    assert_int_equal(data[0], 128);
}

/* Its own inverse, and dot products stay. */
static void test_hadamard(void **unused)
{
    (void)unused;
    if (options.bench) return;
    uint64_t state = 61;
    for (int64_t size = 1; size <= 64; size *= 2) {
        float x[192], y[192], z[192];
        check_fill(DATA_OUTLIERS, &state, 192, x);
        for (int64_t i = 0; i < 192; i++) y[i] = 0;
        for (int64_t i = 0; i < 192; i++) /* by definition: the sign is the parity of i & j */
            for (int64_t j = 0; j < size; j++)
                y[i] += x[i / size * size + j] / sqrtf((float)size) *
                        (__builtin_parityll((unsigned long long)(i % size & j)) ? -1.0f : 1.0f);
        memcpy(z, x, sizeof z);
        px_hadamard(z, 192, size);
        for (int64_t i = 0; i < 192; i++) assert_true(fabsf(z[i] - y[i]) < 1e-3f);
        px_hadamard(z, 192, size);
        for (int64_t i = 0; i < 192; i++) assert_true(fabsf(z[i] - x[i]) < 1e-3f);
    }
}

/* ---- the cache and attention --------------------------------------------------------------- */

typedef struct attention {
    px_cache_type type;
    int64_t keys, head_dim;
    const float *x; /* the query or the weights */
    const void *rows;
} attention;

static const char *const cache_names[PX_CACHE_FLOATS] = {"f32", "f16"};

static void call_scores(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const attention *a = c->arguments;
    (void)parts;
    if (part == 0)
        k->attention_scores[a->type](a->x, a->rows, a->keys, a->head_dim, 0.125f, out);
}

static void call_mix(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const attention *a = c->arguments;
    (void)parts;
    if (part == 0) k->attention_mix[a->type](a->x, a->rows, a->keys, a->head_dim, out);
}

/* Cutting the keys into several calls changes no bit. */
static void check_cut(const attention *a, bool mix)
{
    const size_t count = (size_t)(mix ? a->head_dim : a->keys);
    const int64_t row_bytes = a->head_dim * (a->type == PX_CACHE_F32 ? 4 : 2);
    for (size_t level = 0; level < PX_COUNT(check_levels); level++) {
        px_kernels k;
        if (!check_table(level, &k)) continue;
        float *whole = px_calloc(count, sizeof *whole), *cut = px_calloc(count, sizeof *cut);
        assert_non_null(whole);
        assert_non_null(cut);
        const int64_t half = a->keys / 3;
        const unsigned char *rest = (const unsigned char *)a->rows + half * row_bytes;
        if (mix) {
            k.attention_mix[a->type](a->x, a->rows, a->keys, a->head_dim, whole);
            k.attention_mix[a->type](a->x, a->rows, half, a->head_dim, cut);
            k.attention_mix[a->type](a->x + half, rest, a->keys - half, a->head_dim, cut);
        } else {
            k.attention_scores[a->type](a->x, a->rows, a->keys, a->head_dim, 0.125f, whole);
            k.attention_scores[a->type](a->x, a->rows, half, a->head_dim, 0.125f, cut);
            k.attention_scores[a->type](a->x, rest, a->keys - half, a->head_dim, 0.125f,
                                        cut + half);
        }
        assert_memory_equal(whole, cut, count * sizeof *whole);
        free(whole);
        free(cut);
    }
}

static void run_attention(px_cache_type type, int64_t keys, int64_t head_dim, bool mix,
                          uint64_t *state)
{
    const size_t values = (size_t)(keys * head_dim), count = (size_t)(mix ? head_dim : keys);
    check_memory x = random_input(mix ? keys : head_dim, DATA_NORMAL, state);
    check_memory initial = random_input((int64_t)count, DATA_NORMAL, state);
    float *rows = px_calloc(values, sizeof *rows);
    uint16_t *half = px_calloc(values, sizeof *half);
    assert_non_null(rows);
    assert_non_null(half);
    check_fill(DATA_NORMAL, state, values, rows);
    for (size_t i = 0; i < values && type == PX_CACHE_F16; i++) {
        half[i] = px_f32_to_f16(rows[i]);
        rows[i] = px_f16_to_f32(half[i]);
    }
    check_memory cache = type == PX_CACHE_F16 ? check_input(half, values * sizeof *half, 0)
                                              : check_input(rows, values * sizeof *rows, 0);
    const float *from = x.data, *start = initial.data;
    double *expected = allocate(count), *tolerance = allocate(count);
    for (size_t i = 0; i < count && mix; i++) {
        expected[i] = (double)start[i];
        tolerance[i] = fabs(expected[i]) * 2e-6;
    }
    for (size_t j = 0; j < (size_t)keys; j++)
        for (size_t i = 0; i < (size_t)head_dim; i++) {
            const size_t to = mix ? i : j;
            const double term = (double)rows[j * (size_t)head_dim + i] *
                                (mix ? (double)from[j] : 0.125 * (double)from[i]);
            expected[to] += term;
            tolerance[to] += fabs(term) * 2e-6;
        }
    const attention a = {type, keys, head_dim, from, cache.data};
    check_case c = {.call = mix ? call_mix : call_scores,
                    .arguments = &a,
                    .out_count = count,
                    .initial = mix ? start : NULL,
                    .expected = expected,
                    .tolerance = tolerance,
                    .bytes = (double)cache.size,
                    .macs = (double)values};
    snprintf(c.name, sizeof c.name, "attention %s %s %" PRId64 "x%" PRId64,
             mix ? "mix" : "scores", cache_names[type], keys, head_dim);
    check_run(&c);
    check_cut(&a, mix);
    check_memory_free(&x);
    check_memory_free(&initial);
    check_memory_free(&cache);
    free(rows);
    free(half);
    free(expected);
    free(tolerance);
}

static void test_attention(void **unused)
{
    (void)unused;
    static const int64_t key_counts[] = {1, 2, 3, 4, 5, 8, 13, 100}, dims[] = {1,  4,  7,  8, 12,
                                                                              33, 64, 96, 128};
    uint64_t state = 37;
    for (int type = 0; type < PX_CACHE_FLOATS; type++)
        for (int mix = 0; mix < 2; mix++) {
            if (options.bench) {
                run_attention((px_cache_type)type, 1024, 96, mix != 0, &state);
                continue;
            }
            for (size_t i = 0; i < PX_COUNT(key_counts); i++)
                for (size_t d = 0; d < PX_COUNT(dims); d++)
                    run_attention((px_cache_type)type, key_counts[i], dims[d], mix != 0, &state);
        }
}

typedef struct store {
    px_cache_type type;
    int64_t head_dim;
    const float *x;
} store;

/* Stores and reads back. */
static void call_store(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const store *s = c->arguments;
    const size_t size = s->type == PX_CACHE_F32 ? 4 : 2;
    (void)parts;
    if (part != 0) return;
    if (options.bench) {
        k->cache_store[s->type](s->x, out, s->head_dim);
        return;
    }
    check_memory row = check_memory_new((size_t)s->head_dim * size, 0);
    k->cache_store[s->type](s->x, row.data, s->head_dim);
    check_front(&row);
    for (int64_t i = 0; i < s->head_dim; i++)
        ((float *)out)[i] = s->type == PX_CACHE_F32
                                ? ((const float *)row.data)[i]
                                : px_f16_to_f32(((const uint16_t *)row.data)[i]);
    check_memory_free(&row);
}

static void test_cache_store(void **unused)
{
    (void)unused;
    uint64_t state = 41;
    for (int type = 0; type < PX_CACHE_FLOATS; type++)
        for (int64_t dim = 1; dim <= 128; dim += dim < 40 ? 1 : 8)
            for (int kind = 0; kind < DATA_KINDS; kind++) {
                if (options.bench && (dim != 96 || kind > 0)) continue;
                check_memory x = random_input(dim, (check_data)kind, &state);
                const float *from = x.data;
                double *expected = allocate((size_t)dim), *tolerance = allocate((size_t)dim);
                for (int64_t i = 0; i < dim; i++)
                    expected[i] = type == PX_CACHE_F32
                                      ? (double)from[i]
                                      : (double)px_f16_to_f32(px_f32_to_f16(from[i]));
                const store s = {(px_cache_type)type, dim, from};
                check_case c = {.call = call_store,
                                .arguments = &s,
                                .out_count = (size_t)dim,
                                .expected = expected,
                                .tolerance = tolerance,
                                .bytes = (double)dim * (type == PX_CACHE_F32 ? 8 : 6)};
                snprintf(c.name, sizeof c.name, "cache_store %s %" PRId64, cache_names[type], dim);
                check_run(&c);
                free(expected);
                free(tolerance);
                check_memory_free(&x);
            }
}

/* Every float16 bit pattern that float32 rounding can produce: ties, subnormals, overflow. */
static void test_cache_store_rounding(void **unused)
{
    (void)unused;
    if (options.bench) return;
    for (size_t level = 0; level < PX_COUNT(check_levels); level++) {
        px_kernels k;
        if (!check_table(level, &k)) continue;
        for (uint32_t high = 0; high < 0x10000; high += options.quick ? 64 : 8) {
            float x[8];
            uint16_t out[8];
            static const uint32_t low[8] = {0, 1, 0x0fff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x3001};
            for (uint32_t i = 0; i < 8; i++) x[i] = px_float_of_bits((high + i % 8) << 16 | low[i]);
            k.cache_store[PX_CACHE_F16](x, out, 8);
            for (int i = 0; i < 8; i++) assert_int_equal(out[i], px_f32_to_f16(x[i]));
        }
    }
}

int main(int count, char **arguments)
{
    check_arguments(count, arguments);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rms_norm),       cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_swiglu_range),   cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_softmax_extremes), cmocka_unit_test(test_add),
        cmocka_unit_test(test_rope),           cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_attention),      cmocka_unit_test(test_cache_store),
        cmocka_unit_test(test_cache_store_rounding),
        cmocka_unit_test(test_quantize_fine),  cmocka_unit_test(test_multiply),
        cmocka_unit_test(test_store),          cmocka_unit_test(test_hadamard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
