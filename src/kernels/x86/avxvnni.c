/* Integer weights with q8 activations in AVX-VNNI: vpdpbusd adds four products to each lane. */
#include "kernels/x86/avx2.h"

PX_INLINE int dot_offset(const int type)
{
    (void)type;
    return 0;
}

PX_INLINE __m256i dot_step(const int type, __m256i dot, __m256i value, __m256i x)
{
    (void)type;
    return _mm256_dpbusd_avx_epi32(dot, value, x);
}

PX_INLINE __m256i dot_end(const int type, __m256i dot, __m256i zero, __m256i sum)
{
    (void)type;
    return _mm256_dpwssd_avx_epi32(dot, zero, sum);
}

#include "kernels/x86/avx2_integer.h"

/* ---- many tokens --------------------------------------------------------------------------- */

/* As in avx512vnni.c. */
static void widen(const unsigned char *i4, int64_t blocks, int64_t group_blocks,
                  const uint8_t *zeros, unsigned char *out)
{
    const __m256i nibble = _mm256_set1_epi8(15), bias = _mm256_set1_epi8(-128);
    const __m256i spread = _mm256_set1_epi32(0x01010101);
    __m256i zero[2] = {_mm256_set1_epi8(8), _mm256_set1_epi8(8)};
    for (int64_t block = 0; block < blocks; block++, i4 += 256, out += PX_WIDE_BYTES) {
        if (zeros != NULL && block % group_blocks == 0) {
            for (int h = 0; h < 2; h++) {
                const __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(zeros + 8 * h));
                zero[h] = _mm256_mullo_epi32(_mm256_cvtepu8_epi32(eight), spread);
            }
            zeros += PX_ROW_TILE;
        }
        for (int h = 0; h < 2; h++) {
            __m256i sum = _mm256_setzero_si256();
            for (int at = 32 * h; at < 256; at += 64) {
                const __m256i line = load256(i4 + at);
                const __m256i low = _mm256_sub_epi8(_mm256_and_si256(line, nibble), zero[h]);
                const __m256i high = _mm256_sub_epi8(
                    _mm256_and_si256(_mm256_srli_epi16(line, 4), nibble), zero[h]);
                _mm256_storeu_si256((__m256i *)(void *)(out + at), low);
                _mm256_storeu_si256((__m256i *)(void *)(out + 256 + at), high);
                sum = _mm256_dpbusd_avx_epi32(sum, bias, low);
                sum = _mm256_dpbusd_avx_epi32(sum, bias, high);
            }
            _mm256_storeu_si256((__m256i *)(void *)(out + 512 + 32 * h),
                                _mm256_sub_epi32(_mm256_setzero_si256(), sum));
        }
    }
}

/* N of T tokens, from `first`. */
PX_INLINE void wide_pass(const int T, const int N, const int first, const px_weight *w,
                         int64_t row_tile, const px_token_tile *x, float *out, int64_t out_stride)
{
    const int64_t blocks = px_column_blocks(w->columns), groups = px_weight_groups(w);
    const int64_t group_blocks = groups == 1 ? blocks : w->group_size / PX_COLUMN_BLOCK;
    const unsigned char *p = px_weight_tile(w, row_tile);
    const int8_t *u8 = x->q8 + 4 * first;
    const float *x_scale = x->scale + first;
    __m256 total[2][PASS_TOKENS];
    PX_UNROLL for (int h = 0; h < 2; h++)
        PX_UNROLL for (int t = 0; t < N; t++)
            total[h][t] = _mm256_loadu_ps(out + (first + t) * out_stride + 8 * h);

    int64_t left = blocks;
    for (int64_t group = 0; group < groups; group++) {
        __m256 part[2][PASS_TOKENS];
        PX_UNROLL for (int h = 0; h < 2; h++)
            PX_UNROLL for (int t = 0; t < N; t++) part[h][t] = _mm256_setzero_ps();
        const int64_t count = left < group_blocks ? left : group_blocks;
        left -= count;
        for (int64_t b = 0; b < count; b++) {
            __m256i dot[2][PASS_TOKENS];
            PX_UNROLL for (int h = 0; h < 2; h++)
                PX_UNROLL for (int t = 0; t < N; t++) dot[h][t] = load256(p + 512 + 32 * h);
            PX_UNROLL for (int line = 0; line < 8; line++) {
                const __m256i value[2] = {load256(p + 64 * line), load256(p + 64 * line + 32)};
                PX_UNROLL for (int t = 0; t < N; t++) {
                    const __m256i four = broadcast(u8 + 4 * T * line + 4 * t);
                    PX_UNROLL for (int h = 0; h < 2; h++) {
                        dot[h][t] = _mm256_dpbusd_avx_epi32(dot[h][t], four, value[h]);
                        PX_SUM_NOW(dot[h][t]);
                    }
                }
            }
            PX_UNROLL for (int t = 0; t < N; t++) {
                const __m256 scale = _mm256_broadcast_ss(x_scale + t);
                PX_UNROLL for (int h = 0; h < 2; h++)
                    part[h][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[h][t]), scale, part[h][t]);
            }
            p += PX_WIDE_BYTES;
            u8 += PX_COLUMN_BLOCK * T;
            x_scale += T;
        }
        PX_UNROLL for (int h = 0; h < 2; h++) {
            const __m256 scale = px_avx2_scales(w, (row_tile * groups + group) * PX_ROW_TILE + 8 * h);
            PX_UNROLL for (int t = 0; t < N; t++)
                total[h][t] = _mm256_fmadd_ps(part[h][t], scale, total[h][t]);
        }
    }
    PX_UNROLL for (int h = 0; h < 2; h++)
        PX_UNROLL for (int t = 0; t < N; t++)
            _mm256_storeu_ps(out + (first + t) * out_stride + 8 * h, total[h][t]);
}

PX_INLINE void run_tiles(const int type, const int T, const px_weight *w, int64_t begin, int64_t end,
                         const px_token_tile *x, float *out, int64_t out_stride)
{
    for (; begin < end; begin++, out += PX_ROW_TILE) {
        if (type != PX_WEIGHT_WIDE) {
            tile(type, T, w, begin, x, out, out_stride);
            continue;
        }
        const int N = T <= PASS_TOKENS ? T : (T + 1) / 2;
        wide_pass(T, N, 0, w, begin, x, out, out_stride);
        if (N < T) wide_pass(T, T - N, N, w, begin, x, out, out_stride);
    }
}

#define PX_RUN_TILES
#define PX_WIDE .block_bytes = PX_WIDE_BYTES, .takes_u8 = true
#include "kernels/tiles.h"

void px_kernels_avxvnni(px_kernels *kernels)
{
    kernels->name = "avx-vnni";
    set_products(kernels);
}
