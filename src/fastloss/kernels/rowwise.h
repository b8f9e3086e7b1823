/* Row-wise losses, for one dtype and one instruction set: tiles in which rows are lanes, so that a
 * few classes fill vectors as well as many. The steps are explained in fastloss.h.
 *
 * Sums over the classes of a row are kept as pairs (Knuth's TwoSum), so their error does not grow
 * with the number of classes. */

#define PAIR_ADD(s, lo, x)                    \
  do {                                        \
    T x_ = (x), t_ = (s) + x_, b_ = t_ - (s); \
    lo += ((s) - (t_ - b_)) + (x_ - b_);      \
    s = t_;                                   \
  } while (0)

/* An infinite or NaN sum has a meaningless low part. */
ALWAYS_INLINE T LOCAL(pair)(T s, T lo) {
  T total = s + lo;
  return total == total ? total : s;
}

/* Target of class k; `label` is that of the row. */
ALWAYS_INLINE T LOCAL(target)(int kind, T weight, T smoothing, T sharers, T y, I label, I k, T z) {
  if (kind == FL_SPARSE) return label == k ? weight : 0;
  const T plain = kind == FL_DENSE ? y : label == k ? 1 : 0;
  return weight * (plain * (1 - smoothing) + (z == -INF ? 0 : smoothing / sharers));
}

static void LOCAL(begin)(fl_tile *tile) {
  T *max = tile->max, *tops = tile->tops, *sum = tile->sum, *sum_lo = tile->sum_lo;
  T *gap = tile->gap, *gap_lo = tile->gap_lo, *total = tile->total, *total_lo = tile->total_lo;
  T *sharers = tile->sharers;
  const T none = tile->smoothing == 0; /* the divisor of no share */
  SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
    max[r] = -INF;
    tops[r] = sum[r] = sum_lo[r] = gap[r] = gap_lo[r] = total[r] = total_lo[r] = 0;
    sharers[r] = none;
  }
}

/* ---- softmax cross-entropy ----
 *
 * With m the largest score of a row, S = sum of exp(z_k - m) over the classes but one of those at
 * m, whose own term is exactly 1:
 *   loss = sum_k t_k (m - z_k) + (sum_k t_k) log1p(S)
 *   grad = (sum_j t_j) s_k - t_k = (sum_j t_j - t_k) s_k - t_k (1 - s_k)
 *   hess = (sum_j t_j) s_k (1 - s_k)
 * Keeping that 1 out of S keeps the digits of a small loss, and of 1 - s_k = (1 + S - e_k) / (1 +
 * S), where e_k = 1 leaves S itself. */

/* Largest score; with smoothing also into `sharers` the number of classes that are not masked. */
static void KERNEL(softmax, scan)(fl_tile *tile) {
  T *max = tile->max, *unmasked = tile->sharers;
  for (ptrdiff_t k = 0; k < tile->classes; k++) {
    const T *z = (const T *)tile->z + k * tile->rows;
    SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
      max[r] = z[r] > max[r] ? z[r] : z[r] == z[r] ? max[r] : z[r];
    }
    if (tile->smoothing == 0) continue;
    SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) unmasked[r] += z[r] == -INF ? 0 : 1;
  }
}

ALWAYS_INLINE T KERNEL(softmax, exponential)(T z, T max) {
  return EXP_NONPOSITIVE(z == max ? 0 : z - max); /* infinity - infinity would be NaN */
}

static void KERNEL(softmax, again)(fl_tile *tile) {
  const T *max = tile->max;
  for (ptrdiff_t k = 0; k < tile->classes; k++) {
    const T *z = (const T *)tile->z + k * tile->rows;
    T *e = (T *)tile->e + k * tile->rows;
    SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
      e[r] = KERNEL(softmax, exponential)(z[r], max[r]);
    }
  }
}

ALWAYS_INLINE T KERNEL(softmax, term)(T t, T z, T max) {
  const T distance = z == max ? 0 : max - z;
  return t == 0 ? 0 : t * distance;
}

/* Of a sparse target only one class has a term. */
ALWAYS_INLINE void KERNEL(softmax, sparse_terms)(fl_tile *tile) {
  const T *max = tile->max, *z = tile->z, *weight = tile->class_weight;
  const I *label = tile->label;
  T *gap = tile->gap, *total = tile->total;
  for (ptrdiff_t r = 0; r < tile->rows; r++) {
    const ptrdiff_t k = label[r] - tile->first;
    if (k < 0 || k >= tile->classes) continue;
    total[r] = weight[k];
    gap[r] = KERNEL(softmax, term)(weight[k], z[k * tile->rows + r], max[r]);
  }
}

/* Exponentials and their sums; groups of rows, so that sums stay in registers. */
ALWAYS_INLINE void KERNEL(softmax, exponentials)(fl_tile *tile) {
  for (ptrdiff_t first = 0; first < tile->rows; first += FL_LANES) {
    const T *max = (const T *)tile->max + first;
    T *tops = (T *)tile->tops + first;
    T *sum = (T *)tile->sum + first, *sum_lo = (T *)tile->sum_lo + first;
    T top[FL_LANES], s[FL_LANES], lo[FL_LANES];
    SIMD for (int r = 0; r < FL_LANES; r++) top[r] = tops[r], s[r] = sum[r], lo[r] = sum_lo[r];
    for (ptrdiff_t k = 0; k < tile->classes; k++) {
      const T *z = (const T *)tile->z + k * tile->rows + first;
      T *e = (T *)tile->e + k * tile->rows + first;
      SIMD for (int r = 0; r < FL_LANES; r++) {
        const T is_top = z[r] == max[r] ? 1 : 0;
        e[r] = KERNEL(softmax, exponential)(z[r], max[r]);
        top[r] += is_top;
        PAIR_ADD(s[r], lo[r], e[r] - is_top);
      }
    }
    SIMD for (int r = 0; r < FL_LANES; r++) tops[r] = top[r], sum[r] = s[r], sum_lo[r] = lo[r];
  }
}

ALWAYS_INLINE void KERNEL(softmax, accumulate)(int kind, fl_tile *tile) {
  KERNEL(softmax, exponentials)(tile);
  if (kind == FL_SPARSE) {
    KERNEL(softmax, sparse_terms)(tile);
    return;
  }
  const T *max = tile->max, *sharers = tile->sharers, smoothing = (T)tile->smoothing;
  const I *label = tile->label;
  T *gap = tile->gap, *gap_lo = tile->gap_lo, *total = tile->total, *total_lo = tile->total_lo;
  I flags = 0;
  for (ptrdiff_t k = 0; k < tile->classes; k++) {
    const T *z = (const T *)tile->z + k * tile->rows;
    const T *y = kind == FL_DENSE ? (const T *)tile->y + k * tile->rows : NULL;
    const T weight = ((const T *)tile->class_weight)[k];
    const I class = (I)(tile->first + k);
    SIMD_FLAGS for (ptrdiff_t r = 0; r < tile->rows; r++) {
      const T target = kind == FL_DENSE ? y[r] : 0;
      if (kind == FL_DENSE) CHECK_TRUE((target < 0) | (target == INF));
      const T t = LOCAL(target)(kind, weight, smoothing, sharers[r], target, label[r], class, z[r]);
      PAIR_ADD(gap[r], gap_lo[r], KERNEL(softmax, term)(t, z[r], max[r]));
      PAIR_ADD(total[r], total_lo[r], t);
    }
  }
  tile->flags |= flags;
}

/* Turns `sum` into S and `total` into a plain number. A row of only -inf has no softmax. */
static void KERNEL(softmax, finish)(fl_tile *tile) {
  const T *max = tile->max, *tops = tile->tops, *sum_lo = tile->sum_lo, *w = tile->w;
  const T *gap = tile->gap, *gap_lo = tile->gap_lo, *total_lo = tile->total_lo;
  const I *label = tile->label;
  const T factor = (T)tile->scale;
  T *sum = tile->sum, *total = tile->total, *inverse = tile->inverse, *rate = tile->rate;
  T *loss = tile->loss;
  SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
    const T S = max[r] == -INF ? INF - INF : (tops[r] - 1) + (sum[r] + sum_lo[r]);
    const T t = LOCAL(pair)(total[r], total_lo[r]);
    const T l = LOCAL(pair)(gap[r], gap_lo[r]) + t * LOG1P(S);
    loss[r] = label[r] == FL_IGNORED ? 0 : w[r] * l;
    sum[r] = S;
    total[r] = t;
    inverse[r] = 1 / (1 + S);
    rate[r] = w[r] * factor;
  }
}

ALWAYS_INLINE void KERNEL(softmax, derive)(int kind, fl_tile *tile) {
  const T *sum = tile->sum, *total = tile->total, *inverse = tile->inverse, *rate = tile->rate;
  const T *sharers = tile->sharers, smoothing = (T)tile->smoothing;
  const I *label = tile->label;
  for (ptrdiff_t k = 0; k < tile->classes; k++) {
    const T *z = (const T *)tile->z + k * tile->rows, *e = (const T *)tile->e + k * tile->rows;
    const T *y = kind == FL_DENSE ? (const T *)tile->y + k * tile->rows : NULL;
    const T weight = ((const T *)tile->class_weight)[k];
    const I class = (I)(tile->first + k);
    T *grad = (T *)tile->grad + k * tile->rows, *hess = (T *)tile->hess + k * tile->rows;
    SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
      const T target = kind == FL_DENSE ? y[r] : 0;
      const T t = LOCAL(target)(kind, weight, smoothing, sharers[r], target, label[r], class, z[r]);
      const T s = e[r] * inverse[r];
      const T rest = (e[r] == 1 ? sum[r] : 1 + sum[r] - e[r]) * inverse[r];
      const I counts = label[r] != FL_IGNORED;
      const T g = (total[r] - t) * s - t * rest, h = total[r] * s * rest;
      grad[r] = counts ? rate[r] * g : 0;
      hess[r] = counts ? rate[r] * h : 0;
    }
  }
}

/* ---- sums of terms ---- */

/* Probabilities have no masks: all classes share in the smoothing. */
static void LOCAL(begin_terms)(fl_tile *tile) {
  T *sharers = tile->sharers;
  LOCAL(begin)(tile);
  for (ptrdiff_t r = 0; r < tile->rows; r++) sharers[r] = (T)tile->all_classes;
}

static void LOCAL(finish_terms)(fl_tile *tile) {
  const T *gap = tile->gap, *gap_lo = tile->gap_lo, *w = tile->w, factor = (T)tile->scale;
  const I *label = tile->label;
  T *rate = tile->rate, *loss = tile->loss;
  SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
    loss[r] = label[r] == FL_IGNORED ? 0 : w[r] * LOCAL(pair)(gap[r], gap_lo[r]);
    rate[r] = w[r] * factor;
  }
}

#define STEP(name, step, target, kind) \
  static void KERNEL(name, step##_##target)(fl_tile * tile) { KERNEL(name, step)(kind, tile); }
#define STEPS(name)                             \
  STEP(name, accumulate, dense, FL_DENSE)       \
  STEP(name, accumulate, smoothed, FL_SMOOTHED) \
  STEP(name, accumulate, sparse, FL_SPARSE)     \
  STEP(name, derive, dense, FL_DENSE)           \
  STEP(name, derive, smoothed, FL_SMOOTHED)     \
  STEP(name, derive, sparse, FL_SPARSE)
#define STEP_TABLE(name)                                                            \
  .accumulate = {KERNEL(name, accumulate_dense), KERNEL(name, accumulate_smoothed), \
                 KERNEL(name, accumulate_sparse)},                                  \
  .derive = {KERNEL(name, derive_dense), KERNEL(name, derive_smoothed),             \
             KERNEL(name, derive_sparse)}

STEPS(softmax)

#define TERM(name, ...)                                                                           \
  ALWAYS_INLINE I KERNEL(name, element)(int kind, const fl_tile *tile, ptrdiff_t k, ptrdiff_t r,  \
                                        T *loss_, T *grad_, T *hess_) {                           \
    const ptrdiff_t i = k * tile->rows + r;                                                       \
    const T p = ((const T *)tile->z)[i], eps = (T)tile->eps, smoothing = (T)tile->smoothing;      \
    const T z = p < eps ? eps : p > 1 - eps ? 1 - eps : p;                                        \
    const T y = kind == FL_SMOOTHED ? 0 : ((const T *)tile->y)[i];                                \
    const T weight = ((const T *)tile->class_weight)[k], sharers = ((const T *)tile->sharers)[r]; \
    const I label = ((const I *)tile->label)[r], class = (I)(tile->first + k);                    \
    const T t = kind == FL_SPARSE                                                                 \
                    ? y                                                                           \
                    : LOCAL(target)(kind, weight, smoothing, sharers, y, label, class, p);        \
    T loss, grad, hess;                                                                           \
    I flags = 0;                                                                                  \
    if (kind == FL_DENSE) CHECK_TRUE(OUTSIDE_UNIT(y));                                            \
    CHECK_PRED(OUTSIDE_UNIT(p));                                                                  \
    __VA_ARGS__                                                                                   \
    *loss_ = loss, *grad_ = grad, *hess_ = hess;                                                  \
    return flags;                                                                                 \
  }                                                                                               \
                                                                                                  \
  ALWAYS_INLINE void KERNEL(name, accumulate)(int kind, fl_tile *tile) {                          \
    const fl_tile in = *tile;                                                                     \
    T *gap = tile->gap, *gap_lo = tile->gap_lo;                                                   \
    I flags = 0;                                                                                  \
    for (ptrdiff_t k = 0; k < in.classes; k++) {                                                  \
      SIMD_FLAGS for (ptrdiff_t r = 0; r < in.rows; r++) {                                        \
        T loss, grad, hess;                                                                       \
        flags |= KERNEL(name, element)(kind, &in, k, r, &loss, &grad, &hess);                     \
        PAIR_ADD(gap[r], gap_lo[r], loss);                                                        \
      }                                                                                           \
    }                                                                                             \
    tile->flags |= flags;                                                                         \
  }                                                                                               \
                                                                                                  \
  ALWAYS_INLINE void KERNEL(name, derive)(int kind, fl_tile *tile) {                              \
    const fl_tile in = *tile;                                                                     \
    const T *rate = in.rate;                                                                      \
    const I *label = in.label;                                                                    \
    I flags = 0;                                                                                  \
    for (ptrdiff_t k = 0; k < in.classes; k++) {                                                  \
      T *grads = (T *)in.grad + k * in.rows, *hesses = (T *)in.hess + k * in.rows;                \
      SIMD_FLAGS for (ptrdiff_t r = 0; r < in.rows; r++) {                                        \
        T loss, grad, hess;                                                                       \
        flags |= KERNEL(name, element)(kind, &in, k, r, &loss, &grad, &hess);                     \
        grads[r] = label[r] == FL_IGNORED ? 0 : rate[r] * grad;                                   \
        hesses[r] = label[r] == FL_IGNORED ? 0 : rate[r] * hess;                                  \
      }                                                                                           \
    }                                                                                             \
    tile->flags |= flags;                                                                         \
  }                                                                                               \
                                                                                                  \
  STEPS(name)

#include "losses/multiclass.h"
#undef TERM

#define TERM(name, ...) \
  {#name, .begin = LOCAL(begin_terms), .finish = LOCAL(finish_terms), STEP_TABLE(name)},
static const fl_rowwise KERNEL(rowwise, table)[] = {
    {"softmax", .begin = LOCAL(begin), .scan = KERNEL(softmax, scan),
     .again = KERNEL(softmax, again), .finish = KERNEL(softmax, finish), STEP_TABLE(softmax)},
#include "losses/multiclass.h"
};
#undef TERM

#undef PAIR_ADD
#undef STEP
#undef STEPS
#undef STEP_TABLE
