/* Drivers of the pointwise losses, for one dtype and one instruction set.
 *
 * A loss is one inline function that forms loss, gradient and Hessian of an element. A driver
 * inlines it and keeps what its mode asks for; the compiler drops the rest. Sums are formed in
 * double in the fixed lanes of each block, then block by block in a compensated sum, so they
 * depend neither on where the data lie nor on how the caller cuts them, as long as it cuts at
 * multiples of FL_BLOCK. */

enum {
  LOCAL(want_sum) = 1,
  LOCAL(want_loss) = 2,
  LOCAL(want_grad) = 4,
  LOCAL(want_hess) = 8,
  LOCAL(weighted) = 16,
};

#define ARGUMENTS                                                                            \
  ptrdiff_t n, const void *y_true, const void *y_pred, const void *weight, ptrdiff_t w_step, \
      const double *params, double scale, void *out0, void *out1, fl_sum *sums
#define PASS n, y_true, y_pred, weight, w_step, params, scale, out0, out1, sums

#define DRIVER(name, mode, what) \
  static int64_t KERNEL(name, mode)(ARGUMENTS) { return KERNEL(name, blocks)(what, PASS); }

/* Checks: the loop over a block only gathers, in the sign of `flags`, whether a value may be out of
 * its domain; where one may, a second loop looks at the block closely. Where results replace the
 * arguments, that comes first. */
#define CHECK(argument, suspicion, bad) flags |= closely ? ((bad) ? (I)(argument) : 0) : (suspicion)
#define SIGN_OF(x) ((I)FN(bits)(x))
#define CHECK_UNIT(argument, x) CHECK(argument, SIGN_OF(x) | SIGN_OF(1 - (x)), OUTSIDE_UNIT(x))
#define CHECK_ABOVE_MINUS_ONE(argument, x) CHECK(argument, SIGN_OF(1 + (x)) - 1, (x) <= -1)

/* What a formula is told of the targets of a block. */
enum {
  LOCAL(as_given),
  LOCAL(signs), /* y is -1 or 1: the labels, if `special`, else they are 0 and 1 */
  LOCAL(hard),  /* `special` says that all labels are 0 or 1, and probabilities from NORMAL to 1, or
                 * NaN */
  LOCAL(finite), /* `special` says that no residual overflows, or that the sum will show it */
};

/* Some of a block's elements are not what it was told: nothing was added up. */
enum { LOCAL(doubt) = 1 << 8 };

/* Whether of n elements all labels are 0 or 1, only of which y^2 - y is 0, and all probabilities
 * from NORMAL to 1 or NaN. */
ALWAYS_INLINE int LOCAL(are_hard)(ptrdiff_t n, const T *y, const T *z) {
  I flags = 0, other = 0;
  _Pragma("omp simd reduction(| : flags, other)") for (ptrdiff_t i = 0; i < n; i++) {
    flags |= SIGN_OF(y[i] * y[i] - y[i]);
    other |= SIGN_OF(z[i] - NORMAL) | SIGN_OF(1 - z[i]);
  }
  return flags == 0 && other >= 0;
}

/* What n labels of a margin loss are: flags. */
ALWAYS_INLINE I LOCAL(label_flags)(ptrdiff_t n, const T *y) {
  I flags = 0;
  SIMD_FLAGS for (ptrdiff_t i = 0; i < n; i++) flags |= y[i] == 1      ? 0
                                                        : y[i] == 0    ? FL_SAW_ZERO
                                                        : y[i] == -1   ? FL_SAW_MINUS
                                                        : y[i] == y[i] ? FL_BAD_TRUE
                                                                       : 0;
  return flags;
}

/* LOSS is a formula; that of a MARGIN_LOSS sees signs. _AFTER has an expression e of y and z, a
 * whole function's work, that a loop of its own forms for a block at a time: of short loops a
 * processor overlaps more of the iterations. SPECIAL has a condition on the parameters, and on the
 * elements if these are LOCAL(hard); a formula that is told `special` may leave out what then makes
 * no difference. */
#define LOSS(name, ...) KERNELS(name, LOCAL(as_given), 0, 0, 0, __VA_ARGS__)
#define MARGIN_LOSS(name, ...) KERNELS(name, LOCAL(signs), 0, 0, 0, __VA_ARGS__)
#define MARGIN_LOSS_AFTER(name, expression, ...) \
  KERNELS(name, LOCAL(signs), 0, 1, expression, __VA_ARGS__)
#define SPECIAL_LOSS(name, labels, condition, ...) \
  KERNELS(name, labels, condition, 0, 0, __VA_ARGS__)
#define SPECIAL_LOSS_AFTER(name, labels, condition, expression, ...) \
  KERNELS(name, labels, condition, 1, expression, __VA_ARGS__)

#define KERNELS(name, labels, condition, has_prior, expression, ...)                               \
  ALWAYS_INLINE T KERNEL(name, prior)(T y, T z) {                                                  \
    (void)y, (void)z;                                                                              \
    return expression;                                                                             \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE I KERNEL(name, element)(int closely, int special, T y, T z, T e, const T *p,       \
                                        T *loss_, T *grad_, T *hess_) {                            \
    T loss, grad, hess;                                                                            \
    I flags = 0;                                                                                   \
    (void)p, (void)e, (void)closely, (void)special;                                                \
    __VA_ARGS__                                                                                    \
    *loss_ = loss, *grad_ = grad, *hess_ = hess;                                                   \
    return flags;                                                                                  \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE I KERNEL(name, check)(ptrdiff_t n, const T *y, const T *z, const T *p) {           \
    I flags = 0;                                                                                   \
    SIMD_FLAGS for (ptrdiff_t i = 0; i < n; i++) {                                                 \
      T loss, grad, hess;                                                                          \
      flags |= KERNEL(name, element)(1, 0, y[i], z[i], 0, p, &loss, &grad, &hess);                 \
    }                                                                                              \
    return flags;                                                                                  \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE I KERNEL(name, block)(int what, int special, int checked, ptrdiff_t n, const T *y, \
                                      const T *z, const T *w, const T *p, T factor, T *losses,     \
                                      T *grads, T *hesses, fl_sum *sums) {                         \
    const int rates = what & (LOCAL(want_grad) | LOCAL(want_hess));                                \
    const int margins = labels == LOCAL(signs);                                                    \
    double sum = 0, w_sum = 0;                                                                     \
    T e[FL_BLOCK];                                                                                 \
    I flags = 0, other = 0;                                                                        \
    if (has_prior) SIMD for (ptrdiff_t i = 0; i < n; i++) {                                        \
        const T yi = margins && !special ? 2 * y[i] - 1 : y[i];                                    \
        e[i] = KERNEL(name, prior)(yi, z[i]);                                                      \
      }                                                                                            \
    SIMD_SUMS for (ptrdiff_t i = 0; i < n; i++) {                                                  \
      T loss, grad, hess;                                                                          \
      const T yi = margins && !special ? 2 * y[i] - 1 : y[i];                                      \
      if (margins) {                                                                               \
        if (!special) flags |= SIGN_OF(y[i] * y[i] - y[i]);                                        \
        other |= SIGN_OF(y[i]) ^ SIGN_OF((T)1);                                                    \
      }                                                                                            \
      flags |= KERNEL(name, element)(0, special, yi, z[i], has_prior ? e[i] : 0, p, &loss, &grad,  \
                                     &hess);                                                       \
      const T wi = what & LOCAL(weighted) ? w[i] : 1, rate = rates ? wi * factor : 1;              \
      if (what & LOCAL(want_sum)) {                                                                \
        sum += what & LOCAL(weighted) ? (double)wi * (double)loss : (double)loss;                  \
        w_sum += what & LOCAL(weighted) ? (double)wi : 0;                                          \
      }                                                                                            \
      if (what & LOCAL(want_loss)) losses[i] = wi * loss;                                          \
      if (what & LOCAL(want_grad)) grads[i] = rate * grad;                                         \
      if (what & LOCAL(want_hess)) hesses[i] = rate * hess;                                        \
    }                                                                                              \
    if (margins && special && other & ~SIGN_OF(-N(0))) flags = 1; /* more than signs */            \
    if (margins && flags && !checked) return LOCAL(doubt);                                         \
    if (labels == LOCAL(finite) && special && !(sum - sum == 0)) return LOCAL(doubt);              \
    if (what & LOCAL(want_sum)) fl_sum_add(&sums[0], sum);                                         \
    if (what & LOCAL(want_sum) && what & LOCAL(weighted)) fl_sum_add(&sums[1], w_sum);             \
    if (checked) return 0;                                                                         \
    if (margins) return !other ? 0 : special ? FL_SAW_MINUS : FL_SAW_ZERO;                         \
    return flags < 0 ? KERNEL(name, check)(n, y, z, p) : 0;                                        \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE int64_t KERNEL(name, blocks)(int what, ARGUMENTS) {                                \
    const T *y = y_true, *z = y_pred, *w = weight, factor = (T)scale;                              \
    T *losses = what & LOCAL(want_loss) ? out0 : NULL;                                             \
    T *grads = !(what & LOCAL(want_grad)) ? NULL : what & LOCAL(want_loss) ? out1 : out0;          \
    T *hesses = what & LOCAL(want_hess) ? out1 : NULL;                                             \
    T p[FL_MAX_PARAMS];                                                                            \
    for (int i = 0; i < FL_MAX_PARAMS; i++) p[i] = (T)params[i];                                   \
    const int margins = labels == LOCAL(signs);                                                    \
    const int in_place = (losses && (losses == y || losses == z || losses == w)) ||                \
                         (grads && (grads == y || grads == z || grads == w)) ||                    \
                         (hesses && (hesses == y || hesses == z || hesses == w));                  \
    int special = margins && n > 0 && *y != 0;                                                     \
    I flags = 0;                                                                                   \
    for (ptrdiff_t start = 0; start < n; start += FL_BLOCK) {                                      \
      const ptrdiff_t length = n - start < FL_BLOCK ? n - start : FL_BLOCK;                        \
      if (!margins)                                                                                \
        special = (condition) && (labels != LOCAL(hard) || LOCAL(are_hard)(length, y, z)) &&       \
                  (labels != LOCAL(finite) || (what & LOCAL(want_sum) && !in_place));              \
      I found = LOCAL(doubt);                                                                      \
      for (int checked = in_place; found & LOCAL(doubt); checked = 1) {                            \
        I known = 0;                                                                               \
        if (checked && margins) {                                                                  \
          known = LOCAL(label_flags)(length, y);                                                   \
          special = !(known & FL_SAW_ZERO);                                                        \
        } else if (checked) {                                                                      \
          if (labels == LOCAL(finite)) special = 0;                                                \
          known = KERNEL(name, check)(length, y, z, p);                                            \
        }                                                                                          \
        if (special)                                                                               \
          found = known | KERNEL(name, block)(what, 1, checked, length, y, z, w, p, factor,        \
                                              losses, grads, hesses, sums);                        \
        else                                                                                       \
          found = known | KERNEL(name, block)(what, 0, checked, length, y, z, w, p, factor,        \
                                              losses, grads, hesses, sums);                        \
      }                                                                                            \
      flags |= found;                                                                              \
      y += length, z += length;                                                                    \
      if (what & LOCAL(weighted)) w += w_step * length;                                            \
      if (what & LOCAL(want_loss)) losses += length;                                               \
      if (what & LOCAL(want_grad)) grads += length;                                                \
      if (what & LOCAL(want_hess)) hesses += length;                                               \
    }                                                                                              \
    return flags;                                                                                  \
  }                                                                                                \
                                                                                                   \
  DRIVER(name, sum, LOCAL(want_sum))                                                               \
  DRIVER(name, wsum, LOCAL(want_sum) | LOCAL(weighted))                                            \
  DRIVER(name, loss, LOCAL(want_loss) | LOCAL(weighted))                                           \
  DRIVER(name, grad, LOCAL(want_grad) | LOCAL(weighted))                                           \
  static int64_t KERNEL(name, sum_grad)(ARGUMENTS) {                                               \
    const int what = LOCAL(want_sum) | LOCAL(want_grad);                                           \
    return w_step ? KERNEL(name, blocks)(what | LOCAL(weighted), PASS)                             \
                  : KERNEL(name, blocks)(what, PASS);                                              \
  }                                                                                                \
  DRIVER(name, loss_grad, LOCAL(want_loss) | LOCAL(want_grad) | LOCAL(weighted))                   \
  DRIVER(name, grad_hess, LOCAL(want_grad) | LOCAL(want_hess) | LOCAL(weighted))

#include "losses/binary.h"
#include "losses/regression.h"
#undef KERNELS

#define KERNELS(name, ...)                                                         \
  {#name,                                                                          \
   {KERNEL(name, sum), KERNEL(name, wsum), KERNEL(name, loss), KERNEL(name, grad), \
    KERNEL(name, sum_grad), KERNEL(name, loss_grad), KERNEL(name, grad_hess)}},
static const fl_pointwise KERNEL(pointwise, table)[] = {
#include "losses/binary.h"
#include "losses/regression.h"
};
#undef KERNELS
#undef LOSS
#undef MARGIN_LOSS
#undef MARGIN_LOSS_AFTER
#undef SPECIAL_LOSS
#undef SPECIAL_LOSS_AFTER
#undef CHECK
#undef SIGN_OF
#undef CHECK_UNIT
#undef CHECK_ABOVE_MINUS_ONE
#undef ARGUMENTS
#undef PASS
#undef DRIVER

/* The sum of n <= FL_BLOCK elements, in fixed lanes. */
static double LOCAL(total)(ptrdiff_t n, const void *x_) {
  const T *x = x_;
  double sum = 0;
  _Pragma("omp simd reduction(+ : sum)") for (ptrdiff_t i = 0; i < n; i++) sum += (double)x[i];
  return sum;
}
