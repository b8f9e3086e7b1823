/* The floating-point exception flags, which a pass leaves as it found them. Of x86-64 these are
 * those of the vector unit, which the C library would read and write 20 times more slowly. */
#ifndef FASTLOSS_FLAGS_H
#define FASTLOSS_FLAGS_H

#if defined(__x86_64__)
#include <xmmintrin.h>

typedef unsigned fl_flags;
static inline void fl_flags_save(fl_flags *flags) { *flags = _mm_getcsr(); }
static inline void fl_flags_restore(const fl_flags *flags) {
  __asm__ volatile("" ::: "memory"); /* after what was computed and stored */
  _mm_setcsr(*flags);
}
#else
#include <fenv.h>

typedef fexcept_t fl_flags;
static inline void fl_flags_save(fl_flags *flags) { fegetexceptflag(flags, FE_ALL_EXCEPT); }
static inline void fl_flags_restore(const fl_flags *flags) {
  fesetexceptflag(flags, FE_ALL_EXCEPT);
}
#endif

#endif
