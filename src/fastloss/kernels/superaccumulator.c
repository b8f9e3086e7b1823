#include "superaccumulator.h"

#include <math.h>
#include <string.h>

enum {
  UNIT = -1074, /* 2 to this power is the lowest bit */
  FEWEST = 12,  /* numbers below which extraction does not pay */
};
/* Beyond these the parts might overflow. */
#define LARGE 0x1p1000
#define LARGE_FLOAT 0x1p120

/* Adds or subtracts an integer in units of 2^position of the lowest. */
static void add_at(fl_exact *sum, uint64_t x, int position, int negative) {
  const int shift = position % 64;
  uint64_t *limb = sum->limbs + position / 64, *const end = sum->limbs + FL_LIMBS;
  const uint64_t low = x << shift, high = shift ? x >> (64 - shift) : 0;
  uint64_t carry;
  if (negative) {
    carry = __builtin_sub_overflow(limb[0], low, &limb[0]);
    carry = __builtin_sub_overflow(limb[1], carry, &limb[1]) +
            (uint64_t)__builtin_sub_overflow(limb[1], high, &limb[1]);
    for (limb += 2; carry && limb < end; limb++) carry = __builtin_sub_overflow(*limb, carry, limb);
  } else {
    carry = __builtin_add_overflow(limb[0], low, &limb[0]);
    carry = __builtin_add_overflow(limb[1], carry, &limb[1]) +
            (uint64_t)__builtin_add_overflow(limb[1], high, &limb[1]);
    for (limb += 2; carry && limb < end; limb++) carry = __builtin_add_overflow(*limb, carry, limb);
  }
}

void fl_exact_add(fl_exact *sum, double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
  const int exponent = (int)(bits >> 52 & 0x7ff), negative = (int)(bits >> 63);
  if (exponent == 0x7ff) {
    ++*(fraction ? &sum->nans : negative ? &sum->minus_infinities : &sum->infinities);
    return;
  }
  const uint64_t significand = exponent ? fraction | UINT64_C(1) << 52 : fraction;
  add_at(sum, significand, exponent ? exponent - 1 : 0, negative);
}

void fl_exact_add_integer(fl_exact *sum, int64_t x, int exponent) {
  add_at(sum, x < 0 ? -(uint64_t)x : (uint64_t)x, exponent - UNIT, x < 0);
}

void fl_exact_merge(fl_exact *sum, const fl_exact *other) {
  uint64_t carry = 0;
  for (int i = 0; i < FL_LIMBS; i++) {
    carry = __builtin_add_overflow(sum->limbs[i], carry, &sum->limbs[i]);
    carry += __builtin_add_overflow(sum->limbs[i], other->limbs[i], &sum->limbs[i]);
  }
  sum->nans += other->nans;
  sum->infinities += other->infinities;
  sum->minus_infinities += other->minus_infinities;
}

static void add_each(fl_exact *sum, ptrdiff_t n, const double *x) {
  for (ptrdiff_t i = 0; i < n; i++)
    if (x[i] != 0) fl_exact_add(sum, x[i]);
}

/* A power of two of more than x, even if x is a sixteenth too small. */
static double scale_of(double x) {
  uint64_t bits;
  x *= 1.0625;
  memcpy(&bits, &x, sizeof bits);
  bits = (bits & UINT64_C(0x7ff) << 52) + (UINT64_C(1) << 52);
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* Adds the parts of numbers, unless some are too small beside the others: then it returns 0. */
static int add_parts(fl_exact *sum, const fl_table *table, fl_dtype dtype, ptrdiff_t n,
                     const void *x, double scale) {
  double parts[FL_EXACT_PARTS];
  if (table->extract[dtype](n, x, scale, parts)) return 0;
  add_each(sum, FL_EXACT_PARTS, parts);
  return 1;
}

void fl_exact_add_block(fl_exact *sum, const fl_table *table, fl_dtype dtype, ptrdiff_t n,
                        const void *x, double *wide) {
  const double magnitude = n < FEWEST ? INFINITY : table->magnitude[dtype](n, x);
  const double scale = scale_of(magnitude);
  if (magnitude == 0) return;
  if (magnitude < (dtype == FL_F32 ? LARGE_FLOAT : LARGE) &&
      add_parts(sum, table, dtype, n, x, scale))
    return;
  table->widen[dtype](n, x, NULL, wide);
  if (!(magnitude < LARGE)) {
    add_each(sum, n, wide);
    return;
  }
  if (dtype == FL_F32 && add_parts(sum, table, FL_F64, n, wide, scale)) return;
  /* The few numbers that are too small beside the others go one by one. */
  for (ptrdiff_t i = 0; i < n; i++) {
    if (fabs(wide[i]) >= scale * FL_FINEST || wide[i] == 0) continue;
    fl_exact_add(sum, wide[i]);
    wide[i] = 0;
  }
  (void)add_parts(sum, table, FL_F64, n, wide, scale);
}
