/* Adds rows to the sums of their groups, for one dtype and one instruction set: see groupsums.h. */

/* Rows at a time. */
#if VECTOR_BYTES == 16
#define AT_ONCE 2
#define NUMBERS(x) {(x)[0], (x)[1]}
#else
#define AT_ONCE 4
#define NUMBERS(x) {(x)[0], (x)[1], (x)[2], (x)[3]}
#endif
typedef double LOCAL(numbers) __attribute__((vector_size(AT_ONCE * sizeof(double))));
typedef int64_t LOCAL(integers) __attribute__((vector_size(AT_ONCE * sizeof(int64_t)), may_alias));

/* The largest magnitude of n numbers, not finite if one of them is not. */
static double LOCAL(peak)(ptrdiff_t n, const void *x_) {
  const T *x = x_;
  I most = 0;
  _Pragma("omp simd reduction(max : most)") for (ptrdiff_t i = 0; i < n; i++) {
    const I bits = (I)FN(bits)(ABS(x[i])); /* in the order of magnitudes, NaN beyond infinity */
    most = bits > most ? bits : most;
  }
  return (double)FN(of_bits)(most);
}

/* Adds rows of four columns to the sums of their groups; those of the i-th are `copy` sums further
 * on than those before. */
ALWAYS_INLINE void LOCAL(add_integers)(const LOCAL(integers) * q, int64_t *sums, ptrdiff_t copy,
                                       const int32_t *group) {
#define TO_ROW(i, first, x) *(LOCAL(integers) *)(sums + 4 * ((i) * copy + group[i]) + (first)) += x
#if AT_ONCE == 2
  for (int j = 0; j < 4; j += 2) {
    TO_ROW(0, j, __builtin_shufflevector(q[j], q[j + 1], 0, 2));
    TO_ROW(1, j, __builtin_shufflevector(q[j], q[j + 1], 1, 3));
  }
#else
  const LOCAL(integers) even_01 = __builtin_shufflevector(q[0], q[1], 0, 4, 2, 6),
                        odd_01 = __builtin_shufflevector(q[0], q[1], 1, 5, 3, 7),
                        even_23 = __builtin_shufflevector(q[2], q[3], 0, 4, 2, 6),
                        odd_23 = __builtin_shufflevector(q[2], q[3], 1, 5, 3, 7);
  TO_ROW(0, 0, __builtin_shufflevector(even_01, even_23, 0, 1, 4, 5));
  TO_ROW(1, 0, __builtin_shufflevector(odd_01, odd_23, 0, 1, 4, 5));
  TO_ROW(2, 0, __builtin_shufflevector(even_01, even_23, 2, 3, 6, 7));
  TO_ROW(3, 0, __builtin_shufflevector(odd_01, odd_23, 2, 3, 6, 7));
#endif
#undef TO_ROW
}

/* What makes integers of four columns, and the sums of groups they go to, at one level. */
typedef struct {
  LOCAL(numbers) shift[4];
  int64_t *sums;
} LOCAL(level);

/* Returns whether there is something left of a number. */
ALWAYS_INLINE int LOCAL(add_some)(int levels, const LOCAL(level) * level, const T *a, const T *b,
                                  const T *c, const T *d, const int32_t *group, ptrdiff_t copy) {
  LOCAL(numbers) rest[4] = {NUMBERS(a), NUMBERS(b), NUMBERS(c), NUMBERS(d)};
  for (int l = 0; l < levels; l++) {
    LOCAL(integers) q[4];
    for (int j = 0; j < 4; j++) {
      const LOCAL(numbers) shift = level[l].shift[j], shifted = rest[j] + shift;
      q[j] = (LOCAL(integers))shifted - (LOCAL(integers))shift;
      rest[j] -= shifted - shift;
    }
    LOCAL(add_integers)(q, level[l].sums, copy, group);
  }
  const LOCAL(integers) left = ((LOCAL(integers))rest[0] | (LOCAL(integers))rest[1]) |
                               ((LOCAL(integers))rest[2] | (LOCAL(integers))rest[3]);
  return ANY_BITS(left);
}

ALWAYS_INLINE int LOCAL(add_four)(int levels, const LOCAL(level) * level, const T *a, const T *b,
                                  const T *c, const T *d, const int32_t *group, ptrdiff_t copy) {
  int left = 0;
  for (int i = 0; i < 4; i += AT_ONCE)
    left |= LOCAL(add_some)(levels, level, a + i, b + i, c + i, d + i, group + i, copy);
  return left;
}

ALWAYS_INLINE int LOCAL(add_rows)(int levels, ptrdiff_t n, const void *const *x,
                                  const double (*shift)[4], const int32_t *group,
                                  int64_t *const *sums, ptrdiff_t copy, int32_t *left) {
  const T *a = x[0], *b = x[1], *c = x[2], *d = x[3];
  LOCAL(level) level[FL_LEVELS];
  int count = 0;
  ptrdiff_t i = 0;
  for (int l = 0; l < levels; l++) {
    level[l].sums = sums[l];
    for (int j = 0; j < 4; j++) level[l].shift[j] = shift[l][j] + (LOCAL(numbers)){0};
  }
  for (; i + 4 <= n; i += 4) {
    left[count] = (int32_t)i;
    count += LOCAL(add_four)(levels, level, a + i, b + i, c + i, d + i, group + i, copy);
  }
  if (i < n) { /* rows of zeros, which change no sum, make them four */
    T filled[4][4] = {{0}};
    int32_t of[4] = {0};
    for (int j = 0; j < 4; j++) memcpy(filled[j], (const T *)x[j] + i, (size_t)(n - i) * sizeof(T));
    memcpy(of, group + i, (size_t)(n - i) * sizeof *of);
    left[count] = (int32_t)i;
    count += LOCAL(add_four)(levels, level, filled[0], filled[1], filled[2], filled[3], of, copy);
  }
  return count;
}

#define ADD_ROWS(levels)                                                                           \
  static int LOCAL(add_rows_##levels)(ptrdiff_t n, const void *const *x, const double (*shift)[4], \
                                      const int32_t *group, int64_t *const *sums, ptrdiff_t copy,  \
                                      int32_t *left) {                                             \
    return LOCAL(add_rows)(levels, n, x, shift, group, sums, copy, left);                          \
  }
ADD_ROWS(1)
ADD_ROWS(2)
ADD_ROWS(3)
#undef ADD_ROWS
#undef AT_ONCE
#undef NUMBERS
