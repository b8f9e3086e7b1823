#include "group_sums.h"

#include <stdlib.h>
#include <string.h>

enum {
  QUAD = 4, /* columns that are added at once */
  /* Tables that rows go to in turn, so that few wait for one shortly before of the same group; as
   * many as the first cache has room for. */
  MAX_LANES = 16,
  MIN_LANES = 2,
  FEW_LINES = 512,
};
#define LARGE 0x1p1000 /* beyond this the scale might overflow */
#define HEADROOM 0x1p3 /* at least 16 blocks like the first go to the same table */

/* The sums of four columns for one group. */
typedef double line __attribute__((vector_size(QUAD * sizeof(double)), aligned(sizeof(double))));

/* What the parts of the values of a cell are multiples of, as `split` has it, and a bound of the
 * sum of their magnitudes, which is at most half of that. */
typedef struct {
  double scale, magnitude;
} grid;

struct fl_group_sums {
  fl_dtype dtype;
  int cells, counts, quads, lanes;
  ptrdiff_t groups;
  fl_exact *to;
  grid *grids;   /* of the cells */
  line *lines;   /* [quad][lane][group] */
  void *columns; /* [quad][QUAD][FL_BLOCK] */
};

static size_t item_size(fl_dtype dtype) { return dtype == FL_F32 ? sizeof(float) : sizeof(double); }

static int columns_of_cell(const fl_group_sums *sums) { return sums->dtype == FL_F32 ? 1 : 2; }

static void *column(const fl_group_sums *sums, int index) {
  return (char *)sums->columns + (size_t)index * FL_BLOCK * item_size(sums->dtype);
}

fl_group_sums *fl_group_sums_new(fl_dtype dtype, int cells, int counts) {
  fl_group_sums *sums = calloc(1, sizeof *sums);
  if (!sums) return NULL;
  sums->dtype = dtype;
  sums->cells = cells;
  sums->counts = counts;
  sums->quads = (cells * columns_of_cell(sums) + QUAD - 1) / QUAD;
  sums->grids = calloc((size_t)cells, sizeof *sums->grids);
  sums->lines = calloc((size_t)sums->quads * MIN_LANES * FL_TABLED_GROUPS, sizeof *sums->lines);
  sums->columns = calloc((size_t)sums->quads * QUAD * FL_BLOCK, item_size(dtype));
  if (sums->grids && sums->lines && sums->columns) {
    for (ptrdiff_t i = 0; counts && i < FL_BLOCK; i++) {
      if (dtype == FL_F32)
        ((float *)sums->columns)[i] = 1;
      else
        ((double *)sums->columns)[i] = 1;
    }
    return sums;
  }
  fl_group_sums_free(sums);
  return NULL;
}

void fl_group_sums_free(fl_group_sums *sums) {
  if (!sums) return;
  free(sums->grids);
  free(sums->lines);
  free(sums->columns);
  free(sums);
}

void fl_group_sums_begin(fl_group_sums *sums, ptrdiff_t groups, fl_exact *cells) {
  sums->groups = groups;
  sums->to = cells;
  sums->lanes = MAX_LANES;
  while (sums->lanes > MIN_LANES && sums->lanes * groups > FEW_LINES) sums->lanes /= 2;
  memset(sums->lines, 0, (size_t)(sums->quads * sums->lanes * groups) * sizeof *sums->lines);
  memset(sums->grids, 0, (size_t)sums->cells * sizeof *sums->grids);
}

/* The sum of a column for one group, which becomes 0. That of all lanes is exact too. */
static double take(fl_group_sums *sums, int index, ptrdiff_t group) {
  line *at = &sums->lines[index / QUAD * sums->lanes * sums->groups + group];
  double sum = 0;
  for (int lane = 0; lane < sums->lanes; lane++, at += sums->groups) {
    sum += (*at)[index % QUAD];
    (*at)[index % QUAD] = 0;
  }
  return sum;
}

static void empty(fl_group_sums *sums, int cell) {
  const int count = columns_of_cell(sums);
  for (ptrdiff_t g = 0; g < sums->groups; g++)
    for (int part = 0; part < count; part++) {
      const double sum = take(sums, cell * count + part, g);
      if (sum != 0) fl_exact_add(&sums->to[g * sums->cells + cell], sum);
    }
}

void fl_group_sums_end(fl_group_sums *sums, int64_t *counts, int counters) {
  for (int cell = sums->counts; cell < sums->cells; cell++) empty(sums, cell);
  for (ptrdiff_t g = 0; sums->counts && g < sums->groups; g++)
    counts[g * counters] += (int64_t)take(sums, 0, g);
}

static double number_at(fl_dtype dtype, const void *x, ptrdiff_t i) {
  return dtype == FL_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

static void add_one(fl_group_sums *sums, int cell, double v, ptrdiff_t group) {
  if (v != 0) fl_exact_add(&sums->to[group * sums->cells + cell], v);
}

/* Adds what `split` left out. */
static void add_finer(fl_group_sums *sums, int cell, ptrdiff_t start, ptrdiff_t stop, const void *x,
                      const int32_t *group) {
  const double finest = sums->grids[cell].scale * FL_SPLIT_FINEST(sums->dtype);
  for (ptrdiff_t i = start; i < stop; i++) {
    const double v = number_at(sums->dtype, x, i);
    if (__builtin_fabs(v) < finest) add_one(sums, cell, v, group[i]);
  }
}

void fl_group_sums_put(fl_group_sums *sums, const fl_table *table, int cell, ptrdiff_t n,
                       const void *x, const int32_t *group) {
  const int count = columns_of_cell(sums);
  grid *own = &sums->grids[cell];
  void *parts = column(sums, cell * count);
  /* Twice, since it is rounded. */
  const double magnitude = 2 * table->magnitude[sums->dtype](n, x);
  if (!(magnitude > 0 && magnitude < LARGE)) {
    memset(parts, 0, (size_t)count * FL_BLOCK * item_size(sums->dtype));
    for (ptrdiff_t i = 0; magnitude != 0 && i < n; i++)
      add_one(sums, cell, number_at(sums->dtype, x, i), group[i]);
    return;
  }
  if (!(own->magnitude + magnitude <= own->scale / 2)) {
    empty(sums, cell);
    own->scale = fl_exact_scale(magnitude) * HEADROOM;
    own->magnitude = 0;
  }
  own->magnitude += magnitude;
  uint32_t finer = table->split[sums->dtype](n, x, own->scale, parts);
  for (ptrdiff_t at = 0; finer; at += FL_SPLIT_RUN, finer >>= 1)
    if (finer & 1)
      add_finer(sums, cell, at, at + FL_SPLIT_RUN < n ? at + FL_SPLIT_RUN : n, x, group);
}

#define ADD(T)                                                                          \
  for (int quad = 0; quad < sums->quads; quad++) {                                      \
    const T *x = column(sums, quad * QUAD);                                             \
    line *lines = sums->lines + quad * sums->lanes * sums->groups;                      \
    for (ptrdiff_t i = 0; i < n; i++) {                                                 \
      line *to = &lines[(i & last) * sums->groups + group[i]];                          \
      *to += (line){(double)x[i], (double)x[i + FL_BLOCK], (double)x[i + 2 * FL_BLOCK], \
                    (double)x[i + 3 * FL_BLOCK]};                                       \
    }                                                                                   \
  }

void fl_group_sums_add(fl_group_sums *sums, ptrdiff_t n, const int32_t *group) {
  const ptrdiff_t last = sums->lanes - 1;
  if (sums->dtype == FL_F32)
    ADD(float)
  else
    ADD(double)
}
