/* Two arrays multiplied and added up, or added into a third, as fast as the memory moves them: what
 * limits.py measures beside other ways. Threads ask for what lies `ahead` bytes of what they use,
 * and results go past the caches where the processor can. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
  LINE = 64,   /* bytes that are fetched at once */
  GROUP = 32,  /* elements between questions */
  PART = 4096, /* elements of a thread's part; what is left over is left out */
};

static inline void fetch(const void *x, size_t bytes, size_t ahead) {
  for (size_t at = 0; at < bytes; at += LINE)
    __builtin_prefetch((const void *)((uintptr_t)x + ahead + at));
}

static inline void copy(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }

static inline void stream(void *to, const void *from, size_t bytes) {
#if defined(__SSE2__)
  for (size_t at = 0; at < bytes; at += 16)
    _mm_stream_si128((__m128i *)((char *)to + at),
                     _mm_loadu_si128((const __m128i *)((const char *)from + at)));
#else
  memcpy(to, from, bytes);
#endif
}

#define SIMD _Pragma("omp simd")

#define DOT(type)                                                                                  \
  double dot_##type(const type *y, const type *z, ptrdiff_t n, int threads, size_t ahead) {        \
    double total = 0;                                                                              \
    _Pragma("omp parallel for num_threads(threads) reduction(+ : total)") for (ptrdiff_t part = 0; \
                                                                               part < n / PART;    \
                                                                               part++) {           \
      type sums[GROUP] = {0};                                                                      \
      for (ptrdiff_t i = part * PART; i < (part + 1) * PART; i += GROUP) {                         \
        fetch(y + i, GROUP * sizeof(type), ahead);                                                 \
        fetch(z + i, GROUP * sizeof(type), ahead);                                                 \
        SIMD for (int j = 0; j < GROUP; j++) sums[j] += y[i + j] * z[i + j];                       \
      }                                                                                            \
      for (int j = 0; j < GROUP; j++) total += sums[j];                                            \
    }                                                                                              \
    return total;                                                                                  \
  }

#define ADD(write, type)                                                                          \
  void write##_##type(const type *y, const type *z, type *out, ptrdiff_t n, int threads,          \
                      size_t ahead) {                                                             \
    _Pragma("omp parallel for num_threads(threads)") for (ptrdiff_t part = 0; part < n / PART;    \
                                                          part++) for (ptrdiff_t i = part * PART; \
                                                                       i < (part + 1) * PART;     \
                                                                       i += GROUP) {              \
      type sums[GROUP];                                                                           \
      fetch(y + i, sizeof sums, ahead);                                                           \
      fetch(z + i, sizeof sums, ahead);                                                           \
      SIMD for (int j = 0; j < GROUP; j++) sums[j] = y[i + j] + z[i + j];                         \
      write(out + i, sums, sizeof sums);                                                          \
    }                                                                                             \
  }

DOT(float)
DOT(double)
ADD(copy, float)
ADD(copy, double)
ADD(stream, float)
ADD(stream, double)
