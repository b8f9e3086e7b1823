/* Exact sums of many groups at once: values go, block by block, to tables of plain doubles that
 * have no rounding errors, and from there to the cells of the groups.
 *
 * A block of the values of a cell becomes one column (floats) or two (doubles) of multiples of the
 * same small number, few enough that doubles add them up exactly; see `split` in exactsum.h. */
#ifndef FASTLOSS_GROUP_SUMS_H
#define FASTLOSS_GROUP_SUMS_H

#include "superaccumulator.h"

enum {
  FL_TABLED_GROUPS = 1024,        /* with more, tables leave the cache */
  FL_TABLED_ROWS = 16 * FL_BLOCK, /* more rows must not be added to the same tables */
};

typedef struct fl_group_sums fl_group_sums;

/* Tables for `cells` cells of each group; NULL if there is no memory. If `counts` is set, cell 0 is
 * no sum, but the number of rows. */
fl_group_sums *fl_group_sums_new(fl_dtype dtype, int cells, int counts);
void fl_group_sums_free(fl_group_sums *sums);

/* Begins with zeros for groups of which each has `cells` cells of its own, one after the other. */
void fl_group_sums_begin(fl_group_sums *sums, ptrdiff_t groups, fl_exact *cells);

/* Takes the values of a cell for n <= FL_BLOCK rows, which `fl_group_sums_add` adds. */
void fl_group_sums_put(fl_group_sums *sums, const fl_table *table, int cell, ptrdiff_t n,
                       const void *x, const int32_t *group);
void fl_group_sums_add(fl_group_sums *sums, ptrdiff_t n, const int32_t *group);

/* Adds what is in the tables to the cells, and to the counts, of which each group has `counters`.
 */
void fl_group_sums_end(fl_group_sums *sums, int64_t *counts, int counters);

#endif
