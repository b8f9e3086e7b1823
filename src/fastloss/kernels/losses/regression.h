/* Regression losses: y is the target, z the prediction, r = z - y.
 *
 * Contract of a block: from T y, z and the parameters p[] set loss, grad and hess; a NaN in y or z
 * reaches all three; no intermediate overflows or underflows where the result does not. A loss is
 * neither negative nor -0. A comparison with NaN is false: selects are written so that NaN takes
 * the branch that keeps it. */

LOSS(squared_error, {
  T r = z - y;
  loss = r * r;
  grad = 2 * r;
  hess = UNLESS_NAN(r, 2);
})

/* The mean of the squares; the caller takes the root. The powers of two in p, one of which is 1,
 * bring residuals whose squares overflow or underflow into range. */
LOSS(root_mean_squared_error, {
  const T before = p[0], after = p[1];
  T r = (z * before - y * before) * after;
  loss = r * r;
  grad = r;
  hess = UNLESS_NAN(r, 0);
})

LOSS(absolute_error, {
  T r = z - y, a = ABS(r);
  loss = a;
  grad = a > 0 ? COPYSIGN(1, r) : r;
  hess = UNLESS_NAN(r, 0);
})

/* log1p(z) - log1p(y) = +-log1p((hi - lo) / (1 + lo)): the difference of the logarithms would
 * lose its digits for z near y. */
EARLY(squared_log_error, UNLESS_WIDE(special), {
  T lo = z < y ? z : y, hi = z < y ? y : z;
  early.log = REDUCE_RATIO(hi - lo, 1 + lo);
})
SPECIAL_LOSS_AFTER(squared_log_error, LOCAL(usual), 1, {
  T lo = z < y ? z : y, hi = z < y ? y : z, below = 1 + lo;
  if (special) {
    flags |= (SIGN_OF(below) - 1) | SIGN_OF(MODERATE - hi);
  } else {
    CHECK_ABOVE_MINUS_ONE(FL_BAD_TRUE, y);
    CHECK_ABOVE_MINUS_ONE(FL_BAD_PRED, z);
  }
  T d = special ? LOG_REDUCED(early.log) : LOG1P_RATIO(hi - lo, below);
  T difference = z < y ? -d : d;
  const int infinite = !special && z == INF;
  loss = d * d;
  grad = infinite ? UNLESS_NAN(d, 0) : 2 * difference / (1 + z);
  hess = infinite ? UNLESS_NAN(d, 0) : 2 * (1 - difference) / (1 + z) / (1 + z);
})

/* r^2/2 if |r| <= delta, else delta (|r| - delta/2) */
SPECIAL_LOSS(huber, LOCAL(finite), 0, {
  const T delta = p[0];
  T r = z - y, a = ABS(r), m = delta < a ? delta : a;
  loss = !shows && a == INF ? delta * ABS(z) + delta * ABS(y) : m * (a - N(0.5) * m);
  grad = COPYSIGN(m, r);
  hess = a <= delta ? 1 : UNLESS_NAN(a, 0);
})

/* With u = r/delta and h = sqrt(1 + u^2), delta^2 (h - 1) = r^2 / (1 + h): no cancellation for
 * small r. Beyond LARGE, h is u to working precision, and u^2 may overflow.
 *
 * For delta = 1 there is a way without divisions: h - 1, corrected by what h^2 lacks of 1 + u^2,
 * over 2 h. The smaller h - 1, the better 1/h must be known, and so ROUGH_HALF does. Where u^2
 * overflows, that is infinite or NaN. */
SPECIAL_LOSS(pseudo_huber, LOCAL(finite), p[0] == 1, {
  const T delta = special ? 1 : p[0];
  T r = z - y, a = ABS(r), u = special ? a : a / delta;
  T h = SQRT(1 + u * u), top = h - 1, lack = MULTIPLY_ADD(u, u, -(top + top)) - top * top;
  T near = special ? top + lack * ROUGH_HALF(h) : a * (a / (1 + h));
  T far = special ? a : a == INF ? delta * ABS(z) + delta * ABS(y) : delta * (a - delta);
  loss = !(special && shows) && u > LARGE ? far : near;
  grad = u > LARGE ? COPYSIGN(delta, r) : r / h;
  hess = u > LARGE ? 0 : 1 / h * (1 / h) * (1 / h);
})

/* With e = exp(-|r|) and m = 1 - e, tanh |r| = m (1 + e) / (1 + e^2) keeps its digits for small r.
 * The Hessian alone needs all digits of a small e, and falls so fast that the rounding error of r
 * counts (Knuth's TwoSum): sech^2(r + d) is sech^2(r) (1 - 2 d tanh r) to first order. */
EARLY(log_cosh, AN_EXPM1, { early.exponent = -ABS(z - y); })
LOSS_AFTER(log_cosh, {
  T r = z - y, a = ABS(r), m = -early.e, e = 1 - m, e2 = e * e;
  loss = LOG_COSH(a, e2);
  grad = COPYSIGN(m * (1 + e) / (1 + e2), r);
  T exact = EXP_NONPOSITIVE(-a), sech = 2 * exact / (1 + exact * exact);
  T b = r - z, d = (z - (r - b)) - (y + b);
  T correction = a < INF ? 2 * d * grad : UNLESS_NAN(a, 0);
  hess = sech * sech * (1 - correction);
})

SPECIAL_LOSS(quantile, LOCAL(finite), 0, {
  const T q = p[0];
  T r = z - y, a = ABS(r), c = r < 0 ? q : 1 - q;
  loss = !shows && a == INF ? c * ABS(z) + c * ABS(y) : c * a;
  grad = a > 0 ? COPYSIGN(c, r) : r;
  hess = UNLESS_NAN(r, 0);
})
