/* Float weights. A sum runs in eight lanes (column modulo 8) with one fused multiply-add a column. */
#include "kernels/x86/avx2.h"

#include <string.h>

#include "base/memory.h"

enum {
    TOKENS = 4,          /* in a prefill tile */
    PANEL_BYTES = 1 << 17 /* weights that stay in the cache for all tokens */
};

/* Bytes of a block of 32 columns. */
PX_INLINE int64_t block_bytes(const px_weight_type type)
{
    return type == PX_WEIGHT_F32 ? 128 : 64;
}

/* Columns 8 * part to 8 * part + 7 of the block at p. */
PX_INLINE __m256 load_part(const px_weight_type type, const unsigned char *p, const int part)
{
    if (type == PX_WEIGHT_F32) return _mm256_loadu_ps((const float *)(const void *)(p + part * 32));
    const __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(p + part * 16));
    if (type == PX_WEIGHT_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* Adds the block of R rows (bytes p[r]) and T tokens (floats x[t]) to sums. */
PX_INLINE void add_block(const px_weight_type type, const int R, const int T,
                         const unsigned char *const *p, const float *const *x,
                         __m256 sums[4][TOKENS])
{
    PX_UNROLL for (int part = 0; part < 4; part++) {
        __m256 value[4];
        PX_UNROLL for (int r = 0; r < R; r++) value[r] = load_part(type, p[r], part);
        PX_UNROLL for (int t = 0; t < T; t++) {
            const __m256 x_part = _mm256_loadu_ps(x[t] + part * 8);
            PX_UNROLL for (int r = 0; r < R; r++)
                sums[r][t] = _mm256_fmadd_ps(value[r], x_part, sums[r][t]);
        }
    }
}

/* The last columns, fewer than 32, through zeroed copies. */
PX_INLINE void add_tail(const px_weight_type type, const int R, const int T, int64_t columns,
                        const unsigned char *const *p, const float *const *x,
                        __m256 sums[4][TOKENS])
{
    unsigned char w_copy[4][128];
    float x_copy[TOKENS][PX_COLUMN_BLOCK];
    const unsigned char *w_at[4];
    const float *x_at[TOKENS];
    const int64_t size = columns * block_bytes(type) / PX_COLUMN_BLOCK;
    for (int r = 0; r < R; r++) {
        memset(w_copy[r], 0, sizeof w_copy[r]);
        memcpy(w_copy[r], p[r], (size_t)size);
        w_at[r] = w_copy[r];
    }
    for (int t = 0; t < T; t++) {
        memset(x_copy[t], 0, sizeof x_copy[t]);
        memcpy(x_copy[t], x[t], (size_t)columns * sizeof x_copy[t][0]);
        x_at[t] = x_copy[t];
    }
    add_block(type, R, T, w_at, x_at, sums);
}

/* y of rows row.. row + R and tokens token.. token + T. */
PX_INLINE void tile(const px_weight_type type, const int R, const int T, const px_weight *w,
                    int64_t row, const px_activation *x, int64_t token, float *y, int64_t y_stride)
{
    const int64_t columns = w->columns;
    const unsigned char *p[4];
    const float *x_at[TOKENS];
    __m256 sums[4][TOKENS];
    PX_UNROLL for (int r = 0; r < R; r++) {
        p[r] = (const unsigned char *)w->data + (row + r) * w->row_bytes;
        PX_UNROLL for (int t = 0; t < T; t++) sums[r][t] = _mm256_setzero_ps();
    }
    PX_UNROLL for (int t = 0; t < T; t++) x_at[t] = x->f32 + (token + t) * x->f32_stride;

    for (int64_t c = 0; c + PX_COLUMN_BLOCK <= columns; c += PX_COLUMN_BLOCK) {
        add_block(type, R, T, p, x_at, sums);
        PX_UNROLL for (int r = 0; r < R; r++) {
            p[r] += block_bytes(type);
            if (T == 1) _mm_prefetch((const char *)p[r] + R * w->row_bytes, _MM_HINT_T0);
        }
        PX_UNROLL for (int t = 0; t < T; t++) x_at[t] += PX_COLUMN_BLOCK;
    }
    if (columns % PX_COLUMN_BLOCK > 0)
        add_tail(type, R, T, columns % PX_COLUMN_BLOCK, p, x_at, sums);
    PX_UNROLL for (int r = 0; r < R; r++)
        PX_UNROLL for (int t = 0; t < T; t++)
            y[(token + t) * y_stride + row + r] = px_avx2_sum(sums[r][t]);
}

/* Tiles over rows row_begin.. row_end and all tokens. */
PX_INLINE void panel(const px_weight_type type, const px_weight *w, int64_t row_begin,
                     int64_t row_end, const px_activation *x, float *y, int64_t y_stride)
{
    enum { R = 3 }; /* as the registers allow */
    int64_t token = 0;
    for (; token + TOKENS <= x->tokens; token += TOKENS) {
        int64_t row = row_begin;
        for (; row + R <= row_end; row += R)
            tile(type, R, TOKENS, w, row, x, token, y, y_stride);
        for (; row < row_end; row++) tile(type, 1, TOKENS, w, row, x, token, y, y_stride);
    }
    for (; token < x->tokens; token++) {
        int64_t row = row_begin;
        for (; row + 4 <= row_end; row += 4) tile(type, 4, 1, w, row, x, token, y, y_stride);
        for (; row < row_end; row++) tile(type, 1, 1, w, row, x, token, y, y_stride);
    }
}

typedef void panel_fn(const px_weight *w, int64_t row_begin, int64_t row_end,
                      const px_activation *x, float *y, int64_t y_stride);

#define PANEL_FUNCTION(name, type)                                                               \
    static void name(const px_weight *w, int64_t row_begin, int64_t row_end,                     \
                     const px_activation *x, float *y, int64_t y_stride)                         \
    {                                                                                            \
        panel(type, w, row_begin, row_end, x, y, y_stride);                                      \
    }

PANEL_FUNCTION(panel_f32, PX_WEIGHT_F32)
PANEL_FUNCTION(panel_f16, PX_WEIGHT_F16)
PANEL_FUNCTION(panel_bf16, PX_WEIGHT_BF16)

void px_avx2_matmul_f32(const px_weight *w, int64_t row_begin, int64_t row_end,
                        const px_activation *x, float *y, int64_t y_stride)
{
    static panel_fn *const panels[] = {panel_f32, panel_f16, panel_bf16};
    const int64_t rows = PX_MAX(PANEL_BYTES / PX_MAX(w->row_bytes, 1) / 12 * 12, 12);
    for (int64_t row = row_begin; row < row_end; row += rows)
        panels[w->type](w, row, PX_MIN(row + rows, row_end), x, y, y_stride);
}
