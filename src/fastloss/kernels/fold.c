#include "fold.h"

#include <string.h>

#include "aligned.h"

enum {
  PARTS = 4,    /* of a chunk, counted side by side, so that rows of one group need not wait */
  OPERANDS = 2, /* of a loss: ordering these pays where there are more losses */
};

/* Arrays of one element for each row of a chunk, and the plans of the losses for that chunk. */
typedef struct {
  double losses[FL_FOLD_ROWS], w[FL_FOLD_ROWS], counted_w[FL_FOLD_ROWS];
  double values[FL_FOLD_ROWS], ordered[FL_FOLD_ROWS];
  double y[FL_FOLD_ROWS], z[FL_FOLD_ROWS], ordered_y[FL_FOLD_ROWS], ordered_z[FL_FOLD_ROWS];
  double wide[FL_BLOCK];
  int64_t label[FL_FOLD_ROWS];
  int32_t group[FL_FOLD_ROWS];
  int32_t order[FL_FOLD_ROWS], next[PARTS][FL_FEW_GROUPS], end[FL_FEW_GROUPS];
  int losses_count;
  struct {
    fl_plan plan;
    void *scratch;
  } of_loss[];
} fold_scratch;

void *fl_fold_scratch_new(const fl_fold *fold) {
  fold_scratch *own;
  const size_t size = sizeof *own + (size_t)fold->losses * sizeof own->of_loss[0];
  own = fl_aligned_new(size);
  if (!own) return NULL;
  int ready = 1;
  own->losses_count = fold->losses;
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
  fl_aligned_free(own);
}

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

static size_t item_size(fl_dtype dtype) { return dtype == FL_F32 ? sizeof(float) : sizeof(double); }

static double number_at(fl_dtype dtype, const void *x, ptrdiff_t i) {
  return dtype == FL_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

/* Rows of a chunk: how many, and the group of each; NULL if there is one group only. */
typedef struct {
  ptrdiff_t n;
  const int32_t *group;
  int ordered;  /* `order` and `end` are set */
  int in_order; /* and so lie the losses */
} chunk;

/* ---- rows in the order of their groups ---- */

#define NUMBER(source, type)                                                                    \
  case source:                                                                                  \
    for (ptrdiff_t i = 0; i < n; i++)                                                           \
      to[i] =                                                                                   \
          (int32_t)((uint32_t)((const type *)fold->codes)[start + i] - (uint32_t)fold->lowest); \
    return to;

/* The group of each row, from 0 on. */
static const int32_t *groups_of(const fl_fold *fold, ptrdiff_t start, ptrdiff_t n, int32_t *to) {
  if (!fold->codes) return NULL;
  if (fold->code_type == FL_I32 && fold->lowest == 0) return (const int32_t *)fold->codes + start;
  switch (fold->code_type) {
    NUMBER(FL_I8, int8_t)
    NUMBER(FL_U8, uint8_t)
    NUMBER(FL_I16, int16_t)
    NUMBER(FL_U16, uint16_t)
    NUMBER(FL_U32, uint32_t)
    NUMBER(FL_I64, int64_t)
    NUMBER(FL_U64, uint64_t)
    NUMBER(FL_I32, int32_t)
    default:
      return NULL;
  }
}

/* Where the rows of each group begin, for each part of the chunk, and where they end. */
static void count_groups(const fl_fold *fold, const chunk *rows, fold_scratch *own) {
  const ptrdiff_t length = rows->n / PARTS;
  const int32_t *group = rows->group;
  int32_t before = 0;
  memset(own->next, 0, sizeof own->next);
  for (ptrdiff_t i = 0; i < length; i++)
    for (int part = 0; part < PARTS; part++) own->next[part][group[part * length + i]]++;
  for (ptrdiff_t i = PARTS * length; i < rows->n; i++) own->next[PARTS - 1][group[i]]++;
  for (ptrdiff_t g = 0; g < fold->groups; g++) {
    for (int part = 0; part < PARTS; part++) {
      const int32_t count = own->next[part][g];
      own->next[part][g] = before;
      before += count;
    }
    own->end[g] = before;
  }
}

/* Positions of the rows, ordered by group. */
static void order_rows(const fl_fold *fold, const chunk *rows, fold_scratch *own) {
  const ptrdiff_t length = rows->n / PARTS;
  const int32_t *group = rows->group;
  count_groups(fold, rows, own);
  for (ptrdiff_t i = 0; i < length; i++) {
    for (int part = 0; part < PARTS; part++) {
      const ptrdiff_t row = part * length + i;
      own->order[own->next[part][group[row]]++] = (int32_t)row;
    }
  }
  for (ptrdiff_t i = PARTS * length; i < rows->n; i++)
    own->order[own->next[PARTS - 1][group[i]]++] = (int32_t)i;
}

/* ---- adding the values of a chunk to the cells of their groups ---- */

static void add(const fl_fold *fold, fl_dtype dtype, ptrdiff_t n, const void *x, double *wide,
                fl_exact *cell) {
  for (ptrdiff_t at = 0; at < n; at += FL_BLOCK)
    fl_exact_add_block(cell, fold->table, dtype, smaller(FL_BLOCK, n - at),
                       (const char *)x + (size_t)at * item_size(dtype), wide);
}

/* `cell` is that of the first group. */
static void add_by_group(const fl_fold *fold, const chunk *rows, fl_dtype dtype, const void *x,
                         fold_scratch *own, fl_exact *cell) {
  if (!rows->group) {
    add(fold, dtype, rows->n, x, own->wide, cell);
    return;
  }
  if (!rows->ordered) {
    for (ptrdiff_t i = 0; i < rows->n; i++) {
      const double v = number_at(dtype, x, i);
      if (v != 0) fl_exact_add(cell + rows->group[i] * fold->width, v);
    }
    return;
  }
  if (!rows->in_order) {
    fold->table->gather[dtype](rows->n, x, own->order, own->ordered);
    x = own->ordered;
  }
  ptrdiff_t first = 0;
  for (ptrdiff_t g = 0; g < fold->groups; first = own->end[g++])
    add(fold, dtype, own->end[g] - first, (const char *)x + (size_t)first * item_size(dtype),
        own->wide, cell + g * fold->width);
}

static void count_rows(const fl_fold *fold, const chunk *rows, const fold_scratch *own,
                       int64_t *count) {
  if (!rows->group) {
    *count += rows->n;
  } else if (rows->ordered) {
    int32_t first = 0;
    for (ptrdiff_t g = 0; g < fold->groups; first = own->end[g++])
      count[g * fold->counters] += own->end[g] - first;
  } else {
    for (ptrdiff_t i = 0; i < rows->n; i++) count[rows->group[i] * fold->counters]++;
  }
}

/* ---- the losses of a chunk ---- */

static void point_to(fl_operand *x, const void *data, size_t size) {
  x->data = data;
  x->native = x->direct = 1;
  x->strides[0] = (ptrdiff_t)size;
}

static const void *elements(const fl_operand *x, ptrdiff_t start, ptrdiff_t n, void *buffer) {
  const char *data = x->data + start * x->strides[0];
  if (x->direct) return data;
  x->load(buffer, n, 1, data, 0, x->strides[0], 1, n);
  return buffer;
}

/* Losses of elements share their operands: those of loss i, of which the losses after it of the
 * same dtype take them as well, in the order of their groups if there is one. */
static void share_operands(const fl_fold *fold, int i, ptrdiff_t start, const chunk *rows,
                           fold_scratch *own) {
  const fl_plan *whole = &fold->folded[i].plan;
  const size_t size = item_size(whole->dtype);
  const void *y = elements(&whole->y, start, rows->n, own->y);
  const void *z = elements(&whole->z, start, rows->n, own->z);
  if (rows->ordered && fold->losses > OPERANDS) {
    fold->table->gather[whole->dtype](rows->n, y, own->order, own->ordered_y);
    fold->table->gather[whole->dtype](rows->n, z, own->order, own->ordered_z);
    y = own->ordered_y, z = own->ordered_z;
  }
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

/* Forms the losses of a chunk from row `start` on. Returns flags. */
static int64_t run_loss(const fl_fold *fold, int i, ptrdiff_t start, const chunk *rows,
                        fold_scratch *own) {
  const fl_plan *whole = &fold->folded[i].plan;
  fl_plan *plan = &own->of_loss[i].plan;
  fl_part part = {.flags = 0};
  if (whole->rowwise) {
    move_to(&plan->y, &whole->y, start);
    move_to(&plan->z, &whole->z, start);
    plan->y_class = whole->y_class;
    plan->z_class = whole->z_class;
  } else if (i > 0 && fold->folded[i - 1].plan.dtype != plan->dtype) {
    share_operands(fold, i, start, rows, own);
  }
  plan->size = plan->shape[0] = rows->n;
  fl_run(plan, 0, rows->n, rows->n, own->of_loss[i].scratch, &part);
  return part.flags;
}

/* Losses and weights of rows that are ignored become 0; the others are counted. */
static const double *leave_out_ignored(const fl_fold *fold, int i, ptrdiff_t start,
                                       const chunk *rows, const double *w, fold_scratch *own,
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

static void run_chunk(const fl_fold *fold, ptrdiff_t start, ptrdiff_t n, fold_scratch *own,
                      fl_exact *cells, int64_t *counts, int64_t *flags) {
  const int ordered = fold->codes && fold->groups <= FL_FEW_GROUPS;
  const int of_elements = fold->losses > 0 && !fold->folded[0].plan.rowwise;
  chunk rows = {n, groups_of(fold, start, n, own->group), ordered, 0};
  const double *w = load_weights(fold, start, n, own);
  if (ordered) order_rows(fold, &rows, own);
  if (of_elements) share_operands(fold, 0, start, &rows, own);
  count_rows(fold, &rows, own, counts);
  if (w) add_by_group(fold, &rows, FL_F64, w, own, cells);
  if (ordered && of_elements && fold->losses > OPERANDS) {
    rows.in_order = 1;
    if (w) w = own->ordered; /* as they were just added up */
  }
  for (int i = 0; i < fold->losses; i++) {
    const fl_folded *loss = &fold->folded[i];
    const double *counted = w;
    flags[i] |= run_loss(fold, i, start, &rows, own);
    if (loss->own_cell) {
      counted = leave_out_ignored(fold, i, start, &rows, w, own, counts + loss->own_count);
      if (w) add_by_group(fold, &rows, FL_F64, counted, own, cells + loss->own_cell);
    }
    if (!w) {
      add_by_group(fold, &rows, loss->plan.dtype, own->losses, own, cells + 1 + i);
      continue;
    }
    fold->table->widen[loss->plan.dtype](n, own->losses, counted, own->values);
    add_by_group(fold, &rows, FL_F64, own->values, own, cells + 1 + i);
  }
}

void fl_fold_run(const fl_fold *fold, ptrdiff_t start, ptrdiff_t stop, void *scratch,
                 fl_exact *cells, int64_t *counts, int64_t *flags) {
  const ptrdiff_t step = fold->codes ? FL_FOLD_ROWS : FL_BLOCK;
  for (ptrdiff_t at = start; at < stop; at += step)
    run_chunk(fold, at, smaller(step, stop - at), scratch, cells, counts, flags);
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
