#include "team.h"

#include <time.h>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__linux__)
#include <unistd.h>

#include "pool.h"
#elif defined(__APPLE__)
#include <dispatch/dispatch.h>
#include <unistd.h>
#elif defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

/* One team at a time: two would want more threads than there are processors. */
static int busy = 0;
/* Threads do not survive a fork: to wait for one would last for ever. */
static int forked = 0;

#if defined(__linux__)

int fl_team_offered(void) { return (int)sysconf(_SC_NPROCESSORS_ONLN); }

static void run(int size, fl_work_fn *work, void *context, double nanoseconds) {
  fl_pool_run(size, work, context, nanoseconds);
}

#elif defined(__APPLE__)

int fl_team_offered(void) { return (int)sysconf(_SC_NPROCESSORS_ONLN); }

typedef struct {
  fl_work_fn *work;
  void *context;
} job;

static void one(void *context, size_t member) {
  const job *own = context;
  own->work((int)member, own->context);
}

static void run(int size, fl_work_fn *work, void *context, double nanoseconds) {
  (void)nanoseconds;
  job own = {work, context};
  dispatch_apply_f((size_t)size, dispatch_get_global_queue(QOS_CLASS_USER_INITIATED, 0), &own, one);
}

#elif defined(_WIN32)

int fl_team_offered(void) { return (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS); }

typedef struct {
  fl_work_fn *work;
  void *context;
  int next;
} job;

static VOID CALLBACK one(PTP_CALLBACK_INSTANCE instance, PVOID context, PTP_WORK pool_work) {
  job *own = context;
  (void)instance, (void)pool_work;
  own->work(__atomic_fetch_add(&own->next, 1, __ATOMIC_RELAXED), own->context);
}

static void run(int size, fl_work_fn *work, void *context, double nanoseconds) {
  (void)nanoseconds;
  job own = {work, context, 0};
  PTP_WORK others = CreateThreadpoolWork(one, &own, NULL);
  if (others)
    for (int i = 1; i < size; i++) SubmitThreadpoolWork(others);
  for (int i = others ? size - 1 : 0; i < size; i++) one(NULL, &own, NULL);
  if (!others) return;
  WaitForThreadpoolWorkCallbacks(others, FALSE);
  CloseThreadpoolWork(others);
}

#else

int fl_team_offered(void) { return 1; }

static void run(int size, fl_work_fn *work, void *context, double nanoseconds) {
  (void)nanoseconds;
  for (int member = 0; member < size; member++) work(member, context);
}

#endif

#if defined(_OPENMP)
int fl_team_allowed(void) { return omp_get_max_threads(); }
#else
int fl_team_allowed(void) { return fl_team_offered(); }
#endif

void fl_share_out(fl_stretch *stretches, int members, ptrdiff_t first, ptrdiff_t stop) {
  const ptrdiff_t parts = stop - first;
  for (int i = 0; i < members; i++) {
    stretches[i].next = first + parts * i / members;
    stretches[i].stop = first + parts * (i + 1) / members;
  }
}

ptrdiff_t fl_take(fl_stretch *stretches, int members, int member) {
  for (int i = 0; i < members; i++) {
    fl_stretch *own = &stretches[(member + i) % members];
    /* What is read only can be in several caches. */
    if (__atomic_load_n(&own->next, __ATOMIC_RELAXED) >= own->stop) continue;
    const ptrdiff_t part = __atomic_fetch_add(&own->next, 1, __ATOMIC_RELAXED);
    if (part < own->stop) return part;
  }
  return -1;
}

void fl_team_run(int size, fl_work_fn *work, void *context, double nanoseconds) {
  if (size > 1 && !forked && !__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) {
    run(size, work, context, nanoseconds);
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
  } else {
    work(0, context);
  }
}

void fl_team_after_fork(void) {
  forked = 1;
  busy = 0;
}

double fl_seconds(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
