/* Every kernel for one instruction set: the drivers and formulas once for float, once for double.
 * The including file has set ISA, the suffix of all names made here, and VECTOR_BYTES. */

#define CONCAT4_(a, b, c, d) a##_##b##_##c##_##d
#define CONCAT4(a, b, c, d) CONCAT4_(a, b, c, d)
#define CONCAT3_(a, b, c) a##_##b##_##c
#define CONCAT3(a, b, c) CONCAT3_(a, b, c)
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

/* huber_f32_sum_v3, or with one part less sum_f32_v3 */
#define KERNEL(loss, what) CONCAT4(loss, DTYPE, what, ISA)
#define LOCAL(what) CONCAT3(what, DTYPE, ISA)

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define NOT_INLINE __attribute__((noinline))
#define NOT_UNROLLED
#else
#define NOT_INLINE __attribute__((noinline, noclone))
#define NOT_UNROLLED _Pragma("GCC unroll 1")
#endif
/* Tells a compiler what always holds. That a loop runs at least once, for instance: else sums that
 * are kept in registers go through the memory, where they meet those of no turn at all. */
#define ASSUME(condition)                      \
  do {                                         \
    if (!(condition)) __builtin_unreachable(); \
  } while (0)
/* Asks for the lines of n elements that lie `ahead` bytes of x, into all caches (3) or all but the
 * first (2). */
#define ASK_FOR(n, x, ahead, caches)                                   \
  do {                                                                 \
    const uintptr_t from = (uintptr_t)(x) + (uintptr_t)(ahead);        \
    for (size_t at = 0; at < (size_t)(n) * sizeof *(x); at += FL_LINE) \
      __builtin_prefetch((const void *)(from + at), 0, caches);        \
  } while (0)
/* Writes a vector, or 16 bytes of one, past the caches, to a place that is aligned to as many. */
#if !defined(__SSE2__)
#define PUT_16_PAST(to, from) memcpy(to, from, 16)
#define PUT_PAST(to, from) memcpy(to, from, VECTOR_BYTES)
#else
#define PUT_16_PAST(to, from) \
  _mm_stream_si128((__m128i *)(to), _mm_loadu_si128((const __m128i *)(from)))
#if VECTOR_BYTES == 64
#define PUT_PAST(to, from) _mm512_stream_si512((void *)(to), _mm512_loadu_si512(from))
#elif VECTOR_BYTES == 32
#define PUT_PAST(to, from) \
  _mm256_stream_si256((__m256i *)(to), _mm256_loadu_si256((const __m256i *)(from)))
#else
#define PUT_PAST(to, from) PUT_16_PAST(to, from)
#endif
#endif
/* Whether a bit is set of integers of 64 bits, four in a vector or two. */
#if VECTOR_BYTES == 16
#define ANY_BITS(x) (((x)[0] | (x)[1]) != 0)
#else
#define ANY_BITS(x) (!_mm256_testz_si256((__m256i)(x), (__m256i)(x)))
#endif
/* Products of a factor and the lower halves of n integers of 64 bits: a single instruction, which
 * gcc does not know. */
#if VECTOR_BYTES == 64
#define TIMES_LOW_HALVES(n, to, from, factor) \
  for (int i = 0; i < (n); i += 8)            \
  _mm512_storeu_si512((to) + i,               \
                      _mm512_mul_epu32(_mm512_loadu_si512((from) + i), _mm512_set1_epi64(factor)))
#elif VECTOR_BYTES == 32
#define TIMES_LOW_HALVES(n, to, from, factor)                                             \
  for (int i = 0; i < (n); i += 4)                                                        \
  _mm256_storeu_si256((__m256i *)((to) + i),                                              \
                      _mm256_mul_epu32(_mm256_loadu_si256((const __m256i *)((from) + i)), \
                                       _mm256_set1_epi64x(factor)))
#else
#define TIMES_LOW_HALVES(n, to, from, factor) \
  for (int i = 0; i < (n); i++) (to)[i] = ((from)[i] & UINT32_MAX) * (factor)
#endif
#define SIMD _Pragma("omp simd")
#define SIMD_FLAGS _Pragma("omp simd reduction(| : flags)")
#define SIMD_BOTH _Pragma("omp simd reduction(| : flags, other)")
#if defined(__clang__) || VECTOR_BYTES == 16
#define IN_LANES 0
#else
#define IN_LANES 1
#endif

/* The vocabulary of the formulas; FN(exp) is exp_f32 or exp_f64. */
#define FN_(name, dtype) name##_##dtype
#define FN_OF(name, dtype) FN_(name, dtype)
#define FN(name) FN_OF(name, DTYPE)
#define N(x) ((T)(x))
#define EXP(x) FN(exp)(x)
#define EXP_NONPOSITIVE(x) FN(exp_nonpositive)(x)
/* to[j] = exp(x), or expm1(x), for FL_LANES numbers x, which depend on j, and none of which is
 * positive */
#define OF_LANES(f, to, j, x) SIMD for (size_t j = 0; j < FL_LANES; j++)(to)[j] = f(x)
#if VECTOR_BYTES == 64
#define EXP_OF_LANES(to, j, x)                                         \
  do {                                                                 \
    T x_[FL_LANES];                                                    \
    OF_LANES(, x_, j, x);                                              \
    for (size_t i_ = 0; i_ < FL_LANES; i_ += VECTOR_BYTES / sizeof(T)) \
      FN(exp_by_table)(x_ + i_, (to) + i_);                            \
  } while (0)
#else
#define EXP_OF_LANES(to, j, x) OF_LANES(EXP_NONPOSITIVE, to, j, x)
#endif
#define EXPM1_OF_LANES(to, j, x) OF_LANES(FN(expm1_nonpositive), to, j, x)
#define LOG(x) FN(log)(x)
#define LOG1P(x) FN(log1p)(x)
#define LOG1P_UNIT(x) FN(log1p_unit)(x)
#define LOG_COSH(x, square) FN(log_cosh)(x, square)
#define LOG_UNIT(x, one) FN(log_unit)(x, one)
#define LOG_NORMAL(x) FN(log_normal)(x)
#define LOG_SUM_NORMAL(x, one) FN(log_sum_normal)(x, one)
#define MULTIPLY_ADD(a, b, c) FN(multiply_add)(a, b, c)
#define ROUGH_HALF(x) FN(rough_half)(x) /* of 1 / x */
#define LOG1P_RATIO(numerator, denominator) FN(log1p_ratio)(numerator, denominator)
#define REDUCED FN(reduced)
#define REDUCE_NORMAL(x) FN(reduce_normal)(x)
#define REDUCE_UNIT(x, one) FN(reduce_unit)(x, one)
#define REDUCE_RATIO(numerator, denominator) FN(reduce_ratio)(numerator, denominator)
#define REDUCED_AGAIN(k, f) FN(reduced_again)(k, f)
#define LOG_REDUCED(r) FN(log_reduced)(r)
#define LOG_REDUCED_UNIT(r) FN(log_reduced_unit)(r)
#define UNLESS_NAN(x, value) ((x) == (x) ? (value) : (x))
#define SIGN_OF(x) ((I)FN(bits)(x)) /* negative where x is, or -0, or some NaN */
#define OUTSIDE_UNIT(x) (((x) < 0) | ((x) > 1))
#define CHECK_TRUE(bad) flags |= (bad) ? FL_BAD_TRUE : 0
#define CHECK_PRED(bad) flags |= (bad) ? FL_BAD_PRED : 0

#define T float
#define I int32_t /* as wide as T, so that flags and labels are lanes of the same vectors */
#define DTYPE f32
#define FOURS (VECTOR_BYTES / 16)
#define INF __builtin_inff()
#define NORMAL 0x1p-126f /* the smallest normal number */
#define LARGEST 0x1.fffffep127f
#define LARGE 0x1p60f    /* 1 + LARGE^2 rounds to LARGE^2, and so does the root */
#define MODERATE 0x1p90f /* over an EPSILON of 2^-24, no more than 2^126 */
#define ABS(x) __builtin_fabsf(x)
#define COPYSIGN(x, sign) __builtin_copysignf(x, sign)
#define SQRT(x) __builtin_sqrtf(x)
#include "convert.h"
#include "transpose.h"
#include "pointwise.h"
#include "rowwise.h"
#include "exactsum.h"
#include "scatter.h"
#undef T
#undef I
#undef DTYPE
#undef FOURS
#undef INF
#undef NORMAL
#undef LARGEST
#undef LARGE
#undef MODERATE
#undef ABS
#undef COPYSIGN
#undef SQRT

#define T double
#define I int64_t
#define DTYPE f64
#define FOURS ((VECTOR_BYTES + 16) / 32)
#define INF __builtin_inf()
#define NORMAL 0x1p-1022
#define LARGEST 0x1.fffffffffffffp1023
#define LARGE 0x1p500
#define MODERATE 0x1p900
#define ABS(x) __builtin_fabs(x)
#define COPYSIGN(x, sign) __builtin_copysign(x, sign)
#define SQRT(x) __builtin_sqrt(x)
#include "convert.h"
#include "transpose.h"
#include "pointwise.h"
#include "rowwise.h"
#include "exactsum.h"
#include "scatter.h"

static fl_load_fn *const CONCAT3(load, table, ISA)[FL_DTYPES][FL_SOURCES][2] = {
    LOADERS(f32),
    LOADERS(f64),
};

#define ADD_ROWS_OF(dtype)                                           \
  {CONCAT3(add_rows_1, dtype, ISA), CONCAT3(add_rows_2, dtype, ISA), \
   CONCAT3(add_rows_3, dtype, ISA)}

const fl_table CONCAT3(fl, table, ISA) = {
    .isa = TEXT(ISA),
    .pointwise = {CONCAT4(pointwise, f32, table, ISA), CONCAT4(pointwise, f64, table, ISA)},
    .rowwise = {CONCAT4(rowwise, f32, table, ISA), CONCAT4(rowwise, f64, table, ISA)},
    .pointwise_count = sizeof CONCAT4(pointwise, f32, table, ISA) /
                       sizeof *CONCAT4(pointwise, f32, table, ISA),
    .rowwise_count = sizeof CONCAT4(rowwise, f32, table, ISA) /
                     sizeof *CONCAT4(rowwise, f32, table, ISA),
    .load = CONCAT3(load, table, ISA),
    .total = {CONCAT3(total, f32, ISA), CONCAT3(total, f64, ISA)},
    .extract = {CONCAT3(extract, f32, ISA), CONCAT3(extract, f64, ISA)},
    .magnitude = {CONCAT3(magnitude, f32, ISA), CONCAT3(magnitude, f64, ISA)},
    .add_pairs = {CONCAT3(add_pairs, f32, ISA), CONCAT3(add_pairs, f64, ISA)},
    .widen = {CONCAT3(widen, f32, ISA), CONCAT3(widen, f64, ISA)},
    .add_rows = {ADD_ROWS_OF(f32), ADD_ROWS_OF(f64)},
    .peak = {CONCAT3(peak, f32, ISA), CONCAT3(peak, f64, ISA)},
    .spread = {CONCAT3(spread, f32, ISA), CONCAT3(spread, f64, ISA)},
    .transpose = {CONCAT3(transpose, f32, ISA), CONCAT3(transpose, f64, ISA)},
    .classify = {CONCAT3(classify, f32, ISA), CONCAT3(classify, f64, ISA)},
};
