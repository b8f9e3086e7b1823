/* Binary losses: y is the target, z the logit or score, or the probability. The contract of a
 * block is that of regression.h. */

/* Smoothed target and its complement, each formed on its own: 1 - y would lose the digits of a
 * small complement. */
#define SMOOTHED(y, smoothing) ((y) * (1 - (smoothing)) + N(0.5) * (smoothing))

/* Terms of weight 0 are skipped, so 0 log 0 = 0. The gradient's numerator p - y is taken on the
 * side where it is exact; quotients are divided twice, since p^2 may underflow. Products are taken
 * from 0, so that there is one way only to fuse them with a sum. Of hard labels only the logarithm
 * of the label's own probability is formed. */
#define KIND_OF_LABELS LOCAL(kind_of_labels)(length, y, z, p[0], p[1])
EARLY(binary_cross_entropy, UNLESS_WIDE(special), {
  const T q = LOCAL(clipped)(z, p[0]);
  const int hard = special == 1;
  early.log = hard ? REDUCE_UNIT(y > 0 ? q : -q, 1 - y) : REDUCE_NORMAL(q);
  early.log_c = REDUCE_UNIT(-q, 1);
})
SPECIAL_LOSS_AFTER(binary_cross_entropy, LOCAL(labels), KIND_OF_LABELS, {
  const T smoothing = p[1];
  const int hard = special == 1;
  if (!hard) CHECK_UNIT(FL_BAD_TRUE, y);
  if (!special) CHECK_UNIT(FL_BAD_PRED, z);
  T t = SMOOTHED(y, smoothing), tc = SMOOTHED(1 - y, smoothing);
  T q = LOCAL(clipped)(z, p[0]), qc = 1 - q;
  T log_q = special ? LOG_REDUCED(early.log) : LOG_UNIT(q, 0);
  T log_qc = special ? LOG_REDUCED_UNIT(early.log_c) : LOG_UNIT(-q, 1);
  loss = hard ? 0 - LOG_REDUCED_UNIT(early.log)
              : (t == 0 ? 0 : 0 - t * log_q) + (tc == 0 ? 0 : 0 - tc * log_qc);
  T numerator = t == 0 ? 1 : tc == 0 ? -1 : q > N(0.5) ? tc - qc : q - t;
  T denominator = t == 0 ? qc : tc == 0 ? q : q * qc;
  grad = hard ? 1 / ((1 - y) - q) : numerator / denominator;
  hess = (t == 0 ? 0 : t / q / q) + (tc == 0 ? 0 : tc / qc / qc);
})
#undef KIND_OF_LABELS

/* log(1 + e^z) - y z cancels for right answers. Split: with e = exp(-|z|), formed beforehand, and
 *   c = 1 - y if z >= 0 else pos_weight y
 * the loss is c |z| + (1 - y + pos_weight y) log1p(e), and a right answer of infinite confidence
 * has c = 0. */
EARLY(sigmoid_cross_entropy, AN_EXPONENTIAL, { early.exponent = -ABS(z); })
SPECIAL_LOSS_AFTER(sigmoid_cross_entropy, LOCAL(as_given), p[0] == 1 && p[1] == 0, {
  const T e = early.e, pos_weight = special ? 1 : p[0], smoothing = special ? 0 : p[1];
  CHECK_UNIT(FL_BAD_TRUE, y);
  T t = pos_weight * SMOOTHED(y, smoothing), tc = SMOOTHED(1 - y, smoothing);
  T a = ABS(z), c = z >= 0 ? tc : t, weight = special ? 1 : tc + t;
  loss = (c == 0 ? 0 : c * a) + weight * LOG1P_UNIT(e);
  grad = (z >= 0 ? tc - t * e : tc * e - t) / (1 + e);
  hess = UNLESS_NAN(y, weight) * e / ((1 + e) * (1 + e));
})

/* The margin losses see the sign y of the label; the margin is y z, as large as z. */
EARLY(logistic, AN_EXPONENTIAL, { early.exponent = -ABS(z); })
MARGIN_LOSS_AFTER(logistic, {
  const T e = early.e, zero = p[0];
  T m = y * z;
  loss = POSITIVE_PART(-m, zero) + LOG1P_UNIT(e);
  grad = -y * (m >= 0 ? e : 1) / (1 + e);
  hess = UNLESS_NAN(y, e) / ((1 + e) * (1 + e));
})

MARGIN_LOSS(hinge, {
  const T margin = p[0], zero = p[1];
  T slack = margin - y * z;
  loss = POSITIVE_PART(slack, zero);
  grad = slack > 0 ? -y : loss; /* 0 or NaN */
  hess = UNLESS_NAN(slack, 0);
})

MARGIN_LOSS(squared_hinge, {
  const T margin = p[0], zero = p[1];
  T slack = margin - y * z, h = POSITIVE_PART(slack, zero);
  loss = h * h;
  grad = -2 * y * h;
  hess = slack > 0 ? 2 : UNLESS_NAN(slack, 0);
})

#undef SMOOTHED
