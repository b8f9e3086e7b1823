/* New pages cost more than what is written to them: the system clears each before it hands it out,
 * and the C library gives large ones back at once. Here a few large results that are gone are kept
 * for the next ones: training asks for gradients of the same size again and again. The system may
 * take their pages whenever it is short of memory. */
#if defined(__linux__)
#define _GNU_SOURCE /* anonymous maps, advice */
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "results.h"

#include <stdint.h>
#include <string.h>

#include "aligned.h"

enum {
  LARGE = 1 << 17, /* bytes; less the C library does not ask the system for */
  PLACES = 8,
  MOST_KEPT = 256 << 20, /* bytes */
  MOST_OWN = 64 << 20,   /* of those that the system may not take, as the C library keeps at most */
  HUGE_PAGE = 2 << 20,
};

/* Of a result's memory; lies before its first line. */
typedef struct {
  char *start;
  size_t length; /* of pages; 0 if it is the C library's */
  size_t room;   /* for the result */
  int lent;      /* the system may take it */
} head;

static head *head_of(void *result) { return (head *)((char *)result - FL_LINE); }

/* ---- pages of the system ---- */

#if defined(__linux__) && defined(MADV_FREE) && defined(MADV_HUGEPAGE)

/* The result begins with a huge page, if it has any. */
static void *map(size_t size) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), slack = size < HUGE_PAGE ? 0 : HUGE_PAGE;
  if (size > SIZE_MAX - 2 * page - slack) return NULL;
  const size_t length = page + (size + page - 1) / page * page;
  const int access = PROT_READ | PROT_WRITE, kind = MAP_PRIVATE | MAP_ANONYMOUS;
  char *start = mmap(NULL, length + slack, access, kind, -1, 0);
  if (start == MAP_FAILED) return NULL;
  if (slack) {
    const size_t before = -((uintptr_t)start + page) % HUGE_PAGE;
    if (before > 0) (void)munmap(start, before);
    start += before;
    if (before < slack) (void)munmap(start + length, slack - before);
    (void)madvise(start + page, length - page, MADV_HUGEPAGE);
  }
  char *result = start + page;
  *head_of(result) = (head){start, length, length - page, 0};
  return result;
}

static void unmap(void *result) {
  const head at = *head_of(result);
  (void)munmap(at.start, at.length);
}

/* Lets the system take whole huge pages until they are written to again; 0 if it does not. */
static int lend(void *result) {
  const size_t length = head_of(result)->room / HUGE_PAGE * HUGE_PAGE;
  return head_of(result)->lent = madvise(result, length, MADV_FREE) == 0;
}

enum { MAPS = 1 };

#else

static void *map(size_t size) {
  (void)size;
  return NULL;
}
static void unmap(void *result) { (void)result; }
static int lend(void *result) {
  (void)result;
  return 0;
}

enum { MAPS = 0 };

#endif

static void *reserve(size_t size) {
  if (MAPS && size >= LARGE) return map(size);
  if (size > SIZE_MAX - 2 * FL_LINE) return NULL;
  char *start = fl_aligned_new(FL_LINE + size);
  if (!start) return NULL;
  char *result = start + FL_LINE;
  *head_of(result) = (head){start, 0, size, 0};
  return result;
}

static void release(void *result) {
  if (head_of(result)->length > 0)
    unmap(result);
  else
    fl_aligned_free(head_of(result)->start);
}

/* ---- what is kept ---- */

/* Results that are gone, the oldest first. */
static struct {
  char taken;
  int count;
  size_t bytes, own_bytes; /* all, and those not lent */
  void *results[PLACES];
} kept;

/* Nobody waits: who finds it taken does without. */
static int take_kept(void) { return !__atomic_test_and_set(&kept.taken, __ATOMIC_ACQUIRE); }
static void leave_kept(void) { __atomic_clear(&kept.taken, __ATOMIC_RELEASE); }

static void *take_out(int place) {
  void *result = kept.results[place];
  head *at = head_of(result);
  kept.bytes -= at->length;
  if (!at->lent) kept.own_bytes -= at->length;
  at->lent = 0;
  kept.count--;
  for (int i = place; i < kept.count; i++) kept.results[i] = kept.results[i + 1];
  return result;
}

/* The smallest one with room for the result, if it is not much larger. */
static void *recall(size_t size) {
  if (size < LARGE || !take_kept()) return NULL;
  int best = -1;
  size_t most = size + size / 4;
  for (int i = 0; i < kept.count; i++) {
    const size_t room = head_of(kept.results[i])->room;
    if (room < size || room > most) continue;
    best = i;
    most = room;
  }
  void *result = best < 0 ? NULL : take_out(best);
  leave_kept();
  return result;
}

/* Lends those that are gone the longest, until there is room for another one's own. */
static void lend_oldest(size_t length) {
  for (int i = 0; i < kept.count && kept.own_bytes + length > MOST_OWN;) {
    const size_t own = head_of(kept.results[i])->lent ? 0 : head_of(kept.results[i])->length;
    if (own && !lend(kept.results[i])) {
      release(take_out(i));
      continue;
    }
    kept.own_bytes -= own;
    i++;
  }
}

/* Large results are lent: writing to them again takes a little longer. */
static void keep(void *result) {
  const size_t length = head_of(result)->length;
  if (length == 0 || length > MOST_KEPT || !take_kept()) {
    release(result);
    return;
  }
  const int own = length < MOST_OWN / 2;
  if (own) lend_oldest(length);
  if (!own && !lend(result)) {
    leave_kept();
    release(result);
    return;
  }
  while (kept.count == PLACES || kept.bytes + length > MOST_KEPT) release(take_out(0));
  kept.results[kept.count++] = result;
  kept.bytes += length;
  if (own) kept.own_bytes += length;
  leave_kept();
}

static void release_kept(void) {
  if (!take_kept()) return;
  while (kept.count > 0) release(take_out(0));
  leave_kept();
}

/* ---- the interface ---- */

void *fl_result_new(void *unused, size_t size) {
  (void)unused;
  void *result = recall(size);
  if (!result) result = reserve(size);
  if (result) return result;
  release_kept();
  return reserve(size);
}

void *fl_result_zeroed(void *unused, size_t count, size_t size) {
  (void)unused;
  if (size > 0 && count > SIZE_MAX / size) return NULL;
  void *result = reserve(count * size);
  return result ? memset(result, 0, count * size) : NULL;
}

void *fl_result_resized(void *unused, void *result, size_t size) {
  const size_t room = head_of(result)->room;
  if (size <= room && size >= room / 2) return result;
  void *other = fl_result_new(unused, size);
  if (!other) return NULL;
  memcpy(other, result, size < room ? size : room);
  keep(result);
  return other;
}

void fl_result_free(void *unused, void *result, size_t size) {
  (void)unused, (void)size;
  if (result) keep(result);
}
