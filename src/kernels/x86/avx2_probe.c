#include "kernels/x86/probe.h"

#include <string.h>

/* Chains of sums: latency times throughput of the additions, and what fits 16 registers. */
enum { CHAINS = 12, I8_LANES = 32, F32_LANES = 8 };

static uint64_t read_ahead(const void *data, size_t bytes, size_t ahead)
{
    const char *const begin = data;
    __m256i low = _mm256_setzero_si256(), high = low;
    for (size_t i = 0; i < bytes; i += PX_READ_BLOCK) {
        /* as an address only: it may lie behind the data */
        _mm_prefetch((const char *)((uintptr_t)(begin + i) + ahead), _MM_HINT_T0);
        const __m256i *const block = (const __m256i *)(const void *)(begin + i);
        low = _mm256_xor_si256(low, _mm256_load_si256(block));
        high = _mm256_xor_si256(high, _mm256_load_si256(block + 1));
    }
    uint64_t words[4];
    const __m256i both = _mm256_xor_si256(low, high);
    memcpy(words, &both, sizeof words);
    return words[0] ^ words[1] ^ words[2] ^ words[3];
}

static int64_t multiply_i8(int64_t rounds)
{
    __m256i w = _mm256_set1_epi8(1), sum[CHAINS];
    const __m256i x = w;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_setzero_si256();
    for (int64_t round = 0; round < rounds; round++) {
        PX_UNROLL for (int i = 0; i < CHAINS; i++) {
            PX_CHANGED(w);
            sum[i] = _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(w, x));
        }
    }
    int64_t all = 0;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) {
        uint16_t lanes[16];
        memcpy(lanes, &sum[i], sizeof lanes);
        for (int lane = 0; lane < 16; lane++) all += lanes[lane];
    }
    return all;
}

static int64_t multiply_f32(int64_t rounds)
{
    __m256 w = _mm256_set1_ps(1), sum[CHAINS];
    const __m256 x = w;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_setzero_ps();
    for (int64_t round = 0; round < rounds; round++) {
        PX_UNROLL for (int i = 0; i < CHAINS; i++) {
            PX_CHANGED(w);
            sum[i] = _mm256_fmadd_ps(w, x, sum[i]);
        }
    }
    int64_t all = 0;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) {
        float lanes[F32_LANES];
        _mm256_storeu_ps(lanes, sum[i]);
        for (int lane = 0; lane < F32_LANES; lane++) all += (int64_t)lanes[lane];
    }
    return all;
}

void px_probes_avx2(px_probes *probes)
{
    probes->read = read_ahead;
    probes->int8 = (px_multiply_probe){"avx2", CHAINS * I8_LANES, multiply_i8};
    probes->f32 = (px_multiply_probe){"avx2", CHAINS * F32_LANES, multiply_f32};
}
