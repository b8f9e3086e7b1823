#include "pipeline.h"

#include <stdlib.h>
#include <string.h>

enum {
  TILE_ELEMENTS = 2048,
  TILE_CLASSES = 64, /* more classes than this are taken in several tiles */
  MIN_ROWS = 32,
  MAX_ROWS = 256,
  CHUNKS = 1024, /* about the largest number of chunks */
  ALIGNMENT = 64,
};

/* One block of each operand and result of a pointwise loss. */
typedef struct {
  double y[FL_BLOCK], z[FL_BLOCK], w[FL_BLOCK], out[2][FL_BLOCK];
} pointwise_scratch;

typedef struct {
  double z[TILE_ELEMENTS], y[TILE_ELEMENTS], e[TILE_ELEMENTS];
  double grad[TILE_ELEMENTS], hess[TILE_ELEMENTS];
  int64_t wide_label[MAX_ROWS], label[MAX_ROWS];
  double w[MAX_ROWS], max[MAX_ROWS], tops[MAX_ROWS], sum[MAX_ROWS], sum_lo[MAX_ROWS];
  double gap[MAX_ROWS], gap_lo[MAX_ROWS], total[MAX_ROWS], total_lo[MAX_ROWS];
  double sharers[MAX_ROWS], inverse[MAX_ROWS], rate[MAX_ROWS], loss[MAX_ROWS];
} rowwise_scratch;

typedef union {
  pointwise_scratch pointwise;
  rowwise_scratch rowwise;
} scratch_space;

void *fl_scratch_new(void) {
  const size_t size = (sizeof(scratch_space) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return aligned_alloc(ALIGNMENT, size);
}

void fl_scratch_free(void *scratch) { free(scratch); }

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return a / b + (a % b != 0); }
static ptrdiff_t magnitude(ptrdiff_t x) { return x < 0 ? -x : x; }
static size_t item_size(const fl_plan *plan) { return plan->dtype == FL_F32 ? 4 : 8; }

/* Multiplies by a power of two. */
static void scale_weights(const fl_plan *plan, void *w, ptrdiff_t n) {
  if (plan->w_scale == 1) return;
  for (ptrdiff_t i = 0; i < n; i++) {
    if (plan->dtype == FL_F32)
      ((float *)w)[i] = (float)(((float *)w)[i] * plan->w_scale);
    else
      ((double *)w)[i] *= plan->w_scale;
  }
}

static const void *ones(fl_dtype dtype) {
#define FOUR 1, 1, 1, 1
#define SIXTEEN FOUR, FOUR, FOUR, FOUR
#define SIXTY_FOUR SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN
#define FOUR_TIMES(x) x, x, x, x
  static const float f32[FL_BLOCK] = {FOUR_TIMES(FOUR_TIMES(SIXTY_FOUR))};
  static const double f64[FL_BLOCK] = {FOUR_TIMES(FOUR_TIMES(SIXTY_FOUR))};
  return dtype == FL_F32 ? (const void *)f32 : (const void *)f64;
}

/* ---- walking through the plan's axes ---- */

/* A position among the elements (rows), and how many more lie on the last axis. */
typedef struct {
  ptrdiff_t index[FL_MAX_NDIM];
} position;

static void seek(const fl_plan *plan, ptrdiff_t flat, position *at) {
  for (int axis = plan->ndim - 1; axis >= 0; axis--) {
    at->index[axis] = flat % plan->shape[axis];
    flat /= plan->shape[axis];
  }
}

static ptrdiff_t offset(const fl_plan *plan, const ptrdiff_t *strides, const position *at) {
  ptrdiff_t bytes = 0;
  for (int axis = 0; axis < plan->ndim; axis++) bytes += at->index[axis] * strides[axis];
  return bytes;
}

/* The longest stretch of at most n elements from here that is a rectangle of the last two axes:
 * `outer` rows of `inner` elements. */
static void stretch(const fl_plan *plan, const position *at, ptrdiff_t n, ptrdiff_t *outer,
                    ptrdiff_t *inner) {
  const int last = plan->ndim - 1;
  const ptrdiff_t rest = plan->shape[last] - at->index[last];
  *outer = 1;
  *inner = smaller(rest, n);
  if (last > 0 && at->index[last] == 0 && n >= plan->shape[last])
    *outer = smaller(n / plan->shape[last], plan->shape[last - 1] - at->index[last - 1]);
}

static void advance(const fl_plan *plan, position *at, ptrdiff_t outer, ptrdiff_t inner) {
  int axis = plan->ndim - 1;
  at->index[axis] += inner;
  if (at->index[axis] < plan->shape[axis]) return;
  at->index[axis] = 0;
  if (axis == 0) return;
  at->index[--axis] += outer;
  while (axis > 0 && at->index[axis] == plan->shape[axis]) {
    at->index[axis] = 0;
    at->index[--axis]++;
  }
}

static ptrdiff_t outer_stride(const fl_plan *plan, const ptrdiff_t *strides) {
  return plan->ndim > 1 ? strides[plan->ndim - 2] : 0;
}

/* Converts elements start .. start + n - 1. */
static void load(const fl_plan *plan, const fl_operand *from, ptrdiff_t start, ptrdiff_t n,
                 void *to) {
  char *dst = to;
  position at;
  seek(plan, start, &at);
  while (n > 0) {
    ptrdiff_t outer, inner;
    stretch(plan, &at, n, &outer, &inner);
    from->load(dst, inner, 1, from->data + offset(plan, from->strides, &at),
               outer_stride(plan, from->strides), from->strides[plan->ndim - 1], outer, inner);
    dst += (size_t)(outer * inner) * item_size(plan);
    n -= outer * inner;
    advance(plan, &at, outer, inner);
  }
}

/* Copies a strided rectangle of elements of 4 or 8 bytes; strides in bytes. */
static void copy(char *dst, ptrdiff_t dst_outer, ptrdiff_t dst_inner, const char *src,
                 ptrdiff_t src_outer, ptrdiff_t src_inner, ptrdiff_t outer, ptrdiff_t inner,
                 size_t size) {
  for (ptrdiff_t i = 0; i < outer; i++, dst += dst_outer, src += src_outer) {
    if (size == 4)
      for (ptrdiff_t j = 0; j < inner; j++) memcpy(dst + j * dst_inner, src + j * src_inner, 4);
    else
      for (ptrdiff_t j = 0; j < inner; j++) memcpy(dst + j * dst_inner, src + j * src_inner, 8);
  }
}

static void store(const fl_plan *plan, const fl_output *to, ptrdiff_t start, ptrdiff_t n,
                  const void *from) {
  const char *src = from;
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  position at;
  seek(plan, start, &at);
  while (n > 0) {
    ptrdiff_t outer, inner;
    stretch(plan, &at, n, &outer, &inner);
    copy(to->data + offset(plan, to->strides, &at), outer_stride(plan, to->strides),
         to->strides[plan->ndim - 1], src, inner * size, size, outer, inner, (size_t)size);
    src += outer * inner * size;
    n -= outer * inner;
    advance(plan, &at, outer, inner);
  }
}

/* ---- pointwise losses ---- */

static int outputs(fl_mode mode) {
  switch (mode) {
    case FL_SUM:
    case FL_WSUM:
      return 0;
    case FL_LOSS_GRAD:
    case FL_GRAD_HESS:
      return 2;
    default:
      return 1;
  }
}

/* The operand's elements from start on: as they lie, or converted into buffer. */
static const void *operand_at(const fl_plan *plan, const fl_operand *x, ptrdiff_t start,
                              ptrdiff_t n, void *buffer) {
  if (x->direct) return x->data + (size_t)start * item_size(plan);
  load(plan, x, start, n, buffer);
  return buffer;
}

static const void *weights_at(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n, void *buffer) {
  if (!plan->weighted) return ones(plan->dtype);
  const void *w = operand_at(plan, &plan->w, start, n, buffer);
  if (plan->w_scale == 1) return w;
  if (w != buffer) memcpy(buffer, w, (size_t)n * item_size(plan));
  scale_weights(plan, buffer, n);
  return buffer;
}

static int64_t run_pointwise(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop,
                             pointwise_scratch *buffer, fl_sum *sums) {
  fl_pointwise_fn *kernel = plan->pointwise->run[plan->mode];
  const int reads_weights = plan->mode != FL_SUM, results = outputs(plan->mode);
  int direct = plan->y.direct && plan->z.direct;
  if (plan->weighted) direct = direct && plan->w.direct && plan->w_scale == 1;
  for (int i = 0; i < results; i++) direct = direct && plan->out[i].direct;
  if (direct) { /* the kernel makes the blocks; no scratch space is needed */
    const ptrdiff_t bytes = start * (ptrdiff_t)item_size(plan);
    return kernel(stop - start, plan->y.data + bytes, plan->z.data + bytes,
                  plan->weighted ? plan->w.data + bytes : ones(plan->dtype), plan->weighted,
                  plan->params, plan->scale, results > 0 ? plan->out[0].data + bytes : NULL,
                  results > 1 ? plan->out[1].data + bytes : NULL, sums);
  }
  int64_t flags = 0;
  for (ptrdiff_t at = start; at < stop; at += FL_BLOCK) {
    const ptrdiff_t n = smaller(FL_BLOCK, stop - at);
    const void *y = operand_at(plan, &plan->y, at, n, buffer->y);
    const void *z = operand_at(plan, &plan->z, at, n, buffer->z);
    const void *w = reads_weights ? weights_at(plan, at, n, buffer->w) : NULL;
    void *out[2] = {NULL, NULL};
    for (int i = 0; i < results; i++)
      out[i] = plan->out[i].direct ? plan->out[i].data + (size_t)at * item_size(plan)
                                   : (void *)buffer->out[i];
    flags |= kernel(n, y, z, w, plan->weighted, plan->params, plan->scale, out[0], out[1], sums);
    for (int i = 0; i < results; i++)
      if (!plan->out[i].direct) store(plan, &plan->out[i], at, n, buffer->out[i]);
  }
  return flags;
}

int64_t fl_run_reduced(const fl_plan *plan, ptrdiff_t kept, ptrdiff_t start, ptrdiff_t stop,
                       void *scratch, fl_sum *grad, fl_sum *hess) {
  pointwise_scratch *buffer = scratch;
  fl_pointwise_fn *kernel = plan->pointwise->run[plan->mode];
  fl_sum *const sums[2] = {grad, hess};
  int64_t flags = 0;
  for (ptrdiff_t at = start; at < stop; at += FL_BLOCK) {
    const ptrdiff_t n = smaller(FL_BLOCK, stop - at);
    const void *y = operand_at(plan, &plan->y, at, n, buffer->y);
    const void *z = operand_at(plan, &plan->z, at, n, buffer->z);
    const void *w = weights_at(plan, at, n, buffer->w);
    flags |=
        kernel(n, y, z, w, plan->weighted, plan->params, 1, buffer->out[0], buffer->out[1], NULL);
    for (int i = 0; i < outputs(plan->mode); i++) {
      ptrdiff_t element = at % kept;
      for (ptrdiff_t j = 0; j < n; j++) {
        const float *narrow = (float *)buffer->out[i];
        fl_sum_add(&sums[i][element],
                   plan->dtype == FL_F32 ? (double)narrow[j] : buffer->out[i][j]);
        if (++element == kept) element = 0;
      }
    }
  }
  return flags;
}

/* ---- row-wise losses ---- */

static ptrdiff_t tile_rows(ptrdiff_t classes) {
  const ptrdiff_t rows = TILE_ELEMENTS / larger(classes, 1) / FL_LANES * FL_LANES;
  return larger(MIN_ROWS, smaller(rows, MAX_ROWS));
}

/* Converts classes first .. first + classes - 1 of rows start .. start + n - 1 into planes. */
static void load_tile(const fl_plan *plan, const fl_operand *from, ptrdiff_t class_stride,
                      ptrdiff_t start, ptrdiff_t n, const fl_tile *tile, void *to) {
  const ptrdiff_t size = (ptrdiff_t)item_size(plan);
  char *dst = to;
  position at;
  seek(plan, start, &at);
  while (n > 0) {
    const int last = plan->ndim - 1;
    const ptrdiff_t rows = smaller(n, plan->shape[last] - at.index[last]);
    const ptrdiff_t row_stride = from->strides[last];
    const char *src = from->data + offset(plan, from->strides, &at) + tile->first * class_stride;
    if (from->native && class_stride == size && row_stride % size == 0)
      plan->table->transpose[plan->dtype](dst, tile->rows, src, row_stride / size, rows,
                                          tile->classes);
    else if (magnitude(class_stride) < magnitude(row_stride))
      from->load(dst, 1, tile->rows, src, row_stride, class_stride, rows, tile->classes);
    else
      from->load(dst, tile->rows, 1, src, class_stride, row_stride, tile->classes, rows);
    dst += rows * size;
    n -= rows;
    advance(plan, &at, 1, rows);
  }
}

static void store_tile(const fl_plan *plan, int which, ptrdiff_t start, ptrdiff_t n,
                       const fl_tile *tile, const void *from) {
  const fl_output *to = &plan->out[which];
  const ptrdiff_t class_stride = plan->out_class[which], size = (ptrdiff_t)item_size(plan);
  const char *src = from;
  position at;
  seek(plan, start, &at);
  while (n > 0) {
    const int last = plan->ndim - 1;
    const ptrdiff_t rows = smaller(n, plan->shape[last] - at.index[last]);
    const ptrdiff_t row_stride = to->strides[last], plane = tile->rows * size;
    char *dst = to->data + offset(plan, to->strides, &at) + tile->first * class_stride;
    if (to->native && class_stride == size && row_stride % size == 0)
      plan->table->transpose[plan->dtype](dst, row_stride / size, src, tile->rows, tile->classes,
                                          rows);
    else if (magnitude(class_stride) < magnitude(row_stride))
      copy(dst, row_stride, class_stride, src, size, plane, rows, tile->classes, (size_t)size);
    else
      copy(dst, class_stride, row_stride, src, plane, size, tile->classes, rows, (size_t)size);
    src += rows * size;
    n -= rows;
    advance(plan, &at, 1, rows);
  }
}

/* Classes of rows start .. start + n - 1, as wide integers and as lanes. Returns flags. */
static int64_t load_labels(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n, int64_t *wide,
                           void *lanes) {
  int64_t *dst = wide;
  ptrdiff_t left = n;
  position at;
  seek(plan, start, &at);
  while (left > 0) {
    const int last = plan->ndim - 1;
    const ptrdiff_t rows = smaller(left, plan->shape[last] - at.index[last]);
    plan->label(dst, plan->y.data + offset(plan, plan->y.strides, &at), plan->y.strides[last],
                rows);
    dst += rows;
    left -= rows;
    advance(plan, &at, 1, rows);
  }
  return plan->table->classify[plan->dtype](n, wide, plan->classes, plan->ignores, plan->ignored,
                                            lanes);
}

static void set_zero(const fl_plan *plan, void *x, ptrdiff_t i) {
  memset((char *)x + (size_t)i * item_size(plan), 0, item_size(plan));
}

/* Weights of the rows, 0 for those that do not count. */
static void load_row_weights(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n,
                             const int64_t *label, void *w) {
  if (plan->weighted) {
    load(plan, &plan->w, start, n, w);
    scale_weights(plan, w, n);
  } else {
    memcpy(w, ones(plan->dtype), (size_t)n * item_size(plan));
  }
  if (plan->ignores)
    for (ptrdiff_t i = 0; i < n; i++)
      if (label[i] == FL_IGNORED) set_zero(plan, w, i);
}

/* Weights of at most TILE_CLASSES classes from the given one on. */
static const void *class_weights(const fl_plan *plan, ptrdiff_t first) {
  if (!plan->class_weight) return ones(plan->dtype);
  return (const char *)plan->class_weight + (size_t)first * item_size(plan);
}

/* Sparse targets of a sum of terms: the label's own probability, as a tile of one class with the
 * class weight as its target. */
static void gather(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n, const int64_t *label, void *z,
                   void *y) {
  const size_t size = item_size(plan);
  const char *one = ones(plan->dtype);
  position at;
  seek(plan, start, &at);
  for (ptrdiff_t i = 0; i < n; i++) {
    char *zi = (char *)z + (size_t)i * size, *yi = (char *)y + (size_t)i * size;
    if (label[i] < 0) {
      memcpy(zi, one, size);
      memset(yi, 0, size);
    } else {
      plan->z.load(zi, 1, 1,
                   plan->z.data + offset(plan, plan->z.strides, &at) + label[i] * plan->z_class, 0,
                   0, 1, 1);
      memcpy(yi, class_weights(plan, label[i]), size);
    }
    advance(plan, &at, 1, 1);
  }
}

/* The way back: zeros but for the label's own derivative. */
static void scatter(const fl_plan *plan, int which, ptrdiff_t start, ptrdiff_t n,
                    const int64_t *label, const void *from) {
  static const char zero[8] = {0};
  const size_t size = item_size(plan);
  const fl_output *to = &plan->out[which];
  position at;
  seek(plan, start, &at);
  for (ptrdiff_t i = 0; i < n; i++) {
    char *row = to->data + offset(plan, to->strides, &at);
    const ptrdiff_t stride = plan->out_class[which];
    copy(row, 0, stride, zero, 0, 0, 1, plan->classes, size);
    if (label[i] >= 0) memcpy(row + label[i] * stride, (const char *)from + (size_t)i * size, size);
    advance(plan, &at, 1, 1);
  }
}

static int64_t run_rows(const fl_plan *plan, ptrdiff_t start, ptrdiff_t n, rowwise_scratch *buffer,
                        fl_sum *sums) {
  const fl_rowwise *loss = plan->rowwise;
  const int sparse = plan->target != FL_DENSE;
  const int gathers = plan->target == FL_SPARSE && !loss->scan;
  const int results = outputs(plan->mode);
  const int wants_loss = plan->mode != FL_GRAD && plan->mode != FL_GRAD_HESS;
  const int wants_grad = plan->mode >= FL_GRAD;
  const int first_rate = plan->mode == FL_LOSS_GRAD; /* the output that is the gradient */
  fl_tile tile = {
      .rows = tile_rows(plan->classes),
      .all_classes = plan->classes,
      .smoothing = plan->smoothing,
      .eps = plan->eps,
      .scale = plan->scale,
      .z = buffer->z,
      .y = buffer->y,
      .e = buffer->e,
      .grad = buffer->grad,
      .hess = buffer->hess,
      .label = buffer->label,
      .w = buffer->w,
      .max = buffer->max,
      .tops = buffer->tops,
      .sum = buffer->sum,
      .sum_lo = buffer->sum_lo,
      .gap = buffer->gap,
      .gap_lo = buffer->gap_lo,
      .total = buffer->total,
      .total_lo = buffer->total_lo,
      .sharers = buffer->sharers,
      .inverse = buffer->inverse,
      .rate = buffer->rate,
      .loss = buffer->loss,
  };
  const ptrdiff_t classes = gathers ? 1 : plan->classes;
  const int once = classes <= TILE_CLASSES; /* one tile holds all classes */

  int64_t *wide = buffer->wide_label;
  if (!sparse || n < tile.rows) memset(tile.label, 0, sizeof buffer->label);
  if (sparse) tile.flags |= load_labels(plan, start, n, wide, tile.label);
  if (n < tile.rows) memset(tile.w, 0, sizeof buffer->w);
  load_row_weights(plan, start, n, wide, tile.w);
  if (n < tile.rows) { /* lanes without a row hold finite numbers */
    memset(tile.z, 0, sizeof buffer->z);
    memset(tile.y, 0, sizeof buffer->y);
  }

  loss->begin(&tile);
  enum { SCAN, ACCUMULATE, DERIVE };
  for (int step = SCAN; step <= DERIVE; step++) {
    if (step == SCAN && !loss->scan && !once) continue;
    if (step == ACCUMULATE && !loss->scan && !wants_loss) {
      loss->finish(&tile);
      continue;
    }
    if (step == DERIVE && !wants_grad) break;
    for (tile.first = 0; tile.first < classes; tile.first += TILE_CLASSES) {
      tile.classes = smaller(TILE_CLASSES, classes - tile.first);
      tile.class_weight = class_weights(plan, tile.first);
      if (step == SCAN || !once) {
        if (gathers) {
          gather(plan, start, n, wide, tile.z, tile.y);
        } else {
          load_tile(plan, &plan->z, plan->z_class, start, n, &tile, tile.z);
          if (!sparse) load_tile(plan, &plan->y, plan->y_class, start, n, &tile, tile.y);
        }
        if (step == DERIVE && loss->again) loss->again(&tile);
      }
      if (step == SCAN && loss->scan) loss->scan(&tile);
      if (step == ACCUMULATE) loss->accumulate[plan->target](&tile);
      if (step == DERIVE) {
        loss->derive[plan->target](&tile);
        for (int i = first_rate; i < results; i++) {
          const void *from = i == first_rate ? tile.grad : tile.hess;
          if (gathers)
            scatter(plan, i, start, n, wide, from);
          else
            store_tile(plan, i, start, n, &tile, from);
        }
      }
    }
    if (step == ACCUMULATE) loss->finish(&tile);
  }

  if (plan->mode == FL_LOSS || plan->mode == FL_LOSS_GRAD)
    store(plan, &plan->out[0], start, n, tile.loss);
  if (sums) {
    fl_sum_add(&sums[0], plan->table->total[plan->dtype](n, tile.loss));
    fl_sum_add(&sums[1], plan->table->total[plan->dtype](n, tile.w));
  }
  return tile.flags;
}

static int64_t run_rowwise(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop,
                           rowwise_scratch *buffer, fl_sum *sums) {
  const ptrdiff_t step = tile_rows(plan->classes);
  int64_t flags = 0;
  for (ptrdiff_t at = start; at < stop; at += step)
    flags |= run_rows(plan, at, smaller(step, stop - at), buffer, sums);
  return flags;
}

/* ---- the interface ---- */

ptrdiff_t fl_chunk(const fl_plan *plan) {
  enum { SMALLEST = 4 * FL_BLOCK };
  ptrdiff_t unit = FL_BLOCK, least = SMALLEST / FL_BLOCK;
  if (plan->rowwise) {
    unit = tile_rows(plan->classes);
    least = ceil_div(SMALLEST, unit * larger(plan->classes, 1));
  }
  return unit * larger(least, ceil_div(plan->size, unit * CHUNKS));
}

int64_t fl_run(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, void *scratch, fl_sum *sums) {
  return plan->rowwise ? run_rowwise(plan, start, stop, scratch, sums)
                       : run_pointwise(plan, start, stop, scratch, sums);
}

void fl_run_weights(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, void *scratch,
                    fl_sum *sum) {
  const ptrdiff_t step = plan->rowwise ? MAX_ROWS : FL_BLOCK;
  for (ptrdiff_t at = start; at < stop; at += step) {
    const ptrdiff_t n = smaller(step, stop - at);
    const void *w;
    if (plan->rowwise) {
      rowwise_scratch *rows = scratch;
      if (plan->target != FL_DENSE) (void)load_labels(plan, at, n, rows->wide_label, rows->label);
      load_row_weights(plan, at, n, rows->wide_label, rows->w);
      w = rows->w;
    } else {
      w = weights_at(plan, at, n, ((pointwise_scratch *)scratch)->w);
    }
    fl_sum_add(sum, plan->table->total[plan->dtype](n, w));
  }
}
