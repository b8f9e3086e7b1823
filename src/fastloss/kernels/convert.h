/* Loaders: strided arrays of any source dtype and byte order to T, for one dtype T. */

#define LOADER(source, size, READ, LOOP, order, swapped)                                        \
  static void KERNEL(source, order)(void *dst_, ptrdiff_t dst_outer, ptrdiff_t dst_inner,       \
                                    const char *src, ptrdiff_t src_outer, ptrdiff_t src_inner,  \
                                    ptrdiff_t outer, ptrdiff_t inner) {                         \
    T *dst = dst_;                                                                              \
    for (ptrdiff_t i = 0; i < outer; i++, dst += dst_outer, src += src_outer) {                 \
      if (dst_inner == 1 && src_inner == (size))                                                \
        LOOP for (ptrdiff_t j = 0; j < inner; j++) dst[j] = (T)READ(src + j * (size), swapped); \
      else if (dst_inner == 1 && src_inner == 0 && inner > 0) {                                 \
        const T x = (T)READ(src, swapped);                                                      \
        SIMD for (ptrdiff_t j = 0; j < inner; j++) dst[j] = x;                                  \
      } else                                                                                    \
        for (ptrdiff_t j = 0; j < inner; j++)                                                   \
          dst[j * dst_inner] = (T)READ(src + j * src_inner, swapped);                           \
    }                                                                                           \
  }

#define LOADER_PAIR(source, size, READ, LOOP) \
  LOADER(source, size, READ, LOOP, native, 0) \
  LOADER(source, size, READ, LOOP, swapped, 1)
#define ONE_BY_ONE /* no vectors of long doubles */

LOADER_PAIR(load_bool, 1, READ_BOOL, SIMD)
LOADER_PAIR(load_i8, 1, READ_I8, SIMD)
LOADER_PAIR(load_u8, 1, READ_U8, SIMD)
LOADER_PAIR(load_i16, 2, READ_I16, SIMD)
LOADER_PAIR(load_u16, 2, READ_U16, SIMD)
LOADER_PAIR(load_i32, 4, READ_I32, SIMD)
LOADER_PAIR(load_u32, 4, READ_U32, SIMD)
LOADER_PAIR(load_i64, 8, READ_I64, SIMD)
LOADER_PAIR(load_u64, 8, READ_U64, SIMD)
LOADER_PAIR(load_half, 2, READ_HALF, SIMD)
LOADER_PAIR(load_bfloat, 2, READ_BFLOAT, SIMD)
LOADER_PAIR(load_float, 4, READ_FLOAT, SIMD)
LOADER_PAIR(load_double, 8, READ_DOUBLE, SIMD)
LOADER_PAIR(load_long_double, (ptrdiff_t)sizeof(long double), READ_LONG_DOUBLE, ONE_BY_ONE)

#undef LOADER
#undef LOADER_PAIR
#undef ONE_BY_ONE

/* Transposes `rows` rows of `cols` contiguous elements to columns of contiguous elements, in
 * squares of 4 x 4 that stay in registers; strides are in elements. The last squares of a side
 * that is no multiple of 4 overlap those before them. */
typedef T LOCAL(four) __attribute__((vector_size(4 * sizeof(T))));

ALWAYS_INLINE void LOCAL(transpose_4x4)(T *dst, ptrdiff_t dst_stride, const T *src,
                                        ptrdiff_t src_stride) {
  LOCAL(four) a, b, c, d;
  memcpy(&a, src, sizeof a);
  memcpy(&b, src + src_stride, sizeof b);
  memcpy(&c, src + 2 * src_stride, sizeof c);
  memcpy(&d, src + 3 * src_stride, sizeof d);
  const LOCAL(four) ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const LOCAL(four) ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const LOCAL(four) cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const LOCAL(four) cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  a = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
  b = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
  c = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
  d = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
  memcpy(dst, &a, sizeof a);
  memcpy(dst + dst_stride, &b, sizeof b);
  memcpy(dst + 2 * dst_stride, &c, sizeof c);
  memcpy(dst + 3 * dst_stride, &d, sizeof d);
}

static void LOCAL(transpose)(void *dst_, ptrdiff_t dst_stride, const void *src_,
                             ptrdiff_t src_stride, ptrdiff_t rows, ptrdiff_t cols) {
  T *dst = dst_;
  const T *src = src_;
  if (rows < 4 || cols < 4) {
    for (ptrdiff_t j = 0; j < cols; j++)
      for (ptrdiff_t i = 0; i < rows; i++) dst[j * dst_stride + i] = src[i * src_stride + j];
    return;
  }
  for (ptrdiff_t j = 0; j < cols; j += 4) {
    const ptrdiff_t col = j < cols - 4 ? j : cols - 4;
    T *to = dst + col * dst_stride;
    const T *from = src + col;
    for (ptrdiff_t i = 0; i + 4 <= rows; i += 4, to += 4, from += 4 * src_stride)
      LOCAL(transpose_4x4)(to, dst_stride, from, src_stride);
    const ptrdiff_t last = rows - 4;
    LOCAL(transpose_4x4)(dst + col * dst_stride + last, dst_stride, src + last * src_stride + col,
                         src_stride);
  }
}

/* Class indices as lanes, FL_IGNORED and FL_NO_CLASS for those that are none; `label` is changed
 * to the same. Returns flags. */
static int64_t LOCAL(classify)(ptrdiff_t n, int64_t *label, int64_t classes, int ignores,
                               int64_t ignored, void *lanes_) {
  I *lanes = lanes_;
  int64_t bad = 0;
  SIMD_LABELS for (ptrdiff_t i = 0; i < n; i++) {
    const int64_t k = label[i];
    const int64_t inside = (k >= 0) & (k < classes), passed = ignores & (k == ignored);
    const int64_t kind = passed ? FL_IGNORED : inside ? k : FL_NO_CLASS;
    bad |= passed | inside ? 0 : FL_BAD_TRUE;
    label[i] = kind;
    lanes[i] = (I)kind;
  }
  return bad;
}

#ifndef LOADERS
#define LOADER_NAMES(source, dtype) \
  {CONCAT4(source, dtype, native, ISA), CONCAT4(source, dtype, swapped, ISA)}
#define LOADERS(dtype)                                          \
  {                                                             \
      [FL_BOOL] = LOADER_NAMES(load_bool, dtype),               \
      [FL_I8] = LOADER_NAMES(load_i8, dtype),                   \
      [FL_U8] = LOADER_NAMES(load_u8, dtype),                   \
      [FL_I16] = LOADER_NAMES(load_i16, dtype),                 \
      [FL_U16] = LOADER_NAMES(load_u16, dtype),                 \
      [FL_I32] = LOADER_NAMES(load_i32, dtype),                 \
      [FL_U32] = LOADER_NAMES(load_u32, dtype),                 \
      [FL_I64] = LOADER_NAMES(load_i64, dtype),                 \
      [FL_U64] = LOADER_NAMES(load_u64, dtype),                 \
      [FL_HALF] = LOADER_NAMES(load_half, dtype),               \
      [FL_BFLOAT] = LOADER_NAMES(load_bfloat, dtype),           \
      [FL_FLOAT] = LOADER_NAMES(load_float, dtype),             \
      [FL_DOUBLE] = LOADER_NAMES(load_double, dtype),           \
      [FL_LONG_DOUBLE] = LOADER_NAMES(load_long_double, dtype), \
  }
#endif
