/* The functions of vecmath.h over arrays, and the comparison with exact values, as a shared
 * library for tools/ulp_sweep.py and tests/test_vecmath.py. Compiled once per instruction set. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>

#include "../src/fastloss/kernels/exptable.h"
#else
#include "../src/fastloss/kernels/vecmath.h"
#endif

#define UNARY(name, T)                                                    \
  void name##_array(size_t n, const T *restrict x, T *restrict y) {       \
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) y[i] = name(x[i]); \
  }

#define BINARY(name, T)                                                                  \
  void name##_array(size_t n, const T *restrict a, const T *restrict b, T *restrict y) { \
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) y[i] = name(a[i], b[i]);          \
  }

#if defined(__AVX512F__)
/* Vectors at a time, the last one filled up. */
#define IN_VECTORS(name, T)                             \
  void name##_array(size_t n, const T *x, T *y) {       \
    for (size_t i = 0; i < n; i += 64 / sizeof(T)) {    \
      const size_t left = (n - i) * sizeof(T);          \
      T from[64 / sizeof(T)] = {0}, to[64 / sizeof(T)]; \
      memcpy(from, x + i, left < 64 ? left : 64);       \
      name(from, to);                                   \
      memcpy(y + i, to, left < 64 ? left : 64);         \
    }                                                   \
  }

IN_VECTORS(exp_by_table_f32, float)
IN_VECTORS(exp_by_table_f64, double)
#endif

/* Logarithms in two steps, as one. */
#define TWO_STEPS(name, T, log_reduced, reduce) \
  static inline T name(T a, T b) { return log_reduced(reduce(a, b)); }

TWO_STEPS(log_unit_normal_f32, float, log_reduced_unit_f32, reduce_unit_f32)
TWO_STEPS(log_unit_normal_f64, double, log_reduced_unit_f64, reduce_unit_f64)
TWO_STEPS(log1p_ratio_normal_f32, float, log_reduced_f32, reduce_ratio_f32)
TWO_STEPS(log1p_ratio_normal_f64, double, log_reduced_f64, reduce_ratio_f64)

UNARY(exp_f32, float)
UNARY(exp_nonpositive_f32, float)
UNARY(expm1_nonpositive_f32, float)
UNARY(log_f32, float)
UNARY(log_normal_f32, float)
UNARY(log1p_f32, float)
UNARY(log1p_unit_f32, float)
BINARY(log1p_ratio_f32, float)
BINARY(log1p_ratio_normal_f32, float)
BINARY(log_cosh_f32, float)
BINARY(log_unit_f32, float)
BINARY(log_unit_normal_f32, float)
UNARY(exp_f64, double)
UNARY(exp_nonpositive_f64, double)
UNARY(expm1_nonpositive_f64, double)
UNARY(log_f64, double)
UNARY(log_normal_f64, double)
UNARY(log1p_f64, double)
UNARY(log1p_unit_f64, double)
BINARY(log1p_ratio_f64, double)
BINARY(log1p_ratio_normal_f64, double)
BINARY(log_cosh_f64, double)
BINARY(log_unit_f64, double)
BINARY(log_unit_normal_f64, double)

/* Whether this processor has the instructions of level 1 (baseline), 3 or 4 of x86-64. */
int probe_runs(int level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  int v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  return level == 1 || (level == 3 && v3) || (level == 4 && v3 && v4);
#else
  return level == 1;
#endif
}

/* The largest |got - want| in units of the float spacing at want, and its index. NaN for NaN and
 * infinity for infinity (or for what rounds to it) are no error, one without the other is. */
double worst_f32(size_t n, const float *got, const double *want, size_t *where) {
  double worst = -1;
  for (size_t i = 0; i < n; i++) {
    uint64_t exponent;
    memcpy(&exponent, &want[i], sizeof exponent);
    exponent &= UINT64_C(0x7ff) << 52;
    double binade, value = got[i], error;
    memcpy(&binade, &exponent, sizeof binade);
    binade = binade < 0x1p-126 ? 0x1p-126 : binade;
    if (isinf(value) && fabs(want[i]) >= 0x1.fffffep127 && fabs(want[i]) < 0x1p128)
      value = copysign(0x1p128, value);
    if (isnan(value) && isnan(want[i]))
      error = 0;
    else if (isinf(value) && value == (float)want[i])
      error = 0;
    else
      error = fabs(value - want[i]) / binade * 0x1p23;
    if (!(error <= worst)) {
      worst = isnan(error) ? INFINITY : error;
      *where = i;
    }
  }
  return worst;
}
