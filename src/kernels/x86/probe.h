/* What the probes share. */
#ifndef PX_KERNELS_X86_PROBE_H
#define PX_KERNELS_X86_PROBE_H

#include <immintrin.h>

#include "kernels/probe.h"

#if defined(__clang__)
#define PX_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PX_UNROLL _Pragma("GCC unroll 16")
#endif

/* The compiler must take `vector` for changed: a product of constants would be computed once. */
#define PX_CHANGED(vector) __asm__ volatile("" : "+x"(vector))
#define PX_CHANGED_512(vector) __asm__ volatile("" : "+v"(vector))

#endif
