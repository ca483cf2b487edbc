/* Float weights. A sum runs in four lanes (column modulo 4), one fused multiply-add a column. */
#include "kernels/arm/neon.h"

#include "base/memory.h"

enum {
    TOKENS = 4,           /* in a prefill tile, with as many rows */
    ROWS = 8,             /* of a single token */
    PANEL_BYTES = 1 << 17 /* weights that stay in the cache for all tokens */
};

/* Bytes of a block of 32 columns. */
PX_INLINE int64_t block_bytes(const px_weight_type type)
{
    return type == PX_WEIGHT_F32 ? 128 : 64;
}

/* Columns 8 * part to 8 * part + 7 of the block at p. */
PX_INLINE void load_part(const px_weight_type type, const unsigned char *p, const int part,
                         float32x4_t value[2])
{
    if (type == PX_WEIGHT_F32) {
        value[0] = px_neon_load_f32(p + part * 32);
        value[1] = px_neon_load_f32(p + part * 32 + 16);
        return;
    }
    const uint8x16_t half = vld1q_u8(p + part * 16);
    if (type == PX_WEIGHT_F16) {
        value[0] = vcvt_f32_f16(vreinterpret_f16_u8(vget_low_u8(half)));
        value[1] = vcvt_high_f32_f16(vreinterpretq_f16_u8(half));
        return;
    }
    const uint16x8_t none = vdupq_n_u16(0), bits = vreinterpretq_u16_u8(half);
    value[0] = vreinterpretq_f32_u16(vzip1q_u16(none, bits));
    value[1] = vreinterpretq_f32_u16(vzip2q_u16(none, bits));
}

/* Adds the block of R rows (bytes p[r]) and T tokens (floats x[t]) to sums. */
PX_INLINE void add_block(const px_weight_type type, const int R, const int T,
                         const unsigned char *const *p, const float *const *x,
                         float32x4_t sums[ROWS][TOKENS])
{
    PX_UNROLL for (int part = 0; part < 4; part++) {
        float32x4_t x_part[TOKENS][2];
        PX_UNROLL for (int t = 0; t < T; t++) {
            x_part[t][0] = vld1q_f32(x[t] + part * 8);
            x_part[t][1] = vld1q_f32(x[t] + part * 8 + 4);
        }
        PX_UNROLL for (int r = 0; r < R; r++) {
            float32x4_t value[2];
            load_part(type, p[r], part, value);
            PX_UNROLL for (int i = 0; i < 2; i++)
                PX_UNROLL for (int t = 0; t < T; t++)
                    sums[r][t] = vfmaq_f32(sums[r][t], value[i], x_part[t][i]);
        }
    }
}

/* The last columns, fewer than 32, through zeroed copies. */
PX_INLINE void add_tail(const px_weight_type type, const int R, const int T, int64_t columns,
                        const unsigned char *const *p, const float *const *x,
                        float32x4_t sums[ROWS][TOKENS])
{
    unsigned char w_copy[ROWS][128];
    float x_copy[TOKENS][PX_COLUMN_BLOCK];
    const unsigned char *w_at[ROWS];
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
    const unsigned char *p[ROWS];
    const float *x_at[TOKENS];
    float32x4_t sums[ROWS][TOKENS];
    PX_UNROLL for (int r = 0; r < R; r++) {
        p[r] = (const unsigned char *)w->data + (row + r) * w->row_bytes;
        PX_UNROLL for (int t = 0; t < T; t++) sums[r][t] = vdupq_n_f32(0);
    }
    PX_UNROLL for (int t = 0; t < T; t++) x_at[t] = x->f32 + (token + t) * x->f32_stride;

    for (int64_t c = 0; c + PX_COLUMN_BLOCK <= columns; c += PX_COLUMN_BLOCK) {
        add_block(type, R, T, p, x_at, sums);
        PX_UNROLL for (int r = 0; r < R; r++) p[r] += block_bytes(type);
        PX_UNROLL for (int t = 0; t < T; t++) x_at[t] += PX_COLUMN_BLOCK;
    }
    if (columns % PX_COLUMN_BLOCK > 0)
        add_tail(type, R, T, columns % PX_COLUMN_BLOCK, p, x_at, sums);
    PX_UNROLL for (int r = 0; r < R; r++)
        PX_UNROLL for (int t = 0; t < T; t++)
            y[(token + t) * y_stride + row + r] = vaddvq_f32(sums[r][t]);
}

/* Tiles over rows row_begin.. row_end and all tokens. */
PX_INLINE void panel(const px_weight_type type, const px_weight *w, int64_t row_begin,
                     int64_t row_end, const px_activation *x, float *y, int64_t y_stride)
{
    int64_t token = 0;
    for (; token + TOKENS <= x->tokens; token += TOKENS) {
        int64_t row = row_begin;
        for (; row + 4 <= row_end; row += 4) tile(type, 4, TOKENS, w, row, x, token, y, y_stride);
        for (; row < row_end; row++) tile(type, 1, TOKENS, w, row, x, token, y, y_stride);
    }
    for (; token < x->tokens; token++) {
        int64_t row = row_begin;
        for (; row + ROWS <= row_end; row += ROWS)
            tile(type, ROWS, 1, w, row, x, token, y, y_stride);
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

void px_neon_matmul_f32(const px_weight *w, int64_t row_begin, int64_t row_end,
                        const px_activation *x, float *y, int64_t y_stride)
{
    static panel_fn *const panels[] = {panel_f32, panel_f16, panel_bf16};
    const int64_t rows = PX_MAX(PANEL_BYTES / PX_MAX(w->row_bytes, 1) / ROWS * ROWS, ROWS);
    for (int64_t row = row_begin; row < row_end; row += rows)
        panels[w->type](w, row, PX_MIN(row + rows, row_end), x, y, y_stride);
}
