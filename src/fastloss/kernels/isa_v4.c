/* The kernels for x86-64-v4: AVX-512, in vectors of 512 bits. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "fastloss.h"

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(                                                        \
    __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#endif
#define VECMATH_FMA 1
#define VECMATH_CONVERTS_64 1
#include "exptable.h"
#include "readers.h"
#include "vecmath.h"

#define ISA v4
#define VECTOR_BYTES 64
#include "instantiate.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
