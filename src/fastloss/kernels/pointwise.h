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
  LOCAL(want_results) = LOCAL(want_loss) | LOCAL(want_grad) | LOCAL(want_hess),
  LOCAL(weighted) = 16,
};

#define ARGUMENTS                                                                           \
  ptrdiff_t n, const fl_ahead *ahead, int64_t seen, const void *y_true, const void *y_pred, \
      const void *weight, ptrdiff_t w_step, const double *params, double scale, void *out0, \
      void *out1, int past, fl_sum *sums
#define PASS n, ahead, seen, y_true, y_pred, weight, w_step, params, scale, out0, out1, past, sums

/* A kernel of a multiple of FL_LANES elements, or of less where its operands are filled up; and one
 * of any number, whose results may go past the caches or replace the operands. */
#define DRIVER(name, mode, by, what)                                                            \
  static NOT_INLINE int64_t KERNEL(name, mode)(ARGUMENTS) { return by(name, what); }            \
  static int64_t KERNEL(name, run_##mode)(ARGUMENTS) {                                          \
    fl_pointwise_fn *const losses = KERNEL(name, is_unsure)(what) ? KERNEL(name, loss) : NULL;  \
    const int replaces = KERNEL(name, looks_again)(what) && (REPLACES(out0) || REPLACES(out1)); \
    const int holds = replaces || (past && !KERNEL(name, streams));                             \
    return n % FL_LANES || holds ? LOCAL(run_in_parts)(KERNEL(name, mode), losses, holds, PASS) \
           : losses              ? LOCAL(run_surely)(KERNEL(name, mode), losses, PASS)          \
                                 : KERNEL(name, mode)(PASS);                                    \
  }
#define REPLACES(out) ((out) && ((out) == y_true || (out) == y_pred || (out) == weight))
#define ALWAYS(name, what) KERNEL(name, blocks)(what, PASS)
#define BY_WEIGHTS(name, what) \
  w_step ? KERNEL(name, blocks)((what) | LOCAL(weighted), PASS) : KERNEL(name, blocks)(what, PASS)

/* A probability at least eps away from 0 and 1. */
ALWAYS_INLINE T LOCAL(clipped)(T p, T eps) {
  const T above = p < eps ? eps : p;
  return above > 1 - eps ? 1 - eps : above;
}

/* Checks: the loop over a block only gathers, in the sign of `flags`, whether a value may be out of
 * its domain; where one may, a second loop looks at the block closely. */
#define CHECK(argument, suspicion, bad) flags |= closely ? ((bad) ? (I)(argument) : 0) : (suspicion)
#define CHECK_UNIT(argument, x) CHECK(argument, SIGN_OF(x) | SIGN_OF(1 - (x)), OUTSIDE_UNIT(x))
#define CHECK_ABOVE_MINUS_ONE(argument, x) CHECK(argument, SIGN_OF(1 + (x)) - 1, (x) <= -1)

/* The larger of x and 0; NaN of NaN. `zero` is a parameter that the loss has not: of a comparison
 * with what it does not know gcc makes one instruction, of one with 0 three. */
#define POSITIVE_PART(x, zero) ((x) < (zero) ? (zero) : (x))

/* What `special` tells a formula of a block, or of all of them: parameter `kind` of KERNELS. */
enum {
  LOCAL(as_given), /* what the condition says */
  LOCAL(signs),    /* y is -1 or 1: the labels, if `special`, else they are 0 and 1 */
  LOCAL(finite),   /* what the condition says; and if `shows`, that the sum shows what overflows */
  LOCAL(usual),    /* that the elements are ordinary, or that flags will show it */
  LOCAL(labels),   /* the same of probabilities; 1 if all labels are 0 or 1, else 2 */
};

/* Some of a block's elements are not what it was told: nothing was added up. Or all were added up,
 * but the sum may not be theirs. */
enum { LOCAL(doubt) = 1 << 8, LOCAL(unsure) = 1 << 9 };

/* Of n labels and probabilities that are clipped by eps: 0 if one of these may be less than NORMAL
 * then, or is none; else 1 if all labels are 0 or 1, only of which y^2 - y is 0, and are not
 * smoothed; else 2. A NaN may be anything. */
ALWAYS_INLINE int LOCAL(kind_of_labels)(ptrdiff_t n, const T *y, const T *z, T eps, T smoothing) {
  const T least = eps < NORMAL ? NORMAL : 0;
  I flags = 0, other = 0;
  SIMD_BOTH for (ptrdiff_t i = 0; i < n; i++) {
    flags |= SIGN_OF(y[i] * y[i] - y[i]);
    other |= SIGN_OF(z[i] - least) | SIGN_OF(1 - z[i]);
  }
  return other < 0 ? 0 : flags == 0 && smoothing == 0 ? 1 : 2;
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

/* Whether labels of a margin loss look like signs: no 0 among the first. */
ALWAYS_INLINE int LOCAL(look_like_signs)(ptrdiff_t n, const T *y) {
  I flags = 0;
  for (ptrdiff_t i = 0; i < n && i < FL_LANES; i++) flags |= y[i] == 0;
  return !flags;
}

/* Asks for what lies `ahead` bytes of n elements: of its own accord a processor fetches too little
 * while it computes, and nothing beyond the end of a page. */
ALWAYS_INLINE void LOCAL(fetch)(ptrdiff_t n, const T *x, ptrdiff_t ahead) {
  ASK_FOR(n, x, ahead, 3);
}

/* How far that is, if it has to lie in the next block. */
static NOT_INLINE fl_ahead LOCAL(in_next_block)(fl_ahead ahead) {
  const ptrdiff_t block = FL_BLOCK * sizeof(T);
  ptrdiff_t *const each[] = {&ahead.y, &ahead.z, &ahead.w};
  for (int i = 0; i < 3; i++)
    if (*each[i] > 0 && *each[i] < block) *each[i] = block;
  return ahead;
}

/* Adds up FL_LANES numbers, half onto half. */
#define SUM_OF_LANES(name, type)                                              \
  ALWAYS_INLINE type LOCAL(name)(const type *lanes) {                         \
    type halves[8], quarters[4];                                              \
    SIMD for (int j = 0; j < 8; j++) halves[j] = lanes[j] + lanes[j + 8];     \
    SIMD for (int j = 0; j < 4; j++) quarters[j] = halves[j] + halves[j + 4]; \
    return (quarters[0] + quarters[2]) + (quarters[1] + quarters[3]);         \
  }
_Static_assert(FL_LANES == 16, "four halvings lead to one number");
SUM_OF_LANES(sum_of, double)
SUM_OF_LANES(fold_lanes, T)
#undef SUM_OF_LANES

/* Sums of n <= FL_BLOCK elements, and of their products, in double. Elements FL_LANES apart share a
 * lane, whatever the vectors are: a compiler has nothing to choose. */
static NOT_INLINE double LOCAL(total)(ptrdiff_t n, ptrdiff_t ahead, const void *x_) {
  const T *x = x_;
  const ptrdiff_t whole = n / FL_LANES * FL_LANES;
  double lanes[FL_LANES] = {0};
  for (ptrdiff_t i = 0; i < whole; i += FL_LANES) {
    LOCAL(fetch)(FL_LANES, x + i, ahead);
    SIMD for (int j = 0; j < FL_LANES; j++) lanes[j] += (double)x[i + j];
  }
  for (ptrdiff_t i = whole; i < n; i++) lanes[i - whole] += (double)x[i];
  return LOCAL(sum_of)(lanes);
}

static NOT_INLINE double LOCAL(weighted_total)(ptrdiff_t n, const T *x, const T *w) {
  const ptrdiff_t whole = n / FL_LANES * FL_LANES;
  double lanes[FL_LANES] = {0};
  for (ptrdiff_t i = 0; i < whole; i += FL_LANES)
    SIMD for (int j = 0; j < FL_LANES; j++) lanes[j] += (double)w[i + j] * (double)x[i + j];
  for (ptrdiff_t i = whole; i < n; i++) lanes[i - whole] += (double)w[i] * (double)x[i];
  return LOCAL(sum_of)(lanes);
}

static NOT_INLINE void LOCAL(multiply)(ptrdiff_t n, const T *w, T factor, const T *x, T *to) {
  SIMD for (ptrdiff_t i = 0; i < n; i++) to[i] = w[i] * factor * x[i];
}

/* Sums of losses, none of which is negative or -0. To convert floats takes longer than to make of
 * their bits those of doubles, 2^896 times smaller, the odd ones first. Infinity and NaN become
 * numbers of 2^128 at least: a sum below tells that there is none. */
#define SHIFTED_INFINITY 0x1p128

ALWAYS_INLINE void LOCAL(add_losses)(int shifts, double *sum, const T *x) {
  const int half = FL_LANES / 2;
  uint64_t pairs[FL_LANES / 2], even[FL_LANES / 2];
  if (!shifts) {
    SIMD for (int j = 0; j < FL_LANES; j++) sum[j] += (double)x[j];
    return;
  }
  memcpy(pairs, x, sizeof pairs);
  TIMES_LOW_HALVES(half, even, pairs, 1 << 29);
  SIMD for (int j = 0; j < half; j++) {
    sum[j] += of_bits_f64((pairs[j] & UINT64_C(0x7fffffff00000000)) >> 3);
    sum[half + j] += of_bits_f64(even[j]);
  }
}

/* The sum of those of the first n elements, or of all, in the order of sum_of. */
ALWAYS_INLINE double LOCAL(sum_of_losses)(int shifts, double *sum, ptrdiff_t n) {
  double quarters[4];
  if (n < FL_LANES) {
    SIMD for (int j = 0; j < FL_LANES; j++) {
      const int element = shifts ? 2 * j % FL_LANES + (j < FL_LANES / 2) : j;
      sum[j] = element < n ? sum[j] : 0;
    }
  }
  if (!shifts) return LOCAL(sum_of)(sum);
  SIMD for (int j = 0; j < 4; j++) {
    sum[j] += sum[j + 4];
    sum[j + 8] += sum[j + 12];
  }
  SIMD for (int j = 0; j < 2; j++) {
    quarters[j] = sum[j] + sum[j + 2];
    quarters[j + 2] = sum[j + 8] + sum[j + 10];
  }
  return 0x1p896 * ((quarters[2] + quarters[3]) + (quarters[0] + quarters[1]));
}

/* Flags that were seen in any lane. */
ALWAYS_INLINE I LOCAL(any)(const I *seen) {
  I flags = 0;
  SIMD_FLAGS for (int j = 0; j < FL_LANES; j++) flags |= seen[j];
  return flags;
}

/* Writes results past the caches that were held back: one line at a time takes up to twice as long
 * as four. */
enum { LOCAL(held) = 4 * FL_LANES };

static NOT_INLINE void LOCAL(put_past)(ptrdiff_t n, T *to, const T *from) {
  const ptrdiff_t line = FL_LINE / sizeof(T), step = 16 / sizeof(T);
  NOT_UNROLLED
  for (ptrdiff_t i = 0; i < n; i += line)
    for (ptrdiff_t j = i; j < i + line; j += step) PUT_16_PAST(to + j, from + j);
}

/* What a block has: the two sums, the flags, and what `other` tells of labels. It is found in
 * lanes, which gcc keeps in registers where these are large, or in turn: by a loop that clang can
 * make vectors of even where it stores results, and another one for the sums. Both add up in the
 * same order. */
typedef struct {
  I flags, other;
  double sum, w_sum;
} LOCAL(found);

static NOT_INLINE void LOCAL(fetch_part)(ptrdiff_t n, const T *x, ptrdiff_t ahead) {
  LOCAL(fetch)(n, x, ahead);
}

ALWAYS_INLINE void LOCAL(fill_up)(ptrdiff_t n, const T *x, T *lanes) {
  const T first = x[0];
  SIMD for (int j = 0; j < FL_LANES; j++) lanes[j] = j < n ? x[j] : first;
}

/* Adds up losses that are formed by their own kernel, for which they are numbers like others. */
static NOT_INLINE void LOCAL(add_again)(fl_pointwise_fn *losses, ARGUMENTS) {
  const T *y = y_true, *z = y_pred, *w = weight;
  T terms[FL_BLOCK];
  (void)ahead, (void)scale, (void)out0, (void)out1, (void)past;
  for (ptrdiff_t start = 0; start < n; start += FL_BLOCK) {
    const ptrdiff_t part = n - start < FL_BLOCK ? n - start : FL_BLOCK;
    losses(part, &(fl_ahead){0}, seen, y + start, z + start, w, 0, params, 1, terms, NULL, 0, NULL);
    fl_sum_add(&sums[0], w_step ? LOCAL(weighted_total)(part, terms, w + start)
                                : LOCAL(total)(part, 0, terms));
  }
}

/* Runs a kernel, and where its sum may not be that of the losses, theirs. */
static NOT_INLINE int64_t LOCAL(run_surely)(fl_pointwise_fn *kernel, fl_pointwise_fn *losses,
                                            ARGUMENTS) {
  const fl_sum before = losses ? sums[0] : (fl_sum){0, 0};
  const int64_t flags = kernel(PASS);
  if (!(flags & LOCAL(unsure))) return flags;
  sums[0] = before;
  LOCAL(add_again)(losses, PASS);
  return flags & ~LOCAL(unsure);
}

/* Runs a kernel block by block, if its results are held back: on their way past the caches, or
 * since they replace operands that are looked at again; and apart from the others the last
 * elements, if they fill no lanes, on copies of their operands that are filled up, into results
 * with room. */
static NOT_INLINE int64_t LOCAL(run_in_parts)(fl_pointwise_fn *kernel, fl_pointwise_fn *losses,
                                              int holds, ARGUMENTS) {
  const ptrdiff_t rest = n % FL_LANES, whole = n - rest, most = holds ? FL_BLOCK : whole;
  const T *y = y_true, *z = y_pred, *w = weight;
  T filled[3][FL_LANES], result[2][FL_BLOCK], *const out[2] = {out0, out1};
  int64_t flags = 0;
  for (ptrdiff_t start = 0, part; start < whole; start += part) {
    T *to[2];
    for (int i = 0; i < 2; i++) to[i] = out[i] && holds ? result[i] : out[i];
    part = whole - start < most ? whole - start : most;
    flags |= LOCAL(run_surely)(kernel, losses, part, ahead, seen | flags, y + start, z + start,
                               w_step ? w + start : w, w_step, params, scale, to[0], to[1],
                               past && !holds, sums);
    for (int i = 0; i < 2; i++) {
      if (to[i] == NULL || !holds) continue;
      if (past)
        LOCAL(put_past)(part, out[i] + start, to[i]);
      else
        memcpy(out[i] + start, to[i], (size_t)part * sizeof(T));
    }
  }
  if (rest == 0) return flags;
  LOCAL(fill_up)(rest, y + whole, filled[0]);
  LOCAL(fill_up)(rest, z + whole, filled[1]);
  if (w_step) LOCAL(fill_up)(rest, w + whole, filled[2]);
  flags |= LOCAL(run_surely)(kernel, losses, rest, &(fl_ahead){0}, seen | flags, filled[0],
                             filled[1], w_step ? filled[2] : w, w_step, params, scale,
                             out0 ? result[0] : NULL, out1 ? result[1] : NULL, 0, sums);
  for (int i = 0; i < 2; i++) {
    T *to = out[i] ? out[i] + whole : NULL;
    if (to) SIMD for (int j = 0; j < FL_LANES; j++) if (j < rest) to[j] = result[i][j];
  }
  return flags;
}

/* What is formed of an element early, by a loop of its own for a block at a time: of two short
 * loops a processor overlaps more of the iterations than of a long one. `keeps` tells what the
 * first keeps for the second: as e, exp or expm1 of the exponent; or how many logarithms, reduced.
 * Where that is nothing, there is one loop. */
typedef struct {
  T exponent, e;
  REDUCED log, log_c;
} LOCAL(early);

typedef struct {
  T of[4][FL_BLOCK];
} LOCAL(early_block);

#define AN_EXPONENTIAL -1
#define AN_EXPM1 -2
/* Vectors of AVX-512 gain less by it, and lose more where operands come from the memory, as the
 * loops read them by turns. */
#define UNLESS_WIDE(logarithms) (VECTOR_BYTES < 64 ? (logarithms) : 0)

ALWAYS_INLINE void LOCAL(keep)(int keeps, LOCAL(early) early, LOCAL(early_block) * to, size_t i) {
  to->of[0][i] = early.log.k, to->of[1][i] = early.log.f;
  if (keeps == 2) to->of[2][i] = early.log_c.k, to->of[3][i] = early.log_c.f;
}

ALWAYS_INLINE LOCAL(early) LOCAL(kept)(int keeps, const LOCAL(early_block) * from, ptrdiff_t i) {
  LOCAL(early) early = {0};
  if (keeps < 0) early.e = from->of[0][i];
  if (keeps >= 1) early.log = REDUCED_AGAIN(from->of[0][i], from->of[1][i]);
  if (keeps == 2) early.log_c = REDUCED_AGAIN(from->of[2][i], from->of[3][i]);
  return early;
}

#define EARLY(name, what, ...)                                                                 \
  ALWAYS_INLINE int KERNEL(name, keeps)(int special) {                                         \
    (void)special;                                                                             \
    return what;                                                                               \
  }                                                                                            \
                                                                                               \
  ALWAYS_INLINE LOCAL(early) KERNEL(name, form)(int special, T y, T z, const T *p) {           \
    LOCAL(early) early = {0};                                                                  \
    (void)special, (void)y, (void)z, (void)p;                                                  \
    __VA_ARGS__                                                                                \
    return early;                                                                              \
  }                                                                                            \
                                                                                               \
  /* Those of element i of a block: kept, or formed here. */                                   \
  ALWAYS_INLINE LOCAL(early) KERNEL(name, take)(int special, const LOCAL(early_block) * block, \
                                                ptrdiff_t i, T y, T z, const T *p) {           \
    const int keeps = KERNEL(name, keeps)(special);                                            \
    return keeps ? LOCAL(kept)(keeps, block, i) : KERNEL(name, form)(special, y, z, p);        \
  }

EARLY(nothing, 0, )

/* LOSS is a formula; that of a MARGIN_LOSS sees signs. _AFTER follows an EARLY of the same name.
 * SPECIAL has a condition on the parameters and on what the block is, under which a formula may
 * leave out what then makes no difference. What has an EARLY, or a loop for rare blocks, takes
 * longer than the memory. */
#define IS_RARE(kind) ((kind) == LOCAL(usual) || (kind) == LOCAL(labels))
#define LOSS(name, ...) KERNELS(name, 1, LOCAL(as_given), 0, nothing, __VA_ARGS__)
#define LOSS_AFTER(name, ...) KERNELS(name, 0, LOCAL(as_given), 0, name, __VA_ARGS__)
#define MARGIN_LOSS(name, ...) KERNELS(name, 1, LOCAL(signs), 0, nothing, __VA_ARGS__)
#define MARGIN_LOSS_AFTER(name, ...) KERNELS(name, 0, LOCAL(signs), 0, name, __VA_ARGS__)
#define SPECIAL_LOSS(name, kind, condition, ...) \
  KERNELS(name, !IS_RARE(kind), kind, condition, nothing, __VA_ARGS__)
#define SPECIAL_LOSS_AFTER(name, kind, condition, ...) \
  KERNELS(name, 0, kind, condition, name, __VA_ARGS__)

#define KERNELS(name, light, kind, condition, prelude, ...)                                        \
  /* What takes no longer than the memory writes lines past the caches while it goes on. */        \
  enum { KERNEL(name, is_rare) = IS_RARE(kind), KERNEL(name, streams) = IN_LANES && (light) };     \
                                                                                                   \
  ALWAYS_INLINE I KERNEL(name, element)(int closely, int shows, int special, T y, T z,             \
                                        LOCAL(early) early, const T *p, T *loss_, T *grad_,        \
                                        T *hess_) {                                                \
    T loss, grad, hess;                                                                            \
    I flags = 0;                                                                                   \
    (void)p, (void)early, (void)closely, (void)shows, (void)special;                               \
    __VA_ARGS__                                                                                    \
    *loss_ = loss, *grad_ = grad, *hess_ = hess;                                                   \
    return flags;                                                                                  \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE I KERNEL(name, check)(ptrdiff_t n, const T *y, const T *z, const T *p) {           \
    I flags = 0;                                                                                   \
    SIMD_FLAGS for (ptrdiff_t i = 0; i < n; i++) {                                                 \
      T loss, grad, hess;                                                                          \
      flags |=                                                                                     \
          KERNEL(name, element)(1, 0, 0, y[i], z[i], (LOCAL(early)){0}, p, &loss, &grad, &hess);   \
    }                                                                                              \
    return flags;                                                                                  \
  }                                                                                                \
                                                                                                   \
  /* A target as the formula sees it: of a margin loss, a sign. */                                 \
  ALWAYS_INLINE T KERNEL(name, target)(int special, T y) {                                         \
    return kind == LOCAL(signs) && !special ? 2 * y - 1 : y;                                       \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE LOCAL(early) KERNEL(name, early)(int special, T y, T z, const T *p) {              \
    return KERNEL(prelude, form)(special, KERNEL(name, target)(special, y), z, p);                 \
  }                                                                                                \
                                                                                                   \
  /* With gradients of cheap margin losses AVX2 has too few registers. */                          \
  ALWAYS_INLINE int KERNEL(name, shifts)(int what) {                                               \
    const int crowded = VECTOR_BYTES < 64 && kind == LOCAL(signs) && (light);                      \
    return IN_LANES && sizeof(T) == sizeof(float) && what & LOCAL(want_sum) &&                     \
           __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && !(what & LOCAL(weighted)) &&               \
           !(crowded && what & LOCAL(want_results));                                               \
  }                                                                                                \
                                                                                                   \
  /* Whether a sum may not be that of the losses: run_surely. */                                   \
  ALWAYS_INLINE int KERNEL(name, is_unsure)(int what) {                                            \
    return KERNEL(name, shifts)(what) || (kind == LOCAL(finite) && what & LOCAL(want_sum));        \
  }                                                                                                \
                                                                                                   \
  /* Whether operands are looked at again once there are results. */                               \
  ALWAYS_INLINE int KERNEL(name, looks_again)(int what) {                                          \
    const int adds_up_last = !IN_LANES && what & LOCAL(want_sum);                                  \
    return !(light) || kind == LOCAL(signs) || adds_up_last || KERNEL(name, is_unsure)(what);      \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, group)(                                                          \
      int what, int special, const T *y, const T *z, const T *w, const LOCAL(early_block) * early, \
      ptrdiff_t at, const T *p, T factor, T *losses, T *grads, T *hesses, double *sum,             \
      double *w_sum, I *seen, I *other) {                                                          \
    T terms[FL_LANES];                                                                             \
    const int rates = what & (LOCAL(want_grad) | LOCAL(want_hess));                                \
    const int margins = kind == LOCAL(signs);                                                      \
    SIMD for (int j = 0; j < FL_LANES; j++) {                                                      \
      T loss, grad, hess;                                                                          \
      const T yj = KERNEL(name, target)(special, y[j]);                                            \
      if (margins) {                                                                               \
        if (!special) seen[j] |= SIGN_OF(y[j] * y[j] - y[j]);                                      \
        other[j] |= special ? SIGN_OF(y[j]) ^ SIGN_OF((T)1) : SIGN_OF(yj);                         \
      }                                                                                            \
      seen[j] |= KERNEL(name, element)(0, what & LOCAL(want_sum), special, yj, z[j],               \
                                       KERNEL(prelude, take)(special, early, at + j, yj, z[j], p), \
                                       p, &loss, &grad, &hess);                                    \
      const T wj = what & LOCAL(weighted) ? w[j] : 1, rate = rates ? wj * factor : 1;              \
      terms[j] = loss;                                                                             \
      if (what & LOCAL(want_sum) && what & LOCAL(weighted)) {                                      \
        sum[j] += (double)wj * (double)loss;                                                       \
        w_sum[j] += (double)wj;                                                                    \
      }                                                                                            \
      if (what & LOCAL(want_loss)) losses[j] = wj * loss;                                          \
      if (what & LOCAL(want_grad)) grads[j] = rate * grad;                                         \
      if (what & LOCAL(want_hess)) hesses[j] = rate * hess;                                        \
    }                                                                                              \
    if (what & LOCAL(want_sum) && !(what & LOCAL(weighted)))                                       \
      LOCAL(add_losses)(KERNEL(name, shifts)(what), sum, terms);                                   \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE LOCAL(found)                                                                       \
      KERNEL(name, in_lanes)(int what, int special, int past, ptrdiff_t n, fl_ahead ahead,         \
                             const T *y, const T *z, const T *w, const LOCAL(early_block) * early, \
                             const T *p, T factor, T *losses, T *grads, T *hesses) {               \
    const ptrdiff_t at_once = past ? LOCAL(held) : n;                                              \
    T held[3][LOCAL(held)];                                                                        \
    double sum[FL_LANES] = {0}, w_sum[FL_LANES] = {0};                                             \
    I seen[FL_LANES] = {0}, other[FL_LANES] = {0};                                                 \
    ASSUME(n > 0);                                                                                 \
    for (ptrdiff_t from = 0; from < n; from += at_once) {                                          \
      const ptrdiff_t part = n - from < at_once ? n - from : at_once;                              \
      ASSUME(part > 0);                                                                            \
      T *losses_to = past ? held[0] : losses + from, *grads_to = past ? held[1] : grads + from;    \
      T *hesses_to = past ? held[2] : hesses + from;                                               \
      NOT_UNROLLED                                                                                 \
      for (ptrdiff_t k = 0; k < part; k += FL_LANES) {                                             \
        const ptrdiff_t i = from + k;                                                              \
        LOCAL(fetch)(FL_LANES, y + i, ahead.y);                                                    \
        LOCAL(fetch)(FL_LANES, z + i, ahead.z);                                                    \
        if (what & LOCAL(weighted)) LOCAL(fetch)(FL_LANES, w + i, ahead.w);                        \
        if (KERNEL(prelude, keeps)(special) && what & LOCAL(want_grad))                            \
          ASK_FOR(FL_LANES, grads_to + k, FL_ROWS_AHEAD, 2);                                       \
        KERNEL(name, group)(what, special, y + i, z + i, w + i, early, i, p, factor,               \
                            losses_to + k, grads_to + k, hesses_to + k, sum, w_sum, seen, other);  \
      }                                                                                            \
      if (past && what & LOCAL(want_loss)) LOCAL(put_past)(part, losses + from, losses_to);        \
      if (past && what & LOCAL(want_grad)) LOCAL(put_past)(part, grads + from, grads_to);          \
      if (past && what & LOCAL(want_hess)) LOCAL(put_past)(part, hesses + from, hesses_to);        \
    }                                                                                              \
    const double total = LOCAL(sum_of_losses)(KERNEL(name, shifts)(what), sum, n);                 \
    SIMD for (int j = 0; j < FL_LANES; j++) w_sum[j] = j < n ? w_sum[j] : 0;                       \
    return (LOCAL(found)){                                                                         \
        .flags = LOCAL(any)(seen),                                                                 \
        .other = kind == LOCAL(signs) ? LOCAL(any)(other) : 0,                                     \
        .sum = what & LOCAL(want_sum) ? total : 0,                                                 \
        .w_sum = what & LOCAL(want_sum) && what & LOCAL(weighted) ? LOCAL(sum_of)(w_sum) : 0};     \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE LOCAL(found) KERNEL(name, in_turn)(                                                \
      int what, int special, ptrdiff_t n, fl_ahead ahead, const T *y, const T *z, const T *w,      \
      const LOCAL(early_block) * early, const T *p, T factor, T *losses, T *grads, T *hesses) {    \
    const int rates = what & (LOCAL(want_grad) | LOCAL(want_hess));                                \
    const int margins = kind == LOCAL(signs), sums = what & LOCAL(want_sum);                       \
    T terms[FL_BLOCK];                                                                             \
    I flags = 0, other = 0;                                                                        \
    for (ptrdiff_t from = 0; from < n; from += FL_PART) {                                          \
      const ptrdiff_t part = n - from < FL_PART ? n - from : FL_PART, stop = from + part;          \
      LOCAL(fetch_part)(part, y + from, ahead.y);                                                  \
      LOCAL(fetch_part)(part, z + from, ahead.z);                                                  \
      if (what & LOCAL(weighted)) LOCAL(fetch_part)(part, w + from, ahead.w);                      \
      SIMD_BOTH for (ptrdiff_t i = from; i < stop; i++) {                                          \
        T loss, grad, hess;                                                                        \
        const T yi = KERNEL(name, target)(special, y[i]);                                          \
        if (margins) {                                                                             \
          if (!special) flags |= SIGN_OF(y[i] * y[i] - y[i]);                                      \
          other |= special ? SIGN_OF(y[i]) ^ SIGN_OF((T)1) : SIGN_OF(yi);                          \
        }                                                                                          \
        flags |= KERNEL(name, element)(0, sums, special, yi, z[i],                                 \
                                       KERNEL(prelude, take)(special, early, i, yi, z[i], p), p,   \
                                       &loss, &grad, &hess);                                       \
        const T wi = what & LOCAL(weighted) ? w[i] : 1, rate = rates ? wi * factor : 1;            \
        if (sums) terms[i] = loss;                                                                 \
        if (what & LOCAL(want_loss)) losses[i] = wi * loss;                                        \
        if (what & LOCAL(want_grad)) grads[i] = rate * grad;                                       \
        if (what & LOCAL(want_hess)) hesses[i] = rate * hess;                                      \
      }                                                                                            \
    }                                                                                              \
    return (LOCAL(found)){.flags = flags,                                                          \
                          .other = other,                                                          \
                          .sum = !sums                    ? 0                                      \
                                 : what & LOCAL(weighted) ? LOCAL(weighted_total)(n, terms, w)     \
                                                          : LOCAL(total)(n, 0, terms),             \
                          .w_sum = sums && what & LOCAL(weighted) ? LOCAL(total)(n, 0, w) : 0};    \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE I KERNEL(name, block)(                                                             \
      int what, int special, int checked, ptrdiff_t n, fl_ahead ahead, const T *y, const T *z,     \
      const T *w, const T *p, T factor, T *losses, T *grads, T *hesses, int past, fl_sum *sums) {  \
    const int margins = kind == LOCAL(signs);                                                      \
    const int keeps = KERNEL(prelude, keeps)(special);                                             \
    const size_t whole = ((size_t)n + FL_LANES - 1) / FL_LANES * FL_LANES;                         \
    LOCAL(early_block) early;                                                                      \
    for (size_t i = 0; keeps < 0 && i < whole; i += FL_LANES) {                                    \
      T *const e = early.of[0] + i;                                                                \
      if (keeps == AN_EXPONENTIAL)                                                                 \
        EXP_OF_LANES(e, j, KERNEL(name, early)(special, y[i + j], z[i + j], p).exponent);          \
      else                                                                                         \
        EXPM1_OF_LANES(e, j, KERNEL(name, early)(special, y[i + j], z[i + j], p).exponent);        \
    }                                                                                              \
    if (keeps > 0)                                                                                 \
      SIMD for (size_t i = 0; i < whole; i++)                                                      \
          LOCAL(keep)(keeps, KERNEL(name, early)(special, y[i], z[i], p), &early, i);              \
    /* Of the commonest mode one loop, whether past the caches or not, takes longer in them. */    \
    const int streams = KERNEL(name, streams) && what & LOCAL(want_results);                       \
    const int two_loops = streams && what == (LOCAL(want_sum) | LOCAL(want_grad));                 \
    LOCAL(found) found;                                                                            \
    if (two_loops && past)                                                                         \
      found = KERNEL(name, in_lanes)(what, special, 1, n, ahead, y, z, w, &early, p, factor,       \
                                     losses, grads, hesses);                                       \
    else if (IN_LANES)                                                                             \
      found = KERNEL(name, in_lanes)(what, special, streams && !two_loops && past, n, ahead, y, z, \
                                     w, &early, p, factor, losses, grads, hesses);                 \
    else                                                                                           \
      found = KERNEL(name, in_turn)(what, special, n, ahead, y, z, w, &early, p, factor, losses,   \
                                    grads, hesses);                                                \
    if (margins && special && found.other & ~SIGN_OF(-N(0))) found.flags = 1; /* not only signs */ \
    if (margins && found.flags && !checked) return LOCAL(doubt);                                   \
    if (KERNEL(name, is_rare) && found.flags < 0 && !checked) return LOCAL(doubt);                 \
    if (what & LOCAL(want_sum)) fl_sum_add(&sums[0], found.sum);                                   \
    if (what & LOCAL(want_sum) && what & LOCAL(weighted)) fl_sum_add(&sums[1], found.w_sum);       \
    const int sure = KERNEL(name, shifts)(what)      ? found.sum < SHIFTED_INFINITY                \
                     : KERNEL(name, is_unsure)(what) ? found.sum - found.sum == 0                  \
                                                     : 1;                                          \
    const I unsure = sure ? 0 : LOCAL(unsure);                                                     \
    if (checked) return unsure;                                                                    \
    if (margins && special) return unsure | (found.other ? FL_SAW_MINUS : 0);                      \
    if (margins) return unsure | (found.other < 0 ? FL_SAW_ZERO : 0);                              \
    return unsure | (found.flags < 0 ? KERNEL(name, check)(n, y, z, p) : 0);                       \
  }                                                                                                \
                                                                                                   \
  /* A block of which nothing is known, where that is rare: one loop for all modes. */             \
  static NOT_INLINE void KERNEL(name, any_block)(int what, ptrdiff_t n, const T *y, const T *z,    \
                                                 const T *w, const T *p, T factor, T *losses,      \
                                                 T *grads, T *hesses, fl_sum *sums) {              \
    T terms[FL_BLOCK], slopes[FL_BLOCK], curvatures[FL_BLOCK];                                     \
    SIMD for (ptrdiff_t i = 0; i < n; i++) {                                                       \
      T loss, grad, hess;                                                                          \
      const LOCAL(early) formed = KERNEL(prelude, form)(0, y[i], z[i], p);                         \
      (void)KERNEL(name, element)(0, 0, 0, y[i], z[i], formed, p, &loss, &grad, &hess);            \
      terms[i] = loss, slopes[i] = grad, curvatures[i] = hess;                                     \
    }                                                                                              \
    if (what & LOCAL(want_sum) && what & LOCAL(weighted)) {                                        \
      fl_sum_add(&sums[0], LOCAL(weighted_total)(n, terms, w));                                    \
      fl_sum_add(&sums[1], LOCAL(total)(n, 0, w));                                                 \
    } else if (what & LOCAL(want_sum)) {                                                           \
      fl_sum_add(&sums[0], LOCAL(total)(n, 0, terms));                                             \
    }                                                                                              \
    if (losses) LOCAL(multiply)(n, w, 1, terms, losses);                                           \
    if (grads) LOCAL(multiply)(n, w, factor, slopes, grads);                                       \
    if (hesses) LOCAL(multiply)(n, w, factor, curvatures, hesses);                                 \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE int64_t KERNEL(name, blocks)(int what, ARGUMENTS) {                                \
    const T *y = y_true, *z = y_pred, *w = weight, factor = (T)scale;                              \
    T *losses = what & LOCAL(want_loss) ? out0 : NULL;                                             \
    T *grads = !(what & LOCAL(want_grad)) ? NULL : what & LOCAL(want_loss) ? out1 : out0;          \
    T *hesses = what & LOCAL(want_hess) ? out1 : NULL;                                             \
    T p[FL_MAX_PARAMS];                                                                            \
    for (int i = 0; i < FL_MAX_PARAMS; i++) p[i] = (T)params[i];                                   \
    const int margins = kind == LOCAL(signs);                                                      \
    int special = margins && !(seen & FL_SAW_ZERO) && LOCAL(look_like_signs)(n, y);                \
    I flags = 0;                                                                                   \
    const int twice =                                                                              \
        KERNEL(prelude, keeps)(1) || kind == LOCAL(labels); /* by another loop first */            \
    const fl_ahead asked = twice ? LOCAL(in_next_block)(*ahead) : *ahead;                          \
    for (ptrdiff_t start = 0; start < n; start += FL_BLOCK) {                                      \
      const ptrdiff_t length = n - start < FL_BLOCK ? n - start : FL_BLOCK;                        \
      if (!margins) special = (condition);                                                         \
      I found = LOCAL(doubt);                                                                      \
      for (int checked = 0; found & LOCAL(doubt); checked = 1) {                                   \
        I known = 0;                                                                               \
        if (checked && margins) {                                                                  \
          known = LOCAL(label_flags)(length, y);                                                   \
          special = !(known & FL_SAW_ZERO);                                                        \
        } else if (checked) {                                                                      \
          known = KERNEL(name, check)(length, y, z, p);                                            \
        }                                                                                          \
        if (checked && KERNEL(name, is_rare)) {                                                    \
          KERNEL(name, any_block)(what, length, y, z, w, p, factor, losses, grads, hesses, sums);  \
          found = 0;                                                                               \
        } else if (special == 2 && kind == LOCAL(labels)) {                                        \
          found = KERNEL(name, block)(what, 2, checked, length, asked, y, z, w, p, factor, losses, \
                                      grads, hesses, past, sums);                                  \
        } else if (special) {                                                                      \
          found = KERNEL(name, block)(what, 1, checked, length, asked, y, z, w, p, factor, losses, \
                                      grads, hesses, past, sums);                                  \
        } else if (!KERNEL(name, is_rare)) {                                                       \
          found = KERNEL(name, block)(what, 0, checked, length, asked, y, z, w, p, factor, losses, \
                                      grads, hesses, past, sums);                                  \
        }                                                                                          \
        found |= known;                                                                            \
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
  DRIVER(name, loss, BY_WEIGHTS, LOCAL(want_loss))                                                 \
  DRIVER(name, sum, ALWAYS, LOCAL(want_sum))                                                       \
  DRIVER(name, wsum, ALWAYS, LOCAL(want_sum) | LOCAL(weighted))                                    \
  DRIVER(name, sum_grad, BY_WEIGHTS, LOCAL(want_sum) | LOCAL(want_grad))                           \
  DRIVER(name, grad, BY_WEIGHTS, LOCAL(want_grad))                                                 \
  DRIVER(name, loss_grad, ALWAYS, LOCAL(want_loss) | LOCAL(want_grad) | LOCAL(weighted))           \
  DRIVER(name, grad_hess, ALWAYS, LOCAL(want_grad) | LOCAL(want_hess) | LOCAL(weighted))

#include "losses/binary.h"
#include "losses/regression.h"
#undef KERNELS
#undef EARLY

#define EARLY(...)
#define KERNELS(name, ...)                                                                         \
  {#name,                                                                                          \
   {KERNEL(name, run_sum), KERNEL(name, run_wsum), KERNEL(name, run_loss), KERNEL(name, run_grad), \
    KERNEL(name, run_sum_grad), KERNEL(name, run_loss_grad), KERNEL(name, run_grad_hess)}},
static const fl_pointwise KERNEL(pointwise, table)[] = {
#include "losses/binary.h"
#include "losses/regression.h"
};
#undef KERNELS
#undef EARLY
#undef AN_EXPONENTIAL
#undef AN_EXPM1
#undef UNLESS_WIDE
#undef LOSS
#undef LOSS_AFTER
#undef IS_RARE
#undef MARGIN_LOSS
#undef MARGIN_LOSS_AFTER
#undef SPECIAL_LOSS
#undef SPECIAL_LOSS_AFTER
#undef CHECK
#undef CHECK_UNIT
#undef CHECK_ABOVE_MINUS_ONE
#undef POSITIVE_PART
#undef ARGUMENTS
#undef PASS
#undef DRIVER
#undef REPLACES
#undef SHIFTED_INFINITY
#undef ALWAYS
#undef BY_WEIGHTS
