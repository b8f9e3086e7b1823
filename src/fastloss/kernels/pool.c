/* Helpers of a team on Linux.
 *
 * At the end of a parallel region OpenMP waits for every member, also for those that the scheduler
 * has not let run yet; Linux likes to wake them on the processor of the caller, who spins there.
 * Calls of 0.05 ms then take some 6 ms. Here nobody is waited for who has not begun.
 *
 * Each helper looks at a place of its own, in which the caller offers it the job, and from which he
 * takes the offer back if it has not been taken by the end. So members share no lock, and one is
 * always the same thread, which has his part of the data in its caches. Sleepers are woken along a
 * tree, as waking is a call of the system. */
#if defined(__linux__)
#define _GNU_SOURCE /* affinity */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum {
  MOST = 256, /* threads */
  WAKES = 8,  /* sleepers that a member wakes */
  /* How long a helper looks out for the next job before it sleeps: calls in a loop find it awake.
   */
  SPIN_IDLE = 200000, /* ns */
  /* How long the caller looks out for the last parts before it sleeps. */
  SPIN_LAST = 50000, /* ns */
  /* A job this long is worth waking helpers for; a shorter one if it follows another soon, as they
   * wake sooner then; the shortest if they will still be awake for one that follows as soon. */
  LONG_JOB = 100000,       /* ns */
  SHORT_JOB = 50000,       /* ns */
  SOON = 1000000,          /* ns */
  AT_ONCE = SPIN_IDLE / 2, /* ns */
};

/* What stands in a helper's place: no job; one that it may take; one that it is at; and that the
 * caller sleeps until it is done. */
enum { NONE, OFFERED, TAKEN, AWAITED };

/* Where a helper looks out for a job that sleeps, or has not run since it was woken. */
enum { ASLEEP = -1, NOWHERE = -2 };

/* A thread of the team that is not the caller. */
typedef struct {
  _Alignas(128) atomic_int offer;
  atomic_int processor; /* where it looks out for a job, ASLEEP or NOWHERE */
  atomic_int displaced; /* whether it was kept off the caller's processor */
  sem_t wake;
  pthread_t thread;
} helper;

/* Of the caller's, of whom there is one at a time. */
static struct {
  helper help[MOST - 1];
  int helpers; /* threads that exist besides the callers */
  sem_t finished;
  cpu_set_t allowed;     /* the processors of the caller */
  long long finished_at; /* when the last job was */
  /* the job */
  int threads; /* members at most */
  int wakes;   /* whether sleepers are woken for it */
  fl_work_fn *work;
  void *context;
  _Alignas(128) atomic_int callers_place; /* the processor of the last caller */
} team = {.callers_place = NOWHERE};

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pause_briefly(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  for (int i = 0; i < 8; i++) __asm__ volatile("yield");
#endif
}

static int processor(void) { return sched_getcpu(); }

static void wait_for(sem_t *signal) {
  while (sem_wait(signal) != 0 && errno == EINTR) {
  }
}

/* ---- the helpers ---- */

/* Keeps a helper off the caller's processor: a scheduler may leave it waiting there until the next
 * tick. */
static void displace(helper *h) {
  cpu_set_t elsewhere = team.allowed;
  CPU_CLR(atomic_load_explicit(&team.callers_place, memory_order_relaxed), &elsewhere);
  if (pthread_setaffinity_np(h->thread, sizeof elsewhere, &elsewhere) == 0)
    atomic_store_explicit(&h->displaced, 1, memory_order_relaxed);
}

/* Lets a helper run where its caller may, again. */
static void settle(helper *h) {
  if (atomic_exchange_explicit(&h->displaced, 0, memory_order_relaxed))
    sched_setaffinity(0, sizeof team.allowed, &team.allowed);
}

static int is_asleep(helper *h) { return atomic_load(&h->processor) == ASLEEP; }

static int is_offered(helper *h) { return atomic_load(&h->offer) == OFFERED; }

/* Wakes the sleepers among those that a member of the job is to wake. */
static void wake_children(int member) {
  if (!team.wakes) return;
  for (int i = 1; i <= WAKES && WAKES * member + i < team.threads; i++) {
    helper *h = &team.help[WAKES * member + i - 1];
    int asleep = ASLEEP;
    if (!is_asleep(h) || !is_offered(h)) continue;
    if (!atomic_compare_exchange_strong(&h->processor, &asleep, NOWHERE)) continue;
    displace(h);
    sem_post(&h->wake);
  }
}

/* Looks out for an offer for a while, then sleeps until one may be there. */
static void await_offer(helper *h) {
  const long long end = now() + SPIN_IDLE;
  int there = NOWHERE, asleep = ASLEEP;
  while (atomic_load_explicit(&h->offer, memory_order_relaxed) == NONE && now() < end) {
    const int here = processor();
    if (here != there) atomic_store_explicit(&h->processor, here, memory_order_relaxed);
    there = here;
    /* The caller has better use for its processor. */
    if (here == atomic_load_explicit(&team.callers_place, memory_order_relaxed)) break;
    pause_briefly();
  }
  if (is_offered(h)) return;
  /* Who offers looks then whether it sleeps; so it looks for an offer once it is known to sleep. */
  atomic_store(&h->processor, ASLEEP);
  atomic_thread_fence(memory_order_seq_cst);
  if (is_offered(h) && atomic_compare_exchange_strong(&h->processor, &asleep, NOWHERE)) return;
  wait_for(&h->wake);
}

static void *help(void *self) {
  helper *h = self;
  const int member = (int)(h - team.help) + 1;
  for (;;) {
    int offered = OFFERED;
    if (atomic_compare_exchange_strong(&h->offer, &offered, TAKEN)) {
      wake_children(member);
      settle(h);
      team.work(member, team.context);
      if (atomic_exchange(&h->offer, NONE) == AWAITED) sem_post(&team.finished);
    }
    await_offer(h);
  }
  return NULL;
}

/* ---- the caller ---- */

/* Starts helpers until there are this many, or no more to be had. Signals are for the other threads
 * of the process. */
static void hire(int helpers) {
  sigset_t all, before;
  pthread_attr_t detached;
  if (team.helpers >= helpers || pthread_attr_init(&detached) != 0) return;
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  if (team.helpers == 0) sem_init(&team.finished, 0, 0);
  for (; team.helpers < helpers; team.helpers++) {
    helper *h = &team.help[team.helpers];
    sem_init(&h->wake, 0, 0);
    atomic_store(&h->processor, NOWHERE);
    if (pthread_create(&h->thread, &detached, help, h) != 0) break;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&detached);
}

/* Offers the job to the helpers, but not to sleepers if it is not worth waking them. Those that a
 * helper is to wake come before it. */
static void open_job(int worth_waking) {
  const int here = processor();
  int asleep = 0, in_the_way = 0;
  atomic_store_explicit(&team.callers_place, here, memory_order_relaxed);
  for (int i = 0; i < team.threads - 1; i++) {
    const int there = atomic_load_explicit(&team.help[i].processor, memory_order_relaxed);
    asleep |= there == ASLEEP;
    in_the_way |= there == here || there == NOWHERE;
  }
  team.wakes = asleep && worth_waking;
  if (team.wakes || in_the_way)
    if (sched_getaffinity(0, sizeof team.allowed, &team.allowed) != 0) CPU_ZERO(&team.allowed);
  for (int i = team.threads - 2; i >= 0; i--) {
    helper *h = &team.help[i];
    const int there = atomic_load_explicit(&h->processor, memory_order_relaxed);
    if (there == ASLEEP && !team.wakes) continue;
    atomic_store_explicit(&h->offer, OFFERED, memory_order_release);
    if (in_the_way && (there == here || there == NOWHERE)) displace(h);
  }
  atomic_thread_fence(memory_order_seq_cst);
  wake_children(0);
}

/* There is no more work: takes offers back, and waits for the helpers that are at work. */
static void close_job(void) {
  long long end = 0;
  for (int i = 0; i < team.threads - 1; i++) {
    helper *h = &team.help[i];
    int offered = OFFERED, taken = TAKEN;
    if (atomic_load(&h->offer) == NONE) continue;
    if (atomic_compare_exchange_strong(&h->offer, &offered, NONE)) continue;
    if (end == 0) end = now() + SPIN_LAST;
    while (atomic_load_explicit(&h->offer, memory_order_acquire) == TAKEN && now() < end)
      pause_briefly();
    if (atomic_compare_exchange_strong(&h->offer, &taken, AWAITED)) wait_for(&team.finished);
  }
}

static int is_worth_waking(double nanoseconds) {
  return nanoseconds >= LONG_JOB ||
         now() - team.finished_at < (nanoseconds < SHORT_JOB ? AT_ONCE : SOON);
}

void fl_pool_run(int threads, fl_work_fn *work, void *context, double nanoseconds) {
  const int worth_waking = is_worth_waking(nanoseconds);
  threads = threads < MOST ? threads : MOST;
  if (worth_waking) hire(threads - 1);
  team.threads = threads - 1 < team.helpers ? threads : team.helpers + 1;
  team.work = work, team.context = context;
  open_job(worth_waking);
  work(0, context);
  close_job();
  team.finished_at = now();
}

#endif
