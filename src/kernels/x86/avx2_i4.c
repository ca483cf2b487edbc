/*
 * int4 weights with q8 activations.
 *
 * Two blocks of 32 columns go together: one 32-byte load has both, its low nibbles are columns 0-15
 * of either block, its high nibbles columns 16-31. The activations are brought into the same order
 * once for many rows. Lanes 0-3 of a sum then belong to the first block and 4-7 to the second, each
 * with its own activation scale. The zero point is taken off in integers, through the block sums.
 *
 * A sum is float32 in eight lanes. It runs over segments: the columns of one group within a chunk of
 * SEGMENT columns. Rows and tokens never mix, so a result depends on neither count.
 */
#include "kernels/x86/avx2.h"

#include <string.h>

#include "base/memory.h"

enum {
    PAIR = 2 * PX_COLUMN_BLOCK,
    TOKENS = 4,               /* in a prefill tile */
    PANEL = 64,               /* rows that one packed tile of activations serves */
    SEGMENT = 2048 / PAIR,    /* pairs; a tile of TOKENS tokens packs one at a time */
    SCRATCH = TOKENS * SEGMENT /* pairs; one token packs this many at a time */
};

/* A pair of blocks of one token's activations. */
typedef struct x_pair {
    int8_t low[32], high[32]; /* columns 0-15 of both blocks; columns 16-31 */
    float scale[8];
    int32_t sum[8]; /* times the zero point to take off: see pack_pair */
} x_pair;

/* With the constant zero point 8 every lane takes off a quarter of 8 * sum; with zero points in the
 * weights the first lane of either block has the sum, to be multiplied. */
PX_INLINE void pack_pair(const int8_t *q, const float *scale, const int32_t *sum, int64_t blocks,
                         bool zeros, x_pair *out)
{
    const bool two = blocks > 1;
    const __m128i none = _mm_setzero_si128();
    const __m128i a0 = _mm_loadu_si128((const __m128i *)(const void *)q);
    const __m128i a1 = _mm_loadu_si128((const __m128i *)(const void *)(q + 16));
    const __m128i b0 = two ? _mm_loadu_si128((const __m128i *)(const void *)(q + 32)) : none;
    const __m128i b1 = two ? _mm_loadu_si128((const __m128i *)(const void *)(q + 48)) : none;
    const __m256i sums = _mm256_set_m128i(_mm_set1_epi32(two ? sum[1] : 0), _mm_set1_epi32(sum[0]));
    const __m256i first = _mm256_setr_epi32(-1, 0, 0, 0, -1, 0, 0, 0);
    _mm256_store_si256((__m256i *)(void *)out->low, _mm256_set_m128i(b0, a0));
    _mm256_store_si256((__m256i *)(void *)out->high, _mm256_set_m128i(b1, a1));
    _mm256_store_ps(out->scale, px_avx2_halves(scale[0], two ? scale[1] : 0));
    _mm256_store_si256((__m256i *)(void *)out->sum,
                       zeros ? _mm256_and_si256(sums, first) : _mm256_slli_epi32(sums, 1));
}

/* Packs pairs begin to end of `tokens` tokens: out [pairs, tokens]. */
static void pack(const px_activation *x, int64_t token, int tokens, int64_t begin, int64_t end,
                 bool zeros, x_pair *out)
{
    const int64_t blocks = (x->columns + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK;
    for (int t = 0; t < tokens; t++) {
        const int64_t first = (token + t) * blocks;
        for (int64_t p = begin; p < end; p++) {
            const int64_t block = first + 2 * p;
            pack_pair(x->q8 + block * PX_COLUMN_BLOCK, x->q8_scale + block, x->q8_sum + block,
                      blocks - 2 * p, zeros, &out[(p - begin) * tokens + t]);
        }
    }
}

/* The groups of both blocks of a pair, counted from the first of the row; the same ones in matrices
 * whose groups hold whole pairs (not `narrow`). */
typedef struct group_pair {
    int64_t low, high;
} group_pair;

/* Moves on to the groups of `pair`, from those of an earlier pair. */
PX_INLINE group_pair groups_at(const px_weight *w, bool narrow, group_pair from, int64_t pair)
{
    const int64_t column = pair * PAIR, size = w->group_size;
    group_pair at = from;
    while ((at.low + 1) * size <= column) at.low++;
    at.high = at.low;
    if (narrow) {
        const int64_t second = PX_MIN(column + PX_COLUMN_BLOCK, w->columns - 1);
        if ((at.low + 1) * size <= second) at.high++;
    }
    return at;
}

PX_INLINE __m256 group_scale(const float *scale, bool narrow, group_pair at)
{
    return narrow ? px_avx2_halves(scale[at.low], scale[at.high])
                  : _mm256_broadcast_ss(scale + at.low);
}

PX_INLINE __m256i group_zero(const uint8_t *zero, bool narrow, group_pair at)
{
    const __m256i low = _mm256_set1_epi32(zero[at.low]);
    return narrow ? _mm256_blend_epi32(low, _mm256_set1_epi32(zero[at.high]), 0xf0) : low;
}

PX_INLINE __m256i load256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

PX_INLINE void prefetch_rows(const int R, const unsigned char *p, int64_t row_bytes)
{
    PX_UNROLL for (int r = 0; r < R; r++)
        _mm_prefetch((const char *)p + r * row_bytes, _MM_HINT_T0);
}

/* Adds one pair of R rows and T tokens to part[R][T]. `half`: only the first block exists. */
PX_INLINE void add_pair(const int R, const int T, const bool zeros, const bool half,
                        const unsigned char *data, int64_t row_bytes, const x_pair *x,
                        const __m256i *zero, __m256 part[4][TOKENS])
{
    const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    PX_UNROLL for (int r = 0; r < R; r++) {
        const void *p = data + r * row_bytes;
        const __m256i w =
            half ? _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)p)) : load256(p);
        const __m256i low = _mm256_and_si256(w, nibble);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(w, 4), nibble);
        PX_UNROLL for (int t = 0; t < T; t++) {
            /* at most 4 * 15 * 127: no saturation */
            const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, load256(x[t].low)),
                                                   _mm256_maddubs_epi16(high, load256(x[t].high)));
            const __m256i dot = _mm256_madd_epi16(pairs, ones);
            const __m256i sum = load256(x[t].sum);
            const __m256i off = zeros ? _mm256_madd_epi16(sum, zero[r]) : sum;
            const __m256 value = _mm256_cvtepi32_ps(_mm256_sub_epi32(dot, off));
            part[r][t] = _mm256_fmadd_ps(value, _mm256_load_ps(x[t].scale), part[r][t]);
        }
    }
}

/* Adds pairs begin to end of rows row.. row + R and T packed tokens to sums [R, T]. */
PX_INLINE void tile(const int R, const int T, const bool zeros, const bool narrow,
                    const px_weight *w, int64_t row, int64_t begin, int64_t end, const x_pair *x,
                    __m256 *sums)
{
    const int64_t groups = px_weight_groups(w), row_bytes = w->row_bytes;
    const int64_t group_pairs = groups == 1 ? INT64_MAX : w->group_size / PAIR;
    const int64_t full = (w->columns + PX_COLUMN_BLOCK - 1) / PAIR; /* pairs that have two blocks */
    const unsigned char *data = (const unsigned char *)w->data + row * row_bytes;
    const float *scales = w->scales + row * groups;
    const uint8_t *zero_points = zeros ? w->zeros + row * groups : NULL;
    __m256 total[4 * TOKENS];
    PX_UNROLL for (int i = 0; i < R * T; i++) total[i] = sums[i];

    group_pair at = {begin * PAIR / w->group_size, 0};
    for (int64_t p = begin, next; p < end; p = next) {
        at = groups_at(w, narrow, at, p);
        next = PX_MIN((p / SEGMENT + 1) * SEGMENT, end);
        if (narrow)
            next = p + 1;
        else if (groups > 1)
            next = PX_MIN((at.low + 1) * group_pairs, next);

        __m256 part[4][TOKENS];
        __m256i zero[4];
        PX_UNROLL for (int r = 0; r < R; r++) {
            zero[r] = zeros ? group_zero(zero_points + r * groups, narrow, at)
                            : _mm256_setzero_si256();
            PX_UNROLL for (int t = 0; t < T; t++) part[r][t] = _mm256_setzero_ps();
        }
        int64_t i = p;
        for (; i < PX_MIN(next, full); i++) {
            const unsigned char *from = data + i * PX_COLUMN_BLOCK;
            if (T == 1) prefetch_rows(R, from + R * row_bytes, row_bytes);
            add_pair(R, T, zeros, false, from, row_bytes, x + (i - begin) * T, zero, part);
        }
        if (i < next)
            add_pair(R, T, zeros, true, data + i * PX_COLUMN_BLOCK, row_bytes,
                     x + (i - begin) * T, zero, part);
        PX_UNROLL for (int r = 0; r < R; r++) {
            const __m256 scale = group_scale(scales + r * groups, narrow, at);
            PX_UNROLL for (int t = 0; t < T; t++)
                total[r * T + t] = _mm256_fmadd_ps(part[r][t], scale, total[r * T + t]);
        }
    }
    PX_UNROLL for (int i = 0; i < R * T; i++) sums[i] = total[i];
}

/* All rows of a panel against T packed tokens. */
PX_INLINE void panel(const int R, const int T, const bool zeros, const bool narrow,
                     const px_weight *w, int64_t row, int64_t row_end,
                     int64_t begin, int64_t end, const x_pair *x, __m256 *sums)
{
    for (; row + R <= row_end; row += R, sums += R * T)
        tile(R, T, zeros, narrow, w, row, begin, end, x, sums);
    for (; row < row_end; row++, sums += T)
        tile(1, T, zeros, narrow, w, row, begin, end, x, sums);
}

typedef void panel_fn(const px_weight *w, int64_t row, int64_t row_end,
                      int64_t begin, int64_t end, const x_pair *x, __m256 *sums);

#define PANEL_FUNCTION(name, R, T, zeros, narrow)                                                 \
    static void name(const px_weight *w, int64_t row, int64_t row_end,           \
                     int64_t begin, int64_t end, const x_pair *x, __m256 *sums)                   \
    {                                                                                             \
        panel(R, T, zeros, narrow, w, row, row_end, begin, end, x, sums);                      \
    }

PANEL_FUNCTION(one_wide, 4, 1, false, false)
PANEL_FUNCTION(one_narrow, 4, 1, false, true)
PANEL_FUNCTION(one_wide_zeros, 4, 1, true, false)
PANEL_FUNCTION(one_narrow_zeros, 4, 1, true, true)
PANEL_FUNCTION(many_wide, 2, TOKENS, false, false)
PANEL_FUNCTION(many_narrow, 2, TOKENS, false, true)
PANEL_FUNCTION(many_wide_zeros, 2, TOKENS, true, false)
PANEL_FUNCTION(many_narrow_zeros, 2, TOKENS, true, true)

static panel_fn *choose(bool many, bool zeros, bool narrow)
{
    static panel_fn *const table[2][2][2] = {
        {{one_wide, one_narrow}, {one_wide_zeros, one_narrow_zeros}},
        {{many_wide, many_narrow}, {many_wide_zeros, many_narrow_zeros}},
    };
    return table[many][zeros][narrow];
}

void px_avx2_matmul_i4(const px_weight *w, int64_t row_begin, int64_t row_end,
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
    const int64_t pairs = (w->columns + PAIR - 1) / PAIR;
    const bool zeros = w->zeros != NULL;
    const bool narrow = w->group_size < w->columns && w->group_size % PAIR != 0;

    _Alignas(64) x_pair packed[SCRATCH];
    __m256 sums[PANEL * TOKENS];
    for (int64_t row = row_begin; row < row_end; row += PANEL) {
        const int64_t end = PX_MIN(row + PANEL, row_end);
        for (int64_t token = 0, tokens; token < x->tokens; token += tokens) {
            tokens = x->tokens - token >= TOKENS ? TOKENS : 1;
            panel_fn *const run = choose(tokens > 1, zeros, narrow);
            const int64_t step = SCRATCH / tokens;
            memset(sums, 0, (size_t)((end - row) * tokens) * sizeof *sums);
            for (int64_t p = 0; p < pairs; p += step) {
                const int64_t p_end = PX_MIN(p + step, pairs);
                pack(x, token, (int)tokens, p, p_end, zeros, packed);
                run(w, row, end, p, p_end, packed, sums);
            }
            for (int64_t r = row; r < end; r++)
                for (int64_t t = 0; t < tokens; t++)
                    y[(token + t) * y_stride + r] = px_avx2_sum(sums[(r - row) * tokens + t]);
        }
    }
}
