/* Helpers of a team on Linux. */
#ifndef FASTLOSS_POOL_H
#define FASTLOSS_POOL_H

#include "team.h"

/* Calls work(0) here and, in helpers that come in time, work for some of the members below
 * `threads`: about as long a job, in one thread, as that many nanoseconds. One call at a time. */
void fl_pool_run(int threads, fl_work_fn *work, void *context, double nanoseconds);

#endif
