/* Threads: helpers of our own on Linux (pool.c says why), Grand Central Dispatch on macOS, the
 * system's thread pool on Windows, none elsewhere. */
#ifndef FASTLOSS_TEAM_H
#define FASTLOSS_TEAM_H

#include <stddef.h>

/* Nanoseconds of one thread's work for each member of a team: more members cost more than they
 * save. */
#if defined(__linux__)
enum { FL_MEMBER_WORK = 2000 };
#else
enum { FL_MEMBER_WORK = 10000 };
#endif

/* A member's own stretch of the parts, the same at every call, for the data in its cache. Whoever
 * has finished his own takes from the others', so that a member that comes late is not waited for.
 */
typedef struct {
  ptrdiff_t next, stop;
  char others_cache_line[64 - 2 * sizeof(ptrdiff_t)];
} fl_stretch;

void fl_share_out(fl_stretch *stretches, int members, ptrdiff_t first, ptrdiff_t stop);

/* The next part for a member, or -1. */
ptrdiff_t fl_take(fl_stretch *stretches, int members, int member);

typedef void fl_work_fn(int member, void *context);

/* Calls work for member 0 here, and elsewhere for those of the members 1 .. size - 1 that come in
 * time: for none in a forked child, whose parent's threads are gone, and while another team runs.
 * Each does what there is still to do. One thread would take about so many nanoseconds. */
void fl_team_run(int size, fl_work_fn *work, void *context, double nanoseconds);

/* To be called in the child after a fork. */
void fl_team_after_fork(void);

/* Threads that the system offers: 1 if there are no teams. */
int fl_team_offered(void);

/* Threads that OpenMP would use for a team of this thread, as OMP_NUM_THREADS and threadpoolctl set
 * them; fl_team_offered if this module was built without OpenMP. */
int fl_team_allowed(void);

/* Seconds since some moment. */
double fl_seconds(void);

#endif
