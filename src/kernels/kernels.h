/*
 * The kernels: one table of function pointers, filled with the C reference (reference.c) and then
 * overridden by what the CPU has (x86/ or arm/). Everything above calls through the table.
 *
 * Numeric contract. A row's result for one token does not depend on how many tokens or rows the
 * call has, on the row range or on the number of threads: y[t][r] is one fixed sum over the
 * columns. Different instruction sets may order the sum over float weights differently. Over integer
 * weights it is the same on all of them:
 *   q8:  for each group, part = 0; for each span of a block in it, with the exact integer
 *        dot = sum of (q - zero) * q8, part = fma(dot, q8_scale, part),
 *        and with minima total = fma(q8_scale * (sum of q8), minimum, total);
 *        at its end total = fma(part, scale, total).
 *   f32: for each group, part[4] = 0; for each column c of it,
 *        part[c % 4] = fma(q - zero, x[c], part[c % 4]);
 *        at its end, with minima and the four sums of x[c] likewise,
 *        total = fma((sum[0] + sum[2]) + (sum[1] + sum[3]), minimum, total), and then
 *        total = fma((part[0] + part[2]) + (part[1] + part[3]), scale, total).
 */
#ifndef PX_KERNELS_KERNELS_H
#define PX_KERNELS_KERNELS_H

#include <phlox/tools.h>

/* How the values of a packed matrix are held. Rows are output channels. */
typedef enum px_weight_type {
    PX_WEIGHT_F32,
    PX_WEIGHT_F16,
    PX_WEIGHT_BF16,
    PX_WEIGHT_I8, /* w = (q - zero) * scale, q unsigned 8 bit */
    PX_WEIGHT_I4, /* w = (q - zero) * scale, q unsigned 4 bit */
    PX_WEIGHT_TYPES
} px_weight_type;

enum {
    PX_COLUMN_BLOCK = 32, /* integer rows and quantized activations are padded to it */
    PX_HALF_BLOCK = PX_COLUMN_BLOCK / 2,
    PX_SUPER_BLOCK = 256, /* columns whose scales are steps of one scale */
    PX_ROW_TILE = 16,     /* rows of integer matrices that are interleaved */
    PX_TOKEN_TILE = 8     /* tokens of quantized activations that are interleaved */
};

/*
 * A matrix [rows, columns] as the kernels read it.
 *
 * f32, f16, bf16: `data` is row-major without padding, exactly as in a checkpoint (so that it can be
 * mapped in place; any alignment of at least the element size).
 *
 * i8, i4: the columns are cut into groups of group_size (the last may be shorter; group_size ==
 * columns means one group a row), each with its scale and zero point: w = (q - zero) * scale.
 * Symmetric weights have the constant zero point 128 (i8) or 8 (i4) and zeros == NULL. With minima
 * there are no zero points, and w = q * scale + minimum. Scales may be negative. Sixteen rows are
 * interleaved so that they fill the lanes of a vector; what pads the last tile of rows and the last
 * block of columns has the scale 0 or meets activations of 0.
 *   scales: float or, with half_scales, float16 [row tiles, groups, 16]
 *   zeros:  uint8_t [row tiles, groups, 16] or NULL
 *   minima: as scales, or NULL
 *   scale_steps: int8_t [row tiles, groups, 16] or NULL. With them scales has only one float16 for 256
 *           columns, [row tiles, super-blocks, 16], of which a row is a whole number; a scale is that
 *           times its step, which float32 holds exactly. Groups are 16 or 32 columns.
 *   minimum_steps: those of the minima, where there are both
 *   data:   [row tiles, blocks of 32 columns, lines, 16 rows, 4 bytes]: a line of 64 bytes has 4 bytes
 *           of each row. i8: 8 lines, line j has columns 4j to 4j + 3. i4: 4 lines, the low nibbles
 *           of line j are columns 4j to 4j + 3, the high nibbles columns 16 + 4j to 16 + 4j + 3.
 */
typedef struct px_weight {
    px_weight_type type;
    int64_t rows, columns;
    int64_t group_size; /* columns; 1 to columns */
    int64_t row_bytes;
    int64_t prefetch; /* products of few tokens fetch what is so many bytes ahead of what they read */
    const void *data;
    bool half_scales;
    const void *scales;
    const uint8_t *zeros;
    const void *minima;
    const int8_t *scale_steps, *minimum_steps;
} px_weight;

/* What a matrix consists of: data and what goes with integers, each where there is any. */
typedef enum px_part {
    PX_PART_DATA,
    PX_PART_SCALES,
    PX_PART_ZEROS,
    PX_PART_MINIMA,
    PX_PART_SCALE_STEPS,
    PX_PART_MINIMUM_STEPS,
    PX_PARTS
} px_part;

typedef struct px_place {
    const void *data; /* NULL: there is no such part */
    size_t bytes;
} px_place;

/* Where the parts of a matrix are. */
void px_weight_parts(const px_weight *weight, px_place parts[PX_PARTS]);
/* Makes it read them elsewhere. */
void px_weight_place(px_weight *weight, const void *const parts[PX_PARTS]);

/* Rows as stored: integer matrices are padded to PX_ROW_TILE. */
int64_t px_weight_padded_rows(px_weight_type type, int64_t rows);
/* Offset in bytes of one integer of a packed matrix, and whether it is the high nibble there. */
int64_t px_weight_offset(const px_weight *weight, int64_t row, int64_t column, bool *high);
/* Index of the scale, the zero point and the minimum of a row in a group. */
int64_t px_weight_group_index(const px_weight *weight, int64_t row, int64_t group);
/* The scale and the minimum at such an index. */
float px_weight_scale(const px_weight *weight, int64_t index);
float px_weight_minimum(const px_weight *weight, int64_t index);

/* Quantizes x [columns] to a row of an integer matrix in groups of 32 columns, symmetric. */
void px_store_row(px_weight_type type, int64_t columns, int64_t row, const float *x, void *data,
                  float *scales);
/* Quantizes x [rows] to a column of an integer matrix of `columns` columns, with one scale; padding
 * rows are left alone. */
void px_store_column(px_weight_type type, int64_t rows, int64_t columns, int64_t column,
                     const float *x, void *data, float *scale);

/* Walsh-Hadamard transform of each `size` (a power of two) of n values, scaled to be its own inverse: it
 * spreads outliers, and what is rotated on both sides keeps its dot product. */
void px_hadamard(float *x, int64_t n, int64_t size);

/* Whether the groups are halves of blocks: 16 columns, and whole blocks of them. */
bool px_weight_has_halves(const px_weight *weight);

/* Groups of a row, bytes of a row of packed data. */
int64_t px_weight_groups(const px_weight *weight);
int64_t px_weight_row_bytes(px_weight_type type, int64_t columns);

/*
 * The activations of n tokens, for px_matmul().
 *   f32: float [n, columns], rows f32_stride floats apart.
 *   q8: NULL when the engine computes with float32 activations, or for float weights. Else int8_t with
 *   a scale and the sum of its integers for each block of 32 columns: x = q8 * scale. A block without
 *   values has the scale 0; one with a value that is not finite has the scale NaN, which shows in that
 *   token's results only. Made by px_kernels.quantize. Tokens are interleaved in tiles of
 *   PX_TOKEN_TILE; the last tile has what remains, T tokens. With `blocks` of 32 columns a tile begins
 *   at tile * PX_TOKEN_TILE * blocks * 32 in q8 and tile * PX_TOKEN_TILE * blocks in the others:
 *     q8 [blocks, 8, T, 4]: four columns of each token in turn
 *     q8_scale, q8_sum [blocks, T]
 *   half_sums: q8_sum has those of 16 columns, [blocks, 2, T], made by px_half_sums(). For weights that
 *   px_weight_has_halves(), which are faster with them, and for no others.
 *   u8: q8 + 128 in the same order, or NULL: PX_MANY_TOKENS or more are faster with it where
 *   px_kernels.wants_u8. It changes no result.
 */
typedef struct px_activation {
    int64_t tokens, columns, f32_stride;
    const float *f32;
    const int8_t *q8;
    const float *q8_scale;
    const int32_t *q8_sum;
    const uint8_t *u8;
    bool half_sums;
} px_activation;

enum { PX_MANY_TOKENS = 32 };

/* Makes u8 of `count` values of q8. */
void px_shift_activations(const int8_t *q8, int64_t count, uint8_t *u8);

/* Makes the half_sums of a tile of tokens: [blocks, 2, tokens] of q8 [blocks, 8, tokens, 4]. */
void px_half_sums(const int8_t *q8, int64_t blocks, int64_t tokens, int32_t *sums);

/* One tile of them: `tokens` (1 to PX_TOKEN_TILE) with q8, scale and sum as above, or f32. */
typedef struct px_token_tile {
    int64_t tokens;
    const int8_t *q8;
    const float *scale;
    const int32_t *sum;
    const float *f32;
    int64_t f32_stride;
} px_token_tile;

/* out[t * out_stride + r] = the products of the tiles of rows [begin, end) of an integer matrix, whose
 * first row is r = 0, rows that only pad included. Its groups are whole blocks of columns or whole
 * rows. */
typedef void px_tile_fn(const px_weight *w, int64_t begin, int64_t end, const px_token_tile *x,
                        float *out, int64_t out_stride);

/* How keys and values are cached; see engine/kv_cache.h. */
typedef enum px_cache_type {
    PX_CACHE_F32,
    PX_CACHE_F16,
    PX_CACHE_I8,
    PX_CACHE_I4,
    PX_CACHE_TYPES,
    PX_CACHE_FLOATS = PX_CACHE_I8 /* so many have rows of floats */
} px_cache_type;

typedef void px_matmul_fn(const px_weight *w, int64_t row_begin, int64_t row_end,
                          const px_activation *x, float *y, int64_t y_stride);

typedef struct px_kernels {
    const char *name; /* the last that applied: "reference", "avx2", "avx512-vnni", "neon", ... */

    /* y[t * y_stride + r] = sum over columns of x[t] * w[r], for rows row_begin <= r < row_end and
     * all tokens. matmul is for activations without q8; matmul_q8 for those with it and for integer
     * weights, else NULL. px_matmul() chooses. */
    px_matmul_fn *matmul[PX_WEIGHT_TYPES], *matmul_q8[PX_WEIGHT_TYPES];

    bool wants_u8; /* matmul_q8 of i4 does */

    /* The same in tiles, for integer weights and q8 activations; else NULL. */
    px_tile_fn *matmul_tiles[PX_WEIGHT_TYPES];

    /* Row `row` of a matrix as float32 [columns] (embedding lookup). */
    void (*dequantize[PX_WEIGHT_TYPES])(const px_weight *w, int64_t row, float *out);

    /* One token's activations to q8: token `token` of a tile of `tokens` (1 to PX_TOKEN_TILE), with
     * scale = max|x| / 127 for each block and q = round half to even (x / scale). Columns behind
     * `columns` are zero. x: [columns]; q, scale, sum: where the tile begins. */
    void (*quantize)(const float *x, int64_t columns, int token, int tokens, int8_t *q,
                     float *scale, int32_t *sum);

    /* The same as two tokens of a tile, 2 * token and 2 * token + 1 of 2 * tokens: the second is what
     * the rounding of the first left, so that their sum has 15 bits. */
    void (*quantize_fine)(const float *x, int64_t columns, int token, int tokens, int8_t *q,
                          float *scale, int32_t *sum);

    /* out = x / sqrt(mean(x^2) + epsilon) * gain; all float32 [n]; out may be x. */
    void (*rms_norm)(const float *x, const float *gain, int64_t n, float epsilon, float *out);

    /* out[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)); out may be gate. */
    void (*swiglu)(const float *gate, const float *up, int64_t n, float *out);

    /* x[i] += y[i] */
    void (*add)(float *x, const float *y, int64_t n);

    /* x[i] *= y[i] */
    void (*multiply)(float *x, const float *y, int64_t n);

    /* Rotary embedding, in place, of one head: the first rotary_dim values in two halves,
     * x' = x * cos - partner * sin. cos, sin: float32 [rotary_dim / 2]. */
    void (*rope)(float *x, const float *cosine, const float *sine, int64_t rotary_dim);

    /* Stores head_dim floats in a cache row of the given type. */
    void (*cache_store[PX_CACHE_FLOATS])(const float *x, void *row, int64_t head_dim);

    /* scores[j] = scale * dot(q, key j), j < keys; key: rows of head_dim values, contiguous. */
    void (*attention_scores[PX_CACHE_FLOATS])(const float *q, const void *key, int64_t keys,
                                              int64_t head_dim, float scale, float *scores);

    /* out += sum over j of weights[j] * value j; value: rows of head_dim values, contiguous. */
    void (*attention_mix[PX_CACHE_FLOATS])(const float *weights, const void *value, int64_t keys,
                                           int64_t head_dim, float *out);

    /* x = softmax(x) in place over n values; returns nothing special for n == 1. */
    void (*softmax)(float *x, int64_t n);
} px_kernels;

static inline void px_matmul(const px_kernels *kernels, const px_weight *w, int64_t row_begin,
                             int64_t row_end, const px_activation *x, float *y, int64_t y_stride)
{
    px_matmul_fn *const *const by_type = x->q8 == NULL ? kernels->matmul : kernels->matmul_q8;
    by_type[w->type](w, row_begin, row_end, x, y, y_stride);
}

/* The table for a set of PHLOX_CPU_* features (those not hidden by a mask). */
void px_kernels_init(px_kernels *kernels, uint64_t features);

/* Features of this CPU that the operating system enables. */
uint64_t px_cpu_features(void);

/* What the instruction-set files offer: each overrides entries of the table. */
void px_kernels_reference(px_kernels *kernels);
/* The reference's matmul for every weight type: the fast ones send it what they leave out. */
void px_reference_matmul(const px_weight *w, int64_t row_begin, int64_t row_end,
                         const px_activation *x, float *y, int64_t y_stride);
#if defined(__x86_64__)
void px_kernels_avx2(px_kernels *kernels);
void px_kernels_avxvnni(px_kernels *kernels);    /* after AVX2 */
void px_kernels_avx512(px_kernels *kernels);     /* after AVX2 */
void px_kernels_avx512vnni(px_kernels *kernels); /* after AVX-512 */
#elif defined(__aarch64__)
void px_kernels_neon(px_kernels *kernels);
void px_kernels_dotprod(px_kernels *kernels); /* after NEON */
void px_kernels_i8mm(px_kernels *kernels);    /* after NEON; dotprod is there too */
#endif

#endif
