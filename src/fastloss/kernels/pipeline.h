/* The block pipeline: load a block of every operand, run the kernel, store or add up.
 *
 * An operand that is contiguous in the computation dtype is handed to the kernel as it lies; what
 * repeats after few elements is converted once, any other block by block, in the scratch space of
 * the thread. Elements are taken in the C order of the plan's shape whatever the operands' memory
 * layout. */
#ifndef FASTLOSS_PIPELINE_H
#define FASTLOSS_PIPELINE_H

#include "fastloss.h"

/* Strides are in bytes and belong to the plan's axes; 0 where the operand is broadcast. */
typedef struct {
  const char *data;
  fl_load_fn *load;
  int native; /* aligned, computation dtype */
  int direct; /* native and contiguous; a flat plan says no more */
  ptrdiff_t strides[FL_MAX_NDIM];
} fl_operand;

typedef struct {
  char *data;
  int native, direct;
  int streamed; /* written past the caches */
  ptrdiff_t strides[FL_MAX_NDIM];
} fl_output;

/* What pointwise and row-wise passes have in common. The axes are those of the elements, or of
 * the rows without the class axis. Weights are multiplied by `w_scale`, a power of two. */
typedef struct {
  const fl_table *table;
  fl_dtype dtype;
  fl_mode mode;
  int weighted;
  double cost; /* nanoseconds of a float32 element, about */
  double scale, w_scale;
  double params[FL_MAX_PARAMS];
  int ndim;
  ptrdiff_t size;
  ptrdiff_t shape[FL_MAX_NDIM];
  fl_operand y, z, w;
  fl_output out[2];
  /* pointwise */
  const fl_pointwise *pointwise;
  /* row-wise: the class axis, and the targets */
  const fl_rowwise *rowwise;
  fl_target target;
  ptrdiff_t classes, y_class, z_class, out_class[2];
  fl_label_fn *label;
  int ignores;
  int64_t ignored;
  double smoothing, eps;
  const void *class_weight; /* of all classes; NULL if they are all 1 */
} fl_plan;

/* Elements (rows) in one chunk: chosen from the plan's size alone, so that results are the same
 * for every number of threads. */
ptrdiff_t fl_chunk(const fl_plan *plan);

/* Whether an output may be written past caches: it is no operand, and its elements or rows, or
 * planes that are used as they lie, are contiguous. */
int fl_may_stream(const fl_plan *plan, int which);

/* Has outputs that no cache would keep written past caches, where so many threads gain by it. */
void fl_set_streams(fl_plan *plan, int threads);

int fl_needs_scratch(const fl_plan *plan);

/* Scratch space of one thread for this plan; NULL if there is no memory. */
void *fl_scratch_new(const fl_plan *plan);
void fl_scratch_free(void *scratch);

/* The same for a member of a team, who gives it back for the next pass: new memory has new pages,
 * which can take longer than the pass. */
void *fl_scratch_take(const fl_plan *plan, int member);
void fl_scratch_give(void *scratch, int member);

/* How many of `count` chunks a member of a team takes at once: several where they are few rows of
 * wide planes, whose lines then lie next to each other, but not fewer than leave one for each. */
ptrdiff_t fl_chunks_at_once(const fl_plan *plan, ptrdiff_t chunk, ptrdiff_t count, int team);

/* What a chunk adds to the result: of losses and of weights. */
typedef struct {
  fl_sum sums[2];
  int64_t flags;
} fl_part;

/* Runs elements (rows) start .. stop - 1. They are added to the parts of their chunks, of which the
 * first begins at `start`. Flags of several chunks may be those of one before. */
void fl_run(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, ptrdiff_t chunk, void *scratch,
            fl_part *parts);

/* Adds up the weights of the elements (rows) that count. */
void fl_run_weights(const fl_plan *plan, ptrdiff_t start, ptrdiff_t stop, void *scratch,
                    fl_sum *sum);

/* Gradient (and Hessian) of a broadcast prediction: the plan's last axes, `kept` elements in all,
 * are those of the prediction; over the others it is summed. Adds the unscaled derivatives of
 * elements start .. stop - 1 to `width` sums, of each element one or several, and `width` errors;
 * those of the Hessian follow. */
ptrdiff_t fl_reduced_width(ptrdiff_t kept);
int64_t fl_run_reduced(const fl_plan *plan, ptrdiff_t width, ptrdiff_t start, ptrdiff_t stop,
                       void *scratch, double *sums);

/* The `kept` totals of the sums and errors of one derivative. */
void fl_reduced_totals(ptrdiff_t kept, ptrdiff_t width, const double *sums, double *totals);

#endif
