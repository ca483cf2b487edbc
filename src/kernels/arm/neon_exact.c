/*
 * Integer weights with float32 activations. The lanes of a vector are four rows of a tile. A sum
 * has four parts, by the column modulo 4; up to four tokens compute all of them in one pass over a
 * group, more take two passes, so that the parts of all tokens stay in registers.
 */
#include "kernels/arm/neon.h"

enum { ONE_PASS = 4 }; /* most tokens with all parts in registers */

/* Column k of each quad of four rows, q - zero. line: four columns of each row. */
PX_INLINE float32x4_t take_column(uint8x16_t line, const int k, int32x4_t zero)
{
    const uint32x4_t quads = vreinterpretq_u32_u8(line);
    uint32x4_t value = vandq_u32(quads, vdupq_n_u32(255));
    if (k == 1) value = vandq_u32(vshrq_n_u32(quads, 8), vdupq_n_u32(255));
    if (k == 2) value = vandq_u32(vshrq_n_u32(quads, 16), vdupq_n_u32(255));
    if (k == 3) value = vshrq_n_u32(quads, 24);
    return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(value), zero));
}

/* Parts k to k + K of one block, of four rows from p; x[t]: its 32 columns. */
PX_INLINE void add_block(const px_weight_type type, const int T, const int k, const int K,
                         const unsigned char *p, int32x4_t zero, const float *const *x,
                         float32x4_t part[4][PX_TOKEN_TILE])
{
    const int lines = type == PX_WEIGHT_I4 ? 4 : 8;
    PX_UNROLL for (int quad = 0; quad < PX_COLUMN_BLOCK / 4; quad++) {
        uint8x16_t line = vld1q_u8(p + quad % lines * 64);
        if (type == PX_WEIGHT_I4)
            line = quad < lines ? vandq_u8(line, vdupq_n_u8(15)) : vshrq_n_u8(line, 4);
        float32x4_t value[4];
        PX_UNROLL for (int i = 0; i < K; i++) value[i] = take_column(line, k + i, zero);
        PX_UNROLL for (int t = 0; t < T; t++) {
            const float32x4_t columns = vld1q_f32(x[t] + 4 * quad);
            PX_UNROLL for (int i = 0; i < K; i++)
                part[i][t] = PX_LANE(vfmaq_laneq_f32, k + i, part[i][t], value[i], columns);
        }
    }
}

/* One group: `count` blocks at p, of which the last has `tail` columns when that is not 0. Part k
 * of token t goes to sums[k][t]. */
PX_INLINE void add_group(const px_weight_type type, const int T, const int k, const int K,
                         const unsigned char *p, int32x4_t zero, const float *const *x,
                         int64_t count, int64_t tail, float32x4_t sums[4][PX_TOKEN_TILE])
{
    const float *x_at[PX_TOKEN_TILE];
    float32x4_t part[4][PX_TOKEN_TILE];
    PX_UNROLL for (int t = 0; t < T; t++) x_at[t] = x[t];
    PX_UNROLL for (int i = 0; i < K; i++)
        PX_UNROLL for (int t = 0; t < T; t++) part[i][t] = vdupq_n_f32(0);
    for (int64_t b = 0; b < count - (tail > 0); b++) {
        add_block(type, T, k, K, p, zero, x_at, part);
        PX_UNROLL for (int t = 0; t < T; t++) x_at[t] += PX_COLUMN_BLOCK;
        p += type == PX_WEIGHT_I4 ? 256 : 512;
    }
    if (tail > 0) { /* the columns that are not there meet zeros */
        float copy[PX_TOKEN_TILE][PX_COLUMN_BLOCK];
        for (int t = 0; t < T; t++) {
            memset(copy[t], 0, sizeof copy[t]);
            memcpy(copy[t], x_at[t], (size_t)tail * sizeof copy[t][0]);
            x_at[t] = copy[t];
        }
        add_block(type, T, k, K, p, zero, x_at, part);
    }
    PX_UNROLL for (int i = 0; i < K; i++)
        PX_UNROLL for (int t = 0; t < T; t++) sums[k + i][t] = part[i][t];
}

/* Rows 4 * quarter to 4 * quarter + 3 of a tile. */
PX_INLINE void quarter_tile(const px_weight_type type, const int T, const px_weight *w,
                            int64_t row_tile, int quarter, const px_token_tile *x, float *out,
                            int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p = px_weight_tile(w, row_tile) + 16 * quarter;
    const float *x_at[PX_TOKEN_TILE];
    float32x4_t total[PX_TOKEN_TILE], sums[4][PX_TOKEN_TILE];
    PX_UNROLL for (int t = 0; t < T; t++) {
        x_at[t] = x->f32 + t * x->f32_stride;
        total[t] = vdupq_n_f32(0);
    }
    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t at = (row_tile * groups + group) * PX_ROW_TILE + 4 * quarter;
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        const int64_t tail = left == 0 ? w->columns % PX_COLUMN_BLOCK : 0;
        const int32x4_t zero = px_neon_zeros(type, w, at);
        const int K = T <= ONE_PASS ? 4 : 2;
        PX_UNROLL for (int k = 0; k < 4; k += K)
            add_group(type, T, k, K, p, zero, x_at, count, tail, sums);
        const float32x4_t scale = px_neon_scales(w, at);
        PX_UNROLL for (int t = 0; t < T; t++) {
            const float32x4_t sum = vaddq_f32(vaddq_f32(sums[0][t], sums[2][t]),
                                              vaddq_f32(sums[1][t], sums[3][t]));
            total[t] = vfmaq_f32(total[t], sum, scale);
            x_at[t] += count * PX_COLUMN_BLOCK;
        }
        p += count * (type == PX_WEIGHT_I4 ? 256 : 512);
    }
    PX_UNROLL for (int t = 0; t < T; t++)
        vst1q_f32(out + t * out_stride + 4 * quarter, total[t]);
}

PX_INLINE void run_tiles(const px_weight_type type, const int T, const px_weight *w, int64_t begin,
                         int64_t end, const px_token_tile *x, float *out, int64_t out_stride)
{
    for (; begin < end; begin++, out += PX_ROW_TILE)
        for (int quarter = 0; quarter < 4; quarter++)
            quarter_tile(type, T, w, begin, quarter, x, out, out_stride);
}

PX_TILE_FUNCTIONS(I8)
PX_TILE_FUNCTIONS(I4)

px_tile_fn *px_exact_tiles(px_weight_type type)
{
    return type == PX_WEIGHT_I8 ? tiles_I8 : tiles_I4;
}
