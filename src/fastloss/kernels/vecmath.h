/* exp, expm1, log, log1p and log cosh for loops over arrays: straight-line code that vectorises on
 * every target, the same text for all of them but where fused multiply-add allows a shorter one.
 *
 * Contract: NaN, infinities, zeros and subnormals give what C99 says, but for
 * expm1_nonpositive(-0), which is +0. No result is off by more than these ULPs (of the subnormal
 * spacing where it is subnormal), the second of each pair without fused multiply-add:
 *
 *                        float, every input     double, dense and hostile samples
 *   exp                       0.94  0.97             0.91  0.95
 *   exp_nonpositive           0.94  0.97             0.89  0.92
 *   exp_by_table              0.77                   0.79             with AVX-512: exptable.h
 *   expm1_nonpositive         0.78  0.81             0.87  0.87
 *   log                       0.92  0.95             0.93  0.93
 *   log1p                     0.97  0.97             0.99  0.99
 *   log1p_unit                0.99  0.97             0.83  0.99
 *   log_unit                  as log and log1p       as log and log1p
 *   log1p_ratio               2.00, samples          2.00
 *   log_cosh                  2.00, samples          2.00
 *   ..._normal                bit for bit the same for a part of the arguments
 *
 * tools/ulp_sweep.py measures them; polynomials and constants come from tools/coefficients.py.
 *
 * Rules that keep the loops vectors: no calls, no conversions between double and 64-bit integers
 * and no arithmetic shifts of 64 bits (SSE2 and AVX2 have neither; AVX-512 has both), select by ?:
 * on values that are computed anyway. Rounding to an integer adds 1.5 * 2^23 (2^52) and takes it
 * off again; the integer then also stands in the low bits. Exact products stay exact under
 * contraction. */
#ifndef FASTLOSS_VECMATH_H
#define FASTLOSS_VECMATH_H

#include "coefficients.h"

/* Products are fused with sums within an expression only. Where clang may look further it fuses
 * others wherever the same formula is inlined, and one loss would have several values. */
#if defined(__clang__)
#pragma clang fp contract(on)
#endif

/* Whether products are fused with sums; a file that compiles for a target of its own says so. */
#ifndef VECMATH_FMA
#if defined(__FMA__) || defined(__aarch64__)
#define VECMATH_FMA 1
#else
#define VECMATH_FMA 0
#endif
#endif

/* Whether 64-bit integers are shifted with their sign and converted to double in vectors. */
#ifndef VECMATH_CONVERTS_64
#if defined(__AVX512DQ__) || defined(__aarch64__)
#define VECMATH_CONVERTS_64 1
#else
#define VECMATH_CONVERTS_64 0
#endif
#endif

#define VECMATH static inline __attribute__((always_inline))

VECMATH uint32_t bits_f32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

VECMATH float of_bits_f32(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

VECMATH uint64_t bits_f64(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

VECMATH double of_bits_f64(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* ---- exponentials: x = k ln 2 + r (Cody and Waite), exp(r) - 1 = r + r^2 q(r), and
 * exp(x) = 2^k + 2^k (exp(r) - 1).
 *
 * k is rounded so that 3/4 <= exp(r) <= 3/2: then neither r nor exp(r) - 1 has a larger spacing
 * than 1/4 of that of exp(r), nor of that of 2^k exp(r) - 1, where the rounding error counts. */
#define LOG2E 1.44269504088896340735992468100
#define EXP_SHIFT 0.08496250072115618145373894395 /* 1/2 - log2(4/3) */
#define ROUND_F32 0x1.8p23f
#define ROUND_F64 0x1.8p52

VECMATH float expm1_core_f32(float x, float k) {
  float r = (x - k * LN2_F32_HI) - k * LN2_F32_LO, r2 = r * r;
  float q = (EXP_F32_4 * r2 + (EXP_F32_3 * r + EXP_F32_2)) * r2 + (EXP_F32_1 * r + EXP_F32_0);
  return r + r2 * q;
}

VECMATH double expm1_core_f64(double x, double k) {
  double r = (x - k * LN2_F64_HI) - k * LN2_F64_LO, r2 = r * r;
  double q = (EXP_F64_9 * r + EXP_F64_8) * r2 + (EXP_F64_7 * r + EXP_F64_6);
  q = q * r2 + (EXP_F64_5 * r + EXP_F64_4);
  q = q * r2 + (EXP_F64_3 * r + EXP_F64_2);
  q = q * r2 + (EXP_F64_1 * r + EXP_F64_0);
  return r + r2 * q;
}

/* exp(x) for x <= 0; 2^k is 2^(k+64) 2^-64, since it may be subnormal. */
VECMATH float exp_nonpositive_f32(float x) {
  x = x < -104 ? -104 : x;
  float t = (x * (float)LOG2E - (float)EXP_SHIFT) + (ROUND_F32 + 191), k = t - (ROUND_F32 + 191);
  float scale = of_bits_f32(bits_f32(t) << 23) * 0x1p-64f;
  return scale + scale * expm1_core_f32(x, k);
}

VECMATH double exp_nonpositive_f64(double x) {
  x = x < -746 ? -746 : x;
  double t = (x * LOG2E - EXP_SHIFT) + (ROUND_F64 + 1087), k = t - (ROUND_F64 + 1087);
  double scale = of_bits_f64(bits_f64(t) << 52) * 0x1p-64;
  return scale + scale * expm1_core_f64(x, k);
}

VECMATH float exp_f32(float x) {
  float t = (x * (float)LOG2E - (float)EXP_SHIFT) + (ROUND_F32 + 254), k = t - (ROUND_F32 + 254);
  uint32_t bits = bits_f32(t), half = (bits << 22) & UINT32_C(0x7f800000);
  float scale = of_bits_f32(half);
  float y = (scale + scale * expm1_core_f32(x, k)) * of_bits_f32((bits << 23) - half);
  y = x < -104 ? 0 : y;
  return x > 89 ? __builtin_inff() : y;
}

VECMATH double exp_f64(double x) {
  double t = (x * LOG2E - EXP_SHIFT) + (ROUND_F64 + 2046), k = t - (ROUND_F64 + 2046);
  uint64_t bits = bits_f64(t), half = (bits << 51) & UINT64_C(0x7ff0000000000000);
  double scale = of_bits_f64(half);
  double y = (scale + scale * expm1_core_f64(x, k)) * of_bits_f64((bits << 52) - half);
  y = x < -746 ? 0 : y;
  return x > 710 ? __builtin_inf() : y;
}

/* expm1(x) for x <= 0: 2^k (exp(r) - 1) + (2^k - 1) */
VECMATH float expm1_nonpositive_f32(float x) {
  x = x < -30 ? -30 : x;
  float t = (x * (float)LOG2E - (float)EXP_SHIFT) + (ROUND_F32 + 127), k = t - (ROUND_F32 + 127);
  float high = x - k * LN2_F32_HI, low = k * LN2_F32_LO, r = high - low, r2 = r * r;
  float w = (EXPM1_F32_4 * r2 + (EXPM1_F32_3 * r + EXPM1_F32_2)) * r2;
  w = w + (EXPM1_F32_1 * r + EXPM1_F32_0);
  float p = high + (0.5f * r2 + (w * (r * r2) - low)), scale = of_bits_f32(bits_f32(t) << 23);
  return scale * p + (scale - 1);
}

VECMATH double expm1_nonpositive_f64(double x) {
  x = x < -50 ? -50 : x;
  double t = (x * LOG2E - EXP_SHIFT) + (ROUND_F64 + 1023), k = t - (ROUND_F64 + 1023);
  double high = x - k * LN2_F64_HI, low = k * LN2_F64_LO, r = high - low, r2 = r * r;
  double w = (EXPM1_F64_9 * r + EXPM1_F64_8) * r2 + (EXPM1_F64_7 * r + EXPM1_F64_6);
  w = w * r2 + (EXPM1_F64_5 * r + EXPM1_F64_4);
  w = w * r2 + (EXPM1_F64_3 * r + EXPM1_F64_2);
  w = w * r2 + (EXPM1_F64_1 * r + EXPM1_F64_0);
  double p = high + (0.5 * r2 + (w * (r * r2) - low)), scale = of_bits_f64(bits_f64(t) << 52);
  return scale * p + (scale - 1);
}

/* ---- logarithms: u = 2^k (1 + f). With s = f / (2 + f) and z = s^2 (fdlibm's e_log.c),
 * log1p(f) = 2 s + s z R(z) = f - s (f - z R(z)): a quotient takes the place of many terms, and its
 * rounding errors count less than those of f would. ---- */

/* What the conversion of its bits makes of k = 1 */
#define STEP_F32 0x1p23f
#if VECMATH_CONVERTS_64
#define STEP_F64 0x1p52
#else
#define STEP_F64 1
#endif

/* k ln 2 + log1p(f) of k times STEP, the sum of k ln 2 and f with its error */
VECMATH float join_log_f32(float k, float f) {
  float s = f / (2 + f), z = s * s;
  float r = (LOG_F32_2 * z + LOG_F32_1) * z + LOG_F32_0;
  float high = k * (LN2_F32_HI / STEP_F32), sum = high + f, error = f - (sum - high);
  return sum - (s * (f - z * r) - (error + k * (LN2_F32_LO / STEP_F32)));
}

VECMATH double join_log_f64(double k, double f) {
  double s = f / (2 + f), z = s * s, z2 = z * z;
  double r = LOG_F64_6 * z2 + (LOG_F64_5 * z + LOG_F64_4);
  r = r * z2 + (LOG_F64_3 * z + LOG_F64_2);
  r = r * z2 + (LOG_F64_1 * z + LOG_F64_0);
  double high = k * (LN2_F64_HI / STEP_F64), sum = high + f, error = f - (sum - high);
  return sum - (s * (f - z * r) - (error + k * (LN2_F64_LO / STEP_F64)));
}

/* 2^k as bits above those of 1, 1 + f being at least `low`; k itself, times STEP. With a low of
 * sqrt(1/2) nothing cancels next to 1; where f is formed of x, to which 1 is added, it is exact for
 * x >= 0 with one of 3/4. */
VECMATH uint32_t exponent_f32(float u, float low) {
  return (bits_f32(u) - bits_f32(low)) & UINT32_C(0xff800000);
}

VECMATH uint64_t exponent_f64(double u, double low) {
  return (bits_f64(u) - bits_f64(low)) & UINT64_C(0xfff0000000000000);
}

VECMATH float exponent_value_f32(uint32_t e) { return (float)(int32_t)e; }

VECMATH double exponent_value_f64(uint64_t e) {
#if VECMATH_CONVERTS_64
  return (double)(int64_t)e;
#else
  /* The upper twelve bits are k modulo 4096. */
  return of_bits_f64((e >> 52) ^ bits_f64(0x1p52 + 2048)) - (0x1p52 + 2048);
#endif
}

VECMATH float log_f32(float x) {
  int tiny = x < 0x1p-126f;
  float u = tiny ? x * 0x1p24f : x;
  uint32_t e = exponent_f32(u, SQRT_HALF_F32);
  float k = exponent_value_f32(e) + (tiny ? -24 * STEP_F32 : 0);
  float y = join_log_f32(k, of_bits_f32(bits_f32(u) - e) - 1);
  y = x == 0 ? -__builtin_inff() : y;
  y = x < 0 ? __builtin_nanf("") : y;
  return x < __builtin_inff() ? y : x; /* infinity and NaN stay */
}

VECMATH double log_f64(double x) {
  int tiny = x < 0x1p-1022;
  double u = tiny ? x * 0x1p54 : x;
  uint64_t e = exponent_f64(u, SQRT_HALF_F64);
  double k = exponent_value_f64(e) + (tiny ? -54 * STEP_F64 : 0);
  double y = join_log_f64(k, of_bits_f64(bits_f64(u) - e) - 1);
  y = x == 0 ? -__builtin_inf() : y;
  y = x < 0 ? __builtin_nan("") : y;
  return x < __builtin_inf() ? y : x;
}

/* log(one + x) + extra ln 2, extra times STEP being given, and one 0 or 1. f is formed from x, not
 * from the rounded u, and is exact; its factor 2^-k is 1/4 2^(2-k), which stays within the normal
 * numbers. */
VECMATH float log_sum_f32(float x, float one, float extra) {
  float u = one + x;
  uint32_t e = exponent_f32(u, x < 0 ? SQRT_HALF_F32 : 0.75f);
  float scale = of_bits_f32(bits_f32(4) - e);
  float f = 0.25f * x * scale + (0.25f * one * scale - 1);
  float y = join_log_f32(exponent_value_f32(e) + extra, f);
  y = u == 1 ? x : y; /* -0 and subnormal numbers stay */
  return u < __builtin_inff() ? y : u;
}

VECMATH double log_sum_f64(double x, double one, double extra) {
  double u = one + x;
  uint64_t e = exponent_f64(u, x < 0 ? SQRT_HALF_F64 : 0.75);
  double scale = of_bits_f64(bits_f64(4) - e);
  double f = 0.25 * x * scale + (0.25 * one * scale - 1);
  double y = join_log_f64(exponent_value_f64(e) + extra, f);
  y = u == 1 ? x : y;
  return u < __builtin_inf() ? y : u;
}

VECMATH float log1p_f32(float x) {
  float y = log_sum_f32(x, 1, 0);
  y = x == -1 ? -__builtin_inff() : y;
  return x < -1 ? __builtin_nanf("") : y;
}

VECMATH double log1p_f64(double x) {
  double y = log_sum_f64(x, 1, 0);
  y = x == -1 ? -__builtin_inf() : y;
  return x < -1 ? __builtin_nan("") : y;
}

/* log1p(x) for 0 <= x <= 1. With fused multiply-add one polynomial does, x (7/8 + P(x - 1/2)):
 * 7/8 keeps P small where log1p(x)/x is next to 1 and where it is next to log 2, and the last
 * sum is rounded once. */
VECMATH float log1p_unit_f32(float x) {
#if VECMATH_FMA
  float t = x - 0.5f, t2 = t * t;
  float p = LOG1P_UNIT_F32_9 * t + LOG1P_UNIT_F32_8;
  p = p * t2 + (LOG1P_UNIT_F32_7 * t + LOG1P_UNIT_F32_6);
  p = p * t2 + (LOG1P_UNIT_F32_5 * t + LOG1P_UNIT_F32_4);
  p = p * t2 + (LOG1P_UNIT_F32_3 * t + LOG1P_UNIT_F32_2);
  p = (p * t + LOG1P_UNIT_F32_1) * t + LOG1P_UNIT_F32_0;
  return 0.875f * x + x * p;
#else
  int upper = x > 0.5f;
  return join_log_f32(upper ? STEP_F32 : 0, upper ? 0.5f * x - 0.5f : x);
#endif
}

/* In double the quotient is better there, too, with f = x. The remainder of the division is exact,
 * and what it changes in the last product is s times as much, almost. */
VECMATH double log1p_unit_f64(double x) {
#if VECMATH_FMA
  double s = x / (2 + x), z = s * s, z2 = z * z, left = (x - 2 * s) - s * x;
  double r = LOG1P_UNIT_F64_9 * z + LOG1P_UNIT_F64_8;
  r = r * z2 + (LOG1P_UNIT_F64_7 * z + LOG1P_UNIT_F64_6);
  r = r * z2 + (LOG1P_UNIT_F64_5 * z + LOG1P_UNIT_F64_4);
  r = r * z2 + (LOG1P_UNIT_F64_3 * z + LOG1P_UNIT_F64_2);
  r = r * z2 + (LOG1P_UNIT_F64_1 * z + LOG1P_UNIT_F64_0);
  return x - s * (x - (z * r - left));
#else
  int upper = x > 0.5;
  return join_log_f64(upper ? STEP_F64 : 0, upper ? 0.5 * x - 0.5 : x);
#endif
}

/* log cosh a for a >= 0 and x = exp(-2 a): a - log 2 + log1p(x) for results above 1/4; smaller ones
 * have a closer spacing than what this difference cancels, and are a polynomial of a^2. */
VECMATH float log_cosh_f32(float a, float x) {
  float t = a * a, t2 = t * t, x2 = x * x;
  float p = (LOG_COSH_F32_4 * t2 + (LOG_COSH_F32_3 * t + LOG_COSH_F32_2)) * t2;
  p = p + (LOG_COSH_F32_1 * t + LOG_COSH_F32_0);
  float q = (LOG1P_SMALL_F32_4 * x2 + (LOG1P_SMALL_F32_3 * x + LOG1P_SMALL_F32_2)) * x2;
  q = q + (LOG1P_SMALL_F32_1 * x + LOG1P_SMALL_F32_0);
  float small = 0.5f * t + t2 * p;
  float large = (a - LN2_F32_HI) + ((x + x2 * q) - LN2_F32_LO);
  return a < 0.75f ? small : large;
}

VECMATH double log_cosh_f64(double a, double x) {
  double t = a * a, t2 = t * t, x2 = x * x;
  double p = (LOG_COSH_F64_11 * t + LOG_COSH_F64_10) * t2 + (LOG_COSH_F64_9 * t + LOG_COSH_F64_8);
  p = p * t2 + (LOG_COSH_F64_7 * t + LOG_COSH_F64_6);
  p = p * t2 + (LOG_COSH_F64_5 * t + LOG_COSH_F64_4);
  p = p * t2 + (LOG_COSH_F64_3 * t + LOG_COSH_F64_2);
  p = p * t2 + (LOG_COSH_F64_1 * t + LOG_COSH_F64_0);
  double q = LOG1P_SMALL_F64_10 * x2 + (LOG1P_SMALL_F64_9 * x + LOG1P_SMALL_F64_8);
  q = q * x2 + (LOG1P_SMALL_F64_7 * x + LOG1P_SMALL_F64_6);
  q = q * x2 + (LOG1P_SMALL_F64_5 * x + LOG1P_SMALL_F64_4);
  q = q * x2 + (LOG1P_SMALL_F64_3 * x + LOG1P_SMALL_F64_2);
  q = q * x2 + (LOG1P_SMALL_F64_1 * x + LOG1P_SMALL_F64_0);
  double small = 0.5 * t + t2 * p;
  double large = (a - LN2_F64_HI) + ((x + x2 * q) - LN2_F64_LO);
  return a < 0.75 ? small : large;
}

/* log(one + x), one being 0 or 1, where that is a normal number that is less than 2^126 (2^1022),
 * or NaN; in two steps, since of two short loops a processor overlaps more of the iterations than
 * of a long one. */
typedef struct {
  float k, f, u; /* u = one + x */
} reduced_f32;

typedef struct {
  double k, f, u; /* u = one + x */
} reduced_f64;

VECMATH reduced_f32 reduce_f32(float x, float one, float low) {
  float u = one + x;
  uint32_t e = exponent_f32(u, low);
  float scale = of_bits_f32(bits_f32(1) - e);
  return (reduced_f32){exponent_value_f32(e), x * scale + (one * scale - 1), u};
}

VECMATH reduced_f64 reduce_f64(double x, double one, double low) {
  double u = one + x;
  uint64_t e = exponent_f64(u, low);
  double scale = of_bits_f64(bits_f64(1) - e);
  return (reduced_f64){exponent_value_f64(e), x * scale + (one * scale - 1), u};
}

VECMATH float log_reduced_f32(reduced_f32 r) { return join_log_f32(r.k, r.f); }

VECMATH double log_reduced_f64(reduced_f64 r) { return join_log_f64(r.k, r.f); }

/* For x >= 0. */
VECMATH reduced_f32 reduce_sum_f32(float x, float one) { return reduce_f32(x, one, 0.75f); }

VECMATH reduced_f64 reduce_sum_f64(double x, double one) { return reduce_f64(x, one, 0.75); }

VECMATH float log_sum_normal_f32(float x, float one) {
  return log_reduced_f32(reduce_sum_f32(x, one));
}

VECMATH double log_sum_normal_f64(double x, double one) {
  return log_reduced_f64(reduce_sum_f64(x, one));
}

/* log(one + x), one being 0 or 1, for 0 <= one + x <= 1; bit for bit what log and log1p give. */
VECMATH float log_unit_f32(float x, float one) {
  float u = one + x;
  int tiny = u < 0x1p-126f;
  x = tiny ? x * 0x1p24f : x;
  uint32_t e = exponent_f32(tiny ? x : u, SQRT_HALF_F32);
  float scale = of_bits_f32(bits_f32(1) - e);
  float k = exponent_value_f32(e) + (tiny ? -24 * STEP_F32 : 0);
  float y = join_log_f32(k, x * scale + (one * scale - 1));
  y = u == 0 ? -__builtin_inff() : y;
  return u == u ? y : u;
}

VECMATH double log_unit_f64(double x, double one) {
  double u = one + x;
  int tiny = u < 0x1p-1022;
  x = tiny ? x * 0x1p54 : x;
  uint64_t e = exponent_f64(tiny ? x : u, SQRT_HALF_F64);
  double scale = of_bits_f64(bits_f64(1) - e);
  double k = exponent_value_f64(e) + (tiny ? -54 * STEP_F64 : 0);
  double y = join_log_f64(k, x * scale + (one * scale - 1));
  y = u == 0 ? -__builtin_inf() : y;
  return u == u ? y : u;
}

/* The same where one + x is 0 or a normal number, or NaN. */
VECMATH reduced_f32 reduce_unit_f32(float x, float one) {
  return reduce_f32(x, one, SQRT_HALF_F32);
}

VECMATH reduced_f64 reduce_unit_f64(double x, double one) {
  return reduce_f64(x, one, SQRT_HALF_F64);
}

VECMATH float log_reduced_unit_f32(reduced_f32 r) {
  return r.u == 0 ? -__builtin_inff() : log_reduced_f32(r);
}

VECMATH double log_reduced_unit_f64(reduced_f64 r) {
  return r.u == 0 ? -__builtin_inf() : log_reduced_f64(r);
}

/* What was reduced, of k and f alone, but for u, which is 0 or is not: f is 0 and NaN,
 * respectively, of 0 and of some NaN, whose k is less than that of normal numbers. */
VECMATH reduced_f32 reduced_again_f32(float k, float f) {
  return (reduced_f32){k, f, k < -126 * STEP_F32 ? f : 1};
}

VECMATH reduced_f64 reduced_again_f64(double k, double f) {
  return (reduced_f64){k, f, k < -1022 * STEP_F64 ? f : 1};
}

/* log(x) of a normal number that is less than 2^126 (2^1022), or NaN; bit for bit what log gives.
 */
VECMATH reduced_f32 reduce_normal_f32(float x) {
  uint32_t e = exponent_f32(x, SQRT_HALF_F32);
  return (reduced_f32){exponent_value_f32(e), x * of_bits_f32(bits_f32(1) - e) - 1, x};
}

VECMATH reduced_f64 reduce_normal_f64(double x) {
  uint64_t e = exponent_f64(x, SQRT_HALF_F64);
  return (reduced_f64){exponent_value_f64(e), x * of_bits_f64(bits_f64(1) - e) - 1, x};
}

VECMATH float log_normal_f32(float x) { return log_reduced_f32(reduce_normal_f32(x)); }

VECMATH double log_normal_f64(double x) { return log_reduced_f64(reduce_normal_f64(x)); }

/* log1p(numerator / denominator), both >= 0. A quotient above 2^120 (2^1000) may overflow; it is
 * formed 2^-150 (2^-1200) as large, and the 1 no longer counts. */
VECMATH float log1p_ratio_f32(float numerator, float denominator) {
  int large = numerator > denominator * 0x1p120f;
  float a = numerator * (large ? 0x1p-90f : 1), b = denominator * (large ? 0x1p60f : 1);
  return log_sum_f32(a / b, large ? 0 : 1, large ? 150 * STEP_F32 : 0);
}

VECMATH double log1p_ratio_f64(double numerator, double denominator) {
  int large = numerator > denominator * 0x1p1000;
  double a = numerator * (large ? 0x1p-700 : 1), b = denominator * (large ? 0x1p500 : 1);
  return log_sum_f64(a / b, large ? 0 : 1, large ? 1200 * STEP_F64 : 0);
}

/* The same where the quotient is less than 2^126 (2^1022), or NaN, to be continued by log_reduced;
 * bit for bit the same. */
VECMATH reduced_f32 reduce_ratio_f32(float numerator, float denominator) {
  return reduce_sum_f32(numerator / denominator, 1);
}

VECMATH reduced_f64 reduce_ratio_f64(double numerator, double denominator) {
  return reduce_sum_f64(numerator / denominator, 1);
}

/* a b + c, fused wherever products are. Where a sum has two products, and x + x is one to gcc, or
 * two sums share one, gcc fuses now this and now that, and one loss would have several values. */
VECMATH float multiply_add_f32(float a, float b, float c) {
#if VECMATH_FMA
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

VECMATH double multiply_add_f64(double a, double b, double c) {
#if VECMATH_FMA
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

/* 1/(2 x) and up to an eighth more, for x from 1 to 2^100 (2^1000), and 1/(2 x) itself for powers
 * of two: the bits of a number are about its logarithm. Next to 1 it is off by half of x - 1. */
VECMATH float rough_half_f32(float x) {
  return of_bits_f32(bits_f32(1) + bits_f32(0.5f) - bits_f32(x));
}

VECMATH double rough_half_f64(double x) {
  return of_bits_f64(bits_f64(1) + bits_f64(0.5) - bits_f64(x));
}

#endif
