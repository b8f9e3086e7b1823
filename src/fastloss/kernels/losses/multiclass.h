/* Terms of row-wise losses on probabilities: t is the target of one class, with class weight and
 * smoothing in it, z its probability. The loss of a row is the sum of its terms. Terms of weight
 * 0 are skipped (0 log 0 = 0), except that a NaN probability still shows. Products are taken from
 * 0 for the reason given in binary.h.
 *
 * Softmax cross-entropy is no sum of independent terms; it stands in rowwise.h. */

TERM(cross_entropy_term, {
  T none = z - z;
  unusual = SIGN_OF(z - NORMAL);
  loss = t == 0 ? none : 0 - t * (special ? LOG_NORMAL(z) : LOG(z));
  grad = t == 0 ? none : -t / z;
  hess = t == 0 ? none : t / z / z;
})

/* t (log t - log z) = +-t log1p((hi - lo) / lo), which keeps the digits for z near t. */
DENSE_TERM(kl_divergence_term, REDUCE_RATIO((z < t ? t : z) - (z < t ? z : t), z < t ? z : t), {
  T none = z - z, lo = z < t ? z : t, hi = z < t ? t : z;
  unusual = t == 0 ? 0 : SIGN_OF(lo - NORMAL);
  T d = special ? LOG_REDUCED(log) : LOG1P_RATIO(hi - lo, lo);
  loss = t == 0 ? none : z < t ? t * d : -t * d;
  grad = t == 0 ? none : -t / z;
  hess = t == 0 ? none : t / z / z;
})
