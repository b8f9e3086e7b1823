/* What this processor and operating system can run, and what is best for it. */
#include "fastloss.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

static uint64_t xgetbv0(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

/* 1, 3 or 4: the highest x86-64 level of which the kernels make use. A level counts only if the
 * operating system saves its registers on a context switch (xgetbv), not by cpuid alone. */
static int x86_level(void) {
  enum {
    FMA = 1 << 12,
    OSXSAVE = 1 << 27,
    AVX2 = 1 << 5,
    AVX512F = 1 << 16,
    AVX512DQ = 1 << 17,
    AVX512CD = 1 << 28,
    AVX512BW = 1 << 30,
    YMM_STATE = 0x6,
    ZMM_STATE = 0xe6,
  };
  const uint32_t AVX512VL = UINT32_C(1) << 31;
  const uint32_t v4 = AVX512F | AVX512DQ | AVX512CD | AVX512BW | AVX512VL;
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE) || !(c & FMA)) return 1;
  const uint64_t saved = xgetbv0();
  if ((saved & YMM_STATE) != YMM_STATE) return 1;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & AVX2)) return 1;
  return (b & v4) == v4 && (saved & ZMM_STATE) == ZMM_STATE ? 4 : 3;
}
#endif

int fl_compiled(const fl_table **tables) {
  int count = 0;
  tables[count++] = &fl_table_baseline;
#if defined(__x86_64__)
  tables[count++] = &fl_table_v3;
  tables[count++] = &fl_table_v4;
#endif
  return count;
}

int fl_runnable(void) {
#if defined(__x86_64__)
  const int level = x86_level();
  return level < 3 ? 1 : level - 1;
#else
  return 1;
#endif
}

/* Whether the processor is one of AMD's. Kept, as a virtual machine takes a microsecond to tell. */
static int is_from_amd(void) {
#if defined(__x86_64__)
  enum { UNKNOWN, NO, YES };
  static atomic_int kept = UNKNOWN;
  int known = atomic_load_explicit(&kept, memory_order_relaxed);
  if (known == UNKNOWN) {
    uint32_t a, name[3] = {0};
    (void)__get_cpuid(0, &a, &name[0], &name[2], &name[1]);
    known = memcmp(name, "AuthenticAMD", sizeof name) == 0 ? YES : NO;
    atomic_store_explicit(&kept, known, memory_order_relaxed);
  }
  return known == YES;
#else
  return 0;
#endif
}

/* Measured on Zen 4, which fetches early enough of its own accord, from its last cache above all,
 * and is held up by more lines that are waited for; and the distance on Xeons. */

ptrdiff_t fl_bytes_ahead(void) { return is_from_amd() ? 512 : 4096; }

ptrdiff_t fl_bytes_to_ask_for(int cheap) {
  if (!is_from_amd()) return 2 << 20;
  return cheap ? PTRDIFF_MAX : 12 << 20;
}
