/* Matrix products and dequantization: every weight type, both kinds of activations. */
#include "kernels/check.h"

#include "base/half.h"

/* ---- a random matrix ----------------------------------------------------------------------- */

typedef enum matrix_data {
    MATRIX_RANDOM,
    MATRIX_LARGEST,   /* every integer the largest */
    MATRIX_SMALLEST,  /* every integer 0 */
    MATRIX_EXTREMES,  /* integers 0 and the largest in turn */
    MATRIX_KINDS
} matrix_data;

/* What integers have beside their scales. */
typedef enum matrix_offsets { SYMMETRIC, ZEROS, MINIMA, OFFSETS } matrix_offsets;

static const char *const offset_names[OFFSETS] = {"", " zeros", " minima"};

typedef struct matrix {
    px_weight w;
    check_memory data, scales, offsets, scale_steps, minimum_steps;
    double *values; /* [rows, columns], by definition; NULL in the bench */
} matrix;

static void *allocate(size_t count, size_t size)
{
    void *memory = px_calloc(count, size);
    assert_non_null(memory);
    return memory;
}

static const char *const type_names[PX_WEIGHT_TYPES] = {"f32", "f16", "bf16", "i8", "i4"};

static bool is_integer(px_weight_type type)
{
    return type == PX_WEIGHT_I8 || type == PX_WEIGHT_I4;
}

/* Where the definition of px_weight has integer (r, c) and the scale of group g of row r. */
static size_t place(const px_weight *w, int64_t r, int64_t c, bool *high)
{
    const int64_t lines = w->type == PX_WEIGHT_I8 ? 8 : 4, blocks = (w->columns + 31) / 32;
    const int64_t line = c % 32 / 4;
    *high = line >= lines;
    const int64_t index[] = {r / 16, c / 32, *high ? line - lines : line, r % 16, c % 4};
    const int64_t shape[] = {0, blocks, lines, 16, 4};
    int64_t at = index[0];
    for (size_t i = 1; i < PX_COUNT(index); i++) at = at * shape[i] + index[i];
    return (size_t)at;
}

static size_t group_place(const px_weight *w, int64_t r, int64_t g)
{
    return (size_t)((r / 16 * px_weight_groups(w) + g) * 16 + r % 16);
}

static void store_integer(const px_weight *w, unsigned char *data, int64_t r, int64_t c, int q)
{
    bool high;
    unsigned char *const byte = data + place(w, r, c, &high);
    if (w->type == PX_WEIGHT_I8)
        *byte = (unsigned char)q;
    else if (high)
        *byte = (unsigned char)((*byte & 0x0f) | q << 4);
    else
        *byte = (unsigned char)((*byte & 0xf0) | q);
}

/* Scales of a matrix as they are stored, floats or float16, or as steps of float16 that a row has for 256
 * columns. */
typedef struct stored_scales {
    size_t count, supers;
    float *values; /* [count] what they are */
    uint16_t *halves;
    int8_t *steps;
} stored_scales;

static stored_scales make_scales(const px_weight *w, bool half, bool has_steps, uint64_t *state)
{
    const int64_t rows = (w->rows + 15) / 16 * 16, groups = px_weight_groups(w);
    const int64_t supers = has_steps ? w->columns / 256 : groups;
    stored_scales s = {.count = (size_t)(rows * groups), .supers = (size_t)(rows * supers)};
    s.values = allocate(s.count, sizeof *s.values);
    s.halves = allocate(s.count, sizeof *s.halves);
    s.steps = allocate(s.count, 1);
    for (size_t i = 0; i < s.count; i++) {
        s.values[i] = check_random_normal(state) * 0.02f;
        s.halves[i] = px_f32_to_f16(has_steps ? s.values[i] / 64 : s.values[i]);
        if (half) s.values[i] = px_f16_to_f32(s.halves[i]);
    }
    if (has_steps)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t g = 0; g < groups; g++) {
                const size_t at = group_place(w, r, g);
                const int64_t super = g * w->group_size / 256;
                s.steps[at] = (int8_t)(check_random(state) % 256);
                s.values[at] = px_f16_to_f32(s.halves[(r / 16 * supers + super) * 16 + r % 16]) *
                               (float)s.steps[at];
            }
    return s;
}

/* Where they are from now on. */
static const void *keep_scales(const stored_scales *s, bool half, bool has_steps,
                               check_memory *memory, check_memory *step_memory)
{
    *memory = half ? check_input(s->halves, s->supers * sizeof *s->halves, 0)
                   : check_input(s->values, s->count * sizeof *s->values, 0);
    if (has_steps) *step_memory = check_input(s->steps, s->count, 0);
    return memory->data;
}

static void free_scales(stored_scales *s)
{
    free(s->values);
    free(s->halves);
    free(s->steps);
}

/* Rows that only pad have any integers and scales: nothing of them is looked at. */
static void make_integers(matrix *m, matrix_data kind, matrix_offsets offsets, uint64_t *state)
{
    const bool zeros = offsets == ZEROS;
    const px_weight *w = &m->w;
    const int64_t groups = px_weight_groups(w), padded = (w->columns + 31) / 32 * 32;
    const int64_t rows = (w->rows + 15) / 16 * 16;
    const int largest = w->type == PX_WEIGHT_I8 ? 255 : 15;
    const size_t count = (size_t)(rows * groups), size = (size_t)(rows * w->row_bytes);
    uint8_t *zero = allocate(count, 1);
    unsigned char *data = allocate(size, 1);
    const bool may_step = w->columns % 256 == 0 && (w->group_size == 16 || w->group_size == 32);
    const bool half = options.bench || may_step || check_random(state) % 2 == 1;
    const bool has_steps =
        may_step && (options.bench ? offsets == MINIMA : check_random(state) % 4 != 0);
    stored_scales scales = make_scales(w, half, has_steps, state);
    stored_scales minima = make_scales(w, half, has_steps, state);
    for (size_t i = 0; i < count; i++) {
        zero[i] = (uint8_t)(zeros ? check_random(state) % (uint32_t)(largest + 1)
                                  : (uint32_t)(largest + 1) / 2);
        if (kind == MATRIX_LARGEST) zero[i] = zeros ? 0 : zero[i];
        if (kind == MATRIX_SMALLEST) zero[i] = zeros ? (uint8_t)largest : zero[i];
        if (offsets == MINIMA) zero[i] = 0;
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < padded; c++) {
            const size_t group = group_place(w, r, PX_MIN(c / w->group_size, groups - 1));
            int q = (int)(check_random(state) % (uint32_t)(largest + 1));
            if (kind == MATRIX_LARGEST) q = largest;
            if (kind == MATRIX_SMALLEST) q = 0;
            if (kind == MATRIX_EXTREMES) q = (c + r) % 2 ? largest : 0;
            store_integer(w, data, r, c, q);
            if (r < w->rows && c < w->columns && m->values != NULL)
                m->values[r * w->columns + c] =
                    (double)(q - zero[group]) * (double)scales.values[group] +
                    (offsets == MINIMA ? (double)minima.values[group] : 0);
        }
    }
    m->data = check_input(data, size, 0);
    m->w.half_scales = half;
    m->w.scales = keep_scales(&scales, half, has_steps, &m->scales, &m->scale_steps);
    m->w.scale_steps = m->scale_steps.data;
    if (zeros) {
        m->offsets = check_input(zero, count, 0);
        m->w.zeros = m->offsets.data;
    }
    if (offsets == MINIMA) {
        m->w.minima = keep_scales(&minima, half, has_steps, &m->offsets, &m->minimum_steps);
        m->w.minimum_steps = m->minimum_steps.data;
    }
    free_scales(&scales);
    free_scales(&minima);
    free(zero);
    free(data);
}

static void make_floats(matrix *m, matrix_data kind, size_t shift, uint64_t *state)
{
    const px_weight *w = &m->w;
    const size_t count = (size_t)(w->rows * w->columns), size = (size_t)(w->rows * w->row_bytes);
    unsigned char *data = allocate(size, 1);
    for (size_t i = 0; i < count; i++) {
        const float value = kind == MATRIX_RANDOM     ? check_random_normal(state)
                            : kind == MATRIX_LARGEST  ? 200.0f
                            : kind == MATRIX_SMALLEST ? check_random_normal(state) * 0x1p-20f
                            : i % 2                   ? -1.5f
                                                      : 1.5f;
        if (w->type == PX_WEIGHT_F32) {
            memcpy(data + 4 * i, &value, 4);
            if (m->values != NULL) m->values[i] = value;
        } else {
            const bool bf16 = w->type == PX_WEIGHT_BF16;
            const uint16_t half = bf16 ? px_f32_to_bf16(value) : px_f32_to_f16(value);
            memcpy(data + 2 * i, &half, 2);
            if (m->values != NULL) m->values[i] = bf16 ? px_bf16_to_f32(half) : px_f16_to_f32(half);
        }
    }
    m->data = check_input(data, size, shift);
    free(data);
}

static matrix make_matrix(px_weight_type type, int64_t rows, int64_t columns, int64_t group_size,
                          matrix_data kind, matrix_offsets offsets, size_t shift, uint64_t *state)
{
    matrix m = {.w = {.type = type,
                      .rows = rows,
                      .columns = columns,
                      .group_size = group_size,
                      .prefetch = 8192,
                      .row_bytes = px_weight_row_bytes(type, columns)}};
    if (!options.bench) m.values = allocate((size_t)(rows * columns), sizeof *m.values);
    if (is_integer(type))
        make_integers(&m, kind, offsets, state);
    else
        make_floats(&m, kind, shift, state);
    m.w.data = m.data.data;
    return m;
}

static void free_matrix(matrix *m)
{
    check_memory_free(&m->data);
    if (m->scales.map != NULL) check_memory_free(&m->scales);
    if (m->offsets.map != NULL) check_memory_free(&m->offsets);
    if (m->scale_steps.map != NULL) check_memory_free(&m->scale_steps);
    if (m->minimum_steps.map != NULL) check_memory_free(&m->minimum_steps);
    free(m->values);
}

/* ---- activations --------------------------------------------------------------------------- */

typedef struct tokens {
    px_activation x;
    check_memory f32, q8, u8, scale, sum, half_sum;
    int8_t *q; /* [tokens, padded]: the tokens one after the other, each as a tile of its own */
    float *q_scale;
    int32_t *q_sum, *q_half_sum;
    double *values; /* [tokens, columns] what the product is to use */
} tokens;

/* Lays the tokens of a tile out by the definition of px_activation. */
static void tile_tokens(tokens *a, int64_t first, int64_t T, int8_t *q, float *scale, int32_t *sum,
                        int32_t *half_sum)
{
    const int64_t blocks = (a->x.columns + 31) / 32;
    q += first * blocks * 32;
    scale += first * blocks;
    sum += first * blocks;
    half_sum += first * blocks * 2;
    for (int64_t t = 0; t < T; t++) {
        const int64_t from = (first + t) * blocks;
        for (int64_t b = 0; b < blocks; b++) {
            scale[b * T + t] = a->q_scale[from + b];
            sum[b * T + t] = a->q_sum[from + b];
            for (int64_t half = 0; half < 2; half++)
                half_sum[(b * 2 + half) * T + t] = a->q_half_sum[(from + b) * 2 + half];
        }
        for (int64_t c = 0; c < blocks * 32; c++)
            q[((c / 32 * 8 + c % 32 / 4) * T + t) * 4 + c % 4] = a->q[from * 32 + c];
    }
    int32_t *const made = allocate((size_t)(blocks * 2 * T), sizeof *made);
    px_half_sums(q, blocks, T, made);
    assert_memory_equal(made, half_sum, (size_t)(blocks * 2 * T) * sizeof *made);
    free(made);
}

static tokens make_tokens(int64_t count, int64_t columns, bool q8, check_data kind, uint64_t *state)
{
    const int64_t gap = options.bench ? 0 : 3, stride = columns + gap;
    const int64_t blocks = (columns + 31) / 32;
    const size_t all = (size_t)(count * blocks);
    tokens a = {.x = {.tokens = count, .columns = columns, .f32_stride = stride}};
    a.values = allocate((size_t)(count * columns), sizeof *a.values);
    a.q = allocate(all, 32);
    a.q_scale = allocate(all, sizeof *a.q_scale);
    a.q_sum = allocate(all, sizeof *a.q_sum);
    a.q_half_sum = allocate(2 * all, sizeof *a.q_half_sum);
    float *f32 = allocate((size_t)(count * stride), sizeof *f32);
    int8_t *q = allocate(all, 32);
    float *scale = allocate(all, sizeof *scale);
    int32_t *sum = allocate(all, sizeof *sum), *half_sum = allocate(2 * all, sizeof *half_sum);
    check_fill(kind, state, (size_t)(count * stride), f32);
    px_kernels reference;
    px_kernels_init(&reference, 0);
    for (int64_t t = 0; t < count; t++) {
        reference.quantize(f32 + t * stride, columns, 0, 1, a.q + t * blocks * 32,
                           a.q_scale + t * blocks, a.q_sum + t * blocks);
        for (int64_t c = 0; c < columns; c++)
            a.values[t * columns + c] = q8 ? (double)a.q[t * blocks * 32 + c] *
                                                 (double)a.q_scale[t * blocks + c / 32]
                                           : (double)f32[t * stride + c];
    }
    for (size_t i = 0; i < all * 32; i++) a.q_half_sum[i / 16] += a.q[i];
    for (int64_t t = 0; t < count; t += 8)
        tile_tokens(&a, t, PX_MIN(count - t, 8), q, scale, sum, half_sum);
    uint8_t *u8 = allocate(all, 32);
    for (size_t i = 0; i < all * 32; i++) u8[i] = (uint8_t)(q[i] + 128);
    /* the last row ends where its columns end */
    a.f32 = check_input(f32, (size_t)(count * stride - gap) * sizeof *f32, 0);
    a.q8 = check_input(q, all * 32, 0);
    a.u8 = check_input(u8, all * 32, 0);
    a.scale = check_input(scale, all * sizeof *scale, 0);
    a.sum = check_input(sum, all * sizeof *sum, 0);
    a.half_sum = check_input(half_sum, 2 * all * sizeof *half_sum, 0);
    a.x.f32 = a.f32.data;
    if (q8) {
        a.x.q8 = a.q8.data;
        a.x.q8_scale = a.scale.data;
        a.x.q8_sum = a.sum.data;
        a.x.u8 = a.u8.data;
    }
    free(f32);
    free(q);
    free(u8);
    free(scale);
    free(sum);
    free(half_sum);
    return a;
}

/* The sums that a matrix wants. */
static void choose_sums(tokens *a, const px_weight *w)
{
    a->x.half_sums = a->x.q8 != NULL && px_weight_has_halves(w);
    if (a->x.half_sums) a->x.q8_sum = a->half_sum.data;
}

static void free_tokens(tokens *a)
{
    check_memory_free(&a->f32);
    check_memory_free(&a->q8);
    check_memory_free(&a->u8);
    check_memory_free(&a->scale);
    check_memory_free(&a->sum);
    check_memory_free(&a->half_sum);
    free(a->q);
    free(a->q_scale);
    free(a->q_sum);
    free(a->q_half_sum);
    free(a->values);
}

/* One token of several, as an activation of its own. */
static px_activation one_token(const tokens *a, int64_t t)
{
    const int64_t blocks = (a->x.columns + 31) / 32;
    px_activation one = a->x;
    one.tokens = 1;
    one.f32 += t * one.f32_stride;
    one.u8 = NULL;
    if (one.q8 != NULL) {
        one.q8 = a->q + t * blocks * 32;
        one.q8_scale = a->q_scale + t * blocks;
        one.q8_sum = one.half_sums ? a->q_half_sum + t * blocks * 2 : a->q_sum + t * blocks;
    }
    return one;
}

/* ---- the product --------------------------------------------------------------------------- */

typedef struct product {
    const px_weight *w;
    const px_activation *x;
    int64_t row_begin, row_end, y_stride;
} product;

static void call_matmul(const px_kernels *k, const check_case *c, void *out, int part, int parts)
{
    const product *p = c->arguments;
    const int64_t rows = p->row_end - p->row_begin;
    const int64_t begin = p->row_begin + rows * part / parts;
    const int64_t end = p->row_begin + rows * (part + 1) / parts;
    px_matmul(k, p->w, begin, end, p->x, out, p->y_stride);
}

/* A call for all tokens gives the bits of one call for each, and with integer weights every level
 * those of the reference. */
static void check_bits(const product *p, const tokens *a, size_t out_count)
{
    float *together = allocate(out_count, sizeof *together);
    float *alone = allocate(out_count, sizeof *alone);
    float *reference = allocate(out_count, sizeof *reference);
    for (size_t level = 0; level < PX_COUNT(check_levels); level++) {
        px_kernels k;
        if (!check_table(level, &k)) continue;
        px_matmul(&k, p->w, p->row_begin, p->row_end, p->x, together, p->y_stride);
        for (int64_t t = 0; t < p->x->tokens; t++) {
            const px_activation one = one_token(a, t);
            px_matmul(&k, p->w, p->row_begin, p->row_end, &one, alone + t * p->y_stride,
                      p->y_stride);
        }
        assert_memory_equal(together, alone, out_count * sizeof *together);
        if (level == 0) memcpy(reference, together, out_count * sizeof *together);
        if (is_integer(p->w->type) &&
            memcmp(together, reference, out_count * sizeof *together) != 0)
            fail_msg("%s %s, %" PRId64 " tokens: not the bits of the reference", k.name,
                     type_names[p->w->type], p->x->tokens);
    }
    free(together);
    free(alone);
    free(reference);
}

static void run_product(const char *name, const matrix *m, const tokens *a, int64_t row_begin,
                        int64_t row_end)
{
    const int64_t rows = m->w.rows, columns = m->w.columns, stride = rows + 2;
    const product p = {&m->w, &a->x, row_begin, row_end, stride};
    const size_t count = (size_t)((a->x.tokens - 1) * stride + row_end);
    check_case c = {.call = call_matmul, .arguments = &p, .out_count = count, .max_parts = 2};
    snprintf(c.name, sizeof c.name, "%s", name);
    c.macs = (double)a->x.tokens * (double)(row_end - row_begin) * (double)columns;
    px_place parts[PX_PARTS];
    px_weight_parts(&m->w, parts);
    for (int part = 0; part < PX_PARTS; part++) c.bytes += (double)parts[part].bytes;
    if (options.bench) {
        check_run(&c);
        return;
    }
    double *expected = allocate(count, sizeof *expected);
    double *tolerance = allocate(count, sizeof *tolerance);
    for (size_t i = 0; i < count; i++) {
        const int64_t t = (int64_t)i / stride, r = (int64_t)i % stride;
        expected[i] = NAN;
        if (r < row_begin || r >= row_end) continue;
        double sum = 0, size = 0;
        for (int64_t k = 0; k < columns; k++) {
            const double term = m->values[r * columns + k] * a->values[t * columns + k];
            sum += term;
            size += fabs(term);
        }
        expected[i] = sum;
        /* float32 sums of several parts: what they lose grows with the columns */
        tolerance[i] = size * (1e-6 + (double)columns * 4e-9) + (double)columns * (double)FLT_MIN;
    }
    c.expected = expected;
    c.tolerance = tolerance;
    check_run(&c);
    check_bits(&p, a, count);
    free(expected);
    free(tolerance);
}

/* One shape; everything else comes from the seed. */
static void run_shape(px_weight_type type, bool q8, matrix_offsets offsets, int64_t rows,
                      int64_t columns, int64_t group_size, int64_t token_count, uint64_t seed)
{
    uint64_t state = seed * 77 + 5;
    const matrix_data kind = (matrix_data)(check_random(&state) % MATRIX_KINDS);
    const check_data x_kind = (check_data)(check_random(&state) % DATA_KINDS);
    const size_t shift = type == PX_WEIGHT_F32 && check_random(&state) % 2 ? 2 : 0;
    matrix m = make_matrix(type, rows, columns, group_size, kind, offsets, shift, &state);
    tokens a = make_tokens(token_count, columns, q8, x_kind, &state);
    choose_sums(&a, &m.w);
    char name[96];
    snprintf(name, sizeof name, "%s%s%s %" PRId64 "x%" PRId64 " g%" PRId64 " n%" PRId64,
             type_names[type], q8 ? " q8" : "", offset_names[offsets], rows, columns, group_size,
             token_count);
    const int64_t begin = rows > 4 ? check_random(&state) % PX_MIN(rows - 3, 35) : 0;
    const int64_t end = rows > 6 ? rows - check_random(&state) % 3 : rows;
    run_product(name, &m, &a, begin, end);
    free_tokens(&a);
    free_matrix(&m);
}

static const int64_t row_counts[] = {1, 2, 3, 5, 9, 15, 16, 17, 32, 33, 83};
static const int64_t token_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 37};
static const int64_t column_counts[] = {1,   5,   16,  31,  32,  33,  63,   64,   65,
                                        95,  96,  100, 127, 128, 160, 200,  257,  320,
                                        384, 512, 700, 768,  1000, 2048, 2100, 4160, 8500};

static void test_floats(void **unused)
{
    (void)unused;
    if (options.bench) return;
    uint64_t seed = 1;
    for (int type = PX_WEIGHT_F32; type <= PX_WEIGHT_BF16; type++)
        for (size_t i = 0; i < PX_COUNT(column_counts); i += options.quick ? 4 : 1)
            for (int again = 0; again < 3; again++, seed++)
                run_shape((px_weight_type)type, false, SYMMETRIC,
                          row_counts[seed % PX_COUNT(row_counts)], column_counts[i],
                          column_counts[i], token_counts[seed % PX_COUNT(token_counts)], seed);
}

static void run_integers(bool q8)
{
    static const int64_t group_sizes[] = {-1, 7, 16, 20, 32, 48, 64, 96, 100, 128, 256, 1024};
    uint64_t seed = q8 ? 1000 : 5000;
    for (int type = PX_WEIGHT_I8; type <= PX_WEIGHT_I4; type++)
        for (int offsets = 0; offsets < OFFSETS; offsets++)
            for (size_t i = 0; i < PX_COUNT(column_counts); i += options.quick ? 4 : 1)
                for (size_t g = 0; g < PX_COUNT(group_sizes); g++, seed++) {
                    const int64_t columns = column_counts[i];
                    const int64_t size = group_sizes[g] == -1 ? columns : group_sizes[g];
                    const bool large = columns > 1000;
                    if (size > columns) continue;
                    run_shape((px_weight_type)type, q8, (matrix_offsets)offsets,
                              row_counts[seed % (PX_COUNT(row_counts) - large)], columns, size,
                              token_counts[seed % PX_COUNT(token_counts)], seed);
                }
}

static void test_integers_q8(void **unused)
{
    (void)unused;
    if (!options.bench) run_integers(true);
}

static void test_integers_f32(void **unused)
{
    (void)unused;
    if (!options.bench) run_integers(false);
}

/* Tokens of more than one block, for which i4 is unpacked first. */
static void test_many_tokens(void **unused)
{
    (void)unused;
    if (options.bench) return;
    static const int64_t shapes[][2] = {{5, 5},     {24, 24},    {56, 56},     {160, 32},  {160, 160},
                                        {500, 500}, {700, 96},   {1056, 128},  {1056, 480}, {1100, 512},
                                        {1056, 16}, {1280, 16},  {1280, 32},   {1536, 32}};
    uint64_t seed = 9000;
    for (int offsets = 0; offsets < OFFSETS; offsets++)
        for (size_t i = 0; i < PX_COUNT(shapes); i++, seed++)
            run_shape(PX_WEIGHT_I4, true, (matrix_offsets)offsets, seed % 2 ? 83 : 49, shapes[i][0],
                      shapes[i][1], seed % 3 ? 137 : 32, seed);
}

/* The largest integers against the largest activations, where 16-bit sums would saturate. */
static void test_saturation(void **unused)
{
    (void)unused;
    if (options.bench) return;
    static const check_data kinds[] = {DATA_CONSTANT, DATA_ALTERNATING};
    uint64_t state = 3;
    for (int type = PX_WEIGHT_I8; type <= PX_WEIGHT_I4; type++)
        for (int kind = 0; kind < MATRIX_KINDS; kind++)
            for (int offsets = 0; offsets < OFFSETS; offsets++)
                for (size_t i = 0; i < 2 * PX_COUNT(kinds); i++) {
                    matrix m = make_matrix((px_weight_type)type, 16, 288, i % 2 ? 96 : 16,
                                           (matrix_data)kind, (matrix_offsets)offsets, 0, &state);
                    for (int64_t count = 5; count <= PX_MANY_TOKENS; count += PX_MANY_TOKENS - 5) {
                        tokens a = make_tokens(count, 288, true, kinds[i / 2], &state);
                        choose_sums(&a, &m.w);
                        run_product("saturation", &m, &a, 0, 16);
                        free_tokens(&a);
                    }
                    free_matrix(&m);
                }
}

/* Rows of floats may lie further apart than they are long. */
static void test_row_stride(void **unused)
{
    (void)unused;
    if (options.bench) return;
    uint64_t state = 11;
    for (int type = PX_WEIGHT_F32; type <= PX_WEIGHT_BF16; type++) {
        matrix m = make_matrix((px_weight_type)type, 6, 96, 32, MATRIX_RANDOM, SYMMETRIC, 0, &state);
        const int64_t stride = m.w.row_bytes + 64;
        unsigned char *wide = allocate((size_t)(6 * stride), 1);
        memset(wide, 0xee, (size_t)(6 * stride));
        for (int64_t r = 0; r < 6; r++)
            memcpy(wide + r * stride, (const unsigned char *)m.w.data + r * m.w.row_bytes,
                   (size_t)m.w.row_bytes);
        m.w.data = wide;
        m.w.row_bytes = stride;
        tokens a = make_tokens(5, 96, false, DATA_NORMAL, &state);
        run_product("row stride", &m, &a, 0, 6);
        free_tokens(&a);
        free_matrix(&m);
        free(wide);
    }
}

/* A NaN or an infinity among the activations of a token shows in its results and in no others. */
static void test_not_finite(void **unused)
{
    (void)unused;
    if (options.bench) return;
    uint64_t state = 13;
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 2 * PX_COUNT(values); i++) {
        const px_weight_type type = i % 2 ? PX_WEIGHT_I4 : PX_WEIGHT_I8;
        matrix m = make_matrix(type, 5, 192, 64, MATRIX_RANDOM, (matrix_offsets)(i % OFFSETS), 0, &state);
        for (size_t level = 0; level < PX_COUNT(check_levels); level++) {
            px_kernels k;
            if (!check_table(level, &k)) continue;
            float x[5 * 192], scale[5 * 6], y[25];
            int8_t q[5 * 192];
            int32_t sum[5 * 6];
            check_fill(DATA_NORMAL, &state, PX_COUNT(x), x);
            x[2 * 192 + 100] = values[i / 2];
            for (int t = 0; t < 5; t++)
                k.quantize(x + t * 192, 192, t, 5, q, scale, sum);
            const px_activation a = {5, 192, 192, x, q, scale, sum, NULL, false};
            px_matmul(&k, &m.w, 0, 5, &a, y, 5);
            for (int t = 0; t < 5; t++)
                for (int r = 0; r < 5; r++) assert_int_equal(isnan(y[t * 5 + r]) != 0, t == 2);
        }
        free_matrix(&m);
    }
}

/* ---- dequantize ---------------------------------------------------------------------------- */

typedef struct row_of {
    const px_weight *w;
    int64_t row;
} row_of;

static void call_dequantize(const px_kernels *k, const check_case *c, void *out, int part,
                            int parts)
{
    const row_of *r = c->arguments;
    (void)parts;
    if (part == 0) k->dequantize[r->w->type](r->w, r->row, out);
}

static void test_dequantize(void **unused)
{
    (void)unused;
    if (options.bench) return;
    uint64_t state = 17;
    for (int type = 0; type < PX_WEIGHT_TYPES; type++)
        for (size_t i = 0; i < PX_COUNT(column_counts); i++) {
            const int64_t columns = column_counts[i];
            const int64_t group = PX_MIN(columns, 20 + 12 * (int64_t)(i % 3));
            matrix m = make_matrix((px_weight_type)type, 18, columns, group, MATRIX_RANDOM,
                                   (matrix_offsets)(i % OFFSETS), 0, &state);
            double *tolerance = allocate((size_t)columns, sizeof *tolerance);
            for (int64_t row = 0; row < 18; row += 1 + row % 6) {
                const double *values = m.values + row * columns;
                for (int64_t c = 0; c < columns; c++) /* products are below 32 with minima */
                    tolerance[c] = is_integer(m.w.type)
                                       ? fabs(values[c]) * 0x1p-24 + (m.w.minima != NULL) * 0x1p-19
                                       : 0;
                const row_of arguments = {&m.w, row};
                check_case c = {.call = call_dequantize,
                                .arguments = &arguments,
                                .out_count = (size_t)columns,
                                .expected = values,
                                .tolerance = tolerance};
                snprintf(c.name, sizeof c.name, "dequantize %s %" PRId64, type_names[type], columns);
                check_run(&c);
            }
            free(tolerance);
            free_matrix(&m);
        }
}

static void test_sizes(void **unused)
{
    (void)unused;
    static const struct {
        int64_t columns, bytes[PX_WEIGHT_TYPES];
    } cases[] = {{1, {4, 2, 2, 32, 16}}, {32, {128, 64, 64, 32, 16}}, {33, {132, 66, 66, 64, 32}}};
    for (size_t i = 0; i < PX_COUNT(cases); i++)
        for (int type = 0; type < PX_WEIGHT_TYPES; type++)
            assert_int_equal(px_weight_row_bytes((px_weight_type)type, cases[i].columns),
                             cases[i].bytes[type]);
    static const struct {
        int64_t rows, padded;
    } rows[] = {{1, 16}, {16, 16}, {17, 32}, {32064, 32064}};
    for (size_t i = 0; i < PX_COUNT(rows); i++) {
        assert_int_equal(px_weight_padded_rows(PX_WEIGHT_I4, rows[i].rows), rows[i].padded);
        assert_int_equal(px_weight_padded_rows(PX_WEIGHT_I8, rows[i].rows), rows[i].padded);
        assert_int_equal(px_weight_padded_rows(PX_WEIGHT_BF16, rows[i].rows), rows[i].rows);
    }
    for (int type = PX_WEIGHT_I8; type <= PX_WEIGHT_I4; type++) {
        const px_weight w = {.type = (px_weight_type)type, .rows = 40, .columns = 100,
                             .group_size = 30};
        for (int64_t r = 0; r < w.rows; r++)
            for (int64_t c = 0; c < w.columns; c++) {
                bool high, expected;
                const int64_t at = (int64_t)place(&w, r, c, &expected);
                assert_int_equal(px_weight_offset(&w, r, c, &high), at);
                assert_int_equal(high, expected);
                assert_int_equal(px_weight_group_index(&w, r, c / 30), group_place(&w, r, c / 30));
            }
    }
    assert_int_equal(px_weight_groups(&(px_weight){.columns = 65, .group_size = 32}), 3);
    assert_int_equal(px_weight_groups(&(px_weight){.columns = 65, .group_size = 65}), 1);
}

/* ---- bench --------------------------------------------------------------------------------- */

static void bench_shape(px_weight_type type, bool q8, matrix_offsets offsets, int64_t group_size,
                        int64_t rows, int64_t columns, int64_t count)
{
    char name[96];
    snprintf(name, sizeof name, "%s%s%s g%" PRId64 " %" PRId64 "x%" PRId64 " n=%" PRId64,
             type_names[type], q8 ? " q8" : "", offset_names[offsets], group_size, rows, columns,
             count);
    if (strstr(name, options.bench_filter) == NULL) return;
    uint64_t state = 19;
    const int64_t group = group_size == -1 ? columns : group_size;
    matrix m = make_matrix(type, rows, columns, group, MATRIX_RANDOM, offsets, 0, &state);
    tokens a = make_tokens(count, columns, q8, DATA_NORMAL, &state);
    choose_sums(&a, &m.w);
    run_product(name, &m, &a, 0, rows);
    free_tokens(&a);
    free_matrix(&m);
}

/* Decode streams matrices larger than any cache; prefill takes a few rows, quickly done, so that a
 * busy machine disturbs the best run little. */
static void test_bench(void **unused)
{
    (void)unused;
    if (!options.bench) return;
    static const struct {
        px_weight_type type;
        bool q8;
        matrix_offsets offsets;
        int64_t group_size, rows;
    } cases[] = {
        {PX_WEIGHT_I4, true, SYMMETRIC, 128, 65536}, {PX_WEIGHT_I4, true, ZEROS, 128, 65536},
        {PX_WEIGHT_I4, true, SYMMETRIC, 32, 65536},  {PX_WEIGHT_I4, true, MINIMA, 32, 65536},
        {PX_WEIGHT_I4, true, SYMMETRIC, -1, 65536},  {PX_WEIGHT_I8, true, SYMMETRIC, -1, 32064},
        {PX_WEIGHT_I8, true, ZEROS, -1, 32064},      {PX_WEIGHT_I8, true, MINIMA, 32, 32064},
        {PX_WEIGHT_I8, true, SYMMETRIC, 16, 32064},  {PX_WEIGHT_I4, true, MINIMA, 16, 65536},
        {PX_WEIGHT_F16, false, SYMMETRIC, -1, 20000}, {PX_WEIGHT_BF16, false, SYMMETRIC, -1, 20000},
        {PX_WEIGHT_F32, false, SYMMETRIC, -1, 10000}, {PX_WEIGHT_I4, false, SYMMETRIC, 128, 65536},
        {PX_WEIGHT_I8, false, SYMMETRIC, -1, 32064},
    };
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        bench_shape(cases[i].type, cases[i].q8, cases[i].offsets, cases[i].group_size, cases[i].rows,
                    3072, 1);
        bench_shape(cases[i].type, cases[i].q8, cases[i].offsets, cases[i].group_size, cases[i].rows,
                    3072, 4);
        bench_shape(cases[i].type, cases[i].q8, cases[i].offsets, cases[i].group_size, 512, 3072,
                    128);
        bench_shape(cases[i].type, cases[i].q8, cases[i].offsets, cases[i].group_size, 3072, 8192,
                    512);
    }
}

int main(int count, char **arguments)
{
    check_arguments(count, arguments);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_integers_q8),  cmocka_unit_test(test_integers_f32),
        cmocka_unit_test(test_many_tokens),  cmocka_unit_test(test_saturation),
        cmocka_unit_test(test_row_stride),
        cmocka_unit_test(test_not_finite),   cmocka_unit_test(test_dequantize),
        cmocka_unit_test(test_bench),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
