#include "kernels/x86/probe.h"

#include <string.h>

enum { CHAINS = 12, LANES = 64 };

static int64_t multiply_i8(int64_t rounds)
{
    __m512i w = _mm512_set1_epi8(1), sum[CHAINS];
    const __m512i x = w;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_setzero_si512();
    for (int64_t round = 0; round < rounds; round++) {
        PX_UNROLL for (int i = 0; i < CHAINS; i++) {
            PX_CHANGED(w);
            sum[i] = _mm512_dpbusd_epi32(sum[i], w, x);
        }
    }
    int64_t all = 0;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) {
        uint32_t lanes[16];
        memcpy(lanes, &sum[i], sizeof lanes);
        for (int lane = 0; lane < 16; lane++) all += lanes[lane];
    }
    return all;
}

void px_probes_avx512vnni(px_probes *probes)
{
    probes->int8 = (px_multiply_probe){"avx512-vnni", CHAINS * LANES, multiply_i8};
}
