#include "fold.h"

#include <stdlib.h>
#if defined(_WIN32)
#include <malloc.h>
#endif

enum {
  FEW_ROWS = 4, /* of a group; with fewer, tables do not pay */
  ALIGNMENT = 64,
};

/* Arrays of one element for each row of a block, tables of the sums of groups, and the plans of the
 * losses for a block. */
typedef struct {
  double losses[FL_BLOCK], w[FL_BLOCK], counted_w[FL_BLOCK], values[FL_BLOCK], wide[FL_BLOCK];
  int64_t label[FL_BLOCK];
  fl_group_sums *sums;
  int losses_count;
  struct {
    fl_plan plan;
    void *scratch;
  } of_loss[];
} fold_scratch;

static void *aligned(size_t size) {
  size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
#if defined(_WIN32)
  return _aligned_malloc(size, ALIGNMENT);
#else
  return aligned_alloc(ALIGNMENT, size);
#endif
}

static void free_aligned(void *x) {
#if defined(_WIN32)
  _aligned_free(x);
#else
  free(x);
#endif
}

/* Of what is added to the cells. */
static fl_dtype value_dtype(const fl_fold *fold) {
  return fold->weighted || !fold->losses ? FL_F64 : fold->folded[0].plan.dtype;
}

void *fl_fold_scratch_new(const fl_fold *fold) {
  fold_scratch *own = aligned(sizeof *own + (size_t)fold->losses * sizeof own->of_loss[0]);
  if (!own) return NULL;
  own->losses_count = fold->losses;
  own->sums = NULL;
  int ready = 1;
  if (fold->grouped) {
    own->sums = fl_group_sums_new(value_dtype(fold), fold->width, !fold->weighted);
    ready = own->sums != NULL;
  }
  for (int i = 0; i < fold->losses; i++) {
    fl_plan *plan = &own->of_loss[i].plan;
    *plan = fold->folded[i].plan;
    plan->out[0].data = (char *)own->losses;
    plan->out[0].native = plan->out[0].direct = 1;
    plan->out[0].strides[0] = plan->dtype == FL_F32 ? sizeof(float) : sizeof(double);
    own->of_loss[i].scratch = fl_scratch_new(plan);
    ready = ready && own->of_loss[i].scratch;
  }
  if (ready) return own;
  fl_fold_scratch_free(own);
  return NULL;
}

void fl_fold_scratch_free(void *scratch) {
  fold_scratch *own = scratch;
  if (!own) return;
  for (int i = 0; i < own->losses_count; i++) fl_scratch_free(own->of_loss[i].scratch);
  fl_group_sums_free(own->sums);
  free_aligned(own);
}

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* ---- adding the values of a block to the cells of their groups ---- */

/* Rows of a block: how many, the group of each, NULL if there is one group only, and whether sums
 * go by way of tables. */
typedef struct {
  ptrdiff_t n;
  const int32_t *group;
  int tabled;
} block;

static void add(const fl_fold *fold, const block *rows, fl_dtype dtype, const void *x, int cell,
                fold_scratch *own, fl_exact *cells) {
  if (!rows->group) {
    fl_exact_add_block(&cells[cell], fold->table, dtype, rows->n, x, own->wide);
  } else if (rows->tabled) {
    fl_group_sums_put(own->sums, fold->table, cell, rows->n, x, rows->group);
  } else {
    for (ptrdiff_t i = 0; i < rows->n; i++) {
      const double v = dtype == FL_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
      if (v != 0) fl_exact_add(&cells[rows->group[i] * fold->width + cell], v);
    }
  }
}

static void count_rows(const fl_fold *fold, const block *rows, int64_t *count) {
  if (!rows->group)
    *count += rows->n;
  else if (!rows->tabled || fold->weighted) /* else the tables count */
    for (ptrdiff_t i = 0; i < rows->n; i++) count[rows->group[i] * fold->counters]++;
}

/* ---- the losses of a block ---- */

static void move_to(fl_operand *to, const fl_operand *from, ptrdiff_t start) {
  to->data = from->data + start * from->strides[0];
  to->native = from->native;
  to->direct = from->direct;
  to->strides[0] = from->strides[0];
}

/* Forms the losses of n rows from `start` on. Returns flags. */
static int64_t run_loss(const fl_fold *fold, int i, ptrdiff_t start, ptrdiff_t n,
                        fold_scratch *own) {
  const fl_plan *whole = &fold->folded[i].plan;
  fl_plan *plan = &own->of_loss[i].plan;
  fl_sum unused[2] = {{0, 0}, {0, 0}};
  move_to(&plan->y, &whole->y, start);
  move_to(&plan->z, &whole->z, start);
  plan->y_class = whole->y_class;
  plan->z_class = whole->z_class;
  plan->size = plan->shape[0] = n;
  return fl_run(plan, 0, n, own->of_loss[i].scratch, unused);
}

/* Losses and weights of rows that are ignored become 0; the others are counted. */
static const double *leave_out_ignored(const fl_fold *fold, int i, ptrdiff_t start,
                                       const block *rows, const double *w, fold_scratch *own,
                                       int64_t *count) {
  const fl_plan *plan = &fold->folded[i].plan;
  plan->label(own->label, plan->y.data + start * plan->y.strides[0], plan->y.strides[0], rows->n);
  for (ptrdiff_t j = 0; j < rows->n; j++) {
    const int ignored = plan->ignores && own->label[j] == plan->ignored;
    if (!ignored)
      count[(rows->group ? rows->group[j] : 0) * fold->counters]++;
    else if (plan->dtype == FL_F32)
      ((float *)own->losses)[j] = 0;
    else
      own->losses[j] = 0;
    if (w) own->counted_w[j] = ignored ? 0 : w[j];
  }
  return w ? own->counted_w : NULL;
}

static const double *load_weights(const fl_fold *fold, ptrdiff_t start, ptrdiff_t n,
                                  fold_scratch *own) {
  if (!fold->weighted) return NULL;
  const ptrdiff_t stride = fold->w.strides[0];
  const char *data = fold->w.data + start * stride;
  if (fold->w.direct) return (const double *)(const void *)data;
  fold->w.load(own->w, n, 1, data, 0, stride, 1, n);
  return own->w;
}

static void run_block(const fl_fold *fold, ptrdiff_t start, const block *rows, fold_scratch *own,
                      fl_exact *cells, int64_t *counts, int64_t *flags) {
  const double *w = load_weights(fold, start, rows->n, own);
  count_rows(fold, rows, counts);
  if (w) add(fold, rows, FL_F64, w, 0, own, cells);
  for (int i = 0; i < fold->losses; i++) {
    const fl_folded *loss = &fold->folded[i];
    const double *counted = w;
    flags[i] |= run_loss(fold, i, start, rows->n, own);
    if (loss->own_cell) {
      counted = leave_out_ignored(fold, i, start, rows, w, own, counts + loss->own_count);
      if (w) add(fold, rows, FL_F64, counted, loss->own_cell, own, cells);
    }
    if (!w) {
      add(fold, rows, loss->plan.dtype, own->losses, 1 + i, own, cells);
      continue;
    }
    fold->table->widen[loss->plan.dtype](rows->n, own->losses, counted, own->values);
    add(fold, rows, FL_F64, own->values, 1 + i, own, cells);
  }
  if (rows->tabled) fl_group_sums_add(own->sums, rows->n, rows->group);
}

static void run_rows(const fl_fold *fold, ptrdiff_t start, ptrdiff_t stop, fold_scratch *own,
                     fl_exact *cells, int64_t *counts, int64_t *flags) {
  const ptrdiff_t groups = fold->groups;
  const int tabled = fold->group && groups <= FL_TABLED_GROUPS && FEW_ROWS * groups <= stop - start;
  if (tabled) fl_group_sums_begin(own->sums, groups, cells);
  for (ptrdiff_t at = start; at < stop; at += FL_BLOCK) {
    const int32_t *group = fold->group ? fold->group + at : NULL;
    const block rows = {smaller(FL_BLOCK, stop - at), group, tabled};
    run_block(fold, at, &rows, own, cells, counts, flags);
  }
  if (tabled) fl_group_sums_end(own->sums, counts, fold->counters);
}

void fl_fold_run(const fl_fold *fold, ptrdiff_t start, ptrdiff_t stop, void *scratch,
                 fl_exact *cells, int64_t *counts, int64_t *flags) {
  for (ptrdiff_t at = start; at < stop; at += FL_TABLED_ROWS)
    run_rows(fold, at, smaller(at + FL_TABLED_ROWS, stop), scratch, cells, counts, flags);
}

void fl_fold_merge(const fl_fold *fold, const fl_exact *part, const int64_t *part_counts,
                   fl_exact *cells, int64_t *counts) {
  for (int i = 0; i < fold->width; i++) fl_exact_merge(&cells[i], &part[i]);
  for (int i = 0; i < fold->counters; i++) counts[i] += part_counts[i];
  if (fold->weighted) return;
  fl_exact_add(&cells[0], (double)part_counts[0]);
  for (int i = 0; i < fold->losses; i++) {
    const fl_folded *loss = &fold->folded[i];
    if (loss->own_cell) fl_exact_add(&cells[loss->own_cell], (double)part_counts[loss->own_count]);
  }
}
