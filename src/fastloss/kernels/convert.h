/* Loaders: strided arrays of any source dtype and byte order to T, for one dtype T. */

/* Reversed arrays, and columns of an array of few: the compiler shuffles where it knows the stride.
 */
#define COLUMN_OF(n, size, READ, swapped)                                                          \
  else if (dst_inner == 1 && src_inner == (n) * (size)) SIMD for (ptrdiff_t j = 0; j < inner; j++) \
      dst[j] = (T)READ(src + j * ((n) * (size)), swapped);
#define COLUMNS(size, READ, swapped) \
  COLUMN_OF(-1, size, READ, swapped) \
  COLUMN_OF(2, size, READ, swapped)  \
  COLUMN_OF(3, size, READ, swapped) COLUMN_OF(4, size, READ, swapped)
#define NO_COLUMNS(size, READ, swapped)

#define LOADER(source, size, READ, LOOP, order, swapped, COLUMNS_)                              \
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
      }                                                                                         \
      COLUMNS_(size, READ, swapped)                                                             \
      else for (ptrdiff_t j = 0; j < inner; j++) dst[j * dst_inner] =                           \
          (T)READ(src + j * src_inner, swapped);                                                \
    }                                                                                           \
  }

#define LOADER_PAIR(source, size, READ, LOOP, COLUMNS_) \
  LOADER(source, size, READ, LOOP, native, 0, COLUMNS_) \
  LOADER(source, size, READ, LOOP, swapped, 1, NO_COLUMNS)
#define ONE_BY_ONE /* no vectors of long doubles */

LOADER_PAIR(load_bool, 1, READ_BOOL, SIMD, NO_COLUMNS)
LOADER_PAIR(load_i8, 1, READ_I8, SIMD, NO_COLUMNS)
LOADER_PAIR(load_u8, 1, READ_U8, SIMD, NO_COLUMNS)
LOADER_PAIR(load_i16, 2, READ_I16, SIMD, NO_COLUMNS)
LOADER_PAIR(load_u16, 2, READ_U16, SIMD, NO_COLUMNS)
LOADER_PAIR(load_i32, 4, READ_I32, SIMD, NO_COLUMNS)
LOADER_PAIR(load_u32, 4, READ_U32, SIMD, NO_COLUMNS)
LOADER_PAIR(load_i64, 8, READ_I64, SIMD, NO_COLUMNS)
LOADER_PAIR(load_u64, 8, READ_U64, SIMD, NO_COLUMNS)
LOADER_PAIR(load_half, 2, READ_HALF, SIMD, NO_COLUMNS)
LOADER_PAIR(load_bfloat, 2, READ_BFLOAT, SIMD, NO_COLUMNS)
LOADER_PAIR(load_float, 4, READ_FLOAT, SIMD, COLUMNS)
LOADER_PAIR(load_double, 8, READ_DOUBLE, SIMD, COLUMNS)
LOADER_PAIR(load_long_double, (ptrdiff_t)sizeof(long double), READ_LONG_DOUBLE, ONE_BY_ONE,
            NO_COLUMNS)

#undef LOADER
#undef LOADER_PAIR
#undef COLUMN_OF
#undef COLUMNS
#undef NO_COLUMNS
#undef ONE_BY_ONE

/* Labels as lanes; returns whether one of them is no class. */
ALWAYS_INLINE int LOCAL(narrow_labels)(ptrdiff_t n, const int64_t *label, int64_t classes,
                                       I *lanes) {
  const uint64_t last = (uint64_t)classes - 1;
  uint64_t flags = 0; /* the sign of what lies outside */
  SIMD_FLAGS for (ptrdiff_t i = 0; i < n; i++) {
    const uint64_t k = (uint64_t)label[i];
    flags |= k | (last - k);
    lanes[i] = (I)label[i];
  }
  return flags >> 63 != 0;
}

/* Class indices as lanes, FL_IGNORED and FL_NO_CLASS for those that are none; `label` is changed
 * to the same. Returns flags. */
static int64_t LOCAL(classify)(ptrdiff_t n, int64_t *label, int64_t classes, int ignores,
                               int64_t ignored, void *lanes_) {
  I *lanes = lanes_;
  int64_t flags = 0;
  if (!LOCAL(narrow_labels)(n, label, classes, lanes) && !ignores) return 0;
  SIMD_FLAGS for (ptrdiff_t i = 0; i < n; i++) {
    const int64_t k = label[i];
    const int64_t inside = (k >= 0) & (k < classes), passed = ignores & (k == ignored);
    const int64_t kind = passed ? FL_IGNORED : inside ? k : FL_NO_CLASS;
    flags |= passed | inside ? 0 : FL_BAD_TRUE;
    label[i] = kind;
    lanes[i] = (I)kind;
  }
  return flags;
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
