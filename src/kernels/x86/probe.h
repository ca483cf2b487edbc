/* What the probes share. */
#ifndef PX_KERNELS_X86_PROBE_H
#define PX_KERNELS_X86_PROBE_H

#include <immintrin.h>

#include "kernels/integer.h"
#include "kernels/probe.h"

/* The compiler must take `vector` for changed: a product of constants would be computed once. */
#define PX_CHANGED(vector) __asm__ volatile("" : "+v"(vector))

#endif
