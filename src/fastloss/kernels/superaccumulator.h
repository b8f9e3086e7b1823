/* Exact sums of doubles: integers of 2240 bits in units of 2^-1074, the smallest subnormal, so that
 * no sum of fewer than 2^140 doubles overflows, and none depends on the order of its terms. */
#ifndef FASTLOSS_SUPERACCUMULATOR_H
#define FASTLOSS_SUPERACCUMULATOR_H

#include "fastloss.h"

enum { FL_LIMBS = 35 };

/* Two's complement, lowest limb first, and how many terms were no finite numbers. */
typedef struct {
  uint64_t limbs[FL_LIMBS];
  int64_t nans, infinities, minus_infinities;
} fl_exact;

void fl_exact_add(fl_exact *sum, double x);
/* Adds x * 2^exponent, of which no bit is below the units. */
void fl_exact_add_integer(fl_exact *sum, int64_t x, int exponent);
void fl_exact_merge(fl_exact *sum, const fl_exact *other);

/* Adds n <= FL_BLOCK elements of a dtype; `wide` is scratch space for as many doubles. */
void fl_exact_add_block(fl_exact *sum, const fl_table *table, fl_dtype dtype, ptrdiff_t n,
                        const void *x, double *wide);

#endif
