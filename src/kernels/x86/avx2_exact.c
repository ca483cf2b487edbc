/*
 * Integer weights with float32 activations. The lanes of a vector are 8 rows of a tile. A sum has
 * four parts, by the column modulo 4; few tokens compute all of them in one pass over a group, more
 * take a pass for each, so that the parts of all tokens stay in registers.
 */
#include "kernels/x86/avx2.h"

enum {
    ONE_PASS = 2 /* most tokens with all parts in registers */
};

/* Columns 4 * quad + k of a block, of 8 rows: q - zero. p: the block, from the half of the rows. */
PX_INLINE __m256 load_column(const px_weight_type type, const unsigned char *p, const int quad,
                             const int k, __m256i zero)
{
    const int lines = type == PX_WEIGHT_I4 ? 4 : 8, shift = 8 * k + (quad >= lines ? 4 : 0);
    const __m256i line = _mm256_loadu_si256((const __m256i *)(const void *)(p + quad % lines * 64));
    const __m256i mask = _mm256_set1_epi32(type == PX_WEIGHT_I4 ? 15 : 255);
    const __m256i value = _mm256_and_si256(_mm256_srli_epi32(line, shift), mask);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(value, zero));
}

/* Parts k to k + K of one block; x[t]: its 32 columns. */
PX_INLINE void add_block(const px_weight_type type, const int T, const int k, const int K,
                         const unsigned char *p, int64_t prefetch, __m256i zero,
                         const float *const *x, __m256 part[4][PX_TOKEN_TILE])
{
    PX_UNROLL for (int quad = 0; quad < PX_COLUMN_BLOCK / 4; quad++) {
        if (T <= ONE_PASS && quad < (type == PX_WEIGHT_I4 ? 4 : 8))
            _mm_prefetch((const char *)p + 64 * quad + prefetch, _MM_HINT_T0);
        PX_UNROLL for (int i = 0; i < K; i++) {
            const __m256 value = load_column(type, p, quad, k + i, zero);
            PX_UNROLL for (int t = 0; t < T; t++)
                part[i][t] = _mm256_fmadd_ps(value, _mm256_broadcast_ss(x[t] + 4 * quad + k + i),
                                             part[i][t]);
        }
    }
}

/* One group: `count` blocks at p, of which the last has `tail` columns when that is not 0. Part k of
 * token t goes to sums[k][t]. */
PX_INLINE void add_group(const px_weight_type type, const int T, const int k, const int K,
                         const unsigned char *p, int64_t prefetch, __m256i zero,
                         const float *const *x, int64_t count, int64_t tail, __m256 sums[4][PX_TOKEN_TILE])
{
    const int64_t block_bytes = type == PX_WEIGHT_I4 ? 256 : 512;
    const float *x_at[PX_TOKEN_TILE];
    __m256 part[4][PX_TOKEN_TILE];
    PX_UNROLL for (int t = 0; t < T; t++) x_at[t] = x[t];
    PX_UNROLL for (int i = 0; i < K; i++)
        PX_UNROLL for (int t = 0; t < T; t++) part[i][t] = _mm256_setzero_ps();
    for (int64_t b = 0; b < count - (tail > 0); b++) {
        add_block(type, T, k, K, p, prefetch, zero, x_at, part);
        PX_UNROLL for (int t = 0; t < T; t++) x_at[t] += PX_COLUMN_BLOCK;
        p += block_bytes;
    }
    if (tail > 0) { /* the columns that are not there meet zeros */
        float copy[PX_TOKEN_TILE][PX_COLUMN_BLOCK];
        for (int t = 0; t < T; t++) {
            memset(copy[t], 0, sizeof copy[t]);
            memcpy(copy[t], x_at[t], (size_t)tail * sizeof copy[t][0]);
            x_at[t] = copy[t];
        }
        add_block(type, T, k, K, p, prefetch, zero, x_at, part);
    }
    PX_UNROLL for (int i = 0; i < K; i++)
        PX_UNROLL for (int t = 0; t < T; t++) sums[k + i][t] = part[i][t];
}

PX_INLINE __m256i group_zero(const px_weight_type type, const px_weight *w, int64_t at)
{
    if (w->zeros == NULL) return _mm256_set1_epi32(type == PX_WEIGHT_I4 ? 8 : 128);
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(w->zeros + at)));
}

/* Rows 8 * half to 8 * half + 7 of a tile. */
PX_INLINE void half_tile(const px_weight_type type, const int T, const px_weight *w, int64_t row_tile,
                         int half, const px_token_tile *x, float *out, int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p = px_weight_tile(w, row_tile) + 32 * half;
    const float *x_at[PX_TOKEN_TILE];
    __m256 total[PX_TOKEN_TILE], sums[4][PX_TOKEN_TILE];
    PX_UNROLL for (int t = 0; t < T; t++) {
        x_at[t] = x->f32 + t * x->f32_stride;
        total[t] = _mm256_setzero_ps();
    }
    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t at = (row_tile * groups + group) * PX_ROW_TILE + 8 * half;
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        const int64_t tail = left == 0 ? w->columns % PX_COLUMN_BLOCK : 0;
        const __m256i zero = group_zero(type, w, at);
        if (T <= ONE_PASS)
            add_group(type, T, 0, 4, p, w->prefetch, zero, x_at, count, tail, sums);
        else
            PX_UNROLL for (int k = 0; k < 4; k++)
                add_group(type, T, k, 1, p, w->prefetch, zero, x_at, count, tail, sums);
        const __m256 scale = px_avx2_scales(w, at);
        PX_UNROLL for (int t = 0; t < T; t++) {
            const __m256 sum = _mm256_add_ps(_mm256_add_ps(sums[0][t], sums[2][t]),
                                             _mm256_add_ps(sums[1][t], sums[3][t]));
            total[t] = _mm256_fmadd_ps(sum, scale, total[t]);
            x_at[t] += count * PX_COLUMN_BLOCK;
        }
        p += count * (type == PX_WEIGHT_I4 ? 256 : 512);
    }
    PX_UNROLL for (int t = 0; t < T; t++)
        _mm256_storeu_ps(out + t * out_stride + 8 * half, total[t]);
}

PX_INLINE void run_tiles(const px_weight_type type, const int T, const px_weight *w, int64_t begin,
                         int64_t end, const px_token_tile *x, float *out, int64_t out_stride)
{
    for (; begin < end; begin++, out += PX_ROW_TILE)
        for (int half = 0; half < 2; half++)
            half_tile(type, T, w, begin, half, x, out, out_stride);
}

PX_TILE_FUNCTIONS(I8)
PX_TILE_FUNCTIONS(I4)

px_tile_fn *px_exact_tiles(px_weight_type type)
{
    return type == PX_WEIGHT_I8 ? tiles_I8 : tiles_I4;
}
