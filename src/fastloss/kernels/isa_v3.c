/* The kernels for x86-64-v3: AVX2 and FMA. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "fastloss.h"

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define VECMATH_FMA 1
#include "readers.h"
#include "vecmath.h"

#define ISA v3
#define VECTOR_BYTES 32
#include "instantiate.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
