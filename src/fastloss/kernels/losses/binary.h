/* Binary losses: y is the target, z the logit or score, or the probability. The contract of a
 * block is that of regression.h. */

/* Smoothed target and its complement, each formed on its own: 1 - y would lose the digits of a
 * small complement. */
#define SMOOTHED(y, smoothing) ((y) * (1 - (smoothing)) + N(0.5) * (smoothing))

/* Terms of weight 0 are skipped, so 0 log 0 = 0. The gradient's numerator p - y is taken on the
 * side where it is exact; quotients are divided twice, since p^2 may underflow. */
LOSS(binary_cross_entropy, {
  const T eps = p[0], smoothing = p[1];
  CHECK_TRUE(OUTSIDE_UNIT(y));
  CHECK_PRED(OUTSIDE_UNIT(z));
  T t = SMOOTHED(y, smoothing), tc = SMOOTHED(1 - y, smoothing);
  T q = z < eps ? eps : z > 1 - eps ? 1 - eps : z, qc = 1 - q;
  loss = (t == 0 ? 0 : -t * LOG(q)) + (tc == 0 ? 0 : -tc * LOG1P(-q));
  T numerator = q > N(0.5) ? tc - qc : q - t;
  grad = t == 0 ? 1 / qc : tc == 0 ? -1 / q : numerator / (q * qc);
  hess = (t == 0 ? 0 : t / q / q) + (tc == 0 ? 0 : tc / qc / qc);
})

/* log(1 + e^z) - y z cancels for right answers. Split: with e = exp(-|z|), formed beforehand, and
 *   c = 1 - y if z >= 0 else pos_weight y
 * the loss is c |z| + (1 - y + pos_weight y) log1p(e), and a right answer of infinite confidence
 * has c = 0. */
LOSS_AFTER(sigmoid_cross_entropy, EXP_NONPOSITIVE(-ABS(z)), {
  const T pos_weight = p[0], smoothing = p[1];
  CHECK_TRUE(OUTSIDE_UNIT(y));
  T t = pos_weight * SMOOTHED(y, smoothing), tc = SMOOTHED(1 - y, smoothing);
  T a = ABS(z), c = z >= 0 ? tc : t;
  loss = (c == 0 ? 0 : c * a) + (tc + t) * LOG1P_UNIT(e);
  grad = (z >= 0 ? tc - t * e : tc * e - t) / (1 + e);
  hess = (tc + t) * e / ((1 + e) * (1 + e));
})

/* The margin losses take labels {-1, +1} or {0, 1}; s is the sign of the label, m = s z. */
#define LABEL_SIGN(y) ((y) > 0 ? 1 : (y) <= 0 ? -1 : (y))

LOSS_AFTER(logistic, EXP_NONPOSITIVE(-ABS(LABEL_SIGN(y) * z)), {
  CHECK_LABEL(y);
  T s = LABEL_SIGN(y), m = s * z;
  loss = (m < 0 ? -m : 0) + LOG1P_UNIT(e);
  grad = -s * (m >= 0 ? e : 1) / (1 + e);
  hess = e / ((1 + e) * (1 + e));
})

LOSS(hinge, {
  const T margin = p[0];
  CHECK_LABEL(y);
  T s = LABEL_SIGN(y), slack = margin - s * z;
  loss = slack < 0 ? 0 : slack;
  grad = slack > 0 ? -s : UNLESS_NAN(slack, 0);
  hess = UNLESS_NAN(slack, 0);
})

LOSS(squared_hinge, {
  const T margin = p[0];
  CHECK_LABEL(y);
  T s = LABEL_SIGN(y), slack = margin - s * z, h = slack < 0 ? 0 : slack;
  loss = h * h;
  grad = -2 * s * h;
  hess = slack > 0 ? 2 : UNLESS_NAN(slack, 0);
})

#undef SMOOTHED
#undef LABEL_SIGN
