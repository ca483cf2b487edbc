/*
 * The products of integer matrices, for the instruction sets: integer.c walks over panels of rows and
 * tiles of tokens, a tile function computes some tiles of 16 rows for up to 8 tokens.
 */
#ifndef PX_KERNELS_INTEGER_H
#define PX_KERNELS_INTEGER_H

#include "kernels/kernels.h"

/* Tiles are functions of constant sizes: inlined, with their loops over rows and tokens unrolled. */
#define PX_INLINE static inline __attribute__((always_inline))
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PX_UNROLL /* checks make the loops so large that compiling takes minutes */
#endif
#endif
#if defined(PX_UNROLL)
#elif defined(__clang__)
#define PX_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PX_UNROLL _Pragma("GCC unroll 16")
#endif

/* tiles_<type>, a px_tile_fn, from the including file's inlined run_tiles(type, T, ...): a function for
 * each number of tokens, and one that chooses. */
#define PX_TILE_FUNCTIONS(type)                                                                    \
    PX_EACH_TILE(PX_TILE_FUNCTION, type)                                                          \
    static void tiles_##type(const px_weight *w, int64_t begin, int64_t end,                      \
                             const px_token_tile *x, float *out, int64_t out_stride)              \
    {                                                                                             \
        static px_tile_fn *const by_tokens[] = PX_TILES(type);                                    \
        by_tokens[x->tokens - 1](w, begin, end, x, out, out_stride);                              \
    }
#define PX_TILE_FUNCTION(type, T)                                                                  \
    static void type##_##T(const px_weight *w, int64_t begin, int64_t end, const px_token_tile *x, \
                           float *out, int64_t out_stride)                                         \
    {                                                                                             \
        run_tiles(PX_WEIGHT_##type, T, w, begin, end, x, out, out_stride);                        \
    }
#define PX_EACH_TILE(define, type)                                                                 \
    define(type, 1) define(type, 2) define(type, 3) define(type, 4) define(type, 5)               \
    define(type, 6) define(type, 7) define(type, 8)
#define PX_TILES(type)                                                                            \
    {type##_1, type##_2, type##_3, type##_4, type##_5, type##_6, type##_7, type##_8}

/*
 * i4 unpacked to bytes, so that many tokens share the work: signed integers w = q - zero with unsigned
 * activations u8 = q8 + 128. The sum of w * q8 is the sum of w * u8 less 128 times the sum of w, and no
 * token pays for zero points. Of each block of 32 columns and 16 rows 8 lines like those of i8 with w,
 * and a line with what the 16 sums begin with, in the form that the instruction set adds up.
 */
enum { PX_WEIGHT_WIDE = PX_WEIGHT_TYPES, PX_WIDE_LINE = 8, PX_WIDE_BYTES = 9 * 64 };

/* i8 and i4 in groups of half a block: its four lines of i8, or the low or the high nibbles of all its
 * lines of i4. The types of tile functions for them. */
enum { PX_WEIGHT_I8_HALF = PX_WEIGHT_WIDE + 1, PX_WEIGHT_I4_HALF };

PX_INLINE bool px_is_half(const int type)
{
    return type == PX_WEIGHT_I8_HALF || type == PX_WEIGHT_I4_HALF;
}

PX_INLINE px_weight_type px_type_of_half(const int type)
{
    return type == PX_WEIGHT_I8_HALF ? PX_WEIGHT_I8 : PX_WEIGHT_I4;
}

/* What an instruction set has for a type of weights and a kind of activations. */
typedef struct px_products {
    px_tile_fn *tiles;
    px_tile_fn *halves; /* those of I8_HALF or I4_HALF; whole blocks only */
    /* For i4 and q8, or NULL: tiles of PX_WEIGHT_WIDE, which take u8 for q8 and add to what is in `out`,
     * and what unpacks some groups of a tile of rows for them; zeros [groups, 16], NULL: all 8. */
    px_tile_fn *wide;
    void (*widen)(const unsigned char *i4, int64_t blocks, int64_t group_blocks,
                  const uint8_t *zeros, unsigned char *wide);
} px_products;

/* The matmul and matmul_q8 of i8 and i4. */
void px_integer_matmul(const px_products *products, const px_weight *w, int64_t row_begin,
                       int64_t row_end, const px_activation *x, float *y, int64_t y_stride);

/* The zero point where there are no zeros. */
PX_INLINE int px_constant_zero(const int type, const px_weight *w)
{
    return w->minima != NULL ? 0 : type == PX_WEIGHT_I8 ? 128 : 8;
}

/* Where the scale is whose step has an index, which may be that of the first of some rows. */
PX_INLINE int64_t px_super_index(const px_weight *w, int64_t index)
{
    const uint64_t row = (uint64_t)index % PX_ROW_TILE, group = (uint64_t)index / PX_ROW_TILE;
    return (int64_t)(group * (uint64_t)w->group_size / PX_SUPER_BLOCK * PX_ROW_TILE + row);
}

/* The sum of the activations of a group, which meets its minimum. */
float px_sum_columns(const float *x, int64_t count);

/* The tile that begins with a token, a multiple of PX_TOKEN_TILE. */
px_token_tile px_activation_tile(const px_activation *x, int64_t token);

/* Where a tile of rows begins in the data. */
static inline const unsigned char *px_weight_tile(const px_weight *w, int64_t row_tile)
{
    return (const unsigned char *)w->data + row_tile * PX_ROW_TILE * w->row_bytes;
}

static inline int64_t px_column_blocks(int64_t columns)
{
    return (columns + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK;
}

#endif
