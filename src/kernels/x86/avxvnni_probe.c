#include "kernels/x86/probe.h"

#include <string.h>

enum { CHAINS = 12, LANES = 32 };

static int64_t multiply_i8(int64_t rounds)
{
    __m256i w = _mm256_set1_epi8(1), sum[CHAINS];
    const __m256i x = w;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_setzero_si256();
    for (int64_t round = 0; round < rounds; round++) {
        PX_UNROLL for (int i = 0; i < CHAINS; i++) {
            PX_CHANGED(w);
            sum[i] = _mm256_dpbusd_avx_epi32(sum[i], w, x);
        }
    }
    int64_t all = 0;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) {
        uint32_t lanes[8];
        memcpy(lanes, &sum[i], sizeof lanes);
        for (int lane = 0; lane < 8; lane++) all += lanes[lane];
    }
    return all;
}

void px_probes_avxvnni(px_probes *probes)
{
    probes->int8 = (px_multiply_probe){"avx-vnni", CHAINS * LANES, multiply_i8};
}
