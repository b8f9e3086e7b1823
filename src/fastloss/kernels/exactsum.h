/* Sums without rounding errors, for one dtype and one instruction set.
 *
 * A block of numbers is taken apart by the error-free extraction of Rump, Ogita and Oishi, Accurate
 * floating-point summation, SIAM J. Sci. Comput. 31 (2008). Let p be the bits of a significand, 24
 * or 53, and s a power of two of more than sum |x|. Then q = (x + s) - s is x rounded to a multiple
 * of 2^-p s, all q add up exactly, in any order, and x - q is exact and at most 2^-p s. */

/* Numbers that are added up in a lane before it is emptied into doubles. The next s is twice what
 * as many rests add up to, at most. */
#define RUN (sizeof(T) == 4 ? FL_PART : FL_BLOCK)
#define NEXT_SCALE (sizeof(T) == 4 ? 0x1p-19 : 0x1p-42)
_Static_assert(FL_PART / FL_LANES <= 16 && FL_BLOCK <= 1024, "twice the rests are the next scale");

/* Whether the parts are added as fused products with one, which makes no difference to the sums:
 * some processors have units for sums and others for products, and here all are sums. It takes a
 * register more, and a product where there is no fusing. */
#define AS_PRODUCTS (VECMATH_FMA && (VECTOR_BYTES == 64 || sizeof(T) == 8))

/* Whether vectors have an instruction for the smaller one of unsigned integers. */
#define HAS_MINIMUM (VECTOR_BYTES == 64 || (VECTOR_BYTES == 32 && sizeof(T) == 4))

/* The sum of a lane of each part, and the number before the smallest magnitude so far. */
typedef struct {
  T part[FL_EXACT_PARTS][FL_LANES], least[FL_LANES];
} LOCAL(lanes);

/* The smaller of two numbers before magnitudes. Before 0 comes NaN, which is smaller than no
 * number; nor are its bits, as an integer. */
ALWAYS_INLINE T LOCAL(smaller)(T a, T b) {
  if (!HAS_MINIMUM) return a < b ? a : b;
  return FN(of_bits)(FN(bits)(a) < FN(bits)(b) ? FN(bits)(a) : FN(bits)(b));
}

/* Adds a vector; `one` is a 1 that a compiler does not know to be one. */
ALWAYS_INLINE void LOCAL(add_vector)(const T *x, T one, T s1, T s2, LOCAL(lanes) * sum) {
  SIMD for (int j = 0; j < FL_LANES; j++) {
    const T before = FN(of_bits)(FN(bits)(ABS(x[j])) - 1);
    const T first = (x[j] + s1) - s1, rest = x[j] - first, second = (rest + s2) - s2;
    sum->part[0][j] += one * first;
    sum->part[1][j] += one * second;
    sum->part[2][j] += one * (rest - second);
    sum->least[j] = LOCAL(smaller)(before, sum->least[j]);
  }
}

/* Takes numbers apart into three parts. The last one needs no extraction: the rests are added as
 * they are, which is exact if all numbers are multiples of 2^-p times what they add up to at most.
 * That holds for zero and for magnitudes of `finest` or more. Returns whether there are others,
 * which make the sums useless. */
static int LOCAL(extract)(ptrdiff_t n, const void *x_, double s, double *sums) {
  const T *x = x_, s1 = (T)s, s2 = (T)(s * NEXT_SCALE), one = AS_PRODUCTS ? (T)(s / s) : 1;
  const T finest = (T)(s * (sizeof(T) == 4 ? FL_FINEST_FLOAT : FL_FINEST));
  LOCAL(lanes) sum;
  double totals[FL_EXACT_PARTS][FL_LANES] = {{0}};
  for (int j = 0; j < FL_LANES; j++) sum.least[j] = INF;
  for (ptrdiff_t start = 0; start < n; start += RUN) {
    const ptrdiff_t stop = start + RUN < n ? start + RUN : n;
    ptrdiff_t i = start;
    memset(sum.part, 0, sizeof sum.part);
    for (; i + FL_LANES <= stop; i += FL_LANES) LOCAL(add_vector)(x + i, one, s1, s2, &sum);
    if (i < stop) {
      T filled[FL_LANES] = {0};
      memcpy(filled, x + i, (size_t)(stop - i) * sizeof(T));
      LOCAL(add_vector)(filled, one, s1, s2, &sum);
    }
    for (int part = 0; part < FL_EXACT_PARTS; part++)
      SIMD for (int j = 0; j < FL_LANES; j++) totals[part][j] += (double)sum.part[part][j];
  }
  sums[0] = LOCAL(sum_of)(totals[0]);
  sums[1] = LOCAL(sum_of)(totals[1]);
  sums[2] = LOCAL(sum_of)(totals[2]);
  T least = INF;
  for (int j = 0; j < FL_LANES; j++) least = LOCAL(smaller)(sum.least[j], least);
  return least < FN(of_bits)(FN(bits)(finest) - (finest > 0));
}

/* The sum of magnitudes of n <= FL_BLOCK numbers, rounding errors included; not finite if one of
 * them is not. */
static double LOCAL(magnitude)(ptrdiff_t n, const void *x_) {
  enum { VECTORS = 4 }; /* so that none waits for the one before */
  const T *x = x_;
  T sums[VECTORS][FL_LANES] = {{0}};
  ptrdiff_t i = 0;
  for (; i + VECTORS * FL_LANES <= n; i += VECTORS * FL_LANES)
    for (int v = 0; v < VECTORS; v++)
      SIMD for (int j = 0; j < FL_LANES; j++) sums[v][j] += ABS(x[i + v * FL_LANES + j]);
  double lanes[FL_LANES];
  SIMD for (int j = 0; j < FL_LANES; j++) lanes[j] =
      (double)((sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]));
  double total = LOCAL(sum_of)(lanes);
  for (; i < n; i++) total += (double)ABS(x[i]);
  return total;
}

/* Adds n numbers to as many sums, which are pairs: those of a prediction that was broadcast. */
static void LOCAL(add_pairs)(ptrdiff_t n, const void *x_, double *values, double *errors) {
  const T *x = x_;
  SIMD for (ptrdiff_t i = 0; i < n; i++) {
    fl_sum sum = {values[i], errors[i]};
    fl_sum_add(&sum, (double)x[i]);
    values[i] = sum.value, errors[i] = sum.error;
  }
}

/* As doubles, times the weights if there are any: exact for floats, else rounded once. */
static void LOCAL(widen)(ptrdiff_t n, const void *x_, const double *w, double *to) {
  const T *x = x_;
  if (w)
    SIMD for (ptrdiff_t i = 0; i < n; i++) to[i] = w[i] * (double)x[i];
  else
    SIMD for (ptrdiff_t i = 0; i < n; i++) to[i] = (double)x[i];
}

#undef AS_PRODUCTS
#undef HAS_MINIMUM
#undef RUN
#undef NEXT_SCALE
