/* Transposes `rows` rows of `cols` contiguous elements to columns of contiguous elements; strides
 * are in elements. Squares of 4 x 4 stay in registers, FOURS of them at a time, which lie one below
 * the other or side by side: a vector holds a row of each. The last ones of a side that is no
 * multiple overlap those before them. */
#define SQUARES(n) vector_size((n) * 4 * sizeof(T)), aligned(sizeof(T)), may_alias
typedef T LOCAL(four) __attribute__((SQUARES(1)));
typedef T LOCAL(fours) __attribute__((SQUARES(FOURS)));

/* In each square, elements i, j, k, l of its rows x (0 to 3) and y (4 to 7). */
#define SPOT(s, i) ((i) < 4 ? 4 * (s) + (i) : 4 * (FOURS + (s)) + (i) - 4)
#define SPOTS(s, i, j, k, l) SPOT(s, i), SPOT(s, j), SPOT(s, k), SPOT(s, l)
#define FOUR_BELOW(s) (*(const LOCAL(four) *)(src + k * src_stride + (s) * 4 * src_stride))
#define EIGHT 0, 1, 2, 3, 4, 5, 6, 7
#define SIXTEEN EIGHT, 8, 9, 10, 11, 12, 13, 14, 15
#if FOURS == 1
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, SPOTS(0, __VA_ARGS__))
#define JOIN(four) four(0)
#elif FOURS == 2
#define SHUFFLE(x, y, ...) \
  __builtin_shufflevector(x, y, SPOTS(0, __VA_ARGS__), SPOTS(1, __VA_ARGS__))
#define JOIN(four) __builtin_shufflevector(four(0), four(1), EIGHT)
#else
#define SHUFFLE(x, y, ...)                                                    \
  __builtin_shufflevector(x, y, SPOTS(0, __VA_ARGS__), SPOTS(1, __VA_ARGS__), \
                          SPOTS(2, __VA_ARGS__), SPOTS(3, __VA_ARGS__))
#define JOIN(four)                                                          \
  __builtin_shufflevector(__builtin_shufflevector(four(0), four(1), EIGHT), \
                          __builtin_shufflevector(four(2), four(3), EIGHT), SIXTEEN)
#endif
#define PART(x, s) __builtin_shufflevector(x, x, 4 * (s), 4 * (s) + 1, 4 * (s) + 2, 4 * (s) + 3)

ALWAYS_INLINE void LOCAL(transpose_squares)(LOCAL(fours) * rows) {
  const LOCAL(fours) a = rows[0], b = rows[1], c = rows[2], d = rows[3];
  const LOCAL(fours) ab_low = SHUFFLE(a, b, 0, 4, 1, 5), ab_high = SHUFFLE(a, b, 2, 6, 3, 7);
  const LOCAL(fours) cd_low = SHUFFLE(c, d, 0, 4, 1, 5), cd_high = SHUFFLE(c, d, 2, 6, 3, 7);
  rows[0] = SHUFFLE(ab_low, cd_low, 0, 1, 4, 5);
  rows[1] = SHUFFLE(ab_low, cd_low, 2, 3, 6, 7);
  rows[2] = SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
  rows[3] = SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
}

/* One below the other. */
ALWAYS_INLINE void LOCAL(transpose_below)(T *dst, ptrdiff_t dst_stride, const T *src,
                                          ptrdiff_t src_stride) {
  LOCAL(fours) rows[4];
  for (int k = 0; k < 4; k++) rows[k] = JOIN(FOUR_BELOW);
  LOCAL(transpose_squares)(rows);
  for (int k = 0; k < 4; k++) *(LOCAL(fours) *)(dst + k * dst_stride) = rows[k];
}

/* Side by side. */
ALWAYS_INLINE void LOCAL(transpose_beside)(T *dst, ptrdiff_t dst_stride, const T *src,
                                           ptrdiff_t src_stride) {
  LOCAL(fours) rows[4];
  for (int k = 0; k < 4; k++) rows[k] = *(const LOCAL(fours) *)(src + k * src_stride);
  LOCAL(transpose_squares)(rows);
  for (int k = 0; k < 4; k++, dst += dst_stride) {
    *(LOCAL(four) *)(dst) = PART(rows[k], 0);
#if FOURS > 1
    *(LOCAL(four) *)(dst + 4 * dst_stride) = PART(rows[k], 1);
#endif
#if FOURS > 2
    *(LOCAL(four) *)(dst + 8 * dst_stride) = PART(rows[k], 2);
    *(LOCAL(four) *)(dst + 12 * dst_stride) = PART(rows[k], 3);
#endif
  }
}

/* Two or three columns, or rows: the compiler interleaves where it knows the stride. */
#define DEINTERLEAVE(n)                                                       \
  SIMD for (ptrdiff_t i = 0; i < rows; i++) {                                 \
    for (int j = 0; j < (n); j++) dst[j * dst_stride + i] = src[i * (n) + j]; \
  }
#define INTERLEAVE(n)                                                         \
  SIMD for (ptrdiff_t j = 0; j < cols; j++) {                                 \
    for (int i = 0; i < (n); i++) dst[j * (n) + i] = src[i * src_stride + j]; \
  }

static void LOCAL(transpose)(void *dst_, ptrdiff_t dst_stride, const void *src_,
                             ptrdiff_t src_stride, ptrdiff_t rows, ptrdiff_t cols) {
  const ptrdiff_t wide = 4 * FOURS;
  T *dst = dst_;
  const T *src = src_;
  if (cols == 2 && src_stride == 2) {
    DEINTERLEAVE(2)
  } else if (cols == 3 && src_stride == 3) {
    DEINTERLEAVE(3)
  } else if (rows == 2 && dst_stride == 2) {
    INTERLEAVE(2)
  } else if (rows == 3 && dst_stride == 3) {
    INTERLEAVE(3)
  } else if (rows >= wide && cols >= 4) {
    for (ptrdiff_t i = 0; i < rows; i += wide) {
      const ptrdiff_t row = i < rows - wide ? i : rows - wide;
      for (ptrdiff_t j = 0; j < cols; j += 4) {
        const ptrdiff_t col = j < cols - 4 ? j : cols - 4;
        LOCAL(transpose_below)(dst + col * dst_stride + row, dst_stride,
                               src + row * src_stride + col, src_stride);
      }
    }
  } else if (rows >= 4 && cols >= wide) {
    for (ptrdiff_t j = 0; j < cols; j += wide) {
      const ptrdiff_t col = j < cols - wide ? j : cols - wide;
      for (ptrdiff_t i = 0; i < rows; i += 4) {
        const ptrdiff_t row = i < rows - 4 ? i : rows - 4;
        LOCAL(transpose_beside)(dst + col * dst_stride + row, dst_stride,
                                src + row * src_stride + col, src_stride);
      }
    }
  } else {
    for (ptrdiff_t j = 0; j < cols; j++)
      for (ptrdiff_t i = 0; i < rows; i++) dst[j * dst_stride + i] = src[i * src_stride + j];
  }
}

/* dst[i * times + j] = src[i], i < n, j < times <= FL_LANES. Vectors are whole: what passes the end
 * of a row is written anew by the next. */
#define SPREAD(width)                                  \
  for (; i < whole; i++, dst += times) {               \
    const T x = src[i];                                \
    SIMD for (int k = 0; k < (width); k++) dst[k] = x; \
  }

static void LOCAL(spread)(void *dst_, const void *src_, ptrdiff_t n, ptrdiff_t times) {
  T *dst = dst_;
  const T *src = src_;
  if (times <= 4) {
    LOCAL(transpose)(dst, times, src, 0, times, n);
    return;
  }
  ptrdiff_t i = 0;
  const ptrdiff_t whole = n - (FL_LANES + times - 1) / times;
  if (times <= 8)
    SPREAD(8)
  else
    SPREAD(FL_LANES)
  for (; i < n; i++, dst += times)
    for (ptrdiff_t j = 0; j < times; j++) dst[j] = src[i];
}
#undef SPREAD

#undef SQUARES
#undef SPOT
#undef SPOTS
#undef FOUR_BELOW
#undef SHUFFLE
#undef PART
#undef DEINTERLEAVE
#undef INTERLEAVE
