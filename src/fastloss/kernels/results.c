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
  PLACES = 4,
  MOST_KEPT = 256 << 20, /* bytes */
  LENT = 16 << 20,       /* as many bytes, or more, the system may take */
  HUGE_PAGE = 2 << 20,
};

/* Of a result's memory; lies before its first line. */
typedef struct {
  char *start;
  size_t length, room; /* as a whole, and for the result */
} head;

static head *head_of(void *result) { return (head *)((char *)result - FL_LINE); }

/* ---- the system's part ---- */

#if defined(__linux__) && defined(MADV_FREE) && defined(MADV_HUGEPAGE)

/* The result begins with a huge page, if it has any. */
static void *reserve(size_t size) {
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
  *head_of(result) = (head){start, length, length - page};
  return result;
}

static void *reserve_zeros(size_t size) { return reserve(size); }

static void release(void *result) {
  const head at = *head_of(result);
  (void)munmap(at.start, at.length);
}

/* Lets the system take the result's whole huge pages until they are written to again. Returns
 * whether the result may be kept. */
static int lend(void *result) {
  const size_t room = head_of(result)->room;
  return room < LENT || madvise(result, room / HUGE_PAGE * HUGE_PAGE, MADV_FREE) == 0;
}

#else

static void *reserve(size_t size) {
  if (size > SIZE_MAX - 2 * FL_LINE) return NULL;
  char *start = fl_aligned_new(FL_LINE + size);
  if (!start) return NULL;
  char *result = start + FL_LINE;
  *head_of(result) = (head){start, FL_LINE + size, size};
  return result;
}

static void *reserve_zeros(size_t size) {
  void *result = reserve(size);
  return result ? memset(result, 0, size) : NULL;
}

static void release(void *result) { fl_aligned_free(head_of(result)->start); }

static int lend(void *result) {
  (void)result;
  return 0;
}

#endif

/* ---- what is kept ---- */

/* Results that are gone, the oldest first. */
static struct {
  char taken;
  int count;
  size_t bytes;
  void *results[PLACES];
} kept;

/* Nobody waits: who finds it taken does without. */
static int take_kept(void) { return !__atomic_test_and_set(&kept.taken, __ATOMIC_ACQUIRE); }
static void leave_kept(void) { __atomic_clear(&kept.taken, __ATOMIC_RELEASE); }

static void *take_out(int place) {
  void *result = kept.results[place];
  kept.bytes -= head_of(result)->length;
  kept.count--;
  for (int i = place; i < kept.count; i++) kept.results[i] = kept.results[i + 1];
  return result;
}

/* The smallest one with room for the result, if it is not much larger. */
static void *recall(size_t size) {
  if (!take_kept()) return NULL;
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

static void keep(void *result) {
  const size_t length = head_of(result)->length;
  if (length > MOST_KEPT || !lend(result) || !take_kept()) {
    release(result);
    return;
  }
  while (kept.count == PLACES || kept.bytes + length > MOST_KEPT) release(take_out(0));
  kept.results[kept.count++] = result;
  kept.bytes += length;
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
  return size > 0 && count > SIZE_MAX / size ? NULL : reserve_zeros(count * size);
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
