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

/* LOSS is a formula. LOSS_AFTER has an expression e of y and z, a whole function's work, that a
 * loop of its own forms for a block at a time: of short loops a processor overlaps more of the
 * iterations. */
#define LOSS(name, ...) BOTH_LOOPS(name, 0, 0, __VA_ARGS__)
#define LOSS_AFTER(name, expression, ...) BOTH_LOOPS(name, 1, expression, __VA_ARGS__)

#define BOTH_LOOPS(name, has_prior, expression, ...)                                               \
  ALWAYS_INLINE T KERNEL(name, prior)(T y, T z) {                                                  \
    (void)y, (void)z;                                                                              \
    return expression;                                                                             \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE I KERNEL(name, element)(T y, T z, T e, const T *p, T *loss_, T *grad_, T *hess_) { \
    T loss, grad, hess;                                                                            \
    I flags = 0;                                                                                   \
    (void)p, (void)e;                                                                              \
    __VA_ARGS__                                                                                    \
    *loss_ = loss, *grad_ = grad, *hess_ = hess;                                                   \
    return flags;                                                                                  \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE int64_t KERNEL(name, blocks)(int what, ARGUMENTS) {                                \
    const T *y = y_true, *z = y_pred, *w = weight, factor = (T)scale;                              \
    const int rates = what & (LOCAL(want_grad) | LOCAL(want_hess));                                \
    T *losses = what & LOCAL(want_loss) ? out0 : NULL;                                             \
    T *grads = !(what & LOCAL(want_grad)) ? NULL : what & LOCAL(want_loss) ? out1 : out0;          \
    T *hesses = what & LOCAL(want_hess) ? out1 : NULL;                                             \
    T p[FL_MAX_PARAMS];                                                                            \
    for (int i = 0; i < FL_MAX_PARAMS; i++) p[i] = (T)params[i];                                   \
    I flags = 0;                                                                                   \
    for (ptrdiff_t start = 0; start < n; start += FL_BLOCK) {                                      \
      const ptrdiff_t length = n - start < FL_BLOCK ? n - start : FL_BLOCK;                        \
      double sum = 0, w_sum = 0;                                                                   \
      T e[FL_BLOCK];                                                                               \
      if (has_prior)                                                                               \
        SIMD for (ptrdiff_t i = 0; i < length; i++) e[i] = KERNEL(name, prior)(y[i], z[i]);        \
      SIMD_SUMS for (ptrdiff_t i = 0; i < length; i++) {                                           \
        T loss, grad, hess;                                                                        \
        flags |= KERNEL(name, element)(y[i], z[i], has_prior ? e[i] : 0, p, &loss, &grad, &hess);  \
        const T wi = what & LOCAL(weighted) ? w[i] : 1, rate = rates ? wi * factor : 1;            \
        if (what & LOCAL(want_sum)) {                                                              \
          sum += what & LOCAL(weighted) ? (double)wi * (double)loss : (double)loss;                \
          w_sum += what & LOCAL(weighted) ? (double)wi : 0;                                        \
        }                                                                                          \
        if (what & LOCAL(want_loss)) losses[i] = wi * loss;                                        \
        if (what & LOCAL(want_grad)) grads[i] = rate * grad;                                       \
        if (what & LOCAL(want_hess)) hesses[i] = rate * hess;                                      \
      }                                                                                            \
      if (what & LOCAL(want_sum)) fl_sum_add(&sums[0], sum);                                       \
      if (what & LOCAL(want_sum) && what & LOCAL(weighted)) fl_sum_add(&sums[1], w_sum);           \
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
  DRIVER(name, sum_grad, LOCAL(want_sum) | LOCAL(want_grad) | LOCAL(weighted))                     \
  DRIVER(name, loss_grad, LOCAL(want_loss) | LOCAL(want_grad) | LOCAL(weighted))                   \
  DRIVER(name, grad_hess, LOCAL(want_grad) | LOCAL(want_hess) | LOCAL(weighted))

#include "losses/binary.h"
#include "losses/regression.h"
#undef LOSS
#undef LOSS_AFTER

#define LOSS_AFTER(name, expression, ...) LOSS(name, __VA_ARGS__)
#define LOSS(name, ...)                                                            \
  {#name,                                                                          \
   {KERNEL(name, sum), KERNEL(name, wsum), KERNEL(name, loss), KERNEL(name, grad), \
    KERNEL(name, sum_grad), KERNEL(name, loss_grad), KERNEL(name, grad_hess)}},
static const fl_pointwise KERNEL(pointwise, table)[] = {
#include "losses/binary.h"
#include "losses/regression.h"
};
#undef LOSS
#undef LOSS_AFTER

#undef BOTH_LOOPS
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
