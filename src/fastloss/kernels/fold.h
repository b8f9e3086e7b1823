/* Folding rows into exact sums: all losses of a block of rows while it is in cache.
 *
 * The sums of one group of rows are a row of `width` cells and `counters` counts: cell 0 and count
 * 0 are those of the weights and rows, cell 1 + i that of loss i; a loss that ignores labels has a
 * cell and a count of its own for the rows that it counts. */
#ifndef FASTLOSS_FOLD_H
#define FASTLOSS_FOLD_H

#include "groupsums.h"
#include "pipeline.h"

/* Groups of which a batch may have any integers: their sums are a table that stays in cache. */
#define FL_FEW_GROUPS 682

/* One loss. The plan gives losses without weights; its operands are one-dimensional. A loss that
 * ignores labels says which cell and count are its own, else these are 0. */
typedef struct {
  fl_plan plan;
  int own_cell, own_count;
} fl_folded;

/* A batch of rows. `w` is loaded as doubles. The group of each row is its integer in `codes`, from
 * `lowest` on, of the given type, which is int32 from 0 on if there are more than a few groups;
 * NULL if there is one only. */
typedef struct {
  const fl_table *table;
  int losses, width, counters, weighted;
  const fl_folded *folded;
  fl_operand w;
  const void *codes;
  fl_source code_type;
  int64_t lowest;
  ptrdiff_t groups;
} fl_fold;

/* What a thread needs; NULL if there is no memory. It serves other batches too, of the same dtypes
 * and number of classes. */
void *fl_fold_scratch_new(const fl_fold *fold);
void fl_fold_scratch_free(void *scratch);

enum { FL_BAD_GROUP = 1 };

/* Whether a thread that folds about so many rows wants sums of groups of its own. */
int fl_fold_wants_sums(const fl_fold *fold, ptrdiff_t rows);

/* For one batch; NULL if there is no memory. */
fl_group_sums *fl_fold_sums_new(const fl_fold *fold);

/* Folds rows start .. stop - 1 into cells and counts of all groups, which begin as zeros. Adds the
 * flags of loss i to flags[i], and FL_BAD_GROUP to those after them. Without weights, the cells of
 * weights are left to the merger. With sums of groups, these belong to the same cells and counts,
 * which have them all after `fl_group_sums_finish`. */
void fl_fold_run(const fl_fold *fold, ptrdiff_t start, ptrdiff_t stop, void *scratch,
                 fl_group_sums *sums, fl_exact *cells, int64_t *counts, int64_t *flags);

/* Adds what was folded of one group to its sums. */
void fl_fold_merge(const fl_fold *fold, const fl_exact *part, const int64_t *part_counts,
                   fl_exact *cells, int64_t *counts);

#endif
