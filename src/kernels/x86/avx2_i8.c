/*
 * int8 weights with q8 activations. The weights become signed by flipping the top bit (w - 128);
 * the product is |w| * (x with the sign of w), at most 2 * 128 * 127 for a pair: no saturation. What
 * then remains of the zero point, 128 - zero, goes through the block sums; it is nothing for
 * symmetric weights. Sums run as in avx2_i4.c: eight lanes, segments of one group.
 */
#include "kernels/x86/avx2.h"

#include "base/memory.h"

enum {
    TOKENS = 4, /* in a prefill tile */
    PANEL = 32  /* rows that stay in the cache for all tokens */
};

PX_INLINE __m256i load256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* What a zero point leaves, in the lower half of 32-bit lanes: a block sum fits 16 bits, and the
 * upper half of its lane then meets a zero. */
PX_INLINE __m256i zero_rest(int zero)
{
    return _mm256_set1_epi32((128 - zero) & 0xffff);
}

/* y of rows row.. row + R and tokens token.. token + T. */
PX_INLINE void tile(const int R, const int T, const bool zeros, const px_weight *w, int64_t row,
                    const px_activation *x, int64_t token, float *y, int64_t y_stride)
{
    const int64_t blocks = (w->columns + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK;
    const int64_t groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *data = (const unsigned char *)w->data + row * w->row_bytes;
    const int8_t *q = x->q8 + token * blocks * PX_COLUMN_BLOCK;
    const float *q_scale = x->q8_scale + token * blocks;
    const int32_t *q_sum = x->q8_sum + token * blocks;
    const __m256i top = _mm256_set1_epi8(-128), ones = _mm256_set1_epi16(1);

    __m256 sums[4][TOKENS];
    PX_UNROLL for (int r = 0; r < R; r++)
        PX_UNROLL for (int t = 0; t < T; t++) sums[r][t] = _mm256_setzero_ps();

    for (int64_t group = 0; group < groups; group++) {
        const int64_t end = PX_MIN((group + 1) * group_blocks, blocks);
        __m256 part[4][TOKENS];
        __m256i zero[4];
        PX_UNROLL for (int r = 0; r < R; r++) {
            if (zeros) zero[r] = zero_rest(w->zeros[(row + r) * groups + group]);
            PX_UNROLL for (int t = 0; t < T; t++) part[r][t] = _mm256_setzero_ps();
        }
        for (int64_t b = group * group_blocks; b < end; b++) {
            PX_UNROLL for (int r = 0; r < R; r++) {
                const unsigned char *p = data + r * w->row_bytes + b * PX_COLUMN_BLOCK;
                if (T == 1) _mm_prefetch((const char *)p + R * w->row_bytes, _MM_HINT_T0);
                const __m256i value = _mm256_xor_si256(load256(p), top);
                const __m256i magnitude = _mm256_abs_epi8(value);
                PX_UNROLL for (int t = 0; t < T; t++) {
                    const int64_t at = t * blocks + b;
                    const __m256i signs = _mm256_sign_epi8(load256(q + at * PX_COLUMN_BLOCK), value);
                    __m256i dot = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signs), ones);
                    if (zeros) {
                        const __m256i sum = _mm256_zextsi128_si256(_mm_cvtsi32_si128(q_sum[at]));
                        dot = _mm256_add_epi32(dot, _mm256_madd_epi16(sum, zero[r]));
                    }
                    part[r][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot),
                                                 _mm256_broadcast_ss(q_scale + at), part[r][t]);
                }
            }
        }
        PX_UNROLL for (int r = 0; r < R; r++) {
            const __m256 scale = _mm256_broadcast_ss(w->scales + (row + r) * groups + group);
            PX_UNROLL for (int t = 0; t < T; t++)
                sums[r][t] = _mm256_fmadd_ps(part[r][t], scale, sums[r][t]);
        }
    }
    PX_UNROLL for (int r = 0; r < R; r++)
        PX_UNROLL for (int t = 0; t < T; t++)
            y[(token + t) * y_stride + row + r] = px_avx2_sum(sums[r][t]);
}

/* Tiles over rows row.. row_end and all tokens. */
PX_INLINE void panel(const bool zeros, const px_weight *w, int64_t row_begin, int64_t row_end,
                     const px_activation *x, float *y, int64_t y_stride)
{
    int64_t token = 0;
    for (; token + TOKENS <= x->tokens; token += TOKENS) {
        int64_t row = row_begin;
        for (; row + 2 <= row_end; row += 2)
            tile(2, TOKENS, zeros, w, row, x, token, y, y_stride);
        for (; row < row_end; row++) tile(1, TOKENS, zeros, w, row, x, token, y, y_stride);
    }
    for (; token < x->tokens; token++) {
        int64_t row = row_begin;
        for (; row + 4 <= row_end; row += 4) tile(4, 1, zeros, w, row, x, token, y, y_stride);
        for (; row < row_end; row++) tile(1, 1, zeros, w, row, x, token, y, y_stride);
    }
}

static void panel_symmetric(const px_weight *w, int64_t row_begin, int64_t row_end,
                            const px_activation *x, float *y, int64_t y_stride)
{
    panel(false, w, row_begin, row_end, x, y, y_stride);
}

static void panel_zeros(const px_weight *w, int64_t row_begin, int64_t row_end,
                        const px_activation *x, float *y, int64_t y_stride)
{
    panel(true, w, row_begin, row_end, x, y, y_stride);
}

void px_avx2_matmul_i8(const px_weight *w, int64_t row_begin, int64_t row_end,
                       const px_activation *x, float *y, int64_t y_stride)
{
    if (x->q8 == NULL) {
        px_avx2_matmul_f32(w, row_begin, row_end, x, y, y_stride);
        return;
    }
    if (!px_avx2_groups_fit(w)) {
        px_reference_matmul(w, row_begin, row_end, x, y, y_stride);
        return;
    }
    for (int64_t row = row_begin; row < row_end; row += PANEL) {
        const int64_t end = PX_MIN(row + PANEL, row_end);
        if (w->zeros != NULL)
            panel_zeros(w, row, end, x, y, y_stride);
        else
            panel_symmetric(w, row, end, x, y, y_stride);
    }
}
