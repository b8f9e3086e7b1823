/* Class labels of every dtype as int64: INT64_MIN where a real number is no integer that fits, and
 * unsigned labels beyond INT64_MAX as negative ones, which are no classes either. */
#include <stdint.h>
#include <string.h>

#include "fastloss.h"
#include "readers.h"

static int64_t label_of_real(long double x) {
  if (!(x > -0x1p63L && x < 0x1p63L)) return INT64_MIN;
  const int64_t label = (int64_t)x;
  return (long double)label == x ? label : INT64_MIN;
}

#define AS_IT_IS(x) (x)

#define LABELS(name, READ, label_of)                                                         \
  static void name##_native(int64_t *dst, const char *src, ptrdiff_t stride, ptrdiff_t n) {  \
    const ptrdiff_t size = sizeof READ(src, 0);                                              \
    for (ptrdiff_t i = 0; i < n && stride == size; i++)                                      \
      dst[i] = label_of(READ(src + i * size, 0));                                            \
    for (ptrdiff_t i = 0; i < n && stride != size; i++)                                      \
      dst[i] = label_of(READ(src + i * stride, 0));                                          \
  }                                                                                          \
  static void name##_swapped(int64_t *dst, const char *src, ptrdiff_t stride, ptrdiff_t n) { \
    for (ptrdiff_t i = 0; i < n; i++) dst[i] = label_of(READ(src + i * stride, 1));          \
  }

LABELS(labels_bool, READ_BOOL, AS_IT_IS)
LABELS(labels_i8, READ_I8, AS_IT_IS)
LABELS(labels_u8, READ_U8, AS_IT_IS)
LABELS(labels_i16, READ_I16, AS_IT_IS)
LABELS(labels_u16, READ_U16, AS_IT_IS)
LABELS(labels_i32, READ_I32, AS_IT_IS)
LABELS(labels_u32, READ_U32, AS_IT_IS)
LABELS(labels_i64, READ_I64, AS_IT_IS)
LABELS(labels_u64, READ_U64, (int64_t))
LABELS(labels_half, READ_HALF, label_of_real)
LABELS(labels_bfloat, READ_BFLOAT, label_of_real)
LABELS(labels_float, READ_FLOAT, label_of_real)
LABELS(labels_double, READ_DOUBLE, label_of_real)
LABELS(labels_long_double, READ_LONG_DOUBLE, label_of_real)

fl_label_fn *fl_label_loader(fl_source source, int swapped) {
  static fl_label_fn *const loaders[FL_SOURCES][2] = {
      [FL_BOOL] = {labels_bool_native, labels_bool_swapped},
      [FL_I8] = {labels_i8_native, labels_i8_swapped},
      [FL_U8] = {labels_u8_native, labels_u8_swapped},
      [FL_I16] = {labels_i16_native, labels_i16_swapped},
      [FL_U16] = {labels_u16_native, labels_u16_swapped},
      [FL_I32] = {labels_i32_native, labels_i32_swapped},
      [FL_U32] = {labels_u32_native, labels_u32_swapped},
      [FL_I64] = {labels_i64_native, labels_i64_swapped},
      [FL_U64] = {labels_u64_native, labels_u64_swapped},
      [FL_HALF] = {labels_half_native, labels_half_swapped},
      [FL_BFLOAT] = {labels_bfloat_native, labels_bfloat_swapped},
      [FL_FLOAT] = {labels_float_native, labels_float_swapped},
      [FL_DOUBLE] = {labels_double_native, labels_double_swapped},
      [FL_LONG_DOUBLE] = {labels_long_double_native, labels_long_double_swapped},
  };
  return loaders[source][swapped];
}
