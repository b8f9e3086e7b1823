#include "fold.h"

#include <string.h>

#include "aligned.h"

enum {
  FEWEST_ROWS = 512, /* that sums of groups are made for, */
  ROWS_OF_GROUP = 4, /* with so many of each */
};

/* Arrays of one element for each row of a block, and the plans of the losses for that block. */
typedef struct {
  double losses[FL_BLOCK], w[FL_BLOCK], counted_w[FL_BLOCK], values[FL_BLOCK];
  double y[FL_BLOCK], z[FL_BLOCK], wide[FL_BLOCK];
  int64_t label[FL_BLOCK];
  int32_t group[FL_BLOCK];
  fl_dtype dtype_of_terms;
  int losses_count;
  struct {
    fl_plan plan;
    void *scratch;
  } of_loss[];
} fold_scratch;

/* That of the terms of all sums: losses, or their products with weights. */
static fl_dtype dtype_of_terms(const fl_fold *fold) {
  fl_dtype dtype = fold->weighted ? FL_F64 : FL_F32;
  for (int i = 0; i < fold->losses; i++)
    if (fold->folded[i].plan.dtype == FL_F64) dtype = FL_F64;
  return dtype;
}

void *fl_fold_scratch_new(const fl_fold *fold) {
  fold_scratch *own;
  const size_t size = sizeof *own + (size_t)fold->losses * sizeof own->of_loss[0];
  own = fl_own_new(size);
  if (!own) return NULL;
  int ready = 1;
  own->dtype_of_terms = dtype_of_terms(fold);
  own->losses_count = fold->losses;
  for (int i = 0; i < fold->losses; i++) {
    fl_plan *plan = &own->of_loss[i].plan;
    *plan = fold->folded[i].plan;
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
  fl_aligned_free(own);
}

int fl_fold_wants_sums(const fl_fold *fold, ptrdiff_t rows) {
  return fold->codes && rows >= FEWEST_ROWS && rows / ROWS_OF_GROUP >= fold->groups;
}

fl_group_sums *fl_fold_sums_new(const fl_fold *fold) {
  const int columns = fold->weighted ? fold->width : fold->losses;
  return fl_group_sums_new(fold->table, dtype_of_terms(fold), columns, fold->groups);
}

static size_t item_size(fl_dtype dtype) { return dtype == FL_F32 ? sizeof(float) : sizeof(double); }

/* Rows of a block: from where on, how many, and the group of each; NULL if there is one only. */
typedef struct {
  ptrdiff_t start, n;
  const int32_t *group;
  fl_group_sums *sums;
} block;

/* ---- groups ---- */

#define READ(source, type)                                                                      \
  case source:                                                                                  \
    for (ptrdiff_t i = 0; i < n; i++) {                                                         \
      to[i] =                                                                                   \
          (int32_t)((uint32_t)((const type *)fold->codes)[start + i] - (uint32_t)fold->lowest); \
      signs |= to[i] | (int32_t)((uint32_t)last - (uint32_t)to[i]);                             \
    }                                                                                           \
    break;

/* The group of each row, from 0 on. Returns whether there are such groups: another thread may have
 * written to the integers since they were looked at. */
static int read_groups(const fl_fold *fold, ptrdiff_t start, ptrdiff_t n, int32_t *to) {
  const int32_t last = (int32_t)fold->groups - 1;
  int32_t signs = 0;
  switch (fold->code_type) {
    READ(FL_I8, int8_t)
    READ(FL_U8, uint8_t)
    READ(FL_I16, int16_t)
    READ(FL_U16, uint16_t)
    READ(FL_I32, int32_t)
    READ(FL_U32, uint32_t)
    READ(FL_I64, int64_t)
    READ(FL_U64, uint64_t)
    default:
      return 0;
  }
  return signs >= 0;
}

/* Adds a number of each row to the cells of their groups, of which `cell` is the first. */
static void add(const fl_fold *fold, const block *rows, fl_dtype dtype, const void *x,
                fold_scratch *own, fl_exact *cell) {
  if (rows->sums) {
    fl_group_sums_add(rows->sums, x, cell, fold->width);
  } else if (rows->group) {
    for (ptrdiff_t i = 0; i < rows->n; i++) {
      const double v = fl_number_at(dtype, x, i);
      if (v != 0) fl_exact_add(cell + rows->group[i] * fold->width, v);
    }
  } else {
    fl_exact_add_block(cell, fold->table, dtype, rows->n, x, own->wide);
  }
}

static void count_rows(const fl_fold *fold, const block *rows, int64_t *count) {
  if (rows->sums)
    fl_group_sums_end(rows->sums, count, fold->counters);
  else if (rows->group)
    for (ptrdiff_t i = 0; i < rows->n; i++) count[rows->group[i] * fold->counters]++;
  else
    *count += rows->n;
}

/* ---- the losses of a block ---- */

static void point_to(fl_operand *x, const void *data, size_t size) {
  x->data = data;
  x->native = x->direct = 1;
  x->strides[0] = (ptrdiff_t)size;
}

static const void *elements(const fl_operand *x, const block *rows, void *buffer) {
  const char *data = x->data + rows->start * x->strides[0];
  if (x->direct) return data;
  x->load(buffer, rows->n, 1, data, 0, x->strides[0], 1, rows->n);
  return buffer;
}

/* Losses of elements share their operands: those of loss i, of which the losses after it of the
 * same dtype take them as well. */
static void share_operands(const fl_fold *fold, int i, const block *rows, fold_scratch *own) {
  const fl_plan *whole = &fold->folded[i].plan;
  const size_t size = item_size(whole->dtype);
  const void *y = elements(&whole->y, rows, own->y);
  const void *z = elements(&whole->z, rows, own->z);
  for (; i < fold->losses && fold->folded[i].plan.dtype == whole->dtype; i++) {
    point_to(&own->of_loss[i].plan.y, y, size);
    point_to(&own->of_loss[i].plan.z, z, size);
  }
}

/* Rows of a loss of rows. */
static void move_to(fl_operand *to, const fl_operand *from, ptrdiff_t start) {
  to->data = from->data + start * from->strides[0];
  to->native = from->native;
  to->direct = from->direct;
  to->strides[0] = from->strides[0];
}

/* Forms the losses of a block. Returns flags. */
static int64_t run_loss(const fl_fold *fold, int i, const block *rows, fold_scratch *own,
                        void *losses) {
  const fl_plan *whole = &fold->folded[i].plan;
  fl_plan *plan = &own->of_loss[i].plan;
  fl_part part = {.flags = 0};
  if (whole->rowwise) {
    move_to(&plan->y, &whole->y, rows->start);
    move_to(&plan->z, &whole->z, rows->start);
    plan->y_class = whole->y_class;
    plan->z_class = whole->z_class;
  } else if (i == 0 || fold->folded[i - 1].plan.dtype != plan->dtype) {
    share_operands(fold, i, rows, own);
  }
  plan->size = plan->shape[0] = rows->n;
  plan->out[0].data = losses;
  fl_run(plan, 0, rows->n, rows->n, own->of_loss[i].scratch, &part);
  return part.flags;
}

/* Losses of rows that are ignored become 0, and so do their weights in `counted_w`, if there are
 * any; the others are counted. */
static void leave_out_ignored(const fl_fold *fold, int i, const block *rows, const double *w,
                              fold_scratch *own, void *losses, double *counted_w, int64_t *count) {
  const fl_plan *plan = &fold->folded[i].plan;
  const ptrdiff_t stride = plan->y.strides[0];
  plan->label(own->label, plan->y.data + rows->start * stride, stride, rows->n);
  for (ptrdiff_t j = 0; j < rows->n; j++) {
    const int ignored = plan->ignores && own->label[j] == plan->ignored;
    if (!ignored)
      count[(rows->group ? rows->group[j] : 0) * fold->counters]++;
    else if (plan->dtype == FL_F32)
      ((float *)losses)[j] = 0;
    else
      ((double *)losses)[j] = 0;
    if (w) counted_w[j] = ignored ? 0 : w[j];
  }
}

static const double *load_weights(const fl_fold *fold, const block *rows, fold_scratch *own) {
  if (!fold->weighted) return NULL;
  return elements(&fold->w, rows, own->w);
}

/* Where to put the terms of the next sum. */
static void *terms_of(const block *rows, void *otherwise) {
  return rows->sums ? fl_group_sums_column(rows->sums) : otherwise;
}

static void run_block(const fl_fold *fold, ptrdiff_t start, ptrdiff_t n, fold_scratch *own,
                      fl_group_sums *sums, fl_exact *cells, int64_t *counts, int64_t *flags) {
  const block rows = {start, n, fold->codes ? own->group : NULL, sums};
  if (rows.group && !read_groups(fold, start, n, own->group)) {
    flags[fold->losses] |= FL_BAD_GROUP;
    return;
  }
  const double *w = load_weights(fold, &rows, own);
  if (sums) fl_group_sums_begin(sums, n, rows.group);
  if (w) add(fold, &rows, FL_F64, w, own, cells);
  for (int i = 0; i < fold->losses; i++) {
    const fl_folded *loss = &fold->folded[i];
    const fl_dtype dtype = loss->plan.dtype, wanted = sums || w ? own->dtype_of_terms : dtype;
    const int are_terms = !w && dtype == wanted;
    const double *counted = w;
    void *losses = are_terms ? terms_of(&rows, own->losses) : own->losses, *terms = losses;
    flags[i] |= run_loss(fold, i, &rows, own, losses);
    if (loss->own_cell) {
      double *counted_w = terms_of(&rows, own->counted_w);
      leave_out_ignored(fold, i, &rows, w, own, losses, counted_w, counts + loss->own_count);
      if (w) add(fold, &rows, FL_F64, counted = counted_w, own, cells + loss->own_cell);
    }
    if (!are_terms)
      fold->table->widen[dtype](n, losses, counted, terms = terms_of(&rows, own->values));
    add(fold, &rows, wanted, terms, own, cells + 1 + i);
  }
  count_rows(fold, &rows, counts);
}

void fl_fold_run(const fl_fold *fold, ptrdiff_t start, ptrdiff_t stop, void *scratch,
                 fl_group_sums *sums, fl_exact *cells, int64_t *counts, int64_t *flags) {
  for (ptrdiff_t at = start; at < stop; at += FL_BLOCK) {
    const ptrdiff_t n = stop - at < FL_BLOCK ? stop - at : FL_BLOCK;
    run_block(fold, at, n, scratch, sums, cells, counts, flags);
  }
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
