/* Helpers of a team on Linux.
 *
 * At the end of a parallel region OpenMP waits for every member, also for those that the scheduler
 * has not let run yet; Linux likes to wake them on the processor of the caller, who spins there.
 * Calls of 0.05 ms then take some 6 ms. Here nobody is waited for who has not begun. */
#if defined(__linux__)
#define _GNU_SOURCE /* affinity */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum {
  MOST = 256, /* threads */
  /* How long a helper looks out for the next job before it sleeps: calls in a loop find it awake.
   */
  SPIN_IDLE = 200000, /* ns */
  /* How long the caller looks out for the last parts before it sleeps. */
  SPIN_LAST = 50000, /* ns */
  /* A job this long is worth waking helpers for; a shorter one if it follows another soon, and so
   * will probably be followed by one; the shortest if the helpers will still be awake then. */
  LONG_JOB = 100000,       /* ns */
  SHORT_JOB = 20000,       /* ns */
  SOON = 1000000,          /* ns */
  AT_ONCE = SPIN_IDLE / 2, /* ns */
};

/* A thread of the team that is not the caller. */
typedef struct {
  pthread_t thread;
  atomic_int processor; /* where it looks out for a job; ASLEEP if it does not */
  int displaced;        /* whether it was kept off the caller's processor */
} helper;

enum { ASLEEP = -1, NOWHERE = -2 };

static struct {
  pthread_mutex_t lock;
  pthread_cond_t opened, finished;
  int helpers; /* threads that exist besides the callers */
  helper help[MOST];
  int asleep;
  cpu_set_t allowed;        /* the processors of the caller */
  long long finished_at;    /* when the last job was */
  atomic_int callers_place; /* the processor of the last caller */
  /* the job */
  atomic_uint number; /* of jobs so far */
  int open;           /* whether helpers may join */
  int joined;         /* members, the caller included */
  int threads;        /* members at most */
  atomic_int active;  /* helpers at work */
  fl_work_fn *work;
  void *context;
} team = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .opened = PTHREAD_COND_INITIALIZER,
          .finished = PTHREAD_COND_INITIALIZER,
          .callers_place = NOWHERE};

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pause_briefly(void) {
#if defined(__x86_64__)
  for (int i = 0; i < 8; i++) __builtin_ia32_pause();
#elif defined(__aarch64__)
  for (int i = 0; i < 8; i++) __asm__ volatile("yield");
#endif
}

static int processor(void) { return sched_getcpu(); }

/* Moves helpers that sleep, or whose turn it is only after the caller's, to other processors: a
 * scheduler may leave them waiting on the caller's until its next tick. */
static void make_room(void) {
  cpu_set_t elsewhere;
  const int here = processor();
  int known = 0;
  atomic_store_explicit(&team.callers_place, here, memory_order_relaxed);
  for (int i = 0; i < team.helpers; i++) {
    helper *h = &team.help[i];
    const int there = atomic_load_explicit(&h->processor, memory_order_relaxed);
    if (there != ASLEEP && there != here) continue;
    if (!known) {
      if (sched_getaffinity(0, sizeof elsewhere, &team.allowed) != 0) return;
      elsewhere = team.allowed;
      CPU_CLR(here, &elsewhere);
      known = 1;
    }
    h->displaced = pthread_setaffinity_np(h->thread, sizeof elsewhere, &elsewhere) == 0;
  }
}

/* Lets a helper run where its caller may, again. */
static void settle(helper *h) {
  if (h->displaced) sched_setaffinity(0, sizeof team.allowed, &team.allowed);
  h->displaced = 0;
}

/* Waits for a job after the given one. Called and left with the lock held. */
static void await_job(helper *h, unsigned seen) {
  pthread_mutex_unlock(&team.lock);
  const long long end = now() + SPIN_IDLE;
  while (atomic_load_explicit(&team.number, memory_order_acquire) == seen && now() < end) {
    const int here = processor();
    atomic_store_explicit(&h->processor, here, memory_order_relaxed);
    /* The caller has better use for its processor. */
    if (here == atomic_load_explicit(&team.callers_place, memory_order_relaxed)) break;
    pause_briefly();
  }
  pthread_mutex_lock(&team.lock);
  if (atomic_load_explicit(&team.number, memory_order_relaxed) != seen) return;
  atomic_store_explicit(&h->processor, ASLEEP, memory_order_relaxed);
  team.asleep++;
  while (atomic_load_explicit(&team.number, memory_order_relaxed) == seen)
    pthread_cond_wait(&team.opened, &team.lock);
  team.asleep--;
}

static void *help(void *self) {
  pthread_mutex_lock(&team.lock);
  for (;;) {
    const unsigned seen = atomic_load_explicit(&team.number, memory_order_relaxed);
    if (team.open && team.joined < team.threads) {
      const int member = team.joined++;
      atomic_fetch_add_explicit(&team.active, 1, memory_order_relaxed);
      pthread_mutex_unlock(&team.lock);
      settle(self);
      team.work(member, team.context);
      pthread_mutex_lock(&team.lock);
      if (atomic_fetch_sub_explicit(&team.active, 1, memory_order_release) == 1)
        pthread_cond_signal(&team.finished);
    }
    await_job(self, seen);
  }
  return NULL;
}

/* Starts helpers until there are this many, or no more to be had; the lock is held. Signals are
 * for the other threads of the process. */
static void hire(int helpers) {
  sigset_t all, before;
  pthread_attr_t detached;
  if (team.helpers >= helpers || pthread_attr_init(&detached) != 0) return;
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (; team.helpers < helpers; team.helpers++) {
    helper *h = &team.help[team.helpers];
    atomic_store_explicit(&h->processor, ASLEEP, memory_order_relaxed);
    if (pthread_create(&h->thread, &detached, help, h) != 0) break;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&detached);
}

static void open_job(int threads, fl_work_fn *work, void *context) {
  pthread_mutex_lock(&team.lock);
  team.work = work, team.context = context;
  team.threads = threads, team.joined = 1, team.open = 1;
  hire(threads - 1);
  make_room();
  const int asleep = team.asleep;
  atomic_fetch_add_explicit(&team.number, 1, memory_order_release);
  pthread_mutex_unlock(&team.lock);
  if (asleep) pthread_cond_broadcast(&team.opened);
}

/* There is no more work: waits for the helpers that are still at some. */
static void close_job(void) {
  pthread_mutex_lock(&team.lock);
  team.open = 0;
  pthread_mutex_unlock(&team.lock);
  const long long end = now() + SPIN_LAST;
  while (atomic_load_explicit(&team.active, memory_order_acquire) > 0 && now() < end)
    pause_briefly();
  pthread_mutex_lock(&team.lock);
  while (atomic_load_explicit(&team.active, memory_order_acquire) > 0)
    pthread_cond_wait(&team.finished, &team.lock);
  pthread_mutex_unlock(&team.lock);
}

static int is_worth_waking(double nanoseconds) {
  pthread_mutex_lock(&team.lock);
  const int awake = team.helpers > team.asleep;
  pthread_mutex_unlock(&team.lock);
  return awake || nanoseconds >= LONG_JOB ||
         now() - team.finished_at < (nanoseconds < SHORT_JOB ? AT_ONCE : SOON);
}

void fl_pool_run(int threads, fl_work_fn *work, void *context, double nanoseconds) {
  if (is_worth_waking(nanoseconds)) {
    open_job(threads < MOST ? threads : MOST, work, context);
    work(0, context);
    close_job();
  } else {
    work(0, context);
  }
  team.finished_at = now();
}

#endif
