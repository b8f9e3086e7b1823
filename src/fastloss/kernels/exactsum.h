/* Sums without rounding errors, for one dtype and one instruction set.
 *
 * A block of numbers is taken apart by the error-free extraction of Rump, Ogita and Oishi, Accurate
 * floating-point summation, SIAM J. Sci. Comput. 31 (2008): for a power of two s >= 2 sum |x|,
 * q = (x + s) - s is x rounded to a multiple of 2^-53 s. All q add up exactly in a double, in any
 * order, and x - q is exact too. These rests, at most 2^10 in a block, are at most 2^-53 s each,
 * so the next s is 2^-42 times the last. */

_Static_assert(FL_BLOCK <= 1024, "the rests of a block, twice, add up to no more than the next s");

/* Extracts a part of v, adds it to sum, and leaves the rest in v. */
#define EXTRACT(v, s, sum)        \
  do {                            \
    const double q = (v + s) - s; \
    sum += q;                     \
    v -= q;                       \
  } while (0)

/* Floats are taken apart into two parts, doubles into three. The last part needs no extraction: the
 * rests are added as they are, which is exact if all numbers are multiples of 2^-53 times the s of
 * that part. That holds for zero and for magnitudes of `finest` or more. Returns whether there are
 * others, which make the sums useless. */
static int LOCAL(extract)(ptrdiff_t n, const void *x_, double s1, double *sums) {
  enum { THREE = sizeof(T) == 8 };
  const T *x = x_, *x_half = x + n / 2;
  const double s2 = s1 * 0x1p-42;
  const T finest = (T)(THREE ? s1 * FL_FINEST : s2 * 0x1p-53 * 0x1p23);
  double a1 = 0, a2 = 0, a3 = 0, b1 = 0, b2 = 0, b3 = 0;
  I finer = 0;
  _Pragma(
      "omp simd reduction(+ : a1, a2, a3, b1, b2, b3) reduction(| : finer)") for (ptrdiff_t i = 0;
                                                                                  i < n / 2; i++) {
    double a = (double)x[i], b = (double)x_half[i]; /* two halves, so that neither waits */
    EXTRACT(a, s1, a1);
    EXTRACT(b, s1, b1);
    if (THREE) {
      EXTRACT(a, s2, a2);
      EXTRACT(b, s2, b2);
    }
    a3 += a;
    b3 += b;
    finer |= (ABS(x[i]) < finest) & (x[i] != 0);
    finer |= (ABS(x_half[i]) < finest) & (x_half[i] != 0);
  }
  if (n % 2) {
    double a = (double)x[n - 1];
    EXTRACT(a, s1, a1);
    if (THREE) EXTRACT(a, s2, a2);
    a3 += a;
    finer |= (ABS(x[n - 1]) < finest) & (x[n - 1] != 0);
  }
  sums[0] = a1 + b1, sums[1] = a2 + b2, sums[2] = a3 + b3;
  return finer != 0;
}

/* The sum of magnitudes of n <= FL_BLOCK numbers, rounding errors included; not finite if one of
 * them is not. */
static double LOCAL(magnitude)(ptrdiff_t n, const void *x_) {
  const T *x = x_;
  T sums[FL_LANES] = {0};
  ptrdiff_t i = 0;
  for (; i + FL_LANES <= n; i += FL_LANES)
    SIMD for (int j = 0; j < FL_LANES; j++) sums[j] += ABS(x[i + j]);
  double total = 0;
  for (int j = 0; j < FL_LANES; j++) total += (double)sums[j];
  for (; i < n; i++) total += (double)ABS(x[i]);
  return total;
}

/* As doubles, times the weights if there are any: exact for floats, else rounded once. */
static void LOCAL(widen)(ptrdiff_t n, const void *x_, const double *w, double *to) {
  const T *x = x_;
  if (w)
    SIMD for (ptrdiff_t i = 0; i < n; i++) to[i] = w[i] * (double)x[i];
  else
    SIMD for (ptrdiff_t i = 0; i < n; i++) to[i] = (double)x[i];
}

/* In another order. */
static void LOCAL(gather)(ptrdiff_t n, const void *x_, const int32_t *order, void *to_) {
  const T *x = x_;
  T *to = to_;
  SIMD for (ptrdiff_t i = 0; i < n; i++) to[i] = x[order[i]];
}

#undef EXTRACT
