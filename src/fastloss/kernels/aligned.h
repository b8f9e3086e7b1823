/* Memory that begins with a line of the cache. */
#ifndef FASTLOSS_ALIGNED_H
#define FASTLOSS_ALIGNED_H

#include <stddef.h>
#include <stdlib.h>
#if defined(_WIN32)
#include <malloc.h>
#endif

#include "fastloss.h"

/* NULL if there is no memory. */
static inline void *fl_aligned_new(size_t size) {
#if defined(_WIN32)
  return _aligned_malloc(size, FL_LINE);
#else
  return aligned_alloc(FL_LINE, (size + FL_LINE - 1) / FL_LINE * FL_LINE);
#endif
}

/* The same of a thread's own. What another thread has lies farther from its end than a processor
 * fetches ahead of what is used: eight times the distance of planes, which is 2 KB at most. Else
 * each takes from the other what it is about to write. */
static inline void *fl_own_new(size_t size) {
  enum { APART = 32768 };
  return fl_aligned_new(size + APART);
}

static inline void fl_aligned_free(void *memory) {
#if defined(_WIN32)
  _aligned_free(memory);
#else
  free(memory);
#endif
}

#endif
