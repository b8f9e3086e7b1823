/* Memory of large new results, in the form that NumPy asks of an allocator. */
#ifndef FASTLOSS_RESULTS_H
#define FASTLOSS_RESULTS_H

#include <stddef.h>

void *fl_result_new(void *unused, size_t size);
void *fl_result_zeroed(void *unused, size_t count, size_t size);
void *fl_result_resized(void *unused, void *result, size_t size);
void fl_result_free(void *unused, void *result, size_t size);

#endif
