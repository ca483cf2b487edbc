/* Which instruction sets this CPU has and the operating system saves, and the table for a set of
 * them. */
#include "kernels/kernels.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)

/* The brand string: twelve registers of four characters, blanks in front and NULs behind. */
void phlox_cpu_name(char *name, size_t size)
{
    enum { LEAVES = 3, WORDS = 4 };
    static const unsigned first_leaf = 0x80000002;
    char text[LEAVES * WORDS * 4 + 1] = "";
    for (unsigned leaf = 0; leaf < LEAVES; leaf++) {
        uint32_t words[WORDS];
        if (!__get_cpuid(first_leaf + leaf, &words[0], &words[1], &words[2], &words[3])) break;
        memcpy(text + leaf * sizeof words, words, sizeof words);
    }
    const char *const begin = text + strspn(text, " ");
    snprintf(name, size, "%s", *begin ? begin : "x86-64");
}

/* Register states that the operating system saves (XCR0). */
enum { STATE_YMM = 0x06, STATE_ZMM = 0xe6 };

static bool has(uint32_t word, int bit)
{
    return (word >> bit & 1) != 0;
}

uint64_t px_cpu_features(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const bool xsave = has(c, 27), avx = has(c, 28), fma = has(c, 12), f16c = has(c, 29);
    if (!xsave || !avx || !fma || !f16c) return 0;

    uint32_t state, high;
    __asm__ volatile("xgetbv" : "=a"(state), "=d"(high) : "c"(0));
    if ((state & STATE_YMM) != STATE_YMM) return 0;

    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, 5)) return 0;
    uint64_t features = PHLOX_CPU_AVX2;
    const bool avx512 = has(b, 16) && has(b, 17) && has(b, 30) && has(b, 31) &&
                        (state & STATE_ZMM) == STATE_ZMM;
    if (avx512) features |= PHLOX_CPU_AVX512;
    if (avx512 && has(c, 11)) features |= PHLOX_CPU_AVX512_VNNI;

    const uint32_t subleaves = a;
    if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        if (has(a, 4)) features |= PHLOX_CPU_AVX_VNNI;
        if (avx512 && has(a, 5)) features |= PHLOX_CPU_AVX512_BF16;
    }
    return features;
}

#elif defined(__aarch64__) && defined(__linux__)

uint64_t px_cpu_features(void)
{
    const unsigned long capabilities = getauxval(AT_HWCAP);
    const unsigned long more = getauxval(AT_HWCAP2);
    uint64_t features = 0;
    if (capabilities & 1ul << 1) features |= PHLOX_CPU_NEON;      /* HWCAP_ASIMD */
    if (capabilities & 1ul << 20) features |= PHLOX_CPU_DOTPROD;  /* HWCAP_ASIMDDP */
    if (more & 1ul << 13) features |= PHLOX_CPU_I8MM;             /* HWCAP2_I8MM */
    return features;
}

void phlox_cpu_name(char *name, size_t size)
{
    snprintf(name, size, "Arm (aarch64)");
}

#else

uint64_t px_cpu_features(void)
{
    return 0;
}

void phlox_cpu_name(char *name, size_t size)
{
    snprintf(name, size, "unknown");
}

#endif

uint64_t phlox_cpu_features(void)
{
    return px_cpu_features();
}

const char *phlox_cpu_feature_name(uint64_t bit)
{
    static const struct {
        uint64_t bit;
        const char *name;
    } names[] = {
        {PHLOX_CPU_AVX2, "avx2"},
        {PHLOX_CPU_AVX_VNNI, "avx-vnni"},
        {PHLOX_CPU_AVX512, "avx512"},
        {PHLOX_CPU_AVX512_VNNI, "avx512-vnni"},
        {PHLOX_CPU_AVX512_BF16, "avx512-bf16"},
        {PHLOX_CPU_NEON, "neon"},
        {PHLOX_CPU_DOTPROD, "dotprod"},
        {PHLOX_CPU_I8MM, "i8mm"},
    };
    for (size_t i = 0; i < PX_COUNT(names); i++)
        if (names[i].bit == bit) return names[i].name;
    return NULL;
}

void px_kernels_init(px_kernels *kernels, uint64_t features)
{
    px_kernels_reference(kernels);
#if defined(__x86_64__)
    if (!(features & PHLOX_CPU_AVX2)) return;
    const uint64_t vnni = PHLOX_CPU_AVX512 | PHLOX_CPU_AVX512_VNNI;
    px_kernels_avx2(kernels);
    if (features & PHLOX_CPU_AVX_VNNI) px_kernels_avxvnni(kernels);
    if (features & PHLOX_CPU_AVX512) px_kernels_avx512(kernels);
    if ((features & vnni) == vnni) px_kernels_avx512vnni(kernels);
#elif defined(__aarch64__)
    if (!(features & PHLOX_CPU_NEON)) return;
    px_kernels_neon(kernels);
    if (!(features & PHLOX_CPU_DOTPROD)) return;
    px_kernels_dotprod(kernels);
    if (features & PHLOX_CPU_I8MM) px_kernels_i8mm(kernels);
#else
    (void)features;
#endif
}
