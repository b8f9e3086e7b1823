/* Row-wise losses, for one dtype and one instruction set. The steps are explained in fastloss.h.
 *
 * A vector holds either a class of FL_LANES rows (across: few classes, or classes that lie far
 * apart) or FL_LANES classes of a row (along). Both evaluate the same expressions and add up
 * classes in the same order, so results do not depend on which was taken: of up to FL_FOLD classes,
 * those FL_SUMS apart are added up one after the other, the FL_SUMS sums are folded, half onto
 * half, and the sums of such blocks are added as pairs (Knuth's TwoSum), so the error does not grow
 * with the number of classes. */

#define SIMD_INFINITE _Pragma("omp simd reduction(| : infinite)")
#define SIMD_COUNT _Pragma("omp simd reduction(+ : n)")
#define HAS_Y(kind) ((kind) == FL_DENSE || (kind) == FL_PLAIN)

#define PAIR_ADD(s, lo, x)                    \
  do {                                        \
    T x_ = (x), t_ = (s) + x_, b_ = t_ - (s); \
    lo += ((s) - (t_ - b_)) + (x_ - b_);      \
    s = t_;                                   \
  } while (0)

/* Adds x to the one of two sums that was not added to last. Where they are few registers they
 * change places, and stay there; else `turn` tells which it is. */
#define CHANGE_PLACES (FL_LANES * sizeof(T) <= 2 * VECTOR_BYTES)
#define ADD_IN_TURN(sums, turn, j, x)                           \
  do {                                                          \
    const T sum_ = (sums)[CHANGE_PLACES ? 0 : (turn)][j] + (x); \
    if (CHANGE_PLACES) (sums)[0][j] = (sums)[1][j];             \
    (sums)[CHANGE_PLACES ? 1 : (turn)][j] = sum_;               \
  } while (0)

/* An infinite or NaN sum has a meaningless low part. */
ALWAYS_INLINE T LOCAL(pair)(T s, T lo) {
  T total = s + lo;
  return total == total ? total : s;
}

/* A row of a tile along, and its FL_LANES classes from `first` on. */
typedef struct {
  T *body, *tail;
  ptrdiff_t whole;
} LOCAL(row);

ALWAYS_INLINE LOCAL(row) LOCAL(row_of)(const fl_tile *tile, const fl_rows *x, ptrdiff_t i) {
  return (LOCAL(row)){(T *)x->body + i * x->step, (T *)x->tail + i * x->tail_step, tile->whole};
}

ALWAYS_INLINE T *LOCAL(vector)(LOCAL(row) row, ptrdiff_t first) {
  return first < row.whole ? row.body + first : row.tail;
}

/* Asks for FL_LANES elements that lie `ahead` bytes of these, to be read or to be written: in the
 * next tile along, which may be none; across, as `ahead` of fl_rows says, since lines that lie far
 * apart no processor fetches of its own accord. */
ALWAYS_INLINE void LOCAL(prefetch)(const T *x, ptrdiff_t ahead) { ASK_FOR(FL_LANES, x, ahead, 2); }

/* Writes FL_LANES elements of a result, past the caches or not. */
ALWAYS_INLINE void LOCAL(put)(int past, T *to, const T *from) {
  const size_t part = 16 / sizeof(T), vector = VECTOR_BYTES / sizeof(T);
  if (!past)
    memcpy(to, from, FL_LANES * sizeof(T));
  else if ((uintptr_t)to % VECTOR_BYTES == 0)
    for (size_t i = 0; i < FL_LANES; i += vector) PUT_PAST(to + i, from + i);
  else
    for (size_t i = 0; i < FL_LANES; i += part) PUT_16_PAST(to + i, from + i);
}

/* Asks for what lies ahead of class k of FL_LANES rows. */
ALWAYS_INLINE void LOCAL(prefetch_ahead)(const fl_tile *tile, const fl_rows *x, ptrdiff_t k,
                                         ptrdiff_t from) {
  const ptrdiff_t at = x->in_rows ? from * tile->classes + k * FL_LANES : k * x->step + from;
  LOCAL(prefetch)((const T *)x->body + at, x->ahead);
}

ALWAYS_INLINE ptrdiff_t LOCAL(to_next_tile)(const fl_tile *tile, const fl_rows *x) {
  return tile->count * x->step * (ptrdiff_t)sizeof(T);
}

/* Where no maximum is looked for first, the next tile begins with arithmetic: its first rows are
 * asked for some time before. */
ALWAYS_INLINE ptrdiff_t LOCAL(into_next_tile)(const fl_tile *tile, const fl_rows *x) {
  const ptrdiff_t earlier = 1024; /* bytes */
  return LOCAL(to_next_tile)(tile, x) + earlier;
}

/* Across, where results are written class by class: more lines than these wait for each other. */
ALWAYS_INLINE ptrdiff_t LOCAL(to_classes_ahead)(const fl_rows *x) {
  return 4 * x->step * (ptrdiff_t)sizeof(T);
}

/* Adds up n > 0 rows of lanes in the first one: those FL_SUMS apart one after the other, then half
 * onto half, the first half being the largest power of two that is less than what is left. */
ALWAYS_INLINE void LOCAL(fold)(T (*x)[FL_LANES], ptrdiff_t n) {
  for (ptrdiff_t k = FL_SUMS; k < n; k++)
    SIMD for (int j = 0; j < FL_LANES; j++) x[k % FL_SUMS][j] += x[k][j];
  n = n < FL_SUMS ? n : FL_SUMS;
  const int bits = 8 * sizeof(long long) - __builtin_clzll(2 * (unsigned long long)n - 1);
  for (ptrdiff_t half = ((ptrdiff_t)1 << (bits - 1)) / 2; half > 0; half /= 2) {
    for (ptrdiff_t k = 0; k + half < n; k++)
      SIMD for (int j = 0; j < FL_LANES; j++) x[k][j] += x[k + half][j];
    n = half;
  }
}

/* Adds to pairs of the tile's rows what planes of sums fold to. */
ALWAYS_INLINE void LOCAL(add_planes)(const fl_tile *tile, ptrdiff_t n, const T *planes, void *sum_,
                                     void *sum_lo_) {
  for (ptrdiff_t from = 0; from < tile->rows; from += FL_LANES) {
    T *sum = (T *)sum_ + from, *sum_lo = (T *)sum_lo_ + from, terms[FL_SUMS][FL_LANES];
    for (ptrdiff_t k = 0; k < n; k++)
      memcpy(terms[k], planes + k * tile->rows + from, sizeof terms[k]);
    LOCAL(fold)(terms, n);
    SIMD for (int r = 0; r < FL_LANES; r++) PAIR_ADD(sum[r], sum_lo[r], terms[0][r]);
  }
}

/* Which of two sums the vector is added to that begins with this class. */
ALWAYS_INLINE size_t LOCAL(turn_of)(ptrdiff_t first) { return (size_t)first / FL_LANES % 2; }

/* Where the block of FL_FOLD classes ends that begins here, or what the tile has of it. */
ALWAYS_INLINE ptrdiff_t LOCAL(end_of_block)(const fl_tile *tile, ptrdiff_t first) {
  return tile->classes - first < FL_FOLD ? tile->classes : first + FL_FOLD;
}

/* Along a row vectors are added to two sums in turn. Those of a block are joined at its end, and
 * folded to a number later on, several rows at once, so that none waits for the other: adds to
 * pairs of the tile's rows what is left in the lanes of their blocks, the first block of each row,
 * the second one of each, and so on. */
ALWAYS_INLINE void LOCAL(add_lanes)(const fl_tile *tile, void *sum_, void *sum_lo_,
                                    T (*lanes)[FL_LANES]) {
  T *sum = (T *)sum_ + tile->row, *sum_lo = (T *)sum_lo_ + tile->row;
  for (ptrdiff_t first = 0; first < tile->classes; first += FL_FOLD, lanes += tile->count)
    for (ptrdiff_t i = 0; i < tile->count; i++)
      PAIR_ADD(sum[i], sum_lo[i], LOCAL(fold_lanes)(lanes[i]));
}

/* The largest of FL_LANES numbers. */
ALWAYS_INLINE T LOCAL(largest)(const T *x) {
  T pairs[8], quads[4];
  SIMD for (int k = 0; k < 8; k++) pairs[k] = x[k] > x[k + 8] ? x[k] : x[k + 8];
  SIMD for (int k = 0; k < 4; k++) quads[k] = pairs[k] > pairs[k + 4] ? pairs[k] : pairs[k + 4];
  const T even = quads[0] > quads[2] ? quads[0] : quads[2];
  const T odd = quads[1] > quads[3] ? quads[1] : quads[3];
  return even > odd ? even : odd;
}

/* What comparisons find is counted in integers, but for SSE2, which compares none of 64 bits. AVX2
 * does not convert those; n more than `unit` is the number after n others. */
#if VECTOR_BYTES == 16
#define COUNT T
ALWAYS_INLINE T LOCAL(number)(COUNT n) { return n; }
#else
#define COUNT I
ALWAYS_INLINE T LOCAL(number)(COUNT n) {
  const T unit = sizeof(T) == sizeof(float) ? 0x1p23 : 0x1p52;
  return FN(of_bits)(FN(bits)(unit) + n) - unit;
}
#endif

ALWAYS_INLINE T LOCAL(count)(const COUNT *lanes) {
  COUNT n = 0;
  SIMD_COUNT for (int j = 0; j < FL_LANES; j++) n += lanes[j];
  return (T)n;
}

/* Target of class k; `label` is that of the row. */
ALWAYS_INLINE T LOCAL(target)(int kind, T weight, T smoothing, T sharers, T y, I label, I k, T z) {
  if (kind == FL_PLAIN) return y;
  if (kind == FL_SPARSE) return label == k ? weight : 0;
  const T plain = kind == FL_DENSE ? y : label == k ? 1 : 0;
  return weight * (plain * (1 - smoothing) + (z == -INF ? 0 : smoothing / sharers));
}

/* Values outside their domain: beside scores, dense targets that are negative or infinite; beside
 * probabilities, targets and probabilities outside [0, 1]. The sign of a suspicion tells that a
 * value may be; then its tile is looked at closely. Where there is no step before the derivatives,
 * which may replace their arguments, every tile is. */
ALWAYS_INLINE I LOCAL(suspicion)(int kind, int scores, T y, T p) {
  if (scores) return HAS_Y(kind) ? SIGN_OF(y) | SIGN_OF(LARGEST - y) : 0;
  const I of_p = SIGN_OF(p) | SIGN_OF(1 - p);
  return HAS_Y(kind) ? of_p | SIGN_OF(y) | SIGN_OF(1 - y) : of_p;
}

ALWAYS_INLINE I LOCAL(outside)(int kind, int scores, T y, T p) {
  I flags = 0;
  if (HAS_Y(kind)) CHECK_TRUE(scores ? (y < 0) | (y == INF) : OUTSIDE_UNIT(y));
  if (!scores) CHECK_PRED(OUTSIDE_UNIT(p));
  return flags;
}

ALWAYS_INLINE I LOCAL(check_across)(int kind, int scores, const fl_tile *tile) {
  I flags = 0;
  for (ptrdiff_t k = 0; k < tile->classes; k++) {
    const T *z = (const T *)tile->z.body + k * tile->z.step;
    const T *y = HAS_Y(kind) ? (const T *)tile->y.body + k * tile->y.step : z;
    SIMD_FLAGS for (ptrdiff_t r = 0; r < tile->rows; r++) flags |=
        LOCAL(outside)(kind, scores, y[r], z[r]);
  }
  return flags;
}

ALWAYS_INLINE I LOCAL(check_along)(int kind, int scores, const fl_tile *tile) {
  I flags = 0;
  for (ptrdiff_t i = 0; i < tile->count; i++) {
    const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, i);
    const LOCAL(row) y_row = LOCAL(row_of)(tile, HAS_Y(kind) ? &tile->y : &tile->z, i);
    for (ptrdiff_t first = 0; first < tile->classes; first += FL_LANES) {
      const T *z = LOCAL(vector)(z_row, first), *y = LOCAL(vector)(y_row, first);
      SIMD_FLAGS for (int j = 0; j < FL_LANES; j++) flags |=
          LOCAL(outside)(kind, scores, y[j], z[j]);
    }
  }
  return flags;
}

static void LOCAL(begin)(fl_tile *tile) {
  T *max = tile->max, *tops = tile->tops, *sum = tile->sum, *sum_lo = tile->sum_lo;
  T *gap = tile->gap, *gap_lo = tile->gap_lo, *total = tile->total, *total_lo = tile->total_lo;
  T *sharers = tile->sharers, *own = tile->own;
  const T none = tile->smoothing == 0; /* the divisor of no share */
  SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
    max[r] = -INF;
    tops[r] = sum[r] = sum_lo[r] = gap[r] = gap_lo[r] = total[r] = total_lo[r] = own[r] = 0;
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

/* Largest score, and with smoothing into `sharers` the number of classes that are not masked. A
 * NaN is passed over here: it shows in the sum of the exponentials. Rows ahead are asked for later,
 * as this takes too little time for them to come. */
static void KERNEL(softmax, scan_across)(fl_tile *tile) {
  T *max = tile->max, *unmasked = tile->sharers;
  const T *planes = tile->z.body;
  const ptrdiff_t last = tile->classes - 1, step = tile->z.step;
  const ptrdiff_t ahead = tile->z.in_rows ? 0 : tile->z.ahead;
  for (ptrdiff_t k = 0; k <= last; k += 4) { /* four at once, or the last ones again */
    const T *a = planes + k * step, *b = planes + (k + 1 < last ? k + 1 : last) * step;
    const T *c = planes + (k + 2 < last ? k + 2 : last) * step;
    const T *d = planes + (k + 3 < last ? k + 3 : last) * step;
    for (ptrdiff_t r = 0; r < tile->rows; r += FL_LANES) {
      LOCAL(prefetch)(a + r, ahead), LOCAL(prefetch)(b + r, ahead);
      LOCAL(prefetch)(c + r, ahead), LOCAL(prefetch)(d + r, ahead);
      SIMD for (int j = 0; j < FL_LANES; j++) {
        T top = max[r + j];
        top = a[r + j] > top ? a[r + j] : top;
        top = b[r + j] > top ? b[r + j] : top;
        top = c[r + j] > top ? c[r + j] : top;
        max[r + j] = d[r + j] > top ? d[r + j] : top;
      }
    }
  }
  for (ptrdiff_t k = 0; k <= last && tile->smoothing != 0; k++) {
    const T *z = planes + k * step;
    SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) unmasked[r] += z[r] == -INF ? 0 : 1;
  }
}

static void KERNEL(softmax, scan_along)(fl_tile *tile) {
  T *max = (T *)tile->max + tile->row, *unmasked = (T *)tile->sharers + tile->row;
  T tops[FL_ALONG_ROWS][FL_LANES];
  for (ptrdiff_t i = 0; i < tile->count; i++) {
    const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, i);
    T top[FL_LANES];
    SIMD for (int j = 0; j < FL_LANES; j++) top[j] = max[i];
    for (const T *z = z_row.body; z < z_row.body + tile->whole; z += FL_LANES)
      SIMD for (int j = 0; j < FL_LANES; j++) top[j] = z[j] > top[j] ? z[j] : top[j];
    const T *tail = tile->whole < tile->classes ? z_row.tail : z_row.body;
    SIMD for (int j = 0; j < FL_LANES; j++) tops[i][j] = tail[j] > top[j] ? tail[j] : top[j];
  }
  for (ptrdiff_t i = 0; i < tile->count; i++) max[i] = LOCAL(largest)(tops[i]);
  if (tile->smoothing == 0) return;
  for (ptrdiff_t i = 0; i < tile->count; i++) {
    const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, i);
    T counts[FL_LANES] = {0};
    for (ptrdiff_t first = 0; first < tile->classes; first += FL_LANES) {
      const T *z = LOCAL(vector)(z_row, first);
      SIMD for (int j = 0; j < FL_LANES; j++) counts[j] += z[j] == -INF ? 0 : 1;
    }
    unmasked[i] += LOCAL(fold_lanes)(counts);
  }
}

static NOT_INLINE I KERNEL(softmax, check_across)(const fl_tile *tile) {
  return LOCAL(check_across)(FL_DENSE, 1, tile);
}

static NOT_INLINE I KERNEL(softmax, check_along)(const fl_tile *tile) {
  return LOCAL(check_along)(FL_DENSE, 1, tile);
}

/* What exponentials are formed of. Where a score is infinite, infinity - infinity would be NaN. */
ALWAYS_INLINE T KERNEL(softmax, exponent)(int infinite, T z, T max) {
  return infinite && z == max ? 0 : z - max;
}

/* Exponentials of FL_LANES scores of as many rows, and of one row. */
ALWAYS_INLINE void KERNEL(softmax, exponentials)(int infinite, const T *z, const T *max, T *e) {
  EXP_OF_LANES(e, r, KERNEL(softmax, exponent)(infinite, z[r], max[r]));
}

ALWAYS_INLINE void KERNEL(softmax, exponentials_in_row)(int infinite, const T *z, T max, T *e) {
  EXP_OF_LANES(e, j, KERNEL(softmax, exponent)(infinite, z[j], max));
}

static void KERNEL(softmax, again_along)(fl_tile *tile) {
  for (ptrdiff_t i = 0; i < tile->count; i++) {
    const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, i);
    const T max = ((const T *)tile->max)[tile->row + i];
    T *row = (T *)tile->e + i * tile->e_step;
    for (ptrdiff_t first = 0; first < tile->classes; first += FL_LANES)
      KERNEL(softmax, exponentials_in_row)(1, LOCAL(vector)(z_row, first), max, row + first);
  }
}

ALWAYS_INLINE T KERNEL(softmax, term)(int infinite, T t, T z, T max) {
  const T distance = infinite && z == max ? 0 : max - z;
  return t == 0 ? 0 : t * distance;
}

/* The place in the tile of a row's label; where it is in none, the first, and not `inside`. */
ALWAYS_INLINE ptrdiff_t LOCAL(place_of)(const fl_tile *tile, ptrdiff_t row, int *inside) {
  const ptrdiff_t k = ((const I *)tile->label)[row] - tile->first;
  *inside = (size_t)k < (size_t)tile->classes;
  return *inside ? k : 0;
}

/* Of a sparse target only one class has a term. Its score, exponential and weight, for n rows;
 * the last two are 0 where it is in another tile. */
ALWAYS_INLINE void KERNEL(softmax, sparse_terms)(fl_tile *tile, ptrdiff_t row, ptrdiff_t n,
                                                 const T *z, const T *e, const T *weight) {
  const T *max = (const T *)tile->max + row;
  T *gap = (T *)tile->gap + row, *total = (T *)tile->total + row, *own = (T *)tile->own + row;
  SIMD for (ptrdiff_t i = 0; i < n; i++) {
    gap[i] += KERNEL(softmax, term)(1, weight[i], z[i], max[i]);
    total[i] += weight[i];
    own[i] += e[i];
  }
}

/* Where FL_LANES rows are one vector, comparing their labels with every class takes less time than
 * forming addresses for each. In bits, of which compilers make no branches. */
ALWAYS_INLINE void KERNEL(softmax, own_scores)(const fl_tile *tile, T *z) {
  for (ptrdiff_t from = 0; from < tile->rows; from += FL_LANES) {
    const T *scores = (const T *)tile->z.body + from;
    I label[FL_LANES], bits[FL_LANES] = {0};
    SIMD for (int r = 0; r < FL_LANES; r++) label[r] = ((const I *)tile->label)[from + r];
    const I first = (I)tile->first, stop = first + (I)tile->classes;
    for (I k = first; k < stop; k++, scores += tile->z.step) {
      SIMD for (int r = 0; r < FL_LANES; r++) bits[r] |=
          (I)FN(bits)(scores[r]) & -(I)(label[r] == k);
    }
    memcpy(z + from, bits, sizeof bits);
  }
}

ALWAYS_INLINE void KERNEL(softmax, sparse_across)(int kept, fl_tile *tile) {
  const T *planes = tile->z.body, *exponentials = tile->e, *class_weight = tile->class_weight;
  const T *max = tile->max;
  const int compares = VECTOR_BYTES >= FL_LANES * sizeof(T) && tile->all_classes <= FL_LANES &&
                       !tile->weighs_classes;
  T z[FL_MAX_ROWS], e[FL_MAX_ROWS], weight[FL_MAX_ROWS];
  I inside[FL_MAX_ROWS];
  if (compares) {
    const I *label = tile->label, first = (I)tile->first,
            last = (I)(tile->first + tile->classes - 1);
    KERNEL(softmax, own_scores)(tile, z);
    SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
      inside[r] = (label[r] >= first) & (label[r] <= last);
      weight[r] = inside[r] ? 1 : 0;
    }
  }
  for (ptrdiff_t r = 0; r < tile->rows && !compares; r++) {
    int here;
    const ptrdiff_t k = LOCAL(place_of)(tile, r, &here);
    z[r] = planes[k * tile->z.step + r];
    inside[r] = here;
    weight[r] = here ? class_weight[k] : 0;
    const T own = kept ? exponentials[k * tile->rows + r] : 0;
    e[r] = here ? own : 0;
  }
  for (ptrdiff_t from = 0; from < tile->rows && (!kept || compares); from += FL_LANES) {
    T own[FL_LANES];
    KERNEL(softmax, exponentials)(1, z + from, max + from, own);
    SIMD for (int r = 0; r < FL_LANES; r++) e[from + r] = inside[from + r] ? own[r] : 0;
  }
  KERNEL(softmax, sparse_terms)(tile, 0, tile->rows, z, e, weight);
}

ALWAYS_INLINE void KERNEL(softmax, sparse_along)(fl_tile *tile) {
  T z[FL_ALONG_ROWS], e[FL_ALONG_ROWS], weight[FL_ALONG_ROWS];
  for (ptrdiff_t i = 0; i < tile->count; i++) {
    int inside;
    const ptrdiff_t k = LOCAL(place_of)(tile, tile->row + i, &inside), in_vector = k % FL_LANES;
    z[i] = LOCAL(vector)(LOCAL(row_of)(tile, &tile->z, i), k - in_vector)[in_vector];
    e[i] = inside ? ((const T *)tile->e)[i * tile->e_step + k] : 0;
    weight[i] = inside ? ((const T *)tile->class_weight)[k] : 0;
  }
  KERNEL(softmax, sparse_terms)(tile, tile->row, tile->count, z, e, weight);
}

/* An exponential as a term. Under a mask a select takes longer than a subtraction, else less. */
#define BUT_FOR_TOP(is_top, e) (VECTOR_BYTES == 64 ? (e) - ((is_top) ? 1 : 0) : (is_top) ? 0 : (e))

/* Exponentials of FL_LANES rows, those less than 1 also as terms, and the number of others: tops.
 */
ALWAYS_INLINE void KERNEL(softmax, exponentials_across)(int infinite, const fl_tile *tile,
                                                        ptrdiff_t from, T (*terms)[FL_LANES],
                                                        T *tops) {
  T max[FL_LANES], exponential[FL_LANES];
  COUNT found[FL_LANES];
  const T *z = (const T *)tile->z.body + from;
  T *e = (T *)tile->e + from;
  SIMD for (int r = 0; r < FL_LANES; r++) {
    max[r] = ((const T *)tile->max)[from + r];
    found[r] = 0;
  }
  ASSUME(tile->classes > 0);
  for (ptrdiff_t k = 0; k < tile->classes; k++, z += tile->z.step, e += tile->rows) {
    LOCAL(prefetch_ahead)(tile, &tile->z, k, from);
    KERNEL(softmax, exponentials)(infinite, z, max, exponential);
    SIMD for (int r = 0; r < FL_LANES; r++) {
      const int is_top = z[r] == max[r];
      e[r] = exponential[r];
      found[r] += is_top ? 1 : 0;
      terms[k][r] = BUT_FOR_TOP(is_top, exponential[r]);
    }
  }
  SIMD for (int r = 0; r < FL_LANES; r++) tops[r] += LOCAL(number)(found[r]);
}

/* The same for a vector of a row. */
ALWAYS_INLINE void KERNEL(softmax, exponentials_of)(int infinite, size_t turn, const T *z, T max,
                                                    T *e, T (*sums)[FL_LANES], COUNT *tops) {
  T exponential[FL_LANES];
  KERNEL(softmax, exponentials_in_row)(infinite, z, max, exponential);
  SIMD for (int j = 0; j < FL_LANES; j++) {
    const int is_top = z[j] == max;
    e[j] = exponential[j];
    tops[j] += is_top ? 1 : 0;
    ADD_IN_TURN(sums, turn, j, BUT_FOR_TOP(is_top, exponential[j]));
  }
}

/* The same for a block of a row: sums of terms, and lanes of tops. */
ALWAYS_INLINE void KERNEL(softmax, exponentials_along)(int infinite, const fl_tile *tile,
                                                       ptrdiff_t i, ptrdiff_t block, COUNT *tops,
                                                       T *lanes) {
  const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, i);
  const T max = ((const T *)tile->max)[tile->row + i];
  const ptrdiff_t stop = LOCAL(end_of_block)(tile, block);
  T *e = (T *)tile->e + i * tile->e_step, sums[2][FL_LANES];
  COUNT found[FL_LANES];
  SIMD for (int j = 0; j < FL_LANES; j++) sums[0][j] = sums[1][j] = 0, found[j] = tops[j];
  ASSUME(block < stop);
  for (ptrdiff_t first = block; first < stop; first += FL_LANES) {
    const T *z = LOCAL(vector)(z_row, first);
    LOCAL(prefetch)(z_row.body + first, LOCAL(to_next_tile)(tile, &tile->z));
    KERNEL(softmax, exponentials_of)(infinite, LOCAL(turn_of)(first), z, max, e + first, sums,
                                     found);
  }
  SIMD for (int j = 0; j < FL_LANES; j++) lanes[j] = sums[0][j] + sums[1][j], tops[j] = found[j];
}

/* Terms and targets of a vector of a row. */
ALWAYS_INLINE void KERNEL(softmax, targets_of)(int infinite, int kind, const fl_tile *tile,
                                               ptrdiff_t row, ptrdiff_t first, const T *z,
                                               const T *y, I *seen, T (*gaps)[FL_LANES],
                                               T (*totals)[FL_LANES]) {
  const T max = ((const T *)tile->max)[row], sharers = ((const T *)tile->sharers)[row];
  const T *weight = (const T *)tile->class_weight + first, smoothing = (T)tile->smoothing;
  const I label = ((const I *)tile->label)[row], class = (I)(tile->first + first);
  const size_t turn = LOCAL(turn_of)(first);
  SIMD for (int j = 0; j < FL_LANES; j++) {
    const T yj = HAS_Y(kind) ? y[j] : 0;
    seen[j] |= LOCAL(suspicion)(kind, 1, yj, 0);
    const T t = LOCAL(target)(kind, weight[j], smoothing, sharers, yj, label, class + j, z[j]);
    ADD_IN_TURN(gaps, turn, j, KERNEL(softmax, term)(infinite, t, z[j], max));
    ADD_IN_TURN(totals, turn, j, t);
  }
}

/* The same for a block of a row: lanes of their sums. */
ALWAYS_INLINE void KERNEL(softmax, terms_along)(int infinite, int kind, const fl_tile *tile,
                                                ptrdiff_t i, ptrdiff_t block, I *seen_, T *terms,
                                                T *targets) {
  const ptrdiff_t row = tile->row + i, stop = LOCAL(end_of_block)(tile, block);
  const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, i);
  const LOCAL(row) y_row = LOCAL(row_of)(tile, HAS_Y(kind) ? &tile->y : &tile->z, i);
  T gaps[2][FL_LANES], totals[2][FL_LANES];
  I seen[FL_LANES];
  SIMD for (int j = 0; j < FL_LANES; j++) gaps[0][j] = gaps[1][j] = totals[0][j] = totals[1][j] = 0,
                                          seen[j] = seen_[j];
  ASSUME(block < stop);
  for (ptrdiff_t first = block; first < stop; first += FL_LANES) {
    const T *z = LOCAL(vector)(z_row, first), *y = LOCAL(vector)(y_row, first);
    if (HAS_Y(kind)) LOCAL(prefetch)(y_row.body + first, LOCAL(to_next_tile)(tile, &tile->y));
    KERNEL(softmax, targets_of)(infinite, kind, tile, row, first, z, y, seen, gaps, totals);
  }
  SIMD for (int j = 0; j < FL_LANES; j++) terms[j] = gaps[0][j] + gaps[1][j],
                                          targets[j] = totals[0][j] + totals[1][j],
                                          seen_[j] = seen[j];
}

/* The same, whatever the row's maximum is. */
ALWAYS_INLINE void KERNEL(softmax, terms_of_row)(int kind, const fl_tile *tile, ptrdiff_t i,
                                                 ptrdiff_t block, I *seen, T *terms, T *targets) {
  if (((const T *)tile->max)[tile->row + i] == INF)
    KERNEL(softmax, terms_along)(1, kind, tile, i, block, seen, terms, targets);
  else
    KERNEL(softmax, terms_along)(0, kind, tile, i, block, seen, terms, targets);
}

/* Terms and targets of class k of FL_LANES rows. */
ALWAYS_INLINE void KERNEL(softmax, targets_across)(int kind, const fl_tile *tile, ptrdiff_t k,
                                                   ptrdiff_t from, I *seen, T *terms, T *targets) {
  const T *max = (const T *)tile->max + from, *sharers = (const T *)tile->sharers + from;
  const T *z = (const T *)tile->z.body + k * tile->z.step + from;
  const T *y = HAS_Y(kind) ? (const T *)tile->y.body + k * tile->y.step + from : NULL;
  const T weight = ((const T *)tile->class_weight)[k], smoothing = (T)tile->smoothing;
  const I *label = (const I *)tile->label + from, class = (I)(tile->first + k);
  if (HAS_Y(kind)) LOCAL(prefetch_ahead)(tile, &tile->y, k, from);
  SIMD for (int r = 0; r < FL_LANES; r++) {
    const T yk = HAS_Y(kind) ? y[r] : 0;
    seen[r] |= LOCAL(suspicion)(kind, 1, yk, 0);
    const T t = LOCAL(target)(kind, weight, smoothing, sharers[r], yk, label[r], class, z[r]);
    terms[r] = KERNEL(softmax, term)(1, t, z[r], max[r]);
    targets[r] = t;
  }
}

/* Planes that come from the memory: class by class, as they lie in it, with exponentials that are
 * formed anew whenever they are needed. Those that are added up one after the other are taken at
 * once, so that only FL_SUMS sums have to stay in the first cache. */

/* Sums of the exponentials as terms, and the number of tops, of FL_LANES rows: of n planes that are
 * FL_SUMS apart. */
ALWAYS_INLINE void KERNEL(softmax, sums_of_lanes)(int infinite, const fl_tile *tile, ptrdiff_t from,
                                                  ptrdiff_t n, const T *z, T *sums) {
  T *tops = (T *)tile->tops + from, max[FL_LANES], sum[FL_LANES], found[FL_LANES], e[FL_LANES];
  SIMD for (int r = 0; r < FL_LANES; r++) {
    max[r] = ((const T *)tile->max)[from + r];
    found[r] = tops[r];
    sum[r] = 0;
  }
  for (ptrdiff_t k = 0; k < n; k++, z += FL_SUMS * tile->z.step) {
    LOCAL(prefetch)(z, tile->z.ahead);
    KERNEL(softmax, exponentials)(infinite, z, max, e);
    SIMD for (int r = 0; r < FL_LANES; r++) {
      const T top = z[r] == max[r] ? 1 : 0;
      found[r] += top;
      sum[r] += e[r] - top;
    }
  }
  SIMD for (int r = 0; r < FL_LANES; r++) tops[r] = found[r], sums[r] = sum[r];
}

/* The same for all rows, from plane `first` on. */
static NOT_INLINE void KERNEL(softmax, sums_of_planes)(int infinite, const fl_tile *tile,
                                                       ptrdiff_t first, ptrdiff_t n, T *sums) {
  for (ptrdiff_t from = 0; from < tile->rows; from += FL_LANES) {
    const T *z = (const T *)tile->z.body + first * tile->z.step + from;
    if (infinite)
      KERNEL(softmax, sums_of_lanes)(1, tile, from, n, z, sums + from);
    else
      KERNEL(softmax, sums_of_lanes)(0, tile, from, n, z, sums + from);
  }
}

ALWAYS_INLINE void KERNEL(softmax, accumulate_planes)(int kind, fl_tile *tile) {
  const ptrdiff_t rows = tile->rows;
  const ptrdiff_t width = tile->classes < FL_SUMS ? tile->classes : FL_SUMS;
  const T *max = tile->max;
  T *sums = tile->e, *gaps = sums + FL_SUMS * rows, *totals = gaps + FL_SUMS * rows;
  I seen[FL_LANES] = {0}, infinite = 0;
  SIMD_INFINITE for (ptrdiff_t r = 0; r < rows; r++) infinite |= max[r] == INF;
  for (ptrdiff_t first = 0; first < width; first++) {
    const ptrdiff_t n = (tile->classes - first + FL_SUMS - 1) / FL_SUMS;
    KERNEL(softmax, sums_of_planes)(infinite, tile, first, n, sums + first * rows);
    for (ptrdiff_t from = 0; from < rows && kind != FL_SPARSE; from += FL_LANES) {
      T gap[FL_LANES] = {0}, total[FL_LANES] = {0}, term[FL_LANES], target[FL_LANES];
      for (ptrdiff_t i = 0; i < n; i++) {
        KERNEL(softmax, targets_across)(kind, tile, first + i * FL_SUMS, from, seen, term, target);
        SIMD for (int r = 0; r < FL_LANES; r++) gap[r] += term[r], total[r] += target[r];
      }
      memcpy(gaps + first * rows + from, gap, sizeof gap);
      memcpy(totals + first * rows + from, total, sizeof total);
    }
  }
  LOCAL(add_planes)(tile, width, sums, tile->sum, tile->sum_lo);
  if (kind == FL_SPARSE) {
    KERNEL(softmax, sparse_across)(0, tile);
  } else {
    LOCAL(add_planes)(tile, width, gaps, tile->gap, tile->gap_lo);
    LOCAL(add_planes)(tile, width, totals, tile->total, tile->total_lo);
  }
  if (LOCAL(any)(seen) < 0) tile->flags |= KERNEL(softmax, check_across)(tile);
}

ALWAYS_INLINE void KERNEL(softmax, accumulate_across)(int kind, fl_tile *tile) {
  I seen[FL_LANES] = {0};
  for (ptrdiff_t from = 0; from < tile->rows; from += FL_LANES) {
    const T *max = (const T *)tile->max + from;
    T *tops = (T *)tile->tops + from, *sum = (T *)tile->sum + from;
    T *sum_lo = (T *)tile->sum_lo + from;
    T terms[FL_FOLD][FL_LANES], top[FL_LANES];
    I infinite = 0;
    SIMD_INFINITE for (int r = 0; r < FL_LANES; r++) {
      top[r] = tops[r];
      infinite |= max[r] == INF;
    }
    if (infinite)
      KERNEL(softmax, exponentials_across)(1, tile, from, terms, top);
    else
      KERNEL(softmax, exponentials_across)(0, tile, from, terms, top);
    LOCAL(fold)(terms, tile->classes);
    SIMD for (int r = 0; r < FL_LANES; r++) {
      tops[r] = top[r];
      PAIR_ADD(sum[r], sum_lo[r], terms[0][r]);
    }
    if (kind == FL_SPARSE) continue;
    T *gap = (T *)tile->gap + from, *gap_lo = (T *)tile->gap_lo + from;
    T *total = (T *)tile->total + from, *total_lo = (T *)tile->total_lo + from;
    T targets[FL_FOLD][FL_LANES];
    for (ptrdiff_t k = 0; k < tile->classes; k++)
      KERNEL(softmax, targets_across)(kind, tile, k, from, seen, terms[k], targets[k]);
    LOCAL(fold)(terms, tile->classes);
    LOCAL(fold)(targets, tile->classes);
    SIMD for (int r = 0; r < FL_LANES; r++) {
      PAIR_ADD(gap[r], gap_lo[r], terms[0][r]);
      PAIR_ADD(total[r], total_lo[r], targets[0][r]);
    }
  }
  if (kind == FL_SPARSE) KERNEL(softmax, sparse_across)(1, tile);
  if (LOCAL(any)(seen) < 0) tile->flags |= KERNEL(softmax, check_across)(tile);
}

ALWAYS_INLINE void KERNEL(softmax, accumulate_along)(int kind, fl_tile *tile) {
  T lanes[FL_ALONG_BLOCKS][FL_LANES], terms[FL_ALONG_BLOCKS][FL_LANES];
  T targets[FL_ALONG_BLOCKS][FL_LANES], *all_tops = (T *)tile->tops + tile->row;
  COUNT tops[FL_ALONG_ROWS][FL_LANES];
  I seen[FL_LANES] = {0};
  const T *max = (const T *)tile->max + tile->row;
  /* Targets are asked for as fast as they are added up: of a row at a time, if there are registers
   * for the constants of both loops. */
  const int row_by_row = VECTOR_BYTES == 64;
  for (ptrdiff_t i = 0; i < tile->count; i++)
    SIMD for (int j = 0; j < FL_LANES; j++) tops[i][j] = 0;
  for (ptrdiff_t block = 0, at = 0; block < tile->classes; block += FL_FOLD, at += tile->count) {
    for (ptrdiff_t i = 0; i < tile->count; i++) {
      if (max[i] == INF)
        KERNEL(softmax, exponentials_along)(1, tile, i, block, tops[i], lanes[at + i]);
      else
        KERNEL(softmax, exponentials_along)(0, tile, i, block, tops[i], lanes[at + i]);
      if (kind != FL_SPARSE && row_by_row)
        KERNEL(softmax, terms_of_row)(kind, tile, i, block, seen, terms[at + i], targets[at + i]);
    }
    for (ptrdiff_t i = 0; i < tile->count && kind != FL_SPARSE && !row_by_row; i++)
      KERNEL(softmax, terms_of_row)(kind, tile, i, block, seen, terms[at + i], targets[at + i]);
  }
  for (ptrdiff_t i = 0; i < tile->count; i++) all_tops[i] += LOCAL(count)(tops[i]);
  LOCAL(add_lanes)(tile, tile->sum, tile->sum_lo, lanes);
  if (kind == FL_SPARSE) {
    KERNEL(softmax, sparse_along)(tile);
  } else {
    LOCAL(add_lanes)(tile, tile->gap, tile->gap_lo, terms);
    LOCAL(add_lanes)(tile, tile->total, tile->total_lo, targets);
  }
  if (LOCAL(any)(seen) < 0) tile->flags |= KERNEL(softmax, check_along)(tile);
}

/* Turns `sum` into S and `total` into a plain number, and forms what the derivatives need of a
 * row. A row of only -inf has no softmax. */
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
    const T l = LOCAL(pair)(gap[r], gap_lo[r]) + t * LOG_SUM_NORMAL(S, 1);
    loss[r] = label[r] == FL_IGNORED ? 0 : w[r] * l;
    sum[r] = S;
    total[r] = t;
  }
  if (!tile->wants_grad) return;
  SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
    inverse[r] = 1 / (1 + sum[r]);
    rate[r] = w[r] * factor;
  }
}

/* 1 - s of a class whose exponential is e */
ALWAYS_INLINE T KERNEL(softmax, rest)(T e, T S, T inverse) {
  return (e == 1 ? S : 1 + S - e) * inverse;
}

ALWAYS_INLINE T KERNEL(softmax, hessian)(T e, T S, T inverse, T total) {
  return total * (e * inverse) * KERNEL(softmax, rest)(e, S, inverse);
}

/* The select leaves only one of the products to be contracted with the difference, so the same one
 * wherever this is inlined. */
ALWAYS_INLINE T KERNEL(softmax, gradient)(T t, T e, T S, T inverse, T total) {
  const T own = t == 0 ? 0 : t * KERNEL(softmax, rest)(e, S, inverse);
  return (total - t) * (e * inverse) - own;
}

/* Derivatives of class k of FL_LANES rows, whose exponentials are e. Sparse targets make of them
 * `self` for the label's class, and `others` times e. */
ALWAYS_INLINE void KERNEL(softmax, derivatives)(int kind, const fl_tile *tile, ptrdiff_t k,
                                                ptrdiff_t from, const T *e, const T *others,
                                                const T *self) {
  const T *sum = (const T *)tile->sum + from, *total = (const T *)tile->total + from;
  const T *inverse = (const T *)tile->inverse + from, *rate = (const T *)tile->rate + from;
  const T *sharers = (const T *)tile->sharers + from, smoothing = (T)tile->smoothing;
  const T *z = (const T *)tile->z.body + k * tile->z.step + from;
  const T *y = HAS_Y(kind) ? (const T *)tile->y.body + k * tile->y.step + from : NULL;
  const T weight = ((const T *)tile->class_weight)[k];
  const I *label = (const I *)tile->label + from, class = (I)(tile->first + k);
  T out[FL_LANES];
  SIMD for (int r = 0; r < FL_LANES; r++) {
    const T t = kind == FL_SPARSE ? 0
                                  : LOCAL(target)(kind, weight, smoothing, sharers[r],
                                                  HAS_Y(kind) ? y[r] : 0, label[r], class, z[r]);
    const T g = kind == FL_SPARSE
                    ? (label[r] == class ? self[r] : others[r] * e[r])
                    : KERNEL(softmax, gradient)(t, e[r], sum[r], inverse[r], total[r]);
    out[r] = label[r] == FL_IGNORED ? 0 : rate[r] * g;
  }
  LOCAL(put)(tile->grad.past, (T *)tile->grad.body + k * tile->grad.step + from, out);
  if (!tile->wants_hess) return;
  SIMD for (int r = 0; r < FL_LANES; r++) {
    const T h = KERNEL(softmax, hessian)(e[r], sum[r], inverse[r], total[r]);
    out[r] = label[r] == FL_IGNORED ? 0 : rate[r] * h;
  }
  LOCAL(put)(tile->hess.past, (T *)tile->hess.body + k * tile->hess.step + from, out);
}

ALWAYS_INLINE void KERNEL(softmax, derive_planes)(int kind, fl_tile *tile) {
  const T *max = tile->max, *sum = tile->sum, *total = tile->total, *inverse = tile->inverse;
  const T *own = tile->own;
  T others[FL_MAX_ROWS], self[FL_MAX_ROWS];
  SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
    others[r] = total[r] * inverse[r];
    self[r] = KERNEL(softmax, gradient)(total[r], own[r], sum[r], inverse[r], total[r]);
  }
  for (ptrdiff_t k = 0; k < tile->classes; k++) {
    const T *z = (const T *)tile->z.body + k * tile->z.step;
    const T *y = HAS_Y(kind) ? (const T *)tile->y.body + k * tile->y.step : NULL;
    const T *grad = (const T *)tile->grad.body + k * tile->grad.step;
    for (ptrdiff_t from = 0; from < tile->rows; from += FL_LANES) {
      LOCAL(prefetch)(z + from, LOCAL(to_classes_ahead)(&tile->z));
      if (HAS_Y(kind)) LOCAL(prefetch)(y + from, LOCAL(to_classes_ahead)(&tile->y));
      if (!tile->grad.past) LOCAL(prefetch)(grad + from, LOCAL(to_classes_ahead)(&tile->grad));
      T e[FL_LANES];
      KERNEL(softmax, exponentials)(1, z + from, max + from, e);
      KERNEL(softmax, derivatives)(kind, tile, k, from, e, others + from, self + from);
    }
  }
}

ALWAYS_INLINE void KERNEL(softmax, derive_across)(int kind, fl_tile *tile) {
  const T smoothing = (T)tile->smoothing;
  for (ptrdiff_t from = 0; from < tile->rows; from += FL_LANES) {
    const T *sum = (const T *)tile->sum + from, *total = (const T *)tile->total + from;
    const T *inverse = (const T *)tile->inverse + from, *rate = (const T *)tile->rate + from;
    const T *sharers = (const T *)tile->sharers + from, *own = (const T *)tile->own + from;
    const I *label = (const I *)tile->label + from;
    T others[FL_LANES], self[FL_LANES];
    SIMD for (int r = 0; r < FL_LANES; r++) {
      others[r] = total[r] * inverse[r];
      self[r] = KERNEL(softmax, gradient)(total[r], own[r], sum[r], inverse[r], total[r]);
    }
    for (ptrdiff_t k = 0; k < tile->classes; k++) {
      const T *e = (const T *)tile->e + k * tile->rows + from;
      const T *z = (const T *)tile->z.body + k * tile->z.step + from;
      const T *y = HAS_Y(kind) ? (const T *)tile->y.body + k * tile->y.step + from : NULL;
      const T weight = ((const T *)tile->class_weight)[k];
      const I class = (I)(tile->first + k);
      T *grad = (T *)tile->grad.body + k * tile->grad.step + from;
      LOCAL(prefetch)(grad, tile->grad.ahead);
      T *hess = (T *)tile->hess.body + k * tile->hess.step + from;
      SIMD for (int r = 0; r < FL_LANES; r++) {
        const T t = kind == FL_SPARSE
                        ? 0
                        : LOCAL(target)(kind, weight, smoothing, sharers[r], HAS_Y(kind) ? y[r] : 0,
                                        label[r], class, z[r]);
        const T g = kind == FL_SPARSE
                        ? (label[r] == class ? self[r] : others[r] * e[r])
                        : KERNEL(softmax, gradient)(t, e[r], sum[r], inverse[r], total[r]);
        grad[r] = label[r] == FL_IGNORED ? 0 : rate[r] * g;
      }
      if (!tile->wants_hess) continue;
      SIMD for (int r = 0; r < FL_LANES; r++) {
        const T h = KERNEL(softmax, hessian)(e[r], sum[r], inverse[r], total[r]);
        hess[r] = label[r] == FL_IGNORED ? 0 : rate[r] * h;
      }
    }
  }
}

ALWAYS_INLINE void KERNEL(softmax, derive_along)(int kind, fl_tile *tile) {
  const T smoothing = (T)tile->smoothing;
  for (ptrdiff_t i = 0; i < tile->count; i++) {
    const ptrdiff_t row = tile->row + i;
    const T sum = ((const T *)tile->sum)[row], total = ((const T *)tile->total)[row];
    const T inverse = ((const T *)tile->inverse)[row], rate = ((const T *)tile->rate)[row];
    const T sharers = ((const T *)tile->sharers)[row], others = total * inverse;
    const I label = ((const I *)tile->label)[row];
    const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, i);
    const LOCAL(row) y_row = LOCAL(row_of)(tile, HAS_Y(kind) ? &tile->y : &tile->z, i);
    const LOCAL(row) grad_row = LOCAL(row_of)(tile, &tile->grad, i);
    const LOCAL(row) hess_row =
        LOCAL(row_of)(tile, tile->wants_hess ? &tile->hess : &tile->grad, i);
    for (ptrdiff_t first = 0; first < tile->classes; first += FL_LANES) {
      const T *z = LOCAL(vector)(z_row, first);
      const T *y = LOCAL(vector)(y_row, first);
      const T *weight = (const T *)tile->class_weight + first;
      const T *e = (const T *)tile->e + i * tile->e_step + first;
      const I class = (I)(tile->first + first);
      T *grad = LOCAL(vector)(grad_row, first);
      LOCAL(prefetch)(grad_row.body + first, FL_ROWS_AHEAD);
      SIMD for (int j = 0; j < FL_LANES; j++) {
        const T t = kind == FL_SPARSE
                        ? 0
                        : LOCAL(target)(kind, weight[j], smoothing, sharers, HAS_Y(kind) ? y[j] : 0,
                                        label, class + j, z[j]);
        const T g = kind == FL_SPARSE ? others * e[j]
                                      : KERNEL(softmax, gradient)(t, e[j], sum, inverse, total);
        grad[j] = rate * g;
      }
      if (!tile->wants_hess) continue;
      T *hess = LOCAL(vector)(hess_row, first);
      SIMD for (int j = 0; j < FL_LANES; j++) {
        hess[j] = rate * KERNEL(softmax, hessian)(e[j], sum, inverse, total);
      }
    }
    if (kind != FL_SPARSE) continue;
    int inside;
    const ptrdiff_t k = LOCAL(place_of)(tile, row, &inside), in_vector = k % FL_LANES;
    const T own = ((const T *)tile->own)[row];
    if (inside)
      LOCAL(vector)(grad_row, k - in_vector)[in_vector] =
          rate * KERNEL(softmax, gradient)(total, own, sum, inverse, total);
  }
}

/* ---- sums of terms ---- */

/* Probabilities have no masks: all classes share in the smoothing. */
static void LOCAL(begin_terms)(fl_tile *tile) {
  T *sharers = tile->sharers, *gap = tile->gap, *gap_lo = tile->gap_lo;
  const T all = (T)tile->all_classes;
  SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {
    gap[r] = gap_lo[r] = 0;
    sharers[r] = all;
  }
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
#define STEPS(name, target, kind)             \
  STEP(name, accumulate_across, target, kind) \
  STEP(name, derive_across, target, kind)     \
  STEP(name, accumulate_along, target, kind)  \
  STEP(name, derive_along, target, kind)

#define STEPS_OF(name, target, kind)                                       \
  .accumulate[FL_ACROSS][kind] = KERNEL(name, accumulate_across_##target), \
  .derive[FL_ACROSS][kind] = KERNEL(name, derive_across_##target),         \
  .accumulate[FL_ALONG][kind] = KERNEL(name, accumulate_along_##target),   \
  .derive[FL_ALONG][kind] = KERNEL(name, derive_along_##target)

#define SOFTMAX_STEPS(target, kind)              \
  STEPS(softmax, target, kind)                   \
  STEP(softmax, accumulate_planes, target, kind) \
  STEP(softmax, derive_planes, target, kind)
#define SOFTMAX_STEPS_OF(target, kind)                                            \
  STEPS_OF(softmax, target, kind),                                                \
      .accumulate[FL_PLANES][kind] = KERNEL(softmax, accumulate_planes_##target), \
      .derive[FL_PLANES][kind] = KERNEL(softmax, derive_planes_##target)

SOFTMAX_STEPS(dense, FL_DENSE)
SOFTMAX_STEPS(smoothed, FL_SMOOTHED)
SOFTMAX_STEPS(sparse, FL_SPARSE)
SOFTMAX_STEPS(plain, FL_PLAIN)

static void LOCAL(add_terms)(fl_tile *tile) {
  LOCAL(add_planes)(tile, tile->classes, tile->e, tile->gap, tile->gap_lo);
}

/* The classes of FL_LANES rows that are at these places. Vectors are put together in registers:
 * read back from single elements in memory, they would wait until all results before them are
 * written. */
ALWAYS_INLINE void LOCAL(take_own)(const fl_matrix *from, ptrdiff_t row, const I *place, T *own) {
  const ptrdiff_t step = from->step;
  const char *rows = from->data + row * step;
  if (!from->all_classes) {
    memcpy(own, rows, FL_LANES * sizeof *own);
    return;
  }
  ASK_FOR(FL_LANES * step, rows, FL_ROWS_AHEAD, 2);
#define OWN(i) ((const T *)(rows + (i) * step))[place[i]]
#define FOUR(i) ((LOCAL(four)){OWN(i), OWN((i) + 1), OWN((i) + 2), OWN((i) + 3)})
#define FOUR_OWN(s) FOUR(r + 4 * (s))
  for (int r = 0; r < FL_LANES; r += 4 * FOURS) *(LOCAL(fours) *)(own + r) = JOIN(FOUR_OWN);
#undef OWN
#undef FOUR
#undef FOUR_OWN
}

/* The way back: zeros but for these. */
ALWAYS_INLINE void LOCAL(give_own)(const fl_matrix *to, ptrdiff_t row, const I *place,
                                   const T *own) {
  const ptrdiff_t step = to->step;
  char *rows = to->data + row * step;
  if (!to->all_classes) {
    memcpy(rows, own, FL_LANES * sizeof *own);
    return;
  }
  ASK_FOR(FL_LANES * step, rows, FL_ROWS_AHEAD, 2);
  for (ptrdiff_t at = 0; at < FL_LANES * step; at += FL_LANES * (ptrdiff_t)sizeof(T))
    memset(rows + at, 0, FL_LANES * sizeof(T));
  for (int r = 0; r < FL_LANES; r++, rows += step) ((T *)rows)[place[r]] = own[r];
}

/* Logarithms that are reduced. */
typedef struct {
  T k[FL_LANES], f[FL_LANES];
} LOCAL(logs);

ALWAYS_INLINE REDUCED LOCAL(reduced)(int steps, const LOCAL(logs) * logs, int j) {
  return steps ? REDUCED_AGAIN(logs->k[j], logs->f[j]) : (REDUCED){0};
}

/* A loss of each kind of target, and one of dense targets. A formula that is told `special` may
 * expect that probabilities are ordinary: the sign of `unusual` tells whether they are not. That of
 * a DENSE_TERM finds in `log` what a loop of its own reduced: of two short loops a processor
 * overlaps more of the iterations than of a long one. */
#define TERM(name, ...)              \
  TERMS(name, 0, {0}, __VA_ARGS__)   \
  STEPS(name, dense, FL_DENSE)       \
  STEPS(name, smoothed, FL_SMOOTHED) \
  STEPS(name, plain, FL_PLAIN)       \
  OWN_TERMS(name)
#define DENSE_TERM(name, reduction, ...) \
  TERMS(name, 1, reduction, __VA_ARGS__) \
  STEPS(name, dense, FL_DENSE)           \
  STEPS(name, plain, FL_PLAIN)

#define TERMS(name, in_steps, reduction, ...)                                                      \
  ALWAYS_INLINE I KERNEL(name, element)(int kind, int special, T p, T y, T eps, T smoothing,       \
                                        T weight, T sharers, I label, I class, REDUCED log,        \
                                        T *loss_, T *grad_, T *hess_) {                            \
    const T z = kind == FL_PLAIN ? p : LOCAL(clipped)(p, eps);                                     \
    const T t = kind == FL_SPARSE                                                                  \
                    ? y                                                                            \
                    : LOCAL(target)(kind, weight, smoothing, sharers, y, label, class, p);         \
    T loss, grad, hess;                                                                            \
    I unusual;                                                                                     \
    (void)special, (void)log;                                                                      \
    __VA_ARGS__                                                                                    \
    *loss_ = loss, *grad_ = grad, *hess_ = hess;                                                   \
    return unusual;                                                                                \
  }                                                                                                \
                                                                                                   \
  /* The first step, of FL_LANES plain elements. */                                                \
  ALWAYS_INLINE void KERNEL(name, reduce)(const T *z_, const T *y, LOCAL(logs) * to) {             \
    SIMD for (int j = 0; j < FL_LANES; j++) {                                                      \
      const T z = z_[j], t = y[j];                                                                 \
      (void)z, (void)t;                                                                            \
      const REDUCED log = reduction;                                                               \
      to->k[j] = log.k, to->f[j] = log.f;                                                          \
    }                                                                                              \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, reduce_along)(LOCAL(row) z, LOCAL(row) y, ptrdiff_t first,       \
                                                ptrdiff_t stop, LOCAL(logs) * to) {                \
    for (; first < stop; first += FL_LANES, to++)                                                  \
      KERNEL(name, reduce)(LOCAL(vector)(z, first), LOCAL(vector)(y, first), to);                  \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, terms_across)(int kind, int special, const fl_tile *tile,        \
                                                ptrdiff_t from, T(*terms)[FL_LANES], I *seen) {    \
    const T eps = (T)tile->eps, smoothing = (T)tile->smoothing;                                    \
    const T *sharers = (const T *)tile->sharers + from;                                            \
    const I *label = (const I *)tile->label + from;                                                \
    const int steps = (in_steps) && special;                                                       \
    LOCAL(logs) logs[FL_FOLD];                                                                     \
    for (ptrdiff_t k = 0; k < tile->classes && steps; k++)                                         \
      KERNEL(name, reduce)((const T *)tile->z.body + k * tile->z.step + from,                      \
                           (const T *)tile->y.body + k * tile->y.step + from, &logs[k]);           \
    for (ptrdiff_t k = 0; k < tile->classes; k++) {                                                \
      const T *z = (const T *)tile->z.body + k * tile->z.step + from;                              \
      const T *y = (const T *)tile->y.body + k * tile->y.step + from;                              \
      const T weight = ((const T *)tile->class_weight)[k];                                         \
      const I class = (I)(tile->first + k);                                                        \
      LOCAL(prefetch_ahead)(tile, &tile->z, k, from);                                              \
      if (HAS_Y(kind)) LOCAL(prefetch_ahead)(tile, &tile->y, k, from);                             \
      SIMD for (int r = 0; r < FL_LANES; r++) {                                                    \
        T grad, hess;                                                                              \
        const I unusual =                                                                          \
            KERNEL(name, element)(kind, special, z[r], kind == FL_SMOOTHED ? 0 : y[r], eps,        \
                                  smoothing, weight, sharers[r], label[r], class,                  \
                                  LOCAL(reduced)(steps, &logs[k], r), &terms[k][r], &grad, &hess); \
        seen[r] |= LOCAL(suspicion)(kind, 0, y[r], z[r]) | (special ? unusual : 0);                \
      }                                                                                            \
    }                                                                                              \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, accumulate_across)(int kind, fl_tile *tile) {                    \
    int usual = kind == FL_PLAIN;                                                                  \
    I seen[FL_LANES] = {0};                                                                        \
    for (ptrdiff_t from = 0; from < tile->rows; from += FL_LANES) {                                \
      T *gap = (T *)tile->gap + from, *gap_lo = (T *)tile->gap_lo + from;                          \
      T terms[FL_FOLD][FL_LANES];                                                                  \
      if (usual) {                                                                                 \
        I here[FL_LANES] = {0};                                                                    \
        KERNEL(name, terms_across)(kind, 1, tile, from, terms, here);                              \
        usual = LOCAL(any)(here) >= 0;                                                             \
      }                                                                                            \
      if (!usual) KERNEL(name, terms_across)(kind, 0, tile, from, terms, seen);                    \
      LOCAL(fold)(terms, tile->classes);                                                           \
      SIMD for (int r = 0; r < FL_LANES; r++) PAIR_ADD(gap[r], gap_lo[r], terms[0][r]);            \
    }                                                                                              \
    if (LOCAL(any)(seen) < 0) tile->flags |= LOCAL(check_across)(kind, 0, tile);                   \
    tile->checked = 1;                                                                             \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, terms_along)(int kind, int special, const fl_tile *tile,         \
                                               ptrdiff_t i, T(*lanes)[FL_LANES], I *seen) {        \
    const T eps = (T)tile->eps, smoothing = (T)tile->smoothing;                                    \
    const T sharers = ((const T *)tile->sharers)[tile->row + i];                                   \
    const I label = ((const I *)tile->label)[tile->row + i];                                       \
    const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, i);                                     \
    const LOCAL(row) y_row = LOCAL(row_of)(tile, HAS_Y(kind) ? &tile->y : &tile->z, i);            \
    const int steps = (in_steps) && special;                                                       \
    LOCAL(logs) logs[FL_FOLD / FL_LANES];                                                          \
    for (ptrdiff_t first = 0; first < tile->classes;) {                                            \
      const ptrdiff_t stop = LOCAL(end_of_block)(tile, first);                                     \
      T sums[2][FL_LANES] = {{0}};                                                                 \
      const LOCAL(logs) *log = logs;                                                               \
      if (steps) KERNEL(name, reduce_along)(z_row, y_row, first, stop, logs);                      \
      for (; first < stop; first += FL_LANES, log++) {                                             \
        const T *z = LOCAL(vector)(z_row, first);                                                  \
        const T *y = LOCAL(vector)(y_row, first);                                                  \
        const T *weight = (const T *)tile->class_weight + first;                                   \
        const I class = (I)(tile->first + first);                                                  \
        const size_t turn = LOCAL(turn_of)(first);                                                 \
        LOCAL(prefetch)(z_row.body + first, LOCAL(into_next_tile)(tile, &tile->z));                \
        if (HAS_Y(kind))                                                                           \
          LOCAL(prefetch)(y_row.body + first, LOCAL(into_next_tile)(tile, &tile->y));              \
        SIMD for (int j = 0; j < FL_LANES; j++) {                                                  \
          T loss, grad, hess;                                                                      \
          const I unusual = KERNEL(name, element)(                                                 \
              kind, special, z[j], HAS_Y(kind) ? y[j] : 0, eps, smoothing, weight[j], sharers,     \
              label, class + j, LOCAL(reduced)(steps, log, j), &loss, &grad, &hess);               \
          seen[j] |= LOCAL(suspicion)(kind, 0, y[j], z[j]) | (special ? unusual : 0);              \
          ADD_IN_TURN(sums, turn, j, loss);                                                        \
        }                                                                                          \
      }                                                                                            \
      SIMD for (int j = 0; j < FL_LANES; j++)(*lanes)[j] = sums[0][j] + sums[1][j];                \
      lanes += tile->count;                                                                        \
    }                                                                                              \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, accumulate_along)(int kind, fl_tile *tile) {                     \
    T lanes[FL_ALONG_BLOCKS][FL_LANES];                                                            \
    int usual = kind == FL_PLAIN;                                                                  \
    I seen[FL_LANES] = {0};                                                                        \
    for (ptrdiff_t i = 0; i < tile->count; i++) {                                                  \
      if (usual) {                                                                                 \
        I here[FL_LANES] = {0};                                                                    \
        KERNEL(name, terms_along)(kind, 1, tile, i, lanes + i, here);                              \
        usual = LOCAL(any)(here) >= 0;                                                             \
      }                                                                                            \
      if (!usual) KERNEL(name, terms_along)(kind, 0, tile, i, lanes + i, seen);                    \
    }                                                                                              \
    LOCAL(add_lanes)(tile, tile->gap, tile->gap_lo, lanes);                                        \
    if (LOCAL(any)(seen) < 0) tile->flags |= LOCAL(check_along)(kind, 0, tile);                    \
    tile->checked = 1;                                                                             \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE I KERNEL(name, terms_of_row)(int special, const fl_tile *tile) {                   \
    const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, 0);                                     \
    const LOCAL(row) y_row = LOCAL(row_of)(tile, &tile->y, 0);                                     \
    const int steps = (in_steps) && special;                                                       \
    LOCAL(logs) logs[FL_FOLD / FL_LANES];                                                          \
    I seen[FL_LANES] = {0};                                                                        \
    for (ptrdiff_t first = 0; first < tile->classes; first += FL_LANES) {                          \
      const T *z = LOCAL(vector)(z_row, first), *y = LOCAL(vector)(y_row, first);                  \
      T *terms = (T *)tile->e + first;                                                             \
      const LOCAL(logs) *log = &logs[first % FL_FOLD / FL_LANES];                                  \
      if (steps && first % FL_FOLD == 0)                                                           \
        KERNEL(name, reduce_along)(z_row, y_row, first, LOCAL(end_of_block)(tile, first), logs);   \
      LOCAL(prefetch)(z_row.body + first, LOCAL(into_next_tile)(tile, &tile->z));                  \
      LOCAL(prefetch)(y_row.body + first, LOCAL(into_next_tile)(tile, &tile->y));                  \
      SIMD for (int j = 0; j < FL_LANES; j++) {                                                    \
        T grad, hess;                                                                              \
        const I unusual =                                                                          \
            KERNEL(name, element)(FL_PLAIN, special, z[j], y[j], 0, 0, 1, 1, 0, 0,                 \
                                  LOCAL(reduced)(steps, log, j), &terms[j], &grad, &hess);         \
        seen[j] |= LOCAL(suspicion)(FL_PLAIN, 0, y[j], z[j]) | (special ? unusual : 0);            \
      }                                                                                            \
    }                                                                                              \
    return LOCAL(any)(seen);                                                                       \
  }                                                                                                \
                                                                                                   \
  static void KERNEL(name, terms)(fl_tile * tile) {                                                \
    if (KERNEL(name, terms_of_row)(1, tile) < 0 && KERNEL(name, terms_of_row)(0, tile) < 0)        \
      tile->flags |= LOCAL(check_along)(FL_PLAIN, 0, tile);                                        \
    tile->checked = 1;                                                                             \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, rates_across)(int kind, int wants_hess, fl_tile *tile) {         \
    const T eps = (T)tile->eps, smoothing = (T)tile->smoothing;                                    \
    const T *rate = tile->rate, *sharers = tile->sharers;                                          \
    const I *label = tile->label;                                                                  \
    if (!tile->checked) tile->flags |= LOCAL(check_across)(kind, 0, tile);                         \
    for (ptrdiff_t k = 0; k < tile->classes; k++) {                                                \
      const T *z = (const T *)tile->z.body + k * tile->z.step;                                     \
      const T *y = (const T *)tile->y.body + k * tile->y.step;                                     \
      const T weight = ((const T *)tile->class_weight)[k];                                         \
      const I class = (I)(tile->first + k);                                                        \
      T *grads = (T *)tile->grad.body + k * tile->grad.step,                                       \
        *hesses = (T *)tile->hess.body + k * tile->hess.step;                                      \
      for (ptrdiff_t r = 0; r < tile->rows; r += FL_LANES)                                         \
        LOCAL(prefetch)(grads + r, tile->grad.ahead);                                              \
      SIMD for (ptrdiff_t r = 0; r < tile->rows; r++) {                                            \
        T loss, grad, hess;                                                                        \
        (void)KERNEL(name, element)(kind, 0, z[r], kind == FL_SMOOTHED ? 0 : y[r], eps, smoothing, \
                                    weight, sharers[r], label[r], class, (REDUCED){0}, &loss,      \
                                    &grad, &hess);                                                 \
        grads[r] = label[r] == FL_IGNORED ? 0 : rate[r] * grad;                                    \
        if (wants_hess) hesses[r] = label[r] == FL_IGNORED ? 0 : rate[r] * hess;                   \
      }                                                                                            \
    }                                                                                              \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, derive_across)(int kind, fl_tile *tile) {                        \
    if (tile->wants_hess)                                                                          \
      KERNEL(name, rates_across)(kind, 1, tile);                                                   \
    else                                                                                           \
      KERNEL(name, rates_across)(kind, 0, tile);                                                   \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, rates_along)(int kind, int wants_hess, fl_tile *tile) {          \
    const T eps = (T)tile->eps, smoothing = (T)tile->smoothing;                                    \
    if (!tile->checked) tile->flags |= LOCAL(check_along)(kind, 0, tile);                          \
    for (ptrdiff_t i = 0; i < tile->count; i++) {                                                  \
      const ptrdiff_t row = tile->row + i;                                                         \
      const T sharers = ((const T *)tile->sharers)[row], rate = ((const T *)tile->rate)[row];      \
      const I label = ((const I *)tile->label)[row];                                               \
      const LOCAL(row) z_row = LOCAL(row_of)(tile, &tile->z, i);                                   \
      const LOCAL(row) y_row = LOCAL(row_of)(tile, HAS_Y(kind) ? &tile->y : &tile->z, i);          \
      const LOCAL(row) grad_row = LOCAL(row_of)(tile, &tile->grad, i);                             \
      const LOCAL(row) hess_row = LOCAL(row_of)(tile, wants_hess ? &tile->hess : &tile->grad, i);  \
      for (ptrdiff_t first = 0; first < tile->classes; first += FL_LANES) {                        \
        const T *z = LOCAL(vector)(z_row, first);                                                  \
        const T *y = LOCAL(vector)(y_row, first);                                                  \
        const T *weight = kind == FL_PLAIN ? NULL : (const T *)tile->class_weight + first;         \
        const I class = (I)(tile->first + first);                                                  \
        T *grads = LOCAL(vector)(grad_row, first);                                                 \
        LOCAL(prefetch)(grads, FL_ROWS_AHEAD);                                                     \
        T *hesses = wants_hess ? LOCAL(vector)(hess_row, first) : NULL;                            \
        SIMD for (int j = 0; j < FL_LANES; j++) {                                                  \
          T loss, grad, hess;                                                                      \
          (void)KERNEL(name, element)(kind, 0, z[j], HAS_Y(kind) ? y[j] : 0, eps, smoothing,       \
                                      kind == FL_PLAIN ? 1 : weight[j], sharers, label, class + j, \
                                      (REDUCED){0}, &loss, &grad, &hess);                          \
          grads[j] = rate * grad;                                                                  \
          if (wants_hess) hesses[j] = rate * hess;                                                 \
        }                                                                                          \
      }                                                                                            \
    }                                                                                              \
  }                                                                                                \
                                                                                                   \
  ALWAYS_INLINE void KERNEL(name, derive_along)(int kind, fl_tile *tile) {                         \
    if (tile->wants_hess)                                                                          \
      KERNEL(name, rates_along)(kind, 1, tile);                                                    \
    else                                                                                           \
      KERNEL(name, rates_along)(kind, 0, tile);                                                    \
  }

/* Sparse targets: FL_LANES rows at a time from begin to end, so that results are written while
 * others are computed. */
#define OWN_TERMS(name)                                                                           \
  ALWAYS_INLINE I KERNEL(name, own_terms)(int special, T eps, const T *p, const T *t, T *terms) { \
    I seen[FL_LANES];                                                                             \
    SIMD for (int r = 0; r < FL_LANES; r++) {                                                     \
      T grad, hess;                                                                               \
      const I unusual = KERNEL(name, element)(FL_SPARSE, special, p[r], t[r], eps, 0, 1, 1, 0, 0, \
                                              (REDUCED){0}, &terms[r], &grad, &hess);             \
      seen[r] = LOCAL(suspicion)(FL_SPARSE, 0, t[r], p[r]) | (special ? unusual : 0);             \
    }                                                                                             \
    return LOCAL(any)(seen);                                                                      \
  }                                                                                               \
                                                                                                  \
  ALWAYS_INLINE void KERNEL(name, own)(int losses, int grads, int hesses, fl_tile *tile,          \
                                       const fl_matrix *p, const fl_matrix *grad,                 \
                                       const fl_matrix *hess) {                                   \
    const T eps = (T)tile->eps, factor = (T)tile->scale, *weight = tile->class_weight;            \
    const int weighs = tile->weighs_classes;                                                      \
    const I *label = (const I *)tile->label + tile->row;                                          \
    const T *w = (const T *)tile->w + tile->row;                                                  \
    T *loss = (T *)tile->loss + tile->row;                                                        \
    I flags = 0, place[FL_MAX_ROWS];                                                              \
    SIMD for (ptrdiff_t r = 0; r < tile->count; r++) place[r] = label[r] < 0 ? 0 : label[r];      \
    for (ptrdiff_t row = 0; row < tile->count; row += FL_LANES) {                                 \
      T own[FL_LANES], t[FL_LANES], terms[FL_LANES], g[FL_LANES], h[FL_LANES];                    \
      LOCAL(take_own)(p, row, place + row, own);                                                  \
      if (weighs)                                                                                 \
        for (int r = 0; r < FL_LANES; r++) t[r] = weight[place[row + r]];                         \
      SIMD for (int r = 0; r < FL_LANES; r++) {                                                   \
        own[r] = label[row + r] < 0 ? 1 : own[r];                                                 \
        t[r] = label[row + r] < 0 ? 0 : weighs ? t[r] : 1;                                        \
      }                                                                                           \
      if (KERNEL(name, own_terms)(1, eps, own, t, terms) < 0 &&                                   \
          KERNEL(name, own_terms)(0, eps, own, t, terms) < 0)                                     \
        SIMD_FLAGS for (int r = 0; r < FL_LANES; r++) flags |=                                    \
            LOCAL(outside)(FL_SPARSE, 0, t[r], own[r]);                                           \
      SIMD for (int r = 0; r < FL_LANES; r++) {                                                   \
        const int none = label[row + r] < 0;                                                      \
        const T rate = w[row + r] * factor;                                                       \
        T term, slope, curvature;                                                                 \
        (void)KERNEL(name, element)(FL_SPARSE, 0, own[r], t[r], eps, 0, 1, 1, 0, 0, (REDUCED){0}, \
                                    &term, &slope, &curvature);                                   \
        loss[row + r] = none || !losses ? 0 : w[row + r] * (0 + terms[r]);                        \
        g[r] = none ? 0 : rate * slope;                                                           \
        h[r] = none ? 0 : rate * curvature;                                                       \
      }                                                                                           \
      if (grads) LOCAL(give_own)(grad, row, place + row, g);                                      \
      if (hesses) LOCAL(give_own)(hess, row, place + row, h);                                     \
    }                                                                                             \
    tile->flags |= flags;                                                                         \
  }                                                                                               \
                                                                                                  \
  OWN_MODE(name, loss, 1, 0, 0)                                                                   \
  OWN_MODE(name, grad, 0, 1, 0)                                                                   \
  OWN_MODE(name, loss_grad, 1, 1, 0)                                                              \
  OWN_MODE(name, grad_hess, 0, 1, 1)

#define OWN_MODE(name, mode, losses, grads, hesses)                                               \
  static void KERNEL(name, own_##mode)(fl_tile * tile, const fl_matrix *p, const fl_matrix *grad, \
                                       const fl_matrix *hess) {                                   \
    KERNEL(name, own)(losses, grads, hesses, tile, p, grad, hess);                                \
  }

#include "losses/multiclass.h"
#undef TERM
#undef DENSE_TERM

#define OWN_MODES_OF(name)                                                                      \
  .own = {KERNEL(name, own_loss),     KERNEL(name, own_loss),      KERNEL(name, own_loss),      \
          KERNEL(name, own_grad),     KERNEL(name, own_loss_grad), KERNEL(name, own_loss_grad), \
          KERNEL(name, own_grad_hess)}
#define TERM_OF(name, ...)        \
  {#name,                         \
   .padding = 1,                  \
   .begin = LOCAL(begin_terms),   \
   .finish = LOCAL(finish_terms), \
   .terms = KERNEL(name, terms),  \
   .add_terms = LOCAL(add_terms), \
   __VA_ARGS__},
#define TERM(name, ...)                                                                 \
  TERM_OF(name, STEPS_OF(name, dense, FL_DENSE), STEPS_OF(name, smoothed, FL_SMOOTHED), \
          STEPS_OF(name, plain, FL_PLAIN), OWN_MODES_OF(name))
#define DENSE_TERM(name, reduction, ...) \
  TERM_OF(name, STEPS_OF(name, dense, FL_DENSE), STEPS_OF(name, plain, FL_PLAIN))
static const fl_rowwise KERNEL(rowwise, table)[] = {
    {"softmax", .padding = -HUGE_VAL, .begin = LOCAL(begin),
     .scan = {[FL_ACROSS] = KERNEL(softmax, scan_across), [FL_ALONG] = KERNEL(softmax, scan_along)},
     .again_along = KERNEL(softmax, again_along), .finish = KERNEL(softmax, finish),
     SOFTMAX_STEPS_OF(dense, FL_DENSE), SOFTMAX_STEPS_OF(smoothed, FL_SMOOTHED),
     SOFTMAX_STEPS_OF(sparse, FL_SPARSE), SOFTMAX_STEPS_OF(plain, FL_PLAIN)},
#include "losses/multiclass.h"
};
#undef TERM
#undef DENSE_TERM
#undef TERM_OF
#undef TERMS
#undef OWN_TERMS
#undef OWN_MODE
#undef OWN_MODES_OF
#undef JOIN
#undef EIGHT
#undef SIXTEEN

#undef BUT_FOR_TOP
#undef COUNT
#undef SIMD_COUNT
#undef SIMD_INFINITE
#undef HAS_Y
#undef PAIR_ADD
#undef CHANGE_PLACES
#undef ADD_IN_TURN
#undef STEP
#undef STEPS
#undef STEPS_OF
#undef SOFTMAX_STEPS
#undef SOFTMAX_STEPS_OF
