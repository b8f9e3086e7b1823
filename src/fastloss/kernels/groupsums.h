/* Exact sums of several columns of numbers for each group of rows, block by block.
 *
 * A number x becomes integers of a few levels. With s = 1.5 * 2^52 u the sum x + s is x rounded to
 * a multiple of the unit u, and its bits less those of s are this multiple as an integer, if x is
 * less than 2^51 u; what is left is exact and goes to the next level, whose unit is 2^-b u. So four
 * columns of a row are added to the sums of its group by one addition of vectors, in any order of
 * the rows, as long as no sum can overflow: a number has b bits, and b and those of the number of
 * rows are 62. What is left after the last level, of numbers that are tiny beside others, goes to
 * the superaccumulator at once, as do numbers of a block where one is huge, infinite or NaN. */
#ifndef FASTLOSS_GROUPSUMS_H
#define FASTLOSS_GROUPSUMS_H

#include "superaccumulator.h"

typedef struct fl_group_sums fl_group_sums;

/* For so many columns, at most, of a dtype; NULL if there is no memory. */
fl_group_sums *fl_group_sums_new(const fl_table *table, fl_dtype dtype, int columns,
                                 ptrdiff_t groups);
void fl_group_sums_free(fl_group_sums *sums);

/* Begins a block of n <= FL_BLOCK rows. Their groups are read until the block ends. */
void fl_group_sums_begin(fl_group_sums *sums, ptrdiff_t n, const int32_t *group);

/* Where to put the numbers of the next column; they stay there for the next three. */
void *fl_group_sums_column(fl_group_sums *sums);

/* Adds a column, the same one in each block at this place. `x` is read until the block ends, or the
 * fourth call from here on. The total of group g belongs to total[g * step]. */
void fl_group_sums_add(fl_group_sums *sums, const void *x, fl_exact *total, ptrdiff_t step);

/* Ends the block, and counts its rows: those of group g in count[g * step]. */
void fl_group_sums_end(fl_group_sums *sums, int64_t *count, ptrdiff_t step);

/* Adds what is left to the totals. */
void fl_group_sums_finish(fl_group_sums *sums);

#endif
