#include "kernels/x86/probe.h"

enum { CHAINS = 12, LANES = 16 };

static int64_t multiply_f32(int64_t rounds)
{
    __m512 w = _mm512_set1_ps(1), sum[CHAINS];
    const __m512 x = w;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_setzero_ps();
    for (int64_t round = 0; round < rounds; round++) {
        PX_UNROLL for (int i = 0; i < CHAINS; i++) {
            PX_CHANGED(w);
            sum[i] = _mm512_fmadd_ps(w, x, sum[i]);
        }
    }
    int64_t all = 0;
    PX_UNROLL for (int i = 0; i < CHAINS; i++) {
        float lanes[LANES];
        _mm512_storeu_ps(lanes, sum[i]);
        for (int lane = 0; lane < LANES; lane++) all += (int64_t)lanes[lane];
    }
    return all;
}

void px_probes_avx512(px_probes *probes)
{
    probes->f32 = (px_multiply_probe){"avx512", CHAINS * LANES, multiply_f32};
}
