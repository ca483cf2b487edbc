/* The choice of probes, and reading in plain C. Multiplying in plain C would say more of the compiler
 * than of the machine: without a probe there is no figure. */
#include "kernels/probe.h"

#include <string.h>

static uint64_t read_plain(const void *data, size_t bytes, size_t ahead)
{
    (void)ahead; /* left to the hardware */
    enum { WORDS = PX_READ_BLOCK / sizeof(uint64_t) };
    uint64_t sum[WORDS] = {0}, all = 0;
    const char *const end = (const char *)data + bytes;
    for (const char *p = data; p < end; p += PX_READ_BLOCK) {
        uint64_t block[WORDS];
        memcpy(block, p, sizeof block);
        for (size_t i = 0; i < WORDS; i++) sum[i] ^= block[i];
    }
    for (size_t i = 0; i < WORDS; i++) all ^= sum[i];
    return all;
}

void px_probes_init(px_probes *probes, uint64_t features)
{
    *probes = (px_probes){.read = read_plain};
#if defined(__x86_64__)
    if (!(features & PHLOX_CPU_AVX2)) return;
    const uint64_t vnni = PHLOX_CPU_AVX512 | PHLOX_CPU_AVX512_VNNI;
    px_probes_avx2(probes);
    if (features & PHLOX_CPU_AVX_VNNI) px_probes_avxvnni(probes);
    if (features & PHLOX_CPU_AVX512) px_probes_avx512(probes);
    if ((features & vnni) == vnni) px_probes_avx512vnni(probes);
#else
    (void)features;
#endif
}
