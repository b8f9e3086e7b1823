/* Elements of every source dtype, at any address, in either byte order. */
#ifndef FASTLOSS_READERS_H
#define FASTLOSS_READERS_H

#define READER static inline __attribute__((always_inline))

READER uint8_t read_bits8(const char *p, int swapped) {
  (void)swapped;
  return (uint8_t)*p;
}

READER uint16_t read_bits16(const char *p, int swapped) {
  uint16_t bits;
  memcpy(&bits, p, sizeof bits);
  return swapped ? __builtin_bswap16(bits) : bits;
}

READER uint32_t read_bits32(const char *p, int swapped) {
  uint32_t bits;
  memcpy(&bits, p, sizeof bits);
  return swapped ? __builtin_bswap32(bits) : bits;
}

READER uint64_t read_bits64(const char *p, int swapped) {
  uint64_t bits;
  memcpy(&bits, p, sizeof bits);
  return swapped ? __builtin_bswap64(bits) : bits;
}

READER float float_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

READER double double_of_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* binary16: its exponent and significand as those of a float are too small by 2^112; infinities
 * and NaNs get the float's largest exponent. */
READER float float_of_half(uint16_t half) {
  const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13, sign = (uint32_t)(half & 0x8000)
                                                                     << 16;
  const float finite = float_of_bits(magnitude) * 0x1p112f;
  uint32_t bits;
  memcpy(&bits, &finite, sizeof bits);
  bits = (half & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000 : bits;
  return float_of_bits(bits | sign);
}

READER long double read_long_double(const char *p, int swapped) {
  long double x;
  if (!swapped) {
    memcpy(&x, p, sizeof x);
    return x;
  }
  char bytes[sizeof x];
  for (size_t i = 0; i < sizeof x; i++) bytes[i] = p[sizeof x - 1 - i];
  memcpy(&x, bytes, sizeof x);
  return x;
}

#define READ_BOOL(p, swapped) (read_bits8(p, swapped) != 0)
#define READ_I8(p, swapped) ((int8_t)read_bits8(p, swapped))
#define READ_U8(p, swapped) read_bits8(p, swapped)
#define READ_I16(p, swapped) ((int16_t)read_bits16(p, swapped))
#define READ_U16(p, swapped) read_bits16(p, swapped)
#define READ_I32(p, swapped) ((int32_t)read_bits32(p, swapped))
#define READ_U32(p, swapped) read_bits32(p, swapped)
#define READ_I64(p, swapped) ((int64_t)read_bits64(p, swapped))
#define READ_U64(p, swapped) read_bits64(p, swapped)
#define READ_HALF(p, swapped) float_of_half(read_bits16(p, swapped))
#define READ_BFLOAT(p, swapped) float_of_bits((uint32_t)read_bits16(p, swapped) << 16)
#define READ_FLOAT(p, swapped) float_of_bits(read_bits32(p, swapped))
#define READ_DOUBLE(p, swapped) double_of_bits(read_bits64(p, swapped))
#define READ_LONG_DOUBLE(p, swapped) read_long_double(p, swapped)

#endif
